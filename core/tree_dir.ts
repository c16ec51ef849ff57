/**
 * Directories: fixed ones, ones computed on the fly, and clone directories.
 *
 * Layer: core, the helper layer for plugin authors. `nodeOf` turns what authors write into nodes; an object or a
 * function always becomes the same node, so that an author may hand it out again.
 */

import { Err, excerpt } from "./err.ts";
import type { Create, Req, User } from "./dev.ts";
import { DMDIR, MAXNAME, type MaybePromise } from "./p9/types.ts";
import { CtlFile } from "./tree_ctl.ts";
import { file, value } from "./tree_file.ts";
import {
  type Attr,
  type Compute,
  type Described,
  type DirLiteral,
  DirNode,
  FileNode,
  type Handle,
  Node,
  then,
  type Value,
} from "./tree_node.ts";

/** A directory whose entries are computed. */
export interface DynamicSpec extends Attr {
  /** The names that a listing shows. There may be more that `get` knows. */
  list(req: Req): MaybePromise<Iterable<string>>;
  /** The entry of that name, or undefined. What it answers for one name should be the same file each time. */
  get(name: string, req: Req): MaybePromise<Described | undefined>;
  /** Makes an entry, when a client may. `what.perm` has DMDIR for a directory. */
  create?(what: Create, user: User, req: Req): MaybePromise<Described>;
  /** Removes an entry, when a client may. */
  remove?(name: string, req: Req): MaybePromise<void>;
}

/** A directory from an object, with attributes. */
export function dir(children: DirLiteral, attr: Attr = {}): DirNode {
  return new FixedDir(children, attr);
}

/** A directory computed on the fly: from two functions, or from a map that its author changes. */
export function dynamic(spec: DynamicSpec): DirNode;
export function dynamic(entries: ReadonlyMap<string, Described>): DirNode;
export function dynamic(spec: DynamicSpec | ReadonlyMap<string, Described>): DirNode {
  if ("keys" in spec) return new DynamicDir({ list: () => spec.keys(), get: (name) => spec.get(name) });
  return new DynamicDir(spec);
}

/** One directory that a clone made. */
export interface Cloned {
  /** Its files; one of them must be called `ctl`. */
  files: DirLiteral;
  /** Called when the last of its files is closed: the directory has gone. */
  close?(): void;
}

/** How a clone directory behaves. */
export interface CloneSpec extends Attr {
  /** Makes the directory `id` for a user. */
  make(id: number, user: User): MaybePromise<Cloned>;
  /** Directories at a time, at the most. */
  limit?: number;
  /** Files beside `clone`. */
  files?: DirLiteral;
}

/**
 * A clone directory, as `/net/tcp` is one: opening `clone` makes the directory `N`, and is its `N/ctl` from then on.
 * A ctl file that has no `read` of its own reads as the number. `N` goes when the last open file in it is closed.
 */
export function clone(spec: CloneSpec): DirNode {
  return new CloneDir(spec);
}

/** The node of what an author wrote. */
export function nodeOf(described: Described): Node {
  if (described instanceof Node) return described;
  if (typeof described !== "object" && typeof described !== "function") return value(described);
  let node = made.get(described);
  if (!node) {
    if (typeof described === "function") node = file({ read: described as Compute });
    else if (described instanceof Uint8Array) node = value(described);
    else node = new FixedDir(described as DirLiteral, {});
    made.set(described, node);
  }
  return node;
}

const made = new WeakMap<object, Node>();

/** Whether a name can stand in a directory. */
export function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name) &&
    (name.length * 3 <= MAXNAME || new TextEncoder().encode(name).length <= MAXNAME);
}

class FixedDir extends DirNode {
  readonly #children = new Map<string, Node>();

  constructor(children: DirLiteral, attr: Attr) {
    super(attr, DMDIR | 0o555);
    for (const [name, described] of Object.entries(children)) {
      if (!isName(name)) throw new Err("EINVAL", `"${excerpt(name)}" cannot be the name of a file`);
      this.#children.set(name, nodeOf(described));
    }
  }

  override get fixed(): boolean {
    return true;
  }

  get(name: string): Node | undefined {
    return this.#children.get(name);
  }

  list(): Iterable<string> {
    return this.#children.keys();
  }
}

class DynamicDir extends DirNode {
  readonly #spec: DynamicSpec;
  /** How often a client has removed a name: a later file of that name is another file. */
  readonly #removals = new Map<string, number>();

  constructor(spec: DynamicSpec) {
    super(spec, DMDIR | (spec.create || spec.remove ? 0o755 : 0o555));
    this.#spec = spec;
  }

  get(name: string, req: Req): MaybePromise<Described | undefined> {
    return this.#spec.get(name, req);
  }

  list(req: Req): MaybePromise<Iterable<string>> {
    return this.#spec.list(req);
  }

  override salt(name: string): number {
    return this.#removals.get(name) ?? 0;
  }

  override create(what: Create, user: User, req: Req): MaybePromise<Described> {
    if (!this.#spec.create) throw new Err("EACCES");
    return this.#spec.create(what, user, req);
  }

  override remove(name: string, req: Req): MaybePromise<void> {
    if (!this.#spec.remove) throw new Err("EACCES");
    return then(this.#spec.remove(name, req), () => {
      this.#removals.set(name, this.salt(name) + 1);
    });
  }
}

/** A file that, opened, becomes another one. */
export class CloneFile extends FileNode {
  readonly #dir: CloneDir;

  constructor(owner: CloneDir) {
    super({}, 0o666);
    this.#dir = owner;
  }

  /** Makes a new directory; answers its name. */
  make(req: Req): MaybePromise<string> {
    return this.#dir.make(req);
  }

  open(): Handle {
    throw new Err("EIO", "clone was opened without a tree");
  }
}

class CloneDir extends DirNode {
  readonly #spec: CloneSpec;
  readonly #clone = new CloneFile(this);
  readonly #files: Map<string, Node>;
  readonly #live = new Map<string, ClonedDir>();
  /** Directories ever made: what tells two apart that had one number. */
  #serial = 0;

  constructor(spec: CloneSpec) {
    super(spec, DMDIR | 0o555);
    this.#spec = spec;
    this.#files = new Map(Object.entries(spec.files ?? {}).map(([name, what]) => [name, nodeOf(what)]));
    this.#files.set("clone", this.#clone);
  }

  get(name: string): Node | undefined {
    return this.#files.get(name) ?? this.#live.get(name)?.node;
  }

  list(): Iterable<string> {
    return [...this.#files.keys(), ...this.#live.keys()];
  }

  override salt(name: string): number {
    return this.#live.get(name)?.serial ?? 0;
  }

  make(req: Req): MaybePromise<string> {
    const limit = this.#spec.limit ?? 1024;
    if (this.#live.size >= limit) throw new Err("ENFILE", `all ${limit} are in use`);
    let id = 0;
    while (this.#live.has(String(id))) id++;
    const name = String(id);
    const place = new ClonedDir(++this.#serial, () => this.#live.delete(name));
    this.#live.set(name, place); // the number is taken while `make` works
    try {
      const cloned = this.#spec.make(id, req.user);
      if (!(cloned instanceof Promise)) return place.fill(id, cloned), name;
      return cloned.then((made) => (place.fill(id, made), name)).catch((thrown) => {
        this.#live.delete(name);
        throw thrown;
      });
    } catch (thrown) {
      this.#live.delete(name);
      throw thrown;
    }
  }
}

/** One directory that a clone made, from its making to its last close. */
class ClonedDir {
  readonly serial: number;
  node: DirNode | undefined;
  readonly #gone: () => void;

  constructor(serial: number, gone: () => void) {
    this.serial = serial;
    this.#gone = gone;
  }

  fill(id: number, cloned: Cloned): void {
    const ctl = cloned.files["ctl"];
    if (ctl === undefined) throw new Err("EIO", "a cloned directory has no ctl file");
    if (ctl instanceof CtlFile) ctl.read ??= (): Value => id;
    this.node = new CountedDir(cloned.files, () => {
      this.#gone();
      cloned.close?.();
    });
  }
}

/** A directory that knows when the last open file in it is closed. */
class CountedDir extends FixedDir {
  readonly #idle: () => void;
  #uses = 0;
  #gone = false;

  constructor(children: DirLiteral, idle: () => void) {
    super(children, {});
    this.#idle = idle;
  }

  override get gone(): boolean {
    return this.#gone;
  }

  override use(delta: 1 | -1): void {
    this.#uses += delta;
    if (this.#uses > 0) return;
    this.#gone = true;
    this.#idle();
  }
}
