/**
 * Transports of the host: TCP, unix sockets, WebSocket clients, and pairs of streams such as stdio; dial and listen.
 *
 * Layer: core/host; what it implements is core/p9/transport.ts, addresses are core/p9/dial.ts. A unix socket is made
 * for its owner alone (0600), and one that is left over is replaced only when nobody answers on it. TCP sends at once
 * (no delay). Errors of the host come out as `Err`, saying what was tried and what may mend it.
 */

import { type Code, Err } from "../err.ts";
import { type Address, formatDial, parseDial } from "../p9/dial.ts";
import type { Transport } from "../p9/transport.ts";
import { type WebSocketOptions, webSocketTransport } from "../p9/transport_ws.ts";
import { hostError } from "./errors.ts";

/** What bytes come out of: a Deno.Conn, or stdin. */
export interface ByteSource {
  /** Reads at least one byte: the count, or null at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** What bytes go into: a Deno.Conn, or stdout. */
export interface ByteSink {
  /** Writes some of `bytes`: the count. */
  write(bytes: Uint8Array): Promise<number>;
}

/** Connects to a dial string. Aborting `signal` gives it up. */
export async function dial(text: string | Address, options: { signal?: AbortSignal } = {}): Promise<Transport> {
  const address = typeof text === "string" ? parseDial(text) : text;
  try {
    return await connect(address, options.signal);
  } catch (e) {
    throw dialError(address, e);
  }
}

async function connect(address: Address, signal: AbortSignal | undefined): Promise<Transport> {
  signal?.throwIfAborted();
  switch (address.net) {
    case "tcp": {
      const conn = await Deno.connect({ hostname: address.host, port: address.port, signal });
      conn.setNoDelay(true);
      return connTransport(conn, formatDial(address));
    }
    case "unix":
      return connTransport(await Deno.connect({ transport: "unix", path: address.path }), formatDial(address));
    case "ws":
      return await dialWebSocket(address.url, signal);
  }
}

/** A WebSocket has no event for a send that got through: it is looked at again after this long. */
const WS_POLL_MS = 1;

const wsOptions: WebSocketOptions = {
  later: (fn) => void setTimeout(fn, WS_POLL_MS),
};

async function dialWebSocket(url: string, signal: AbortSignal | undefined): Promise<Transport> {
  const ws = new WebSocket(url, ["9p"]);
  const transport = webSocketTransport(ws, { ...wsOptions, remote: `ws!${url}` });
  const giveUp = () => ws.close();
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    await transport.opened;
  } finally {
    signal?.removeEventListener("abort", giveUp);
  }
  signal?.throwIfAborted();
  return transport;
}

/** Listens for connections, and hands them out one by one. */
export interface Listener extends AsyncIterable<Transport> {
  /** Where it listens; a TCP port of 0 has become the real one. */
  readonly address: Address;
  /** The next connection; null when the listener was closed. */
  accept(): Promise<Transport | null>;
  /** Stops listening; connections go on. May be called twice. */
  close(): void;
}

/** Listens at a dial string: TCP or a unix socket. */
export async function listen(text: string | Address): Promise<Listener> {
  const address = typeof text === "string" ? parseDial(text) : text;
  try {
    if (address.net === "tcp") return listenTcp(address);
    if (address.net === "unix") return await listenUnix(address);
  } catch (e) {
    throw listenError(address, e);
  }
  throw new Err(
    "EOPNOTSUPP",
    `cannot listen at ${formatDial(address)}: serve WebSockets over HTTP, and adapt each one`,
  );
}

function listenTcp({ host, port }: Address & { net: "tcp" }): Listener {
  const listener = Deno.listen({ hostname: host, port });
  const address: Address = { net: "tcp", host, port: listener.addr.port };
  return listenerOf(listener, address, (conn) => {
    conn.setNoDelay(true);
    return connTransport(conn, `tcp!${conn.remoteAddr.hostname}!${conn.remoteAddr.port}`);
  }, () => {});
}

async function listenUnix(address: Address & { net: "unix" }): Promise<Listener> {
  const { path } = address;
  // Bound under a name of its own and then moved, for Deno removes whatever has the bound name when it closes.
  const bound = `${path}~`;
  await removeStale(bound);
  await removeStale(path);
  const listener = bindPrivately(bound);
  Deno.renameSync(bound, path);
  const { ino } = Deno.lstatSync(path);
  return listenerOf(listener, address, (conn) => connTransport(conn, `unix!${path}`), () => {
    if (inodeAt(path) === ino) Deno.removeSync(path); // not a successor's socket
  });
}

/** Binds with a mask that lets nobody else connect, not even before a chmod. */
function bindPrivately(path: string): Deno.UnixListener {
  const mask = Deno.umask(0o177);
  try {
    return Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(mask);
  }
}

/** Removes a socket that a dead server left behind; a living one, or any other file, is an error. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!Deno.lstatSync(path).isSocket) throw new Err("EEXIST", "there is a file of that name that is no socket");
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (e) {
    if (e instanceof Deno.errors.NotFound) return;
    if (!(e instanceof Deno.errors.ConnectionRefused)) throw e;
    return Deno.removeSync(path);
  }
  throw new Err("EADDRINUSE", "a server answers there already");
}

function inodeAt(path: string): number | null {
  try {
    return Deno.lstatSync(path).ino;
  } catch (e) {
    if (e instanceof Deno.errors.NotFound) return null;
    throw e;
  }
}

function listenerOf<C extends Deno.Conn>(
  listener: { accept(): Promise<C>; close(): void },
  address: Address,
  adapt: (conn: C) => Transport,
  cleanUp: () => void,
): Listener {
  let closed = false;
  const accept = async (): Promise<Transport | null> => {
    for (;;) {
      try {
        return adapt(await listener.accept());
      } catch (e) {
        if (closed) return null;
        if (!isPassing(e)) throw listenError(address, e);
      }
    }
  };
  return {
    address,
    accept,
    close() {
      if (closed) return;
      closed = true;
      cleanUp();
      listener.close();
    },
    async *[Symbol.asyncIterator]() {
      for (let next = await accept(); next; next = await accept()) yield next;
    },
  };
}

/** A client that was gone before it was accepted is no reason to stop listening. */
function isPassing(e: unknown): boolean {
  return e instanceof Deno.errors.ConnectionAborted || e instanceof Deno.errors.ConnectionReset ||
    e instanceof Deno.errors.NotConnected;
}

/** A connection as a transport. */
export function connTransport(conn: Deno.Conn, remote: string): Transport {
  return streamTransport(conn, conn, remote, () => conn.close());
}

/** This process's stdin and stdout as a transport: for a server that is started by ssh or inetd. */
export function stdioTransport(): Transport {
  return streamTransport(Deno.stdin, Deno.stdout, "stdio", () => {
    Deno.stdin.close();
    Deno.stdout.close();
  });
}

/** Any source and sink as a transport; `close` ends both, and makes a read under way fail or end. */
export function streamTransport(source: ByteSource, sink: ByteSink, remote: string, close: () => void): Transport {
  let closed = false, ended = false;
  return {
    remote,
    async read(into) {
      if (closed || ended) return null;
      try {
        const count = await source.read(into);
        ended = count === null;
        return count;
      } catch (e) {
        if (closed) return null;
        throw hostError(e);
      }
    },
    async write(bytes) {
      if (closed) throw new Err("EPIPE");
      try {
        let at = await sink.write(bytes);
        while (at < bytes.length) at += await sink.write(bytes.subarray(at));
      } catch (e) {
        throw closed ? new Err("EPIPE") : hostError(e);
      }
    },
    close() {
      if (closed) return;
      closed = true;
      close();
    },
  };
}

/** A child process's stdout and stdin as a transport: 9P over ssh, or a server in a process of its own. */
export function childTransport(child: Deno.ChildProcess, remote: string): Transport {
  const reader = child.stdout.getReader({ mode: "byob" }), writer = child.stdin.getWriter();
  let spare = new Uint8Array(64 * 1024);
  const source: ByteSource = {
    async read(into) { // a BYOB read takes the buffer away, so it gets one of ours
      const { value, done } = await reader.read(spare.subarray(0, Math.min(into.length, spare.length)));
      if (value) {
        into.set(value);
        spare = new Uint8Array(value.buffer);
      }
      return done || !value ? null : value.length;
    },
  };
  const sink: ByteSink = {
    async write(bytes) {
      await writer.write(bytes.slice());
      return bytes.length;
    },
  };
  return streamTransport(source, sink, remote, () => {
    reader.cancel().catch(() => {}); // the child may be gone
    writer.close().catch(() => {});
  });
}

function dialError(address: Address, e: unknown): Err {
  const err = hostError(e);
  return new Err(err.code, `cannot connect to ${formatDial(address)}: ${err.message}${dialHint(address, err.code)}`, {
    cause: e,
  });
}

function dialHint(address: Address, code: Code): string {
  switch (code) {
    case "ECONNREFUSED":
      return " (is the server running?)";
    case "ENOENT":
      return address.net === "unix" ? " (no such socket: is the server running?)" : "";
    case "EACCES":
      return address.net === "unix" ? " (the socket is its owner's alone: are you the same user?)" : "";
    default:
      return "";
  }
}

function listenError(address: Address, e: unknown): Err {
  const err = hostError(e);
  return new Err(err.code, `cannot listen at ${formatDial(address)}: ${err.message}`, { cause: e });
}
