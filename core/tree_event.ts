/**
 * Event files: a read blocks until something happens.
 *
 * Layer: core, the helper layer for plugin authors. What holds always: each reader has a queue of its own, and gets
 * every event posted since it opened, in order, one a read (an event longer than the read goes on in the next). A
 * queue is bounded: a reader that lags loses the oldest, which is counted and, if the author wishes, told to it. A
 * flushed read takes no event with it.
 *
 * Linux's own 9P client goes on reading until the reader's whole buffer is full, so that `cat` shows nothing until
 * much has happened; a file opened O_NONBLOCK gives each event at once and still waits: `dd iflag=nonblock bs=64k`.
 */

import { Err } from "./err.ts";
import type { Req } from "./dev.ts";
import type { MaybePromise } from "./p9/types.ts";
import { writes } from "./tree_file.ts";
import { type Attr, bytesOf, FileNode, type Handle, type Opening, textOf, then, type Value } from "./tree_node.ts";

/** Events that wait for a reader at the most, unless its author says otherwise. */
export const MAX_QUEUED_EVENTS = 256;

/** How an event file behaves. */
export interface EventSpec extends Attr {
  /** Events that wait for one reader at the most. */
  maxQueued?: number;
  /** What a reader gets, before the next event, when it has lost `count` of them. */
  lost?(count: number): Value;
  /** Takes each write request as one message, whole. Without it the file cannot be written. */
  message?(text: string, req: Req): MaybePromise<void>;
}

/**
 * A file whose readers wait for events.
 *
 * @example
 * ```ts
 * import { event } from "ring9/plugin";
 * export const news = event();
 * news.post("something happened\n");
 * ```
 */
export function event(spec: EventSpec = {}): EventFile {
  return new EventFile(spec);
}

/** An event file: what `event` makes. */
export class EventFile extends FileNode {
  readonly #spec: EventSpec;
  readonly #readers = new Set<Reader>();
  #closed = false;
  #dropped = 0;

  constructor(spec: EventSpec) {
    super(spec, spec.message ? 0o644 : 0o444);
    this.#spec = spec;
  }

  /** How many have it open to read. */
  get readers(): number {
    return this.#readers.size;
  }

  /** How many events were lost by readers that lagged, all together. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Gives an event to all who have the file open. */
  post(value: Value): void {
    if (this.#readers.size === 0) return;
    const bytes = typeof value === "object" ? value.slice() : bytesOf(value);
    if (bytes.length === 0) return; // an empty answer would read as the end of the file
    for (const reader of this.#readers) this.#dropped += reader.post(bytes);
  }

  /** Ends it: readers get what is queued, then the end of the file. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.end();
  }

  open(how: Opening): Handle {
    const message = this.#spec.message;
    const write: Handle["write"] = message &&
      ((data, _offset, req) => {
        const count = data.length;
        return then(message(textOf(data), req), () => count);
      });
    if (writes(how.mode) && !write) throw new Err("EACCES");
    if ((how.mode & 3) === 1) return { write };
    const reader = new Reader(this.#spec.maxQueued ?? MAX_QUEUED_EVENTS, this.#spec.lost);
    if (this.#closed) reader.end();
    this.#readers.add(reader);
    return {
      read: (dst, _offset, req) => reader.read(dst, req),
      write,
      close: () => {
        this.#readers.delete(reader);
        reader.end();
      },
    };
  }
}

/** A read that waits. */
interface Waiter {
  size: number;
  resolve(bytes: Uint8Array): void;
}

/** One who has an event file open. */
class Reader {
  readonly #maxQueued: number;
  readonly #lost: ((count: number) => Value) | undefined;
  #queue: Uint8Array[] = [];
  /** What is left of the event that a short read began. */
  #part: Uint8Array | undefined;
  #waiters: Waiter[] = [];
  #lostCount = 0;
  #ended = false;

  constructor(maxQueued: number, lost: ((count: number) => Value) | undefined) {
    this.#maxQueued = maxQueued;
    this.#lost = lost;
  }

  /** Queues an event and gives it to the reads that wait; answers how many had to be dropped for it. */
  post(bytes: Uint8Array): number {
    this.#queue.push(bytes);
    while (this.#waiters.length > 0) {
      const taken = this.#take(this.#waiters[0].size);
      if (!taken) break;
      this.#waiters.shift()!.resolve(taken);
    }
    if (this.#queue.length <= this.#maxQueued) return 0;
    this.#queue.shift();
    this.#lostCount++;
    return 1;
  }

  read(dst: Uint8Array, req: Req): number | Promise<Uint8Array> {
    if (dst.length === 0) return 0;
    const bytes = this.#take(dst.length);
    if (bytes) {
      dst.set(bytes);
      return bytes.length;
    }
    return this.#ended ? 0 : this.#wait(dst.length, req);
  }

  end(): void {
    this.#ended = true;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(new Uint8Array(0));
  }

  /** At most `size` bytes of one event. */
  #take(size: number): Uint8Array | undefined {
    const bytes = this.#part ?? this.#notice() ?? this.#queue.shift();
    if (!bytes) return undefined;
    this.#part = bytes.length > size ? bytes.subarray(size) : undefined;
    return bytes.length > size ? bytes.subarray(0, size) : bytes;
  }

  /** What tells the reader of events that it lost. */
  #notice(): Uint8Array | undefined {
    const count = this.#lostCount;
    this.#lostCount = 0;
    return count > 0 && this.#lost ? bytesOf(this.#lost(count)) : undefined;
  }

  #wait(size: number, req: Req): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const signal = req.signal;
    const flushed = () => {
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      reject(new Err("EINTR"));
    };
    const waiter: Waiter = {
      size,
      resolve(bytes) {
        signal.removeEventListener("abort", flushed);
        resolve(bytes);
      },
    };
    if (signal.aborted) return Promise.reject(new Err("EINTR"));
    this.#waiters.push(waiter);
    signal.addEventListener("abort", flushed, { once: true });
    return promise;
  }
}
