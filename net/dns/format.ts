/**
 * DNS as Plan 9's `/net/dns` file speaks it: `name type` is written, lines of `name type<tab>value` are read.
 *
 * Layer: net/dns. A query that begins with `!` is answered in ndb's form, `dom=name ip=1.2.3.4`. The type `ip` is A, `ipv6` is
 * AAAA; `ptr` takes an address as well as a name. Without a type it is `ip`.
 *
 * See ndb(8), "Dns" of Plan 9, for the format; `ndb/dnsquery` prints it as it is.
 */

import { type Code, Err } from "../../core/err.ts";
import { formatIp, isIpv4, parseIp } from "../addr.ts";
import { normalName, reverseName } from "./name.ts";
import { DNS_TYPE, type DnsRecord } from "./record.ts";
import type { DnsStatus } from "./resolver.ts";

/** Types by Plan 9's names. */
const TYPES: Record<string, number> = {
  ip: DNS_TYPE.A,
  a: DNS_TYPE.A,
  ipv6: DNS_TYPE.AAAA,
  aaaa: DNS_TYPE.AAAA,
  ns: DNS_TYPE.NS,
  cname: DNS_TYPE.CNAME,
  soa: DNS_TYPE.SOA,
  ptr: DNS_TYPE.PTR,
  mx: DNS_TYPE.MX,
  txt: DNS_TYPE.TXT,
  srv: DNS_TYPE.SRV,
  caa: DNS_TYPE.CAA,
  any: DNS_TYPE.ANY,
  all: DNS_TYPE.ANY,
};

/** The name of a type: the first that means it, or `type64`. */
const NAMES = new Map<number, string>();
for (const [name, type] of Object.entries(TYPES)) if (!NAMES.has(type)) NAMES.set(type, name);

/** What a lookup that found nothing is as an error; the words for a person are Plan 9's where it has some. */
const FAILURES: Record<Exclude<DnsStatus, "ok">, readonly [Code, string]> = {
  nxdomain: ["ENOENT", "name does not exist"],
  nodata: ["ENOENT", "resource does not exist"],
  badname: ["EINVAL", "not a domain name"],
  timeout: ["ETIMEDOUT", "no server answered"],
  failed: ["EIO", "server failure"],
  busy: ["EAGAIN", "too many questions at once"],
  noserver: ["EHOSTUNREACH", "no server is known (try: dns=ADDRESS in /net/ndb)"],
  cancelled: ["EINTR", "interrupted"],
};

/** The error of a lookup of `name` that did not end well. */
export function dnsErr(status: Exclude<DnsStatus, "ok">, name: string): Err {
  const [code, words] = FAILURES[status];
  return new Err(code, `dns: ${name}: ${words}`);
}

/** What was written to the file. */
export interface DnsQuery {
  /** To be looked up; for `ptr` of an address, its reverse name with a dot at the end. */
  name: string;
  type: number;
  /** Whether answers are wanted as attributes. */
  attributes: boolean;
}

/** A query line; a string says what is wrong with it. */
export function parseDnsQuery(line: string): DnsQuery | string {
  const attributes = line.startsWith("!"),
    [name, typeName = "ip", ...rest] = line.slice(attributes ? 1 : 0).trim().split(/\s+/);
  const type = typeOf(typeName), address = parseIp(name);
  if (name === "" || rest.length > 0) return "usage: name type";
  if (type === undefined) return `unknown type ${typeName}`;
  if (type === DNS_TYPE.PTR && address !== undefined) return { name: reverseName(address) + ".", type, attributes };
  return name === "." || normalName(name) ? { name, type, attributes } : `not a domain name: ${name}`;
}

function typeOf(name: string): number | undefined {
  const lower = name.toLowerCase();
  if (Object.hasOwn(TYPES, lower)) return TYPES[lower];
  const number = /^type(\d{1,5})$/.exec(lower)?.[1];
  return number !== undefined && Number(number) <= 0xffff ? Number(number) : undefined;
}

/** The name that Plan 9 gives a type. */
export function typeName(type: number): string {
  return NAMES.get(type) ?? `type${type}`;
}

/** A record as a line, without its end. */
export function formatRecord(record: DnsRecord): string {
  return `${record.name || "."} ${typeName(record.type)}\t${valueOf(record)}`;
}

/** A record as ndb attributes, without an end of line. */
export function formatAttributes(record: DnsRecord): string {
  const { data } = record, dom = `dom=${record.name}`;
  if (data.kind === "mx") return `${dom} mx=${data.exchange} pref=${data.preference}`;
  if (data.kind === "soa") return `${dom} soa= ns=${data.mname} mb=${data.rname} serial=${data.serial}`;
  if (data.kind === "srv") {
    return `${dom} srv=${data.target} pri=${data.priority} weight=${data.weight} port=${data.port}`;
  }
  if (data.kind === "ip") return `${dom} ${isIpv4(data.ip) ? "ip" : "ipv6"}=${formatIp(data.ip)}`;
  return `${dom} ${typeName(record.type)}=${quoted(valueOf(record))}`;
}

function valueOf({ data }: DnsRecord): string {
  switch (data.kind) {
    case "ip":
      return formatIp(data.ip);
    case "name":
      return data.name || ".";
    case "mx":
      return `${data.preference} ${data.exchange || "."}`;
    case "txt":
      return printable(data.texts);
    case "soa":
      return [data.mname, data.rname, data.serial, data.refresh, data.retry, data.expire, data.minimum].join(" ");
    case "srv":
      return `${data.priority} ${data.weight} ${data.port} ${data.target || "."}`;
    case "caa":
      return `${data.flags} ${data.tag} ${printable([data.value])}`;
    case "raw":
      return Array.from(data.bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
}

/** Text of the wire on one line: UTF-8, each control character as a question mark. */
function printable(texts: readonly Uint8Array[]): string {
  const decoder = new TextDecoder();
  // deno-lint-ignore no-control-regex -- they are what is to be replaced
  return texts.map((text) => decoder.decode(text)).join("").replace(/[\x00-\x1f\x7f]/g, "?");
}

function quoted(value: string): string {
  return /[\s"'#=]/.test(value) || value === "" ? `"${value.replaceAll('"', "'")}"` : value;
}
