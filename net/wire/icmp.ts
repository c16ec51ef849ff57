/**
 * ICMP messages of IPv4.
 *
 * Layer: net/wire; inside of ipv4. The checksum covers the message alone. An error quotes the packet that it is about: what
 * is quoted is usually cut short, and read by `Ipv4.parseQuote`. Who may send an error, and how often, is the stack's.
 *
 * See RFC 792; RFC 1191 (next-hop MTU), RFC 1122, 3.2.2, RFC 1812, 4.3.2 (how much is quoted).
 */

import { checksum, checksumOk } from "../checksum.ts";
import { type Fault, get16, get32, Packet, set16, set32 } from "./packet.ts";

export const ICMP_BYTES = 8;

/** Types of messages. */
export const ICMP = {
  echoReply: 0,
  unreachable: 3,
  sourceQuench: 4,
  redirect: 5,
  echo: 8,
  timeExceeded: 11,
  parameterProblem: 12,
  timestamp: 13,
  timestampReply: 14,
} as const;

/** Codes of `unreachable`. */
export const UNREACHABLE = {
  net: 0,
  host: 1,
  protocol: 2,
  port: 3,
  fragmentationNeeded: 4,
  sourceRoute: 5,
  prohibited: 13,
} as const;

/** Codes of `timeExceeded`: on the way, and while fragments were missing. */
export const EXCEEDED = { ttl: 0, reassembly: 1 } as const;

/** Types that are about another packet. */
const ERRORS: readonly number[] = [
  ICMP.unreachable,
  ICMP.sourceQuench,
  ICMP.redirect,
  ICMP.timeExceeded,
  ICMP.parameterProblem,
];

/** Offsets of fields: the last four bytes of the header are the type's own. */
const CODE = 1, CHECK = 2, REST = 4;

/** What is in a header, but for the checksum. */
export interface IcmpFields {
  type: number;
  code: number;
  /** The type's own word: identifier and sequence of an echo, a gateway, a pointer, an MTU. */
  rest: number;
}

/** A message. */
export class Icmp extends Packet implements IcmpFields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < ICMP_BYTES) return "short";
    this.point(bytes, at, end);
    return undefined;
  }

  /** Where an echo's data, or what an error quotes, begins. */
  get payloadAt(): number {
    return this.at + ICMP_BYTES;
  }

  get type(): number {
    return this.bytes[this.at];
  }
  set type(type: number) {
    this.bytes[this.at] = type;
  }

  get code(): number {
    return this.bytes[this.at + CODE];
  }

  get check(): number {
    return get16(this.bytes, this.at + CHECK);
  }
  set check(check: number) {
    set16(this.bytes, this.at + CHECK, check);
  }

  get rest(): number {
    return get32(this.bytes, this.at + REST);
  }

  /** Of an echo or its reply. */
  get id(): number {
    return get16(this.bytes, this.at + REST);
  }

  /** Of an echo or its reply. */
  get seq(): number {
    return get16(this.bytes, this.at + REST + 2);
  }

  /** Of `unreachable` with `fragmentationNeeded`: the MTU of the next hop; 0 from routers older than RFC 1191. */
  get mtu(): number {
    return get16(this.bytes, this.at + REST + 2);
  }

  /** Of a redirect: the better gateway's address. */
  get gateway(): number {
    return this.rest;
  }

  /** Of a parameter problem: which byte of the quoted packet. */
  get pointer(): number {
    return this.bytes[this.at + REST];
  }

  /** About another packet, which it quotes; no error is ever sent about it. */
  get isError(): boolean {
    return ERRORS.includes(this.type);
  }

  get checksumOk(): boolean {
    return checksumOk(this.bytes, this.at, this.end);
  }
}

/** Writes a header at `at` with no checksum; answers where what follows begins. */
export function emitIcmp(bytes: Uint8Array, at: number, fields: IcmpFields): number {
  bytes[at] = fields.type;
  bytes[at + CODE] = fields.code;
  set16(bytes, at + CHECK, 0);
  set32(bytes, at + REST, fields.rest);
  return at + ICMP_BYTES;
}

/** Sets the checksum of a message [at, end) whose data is in place. */
export function sealIcmp(bytes: Uint8Array, at: number, end: number): void {
  set16(bytes, at + CHECK, 0);
  set16(bytes, at + CHECK, checksum(bytes, at, end));
}
