/**
 * CUBIC: the window is a cubic function of the time since the last congestion.
 *
 * Layer: net/tcp/cc. Windows are in bytes here, in segments in the RFC: C is scaled by the segment's size. Time that the
 * window did not limit does not count: the beginning of the epoch moves with it.
 *
 * See RFC 9438; RFC 8511 (ECN takes 15 %).
 */

import type { AckSample } from "./cc.ts";
import { LossBased } from "./loss_based.ts";

/** Segments a second cubed. */
const C = 0.4;
const BETA = 0.7, ECN_BETA = 0.85;
/** Growth of the estimate of Reno's window that makes it as fair as Reno with this beta. */
const ALPHA = 3 * (1 - BETA) / (1 + BETA);

/** The window after RFC 9438. */
export class Cubic extends LossBased {
  readonly name = "cubic";
  /** The window where the curve is flat, and when that will be after the epoch's beginning. */
  private wMax = 0;
  private kMs = 0;
  /** When this epoch began; below 0: with the next ACK. */
  private epochMs = -1;
  private lastMs = 0;
  /** What Reno's window would be, and the window before the last congestion. */
  private wEst = 0;
  private cwndPrior = 0;
  /** `wMax` before the last congestion, for undo. */
  private priorWMax = 0;

  protected reduced(ecn: boolean): number {
    const beta = ecn ? ECN_BETA : BETA;
    this.priorWMax = this.wMax;
    // Fast convergence: a window that did not come to its last height leaves room for others.
    this.wMax = this.cwnd < this.wMax ? this.cwnd * (1 + beta) / 2 : this.cwnd;
    this.cwndPrior = this.cwnd;
    this.epochMs = -1;
    return this.cwnd * beta;
  }

  protected avoid(ack: AckSample): void {
    if (this.epochMs < 0) this.beginEpoch(ack.now);
    this.lastMs = ack.now;
    const t = ack.now - this.epochMs;
    const target = Math.min(Math.max(this.curve(t + ack.srttMs), this.cwnd), 1.5 * this.cwnd);
    const alpha = this.wEst >= this.cwndPrior ? 1 : ALPHA;
    this.wEst += alpha * this.mss * ack.ackedBytes / this.cwnd;
    if (this.curve(t) < this.wEst) this.cwnd = Math.max(this.wEst, this.cwnd);
    else this.cwnd += (target - this.cwnd) * Math.min(ack.ackedBytes / this.cwnd, 1);
  }

  protected override unlimited(now: number): void {
    if (this.epochMs < 0) return;
    this.epochMs += now - this.lastMs;
    this.lastMs = now;
  }

  protected undone(): void {
    this.wMax = this.priorWMax;
    this.epochMs = -1;
  }

  private beginEpoch(now: number): void {
    this.epochMs = now;
    this.wEst = this.cwnd;
    if (this.cwnd >= this.wMax) {
      this.wMax = this.cwnd;
      this.kMs = 0;
    } else {
      this.kMs = 1000 * Math.cbrt((this.wMax - this.cwnd) / (C * this.mss));
    }
  }

  /** W_cubic, bytes, `tMs` after the epoch began. */
  private curve(tMs: number): number {
    const s = (tMs - this.kMs) / 1000;
    return C * this.mss * s * s * s + this.wMax;
  }
}
