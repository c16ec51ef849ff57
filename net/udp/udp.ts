/**
 * UDP: its conversations, and which of them a datagram is for.
 *
 * Layer: net/udp, above net/ip. A datagram goes to the conversation that is connected to its sender; else to one that is
 * announced on its local address; else to one on any. One to a group goes to all who joined it, one to all to all who have the port.
 * Who has joined groups may have the same port as others who have (mDNS, SSDP); what is sent to none then goes to the first.
 *
 * See RFC 768, RFC 1122, 4.1; RFC 6056 (ports), RFC 5927 (ICMP), RFC 8200, 8.1 (checksum 0).
 */

import { Err } from "../../core/err.ts";
import { type Ip, isIpv4, isMulticast, isUnspecified, sameIp } from "../addr.ts";
import { hashIp } from "../ip/ip_map.ts";
import type { Iface } from "../ip/iface.ts";
import { udpCounters } from "../ip/counters.ts";
import type { IpArrival } from "../ip/input.ts";
import type { IpLayer } from "../ip/layer.ts";
import type { PathEntry } from "../ip/path.ts";
import type { Arrival, Transport, Trouble } from "../tcp/lower.ts";
import { PROTO } from "../wire/ipv4.ts";
import { get16 } from "../wire/packet.ts";
import { Udp as UdpView } from "../wire/udp.ts";
import { UdpConv } from "./conv.ts";
import type { Ends } from "./queue.ts";

/** Conversations at the most. */
export const MAX_UDP_CONVS = 4096;

/** Ports that are given to who asks for any (RFC 6335, 6). */
const FIRST_PORT = 49152, PORTS = 65536 - FIRST_PORT;

export class Udp implements Transport {
  counters = udpCounters();
  readonly layer: IpLayer;
  readonly #view = new UdpView();
  readonly #convs = new Map<UdpConv, number>();
  /** Those that are not connected, by port. */
  readonly #ports = new Map<number, UdpConv[]>();
  /** Those that are, by both ends. */
  readonly #connected = new Map<number, UdpConv[]>();
  readonly #ends: Ends;
  readonly #salt: number;
  #touched = new Set<UdpConv>();
  #nextId = 1;
  /** What `#addressOf` answered last, and for what. */
  #seen: { version: number; iface: Iface | undefined; v4: boolean; ip: Ip } = {
    version: -1,
    iface: undefined,
    v4: false,
    ip: new Uint8Array(16),
  };

  constructor(layer: IpLayer) {
    this.layer = layer;
    this.#salt = layer.chance.next();
    const none = new Uint8Array(16);
    this.#ends = { remote: none, local: none, iface: none, remotePort: 0, localPort: 0 };
    layer.setTransport(PROTO.udp, this);
  }

  /** A new conversation. */
  open(): UdpConv {
    if (this.#convs.size >= MAX_UDP_CONVS) throw new Err("ENFILE", "too many UDP conversations");
    const conv = new UdpConv(this);
    this.#convs.set(conv, this.#nextId++);
    return conv;
  }

  get convs(): Iterable<UdpConv> {
    return this.#convs.keys();
  }

  /** What names a conversation in a saved state. */
  idOf(conv: UdpConv): number {
    return this.#convs.get(conv) ?? 0;
  }

  input(bytes: Uint8Array, at: number, end: number, arrival: Arrival, _now: number): boolean {
    const view = this.#view, { counters } = this;
    if (view.parse(bytes, at, end) !== undefined) {
      counters.InErrors++;
      return true;
    }
    if (!this.#checksumOk(arrival, end)) {
      counters.InErrors++;
      counters.InCsumErrors++;
      return true;
    }
    const { iface, toGroup } = arrival as IpArrival;
    const ends = this.#ends;
    ends.remote = arrival.src;
    ends.local = arrival.dst;
    ends.remotePort = view.srcPort;
    ends.localPort = view.dstPort;
    ends.iface = this.#addressOf(iface, arrival.dst);
    if (toGroup) return this.#inputGroup(arrival as IpArrival);
    const conv = this.#find(arrival.dst, ends.localPort, arrival.src, ends.remotePort);
    if (conv === undefined) {
      counters.NoPorts++;
      return false;
    }
    this.#take(conv, arrival);
    return true;
  }

  trouble(trouble: Trouble, _now: number): boolean {
    const { bytes, at, local, remote, kind } = trouble;
    const conv = this.#find(local, get16(bytes, at), remote, get16(bytes, at + 2));
    if (conv === undefined || !conv.sentTo(remote)) return false;
    conv.advise(kind);
    return true;
  }

  /** Notes that a conversation's user has something to be told. */
  touch(conv: UdpConv): void {
    this.#touched.add(conv);
  }

  /** Tells users what has happened since the last time. */
  poll(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    for (const conv of touched) conv.onChange();
  }

  /** Whether there is somebody to be told. */
  get isPending(): boolean {
    return this.#touched.size > 0;
  }

  /** Whether what is sent by the path is for this host too. */
  isHeardHere({ hop, remote }: PathEntry): boolean {
    return hop.isBroadcast || hop.iface.groups.get(remote) !== undefined;
  }

  /** Gives a datagram that was sent to a group or to all to those on this host. */
  echo(path: PathEntry, bytes: Uint8Array): void {
    const { iface } = path.hop;
    const arrival: IpArrival = {
      src: path.local,
      dst: path.remote,
      link: iface.name,
      ecn: 0,
      ttl: 1,
      checksumGood: true,
      gsoBytes: 0,
      pseudoSum: 0,
      toGroup: true,
      iface,
    };
    this.input(bytes, 0, bytes.length, arrival, this.layer.outer);
  }

  /** Puts a conversation into the tables; false when another one has the same ends. */
  add(conv: UdpConv): boolean {
    if (conv.state === "Connected") {
      const key = this.#key(conv.remote, conv.remotePort, conv.localPort), list = this.#connected.get(key) ?? [];
      if (list.some((other) => isPair(other, conv.local, conv.localPort, conv.remote, conv.remotePort))) return false;
      this.#connected.set(key, [...list, conv]);
      return true;
    }
    const list = this.#ports.get(conv.localPort) ?? [];
    if (list.some((other) => overlaps(other.local, conv.local) && !(other.sharesPort && conv.sharesPort))) return false;
    this.#ports.set(conv.localPort, [...list, conv]);
    return true;
  }

  remove(conv: UdpConv): void {
    if (conv.localPort === 0) return;
    drop(this.#ports, conv.localPort, conv);
    if (conv.state === "Connected") {
      drop(this.#connected, this.#key(conv.remote, conv.remotePort, conv.localPort), conv);
    }
  }

  /** Takes a conversation off the list. */
  forget(conv: UdpConv): void {
    this.#convs.delete(conv);
    this.#touched.delete(conv);
  }

  /** A port that nobody has, chosen at random. */
  freePort(local: Ip): number {
    const first = this.layer.chance.below(PORTS);
    for (let i = 0; i < PORTS; i++) {
      const port = FIRST_PORT + (first + i) % PORTS;
      if (!this.#ports.get(port)?.some((other) => overlaps(other.local, local)) && !this.#isConnected(port)) {
        return port;
      }
    }
    throw new Err("EADDRINUSE", "no port is free");
  }

  save() {
    return { counters: { ...this.counters }, nextId: this.#nextId, convs: [...this.convs].map((conv) => conv.save()) };
  }

  /** Goes on from a saved state; answers the conversations by the ids that they had. */
  restore(saved: SavedUdp): Map<number, UdpConv> {
    const byId = new Map<number, UdpConv>();
    Object.assign(this.counters, saved.counters);
    for (const state of saved.convs) {
      const conv = new UdpConv(this);
      this.#convs.set(conv, state.id);
      conv.restore(state);
      if (conv.isReadable) this.touch(conv);
      byId.set(state.id, conv);
    }
    this.#nextId = saved.nextId;
    return byId;
  }

  /** The pseudo-header that IP summed has the length of all that it carries; UDP's is its own. */
  #checksumOk(arrival: Arrival, end: number): boolean {
    const view = this.#view;
    if (arrival.checksumGood) return true;
    if (view.check === 0) return isIpv4(arrival.dst);
    return view.checksumOk((arrival.pseudoSum + 0xffff - (end - view.end)) % 0xffff);
  }

  /** An address of the interface, of the version of `dst`. */
  #addressOf(iface: Iface, dst: Ip): Ip {
    const seen = this.#seen, { version } = this.layer, v4 = isIpv4(dst);
    if (seen.version === version && seen.iface === iface && seen.v4 === v4) return seen.ip;
    this.#seen = { version, iface, v4, ip: iface.anyAddress(v4)?.ip ?? dst.slice() };
    return this.#seen.ip;
  }

  #inputGroup(arrival: IpArrival): boolean {
    const { dst, src, iface } = arrival, { localPort, remotePort } = this.#ends;
    const toMulticast = isMulticast(dst);
    for (const conv of this.#ports.get(localPort) ?? []) {
      const isMember = conv.memberships.some((m) => m.iface === iface.index && sameIp(m.group, dst));
      const isFor = toMulticast ? isMember : isUnspecified(conv.local) || sameIp(conv.local, dst);
      if (isFor && (!toMulticast || overlaps(conv.local, dst) || !isMulticast(conv.local))) this.#take(conv, arrival);
    }
    for (const conv of this.#connected.get(this.#key(src, remotePort, localPort)) ?? []) {
      const isMember = conv.memberships.some((m) => m.iface === iface.index && sameIp(m.group, dst));
      const isPeer = conv.localPort === localPort && conv.remotePort === remotePort && sameIp(conv.remote, src);
      if (isPeer && (isMember || !toMulticast)) this.#take(conv, arrival);
    }
    return true;
  }

  /** Queues a datagram, or several that were merged into one packet. */
  #take(conv: UdpConv, { ttl, ecn, gsoBytes }: Arrival): void {
    const { bytes, payloadAt, end } = this.#view, { counters } = this;
    const step = gsoBytes > 0 && gsoBytes < end - payloadAt ? gsoBytes : Math.max(end - payloadAt, 1);
    let at = payloadAt;
    do {
      const isTaken = conv.take(this.#ends, ttl, ecn, bytes, at, Math.min(end, at + step));
      if (isTaken) counters.InDatagrams++;
      else counters.RcvbufErrors++;
      at += step;
    } while (at < end);
  }

  #find(local: Ip, localPort: number, remote: Ip, remotePort: number): UdpConv | undefined {
    if (this.#connected.size > 0) {
      const list = this.#connected.get(this.#key(remote, remotePort, localPort));
      const pair = list?.find((conv) => isPair(conv, local, localPort, remote, remotePort));
      if (pair !== undefined) return pair;
    }
    let any: UdpConv | undefined;
    for (const conv of this.#ports.get(localPort) ?? []) {
      if (sameIp(conv.local, local)) return conv;
      if (isUnspecified(conv.local) && overlaps(conv.local, local)) any ??= conv;
    }
    return any;
  }

  #isConnected(port: number): boolean {
    for (const conv of this.#convs.keys()) if (conv.localPort === port) return true;
    return false;
  }

  #key(remote: Ip, remotePort: number, localPort: number): number {
    return hashIp(remote, 0, this.#salt) ^ remotePort << 16 ^ localPort;
  }
}

export type SavedUdp = ReturnType<Udp["save"]>;

function drop(table: Map<number, UdpConv[]>, key: number, conv: UdpConv): void {
  const left = table.get(key)?.filter((other) => other !== conv);
  if (left === undefined) return;
  if (left.length === 0) table.delete(key);
  else table.set(key, left);
}

function isPair(conv: UdpConv, local: Ip, localPort: number, remote: Ip, remotePort: number): boolean {
  return conv.localPort === localPort && conv.remotePort === remotePort && sameIp(conv.remote, remote) &&
    sameIp(conv.local, local);
}

/** Whether one datagram could be for both: `::` is every address, `0.0.0.0` every one of IPv4. */
function overlaps(a: Ip, b: Ip): boolean {
  if (sameIp(a, b)) return true;
  const isAny = (one: Ip, other: Ip) => isUnspecified(one) && (!isIpv4(one) || isIpv4(other));
  return isAny(a, b) || isAny(b, a);
}
