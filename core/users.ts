/**
 * Users: who may do what only the owner of a system may.
 *
 * Layer: a leaf of the core. See intro(5) on users: there is no super-user but the hostowner; a Unix client's root is
 * taken for one, since whoever can mount the system as root has been let in as that.
 */

import type { User } from "./dev.ts";

/** Whether `user` is the hostowner, or a Unix client's root. */
export function isPrivileged(user: User, hostowner: string): boolean {
  return user.uid === 0 || user.name === hostowner;
}
