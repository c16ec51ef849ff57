/**
 * UDP conversations on the host's sockets: `/net/udp/N` where there is no stack of our own.
 *
 * Layer: plugins/ip, over devices/hostsock.ts. As udp.ts, with and without `headers`; what is not the host's to give
 * (listen, groups, ttl) is refused.
 */

import type { Req } from "../../core/dev.ts";
import { Err, toErr } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { HostAddr, HostSockets, HostUdp as Socket } from "../../devices/hostsock.ts";
import { formatIp, type Ip, isIpv4, isUnspecified, parseIp, UNSPECIFIED } from "../../net/addr.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import { emitUdpHeader, parseUdpHeader, UDP_HEADER_BYTES } from "../../net/udp/queue.ts";
import { boolOf, type Verbs } from "./command.ts";
import { COMMON_VERBS, Conv, Proto, readyText } from "./conv.ts";
import { callOf, placeOf } from "./endpoint.ts";
import { place } from "./host_tcp.ts";
import { orLoopback } from "./net.ts";

const MAX_CONVS = 4096, QUEUE_BYTES = 256 << 10;

interface Datagram {
  bytes: Uint8Array;
  from: HostAddr;
}

/** `/net/udp`. */
export class HostUdpProto extends Proto {
  constructor(readonly sockets: HostSockets, readonly address: string) {
    super("udp", MAX_CONVS);
  }

  get stats(): string {
    let drops = 0;
    for (const conv of this.convs() as Iterable<HostUdp>) drops += conv.drops;
    return `RcvbufErrors: ${drops}\n`;
  }

  protected make(id: number, serial: number, owner: string): HostUdp {
    return new HostUdp(this, id, serial, owner);
  }
}

/** See the head of this file. */
export class HostUdp extends Conv {
  declare readonly proto: HostUdpProto;
  headers = false;
  drops = 0;
  #socket: Socket | undefined;
  #peer: HostAddr | undefined;
  readonly #queue: Datagram[] = [];
  #queued = 0;

  get ready(): Readiness {
    const writable = this.#socket !== undefined && (this.#peer !== undefined || this.headers);
    return { readable: this.#queue.length > 0, writable, hangup: false, error: false };
  }

  get status(): string {
    const state = this.#socket === undefined ? "Closed" : "Open";
    return `${state} qin ${this.#queued} qout 0 drops ${this.drops} ready ${readyText(this.ready)}\n`;
  }

  get local(): string {
    return place(this.#socket?.local);
  }

  get remote(): string {
    return place(this.#peer);
  }

  get length(): number {
    return this.#queued;
  }

  protected get verbs(): Verbs<this> {
    return HOST_UDP_VERBS as Verbs<this>;
  }

  async connect(words: string[]): Promise<void> {
    const { remote, port, local, localPort } = callOf(words);
    if (this.#peer !== undefined) throw new Err("EBUSY", "the conversation is in use already");
    const any = isIpv4(remote) ? "0.0.0.0" : "::";
    if (this.#socket === undefined) await this.#open(isUnspecified(local) ? any : formatIp(local), localPort);
    this.#peer = { host: formatIp(orLoopback(remote)), port };
    this.changed();
  }

  async announce(word: string): Promise<void> {
    const { local, port } = placeOf(word);
    if (this.#socket !== undefined) throw new Err("EBUSY", "the conversation is in use already");
    await this.#open(local === UNSPECIFIED ? this.proto.address : formatIp(local), port);
  }

  async #open(host: string, port: number): Promise<void> {
    const socket = await this.proto.sockets.openUdp({ host, port });
    if (this.closed || this.#socket !== undefined) return socket.close();
    this.#socket = socket;
    void this.#receive(socket);
    this.changed();
  }

  async #receive(socket: Socket): Promise<void> {
    for (let got = await socket.receive(); got !== null; got = await socket.receive()) {
      const { from, bytes } = got, peer = this.#peer;
      if (peer !== undefined && (peer.host !== from.host || peer.port !== from.port)) continue;
      if (this.#queued + bytes.length > QUEUE_BYTES && this.#queue.length > 0) {
        this.drops++;
        continue;
      }
      this.#queue.push(got);
      this.#queued += bytes.length;
      this.wakeAll();
    }
  }

  read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array> {
    if (this.#socket === undefined) throw new Err("ENOTCONN");
    const { length } = dst, now = this.readers.count === 0 ? this.#take(length) : undefined;
    if (now !== undefined) return now;
    if (this.nonblocking) throw new Err("EAGAIN", "no datagram has come");
    return this.readers.wait(req, () => this.#take(length));
  }

  #take(length: number): Uint8Array | undefined {
    const got = this.#queue.shift();
    if (got === undefined) return undefined;
    this.#queued -= got.bytes.length;
    this.changed();
    if (!this.headers) return got.bytes.subarray(0, length);
    const whole = new Uint8Array(UDP_HEADER_BYTES + got.bytes.length), { local } = this.#socket!;
    const ends = { remote: ipOf(got.from), local: ipOf(local), iface: ipOf(local) };
    emitUdpHeader(whole, 0, { ...ends, remotePort: got.from.port, localPort: local.port });
    whole.set(got.bytes, UDP_HEADER_BYTES);
    return whole.subarray(0, length);
  }

  async write(data: Uint8Array): Promise<number> {
    const at = this.headers ? UDP_HEADER_BYTES : 0, bytes = data.slice(at), { length } = data;
    if (length < at) throw new Err("EINVAL", `a datagram has ${UDP_HEADER_BYTES} bytes of header in front`);
    const header = this.headers ? parseUdpHeader(data, 0) : undefined;
    const to = header === undefined ? this.#peer : { host: formatIp(header.remote), port: header.remotePort };
    if (to === undefined) throw new Err("ENOTCONN", "the datagram has no destination: connect first, or set headers");
    if (this.#socket === undefined) await this.#open(to.host.includes(":") ? "::" : "0.0.0.0", 0);
    await this.#socket!.send(bytes, to).catch((thrown) => this.failed(toErr(thrown)));
    return length;
  }

  protected release(): void {
    this.#socket?.close();
  }
}

const HOST_UDP_VERBS: Verbs<HostUdp> = {
  connect: { usage: "addr!port [[addr!]port]", run: (conv, words) => conv.connect(words) },
  announce: { usage: "[addr!]port", run: (conv, [word]) => conv.announce(word) },
  bind: { usage: "[addr!]port", run: (conv, [word]) => conv.announce(word) },
  headers: { usage: "[on|off]", run: (conv, [flag]) => void (conv.headers = boolOf(flag)) },
  ...COMMON_VERBS,
};

function ipOf({ host }: HostAddr): Ip {
  return parseIp(host) ?? UNSPECIFIED;
}
