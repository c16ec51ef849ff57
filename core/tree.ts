/**
 * tree(): a Dev from a description, so that a useful plugin is ten lines.
 *
 * Layer: core, the helper layer for plugin authors, on the Dev contract; the kinds of nodes are in tree_*.ts. What
 * holds always: it answers at once wherever the author's functions do; permissions are checked once, at open, walk,
 * create and remove; a file's qid path is a hash of where it stands, so it is the same after a restart.
 * Who owns a file has the owner's, the group's and the others' permissions together, as in Plan 9's file servers; a
 * Unix client's root is taken for the hostowner (users.ts).
 *
 * It does not rename, nor change modes: those are the author's. See intro(5), and lib9p's file trees for its forebear.
 */

import type { Clock } from "./clock.ts";
import { Chan, type Create, Dev, Req, type User, type Walk } from "./dev.ts";
import { type Code, Err, excerpt } from "./err.ts";
import {
  type Dir,
  type Dirent,
  DMDIR,
  DMEXCL,
  makeDir,
  type MaybePromise,
  OEXEC,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  type Qid,
  type U64,
  type Wstat,
} from "./p9/types.ts";
import { isPrivileged } from "./users.ts";
import { CloneFile, isName, nodeOf } from "./tree_dir.ts";
import { type Described, DirNode, FileNode, type Handle, type Node, type Opening, then } from "./tree_node.ts";

/** Where a tree gets its name, its owner and its time: a plugin's `Ctx` has all of it. */
export interface TreeOptions {
  /** What the Dev is called. */
  name?: string;
  /** Who owns what has no owner of its own. */
  hostowner?: string;
  clock?: Clock;
  /** Told of failures that no client can be told of. */
  log?(text: string): void;
}

/**
 * A Dev that serves `root`, which is a directory.
 *
 * @example
 * ```ts
 * import { definePlugin, tree } from "ring9/plugin";
 * export default definePlugin({
 *   start: (ctx) => tree({ hello: "hello, world\n", now: () => ctx.clock.now() }, ctx),
 * });
 * ```
 */
export function tree(root: Described, options: TreeOptions = {}): Tree {
  return new Tree(root, options);
}

const READ = 4, WRITE = 2, EXEC = 1;
/** What each open mode has to be allowed to do. */
const WANTS: Record<number, number> = { [OREAD]: READ, [OWRITE]: WRITE, [ORDWR]: READ | WRITE, [OEXEC]: EXEC };

/** What a Chan of a tree holds. */
export interface TreeFile {
  entry: TreeEntry;
  /** Of an open file. */
  handle: Handle | undefined;
  /** The names of an open directory, as they were when its listing began. */
  names: string[] | undefined;
}

/** A node at its place in the tree. */
export class TreeEntry {
  readonly node: Node;
  readonly name: string;
  /** The root's is itself. */
  readonly parent: TreeEntry;
  /** The qid's. */
  readonly path: number;
  /** Opens under way, for files that only one may have open. */
  opens = 0;
  #children: Map<string, TreeEntry> | undefined;

  constructor(node: Node, name: string, parent: TreeEntry | undefined, salt: number) {
    this.node = node;
    this.name = name;
    this.parent = parent ?? this;
    this.path = parent ? hashPath(parent.path, name, salt) : 1;
  }

  get qid(): Qid {
    return { type: this.node.mode >>> 24, vers: this.node.vers >>> 0, path: this.path };
  }

  /** The entry of that name, or undefined. */
  child(name: string, req: Req): MaybePromise<TreeEntry | undefined> {
    const kept = this.#children?.get(name);
    if (kept) return kept;
    if (!(this.node instanceof DirNode)) throw new Err("ENOTDIR");
    const found = this.node.get(name, req);
    return found instanceof Promise ? found.then((what) => this.#enter(name, what)) : this.#enter(name, found);
  }

  #enter(name: string, what: Described | undefined): TreeEntry | undefined {
    if (what === undefined) return undefined;
    const owner = this.node as DirNode;
    const entry = new TreeEntry(nodeOf(what), name, this, owner.salt(name));
    if (owner.fixed) (this.#children ??= new Map()).set(name, entry);
    return entry;
  }
}

/** The Dev that `tree` makes. */
export class Tree extends Dev<TreeFile> {
  readonly name: string;
  readonly #root: TreeEntry;
  readonly #hostowner: string;
  readonly #now: () => number;
  readonly #log: (text: string) => void;
  readonly #startMs: number;

  constructor(root: Described, options: TreeOptions) {
    super();
    const node = nodeOf(root);
    if (!(node instanceof DirNode)) throw new Err("ENOTDIR", "the root of a tree has to be a directory");
    this.name = options.name ?? "tree";
    this.#root = new TreeEntry(node, "/", undefined, 0);
    this.#hostowner = options.hostowner ?? "ring9";
    this.#now = () => options.clock?.now() ?? 0;
    this.#log = (text) => options.log?.(text);
    this.#startMs = this.#now();
  }

  attach(user: User, aname: string): Chan<TreeFile> {
    if (aname !== "" && aname !== "/") throw new Err("ENOENT", `${this.name} has no tree called "${excerpt(aname)}"`);
    return this.#chan(this.#root, user);
  }

  walk(c: Chan<TreeFile>, names: string[], req: Req): MaybePromise<Walk<TreeFile>> {
    return this.#walkOn(c, names, c.aux.entry, [], req);
  }

  open(c: Chan<TreeFile>, mode: number, req: Req): MaybePromise<Chan<TreeFile>> {
    const entry = c.aux.entry;
    this.#check(entry, req.user, WANTS[mode & 3] | (mode & OTRUNC ? WRITE : 0));
    if (mode & ORCLOSE) this.#check(entry.parent, req.user, WRITE | EXEC);
    if (!(entry.node instanceof CloneFile)) return this.#openEntry(c, entry, mode, req);
    const home = entry.parent;
    return then(
      entry.node.make(req),
      (id) =>
        then(
          home.child(id, req),
          (made) => then(made!.child("ctl", req), (ctl) => this.#openEntry(c, ctl!, mode, req)),
        ),
    );
  }

  read(c: Chan<TreeFile>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    const handle = c.aux.handle;
    if (!handle?.read) throw new Err(c.aux.entry.node instanceof DirNode ? "EISDIR" : "EBADF");
    return handle.read(dst, offset, req);
  }

  override write(c: Chan<TreeFile>, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    const handle = c.aux.handle;
    if (!handle?.write) throw new Err("EBADF");
    return handle.write(data, offset, req);
  }

  override readdir(
    c: Chan<TreeFile>,
    cookie: U64,
    space: number,
    stats: boolean,
    req: Req,
  ): MaybePromise<Dirent[]> {
    const { entry, names } = c.aux;
    if (!(entry.node instanceof DirNode)) throw new Err("ENOTDIR");
    if (names && cookie !== 0) return this.#entries(c, Number(cookie), space, stats, req);
    return then(entry.node.list(req), (listed) => {
      c.aux.names = [...listed];
      return this.#entries(c, Number(cookie), space, stats, req);
    });
  }

  stat(c: Chan<TreeFile>): Dir {
    return this.#dir(c.aux.entry, c.user);
  }

  override clunk(c: Chan<TreeFile>): MaybePromise<void> {
    const { entry, handle } = c.aux;
    if (c.mode === -1) return;
    const mode = c.mode;
    c.mode = -1;
    c.aux.handle = undefined;
    const closed = () => {
      if (entry.node instanceof FileNode) unuse(entry);
      if (mode & ORCLOSE) return this.remove(c, new Req(c.user));
    };
    if (!handle?.close) return closed();
    try {
      const done = handle.close();
      if (done instanceof Promise) return done.finally(closed);
    } catch (thrown) {
      closed();
      throw thrown;
    }
    return closed();
  }

  override create(c: Chan<TreeFile>, what: Create, req: Req): MaybePromise<Chan<TreeFile>> {
    const home = c.aux.entry;
    const owner = home.node;
    if (!(owner instanceof DirNode)) throw new Err("ENOTDIR");
    if (!isName(what.name)) throw new Err("EINVAL", `"${excerpt(what.name)}" cannot be the name of a file`);
    this.#check(home, req.user, WRITE | EXEC);
    return then(home.child(what.name, req), (there) => {
      if (there) throw new Err("EEXIST");
      return then(owner.create(what, req.user, req), () =>
        then(home.child(what.name, req), (made) => {
          if (!made) throw new Err("EIO", `${what.name} was made, but is not there`);
          owner.touch(this.#now());
          return this.#openEntry(c, made, what.perm & DMDIR ? OREAD : what.mode, req);
        }));
    });
  }

  override remove(c: Chan<TreeFile>, req: Req): MaybePromise<void> {
    const entry = c.aux.entry;
    const owner = entry.parent.node as DirNode;
    if (entry === entry.parent) throw new Err("EBUSY");
    this.#check(entry.parent, req.user, WRITE | EXEC);
    return then(owner.remove(entry.name, req), () => owner.touch(this.#now()));
  }

  /** A writable file takes a truncation and new times, as clients ask for on their own, and nothing more. */
  override wstat(c: Chan<TreeFile>, w: Wstat, req: Req): MaybePromise<void> {
    const { entry, handle } = c.aux;
    if (Object.keys(w).length === 0) return handle?.fsync?.(req);
    const { length, atime: _a, mtime, ...rest } = w;
    if (Object.keys(rest).length > 0 || (length !== undefined && length !== 0)) throw new Err("EPERM");
    if (length === 0 && entry.node instanceof DirNode) throw new Err("EISDIR");
    this.#check(entry, req.user, WRITE);
    if (mtime) entry.node.mtimeMs = mtime === "now" ? this.#now() : mtime.sec * 1000 + mtime.nsec / 1e6;
  }

  override fsync(c: Chan<TreeFile>, _dataOnly: boolean, req: Req): MaybePromise<void> {
    return c.aux.handle?.fsync?.(req);
  }

  #chan(entry: TreeEntry, user: User): Chan<TreeFile> {
    return new Chan<TreeFile>(this, entry.qid, { entry, handle: undefined, names: undefined }, user);
  }

  /** Walks on from `at`, as far as it goes; the first name of all that cannot be walked throws. */
  #walkOn(c: Chan<TreeFile>, names: string[], at: TreeEntry, qids: Qid[], req: Req): MaybePromise<Walk<TreeFile>> {
    while (qids.length < names.length) {
      let next: MaybePromise<Step>;
      try {
        next = this.#step(at, names[qids.length], req);
      } catch (thrown) {
        return failed(qids, thrown);
      }
      if (next instanceof Promise) {
        return next.then((step) => {
          if (typeof step === "string") return ended(qids, step);
          qids.push(step.qid);
          return this.#walkOn(c, names, step, qids, req);
        }, (thrown) => failed(qids, thrown));
      }
      if (typeof next === "string") return ended(qids, next);
      qids.push(next.qid);
      at = next;
    }
    return { qids, chan: this.#chan(at, c.user) };
  }

  #step(at: TreeEntry, name: string, req: Req): MaybePromise<Step> {
    if (!(at.node instanceof DirNode)) return "ENOTDIR";
    if (!this.#allows(at, req.user, EXEC)) return "EACCES";
    if (name === "..") return at.parent;
    const next = at.child(name, req);
    return next instanceof Promise ? next.then(orAbsent) : orAbsent(next);
  }

  #openEntry(c: Chan<TreeFile>, entry: TreeEntry, mode: number, req: Req): MaybePromise<Chan<TreeFile>> {
    if (entry.node.mode & DMEXCL && entry.opens > 0) throw new Err("EAGAIN", "exclusive use file already open");
    if (!(entry.node instanceof FileNode)) {
      if ((mode & 3) === OWRITE || (mode & 3) === ORDWR || mode & OTRUNC) throw new Err("EISDIR");
      return this.#opened(c, entry, mode, {});
    }
    use(entry);
    const how: Opening = { mode, req, now: this.#now, log: this.#log };
    try {
      const handle = entry.node.open(how);
      if (!(handle instanceof Promise)) return this.#opened(c, entry, mode, handle);
      return handle.then((made) => this.#opened(c, entry, mode, made), (thrown) => {
        unuse(entry);
        throw thrown;
      });
    } catch (thrown) {
      unuse(entry);
      throw thrown;
    }
  }

  #opened(c: Chan<TreeFile>, entry: TreeEntry, mode: number, handle: Handle): Chan<TreeFile> {
    c.aux.entry = entry;
    c.aux.handle = handle;
    c.qid = entry.qid;
    c.mode = mode;
    return c;
  }

  /** Entries from the one at `from` on; names that have gone since the listing began are left out. */
  #entries(c: Chan<TreeFile>, from: number, space: number, stats: boolean, req: Req): MaybePromise<Dirent[]> {
    const { entry, names } = c.aux;
    let to = from;
    for (let room = space; to < names!.length && (to === from || room > 0); to++) {
      room -= direntBytes(names![to], stats);
    }
    if (from >= to) return [];
    const found = names!.slice(from, to).map((name) => entry.child(name, req));
    const rows = found.some((child) => child instanceof Promise)
      ? Promise.all(found)
      : found as (TreeEntry | undefined)[];
    return then(rows, (children) => {
      const dirents = children.flatMap((child, i) =>
        child ? [{ dir: this.#dir(child, req.user), next: from + i + 1 }] : []
      );
      return dirents.length > 0 ? dirents : this.#entries(c, to, space, stats, req);
    });
  }

  /** What stat tells. The numbers of the asker's own files are the asker's, as names are all that a tree knows. */
  #dir(entry: TreeEntry, asker: User): Dir {
    const node = entry.node;
    const uid = node.uid ?? this.#hostowner, gid = node.gid ?? uid;
    const ms = node.mtimeMs ?? this.#startMs;
    const sec = Math.floor(ms / 1000);
    return makeDir({
      name: entry.name,
      qid: entry.qid,
      mode: node.mode,
      length: node instanceof FileNode ? node.length() : 0,
      mtime: sec,
      mtimeNsec: Math.floor((ms - sec * 1000) * 1e6),
      uid,
      gid,
      nuid: uid === asker.name ? asker.uid : 0,
      ngid: gid === asker.name ? asker.gid : 0,
    });
  }

  #check(entry: TreeEntry, user: User, want: number): void {
    if (!this.#allows(entry, user, want)) throw new Err("EACCES");
  }

  #allows(entry: TreeEntry, user: User, want: number): boolean {
    const { mode, uid = this.#hostowner, gid = uid } = entry.node;
    let bits = mode & 7;
    const name = isPrivileged(user, this.#hostowner) ? this.#hostowner : user.name;
    if (name === uid) bits |= (mode >> 6) & 7;
    if (name === gid) bits |= (mode >> 3) & 7;
    return (bits & want) === want;
  }
}

/** Where a name leads, or why it leads nowhere: a walk ends at each mount point, and an Err costs more than the walk. */
type Step = TreeEntry | Code;

function orAbsent(entry: TreeEntry | undefined): Step {
  return entry ?? "ENOENT";
}

/** How a walk ends that cannot go on: with an error when it is the first name, else short. */
function ended(qids: Qid[], why: Code): Walk<TreeFile> {
  if (qids.length === 0) throw new Err(why);
  return { qids, chan: null };
}

/** The same, of what an author's function has thrown. */
function failed(qids: Qid[], thrown: unknown): Walk<TreeFile> {
  if (qids.length === 0) throw thrown;
  return { qids, chan: null };
}

/** Counts an open in the file and in the directories above it. */
function use(entry: TreeEntry): void {
  for (let at = entry.parent;; at = at.parent) {
    if (at.node.gone) throw new Err("EIDRM");
    if (at === at.parent) break;
  }
  entry.opens++;
  for (let at = entry.parent;; at = at.parent) {
    at.node.use(1);
    if (at === at.parent) break;
  }
}

function unuse(entry: TreeEntry): void {
  entry.opens--;
  for (let at = entry.parent;; at = at.parent) {
    at.node.use(-1);
    if (at === at.parent) break;
  }
}

/** About what an entry takes on the wire: of a listing with names alone (9P2000.L), or with whole stats. */
function direntBytes(name: string, stats: boolean): number {
  return (stats ? 80 : 24) + name.length;
}

/** 53 bits of a file's place, never 0 or 1: two 32-bit multiplicative hashes side by side. */
function hashPath(parent: number, name: string, salt: number): number {
  let a = 0x9e3779b9 ^ parent, b = 0x85ebca6b ^ Math.floor(parent / 0x100000000);
  a = Math.imul(a ^ salt, 0x01000193);
  b = Math.imul(b ^ salt, 0x5bd1e995);
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x5bd1e995);
    b ^= b >>> 15;
  }
  a = Math.imul(a ^ (a >>> 16) ^ b, 0x7feb352d);
  b = Math.imul(b ^ (b >>> 13) ^ a, 0x2c1b3c6d);
  return ((b >>> 11) & 0x1fffff) * 0x100000000 + (a >>> 0) + 2;
}
