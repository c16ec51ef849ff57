/**
 * RawPeer: a 9P client that sends what it is told, right or wrong, and sees every reply as it comes.
 *
 * For tests only. Where `Client` is careful, this one is not: tags and fids are the test's own.
 */

import assert from "node:assert/strict";
import { decodeR, encode, HEADER_BYTES } from "../../core/p9/codec.ts";
import { Writer } from "../../core/p9/cursor.ts";
import { Input } from "../../core/p9/input.ts";
import * as m from "../../core/p9/msg.ts";
import type { Dialect, DialectTraits, Rmsg, Tmsg } from "../../core/p9/msg.ts";
import type { Transport } from "../../core/p9/transport.ts";
import { NOFID, NONUNAME, NOTAG } from "../../core/p9/types.ts";

/** A message without its tag. */
export type Untagged = Tmsg extends infer M ? M extends Tmsg ? Omit<M, "tag"> & { tag?: number } : never : never;

/** One raw connection. */
export class RawPeer {
  readonly transport: Transport;
  dialect: DialectTraits = m.dialectTraits("9P2000")!;
  msize = 8192;
  #input: Input;
  #nextTag = 1;

  constructor(transport: Transport) {
    this.transport = transport;
    this.#input = new Input(transport, 1 << 24);
  }

  /** Agrees on a version and attaches fid 0. */
  static async open(
    transport: Transport,
    dialect: Dialect,
    options: { msize?: number; uid?: number; uname?: string; aname?: string } = {},
  ): Promise<RawPeer> {
    const peer = new RawPeer(transport);
    const answer = await peer.version(dialect, options.msize ?? 65536);
    assert.equal(answer.version, dialect);
    await peer.attach(0, options);
    return peer;
  }

  async version(dialect: string, msize = 65536): Promise<m.Rversion> {
    const reply = await this.rpc({ type: m.Tversion, tag: NOTAG, msize, version: dialect });
    assert.equal(reply.type, m.Rversion);
    const version = reply as m.Rversion;
    this.dialect = m.dialectTraits(version.version) ?? this.dialect;
    this.msize = version.msize;
    return version;
  }

  async attach(fid: number, options: { uid?: number; uname?: string; aname?: string } = {}): Promise<m.Rattach> {
    const { uid = 0, uname = "root", aname = "" } = options;
    const nuname = this.dialect.name === "9P2000" ? NONUNAME : uid;
    return await this.ok({ type: m.Tattach, fid, afid: NOFID, uname, aname, nuname }) as m.Rattach;
  }

  /** Sends messages in one write; answers their tags. */
  async send(...msgs: Untagged[]): Promise<number[]> {
    const w = new Writer(65536, 1 << 24);
    const tags = msgs.map((msg) => {
      const tag = msg.tag ?? this.#nextTag++;
      encode(w, { ...msg, tag } as Tmsg, this.dialect);
      return tag;
    });
    await this.transport.write(w.bytes.subarray(0, w.at));
    return tags;
  }

  /** Sends bytes as they are. */
  async raw(bytes: Uint8Array | number[]): Promise<void> {
    await this.transport.write(Uint8Array.from(bytes));
  }

  /** The next reply; null at the end of the connection. Data is the test's to keep. */
  async receive(): Promise<Rmsg | null> {
    while (!this.#input.next()) {
      if (!await this.#input.fill()) return null;
    }
    const reply = decodeR(this.#input.reader, this.dialect);
    return "data" in reply ? { ...reply, data: reply.data.slice() } : reply;
  }

  /** The next reply without looking into it: its bytes. */
  async receiveRaw(): Promise<Uint8Array | null> {
    while (!this.#input.next()) {
      if (!await this.#input.fill()) return null;
    }
    const { reader } = this.#input;
    return reader.bytes.slice(reader.at - 4, reader.end);
  }

  /** One request and its reply, errors too. */
  async rpc(msg: Untagged): Promise<Rmsg> {
    const [tag] = await this.send(msg);
    const reply = await this.receive();
    assert.ok(reply, "the connection ended");
    assert.equal(reply.tag, tag);
    return reply;
  }

  /** One request that must succeed. */
  async ok(msg: Untagged): Promise<Rmsg> {
    const reply = await this.rpc(msg);
    const error = reply.type === m.Rerror ? reply.ename : reply.type === m.Rlerror ? `errno ${reply.errno}` : "";
    assert.equal(error, "", `${m.msgName(msg.type)} failed`);
    assert.equal(reply.type, msg.type + 1);
    return reply;
  }

  /** One request that must be refused; answers the error string, or Linux's number in .L. */
  async refused(msg: Untagged): Promise<string | number> {
    const reply = await this.rpc(msg);
    if (reply.type === m.Rerror) return reply.ename;
    if (reply.type === m.Rlerror) return reply.errno;
    assert.fail(`${m.msgName(msg.type)} was answered with ${m.msgName(reply.type)}`);
  }

  walk(fid: number, newfid: number, ...names: string[]): Promise<Rmsg> {
    return this.ok({ type: m.Twalk, fid, newfid, names });
  }

  async clunk(fid: number): Promise<void> {
    await this.ok({ type: m.Tclunk, fid });
  }

  /** Opens by Topen or Tlopen, as the dialect has it. */
  open(fid: number, mode = 0): Promise<Rmsg> {
    if (!this.dialect.linux) return this.ok({ type: m.Topen, fid, mode });
    return this.ok({ type: m.Tlopen, fid, flags: (mode & 3) | (mode & 0x10 ? m.L_TRUNC : 0) });
  }

  /** Makes and opens a file; `fid` stands for it afterwards. */
  create(fid: number, name: string, perm = 0o644, mode = 2): Promise<Rmsg> {
    if (!this.dialect.linux) return this.ok({ type: m.Tcreate, fid, name, perm, mode, ext: "" });
    return this.ok({ type: m.Tlcreate, fid, name, flags: mode & 3, mode: perm, gid: 0, perm });
  }

  async write(fid: number, text: string, offset = 0): Promise<number> {
    const data = new TextEncoder().encode(text);
    return (await this.ok({ type: m.Twrite, fid, offset, data }) as m.Rwrite).count;
  }

  async read(fid: number, offset = 0, count = 8000): Promise<string> {
    return new TextDecoder().decode((await this.ok({ type: m.Tread, fid, offset, count }) as m.Rread).data);
  }

  close(): void {
    this.transport.close();
  }
}

/** Bytes of a message with a header of one's own: for what no encoder makes. */
export function frame(type: number, tag: number, body: number[], size = HEADER_BYTES + body.length): number[] {
  return [size & 255, (size >> 8) & 255, (size >> 16) & 255, (size >>> 24) & 255, type, tag & 255, tag >> 8, ...body];
}
