/**
 * Pulse: an isolate's heartbeats as the kernel hears them. It asks for the next one at each look, except of an isolate that
 * rests: that sleeps on its bell, has been handed nothing, and has taken no time to speak of.
 *
 * Layer: core/host, in the kernel isolate, below isolate.ts; heart.ts is the other end.
 */

import { type BellRef, isBlocked, isParked } from "../ring/doorbell.ts";
import { threadCpuMs } from "./threads.ts";

/** Who took less between two looks has not been in a loop. */
const REST_MS = 5;

/** What a pulse is felt at. */
export interface Artery {
  /** Its thread; -1 while it has none. */
  tid(): number;
  /** What it sleeps on. */
  bell(): BellRef | undefined;
  /** Heartbeats so far. */
  beats(): number;
  /** Grows with all that is handed to it. */
  handed(): number;
  /** Something about it has to be looked at again soon. */
  suspect(): boolean;
  /** Asks for a beat. */
  ask(): void;
}

/** See the head of this file. */
export class Pulse {
  readonly #artery: Artery;
  #rests = 0;
  #cpuMs = 0;
  #handed = 0;

  constructor(artery: Artery) {
    this.#artery = artery;
  }

  /** Called at each look: the heartbeats, and one for each look at which it rested. */
  feel(): number {
    const { beats, ask } = this.#artery;
    if (this.#isResting()) this.#rests++;
    else ask();
    return beats() + this.#rests;
  }

  #isResting(): boolean {
    const { tid, bell: bellOf, handed: handedOf, suspect } = this.#artery, bell = bellOf();
    if (!bell || tid() <= 0) return false;
    const before = this.#cpuMs, handed = handedOf(), idle = handed === this.#handed;
    this.#handed = handed;
    try {
      this.#cpuMs = threadCpuMs(tid());
    } catch {
      return false; // it has ended, or nobody can tell
    }
    if (isBlocked(bell)) return true; // a program, in a call that blocks
    return isParked(bell) && idle && this.#cpuMs - before < REST_MS && !suspect();
  }
}
