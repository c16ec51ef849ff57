/**
 * How a ring lies in memory, and all that can be done to it from outside: lay it out, take it back, read its counters.
 *
 * Layer: core/ring, between doorbell.ts and spsc.ts, which has the two ends. A ring is a header of lines, each written by one
 * side only, and a power of two of data bytes, anywhere in a SharedArrayBuffer (many may lie in the system's one shared
 * memory). The state word holds the generation and, below it, what has been closed.
 *
 * Counters lie on lines of their own, written plainly by their side: to read them disturbs nobody.
 */

import { Err } from "../err.ts";
import { type BellRef, ringBell } from "./doorbell.ts";

/** Words of a line: 128 bytes, because the hardware prefetches lines of 64 in pairs. */
const LINE = 32;
const MAGIC_VALUE = 0x39676e72; // "rng9"

/** Words of the header. Line 0 is seldom written; each other line has one writer. */
const MAGIC = 0;
export const CAPACITY = 1, STATE = 2;
export const P_OWNER = 4, P_CPU = 5, C_OWNER = 6, C_CPU = 7;
export const HEAD = LINE, TAIL = 2 * LINE, WANT = 3 * LINE, C_BELL = 4 * LINE, P_BELL = 5 * LINE;
export const P_STATS = 6 * LINE, C_STATS = 7 * LINE;

/** Bytes of a ring's header. */
export const RING_HEADER_BYTES = 8 * LINE * 4;
/** The smallest and largest data part. */
export const MIN_RING_BYTES = 16, MAX_RING_BYTES = 1 << 30;

/** Flags of the state word, below the generation. */
export const P_CLOSED = 1, C_CLOSED = 2, DEAD = 4, FLAGS = 0xff;
export const GENERATION_SHIFT = 8;

/** Counters of a side, as numbers of 64 bits. */
export const MESSAGES = 0, BYTES = 1, BATCHES = 2, PARKS = 3, SPINS = 4, KICKS = 5, FULL = 6, BEAT = 7, COUNTERS = 8;

/** Where a ring lies, and whom it wakes. Can be sent to another isolate. */
export interface RingRef {
  readonly buffer: SharedArrayBuffer;
  /** Byte offset of the header, a multiple of 8 (128 to have the lines apart). */
  readonly offset: number;
  /** What the producer sleeps on; one in the header when not given. */
  readonly producerBell?: BellRef;
  readonly consumerBell?: BellRef;
  /** Which ring of those that were or will be in this place; the one that is there when not given. */
  readonly generation?: number;
}

/** What one side has done. */
export interface SideStatus {
  /** The isolate's number, 0 before it has come, negative when it has closed and touches the memory no more. */
  readonly owner: number;
  readonly cpu: number;
  readonly messages: number;
  readonly bytes: number;
  readonly batches: number;
  /** Waits that parked, and that ended before. */
  readonly parks: number;
  readonly spins: number;
  /** How often it found the other side parked, and rang. */
  readonly kicks: number;
  /** How often it found the ring full (producer) or empty (consumer). */
  readonly full: number;
  /** Moves whenever the side does something. */
  readonly beat: number;
}

/** What anybody may read of a ring. */
export interface RingStatus {
  readonly capacity: number;
  readonly generation: number;
  readonly state: "open" | "closed" | "dead";
  readonly producer: SideStatus;
  readonly consumer: SideStatus;
}

/** Lays a ring out in memory. `bytes` is the data part, a power of two; `start` the first index (for tests). */
export function createRing(
  ref: RingRef,
  { bytes, generation = 1, start = 0 }: { bytes: number; generation?: number; start?: number },
): RingRef {
  if (bytes < MIN_RING_BYTES || bytes > MAX_RING_BYTES || (bytes & (bytes - 1)) !== 0) {
    throw new Err("EINVAL", `ring: ${bytes} bytes is not a power of two from ${MIN_RING_BYTES} to ${MAX_RING_BYTES}`);
  }
  if (ref.offset % 8 !== 0 || ref.offset + RING_HEADER_BYTES + bytes > ref.buffer.byteLength) {
    throw new Err("EINVAL", `ring: ${bytes} bytes at ${ref.offset} do not fit the memory`);
  }
  const words = new Int32Array(ref.buffer, ref.offset, RING_HEADER_BYTES / 4);
  Atomics.store(words, STATE, 0); // no generation: an end that is still there sees that its time is over
  words.fill(0);
  words[CAPACITY] = bytes;
  words[P_CPU] = words[C_CPU] = -1;
  words[HEAD] = words[TAIL] = start | 0;
  words[MAGIC] = MAGIC_VALUE;
  Atomics.store(words, STATE, generation << GENERATION_SHIFT);
  return { ...ref, generation };
}

/** A ring in memory of its own. */
export function allocRing(bytes: number): RingRef {
  return createRing({ buffer: new SharedArrayBuffer(RING_HEADER_BYTES + bytes), offset: 0 }, { bytes });
}

/** The bell that the producer (consumer) of a ring sleeps on. */
export function producerBell(ref: RingRef): BellRef {
  return ref.producerBell ?? { buffer: ref.buffer, offset: ref.offset + P_BELL * 4 };
}

/** See `producerBell`. */
export function consumerBell(ref: RingRef): BellRef {
  return ref.consumerBell ?? { buffer: ref.buffer, offset: ref.offset + C_BELL * 4 };
}

/** Takes a ring back from a dead or hung owner: both ends see it as dead, whoever waits wakes up. */
export function revokeRing(ref: RingRef): void {
  Atomics.or(header(ref), STATE, DEAD);
  ringBell(producerBell(ref));
  ringBell(consumerBell(ref));
}

/** Tells both sides of a ring on which CPU one of them is pinned; -1 for none. */
export function setCpu(ref: RingRef, side: "producer" | "consumer", cpu: number): void {
  Atomics.store(header(ref), side === "producer" ? P_CPU : C_CPU, cpu);
}

/** Reads a ring's header from outside. */
export function readRing(ref: RingRef): RingStatus {
  const words = header(ref), state = Atomics.load(words, STATE), flags = state & FLAGS;
  const side = (owner: number, stats: number): SideStatus => {
    const c = new Float64Array(ref.buffer, ref.offset + stats * 4, COUNTERS);
    return {
      owner: words[owner],
      cpu: words[owner + 1],
      messages: c[MESSAGES],
      bytes: c[BYTES],
      batches: c[BATCHES],
      parks: c[PARKS],
      spins: c[SPINS],
      kicks: c[KICKS],
      full: c[FULL],
      beat: c[BEAT],
    };
  };
  return {
    capacity: words[CAPACITY],
    generation: state >>> GENERATION_SHIFT,
    state: flags & DEAD ? "dead" : flags ? "closed" : "open",
    producer: side(P_OWNER, P_STATS),
    consumer: side(C_OWNER, C_STATS),
  };
}

/** The header of a ring that somebody may have sent us: checked. */
export function header(ref: RingRef): Int32Array {
  const { buffer, offset } = ref;
  if (offset % 8 !== 0 || offset < 0 || offset + RING_HEADER_BYTES > buffer.byteLength) {
    throw new Err("EINVAL", `ring: there is none at ${offset}`);
  }
  const words = new Int32Array(buffer, offset, RING_HEADER_BYTES / 4);
  const bytes = words[CAPACITY];
  const fits = bytes >= MIN_RING_BYTES && (bytes & (bytes - 1)) === 0 &&
    offset + RING_HEADER_BYTES + bytes <= buffer.byteLength;
  if (words[MAGIC] !== MAGIC_VALUE || !fits) throw new Err("EINVAL", `ring: there is none at ${offset}`);
  return words;
}
