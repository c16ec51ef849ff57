/**
 * Forwarding: what is for another host, when this one is a router.
 *
 * Layer: net/ip, under input.ts, above output.ts.
 * What holds always: a packet whose source is not where it came from is dropped (RFC 3704, strict), nothing is forwarded to or
 * from groups, link-local or loopback addresses, and the bytes that came are not written to: they are lent. No redirects are sent.
 *
 * See RFC 1812, 5.2 and 5.3; RFC 8200; RFC 4443, 3.
 */

import { type Ip, ipFromV4, isLinkLocal, isUnspecified } from "../addr.ts";
import { type FrameInfo, GSO } from "../link.ts";
import { updateChecksum } from "../checksum.ts";
import { EXCEEDED, ICMP, UNREACHABLE } from "../wire/icmp.ts";
import { ICMPV6, UNREACHABLE6 } from "../wire/icmpv6.ts";
import type { Ipv4 } from "../wire/ipv4.ts";
import type { Ipv6 } from "../wire/ipv6.ts";
import { get16, set16 } from "../wire/packet.ts";
import type { IcmpError } from "./icmp_out.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import type { Hop } from "./path.ts";

export class Forward {
  readonly #layer: IpLayer;
  readonly #scratch = new Uint8Array(65536 + 64);

  constructor(layer: IpLayer) {
    this.#layer = layer;
  }

  input4(iface: Iface, ip: Ipv4, info: FrameInfo): void {
    const { counters, forwarding } = this.#layer;
    const src = ipFromV4(ip.src), dst = ipFromV4(ip.dst);
    if (!forwarding || !this.#isAllowed(iface, src, dst)) {
      counters.InAddrErrors++;
      return;
    }
    if (ip.ttl <= 1) return this.#error4(ip, { type: ICMP.timeExceeded, code: EXCEEDED.ttl, rest: 0 });
    const hop = this.#layer.paths.hop(dst);
    if (hop.fault === undefined && isHere(hop)) {
      counters.InAddrErrors++;
      return;
    }
    if (hop.fault !== undefined) {
      counters.OutNoRoutes++;
      return this.#error4(ip, { type: ICMP.unreachable, code: UNREACHABLE.net, rest: 0 });
    }
    const isTooBig = sizeOf(ip.at, ip.end, ip.payloadAt, info) > hop.mtu;
    if (isTooBig && (ip.dontFragment || info.gso !== GSO.none)) {
      counters.FragFails++;
      return this.#error4(ip, { type: ICMP.unreachable, code: UNREACHABLE.fragmentationNeeded, rest: hop.mtu });
    }
    const end = this.#copy(ip.bytes, ip.at, ip.end), bytes = this.#scratch;
    const was = get16(bytes, 8);
    bytes[8]--;
    set16(bytes, 10, updateChecksum(get16(bytes, 10), was, get16(bytes, 8)));
    counters.ForwDatagrams++;
    if (isTooBig) this.#layer.output.fragment(hop, bytes, 0, end, 0, true);
    else this.#send(hop, end, info, iface);
  }

  input6(iface: Iface, ip: Ipv6, info: FrameInfo): void {
    const { counters, forwarding, icmpOut } = this.#layer;
    const src = ip.src.slice(), dst = ip.dst.slice();
    if (!forwarding || !this.#isAllowed(iface, src, dst)) {
      counters.InAddrErrors++;
      return;
    }
    const error = (type: number, code: number, rest = 0) =>
      icmpOut.error6(ip.bytes, ip.at, ip.end, { type, code, rest }, type === ICMPV6.packetTooBig);
    if (ip.hopLimit <= 1) return error(ICMPV6.timeExceeded, EXCEEDED.ttl);
    const hop = this.#layer.paths.hop(dst);
    if (hop.fault === undefined && isHere(hop)) {
      counters.InAddrErrors++;
      return;
    }
    if (hop.fault !== undefined) {
      counters.OutNoRoutes++;
      return error(ICMPV6.unreachable, UNREACHABLE6.noRoute);
    }
    if (sizeOf(ip.at, ip.end, ip.payloadAt, info) > hop.mtu) {
      counters.FragFails++;
      return error(ICMPV6.packetTooBig, 0, hop.mtu);
    }
    const end = this.#copy(ip.bytes, ip.at, ip.end);
    this.#scratch[7]--;
    counters.ForwDatagrams++;
    this.#send(hop, end, info, iface);
  }

  /** Offsets of `info` are counted from the header of the link that it came in by. */
  #send(hop: Hop, end: number, info: FrameInfo, from: Iface): void {
    this.#layer.output.transmit(hop, this.#scratch, 0, end, info, from.linkBytes, true);
  }

  /** Whether both ends are ones that packets may go between, and the source is where it should be. */
  #isAllowed(iface: Iface, src: Ip, dst: Ip): boolean {
    if (isUnspecified(src) || isLinkLocal(src) || isLinkLocal(dst)) return false;
    const back = this.#layer.paths.hop(src);
    return back.fault === undefined && back.iface === iface;
  }

  #copy(bytes: Uint8Array, at: number, end: number): number {
    this.#scratch.set(bytes.subarray(at, end));
    return end - at;
  }

  #error4(ip: Ipv4, error: IcmpError): void {
    this.#layer.icmpOut.error4(ip.bytes, ip.at, ip.end, error);
  }
}

/** To all hosts of another network (RFC 2644), or into this host by a way that is not open to it. */
function isHere(hop: Hop): boolean {
  return hop.isGroup || hop.iface.isLoopback;
}

/** The largest packet that this will be on a wire: of a super-packet, one segment, whose TCP header may be of 60 bytes. */
function sizeOf(at: number, end: number, payloadAt: number, info: FrameInfo): number {
  return info.gso === GSO.none ? end - at : Math.min(end - at, payloadAt - at + 20 + info.gsoBytes);
}
