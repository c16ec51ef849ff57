/**
 * How many ICMP errors are sent: token buckets, one for all and one for each destination.
 *
 * Layer: net/ip, a leaf. The bucket for all gives a little less at random, so that nobody outside can count what another one
 * used of it.
 *
 * See RFC 4443, 2.4 (f); RFC 1812, 4.3.2.8.
 */

import type { Ip } from "../addr.ts";
import type { Chance } from "./chance.ts";
import { IpMap } from "./ip_map.ts";
import { ERROR_RATE, LIMITS } from "./limits.ts";

interface Bucket {
  ip: Ip;
  tokens: number;
  at: number;
}

export class ErrorRate {
  #tokens: number = ERROR_RATE.burst;
  #at = 0;
  readonly #peers: IpMap<Bucket>;

  constructor(readonly chance: Chance) {
    this.#peers = new IpMap(chance.next());
  }

  /** Whether an error may go to `dst` now; counted when it may. */
  allow(dst: Ip, now: number): boolean {
    const { perSecond, burst, peerPerSecond, peerBurst } = ERROR_RATE;
    this.#tokens = Math.min(burst, this.#tokens + Math.max(0, now - this.#at) * perSecond / 1000);
    this.#at = now;
    if (this.#tokens < 1) return false;
    const peer = this.#peers.get(dst) ?? this.#make(dst, now);
    peer.tokens = Math.min(peerBurst, peer.tokens + Math.max(0, now - peer.at) * peerPerSecond / 1000);
    peer.at = now;
    this.#peers.touch(dst);
    if (peer.tokens < 1) return false;
    peer.tokens--;
    this.#tokens -= 1 + this.chance.below(2);
    return true;
  }

  #make(dst: Ip, at: number): Bucket {
    if (this.#peers.count >= LIMITS.errorPeers) this.#peers.evict();
    const bucket: Bucket = { ip: dst.slice(0, 16), tokens: ERROR_RATE.peerBurst, at };
    this.#peers.set(bucket.ip, bucket);
    return bucket;
  }
}
