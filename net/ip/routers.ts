/**
 * Routers: asking for them, what their advertisements bring (default routes, prefixes, name servers), and the addresses that
 * this host makes of prefixes.
 *
 * Layer: net/ip, above addresses.ts and routes.ts.
 * What holds always: advertisements are believed only on an interface that was told to (`ra6 recvra 1`), and in number and
 * lifetime only as far as limits.ts allows.
 *
 * See RFC 4861, 6.3; RFC 4862, 5.5 (SLAAC), RFC 7217 (stable addresses), RFC 8981 (temporary ones), RFC 8106 (name
 * servers), RFC 4191 (preference).
 */

import {
  contains,
  type Ip,
  ipFromMac,
  isIpv4,
  isLinkLocal,
  isUnspecified,
  maskIp,
  parseIp,
  sameIp,
  UNSPECIFIED,
} from "../addr.ts";
import { SipHash } from "../tcp/siphash.ts";
import { FOREVER, NDOPT, type Ndp, type PrefixInfo, RA } from "../wire/ndp.ts";
import { IPV6_MIN_MTU } from "../wire/ipv6.ts";
import { get32, set32 } from "../wire/packet.ts";
import type { Address, Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import { LIMITS, TIMES } from "./limits.ts";

const LINK_LOCAL_PREFIX = parseIp("fe80::")!;
const DEFAULT = { addr: UNSPECIFIED, bits: 0 };
const TAG = "ra";
/** Metrics of default routes, by preference; those set by hand (0) are better. */
const METRIC = { low: 1026, medium: 1025, high: 1024 } as const;
const METRICS = [METRIC.medium, METRIC.high, METRIC.medium, METRIC.low];
/** An advertisement does not shorten the life of an address below this (RFC 4862, 5.5.3 e). */
const TWO_HOURS_MS = 7_200_000;
/** Addresses that are tried before it is given up (RFC 7217, 6). */
const MAX_DUPLICATES = 3;

/** A name server that a router told of. */
export interface NameServer {
  ip: Ip;
  iface: number;
  until: number;
}

export class Routers {
  nextAt = Infinity;
  /** Name servers, the latest told first. */
  nameServers: NameServer[] = [];
  readonly #layer: IpLayer;

  constructor(layer: IpLayer) {
    this.#layer = layer;
  }

  /** Gives the interface a link-local address, if it has none. */
  linkLocal(iface: Iface): void {
    const has = iface.addresses.some((a) => !isIpv4(a.ip) && isLinkLocal(a.ip));
    if (!has && iface.isEther) this.#make(iface, LINK_LOCAL_PREFIX, "link-local", Infinity, Infinity, 0);
  }

  /** Begins to listen, and asks. */
  start(iface: Iface): void {
    iface.params.recvra = 1;
    this.linkLocal(iface);
    iface.solicitsLeft = TIMES.routerSolicits;
    iface.solicitAt = this.#layer.now + this.#layer.chance.between(0, TIMES.retransMs);
    this.nextAt = Math.min(this.nextAt, iface.solicitAt);
  }

  /** Listens no longer. What was made stays until its time is over. */
  stop(iface: Iface): void {
    iface.params.recvra = 0;
    iface.solicitsLeft = 0;
    iface.solicitAt = Infinity;
  }

  poll(now: number): void {
    if (now < this.nextAt) return;
    this.nextAt = Infinity;
    this.nameServers = this.nameServers.filter((server) => server.until > now);
    for (const { until } of this.nameServers) this.nextAt = Math.min(this.nextAt, until);
    for (const iface of this.#layer.ifaces()) {
      if (now >= iface.solicitAt) {
        this.#layer.nd.routerSolicit(iface);
        iface.solicitAt = --iface.solicitsLeft > 0 ? now + TIMES.routerSolicitMs : Infinity;
      }
      this.nextAt = Math.min(this.nextAt, iface.solicitAt);
    }
  }

  /** An advertisement from a link-local address; false when there is something wrong with it. */
  advert(iface: Iface, router: Ip, ndp: Ndp): boolean {
    if (iface.params.recvra === 0) return true;
    iface.solicitsLeft = 0;
    iface.solicitAt = Infinity;
    this.#parameters(iface, ndp);
    this.#sender(iface, router, ndp);
    this.#defaultRoute(iface, router, ndp);
    let prefixes = 0;
    for (let at = ndp.option(NDOPT.prefix); at >= 0; at = ndp.option(NDOPT.prefix, ndp.optionEnd(at))) {
      if (++prefixes > LIMITS.prefixes) break;
      this.#prefix(iface, ndp.prefixInfo(at));
    }
    for (let at = ndp.option(NDOPT.rdnss); at >= 0; at = ndp.option(NDOPT.rdnss, ndp.optionEnd(at))) {
      const { servers, lifetimeS } = ndp.nameServers(at);
      for (const server of servers) this.#nameServer(iface, server, this.#at(lifetimeS));
    }
    return true;
  }

  /** Another host has an address that was made here: another one is made. */
  duplicate(iface: Iface, address: Address): void {
    const { origin, ip, validUntil, preferredUntil, dadCount } = address;
    if (origin === "manual") return;
    this.#layer.addresses.remove(iface, address);
    if (dadCount + 1 >= MAX_DUPLICATES) return;
    this.#make(iface, maskIp(ip, 64), origin, validUntil, preferredUntil, dadCount + 1);
  }

  /** Makes the address that a prefix would bring, as if a router had told of it. */
  prefixByHand(iface: Iface, prefix: Ip, validUntil: number, preferredUntil: number): void {
    this.#make(iface, prefix, isLinkLocal(prefix) ? "link-local" : "slaac", validUntil, preferredUntil, 0);
  }

  #parameters(iface: Iface, ndp: Ndp): void {
    if (ndp.hopLimit !== 0) iface.hopLimit = ndp.hopLimit;
    const { reachableMs, retransMs, flags } = ndp;
    if (reachableMs !== 0) {
      iface.reachableMs = Math.min(reachableMs, 3_600_000) * this.#layer.chance.between(0.5, 1.5);
      iface.params.reachtime = reachableMs;
    }
    if (retransMs !== 0) iface.retransMs = iface.params.rxmitra = Math.min(Math.max(retransMs, 100), 60_000);
    iface.params.mflag = flags & RA.managed ? 1 : 0;
    iface.params.oflag = flags & RA.other ? 1 : 0;
    iface.params.routerlt = ndp.lifetimeS;
    const at = ndp.option(NDOPT.mtu), mtu = at < 0 ? 0 : ndp.optionMtu(at);
    if (mtu >= IPV6_MIN_MTU && mtu <= iface.link.mtu) iface.params.linkmtu = mtu;
    this.#layer.changed();
  }

  /** The router is a neighbour, and one that is a router. */
  #sender(iface: Iface, router: Ip, ndp: Ndp): void {
    const at = ndp.option(NDOPT.sourceLink);
    if (at >= 0) this.#layer.neighbors.learn(iface, router, ndp.linkAddress(at));
    const neighbor = iface.neighbors.get(router);
    if (neighbor !== undefined) neighbor.isRouter = true;
  }

  #defaultRoute(iface: Iface, router: Ip, ndp: Ndp): void {
    const { routes } = this.#layer;
    if (ndp.lifetimeS === 0) {
      if (routes.removeIf((r) => r.tag === TAG && r.iface === iface.index && isBy(r.gateway, router)) > 0) {
        this.#layer.changed();
      }
      return;
    }
    const known = routes.list().filter((r) => r.tag === TAG && r.gateway !== undefined);
    if (known.length >= LIMITS.routers && !known.some((r) => isBy(r.gateway, router))) return;
    routes.removeIf((r) => r.tag === TAG && r.iface === iface.index && isBy(r.gateway, router));
    const metric = METRICS[ndp.flags >>> 3 & 3], expiresAt = this.#at(ndp.lifetimeS);
    routes.add({ prefix: DEFAULT, gateway: router, iface: iface.index, tag: TAG, metric, expiresAt });
  }

  #prefix(iface: Iface, info: PrefixInfo): void {
    if (info.bits > 128 || isLinkLocal(info.prefix) || info.prefix[0] === 0xff || isUnspecified(info.prefix)) return;
    const prefix = { addr: maskIp(info.prefix, info.bits), bits: info.bits };
    if (isIpv4(prefix.addr)) return;
    if (info.onLink) this.#onLink(iface, prefix, info.validS);
    if (info.autonomous && info.bits === 64 && info.preferredS <= info.validS) this.#autoconf(iface, prefix.addr, info);
  }

  #onLink(iface: Iface, prefix: { addr: Ip; bits: number }, validS: number): void {
    const { routes } = this.#layer;
    const isSame = (r: { tag: string; iface: number; prefix: { addr: Ip; bits: number } }) =>
      r.tag === TAG && r.iface === iface.index && r.prefix.bits === prefix.bits && sameIp(r.prefix.addr, prefix.addr);
    const list = routes.list().filter((r) => r.tag === TAG && r.gateway === undefined);
    if (validS === 0) routes.removeIf(isSame);
    else if (list.length < LIMITS.prefixes || list.some(isSame)) {
      routes.add({
        prefix,
        gateway: undefined,
        iface: iface.index,
        tag: TAG,
        metric: 257,
        expiresAt: this.#at(validS),
      });
    }
    this.#layer.changed();
  }

  /** RFC 4862, 5.5.3. */
  #autoconf(iface: Iface, prefix: Ip, info: PrefixInfo): void {
    const { now, addresses } = this.#layer;
    const validUntil = this.#at(info.validS), preferredUntil = info.preferredS === 0 ? 0 : this.#at(info.preferredS);
    const range = { addr: prefix, bits: 64 };
    const mine = iface.addresses.filter((a) =>
      (a.origin === "slaac" || a.origin === "temporary") && contains(range, a.ip)
    );
    for (const address of mine.filter((a) => a.origin === "slaac")) {
      const left = address.validUntil - now, told = validUntil - now;
      const valid = told > TWO_HOURS_MS || told > left ? validUntil : Math.min(address.validUntil, now + TWO_HOURS_MS);
      addresses.renew(address, valid, preferredUntil);
    }
    if (info.validS === 0) return;
    if (!mine.some((a) => a.origin === "slaac")) this.#make(iface, prefix, "slaac", validUntil, preferredUntil, 0);
    const hasFresh = mine.some((a) => a.origin === "temporary" && a.preferredUntil !== 0);
    if (!iface.autoconf.privacy || hasFresh || info.preferredS === 0) return;
    const jitter = this.#layer.chance.between(0.6, 1);
    const temporaryValid = Math.min(validUntil, now + TIMES.temporaryValidMs);
    const temporaryPreferred = Math.min(preferredUntil, now + TIMES.temporaryPreferredMs * jitter);
    this.#make(iface, prefix, "temporary", temporaryValid, temporaryPreferred, 0);
  }

  #make(
    iface: Iface,
    prefix: Ip,
    origin: Address["origin"],
    validUntil: number,
    preferredUntil: number,
    dadCount: number,
  ): void {
    if (iface.addresses.length >= LIMITS.addresses) return;
    const ip = this.#addressOf(iface, prefix, origin, dadCount);
    if (iface.address(ip) !== undefined || this.#layer.addresses.find(ip) !== undefined) return;
    this.#layer.addresses.add(iface, { ip, bits: 64, origin, validUntil, preferredUntil, dadCount }, true);
  }

  #addressOf(iface: Iface, prefix: Ip, origin: Address["origin"], dadCount: number): Ip {
    if (origin !== "temporary" && iface.autoconf.iid === "eui64" && dadCount === 0) {
      return ipFromMac(prefix, iface.link.mac);
    }
    const ip = prefix.slice(0, 16);
    if (origin === "temporary") this.#layer.random(ip.subarray(8));
    else {
      const hash = new SipHash(this.#layer.secret), { mac } = iface.link;
      hash.words(get32(prefix, 0), get32(prefix, 4), get32(mac, 0), mac[4] << 8 | mac[5], dadCount, iface.index);
      set32(ip, 8, hash.high);
      set32(ip, 12, hash.low);
    }
    return ip;
  }

  #nameServer(iface: Iface, server: Uint8Array, until: number): void {
    this.nameServers = this.nameServers.filter((known) => !sameIp(known.ip, server));
    if (until <= this.#layer.now) return;
    this.nameServers.unshift({ ip: server.slice(), iface: iface.index, until });
    this.nameServers.length = Math.min(this.nameServers.length, LIMITS.nameServers);
    this.nextAt = Math.min(this.nextAt, until);
  }

  /** When a lifetime in seconds ends. */
  #at(seconds: number): number {
    return seconds === FOREVER ? Infinity : this.#layer.now + seconds * 1000;
  }
}

function isBy(gateway: Ip | undefined, router: Ip): boolean {
  return gateway !== undefined && sameIp(gateway, router);
}
