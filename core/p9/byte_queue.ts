/**
 * ByteQueue: pieces of bytes that come in on their own, for a reader that asks for them.
 *
 * Layer: core/p9, pure; below the transports that are fed by events. It holds what it is given without copying.
 */

import { Err } from "../err.ts";

/** Bytes in, bytes out. */
export class ByteQueue {
  /** Bytes that wait to be read. */
  size = 0;
  #pieces: Uint8Array[] = [];
  #at = 0;
  #ended = false;
  #reader: { into: Uint8Array; done: (count: number | null) => void } | undefined;

  /** Adds bytes, which are the queue's from now on. After `end` they are dropped. */
  push(bytes: Uint8Array): void {
    if (this.#ended || bytes.length === 0) return;
    this.#pieces.push(bytes);
    this.size += bytes.length;
    const reader = this.#reader;
    if (!reader) return;
    this.#reader = undefined;
    reader.done(this.#take(reader.into));
  }

  /** No more will come: what is there is still read. */
  end(): void {
    this.#ended = true;
    this.#reader?.done(null);
    this.#reader = undefined;
  }

  /** As `Transport.read`. */
  read(into: Uint8Array): number | null | Promise<number | null> {
    if (this.#reader) throw new Err("EBUSY", "a read of this transport is under way");
    if (this.size > 0) return this.#take(into);
    if (this.#ended) return null;
    return new Promise((done) => this.#reader = { into, done });
  }

  #take(into: Uint8Array): number {
    let count = 0, taken = 0;
    while (count < into.length && taken < this.#pieces.length) {
      const piece = this.#pieces[taken];
      const part = piece.subarray(this.#at, this.#at + into.length - count);
      into.set(part, count);
      count += part.length;
      this.#at += part.length;
      if (this.#at < piece.length) break;
      this.#at = 0;
      taken++;
    }
    this.#pieces.splice(0, taken);
    this.size -= count;
    return count;
  }
}
