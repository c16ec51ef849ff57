/**
 * BlockPort: the one way in which a file system structure reaches its disk, and a port over memory.
 *
 * Layer: fs, a leaf. A device (a host file, a block queue, another machine's disk over 9P) is made a port by whoever
 * owns it; fs/ itself does no I/O.
 *
 * What holds always: offsets and lengths are multiples of `sectorBytes`; of a port that is `cached` they may be any. A port
 * that can answer at once answers `undefined`, never a promise. `dst` and `src` are borrowed until the answer (for a
 * promise: until it settles).
 * Writes that were not followed by a `flush` may reach the disk in any order, or not at all.
 */

import { Err } from "../core/err.ts";
import type { MaybePromise } from "../core/p9/types.ts";

/** A disk: a row of bytes that is read and written in whole sectors. */
export interface BlockPort {
  /** Bytes. */
  readonly size: number;
  /** What offsets and lengths are multiples of, bytes, unless it is `cached`. */
  readonly sectorBytes: number;
  readonly readOnly: boolean;
  /**
   * True where reads and writes answer at once and cost a copy (memory, a page cache beneath), wherever they begin and end:
   * file data needs no second cache.
   */
  readonly cached: boolean;
  /** Fills `dst` from `offset`. Throws or rejects with EIO. */
  read(dst: Uint8Array, offset: number): MaybePromise<void>;
  /** Writes all of `src` at `offset`. */
  write(src: Uint8Array, offset: number): MaybePromise<void>;
  /** Resolves once every write before it is on stable storage. */
  flush(): MaybePromise<void>;
}

/** Bytes of one piece of a `MemoryPort`. */
const CHUNK_BYTES = 1 << 18;

/** A disk in memory. Pieces never written take no memory and read as zeros. */
export class MemoryPort implements BlockPort {
  readonly size: number;
  readonly sectorBytes = 512;
  readonly readOnly: boolean;
  readonly cached = true;
  readonly #chunks: (Uint8Array | undefined)[];

  constructor(size: number, options: { readOnly?: boolean } = {}) {
    this.size = size;
    this.readOnly = options.readOnly ?? false;
    this.#chunks = new Array(Math.ceil(size / CHUNK_BYTES));
  }

  /** A port over a copy of `bytes`. */
  static from(bytes: Uint8Array): MemoryPort {
    const port = new MemoryPort(bytes.length);
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const piece = bytes.subarray(at, at + CHUNK_BYTES);
      if (piece.some((b) => b !== 0)) port.write(piece, at);
    }
    return port;
  }

  read(dst: Uint8Array, offset: number): void {
    this.#check(dst.length, offset);
    let done = 0;
    while (done < dst.length) {
      const at = offset + done, within = at % CHUNK_BYTES;
      const count = Math.min(dst.length - done, CHUNK_BYTES - within);
      const chunk = this.#chunks[(at - within) / CHUNK_BYTES];
      if (chunk) dst.set(chunk.subarray(within, within + count), done);
      else dst.fill(0, done, done + count);
      done += count;
    }
  }

  write(src: Uint8Array, offset: number): void {
    this.#check(src.length, offset);
    if (this.readOnly) throw new Err("EROFS");
    let done = 0;
    while (done < src.length) {
      const at = offset + done, within = at % CHUNK_BYTES, index = (at - within) / CHUNK_BYTES;
      const count = Math.min(src.length - done, CHUNK_BYTES - within);
      const chunk = this.#chunks[index] ??= new Uint8Array(CHUNK_BYTES);
      chunk.set(count === src.length ? src : src.subarray(done, done + count), within);
      done += count;
    }
  }

  flush(): void {}

  /** All of it, as one array. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.size);
    this.#chunks.forEach((chunk, i) => {
      if (chunk) all.set(chunk.subarray(0, Math.min(CHUNK_BYTES, this.size - i * CHUNK_BYTES)), i * CHUNK_BYTES);
    });
    return all;
  }

  #check(length: number, offset: number): void {
    if (offset < 0 || offset + length > this.size) {
      throw new Err("EIO", `${length} bytes at ${offset} are outside of a disk of ${this.size} bytes`);
    }
  }
}
