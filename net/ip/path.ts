/**
 * The way to a destination: route, neighbour and MTU (Hop), and with a source address on top what transports send by (PathEntry).
 *
 * Layer: net/ip, under output.ts. What holds always: a hop or path that is older than the layer's `version` is looked up
 * again before it is used, so that it never outlives a route, an address or an interface; whoever holds one may keep it.
 *
 * See RFC 1122, 3.3.1; RFC 4861, 5.2 (the destination cache), RFC 1191 and RFC 8201 (path MTU).
 */

import {
  BROADCAST4,
  BROADCAST_MAC,
  type Ip,
  ipv4Of,
  isIpv4,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  multicastMac,
} from "../addr.ts";
import { pseudoSum4, pseudoSum6, sum } from "../checksum.ts";
import type { NoPath, Path } from "../tcp/lower.ts";
import { emitEthernet, ETHERNET_BYTES, ETHERTYPE } from "../wire/ethernet.ts";
import { emitIpv4, IPV4_BYTES } from "../wire/ipv4.ts";
import { emitIpv6, IPV6_BYTES } from "../wire/ipv6.ts";
import { put, set16, set32 } from "../wire/packet.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import type { Neighbor } from "./neighbors.ts";

/** The way to one destination. */
export class Hop {
  iface!: Iface;
  /** Who is sent to; undefined where nobody has to be found: groups, broadcasts, lines without Ethernet. */
  neighbor: Neighbor | undefined;
  nextHop!: Ip;
  /** With no neighbour: where the frames go. */
  mac: Uint8Array = BROADCAST_MAC;
  mtu = 0;
  /** To more than one host: no ICMP error is about it. */
  isGroup = false;
  isBroadcast = false;
  version = -1;
  fault: NoPath | undefined;

  constructor(readonly layer: IpLayer, readonly dst: Ip, readonly via: Iface | undefined) {}

  /** Brings it up to date; answers why there is no way. */
  refresh(): NoPath | undefined {
    if (this.version !== this.layer.version) {
      this.version = this.layer.version;
      this.fault = this.#resolve();
    }
    return this.fault;
  }

  /** Its destination's bytes have become another address. */
  forget(): void {
    this.version = -1;
  }

  /** Whether frames can be sent to it at once. If not, packets are held and the neighbour is asked for. */
  ready(now: number): boolean {
    let { neighbor } = this;
    if (neighbor === undefined) return true;
    if (neighbor.gone) this.neighbor = neighbor = this.layer.neighbors.find(this.iface, this.nextHop);
    return neighbor.state === "reachable" && now < neighbor.at || this.layer.neighbors.ready(neighbor, now);
  }

  /** Where frames go now. */
  get to(): Uint8Array {
    return this.neighbor === undefined ? this.mac : this.neighbor.mac;
  }

  #resolve(): NoPath | undefined {
    const { layer, dst } = this;
    this.neighbor = undefined;
    this.isGroup = this.isBroadcast = false;
    if (isUnspecified(dst)) return "no route";
    const self = layer.addresses.find(dst);
    if (self?.kind === "unicast" || isLoopback(dst)) return this.#through(layer.loopback, dst);
    if (self?.kind === "broadcast") return this.#broadcast(self.iface);
    if (isIpv4(dst) && ipv4Of(dst) === BROADCAST4) return this.#broadcast(this.via ?? layer.defaultIface(true));
    if (isMulticast(dst)) return this.#multicast();
    if (isLinkLocal(dst) && !isIpv4(dst)) {
      const iface = this.via ?? layer.defaultIface(false);
      return iface === undefined ? "no route" : this.#through(iface, dst);
    }
    const route = layer.routes.lookup(dst, layer.isUsable);
    const iface = route && layer.iface(route.iface);
    return iface === undefined ? "no route" : this.#through(iface, route!.gateway ?? dst);
  }

  #through(iface: Iface, nextHop: Ip): undefined {
    this.iface = iface;
    this.nextHop = nextHop;
    const told = isIpv4(this.dst) || iface.params.linkmtu === 0 ? Infinity : iface.params.linkmtu;
    this.mtu = Math.min(iface.mtu, told, this.layer.pathMtus.of(this.dst) ?? Infinity);
    if (iface.isEther) this.neighbor = this.layer.neighbors.find(iface, nextHop);
  }

  #broadcast(iface: Iface | undefined): NoPath | undefined {
    if (iface === undefined) return "no route";
    this.isGroup = this.isBroadcast = true;
    this.#group(iface, BROADCAST_MAC);
  }

  #multicast(): NoPath | undefined {
    const { layer, dst } = this;
    const route = this.via === undefined ? layer.routes.lookup(dst) : undefined;
    const iface = this.via ?? (route && layer.iface(route.iface)) ?? layer.defaultIface(isIpv4(dst));
    if (iface === undefined) return "no route";
    this.isGroup = true;
    this.#group(iface, multicastMac(dst));
  }

  #group(iface: Iface, mac: Uint8Array): void {
    this.iface = iface;
    this.nextHop = this.dst;
    this.mac = mac;
    this.mtu = iface.mtu;
  }
}

const pseudoScratch = new Uint8Array(32);

/** What transports send by. */
export class PathEntry implements Path {
  readonly v6: boolean;
  readonly headerBytes: number;
  readonly hop: Hop;
  /** The link's and IP's headers as they are but for lengths, id, DSCP and ECN, protocol and checksum. */
  template: Uint8Array = new Uint8Array(0);
  /** Sum of IPv4's header in the template, without its second to sixth fields. */
  headSum = 0;
  /** Bytes of the template. */
  overhead = 0;
  /** Whether there is a way, and the source is still an address of this host. */
  isUsable = false;
  /** What identifies fragments: begins anywhere, so that it tells nothing, and repeats late. */
  nextId: number;
  #version = -1;
  /** Whose MAC address the template has, and which of its addresses. */
  #neighbor: Neighbor | undefined;
  #neighborVersion = -1;
  #addressSum: number;

  constructor(readonly layer: IpLayer, readonly remote: Ip, readonly local: Ip, via: Iface | undefined) {
    this.v6 = !isIpv4(remote);
    this.headerBytes = this.v6 ? IPV6_BYTES : IPV4_BYTES;
    this.hop = new Hop(layer, remote, via);
    this.nextId = layer.chance.next();
    this.#addressSum = this.#sumAddresses();
  }

  #sumAddresses(): number {
    const { local, remote } = this;
    if (!this.v6) return pseudoSum4(ipv4Of(local), ipv4Of(remote), 0, 0);
    put(pseudoScratch, 0, local);
    put(pseudoScratch, 16, remote);
    return pseudoSum6(pseudoScratch, 0, 0, 0);
  }

  /** Makes it the path between other addresses of the same version; nobody else may hold it. */
  turnTo(remote: Ip, local: Ip): void {
    this.remote.set(remote);
    this.local.set(local);
    this.hop.forget();
    this.#version = -1;
    this.#addressSum = this.#sumAddresses();
  }

  /** Brings it up to date; answers whether packets can be sent by it. */
  refresh(): boolean {
    if (this.#version === this.layer.version) return this.isUsable;
    this.#version = this.layer.version;
    this.isUsable = this.hop.refresh() === undefined && this.#isOurs();
    if (this.isUsable) this.#build();
    return this.isUsable;
  }

  /** Whether frames can be sent at once; the template is right then. */
  ready(now: number): boolean {
    const { hop } = this;
    if (hop.neighbor === undefined) return true;
    if (!hop.ready(now)) return false;
    if (hop.neighbor !== this.#neighbor || hop.neighbor.version !== this.#neighborVersion) this.#build();
    return true;
  }

  #isOurs(): boolean {
    const { local } = this;
    return isUnspecified(local) || isLoopback(local) || this.layer.addresses.find(local)?.kind === "unicast";
  }

  get mtu(): number {
    this.refresh();
    return this.hop.mtu;
  }

  get gsoMaxBytes(): number {
    this.refresh();
    const max = this.hop.fault === undefined ? this.hop.iface.link.gsoMaxBytes : 0;
    return max === 0 ? 0 : max - this.headerBytes;
  }

  get checksumOffload(): boolean {
    this.refresh();
    return this.hop.fault === undefined && this.hop.iface.link.checksumOffload;
  }

  get loopback(): boolean {
    this.refresh();
    return this.hop.fault === undefined && this.hop.iface.isLoopback;
  }

  pseudoSum(proto: number, bytes: number): number {
    const total = this.#addressSum + proto + (bytes >>> 16) + (bytes & 0xffff);
    return (total & 0xffff) + (total >>> 16);
  }

  #build(): void {
    const { hop, headerBytes } = this, { iface } = hop;
    this.#neighbor = hop.neighbor;
    this.#neighborVersion = hop.neighbor?.version ?? -1;
    this.overhead = iface.linkBytes + headerBytes;
    if (this.template.length !== this.overhead) this.template = new Uint8Array(this.overhead);
    const bytes = this.template;
    let at = 0;
    if (iface.linkBytes === ETHERNET_BYTES) {
      const type = this.v6 ? ETHERTYPE.ipv6 : ETHERTYPE.ipv4;
      at = emitEthernet(bytes, 0, { dst: hop.to, src: iface.link.mac, type });
    }
    if (this.v6) return this.#build6(bytes, at);
    emitIpv4(bytes, at, {
      tos: 0,
      id: 0,
      dontFragment: false,
      moreFragments: false,
      fragmentOffset: 0,
      ttl: this.ttl,
      proto: 0,
      src: ipv4Of(this.local),
      dst: ipv4Of(this.remote),
      payloadBytes: 0,
    });
    this.headSum = 0x4500 + sum(bytes, at + 12, at + 20);
  }

  #build6(bytes: Uint8Array, at: number): void {
    const flowLabel = this.layer.flowLabel(this);
    emitIpv6(bytes, at, {
      trafficClass: 0,
      flowLabel,
      next: 0,
      hopLimit: this.ttl,
      src: this.local,
      dst: this.remote,
      payloadBytes: 0,
    });
  }

  /** The hop limit where none was said: 1 to groups (RFC 1112, 6.1). */
  get ttl(): number {
    const { hop } = this;
    return hop.isGroup && !hop.isBroadcast ? 1 : hop.iface.hopLimit;
  }

  /**
   * Writes IP's and the link's headers in front of a transport packet of `bytes` at `at`. `tos` has DSCP and ECN; `id` and
   * `flags` are IPv4's (0x4000: DF).
   */
  emit(buf: Uint8Array, at: number, proto: number, bytes: number, tos: number, ttl: number, id: number, flags: number) {
    const { template, overhead } = this, start = at - overhead;
    for (let i = 0; i < overhead; i++) buf[start + i] = template[i];
    const ip = at - this.headerBytes;
    if (this.v6) {
      if (tos !== 0) {
        buf[ip] |= tos >>> 4;
        buf[ip + 1] |= (tos & 15) << 4;
      }
      set16(buf, ip + 4, bytes);
      buf[ip + 6] = proto;
      if (ttl !== 0) buf[ip + 7] = ttl;
      return;
    }
    const hops = ttl === 0 ? buf[ip + 8] : ttl, total = IPV4_BYTES + bytes;
    let check = this.headSum + tos + total + id + flags + (hops << 8 | proto);
    check = (check & 0xffff) + (check >>> 16);
    check = ~((check & 0xffff) + (check >>> 16)) & 0xffff;
    buf[ip + 1] = tos;
    set32(buf, ip + 2, total << 16 | id);
    set16(buf, ip + 6, flags);
    buf[ip + 8] = hops;
    buf[ip + 9] = proto;
    set16(buf, ip + 10, check);
  }
}
