/**
 * How many more bytes than expected are acknowledged at once: what BBR allows in flight beyond the path's own.
 *
 * Layer: net/tcp/cc. Links and receivers that save up ACKs (wireless, GRO, a reader that stalls) would leave a sender without
 * window in between. The excess over the bandwidth's line since an epoch began is measured, and its greatest value of the
 * last five to ten rounds kept.
 *
 * See draft-ietf-ccwg-bbr, 5.5.9 (extra_acked).
 */

/** Rounds of one of the two windows. */
const WINDOW_ROUNDS = 5;

/** An epoch ends by itself after so many bytes. */
const MAX_EPOCH_BYTES = 1 << 30;

/** The greatest excess, over two windows of rounds. */
export class AckAggregation {
  private epochMs = 0;
  private epochBytes = 0;
  private now = 0;
  private before = 0;
  private rounds = 0;

  /** Bytes beyond what the bandwidth explains. */
  get extraBytes(): number {
    return Math.max(this.now, this.before);
  }

  /** Silence is no aggregation: counting begins again. */
  restart(nowMs: number): void {
    this.epochMs = nowMs;
    this.epochBytes = 0;
  }

  /** An ACK of `bytes`, at a bandwidth of bytes a millisecond; the excess counts to `most`. */
  onAck(nowMs: number, bytes: number, bw: number, most: number, roundStart: boolean): void {
    if (roundStart && ++this.rounds >= WINDOW_ROUNDS) {
      this.rounds = 0;
      this.before = this.now;
      this.now = 0;
    }
    let expected = bw * (nowMs - this.epochMs);
    if (this.epochBytes <= expected || this.epochBytes > MAX_EPOCH_BYTES) {
      this.restart(nowMs);
      expected = 0;
    }
    this.epochBytes += bytes;
    this.now = Math.max(this.now, Math.min(this.epochBytes - expected, most));
  }
}
