/**
 * Rendez: a place where threads sleep until somebody says that what they wait for may have come.
 *
 * Layer: core/sched; threads.ts sleeps here. There is no lock beside it: threads of an isolate switch only at an `await`, so
 * to look at a condition and then to sleep is one step. Whoever changes what a condition looks at calls `wakeup`; that
 * may be a thread, or any callback.
 *
 * See sleep(9) and the Rendez of thread(2) of Plan 9.
 */

/** What sleeps on a Rendez. */
export interface Sleeper {
  /** Leaves the Rendez, and is ready to run. */
  wake(): void;
}

/** See the head of this file. */
export class Rendez {
  /** What it is for, as lists of threads show it. */
  readonly name: string;
  readonly #sleepers = new Set<Sleeper>();

  constructor(name = "rendez") {
    this.name = name;
  }

  /** How many sleep here. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Wakes the one that has slept longest; answers whether there was one. */
  wakeup(): boolean {
    for (const sleeper of this.#sleepers) {
      sleeper.wake();
      return true;
    }
    return false;
  }

  /** Wakes all; answers how many. */
  wakeupAll(): number {
    const all = [...this.#sleepers];
    for (const sleeper of all) sleeper.wake();
    return all.length;
  }

  /** For the scheduler: `sleeper` lies down here. */
  join(sleeper: Sleeper): void {
    this.#sleepers.add(sleeper);
  }

  /** For the scheduler: `sleeper` wakes up. */
  leave(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper);
  }
}
