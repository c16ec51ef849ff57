/**
 * Whose time comes next: a heap of timers by when they are due.
 *
 * Layer: net/tcp, a leaf. A timer that is put off is not moved, as nearly all are put off with every segment: it comes up
 * at its old time, and says when it is really due. One that is wanted sooner moves.
 */

/** Something with a time. */
export interface Timed {
  /** When it is really due; Infinity: never. */
  readonly dueAt: number;
  /** Of the queue: under which time it is in the heap, and where; -1 when it is not. */
  queuedAt: number;
  queueIndex: number;
}

/** A heap of `Timed`. */
export class TimerQueue<T extends Timed = Timed> {
  readonly #heap: T[] = [];

  get count(): number {
    return this.#heap.length;
  }

  /** When the next is due at the earliest; Infinity when there is none. May be too early, never too late. */
  get nextAt(): number {
    return this.#heap.length === 0 ? Infinity : this.#heap[0].queuedAt;
  }

  /** The timer's time may have become sooner. */
  update(timer: T): void {
    const dueAt = timer.dueAt;
    if (timer.queueIndex < 0) {
      if (dueAt === Infinity) return;
      timer.queuedAt = dueAt;
      timer.queueIndex = this.#heap.length;
      this.#heap.push(timer);
      this.#up(timer.queueIndex);
    } else if (dueAt < timer.queuedAt) {
      timer.queuedAt = dueAt;
      this.#up(timer.queueIndex);
    }
  }

  remove(timer: T): void {
    const index = timer.queueIndex;
    if (index < 0) return;
    timer.queueIndex = -1;
    const last = this.#heap.pop()!;
    if (last === timer) return;
    this.#place(last, index);
    this.#up(index);
    this.#down(last.queueIndex);
  }

  /** Takes out one that is due; undefined when there is none. */
  due(now: number): T | undefined {
    while (this.#heap.length > 0) {
      const first = this.#heap[0];
      if (first.queuedAt > now) return undefined;
      const dueAt = first.dueAt;
      if (dueAt <= now || dueAt === Infinity) {
        this.remove(first);
        if (dueAt <= now) return first;
      } else {
        first.queuedAt = dueAt;
        this.#down(0);
      }
    }
    return undefined;
  }

  /** Brings the first up to date, so that `nextAt` is not too early. */
  settle(): void {
    while (this.#heap.length > 0) {
      const first = this.#heap[0], dueAt = first.dueAt;
      if (dueAt === first.queuedAt) return;
      if (dueAt === Infinity) this.remove(first);
      else {
        first.queuedAt = dueAt;
        this.#down(0);
      }
    }
  }

  #place(timer: T, index: number): void {
    this.#heap[index] = timer;
    timer.queueIndex = index;
  }

  #up(index: number): void {
    const timer = this.#heap[index];
    while (index > 0) {
      const parent = index - 1 >> 1;
      if (this.#heap[parent].queuedAt <= timer.queuedAt) break;
      this.#place(this.#heap[parent], index);
      index = parent;
    }
    this.#place(timer, index);
  }

  #down(index: number): void {
    const heap = this.#heap, timer = heap[index];
    while (true) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1].queuedAt < heap[child].queuedAt) child++;
      if (heap[child].queuedAt >= timer.queuedAt) break;
      this.#place(heap[child], index);
      index = child;
    }
    this.#place(timer, index);
  }
}
