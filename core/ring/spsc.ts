/**
 * A single-producer single-consumer byte ring in shared memory: the path between two isolates.
 *
 * Layer: core/ring, above doorbell.ts and layout.ts, below transport.ts and matrix.ts. Head and tail are free-running
 * 32-bit byte counts, each written by one side only: no lock, no compare-and-swap on the path.
 *
 * A ring is used in one of two ways: as a byte stream (`put` / `take`), or as messages (`reserve` / `next`), each
 * contiguous, with a kind, never split over the end. In both, what was written is seen by the consumer at `publish`, and what was
 * read is given back at `release`: one store and one look at the other's bell for a whole batch.
 *
 * What holds always:
 * - The producer owns the bytes from head on, the consumer those from tail to head; nobody writes the other's.
 * - The header's state word carries the generation: an end of an older one is refused everywhere.
 * - What the other side wrote (indices, lengths) is checked; a ring that does not hold together is dead (EPROTO).
 * - A ring's memory is used again only when each side has closed its end, or is known to be gone (matrix.ts).
 */

import { Err } from "../err.ts";
import { type BellRef, bellWords, type How, ringWords, type Waiter } from "./doorbell.ts";
import {
  BATCHES,
  BEAT,
  BYTES,
  C_CLOSED,
  C_OWNER,
  C_STATS,
  CAPACITY,
  consumerBell,
  COUNTERS,
  DEAD,
  FLAGS,
  FULL,
  GENERATION_SHIFT,
  HEAD,
  header,
  KICKS,
  MESSAGES,
  P_CLOSED,
  P_OWNER,
  P_STATS,
  PARKS,
  producerBell,
  RING_HEADER_BYTES,
  type RingRef,
  SPINS,
  STATE,
  TAIL,
  WANT,
} from "./layout.ts";

export {
  allocRing,
  consumerBell,
  createRing,
  producerBell,
  readRing,
  revokeRing,
  RING_HEADER_BYTES,
  type RingRef,
  type RingStatus,
  type SideStatus,
} from "./layout.ts";

/** A message is its length, its kind and its bytes, rounded up so that the next one is aligned. */
const MESSAGE_HEADER = 8, ALIGN = 7;
/** In the place of a length: the message did not fit before the end, go on at the start. */
const SKIP = -1;

/** Up to here a loop is faster than a view for `set`. */
const LOOP_COPY = 48;

/** Who holds an end. */
export interface Owner {
  /** A number that is not 0: the isolate's. */
  readonly id: number;
  /** The CPU that it is pinned on, or -1. */
  readonly cpu?: number;
}

/** What both ends have. */
abstract class End implements Waiter {
  readonly ref: RingRef;
  /** Data bytes. */
  readonly capacity: number;
  readonly generation: number;
  /** The data part; offsets that `reserve` and `next` answer are offsets into it. */
  readonly bytes: Uint8Array;
  /** The same by words of 32 bits, for fixed control messages: index is offset / 4. */
  readonly words: Int32Array;

  protected readonly control: Int32Array;
  protected readonly counters: Float64Array;
  protected readonly mask: number;
  /** The state word of an open ring of this generation. */
  protected readonly open: number;
  protected readonly otherBell: Int32Array;

  readonly #owner: number;
  readonly #ownerId: number;
  readonly #otherCpu: number;

  constructor(ref: RingRef, owner: Owner, side: { owner: number; stats: number; other: number; bell: BellRef }) {
    const control = header(ref), capacity = control[CAPACITY], data = ref.offset + RING_HEADER_BYTES;
    this.ref = ref;
    this.control = control;
    this.capacity = capacity;
    this.mask = capacity - 1;
    this.bytes = new Uint8Array(ref.buffer, data, capacity);
    this.words = new Int32Array(ref.buffer, data, capacity >> 2);
    this.counters = new Float64Array(ref.buffer, ref.offset + side.stats * 4, COUNTERS);
    this.otherBell = bellWords(side.bell);
    this.open = Atomics.load(control, STATE) & ~FLAGS;
    this.generation = this.open >>> GENERATION_SHIFT;
    if (ref.generation !== undefined && ref.generation !== this.generation) {
      throw new Err("ESTALE", `ring: generation ${ref.generation} has gone, this is ${this.generation}`);
    }
    this.#owner = side.owner;
    this.#ownerId = owner.id;
    this.#otherCpu = side.other + 1;
    const holder = Atomics.compareExchange(control, side.owner, 0, owner.id);
    if (holder !== 0) throw new Err("EBUSY", `ring: this end belongs to isolate ${Math.abs(holder)}`);
    this.cpu = owner.cpu ?? -1;
  }

  /** The CPU that this side is pinned on, or -1; settable. */
  get cpu(): number {
    return this.control[this.#owner + 1];
  }

  set cpu(cpu: number) {
    Atomics.store(this.control, this.#owner + 1, cpu);
  }

  /** False when both sides are pinned on one CPU: to spin would only keep the other from running. */
  get eager(): boolean {
    const other = this.control[this.#otherCpu];
    return other < 0 || other !== this.control[this.#owner + 1];
  }

  /** True when the ring was taken back, by this generation's end or because there is a newer one. */
  get dead(): boolean {
    const state = Atomics.load(this.control, STATE);
    return (state & DEAD) !== 0 || (state & ~FLAGS) !== this.open;
  }

  /** The heartbeat of the other side: moves whenever it does something with the ring. */
  abstract get otherBeat(): number;

  /** Says that this side is alive, when it has nothing else to do with the ring. */
  beat(): void {
    this.counters[BEAT]++;
  }

  abstract ready(): boolean;

  abstract readonly due: boolean;

  arm(): void {}

  disarm(): void {}

  waited(how: How): void {
    this.counters[how === "parked" || how === "timed out" ? PARKS : SPINS]++;
    this.counters[BEAT]++;
  }

  /** Sets a flag of the state, unless there is a newer ring here, and wakes the other side. */
  protected shut(flag: number): void {
    const state = Atomics.load(this.control, STATE);
    if ((state & ~FLAGS) !== this.open) return;
    Atomics.or(this.control, STATE, flag);
    ringWords(this.otherBell);
  }

  /** The last thing that an end does: from here on it touches the memory no more. */
  protected letGo(): void {
    Atomics.compareExchange(this.control, this.#owner, this.#ownerId, -this.#ownerId);
  }

  /** The other side wrote what can not be: the ring is of no use any more. */
  protected broken(what: string): never {
    this.shut(DEAD);
    throw new Err("EPROTO", `ring: ${what}: the other side has damaged it`);
  }
}

/** The writing end. */
export class Producer extends End {
  private head: number;
  private published: number;
  /** The consumer's tail as last seen. */
  private tail: number;
  private messages = 0;
  /** Free bytes that the last refused put or reserve waits for: a quarter of the ring at least, so that a wake-up is worth it. */
  private want = 1;

  constructor(ref: RingRef, owner: Owner) {
    super(ref, owner, { owner: P_OWNER, stats: P_STATS, other: C_OWNER, bell: consumerBell(ref) });
    this.head = this.published = Atomics.load(this.control, HEAD);
    this.tail = Atomics.load(this.control, TAIL);
  }

  /** True when nobody reads any more: the consumer has closed, or the ring was taken back. */
  get gone(): boolean {
    return Atomics.load(this.control, STATE) !== this.open;
  }

  override get otherBeat(): number {
    return new Float64Array(this.ref.buffer, this.ref.offset + C_STATS * 4, COUNTERS)[BEAT];
  }

  /** Bytes published that the consumer has not released yet. */
  get unread(): number {
    return (this.published - Atomics.load(this.control, TAIL)) | 0;
  }

  /** Copies as much of `src[from, to)` as fits: the count. Seen at `publish`. */
  put(src: Uint8Array, from = 0, to = src.length): number {
    const room = this.#room(to - from);
    let count = to - from;
    if (count > room) {
      this.want = Math.max(Math.min(count, this.capacity >> 1), this.capacity >> 2);
      this.counters[FULL]++;
      if (room === 0) return 0;
      count = room;
    }
    const at = this.head & this.mask, untilEnd = this.capacity - at;
    if (count <= untilEnd) copy(src, from, this.bytes, at, count);
    else {
      copy(src, from, this.bytes, at, untilEnd);
      copy(src, from + untilEnd, this.bytes, 0, count - untilEnd);
    }
    this.head = (this.head + count) | 0;
    this.messages++;
    return count;
  }

  /**
   * Room for a message of `length` bytes: the offset in `bytes` where to write them, a multiple of 8, or -1 when the
   * ring is full. Seen at `publish`. Throws EMSGSIZE above half of the ring, which might never fit.
   */
  reserve(length: number, kind = 0): number {
    const size = (length + MESSAGE_HEADER + ALIGN) & ~ALIGN;
    if (size > this.capacity >> 1) throw new Err("EMSGSIZE", `ring: a message of ${length} bytes in ${this.capacity}`);
    let at = this.head & this.mask;
    const skip = size > this.capacity - at ? this.capacity - at : 0;
    if (this.#room(size + skip) < size + skip) {
      this.want = Math.max(size + skip, this.capacity >> 2);
      this.counters[FULL]++;
      return -1;
    }
    if (skip > 0) {
      this.words[at >> 2] = SKIP;
      at = 0;
    }
    this.words[at >> 2] = length;
    this.words[(at >> 2) + 1] = kind;
    this.head = (this.head + skip + size) | 0;
    this.messages++;
    return at + MESSAGE_HEADER;
  }

  /** Lets the consumer see all that was written, and wakes it if it is parked. False when nobody will read it. */
  publish(): boolean {
    const count = (this.head - this.published) | 0;
    if (Atomics.load(this.control, STATE) !== this.open) {
      this.head = this.published;
      this.messages = 0;
      return false;
    }
    if (count === 0) return true;
    Atomics.store(this.control, HEAD, this.head);
    this.published = this.head;
    const counters = this.counters;
    counters[MESSAGES] += this.messages;
    counters[BYTES] += count;
    counters[BATCHES]++;
    counters[BEAT]++;
    this.messages = 0;
    if (ringWords(this.otherBell)) counters[KICKS]++;
    return true;
  }

  /** Who has not room enough waits for a consumer that has something to read. */
  override get due(): boolean {
    return true;
  }

  /** Whether the put or reserve that was refused has room now and a little more, or the consumer has gone. */
  override ready(): boolean {
    return this.#room(this.want) >= this.want || this.gone;
  }

  override arm(): void {
    if (this.head !== this.published) this.publish(); // or the consumer would wait for us, and we for it
    Atomics.store(this.control, WANT, this.want);
  }

  override disarm(): void {
    Atomics.store(this.control, WANT, 0);
  }

  /** Publishes what was written and says that nothing more comes. */
  close(): void {
    this.publish();
    this.shut(P_CLOSED);
    this.letGo();
  }

  /** Free bytes; looks at the consumer's tail only when fewer than `wanted` are known of. */
  #room(wanted: number): number {
    const known = this.capacity - ((this.head - this.tail) | 0);
    if (known >= wanted) return known;
    const tail = Atomics.load(this.control, TAIL);
    const used = (this.head - tail) | 0;
    if (used < 0 || used > this.capacity) {
      if (this.gone) return 0;
      this.broken("tail out of range");
    }
    this.tail = tail;
    return this.capacity - used;
  }
}

/** The reading end. */
export class Consumer extends End {
  /** Length and kind of the message that `next` answered last. */
  length = 0;
  kind = 0;
  /** See `Waiter.due`. Set by who asks and answers over a pair of rings. */
  override due = false;

  /** The producer's head as last seen. */
  private head: number;
  private tail: number;
  private released: number;
  private messages = 0;
  private readonly quarter: number;

  constructor(ref: RingRef, owner: Owner) {
    super(ref, owner, { owner: C_OWNER, stats: C_STATS, other: P_OWNER, bell: producerBell(ref) });
    this.tail = this.released = this.head = Atomics.load(this.control, TAIL);
    this.quarter = this.capacity >> 2;
  }

  override get otherBeat(): number {
    return new Float64Array(this.ref.buffer, this.ref.offset + P_STATS * 4, COUNTERS)[BEAT];
  }

  /** True when nothing more will come: closed or taken back, and all that had been published is read. */
  get ended(): boolean {
    const state = Atomics.load(this.control, STATE);
    if (state === this.open) return false;
    return (state & ~FLAGS) !== this.open || (state & C_CLOSED) !== 0 || this.available(1) === 0;
  }

  /** Bytes that can be read without waiting; looks at the producer's head only when fewer than `wanted` are known of. */
  available(wanted = this.capacity): number {
    const known = (this.head - this.tail) | 0;
    return known >= wanted ? known : this.#look();
  }

  /** Copies at most `to - from` bytes into `dst`: the count, 0 when the ring is empty. Given back at `release`. */
  take(dst: Uint8Array, from = 0, to = dst.length): number {
    const count = Math.min(this.available(to - from), to - from);
    if (count === 0) return 0;
    const at = this.tail & this.mask, untilEnd = this.capacity - at;
    if (count <= untilEnd) copy(this.bytes, at, dst, from, count);
    else {
      copy(this.bytes, at, dst, from, untilEnd);
      copy(this.bytes, 0, dst, from + untilEnd, count - untilEnd);
    }
    this.tail = (this.tail + count) | 0;
    this.messages++;
    return count;
  }

  /**
   * The next message: the offset of its bytes in `bytes`, or -1 when there is none; `length` and `kind` tell the rest.
   * The one before is done with: its bytes may be given back. Call `release` after the last.
   */
  next(): number {
    for (;;) {
      const left = this.available(1);
      if (left === 0) return -1;
      if (((this.tail - this.released) | 0) >= this.quarter) this.release();
      const at = this.tail & this.mask, untilEnd = this.capacity - at;
      const length = this.words[at >> 2];
      const size = length === SKIP ? untilEnd : (length + MESSAGE_HEADER + ALIGN) & ~ALIGN;
      if (length < SKIP || size > left || size > untilEnd) this.broken("a message longer than what is there");
      this.tail = (this.tail + size) | 0;
      if (length === SKIP) continue;
      this.length = length;
      this.kind = this.words[(at >> 2) + 1];
      this.messages++;
      return at + MESSAGE_HEADER;
    }
  }

  /** Gives back all that was read, and wakes the producer if it waits for that much room. */
  release(): void {
    const count = (this.tail - this.released) | 0;
    if (count === 0) return;
    Atomics.store(this.control, TAIL, this.tail);
    this.released = this.tail;
    const counters = this.counters;
    counters[MESSAGES] += this.messages;
    counters[BYTES] += count;
    counters[BATCHES]++;
    counters[BEAT]++;
    this.messages = 0;
    const want = Atomics.load(this.control, WANT);
    if (want === 0) return;
    const used = (Atomics.load(this.control, HEAD) - this.tail) | 0;
    if (this.capacity - used >= want && ringWords(this.otherBell)) counters[KICKS]++;
  }

  /** Whether there is something to read, or nothing more will come. */
  override ready(): boolean {
    return this.head !== this.tail || Atomics.load(this.control, HEAD) !== this.tail ||
      Atomics.load(this.control, STATE) !== this.open;
  }

  /** Says that nothing more will be read. */
  close(): void {
    this.release();
    this.shut(C_CLOSED);
    this.letGo();
  }

  /** Looks at the producer's head: the bytes that are there. */
  #look(): number {
    const head = Atomics.load(this.control, HEAD);
    const count = (head - this.tail) | 0;
    if (count < 0 || count > this.capacity) {
      if ((Atomics.load(this.control, STATE) & ~FLAGS) !== this.open) return 0;
      this.broken("head out of range");
    }
    if (count === 0) this.counters[FULL]++;
    this.head = head;
    return count;
  }
}

/** Copies between two arrays without a view where a view costs more than the bytes. */
function copy(src: Uint8Array, from: number, dst: Uint8Array, at: number, count: number): void {
  if (count === src.length) dst.set(src, at);
  else if (count > LOOP_COPY) dst.set(src.subarray(from, from + count), at);
  else for (let i = 0; i < count; i++) dst[at + i] = src[from + i];
}
