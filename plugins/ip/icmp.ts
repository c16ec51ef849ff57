/**
 * ICMP conversations: `/net/icmp/N` and `/net/icmpv6/N`.
 *
 * Layer: plugins/ip, over net/icmp. As in Plan 9 a message is read and written with room for IP's header in front (20
 * bytes, or 40), which is whole in what is read and filled in for what is written. The identifier of an echo is the
 * conversation's local port.
 *
 * See ip(3) of Plan 9 (icmp).
 */

import type { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { formatEndpoint } from "../../net/dial_string.ts";
import { type IcmpConv as Socket, MAX_ICMP_CONVS } from "../../net/icmp/icmp.ts";
import { formatIcmpStats } from "../../net/ip/text.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import { intOf, type Verbs } from "./command.ts";
import { COMMON_VERBS, Conv, Proto, readyText, type SavedConv, type Watch } from "./conv.ts";
import { callOf, placeOf } from "./endpoint.ts";
import { type Net, orLoopback } from "./net.ts";
import { watchPackets } from "./snoop.ts";

/** As saved; `socket` is where it is among the stack's. */
export interface SavedIcmpFiles extends SavedConv {
  socket: number;
}

/** `/net/icmp` or `/net/icmpv6`. */
export class IcmpProto extends Proto {
  constructor(readonly net: Net, readonly v4: boolean) {
    super(v4 ? "icmp" : "icmpv6", MAX_ICMP_CONVS / 2);
  }

  get stats(): string {
    return formatIcmpStats(this.net.stack.ip, this.v4);
  }

  protected make(id: number, serial: number, owner: string): IcmpFiles {
    return new IcmpFiles(this, id, serial, owner);
  }
}

/** See the head of this file. */
export class IcmpFiles extends Conv {
  declare readonly proto: IcmpProto;
  #socket: Socket;

  constructor(proto: IcmpProto, id: number, serial: number, owner: string) {
    super(proto, id, serial, owner);
    this.#socket = this.#hold(proto.net.stack.icmp.open(proto.v4));
  }

  get socket(): Socket {
    return this.#socket;
  }

  get ready(): Readiness {
    const { state, queue } = this.#socket;
    return { readable: queue.count > 0, writable: state === "Connected", hangup: false, error: false };
  }

  get status(): string {
    const { state, queue, drops } = this.#socket;
    return `${state === "Closed" ? "Closed" : "Datagram"} qin ${queue.dataBytes} qout 0 drops ${drops} ready ${
      readyText(this.ready)
    }\n`;
  }

  get local(): string {
    return formatEndpoint(this.#socket.local, this.#socket.id);
  }

  get remote(): string {
    return formatEndpoint(this.#socket.remote, 0);
  }

  get length(): number {
    return this.#socket.queue.dataBytes;
  }

  protected get verbs(): Verbs<this> {
    return ICMP_VERBS as Verbs<this>;
  }

  override get watch(): Watch {
    const ends = () => ({ local: this.#socket.local, remote: this.#socket.remote });
    return watchPackets(this.proto.net, this.proto.v4 ? 1 : 58, ends);
  }

  read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array> {
    if (this.#socket.state === "Closed") throw new Err("ENOTCONN");
    if (this.readers.count === 0) {
      const count = this.#socket.recv(dst, 0, dst.length);
      if (count >= 0) return this.changed(), count;
    }
    if (this.nonblocking) throw new Err("EAGAIN", "no message has come");
    const { length } = dst;
    return this.readers.wait(req, () => {
      const { queue } = this.#socket;
      if (queue.count === 0) return undefined;
      const got = new Uint8Array(Math.min(length, queue.firstBytes));
      this.#socket.recv(got, 0, got.length);
      this.changed();
      return got;
    });
  }

  write(data: Uint8Array): number {
    const { net } = this.proto;
    this.#socket.sendPacket(data, 0, data.length, net.runner.tick());
    net.runner.kick();
    return data.length;
  }

  /** `connect addr[!port] [[addr!]id]` */
  connect([to, from]: string[]): void {
    const { net } = this.proto, call = callOf([to.includes("!") ? to : `${to}!1`, ...from === undefined ? [] : [from]]);
    net.stack.ip.at(net.runner.tick());
    this.#socket.connect(orLoopback(call.remote), call.localPort, call.local);
    this.changed();
  }

  /** `announce id`, or `announce *` for every message that comes. */
  announce(word: string): void {
    this.#socket.announce(word === "*" ? 0 : placeOf(word).port);
    this.changed();
  }

  #hold(socket: Socket): Socket {
    socket.onChange = () => this.wakeAll();
    return socket;
  }

  protected release(): void {
    this.#socket.close();
  }

  save(): SavedIcmpFiles {
    return { ...this.saveCommon(), socket: [...this.proto.net.stack.icmp.convs].indexOf(this.#socket) };
  }

  restore(saved: SavedIcmpFiles, socket: Socket): void {
    this.restoreCommon(saved);
    this.#socket.close();
    this.#socket = this.#hold(socket);
  }
}

const ICMP_VERBS: Verbs<IcmpFiles> = {
  connect: { usage: "addr[!port] [[addr!]id]", run: (conv, words) => conv.connect(words) },
  announce: { usage: "id|*", run: (conv, [word]) => conv.announce(word) },
  bind: { usage: "id", run: (conv, [word]) => conv.announce(word) },
  ttl: { usage: "n", run: (conv, [n]) => void (conv.socket.options.ttl = intOf(n, 1, 255)) },
  tos: { usage: "n", run: (conv, [n]) => void (conv.socket.options.ecn = intOf(n, 0, 255)) },
  ...COMMON_VERBS,
};
