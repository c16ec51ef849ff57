/**
 * Mnt: the mount driver: a Dev whose files are those of a 9P server, over the library's client.
 *
 * Layer: core, below the name space, over core/p9. One connection carries all of its mounts. Each operation is one
 * request where the dialect has one; there is no limit on how many are under way, and no order among them.
 *
 * What holds always: a Chan is one fid of the server. A flushed request is flushed at the server too. Fids are clunked in
 * the background. Who asks is who attached, unless `perUser`: then a walk by another user goes by a fid of that user's,
 * so that the server sees who really asks.
 *
 * What it does not do: caching, and connecting again; when the connection breaks every operation says so.
 *
 * See mnt(3) and section 5 of the Plan 9 manual.
 */

import type { Clock } from "./clock.ts";
import { Chan, type Create, DELIVERED, Dev, type Req, type User, type Walk } from "./dev.ts";
import { Err } from "./err.ts";
import { completed, MntDir } from "./mnt_dir.ts";
import { MntFile, type MntRoot } from "./mnt_file.ts";
import { copyBytes, ownBytes } from "./p9/bytes.ts";
import { Client, type ClientOptions } from "./p9/client.ts";
import { readSpan, writeSpan } from "./p9/client_io.ts";
import { checkName, type FidOps } from "./p9/client_ops.ts";
import type { ReplyTo } from "./p9/client_replies.ts";
import { createPerm, openFlagsOf } from "./p9/mode.ts";
import * as m from "./p9/msg.ts";
import type { Transport } from "./p9/transport.ts";
import { type Dir, type Dirent, DMAPPEND, DMDIR, type Flock, IOHDRSZ, type MaybePromise, NOFID } from "./p9/types.ts";
import { QTAPPEND, QTDIR, QTEXCL, QTSYMLINK, QTTMP } from "./p9/types.ts";
import type { Qid, Statfs, U64, Wstat } from "./p9/types.ts";

/** Users whose root fid is kept. */
const MAX_ROOTS = 256;
/** A read of no more is copied out of the connection's buffer; a larger one may come straight into its own array. */
const SMALL_BYTES = 16 * 1024, SLAB_BYTES = 256 * 1024;
/** Bytes that may be under way for one read or write that takes several messages. */
const WINDOW_BYTES = 4 << 20;

/** How a connection is mounted. */
export interface MntOptions {
  /** What the Dev is called. */
  name?: string;
  /** Attaches anew for each user who walks, which only a server that trusts this system does. */
  perUser?: boolean;
  /** Bytes of a message at the most. */
  msize?: number;
  dialects?: ClientOptions["dialects"];
  clock?: Clock;
}

/** A 9P server's files. */
export class Mnt extends Dev<MntFile> {
  readonly name: string;
  readonly client: Client;
  readonly #ops: FidOps;
  readonly #perUser: boolean;
  readonly #slab = new Slab();
  readonly #roots = new Map<string, Promise<number>>();

  /** Agrees with the server at the other end of `transport` on a dialect. */
  static async connect(transport: Transport, options: MntOptions = {}): Promise<Mnt> {
    const { msize, dialects, clock } = options;
    return new Mnt(await Client.connect(transport, { msize, dialects, clock, maxInFlight: 0xffff }), options);
  }

  constructor(client: Client, options: MntOptions = {}) {
    super();
    this.client = client;
    this.name = options.name ?? client.remote;
    this.#ops = client.ops;
    this.#perUser = options.perUser ?? false;
  }

  /** Ends the connection. */
  close(): Promise<void> {
    return this.client.close();
  }

  /** True of plain 9P2000.L, which has no words for some of what the contract has. */
  get #lossy(): boolean {
    const { linux, full } = this.client.rpc.dialect;
    return linux && !full;
  }

  // Finding files.

  override async attach(user: User, aname: string, req: Req): Promise<Chan<MntFile>> {
    const { fid, qid } = await this.#ops.attach({ uname: user.name, uid: user.uid, aname }, req.signal);
    return new Chan(this, qid, new MntFile(fid, { user, aname }, null, []), user);
  }

  override walk(c: Chan<MntFile>, names: string[], req: Req): Promise<Walk<MntFile>> {
    const other = this.#perUser && !sameUser(c.aux.root.user, req.user);
    const barred = c.mode !== -1 && !this.client.rpc.dialect.linux;
    if (other || barred) return this.#walkByName(c, names, req);
    return this.#walkFrom(c.aux.live, c, names, req);
  }

  #walkFrom(fid: number, c: Chan<MntFile>, names: string[], req: Req, root = c.aux.root): Promise<Walk<MntFile>> {
    for (let i = 0; i < names.length; i++) checkName(names[i]);
    const newfid = this.#ops.newFid();
    const walked = ({ qids }: ReplyTo<m.Twalk>): Walk<MntFile> => {
      if (qids.length < names.length) {
        this.#ops.releaseFid(newfid);
        return { qids, chan: null };
      }
      const file = new MntFile(newfid, root, c.aux, names);
      return { qids, chan: new Chan<MntFile>(this, qids.at(-1) ?? c.qid, file, root.user) };
    };
    return this.#ask({ type: m.Twalk, tag: 0, fid, newfid, names }, req, walked, (error) => {
      // Whether the server has the fid is not known when it was flushed or its answer was wrong.
      if (error.code === "EINTR" || error.code === "EPROTO") this.#ops.discard(newfid);
      else this.#ops.releaseFid(newfid);
    });
  }

  /** Walks as another user, or from an open file: from a root fid, by the names that lead to `c`. */
  async #walkByName(c: Chan<MntFile>, names: string[], req: Req): Promise<Walk<MntFile>> {
    const root: MntRoot = this.#perUser ? { user: req.user, aname: c.aux.root.aname } : c.aux.root;
    const rootFid = await this.#rootFid(root);
    const path = c.aux.path();
    if (path.length === 0) return await this.#walkFrom(rootFid, c, names, req, root);
    const { fid } = await this.#ops.walkAll(rootFid, path, req.signal);
    try {
      return await this.#walkFrom(fid, c, names, req, root);
    } finally {
      this.#ops.discard(fid);
    }
  }

  /** A fid on the root for a user; the least used are let go of. */
  async #rootFid({ user, aname }: MntRoot): Promise<number> {
    const key = JSON.stringify([user.name, user.uid, aname]);
    let attaching = this.#roots.get(key);
    if (attaching) this.#roots.delete(key);
    attaching ??= this.#ops.attach({ uname: user.name, uid: user.uid, aname }).then(({ fid }) => fid);
    this.#roots.set(key, attaching);
    if (this.#roots.size > MAX_ROOTS) this.#forgetRoot(this.#roots.keys().next().value!);
    try {
      return await attaching;
    } catch (thrown) {
      this.#roots.delete(key);
      throw thrown;
    }
  }

  #forgetRoot(key: string): void {
    const attached = this.#roots.get(key)!;
    this.#roots.delete(key);
    // One that failed to attach has nothing to let go of.
    attached.then((fid) => this.#ops.discard(fid), () => {});
  }

  // Files.

  override open(c: Chan<MntFile>, mode: number, req: Req): Promise<Chan<MntFile>> {
    const file = c.aux, fid = file.live;
    const done = ({ qid, iounit }: m.Ropen | m.Rlopen) => {
      const most = this.client.msize - IOHDRSZ;
      file.iounit = iounit > 0 && iounit < most ? iounit : most;
      return opened(c, qid, mode);
    };
    const { linux, full } = this.client.rpc.dialect;
    if (!linux) return this.#ask({ type: m.Topen, tag: 0, fid, mode: mode & 0xff }, req, done);
    return this.#ask({ type: m.Tlopen, tag: 0, fid, flags: openFlagsOf(mode, full) }, req, done);
  }

  override async create(c: Chan<MntFile>, what: Create, req: Req): Promise<Chan<MntFile>> {
    const file = c.aux, { linux } = this.client.rpc.dialect;
    let { perm } = what;
    if (this.#lossy) this.#checkMode(perm & ~DMDIR, 0);
    if (linux && what.mask) perm = createPerm(perm, (await this.stat(c, req)).mode);
    this.#ops.gid = what.ngid;
    const { qid, iounit } = await this.#ops.create(file.live, what.name, perm, what.mode, req.signal);
    if (!linux && !what.mask) await this.#ops.wstat(file.live, { mode: perm }, req.signal);
    c.aux = new MntFile(file.live, file.root, file, [what.name]);
    c.aux.iounit = iounit;
    return opened(c, qid, what.mode);
  }

  override read(c: Chan<MntFile>, dst: Uint8Array, offset: number, req: Req): Promise<Uint8Array> {
    const file = c.aux, count = dst.length;
    if (count > file.iounit) return this.#readLarge(c, count, offset, req);
    const msg: m.Tread = { type: m.Tread, tag: 0, fid: file.live, offset, count };
    if (req.deliver) return this.#ask(msg, req, ({ data }) => req.deliver!(data) ? DELIVERED : ownBytes(data));
    // `dst` is borrowed until this returns, so the bytes come in an array of their own.
    if (count <= SMALL_BYTES) return this.#ask(msg, req, (reply) => this.#slab.copy(reply.data));
    return this.#ask(msg, req, (reply) => reply.data, undefined, new Uint8Array(count));
  }

  override write(c: Chan<MntFile>, data: Uint8Array, offset: number, req: Req): Promise<number> {
    const file = c.aux;
    if (data.length > file.iounit) return this.#writeLarge(c, data.slice(), offset, req);
    return this.#ask({ type: m.Twrite, tag: 0, fid: file.live, offset, data }, req, (reply) => reply.count);
  }

  async #readLarge(c: Chan<MntFile>, count: number, offset: number, req: Req): Promise<Uint8Array> {
    const into = new Uint8Array(count), file = c.aux;
    const plain = await this.#isPlain(c, req);
    const span = { ops: this.#ops, fid: file.live, iounit: file.iounit, window: WINDOW_BYTES };
    return into.subarray(0, await readSpan(span, into, offset, plain, req.signal));
  }

  async #writeLarge(c: Chan<MntFile>, data: Uint8Array, offset: number, req: Req): Promise<number> {
    const file = c.aux;
    const plain = await this.#isPlain(c, req);
    const span = { ops: this.#ops, fid: file.live, iounit: file.iounit, window: WINDOW_BYTES };
    return await writeSpan(span, data, offset, plain, req.signal);
  }

  /** Whether pieces of the file may be asked for in any order: it has a length, and is not appended to. */
  async #isPlain(c: Chan<MntFile>, req: Req): Promise<boolean> {
    if (c.aux.plain === undefined) {
      const { length, mode } = await this.stat(c, req);
      c.aux.plain = length > 0 && !(mode & DMAPPEND);
    }
    return c.aux.plain;
  }

  override clunk(c: Chan<MntFile>): void {
    const file = c.aux;
    if (file.fid !== NOFID && !this.client.rpc.failure) this.#ops.discard(file.fid);
    file.fid = NOFID;
  }

  /** Removes the file, and with it goes the fid. One whose removal was refused is found again by its name. */
  override async remove(c: Chan<MntFile>, _req: Req): Promise<void> {
    const file = c.aux, fid = file.live;
    file.fid = NOFID;
    try {
      await this.#ops.remove(fid);
    } catch (thrown) {
      if (c.mode === -1) file.fid = await this.#find(file, c.qid);
      throw thrown;
    }
  }

  /** A fid of the file that was at `file`'s names, if it still is. */
  async #find(file: MntFile, qid: Qid): Promise<number> {
    try {
      const found = await this.#ops.walkAll(await this.#rootFid(file.root), file.path());
      if (found.qid === undefined || found.qid.path === qid.path) return found.fid;
      this.#ops.discard(found.fid);
    } catch {
      // It is not there: the Chan has lost its file, and says so when it is used.
    }
    return NOFID;
  }

  override stat(c: Chan<MntFile>, req: Req): Promise<Dir> {
    const fid = c.aux.live;
    if (!this.client.rpc.dialect.linux) return this.#ask({ type: m.Tstat, tag: 0, fid }, req, (reply) => reply.dir);
    const msg: m.Tgetattr = { type: m.Tgetattr, tag: 0, fid, mask: m.GETATTR_BASIC };
    if (!this.#lossy) return this.#ask(msg, req, (reply) => reply.dir);
    const { name } = c.aux;
    const dir = this.#ask(msg, req, ({ dir }) => completed(dir, name));
    return c.qid.type & QTSYMLINK ? this.#withTarget(dir, c, req) : dir;
  }

  async #withTarget(asked: Promise<Dir>, c: Chan<MntFile>, req: Req): Promise<Dir> {
    const target = this.readlink(c, req), dir = await asked;
    dir.ext = await target;
    return dir;
  }

  override async wstat(c: Chan<MntFile>, w: Wstat, req: Req): Promise<void> {
    if (this.#lossy && w.mode !== undefined) this.#checkMode(w.mode, c.qid.type);
    if (w.name === undefined || !this.#lossy) {
      await this.#ops.wstat(c.aux.live, w, req.signal);
      if (w.name !== undefined) c.aux.rename(w.name);
      return;
    }
    // All or nothing, though it takes two requests: the one that can be undone goes first.
    const { name, ...rest } = w, before = c.aux.name;
    if (name !== before) await this.#renameHere(c.aux, name, req);
    if (Object.keys(rest).length === 0) return;
    try {
      await this.#ops.wstat(c.aux.live, rest, req.signal);
    } catch (thrown) {
      if (name !== before) await this.#renameHere(c.aux, before, req);
      throw thrown;
    }
  }

  /** Gives a file another name in its directory. */
  async #renameHere(file: MntFile, name: string, req: Req): Promise<void> {
    const parent = await this.#ops.walkAll(await this.#rootFid(file.root), file.path().slice(0, -1), req.signal);
    try {
      // 9P2000.L's rename takes the place of a file of that name, wstat's must not.
      const there = await this.#ops.walk(parent.fid, [name], req.signal).catch(absent);
      if (there) {
        this.#ops.discard(there.fid);
        throw new Err("EEXIST");
      }
      await this.#ops.rename(file.live, { fid: parent.fid, name, same: true }, req.signal);
      file.rename(name);
    } finally {
      this.#ops.discard(parent.fid);
    }
  }

  /** 9P2000.L has no words for some of Plan 9's mode bits: what cannot be asked is refused, not forgotten. */
  #checkMode(mode: number, type: number): void {
    const changed = ((mode >>> 24) ^ type) & (QTDIR | QTAPPEND | QTEXCL | QTTMP);
    if (changed & QTDIR) throw new Err("EPERM", "a file stays a file, and a directory a directory");
    if (changed && !this.client.rpc.dialect.full) {
      throw new Err("EOPNOTSUPP", `${this.client.dialect} has no append-only, exclusive or temporary files`);
    }
  }

  override async rename(c: Chan<MntFile>, dir: Chan<MntFile>, name: string, req: Req): Promise<void> {
    const same = c.aux.parentPath() === dir.aux.path().join("/");
    await this.#ops.rename(c.aux.live, { fid: dir.aux.live, name, same }, req.signal);
    c.aux.move(dir.aux, name);
  }

  override link(c: Chan<MntFile>, dir: Chan<MntFile>, name: string, req: Req): Promise<void> {
    return this.#ops.link(c.aux.live, dir.aux.live, name, req.signal);
  }

  override symlink(dir: Chan<MntFile>, name: string, target: string, ngid: number, req: Req): Promise<Qid> {
    this.#ops.gid = ngid;
    return this.#ops.symlink(dir.aux.live, name, target, req.signal);
  }

  override readlink(c: Chan<MntFile>, req: Req): Promise<string> {
    return this.#ops.readlink(c.aux.live, req.signal);
  }

  override mknod(
    dir: Chan<MntFile>,
    name: string,
    perm: number,
    ext: string,
    ngid: number,
    req: Req,
  ): Promise<Qid> {
    this.#ops.gid = ngid;
    return this.#ops.mknod(dir.aux.live, name, perm, ext, req.signal);
  }

  override readdir(c: Chan<MntFile>, cookie: U64, space: number, stats: boolean, req: Req): MaybePromise<Dirent[]> {
    const dir = c.aux.dir ??= new MntDir(this.#ops, c.aux.iounit);
    return dir.read(c.aux.live, cookie, space, stats, req);
  }

  override statfs(c: Chan<MntFile>, req: Req): MaybePromise<Statfs> {
    return this.#linux(() => this.#ops.statfs(c.aux.live, req.signal)) ?? super.statfs(c, req);
  }

  override fsync(c: Chan<MntFile>, dataOnly: boolean, req: Req): Promise<void> {
    return this.#ops.fsync(c.aux.live, dataOnly, req.signal);
  }

  override lock(c: Chan<MntFile>, lock: Flock, req: Req): MaybePromise<number> | undefined {
    return this.#linux(() => this.#ops.lock(c.aux.live, lock, req.signal));
  }

  override getlock(c: Chan<MntFile>, lock: Flock, req: Req): MaybePromise<Flock> | undefined {
    return this.#linux(() => this.#ops.getlock(c.aux.live, lock, req.signal));
  }

  override getxattr(c: Chan<MntFile>, name: string, req: Req): Promise<Uint8Array> {
    return this.#ops.getxattr(c.aux.live, name, req.signal);
  }

  override async listxattr(c: Chan<MntFile>, req: Req): Promise<string[]> {
    const names = new TextDecoder().decode(await this.#ops.getxattr(c.aux.live, "", req.signal));
    return names.split("\0").filter((name) => name !== "");
  }

  override setxattr(c: Chan<MntFile>, name: string, value: Uint8Array | null, flags: number, req: Req): Promise<void> {
    return this.#ops.setxattr(c.aux.live, name, value, flags, req.signal);
  }

  /** What only 9P2000.L can ask. */
  #linux<T>(ask: () => T): T | undefined {
    return this.client.rpc.dialect.linux ? ask() : undefined;
  }

  /** Sends `msg`; answers what `map` makes of the reply, whose bytes are borrowed until it returns. */
  #ask<T extends m.Tmsg, V>(
    msg: T,
    req: Req,
    map: (reply: ReplyTo<T>) => V,
    failed?: (error: Err) => void,
    sink: Uint8Array | null = null,
  ): Promise<V> {
    const { rpc } = this.client;
    return new Promise((resolve, reject) => {
      const call = rpc.send(msg, (error, reply) => {
        if (!error) return resolve(map(reply as ReplyTo<T>));
        failed?.(error);
        reject(error);
      }, sink);
      req.onFlush(() => rpc.flush(call));
    });
  }
}

/** Makes copies that lie side by side in larger arrays: to allocate one each takes longer than to copy. */
class Slab {
  #bytes = new Uint8Array(0);
  #at = 0;

  copy(data: Uint8Array): Uint8Array {
    if (this.#at + data.length > this.#bytes.length) {
      this.#bytes = new Uint8Array(SLAB_BYTES);
      this.#at = 0;
    }
    const part = this.#bytes.subarray(this.#at, this.#at += data.length);
    copyBytes(data, part);
    return part;
  }
}

function opened(c: Chan<MntFile>, qid: Qid, mode: number): Chan<MntFile> {
  c.qid = qid;
  c.mode = mode;
  return c;
}

function absent(thrown: unknown): null {
  if (thrown instanceof Err && thrown.code === "ENOENT") return null;
  throw thrown;
}

function sameUser(a: User, b: User): boolean {
  return a === b || (a.name === b.name && a.uid === b.uid);
}
