/**
 * IpLayer: all of IP of one stack, and what its parts have in common.
 *
 * Layer: net/ip, above its parts, under net/stack.ts. Several are independent: nothing is shared between them.
 * What holds always: whoever calls in tells the time by `at` first; `version` grows whenever what paths are made of has changed. The whole state is what `save` answers, and `restore` goes on from there.
 */

import { Err } from "../../core/err.ts";
import { type Ip, ipFromV4, isIpv4, parseIp } from "../addr.ts";
import { type FrameInfo, GSO, type Link } from "../link.ts";
import { SipHash } from "../tcp/siphash.ts";
import type { Transport } from "../tcp/lower.ts";
import { ICMP, UNREACHABLE } from "../wire/icmp.ts";
import { ICMPV6, UNREACHABLE6 } from "../wire/icmpv6.ts";
import { get32 } from "../wire/packet.ts";
import { Addresses } from "./addresses.ts";
import { ArpSide } from "./arp.ts";
import { Chance, type Random } from "./chance.ts";
import { icmpCounters, ipCounters } from "./counters.ts";
import { Groups } from "./groups.ts";
import { IcmpOut } from "./icmp_out.ts";
import type { IcmpSink } from "./icmp_in.ts";
import { type Address, Iface, type SavedIface } from "./iface.ts";
import { Input } from "./input.ts";
import { Loopback } from "./loopback.ts";
import { ALL_NODES, NdSide } from "./nd.ts";
import { type Held, type Neighbor, type NeighborHost, Neighbors } from "./neighbors.ts";
import { Output } from "./output.ts";
import type { PathEntry } from "./path.ts";
import { PathMtus } from "./path_mtu.ts";
import { Paths } from "./paths.ts";
import { Reassembly, type SavedReassembly } from "./reassembly.ts";
import { type NameServer, Routers } from "./routers.ts";
import { type Route, Routes } from "./routes.ts";

/** What is told to who keeps a log: one of Plan 9's items, and a line. */
export type Note = (item: "ip" | "arp" | "icmp" | "udp" | "tcp", text: string) => void;

/** Whoever looks at the packets [at, end) of an interface. */
export type Snoop = (iface: Iface, isOut: boolean, bytes: Uint8Array, at: number, end: number) => void;

const ALL_HOSTS4 = ipFromV4(0xe0000001 | 0), LOOPBACK4 = ipFromV4(0x7f000001), LOOPBACK6 = parseIp("::1")!;

export class IpLayer implements NeighborHost {
  /** Time of the batch in hand: milliseconds of the stack's own, which go on over save and restore. */
  now = 0;
  /** The same as the caller counts it: what transports are given. */
  outer = 0;
  #clock = 0;
  version = 1;
  /** Whether packets for others are sent on. */
  forwarding = false;
  counters = ipCounters();
  icmp4 = icmpCounters();
  icmp6 = icmpCounters();
  chance: Chance;
  /** What nobody outside may know. */
  secret = new Uint8Array(16);
  note: Note = () => {};
  icmpSink: IcmpSink | undefined;
  /** Sees every packet, from IP's header on, while somebody looks at an interface (snoop). The bytes are lent. */
  snoop: Snoop | undefined;
  /** Called when a full link has room again. */
  onRoom: () => void = () => {};

  readonly random: Random;
  readonly routes = new Routes();
  readonly neighbors: Neighbors;
  readonly pathMtus: PathMtus;
  readonly reassembly = new Reassembly();
  readonly addresses: Addresses;
  readonly groups: Groups;
  readonly paths: Paths;
  readonly output: Output;
  readonly icmpOut: IcmpOut;
  readonly arp: ArpSide;
  readonly nd: NdSide;
  readonly routers: Routers;
  readonly loopback: Iface;
  readonly loop = new Loopback();
  readonly input: Input;
  readonly #ifaces: (Iface | undefined)[] = [];
  readonly #byLink = new Map<Link, Iface>();
  readonly #transports: (Transport | undefined)[] = [];
  readonly #salt: number;

  constructor(random: Random) {
    this.random = random;
    this.chance = Chance.from(random);
    random(this.secret);
    this.#salt = this.chance.next();
    this.pathMtus = new PathMtus(this.chance.next());
    this.neighbors = new Neighbors(this, () => this.ifaces());
    this.addresses = new Addresses(this);
    this.groups = new Groups(this);
    this.paths = new Paths(this);
    this.output = new Output(this);
    this.icmpOut = new IcmpOut(this);
    this.arp = new ArpSide(this);
    this.nd = new NdSide(this);
    this.routers = new Routers(this);
    this.loopback = this.#install(new Iface(0, this.loop, true, this.#salt));
    this.input = new Input(this);
    this.addresses.add(this.loopback, { ip: LOOPBACK4, bits: 104 }, false);
    this.addresses.add(this.loopback, { ip: LOOPBACK6, bits: 128 }, false);
  }

  /** The interfaces that there are, the loopback first. */
  *ifaces(): Generator<Iface> {
    for (const iface of this.#ifaces) if (iface !== undefined) yield iface;
  }

  iface(index: number): Iface | undefined {
    return this.#ifaces[index];
  }

  ifaceOf(link: Link): Iface | undefined {
    return this.#byLink.get(link);
  }

  /** Whether a route leads anywhere now. */
  readonly isUsable = (route: Route): boolean => {
    const iface = this.#ifaces[route.iface];
    if (iface === undefined) return false;
    return route.gateway === undefined || iface.neighbors.get(route.gateway)?.state !== "failed";
  };

  /** Makes an interface of a link; at `index`, or the first that is free. */
  bind(link: Link, index?: number): Iface {
    if (this.#byLink.has(link)) throw new Err("EBUSY", `${link.name} is bound already`);
    let free = 1;
    while (this.#ifaces[free] !== undefined) free++;
    const at = index ?? free;
    if (this.#ifaces[at] !== undefined) throw new Err("EBUSY", `interface ${at} is bound already`);
    const iface = this.#install(new Iface(at, link, false, this.#salt));
    this.groups.join(iface, ALL_HOSTS4);
    this.groups.join(iface, ALL_NODES);
    return iface;
  }

  /** Takes an interface away, with its addresses and routes. */
  unbind(iface: Iface): void {
    if (iface === this.loopback) throw new Err("EPERM", "the loopback interface stays");
    this.output.flush();
    for (const address of [...iface.addresses]) this.addresses.remove(iface, address);
    this.neighbors.forget(iface);
    this.routes.removeIf((route) => route.iface === iface.index);
    this.routers.nameServers = this.routers.nameServers.filter((server) => server.iface !== iface.index);
    iface.link.onRoom = () => {};
    this.#byLink.delete(iface.link);
    this.#ifaces[iface.index] = undefined;
    this.changed();
  }

  #install(iface: Iface): Iface {
    this.#ifaces[iface.index] = iface;
    this.#byLink.set(iface.link, iface);
    iface.link.onRoom = () => {
      if (!iface.isFull) return;
      iface.isFull = false;
      this.onRoom();
    };
    this.changed();
    return iface;
  }

  /** Where packets go that no route is asked about: the interface of the default route, or the first that has an address. */
  defaultIface(v4: boolean): Iface | undefined {
    const route = this.routes.lookup(v4 ? ipFromV4(0x08080808) : parseIp("2000::1")!, this.isUsable);
    if (route !== undefined && route.iface !== 0) return this.#ifaces[route.iface];
    const [, ...others] = this.ifaces();
    return others.find((iface) => iface.anyAddress(v4) !== undefined) ?? others[0];
  }

  transport(proto: number): Transport | undefined {
    return this.#transports[proto];
  }

  setTransport(proto: number, transport: Transport): void {
    this.#transports[proto] = transport;
  }

  /** Paths and hops look everything up again. */
  changed(): void {
    this.version++;
  }

  setMtu(iface: Iface, mtu: number): void {
    if (mtu < 576 || mtu > iface.link.mtu) {
      throw new Err("EINVAL", `the mtu of ${iface.name} is 576 to ${iface.link.mtu}`);
    }
    iface.mtu = mtu;
    this.changed();
  }

  addRoute(route: Route): void {
    if (!this.routes.add(route)) throw new Err("ENOSPC", "the routing table is full");
    this.changed();
  }

  /** RFC 6437: the same for one pair of addresses, and nobody knows how it comes about. */
  flowLabel({ local, remote }: PathEntry): number {
    const hash = new SipHash(this.secret);
    return hash.words(get32(local, 8), get32(local, 12), get32(remote, 8), get32(remote, 12)) & 0xfffff;
  }

  /** A router says that packets from `local` to `remote` are too big, and a transport that it sent them. */
  lowerMtu(local: Ip, remote: Ip, mtu: number): void {
    const path = this.paths.find(remote, local);
    if (typeof path === "string") return;
    if (!this.pathMtus.lower(remote, mtu, path.mtu, isIpv4(remote), this.now)) {
      this.counters.PathMtuRefused++;
      return;
    }
    this.counters.PathMtuLowered++;
    this.note("ip", `path mtu lowered to ${mtu}`);
    this.changed();
  }

  /** Tells the time, as the caller counts it. */
  at(now: number): void {
    this.outer = now;
    this.now = now + this.#clock;
  }

  /** Does what is due. */
  poll(): void {
    const { now } = this;
    this.neighbors.poll(now);
    this.addresses.poll(now);
    this.groups.poll(now);
    this.routers.poll(now);
    this.input.expire(now);
    if (this.pathMtus.poll(now)) this.changed();
    const { version } = this.routes;
    this.routes.expire(now);
    if (this.routes.version !== version) this.changed();
  }

  /** When `poll` is to be called, as the caller counts; Infinity: not before something else happens. */
  pollAt(): number {
    const { neighbors, addresses, groups, routers, reassembly, pathMtus, routes } = this;
    const at = Math.min(
      neighbors.nextAt,
      addresses.nextAt,
      groups.nextAt,
      routers.nextAt,
      reassembly.nextAt,
      pathMtus.nextAt,
      routes.expire(this.now),
    );
    return at - this.#clock;
  }

  // What neighbors.ts and addresses.ts ask for, which differs between the versions.

  solicit(iface: Iface, neighbor: Neighbor, unicast: boolean): void {
    if (isIpv4(neighbor.ip)) this.arp.solicit(iface, neighbor, unicast);
    else this.nd.solicit(iface, neighbor, unicast);
  }

  probe(iface: Iface, address: Address): void {
    if (isIpv4(address.ip)) this.arp.probe(iface, address);
    else this.nd.probe(iface, address);
  }

  announce(iface: Iface, address: Address): void {
    if (isIpv4(address.ip)) this.arp.announce(iface, address);
    else this.nd.announce(iface, address);
  }

  release(iface: Iface, neighbor: Neighbor, held: Held): void {
    this.output.release(iface, neighbor, held);
  }

  unreachable(_iface: Iface, { bytes, forwarded, info }: Held): void {
    if (!forwarded) return this.input.icmp.undelivered(bytes);
    if (info.gso !== GSO.none) return;
    const rest = 0;
    this.icmpOut.error(
      bytes,
      0,
      bytes.length,
      { type: ICMP.unreachable, code: UNREACHABLE.host, rest },
      { type: ICMPV6.unreachable, code: UNREACHABLE6.address, rest },
    );
  }

  reachabilityChanged(neighbor: Neighbor): void {
    if (this.routes.isGateway(neighbor.ip, neighbor.iface)) this.changed();
  }

  /** All of the state, as plain data that can be cloned. Nothing in it is shared with what goes on running. */
  save(): SavedIp {
    return {
      now: this.now,
      chance: this.chance.save(),
      secret: this.secret.slice(),
      forwarding: this.forwarding,
      counters: { ...this.counters },
      icmp4: { ...this.icmp4 },
      icmp6: { ...this.icmp6 },
      ifaces: [...this.ifaces()].map((iface) => iface.save()),
      routes: structuredClone(this.routes.list()),
      pathMtus: this.pathMtus.save(),
      reassembly: this.reassembly.save(),
      nameServers: structuredClone(this.routers.nameServers),
      loopback: this.loop.save(),
    };
  }

  /** Goes on from a saved state. `links` has a link for every interface that was bound, by name; one without is left out. */
  restore(saved: SavedIp, links: Iterable<Link>, now: number): void {
    const byName = new Map<string, Link>();
    for (const link of links) byName.set(link.name, link);
    this.#clock = saved.now - now;
    this.at(now);
    this.chance = new Chance(saved.chance);
    this.secret = saved.secret.slice();
    this.forwarding = saved.forwarding;
    Object.assign(this.counters, saved.counters);
    Object.assign(this.icmp4, saved.icmp4);
    Object.assign(this.icmp6, saved.icmp6);
    for (const state of saved.ifaces) this.#restoreIface(state, byName.get(state.name));
    this.routes.restore(structuredClone(saved.routes).filter((route) => this.#ifaces[route.iface] !== undefined));
    this.pathMtus.restore(saved.pathMtus);
    this.reassembly.restore(saved.reassembly);
    this.routers.nameServers = structuredClone(saved.nameServers);
    this.loop.restore(saved.loopback);
    this.neighbors.nextAt = this.groups.nextAt = this.routers.nextAt = this.now;
    this.changed();
  }

  #restoreIface(state: SavedIface, link: Link | undefined): void {
    if (state.index !== 0 && link === undefined) return;
    const iface = state.index === 0 ? this.loopback : this.#install(new Iface(state.index, link!, false, this.#salt));
    iface.restore(state);
    this.addresses.restored(iface);
  }

  /** For who runs a device: a frame that came. */
  frame(iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    this.input.frame(iface, bytes, at, end, info);
  }
}

/** The state of IP. */
export interface SavedIp {
  now: number;
  chance: Int32Array;
  secret: Uint8Array;
  forwarding: boolean;
  counters: ReturnType<typeof ipCounters>;
  icmp4: ReturnType<typeof icmpCounters>;
  icmp6: ReturnType<typeof icmpCounters>;
  ifaces: SavedIface[];
  routes: Route[];
  pathMtus: ReturnType<PathMtus["save"]>;
  reassembly: SavedReassembly;
  nameServers: NameServer[];
  loopback: ReturnType<Loopback["save"]>;
}
