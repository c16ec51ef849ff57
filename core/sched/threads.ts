/**
 * Threads inside an isolate: sequential code, thousands of them, on one cooperative run queue.
 *
 * Layer: core/sched, over Clock, rendez.ts, policy.ts and wheel.ts. A thread is an async function that is given its
 * Thread: it is written as plain sequential code and switches where it says `await`. What it awaits of its Thread
 * (yield, sleep, delay, wait) hands the isolate straight on to the thread that the policy picks; a switch so costs one promise
 * and one microtask. (Generators would switch in less when flat, but cost more with each `yield*` that they are deep.)
 *
 * What holds always:
 * - One thread runs at a time. One that awaits a promise without `wait` keeps its turn until the next turn of the event loop,
 *   when it is found out, and the others go on; it goes on beside them once its promise has settled.
 * - After `quantum` switches the event loop has a turn: timers and messages come through, however busy the threads are.
 * - A call that blocks is ended by a note or by cancelling, with EINTR. A cancelled thread blocks no more.
 *
 * See thread(2), notify(2) and alarm(2) of Plan 9.
 */

import type { Clock } from "../clock.ts";
import { Err, toErr } from "../err.ts";
import type { MaybePromise } from "../p9/types.ts";
import { fifo, type Policy } from "./policy.ts";
import type { Rendez } from "./rendez.ts";
import { TimerWheel } from "./wheel.ts";

/** The priority of a thread that is given none; 0 is the most urgent. */
export const DEFAULT_PRIORITY = 10;
/** Switches between two turns of the event loop. */
const QUANTUM = 256;
/** Notes that a thread has not taken yet, at the most. */
const MAX_NOTES = 32;

/** Ready to run, running, asleep on a Rendez, in `delay`, in `wait`, or at its end. */
export type ThreadState = "Ready" | "Running" | "Rendez" | "Delay" | "Wait" | "Done";

/** Handles a note; true when it did. One that nobody handles ends the thread. */
export type NoteHandler = (note: string) => boolean;

/** What a thread runs. */
export type Main<T> = (thread: Thread<T>) => MaybePromise<T>;

/** How a thread is made. */
export interface ThreadOptions {
  name?: string;
  /** For the policy; 0 is the most urgent. */
  priority?: number;
  /** Cancels the thread when it aborts. */
  signal?: AbortSignal;
}

/** What a scheduler is made with. */
export interface SchedOptions {
  clock: Clock;
  /** One turn of the event loop. Without it nothing but microtasks comes between threads. */
  turn?: () => Promise<void>;
  policy?: Policy<Thread>;
  /** Switches between two turns of the event loop. */
  quantum?: number;
  /** Takes the error of a thread that nobody joins; without it that is an unhandled rejection. */
  onFault?: (thread: Thread, error: Err) => void;
}

/** The threads of an isolate, or of a part of it. */
export class Sched {
  /** Alarms of the threads, and of whoever likes. */
  readonly wheel: TimerWheel;
  /** Switches so far, and turns of the event loop that were made. */
  readonly stats = { switches: 0, turns: 0, spawned: 0 };
  readonly #turn: () => Promise<void>;
  readonly #policy: Policy<Thread>;
  readonly #quantum: number;
  readonly #onFault: SchedOptions["onFault"];
  readonly #threads = new Set<Thread>();
  #lastId = 0;
  /** Whose turn it is; null when nobody is ready, or the event loop's turn is waited for. */
  #current: Thread | null = null;
  /** Switches that are left until the event loop must have a turn. */
  #left: number;
  #turning = false;
  /** `stats.switches` when the turn was asked for. */
  #switchesThen = 0;

  constructor(options: SchedOptions) {
    this.wheel = new TimerWheel(options.clock);
    this.#turn = options.turn ?? (() => Promise.resolve());
    this.#policy = options.policy ?? fifo();
    this.#quantum = this.#left = options.quantum ?? QUANTUM;
    this.#onFault = options.onFault;
  }

  /** Starts a thread; it first runs when the policy comes to it. */
  spawn<T>(main: Main<T>, options: ThreadOptions = {}): Thread<T> {
    const thread = new Thread<T>(this, ++this.#lastId, options);
    this.#threads.add(thread as Thread);
    this.stats.spawned++;
    this.#run(thread, main);
    return thread;
  }

  /** Every thread that has not ended, in the order of making. */
  list(): Thread[] {
    return [...this.#threads];
  }

  /** A line a thread: number, state, priority, name, and what it waits for. */
  text(): string {
    return this.list().map(({ id, state, priority, name, why }) =>
      `${String(id).padStart(6)} ${state.padEnd(7)} ${String(priority).padStart(3)} ${name}${why && ` (${why})`}\n`
    ).join("");
  }

  /** Cancels all threads, and waits until they have ended. */
  async close(reason = "the scheduler is closed"): Promise<void> {
    const all = this.list();
    for (const thread of all) thread.cancel(reason);
    await Promise.allSettled(all.map((thread) => thread.join()));
  }

  /** For Thread: it can run. */
  ready(thread: Thread): void {
    this.#policy.push(thread);
    if (this.#current === null && !this.#held()) this.#next();
    if (!this.#turning) this.#askTurn();
  }

  /** For Thread: it gives its turn up, if it has it. */
  leave(thread: Thread): void {
    if (this.#current === thread) this.#next();
  }

  async #run<T>(thread: Thread<T>, main: Main<T>): Promise<void> {
    try {
      await thread.begin();
      thread.end(await main(thread));
    } catch (e) {
      thread.fail(toErr(e), this.#onFault);
    }
    this.#threads.delete(thread as Thread);
    this.leave(thread as Thread);
  }

  /** Whether the quantum is used up, and the event loop's turn on its way. */
  #held(): boolean {
    return this.#left <= 0 && this.#turning;
  }

  #next(): void {
    this.#current = null;
    if (this.#held()) return;
    const thread = this.#policy.shift();
    if (!thread) return;
    this.#current = thread;
    this.#left--;
    this.stats.switches++;
    thread.go();
  }

  #askTurn(): void {
    this.#turning = true;
    this.#switchesThen = this.stats.switches;
    this.#turn().then(() => this.#turned());
  }

  #turned(): void {
    this.#turning = false;
    this.stats.turns++;
    this.#left = this.#quantum;
    if (this.#policy.size === 0) return;
    // Who has the turn and was not heard of since awaits something else: it has the turn no more.
    const stuck = this.stats.switches === this.#switchesThen;
    if (this.#current === null || stuck) this.#next();
    this.#askTurn();
  }
}

/** One thread, as its code and others see it. */
export class Thread<T = unknown> {
  readonly id: number;
  readonly name: string;
  priority: number;
  state: ThreadState = "Ready";
  readonly #sched: Sched;
  readonly #done = Promise.withResolvers<T>();
  #abort: AbortController | null = null;
  readonly #notes: string[] = [];
  #joined = false;
  #onNote: NoteHandler | null = null;
  #cancelled: Err | null = null;
  #unlink: () => void = () => {};
  #alarm: { cancel: () => void; dueMs: number } | null = null;
  // What it blocks in.
  #resolve: (woken: true) => void = () => {};
  #reject: (error: Err) => void = () => {};
  #rendez: Rendez | null = null;
  #interrupted = false;
  /** Counts its sleeps, so that a late waker does not end another one. */
  #sleeps = 0;

  /** Made by `Sched.spawn`. */
  constructor(sched: Sched, id: number, { name, priority, signal }: ThreadOptions) {
    this.#sched = sched;
    this.id = id;
    this.name = name ?? `thread-${id}`;
    this.priority = priority ?? DEFAULT_PRIORITY;
    this.#done.promise.catch(() => {}); // told by join(), or by fail()
    if (signal) this.#cancelWith(signal);
  }

  /** What it waits for; empty when it does not. */
  get why(): string {
    return this.#rendez?.name ?? "";
  }

  /** Aborts when the thread is cancelled: for calls that take a signal. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#cancelled) this.#abort.abort(this.#cancelled);
    }
    return this.#abort.signal;
  }

  // For the thread's own code.

  /** Lets the others that are ready run first. */
  yield(): Promise<unknown> {
    const stop = this.#stop();
    return stop ? Promise.reject(stop) : this.#switch("Ready");
  }

  /**
   * Sleeps on `rendez` until it is woken up; with `ready`, until that is true: it is looked at before each sleep. With
   * `ms`, no longer than that: false when the time was up.
   */
  sleep(rendez: Rendez, ready?: () => boolean, ms = Infinity): Promise<boolean> {
    return ready || ms < Infinity ? this.#sleepFor(rendez, ready, ms) : this.#sleepOn(rendez);
  }

  /** Does nothing for a time. */
  async delay(ms: number): Promise<void> {
    const stop = this.#stop();
    if (stop) throw stop;
    const cancel = this.#sched.wheel.after(ms, this.#waker("Delay"));
    try {
      await this.#switch("Delay");
    } finally {
      cancel();
    }
  }

  /** Waits for a promise, while others run. EINTR leaves the promise to itself: give `signal` to what makes it. */
  async wait<U>(promise: PromiseLike<U>): Promise<U> {
    const stop = this.#stop();
    if (stop) throw stop;
    const wake = this.#waker("Wait");
    Promise.resolve(promise).then(wake, wake);
    await this.#switch("Wait");
    return await promise;
  }

  /** Handles the notes of this thread; null leaves them to end it. */
  notify(handler: NoteHandler | null): void {
    this.#onNote = handler;
  }

  /** Posts the note `alarm` to itself after `ms`, 0 takes it back; answers how much was left of the one before. */
  alarm(ms: number): number {
    const { wheel } = this.#sched, before = this.#alarm;
    before?.cancel();
    this.#alarm = null;
    if (ms > 0) this.#alarm = { cancel: wheel.after(ms, () => this.#ring()), dueMs: wheel.monotonic() + ms };
    return before ? Math.max(0, before.dueMs - wheel.monotonic()) : 0;
  }

  // For others.

  /** Waits for its end: its value, or its error. */
  join(): Promise<T> {
    this.#joined = true;
    return this.#done.promise;
  }

  /** Posts a note: ends a call that blocks. Handled when the thread next runs. */
  note(text: string): void {
    if (this.state === "Done") throw new Err("ESRCH", `thread ${this.id} has ended`);
    if (this.#notes.length >= MAX_NOTES) throw new Err("EBUSY", "too many notes wait for the thread");
    this.#notes.push(text);
    this.#interrupt();
  }

  /** Has it end: what blocks fails with EINTR, now and later. Its `finally` blocks run. */
  cancel(reason = "cancelled"): void {
    if (this.#cancelled || this.state === "Done") return;
    this.#cancelled = new Err("EINTR", `${this.name}: ${reason}`);
    this.#abort?.abort(this.#cancelled);
    this.#interrupt();
  }

  // For Sched and Rendez.

  /** Waits for its first turn. */
  begin(): Promise<unknown> {
    return this.#switch("Ready");
  }

  end(value: T): void {
    this.#over();
    this.#done.resolve(value);
  }

  fail(error: Err, onFault: SchedOptions["onFault"]): void {
    this.#over();
    this.#done.reject(error);
    if (this.#joined || this.#cancelled) return;
    if (onFault) onFault(this as Thread, error);
    else void Promise.reject(error);
  }

  /** It has the turn: handles its notes, and goes on. */
  go(): void {
    this.state = "Running";
    this.#takeNotes();
    const interrupted = this.#interrupted;
    this.#interrupted = false;
    if (this.#cancelled) this.#reject(this.#cancelled);
    else if (interrupted) this.#reject(new Err("EINTR"));
    else this.#resolve(true);
  }

  /** Ends its sleep. */
  wake(): void {
    this.#rendez?.leave(this);
    this.#rendez = null;
    this.state = "Ready";
    this.#sched.ready(this as Thread);
  }

  async #sleepFor(rendez: Rendez, ready: (() => boolean) | undefined, ms: number): Promise<boolean> {
    let late = false;
    const cancel = ms === Infinity ? undefined : this.#sched.wheel.after(ms, () => {
      late = true;
      if (this.#rendez === rendez) this.wake();
    });
    try {
      do {
        if (ready?.()) return true;
        if (late) return false;
        await this.#sleepOn(rendez);
      } while (ready);
      return !late;
    } finally {
      cancel?.();
    }
  }

  #sleepOn(rendez: Rendez): Promise<boolean> {
    const stop = this.#stop();
    if (stop) return Promise.reject(stop);
    rendez.join(this);
    this.#rendez = rendez;
    return this.#switch("Rendez");
  }

  /** Gives its turn up; resolves when it has it again. */
  #switch(state: ThreadState): Promise<boolean> {
    const turn = new Promise<boolean>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.state = state;
    this.#sleeps++;
    if (state === "Ready") this.#sched.ready(this as Thread);
    this.#sched.leave(this as Thread);
    return turn;
  }

  /** Wakes it from its next sleep, if it is still in that when called. */
  #waker(state: ThreadState): () => void {
    const sleep = this.#sleeps + 1;
    return () => {
      if (this.state === state && this.#sleeps === sleep) this.wake();
    };
  }

  #interrupt(): void {
    if (this.state !== "Rendez" && this.state !== "Delay" && this.state !== "Wait") return;
    this.#interrupted = true;
    this.wake();
  }

  /** Takes the notes that came while it ran; answers what keeps it from blocking. */
  #stop(): Err | null {
    this.#takeNotes();
    return this.#cancelled;
  }

  #takeNotes(): void {
    for (let note; (note = this.#notes.shift()) !== undefined;) {
      let handled = false;
      try {
        handled = this.#onNote?.(note) ?? false;
      } catch (e) {
        this.cancel(`its note handler failed: ${toErr(e).message}`);
      }
      if (!handled) this.cancel(note);
    }
  }

  #ring(): void {
    this.#alarm = null;
    if (this.state !== "Done" && this.#notes.length < MAX_NOTES) this.note("alarm");
  }

  #cancelWith(signal: AbortSignal): void {
    const cancel = () => this.cancel(toErr(signal.reason).message);
    if (signal.aborted) return cancel();
    signal.addEventListener("abort", cancel, { once: true });
    this.#unlink = () => signal.removeEventListener("abort", cancel);
  }

  #over(): void {
    this.state = "Done";
    this.#unlink();
    this.#alarm?.cancel();
    this.#alarm = null;
  }
}
