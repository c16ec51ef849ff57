/**
 * Session: one connection of a 9P server, from the first Tversion to the last clunk.
 *
 * Layer: core/p9, above codec and fids; what each message does is in ops.ts. All requests of one socket read are
 * decoded and begun in the order they came; those that the Dev answers at once are answered in the same write, the
 * others whenever they are done, in any order.
 *
 * What holds always: a tag in flight is answered once, before its Rflush; a reply of an older version session is
 * dropped; when the connection ends every request is given up and every fid clunked.
 *
 * See version(5), flush(5) and clunk(5).
 */

import { Req, type User } from "../dev.ts";
import { Err, toErr } from "../err.ts";
import { decodeT, encode, HEADER_BYTES } from "./codec.ts";
import { ownBytes, WORD_BYTES } from "./bytes.ts";
import { closeFid, type Fid, FidTable } from "./fid.ts";
import { IdTable } from "./id_table.ts";
import { Input } from "./input.ts";
import { borrowed, lentReply } from "./lend.ts";
import * as m from "./msg.ts";
import type { DialectTraits, Rmsg, Tmsg } from "./msg.ts";
import { type FidRequest, Ops } from "./ops.ts";
import { HIGH_WATER_BYTES, Output } from "./output.ts";
import type { Srv } from "./srv.ts";
import type { Blocks, Transport } from "./transport.ts";
import { MAX_MSIZE, type MaybePromise, MIN_MSIZE, NOTAG } from "./types.ts";
import { utf8Length } from "./utf8.ts";

/** A request that did not answer at once. */
interface Flight {
  req: Req;
  fid: Fid | null;
  /** Called when it has been answered or dropped: flushes of it. */
  waiters: (() => void)[] | null;
}

const PLAIN = m.dialectTraits("9P2000")!;
/** Bytes that any reply but data takes at the most: a stat of long names. */
const SMALL_REPLY_BYTES = 4096;

/** One connection. */
export class Session {
  static #count = 0;
  /** Tells it from all others of this isolate. */
  readonly id: number = ++Session.#count;
  readonly srv: Srv;
  readonly remote: string;
  readonly fids: FidTable;
  readonly output: Output;
  /** Null until a version is agreed on. */
  dialect: DialectTraits | null = null;
  msize = MAX_MSIZE;
  /** Memory that the client sees, too, if it speaks of it. */
  blocks: Blocks | undefined;
  /** The user of the last attach, for status. */
  user: User | null = null;
  readonly #transport: Transport;
  readonly #input: Input;
  readonly #ops: Ops;
  readonly #flights = new IdTable<Flight>();
  /** Replies that found the output full. */
  #overflow: Rmsg[] = [];
  #scratch = new Uint8Array(0);
  #epoch = 0;
  #flushQueued = false;
  /** Messages that have been begun. */
  #begun = 0;
  /** Attaches under way. */
  #attaching = 0;
  #ended = false;
  /** What is to come in time, and how to stop waiting for it. */
  #due: string | null = null;
  #cancelDeadline: (() => void) | undefined;

  constructor(srv: Srv, transport: Transport) {
    this.srv = srv;
    this.remote = transport.remote;
    this.#transport = transport;
    transport.busy = () => this.#flights.size > 0;
    this.fids = new FidTable(srv.limits, srv.fids);
    this.output = new Output(transport, srv.pool);
    this.#input = new Input(transport, srv.limits.msize);
    this.#ops = new Ops(this);
  }

  /** Requests under way. */
  get inFlight(): number {
    return this.#flights.size;
  }

  /** Serves until the connection ends. Resolves when every fid is clunked. */
  async run(): Promise<void> {
    this.#watch();
    try {
      for (;;) {
        const more = this.#input.fill();
        if (!(typeof more === "boolean" ? more : await more)) break;
        while (this.#input.next()) {
          if (this.output.pending > HIGH_WATER_BYTES) await this.#pressure();
          this.#begin();
        }
        this.output.flush();
        this.#watch();
      }
    } catch (e) {
      this.srv.stats.badFrames++;
      this.srv.log(`9p: ${this.remote}: ${toErr(e).message}; connection closed`);
    }
    await this.#end();
  }

  /** Ends the connection; `run` then cleans up. */
  close(): void {
    this.#transport.close();
  }

  /** Waits until the client has read enough of what it asked for. */
  async #pressure(): Promise<void> {
    await this.output.drained();
    if (this.output.failed !== null) throw this.output.failed;
  }

  // ---- requests

  /** Begins the request that the reader stands at. */
  #begin(): void {
    const { reader } = this.#input;
    const tag = reader.bytes[reader.at + 1] | (reader.bytes[reader.at + 2] << 8);
    this.srv.stats.requests++;
    this.#begun++;
    try {
      const msg = decodeT(reader, this.dialect ?? PLAIN);
      if (msg.type === m.Tversion) return this.reply(this.#version(msg));
      if (tag === NOTAG) throw new Err("EPROTO", `${m.msgName(msg.type)} needs a tag`);
      if (this.#flights.has(tag)) throw new Err("EPROTO", `tag ${tag} is already in flight`);
      if (msg.type === m.Tflush) return this.#flush(msg);
      if (msg.type === m.Twriteref) return this.#startLent(msg);
      this.#start(msg);
    } catch (e) {
      this.#replyError(tag, e);
    }
  }

  /** A write whose data lies in memory that both sides see: it stays there until the write is begun. */
  #startLent({ tag, fid, offset, ref }: m.Twriteref): void {
    const data = borrowed(this.blocks, ref);
    try {
      this.#start({ type: m.Twrite, tag, fid, offset, data });
    } finally {
      this.blocks!.giveBack(ref);
    }
  }

  #start(msg: Exclude<Tmsg, m.Tversion | m.Tflush | m.Twriteref>): void {
    if (!this.dialect) throw new Err("EPROTO", "Tversion comes first");
    if (this.#flights.size >= this.srv.limits.inFlight && msg.type !== m.Tclunk) {
      throw new Err("EAGAIN", `too many requests in flight (${this.srv.limits.inFlight})`);
    }
    if (msg.type === m.Tattach) {
      const req = new Req(this.srv.user(msg.uname, msg.nuname)), attached = this.#ops.attach(msg, req);
      if (attached instanceof Promise) this.#watchAttach(attached);
      return this.#answer(msg.tag, req, null, attached);
    }
    // diod's clients take ENOENT, and nothing else, for an invitation to attach without.
    if (msg.type === m.Tauth) throw new Err("ENOENT", "authentication not required");
    const fid = this.fids.get(msg.fid);
    if (!fid) throw new Err("EBADF");
    if (fid.ready) return this.#answerLater(msg, fid);
    const req = new Req(fid.chan ? fid.chan.user : this.user!);
    // What ends a fid does not run on it: it may have to wait until nothing else does.
    const ends = msg.type === m.Tclunk || msg.type === m.Tremove;
    this.#answer(msg.tag, req, ends ? null : fid, this.#ops.perform(msg, fid, req));
  }

  /** A request on a fid that another request is still making or opening. */
  #answerLater(msg: FidRequest, fid: Fid): void {
    const req = new Req(this.user!);
    const data = "data" in msg ? { ...msg, data: ownBytes(msg.data) } : msg;
    const later = async () => {
      while (fid.ready) await fid.ready.catch(() => {});
      if (this.fids.get(msg.fid) !== fid) throw new Err("EBADF");
      if (req.flushed) throw new Err("EINTR");
      const ends = msg.type === m.Tclunk || msg.type === m.Tremove;
      if (!ends) fid.busy++;
      try {
        return await this.#ops.perform(data, fid, req);
      } finally {
        if (!ends) this.#settle(fid);
      }
    };
    this.#answer(msg.tag, req, null, later());
  }

  #answer(tag: number, req: Req, fid: Fid | null, result: MaybePromise<Rmsg | null>): void {
    if (!(result instanceof Promise)) {
      if (result) this.reply(result);
      return;
    }
    const flight: Flight = { req, fid, waiters: null };
    this.#flights.set(tag, flight);
    if (fid) fid.busy++;
    const epoch = this.#epoch;
    result.then(
      (reply) => this.#finish(tag, flight, reply, epoch),
      (e) => this.#fail(tag, flight, e, epoch),
    );
  }

  #fail(tag: number, flight: Flight, thrown: unknown, epoch: number): void {
    // A flushed request that gave up is not answered: its Rflush tells.
    const silent = flight.req.flushed && toErr(thrown).code === "EINTR";
    this.#finish(tag, flight, silent ? null : this.#errorReply(tag, thrown), epoch);
  }

  #finish(tag: number, flight: Flight, reply: Rmsg | null, epoch: number): void {
    if (flight.fid) this.#settle(flight.fid);
    if (epoch === this.#epoch) {
      this.#flights.delete(tag);
      if (reply) this.#replyLater(reply);
      else this.#flushLater();
    }
    for (const wake of flight.waiters ?? []) wake();
  }

  /** Takes the bytes of a read from a driver that holds them for a moment; false when they can not go out now. */
  deliver(tag: number, req: Req, data: Uint8Array, count: number): boolean {
    if (data.length > count || this.#flights.get(tag)?.req !== req) return false;
    if (!this.output.fits(HEADER_BYTES + 4 + data.length)) return false;
    this.reply({ type: m.Rread, tag, data });
    return true;
  }

  /** Memory that nobody else sees, good until the next call: `bytes` of it, aligned as what stands at `position`. */
  scratch(bytes: number, position: number): Uint8Array {
    const from = position % WORD_BYTES;
    if (this.#scratch.length < from + bytes) this.#scratch = new Uint8Array(WORD_BYTES + bytes);
    return this.#scratch.subarray(from, from + bytes);
  }

  /** A request on `fid` is over. */
  #settle(fid: Fid): void {
    if (--fid.busy === 0) fid.idle?.();
  }

  // ---- version and flush

  #version(msg: m.Tversion): Rmsg {
    this.#reset();
    const dialect = agree(msg.version);
    if (!dialect || msg.msize < MIN_MSIZE || msg.tag !== NOTAG) {
      return { type: m.Rversion, tag: msg.tag, msize: Math.min(msg.msize, this.srv.limits.msize), version: "unknown" };
    }
    this.dialect = dialect;
    if (dialect.full) this.blocks = this.#transport.blocks;
    this.msize = Math.min(msg.msize, this.srv.limits.msize);
    this.#input.maxFrame = this.msize;
    return { type: m.Rversion, tag: msg.tag, msize: this.msize, version: dialect.name };
  }

  /** Aborts all that is in flight and drops all fids. */
  #reset(): Promise<unknown> {
    this.#epoch++;
    this.dialect = null;
    this.blocks = undefined;
    this.#overflow = [];
    for (const flight of this.#flights.drain()) flight.req.flush();
    const closing = this.fids.drain().map((fid) => this.#closeIdle(fid));
    return Promise.allSettled(closing);
  }

  async #closeIdle(fid: Fid): Promise<void> {
    while (fid.ready) await fid.ready.catch(() => {});
    if (fid.busy > 0) await new Promise<void>((resolve) => fid.idle = resolve);
    if (fid.chan) this.srv.locks.release(fid.chan);
    await closeFid(fid);
  }

  #flush(msg: m.Tflush): void {
    const flight = msg.oldtag === msg.tag ? undefined : this.#flights.get(msg.oldtag);
    const reply: Rmsg = { type: m.Rflush, tag: msg.tag };
    if (!flight) return this.reply(reply);
    this.srv.stats.flushes++;
    flight.req.flush();
    const done = new Promise<Rmsg>((resolve) => (flight.waiters ??= []).push(() => resolve(reply)));
    this.#answer(msg.tag, new Req(flight.req.user), null, done);
  }

  // ---- replies

  /** Writes a reply into the output; it leaves with the next flush. */
  reply(msg: Rmsg): void {
    if (msg.type === m.Rread && this.blocks) msg = lentReply(this.blocks, msg);
    const size = "data" in msg ? msg.data.length + HEADER_BYTES + 4 : replyBytes(msg);
    encode(this.output.writer(size), msg, this.dialect ?? PLAIN);
  }

  /** A reply outside of the reading loop. */
  #replyLater(msg: Rmsg): void {
    if (this.output.pending > HIGH_WATER_BYTES) this.#overflow.push(msg);
    else this.#tryReply(msg);
    this.#flushLater();
  }

  #flushLater(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    queueMicrotask(() => this.#flushReplies());
  }

  async #flushReplies(): Promise<void> {
    while (this.#overflow.length > 0) {
      await this.output.drained();
      while (this.#overflow.length > 0 && this.output.pending <= HIGH_WATER_BYTES) {
        this.#tryReply(this.#overflow.shift()!);
      }
    }
    this.#flushQueued = false;
    this.output.flush();
  }

  #tryReply(msg: Rmsg): void {
    try {
      this.reply(msg);
    } catch (e) {
      this.#replyError(msg.tag, e);
    }
  }

  #replyError(tag: number, thrown: unknown): void {
    this.reply(this.#errorReply(tag, thrown));
  }

  #errorReply(tag: number, thrown: unknown): Rmsg {
    const err = toErr(thrown);
    this.srv.stats.errors++;
    // What no Dev should throw is worth a line: it is a fault of ours or of a plugin.
    if (err !== thrown && err.cause) {
      this.srv.log(`9p: ${this.remote}: ${err.cause instanceof Error ? err.cause.stack : err.cause}`);
    }
    if (this.dialect?.lerror) return { type: m.Rlerror, tag, errno: err.errno };
    return { type: m.Rerror, tag, ename: fitEname(err.ename), errno: err.errno };
  }

  // ---- the end

  /** Sets the limit that holds now, or lifts it. One on the client does not run while it waits for us. */
  #watch(): void {
    const { handshakeMs, messageMs } = this.srv.limits;
    if (this.#ended) return;
    if (!this.user && this.#attaching === 0) this.#deadline("no version and attach in time", handshakeMs);
    else if (this.#input.partial) this.#deadline("the rest of a message did not come in time", messageMs);
    else this.#clearDeadline();
  }

  #watchAttach(attach: Promise<unknown>): void {
    const over = () => {
      this.#attaching--;
      this.#watch();
    };
    this.#attaching++;
    attach.then(over, over);
  }

  #deadline(due: string, afterMs: number): void {
    if (this.#due === due) return;
    this.#clearDeadline();
    if (afterMs === 0) return;
    const begun = this.#begun;
    this.#due = due;
    this.#cancelDeadline = this.srv.clock?.after(afterMs, () => {
      this.#clearDeadline();
      if (this.user && this.#begun > begun) return this.#watch(); // what is partial now is a later message
      this.srv.log(`9p: ${this.remote}: ${due}; connection closed`);
      this.srv.stats.timeouts++;
      this.close();
    });
  }

  #clearDeadline(): void {
    this.#cancelDeadline?.();
    this.#cancelDeadline = undefined;
    this.#due = null;
  }

  async #end(): Promise<void> {
    this.#ended = true;
    this.#clearDeadline();
    this.#transport.close();
    await this.#reset();
  }
}

/** The dialect to speak with a client that offers `version`; null for none. An unknown suffix is ignored, as version(5) asks. */
function agree(version: string): DialectTraits | null {
  const known = m.dialectTraits(version);
  if (known) return known;
  return /^9P2000(\.|$)/.test(version) ? PLAIN : null;
}

/** Bytes that a reply without data takes at the most. */
function replyBytes(msg: Rmsg): number {
  switch (msg.type) {
    case m.Rstat:
      return SMALL_REPLY_BYTES + 3 * (msg.dir.name.length + msg.dir.ext.length + 3 * msg.dir.uid.length);
    case m.Rreadlink:
      return SMALL_REPLY_BYTES + utf8Length(msg.target);
    default:
      return SMALL_REPLY_BYTES;
  }
}

/** An error string that fits any message; the protocol has long ones cut, not refused. */
function fitEname(ename: string): string {
  return ename.length <= 1000 ? ename : ename.slice(0, 1000);
}
