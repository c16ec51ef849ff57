/**
 * UDP conversations: `/net/udp/N`.
 *
 * Layer: plugins/ip, over net/udp. A read gives one datagram, cut to its size, and a write sends one. With `headers` each
 * has Plan 9's 52 bytes in front (remote, local and interface address of 16 bytes each, remote and local port), and one
 * conversation talks to many. Without, an announced conversation is listened to: a call is a sender that is new.
 *
 * See ip(3) of Plan 9 (udp).
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { type Ip, isMulticast, parseIp, sameIp, UNSPECIFIED } from "../../net/addr.ts";
import { formatEndpoint } from "../../net/dial_string.ts";
import { formatCounters } from "../../net/ip/counters.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import type { UdpConv as Socket } from "../../net/udp/conv.ts";
import { parseUdpHeader, UDP_HEADER_BYTES } from "../../net/udp/queue.ts";
import { MAX_UDP_CONVS } from "../../net/udp/udp.ts";
import { boolOf, intOf, quote, type Verbs } from "./command.ts";
import { COMMON_VERBS, Conv, Proto, readyText, type SavedConv, type Watch } from "./conv.ts";
import { callOf, placeOf, RESTRICTED } from "./endpoint.ts";
import { type Net, orLoopback } from "./net.ts";
import { watchPackets } from "./snoop.ts";

/** As saved; `socket` is its id in the stack's state. */
export interface SavedUdpFiles extends SavedConv {
  socket: number;
}

/** `/net/udp`. */
export class UdpProto extends Proto {
  constructor(readonly net: Net) {
    super("udp", MAX_UDP_CONVS);
  }

  get stats(): string {
    return formatCounters(this.net.stack.udp.counters);
  }

  protected make(id: number, serial: number, owner: string): UdpFiles {
    return new UdpFiles(this, id, serial, owner);
  }
}

/** See the head of this file. */
export class UdpFiles extends Conv {
  declare readonly proto: UdpProto;
  #socket: Socket;

  constructor(proto: UdpProto, id: number, serial: number, owner: string) {
    super(proto, id, serial, owner);
    this.#socket = this.#hold(proto.net.stack.udp.open());
  }

  get socket(): Socket {
    return this.#socket;
  }

  get ready(): Readiness {
    const { state, headers, localPort, isReadable } = this.#socket;
    const isOpen = state === "Connected" || headers && localPort !== 0;
    return { readable: isReadable, writable: isOpen, hangup: false, error: this.#socket.hasError };
  }

  get status(): string {
    const { state, queue, drops } = this.#socket;
    return `${state === "Closed" ? "Closed" : "Open"} qin ${queue.dataBytes} qout 0 drops ${drops} ready ${
      readyText(this.ready)
    }\n`;
  }

  get local(): string {
    return formatEndpoint(this.#socket.local, this.#socket.localPort);
  }

  get remote(): string {
    return formatEndpoint(this.#socket.remote, this.#socket.remotePort);
  }

  get length(): number {
    return this.#socket.queue.dataBytes;
  }

  protected get verbs(): Verbs<this> {
    return UDP_VERBS as Verbs<this>;
  }

  override get watch(): Watch {
    return watchPackets(this.proto.net, 17, () => this.#socket);
  }

  read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array> {
    if (this.#socket.localPort === 0) throw new Err("ENOTCONN");
    if (this.readers.count === 0) {
      const count = this.#recv(dst);
      if (count >= 0) return count;
    }
    if (this.nonblocking) throw new Err("EAGAIN", "no datagram has come");
    const { length } = dst;
    return this.readers.wait(req, () => {
      if (!this.#socket.isReadable) return undefined;
      const got = new Uint8Array(Math.min(length, UDP_HEADER_BYTES + Math.max(this.#socket.queue.firstBytes, 0)));
      return got.subarray(0, Math.max(this.#recv(got), 0));
    });
  }

  #recv(dst: Uint8Array): number {
    const count = this.#socket.recv(dst, 0, dst.length);
    if (count >= 0) this.changed();
    return count;
  }

  write(data: Uint8Array): number {
    const { net } = this.proto, socket = this.#socket;
    const at = socket.headers ? UDP_HEADER_BYTES : 0;
    if (data.length < at) throw new Err("EINVAL", `a datagram has ${UDP_HEADER_BYTES} bytes of header in front`);
    const to = socket.headers ? parseUdpHeader(data, 0) : undefined;
    socket.send(data, at, data.length, net.runner.tick(), to);
    net.runner.kick();
    return data.length;
  }

  /** The next datagram of a sender that has no conversation yet begins one. */
  override listen(req: Req): MaybePromise<Conv> {
    const { state, headers } = this.#socket;
    if (state !== "Announced" || headers) throw new Err("EINVAL", "not announced");
    const call = this.callers.count === 0 ? this.#accept() : undefined;
    if (call !== undefined) return call;
    if (this.nonblocking) throw new Err("EAGAIN", "listen queue empty");
    return this.callers.wait(req, () => this.#accept());
  }

  #accept(): UdpFiles | undefined {
    const socket = this.#socket;
    if (socket.queue.count === 0) return undefined;
    const first = socket.queue.firstEnds, conv = this.proto.clone({ name: this.owner }) as UdpFiles;
    const local = isMulticast(first.local) ? UNSPECIFIED : first.local;
    try {
      conv.#socket.connect(first.remote, first.remotePort, local, socket.localPort);
    } catch (thrown) {
      conv.close();
      throw thrown;
    }
    // What else has come from there is the new conversation's, in its order.
    for (let left = socket.queue.count; left > 0; left--) {
      const { queue } = socket, ends = queue.firstEnds, { firstTtl, firstTos } = queue;
      const bytes = new Uint8Array(queue.firstBytes);
      queue.pop(bytes, 0, bytes.length, false);
      const isIts = ends.remotePort === first.remotePort && sameIp(ends.remote, first.remote);
      (isIts ? conv.#socket : socket).take(ends, firstTtl, firstTos, bytes, 0, bytes.length);
    }
    this.changed();
    return conv;
  }

  /** `connect addr!port[!r] [[addr!]port]` */
  connect(words: string[]): void {
    const call = callOf(words), { net } = this.proto;
    net.stack.ip.at(net.runner.tick());
    const localPort = call.restricted
      ? RESTRICTED.first + net.random32() % (RESTRICTED.last - RESTRICTED.first + 1)
      : call.localPort;
    this.#socket.connect(orLoopback(call.remote), call.port, call.local, localPort);
    this.changed();
  }

  announce(word: string): void {
    const { local, port } = placeOf(word);
    this.#socket.announce(port, local);
    this.changed();
  }

  bind(word: string): void {
    const { local, port } = placeOf(word);
    this.#socket.bind(port, local);
  }

  /** `addmulti ifc [group]`: the interface by an address of it; the group is what it was announced on when none is given. */
  join([on, group]: string[], joins: boolean): void {
    const address = ipOf(on), multicast = group === undefined ? this.#socket.local : ipOf(group);
    if (joins) this.#socket.join(multicast, address);
    else this.#socket.leave(multicast, address);
    this.proto.net.runner.kick();
  }

  #hold(socket: Socket): Socket {
    socket.onChange = () => this.wakeAll();
    return socket;
  }

  protected release(): void {
    this.#socket.close();
    this.proto.net.runner.kick();
  }

  save(): SavedUdpFiles {
    return { ...this.saveCommon(), socket: this.proto.net.stack.udp.idOf(this.#socket) };
  }

  restore(saved: SavedUdpFiles, socket: Socket): void {
    this.restoreCommon(saved);
    this.#socket.close();
    this.#socket = this.#hold(socket);
  }
}

const UDP_VERBS: Verbs<UdpFiles> = {
  connect: { usage: "addr!port[!r] [[addr!]port]", run: (conv, words) => conv.connect(words) },
  announce: { usage: "[addr!]port", run: (conv, [word]) => conv.announce(word) },
  bind: { usage: "[addr!]port", run: (conv, [word]) => conv.bind(word) },
  headers: { usage: "[on|off]", run: (conv, [flag]) => void (conv.socket.headers = boolOf(flag)) },
  ttl: { usage: "n", run: (conv, [n]) => void (conv.socket.ttl = intOf(n, 1, 255)) },
  tos: { usage: "n", run: (conv, [n]) => void (conv.socket.tos = intOf(n, 0, 255)) },
  broadcast: { usage: "[on|off]", run: (conv, [flag]) => void (conv.socket.broadcast = boolOf(flag)) },
  dontfragment: { usage: "[on|off]", run: (conv, [flag]) => void (conv.socket.dontFragment = boolOf(flag)) },
  ignoreadvice: { usage: "[on|off]", run: (conv, [flag]) => void (conv.socket.ignoreAdvice = boolOf(flag)) },
  addmulti: { usage: "ifc [group]", run: (conv, words) => conv.join(words, true) },
  remmulti: { usage: "ifc [group]", run: (conv, words) => conv.join(words, false) },
  accept: { usage: "[number]", run: () => {} },
  reject: { usage: "[number] why...", run: () => {} },
  ...COMMON_VERBS,
};

function ipOf(word: string): Ip {
  const ip = parseIp(word);
  if (ip === undefined) throw new Err("EINVAL", `${quote(word)} is no address`);
  return ip;
}
