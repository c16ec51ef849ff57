/**
 * The host's clock, for everything that takes a `Clock`.
 *
 * Layer: core/host; the type is core/clock.ts. Tests and simulations give one of their own.
 */

import { clearTimeout, setTimeout } from "node:timers";
import type { Clock } from "../clock.ts";

/** The longest time that one host timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** How far the fine wall clock may be off from the host's before it is set again. */
const STEP_MS = 2;

/** Wall time less monotonic time, as last set. */
let offsetMs = performance.timeOrigin;

/** Time as the host has it. Alarms keep no program alive. */
export const hostClock: Clock = {
  now() {
    const wall = Date.now(), fine = offsetMs + performance.now();
    if (fine >= wall - STEP_MS && fine < wall + 1 + STEP_MS) return fine;
    offsetMs += wall - fine; // somebody set the clock, or it drifted
    return wall;
  },

  monotonic() {
    return performance.now();
  },

  after(delayMs, fn) {
    const deadline = performance.now() + delayMs;
    let timer: ReturnType<typeof setTimeout>;
    const arm = () => {
      const left = deadline - performance.now();
      timer = setTimeout(left > MAX_TIMER_MS ? arm : fn, Math.min(Math.max(left, 0), MAX_TIMER_MS));
      timer.unref();
    };
    arm();
    return () => clearTimeout(timer);
  },
};
