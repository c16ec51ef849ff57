/**
 * BBR's bound on what is in flight: what a queue that overflows, or an echo of congestion, leaves of it.
 *
 * Layer: net/tcp/cc, a part of bbr.ts. Loss alone says nothing: links lose, too. A round that loses much more than the link does
 * by itself, while its RTT is longer than it need be, has overflowed a queue. The bound holds for some rounds, then rises by a
 * step that doubles each round, until it is none.
 *
 * See draft-ietf-ccwg-bbr, 5.5 (version 3's bounds, of which this is a simple form).
 */

import { type AckSample, LOCAL_RTT_MS, NO_LIMIT } from "./cc.ts";

/** Loss of a round that is heavy, and by how much the RTT of all of it is longer than the least when a queue is full. */
export const HEAVY_LOSS = 0.02;
const QUEUED_RTT = 1.25;
/** What is left of what is in flight after an overflow, and after an echo of congestion. */
const LOSS_BETA = 0.7, ECN_BETA = 0.8;
/** Of a local path, which has to be filled over stalls: as much of its bandwidth-delay product is left. */
const LOCAL_GAIN = 2;
/** How many rounds such a bound holds before it rises. */
const HOLD_ROUNDS = 3;
/**
 * Loss of rounds without a queue is the link's own: so much of a new round's counts, by so many segments; it is forgotten by so much in
 * each round with a queue, and an overflow is what loses so many times as much.
 */
const LINK_GAIN = 0.25, LINK_SEGMENTS = 64, LINK_DECAY = 0.99, LINK_MARGIN = 2;
/** On a local path the bound does not go below this, or a millisecond's worth. */
const LOCAL_FLOOR_BYTES = 65_536;

/** What BBR knows of its path. */
export interface PathModel {
  readonly mss: number;
  readonly initialCwnd: number;
  /** Bytes a millisecond; 0 before the first sample. */
  readonly bw: number;
  /** 0: not known. */
  readonly minRttMs: number;
  /** Whether it is so short that stalls of sender and receiver are longer. */
  readonly local: boolean;
  /** Whether its bandwidth was reached. */
  readonly fullPipe: boolean;
}

/** The bound of one connection. */
export class InflightBound {
  /** Bytes; NO_LIMIT when there is none. */
  bytes = NO_LIMIT;
  private step = 0;
  private holdRounds = 0;
  /** Bandwidth before the bound: what it has lowered since is no reason to go lower. */
  private boundBw = 0;
  /** What the link loses by itself, as a ratio. */
  private linkLoss = 0;
  private roundLost = 0;
  private roundAcked = 0;
  private roundInflight = 0;
  /** Least RTT of the round; 0 before its first sample. */
  private roundRttMs = 0;

  /** An ACK of the round. */
  onAck(ack: AckSample): void {
    this.roundLost += ack.lostBytes;
    this.roundAcked += ack.ackedBytes;
    this.roundInflight = Math.max(this.roundInflight, ack.priorInflight);
    if (ack.rttMs >= 0 && (ack.rttMs < this.roundRttMs || this.roundRttMs === 0)) this.roundRttMs = ack.rttMs;
  }

  /** The round is over; `rises`: it counts for a bound that rises, up to `most`. */
  endRound(path: PathModel, rises: boolean, most: number): void {
    // A round of nothing but retransmissions has no RTT.
    const queued = this.roundRttMs === 0 || this.roundRttMs > QUEUED_RTT * path.minRttMs;
    const loss = this.roundLost / Math.max(this.roundAcked, path.mss);
    if (queued) this.linkLoss *= LINK_DECAY;
    else {
      const weight = LINK_GAIN * Math.min(this.roundAcked / (LINK_SEGMENTS * path.mss), 1);
      this.linkLoss += weight * (Math.min(loss, 1) - this.linkLoss);
    }
    if (path.fullPipe && queued && loss > HEAVY_LOSS + LINK_MARGIN * this.linkLoss) this.overflowed(path);
    else if (this.bytes < NO_LIMIT && rises && --this.holdRounds < 0) this.raise(most);
    this.roundLost =
      this.roundAcked =
      this.roundInflight =
      this.roundRttMs =
        0;
  }

  /** The path says that it is congested, while `inflight` is on it; `floor`: what is left at the least. */
  onEcn(path: PathModel, inflight: number, floor: number): void {
    this.lower(path, ECN_BETA * inflight, floor);
  }

  private overflowed(path: PathModel): void {
    if (this.bytes === NO_LIMIT) this.boundBw = path.bw;
    const bw = Math.max(path.bw, this.boundBw), product = bw * path.minRttMs;
    const local = Math.max(LOCAL_GAIN * product, Math.min(bw * LOCAL_RTT_MS, LOCAL_FLOOR_BYTES));
    this.lower(path, LOSS_BETA * this.roundInflight, path.local ? local : product);
  }

  private lower(path: PathModel, bytes: number, floor: number): void {
    // Below an initial window there is too little under way to find losses by, and each costs a timeout.
    this.bytes = Math.min(Math.max(bytes, floor, path.initialCwnd), this.bytes);
    this.step = path.mss;
    this.holdRounds = HOLD_ROUNDS;
  }

  private raise(most: number): void {
    this.bytes += this.step;
    this.step *= 2;
    if (this.bytes > most) this.bytes = NO_LIMIT;
  }
}
