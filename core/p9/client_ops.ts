/**
 * FidOps: what can be done with a fid, the same in every dialect. `LinuxOps` speaks 9P2000.L, `ClassicOps` 9P2000
 * and 9P2000.u.
 *
 * Layer: core/p9, over Rpc; `RemoteFile` and the mount driver stand on it. Each operation is one request where the
 * dialect has one for it. It keeps no state but which fids are free.
 *
 * A fid that a caller was given is the caller's until `clunk`, `discard` or `remove`. A fid whose fate is unknown
 * (its walk was flushed or answered wrongly) is clunked before it is used again.
 */

import { Err, excerpt, toErr } from "../err.ts";
import { ownBytes } from "./bytes.ts";
import type { Rpc } from "./client_rpc.ts";
import * as m from "./msg.ts";
import { type Dir, type Dirent, type Flock, NOFID, NONUNAME, type Qid, type Statfs, type U64 } from "./types.ts";
import { IOHDRSZ, MAXNAME, MAXWELEM, type Wstat } from "./types.ts";
import { isUtf8, utf8Length } from "./utf8.ts";

/** What gives up a request: aborting it sends Tflush. */
export type Signal = AbortSignal | null | undefined;

/** Who attaches to what. */
export interface Attach {
  /** User name; "nobody" when not given. */
  uname?: string;
  /** Which tree of the server; empty is its default. */
  aname?: string;
  /** Unix number of the user (9P2000.u, 9P2000.L). */
  uid?: number;
  /** Unix group that new files get (9P2000.L); the uid when not given. */
  gid?: number;
  /** An authenticated fid, or none. */
  afid?: number;
}

/** A file that `open` or `create` opened. */
export interface Opened {
  qid: Qid;
  /** Bytes that one read or write takes at the most: always known, never 0. */
  iounit: number;
}

/** How far a walk came; `fid` is NOFID unless every name was found. */
export interface Walked {
  qids: Qid[];
  fid: number;
}

/** A place in a directory. */
export interface Place {
  /** The directory. */
  fid: number;
  name: string;
  /** Whether it is the directory that the file is in already: all that 9P2000 can rename within. */
  same: boolean;
}

/** Bytes of an extended attribute at the most: no server's word makes us allocate more. */
const MAX_XATTR_BYTES = 1 << 20;

/** Operations on fids of one connection. */
export abstract class FidOps {
  readonly rpc: Rpc;
  /** Group of new files (9P2000.L). */
  gid = NONUNAME;
  #freeFids: number[] = [];
  #nextFid = 1;

  constructor(rpc: Rpc) {
    this.rpc = rpc;
  }

  // Fids.

  /** A fid that is not in use. */
  newFid(): number {
    return this.#freeFids.pop() ?? this.#nextFid++;
  }

  /** Takes back a fid that the server has let go of, or never had. */
  releaseFid(fid: number): void {
    this.#freeFids.push(fid);
  }

  /** Clunks `fid` in the background; the fid is free when the server has answered. */
  discard(fid: number): void {
    this.rpc.send({ type: m.Tclunk, tag: 0, fid }, (error) => {
      if (error?.code !== "EPROTO") this.releaseFid(fid); // after a wrong reply nobody knows: it is not used again
    });
  }

  /** Clunks `fid`. It is gone even when this throws. */
  async clunk(fid: number): Promise<void> {
    await this.#lastUse(fid, { type: m.Tclunk, tag: 0, fid });
  }

  /** Removes the file, and clunks `fid` even when the removal fails. */
  async remove(fid: number): Promise<void> {
    await this.#lastUse(fid, { type: m.Tremove, tag: 0, fid });
  }

  async #lastUse(fid: number, msg: m.Tclunk | m.Tremove): Promise<void> {
    try {
      await this.rpc.rpc(msg);
      this.releaseFid(fid);
    } catch (e) {
      if (toErr(e).code !== "EPROTO") this.releaseFid(fid);
      throw e;
    }
  }

  /** Runs `request`, which makes the new fid it is given; answers its result, or gives the fid back and throws. */
  protected async withNewFid<V>(request: (fid: number) => Promise<V>): Promise<V> {
    const fid = this.newFid();
    try {
      return await request(fid);
    } catch (e) {
      const { code } = toErr(e);
      if (code === "EINTR" || code === "EPROTO") this.discard(fid);
      else this.releaseFid(fid);
      throw e;
    }
  }

  /** A clone of `fid` for `use`, clunked afterwards. */
  protected async withClone<V>(fid: number, use: (clone: number) => Promise<V>, signal?: Signal): Promise<V> {
    const clone = (await this.walk(fid, [], signal)).fid;
    try {
      return await use(clone);
    } finally {
      this.discard(clone);
    }
  }

  // What all dialects have.

  /** Asks for authentication: an open fid to talk over, or an error where none is needed. */
  auth(who: Attach, signal?: Signal): Promise<{ fid: number; qid: Qid }> {
    const { uname = "nobody", aname = "", uid: nuname = NONUNAME } = who;
    return this.withNewFid(async (afid) => {
      const { qid } = await this.rpc.rpc({ type: m.Tauth, tag: 0, afid, uname, aname, nuname }, signal);
      return { fid: afid, qid };
    });
  }

  /** A fid on the root of a tree. */
  attach(who: Attach, signal?: Signal): Promise<{ fid: number; qid: Qid }> {
    const { uname = "nobody", aname = "", uid: nuname = NONUNAME, afid = NOFID } = who;
    return this.withNewFid(async (fid) => {
      const { qid } = await this.rpc.rpc({ type: m.Tattach, tag: 0, fid, afid, uname, aname, nuname }, signal);
      return { fid, qid };
    });
  }

  /** Walks at most 16 names to a new fid; no names: a clone. A first name that is missing throws. */
  async walk(fid: number, names: string[], signal?: Signal): Promise<Walked> {
    for (const name of names) checkName(name);
    return await this.withNewFid(async (newfid) => {
      const { qids } = await this.rpc.rpc({ type: m.Twalk, tag: 0, fid, newfid, names }, signal);
      if (qids.length === names.length) return { qids, fid: newfid };
      this.releaseFid(newfid);
      return { qids, fid: NOFID };
    });
  }

  /** Walks any number of names to a new fid; one that is missing throws, with its name. */
  async walkAll(fid: number, names: string[], signal?: Signal): Promise<{ fid: number; qid: Qid | undefined }> {
    let from = fid, at = 0, qid: Qid | undefined;
    do {
      const part = names.slice(at, at + MAXWELEM);
      let walked: Walked;
      try {
        walked = await this.walk(from, part, signal);
      } finally {
        if (from !== fid) this.discard(from);
      }
      if (walked.fid === NOFID) throw new Err("ENOENT", `'${part[walked.qids.length]}': file does not exist`);
      from = walked.fid;
      at += part.length;
      qid = walked.qids.at(-1) ?? qid;
    } while (at < names.length);
    return { fid: from, qid };
  }

  /** Reads into `into`, which is not more than the file's iounit: the count, 0 at the end. */
  read(fid: number, into: Uint8Array, offset: U64, signal?: Signal): Promise<number> {
    const msg: m.Tread = { type: m.Tread, tag: 0, fid, offset, count: into.length };
    return this.rpc.ask(msg, (reply) => reply.data.length, signal, into);
  }

  /** Reads at most `count` bytes into an array of their own. */
  readBytes(fid: number, count: number, offset: U64, signal?: Signal): Promise<Uint8Array> {
    return this.rpc.ask({ type: m.Tread, tag: 0, fid, offset, count }, (reply) => ownBytes(reply.data), signal);
  }

  /** Writes `data`, which is not more than the file's iounit and is free when this returns: the count taken. */
  write(fid: number, data: Uint8Array, offset: U64, signal?: Signal): Promise<number> {
    return this.rpc.ask({ type: m.Twrite, tag: 0, fid, offset, data }, (reply) => reply.count, signal);
  }

  /** A server's iounit as one that holds: what it says, and no more than fits in a message. */
  protected iounit(said: number): number {
    const most = this.rpc.msize - IOHDRSZ;
    return said > 0 && said < most ? said : most;
  }

  // What they do each in their way.

  /** Opens with Plan 9's open mode. ORCLOSE is the caller's affair in 9P2000.L, which has none. */
  abstract open(fid: number, mode: number, signal?: Signal): Promise<Opened>;
  /** Makes a file, which must not be there, in the directory `fid`, and opens it: `fid` is then the file's. */
  abstract create(fid: number, name: string, perm: number, mode: number, signal?: Signal): Promise<Opened>;
  /** Makes a directory in the directory `fid`, which stays what it is. */
  abstract mkdir(fid: number, name: string, perm: number, signal?: Signal): Promise<Qid>;
  /** What is known of the file. 9P2000.L tells no names: `name` is empty, the owners are numbers. */
  abstract stat(fid: number, signal?: Signal): Promise<Dir>;
  /** Changes what `w` names; nothing named: fsync. A new name is `rename`'s affair. */
  abstract wstat(fid: number, w: Wstat, signal?: Signal): Promise<void>;
  /** Entries after `cookie` (0, or an entry's `next`) in at most `count` bytes; none at the end. 9P2000.L knows only name, qid and kind. */
  abstract readdir(fid: number, cookie: U64, count: number, signal?: Signal): Promise<Dirent[]>;
  abstract rename(fid: number, to: Place, signal?: Signal): Promise<void>;
  /** A symlink `name` in the directory `fid`. */
  abstract symlink(fid: number, name: string, target: string, signal?: Signal): Promise<Qid>;
  /** A device, fifo or socket: `perm` has its DM bit, `ext` is `b 8 0` or `c 1 3` for a device. */
  abstract mknod(fid: number, name: string, perm: number, ext: string, signal?: Signal): Promise<Qid>;
  /** A hard link to `fid` under `name` in the directory `dirfid`. */
  abstract link(fid: number, dirfid: number, name: string, signal?: Signal): Promise<void>;
  abstract readlink(fid: number, signal?: Signal): Promise<string>;
  abstract fsync(fid: number, dataOnly: boolean, signal?: Signal): Promise<void>;

  // What only 9P2000.L has.

  statfs(_fid: number, _signal?: Signal): Promise<Statfs> {
    return this.refuse("statfs");
  }

  /** 0 granted, 1 held by another, 2 error, 3 the server is in its grace period. */
  lock(_fid: number, _lock: Flock, _signal?: Signal): Promise<number> {
    return this.refuse("locks");
  }

  /** The lock in the way of `lock`, or `lock` with type unlock. */
  getlock(_fid: number, _lock: Flock, _signal?: Signal): Promise<Flock> {
    return this.refuse("locks");
  }

  /** A new fid to read the attribute `name` (or, of an empty name, their list) from, and its size. */
  protected xattrwalk(_fid: number, _name: string, _signal?: Signal): Promise<{ fid: number; size: U64 }> {
    return this.refuse("extended attributes");
  }

  /** Makes `fid` one that the attribute's value is written to. */
  protected xattrcreate(_fid: number, _name: string, _size: number, _flags: number, _signal?: Signal): Promise<void> {
    return this.refuse("extended attributes");
  }

  /** An extended attribute's value; of an empty name, the names, each followed by a NUL. */
  async getxattr(fid: number, name: string, signal?: Signal): Promise<Uint8Array> {
    const attr = await this.xattrwalk(fid, name, signal);
    try {
      if (attr.size > MAX_XATTR_BYTES) throw new Err("E2BIG", `attribute '${name}' has ${attr.size} bytes`);
      const value = new Uint8Array(Number(attr.size));
      let at = 0;
      while (at < value.length) {
        const part = value.subarray(at, at + this.iounit(0));
        const count = await this.read(attr.fid, part, at, signal);
        if (count === 0) break;
        at += count;
      }
      return value.subarray(0, at);
    } finally {
      this.discard(attr.fid);
    }
  }

  /** Sets an extended attribute, or removes it (null). `flags`: 1 must not exist, 2 must exist. */
  async setxattr(fid: number, name: string, value: Uint8Array | null, flags = 0, signal?: Signal): Promise<void> {
    const clone = (await this.walk(fid, [], signal)).fid;
    try {
      await this.xattrcreate(clone, name, value?.length ?? 0, value ? flags : 2, signal);
      for (let at = 0; value && at < value.length;) {
        at += await this.write(clone, value.subarray(at, at + this.iounit(0)), at, signal);
      }
    } catch (e) {
      this.discard(clone);
      throw e;
    }
    await this.clunk(clone); // the server sets it now, and says so
  }

  protected refuse(what: string): Promise<never> {
    return Promise.reject(new Err("EOPNOTSUPP", `${this.rpc.dialect.name} has no ${what}`));
  }
}

/** Refuses what can be no name of a file: empty, over 255 bytes, or with a slash or NUL in it. */
export function checkName(name: string): void {
  if (name === "" || /[/\0]/.test(name)) throw new Err("EINVAL", `'${name}' can be no file's name`);
  if (name.length > MAXNAME / 4 && utf8Length(name) > MAXNAME) throw new Err("ENAMETOOLONG");
}

/** As `checkName`, for a name that is to be made: not `.` or `..` either, and UTF-8 where the dialect wants it. */
export function checkNewName(name: string, utf8Only: boolean): void {
  checkName(name);
  if (name === "." || name === "..") throw new Err("EINVAL", `'${name}' can be no new file's name`);
  if (utf8Only && !isUtf8(name)) throw new Err("EILSEQ", `a name that is not UTF-8 needs 9P2000.L`);
}

/** Refuses a directory entry whose name could lead out of its directory. */
export function checkEntries(entries: Dirent[]): Dirent[] {
  for (const { dir } of entries) {
    if (dir.name === "" || /[/\0]/.test(dir.name)) {
      throw new Err("EPROTO", `server listed a file named '${excerpt(dir.name)}'`);
    }
  }
  return entries;
}
