/**
 * UDP datagrams.
 *
 * Layer: net/wire; inside of ipv4 and ipv6. `parse` checks the length and leaves out what IP has behind it. The checksum
 * covers a pseudo-header, whose partial sum IP's view gives. A checksum of 0 says that there is none: IPv4 allows that,
 * in IPv6 the datagram has to be dropped.
 *
 * See RFC 768; RFC 8200, 8.1.
 */

import { checksum, checksumOk } from "../checksum.ts";
import { type Fault, get16, Packet, set16 } from "./packet.ts";

export const UDP_BYTES = 8;

/** Offsets of fields. */
const SRC = 0, DST = 2, LENGTH = 4, CHECK = 6;

/** What is in a header, but for the checksum. */
export interface UdpFields {
  srcPort: number;
  dstPort: number;
  /** Bytes behind the header. */
  payloadBytes: number;
}

/** A datagram. */
export class Udp extends Packet implements UdpFields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < UDP_BYTES) return "short";
    const length = get16(bytes, at + LENGTH);
    if (length < UDP_BYTES || length > end - at) return "length";
    this.point(bytes, at, at + length);
    return undefined;
  }

  get payloadAt(): number {
    return this.at + UDP_BYTES;
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

  /** 0: the sender made none. */
  get check(): number {
    return get16(this.bytes, this.at + CHECK);
  }
  set check(check: number) {
    set16(this.bytes, this.at + CHECK, check);
  }

  /** Whether header and data sum up with the pseudo-header's sum (made with UDP's length, `end - at`). */
  checksumOk(pseudoSum: number): boolean {
    return checksumOk(this.bytes, this.at, this.end, pseudoSum);
  }
}

/** Writes a header at `at` with no checksum; answers where the payload begins. */
export function emitUdp(bytes: Uint8Array, at: number, fields: UdpFields): number {
  set16(bytes, at + SRC, fields.srcPort);
  set16(bytes, at + DST, fields.dstPort);
  set16(bytes, at + LENGTH, UDP_BYTES + fields.payloadBytes);
  set16(bytes, at + CHECK, 0);
  return at + UDP_BYTES;
}

/** Sets the checksum of a datagram [at, end) whose data is in place; one that comes out as 0 is sent as its twin 0xffff. */
export function sealUdp(bytes: Uint8Array, at: number, end: number, pseudoSum: number): void {
  set16(bytes, at + CHECK, 0);
  set16(bytes, at + CHECK, checksum(bytes, at, end, pseudoSum) || 0xffff);
}
