/**
 * The messages of 9P2000, 9P2000.u and 9P2000.L: their numbers, and what each carries.
 *
 * Layer: core/p9, pure types. A message's name is both its number (a value) and its shape (a type). Fields that only
 * some dialects carry are always there, with the value that means "not given".
 *
 * See section 5 of the Plan 9 manual; for 9P2000.L Linux's include/net/9p/9p.h and diod's protocol.md.
 */

import type { Dir, Flock, Qid, Statfs, U64 } from "./types.ts";

/**
 * The dialects. `9P2000.L.r9` is ring9's own, spoken between its parts: .L that loses nothing of the file contract.
 * Errors keep their text (Rerror instead of Rlerror), Rgetattr carries the mode word and the names too, Tlcreate the
 * mode word, and Twstat is there for what Tsetattr can not say. Where both sides see the same memory, large data goes by
 * reference (Twriteref, Rreadref).
 */
export type Dialect = "9P2000" | "9P2000.u" | "9P2000.L" | "9P2000.L.r9";

/** What a dialect has, looked up once a session. */
export interface DialectTraits {
  readonly name: Dialect;
  /** The fields of 9P2000.u: numeric ids, extensions. */
  readonly unix: boolean;
  /** The messages of 9P2000.L. */
  readonly linux: boolean;
  /** An error is a number alone (Rlerror). */
  readonly lerror: boolean;
  /** ring9's additions to 9P2000.L. */
  readonly full: boolean;
}

/** The traits of every dialect, best first: the order in which a client offers them. */
export const DIALECTS: readonly DialectTraits[] = [
  { name: "9P2000.L.r9", unix: true, linux: true, lerror: false, full: true },
  { name: "9P2000.L", unix: false, linux: true, lerror: true, full: false },
  { name: "9P2000.u", unix: true, linux: false, lerror: false, full: false },
  { name: "9P2000", unix: false, linux: false, lerror: false, full: false },
];

/** The traits of a dialect by its name; undefined for a name that is none. */
export function dialectTraits(name: string): DialectTraits | undefined {
  return DIALECTS.find((d) => d.name === name);
}

// 9P2000.L's own.
export const Rlerror = 7, Tstatfs = 8, Rstatfs = 9, Tlopen = 12, Rlopen = 13, Tlcreate = 14, Rlcreate = 15;
export const Tsymlink = 16, Rsymlink = 17, Tmknod = 18, Rmknod = 19, Trename = 20, Rrename = 21;
export const Treadlink = 22, Rreadlink = 23, Tgetattr = 24, Rgetattr = 25, Tsetattr = 26, Rsetattr = 27;
export const Txattrwalk = 30, Rxattrwalk = 31, Txattrcreate = 32, Rxattrcreate = 33, Treaddir = 40, Rreaddir = 41;
export const Tfsync = 50, Rfsync = 51, Tlock = 52, Rlock = 53, Tgetlock = 54, Rgetlock = 55;
export const Tlink = 70, Rlink = 71, Tmkdir = 72, Rmkdir = 73, Trenameat = 74, Rrenameat = 75;
export const Tunlinkat = 76, Runlinkat = 77;

// 9P2000.
export const Tversion = 100, Rversion = 101, Tauth = 102, Rauth = 103, Tattach = 104, Rattach = 105, Rerror = 107;
export const Tflush = 108, Rflush = 109, Twalk = 110, Rwalk = 111, Topen = 112, Ropen = 113;
export const Tcreate = 114, Rcreate = 115, Tread = 116, Rread = 117, Twrite = 118, Rwrite = 119;
export const Tclunk = 120, Rclunk = 121, Tremove = 122, Rremove = 123, Tstat = 124, Rstat = 125;
export const Twstat = 126, Rwstat = 127;

// ring9's own, between parts that share memory: a write whose data, and a read's answer, lies there.
export const Twriteref = 128, Rreadref = 131;

/** What every message has. */
export interface Msg<N extends number> {
  type: N;
  tag: number;
}
/** A request about a fid. */
export interface FidMsg<N extends number> extends Msg<N> {
  fid: number;
}
/** A reply that is a qid. */
export interface QidMsg<N extends number> extends Msg<N> {
  qid: Qid;
}
/** The reply of what opens a file. */
export interface OpenedMsg<N extends number> extends QidMsg<N> {
  iounit: number;
}

export interface Tversion extends Msg<typeof Tversion> {
  msize: number;
  version: string;
}
export interface Rversion extends Msg<typeof Rversion> {
  msize: number;
  version: string;
}
export interface Tauth extends Msg<typeof Tauth> {
  afid: number;
  uname: string;
  aname: string;
  /** Numeric user (.u, .L), else NONUNAME. */
  nuname: number;
}
export type Rauth = QidMsg<typeof Rauth>;
export interface Tattach extends FidMsg<typeof Tattach> {
  afid: number;
  uname: string;
  aname: string;
  nuname: number;
}
export type Rattach = QidMsg<typeof Rattach>;
export interface Rerror extends Msg<typeof Rerror> {
  ename: string;
  /** Linux's number (.u, .L.r9), else 0. */
  errno: number;
}
export interface Rlerror extends Msg<typeof Rlerror> {
  errno: number;
}
export interface Tflush extends Msg<typeof Tflush> {
  oldtag: number;
}
export type Rflush = Msg<typeof Rflush>;
export interface Twalk extends FidMsg<typeof Twalk> {
  newfid: number;
  names: string[];
}
export interface Rwalk extends Msg<typeof Rwalk> {
  qids: Qid[];
}
export interface Topen extends FidMsg<typeof Topen> {
  mode: number;
}
export type Ropen = OpenedMsg<typeof Ropen>;
export interface Tcreate extends FidMsg<typeof Tcreate> {
  name: string;
  perm: number;
  mode: number;
  /** 9P2000.u: a symlink's target, a device, a hard link's fid; else empty. */
  ext: string;
}
export type Rcreate = OpenedMsg<typeof Rcreate>;
export interface Tread extends FidMsg<typeof Tread> {
  offset: U64;
  count: number;
}
export interface Rread extends Msg<typeof Rread> {
  data: Uint8Array;
}
/** Where data lies in memory that both sides see (`Blocks`): sent in its place. */
export interface DataRef {
  /** Offset of the first byte. */
  at: number;
  length: number;
  /** Which lending of the block this is. */
  ticket: number;
}
/** An Rread; the block is given back when the data was read. */
export interface Rreadref extends Msg<typeof Rreadref> {
  ref: DataRef;
}
export interface Twrite extends FidMsg<typeof Twrite> {
  offset: U64;
  data: Uint8Array;
}
/** A Twrite; the answer is an Rwrite, and the block is given back before it. */
export interface Twriteref extends FidMsg<typeof Twriteref> {
  offset: U64;
  ref: DataRef;
}
export interface Rwrite extends Msg<typeof Rwrite> {
  count: number;
}
export type Tclunk = FidMsg<typeof Tclunk>;
export type Rclunk = Msg<typeof Rclunk>;
export type Tremove = FidMsg<typeof Tremove>;
export type Rremove = Msg<typeof Rremove>;
export type Tstat = FidMsg<typeof Tstat>;
export interface Rstat extends Msg<typeof Rstat> {
  dir: Dir;
}
export interface Twstat extends FidMsg<typeof Twstat> {
  /** As it came: "don't touch" values stand for themselves (`wstatOf` reads them). */
  dir: Dir;
}
export type Rwstat = Msg<typeof Rwstat>;

export type Tstatfs = FidMsg<typeof Tstatfs>;
export interface Rstatfs extends Msg<typeof Rstatfs> {
  statfs: Statfs;
}
export interface Tlopen extends FidMsg<typeof Tlopen> {
  /** Linux's open(2) flags. */
  flags: number;
}
export type Rlopen = OpenedMsg<typeof Rlopen>;
export interface Tlcreate extends FidMsg<typeof Tlcreate> {
  name: string;
  flags: number;
  /** st_mode bits. */
  mode: number;
  gid: number;
  /** The mode word: of `mode` where the dialect has only that. */
  perm: number;
}
export type Rlcreate = OpenedMsg<typeof Rlcreate>;
export interface Tsymlink extends FidMsg<typeof Tsymlink> {
  name: string;
  target: string;
  gid: number;
}
export type Rsymlink = QidMsg<typeof Rsymlink>;
export interface Tmknod extends FidMsg<typeof Tmknod> {
  name: string;
  mode: number;
  major: number;
  minor: number;
  gid: number;
}
export type Rmknod = QidMsg<typeof Rmknod>;
export interface Trename extends FidMsg<typeof Trename> {
  dirfid: number;
  name: string;
}
export type Rrename = Msg<typeof Rrename>;
export type Treadlink = FidMsg<typeof Treadlink>;
export interface Rreadlink extends Msg<typeof Rreadlink> {
  target: string;
}
export interface Tgetattr extends FidMsg<typeof Tgetattr> {
  mask: U64;
}
export interface Rgetattr extends Msg<typeof Rgetattr> {
  valid: U64;
  /** In .L without names, and its mode made of st_mode; in .L.r9 whole. */
  dir: Dir;
}
export interface Tsetattr extends FidMsg<typeof Tsetattr> {
  /** Which fields count: the SETATTR_ bits. */
  valid: number;
  mode: number;
  uid: number;
  gid: number;
  size: U64;
  atime: U64;
  atimeNsec: U64;
  mtime: U64;
  mtimeNsec: U64;
}
export type Rsetattr = Msg<typeof Rsetattr>;
export interface Txattrwalk extends FidMsg<typeof Txattrwalk> {
  newfid: number;
  /** Empty lists the names. */
  name: string;
}
export interface Rxattrwalk extends Msg<typeof Rxattrwalk> {
  size: U64;
}
export interface Txattrcreate extends FidMsg<typeof Txattrcreate> {
  name: string;
  size: U64;
  flags: number;
}
export type Rxattrcreate = Msg<typeof Rxattrcreate>;
export interface Treaddir extends FidMsg<typeof Treaddir> {
  offset: U64;
  count: number;
}
export interface Rreaddir extends Msg<typeof Rreaddir> {
  /** Packed entries (`unpackDirents`). */
  data: Uint8Array;
}
export interface Tfsync extends FidMsg<typeof Tfsync> {
  dataOnly: number;
}
export type Rfsync = Msg<typeof Rfsync>;
export interface Tlock extends FidMsg<typeof Tlock> {
  lock: Flock;
}
export interface Rlock extends Msg<typeof Rlock> {
  status: number;
}
export interface Tgetlock extends FidMsg<typeof Tgetlock> {
  lock: Flock;
}
export interface Rgetlock extends Msg<typeof Rgetlock> {
  lock: Flock;
}
export interface Tlink extends FidMsg<typeof Tlink> {
  dirfid: number;
  name: string;
}
export type Rlink = Msg<typeof Rlink>;
export interface Tmkdir extends FidMsg<typeof Tmkdir> {
  name: string;
  mode: number;
  gid: number;
}
export type Rmkdir = QidMsg<typeof Rmkdir>;
/** `fid` is the old directory. */
export interface Trenameat extends FidMsg<typeof Trenameat> {
  oldname: string;
  newdirfid: number;
  newname: string;
}
export type Rrenameat = Msg<typeof Rrenameat>;
export interface Tunlinkat extends FidMsg<typeof Tunlinkat> {
  name: string;
  flags: number;
}
export type Runlinkat = Msg<typeof Runlinkat>;

/** Any request. */
export type Tmsg =
  | Tversion
  | Tauth
  | Tattach
  | Tflush
  | Twalk
  | Topen
  | Tcreate
  | Tread
  | Twrite
  | Twriteref
  | Tclunk
  | Tremove
  | Tstat
  | Twstat
  | Tstatfs
  | Tlopen
  | Tlcreate
  | Tsymlink
  | Tmknod
  | Trename
  | Treadlink
  | Tgetattr
  | Tsetattr
  | Txattrwalk
  | Txattrcreate
  | Treaddir
  | Tfsync
  | Tlock
  | Tgetlock
  | Tlink
  | Tmkdir
  | Trenameat
  | Tunlinkat;

/** Any reply. */
export type Rmsg =
  | Rversion
  | Rauth
  | Rattach
  | Rerror
  | Rlerror
  | Rflush
  | Rwalk
  | Ropen
  | Rcreate
  | Rread
  | Rreadref
  | Rwrite
  | Rclunk
  | Rremove
  | Rstat
  | Rwstat
  | Rstatfs
  | Rlopen
  | Rlcreate
  | Rsymlink
  | Rmknod
  | Rrename
  | Rreadlink
  | Rgetattr
  | Rsetattr
  | Rxattrwalk
  | Rxattrcreate
  | Rreaddir
  | Rfsync
  | Rlock
  | Rgetlock
  | Rlink
  | Rmkdir
  | Rrenameat
  | Runlinkat;

/** Linux's open(2) flags in Tlopen and Tlcreate. */
export const L_WRONLY = 0o1, L_RDWR = 0o2, L_ACCMODE = 0o3, L_CREAT = 0o100, L_EXCL = 0o200, L_TRUNC = 0o1000;
export const L_APPEND = 0o2000, L_DIRECTORY = 0o200000, L_NOFOLLOW = 0o400000;

/** Which fields of a Tsetattr count. */
export const SETATTR_MODE = 0x1, SETATTR_UID = 0x2, SETATTR_GID = 0x4, SETATTR_SIZE = 0x8, SETATTR_ATIME = 0x10;
export const SETATTR_MTIME = 0x20, SETATTR_CTIME = 0x40, SETATTR_ATIME_SET = 0x80, SETATTR_MTIME_SET = 0x100;

/** The basic fields of a Tgetattr's mask: all that Rgetattr can carry but btime, gen and data_version. */
export const GETATTR_BASIC = 0x7ff;

/** Tunlinkat's flag: the name is a directory's. */
export const AT_REMOVEDIR = 0x200;

/** The name of a message number, for traces and errors: `Twalk`. */
export function msgName(type: number): string {
  return NAMES.get(type) ?? `message ${type}`;
}

const NAMES = new Map<number, string>([
  ...["lerror", "statfs", "", "lopen", "lcreate", "symlink", "mknod", "rename", "readlink", "getattr", "setattr"]
    .flatMap((name, i) => pair(6 + 2 * i, name)),
  ...pair(Txattrwalk, "xattrwalk"),
  ...pair(Txattrcreate, "xattrcreate"),
  ...pair(Treaddir, "readdir"),
  ...["fsync", "lock", "getlock"].flatMap((name, i) => pair(Tfsync + 2 * i, name)),
  ...["link", "mkdir", "renameat", "unlinkat"].flatMap((name, i) => pair(Tlink + 2 * i, name)),
  ...[
    "version",
    "auth",
    "attach",
    "error",
    "flush",
    "walk",
    "open",
    "create",
    "read",
    "write",
    "clunk",
    "remove",
    "stat",
    "wstat",
  ].flatMap((name, i) => pair(Tversion + 2 * i, name)),
  [Twriteref, "Twriteref"],
  [Rreadref, "Rreadref"],
]);

function pair(t: number, name: string): [number, string][] {
  return name === "" ? [] : [[t, `T${name}`], [t + 1, `R${name}`]];
}
