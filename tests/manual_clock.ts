/**
 * A clock that goes only when told: for tests of what waits. Alarms ring in order, each at its own time.
 *
 * Layer: tests. What it stands in for is `hostClock` of core/host/clock.ts.
 */

import type { Clock } from "../core/clock.ts";

interface Alarm {
  readonly atMs: number;
  readonly fn: () => void;
}

/** Time by hand. Wall time is `startMs` and what went by since. */
export class ManualClock implements Clock {
  readonly #startMs: number;
  #alarms: Alarm[] = [];
  #nowMs = 0;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  /** Alarms that have not rung. */
  get pending(): number {
    return this.#alarms.length;
  }

  now(): number {
    return this.#startMs + this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fn: () => void): () => void {
    const alarm = { atMs: this.#nowMs + Math.max(delayMs, 0), fn };
    const at = this.#alarms.findLastIndex((a) => a.atMs <= alarm.atMs) + 1;
    this.#alarms.splice(at, 0, alarm);
    return () => {
      this.#alarms = this.#alarms.filter((a) => a !== alarm);
    };
  }

  /** Lets `ms` go by, ringing what is due on the way, and what that sets in its turn. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (let next; (next = this.#alarms[0]) && next.atMs <= untilMs;) {
      this.#alarms.shift();
      this.#nowMs = next.atMs;
      next.fn();
    }
    this.#nowMs = untilMs;
  }
}
