/**
 * Neighbour discovery: solicitations and advertisements of routers and neighbours, redirects, and their options.
 *
 * Layer: net/wire, above icmpv6. `parse` checks what RFC 4861 asks of the message itself (code, length, target, every
 * option's length); that the hop limit is 255, and which addresses may be at the ends, is IP's view to answer. Option
 * getters take an offset that `option` gave. Messages are rare: windows and objects are made where that is simplest.
 *
 * See RFC 4861, 4 and 6.1, 7.1, 8.1; RFC 8106 (RDNSS), RFC 4191 (router preference).
 */

import { emitIcmpv6, ICMPV6, Icmpv6 } from "./icmpv6.ts";
import { type Fault, get16, get32, put } from "./packet.ts";

/** Kinds of options. */
export const NDOPT = { sourceLink: 1, targetLink: 2, prefix: 3, redirected: 4, mtu: 5, rdnss: 25 } as const;

/** Flags of a neighbour advertisement. */
export const NA = { router: 0x80, solicited: 0x40, override: 0x20 } as const;

/** Flags of a router advertisement. */
export const RA = { managed: 0x80, other: 0x40 } as const;

/** A lifetime without end, in seconds. */
export const FOREVER = 0xffffffff;

/** Offsets of fields. */
const HOPS = 4, FLAGS = 4, RA_FLAGS = 5, LIFETIME = 6, REACHABLE = 8, RETRANS = 12, TARGET = 8, DESTINATION = 24;

/** Where each message's options begin, which is also the least that it has. */
const OPTIONS_AT: Record<number, number> = {
  [ICMPV6.routerSolicit]: 8,
  [ICMPV6.routerAdvert]: 16,
  [ICMPV6.neighborSolicit]: 24,
  [ICMPV6.neighborAdvert]: 24,
  [ICMPV6.redirect]: 40,
};

/** The least bytes of the options that are known. */
const OPTION_BYTES: Record<number, number> = {
  [NDOPT.sourceLink]: 8,
  [NDOPT.targetLink]: 8,
  [NDOPT.prefix]: 32,
  [NDOPT.redirected]: 8,
  [NDOPT.mtu]: 8,
  [NDOPT.rdnss]: 24,
};

/** What a prefix information option says; times in seconds, FOREVER among them. */
export interface PrefixInfo {
  /** Sixteen bytes, a window on the message. */
  prefix: Uint8Array;
  bits: number;
  onLink: boolean;
  /** Addresses may be made of it. */
  autonomous: boolean;
  validS: number;
  preferredS: number;
}

/** A message. Which getters mean something is its type's to say. */
export class Ndp extends Icmpv6 {
  override parse(bytes: Uint8Array, at = 0, end = bytes.length): Fault | undefined {
    const fault = super.parse(bytes, at, end);
    if (fault !== undefined) return fault;
    const optionsAt = OPTIONS_AT[this.type];
    if (optionsAt === undefined || this.code !== 0) return "field";
    if (end - at < optionsAt) return "short";
    if (this.#hasTarget && this.type !== ICMPV6.redirect && bytes[at + TARGET] === 0xff) return "field";
    return optionsOk(bytes, at + optionsAt, end) ? undefined : "option";
  }

  /** Where the options begin; they end at `end`. */
  get optionsAt(): number {
    return this.at + OPTIONS_AT[this.type];
  }

  override get payloadAt(): number {
    return this.optionsAt;
  }

  get #hasTarget(): boolean {
    return this.optionsAt - this.at >= TARGET + 16;
  }

  /** Of a neighbour advertisement: bits of NA; of a router advertisement: bits of RA, and its preference. */
  get flags(): number {
    return this.bytes[this.at + (this.type === ICMPV6.routerAdvert ? RA_FLAGS : FLAGS)];
  }

  /** Of a message about a neighbour, or a redirect: the address in question, a window on the message; empty in others. */
  get target(): Uint8Array {
    return this.#hasTarget ? this.bytes.subarray(this.at + TARGET, this.at + TARGET + 16) : NO_ADDRESS;
  }

  /** Of a redirect: whose way it is; empty in others. */
  get destination(): Uint8Array {
    if (this.type !== ICMPV6.redirect) return NO_ADDRESS;
    return this.bytes.subarray(this.at + DESTINATION, this.at + DESTINATION + 16);
  }

  /** Of a router advertisement: the hop limit to use; 0: not said. */
  get hopLimit(): number {
    return this.bytes[this.at + HOPS];
  }

  /** Of a router advertisement: for how long it is a default router, in seconds; 0: it is none. */
  get lifetimeS(): number {
    return get16(this.bytes, this.at + LIFETIME);
  }

  /** Of a router advertisement: for how long a neighbour that answered is reachable; 0: not said. */
  get reachableMs(): number {
    return this.type === ICMPV6.routerAdvert ? get32(this.bytes, this.at + REACHABLE) >>> 0 : 0;
  }

  /** Of a router advertisement: time between solicitations; 0: not said. */
  get retransMs(): number {
    return this.type === ICMPV6.routerAdvert ? get32(this.bytes, this.at + RETRANS) >>> 0 : 0;
  }

  /** Where the first option of `kind` (one of NDOPT) at or behind `from` is, -1 if there is none. One too small for its kind is passed over. */
  option(kind: number, from: number = this.optionsAt): number {
    for (let at = from; at < this.end; at = this.optionEnd(at)) {
      if (this.bytes[at] === kind && this.optionEnd(at) - at >= (OPTION_BYTES[kind] ?? 0)) return at;
    }
    return -1;
  }

  /** Where an option ends and the next one begins. */
  optionEnd(at: number): number {
    return at + this.bytes[at + 1] * 8;
  }

  /** Of `sourceLink` and `targetLink`: the MAC address, a window on the message. */
  linkAddress(at: number): Uint8Array {
    return this.bytes.subarray(at + 2, at + 8);
  }

  /** Of `mtu`. */
  optionMtu(at: number): number {
    return get32(this.bytes, at + 4) >>> 0;
  }

  /** Of `prefix`. */
  prefixInfo(at: number): PrefixInfo {
    const flags = this.bytes[at + 3];
    return {
      prefix: this.bytes.subarray(at + 16, at + 32),
      bits: this.bytes[at + 2],
      onLink: (flags & 0x80) !== 0,
      autonomous: (flags & 0x40) !== 0,
      validS: get32(this.bytes, at + 4) >>> 0,
      preferredS: get32(this.bytes, at + 8) >>> 0,
    };
  }

  /** Of `rdnss`: name servers, windows on the message, and for how many seconds they serve. */
  nameServers(at: number): { servers: Uint8Array[]; lifetimeS: number } {
    const servers: Uint8Array[] = [];
    for (let i = at + 8; i + 16 <= this.optionEnd(at); i += 16) servers.push(this.bytes.subarray(i, i + 16));
    return { servers, lifetimeS: get32(this.bytes, at + 4) >>> 0 };
  }
}

const NO_ADDRESS = new Uint8Array(0);

/** Whether every option has a length, and ends inside of [at, end). */
function optionsOk(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    if (end - at < 8 || bytes[at + 1] === 0 || bytes[at + 1] * 8 > end - at) return false;
    at += bytes[at + 1] * 8;
  }
  return true;
}

/** What is in a message about a neighbour. */
export interface NeighborFields {
  /** Sixteen bytes. */
  target: Uint8Array;
  /** Bits of NA; an advertisement's alone. */
  flags?: number;
  /** The MAC address for the option of the message (the source's in a solicitation, the target's in an advertisement). */
  linkAddress?: Uint8Array;
}

/** Writes a neighbour solicitation at `at` with no checksum; answers where it ends. */
export function emitNeighborSolicit(bytes: Uint8Array, at: number, fields: NeighborFields): number {
  const targetAt = emitIcmpv6(bytes, at, { type: ICMPV6.neighborSolicit, code: 0, rest: 0 });
  put(bytes, targetAt, fields.target);
  return emitLink(bytes, targetAt + 16, NDOPT.sourceLink, fields.linkAddress);
}

/** Writes a neighbour advertisement at `at` with no checksum; answers where it ends. */
export function emitNeighborAdvert(bytes: Uint8Array, at: number, fields: NeighborFields): number {
  const rest = (fields.flags ?? 0) << 24;
  const targetAt = emitIcmpv6(bytes, at, { type: ICMPV6.neighborAdvert, code: 0, rest });
  put(bytes, targetAt, fields.target);
  return emitLink(bytes, targetAt + 16, NDOPT.targetLink, fields.linkAddress);
}

/** Writes a router solicitation at `at` with no checksum; answers where it ends. */
export function emitRouterSolicit(bytes: Uint8Array, at: number, linkAddress?: Uint8Array): number {
  const optionsAt = emitIcmpv6(bytes, at, { type: ICMPV6.routerSolicit, code: 0, rest: 0 });
  return emitLink(bytes, optionsAt, NDOPT.sourceLink, linkAddress);
}

function emitLink(bytes: Uint8Array, at: number, kind: number, mac: Uint8Array | undefined): number {
  if (mac === undefined) return at;
  bytes[at] = kind;
  bytes[at + 1] = 1;
  put(bytes, at + 2, mac);
  return at + 8;
}
