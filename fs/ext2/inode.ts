/**
 * Inode: one file's row of the inode table, in memory, with its fields by name.
 *
 * Layer: fs/ext2, above layout. An inode in memory is a copy of its bytes; the table's block in the cache keeps what is
 * on the disk until the change is committed (commit.ts), so that the two can be told apart.
 *
 * Times are signed 64-bit seconds as far as the inode's size allows: 32 bits in 128 bytes, until 2446 in more.
 */

import { FL_EXTENTS, FL_HUGE_FILE, FL_INLINE_DATA, IN, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "./layout.ts";
import type { DirIndex } from "./dir_index.ts";

const HIGH = 0x100000000;

/** Which of an inode's times: offsets of the seconds and of the extra word. */
export const ATIME = [IN.atime, IN.atimeExtra] as const, MTIME = [IN.mtime, IN.mtimeExtra] as const;
export const CTIME = [IN.ctime, IN.ctimeExtra] as const, CRTIME = [IN.crtime, IN.crtimeExtra] as const;

/** A time: whole seconds since 1970, and nanoseconds. */
export interface Time {
  sec: number;
  nsec: number;
}

export class Inode {
  readonly ino: number;
  readonly raw: Uint8Array;
  readonly view: DataView;
  /** Differs from the table. */
  dirty = false;
  /** The operation that changed it last. */
  tx = 0;
  /** How many hold it open: while there are any, a file without a name lives on. */
  opens = 0;
  used = true;
  /** A directory's names in memory, if they were read in. */
  index: DirIndex | null = null;
  /** Where the last block was allocated: the next one should follow. */
  lastBlock = 0;
  /** Where the last read ended, bytes: one that begins there goes on in order. */
  readEnd = 0;
  /** Up to which block of the file reading ahead has begun; 0 while it is not read in order. */
  aheadEnd = 0;

  constructor(ino: number, raw: Uint8Array) {
    this.ino = ino;
    this.raw = raw;
    this.view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  }

  get mode(): number {
    return this.view.getUint16(IN.mode, true);
  }
  set mode(value: number) {
    this.view.setUint16(IN.mode, value, true);
  }

  get isDir(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR;
  }
  get isFile(): boolean {
    return (this.mode & S_IFMT) === S_IFREG;
  }
  get isSymlink(): boolean {
    return (this.mode & S_IFMT) === S_IFLNK;
  }

  get uid(): number {
    return this.view.getUint16(IN.uidLo, true) + this.view.getUint16(IN.uidHi, true) * 65536;
  }
  set uid(value: number) {
    this.view.setUint16(IN.uidLo, value & 0xffff, true);
    this.view.setUint16(IN.uidHi, value >>> 16, true);
  }

  get gid(): number {
    return this.view.getUint16(IN.gidLo, true) + this.view.getUint16(IN.gidHi, true) * 65536;
  }
  set gid(value: number) {
    this.view.setUint16(IN.gidLo, value & 0xffff, true);
    this.view.setUint16(IN.gidHi, value >>> 16, true);
  }

  get links(): number {
    return this.view.getUint16(IN.links, true);
  }
  set links(value: number) {
    this.view.setUint16(IN.links, value, true);
  }

  get flags(): number {
    return this.view.getUint32(IN.flags, true);
  }
  set flags(value: number) {
    this.view.setUint32(IN.flags, value, true);
  }

  get generation(): number {
    return this.view.getUint32(IN.generation, true);
  }
  set generation(value: number) {
    this.view.setUint32(IN.generation, value, true);
  }

  /** Counts changes of the content; Linux's word for it, which other systems use for other things. */
  get version(): number {
    return this.view.getUint32(IN.version, true);
  }
  set version(value: number) {
    this.view.setUint32(IN.version, value, true);
  }

  /** Bytes. The high half is a size only in a regular file: elsewhere old volumes keep other things there. */
  get size(): number {
    const low = this.view.getUint32(IN.sizeLo, true);
    return this.isFile ? low + this.view.getUint32(IN.sizeHi, true) * HIGH : low;
  }
  set size(value: number) {
    this.view.setUint32(IN.sizeLo, value % HIGH, true);
    if (this.isFile) this.view.setUint32(IN.sizeHi, Math.floor(value / HIGH), true);
  }

  /** Units of 512 bytes (with FL_HUGE_FILE: of a block) that the file takes, pointers and attributes included. */
  get blocks(): number {
    return this.view.getUint32(IN.blocksLo, true) + this.view.getUint16(IN.blocksHi, true) * HIGH;
  }
  set blocks(value: number) {
    this.view.setUint32(IN.blocksLo, value % HIGH, true);
    this.view.setUint16(IN.blocksHi, Math.floor(value / HIGH), true);
  }

  /** Block of extended attributes, or 0. */
  get fileAcl(): number {
    return this.view.getUint32(IN.fileAclLo, true) + this.view.getUint16(IN.fileAclHi, true) * HIGH;
  }
  set fileAcl(value: number) {
    this.view.setUint32(IN.fileAclLo, value % HIGH, true);
    this.view.setUint16(IN.fileAclHi, Math.floor(value / HIGH), true);
  }

  get dtime(): number {
    return this.view.getUint32(IN.dtime, true);
  }
  set dtime(value: number) {
    this.view.setUint32(IN.dtime, value, true);
  }

  /** Bytes past the first 128 that hold fields. */
  get extraIsize(): number {
    return this.raw.length > 128 ? this.view.getUint16(IN.extraIsize, true) : 0;
  }

  get hasExtents(): boolean {
    return (this.flags & FL_EXTENTS) !== 0;
  }
  get hasInlineData(): boolean {
    return (this.flags & FL_INLINE_DATA) !== 0;
  }
  get hasHugeBlocks(): boolean {
    return (this.flags & FL_HUGE_FILE) !== 0;
  }

  /** Pointer `i` of the fifteen. */
  pointer(i: number): number {
    return this.view.getUint32(IN.block + i * 4, true);
  }
  setPointer(i: number, block: number): void {
    this.view.setUint32(IN.block + i * 4, block, true);
  }

  /** Whole seconds of a time. */
  seconds(time: readonly [number, number]): number {
    const low = this.view.getInt32(time[0], true);
    return this.#hasExtra(time[1]) ? low + (this.view.getUint32(time[1], true) & 3) * HIGH : low;
  }

  nanoseconds(time: readonly [number, number]): number {
    return this.#hasExtra(time[1]) ? this.view.getUint32(time[1], true) >>> 2 : 0;
  }

  /** Sets a time, to the nearest that the inode can hold; nothing where it has no room for that time. */
  setTime(time: readonly [number, number], sec: number, nsec: number): void {
    const extra = this.#hasExtra(time[1]);
    if (!extra && time[0] >= 128) return;
    const most = extra ? 3 * HIGH + 0x7fffffff : 0x7fffffff;
    const value = Math.max(-0x80000000, Math.min(most, Math.floor(sec)));
    this.view.setInt32(time[0], value | 0, true);
    if (!extra) return;
    const epoch = Math.round((value - (value | 0)) / HIGH);
    this.view.setUint32(time[1], ((nsec << 2) | (epoch & 3)) >>> 0, true);
  }

  #hasExtra(at: number): boolean {
    return this.raw.length > 128 && 128 + this.extraIsize >= at + 4 && at + 4 <= this.raw.length;
  }
}
