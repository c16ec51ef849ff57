/**
 * LinuxOps: operations on fids in 9P2000.L and 9P2000.L.r9.
 *
 * Layer: core/p9, over Rpc. See diod's protocol.md, and Linux's v9fs for what its servers expect.
 */

import { Err } from "../err.ts";
import { checkEntries, checkNewName, FidOps, type Opened, type Place, type Signal } from "./client_ops.ts";
import { Reader } from "./cursor.ts";
import { openFlagsOf, unixMode, unixPermissions } from "./mode.ts";
import * as m from "./msg.ts";
import { unpackDirents, wstatDir } from "./stat.ts";
import {
  type Dir,
  type Dirent,
  DMDEVICE,
  DMDIR,
  type Flock,
  type Qid,
  type SetTime,
  type Statfs,
  type U64,
  type Wstat,
} from "./types.ts";

/** See `FidOps`. */
export class LinuxOps extends FidOps {
  override async open(fid: number, mode: number, signal?: Signal): Promise<Opened> {
    const flags = openFlagsOf(mode, this.rpc.dialect.full);
    const { qid, iounit } = await this.rpc.rpc({ type: m.Tlopen, tag: 0, fid, flags }, signal);
    return { qid, iounit: this.iounit(iounit) };
  }

  override async create(fid: number, name: string, perm: number, mode: number, signal?: Signal): Promise<Opened> {
    checkNewName(name, false);
    if (perm & DMDIR) return await this.#mkdir(fid, name, perm, mode, signal);
    const flags = openFlagsOf(mode, this.rpc.dialect.full) | m.L_CREAT | m.L_EXCL;
    const stMode = unixPermissions(perm), { gid } = this;
    const msg: m.Tlcreate = { type: m.Tlcreate, tag: 0, fid, name, flags, mode: stMode, gid, perm };
    const { qid, iounit } = await this.rpc.rpc(msg, signal);
    return { qid, iounit: this.iounit(iounit) };
  }

  async #mkdir(fid: number, name: string, perm: number, mode: number, signal: Signal): Promise<Opened> {
    await this.mkdir(fid, name, perm, signal);
    await this.rpc.rpc({ type: m.Twalk, tag: 0, fid, newfid: fid, names: [name] }, signal);
    return await this.open(fid, mode, signal);
  }

  override async mkdir(fid: number, name: string, perm: number, signal?: Signal): Promise<Qid> {
    checkNewName(name, false);
    const mode = unixPermissions(perm);
    return this.rpc.ask({ type: m.Tmkdir, tag: 0, fid, name, mode, gid: this.gid }, (reply) => reply.qid, signal);
  }

  override stat(fid: number, signal?: Signal): Promise<Dir> {
    return this.rpc.ask({ type: m.Tgetattr, tag: 0, fid, mask: m.GETATTR_BASIC }, ({ dir }) => {
      if (this.rpc.dialect.full) return dir;
      dir.uid = String(dir.nuid);
      dir.gid = String(dir.ngid);
      return dir;
    }, signal);
  }

  override async wstat(fid: number, w: Wstat, signal?: Signal): Promise<void> {
    if (this.rpc.dialect.full && needsWstat(w)) {
      await this.rpc.rpc({ type: m.Twstat, tag: 0, fid, dir: wstatDir(w, 0) }, signal);
      return;
    }
    if (w.name !== undefined) throw new Err("EINVAL", "9P2000.L renames by rename, not by wstat");
    const msg = setattrOf(fid, w);
    if (msg.valid === 0) await this.fsync(fid, false, signal);
    else await this.rpc.rpc(msg, signal);
  }

  override readdir(fid: number, cookie: U64, count: number, signal?: Signal): Promise<Dirent[]> {
    return this.rpc.ask({ type: m.Treaddir, tag: 0, fid, offset: cookie, count }, ({ data }) => {
      return checkEntries(unpackDirents(new Reader(data).reset(0, data.length)));
    }, signal);
  }

  override async rename(fid: number, to: Place, signal?: Signal): Promise<void> {
    checkNewName(to.name, false);
    await this.rpc.rpc({ type: m.Trename, tag: 0, fid, dirfid: to.fid, name: to.name }, signal);
  }

  override async symlink(fid: number, name: string, target: string, signal?: Signal): Promise<Qid> {
    checkNewName(name, false);
    return this.rpc.ask({ type: m.Tsymlink, tag: 0, fid, name, target, gid: this.gid }, (reply) => reply.qid, signal);
  }

  override async mknod(fid: number, name: string, perm: number, ext: string, signal?: Signal): Promise<Qid> {
    checkNewName(name, false);
    const [major, minor] = perm & DMDEVICE ? parseDevice(ext) : [0, 0];
    const msg: m.Tmknod = { type: m.Tmknod, tag: 0, fid, name, mode: unixMode(perm, ext), major, minor, gid: this.gid };
    return this.rpc.ask(msg, (reply) => reply.qid, signal);
  }

  override async link(fid: number, dirfid: number, name: string, signal?: Signal): Promise<void> {
    checkNewName(name, false);
    await this.rpc.rpc({ type: m.Tlink, tag: 0, fid, dirfid, name }, signal);
  }

  override readlink(fid: number, signal?: Signal): Promise<string> {
    return this.rpc.ask({ type: m.Treadlink, tag: 0, fid }, (reply) => reply.target, signal);
  }

  override async fsync(fid: number, dataOnly: boolean, signal?: Signal): Promise<void> {
    await this.rpc.rpc({ type: m.Tfsync, tag: 0, fid, dataOnly: dataOnly ? 1 : 0 }, signal);
  }

  override statfs(fid: number, signal?: Signal): Promise<Statfs> {
    return this.rpc.ask({ type: m.Tstatfs, tag: 0, fid }, (reply) => reply.statfs, signal);
  }

  override lock(fid: number, lock: Flock, signal?: Signal): Promise<number> {
    return this.rpc.ask({ type: m.Tlock, tag: 0, fid, lock }, (reply) => reply.status, signal);
  }

  override getlock(fid: number, lock: Flock, signal?: Signal): Promise<Flock> {
    return this.rpc.ask({ type: m.Tgetlock, tag: 0, fid, lock }, (reply) => reply.lock, signal);
  }

  protected override xattrwalk(fid: number, name: string, signal?: Signal): Promise<{ fid: number; size: U64 }> {
    return this.withNewFid(async (newfid) => {
      const { size } = await this.rpc.rpc({ type: m.Txattrwalk, tag: 0, fid, newfid, name }, signal);
      return { fid: newfid, size };
    });
  }

  protected override async xattrcreate(
    fid: number,
    name: string,
    size: number,
    flags: number,
    signal?: Signal,
  ): Promise<void> {
    await this.rpc.rpc({ type: m.Txattrcreate, tag: 0, fid, name, size, flags }, signal);
  }
}

/** What Tsetattr can not say: a name, owners by name, mode bits that Unix has not. It can say all about times. */
function needsWstat(w: Wstat): boolean {
  const timed = w.atime !== undefined || w.mtime !== undefined;
  return w.name !== undefined || w.uid !== undefined || w.gid !== undefined || (w.mode !== undefined && !timed);
}

function setattrOf(fid: number, w: Wstat): m.Tsetattr {
  const uid = w.nuid ?? numericId(w.uid), gid = w.ngid ?? numericId(w.gid);
  const [atimeBits, atime, atimeNsec] = timeOf(w.atime, m.SETATTR_ATIME, m.SETATTR_ATIME_SET);
  const [mtimeBits, mtime, mtimeNsec] = timeOf(w.mtime, m.SETATTR_MTIME, m.SETATTR_MTIME_SET);
  let valid = atimeBits | mtimeBits;
  if (w.mode !== undefined) valid |= m.SETATTR_MODE;
  if (uid !== undefined) valid |= m.SETATTR_UID;
  if (gid !== undefined) valid |= m.SETATTR_GID;
  if (w.length !== undefined) valid |= m.SETATTR_SIZE;
  const times = { atime, atimeNsec, mtime, mtimeNsec };
  const mode = unixPermissions(w.mode ?? 0), size = w.length ?? 0;
  return { type: m.Tsetattr, tag: 0, fid, valid, mode, uid: uid ?? 0, gid: gid ?? 0, size, ...times };
}

/** The bits of a time to set, its seconds and nanoseconds. */
function timeOf(time: SetTime | undefined, now: number, given: number): [bits: number, sec: number, nsec: number] {
  if (time === undefined) return [0, 0, 0];
  return time === "now" ? [now, 0, 0] : [now | given, time.sec, time.nsec];
}

/** 9P2000.L has owners by number only. */
function numericId(name: string | undefined): number | undefined {
  if (name === undefined) return undefined;
  if (!/^\d{1,10}$/.test(name)) throw new Err("EINVAL", `9P2000.L knows owners by number, not '${name}'`);
  return Number(name);
}

function parseDevice(ext: string): [major: number, minor: number] {
  const parts = /^[bc] (\d{1,10}) (\d{1,10})$/.exec(ext);
  if (!parts) throw new Err("EINVAL", `a device is written as 'b 8 0' or 'c 1 3', not '${ext}'`);
  return [Number(parts[1]), Number(parts[2])];
}
