/**
 * POSIX ACLs: the short form that ext2 keeps on the disk, and the form that getxattr(2) and setxattr(2) speak.
 *
 * Layer: fs/ext2, a leaf, pure. See acl(5): on the disk version 1, an entry has an id only if it names one; outside
 * version 2, every entry has one.
 */

import { Err } from "../../core/err.ts";

const DISK_VERSION = 1, OUTSIDE_VERSION = 2, NO_ID = 0xffffffff;
const USER = 0x02, GROUP = 0x08;

const hasId = (tag: number) => tag === USER || tag === GROUP;

/** The form of system calls. EIO for bytes that are no ACL. */
export function aclFromDisk(disk: Uint8Array): Uint8Array {
  const from = new DataView(disk.buffer, disk.byteOffset, disk.length);
  const entries: [number, number, number][] = [];
  if (disk.length < 4 || from.getUint32(0, true) !== DISK_VERSION) throw new Err("EIO", "bad ACL");
  for (let at = 4; at < disk.length;) {
    if (at + 4 > disk.length) throw new Err("EIO", "bad ACL");
    const tag = from.getUint16(at, true), perm = from.getUint16(at + 2, true);
    if (hasId(tag) && at + 8 > disk.length) throw new Err("EIO", "bad ACL");
    entries.push([tag, perm, hasId(tag) ? from.getUint32(at + 4, true) : NO_ID]);
    at += hasId(tag) ? 8 : 4;
  }
  const out = new Uint8Array(4 + entries.length * 8), to = new DataView(out.buffer);
  to.setUint32(0, OUTSIDE_VERSION, true);
  entries.forEach(([tag, perm, id], i) => {
    to.setUint16(4 + i * 8, tag, true);
    to.setUint16(6 + i * 8, perm, true);
    to.setUint32(8 + i * 8, id, true);
  });
  return out;
}

/** The form on the disk. EINVAL for bytes that are no ACL. */
export function aclToDisk(outside: Uint8Array): Uint8Array {
  const from = new DataView(outside.buffer, outside.byteOffset, outside.length);
  if (outside.length < 4 || outside.length % 8 !== 4 || from.getUint32(0, true) !== OUTSIDE_VERSION) {
    throw new Err("EINVAL", "bad ACL");
  }
  const out = new Uint8Array(outside.length), to = new DataView(out.buffer);
  to.setUint32(0, DISK_VERSION, true);
  let end = 4;
  for (let at = 4; at < outside.length; at += 8) {
    const tag = from.getUint16(at, true);
    to.setUint16(end, tag, true);
    to.setUint16(end + 2, from.getUint16(at + 2, true), true);
    if (hasId(tag)) to.setUint32(end + 4, from.getUint32(at + 4, true), true);
    end += hasId(tag) ? 8 : 4;
  }
  return out.slice(0, end);
}
