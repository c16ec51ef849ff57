/**
 * Congestion control: what an algorithm is told, and what it answers. Contract inside of net/tcp.
 *
 * Layer: net/tcp/cc, its leaf; types, and the sample that every ACK fills. bbr.ts, cubic.ts and newreno.ts implement it,
 * algorithms.ts names them; rate.ts, rtt.ts and pacing.ts are the engine's instruments beside it.
 *
 * Units: bytes (of payload, SYN and FIN not counted), milliseconds with a fraction, bytes a millisecond. `now` is monotonic.
 *
 * What holds always:
 * - An algorithm decides how much may be in flight and how fast it leaves. The engine decides what to send, and finds
 *   losses (RACK-TLP, SACK): an algorithm never sees a segment.
 * - The engine sends while `inflight < cwnd`, where `inflight` is RFC 6675's pipe: sent, and neither delivered nor thought lost.
 *   The last super-segment may cross `cwnd` by what is left of a segment. A tail loss probe and the first segment of a
 *   retransmission are sent without regard to `cwnd`.
 * - For one ACK, in this order: `sampler.begin`, `sampler.delivered` for each record, loss detection with `sampler.lost`,
 *   `enterRecovery` or `exitRecovery` if it is so, `sampler.finish`, `onAck`.
 * - No method makes an object. State is numbers, booleans, and objects of these: state.ts saves and restores it.
 *
 * See RFC 5681, RFC 6675, RFC 6937 (as algorithms of loss use it, inside of `cwnd`), draft-cheng-iccrg-delivery-rate-estimation.
 */

/** Names as the `tcp` ctl file and Linux's sysctl have them. */
export type CcName = "bbr" | "cubic" | "reno";

/** A window that nothing bounds; also `ssthresh` before the first loss. */
export const NO_LIMIT = 0x40000000;

/** Segments of the initial window (RFC 6928). */
export const INITIAL_SEGMENTS = 10;

/** Below this RTT nothing is paced: timers are coarser, and the sender's own stalls are longer. */
export const LOCAL_RTT_MS = 1;

/**
 * What is kept with each transmission, a segment or a super-segment, until it is acknowledged. `RateSampler.sent` fills
 * these in, at each (re)transmission anew; the engine only stores them. Its own record has these fields beside its own.
 */
export interface SendRecord {
  /** When it was sent last. */
  sentMs: number;
  /** Of the connection when it was sent: bytes delivered, and when the last of them was. */
  delivered: number;
  deliveredMs: number;
  /** When the newest record that was delivered by then had been sent: where the sending interval begins. */
  firstSentMs: number;
  /** Whether the connection had less to send than it could have. */
  appLimited: boolean;
}

/** What one ACK tells. One object a connection, used again and again: `RateSampler.finish` fills all but the last group. */
export class AckSample {
  now = 0;
  /** Bytes that it newly acknowledged, cumulatively or selectively. */
  ackedBytes = 0;
  /** Bytes newly found lost. */
  lostBytes = 0;
  /** Bytes delivered by the connection in all, this ACK's included. */
  delivered = 0;
  /** `delivered` when the newest of the acknowledged records was sent: a round ends when that reaches the last round's end. */
  priorDelivered = 0;
  /** Delivery rate, bytes a millisecond; 0 when this ACK allows no estimate. */
  rate = 0;
  /** Over which time it was measured. */
  intervalMs = 0;
  /** Whether the rate says more of the application than of the network. */
  appLimited = false;

  /** In flight before this ACK, and after it and what it found lost. Set by the engine. */
  priorInflight = 0;
  inflight = 0;
  /** RTT of the newest segment that was sent once, or by timestamps; below 0 when there is none. Set by the engine. */
  rttMs = -1;
  /** The estimator's smoothed RTT, and the least of the last minutes; 0 when there is none. Set by the engine. */
  srttMs = 0;
  minRttMs = 0;
  /** Whether this path was seen to reorder: single RTT samples may be of what overtook the rest. Set by the engine. */
  reordering = false;
  /** Whether, since the ACK before, `cwnd` (not data, the peer's window or the pacer) kept something from being sent. Set by the engine. */
  cwndLimited = false;
}

/** What an algorithm starts from. */
export interface CcOptions {
  /** Payload bytes of a full segment. */
  mss: number;
  now: number;
  /** RTT of the handshake if one was measured, else 0. */
  rttMs?: number;
  /** For what is to differ between connections (BBR's phase). */
  seed: number;
  /** Initial window in segments; INITIAL_SEGMENTS by default. */
  initialSegments?: number;
}

/** An algorithm, one object a connection. */
export interface CongestionControl {
  readonly name: CcName;
  /** Bytes that may be in flight; at least one segment, at most NO_LIMIT. */
  readonly cwnd: number;
  /** Where slow start ends; NO_LIMIT before the first loss. Of meaning to `status` only with BBR. */
  readonly ssthresh: number;
  /** Bytes a millisecond; 0: not paced. */
  readonly pacingRate: number;
  /** Bytes worth sending in one super-segment: between one or two segments and MAX_QUANTUM. */
  readonly quantum: number;

  /** An ACK that delivered something or told of a loss. */
  onAck(ack: AckSample): void;
  /** A loss, once a recovery: fast retransmit begins. `inflight` is after the lost bytes were taken off. `lostBytes` are those. */
  enterRecovery(now: number, inflight: number, lostBytes: number): void;
  /** Everything that was outstanding at its beginning has been acknowledged; also the end of what an RTO began. */
  exitRecovery(now: number): void;
  /** The retransmission timer ran out: everything in flight is thought lost. `first`: not yet again for the same segment. */
  onRto(now: number, inflight: number, first: boolean): void;
  /** The last `enterRecovery` or `onRto` was for nothing (Eifel, F-RTO, D-SACK): as if it had not been. */
  onUndo(now: number): void;
  /** The peer echoes congestion (ECE), once a round trip. */
  onEcn(now: number, inflight: number): void;
  /** Something is about to be sent after nothing was in flight for `idleMs`; `rtoMs` is the timer's value. */
  onIdleRestart(now: number, idleMs: number, rtoMs: number): void;
  /** The path's MTU changed. */
  setMss(mss: number): void;
}
