/**
 * Places: where in the tree the files are that somebody holds.
 *
 * Layer: plugins/ext2, over fs/ext2. A Place is a name in a directory with the inode behind it, and the way back to the
 * root. What holds always: there is one Place for a name, while anybody holds it or something below it; it holds its
 * inode, which therefore stays in memory, and lives on without a name. A rename moves the Place, so a fid follows it.
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { Ext2, Inode } from "../../fs/ext2/fs.ts";

/** A file where it is in the tree. */
export class Place {
  readonly inode: Inode;
  name: string;
  /** The directory; of the root and of what has lost its name, null. */
  parent: Place | null;
  /** Whoever holds it: fids, and the places below it. */
  refs = 1;
  children: Map<string, Place> | null = null;

  constructor(inode: Inode, name: string, parent: Place | null) {
    this.inode = inode;
    this.name = name;
    this.parent = parent;
  }
}

/** All places of a volume. */
export class Places {
  readonly root: Place;
  readonly #fs: Ext2;

  /** `root` is held from now on. */
  constructor(fs: Ext2, root: Inode) {
    this.#fs = fs;
    root.opens++;
    this.root = new Place(root, "/", null);
  }

  /** The place of `name` in `dir`, if somebody holds it; one reference more. */
  find(dir: Place, name: string): Place | undefined {
    const place = dir.children?.get(name);
    if (place) place.refs++;
    return place;
  }

  /** A place for `inode`, which is `name` in `dir` and has none yet; its first reference is the caller's. */
  enter(dir: Place, name: string, inode: Inode): Place {
    const place = new Place(inode, name, dir);
    inode.opens++;
    dir.refs++;
    (dir.children ??= new Map()).set(name, place);
    return place;
  }

  /** A place without a name, for a file that lost its own while somebody held it. */
  orphan(inode: Inode): Place {
    inode.opens++;
    return new Place(inode, "", null);
  }

  /** Lets go of a place. A dead file that nobody else holds is given back, which may take time. */
  drop(place: Place): MaybePromise<void> {
    let pending: Promise<void> | undefined;
    for (let at: Place | null = place; at && --at.refs === 0 && at !== this.root;) {
      const { parent }: Place = at, done: MaybePromise<void> = this.#fs.release(at.inode.ino);
      parent?.children?.delete(at.name);
      at.parent = null;
      if (done instanceof Promise) pending = pending ? pending.then(() => done) : done;
      at = parent;
    }
    return pending;
  }

  /** `drop`, where nobody can be told that a dead file could not be given back: e2fsck finds it. */
  forget(place: Place): void {
    try {
      const pending = this.drop(place);
      if (pending) pending.catch(() => {});
    } catch (thrown) {
      if (!(thrown instanceof Err)) throw thrown;
    }
  }

  /** The name of `place` is gone. */
  unname(place: Place): void {
    const { parent } = place;
    if (!parent) return;
    parent.children?.delete(place.name);
    place.parent = null;
    this.forget(parent);
  }

  /** `place` is now called `name` in `dir`; what was there has no name any more. */
  move(place: Place, dir: Place, name: string): void {
    const there = dir.children?.get(name);
    if (there === place) return;
    if (there) this.unname(there);
    dir.refs++;
    this.unname(place);
    place.parent = dir;
    place.name = name;
    (dir.children ??= new Map()).set(name, place);
  }
}
