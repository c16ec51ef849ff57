/**
 * Permissions: who may do what to a file. (What bits a new one gets is `createPerm` of core/p9/mode.ts.)
 *
 * Layer: fs, a leaf, pure. Two users are the same when their numbers are, or, where one has none, their names.
 * Nobody is privileged here: whoever serves the tree lets its root pass before it asks.
 *
 * See intro(5) and open(5) of Plan 9, path_resolution(7) and inode(7) of Linux.
 */

import { DMSETGID, DMSETUID, NONUNAME, OEXEC, ORDWR, OTRUNC, OWRITE, type Wstat } from "../core/p9/types.ts";

/** Permission bits, as in the lowest three of a mode. */
export const AREAD = 4, AWRITE = 2, AEXEC = 1;

/** Who asks: name, number and group. */
export interface Who {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** What permissions look at. */
export interface Owned {
  readonly mode: number;
  readonly uid: string;
  readonly nuid: number;
  readonly gid: string;
  readonly ngid: number;
}

/** Whether `who` owns the file. */
export function isOwner(file: Owned, who: Who): boolean {
  return file.nuid === NONUNAME || who.uid === NONUNAME ? file.uid === who.name : file.nuid === who.uid;
}

/** Whether `who` belongs to the file's group. */
export function inGroup(file: Owned, who: Who): boolean {
  return file.ngid === NONUNAME || who.gid === NONUNAME ? file.gid === who.name : file.ngid === who.gid;
}

/**
 * Whether `w` names the new group by its number alone, as 9P2000.L does. All groups of a user are known to the client only;
 * it has looked, as it has for the group of a file that it makes.
 */
export function groupIsVouchedFor(w: Wstat): boolean {
  return w.ngid !== undefined && w.gid === undefined;
}

/** Whether the mode grants every bit of `want` to `who`: as owner, else as group, else as anybody. */
export function permits(file: Owned, who: Who, want: number): boolean {
  const shift = isOwner(file, who) ? 6 : inGroup(file, who) ? 3 : 0;
  return ((file.mode >>> shift) & want) === want;
}

/** The permissions that an open mode asks of the file. */
export function openWants(mode: number): number {
  const how = mode & 3;
  const want = how === OWRITE ? AWRITE : how === ORDWR ? AREAD | AWRITE : how === OEXEC ? AEXEC : AREAD;
  return mode & OTRUNC ? want | AWRITE : want;
}

/**
 * Whether a new mode does no more than take setuid or setgid away, as a write does: who may write may ask for it. Linux's
 * client does, before it writes to a file that it has cached.
 */
export function onlyDropsSetid(before: number, after: number): boolean {
  const gone = (before ^ after) >>> 0;
  return gone !== 0 && (gone & ~(before & (DMSETUID | DMSETGID))) === 0;
}

/** The mode after someone without privilege wrote to the file or its owner changed: no setuid, no effective setgid. */
export function withoutSetid(mode: number): number {
  return (mode & 0o010 ? mode & ~(DMSETUID | DMSETGID) : mode & ~DMSETUID) >>> 0;
}
