/**
 * IPv6 headers, and the walk over extension headers to what a packet carries.
 *
 * Layer: net/wire; icmpv6, udp and tcp are inside. `Ipv6.parse` checks the fixed header and the payload length;
 * `Ipv6Chain.walk` goes on from there, bounded in headers and options, and stops at a fragment: what follows is walked
 * again when the packet is whole. Of options it knows padding and router alert; for another it says what the option itself
 * asks for (skip, drop, or report). Jumbograms are refused.
 *
 * See RFC 8200 (section 4 for extension headers), RFC 6946 (atomic fragments), RFC 8504, 5.3 (limits), RFC 2711.
 */

import { pseudoSum6 } from "../checksum.ts";
import { PROTO } from "./ipv4.ts";
import { type Fault, get16, get32, matches, Packet, put, set16, set32 } from "./packet.ts";

export const IPV6_BYTES = 40, FRAGMENT_BYTES = 8;

/** The smallest MTU that a link may have. */
export const IPV6_MIN_MTU = 1280;

/** Extension headers, by what a next-header field says. */
export const EXTENSION = { hopByHop: 0, routing: 43, fragment: 44, auth: 51, destination: 60 } as const;

/** Limits of a walk. */
const MAX_HEADERS = 8, MAX_OPTIONS = 16;

/** Kinds of options; the upper two bits of others say what to do about them. */
const PAD1 = 0, PADN = 1, ROUTER_ALERT = 5;

/** Offsets of fields. */
const LENGTH = 4, NEXT = 6, HOPS = 7, SRC = 8, DST = 24;

/** What is in a fixed header: addresses are of 16 bytes. */
export interface Ipv6Fields {
  /** DSCP in the upper six bits, ECN in the lower two. */
  trafficClass: number;
  /** 20 bits. */
  flowLabel: number;
  next: number;
  hopLimit: number;
  src: Uint8Array;
  dst: Uint8Array;
  /** Bytes behind the fixed header. */
  payloadBytes: number;
}

/** A packet. `src` and `dst` are windows on its bytes and cost an object each; `isFor` and the offsets cost none. */
export class Ipv6 extends Packet implements Ipv6Fields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < IPV6_BYTES) return "short";
    if (bytes[at] >>> 4 !== 6) return "version";
    const length = get16(bytes, at + LENGTH);
    if (length > end - at - IPV6_BYTES) return "length";
    this.point(bytes, at, at + IPV6_BYTES + length);
    return undefined;
  }

  /** As `parse`, for what an ICMPv6 error quotes of a packet: its header is whole, what it carries may be cut short. */
  parseQuote(bytes: Uint8Array, at: number, end: number): Fault | undefined {
    if (end - at < IPV6_BYTES) return "short";
    if (bytes[at] >>> 4 !== 6) return "version";
    this.point(bytes, at, Math.min(at + IPV6_BYTES + get16(bytes, at + LENGTH), end));
    return undefined;
  }

  get payloadAt(): number {
    return this.at + IPV6_BYTES;
  }

  get trafficClass(): number {
    return get16(this.bytes, this.at) >>> 4 & 0xff;
  }
  set trafficClass(value: number) {
    set16(this.bytes, this.at, get16(this.bytes, this.at) & 0xf00f | (value & 0xff) << 4);
  }

  /** 0: the sender knows no ECN, 1 and 2: it does, 3: there was congestion on the way. */
  get ecn(): number {
    return this.trafficClass & 3;
  }

  get flowLabel(): number {
    return get32(this.bytes, this.at) & 0xfffff;
  }

  /** What is behind the fixed header: a member of PROTO or EXTENSION. */
  get next(): number {
    return this.bytes[this.at + NEXT];
  }

  get hopLimit(): number {
    return this.bytes[this.at + HOPS];
  }
  set hopLimit(hops: number) {
    this.bytes[this.at + HOPS] = hops;
  }

  /** Where the source's 16 bytes are, with the destination's behind: what `pseudoSum6` takes. */
  get srcAt(): number {
    return this.at + SRC;
  }

  get dstAt(): number {
    return this.at + DST;
  }

  get src(): Uint8Array {
    return this.bytes.subarray(this.at + SRC, this.at + SRC + 16);
  }
  set src(ip: Uint8Array) {
    put(this.bytes, this.at + SRC, ip);
  }

  get dst(): Uint8Array {
    return this.bytes.subarray(this.at + DST, this.at + DST + 16);
  }
  set dst(ip: Uint8Array) {
    put(this.bytes, this.at + DST, ip);
  }

  /** Whether `ip` is the destination. */
  isFor(ip: Uint8Array): boolean {
    return matches(this.bytes, this.at + DST, ip);
  }

  /** The partial sum of the pseudo-header for `length` bytes of protocol `proto`, which may stand behind extension headers. */
  pseudoSum(proto: number, length: number): number {
    return pseudoSum6(this.bytes, this.at + SRC, proto, length);
  }
}

/** What ICMPv6's parameter problem says of a header (RFC 4443, 3.4). */
export const PARAM = { none: -1, field: 0, next: 1, option: 2 } as const;

/** What the walk over a packet's extension headers found. One object serves one packet after the other. */
export class Ipv6Chain {
  /** What the packet carries, one of PROTO; for a fragment, the next header of its fragmentable part. */
  proto: number = PROTO.none;
  /** Where that begins. */
  payloadAt = 0;
  /** Where the fragment header is; -1 when the packet is whole (an atomic fragment is). */
  fragmentAt = -1;
  /** The byte of the next-header field that named `proto`: reassembly, and a problem with it, need it. */
  nextAt = 0;
  /** A router is asked to look inside (multicast listeners do). */
  routerAlert = false;

  /** After a refusal: what to report of it in a parameter problem, one of PARAM; `none`: drop it and say nothing. */
  problem: number = PARAM.none;
  /** The byte that the problem is with. */
  problemAt = 0;
  /** The problem is reported even if the packet went to a group. */
  problemToGroup = false;

  #options = 0;

  /** Walks a packet that was parsed. When it answers a fault, only `problem` and what belongs to it says something. */
  walk(ip: Ipv6): Fault | undefined {
    this.#reset(ip.at + NEXT, ip.next, ip.payloadAt);
    for (let headers = 0; isExtension(this.proto); headers++) {
      if (headers === MAX_HEADERS) return "option";
      if (this.proto === EXTENSION.hopByHop && headers > 0) return this.#report("field", PARAM.next, this.nextAt);
      const fault = this.#header(ip.bytes, this.payloadAt, ip.end);
      if (fault !== undefined || this.fragmentAt >= 0) return fault;
    }
    return undefined;
  }

  /** For a fragment: where its data belongs, in bytes, a multiple of 8. */
  fragmentOffset(ip: Ipv6): number {
    return get16(ip.bytes, this.fragmentAt + 2) & 0xfff8;
  }

  /** For a fragment: whether more follow. */
  moreFragments(ip: Ipv6): boolean {
    return (ip.bytes[this.fragmentAt + 3] & 1) !== 0;
  }

  /** For a fragment: which packet it is of. */
  fragmentId(ip: Ipv6): number {
    return get32(ip.bytes, this.fragmentAt + 4);
  }

  #reset(nextAt: number, next: number, payloadAt: number): void {
    this.proto = next;
    this.nextAt = nextAt;
    this.payloadAt = payloadAt;
    this.fragmentAt = -1;
    this.routerAlert = false;
    this.problem = PARAM.none;
    this.problemAt = 0;
    this.problemToGroup = false;
    this.#options = 0;
  }

  /** Steps over one header that begins at `at`. */
  #header(bytes: Uint8Array, at: number, end: number): Fault | undefined {
    const proto = this.proto;
    if (end - at < 8) return "short";
    const length = lengthOf(bytes, at, proto);
    if (length > end - at) return "header";
    const fault = this.#inside(bytes, at, at + length);
    if (fault !== undefined) return fault;
    this.nextAt = at;
    this.proto = bytes[at];
    this.payloadAt = at + length;
    if (proto === EXTENSION.fragment && (get16(bytes, at + 2) & 0xfff9) !== 0) this.fragmentAt = at;
    return undefined;
  }

  #inside(bytes: Uint8Array, at: number, end: number): Fault | undefined {
    if (this.proto === EXTENSION.hopByHop || this.proto === EXTENSION.destination) {
      return this.#walkOptions(bytes, at + 2, end);
    }
    if (this.proto === EXTENSION.routing && bytes[at + 3] !== 0) return this.#report("field", PARAM.field, at + 2);
    return undefined;
  }

  #walkOptions(bytes: Uint8Array, at: number, end: number): Fault | undefined {
    while (at < end) {
      const kind = bytes[at];
      if (kind === PAD1) {
        at++;
        continue;
      }
      if (end - at < 2 || bytes[at + 1] > end - at - 2) return "option";
      if (kind !== PADN && ++this.#options > MAX_OPTIONS) return "option";
      const fault = this.#option(bytes, at, kind);
      if (fault !== undefined) return fault;
      at += 2 + bytes[at + 1];
    }
    return undefined;
  }

  /** The upper bits of a kind that is not known: 0 skip, 1 drop, 2 report, 3 report unless it went to a group. */
  #option(bytes: Uint8Array, at: number, kind: number): Fault | undefined {
    if (kind === ROUTER_ALERT && this.proto === EXTENSION.hopByHop) this.routerAlert = bytes[at + 1] === 2;
    const action = kind >>> 6;
    if (action === 0) return undefined;
    if (action === 1) return "option";
    this.problemToGroup = action === 2;
    return this.#report("option", PARAM.option, at);
  }

  #report(fault: Fault, problem: number, at: number): Fault {
    this.problem = problem;
    this.problemAt = at;
    return fault;
  }
}

function isExtension(next: number): boolean {
  return next === EXTENSION.hopByHop || next === EXTENSION.routing || next === EXTENSION.fragment ||
    next === EXTENSION.auth || next === EXTENSION.destination;
}

/** Bytes of an extension header: counted in eights without the first, by the authentication header in fours without two. */
function lengthOf(bytes: Uint8Array, at: number, proto: number): number {
  if (proto === EXTENSION.fragment) return FRAGMENT_BYTES;
  return proto === EXTENSION.auth ? (bytes[at + 1] + 2) * 4 : (bytes[at + 1] + 1) * 8;
}

/** Writes a fixed header at `at`; answers where what it carries begins. */
export function emitIpv6(bytes: Uint8Array, at: number, fields: Ipv6Fields): number {
  set32(bytes, at, 6 << 28 | (fields.trafficClass & 0xff) << 20 | fields.flowLabel & 0xfffff);
  set16(bytes, at + LENGTH, fields.payloadBytes);
  bytes[at + NEXT] = fields.next;
  bytes[at + HOPS] = fields.hopLimit;
  put(bytes, at + SRC, fields.src);
  put(bytes, at + DST, fields.dst);
  return at + IPV6_BYTES;
}

/** What is in a fragment header. */
export interface FragmentFields {
  /** What the first fragment's data begins with. */
  next: number;
  /** In bytes, a multiple of 8. */
  offset: number;
  more: boolean;
  id: number;
}

/** Writes a fragment header at `at`; answers where the fragment's data begins. */
export function emitFragment(bytes: Uint8Array, at: number, fields: FragmentFields): number {
  bytes[at] = fields.next;
  bytes[at + 1] = 0;
  set16(bytes, at + 2, fields.offset & 0xfff8 | (fields.more ? 1 : 0));
  set32(bytes, at + 4, fields.id);
  return at + FRAGMENT_BYTES;
}
