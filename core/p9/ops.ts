/**
 * Ops: what each request does, on the fids of a session and the Dev behind it.
 *
 * Layer: core/p9, between the session and the file contract. The dialects meet here: everything below sees one kind of
 * file. Operations answer at once where the Dev does. Those that 9P2000.L names by directory and name (unlinkat,
 * renameat) are a walk and the operation on what was found.
 *
 * See section 5 of the Plan 9 manual, and diod's protocol.md for 9P2000.L.
 */

import type { Chan, Create, Req, Walk } from "../dev.ts";
import { Err, excerpt } from "../err.ts";
import { Writer } from "./cursor.ts";
import { closeFid, type Fid } from "./fid.ts";
import { clientOf, LOCK_MAY_WAIT, ownId } from "./locks.ts";
import { read, READ_HEADER_BYTES, type Result, then, write } from "./io.ts";
import { openModeOf, plan9Mode } from "./mode.ts";
import * as m from "./msg.ts";
import type { Rmsg, Tmsg } from "./msg.ts";
import type { Session } from "./session.ts";
import { direntSize, putDirent, setattrOf, wstatOf } from "./stat.ts";
import {
  type Dir,
  type Dirent,
  DMDEVICE,
  DMDIR,
  DMLINK,
  DMNAMEDPIPE,
  DMSOCKET,
  DMSYMLINK,
  type Flock,
  MAXNAME,
  type MaybePromise,
  NOFID,
  NONUNAME,
  OAPPEND,
  OEXEC,
  ORCLOSE,
  OREAD,
  OTRUNC,
  OWRITE,
  type Qid,
  QTDIR,
  type Wstat,
} from "./types.ts";
import { isUtf8, utf8Length } from "./utf8.ts";
import { xattrBytes, XattrRead, XattrWrite } from "./xattr.ts";

/** Requests that name a fid. */
export type FidRequest = Exclude<Tmsg, m.Tversion | m.Tflush | m.Tattach | m.Tauth | m.Twriteref>;

/** The operations of one session. */
export class Ops {
  readonly #s: Session;

  constructor(session: Session) {
    this.#s = session;
  }

  /** Does what `msg` asks on `fid`. Null: the reply has been written. */
  perform(msg: FidRequest, fid: Fid, req: Req): Result {
    const { tag } = msg;
    switch (msg.type) {
      case m.Twalk:
        return this.#walk(msg, fid, req);
      case m.Tread:
        return read(this.#s, msg, fid, req);
      case m.Twrite:
        return write(this.#s, msg, fid, req);
      case m.Tclunk:
        return then(this.#clunk(fid), () => ({ type: m.Rclunk, tag }));
      case m.Tgetattr:
        return then(stat(fid, req), (dir) => ({ type: m.Rgetattr, tag, valid: m.GETATTR_BASIC, dir }));
      case m.Tlopen:
        return this.#lopen(msg, fid, req);
      case m.Topen:
        return then(this.#open(fid, msg.mode, req), (qid) => ({ type: m.Ropen, tag, qid, iounit: 0 }));
      case m.Treaddir:
        return this.#readdir(msg, fid, req);
      case m.Tcreate:
        return this.#create(msg, fid, req);
      case m.Tlcreate:
        return this.#lcreate(msg, fid, req);
      case m.Tremove:
        return then(this.#remove(fid, req), () => ({ type: m.Rremove, tag }));
      case m.Tstat:
        return then(stat(fid, req), (dir) => ({ type: m.Rstat, tag, dir }));
      case m.Twstat:
        return then(this.#wstat(fid, wstatOf(msg.dir), req), () => ({ type: m.Rwstat, tag }));
      case m.Tsetattr:
        return then(this.#wstat(fid, setattrOf(msg, fid.file.qid), req), () => ({ type: m.Rsetattr, tag }));
      default:
        return this.#performLinux(msg, fid, req);
    }
  }

  #performLinux(msg: LinuxRequest, fid: Fid, req: Req): Result {
    const { tag } = msg;
    switch (msg.type) {
      case m.Tstatfs:
        return then(fid.file.dev.statfs(fid.file, req), (statfs) => ({ type: m.Rstatfs, tag, statfs }));
      case m.Treadlink:
        return then(fid.file.dev.readlink(fid.file, req), (target) => ({ type: m.Rreadlink, tag, target }));
      case m.Tfsync:
        return then(fid.file.dev.fsync(fid.file, msg.dataOnly !== 0, req), () => ({ type: m.Rfsync, tag }));
      case m.Tsymlink: {
        const { dir } = fid;
        const made = dir.dev.symlink(dir, this.#newName(msg.name), msg.target, msg.gid, req);
        return then(made, (qid) => ({ type: m.Rsymlink, tag, qid }));
      }
      case m.Tmknod:
        return then(mknod(fid.dir, this.#newName(msg.name), msg, req), (qid) => ({ type: m.Rmknod, tag, qid }));
      case m.Tmkdir:
        return then(this.#mkdir(msg, fid, req), (qid) => ({ type: m.Rmkdir, tag, qid }));
      case m.Tlink: {
        const { dir } = this.#fid(msg.dirfid);
        return then(dir.dev.link(fid.file, dir, this.#newName(msg.name), req), () => ({ type: m.Rlink, tag }));
      }
      case m.Trename: {
        const { dir } = this.#fid(msg.dirfid);
        return then(dir.dev.rename(fid.file, dir, this.#newName(msg.name), req), () => ({ type: m.Rrename, tag }));
      }
      case m.Trenameat:
        return then(this.#renameat(msg, fid, req), () => ({ type: m.Rrenameat, tag }));
      case m.Tunlinkat:
        return then(unlinkat(msg, fid.dir, req), () => ({ type: m.Runlinkat, tag }));
      case m.Tlock: {
        const lock = this.#owned(msg.lock);
        const status = fid.file.dev.lock(fid.file, lock, req) ?? this.#s.srv.locks.lock(fid.file, lock, req);
        return then(status, (status) => ({ type: m.Rlock, tag, status }));
      }
      case m.Tgetlock: {
        const lock = this.#owned(msg.lock);
        const found = fid.file.dev.getlock(fid.file, lock, req) ?? this.#s.srv.locks.getlock(fid.file, lock);
        return then(found, (lock) => ({ type: m.Rgetlock, tag, lock: { ...lock, clientId: clientOf(lock.clientId) } }));
      }
      case m.Txattrwalk: {
        this.#s.fids.checkFree(msg.newfid);
        const made = (bytes: Uint8Array): Rmsg => {
          this.#s.fids.add(msg.newfid, null).xattr = new XattrRead(bytes);
          return { type: m.Rxattrwalk, tag, size: bytes.length };
        };
        return then(xattrBytes(fid.file, msg.name, req), made);
      }
      case m.Txattrcreate:
        fid.xattr = new XattrWrite(fid.file, msg.name, msg.size, msg.flags);
        return { type: m.Rxattrcreate, tag };
    }
  }

  /**
   * A lock as this session's. Linux's client asks again by itself, and can be interrupted only while it has no question under
   * way: it is told at once that it has to wait.
   */
  #owned(lock: Flock): Flock {
    const { id, dialect } = this.#s, flags = dialect!.full ? lock.flags : lock.flags & ~LOCK_MAY_WAIT;
    return { ...lock, flags, clientId: ownId(id, lock.clientId) };
  }

  // ---- fids

  #fid(id: number): Fid {
    const fid = this.#s.fids.get(id);
    if (!fid || fid.ready) throw new Err("EBADF");
    return fid;
  }

  attach(msg: m.Tattach, req: Req): Result {
    const { fids, srv } = this.#s;
    if (msg.afid !== NOFID) throw new Err("EBADF", "authentication not required: afid must be NOFID");
    fids.checkFree(msg.fid);
    const attached = (chan: Chan): Rmsg => {
      this.#s.user = req.user;
      return { type: m.Rattach, tag: msg.tag, qid: chan.qid };
    };
    const chan = srv.attach(req.user, msg.aname, req);
    if (chan instanceof Promise) return this.#making(msg.fid, chan.then((c) => ({ chan: c, reply: attached(c) })));
    fids.add(msg.fid, chan);
    return attached(chan);
  }

  #walk(msg: m.Twalk, fid: Fid, req: Req): Result {
    const { fids } = this.#s;
    const chan = fid.file;
    if (chan.mode !== -1 && !this.#s.dialect!.linux) throw new Err("EBADF", "bad use of fid");
    if (chan.mode !== -1 && msg.newfid === msg.fid) throw new Err("EBADF", "an open fid can not be walked");
    if (msg.newfid !== msg.fid) fids.checkFree(msg.newfid);
    const { names } = msg;
    if (names.length > 0 && !(chan.qid.type & QTDIR)) throw new Err("ENOTDIR");
    for (let i = 0; i < names.length; i++) this.#checkElement(names[i]);
    const walked = chan.dev.walk(chan, names, req);
    if (walked instanceof Promise) return this.#walkLater(msg, fid, walked);
    if (walked.chan) this.#place(msg.newfid, fid, walked.chan);
    return walkReply(msg, walked);
  }

  #walkLater(msg: m.Twalk, fid: Fid, walking: Promise<Walk>): Promise<Rmsg | null> {
    if (msg.newfid !== msg.fid) {
      return this.#making(msg.newfid, walking.then((walked) => ({ chan: walked.chan, reply: walkReply(msg, walked) })));
    }
    const moved = walking.then((walked) => {
      if (walked.chan) this.#place(fid.id, fid, walked.chan);
      return walkReply(msg, walked);
    });
    return this.#holding(fid, moved);
  }

  /** Gives a walk's Chan to a new fid, or to the one that was walked. */
  #place(newfid: number, fid: Fid, chan: Chan): void {
    if (newfid !== fid.id) return void this.#s.fids.add(newfid, chan);
    const old = fid.chan!;
    fid.chan = chan;
    this.#background(old.dev.clunk(old));
  }

  /** A fid that is there at once, and usable when `made` tells its Chan. */
  async #making(id: number, made: Promise<{ chan: Chan | null; reply: Rmsg }>): Promise<Rmsg | null> {
    const fid = this.#s.fids.add(id, null);
    try {
      const { chan, reply } = await this.#holding(fid, made);
      fid.chan = chan;
      if (!chan) this.#s.fids.delete(fid);
      return reply;
    } catch (e) {
      this.#s.fids.delete(fid);
      throw e;
    }
  }

  /** Makes later requests on `fid` wait until `work` is done. */
  async #holding<T>(fid: Fid, work: Promise<T>): Promise<T> {
    fid.ready = work;
    try {
      return await work;
    } finally {
      fid.ready = null;
    }
  }

  #clunk(fid: Fid): MaybePromise<void> {
    this.#s.fids.delete(fid);
    if (fid.chan) this.#s.srv.locks.release(fid.chan);
    if (fid.busy === 0) return this.#closed(fid);
    // Requests still run on the file: the number is free now, the file when they are done.
    fid.idle = () => this.#background(this.#closed(fid));
  }

  #closed(fid: Fid): MaybePromise<void> {
    const { xattr, chan } = fid;
    if (!xattr || !chan) return closeFid(fid);
    return Promise.resolve(xattr.commit(chan)).finally(() => closeFid(fid));
  }

  async #remove(fid: Fid, req: Req): Promise<void> {
    const chan = fid.file;
    fid.removeOnClose = false;
    try {
      await chan.dev.remove(chan, req);
    } finally {
      await this.#clunk(fid);
    }
  }

  // ---- opening and making

  #open(fid: Fid, mode: number, req: Req): MaybePromise<Qid> {
    const chan = fid.file;
    if (chan.mode !== -1) throw new Err("EBADF", "file already open for I/O");
    if (mode & ~(3 | OTRUNC | ORCLOSE | OAPPEND)) throw new Err("EINVAL", `open mode ${mode} has unknown bits`);
    if (chan.qid.type & QTDIR && ((mode & 3) === OWRITE || (mode & 3) === 2 || mode & OTRUNC)) throw new Err("EISDIR");
    const opened = chan.dev.open(chan, mode & (3 | OTRUNC), req);
    const finish = (now: Chan) => this.#opened(fid, now, mode);
    return opened instanceof Promise ? this.#holding(fid, opened).then(finish) : finish(opened);
  }

  /** The fid stands for the Chan that open or create answered. */
  #opened(fid: Fid, chan: Chan, mode: number): Qid {
    const old = fid.chan;
    fid.chan = chan;
    fid.removeOnClose = (mode & ORCLOSE) !== 0;
    if (mode & OAPPEND) fid.append = true;
    if (old && old !== chan) this.#background(old.dev.clunk(old));
    return chan.qid;
  }

  #lopen(msg: m.Tlopen, fid: Fid, req: Req): Result {
    if (msg.flags & m.L_DIRECTORY && !(fid.file.qid.type & QTDIR)) throw new Err("ENOTDIR");
    fid.append = (msg.flags & m.L_APPEND) !== 0;
    return then(
      this.#open(fid, openModeOf(msg.flags, this.#s.dialect!.full), req),
      (qid) => ({ type: m.Rlopen, tag: msg.tag, qid, iounit: 0 }),
    );
  }

  #create(msg: m.Tcreate, fid: Fid, req: Req): Result {
    const { tag } = msg;
    const name = this.#newName(msg.name);
    const { dir } = fid;
    if (dir.mode !== -1) throw new Err("EBADF", "file already open for I/O");
    if (msg.perm & (DMSYMLINK | DMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET)) return this.#createSpecial(msg, fid, req);
    if (msg.perm & DMDIR && (msg.mode & 3) !== OREAD && (msg.mode & 3) !== OEXEC) throw new Err("EISDIR");
    const what = { name, mode: msg.mode & (3 | OTRUNC), perm: msg.perm, mask: true, ngid: NONUNAME };
    return this.#createWith(fid, what, msg.mode, req, (qid) => ({ type: m.Rcreate, tag, qid, iounit: 0 }));
  }

  #createWith(fid: Fid, what: Create, mode: number, req: Req, reply: (qid: Qid) => Rmsg): Result {
    const made = fid.dir.dev.create(fid.dir, what, req);
    const finish = (chan: Chan) => reply(this.#opened(fid, chan, mode));
    return made instanceof Promise ? this.#holding(fid, made).then(finish) : finish(made);
  }

  /** 9P2000.u makes symlinks, hard links and device files by Tcreate; the fid then stands for the new file, unopened. */
  #createSpecial(msg: m.Tcreate, fid: Fid, req: Req): Promise<Rmsg> {
    if (!this.#s.dialect!.unix) throw new Err("EINVAL", "9P2000 has no special files: use 9P2000.u or 9P2000.L");
    const { dir } = fid;
    const make = async (): Promise<Rmsg> => {
      await this.#makeSpecial(msg, dir, req);
      const { chan } = await dir.dev.walk(dir, [msg.name], req);
      if (!chan) throw new Err("ENOENT");
      return { type: m.Rcreate, tag: msg.tag, qid: this.#opened(fid, chan, OREAD), iounit: 0 };
    };
    return this.#holding(fid, make());
  }

  #makeSpecial(msg: m.Tcreate, dir: Chan, req: Req): MaybePromise<unknown> {
    if (msg.perm & DMSYMLINK) return dir.dev.symlink(dir, msg.name, msg.ext, NONUNAME, req);
    if (msg.perm & DMLINK) return dir.dev.link(this.#fid(Number(msg.ext)).file, dir, msg.name, req);
    if (msg.perm & DMDEVICE && !/^[bc] \d+ \d+$/.test(msg.ext)) {
      throw new Err("EINVAL", `a device is given as "b MAJOR MINOR" or "c MAJOR MINOR", not "${excerpt(msg.ext)}"`);
    }
    return dir.dev.mknod(dir, msg.name, msg.perm, msg.ext, NONUNAME, req);
  }

  #lcreate(msg: m.Tlcreate, fid: Fid, req: Req): Result {
    const { tag } = msg;
    const name = this.#newName(msg.name);
    if (fid.dir.mode !== -1) throw new Err("EBADF", "file already open for I/O");
    const mode = openModeOf(msg.flags, this.#s.dialect!.full);
    const what = { name, mode, perm: msg.perm, mask: false, ngid: msg.gid };
    const reply = (qid: Qid): Rmsg => ({ type: m.Rlcreate, tag, qid, iounit: 0 });
    const existing = (e: unknown): Promise<Rmsg> => {
      if (!(e instanceof Err && e.code === "EEXIST") || msg.flags & m.L_EXCL) throw e;
      return this.#openExisting(fid, name, mode, req).then(reply);
    };
    fid.append = (msg.flags & m.L_APPEND) !== 0;
    try {
      const made = this.#createWith(fid, what, mode, req, reply);
      return made instanceof Promise ? made.catch(existing) : made;
    } catch (e) {
      return existing(e);
    }
  }

  /** O_CREAT without O_EXCL of a file that another made meanwhile. */
  #openExisting(fid: Fid, name: string, mode: number, req: Req): Promise<Qid> {
    const { dir } = fid;
    const open = async () => {
      const { chan } = await dir.dev.walk(dir, [name], req);
      if (!chan) throw new Err("ENOENT");
      try {
        return this.#opened(fid, await chan.dev.open(chan, mode, req), mode);
      } catch (e) {
        this.#background(chan.dev.clunk(chan));
        throw e;
      }
    };
    return this.#holding(fid, open());
  }

  async #mkdir(msg: m.Tmkdir, fid: Fid, req: Req): Promise<Qid> {
    const name = this.#newName(msg.name);
    const { chan: dir } = await fid.dir.dev.walk(fid.dir, [], req);
    if (!dir) throw new Err("EIO");
    const perm = (plan9Mode(msg.mode & 0o7777) | DMDIR) >>> 0;
    let made: Chan | null = null;
    try {
      made = await dir.dev.create(dir, { name, mode: OREAD, perm, mask: false, ngid: msg.gid }, req);
      return made.qid;
    } finally {
      this.#background(dir.dev.clunk(dir));
      if (made && made !== dir) this.#background(made.dev.clunk(made));
    }
  }

  // ---- directories

  #readdir(msg: m.Treaddir, fid: Fid, req: Req): Result {
    const chan = fid.dir;
    if (chan.mode === -1) throw new Err("EBADF", "bad use of fid");
    const count = Math.min(msg.count, this.#s.msize - READ_HEADER_BYTES);
    const entries = chan.dev.readdir(chan, msg.offset, count, false, req);
    return then(entries, (list) => ({ type: m.Rreaddir, tag: msg.tag, data: packDirents(list, count) }));
  }

  // ---- changing

  #wstat(fid: Fid, w: Wstat, req: Req): MaybePromise<void> {
    const chan = fid.file;
    if (w.name !== undefined) this.#newName(w.name);
    if (Object.keys(w).length === 0) return chan.dev.fsync(chan, false, req);
    if (w.length !== undefined && chan.qid.type & QTDIR) throw new Err("EISDIR");
    if (w.mode !== undefined && ((w.mode & DMDIR) !== 0) !== ((chan.qid.type & QTDIR) !== 0)) {
      throw new Err("EPERM", "wstat can't convert between files and directories");
    }
    return chan.dev.wstat(chan, w, req);
  }

  async #renameat(msg: m.Trenameat, fid: Fid, req: Req): Promise<void> {
    const { dir } = fid;
    const newdir = this.#fid(msg.newdirfid).dir;
    const newname = this.#newName(msg.newname);
    const chan = await find(dir, msg.oldname, req);
    try {
      await dir.dev.rename(chan, newdir, newname, req);
    } finally {
      await dir.dev.clunk(chan);
    }
  }

  // ---- names

  /** A name that a file is to get. */
  #newName(name: string): string {
    if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
      throw new Err("EINVAL", `"${excerpt(name)}" can not name a file`);
    }
    return this.#checkElement(name);
  }

  #checkElement(name: string): string {
    if (name.length * 3 > MAXNAME && utf8Length(name) > MAXNAME) throw new Err("ENAMETOOLONG");
    if (name === "" || name === "." || name.includes("/") || name.includes("\0")) {
      throw new Err("ENOENT", "illegal path element");
    }
    if (!this.#s.dialect!.linux && !isUtf8(name)) throw new Err("EILSEQ", "a name is not UTF-8");
    return name;
  }

  /** For what the client does not wait for. */
  #background(work: MaybePromise<void>): void {
    if (work instanceof Promise) work.catch((e) => this.#s.srv.log(`9p: ${this.#s.remote}: clunk: ${e.message}`));
  }
}

type LinuxRequest = Exclude<
  FidRequest,
  | m.Twalk
  | m.Tread
  | m.Twrite
  | m.Tclunk
  | m.Tgetattr
  | m.Tlopen
  | m.Topen
  | m.Treaddir
  | m.Tcreate
  | m.Tlcreate
  | m.Tremove
  | m.Tstat
  | m.Twstat
  | m.Tsetattr
>;

function stat(fid: Fid, req: Req): MaybePromise<Dir> {
  const chan = fid.file;
  return chan.dev.stat(chan, req);
}

function walkReply(msg: m.Twalk, walked: Walk): Rmsg {
  if (walked.qids.length === 0 && msg.names.length > 0) throw new Err("ENOENT");
  return { type: m.Rwalk, tag: msg.tag, qids: walked.qids };
}

async function find(dir: Chan, name: string, req: Req): Promise<Chan> {
  if (name === "" || name === "." || name === ".." || name.includes("/")) {
    throw new Err("EINVAL", `"${excerpt(name)}" is no name`);
  }
  const { chan } = await dir.dev.walk(dir, [name], req);
  if (!chan) throw new Err("ENOENT");
  return chan;
}

async function unlinkat(msg: m.Tunlinkat, dir: Chan, req: Req): Promise<void> {
  const chan = await find(dir, msg.name, req);
  try {
    const isDir = (chan.qid.type & QTDIR) !== 0;
    if (isDir && !(msg.flags & m.AT_REMOVEDIR)) throw new Err("EISDIR");
    if (!isDir && msg.flags & m.AT_REMOVEDIR) throw new Err("ENOTDIR");
    await dir.dev.remove(chan, req);
  } finally {
    await dir.dev.clunk(chan);
  }
}

function mknod(dir: Chan, name: string, msg: m.Tmknod, req: Req): MaybePromise<Qid> {
  const perm = plan9Mode(msg.mode);
  if (!(perm & (DMDEVICE | DMNAMEDPIPE | DMSOCKET))) {
    // mknod of a regular file is a create that nobody opens.
    return makeFile(dir, { name, mode: OREAD, perm, mask: false, ngid: msg.gid }, req);
  }
  const kind = (msg.mode & 0o170000) === 0o060000 ? "b" : "c";
  const ext = perm & DMDEVICE ? `${kind} ${msg.major} ${msg.minor}` : "";
  return dir.dev.mknod(dir, name, perm, ext, msg.gid, req);
}

async function makeFile(dir: Chan, what: Create, req: Req): Promise<Qid> {
  const { chan } = await dir.dev.walk(dir, [], req);
  if (!chan) throw new Err("EIO");
  const made = await dir.dev.create(chan, what, req);
  if (made !== chan) await dir.dev.clunk(chan);
  await dir.dev.clunk(made);
  return made.qid;
}

function packDirents(entries: Dirent[], count: number): Uint8Array {
  const w = new Writer(Math.min(count, 64 * entries.length), count);
  for (const entry of entries) {
    if (direntSize(entry) > w.room) break;
    putDirent(w, entry);
  }
  if (w.at === 0 && entries.length > 0) throw new Err("EINVAL", "count is too small for one directory entry");
  return w.bytes.subarray(0, w.at);
}
