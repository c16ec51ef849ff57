/**
 * Extended attributes of a ram tree: name spaces and permissions as Linux has them.
 *
 * Layer: plugins/ram, called by `dev.ts`. `user.` goes by the file's permissions and is for files and directories;
 * `trusted.` and changes to `security.` are for the privileged; other name spaces are not supported.
 *
 * See xattr(7) of Linux.
 */

import type { User } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { DMDEVICE, DMNAMEDPIPE, DMSOCKET, DMSYMLINK } from "../../core/p9/types.ts";
import { AREAD, AWRITE } from "../../fs/perm.ts";
import type { Node } from "../../fs/ram.ts";
import type { RamDev } from "./dev.ts";

const MAX_NAME = 255, MAX_VALUE = 65_536;
/** Bytes of all names of a file: listxattr(2) has no room for more. */
const MAX_LIST = 65_536;
const CREATE = 1, REPLACE = 2;

/** The value of an attribute; ENODATA when there is none. */
export function getXattr(dev: RamDev, node: Node, name: string, user: User): Uint8Array {
  check(dev, node, name, user, AREAD);
  const value = node.xattrs?.get(name);
  if (!value) throw new Err("ENODATA");
  return value.slice();
}

/** The names that `user` may see. */
export function listXattrs(dev: RamDev, node: Node, user: User): string[] {
  const names = [...node.xattrs?.keys() ?? []];
  return dev.isPrivileged(user) ? names : names.filter((name) => !name.startsWith("trusted."));
}

/** Sets or removes (null) an attribute. */
export function setXattr(
  dev: RamDev,
  node: Node,
  what: { name: string; value: Uint8Array | null; flags: number },
  user: User,
): void {
  const { name, value, flags } = what;
  check(dev, node, name, user, AWRITE);
  const exists = node.xattrs?.has(name) ?? false;
  if (value && value.length > MAX_VALUE) throw new Err("E2BIG");
  if (flags & CREATE && exists) throw new Err("EEXIST");
  if ((flags & REPLACE || !value) && !exists) throw new Err("ENODATA");
  if (value && !exists && listBytes(node) + name.length > MAX_LIST) throw new Err("ENOSPC");
  node.tree.setXattr(node, name, value);
}

function listBytes(node: Node): number {
  let bytes = 0;
  for (const name of node.xattrs?.keys() ?? []) bytes += name.length + 1;
  return bytes;
}

function check(dev: RamDev, node: Node, name: string, user: User, want: number): void {
  if (name.length > MAX_NAME) throw new Err("ERANGE");
  const space = /^(user|trusted|security)\../.exec(name)?.[1];
  if (space === "trusted") {
    if (!dev.isPrivileged(user)) throw new Err(want === AREAD ? "ENODATA" : "EPERM");
  } else if (space === "security") {
    if (want === AWRITE && !dev.isPrivileged(user)) throw new Err("EPERM");
  } else if (space === "user") {
    if (node.mode & (DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET)) throw new Err("EPERM");
    if (!dev.may(node, user, want)) throw new Err("EACCES");
  } else throw new Err("EOPNOTSUPP");
}
