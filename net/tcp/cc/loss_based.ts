/**
 * What NewReno and CUBIC share: slow start with HyStart++, proportional rate reduction, timeouts, undo, idle restart.
 *
 * Layer: net/tcp/cc. An algorithm adds how much a congestion takes away, and how the window grows after it. While a
 * recovery lasts, `cwnd` is what proportional rate reduction wants; what was sent between two ACKs is seen from `inflight`.
 * Beyond a millisecond of RTT it is paced as Linux does: at twice the window a round trip in slow start, at 1.2 after it.
 *
 * See RFC 5681, RFC 6582, RFC 9937 (PRR), RFC 9406 (HyStart++), RFC 8511 (less reduction for ECN than for loss).
 */

import {
  type AckSample,
  type CcName,
  type CcOptions,
  type CongestionControl,
  INITIAL_SEGMENTS,
  LOCAL_RTT_MS,
  NO_LIMIT,
} from "./cc.ts";
import { HyStart } from "./hystart.ts";
import { quantumOf } from "./pacing.ts";

const SLOW_START_PACING = 2, AVOIDANCE_PACING = 1.2;

/** What the window is doing. */
export const enum Phase {
  open,
  /** Fast recovery, after a loss. */
  recovery,
  /** After the retransmission timer ran out. */
  timeout,
}

/** A window that losses halve, or nearly. */
export abstract class LossBased implements CongestionControl {
  abstract readonly name: CcName;
  cwnd: number;
  ssthresh = NO_LIMIT;
  pacingRate = 0;
  quantum: number;

  protected mss: number;
  protected phase: Phase = Phase.open;
  private readonly initialSegments: number;
  private readonly hystart = new HyStart();
  /** Before the last reduction, for undo. */
  private priorCwnd = 0;
  private priorSsthresh = NO_LIMIT;
  /** PRR: bytes delivered and sent since the recovery began, the window before it, and in flight after the last ACK. */
  private prrDelivered = 0;
  private prrOut = 0;
  private prrCwnd = 0;
  private lastInflight = 0;

  constructor({ mss, initialSegments = INITIAL_SEGMENTS }: CcOptions) {
    this.mss = mss;
    this.initialSegments = initialSegments;
    this.cwnd = initialSegments * mss;
    this.quantum = quantumOf(0, mss);
  }

  /** The window after a congestion, bytes: called once for each. */
  protected abstract reduced(ecn: boolean): number;
  /** Congestion avoidance: grows `cwnd` for bytes that were acknowledged. */
  protected abstract avoid(ack: AckSample): void;
  /** What an algorithm remembers beside the window, back as it was before the last reduction. */
  protected abstract undone(): void;
  /** Time passed that the window did not limit: what grows with time must not grow for it. */
  protected unlimited(_now: number): void {}

  onAck(ack: AckSample): void {
    if (this.phase === Phase.recovery) this.reduceProportionally(ack);
    else if (ack.ackedBytes > 0) this.grow(ack);
    this.pace(ack);
  }

  enterRecovery(_now: number, inflight: number, _lostBytes: number): void {
    this.prrCwnd = Math.max(this.cwnd, this.mss);
    this.congestion(false);
    this.phase = Phase.recovery;
    this.prrDelivered = this.prrOut = 0;
    this.lastInflight = inflight;
  }

  exitRecovery(_now: number): void {
    if (this.phase === Phase.recovery) this.cwnd = this.ssthresh;
    this.phase = Phase.open;
  }

  onRto(_now: number, _inflight: number, first: boolean): void {
    if (first) this.congestion(false);
    this.phase = Phase.timeout;
    this.cwnd = this.mss;
    this.hystart.reset();
  }

  onUndo(_now: number): void {
    if (this.priorCwnd === 0) return;
    this.cwnd = Math.max(this.cwnd, this.priorCwnd);
    this.ssthresh = this.priorSsthresh;
    this.phase = Phase.open;
    this.priorCwnd = 0;
    this.undone();
  }

  onEcn(_now: number, _inflight: number): void {
    if (this.phase !== Phase.open) return;
    this.congestion(true);
    this.cwnd = this.ssthresh;
  }

  /** RFC 5681, 4.1, with Linux's halving for each timeout that went by. */
  onIdleRestart(now: number, idleMs: number, rtoMs: number): void {
    const restart = Math.min(this.initialSegments * this.mss, this.cwnd);
    if (idleMs > rtoMs) {
      this.ssthresh = Math.max(this.ssthresh, this.cwnd * 3 / 4);
      this.cwnd = Math.max(this.cwnd / 2 ** Math.min(Math.floor(idleMs / rtoMs), 30), restart);
    }
    this.unlimited(now);
  }

  setMss(mss: number): void {
    this.cwnd = Math.max(this.cwnd, mss);
    this.mss = mss;
    this.quantum = quantumOf(this.pacingRate, mss);
  }

  /** Remembers what was, and sets `ssthresh`; `prior` is kept from the first of several reductions without an end. */
  private congestion(ecn: boolean): void {
    if (this.phase === Phase.open || this.priorCwnd === 0) {
      this.priorCwnd = this.cwnd;
      this.priorSsthresh = this.ssthresh;
    }
    this.ssthresh = Math.max(this.reduced(ecn), 2 * this.mss);
    this.hystart.reset();
  }

  private grow(ack: AckSample): void {
    if (this.cwnd >= this.ssthresh) {
      if (ack.cwndLimited) this.avoid(ack);
      else this.unlimited(ack.now);
      this.cwnd = Math.min(this.cwnd, NO_LIMIT);
      return;
    }
    // A window of which less than a half is used says nothing about the network.
    if (!ack.cwndLimited && this.cwnd >= 2 * ack.priorInflight) return;
    const divisor = this.ssthresh === NO_LIMIT ? this.hystart.onAck(ack) : 1;
    if (divisor === 0) this.ssthresh = this.cwnd;
    else this.cwnd = Math.min(this.cwnd + ack.ackedBytes / divisor, this.ssthresh, NO_LIMIT);
  }

  /** RFC 9937, 6: as much leaves as has arrived, in the proportion of the new window to the old. */
  private reduceProportionally(ack: AckSample): void {
    this.prrOut += Math.max(ack.priorInflight - this.lastInflight, 0);
    this.prrDelivered += ack.ackedBytes;
    this.lastInflight = ack.inflight;
    let send: number;
    if (ack.inflight > this.ssthresh) {
      send = Math.ceil(this.prrDelivered * this.ssthresh / this.prrCwnd) - this.prrOut;
    } else {
      send = Math.max(this.prrDelivered - this.prrOut, ack.ackedBytes);
      if (ack.ackedBytes > 0 && ack.lostBytes === 0) send += this.mss;
      send = Math.min(send, this.ssthresh - ack.inflight);
    }
    if (this.prrOut === 0) send = Math.max(send, this.mss);
    this.cwnd = Math.max(ack.inflight + Math.max(send, 0), this.mss);
  }

  private pace(ack: AckSample): void {
    const gain = this.cwnd < this.ssthresh / 2 ? SLOW_START_PACING : AVOIDANCE_PACING;
    this.pacingRate = ack.minRttMs < LOCAL_RTT_MS ? 0 : gain * this.cwnd / ack.srttMs;
    this.quantum = quantumOf(this.pacingRate, this.mss);
  }
}
