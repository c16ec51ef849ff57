/**
 * connect and listen as Deno has them, on the files of a `/net`.
 *
 * Layer: net/dial, over dial.ts. Names and shapes are those of Deno.connect and Deno.listen, but that all is answered by promises.
 */

import { Err } from "../../core/err.ts";
import type { Conn } from "./conn.ts";
import { announce, type Announcement, dial, type DialOptions } from "./dial.ts";
import type { NetFiles } from "./files.ts";

/** One end. */
export interface NetAddr {
  transport: "tcp" | "udp";
  hostname: string;
  port: number;
}

/** Whom to connect to, or what to listen on. */
export interface EndOptions extends Pick<DialOptions, "netdir" | "signal"> {
  /** A name or an address: this host to connect to, all addresses to listen on, when not given. */
  hostname?: string;
  /** 0, to listen on: any that is free. */
  port: number;
  transport?: "tcp" | "udp";
}

/** A connection with the members of Deno.Conn. */
export class NetConn implements AsyncDisposable {
  readonly localAddr: NetAddr;
  readonly remoteAddr: NetAddr;
  /** The conversation. */
  readonly conn: Conn;

  private constructor(conn: Conn, ends: { local: NetAddr; remote: NetAddr }) {
    this.conn = conn;
    this.localAddr = ends.local;
    this.remoteAddr = ends.remote;
  }

  /** @internal */
  static async of(conn: Conn, transport: "tcp" | "udp"): Promise<NetConn> {
    try {
      const { local, remote } = await conn.info();
      return new NetConn(conn, { local: addrOf(local, transport), remote: addrOf(remote, transport) });
    } catch (thrown) {
      await conn.close();
      throw thrown;
    }
  }

  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.conn.readable;
  }

  get writable(): WritableStream<Uint8Array> {
    return this.conn.writable;
  }

  /** The count, null at the end. */
  async read(into: Uint8Array): Promise<number | null> {
    return await this.conn.read(into) || null;
  }

  write(data: Uint8Array): Promise<number> {
    return this.conn.write(data);
  }

  closeWrite(): Promise<void> {
    return this.conn.closeWrite();
  }

  /** Whether small writes are sent at once. */
  setNoDelay(noDelay = true): Promise<void> {
    return this.conn.command(`nodelay ${noDelay ? "on" : "off"}`);
  }

  /** Asks an idle peer now and then whether it is there. */
  setKeepAlive(keepAlive = true): Promise<void> {
    return this.conn.command(`keepalive${keepAlive ? "" : " off"}`);
  }

  close(): Promise<void> {
    return this.conn.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** A listener with the members of Deno.Listener. */
export class NetListener implements AsyncDisposable, AsyncIterable<NetConn> {
  readonly addr: NetAddr;
  readonly #announced: Announcement;

  /** @internal */
  constructor(announced: Announcement, addr: NetAddr) {
    this.#announced = announced;
    this.addr = addr;
  }

  /** The next call. */
  async accept(): Promise<NetConn> {
    const call = await this.#announced.listen();
    return await NetConn.of(await call.accept(), this.addr.transport);
  }

  /** Every call until it is closed. One whose caller has gone already is left out. */
  async *[Symbol.asyncIterator](): AsyncGenerator<NetConn, void, void> {
    while (!this.#announced.closed) {
      try {
        yield await this.accept();
      } catch (thrown) {
        if (!this.#announced.closed && !(thrown instanceof Err && GONE.includes(thrown.code))) throw thrown;
      }
    }
  }

  close(): Promise<void> {
    return this.#announced.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** What a call of somebody who has gone again fails with. */
const GONE: readonly string[] = ["ECONNRESET", "ECONNABORTED", "ENOENT", "EIDRM"];

/** Connects to a host: `await connect(client, { hostname: "example.com", port: 80 })`. */
export async function connect(files: NetFiles, options: EndOptions): Promise<NetConn> {
  const { hostname = "127.0.0.1", port, transport = "tcp" } = options;
  return await NetConn.of(await dial(files, `${transport}!${hostname}!${port}`, options), transport);
}

/** Listens: `for await (const conn of await listen(client, { port: 80 })) ...`. */
export async function listen(files: NetFiles, options: EndOptions): Promise<NetListener> {
  const { hostname = "*", port, transport = "tcp" } = options;
  const announced = await announce(files, `${transport}!${hostname}!${port}`, options);
  try {
    return new NetListener(announced, addrOf((await announced.info()).local, transport));
  } catch (thrown) {
    await announced.close();
    throw thrown;
  }
}

/** `10.0.0.1!80` taken apart. */
function addrOf(text: string, transport: "tcp" | "udp"): NetAddr {
  const bang = text.lastIndexOf("!");
  return { transport, hostname: text.slice(0, Math.max(bang, 0)), port: Number(text.slice(bang + 1)) };
}
