/**
 * ICMP errors that this host sends: when one may be sent, what it quotes, how often.
 *
 * Layer: net/ip, above output.ts.
 *
 * See RFC 1122, 3.2.2 and RFC 1812, 4.3.2.7 (about what none is sent), RFC 4443, 2.4 (e) and (f).
 */

import { type Ip, ipFromV4, ipv4Of, isIpv4, isMulticast, isUnspecified, UNSPECIFIED } from "../addr.ts";
import { emitIcmp, ICMP, Icmp } from "../wire/icmp.ts";
import { emitIcmpv6, ICMPV6 } from "../wire/icmpv6.ts";
import { IPV4_BYTES, PROTO } from "../wire/ipv4.ts";
import { Ipv6, IPV6_BYTES, IPV6_MIN_MTU, Ipv6Chain } from "../wire/ipv6.ts";
import { get16, get32 } from "../wire/packet.ts";
import type { IpLayer } from "./layer.ts";
import { ICMP4_ERROR_BYTES } from "./limits.ts";
import { CONTROL } from "./output.ts";
import type { PathEntry } from "./path.ts";
import { ErrorRate } from "./rate.ts";

/** What is said of a packet. */
export interface IcmpError {
  type: number;
  code: number;
  /** The type's own word. */
  rest: number;
}

const ICMP_BYTES = 8;

export class IcmpOut {
  readonly #layer: IpLayer;
  readonly #rate: ErrorRate;
  readonly #icmp = new Icmp();
  readonly #ip6 = new Ipv6();
  readonly #chain = new Ipv6Chain();

  constructor(layer: IpLayer) {
    this.#layer = layer;
    this.#rate = new ErrorRate(layer.chance);
  }

  /** Sends an error about the IPv4 packet [at, end), unless it must not. */
  error4(bytes: Uint8Array, at: number, end: number, error: IcmpError): void {
    const src = ipFromV4(get32(bytes, at + 12)), dst = ipFromV4(get32(bytes, at + 16));
    const header = (bytes[at] & 15) * 4, isLaterFragment = (get16(bytes, at + 6) & 0x1fff) !== 0;
    if (isLaterFragment || !isOneHost(this.#layer, src) || isGroupOf(this.#layer, dst)) return;
    if (
      bytes[at + 9] === PROTO.icmp && (this.#icmp.parse(bytes, at + header, end) !== undefined || this.#icmp.isError)
    ) return;
    const path = this.#path(src, dst);
    if (path === undefined || !this.#mayGo(src, this.#layer.icmp4)) return;
    const quoted = Math.min(end - at, ICMP4_ERROR_BYTES - IPV4_BYTES - ICMP_BYTES);
    const { output, icmp4 } = this.#layer;
    if (!output.begin(path, PROTO.icmp, ICMP_BYTES + quoted)) return;
    const to = emitIcmp(output.buf, output.at, error);
    output.buf.set(bytes.subarray(at, at + quoted), to);
    output.end(ICMP_BYTES + quoted, 2, CONTROL);
    icmp4.OutMsgs++;
    if (error.type === ICMP.unreachable) icmp4.OutDestUnreachs++;
    else if (error.type === ICMP.timeExceeded) icmp4.OutTimeExcds++;
    else if (error.type === ICMP.parameterProblem) icmp4.OutParmProbs++;
  }

  /** The same for IPv6. `toGroup`: the rules allow it even when the packet went to a group (too big, and some options). */
  error6(bytes: Uint8Array, at: number, end: number, error: IcmpError, toGroup = false): void {
    const ip = this.#ip6;
    if (ip.parseQuote(bytes, at, end) !== undefined) return;
    const src = ip.src.slice(), dst = ip.dst.slice();
    if (!isOneHost(this.#layer, src) || isMulticast(dst) && !toGroup || this.#isError6(end)) return;
    const path = this.#path(src, dst);
    if (path === undefined || !this.#mayGo(src, this.#layer.icmp6)) return;
    const quoted = Math.min(end - at, IPV6_MIN_MTU - IPV6_BYTES - ICMP_BYTES);
    const { output, icmp6 } = this.#layer;
    if (!output.begin(path, PROTO.icmpv6, ICMP_BYTES + quoted)) return;
    const to = emitIcmpv6(output.buf, output.at, error);
    output.buf.set(bytes.subarray(at, at + quoted), to);
    output.end(ICMP_BYTES + quoted, 2, CONTROL);
    icmp6.OutMsgs++;
    if (error.type === ICMPV6.unreachable) icmp6.OutDestUnreachs++;
    else if (error.type === ICMPV6.packetTooBig) icmp6.OutTooBigs++;
    else if (error.type === ICMPV6.timeExceeded) icmp6.OutTimeExcds++;
    else icmp6.OutParmProbs++;
  }

  /** An error about either version's packet, by the code that it has in each. */
  error(bytes: Uint8Array, at: number, end: number, error4: IcmpError, error6: IcmpError): void {
    if (bytes[at] >>> 4 === 4) this.error4(bytes, at, end, error4);
    else this.error6(bytes, at, end, error6);
  }

  /** Whether the packet is an ICMPv6 error itself, or a redirect. */
  #isError6(end: number): boolean {
    const ip = this.#ip6, chain = this.#chain;
    if (chain.walk(ip) !== undefined && chain.proto !== PROTO.icmpv6) return false;
    if (chain.proto !== PROTO.icmpv6) return false;
    if (chain.fragmentAt >= 0 && chain.fragmentOffset(ip) !== 0) return true;
    const type = chain.payloadAt < end ? ip.bytes[chain.payloadAt] : 0;
    return type < 128 || type === ICMPV6.redirect;
  }

  /** The way back: from the address that was asked, if it is one of ours. */
  #path(src: Ip, dst: Ip): PathEntry | undefined {
    const isOurs = this.#layer.addresses.find(dst)?.kind === "unicast";
    const path = this.#layer.paths.find(src, isOurs ? dst : UNSPECIFIED);
    return typeof path === "string" ? undefined : path;
  }

  #mayGo(dst: Ip, counters: { OutRateLimited: number }): boolean {
    if (this.#rate.allow(dst, this.#layer.now)) return true;
    counters.OutRateLimited++;
    return false;
  }
}

function isOneHost(layer: IpLayer, ip: Ip): boolean {
  if (isUnspecified(ip) || isMulticast(ip) || layer.addresses.find(ip)?.kind === "broadcast") return false;
  return !isIpv4(ip) || ipv4Of(ip) >>> 28 !== 15;
}

function isGroupOf(layer: IpLayer, dst: Ip): boolean {
  return isMulticast(dst) || ipv4Of(dst) === -1 || layer.addresses.find(dst)?.kind === "broadcast";
}
