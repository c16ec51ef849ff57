/**
 * Locks: POSIX byte-range locks of 9P2000.L, for every Dev that keeps none of its own.
 *
 * Layer: core/p9, below the session; one table a server, so that locks hold between connections. A lock belongs to
 * (session, client id, process); it is given up by an unlock, when the fid it was taken on is clunked, or when the
 * connection ends. Nothing blocks here: Linux's client asks again by itself.
 */

import type { Chan, Dev } from "../dev.ts";
import type { Flock, U64 } from "./types.ts";

/** Lock types of Tlock. */
export const LOCK_READ = 0, LOCK_WRITE = 1, LOCK_UNLOCK = 2;
/** Status of Rlock. */
export const LOCK_SUCCESS = 0, LOCK_BLOCKED = 1;

interface Held {
  owner: object;
  fid: number;
  clientId: string;
  procId: number;
  type: number;
  start: bigint;
  /** First byte after the range. */
  end: bigint;
}

/** Who asks for a lock. */
export interface LockOwner {
  /** The session. */
  session: object;
  fid: number;
}

const TO_EOF = 1n << 64n;

/** All locks of a server's files. */
export class LockTable {
  readonly #files = new Map<Dev, Map<U64, Held[]>>();

  /** Takes or gives up a lock: LOCK_SUCCESS, or LOCK_BLOCKED when another holds one in the way. */
  lock(chan: Chan, owner: LockOwner, lock: Flock): number {
    const wanted = toHeld(owner, lock);
    if (lock.type !== LOCK_UNLOCK && this.#conflict(chan, wanted)) return LOCK_BLOCKED;
    const rest = (this.#files.get(chan.dev)?.get(chan.qid.path) ?? []).flatMap((held) =>
      sameOwner(held, wanted) ? cut(held, wanted) : [held]
    );
    if (lock.type !== LOCK_UNLOCK) rest.push(wanted);
    this.#put(chan.dev, chan.qid.path, rest);
    return LOCK_SUCCESS;
  }

  /** The first lock in the way of `lock`, or `lock` itself as unlocked. */
  getlock(chan: Chan, owner: LockOwner, lock: Flock): Flock {
    const held = this.#conflict(chan, toHeld(owner, lock));
    if (!held) return { ...lock, type: LOCK_UNLOCK };
    const length = held.end === TO_EOF ? 0 : Number(held.end - held.start);
    const { type, procId, clientId } = held;
    return { type, flags: 0, start: Number(held.start), length, procId, clientId };
  }

  /** Gives up the locks that were taken on `fid`; all of the session's without one. */
  release(chan: Chan, owner: LockOwner): void {
    const files = this.#files.get(chan.dev);
    const held = files?.get(chan.qid.path);
    if (!held) return;
    const rest = held.filter((h) => h.owner !== owner.session || h.fid !== owner.fid);
    if (rest.length !== held.length) this.#put(chan.dev, chan.qid.path, rest);
  }

  #conflict(chan: Chan, wanted: Held): Held | undefined {
    return this.#files.get(chan.dev)?.get(chan.qid.path)?.find((held) =>
      !sameOwner(held, wanted) && (held.type === LOCK_WRITE || wanted.type === LOCK_WRITE) &&
      held.start < wanted.end && wanted.start < held.end
    );
  }

  #put(dev: Dev, path: U64, held: Held[]): void {
    let files = this.#files.get(dev);
    if (!files) this.#files.set(dev, files = new Map());
    if (held.length > 0) files.set(path, held);
    else files.delete(path);
    if (files.size === 0) this.#files.delete(dev);
  }
}

function toHeld(owner: LockOwner, lock: Flock): Held {
  const start = BigInt(lock.start);
  const end = lock.length === 0 ? TO_EOF : start + BigInt(lock.length);
  const { type, clientId, procId } = lock;
  return { owner: owner.session, fid: owner.fid, type, clientId, procId, start, end };
}

/** POSIX: a process' locks never stand in its own way, whatever it opened the file by. */
function sameOwner(a: Held, b: Held): boolean {
  return a.owner === b.owner && a.procId === b.procId && a.clientId === b.clientId;
}

/** What is left of `held` outside `range`. */
function cut(held: Held, range: Held): Held[] {
  if (held.end <= range.start || range.end <= held.start) return [held];
  const left: Held[] = [];
  if (held.start < range.start) left.push({ ...held, end: range.start });
  if (range.end < held.end) left.push({ ...held, start: range.end });
  return left;
}
