/**
 * Successor: the Dev that is to come in the place of one that has gone, and those who wait for it.
 *
 * Layer: core, beside instance.ts. A plugin that died, or is being restarted, is away for a moment; a walk into its
 * tree waits for that moment instead of finding what its mount point hides. What holds always: every wait ends, with the
 * successor, with why there is none, with the request's flush, or after a limit.
 */

import type { Clock } from "./clock.ts";
import type { Req } from "./dev.ts";
import { Err } from "./err.ts";

/** How long a request waits, milliseconds. */
const WAIT_MS = 5_000;

/** One succession. It begins open, and ends once. */
export class Successor {
  readonly #clock: Clock;
  readonly #why: string;
  readonly #waiting = new Set<(failure: Err | null) => void>();
  /** Undefined while it is awaited. */
  #end: Err | null | undefined;

  /** `why` says what has gone and how: `plugin x died`. */
  constructor(clock: Clock, why: string) {
    this.#clock = clock;
    this.#why = why;
  }

  /** Whether it is still to come. */
  get awaited(): boolean {
    return this.#end === undefined;
  }

  /** Resolves when the successor is in place. ENXIO says why it is not; EINTR when the request was flushed. */
  wait(req: Req): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) return this.#end ? reject(this.#end) : resolve();
      const done = (failure: Err | null) => {
        if (!this.#waiting.delete(done)) return;
        cancel();
        if (failure) reject(failure);
        else resolve();
      };
      this.#waiting.add(done);
      const late = `${this.#why}, and is not back after ${WAIT_MS} ms`;
      const cancel = this.#clock.after(WAIT_MS, () => done(new Err("ENXIO", late)));
      req.onFlush(() => done(new Err("EINTR")));
    });
  }

  /** It is in place. */
  arrive(): void {
    this.#finish(null);
  }

  /** There will be none. */
  fail(why: string): void {
    this.#finish(new Err("ENXIO", why));
  }

  #finish(end: Err | null): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    for (const done of this.#waiting) done(end);
  }
}
