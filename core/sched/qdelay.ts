/**
 * Queue delay: how long the oldest request has waited, seen from outside, and a histogram of that.
 *
 * Layer: core/sched, a leaf, pure. Requests carry no time stamp. Who looks now and then at how much was written and how
 * much was taken knows that what was there at the last mark and is not taken yet has waited since: a lower bound, which
 * is off by the time between two looks.
 *
 * Junction's runtime_qdelay_us is the model.
 */

/** What can be seen of a queue and of who serves it. Counts are of bytes, and only grow. */
export interface QueueView {
  /** Requests written, and taken. */
  readonly written: number;
  readonly taken: number;
  /** Answers written. */
  readonly answered: number;
  /** Who serves it does not sleep. */
  readonly awake: boolean;
}

/** Looks at one queue. */
export class QueueProbe {
  #mark = 0;
  #since = 0;
  #taken = 0;
  #takenMs = 0;
  #answered = 0;
  #answeredMs = 0;

  /** Milliseconds that the oldest has waited at the least; 0 when nothing waits. */
  look({ written, taken, answered, awake }: QueueView, nowMs: number): number {
    if (taken >= this.#mark) {
      this.#mark = written;
      this.#since = nowMs;
    }
    if (taken !== this.#taken) this.#takenMs = nowMs;
    if (answered !== this.#answered) this.#answeredMs = nowMs;
    this.#taken = taken;
    this.#answered = answered;
    // What was taken as one batch waits in there, as long as nothing is answered and the loop does not come to rest.
    const inBatch = awake && this.#takenMs > this.#answeredMs ? nowMs - this.#takenMs : 0;
    return Math.max(written > taken ? nowMs - this.#since : 0, inBatch);
  }
}

/** A histogram's upper bounds of delays, seconds. */
export const DELAY_BOUNDS: readonly number[] = [1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5];

/** Counts by bounds, as OpenMetrics has them. */
export class Histogram {
  readonly bounds: readonly number[];
  /** Not cumulative; the last one is above all bounds. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[] = DELAY_BOUNDS) {
    this.bounds = bounds;
    this.counts = new Array(bounds.length + 1).fill(0);
  }

  get count(): number {
    return this.counts.reduce((a, b) => a + b, 0);
  }

  observe(value: number): void {
    const at = this.bounds.findIndex((bound) => value <= bound);
    this.counts[at < 0 ? this.bounds.length : at]++;
    this.sum += value;
  }
}
