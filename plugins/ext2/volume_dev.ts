/**
 * VolumeDev: one ext2 volume, served as a Dev.
 *
 * Layer: plugins/ext2, over fs/ext2 (the volume), place.ts (where files are), access.ts (who may do what), attr.ts,
 * wstat.ts and xattr.ts. It answers at once wherever the disk does. Permissions are checked inside the operation that they
 * are for, so that nothing comes between. A fid follows a rename, and keeps an unlinked file alive until it is clunked.
 *
 * See intro(5) of Plan 9, path_resolution(7) of Linux.
 */

import type { Clock } from "../../core/clock.ts";
import { Chan, type Create, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err, excerpt } from "../../core/err.ts";
import { LockTable } from "../../core/p9/locks.ts";
import { createPerm, S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFSOCK, unixPermissions } from "../../core/p9/mode.ts";
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
  type Flock,
  makeDir,
  type MaybePromise,
  NONUNAME,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  type Qid,
  QTDIR,
  QTEXCL,
  type Statfs,
  type U64,
  type Wstat,
} from "../../core/p9/types.ts";
import { utf8Length } from "../../core/p9/utf8.ts";
import { then } from "../../core/tree_node.ts";
import { list, lookup } from "../../fs/ext2/dir.ts";
import { readFile } from "../../fs/ext2/file.ts";
import { AT_END, type Entry, type Ext2, type Inode, type Make, type Volume } from "../../fs/ext2/fs.ts";
import { ATIME, CTIME, MTIME } from "../../fs/ext2/inode.ts";
import { FL_APPEND, FL_NOATIME, S_IFDIR, S_IFREG } from "../../fs/ext2/layout.ts";
import { checkName } from "../../fs/name.ts";
import { AEXEC, AWRITE } from "../../fs/perm.ts";
import { checkAdd, checkOpen, checkUnlink, losesSetid, may, withoutSetid } from "./access.ts";
import { dirOf, EXCL_XATTR, flagsOf, isExclusive, qidOf } from "./attr.ts";
import { type Place, Places } from "./place.ts";
import { Users, type Who } from "./users.ts";
import { applyWstat } from "./wstat.ts";
import { getXattr, listXattr, setXattr } from "./xattr.ts";

/** When reading a file sets the time of access: never; when it is older than a change or a day; always. */
export type AtimePolicy = "noatime" | "relatime" | "strictatime";

/** What a VolumeDev is made with. */
export interface VolumeDevOptions {
  clock: Clock;
  hostowner: string;
  /** Which volume of the plugin it is, from 0: goes into its qids. */
  number: number;
  atime: AtimePolicy;
  /** `NAME=NUMBER` words. */
  users: string;
  /** Called after each change. */
  changed(): void;
}

/** What a fid holds. */
export interface File {
  place: Place;
  /** Of an open file: its time of access has been seen to. */
  accessed: boolean;
}

const SPECIAL = DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET;
const CREATABLE = DMDIR | DMAPPEND | DMEXCL | DMTMP | DMSETUID | DMSETGID | DMSETVTX | 0o777;
/** Clients look a name up before they create it; making an Err costs more than the walk. */
const NOT_FOUND = new Err("ENOENT"), NOT_DIR = new Err("ENOTDIR"), NO_ACCESS = new Err("EACCES");
const MAX_TARGET = 4096, DAY_SECONDS = 86_400;
const EXT2_SUPER_MAGIC = 0xef53, S_ISGID = 0o2000;
/** Bytes of a directory entry on the wire besides its name: of readdir's, and of a stat. */
const DIRENT_BYTES = 24, STAT_BYTES = 61;
/** Entries that one look into a directory asks for at the most. */
const PAGE_ENTRIES = 256;

/** A volume as a tree. */
export class VolumeDev extends Dev<File> {
  readonly users: Users;
  readonly places: Places;
  /** Every fid, for who hands the volume over (state.ts). */
  readonly chans = new Set<Chan<File>>();
  /** Who has a file for exclusive use open. */
  readonly openers = new Map<Inode, Chan<File>>();
  /** Byte-range locks, which go with the volume (state.ts). */
  readonly locks = new LockTable();

  private constructor(
    override readonly name: string,
    readonly fs: Ext2,
    root: Inode,
    readonly options: VolumeDevOptions,
  ) {
    super();
    this.users = new Users(options.hostowner, options.users);
    this.places = new Places(fs, root);
  }

  /** Serves an open volume. */
  static make(name: string, fs: Ext2, options: VolumeDevOptions): MaybePromise<VolumeDev> {
    return fs.look((vol) => new VolumeDev(name, fs, vol.inode(fs.root), options));
  }

  attach(user: User, aname: string): Chan<File> {
    if (aname !== "" && aname !== "/") throw new Err("ENOENT", `no such tree: ${excerpt(aname)}`);
    this.users.learn(user);
    this.places.root.refs++;
    return this.chan(this.places.root, user);
  }

  walk(c: Chan<File>, names: string[], req: Req): MaybePromise<Walk<File>> {
    const who = this.users.whoIs(req.user);
    return this.fs.look((vol) => this.#walk(vol, c, names, who));
  }

  open(c: Chan<File>, mode: number, req: Req): MaybePromise<Chan<File>> {
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    const { place } = c.aux, { inode } = place, who = this.users.whoIs(req.user);
    const take = () => void this.openers.set(inode, c);
    /** Whether the file is for one opener; throws what forbids the open. May run more than once. */
    const check = (vol: Volume) => {
      checkOpen(inode, mode, who);
      if (mode & ORCLOSE) this.#checkNamed(place, who);
      if ((mode & 3) === OWRITE || (mode & 3) === ORDWR) this.#checkWritable();
      if (!isExclusive(vol, inode)) return false;
      if (this.openers.has(inode)) throw new Err("EAGAIN", "exclusive use file already open");
      return true;
    };
    const ready = mode & OTRUNC && !(inode.flags & FL_APPEND)
      ? this.fs.setattr(inode.ino, { size: 0 }, (vol) => {
        if (check(vol)) vol.tx.after(take);
        this.#dropSetid(vol, inode, who);
      })
      : this.fs.look((vol) => check(vol) && take());
    return then<unknown, Chan<File>>(ready, () => this.#opened(c, mode));
  }

  read(c: Chan<File>, dst: Uint8Array, offset: number): number | Promise<Uint8Array> {
    if (c.mode === -1 || (c.mode & 3) === OWRITE) throw new Err("EBADF", "file not open for reading");
    const { inode } = c.aux.place;
    if (!inode.isFile) throw new Err(inode.isDir ? "EISDIR" : "EINVAL");
    let into = dst;
    const count = this.fs.look((vol) => readFile(vol, inode, into, offset));
    if (!c.aux.accessed) this.#access(c);
    if (typeof count === "number") return count;
    const own = into = new Uint8Array(dst.length); // `dst` is the caller's again
    return count.then((length) => own.subarray(0, length));
  }

  override write(c: Chan<File>, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    const how = c.mode & 3;
    if (c.mode === -1 || (how !== OWRITE && how !== ORDWR)) throw new Err("EBADF", "file not open for writing");
    if (data.length === 0) return 0;
    const { inode } = c.aux.place, who = this.users.whoIs(req.user);
    const at = inode.flags & FL_APPEND ? AT_END : offset;
    const guard = losesSetid(inode, who) ? (vol: Volume) => this.#dropSetid(vol, inode, who) : undefined;
    return this.done(this.fs.write(inode.ino, data, at, who.uid, guard));
  }

  override readdir(c: Chan<File>, cookie: U64, space: number, stats: boolean): MaybePromise<Dirent[]> {
    const { inode } = c.aux.place;
    if (!inode.isDir) throw new Err("ENOTDIR");
    if (!c.aux.accessed) this.#access(c);
    return this.fs.look((vol) => this.#list(vol, inode, { cookie: Number(cookie), space, stats }));
  }

  stat(c: Chan<File>): MaybePromise<Dir> {
    const { inode, name } = c.aux.place, volume = this.options.number;
    return this.fs.look((vol) => dirOf(vol, { inode, name, volume }, this.users));
  }

  override clunk(c: Chan<File>): MaybePromise<void> {
    const { place } = c.aux, removes = c.mode !== -1 && c.mode & ORCLOSE && place.parent;
    this.chans.delete(c);
    this.locks.release(c);
    if (this.openers.get(place.inode) === c) this.openers.delete(place.inode);
    c.mode = -1;
    if (!removes) return this.places.drop(place);
    try {
      // Nobody can be told that it failed: the file stays, as Plan 9 has it.
      const removed = this.#unlink(place);
      return removed instanceof Promise
        ? removed.catch(() => {}).then(() => this.places.drop(place))
        : this.places.drop(place);
    } catch {
      return this.places.drop(place);
    }
  }

  override create(c: Chan<File>, what: Create, req: Req): MaybePromise<Chan<File>> {
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    if (what.perm & ~CREATABLE) throw new Err("EINVAL", "unknown permission bits");
    if (what.perm & DMDIR && (what.mode & ~ORCLOSE) !== OREAD) throw new Err("EISDIR");
    const { place: dir } = c.aux, { name, perm } = what;
    const made = this.#make(dir, { ...what, kind: perm & DMDIR ? S_IFDIR : S_IFREG }, req.user);
    const entered = then(made, (ino) => this.fs.look((vol) => this.#enterMade(vol, c, { name, ino, mode: what.mode })));
    return then(entered, () => then(this.#mark(c, perm), () => c));
  }

  override remove(c: Chan<File>, req: Req): MaybePromise<void> {
    return this.done(this.#unlink(c.aux.place, this.users.whoIs(req.user)));
  }

  override wstat(c: Chan<File>, w: Wstat, req: Req): MaybePromise<void> {
    return this.done(applyWstat(this, c, w, this.users.whoIs(req.user)));
  }

  override rename(c: Chan<File>, dir: Chan<File>, name: string, req: Req): MaybePromise<void> {
    const who = this.users.whoIs(req.user);
    return this.done(this.move(c.aux.place, { dir: dir.aux.place, name, over: true }, who));
  }

  override link(c: Chan<File>, dir: Chan<File>, name: string, req: Req): MaybePromise<void> {
    const { inode } = c.aux.place, to = dir.aux.place.inode, who = this.users.whoIs(req.user);
    if (inode.isDir) throw new Err("EPERM", "no hard links to directories");
    checkName(name);
    return this.done(this.fs.link(inode.ino, to.ino, name, (vol) => this.#checkNew(vol, to, name, who)));
  }

  override symlink(dir: Chan<File>, name: string, target: string, ngid: number, req: Req): MaybePromise<Qid> {
    if (target === "") throw new Err("ENOENT");
    if (utf8Length(target) >= MAX_TARGET) throw new Err("ENAMETOOLONG");
    if (target.includes("\0")) throw new Err("EINVAL");
    const what = { name, perm: 0o777, mask: false, ngid, kind: S_IFLNK, target };
    return this.#made(this.#make(dir.aux.place, what, req.user));
  }

  override readlink(c: Chan<File>): MaybePromise<string> {
    const { inode } = c.aux.place;
    if (!inode.isSymlink) throw new Err("EINVAL", "not a symbolic link");
    return this.fs.readlink(inode.ino);
  }

  override mknod(
    dir: Chan<File>,
    name: string,
    perm: number,
    ext: string,
    ngid: number,
    req: Req,
  ): MaybePromise<Qid> {
    const type = perm & SPECIAL;
    if (perm & DMDIR || type & DMSYMLINK || type & (type - 1)) throw new Err("EINVAL");
    const what = { name, perm: perm & CREATABLE & ~DMDIR, mask: ngid === NONUNAME, ngid };
    if (!type) return this.#made(this.#make(dir.aux.place, { ...what, kind: S_IFREG }, req.user));
    if (type !== DMDEVICE) {
      const kind = type & DMSOCKET ? S_IFSOCK : S_IFIFO;
      return this.#made(this.#make(dir.aux.place, { ...what, kind }, req.user));
    }
    if (!this.users.whoIs(req.user).isRoot) throw new Err("EPERM");
    return this.#made(this.#make(dir.aux.place, { ...what, ...parseDevice(ext) }, req.user));
  }

  override statfs(): Statfs {
    const { blockSize, blocks, freeBlocks, availableBlocks, inodes, freeInodes } = this.fs.statfs();
    const id = new DataView(this.fs.uuid.buffer);
    return {
      type: EXT2_SUPER_MAGIC,
      bsize: blockSize,
      blocks,
      bfree: freeBlocks,
      bavail: availableBlocks,
      files: inodes,
      ffree: freeInodes,
      fsid: id.getUint32(0, true) + (id.getUint32(4, true) & 0x1fffff) * 2 ** 32,
      namelen: 255,
    };
  }

  /** The volume's order of writing knows no single files: all of it goes to the disk. */
  override fsync(): MaybePromise<void> {
    return this.fs.sync();
  }

  override lock(c: Chan<File>, lock: Flock, req: Req): MaybePromise<number> {
    return this.locks.lock(c, lock, req);
  }

  override getlock(c: Chan<File>, lock: Flock): Flock {
    return this.locks.getlock(c, lock);
  }

  override getxattr(c: Chan<File>, name: string, req: Req): MaybePromise<Uint8Array> {
    return getXattr(this.fs, c.aux.place.inode, name, this.users.whoIs(req.user));
  }

  override listxattr(c: Chan<File>, req: Req): MaybePromise<string[]> {
    return listXattr(this.fs, c.aux.place.inode, this.users.whoIs(req.user));
  }

  override setxattr(
    c: Chan<File>,
    name: string,
    value: Uint8Array | null,
    flags: number,
    req: Req,
  ): MaybePromise<void> {
    const { inode } = c.aux.place;
    return this.done(setXattr(this.fs, inode, { name, value, flags }, this.users.whoIs(req.user)));
  }

  // What the files beside this one need

  /** A fid for a place; the reference is the caller's to give. */
  chan(place: Place, user: User): Chan<File> {
    const c = new Chan<File>(this, qidOf(place.inode, this.options.number), { place, accessed: false }, user);
    this.chans.add(c);
    return c;
  }

  /** The value, with a word to whoever writes changes back once it is there. */
  done<T>(value: MaybePromise<T>): MaybePromise<T> {
    return then(value, (result) => {
      this.options.changed();
      return result;
    });
  }

  /** Moves a name, with the permissions of rename(2). */
  move(
    place: Place,
    to: { dir: Place; name: string; over: boolean },
    who: Who,
    guard?: () => void,
  ): MaybePromise<void> {
    const { inode, name, parent } = place, { dir } = to;
    checkName(to.name);
    if (!parent) throw new Err(place === this.places.root ? "EBUSY" : "ENOENT");
    const what = { dir: parent.inode.ino, name, toDir: dir.inode.ino, toName: to.name, noReplace: !to.over };
    return this.fs.rename(what, (vol) => {
      guard?.();
      this.#checkPlace(place, parent, name);
      const there = dir.inode.isDir ? lookup(vol, dir.inode, to.name) : 0;
      if (there !== 0 && !to.over && there !== inode.ino) throw new Err("EEXIST");
      checkUnlink(parent.inode, inode, who);
      checkAdd(dir.inode, who);
      if (there !== 0 && there !== inode.ino) checkUnlink(dir.inode, vol.inode(there), who);
      if (inode.isDir && parent !== dir && !may(inode, who, AWRITE)) throw new Err("EACCES");
      if (there !== inode.ino) vol.tx.after(() => this.places.move(place, dir, to.name));
    });
  }

  #walk(vol: Volume, c: Chan<File>, names: string[], who: Who): Walk<File> {
    const qids: Qid[] = [], { number } = this.options;
    let at = c.aux.place;
    at.refs++;
    try {
      for (const name of names) {
        const next = this.#step(vol, at, name, who);
        if (next instanceof Err) {
          if (qids.length === 0) throw next;
          this.places.forget(at);
          return { qids, chan: null };
        }
        this.places.forget(at);
        at = next;
        qids.push(qidOf(at.inode, number));
      }
    } catch (thrown) {
      this.places.forget(at);
      throw thrown;
    }
    return { qids, chan: this.chan(at, c.user) };
  }

  /** One name on, with a reference; an error that ends the walk. */
  #step(vol: Volume, at: Place, name: string, who: Who): Place | Err {
    const { inode } = at;
    if (!inode.isDir) return NOT_DIR;
    if (!may(inode, who, AEXEC)) return NO_ACCESS;
    if (name === ".." || name === ".") {
      const to = name === "." || at === this.places.root ? at : at.parent;
      if (!to) return NOT_FOUND;
      to.refs++;
      return to;
    }
    const known = this.places.find(at, name);
    if (known) return known;
    const ino = lookup(vol, inode, name);
    if (ino === 0) return NOT_FOUND;
    const found = vol.inode(ino);
    if (found.links === 0) throw vol.damage(`directory ${inode.ino} names the unused inode ${ino}`);
    return this.places.enter(at, name, found);
  }

  #opened(c: Chan<File>, mode: number): Chan<File> {
    if (mode & OTRUNC) this.options.changed();
    c.mode = mode;
    c.aux.accessed = this.options.atime === "noatime";
    c.qid = qidOf(c.aux.place.inode, this.options.number);
    return c;
  }

  /** Entries from `cookie` on, at least one unless there is none. */
  #list(vol: Volume, dir: Inode, what: { cookie: number; space: number; stats: boolean }): Dirent[] {
    const out: Dirent[] = [], overhead = what.stats ? STAT_BYTES : DIRENT_BYTES;
    let { cookie, space } = what;
    do {
      const max = Math.max(4, Math.min(PAGE_ENTRIES, Math.ceil(space / overhead)));
      const entries = list(vol, dir, cookie, max);
      if (entries.length === 0) break;
      for (const entry of entries) {
        cookie = entry.next;
        if (!isNameable(entry.name)) continue;
        out.push({ dir: this.#entryDir(vol, entry, what.stats), next: cookie });
        space -= overhead + entry.name.length;
        if (space <= 0) break;
      }
    } while (space > 0);
    return out;
  }

  /** What a listing tells of an entry. One whose inode is damaged still has its name. */
  #entryDir(vol: Volume, { name, ino, type }: Entry, stats: boolean): Dir {
    const { number } = this.options;
    try {
      const inode = vol.inode(ino);
      if (stats) return dirOf(vol, { inode, name, volume: number }, this.users);
      const qid = qidOf(inode, number);
      return makeDir({ name, qid, mode: (qid.type << 24) >>> 0 });
    } catch (thrown) {
      if (!(thrown instanceof Err)) throw thrown;
      return makeDir({ name, qid: { type: type === 2 ? QTDIR : 0, vers: 0, path: ino }, mode: type === 2 ? DMDIR : 0 });
    }
  }

  #make(
    dir: Place,
    what: Omit<Create, "mode"> & { kind: number; target?: string; major?: number; minor?: number },
    user: User,
  ): MaybePromise<number> {
    const { name, perm, mask, ngid, kind, target, major, minor } = what, parent = dir.inode;
    const who = this.users.whoIs(user);
    checkName(name);
    if (!parent.isDir) throw new Err("ENOTDIR");
    const gid = parent.mode & S_ISGID || ngid === NONUNAME ? parent.gid : ngid;
    let mode = unixPermissions(mask ? createPerm(perm, parent.mode & 0o777) : perm);
    if (mode & S_ISGID && gid !== who.gid && !who.isRoot && kind !== S_IFDIR) mode &= ~S_ISGID;
    const make: Make = { mode: kind | mode, uid: who.uid, gid, target, major, minor };
    return this.done(this.fs.make(parent.ino, name, make, (vol) => this.#checkNew(vol, parent, name, who)));
  }

  /** The qid of a new file. */
  #made(ino: MaybePromise<number>): MaybePromise<Qid> {
    return then(ino, (number) => this.fs.look((vol) => qidOf(vol.inode(number), this.options.number)));
  }

  /** Turns the fid of a directory into one of the file just made in it, open. */
  #enterMade(vol: Volume, c: Chan<File>, made: { name: string; ino: number; mode: number }): void {
    const dir = c.aux.place, inode = vol.inode(made.ino);
    if (inode.links === 0) throw new Err("ENOENT", "the new file was removed at once");
    const place = this.places.find(dir, made.name) ?? this.places.enter(dir, made.name, inode);
    this.places.forget(dir);
    c.aux = { place, accessed: this.options.atime === "noatime" };
    c.mode = made.mode;
    c.qid = qidOf(inode, this.options.number);
  }

  /** Sets what Plan 9's permissions ask for and make() does not know. */
  #mark(c: Chan<File>, perm: number): MaybePromise<void> {
    if (!(perm & (DMAPPEND | DMTMP | DMEXCL))) return;
    const { inode } = c.aux.place, flags = flagsOf(inode.flags, perm);
    if (perm & DMEXCL) this.openers.set(inode, c);
    const excl = perm & DMEXCL ? this.fs.setxattr(inode.ino, EXCL_XATTR, new Uint8Array([1])) : undefined;
    return then(excl, () =>
      then(this.fs.setattr(inode.ino, { flags }), () => {
        c.qid = qidOf(inode, this.options.number);
        c.qid.type |= (perm >>> 24) & QTEXCL;
      }));
  }

  #unlink(place: Place, who?: Who): MaybePromise<void> {
    const { inode, name, parent } = place;
    if (!parent) throw new Err(place === this.places.root ? "EBUSY" : "ENOENT");
    const guard = (vol: Volume) => {
      this.#checkPlace(place, parent, name);
      if (who) checkUnlink(parent.inode, inode, who);
      vol.tx.after(() => this.places.unname(place));
    };
    return inode.isDir ? this.fs.rmdir(parent.inode.ino, name, guard) : this.fs.unlink(parent.inode.ino, name, guard);
  }

  #checkNew(vol: Volume, dir: Inode, name: string, who: Who): void {
    if (dir.isDir && !may(dir, who, AWRITE | AEXEC) && lookup(vol, dir, name) !== 0) throw new Err("EEXIST");
    checkAdd(dir, who);
  }

  /** Throws unless the place is still where it was when the operation was asked for. */
  #checkPlace(place: Place, parent: Place, name: string): void {
    if (place.parent !== parent || place.name !== name) throw new Err("ENOENT");
  }

  #checkNamed(place: Place, who: Who): void {
    if (!place.parent) throw new Err(place === this.places.root ? "EBUSY" : "ENOENT");
    checkUnlink(place.parent.inode, place.inode, who);
  }

  #checkWritable(): void {
    const why = this.fs.whyReadOnly;
    if (why !== null) throw new Err("EROFS", `read only: ${why}`);
  }

  #dropSetid(vol: Volume, inode: Inode, who: Who): void {
    if (!losesSetid(inode, who)) return;
    vol.touch(inode);
    inode.mode = withoutSetid(inode.mode);
  }

  /** Sees to a file's time of access, once for each open (always with `strictatime`). */
  #access(c: Chan<File>): void {
    const { inode } = c.aux.place, { atime } = this.options;
    if (atime !== "strictatime") c.aux.accessed = true;
    if (atime === "noatime" || inode.flags & FL_NOATIME || this.fs.whyReadOnly !== null || inode.links === 0) return;
    if (atime === "relatime" && !this.#isStale(inode)) return;
    try {
      const noted = this.done(this.fs.accessed(inode.ino));
      // A time of access is not worth an error.
      if (noted instanceof Promise) noted.catch(() => {});
    } catch (thrown) {
      if (!(thrown instanceof Err)) throw thrown;
    }
  }

  #isStale(inode: Inode): boolean {
    const atime = inode.seconds(ATIME) + inode.nanoseconds(ATIME) / 1e9;
    return atime <= inode.seconds(MTIME) + inode.nanoseconds(MTIME) / 1e9 ||
      atime <= inode.seconds(CTIME) + inode.nanoseconds(CTIME) / 1e9 ||
      this.options.clock.now() / 1000 - atime > DAY_SECONDS;
  }
}

/** Whether a name on the disk can be said in 9P; others are no files to anybody. */
function isNameable(name: string): boolean {
  return name !== "." && name !== ".." && !name.includes("/") && !name.includes("\0");
}

/** Kind and numbers of `b 8 0` or `c 1 3`. */
function parseDevice(ext: string): { kind: number; major: number; minor: number } {
  const match = /^([bc]) (\d{1,4}) (\d{1,7})$/.exec(ext);
  const major = Number(match?.[2]), minor = Number(match?.[3]);
  if (!match || major > 0xfff || minor > 0xfffff) throw new Err("EINVAL", `bad device: "${excerpt(ext)}"`);
  return { kind: match[1] === "b" ? S_IFBLK : S_IFCHR, major, minor };
}
