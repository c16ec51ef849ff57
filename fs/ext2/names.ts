/**
 * The name operations: make, link, unlink, rmdir, rename.
 *
 * Layer: fs/ext2, above dir and file. Each function is one operation, to be run by `Volume.change`.
 *
 * What holds always: permissions are the caller's to check; immutable and append-only flags are looked at here. What the
 * order of writing needs to know (commit.ts) is noted in the batch: who names a new file, who lost or gained a name.
 */

import { Err } from "../../core/err.ts";
import { encodeUtf8, utf8Length } from "../../core/p9/utf8.ts";
import { allocInode, freeInode, inodeInUse } from "./alloc.ts";
import { allocRun } from "./blockmap.ts";
import {
  addEntry,
  blockOfPlace,
  checkName,
  diskBlockAt,
  dropIndex,
  findPlace,
  initDir,
  inoAt,
  isEmpty,
  lookup,
  removeEntry,
  setEntry,
} from "./dir.ts";
import { initExtents } from "./extent_write.ts";
import { releaseStep, stamp, timeNow } from "./file.ts";
import { ATIME, CRTIME, type Inode } from "./inode.ts";
import {
  direntType,
  FAST_SYMLINK_BYTES,
  FL_APPEND,
  FL_DIRSYNC,
  FL_EXTENTS,
  FL_IMMUTABLE,
  FL_INHERITED,
  IN,
  INCOMPAT,
  LINK_MAX,
  ROOT_INO,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  SB,
} from "./layout.ts";
import type { Volume } from "./volume.ts";

/** What a new file is. */
export interface Make {
  /** File type and permissions, as st_mode. */
  mode: number;
  uid: number;
  gid: number;
  /** Of a device. */
  major?: number;
  minor?: number;
  /** Of a symlink. */
  target?: string;
}

const S_ISGID = 0o2000;
const DEFAULT_EXTRA_ISIZE = 32;
/** A path from a directory up to the root is not longer than this. */
const MAX_DEPTH = 65536;

/** Makes a file of any type in `dir`; answers its inode's number. */
export function make(vol: Volume, dir: Inode, name: string, what: Make): number {
  checkAdd(vol, dir, name);
  const isDir = (what.mode & S_IFMT) === S_IFDIR;
  if (isDir) checkLinks(dir);
  const ino = allocInode(vol, dir.ino, isDir);
  const inode = vol.inode(ino);
  if (inode.links !== 0 && inode.mode !== 0) throw vol.damage(`inode ${ino} is in use, but free in the bitmap`);
  vol.touch(inode);
  initInode(vol, inode, dir, what);
  setContent(vol, inode, dir, what);
  vol.batch.parents.set(ino, [dir.ino]);
  vol.tx.undo(() => vol.batch.parents.delete(ino));
  vol.touch(dir);
  addEntry(vol, dir, { name, ino, type: direntType(what.mode) });
  if (isDir) addLinks(dir, 1);
  stamp(vol, dir, true);
  return ino;
}

function initInode(vol: Volume, inode: Inode, dir: Inode, what: Make): void {
  const generation = inode.generation, isDir = (what.mode & S_IFMT) === S_IFDIR;
  inode.raw.fill(0);
  inode.lastBlock = 0;
  inode.readEnd = 0;
  if (inode.raw.length > 128) {
    const want = vol.sb.view.getUint16(SB.wantExtraIsize, true);
    const extra = want >= 4 && want % 4 === 0 && 128 + want <= inode.raw.length ? want : DEFAULT_EXTRA_ISIZE;
    inode.view.setUint16(IN.extraIsize, Math.min(extra, inode.raw.length - 128), true);
  }
  const inherits = (dir.mode & S_ISGID) !== 0;
  inode.mode = what.mode | (inherits && isDir ? S_ISGID : 0);
  inode.uid = what.uid;
  inode.gid = inherits ? dir.gid : what.gid;
  inode.links = isDir ? 2 : 1;
  inode.flags = dir.flags & (isDir ? FL_INHERITED : FL_INHERITED & ~FL_DIRSYNC);
  inode.generation = (generation + 1) >>> 0;
  stamp(vol, inode, true);
  const { sec, nsec } = timeNow(vol);
  inode.setTime(ATIME, sec, nsec);
  inode.setTime(CRTIME, sec, nsec);
}

function setContent(vol: Volume, inode: Inode, dir: Inode, what: Make): void {
  const format = what.mode & S_IFMT, { target = "" } = what;
  const hasBlocks = format === S_IFREG || format === S_IFDIR ||
    (format === S_IFLNK && utf8Length(target) >= FAST_SYMLINK_BYTES);
  if (hasBlocks && (vol.sb.incompat & INCOMPAT.extent)) {
    inode.flags |= FL_EXTENTS;
    initExtents(inode);
  }
  switch (format) {
    case S_IFDIR:
      return initDir(vol, inode, dir.ino);
    case S_IFLNK:
      return setTarget(vol, inode, target);
    case S_IFBLK:
    case S_IFCHR:
      return setDevice(inode, what.major ?? 0, what.minor ?? 0);
  }
}

function setTarget(vol: Volume, inode: Inode, target: string): void {
  const length = utf8Length(target);
  if (length === 0) throw new Err("ENOENT", "empty symlink target");
  if (length >= vol.blockSize) throw new Err("ENAMETOOLONG");
  if (length < FAST_SYMLINK_BYTES) encodeUtf8(target, inode.raw, IN.block);
  else {
    allocRun(vol, inode, 0, 1);
    encodeUtf8(target, vol.fresh(vol.runBlock).data, 0);
  }
  inode.size = length;
}

/** Device numbers: the old form where it does, as Linux writes them. */
function setDevice(inode: Inode, major: number, minor: number): void {
  if (major < 256 && minor < 256) inode.setPointer(0, (major << 8) | minor);
  else inode.setPointer(1, ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0);
}

function checkAdd(vol: Volume, dir: Inode, name: string): void {
  checkDir(dir);
  checkName(name);
  if (dir.flags & FL_IMMUTABLE) throw new Err("EPERM");
  if (name === "." || name === ".." || findPlace(vol, dir, name) >= 0) throw new Err("EEXIST");
}

function checkDir(dir: Inode): void {
  if (!dir.isDir) throw new Err("ENOTDIR");
  if (dir.links === 0) throw new Err("ENOENT");
}

function checkLinks(dir: Inode): void {
  if (dir.links >= LINK_MAX) throw new Err("EMLINK");
}

/** A directory with one link has more subdirectories than could be counted: it keeps that. */
function addLinks(dir: Inode, by: number): void {
  if (dir.links > 1) dir.links = Math.max(2, dir.links + by);
}

function checkRemove(dir: Inode, inode: Inode): void {
  if (dir.flags & (FL_IMMUTABLE | FL_APPEND)) throw new Err("EPERM");
  if (inode.flags & (FL_IMMUTABLE | FL_APPEND)) throw new Err("EPERM");
}

/** The entry of `name` in `dir`: its place and inode. */
function entryOf(vol: Volume, dir: Inode, name: string): { place: number; inode: Inode } {
  checkDir(dir);
  checkName(name);
  const place = findPlace(vol, dir, name);
  if (place < 0) throw new Err("ENOENT");
  return { place, inode: namedInode(vol, dir, place) };
}

function namedInode(vol: Volume, dir: Inode, place: number): Inode {
  const inode = vol.inode(inoAt(vol, dir, place));
  if (inode.links === 0) throw vol.damage(`directory ${dir.ino} names the unused inode ${inode.ino}`);
  return inode;
}

/** A hard link to `inode`. */
export function link(vol: Volume, inode: Inode, dir: Inode, name: string): void {
  if (inode.isDir) throw new Err("EPERM");
  if (inode.links === 0) throw new Err("ENOENT");
  if (inode.flags & (FL_IMMUTABLE | FL_APPEND)) throw new Err("EPERM");
  checkLinks(inode);
  checkAdd(vol, dir, name);
  vol.touch(inode);
  vol.touch(dir);
  inode.links++;
  stamp(vol, inode, false);
  addEntry(vol, dir, { name, ino: inode.ino, type: direntType(inode.mode) });
  stamp(vol, dir, true);
  vol.note(vol.batch.gained, inode.ino);
  addParent(vol, inode.ino, dir.ino);
}

/** Removes a name that is no directory's. Answers the inode, dead or not. */
export function unlink(vol: Volume, dir: Inode, name: string): Inode {
  const { place, inode } = entryOf(vol, dir, name);
  if (inode.isDir) throw new Err("EISDIR");
  checkRemove(dir, inode);
  vol.touch(dir);
  vol.touch(inode);
  removeEntry(vol, dir, name, place);
  stamp(vol, dir, true);
  dropName(vol, inode);
  vol.note(vol.batch.lost, inode.ino);
  removeParent(vol, inode.ino, dir.ino);
  return inode;
}

/** Removes an empty directory. Answers its inode. */
export function rmdir(vol: Volume, dir: Inode, name: string): Inode {
  if (name === ".") throw new Err("EINVAL");
  if (name === "..") throw new Err("ENOTEMPTY");
  const { place, inode } = entryOf(vol, dir, name);
  if (!inode.isDir) throw new Err("ENOTDIR");
  checkRemove(dir, inode);
  if (!isEmpty(vol, inode)) throw new Err("ENOTEMPTY");
  vol.touch(dir);
  vol.touch(inode);
  removeEntry(vol, dir, name, place);
  addLinks(dir, -1);
  stamp(vol, dir, true);
  dropDir(vol, dir, inode);
  return inode;
}

/** A file has one name less; with none it dies. */
function dropName(vol: Volume, inode: Inode): void {
  inode.links--;
  stamp(vol, inode, false);
  if (inode.links === 0) bury(vol, inode);
}

function dropDir(vol: Volume, parent: Inode, inode: Inode): void {
  const { deadDirs } = vol.batch;
  inode.links = 0;
  stamp(vol, inode, false);
  deadDirs.push({ ino: inode.ino, parent: parent.ino });
  vol.tx.undo(() => deadDirs.pop());
  bury(vol, inode);
}

/** A file without a name: it goes when nobody has it open, in this operation if that is short. */
function bury(vol: Volume, inode: Inode): void {
  inode.dtime = Math.max(1, Math.min(0xffffffff, Math.floor(vol.now() / 1000)));
  if (inode.opens === 0) release(vol, inode);
}

/** One step of giving a dead file back; true when it is gone. */
export function release(vol: Volume, inode: Inode): boolean {
  const isDir = inode.isDir;
  if (!inodeInUse(vol, inode.ino) || vol.batch.freedInodes.has(inode.ino)) return true;
  if (!releaseStep(vol, inode)) return false;
  vol.tx.after(() => dropIndex(vol, inode));
  freeInode(vol, inode.ino, isDir);
  return true;
}

function addParent(vol: Volume, ino: number, dir: number): void {
  const parents = vol.batch.parents.get(ino);
  if (!parents) return;
  parents.push(dir);
  vol.tx.undo(() => parents.pop());
}

function removeParent(vol: Volume, ino: number, dir: number): void {
  const parents = vol.batch.parents.get(ino), at = parents ? parents.indexOf(dir) : -1;
  if (!parents || at < 0) return;
  parents.splice(at, 1);
  vol.tx.undo(() => parents.splice(at, 0, dir));
}

/** The two ends of a rename. */
export interface Rename {
  from: Inode;
  name: string;
  to: Inode;
  newName: string;
  /** Fail with EEXIST when the new name exists. */
  noReplace?: boolean;
}

/** What a rename did: the inode that had the new name before, and whether a directory's entry changed its block. */
export interface Renamed {
  replaced: Inode | null;
  movedDir: boolean;
}

/** Moves a name, over what stands there if that may be replaced. */
export function rename(vol: Volume, what: Rename): Renamed {
  const { from, name, to, newName } = what;
  for (const dots of [name, newName]) if (dots === "." || dots === "..") throw new Err("EBUSY");
  const { place, inode } = entryOf(vol, from, name);
  checkRemove(from, inode);
  checkDir(to);
  checkName(newName);
  if (to.flags & FL_IMMUTABLE) throw new Err("EPERM");
  const there = findPlace(vol, to, newName), target = there < 0 ? null : namedInode(vol, to, there);
  if (target && what.noReplace) throw new Err("EEXIST");
  if (target === inode) return { replaced: null, movedDir: false };
  if (inode.isDir && from !== to) checkNotBelow(vol, inode, to);
  if (target) checkReplace(vol, to, inode, target);
  else if (inode.isDir && from !== to) checkLinks(to);
  for (const each of [from, to, inode, target]) if (each) vol.touch(each);
  const oldBlock = diskBlockAt(vol, from, place);
  const newBlock = target ? replaceEntry(vol, what, { place, there }, inode) : moveEntry(vol, what, place, inode);
  if (target) dropTarget(vol, to, target);
  if (inode.isDir && from !== to) setParent(vol, inode, from, to);
  stamp(vol, inode, false);
  for (const dir of [from, to]) stamp(vol, dir, true);
  if (oldBlock !== newBlock) {
    vol.note(vol.batch.lost, inode.ino);
    vol.note(vol.batch.gained, inode.ino);
  }
  addParent(vol, inode.ino, to.ino);
  removeParent(vol, inode.ino, from.ino);
  return { replaced: target, movedDir: inode.isDir && (oldBlock !== newBlock || from !== to) };
}

/** Points the entry at `there` to the inode, and removes the old one. Answers the new entry's disk block. */
function replaceEntry(vol: Volume, what: Rename, at: { place: number; there: number }, inode: Inode): number {
  setEntry(vol, what.to, at.there, inode.ino, direntType(inode.mode));
  removeEntry(vol, what.from, what.name, at.place);
  return diskBlockAt(vol, what.to, at.there);
}

/** Adds the new entry and removes the old one: in one block if both are in one directory and the new one fits. */
function moveEntry(vol: Volume, what: Rename, place: number, inode: Inode): number {
  const { from, to, name, newName } = what, entry = { name: newName, ino: inode.ino, type: direntType(inode.mode) };
  if (from !== to) {
    const added = addEntry(vol, to, entry);
    removeEntry(vol, from, name, place);
    return diskBlockAt(vol, to, added);
  }
  removeEntry(vol, from, name, place);
  return diskBlockAt(vol, to, addEntry(vol, to, { ...entry, near: blockOfPlace(place) }));
}

function checkReplace(vol: Volume, to: Inode, inode: Inode, target: Inode): void {
  if (inode.isDir && !target.isDir) throw new Err("ENOTDIR");
  if (!inode.isDir && target.isDir) throw new Err("EISDIR");
  checkRemove(to, target);
  if (target.isDir && !isEmpty(vol, target)) throw new Err("ENOTEMPTY");
}

function dropTarget(vol: Volume, dir: Inode, target: Inode): void {
  if (target.isDir) {
    addLinks(dir, -1);
    dropDir(vol, dir, target);
    return;
  }
  vol.note(vol.batch.replaced, target.ino);
  removeParent(vol, target.ino, dir.ino);
  dropName(vol, target);
}

/** A directory has a new parent: `..` and the parents' links follow. */
function setParent(vol: Volume, inode: Inode, from: Inode, to: Inode): void {
  const place = findPlace(vol, inode, "..");
  if (place < 0) throw vol.damage(`directory ${inode.ino} has no ".."`);
  setEntry(vol, inode, place, to.ino, direntType(S_IFDIR));
  addLinks(from, -1);
  addLinks(to, 1);
}

/** EINVAL when `dir` is `inode` or lies below it. */
function checkNotBelow(vol: Volume, inode: Inode, dir: Inode): void {
  let at = dir.ino;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    if (at === inode.ino) throw new Err("EINVAL", "a directory cannot move into itself");
    if (at === ROOT_INO) return;
    const up = vol.inode(at);
    if (!up.isDir) break;
    at = lookup(vol, up, "..");
    if (at === 0) break;
  }
  throw vol.damage(`directory ${dir.ino} has no way to the root`);
}
