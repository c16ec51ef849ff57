/**
 * What a connection sends, and when: lost segments before new ones, within the peer's window, the congestion window and
 * the pace; ACKs that nothing else carries.
 *
 * Layer: net/tcp, above emit.ts. The stack calls `output` for each connection that was touched, once a batch.
 *
 * What is sent at once ends with PSH, even if more waits in the queue: a device that merges segments (GRO) keeps the last one
 * for others otherwise.
 *
 * See RFC 9293, 3.8.6 (silly windows, Nagle, zero-window probes), 3.7.4; RFC 6675, 5; RFC 3042 falls out of the pipe.
 */

import { FIN, PSH } from "../wire/tcp.ts";
import { seqAdd, seqDiff, seqGt, seqLe } from "../wire/tcp_seq.ts";
import { CLOSE_WAIT, type Conn, ESTABLISHED } from "./conn.ts";
import { emitAck, emitData, headerBytes } from "./emit.ts";
import { armRetransmit } from "./recovery.ts";
import type { Receiver } from "./receiver.ts";
import type { SentRecord } from "./scoreboard.ts";
import { OPEN, PERSIST, PROBE, RTO, type Sender } from "./sender.ts";

/** Bytes that a connection sends before others have their turn. */
const TURN_BYTES = 512 << 10;

/** What a turn came to: nothing more to send now; more, but others are to have their turn; the link is full. */
export const DONE = 0, MORE = 1, FULL = 2;
const LINK_FULL = -1;
/** What is sent at once by a link that cuts nothing: one record for many segments. */
const MOST_BYTES = 65_535;

/** How long the ACK of a stream's first bytes waits for an answer that carries it, when they are less than a segment. */
const QUICK_ACK_MS = 1;
/** Smallest payload that black-hole detection and small MTUs bring a segment to. */
const MIN_MSS = 48;
/** `blackHoleMss` of a path that is not distrusted. */
const NO_MSS = 65_535;

/** Sends what may be sent of a synchronized connection. */
export function output(conn: Conn): number {
  const { snd, rcv } = conn;
  if (snd.blackHoleMss < NO_MSS && conn.layer.now >= snd.distrustUntil) {
    snd.blackHoleMss = NO_MSS;
    updateMss(conn);
  } else if (conn.path.mtu !== snd.mtu) updateMss(conn);
  conn.paceAt = Infinity;
  const result = sendSegments(conn);
  if (result === FULL) return FULL;
  while (rcv.dupAcks > 1 && !conn.sack && rcv.early.count > 0) {
    if (!emitAck(conn, snd.nxt)) return FULL;
    rcv.dupAcks--;
    rcv.ackNow = rcv.dupAcks > 0;
  }
  rcv.dupAcks = 0;
  if (rcv.ackNow || rcv.ackDue && ackAtOnce(conn)) {
    if (rcv.quickAcks > 0) rcv.quickAcks--;
    if (!emitAck(conn, snd.nxt)) return FULL;
  } else if (rcv.ackDue && conn.ackAt === Infinity) {
    conn.ackAt = conn.layer.now + (isQuick(rcv) ? QUICK_ACK_MS : conn.layer.limits.delayedAckMs);
    conn.arm();
  }
  if (rcv.overtaking.tellAt < Infinity) conn.arm();
  return result;
}

/** Two full segments, or the first of a stream: not to be delayed (RFC 5681, 4.2). A window update never is. */
function ackAtOnce({ rcv }: Conn): boolean {
  const bytes = seqDiff(rcv.nxt, rcv.acked);
  return bytes >= 2 * rcv.mss || bytes >= rcv.mss && isQuick(rcv) || rcv.updateDue;
}

/** Whether it may be a stream's beginning, whose sender waits for ACKs to send more; what is small may be a question. */
function isQuick({ quickAcks, interactive }: Receiver): boolean {
  return quickAcks > 0 && !interactive;
}

function sendSegments(conn: Conn): number {
  const { snd } = conn;
  const began = snd.nxt, resentBefore = snd.resentSegs, ackWasDue = conn.rcv.ackDue;
  let left = TURN_BYTES, sent = 0;
  while (left > 0) {
    const lost = snd.board.firstLost;
    sent = lost === undefined ? sendNew(conn) : resend(conn, lost);
    if (sent <= 0) break;
    left -= sent;
  }
  if (snd.nxt !== began && ackWasDue) conn.rcv.interactive = true;
  if (snd.board.count > 0) {
    const resent = snd.resentSegs !== resentBefore && snd.recovery.resendsLost && conn.rtxKind === RTO;
    if (conn.rtxAt === Infinity || conn.rtxKind === PERSIST || conn.rtxKind === PROBE && snd.nxt !== began || resent) {
      armRetransmit(conn, conn.rtxKind === PERSIST || conn.rtxAt === Infinity);
    }
  }
  return sent === LINK_FULL ? FULL : left <= 0 ? MORE : DONE;
}

/** Whether the pacer lets something go; else the timer is set for when it will. */
function paced(conn: Conn): boolean {
  const { snd, layer } = conn;
  if (snd.cc.pacingRate === 0 || snd.pacer.ready(layer.now)) return true;
  conn.paceAt = snd.pacer.readyAt;
  conn.arm();
  return false;
}

/** Payload bytes of what is sent, and noted, at once: whole segments, which the link cuts, or emit.ts where it cuts none. */
function mostBytes(conn: Conn): number {
  const { snd, path } = conn;
  const most = Math.min((path.gsoMaxBytes || MOST_BYTES) - headerBytes(conn), snd.cc.quantum);
  return Math.max(most - most % snd.mss, snd.mss);
}

/** Bytes that the congestion window has room for, in whole segments. */
function cwndRoom(conn: Conn): number {
  const { snd } = conn, room = snd.cc.cwnd - snd.inFlight;
  return room <= 0 ? 0 : Math.ceil(room / snd.mss) * snd.mss;
}

/** Sends a lost record again, or as much of its front as may be sent now; answers how many bytes. */
function resend(conn: Conn, record: SentRecord): number {
  const { snd } = conn, { recovery } = snd;
  const room = recovery.force ? Math.max(cwndRoom(conn), snd.mss) : cwndRoom(conn);
  if (room === 0) {
    snd.cwndLimited = true;
    return 0;
  }
  if (!recovery.force && !paced(conn)) return 0;
  const sent = resendRecord(conn, record, Math.min(room, mostBytes(conn)));
  if (sent > 0) recovery.force = false;
  return sent;
}

/** Sends the front of a record again, at most `most` bytes of payload; answers how many (a FIN alone counts as one). */
export function resendRecord(conn: Conn, record: SentRecord, most: number): number {
  const { snd, layer } = conn, { recovery } = snd;
  if (record.bytes - (record.fin ? 1 : 0) > most) snd.board.cut(record, seqAdd(record.seq, most));
  let count = record.bytes - (record.fin ? 1 : 0);
  const flags = (record.fin ? FIN : 0) | (count > 0 ? PSH : 0);
  const sent = emitData(conn, record.seq, flags, seqDiff(record.seq, snd.una), count, false);
  if (sent < 0) return LINK_FULL;
  if (sent < count) snd.board.cut(record, seqAdd(record.seq, count = sent));
  if (recovery.undoResends === 0) recovery.undoMs = layer.now;
  recovery.undoResends += Math.max(Math.ceil(count / snd.mss), 1);
  snd.board.resent(record);
  record.mss = snd.mss;
  record.base = record.seq;
  sentBytes(conn, record, count);
  layer.counters.RetransSegs++;
  snd.resentSegs++;
  return count || 1;
}

function sentBytes(conn: Conn, record: SentRecord, count: number): void {
  const { snd, layer } = conn, { now } = layer;
  snd.sampler.sent(record, now, Math.max(snd.inFlight - record.bytes, 0));
  snd.pacer.sent(count + headerBytes(conn) + conn.path.headerBytes, now, snd.cc.pacingRate);
  snd.lastSentMs = now;
}

/** Sends one (super-)segment of new data, or the FIN; answers how many bytes. */
function sendNew(conn: Conn): number {
  const { snd } = conn, { unsent } = snd;
  const finDue = snd.finQueued && !snd.finSent;
  if (unsent === 0 && !finDue) {
    if (snd.recovery.phase === OPEN && snd.inFlight < snd.cc.cwnd) snd.sampler.markAppLimited(snd.inFlight);
    return 0;
  }
  const window = Math.max(seqDiff(seqAdd(snd.una, snd.wnd), snd.nxt), 0);
  const count = newBytes(conn, unsent, window, finDue);
  if (count < 0) {
    if (window < snd.mss && snd.inFlight < snd.cc.cwnd) snd.sampler.markAppLimited(snd.inFlight);
    if (snd.board.count === 0 && conn.rtxAt === Infinity) armPersist(conn);
    return 0;
  }
  const fin = finDue && count === unsent && window > count;
  if (count === 0 && !fin) {
    if (snd.board.count === 0 && conn.rtxAt === Infinity) armPersist(conn);
    return 0;
  }
  if (!paced(conn)) return 0;
  return sendFresh(conn, count, fin);
}

/** How much new data may go now as one super-segment; below 0: none, though there is some. */
function newBytes(conn: Conn, unsent: number, window: number, finDue: boolean): number {
  if (unsent === 0) return 0;
  const { snd } = conn, { mss } = snd;
  const room = cwndRoom(conn), most = mostBytes(conn);
  if (room === 0) {
    snd.cwndLimited = true;
    return -1;
  }
  let count = Math.min(unsent, window, room, most);
  if (count < mss) {
    if (count === unsent) return snd.nodelay || finDue || seqLe(snd.smallEnd, snd.una) ? count : -1;
    return count > 0 && count >= snd.maxWnd >>> 1 ? count : -1;
  }
  if (count < unsent || !snd.nodelay && !finDue && seqGt(snd.smallEnd, snd.una)) count -= count % mss;
  if (count === room && room < unsent) snd.cwndLimited = true;
  // More can go at once when the next ACK has come: fewer, larger super-segments (as Linux defers).
  const small = count < most && count < unsent && count < Math.min(snd.cc.cwnd, snd.wnd) / 3 &&
    conn.path.gsoMaxBytes > 0;
  return small && ackWillCome(snd) ? -1 : count;
}

/** Whether an ACK is to come before long: where segments are missing, the few that are under way may all be lost. */
function ackWillCome({ board, cc, inFlight }: Sender): boolean {
  return board.count > 0 && (board.sackedBytes === 0 && board.lostBytes === 0 || inFlight > cc.cwnd / 4);
}

/** Sends `count` bytes that were never sent, as one (super-)segment. */
export function sendFresh(conn: Conn, count: number, fin: boolean): number {
  const { snd, layer } = conn;
  if (snd.board.count === 0) restartIdle(conn);
  const offset = seqDiff(snd.nxt, snd.una);
  const flags = (fin ? FIN : 0) | (count > 0 ? PSH : 0);
  const sent = emitData(conn, snd.nxt, flags, offset, count, true);
  if (sent < 0) return LINK_FULL;
  if (sent < count) fin = false;
  count = sent;
  if (snd.board.count === 0) snd.recovery.rtoBase = layer.now;
  const end = seqAdd(snd.nxt, count + (fin ? 1 : 0));
  const record = snd.board.add(snd.nxt, end, snd.mss, fin);
  sentBytes(conn, record, count);
  snd.nxt = end;
  if (count % snd.mss > 0) snd.smallEnd = end;
  if (fin) snd.finSent = true;
  return count || 1;
}

function restartIdle(conn: Conn): void {
  const { snd, layer } = conn, idle = layer.now - snd.lastSentMs;
  if (idle <= 0 || snd.sampler.deliveredBytes === 0) return;
  snd.cc.onIdleRestart(layer.now, idle, snd.rtt.rtoMs);
  snd.pacer.restart(layer.now);
}

/** Nothing is outstanding, and the window is too small: the peer is asked again and again. */
function armPersist(conn: Conn): void {
  const { snd, layer } = conn;
  conn.rtxKind = PERSIST;
  conn.rtxAt = layer.now + Math.min(snd.rtt.rtoMs * 2 ** snd.probes, 60_000);
  conn.arm();
}

/** The timer of `armPersist`: sends one byte if there is room for it, else asks with an old sequence number. */
export function probeWindow(conn: Conn): void {
  const { snd, layer } = conn;
  snd.probes++;
  layer.counters.ZeroWindowProbes++;
  const window = seqDiff(seqAdd(snd.una, snd.wnd), snd.nxt);
  if (window > 0 && snd.unsent > 0 && snd.board.count === 0) {
    // A window too small to be worth it otherwise: what fits goes (RFC 9293, 3.8.6.2.1, the override timeout).
    sendFresh(conn, Math.min(window, snd.unsent, snd.mss), false);
    armRetransmit(conn, true);
    return;
  }
  emitAck(conn, seqAdd(snd.una, -1));
  armPersist(conn);
}

/** A keepalive probe: an old sequence number, which the peer answers. */
export function probePeer(conn: Conn): void {
  conn.layer.counters.KeepAlive++;
  emitAck(conn, seqAdd(conn.snd.una, -1));
}

/** Reckons the segment size anew, from the path, the peer's MSS, and our distrust. What is too large already is sent again. */
export function updateMss(conn: Conn): void {
  const { snd, path } = conn, was = snd.mss;
  const options = headerBytes(conn) - 20;
  snd.mtu = path.mtu;
  const room = Math.min(path.mtu - path.headerBytes - 20, snd.peerMss, snd.blackHoleMss);
  snd.mss = Math.max(room - options, MIN_MSS);
  if (snd.mss === was) return;
  snd.cc.setMss(snd.mss);
  if (snd.mss > was || conn.state !== ESTABLISHED && conn.state < CLOSE_WAIT) return;
  for (const record of [...snd.board]) if (record.state === 0 && record.mss > snd.mss) snd.board.markLost(record);
  if (snd.board.lostBytes > 0) snd.recovery.force = true;
}
