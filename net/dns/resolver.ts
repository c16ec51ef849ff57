/**
 * A stub resolver: asks recursive servers, and remembers.
 *
 * Layer: net/dns, pure. Whoever has the network sends what `poll` answers, gives it what comes back (`input`) and what can not be
 * sent (`failed`), and calls again at `pollAt`. Chance comes in: ids and source ports are unpredictable to those who would
 * forge answers, and with `mixCase` the case of the question's letters too.
 *
 * What holds always: an answer counts if server, ports, id and question are those of something that was asked and is not answered
 * yet. Each lookup ends: with an answer, or because servers, tries and time ran out; not before each that was asked failed or
 * had its time. Equal questions are asked once.
 * Of an answer only the chain from the question is used: aliases, and the records at their end.
 *
 * See RFC 1034, 5.3.1; RFC 5452 (forged answers); RFC 2308; RFC 7766 (TCP); RFC 8305, 4 (order of addresses); resolv.conf(5).
 */

import { type Ip, ipFromV4, parseIp, sameIp } from "../addr.ts";
import { DnsCache } from "./cache.ts";
import { decodeMessage } from "./decode.ts";
import { encodeMessage } from "./encode.ts";
import { canonicalName, isAbsolute, normalName, parseName, sameName } from "./name.ts";
import { CLASS_IN, DNS_TYPE, type DnsMessage, type DnsRecord, makeMessage, RCODE } from "./record.ts";

export const DNS_PORT = 53;

/** How a lookup ended. `busy`: too many at once; `timeout`: no server answered; `failed`: those that did could not tell. */
export type DnsStatus =
  | "ok"
  | "nxdomain"
  | "nodata"
  | "badname"
  | "timeout"
  | "failed"
  | "busy"
  | "noserver"
  | "cancelled";

/** What a lookup came to. */
export interface DnsAnswer {
  status: DnsStatus;
  /** The name that was found: with what of the search list made it up. */
  name: string;
  /** Aliases, then what they lead to; empty unless `ok`. */
  records: DnsRecord[];
}

/** A message to be sent. By TCP its length in two bytes goes before it. */
export interface DnsSend {
  server: Ip;
  tcp: boolean;
  /** The source port to use, for UDP; also by what `input` and `failed` know which one it was. */
  port: number;
  bytes: Uint8Array;
}

/** How a resolver works. */
export interface ResolverOptions {
  /** 32 random bits. */
  random: () => number;
  servers?: readonly Ip[];
  /** Domains that short names are tried in. */
  search?: readonly string[];
  /** A name with at least so many dots is tried as it is first. */
  ndots?: number;
  /** For the first try of each server; the next waits twice as long. */
  timeoutMs?: number;
  /** Rounds through the servers. */
  attempts?: number;
  /** Letters of questions in random case, which answers have to repeat; some servers do not. */
  mixCase?: boolean;
  cacheEntries?: number;
}

/** What is told to servers about the size of answers: what fits without fragments (the DNS flag day's figure). */
const UDP_BYTES = 1232;
const MAX_QUERIES = 256, MAX_CHAIN = 12, MAX_SERVERS = 8, FIRST_PORT = 1024;
/** By TCP a connection is to be made first. */
const TCP_TIMEOUT_MS = 5000;
/** Who is called so late has not read what came meanwhile: the last try gets so much longer. */
const LATE_MS = 50, GRACE_MS = 500;

const LOOPBACK6: Ip = parseIp("::1")!, LOOPBACK4: Ip = ipFromV4(0x7f000001);

/** One question that is being asked, for all who want to know. */
interface Query {
  key: string;
  name: string;
  type: number;
  waiting: ((result: Result) => void)[];
  /** Index of the server asked last, and how many times any was. */
  server: number;
  tries: number;
  dueMs: number;
  /** Whether any server answered at all. */
  answered: boolean;
  /** Whether the last try was given more time, since `poll` came late. */
  graced: boolean;
  edns: boolean;
  flights: Flight[];
}

/** A transmission that may still be answered. */
interface Flight {
  query: Query;
  server: Ip;
  id: number;
  port: number;
  tcp: boolean;
  /** The question's name as it was sent. */
  sentName: string;
  /** Until when it has the time to be answered. */
  dueMs: number;
}

interface Result {
  status: DnsStatus;
  records: DnsRecord[];
}

/** The resolver. */
export class Resolver {
  readonly cache: DnsCache;
  /** Answers that matched nothing that was asked. */
  ignored = 0;
  private options: Required<Omit<ResolverOptions, "cacheEntries">>;
  private readonly queries = new Map<string, Query>();
  private readonly flights = new Map<number, Flight>();
  private readonly outgoing: DnsSend[] = [];
  /** Index of the server that answered last. */
  private preferred = 0;
  /** The time of the last call that told it: what waiters go on with. */
  private clock = 0;

  constructor({ cacheEntries, ...options }: ResolverOptions) {
    this.cache = new DnsCache(cacheEntries);
    this.options = {
      servers: [],
      search: [],
      ndots: 1,
      timeoutMs: 2000,
      attempts: 2,
      mixCase: false,
      ...options,
    };
  }

  /** Changes servers, search list and so on, for questions from now on. */
  configure(options: Partial<Omit<ResolverOptions, "cacheEntries">>): void {
    this.options = { ...this.options, ...options };
    this.preferred = 0;
  }

  get servers(): readonly Ip[] {
    return this.options.servers.slice(0, MAX_SERVERS);
  }

  /**
   * Looks a name up, by the search list unless it ends in a dot. `done` is called once, perhaps at once; what is answered
   * cancels it (and `done` is told so).
   */
  lookup(name: string, type: number, now: number, done: (answer: DnsAnswer) => void): () => void {
    const names = this.candidates(name);
    let over = names.length === 0, seen: DnsStatus = "nxdomain";
    const finish = (answer: DnsAnswer) => {
      over = true;
      done(answer);
    };
    const next = (i: number, at: number) => {
      if (i === names.length) return finish({ status: seen, name: names.at(-1)!, records: [] });
      this.chase(names[i], type, at, [], ({ status, records }, later) => {
        if (over) return;
        if (status === "nodata") seen = "nodata";
        if (status !== "nxdomain" && status !== "nodata") return finish({ status, name: names[i], records });
        next(i + 1, later);
      });
    };
    if (over) done({ status: "badname", name, records: [] });
    else next(0, now);
    return () => {
      if (!over) finish({ status: "cancelled", name, records: [] });
    };
  }

  /**
   * The addresses of a host, of both kinds, as they are best tried: IPv6 first, then in turns. `done` as for `lookup`. An
   * address is its own, and `localhost` is this host without a question (RFC 6761, 6.3).
   */
  addresses(name: string, now: number, done: (status: DnsStatus, addresses: Ip[], name: string) => void): () => void {
    const literal = parseIp(name), plain = canonicalName(name);
    if (literal !== undefined || plain === "localhost" || plain.endsWith(".localhost")) {
      done("ok", literal ? [literal] : [LOOPBACK6, LOOPBACK4], plain);
      return () => {};
    }
    const found: (DnsAnswer | undefined)[] = [undefined, undefined];
    const one = (i: number) => (answer: DnsAnswer) => {
      found[i] = answer;
      const [v6, v4] = found;
      if (v6 === undefined || v4 === undefined) return;
      const best = [v6, v4].find((each) => each.status === "ok") ??
        [v6, v4].find((each) => each.status !== "nxdomain" && each.status !== "nodata") ?? v4;
      done(best.status, inTurns(addressesOf(v6.records), addressesOf(v4.records)), best.name);
    };
    const cancels = [this.lookup(name, DNS_TYPE.AAAA, now, one(0)), this.lookup(name, DNS_TYPE.A, now, one(1))];
    return () => cancels.forEach((cancel) => cancel());
  }

  /** When `poll` is to be called again; Infinity: nothing is being asked. */
  pollAt(): number {
    if (this.outgoing.length > 0) return 0;
    let due = Infinity;
    if (this.queries.size === 0) return due;
    for (const query of this.queries.values()) due = Math.min(due, query.dueMs);
    return due;
  }

  /** The next message to be sent; call until there is none. */
  poll(now: number): DnsSend | undefined {
    if (this.queries.size > 0) {
      for (const query of [...this.queries.values()]) if (query.dueMs <= now) this.ask(query, now);
    }
    return this.outgoing.shift();
  }

  /** What came from a server's port 53 to `port`, by UDP or TCP. Answers whether it was an answer to anything. */
  input(
    bytes: Uint8Array,
    from: { server: Ip; port: number; tcp: boolean },
    now: number,
    at = 0,
    end = bytes.length,
  ): boolean {
    const flight = this.flights.get(from.port), message = flight && decodeMessage(bytes, at, end);
    if (flight === undefined || message === undefined || !answers(message, flight, from, this.options.mixCase)) {
      this.ignored++;
      return false;
    }
    this.land(flight);
    this.heard(flight, message, now);
    return true;
  }

  /** A message of `poll` could not be sent, or its connection was refused or ended. */
  failed(port: number, now: number): void {
    const flight = this.flights.get(port);
    if (flight === undefined) return;
    this.land(flight);
    this.goOn(flight, now);
  }

  /** Whether an answer may still come to a port of `poll`'s; when not, what was opened for it is to be closed. */
  awaits(port: number): boolean {
    return this.flights.has(port);
  }

  /** The names that a name may stand for, in order. */
  private candidates(name: string): string[] {
    if (name === ".") return [""];
    const plain = canonicalName(normalName(name) ?? "");
    if (plain === "") return [];
    if (isAbsolute(name)) return [plain];
    const searched = this.options.search.map((domain) => `${plain}.${canonicalName(domain)}`);
    const dots = parseName(plain)!.length - 1;
    const all = dots >= this.options.ndots ? [plain, ...searched] : [...searched, plain];
    return all.filter((each) => parseName(each) !== undefined);
  }

  /** Follows aliases from `name` until there are records of `type`, asking as often as it must. */
  private chase(
    name: string,
    type: number,
    now: number,
    chain: DnsRecord[],
    done: (result: Result, now: number) => void,
  ): void {
    const cached = this.fromCache(name, type, now);
    if (cached === undefined) {
      this.question(name, type, now, (result, later) => this.follow(name, type, later, chain, result, done));
    } else {
      this.follow(name, type, now, chain, cached, done);
    }
  }

  private follow(
    name: string,
    type: number,
    now: number,
    chain: DnsRecord[],
    result: Result,
    done: (result: Result, now: number) => void,
  ): void {
    const records = [...chain, ...result.records], last = records.at(-1);
    const aliased = result.status === "ok" && last?.type === DNS_TYPE.CNAME && type !== DNS_TYPE.CNAME &&
      type !== DNS_TYPE.ANY && last.data.kind === "name";
    if (!aliased) return done({ status: result.status, records: result.status === "ok" ? records : [] }, now);
    const target = (last.data as { name: string }).name;
    const loops = records.some((record) => sameName(record.name, target)) || sameName(name, target);
    if (loops || records.length > MAX_CHAIN) return done({ status: "failed", records: [] }, now);
    this.chase(target, type, now, records, done);
  }

  private fromCache(name: string, type: number, now: number): Result | undefined {
    for (const each of type === DNS_TYPE.CNAME || type === DNS_TYPE.ANY ? [type] : [type, DNS_TYPE.CNAME]) {
      const cached = this.cache.get(name, each, now);
      if (cached === "nxdomain") return { status: cached, records: [] };
      if (cached === "nodata" && each === type) return { status: cached, records: [] };
      if (Array.isArray(cached)) return { status: "ok", records: cached };
    }
    return undefined;
  }

  private question(name: string, type: number, now: number, done: (result: Result, now: number) => void): void {
    const key = `${type} ${canonicalName(name)}`, known = this.queries.get(key);
    const fail = (status: DnsStatus) => done({ status, records: [] }, now);
    const waiter = (result: Result) => done(result, this.clock);
    this.clock = now;
    if (known) return void known.waiting.push(waiter);
    if (this.servers.length === 0) return fail("noserver");
    if (this.queries.size >= MAX_QUERIES) return fail("busy");
    const query = {
      key,
      name,
      type,
      waiting: [waiter],
      server: this.preferred,
      tries: 0,
      dueMs: now,
      answered: false,
      graced: false,
      edns: true,
      flights: [],
    };
    this.queries.set(key, query);
  }

  /** Sends a question to the next server, or gives up. */
  private ask(query: Query, now: number): void {
    const { servers, options } = this;
    if (servers.length === 0 || query.tries >= servers.length * options.attempts) return this.giveUp(query, now);
    if (query.tries > 0) query.server++;
    const round = Math.floor(query.tries++ / servers.length);
    this.send(query, servers[query.server % servers.length], {
      tcp: false,
      dueMs: now + options.timeoutMs * 2 ** round,
    });
  }

  /** Ends a question that is asked no more, unless an answer may still come in time. */
  private giveUp(query: Query, now: number): void {
    const until = Math.max(...query.flights.map((flight) => flight.dueMs)), late = now - query.dueMs >= LATE_MS;
    if (until > now) {
      query.dueMs = until;
    } else if (late && query.flights.length > 0 && !query.graced) {
      query.graced = true;
      query.dueMs = now + GRACE_MS;
    } else {
      this.settle(query, { status: query.answered ? "failed" : "timeout", records: [] }, now);
    }
  }

  /** A server could not tell, or not be reached: the next one at once, unless one that was asked later may still answer. */
  private goOn({ query, dueMs }: Flight, now: number): void {
    if (!query.flights.some((other) => other.dueMs > dueMs)) query.dueMs = now;
  }

  private send(query: Query, server: Ip, { tcp, dueMs }: { tcp: boolean; dueMs: number }): void {
    const { random } = this.options, port = this.freePort();
    const sentName = this.options.mixCase ? mixCase(query.name, random) : query.name;
    const flight = { query, server, id: random() & 0xffff, port, tcp, sentName, dueMs };
    query.dueMs = dueMs;
    this.flights.set(port, flight);
    query.flights.push(flight);
    const edns = { udpBytes: UDP_BYTES, version: 0, dnssecOk: false, options: new Uint8Array(0) };
    const bytes = encodeMessage(makeMessage({
      id: flight.id,
      recursionDesired: true,
      questions: [{ name: sentName, type: query.type, class: CLASS_IN }],
      edns: query.edns ? edns : undefined,
    }));
    this.outgoing.push({ server, tcp, port, bytes });
  }

  private freePort(): number {
    for (;;) {
      const port = FIRST_PORT + (this.options.random() >>> 0) % (65_536 - FIRST_PORT);
      if (!this.flights.has(port)) return port;
    }
  }

  /** A transmission is done with. */
  private land(flight: Flight): void {
    this.flights.delete(flight.port);
    flight.query.flights = flight.query.flights.filter((other) => other !== flight);
  }

  private heard(flight: Flight, message: DnsMessage, now: number): void {
    const { query, server } = flight;
    query.answered = true;
    if (message.truncated && !flight.tcp) {
      return this.send(query, server, { tcp: true, dueMs: now + TCP_TIMEOUT_MS });
    }
    if (
      query.edns &&
      (message.rcode === RCODE.formErr || message.rcode === RCODE.notImp || message.rcode === RCODE.badVers)
    ) {
      query.edns = false;
      return this.send(query, server, { tcp: flight.tcp, dueMs: now + this.options.timeoutMs });
    }
    const result = message.rcode === RCODE.noError || message.rcode === RCODE.nxDomain
      ? this.read(query, message, now)
      : undefined;
    // It can not tell, or refers to others, which is not for a stub.
    if (result === undefined) return this.goOn(flight, now);
    this.preferred = Math.max(this.servers.findIndex((each) => sameIp(each, server)), 0);
    this.settle(query, result, now);
  }

  /** What an answer says about its question; keeps it. Undefined for what is no answer. */
  private read({ name, type }: Query, message: DnsMessage, now: number): Result | undefined {
    const records: DnsRecord[] = [];
    let target = name;
    for (let i = 0; i < MAX_CHAIN; i++) {
      const of = message.answers.filter((record) => record.class === CLASS_IN && sameName(record.name, target));
      const wanted = of.filter((record) => record.type === type || type === DNS_TYPE.ANY);
      const alias = wanted.length > 0 ? undefined : of.find((record) => record.type === DNS_TYPE.CNAME);
      records.push(...wanted, ...(alias ? [alias] : []));
      if (alias?.data.kind !== "name") break;
      target = alias.data.name;
    }
    // ANY's sets are a choice of the server's, not whole.
    if (type !== DNS_TYPE.ANY) this.cache.put(records, now);
    const negative = message.rcode === RCODE.nxDomain ? "nxdomain" : "nodata";
    if (records.some((record) => record.type === type) || type === DNS_TYPE.ANY && records.length > 0) {
      return { status: "ok", records };
    }
    const referral = message.rcode === RCODE.noError && records.length === 0 && !message.authoritative &&
      !message.recursionAvailable && message.authority.some((record) => record.type === DNS_TYPE.NS);
    if (referral) return undefined;
    if (message.rcode === RCODE.nxDomain || records.length === 0) {
      this.cache.putNegative(target, type, negative, message.authority, now);
      return { status: negative, records: [] };
    }
    // An alias whose end is not in the answer, with or without a word of the zone there.
    if (message.authority.some((record) => record.type === DNS_TYPE.SOA)) {
      this.cache.putNegative(target, type, "nodata", message.authority, now);
      return { status: "nodata", records: [] };
    }
    return { status: "ok", records };
  }

  private settle(query: Query, result: Result, now: number): void {
    this.clock = now;
    this.queries.delete(query.key);
    for (const flight of query.flights) this.flights.delete(flight.port);
    query.flights = [];
    for (const waiter of query.waiting) waiter(result);
  }
}

/** Whether a message is the answer to a transmission. */
function answers(
  message: DnsMessage,
  flight: Flight,
  from: { server: Ip; tcp: boolean },
  exactCase: boolean,
): boolean {
  const [question] = message.questions;
  return message.isResponse && message.opcode === 0 && message.id === flight.id && from.tcp === flight.tcp &&
    sameIp(from.server, flight.server) && message.questions.length === 1 &&
    (exactCase ? question.name === flight.sentName : sameName(question.name, flight.sentName)) &&
    question.type === flight.query.type && question.class === CLASS_IN;
}

/** Letters in random case. */
function mixCase(name: string, random: () => number): string {
  return name.replace(/[a-z]/g, (char) => (random() & 0x10000) !== 0 ? char.toUpperCase() : char);
}

/** The addresses of records. */
export function addressesOf(records: readonly DnsRecord[]): Ip[] {
  return records.flatMap((record) => record.data.kind === "ip" ? [record.data.ip] : []);
}

/** One of each in turns, the first list's first. */
export function inTurns(first: readonly Ip[], second: readonly Ip[]): Ip[] {
  const list: Ip[] = [];
  for (let i = 0; i < Math.max(first.length, second.length); i++) {
    list.push(...first.slice(i, i + 1), ...second.slice(i, i + 1));
  }
  return list;
}
