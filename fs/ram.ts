/**
 * A file system in memory: nodes, the names that lead to them, and what they use of the tree's space.
 *
 * Layer: fs, over ram_data.ts (bytes) and ram_dir.ts (names); plugins/ram serves it. It keeps the structure right and
 * asks nobody's permission: that is the Dev's part.
 *
 * What holds always:
 * - A directory has one entry, any other node `nlink` of them. An entry that was unlinked has `dir` null.
 * - A node lives until its last name and its last reference (`hold`, `release`) are gone; then its space comes back.
 * - Each entry counts as a file, each chunk and attribute as bytes, against the tree's limits and its owner's.
 *
 * See inode(7) of Linux for times and link counts.
 */

import type { Clock } from "../core/clock.ts";
import { Err } from "../core/err.ts";
import { DMDIR, NONUNAME, type Qid } from "../core/p9/types.ts";
import { RamData, type Space } from "./ram_data.ts";
import { RamDir } from "./ram_dir.ts";

/** Links to one file at the most. */
export const MAX_LINKS = 65_000;

/** What a tree, and each owner in it, may use; 0 is no limit. */
export interface RamLimits {
  bytes: number;
  files: number;
  userBytes: number;
  userFiles: number;
}

/** A user by name and number (NONUNAME: none). */
export interface Id {
  readonly name: string;
  readonly id: number;
}

interface Usage {
  bytes: number;
  files: number;
}

/** A name in a directory: what a fid refers to, so that it follows a rename and knows which of the names it came by. */
export class Entry {
  seq = 0;
  /** The directory it is in; null once it is unlinked. The root is in itself. */
  dir: Node | null = null;

  constructor(public name: string, readonly node: Node) {}
}

/** A file of any kind. */
export class Node implements Space {
  uid: string;
  nuid: number;
  gid: string;
  ngid: number;
  muid: string;
  nmuid: number;
  vers = 0;
  nlink = 0;
  /** Chans that refer to it. */
  refs = 0;
  atime = 0;
  atimeNsec = 0;
  mtime = 0;
  mtimeNsec = 0;
  ctime = 0;
  ctimeNsec = 0;
  /** A symlink's target, or a device's `b 8 0`. */
  ext = "";
  rdev = 0;
  /** Who has it open for exclusive use. */
  opener: unknown = null;
  data: RamData | null = null;
  dir: RamDir<Entry> | null = null;
  /** A directory's own name. */
  entry: Entry | null = null;
  xattrs: Map<string, Uint8Array> | null = null;
  #qid: Qid | null = null;

  constructor(readonly tree: RamTree, readonly path: number, public mode: number, owner: Id, group: Id) {
    this.uid = this.muid = owner.name;
    this.nuid = this.nmuid = owner.id;
    this.gid = group.name;
    this.ngid = group.id;
  }

  /** Its qid: the same object until the content changes. */
  get qid(): Qid {
    if (this.#qid?.vers === this.vers && this.#qid.type === this.mode >>> 24) return this.#qid;
    return this.#qid = { type: this.mode >>> 24, vers: this.vers, path: this.path };
  }

  /** Length of a file, bytes. */
  get size(): number {
    return this.data ? this.data.size : 0;
  }

  available(): number {
    return this.tree.available(this);
  }

  take(bytes: number): void {
    this.tree.charge(this, bytes, 0);
  }
}

/** One tree. */
export class RamTree {
  readonly root: Entry;
  readonly limits: RamLimits;
  readonly used: Usage = { bytes: 0, files: 0 };
  /** What each owner uses, when owners have limits. */
  #owners = new Map<string | number, Usage>();
  readonly #clock: Clock;
  readonly #nextPath: () => number;

  /** `nextPath` gives qid paths, none of them twice. */
  constructor(clock: Clock, nextPath: () => number, limits: RamLimits, root: { mode: number; owner: Id; group: Id }) {
    this.#clock = clock;
    this.#nextPath = nextPath;
    this.limits = limits;
    const node = this.makeNode(root.mode | DMDIR, root.owner, root.group);
    this.root = node.entry = new Entry("/", node);
    this.root.dir = node;
    node.nlink = 2;
    this.charge(node, 0, 1);
  }

  /** A node with no name yet. */
  makeNode(mode: number, owner: Id, group: Id): Node {
    const node = new Node(this, this.#nextPath(), mode >>> 0, owner, group);
    if (mode & DMDIR) node.dir = new RamDir();
    else node.data = new RamData(node);
    this.touch(node, true, true, true);
    return node;
  }

  /** Gives `node` a (further) name. The name must be checked and free. */
  link(dir: Node, name: string, node: Node): Entry {
    if (dir.nlink === 0) throw new Err("ENOENT");
    if (node.nlink >= MAX_LINKS) throw new Err("EMLINK");
    this.#admitFile(node);
    const entry = new Entry(name, node);
    entry.dir = dir;
    dir.dir!.add(entry);
    node.nlink++;
    if (node.dir) {
      node.entry = entry;
      node.nlink++;
      dir.nlink++;
    }
    this.charge(node, 0, 1);
    this.changed(dir);
    changedWith(node, dir);
    return entry;
  }

  /** Takes a name away: ENOTEMPTY for a directory with entries, EBUSY for the root. */
  unlink(entry: Entry): void {
    const { dir, node } = entry;
    if (!dir) throw new Err("ENOENT");
    if (entry === this.root) throw new Err("EBUSY");
    if (node.dir && node.dir.size > 0) throw new Err("ENOTEMPTY");
    dir.dir!.remove(entry);
    this.changed(dir);
    this.#dropped(entry, dir);
  }

  /** Moves `entry` to `name` in `dir`, over `old`, which stands there. All that rename(2) asks of types is checked. */
  move(entry: Entry, dir: Node, name: string, old: Entry | undefined): void {
    const from = entry.dir, { node } = entry;
    if (!from || dir.nlink === 0) throw new Err("ENOENT");
    if (entry === this.root || old === this.root) throw new Err("EBUSY");
    if (old && old.node === node) return;
    if (node.dir) this.#checkNotInside(node, dir);
    if (old) checkReplaces(node, old.node);
    this.changed(dir);
    if (from !== dir) this.changed(from);
    changedWith(node, dir);
    if (from === dir && !old) dir.dir!.rename(entry, name);
    else this.#moveOver(entry, from, dir, name, old);
  }

  /** Counts a reference to the node: it lives until `release`. */
  hold(node: Node): void {
    node.refs++;
  }

  release(node: Node): void {
    node.refs--;
    this.#reap(node);
  }

  /** Writes, and says how many bytes found room; ENOSPC or EDQUOT when none did. */
  write(node: Node, bytes: Uint8Array, offset: number): number {
    const count = node.data!.write(bytes, offset);
    if (count === 0 && bytes.length > 0) throw this.fullError(node);
    this.changed(node);
    return count;
  }

  truncate(node: Node, size: number): void {
    node.data!.truncate(size);
    this.changed(node);
  }

  /** Sets a symlink's target or a device's numbers. */
  setExt(node: Node, ext: string): void {
    if (ext.length > this.available(node)) throw this.fullError(node);
    node.ext = ext;
    this.charge(node, ext.length, 0);
  }

  /** Sets an extended attribute, or removes it (null). */
  setXattr(node: Node, name: string, value: Uint8Array | null): void {
    const old = node.xattrs?.get(name);
    const more = (value ? name.length + value.length : 0) - (old ? name.length + old.length : 0);
    if (more > 0 && more > this.available(node)) throw this.fullError(node);
    if (value) (node.xattrs ??= new Map()).set(name, value.slice());
    else node.xattrs?.delete(name);
    this.charge(node, more, 0);
    this.touch(node, false, false, true);
  }

  /** Gives the node to another owner, with what it uses. EDQUOT when that is too much for the new one. */
  chown(node: Node, owner: Id): void {
    const bytes = bytesOf(node), files = filesOf(node);
    this.checkChown(node, owner);
    this.charge(node, -bytes, -files);
    node.uid = owner.name;
    node.nuid = owner.id;
    this.charge(node, bytes, files);
  }

  /** Throws when `chown` would. */
  checkChown(node: Node, owner: Id): void {
    const key = ownerKey(owner.name, owner.id);
    const { userBytes, userFiles } = this.limits;
    if (key === ownerKey(node.uid, node.nuid)) return;
    const usage = this.#owners.get(key);
    if (userBytes && (usage?.bytes ?? 0) + bytesOf(node) > userBytes) throw new Err("EDQUOT");
    if (userFiles && (usage?.files ?? 0) + filesOf(node) > userFiles) throw new Err("EDQUOT");
  }

  /** Bytes that the node may still take. */
  available(node: Node): number {
    const { bytes, userBytes } = this.limits;
    const free = bytes ? bytes - this.used.bytes : Infinity;
    if (!userBytes) return free;
    return Math.min(free, userBytes - (this.#owners.get(ownerKey(node.uid, node.nuid))?.bytes ?? 0));
  }

  /** What to throw when `available` is too little. */
  fullError(node: Node): Err {
    const { bytes, userBytes } = this.limits;
    const free = bytes ? bytes - this.used.bytes : Infinity;
    return new Err(userBytes && this.available(node) < free ? "EDQUOT" : "ENOSPC");
  }

  /** Accounts bytes and files (below zero: gives them back) to the tree and the node's owner. */
  charge(node: Node, bytes: number, files: number): void {
    this.used.bytes += bytes;
    this.used.files += files;
    if (!this.limits.userBytes && !this.limits.userFiles) return;
    const key = ownerKey(node.uid, node.nuid);
    let usage = this.#owners.get(key);
    if (!usage) this.#owners.set(key, usage = { bytes: 0, files: 0 });
    usage.bytes += bytes;
    usage.files += files;
    if (usage.bytes === 0 && usage.files === 0) this.#owners.delete(key);
  }

  /** Content has changed: version, mtime and ctime. */
  changed(node: Node): void {
    node.vers = (node.vers + 1) >>> 0;
    this.touch(node, false, true, true);
  }

  /** Content was read: atime, when it is no later than the last change, as Linux's relatime. */
  accessed(node: Node): void {
    const age = node.atime - node.mtime || node.atimeNsec - node.mtimeNsec;
    if (age <= 0) this.touch(node, true, false, false);
  }

  /** Sets times to now. */
  touch(node: Node, a: boolean, m: boolean, c: boolean): void {
    const ms = this.#clock.now(), sec = Math.floor(ms / 1000);
    const nsec = Math.min(999_999_999, Math.floor((ms - sec * 1000) * 1e6));
    if (a) node.atime = sec, node.atimeNsec = nsec;
    if (m) node.mtime = sec, node.mtimeNsec = nsec;
    if (c) node.ctime = sec, node.ctimeNsec = nsec;
  }

  #moveOver(entry: Entry, from: Node, dir: Node, name: string, old: Entry | undefined): void {
    from.dir!.remove(entry);
    entry.dir = dir;
    entry.name = name;
    if (entry.node.dir) from.nlink--, dir.nlink++;
    if (!old) return dir.dir!.add(entry);
    dir.dir!.replace(old, entry);
    this.#dropped(old, dir);
  }

  #dropped(entry: Entry, dir: Node): void {
    const { node } = entry;
    entry.dir = null;
    node.nlink -= node.dir ? 2 : 1;
    if (node.dir) dir.nlink--;
    this.charge(node, 0, -1);
    changedWith(node, dir);
    this.#reap(node);
  }

  #reap(node: Node): void {
    if (node.refs > 0 || node.nlink > 0) return;
    node.data?.truncate(0);
    this.charge(node, -bytesOf(node), 0);
    node.xattrs = null;
    node.ext = "";
  }

  #checkNotInside(node: Node, dir: Node): void {
    for (let up = dir; up !== this.root.node; up = up.entry!.dir!) {
      if (up === node) throw new Err("EINVAL", "cannot move a directory into itself");
    }
  }

  #admitFile(node: Node): void {
    const { files, userFiles } = this.limits;
    if (files && this.used.files >= files) throw new Err("ENOSPC");
    if (!userFiles) return;
    const usage = this.#owners.get(ownerKey(node.uid, node.nuid));
    if (usage && usage.files >= userFiles) throw new Err("EDQUOT");
  }
}

function checkReplaces(node: Node, old: Node): void {
  if (node.dir && !old.dir) throw new Err("ENOTDIR");
  if (!node.dir && old.dir) throw new Err("EISDIR");
  if (old.dir && old.dir.size > 0) throw new Err("ENOTEMPTY");
}

/** ctime as of a change of its directory: the clock is not cheap enough to be looked at twice. */
function changedWith(node: Node, dir: Node): void {
  node.ctime = dir.ctime;
  node.ctimeNsec = dir.ctimeNsec;
}

function filesOf(node: Node): number {
  return node.dir ? Math.min(node.nlink, 1) : node.nlink;
}

function bytesOf(node: Node): number {
  let bytes = (node.data?.allocated ?? 0) + node.ext.length;
  for (const [name, value] of node.xattrs ?? []) bytes += name.length + value.length;
  return bytes;
}

function ownerKey(name: string, id: number): string | number {
  return id === NONUNAME ? name : id;
}
