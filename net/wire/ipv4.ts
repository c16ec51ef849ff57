/**
 * IPv4 headers: options and the fields of fragments too.
 *
 * Layer: net/wire; icmp, udp and tcp are inside. `parse` checks version, header length, total length and the form of the
 * options, and leaves out what stands behind the total length. The checksum is asked for apart: a device may have checked
 * it. Reassembly, and what options mean, is the stack's.
 *
 * See RFC 791, 3.1; RFC 6864 (identification), RFC 3168, 5 (ECN), RFC 7126 (what to do about options).
 */

import { checksum, checksumOk, pseudoSum4, updateChecksum } from "../checksum.ts";
import { type Fault, get16, get32, Packet, set16, set32 } from "./packet.ts";

/** What IP carries, in both versions. */
export const PROTO = { icmp: 1, igmp: 2, tcp: 6, udp: 17, icmpv6: 58, none: 59 } as const;

export const IPV4_BYTES = 20, IPV4_MAX_BYTES = 60;

/** Kinds of options. */
export const IPOPT = {
  end: 0,
  nop: 1,
  recordRoute: 7,
  timestamp: 68,
  looseRoute: 131,
  strictRoute: 137,
  routerAlert: 148,
};

/** Offsets of fields. */
const TOS = 1, LENGTH = 2, ID = 4, FRAGMENT = 6, TTL = 8, PROTOCOL = 9, CHECK = 10, SRC = 12, DST = 16;
const DF = 0x4000, MF = 0x2000;

/** What is in a header, but for options: addresses as numbers. */
export interface Ipv4Fields {
  /** DSCP in the upper six bits, ECN in the lower two. */
  tos: number;
  id: number;
  dontFragment: boolean;
  /** More fragments follow. */
  moreFragments: boolean;
  /** Where this fragment's data belongs, in bytes: a multiple of 8. */
  fragmentOffset: number;
  ttl: number;
  proto: number;
  src: number;
  dst: number;
  /** Bytes behind the header. */
  payloadBytes: number;
}

/** A packet. */
export class Ipv4 extends Packet implements Ipv4Fields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    const fault = this.parseQuote(bytes, at, end);
    return fault === undefined && get16(bytes, at + LENGTH) > end - at ? "length" : fault;
  }

  /** As `parse`, for what an ICMP error quotes of a packet: its header is whole, what it carries may be cut short. */
  parseQuote(bytes: Uint8Array, at: number, end: number): Fault | undefined {
    if (end - at < IPV4_BYTES) return "short";
    if (bytes[at] >>> 4 !== 4) return "version";
    const header = (bytes[at] & 15) * 4;
    if (header < IPV4_BYTES || header > end - at) return "header";
    const total = get16(bytes, at + LENGTH);
    if (total < header) return "length";
    if (header > IPV4_BYTES && !optionsOk(bytes, at + IPV4_BYTES, at + header)) return "option";
    this.point(bytes, at, Math.min(at + total, end));
    return undefined;
  }

  get payloadAt(): number {
    return this.at + (this.bytes[this.at] & 15) * 4;
  }

  get tos(): number {
    return this.bytes[this.at + TOS];
  }
  set tos(tos: number) {
    this.bytes[this.at + TOS] = tos;
  }

  /** 0: the sender knows no ECN, 1 and 2: it does, 3: there was congestion on the way. */
  get ecn(): number {
    return this.tos & 3;
  }

  get id(): number {
    return get16(this.bytes, this.at + ID);
  }
  set id(id: number) {
    set16(this.bytes, this.at + ID, id);
  }

  get dontFragment(): boolean {
    return (get16(this.bytes, this.at + FRAGMENT) & DF) !== 0;
  }

  get moreFragments(): boolean {
    return (get16(this.bytes, this.at + FRAGMENT) & MF) !== 0;
  }

  get fragmentOffset(): number {
    return (get16(this.bytes, this.at + FRAGMENT) & 0x1fff) * 8;
  }

  /** Part of a larger packet. */
  get isFragment(): boolean {
    return (get16(this.bytes, this.at + FRAGMENT) & (MF | 0x1fff)) !== 0;
  }

  get ttl(): number {
    return this.bytes[this.at + TTL];
  }
  set ttl(ttl: number) {
    this.bytes[this.at + TTL] = ttl;
  }

  get proto(): number {
    return this.bytes[this.at + PROTOCOL];
  }

  get check(): number {
    return get16(this.bytes, this.at + CHECK);
  }
  set check(check: number) {
    set16(this.bytes, this.at + CHECK, check);
  }

  get src(): number {
    return get32(this.bytes, this.at + SRC);
  }
  set src(src: number) {
    set32(this.bytes, this.at + SRC, src);
  }

  get dst(): number {
    return get32(this.bytes, this.at + DST);
  }
  set dst(dst: number) {
    set32(this.bytes, this.at + DST, dst);
  }

  get checksumOk(): boolean {
    return checksumOk(this.bytes, this.at, this.payloadAt);
  }

  /** The partial sum of the pseudo-header that the transport's checksum begins with. */
  get pseudoSum(): number {
    return pseudoSum4(this.src, this.dst, this.proto, this.payloadBytes);
  }

  /** Takes one from the time to live, as who forwards has to, and keeps the checksum right. It has to be above 0. */
  decrementTtl(): void {
    const was = get16(this.bytes, this.at + TTL);
    this.ttl--;
    this.check = updateChecksum(this.check, was, get16(this.bytes, this.at + TTL));
  }

  /** Where the first option of `kind` (one of IPOPT) is; -1 if there is none. Its length is in the byte behind the kind. */
  option(kind: number): number {
    const end = this.payloadAt;
    let at = this.at + IPV4_BYTES;
    while (at < end && this.bytes[at] !== IPOPT.end) {
      if (this.bytes[at] === kind) return at;
      at += this.bytes[at] === IPOPT.nop ? 1 : this.bytes[at + 1];
    }
    return -1;
  }
}

/** Whether every option ends inside of [at, end). */
function optionsOk(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end && bytes[at] !== IPOPT.end) {
    if (bytes[at] === IPOPT.nop) {
      at++;
      continue;
    }
    if (end - at < 2 || bytes[at + 1] < 2 || bytes[at + 1] > end - at) return false;
    at += bytes[at + 1];
  }
  return true;
}

/** Room for options in a header: a multiple of 4 bytes. */
export function ipv4OptionRoom(options: Uint8Array): number {
  return options.length + 3 & ~3;
}

/**
 * Writes a header at `at`, its checksum included; answers where the payload begins. `options` (at most 40 bytes) are
 * copied as they are, and filled up with ends of the list.
 */
export function emitIpv4(bytes: Uint8Array, at: number, fields: Ipv4Fields, options?: Uint8Array): number {
  const header = IPV4_BYTES + (options ? ipv4OptionRoom(options) : 0);
  bytes[at] = 0x40 | header >>> 2;
  bytes[at + TOS] = fields.tos;
  set16(bytes, at + LENGTH, header + fields.payloadBytes);
  set16(bytes, at + ID, fields.id);
  set16(
    bytes,
    at + FRAGMENT,
    (fields.dontFragment ? DF : 0) | (fields.moreFragments ? MF : 0) | fields.fragmentOffset >>> 3,
  );
  bytes[at + TTL] = fields.ttl;
  bytes[at + PROTOCOL] = fields.proto;
  set16(bytes, at + CHECK, 0);
  set32(bytes, at + SRC, fields.src);
  set32(bytes, at + DST, fields.dst);
  if (options) { for (let i = IPV4_BYTES; i < header; i++) bytes[at + i] = options[i - IPV4_BYTES] ?? IPOPT.end; }
  set16(bytes, at + CHECK, checksum(bytes, at, at + header));
  return at + header;
}
