/**
 * Waiters: requests that wait until what they asked for can be had, in their order.
 *
 * Layer: plugins/ip, a leaf. Each brings an attempt, which answers undefined while it has to wait, and an Err when it is
 * never to be had (most end so: what a peer resets is no exception, and to throw costs more than all else of it). What
 * holds always: a flush takes the request off the list, and nothing that the attempt would have taken.
 */

import { Err, toErr } from "../../core/err.ts";
import type { Req } from "../../core/dev.ts";

interface Waiter {
  attempt(): unknown;
  resolve(value: unknown): void;
  reject(why: Err): void;
}

const NOBODY: Waiter[] = [];

/** See the head of this file. */
export class Waiters {
  #list = NOBODY;

  get count(): number {
    return this.#list.length;
  }

  /**
   * Waits until `attempt` answers something, or throws. It is not tried before the next `wake`. `flushed` answers what a
   * flushed request has got so far; nothing is EINTR.
   */
  wait<T>(req: Req, attempt: () => T | Err | undefined, flushed?: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { attempt, resolve: resolve as (value: unknown) => void, reject };
      if (this.#list === NOBODY) this.#list = [];
      this.#list.push(waiter);
      req.onFlush(() => {
        const at = this.#list.indexOf(waiter);
        if (at < 0) return;
        this.#list.splice(at, 1);
        const partly = flushed?.();
        if (partly === undefined) reject(new Err("EINTR"));
        else resolve(partly);
      });
    });
  }

  /** Something has changed: those who now get what they want go, the first first, up to one who does not. */
  wake(): void {
    while (this.#list.length > 0) {
      const waiter = this.#list[0];
      let got: unknown;
      try {
        got = waiter.attempt();
      } catch (thrown) {
        got = toErr(thrown);
      }
      if (got === undefined) return;
      // The attempt may have led to a flush, or to somebody new.
      const at = this.#list.indexOf(waiter);
      if (at === 0) this.#list.shift();
      else if (at > 0) this.#list.splice(at, 1);
      if (got instanceof Err) waiter.reject(got);
      else waiter.resolve(got);
    }
  }

  /** Nobody gets anything any more; `why` is made only when somebody is told. */
  fail(why: () => Err): void {
    if (this.#list.length === 0) return;
    const err = why();
    for (const { reject } of this.#list.splice(0)) reject(err);
  }
}
