/**
 * What a stack's TCP counts, and what bounds it.
 *
 * Layer: net/tcp, a leaf. The first eleven counters are Plan 9's, by their names in `/net/tcp/stats`; those that follow are
 * Akaros' and Linux's (TcpExt).
 */

/** Counters since the stack began. */
export class Counters {
  /** No bound but memory. */
  MaxConn = -1;
  ActiveOpens = 0;
  PassiveOpens = 0;
  EstabResets = 0;
  CurrEstab = 0;
  InSegs = 0;
  OutSegs = 0;
  RetransSegs = 0;
  RetransTimeouts = 0;
  InErrs = 0;
  OutRsts = 0;
  CsumErrs = 0;
  HlenErrs = 0;
  LenErrs = 0;
  OutOfOrder = 0;
  AttemptFails = 0;
  ListenOverflows = 0;
  ListenDrops = 0;
  SyncookiesSent = 0;
  SyncookiesRecv = 0;
  SyncookiesFailed = 0;
  ChallengeACK = 0;
  PAWSEstab = 0;
  DelayedACKs = 0;
  TLPs = 0;
  TLPRecovery = 0;
  SackRecovery = 0;
  LostRetransmit = 0;
  SpuriousRtxUndo = 0;
  DSACKOldSent = 0;
  DSACKRecv = 0;
  SACKReneging = 0;
  Reordering = 0;
  ZeroWindowProbes = 0;
  KeepAlive = 0;
  AbortOnTimeout = 0;
  AbortOnData = 0;
  AbortOnMemory = 0;
  RcvPruned = 0;
  TimeWaits = 0;
  TimeWaitRecycled = 0;
  MTUPFail = 0;
  ECNMarks = 0;
}

/** Bounds and times; those that are not named have the values of `LIMITS`. */
export interface Limits {
  /** What a receive queue holds at first, and at the most. */
  recvBytes: number;
  recvMaxBytes: number;
  /** The same of a send queue. */
  sendBytes: number;
  sendMaxBytes: number;
  /** What the queues of all connections hold together, and what is kept of it for the next. */
  poolBytes: number;
  poolKeepBytes: number;
  /** Half-open connections of one listener; those beyond get cookies. */
  halfOpen: number;
  timeWaits: number;
  timeWaitMs: number;
  /** How long a closed connection waits for the peer's FIN. */
  finWait2Ms: number;
  delayedAckMs: number;
  synRetries: number;
  synAckRetries: number;
  /** Retransmission timeouts in a row after which a connection is given up; of one that nobody holds any more. */
  retries: number;
  orphanRetries: number;
  /** First and last of the ephemeral ports. */
  firstPort: number;
  lastPort: number;
}

export const LIMITS: Readonly<Limits> = Object.freeze({
  recvBytes: 128 << 10,
  recvMaxBytes: 8 << 20,
  sendBytes: 256 << 10,
  sendMaxBytes: 8 << 20,
  poolBytes: 512 << 20,
  poolKeepBytes: 32 << 20,
  halfOpen: 1024,
  timeWaits: 16_384,
  timeWaitMs: 60_000,
  finWait2Ms: 60_000,
  delayedAckMs: 40,
  synRetries: 6,
  synAckRetries: 5,
  retries: 15,
  orphanRetries: 8,
  firstPort: 32_768,
  lastPort: 60_999,
});
