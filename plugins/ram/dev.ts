/**
 * RamDev: a file system in memory, served as a Dev.
 *
 * Layer: plugins/ram, over fs/ram.ts (the structure) and fs/perm.ts (permissions); attributes are changed in
 * `wstat.ts`. Every operation answers at once. A Chan's aux is the `Entry` it came by, so a fid follows a rename, and
 * an unlinked file lives until its last fid is clunked.
 *
 * See ramfs(4) and intro(5) of Plan 9, and path_resolution(7) of Linux.
 */

import type { Clock } from "../../core/clock.ts";
import { Chan, type Create, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { type Code, Err, excerpt } from "../../core/err.ts";
import {
  type Dir,
  type Dirent,
  DMAPPEND,
  DMDEVICE,
  DMDIR,
  DMEXCL,
  DMNAMEDPIPE,
  DMSETGID,
  DMSETUID,
  DMSETVTX,
  DMSOCKET,
  DMSYMLINK,
  DMTMP,
  NONUNAME,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  type Qid,
  type Statfs,
  type U64,
  type Wstat,
} from "../../core/p9/types.ts";
import { createPerm } from "../../core/p9/mode.ts";
import { utf8Length } from "../../core/p9/utf8.ts";
import { isPrivileged } from "../../core/users.ts";
import { checkName } from "../../fs/name.ts";
import { AEXEC, AWRITE, isOwner, openWants, permits, withoutSetid } from "../../fs/perm.ts";
import { type Entry, type Id, type Node, type RamLimits, RamTree } from "../../fs/ram.ts";
import { MAX_SIZE } from "../../fs/ram_data.ts";
import { applyWstat } from "./wstat.ts";
import { getXattr, listXattrs, setXattr } from "./xattr.ts";

/** What a RamDev is made with. */
export interface RamOptions {
  limits: RamLimits;
  /** Permissions of each tree's root. */
  mode: number;
  /** Owner and group number of each tree's root. */
  uid: number;
  gid: number;
  /** How many trees attach may make, by aname; 1 is only the one with the empty aname. */
  trees: number;
}

const SPECIAL = DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET;
const CREATABLE = DMDIR | DMAPPEND | DMEXCL | DMTMP | DMSETUID | DMSETGID | DMSETVTX | 0o777;
/** Clients look a name up before they create it; making an Err costs thirty times as much as the walk. */
const NOT_FOUND = new Err("ENOENT");
const MAX_TARGET = 4096, MAX_NAMES = 1024;
const BLOCK = 4096;
const V9FS_MAGIC = 0x01021997;
/** Bytes of a directory entry on the wire besides its name: of readdir's, and of a stat. */
const DIRENT_BYTES = 24, STAT_BYTES = 61;

/** A tree in memory, or several. */
export class RamDev extends Dev<Entry> {
  override readonly shared = true;
  readonly #trees = new Map<string, RamTree>();
  /** Users seen, by number. */
  readonly #names = new Map<number, string>();
  #lastPath = 0;

  constructor(
    override readonly name: string,
    readonly clock: Clock,
    readonly hostowner: string,
    readonly options: RamOptions,
  ) {
    super();
    this.#trees.set("", this.#makeTree());
    this.#learn(hostowner, options.uid);
  }

  attach(user: User, aname: string): Chan<Entry> {
    const key = aname === "/" ? "" : aname;
    let tree = this.#trees.get(key);
    this.#learn(user.name, user.uid);
    this.#learn(user.name, user.gid);
    if (!tree) {
      if (this.options.trees === 1) throw new Err("ENOENT", `no such tree: ${excerpt(aname)}`);
      if (this.#trees.size >= this.options.trees) throw new Err("ENOSPC", "too many trees");
      this.#trees.set(key, tree = this.#makeTree());
    }
    return this.#chan(tree.root, user);
  }

  walk(c: Chan<Entry>, names: string[], req: Req): Walk<Entry> {
    const qids: Qid[] = [];
    let entry = c.aux;
    for (const name of names) {
      const next = this.#step(entry, name, req.user);
      if (typeof next === "string") {
        if (qids.length === 0) throw next === "ENOENT" ? NOT_FOUND : new Err(next);
        return { qids, chan: null };
      }
      entry = next;
      qids.push(entry.node.qid);
    }
    return { qids, chan: this.#chan(entry, c.user) };
  }

  open(c: Chan<Entry>, mode: number, req: Req): Chan<Entry> {
    const { node } = c.aux;
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    this.#checkOpen(c.aux, mode, req.user);
    if (node.mode & DMEXCL) node.opener = c;
    if (mode & OTRUNC && !(node.mode & DMAPPEND)) this.#truncate(node, 0, req.user);
    c.mode = mode;
    c.qid = node.qid;
    return c;
  }

  read(c: Chan<Entry>, dst: Uint8Array, offset: number): number {
    const { node } = c.aux;
    if (c.mode === -1 || (c.mode & 3) === OWRITE) throw new Err("EBADF", "file not open for reading");
    if (!node.data) throw new Err("EISDIR");
    const count = node.data.read(dst, offset);
    if (count > 0) node.tree.accessed(node);
    return count;
  }

  override write(c: Chan<Entry>, data: Uint8Array, offset: number, req: Req): number {
    const { node } = c.aux;
    const how = c.mode & 3;
    if (c.mode === -1 || (how !== OWRITE && how !== ORDWR)) throw new Err("EBADF", "file not open for writing");
    const at = node.mode & DMAPPEND ? node.size : offset;
    if (at + data.length > MAX_SIZE) throw new Err("EFBIG");
    if (data.length === 0) return 0;
    const count = node.tree.write(node, data, at);
    this.#written(node, req.user);
    return count;
  }

  override readdir(c: Chan<Entry>, cookie: U64, space: number, stats: boolean): Dirent[] {
    const { node } = c.aux;
    if (!node.dir) throw new Err("ENOTDIR");
    const out: Dirent[] = [];
    const overhead = stats ? STAT_BYTES : DIRENT_BYTES;
    let left = space;
    node.dir.list(Number(cookie), (entry) => {
      out.push({ dir: dirOf(entry), next: entry.seq });
      left -= overhead + entry.name.length;
      return left > 0;
    });
    node.tree.accessed(node);
    return out;
  }

  stat(c: Chan<Entry>): Dir {
    return dirOf(c.aux);
  }

  override clunk(c: Chan<Entry>): void {
    const entry = c.aux, { node } = entry;
    if (c.mode !== -1) {
      if (node.opener === c) node.opener = null;
      if (c.mode & ORCLOSE && entry.dir && !node.dir?.size) node.tree.unlink(entry);
    }
    node.tree.release(node);
  }

  override create(c: Chan<Entry>, what: Create, req: Req): Chan<Entry> {
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    if (what.perm & ~CREATABLE) throw new Err("EINVAL", "unknown permission bits");
    if (what.perm & DMDIR && (what.mode & ~ORCLOSE) !== OREAD) throw new Err("EISDIR");
    const entry = this.#make(c.aux.node, what, req.user);
    if (what.perm & DMEXCL) entry.node.opener = c;
    c.aux.node.tree.release(c.aux.node);
    entry.node.tree.hold(entry.node);
    c.aux = entry;
    c.qid = entry.node.qid;
    c.mode = what.mode;
    return c;
  }

  override remove(c: Chan<Entry>, req: Req): void {
    this.#checkUnlink(c.aux, req.user);
    c.aux.node.tree.unlink(c.aux);
  }

  override wstat(c: Chan<Entry>, w: Wstat, req: Req): void {
    applyWstat(this, c, w, req.user);
  }

  override rename(c: Chan<Entry>, dir: Chan<Entry>, name: string, req: Req): void {
    this.moveEntry(c.aux, dir.aux.node, name, req.user, true);
  }

  override link(c: Chan<Entry>, dir: Chan<Entry>, name: string, req: Req): void {
    const { node } = c.aux;
    if (node.dir) throw new Err("EPERM", "no hard links to directories");
    if (node.nlink === 0) throw new Err("ENOENT");
    if (node.tree !== dir.aux.node.tree) throw new Err("EXDEV");
    this.#checkAdd(dir.aux.node, name, req.user);
    node.tree.link(dir.aux.node, name, node);
  }

  override symlink(dir: Chan<Entry>, name: string, target: string, ngid: number, req: Req): Qid {
    if (target === "") throw new Err("ENOENT");
    if (utf8Length(target) >= MAX_TARGET) throw new Err("ENAMETOOLONG");
    if (target.includes("\0")) throw new Err("EINVAL");
    return this.#makeSpecial(dir.aux.node, name, DMSYMLINK | 0o777, target, ngid, req.user).qid;
  }

  override readlink(c: Chan<Entry>): string {
    const { node } = c.aux;
    if (!(node.mode & DMSYMLINK)) throw new Err("EINVAL", "not a symbolic link");
    return node.ext;
  }

  override mknod(dir: Chan<Entry>, name: string, perm: number, ext: string, ngid: number, req: Req): Qid {
    const type = perm & SPECIAL, mode = (type | perm & 0o777) >>> 0;
    if (perm & DMDIR || type & DMSYMLINK || type & (type - 1)) throw new Err("EINVAL");
    const mask = ngid === NONUNAME;
    if (!type) return this.#make(dir.aux.node, { name, perm: perm & CREATABLE, mask, ngid }, req.user).node.qid;
    if (type !== DMDEVICE) return this.#makeSpecial(dir.aux.node, name, mode, "", ngid, req.user).qid;
    if (!this.isPrivileged(req.user)) throw new Err("EPERM");
    const rdev = parseDevice(ext);
    const node = this.#makeSpecial(dir.aux.node, name, mode, ext, ngid, req.user);
    node.rdev = rdev;
    return node.qid;
  }

  override statfs(c: Chan<Entry>): Statfs {
    const { limits, used } = c.aux.node.tree;
    const blocks = Math.ceil((limits.bytes || Number.MAX_SAFE_INTEGER) / BLOCK);
    const files = limits.files || Number.MAX_SAFE_INTEGER;
    const bfree = Math.max(0, blocks - Math.ceil(used.bytes / BLOCK)), ffree = Math.max(0, files - used.files);
    return { type: V9FS_MAGIC, bsize: BLOCK, blocks, bfree, bavail: bfree, files, ffree, fsid: 0, namelen: 255 };
  }

  override getxattr(c: Chan<Entry>, name: string, req: Req): Uint8Array {
    return getXattr(this, c.aux.node, name, req.user);
  }

  override listxattr(c: Chan<Entry>, req: Req): string[] {
    return listXattrs(this, c.aux.node, req.user);
  }

  override setxattr(c: Chan<Entry>, name: string, value: Uint8Array | null, flags: number, req: Req): void {
    setXattr(this, c.aux.node, { name, value, flags }, req.user);
  }

  /** Whether permission checks let `user` pass: number 0, and who runs the system. */
  isPrivileged(user: User): boolean {
    return isPrivileged(user, this.hostowner);
  }

  /** The name and number of a user or group of whom one or both are given; EINVAL for an unknown name. */
  idOf(name: string | undefined, id: number | undefined): Id {
    if (name === undefined) return { name: this.#names.get(id!) ?? String(id), id: id! };
    if (id !== undefined) return { name, id };
    for (const [knownId, knownName] of this.#names) if (knownName === name) return { name, id: knownId };
    if (/^\d{1,9}$/.test(name)) return { name, id: Number(name) };
    throw new Err("EINVAL", `unknown user: "${excerpt(name)}"`);
  }

  /** Whether `user` may do `want` (bits of fs/perm.ts) to the node. */
  may(node: Node, user: User, want: number): boolean {
    if (permits(node, user, want)) return true;
    if (!this.isPrivileged(user)) return false;
    return !(want & AEXEC) || node.dir !== null || (node.mode & 0o111) !== 0;
  }

  /** Moves an entry, with the permissions of rename(2); `over` lets it replace what stands there. */
  moveEntry(entry: Entry, dir: Node | null, name: string, user: User, over: boolean): void {
    checkName(name);
    if (!dir) throw new Err("ENOENT");
    if (!dir.dir) throw new Err("ENOTDIR");
    if (dir.tree !== entry.node.tree) throw new Err("EXDEV");
    const old = dir.dir.get(name);
    if (old && !over && old !== entry) throw new Err("EEXIST");
    this.#checkUnlink(entry, user);
    if (!this.may(dir, user, AWRITE | AEXEC)) throw new Err("EACCES");
    if (old) this.#checkSticky(dir, old.node, user);
    if (entry.node.dir && entry.dir !== dir && !this.may(entry.node, user, AWRITE)) throw new Err("EACCES");
    dir.tree.move(entry, dir, name, old);
  }

  /** Sets the length of a file that `user` may write. */
  setLength(node: Node, length: number, user: User): void {
    this.#truncate(node, length, user);
  }

  #learn(name: string, id: number): void {
    if (id !== NONUNAME && this.#names.size < MAX_NAMES && !this.#names.has(id)) this.#names.set(id, name);
  }

  #makeTree(): RamTree {
    const { limits, mode, uid, gid } = this.options;
    const owner = { name: this.hostowner, id: uid }, group = { name: this.hostowner, id: gid };
    return new RamTree(this.clock, () => ++this.#lastPath, limits, { mode, owner, group });
  }

  #chan(entry: Entry, user: User): Chan<Entry> {
    entry.node.refs++;
    return new Chan<Entry>(this, entry.node.qid, entry, user);
  }

  #step(entry: Entry, name: string, user: User): Entry | Code {
    const { node } = entry;
    if (!node.dir) return "ENOTDIR";
    if (!this.may(node, user, AEXEC)) return "EACCES";
    if (name === "..") return entry.dir?.entry ?? "ENOENT";
    return node.dir.get(name) ?? "ENOENT";
  }

  #checkOpen(entry: Entry, mode: number, user: User): void {
    const { node } = entry;
    if (node.dir && (mode & ~ORCLOSE) !== OREAD) throw new Err("EISDIR");
    if (node.mode & DMSYMLINK) throw new Err("ELOOP");
    if (node.mode & SPECIAL) throw new Err("ENXIO");
    if (!this.may(node, user, openWants(mode))) throw new Err("EACCES");
    if (mode & ORCLOSE) this.#checkUnlink(entry, user);
    if (node.mode & DMEXCL && node.opener) throw new Err("EAGAIN", "exclusive use file already open");
  }

  #make(dir: Node, what: Omit<Create, "mode">, user: User): Entry {
    const { name, perm, mask, ngid } = what;
    this.#checkAdd(dir, name, user);
    let mode = mask ? createPerm(perm, dir.mode) : perm;
    const group = this.#newGroup(dir, ngid, user);
    if (dir.mode & DMSETGID && mode & DMDIR) mode |= DMSETGID;
    else if (mode & DMSETGID && group.id !== user.gid && !this.isPrivileged(user)) mode &= ~DMSETGID;
    const node = dir.tree.makeNode(mode, this.#ownerOf(user), group);
    return dir.tree.link(dir, name, node);
  }

  #makeSpecial(dir: Node, name: string, perm: number, ext: string, ngid: number, user: User): Node {
    this.#checkAdd(dir, name, user);
    const { tree } = dir, mode = ngid === NONUNAME ? createPerm(perm, dir.mode) : perm;
    const group = this.#newGroup(dir, ngid, user);
    const node = tree.makeNode(perm & DMSYMLINK ? perm : mode, this.#ownerOf(user), group);
    tree.hold(node);
    try {
      tree.setExt(node, ext);
      tree.link(dir, name, node);
    } finally {
      tree.release(node);
    }
    return node;
  }

  /** Who owns what `user` makes; a host owner without a number has the root's. */
  #ownerOf(user: User): Id {
    const hasNumber = user.uid !== NONUNAME || user.name !== this.hostowner;
    return { name: user.name, id: hasNumber ? user.uid : this.options.uid };
  }

  /** A new file's group: the directory's where setgid or Plan 9's rule says so, else the one asked for. */
  #newGroup(dir: Node, ngid: number, user: User): Id {
    if (dir.mode & DMSETGID || ngid === NONUNAME) return { name: dir.gid, id: dir.ngid };
    return { name: ngid === user.gid ? user.name : ngid === dir.ngid ? dir.gid : String(ngid), id: ngid };
  }

  #checkAdd(dir: Node, name: string, user: User): void {
    if (!dir.dir) throw new Err("ENOTDIR");
    checkName(name);
    if (dir.dir.get(name)) throw new Err("EEXIST");
    if (!this.may(dir, user, AWRITE | AEXEC)) throw new Err("EACCES");
  }

  #checkUnlink(entry: Entry, user: User): void {
    if (!entry.dir) throw new Err("ENOENT");
    if (entry.dir === entry.node) throw new Err("EBUSY");
    if (!this.may(entry.dir, user, AWRITE | AEXEC)) throw new Err("EACCES");
    this.#checkSticky(entry.dir, entry.node, user);
  }

  #checkSticky(dir: Node, node: Node, user: User): void {
    if (!(dir.mode & DMSETVTX) || isOwner(node, user) || isOwner(dir, user) || this.isPrivileged(user)) return;
    throw new Err("EPERM");
  }

  #truncate(node: Node, length: number, user: User): void {
    node.tree.truncate(node, length);
    this.#written(node, user);
  }

  #written(node: Node, user: User): void {
    node.muid = user.name;
    node.nmuid = user.uid;
    if (node.mode & (DMSETUID | DMSETGID) && !this.isPrivileged(user)) node.mode = withoutSetid(node.mode);
  }
}

/** Everything that stat tells of an entry, keys in `makeDir`'s order so that all Dirs have one shape. */
function dirOf(entry: Entry): Dir {
  const { node } = entry;
  const isLink = (node.mode & DMSYMLINK) !== 0;
  return {
    qid: node.qid,
    name: entry.name,
    mode: node.mode,
    length: isLink ? utf8Length(node.ext) : node.size,
    atime: node.atime,
    atimeNsec: node.atimeNsec,
    mtime: node.mtime,
    mtimeNsec: node.mtimeNsec,
    ctime: node.ctime,
    ctimeNsec: node.ctimeNsec,
    uid: node.uid,
    gid: node.gid,
    muid: node.muid,
    nuid: node.nuid,
    ngid: node.ngid,
    nmuid: node.nmuid,
    ext: node.ext,
    nlink: node.nlink,
    rdev: node.rdev,
    blksize: BLOCK,
    blocks: node.data ? Math.ceil(node.data.allocated / 512) : 0,
  };
}

/** Linux's device number of `b 8 0` or `c 1 3`. */
function parseDevice(ext: string): number {
  const match = /^[bc] (\d{1,4}) (\d{1,7})$/.exec(ext);
  const major = Number(match?.[1]), minor = Number(match?.[2]);
  if (!match || major > 0xfff || minor > 0xfffff) throw new Err("EINVAL", `bad device: "${excerpt(ext)}"`);
  return ((minor & 0xfff00) * 0x1000) + ((major << 8) | (minor & 0xff));
}
