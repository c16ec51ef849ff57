/**
 * NewReno: a segment more each round trip, half the window for each loss.
 *
 * Layer: net/tcp/cc. Recovery itself is loss_based.ts's and the engine's; with SACK it is RFC 6675's.
 *
 * See RFC 5681, 3.1; RFC 6582; RFC 8511 (ECN takes a fifth).
 */

import type { AckSample } from "./cc.ts";
import { LossBased } from "./loss_based.ts";

const LOSS_BETA = 0.5, ECN_BETA = 0.8;

/** RFC 5681's additive increase and multiplicative decrease. */
export class NewReno extends LossBased {
  readonly name = "reno";
  /** Acknowledged since the window last grew. */
  private acked = 0;

  protected reduced(ecn: boolean): number {
    this.acked = 0;
    return this.cwnd * (ecn ? ECN_BETA : LOSS_BETA);
  }

  protected avoid(ack: AckSample): void {
    this.acked += ack.ackedBytes;
    while (this.acked >= this.cwnd) {
      this.acked -= this.cwnd;
      this.cwnd += this.mss;
    }
  }

  protected undone(): void {}
}
