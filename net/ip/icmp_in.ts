/**
 * ICMP and ICMPv6 messages for this host: echo is answered, errors go to the transport that sent what they quote.
 *
 * Layer: net/ip, under input.ts.
 * What holds always: an error changes nothing here unless a transport says that it sent what is quoted (RFC 5927).
 *
 * See RFC 792, RFC 1122, 3.2.2; RFC 4443; RFC 1191 and RFC 8201 (too big).
 */

import { type Ip, ipFromV4, isLoopback, UNSPECIFIED } from "../addr.ts";
import type { Arrival, Trouble } from "../tcp/lower.ts";
import { EXCEEDED, ICMP, Icmp, UNREACHABLE } from "../wire/icmp.ts";
import { ICMPV6, Icmpv6, UNREACHABLE6 } from "../wire/icmpv6.ts";
import { Ipv4, PROTO } from "../wire/ipv4.ts";
import { Ipv6, IPV6_BYTES, Ipv6Chain } from "../wire/ipv6.ts";
import { MLD } from "./groups.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import { CONTROL } from "./output.ts";
import { plateauBelow } from "./path_mtu.ts";

/** What listens to ICMP messages: conversations of the icmp and icmpv6 files. */
export interface IcmpSink {
  /** A message, its header from `ipAt`, the message in [at, end). True when somebody took it. */
  icmp(v4: boolean, bytes: Uint8Array, ipAt: number, at: number, end: number, arrival: Arrival): boolean;
}

/** How an echo is answered: with the sender's DSCP, and DF off. */
const ECHO = { ...CONTROL };

export class IcmpIn {
  readonly #layer: IpLayer;
  readonly #icmp = new Icmp();
  readonly #icmp6 = new Icmpv6();
  readonly #quoted4 = new Ipv4();
  readonly #quoted6 = new Ipv6();
  readonly #chain = new Ipv6Chain();
  readonly #trouble: Trouble;

  constructor(layer: IpLayer) {
    this.#layer = layer;
    const bytes = new Uint8Array(0);
    this.#trouble = { kind: "too big", mtu: 0, local: UNSPECIFIED, remote: UNSPECIFIED, bytes, at: 0, end: 0 };
  }

  /** A message [at, end) of the packet. `toUs`: to one of our own addresses, not to a group or all. */
  input4(ip: Ipv4, at: number, end: number, arrival: Arrival, toUs: boolean): void {
    const icmp = this.#icmp, counters = this.#layer.icmp4, { bytes } = ip;
    counters.InMsgs++;
    if (icmp.parse(bytes, at, end) !== undefined) {
      counters.InErrors++;
      return;
    }
    if (!arrival.checksumGood && !icmp.checksumOk) {
      counters.InCsumErrors++;
      return;
    }
    this.#layer.icmpSink?.icmp(true, bytes, ip.at, at, end, arrival);
    switch (icmp.type) {
      case ICMP.echo:
        counters.InEchos++;
        if (toUs) this.#echo(PROTO.icmp, bytes, at, end, arrival, ICMP.echoReply);
        return;
      case ICMP.echoReply:
        counters.InEchoReps++;
        return;
      case ICMP.unreachable:
      case ICMP.timeExceeded:
      case ICMP.parameterProblem:
        if (toUs) this.#error4();
        return;
      case ICMP.redirect:
        counters.InRedirects++;
        this.#layer.counters.RedirectsIgnored++;
        return;
    }
    counters.InOthers++;
  }

  /** The same for IPv6. */
  input6(iface: Iface, ip: Ipv6, at: number, arrival: Arrival, toUs: boolean): void {
    const icmp = this.#icmp6, counters = this.#layer.icmp6, { bytes, end } = ip;
    counters.InMsgs++;
    if (icmp.parse(bytes, at, end) !== undefined) {
      counters.InErrors++;
      return;
    }
    if (!arrival.checksumGood && !icmp.checksumOk(arrival.pseudoSum)) {
      counters.InCsumErrors++;
      return;
    }
    const { type } = icmp;
    if (type >= ICMPV6.routerSolicit && type <= ICMPV6.redirect) return this.#layer.nd.input(iface, ip, at);
    if (type >= MLD.query && type <= MLD.done) {
      if (ip.hopLimit === 1) this.#layer.groups.mld(iface, ip, at);
      return;
    }
    this.#layer.icmpSink?.icmp(false, bytes, ip.at, at, end, arrival);
    if (type === ICMPV6.echo) {
      counters.InEchos++;
      this.#echo(PROTO.icmpv6, bytes, at, end, arrival, ICMPV6.echoReply);
    } else if (type === ICMPV6.echoReply) counters.InEchoReps++;
    else if (icmp.isError) {
      if (toUs) this.#error6();
    } else counters.InOthers++;
  }

  /** Answers an echo: from the address that it went to; when that is a group, from one of ours. */
  #echo(proto: number, bytes: Uint8Array, at: number, end: number, arrival: Arrival, type: number): void {
    const { output, paths, addresses } = this.#layer;
    const isOurs = addresses.find(arrival.dst)?.kind === "unicast" || isLoopback(arrival.dst);
    const path = paths.find(arrival.src, isOurs ? arrival.dst : UNSPECIFIED);
    if (typeof path === "string" || !output.begin(path, proto, end - at)) return;
    output.buf.set(bytes.subarray(at, end), output.at);
    output.buf[output.at] = type;
    output.buf[output.at + 1] = 0;
    output.end(end - at, 2, ECHO);
    const counters = proto === PROTO.icmp ? this.#layer.icmp4 : this.#layer.icmp6;
    counters.OutMsgs++;
    counters.OutEchoReps++;
  }

  #error4(): void {
    const icmp = this.#icmp, quoted = this.#quoted4, counters = this.#layer.icmp4;
    const kind = kindOf4(icmp.type, icmp.code);
    if (icmp.type === ICMP.unreachable) counters.InDestUnreachs++;
    else if (icmp.type === ICMP.timeExceeded) counters.InTimeExcds++;
    else counters.InParmProbs++;
    if (kind === undefined || quoted.parseQuote(icmp.bytes, icmp.payloadAt, icmp.end) !== undefined) return;
    if (quoted.fragmentOffset !== 0) return;
    const total = quoted.bytes[quoted.at + 2] << 8 | quoted.bytes[quoted.at + 3];
    const mtu = kind === "too big" ? icmp.mtu || plateauBelow(total) : 0;
    if (mtu !== 0 && mtu >= total) {
      this.#layer.counters.PathMtuRefused++;
      return;
    }
    this.#tell(
      quoted.proto,
      kind,
      mtu,
      ipFromV4(quoted.src),
      ipFromV4(quoted.dst),
      quoted.bytes,
      quoted.payloadAt,
      quoted.end,
    );
  }

  #error6(): void {
    const icmp = this.#icmp6, quoted = this.#quoted6, chain = this.#chain, counters = this.#layer.icmp6;
    if (icmp.type === ICMPV6.unreachable) counters.InDestUnreachs++;
    else if (icmp.type === ICMPV6.packetTooBig) counters.InTooBigs++;
    else if (icmp.type === ICMPV6.timeExceeded) counters.InTimeExcds++;
    else counters.InParmProbs++;
    const kind = kindOf6(icmp.type, icmp.code);
    if (kind === undefined || quoted.parseQuote(icmp.bytes, icmp.payloadAt, icmp.end) !== undefined) return;
    if (chain.walk(quoted) !== undefined || chain.fragmentAt >= 0 && chain.fragmentOffset(quoted) !== 0) return;
    const mtu = kind === "too big" ? Math.min(icmp.mtu, 65535) : 0;
    const total = IPV6_BYTES + (quoted.bytes[quoted.at + 4] << 8 | quoted.bytes[quoted.at + 5]);
    if (mtu >= total) {
      this.#layer.counters.PathMtuRefused++;
      return;
    }
    this.#tell(
      chain.proto,
      kind,
      mtu,
      quoted.src.slice(),
      quoted.dst.slice(),
      quoted.bytes,
      chain.payloadAt,
      quoted.end,
    );
  }

  /** Tells the transport, if the packet went from us to where the error says. */
  #tell(
    proto: number,
    kind: Trouble["kind"],
    mtu: number,
    local: Ip,
    remote: Ip,
    bytes: Uint8Array,
    at: number,
    end: number,
  ): void {
    if (this.#layer.addresses.find(local)?.kind !== "unicast" || end - at < 8) return;
    const trouble = this.#trouble;
    Object.assign(trouble, { kind, mtu, local, remote, bytes, at, end });
    const isSent = this.#layer.transport(proto)?.trouble(trouble, this.#layer.outer) ?? false;
    if (kind !== "too big") return;
    if (isSent) this.#layer.lowerMtu(local, remote, mtu);
    else this.#layer.counters.PathMtuRefused++;
  }

  /** A packet that was to be sent to a neighbour that does not answer: its transport is told as if a router had said so. */
  undelivered(bytes: Uint8Array): void {
    const v4 = bytes[0] >>> 4 === 4, kind = "host unreachable";
    if (v4) {
      const ip = this.#quoted4;
      if (ip.parseQuote(bytes, 0, bytes.length) !== undefined || ip.fragmentOffset !== 0) return;
      this.#tell(ip.proto, kind, 0, ipFromV4(ip.src), ipFromV4(ip.dst), bytes, ip.payloadAt, ip.end);
      return;
    }
    const ip = this.#quoted6;
    if (ip.parseQuote(bytes, 0, bytes.length) !== undefined || this.#chain.walk(ip) !== undefined) return;
    this.#tell(this.#chain.proto, kind, 0, ip.src.slice(), ip.dst.slice(), bytes, this.#chain.payloadAt, ip.end);
  }
}

function kindOf4(type: number, code: number): Trouble["kind"] | undefined {
  if (type === ICMP.timeExceeded) {
    return code === EXCEEDED.ttl || code === EXCEEDED.reassembly ? "time exceeded" : undefined;
  }
  if (type !== ICMP.unreachable) return undefined;
  switch (code) {
    case UNREACHABLE.net:
    case 6:
    case 11:
      return "net unreachable";
    case UNREACHABLE.protocol:
      return "protocol unreachable";
    case UNREACHABLE.port:
      return "port unreachable";
    case UNREACHABLE.fragmentationNeeded:
      return "too big";
    case 9:
    case 10:
    case UNREACHABLE.prohibited:
      return "prohibited";
  }
  return code <= 15 ? "host unreachable" : undefined;
}

function kindOf6(type: number, code: number): Trouble["kind"] | undefined {
  if (type === ICMPV6.packetTooBig) return "too big";
  if (type === ICMPV6.timeExceeded) return "time exceeded";
  if (type === ICMPV6.parameterProblem) return code === 1 ? "protocol unreachable" : undefined;
  if (type !== ICMPV6.unreachable) return undefined;
  switch (code) {
    case UNREACHABLE6.noRoute:
      return "net unreachable";
    case UNREACHABLE6.port:
      return "port unreachable";
    case UNREACHABLE6.prohibited:
    case 5:
    case 6:
      return "prohibited";
  }
  return "host unreachable";
}
