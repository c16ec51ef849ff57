/**
 * TCP segments: the header.
 *
 * Layer: net/wire; inside of ipv4 and ipv6, above tcp_seq and beside tcp_options. `parse` checks the header's length; the
 * options are read apart, by `TcpOptions`, because most segments of a connection have the same. The checksum covers a
 * pseudo-header, whose partial sum IP's view gives.
 *
 * See RFC 9293, 3.1; RFC 3168, 6.1 (ECE, CWR).
 */

import { checksum, checksumOk } from "../checksum.ts";
import { type Fault, get16, get32, Packet, set16, set32 } from "./packet.ts";
import type { TcpOptions } from "./tcp_options.ts";
import type { Seq } from "./tcp_seq.ts";

export const TCP_BYTES = 20, TCP_MAX_BYTES = 60;

/** Bits of `flags`. */
export const FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10, URG = 0x20, ECE = 0x40, CWR = 0x80;

/** Offsets of fields. */
const SRC = 0, DST = 2, SEQ = 4, ACKED = 8, OFFSET = 12, FLAGS = 13, WINDOW = 14, CHECK = 16, URGENT = 18;

/** What is in a header, but for options and checksum. */
export interface TcpFields {
  srcPort: number;
  dstPort: number;
  seq: Seq;
  /** Means something with ACK only. */
  ack: Seq;
  flags: number;
  /** As it is on the wire, not scaled. */
  window: number;
  /** Means something with URG only. */
  urgent: number;
}

/** A segment. */
export class Tcp extends Packet implements TcpFields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < TCP_BYTES) return "short";
    const header = (bytes[at + OFFSET] >>> 4) * 4;
    if (header < TCP_BYTES || header > end - at) return "header";
    this.point(bytes, at, end);
    return undefined;
  }

  get payloadAt(): number {
    return this.at + (this.bytes[this.at + OFFSET] >>> 4) * 4;
  }

  /** Where the options begin; they end at `payloadAt`. */
  get optionsAt(): number {
    return this.at + TCP_BYTES;
  }

  get srcPort(): number {
    return get16(this.bytes, this.at + SRC);
  }
  set srcPort(port: number) {
    set16(this.bytes, this.at + SRC, port);
  }

  get dstPort(): number {
    return get16(this.bytes, this.at + DST);
  }
  set dstPort(port: number) {
    set16(this.bytes, this.at + DST, port);
  }

  get seq(): Seq {
    return get32(this.bytes, this.at + SEQ);
  }
  set seq(seq: Seq) {
    set32(this.bytes, this.at + SEQ, seq);
  }

  get ack(): Seq {
    return get32(this.bytes, this.at + ACKED);
  }
  set ack(ack: Seq) {
    set32(this.bytes, this.at + ACKED, ack);
  }

  get flags(): number {
    return this.bytes[this.at + FLAGS];
  }
  set flags(flags: number) {
    this.bytes[this.at + FLAGS] = flags;
  }

  get window(): number {
    return get16(this.bytes, this.at + WINDOW);
  }
  set window(window: number) {
    set16(this.bytes, this.at + WINDOW, window);
  }

  get check(): number {
    return get16(this.bytes, this.at + CHECK);
  }
  set check(check: number) {
    set16(this.bytes, this.at + CHECK, check);
  }

  get urgent(): number {
    return get16(this.bytes, this.at + URGENT);
  }

  /** Sequence numbers that the segment takes: its bytes, and one each for SYN and FIN. */
  get seqCount(): number {
    const flags = this.flags;
    return this.payloadBytes + (flags >>> 1 & 1) + (flags & FIN);
  }

  /** Whether header and data sum up with the pseudo-header's sum. */
  checksumOk(pseudoSum: number): boolean {
    return checksumOk(this.bytes, this.at, this.end, pseudoSum);
  }
}

/** Writes a header at `at` with no checksum, and `options` if there are any; answers where the payload begins. */
export function emitTcp(bytes: Uint8Array, at: number, fields: TcpFields, options?: TcpOptions): number {
  const payloadAt = options ? options.emit(bytes, at + TCP_BYTES) : at + TCP_BYTES;
  set16(bytes, at + SRC, fields.srcPort);
  set16(bytes, at + DST, fields.dstPort);
  set32(bytes, at + SEQ, fields.seq);
  set32(bytes, at + ACKED, fields.ack);
  bytes[at + OFFSET] = payloadAt - at << 2;
  bytes[at + FLAGS] = fields.flags;
  set16(bytes, at + WINDOW, fields.window);
  set16(bytes, at + CHECK, 0);
  set16(bytes, at + URGENT, fields.urgent);
  return payloadAt;
}

/** Sets the checksum of a segment [at, end) whose data is in place. */
export function sealTcp(bytes: Uint8Array, at: number, end: number, pseudoSum: number): void {
  set16(bytes, at + CHECK, 0);
  set16(bytes, at + CHECK, checksum(bytes, at, end, pseudoSum));
}
