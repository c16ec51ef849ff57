/**
 * The mount table: which files of which Devs are mount points, and what is found there instead.
 *
 * Layer: core, below ns.ts. A Head is a mount point; its Mounts are searched in their order. A Crossing remembers
 * that a walk went through a Head, which is how `..` finds its way back. Chans that several of these use are Held:
 * counted, and clunked when the last user lets go.
 *
 * What holds always: a Head in the table has at least one Mount. Only Devs with a mount point are in the table, so
 * that a walk in any other costs one look-up. A Mount's `id` grows with time, in the order that rebuilds the table.
 *
 * See bind(2) of Plan 9.
 */

import type { Chan, Dev, Req } from "./dev.ts";
import { Err } from "./err.ts";
import { type Instance, instanceOf, release } from "./instance.ts";
import { quote } from "./path.ts";
import { type MaybePromise, QTDIR, type U64 } from "./p9/types.ts";

/** Flags of bind and mount. MCACHE is taken and kept, and changes nothing here. */
export const MREPL = 0, MBEFORE = 1, MAFTER = 2, MCREATE = 4, MCACHE = 16;
/** The flags that say where in a union. */
export const MORDER = MBEFORE | MAFTER;

/** What a file is by its Dev alone: `#ram.1` and names below it, or what was mounted and names below that. */
export interface Source {
  /** `#name.spec`; for a mount the words of its line; "" for the root that a name space began with. */
  root: string;
  names: readonly string[];
}

/** What a `mount` line says besides where. */
export interface Remote {
  /** A file of /srv, or a dial string. */
  what: string;
  aname: string;
}

/** A Dev's Chan with several users. Made with one. */
export class Held {
  readonly chan: Chan;
  readonly inst: Instance;
  readonly source: Source;
  #users = 1;

  constructor(chan: Chan, source: Source) {
    this.chan = chan;
    this.inst = instanceOf(chan.dev);
    this.source = source;
  }

  hold(): this {
    this.#users++;
    return this;
  }

  drop(): void {
    if (--this.#users === 0) release(this.chan, this.inst);
  }
}

/** One member of a union. */
export interface Mount {
  readonly id: number;
  held: Held;
  /** MCREATE, MCACHE. */
  readonly flags: number;
  /** The name as it was given, absolute; "" for the mount point itself, the member that a union began with. */
  readonly path: string;
  readonly remote?: Remote;
  /** Who made it for the plugin whose tree it is, so that it goes when that is unloaded; a user's own stays. */
  made?: "image" | "load";
}

/** A member that went with its plugin: what puts it back. */
export interface Withdrawn {
  readonly made: "image" | "load";
  readonly source: Source;
  readonly path: string;
  readonly flags: number;
  /** The mount point. */
  readonly old: string;
  /** Where it goes while others are there, and while none is: MBEFORE, MAFTER, MREPL. */
  readonly amongOthers: number;
  readonly alone: number;
}

/**
 * What a member is bound to: at once, or when what comes in the place of a plugin that has gone is there. Throws why it
 * can not be reached.
 */
export function reach(mount: Mount, req: Req): MaybePromise<Held> {
  const { inst } = mount.held;
  if (!inst.gone) return mount.held;
  if (!inst.successor) throw inst.gone;
  return inst.successor.wait(req).then(() => {
    // Its name space has ended, or the new tree has no such file: nobody puts anything there any more.
    if (mount.held.inst === inst) throw inst.gone;
    return reach(mount, req);
  });
}

/** A mount point. */
export class Head {
  /** Where it is, absolute. */
  readonly path: string;
  /** The file that is hidden. */
  from: Held;
  mounts: Mount[] = [];

  constructor(path: string, from: Held) {
    this.path = path;
    this.from = from;
  }

  drop(): void {
    for (const mount of this.mounts) mount.held.drop();
    this.mounts = [];
    this.from.drop();
  }
}

/** The way a walk came into a tree: through which member of which mount point, and what lies above. */
export class Crossing {
  readonly inst: Instance;
  /** qid.path of the tree's root: `..` leaves the tree there. */
  readonly root: U64;
  readonly head: Head | null;
  readonly mount: Mount | null;
  /** The way to the mount point itself; null where `..` ends. */
  readonly up: Crossing | null;
  /** The mount point's own file, while `up` is there. */
  readonly from: Held | null;
  #users = 1;

  constructor(root: Chan, head: Head | null, mount: Mount | null, up: Crossing | null) {
    this.inst = mount ? mount.held.inst : instanceOf(root.dev);
    this.root = root.qid.path;
    this.head = head;
    this.mount = mount;
    this.up = up ? up.hold() : null;
    this.from = up && head ? head.from.hold() : null;
  }

  hold(): this {
    this.#users++;
    return this;
  }

  drop(): void {
    if (--this.#users > 0) return;
    this.from?.drop();
    this.up?.drop();
  }
}

/** What is put on a mount point. */
export type Member = Omit<Mount, "id">;

/** The mount points of a name space. */
export class MountTable {
  #devs = new Map<Dev, Map<U64, Head>>();
  #nextId = 1;

  /** The mount points on files of `dev`. */
  on(dev: Dev): Map<U64, Head> | undefined {
    return this.#devs.get(dev);
  }

  /** The mount point that `chan` is. */
  find(chan: Chan): Head | undefined {
    return this.#devs.get(chan.dev)?.get(chan.qid.path);
  }

  *heads(): Iterable<Head> {
    for (const heads of this.#devs.values()) yield* heads.values();
  }

  /**
   * Puts `members` on the file `from`, both of which it takes over. `order` is MREPL, MBEFORE or MAFTER.
   */
  add(from: Held, path: string, members: Member[], order: number): void {
    const head = this.find(from.chan) ?? this.#insert(new Head(path, from.hold()));
    if (order === MREPL) { for (const mount of head.mounts.splice(0)) mount.held.drop(); }
    else if (head.mounts.length === 0) head.mounts.push({ id: 0, held: from.hold(), flags: 0, path: "" });
    // In the order in which one bind each would have the same effect: so do the ids.
    for (const member of order === MBEFORE ? members.toReversed() : members) {
      const mount = { id: this.#nextId++, ...member };
      if (order === MBEFORE) head.mounts.unshift(mount);
      else head.mounts.push(mount);
    }
    from.drop();
  }

  /** Takes one member off a mount point, or all of them. */
  remove(head: Head, mount?: Mount): void {
    if (mount) {
      head.mounts.splice(head.mounts.indexOf(mount), 1);
      mount.held.drop();
    }
    if (mount && head.mounts.some((m) => m.path !== "")) return;
    const heads = this.#devs.get(head.from.chan.dev);
    heads?.delete(head.from.chan.qid.path);
    if (heads?.size === 0) this.#devs.delete(head.from.chan.dev);
    head.drop();
  }

  /** Takes away what was made for a plugin, a Dev of which is `inst`; answers what puts it back. */
  withdraw(inst: Instance): Withdrawn[] {
    const withdrawn: Withdrawn[] = [];
    for (const head of [...this.heads()]) {
      const gone = head.mounts.filter(({ held, made, path }) => made && held.inst === inst && path !== "");
      for (const mount of gone) {
        const { made, held, path, flags } = mount, first = head.mounts[0] === mount;
        const amongOthers = first ? MBEFORE : MAFTER;
        // The mount point's own file is a member where a bind before or after it was the first.
        const alone = head.mounts.some((member) => member.path === "") ? amongOthers : MREPL;
        withdrawn.push({ made: made!, source: held.source, path, flags, old: head.path, amongOthers, alone });
        this.remove(head, mount);
      }
    }
    return withdrawn;
  }

  /** Takes all mount points away. */
  clear(): void {
    for (const head of this.heads()) head.drop();
    this.#devs.clear();
  }

  /** A table of its own with the same mounts. */
  copy(): MountTable {
    const table = new MountTable();
    table.#nextId = this.#nextId;
    for (const head of this.heads()) {
      const twin = table.#insert(new Head(head.path, head.from.hold()));
      twin.mounts = head.mounts.map((mount) => ({ ...mount, held: mount.held.hold() }));
    }
    return table;
  }

  /** Puts a mount point on another file: its Dev was replaced. */
  rekey(head: Head, from: Held): void {
    const heads = this.#devs.get(head.from.chan.dev);
    heads?.delete(head.from.chan.qid.path);
    if (heads?.size === 0) this.#devs.delete(head.from.chan.dev);
    head.from.drop();
    head.from = from;
    this.#insert(head);
  }

  /** The lines that rebuild the table, oldest first. */
  lines(): string[] {
    const all: { id: number; line: string }[] = [];
    for (const head of this.heads()) {
      for (const mount of head.mounts) {
        if (mount.path !== "") all.push({ id: mount.id, line: mountLine(head, mount) });
      }
    }
    return all.sort((a, b) => a.id - b.id).map((entry) => entry.line);
  }

  #insert(head: Head): Head {
    const { dev, qid } = head.from.chan;
    let heads = this.#devs.get(dev);
    if (!heads) this.#devs.set(dev, heads = new Map());
    heads.set(qid.path, head);
    return head;
  }
}

/** Refuses flags and files that do not go together. */
export function checkMount(from: Chan, to: Chan, flags: number): void {
  if ((flags & MORDER) === MORDER) throw new Err("EINVAL", "bind before and after at once");
  if (flags & ~(MORDER | MCREATE | MCACHE)) throw new Err("EINVAL", `unknown mount flags: ${flags}`);
  const dirs = (from.qid.type & QTDIR) + (to.qid.type & QTDIR);
  if (dirs === QTDIR) throw new Err("ENOTDIR", "inconsistent mount: a directory and a file");
  if (dirs === 0 && flags & MORDER) throw new Err("ENOTDIR", "inconsistent mount: a union of files");
}

/**
 * The line for one member. Its place in the union follows from those that are older: it was put before all of
 * them or after all of them; the first takes the mount point's own file away, unless that is still a member.
 */
function mountLine(head: Head, mount: Mount): string {
  const older = (m: Mount) => m.id < mount.id;
  const at = head.mounts.indexOf(mount);
  let flag = "";
  if (head.mounts.some(older)) flag = head.mounts.findIndex(older) < at ? "a" : "b";
  if (mount.flags & MCREATE) flag += "c";
  if (mount.flags & MCACHE) flag += "C";
  if (flag !== "") flag = ` -${flag}`;
  const old = quote(head.path);
  if (mount.remote) {
    const aname = mount.remote.aname === "" ? "" : ` ${quote(mount.remote.aname)}`;
    return `mount${flag} ${quote(mount.remote.what)} ${old}${aname}`;
  }
  return `bind${flag} ${quote(sourcePath(mount))} ${old}`;
}

/** The name that leads to a member however its mount points have changed since; else the name that was given. */
function sourcePath(mount: Mount): string {
  const { root, names } = mount.held.source;
  return root.startsWith("#") ? [root, ...names].join("/") : mount.path;
}
