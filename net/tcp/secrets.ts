/**
 * What a peer or an onlooker must not foretell: initial sequence numbers, ephemeral ports, cookies, timestamp offsets.
 *
 * Layer: net/tcp, above siphash.ts. Everything follows from one secret of 32 bytes, which is saved with the stack: numbers
 * of the same addresses and ports go on rising (RFC 6528), and cookies that are out stay good.
 *
 * See RFC 6528 (sequence numbers), RFC 6056, 3.3.4 (ports), RFC 4987, 3.6 (cookies), RFC 7323, 5.4 (timestamps).
 */

import type { Ip } from "../addr.ts";
import { get32 } from "../wire/packet.ts";
import { type Seq, seqAdd } from "../wire/tcp_seq.ts";
import type { SynSaid } from "./listener.ts";
import { SipHash } from "./siphash.ts";

/** Ticks of the sequence numbers' clock in a millisecond: one every 4 us. */
const TICKS_PER_MS = 250;

/** What the first word of a hash's input is: what it is for. */
const FOR_ISN = 1, FOR_PORT = 2, FOR_COOKIE = 3, FOR_TS = 4;

/** MSS values that a cookie has three bits for (those that peers really have). */
const COOKIE_MSS = [216, 536, 1220, 1300, 1440, 1460, 4312, 8960];
/** A cookie's clock, and how many of its ticks a cookie is good for. */
const COOKIE_TICK_MS = 64_000, COOKIE_TICKS = 2;
/** Low bits of a cookie's timestamp that carry what its sequence number has no room for; window scale 15 is none. */
const TS_BITS = 6, TS_MASK = (1 << TS_BITS) - 1, NO_SCALE = 15;

/** Counters of ephemeral ports. */
const PORT_TABLE = 256;

/** Both ends of a connection. */
export interface Ends {
  local: Ip;
  localPort: number;
  remote: Ip;
  remotePort: number;
}

/** All that is made of one secret. */
export class Secrets {
  readonly #low: SipHash;
  readonly #high: SipHash;
  readonly #ports = new Uint16Array(PORT_TABLE);

  /** `secret`: 32 random bytes. */
  constructor(readonly secret: Uint8Array) {
    this.#low = new SipHash(secret.subarray(0, 16));
    this.#high = new SipHash(secret.subarray(16, 32));
  }

  #hash(hash: SipHash, use: number, { local, localPort, remote, remotePort }: Ends, extra: number): number {
    hash.begin();
    hash.pair(use, extra);
    hash.pair(get32(local, 0), get32(local, 4));
    hash.pair(get32(local, 8), get32(local, 12));
    hash.pair(get32(remote, 0), get32(remote, 4));
    hash.pair(get32(remote, 8), get32(remote, 12));
    hash.pair(localPort << 16 | remotePort, 0);
    return hash.finish();
  }

  /** The first sequence number of a connection that begins now. */
  isn(ends: Ends, now: number): Seq {
    return seqAdd(this.#hash(this.#low, FOR_ISN, ends, 0), Math.floor(now * TICKS_PER_MS) | 0);
  }

  /** What is added to the clock for the timestamps that a peer sees; the same for all connections to it. */
  tsOffset(local: Ip, remote: Ip): number {
    return this.#hash(this.#low, FOR_TS, { local, localPort: 0, remote, remotePort: 0 }, 0);
  }

  /** Ports from `first` to `last` in the order in which they are to be tried for these ends (its `localPort` does not count). */
  *ports(ends: Ends, first: number, last: number, random: number): Generator<number> {
    const seed = this.#hash(this.#high, FOR_PORT, { ...ends, localPort: 0 }, 0);
    const slot = seed >>> 8 & PORT_TABLE - 1, count = last - first + 1;
    for (let i = 0; i < count; i++) {
      yield first + ((seed >>> 0) + this.#ports[slot]) % count;
      this.#ports[slot] += i === 0 ? 1 + (random & 7) : 1;
    }
  }

  /** A cookie: five bits of time, three of MSS, 24 that only we can make. */
  cookie(ends: Ends, irs: Seq, mss: number, now: number): Seq {
    const tick = Math.floor(now / COOKIE_TICK_MS) & 31;
    let index = 0;
    while (index + 1 < COOKIE_MSS.length && COOKIE_MSS[index + 1] <= mss) index++;
    return this.#cookie(ends, irs, tick, index);
  }

  #cookie(ends: Ends, irs: Seq, tick: number, index: number): Seq {
    const head = tick << 3 | index;
    return head << 24 | this.#hash(this.#high, FOR_COOKIE ^ head << 8, ends, irs) >>> 8;
  }

  /** The MSS that a cookie has in it; undefined when it is not ours, or too old. */
  cookieMss(ends: Ends, irs: Seq, cookie: Seq, now: number): number | undefined {
    const tick = cookie >>> 27, index = cookie >>> 24 & 7;
    const age = (Math.floor(now / COOKIE_TICK_MS) & 31) - tick & 31;
    return age < COOKIE_TICKS && this.#cookie(ends, irs, tick, index) === cookie ? COOKIE_MSS[index] : undefined;
  }
}

/** A timestamp not later than `tsVal`, with what a SYN said in its low bits. */
export function cookieTimestamp(tsVal: number, said: SynSaid): number {
  const bits = (said.windowScale < 0 ? NO_SCALE : said.windowScale) | (said.sack ? 16 : 0) | (said.ecn ? 32 : 0);
  const stamp = tsVal & ~TS_MASK | bits;
  return stamp - tsVal > 0 ? stamp - TS_MASK - 1 | 0 : stamp;
}

/** What was said, from the timestamp that came back. */
export function cookieSaid(mss: number, timestamps: boolean, tsEcr: number): SynSaid {
  const bits = tsEcr & TS_MASK, scale = bits & 15;
  if (!timestamps) return { mss, windowScale: -1, sack: false, timestamps, ecn: false };
  return {
    mss,
    windowScale: scale === NO_SCALE ? -1 : scale,
    sack: (bits & 16) !== 0,
    timestamps,
    ecn: (bits & 32) !== 0,
  };
}
