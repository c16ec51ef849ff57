/**
 * Runner: gives a stack its time: polls it after each batch of frames, after what users did, and when something is due.
 *
 * Layer: plugins/ip, over net/stack.ts. What holds always: the clock is read once a batch; however much users do in one go,
 * the stack is polled once behind it; a job is polled before the stack, so that what it sends leaves at once.
 */

import type { Clock } from "../../core/clock.ts";

/** What has a time of its own: the stack, a DHCP client, the resolver. */
export interface Job {
  /** When it is to be polled at the latest; Infinity: not before something else happens. */
  pollAt(): number;
  poll(now: number): void;
}

/** See the head of this file. */
export class Runner {
  /** The time of the batch in hand; monotonic milliseconds. */
  now: number;
  /** Never changed in place: a job may end itself while it is polled. */
  #jobs: readonly Job[] = [];
  readonly #clock: Clock;
  readonly #turn: (() => Promise<void>) | undefined;
  /** Frames are coming in, or jobs are being polled: who calls `kick` is looked after anyway. */
  #busy = false;
  #kicked = false;
  #turning = false;
  #stopped = false;
  #alarmAt = Infinity;
  #cancel = () => {};

  /** `turn` is one turn of the event loop, if the host has something better than an alarm without delay. */
  constructor(clock: Clock, turn?: () => Promise<void>) {
    this.#clock = clock;
    this.#turn = turn;
    this.now = clock.monotonic();
  }

  /** Adds a job in front of those that there are: the stack, which was the first, is polled last. */
  add(job: Job): void {
    this.#jobs = [job, ...this.#jobs];
    this.kick();
  }

  remove(job: Job): void {
    this.#jobs = this.#jobs.filter((other) => other !== job);
  }

  /** Reads the clock: before anything is told to the stack. */
  tick(): number {
    return this.now = this.#busy ? this.now : this.#clock.monotonic();
  }

  /** A batch of frames begins. */
  begin(): void {
    this.now = this.#clock.monotonic();
    this.#busy = true;
  }

  /** The batch is over. */
  end(): void {
    this.#busy = false;
    this.poll();
  }

  /** A user has done something: the stack is polled when all that is to be done now is done. */
  kick(): void {
    if (this.#kicked) return;
    this.#kicked = true;
    if (!this.#busy) queueMicrotask(this.#run);
  }

  /** Polls now. */
  poll(): void {
    if (this.#busy || this.#stopped) return;
    this.#busy = true;
    this.#kicked = false;
    try {
      for (const job of this.#jobs) job.poll(this.now);
    } finally {
      this.#busy = false;
      const at = this.#nextAt();
      // Who was told something in the poll, and did something, has often been looked after in it.
      if (this.#kicked && at <= this.now) queueMicrotask(this.#run);
      else this.#kicked = false;
      this.#arm(at);
    }
  }

  /** Nothing is polled any more. */
  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  readonly #run = (): void => {
    if (this.#busy || !this.#kicked) return;
    this.now = this.#clock.monotonic();
    this.poll();
  };

  readonly #due = (): void => {
    this.#alarmAt = Infinity;
    this.now = this.#clock.monotonic();
    this.poll();
  };

  #nextAt(): number {
    let at = Infinity;
    for (const job of this.#jobs) at = Math.min(at, job.pollAt());
    return at;
  }

  /** Sees to it that what is due at `at` is done then. */
  #arm(at: number): void {
    // An alarm that is set too early goes off in vain, once: that is cheaper than to set it anew each time.
    if (this.#stopped || at > this.now && at >= this.#alarmAt) return;
    if (this.#turn === undefined) this.#setAlarm(at);
    else if (!this.#turning) void this.#armLater(this.#turn);
  }

  /** Others come first; and what was due soon, as an ACK that waits for its answer is, has mostly been done by then. */
  async #armLater(turn: () => Promise<void>): Promise<void> {
    this.#turning = true;
    await turn();
    this.#turning = false;
    if (this.#stopped) return;
    this.now = this.#clock.monotonic();
    const at = this.#nextAt();
    if (at <= this.now) this.poll();
    else if (at < this.#alarmAt) this.#setAlarm(at);
  }

  #setAlarm(at: number): void {
    this.#cancel();
    this.#alarmAt = at;
    this.#cancel = this.#clock.after(Math.max(at - this.now, 0), this.#due);
  }
}
