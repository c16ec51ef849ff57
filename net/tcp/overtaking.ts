/**
 * What overtook: for how long a receiver keeps to itself that a segment is behind a gap, on a path where gaps fill by
 * themselves.
 *
 * Layer: net/tcp, a leaf, beside ranges.ts. A receiver tells at once of what is behind a gap (RFC 5681, 4.2). A sender takes
 * that for a loss, and the time that the segment took for the path's round trip: one that models the path (BBR) then
 * believes in a path of no length. So where what was late, not what was sent again, fills more gaps than losses make, a
 * range waits as long as gaps usually take to fill, at most a round trip (the bound of a sender's own patience, RFC 8985,
 * 6.2), and is told of when its gap is still there: as if the segment had come so much later. Elsewhere nothing waits.
 *
 * What holds always: data is taken in at once, and what fills a gap is acknowledged as ever; only SACK blocks wait.
 */

import type { Ranges } from "./ranges.ts";

/** Gaps that filled by themselves, more than losses made, before anything waits; and how many are counted. */
const ENOUGH = 4, MOST = 16;
/** How much longer than the longest a gap may take; how the longest is forgotten, a gap. */
const MARGIN = 1.25, FADE = 15 / 16;
/** Gaps that fill faster are not worth a timer. */
const LEAST_MS = 1;

/** Of one connection. */
export class Overtaking {
  /** Ranges that are there since then, or longer, are told of. Never goes back. */
  toldTo = Infinity;
  /** When the next is to be told of; Infinity: none waits. */
  tellAt = Infinity;
  #holdMs = 0;
  #usualMs = 0;
  #score = 0;

  /** A gap is full that was `tookMs` old. `late`: by what was sent before anybody knew of it. */
  filled(now: number, tookMs: number, late: boolean, rttMs: number): void {
    if (late && tookMs < LEAST_MS) return;
    this.#score = late ? Math.min(this.#score + 1, MOST) : Math.max(this.#score - 1, 0);
    if (late) this.#usualMs = Math.max(tookMs * MARGIN, this.#usualMs * FADE);
    this.#holdMs = Math.min(this.#usualMs, rttMs);
    if (this.#score < ENOUGH) this.toldTo = this.tellAt = Infinity;
    else if (this.toldTo === Infinity) this.toldTo = now;
  }

  /** Whether a range that is there `since` then may wait; then `tellAt` is when it is to be told of at the latest. */
  waits(since: number): boolean {
    if (since <= this.toldTo) return false;
    this.tellAt = Math.min(this.tellAt, since + this.#holdMs);
    return true;
  }

  /** It is `tellAt`, or later: whether there is anything to tell. */
  isDue(now: number, early: Ranges): boolean {
    const toldBefore = this.toldTo;
    this.tellAt = Infinity;
    for (let i = 0; i < early.count; i++) {
      const since = early.since[i];
      if (since + this.#holdMs <= now) this.toldTo = Math.max(this.toldTo, since);
      else this.waits(since);
    }
    return this.toldTo > toldBefore;
  }
}
