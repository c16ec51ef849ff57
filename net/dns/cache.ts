/**
 * A bounded cache of record sets, and of names and types that are known not to exist.
 *
 * Layer: net/dns. Sets are kept by name and type, the aliases of a chain each for itself. What was used longest ago is
 * forgotten first. Time is in milliseconds; TTLs given out are what is left of them.
 *
 * See RFC 2308 (negative answers), RFC 8767 (bounds of TTLs).
 */

import { canonicalName } from "./name.ts";
import { DNS_TYPE, type DnsRecord } from "./record.ts";

/** Bounds of what is believed for how long. */
const MAX_TTL_S = 86_400, MAX_NEGATIVE_TTL_S = 10_800;

/** That something is not there: the name at all, or nothing of that type. */
export type Negative = "nxdomain" | "nodata";

interface Entry {
  records: DnsRecord[];
  negative?: Negative;
  endMs: number;
}

/** Stands for all types of a name that does not exist. */
const EVERY_TYPE = 0;

/** The cache. */
export class DnsCache {
  hits = 0;
  misses = 0;
  private readonly entries = new Map<string, Entry>();

  constructor(private readonly maxEntries = 4096) {}

  get size(): number {
    return this.entries.size;
  }

  /** Keeps the records of an answer, by sets. */
  put(records: readonly DnsRecord[], now: number): void {
    for (const set of Map.groupBy(records, (record) => keyOf(record.name, record.type)).entries()) {
      const [key, all] = set, ttl = Math.min(...all.map((record) => record.ttl), MAX_TTL_S);
      this.store(key, { records: all, endMs: now + ttl * 1000 }, ttl);
    }
  }

  /** Keeps that there is nothing, for as long as the zone's SOA record says; without one it is not kept. */
  putNegative(name: string, type: number, negative: Negative, authority: readonly DnsRecord[], now: number): void {
    const soa = authority.find((record) => record.type === DNS_TYPE.SOA);
    if (soa?.data.kind !== "soa") return;
    const ttl = Math.min(soa.ttl, soa.data.minimum, MAX_NEGATIVE_TTL_S);
    const key = keyOf(name, negative === "nxdomain" ? EVERY_TYPE : type);
    this.store(key, { records: [], negative, endMs: now + ttl * 1000 }, ttl);
  }

  /** The records of a name and type, or that there are none; undefined when nothing is known. */
  get(name: string, type: number, now: number): DnsRecord[] | Negative | undefined {
    const entry = this.find(keyOf(name, type), now) ?? this.find(keyOf(name, EVERY_TYPE), now);
    if (entry === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    const ttl = Math.ceil((entry.endMs - now) / 1000);
    return entry.negative ?? entry.records.map((record) => ({ ...record, ttl: Math.min(record.ttl, ttl) }));
  }

  clear(): void {
    this.entries.clear();
  }

  /** All that is known, one record or lack of one a line. */
  *dump(now: number): Iterable<{ key: string; negative?: Negative; records: readonly DnsRecord[]; ttl: number }> {
    for (const [key, { negative, records, endMs }] of this.entries) {
      if (endMs > now) yield { key, negative, records, ttl: Math.ceil((endMs - now) / 1000) };
    }
  }

  private store(key: string, entry: Entry, ttl: number): void {
    this.entries.delete(key);
    if (ttl <= 0) return;
    this.entries.set(key, entry);
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.maxEntries) break;
      this.entries.delete(oldest);
    }
  }

  private find(key: string, now: number): Entry | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    if (entry.endMs <= now) return undefined;
    this.entries.set(key, entry);
    return entry;
  }
}

function keyOf(name: string, type: number): string {
  return `${type} ${canonicalName(name)}`;
}
