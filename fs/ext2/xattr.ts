/**
 * Extended attributes: in the inode's own spare bytes, and in one block.
 *
 * Layer: fs/ext2, above alloc; acl.ts turns POSIX ACLs between their form on the disk and that of system calls.
 *
 * What holds always: a block of attributes is never changed in place: a new one is written, then the inode points to it.
 * A block that several inodes share stays as it is for the others.
 */

import { Err } from "../../core/err.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "../../core/p9/utf8.ts";
import { aclFromDisk, aclToDisk } from "./acl.ts";
import { allocBlocks, freeBlocks } from "./alloc.ts";
import { addBlocks } from "./blockmap.ts";
import { ATTR_BLOCK } from "./cache.ts";
import type { Inode } from "./inode.ts";
import { COMPAT, NAME_MAX, SB } from "./layout.ts";
import { attrBlockSum } from "./seal.ts";
import type { Volume } from "./volume.ts";

const MAGIC = 0xea020000, BLOCK_HEADER = 32, ENTRY_HEADER = 16;
const MAX_REFS = 1024;

/** Name spaces by their number on the disk. */
const PREFIXES: Record<number, string> = {
  1: "user.",
  2: "system.posix_acl_access",
  3: "system.posix_acl_default",
  4: "trusted.",
  6: "security.",
  7: "system.",
  8: "system.richacl",
};

interface Attr {
  index: number;
  /** The name without its prefix. */
  name: string;
  value: Uint8Array;
}

/** Entries from `from` on, with values relative to `base`, all within `[base, end)`. */
function parse(vol: Volume, inode: Inode, bytes: Uint8Array, at: { from: number; base: number; end: number }): Attr[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), attrs: Attr[] = [];
  const bad = () => vol.damage(`inode ${inode.ino}: bad extended attributes`);
  let p = at.from;
  while (p + 4 <= at.end && view.getUint32(p, true) !== 0) {
    if (p + ENTRY_HEADER > at.end) throw bad();
    const length = view.getUint8(p), offset = view.getUint16(p + 2, true), size = view.getUint32(p + 8, true);
    const next = p + ((ENTRY_HEADER + length + 3) & ~3);
    if (next > at.end || view.getUint32(p + 4, true) !== 0) throw bad();
    if (size > 0 && (at.base + offset < at.from || at.base + offset + size > at.end)) throw bad();
    attrs.push({
      index: view.getUint8(p + 1),
      name: decodeUtf8(bytes, p + ENTRY_HEADER, length),
      value: bytes.slice(at.base + offset, at.base + offset + size),
    });
    p = next;
  }
  return attrs;
}

/** Where the inode's own attributes lie: start of the entries, or -1 when it has no room for any. */
function bodyStart(vol: Volume, inode: Inode): number {
  const start = 128 + inode.extraIsize;
  return vol.sb.inodeSize > 128 && inode.extraIsize >= 4 && start % 4 === 0 && start + 8 <= vol.sb.inodeSize
    ? start + 4
    : -1;
}

function bodyAttrs(vol: Volume, inode: Inode): Attr[] {
  const from = bodyStart(vol, inode);
  if (from < 0 || inode.view.getUint32(from - 4, true) !== MAGIC) return [];
  return parse(vol, inode, inode.raw, { from, base: from, end: inode.raw.length });
}

function blockAttrs(vol: Volume, inode: Inode): Attr[] {
  const block = inode.fileAcl;
  if (block === 0) return [];
  if (!vol.groups.isDataRun(block, 1)) throw vol.damage(`inode ${inode.ino}: attribute block ${block} is out of range`);
  const buf = vol.cache.get(block);
  if (buf.view.getUint32(0, true) !== MAGIC || buf.view.getUint32(8, true) !== 1) {
    throw vol.damage(`inode ${inode.ino}: block ${block} holds no attributes`);
  }
  if (vol.sb.hasChecksums && buf.checked !== ATTR_BLOCK) {
    if (attrBlockSum(vol.sb, buf) !== buf.view.getUint32(16, true)) {
      throw vol.damage(`inode ${inode.ino}: bad checksum of attribute block ${block}`);
    }
    buf.checked = ATTR_BLOCK;
  }
  return parse(vol, inode, buf.data, { from: BLOCK_HEADER, base: 0, end: vol.blockSize });
}

/** The part of a file's inline data that is an attribute. */
export function inlineValue(vol: Volume, inode: Inode): Uint8Array {
  return bodyAttrs(vol, inode).find((a) => a.index === 7 && a.name === "data")?.value ?? new Uint8Array(0);
}

function visible(attr: Attr): boolean {
  return attr.index in PREFIXES && !(attr.index === 7 && attr.name === "data");
}

/** All names. */
export function listXattrs(vol: Volume, inode: Inode): string[] {
  return [...bodyAttrs(vol, inode), ...blockAttrs(vol, inode)].filter(visible).map((a) => PREFIXES[a.index] + a.name);
}

function splitName(full: string): { index: number; name: string } {
  for (const index of [2, 3, 8]) if (PREFIXES[index] === full) return { index, name: "" };
  for (const index of [1, 4, 6, 7]) {
    const prefix = PREFIXES[index];
    if (full.startsWith(prefix) && full.length > prefix.length) return { index, name: full.slice(prefix.length) };
  }
  throw new Err("EOPNOTSUPP", `no such attribute name space: ${full}`);
}

const isAcl = (index: number) => index === 2 || index === 3;

/** An attribute's value. ENODATA when there is none. */
export function getXattr(vol: Volume, inode: Inode, full: string): Uint8Array {
  const { index, name } = splitName(full);
  const same = (a: Attr) => a.index === index && a.name === name;
  const attr = bodyAttrs(vol, inode).find(same) ?? blockAttrs(vol, inode).find(same);
  if (!attr) throw new Err("ENODATA");
  return isAcl(index) ? aclFromDisk(attr.value) : attr.value;
}

/** Sets an attribute, or removes it (null). `flags`: 1 must not exist (EEXIST), 2 must exist (ENODATA). */
export function setXattr(vol: Volume, inode: Inode, full: string, value: Uint8Array | null, flags: number): void {
  const { index, name } = splitName(full);
  if (utf8Length(name) > NAME_MAX) throw new Err("ERANGE");
  const attrs = [...bodyAttrs(vol, inode), ...blockAttrs(vol, inode)];
  const at = attrs.findIndex((a) => a.index === index && a.name === name);
  if (at >= 0 && (flags & 1)) throw new Err("EEXIST");
  if (at < 0 && ((flags & 2) || value === null)) throw new Err("ENODATA");
  if (at >= 0) attrs.splice(at, 1);
  if (value) attrs.push({ index, name, value: isAcl(index) ? aclToDisk(value) : value.slice() });
  store(vol, inode, attrs);
}

function attrBytes(attr: Attr): number {
  return ((ENTRY_HEADER + utf8Length(attr.name) + 3) & ~3) + ((attr.value.length + 3) & ~3);
}

/** Writes all attributes anew: as many as fit into the inode, the others into a block. */
function store(vol: Volume, inode: Inode, attrs: Attr[]): void {
  const from = bodyStart(vol, inode), body: Attr[] = [], rest: Attr[] = [];
  let left = from < 0 ? 0 : inode.raw.length - from - 4;
  for (const attr of attrs) {
    const bytes = attrBytes(attr);
    if (bytes <= left) {
      body.push(attr);
      left -= bytes;
    } else rest.push(attr);
  }
  if (rest.reduce((sum, a) => sum + attrBytes(a), BLOCK_HEADER + 4) > vol.blockSize) throw new Err("ENOSPC");
  if (from >= 0) {
    inode.raw.fill(0, from - 4);
    if (body.length > 0) {
      inode.view.setUint32(from - 4, MAGIC, true);
      lay(inode.raw, body, { from, base: from });
    }
  }
  storeBlock(vol, inode, rest);
}

function storeBlock(vol: Volume, inode: Inode, attrs: Attr[]): void {
  const old = inode.fileAcl;
  if (attrs.length > 0) {
    const g = vol.groups.groupOfInode(inode.ino);
    const block = allocBlocks(vol, vol.groups.firstBlock(g), 1);
    attrs.sort((a, b) => a.index - b.index || a.name.length - b.name.length || (a.name < b.name ? -1 : 1));
    const buf = vol.fresh(block), { data, view } = buf;
    buf.kind = ATTR_BLOCK;
    buf.checked = ATTR_BLOCK;
    view.setUint32(0, MAGIC, true);
    view.setUint32(4, 1, true);
    view.setUint32(8, 1, true);
    view.setUint32(12, lay(data, attrs, { from: BLOCK_HEADER, base: 0 }), true);
    inode.fileAcl = block;
    addBlocks(vol, inode, 1);
    needExtAttr(vol);
  } else inode.fileAcl = 0;
  if (old !== 0) dropAttrBlock(vol, inode, old);
}

/** Lets go of an attribute block: frees it when no other inode shares it. */
export function dropAttrBlock(vol: Volume, inode: Inode, block: number): void {
  if (!vol.groups.isDataRun(block, 1)) throw vol.damage(`inode ${inode.ino}: attribute block ${block} is out of range`);
  const buf = vol.cache.get(block), refs = buf.view.getUint32(4, true);
  if (buf.view.getUint32(0, true) !== MAGIC || refs === 0 || refs > MAX_REFS) {
    throw vol.damage(`inode ${inode.ino}: block ${block} holds no attributes`);
  }
  if (refs > 1) {
    vol.edit(buf, 4, 4, ATTR_BLOCK);
    buf.checked = ATTR_BLOCK;
    buf.view.setUint32(4, refs - 1, true);
  } else freeBlocks(vol, block, 1);
  addBlocks(vol, inode, -1);
}

/** Writes entries forward from `from` and values backward from the end. Answers the hash of all of them. */
function lay(bytes: Uint8Array, attrs: Attr[], at: { from: number; base: number }): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let p = at.from, end = bytes.length, hash = 0;
  for (const attr of attrs) {
    const length = utf8Length(attr.name);
    if (attr.value.length > 0) {
      end -= (attr.value.length + 3) & ~3;
      bytes.set(attr.value, end);
    }
    view.setUint8(p, length);
    view.setUint8(p + 1, attr.index);
    view.setUint16(p + 2, attr.value.length > 0 ? end - at.base : 0, true);
    view.setUint32(p + 8, attr.value.length, true);
    encodeUtf8(attr.name, bytes, p + ENTRY_HEADER);
    const own = hashAttr(bytes.subarray(p + ENTRY_HEADER, p + ENTRY_HEADER + length), attr.value);
    view.setUint32(p + 12, own, true);
    hash = ((hash << 16) ^ (hash >>> 16) ^ own) >>> 0;
    p += (ENTRY_HEADER + length + 3) & ~3;
  }
  return hash;
}

function hashAttr(name: Uint8Array, value: Uint8Array): number {
  let hash = 0;
  for (const c of name) hash = (hash << 5) ^ (hash >>> 27) ^ c;
  for (let i = 0; i < value.length; i += 4) {
    const word = value[i] | (value[i + 1] ?? 0) << 8 | (value[i + 2] ?? 0) << 16 | (value[i + 3] ?? 0) << 24;
    hash = (hash << 16) ^ (hash >>> 16) ^ word;
  }
  return hash >>> 0;
}

/** The superblock says when there are attributes. A volume of revision 0 has no word to say so. */
function needExtAttr(vol: Volume): void {
  const { view } = vol.sb, compat = view.getUint32(SB.compat, true);
  if (vol.sb.revision === 0) throw new Err("EOPNOTSUPP", "revision 0 has no extended attributes");
  if (compat & COMPAT.ext_attr) return;
  view.setUint32(SB.compat, compat | COMPAT.ext_attr, true);
  vol.superDirty = true;
}
