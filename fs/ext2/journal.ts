/**
 * The journal of ext3 and ext4: what a volume that was not unmounted holds in its log, laid over the disk in memory.
 *
 * Layer: fs/ext2, above blockmap; fs.ts opens such a volume through the `OverlayPort` that comes of it, or, to
 * write it, lets recover.ts bring the blocks to the disk. Nothing is written here.
 *
 * What holds always: only transactions with their commit block count, in the order of their numbers, and a block that a
 * later transaction revoked is left alone. The log is walked once around at the most.
 *
 * What it does not do: checksums of journal blocks, fast commits (a volume that has them is only what its last full
 * commit made it). See Documentation/filesystems/ext4/journal.rst of Linux.
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { BlockPort } from "../block_port.ts";
import { mapRun } from "./blockmap.ts";
import type { Buf } from "./cache.ts";
import { SB } from "./layout.ts";
import type { Volume } from "./volume.ts";

const MAGIC = 0xc03b3998, HEADER_BYTES = 12, UUID_BYTES = 16;
const DESCRIPTOR = 1, COMMIT = 2, SUPER_V1 = 3, SUPER_V2 = 4, REVOKE = 5;
/** Incompatible features of the journal. */
const HAS_64BIT = 2, CSUM_V2 = 8, CSUM_V3 = 16, KNOWN = 0x3f;
/** Flags of a tag. */
const ESCAPED = 1, SAME_UUID = 2, LAST_TAG = 8;
const HIGH = 0x100000000;
/** More than this is not kept in memory. */
const MAX_REPLAY_BYTES = 512 << 20;

/** One block that a transaction writes: where it is in the log. */
interface Logged {
  block: number;
  at: number;
  escaped: boolean;
}

interface Transaction {
  sequence: number;
  writes: Logged[];
  revokes: number[];
}

/**
 * Reads a journal. `run` is an operation for `Volume.read`: run again after a `Miss`, it goes on where it was.
 */
export class Journal {
  /** Blocks of the disk, as the journal says that they should be. */
  readonly blocks = new Map<number, Uint8Array>();
  readonly #vol: Volume;
  #state: { first: number; last: number; tagBytes: number; wide: boolean; tail: number } | null = null;
  /** Next block of the log, next sequence number, and blocks walked. */
  #at = 0;
  #sequence = 0;
  #walked = 0;
  #open: Transaction = { sequence: 0, writes: [], revokes: [] };
  readonly #done: Transaction[] = [];
  #wanted: Logged[] | null = null;

  constructor(vol: Volume) {
    this.#vol = vol;
  }

  /** The number of the first transaction that the log can have next. */
  get next(): number {
    return (this.#sequence + 1) >>> 0;
  }

  run(): void {
    if (!this.#state && !this.#begin()) return;
    while (!this.#wanted) if (!this.#step()) this.#wanted = this.#settle();
    while (this.#wanted.length > 0) {
      this.#take(this.#wanted.at(-1)!);
      this.#wanted.pop();
    }
  }

  /** Reads the journal's superblock; false when the log is empty. */
  #begin(): boolean {
    const { view } = this.#block(0), type = view.getUint32(4);
    if (view.getUint32(0) !== MAGIC || (type !== SUPER_V1 && type !== SUPER_V2)) throw this.#bad("no superblock");
    const last = view.getUint32(16), first = view.getUint32(20), start = view.getUint32(28);
    const features = type === SUPER_V2 ? view.getUint32(40) : 0;
    if (features & ~KNOWN) throw new Err("EOPNOTSUPP", "ext2: the journal uses what is not supported");
    if (view.getUint32(12) !== this.#vol.blockSize || first < 1 || last <= first) throw this.#bad("superblock");
    if (start === 0) return false;
    if (start < first || start >= last) throw this.#bad("start");
    const wide = (features & HAS_64BIT) !== 0, v2 = (features & CSUM_V2) !== 0, v3 = (features & CSUM_V3) !== 0;
    const tagBytes = v3 ? 16 : 8 + (v2 ? 2 : 0) + (wide ? 4 : 0);
    this.#state = { first, last, tagBytes, wide, tail: v2 || v3 ? 4 : 0 };
    this.#at = start;
    this.#sequence = view.getUint32(24);
    return true;
  }

  /** Takes the next block of the log; false at its end. */
  #step(): boolean {
    const { first, last } = this.#state!;
    if (this.#walked > last - first) return false;
    const { view } = this.#block(this.#at);
    if (view.getUint32(0) !== MAGIC || view.getUint32(8) !== this.#sequence) return false;
    let next = 1;
    switch (view.getUint32(4)) {
      case DESCRIPTOR: {
        const writes = this.#tags(view);
        this.#open.writes.push(...writes);
        next += writes.length;
        break;
      }
      case REVOKE:
        this.#open.revokes.push(...this.#revoked(view));
        break;
      case COMMIT:
        this.#open.sequence = this.#sequence;
        this.#done.push(this.#open);
        this.#open = { sequence: 0, writes: [], revokes: [] };
        this.#sequence = (this.#sequence + 1) >>> 0;
        break;
      default:
        return false;
    }
    this.#at = this.#after(this.#at, next);
    this.#walked += next;
    return true;
  }

  #tags(view: DataView): Logged[] {
    const { tagBytes, wide, tail } = this.#state!, tags: Logged[] = [], end = this.#vol.blockSize - tail;
    for (let p = HEADER_BYTES; p + tagBytes <= end;) {
      const flags = tagBytes === 16 ? view.getUint32(p + 4) : view.getUint16(p + 6);
      const high = wide ? view.getUint32(p + 8) : 0;
      tags.push({
        block: view.getUint32(p) + high * HIGH,
        at: this.#after(this.#at, 1 + tags.length),
        escaped: (flags & ESCAPED) !== 0,
      });
      p += tagBytes + (flags & SAME_UUID ? 0 : UUID_BYTES);
      if (flags & LAST_TAG) break;
    }
    return tags;
  }

  #revoked(view: DataView): number[] {
    const { wide } = this.#state!, size = wide ? 8 : 4, blocks: number[] = [];
    const end = Math.min(view.getUint32(12), this.#vol.blockSize);
    for (let p = 16; p + size <= end; p += size) {
      blocks.push(wide ? view.getUint32(p) * HIGH + view.getUint32(p + 4) : view.getUint32(p));
    }
    return blocks;
  }

  /** What is to be replayed: of each block the last write that was not revoked after it. */
  #settle(): Logged[] {
    const revokedBy = new Map<number, number>(), last = new Map<number, Logged>();
    this.#done.forEach(({ revokes }, i) => revokes.forEach((block) => revokedBy.set(block, i)));
    this.#done.forEach(({ writes }, i) => {
      for (const write of writes) {
        if (write.block >= this.#vol.sb.blocksCount) throw this.#bad(`block ${write.block} is outside of the volume`);
        if ((revokedBy.get(write.block) ?? -1) < i) last.set(write.block, write);
      }
    });
    if (last.size * this.#vol.blockSize > MAX_REPLAY_BYTES) throw new Err("ENOMEM", "ext2: the journal is too long");
    return [...last.values()];
  }

  #take(write: Logged): void {
    const data = this.#block(write.at).data.slice();
    if (write.escaped) new DataView(data.buffer).setUint32(0, MAGIC);
    this.blocks.set(write.block, data);
  }

  /** The place `count` blocks further in the log, which is a ring. */
  #after(at: number, count: number): number {
    const { first, last } = this.#state!;
    return first + ((at - first + count) % (last - first));
  }

  #block(at: number): Buf {
    const vol = this.#vol, ino = vol.sb.view.getUint32(SB.journalInum, true);
    if (ino === 0) throw new Err("EOPNOTSUPP", "ext2: the journal is on another disk");
    const inode = vol.inode(ino);
    if (!inode.isFile || at * vol.blockSize >= inode.size) throw this.#bad(`block ${at}`);
    mapRun(vol, inode, at, 1);
    if (vol.runBlock === 0) throw this.#bad(`block ${at} is a hole`);
    return vol.cache.get(vol.runBlock);
  }

  #bad(what: string): Err {
    return this.#vol.damage(`bad journal: ${what}`);
  }
}

/** A disk with some blocks replaced, read only. */
export class OverlayPort implements BlockPort {
  readonly readOnly = true;
  readonly #under: BlockPort;
  readonly #blocks: Map<number, Uint8Array>;
  readonly #blockSize: number;

  constructor(under: BlockPort, blocks: Map<number, Uint8Array>, blockSize: number) {
    this.#under = under;
    this.#blocks = blocks;
    this.#blockSize = blockSize;
  }

  get size(): number {
    return this.#under.size;
  }
  get sectorBytes(): number {
    return this.#under.sectorBytes;
  }
  get cached(): boolean {
    return this.#under.cached;
  }

  read(dst: Uint8Array, offset: number): MaybePromise<void> {
    const pending = this.#under.read(dst, offset);
    return pending ? pending.then(() => this.#patch(dst, offset)) : this.#patch(dst, offset);
  }

  write(): never {
    throw new Err("EROFS");
  }

  flush(): void {}

  #patch(dst: Uint8Array, offset: number): void {
    const size = this.#blockSize, end = offset + dst.length;
    for (let no = Math.floor(offset / size); no * size < end; no++) {
      const block = this.#blocks.get(no);
      if (!block) continue;
      const from = Math.max(offset, no * size), to = Math.min(end, (no + 1) * size);
      dst.set(block.subarray(from - no * size, to - no * size), from - offset);
    }
  }
}
