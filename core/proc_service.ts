/**
 * ProcService: the kernel's end of a program's calls: does them as its Proc, and answers.
 *
 * Layer: core, in the kernel isolate, over Proc and proc_wire.ts; the program's end is proc_link.ts. Calls are begun in
 * the order in which they come, run side by side, and are answered as they are done. A program is trusted with nothing but its
 * Proc: whatever it sends is checked, and what is no call ends it.
 *
 * A note that the program handles is sent to it, and then gives up all of its calls, which answer EINTR.
 */

import { Backlog } from "./backlog.ts";
import type { Clock } from "./clock.ts";
import { Err, excerpt, toErr } from "./err.ts";
import type { OpenFile } from "./fgrp.ts";
import { MREPL } from "./mount.ts";
import { OREAD, OWRITE, type SetTime, type Wstat } from "./p9/types.ts";
import type { Proc, Sharing } from "./proc.ts";
import type { SpawnProgram, TextCall } from "./proc_calls.ts";
import type { LinkEnds } from "./proc_link.ts";
import {
  BATCH,
  CALL,
  CALL_BYTES,
  FAILED,
  type Head,
  HERE,
  NOTICE,
  OK,
  READ,
  textOf,
  Wire,
  WRITE,
} from "./proc_wire.ts";

/** Calls of one program that have not been answered. */
const MAX_IN_FLIGHT = 256;
/** Buffers that are kept for the next read or write. */
const KEPT_BUFFERS = 4;
const NONE = new Uint8Array(0);

/** A way past the kernel: the number of a lane, the fid on it, and the place of the file's offset. */
export interface Way {
  readonly lane: number;
  readonly fid: number;
  readonly place: number;
}

/** Starts programs. */
export interface ProgramStarter {
  /** Starts the program at `path` as a child of `proc`; resolves with the child once it runs. `signal` gives up reading it. */
  spawn(proc: Proc, path: string, options: SpawnProgram, signal?: AbortSignal): Promise<Proc>;
}

/** What a service needs besides the proc. */
export interface ServiceHost extends ProgramStarter {
  readonly clock: Clock;
  /** Where the program may read and write an open file past the kernel; undefined when not, or not yet. */
  direct?(file: OpenFile): Way | undefined;
}

/** The answer to a text call. */
type Doing = (service: ProcService, args: unknown[]) => unknown;

/** See the head of this file. */
export class ProcService {
  readonly proc: Proc;
  readonly host: ServiceHost;
  readonly #wire: Wire;
  readonly #ends: LinkEnds;
  readonly #buffers: Uint8Array[] = [];
  #inFlight = 0;
  /** Notes that were sent. */
  #notes = 0;
  /** Answers that found the ring full, in order. */
  readonly #backlog: Backlog;

  constructor(proc: Proc, ends: LinkEnds, host: ServiceHost) {
    this.proc = proc;
    this.host = host;
    this.#ends = ends;
    this.#backlog = new Backlog(ends.out, ends.doorbell);
    this.#wire = new Wire(ends.in, ends.out);
  }

  /** Serves until the program or the proc ends. Throws EPROTO when what comes is no call. */
  async run(): Promise<void> {
    const { in: input, doorbell } = this.#ends;
    while (this.proc.exitStatus === null) {
      for (let id, left = BATCH; left > 0 && (id = this.#wire.next()) >= 0; left--) this.#begin(id);
      input.release();
      if (input.ended) return;
      await doorbell.wait(input);
    }
  }

  /** Notes go to the program from now on, or end it again. */
  notify(on: boolean): void {
    this.proc.notify(on ? (note) => this.#sendNote(note) : null);
  }

  #sendNote(note: string): true {
    this.#notes++;
    return this.#send(NOTICE, head(OK), NONE, textOf({ note }));
  }

  /** Begins the call that the wire stands at. */
  #begin(id: number): void {
    const { kind, fd, count, value, place: notes } = this.#wire.head;
    if (this.#inFlight >= MAX_IN_FLIGHT) return this.#fail(id, new Err("EAGAIN", "too many calls under way"));
    const call = kind === CALL ? this.#wire.json() : undefined;
    // A call that was made before the program had seen a note is interrupted by it.
    if (notes !== this.#notes && !CERTAIN.has(nameOf(call))) return this.#fail(id, new Err("EINTR"));
    this.#inFlight++;
    if (kind === READ) void this.#read(id, fd, Math.min(Math.max(count, 0), CALL_BYTES), value);
    else if (kind === WRITE) void this.#write(id, fd, value);
    else if (kind === CALL) void this.#text(id, call);
    else throw new Err("EPROTO", `there is no call of kind ${kind}`);
  }

  async #read(id: number, fd: number, count: number, offset: number): Promise<void> {
    const buffer = this.#buffers.pop() ?? new Uint8Array(CALL_BYTES);
    const into = count === CALL_BYTES ? buffer : buffer.subarray(0, count);
    try {
      const got = offset === HERE ? await this.proc.read(fd, into) : await this.proc.pread(fd, into, place(offset));
      this.#done(id, OK, got, buffer.subarray(0, got), NONE, buffer, fd);
    } catch (e) {
      this.#keep(buffer);
      this.#fail(id, e, true);
    }
  }

  async #write(id: number, fd: number, offset: number): Promise<void> {
    const bytes = this.#wire.dataBytes, buffer = this.#buffers.pop() ?? new Uint8Array(CALL_BYTES);
    try {
      if (bytes > CALL_BYTES) throw new Err("EMSGSIZE");
      buffer.set(this.#wire.data());
      const data = buffer.subarray(0, bytes);
      const took = offset === HERE ? await this.proc.write(fd, data) : await this.proc.pwrite(fd, data, place(offset));
      this.#done(id, OK, took, NONE, NONE, buffer, fd);
    } catch (e) {
      this.#keep(buffer);
      this.#fail(id, e, true);
    }
  }

  async #text(id: number, call: unknown): Promise<void> {
    try {
      const name = nameOf(call);
      if (!Object.hasOwn(CALLS, name)) throw new Err("ENOSYS", `there is no call ${excerpt(name)}`);
      const result = await CALLS[name as TextCall](this, (call as unknown[]).slice(1));
      this.#done(id, OK, 0, NONE, textOf(result ?? null));
    } catch (e) {
      this.#fail(id, e, true);
    }
  }

  #fail(id: number, thrown: unknown, begun = false): void {
    const { code, message } = toErr(thrown);
    if (begun) this.#inFlight--;
    this.#send(id, head(FAILED), NONE, textOf({ code, message }));
  }

  /** `buffer` holds the data, and is used again; `fd` is the file that was read or written. */
  #done(
    id: number,
    kind: number,
    value: number,
    data: Uint8Array,
    text: Uint8Array,
    buffer?: Uint8Array,
    fd = -1,
  ): void {
    this.#inFlight--;
    const way = fd < 0 ? undefined : this.#way(fd);
    this.#send(id, { kind, value, fd: way?.lane ?? 0, count: way?.fid ?? 0, place: way?.place }, data, text, buffer);
  }

  #way(fd: number): Way | undefined {
    const file = this.host.direct && this.proc.fgrp.find(fd);
    return file && this.host.direct!(file);
  }

  #keep(buffer: Uint8Array): void {
    if (this.#buffers.length < KEPT_BUFFERS) this.#buffers.push(buffer);
  }

  /** Sends an answer, now or when there is room; `buffer` is used again then. */
  #send(id: number, head: Head, data: Uint8Array, text: Uint8Array, buffer?: Uint8Array): true {
    const put = () => {
      if (!this.#wire.put(id, head, data, text)) return false;
      if (buffer) this.#keep(buffer);
      return true;
    };
    if (this.#backlog.empty && put()) this.#ends.out.publish();
    else this.#backlog.add(put);
    return true;
  }
}

const CALLS: Record<TextCall | "exit" | "notify", Doing> = {
  open: ({ proc }, [path, mode]) => proc.open(text(path), number(mode, OREAD)),
  create: ({ proc }, [path, mode, perm, exclusive]) =>
    proc.create(text(path), number(mode, OWRITE), number(perm, 0o666), { exclusive: exclusive === true }),
  close: ({ proc }, [fd]) => proc.close(number(fd)),
  seek: ({ proc }, [fd, offset, whence]) => proc.seek(number(fd), number(offset), oneOf(whence ?? 0, [0, 1, 2])),
  dup: ({ proc }, [fd, to]) => proc.dup(number(fd), to == null ? undefined : number(to)),
  pipe: ({ proc }) => proc.pipe(),
  stat: ({ proc }, [path]) => proc.stat(text(path)),
  fstat: ({ proc }, [fd]) => proc.fstat(number(fd)),
  wstat: ({ proc }, [path, changes]) => proc.wstat(text(path), wstatOf(changes)),
  dirread: ({ proc }, [fd]) => proc.dirread(number(fd)),
  remove: ({ proc }, [path]) => proc.remove(text(path)),
  bind: ({ proc }, [path, old, flags]) => proc.bind(text(path), text(old), number(flags, MREPL)),
  mount: ({ proc }, [what, old, flags, aname]) =>
    proc.mount(text(what), text(old), number(flags, MREPL), text(aname ?? "")),
  unmount: ({ proc }, [path, old]) => proc.unmount(path == null ? null : text(path), text(old)),
  chdir: ({ proc }, [path]) => proc.chdir(text(path)),
  getcwd: ({ proc }) => proc.cwd,
  getenv: ({ proc }, [name]) => proc.env.get(text(name)) ?? null,
  setenv: ({ proc, host }, [name, value]) => proc.env.set(text(name), text(value), host.clock.now()),
  spawn: async ({ proc, host }, [path, options]) => (await host.spawn(proc, text(path), spawnOf(options))).pid,
  wait: ({ proc }) => proc.wait(),
  sleep: ({ proc, host }, [ms]) => pause(proc, host.clock, number(ms)),
  exit: ({ proc }, [status]) => proc.exit(text(status ?? "")),
  notify: (service, [on]) => service.notify(on === true),
};

/** Calls that no note interrupts. */
const CERTAIN = new Set(["exit", "notify", "close"]);

function nameOf(call: unknown): string {
  return Array.isArray(call) ? String(call[0]) : "";
}

function head(kind: number): Head {
  return { kind, fd: 0, count: 0, value: 0 };
}

function pause(proc: Proc, clock: Clock, ms: number): Promise<void> {
  return proc.call(undefined, (req) =>
    new Promise<void>((resolve, reject) => {
      const cancel = clock.after(ms, resolve);
      req.onFlush(() => {
        cancel();
        reject(new Err("EINTR"));
      });
    }));
}

function place(offset: number): number {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new Err("EINVAL", `no such offset: ${offset}`);
  return offset;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new Err("EINVAL", `a text is wanted, not ${JSON.stringify(value)}`);
  return value;
}

function number(value: unknown, otherwise?: number): number {
  const given = value ?? otherwise;
  if (typeof given !== "number") throw new Err("EINVAL", `a number is wanted, not ${JSON.stringify(value)}`);
  return given;
}

function oneOf<T>(value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) {
    throw new Err("EINVAL", `one of ${allowed} is wanted, not ${excerpt(String(value))}`);
  }
  return value as T;
}

/** Fields that wstat takes from a program. */
const WSTAT: Record<string, (value: unknown) => unknown> = {
  name: text,
  uid: text,
  gid: text,
  length: (value) => number(value),
  mode: (value) => number(value),
  atime: timeOf,
  mtime: timeOf,
};

function wstatOf(changes: unknown): Wstat {
  const w: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(changes ?? {})) {
    if (!Object.hasOwn(WSTAT, key)) throw new Err("EINVAL", `wstat does not change ${excerpt(key)}`);
    w[key] = WSTAT[key](value);
  }
  return w;
}

function timeOf(value: unknown): SetTime {
  if (value === "now") return value;
  const { sec, nsec } = (value ?? {}) as Record<string, unknown>;
  return { sec: number(sec), nsec: number(nsec) };
}

function spawnOf(options: unknown): SpawnProgram {
  const { args, ns, env, fds, redirect, cpu } = (options ?? {}) as SpawnProgram;
  const sharing: Sharing[] = ["share", "copy", "empty"];
  const pair = (p: unknown) => Array.isArray(p) && p.length === 2 ? [number(p[0]), number(p[1])] : oneOf(p, []);
  return {
    args: list(args).map(text),
    ns: ns == null ? undefined : oneOf(ns, sharing),
    env: env == null ? undefined : oneOf(env, sharing),
    fds: Array.isArray(fds) ? fds.map((fd) => number(fd)) : fds == null ? undefined : oneOf(fds, sharing),
    redirect: list(redirect).map(pair) as [number, number][],
    cpu: cpu == null ? undefined : number(cpu),
  };
}

function list(value: unknown): unknown[] {
  if (value == null) return [];
  if (!Array.isArray(value)) throw new Err("EINVAL", `a list is wanted, not ${JSON.stringify(value)}`);
  return value;
}
