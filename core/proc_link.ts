/**
 * ProcLink: a program's end of its calls to the kernel, blocking and as promises.
 *
 * Layer: core, in the program's isolate, over proc_wire.ts; the other end is proc_service.ts. A blocking call waits on the
 * isolate's doorbell: it spins for a budget, then sleeps in Atomics.wait. Answers to promises that come meanwhile are
 * settled, and run when the program next awaits.
 *
 * What holds always: a call has one answer. When the kernel has taken the rings back, every call fails with ESRCH.
 */

import { type Code, Err, ERRORS } from "./err.ts";
import type { Dir } from "./p9/types.ts";
import { type AsyncSys, type Sys, TEXT_CALLS } from "./proc_calls.ts";
import { LaneClient } from "./proc_lane.ts";
import { CALL, CALL_BYTES, FAILED, type Head, HERE, NOTICE, OK, READ, textOf, Wire, WRITE } from "./proc_wire.ts";
import type { Doorbell } from "./ring/doorbell.ts";
import type { Consumer, Producer } from "./ring/spsc.ts";

/** Highest number of a call; then they begin again. */
const LAST_ID = 0x7fffffff;
const NONE = new Uint8Array(0);
const encoder = new TextEncoder();

/** Where answers come in, and what one waits on. */
export interface LinkEnds {
  readonly in: Consumer;
  readonly out: Producer;
  readonly doorbell: Doorbell;
}

/** A lane, and where the files on it stand. */
export interface Lane {
  readonly ends: LinkEnds;
  readonly places: Float64Array;
}

/** Finds a lane that the kernel has told of; undefined when it is not there. */
export type LaneFinder = (lane: number) => Lane | undefined;

/** Where reads and writes of an open file go. */
interface Direct {
  readonly client: LaneClient;
  readonly fid: number;
  readonly places: Float64Array;
  readonly place: number;
}

/** What a call is: its head, data and text. */
interface Ask {
  head: Head;
  data: Uint8Array;
  text: Uint8Array;
}

/** A call whose answer is a promise's. */
interface Pending {
  into: Uint8Array;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** See the head of this file. */
export class ProcLink {
  readonly sys: Sys;
  readonly async: AsyncSys;
  readonly #wire: Wire;
  readonly #bell: Doorbell;
  readonly #onNote: (note: string) => void;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #pumping = false;
  /** Notes that came during a blocking call. */
  #notes: string[] = [];
  /** Notes so far: the kernel interrupts a call that was made before it knew of them all. */
  #seen = 0;
  /** Lanes by their number, and the open files that have one. */
  readonly #lanes = new Map<number, Pick<Direct, "client" | "places">>();
  readonly #direct = new Map<number, Direct>();
  readonly #laneOf: LaneFinder;
  /** Used for every blocking read and write. */
  readonly #head: Head = { kind: 0, fd: 0, count: 0, value: 0 };

  /**
   * `onNote` is called with each note, between calls or when one is interrupted; `laneOf` finds a lane by its number,
   * without it all goes through the kernel.
   */
  constructor(ends: LinkEnds, onNote: (note: string) => void, laneOf: LaneFinder = () => undefined) {
    this.#laneOf = laneOf;
    this.#wire = new Wire(ends.in, ends.out);
    this.#bell = ends.doorbell;
    this.#onNote = onNote;
    this.sys = this.#blocking();
    this.async = this.#promising();
  }

  /** A call by name that is answered by text, blocking. */
  call(name: string, args: readonly unknown[]): unknown {
    this.#forget(name, args);
    const id = this.#send(textCall(name, args));
    this.#await(id);
    return this.#result(NONE);
  }

  /** The same, answered by a promise. */
  callLater(name: string, args: readonly unknown[]): Promise<unknown> {
    this.#forget(name, args);
    return this.#later(textCall(name, args), NONE);
  }

  /** A number that gets another file goes through the kernel again. */
  #forget(name: string, args: readonly unknown[]): void {
    if (name === "close") this.#direct.delete(args[0] as number);
    else if (name === "dup") this.#direct.delete(args[1] as number);
  }

  /** Notes come in from now on, also while no call is under way. */
  listen(): void {
    if (!this.#pumping) this.#pump(true);
  }

  // Blocking.

  #blocking(): Sys {
    const calls = Object.fromEntries(TEXT_CALLS.map((name) => [name, (...args: unknown[]) => this.call(name, args)]));
    const sys = {
      ...calls,
      read: (fd, into) => this.#transfer(READ, fd, into, HERE),
      pread: (fd, into, offset) => this.#transfer(READ, fd, into, place(offset)),
      write: (fd, data) => this.#transfer(WRITE, fd, data, HERE),
      pwrite: (fd, data, offset) => this.#transfer(WRITE, fd, data, place(offset)),
      readdir: (path) => {
        const fd = sys.open(path), all: Dir[] = [];
        try {
          for (let some; (some = sys.dirread(fd)).length > 0;) all.push(...some);
        } finally {
          sys.close(fd);
        }
        return all;
      },
    } as Sys;
    return sys;
  }

  /** A read or write that blocks. */
  #transfer(kind: number, fd: number, bytes: Uint8Array | string, offset: number): number {
    const data = typeof bytes === "string" ? encoder.encode(bytes) : bytes, direct = this.#direct.get(fd);
    return (direct && this.#transferDirect(direct, kind, fd, data, offset)) ??
      this.#transferAsked(kind, fd, data, offset);
  }

  /** Past the kernel; undefined when that is no way any more. */
  #transferDirect(direct: Direct, kind: number, fd: number, data: Uint8Array, offset: number): number | undefined {
    const { client, fid, places, place } = direct, at = offset === HERE ? places[place] : offset;
    const count = client.transfer(kind, fid, data, at, this.#interrupted);
    if (count === undefined) this.#direct.delete(fd);
    else if (offset === HERE) places[place] = at + count;
    if (this.#notes.length > 0) this.#takeNotes();
    return count;
  }

  #transferAsked(kind: number, fd: number, data: Uint8Array, offset: number): number {
    const head = this.#head;
    const count = Math.min(data.length, CALL_BYTES);
    head.kind = kind;
    head.fd = fd;
    head.count = count;
    head.value = offset;
    head.place = this.#seen;
    const id = this.#nextId(), sent = kind === WRITE ? first(data, count) : NONE;
    while (!this.#wire.put(id, head, sent)) this.#waitForRoom();
    this.#publish();
    this.#await(id);
    const { fd: lane, count: fid, place: at } = this.#wire.head;
    if (lane > 0 && this.#wire.head.kind === OK) this.#goDirect(fd, lane, fid, at!);
    return this.#result(kind === READ ? data : NONE) as number;
  }

  /** Later reads and writes of `fd` take a lane. */
  #goDirect(fd: number, lane: number, fid: number, place: number): void {
    let known = this.#lanes.get(lane);
    if (!known) {
      const found = this.#laneOf(lane);
      if (!found) return;
      known = { client: new LaneClient(found.ends, this.#wire.in), places: found.places };
      this.#lanes.set(lane, known);
    }
    this.#direct.set(fd, { ...known, fid, place });
  }

  /** Takes what the kernel says during a call that goes past it; whether a note is among it. */
  readonly #interrupted = (): boolean => {
    for (let came; (came = this.#wire.next()) >= 0;) this.#other(came);
    this.#wire.in.release();
    return this.#notes.length > 0;
  };

  #send({ head, data, text }: Ask): number {
    const id = this.#nextId();
    head.place = this.#seen;
    while (!this.#wire.put(id, head, data, text)) this.#waitForRoom();
    this.#publish();
    return id;
  }

  #waitForRoom(): void {
    if (this.#wire.out.gone) throw gone();
    this.#publish();
    this.#bell.waitSync(this.#wire.out);
  }

  #publish(): void {
    if (!this.#wire.out.publish()) throw gone();
  }

  /** Blocks until the answer to call `id` is what the wire stands at. */
  #await(id: number): void {
    for (;;) {
      const came = this.#wire.next();
      if (came === id) return;
      if (came >= 0) this.#other(came);
      else if (this.#wire.in.ended) throw gone();
      else this.#bell.waitSync(this.#wire.in);
    }
  }

  /** What the answer at hand says: a value, or the error it throws. Its data is copied into `into`. */
  #result(into: Uint8Array): unknown {
    const wire = this.#wire, { kind, value } = wire.head;
    if (kind === FAILED) {
      const error = errorOf(wire.json());
      wire.in.release();
      this.#takeNotes();
      throw error;
    }
    const count = Math.min(wire.dataBytes, into.length);
    if (count > 0) copy(wire.in.bytes, wire.dataAt, into, count);
    const json = wire.json(), result = json === undefined ? value : json;
    wire.in.release();
    if (this.#notes.length > 0) this.#takeNotes();
    return result;
  }

  // By promises.

  #promising(): AsyncSys {
    const calls = Object.fromEntries(
      TEXT_CALLS.map((name) => [name, (...args: unknown[]) => this.callLater(name, args)]),
    );
    const sys = {
      ...calls,
      read: (fd, into) => this.#later(transferAsk(READ, fd, into, HERE), into),
      pread: (fd, into, offset) => this.#later(transferAsk(READ, fd, into, place(offset)), into),
      write: (fd, data) => this.#later(transferAsk(WRITE, fd, data, HERE), NONE),
      pwrite: (fd, data, offset) => this.#later(transferAsk(WRITE, fd, data, place(offset)), NONE),
      readdir: async (path) => {
        const fd = await sys.open(path), all: Dir[] = [];
        try {
          for (let some; (some = await sys.dirread(fd)).length > 0;) all.push(...some);
        } finally {
          await sys.close(fd);
        }
        return all;
      },
    } as AsyncSys;
    return sys;
  }

  async #later(ask: Ask, into: Uint8Array): Promise<unknown> {
    const id = this.#send(ask);
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { into, resolve, reject }));
    if (!this.#pumping) this.#pump(false);
    return await answer;
  }

  /** Takes answers as they come, while promises wait for them; `always` also when none does. */
  async #pump(always: boolean): Promise<void> {
    this.#pumping = true;
    while (always || this.#pending.size > 0) {
      let came;
      while ((came = this.#wire.next()) >= 0) this.#other(came);
      this.#wire.in.release();
      this.#takeNotes();
      if (this.#wire.in.ended) break;
      if (always || this.#pending.size > 0) await this.#bell.wait(this.#wire.in);
    }
    this.#pumping = false;
    for (const { reject } of this.#pending.values()) reject(gone());
    this.#pending.clear();
  }

  /** A message that is not what a blocking call waits for. */
  #other(id: number): void {
    if (id === NOTICE) {
      this.#seen++;
      return void this.#notes.push(String((this.#wire.json() as { note?: unknown })?.note));
    }
    const pending = this.#pending.get(id);
    if (!pending) return; // of a call that was given up
    this.#pending.delete(id);
    const wire = this.#wire, { kind, value } = wire.head, { into, resolve, reject } = pending;
    if (kind === FAILED) return reject(errorOf(wire.json()));
    const count = Math.min(wire.dataBytes, into.length);
    if (count > 0) copy(wire.in.bytes, wire.dataAt, into, count);
    const json = wire.json();
    resolve(json === undefined ? value : json);
  }

  #takeNotes(): void {
    for (let note; (note = this.#notes.shift()) !== undefined;) this.#onNote(note);
  }

  #nextId(): number {
    return this.#lastId = this.#lastId === LAST_ID ? 1 : this.#lastId + 1;
  }
}

function textCall(name: string, args: readonly unknown[]): Ask {
  return { head: { kind: CALL, fd: 0, count: 0, value: 0 }, data: NONE, text: textOf([name, ...args]) };
}

function transferAsk(kind: number, fd: number, bytes: Uint8Array | string, offset: number): Ask {
  const data = typeof bytes === "string" ? encoder.encode(bytes) : bytes, count = Math.min(data.length, CALL_BYTES);
  const head = { kind, fd, count, value: offset };
  return { head, data: kind === WRITE ? first(data, count) : NONE, text: NONE };
}

/** An offset that somebody gave: HERE must not be one of them. */
function place(offset: number): number {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new Err("EINVAL", `no such offset: ${offset}`);
  return offset;
}

function first(data: Uint8Array, count: number): Uint8Array {
  return data.length === count ? data : data.subarray(0, count);
}

function copy(src: Uint8Array, at: number, into: Uint8Array, count: number): void {
  into.set(src.subarray(at, at + count));
}

function errorOf(sent: unknown): Err {
  const { code, message } = (sent ?? {}) as { code?: unknown; message?: unknown };
  const known = typeof code === "string" && Object.hasOwn(ERRORS, code);
  return new Err(known ? code as Code : "EIO", String(message ?? "the kernel gave no reason"));
}

function gone(): Err {
  return new Err("ESRCH", "the process has ended");
}
