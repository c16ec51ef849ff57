/**
 * Fids: what a session's client calls its files by, and what the server keeps of each.
 *
 * Layer: core/p9, below the session. A fid holds one Chan, never a path. Whoever takes a fid out of the table closes
 * it (`closeFid`), once, after the requests that still run on it.
 */

import { type Chan, Req } from "../dev.ts";
import { Err } from "../err.ts";
import type { DirReader } from "./dir_reader.ts";
import { IdTable } from "./id_table.ts";
import { type MaybePromise, NOFID, QTDIR } from "./types.ts";
import type { Xattr } from "./xattr.ts";

/** One fid. */
export class Fid {
  readonly id: number;
  /** The file; for a fid that a walk is still making, null. */
  chan: Chan | null;
  /** While a walk, open or create works on this fid: later requests on it wait. */
  ready: Promise<unknown> | null = null;
  /** Requests under way. */
  busy = 0;
  /** Remove the file when the fid is clunked (ORCLOSE). */
  removeOnClose = false;
  /** Writes go to the end (O_APPEND of 9P2000.L). */
  append = false;
  /** Where a 9P2000 listing stands. */
  dirReader: DirReader | null = null;
  /** Set while the fid stands for an extended attribute of the file. */
  xattr: Xattr | null = null;
  /** Called when `busy` is back at 0, once the fid is out of the table. */
  idle: (() => void) | null = null;

  constructor(id: number, chan: Chan | null) {
    this.id = id;
    this.chan = chan;
  }

  /** The file, which must be there. */
  get file(): Chan {
    if (!this.chan || this.xattr) throw new Err("EBADF");
    return this.chan;
  }

  /** The file, which must be a directory. */
  get dir(): Chan {
    const chan = this.file;
    if (!(chan.qid.type & QTDIR)) throw new Err("ENOTDIR");
    return chan;
  }
}

/** The fids of one session. */
export class FidTable {
  readonly #fids = new IdTable<Fid>();
  readonly #limits: { fids: number; allFids: number };
  /** Those of all tables of the server. */
  readonly #all: { count: number };

  constructor(limits: { fids: number; allFids: number }, all: { count: number }) {
    this.#limits = limits;
    this.#all = all;
  }

  get size(): number {
    return this.#fids.size;
  }

  get(id: number): Fid | undefined {
    return this.#fids.get(id);
  }

  /** Adds a fid that must be free. */
  add(id: number, chan: Chan | null): Fid {
    this.checkFree(id);
    const fid = new Fid(id, chan);
    this.#fids.set(id, fid);
    this.#all.count++;
    return fid;
  }

  /** Refuses an id that can not be given to a new fid. */
  checkFree(id: number): void {
    if (id === NOFID) throw new Err("EBADF", "NOFID is no fid");
    if (this.#fids.has(id)) throw new Err("EBADF", "fid already in use");
    const { fids, allFids } = this.#limits;
    if (this.#fids.size >= fids) throw new Err("EMFILE", `too many fids on this connection (${fids})`);
    if (this.#all.count >= allFids) throw new Err("ENFILE", `too many fids on all connections (${allFids})`);
  }

  /** Takes `fid` out, if it is still the one of that number. */
  delete(fid: Fid): void {
    if (this.#fids.get(fid.id) !== fid) return;
    this.#fids.delete(fid.id);
    this.#all.count--;
  }

  /** Takes all out. */
  drain(): Fid[] {
    const all = this.#fids.drain();
    this.#all.count -= all.length;
    return all;
  }
}

/** Clunks what a fid held, removes it first where that was asked for. The fid is out of its table, and idle. */
export function closeFid(fid: Fid): MaybePromise<void> {
  const { chan } = fid;
  fid.chan = null;
  if (!chan) return;
  if (!fid.removeOnClose) return chan.dev.clunk(chan);
  return removeAndClunk(chan);
}

async function removeAndClunk(chan: Chan): Promise<void> {
  try {
    await chan.dev.remove(chan, new Req(chan.user));
  } finally {
    await chan.dev.clunk(chan);
  }
}
