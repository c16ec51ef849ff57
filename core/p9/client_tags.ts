/**
 * Tags: which request each tag stands for, and which tag is next.
 *
 * Layer: core/p9, pure; below the client's Rpc. The tag longest unused is given out first, so that a reply that a
 * server sends twice, or too late, meets a tag without a request and is noticed. A few tags are kept for Tflush: when
 * every other one stands for a request that blocks, they can still be flushed.
 */

import { NOTAG } from "./types.ts";

/** Tags that only flushes may take. */
const FLUSH_TAGS = 16;

/** The tags of one connection, each standing for at most one `C`. */
export class Tags<C> {
  /** Requests other than flushes that may be in flight. */
  readonly most: number;
  #calls: (C | undefined)[];
  /** A ring: the free tags stand at `#next` and after it. */
  #free: Uint16Array;
  #next = 0;
  #taken = 0;

  constructor(most: number) {
    this.most = Math.min(Math.max(most, 1), NOTAG - FLUSH_TAGS);
    const size = this.most + FLUSH_TAGS;
    this.#calls = new Array(size).fill(undefined);
    this.#free = Uint16Array.from({ length: size }, (_, tag) => tag);
  }

  /** Tags in use. */
  get taken(): number {
    return this.#taken;
  }

  /** Whether a request may have a tag now. */
  available(forFlush: boolean): boolean {
    return this.#taken < (forFlush ? this.#free.length : this.most);
  }

  /** The tag that `take` will give. */
  get next(): number {
    return this.#free[this.#next];
  }

  /** Gives the next tag to `call`. */
  take(call: C): number {
    const tag = this.#free[this.#next];
    if (++this.#next === this.#free.length) this.#next = 0;
    this.#taken++;
    this.#calls[tag] = call;
    return tag;
  }

  /** What a tag stands for; undefined when nothing, or when there is no such tag. */
  get(tag: number): C | undefined {
    return this.#calls[tag];
  }

  /** Frees a tag that is taken. */
  release(tag: number): void {
    const size = this.#free.length;
    this.#calls[tag] = undefined;
    this.#free[(this.#next + size - this.#taken) % size] = tag;
    this.#taken--;
  }

  /** Everything that has a tag. */
  calls(): C[] {
    return this.#calls.filter((call) => call !== undefined);
  }

  /** Frees all. */
  clear(): void {
    for (const tag of this.#calls.keys()) if (this.#calls[tag] !== undefined) this.release(tag);
  }
}
