/**
 * What an inode is in 9P's words: its mode, qid, and stat.
 *
 * Layer: plugins/ext2, over fs/ext2. Plan 9's append-only is the flag of the same name (`chattr +a`), its temporary files
 * are those that are not backed up (`chattr +d`). For exclusive use ext2 has no flag: it is an extended attribute.
 *
 * A qid's path is the inode's number, its generation (so that the next file in that inode is another one), and which
 * volume it is; its version is the count of changes of the content that the inode keeps.
 */

import {
  type Dir,
  DMAPPEND,
  DMEXCL,
  DMSYMLINK,
  DMTMP,
  type Qid,
  QTAPPEND,
  QTDIR,
  QTSYMLINK,
  QTTMP,
} from "../../core/p9/types.ts";
import { plan9Mode, S_IFBLK, S_IFCHR, S_IFLNK, S_IFMT } from "../../core/p9/mode.ts";
import { deviceOf, sectorsOf, targetOf } from "../../fs/ext2/attr.ts";
import type { Inode, Volume } from "../../fs/ext2/fs.ts";
import { ATIME, CTIME, MTIME } from "../../fs/ext2/inode.ts";
import { FL_APPEND, FL_NODUMP, FL_USER_SETTABLE, S_IFDIR } from "../../fs/ext2/layout.ts";
import { listXattrs } from "../../fs/ext2/xattr.ts";
import type { Users } from "./users.ts";

/** The attribute of a file for exclusive use. */
export const EXCL_XATTR = "trusted.9p.excl";

/** Volumes at a time at the most: what a qid's path has room for. */
export const MAX_VOLUMES = 256;
const GENERATIONS = 1 << 13;

/** The qid. Exclusive use is not in it, for that is not in the inode (`modeOf`). */
export function qidOf(inode: Inode, volume: number): Qid {
  const type = inode.mode & S_IFMT, { flags } = inode;
  const bits = (type === S_IFDIR ? QTDIR : type === S_IFLNK ? QTSYMLINK : 0) |
    (flags & FL_APPEND ? QTAPPEND : 0) | (flags & FL_NODUMP ? QTTMP : 0);
  return { type: bits, vers: inode.version, path: pathOf(inode, volume) };
}

/** Tells files apart for good, also those that had one inode after another. */
export function pathOf(inode: Inode, volume: number): number {
  return (volume * GENERATIONS + (inode.generation & (GENERATIONS - 1))) * 2 ** 32 + inode.ino;
}

/** Plan 9's word for the mode. Throws Miss. */
export function modeOf(vol: Volume, inode: Inode): number {
  let mode = plan9Mode(inode.mode);
  if (inode.flags & FL_APPEND) mode |= DMAPPEND;
  if (inode.flags & FL_NODUMP) mode |= DMTMP;
  if (isExclusive(vol, inode)) mode |= DMEXCL;
  return mode >>> 0;
}

/** Whether a file is for one opener at a time. Throws Miss. */
export function isExclusive(vol: Volume, inode: Inode): boolean {
  return inode.isFile && mayHaveXattrs(inode) && listXattrs(vol, inode).includes(EXCL_XATTR);
}

/** False when one look at the inode says that there are none. */
function mayHaveXattrs(inode: Inode): boolean {
  if (inode.fileAcl !== 0) return true;
  const at = 128 + inode.extraIsize;
  return inode.extraIsize > 0 && at + 4 <= inode.raw.length && inode.view.getUint32(at, true) !== 0;
}

/** The inode flags that `mode` asks for: append only, and not to be backed up. */
export function flagsOf(flags: number, mode: number): number {
  const kept = flags & FL_USER_SETTABLE & ~(FL_APPEND | FL_NODUMP);
  return (kept | (mode & DMAPPEND ? FL_APPEND : 0) | (mode & DMTMP ? FL_NODUMP : 0)) >>> 0;
}

/** Everything that stat tells. Throws Miss. */
export function dirOf(vol: Volume, file: { inode: Inode; name: string; volume: number }, users: Users): Dir {
  const { inode, name, volume } = file, mode = modeOf(vol, inode), { uid, gid } = inode;
  const type = inode.mode & S_IFMT, owner = users.nameOf(uid), qid = qidOf(inode, volume);
  const device = type === S_IFBLK || type === S_IFCHR ? deviceOf(inode) : null;
  qid.type |= mode >>> 24;
  return {
    qid,
    name,
    mode,
    length: inode.isFile || inode.isSymlink || inode.isDir ? inode.size : 0,
    atime: inode.seconds(ATIME),
    atimeNsec: inode.nanoseconds(ATIME),
    mtime: inode.seconds(MTIME),
    mtimeNsec: inode.nanoseconds(MTIME),
    ctime: inode.seconds(CTIME),
    ctimeNsec: inode.nanoseconds(CTIME),
    uid: owner,
    gid: users.nameOf(gid),
    muid: owner,
    nuid: uid,
    ngid: gid,
    nmuid: uid,
    ext: device
      ? `${type === S_IFBLK ? "b" : "c"} ${device.major} ${device.minor}`
      : mode & DMSYMLINK
      ? targetOf(vol, inode)
      : "",
    nlink: inode.links,
    rdev: device ? (device.minor & 0xfff00) * 0x1000 + ((device.major << 8) | (device.minor & 0xff)) : 0,
    blksize: vol.blockSize,
    blocks: sectorsOf(vol, inode),
  };
}
