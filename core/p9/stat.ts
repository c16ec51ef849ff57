/**
 * Directory entries on the wire: the stat structure of 9P2000 and .u, the attributes of .L, and the entries of both
 * kinds of directory listing.
 *
 * Layer: core/p9, pure; between the cursor and the codec. See stat(5), and diod's protocol.md for .L.
 */

import { Err } from "../err.ts";
import type { Reader, Writer } from "./cursor.ts";
import * as m from "./msg.ts";
import { direntType, plan9Mode, unixMode } from "./mode.ts";
import {
  type Dir,
  type Dirent,
  DMDIR,
  DMSYMLINK,
  makeDir,
  NONUNAME,
  type Qid,
  QTDIR,
  QTSYMLINK,
  type SetTime,
  type U64,
  type Wstat,
} from "./types.ts";
import { utf8Length } from "./utf8.ts";

const MAX_U32 = 0xffffffff;
/** Linux's number for a user that has none: its client refuses to work on files of user 2^32 - 1. */
const NOBODY = 65534;
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** A length as the contract has it: a number; above 2^53 the largest exact one. */
function toLength(value: U64): number {
  return typeof value === "number" ? value : Number.MAX_SAFE_INTEGER;
}

/** Writes a stat structure, its leading size included. Names too long for the message are the caller's to refuse. */
export function putStat(w: Writer, d: Dir, unix: boolean): void {
  const start = w.at;
  w.u16(0);
  w.u16(0); // type and dev are the mounting kernel's
  w.u32(0);
  w.qid(d.qid);
  w.u32(d.mode);
  w.u32(d.atime);
  w.u32(d.mtime);
  w.u64(d.length);
  w.str(d.name);
  w.str(d.uid);
  w.str(d.gid);
  w.str(d.muid);
  if (unix) {
    w.str(d.ext);
    w.u32(d.nuid);
    w.u32(d.ngid);
    w.u32(d.nmuid);
  }
  w.patch16(start, w.at - start - 2);
}

/** Bytes that `putStat` writes. */
export function statSize(d: Dir, unix: boolean): number {
  const fixed = 49 + utf8Length(d.name) + utf8Length(d.uid) + utf8Length(d.gid) + utf8Length(d.muid);
  return unix ? fixed + 14 + utf8Length(d.ext) : fixed;
}

/** Reads a stat structure. "Don't touch" values come as they are: all ones, and empty strings. */
export function getStat(r: Reader, unix: boolean): Dir {
  const size = r.u16();
  const end = r.at + size;
  if (end > r.end) throw new Err("EPROTO", "stat is longer than its message");
  r.u16();
  r.u32();
  const qid = r.qid();
  const mode = r.u32(), atime = r.u32(), mtime = r.u32();
  const length = r.u64();
  const name = r.str(), uid = r.str(), gid = r.str(), muid = r.str();
  const ext = unix ? r.str() : "";
  const nuid = unix ? r.u32() : NONUNAME, ngid = unix ? r.u32() : NONUNAME, nmuid = unix ? r.u32() : NONUNAME;
  if (r.at !== end) throw new Err("EPROTO", "bogus wstat buffer");
  return makeDir({
    qid,
    name,
    mode,
    atime,
    mtime,
    length: length === MAX_U64 ? -1 : toLength(length),
    uid,
    gid,
    muid,
    ext,
    nuid,
    ngid,
    nmuid,
  });
}

/** What a Twstat changes: all that is not a "don't touch" value. */
export function wstatOf(d: Dir): Wstat {
  const w: Wstat = {};
  if (d.name !== "") w.name = d.name;
  if (d.mode !== MAX_U32) w.mode = d.mode;
  if (d.length !== -1) w.length = d.length;
  if (d.atime !== MAX_U32) w.atime = { sec: d.atime, nsec: 0 };
  if (d.mtime !== MAX_U32) w.mtime = { sec: d.mtime, nsec: 0 };
  if (d.uid !== "") w.uid = d.uid;
  if (d.gid !== "") w.gid = d.gid;
  if (d.nuid !== NONUNAME) w.nuid = d.nuid;
  if (d.ngid !== NONUNAME) w.ngid = d.ngid;
  return w;
}

/** What a Tsetattr changes. The kind of file can not, and is told as it is. */
export function setattrOf(msg: m.Tsetattr, qid: Qid): Wstat {
  const w: Wstat = {};
  const { valid } = msg;
  if (valid & m.SETATTR_MODE) w.mode = (plan9Mode(msg.mode & 0o7777) | (qid.type << 24)) >>> 0;
  if (valid & m.SETATTR_UID) w.nuid = msg.uid;
  if (valid & m.SETATTR_GID) w.ngid = msg.gid;
  if (valid & m.SETATTR_SIZE) {
    if (typeof msg.size !== "number") throw new Err("EFBIG");
    w.length = msg.size;
  }
  if (valid & m.SETATTR_ATIME) w.atime = setTime(valid & m.SETATTR_ATIME_SET, msg.atime, msg.atimeNsec);
  if (valid & m.SETATTR_MTIME) w.mtime = setTime(valid & m.SETATTR_MTIME_SET, msg.mtime, msg.mtimeNsec);
  return w;
}

function setTime(given: number, sec: U64, nsec: U64): SetTime {
  if (!given) return "now";
  // Seconds before 1970 come as two's complement.
  return { sec: typeof sec === "number" ? sec : Number(BigInt.asIntN(64, sec)), nsec: Number(nsec) % 1_000_000_000 };
}

/** The Dir of a Twstat that changes what `w` names and leaves the rest. A time "now" is `nowSec`. */
export function wstatDir(w: Wstat, nowSec: number): Dir {
  const at = (t: Wstat["atime"]) => t === undefined ? MAX_U32 : t === "now" ? nowSec : t.sec;
  return {
    ...makeDir({ name: w.name ?? "", mode: w.mode ?? MAX_U32, qid: { type: 0xff, vers: MAX_U32, path: MAX_U64 } }),
    length: w.length ?? -1,
    atime: at(w.atime),
    mtime: at(w.mtime),
    uid: w.uid ?? "",
    gid: w.gid ?? "",
    muid: "",
    nuid: w.nuid ?? NONUNAME,
    ngid: w.ngid ?? NONUNAME,
    nmuid: NONUNAME,
  };
}

/** Writes a Twstat's stat: as `putStat`, with -1 for a length that stays. */
export function putWstat(w: Writer, d: Dir, unix: boolean): void {
  const start = w.at;
  putStat(w, d.length < 0 ? { ...d, length: 0 } : d, unix);
  if (d.length >= 0) return;
  w.patch32(start + 33, MAX_U32);
  w.patch32(start + 37, MAX_U32);
}

/** Writes the attributes of Rgetattr, after `valid`; in `full` with what Plan 9's stat has besides. */
export function putAttr(w: Writer, d: Dir, full: boolean): void {
  w.qid(d.qid);
  w.u32(unixMode(d.mode, d.ext));
  w.u32(d.nuid === NONUNAME && !full ? NOBODY : d.nuid);
  w.u32(d.ngid === NONUNAME && !full ? NOBODY : d.ngid);
  w.u64(d.nlink);
  w.u64(d.rdev);
  w.u64(d.length);
  w.u64(d.blksize);
  w.u64(d.blocks);
  w.u64(d.atime);
  w.u64(d.atimeNsec);
  w.u64(d.mtime);
  w.u64(d.mtimeNsec);
  w.u64(d.ctime);
  w.u64(d.ctimeNsec);
  for (let i = 0; i < 8; i++) w.u32(0); // btime, gen and data_version are not given
  if (!full) return;
  w.u32(d.mode);
  w.u32(d.nmuid);
  w.str(d.name);
  w.str(d.uid);
  w.str(d.gid);
  w.str(d.muid);
  w.str(d.ext);
}

/** Reads the attributes of Rgetattr, after `valid`. Without `full` they have no names: these are empty. */
export function getAttr(r: Reader, full: boolean): Dir {
  const qid = r.qid();
  const stMode = r.u32(), nuid = r.u32(), ngid = r.u32();
  const [nlink, rdev, length, blksize, blocks] = [r.u64(), r.u64(), r.u64(), r.u64(), r.u64()].map(toLength);
  const [atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec] = [r.u64(), r.u64(), r.u64(), r.u64(), r.u64(), r.u64()]
    .map(toLength);
  r.data(32);
  const mode = plan9Mode(stMode);
  const ext = (stMode & 0o170000) === 0o060000
    ? `b ${deviceNumbers(rdev)}`
    : (stMode & 0o170000) === 0o020000
    ? `c ${deviceNumbers(rdev)}`
    : "";
  const times = { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec };
  const attr = { qid, nlink, rdev, length, blksize, blocks, nuid, ngid, ...times };
  if (!full) return makeDir({ ...attr, mode, ext, name: "", uid: "", gid: "", muid: "" });
  const word = r.u32(), nmuid = r.u32(), name = r.str(), uid = r.str(), gid = r.str(), muid = r.str();
  return makeDir({ ...attr, mode: word, nmuid, name, uid, gid, muid, ext: r.str() });
}

/** Writes an entry of Rreaddir. */
export function putDirent(w: Writer, e: Dirent): void {
  w.qid(e.dir.qid);
  w.u64(e.next);
  w.u8(direntType(e.dir.mode, e.dir.ext));
  w.str(e.dir.name);
}

/** Bytes that `putDirent` writes. */
export function direntSize(e: Dirent): number {
  return 24 + utf8Length(e.dir.name);
}

/** Reads the entries of an Rreaddir. Only name, qid and the kind of file are known of each. */
export function unpackDirents(r: Reader): Dirent[] {
  const entries: Dirent[] = [];
  while (r.at < r.end) {
    const qid = r.qid();
    const next = r.u64();
    const type = r.u8();
    const mode = qid.type & QTDIR ? DMDIR : qid.type & QTSYMLINK ? DMSYMLINK : plan9Mode(type << 12);
    entries.push({ dir: makeDir({ name: r.str(), qid, mode }), next });
  }
  return entries;
}

/** Linux's device number as `major minor`. */
function deviceNumbers(rdev: number): string {
  const high = Math.floor(rdev / 0x1_0000_0000), low = rdev >>> 0;
  const major = ((low >>> 8) & 0xfff) | (high & 0xfffff000);
  const minor = (low & 0xff) | ((low >>> 12) & 0xfff00);
  return `${major >>> 0} ${minor >>> 0}`;
}

/** Linux's device number of `major` and `minor`. */
export function deviceNumber(major: number, minor: number): number {
  const low = ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
  return Math.floor(major / 0x1000) * 0x1000 * 0x1_0000_0000 + low;
}
