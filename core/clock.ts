/**
 * Clock: time as an argument. Everything but core/host takes one of these, so that a node can be simulated.
 *
 * Layer: a leaf of the core, types only. The host's own is `hostClock` in core/host/clock.ts.
 */

/** Where time comes from. */
export interface Clock {
  /** Wall time, milliseconds since 1970 with a fraction. May jump. */
  now(): number;
  /** Monotonic time in milliseconds with a fraction, from an arbitrary start. */
  monotonic(): number;
  /** Calls `fn` once after `delayMs`; answers how to cancel it. A waiting alarm keeps no program alive. */
  after(delayMs: number, fn: () => void): () => void;
}
