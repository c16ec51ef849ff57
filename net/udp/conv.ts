/**
 * One UDP conversation: connected to a peer, or announced on a port, with a bounded queue of what came.
 *
 * Layer: net/udp, under plugins that serve it as files. Errors of the file boundary are `Err`s; a link that is full is not one:
 * the datagram is dropped, as everywhere on its way.
 * What holds always: a conversation is in UDP's tables exactly while it has a local port.
 *
 * See RFC 768, RFC 1122, 4.1; RFC 8085; ip(3) of Plan 9 (udp).
 */

import { type Code, Err } from "../../core/err.ts";
import {
  BROADCAST4,
  formatIp,
  type Ip,
  ipFromV4,
  ipv4Of,
  isIpv4,
  isMulticast,
  isUnspecified,
  sameIp,
  UNSPECIFIED,
} from "../addr.ts";
import type { Iface } from "../ip/iface.ts";
import type { PathEntry } from "../ip/path.ts";
import type { SendOptions, Trouble } from "../tcp/lower.ts";
import { PROTO } from "../wire/ipv4.ts";
import { emitUdp, UDP_BYTES } from "../wire/udp.ts";
import { DatagramQueue, type Ends } from "./queue.ts";
import type { Udp } from "./udp.ts";

/** Bytes that a conversation may have waiting. */
export const UDP_QUEUE_BYTES = 256 * 1024;

/** Datagrams that IP's length fields can say. */
const MAX4 = 65507, MAX6 = 65527;

const LOOPBACK4 = ipFromV4(0x7f000001);
const LOOPBACK6 = UNSPECIFIED.slice();
LOOPBACK6[15] = 1;

/** A group that a conversation listens to. */
export interface Membership {
  group: Ip;
  iface: number;
}

/** Which file error an ICMP error is. */
const CODES: Partial<Record<Trouble["kind"], Code>> = {
  "port unreachable": "ECONNREFUSED",
  "protocol unreachable": "ECONNREFUSED",
  "host unreachable": "EHOSTUNREACH",
  "net unreachable": "ENETUNREACH",
  "prohibited": "EACCES",
};

export class UdpConv {
  local: Ip = UNSPECIFIED;
  localPort = 0;
  remote: Ip = UNSPECIFIED;
  remotePort = 0;
  state: "Closed" | "Announced" | "Connected" = "Closed";
  /** Every datagram has Plan 9's 52 bytes in front, and is sent where they say. */
  headers = false;
  /** ICMP errors are not told. */
  ignoreAdvice = false;
  /** It may send to all (SO_BROADCAST); in headers mode it always may. */
  broadcast = false;
  /** Datagrams that are larger than the path are not sent in fragments. */
  dontFragment = false;
  /** The interface to send by where there is a choice (groups, 255.255.255.255, link-local peers); 0: what routes say. */
  iface = 0;
  queue = new DatagramQueue(UDP_QUEUE_BYTES);
  /** Datagrams that found the queue full. */
  drops = 0;
  memberships: Membership[] = [];
  /** Called in `poll` when there is something to read, or an error. */
  onChange: () => void = () => {};
  readonly #udp: Udp;
  readonly #options: SendOptions = { gsoBytes: 0, headerBytes: 0, ecn: 0, ttl: 0, dontFragment: false };
  #error: Err | undefined;
  #path: PathEntry | undefined;
  /** What the path was looked up for. */
  #pathLocal: Ip = UNSPECIFIED;
  #pathIface = 0;

  constructor(udp: Udp) {
    this.#udp = udp;
  }

  /** Hop limit of what is sent; 0: IP's own. */
  get ttl(): number {
    return this.#options.ttl;
  }
  set ttl(ttl: number) {
    this.#options.ttl = ttl;
  }

  /** DSCP and ECN of what is sent. */
  get tos(): number {
    return this.#options.ecn;
  }
  set tos(tos: number) {
    this.#options.ecn = tos;
  }

  /** Whether others that listen to groups may have its port too. */
  get sharesPort(): boolean {
    return this.memberships.length > 0 || isMulticast(this.local);
  }

  /** Takes `local` and `port` for its own; port 0: any that is free. */
  announce(port: number, local: Ip = UNSPECIFIED): void {
    if (this.state !== "Closed") throw new Err("EBUSY", "the conversation is in use already");
    this.#bind(port, local);
    this.state = "Announced";
  }

  /** Talks to one peer alone. An unspecified remote is this host. */
  connect(remote: Ip, remotePort: number, local: Ip = UNSPECIFIED, localPort = 0): void {
    if (this.state === "Connected") throw new Err("EBUSY", "the conversation is in use already");
    if (remotePort === 0) throw new Err("EINVAL", "port 0 can not be connected to");
    if (isUnspecified(remote)) remote = isIpv4(remote) ? LOOPBACK4 : LOOPBACK6;
    const path = this.#find(remote, isUnspecified(local) ? this.local : local);
    const wanted = localPort === 0 ? this.localPort : localPort;
    this.#udp.remove(this);
    this.remote = remote.slice();
    this.remotePort = remotePort;
    this.local = path.local;
    this.localPort = wanted === 0 ? this.#udp.freePort(path.local) : wanted;
    this.state = "Connected";
    if (!this.#udp.add(this)) {
      this.#reset();
      throw new Err("EADDRINUSE", `the conversation with ${formatIp(remote)}!${remotePort} is there already`);
    }
  }

  /** The local end alone: for a conversation that sends where each datagram says. */
  bind(port: number, local: Ip = UNSPECIFIED): void {
    if (this.localPort !== 0) throw new Err("EBUSY", "the conversation has a local port already");
    this.#bind(port, local);
  }

  /**
   * Sends bytes [at, end) to who is connected, or to `to`. What can be known to fail throws; a datagram that a full link drops
   * does not.
   */
  send(bytes: Uint8Array, at: number, end: number, now: number, to?: Partial<Ends>): void {
    this.#udp.layer.at(now);
    this.#throwError();
    const remote = to?.remote ?? this.remote, port = to?.remotePort ?? this.remotePort;
    if (port === 0) throw new Err("ENOTCONN", "the datagram has no destination: connect first, or set headers");
    if (this.localPort === 0) this.#bind(0, UNSPECIFIED);
    if (end - at > (isIpv4(remote) ? MAX4 : MAX6)) throw new Err("EMSGSIZE");
    const local = to?.local !== undefined && !isUnspecified(to.local) ? to.local : this.local;
    const path = this.#find(remote, this.#isGroup(local) ? UNSPECIFIED : local, to?.iface);
    if (path.hop.isBroadcast && !this.broadcast && !this.headers) {
      throw new Err("EACCES", "sending to all is off: write `broadcast on` to ctl");
    }
    if (this.dontFragment && UDP_BYTES + end - at + path.headerBytes > path.mtu) throw new Err("EMSGSIZE");
    this.#emit(path, bytes, at, end, port, to?.localPort || this.localPort);
  }

  /** Takes the next datagram, as much as fits into [at, end); -1 when there is none. An ICMP error that came throws, once. */
  recv(into: Uint8Array, at: number, end: number): number {
    if (this.queue.count === 0) this.#throwError();
    return this.queue.pop(into, at, end, this.headers);
  }

  /** Whether an ICMP error waits to be told. */
  get hasError(): boolean {
    return this.#error !== undefined;
  }

  /** Whether `recv` has something to give, an error too. */
  get isReadable(): boolean {
    return this.queue.count > 0 || this.#error !== undefined;
  }

  /** Listens to a group on an interface: that which has the address `on`, or that which leads to the group. */
  join(group: Ip, on: Ip = UNSPECIFIED): void {
    const iface = this.#ifaceFor(group, on);
    if (this.memberships.some((m) => m.iface === iface.index && sameIp(m.group, group))) return;
    if (!isMulticast(group)) throw new Err("EINVAL", `${formatIp(group)} is no multicast address`);
    if (!this.#udp.layer.groups.join(iface, group)) throw new Err("ENOSPC", "too many groups");
    this.memberships.push({ group: group.slice(), iface: iface.index });
  }

  leave(group: Ip, on: Ip = UNSPECIFIED): void {
    const iface = this.#ifaceFor(group, on);
    const i = this.memberships.findIndex((m) => m.iface === iface.index && sameIp(m.group, group));
    if (i < 0) throw new Err("EADDRNOTAVAIL", `not in the group ${formatIp(group)}`);
    this.memberships.splice(i, 1);
    this.#udp.layer.groups.leave(iface, group);
  }

  close(): void {
    for (const { group, iface } of this.memberships) {
      const left = this.#udp.layer.iface(iface);
      if (left !== undefined) this.#udp.layer.groups.leave(left, group);
    }
    this.memberships = [];
    this.#udp.remove(this);
    this.#udp.forget(this);
    this.#reset();
    this.queue.clear();
    this.#error = undefined;
  }

  /** A datagram for it; for udp.ts. */
  take(ends: Ends, ttl: number, tos: number, bytes: Uint8Array, at: number, end: number): boolean {
    const wasEmpty = this.queue.count === 0;
    if (!this.queue.push(ends, ttl, tos, bytes, at, end)) {
      this.drops++;
      return false;
    }
    if (wasEmpty) this.#udp.touch(this);
    return true;
  }

  /** An ICMP error about what it sent; for udp.ts. */
  advise(kind: Trouble["kind"]): void {
    const code = CODES[kind];
    if (code === undefined || this.ignoreAdvice || this.state !== "Connected") return;
    this.#error = new Err(code);
    this.#udp.touch(this);
  }

  /** Whether the last datagram went to `remote`: what ICMP says of others is not believed. */
  sentTo(remote: Ip): boolean {
    return this.#path !== undefined && sameIp(this.#path.remote, remote);
  }

  save() {
    const {
      local,
      localPort,
      remote,
      remotePort,
      state,
      headers,
      ignoreAdvice,
      broadcast,
      iface,
      dontFragment,
      drops,
      ttl,
      tos,
    } = this;
    return {
      id: this.#udp.idOf(this),
      local: local.slice(),
      localPort,
      remote: remote.slice(),
      remotePort,
      state,
      headers,
      ignoreAdvice,
      broadcast,
      iface,
      dontFragment,
      drops,
      ttl,
      tos,
      error: this.#error?.code,
      memberships: structuredClone(this.memberships),
      queue: this.queue.save(),
    };
  }

  /** Becomes what was saved. Groups stay joined in what IP saved of its interfaces. */
  restore(saved: SavedUdpConv): void {
    const { error, queue, id: _id, ...rest } = structuredClone(saved);
    Object.assign(this, rest);
    this.queue = DatagramQueue.restore(queue);
    this.#error = error === undefined ? undefined : new Err(error);
    if (this.localPort !== 0) this.#udp.add(this);
  }

  #bind(port: number, local: Ip): void {
    const { addresses } = this.#udp.layer;
    const isOurs = isUnspecified(local) || isMulticast(local) || addresses.find(local) !== undefined ||
      isIpv4(local) && ipv4Of(local) >>> 24 === 127;
    if (!isOurs) throw new Err("EADDRNOTAVAIL", `not a local IP address: ${formatIp(local)}`);
    this.local = local.slice();
    this.localPort = port === 0 ? this.#udp.freePort(local) : port;
    if (this.#udp.add(this)) return;
    this.#reset();
    throw new Err("EADDRINUSE", `port ${port} is in use`);
  }

  #reset(): void {
    this.local = this.remote = UNSPECIFIED;
    this.localPort = this.remotePort = 0;
    this.state = "Closed";
    this.#path = undefined;
  }

  #throwError(): void {
    const error = this.#error;
    if (error === undefined) return;
    this.#error = undefined;
    throw error;
  }

  /** Whether nothing can be sent from the address, because it is that of many. */
  #isGroup(ip: Ip): boolean {
    return isMulticast(ip) || isIpv4(ip) && ipv4Of(ip) === BROADCAST4 ||
      this.#udp.layer.addresses.find(ip)?.kind === "broadcast";
  }

  /** The path to a peer: the last one, if it is the same. */
  #find(remote: Ip, local: Ip, on?: Ip): PathEntry {
    const last = this.#path;
    const isSame = last !== undefined && on === undefined && sameIp(last.remote, remote) &&
      sameIp(this.#pathLocal, local) && this.#pathIface === this.iface;
    if (isSame && last.refresh()) return last;
    const via = on === undefined || isUnspecified(on) ? undefined : this.#udp.layer.addresses.find(on)?.iface;
    const joined = this.memberships.find((m) => sameIp(m.group, remote))?.iface;
    const out = via ?? this.#udp.layer.iface(this.iface || (joined ?? -1));
    const path = this.#udp.layer.paths.find(remote, local, out);
    if (path === "no source address") throw new Err("EADDRNOTAVAIL", `no address to send to ${formatIp(remote)} from`);
    if (typeof path === "string") throw new Err("ENETUNREACH", `no route to ${formatIp(remote)}`);
    this.#path = path;
    this.#pathLocal = local.slice();
    this.#pathIface = this.iface;
    return path;
  }

  #emit(path: PathEntry, bytes: Uint8Array, at: number, end: number, port: number, localPort: number): void {
    const { output } = this.#udp.layer, length = UDP_BYTES + end - at, options = this.#options;
    options.dontFragment = this.dontFragment;
    if (!output.begin(path, PROTO.udp, length)) {
      this.#udp.counters.OutErrors++;
      return;
    }
    const { buf, at: to } = output;
    const payloadAt = emitUdp(buf, to, { srcPort: localPort, dstPort: port, payloadBytes: end - at });
    buf.set(bytes.subarray(at, end), payloadAt);
    this.#udp.counters.OutDatagrams++;
    const echo = path.hop.isGroup && this.#udp.isHeardHere(path) ? buf.slice(to, to + length) : undefined;
    output.end(length, 6, options);
    if (echo !== undefined) this.#udp.echo(path, echo);
  }

  #ifaceFor(group: Ip, on: Ip): Iface {
    const { layer } = this.#udp;
    const route = isUnspecified(on) ? layer.routes.lookup(group) : undefined;
    const iface = layer.addresses.find(on)?.iface ?? (route && layer.iface(route.iface)) ??
      layer.defaultIface(isIpv4(group));
    if (iface === undefined) throw new Err("ENODEV", `no interface for the group ${formatIp(group)}`);
    return iface;
  }
}

export type SavedUdpConv = ReturnType<UdpConv["save"]>;
