/**
 * Addresses of this host: adding and removing them, asking first whether another host has them, lifetimes, conflicts.
 *
 * Layer: net/ip. What holds always: an address is found by `find` exactly while it is in use; while it is tentative or a
 * duplicate nothing is sent from it and nothing that came for it is answered. Each has a route to its prefix.
 *
 * See RFC 5227 (IPv4 conflicts), RFC 4862, 5.4 (duplicate address detection), 5.5.4 (lifetimes), ip(3) of Plan 9 (add, try).
 */

import { Err } from "../../core/err.ts";
import {
  contains,
  formatIp,
  formatMac,
  type Ip,
  ipFromV4,
  ipv4Of,
  isIpv4,
  isMulticast,
  isUnspecified,
  maskIp,
  type Prefix,
  sameIp,
  solicitedNode,
  V4_BITS,
} from "../addr.ts";
import type { Address, Iface } from "./iface.ts";
import { IpMap } from "./ip_map.ts";
import type { IpLayer } from "./layer.ts";
import { LIMITS, TIMES } from "./limits.ts";

/** What an address of a packet means here. */
export interface Self {
  kind: "unicast" | "broadcast";
  iface: Iface;
  address: Address;
}

/** What is said of an address to be added; the rest has defaults. */
export interface NewAddress {
  ip: Ip;
  bits: number;
  remote?: Ip;
  origin?: Address["origin"];
  validUntil?: number;
  preferredUntil?: number;
  dadCount?: number;
}

/** Routes to prefixes of interfaces are worse than others to the same prefix, and better than routers'. */
const ROUTE_METRIC = 256;

export class Addresses {
  nextAt = Infinity;
  readonly #layer: IpLayer;
  readonly #v4 = new Map<number, Self>();
  readonly #v6: IpMap<Self>;

  constructor(layer: IpLayer) {
    this.#layer = layer;
    this.#v6 = new IpMap(layer.chance.next());
  }

  /** What an address is to this host. */
  find(ip: Ip): Self | undefined {
    return isIpv4(ip) ? this.#v4.get(ipv4Of(ip)) : this.#v6.get(ip);
  }

  find4(word: number): Self | undefined {
    return this.#v4.get(word);
  }

  /** The same of the 16 bytes at `at` of a packet. */
  find6(bytes: Uint8Array, at: number): Self | undefined {
    return this.#v6.get(bytes, at);
  }

  /** Adds an address; when `ask`, it is tentative until no other host was found to have it. */
  add(iface: Iface, what: NewAddress, ask: boolean): Address {
    const { ip, bits } = what;
    const isBad = isMulticast(ip) || isUnspecified(ip) || isIpv4(ip) && (ipv4Of(ip) === -1 || bits < V4_BITS) ||
      bits < 0 || bits > 128;
    if (isBad) throw new Err("EINVAL", `not an address for an interface: ${formatIp(ip)}`);
    if (iface.address(ip) !== undefined) {
      throw new Err("EEXIST", `${iface.name} has the address ${formatIp(ip)} already`);
    }
    if (this.find(ip)?.kind === "unicast") {
      throw new Err("EADDRINUSE", `another interface has the address ${formatIp(ip)}`);
    }
    if (iface.addresses.length >= LIMITS.addresses) throw new Err("ENOSPC", `${iface.name} has too many addresses`);
    const address: Address = {
      ip: ip.slice(0, 16),
      bits,
      remote: what.remote?.slice(0, 16),
      state: ask && iface.isEther ? "tentative" : "ok",
      origin: what.origin ?? "manual",
      preferredUntil: what.preferredUntil ?? Infinity,
      validUntil: what.validUntil ?? Infinity,
      stepsLeft: 0,
      stepAt: Infinity,
      defendedAt: -Infinity,
      dadCount: what.dadCount ?? 0,
    };
    iface.addresses.push(address);
    if (!isIpv4(ip) && iface.isEther) this.#layer.groups.join(iface, solicitedNode(ip));
    if (address.state === "ok") this.#use(iface, address);
    else this.#ask(address);
    return address;
  }

  remove(iface: Iface, address: Address): void {
    const { ip, bits } = address;
    iface.addresses.splice(iface.addresses.indexOf(address), 1);
    if (!isIpv4(ip) && iface.isEther) this.#layer.groups.leave(iface, solicitedNode(ip));
    if (address.state !== "ok") return;
    for (const self of selvesOf(address)) this.#delete(self.ip);
    const prefix = prefixOf(address);
    const isShared = iface.addresses.some((other) =>
      other.state === "ok" && other.bits === bits && contains(prefix, other.ip)
    );
    if (!isShared) {
      this.#layer.routes.removeIf((route) =>
        isRouteOf(route.tag, route.iface, iface) && samePrefix(route.prefix, prefix)
      );
    }
    for (const other of iface.addresses) if (other.state === "ok") this.#publish(iface, other);
    this.#layer.changed();
  }

  /** Another host uses an address of this one, or asks for one that this host asks for. */
  conflict(iface: Iface, address: Address, mac: Uint8Array): void {
    const { now } = this.#layer;
    this.#layer.counters.ArpConflicts++;
    this.#layer.note("arp", `${iface.name}: ${formatMac(mac)} has our address ${formatIp(address.ip)}`);
    if (address.state === "tentative") {
      address.state = "duplicated";
      address.stepAt = Infinity;
      this.#layer.routers.duplicate(iface, address);
      return;
    }
    if (address.state !== "ok" || now - address.defendedAt < TIMES.arpDefendMs) return;
    address.defendedAt = now;
    this.#layer.announce(iface, address);
  }

  /** Takes the next step of what is due: questions, announcements, lifetimes. */
  poll(now: number): void {
    if (now < this.nextAt) return;
    this.nextAt = Infinity;
    for (const iface of this.#layer.ifaces()) {
      for (const address of [...iface.addresses]) {
        if (now >= address.stepAt) this.#step(iface, address, now);
        this.#age(iface, address, now);
        this.#schedule(address);
      }
    }
  }

  /** Sets new lifetimes, as a router advertisement does. */
  renew(address: Address, validUntil: number, preferredUntil: number): void {
    address.validUntil = validUntil;
    address.preferredUntil = preferredUntil;
    this.#schedule(address);
  }

  /** Puts what was restored to use. */
  restored(iface: Iface): void {
    for (const address of iface.addresses) {
      if (address.state === "ok") this.#publish(iface, address);
      this.#schedule(address);
    }
  }

  /** Begins to ask: at a random time, so that hosts that come up together do not ask together. */
  #ask(address: Address): void {
    const { now, chance } = this.#layer;
    const v4 = isIpv4(address.ip);
    address.stepsLeft = v4 ? TIMES.arpProbes + 1 : 2;
    address.stepAt = now + (v4 ? chance.between(0, TIMES.arpProbeWaitMs) : 0);
    this.#schedule(address);
  }

  #step(iface: Iface, address: Address, now: number): void {
    if (address.state === "tentative") this.#probe(iface, address, now);
    else if (address.state === "ok" && address.stepsLeft > 0) {
      this.#layer.announce(iface, address);
      address.stepAt = --address.stepsLeft > 0 ? now + TIMES.arpAnnounceMs : Infinity;
    } else address.stepAt = Infinity;
  }

  /** Asks once more, or takes silence for an answer. */
  #probe(iface: Iface, address: Address, now: number): void {
    if (--address.stepsLeft === 0) {
      address.state = "ok";
      this.#use(iface, address);
      return;
    }
    this.#layer.probe(iface, address);
    if (!isIpv4(address.ip)) address.stepAt = now + iface.retransMs;
    else if (address.stepsLeft === 1) address.stepAt = now + TIMES.arpAnnounceWaitMs;
    else address.stepAt = now + this.#layer.chance.between(TIMES.arpProbeMinMs, TIMES.arpProbeMaxMs);
  }

  #age(iface: Iface, address: Address, now: number): void {
    if (address.preferredUntil !== 0 && now >= address.preferredUntil) address.preferredUntil = 0;
    if (now >= address.validUntil) this.remove(iface, address);
  }

  #schedule(address: Address): void {
    const preferred = address.preferredUntil === 0 ? Infinity : address.preferredUntil;
    this.nextAt = Math.min(this.nextAt, address.stepAt, address.validUntil, preferred);
  }

  /** The address is this host's: it is told, and routed to. */
  #use(iface: Iface, address: Address): void {
    this.#publish(iface, address);
    const prefix = prefixOf(address);
    this.#layer.neighbors.retry(iface, prefix);
    const gateway = undefined, tag = "ifc", expiresAt = Infinity;
    if (prefix.bits < 128) {
      const isOnLink = address.origin === "manual" || address.origin === "link-local";
      if (isOnLink) {
        this.#layer.routes.add({ prefix, gateway, iface: iface.index, tag, metric: ROUTE_METRIC, expiresAt });
      }
    }
    if (iface.isEther) {
      address.stepsLeft = isIpv4(address.ip) ? TIMES.arpAnnouncements : 1;
      address.stepAt = this.#layer.now;
    }
    this.#schedule(address);
    this.#layer.changed();
  }

  #publish(iface: Iface, address: Address): void {
    for (const { ip, kind } of selvesOf(address)) {
      const self: Self = { kind, iface, address };
      const known = this.find(ip);
      if (known?.kind === "unicast" && kind === "broadcast") continue;
      if (isIpv4(ip)) this.#v4.set(ipv4Of(ip), self);
      else this.#v6.set(ip, self);
    }
  }

  #delete(ip: Ip): void {
    if (isIpv4(ip)) this.#v4.delete(ipv4Of(ip));
    else this.#v6.delete(ip);
  }
}

/** The prefix that an address is of; to the other end alone where there is one. */
export function prefixOf({ ip, bits, remote }: Address): Prefix {
  const addr = remote ?? ip;
  return { addr: maskIp(addr, bits), bits };
}

/** The address, and the broadcasts of its prefix: the last one, and the first one that hosts of 4.2BSD used. */
function selvesOf(address: Address): { ip: Ip; kind: Self["kind"] }[] {
  const { ip, bits, remote } = address, selves: { ip: Ip; kind: Self["kind"] }[] = [{ ip, kind: "unicast" }];
  if (!isIpv4(ip) || bits > 126 || remote !== undefined || isLoopbackHost(ip)) return selves;
  const word = ipv4Of(ip), hosts = 2 ** (128 - bits) - 1 | 0;
  selves.push({ ip: ipFromV4(word | hosts), kind: "broadcast" }, { ip: ipFromV4(word & ~hosts), kind: "broadcast" });
  return selves;
}

function isLoopbackHost(ip: Ip): boolean {
  return ipv4Of(ip) >>> 24 === 127;
}

function isRouteOf(tag: string, index: number, iface: Iface): boolean {
  return tag === "ifc" && index === iface.index;
}

function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.bits === b.bits && sameIp(a.addr, b.addr);
}
