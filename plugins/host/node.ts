/**
 * HostNode: a file of the host's tree that some fid refers to, as a name in a parent.
 *
 * Layer: plugins/host. All fids of a file share its node, so that a rename through the tree takes them along. A node
 * is not a descriptor: `HostNodes` finds the file again for each use, from the root, name by name, following no link,
 * and only takes it when it is the same file (device and inode) as when it was walked to. (Keeping handles on directories
 * would be faster, and would lead out of the tree with a directory that is moved out of it.)
 *
 * What holds always: a node is in its parent's `children` while it has that name and somebody refers to it. One whose
 * name was removed or taken by another file is `gone`.
 */

import { Err } from "../../core/err.ts";
import { type HostFs, type HostStat, O_DIRECTORY, O_PATH } from "../../devices/hostfs.ts";
import type { U64 } from "../../core/p9/types.ts";

/** A file of the tree. */
export class HostNode {
  /** Chans and children that refer to it. */
  refs = 0;
  gone = false;
  readonly children = new Map<string, HostNode>();

  constructor(public parent: HostNode | null, public name: string, readonly dev: number, readonly ino: U64) {}

  /** Whether `stat` is of this very file. */
  is(stat: HostStat): boolean {
    return stat.ino === this.ino && stat.dev === this.dev;
  }
}

/** The nodes of one tree, from an open root. */
export class HostNodes {
  readonly root: HostNode;

  constructor(readonly fs: HostFs, readonly rootFd: number) {
    const { dev, ino } = fs.stat(rootFd);
    this.root = new HostNode(null, "/", dev, ino);
    this.root.refs = 1;
  }

  /** Calls `use` with an O_PATH handle on the file, closed afterwards, and its stat. ENOENT or ESTALE when it went. */
  with<T>(node: HostNode, use: (fd: number, stat: HostStat) => T): T {
    const fd = this.#handle(node);
    try {
      const stat = this.fs.stat(fd);
      if (!node.is(stat)) throw new Err("ESTALE");
      return use(fd, stat);
    } finally {
      this.#close(fd);
    }
  }

  /** Calls `use` with a handle on the directory that the file is in, and the file's stat. EBUSY for the root. */
  withParent<T>(node: HostNode, use: (dir: number, stat: HostStat) => T): T {
    const { parent, name } = node;
    if (!parent) throw new Err("EBUSY");
    if (node.gone) throw new Err("ENOENT");
    const dir = this.#handle(parent);
    try {
      const stat = this.fs.statAt(dir, name);
      if (!node.is(stat)) throw new Err("ESTALE");
      return use(dir, stat);
    } finally {
      this.#close(dir);
    }
  }

  /** What the file is now. ENOENT or ESTALE when it went. */
  stat(node: HostNode): HostStat {
    return node === this.root ? this.fs.stat(this.rootFd) : this.withParent(node, (_dir, stat) => stat);
  }

  /** The node of a name that was just found to be `stat`, with one more reference. */
  enter(parent: HostNode, name: string, stat: HostStat): HostNode {
    const known = parent.children.get(name);
    if (known?.is(stat)) {
      known.refs++;
      return known;
    }
    if (known) this.drop(known);
    const node = new HostNode(parent, name, stat.dev, stat.ino);
    node.refs = 1;
    parent.children.set(name, node);
    parent.refs++;
    return node;
  }

  /** Gives a reference up. */
  release(node: HostNode): void {
    if (--node.refs > 0 || !node.parent) return;
    if (!node.gone) node.parent.children.delete(node.name);
    this.release(node.parent);
  }

  /** Its name is no longer its own. */
  drop(node: HostNode): void {
    node.parent?.children.delete(node.name);
    node.gone = true;
  }

  /** It has another name now, over whatever had it. */
  move(node: HostNode, parent: HostNode, name: string): void {
    const old = parent.children.get(name), from = node.parent!;
    if (old === node) return;
    if (old) this.drop(old);
    from.children.delete(node.name);
    node.name = name;
    node.parent = parent;
    parent.refs++;
    parent.children.set(name, node);
    this.release(from);
  }

  /** A handle on whatever has the node's path now; the root's own for the root. */
  #handle(node: HostNode): number {
    const names: string[] = [];
    for (let at = node; at.parent; at = at.parent) {
      if (at.gone) throw new Err("ENOENT");
      names.unshift(at.name);
    }
    let fd = this.rootFd;
    for (let i = 0; i < names.length; i++) {
      fd = this.#step(fd, names[i], i < names.length - 1 ? O_PATH | O_DIRECTORY : O_PATH);
    }
    return fd;
  }

  /** From a directory's handle, which it closes, to that of a name in it. */
  #step(fd: number, name: string, flags: number): number {
    try {
      return this.fs.openAt(fd, name, flags);
    } finally {
      this.#close(fd);
    }
  }

  #close(fd: number): void {
    if (fd !== this.rootFd) this.fs.close(fd);
  }
}
