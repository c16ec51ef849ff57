/**
 * The 9P vocabulary: Qid, Dir, modes, permission bits, and the limits of the protocol.
 *
 * Layer: a leaf of core/p9, pure. Numbers of 64 bits are `U64`: a JavaScript number where it is exact, else a
 * bigint, so that two equal values are always `===` and a hot path never allocates.
 *
 * See intro(5) and stat(5) of Plan 9; 9P2000.u and 9P2000.L as Linux's client speaks them.
 */

/** An unsigned 64-bit number: `number` up to 2^53 - 1, `bigint` above; never a bigint that a number could hold. */
export type U64 = number | bigint;

/** The value itself, or a promise of it: whoever can answer at once does. */
export type MaybePromise<T> = T | Promise<T>;

/** A tag that no request may have; Tversion's. */
export const NOTAG = 0xffff;
/** No fid: the afid of an attach without authentication. */
export const NOFID = 0xffffffff;
/** No numeric user (9P2000.u, 9P2000.L). */
export const NONUNAME = 0xffffffff;
/** Names in one Twalk at the most. */
export const MAXWELEM = 16;
/** Bytes of a name at the most. */
export const MAXNAME = 255;
/** Bytes of Tread's and Twrite's framing at the most: what iounit leaves free of msize. */
export const IOHDRSZ = 24;
/** The smallest msize a server takes. */
export const MIN_MSIZE = 4096;
/** The largest msize a server offers; Linux's client caps its own there too. */
export const MAX_MSIZE = 1 << 20;

/** Qid type bits. */
export const QTDIR = 0x80, QTAPPEND = 0x40, QTEXCL = 0x20, QTMOUNT = 0x10, QTAUTH = 0x08, QTTMP = 0x04;
export const QTSYMLINK = 0x02, QTLINK = 0x01, QTFILE = 0x00;

/** Bits of `Dir.mode` above the nine permissions; the last row is 9P2000.u's. */
export const DMDIR = 0x80000000, DMAPPEND = 0x40000000, DMEXCL = 0x20000000, DMMOUNT = 0x10000000;
export const DMAUTH = 0x08000000, DMTMP = 0x04000000;
export const DMSYMLINK = 0x02000000, DMLINK = 0x01000000, DMDEVICE = 0x00800000, DMNAMEDPIPE = 0x00200000;
export const DMSOCKET = 0x00100000, DMSETUID = 0x00080000, DMSETGID = 0x00040000, DMSETVTX = 0x00010000;

/** Open modes of Topen and Tcreate; OAPPEND is 9P2000.u's, as Linux sends it. */
export const OREAD = 0, OWRITE = 1, ORDWR = 2, OEXEC = 3, OTRUNC = 0x10, ORCLOSE = 0x40, OAPPEND = 0x80;

/** What identifies a file on its server: one path for its whole life, `vers` changes with its content. */
export interface Qid {
  /** QT bits: the top byte of the mode. */
  type: number;
  vers: number;
  /** Unique among the files of a server, also those removed. */
  path: U64;
}

/**
 * What stat tells of a file, in every dialect at once.
 *
 * Times are seconds since 1970 with their nanoseconds beside them. `mode` is Plan 9's word, with 9P2000.u's bits:
 * `unixMode()` makes st_mode of it. Names may hold bytes that are not UTF-8, as lone surrogates (`utf8.ts`).
 */
export interface Dir {
  qid: Qid;
  name: string;
  /** DM bits and permissions. */
  mode: number;
  /** Bytes. */
  length: number;
  atime: number;
  atimeNsec: number;
  mtime: number;
  mtimeNsec: number;
  ctime: number;
  ctimeNsec: number;
  uid: string;
  gid: string;
  /** Who wrote last. */
  muid: string;
  /** Numeric owner, group and writer, or NONUNAME. */
  nuid: number;
  ngid: number;
  nmuid: number;
  /** 9P2000.u's extension: a symlink's target, a device as `b 8 0` or `c 1 3`. */
  ext: string;
  nlink: number;
  /** Linux's device number of a device file (major << 8 | minor for small ones). */
  rdev: number;
  /** Preferred I/O size, bytes. */
  blksize: number;
  /** Blocks of 512 bytes in use. */
  blocks: number;
}

/** A time for wstat: the server's now, or a given one. */
export type SetTime = "now" | { sec: number; nsec: number };

/** What a wstat or setattr changes; what is not there is left alone, and nothing there is an fsync. */
export interface Wstat {
  /** A new name in the same directory. */
  name?: string;
  mode?: number;
  length?: number;
  atime?: SetTime;
  mtime?: SetTime;
  uid?: string;
  gid?: string;
  nuid?: number;
  ngid?: number;
}

/** One entry of a directory listing. */
export interface Dirent {
  /** The entry; complete when the listing asked for stats, else at least `name` and `qid` hold. */
  dir: Dir;
  /** Where a listing goes on after this entry; never 0, and stays right when other entries come and go. */
  next: U64;
}

/** What statfs tells (9P2000.L). Sizes in blocks of `bsize` bytes. */
export interface Statfs {
  type: number;
  bsize: number;
  blocks: U64;
  bfree: U64;
  bavail: U64;
  files: U64;
  ffree: U64;
  fsid: U64;
  namelen: number;
}

/** A byte-range lock of 9P2000.L. */
export interface Flock {
  /** 0 read, 1 write, 2 unlock. */
  type: number;
  /** 1 block, 2 reclaim. */
  flags: number;
  start: U64;
  /** Bytes; 0 is to the end of the file. */
  length: U64;
  procId: number;
  clientId: string;
}

/** A Dir with everything that is not given empty, and the qid's type taken from the mode. */
export function makeDir(part: Partial<Dir> & { name: string; mode: number }): Dir {
  const length = part.length ?? 0;
  const uid = part.uid ?? "ring9", mtime = part.mtime ?? 0, mtimeNsec = part.mtimeNsec ?? 0;
  return {
    qid: part.qid ?? { type: (part.mode >>> 24) & 0xff, vers: 0, path: 0 },
    name: part.name,
    mode: part.mode >>> 0,
    length,
    atime: part.atime ?? mtime,
    atimeNsec: part.atimeNsec ?? mtimeNsec,
    mtime,
    mtimeNsec,
    ctime: part.ctime ?? mtime,
    ctimeNsec: part.ctimeNsec ?? mtimeNsec,
    uid,
    gid: part.gid ?? uid,
    muid: part.muid ?? uid,
    nuid: part.nuid ?? 0,
    ngid: part.ngid ?? 0,
    nmuid: part.nmuid ?? NONUNAME,
    ext: part.ext ?? "",
    nlink: part.nlink ?? 1,
    rdev: part.rdev ?? 0,
    blksize: part.blksize ?? 4096,
    blocks: part.blocks ?? Math.ceil(length / 512),
  };
}
