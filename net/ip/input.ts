/**
 * Input: from a frame to the transport that it is for, or on to the next host.
 *
 * Layer: net/ip. A frame of a connection that is in use takes no allocation: checked views that are used again, addresses
 * compared as numbers, one Arrival for all. What is wrong is counted and dropped; what RFC 1122 wants answered is.
 *
 * See RFC 1122, 3.2 and 3.3; RFC 1812, 5.3.7 (martians), RFC 8200, 4; RFC 7126 (options).
 */

import { BROADCAST4, isMulticast4, isUnspecified } from "../addr.ts";
import { CHECKSUM, type FrameInfo, PLAIN } from "../link.ts";
import type { Arrival } from "../tcp/lower.ts";
import { ETHERTYPE } from "../wire/ethernet.ts";
import { EXCEEDED, ICMP, UNREACHABLE } from "../wire/icmp.ts";
import { ICMPV6, UNREACHABLE6 } from "../wire/icmpv6.ts";
import { IPOPT, Ipv4, IPV4_BYTES, PROTO } from "../wire/ipv4.ts";
import { EXTENSION, FRAGMENT_BYTES, Ipv6, Ipv6Chain, PARAM } from "../wire/ipv6.ts";
import { get16, matches, set16, set32 } from "../wire/packet.ts";
import type { Self } from "./addresses.ts";
import { Forward } from "./forward.ts";
import { IcmpIn } from "./icmp_in.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import { TIMES } from "./limits.ts";

/** What IP tells of a packet beside what every transport needs. */
export interface IpArrival extends Arrival {
  /** It was sent to a group or to all: no answer may say that nobody is there. */
  toGroup: boolean;
  iface: Iface;
}

export class Input {
  readonly #layer: IpLayer;
  readonly icmp: IcmpIn;
  readonly #forward: Forward;
  readonly #ip4 = new Ipv4();
  readonly #ip6 = new Ipv6();
  readonly #chain = new Ipv6Chain();
  readonly #arrival: IpArrival;
  readonly #addresses4 = [new Uint8Array(16), new Uint8Array(16)];
  readonly #addresses6 = [new Uint8Array(16), new Uint8Array(16)];
  /** What was looked up last, and is good while the layer's version is the same. */
  #seenVersion = -1;
  #seenDst = 0;
  #seenSelf: Self | undefined;
  #seenSrc = 0;
  #seenSrcIface: Iface | undefined;

  constructor(layer: IpLayer) {
    this.#layer = layer;
    this.icmp = new IcmpIn(layer);
    this.#forward = new Forward(layer);
    for (const ip of this.#addresses4) ip[10] = ip[11] = 0xff;
    this.#arrival = {
      src: this.#addresses4[0],
      dst: this.#addresses4[1],
      link: "",
      ecn: 0,
      ttl: 0,
      checksumGood: false,
      gsoBytes: 0,
      pseudoSum: 0,
      toGroup: false,
      iface: layer.loopback,
    };
  }

  /** Takes the frame [at, end), whose bytes are only lent. */
  frame(iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    iface.counters.in++;
    if (!iface.isEther) return this.#packet(iface, bytes, at, end, info, false);
    if (end - at < 14) {
      iface.counters.inErrors++;
      return;
    }
    const isGroup = (bytes[at] & 1) !== 0, { mac } = iface.link;
    if (isGroup ? matches(bytes, at + 6, mac) : !matches(bytes, at, mac)) {
      this.#layer.counters.InForeignFrames++;
      return;
    }
    let type = get16(bytes, at + 12), payloadAt = at + 14;
    if (type === ETHERTYPE.vlan) {
      if (end - at < 18 || (get16(bytes, at + 14) & 0xfff) !== 0) {
        this.#layer.counters.InVlanFrames++;
        return;
      }
      type = get16(bytes, at + 16);
      payloadAt = at + 18;
    }
    if (type === ETHERTYPE.ipv4) this.#ipv4(iface, bytes, payloadAt, end, info, isGroup);
    else if (type === ETHERTYPE.ipv6) this.#ipv6(iface, bytes, payloadAt, end, info, isGroup);
    else if (type === ETHERTYPE.arp) this.#layer.arp.input(iface, bytes, payloadAt, end, at + 6);
    else this.#layer.counters.InUnknownTypes++;
  }

  #packet(iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo, isGroup: boolean): void {
    if (at < end && bytes[at] >>> 4 === 6) this.#ipv6(iface, bytes, at, end, info, isGroup);
    else this.#ipv4(iface, bytes, at, end, info, isGroup);
  }

  #ipv4(iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo, isGroup: boolean): void {
    const ip = this.#ip4, { counters, snoop } = this.#layer;
    if (snoop !== undefined) snoop(iface, false, bytes, at, end);
    counters.InReceives++;
    if (ip.parse(bytes, at, end) !== undefined) {
      counters.InHdrErrors++;
      return;
    }
    if (!iface.isLoopback && !ip.checksumOk) {
      counters.InHdrErrors++;
      counters.InCsumErrors++;
      return;
    }
    const self = this.#self4(iface, ip.dst), toAll = self?.kind === "broadcast" || ip.dst === BROADCAST4;
    const toGroup = toAll || isMulticast4(ip.dst);
    if (!this.#isSane4(iface, ip, toAll) || isGroup && !toGroup) {
      counters.InMartians++;
      counters.InAddrErrors++;
      return;
    }
    if (ip.payloadAt - ip.at > IPV4_BYTES && this.#hasSourceRoute(ip)) {
      counters.InHdrErrors++;
      return;
    }
    if (self === undefined && !toGroup && !iface.isLoopback) return this.#forward.input4(iface, ip, info);
    if (isMulticast4(ip.dst) && !this.#isListening4(iface, ip)) {
      counters.InMulticast++;
      return;
    }
    if (ip.isFragment) return this.#fragment4(iface, ip, toGroup);
    this.#deliver4(iface, ip, toGroup, info);
  }

  /** What the destination is to us. */
  #self4(iface: Iface, dst: number): Self | undefined {
    if (this.#seenVersion !== this.#layer.version) this.#forget();
    if (dst !== this.#seenDst) {
      this.#seenDst = dst;
      this.#seenSelf = this.#layer.addresses.find4(dst);
    }
    const self = this.#seenSelf;
    return self !== undefined && self.kind === "broadcast" && self.iface !== iface ? undefined : self;
  }

  #forget(): void {
    this.#seenVersion = this.#layer.version;
    this.#seenDst = 0;
    this.#seenSelf = undefined;
    this.#seenSrcIface = undefined;
  }

  /** Whether the addresses are ones that a packet may come with from here. */
  #isSane4(iface: Iface, ip: Ipv4, toAll: boolean): boolean {
    if (iface.isLoopback) return true;
    const { src } = ip, net = ip.dst >>> 24;
    if (net === 127 || net === 0) return false;
    if (src === this.#seenSrc && iface === this.#seenSrcIface) return true;
    if (src === 0) return toAll || ip.proto === PROTO.igmp;
    if (src >>> 28 >= 14 || src >>> 24 === 127 || src >>> 24 === 0) return false;
    if (this.#layer.addresses.find4(src) !== undefined) return false;
    this.#seenSrc = src;
    this.#seenSrcIface = iface;
    return true;
  }

  /** Source routes are never followed (RFC 7126, 4.3 and 4.4). */
  #hasSourceRoute(ip: Ipv4): boolean {
    return ip.option(IPOPT.looseRoute) >= 0 || ip.option(IPOPT.strictRoute) >= 0;
  }

  #isListening4(iface: Iface, ip: Ipv4): boolean {
    const [, dst] = this.#addresses4;
    set32(dst, 12, ip.dst);
    return iface.groups.get(dst) !== undefined;
  }

  #fragment4(iface: Iface, ip: Ipv4, toGroup: boolean): void {
    const { counters, reassembly, now } = this.#layer;
    counters.ReasmReqds++;
    const peer = `${ip.src}`, key = `${ip.src},${ip.dst},${ip.id},${ip.proto}`;
    const { bytes, payloadAt: at, end, fragmentOffset: offset, moreFragments: more, ecn } = ip;
    const fragment = { key, peer, offset, more, ecn, bytes, at, end, headAt: ip.at, headEnd: at };
    const whole = reassembly.add(fragment, iface.index, now + TIMES.reassembly4Ms);
    if (typeof whole === "string") return this.#notWhole(whole);
    if (whole.bytes.length > 65535) {
      counters.ReasmFails++;
      return;
    }
    set16(whole.bytes, 2, whole.bytes.length);
    set16(whole.bytes, 6, 0);
    whole.bytes[1] = whole.bytes[1] & ~3 | whole.ecn;
    if (ip.parse(whole.bytes, 0, whole.bytes.length) !== undefined) {
      counters.ReasmFails++;
      return;
    }
    counters.ReasmOKs++;
    this.#deliver4(iface, ip, toGroup, PLAIN);
  }

  #notWhole(why: string): void {
    const { counters, reassembly } = this.#layer;
    counters.ReasmEvicted = reassembly.evicted;
    if (why === "waiting") return;
    counters.ReasmFails++;
    if (why === "overlap") counters.ReasmOverlaps++;
  }

  /** A whole packet for us. */
  #deliver4(iface: Iface, ip: Ipv4, toGroup: boolean, info: FrameInfo): void {
    const { counters } = this.#layer, { bytes, payloadAt: at, end, proto } = ip;
    const arrival = this.#arrival, [src, dst] = this.#addresses4;
    set32(src, 12, ip.src);
    set32(dst, 12, ip.dst);
    arrival.src = src;
    arrival.dst = dst;
    arrival.ecn = ip.ecn;
    arrival.ttl = ip.ttl;
    arrival.pseudoSum = ip.pseudoSum;
    this.#fill(iface, toGroup, info);
    counters.InDelivers++;
    if (proto === PROTO.icmp) return this.icmp.input4(ip, at, end, arrival, !toGroup);
    if (proto === PROTO.igmp) return this.#layer.groups.igmp(iface, ip);
    const transport = this.#layer.transport(proto);
    if (transport === undefined || toGroup && proto === PROTO.tcp) {
      counters.InUnknownProtos++;
      if (!toGroup) this.#unreachable4(ip, UNREACHABLE.protocol);
      return;
    }
    if (!transport.input(bytes, at, end, arrival, this.#layer.outer) && !toGroup) {
      this.#unreachable4(ip, UNREACHABLE.port);
    }
  }

  #fill(iface: Iface, toGroup: boolean, info: FrameInfo): void {
    const arrival = this.#arrival;
    arrival.link = iface.name;
    arrival.iface = iface;
    arrival.toGroup = toGroup;
    arrival.checksumGood = info.checksum !== CHECKSUM.present;
    arrival.gsoBytes = info.gsoBytes;
  }

  #unreachable4(ip: Ipv4, code: number): void {
    this.#layer.icmpOut.error4(ip.bytes, ip.at, ip.end, { type: ICMP.unreachable, code, rest: 0 });
  }

  #ipv6(iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo, isGroup: boolean): void {
    const ip = this.#ip6, { counters, snoop } = this.#layer;
    if (snoop !== undefined) snoop(iface, false, bytes, at, end);
    counters.InReceives++;
    if (ip.parse(bytes, at, end) !== undefined) {
      counters.InHdrErrors++;
      return;
    }
    const toGroup = bytes[ip.dstAt] === 0xff;
    if (!this.#isSane6(iface, ip) || isGroup && !toGroup) {
      counters.InMartians++;
      counters.InAddrErrors++;
      return;
    }
    if (toGroup ? !this.#isListening6(iface, ip) : !iface.isLoopback && !this.#isSelf6(iface, ip)) {
      if (!toGroup) return this.#forward.input6(iface, ip, info);
      counters.InMulticast++;
      return;
    }
    this.#inside6(iface, ip, toGroup, info);
  }

  #isSane6(iface: Iface, ip: Ipv6): boolean {
    const { bytes, srcAt, dstAt } = ip;
    if (bytes[srcAt] === 0xff) return false;
    if (iface.isLoopback) return true;
    return !isLoopback6(bytes, srcAt) && !isLoopback6(bytes, dstAt) && !isMapped(bytes, srcAt) &&
      !isMapped(bytes, dstAt) &&
      this.#layer.addresses.find6(bytes, srcAt) === undefined;
  }

  #isListening6(iface: Iface, ip: Ipv6): boolean {
    return this.#layer.groups.has(iface, ip.bytes, ip.dstAt);
  }

  /** One of our addresses; a link-local one only on its own link (RFC 4291, 2.5.6). */
  #isSelf6(iface: Iface, ip: Ipv6): boolean {
    const self = this.#layer.addresses.find6(ip.bytes, ip.dstAt);
    return self !== undefined && (self.iface === iface || ip.bytes[ip.dstAt] !== 0xfe);
  }

  /** Walks over the extension headers to what the packet carries. */
  #inside6(iface: Iface, ip: Ipv6, toGroup: boolean, info: FrameInfo): void {
    const chain = this.#chain;
    if (chain.walk(ip) !== undefined) {
      this.#layer.counters.InHdrErrors++;
      if (chain.problem === PARAM.none) return;
      const error = { type: ICMPV6.parameterProblem, code: chain.problem, rest: chain.problemAt - ip.at };
      return this.#layer.icmpOut.error6(ip.bytes, ip.at, ip.end, error, chain.problemToGroup);
    }
    if (chain.fragmentAt >= 0) return this.#fragment6(iface, ip, toGroup);
    this.#deliver6(iface, ip, toGroup, info);
  }

  #fragment6(iface: Iface, ip: Ipv6, toGroup: boolean): void {
    const { counters, reassembly, now, icmpOut } = this.#layer, chain = this.#chain;
    counters.ReasmReqds++;
    const { bytes, end } = ip, at = chain.payloadAt, more = chain.moreFragments(ip), offset = chain.fragmentOffset(ip);
    if (more && (end - at & 7) !== 0) {
      counters.ReasmFails++;
      return icmpOut.error6(bytes, ip.at, end, { type: ICMPV6.parameterProblem, code: PARAM.field, rest: 4 });
    }
    const peer = String.fromCharCode(...bytes.subarray(ip.srcAt, ip.srcAt + 16));
    const key = peer + String.fromCharCode(...bytes.subarray(ip.dstAt, ip.dstAt + 16)) + chain.fragmentId(ip);
    const fragment = { key, peer, offset, more, ecn: ip.ecn, bytes, at, end, headAt: ip.at, headEnd: at };
    const whole = reassembly.add(fragment, iface.index, now + TIMES.reassembly6Ms);
    if (typeof whole === "string") return this.#notWhole(whole);
    const packet = withoutFragmentHeader(whole.bytes, whole.headBytes);
    if (packet.length > 65535 + 40) {
      counters.ReasmFails++;
      return;
    }
    set16(packet, 4, packet.length - 40);
    if (ip.parse(packet, 0, packet.length) !== undefined) {
      counters.ReasmFails++;
      return;
    }
    ip.trafficClass = ip.trafficClass & ~3 | whole.ecn;
    counters.ReasmOKs++;
    // Fragments in fragments have no end.
    if (chain.walk(ip) !== undefined || chain.fragmentAt >= 0) counters.InHdrErrors++;
    else this.#deliver6(iface, ip, toGroup, PLAIN);
  }

  #deliver6(iface: Iface, ip: Ipv6, toGroup: boolean, info: FrameInfo): void {
    const { counters } = this.#layer, chain = this.#chain, { bytes, end } = ip, { proto, payloadAt: at } = chain;
    const arrival = this.#arrival, [src, dst] = this.#addresses6;
    for (let i = 0; i < 16; i++) {
      src[i] = bytes[ip.srcAt + i];
      dst[i] = bytes[ip.dstAt + i];
    }
    arrival.src = src;
    arrival.dst = dst;
    arrival.ecn = ip.ecn;
    arrival.ttl = ip.hopLimit;
    arrival.pseudoSum = ip.pseudoSum(proto, end - at);
    this.#fill(iface, toGroup, info);
    counters.InDelivers++;
    if (proto === PROTO.icmpv6) return this.icmp.input6(iface, ip, at, arrival, !toGroup);
    if (proto === PROTO.none) return;
    const transport = this.#layer.transport(proto);
    if (transport === undefined || toGroup && proto === PROTO.tcp || isUnspecified(src) && proto === PROTO.tcp) {
      counters.InUnknownProtos++;
      const rest = chain.nextAt - ip.at;
      if (!toGroup) {
        const error = { type: ICMPV6.parameterProblem, code: PARAM.next, rest };
        this.#layer.icmpOut.error6(bytes, ip.at, end, error);
      }
      return;
    }
    if (transport.input(bytes, at, end, arrival, this.#layer.outer) || toGroup) return;
    const error = { type: ICMPV6.unreachable, code: UNREACHABLE6.port, rest: 0 };
    this.#layer.icmpOut.error6(bytes, ip.at, end, error);
  }

  /** Tells who sent fragments that the rest of them never came. */
  expire(now: number): void {
    const { reassembly, counters, icmpOut } = this.#layer;
    for (const { head, data } of reassembly.poll(now)) {
      counters.ReasmFails++;
      if (head === undefined || data === undefined) continue;
      const bytes = new Uint8Array(head.length + data.length);
      bytes.set(head);
      bytes.set(data, head.length);
      const rest = 0;
      icmpOut.error(
        bytes,
        0,
        bytes.length,
        { type: ICMP.timeExceeded, code: EXCEEDED.reassembly, rest },
        { type: ICMPV6.timeExceeded, code: EXCEEDED.reassembly, rest },
      );
    }
  }
}

/** Takes the fragment header out, the last 8 bytes of the head, and tells the header before it what follows now. */
function withoutFragmentHeader(bytes: Uint8Array, headBytes: number): Uint8Array {
  const fragmentAt = headBytes - FRAGMENT_BYTES, next = bytes[fragmentAt];
  let field = 6, at = 40;
  while (bytes[field] !== EXTENSION.fragment && at < fragmentAt) {
    const length = bytes[field] === EXTENSION.auth ? (bytes[at + 1] + 2) * 4 : (bytes[at + 1] + 1) * 8;
    field = at;
    at += length;
  }
  bytes[field] = next;
  bytes.copyWithin(fragmentAt, headBytes);
  return bytes.subarray(0, bytes.length - FRAGMENT_BYTES);
}

function isLoopback6(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 15; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 15] === 1;
}

/** ::ffff:a.b.c.d is no address on a wire. */
function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}
