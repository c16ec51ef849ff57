/**
 * Large reads and writes: split into messages of the file's iounit, several in flight, and joined again.
 *
 * Layer: core/p9, over FidOps; below RemoteFile.
 *
 * Only a plain file takes several requests at once: one that has a length. What has none (a device, a pipe, a
 * console) gives and takes its bytes in the order of the requests that reach it, so it gets one at a time; an
 * append-only file likewise for writes. A short read ends a read, as read(2) does it.
 */

import { Err } from "../err.ts";
import type { FidOps, Signal } from "./client_ops.ts";

/** An open file as reads and writes see it. */
export interface OpenFile {
  readonly ops: FidOps;
  readonly fid: number;
  /** Bytes of one message at the most. */
  readonly iounit: number;
  /** Bytes that may be in flight for one large read or write. */
  readonly window: number;
}

/** Reads into all of `into`, pipelined when `plain`: the count read up to the first short answer. */
export async function readSpan(
  f: OpenFile,
  into: Uint8Array,
  offset: number,
  plain: boolean,
  signal?: Signal,
): Promise<number> {
  return await span(into.length, f.iounit, plain ? depthOf(f) : 1, (from, to) => {
    return f.ops.read(f.fid, into.subarray(from, to), offset + from, signal);
  });
}

/** Writes all of `data`, pipelined when `plain`: the count taken up to the first short answer. */
export async function writeSpan(
  f: OpenFile,
  data: Uint8Array,
  offset: number,
  plain: boolean,
  signal?: Signal,
): Promise<number> {
  return await span(data.length, f.iounit, plain ? depthOf(f) : 1, (from, to) => {
    return f.ops.write(f.fid, data.subarray(from, to), offset + from, signal);
  });
}

/** How many requests a window is worth: one at least. */
export function depthOf(f: OpenFile): number {
  return Math.max(1, Math.min(64, Math.ceil(f.window / f.iounit)));
}

/**
 * Runs `request` over all parts of `length` bytes with `depth` of them in flight. Answers the bytes up to the end of
 * the first short part. An error after some bytes is left for the next call, as read(2) and write(2) do it.
 */
async function span(
  length: number,
  unit: number,
  depth: number,
  request: (from: number, to: number) => Promise<number>,
): Promise<number> {
  const flying: { from: number; to: number; answer: Promise<number> }[] = [];
  let next = 0, done = 0;
  const launch = () => {
    const from = next;
    next = Math.min(length, from + unit);
    const answer = request(from, next);
    answer.catch(() => {}); // it may fail before its turn
    flying.push({ from, to: next, answer });
  };
  try {
    while (done < length) {
      while (next < length && flying.length < depth) launch();
      const { from, to, answer } = flying.shift()!;
      const count = await answer;
      done = from + count;
      if (count < to - from) break;
    }
  } catch (e) {
    if (done === 0) throw e;
  } finally {
    await Promise.allSettled(flying.map(({ answer }) => answer)); // they use the caller's bytes
  }
  return done;
}

/** Reads a file from front to back, some messages ahead of who takes the bytes. */
export class ReadAhead {
  /** Where the next bytes handed out stand in the file. */
  position: number;
  #f: OpenFile;
  #depth: number;
  /** The end of the file as far as it is known: nothing is read ahead past it. */
  #length: number;
  #signal: Signal;
  #flying: { from: number; size: number; answer: Promise<Uint8Array> }[] = [];
  #ask: number;
  #left: Uint8Array | undefined;

  /** `length` is what is known to be there; 0 for a file that is not plain. */
  constructor(f: OpenFile, from: { offset: number; length: number; depth?: number }, signal?: Signal) {
    this.#f = f;
    this.#depth = from.depth ?? depthOf(f);
    this.#length = from.length > 0 ? from.length : -1;
    this.#signal = signal;
    this.position = this.#ask = from.offset;
  }

  /** The next bytes, as many as came in one message; null at the end. */
  async next(): Promise<Uint8Array | null> {
    const left = this.#left;
    this.#left = undefined;
    const bytes = left ?? await this.#receive();
    this.position += bytes.length;
    return bytes.length > 0 ? bytes : null;
  }

  /** Fills `into` with what the next message holds: the count, 0 at the end. */
  async read(into: Uint8Array): Promise<number> {
    const bytes = this.#left ?? await this.#receive();
    const count = Math.min(into.length, bytes.length);
    into.set(bytes.subarray(0, count));
    this.#left = count < bytes.length ? bytes.subarray(count) : undefined;
    this.position += count;
    return count;
  }

  async #receive(): Promise<Uint8Array> {
    // Past the known length one request looks for more, or finds the end.
    while (this.#flying.length === 0 || (this.#flying.length < this.#depth && this.#ask <= this.#length)) {
      this.#launch();
    }
    const { from, size, answer } = this.#flying.shift()!;
    const bytes = await answer;
    if (bytes.length < size) {
      this.#flying = []; // what follows was asked at the wrong offset
      this.#ask = from + bytes.length;
    }
    return bytes;
  }

  #launch(): void {
    const { ops, fid, iounit } = this.#f;
    const from = this.#ask, known = this.#length - from;
    const size = known > 0 && known < iounit ? known : iounit;
    const answer = known >= size
      ? readNew(ops, fid, size, from, this.#signal)
      : ops.readBytes(fid, size, from, this.#signal);
    answer.catch(() => {}); // it may fail before its turn
    this.#flying.push({ from, size, answer });
    this.#ask = from + size;
  }
}

/** Reads bytes that are known to be there straight into an array for them. */
async function readNew(ops: FidOps, fid: number, size: number, offset: number, signal: Signal): Promise<Uint8Array> {
  const into = new Uint8Array(size);
  return into.subarray(0, await ops.read(fid, into, offset, signal));
}

/** Takes writes at once and sees them through in the background; an error comes out at the next call. */
export class WriteBehind {
  #f: OpenFile;
  #depth: number;
  #flying: Promise<void>[] = [];
  #error: unknown;

  /** `plain` lets several writes be in flight. */
  constructor(f: OpenFile, plain: boolean, depth?: number) {
    this.#f = f;
    this.#depth = plain ? depth ?? depthOf(f) : 1;
  }

  /** Takes all of `data`, which is free again when this has answered. Waits only while the window is full. */
  async write(data: Uint8Array, offset: number, signal?: Signal): Promise<void> {
    for (let at = 0; at < data.length; at += this.#f.iounit) {
      while (this.#flying.length >= this.#depth) await this.#flying[0];
      this.#rethrow();
      this.#launch(data.subarray(at, at + this.#f.iounit), offset + at, signal);
    }
  }

  /** Waits until all is written. */
  async drain(): Promise<void> {
    await Promise.all(this.#flying);
    this.#rethrow();
  }

  #launch(part: Uint8Array, offset: number, signal: Signal): void {
    const written = this.#put(part, offset, signal).catch((e) => {
      this.#error ??= e;
    }).then(() => {
      this.#flying.splice(this.#flying.indexOf(written), 1);
    });
    this.#flying.push(written);
  }

  /** Writes one part. A server that takes less is offered the rest: it says why when it takes no more. */
  async #put(part: Uint8Array, offset: number, signal: Signal): Promise<void> {
    const { ops, fid } = this.#f;
    for (let at = 0; at < part.length;) {
      const count = await ops.write(fid, part.subarray(at), offset + at, signal);
      if (count === 0) throw new Err("ENOSPC", `only ${at} of ${part.length} bytes were taken`);
      at += count;
    }
  }

  #rethrow(): void {
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
  }
}
