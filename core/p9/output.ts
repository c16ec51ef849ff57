/**
 * Output: the replies of one session on their way out. Many replies leave in one write.
 *
 * Layer: core/p9, below the session. Two buffers take turns: one is filled while the other is written. Large buffers
 * come from a pool that all sessions share, so that an idle connection holds a small one.
 */

import { alignment, BEGIN } from "./align.ts";
import { Writer } from "./cursor.ts";
import type { Transport } from "./transport.ts";

/** Bytes of a buffer that every session has: a reply of 64 KiB, wherever it begins. */
const SMALL_BUFFER_BYTES = 64 * 1024 + 64;
/** What waits unwritten before a session stops taking requests, bytes. */
export const HIGH_WATER_BYTES = 256 * 1024;
/** Room beyond the largest read that a reply may take, bytes. */
const REPLY_SLACK_BYTES = 72 * 1024;
/** Large buffers kept for the next that needs one. */
const POOL_KEEPS = 8;

/** Buffers that sessions share. */
export class BufferPool {
  readonly #small: Writer[] = [];
  readonly #large: Writer[] = [];
  /** Bytes of a large buffer. */
  readonly largeBytes: number;

  constructor(maxMsize: number) {
    this.largeBytes = HIGH_WATER_BYTES + 3 * maxMsize + REPLY_SLACK_BYTES;
  }

  /** A buffer with room for `bytes`. */
  take(bytes: number): Writer {
    if (bytes <= SMALL_BUFFER_BYTES) return this.#small.pop() ?? new Writer(SMALL_BUFFER_BYTES, SMALL_BUFFER_BYTES);
    if (bytes > this.largeBytes) return new Writer(bytes, bytes);
    return this.#large.pop() ?? new Writer(this.largeBytes, this.largeBytes);
  }

  /** Takes a buffer back, empty. */
  give(w: Writer): void {
    w.at = 0;
    const shelf = w.limit === SMALL_BUFFER_BYTES ? this.#small : this.#large;
    if (w.limit <= this.largeBytes && shelf.length < POOL_KEEPS) shelf.push(w);
  }
}

/** The outgoing side of a session. */
export class Output {
  readonly #transport: Transport;
  readonly #pool: BufferPool;
  #filling: Writer;
  /** Where in `#filling` what waits begins. */
  #from = 0;
  #writing: Promise<void> | null = null;
  #writingBytes = 0;
  /** Bytes written so far. */
  bytesOut = 0;
  /** Why writing ended; nothing is written after. */
  failed: unknown = null;

  constructor(transport: Transport, pool: BufferPool) {
    this.#transport = transport;
    this.#pool = pool;
    this.#filling = pool.take(0);
    this.#filling.at = this.#from = alignment(0, BEGIN.output);
  }

  /** The buffer to write the next reply into, with room for `bytes`. */
  writer(bytes: number): Writer {
    const w = this.#filling;
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
    return this.#filling.at + bytes <= this.#pool.largeBytes;
  }

  /** Bytes that wait or are being written. */
  get pending(): number {
    return this.#filling.at - this.#from + this.#writingBytes;
  }

  /** Starts to write what is there, unless a write is under way: that one goes on with it. Never throws. */
  flush(): void {
    if (this.#writing || this.#filling.at === this.#from) return;
    const done = this.#writeOnce();
    if (done) this.#writing = this.#drain(done);
  }

  /** Waits until everything is written or writing has failed. */
  async drained(): Promise<void> {
    this.flush();
    while (this.#writing) await this.#writing;
  }

  /** Writes the filled buffer; a promise when the transport did not take it at once. */
  #writeOnce(): Promise<void> | void {
    const w = this.#filling;
    const waiting = w.bytes.subarray(this.#from, w.at);
    this.#filling = this.#pool.take(0);
    if (this.failed === null) this.bytesOut += waiting.length;
    this.#filling.at = this.#from = alignment(this.bytesOut, BEGIN.output);
    if (this.failed !== null) return this.#pool.give(w);
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
    while (this.#filling.at > this.#from) await this.#writeOnce();
    this.#writing = null;
  }

  #fail(e: unknown): void {
    this.failed ??= e ?? new Error("write failed");
    this.#transport.close();
  }
}
