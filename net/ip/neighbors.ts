/**
 * Neighbours: which MAC address an IP address on the link has, and whether it still answers. One machine for ARP and
 * neighbour discovery, which differ only in how they ask (`solicit`).
 *
 * Layer: net/ip, under arp.ts and nd.ts, above the interfaces.
 * What holds always: a neighbour that is made because a stranger asked never pushes out one that this host talks to.
 *
 * See RFC 4861, 7.3 (reachability), RFC 1122, 2.3.2 (ARP).
 */

import { contains, type Ip, type Prefix } from "../addr.ts";
import type { FrameInfo } from "../link.ts";
import { matches } from "../wire/packet.ts";
import type { IpCounters } from "./counters.ts";
import type { Iface } from "./iface.ts";
import { LIMITS, TIMES } from "./limits.ts";

/** A packet that waits. */
export interface Held {
  /** From IP's header on. */
  bytes: Uint8Array;
  info: FrameInfo;
  /** Whether it is another host's: who is told when the neighbour does not answer. */
  forwarded: boolean;
}

/** Plain data, but shared: who sends keeps it, and looks at `gone` and `version`. */
export interface Neighbor {
  ip: Ip;
  iface: number;
  mac: Uint8Array;
  state: "incomplete" | "reachable" | "stale" | "delay" | "probe" | "failed" | "permanent";
  isRouter: boolean;
  /** When the state ends. */
  at: number;
  /** Questions that were asked in this state. */
  tries: number;
  /** Whether this host ever sent to it. */
  used: boolean;
  held: Held[];
  heldBytes: number;
  /** Grows when the MAC address changes. */
  version: number;
  /** It was thrown out: look it up again. */
  gone: boolean;
}

/** What the machine needs of the layer around it. */
export interface NeighborHost {
  readonly counters: IpCounters;
  iface(index: number): Iface | undefined;
  /** Asks who has the address: everybody, or the neighbour itself when `unicast`. */
  solicit(iface: Iface, neighbor: Neighbor, unicast: boolean): void;
  /** Sends a packet that was held. */
  release(iface: Iface, neighbor: Neighbor, held: Held): void;
  /** Tells who sent it that the neighbour does not answer. */
  unreachable(iface: Iface, held: Held): void;
  /** Another neighbour does not answer, or does again: routes by it are looked at again. */
  reachabilityChanged(neighbor: Neighbor): void;
}

/** What an advertisement or an ARP reply says beside the MAC address. */
export interface Advert {
  solicited: boolean;
  override: boolean;
  /** Undefined: not said. */
  isRouter?: boolean;
}

export class Neighbors {
  /** When `poll` is to be called. */
  nextAt = Infinity;

  constructor(readonly host: NeighborHost, readonly ifaces: () => Iterable<Iface>) {}

  /** The neighbour, made when it is not there: `incomplete`, and nobody was asked yet. */
  find(iface: Iface, ip: Ip): Neighbor {
    return iface.neighbors.get(ip) ?? this.#make(iface, ip, true)!;
  }

  /**
   * Whether frames may be sent to it now. One that was not heard of for long is sent to and watched; of one that is unknown
   * it is asked.
   */
  ready(neighbor: Neighbor, now: number): boolean {
    switch (neighbor.state) {
      case "reachable":
        if (now < neighbor.at) return true;
        this.#enter(neighbor, "delay", now + TIMES.delayProbeMs);
        return true;
      case "stale":
        neighbor.used = true;
        this.#enter(neighbor, "delay", now + TIMES.delayProbeMs);
        return true;
      case "delay":
      case "probe":
      case "permanent":
        return true;
      case "failed":
        if (now < neighbor.at) return false;
    }
    if (neighbor.tries === 0 || neighbor.state === "failed") this.#ask(neighbor, now);
    return false;
  }

  /** Keeps a packet until the neighbour is known. The packet is the caller's no longer. */
  hold(iface: Iface, neighbor: Neighbor, held: Held, now: number): void {
    if (neighbor.state === "failed" && now < neighbor.at) {
      this.host.counters.HeldDrops++;
      this.host.unreachable(iface, held);
      return;
    }
    neighbor.held.push(held);
    neighbor.heldBytes += held.bytes.length;
    while (neighbor.held.length > LIMITS.heldPackets || neighbor.heldBytes > LIMITS.heldBytes) {
      neighbor.heldBytes -= neighbor.held.shift()!.bytes.length;
      this.host.counters.HeldDrops++;
    }
  }

  /** The neighbour asked us something, and told its MAC address with it. */
  learn(iface: Iface, ip: Ip, mac: Uint8Array): void {
    const neighbor = iface.neighbors.get(ip) ?? this.#make(iface, ip, false);
    if (neighbor === undefined || neighbor.state === "permanent") return;
    const isNew = neighbor.state === "incomplete" || neighbor.state === "failed";
    if (!isNew && matches(mac, 0, neighbor.mac)) return;
    this.#setMac(neighbor, mac);
    this.#enter(neighbor, "stale", Infinity);
    if (isNew) this.#release(iface, neighbor);
  }

  /** The neighbour told its MAC address (RFC 4861, 7.2.5). Of one that nobody wants to know nothing is kept. */
  advert(iface: Iface, ip: Ip, mac: Uint8Array | undefined, said: Advert, now: number): void {
    const neighbor = iface.neighbors.get(ip);
    if (neighbor === undefined || neighbor.state === "permanent") return;
    const isNew = neighbor.state === "incomplete" || neighbor.state === "failed";
    if (isNew && mac === undefined) return;
    if (said.isRouter !== undefined) this.#setRouter(neighbor, said.isRouter);
    const isOther = mac !== undefined && (isNew || !matches(mac, 0, neighbor.mac));
    if (isOther && !isNew && !said.override) {
      if (neighbor.state === "reachable") this.#enter(neighbor, "stale", Infinity);
      return;
    }
    if (isOther) this.#setMac(neighbor, mac);
    if (said.solicited) this.#enter(neighbor, "reachable", now + iface.reachableMs);
    else if (isOther) this.#enter(neighbor, "stale", Infinity);
    if (isNew) this.#release(iface, neighbor);
  }

  /** Sets an address by hand, for good. */
  setPermanent(iface: Iface, ip: Ip, mac: Uint8Array): void {
    const neighbor = this.find(iface, ip);
    this.#setMac(neighbor, mac);
    this.#enter(neighbor, "permanent", Infinity);
    this.#release(iface, neighbor);
  }

  /** Forgets one neighbour, or all of the interface. */
  forget(iface: Iface, ip?: Ip): boolean {
    if (ip !== undefined) {
      const neighbor = iface.neighbors.get(ip);
      if (neighbor !== undefined) neighbor.gone = true;
      return iface.neighbors.delete(ip);
    }
    for (const neighbor of iface.neighbors.values()) neighbor.gone = true;
    iface.neighbors.clear();
    return true;
  }

  /** There is an address of this network to ask from now: who did not answer before may not have been asked at all. */
  retry(iface: Iface, network: Prefix): void {
    for (const { ip, state } of [...iface.neighbors.values()]) {
      if (state === "failed" && contains(network, ip)) this.forget(iface, ip);
    }
  }

  /** Asks again, gives up. */
  poll(now: number): void {
    if (now < this.nextAt) return;
    this.nextAt = Infinity;
    for (const iface of this.ifaces()) {
      for (const neighbor of iface.neighbors.values()) {
        if (now >= neighbor.at) this.#expire(iface, neighbor, now);
        if (isTimed(neighbor)) this.nextAt = Math.min(this.nextAt, neighbor.at);
      }
    }
  }

  #expire(iface: Iface, neighbor: Neighbor, now: number): void {
    switch (neighbor.state) {
      case "delay":
        neighbor.tries = 0;
        neighbor.state = "probe";
        return this.#ask(neighbor, now);
      case "incomplete":
      case "probe":
        if (neighbor.tries < TIMES.solicits) return this.#ask(neighbor, now);
        return this.#fail(iface, neighbor, now);
    }
  }

  #ask(neighbor: Neighbor, now: number): void {
    const iface = this.host.iface(neighbor.iface);
    if (iface === undefined) return;
    if (neighbor.state === "failed") {
      neighbor.state = "incomplete";
      neighbor.tries = 0;
    }
    neighbor.tries++;
    neighbor.used = true;
    this.#wait(neighbor, now + iface.retransMs);
    this.host.solicit(iface, neighbor, neighbor.state === "probe");
  }

  #fail(iface: Iface, neighbor: Neighbor, now: number): void {
    const { held } = neighbor;
    neighbor.held = [];
    neighbor.heldBytes = 0;
    neighbor.state = "failed";
    neighbor.at = now + TIMES.failedMs;
    this.host.counters.HeldDrops += held.length;
    for (const packet of held) this.host.unreachable(iface, packet);
    this.host.reachabilityChanged(neighbor);
  }

  #enter(neighbor: Neighbor, state: Neighbor["state"], at: number): void {
    const failed = neighbor.state === "failed";
    neighbor.state = state;
    neighbor.tries = 0;
    this.#wait(neighbor, at);
    if (failed) this.host.reachabilityChanged(neighbor);
  }

  #wait(neighbor: Neighbor, at: number): void {
    neighbor.at = at;
    if (isTimed(neighbor)) this.nextAt = Math.min(this.nextAt, at);
  }

  #setMac(neighbor: Neighbor, mac: Uint8Array): void {
    neighbor.mac = mac.slice(0, 6);
    neighbor.version++;
  }

  #setRouter(neighbor: Neighbor, isRouter: boolean): void {
    if (neighbor.isRouter === isRouter) return;
    neighbor.isRouter = isRouter;
    this.host.reachabilityChanged(neighbor);
  }

  #release(iface: Iface, neighbor: Neighbor): void {
    const { held } = neighbor;
    neighbor.held = [];
    neighbor.heldBytes = 0;
    for (const packet of held) this.host.release(iface, neighbor, packet);
  }

  /** A new neighbour; undefined when there is no room for one that only `asked`. */
  #make(iface: Iface, ip: Ip, wanted: boolean): Neighbor | undefined {
    if (iface.neighbors.count >= LIMITS.neighbors && !this.#evict(iface, wanted)) {
      this.host.counters.NeighborOverflows++;
      return undefined;
    }
    const neighbor: Neighbor = {
      ip: ip.slice(0, 16),
      iface: iface.index,
      mac: new Uint8Array(6),
      state: "incomplete",
      isRouter: false,
      at: Infinity,
      tries: 0,
      used: wanted,
      held: [],
      heldBytes: 0,
      version: 1,
      gone: false,
    };
    iface.neighbors.set(neighbor.ip, neighbor);
    return neighbor;
  }

  /** Throws out the oldest that nobody used; when `wanted`, also one that was. */
  #evict(iface: Iface, wanted: boolean): boolean {
    let victim: Neighbor | undefined;
    for (const neighbor of iface.neighbors.values()) {
      if (neighbor.state === "permanent") continue;
      if (!neighbor.used || neighbor.state === "failed") {
        victim = neighbor;
        break;
      }
      if (wanted && (victim === undefined || victim.state === "reachable")) victim = neighbor;
    }
    if (victim === undefined) return wanted;
    victim.gone = true;
    this.host.counters.HeldDrops += victim.held.length;
    return iface.neighbors.delete(victim.ip);
  }
}

/** Whether the end of its state is something to do. */
function isTimed(neighbor: Neighbor): boolean {
  return neighbor.state === "incomplete" && neighbor.tries > 0 || neighbor.state === "delay" ||
    neighbor.state === "probe";
}
