/**
 * Writing segments where they are sent from.
 *
 * Layer: net/tcp, above lower.ts and wire/tcp; output.ts and handshake.ts decide what is sent. Everything that carries an
 * ACK of a connection offers its window, and takes back what was due of ACKs. All here answers false when the link is full.
 */

import { ACK, CWR, ECE, emitTcp, FIN, PSH, SYN, TCP_BYTES, type TcpFields } from "../wire/tcp.ts";
import { TcpOptions } from "../wire/tcp_options.ts";
import { seqAdd } from "../wire/tcp_seq.ts";
import type { Conn } from "./conn.ts";
import type { Layer } from "./layer.ts";
import type { Path, SendOptions } from "./lower.ts";

/** IP's number for TCP, and where a segment's checksum is. */
export const PROTO_TCP = 6, CHECKSUM_AT = 16;

/** ECN field of data on a connection that has it. */
const ECT0 = 2;
/** The bits of IP's TOS that are no ECN. */
const DSCP = 0xfc;

const fields: TcpFields = { srcPort: 0, dstPort: 0, seq: 0, ack: 0, flags: 0, window: 0, urgent: 0 };
const options = new TcpOptions();
const sendOptions: SendOptions = { gsoBytes: 0, headerBytes: 0, ecn: 0, ttl: 0, dontFragment: true };

/** Our timestamp clock, as this connection's peer sees it. */
export function tsNow(conn: Conn): number {
  return conn.layer.now + conn.tsOffset | 0;
}

/** Bytes of the header of a data segment. */
export function headerBytes(conn: Conn): number {
  return conn.timestamps ? TCP_BYTES + 12 : TCP_BYTES;
}

/**
 * Sends `count` bytes from `offset` of the send queue on, from `seq` on: as one packet if the link cuts it, else in segments of
 * `mss`. `fresh`: never sent before. Answers how many bytes have left; below 0: not even the first packet has.
 */
export function emitData(
  conn: Conn,
  seq: number,
  flags: number,
  offset: number,
  count: number,
  fresh: boolean,
): number {
  const most = conn.path.gsoMaxBytes > 0 ? count : conn.snd.mss;
  for (let sent = 0;;) {
    const bytes = Math.min(count - sent, most), isLast = sent + bytes === count;
    const its = isLast ? flags : flags & ~(FIN | PSH);
    if (!emitPacket(conn, seqAdd(seq, sent), its, offset + sent, bytes, fresh)) return sent > 0 ? sent : -1;
    sent += bytes;
    if (isLast) return sent;
  }
}

function emitPacket(
  conn: Conn,
  seq: number,
  flags: number,
  offset: number,
  count: number,
  fresh: boolean,
): boolean {
  const { layer, snd } = conn, { lower } = layer;
  const header = headerBytes(conn);
  if (!lower.begin(conn.path, PROTO_TCP, header + count)) return false;
  stamp(conn);
  fill(conn, seq, flags | ACK);
  if (conn.ecn && fresh && snd.recovery.sendCwr) {
    fields.flags |= CWR;
    snd.recovery.sendCwr = false;
  }
  const buf = lower.buf, payloadAt = emitTcp(buf, lower.at, fields, options);
  if (count > 0) snd.ring.copyOut(offset, count, buf, payloadAt);
  sendOptions.gsoBytes = count > snd.mss ? snd.mss : 0;
  sendOptions.ecn = conn.tos & DSCP | (conn.ecn && fresh && count > 0 ? ECT0 : 0);
  finish(layer, header + count, header, conn.ttl);
  acked(conn, false);
  return true;
}

/** Sends an ACK without data, with SACK blocks if there are gaps; at `seq`, which is `snd.nxt` but for probes. */
export function emitAck(conn: Conn, seq: number): boolean {
  const { layer, rcv } = conn, { lower } = layer;
  stamp(conn);
  if (conn.sack) {
    if (rcv.dsack) options.addSack(rcv.dsackLeft, rcv.dsackRight);
    rcv.early.addSacks(options, rcv.overtaking.toldTo);
  }
  const header = TCP_BYTES + options.bytes;
  if (!lower.begin(conn.path, PROTO_TCP, header)) return false;
  fill(conn, seq, ACK);
  emitTcp(lower.buf, lower.at, fields, options);
  sendOptions.gsoBytes = 0;
  sendOptions.ecn = conn.tos & DSCP;
  finish(layer, header, header, conn.ttl);
  if (conn.sack && rcv.dsack) layer.counters.DSACKOldSent++;
  acked(conn, true);
  return true;
}

function stamp(conn: Conn): void {
  options.clear();
  if (!conn.timestamps) return;
  options.timestamps = true;
  options.tsVal = tsNow(conn);
  options.tsEcr = conn.rcv.tsRecent;
}

function fill(conn: Conn, seq: number, flags: number): void {
  fields.srcPort = conn.localPort;
  fields.dstPort = conn.remotePort;
  fields.seq = seq;
  fields.ack = conn.rcv.nxt;
  fields.flags = conn.rcv.echo ? flags | ECE : flags;
  fields.window = conn.rcv.offer();
}

/** What was due of ACKs has been sent; what SACK would tell only when it was an ACK with room for it. */
function acked(conn: Conn, withSack: boolean): void {
  const { rcv } = conn;
  rcv.acked = rcv.nxt;
  rcv.ackDue = false;
  conn.ackAt = Infinity;
  if (withSack) rcv.dsack = false;
  if (withSack || rcv.early.count === 0 && !rcv.dsack) rcv.ackNow = false;
}

/** What a SYN says of this side. */
export interface SynOffer {
  mss: number;
  /** -1: no window scale. */
  windowScale: number;
  sack: boolean;
  timestamps: boolean;
  tsVal: number;
  tsEcr: number;
}

/** A segment without data that no connection's state is asked for: SYNs, resets, and what TIME_WAIT answers. */
export interface Bare {
  localPort: number;
  remotePort: number;
  seq: number;
  ack: number;
  flags: number;
  window: number;
  /** Of SYNs; for others only the timestamps are looked at. */
  offer: SynOffer | undefined;
}

/** Sends a bare segment. */
export function emitBare(layer: Layer, path: Path, bare: Bare): boolean {
  const { lower } = layer, { offer } = bare;
  options.clear();
  if (offer !== undefined) {
    options.timestamps = offer.timestamps;
    options.tsVal = offer.tsVal;
    options.tsEcr = offer.tsEcr;
    if (bare.flags & SYN) {
      options.mss = offer.mss;
      options.windowScale = offer.windowScale;
      options.sackPermitted = offer.sack;
    }
  }
  const header = TCP_BYTES + options.bytes;
  if (!lower.begin(path, PROTO_TCP, header)) return false;
  fields.srcPort = bare.localPort;
  fields.dstPort = bare.remotePort;
  fields.seq = bare.seq;
  fields.ack = bare.ack;
  fields.flags = bare.flags;
  fields.window = bare.window;
  emitTcp(lower.buf, lower.at, fields, options);
  sendOptions.gsoBytes = sendOptions.ecn = 0;
  finish(layer, header, header, 0);
  return true;
}

function finish(layer: Layer, bytes: number, header: number, ttl: number): void {
  sendOptions.headerBytes = header;
  sendOptions.ttl = ttl;
  layer.lower.end(bytes, CHECKSUM_AT, sendOptions);
  layer.counters.OutSegs++;
}
