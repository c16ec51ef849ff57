/**
 * 9P2000.L by hand: bytes to a socket and back, with nothing of ring9's own codec or client between.
 *
 * Layer: tests/interop. It is the judge's side: it sends what is wrong as readily as what is right, and a fault that
 * the codec and its client had in common would show here. One caller at a time; replies come in the order they came.
 */

import assert from "node:assert/strict";

/** Message types used here. */
export const T = {
  lerror: 7,
  lopen: 12,
  lcreate: 14,
  getattr: 24,
  readdir: 40,
  mkdir: 72,
  unlinkat: 76,
  version: 100,
  attach: 104,
  flush: 108,
  walk: 110,
  read: 116,
  write: 118,
  clunk: 120,
} as const;

/** A field of a message: its width in bytes and value, a string, or bytes as they are. */
export type Field = [1 | 2 | 4 | 8, number] | string | Uint8Array;

const NOFID = 0xffffffff;
const HEADER_BYTES = 7;
const text = new TextEncoder();

/** A message: size, type and tag in front of the fields. */
export function message(type: number, tag: number, ...fields: Field[]): Uint8Array<ArrayBuffer> {
  const parts = fields.map(encodeField);
  const size = parts.reduce((sum, part) => sum + part.length, HEADER_BYTES);
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, size, true);
  bytes[4] = type;
  new DataView(bytes.buffer).setUint16(5, tag, true);
  let at = HEADER_BYTES;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function encodeField(field: Field): Uint8Array {
  if (field instanceof Uint8Array) return field;
  if (typeof field === "string") {
    const bytes = text.encode(field);
    return new Uint8Array([bytes.length & 0xff, bytes.length >> 8, ...bytes]);
  }
  const [width, value] = field;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes.subarray(0, width);
}

/** A reply as it came. */
export interface Reply {
  type: number;
  tag: number;
  body: Uint8Array;
}

/** A connection to a 9P server. */
export class RawClient implements Disposable {
  readonly conn: Deno.Conn;
  #buffer: Uint8Array = new Uint8Array();
  #closed = false;

  private constructor(conn: Deno.Conn) {
    this.conn = conn;
  }

  /** Connects, without a word of 9P. */
  static async connect(address: { host: string; port: number }): Promise<RawClient> {
    return new RawClient(await Deno.connect({ hostname: address.host, port: address.port }));
  }

  /** Connects, agrees on 9P2000.L, and attaches fid 0 as root. */
  static async attach(address: { host: string; port: number; aname: string }): Promise<RawClient> {
    const client = await RawClient.connect(address);
    await client.rpc(message(T.version, 0xffff, [4, 65536], "9P2000.L"));
    await client.rpc(message(T.attach, 1, [4, 0], [4, NOFID], "root", address.aname, [4, 0]));
    return client;
  }

  /** Sends bytes as they are. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.conn.write(bytes.subarray(at));
  }

  /** The next reply; null when the server has closed the connection. */
  async receive(): Promise<Reply | null> {
    const chunk = new Uint8Array(65536);
    for (;;) {
      const reply = this.#take();
      if (reply) return reply;
      const count = await this.conn.read(chunk).catch(() => null);
      if (count === null) return null;
      const joined = new Uint8Array(this.#buffer.length + count);
      joined.set(this.#buffer);
      joined.set(chunk.subarray(0, count), this.#buffer.length);
      this.#buffer = joined;
    }
  }

  /** Sends one message and answers its reply's body; throws on an error reply or a closed connection. */
  async rpc(request: Uint8Array): Promise<Uint8Array> {
    await this.send(request);
    const reply = await this.receive();
    assert.ok(reply, "the server closed the connection");
    assert.equal(reply.type, request[4] + 1, `errno ${reply.body[0]} to message type ${request[4]}`);
    return reply.body;
  }

  /** Makes `count` empty files, `entry-00000` and so on, in a new directory `path` of the tree. */
  async makeMany(path: string, count: number): Promise<void> {
    const names = path.split("/"), dir = names.pop()!;
    await this.rpc(message(T.walk, 1, [4, 0], [4, 1], [2, names.length], ...names));
    await this.rpc(message(T.mkdir, 1, [4, 1], dir, [4, 0o755], [4, 0]));
    for (let index = 0; index < count; index++) {
      const name = `entry-${String(index).padStart(5, "0")}`;
      await this.rpc(message(T.walk, 1, [4, 1], [4, 2], [2, 1], dir));
      await this.rpc(message(T.lcreate, 1, [4, 2], name, [4, 0o1], [4, 0o644], [4, 0]));
      await this.rpc(message(T.clunk, 1, [4, 2]));
    }
  }

  /** Ends the connection; may be called twice. */
  close(): void {
    if (!this.#closed) this.conn.close();
    this.#closed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #take(): Reply | undefined {
    const bytes = this.#buffer;
    if (bytes.length < HEADER_BYTES) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const size = view.getUint32(0, true);
    if (bytes.length < size) return undefined;
    this.#buffer = bytes.subarray(size);
    return { type: bytes[4], tag: view.getUint16(5, true), body: bytes.subarray(HEADER_BYTES, size) };
  }
}
