/**
 * Backlog: messages for a ring that had no room for them, in their order.
 *
 * Layer: core, over core/ring. A ring that is full makes nobody wait but what is to go into it. What holds always: what
 * was added first goes first; when the other side has gone, what is left is dropped.
 */

import type { Doorbell } from "./ring/doorbell.ts";
import type { Producer } from "./ring/spsc.ts";

/** Messages that wait for room. */
export class Backlog {
  readonly #out: Producer;
  readonly #doorbell: Doorbell;
  readonly #waiting: (() => boolean)[] = [];

  constructor(out: Producer, doorbell: Doorbell) {
    this.#out = out;
    this.#doorbell = doorbell;
  }

  /** Whether a message may go into the ring now, past nobody. */
  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /** `put` is called whenever there may be room, until it answers true. What it sends has to be its own. */
  add(put: () => boolean): void {
    if (this.#waiting.push(put) === 1) void this.#drain();
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#out.gone) {
      if (this.#waiting[0]()) this.#waiting.shift();
      else {
        this.#out.publish();
        await this.#doorbell.wait(this.#out);
      }
    }
    this.#out.publish();
  }
}
