/**
 * The connection server: what a dial string means, as lines of a clone file and what to write to it.
 *
 * Layer: net, pure. `tcp!host!9fs` becomes `/net/tcp/clone 10.0.0.1!564`, a line for each address and, with `net!`, each
 * protocol; `*` as a host is for announcing. `$attr` is the local host's attribute, as the network database has it. A query
 * that begins with `!` searches that database. Names are asked of the database, then of DNS, through `HostResolver`.
 *
 * See ndb(8), "Cs" of Plan 9; ndb(6).
 */

import { Err } from "../core/err.ts";
import { formatIp, type Ip, isIpv4, parseIp } from "./addr.ts";
import { parsePort } from "./dial_string.ts";
import { formatTuples, type Ndb } from "./ndb.ts";
import { servicePort } from "./services.ts";

/** Where the addresses of names that the database does not have come from: DNS. */
export interface HostResolver {
  /** The addresses of a host, best first. Rejects with an Err that says why there are none. */
  addresses(name: string): Promise<readonly Ip[]>;
}

/** What a connection server knows. */
export interface CsOptions {
  /** Where the protocols' folders are, as its clients see them. */
  netdir: string;
  /** Protocols that there are; those that `net!` stands for first, in the order in which they are tried. */
  protocols: readonly string[];
  ndb: () => Ndb;
  resolver: HostResolver;
  /** The local host: its address and name, as far as they are known. */
  self: () => { ip?: Ip; sys?: string };
}

/** Lines of an answer at the most, and characters of a query. */
const MAX_LINES = 20, MAX_QUERY = 512;

/** What `net!` stands for, of what there is. */
const NET_PROTOCOLS = ["tcp", "udp"];

/** Protocols without services, and the one family that they are for. */
const NO_SERVICE = ["icmp", "icmpv6"];

/** A connection server. */
export class Cs {
  /** Whether IPv6 addresses are answered: the verb `ipv6`. */
  ipv6 = true;

  constructor(private readonly options: CsOptions) {}

  /** The lines of an answer, at least one; rejects with an Err when there is none. */
  async translate(query: string): Promise<string[]> {
    const text = query.trim();
    if (text === "" || text.length > MAX_QUERY) throw new Err("EINVAL", "cs: not a dial string");
    if (text.startsWith("!")) return this.searchNdb(text.slice(1));
    const parts = text.split("!");
    if (parts.length === 1) parts.unshift("net");
    const [proto, host, service, flag, ...rest] = parts;
    if (host === "" || rest.length > 0 || flag !== undefined && flag !== "r") {
      throw new Err("EINVAL", `cs: not a dial string: ${text}`);
    }
    const ports = this.portsOf(text, proto, service);
    const hosts: readonly (Ip | "*")[] = host === "*" ? ["*"] : await this.hostsOf(text, host);
    const lines = [...ports].flatMap(([net, port]) => this.linesOf(net, port, hosts, flag)).slice(0, MAX_LINES);
    if (lines.length === 0) throw cannot(text, "no address of the right kind");
    return lines;
  }

  private linesOf(net: string, port: string, hosts: readonly (Ip | "*")[], flag?: string): string[] {
    const clone = `${this.options.netdir}/${net}/clone`, tail = flag ? `!${flag}` : "";
    return hosts.filter((host) => host === "*" || this.suits(net, host))
      .map((host) => `${clone} ${host === "*" ? "" : `${formatIp(host)}!`}${port}${tail}`);
  }

  private suits(net: string, ip: Ip): boolean {
    const v4 = isIpv4(ip);
    if (NO_SERVICE.includes(net)) return v4 === (net === "icmp");
    return v4 || this.ipv6;
  }

  /** The protocols that a dial string may mean, each with its port as text. */
  private portsOf(text: string, proto: string, service?: string): Map<string, string> {
    const { protocols } = this.options, ports = new Map<string, string>();
    if (proto !== "net" && !protocols.includes(proto)) throw cannot(text, `no protocol ${proto} here`);
    for (const net of proto === "net" ? NET_PROTOCOLS.filter((each) => protocols.includes(each)) : [proto]) {
      const port = this.portOf(net, service);
      if (port !== undefined) ports.set(net, port);
    }
    if (ports.size > 0) return ports;
    throw service
      ? cannot(text, `no service ${service}`)
      : new Err("EINVAL", `cs: no service in ${text} (try: ${text}!9fs)`);
  }

  private portOf(net: string, service?: string): string | undefined {
    if (!service) return NO_SERVICE.includes(net) ? "1" : undefined;
    if (service === "*") return service;
    if (/^\d+$/.test(service)) return parsePort(service) === undefined ? undefined : String(Number(service));
    const known = this.options.ndb().values(net, service, "port")[0];
    const port = known === undefined ? servicePort(net, service) : parsePort(known);
    return port === undefined ? undefined : String(port);
  }

  private async hostsOf(text: string, host: string): Promise<readonly Ip[]> {
    if (!host.startsWith("$")) return await this.addressesOf(text, host);
    const names = this.attribute(host.slice(1)), all: Ip[] = [];
    if (names.length === 0) throw cannot(text, `the network database has no ${host.slice(1)} for this host`);
    for (const name of names.slice(0, MAX_LINES)) all.push(...await this.addressesOf(text, name));
    return all;
  }

  /** The local host's values of an attribute, its networks' if it has none itself. */
  attribute(attr: string): string[] {
    const { ip, sys } = this.options.self(), ndb = this.options.ndb();
    const bySys = sys ? ndb.ipInfo("sys", sys, [attr]).get(attr) : undefined;
    return bySys ?? (ip ? ndb.ipInfo("ip", formatIp(ip), [attr]).get(attr) : undefined) ?? [];
  }

  private async addressesOf(text: string, host: string): Promise<readonly Ip[]> {
    const literal = parseIp(host);
    if (literal !== undefined) return [literal];
    const known = this.options.ndb().values(host.includes(".") ? "dom" : "sys", host, "ip");
    const addresses = known.flatMap((each) => parseIp(each) ?? []);
    if (addresses.length > 0) return addresses;
    try {
      return await this.options.resolver.addresses(host);
    } catch (thrown) {
      if (!(thrown instanceof Err)) throw thrown;
      throw cannot(text, thrown.message, thrown);
    }
  }

  /** The entries that have all these pairs, a line each. */
  private searchNdb(text: string): string[] {
    const pairs = text.trim().split(/\s+/).map((pair) => {
      const equals = pair.indexOf("=");
      return equals < 0 ? { attr: pair, value: "*" } : { attr: pair.slice(0, equals), value: pair.slice(equals + 1) };
    });
    const [first, ...others] = pairs, ndb = this.options.ndb();
    const sets = others.map(({ attr, value }) => new Set(ndb.search(attr, value)));
    const lines = ndb.search(first.attr, first.value).filter((entry) => sets.every((set) => set.has(entry)))
      .slice(0, MAX_LINES).map(formatTuples);
    if (lines.length === 0) throw new Err("ENOENT", `cs: nothing in the network database has ${text.trim()}`);
    return lines;
  }
}

function cannot(text: string, why: string, cause?: unknown): Err {
  const code = cause instanceof Err ? cause.code : "ENOENT";
  return new Err(code, `cs: can't translate address ${text}: ${why}`, { cause });
}
