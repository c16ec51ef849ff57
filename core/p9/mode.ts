/**
 * Plan 9's mode word and Unix's st_mode, open modes and open(2) flags: each made of the other.
 *
 * Layer: a leaf of core/p9, pure. 9P2000.L speaks Unix's, the file contract Plan 9's with 9P2000.u's bits.
 */

import { L_ACCMODE, L_TRUNC } from "./msg.ts";
import {
  DMDEVICE,
  DMDIR,
  DMNAMEDPIPE,
  DMSETGID,
  DMSETUID,
  DMSETVTX,
  DMSOCKET,
  DMSYMLINK,
  OEXEC,
  OREAD,
  OTRUNC,
} from "./types.ts";

/** The file types of st_mode. */
export const S_IFMT = 0o170000, S_IFSOCK = 0o140000, S_IFLNK = 0o120000, S_IFREG = 0o100000, S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000, S_IFCHR = 0o020000, S_IFIFO = 0o010000;

/** All DM bits that say what kind of file it is. */
export const DM_KINDS = (DMDIR | DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET) >>> 0;

/** st_mode of a mode word; `ext` tells a block device from a character device. */
export function unixMode(mode: number, ext: string): number {
  let kind = S_IFREG;
  if (mode & DMDIR) kind = S_IFDIR;
  else if (mode & DMSYMLINK) kind = S_IFLNK;
  else if (mode & DMDEVICE) kind = ext.startsWith("b") ? S_IFBLK : S_IFCHR;
  else if (mode & DMNAMEDPIPE) kind = S_IFIFO;
  else if (mode & DMSOCKET) kind = S_IFSOCK;
  return kind | unixPermissions(mode);
}

/** The low twelve bits of st_mode. */
export function unixPermissions(mode: number): number {
  let bits = mode & 0o777;
  if (mode & DMSETUID) bits |= 0o4000;
  if (mode & DMSETGID) bits |= 0o2000;
  if (mode & DMSETVTX) bits |= 0o1000;
  return bits;
}

/** The mode word of an st_mode. */
export function plan9Mode(stMode: number): number {
  let mode = stMode & 0o777;
  if (stMode & 0o4000) mode |= DMSETUID;
  if (stMode & 0o2000) mode |= DMSETGID;
  if (stMode & 0o1000) mode |= DMSETVTX;
  switch (stMode & S_IFMT) {
    case S_IFDIR:
      mode |= DMDIR;
      break;
    case S_IFLNK:
      mode |= DMSYMLINK;
      break;
    case S_IFBLK:
    case S_IFCHR:
      mode |= DMDEVICE;
      break;
    case S_IFIFO:
      mode |= DMNAMEDPIPE;
      break;
    case S_IFSOCK:
      mode |= DMSOCKET;
      break;
  }
  return mode >>> 0;
}

/**
 * Plan 9's open mode for open(2) flags. Appending and exclusive creation are the session's affair. The access mode 3,
 * which Linux has no use for, is OEXEC in the dialect that loses nothing (`full`), and reading elsewhere.
 */
export function openModeOf(flags: number, full: boolean): number {
  let mode = flags & L_ACCMODE;
  if (mode === L_ACCMODE) mode = full ? OEXEC : OREAD;
  if (flags & L_TRUNC) mode |= OTRUNC;
  return mode;
}

/** open(2) flags for a Plan 9 open mode. ORCLOSE has none: the client's side sees to it. OEXEC as in `openModeOf`. */
export function openFlagsOf(mode: number, full: boolean): number {
  const access = mode & 3;
  let flags = access === OEXEC && !full ? OREAD : access;
  if (mode & OTRUNC) flags |= L_TRUNC;
  return flags;
}

/** The permissions of a new file in a directory: what create(2) of Plan 9 keeps of those asked for. */
export function createPerm(perm: number, dirMode: number): number {
  const mask = perm & DMDIR ? 0o777 : 0o666;
  return (perm & (~mask | (dirMode & mask))) >>> 0;
}

/** Linux's d_type of a mode word, in Rreaddir. */
export function direntType(mode: number, ext: string): number {
  return unixMode(mode, ext) >>> 12;
}
