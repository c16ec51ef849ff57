/**
 * wstat on a ram tree: everything that it names is checked before anything is changed.
 *
 * Layer: plugins/ram, called by `dev.ts`.
 *
 * See stat(5) of Plan 9, chmod(2), chown(2), truncate(2) and utimensat(2) of Linux.
 */

import type { Chan, User } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import {
  DMAPPEND,
  DMDEVICE,
  DMDIR,
  DMEXCL,
  DMNAMEDPIPE,
  DMSETGID,
  DMSETUID,
  DMSETVTX,
  DMSOCKET,
  DMSYMLINK,
  DMTMP,
  ORDWR,
  OWRITE,
  type Wstat,
} from "../../core/p9/types.ts";
import { AWRITE, groupIsVouchedFor, inGroup, isOwner, onlyDropsSetid, withoutSetid } from "../../fs/perm.ts";
import type { Entry, Id, Node } from "../../fs/ram.ts";
import { MAX_SIZE } from "../../fs/ram_data.ts";
import type { RamDev } from "./dev.ts";

const SETTABLE = DMAPPEND | DMEXCL | DMTMP | DMSETUID | DMSETGID | DMSETVTX | 0o777;

const TYPES = DMDIR | DMSYMLINK | DMDEVICE | DMNAMEDPIPE | DMSOCKET;

/** Does what `w` asks, all of it or nothing. */
export function applyWstat(dev: RamDev, c: Chan<Entry>, w: Wstat, user: User): void {
  if (Object.keys(w).length === 0) return;
  const entry = c.aux, { node } = entry;
  const owner = newOwner(dev, node, w), group = newGroup(dev, node, w);
  if (w.mode !== undefined) checkMode(dev, node, w.mode, user);
  if (owner || group) checkChown(dev, node, { owner, group, trusted: groupIsVouchedFor(w) }, user);
  if (w.length !== undefined) checkLength(dev, c, w.length, user);
  checkTimes(dev, c, w, user);
  if (w.name !== undefined && w.name !== entry.name) dev.moveEntry(entry, entry.dir, w.name, user, false);

  // Nothing below can fail.
  if (w.length !== undefined) dev.setLength(node, w.length, user);
  if (owner) node.tree.chown(node, owner);
  if (group) [node.gid, node.ngid] = [group.name, group.id];
  if ((owner || group) && !node.dir) node.mode = withoutSetid(node.mode);
  if (w.mode !== undefined) node.mode = newMode(dev, node, w.mode, user);
  applyTimes(node, w);
}

function checkMode(dev: RamDev, node: Node, mode: number, user: User): void {
  const mayDrop = onlyDropsSetid(node.mode, mode) && dev.may(node, user, AWRITE);
  if (!isOwner(node, user) && !dev.isPrivileged(user) && !mayDrop) throw new Err("EPERM");
  const type = mode & TYPES;
  if (type && type !== (node.mode & TYPES)) throw new Err("EPERM", "wstat cannot change the type of a file");
}

function newMode(dev: RamDev, node: Node, mode: number, user: User): number {
  const kept = inGroup(node, user) || dev.isPrivileged(user) ? SETTABLE : SETTABLE & ~DMSETGID;
  return ((node.mode & ~SETTABLE) | (mode & kept)) >>> 0;
}

function newOwner(dev: RamDev, node: Node, w: Wstat): Id | null {
  if (w.uid === undefined && w.nuid === undefined) return null;
  const id = dev.idOf(w.uid, w.nuid);
  return id.name === node.uid && id.id === node.nuid ? null : id;
}

function newGroup(dev: RamDev, node: Node, w: Wstat): Id | null {
  if (w.gid === undefined && w.ngid === undefined) return null;
  const id = dev.idOf(w.gid, w.ngid);
  return id.name === node.gid && id.id === node.ngid ? null : id;
}

/** New owners of a node; whether the group is taken without a look. */
interface Owners {
  owner: Id | null;
  group: Id | null;
  trusted: boolean;
}

function checkChown(dev: RamDev, node: Node, { owner, group, trusted }: Owners, user: User): void {
  if (owner) node.tree.checkChown(node, owner);
  if (dev.isPrivileged(user)) return;
  const isMember = !group || trusted || group.id === user.gid || group.name === user.name;
  if (owner || !isOwner(node, user) || !isMember) throw new Err("EPERM");
}

function checkLength(dev: RamDev, c: Chan<Entry>, length: number, user: User): void {
  const { node } = c.aux, how = c.mode & 3;
  if (node.dir) throw new Err("EISDIR");
  if (node.mode & TYPES) throw new Err("EINVAL");
  if (length > MAX_SIZE) throw new Err("EFBIG");
  const isWriter = c.mode !== -1 && (how === OWRITE || how === ORDWR);
  if (!isWriter && !dev.may(node, user, AWRITE)) throw new Err("EACCES");
  if (node.mode & DMAPPEND && length !== node.size) throw new Err("EPERM", "file is append-only");
}

/** Anybody who may write may set a time to now; only the owner may choose it. */
function checkTimes(dev: RamDev, c: Chan<Entry>, w: Wstat, user: User): void {
  const { node } = c.aux;
  if (w.atime === undefined && w.mtime === undefined) return;
  if (isOwner(node, user) || dev.isPrivileged(user)) return;
  if (typeof w.atime === "object" || typeof w.mtime === "object") throw new Err("EPERM");
  if (!dev.may(node, user, AWRITE)) throw new Err("EACCES");
}

function applyTimes(node: Node, w: Wstat): void {
  node.tree.touch(node, w.atime === "now", w.mtime === "now", true);
  if (typeof w.atime === "object") [node.atime, node.atimeNsec] = [w.atime.sec, w.atime.nsec];
  if (typeof w.mtime === "object") [node.mtime, node.mtimeNsec] = [w.mtime.sec, w.mtime.nsec];
}
