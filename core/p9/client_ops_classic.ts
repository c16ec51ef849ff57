/**
 * ClassicOps: operations on fids in 9P2000 and 9P2000.u.
 *
 * Layer: core/p9, over Rpc. What only 9P2000.u has (links, devices) is refused in 9P2000. See section 5 of the
 * Plan 9 manual.
 */

import type { Clock } from "../clock.ts";
import { Err } from "../err.ts";
import { checkEntries, checkNewName, FidOps, type Opened, type Place, type Signal } from "./client_ops.ts";
import type { Rpc } from "./client_rpc.ts";
import { Reader } from "./cursor.ts";
import * as m from "./msg.ts";
import { getStat, wstatDir } from "./stat.ts";
import { type Dir, type Dirent, DMDIR, DMLINK, DMSYMLINK, OREAD, type Qid, type U64, type Wstat } from "./types.ts";

/** See `FidOps`. */
export class ClassicOps extends FidOps {
  #clock: Clock | undefined;

  /** `clock` is for a wstat that sets a time to now, which these dialects cannot say. */
  constructor(rpc: Rpc, clock?: Clock) {
    super(rpc);
    this.#clock = clock;
  }

  override async open(fid: number, mode: number, signal?: Signal): Promise<Opened> {
    const { qid, iounit } = await this.rpc.rpc({ type: m.Topen, tag: 0, fid, mode: mode & 0xff }, signal);
    return { qid, iounit: this.iounit(iounit) };
  }

  override async create(fid: number, name: string, perm: number, mode: number, signal?: Signal): Promise<Opened> {
    checkNewName(name, true);
    return this.#create(fid, name, perm, mode & 0xff, "", signal);
  }

  async #create(fid: number, name: string, perm: number, mode: number, ext: string, signal: Signal): Promise<Opened> {
    const { qid, iounit } = await this.rpc.rpc({ type: m.Tcreate, tag: 0, fid, name, perm, mode, ext }, signal);
    return { qid, iounit: this.iounit(iounit) };
  }

  override async mkdir(fid: number, name: string, perm: number, signal?: Signal): Promise<Qid> {
    checkNewName(name, true);
    return await this.#make(fid, name, (perm | DMDIR) >>> 0, "", signal);
  }

  /** Makes something that is not to be open afterwards. */
  #make(fid: number, name: string, perm: number, ext: string, signal: Signal): Promise<Qid> {
    return this.withClone(
      fid,
      async (clone) => (await this.#create(clone, name, perm, OREAD, ext, signal)).qid,
      signal,
    );
  }

  #makeSpecial(fid: number, name: string, perm: number, ext: string, signal: Signal): Promise<Qid> {
    checkNewName(name, true);
    if (!this.rpc.dialect.unix) return this.refuse("links and devices");
    return this.#make(fid, name, perm, ext, signal);
  }

  override stat(fid: number, signal?: Signal): Promise<Dir> {
    return this.rpc.ask({ type: m.Tstat, tag: 0, fid }, (reply) => reply.dir, signal);
  }

  override async wstat(fid: number, w: Wstat, signal?: Signal): Promise<void> {
    if (w.name !== undefined) checkNewName(w.name, true);
    await this.rpc.rpc({ type: m.Twstat, tag: 0, fid, dir: wstatDir(w, this.#nowFor(w)) }, signal);
  }

  #nowFor(w: Wstat): number {
    if (w.atime !== "now" && w.mtime !== "now") return 0;
    if (!this.#clock) throw new Err("EINVAL", `${this.rpc.dialect.name} cannot say 'now': the client needs a clock`);
    return Math.floor(this.#clock.now() / 1000);
  }

  override readdir(fid: number, cookie: U64, count: number, signal?: Signal): Promise<Dirent[]> {
    return this.rpc.ask({ type: m.Tread, tag: 0, fid, offset: cookie, count }, ({ data }) => {
      return checkEntries(unpackStats(data, cookie, this.rpc.dialect.unix));
    }, signal);
  }

  override async rename(fid: number, to: Place, signal?: Signal): Promise<void> {
    if (!to.same) throw new Err("EXDEV", `${this.rpc.dialect.name} renames only within a directory`);
    await this.wstat(fid, { name: to.name }, signal);
  }

  override async symlink(fid: number, name: string, target: string, signal?: Signal): Promise<Qid> {
    return this.#makeSpecial(fid, name, DMSYMLINK | 0o777, target, signal);
  }

  override async mknod(fid: number, name: string, perm: number, ext: string, signal?: Signal): Promise<Qid> {
    return this.#makeSpecial(fid, name, perm, ext, signal);
  }

  override async link(fid: number, dirfid: number, name: string, signal?: Signal): Promise<void> {
    await this.#makeSpecial(dirfid, name, DMLINK, String(fid), signal);
  }

  override async readlink(fid: number, signal?: Signal): Promise<string> {
    const { mode, ext } = await this.stat(fid, signal);
    if ((mode & DMSYMLINK) === 0) throw new Err("EINVAL", "not a symlink");
    return ext;
  }

  override fsync(fid: number, _dataOnly: boolean, signal?: Signal): Promise<void> {
    return this.wstat(fid, {}, signal);
  }
}

/** The entries of a directory read that began at `offset`. */
function unpackStats(data: Uint8Array, offset: U64, unix: boolean): Dirent[] {
  const r = new Reader(data).reset(0, data.length);
  const start = Number(offset);
  const entries: Dirent[] = [];
  while (r.at < r.end) entries.push({ dir: getStat(r, unix), next: start + r.at });
  return entries;
}
