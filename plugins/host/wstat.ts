/**
 * wstat on a host tree: everything is checked first, and what was done is undone when a later step fails.
 *
 * Layer: plugins/host, called by `dev.ts`. What cannot be undone, the length, comes after all that may be
 * refused, and before the times, which it would change.
 *
 * See stat(5) of Plan 9, chmod(2), chown(2), ftruncate(2), utimensat(2) of Linux.
 */

import type { Chan, User } from "../../core/dev.ts";
import { Err, excerpt } from "../../core/err.ts";
import { DM_KINDS, plan9Mode, S_IFDIR, S_IFMT, S_IFREG, unixPermissions } from "../../core/p9/mode.ts";
import { DMAPPEND, DMEXCL, DMSETGID, DMSETUID, ORDWR, OWRITE, type Wstat } from "../../core/p9/types.ts";
import { type HostStat, O_WRONLY } from "../../devices/hostfs.ts";
import { AWRITE, onlyDropsSetid } from "../../fs/perm.ts";
import type { HostDev, HostFile } from "./dev.ts";

/** Does what `w` asks, all of it or nothing. */
export function applyWstat(dev: HostDev, c: Chan<HostFile>, w: Wstat, user: User): void {
  if (Object.keys(w).length === 0) return dev.fsync(c, false);
  dev.needWritable();
  const { node } = c.aux;
  if (node.gone && c.aux.fd >= 0) return change(dev, c, c.aux.fd, w, user); // goes on though removed
  dev.nodes.with(node, (handle) => change(dev, c, handle, w, user));
}

function change(dev: HostDev, c: Chan<HostFile>, handle: number, w: Wstat, user: User): void {
  const { fs } = dev, { node } = c.aux, before = fs.stat(handle);
  check(dev, c, before, w, user);
  const undo: (() => void)[] = [];
  try {
    if (w.name !== undefined && w.name !== node.name) {
      const { parent, name } = node;
      if (!parent) throw new Err("EBUSY");
      dev.moveNode(node, parent, w.name, user, false);
      undo.push(() => dev.moveNode(node, parent, name, user, false));
    }
    const uid = idOf(dev, w.uid, w.nuid) ?? before.uid, gid = idOf(dev, w.gid, w.ngid) ?? before.gid;
    if (uid !== before.uid || gid !== before.gid) {
      fs.chown(handle, uid, gid);
      undo.push(() => fs.chown(handle, before.uid, before.gid), () => fs.chmod(handle, before.mode & 0o7777));
    }
    if (w.mode !== undefined) {
      fs.chmod(handle, unixPermissions(dev.isPrivileged(user) ? w.mode : w.mode & ~(DMSETUID | DMSETGID)));
      undo.push(() => fs.chmod(handle, before.mode & 0o7777));
    }
    if (w.length !== undefined) truncate(dev, c, handle, w.length);
    if (w.atime !== undefined || w.mtime !== undefined) fs.setTimes(handle, w.atime, w.mtime);
  } catch (e) {
    for (const step of undo.reverse()) step();
    throw e;
  }
}

function check(dev: HostDev, c: Chan<HostFile>, stat: HostStat, w: Wstat, user: User): void {
  const isOwner = stat.uid === user.uid || dev.isPrivileged(user);
  const isWriter = c.mode !== -1 && ((c.mode & 3) === OWRITE || (c.mode & 3) === ORDWR);
  const mayWrite = isWriter || dev.may(stat, user, AWRITE);
  const { mode, atime, mtime } = w;
  const owns = w.uid !== undefined || w.nuid !== undefined || w.gid !== undefined || w.ngid !== undefined;
  const drops = mode !== undefined && mayWrite && onlyDropsSetid(plan9Mode(stat.mode), mode);
  if (((mode !== undefined && !drops) || typeof atime === "object" || typeof mtime === "object") && !isOwner) {
    throw new Err("EPERM");
  }
  if (mode !== undefined && mode & (DMAPPEND | DMEXCL)) throw new Err("EOPNOTSUPP", "the host has no such files");
  if (mode !== undefined && mode & DM_KINDS && (mode & DM_KINDS) !== (plan9Mode(stat.mode) & DM_KINDS)) {
    throw new Err("EPERM", "wstat cannot change the type of a file");
  }
  if ((atime !== undefined || mtime !== undefined) && !isOwner && !mayWrite) throw new Err("EACCES");
  if (owns && !mayChown(dev, stat, w, user)) throw new Err("EPERM");
  if (w.length !== undefined) checkLength(stat, mayWrite);
}

/** An owner may only give a file to a group of the owner's; who is privileged asks the host. */
function mayChown(dev: HostDev, stat: HostStat, w: Wstat, user: User): boolean {
  const uid = idOf(dev, w.uid, w.nuid) ?? stat.uid, gid = idOf(dev, w.gid, w.ngid) ?? stat.gid;
  if (dev.isPrivileged(user)) return true;
  return stat.uid === user.uid && uid === stat.uid && (gid === stat.gid || gid === user.gid);
}

function checkLength(stat: HostStat, mayWrite: boolean): void {
  const kind = stat.mode & S_IFMT;
  if (kind === S_IFDIR) throw new Err("EISDIR");
  if (kind !== S_IFREG) throw new Err("EINVAL");
  if (!mayWrite) throw new Err("EACCES");
}

function truncate(dev: HostDev, c: Chan<HostFile>, handle: number, length: number): void {
  const how = c.mode & 3, { fs } = dev;
  if (c.mode !== -1 && (how === OWRITE || how === ORDWR)) return fs.truncate(c.aux.fd, length);
  const fd = fs.reopen(handle, O_WRONLY);
  try {
    fs.truncate(fd, length);
  } finally {
    fs.close(fd);
  }
}

/** A user's or group's number, from itself or from its name; undefined when neither is given. */
function idOf(dev: HostDev, name: string | undefined, id: number | undefined): number | undefined {
  if (id !== undefined || name === undefined) return id;
  if (name === dev.hostowner) return dev.fs.uid;
  if (!/^\d{1,9}$/.test(name)) throw new Err("EINVAL", `unknown user: "${excerpt(name)}"`);
  return Number(name);
}
