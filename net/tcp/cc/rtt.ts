/**
 * Round-trip time: smoothed, its variation, the least, and the retransmission timeout that follows.
 *
 * Layer: net/tcp/cc; the engine owns one a connection. Karn's rule is the engine's: it gives samples of segments that
 * were sent once, or by timestamps.
 *
 * See RFC 6298; RFC 7323, appendix G (several samples a round trip); the floor of 200 ms over the smoothed RTT is Linux's.
 */

import { WindowedMin } from "./filter.ts";

export const INITIAL_RTO_MS = 1000, MIN_RTO_MS = 200, MAX_RTO_MS = 120_000;

/** How long a least RTT is believed. */
const MIN_RTT_WINDOW_MS = 300_000;

/** The estimator. Milliseconds, with a fraction. */
export class RttEstimator {
  /** Smoothed; 0 before the first sample. */
  srttMs = 0;
  varMs = 0;
  latestMs = 0;
  /** Timeouts in a row. */
  backoffs = 0;
  private readonly least = new WindowedMin(MIN_RTT_WINDOW_MS);

  /** Least of the last five minutes; 0 before the first sample. */
  get minMs(): number {
    return this.least.value;
  }

  /** The retransmission timeout, doubled for each timeout since the last sample. */
  get rtoMs(): number {
    const base = this.srttMs === 0 ? INITIAL_RTO_MS : this.srttMs + Math.max(4 * this.varMs, MIN_RTO_MS);
    return Math.min(base * (1 << this.backoffs), MAX_RTO_MS);
  }

  /** A measured RTT, one of about `perRtt` that a round trip brings. */
  sample(rttMs: number, now: number, perRtt = 1): void {
    // A clock that is read once a batch may show none at all.
    const rtt = Math.max(rttMs, 0.001);
    this.latestMs = rtt;
    this.backoffs = 0;
    this.least.update(rtt, now);
    if (this.srttMs === 0) {
      this.srttMs = rtt;
      this.varMs = rtt / 2;
      return;
    }
    const n = Math.max(perRtt, 1);
    this.varMs += (Math.abs(this.srttMs - rtt) - this.varMs) / (4 * n);
    this.srttMs += (rtt - this.srttMs) / (8 * n);
  }

  /** The retransmission timer ran out. */
  backOff(): void {
    this.backoffs = Math.min(this.backoffs + 1, 16);
  }
}
