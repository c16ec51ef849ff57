/**
 * Pgrp: a name space, which a group of processes and exports shares.
 *
 * Layer: core, above the mount table and the walk, below Export and Proc. Paths here are absolute, or begin with
 * `#name.spec`, which names the tree of a Dev itself: no mount point is crossed on such a path.
 *
 * What holds always: what a name means at the time of a bind is what is bound. A bind that fails changes nothing.
 * The lines of `text()` rebuild the name space; a mount point that a later mount has hidden is among them, as in Plan 9.
 *
 * See bind(2), rfork(2), namespace(6) and ns(1) of Plan 9.
 */

import type { Chan, Dev, Req, User, Walk } from "./dev.ts";
import { Err, excerpt, PATH_CHARS } from "./err.ts";
import { type Instance, instanceOf, release } from "./instance.ts";
import {
  checkMount,
  Crossing,
  type Head,
  Held,
  MCREATE,
  type Member,
  MORDER,
  type Mount,
  MountTable,
  type Withdrawn,
} from "./mount.ts";
import type { Remote, Source } from "./mount.ts";
import { cleanPath, deviceOf, errOn, quote, splitPath } from "./path.ts";
import { MAXWELEM, type MaybePromise, type U64 } from "./p9/types.ts";
import { NsChan, type Start, walk, Walker } from "./walk.ts";

/** Where `#name` is looked up. */
export interface Devtab {
  /** A Chan on the root that `#name.spec` names. */
  attach(device: string, req: Req): MaybePromise<Chan>;
  /** The name spaces that look here, for when a Dev is replaced. */
  readonly pgrps: Set<Pgrp>;
}

/** A file that a path named. */
export interface Place {
  chan: NsChan;
  source: Source;
}

/** How a `#name.spec` becomes a Chan on a root. */
export type Attach = Devtab["attach"];

/**
 * Finds again by name, through `attach`, what hangs on a Dev in these name spaces: for each file what is to come in its
 * place, null where there is none. The Dev may still be there; when all is found it can be taken away and
 * `Pgrp.succeed` called without a moment between in which a name leads elsewhere.
 */
export async function seek(
  pgrps: ReadonlySet<Pgrp>,
  old: readonly Instance[],
  attach: Attach,
  req: Req,
): Promise<Map<Held, Held | null>> {
  const found = new Map<Held, Held | null>();
  const next = () => {
    for (const pgrp of pgrps) for (const held of pgrp.hanging(old)) if (!found.has(held)) return held;
  };
  try {
    // Others go on binding meanwhile, so it is over when nothing is new.
    for (let held = next(); held; held = next()) found.set(held, await again(held.source, attach, req));
    return found;
  } catch (thrown) {
    for (const held of found.values()) held?.drop();
    throw thrown;
  }
}

/** What is at a name in another tree; null when nothing is. */
async function again(source: Source, attach: Attach, req: Req): Promise<Held | null> {
  try {
    return new Held((await attachAt(source, attach, req)).chan, source);
  } catch (thrown) {
    if (thrown instanceof Err && (thrown.code === "ENOENT" || thrown.code === "ENOTDIR")) return null;
    throw thrown;
  }
}

/** A Chan on what a source names, and one on the tree's root. */
async function attachAt(source: Source, attach: Attach, req: Req): Promise<{ chan: Chan; top: Chan }> {
  const top = await attach(source.root, req);
  let chan = top;
  for (let i = 0; i < source.names.length; i += MAXWELEM) {
    const names = source.names.slice(i, i + MAXWELEM);
    const from = chan;
    try {
      const found = await chan.dev.walk(chan, names, req);
      if (found.chan === null) throw new Err("ENOENT");
      chan = found.chan;
    } finally {
      release(from, instanceOf(from.dev));
    }
  }
  return { chan, top };
}

/** A name space. Made with one user; `close` is for the last of them. */
export class Pgrp {
  readonly devtab: Devtab;
  /** Refuses `#name` paths and mounts from now on: RFNOMNT. */
  noAttach = false;
  #root: Held;
  #base: Crossing;
  #table: MountTable;
  #users = 1;

  /** Takes over `root`, the directory that `/` is before anything is mounted. */
  constructor(devtab: Devtab, root: Held, table: MountTable = new MountTable()) {
    this.devtab = devtab;
    this.#root = root;
    this.#base = new Crossing(root.chan, null, null, null);
    this.#table = table;
    devtab.pgrps.add(this);
  }

  /** One more user of the same name space. */
  share(): this {
    this.#users++;
    return this;
  }

  /** A name space with the same mounts, in which later changes of this one are not seen. */
  copy(): Pgrp {
    return this.#twin(this.#table.copy());
  }

  /** Whether `/` is a directory of this Dev. */
  standsOn(inst: Instance): boolean {
    return this.#root.inst === inst;
  }

  /** A name space with the same root and no mounts. */
  empty(): Pgrp {
    return this.#twin(new MountTable());
  }

  /** One user less; the last one takes the mounts with it. */
  close(): void {
    if (--this.#users > 0) return;
    this.devtab.pgrps.delete(this);
    this.clear();
    this.#base.drop();
    this.#root.drop();
  }

  /** Where a walk from `/` starts, for `user`. */
  start(user: User): Start {
    return { aux: this.#root.chan, user, way: this.#base, label: "/" };
  }

  /** Follows `names` from an NsChan or from `start`. What is found belongs to the Dev `as`. */
  walk(as: Dev<Chan>, from: Start | NsChan, names: string[], req: Req): MaybePromise<Walk<Chan>> {
    if (from instanceof NsChan && !(from.isTop && from.inst.gone)) return walk(this.#table, as, from, names, req);
    const walker = () => new Walker(this.#table, as, this.start(from.user), names, req);
    const ready = this.#ready(req);
    return ready ? ready.then(() => walker().run()) : walker().run();
  }

  /** While the Dev of `/` is away: resolves when it is back. */
  #ready(req: Req): Promise<void> | undefined {
    const { gone, successor } = this.#root.inst;
    return gone ? successor?.wait(req) : undefined;
  }

  /** The mount points on files of `dev`, by qid.path. */
  heads(dev: Dev): ReadonlyMap<U64, Head> | undefined {
    return this.#table.on(dev);
  }

  /** What an absolute path or a `#` path names. With `cross` false a mount point is itself the answer. */
  async resolve(as: Dev<Chan>, path: string, req: Req, cross = true): Promise<Place> {
    const device = deviceOf(path);
    try {
      if (device !== "" && this.noAttach) throw new Err("EPERM", "devices may not be named in this name space");
      if (device !== "") return await this.#resolveDevice(as, device, splitPath(cleanPath(path)), req);
      return await this.#resolveNames(as, splitPath(cleanPath(path)), req, cross);
    } catch (thrown) {
      throw errOn(path, thrown);
    }
  }

  /** The root of a Dev, also where `#name` paths are forbidden: for calls that are made of one, as pipe(2) is. */
  async device(as: Dev<Chan>, device: string, req: Req): Promise<NsChan> {
    return (await this.#resolveDevice(as, device, [], req)).chan;
  }

  /** Puts what `path` names now on `old`; of a union, all its members. `made`: not by a user, but for a plugin. */
  async bind(
    as: Dev<Chan>,
    path: string,
    old: string,
    flags: number,
    req: Req,
    made?: Mount["made"],
  ): Promise<void> {
    const place = await this.resolve(as, path, req);
    const members = membersOf(place, cleanPath(path), flags).map((member) => ({ ...member, made }));
    await this.#add(as, members, old, flags, req);
  }

  /** All that is bound by now is the image's: it comes and goes with the plugin whose tree it is. */
  claim(): void {
    for (const head of this.#table.heads()) for (const mount of head.mounts) mount.made = "image";
  }

  /** Takes away what was made for a plugin, a Dev of which is `inst`; answers what puts it back. */
  withdraw(inst: Instance): Withdrawn[] {
    return this.#table.withdraw(inst);
  }

  /** Puts back what was withdrawn, once its plugin is there again. */
  async restore(as: Dev<Chan>, mount: Withdrawn, req: Req): Promise<void> {
    const { made, source, path, flags, old } = mount;
    const { chan } = await this.#resolveDevice(as, source.root, [...source.names], req);
    const order = this.mountPoints().includes(old) ? mount.amongOthers : mount.alone;
    await this.#add(as, [{ held: new Held(chan.take(), source), flags, path, made }], old, flags | order, req);
  }

  /** Puts `root`, which a mount driver attached and which is taken over, on `old`. */
  async mount(as: Dev<Chan>, root: Chan, old: string, flags: number, remote: Remote, req: Req): Promise<void> {
    const held = new Held(root, { root: `mount ${quote(remote.what)} ${quote(remote.aname)}`, names: [] });
    if (this.noAttach) {
      held.drop();
      throw new Err("EPERM", "mounting is forbidden in this name space");
    }
    const member = { held, flags: flags & ~MORDER, path: remote.what, remote };
    await this.#add(as, [member], old, flags, req);
  }

  /** Takes `path` off the mount point `old`, or with no path all that is there. */
  async unmount(as: Dev<Chan>, path: string | null, old: string, req: Req): Promise<void> {
    const head = await this.#headAt(as, cleanPath(old), req);
    if (!head) throw new Err("EINVAL", `not mounted: ${quote(excerpt(old, PATH_CHARS))}`);
    if (path === null) return this.#table.remove(head);
    const mount = await this.#memberAt(as, head, path, req);
    if (!mount) {
      throw new Err(
        "EINVAL",
        `not in union: ${quote(excerpt(path, PATH_CHARS))} is not mounted on ${quote(excerpt(old, PATH_CHARS))}`,
      );
    }
    this.#table.remove(head, mount);
  }

  /** Takes all mounts away. */
  clear(): void {
    this.#table.clear();
  }

  /** The lines of namespace(6) that rebuild the name space from an empty one, without `cd`. */
  lines(): string[] {
    return this.#table.lines();
  }

  /** The paths that something is mounted on. */
  mountPoints(): string[] {
    return [...this.#table.heads()].map((head) => head.path);
  }

  /** Whether the root of `device` is bound at `path`. */
  shows(device: string, path: string): boolean {
    const head = [...this.#table.heads()].find((head) => head.path === path);
    return head?.mounts.some(({ held: { source } }) => source.root === device && source.names.length === 0) ?? false;
  }

  /** What hangs on files of these Devs: `/`, mount points, and what is mounted on them. */
  hanging(devs: readonly Instance[]): Held[] {
    const all = [this.#root];
    for (const head of this.#table.heads()) all.push(head.from, ...head.mounts.map((mount) => mount.held));
    return all.filter((held) => devs.includes(held.inst));
  }

  /**
   * Puts what `seek` found in the place of what has gone, at once. Answers what is not there any more, and so was
   * unmounted.
   */
  succeed(found: ReadonlyMap<Held, Held | null>): string[] {
    const lost: string[] = [];
    const root = found.get(this.#root);
    if (root) this.#setRoot(root.hold());
    for (const head of [...this.#table.heads()]) {
      const from = found.get(head.from);
      if (from === null) {
        lost.push(head.path);
        this.#table.remove(head);
        continue;
      }
      if (from) this.#table.rekey(head, from.hold());
      for (const mount of [...head.mounts]) {
        const held = found.get(mount.held);
        if (held === null) {
          lost.push(`${mount.path} on ${head.path}`);
          this.#table.remove(head, mount);
        } else if (held) {
          mount.held.drop();
          mount.held = held.hold();
        }
      }
    }
    return lost;
  }

  #twin(table: MountTable): Pgrp {
    const twin = new Pgrp(this.devtab, this.#root.hold(), table);
    twin.noAttach = this.noAttach;
    return twin;
  }

  async #resolveNames(as: Dev<Chan>, names: string[], req: Req, cross: boolean): Promise<Place> {
    await this.#ready(req);
    const walker = new Walker(this.#table, as, this.start(req.user), names, req, cross);
    const chan = (await walker.run()).chan as NsChan | null;
    if (chan === null) throw walker.failure ?? new Err("ENOENT");
    const base = (chan.way.mount?.held ?? this.#root).source;
    return { chan, source: { root: base.root, names: [...base.names, ...names.slice(walker.crossed)] } };
  }

  async #resolveDevice(as: Dev<Chan>, device: string, names: string[], req: Req): Promise<Place> {
    const attach: Attach = (device, req) => this.devtab.attach(device, req);
    const held = await attachAt({ root: device, names }, attach, req);
    const way = new Crossing(held.top, null, null, null);
    return { chan: new NsChan(as, held.chan, req.user, way, null, ""), source: { root: device, names } };
  }

  /** Takes `root` over. */
  #setRoot(root: Held): void {
    this.#base.drop();
    this.#root.drop();
    this.#root = root;
    this.#base = new Crossing(root.chan, null, null, null);
  }

  /** Takes the members over. */
  async #add(as: Dev<Chan>, members: Member[], old: string, flags: number, req: Req): Promise<void> {
    try {
      const { chan, source } = await this.resolve(as, old, req, false);
      const from = new Held(chan.take(), source);
      try {
        checkMount(from.chan, members[0].held.chan, flags);
      } catch (thrown) {
        from.drop();
        throw thrown;
      }
      this.#table.add(from, cleanPath(old), members, flags & MORDER);
    } catch (thrown) {
      for (const member of members) member.held.drop();
      throw thrown;
    }
  }

  /** The mount point `old`; one whose file cannot be reached any more is known by its name. */
  async #headAt(as: Dev<Chan>, old: string, req: Req): Promise<Head | undefined> {
    try {
      const { chan } = await this.resolve(as, old, req, false);
      const head = this.#table.find(chan.aux);
      chan.drop();
      return head;
    } catch (thrown) {
      for (const head of this.#table.heads()) if (head.path === old) return head;
      throw thrown;
    }
  }

  /** The member of a mount point that was given as `path`, or else is what `path` names. */
  async #memberAt(as: Dev<Chan>, head: Head, path: string, req: Req): Promise<Mount | undefined> {
    const given = cleanPath(path);
    const named = head.mounts.find((mount) => mount.path === given || mount.remote?.what === path);
    if (named) return named;
    const { chan } = await this.resolve(as, path, req);
    const { dev, qid } = chan.aux;
    chan.drop();
    return head.mounts.find(({ held }) => held.chan.dev === dev && held.chan.qid.path === qid.path);
  }
}

/** What a bind of `place`, which is taken over, puts on its mount point. */
function membersOf(place: Place, path: string, flags: number): Member[] {
  const { chan, source } = place;
  const kept = flags & ~MORDER;
  const mounts = chan.head?.mounts ?? [];
  if (mounts.length === 0) return [{ held: new Held(chan.take(), source), flags: kept, path }];
  // Of a union only those members take new files that did so before.
  const union = mounts.length > 1;
  const members = mounts.map((mount) => {
    const create = union ? kept & mount.flags & MCREATE : kept & MCREATE;
    return { held: mount.held.hold(), flags: (kept & ~MCREATE) | create, path };
  });
  chan.drop();
  return members;
}
