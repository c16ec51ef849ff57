/**
 * Locks: POSIX byte-range locks of 9P2000.L.
 *
 * Layer: core/p9, below the session. A server has one table for every Dev that keeps none of its own; a Dev whose locks
 * outlive it (plugins/ext2 hands them to its next instance) has one itself. A lock belongs to a process of a client: a
 * client id, which the session has made its own (`ownId`), and a process number. It is given up by an unlock, or when the
 * Chan that it was taken by is clunked.
 *
 * A request that may wait (flag 1) is answered when its turn comes (ops.ts says whose may); those of one file are granted in the order in which they
 * came, as far as nothing that is held stands in their way. Nobody looks for circles of waiters: a flush ends a wait.
 *
 * See fcntl(2) of Linux, and diod's description of 9P2000.L.
 */

import type { Chan, Dev, Req } from "../dev.ts";
import { Err } from "../err.ts";
import type { Flock, MaybePromise, U64 } from "./types.ts";

/** Lock types of Tlock. */
export const LOCK_READ = 0, LOCK_WRITE = 1, LOCK_UNLOCK = 2;
/** The flag of Tlock that has it wait. */
export const LOCK_MAY_WAIT = 1;
/** Status of Rlock. */
export const LOCK_SUCCESS = 0, LOCK_BLOCKED = 1;

/** Locks and waiters of a table at the most. */
const MAX_LOCKS = 16_384;
const TO_EOF = 1n << 64n;

/** A lock that is held. */
interface Held {
  chan: Chan;
  clientId: string;
  procId: number;
  type: number;
  start: bigint;
  /** First byte after the range. */
  end: bigint;
}

interface Waiter {
  wanted: Held;
  req: Req;
  granted(status: number): void;
  failed(why: Err): void;
}

interface FileLocks {
  held: Held[];
  waiting: Waiter[];
}

/** A lock in words that can be sent: whose it is, and by which Chan it was asked for. */
export interface LockOf {
  chan: Chan;
  lock: Flock;
}

/** The locks of many files. */
export class LockTable {
  readonly #files = new Map<Dev, Map<U64, FileLocks>>();
  #count = 0;

  /** Takes or gives up a lock: LOCK_SUCCESS, or LOCK_BLOCKED when another's is in the way and it may not wait. ENOLCK. */
  lock(chan: Chan, lock: Flock, req: Req): MaybePromise<number> {
    if (lock.type > LOCK_UNLOCK) throw new Err("EINVAL", `${lock.type} is no type of a lock`);
    const wanted = toHeld(chan, lock), file = this.#file(chan);
    if (lock.type === LOCK_UNLOCK && !file) return LOCK_SUCCESS;
    if (lock.type === LOCK_UNLOCK || !conflict(file, wanted)) {
      this.#hold(wanted);
      return LOCK_SUCCESS;
    }
    if (!(lock.flags & LOCK_MAY_WAIT)) return LOCK_BLOCKED;
    return this.#wait(file!, wanted, req);
  }

  /** The first lock in the way of `lock`, or `lock` itself as unlocked. */
  getlock(chan: Chan, lock: Flock): Flock {
    const held = conflict(this.#file(chan), toHeld(chan, lock));
    return held ? toFlock(held, 0) : { ...lock, type: LOCK_UNLOCK };
  }

  /** Gives up the locks that were taken by `chan`, and the waits for some. */
  release(chan: Chan): void {
    const file = this.#file(chan);
    if (!file) return;
    for (const waiter of file.waiting.filter(({ wanted }) => wanted.chan === chan)) {
      this.#leave(file, waiter);
      waiter.failed(new Err("EBADF"));
    }
    this.#put(chan, file, file.held.filter((held) => held.chan !== chan));
  }

  /** All locks that are held. */
  held(): LockOf[] {
    return this.#all().flatMap(({ held }) => held.map((one) => ({ chan: one.chan, lock: toFlock(one, 0) })));
  }

  /** All that wait, those of a file in their order. */
  waiting(): (LockOf & { req: Req })[] {
    return this.#all().flatMap(({ waiting }) =>
      waiting.map(({ wanted, req }) => ({ chan: wanted.chan, lock: toFlock(wanted, LOCK_MAY_WAIT), req }))
    );
  }

  /** Forgets everything; `why` is told to who waits. */
  clear(why: Err): void {
    const waiting = this.#all().flatMap((file) => file.waiting);
    this.#files.clear();
    this.#count = 0;
    for (const waiter of waiting) waiter.failed(why);
  }

  #wait(file: FileLocks, wanted: Held, req: Req): Promise<number> {
    this.#grow(1);
    return new Promise((granted, failed) => {
      const waiter: Waiter = { wanted, req, granted, failed };
      file.waiting.push(waiter);
      req.onFlush(() => {
        if (!this.#leave(file, waiter)) return;
        this.#put(wanted.chan, file, file.held);
        failed(new Err("EINTR"));
      });
    });
  }

  /** Takes a waiter out; false when it waits no more. */
  #leave(file: FileLocks, waiter: Waiter): boolean {
    const i = file.waiting.indexOf(waiter);
    if (i < 0) return false;
    file.waiting.splice(i, 1);
    this.#count--;
    return true;
  }

  /** Puts a lock, or the giving up of one, over what its owner holds there. */
  #hold(wanted: Held): void {
    const file = this.#file(wanted.chan) ?? { held: [], waiting: [] };
    this.#put(wanted.chan, file, over(file.held, wanted));
  }

  /** `held` is what is held of a file now: grants what that lets through, in order. */
  #put(chan: Chan, file: FileLocks, held: Held[]): void {
    this.#grow(held.length - file.held.length);
    file.held = held;
    while (this.#grant(file));
    this.#keep(chan, file);
  }

  /** Grants whatever nothing stands in the way of any more; false when there was none. */
  #grant(file: FileLocks): boolean {
    const waiting = file.waiting.length;
    for (const waiter of file.waiting.slice()) {
      if (conflict(file, waiter.wanted)) continue;
      this.#leave(file, waiter);
      const held = over(file.held, waiter.wanted);
      this.#count += held.length - file.held.length;
      file.held = held;
      waiter.granted(LOCK_SUCCESS);
    }
    return file.waiting.length < waiting;
  }

  /** Keeps a file in the table while there is something to know of it. */
  #keep({ dev, qid: { path } }: Chan, file: FileLocks): void {
    const files = this.#files.get(dev) ?? new Map<U64, FileLocks>();
    if (file.held.length + file.waiting.length > 0) files.set(path, file);
    else files.delete(path);
    if (files.size > 0) this.#files.set(dev, files);
    else this.#files.delete(dev);
  }

  #grow(by: number): void {
    if (by > 0 && this.#count + by > MAX_LOCKS) throw new Err("ENOLCK", `there are ${MAX_LOCKS} locks`);
    this.#count += by;
  }

  #file(chan: Chan): FileLocks | undefined {
    return this.#files.get(chan.dev)?.get(chan.qid.path);
  }

  #all(): FileLocks[] {
    return [...this.#files.values()].flatMap((files) => [...files.values()]);
  }
}

/** A client's id as one session's: two clients of one name are two, at whatever distance from the file. */
export function ownId(session: number, clientId: string): string {
  return `${session}/${clientId}`;
}

/** What the client called itself. */
export function clientOf(ownId: string): string {
  return ownId.replace(/^(\d+\/)+/, "");
}

function conflict(file: FileLocks | undefined, wanted: Held): Held | undefined {
  return file?.held.find((held) =>
    !sameOwner(held, wanted) && (held.type === LOCK_WRITE || wanted.type === LOCK_WRITE) &&
    held.start < wanted.end && wanted.start < held.end
  );
}

function toHeld(chan: Chan, { type, clientId, procId, start, length }: Flock): Held {
  const from = BigInt(start), end = BigInt(length) === 0n ? TO_EOF : from + BigInt(length);
  return { chan, type, clientId, procId, start: from, end };
}

function toFlock({ type, clientId, procId, start, end }: Held, flags: number): Flock {
  return { type, flags, start: toU64(start), length: end === TO_EOF ? 0 : toU64(end - start), procId, clientId };
}

function toU64(value: bigint): U64 {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** POSIX: a process' locks never stand in its own way, whatever it opened the file by. */
function sameOwner(a: Held, b: Held): boolean {
  return a.procId === b.procId && a.clientId === b.clientId;
}

/** What a file's locks are with one more on top of them, or without the range of an unlock. */
function over(held: Held[], wanted: Held): Held[] {
  const rest = held.flatMap((one) => sameOwner(one, wanted) ? cut(one, wanted) : [one]);
  return wanted.type === LOCK_UNLOCK ? rest : [...rest, wanted];
}

/** What is left of `held` outside `range`. */
function cut(held: Held, range: Held): Held[] {
  if (held.end <= range.start || range.end <= held.start) return [held];
  const left: Held[] = [];
  if (held.start < range.start) left.push({ ...held, end: range.start });
  if (range.end < held.end) left.push({ ...held, start: range.end });
  return left;
}
