/**
 * A segment arrives at a connection: is it acceptable, and what follows.
 *
 * Layer: net/tcp, above ack.ts and receiver.ts; the order of checks is RFC 9293's, 3.10.7.4, with RFC 5961's answers
 * to what may be forged: an ACK that the real peer answers, and not too many of them.
 *
 * See RFC 9293, 3.10.7; RFC 5961; RFC 7323, 5 (PAWS); RFC 3168, 6.1.3 (echo). Urgent data is data like all other (RFC 6093).
 */

import { CWR } from "../wire/tcp.ts";
import { seqAdd, seqGe, seqGt, seqLe, seqLt } from "../wire/tcp_seq.ts";
import { ackAcceptable, takeAck } from "./ack.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  type Conn,
  ESTABLISHED,
  EVENT,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
} from "./conn.ts";
import { emitAck } from "./emit.ts";
import { REFUSED, RESET } from "./errors.ts";
import { completeSimultaneous, emitReset, synSentArrives } from "./handshake.ts";
import type { Segment } from "./segment.ts";

/** Least time between two ACKs for what is not acceptable and has no data. */
const CHALLENGE_MS = 500;
/** How old a timestamp has to be to prove nothing any more: 24 days (RFC 7323, 5.5). */
const PAWS_MS = 24 * 24 * 3600 * 1000;
/**
 * SACK blocks that an ACK with timestamps has room for. When so many have changed it is sent in the midst of a batch: what the
 * peer never heard of it would take for lost, and later for reordered.
 */
const BLOCKS = 3;
/** ECN field: congestion experienced. */
const CE = 3;

/** Takes a segment for `conn`. */
export function segmentArrives(conn: Conn, seg: Segment): void {
  const { layer, rcv } = conn;
  conn.heardAt = layer.now;
  conn.keepaliveProbes = 0;
  if (conn.state === SYN_SENT) return synSentArrives(conn, seg);
  if (pawsRejects(conn, seg)) {
    layer.counters.PAWSEstab++;
    return challenge(conn, seg);
  }
  if (!acceptable(conn, seg)) {
    if (seg.rst) return;
    if (seg.count > 0 && seqLt(seg.seq, rcv.nxt)) rcv.duplicate(seg.seq, seqAdd(seg.seq, seg.count));
    return challenge(conn, seg);
  }
  if (seg.rst) return resetArrives(conn, seg);
  if (seg.syn) return challenge(conn, seg);
  if (!seg.hasAck) return;
  if (!ackAcceptable(conn, seg.ack)) {
    if (conn.state === SYN_RECEIVED) emitReset(layer, conn.path, conn, seg);
    else challenge(conn, seg);
    return;
  }
  if (conn.state === SYN_RECEIVED) {
    if (seg.ack !== conn.snd.nxt) return emitReset(layer, conn.path, conn, seg);
    completeSimultaneous(conn, seg);
  }
  keepTimestamp(conn, seg);
  takeAck(conn, seg);
  if (conn.ecn) takeEcn(conn, seg);
  if (seg.count > 0 || seg.fin) takeData(conn, seg);
}

/** A timestamp older than the last: a segment from before the sequence numbers wrapped, or a late duplicate. */
function pawsRejects(conn: Conn, seg: Segment): boolean {
  const { rcv } = conn;
  if (!conn.timestamps || !seg.options.timestamps || !seqLt(seg.options.tsVal, rcv.tsFloor) || seg.rst) return false;
  // ACKs that overtook each other do no harm, and are no reason for an answer.
  if (seg.seqCount === 0 && seg.seq === rcv.nxt) return false;
  return conn.layer.now - rcv.tsRecentAt < PAWS_MS;
}

/** Whether some of the segment is in the window; like Linux, what ends where the last ACK was is an ACK still. */
function acceptable({ rcv }: Conn, seg: Segment): boolean {
  const end = seqAdd(seg.seq, seg.seqCount);
  if (seg.seqCount > 0 && seqLe(end, rcv.nxt) && !(seqLe(rcv.nxt, seg.seq))) return false;
  return seqGe(end, rcv.acked) && seqLe(seg.seq, rcv.adv);
}

/** Answers something that may be forged or late; without data, not too often. */
function challenge(conn: Conn, seg: Segment): void {
  const { layer, rcv } = conn;
  if (seg.count === 0 || seg.syn) {
    if (layer.now - conn.challengeAt < CHALLENGE_MS) return;
    conn.challengeAt = layer.now;
    layer.counters.ChallengeACK++;
  }
  if (conn.state === SYN_RECEIVED) {
    emitAck(conn, conn.snd.nxt);
    return;
  }
  rcv.ackNow = true;
  layer.touch(conn);
}

/** A reset is believed when it names the very next number; one that could be a guess is asked about (RFC 5961, 3.2). */
function resetArrives(conn: Conn, seg: Segment): void {
  if (seg.seq !== conn.rcv.nxt) return challenge(conn, seg);
  const { counters } = conn.layer;
  if (conn.state === SYN_RECEIVED) {
    counters.AttemptFails++;
    return conn.end(REFUSED);
  }
  counters.EstabResets++;
  const done = conn.state === CLOSING || conn.state === LAST_ACK;
  conn.end(done ? undefined : RESET);
}

function keepTimestamp(conn: Conn, seg: Segment): void {
  const { rcv } = conn, { options } = seg;
  if (!conn.timestamps || !options.timestamps || seqGt(seg.seq, rcv.acked) || seqLt(options.tsVal, rcv.tsRecent)) {
    return;
  }
  rcv.keepTimestamp(options.tsVal, conn.layer.now);
}

function takeEcn(conn: Conn, seg: Segment): void {
  const { rcv } = conn;
  if (seg.flags & CWR) rcv.echo = false;
  if (seg.ecn !== CE || seg.count === 0) return;
  rcv.echo = true;
  rcv.ackNow = true;
}

/** Data and FIN. */
function takeData(conn: Conn, seg: Segment): void {
  const { state, rcv, layer } = conn;
  if (state !== ESTABLISHED && state !== FIN_WAIT_1 && state !== FIN_WAIT_2) return;
  if (conn.orphan && seg.count > 0 && seqGt(seqAdd(seg.seq, seg.count), rcv.nxt)) {
    // Nobody will ever read it: the peer is to know (RFC 1122, 4.2.2.13).
    layer.counters.AbortOnData++;
    return conn.abort();
  }
  const echoMs = echoAge(conn, seg);
  if (echoMs >= 0 && echoMs < 10_000) rcv.rttMs += (echoMs - rcv.rttMs) / 8;
  if (rcv.accept(seg, layer, conn.sack ? echoMs : -1)) {
    conn.tell(rcv.eof ? EVENT.readable | EVENT.hangup : EVENT.readable);
    rcv.tune(layer.now, Math.max(rcv.rttMs, conn.snd.rtt.srttMs, 1), layer);
  } else layer.touch(conn);
  if (rcv.ackNow && conn.sack && rcv.early.news + (rcv.dsack ? 1 : 0) >= BLOCKS) emitAck(conn, conn.snd.nxt);
  if (rcv.eof) finArrives(conn);
}

/** How old the timestamp is that the peer echoes with its data, ms: a round trip, as the receiver sees it. Below 0: not known. */
function echoAge({ timestamps, tsOffset, layer }: Conn, { options }: Segment): number {
  return timestamps && options.tsEcr !== 0 ? (layer.now + tsOffset | 0) - options.tsEcr | 0 : -1;
}

function finArrives(conn: Conn): void {
  if (conn.state === ESTABLISHED) conn.state = CLOSE_WAIT;
  else if (conn.state === FIN_WAIT_1) conn.state = CLOSING;
  else if (conn.state === FIN_WAIT_2) {
    emitAck(conn, conn.snd.nxt);
    conn.enterTimeWait();
  }
}

/** Whether a connection takes segments still. */
export function isOver({ state }: Conn): boolean {
  return state === CLOSED || state === TIME_WAIT;
}
