/**
 * Output: the replies of one session on their way out. Many replies leave in one write.
 *
 * Layer: core/p9, below the session. One buffer may be filled while another is written. Buffers come from a pool that all
 * sessions share, and go back as soon as they are written: the one used last, which is in the caches, is used next, and an
 * idle connection holds none. A new one holds as much as was just written, so that replies are seldom moved to a larger one.
 */

import { alignment, BEGIN } from "./align.ts";
import { WORD_BYTES } from "./bytes.ts";
import { Writer } from "./cursor.ts";
import type { Transport } from "./transport.ts";

/** Bytes of a small buffer: a reply of 64 KiB, wherever it begins. */
const SMALL_BUFFER_BYTES = 64 * 1024 + 64;
/** What waits unwritten before a session stops taking requests, bytes. */
export const HIGH_WATER_BYTES = 256 * 1024;
/** Bytes of a buffer for a batch of replies of 64 KiB. */
const BATCH_BUFFER_BYTES = HIGH_WATER_BYTES + SMALL_BUFFER_BYTES;
/** Room beyond the largest read that a reply may take, bytes. */
const REPLY_SLACK_BYTES = 72 * 1024;
/** Buffers of a size that are kept for the next that needs one. */
const POOL_KEEPS = 8;

/** Buffers that sessions share. */
export class BufferPool {
  /** Bytes of a large buffer. */
  readonly largeBytes: number;
  /** The sizes, the smallest first, and the empty buffers of each. */
  readonly #sizes: readonly number[];
  readonly #shelves: readonly Writer[][];

  constructor(maxMsize: number) {
    this.largeBytes = HIGH_WATER_BYTES + 3 * maxMsize + REPLY_SLACK_BYTES;
    this.#sizes = [SMALL_BUFFER_BYTES, BATCH_BUFFER_BYTES, this.largeBytes];
    this.#shelves = this.#sizes.map(() => []);
  }

  /** A buffer with room for `bytes`. */
  take(bytes: number): Writer {
    const sizes = this.#sizes;
    for (let i = 0; i < sizes.length; i++) {
      if (bytes <= sizes[i]) return this.#shelves[i].pop() ?? new Writer(sizes[i], sizes[i]);
    }
    return new Writer(bytes, bytes);
  }

  /** Takes a buffer back, empty. */
  give(w: Writer): void {
    w.at = 0;
    const shelf = this.#shelves[this.#sizes.indexOf(w.limit)];
    if (shelf && shelf.length < POOL_KEEPS) shelf.push(w);
  }
}

/** The outgoing side of a session. */
export class Output {
  readonly #transport: Transport;
  readonly #pool: BufferPool;
  /** Null while nothing waits. */
  #filling: Writer | null = null;
  /** Where in `#filling` what waits begins. */
  #from = 0;
  /** Bytes of the last buffer written, as far as the next is to have room for as many. */
  #last = 0;
  #writing: Promise<void> | null = null;
  #writingBytes = 0;
  /** Bytes written so far. */
  bytesOut = 0;
  /** Why writing ended; nothing is written after. */
  failed: unknown = null;

  constructor(transport: Transport, pool: BufferPool) {
    this.#transport = transport;
    this.#pool = pool;
  }

  /** The buffer to write the next reply into, with room for `bytes`. */
  writer(bytes: number): Writer {
    const w = this.#filling ??= this.#begin(bytes);
    if (w.limit - w.at >= bytes) return w;
    const larger = this.#pool.take(w.at + bytes);
    larger.at = this.#from;
    larger.data(w.bytes.subarray(this.#from, w.at));
    this.#pool.give(w);
    this.#filling = larger;
    return larger;
  }

  /** Whether `bytes` more fit into the buffer that is being filled, or into a pooled one in its place. */
  fits(bytes: number): boolean {
    return (this.#filling?.at ?? WORD_BYTES + BEGIN.output) + bytes <= this.#pool.largeBytes;
  }

  /** Bytes that wait or are being written. */
  get pending(): number {
    return (this.#filling ? this.#filling.at - this.#from : 0) + this.#writingBytes;
  }

  /** Starts to write what is there, unless a write is under way: that one goes on with it. Never throws. */
  flush(): void {
    if (this.#writing || !this.#filling || this.#filling.at === this.#from) return;
    const done = this.#writeOnce(this.#filling);
    if (done) this.#writing = this.#drain(done);
  }

  /** Waits until everything is written or writing has failed. */
  async drained(): Promise<void> {
    this.flush();
    while (this.#writing) await this.#writing;
  }

  /** An empty buffer, with room for `bytes`. */
  #begin(bytes: number): Writer {
    const from = alignment(this.bytesOut, BEGIN.output), w = this.#pool.take(Math.max(from + bytes, this.#last));
    w.at = this.#from = from;
    return w;
  }

  /** Writes the filled buffer; a promise when the transport did not take it at once. */
  #writeOnce(w: Writer): Promise<void> | void {
    const waiting = w.bytes.subarray(this.#from, w.at);
    this.#filling = null;
    this.#last = Math.min(w.at, BATCH_BUFFER_BYTES);
    if (this.failed !== null) return this.#pool.give(w);
    this.bytesOut += waiting.length;
    try {
      const done = this.#transport.write(waiting);
      if (!(done instanceof Promise)) return this.#pool.give(w);
      this.#writingBytes = waiting.length;
      return done.catch((e) => this.#fail(e)).then(() => {
        this.#writingBytes = 0;
        this.#pool.give(w);
      });
    } catch (e) {
      this.#fail(e);
      this.#pool.give(w);
    }
  }

  async #drain(first: Promise<void>): Promise<void> {
    await first;
    while (this.#filling && this.#filling.at > this.#from) await this.#writeOnce(this.#filling);
    this.#writing = null;
  }

  #fail(e: unknown): void {
    this.failed ??= e ?? new Error("write failed");
    this.#transport.close();
  }
}
