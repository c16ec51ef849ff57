/**
 * DNS over a stack's own UDP and TCP: gives the resolver its sockets and its time.
 *
 * Layer: plugins/ip, over net/dns/resolver.ts. A socket for each question, from a port that cannot be foretold, closed when
 * no answer is awaited there any more. A name server that a router told of is asked after those of the database.
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { formatIp, type Ip, sameIp } from "../../net/addr.ts";
import { dnsErr, formatAttributes, formatRecord, parseDnsQuery } from "../../net/dns/format.ts";
import { DNS_PORT, type DnsSend, Resolver } from "../../net/dns/resolver.ts";
import type { Ndb } from "../../net/ndb.ts";
import { type Conn, EVENT } from "../../net/tcp/conn.ts";
import type { UdpConv } from "../../net/udp/conv.ts";
import { get16 } from "../../net/wire/packet.ts";
import { type DnsService, dnsSettings } from "./names.ts";
import type { Net } from "./net.ts";
import type { Job } from "./runner.ts";

const MAX_MESSAGE = 65_535, LENGTH_BYTES = 2;

/** See the head of this file. */
export class StackDns implements DnsService, Job {
  readonly resolver: Resolver;
  readonly #net: Net;
  /** Servers of the database; those of routers are added when a question is asked. */
  #servers: Ip[] = [];
  #search: string[] = [];
  /** What was opened, by the port that it is for. */
  readonly #sockets = new Map<number, { close(): void }>();
  readonly #buffer = new Uint8Array(MAX_MESSAGE);
  /** What the resolver was told last. */
  #told = "";

  constructor(net: Net) {
    this.#net = net;
    this.resolver = new Resolver({ random: net.random32 });
    net.runner.add(this);
  }

  configure(ndb: Ndb): void {
    const { servers, search } = dnsSettings(ndb);
    this.#servers = servers;
    this.#search = search;
  }

  refresh(): void {
    this.resolver.cache.clear();
  }

  query(text: string, req: Req): Promise<string[]> {
    const asked = parseDnsQuery(text);
    if (typeof asked === "string") return Promise.reject(new Err("EINVAL", `dns: ${asked}`));
    const { name, type, attributes } = asked, format = attributes ? formatAttributes : formatRecord;
    return this.#ask(
      req,
      (now, resolve, reject) =>
        this.resolver.lookup(
          name,
          type,
          now,
          ({ status, records }) => status === "ok" ? resolve(records.map(format)) : reject(dnsErr(status, name)),
        ),
    );
  }

  addresses(name: string, req?: Req): Promise<readonly Ip[]> {
    return this.#ask(
      req,
      (now, resolve, reject) =>
        this.resolver.addresses(
          name,
          now,
          (status, addresses) => status === "ok" ? resolve(addresses) : reject(dnsErr(status, name)),
        ),
    );
  }

  /** Begins a lookup, and ends it when the request is flushed. */
  #ask<T>(
    req: Req | undefined,
    begin: (now: number, resolve: (value: T) => void, reject: (why: Err) => void) => () => void,
  ): Promise<T> {
    this.#learnServers();
    return new Promise((resolve, reject) => {
      const cancel = begin(this.#net.runner.tick(), resolve, reject);
      req?.onFlush(cancel);
      this.#net.runner.kick();
    });
  }

  #learnServers(): void {
    const told = this.#net.stack.ip.routers.nameServers.map(({ ip }) => ip);
    const servers = [...this.#servers, ...told.filter((ip) => !this.#servers.some((each) => sameIp(each, ip)))];
    const key = `${servers.map(formatIp).join()} ${this.#search.join()}`;
    if (key === this.#told) return;
    this.#told = key;
    this.resolver.configure({ servers, search: this.#search });
  }

  pollAt(): number {
    return this.resolver.pollAt();
  }

  poll(now: number): void {
    for (let send = this.resolver.poll(now); send !== undefined; send = this.resolver.poll(now)) {
      try {
        if (send.tcp) this.#dial(send, now);
        else this.#send(send, now);
      } catch (thrown) {
        if (!(thrown instanceof Err)) throw thrown;
        this.resolver.failed(send.port, now);
      }
    }
    for (const [port, socket] of this.#sockets) {
      if (this.resolver.awaits(port)) continue;
      this.#sockets.delete(port);
      socket.close();
    }
  }

  #send({ server, port, bytes }: DnsSend, now: number): void {
    const conv = this.#net.stack.udp.open();
    this.#sockets.set(port, conv);
    conv.onChange = () => this.#received(conv, server, port);
    conv.connect(server, DNS_PORT, undefined, port);
    conv.send(bytes, 0, bytes.length, now);
  }

  #received(conv: UdpConv, server: Ip, port: number): void {
    const { now } = this.#net.runner;
    try {
      for (let count = 0; (count = conv.recv(this.#buffer, 0, MAX_MESSAGE)) >= 0;) {
        this.resolver.input(this.#buffer, { server, port, tcp: false }, now, 0, count);
      }
    } catch {
      // ICMP says that nobody is there: the next server, at once.
      this.resolver.failed(port, now);
    }
    this.#net.runner.kick();
  }

  #dial({ server, port, bytes }: DnsSend, now: number): void {
    const conn = this.#net.stack.tcp.connect(server, DNS_PORT, {}, now);
    if (conn instanceof Err) throw conn;
    this.#sockets.set(port, conn);
    conn.setNodelay(true);
    conn.write(Uint8Array.of(bytes.length >> 8, bytes.length & 255, ...bytes));
    conn.onEvents = (_conn, events) => this.#heard(conn, events, server, port);
  }

  /** A message by TCP: its length in two bytes, then itself. */
  #heard(conn: Conn, events: number, server: Ip, port: number): void {
    const { now } = this.#net.runner, head = new Uint8Array(LENGTH_BYTES);
    if (conn.available >= LENGTH_BYTES) {
      const first = conn.peek();
      head.set(first.subarray(0, LENGTH_BYTES));
      const length = get16(head, 0);
      if (conn.available >= LENGTH_BYTES + length) {
        conn.read(head);
        const message = new Uint8Array(length);
        conn.read(message);
        this.resolver.input(message, { server, port, tcp: true }, now);
      }
    }
    if (this.resolver.awaits(port) && (events & (EVENT.ended | EVENT.hangup)) !== 0) this.resolver.failed(port, now);
    this.#net.runner.kick();
  }
}
