/**
 * Path MTUs that are below their link's: what routers said, or transports found out, and for how long it is believed.
 *
 * Layer: net/ip, a leaf. What a router says has been checked before it comes here.
 *
 * See RFC 1191, 5 and 6.3; RFC 8201, 4; RFC 4821, 7.
 */

import type { Ip } from "../addr.ts";
import { IpMap } from "./ip_map.ts";
import { LIMITS, MIN_PATH_MTU4, TIMES } from "./limits.ts";
import { IPV6_MIN_MTU } from "../wire/ipv6.ts";

/** Sizes that networks had when routers did not say theirs yet (RFC 1191, 7.1). */
const PLATEAUS = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 552];

interface PathMtu {
  ip: Ip;
  mtu: number;
  until: number;
}

export class PathMtus {
  nextAt = Infinity;
  #mtus: IpMap<PathMtu>;

  constructor(readonly salt: number) {
    this.#mtus = new IpMap(salt);
  }

  /** What is known of a destination; undefined: as much as its link takes. */
  of(ip: Ip): number | undefined {
    return this.#mtus.get(ip)?.mtu;
  }

  /** Believes an MTU below the `current` one; answers whether anything changed. */
  lower(ip: Ip, mtu: number, current: number, v4: boolean, now: number): boolean {
    if (v4) mtu = Math.max(mtu, MIN_PATH_MTU4);
    if (mtu >= current || !v4 && mtu < IPV6_MIN_MTU) return false;
    if (this.#mtus.get(ip) === undefined && this.#mtus.count >= LIMITS.pathMtus) this.#mtus.evict();
    const until = now + TIMES.pathMtuMs;
    this.#mtus.set(ip, { ip: ip.slice(0, 16), mtu, until });
    this.#mtus.touch(ip);
    this.nextAt = Math.min(this.nextAt, until);
    return true;
  }

  /** Forgets what is too old, so that larger packets are tried again; answers whether there was such. */
  poll(now: number): boolean {
    if (now < this.nextAt) return false;
    this.nextAt = Infinity;
    let forgot = false;
    for (const entry of this.#mtus.values()) {
      if (now >= entry.until) forgot = this.#mtus.delete(entry.ip);
      else this.nextAt = Math.min(this.nextAt, entry.until);
    }
    return forgot;
  }

  save(): PathMtu[] {
    return structuredClone([...this.#mtus.values()]);
  }

  restore(saved: PathMtu[]): void {
    this.#mtus = new IpMap(this.salt);
    for (const entry of structuredClone(saved)) {
      this.#mtus.set(entry.ip, entry);
      this.nextAt = Math.min(this.nextAt, entry.until);
    }
  }
}

/** What to try when a router that is older than RFC 1191 says that a packet of `bytes` was too big. */
export function plateauBelow(bytes: number): number {
  return PLATEAUS.find((plateau) => plateau < bytes) ?? MIN_PATH_MTU4;
}
