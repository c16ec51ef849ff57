/**
 * One turn of the host's event loop: timers, sockets and messages have their chance. About 0.9 us when there is
 * nothing to do, where setTimeout(0) takes a millisecond.
 *
 * Layer: core/host; doorbells (core/ring/doorbell.ts) and schedulers take it as an argument.
 */

import { setImmediate } from "node:timers";

/** Resolves in the next turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Turns of a busy event loop until it has looked at its sockets for sure: the runtime does so once in 61. */
const POLL_TURNS = 64;

/** Gives sockets their chance amid work that never waits: some 60 us. */
export async function poll(): Promise<void> {
  for (let i = 0; i < POLL_TURNS; i++) await turn();
}
