/**
 * transportPair: two ends of an in-memory pipe, for a client and a server in one isolate, and for tests.
 *
 * Layer: core/p9, pure. Each direction is one ring of `capacity` bytes; who writes into a full one waits until the
 * other side has read (back-pressure). Bytes are copied once in and once out, or straight into a waiting reader.
 * Bytes written before a close are still read; then comes the end.
 */

import { Err } from "../err.ts";
import type { Transport } from "./transport.ts";

/** What `transportPair` takes. */
export interface PairOptions {
  /** Bytes that one direction holds before its writer waits. */
  capacity?: number;
  /** What the ends call each other. */
  remote?: string;
}

const DEFAULT_CAPACITY = 256 * 1024;

/** Two transports, each of which reads what the other writes. */
export function transportPair(options: PairOptions = {}): [Transport, Transport] {
  const capacity = options.capacity ?? DEFAULT_CAPACITY, remote = options.remote ?? "pipe";
  const there = new Pipe(capacity), back = new Pipe(capacity);
  return [new End(remote, back, there), new End(remote, there, back)];
}

class End implements Transport {
  readonly remote: string;
  #in: Pipe;
  #out: Pipe;

  constructor(remote: string, input: Pipe, output: Pipe) {
    this.remote = remote;
    this.#in = input;
    this.#out = output;
  }

  read(into: Uint8Array): number | null | Promise<number | null> {
    return this.#in.read(into);
  }

  write(bytes: Uint8Array): void | Promise<void> {
    return this.#out.write(bytes);
  }

  close(): void {
    this.#in.abandon();
    this.#out.end();
  }
}

/** One direction. */
class Pipe {
  #ring: Uint8Array;
  #from = 0;
  #count = 0;
  #ended = false;
  #reader: { into: Uint8Array; done: (count: number | null) => void } | undefined;
  #writer: { bytes: Uint8Array; done: () => void; fail: (e: Err) => void } | undefined;

  constructor(capacity: number) {
    this.#ring = new Uint8Array(capacity);
  }

  read(into: Uint8Array): number | null | Promise<number | null> {
    if (this.#reader) throw new Err("EBUSY", "a read of this transport is under way");
    if (this.#count > 0) return this.#take(into);
    if (this.#ended) return null;
    return new Promise((done) => this.#reader = { into, done });
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.#writer) throw new Err("EBUSY", "a write to this transport is under way");
    if (this.#ended) throw new Err("EPIPE");
    const rest = this.#put(this.#handOver(bytes));
    if (rest.length > 0) return new Promise((done, fail) => this.#writer = { bytes: rest, done, fail });
  }

  /** The writer has closed: what is in the ring is still read. */
  end(): void {
    this.#ended = true;
    this.#reader?.done(null);
    this.#reader = undefined;
    this.#failWriter();
  }

  /** The reader has closed: nobody reads the ring any more. */
  abandon(): void {
    this.#count = 0;
    this.end();
  }

  #failWriter(): void {
    this.#writer?.fail(new Err("EPIPE"));
    this.#writer = undefined;
  }

  /** Gives a waiting reader what it can take; answers the rest. */
  #handOver(bytes: Uint8Array): Uint8Array {
    const reader = this.#reader;
    if (!reader || bytes.length === 0) return bytes;
    this.#reader = undefined;
    const count = Math.min(bytes.length, reader.into.length);
    reader.into.set(bytes.subarray(0, count));
    reader.done(count);
    return bytes.subarray(count);
  }

  /** Puts what fits into the ring; answers the rest. */
  #put(bytes: Uint8Array): Uint8Array {
    const ring = this.#ring;
    const size = Math.min(bytes.length, ring.length - this.#count);
    const at = (this.#from + this.#count) % ring.length;
    const first = Math.min(size, ring.length - at);
    ring.set(bytes.subarray(0, first), at);
    ring.set(bytes.subarray(first, size), 0);
    this.#count += size;
    return bytes.subarray(size);
  }

  #take(into: Uint8Array): number {
    const ring = this.#ring;
    const size = Math.min(into.length, this.#count);
    const first = Math.min(size, ring.length - this.#from);
    into.set(ring.subarray(this.#from, this.#from + first));
    into.set(ring.subarray(0, size - first), first);
    this.#from = (this.#from + size) % ring.length;
    this.#count -= size;
    this.#refill();
    return size;
  }

  /** Takes more from a waiting writer, now that there is room. */
  #refill(): void {
    const writer = this.#writer;
    if (!writer) return;
    writer.bytes = this.#put(writer.bytes);
    if (writer.bytes.length > 0) return;
    this.#writer = undefined;
    writer.done();
  }
}
