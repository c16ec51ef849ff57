/**
 * Extended attributes of a volume: who may see and set which.
 *
 * Layer: plugins/ext2, over fs/ext2. As in Linux: `user.` goes by the file's permissions and is for files and directories;
 * `trusted.` and changes to `security.` are for root; POSIX ACLs are as bytes, for the owner to set. What an ACL says
 * is kept and not enforced: permissions are the mode's.
 *
 * See xattr(7) and acl(5) of Linux.
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { utf8Length } from "../../core/p9/utf8.ts";
import { then } from "../../core/tree_node.ts";
import type { Ext2, Inode } from "../../fs/ext2/fs.ts";
import { AREAD, AWRITE } from "../../fs/perm.ts";
import { may, owns } from "./access.ts";
import type { Who } from "./users.ts";

const MAX_NAME = 255;

/** The value of an attribute; ENODATA when there is none. */
export function getXattr(fs: Ext2, inode: Inode, name: string, who: Who): MaybePromise<Uint8Array> {
  check(inode, name, who, AREAD);
  return then(fs.getxattr(inode.ino, name), (value) => value.slice());
}

/** The names that `who` may see. */
export function listXattr(fs: Ext2, inode: Inode, who: Who): MaybePromise<string[]> {
  return then(
    fs.listxattr(inode.ino),
    (names) => who.isRoot ? names : names.filter((name) => !name.startsWith("trusted.")),
  );
}

/** Sets or removes (null) an attribute. */
export function setXattr(
  fs: Ext2,
  inode: Inode,
  what: { name: string; value: Uint8Array | null; flags: number },
  who: Who,
): MaybePromise<void> {
  const { name, value, flags } = what;
  return fs.setxattr(inode.ino, name, value, flags, () => check(inode, name, who, AWRITE));
}

function check(inode: Inode, name: string, who: Who, want: number): void {
  if (utf8Length(name) > MAX_NAME) throw new Err("ERANGE");
  const space = /^(user|trusted|security)\../.exec(name)?.[1];
  if (space === "trusted") {
    if (!who.isRoot) throw new Err(want === AREAD ? "ENODATA" : "EPERM");
  } else if (space === "security") {
    if (want === AWRITE && !who.isRoot) throw new Err("EPERM");
  } else if (space === "user") {
    if (!inode.isFile && !inode.isDir) throw new Err("EPERM");
    if (!may(inode, who, want)) throw new Err("EACCES");
  } else if (name === "system.posix_acl_access" || name === "system.posix_acl_default") {
    if (inode.isSymlink) throw new Err("EOPNOTSUPP");
    if (want === AWRITE && !owns(inode, who)) throw new Err("EPERM");
  } else throw new Err("EOPNOTSUPP");
}
