/**
 * Interface: a Link with addresses, groups and parameters. What is saved of it is plain data.
 *
 * Layer: net/ip, types and the least of methods. Who may change what: addresses.ts the addresses, groups.ts the groups,
 * routers.ts what router advertisements bring.
 *
 * See RFC 4861, 6.3.2 (host variables), ip(3) of Plan 9 (ipifc).
 */

import { type Ip, isIpv4, isLinkLocal, sameIp } from "../addr.ts";
import type { Link } from "../link.ts";
import { ETHERNET_BYTES } from "../wire/ethernet.ts";
import { IpMap } from "./ip_map.ts";
import { DEFAULT_TTL, TIMES } from "./limits.ts";
import type { Neighbor } from "./neighbors.ts";

/** One address of an interface. */
export interface Address {
  ip: Ip;
  /** Length of its prefix, of 128. */
  bits: number;
  /** The other end of a line with two ends; else undefined. */
  remote: Ip | undefined;
  /** `tentative`: it is being asked whether another has it; `duplicated`: another has. Neither is used. */
  state: "ok" | "tentative" | "duplicated";
  origin: "manual" | "link-local" | "slaac" | "temporary";
  /** Monotonic milliseconds, or Infinity: after the first it is not to be chosen for new conversations, after the second it goes. */
  preferredUntil: number;
  validUntil: number;
  /** Questions or announcements yet to be sent, and when the next step is. */
  stepsLeft: number;
  stepAt: number;
  /** When it was last defended against another host (RFC 5227, 2.4). */
  defendedAt: number;
  /** How often an address made from a prefix was a duplicate: the next one is made with another number (RFC 7217, 6). */
  dadCount: number;
}

/** What a router would advertise, and whether this host listens to them: Plan 9's names. Times are milliseconds but for the lifetime. */
export interface RouterParams {
  recvra: number;
  sendra: number;
  mflag: number;
  oflag: number;
  maxraint: number;
  minraint: number;
  linkmtu: number;
  reachtime: number;
  rxmitra: number;
  ttl: number;
  routerlt: number;
}

/** A group that is listened to. */
export interface Group {
  ip: Ip;
  /** How many asked for it. */
  users: number;
  /** Unsolicited reports yet to be sent, and when a report is due. */
  reportsLeft: number;
  reportAt: number;
  /** Whether the last report was ours: who leaves then says so (RFC 2236, 3). */
  isReporter: boolean;
}

/** What is counted of an interface. */
export interface IfaceCounters {
  in: number;
  out: number;
  inErrors: number;
  outErrors: number;
}

/** How addresses are made from a router's prefixes. */
export interface Autoconf {
  /** `stable`: RFC 7217, tells nothing of the hardware; `eui64`: from the MAC address. */
  iid: "stable" | "eui64";
  /** Whether temporary addresses are made beside (RFC 8981). */
  privacy: boolean;
}

export class Iface {
  addresses: Address[] = [];
  readonly groups: IpMap<Group>;
  readonly neighbors: IpMap<Neighbor>;
  /** Largest packet that it sends; never above what the link takes. */
  mtu: number;
  counters: IfaceCounters = { in: 0, out: 0, inErrors: 0, outErrors: 0 };
  hopLimit: number = DEFAULT_TTL;
  reachableMs: number = TIMES.reachableMs;
  retransMs: number = TIMES.retransMs;
  params: RouterParams = {
    recvra: 0,
    sendra: 0,
    mflag: 0,
    oflag: 0,
    maxraint: 600_000,
    minraint: 200_000,
    linkmtu: 0,
    reachtime: 0,
    rxmitra: 0,
    ttl: DEFAULT_TTL,
    routerlt: 0,
  };
  autoconf: Autoconf = { iid: "stable", privacy: false };
  /** Router solicitations yet to be sent, and when. */
  solicitsLeft = 0;
  solicitAt = Infinity;
  /** Until when a querier of an older version is thought to be there. */
  olderQuerier4Until = 0;
  olderQuerier6Until = 0;
  /** Whether the queue of the link was full; told again by `onRoom`. */
  isFull = false;
  /** Whether frames were queued since the last flush. */
  isDirty = false;

  /** `index` is its number in /net/ipifc. */
  constructor(readonly index: number, readonly link: Link, readonly isLoopback: boolean, salt: number) {
    this.groups = new IpMap(salt);
    this.neighbors = new IpMap(salt);
    this.mtu = link.mtu;
  }

  get name(): string {
    return this.link.name;
  }

  /** Whether neighbours have to be found. */
  get isEther(): boolean {
    return this.link.medium === "ether";
  }

  /** Bytes in front of IP's header. */
  get linkBytes(): number {
    return this.link.medium === "ether" ? ETHERNET_BYTES : 0;
  }

  address(ip: Ip): Address | undefined {
    return this.addresses.find((address) => sameIp(address.ip, ip));
  }

  /** An address of the version that is in use: for asking neighbours and routers. Link-local ones first in IPv6. */
  anyAddress(v4: boolean): Address | undefined {
    const usable = this.addresses.filter((a) => a.state === "ok" && isIpv4(a.ip) === v4);
    return v4 ? usable[0] : usable.find((a) => isLinkLocal(a.ip)) ?? usable[0];
  }

  /** What is saved. */
  save() {
    const { index, addresses, mtu, counters, hopLimit, reachableMs, retransMs, params, autoconf } = this;
    const { solicitsLeft, solicitAt, olderQuerier4Until, olderQuerier6Until } = this;
    return structuredClone({
      index,
      name: this.name,
      groups: [...this.groups.values()],
      neighbors: [...this.neighbors.values()],
      addresses,
      mtu,
      counters,
      hopLimit,
      reachableMs,
      retransMs,
      params,
      autoconf,
      solicitsLeft,
      solicitAt,
      olderQuerier4Until,
      olderQuerier6Until,
    });
  }

  restore(saved: SavedIface): void {
    const { groups, neighbors, index: _index, name: _name, mtu, ...rest } = structuredClone(saved);
    Object.assign(this, rest);
    this.mtu = Math.min(mtu, this.link.mtu);
    for (const group of groups) this.groups.set(group.ip, group);
    for (const neighbor of neighbors) this.neighbors.set(neighbor.ip, neighbor);
  }
}

export type SavedIface = ReturnType<Iface["save"]>;
