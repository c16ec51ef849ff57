/**
 * Who may do what to a file of a volume: permissions, sticky directories, flags.
 *
 * Layer: plugins/ext2, a leaf over fs/ext2's inodes. Each function throws what the answer is. See path_resolution(7),
 * open(2), unlink(2), chattr(1) of Linux, and open(5) of Plan 9.
 */

import { Err } from "../../core/err.ts";
import { ORDWR, OTRUNC, OWRITE } from "../../core/p9/types.ts";
import type { Inode } from "../../fs/ext2/fs.ts";
import { FL_APPEND, FL_IMMUTABLE } from "../../fs/ext2/layout.ts";
import { AEXEC, AWRITE, openWants } from "../../fs/perm.ts";
import type { Who } from "./users.ts";

const S_ISUID = 0o4000, S_ISGID = 0o2000, S_ISVTX = 0o1000, S_IXGRP = 0o010;

/** Whether the mode lets `who` do `want` (bits of fs/perm.ts). Root needs one execute bit to execute a file. */
export function may(inode: Inode, who: Who, want: number): boolean {
  const { mode } = inode, shift = inode.uid === who.uid ? 6 : inode.gid === who.gid ? 3 : 0;
  if (((mode >>> shift) & want) === want) return true;
  return who.isRoot && (!(want & AEXEC) || inode.isDir || (mode & 0o111) !== 0);
}

export function owns(inode: Inode, who: Who): boolean {
  return inode.uid === who.uid || who.isRoot;
}

/** Throws unless `who` may open the file so. */
export function checkOpen(inode: Inode, mode: number, who: Who): void {
  const how = mode & 3, writes = how === OWRITE || how === ORDWR || (mode & OTRUNC) !== 0;
  if (inode.isDir) { if (writes) throw new Err("EISDIR"); }
  else if (inode.isSymlink) throw new Err("ELOOP");
  else if (!inode.isFile) throw new Err("ENXIO");
  if (!may(inode, who, openWants(mode))) throw new Err("EACCES");
  if (writes && inode.flags & FL_IMMUTABLE) throw new Err("EPERM");
}

/** Throws unless `who` may make or move names in the directory. */
export function checkAdd(dir: Inode, who: Who): void {
  if (!dir.isDir) throw new Err("ENOTDIR");
  if (dir.links === 0) throw new Err("ENOENT");
  if (!may(dir, who, AWRITE | AEXEC)) throw new Err("EACCES");
}

/** Throws unless `who` may take the file's name out of the directory. */
export function checkUnlink(dir: Inode, inode: Inode, who: Who): void {
  if (!may(dir, who, AWRITE | AEXEC)) throw new Err("EACCES");
  const isSticky = (dir.mode & S_ISVTX) !== 0;
  if (isSticky && !owns(inode, who) && !owns(dir, who)) throw new Err("EPERM");
  if ((inode.flags | dir.flags) & (FL_APPEND | FL_IMMUTABLE)) throw new Err("EPERM");
}

/** The mode after someone without privilege wrote to the file, or it changed its owner. */
export function withoutSetid(mode: number): number {
  return mode & S_IXGRP ? mode & ~(S_ISUID | S_ISGID) : mode & ~S_ISUID;
}

/** Whether a write by `who` takes bits away. */
export function losesSetid(inode: Inode, who: Who): boolean {
  return (inode.mode & (S_ISUID | S_ISGID)) !== 0 && !who.isRoot && inode.isFile;
}
