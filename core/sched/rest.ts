/**
 * Rest: how long one that has cores of its own has hardly used them, seen from outside.
 *
 * Layer: core/sched, a leaf, pure; control.ts looks, and lends the cores of who rests to who is short of them.
 */

/** Who takes less than this share of a CPU between two looks rests. */
export const IDLE_SHARE = 0.1;

/** Looks at one client. */
export class Rest {
  #since = NaN;
  #lookedMs = NaN;
  #usedMs = 0;

  /** Milliseconds that it has rested; `usedMs` is the CPU time that it has taken, `waiting` whether requests wait for it. */
  look(nowMs: number, usedMs: number, waiting: boolean): number {
    const share = (usedMs - this.#usedMs) / (nowMs - this.#lookedMs);
    if (waiting || !(share < IDLE_SHARE)) this.#since = nowMs;
    this.#lookedMs = nowMs;
    this.#usedMs = usedMs;
    return nowMs - this.#since;
  }

  /** It counts as having worked until now. */
  restart(): void {
    this.#lookedMs = NaN;
  }
}
