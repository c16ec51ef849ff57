/**
 * MntFile: what the mount driver keeps of a file: its fid, and by which names it was reached.
 *
 * Layer: core, part of the mount driver. The names serve where a fid cannot: for another user, and to find a file's
 * directory. They hold while nobody renames a directory above.
 */

import type { User } from "./dev.ts";
import { Err } from "./err.ts";
import type { MntDir } from "./mnt_dir.ts";
import { NOFID } from "./p9/types.ts";

/** Whose fid, on which tree of the server. */
export interface MntRoot {
  readonly user: User;
  readonly aname: string;
}

/** A file of the server, as its Chan carries it. */
export class MntFile {
  /** NOFID once it is clunked or removed. */
  fid: number;
  /** @internal */
  readonly root: MntRoot;
  /** Bytes of one message, once it is open. */
  iounit = 0;
  /** Whether its parts may be asked for in any order, once that is known. */
  plain: boolean | undefined;
  /**
   * The listing under way.
   * @internal
   */
  dir: MntDir | null = null;
  #up: MntFile | null;
  #names: readonly string[];

  /** @internal */
  constructor(fid: number, root: MntRoot, up: MntFile | null, names: readonly string[]) {
    this.fid = fid;
    this.root = root;
    // A clone is where its original is: chains of clones do not grow.
    const clone = up !== null && names.length === 0;
    this.#up = clone ? up.#up : up;
    this.#names = clone ? up.#names : names;
  }

  /** The fid; an error when it has gone. */
  get live(): number {
    if (this.fid === NOFID) throw new Err("EIDRM");
    return this.fid;
  }

  /** Its name, "/" for the root; after `..` it is found by the path. */
  get name(): string {
    const last = this.#names.at(-1);
    if (last !== undefined && last !== "..") return last;
    return this.path().at(-1) ?? "/";
  }

  /** The names from the root, `..` taken away. */
  path(): string[] {
    const path = this.#up ? this.#up.path() : [];
    for (const name of this.#names) {
      if (name === "..") path.pop();
      else path.push(name);
    }
    return path;
  }

  /** The path of its directory, as one text. */
  parentPath(): string {
    return this.path().slice(0, -1).join("/");
  }

  /** It has another name in its directory. */
  rename(name: string): void {
    this.#names = [...this.path().slice(0, -1), name];
    this.#up = null;
  }

  /** It is in another directory. */
  move(dir: MntFile, name: string): void {
    this.#names = [...dir.path(), name];
    this.#up = null;
  }
}
