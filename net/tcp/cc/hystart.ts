/**
 * HyStart++: leaves slow start when the round trip grows, before the queue overflows.
 *
 * Layer: net/tcp/cc. Rounds are told by the delivery counter, so it needs no sequence numbers. When the RTT of a round has
 * grown by an eighth, the window goes on growing at a quarter of the pace (CSS); five such rounds later slow start is over,
 * unless the RTT has fallen again, for then it was jitter.
 *
 * See RFC 9406.
 */

import type { AckSample } from "./cc.ts";

const MIN_THRESH_MS = 4, MAX_THRESH_MS = 16, RTT_DIVISOR = 8, RTT_SAMPLES = 8, CSS_DIVISOR = 4, CSS_ROUNDS = 5;

/** Longer than any round trip: no sample yet. */
const NEVER = 1e9;

/** The state of one slow start. */
export class HyStart {
  private roundEnd = 0;
  private lastRoundMin = NEVER;
  private roundMin = NEVER;
  private samples = 0;
  /** The least RTT when CSS began; 0 while it has not. */
  private cssBaseline = 0;
  private cssRounds = 0;

  reset(): void {
    this.roundEnd =
      this.samples =
      this.cssBaseline =
      this.cssRounds =
        0;
    this.lastRoundMin = this.roundMin = NEVER;
  }

  /** By what the growth for this ACK is to be divided; 0: slow start is over. */
  onAck(ack: AckSample): number {
    if (ack.priorDelivered >= this.roundEnd) this.startRound(ack);
    if (ack.rttMs >= 0) {
      this.roundMin = Math.min(this.roundMin, ack.rttMs);
      this.samples++;
      this.judge();
    }
    if (this.cssBaseline === 0) return 1;
    return this.cssRounds >= CSS_ROUNDS ? 0 : CSS_DIVISOR;
  }

  private startRound(ack: AckSample): void {
    this.roundEnd = ack.delivered;
    this.lastRoundMin = this.roundMin;
    this.roundMin = NEVER;
    this.samples = 0;
    if (this.cssBaseline > 0) this.cssRounds++;
  }

  private judge(): void {
    if (this.samples < RTT_SAMPLES) return;
    if (this.cssBaseline > 0) {
      if (this.roundMin < this.cssBaseline) this.cssBaseline = this.cssRounds = 0;
    } else if (this.lastRoundMin !== NEVER) {
      const thresh = Math.min(Math.max(this.lastRoundMin / RTT_DIVISOR, MIN_THRESH_MS), MAX_THRESH_MS);
      if (this.roundMin >= this.lastRoundMin + thresh) this.cssBaseline = this.roundMin;
    }
  }
}
