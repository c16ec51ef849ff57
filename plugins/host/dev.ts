/**
 * HostDev: a directory of the host as a tree, with no way out of it.
 *
 * Layer: plugins/host, over `node.ts` (which file a fid means) and devices/hostfs.ts (system calls); attributes are
 * changed in `wstat.ts`, links followed in `follow.ts`. Every operation answers at once.
 *
 * What holds always: the host is asked for one name in one open directory and follows no link; what is opened was
 * seen to be a regular file or a directory before, by the same handle. Read-only unless `writable`.
 *
 * See u9fs(4) of Plan 9, openat(2) and symlink(7) of Linux.
 */

import { Chan, type Create, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err, excerpt } from "../../core/err.ts";
import { createPerm, plan9Mode, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, unixPermissions } from "../../core/p9/mode.ts";
import {
  type Dir,
  type Dirent,
  DMDIR,
  DMSETGID,
  DMSETUID,
  DMSETVTX,
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
import { isPrivileged } from "../../core/users.ts";
import {
  HostFs,
  type HostStat,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
} from "../../devices/hostfs.ts";
import { checkName } from "../../fs/name.ts";
import { AEXEC, AWRITE, openWants, permits } from "../../fs/perm.ts";
import { hostDir, HostQids } from "./attr.ts";
import { follow } from "./follow.ts";
import { type HostNode, HostNodes } from "./node.ts";
import { applyWstat } from "./wstat.ts";

/** What a HostDev is made with. */
export interface HostOptions {
  /** The directory of the host that is served. */
  root: string;
  writable: boolean;
  /** Which operations on a symlink act on its target, when that is inside: none; open and walking on; stat too. */
  follow: "never" | "open" | "all";
  /** Open files at the most. */
  maxOpen: number;
}

/** What a Chan of the tree holds. */
export interface HostFile {
  node: HostNode;
  /** Descriptor of an open file, else -1. */
  fd: number;
}

const CREATABLE = DMDIR | DMTMP | DMSETUID | DMSETGID | DMSETVTX | 0o777;
const STICKY = 0o1000;

/** A host directory, served. */
export class HostDev extends Dev<HostFile> {
  readonly fs = new HostFs();
  readonly nodes: HostNodes;
  /** Where the tree is on the host, for absolute links into it. */
  readonly rootPath: string;
  readonly #qids = new HostQids();
  #open = 0;

  constructor(override readonly name: string, readonly hostowner: string, readonly options: HostOptions) {
    super();
    const rootFd = this.fs.openRoot(options.root);
    this.rootPath = this.fs.pathOf(rootFd);
    this.nodes = new HostNodes(this.fs, rootFd);
  }

  /** Lets go of the host's directory; the tree is of no use afterwards. */
  close(): void {
    this.fs.close(this.nodes.rootFd);
  }

  attach(user: User, aname: string): Chan<HostFile> {
    if (aname !== "" && aname !== "/") throw new Err("ENOENT", `no such tree: ${excerpt(aname)}`);
    this.nodes.root.refs++;
    return this.#chan(this.nodes.root, this.fs.stat(this.nodes.rootFd), user);
  }

  walk(c: Chan<HostFile>, names: string[], req: Req): Walk<HostFile> {
    const qids: Qid[] = [];
    let { node } = c.aux, stat: HostStat | undefined;
    node.refs++;
    try {
      for (const name of names) {
        const next = this.#step(node, name, req.user);
        this.nodes.release(node);
        ({ node, stat } = next);
        qids.push(this.#qids.qid(stat));
      }
    } catch (e) {
      this.nodes.release(node);
      if (qids.length === 0 || !(e instanceof Err)) throw e;
      return { qids, chan: null };
    }
    return { qids, chan: stat ? this.#chan(node, stat, c.user) : this.#clone(c, node) };
  }

  open(c: Chan<HostFile>, mode: number, req: Req): Chan<HostFile> {
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    if (mode & (OTRUNC | ORCLOSE) || (mode & 3) === OWRITE || (mode & 3) === ORDWR) this.needWritable();
    if (mode & ORCLOSE) this.#checkUnlink(c.aux.node, req.user);
    this.#admitOpen();
    c.aux.fd = this.#onTarget(c.aux.node, req.user, (handle, stat) => this.#reopen(handle, stat, mode, req.user));
    return this.#opened(c, mode);
  }

  read(c: Chan<HostFile>, dst: Uint8Array, offset: number): number {
    if (c.mode === -1 || (c.mode & 3) === OWRITE) throw new Err("EBADF", "file not open for reading");
    return this.fs.read(c.aux.fd, dst, offset);
  }

  override write(c: Chan<HostFile>, data: Uint8Array, offset: number): number {
    const how = c.mode & 3;
    if (c.mode === -1 || (how !== OWRITE && how !== ORDWR)) throw new Err("EBADF", "file not open for writing");
    return this.fs.write(c.aux.fd, data, offset);
  }

  override readdir(c: Chan<HostFile>, cookie: U64, space: number, stats: boolean): Dirent[] {
    const { fd } = c.aux;
    if (fd < 0) throw new Err("EBADF", "directory not open");
    for (;;) {
      const names = this.fs.list(fd, cookie, space);
      const found = names.flatMap(({ name, next }) => this.#dirent(fd, name, next, stats));
      if (found.length > 0 || names.length === 0) return found;
      cookie = names[names.length - 1].next; // all of them went meanwhile
    }
  }

  stat(c: Chan<HostFile>, req: Req): Dir {
    const { node, fd } = c.aux;
    if (fd >= 0) return this.#dir(node.name, this.fs.stat(fd), "");
    const own = this.nodes.stat(node);
    if (!isLink(own)) return this.#dir(node.name, own, "");
    const tell = (handle: number, stat: HostStat) => this.#dirOf(node.name, handle, stat);
    return this.options.follow === "all" ? this.#onTarget(node, req.user, tell) : this.nodes.with(node, tell);
  }

  override clunk(c: Chan<HostFile>): void {
    const { node, fd } = c.aux;
    if (fd >= 0) {
      this.fs.close(fd);
      this.#open--;
    }
    if (c.mode !== -1 && c.mode & ORCLOSE) this.#tryUnlink(node);
    this.nodes.release(node);
  }

  override create(c: Chan<HostFile>, what: Create, req: Req): Chan<HostFile> {
    const { node } = c.aux, { name, perm, mode } = what;
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    if (perm & ~CREATABLE) throw new Err("EOPNOTSUPP", "the host has no such files");
    if (perm & DMDIR && (mode & ~ORCLOSE) !== OREAD) throw new Err("EISDIR");
    this.#admitOpen();
    const fd = this.#inDir(node, name, req.user, (dir, stat) => this.#make(dir, stat, what, req.user));
    c.aux = { node: this.nodes.enter(node, name, this.fs.stat(fd)), fd };
    this.nodes.release(node);
    return this.#opened(c, mode);
  }

  override remove(c: Chan<HostFile>, req: Req): void {
    this.needWritable();
    this.#checkUnlink(c.aux.node, req.user);
    this.#unlink(c.aux.node);
  }

  override rename(c: Chan<HostFile>, dir: Chan<HostFile>, name: string, req: Req): void {
    this.moveNode(c.aux.node, dir.aux.node, name, req.user, true);
  }

  override wstat(c: Chan<HostFile>, w: Wstat, req: Req): void {
    applyWstat(this, c, w, req.user);
  }

  override symlink(dir: Chan<HostFile>, name: string, target: string, _ngid: number, req: Req): Qid {
    if (target === "") throw new Err("ENOENT");
    return this.#inDir(dir.aux.node, name, req.user, (fd, stat) => {
      this.fs.symlink(target, fd, name);
      const made = this.fs.openAt(fd, name, O_PATH);
      try {
        this.#give(made, stat, req.user, NONUNAME);
        return this.#qids.qid(this.fs.stat(made));
      } finally {
        this.fs.close(made);
      }
    });
  }

  override link(c: Chan<HostFile>, dir: Chan<HostFile>, name: string, req: Req): void {
    const { node } = c.aux;
    this.nodes.withParent(node, (from, stat) => {
      if (!this.may(stat, req.user, AWRITE)) throw new Err("EACCES");
      this.#inDir(
        dir.aux.node,
        name,
        req.user,
        (to) => this.fs.link({ dir: from, name: node.name }, { dir: to, name }),
      );
    });
  }

  override readlink(c: Chan<HostFile>): string {
    return this.nodes.with(c.aux.node, (handle, stat) => {
      if (!isLink(stat)) throw new Err("EINVAL", "not a symbolic link");
      return this.fs.readlink(handle);
    });
  }

  override statfs(): Statfs {
    return this.fs.statfs(this.nodes.rootFd);
  }

  override fsync(c: Chan<HostFile>, dataOnly: boolean): void {
    if (c.aux.fd >= 0) this.fs.sync(c.aux.fd, dataOnly);
  }

  /** Throws EROFS unless the tree may be changed. */
  needWritable(): void {
    if (!this.options.writable) throw new Err("EROFS");
  }

  /** Whether permission checks let `user` pass; what the host then says still holds. */
  isPrivileged(user: User): boolean {
    return isPrivileged(user, this.hostowner);
  }

  /** Whether the host's permissions let `user` do `want` (bits of fs/perm.ts). */
  may(stat: HostStat, user: User, want: number): boolean {
    const { mode, uid, gid } = stat;
    if (permits({ mode, uid: this.owner(uid), gid: this.owner(gid), nuid: uid, ngid: gid }, user, want)) return true;
    return this.isPrivileged(user);
  }

  /** The name of a user number of the host: only its own is told. */
  owner(id: number): string {
    return id === this.fs.uid ? this.hostowner : String(id);
  }

  /** Moves a name, with the permissions of rename(2); `over` lets it replace what stands there. */
  moveNode(node: HostNode, dir: HostNode, name: string, user: User, over: boolean): void {
    this.#checkUnlink(node, user);
    this.#inDir(dir, name, user, (to) =>
      this.nodes.withParent(node, (from, stat) => {
        const old = this.#lookup(to, name);
        if (old && node.is(old)) return;
        if (old) this.#checkSticky(this.fs.stat(to), old, user);
        if (isDir(stat) && node.parent !== dir && !this.may(stat, user, AWRITE)) throw new Err("EACCES");
        this.fs.rename({ dir: from, name: node.name }, { dir: to, name }, over);
        this.nodes.move(node, dir, name);
      }));
  }

  #chan(node: HostNode, stat: HostStat, user: User): Chan<HostFile> {
    return new Chan<HostFile>(this, this.#qids.qid(stat), { node, fd: -1 }, user);
  }

  #clone(c: Chan<HostFile>, node: HostNode): Chan<HostFile> {
    return new Chan<HostFile>(this, c.qid, { node, fd: -1 }, c.user);
  }

  /** One name on; a link in the middle is followed. The node has a reference for the caller. */
  #step(node: HostNode, name: string, user: User): { node: HostNode; stat: HostStat } {
    return this.#onTarget(node, user, (handle, stat, dir) => {
      return name === ".." ? this.#up(dir, stat) : this.child(dir, handle, stat, name, user);
    });
  }

  /** The child of a directory, given its handle and stat. The node has a reference for the caller. */
  child(dir: HostNode, handle: number, own: HostStat, name: string, user: User): { node: HostNode; stat: HostStat } {
    if (!isDir(own)) throw new Err("ENOTDIR");
    if (!this.may(own, user, AEXEC)) throw new Err("EACCES");
    if (name === "" || name === "." || name === ".." || /[/\0]/.test(name)) throw new Err("ENOENT");
    const stat = this.fs.statAt(handle, name);
    return { node: this.nodes.enter(dir, name, stat), stat };
  }

  #up(dir: HostNode, own: HostStat): { node: HostNode; stat: HostStat } {
    if (!isDir(own)) throw new Err("ENOTDIR");
    const node = dir.parent ?? dir, stat = this.nodes.stat(node);
    node.refs++;
    return { node, stat };
  }

  /** Calls `use` on the file that operations on `node` act on: where it leads as a link, or itself. */
  #onTarget<T>(node: HostNode, user: User, use: (handle: number, stat: HostStat, node: HostNode) => T): T {
    if (this.options.follow === "never") return this.nodes.with(node, (handle, stat) => use(handle, stat, node));
    const direct = this.nodes.with(node, (handle, stat) => isLink(stat) ? null : { done: use(handle, stat, node) });
    if (direct) return direct.done;
    const target = follow(this, node, user);
    try {
      return this.nodes.with(target, (handle, stat) => use(handle, stat, target));
    } finally {
      this.nodes.release(target);
    }
  }

  #admitOpen(): void {
    if (this.#open >= this.options.maxOpen) throw new Err("EMFILE");
  }

  #opened(c: Chan<HostFile>, mode: number): Chan<HostFile> {
    this.#open++;
    c.mode = mode;
    c.qid = this.#qids.qid(this.fs.stat(c.aux.fd));
    return c;
  }

  #reopen(handle: number, stat: HostStat, mode: number, user: User): number {
    const kind = stat.mode & S_IFMT;
    if (kind === S_IFLNK) throw new Err("ELOOP");
    if (kind === S_IFDIR && (mode & ~ORCLOSE) !== OREAD) throw new Err("EISDIR");
    if (kind !== S_IFDIR && kind !== S_IFREG) throw new Err("ENXIO");
    if (!this.may(stat, user, openWants(mode))) throw new Err("EACCES");
    return this.fs.reopen(handle, openFlags(mode) | (mode & OTRUNC ? O_TRUNC : 0));
  }

  #dirent(fd: number, name: string, next: U64, stats: boolean): Dirent[] {
    try {
      const stat = this.fs.statAt(fd, name);
      if (!stats || !isLink(stat)) return [{ dir: this.#dir(name, stat, ""), next }];
      const handle = this.fs.openAt(fd, name, O_PATH);
      try {
        return [{ dir: this.#dirOf(name, handle, this.fs.stat(handle)), next }];
      } finally {
        this.fs.close(handle);
      }
    } catch (e) {
      if (e instanceof Err && e.code === "ENOENT") return [];
      throw e;
    }
  }

  #dirOf(name: string, handle: number, stat: HostStat): Dir {
    return this.#dir(name, stat, isLink(stat) ? this.fs.readlink(handle) : "");
  }

  #dir(name: string, stat: HostStat, target: string): Dir {
    return hostDir(name, stat, this.#qids.qid(stat), (id) => this.owner(id), target);
  }

  /** Calls `make` with the handle and stat of a directory in which `user` may make `name`. */
  #inDir<T>(dir: HostNode, name: string, user: User, make: (handle: number, stat: HostStat) => T): T {
    this.needWritable();
    checkName(name);
    return this.nodes.with(dir, (handle, stat) => {
      if (!isDir(stat)) throw new Err("ENOTDIR");
      if (!this.may(stat, user, AWRITE | AEXEC)) throw new Err("EACCES");
      return make(handle, stat);
    });
  }

  /** Makes a file or directory, and opens it. What cannot be finished is taken away again. */
  #make(dir: number, dirStat: HostStat, what: Create, user: User): number {
    const { name, perm, mask, mode, ngid } = what, isDirectory = (perm & DMDIR) !== 0;
    const masked = mask ? createPerm(perm, plan9Mode(dirStat.mode)) : perm;
    const bits = unixPermissions(this.isPrivileged(user) ? masked : masked & ~(DMSETUID | DMSETGID));
    if (isDirectory) this.fs.mkdir(dir, name, 0o700);
    const flags = isDirectory ? O_RDONLY | O_DIRECTORY : O_CREAT | O_EXCL | openFlags(mode);
    const fd = this.fs.openAt(dir, name, flags, 0o600);
    try {
      this.#give(fd, dirStat, user, ngid);
      const inherited = isDirectory ? dirStat.mode & 0o2000 : 0;
      this.fs.chmod(fd, bits | inherited);
      return fd;
    } catch (e) {
      this.fs.close(fd);
      this.fs.unlink(dir, name, isDirectory);
      throw e;
    }
  }

  /** Where the host lets us, a new file belongs to who made it. */
  #give(fd: number, dirStat: HostStat, user: User, ngid: number): void {
    if (this.fs.uid !== 0 || user.uid === NONUNAME) return;
    const gid = dirStat.mode & 0o2000 ? dirStat.gid : ngid !== NONUNAME ? ngid : user.gid;
    this.fs.chown(fd, user.uid, gid);
  }

  #lookup(dir: number, name: string): HostStat | null {
    try {
      return this.fs.statAt(dir, name);
    } catch (e) {
      if (e instanceof Err && e.code === "ENOENT") return null;
      throw e;
    }
  }

  #checkUnlink(node: HostNode, user: User): void {
    this.nodes.withParent(node, (dir, stat) => {
      const dirStat = this.fs.stat(dir);
      if (!this.may(dirStat, user, AWRITE | AEXEC)) throw new Err("EACCES");
      this.#checkSticky(dirStat, stat, user);
    });
  }

  #checkSticky(dir: HostStat, file: HostStat, user: User): void {
    if (!(dir.mode & STICKY) || file.uid === user.uid || dir.uid === user.uid || this.isPrivileged(user)) return;
    throw new Err("EPERM");
  }

  /** Removal at clunk, whose failure nobody is told of: the file may be gone already, or a directory have entries. */
  #tryUnlink(node: HostNode): void {
    try {
      this.#unlink(node);
    } catch (e) {
      if (!(e instanceof Err)) throw e;
    }
  }

  #unlink(node: HostNode): void {
    this.nodes.withParent(node, (dir, stat) => this.fs.unlink(dir, node.name, isDir(stat)));
    this.nodes.drop(node);
  }
}

/** Whether a stat is of a directory. */
export function isDir(stat: HostStat): boolean {
  return (stat.mode & S_IFMT) === S_IFDIR;
}

/** Whether a stat is of a symlink. */
export function isLink(stat: HostStat): boolean {
  return (stat.mode & S_IFMT) === S_IFLNK;
}

function openFlags(mode: number): number {
  const how = mode & 3;
  return how === OWRITE ? O_WRONLY : how === ORDWR ? O_RDWR : O_RDONLY;
}
