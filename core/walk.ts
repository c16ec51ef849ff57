/**
 * Walking through a name space: over mount points, through unions, and back up by `..`.
 *
 * Layer: core, between the mount table and Pgrp. An NsChan is a Dev's Chan with the way by which it was reached.
 * When every Dev on the way answers at once, so does the walk.
 *
 * What holds always: an NsChan owns its Dev's Chan and a hold on its Crossing; `drop` lets go of both, once. A place
 * that is a mount point is named by the mount point, not by what was mounted there: each walk looks again.
 *
 * See walk(5), and bind(2) for unions, of Plan 9.
 */

import { Chan, type Dev, type Req, type User, type Walk } from "./dev.ts";
import { Err } from "./err.ts";
import { type Instance, release } from "./instance.ts";
import { Crossing, type Head, type Held, type Mount, type MountTable, reach } from "./mount.ts";
import { dirAndName } from "./path.ts";
import { MAXWELEM, type MaybePromise, type Qid } from "./p9/types.ts";
import type { UnionDir } from "./union.ts";

/** A file of a name space. `aux` is the Chan of the Dev that has it; `qid` is its qid made unique over all Devs. */
export class NsChan extends Chan<Chan> {
  inst: Instance;
  /** The way into the tree that the file is in. */
  way: Crossing;
  /** The mount point that this is, if it is one. */
  head: Head | null;
  /** What stat calls it; "" for the Dev's own name of it. */
  label: string;
  /** The listing under way, when this is an open union. */
  union: UnionDir | null = null;
  /** Whether it stands for the `/` of its name space, whichever Dev that is. */
  isTop = false;

  /** Takes over `chan` and a hold on `way`. */
  constructor(as: Dev<Chan>, chan: Chan, user: User, way: Crossing, head: Head | null, label: string) {
    super(as, way.inst.fold(chan.qid), chan, user);
    this.inst = way.inst;
    this.way = way;
    this.head = head;
    this.label = label;
  }

  /** The Dev's Chan, or the error that its Dev has gone. */
  get live(): Chan {
    if (this.inst.gone) throw this.inst.gone;
    return this.aux;
  }

  /**
   * Whether it stands for a place, and not only for a file: then it is found again when its Dev has gone. An open one
   * does not.
   */
  get isPlace(): boolean {
    return this.mode === -1 && (this.isTop || this.head !== null);
  }

  /** It is now what `found`, which is taken over, is. */
  move(found: NsChan): void {
    this.way.drop();
    release(this.aux, this.inst);
    this.aux = found.aux;
    this.inst = found.inst;
    this.qid = found.qid;
    this.way = found.way;
    this.head = found.head;
  }

  /** It is now a file made in the directory that it was; of a union, in the member `mount`. */
  became(mount: Mount | null): void {
    if (mount && mount !== this.way.mount) {
      const way = new Crossing(mount.held.chan, this.head, mount, this.way.up);
      this.way.drop();
      this.way = way;
    }
    this.head = null;
    this.label = "";
  }

  /** Gives the Dev's Chan to the caller, and lets go of the rest. */
  take(): Chan {
    this.way.drop();
    return this.aux;
  }

  /** Lets go of everything. */
  drop(): void {
    this.union?.close();
    this.way.drop();
    release(this.aux, this.inst);
  }
}

/** Follows `names` from `from`; the new Chan belongs to the Dev `as`. */
export function walk(
  table: MountTable,
  as: Dev<Chan>,
  from: NsChan,
  names: string[],
  req: Req,
): MaybePromise<Walk<Chan>> {
  // A mount point is searched by its members, whatever has become of the one that it was reached by.
  const chan = from.head === null ? from.live : from.aux;
  if (from.head !== null || table.on(chan.dev) !== undefined || names.includes("..")) {
    return new Walker(table, as, from, names, req).run();
  }
  const found = chan.dev.walk(chan, names, req);
  return found instanceof Promise
    ? found.then((found) => below(as, from, names, found))
    : below(as, from, names, found);
}

/** What a walk found that met no mount point. */
function below(as: Dev<Chan>, from: NsChan, names: string[], found: Walk): Walk<Chan> {
  const inst = from.way.inst;
  const qids = found.qids.map((qid) => inst.fold(qid));
  if (found.chan === null) return { qids, chan: null };
  const label = names.length === 0 ? from.label : "";
  return { qids, chan: new NsChan(as, found.chan, from.user, from.way.hold(), null, label) };
}

/** A place from which a walk starts: an NsChan, or the root of a name space. */
export type Start = Pick<NsChan, "aux" | "user" | "way" | "label">;

/**
 * One walk under way. It stands either at a mount point (`#at`, with `#way` the way to the point, null where `..`
 * ends), or on `#chan` in the tree into which `#way` leads. It holds `#way` and what `#at` hides, and owns `#chan`
 * when `#owned`.
 */
export class Walker {
  readonly #table: MountTable;
  readonly #as: Dev<Chan>;
  readonly #user: User;
  readonly #names: string[];
  readonly #req: Req;
  readonly #crossLast: boolean;
  readonly #qids: Qid[] = [];
  #way: Crossing | null;
  #at: Head | null = null;
  #hidden: Held | null = null;
  #chan: Chan;
  #owned = false;
  #label: string;
  /** The mount point of which `#chan` is a member. */
  #landed: Head | null = null;
  /** How many names have been walked. */
  #done = 0;
  /** How many names had been walked when the last mount point was met. */
  crossed = 0;
  /** Why the walk ended before its last name, if that is known. */
  failure: unknown;
  /** Why a member could not be reached. */
  #unreachable: unknown;

  /** With `crossLast` false a mount point that the last name leads to is itself the result. */
  constructor(table: MountTable, as: Dev<Chan>, start: Start, names: string[], req: Req, crossLast = true) {
    this.#table = table;
    this.#as = as;
    this.#user = start.user;
    this.#names = names;
    this.#req = req;
    this.#crossLast = crossLast;
    this.#label = start.label;
    this.#chan = start.aux;
    this.#way = start.way.hold();
    if (crossLast || names.length > 0) this.#settle();
  }

  run(): MaybePromise<Walk<Chan>> {
    try {
      for (;;) {
        if (this.#done === this.#names.length && this.#owned) return this.#land();
        const step = this.#names[this.#done] === ".." ? this.#climb() : this.#descend(this.#ahead(), 0, undefined);
        if (step instanceof Promise) {
          return step.then((on) => on ? this.run() : this.#stop(), (thrown) => this.#fail(thrown));
        }
        if (!step) return this.#stop();
      }
    } catch (thrown) {
      return this.#fail(thrown);
    }
  }

  /** The names up to the next `..`, as many as one walk takes. */
  #ahead(): string[] {
    let end = this.#done;
    const limit = Math.min(this.#names.length, end + MAXWELEM);
    while (end < limit && this.#names[end] !== "..") end++;
    return this.#done === 0 && end === this.#names.length ? this.#names : this.#names.slice(this.#done, end);
  }

  /** Walks `run` in the first member, from number `m` on, that has its first name. False: not all of it is there. */
  #descend(run: string[], m: number, failed: unknown): MaybePromise<boolean> {
    const mounts = this.#at?.mounts;
    for (; m < (mounts ? mounts.length : 1); m++) {
      const mount = mounts ? mounts[m] : null;
      const chan = mount ? mount.held.chan : this.#chan;
      const inst = mount ? mount.held.inst : this.#way!.inst;
      try {
        if (inst.gone) {
          if (mount && inst.successor) return this.#await(mount, run, m, failed);
          throw inst.gone;
        }
        const found = chan.dev.walk(chan, run, this.#req);
        if (!(found instanceof Promise)) return this.#arrive(found, mount);
        const lost = () => mount !== null && inst.gone !== null && !this.#req.flushed;
        return found.then(
          (found) => lost() ? this.#await(mount!, run, m, failed) : this.#arrive(found, mount),
          (thrown) => lost() ? this.#await(mount!, run, m, failed) : this.#descend(run, m + 1, failed ?? thrown),
        );
      } catch (thrown) {
        failed ??= thrown;
      }
    }
    throw failed ?? new Err("ENOENT");
  }

  /**
   * Walks in a member once what comes in its place is there. When nothing comes, another member may have the name; but
   * that none has it does not mean that there is no such file.
   */
  async #await(mount: Mount, run: string[], m: number, failed: unknown): Promise<boolean> {
    try {
      await reach(mount, this.#req);
    } catch (thrown) {
      this.#unreachable = thrown;
      return await this.#descend(run, m + 1, isAbsence(failed) ? thrown : failed);
    }
    const now = this.#at!.mounts.indexOf(mount);
    return await this.#descend(run, now < 0 ? m : now, failed);
  }

  /** Takes what a Dev found, up to the first mount point. */
  #arrive(found: Walk, mount: Mount | null): boolean {
    this.#disown();
    if (mount) {
      this.#landed = this.#at;
      this.#setWay(new Crossing(mount.held.chan, this.#at, mount, this.#way));
      this.#leave();
    }
    const inst = this.#way!.inst;
    const heads = this.#table.on(inst.dev);
    for (const qid of found.qids) {
      this.#landed = null;
      this.#done++;
      const head = heads?.get(qid.path);
      if (head && (this.#crossLast || this.#done < this.#names.length)) {
        if (found.chan) release(found.chan, inst);
        this.#label = this.#names[this.#done - 1];
        this.#stand(head);
        this.#qids.push(this.#qid());
        return true;
      }
      this.#label = "";
      this.#qids.push(inst.fold(qid));
    }
    if (found.chan === null) return false;
    this.#chan = found.chan;
    return this.#owned = true;
  }

  /** One step up: out of the trees whose roots this is, then to the parent. At the top it stays. */
  #climb(): MaybePromise<boolean> {
    let way = this.#way;
    let chan = this.#at ? this.#at.from.chan : this.#chan;
    while (way?.up && isRoot(chan, way)) {
      chan = way.from!.chan;
      way = way.up;
    }
    if (way === null || isRoot(chan, way)) return this.#arriveUp(chan, way, false);
    if (way.inst.gone) throw way.inst.gone;
    const tree = way;
    const found = chan.dev.walk(chan, [".."], this.#req);
    if (!(found instanceof Promise)) return this.#arriveUp(found.chan!, tree, true);
    return found.then((found) => this.#arriveUp(found.chan!, tree, true));
  }

  /** Goes on from `chan`, which `..` led to: a new one, or the top. */
  #arriveUp(chan: Chan, way: Crossing | null, fresh: boolean): boolean {
    this.#landed = null;
    this.#done++;
    if (way !== null) {
      if (this.#at || chan !== this.#chan) this.#disown();
      this.#setWay(way.hold());
      this.#leave();
      this.#chan = chan;
      this.#owned ||= fresh;
      this.#label = fresh ? "" : "/";
      this.#settle();
    }
    this.#qids.push(this.#qid());
    return true;
  }

  /** Goes to stand at the mount point that `#chan` is, if it is one; a root of a tree is the point it was met by. */
  #settle(): void {
    const way = this.#way!;
    const back = way.head !== null && way.head.mounts.length > 0 && isRoot(this.#chan, way) ? way.head : null;
    const head = back ?? this.#table.find(this.#chan);
    if (!head) return;
    this.#disown();
    this.#stand(head);
    if (back) this.#setWay(way.up ? way.up.hold() : null);
    if (back && !way.up) this.#label = "/";
    else this.#label ||= dirAndName(head.path)[1] || "/";
  }

  #stand(head: Head): void {
    this.crossed = this.#done;
    this.#at = head;
    this.#hidden = head.from.hold();
  }

  #leave(): void {
    this.#at = null;
    this.#hidden?.drop();
    this.#hidden = null;
  }

  /** Takes over a hold on `way`. */
  #setWay(way: Crossing | null): void {
    this.#way?.drop();
    this.#way = way;
  }

  #disown(): void {
    if (this.#owned) release(this.#chan, this.#way!.inst);
    this.#owned = false;
  }

  /** The qid of where it stands. */
  #qid(): Qid {
    if (!this.#at) return this.#way!.inst.fold(this.#chan.qid);
    const mounts = this.#at.mounts;
    const { inst, chan } = (mounts.find((mount) => !mount.held.inst.gone) ?? mounts[0]).held;
    return inst.fold(chan.qid);
  }

  #land(): Walk<Chan> {
    this.#leave();
    const chan = new NsChan(this.#as, this.#chan, this.#user, this.#way!, this.#landed, this.#label);
    // A mount point that was met may have had to wait for what is there now.
    if (this.#qids.length > 0) this.#qids[this.#qids.length - 1] = chan.qid;
    return { qids: this.#qids, chan };
  }

  /** Ends where a later name is missing. */
  #stop(): Walk<Chan> {
    this.#disown();
    this.#leave();
    this.#setWay(null);
    return { qids: this.#qids, chan: null };
  }

  /**
   * The first name that cannot be walked is an error, a later one that is not there ends the walk. That a plugin is down, or
   * what was mounted has gone, is an error everywhere: to a client a walk that ended early says that there is no such file.
   */
  #fail(thrown: unknown): Walk<Chan> {
    this.failure = thrown;
    const walk = this.#stop();
    if (this.#done === this.#names.length) walk.qids.pop();
    if (walk.qids.length === 0 || thrown === this.#unreachable || isGone(thrown)) throw thrown;
    return walk;
  }
}

/** Whether a failure says no more than that a file is not there. */
function isAbsence(failed: unknown): boolean {
  return failed === undefined || (failed instanceof Err && failed.code === "ENOENT");
}

function isGone(thrown: unknown): boolean {
  return thrown instanceof Err && thrown.code === "ESTALE";
}

function isRoot(chan: Chan, way: Crossing): boolean {
  return chan.qid.path === way.root && chan.dev === way.inst.dev;
}
