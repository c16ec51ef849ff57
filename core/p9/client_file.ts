/**
 * RemoteFile: a file of a 9P server, in any dialect.
 *
 * Layer: core/p9, over FidOps and client_io; `Client` hands them out.
 *
 * A RemoteFile owns one fid. `walk` and `create` give new ones and leave this as it is; `open` opens this one.
 * `close` gives the fid back, as does leaving an `await using` block; `remove` does so too. After that nothing may
 * be done with it (EBADF).
 */

import { Err } from "../err.ts";
import { depthOf, type OpenFile, ReadAhead, readSpan, WriteBehind, writeSpan } from "./client_io.ts";
import type { FidOps, Signal } from "./client_ops.ts";
import {
  type Dir,
  type Dirent,
  DMAPPEND,
  type Flock,
  IOHDRSZ,
  ORCLOSE,
  OREAD,
  OTRUNC,
  type Qid,
  QTAPPEND,
  QTDIR,
  QTSYMLINK,
  type Statfs,
  type Wstat,
} from "./types.ts";

/** How a file is opened. */
export interface OpenOptions {
  /** Messages to read ahead of a sequential reader; 0, the default, reads only what is asked for. */
  readAhead?: number;
  /** Messages that may be on their way when a write answers; 0, the default, answers when the server has. */
  writeBehind?: number;
  /** Aborting it flushes the request. */
  signal?: AbortSignal;
}

/** Where a stream starts. */
export interface StreamOptions {
  /** Bytes into the file; 0 when not given. */
  offset?: number;
  signal?: AbortSignal;
}

/** Bytes of directory entries asked for at once. */
const LISTING_BYTES = 64 * 1024;

/** A file of a server. */
export class RemoteFile implements OpenFile {
  readonly ops: FidOps;
  readonly fid: number;
  /** Names from the root of the tree; `..` is resolved as Plan 9's `cleanname` does. */
  readonly names: readonly string[];
  readonly window: number;
  qid: Qid;
  /** Open mode, or -1. */
  mode = -1;
  iounit = 0;
  #root: number;
  #closed = false;
  /** The length when it was last seen to be more than 0: the mark of a plain file. */
  #length = 0;
  #ahead: ReadAhead | undefined;
  #aheadDepth = 0;
  #behind: WriteBehind | undefined;
  #behindDepth = 0;

  /** For `Client` and this class: `root` is the fid that `names` starts from. */
  constructor(ops: FidOps, fid: number, qid: Qid, at: { root: number; names: readonly string[]; window: number }) {
    this.ops = ops;
    this.fid = fid;
    this.qid = qid;
    this.names = at.names;
    this.window = at.window;
    this.#root = at.root;
  }

  /** The path from the root of the tree: `/dev/cons`. */
  get path(): string {
    return "/" + this.names.join("/");
  }

  get isDirectory(): boolean {
    return (this.qid.type & QTDIR) !== 0;
  }

  get isSymlink(): boolean {
    return (this.qid.type & QTSYMLINK) !== 0;
  }

  // Files.

  /** The file at `path` from here: a new RemoteFile. An empty path, or `.`, is a clone. */
  async walk(path: string | readonly string[], signal?: Signal): Promise<RemoteFile> {
    const names = typeof path === "string" ? splitPath(path) : [...path];
    const { fid, qid } = await this.ops.walkAll(this.#use(), names, signal);
    return this.#sibling(fid, qid ?? this.qid, names.reduce(step, this.names as string[]));
  }

  /** Opens this file; answers itself. */
  async open(mode = OREAD, options: OpenOptions = {}): Promise<this> {
    if (this.mode >= 0) throw new Err("EINVAL", `${this.path} is open`);
    const opened = await this.ops.open(this.#use(), mode, options.signal);
    this.#setOpen(opened, mode, options);
    if (mode & OTRUNC) this.#length = 0;
    return this;
  }

  /** Makes a file in this directory, open for `mode`: a new RemoteFile. With DMDIR in `perm`, a directory. */
  async create(name: string, perm = 0o666, mode = OREAD, options: OpenOptions = {}): Promise<RemoteFile> {
    const clone = await this.walk([], options.signal);
    try {
      const opened = await this.ops.create(clone.fid, name, perm, mode, options.signal);
      const file = this.#sibling(clone.fid, opened.qid, [...this.names, name]);
      file.#setOpen(opened, mode, options);
      if ((perm & DMAPPEND) === 0) file.#length = 1; // ours, so plain though it is empty
      return file;
    } catch (e) {
      this.ops.discard(clone.fid);
      throw e;
    }
  }

  /** Makes a directory in this one. */
  mkdir(name: string, perm = 0o777, signal?: Signal): Promise<Qid> {
    return this.ops.mkdir(this.#use(), name, perm, signal);
  }

  #setOpen(opened: { qid: Qid; iounit: number }, mode: number, options: OpenOptions): void {
    this.qid = opened.qid;
    this.iounit = opened.iounit;
    this.mode = mode;
    this.#aheadDepth = options.readAhead ?? 0;
    this.#behindDepth = options.writeBehind ?? 0;
  }

  #sibling(fid: number, qid: Qid, names: string[]): RemoteFile {
    return new RemoteFile(this.ops, fid, qid, { root: this.#root, names, window: this.window });
  }

  // Bytes.

  /** Reads into `into` at `offset`: the count; 0 at the end. More than one message's worth is split, and joined. */
  async read(into: Uint8Array, offset: number, signal?: Signal): Promise<number> {
    const fid = this.#useOpen();
    if (this.#behind) await this.#behind.drain();
    if (this.#aheadDepth > 0) return await this.#readAhead(into, offset, signal);
    if (into.length <= this.iounit) return await this.ops.read(fid, into, offset, signal);
    const length = await this.#plainLength(signal);
    if (offset >= length) return await readSpan(this, into, offset, false, signal);
    const known = into.subarray(0, length - offset);
    const count = await readSpan(this, known, offset, true, signal);
    if (count < known.length || count === into.length) return count;
    return count + await readSpan(this, into.subarray(count), offset + count, false, signal);
  }

  async #readAhead(into: Uint8Array, offset: number, signal: Signal): Promise<number> {
    if (this.#ahead?.position !== offset) {
      const length = await this.#plainLength(signal);
      this.#ahead = new ReadAhead(this, { offset, length, depth: this.#aheadDepth });
    }
    return await this.#ahead!.read(into);
  }

  /** Writes `data` at `offset`: the count that was taken, less than all when the server took less. */
  async write(data: Uint8Array, offset: number, signal?: Signal): Promise<number> {
    const fid = this.#useOpen();
    this.#ahead = undefined;
    if (this.#behindDepth > 0) {
      this.#behind ??= new WriteBehind(this, this.#takesManyWrites(await this.#plainLength(signal)), this.#behindDepth);
      await this.#behind.write(data, offset, signal);
      return data.length;
    }
    if (data.length <= this.iounit) return await this.ops.write(fid, data, offset, signal);
    return await writeSpan(this, data, offset, this.#takesManyWrites(await this.#plainLength(signal)), signal);
  }

  /** Reads from `offset` to the end. */
  async readAll(options: StreamOptions = {}): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    const ahead = await this.#reader(options);
    for (let part = await ahead.next(); part; part = await ahead.next()) parts.push(part);
    return concat(parts);
  }

  /** Writes all of `data` at `offset`; a server that takes nothing more is an error. */
  async writeAll(data: Uint8Array, offset = 0, signal?: Signal): Promise<void> {
    let at = 0;
    do {
      const count = await this.write(data.subarray(at), offset + at, signal);
      if (count === 0 && data.length > 0) throw new Err("ENOSPC", `${this.path} took ${at} of ${data.length} bytes`);
      at += count;
    } while (at < data.length);
  }

  /** The file's bytes as a web stream, read ahead as far as its length is known. Cancelling it leaves the file open. */
  readable(options: StreamOptions = {}): ReadableStream<Uint8Array> {
    const stop = new AbortController(); // a read that waits would take bytes away from the next reader
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    let ahead: ReadAhead;
    return new ReadableStream<Uint8Array>({
      start: async () => {
        ahead = await this.#reader({ ...options, signal });
      },
      pull: async (controller) => {
        const bytes = await ahead.next();
        if (bytes) controller.enqueue(bytes);
        else controller.close();
      },
      cancel: () => stop.abort(),
    }, { highWaterMark: 0 });
  }

  /** A web stream into the file, several messages on their way at once. Closing it writes all out and leaves the file open. */
  writable(options: StreamOptions = {}): WritableStream<Uint8Array> {
    let offset = options.offset ?? 0;
    let behind: WriteBehind;
    return new WritableStream<Uint8Array>({
      start: async () => {
        this.#useOpen();
        behind = new WriteBehind(this, this.#takesManyWrites(await this.#plainLength(options.signal)));
      },
      write: async (data) => {
        await behind.write(data, offset, options.signal);
        offset += data.length;
      },
      close: () => behind.drain(),
    });
  }

  async #reader(options: StreamOptions): Promise<ReadAhead> {
    this.#useOpen();
    const length = await this.#plainLength(options.signal);
    return new ReadAhead(this, { offset: options.offset ?? 0, length, depth: depthOf(this) }, options.signal);
  }

  /** The length of a plain file; 0 for one that may be none, which has to be asked each time. */
  async #plainLength(signal: Signal): Promise<number> {
    if (this.isDirectory) throw new Err("EISDIR", `${this.path} is a directory`);
    const { length } = await this.ops.stat(this.fid, signal);
    if (length > 0) this.#length = length;
    return length;
  }

  #takesManyWrites(length: number): boolean {
    return (length > 0 || this.#length > 0) && (this.qid.type & QTAPPEND) === 0;
  }

  /** Brings the file to stable storage. */
  async fsync(dataOnly = false, signal?: Signal): Promise<void> {
    const fid = this.#use();
    if (this.#behind) await this.#behind.drain();
    await this.ops.fsync(fid, dataOnly, signal);
  }

  // Directories.

  /** The entries of this directory, which need not be open, as the server gives them; without `.` and `..`. */
  async *readdir(signal?: Signal): AsyncGenerator<Dirent, void, void> {
    if (this.mode >= 0) return yield* this.#entries(signal);
    const open = await this.walk([], signal);
    try {
      await open.open(OREAD, { signal: signal ?? undefined });
      yield* open.#entries(signal);
    } finally {
      open.discard();
    }
  }

  async *#entries(signal: Signal): AsyncGenerator<Dirent, void, void> {
    const count = Math.min(this.ops.rpc.msize - IOHDRSZ, LISTING_BYTES);
    let cookie: Dirent["next"] = 0;
    for (;;) {
      const entries = await this.ops.readdir(this.#useOpen(), cookie, count, signal);
      if (entries.length === 0) return;
      const { next } = entries[entries.length - 1];
      if (next === cookie) throw new Err("EPROTO", `the listing of ${this.path} does not go on`);
      cookie = next;
      for (const entry of entries) if (entry.dir.name !== "." && entry.dir.name !== "..") yield entry;
    }
  }

  // What is known of the file.

  /** What is known of the file, with its name in every dialect. */
  async stat(signal?: Signal): Promise<Dir> {
    const fid = this.#use();
    if (this.#behind) await this.#behind.drain();
    const dir = await this.ops.stat(fid, signal);
    if (dir.name === "") dir.name = this.names.at(-1) ?? "/";
    return dir;
  }

  /** Changes what `w` names. In 9P2000.L a name and the rest are two steps, the name first. */
  async wstat(w: Wstat, signal?: Signal): Promise<void> {
    const fid = this.#use();
    if (w.name === undefined || !this.ops.rpc.dialect.linux) return await this.ops.wstat(fid, w, signal);
    const { name, ...rest } = w;
    await this.rename(name, null, signal);
    if (Object.keys(rest).length > 0) await this.ops.wstat(fid, rest, signal);
  }

  /** Moves the file to `name`, in its own directory or in `dir`. This RemoteFile keeps the path it was walked by. */
  async rename(name: string, dir: RemoteFile | null = null, signal?: Signal): Promise<void> {
    const fid = this.#use();
    if (this.names.length === 0) throw new Err("EBUSY", "the root of a tree cannot be renamed");
    const parent = this.names.slice(0, -1);
    const same = dir === null || (dir.#root === this.#root && sameNames(dir.names, parent));
    if (dir) return await this.ops.rename(fid, { fid: dir.#use(), name, same }, signal);
    await this.#inParent(parent, (place) => this.ops.rename(fid, { fid: place, name, same }, signal), signal);
  }

  async #inParent(parent: string[], use: (fid: number) => Promise<void>, signal: Signal): Promise<void> {
    if (!this.ops.rpc.dialect.linux) return await use(this.#root); // only its being the same counts
    const { fid } = await this.ops.walkAll(this.#root, parent, signal);
    try {
      await use(fid);
    } finally {
      this.ops.discard(fid);
    }
  }

  /** Removes the file from its directory, and closes this even when that fails. */
  async remove(): Promise<void> {
    const fid = this.#use();
    this.#closed = true;
    await this.#behind?.drain();
    await this.ops.remove(fid);
  }

  // Links and special files.

  /** A symlink `name` to `target` in this directory. */
  symlink(name: string, target: string, signal?: Signal): Promise<Qid> {
    return this.ops.symlink(this.#use(), name, target, signal);
  }

  /** A hard link `name` to `file` in this directory. */
  link(file: RemoteFile, name: string, signal?: Signal): Promise<void> {
    return this.ops.link(file.#use(), this.#use(), name, signal);
  }

  /** A device, fifo or socket in this directory: `perm` with its DM bit, `ext` `b 8 0` or `c 1 3` for a device. */
  mknod(name: string, perm: number, ext = "", signal?: Signal): Promise<Qid> {
    return this.ops.mknod(this.#use(), name, perm, ext, signal);
  }

  /** The symlink's target. */
  readlink(signal?: Signal): Promise<string> {
    return this.ops.readlink(this.#use(), signal);
  }

  // What 9P2000.L has.

  statfs(signal?: Signal): Promise<Statfs> {
    return this.ops.statfs(this.#use(), signal);
  }

  /**
   * Takes or frees a lock on a range; false when another holds it. With `flags` 1 it is answered when it is granted, in
   * 9P2000.L.r9; in 9P2000.L it may be false all the same: ask again.
   */
  async lock(lock: Partial<Flock> & { type: number }, signal?: Signal): Promise<boolean> {
    const status = await this.ops.lock(this.#useOpen(), fullLock(lock), signal);
    if (status === 0 || status === 1) return status === 0;
    if (status === 3) throw new Err("EAGAIN", "the server is in its grace period: only old locks are granted");
    throw new Err("ENOLCK", `${this.path} could not be locked`);
  }

  /** The lock in the way of `lock`; null when there is none. */
  async getlock(lock: Partial<Flock> & { type: number }, signal?: Signal): Promise<Flock | null> {
    const found = await this.ops.getlock(this.#useOpen(), fullLock(lock), signal);
    return found.type === UNLOCKED ? null : found;
  }

  getxattr(name: string, signal?: Signal): Promise<Uint8Array> {
    if (name === "") throw new Err("EINVAL", "an extended attribute has a name");
    return this.ops.getxattr(this.#use(), name, signal);
  }

  async listxattr(signal?: Signal): Promise<string[]> {
    const bytes = await this.ops.getxattr(this.#use(), "", signal);
    return new TextDecoder().decode(bytes).split("\0").filter((name) => name !== "");
  }

  /** Sets an extended attribute, or removes it (null). `flags`: 1 must not exist, 2 must exist. */
  setxattr(name: string, value: Uint8Array | null, flags = 0, signal?: Signal): Promise<void> {
    return this.ops.setxattr(this.#use(), name, value, flags, signal);
  }

  // The end.

  /** Gives the fid back, after what is still to be written; a file opened with ORCLOSE is removed. Twice does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const removes = this.mode >= 0 && (this.mode & ORCLOSE) !== 0 && this.ops.rpc.dialect.linux;
    try {
      await this.#behind?.drain();
    } finally {
      await (removes ? this.ops.remove(this.fid) : this.ops.clunk(this.fid));
    }
  }

  /** Gives the fid back in the background: for a file that was only read, whose close can tell nothing. */
  discard(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.ops.discard(this.fid);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #use(): number {
    if (this.#closed) throw new Err("EBADF", `${this.path} is closed`);
    return this.fid;
  }

  #useOpen(): number {
    if (this.mode < 0) throw new Err("EBADF", `${this.path} is not open`);
    return this.#use();
  }
}

/** Flock's type for no lock. */
const UNLOCKED = 2;

function fullLock(lock: Partial<Flock> & { type: number }): Flock {
  return { flags: 0, start: 0, length: 0, procId: 1, clientId: "ring9", ...lock };
}

/** The names of a path; empty ones and `.` mean nothing. */
export function splitPath(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

function step(names: string[], name: string): string[] {
  return name === ".." ? names.slice(0, -1) : [...names, name];
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}

function concat(parts: Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0];
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
