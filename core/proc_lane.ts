/**
 * Lanes: reads and writes of a program that go straight to the isolate of the plugin which has the file, past the kernel.
 *
 * Layer: core; the client is in the program's isolate, the server in the plugin's, core/host/lanes.ts puts them
 * together. The kernel opens and closes files, as ever; for an open one it may tell the plugin to take reads and writes of a
 * fid from a lane too, and the program where they may go. Messages are those of proc_wire.ts, with the fid for the file.
 *
 * What holds always: a lane serves the fids that the kernel granted to it, as the user who opened them, and each only as long as
 * the kernel has it. What it does not serve (any more) it answers with EBADF; then the program asks the kernel.
 */

import { Backlog } from "./backlog.ts";
import { type Chan, Req } from "./dev.ts";
import { Err, toErr } from "./err.ts";
import type { Fid } from "./p9/fid.ts";
import { OEXEC, ORDWR, OREAD, OWRITE } from "./p9/types.ts";
import { BATCH, CALL_BYTES, FAILED, FLUSH, type Head, OK, READ, textOf, Wire, WRITE } from "./proc_wire.ts";
import type { How, Waiter } from "./ring/doorbell.ts";
import type { LinkEnds } from "./proc_link.ts";

/** Bytes of each ring of a lane. */
export const LANE_RING_BYTES = 256 * 1024;
/** Files whose place lies in a lane's shared memory. */
export const LANE_PLACES = 4096;

const NONE: Uint8Array = new Uint8Array(0);

/** The plugin's end. */
export class LaneServer {
  readonly #wire: Wire;
  readonly #ends: LinkEnds;
  /** The fids of the kernel's session. */
  readonly #fids: { get(id: number): Fid | undefined };
  readonly #granted = new Map<number, Fid>();
  readonly #flights = new Map<number, Req>();
  readonly #buffer = new Uint8Array(CALL_BYTES);
  readonly #answer: Head = { kind: OK, fd: 0, count: 0, value: 0 };
  readonly #backlog: Backlog;

  constructor(ends: LinkEnds, fids: { get(id: number): Fid | undefined }) {
    this.#ends = ends;
    this.#backlog = new Backlog(ends.out, ends.doorbell);
    this.#wire = new Wire(ends.in, ends.out);
    this.#fids = fids;
  }

  /** Serves reads and writes of this fid from now on; false when there is no such open file. */
  grant(id: number): boolean {
    const fid = this.#fids.get(id);
    if (!fid?.chan || fid.ready || fid.xattr || fid.append || fid.chan.mode === -1) return false;
    for (const [id, old] of this.#granted) if (this.#fids.get(id) !== old) this.#granted.delete(id);
    this.#granted.set(id, fid);
    return true;
  }

  /** Serves until the lane ends. */
  async run(): Promise<void> {
    const { in: input, out, doorbell } = this.#ends;
    try {
      while (!input.ended) {
        for (let id, left = BATCH; left > 0 && (id = this.#wire.next()) >= 0; left--) this.#begin(id);
        input.release();
        out.publish();
        await doorbell.wait(input);
      }
    } finally {
      for (const req of this.#flights.values()) req.flush();
      out.close();
      input.close();
    }
  }

  #begin(id: number): void {
    const { kind, fd, count, value } = this.#wire.head;
    if (kind === FLUSH) return this.#flights.get(count)?.flush();
    try {
      if (kind === READ) this.#read(id, this.#fid(fd), Math.min(Math.max(count, 0), CALL_BYTES), value);
      else if (kind === WRITE) this.#write(id, this.#fid(fd), value);
      else throw new Err("EPROTO", `there is no call of kind ${kind}`);
    } catch (e) {
      this.#fail(id, e);
    }
  }

  #fid(id: number): Fid {
    const fid = this.#granted.get(id);
    if (!fid || this.#fids.get(id) !== fid || !fid.chan) throw new Err("EBADF");
    return fid;
  }

  #read(id: number, fid: Fid, count: number, offset: number): void {
    const chan = fid.file, req = new Req(chan.user);
    allow(chan, OREAD, ORDWR, OEXEC);
    const into = count === CALL_BYTES ? this.#buffer : this.#buffer.subarray(0, count);
    const got = chan.dev.read(chan, into, offset, req);
    const done = (got: number | Uint8Array) => {
      if (typeof got !== "number") this.#send(id, OK, got.length, got);
      else this.#send(id, OK, got, this.#buffer.subarray(0, got));
    };
    if (got instanceof Promise) this.#later(id, fid, req, got, done);
    else done(got);
  }

  #write(id: number, fid: Fid, offset: number): void {
    const chan = fid.file, req = new Req(chan.user);
    allow(chan, OWRITE, ORDWR);
    const took = chan.dev.write(chan, this.#wire.data(), offset, req);
    const done = (took: number) => this.#send(id, OK, took, NONE);
    if (took instanceof Promise) this.#later(id, fid, req, took, done);
    else done(took);
  }

  /** Answers when the Dev has; the fid is not clunked before. */
  async #later<T>(id: number, fid: Fid, req: Req, result: Promise<T>, done: (value: T) => void): Promise<void> {
    this.#flights.set(id, req);
    fid.busy++;
    try {
      done(await result);
    } catch (e) {
      this.#fail(id, e);
    } finally {
      this.#flights.delete(id);
      if (--fid.busy === 0) fid.idle?.();
      this.#ends.out.publish();
    }
  }

  #fail(id: number, thrown: unknown): void {
    const { code, message } = toErr(thrown);
    this.#send(id, FAILED, 0, NONE, textOf({ code, message }));
  }

  /** Puts an answer into the ring; one that finds no room waits, with bytes of its own. */
  #send(id: number, kind: number, value: number, data: Uint8Array, text = NONE): void {
    const head = this.#answer;
    head.kind = kind;
    head.value = value;
    if (this.#backlog.empty && this.#wire.put(id, head, data, text)) return;
    const kept = data.slice(), again = { ...head };
    this.#backlog.add(() => this.#wire.put(id, again, kept, text));
  }
}

/** The program's end: one call at a time, blocking. */
export class LaneClient {
  readonly #wire: Wire;
  readonly #ends: LinkEnds;
  readonly #either: Waiter;
  readonly #head: Head = { kind: 0, fd: 0, count: 0, value: 0 };
  #lastId = 0;

  /** `interrupt` is looked at while it waits: the link to the kernel, on which a note may come. */
  constructor(ends: LinkEnds, interrupt: Waiter) {
    this.#ends = ends;
    this.#wire = new Wire(ends.in, ends.out);
    this.#either = new Either(ends.in, interrupt);
  }

  /** True when the plugin's isolate has gone. */
  get ended(): boolean {
    return this.#ends.in.ended || this.#ends.out.gone;
  }

  /**
   * Reads into `bytes`, or writes them: the count; undefined when the lane does not serve that fid (any more).
   * `interrupted` is called when the link to the kernel has something; true gives the call up.
   */
  transfer(
    kind: number,
    fid: number,
    bytes: Uint8Array,
    offset: number,
    interrupted: () => boolean,
  ): number | undefined {
    const { in: input, out, doorbell } = this.#ends, head = this.#head, wire = this.#wire;
    const id = this.#lastId = (this.#lastId + 1) & 0x7fffffff, count = Math.min(bytes.length, CALL_BYTES);
    head.kind = kind;
    head.fd = fid;
    head.count = count;
    head.value = offset;
    const data = kind === READ ? NONE : bytes.length === count ? bytes : bytes.subarray(0, count);
    while (!wire.put(id, head, data)) {
      if (out.gone) return undefined;
      out.publish();
      doorbell.waitSync(out);
    }
    if (!out.publish()) return undefined;
    let flushed = false;
    for (let came; (came = wire.next()) !== id;) {
      if (came >= 0) continue;
      if (input.ended) return undefined;
      if (!flushed && interrupted()) {
        flushed = true;
        this.#flush(id);
      }
      doorbell.waitSync(flushed ? input : this.#either);
    }
    return this.#result(bytes);
  }

  #flush(id: number): void {
    const head = { kind: FLUSH, fd: 0, count: id, value: 0 };
    if (this.#wire.put(0, head)) this.#ends.out.publish();
  }

  #result(bytes: Uint8Array): number | undefined {
    const wire = this.#wire, { kind, value } = wire.head;
    if (kind === FAILED) {
      const { code, message } = wire.json() as { code: Err["code"]; message: string };
      wire.in.release();
      if (code === "EBADF") return undefined;
      throw new Err(code, message);
    }
    if (wire.dataBytes > 0) bytes.set(wire.data());
    wire.in.release();
    return value;
  }
}

/** Waits for the first of two. */
class Either implements Waiter {
  readonly due = false;
  readonly #first: Waiter;
  readonly #second: Waiter;

  constructor(first: Waiter, second: Waiter) {
    this.#first = first;
    this.#second = second;
  }

  get eager(): boolean {
    return this.#first.eager;
  }

  ready(): boolean {
    return this.#first.ready() || this.#second.ready();
  }

  arm(): void {
    this.#first.arm();
    this.#second.arm();
  }

  disarm(): void {
    this.#first.disarm();
    this.#second.disarm();
  }

  waited(how: How): void {
    this.#first.waited(how);
  }
}

/** Refuses what the file was not opened for. */
function allow(chan: Chan, ...modes: number[]): void {
  if (!modes.includes(chan.mode & 3)) throw new Err("EBADF", "bad use of fid");
}
