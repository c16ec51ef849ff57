/**
 * UnionDir: the listing of an open union directory: its members' entries one after the other, the first of a name wins.
 *
 * Layer: core, used by Export. Entries are kept in the order in which they were first read, and a cookie is the
 * number of entries before it: so a listing can go back, and stays right when entries come and go. Members are opened
 * and read only as far as the reader gets. A member that cannot be read is left out, unless none can.
 */

import type { Chan, Req } from "./dev.ts";
import { type Instance, release } from "./instance.ts";
import type { Dirent, MaybePromise, U64 } from "./p9/types.ts";
import { OREAD } from "./p9/types.ts";

/** A member's directory: a Chan of one's own on it. */
export interface UnionMember {
  chan: Chan;
  readonly inst: Instance;
}

/** Makes the name space's entry of a Dev's. */
export type FixEntry = (entry: Dirent, inst: Instance, stats: boolean, req: Req) => MaybePromise<Dirent>;

export class UnionDir {
  readonly #members: UnionMember[];
  readonly #fix: FixEntry;
  #entries: Dirent[] = [];
  #names = new Set<string>();
  #member = 0;
  #cookie: U64 = 0;
  #stats = false;
  #failed: unknown;
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** Takes over the members' Chans; they are not open yet. */
  constructor(members: UnionMember[], fix: FixEntry) {
    this.#members = members;
    this.#fix = fix;
  }

  /** As Dev's readdir. Calls take turns. */
  read(cookie: U64, space: number, stats: boolean, req: Req): Promise<Dirent[]> {
    const answer = this.#turn.then(() => this.#read(Number(cookie), space, stats, req));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  close(): void {
    this.#closed = true;
    for (const { chan, inst } of this.#members) release(chan, inst);
  }

  async #read(from: number, space: number, stats: boolean, req: Req): Promise<Dirent[]> {
    if (from === 0 || stats !== this.#stats) this.#rewind(stats);
    while (this.#entries.length <= from && this.#member < this.#members.length && !this.#closed) {
      await this.#more(space, req);
    }
    if (this.#entries.length === 0 && this.#failed) throw this.#failed;
    let end = from;
    for (let left = space; end < this.#entries.length; end++) {
      left -= entrySize(this.#entries[end], stats);
      if (left < 0 && end > from) break;
    }
    return this.#entries.slice(from, end);
  }

  #rewind(stats: boolean): void {
    this.#stats = stats;
    this.#entries = [];
    this.#names.clear();
    this.#member = 0;
    this.#cookie = 0;
    this.#failed = undefined;
  }

  /** Reads on in the member that it has come to, or goes to the next. */
  async #more(space: number, req: Req): Promise<void> {
    const member = this.#members[this.#member];
    try {
      if (member.inst.gone) throw member.inst.gone;
      if (member.chan.mode === -1) await this.#open(member, req);
      const entries = await member.chan.dev.readdir(member.chan, this.#cookie, space, this.#stats, req);
      for (const entry of entries) {
        if (this.#names.has(entry.dir.name)) continue;
        this.#names.add(entry.dir.name);
        const { dir } = await this.#fix(entry, member.inst, this.#stats, req);
        this.#entries.push({ dir, next: this.#entries.length + 1 });
      }
      if (entries.length > 0) {
        this.#cookie = entries[entries.length - 1].next;
        return;
      }
    } catch (thrown) {
      // One that was there when the directory was opened is not left out: its reader has to open it again.
      if (req.flushed || member.inst.gone) throw member.inst.gone ?? thrown;
      this.#failed ??= thrown;
    }
    this.#member++;
    this.#cookie = 0;
  }

  async #open(member: UnionMember, req: Req): Promise<void> {
    const opened = await member.chan.dev.open(member.chan, OREAD, req);
    if (opened === member.chan) return;
    release(this.#closed ? opened : member.chan, member.inst);
    member.chan = opened;
  }
}

/** About what an entry takes in a message. */
function entrySize(entry: Dirent, stats: boolean): number {
  const { name, uid, gid, muid } = entry.dir;
  return stats ? 61 + 2 * name.length + uid.length + gid.length + muid.length : 24 + 2 * name.length;
}
