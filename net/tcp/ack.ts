/**
 * What an acknowledgement does: data leaves the queue, the window moves, the round trip is measured, losses are found, and
 * congestion control hears of it all.
 *
 * Layer: net/tcp, above recovery.ts. input.ts calls `takeAck` for every acceptable segment with an ACK.
 *
 * See RFC 9293, 3.10.7.4; RFC 5961, 5; RFC 2883; RFC 3168, 6.1.2; RFC 6298; the order of calls is that of cc/cc.ts.
 */

import { ECE } from "../wire/tcp.ts";
import { type Seq, seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from "../wire/tcp_seq.ts";
import { CLOSING, type Conn, EVENT, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK } from "./conn.ts";
import {
  armRetransmit,
  enterRecovery,
  exitRecovery,
  isDupThresh,
  loseFirst,
  rackDelivered,
  rackDetect,
  undo,
  widenReordering,
} from "./recovery.ts";
import type { Deliveries, SentRecord } from "./scoreboard.ts";
import { LOSS, OPEN, PERSIST, PROBE, RECOVERY, REORDER, RTO } from "./sender.ts";
import type { Segment } from "./segment.ts";

/** The acknowledgement in hand. */
class AckInHand implements Deliveries {
  conn!: Conn;
  tsEcr = 0;
  bytes = 0;
  /** RTT of the oldest and of the newest segment that was sent once; below 0: there is none. */
  oldestRttMs = -0.5;
  newestRttMs = -0.5;
  /** Of all those segments: their bytes, and the RTT of each byte added up. */
  timedBytes = 0;
  rttSum = 0;
  /** Something was acknowledged that was there before the phase, and never sent again; something that was. */
  original = false;
  resent = false;
  /** Something that was sent again in this phase. */
  resentNow = false;

  begin(conn: Conn, tsEcr: number): void {
    this.conn = conn;
    this.tsEcr = tsEcr;
    this.bytes = 0;
    this.oldestRttMs = this.newestRttMs = -0.5;
    this.timedBytes = this.rttSum = 0;
    this.original = this.resent = this.resentNow = false;
  }

  delivered(record: SentRecord, bytes: number): void {
    const { conn } = this, { snd, layer } = conn;
    this.bytes += bytes;
    snd.sampler.delivered(record, bytes, layer.now);
    if (conn.sack) rackDelivered(conn, record, this.tsEcr);
    if (record.resends > 0) {
      this.resent = true;
      if (record.sentMs >= snd.recovery.undoMs) this.resentNow = true;
      return;
    }
    if (seqLe(record.end, snd.recovery.point)) this.original = true;
    const rtt = layer.now - record.sentMs;
    if (this.oldestRttMs < rtt) this.oldestRttMs = rtt;
    if (this.newestRttMs < 0 || rtt < this.newestRttMs) this.newestRttMs = rtt;
    this.timedBytes += bytes;
    this.rttSum += rtt * bytes;
  }

  /** The RTT that congestion control is told: of the newest, but where single segments overtake others the mean. */
  get rttMs(): number {
    if (this.timedBytes === 0) return this.oldestRttMs;
    return this.conn.snd.recovery.reordering ? this.rttSum / this.timedBytes : this.newestRttMs;
  }
}

const inHand = new AckInHand();

/** Whether an ACK is of what we sent, and not older than any that can still be under way (RFC 5961, 5.2). */
export function ackAcceptable(conn: Conn, ack: Seq): boolean {
  const { snd } = conn;
  return seqLe(ack, snd.nxt) && seqDiff(snd.una, ack) <= Math.max(snd.maxWnd, 65_535);
}

/** Takes an acceptable segment's acknowledgement, SACK blocks and window. */
export function takeAck(conn: Conn, seg: Segment): void {
  const { snd, layer } = conn, { recovery } = snd;
  if (seqLt(seg.ack, snd.una)) return;
  const prior = snd.inFlight, advanced = seqDiff(seg.ack, snd.una);
  const repeated = advanced === 0 && seg.seqCount === 0 && snd.board.count > 0 && seg.window << snd.scale === snd.wnd;
  recovery.timeouts = 0;
  updateWindow(conn, seg);
  if (advanced === 0 && seg.options.sackCount === 0 && !repeated) return;
  inHand.begin(conn, seg.options.tsEcr);
  snd.sampler.begin();
  const lostBefore = snd.sampler.lostBytes;
  recovery.dsack = false;
  if (conn.sack && seg.options.sackCount > 0) takeSack(conn, seg);
  if (advanced > 0) advance(conn, seg.ack, advanced);
  if (!conn.sack) countDuplicates(conn, repeated, advanced);
  else if (snd.board.count > 0) rackDetect(conn);
  measure(conn, seg, prior);
  judge(conn, seg, advanced, repeated, snd.sampler.lostBytes - lostBefore);
  finishSample(conn, prior);
  if (seg.flags & ECE) takeEce(conn);
  tuneQueue(conn, seqDiff(snd.nxt, snd.una) + advanced);
  if (advanced > 0) takeFinAck(conn);
  layer.touch(conn);
}

/** A newer segment's window is the peer's window (RFC 9293, 3.10.7.4, as Linux orders what was reordered). */
function updateWindow(conn: Conn, seg: Segment): void {
  const { snd, layer } = conn, wnd = seg.window << snd.scale;
  const newer = seqGt(seg.ack, snd.una) || seqGt(seg.seq, snd.wl1) || seg.seq === snd.wl1 && wnd > snd.wnd;
  if (!newer) return;
  snd.wl1 = seg.seq;
  snd.wl2 = seg.ack;
  if (wnd === snd.wnd) return;
  snd.wnd = wnd;
  if (wnd > snd.maxWnd) snd.maxWnd = wnd;
  if (wnd > 0 && conn.rtxKind === PERSIST) {
    conn.rtxAt = Infinity;
    snd.probes = 0;
  }
  layer.touch(conn);
}

/** Marks what SACK blocks name; the first may be a D-SACK instead. */
function takeSack(conn: Conn, seg: Segment): void {
  const { options } = seg, { snd } = conn;
  const duplicate = isDsack(seg);
  if (duplicate) takeDsack(conn, seqDiff(options.sackRight[0], options.sackLeft[0]));
  for (let i = duplicate ? 1 : 0; i < options.sackCount; i++) {
    const left = options.sackLeft[i], right = options.sackRight[i];
    const valid = seqLt(left, right) && seqGt(right, seg.ack) && seqGe(left, seg.ack) && seqLe(right, snd.nxt);
    if (valid) snd.board.sack(left, right, inHand);
  }
}

/** Whether the first block is of what was already acknowledged, or lies in the second (RFC 2883, 4). */
function isDsack({ ack, options }: Segment): boolean {
  const left = options.sackLeft[0], right = options.sackRight[0];
  if (seqLt(left, ack)) return seqLe(right, ack);
  return options.sackCount > 1 && seqGe(left, options.sackLeft[1]) && seqLe(right, options.sackRight[1]);
}

function takeDsack(conn: Conn, bytes: number): void {
  const { snd, layer } = conn, { recovery } = snd;
  layer.counters.DSACKRecv++;
  recovery.dsack = true;
  if (!recovery.probing) widenReordering(conn);
  if (recovery.undoResends > 0) {
    recovery.undoResends = Math.max(recovery.undoResends - Math.max(Math.ceil(bytes / snd.mss), 1), 0);
    if (recovery.undoResends === 0 && recovery.undo) undo(conn);
  }
}

/** Everything before `ack` has arrived: it leaves the scoreboard and the queue. */
function advance(conn: Conn, ack: Seq, bytes: number): void {
  const { snd } = conn;
  snd.board.ackTo(ack, inHand);
  snd.una = ack;
  if (seqLt(snd.smallEnd, ack)) snd.smallEnd = ack;
  snd.ring.drop(Math.min(bytes, snd.ring.length));
  if (snd.ring.length === 0) snd.ring.release();
}

/** Without SACK: each repeated ACK is a segment that has arrived behind a gap. */
function countDuplicates(conn: Conn, repeated: boolean, advanced: number): void {
  const { snd } = conn, { recovery } = snd;
  if (repeated) {
    recovery.dupAcks++;
    if (recovery.phase === OPEN && isDupThresh(conn)) loseFirst(conn);
  } else if (advanced > 0) {
    if (recovery.phase === OPEN) recovery.dupAcks = 0;
    else recovery.dupAcks = Math.max(recovery.dupAcks - Math.ceil(advanced / snd.mss) + 1, 0);
    if (recovery.phase === RECOVERY && seqLt(snd.una, recovery.point)) loseFirst(conn);
  }
}

/** RTT: of segments sent once, or by timestamps (RFC 6298, 3; RFC 7323, 4). */
function measure(conn: Conn, seg: Segment, prior: number): void {
  const { snd, layer } = conn;
  if (inHand.bytes === 0) return;
  if (inHand.oldestRttMs < 0 && conn.timestamps && seg.options.timestamps && seg.options.tsEcr !== 0) {
    const rtt = (layer.now + conn.tsOffset | 0) - seg.options.tsEcr | 0;
    if (rtt >= 0 && rtt < 120_000) inHand.oldestRttMs = Math.max(rtt, 1);
  }
  if (inHand.oldestRttMs >= 0) {
    snd.rtt.sample(inHand.oldestRttMs, layer.now, prior / Math.max(inHand.bytes, snd.mss));
  }
}

/** Which phase it is now. */
function judge(conn: Conn, seg: Segment, advanced: number, repeated: boolean, lostBytes: number): void {
  const { snd, layer } = conn, { recovery } = snd;
  if (recovery.phase !== OPEN && recovery.undo && spurious(conn, seg, advanced)) undo(conn);
  if (recovery.probing && seqGe(seg.ack, recovery.probeEnd)) endProbe(conn, seg, advanced, repeated);
  if (recovery.phase !== OPEN && seqGe(snd.una, recovery.point)) exitRecovery(conn);
  if (recovery.phase === OPEN && snd.board.lostBytes > 0 && lostBytes > 0) enterRecovery(conn, lostBytes);
  if (inHand.bytes > 0) recovery.probes = 0;
  if (recovery.resendsLost && inHand.bytes > 0) putOffProbe(conn);
  if (advanced > 0 || lostBytes > 0 && conn.rtxAt === Infinity) {
    if (conn.rtxKind !== REORDER || conn.rtxAt === Infinity) armRetransmit(conn, true);
    else recovery.rtoBase = layer.now;
  }
}

/** What has arrived puts the probe of a recovery off; the next pause has another. */
function putOffProbe(conn: Conn): void {
  const { recovery, board } = conn.snd;
  if (recovery.phase !== OPEN || board.sackedBytes > 0) recovery.probing = false;
  if (conn.rtxKind === PROBE || conn.rtxKind === RTO) armRetransmit(conn, false);
}

/** Whether the original has arrived before what was sent again: by timestamps (Eifel), or, after a timeout, F-RTO. */
function spurious(conn: Conn, seg: Segment, advanced: number): boolean {
  const { recovery } = conn.snd, { options } = seg;
  if (recovery.undoResends === 0 && recovery.phase === LOSS) return inHand.original;
  if (conn.timestamps && options.timestamps && options.tsEcr !== 0) {
    return advanced > 0 && inHand.resentNow && seqLt(options.tsEcr, recovery.undoMs + conn.tsOffset | 0);
  }
  return recovery.phase === LOSS && conn.sack && inHand.original && !inHand.resent;
}

/** What a tail loss probe has shown (RFC 8985, 7.4.2). */
function endProbe(conn: Conn, seg: Segment, advanced: number, repeated: boolean): void {
  const { snd, layer } = conn, { recovery } = snd;
  if (!recovery.probeResent || recovery.dsack) recovery.probing = false;
  else if (seqGt(seg.ack, recovery.probeEnd)) {
    recovery.probing = false;
    layer.counters.TLPRecovery++;
    if (recovery.phase === OPEN) {
      snd.cc.enterRecovery(layer.now, snd.inFlight, snd.mss);
      snd.cc.exitRecovery(layer.now);
    }
  } else if (repeated && advanced === 0) recovery.probing = false;
}

function finishSample(conn: Conn, prior: number): void {
  const { snd, layer } = conn, { sample } = layer;
  // What overtook is acknowledged in less than a round trip, and no measure of the rate.
  const leastMs = snd.recovery.reordering ? Math.max(snd.rtt.minMs, snd.rtt.srttMs / 2) : snd.rtt.minMs;
  snd.sampler.finish(sample, layer.now, leastMs);
  if (sample.ackedBytes === 0 && sample.lostBytes === 0) return;
  sample.priorInflight = prior;
  sample.inflight = snd.inFlight;
  sample.rttMs = inHand.rttMs;
  sample.srttMs = snd.rtt.srttMs;
  sample.minRttMs = snd.rtt.minMs;
  sample.reordering = snd.recovery.reordering;
  sample.cwndLimited = snd.cwndLimited;
  snd.cwndLimited = false;
  const rate = snd.cc.pacingRate;
  snd.cc.onAck(sample);
  if (snd.cc.pacingRate > rate) snd.pacer.hurry(layer.now, snd.cc.quantum, snd.cc.pacingRate);
}

/** RACK's timer: what was only late until now is lost. */
export function reorderTimeOut(conn: Conn): void {
  const { snd, layer } = conn, prior = snd.inFlight, lostBefore = snd.sampler.lostBytes;
  inHand.begin(conn, 0);
  snd.sampler.begin();
  conn.rtxAt = Infinity;
  rackDetect(conn);
  const lost = snd.sampler.lostBytes - lostBefore;
  if (lost > 0 && snd.recovery.phase === OPEN) enterRecovery(conn, lost);
  finishSample(conn, prior);
  if (conn.rtxAt === Infinity) armRetransmit(conn, false);
  layer.touch(conn);
}

/** The network is congested, and has said so; answered once a window. */
function takeEce(conn: Conn): void {
  const { snd, layer } = conn, { recovery } = snd;
  if (!conn.ecn || seqLe(snd.una, recovery.ecnPoint) && recovery.ecnPoint !== snd.iss) return;
  layer.counters.ECNMarks++;
  recovery.ecnPoint = snd.nxt;
  recovery.sendCwr = true;
  snd.cc.onEcn(layer.now, snd.inFlight);
}

/**
 * The send queue grows when a third of it is outstanding (with losses, much of that is delivered already), if cwnd would let
 * twice as much go: larger than needed, it only leaves the caches. The writer is told of room.
 */
function tuneQueue(conn: Conn, outstanding: number): void {
  // What has arrived behind a gap stays in the queue, and is in nobody's way.
  const { snd, layer } = conn, wanted = snd.cc.cwnd * 2 + snd.board.sackedBytes + snd.board.lostBytes;
  if (snd.tunes && outstanding * 3 > snd.limit && wanted > snd.limit) {
    snd.limit = Math.min(Math.ceil(wanted), snd.limit * 2, layer.limits.sendMaxBytes);
  }
  if (snd.full && snd.limit - snd.ring.length >= snd.limit / 3) {
    snd.full = false;
    conn.tell(EVENT.writable);
  }
}

/** A FIN that was acknowledged ends a direction. */
function takeFinAck(conn: Conn): void {
  const { snd } = conn;
  if (!snd.finSent || snd.una !== snd.nxt) return;
  if (conn.state === FIN_WAIT_1) {
    conn.state = FIN_WAIT_2;
    if (conn.orphan) conn.waitForFin();
  } else if (conn.state === CLOSING) conn.enterTimeWait();
  else if (conn.state === LAST_ACK) conn.end();
}

/** What the first number behind the handshake is: everything that counts from there. */
export function beginSending(conn: Conn, una: Seq): void {
  const { snd } = conn, { recovery } = snd;
  snd.una =
    snd.nxt =
    snd.smallEnd =
    recovery.point =
    recovery.fack =
    recovery.rackEnd =
      una;
  recovery.ecnPoint = snd.iss = seqAdd(una, -1);
}
