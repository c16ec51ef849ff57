/**
 * The caches of ways: paths for what this host sends, hops for what it forwards.
 *
 * Layer: net/ip, above path.ts. What has not been used for longest is thrown out; whoever holds it may go on with it.
 */

import { type Ip, isIpv4, isLinkLocal, isLoopback, isUnspecified, sameIp, UNSPECIFIED } from "../addr.ts";
import { ipFromV4, ipv4Of } from "../addr.ts";
import type { NoPath } from "../tcp/lower.ts";
import type { Iface } from "./iface.ts";
import { IpMap } from "./ip_map.ts";
import type { IpLayer } from "./layer.ts";
import { LIMITS } from "./limits.ts";
import { Hop, PathEntry } from "./path.ts";
import { chooseSource } from "./source.ts";

/** A path, and what was asked for when it was made. */
interface Known {
  path: PathEntry;
  local: Ip;
  via: Iface | undefined;
  /** The layer's version when the source was chosen. */
  version: number;
}

const NO_SOURCE4 = ipFromV4(0);

export class Paths {
  readonly #layer: IpLayer;
  #byRemote: IpMap<Known[]>;
  #count = 0;
  #hops: IpMap<Hop>;
  /** For IPv4 and IPv6: the path of `once`, whose ends are another's each time. */
  readonly #once: [PathEntry | undefined, PathEntry | undefined] = [undefined, undefined];

  constructor(layer: IpLayer) {
    this.#layer = layer;
    this.#byRemote = new IpMap(layer.chance.next());
    this.#hops = new IpMap(layer.chance.next());
  }

  /** A path to `remote`, from `local` if that is not unspecified, by the interface `via` if there is a choice. */
  find(remote: Ip, local: Ip, via?: Iface): PathEntry | NoPath {
    const list = this.#byRemote.get(remote), { version } = this.#layer;
    if (list !== undefined) {
      for (const known of list) {
        if (known.version === version && known.via === via && sameIp(known.local, local)) {
          return known.path.refresh() ? known.path : known.path.hop.fault ?? "no source address";
        }
      }
    }
    return this.#make(remote, local, via);
  }

  /** A path for one answer from an address of ours: one that is known, or the same one for everybody. */
  once(remote: Ip, local: Ip): PathEntry | NoPath {
    // Which link a link-local address is on, its source tells.
    if (isLinkLocal(remote) || this.#byRemote.get(remote) !== undefined) return this.find(remote, local);
    const v4 = isIpv4(remote);
    if (v4 !== isIpv4(local) || isUnspecified(local)) return "no source address";
    let path = this.#once[v4 ? 0 : 1];
    if (path === undefined) {
      path = this.#once[v4 ? 0 : 1] = new PathEntry(this.#layer, remote.slice(0, 16), local.slice(0, 16), undefined);
    } else path.turnTo(remote, local);
    return path.refresh() ? path : path.hop.fault ?? "no source address";
  }

  /** The way of a packet that is forwarded, or would be answered. */
  hop(dst: Ip): Hop {
    const known = this.#hops.get(dst);
    if (known !== undefined) {
      known.refresh();
      return known;
    }
    if (this.#hops.count >= LIMITS.hops) this.#hops.evict();
    const hop = new Hop(this.#layer, dst.slice(0, 16), undefined);
    hop.refresh();
    this.#hops.set(hop.dst, hop);
    return hop;
  }

  #make(remote: Ip, local: Ip, via: Iface | undefined): PathEntry | NoPath {
    const source = isUnspecified(local) ? this.#source(remote, via) : local;
    if (typeof source === "string") return source;
    const self = this.#layer.addresses.find(source);
    const isOurs = self?.kind === "unicast" || isLoopback(source) || isUnspecified(source);
    if (!isOurs || isIpv4(source) !== isIpv4(remote)) return "no source address";
    const out = via ?? (self?.iface.isLoopback ? undefined : self?.iface);
    const path = this.#recall(remote, source, out) ??
      new PathEntry(this.#layer, remote.slice(0, 16), source.slice(0, 16), out);
    if (!path.refresh()) return path.hop.fault ?? "no source address";
    this.#remember(path, local, via);
    return path;
  }

  /** A path that is as good as a new one, though it was made when other routes were there. */
  #recall(remote: Ip, source: Ip, out: Iface | undefined): PathEntry | undefined {
    const same = (known: Known) => sameIp(known.path.local, source) && known.path.hop.via === out;
    return this.#byRemote.get(remote)?.find(same)?.path;
  }

  #remember(path: PathEntry, local: Ip, via: Iface | undefined): void {
    const { version } = this.#layer;
    const list = this.#byRemote.get(path.remote) ?? [];
    const fresh = list.filter((known) => known.version === version);
    fresh.push({ path, local: local.slice(0, 16), via, version });
    this.#count += fresh.length - list.length;
    this.#byRemote.set(path.remote, fresh);
    this.#byRemote.touch(path.remote);
    while (this.#count > LIMITS.paths) this.#count -= this.#byRemote.evict()!.length;
  }

  #source(remote: Ip, via: Iface | undefined): Ip | NoPath {
    const hop = new Hop(this.#layer, remote, via), fault = hop.refresh();
    if (fault !== undefined) return fault;
    if (hop.iface.isLoopback) {
      const isV4Loopback = isIpv4(remote) && isLoopback(remote);
      return this.#layer.addresses.find(remote)?.kind === "unicast" || !isV4Loopback ? remote : ipFromV4(0x7f000001);
    }
    const chosen = chooseSource(remote, hop.iface, hop.isBroadcast ? [] : this.#layer.ifaces());
    if (chosen !== undefined) return chosen;
    // Who has no address yet may ask for one (RFC 1122, 3.2.1.3 a; RFC 4291, 2.5.2).
    if (!hop.isGroup) return "no source address";
    return isIpv4(remote) && (hop.isBroadcast || ipv4Of(remote) >>> 28 === 0xe) ? NO_SOURCE4 : UNSPECIFIED;
  }
}
