/**
 * httpd: serves a tree of the name space by HTTP/1.1. The manual page is man/httpd.md.
 *
 * Layer: programs, over /net. What a request may name is below the tree's root: a path with `..` in it, however written, is
 * refused. What holds always: no connection waits for ever, and there are no more of them than `-m`.
 */

import { type Conn, listen, type NetConn } from "ring9/net";
import { Err } from "ring9/proc";
import { ByteReader } from "../lib/bytes.ts";
import { answer, type Answered, failure } from "../lib/http_answer.ts";
import { parseRequest, type Request } from "../lib/http_request.ts";
import { complain, defineTool, isFile, type Running } from "../lib/tool.ts";

const MAX_CONNECTIONS = 256, IDLE_MS = 60_000;

export default defineTool({
  usage: "httpd [-v] [-p port] [-a address] [-m connections] [-x netdir] directory",
  flags: "vp:a:m:x:",
  words: [1, 1],
  async run(tool) {
    const { flags, files, words: [root] } = tool;
    if (isFile(await tool.async.stat(root))) throw new Err("ENOTDIR", `${root}: not a directory`);
    const port = flags.number("p", { otherwise: 80, least: 0, most: 65535 });
    const most = flags.number("m", { otherwise: MAX_CONNECTIONS, least: 1, most: 4096 });
    const listener = await listen(files, { port, hostname: flags.text("a"), netdir: flags.text("x") });
    if (flags.has("v")) complain(tool, `serving ${root} on port ${listener.addr.port}\n`);
    const server = new Server(tool, root.replace(/\/+$/, ""), most);
    for await (const conn of listener) await server.take(conn);
  },
});

class Server {
  #connections = 0;
  #room: (() => void) | undefined;

  constructor(private readonly tool: Running, private readonly root: string, private readonly most: number) {}

  /** Serves a connection in the background; resolves when there is room for another. */
  async take(conn: NetConn): Promise<void> {
    this.#connections++;
    void this.#serve(conn).finally(() => {
      this.#connections--;
      this.#room?.();
    });
    if (this.#connections >= this.most) await new Promise<void>((resolve) => this.#room = resolve);
  }

  async #serve({ conn, remoteAddr }: NetConn): Promise<void> {
    const idle = new IdleTimer(conn);
    try {
      const reader = new ByteReader(conn);
      for (let goesOn = true; goesOn;) {
        const request = await idle.during(this.#request(reader)); // all of it: a byte now and then is not enough
        if (request === null) break;
        const done = await this.#answer(request, (bytes) => idle.during(conn.writeAll(bytes)));
        goesOn = done.keeps;
        this.#note(remoteAddr.hostname, request, done);
      }
    } catch {
      // The client has gone, or said nothing for too long: there is nobody to tell.
    } finally {
      idle.stop();
      await conn.close().catch(() => {});
    }
  }

  /** The next request, or what is wrong with it; null at the end. */
  async #request(reader: ByteReader): Promise<Request | Answered | null> {
    try {
      return await parseRequest(reader);
    } catch (thrown) {
      if (!(thrown instanceof Err) || !["EPROTO", "EMSGSIZE", "EINVAL"].includes(thrown.code)) throw thrown;
      return failure(thrown.code === "EMSGSIZE" ? 431 : 400, thrown.message);
    }
  }

  async #answer(request: Request | Answered, send: (bytes: Uint8Array) => Promise<void>): Promise<Done> {
    const method = "method" in request ? request.method : "GET";
    const told = "method" in request ? await answer(this.tool.async, this.root, request) : request;
    const keeps = "method" in request && request.keeps && (told.length !== undefined || request.minor === 1);
    const chunked = told.length === undefined && keeps;
    await send(headOf(told, keeps, chunked));
    let bytes = 0;
    try {
      for await (const part of method === "HEAD" ? [] : told.body) {
        bytes += part.length;
        await send(chunked ? chunkOf(part) : part);
      }
      if (chunked && method !== "HEAD") await send(new TextEncoder().encode("0\r\n\r\n"));
      return { status: told.status, bytes, keeps };
    } finally {
      await told.close();
    }
  }

  #note(remote: string, request: Request | Answered, { status, bytes }: Done): void {
    if (!this.tool.flags.has("v")) return;
    const what = "method" in request ? `${request.method} ${request.target}` : "-";
    complain(this.tool, `${remote} "${what}" ${status} ${bytes}\n`);
  }
}

/** How a request ended. */
interface Done {
  status: number;
  bytes: number;
  /** Whether another may follow on the connection. */
  keeps: boolean;
}

function headOf({ status, reason, fields, length }: Answered, keeps: boolean, chunked: boolean): Uint8Array {
  const lines = [`HTTP/1.1 ${status} ${reason}`, "Server: ring9", `Date: ${new Date(Date.now()).toUTCString()}`];
  for (const [name, value] of Object.entries(fields)) lines.push(`${name}: ${value}`);
  if (length !== undefined) lines.push(`Content-Length: ${length}`);
  else if (chunked) lines.push("Transfer-Encoding: chunked");
  lines.push(`Connection: ${keeps ? "keep-alive" : "close"}`, "", "");
  return new TextEncoder().encode(lines.join("\r\n"));
}

function chunkOf(part: Uint8Array): Uint8Array {
  const head = new TextEncoder().encode(`${part.length.toString(16)}\r\n`),
    chunk = new Uint8Array(head.length + part.length + 2);
  chunk.set(head);
  chunk.set(part, head.length);
  chunk.set([13, 10], head.length + part.length);
  return chunk;
}

/** Ends a connection on which something takes too long. */
class IdleTimer {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly conn: Conn) {}

  async during<T>(doing: Promise<T>): Promise<T> {
    this.stop();
    this.#timer = setTimeout(() => void this.conn.hangup().catch(() => {}), IDLE_MS);
    try {
      return await doing;
    } finally {
      this.stop();
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
