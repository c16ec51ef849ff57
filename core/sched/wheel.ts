/**
 * TimerWheel: any number of alarms on one alarm of a clock: to set or cancel one costs the same with ten as with a
 * million.
 *
 * Layer: core/sched, over Clock; a wheel is itself a Clock, for whoever takes one. Hierarchical: level 0 has a slot a
 * tick, each level above one for 64 slots of the one below. An alarm lies at the level of the highest digit (base 64) in
 * which its tick differs from the present; when the wheel comes to its slot it moves down, at most once a level.
 * A bit a slot says where something lies, so that empty time is jumped over, and an idle wheel holds no alarm of its clock.
 *
 * What holds always: no alarm is early; it is late by a tick at most, and by what the clock itself is. Alarms of one
 * tick run in the order in which they were set. What throws keeps no other alarm from running.
 *
 * See Varghese and Lauck, Hashed and hierarchical timing wheels (1987).
 */

import type { Clock } from "../clock.ts";

const BITS = 6, SLOTS = 1 << BITS, MASK = SLOTS - 1, LEVELS = 5;
/** Ticks that the levels span together; alarms beyond wait in a list of their own. */
const SPAN = 2 ** (BITS * LEVELS);
/** The slots' number for the list of those beyond, and for the list of those whose tick has come. */
const BEYOND = LEVELS * SLOTS, DUE = BEYOND + 1, FREE = -1;

/** One alarm: a node of its slot's circular list. */
class Alarm {
  readonly fn: () => void;
  /** The tick at which it runs. */
  readonly tick: number;
  slot = FREE;
  next: Alarm = this;
  prev: Alarm = this;

  constructor(fn: () => void, tick: number) {
    this.fn = fn;
    this.tick = tick;
  }
}

/** What a wheel is made with. */
export interface WheelOptions {
  /** Length of a tick, milliseconds. */
  tickMs?: number;
}

/** See the head of this file. */
export class TimerWheel implements Clock {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #slots: Alarm[] = Array.from({ length: DUE + 1 }, () => new Alarm(() => {}, 0));
  /** Two words of 32 bits a level: which slots hold something. */
  readonly #occupied = new Uint32Array(2 * LEVELS);
  /** The tick up to which everything has run. */
  #now: number;
  #size = 0;
  /** The tick that the clock's alarm is set for; Infinity when it is not set. */
  #armed = Infinity;
  #disarm: () => void = () => {};
  #running = false;

  constructor(clock: Clock, { tickMs = 1 }: WheelOptions = {}) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#now = this.#present();
  }

  /** Alarms that are set. */
  get size(): number {
    return this.#size;
  }

  now(): number {
    return this.#clock.now();
  }

  monotonic(): number {
    return this.#clock.monotonic();
  }

  after(delayMs: number, fn: () => void): () => void {
    if (this.#size === 0 && !this.#running) this.#now = this.#present();
    const wanted = Math.ceil((this.#clock.monotonic() + Math.max(delayMs, 0)) / this.#tickMs);
    const alarm = new Alarm(fn, Math.max(wanted, this.#now + 1));
    this.#insert(alarm);
    this.#size++;
    if (alarm.tick < this.#armed && !this.#running) this.#arm(alarm.tick);
    return () => {
      if (alarm.slot === FREE) return;
      this.#take(alarm);
      this.#size--;
      if (this.#size === 0) this.#arm(Infinity);
    };
  }

  #present(): number {
    return Math.floor(this.#clock.monotonic() / this.#tickMs);
  }

  #insert(alarm: Alarm): void {
    this.#append(alarm, this.#slotOf(alarm.tick));
  }

  /** The slot for a tick, as seen from the present one. */
  #slotOf(tick: number): number {
    if (tick <= this.#now) return DUE;
    if (Math.floor(tick / SPAN) !== Math.floor(this.#now / SPAN)) return BEYOND;
    const low = tick % SPAN, differs = low ^ (this.#now % SPAN);
    const level = Math.floor((31 - Math.clz32(differs)) / BITS);
    return level * SLOTS + ((low >>> (level * BITS)) & MASK);
  }

  #append(alarm: Alarm, slot: number): void {
    const list = this.#slots[slot], last = list.prev;
    alarm.slot = slot;
    alarm.prev = last;
    alarm.next = list;
    last.next = list.prev = alarm;
    if (slot < BEYOND) this.#occupied[slot >> 5] |= 1 << (slot & 31);
  }

  #take(alarm: Alarm): void {
    const { slot, prev, next } = alarm;
    prev.next = next;
    next.prev = prev;
    alarm.next = alarm.prev = alarm;
    alarm.slot = FREE;
    if (slot < BEYOND && next === prev) this.#occupied[slot >> 5] &= ~(1 << (slot & 31));
  }

  #arm(tick: number): void {
    if (tick === this.#armed) return;
    this.#disarm();
    this.#armed = tick;
    if (tick === Infinity) return void (this.#disarm = () => {});
    const delayMs = Math.max(0, tick * this.#tickMs - this.#clock.monotonic());
    this.#disarm = this.#clock.after(delayMs, () => this.#run());
  }

  /** The clock's alarm has come: runs what is due, and sets it for what is next. */
  #run(): void {
    this.#armed = Infinity;
    this.#running = true;
    const until = this.#present();
    try {
      this.#runDue();
      for (let next = this.#nextTick(); next <= until; next = this.#nextTick()) {
        this.#advance(next);
        this.#runDue();
      }
      this.#now = Math.max(this.#now, until); // before the next slot that holds something: none has to move
    } finally {
      this.#running = false;
      const left = this.#slots[DUE].next !== this.#slots[DUE]; // one of them threw
      this.#arm(left ? this.#now : this.#nextTick());
    }
  }

  #runDue(): void {
    const due = this.#slots[DUE];
    while (due.next !== due) {
      const alarm = due.next;
      this.#take(alarm);
      this.#size--;
      alarm.fn();
    }
  }

  /** The tick at which a slot that holds something begins: nothing is due before. Infinity when all are empty. */
  #nextTick(): number {
    const low = this.#now % SPAN, base = this.#now - low;
    for (let level = 0; level < LEVELS; level++) {
      const first = lowestBit(this.#occupied[2 * level], this.#occupied[2 * level + 1]);
      if (first < 0) continue;
      const width = 2 ** (BITS * level), above = Math.floor(low / (width * SLOTS)) * width * SLOTS;
      return base + above + first * width;
    }
    const beyond = this.#slots[BEYOND];
    return beyond.next === beyond ? Infinity : base + SPAN;
  }

  /** Goes to the first tick of a slot, whose alarms become due or move down. */
  #advance(tick: number): void {
    this.#now = tick;
    if (tick % SPAN === 0) return this.#spread(BEYOND);
    const low = tick % SPAN;
    for (let level = LEVELS - 1; level >= 0; level--) {
      if (low % 2 ** (BITS * level) === 0) this.#spread(level * SLOTS + ((low >>> (level * BITS)) & MASK));
    }
  }

  /** Sorts the alarms of a slot in again, as seen from the present. */
  #spread(slot: number): void {
    const list = this.#slots[slot];
    if (list.next === list) return;
    for (let count = this.#count(list); count > 0; count--) {
      const alarm = list.next;
      this.#take(alarm);
      this.#insert(alarm);
    }
  }

  #count(list: Alarm): number {
    let count = 0;
    for (let alarm = list.next; alarm !== list; alarm = alarm.next) count++;
    return count;
  }
}

/** The place of the lowest bit of 64, or -1. */
function lowestBit(low: number, high: number): number {
  if (low !== 0) return 31 - Math.clz32(low & -low);
  return high !== 0 ? 63 - Math.clz32(high & -high) : -1;
}
