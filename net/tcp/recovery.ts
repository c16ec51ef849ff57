/**
 * Finding losses and getting over them: RACK, tail loss probes, the retransmission timer, and taking back what was wrong.
 *
 * Layer: net/tcp. ack.ts calls it with each acknowledgement, timers.ts when a time has come; what is lost is marked in the
 * scoreboard, and sent again by output.ts. Congestion control is told of phases, never of segments.
 *
 * See RFC 8985 (RACK-TLP; section numbers below are its), RFC 6298 (RTO), RFC 6582 (peers without SACK), RFC 3522 (Eifel),
 * RFC 5682 (F-RTO), RFC 3708 (D-SACK).
 */

import { seqAdd, seqDiff, seqGt, seqLt } from "../wire/tcp_seq.ts";
import type { Conn } from "./conn.ts";
import { headerBytes } from "./emit.ts";
import { TIMED_OUT } from "./errors.ts";
import { resendRecord, sendFresh, updateMss } from "./output.ts";
import { IN_FLIGHT, SACKED, type SentRecord } from "./scoreboard.ts";
import { LOSS, OPEN, PROBE, RECOVERY, REORDER, RTO } from "./sender.ts";

/** Segments behind a gap, or duplicate ACKs, that make a loss of it. */
const DUP_THRESH = 3;
/** How long a peer may delay the ACK of a single segment, at the worst. */
const WORST_DELAYED_ACK_MS = 200;
/** Probes in a row, on a path that loses what is sent again, before the timeout is waited for. */
const MOST_PROBES = 3;
/** Recoveries for which a widened reordering window is kept (6.2, step 4). */
const REO_WND_PERSIST = 16;
/** Timeouts in a row for large segments after which the path is thought to swallow them (RFC 4821, 7.7). */
const BLACK_HOLE_TIMEOUTS = 2;
/** The same where something has arrived before: it may as well be a link that loses much. */
const CHANGED_PATH_TIMEOUTS = 4;
const BLACK_HOLE_MSS = [1024, 512];
/** For how long, until large ones are tried again. */
const DISTRUST_MS = 600_000;

/**
 * Sets the timer for what is outstanding: a tail loss probe if one may be sent, else the timeout. `restart`: the timeout
 * counts from now, because something was acknowledged, or is outstanding again.
 */
export function armRetransmit(conn: Conn, restart: boolean): void {
  const { snd, layer } = conn, { recovery } = snd;
  if (restart) recovery.rtoBase = layer.now;
  if (snd.board.count === 0) {
    conn.rtxAt = Infinity;
    return;
  }
  const rtoAt = Math.max(recovery.rtoBase + snd.rtt.rtoMs, layer.now);
  const probeAt = mayProbe(conn) ? layer.now + probeTimeout(conn) : Infinity;
  conn.rtxKind = probeAt < rtoAt ? PROBE : RTO;
  conn.rtxAt = Math.min(probeAt, rtoAt);
  conn.arm();
}

/**
 * Whether nothing but a probe would find a loss before the timeout: where nothing is missing (7.2), and, on a path that
 * loses what is sent again, also while recovering: a retransmission behind which nothing is sent is missed by nobody, nor
 * is the one ACK of all that fills the window, while what is known to be lost waits for room.
 */
function mayProbe(conn: Conn): boolean {
  const { recovery, board, rtt } = conn.snd;
  if (!conn.sack || rtt.srttMs === 0 || recovery.phase === LOSS && recovery.timeouts > 0) return false;
  if (recovery.resendsLost) return recovery.probes < MOST_PROBES && board.first!.state !== SACKED;
  return !recovery.probing && recovery.phase === OPEN && board.sackedBytes === 0 && board.lostBytes === 0;
}

/**
 * PTO (7.2), twice as long for each probe that nothing has answered. A single segment's ACK may be delayed, but not where
 * it fills a gap.
 */
function probeTimeout(conn: Conn): number {
  const { board, mss, rtt, recovery } = conn.snd;
  const pto = 2 * rtt.srttMs + (board.inFlight <= mss && board.sackedBytes === 0 ? WORST_DELAYED_ACK_MS : 2);
  return pto * (1 << recovery.probes);
}

/**
 * The timer that `armRetransmit` set for a probe: new data if there is some, else the last segment again (7.3); while
 * recovering, the first that is missing.
 */
export function probeTail(conn: Conn): void {
  const { snd, layer } = conn, { recovery, board } = snd;
  const { first, last } = board;
  if (first === undefined || last === undefined) return;
  const window = seqDiff(seqAdd(snd.una, snd.wnd), snd.nxt), count = Math.min(snd.unsent, snd.mss);
  const missing = board.sackedBytes > 0 || recovery.phase !== OPEN;
  layer.counters.TLPs++;
  recovery.probeResent = missing || count === 0 || window < count;
  if (!recovery.probeResent) sendFresh(conn, count, false);
  else if (!missing && last.state === IN_FLIGHT) resendRecord(conn, tailOf(conn, last), snd.mss);
  else if (missing && first.state !== SACKED) resendRecord(conn, first, snd.mss);
  recovery.probing = true;
  recovery.probes++;
  recovery.probeEnd = snd.nxt;
  armRetransmit(conn, true);
}

/** The last segment of a super-segment, as a record of its own. */
function tailOf(conn: Conn, record: SentRecord): SentRecord {
  const { board, mss } = conn.snd, payload = record.bytes - (record.fin ? 1 : 0);
  if (payload <= mss) return record;
  board.cut(record, seqAdd(record.seq, payload - (payload % mss || mss)));
  return board.last!;
}

/** A record was delivered: RACK's newest (6.2, steps 1 to 3). */
export function rackDelivered(conn: Conn, record: SentRecord, tsEcr: number): void {
  const { layer, snd } = conn, { recovery } = snd;
  if (seqGt(record.end, recovery.fack)) recovery.fack = record.end;
  else if (record.resends === 0 && seqLt(record.end, recovery.fack) && !recovery.reordering) {
    recovery.reordering = true;
    layer.counters.Reordering++;
  }
  const rtt = layer.now - record.sentMs;
  if (record.resends > 0) {
    // An ACK so soon, or with an older timestamp, is the original's.
    if (rtt < snd.rtt.minMs) return;
    if (conn.timestamps && seqLt(tsEcr, record.sentMs + conn.tsOffset | 0)) return;
  }
  recovery.rackRttMs = rtt;
  if (!sentAfter(record, recovery.rackSentMs, recovery.rackEnd)) return;
  recovery.rackSentMs = record.sentMs;
  recovery.rackEnd = record.end;
}

function sentAfter(record: SentRecord, sentMs: number, end: number): boolean {
  return record.sentMs > sentMs || record.sentMs === sentMs && seqGt(record.end, end);
}

/** Marks what was sent so long before the newest delivered that it has to be lost; sets a timer when that is not sure yet (6.2, step 5). */
export function rackDetect(conn: Conn): void {
  const { snd, layer } = conn, { recovery, board } = snd;
  // What overtook came soon, which tells nothing of when the others have to be there.
  const rttMs = recovery.reordering ? Math.max(recovery.rackRttMs, snd.rtt.srttMs) : recovery.rackRttMs;
  const wait = rttMs + reorderingWindow(conn);
  let timeout = 0;
  for (let record = board.oldest, next; record !== undefined; record = next) {
    next = record.after;
    if (!olderThanRack(conn, record)) break;
    const remaining = record.sentMs + wait - layer.now;
    if (remaining <= 0) lose(conn, record);
    else timeout = Math.max(timeout, remaining);
  }
  if (timeout > 0) {
    conn.rtxKind = REORDER;
    conn.rtxAt = layer.now + timeout;
    conn.arm();
  } else if (conn.rtxKind === REORDER) armRetransmit(conn, false);
}

function olderThanRack(conn: Conn, record: SentRecord): boolean {
  const { rackSentMs, rackEnd } = conn.snd.recovery;
  return record.sentMs < rackSentMs || record.sentMs === rackSentMs && seqLt(record.end, rackEnd);
}

/** How much later than sent a segment may come and be only late (6.2, step 4). */
function reorderingWindow(conn: Conn): number {
  const { recovery, board, rtt, mss } = conn.snd;
  if (!recovery.reordering && (recovery.phase !== OPEN || board.sackedBytes >= DUP_THRESH * mss)) return 0;
  return Math.min(recovery.reoWndMult * rtt.minMs / 4, rtt.srttMs);
}

function lose(conn: Conn, record: SentRecord): void {
  const { snd, layer } = conn;
  if (record.resends > 0) {
    layer.counters.LostRetransmit++;
    snd.recovery.resendsLost = true;
  }
  snd.board.markLost(record);
  snd.sampler.lost(record.bytes);
}

/** A D-SACK told that reordering was taken for loss: the window widens, once a round trip. */
export function widenReordering(conn: Conn): void {
  const { snd } = conn, { recovery } = snd;
  if (recovery.dsackSeen && seqLt(snd.una, recovery.dsackRound)) return;
  recovery.dsackSeen = true;
  recovery.dsackRound = snd.nxt;
  recovery.reoWndMult = Math.min(recovery.reoWndMult + 1, 64);
  recovery.reoWndPersist = REO_WND_PERSIST;
}

/** A peer without SACK: three duplicate ACKs, and each ACK of a part while recovering, mean the first segment (RFC 6582). */
export function loseFirst(conn: Conn): void {
  const { board, mss } = conn.snd, { first } = board;
  if (first === undefined || first.state !== IN_FLIGHT) return;
  if (first.bytes > mss) board.cut(first, seqAdd(first.seq, mss));
  lose(conn, first);
}

/** Whether duplicate ACKs have come to the number that means a loss. */
export function isDupThresh(conn: Conn): boolean {
  return conn.snd.recovery.dupAcks === DUP_THRESH;
}

/** Losses were found in the open phase. */
export function enterRecovery(conn: Conn, lostBytes: number): void {
  const { snd, layer } = conn, { recovery } = snd;
  layer.counters.SackRecovery++;
  recovery.phase = RECOVERY;
  recovery.point = snd.nxt;
  recovery.probing = false;
  recovery.force = true;
  recovery.undo = true;
  recovery.undoResends = 0;
  snd.cc.enterRecovery(layer.now, snd.inFlight, lostBytes);
}

/** Everything that was outstanding when the phase began has arrived. */
export function exitRecovery(conn: Conn): void {
  const { snd, layer } = conn, { recovery } = snd;
  recovery.phase = OPEN;
  recovery.dupAcks = 0;
  recovery.force = false;
  if (--recovery.reoWndPersist <= 0) recovery.reoWndMult = 1;
  snd.cc.exitRecovery(layer.now);
}

/** The last phase was for nothing: nothing was lost. */
export function undo(conn: Conn): void {
  const { snd, layer } = conn, { recovery } = snd;
  layer.counters.SpuriousRtxUndo++;
  recovery.undo = false;
  recovery.phase = OPEN;
  recovery.dupAcks = 0;
  recovery.force = false;
  recovery.reordering = true;
  snd.board.unmarkLost();
  snd.cc.onUndo(layer.now);
}

/** The retransmission timer ran out (RFC 6298, 5.4 to 5.7). */
export function timeOut(conn: Conn): void {
  const { snd, layer } = conn, { recovery, board } = snd;
  if (board.count === 0) return;
  layer.counters.RetransTimeouts++;
  if (++recovery.timeouts > (conn.orphan ? layer.limits.orphanRetries : layer.limits.retries)) {
    layer.counters.AbortOnTimeout++;
    return conn.end(TIMED_OUT);
  }
  if (board.first!.resends > 0) recovery.resendsLost = true;
  const reneged = board.first!.state === SACKED;
  if (reneged) layer.counters.SACKReneging++;
  const lostBefore = board.lostBytes;
  board.markAllLost(reneged);
  snd.sampler.lost(board.lostBytes - lostBefore);
  if (recovery.timeouts === 1) {
    recovery.undo = recovery.phase !== LOSS;
    recovery.undoResends = 0;
  }
  recovery.phase = LOSS;
  recovery.point = snd.nxt;
  recovery.dupAcks = 0;
  recovery.probing = false;
  recovery.force = true;
  snd.rtt.backOff();
  snd.cc.onRto(layer.now, snd.inFlight, recovery.timeouts === 1);
  const patience = snd.sampler.deliveredBytes > 0 ? CHANGED_PATH_TIMEOUTS : BLACK_HOLE_TIMEOUTS;
  if (recovery.timeouts >= patience) distrustPath(conn);
  armRetransmit(conn, true);
  layer.touch(conn);
}

/** Large segments may be what does not arrive, with no router saying so. */
function distrustPath(conn: Conn): void {
  const { snd, layer } = conn;
  const next = BLACK_HOLE_MSS.find((mss) => mss < snd.mss);
  if (next === undefined || snd.board.first!.bytes <= next) return;
  layer.counters.MTUPFail++;
  snd.blackHoleMss = next + headerBytes(conn) - 20;
  snd.distrustUntil = layer.now + DISTRUST_MS;
  updateMss(conn);
}
