/**
 * Disk: what a block device is to whoever owns it; a part of one, and one in memory.
 *
 * Layer: devices, a leaf. A Disk is what fs/block_port.ts calls a BlockPort, with an end and counters: devices import the
 * core alone, so it is said here again. What holds always: offsets and lengths are multiples of `sectorBytes`, or any
 * where the disk is `cached`; what can be answered at once is answered with `undefined`; `dst` and `src` are borrowed
 * until the answer (for a promise: until it settles). Writes that no `flush` followed may reach the disk in any order, or not at all.
 */

import { Err } from "../core/err.ts";
import type { MaybePromise } from "../core/p9/types.ts";

/** A disk: a row of bytes that is read and written in whole sectors. */
export interface Disk {
  /** Bytes. */
  readonly size: number;
  /** What offsets and lengths are multiples of, bytes. */
  readonly sectorBytes: number;
  readonly readOnly: boolean;
  /** True where reads and writes answer at once and cost a copy, wherever they begin and end: no second cache is needed. */
  readonly cached: boolean;
  /** Fills `dst` from `offset`. EIO. */
  read(dst: Uint8Array, offset: number): MaybePromise<void>;
  /** Writes all of `src` at `offset`. EIO, ENOSPC, EROFS. */
  write(src: Uint8Array, offset: number): MaybePromise<void>;
  /** Resolves once every write before it is on stable storage. */
  flush(): MaybePromise<void>;
  /** Says that these bytes are of no use any more; they may read as anything afterwards. */
  discard?(offset: number, length: number): MaybePromise<void>;
  /** Requests, bytes and errors so far. */
  counters?(): Record<string, number>;
  /** Gives the device back. Nothing is under way any more. */
  close?(): MaybePromise<void>;
}

/** Throws EIO unless the request lies inside the disk; EINVAL unless in whole sectors, where that matters. */
export function checkRange(disk: Disk, length: number, offset: number): void {
  if (!(offset >= 0 && offset + length <= disk.size)) {
    throw new Err("EIO", `${length} bytes at ${offset} are outside of a disk of ${disk.size} bytes`);
  }
  if (disk.cached) return;
  if (offset % disk.sectorBytes !== 0 || length % disk.sectorBytes !== 0) {
    throw new Err("EINVAL", `${length} bytes at ${offset} are no whole sectors of ${disk.sectorBytes} bytes`);
  }
}

/** A row of sectors of a disk as a disk of its own: no request reaches past its ends. */
export class DiskPart implements Disk {
  readonly #disk: Disk;
  readonly #start: number;
  readonly size: number;
  readonly sectorBytes: number;
  readonly readOnly: boolean;
  readonly cached: boolean;

  /** `start` and `size` in bytes. EINVAL when they are not inside the disk. */
  constructor(disk: Disk, range: { start: number; size: number; readOnly?: boolean }) {
    const { start, size } = range;
    if (!(start >= 0 && size >= 0 && start + size <= disk.size)) throw new Err("EINVAL", "the part is not on the disk");
    if (start % disk.sectorBytes !== 0) throw new Err("EINVAL", "the part does not begin with a sector");
    this.#disk = disk;
    this.#start = start;
    this.size = size - (size % disk.sectorBytes);
    this.sectorBytes = disk.sectorBytes;
    this.readOnly = disk.readOnly || (range.readOnly ?? false);
    this.cached = disk.cached;
  }

  read(dst: Uint8Array, offset: number): MaybePromise<void> {
    checkRange(this, dst.length, offset);
    return this.#disk.read(dst, this.#start + offset);
  }

  write(src: Uint8Array, offset: number): MaybePromise<void> {
    checkRange(this, src.length, offset);
    if (this.readOnly) throw new Err("EROFS");
    return this.#disk.write(src, this.#start + offset);
  }

  flush(): MaybePromise<void> {
    return this.#disk.flush();
  }

  discard(offset: number, length: number): MaybePromise<void> {
    checkRange(this, length, offset);
    return this.#disk.discard?.(this.#start + offset, length);
  }

  counters(): Record<string, number> {
    return this.#disk.counters?.() ?? {};
  }
}
