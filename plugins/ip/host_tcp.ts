/**
 * TCP conversations on the host's sockets: `/net/tcp/N` where there is no stack of our own.
 *
 * Layer: plugins/ip, over devices/hostsock.ts. The files are those of tcp.ts; what the host does not tell (timers, windows)
 * is not in `status`. What holds always: at most one read of the socket is under way, and nothing is read ahead of the
 * users but one buffer.
 */

import { DELIVERED, type Req } from "../../core/dev.ts";
import { Err, toErr } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { HostAddr, HostListener, HostSockets, HostStream } from "../../devices/hostsock.ts";
import { formatIp, isUnspecified } from "../../net/addr.ts";
import type { Readiness } from "../../net/tcp/conn.ts";
import { badUsage, boolOf, type Verbs } from "./command.ts";
import { COMMON_VERBS, Conv, IDLE, Proto, readyText } from "./conv.ts";
import { callOf, placeOf } from "./endpoint.ts";
import { orLoopback } from "./net.ts";

const BUFFER_BYTES = 64 << 10, MAX_CONVS = 4096;
/** Bytes that are written and that the host has not taken yet. */
const WRITE_BYTES = 256 << 10;
const NOTHING = new Uint8Array(0);

/** `/net/tcp`. */
export class HostTcpProto extends Proto {
  /** `address`: what is announced when none is said. */
  constructor(readonly sockets: HostSockets, readonly address: string) {
    super("tcp", MAX_CONVS);
  }

  get stats(): string {
    let streams = 0;
    for (const conv of this.convs() as Iterable<HostTcp>) if (conv.ready.writable) streams++;
    return `CurrEstab: ${streams}\n`;
  }

  protected make(id: number, serial: number, owner: string): HostTcp {
    return new HostTcp(this, id, serial, owner);
  }
}

type State = "Closed" | "Syn_sent" | "Established" | "Listen";

/** See the head of this file. */
export class HostTcp extends Conv {
  declare readonly proto: HostTcpProto;
  #state: State = "Closed";
  #wasConnected = false;
  #stream: HostStream | undefined;
  #listener: HostListener | undefined;
  #calls: HostStream[] = [];
  #dialing = new AbortController();
  #error: Err | undefined;
  /** What was read and not yet taken. */
  #data: Uint8Array = NOTHING;
  #buffer: Uint8Array | undefined;
  #reading = false;
  #eof = false;
  #unsent = 0;
  #writing: Promise<void> = Promise.resolve();
  #finished = false;

  get ready(): Readiness {
    const isOver = this.#state === "Closed" && (this.#wasConnected || this.#error !== undefined);
    if (this.#state === "Listen") return { ...IDLE, readable: this.#calls.length > 0 };
    const isUp = this.#state === "Established";
    return {
      readable: isUp && (this.#data.length > 0 || this.#eof) || isOver && this.#wasConnected,
      writable: isUp && this.#unsent < WRITE_BYTES || isOver,
      hangup: this.#eof || isOver,
      error: this.#error !== undefined,
    };
  }

  get status(): string {
    return `${this.#state} qin ${this.#data.length} qout ${this.#unsent} ready ${readyText(this.ready)}\n`;
  }

  get local(): string {
    return place(this.#stream?.local ?? this.#listener?.local);
  }

  get remote(): string {
    return place(this.#stream?.remote);
  }

  get length(): number {
    return this.#data.length;
  }

  override get errText(): string {
    return this.#error === undefined ? super.errText : `${this.#error.message}\n`;
  }

  protected get verbs(): Verbs<this> {
    return HOST_TCP_VERBS as Verbs<this>;
  }

  connect(words: string[], req: Req): MaybePromise<void> {
    if (this.#state !== "Closed" || this.#wasConnected) throw new Err("EBUSY", "the conversation is in use already");
    const { remote, port } = callOf(words);
    this.#state = "Syn_sent";
    this.#error = undefined;
    this.#dialing = new AbortController();
    const dialed = this.proto.sockets.dialTcp({
      host: formatIp(orLoopback(remote)),
      port,
      signal: this.#dialing.signal,
    });
    dialed.then((stream) => this.#connected(stream), (thrown) => this.#over(toErr(thrown)));
    if (this.nonblocking) throw new Err("EINPROGRESS");
    return this.writers.wait(req, () => {
      if (this.#state === "Syn_sent") return undefined;
      if (this.#error !== undefined) throw this.#error;
      return true;
    }, () => {
      this.#dialing.abort(new Err("EINTR"));
      return undefined;
    }).then(() => {});
  }

  #connected(stream: HostStream): void {
    if (this.closed) return stream.close();
    this.#stream = stream;
    this.#state = "Established";
    this.#wasConnected = true;
    this.#fill();
    this.wakeAll();
  }

  #over(why?: Err): void {
    this.#error ??= why;
    this.#state = "Closed";
    this.#eof = true;
    this.wakeAll();
  }

  /** Reads on while nobody has to wait for room. */
  #fill(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#reading || this.#eof || this.#data.length > 0) return;
    this.#reading = true;
    const buffer = this.#buffer ??= new Uint8Array(BUFFER_BYTES);
    stream.read(buffer).then((count) => {
      this.#reading = false;
      this.#data = buffer.subarray(0, count);
      this.#eof = count === 0;
      this.wakeAll();
    }, (thrown) => {
      this.#reading = false;
      this.#over(toErr(thrown));
    });
  }

  read(dst: Uint8Array, req: Req): number | MaybePromise<Uint8Array> {
    if (this.#stream === undefined && this.#state !== "Syn_sent") throw this.#error ?? new Err("ENOTCONN");
    const { length } = dst;
    if (length === 0) return 0;
    const now = this.readers.count === 0 ? this.#take(length, req) : undefined;
    if (now !== undefined) return now;
    if (this.nonblocking) throw new Err("EAGAIN", "nothing has come");
    return this.readers.wait(req, () => this.#take(length, req));
  }

  #take(length: number, req: Req): Uint8Array | undefined {
    if (this.#data.length === 0) {
      if (!this.#eof) return undefined;
      if (this.#error !== undefined) this.failed(this.#error);
      return NOTHING;
    }
    const part = this.#data.subarray(0, length), got = req.deliver?.(part) ? DELIVERED : part.slice();
    this.#data = this.#data.subarray(part.length);
    this.#fill();
    this.changed();
    return got;
  }

  write(data: Uint8Array, req: Req): MaybePromise<number> {
    const { length } = data;
    if (this.writers.count === 0 && this.#hasRoom()) return this.#send(data.slice());
    if (this.nonblocking) throw new Err("EAGAIN", "the send queue is full");
    const bytes = data.slice();
    return this.writers.wait(req, () => this.#hasRoom() ? (this.#send(bytes), length) : undefined);
  }

  #hasRoom(): boolean {
    if (this.#error !== undefined) this.failed(this.#error);
    if (this.#finished || this.#state === "Closed") throw new Err(this.#wasConnected ? "EPIPE" : "ENOTCONN");
    return this.#state === "Established" && this.#unsent < WRITE_BYTES;
  }

  #send(bytes: Uint8Array): number {
    const stream = this.#stream!;
    this.#unsent += bytes.length;
    this.#writing = this.#writing.then(() => stream.write(bytes)).then(() => {
      this.#unsent -= bytes.length;
      this.wakeAll();
    }, (thrown) => this.#over(toErr(thrown)));
    return bytes.length;
  }

  announce(word: string): void {
    if (this.#state !== "Closed" || this.#wasConnected) throw new Err("EBUSY", "the conversation is in use already");
    const { local, port } = placeOf(word);
    const host = isUnspecified(local) ? this.proto.address : formatIp(local);
    const listener = this.#listener = this.proto.sockets.listenTcp({ host, port });
    this.#state = "Listen";
    void this.#answer(listener);
  }

  async #answer(listener: HostListener): Promise<void> {
    try {
      for (let call = await listener.accept(); call !== null; call = await listener.accept()) {
        this.#calls.push(call);
        this.wakeAll();
      }
    } catch (thrown) {
      this.#over(toErr(thrown));
    }
  }

  override listen(req: Req): MaybePromise<Conv> {
    if (this.#state !== "Listen") throw new Err("EINVAL", "not announced");
    const call = this.callers.count === 0 ? this.#accept() : undefined;
    if (call !== undefined) return call;
    if (this.nonblocking) throw new Err("EAGAIN", "listen queue empty");
    return this.callers.wait(req, () => this.#accept());
  }

  #accept(): HostTcp | undefined {
    const stream = this.#calls.shift();
    if (stream === undefined) return undefined;
    const conv = this.proto.clone({ name: this.owner }) as HostTcp;
    conv.#connected(stream);
    this.changed();
    return conv;
  }

  shutdown(how: string): void {
    if (this.#stream === undefined) throw new Err("ENOTCONN");
    if (how !== "wr" && how !== "rdwr" && how !== "rd") throw badUsage("shutdown", HOST_TCP_VERBS.shutdown);
    if (how !== "wr") this.#eof = true;
    if (how !== "rd" && !this.#finished) {
      const stream = this.#stream;
      this.#finished = true;
      this.#writing = this.#writing.then(() => stream.shutdown()).catch((thrown) => this.#over(toErr(thrown)));
    }
    this.wakeAll();
  }

  nodelay(on: boolean): void {
    this.#stream?.setNoDelay(on);
  }

  keepalive(on: boolean): void {
    this.#stream?.setKeepAlive(on);
  }

  hangup(): void {
    this.#dialing.abort(new Err("ECONNABORTED"));
    this.#listener?.close();
    this.#stream?.close();
    this.#over();
  }

  /** What was written is still sent. */
  protected release(): void {
    this.#dialing.abort(new Err("ECONNABORTED"));
    this.#listener?.close();
    for (const call of this.#calls.splice(0)) call.close();
    const stream = this.#stream;
    void this.#writing.finally(() => stream?.close());
  }
}

const HOST_TCP_VERBS: Verbs<HostTcp> = {
  connect: { usage: "addr!port [local]", run: (conv, words, req) => conv.connect(words, req) },
  announce: { usage: "[addr!]port", run: (conv, [word]) => conv.announce(word) },
  hangup: { usage: "", run: (conv) => conv.hangup() },
  accept: { usage: "[number]", run: () => {} },
  reject: { usage: "[number] why...", run: (conv) => conv.hangup() },
  shutdown: { usage: "rd|wr|rdwr", run: (conv, [how]) => conv.shutdown(how) },
  nodelay: { usage: "[on|off]", run: (conv, [flag]) => conv.nodelay(boolOf(flag)) },
  keepalive: { usage: "[ms|off]", run: (conv, [ms]) => conv.keepalive(ms !== "off") },
  ...COMMON_VERBS,
};

/** As `local` and `remote` have it. */
export function place(addr: HostAddr | undefined): string {
  return addr === undefined ? "::!0" : `${addr.host}!${addr.port}`;
}
