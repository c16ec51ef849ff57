/**
 * HostSockets: the network as the host's own sockets give it, for a system that may have no device of its own.
 *
 * Layer: devices; plugins/ip has it as the medium of conversations where nobody is root. It dials and listens by TCP,
 * and sends and receives by UDP; there are no frames, so no ICMP, ARP or routes. What it may reach is what the process
 * may: Deno's `net` permission and the host's rules.
 *
 * What holds always: addresses are text, as the host writes them, without brackets; a buffer is borrowed until the
 * promise has resolved; what is closed ends what waits on it. Errors are Errs (ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH,
 * EACCES, ...).
 */

import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { type Code, Err, ERRORS } from "../core/err.ts";
import { hostError } from "../core/host/errors.ts";

/** An address and a port of the host's network. */
export interface HostAddr {
  readonly host: string;
  readonly port: number;
}

/** A TCP connection. */
export interface HostStream {
  readonly local: HostAddr;
  readonly remote: HostAddr;
  /** Reads at least one byte: the count; 0 at the end of what the peer sends. */
  read(into: Uint8Array): Promise<number>;
  /** Sends all of `bytes`. */
  write(bytes: Uint8Array): Promise<void>;
  /** Sends the end; reading goes on. */
  shutdown(): Promise<void>;
  /** Nagle's algorithm, which is off at first. */
  setNoDelay(on: boolean): void;
  setKeepAlive(on: boolean): void;
  /** Ends both directions. May be called twice. */
  close(): void;
}

/** What listens for TCP. */
export interface HostListener {
  readonly local: HostAddr;
  /** The next connection; null when it was closed. */
  accept(): Promise<HostStream | null>;
  close(): void;
}

/** A datagram, and whose. */
export interface HostDatagram {
  readonly bytes: Uint8Array;
  readonly from: HostAddr;
}

/** A UDP socket. */
export interface HostUdp {
  readonly local: HostAddr;
  /** Datagrams that found no room, for nobody received. */
  readonly dropped: number;
  send(bytes: Uint8Array, to: HostAddr): Promise<void>;
  /** The next datagram; null when it was closed. */
  receive(): Promise<HostDatagram | null>;
  close(): void;
}

/** Where to, and how. */
export interface DialOptions extends HostAddr {
  /** Gives it up: ECANCELED, or the signal's own Err. */
  signal?: AbortSignal;
}

/** Bytes of datagrams that wait for whoever receives, at the most. */
const UDP_QUEUE_BYTES = 1 << 20;

/** Connects by TCP; `host` is an address or a name. */
export async function dialTcp({ host, port, signal }: DialOptions): Promise<HostStream> {
  try {
    signal?.throwIfAborted();
    const conn = await Deno.connect({ hostname: host, port, signal });
    conn.setNoDelay(true);
    return new TcpStream(conn);
  } catch (thrown) {
    if (signal?.aborted) throw signal.reason instanceof Err ? signal.reason : new Err("ECANCELED");
    throw named(thrown, `tcp!${host}!${port}`);
  }
}

/** Listens by TCP; port 0 takes any that is free. */
export function listenTcp({ host, port }: HostAddr): HostListener {
  try {
    return new TcpListener(Deno.listen({ hostname: host, port }));
  } catch (thrown) {
    throw named(thrown, `tcp!${host}!${port}`);
  }
}

/** Opens a UDP socket; port 0 takes any that is free. IPv6 for an address with a colon. */
export async function openUdp({ host, port }: HostAddr): Promise<HostUdp> {
  const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.bind(port, host, () => resolve());
    });
  } catch (thrown) {
    socket.close();
    throw named(thrown, `udp!${host}!${port}`);
  }
  return new UdpSocket(socket);
}

/** The addresses of a name, by the host's resolver. ENOENT when it has none. */
export async function lookup(name: string): Promise<string[]> {
  const asked = await Promise.allSettled([Deno.resolveDns(name, "A"), Deno.resolveDns(name, "AAAA")]);
  const found = asked.flatMap((answer) => answer.status === "fulfilled" ? answer.value : []);
  if (found.length > 0) return found;
  const failed = asked.find((answer) => answer.status === "rejected");
  throw failed ? named(failed.reason, name) : new Err("ENOENT", `${name}: no such host`);
}

/** All of the above, for who takes it as an argument. */
export const hostSockets = { dialTcp, listenTcp, openUdp, lookup };
export type HostSockets = typeof hostSockets;

class TcpStream implements HostStream {
  readonly local: HostAddr;
  readonly remote: HostAddr;
  readonly #conn: Deno.TcpConn;
  #closed = false;

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
    this.local = addrOf(conn.localAddr);
    this.remote = addrOf(conn.remoteAddr);
  }

  async read(into: Uint8Array): Promise<number> {
    if (this.#closed) return 0;
    try {
      return await this.#conn.read(into) ?? 0;
    } catch (thrown) {
      if (this.#closed) return 0;
      throw named(thrown, this.#name());
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;) {
        if (this.#closed) throw new Err("EPIPE");
        done += await this.#conn.write(done === 0 ? bytes : bytes.subarray(done));
      }
    } catch (thrown) {
      throw named(thrown, this.#name());
    }
  }

  async shutdown(): Promise<void> {
    try {
      await this.#conn.closeWrite();
    } catch (thrown) {
      throw named(thrown, this.#name());
    }
  }

  setNoDelay(on: boolean): void {
    this.#conn.setNoDelay(on);
  }

  setKeepAlive(on: boolean): void {
    this.#conn.setKeepAlive(on);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#conn.close();
  }

  #name(): string {
    return `tcp!${this.remote.host}!${this.remote.port}`;
  }
}

class TcpListener implements HostListener {
  readonly local: HostAddr;
  readonly #listener: Deno.TcpListener;
  #closed = false;

  constructor(listener: Deno.TcpListener) {
    this.#listener = listener;
    this.local = addrOf(listener.addr);
  }

  async accept(): Promise<HostStream | null> {
    if (this.#closed) return null;
    try {
      const conn = await this.#listener.accept();
      conn.setNoDelay(true);
      return new TcpStream(conn);
    } catch (thrown) {
      if (this.#closed) return null;
      throw named(thrown, `tcp!${this.local.host}!${this.local.port}`);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
  }
}

class UdpSocket implements HostUdp {
  readonly local: HostAddr;
  dropped = 0;
  readonly #socket: Socket;
  readonly #waiting: HostDatagram[] = [];
  #waitingBytes = 0;
  readonly #receivers: ((got: HostDatagram | null) => void)[] = [];
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    const { address, port } = socket.address();
    this.local = { host: address, port };
    socket.on("message", (bytes, from) => this.#arrive(bytes, from));
    socket.on("error", () => {}); // an ICMP error of an earlier datagram: UDP promises nothing
  }

  async send(bytes: Uint8Array, { host, port }: HostAddr): Promise<void> {
    if (this.#closed) throw new Err("EPIPE");
    await new Promise<void>((resolve, reject) => {
      this.#socket.send(bytes, port, host, (why) => why ? reject(named(why, `udp!${host}!${port}`)) : resolve());
    });
  }

  receive(): Promise<HostDatagram | null> {
    const got = this.#waiting.shift();
    if (got) {
      this.#waitingBytes -= got.bytes.length;
      return Promise.resolve(got);
    }
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve) => this.#receivers.push(resolve));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    for (const resolve of this.#receivers.splice(0)) resolve(null);
  }

  #arrive(message: Uint8Array, { address, port }: RemoteInfo): void {
    const datagram = { bytes: Uint8Array.from(message), from: { host: address, port } };
    const receiver = this.#receivers.shift();
    if (receiver) receiver(datagram);
    else if (this.#waitingBytes + message.length > UDP_QUEUE_BYTES) this.dropped++;
    else {
      this.#waiting.push(datagram);
      this.#waitingBytes += message.length;
    }
  }
}

function addrOf({ hostname, port }: Deno.NetAddr): HostAddr {
  return { host: hostname, port };
}

/** The host's error as an Err that says of what. */
function named(thrown: unknown, what: string): Err {
  if (thrown instanceof Err) return thrown;
  const { code } = thrown as { code?: unknown }, err = hostError(thrown);
  const known = typeof code === "string" && Object.hasOwn(ERRORS, code) ? code as Code : err.code;
  const isUnknownHost = /failed to lookup|ENOTFOUND|no record/i.test(err.message);
  if (isUnknownHost) return new Err("ENOENT", `${what}: no such host`, { cause: thrown });
  return new Err(known, `${what}: ${err.message}`, { cause: thrown });
}
