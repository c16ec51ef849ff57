/**
 * Users of a volume: the disk knows numbers, 9P2000 knows names.
 *
 * Layer: plugins/ext2, a leaf. A user with a number is that number. A name gets its number from the option `users`, from
 * another client that gave both, or because it is one; `root` is 0, and so is the hostowner without a number. Any other is nobody
 * (65534), as on Unix's network file systems.
 */

import type { User } from "../../core/dev.ts";
import { Err, excerpt } from "../../core/err.ts";
import { NONUNAME } from "../../core/p9/types.ts";
import { isPrivileged } from "../../core/users.ts";

/** Who nobody is. */
export const NOBODY = 65534;

/** Names learned at the most. */
const MAX_NAMES = 1024;

/** Who asks, in numbers. */
export interface Who {
  readonly uid: number;
  readonly gid: number;
  /** Permission checks let it pass. */
  readonly isRoot: boolean;
}

export class Users {
  readonly #hostowner: string;
  readonly #names = new Map<number, string>();
  readonly #ids = new Map<string, number>();
  /** Who was asked about last: most requests come in rows. */
  #lastUser: User | null = null;
  #lastWho: Who = { uid: NOBODY, gid: NOBODY, isRoot: false };

  /** `table` is `NAME=NUMBER` words. */
  constructor(hostowner: string, table: string) {
    this.#hostowner = hostowner;
    this.#put(hostowner, 0);
    this.#put("root", 0);
    for (const word of table.split(/[\s,]+/).filter((word) => word !== "")) {
      const [, name, id] = /^([^=]+)=(\d{1,10})$/.exec(word) ?? [];
      if (name === undefined) throw new Err("EINVAL", `users: "${excerpt(word)}" is no NAME=NUMBER`);
      this.#put(name, Number(id), true);
    }
  }

  /** Remembers what a client that attaches says. */
  learn(user: User): void {
    this.#lastUser = null;
    if (user.uid !== NONUNAME && this.#ids.size < MAX_NAMES) this.#put(user.name, user.uid);
  }

  whoIs(user: User): Who {
    if (user === this.#lastUser) return this.#lastWho;
    const uid = user.uid !== NONUNAME ? user.uid : this.#ids.get(user.name) ?? parseId(user.name) ?? NOBODY;
    const gid = user.gid !== NONUNAME ? user.gid : uid;
    this.#lastUser = user;
    return this.#lastWho = { uid, gid, isRoot: isPrivileged(user, this.#hostowner) || uid === 0 };
  }

  /** The name of a number, or the number as text. */
  nameOf(id: number): string {
    return this.#names.get(id) ?? String(id);
  }

  /** The number of an owner or group that is to be set. EINVAL for a name that nobody knows. */
  idOf(name: string | undefined, id: number | undefined): number | undefined {
    if (id !== undefined && id !== NONUNAME) return id;
    if (name === undefined || name === "") return undefined;
    const known = this.#ids.get(name) ?? parseId(name);
    if (known === undefined) throw new Err("EINVAL", `unknown user: "${excerpt(name)}"`);
    return known;
  }

  #put(name: string, id: number, over = false): void {
    if (over || !this.#ids.has(name)) this.#ids.set(name, id);
    if (over || !this.#names.has(id)) this.#names.set(id, name);
  }
}

function parseId(name: string): number | undefined {
  return /^\d{1,9}$/.test(name) ? Number(name) : undefined;
}
