/**
 * ProcFiles: the file calls of a proc, on paths of its own name space and on its file descriptors.
 *
 * Layer: core, over Export; Proc adds what a process is besides. Every call is a promise, and one that may block takes
 * an AbortSignal. Killing the proc gives all of its calls up.
 *
 * See section 2 of the Plan 9 manual: open, read, seek, stat, dirread, bind, chdir, dup, pipe, remove.
 */

import { Req, type User } from "./dev.ts";
import type { Egrp } from "./egrp.ts";
import { Err, excerpt, PATH_CHARS, toErr } from "./err.ts";
import { Export } from "./export.ts";
import { type Fgrp, OpenFile } from "./fgrp.ts";
import { MREPL } from "./mount.ts";
import type { Pgrp } from "./ns.ts";
import { checkName, deviceOf, dirAndName, errOn, isDial, joinPath, quote, splitPath } from "./path.ts";
import {
  type Dir,
  MAXWELEM,
  type MaybePromise,
  NONUNAME,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  QTDIR,
} from "./p9/types.ts";
import type { Wstat } from "./p9/types.ts";
import type { NsChan } from "./walk.ts";

/** Bytes that one call moves at the most. */
const IO_BYTES = 64 * 1024;
/** Bytes of a file that is read whole, unless the caller says otherwise: some files have no end. */
const MAX_FILE_BYTES = 64 << 20;
const encoder = new TextEncoder();

/** What a proc has done, for its stats file. */
export interface Counters {
  calls: number;
  errors: number;
  opens: number;
  reads: number;
  writes: number;
  readBytes: number;
  writtenBytes: number;
}

/** A request of a proc: a Dev that treats procs each in its own way asks for `proc`. */
export class ProcReq extends Req {
  readonly proc: ProcFiles;

  constructor(proc: ProcFiles) {
    super(proc.user);
    this.proc = proc;
  }
}

/** How a file is created. */
export interface CreateOptions {
  /** Refuses a file that is there; otherwise that one is truncated. */
  exclusive?: boolean;
  signal?: AbortSignal;
}

/** What a proc is made of. */
export interface ProcParts {
  name: string;
  user: User;
  cwd: string;
  pgrp: Pgrp;
  fgrp: Fgrp;
  env: Egrp;
}

/** The file calls of a proc. */
export abstract class ProcFiles {
  user: User;
  pgrp: Pgrp;
  fgrp: Fgrp;
  env: Egrp;
  /** The current directory, absolute. */
  cwd: string;
  readonly counters: Counters = {
    calls: 0,
    errors: 0,
    opens: 0,
    reads: 0,
    writes: 0,
    readBytes: 0,
    writtenBytes: 0,
  };
  #files: Export;
  #dot: NsChan | null = null;
  readonly #inFlight = new Set<Req>();

  /** The groups are taken over. */
  protected constructor({ user, pgrp, fgrp, env, cwd }: ProcParts) {
    this.user = user;
    this.pgrp = pgrp;
    this.fgrp = fgrp;
    this.env = env;
    this.cwd = cwd;
    this.#files = new Export(pgrp, { name: "proc" });
  }

  /** The proc's name space as a Dev. */
  get files(): Export {
    return this.#files;
  }

  /** Calls under way. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  // Open files.

  /** Opens a file. */
  open(path: string, mode = OREAD, signal?: AbortSignal): Promise<number> {
    return this.call(signal, async (req) => {
      this.counters.opens++;
      const chan = await this.walk(path, req);
      return await this.#keep(chan, path, mode, () => this.#files.open(chan, mode & ~ORCLOSE, req));
    });
  }

  /** Makes a file, or truncates the one that is there, and opens it. */
  create(path: string, mode = OWRITE, perm = 0o666, options: CreateOptions = {}): Promise<number> {
    return this.call(options.signal, async (req) => {
      this.counters.opens++;
      const [parent, name] = dirAndName(path);
      if (!options.exclusive) {
        const there = await this.walk(path, req).catch(missing);
        const truncates = mode & ~ORCLOSE | OTRUNC;
        if (there) return await this.#keep(there, path, mode, () => this.#files.open(there, truncates, req));
      }
      const chan = await this.walk(parent, req);
      const what = { name: checkName(name), mode: mode & ~ORCLOSE, perm, mask: true, ngid: NONUNAME };
      return await this.#keep(chan, path, mode, () => this.#files.create(chan, what, req));
    });
  }

  close(fd: number): Promise<void> {
    return this.call(undefined, () => this.fgrp.remove(fd));
  }

  /** Reads into `into` where the file stands, and moves on: the count, 0 at the end. */
  async read(fd: number, into: Uint8Array, signal?: AbortSignal): Promise<number> {
    const file = this.fgrp.get(fd);
    const count = await this.pread(fd, into, file.offset, signal);
    file.offset += count;
    return count;
  }

  /** Reads into `into` at `offset`: the count. */
  pread(fd: number, into: Uint8Array, offset: number, signal?: AbortSignal): Promise<number> {
    return this.call(signal, async (req) => {
      const { chan } = this.fgrp.get(fd);
      if (chan.qid.type & QTDIR) throw new Err("EISDIR", "a directory is read with dirread");
      const got = await this.#files.read(chan, into, offset, req);
      if (typeof got !== "number") into.set(got);
      const count = typeof got === "number" ? got : got.length;
      this.counters.reads++;
      this.counters.readBytes += count;
      return count;
    });
  }

  /** Writes where the file stands, and moves on: the count. */
  async write(fd: number, data: Uint8Array | string, signal?: AbortSignal): Promise<number> {
    const file = this.fgrp.get(fd);
    const count = await this.pwrite(fd, data, file.offset, signal);
    file.offset += count;
    return count;
  }

  /** Writes at `offset`: the count. */
  pwrite(fd: number, data: Uint8Array | string, offset: number, signal?: AbortSignal): Promise<number> {
    return this.call(signal, async (req) => {
      const bytes = typeof data === "string" ? encoder.encode(data) : data;
      const count = await this.#files.write(this.fgrp.get(fd).chan, bytes, offset, req);
      this.counters.writes++;
      this.counters.writtenBytes += count;
      return count;
    });
  }

  /** Moves the offset: to `offset` (whence 0), on by it (1), or to the end and on by it (2). Answers the new one. */
  seek(fd: number, offset: number, whence: 0 | 1 | 2 = 0): Promise<number> {
    return this.call(undefined, async (req) => {
      const file = this.fgrp.get(fd);
      const base = whence === 0 ? 0 : whence === 1 ? file.offset : (await this.#files.stat(file.chan, req)).length;
      const at = base + offset;
      if (!Number.isSafeInteger(at) || at < 0) throw new Err("EINVAL", `seek to ${at}`);
      if (file.chan.qid.type & QTDIR && at !== 0) throw new Err("EISDIR", "seek in a directory goes to its start only");
      file.cookie = 0;
      return file.offset = at;
    });
  }

  /** The next entries of an open directory; none at the end. */
  dirread(fd: number, signal?: AbortSignal): Promise<Dir[]> {
    return this.call(signal, async (req) => {
      const file = this.fgrp.get(fd);
      const entries = await this.#files.readdir(file.chan, file.cookie, IO_BYTES, true, req);
      if (entries.length > 0) file.cookie = entries[entries.length - 1].next;
      return entries.map((entry) => entry.dir);
    });
  }

  /** A second number for an open file: the lowest free one, or `to`. */
  dup(fd: number, to?: number): Promise<number> {
    return this.call(undefined, () => this.fgrp.add(this.fgrp.get(fd).hold(), to));
  }

  /** Both ends of a new pipe. */
  pipe(): Promise<[number, number]> {
    return this.call(undefined, async (req) => {
      const pipe = await this.pgrp.device(this.#files, "#pipe", req);
      try {
        const ends: number[] = [];
        for (const name of ["data", "data1"]) {
          const chan = (await this.#files.walk(pipe, [name], req)).chan as NsChan;
          ends.push(await this.#keep(chan, `#pipe/${name}`, ORDWR, () => this.#files.open(chan, ORDWR, req)));
        }
        return ends as [number, number];
      } finally {
        pipe.drop();
      }
    });
  }

  fstat(fd: number, signal?: AbortSignal): Promise<Dir> {
    return this.call(signal, (req) => this.#files.stat(this.fgrp.get(fd).chan, req));
  }

  fwstat(fd: number, w: Wstat, signal?: AbortSignal): Promise<void> {
    return this.call(signal, (req) => this.#files.wstat(this.fgrp.get(fd).chan, w, req));
  }

  // Files by name.

  stat(path: string, signal?: AbortSignal): Promise<Dir> {
    return this.#at(path, signal, (chan, req) => this.#files.stat(chan, req));
  }

  wstat(path: string, w: Wstat, signal?: AbortSignal): Promise<void> {
    return this.#at(path, signal, (chan, req) => this.#files.wstat(chan, w, req));
  }

  remove(path: string, signal?: AbortSignal): Promise<void> {
    return this.#at(path, signal, (chan, req) => this.#files.remove(chan, req));
  }

  /** All bytes of a file. EFBIG when they are more than `most`. */
  async readFile(path: string, signal?: AbortSignal, most = MAX_FILE_BYTES): Promise<Uint8Array> {
    const fd = await this.open(path, OREAD, signal);
    try {
      let bytes = new Uint8Array(IO_BYTES), length = 0;
      for (;;) {
        if (length === bytes.length) bytes = grown(bytes);
        const count = await this.read(fd, bytes.subarray(length, length + IO_BYTES), signal);
        if (count === 0) return bytes.subarray(0, length);
        if ((length += count) > most) {
          throw new Err("EFBIG", `${quote(excerpt(path, PATH_CHARS))}: larger than ${most} bytes`);
        }
      }
    } finally {
      await this.close(fd);
    }
  }

  async readText(path: string, signal?: AbortSignal, most?: number): Promise<string> {
    return new TextDecoder().decode(await this.readFile(path, signal, most));
  }

  /** Writes a file that is there, from its start and without truncating it: what a ctl file wants. */
  async writeText(path: string, text: string, signal?: AbortSignal): Promise<void> {
    const fd = await this.open(path, OWRITE, signal);
    try {
      await this.writeAll(fd, encoder.encode(text), signal);
    } finally {
      await this.close(fd);
    }
  }

  /** Writes all of `bytes`. */
  async writeAll(fd: number, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    let at = 0;
    do {
      const count = await this.write(fd, bytes.subarray(at, at + IO_BYTES), signal);
      if (count === 0 && bytes.length > 0) throw new Err("EIO", "a write took nothing");
      at += count;
    } while (at < bytes.length);
  }

  /** All entries of a directory. */
  async list(path: string, signal?: AbortSignal): Promise<Dir[]> {
    const fd = await this.open(path, OREAD, signal);
    try {
      const all: Dir[] = [];
      for (;;) {
        const some = await this.dirread(fd, signal);
        if (some.length === 0) return all;
        all.push(...some);
      }
    } finally {
      await this.close(fd);
    }
  }

  // The name space.

  /** Puts what `path` names on `old`. */
  bind(path: string, old: string, flags = MREPL, signal?: AbortSignal): Promise<void> {
    return this.call(signal, (req) => this.pgrp.bind(this.#files, this.absolute(path), this.absolute(old), flags, req));
  }

  /** Takes `path`, or all, off the mount point `old`. */
  unmount(path: string | null, old: string, signal?: AbortSignal): Promise<void> {
    return this.call(signal, (req) => {
      const from = path === null || isDial(path) ? path : this.absolute(path);
      return this.pgrp.unmount(this.#files, from, this.absolute(old), req);
    });
  }

  chdir(path: string, signal?: AbortSignal): Promise<void> {
    return this.call(signal, async (req) => {
      const chan = await this.walk(path, req);
      if (!(chan.qid.type & QTDIR)) {
        chan.drop();
        throw new Err("ENOTDIR", `${quote(excerpt(path, PATH_CHARS))}: not a directory`);
      }
      this.#dot?.drop();
      this.#dot = chan;
      this.cwd = this.absolute(path);
    });
  }

  /** `path` as seen from the current directory. */
  absolute(path: string): string {
    return joinPath(this.cwd, path);
  }

  // For Proc, and for the kernel.

  /** Runs one call as a request that a signal, or the end of the proc, gives up. */
  async call<T>(signal: AbortSignal | undefined, run: (req: ProcReq) => MaybePromise<T>): Promise<T> {
    await this.ready();
    if (signal?.aborted) throw new Err("EINTR");
    const req = new ProcReq(this);
    const flush = () => req.flush();
    signal?.addEventListener("abort", flush, { once: true });
    this.#inFlight.add(req);
    this.counters.calls++;
    try {
      return await run(req);
    } catch (thrown) {
      this.counters.errors++;
      throw thrown;
    } finally {
      this.#inFlight.delete(req);
      signal?.removeEventListener("abort", flush);
    }
  }

  /** Waits while the proc is stopped; throws once it has ended. */
  protected abstract ready(): MaybePromise<void>;

  /** Gives up all calls under way. */
  protected flushAll(): void {
    for (const req of this.#inFlight) req.flush();
  }

  /** Lets go of files and name space. */
  protected async leave(): Promise<void> {
    this.#dot?.drop();
    this.#dot = null;
    await this.fgrp.close();
    this.pgrp.close();
  }

  /** Changes to another name space, which is taken over. */
  protected useNs(pgrp: Pgrp): void {
    this.pgrp.close();
    this.pgrp = pgrp;
    this.#files = new Export(pgrp, { name: "proc" });
  }

  /** The file that `path` names. */
  async walk(path: string, req: Req): Promise<NsChan> {
    if (deviceOf(path) !== "" || path.startsWith("/") || !this.#dot) {
      return (await this.pgrp.resolve(this.#files, this.absolute(path), req)).chan;
    }
    try {
      return await this.#walkFrom(this.#dot, splitPath(path), req);
    } catch (thrown) {
      const err = toErr(thrown);
      throw new Err(err.code, `${quote(excerpt(path, PATH_CHARS))}: ${err.message}`, { cause: thrown });
    }
  }

  async #walkFrom(dot: NsChan, names: string[], req: Req): Promise<NsChan> {
    let at = dot;
    for (let i = 0; i === 0 || i < names.length; i += MAXWELEM) {
      const from = at;
      try {
        const found = await this.#files.walk(from, names.slice(i, i + MAXWELEM), req);
        if (!found.chan) throw new Err("ENOENT");
        at = found.chan as NsChan;
      } finally {
        if (from !== dot) from.drop();
      }
    }
    return at;
  }

  /** Gives an opened file a number, or lets go of it. */
  async #keep(chan: NsChan, path: string, mode: number, open: () => MaybePromise<unknown>): Promise<number> {
    try {
      await open();
      return this.fgrp.add(new OpenFile(this.#files, chan, this.absolute(path), (mode & ORCLOSE) !== 0));
    } catch (thrown) {
      await this.#files.clunk(chan);
      throw errOn(path, thrown);
    }
  }

  #at<T>(path: string, signal: AbortSignal | undefined, use: (chan: NsChan, req: Req) => MaybePromise<T>): Promise<T> {
    return this.call(signal, async (req) => {
      const chan = await this.walk(path, req);
      try {
        return await use(chan, req);
      } catch (thrown) {
        throw errOn(path, thrown);
      } finally {
        await this.#files.clunk(chan);
      }
    });
  }
}

function missing(thrown: unknown): null {
  if (thrown instanceof Err && thrown.code === "ENOENT") return null;
  throw thrown;
}

function grown(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const more = new Uint8Array(2 * bytes.length);
  more.set(bytes);
  return more;
}
