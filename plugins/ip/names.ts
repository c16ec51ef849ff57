/**
 * Names: the network database of a stack, the connection server, and DNS, as the files ndb, cs and dns have them.
 *
 * Layer: plugins/ip, over net/ndb.ts, net/cs.ts and net/dns. What holds always: cs and the resolver see a change of ndb at
 * once; a lookup ends when its request is flushed.
 *
 * See ndb(6), ndb(8) of Plan 9.
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { Cs, type HostResolver } from "../../net/cs.ts";
import { Ndb } from "../../net/ndb.ts";
import { type Ip, parseIp } from "../../net/addr.ts";

/** Answers what is written to the dns file. */
export interface DnsService extends HostResolver {
  /** Lines, for `name type`. */
  query(text: string, req: Req): Promise<string[]>;
  addresses(name: string, req?: Req): Promise<readonly Ip[]>;
  /** The database has changed: name servers and domains may be others. */
  configure(ndb: Ndb): void;
  /** Forgets what it has heard. */
  refresh(): void;
}

/** What names are made with. */
export interface NamesOptions {
  /** Where the protocols are, as clients see them. */
  netdir: string;
  protocols: readonly string[];
  /** What this host is called, and its address, as far as they are known. */
  self: () => { ip?: Ip; sys?: string };
  /** Lines of ndb that the image gave: they stay whatever is written. */
  local: string;
  dns: DnsService;
}

/** Bytes of the ndb file. */
const MAX_TEXT = 64 << 10;

/** See the head of this file. */
export class Names {
  #text = "";
  #ndb: Ndb;
  /** What DHCP told, by interface. */
  readonly #leases = new Map<number, string>();
  readonly #options: NamesOptions;

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#ndb = new Ndb(options.local);
    options.dns.configure(this.#ndb);
  }

  /** The file: what was learned, then what was written. */
  get text(): string {
    return [...this.#leases.values()].join("") + this.#text;
  }

  get ndb(): Ndb {
    return this.#ndb;
  }

  /** Replaces what was written, and what was learned: the file is what it holds. */
  set(text: string): void {
    if (text.length > MAX_TEXT) throw new Err("EFBIG", `ndb has at most ${MAX_TEXT} bytes`);
    this.#leases.clear();
    this.#text = text === "" || text.endsWith("\n") ? text : `${text}\n`;
    this.#changed();
  }

  /** What DHCP told of an interface; empty: nothing any more. */
  setLease(iface: number, entry: string): void {
    if (entry === "") this.#leases.delete(iface);
    else this.#leases.set(iface, entry);
    this.#changed();
  }

  #changed(): void {
    this.#ndb = new Ndb(this.text, this.#options.local);
    this.#options.dns.configure(this.#ndb);
  }

  /** What a dial string means: lines of a clone file and what to write to it. */
  translate(query: string, req: Req): Promise<string[]> {
    const { netdir, protocols, self, dns } = this.#options;
    if (query === "refresh") {
      dns.refresh();
      return Promise.resolve([]);
    }
    // One for each query, so that a flush ends the lookups that are this query's.
    const resolver = { addresses: (name: string) => dns.addresses(name, req) };
    const cs = new Cs({ netdir, protocols, ndb: () => this.#ndb, resolver, self });
    return cs.translate(query);
  }

  query(text: string, req: Req): Promise<string[]> {
    if (text === "refresh") {
      this.#options.dns.refresh();
      return Promise.resolve([]);
    }
    return this.#options.dns.query(text, req);
  }

  save(): SavedNames {
    return { text: this.#text, leases: [...this.#leases] };
  }

  restore({ text, leases }: SavedNames): void {
    this.#text = text;
    for (const [iface, entry] of leases) this.#leases.set(iface, entry);
    this.#changed();
  }
}

/** As saved. */
export interface SavedNames {
  text: string;
  leases: [iface: number, entry: string][];
}

/** Name servers and search domains of a database: all that it has, in its order. */
export function dnsSettings(ndb: Ndb): { servers: Ip[]; search: string[] } {
  const all = (attr: string) =>
    ndb.search(attr, "*").flatMap((entry) => entry.filter((tuple) => tuple.attr === attr).map((tuple) => tuple.value));
  const servers = all("dns").flatMap((text) => parseIp(text) ?? []);
  return { servers, search: [...new Set(all("dnsdomain"))] };
}
