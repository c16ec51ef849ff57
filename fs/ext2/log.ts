/**
 * The log that commits are written to where the order of writes alone does not do: transactions of jbd2.
 *
 * Layer: fs/ext2, above blockmap; commit.ts writes through it, journal.ts reads. There are two kinds:
 * - of a volume with a journal (ext3, ext4): its own.
 * - *passing*: a volume without one that moves a directory takes free blocks for a journal (in the inode that is kept for
 *   one), says so in the superblock for the moment in which the move reaches the disk, and gives them back later. So
 *   `e2fsck -p` finds a directory with its old name and parent, or with the new ones, and nothing between.
 *
 * What holds always: a transaction is whole in the log, and flushed, before the one write that makes it count; what it
 * says is in place, and flushed, before the log is empty again. So there is one transaction in a log at a time, it
 * begins at the log's start, and nothing has to be revoked.
 *
 * See Documentation/filesystems/ext4/journal.rst of Linux.
 */

import { Err } from "../../core/err.ts";
import { allocRun, mapRun } from "./blockmap.ts";
import { Buf } from "./cache.ts";
import { crc32c, crc32cWord } from "./crc.ts";
import { releaseStep } from "./file.ts";
import type { Inode } from "./inode.ts";
import { COMPAT, IN, JOURNAL_INO, S_IFREG, SB } from "./layout.ts";
import type { Volume } from "./volume.ts";

const MAGIC = 0xc03b3998, HEADER_BYTES = 12, UUID_BYTES = 16, SUPER_BYTES = 1024;
const DESCRIPTOR = 1, COMMIT = 2, SUPER_V1 = 3, SUPER_V2 = 4;
const REVOKES = 1, HAS_64BIT = 2, ASYNC_COMMIT = 4, CSUM_V2 = 8, CSUM_V3 = 16;
const KNOWN = REVOKES | HAS_64BIT | ASYNC_COMMIT | CSUM_V2 | CSUM_V3;
const ESCAPED = 1, SAME_UUID = 2, LAST_TAG = 8;
const HIGH = 0x100000000;
/** Fields of a journal's superblock, big-endian. */
const JS = {
  blockSize: 12,
  maxLength: 16,
  first: 20,
  sequence: 24,
  start: 28,
  compat: 36,
  incompat: 40,
  uuid: 48,
  users: 64,
  checksumType: 80,
  checksum: 252,
} as const;
const CRC32C_TYPE = 4;
/** What the format asks of a journal, blocks; a passing one has no more. */
const MIN_BLOCKS = 1024;
/** Blocks of a journal that are used at the most. */
const MAX_BLOCKS = 8192;

/** What a passing journal is known by (its uuid): it is given back, also after others have recovered it. */
const PASSING_UUID = new TextEncoder().encode("ring9 passinglog");

/** A log in use. */
export class Log {
  readonly passing: boolean;
  /** Where each block of the log lies; the first is its superblock. */
  readonly #blocks: number[];
  readonly #head: Uint8Array;
  readonly #view: DataView;
  readonly #tagBytes: number;
  readonly #first: number;
  /** First value of checksums; -1 without. */
  readonly #seed: number;
  #sequence: number;

  constructor(blocks: number[], head: Uint8Array, passing: boolean) {
    this.passing = passing;
    this.#blocks = blocks;
    this.#head = head;
    this.#view = new DataView(head.buffer, head.byteOffset, head.length);
    const features = this.#incompat, sums = (features & (CSUM_V2 | CSUM_V3)) !== 0;
    const old = 8 + (features & CSUM_V2 ? 2 : 0) + (features & HAS_64BIT ? 4 : 0);
    this.#tagBytes = features & CSUM_V3 ? 16 : old;
    this.#first = this.#view.getUint32(JS.first);
    this.#seed = sums ? crc32c(0xffffffff, head, JS.uuid, JS.uuid + UUID_BYTES) : -1;
    this.#sequence = this.#view.getUint32(JS.sequence);
  }

  get #incompat(): number {
    return this.#view.getUint32(4) === SUPER_V2 ? this.#view.getUint32(JS.incompat) : 0;
  }

  /** Blocks that one transaction can have. */
  get capacity(): number {
    const room = this.#blocks.length - this.#first - 1;
    return Math.floor((room * this.#tagsPerBlock) / (this.#tagsPerBlock + 1)) - 1;
  }

  get #tagsPerBlock(): number {
    return Math.floor((this.#head.length - HEADER_BYTES - UUID_BYTES - (this.#seed >= 0 ? 4 : 0)) / this.#tagBytes);
  }

  /** The log's superblock: `full` when the transaction in it counts, else what the next one is. */
  superblock(full: boolean): Buf {
    const view = this.#view;
    if (!full) this.#sequence = (this.#sequence + 1) >>> 0;
    view.setUint32(JS.sequence, this.#sequence);
    view.setUint32(JS.start, full ? this.#first : 0);
    if (this.#seed >= 0) sealHead(this.#head);
    return new Buf(this.#blocks[0], this.#head);
  }

  /** The log's blocks for a transaction of `bufs`, at most `capacity`. */
  transaction(bufs: Buf[]): Buf[] {
    const logged: Buf[] = [], per = this.#tagsPerBlock;
    const put = (data: Uint8Array) => logged.push(new Buf(this.#blocks[this.#first + logged.length], data));
    for (let i = 0; i < bufs.length; i += per) {
      const part = bufs.slice(i, i + per), copies = part.map((buf) => escaped(buf.data));
      put(this.#descriptor(part, copies));
      for (const copy of copies) put(copy);
    }
    put(this.#commit());
    return logged;
  }

  #block(type: number): { data: Uint8Array; view: DataView } {
    const data = new Uint8Array(this.#head.length), view = new DataView(data.buffer);
    view.setUint32(0, MAGIC);
    view.setUint32(4, type);
    view.setUint32(8, this.#sequence);
    return { data, view };
  }

  #descriptor(bufs: Buf[], copies: Uint8Array[]): Uint8Array {
    const { data, view } = this.#block(DESCRIPTOR);
    let p = HEADER_BYTES;
    bufs.forEach((buf, i) => {
      const flags = (copies[i] === buf.data ? 0 : ESCAPED) | (i > 0 ? SAME_UUID : 0) |
        (i === bufs.length - 1 ? LAST_TAG : 0);
      this.#tag(view, p, { block: buf.no, flags, copy: copies[i] });
      p += this.#tagBytes;
      if (i > 0) return;
      data.set(this.#head.subarray(JS.uuid, JS.uuid + UUID_BYTES), p);
      p += UUID_BYTES;
    });
    if (this.#seed >= 0) view.setUint32(data.length - 4, crc32c(this.#seed, data));
    return data;
  }

  #tag(view: DataView, p: number, tag: { block: number; flags: number; copy: Uint8Array }): void {
    view.setUint32(p, tag.block % HIGH);
    const sum = this.#seed < 0 ? 0 : crc32c(crc32cWord(this.#seed, swapped(this.#sequence)), tag.copy);
    if (this.#tagBytes === 16) {
      view.setUint32(p + 4, tag.flags);
      view.setUint32(p + 12, sum);
    } else {
      view.setUint16(p + 4, sum & 0xffff);
      view.setUint16(p + 6, tag.flags);
    }
    if (this.#incompat & HAS_64BIT) view.setUint32(p + 8, Math.floor(tag.block / HIGH));
  }

  #commit(): Uint8Array {
    const { data, view } = this.#block(COMMIT);
    if (this.#seed >= 0) view.setUint32(16, crc32c(this.#seed, data));
    return data;
  }
}

function sealHead(head: Uint8Array): void {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  view.setUint8(JS.checksumType, CRC32C_TYPE);
  view.setUint32(JS.checksum, 0);
  view.setUint32(JS.checksum, crc32c(0xffffffff, head, 0, SUPER_BYTES));
}

/** The superblock of a volume's journal, saying that it is empty and that `next` is its next transaction. */
export function emptyHead(vol: Volume, next: number): Buf {
  const inode = vol.inode(vol.sb.view.getUint32(SB.journalInum, true));
  const no = blocksOf(vol, inode)[0], head = vol.cache.get(no).data.slice(), view = new DataView(head.buffer);
  view.setUint32(JS.sequence, next);
  view.setUint32(JS.start, 0);
  if (view.getUint32(4) === SUPER_V2 && view.getUint32(JS.incompat) & (CSUM_V2 | CSUM_V3)) sealHead(head);
  return new Buf(no, head);
}

/** A word with its bytes the other way round: what a checksum takes of a big-endian field. */
function swapped(word: number): number {
  return ((word >>> 24) | ((word >>> 8) & 0xff00) | ((word << 8) & 0xff0000) | (word << 24)) >>> 0;
}

/** The block as it goes to the log: one that begins as the log's own blocks do is changed there. */
function escaped(data: Uint8Array): Uint8Array {
  if (new DataView(data.buffer, data.byteOffset, 4).getUint32(0) !== MAGIC) return data;
  const copy = data.slice();
  copy.fill(0, 0, 4);
  return copy;
}

/**
 * The log of a volume that has a journal, which must be empty; of one without, a passing one that was not given back. An
 * operation for `Volume.read`. EOPNOTSUPP where the journal has what is not written here.
 */
export function findLog(vol: Volume): Log | null {
  const { view, compat, revision } = vol.sb, own = (compat & COMPAT.has_journal) !== 0;
  const ino = own ? view.getUint32(SB.journalInum, true) : JOURNAL_INO;
  if (ino === 0) throw new Err("EOPNOTSUPP", "has_journal: the journal is on another disk");
  if (!own && (revision === 0 || vol.inode(ino).links === 0)) return null;
  const inode = vol.inode(ino), blocks = blocksOf(vol, inode);
  const head = blocks.length > 0 ? vol.cache.get(blocks[0]).data.slice() : new Uint8Array(SUPER_BYTES);
  const passing = !own || PASSING_UUID.every((byte, i) => head[JS.uuid + i] === byte);
  if (passing && blocks.length < MIN_BLOCKS) return null;
  if (!passing) checkHead(vol, head, blocks.length);
  else if (own) forgetJournal(vol);
  return new Log(blocks, passing ? newHead(vol, blocks.length) : head, passing);
}

/** The superblock of a volume whose journal was a passing one: it has none. */
function forgetJournal(vol: Volume): void {
  const { view, raw } = vol.sb;
  view.setUint32(SB.compat, view.getUint32(SB.compat, true) & ~COMPAT.has_journal, true);
  view.setUint32(SB.journalInum, 0, true);
  view.setUint8(SB.journalBackupType, 0);
  raw.fill(0, SB.journalBackup, SB.journalBackup + 17 * 4);
  vol.superDirty = true;
}

function blocksOf(vol: Volume, inode: Inode): number[] {
  const blocks: number[] = [], count = Math.min(MAX_BLOCKS, Math.floor(inode.size / vol.blockSize));
  while (blocks.length < count) {
    mapRun(vol, inode, blocks.length, count - blocks.length);
    if (vol.runBlock === 0) throw new Err("EOPNOTSUPP", "has_journal: the journal has holes");
    for (let i = 0; i < vol.runCount; i++) blocks.push(vol.runBlock + i);
  }
  return blocks;
}

function checkHead(vol: Volume, head: Uint8Array, blocks: number): void {
  const view = new DataView(head.buffer, head.byteOffset, head.length), type = view.getUint32(4);
  const no = (why: string) => new Err("EOPNOTSUPP", `has_journal: ${why}`);
  if (view.getUint32(0) !== MAGIC || (type !== SUPER_V1 && type !== SUPER_V2)) {
    throw no("the journal has no superblock");
  }
  const first = view.getUint32(JS.first), users = type === SUPER_V2 ? view.getUint32(JS.users) : 1;
  const unknown = type === SUPER_V2 ? view.getUint32(JS.compat) | (view.getUint32(JS.incompat) & ~KNOWN) : 0;
  if (unknown !== 0) throw no("the journal has features that are only read here");
  if (view.getUint32(JS.blockSize) !== vol.blockSize || users > 1) throw no("the journal is not this volume's alone");
  if (view.getUint32(JS.maxLength) < Math.min(blocks, MAX_BLOCKS) || first < 1 || first + 64 > blocks) {
    throw no("the journal is too short");
  }
  if (view.getUint32(JS.start) !== 0) throw no("the journal is not empty");
}

function newHead(vol: Volume, blocks: number): Uint8Array {
  const head = new Uint8Array(vol.blockSize), view = new DataView(head.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, SUPER_V2);
  view.setUint32(JS.blockSize, vol.blockSize);
  view.setUint32(JS.maxLength, blocks);
  view.setUint32(JS.first, 1);
  view.setUint32(JS.sequence, Math.max(1, Math.floor(vol.now() / 1000) % 0x7fffffff));
  view.setUint32(JS.users, 1);
  head.set(PASSING_UUID, JS.uuid);
  return head;
}

/** Whether `reserveLog` would have a log, as things are. */
export function canReserveLog(vol: Volume): boolean {
  if (vol.log) return true;
  const need = MIN_BLOCKS + 3 + Math.ceil(MIN_BLOCKS / (vol.blockSize / 4));
  // A log that stays until the volume is closed must not take the room that files need.
  return vol.sb.revision > 0 && vol.freeBlocks - vol.batch.freedCount >= (vol.needsLog ? 4 * need : need);
}

/** Part of an operation: sees that this batch can be committed through a log. False when there is no room for one. */
export function reserveLog(vol: Volume): boolean {
  if (vol.log) return true;
  if (!canReserveLog(vol)) return false;
  const inode = vol.inode(JOURNAL_INO), blocks: number[] = [];
  if (inode.links !== 0) return false;
  vol.touch(inode);
  inode.raw.fill(0);
  if (inode.raw.length > 128) inode.view.setUint16(IN.extraIsize, 32, true);
  inode.lastBlock = 0;
  inode.mode = S_IFREG | 0o600;
  inode.links = 1;
  while (blocks.length < MIN_BLOCKS) {
    allocRun(vol, inode, blocks.length, MIN_BLOCKS - blocks.length);
    for (let i = 0; i < vol.runCount; i++) blocks.push(vol.runBlock + i);
  }
  inode.size = MIN_BLOCKS * vol.blockSize;
  vol.log = new Log(blocks, newHead(vol, MIN_BLOCKS), true);
  vol.tx.undo(() => vol.log = null);
  return true;
}

/** An operation: gives a passing log back. */
export function releaseLog(vol: Volume): void {
  const { log } = vol;
  if (!log?.passing) return;
  const inode = vol.inode(JOURNAL_INO);
  while (!releaseStep(vol, inode));
  inode.raw.fill(0);
  vol.log = null;
  vol.tx.undo(() => vol.log = log);
}
