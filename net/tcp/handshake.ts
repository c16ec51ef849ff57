/**
 * Handshakes: SYNs sent and answered, what both sides agree on, half-open connections, cookies.
 *
 * Layer: net/tcp, above emit.ts and secrets.ts. `Handshakes` is the stack's listening side; what a connection that dials
 * does is in the functions. SYNs look like Linux's: MSS, SACK permitted, timestamps, NOP, window scale.
 *
 * See RFC 9293, 3.10.7.2 and 3.10.7.3; RFC 7323, 2.2 (scaling) and 3.2; RFC 3168, 6.1.1; RFC 4987 (floods).
 */

import type { Ip } from "../addr.ts";
import { ACK, CWR, ECE, RST, SYN } from "../wire/tcp.ts";
import { type Seq, seqAdd, seqDiff, seqGt, seqLe, seqMax } from "../wire/tcp_seq.ts";
import { beginSending } from "./ack.ts";
import type { CcName } from "./cc/cc.ts";
import { createCc } from "./cc/algorithms.ts";
import { Conn, EVENT, SYN_RECEIVED, SYN_SENT } from "./conn.ts";
import { emitBare, type SynOffer } from "./emit.ts";
import { REFUSED, TIMED_OUT } from "./errors.ts";
import type { Layer } from "./layer.ts";
import { HalfOpen, type Listener, type SynSaid } from "./listener.ts";
import type { Path } from "./lower.ts";
import { updateMss } from "./output.ts";
import { cookieSaid, cookieTimestamp, type Ends, type Secrets } from "./secrets.ts";
import type { Segment } from "./segment.ts";
import { RTO } from "./sender.ts";
import type { Table } from "./table.ts";

/** What a peer takes that says nothing (RFC 9293, 3.7.1). */
const DEFAULT_MSS4 = 536, DEFAULT_MSS6 = 1220;
/** An MSS below this is not believed. */
const LEAST_MSS = 88;
/** First timeout of SYNs and their answers. */
const SYN_RTO_MS = 1000;
/** For how long after a cookie was sent one may come back. */
const COOKIE_MS = 256_000;

/** By how much windows of at most `bytes` have to be shifted. */
export function windowScaleFor(bytes: number): number {
  let scale = 0;
  while (scale < 14 && 65_536 << scale < bytes) scale++;
  return scale;
}

/** What we offer in a SYN on this path. */
function offerOn(layer: Layer, path: Path): SynOffer {
  return {
    mss: Math.min(path.mtu - path.headerBytes - 20, 65_495),
    windowScale: windowScaleFor(layer.limits.recvMaxBytes),
    sack: true,
    timestamps: true,
    tsVal: 0,
    tsEcr: 0,
  };
}

/** What a peer's SYN says. */
function saidBy(seg: Segment, path: Path): SynSaid {
  const { options } = seg, silent = path.v6 ? DEFAULT_MSS6 : DEFAULT_MSS4;
  return {
    mss: options.mss === 0 ? silent : Math.max(options.mss, LEAST_MSS),
    windowScale: options.windowScale,
    sack: options.sackPermitted,
    timestamps: options.timestamps,
    ecn: (seg.flags & (ECE | CWR)) === (ECE | CWR),
  };
}

/** Makes a connection what both SYNs say. The peer's sequence numbers begin at `irs`. */
export function agree(conn: Conn, said: SynSaid, irs: Seq, tsRecent: number): void {
  const { snd, rcv, layer } = conn;
  conn.timestamps = said.timestamps;
  conn.sack = said.sack;
  conn.ecn = said.ecn;
  snd.peerMss = said.mss;
  if (said.windowScale >= 0) {
    snd.scale = said.windowScale;
    rcv.scale = windowScaleFor(layer.limits.recvMaxBytes);
  } else rcv.limit = Math.min(rcv.limit, 65_535);
  rcv.irs = irs;
  rcv.nxt = rcv.acked = seqAdd(irs, 1);
  rcv.adv = seqMax(rcv.adv, rcv.nxt);
  rcv.tsPoint = rcv.nxt;
  rcv.keepTimestamp(tsRecent, layer.now);
  updateMss(conn);
}

/** The segment size is known, and the round trip of the handshake if `rttMs` is above 0: congestion control begins. */
export function startCongestion(conn: Conn, rttMs: number): void {
  const { snd, layer } = conn;
  if (rttMs > 0) snd.rtt.sample(rttMs, layer.now);
  snd.cc = createCc(snd.cc.name, { mss: snd.mss, now: layer.now, rttMs: Math.max(rttMs, 0), seed: snd.iss });
}

/** The first window that a SYN offers; never shifted. */
function synWindow(layer: Layer): number {
  return Math.min(layer.limits.recvBytes, 65_535);
}

/**
 * The right edge behind a handshake: all that there is room for. A SYN's field cannot say more than 64 KiB; the first segment
 * that leaves says the rest, and none leaves for that alone.
 */
function firstEdge({ rcv, layer }: Conn): Seq {
  return seqAdd(rcv.nxt, Math.max(synWindow(layer), Math.min(rcv.limit >> rcv.scale, 0xffff) << rcv.scale));
}

/** A connection that is to be dialed. */
export function dial(conn: Conn, iss: Seq): void {
  beginSending(conn, seqAdd(iss, 1));
  conn.snd.una = iss;
  conn.state = SYN_SENT;
  conn.synDue = true;
  conn.layer.counters.ActiveOpens++;
  conn.layer.touch(conn);
}

/** Sends a dialing connection's SYN, or the SYN and ACK of one whose SYN has met the peer's; false when the link is full. */
export function sendSyn(conn: Conn): boolean {
  const { layer, snd, rcv } = conn, { recovery } = snd;
  const offer = offerOn(layer, conn.path), both = conn.state === SYN_RECEIVED;
  offer.tsVal = layer.now + conn.tsOffset | 0;
  if (both) {
    offer.timestamps = conn.timestamps;
    offer.sack = conn.sack;
    offer.tsEcr = rcv.tsRecent;
    if (rcv.scale === 0) offer.windowScale = -1;
  }
  // A middle box may swallow SYNs that ask for ECN: not asked again (RFC 3168, 6.1.1.1).
  const ecn = conn.ecn && recovery.timeouts === 0 ? both ? ECE : ECE | CWR : 0;
  const sent = emitBare(layer, conn.path, {
    localPort: conn.localPort,
    remotePort: conn.remotePort,
    seq: snd.iss,
    ack: both ? rcv.nxt : 0,
    flags: SYN | (both ? ACK : 0) | ecn,
    window: synWindow(layer),
    offer,
  });
  if (!sent) return false;
  rcv.adv = seqAdd(rcv.nxt, synWindow(layer));
  conn.synDue = false;
  snd.lastSentMs = layer.now;
  conn.rtxKind = RTO;
  conn.rtxAt = layer.now + SYN_RTO_MS * 2 ** recovery.timeouts;
  conn.arm();
  return true;
}

/** Nobody has answered a SYN: once more, or no more. */
export function synTimeOut(conn: Conn): void {
  const { layer, snd } = conn;
  if (++snd.recovery.timeouts > layer.limits.synRetries) {
    layer.counters.AttemptFails++;
    return conn.end(TIMED_OUT);
  }
  layer.counters.RetransSegs++;
  conn.synDue = true;
  layer.touch(conn);
}

/** A segment for a connection that is dialing (RFC 9293, 3.10.7.3). */
export function synSentArrives(conn: Conn, seg: Segment): void {
  const { snd, rcv, layer } = conn;
  const ackIsOurs = seg.hasAck && seg.ack === snd.nxt;
  if (seg.hasAck && !ackIsOurs) {
    if (!seg.rst) emitReset(layer, conn.path, conn, seg);
    return;
  }
  if (seg.rst) {
    if (!ackIsOurs) return;
    layer.counters.AttemptFails++;
    return conn.end(REFUSED);
  }
  if (!seg.syn) return;
  const said = saidBy(seg, conn.path);
  const ecn = conn.ecn && seg.hasAck && (seg.flags & (ECE | CWR)) === ECE && snd.recovery.timeouts === 0;
  agree(conn, { ...said, ecn: seg.hasAck ? ecn : conn.ecn && said.ecn }, seg.seq, seg.options.tsVal);
  snd.wnd = snd.maxWnd = seg.window;
  snd.wl1 = seg.seq;
  snd.wl2 = seg.ack;
  rcv.adv = firstEdge(conn);
  if (!seg.hasAck) {
    // Both have dialed at once.
    conn.state = SYN_RECEIVED;
    conn.synDue = true;
    return layer.touch(conn);
  }
  const rtt = snd.recovery.timeouts === 0 ? layer.now - snd.lastSentMs : rttByTimestamp(conn, seg);
  snd.una = seg.ack;
  snd.recovery.timeouts = 0;
  conn.rtxAt = Infinity;
  startCongestion(conn, rtt);
  rcv.ackNow = true;
  conn.establish();
}

function rttByTimestamp(conn: Conn, seg: Segment): number {
  if (!conn.timestamps || seg.options.tsEcr === 0) return -1;
  const rtt = (conn.layer.now + conn.tsOffset | 0) - seg.options.tsEcr | 0;
  return rtt >= 0 && rtt < 120_000 ? rtt : -1;
}

/** A SYN that has met ours is acknowledged: the connection is there. */
export function completeSimultaneous(conn: Conn, seg: Segment): void {
  const { snd } = conn;
  snd.una = seg.ack;
  snd.wnd = snd.maxWnd = seg.window << snd.scale;
  snd.wl1 = seg.seq;
  snd.wl2 = seg.ack;
  snd.recovery.timeouts = 0;
  conn.rtxAt = Infinity;
  startCongestion(conn, rttByTimestamp(conn, seg));
  conn.establish();
}

/** Answers a segment that cannot be ours with a reset (RFC 9293, 3.10.7.1). A reset is never answered. */
export function emitReset(
  layer: Layer,
  path: Path,
  ends: { localPort: number; remotePort: number },
  seg: Segment,
): void {
  layer.counters.OutRsts++;
  emitBare(layer, path, {
    localPort: ends.localPort,
    remotePort: ends.remotePort,
    seq: seg.hasAck ? seg.ack : 0,
    ack: seg.hasAck ? 0 : seqAdd(seg.seq, seg.seqCount),
    flags: seg.hasAck ? RST : RST | ACK,
    window: 0,
    offer: undefined,
  });
}

/** The same for a segment that is nobody's. */
export function refuse(layer: Layer, ends: Ends, seg: Segment): void {
  const path = layer.lower.pathOnce(ends.remote, ends.local);
  if (typeof path !== "string") emitReset(layer, path, ends, seg);
}

/** The listening side of a stack. */
export class Handshakes {
  /** When the last cookie was sent: only for a while after it one may come back. */
  cookieAt = -Infinity;
  readonly #layer: Layer;
  readonly #table: Table;
  readonly #secrets: Secrets;

  constructor(layer: Layer, table: Table, secrets: Secrets) {
    this.#layer = layer;
    this.#table = table;
    this.#secrets = secrets;
  }

  /** A segment for a listener. `leastIss`: where sequence numbers may begin at the earliest, after a TIME_WAIT. */
  arrives(listener: Listener, seg: Segment, local: Ip, remote: Ip, leastIss?: Seq): void {
    if (seg.rst) return;
    // Nobody keeps the addresses, which are lent: a table's entry has their words, and a path its own.
    const ends = { local, localPort: seg.dstPort, remote, remotePort: seg.srcPort };
    if (seg.hasAck) this.#fromCookie(listener, seg, ends);
    else if (seg.syn) this.#takeCall(listener, seg, ends, leastIss);
  }

  #takeCall(listener: Listener, seg: Segment, ends: Ends, leastIss: Seq | undefined): void {
    const layer = this.#layer, { counters } = layer;
    if (listener.queue.length >= listener.backlog) {
      counters.ListenOverflows++;
      counters.ListenDrops++;
      return;
    }
    if (listener.halfOpen >= layer.limits.halfOpen) return this.#sendCookie(seg, ends);
    const path = layer.lower.path(ends.remote, ends.local);
    if (typeof path === "string") return;
    const said = saidBy(seg, path);
    let iss = this.#secrets.isn(ends, layer.now);
    if (leastIss !== undefined && !seqGt(iss, leastIss)) iss = leastIss;
    const half = new HalfOpen(listener, path, iss, seg.seq, said, ends);
    half.tsRecent = seg.options.tsVal;
    half.tsOffset = this.#secrets.tsOffset(ends.local, ends.remote);
    listener.halfOpen++;
    this.#table.add(half);
    this.#answer(half);
  }

  /** Sends the SYN and ACK of a half-open connection, and sets its timer. */
  #answer(half: HalfOpen): void {
    const layer = this.#layer;
    half.sentMs = layer.now;
    half.dueAt = layer.now + (SYN_RTO_MS << half.retries);
    layer.timers.update(half);
    this.#synAck(half.path, half, half.iss, half.irs, half.said, layer.now + half.tsOffset | 0, half.tsRecent);
  }

  #synAck(
    path: Path,
    ends: { localPort: number; remotePort: number },
    iss: Seq,
    irs: Seq,
    said: SynSaid,
    tsVal: number,
    tsEcr: number,
  ): void {
    const layer = this.#layer, offer = offerOn(layer, path);
    offer.sack = said.sack;
    offer.timestamps = said.timestamps;
    offer.tsVal = tsVal;
    offer.tsEcr = tsEcr;
    if (said.windowScale < 0) offer.windowScale = -1;
    emitBare(layer, path, {
      localPort: ends.localPort,
      remotePort: ends.remotePort,
      seq: iss,
      ack: seqAdd(irs, 1),
      flags: SYN | ACK | (said.ecn ? ECE : 0),
      window: synWindow(layer),
      offer,
    });
  }

  /** Nothing is kept of this call: what is to be known of it is in the answer. */
  #sendCookie(seg: Segment, ends: Ends): void {
    const layer = this.#layer, path = layer.lower.pathOnce(ends.remote, ends.local);
    if (typeof path === "string") return;
    const said = saidBy(seg, path);
    layer.counters.SyncookiesSent++;
    this.cookieAt = layer.now;
    const cookie = this.#secrets.cookie(ends, seg.seq, said.mss, layer.now);
    if (said.timestamps) {
      const stamp = layer.now + this.#secrets.tsOffset(ends.local, ends.remote) | 0;
      return this.#synAck(path, ends, cookie, seg.seq, said, cookieTimestamp(stamp, said), seg.options.tsVal);
    }
    // Without timestamps there is nowhere to keep the other options.
    said.windowScale = -1;
    said.sack = said.ecn = false;
    this.#synAck(path, ends, cookie, seg.seq, said, 0, 0);
  }

  /** An ACK that nobody waits for: from a cookie, or a mistake. */
  #fromCookie(listener: Listener, seg: Segment, ends: Ends): void {
    const layer = this.#layer, { counters, now } = layer;
    const irs = seqAdd(seg.seq, -1), iss = seqAdd(seg.ack, -1);
    const recent = now - this.cookieAt < COOKIE_MS && !seg.syn;
    const mss = recent ? this.#secrets.cookieMss(ends, irs, iss, now) : undefined;
    if (mss === undefined) {
      if (recent) counters.SyncookiesFailed++;
      return refuse(layer, ends, seg);
    }
    if (listener.queue.length >= listener.backlog) {
      counters.ListenOverflows++;
      return;
    }
    const path = layer.lower.path(ends.remote, ends.local);
    if (typeof path === "string") return;
    counters.SyncookiesRecv++;
    const said = cookieSaid(mss, seg.options.timestamps, seg.options.tsEcr);
    const half = new HalfOpen(listener, path, iss, irs, said, ends);
    half.tsRecent = seg.options.tsVal;
    half.tsOffset = this.#secrets.tsOffset(ends.local, ends.remote);
    this.#promote(half, seg, -1);
  }

  /** A segment for a half-open connection; answers the connection that it has become, if it has. */
  halfOpenArrives(half: HalfOpen, seg: Segment): Conn | undefined {
    const layer = this.#layer, { counters } = layer;
    const expected = seqAdd(half.irs, 1), offset = seqDiff(seg.seq, expected);
    if (seg.rst) {
      if (offset === 0) this.drop(half);
      return undefined;
    }
    if (seg.syn) {
      if (seg.seq === half.irs && !seg.hasAck) this.#answer(half);
      return undefined;
    }
    if (!seg.hasAck) return undefined;
    if (seg.ack !== seqAdd(half.iss, 1) || offset < 0 || offset > synWindow(layer)) {
      if (offset >= 0 && offset <= synWindow(layer)) emitReset(layer, half.path, half, seg);
      return undefined;
    }
    if (half.listener.queue.length >= half.listener.backlog) {
      counters.ListenOverflows++;
      return undefined;
    }
    const rtt = half.retries === 0 ? layer.now - half.sentMs : -1;
    this.drop(half);
    return this.#promote(half, seg, rtt);
  }

  #promote(half: HalfOpen, seg: Segment, rttMs: number): Conn | undefined {
    const layer = this.#layer, { listener } = half;
    if (listener.closed) return undefined;
    const cc: CcName = listener.congestion ?? layer.congestion;
    const { path, localPort, remotePort } = half;
    const conn = new Conn(layer, path, path.local, localPort, path.remote, remotePort, cc);
    conn.tsOffset = half.tsOffset;
    beginSending(conn, seqAdd(half.iss, 1));
    agree(conn, half.said, half.irs, half.tsRecent);
    conn.rcv.adv = firstEdge(conn);
    const { snd } = conn;
    snd.wnd = snd.maxWnd = seg.window << snd.scale;
    snd.wl1 = half.irs;
    snd.wl2 = seg.ack;
    startCongestion(conn, rttMs);
    this.#table.add(conn);
    layer.counters.PassiveOpens++;
    conn.establish();
    conn.events &= ~EVENT.connected;
    listener.queue.push(conn);
    layer.called(listener);
    return conn;
  }

  /** The timer of a half-open connection: answers once more, or gives it up. */
  timeOut(half: HalfOpen): void {
    if (++half.retries > this.#layer.limits.synAckRetries) return this.drop(half);
    this.#layer.counters.RetransSegs++;
    this.#answer(half);
  }

  /** Forgets a half-open connection. */
  drop(half: HalfOpen): void {
    half.listener.halfOpen--;
    half.dueAt = Infinity;
    this.#layer.timers.remove(half);
    this.#table.remove(half);
  }
}

/** Whether a SYN may take the place of a connection in TIME_WAIT (RFC 9293, 3.6.1; RFC 6191). */
export function mayReplace(seg: Segment, rcvNxt: Seq, timestamps: boolean, tsRecent: number): boolean {
  if (timestamps && seg.options.timestamps) {
    return seqGt(seg.options.tsVal, tsRecent) || seg.options.tsVal === tsRecent && seqGt(seg.seq, rcvNxt);
  }
  return !seqLe(seg.seq, rcvNxt);
}
