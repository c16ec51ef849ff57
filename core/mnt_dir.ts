/**
 * MntDir: the listing of a remote directory, in each dialect.
 *
 * Layer: core, part of the mount driver. 9P2000.L goes on at any cookie, but tells only names; what stat tells is asked
 * for entry by entry, many at once. 9P2000 and .u tell everything, but go on only where the last read ended: what the
 * reader did not take yet is kept, and one that goes back is read for from the start again.
 */

import type { Req } from "./dev.ts";
import { Err, toErr } from "./err.ts";
import type { FidOps } from "./p9/client_ops.ts";
import { type Dir, type Dirent, NOFID, QTAPPEND, QTEXCL, QTTMP, type U64 } from "./p9/types.ts";

/** Bytes of one message of entries. */
const MAX_SPACE = 64 * 1024;
/** Room that the smallest servers need for one entry with a name of 255 bytes. */
const MIN_SPACE = 1024;
/** Entries that are asked about at once. */
const STATS_AT_ONCE = 64;

export class MntDir {
  readonly #ops: FidOps;
  readonly #space: number;
  /** Entries of the last read (9P2000), and the cookie before them. */
  #batch: Dirent[] = [];
  #before: U64 = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(ops: FidOps, iounit: number) {
    this.#ops = ops;
    this.#space = Math.min(iounit, MAX_SPACE);
  }

  /** As Dev's readdir. */
  read(fid: number, cookie: U64, space: number, stats: boolean, req: Req): Promise<Dirent[]> {
    const count = Math.max(Math.min(space, this.#space), Math.min(MIN_SPACE, this.#space));
    if (this.#ops.rpc.dialect.linux) return this.#readLinux(fid, cookie, count, stats, req);
    const answer = this.#turn.then(() => this.#readClassic(fid, cookie, req));
    this.#turn = answer.catch(() => {}); // whoever asked is told
    return answer;
  }

  async #readLinux(fid: number, cookie: U64, count: number, stats: boolean, req: Req): Promise<Dirent[]> {
    const all = await this.#ops.readdir(fid, cookie, count, req.signal);
    const entries = all.filter(({ dir }) => dir.name !== "." && dir.name !== "..");
    // A batch of nothing but those two is not the end.
    if (entries.length === 0 && all.length > 0) {
      return await this.#readLinux(fid, all[all.length - 1].next, count, stats, req);
    }
    if (!stats) return entries;
    const out: Dirent[] = [];
    for (let i = 0; i < entries.length; i += STATS_AT_ONCE) {
      const some = await Promise.all(entries.slice(i, i + STATS_AT_ONCE).map((entry) => this.#stat(fid, entry, req)));
      for (const entry of some) if (entry) out.push(entry);
    }
    return out.length > 0 || entries.length === 0
      ? out
      : await this.#readLinux(fid, entries.at(-1)!.next, count, stats, req);
  }

  /** An entry with all that stat tells; null when it has gone since. */
  async #stat(fid: number, entry: Dirent, req: Req): Promise<Dirent | null> {
    try {
      const found = await this.#ops.walk(fid, [entry.dir.name], req.signal);
      if (found.fid === NOFID) return null;
      try {
        const dir = await this.#ops.stat(found.fid, req.signal);
        return { dir: this.#ops.rpc.dialect.full ? dir : completed(dir, entry.dir.name), next: entry.next };
      } finally {
        this.#ops.discard(found.fid);
      }
    } catch (thrown) {
      if (toErr(thrown).code === "ENOENT") return null;
      throw thrown;
    }
  }

  async #readClassic(fid: number, cookie: U64, req: Req): Promise<Dirent[]> {
    const end = this.#batch.at(-1)?.next ?? 0;
    for (let at = cookie === end ? end : 0;;) {
      const kept = this.#after(cookie);
      if (kept) return kept;
      const batch = await this.#next(fid, at, req);
      if (at === cookie) return batch;
      if (batch.length === 0) throw new Err("ESPIPE");
      at = batch[batch.length - 1].next;
    }
  }

  /** What is kept of the entries after `cookie`; null when there is nothing. */
  #after(cookie: U64): Dirent[] | null {
    if (this.#batch.length === 0 || cookie === 0) return null;
    if (cookie === this.#before) return this.#batch;
    const at = this.#batch.findIndex((entry) => entry.next === cookie);
    return at < 0 || at === this.#batch.length - 1 ? null : this.#batch.slice(at + 1);
  }

  async #next(fid: number, at: U64, req: Req): Promise<Dirent[]> {
    this.#batch = await this.#ops.readdir(fid, at, this.#space, req.signal);
    this.#before = at;
    return this.#batch;
  }
}

/** A Dir with what 9P2000.L does not tell: its name, the owners' numbers for names, Plan 9's bits of the mode. */
export function completed(dir: Dir, name: string): Dir {
  dir.name = name;
  if (dir.uid === "") dir.uid = String(dir.nuid);
  if (dir.gid === "") dir.gid = String(dir.ngid);
  dir.mode = (dir.mode | (dir.qid.type & (QTAPPEND | QTEXCL | QTTMP)) << 24) >>> 0;
  return dir;
}
