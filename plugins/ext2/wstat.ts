/**
 * wstat on a volume: everything that it names is checked before anything is changed.
 *
 * Layer: plugins/ext2, called by volume_dev.ts. All but the name is one operation of the volume; a new name is another,
 * done first, after all is checked.
 *
 * See stat(5) of Plan 9, chmod(2), chown(2), truncate(2) and utimensat(2) of Linux.
 */

import type { Chan } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { DM_KINDS, plan9Mode, unixPermissions } from "../../core/p9/mode.ts";
import { DMAPPEND, DMEXCL, type MaybePromise, ORDWR, OWRITE, type SetTime, type Wstat } from "../../core/p9/types.ts";
import { then } from "../../core/tree_node.ts";
import type { Inode, SetAttr, Time, Volume } from "../../fs/ext2/fs.ts";
import { FL_APPEND, FL_USER_SETTABLE } from "../../fs/ext2/layout.ts";
import { AWRITE, groupIsVouchedFor, onlyDropsSetid } from "../../fs/perm.ts";
import { may, owns, withoutSetid } from "./access.ts";
import { EXCL_XATTR, flagsOf, isExclusive } from "./attr.ts";
import type { Who } from "./users.ts";
import type { File, VolumeDev } from "./volume_dev.ts";

const S_ISGID = 0o2000;

/** Does what `w` asks, all of it or nothing. */
export function applyWstat(dev: VolumeDev, c: Chan<File>, w: Wstat, who: Who): MaybePromise<void> {
  if (Object.keys(w).length === 0) return dev.fs.sync();
  const { place } = c.aux, { inode } = place;
  const uid = dev.users.idOf(w.uid, w.nuid), gid = dev.users.idOf(w.gid, w.ngid);
  const want = { ...w, newUid: uid === inode.uid ? undefined : uid, newGid: gid === inode.gid ? undefined : gid };
  const check = () => checkAll(c, want, who);
  const renames = w.name !== undefined && w.name !== place.name;
  if (renames && !place.parent) throw new Err(place === dev.places.root ? "EBUSY" : "ENOENT");
  const moved = renames ? dev.move(place, { dir: place.parent!, name: w.name!, over: false }, who, check) : undefined;
  const { name: _, ...rest } = w;
  if (Object.values(rest).every((value) => value === undefined)) return moved;
  return then(moved, () => change(dev, inode, want, { who, check }));
}

/** What is asked, owners as the numbers that differ. */
interface Wanted extends Wstat {
  newUid?: number;
  newGid?: number;
}

function change(dev: VolumeDev, inode: Inode, w: Wanted, how: { who: Who; check: () => void }): MaybePromise<void> {
  const set: SetAttr = {}, { who } = how;
  if (w.newUid !== undefined) set.uid = w.newUid;
  if (w.newGid !== undefined) set.gid = w.newGid;
  if (w.length !== undefined) set.size = w.length;
  set.mode = newMode(inode, w, who);
  if (w.mode !== undefined && flagsOf(inode.flags, w.mode) !== (inode.flags & FL_USER_SETTABLE)) {
    set.flags = flagsOf(inode.flags, w.mode);
  }
  const now = dev.options.clock.now();
  if (w.atime !== undefined) set.atime = timeOf(w.atime, now);
  if (w.mtime !== undefined) set.mtime = timeOf(w.mtime, now);
  for (const key of Object.keys(set) as (keyof SetAttr)[]) if (set[key] === undefined) delete set[key];
  const changed = dev.fs.setattr(inode.ino, set, how.check);
  return w.mode === undefined ? changed : then(changed, () => setExclusive(dev, inode, w.mode!));
}

/** Permissions after the change: those asked for, or what a new owner or a truncation leaves of them. */
function newMode(inode: Inode, w: Wanted, who: Who): number | undefined {
  if (w.mode !== undefined) {
    const bits = unixPermissions(w.mode);
    return inode.gid === who.gid || who.isRoot ? bits : bits & ~S_ISGID;
  }
  const chowned = (w.newUid !== undefined || w.newGid !== undefined) && !inode.isDir;
  const written = w.length !== undefined && !who.isRoot;
  return chowned || written ? withoutSetid(inode.mode) & 0o7777 : undefined;
}

function setExclusive(dev: VolumeDev, inode: Inode, mode: number): MaybePromise<void> {
  const isWanted = (mode & DMEXCL) !== 0 && inode.isFile;
  const is = dev.fs.look((vol: Volume) => isExclusive(vol, inode));
  return then(is, (has) => {
    if (has !== isWanted) return dev.fs.setxattr(inode.ino, EXCL_XATTR, isWanted ? new Uint8Array([1]) : null);
  });
}

function checkAll(c: Chan<File>, w: Wanted, who: Who): void {
  const { inode } = c.aux.place;
  if (w.mode !== undefined) checkMode(c, w.mode, who);
  if (w.newUid !== undefined || w.newGid !== undefined) checkChown(inode, w, who);
  if (w.length !== undefined) checkLength(c, w, who);
  checkTimes(inode, w, who);
}

function checkMode(c: Chan<File>, mode: number, who: Who): void {
  const { inode } = c.aux.place;
  if (!owns(inode, who) && !mayDropSetid(c, mode, who)) throw new Err("EPERM");
  const kind = mode & DM_KINDS;
  if (kind && kind !== (plan9Mode(inode.mode) & DM_KINDS)) {
    throw new Err("EPERM", "wstat cannot change the type of a file");
  }
}

function mayDropSetid(c: Chan<File>, mode: number, who: Who): boolean {
  const { inode } = c.aux.place, before = (plan9Mode(inode.mode) | (c.qid.type << 24)) >>> 0;
  const keepsFlags = flagsOf(inode.flags, mode) === (inode.flags & FL_USER_SETTABLE);
  return keepsFlags && onlyDropsSetid(before, mode) && may(inode, who, AWRITE);
}

function checkChown(inode: Inode, w: Wanted, who: Who): void {
  if (who.isRoot) return;
  const isMember = w.newGid === undefined || w.newGid === who.gid || groupIsVouchedFor(w);
  if (w.newUid !== undefined || !owns(inode, who) || !isMember) throw new Err("EPERM");
}

function checkLength(c: Chan<File>, w: Wanted, who: Who): void {
  const { inode } = c.aux.place, how = c.mode & 3, stays = w.mode === undefined || (w.mode & DMAPPEND) !== 0;
  if (inode.isDir) throw new Err("EISDIR");
  if (!inode.isFile) throw new Err("EINVAL");
  const isWriter = c.mode !== -1 && (how === OWRITE || how === ORDWR);
  if (!isWriter && !may(inode, who, AWRITE)) throw new Err("EACCES");
  if (inode.flags & FL_APPEND && stays && w.length !== inode.size) throw new Err("EPERM", "file is append-only");
}

/** Anybody who may write may set a time to now; only the owner may choose it. */
function checkTimes(inode: Inode, w: Wstat, who: Who): void {
  if ((w.atime === undefined && w.mtime === undefined) || owns(inode, who)) return;
  if (typeof w.atime === "object" || typeof w.mtime === "object") throw new Err("EPERM");
  if (!may(inode, who, AWRITE)) throw new Err("EACCES");
}

function timeOf(time: SetTime, nowMs: number): Time {
  if (time !== "now") return time;
  const sec = Math.floor(nowMs / 1000);
  return { sec, nsec: Math.floor((nowMs - sec * 1000) * 1e6) };
}
