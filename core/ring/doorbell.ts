/**
 * Doorbell: how an isolate waits for another: spin, then a few turns of its event loop, then park.
 *
 * Layer: core/ring, the lowest file; rings (spsc.ts) are what is waited for. A bell is one word of shared memory, AWAKE
 * or PARKED, that belongs to the isolate that sleeps on it; any number of others ring it. One bell serves every ring
 * of an isolate, so that its spin budget is spent once, for all of them.
 *
 * No wake-up is lost: the sleeper says PARKED and then looks again; the ringer changes the ring and then looks at the
 * bell. Both are sequentially consistent, so one of the two sees the other. A needless wake-up may happen: who was
 * woken looks again.
 *
 * It owns no timer: turns of the event loop and the time come in as arguments. `Atomics.waitAsync` does not keep a
 * program alive; the host does.
 *
 * See futex(2), and the haltpoll governor of Linux for the idea of the adaptive budget.
 */

/** States of a bell's word. */
const AWAKE = 0, PARKED = 1;

/** Bytes of a bell that has a cache line (and its prefetched neighbour) to itself. */
const BELL_BYTES = 128;

/** Loads between two looks at the isolate's microtasks, while it spins. */
const SPIN_SLICE = 64;
/** Below this share of its budget a bell does not spin at all. */
const MIN_SHARE = 1 / 16;

/** Where a bell lies. Can be sent to another isolate. */
export interface BellRef {
  readonly buffer: SharedArrayBuffer;
  /** Byte offset of its word, a multiple of 4. */
  readonly offset: number;
}

/** How long to stay awake for something that has not come yet. */
export interface Budget {
  /** Looks at the rings before the first turn. */
  spin: number;
  /** Turns of the event loop before parking. */
  turns: number;
}

/** The budget of an isolate that is told nothing else: about as long as waking a parked virtual CPU takes. */
export const DEFAULT_BUDGET: Readonly<Budget> = { spin: 1000, turns: 32 };

/** How a wait ended: in the spin (or at once), in a turn of the event loop, after parking, or for want of time (waitSync). */
export type How = "spun" | "turned" | "parked" | "timed out";

/** Something to wait for: an end of a ring. */
export interface Waiter {
  /** Whether it has come. Called often; must be cheap and change nothing that others see. */
  ready(): boolean;
  /** False when spinning can not help: the one who has to act is pinned on this same CPU. */
  readonly eager: boolean;
  /** Called before the last look: asks the other side to ring. */
  arm(): void;
  /** Called after parking: nobody needs to ring any more. */
  disarm(): void;
  /** Called once at the end of a wait, for counters. */
  waited(how: How): void;
}

/** What a doorbell is made with. */
export interface DoorbellOptions {
  budget?: Partial<Budget>;
  /** One turn of the event loop; without it there are no turns between spinning and parking. */
  turn?: () => Promise<void>;
  /** Monotonic milliseconds. With it the budget adapts: it shrinks while waits are long, and grows while they are short. */
  monotonic?: () => number;
  /** A parked wait shorter than this would have been worth staying awake for. */
  windowMs?: number;
}

/** Makes a bell, in memory of its own unless told where. */
export function createBell(buffer = new SharedArrayBuffer(BELL_BYTES), offset = 0): BellRef {
  Atomics.store(new Int32Array(buffer, offset, 1), 0, AWAKE);
  return { buffer, offset };
}

/** Wakes whoever is parked on the word; answers whether somebody was. Costs one load when nobody is. */
export function ringWord(words: Int32Array, index: number): boolean {
  if (Atomics.load(words, index) !== PARKED) return false;
  if (Atomics.exchange(words, index, AWAKE) !== PARKED) return false;
  Atomics.notify(words, index);
  return true;
}

/** Rings a bell that is given by its reference: for the slow path (close, revoke). */
export function ringBell(ref: BellRef): boolean {
  return ringWord(new Int32Array(ref.buffer, ref.offset, 1), 0);
}

interface Waiting {
  readonly waiter: Waiter;
  readonly resolve: (how: How) => void;
}

/** The waiting side of a bell: one an isolate. */
export class Doorbell {
  readonly ref: BellRef;
  /** Settable at any time. */
  readonly budget: Budget;
  /** How many waits ended in a spin, in a turn, and parked; and how many turns were made. */
  readonly stats = { spins: 0, turned: 0, parks: 0, turns: 0 };

  readonly #word: Int32Array;
  readonly #turn: (() => Promise<void>) | undefined;
  readonly #monotonic: (() => number) | undefined;
  readonly #windowMs: number;
  readonly #waiting: Waiting[] = [];
  #serving = false;
  /** Share of the budget that waits have been worth of late: 0, or MIN_SHARE to 1. */
  #share = 1;
  /** True while the engine holds a waitAsync of ours on the word; it is used again by the next park. */
  #pending = false;
  /** Resumes the parked loop; true when the bell was rung. */
  #wake: ((rung: boolean) => void) | undefined;

  constructor(ref: BellRef, options: DoorbellOptions = {}) {
    this.ref = ref;
    this.budget = { ...DEFAULT_BUDGET, ...options.budget };
    this.#word = new Int32Array(ref.buffer, ref.offset, 1);
    this.#turn = options.turn;
    this.#monotonic = options.monotonic;
    this.#windowMs = options.windowMs ?? 0.2;
  }

  /** Share of the budget in use, 0 to 1. */
  get share(): number {
    return this.#share;
  }

  /** True when the isolate sleeps on this bell. */
  get parked(): boolean {
    return Atomics.load(this.#word, 0) === PARKED;
  }

  /** Waits without blocking the isolate. Several waits may be under way. */
  wait(waiter: Waiter): Promise<How> {
    return new Promise((resolve) => {
      this.#waiting.push({ waiter, resolve });
      if (!this.#serving) this.#serve();
      else this.#wake?.(false);
    });
  }

  /** Waits and blocks the isolate: for one that has no event loop to serve. */
  waitSync(waiter: Waiter, timeoutMs = Infinity): How {
    const looks = waiter.eager ? this.budget.spin * this.#share : 0;
    for (let i = 0; i <= looks; i++) {
      if (waiter.ready()) return this.#done(waiter, "spun");
    }
    const start = this.#monotonic?.();
    const how = this.#sleep(waiter, timeoutMs);
    this.#adapt(start);
    this.#wake?.(false); // the async loop's PARKED was cleared: it must arm again
    return this.#done(waiter, how);
  }

  /** Wakes the isolate that owns this bell: from inside, or from another isolate that wraps the same word. */
  ring(): void {
    ringWord(this.#word, 0);
  }

  /** Blocks until the waiter is ready. The order of arm, look and wait is what loses no wake-up. */
  #sleep(waiter: Waiter, timeoutMs: number): How {
    let how: How = "parked";
    for (;;) {
      Atomics.store(this.#word, 0, PARKED);
      waiter.arm();
      if (waiter.ready()) break;
      if (Atomics.wait(this.#word, 0, PARKED, timeoutMs) === "timed-out") {
        if (!waiter.ready()) how = "timed out";
        break;
      }
    }
    Atomics.store(this.#word, 0, AWAKE);
    waiter.disarm();
    return how;
  }

  /** Runs while anything is waited for. */
  async #serve(): Promise<void> {
    this.#serving = true;
    while (this.#waiting.length > 0) {
      if (this.#eager() && (await this.#spin() || await this.#turns())) continue;
      await this.#park();
    }
    this.#serving = false;
  }

  /** Looks at what is waited for in slices; between two of them the isolate's microtasks have a step. */
  async #spin(): Promise<boolean> {
    const slices = Math.ceil(this.budget.spin * this.#share / SPIN_SLICE);
    for (let slice = 0; slice < slices; slice++) {
      for (let i = 0; i < SPIN_SLICE; i++) {
        if (this.#settle("spun")) return true;
      }
      await null;
    }
    return false;
  }

  async #turns(): Promise<boolean> {
    if (!this.#turn) return false;
    const turns = Math.ceil(this.budget.turns * this.#share);
    for (let i = 0; i < turns; i++) {
      await this.#turn();
      this.stats.turns++;
      if (this.#settle("turned")) return true;
    }
    return false;
  }

  async #park(): Promise<void> {
    const start = this.#monotonic?.();
    Atomics.store(this.#word, 0, PARKED);
    for (const w of this.#waiting) w.waiter.arm();
    if (!this.#settle("parked", true)) {
      if (await this.#asleep()) this.#adapt(start);
    }
    Atomics.store(this.#word, 0, AWAKE);
    for (const w of this.#waiting) w.waiter.disarm();
    this.#settle("parked", true);
  }

  /** Resolves with true when the word is rung, with false when a new wait has come in. */
  #asleep(): Promise<boolean> | boolean {
    if (!this.#pending) {
      const entry = Atomics.waitAsync(this.#word, 0, PARKED);
      if (!entry.async) return true;
      this.#pending = true;
      entry.value.then(() => {
        this.#pending = false;
        this.#wake?.(true);
      });
    }
    return new Promise((resolve) => {
      this.#wake = (rung) => {
        this.#wake = undefined;
        resolve(rung);
      };
    });
  }

  /** Ends the waits that are ready; answers whether there was one. */
  #settle(how: How, armed = false): boolean {
    const waiting = this.#waiting;
    let settled = false;
    for (let i = 0; i < waiting.length; i++) {
      const { waiter, resolve } = waiting[i];
      if (!waiter.ready()) continue;
      waiting.splice(i--, 1);
      if (armed) waiter.disarm();
      resolve(this.#done(waiter, how));
      settled = true;
    }
    return settled;
  }

  #done(waiter: Waiter, how: How): How {
    if (how === "spun") this.stats.spins++;
    else if (how === "turned") this.stats.turned++;
    else this.stats.parks++;
    waiter.waited(how);
    return how;
  }

  #eager(): boolean {
    for (const w of this.#waiting) if (w.waiter.eager) return true;
    return false;
  }

  /** A short sleep was not worth it: stay awake longer next time; a long one: give up sooner. */
  #adapt(start: number | undefined): void {
    if (start === undefined || !this.#monotonic) return;
    if (this.#monotonic() - start < this.#windowMs) this.#share = Math.min(1, Math.max(MIN_SHARE, this.#share * 2));
    else this.#share = this.#share > MIN_SHARE ? this.#share / 2 : 0;
  }
}
