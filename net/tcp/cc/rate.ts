/**
 * Delivery rate: how fast the network has taken data lately, measured by the ACKs.
 *
 * Layer: net/tcp/cc. The engine owns one a connection and tells it of each transmission, delivery and loss; an algorithm
 * reads the AckSample. The rate is over the longer of the time that the data took to be sent and to be acknowledged, so
 * that neither ACKs that come in a clump nor a sender that stalls make it too high.
 *
 * See draft-cheng-iccrg-delivery-rate-estimation-02.
 */

import type { AckSample, SendRecord } from "./cc.ts";

/** No interval is thought shorter: clocks are read once a batch. */
const MIN_INTERVAL_MS = 0.001;

/** The connection's count of what was delivered, and the sample that is being made. */
export class RateSampler {
  /** Bytes delivered so far, and when the last were. */
  deliveredBytes = 0;
  deliveredMs = 0;
  /** Bytes found lost so far; what is sent again and lost again counts again. */
  lostBytes = 0;
  /** When the newest delivered record was sent. */
  firstSentMs = 0;
  /** `deliveredBytes` at which the last of the app-limited data has arrived; 0 when there is none. */
  appLimitedUntil = 0;

  /** The ACK in hand. */
  private ackedBytes = 0;
  private ackLostBytes = 0;
  private hasRecord = false;
  private priorDelivered = 0;
  private priorMs = 0;
  private sentMs = 0;
  private sendElapsedMs = 0;
  private appLimited = false;

  /** A record is sent, or sent again, while `inflight` bytes were out before it. */
  sent(record: SendRecord, now: number, inflight: number): void {
    if (inflight === 0) this.firstSentMs = this.deliveredMs = now;
    record.sentMs = now;
    record.delivered = this.deliveredBytes;
    record.deliveredMs = this.deliveredMs;
    record.firstSentMs = this.firstSentMs;
    record.appLimited = this.appLimitedUntil > 0;
  }

  /**
   * Nothing more is sent for now although cwnd would let it, for lack of data or of room at the peer: what is measured until
   * what is out has arrived says little of the network.
   */
  markAppLimited(inflight: number): void {
    this.appLimitedUntil = Math.max(this.deliveredBytes + inflight, 1);
  }

  /** An ACK has come. */
  begin(): void {
    this.ackedBytes = this.ackLostBytes = 0;
    this.hasRecord = false;
  }

  /** It newly acknowledges `bytes` of a record (all or a part; cumulatively or selectively, but each byte once). */
  delivered(record: SendRecord, bytes: number, now: number): void {
    this.deliveredBytes += bytes;
    this.deliveredMs = now;
    this.ackedBytes += bytes;
    if (this.hasRecord && !this.newer(record)) return;
    this.hasRecord = true;
    this.priorDelivered = record.delivered;
    this.priorMs = record.deliveredMs;
    this.sentMs = record.sentMs;
    this.sendElapsedMs = record.sentMs - record.firstSentMs;
    this.appLimited = record.appLimited;
    this.firstSentMs = record.sentMs;
  }

  /** `bytes` were found lost, with an ACK or without one. */
  lost(bytes: number): void {
    this.lostBytes += bytes;
    this.ackLostBytes += bytes;
  }

  /** The ACK has been gone through: writes what it told. `minRttMs`: the least RTT known, or 0. */
  finish(sample: AckSample, now: number, minRttMs: number): void {
    if (this.appLimitedUntil > 0 && this.deliveredBytes > this.appLimitedUntil) this.appLimitedUntil = 0;
    sample.now = now;
    sample.ackedBytes = this.ackedBytes;
    sample.lostBytes = this.ackLostBytes;
    sample.delivered = this.deliveredBytes;
    sample.rate = sample.intervalMs = 0;
    sample.appLimited = this.hasRecord && this.appLimited;
    sample.priorDelivered = this.hasRecord ? this.priorDelivered : 0;
    if (!this.hasRecord) return;
    const interval = Math.max(this.sendElapsedMs, this.deliveredMs - this.priorMs, MIN_INTERVAL_MS);
    // Shorter than any round trip: a retransmission whose original was acknowledged; it measures nothing.
    if (interval < minRttMs) return;
    sample.intervalMs = interval;
    sample.rate = (this.deliveredBytes - this.priorDelivered) / interval;
  }

  private newer(record: SendRecord): boolean {
    return record.sentMs > this.sentMs || record.sentMs === this.sentMs && record.delivered >= this.priorDelivered;
  }
}
