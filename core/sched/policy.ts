/**
 * Policies: which of the threads that are ready runs next.
 *
 * Layer: core/sched, a leaf; threads.ts asks it at each switch, so each call is a few loads and stores. A program that wants
 * another order gives its scheduler a Policy of its own.
 */

/** What a policy may look at. */
export interface Ranked {
  /** 0 is the most urgent. */
  readonly priority: number;
}

/** The run queue of a scheduler. */
export interface Policy<T extends Ranked = Ranked> {
  /** Threads that are ready. */
  readonly size: number;
  /** Puts a thread in that has become ready. */
  push(thread: T): void;
  /** Takes the one out that runs next; undefined when none is ready. */
  shift(): T | undefined;
}

/** First come, first served. */
export function fifo<T extends Ranked>(): Policy<T> {
  return new Queue<T>();
}

/** Levels of `byPriority`. */
export const PRIORITIES = 32;

/**
 * The most urgent first, those of equal priority in turn. One that is ready waits as long as there is a more urgent one.
 * Priorities from 0 to PRIORITIES - 1; others count as the nearest of these.
 */
export function byPriority<T extends Ranked>(): Policy<T> {
  return new Levels<T>();
}

/** A ring of a power of two of places, which grows when it is full. */
class Queue<T extends Ranked> implements Policy<T> {
  size = 0;
  #places: (T | undefined)[] = new Array(16).fill(undefined);
  #head = 0;

  push(thread: T): void {
    if (this.size === this.#places.length) this.#grow();
    this.#places[(this.#head + this.size++) & (this.#places.length - 1)] = thread;
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const thread = this.#places[this.#head];
    this.#places[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#places.length - 1);
    this.size--;
    return thread;
  }

  #grow(): void {
    const old = this.#places, count = old.length;
    this.#places = new Array(2 * count).fill(undefined);
    for (let i = 0; i < count; i++) this.#places[i] = old[(this.#head + i) & (count - 1)];
    this.#head = 0;
  }
}

class Levels<T extends Ranked> implements Policy<T> {
  size = 0;
  readonly #queues: Queue<T>[] = Array.from({ length: PRIORITIES }, () => new Queue<T>());
  /** A bit a level that holds something. */
  #occupied = 0;

  push(thread: T): void {
    const level = Math.min(Math.max(thread.priority, 0), PRIORITIES - 1) | 0;
    this.#queues[level].push(thread);
    this.#occupied |= 1 << level;
    this.size++;
  }

  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const level = 31 - Math.clz32(this.#occupied & -this.#occupied), queue = this.#queues[level];
    const thread = queue.shift();
    if (queue.size === 0) this.#occupied &= ~(1 << level);
    this.size--;
    return thread;
  }
}
