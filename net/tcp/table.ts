/**
 * The table of who talks: from a segment's addresses and ports to the connection it is for.
 *
 * Layer: net/tcp, a leaf. Connections, half-open ones and those in TIME_WAIT are all an `Entry`, and in one table: chains
 * of entries behind a power of two of buckets, hashed with a number that nobody outside knows. Addresses are compared as
 * words; a lookup allocates nothing.
 */

import type { Ip } from "../addr.ts";
import { get32, set32 } from "../wire/packet.ts";

const MIN_BUCKETS = 256;

/** Two addresses and two ports. */
export abstract class Entry {
  /** What an entry is: which class it has. */
  abstract readonly kind: "conn" | "half-open" | "time-wait";
  /** Words of the addresses. */
  readonly l0: number;
  readonly l1: number;
  readonly l2: number;
  readonly l3: number;
  readonly r0: number;
  readonly r1: number;
  readonly r2: number;
  readonly r3: number;
  readonly localPort: number;
  readonly remotePort: number;
  /** Of the table: its chain, and whether it is in one. */
  hash = 0;
  next: Entry | undefined = undefined;
  linked = false;

  constructor(local: Ip, localPort: number, remote: Ip, remotePort: number) {
    this.l0 = get32(local, 0);
    this.l1 = get32(local, 4);
    this.l2 = get32(local, 8);
    this.l3 = get32(local, 12);
    this.r0 = get32(remote, 0);
    this.r1 = get32(remote, 4);
    this.r2 = get32(remote, 8);
    this.r3 = get32(remote, 12);
    this.localPort = localPort;
    this.remotePort = remotePort;
  }

  /** This host's address, as 16 bytes of its own. */
  get local(): Ip {
    return ipOf(this.l0, this.l1, this.l2, this.l3);
  }

  /** The peer's. */
  get remote(): Ip {
    return ipOf(this.r0, this.r1, this.r2, this.r3);
  }
}

function ipOf(a: number, b: number, c: number, d: number): Ip {
  const ip = new Uint8Array(16);
  set32(ip, 0, a);
  set32(ip, 4, b);
  set32(ip, 8, c);
  set32(ip, 12, d);
  return ip;
}

/** Entries by their addresses and ports. */
export class Table {
  count = 0;
  #buckets: (Entry | undefined)[] = new Array(MIN_BUCKETS).fill(undefined);
  readonly #seed: number;

  /** `seed`: a random int32, so that nobody can fill one chain. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** The entry of a segment that came to `local` from `remote`. */
  find(local: Ip, localPort: number, remote: Ip, remotePort: number): Entry | undefined {
    const r3 = get32(remote, 12), r2 = get32(remote, 8), r1 = get32(remote, 4), r0 = get32(remote, 0);
    const l3 = get32(local, 12);
    const hash = this.#hash(l3, localPort, r0 ^ r1, r2, r3, remotePort);
    for (let entry = this.#buckets[hash & this.#buckets.length - 1]; entry !== undefined; entry = entry.next) {
      if (
        entry.hash === hash && entry.r3 === r3 && entry.remotePort === remotePort && entry.localPort === localPort &&
        entry.l3 === l3 && entry.r2 === r2 && entry.r1 === r1 && entry.r0 === r0 && entry.l2 === get32(local, 8) &&
        entry.l1 === get32(local, 4) && entry.l0 === get32(local, 0)
      ) return entry;
    }
    return undefined;
  }

  add(entry: Entry): void {
    if (this.count >= this.#buckets.length * 2) this.#grow();
    entry.hash = this.#hash(
      entry.l3,
      entry.localPort,
      entry.r0 ^ entry.r1,
      entry.r2,
      entry.r3,
      entry.remotePort,
    );
    this.#link(entry);
    this.count++;
  }

  #link(entry: Entry): void {
    const bucket = entry.hash & this.#buckets.length - 1;
    entry.next = this.#buckets[bucket];
    entry.linked = true;
    this.#buckets[bucket] = entry;
  }

  /** Takes an entry out; one that is not in is left as it is. */
  remove(entry: Entry): void {
    if (!entry.linked) return;
    const bucket = entry.hash & this.#buckets.length - 1;
    let before: Entry | undefined, at = this.#buckets[bucket];
    while (at !== entry && at !== undefined) [before, at] = [at, at.next];
    if (before === undefined) this.#buckets[bucket] = entry.next;
    else before.next = entry.next;
    entry.next = undefined;
    entry.linked = false;
    this.count--;
  }

  #grow(): void {
    const all = [...this];
    this.#buckets = new Array(this.#buckets.length * 4).fill(undefined);
    for (const entry of all) this.#link(entry);
  }

  *[Symbol.iterator](): Generator<Entry> {
    for (const first of this.#buckets) {
      for (let entry = first, next; entry !== undefined; entry = next) {
        next = entry.next;
        yield entry;
      }
    }
  }

  #hash(l3: number, localPort: number, r01: number, r2: number, r3: number, remotePort: number): number {
    let h = mix(this.#seed, l3);
    h = mix(h, r01);
    h = mix(h, r2);
    h = mix(h, r3);
    h = mix(h, localPort << 16 | remotePort);
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    return h ^ h >>> 13;
  }
}

/** One round of MurmurHash3. */
function mix(h: number, k: number): number {
  k = Math.imul(k, 0xcc9e2d51);
  h ^= Math.imul(k << 15 | k >>> 17, 0x1b873593);
  return Math.imul(h << 13 | h >>> 19, 5) + 0xe6546b64 | 0;
}
