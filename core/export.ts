/**
 * Export: a name space as a Dev, which a 9P session serves and a Proc uses.
 *
 * Layer: core, above Pgrp. Each operation goes on to the Dev that has the file: one look at whether that Dev is still
 * there, and a call. What Export adds: unions (listing, creation), mount points in listings, qids that are unique
 * over all Devs, names of mount points, and the refusal of what would cross from one Dev to another.
 *
 * What holds always: an NsChan of one name space may be used with an Export of another (a child's, a copy's): the walk
 * is that of the Export that is asked.
 *
 * See exportfs(4) of Plan 9.
 */

import { type Chan, type Create, Dev, type Req, type User, type Walk } from "./dev.ts";
import { Err, excerpt } from "./err.ts";
import { type Instance, instanceOf, release } from "./instance.ts";
import { Crossing, type Held, MCREATE, type Mount, reach } from "./mount.ts";
import type { Pgrp } from "./ns.ts";
import { quote, splitPath } from "./path.ts";
import type { Dir, Dirent, Flock, MaybePromise, Qid, Statfs, U64, Wstat } from "./p9/types.ts";
import { ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE, QTDIR } from "./p9/types.ts";
import { UnionDir, type UnionMember } from "./union.ts";
import { NsChan } from "./walk.ts";

/** How a name space is served. */
export interface ExportOptions {
  /** What it is called in logs. */
  name?: string;
  /** The directory that is served as `/`; an aname goes on from there. */
  root?: string;
  /** Refuses whatever changes a file. */
  readonly?: boolean;
}

/** A name space as a tree of files. */
export class Export extends Dev<Chan> {
  readonly name: string;
  readonly pgrp: Pgrp;
  readonly #root: string[];
  readonly #readonly: boolean;

  constructor(pgrp: Pgrp, options: ExportOptions = {}) {
    super();
    this.pgrp = pgrp;
    this.name = options.name ?? "export";
    this.#root = splitPath(options.root ?? "/");
    this.#readonly = options.readonly ?? false;
  }

  /** The directory that `aname` names, as a root: `..` does not leave it. */
  override attach(user: User, aname: string, req: Req): MaybePromise<Chan<Chan>> {
    const names = splitPath(aname);
    if (names.includes("..")) throw new Err("EINVAL", `bad attach name: ${quote(excerpt(aname))}`);
    const found = this.pgrp.walk(this, this.pgrp.start(user), [...this.#root, ...names], req);
    return found instanceof Promise ? found.then((found) => this.#asRoot(found, aname)) : this.#asRoot(found, aname);
  }

  override walk(c: NsChan, names: string[], req: Req): MaybePromise<Walk<Chan>> {
    return this.pgrp.walk(this, c, names, req);
  }

  override open(c: NsChan, mode: number, req: Req): MaybePromise<Chan<Chan>> {
    if (c.inst.gone && c.isPlace) return this.#again(c, req).then(() => this.open(c, mode, req));
    const chan = c.live;
    if (this.#readonly && writes(mode)) throw new Err("EROFS");
    const union = (c.qid.type & QTDIR) && c.head && c.head.mounts.length > 1 && (mode & 3) === OREAD;
    if (union) return this.#openUnion(c, mode, req);
    const opened = chan.dev.open(chan, mode, req);
    return opened instanceof Promise ? opened.then((opened) => became(c, opened)) : became(c, opened);
  }

  override read(c: NsChan, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    if (c.inst.gone) throw c.inst.gone;
    return c.aux.dev.read(c.aux, dst, offset, req);
  }

  override write(c: NsChan, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    if (c.inst.gone) throw c.inst.gone;
    return c.aux.dev.write(c.aux, data, offset, req);
  }

  override stat(c: NsChan, req: Req): MaybePromise<Dir> {
    if (c.inst.gone && c.isPlace) return this.#again(c, req).then(() => this.stat(c, req));
    const chan = c.live;
    const dir = chan.dev.stat(chan, req);
    return dir instanceof Promise ? dir.then((dir) => folded(c, dir)) : folded(c, dir);
  }

  override readdir(c: NsChan, cookie: U64, space: number, stats: boolean, req: Req): MaybePromise<Dirent[]> {
    if (c.union) return c.union.read(cookie, space, stats, req);
    const chan = c.live;
    const found = chan.dev.readdir(chan, cookie, space, stats, req);
    return found instanceof Promise
      ? found.then((entries) => this.#entries(entries, c.inst, stats, req))
      : this.#entries(found, c.inst, stats, req);
  }

  override clunk(c: NsChan): MaybePromise<void> {
    if (c.mode !== -1) c.inst.open--;
    c.union?.close();
    c.way.drop();
    if (!c.inst.gone) return c.aux.dev.clunk(c.aux);
  }

  override create(c: NsChan, what: Create, req: Req): MaybePromise<Chan<Chan>> {
    this.#writable();
    if (c.head && c.head.mounts.length > 0) return this.#createIn(c, what, req);
    const chan = c.live;
    const made = chan.dev.create(chan, what, req);
    return made instanceof Promise ? made.then((made) => created(c, made)) : created(c, made);
  }

  override remove(c: NsChan, req: Req): MaybePromise<void> {
    this.#writable();
    return unmountable(c).dev.remove(c.aux, req);
  }

  override wstat(c: NsChan, w: Wstat, req: Req): MaybePromise<void> {
    this.#writable();
    if (w.name !== undefined) unmountable(c);
    const chan = c.live;
    return chan.dev.wstat(chan, w, req);
  }

  override rename(c: NsChan, dir: NsChan, name: string, req: Req): MaybePromise<void> {
    this.#writable();
    const chan = unmountable(c), into = creator(dir);
    return within(chan, into).rename(chan, into, name, req);
  }

  override link(c: NsChan, dir: NsChan, name: string, req: Req): MaybePromise<void> {
    this.#writable();
    const chan = c.live, into = creator(dir);
    return within(chan, into).link(chan, into, name, req);
  }

  override symlink(dir: NsChan, name: string, target: string, ngid: number, req: Req): MaybePromise<Qid> {
    this.#writable();
    const into = creator(dir);
    return foldQid(into.dev.symlink(into, name, target, ngid, req), into);
  }

  override readlink(c: NsChan, req: Req): MaybePromise<string> {
    const chan = c.live;
    return chan.dev.readlink(chan, req);
  }

  override mknod(dir: NsChan, name: string, perm: number, ext: string, ngid: number, req: Req): MaybePromise<Qid> {
    this.#writable();
    const into = creator(dir);
    return foldQid(into.dev.mknod(into, name, perm, ext, ngid, req), into);
  }

  override statfs(c: NsChan, req: Req): MaybePromise<Statfs> {
    const chan = c.live;
    return chan.dev.statfs(chan, req);
  }

  override fsync(c: NsChan, dataOnly: boolean, req: Req): MaybePromise<void> {
    const chan = c.live;
    return chan.dev.fsync(chan, dataOnly, req);
  }

  override lock(c: NsChan, lock: Flock, req: Req): MaybePromise<number> | undefined {
    const chan = c.live;
    return chan.dev.lock(chan, lock, req);
  }

  override getlock(c: NsChan, lock: Flock, req: Req): MaybePromise<Flock> | undefined {
    const chan = c.live;
    return chan.dev.getlock(chan, lock, req);
  }

  override getxattr(c: NsChan, name: string, req: Req): MaybePromise<Uint8Array> {
    const chan = c.live;
    return chan.dev.getxattr(chan, name, req);
  }

  override listxattr(c: NsChan, req: Req): MaybePromise<string[]> {
    const chan = c.live;
    return chan.dev.listxattr(chan, req);
  }

  override setxattr(c: NsChan, name: string, value: Uint8Array | null, flags: number, req: Req): MaybePromise<void> {
    this.#writable();
    const chan = c.live;
    return chan.dev.setxattr(chan, name, value, flags, req);
  }

  #writable(): void {
    if (this.#readonly) throw new Err("EROFS");
  }

  #asRoot(found: Walk<Chan>, aname: string): NsChan {
    const at = found.chan as NsChan | null;
    if (at === null) throw new Err("ENOENT", `no such tree: ${quote(excerpt(aname))}`);
    const way = new Crossing(at.aux, at.head, at.way.mount, null);
    const root = new NsChan(this, at.aux, at.user, way, at.head, "/");
    root.isTop = this.#root.length === 0 && splitPath(aname).length === 0;
    at.way.drop();
    return root;
  }

  /** Finds the place that `c` stands for again, in what has come there since. */
  async #again(c: NsChan, req: Req): Promise<void> {
    const found = (await this.pgrp.walk(this, c, [], req)).chan as NsChan | null;
    if (found === null) throw c.inst.gone ?? new Err("ESTALE");
    c.move(found);
  }

  /** Opens the first member as itself, and readies a listing of all of them. */
  async #openUnion(c: NsChan, mode: number, req: Req): Promise<Chan<Chan>> {
    const chan = c.aux;
    const members: UnionMember[] = [];
    for (const mount of c.head!.mounts.slice()) {
      const member = await memberOf(mount, req);
      if (member) members.push(member);
    }
    const union = new UnionDir(members, (entry, inst, stats, req) => this.#entry(entry, inst, stats, req));
    try {
      became(c, await chan.dev.open(chan, mode, req));
    } catch (thrown) {
      union.close();
      throw thrown;
    }
    c.union = union;
    return c;
  }

  /** Creates in the first member that permits it, unless some member has the name. */
  async #createIn(c: NsChan, what: Create, req: Req): Promise<Chan<Chan>> {
    const mounts = c.head!.mounts.slice();
    const into = creatorOf(mounts);
    await reach(into, req);
    for (const { held } of mounts) {
      if (await exists(held.chan, held.inst, what.name, req)) throw new Err("EEXIST");
    }
    const dir = (await into.held.chan.dev.walk(into.held.chan, [], req)).chan!;
    try {
      return created(c, await dir.dev.create(dir, what, req), dir, into);
    } catch (thrown) {
      release(dir, into.held.inst);
      throw thrown;
    }
  }

  #entries(entries: Dirent[], inst: Instance, stats: boolean, req: Req): MaybePromise<Dirent[]> {
    let waits = false;
    const out = entries.map((entry) => {
      const fixed = this.#entry(entry, inst, stats, req);
      if (fixed instanceof Promise) waits = true;
      return fixed;
    });
    return waits ? Promise.all(out) : out as Dirent[];
  }

  /** An entry as the name space has it: of a mount point, what is mounted there. */
  #entry(entry: Dirent, inst: Instance, stats: boolean, req: Req): MaybePromise<Dirent> {
    const { dir, next } = entry;
    const held = this.pgrp.heads(inst.dev)?.get(dir.qid.path)?.mounts[0].held;
    if (!held || held.inst.gone) return { dir: { ...dir, qid: inst.fold(dir.qid) }, next };
    const shown = (there: Dir) => ({ dir: { ...there, name: dir.name, qid: held.inst.fold(held.chan.qid) }, next });
    if (!stats) return shown(dir);
    // One that cannot be asked is shown as the mount point itself.
    try {
      const there = held.chan.dev.stat(held.chan, req);
      return there instanceof Promise ? there.then(shown, () => shown(dir)) : shown(there);
    } catch {
      return shown(dir);
    }
  }
}

/** Makes `c` the file that its Dev opened or created: perhaps another Chan than before, perhaps of another Dev. */
function became(c: NsChan, chan: Chan, from = c.aux): NsChan {
  if (chan !== from) release(from, instanceOf(from.dev));
  if (from !== c.aux) release(c.aux, c.inst);
  c.aux = chan;
  if (chan.dev !== c.inst.dev) c.inst = instanceOf(chan.dev);
  c.qid = c.inst.fold(chan.qid);
  c.mode = chan.mode;
  c.inst.open++;
  return c;
}

/** Makes `c`, which was a directory, the file that was made in it; `from` is the Chan that was created with. */
function created(c: NsChan, chan: Chan, from = c.aux, mount: Mount | null = null): NsChan {
  c.became(mount);
  return became(c, chan, from);
}

function folded(c: NsChan, dir: Dir): Dir {
  const qid = c.inst.fold(dir.qid);
  return c.label === "" ? { ...dir, qid } : { ...dir, qid, name: c.label };
}

function foldQid(qid: MaybePromise<Qid>, of: Chan): MaybePromise<Qid> {
  const inst = instanceOf(of.dev);
  return qid instanceof Promise ? qid.then((qid) => inst.fold(qid)) : inst.fold(qid);
}

function writes(mode: number): boolean {
  const access = mode & 3;
  return access === OWRITE || access === ORDWR || (mode & (OTRUNC | ORCLOSE)) !== 0;
}

/** The Dev's Chan of a file that may be renamed or removed: not a mount point. */
function unmountable(c: NsChan): Chan {
  if (c.head && c.head.mounts.length > 0) throw new Err("EBUSY", "is a mount point");
  return c.live;
}

/** The member of a union that takes new files. */
function creatorOf(mounts: readonly Mount[]): Mount {
  const mount = mounts.find((mount) => mount.flags & MCREATE);
  if (!mount) throw new Err("EPERM", "mounted directory forbids creation (bind or mount it with -c)");
  return mount;
}

/** A Chan of one's own on a member; null when it cannot be reached: then a listing leaves it out, as in Plan 9. */
async function memberOf(mount: Mount, req: Req): Promise<UnionMember | null> {
  for (;;) {
    let held: Held | undefined;
    try {
      const { chan, inst } = held = await reach(mount, req);
      const found = await chan.dev.walk(chan, [], req);
      return found.chan && { chan: found.chan, inst };
    } catch (thrown) {
      if (req.flushed) throw thrown;
      if (!held?.inst.gone) return null;
      // It went meanwhile: perhaps something comes in its place.
    }
  }
}

/** The Dev's Chan of the directory in which new names of `dir` are made. */
function creator(dir: NsChan): Chan {
  if (!dir.head || dir.head.mounts.length === 0) return dir.live;
  const { chan, inst } = creatorOf(dir.head.mounts).held;
  if (inst.gone) throw inst.gone;
  return chan;
}

/** The Dev that has both. */
function within(a: Chan, b: Chan): Dev {
  if (a.dev !== b.dev) throw new Err("EXDEV");
  return a.dev;
}

async function exists(dir: Chan, inst: Instance, name: string, req: Req): Promise<boolean> {
  if (inst.gone) return false;
  try {
    const found = await dir.dev.walk(dir, [name], req);
    if (found.chan) release(found.chan, inst);
    return found.chan !== null;
  } catch (thrown) {
    if (thrown instanceof Err && (thrown.code === "ENOENT" || thrown.code === "ESTALE")) return false;
    throw thrown;
  }
}
