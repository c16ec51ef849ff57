/**
 * Plan 9's network database: entries of attribute=value pairs, and what a host inherits from its networks.
 *
 * Layer: net, pure. An entry is a line, and the lines after it that begin with white space. A value with white space, `#` or
 * quotes is written in double or single quotes; `#` begins a comment. Values of `ip` are compared as addresses, those of
 * `dom` without regard to case. What can not be understood is passed over: nothing makes parsing fail.
 *
 * See ndb(6) and ndb(2) of Plan 9.
 */

import { contains, formatIp, type Ip, isIpv4, parseIp, parseMask, type Prefix, V4_BITS } from "./addr.ts";

/** A pair, and on which of its entry's lines it is. */
export interface NdbTuple {
  attr: string;
  value: string;
  line: number;
}

/** What belongs together. */
export type NdbEntry = readonly NdbTuple[];

/** Bytes of text that are looked at. */
const MAX_TEXT = 4 << 20;

/** A database, from one text or several. */
export class Ndb {
  readonly entries: NdbEntry[] = [];
  private readonly index = new Map<string, NdbEntry[]>();
  /** Networks with their prefixes, the longest first. */
  private readonly nets: { prefix: Prefix; entry: NdbEntry }[] = [];

  /** Of several texts, what the first ones say is found first: Plan 9 has `/net/ndb` before `/lib/ndb/local`. */
  constructor(...texts: string[]) {
    for (const text of texts) this.entries.push(...parseNdb(text));
    for (const entry of this.entries) this.enter(entry);
    this.nets.sort((a, b) => b.prefix.bits - a.prefix.bits);
  }

  /** The entries that have this pair; with the value `*`, any value. */
  search(attr: string, value: string): readonly NdbEntry[] {
    if (value === "*") return this.entries.filter((entry) => entry.some((tuple) => tuple.attr === attr));
    return this.index.get(keyOf(attr, value)) ?? [];
  }

  /** The values of `wanted` in the first entry that has both: those on the pair's own line, if there are any there. */
  values(attr: string, value: string, wanted: string): string[] {
    for (const entry of this.search(attr, value)) {
      const all = entry.filter((tuple) => tuple.attr === wanted), key = keyOf(attr, value);
      const lines = entry.filter((tuple) => keyOf(tuple.attr, tuple.value) === key).map((tuple) => tuple.line);
      const near = all.filter((tuple) => lines.includes(tuple.line));
      if (all.length > 0) return (near.length > 0 ? near : all).map((tuple) => tuple.value);
    }
    return [];
  }

  /**
   * What is known of a host that is named by a pair (`ip`, `sys`, `dom`): of each attribute the values of its own entry, or else of
   * the smallest network around it that has any. A host that is not in the database has its networks, if named by `ip`.
   */
  ipInfo(attr: string, value: string, wanted: readonly string[]): Map<string, string[]> {
    const hosts = this.search(attr, value).filter((entry) => !isNet(entry));
    const addresses = attr === "ip" ? [value] : hosts.flatMap((entry) => valuesOf(entry, "ip"));
    const nets = addresses.flatMap((each) => this.netsOf(each)), found = new Map<string, string[]>();
    for (const each of wanted) {
      const source = [...hosts, ...nets].find((entry) => hasOwn(entry, each));
      if (source !== undefined) found.set(each, valuesOf(source, each));
    }
    return found;
  }

  /** The networks around an address, the smallest first. */
  private netsOf(address: string): NdbEntry[] {
    const ip = parseIp(address);
    return ip === undefined ? [] : this.nets.filter(({ prefix }) => contains(prefix, ip)).map(({ entry }) => entry);
  }

  private enter(entry: NdbEntry): void {
    for (const { attr, value } of entry) {
      const key = keyOf(attr, value), known = this.index.get(key);
      if (known === undefined) this.index.set(key, [entry]);
      else if (known.at(-1) !== entry) known.push(entry);
    }
    if (!isNet(entry)) return;
    const addr = parseIp(valuesOf(entry, "ip")[0] ?? "");
    if (addr !== undefined) this.nets.push({ prefix: { addr, bits: netBits(entry, addr) }, entry });
  }
}

/** The entries of a text. */
export function parseNdb(text: string): NdbEntry[] {
  const entries: NdbTuple[][] = [];
  let entry: NdbTuple[] = [], line = 0;
  for (const raw of text.slice(0, MAX_TEXT).split(/\r?\n/)) {
    const tuples = tuplesOf(raw, line++);
    if (tuples.length === 0) continue;
    if (!/^[ \t]/.test(raw)) entries.push(entry = []);
    // A text that begins with white space continues nothing.
    if (entries.length === 0) entries.push(entry);
    entry.push(...tuples);
  }
  return entries;
}

/** The pairs of a line: `attr=value`, `attr="a value"`, or an attribute alone. */
function tuplesOf(raw: string, line: number): NdbTuple[] {
  const tuples: NdbTuple[] = [], pattern = /#.*|([^\s=#]+)(?:=(?:"([^"]*)"?|'([^']*)'?|([^\s#]*)))?|=/g;
  for (const [, attr, double, single, plain] of raw.matchAll(pattern)) {
    if (attr !== undefined) tuples.push({ attr, value: double ?? single ?? plain ?? "", line });
  }
  return tuples;
}

/** Pairs as text on one line, quoted where it must be. */
export function formatTuples(tuples: Iterable<{ attr: string; value: string }>): string {
  return Array.from(tuples, ({ attr, value }) => `${attr}=${quote(value)}`).join(" ");
}

function quote(value: string): string {
  const plain = value.replace(/[\r\n]/g, " ");
  if (!/[\s#"']/.test(plain)) return plain;
  return plain.includes('"') ? `'${plain.replaceAll("'", " ")}'` : `"${plain}"`;
}

/** An entry as text: the first line, then the others behind tabs. */
export function formatEntry(lines: readonly (readonly [attr: string, value: string])[][]): string {
  const texts = lines.filter((line) => line.length > 0)
    .map((line) => formatTuples(line.map(([attr, value]) => ({ attr, value }))));
  return texts.length === 0 ? "" : texts.join("\n\t") + "\n";
}

/** The values of an attribute. */
export function valuesOf(entry: NdbEntry, attr: string): string[] {
  return entry.filter((tuple) => tuple.attr === attr).map((tuple) => tuple.value);
}

function isNet(entry: NdbEntry): boolean {
  return entry[0].attr === "ipnet";
}

/** Whether an entry gives an attribute to its host: the addresses of a network are its own. */
function hasOwn(entry: NdbEntry, attr: string): boolean {
  return entry.some((tuple) => tuple.attr === attr) && !(isNet(entry) && (attr === "ip" || attr === "ipnet"));
}

function netBits(entry: NdbEntry, addr: Ip): number {
  const mask = valuesOf(entry, "ipmask")[0], bits = mask === undefined ? undefined : parseMask(mask, addr);
  if (bits !== undefined) return bits;
  return isIpv4(addr) ? V4_BITS + (addr[12] < 128 ? 8 : addr[12] < 192 ? 16 : 24) : 64;
}

function keyOf(attr: string, value: string): string {
  const ip = attr === "ip" || attr === "dns" || attr === "ipgw" ? parseIp(value) : undefined;
  return `${attr}=${ip ? formatIp(ip) : attr === "dom" ? value.toLowerCase() : value}`;
}
