/**
 * The codec: 9P messages to bytes and back, in every dialect.
 *
 * Layer: core/p9, pure; above the cursor. `encode` writes whole messages, `decodeT` and `decodeR` read one that stands
 * whole in a Reader (framing is the session's). They check all that can be seen without a session: strings and counts
 * that overrun, bytes left over, a type that the dialect has not. Data is borrowed from the reader's buffer.
 */

import { Err } from "../err.ts";
import type { Reader, Writer } from "./cursor.ts";
import { plan9Mode } from "./mode.ts";
import * as m from "./msg.ts";
import type { DialectTraits, Rmsg, Tmsg } from "./msg.ts";
import { getAttr, getStat, putAttr, putStat, putWstat } from "./stat.ts";
import { type Flock, MAXWELEM, NONUNAME } from "./types.ts";

/** Bytes of size, type and tag. */
export const HEADER_BYTES = 7;

/** Writes a whole message: size, type, tag and fields. On an error nothing is written. */
export function encode(w: Writer, msg: Tmsg | Rmsg, dialect: DialectTraits): void {
  const start = w.at;
  try {
    w.u32(0);
    w.u8(msg.type);
    w.u16(msg.tag);
    if (msg.type & 1) putR(w, msg as Rmsg, dialect);
    else putT(w, msg as Tmsg, dialect);
    w.patch32(start, w.at - start);
  } catch (e) {
    w.at = start;
    throw e;
  }
}

/** Reads a request whose size has been read: the reader stands at the type. */
export function decodeT(r: Reader, dialect: DialectTraits): Tmsg {
  const type = r.u8(), tag = r.u16();
  const msg = getT(r, type, tag, dialect);
  r.done();
  return msg;
}

/** Reads a reply whose size has been read: the reader stands at the type. */
export function decodeR(r: Reader, dialect: DialectTraits): Rmsg {
  const type = r.u8(), tag = r.u16();
  const msg = getR(r, type, tag, dialect);
  r.done();
  return msg;
}

function getT(r: Reader, type: number, tag: number, dialect: DialectTraits): Tmsg {
  const ids = dialect.unix || dialect.linux;
  switch (type) {
    case m.Tversion:
      return { type, tag, msize: r.u32(), version: r.str() };
    case m.Tauth:
      return { type, tag, afid: r.u32(), uname: r.str(), aname: r.str(), nuname: ids ? r.u32() : NONUNAME };
    case m.Tattach: {
      const fid = r.u32(), afid = r.u32(), uname = r.str(), aname = r.str();
      return { type, tag, fid, afid, uname, aname, nuname: ids ? r.u32() : NONUNAME };
    }
    case m.Tflush:
      return { type, tag, oldtag: r.u16() };
    case m.Twalk: {
      const fid = r.u32(), newfid = r.u32();
      return { type, tag, fid, newfid, names: getNames(r) };
    }
    case m.Tread:
      return { type, tag, fid: r.u32(), offset: r.u64(), count: r.u32() };
    case m.Twrite: {
      const fid = r.u32(), offset = r.u64();
      return { type, tag, fid, offset, data: r.data(r.u32()) };
    }
    case m.Tclunk:
    case m.Tremove:
      return { type, tag, fid: r.u32() };
  }
  return dialect.linux ? getLinuxT(r, type, tag, dialect) : getClassicT(r, type, tag, dialect);
}

/** What 9P2000 and .u have, and .L has not. */
function getClassicT(r: Reader, type: number, tag: number, dialect: DialectTraits): Tmsg {
  switch (type) {
    case m.Topen:
      return { type, tag, fid: r.u32(), mode: r.u8() };
    case m.Tcreate: {
      const fid = r.u32(), name = r.str(), perm = r.u32(), mode = r.u8();
      return { type, tag, fid, name, perm, mode, ext: dialect.unix ? r.str() : "" };
    }
    case m.Tstat:
      return { type, tag, fid: r.u32() };
    case m.Twstat:
      return getTwstat(r, tag, dialect);
  }
  throw unknownType(type, dialect);
}

function getTwstat(r: Reader, tag: number, dialect: DialectTraits): m.Twstat {
  const fid = r.u32(), size = r.u16();
  if (size !== r.end - r.at) throw new Err("EPROTO", "bogus wstat buffer");
  return { type: m.Twstat, tag, fid, dir: getStat(r, dialect.unix) };
}

function getLinuxT(r: Reader, type: number, tag: number, dialect: DialectTraits): Tmsg {
  switch (type) {
    case m.Tstatfs:
    case m.Treadlink:
      return { type, tag, fid: r.u32() };
    case m.Tlopen:
      return { type, tag, fid: r.u32(), flags: r.u32() };
    case m.Tlcreate: {
      const fid = r.u32(), name = r.str(), flags = r.u32(), mode = r.u32(), gid = r.u32();
      return { type, tag, fid, name, flags, mode, gid, perm: dialect.full ? r.u32() : plan9Mode(mode & 0o7777) };
    }
    case m.Tsymlink:
      return { type, tag, fid: r.u32(), name: r.str(), target: r.str(), gid: r.u32() };
    case m.Tmknod: {
      const fid = r.u32(), name = r.str(), mode = r.u32(), major = r.u32(), minor = r.u32();
      return { type, tag, fid, name, mode, major, minor, gid: r.u32() };
    }
    case m.Trename:
      return { type, tag, fid: r.u32(), dirfid: r.u32(), name: r.str() };
    case m.Tgetattr:
      return { type, tag, fid: r.u32(), mask: r.u64() };
    case m.Tsetattr: {
      const fid = r.u32(), valid = r.u32(), mode = r.u32(), uid = r.u32(), gid = r.u32(), size = r.u64();
      const atime = r.u64(), atimeNsec = r.u64(), mtime = r.u64(), mtimeNsec = r.u64();
      return { type, tag, fid, valid, mode, uid, gid, size, atime, atimeNsec, mtime, mtimeNsec };
    }
    case m.Txattrwalk:
      return { type, tag, fid: r.u32(), newfid: r.u32(), name: r.str() };
    case m.Txattrcreate:
      return { type, tag, fid: r.u32(), name: r.str(), size: r.u64(), flags: r.u32() };
    case m.Treaddir:
      return { type, tag, fid: r.u32(), offset: r.u64(), count: r.u32() };
    case m.Tfsync: // diod's and older clients send no datasync
      return { type, tag, fid: r.u32(), dataOnly: r.at < r.end ? r.u32() : 0 };
    case m.Tlock: {
      const fid = r.u32(), kind = r.u8(), flags = r.u32();
      return { type, tag, fid, lock: getLock(r, kind, flags) };
    }
    case m.Tgetlock: {
      const fid = r.u32(), kind = r.u8();
      return { type, tag, fid, lock: getLock(r, kind, 0) };
    }
    case m.Tlink: {
      const dirfid = r.u32();
      return { type, tag, fid: r.u32(), dirfid, name: r.str() };
    }
    case m.Tmkdir:
      return { type, tag, fid: r.u32(), name: r.str(), mode: r.u32(), gid: r.u32() };
    case m.Trenameat:
      return { type, tag, fid: r.u32(), oldname: r.str(), newdirfid: r.u32(), newname: r.str() };
    case m.Tunlinkat:
      return { type, tag, fid: r.u32(), name: r.str(), flags: r.u32() };
    case m.Twstat:
      if (dialect.full) return getTwstat(r, tag, dialect);
      break;
    case m.Twriteref:
      if (dialect.full) return { type, tag, fid: r.u32(), offset: r.u64(), ref: getRef(r) };
  }
  throw unknownType(type, dialect);
}

function getR(r: Reader, type: number, tag: number, dialect: DialectTraits): Rmsg {
  switch (type) {
    case m.Rversion:
      return { type, tag, msize: r.u32(), version: r.str() };
    case m.Rauth:
    case m.Rattach:
      return { type, tag, qid: r.qid() };
    case m.Rwalk:
      return { type, tag, qids: getQids(r) };
    case m.Rread:
      return { type, tag, data: r.data(r.u32()) };
    case m.Rwrite:
      return { type, tag, count: r.u32() };
    case m.Rflush:
    case m.Rclunk:
    case m.Rremove:
      return { type, tag };
    case m.Rerror:
      // nfs-ganesha gives Rlerror this type; Linux's client takes either.
      if (dialect.lerror) return { type: m.Rlerror, tag, errno: r.u32() };
      return { type, tag, ename: r.str(), errno: dialect.unix || dialect.linux ? r.u32() : 0 };
  }
  return dialect.linux ? getLinuxR(r, type, tag, dialect) : getClassicR(r, type, tag, dialect);
}

function getClassicR(r: Reader, type: number, tag: number, dialect: DialectTraits): Rmsg {
  switch (type) {
    case m.Ropen:
    case m.Rcreate:
      return { type, tag, qid: r.qid(), iounit: r.u32() };
    case m.Rstat:
      if (r.u16() !== r.end - r.at) throw new Err("EPROTO", "stat's sizes disagree");
      return { type, tag, dir: getStat(r, dialect.unix) };
    case m.Rwstat:
      return { type, tag };
  }
  throw unknownType(type, dialect);
}

function getLinuxR(r: Reader, type: number, tag: number, dialect: DialectTraits): Rmsg {
  switch (type) {
    case m.Rlerror:
      return { type, tag, errno: r.u32() };
    case m.Rstatfs: {
      const kind = r.u32(), bsize = r.u32(), blocks = r.u64(), bfree = r.u64(), bavail = r.u64();
      const files = r.u64(), ffree = r.u64(), fsid = r.u64(), namelen = r.u32();
      return { type, tag, statfs: { type: kind, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen } };
    }
    case m.Rlopen:
    case m.Rlcreate:
      return { type, tag, qid: r.qid(), iounit: r.u32() };
    case m.Rsymlink:
    case m.Rmknod:
    case m.Rmkdir:
      return { type, tag, qid: r.qid() };
    case m.Rreadlink:
      return { type, tag, target: r.str() };
    case m.Rgetattr:
      return { type, tag, valid: r.u64(), dir: getAttr(r, dialect.full) };
    case m.Rxattrwalk:
      return { type, tag, size: r.u64() };
    case m.Rreaddir:
      return { type, tag, data: r.data(r.u32()) };
    case m.Rlock:
      return { type, tag, status: r.u8() };
    case m.Rgetlock:
      return { type, tag, lock: getLock(r, r.u8(), 0) };
    case m.Rrename:
    case m.Rsetattr:
    case m.Rxattrcreate:
    case m.Rfsync:
    case m.Rlink:
    case m.Rrenameat:
    case m.Runlinkat:
      return { type, tag };
    case m.Rwstat:
      if (dialect.full) return { type, tag };
      break;
    case m.Rreadref:
      if (dialect.full) return { type, tag, ref: getRef(r) };
  }
  throw unknownType(type, dialect);
}

function putT(w: Writer, msg: Tmsg, dialect: DialectTraits): void {
  const ids = dialect.unix || dialect.linux;
  switch (msg.type) {
    case m.Tversion:
      w.u32(msg.msize);
      return w.str(msg.version);
    case m.Tauth:
    case m.Tattach:
      if (msg.type === m.Tattach) w.u32(msg.fid);
      w.u32(msg.afid);
      w.str(msg.uname);
      w.str(msg.aname);
      if (ids) w.u32(msg.nuname);
      return;
    case m.Tflush:
      return w.u16(msg.oldtag);
    case m.Twalk:
      w.u32(msg.fid);
      w.u32(msg.newfid);
      w.u16(msg.names.length);
      for (let i = 0; i < msg.names.length; i++) w.str(msg.names[i]);
      return;
    case m.Topen:
      w.u32(msg.fid);
      return w.u8(msg.mode);
    case m.Tcreate:
      w.u32(msg.fid);
      w.str(msg.name);
      w.u32(msg.perm);
      w.u8(msg.mode);
      if (dialect.unix) w.str(msg.ext);
      return;
    case m.Tread:
    case m.Treaddir:
      w.u32(msg.fid);
      w.u64(msg.offset);
      return w.u32(msg.count);
    case m.Twrite:
      w.u32(msg.fid);
      w.u64(msg.offset);
      w.u32(msg.data.length);
      return w.data(msg.data);
    case m.Tclunk:
    case m.Tremove:
    case m.Tstat:
    case m.Tstatfs:
    case m.Treadlink:
      return w.u32(msg.fid);
    case m.Twstat: {
      w.u32(msg.fid);
      const at = w.at;
      w.u16(0);
      putWstat(w, msg.dir, dialect.unix);
      return w.patch16(at, w.at - at - 2);
    }
    default:
      return putLinuxT(w, msg, dialect);
  }
}

type LinuxT = Exclude<
  Tmsg,
  {
    type:
      | typeof m.Tversion
      | typeof m.Tauth
      | typeof m.Tattach
      | typeof m.Tflush
      | typeof m.Twalk
      | typeof m.Topen
      | typeof m.Tcreate
      | typeof m.Tread
      | typeof m.Treaddir
      | typeof m.Twrite
      | typeof m.Tclunk
      | typeof m.Tremove
      | typeof m.Tstat
      | typeof m.Tstatfs
      | typeof m.Treadlink
      | typeof m.Twstat;
  }
>;

function putLinuxT(w: Writer, msg: LinuxT, dialect: DialectTraits): void {
  // Tlink alone starts with the directory's fid.
  w.u32(msg.type === m.Tlink ? msg.dirfid : msg.fid);
  switch (msg.type) {
    case m.Tlopen:
      return w.u32(msg.flags);
    case m.Tlcreate:
      w.str(msg.name);
      w.u32(msg.flags);
      w.u32(msg.mode);
      w.u32(msg.gid);
      if (dialect.full) w.u32(msg.perm);
      return;
    case m.Tsymlink:
      w.str(msg.name);
      w.str(msg.target);
      return w.u32(msg.gid);
    case m.Tmknod:
      w.str(msg.name);
      w.u32(msg.mode);
      w.u32(msg.major);
      w.u32(msg.minor);
      return w.u32(msg.gid);
    case m.Trename:
      w.u32(msg.dirfid);
      return w.str(msg.name);
    case m.Tgetattr:
      return w.u64(msg.mask);
    case m.Tsetattr:
      w.u32(msg.valid);
      w.u32(msg.mode);
      w.u32(msg.uid);
      w.u32(msg.gid);
      w.u64(msg.size);
      w.u64(msg.atime);
      w.u64(msg.atimeNsec);
      w.u64(msg.mtime);
      return w.u64(msg.mtimeNsec);
    case m.Txattrwalk:
      w.u32(msg.newfid);
      return w.str(msg.name);
    case m.Txattrcreate:
      w.str(msg.name);
      w.u64(msg.size);
      return w.u32(msg.flags);
    case m.Tfsync:
      return w.u32(msg.dataOnly);
    case m.Tlock:
      w.u8(msg.lock.type);
      w.u32(msg.lock.flags);
      return putLock(w, msg.lock);
    case m.Tgetlock:
      w.u8(msg.lock.type);
      return putLock(w, msg.lock);
    case m.Tlink:
      w.u32(msg.fid);
      return w.str(msg.name);
    case m.Tmkdir:
      w.str(msg.name);
      w.u32(msg.mode);
      return w.u32(msg.gid);
    case m.Trenameat:
      w.str(msg.oldname);
      w.u32(msg.newdirfid);
      return w.str(msg.newname);
    case m.Tunlinkat:
      w.str(msg.name);
      return w.u32(msg.flags);
    case m.Twriteref:
      w.u64(msg.offset);
      return putRef(w, msg.ref);
  }
}

function putR(w: Writer, msg: Rmsg, dialect: DialectTraits): void {
  switch (msg.type) {
    case m.Rversion:
      w.u32(msg.msize);
      return w.str(msg.version);
    case m.Rerror:
      w.str(msg.ename);
      if (dialect.unix || dialect.linux) w.u32(msg.errno);
      return;
    case m.Rlerror:
      return w.u32(msg.errno);
    case m.Rauth:
    case m.Rattach:
    case m.Rsymlink:
    case m.Rmknod:
    case m.Rmkdir:
      return w.qid(msg.qid);
    case m.Rwalk:
      w.u16(msg.qids.length);
      for (let i = 0; i < msg.qids.length; i++) w.qid(msg.qids[i]);
      return;
    case m.Ropen:
    case m.Rcreate:
    case m.Rlopen:
    case m.Rlcreate:
      w.qid(msg.qid);
      return w.u32(msg.iounit);
    case m.Rread:
    case m.Rreaddir:
      w.u32(msg.data.length);
      return w.data(msg.data);
    case m.Rreadref:
      return putRef(w, msg.ref);
    case m.Rwrite:
      return w.u32(msg.count);
    case m.Rstat: {
      const at = w.at;
      w.u16(0);
      putStat(w, msg.dir, dialect.unix);
      return w.patch16(at, w.at - at - 2);
    }
    case m.Rstatfs: {
      const s = msg.statfs;
      w.u32(s.type);
      w.u32(s.bsize);
      for (const value of [s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.fsid]) w.u64(value);
      return w.u32(s.namelen);
    }
    case m.Rreadlink:
      return w.str(msg.target);
    case m.Rgetattr:
      w.u64(msg.valid);
      return putAttr(w, msg.dir, dialect.full);
    case m.Rxattrwalk:
      return w.u64(msg.size);
    case m.Rlock:
      return w.u8(msg.status);
    case m.Rgetlock:
      w.u8(msg.lock.type);
      return putLock(w, msg.lock);
  }
}

function getNames(r: Reader): string[] {
  const count = r.u16();
  if (count > MAXWELEM) throw new Err("EINVAL", `walk of ${count} names, at most ${MAXWELEM}`);
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push(r.str());
  return names;
}

function getQids(r: Reader): m.Rwalk["qids"] {
  const count = r.u16();
  if (count > MAXWELEM) throw new Err("EPROTO", `walk answered ${count} qids, at most ${MAXWELEM}`);
  const qids: m.Rwalk["qids"] = [];
  for (let i = 0; i < count; i++) qids.push(r.qid());
  return qids;
}

function getLock(r: Reader, type: number, flags: number): Flock {
  return { type, flags, start: r.u64(), length: r.u64(), procId: r.u32(), clientId: r.str() };
}

function putLock(w: Writer, lock: Flock): void {
  w.u64(lock.start);
  w.u64(lock.length);
  w.u32(lock.procId);
  w.str(lock.clientId);
}

function getRef(r: Reader): m.DataRef {
  return { at: r.u32(), length: r.u32(), ticket: r.u32() };
}

function putRef(w: Writer, ref: m.DataRef): void {
  w.u32(ref.at);
  w.u32(ref.length);
  w.u32(ref.ticket);
}

function unknownType(type: number, dialect: DialectTraits): Err {
  return new Err("EOPNOTSUPP", `${m.msgName(type)} is no message of ${dialect.name}`);
}
