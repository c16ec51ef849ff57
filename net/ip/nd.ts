/**
 * Neighbour discovery: solicitations, advertisements and redirects.
 *
 * Layer: net/ip, above neighbors.ts, beside arp.ts; router advertisements go on to routers.ts.
 * What holds always: a message is looked at only when its hop limit is 255, so that it came from this link.
 *
 * See RFC 4861, 7 and 8; RFC 4862, 5.4 (duplicates), RFC 6980 (no fragments).
 */

import {
  type Ip,
  isIpv4,
  isLinkLocal,
  isMulticast,
  isUnspecified,
  multicastMac,
  parseIp,
  sameIp,
  solicitedNode,
  UNSPECIFIED,
} from "../addr.ts";
import { pseudoSum6 } from "../checksum.ts";
import { ICMPV6, sealIcmpv6 } from "../wire/icmpv6.ts";
import { PROTO } from "../wire/ipv4.ts";
import { emitIpv6, type Ipv6, IPV6_BYTES } from "../wire/ipv6.ts";
import { emitNeighborAdvert, emitNeighborSolicit, emitRouterSolicit, NA, NDOPT, Ndp } from "../wire/ndp.ts";
import { set16 } from "../wire/packet.ts";
import type { Address, Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import { LIMITS, TIMES } from "./limits.ts";
import type { Neighbor } from "./neighbors.ts";

export const ALL_NODES: Ip = parseIp("ff02::1")!, ALL_ROUTERS: Ip = parseIp("ff02::2")!;

export class NdSide {
  readonly #layer: IpLayer;
  readonly #ndp = new Ndp();
  readonly #scratch = new Uint8Array(128);

  constructor(layer: IpLayer) {
    this.#layer = layer;
  }

  /** A message whose checksum is right, at `at` of the packet. */
  input(iface: Iface, ip: Ipv6, at: number): void {
    const ndp = this.#ndp, { counters } = this.#layer;
    counters.NdIn++;
    if (ip.hopLimit !== 255 || ndp.parse(ip.bytes, at, ip.end) !== undefined || !this.#take(iface, ip)) {
      counters.NdInErrors++;
    }
  }

  /** Asks for a neighbour's address. */
  solicit(iface: Iface, neighbor: Neighbor, unicast: boolean): void {
    const source = iface.anyAddress(false);
    if (source === undefined) return;
    const dst = unicast ? neighbor.ip : solicitedNode(neighbor.ip);
    this.#sendSolicit(iface, source.ip, dst, unicast ? neighbor.mac : multicastMac(dst), neighbor.ip);
  }

  /** Asks whether another host has the address. */
  probe(iface: Iface, address: Address): void {
    const dst = solicitedNode(address.ip);
    this.#sendSolicit(iface, UNSPECIFIED, dst, multicastMac(dst), address.ip);
  }

  /** Tells all that the address is ours. */
  announce(iface: Iface, address: Address): void {
    this.#advertise(iface, address.ip, ALL_NODES, multicastMac(ALL_NODES), NA.override);
  }

  /** Asks for routers. */
  routerSolicit(iface: Iface): void {
    const source = iface.anyAddress(false)?.ip;
    const end = emitRouterSolicit(this.#scratch, IPV6_BYTES, source && iface.link.mac);
    this.#send(iface, source ?? UNSPECIFIED, ALL_ROUTERS, multicastMac(ALL_ROUTERS), end);
  }

  #take(iface: Iface, ip: Ipv6): boolean {
    switch (this.#ndp.type) {
      case ICMPV6.neighborSolicit:
        return this.#solicited(iface, ip);
      case ICMPV6.neighborAdvert:
        return this.#advertised(iface, ip);
      case ICMPV6.routerAdvert:
        return isLinkLocal(ip.src) && this.#layer.routers.advert(iface, ip.src.slice(), this.#ndp);
      case ICMPV6.redirect:
        return this.#redirected(iface, ip);
    }
    return true;
  }

  /** RFC 4861, 7.1.1 and 7.2.3. */
  #solicited(iface: Iface, ip: Ipv6): boolean {
    const ndp = this.#ndp, { target } = ndp, { src, dst } = ip;
    const sourceAt = ndp.option(NDOPT.sourceLink), fromNobody = isUnspecified(src);
    if (fromNobody && (sourceAt >= 0 || !isSolicitedNode(dst))) return false;
    const address = iface.address(target);
    if (address === undefined) return true;
    if (address.state !== "ok") {
      if (fromNobody && address.state === "tentative") this.#layer.addresses.conflict(iface, address, NO_MAC);
      return true;
    }
    if (fromNobody) {
      this.#advertise(iface, address.ip, ALL_NODES, multicastMac(ALL_NODES), NA.override);
      return true;
    }
    if (sourceAt >= 0) this.#layer.neighbors.learn(iface, src, ndp.linkAddress(sourceAt));
    this.#answer(iface, address.ip, src.slice());
    return true;
  }

  /** Advertises to who asked; when its MAC address is not known it is asked for, and this question goes unanswered. */
  #answer(iface: Iface, target: Ip, to: Ip): void {
    const neighbor = this.#layer.neighbors.find(iface, to);
    const flags = NA.solicited | NA.override;
    if (this.#layer.neighbors.ready(neighbor, this.#layer.now)) this.#advertise(iface, target, to, neighbor.mac, flags);
  }

  /** RFC 4861, 7.1.2 and 7.2.5. */
  #advertised(iface: Iface, ip: Ipv6): boolean {
    const ndp = this.#ndp, { target, flags } = ndp;
    const solicited = (flags & NA.solicited) !== 0;
    if (solicited && isMulticast(ip.dst)) return false;
    const at = ndp.option(NDOPT.targetLink), mac = at < 0 ? undefined : ndp.linkAddress(at);
    const own = iface.address(target);
    if (own !== undefined) {
      if (mac === undefined || !sameMac(mac, iface.link.mac)) this.#layer.addresses.conflict(iface, own, mac ?? NO_MAC);
      return true;
    }
    const said = { solicited, override: (flags & NA.override) !== 0, isRouter: (flags & NA.router) !== 0 };
    this.#layer.neighbors.advert(iface, target, mac, said, this.#layer.now);
    return true;
  }

  /** RFC 4861, 8.1: only the router that is used for the destination may say that there is a better one. */
  #redirected(iface: Iface, ip: Ipv6): boolean {
    const ndp = this.#ndp, target = ndp.target.slice(), destination = ndp.destination.slice();
    const { routes, counters, neighbors, now } = this.#layer;
    const isNeighbor = sameIp(target, destination);
    if (!isLinkLocal(ip.src) || isMulticast(destination) || !isNeighbor && !isLinkLocal(target)) return false;
    const route = routes.lookup(destination, this.#layer.isUsable);
    const isBelieved = route !== undefined && route.iface === iface.index && route.gateway !== undefined &&
      sameIp(route.gateway, ip.src);
    const made = isBelieved ? routes.list().filter((r) => r.tag === "rdr").length : 0;
    if (!isBelieved || made >= LIMITS.redirects || isIpv4(destination)) {
      counters.RedirectsIgnored++;
      return true;
    }
    const at = ndp.option(NDOPT.targetLink);
    if (at >= 0) neighbors.learn(iface, target, ndp.linkAddress(at));
    const gateway = isNeighbor ? undefined : target;
    const prefix = { addr: destination, bits: 128 };
    routes.add({ prefix, gateway, iface: iface.index, tag: "rdr", metric: 0, expiresAt: now + TIMES.redirectMs });
    this.#layer.changed();
    return true;
  }

  #sendSolicit(iface: Iface, src: Ip, dst: Ip, mac: Uint8Array, target: Ip): void {
    const linkAddress = isUnspecified(src) ? undefined : iface.link.mac;
    const end = emitNeighborSolicit(this.#scratch, IPV6_BYTES, { target, linkAddress });
    this.#send(iface, src, dst, mac, end);
  }

  #advertise(iface: Iface, target: Ip, dst: Ip, mac: Uint8Array, flags: number): void {
    const routerFlag = this.#layer.forwarding ? NA.router : 0;
    const fields = { target, flags: flags | routerFlag, linkAddress: iface.link.mac };
    this.#send(iface, target, dst, mac, emitNeighborAdvert(this.#scratch, IPV6_BYTES, fields));
  }

  /** Puts IPv6's header in front of the message in the scratch, and sends it. */
  #send(iface: Iface, src: Ip, dst: Ip, mac: Uint8Array, end: number): void {
    const bytes = this.#scratch, payloadBytes = end - IPV6_BYTES;
    emitIpv6(bytes, 0, {
      trafficClass: 0,
      flowLabel: 0,
      next: PROTO.icmpv6,
      hopLimit: 255,
      src,
      dst,
      payloadBytes,
    });
    set16(bytes, IPV6_BYTES + 2, 0);
    sealIcmpv6(bytes, IPV6_BYTES, end, pseudoSum6(bytes, 8, PROTO.icmpv6, payloadBytes));
    this.#layer.icmp6.OutMsgs++;
    this.#layer.output.control(iface, mac, bytes, 0, end);
  }
}

const NO_MAC = new Uint8Array(6);

function sameMac(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}

function isSolicitedNode(ip: Ip): boolean {
  return sameIp(ip, solicitedNode(ip));
}
