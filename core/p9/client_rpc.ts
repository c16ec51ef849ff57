/**
 * Rpc: requests out, replies in. The part of the client that knows tags and frames, and nothing of files.
 *
 * Layer: core/p9, over the codec and a Transport; `Client` and the mount driver stand on it.
 *
 * What holds always:
 * - A request is encoded before `send` returns; nothing of it is kept but what its reply must answer.
 * - Requests made in one turn leave in one write. While a write is under way the next requests gather for the next.
 * - A reply is checked against its request. One that is wrong fails that request; one that shows that both sides
 *   disagree about frames or tags fails the connection. Neither does anything else.
 * - A tag is used again only when its reply has come and, if it was flushed, its Rflush too; the longest unused first.
 * - Bytes that a reply borrows are good until its `done` returns.
 *
 * See intro(5), flush(5) and version(5) of Plan 9.
 */

import { alignment, BEGIN } from "./align.ts";
import { Err, toErr } from "../err.ts";
import { copyBytes, ownBytes } from "./bytes.ts";
import { askedCount, replyError, type ReplyTo } from "./client_replies.ts";
import { decodeR, encode, HEADER_BYTES } from "./codec.ts";
import { Tags } from "./client_tags.ts";
import { Reader, Writer } from "./cursor.ts";
import { borrowed, lendCopy } from "./lend.ts";
import * as m from "./msg.ts";
import type { DataRef, DialectTraits, Rmsg, Tmsg } from "./msg.ts";
import type { Blocks, Transport } from "./transport.ts";
import { NOTAG } from "./types.ts";

/** What is called with a reply, or with the error that came instead; it must not throw. */
export type Done = (error: Err | null, reply: Rmsg | null) => void;

/** A request under way: what `flush` takes. */
export interface Call {
  /** The request's type. */
  readonly type: number;
  /** What its reply may count at the most. */
  readonly count: number;
  /** -1 while the request waits for a free tag, and again when it is over. */
  tag: number;
  state: CallState;
  done: Done;
  /** Where the data of an Rread goes, when it is wanted there. */
  sink: Uint8Array | null;
}

/** How far a call has come. */
export type CallState = "waiting" | "sent" | "flushing" | "answered" | "over";

/** What `Rpc` takes. */
export interface RpcOptions {
  /** Bytes of a message at the most, until a version is agreed on. */
  msize: number;
  /** Requests in flight at the most; others wait for a tag. */
  maxInFlight: number;
}

/** Bytes read at once: some dozen small replies, or the head of a large one. */
const READ_BYTES = 128 * 1024;
const CLOSING = "the connection is being closed";
const FIRST_OUT_BYTES = 64 * 1024;
/** An Rread with more bytes than this still to come is read straight into its sink. */
const DIRECT_BYTES = 16 * 1024;
const RREAD_HEADER = HEADER_BYTES + 4;

const VERSION_DIALECT = m.DIALECTS[m.DIALECTS.length - 1];

/** Requests and replies on one transport. */
export class Rpc {
  readonly transport: Transport;
  /** What was agreed on; `Client.connect` sets both. */
  dialect: DialectTraits = VERSION_DIALECT;
  msize: number;
  /** Settles when the connection is over: with why it failed, or null when it was closed here. */
  readonly closed: Promise<Err | null>;

  #tags: Tags<Call>;
  #version: Call | undefined;
  /** Encoded requests that wait for a tag, oldest first. */
  #backlog: { call: Call; frame: Uint8Array }[] = [];
  #out: Writer;
  #spare: Writer;
  #flushQueued = false;
  #writing = false;
  #in = new Uint8Array(READ_BYTES);
  #reader = new Reader(this.#in);
  /** Where in `#in` what has come stands, and how much. */
  #from = 0;
  #have = 0;
  /** Bytes of the stream so far. Buffers begin where their bytes are aligned as in the stream: see `alignment`. */
  #received = 0;
  #sent = 0;
  /** Where in `#out` what waits begins. */
  #outFrom = 0;
  /** The Rread whose data goes straight into its sink. */
  #direct: { call: Call; at: number; size: number } | undefined;
  #failure: Err | undefined;
  /** Types of requests that are not begun any more: the connection is being closed. */
  #refused: readonly number[] = [];
  #settleClosed!: (why: Err | null) => void;
  #onIdle: (() => void) | undefined;

  constructor(transport: Transport, options: RpcOptions) {
    this.transport = transport;
    this.msize = options.msize;
    this.#tags = new Tags(options.maxInFlight);
    const limit = 4 * options.msize + FIRST_OUT_BYTES;
    this.#out = new Writer(FIRST_OUT_BYTES, limit);
    this.#spare = new Writer(FIRST_OUT_BYTES, limit);
    this.closed = new Promise((settle) => this.#settleClosed = settle);
    this.#receive();
  }

  /** Requests that have no reply yet. */
  get inFlight(): number {
    return this.#tags.taken + this.#backlog.length;
  }

  /** Memory that the server sees, too, if it speaks of it. */
  get blocks(): Blocks | undefined {
    return this.dialect.full ? this.transport.blocks : undefined;
  }

  /** Why the connection is over; undefined while it is not. */
  get failure(): Err | undefined {
    return this.#failure;
  }

  /**
   * Sends `msg` (its `tag` is set here) and calls `done` once: with the reply, whose bytes are borrowed until `done`
   * returns, or with an error. Never calls it before returning. The data of an Rread goes to `sink` if one is given;
   * the reply's `data` is then the part of `sink` that was filled.
   */
  send(msg: Tmsg, done: Done, sink: Uint8Array | null = null): Call {
    const asked = askedCount(msg);
    const count = sink && sink.length < asked ? sink.length : asked;
    const call: Call = { type: msg.type, count, tag: -1, state: "waiting", done, sink };
    const refusal = this.#failure ?? (this.#refused.includes(msg.type) ? new Err("ESHUTDOWN", CLOSING) : undefined);
    if (refusal) {
      queueMicrotask(() => this.#finish(call, refusal, null));
      return call;
    }
    if (msg.type === m.Tversion) return this.#sendVersion(msg, call);
    const isFlush = msg.type === m.Tflush;
    const mustWait = this.#backlog.length > 0 && !isFlush;
    if (mustWait || !this.#tags.available(isFlush) || this.#out.room < this.msize) return this.#enqueue(msg, call);
    msg.tag = this.#tags.next;
    this.#encode(this.#out, msg.type === m.Twrite ? this.#lent(msg) : msg);
    this.#occupy(call);
    this.#cork();
    return call;
  }

  /**
   * Sends `msg` and answers its reply, whose bytes are the caller's. An error reply, a wrong reply, and the end of the
   * connection throw an `Err`. Aborting `signal` flushes the request: EINTR when it was cancelled; the reply when
   * that was faster.
   */
  rpc<T extends Tmsg>(msg: T, signal?: AbortSignal | null): Promise<ReplyTo<T>> {
    return this.ask(msg, ownData, signal);
  }

  /** As `rpc`, and answers what `map` makes of the reply, whose bytes are borrowed until `map` returns; `sink` as for `send`. */
  ask<T extends Tmsg, V>(
    msg: T,
    map: (reply: ReplyTo<T>) => V,
    signal?: AbortSignal | null,
    sink?: Uint8Array | null,
  ): Promise<V> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw new Err("EINTR", undefined, { cause: signal.reason });
      const onAbort = () => this.flush(call);
      const call = this.send(msg, (error, reply) => {
        signal?.removeEventListener("abort", onAbort);
        if (error) return reject(error);
        try {
          resolve(map(reply as ReplyTo<T>));
        } catch (e) {
          reject(e);
        }
      }, sink);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /**
   * Gives `call` up. Its `done` is called with EINTR when the server has cancelled it, with the reply if that came
   * first. A second flush, and one of a call that is over, do nothing.
   */
  flush(call: Call): void {
    if (call.state === "waiting") {
      this.#backlog = this.#backlog.filter((entry) => entry.call !== call);
      if (this.inFlight === 0) this.#idle();
      return queueMicrotask(() => this.#finish(call, new Err("EINTR"), null));
    }
    if (call.state !== "sent") return;
    call.state = "flushing";
    const oldtag = call.tag;
    this.send({ type: m.Tflush, tag: 0, oldtag }, (error) => {
      if (this.#failure) return;
      const answered = call.state === "answered";
      // An error to a flush says nothing about the old request: its tag stays taken until its reply comes.
      if (!error || answered) this.#vacate(oldtag);
      else call.sink = null;
      if (!answered) this.#finish(call, new Err("EINTR"), null);
    });
  }

  /** Gives up all requests of some types. */
  flushAll(types: readonly number[]): void {
    this.#refused = types;
    for (const call of this.#pending()) if (types.includes(call.type)) this.flush(call);
  }

  /** Waits until every request is answered. */
  async drain(): Promise<void> {
    while (!this.#failure && this.inFlight > 0) await new Promise<void>((resolve) => this.#onIdle = resolve);
  }

  /** Ends the connection at once; all that is under way fails with `why`, or as closed. */
  close(why?: Err): void {
    this.#fail(why ?? null);
  }

  // Out.

  #encode(w: Writer, msg: Tmsg): void {
    const start = w.at;
    encode(w, msg, this.dialect);
    const size = w.at - start;
    if (size <= this.msize) return;
    w.at = start;
    throw new Err(
      "EMSGSIZE",
      `${m.msgName(msg.type)} of ${size} bytes is over the connection's msize of ${this.msize}`,
    );
  }

  /** A large write as one by reference, where there is memory that both sides see, and room in it. */
  #lent(msg: m.Twrite): m.Twrite | m.Twriteref {
    const { blocks } = this, { tag, fid, offset, data } = msg;
    // Where the data will lie in its file it is copied to most easily.
    const ref = blocks && lendCopy(blocks, data, Number(offset));
    return ref ? { type: m.Twriteref, tag, fid, offset, ref } : msg;
  }

  /** Tversion stands alone: it has no tag and waits for nothing. */
  #sendVersion(msg: m.Tversion, call: Call): Call {
    if (this.#version) throw new Err("EBUSY", "a Tversion is under way");
    msg.tag = NOTAG;
    encode(this.#out, msg, VERSION_DIALECT);
    call.tag = NOTAG;
    call.state = "sent";
    this.#version = call;
    this.#cork();
    return call;
  }

  #enqueue(msg: Tmsg, call: Call): Call {
    const w = new Writer(Math.min(256, this.msize), this.msize);
    msg.tag = NOTAG;
    this.#encode(w, msg);
    const entry = { call, frame: w.bytes.subarray(0, w.at) };
    if (msg.type === m.Tflush) this.#backlog.unshift(entry);
    else this.#backlog.push(entry);
    return call;
  }

  #occupy(call: Call): void {
    call.tag = this.#tags.take(call);
    call.state = "sent";
  }

  #vacate(tag: number): void {
    this.#tags.release(tag);
    if (this.#backlog.length > 0) this.#advance();
    else if (this.#onIdle && this.#tags.taken === 0) this.#idle();
  }

  /** All requests that are not answered, Tversion aside. */
  #pending(): Call[] {
    return [...this.#tags.calls(), ...this.#backlog.map((entry) => entry.call)];
  }

  #idle(): void {
    const onIdle = this.#onIdle;
    this.#onIdle = undefined;
    onIdle?.();
  }

  /** Sends waiting requests as far as there are tags and room. */
  #advance(): void {
    let sent = 0;
    for (const { call, frame } of this.#backlog) {
      if (!this.#tags.available(call.type === m.Tflush) || this.#out.room < frame.length) break;
      const at = this.#out.at;
      this.#out.data(frame);
      this.#out.patch16(at + 5, this.#tags.next);
      this.#occupy(call);
      sent++;
    }
    if (sent === 0) return;
    this.#backlog.splice(0, sent);
    this.#cork();
  }

  /** Writes at the end of this turn, or when the write under way is over. */
  #cork(): void {
    if (this.#flushQueued || this.#writing) return;
    this.#flushQueued = true;
    queueMicrotask(this.#writeOut);
  }

  #writeOut = (): void => {
    this.#flushQueued = false;
    try {
      while (this.#out.at > this.#outFrom && !this.#failure) {
        const full = this.#out, from = this.#outFrom;
        this.#sent += full.at - from;
        this.#out = this.#spare;
        this.#out.at = this.#outFrom = alignment(this.#sent, BEGIN.requests);
        this.#spare = full;
        const writing = this.transport.write(full.bytes.subarray(from, full.at));
        if (writing) {
          this.#writing = true;
          writing.then(this.#written, this.#broken);
          return;
        }
        full.at = 0;
        if (this.#backlog.length > 0) this.#advance();
      }
    } catch (e) {
      this.#broken(e);
    }
  };

  #written = (): void => {
    this.#writing = false;
    this.#spare.at = 0;
    if (this.#backlog.length > 0) this.#advance();
    this.#writeOut();
  };

  #broken = (e: unknown): void => {
    const err = toErr(e);
    this.#fail(new Err(err.code, `connection to ${this.transport.remote} broke: ${err.message}`, { cause: e }));
  };

  // In.

  async #receive(): Promise<void> {
    try {
      while (!this.#failure) {
        const direct = this.#direct;
        if (this.#have === 0) this.#from = alignment(this.#received, BEGIN.replies);
        const into = direct
          ? direct.call.sink!.subarray(direct.at, direct.size)
          : this.#in.subarray(this.#from + this.#have);
        const reading = this.transport.read(into);
        const count = typeof reading === "object" && reading !== null ? await reading : reading;
        if (this.#failure) return;
        if (count === null) return this.#fail(new Err("ECONNRESET", `${this.transport.remote} closed the connection`));
        this.#received += count;
        if (direct) this.#fillSink(direct, count);
        else {
          this.#have += count;
          this.#parse();
        }
      }
    } catch (e) {
      this.#broken(e);
    }
  }

  /** Handles every whole reply that is there, and makes room for the next. */
  #parse(): void {
    const bytes = this.#in;
    const end = this.#from + this.#have;
    let at = this.#from, need = HEADER_BYTES;
    while (end - at >= 4) {
      const size = (bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24) >>> 0;
      if (size < HEADER_BYTES || size > this.msize) {
        return this.#fail(
          new Err(
            "EPROTO",
            `${this.transport.remote} sent a message of ${size} bytes; from 7 to ${this.msize} are right`,
          ),
        );
      }
      if (end - at < size) {
        if (this.#startDirect(at, size)) return;
        need = size;
        break;
      }
      this.#reply(at, size);
      if (this.#failure) return;
      at += size;
    }
    this.#have = end - at;
    this.#from = alignment(this.#received - this.#have, BEGIN.replies);
    if (this.#have > 0 && at > this.#from) bytes.copyWithin(this.#from, at, end);
    else this.#from = at;
    if (this.#from + need > bytes.length) this.#growIn(need);
  }

  #growIn(need: number): void {
    const grown = new Uint8Array(Math.min(this.msize, 2 * need) + READ_BYTES);
    const from = alignment(this.#received - this.#have, BEGIN.replies);
    grown.set(this.#in.subarray(this.#from, this.#from + this.#have), from);
    this.#from = from;
    this.#in = grown;
    this.#reader = new Reader(grown);
  }

  /** One whole reply, of `size` bytes at `at`. */
  #reply(at: number, size: number): void {
    const bytes = this.#in;
    const tag = bytes[at + 5] | bytes[at + 6] << 8;
    const call = tag === NOTAG ? this.#version : this.#tags.get(tag);
    if (!call || call.state === "answered") {
      const name = m.msgName(bytes[at + 4]);
      return this.#fail(
        new Err("EPROTO", `${this.transport.remote} sent ${name} for tag ${tag}, which has no request`),
      );
    }
    let reply: Rmsg | null = null, error: Err | null, ref: DataRef | null = null;
    try {
      reply = decodeR(this.#reader.reset(at + 4, at + size), tag === NOTAG ? VERSION_DIALECT : this.dialect);
      if (reply.type === m.Rreadref) {
        const data = borrowed(this.blocks, reply.ref);
        ref = reply.ref;
        reply = { type: m.Rread, tag, data };
      }
      error = replyError(call.type, call.count, reply);
    } catch (e) {
      error = new Err("EPROTO", `server's answer to ${m.msgName(call.type)}: ${toErr(e).message}`, { cause: e });
    }
    if (call.sink && !error) this.#intoSink(call.sink, reply as m.Rread);
    this.#answered(call, error, reply);
    if (ref) this.blocks!.giveBack(ref);
  }

  #intoSink(sink: Uint8Array, reply: m.Rread): void {
    copyBytes(reply.data, sink);
    reply.data = sink.subarray(0, reply.data.length);
  }

  /** Frees the tag and hands the answer on. */
  #answered(call: Call, error: Err | null, reply: Rmsg | null): void {
    if (call.tag === NOTAG) this.#version = undefined;
    else if (call.state === "flushing") call.state = "answered"; // the tag is free when Rflush has come
    else this.#vacate(call.tag);
    this.#finish(call, error, error ? null : reply);
  }

  #finish(call: Call, error: Err | null, reply: Rmsg | null): void {
    if (call.state === "over") return;
    if (call.state !== "answered") call.state = "over";
    call.done(error, reply);
  }

  /** Begins to read an Rread, of which a part is there, straight into its sink; false when that is not worth while. */
  #startDirect(at: number, size: number): boolean {
    const bytes = this.#in, end = this.#from + this.#have, there = end - at - RREAD_HEADER;
    if (there < 0 || size - RREAD_HEADER - there < DIRECT_BYTES || bytes[at + 4] !== m.Rread) return false;
    const call = this.#tags.get(bytes[at + 5] | bytes[at + 6] << 8);
    if (
      !call?.sink || call.type !== m.Tread || call.state === "answered" || !(call.sink.buffer instanceof ArrayBuffer)
    ) return false;
    const count = this.#reader.reset(at + HEADER_BYTES, at + RREAD_HEADER).u32();
    if (count !== size - RREAD_HEADER || count > call.count || count > call.sink.length) return false;
    call.sink.set(bytes.subarray(at + RREAD_HEADER, end));
    this.#have = 0;
    this.#direct = { call, at: there, size: count };
    return true;
  }

  #fillSink(direct: { call: Call; at: number; size: number }, count: number): void {
    direct.at += count;
    if (direct.at < direct.size) return;
    this.#direct = undefined;
    const { call } = direct;
    this.#answered(call, null, { type: m.Rread, tag: call.tag, data: call.sink!.subarray(0, direct.size) });
  }

  // The end.

  #fail(why: Err | null): void {
    if (this.#failure) return;
    const failure = why ?? new Err("ESHUTDOWN", `connection to ${this.transport.remote} is closed`);
    this.#failure = failure;
    this.transport.close();
    const pending = this.#pending();
    if (this.#version) pending.push(this.#version);
    this.#tags.clear();
    this.#version = undefined;
    this.#backlog = [];
    for (const call of pending) if (call.state !== "answered") this.#finish(call, failure, null);
    this.#idle();
    this.#settleClosed(why);
  }
}

/** Makes a reply's borrowed bytes its own. */
function ownData<R extends Rmsg>(reply: R): R {
  if (reply.type === m.Rread || reply.type === m.Rreaddir) reply.data = ownBytes(reply.data);
  return reply;
}
