/**
 * ICMPv6 messages: the header, echo and errors.
 *
 * Layer: net/wire; inside of ipv6, under ndp. The checksum covers a pseudo-header, whose partial sum IPv6's view gives. An
 * error quotes the packet that it is about, to be read by `Ipv6.parseQuote`. Multicast listener messages are not here.
 *
 * See RFC 4443.
 */

import { checksum, checksumOk } from "../checksum.ts";
import { type Fault, get16, get32, Packet, set16, set32 } from "./packet.ts";

export const ICMPV6_BYTES = 8;

/** Types of messages; those below 128 are errors. */
export const ICMPV6 = {
  unreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echo: 128,
  echoReply: 129,
  routerSolicit: 133,
  routerAdvert: 134,
  neighborSolicit: 135,
  neighborAdvert: 136,
  redirect: 137,
} as const;

/** Codes of `unreachable`. */
export const UNREACHABLE6 = { noRoute: 0, prohibited: 1, beyondScope: 2, address: 3, port: 4 } as const;

/** Offsets of fields: the last four bytes of the header are the type's own. */
const CODE = 1, CHECK = 2, REST = 4;

/** What is in a header, but for the checksum. */
export interface Icmpv6Fields {
  type: number;
  code: number;
  /** The type's own word: identifier and sequence of an echo, an MTU, a pointer, flags. */
  rest: number;
}

/** A message. */
export class Icmpv6 extends Packet implements Icmpv6Fields {
  parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    if (end - at < ICMPV6_BYTES) return "short";
    this.point(bytes, at, end);
    return undefined;
  }

  /** Where an echo's data, or what an error quotes, begins. */
  get payloadAt(): number {
    return this.at + ICMPV6_BYTES;
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

  /** Of `packetTooBig`: the MTU of the next hop, unsigned; below 1280 it is not to be believed. */
  get mtu(): number {
    return this.rest >>> 0;
  }

  /** Of a parameter problem: which byte of the quoted packet, unsigned. */
  get pointer(): number {
    return this.rest >>> 0;
  }

  /** About another packet, which it quotes; no error is ever sent about it. */
  get isError(): boolean {
    return this.type < 128;
  }

  /** Whether the message sums up with the pseudo-header's sum. */
  checksumOk(pseudoSum: number): boolean {
    return checksumOk(this.bytes, this.at, this.end, pseudoSum);
  }
}

/** Writes a header at `at` with no checksum; answers where what follows begins. */
export function emitIcmpv6(bytes: Uint8Array, at: number, fields: Icmpv6Fields): number {
  bytes[at] = fields.type;
  bytes[at + CODE] = fields.code;
  set16(bytes, at + CHECK, 0);
  set32(bytes, at + REST, fields.rest);
  return at + ICMPV6_BYTES;
}

/** Sets the checksum of a message [at, end) whose data is in place. */
export function sealIcmpv6(bytes: Uint8Array, at: number, end: number, pseudoSum: number): void {
  set16(bytes, at + CHECK, 0);
  set16(bytes, at + CHECK, checksum(bytes, at, end, pseudoSum));
}
