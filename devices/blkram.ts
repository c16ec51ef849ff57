/**
 * BlkRam: a disk in memory, gone with the process.
 *
 * Layer: devices. Pieces never written, or discarded, take no memory and read as zeros.
 */

import { Err } from "../core/err.ts";
import { checkRange, type Disk } from "./disk.ts";

/** Bytes of one piece. */
const PIECE_BYTES = 1 << 18;

export class BlkRam implements Disk {
  readonly size: number;
  readonly sectorBytes = 512;
  readonly readOnly: boolean;
  readonly cached = true;
  readonly #pieces = new Map<number, Uint8Array>();
  #reads = 0;
  #writes = 0;

  /** `size` in bytes, a multiple of 512. */
  constructor(size: number, options: { readOnly?: boolean } = {}) {
    if (!Number.isSafeInteger(size) || size <= 0 || size % 512 !== 0) {
      throw new Err("EINVAL", `no size of a disk in memory: ${size}`);
    }
    this.size = size;
    this.readOnly = options.readOnly ?? false;
  }

  read(dst: Uint8Array, offset: number): void {
    checkRange(this, dst.length, offset);
    this.#reads++;
    this.#each(offset, dst.length, (index, within, done, count) => {
      const piece = this.#pieces.get(index);
      if (piece) dst.set(piece.subarray(within, within + count), done);
      else dst.fill(0, done, done + count);
    });
  }

  write(src: Uint8Array, offset: number): void {
    checkRange(this, src.length, offset);
    if (this.readOnly) throw new Err("EROFS");
    this.#writes++;
    this.#each(offset, src.length, (index, within, done, count) => {
      let piece = this.#pieces.get(index);
      if (!piece) this.#pieces.set(index, piece = new Uint8Array(PIECE_BYTES));
      piece.set(count === src.length ? src : src.subarray(done, done + count), within);
    });
  }

  flush(): void {}

  discard(offset: number, length: number): void {
    checkRange(this, length, offset);
    this.#each(offset, length, (index, within, _done, count) => {
      if (count === PIECE_BYTES) this.#pieces.delete(index);
      else this.#pieces.get(index)?.fill(0, within, within + count);
    });
  }

  counters(): Record<string, number> {
    return { reads: this.#reads, writes: this.#writes, bytes: this.#pieces.size * PIECE_BYTES };
  }

  /** Calls `visit` for the part of the range in each piece. */
  #each(
    offset: number,
    length: number,
    visit: (index: number, within: number, done: number, count: number) => void,
  ): void {
    for (let done = 0; done < length;) {
      const within = (offset + done) % PIECE_BYTES, count = Math.min(length - done, PIECE_BYTES - within);
      visit((offset + done - within) / PIECE_BYTES, within, done, count);
      done += count;
    }
  }
}
