/**
 * TCP conversations: `/net/tcp/N`.
 *
 * Layer: plugins/ip, over net/tcp. A conversation is idle, then a connection or a listener. What holds always: data is one
 * stream, written into the send queue in one copy and read from the receive queue in one; who finds no room or no data
 * waits, in turn.
 *
 * See ip(3) of Plan 9 (tcp).
 */

import { DELIVERED, type Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { formatIp, type Ip, UNSPECIFIED } from "../../net/addr.ts";
import { formatEndpoint } from "../../net/dial_string.ts";
import type { CcName } from "../../net/tcp/cc/cc.ts";
import { CLOSED, Conn, type Readiness, SYN_SENT } from "../../net/tcp/conn.ts";
import { BACKLOG, type Listener } from "../../net/tcp/listener.ts";
import { statsOf, statusOf } from "../../net/tcp/status.ts";
import type { Verbs } from "./command.ts";
import { Conv, IDLE, Proto, readyText, type SavedConv, type Watch } from "./conv.ts";
import { type Call, callOf, placeOf, RESTRICTED } from "./endpoint.ts";
import type { Net } from "./net.ts";
import { watchPackets } from "./snoop.ts";
import { TCP_VERBS } from "./tcp_verbs.ts";

/** What is set by ctl; connections that are accepted begin with what their listener had. Never changed in place: many share one. */
export interface TcpSettings {
  nodelay: boolean;
  ttl: number;
  tos: number;
  backlog: number;
  /** Undefined: the stack's own. */
  congestion?: CcName;
  /** Undefined: none. */
  keepaliveMs?: number;
  /** Bytes; undefined: they follow the connection. */
  sendBytes?: number;
  recvBytes?: number;
}

/** As saved, in version 1 of the plugin's state. */
export interface SavedTcpConv extends SavedConv {
  kind: "idle" | "conn" | "listener";
  settings: TcpSettings;
  bound: { local: Ip; port: number };
}

const NOTHING = new Uint8Array(0);
const DEFAULTS: Readonly<TcpSettings> = { nodelay: true, ttl: 0, tos: 0, backlog: BACKLOG };
const UNBOUND: Readonly<{ local: Ip; port: number }> = { local: UNSPECIFIED, port: 0 };
/** How often, and how many times, a silent peer is asked before it is given up. */
const KEEPALIVE = { intervalMs: 75_000, probes: 9 } as const;
const MAX_CONVS = 65_536, FREE_TRIES = 1000;

/** `/net/tcp`. */
export class TcpProto extends Proto {
  constructor(readonly net: Net) {
    super("tcp", MAX_CONVS);
  }

  get stats(): string {
    return statsOf(this.net.stack.tcp.counters);
  }

  protected make(id: number, serial: number, owner: string): TcpConv {
    return new TcpConv(this, id, serial, owner);
  }

  override clone(user: { name: string }): TcpConv {
    return super.clone(user) as TcpConv;
  }

  /** Told of what happens to a connection: one function for all of them, for there are many. */
  readonly onEvents = (conn: Conn): void => {
    const conv = this.get(conn.tag) as TcpConv | undefined;
    if (conv?.conn === conn) conv.wakeAll();
  };

  readonly onCall = (listener: Listener): void => {
    const conv = this.get(listener.tag) as TcpConv | undefined;
    if (conv?.listener === listener) conv.wakeAll();
  };
}

/** See the head of this file. */
export class TcpConv extends Conv {
  declare readonly proto: TcpProto;
  conn: Conn | undefined;
  listener: Listener | undefined;
  settings: Readonly<TcpSettings> = DEFAULTS;
  #bound = UNBOUND;

  get ready(): Readiness {
    if (this.conn !== undefined) return this.conn.readiness;
    return this.listener === undefined ? IDLE : { ...IDLE, readable: this.listener.queue.length > 0 };
  }

  override get errText(): string {
    const { error } = this.conn ?? {};
    return error === undefined ? super.errText : `${error.message}\n`;
  }

  get status(): string {
    const { conn, listener } = this;
    if (conn !== undefined) return statusOf(conn);
    const calls = listener === undefined ? "" : ` calls ${listener.queue.length} backlog ${listener.backlog}`;
    return `${listener === undefined ? "Closed" : "Listen"} qin 0 qout 0${calls} ready ${readyText(this.ready)}\n`;
  }

  get local(): string {
    const { conn, listener } = this;
    if (conn !== undefined) return formatEndpoint(conn.local, conn.localPort);
    if (listener !== undefined) return formatEndpoint(listener.local, listener.port);
    return formatEndpoint(this.#bound.local, this.#bound.port);
  }

  get remote(): string {
    const { conn } = this;
    return conn === undefined ? formatEndpoint(UNSPECIFIED, 0) : formatEndpoint(conn.remote, conn.remotePort);
  }

  get length(): number {
    return this.conn?.available ?? 0;
  }

  protected get verbs(): Verbs<this> {
    return TCP_VERBS as Verbs<this>;
  }

  override get watch(): Watch {
    return watchPackets(this.proto.net, 6, () => this.conn ?? this.listener);
  }

  read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array> {
    const conn = this.#connection();
    if (conn.available > 0 && this.readers.count === 0) {
      const count = conn.read(dst);
      this.#touched(conn);
      return count;
    }
    if (dst.length === 0) return 0;
    const end = this.readers.count === 0 ? this.#end(conn) : undefined;
    if (end instanceof Err) throw end;
    if (end !== undefined) return 0;
    if (this.nonblocking) throw new Err("EAGAIN", "nothing has come");
    const { length } = dst;
    return this.readers.wait(req, () => this.#take(conn, length, req));
  }

  /** What a reader who waits gets: lent for a moment if he can use it so, else a copy. */
  #take(conn: Conn, length: number, req: Req): Uint8Array | Err | undefined {
    if (conn.available === 0) return this.#end(conn);
    const all = conn.peek(), bytes = all.length > length ? all.subarray(0, length) : all;
    const got = req.deliver?.(bytes) ? DELIVERED : bytes.slice();
    conn.consume(bytes.length);
    this.#touched(conn);
    return got;
  }

  /** What a reader gets when nothing will come any more: nothing, or why, if there is a reason. */
  #end(conn: Conn): Uint8Array | Err | undefined {
    if (!conn.eof) return undefined;
    return conn.error === undefined ? NOTHING : this.noted(conn.error);
  }

  write(data: Uint8Array, req: Req): MaybePromise<number> {
    const conn = this.#connection(), { length } = data;
    let done = 0;
    if (this.writers.count === 0 && conn.connected) {
      done = conn.write(data, 0, length);
      this.#touched(conn);
      if (done === length) return done;
    } else if (conn.state === CLOSED) this.failed(conn.error ?? new Err("EPIPE"));
    if (this.nonblocking) {
      if (done > 0 || length === 0) return done;
      throw new Err("EAGAIN", "the send queue is full");
    }
    const rest = data.slice(done), all = length - done;
    let sent = 0;
    return this.writers.wait(req, () => {
      if (!conn.connected && conn.state !== CLOSED) return undefined;
      sent += conn.write(rest, sent, all);
      this.#touched(conn);
      return sent === all ? length : undefined;
    }, () => done + sent > 0 ? done + sent : undefined);
  }

  override listen(req: Req): MaybePromise<Conv> {
    const { listener } = this;
    if (listener === undefined) throw new Err("EINVAL", "not announced");
    const call = this.callers.count === 0 ? this.#accept(listener) : undefined;
    if (call !== undefined) return call;
    if (this.nonblocking) throw new Err("EAGAIN", "listen queue empty");
    return this.callers.wait(req, () => this.#accept(listener));
  }

  #accept(listener: Listener): TcpConv | undefined {
    for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) {
      // Who has given up before anybody looked is not worth a conversation.
      if (conn.state === CLOSED && conn.available === 0) continue;
      let conv: TcpConv;
      try {
        conv = this.proto.clone({ name: this.owner });
      } catch (thrown) {
        conn.abort();
        throw thrown;
      }
      conv.settings = this.settings;
      conv.hold(conn);
      this.changed();
      return conv;
    }
    return undefined;
  }

  /** `connect addr!port[!r] [[addr!]port]` */
  connect(words: string[], req: Req): MaybePromise<void> {
    this.#mustBeIdle();
    const conn = this.#dial(callOf(words));
    this.hold(conn);
    if (this.nonblocking) throw new Err("EINPROGRESS");
    const what = `tcp!${this.remote}`;
    return this.writers.wait(req, () => {
      if (conn.state === SYN_SENT || !conn.connected && conn.state !== CLOSED) return undefined;
      if (!conn.wasConnected) {
        throw new Err(conn.error?.code ?? "ECONNABORTED", `${what}: ${conn.error?.message ?? "given up"}`);
      }
      return true;
    }, () => {
      conn.abort(new Err("EINTR"));
      return undefined;
    }).then(() => {});
  }

  #dial(call: Call): Conn {
    const { net } = this.proto, { remote, port } = call;
    const local = call.local === UNSPECIFIED ? this.#bound.local : call.local;
    if (!net.isLocal(local)) throw new Err("EADDRNOTAVAIL", `not a local IP address: ${formatIp(local)}`);
    const ports = call.restricted ? restrictedPorts(net) : [call.localPort || this.#bound.port];
    let failure: Err | undefined;
    for (const localPort of ports) {
      const options = { local, localPort, congestion: this.settings.congestion };
      const conn = net.stack.tcp.connect(remote, port, options, net.runner.tick());
      if (conn instanceof Conn) return conn;
      failure = conn;
      if (conn.code !== "EADDRINUSE") break;
    }
    throw failure ?? new Err("EADDRINUSE");
  }

  /** `announce [addr!]port` */
  announce(word: string): void {
    this.#mustBeIdle();
    const { net } = this.proto, { local, port } = placeOf(word), { backlog, congestion } = this.settings;
    if (!net.isLocal(local)) throw new Err("EADDRNOTAVAIL", `not a local IP address: ${formatIp(local)}`);
    const listener = net.stack.tcp.listen(local, port || this.#freePort(), { backlog, congestion });
    if (listener instanceof Err) throw listener;
    this.holdListener(listener);
  }

  /** `bind [addr!]port`: the local end of a connect that comes. */
  bind(word: string): void {
    this.#mustBeIdle();
    const { local, port } = placeOf(word);
    if (!this.proto.net.isLocal(local)) throw new Err("EADDRNOTAVAIL", `not a local IP address: ${formatIp(local)}`);
    this.#bound = { local, port };
  }

  /** Takes a connection for this conversation's. */
  hold(conn: Conn): void {
    this.#adopt(conn);
    this.apply();
    this.changed();
  }

  #adopt(conn: Conn): void {
    this.conn = conn;
    conn.tag = this.id;
    conn.onEvents = this.proto.onEvents;
  }

  holdListener(listener: Listener): void {
    this.listener = listener;
    listener.tag = this.id;
    listener.onCall = this.proto.onCall;
    this.changed();
  }

  /** Changes some settings. */
  set(change: Partial<TcpSettings>): void {
    this.settings = { ...this.settings, ...change };
    this.apply();
  }

  /** Makes the connection what the settings say. */
  apply(): void {
    const { conn, settings } = this;
    if (conn === undefined) return;
    const { nodelay, ttl, tos, congestion, keepaliveMs, sendBytes, recvBytes } = settings;
    if (conn.snd.nodelay !== nodelay) conn.setNodelay(nodelay);
    conn.ttl = ttl;
    conn.tos = tos;
    if (congestion !== undefined && conn.snd.cc.name !== congestion) conn.setCongestion(congestion);
    if (keepaliveMs !== conn.keepalive?.idleMs) {
      conn.setKeepalive(keepaliveMs === undefined ? undefined : { idleMs: keepaliveMs, ...KEEPALIVE });
    }
    if (sendBytes !== undefined) conn.setBuffer("send", sendBytes);
    if (recvBytes !== undefined) conn.setBuffer("receive", recvBytes);
    this.#touched(conn);
  }

  /** `hangup`: the peer gets a reset; a listener takes no more calls. */
  hangup(): void {
    this.conn?.abort();
    this.listener?.close();
    this.listener = undefined;
    this.callers.fail(() => new Err("ESHUTDOWN", "listen hungup"));
    this.proto.net.runner.kick();
  }

  shutdown(how: "rd" | "wr" | "rdwr"): void {
    const conn = this.#connection();
    if (!conn.connected) throw new Err("ENOTCONN");
    conn.shutdown(how);
    this.#touched(conn);
    this.wakeAll();
  }

  protected release(): void {
    const { conn, listener } = this;
    conn?.close();
    listener?.close();
    // What had ended before has nothing more to send.
    if (listener !== undefined || conn?.touched) this.proto.net.runner.kick();
  }

  save(): SavedTcpConv {
    const kind = this.conn !== undefined ? "conn" : this.listener !== undefined ? "listener" : "idle";
    return { ...this.saveCommon(), kind, settings: { ...this.settings }, bound: { ...this.#bound } };
  }

  restore(saved: SavedTcpConv, conn: Conn | undefined, listener: Listener | undefined): void {
    this.restoreCommon(saved);
    this.settings = { ...saved.settings };
    this.#bound = { ...saved.bound };
    if (saved.kind === "conn" && conn !== undefined) this.#adopt(conn);
    else if (saved.kind === "listener" && listener !== undefined) this.holdListener(listener);
  }

  #connection(): Conn {
    if (this.conn === undefined) throw new Err("ENOTCONN", this.listener ? "it takes calls: open listen" : undefined);
    return this.conn;
  }

  /** A conversation whose connection never came about may try again. */
  #mustBeIdle(): void {
    const { conn, listener } = this;
    const isOver = conn !== undefined && conn.state === CLOSED && !conn.wasConnected;
    if (listener !== undefined || conn !== undefined && !isOver) {
      throw new Err("EBUSY", "the conversation is in use already");
    }
    if (isOver) this.conn = undefined;
  }

  #freePort(): number {
    const { tcp } = this.proto.net.stack, { firstPort, lastPort } = tcp.limits;
    for (let i = 0; i < FREE_TRIES; i++) {
      const port = firstPort + this.proto.net.random32() % (lastPort - firstPort + 1);
      if (!tcp.listeners.has(port)) return port;
    }
    throw new Err("EADDRINUSE", "no port is free");
  }

  /** Something was done to the connection; the stack is to look at it. */
  #touched(conn: Conn): void {
    if (conn.touched) this.proto.net.runner.kick();
    this.changed();
  }
}

/** Plan 9's restricted ports, from a random one on. */
function* restrictedPorts(net: Net): Generator<number> {
  const count = RESTRICTED.last - RESTRICTED.first + 1, first = net.random32() % count;
  for (let i = 0; i < count; i++) yield RESTRICTED.first + (first + i) % count;
}
