/**
 * BBR: sends at the bandwidth that the path has shown lately, with one bandwidth-delay product and a little in flight.
 *
 * Layer: net/tcp/cc. It models the path by two filters: the greatest delivery rate of the last ten rounds, and the least
 * RTT of the last ten seconds. Loss alone slows nothing down: single lost segments are repaired at full speed.
 *
 * It is version 1 as Linux has it by default, with these differences:
 * - ECN bounds what is in flight (version 1 ignores it), and so does heavy loss while the RTT is longer than it need be, for then a
 *   queue overflows. Loss alone says nothing: links lose, too.
 * - PROBE_RTT goes down to half of the product instead of four segments (version 3).
 * - There is no long-term model of policers.
 * - A path of less than a millisecond is not paced, and counts as one millisecond long: there the stalls of sender and
 *   receiver are longer than the path, and a window of its length would turn each of them into lost bandwidth for good.
 *
 * See draft-cardwell-iccrg-bbr-congestion-control-00 (version 1), draft-ietf-ccwg-bbr (version 3), Linux's tcp_bbr.c.
 */

import { AckAggregation } from "./ack_aggregation.ts";
import {
  type AckSample,
  type CcOptions,
  type CongestionControl,
  INITIAL_SEGMENTS,
  LOCAL_RTT_MS,
  NO_LIMIT,
} from "./cc.ts";
import { WindowedMax } from "./filter.ts";
import { HEAVY_LOSS, InflightBound, type PathModel } from "./inflight_bound.ts";
import { LowQuartile } from "./low_quartile.ts";
import { quantumOf } from "./pacing.ts";

/** 2 / ln 2: the least gain that doubles the rate each round. */
const HIGH_GAIN = 2.885, DRAIN_GAIN = 1 / HIGH_GAIN, CWND_GAIN = 2;
/** A phase lasts a round trip: probe for more, give back what that queued, cruise. */
const CYCLE = [1.25, 0.75, 1, 1, 1, 1, 1, 1];
/** Connections that begin together do not probe together; none begins by draining. */
const FIRST_PHASES = [0, 2, 3, 4, 5, 6, 7];
/** Paced a little below the estimate, so that queues drain. */
const PACING_MARGIN = 0.99;

const BW_ROUNDS = 10;
/** A round for the filter lasts this long at least: ten rounds of a local path are shorter than one pause of a garbage collector. */
const MIN_ROUND_MS = 5;
/** The pipe is full when this many rounds have not brought this growth. */
const FULL_BW_ROUNDS = 3, FULL_BW_GROWTH = 1.25;

const MIN_RTT_WINDOW_MS = 10_000, PROBE_RTT_MS = 200, PROBE_RTT_LOCAL_MS = 10, PROBE_RTT_GAIN = 0.5;
const MIN_SEGMENTS = 4;

/** Longest time of aggregation that is allowed for. */
const MAX_EXTRA_MS = 100;

/** Segments that are lost at once, and are no burst. */
const BURST_SEGMENTS = 3;

/** What BBR is doing. */
const enum Mode {
  startup,
  drain,
  probeBw,
  probeRtt,
}

/** The model of one connection's path, and what follows from it. */
export class Bbr implements CongestionControl, PathModel {
  readonly name = "bbr";
  cwnd: number;
  ssthresh = NO_LIMIT;
  pacingRate: number;
  quantum: number;

  mss: number;
  readonly initialCwnd: number;
  private mode: Mode = Mode.startup;

  /** Rounds of the connection; those that count for the bandwidth filter; where they end, by bytes delivered. */
  private roundEnd = 0;
  private roundStart = false;
  private bwRound = 0;
  private bwRoundMs: number;
  private bwRoundStart = false;
  private readonly bwFilter = new WindowedMax(BW_ROUNDS);
  /** Samples of what was sent before this much was delivered say no more than the application's own pauses do. */
  private quietUntil = -1;
  private readonly aggregation = new AckAggregation();

  fullPipe = false;
  private fullBw = 0;
  private fullBwRounds = 0;

  private cycle: number;
  private cycleMs: number;

  /** 0: not known. */
  minRttMs: number;
  private minRttAtMs: number;
  /** On a path that reorders: what `minRttMs` is made of instead of single samples, and whether it is yet. */
  private readonly steadyRtt = new LowQuartile();
  private steady = false;
  /** PROBE_RTT: when it may end, 0 while what is in flight has not fallen yet; and the least RTT that it has shown. */
  private probeRttEndMs = 0;
  private probedRttMs = 0;
  private probeRttRound = false;
  private idleRestart = false;

  /** Recovery: the window before it, and whether its first round lasts, in which what leaves is what arrived. */
  private priorCwnd = 0;
  private inRecovery = false;
  private conserve = false;
  private conserveUntil = 0;

  /** By ECN or overflow. */
  private readonly bound = new InflightBound();

  constructor({ mss, now, rttMs = 0, seed, initialSegments = INITIAL_SEGMENTS }: CcOptions) {
    this.mss = mss;
    this.initialCwnd = this.cwnd = initialSegments * mss;
    this.minRttMs = rttMs;
    this.minRttAtMs = this.bwRoundMs = this.cycleMs = now;
    this.cycle = FIRST_PHASES[(seed >>> 0) % FIRST_PHASES.length];
    this.pacingRate = this.local ? 0 : HIGH_GAIN * this.cwnd / (rttMs || 1);
    this.quantum = quantumOf(this.pacingRate, mss);
  }

  /** Estimated bandwidth, bytes a millisecond; 0 before the first sample. */
  get bw(): number {
    return this.bwFilter.value;
  }

  onAck(ack: AckSample): void {
    this.updateRound(ack);
    this.updateBandwidth(ack);
    if (this.roundStart) this.bound.endRound(this, this.bwRoundStart, 2 * this.target(this.cwndGain));
    this.updateMinRtt(ack);
    this.updateMode(ack);
    this.setPacing();
    this.setCwnd(ack);
  }

  enterRecovery(_now: number, inflight: number, lostBytes: number): void {
    this.saveCwnd();
    this.inRecovery = true;
    // A few segments tell nothing of the path: only a burst of losses makes a round in which what leaves is what arrived.
    if (lostBytes <= Math.max(HEAVY_LOSS * (inflight + lostBytes), BURST_SEGMENTS * this.mss)) return;
    this.conserve = true;
    // Until what is sent from now on is acknowledged: the counter is not known here, the next ACK brings it.
    this.conserveUntil = -1;
    this.cwnd = Math.max(inflight + Math.max(lostBytes, this.mss), this.mss);
  }

  exitRecovery(_now: number): void {
    this.inRecovery = this.conserve = false;
    this.cwnd = Math.max(this.cwnd, this.priorCwnd);
  }

  onRto(_now: number, inflight: number, _first: boolean): void {
    this.saveCwnd();
    this.inRecovery = true;
    this.conserve = false;
    this.fullBw = this.fullBwRounds = 0;
    this.cwnd = inflight + this.mss;
  }

  onUndo(now: number): void {
    this.fullBw = this.fullBwRounds = 0;
    this.exitRecovery(now);
  }

  onEcn(_now: number, inflight: number): void {
    this.bound.onEcn(this, Math.min(Math.max(inflight, this.mss), this.cwnd), this.product(1));
  }

  onIdleRestart(now: number, _idleMs: number, _rtoMs: number): void {
    this.idleRestart = true;
    this.aggregation.restart(now);
    if (this.mode === Mode.probeBw && this.pacingRate > 0 && this.bw > 0) this.pacingRate = this.bw * PACING_MARGIN;
    if (this.mode === Mode.probeRtt) this.checkProbeRttEnd(now);
  }

  setMss(mss: number): void {
    this.mss = mss;
    this.cwnd = Math.max(this.cwnd, mss);
    this.quantum = quantumOf(this.pacingRate, mss);
  }

  get local(): boolean {
    return this.minRttMs > 0 && this.minRttMs < LOCAL_RTT_MS;
  }

  private get pacingGain(): number {
    if (this.mode === Mode.startup) return HIGH_GAIN;
    if (this.mode === Mode.drain) return DRAIN_GAIN;
    return this.mode === Mode.probeBw ? CYCLE[this.cycle] : 1;
  }

  private get cwndGain(): number {
    if (this.mode === Mode.probeBw) return CWND_GAIN;
    return this.mode === Mode.probeRtt ? 1 : HIGH_GAIN;
  }

  private get minCwnd(): number {
    return MIN_SEGMENTS * this.mss;
  }

  /** `gain` bandwidth-delay products of the path as it is; the initial window while nothing is known. */
  private product(gain: number): number {
    return this.bw === 0 || this.minRttMs === 0 ? this.initialCwnd : gain * this.bw * this.minRttMs;
  }

  /** What is to be in flight for `gain`: stalls on local paths, super-segments in the sender and half ones in the peer allowed for. */
  private target(gain: number): number {
    const probe = this.pacingGain > 1 ? 2 * this.mss : 0;
    if (!this.local || this.bw === 0) return this.product(gain) + 3 * this.quantum + probe;
    return Math.max(gain * this.bw * LOCAL_RTT_MS, 2 * this.quantum) + this.quantum + probe;
  }

  private updateRound(ack: AckSample): void {
    this.bound.onAck(ack);
    if (this.conserve && this.conserveUntil < 0) this.conserveUntil = ack.delivered;
    this.roundStart = ack.ackedBytes > 0 && ack.priorDelivered >= this.roundEnd;
    this.bwRoundStart = this.roundStart && ack.now - this.bwRoundMs >= MIN_ROUND_MS && this.mode !== Mode.probeRtt;
    if (this.roundStart) this.roundEnd = ack.delivered;
    if (this.bwRoundStart) {
      this.bwRound++;
      this.bwRoundMs = ack.now;
    }
    if (this.conserve && ack.ackedBytes > 0 && ack.priorDelivered >= this.conserveUntil) this.conserve = false;
  }

  private updateBandwidth(ack: AckSample): void {
    const limited = ack.appLimited || ack.priorDelivered <= this.quietUntil;
    if (ack.rate > 0 && (!limited || ack.rate >= this.bw)) this.bwFilter.update(ack.rate, this.bwRound);
    if (this.bwRoundStart && !this.fullPipe && !limited) this.checkFullPipe();
    const most = Math.min(this.cwnd, this.bw * MAX_EXTRA_MS);
    if (ack.ackedBytes > 0) this.aggregation.onAck(ack.now, ack.ackedBytes, this.bw, most, this.roundStart);
  }

  private checkFullPipe(): void {
    if (this.bw >= this.fullBw * FULL_BW_GROWTH) {
      this.fullBw = this.bw;
      this.fullBwRounds = 0;
      return;
    }
    this.fullPipe = ++this.fullBwRounds >= FULL_BW_ROUNDS;
  }

  /** The sample that is to be compared with the least RTT; below 0: none. */
  private rttOf(ack: AckSample): number {
    if (!ack.reordering || ack.rttMs < 0) return ack.rttMs;
    const rtt = this.steadyRtt.add(ack.rttMs);
    if (rtt < 0 || this.steady) return rtt;
    // What overtook before reordering was seen counts no more.
    this.steady = true;
    this.minRttMs = 0;
    return rtt;
  }

  private updateMinRtt(ack: AckSample): void {
    const expired = ack.now > this.minRttAtMs + MIN_RTT_WINDOW_MS, rtt = this.rttOf(ack);
    // After idle time the queue is empty: the sample is as good as a probe's.
    if (rtt >= 0 && (rtt < this.minRttMs || this.minRttMs === 0 || expired && this.idleRestart)) {
      this.minRttMs = Math.max(rtt, 0.001);
      this.minRttAtMs = ack.now;
    } else if (expired && !this.idleRestart && this.mode !== Mode.probeRtt) {
      this.saveCwnd();
      this.mode = Mode.probeRtt;
      this.probeRttEndMs = this.probedRttMs = 0;
    }
    if (this.mode === Mode.probeRtt) this.probeRtt(ack, rtt);
    if (ack.ackedBytes > 0) this.idleRestart = false;
  }

  private get probeRttCwnd(): number {
    return Math.max(this.product(PROBE_RTT_GAIN), this.minCwnd);
  }

  private probeRtt(ack: AckSample, rtt: number): void {
    this.quietUntil = ack.delivered + ack.inflight;
    if (rtt >= 0 && (rtt < this.probedRttMs || this.probedRttMs === 0)) this.probedRttMs = rtt;
    if (this.probeRttEndMs === 0) {
      if (ack.inflight > this.probeRttCwnd) return;
      this.steadyRtt.restart();
      this.probeRttEndMs = ack.now + (this.local ? PROBE_RTT_LOCAL_MS : PROBE_RTT_MS);
      this.probeRttRound = false;
      this.roundEnd = ack.delivered;
      return;
    }
    if (this.roundStart) this.probeRttRound = true;
    if (this.probeRttRound) this.checkProbeRttEnd(ack.now);
  }

  private checkProbeRttEnd(now: number): void {
    if (this.probeRttEndMs === 0 || now < this.probeRttEndMs) return;
    this.minRttAtMs = now;
    // A slow path has no full window of samples in so short a time.
    if (this.steady && this.probedRttMs === 0) this.probedRttMs = this.steadyRtt.value;
    if (this.probedRttMs > 0) this.minRttMs = this.probedRttMs;
    this.cwnd = Math.max(this.cwnd, this.priorCwnd);
    if (this.fullPipe) this.enterProbeBw(now);
    else this.mode = Mode.startup;
  }

  private updateMode(ack: AckSample): void {
    if (this.mode === Mode.startup && this.fullPipe) this.mode = Mode.drain;
    // What is not paced has nothing to drain: the window falls by itself.
    if (this.mode === Mode.drain && (this.local || ack.inflight <= this.target(1))) this.enterProbeBw(ack.now);
    if (this.mode === Mode.probeBw && this.phaseIsOver(ack)) this.enterPhase((this.cycle + 1) % CYCLE.length, ack.now);
  }

  private enterProbeBw(now: number): void {
    this.mode = Mode.probeBw;
    this.enterPhase(this.cycle === 1 ? 2 : this.cycle, now);
  }

  private enterPhase(phase: number, now: number): void {
    this.cycle = phase;
    this.cycleMs = now;
  }

  private phaseIsOver(ack: AckSample): boolean {
    const gain = CYCLE[this.cycle], long = ack.now - this.cycleMs > this.minRttMs;
    if (gain > 1) return long && (ack.lostBytes > 0 || ack.priorInflight >= this.target(gain));
    if (gain < 1) return long || ack.priorInflight <= this.target(1);
    return long;
  }

  private setPacing(): void {
    if (this.bw === 0) return;
    const rate = this.pacingGain * this.bw * PACING_MARGIN;
    if (this.local) this.pacingRate = 0;
    else if (this.fullPipe || rate > this.pacingRate || this.mode !== Mode.startup) this.pacingRate = rate;
    this.quantum = quantumOf(rate, this.mss);
  }

  private saveCwnd(): void {
    const whole = !this.inRecovery && this.mode !== Mode.probeRtt;
    this.priorCwnd = whole ? this.cwnd : Math.max(this.priorCwnd, this.cwnd);
  }

  private setCwnd(ack: AckSample): void {
    let cwnd = this.inRecovery ? Math.max(this.cwnd - ack.lostBytes, this.mss) : this.cwnd;
    if (this.conserve) {
      cwnd = Math.max(cwnd, ack.inflight + ack.ackedBytes);
    } else {
      const extra = this.fullPipe ? this.aggregation.extraBytes : 0;
      const target = this.target(this.cwndGain) + extra;
      if (this.fullPipe) cwnd = Math.min(cwnd + ack.ackedBytes, target);
      else if (cwnd < target || ack.delivered < this.initialCwnd) cwnd += ack.ackedBytes;
    }
    cwnd = Math.min(Math.max(cwnd, this.minCwnd), this.bound.bytes, NO_LIMIT);
    this.cwnd = this.mode === Mode.probeRtt ? Math.min(cwnd, this.probeRttCwnd) : cwnd;
  }
}
