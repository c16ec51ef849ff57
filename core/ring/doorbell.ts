/**
 * Doorbell: how an isolate waits for another: spin, then a few turns of its event loop, then park. Where both share a
 * CPU there is no use in spinning: who has just handed work over naps, which gives the CPU away at once.
 *
 * Layer: core/ring, the lowest file; rings (spsc.ts) are what is waited for. A bell is a word of shared memory, AWAKE,
 * PARKED or NAPPING, that belongs to the isolate that sleeps on it; any number of others ring it. One bell serves every ring
 * of an isolate, so that its spin budget is spent once, for all of them.
 *
 * Parked, its event loop still runs; a nap blocks all of the isolate, so it is short, only for what is due, and never
 * keeps the event loop waiting for long. A nap costs a quarter of what it takes to park and be woken.
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

/** States of a bell's word: its isolate runs, sleeps with its event loop running, sleeps blocked. */
const AWAKE = 0, PARKED = 1, NAPPING = 2;
/** The word after it, on which a blocked isolate sleeps: counts how often it was woken. So waking it wakes no parked wait. */
const NAPS = 1;

/** Bytes of a bell that has a cache line (and its prefetched neighbour) to itself. */
const BELL_BYTES = 128;

/** Loads between two looks at the isolate's microtasks, while it spins. */
const SPIN_SLICE = 64;
/** Below this share of its budget a bell does not spin at all. */
const MIN_SHARE = 1 / 16;
/** How often an isolate gives way before it naps. */
const GIVE_WAYS = 8;
/** How long spins and naps may keep the isolate from its event loop, but for a nap that nobody rings. */
const TURN_MS = 2;

/** Where a bell lies. Can be sent to another isolate. */
export interface BellRef {
  readonly buffer: SharedArrayBuffer;
  /** Byte offset of its two words, a multiple of 4. */
  readonly offset: number;
}

/** How long to stay awake for something that has not come yet. */
export interface Budget {
  /** Looks at the rings before the first turn. */
  spin: number;
  /** Turns of the event loop before parking. */
  turns: number;
  /** How long a nap is worth while, and so how late the isolate's other events are as a rule. */
  napMs: number;
  /**
   * When a nap that nobody rings ends; `napMs` when not said. One that ends before the system's next tick has to set the
   * CPU's timer, which on a virtual one takes longer than all the rest of the nap.
   */
  napLimitMs?: number;
}

/** The budget of an isolate that is told nothing else: about as long as waking a parked virtual CPU takes. */
export const DEFAULT_BUDGET: Readonly<Budget> = { spin: 1000, turns: 32, napMs: 0.2 };

/**
 * How a wait ended: in the spin (or at once), in a turn of the event loop, in a nap, after parking, or for want of time
 * (waitSync).
 */
export type How = "spun" | "turned" | "napped" | "parked" | "timed out";

/** Something to wait for: an end of a ring. */
export interface Waiter {
  /** Whether it has come. Called often; must be cheap and change nothing that others see. */
  ready(): boolean;
  /** False when spinning can not help: the one who has to act is pinned on this same CPU. */
  readonly eager: boolean;
  /** Whether the other side has been asked for it, and is sure to be at it: then it is worth a nap. */
  readonly due: boolean;
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
  /** Lets whoever else may run on this CPU run: sched_yield(2). Cheaper than a nap, when it is the other side. */
  giveWay?: () => void;
  /** Monotonic milliseconds. With it the budget adapts: it shrinks while waits are long, and grows while they are short. */
  monotonic?: () => number;
  /** A parked wait shorter than this would have been worth staying awake for; where it naps, one shorter than a nap. */
  windowMs?: number;
}

/** Makes a bell, in memory of its own unless told where. */
export function createBell(buffer = new SharedArrayBuffer(BELL_BYTES), offset = 0): BellRef {
  Atomics.store(new Int32Array(buffer, offset, 1), 0, AWAKE);
  return { buffer, offset };
}

/** The words of a bell. */
export function bellWords(ref: BellRef): Int32Array {
  return new Int32Array(ref.buffer, ref.offset, 2);
}

/** Wakes whoever sleeps on the bell; answers whether somebody did. Costs one load when nobody does. */
export function ringWords(words: Int32Array): boolean {
  if (Atomics.load(words, 0) === AWAKE) return false;
  const was = Atomics.exchange(words, 0, AWAKE);
  if (was === AWAKE) return false;
  if (was === NAPPING) Atomics.add(words, NAPS, 1);
  Atomics.notify(words, was === NAPPING ? NAPS : 0);
  return true;
}

/** Whether who owns a bell sleeps on it. */
export function isParked(ref: BellRef): boolean {
  return Atomics.load(new Int32Array(ref.buffer, ref.offset, 1), 0) === PARKED;
}

/** Whether who owns a bell is blocked on it: its event loop stands. */
export function isBlocked(ref: BellRef): boolean {
  return Atomics.load(new Int32Array(ref.buffer, ref.offset, 1), 0) === NAPPING;
}

/** Rings a bell that is given by its reference: for the slow path (close, revoke). */
export function ringBell(ref: BellRef): boolean {
  return ringWords(bellWords(ref));
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
  /** How many waits ended in a spin, in a turn, in a nap, and parked; and how many turns were made. */
  readonly stats = { spins: 0, turned: 0, naps: 0, parks: 0, turns: 0 };

  readonly #words: Int32Array;
  readonly #turn: (() => Promise<void>) | undefined;
  readonly #giveWay: (() => void) | undefined;
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
  /** When the event loop last had its turn. */
  #turnedMs = -Infinity;

  constructor(ref: BellRef, options: DoorbellOptions = {}) {
    this.ref = ref;
    this.budget = { ...DEFAULT_BUDGET, ...options.budget };
    this.#words = bellWords(ref);
    this.#turn = options.turn;
    this.#giveWay = options.giveWay;
    this.#monotonic = options.monotonic;
    this.#windowMs = options.windowMs ?? 0.2;
  }

  /** Share of the budget in use, 0 to 1. */
  get share(): number {
    return this.#share;
  }

  /** True when the isolate sleeps on this bell. */
  get parked(): boolean {
    return Atomics.load(this.#words, 0) === PARKED;
  }

  /** Waits without blocking the isolate. Several waits may be under way. */
  wait(waiter: Waiter): Promise<How> {
    return new Promise((resolve) => {
      this.#waiting.push({ waiter, resolve });
      if (!this.#serving) this.#serve();
      else this.#wake?.(false);
    });
  }

  /**
   * Work is about to be handed over, and what is waited for is due: naps, if the isolate was to park. It is awake from here
   * on, so who answers before it goes on need not ring.
   */
  expect(): void {
    if (!this.#wake || this.budget.napMs === 0 || this.#share === 0 || this.#eager()) return;
    Atomics.store(this.#words, 0, AWAKE);
    this.#wake(false);
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
    ringWords(this.#words);
  }

  /** Blocks until the waiter is ready. */
  #sleep(waiter: Waiter, timeoutMs: number): How {
    const one = [{ waiter }];
    for (;;) {
      const rung = this.#block(one, timeoutMs);
      if (waiter.ready()) return "parked";
      if (!rung) return "timed out";
    }
  }

  /** Blocks the isolate until it is rung, or one is ready; false when time is over. The order of its steps loses no wake-up. */
  #block(waiting: readonly { waiter: Waiter }[], timeoutMs: number): boolean {
    const words = this.#words, naps = Atomics.load(words, NAPS);
    Atomics.store(words, 0, NAPPING);
    for (const { waiter } of waiting) waiter.arm();
    const ready = waiting.some(({ waiter }) => waiter.ready());
    const rung = ready || Atomics.wait(words, NAPS, naps, timeoutMs) !== "timed-out";
    Atomics.store(words, 0, AWAKE);
    for (const { waiter } of waiting) waiter.disarm();
    return rung;
  }

  /** Runs while anything is waited for. */
  async #serve(): Promise<void> {
    this.#serving = true;
    while (this.#waiting.length > 0) {
      if (this.#breathless()) await this.#breathe();
      if (this.#eager() ? await this.#spin() || await this.#turns() : this.#due() && await this.#nap()) continue;
      await this.#park();
    }
    this.#serving = false;
  }

  /** Whether the event loop has had no turn for a while. */
  #breathless(): boolean {
    return this.#turn !== undefined && this.#monotonic !== undefined && this.#monotonic() - this.#turnedMs >= TURN_MS;
  }

  async #breathe(): Promise<void> {
    await this.#turn!();
    this.#turnedMs = this.#monotonic!();
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

  /** Whether there is something worth a nap. */
  #due(): boolean {
    return this.budget.napMs * this.#share > 0 && this.#waiting.some(({ waiter }) => waiter.due);
  }

  /** Blocks the isolate until what is due has come, or for its share of the limit. */
  async #nap(): Promise<boolean> {
    const { napMs, napLimitMs = napMs } = this.budget, limitMs = napLimitMs * this.#share;
    await null; // who was woken by the same event has a step, and may hand over more
    const start = this.#monotonic?.();
    for (let i = 0; this.#giveWay && i < GIVE_WAYS; i++) {
      if (this.#settle("napped")) return true; // the other side may have run as soon as it was rung
      this.#giveWay();
    }
    this.#block(this.#waiting, limitMs);
    const came = this.#settle("napped");
    if (start !== undefined) this.#learn(came && this.#monotonic!() - start <= napMs);
    return came;
  }

  async #park(): Promise<void> {
    const start = this.#monotonic?.();
    const shortMs = this.#eager() ? this.#windowMs : Math.max(this.#windowMs, this.budget.napMs);
    Atomics.store(this.#words, 0, PARKED);
    for (const w of this.#waiting) w.waiter.arm();
    if (!this.#settle("parked", true)) {
      if (await this.#asleep()) this.#adapt(start, shortMs);
      if (start !== undefined) this.#turnedMs = start;
    }
    Atomics.store(this.#words, 0, AWAKE);
    for (const w of this.#waiting) w.waiter.disarm();
    this.#settle("parked", true);
  }

  /** Resolves with true when the word is rung, with false when a new wait has come in. */
  #asleep(): Promise<boolean> | boolean {
    if (!this.#pending) {
      const entry = Atomics.waitAsync(this.#words, 0, PARKED);
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
    else if (how === "napped") this.stats.naps++;
    else this.stats.parks++;
    waiter.waited(how);
    return how;
  }

  #eager(): boolean {
    for (const w of this.#waiting) if (w.waiter.eager) return true;
    return false;
  }

  /** A short sleep was not worth it: stay awake longer next time; a long one: give up sooner. */
  #adapt(start: number | undefined, shortMs = this.#windowMs): void {
    if (start !== undefined && this.#monotonic) this.#learn(this.#monotonic() - start < shortMs);
  }

  /** Staying awake was, or would have been, worth it; or not. */
  #learn(worth: boolean): void {
    if (worth) this.#share = Math.min(1, Math.max(MIN_SHARE, this.#share * 2));
    else this.#share = this.#share > MIN_SHARE ? this.#share / 2 : 0;
  }
}
