/**
 * Attributes of an inode, read and set, and the target of a symlink.
 *
 * Layer: fs/ext2, above file; fs.ts hands them out.
 */

import { Err } from "../../core/err.ts";
import { decodeUtf8 } from "../../core/p9/utf8.ts";
import { mapRun } from "./blockmap.ts";
import { isFastSymlink, stamp, truncate } from "./file.ts";
import { inlineData } from "./inline.ts";
import { ATIME, CTIME, type Inode, MTIME, type Time } from "./inode.ts";
import {
  FAST_SYMLINK_BYTES,
  FL_APPEND,
  FL_IMMUTABLE,
  FL_USER_SETTABLE,
  IN,
  S_IFBLK,
  S_IFCHR,
  S_IFMT,
} from "./layout.ts";
import type { Volume } from "./volume.ts";

/** What stat tells. */
export interface Stat {
  ino: number;
  /** st_mode: type and permissions. */
  mode: number;
  links: number;
  uid: number;
  gid: number;
  /** Bytes. */
  size: number;
  /** Units of 512 bytes in use. */
  blocks: number;
  /** Inode flags (immutable, append only ...), as chattr(1) sets them. */
  flags: number;
  generation: number;
  /** Of a device. */
  major: number;
  minor: number;
  atime: number;
  atimeNsec: number;
  mtime: number;
  mtimeNsec: number;
  ctime: number;
  ctimeNsec: number;
}

/** What `setattr` changes; what is not there stays. */
export interface SetAttr {
  /** Permissions; the type stays. */
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: Time;
  mtime?: Time;
  /** Those of FL_USER_SETTABLE. */
  flags?: number;
}

/** What stat tells of an inode. */
export function statOf(vol: Volume, inode: Inode): Stat {
  const device = deviceOf(inode);
  return {
    ino: inode.ino,
    mode: inode.mode,
    links: inode.links,
    uid: inode.uid,
    gid: inode.gid,
    size: inode.size,
    blocks: sectorsOf(vol, inode),
    flags: inode.flags,
    generation: inode.generation,
    major: device.major,
    minor: device.minor,
    atime: inode.seconds(ATIME),
    atimeNsec: inode.nanoseconds(ATIME),
    mtime: inode.seconds(MTIME),
    mtimeNsec: inode.nanoseconds(MTIME),
    ctime: inode.seconds(CTIME),
    ctimeNsec: inode.nanoseconds(CTIME),
  };
}

/** Throws EPERM when the file's flags forbid the change. */
export function checkSet(inode: Inode, set: SetAttr): void {
  if (inode.flags & FL_IMMUTABLE) throw new Err("EPERM");
  if ((inode.flags & FL_APPEND) && (set.size !== undefined || set.mode !== undefined || set.uid !== undefined)) {
    throw new Err("EPERM");
  }
}

/** Changes all but the size. */
export function setAttributes(vol: Volume, inode: Inode, set: SetAttr): void {
  if (set.mode !== undefined) inode.mode = (inode.mode & S_IFMT) | (set.mode & 0o7777);
  if (set.uid !== undefined) inode.uid = set.uid;
  if (set.gid !== undefined) inode.gid = set.gid;
  if (set.flags !== undefined) inode.flags = (inode.flags & ~FL_USER_SETTABLE) | (set.flags & FL_USER_SETTABLE);
  stamp(vol, inode, false);
  if (set.atime) inode.setTime(ATIME, set.atime.sec, set.atime.nsec);
  if (set.mtime) inode.setTime(MTIME, set.mtime.sec, set.mtime.nsec);
}

/** Sets a regular file's size, as `truncate` of file.ts. */
export function resize(vol: Volume, inode: Inode, size: number): boolean {
  if (inode.isDir) throw new Err("EISDIR");
  if (!inode.isFile || size < 0) throw new Err("EINVAL");
  return truncate(vol, inode, size);
}

/** Units of 512 bytes that the file takes. */
export function sectorsOf(vol: Volume, inode: Inode): number {
  return inode.hasHugeBlocks ? inode.blocks * (vol.blockSize / 512) : inode.blocks;
}

/** Device numbers: the old form in the first word, else the new one in the second. 0 of what is no device. */
export function deviceOf(inode: Inode): { major: number; minor: number } {
  const type = inode.mode & S_IFMT;
  if (type !== S_IFBLK && type !== S_IFCHR) return { major: 0, minor: 0 };
  const old = inode.pointer(0), word = inode.pointer(1);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  return { major: (word >>> 8) & 0xfff, minor: (word & 0xff) | ((word >>> 12) & 0xfff00) };
}

/** A symlink's target: in the inode, inline, or in a block. */
export function targetOf(vol: Volume, inode: Inode): string {
  const size = inode.size;
  if (isFastSymlink(vol, inode)) return decodeUtf8(inode.raw, IN.block, size);
  if (inode.hasInlineData) {
    const data = inlineData(vol, inode);
    return decodeUtf8(data, 0, Math.min(size, data.length));
  }
  if (size === 0 || size > vol.blockSize || (inode.blocks === 0 && size >= FAST_SYMLINK_BYTES)) {
    throw vol.damage(`symlink ${inode.ino}: size ${size}`);
  }
  mapRun(vol, inode, 0, 1);
  if (vol.runBlock === 0) throw vol.damage(`symlink ${inode.ino} has no block`);
  return decodeUtf8(vol.cache.get(vol.runBlock).data, 0, size);
}
