/**
 * Input: frames out of a byte stream. Many messages of one socket read are handed out without copying.
 *
 * Layer: core/p9, below sessions and clients. A frame announces its size; one that is too small or over the limit ends
 * the stream before anything is allocated for it.
 */

import { Err } from "../err.ts";
import { alignment, BEGIN } from "./align.ts";
import { Reader } from "./cursor.ts";
import type { Transport } from "./transport.ts";

/** Bytes of the buffer that every stream has; one with larger messages gets a larger one. */
const SMALL_BYTES = 64 * 1024;
/** Room beyond the largest message, so that those that follow it come in the same read. */
const AHEAD_BYTES = 192 * 1024;
/** The smallest message: size, type, tag. */
const MIN_FRAME_BYTES = 7;

/** The incoming side of a session or client. */
export class Input {
  readonly #transport: Transport;
  /** Messages are decoded from here; valid until the next `fill`. */
  reader: Reader = new Reader(new Uint8Array(SMALL_BYTES));
  /** The largest message taken, bytes: msize, once that is agreed on. */
  maxFrame: number;
  bytesIn = 0;
  #start = 0;
  #filled = 0;

  constructor(transport: Transport, maxFrame: number) {
    this.#transport = transport;
    this.maxFrame = maxFrame;
  }

  /** Whether part of a message has come, and the rest has not. */
  get partial(): boolean {
    return this.#filled > this.#start;
  }

  /** Reads more bytes: false at the end of the stream. */
  fill(): boolean | Promise<boolean> {
    this.#makeRoom();
    const read = this.#transport.read(this.reader.bytes.subarray(this.#filled));
    return read instanceof Promise ? read.then((n) => this.#took(n)) : this.#took(read);
  }

  #took(count: number | null): boolean {
    if (count === null) return false;
    this.#filled += count;
    this.bytesIn += count;
    return true;
  }

  /** Points `reader` at the next whole message, past its size; false when none is there. Throws EMSGSIZE for a size that no message has. */
  next(): boolean {
    const { reader } = this;
    const available = this.#filled - this.#start;
    if (available < 4) return false;
    const size = reader.reset(this.#start, this.#filled).u32();
    if (size < MIN_FRAME_BYTES || size > this.maxFrame) {
      throw new Err("EMSGSIZE", `message of ${size} bytes, at most ${this.maxFrame}`);
    }
    if (available < size) return false;
    this.#start += size;
    reader.end = this.#start;
    return true;
  }

  /** Moves a partial message to the front, into a larger buffer when it needs one. */
  #makeRoom(): void {
    const { bytes } = this.reader;
    const left = this.#filled - this.#start;
    const size = left >= 4 ? this.reader.reset(this.#start, this.#filled).u32() : 0;
    const front = alignment(this.bytesIn - left, BEGIN.input);
    if (left === 0) this.#start = this.#filled = front;
    const large = 2 * size > bytes.length && bytes.length === SMALL_BYTES;
    if (large || front + size > bytes.length) return this.#grow(front);
    if (left === 0 || this.#start + Math.max(size, left + 1) <= bytes.length) return;
    bytes.copyWithin(front, this.#start, this.#filled);
    this.#start = front;
    this.#filled = front + left;
  }

  #grow(front: number): void {
    const grown = new Uint8Array(this.maxFrame + AHEAD_BYTES);
    grown.set(this.reader.bytes.subarray(this.#start, this.#filled), front);
    this.#filled += front - this.#start;
    this.#start = front;
    this.reader = new Reader(grown);
  }
}
