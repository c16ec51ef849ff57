/**
 * ICMP conversations: ping, and programs that want to see every message. One class serves the icmp and icmpv6 files.
 *
 * Layer: net/icmp, above net/ip, under plugins. A conversation has an identifier for a port, which its echo requests carry:
 * it gets the replies to them, and the errors that quote them. One that is announced on `*` gets a copy of every message.
 * A datagram that is received is the whole packet, IP's header in front, as in Plan 9.
 *
 * See RFC 792, RFC 4443; ip(3) and ping(8) of Plan 9.
 */

import { Err } from "../../core/err.ts";
import { formatIp, type Ip, isIpv4, isUnspecified, sameIp, UNSPECIFIED } from "../addr.ts";
import type { IcmpSink } from "../ip/icmp_in.ts";
import type { IpLayer } from "../ip/layer.ts";
import type { Arrival, SendOptions, Transport, Trouble } from "../tcp/lower.ts";
import { DatagramQueue, type Ends } from "../udp/queue.ts";
import { ICMP, ICMP_BYTES } from "../wire/icmp.ts";
import { ICMPV6 } from "../wire/icmpv6.ts";
import { IPV4_BYTES, PROTO } from "../wire/ipv4.ts";
import { IPV6_BYTES } from "../wire/ipv6.ts";
import { get16, set16 } from "../wire/packet.ts";

/** Conversations at the most, and bytes that each may have waiting. */
export const MAX_ICMP_CONVS = 1024, ICMP_QUEUE_BYTES = 64 * 1024;

export class IcmpConv {
  remote: Ip = UNSPECIFIED;
  local: Ip = UNSPECIFIED;
  /** The identifier of its echo requests; 0 while it has none. */
  id = 0;
  state: "Closed" | "Connected" | "Announced" = "Closed";
  queue = new DatagramQueue(ICMP_QUEUE_BYTES);
  drops = 0;
  /** Called in `poll` when there is something to read. */
  onChange: () => void = () => {};
  readonly options: SendOptions = { gsoBytes: 0, headerBytes: 0, ecn: 0, ttl: 0, dontFragment: false };

  constructor(readonly owner: IcmpConvs, readonly v4: boolean) {}

  /** Talks to one host. `id` 0: any that is free. */
  connect(remote: Ip, id = 0, local: Ip = UNSPECIFIED): void {
    if (this.state !== "Closed") throw new Err("EBUSY", "the conversation is in use already");
    if (isIpv4(remote) !== this.v4) throw new Err("EINVAL", `${formatIp(remote)} is of the other version`);
    const path = this.owner.layer.paths.find(remote, local);
    if (typeof path === "string") throw new Err("ENETUNREACH", `no route to ${formatIp(remote)}`);
    this.id = this.owner.claim(this, id);
    this.remote = remote.slice();
    this.local = path.local;
    this.state = "Connected";
  }

  /** Listens: to the replies of one identifier, or with 0 to every message. */
  announce(id: number): void {
    if (this.state !== "Closed") throw new Err("EBUSY", "the conversation is in use already");
    if (id !== 0) this.id = this.owner.claim(this, id);
    this.state = "Announced";
  }

  /** Sends the message [at, end), ICMP's header first: an echo gets this conversation's identifier, all get their checksum. */
  send(bytes: Uint8Array, at: number, end: number, now: number, to: Ip = this.remote): void {
    const { layer } = this.owner, proto = this.v4 ? PROTO.icmp : PROTO.icmpv6;
    layer.at(now);
    if (end - at < ICMP_BYTES) throw new Err("EINVAL", "an ICMP message has 8 bytes at least");
    if (isUnspecified(to)) throw new Err("ENOTCONN", "connect first");
    if (end - at > 65535 - IPV4_BYTES) throw new Err("EMSGSIZE");
    const path = layer.paths.find(to, this.local);
    if (typeof path === "string") throw new Err("ENETUNREACH", `no route to ${formatIp(to)}`);
    const counters = this.v4 ? layer.icmp4 : layer.icmp6;
    if (!layer.output.begin(path, proto, end - at)) {
      counters.OutErrors++;
      return;
    }
    const { buf, at: begin } = layer.output;
    buf.set(bytes.subarray(at, end), begin);
    if (buf[begin] === (this.v4 ? ICMP.echo : ICMPV6.echo) && this.id !== 0) set16(buf, begin + 4, this.id);
    counters.OutMsgs++;
    layer.output.end(end - at, 2, this.options);
  }

  /** Sends what was written with room for IP's header in front, as Plan 9's programs write it. */
  sendPacket(bytes: Uint8Array, at: number, end: number, now: number): void {
    this.send(bytes, at + (this.v4 ? IPV4_BYTES : IPV6_BYTES), end, now);
  }

  /** Takes the next packet out, as much as fits into [at, end); -1 when there is none. */
  recv(into: Uint8Array, at: number, end: number): number {
    return this.queue.pop(into, at, end, false);
  }

  close(): void {
    this.owner.release(this);
    this.state = "Closed";
    this.id = 0;
    this.remote = this.local = UNSPECIFIED;
    this.queue.clear();
  }

  save() {
    const { remote, local, id, state, drops, v4, options } = this;
    return {
      remote: remote.slice(),
      local: local.slice(),
      id,
      state,
      drops,
      v4,
      options: { ...options },
      queue: this.queue.save(),
    };
  }

  restore(saved: ReturnType<IcmpConv["save"]>): void {
    const { queue, options, v4: _v4, ...rest } = structuredClone(saved);
    Object.assign(this, rest);
    Object.assign(this.options, options);
    this.queue = DatagramQueue.restore(queue);
  }
}

/** All ICMP conversations of a stack. */
export class IcmpConvs implements IcmpSink, Transport {
  readonly layer: IpLayer;
  readonly #convs = new Set<IcmpConv>();
  #touched = new Set<IcmpConv>();
  readonly #ends: Ends;

  constructor(layer: IpLayer) {
    this.layer = layer;
    const none = new Uint8Array(16);
    this.#ends = { remote: none, local: none, iface: none, remotePort: 0, localPort: 0 };
    layer.icmpSink = this;
    layer.setTransport(PROTO.icmp, this);
    layer.setTransport(PROTO.icmpv6, this);
  }

  open(v4: boolean): IcmpConv {
    if (this.#convs.size >= MAX_ICMP_CONVS) throw new Err("ENFILE", "too many ICMP conversations");
    const conv = new IcmpConv(this, v4);
    this.#convs.add(conv);
    return conv;
  }

  /** Tells users what has happened since the last time. */
  poll(): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    for (const conv of touched) conv.onChange();
  }

  /** Whether there is somebody to be told. */
  get isPending(): boolean {
    return this.#touched.size > 0;
  }

  get convs(): Iterable<IcmpConv> {
    return this.#convs;
  }

  /** An identifier that no other conversation of the version has; 0: any. */
  claim(conv: IcmpConv, id: number): number {
    const isTaken = (n: number) => [...this.#convs].some((c) => c !== conv && c.v4 === conv.v4 && c.id === n);
    if (id !== 0 && isTaken(id)) throw new Err("EADDRINUSE", `the identifier ${id} is in use`);
    if (id !== 0) return id;
    let any = this.layer.chance.below(65535) + 1;
    while (isTaken(any)) any = any % 65535 + 1;
    return any;
  }

  release(conv: IcmpConv): void {
    this.#convs.delete(conv);
    this.#touched.delete(conv);
  }

  icmp(v4: boolean, bytes: Uint8Array, ipAt: number, at: number, end: number, arrival: Arrival): boolean {
    const type = bytes[at], id = get16(bytes, at + 4);
    const isReply = type === (v4 ? ICMP.echoReply : ICMPV6.echoReply);
    const quotedId = isReply ? 0 : quotedEcho(v4, bytes, at, end);
    let isTaken = false;
    for (const conv of this.#convs) {
      if (conv.v4 !== v4 || conv.state === "Closed") continue;
      const isForAll = conv.state === "Announced" && conv.id === 0;
      const isMine = isReply && conv.id === id && (isUnspecified(conv.remote) || isFrom(conv.remote, arrival.src));
      const isAbout = conv.id !== 0 && conv.id === quotedId;
      if (!isForAll && !isMine && !isAbout) continue;
      this.#take(conv, bytes, ipAt, at, end, arrival);
      isTaken = true;
    }
    return isTaken;
  }

  /** Conversations take their messages by `icmp`; IP answers for itself. */
  input(): boolean {
    return true;
  }

  /** An error about an echo request of ours. The message itself goes to who asked, too. */
  trouble({ bytes, at, remote }: Trouble): boolean {
    const v4 = isIpv4(remote), id = get16(bytes, at + 4);
    if (bytes[at] !== (v4 ? ICMP.echo : ICMPV6.echo)) return false;
    for (const conv of this.#convs) {
      if (conv.v4 !== v4 || conv.id !== id || !sameIp(conv.remote, remote)) continue;
      return true;
    }
    return false;
  }

  save() {
    return [...this.#convs].map((conv) => conv.save());
  }

  /** Goes on from a saved state; answers the conversations in the order in which they were saved. */
  restore(saved: SavedIcmp): IcmpConv[] {
    return saved.map((state) => {
      const conv = new IcmpConv(this, state.v4);
      this.#convs.add(conv);
      conv.restore(state);
      if (conv.queue.count > 0) this.#touched.add(conv);
      return conv;
    });
  }

  #take(conv: IcmpConv, bytes: Uint8Array, ipAt: number, at: number, end: number, arrival: Arrival): void {
    const ends = this.#ends;
    ends.remote = arrival.src;
    ends.local = ends.iface = arrival.dst;
    ends.remotePort = ends.localPort = get16(bytes, at + 4);
    const wasEmpty = conv.queue.count === 0;
    if (!conv.queue.push(ends, arrival.ttl, arrival.ecn, bytes, ipAt, end)) conv.drops++;
    else if (wasEmpty) this.#touched.add(conv);
  }
}

export type SavedIcmp = ReturnType<IcmpConvs["save"]>;

/** Whether a reply may come from there: who asks a group is answered by its members. */
function isFrom(remote: Ip, src: Ip): boolean {
  return sameIp(remote, src) || remote[0] === 0xff || isIpv4(remote) && remote[12] >>> 4 === 0xe || remote[15] === 255;
}

/** The identifier of the echo request that an error quotes; 0 when it quotes none. */
function quotedEcho(v4: boolean, bytes: Uint8Array, at: number, end: number): number {
  const isError = v4 ? bytes[at] === ICMP.unreachable || bytes[at] === ICMP.timeExceeded : bytes[at] < 128;
  const ipAt = at + ICMP_BYTES;
  if (!isError || end - ipAt < IPV6_BYTES && !v4 || end - ipAt < IPV4_BYTES) return 0;
  const echoAt = ipAt + (v4 ? (bytes[ipAt] & 15) * 4 : IPV6_BYTES), proto = bytes[ipAt + (v4 ? 9 : 6)];
  const isEcho = end - echoAt >= ICMP_BYTES && proto === (v4 ? PROTO.icmp : PROTO.icmpv6) &&
    bytes[echoAt] === (v4 ? ICMP.echo : ICMPV6.echo);
  return isEcho ? get16(bytes, echoAt + 4) : 0;
}
