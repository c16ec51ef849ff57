/**
 * Dev: the contract of everything that serves files; Chan: a reference to one of its files; Req: one request.
 *
 * Layer: core, below the name space and the 9P server, which both know nothing of a tree but this. A plugin is a Dev.
 * Each operation may answer at once or with a promise; one that answers at once is never made to wait.
 *
 * What holds always:
 * - Each Chan that `attach`, `walk`, `open` or `create` gave out is clunked exactly once, whether opened or not,
 *   removed or not. `open` and `create` may answer the Chan they were given.
 * - `read`'s `dst` and `write`'s `data` are borrowed until the call returns, not until its promise resolves: an
 *   operation that goes on later answers bytes of its own, and copies what it keeps.
 * - Errors are thrown `Err`s. A refused operation has changed nothing.
 *
 * See intro(5) of Plan 9, and dev(9) for its forebear.
 */

import { Err } from "./err.ts";
import type { Dir, Dirent, Flock, MaybePromise, Qid, Statfs, U64, Wstat } from "./p9/types.ts";

/** Who asks. Names are Plan 9's, numbers Unix's; a user has a group of the same name and number. */
export interface User {
  readonly name: string;
  /** Unix number, or NONUNAME. */
  readonly uid: number;
  readonly gid: number;
}

/** What a read answers after it has given its bytes to `Req.deliver`. */
export const DELIVERED = new Uint8Array(0);

/** One request under way: who asks, and whether it was given up. */
export class Req {
  readonly user: User;
  /**
   * For a read that answers later: takes bytes that are at hand for a moment only, and answers whether it has; then the
   * read answers DELIVERED. Saves a driver the copy that the rule on borrowed bytes would ask of it.
   */
  deliver: ((bytes: Uint8Array) => boolean) | null = null;
  #abort: AbortController | undefined;
  #flushed = false;
  #onFlush: (() => void)[] | undefined;

  constructor(user: User) {
    this.user = user;
  }

  /** True once the client has flushed the request or gone away. */
  get flushed(): boolean {
    return this.#flushed;
  }

  /** Aborts when the request is flushed. Made on first use: reading it costs about a microsecond. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#flushed) this.#abort.abort(new Err("EINTR"));
    }
    return this.#abort.signal;
  }

  /**
   * Calls `fn` when the request is flushed, at once if it was. For those who find `signal` too dear; there is no taking
   * back, so `fn` does nothing when its work is done.
   */
  onFlush(fn: () => void): void {
    if (this.#flushed) fn();
    else if (this.#onFlush) this.#onFlush.push(fn);
    else this.#onFlush = [fn];
  }

  /** Gives the request up: what blocks on it ends with EINTR. */
  flush(): void {
    if (this.#flushed) return;
    this.#flushed = true;
    this.#abort?.abort(new Err("EINTR"));
    for (const fn of this.#onFlush ?? []) fn();
  }
}

/** A reference to a file of a Dev: what a fid names. Open when `mode` is not -1. */
export class Chan<T = unknown> {
  readonly dev: Dev<T>;
  qid: Qid;
  /** The Dev's own: which file, and what it keeps of an open one. */
  aux: T;
  /** Who attached. */
  readonly user: User;
  /** OREAD, OWRITE, ... with OTRUNC and ORCLOSE; -1 when not open. */
  mode = -1;

  constructor(dev: Dev<T>, qid: Qid, aux: T, user: User) {
    this.dev = dev;
    this.qid = qid;
    this.aux = aux;
    this.user = user;
  }
}

/** How far a walk came: a qid a name; `chan` only when every name was found. */
export interface Walk<T = unknown> {
  qids: Qid[];
  chan: Chan<T> | null;
}

/** What a create asks for. */
export interface Create {
  name: string;
  /** Open mode of the new file. */
  mode: number;
  /** DM bits and permissions, as they came. */
  perm: number;
  /** Whether the Dev masks `perm` with the directory's (`createPerm`): 9P2000 asks for it, 9P2000.L's clients have a umask. */
  mask: boolean;
  /** Numeric group (9P2000.L), or NONUNAME. */
  ngid: number;
}

/**
 * A server of files. `T` is what it keeps in `Chan.aux`.
 *
 * Every operation that a tree does not have refuses with the error that says so, so that a read-only tree is
 * attach, walk, open, read, readdir and stat.
 */
export abstract class Dev<T = unknown> {
  /** What it is called, as in `#ram`. */
  abstract readonly name: string;
  /**
   * Whether `read` and `write` take memory that is shared between isolates, too: no decoder, no host call, nothing but
   * copies. Saves large data a copy where the Dev is in an isolate.
   */
  readonly shared: boolean = false;

  /** A Chan on the root of the tree that `aname` selects. */
  abstract attach(user: User, aname: string, req: Req): MaybePromise<Chan<T>>;

  /**
   * Follows at most MAXWELEM names from `c`, which stays as it is. No names: a clone.
   * The first name missing throws; a later one ends the walk there (`chan` null). `..` at the root is the root.
   */
  abstract walk(c: Chan<T>, names: string[], req: Req): MaybePromise<Walk<T>>;

  /** Opens `c` after checking its permissions once; sets `mode`. */
  abstract open(c: Chan<T>, mode: number, req: Req): MaybePromise<Chan<T>>;

  /** Reads at most `dst.length` bytes at `offset`: the count it put into `dst`, or bytes of its own (no more than that). 0 is the end. */
  abstract read(c: Chan<T>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array>;

  /** What stat(5) tells of the file. */
  abstract stat(c: Chan<T>, req: Req): MaybePromise<Dir>;

  /**
   * Entries of an open directory after `cookie` (0 is the start, else some entry's `next`), at least one unless at
   * the end, and about as many as fit in `space` bytes. With `stats` every `dir` is complete.
   */
  readdir(_c: Chan<T>, _cookie: U64, _space: number, _stats: boolean, _req: Req): MaybePromise<Dirent[]> {
    throw new Err("ENOTDIR");
  }

  /** Writes at `offset` (ignored by an append-only file): the count that was taken. */
  write(_c: Chan<T>, _data: Uint8Array, _offset: number, _req: Req): MaybePromise<number> {
    throw new Err("EACCES");
  }

  /** Lets go of `c`. */
  clunk(_c: Chan<T>): MaybePromise<void> {}

  /** Makes a file or directory in the directory `c`, and opens it. */
  create(_c: Chan<T>, _what: Create, _req: Req): MaybePromise<Chan<T>> {
    throw new Err("EACCES");
  }

  /** Removes the file from its directory. `c` and other open Chans of it go on until they are clunked. */
  remove(_c: Chan<T>, _req: Req): MaybePromise<void> {
    throw new Err("EACCES");
  }

  /** Changes what `w` names: all of it or nothing. */
  wstat(_c: Chan<T>, _w: Wstat, _req: Req): MaybePromise<void> {
    throw new Err("EPERM");
  }

  /** Moves `c` into the directory `dir` under `name`, over what stands there if that may be replaced. */
  rename(_c: Chan<T>, _dir: Chan<T>, _name: string, _req: Req): MaybePromise<void> {
    throw new Err("EPERM");
  }

  /** A hard link to `c` in `dir`. */
  link(_c: Chan<T>, _dir: Chan<T>, _name: string, _req: Req): MaybePromise<void> {
    throw new Err("EOPNOTSUPP");
  }

  /** A symlink in `dir`. */
  symlink(_dir: Chan<T>, _name: string, _target: string, _ngid: number, _req: Req): MaybePromise<Qid> {
    throw new Err("EOPNOTSUPP");
  }

  /** A symlink's target. */
  readlink(_c: Chan<T>, _req: Req): MaybePromise<string> {
    throw new Err("EINVAL");
  }

  /** A device, fifo or socket file in `dir`; `perm` has its DM bit, `ext` is `b 8 0` or `c 1 3` for a device. */
  mknod(_dir: Chan<T>, _name: string, _perm: number, _ext: string, _ngid: number, _req: Req): MaybePromise<Qid> {
    throw new Err("EOPNOTSUPP");
  }

  statfs(_c: Chan<T>, _req: Req): MaybePromise<Statfs> {
    throw new Err("ENOSYS");
  }

  /** Brings the file to stable storage; a tree in memory has nothing to do. */
  fsync(_c: Chan<T>, _dataOnly: boolean, _req: Req): MaybePromise<void> {}

  /**
   * Takes or frees a byte-range lock: 0 granted, 1 held by another (9P2000.L's status); with flag 1 it is answered when
   * it is granted. `clientId` tells clients of one name apart. A Dev that answers undefined leaves it to the server's own
   * lock table.
   */
  lock(_c: Chan<T>, _lock: Flock, _req: Req): MaybePromise<number> | undefined {
    return undefined;
  }

  /** The lock that stands in the way of `lock`, or `lock` with type unlock; undefined as for `lock`. */
  getlock(_c: Chan<T>, _lock: Flock, _req: Req): MaybePromise<Flock> | undefined {
    return undefined;
  }

  getxattr(_c: Chan<T>, _name: string, _req: Req): MaybePromise<Uint8Array> {
    throw new Err("EOPNOTSUPP");
  }

  listxattr(_c: Chan<T>, _req: Req): MaybePromise<string[]> {
    throw new Err("EOPNOTSUPP");
  }

  /** Sets an attribute, or removes it (null). `flags`: 1 must not exist, 2 must exist. */
  setxattr(_c: Chan<T>, _name: string, _value: Uint8Array | null, _flags: number, _req: Req): MaybePromise<void> {
    throw new Err("EOPNOTSUPP");
  }
}
