/**
 * ByteQueue: a bounded queue of bytes between writers that wait for room and readers that wait for bytes.
 *
 * Layer: plugins/pipe, pure. What holds always: readers are served in the order they came, writers too; a write of
 * at most `limit` bytes goes in whole or waits; no reader waits while there are bytes, no writer while there is room
 * for what it has.
 *
 * See qio(9) for its forebear.
 */

import { Err } from "../../core/err.ts";
import type { Req } from "../../core/dev.ts";

interface Reader {
  count: number;
  resolve(bytes: Uint8Array): void;
}

interface Writer {
  bytes: Uint8Array;
  /** Bytes of it that are in the queue already. */
  done: number;
  resolve(count: number): void;
  reject(why: Err): void;
}

/** One direction of a pipe. */
export class ByteQueue {
  /** Whether a read ends where a write did. */
  oneblock = false;
  /** Bytes that can be read. */
  length = 0;
  readonly limit: number;
  #blocks: Uint8Array[] = [];
  /** Bytes of the first block that are read already. */
  #skip = 0;
  #readers: Reader[] = [];
  #writers: Writer[] = [];
  #closed = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes at once when there are some (their count, put into `dst`), else when they come; 0 bytes at the end. */
  read(dst: Uint8Array, req: Req): number | Promise<Uint8Array> {
    if (this.length > 0 || this.#closed || dst.length === 0) {
      const count = this.#take(dst);
      this.#admitWriters();
      return count;
    }
    return new Promise((resolve, reject) => {
      const reader = { count: dst.length, resolve };
      this.#readers.push(reader);
      req.onFlush(() => {
        if (!drop(this.#readers, reader)) return;
        reject(new Err("EINTR"));
      });
    });
  }

  /** Takes all of `data`, at once when there is room. EPIPE when nobody will read it. */
  write(data: Uint8Array, req: Req): number | Promise<number> {
    if (this.#closed) throw new Err("EPIPE");
    if (this.#writers.length === 0 && this.#hasRoom(data.length)) {
      this.#put(data.slice());
      return data.length;
    }
    return new Promise((resolve, reject) => {
      const writer = { bytes: data.slice(), done: 0, resolve, reject };
      this.#writers.push(writer);
      this.#admitWriters();
      req.onFlush(() => {
        if (!drop(this.#writers, writer)) return;
        if (writer.done > 0) resolve(writer.done);
        else reject(new Err("EINTR"));
        this.#admitWriters();
      });
    });
  }

  /** The end: what is there can still be read, nothing more is written. */
  hangup(): void {
    this.#closed = true;
    for (const reader of this.#readers.splice(0)) reader.resolve(new Uint8Array(0));
    for (const writer of this.#writers.splice(0)) {
      if (writer.done > 0) writer.resolve(writer.done);
      else writer.reject(new Err("EPIPE"));
    }
  }

  /** Empty and open again. */
  reset(): void {
    this.hangup();
    this.#blocks = [];
    this.#skip = this.length = 0;
    this.#closed = false;
  }

  #hasRoom(bytes: number): boolean {
    return this.length + bytes <= this.limit;
  }

  #put(block: Uint8Array): void {
    if (block.length === 0) return;
    this.#blocks.push(block);
    this.length += block.length;
    while (this.length > 0 && this.#readers.length > 0) {
      const reader = this.#readers.shift()!;
      const bytes = new Uint8Array(Math.min(reader.count, this.length));
      reader.resolve(bytes.subarray(0, this.#take(bytes)));
    }
  }

  /** Moves bytes to `dst`: of one block, or, as a stream, of as many as fit. */
  #take(dst: Uint8Array): number {
    let done = 0;
    while (done < dst.length && this.#blocks.length > 0) {
      const block = this.#blocks[0], count = Math.min(block.length - this.#skip, dst.length - done);
      dst.set(block.subarray(this.#skip, this.#skip + count), done);
      done += count;
      this.#skip += count;
      this.length -= count;
      if (this.#skip < block.length) break;
      this.#blocks.shift();
      this.#skip = 0;
      if (this.oneblock) break;
    }
    return done;
  }

  /** Lets waiting writers in, in order; one with more than the limit goes in piece by piece. */
  #admitWriters(): void {
    while (this.#writers.length > 0) {
      const writer = this.#writers[0], left = writer.bytes.length - writer.done;
      const piece = Math.min(left, this.limit);
      if (!this.#hasRoom(piece)) return;
      this.#put(writer.bytes.subarray(writer.done, writer.done + piece));
      writer.done += piece;
      if (writer.done < writer.bytes.length) continue;
      this.#writers.shift();
      writer.resolve(writer.bytes.length);
    }
  }
}

/** Takes `item` out of `list`; false when it was not in it. */
function drop<T>(list: T[], item: T): boolean {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
  return at >= 0;
}
