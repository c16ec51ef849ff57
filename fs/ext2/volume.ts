/**
 * Volume: what all parts of the file system share: geometry, cache, inodes in memory, the batch of changes not yet on
 * the disk, and the two ways to run an operation.
 *
 * Layer: fs/ext2, above cache, tx, inode; below everything that knows files. Functions elsewhere take it first.
 *
 * What holds always: an operation is synchronous code and so atomic to all others. `read` and `change` run it, and run it
 * again after a `Miss`; `change` undoes one that failed. What an operation changed is in memory until `commit`.
 */

import { Err, toErr } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { BlockPort } from "../block_port.ts";
import { BlockCache, type Buf, Miss, PLAIN_BLOCK } from "./cache.ts";
import { crc32c, crc32cWord } from "./crc.ts";
import type { Groups } from "./group.ts";
import { Inode } from "./inode.ts";
import { ERROR_FS, ERRORS_RO, IN, INCOMPAT, RO_COMPAT, SB } from "./layout.ts";
import type { Log } from "./log.ts";
import { getCount, type Superblock } from "./superblock.ts";
import { Tx } from "./tx.ts";

/** How a volume is opened. */
export interface VolumeOptions {
  /** Wall time, milliseconds since 1970. */
  now: () => number;
  /** Memory for blocks, bytes. */
  cacheBytes?: number;
  /** Inodes kept in memory. */
  cacheInodes?: number;
  /** Names of large directories kept in memory, in all. */
  indexNames?: number;
  readOnly?: boolean;
  /** Why the disk can not be written, where it can not. */
  whyDisk?: string;
  /** Whoever had the volume before brought all of it to the disk and hands it over: it is clean though it does not say so. */
  resumed?: boolean;
}

/** What was done since the last commit, as far as the order of writing needs to know it. */
export class Batch {
  /** Blocks that were freed, as bits of their group: not used again before the commit. */
  readonly freedBlocks = new Map<number, Uint8Array>();
  readonly freedInodes = new Set<number>();
  /** Bitmaps that hold freed bits. */
  readonly bitmaps = new Set<Buf>();
  freedCount = 0;
  /** Directories that were removed, with the directory that each was in, in that order. */
  readonly deadDirs: { ino: number; parent: number }[] = [];
  /** Directories that name a new file. */
  readonly parents = new Map<number, number[]>();
  /** Files that lost a name, that gained one, and that were replaced by a rename. */
  readonly lost = new Set<number>();
  readonly gained = new Set<number>();
  readonly replaced = new Set<number>();
  /** A directory's entry moved to another block: only a log makes that whole. */
  moved = false;
}

/** Bytes of the name `#4294967295` in a directory block: commit.ts parks files under such names in one block. */
export const PARKED_ENTRY_BYTES = 20;

const DEFAULT_CACHE_BYTES = 32 << 20, DEFAULT_CACHE_INODES = 8192, DEFAULT_INDEX_NAMES = 400_000;

export class Volume {
  readonly port: BlockPort;
  readonly sb: Superblock;
  readonly groups: Groups;
  readonly cache: BlockCache;
  readonly tx = new Tx();
  readonly now: () => number;
  readonly resumed: boolean;
  /** Why nothing may be written, or null. */
  readOnly: string | null;
  readonly inodes = new Map<number, Inode>();
  readonly dirtyInodes = new Set<Inode>();
  batch = new Batch();
  /** Where commits go through, if they have to. */
  log: Log | null = null;
  freeBlocks: number;
  freeInodes: number;
  readonly reservedBlocks: number;
  /** Whether the superblock on the disk already says that the volume is in use. */
  marked = false;
  /** Superblock features that have to reach the disk before what needs them. */
  superDirty = false;
  /** Damage was found. */
  damaged = false;
  /** Counts of damage found, for whoever reports it. */
  damageCount = 0;
  /** Why no commit can be trusted any more: writing failed in the middle of one. */
  failed: Err | null = null;
  /** The commit that runs, on a port that takes its time. */
  committing: Promise<void> | undefined;
  /** The user of the operation that runs may take reserved blocks. */
  privileged = true;
  /** What `mapRun` and `allocBlocks` found: first block (0 is a hole), and how many follow. */
  runBlock = 0;
  runCount = 0;
  /** Names in memory, over all directories, and which have some. */
  indexNames = 0;
  readonly indexLimit: number;
  readonly indexed = new Set<Inode>();
  /** Where the search for a free inode begins in each group. */
  readonly inodeHints: Int32Array;
  /** The lowest bit that may be free in each group's block bitmap, and where the last allocation there ended. */
  readonly blockHints: Int32Array;
  readonly blockEnds: Int32Array;
  /** One block, for who needs it for a moment. */
  readonly scratch: Uint8Array;
  /** Writes all changes to the disk; set by commit.ts's owner. */
  commit: () => Promise<void> | undefined = () => undefined;
  /** Without a journal of its own, this volume is safe from power cuts only by a log: its blocks depend on one another. */
  readonly needsLog: boolean;
  readonly #ofLinux: boolean;
  readonly #inodeLimit: number;
  readonly #inodesPerBlock: number;

  constructor(port: BlockPort, sb: Superblock, groups: Groups, readOnly: string | null, options: VolumeOptions) {
    this.port = port;
    this.sb = sb;
    this.groups = groups;
    this.readOnly = readOnly;
    this.now = options.now;
    this.resumed = options.resumed ?? false;
    this.#ofLinux = sb.view.getUint32(SB.creatorOs, true) === 0;
    const coupled = RO_COMPAT.metadata_csum | RO_COMPAT.uninit_bg;
    this.needsLog = (sb.incompat & INCOMPAT.extent) !== 0 || (sb.roCompat & coupled) !== 0;
    this.cache = new BlockCache(port, {
      blockSize: sb.blockSize,
      blocksCount: sb.blocksCount,
      cacheBytes: options.cacheBytes ?? DEFAULT_CACHE_BYTES,
    });
    this.#inodeLimit = options.cacheInodes ?? DEFAULT_CACHE_INODES;
    this.indexLimit = options.indexNames ?? DEFAULT_INDEX_NAMES;
    this.#inodesPerBlock = sb.blockSize / sb.inodeSize;
    this.scratch = new Uint8Array(sb.blockSize);
    this.freeBlocks = getCount(sb, SB.freeBlocksLo, SB.freeBlocksHi);
    this.freeInodes = sb.view.getUint32(SB.freeInodes, true);
    this.reservedBlocks = getCount(sb, SB.reservedBlocksLo, SB.reservedBlocksHi);
    this.inodeHints = new Int32Array(sb.groupsCount);
    this.blockHints = new Int32Array(sb.groupsCount);
    this.blockEnds = new Int32Array(sb.groupsCount);
  }

  /** Whether a word of the inode counts changes of its content: on volumes of Linux. */
  get countsVersions(): boolean {
    return this.#ofLinux;
  }

  get blockSize(): number {
    return this.sb.blockSize;
  }

  /** Runs an operation that changes nothing. */
  read<T>(op: () => T): MaybePromise<T> {
    try {
      const result = op();
      this.#trim();
      return result;
    } catch (thrown) {
      if (thrown instanceof Miss) return thrown.ready.then(() => this.read(op));
      throw toErr(thrown);
    }
  }

  /** Runs an operation that changes the volume: whole or not at all. */
  change<T>(op: () => T, retried = false): MaybePromise<T> {
    if (this.readOnly !== null) throw new Err("EROFS", this.damaged ? `read only: ${this.readOnly}` : undefined);
    if (this.committing) return this.committing.then(() => this.change(op, retried));
    if (this.#full()) {
      const pending = this.commit();
      if (pending) return pending.then(() => this.change(op, retried));
    }
    try {
      const result = op();
      this.tx.commit();
      this.#trim();
      return result;
    } catch (thrown) {
      this.tx.rollback();
      if (thrown instanceof Miss) return thrown.ready.then(() => this.change(op, retried));
      const err = toErr(thrown);
      if (err.code !== "ENOSPC" || retried || this.batch.freedCount + this.batch.freedInodes.size === 0) throw err;
      const pending = this.commit();
      return pending ? pending.then(() => this.change(op, true)) : this.change(op, true);
    }
  }

  /** The inode. EIO when there can be none of that number, or when its checksum is wrong. */
  inode(ino: number): Inode {
    const cached = this.inodes.get(ino);
    if (cached !== undefined) {
      cached.used = true;
      return cached;
    }
    if (!(ino >= 1 && ino <= this.sb.inodesCount)) throw this.damage(`inode number ${ino} is out of range`);
    const buf = this.cache.get(this.tableBlock(ino)), at = this.tableOffset(ino);
    const inode = new Inode(ino, buf.data.slice(at, at + this.sb.inodeSize));
    if (this.sb.hasChecksums) this.#verifyInode(inode);
    this.inodes.set(ino, inode);
    return inode;
  }

  /** An inode whose row of the table was never written: all zeros. */
  newInode(ino: number): void {
    const old = this.inodes.get(ino);
    this.inodes.set(ino, new Inode(ino, new Uint8Array(this.sb.inodeSize)));
    this.tx.undo(() => {
      if (old) this.inodes.set(ino, old);
      else this.inodes.delete(ino);
    });
  }

  /** The block of the inode table in which `ino` lies. */
  tableBlock(ino: number): number {
    const g = this.groups.groupOfInode(ino), index = (ino - 1) % this.sb.inodesPerGroup;
    return this.groups.inodeTable(g) + Math.floor(index / this.#inodesPerBlock);
  }

  /** Where in that block. */
  tableOffset(ino: number): number {
    return ((ino - 1) % this.sb.inodesPerGroup % this.#inodesPerBlock) * this.sb.inodeSize;
  }

  /** Notes that `inode` is about to change; its block of the table stays in memory until the commit. */
  touch(inode: Inode): void {
    if (inode.tx === this.tx.id) return;
    if (!inode.dirty) {
      this.cache.get(this.tableBlock(inode.ino)).pins++;
      inode.dirty = true;
      this.dirtyInodes.add(inode);
    }
    inode.tx = this.tx.id;
    this.tx.save(inode.raw, 0, inode.raw.length);
  }

  /**
   * Notes that bytes of a block are about to change. On a damaged volume it may be somebody else's, too: whoever has found
   * it sound looks again, but for who changes it knowingly (`kind`).
   */
  edit(buf: Buf, offset: number, length: number, kind: number = PLAIN_BLOCK): void {
    this.tx.save(buf.data, offset, length);
    this.cache.mark(buf, false);
    if (kind !== buf.checked) buf.checked = PLAIN_BLOCK;
    buf.kind = kind;
  }

  /** A new block that nothing on the disk points to, all zeros. */
  fresh(block: number): Buf {
    const buf = this.cache.blank(block);
    this.cache.mark(buf, true);
    this.tx.undo(() => this.cache.drop(block));
    return buf;
  }

  /** The error for damage on the disk; marks the volume, and stops writing to it if its superblock says so. */
  damage(what: string): Err {
    this.damageCount++;
    if (!this.damaged && this.readOnly === null) {
      this.damaged = true;
      this.superDirty = true;
      const view = this.sb.view;
      view.setUint16(SB.state, view.getUint16(SB.state, true) | ERROR_FS, true);
      if (view.getUint16(SB.errors, true) >= ERRORS_RO) this.readOnly = `damage was found: ${what}`;
    }
    return new Err("EIO", `ext2: ${what}`);
  }

  /** First value of the checksums of what belongs to an inode. */
  inodeSeed(inode: Inode): number {
    return crc32cWord(crc32cWord(this.sb.checksumSeed, inode.ino), inode.generation);
  }

  /** Adds to a set of the batch, undoably. */
  note(set: Set<number>, ino: number): void {
    if (set.has(ino)) return;
    set.add(ino);
    this.tx.undo(() => set.delete(ino));
  }

  /** True when so much is not on the disk yet that it should go there before more is changed. */
  #full(): boolean {
    const { lost, gained, replaced } = this.batch;
    const blocks = this.cache.dirty.size + this.dirtyInodes.size + this.groups.dirty.size;
    if (this.log && blocks * 2 > this.log.capacity) return true;
    return this.cache.crowded || this.dirtyInodes.size > this.#inodeLimit ||
      (Math.min(lost.size, gained.size) + replaced.size + 2) * PARKED_ENTRY_BYTES > this.blockSize;
  }

  #verifyInode(inode: Inode): void {
    const { raw, view } = inode;
    const wide = inode.extraIsize >= 4;
    const low = view.getUint16(IN.checksumLo, true), high = wide ? view.getUint16(IN.checksumHi, true) : 0;
    view.setUint16(IN.checksumLo, 0, true);
    if (wide) view.setUint16(IN.checksumHi, 0, true);
    const sum = crc32c(this.inodeSeed(inode), raw);
    view.setUint16(IN.checksumLo, low, true);
    if (wide) view.setUint16(IN.checksumHi, high, true);
    const right = (sum & 0xffff) === low && (!wide || (sum >>> 16) === high);
    if (!right && raw.some((b) => b !== 0)) throw this.damage(`inode ${inode.ino}: bad checksum`);
  }

  #trim(): void {
    this.cache.trim();
    if (this.inodes.size <= this.#inodeLimit) return;
    const target = this.#inodeLimit - (this.#inodeLimit >> 2);
    for (let round = 0; round < 2 && this.inodes.size > target; round++) {
      for (const [ino, inode] of this.inodes) {
        if (this.inodes.size <= target) break;
        if (inode.dirty || inode.opens > 0 || inode.index) continue;
        if (inode.used && round === 0) inode.used = false;
        else this.inodes.delete(ino);
      }
    }
  }
}
