/**
 * Directories: entries in blocks; look up, list, add, remove, point elsewhere.
 *
 * Layer: fs/ext2, above blockmap. Small directories are searched in their blocks, large ones by a `DirIndex`. An on-disk
 * hash tree is read as the list of entries that it also is; adding to one drops its flag, as the format allows.
 *
 * What holds always: a block is checked whole before its entries are believed (`dirBlock`), so the chain of entries in it
 * ends at its end. An entry never moves while it exists: its place (`block * 65536 + offset`) names it, and is what a
 * listing goes on from.
 */

import { Err } from "../../core/err.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "../../core/p9/utf8.ts";
import { allocRun, mapRun } from "./blockmap.ts";
import { type Buf, DIR_BLOCK } from "./cache.ts";
import { crc32c } from "./crc.ts";
import { DirIndex } from "./dir_index.ts";
import { inlineData } from "./inline.ts";
import type { Inode } from "./inode.ts";
import { FL_INDEX, NAME_MAX } from "./layout.ts";
import { hasTail, TAIL_BYTES, TAIL_TYPE } from "./seal.ts";
import type { Volume } from "./volume.ts";

/** One entry of a listing. */
export interface Entry {
  name: string;
  ino: number;
  /** The format's file type (1 file, 2 directory, 7 symlink ...), 0 where the volume does not keep it. */
  type: number;
  /** Where a listing goes on after it; never 0. */
  next: number;
}

const HEADER_BYTES = 8, PLACE = 65536;

const scratch = new Uint8Array(4 * NAME_MAX);

/** Bytes of an entry with a name of `length` bytes. */
function entryBytes(length: number): number {
  return (HEADER_BYTES + length + 3) & ~3;
}

/** Bytes of a name. Throws what is wrong with it. */
export function checkName(name: string): number {
  const length = utf8Length(name);
  if (length > NAME_MAX) throw new Err("ENAMETOOLONG");
  if (length === 0 || name.includes("/") || name.includes("\0")) throw new Err("EINVAL", "bad file name");
  return length;
}

/** An entry's length as the field at `at` says: two low bits are bits 16 and 17 in blocks of 64 KiB. */
function recLen(view: DataView, at: number, blockSize: number): number {
  const raw = view.getUint16(at + 4, true);
  if (blockSize < 65536) return raw;
  return raw === 65535 || raw === 0 ? blockSize : (raw & 65532) | ((raw & 3) << 16);
}

function setRecLen(view: DataView, at: number, length: number): void {
  view.setUint16(at + 4, length === 65536 ? 65535 : length, true);
}

function nameLength(vol: Volume, view: DataView, at: number): number {
  return vol.sb.hasFiletype ? view.getUint8(at + 6) : view.getUint16(at + 6, true);
}

/** Blocks of a directory. A size that no directory can have is damage. */
export function dirBlocks(vol: Volume, dir: Inode): number {
  const blocks = dir.size / vol.blockSize;
  if (!Number.isInteger(blocks) || blocks > vol.sb.blocksCount) {
    throw vol.damage(`directory ${dir.ino}: size ${dir.size}`);
  }
  return blocks;
}

/** Block `lblk` of a directory, checked; null where it has a hole. */
function dirBlock(vol: Volume, dir: Inode, lblk: number): Buf | null {
  mapRun(vol, dir, lblk, 1);
  if (vol.runBlock === 0) return null;
  const buf = vol.cache.get(vol.runBlock);
  if (buf.checked !== DIR_BLOCK) {
    checkEntries(vol, dir, buf.view, { from: 0, end: vol.blockSize });
    if (vol.sb.hasChecksums && !isHashNode(vol, dir, lblk, buf)) checkTail(vol, dir, buf);
    buf.checked = DIR_BLOCK;
  }
  return buf;
}

/** Checks that the entries in `[from, end)` form a chain that ends at `end`. */
function checkEntries(vol: Volume, dir: Inode, view: DataView, range: { from: number; end: number }): void {
  for (let at = range.from; at < range.end;) {
    const left = range.end - at;
    const length = left < HEADER_BYTES ? 0 : recLen(view, at, vol.blockSize);
    if (length < HEADER_BYTES || length % 4 !== 0 || length > left) throw badEntry(vol, dir, at);
    const ino = view.getUint32(at, true);
    if (ino !== 0) {
      const name = nameLength(vol, view, at);
      if (name === 0 || name > NAME_MAX || entryBytes(name) > length || ino > vol.sb.inodesCount) {
        throw badEntry(vol, dir, at);
      }
    }
    at += length;
  }
}

function badEntry(vol: Volume, dir: Inode, at: number): Err {
  return vol.damage(`directory ${dir.ino}: bad entry at offset ${at} of a block`);
}

/** True for a block of the hash tree itself: its tail is another, and may keep bytes of the old one. */
function isHashNode(vol: Volume, dir: Inode, lblk: number, buf: Buf): boolean {
  if (!(dir.flags & FL_INDEX)) return false;
  return lblk === 0 || (buf.view.getUint32(0, true) === 0 && recLen(buf.view, 0, vol.blockSize) === vol.blockSize);
}

function checkTail(vol: Volume, dir: Inode, buf: Buf): void {
  const at = vol.blockSize - TAIL_BYTES, { view } = buf;
  if (!hasTail(buf)) return;
  if (crc32c(vol.inodeSeed(dir), buf.data, 0, at) !== view.getUint32(at + 8, true)) {
    throw vol.damage(`directory ${dir.ino}: bad checksum of block ${buf.no}`);
  }
}

/** The place of `name` in `dir`, or -1. */
export function findPlace(vol: Volume, dir: Inode, name: string): number {
  const blocks = dirBlocks(vol, dir);
  const index = blocks > 1 ? indexOf(vol, dir, blocks) : null;
  if (index) return index.names.get(name) ?? -1;
  const length = encodeUtf8(name, scratch, 0);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const buf = dirBlock(vol, dir, lblk);
    const at = buf ? findInBlock(vol, buf, length) : -1;
    if (at >= 0) return lblk * PLACE + at;
  }
  return -1;
}

/** The entry in a block whose name is the first `length` bytes of `scratch`; its offset, or -1. */
function findInBlock(vol: Volume, buf: Buf, length: number): number {
  const { view, data } = buf, { blockSize } = vol, first = scratch[0];
  for (let at = 0; at < blockSize; at += recLen(view, at, blockSize)) {
    if (data[at + 6] !== length || data[at + HEADER_BYTES] !== first || view.getUint32(at, true) === 0) continue;
    let i = 1;
    while (i < length && data[at + HEADER_BYTES + i] === scratch[i]) i++;
    if (i === length) return at;
  }
  return -1;
}

/** The inode of `name` in `dir`; 0 when there is none. */
export function lookup(vol: Volume, dir: Inode, name: string): number {
  if (dir.hasInlineData) return listInline(vol, dir).find((entry) => entry.name === name)?.ino ?? 0;
  const place = findPlace(vol, dir, name);
  return place < 0 ? 0 : inoAt(vol, dir, place);
}

/** The block of the directory in which a place lies. */
export function blockOfPlace(place: number): number {
  return Math.floor(place / PLACE);
}

/** The inode that the entry at `place` names. */
export function inoAt(vol: Volume, dir: Inode, place: number): number {
  return blockAt(vol, dir, place).view.getUint32(place % PLACE, true);
}

function blockAt(vol: Volume, dir: Inode, place: number): Buf {
  const buf = dirBlock(vol, dir, blockOfPlace(place));
  if (!buf) throw vol.damage(`directory ${dir.ino} has lost a block`);
  return buf;
}

/** The disk block of an entry: what says whether two entries are written together. */
export function diskBlockAt(vol: Volume, dir: Inode, place: number): number {
  return blockAt(vol, dir, place).no;
}

/** At most `max` entries from `cookie` on (0 is the start). */
export function list(vol: Volume, dir: Inode, cookie: number, max: number): Entry[] {
  if (dir.hasInlineData) return listInline(vol, dir).filter((entry) => entry.next > cookie).slice(0, max);
  const { blockSize } = vol, blocks = dirBlocks(vol, dir), entries: Entry[] = [];
  for (let lblk = Math.floor(cookie / blockSize); lblk < blocks && entries.length < max; lblk++) {
    const buf = dirBlock(vol, dir, lblk);
    if (!buf) continue;
    const { view, data } = buf;
    for (let at = 0; at < blockSize && entries.length < max;) {
      const length = recLen(view, at, blockSize), start = lblk * blockSize + at, ino = view.getUint32(at, true);
      if (ino !== 0 && start >= cookie) {
        entries.push({
          name: decodeUtf8(data, at + HEADER_BYTES, nameLength(vol, view, at)),
          ino,
          type: vol.sb.hasFiletype ? data[at + 7] & 7 : 0,
          next: start + length,
        });
      }
      at += length;
    }
  }
  return entries;
}

/** The entries of a directory that lies in its inode: its parent's number, then entries in two pieces. */
function listInline(vol: Volume, dir: Inode): Entry[] {
  const data = inlineData(vol, dir), view = new DataView(data.buffer, data.byteOffset, data.length);
  const entries: Entry[] = [
    { name: ".", ino: dir.ino, type: 2, next: 1 },
    { name: "..", ino: view.getUint32(0, true), type: 2, next: 2 },
  ];
  const pieces = [[4, Math.min(60, data.length)], [60, data.length]];
  for (const [from, end] of pieces) {
    if (end <= from) continue;
    checkEntries(vol, dir, view, { from, end });
    for (let at = from; at < end; at += recLen(view, at, vol.blockSize)) {
      const ino = view.getUint32(at, true);
      if (ino === 0) continue;
      const name = decodeUtf8(data, at + HEADER_BYTES, nameLength(vol, view, at));
      entries.push({ name, ino, type: data[at + 7] & 7, next: at + HEADER_BYTES });
    }
  }
  return entries;
}

/** True when a directory holds nothing but `.` and `..`. */
export function isEmpty(vol: Volume, dir: Inode): boolean {
  if (dir.hasInlineData) return listInline(vol, dir).length === 2;
  return list(vol, dir, 0, 3).every((entry) => entry.name === "." || entry.name === "..");
}

/** Adds an entry; answers its place. `near`: a block of the directory to try first, or -1. The name must be new. */
export function addEntry(
  vol: Volume,
  dir: Inode,
  what: { name: string; ino: number; type: number; near?: number },
): number {
  const length = checkName(what.name), need = entryBytes(length);
  dropTree(vol, dir);
  const lblk = roomFor(vol, dir, need, what.near ?? -1);
  const buf = lblk < 0 ? appendBlock(vol, dir) : blockAt(vol, dir, lblk * PLACE);
  const block = lblk < 0 ? dirBlocks(vol, dir) - 1 : lblk;
  const at = placeInBlock(vol, dir, buf, need);
  if (at < 0) throw vol.damage(`directory ${dir.ino}: block ${buf.no} changed under its index`);
  buf.view.setUint32(at, what.ino, true);
  buf.data[at + 6] = length;
  buf.data[at + 7] = vol.sb.hasFiletype ? what.type : 0;
  encodeUtf8(what.name, buf.data, at + HEADER_BYTES);
  const place = block * PLACE + at;
  noteAdded(vol, dir, what.name, place, buf);
  return place;
}

/** The block of the directory with a hole of `need` bytes, or -1. */
function roomFor(vol: Volume, dir: Inode, need: number, near: number): number {
  const blocks = dirBlocks(vol, dir);
  if (near >= 0 && near < blocks && largestHole(vol, blockAt(vol, dir, near * PLACE)) >= need) return near;
  const index = blocks > 1 ? indexOf(vol, dir, blocks) : null;
  if (index) return index.findRoom(need);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const buf = dirBlock(vol, dir, lblk);
    if (buf && largestHole(vol, buf) >= need) return lblk;
  }
  return -1;
}

/** Where the entries of a block end. */
function entriesEnd(vol: Volume, buf: Buf): number {
  return vol.sb.hasChecksums && hasTail(buf) ? vol.blockSize - TAIL_BYTES : vol.blockSize;
}

/** Notes that a block of a directory is about to change. */
function editDir(vol: Volume, dir: Inode, buf: Buf, offset: number, length: number): void {
  vol.edit(buf, offset, length, DIR_BLOCK);
  buf.owner = dir;
}

function largestHole(vol: Volume, buf: Buf): number {
  const { view } = buf, { blockSize } = vol, end = entriesEnd(vol, buf);
  let largest = 0;
  for (let at = 0; at < end;) {
    const length = recLen(view, at, blockSize);
    const hole = view.getUint32(at, true) === 0 ? length : length - entryBytes(nameLength(vol, view, at));
    if (hole > largest) largest = hole;
    at += length;
  }
  return largest;
}

/** Makes an entry of at least `need` bytes in a block, and answers where; -1 when there is no hole so large. */
function placeInBlock(vol: Volume, dir: Inode, buf: Buf, need: number): number {
  const { view } = buf, { blockSize } = vol, end = entriesEnd(vol, buf);
  for (let at = 0; at < end;) {
    const length = recLen(view, at, blockSize);
    const used = view.getUint32(at, true) === 0 ? 0 : entryBytes(nameLength(vol, view, at));
    if (length - used >= need) {
      editDir(vol, dir, buf, at, used + need);
      if (used > 0) {
        setRecLen(view, at, used);
        setRecLen(view, at + used, length - used);
      }
      return at + used;
    }
    at += length;
  }
  return -1;
}

/** A new last block of a directory: one empty entry. */
function appendBlock(vol: Volume, dir: Inode): Buf {
  const blocks = dirBlocks(vol, dir);
  allocRun(vol, dir, blocks, 1);
  const buf = vol.fresh(vol.runBlock);
  emptyLeaf(vol, dir, buf);
  dir.size += vol.blockSize;
  const { index } = dir;
  if (index && index.scanned === blocks) {
    index.scanned++;
    index.rooms.push(entriesEnd(vol, buf));
    vol.tx.undo(() => {
      index.scanned--;
      index.rooms.pop();
    });
  }
  return buf;
}

/** Makes a block of zeros one of a directory's, without an entry. */
function emptyLeaf(vol: Volume, dir: Inode, buf: Buf): void {
  if (vol.sb.hasChecksums) setTail(vol, buf);
  setRecLen(buf.view, 0, entriesEnd(vol, buf));
  buf.kind = DIR_BLOCK;
  buf.owner = dir;
  buf.checked = DIR_BLOCK;
}

function setTail(vol: Volume, { view, data }: Buf): void {
  const at = vol.blockSize - TAIL_BYTES;
  data.fill(0, at);
  view.setUint16(at + 4, TAIL_BYTES, true);
  data[at + 7] = TAIL_TYPE;
}

/** Lets go of a directory's hash tree. With checksums its nodes have to become blocks like the others. */
function dropTree(vol: Volume, dir: Inode): void {
  if (!(dir.flags & FL_INDEX)) return;
  if (vol.sb.hasChecksums) {
    const root = dirBlock(vol, dir, 0);
    if (!root) throw vol.damage(`directory ${dir.ino} has lost a block`);
    const { view } = root, dots = entryBytes(1), entries = dots + entryBytes(2) + view.getUint8(dots + 12 + 5);
    if (view.getUint8(dots + 12 + 6) > 0) {
      for (let i = 0; i < view.getUint16(entries + 2, true); i++) {
        emptyNode(vol, dir, view.getUint32(entries + 4 + 8 * i, true));
      }
    }
    editDir(vol, dir, root, 0, vol.blockSize);
    setTail(vol, root);
    setRecLen(view, dots, vol.blockSize - TAIL_BYTES - dots);
  }
  dir.flags &= ~FL_INDEX;
  dropIndex(vol, dir);
}

function emptyNode(vol: Volume, dir: Inode, lblk: number): void {
  if (lblk === 0 || lblk >= dirBlocks(vol, dir)) throw vol.damage(`directory ${dir.ino}: bad hash tree`);
  const buf = blockAt(vol, dir, lblk * PLACE);
  if (buf.view.getUint32(0, true) !== 0 || recLen(buf.view, 0, vol.blockSize) !== vol.blockSize) {
    throw vol.damage(`directory ${dir.ino}: bad hash tree`);
  }
  editDir(vol, dir, buf, 0, vol.blockSize);
  buf.data.fill(0);
  emptyLeaf(vol, dir, buf);
}

/** The first block of a new directory, with `.` and `..` in it. */
export function initDir(vol: Volume, dir: Inode, parent: number): void {
  dir.size = 0;
  const buf = appendBlock(vol, dir), { view, data } = buf, end = entriesEnd(vol, buf);
  const dot = entryBytes(1), kind = vol.sb.hasFiletype ? 2 : 0;
  setDot(view, data, { at: 0, ino: dir.ino, length: dot, dots: 1, kind });
  setDot(view, data, { at: dot, ino: parent, length: end - dot, dots: 2, kind });
}

function setDot(
  view: DataView,
  data: Uint8Array,
  e: { at: number; ino: number; length: number; dots: number; kind: number },
): void {
  view.setUint32(e.at, e.ino, true);
  setRecLen(view, e.at, e.length);
  data[e.at + 6] = e.dots;
  data[e.at + 7] = e.kind;
  data.fill(0x2e, e.at + HEADER_BYTES, e.at + HEADER_BYTES + e.dots);
}

/** Removes the entry at `place`. */
export function removeEntry(vol: Volume, dir: Inode, name: string, place: number): void {
  const buf = blockAt(vol, dir, place), target = place % PLACE, { view } = buf;
  let before = -1;
  for (let at = 0; at < target;) {
    before = at;
    at += recLen(view, at, vol.blockSize);
  }
  if (before < 0) {
    editDir(vol, dir, buf, target, 4);
    view.setUint32(target, 0, true);
  } else {
    editDir(vol, dir, buf, before, HEADER_BYTES);
    setRecLen(view, before, recLen(view, before, vol.blockSize) + recLen(view, target, vol.blockSize));
  }
  noteRemoved(vol, dir, name, place, buf);
}

/** Points the entry at `place` to another inode. */
export function setEntry(vol: Volume, dir: Inode, place: number, ino: number, type: number): void {
  if (vol.sb.hasChecksums && blockOfPlace(place) === 0) dropTree(vol, dir);
  const buf = blockAt(vol, dir, place), at = place % PLACE;
  editDir(vol, dir, buf, at, HEADER_BYTES);
  buf.view.setUint32(at, ino, true);
  if (vol.sb.hasFiletype) buf.data[at + 7] = type;
}

/** The index of a directory, read in as far as needed; null when it would be too large. */
function indexOf(vol: Volume, dir: Inode, blocks: number): DirIndex | null {
  let { index } = dir;
  if (index === null) {
    if ((blocks * vol.blockSize) / 32 > vol.indexLimit) return null;
    dropIndexes(vol);
    index = dir.index = new DirIndex();
    vol.indexed.add(dir);
  }
  while (index.scanned < blocks) scanBlock(vol, dir, index);
  return index;
}

function scanBlock(vol: Volume, dir: Inode, index: DirIndex): void {
  const lblk = index.scanned, { blockSize } = vol;
  if (!vol.port.cached) {
    mapRun(vol, dir, lblk, 32);
    if (vol.runBlock !== 0 && !vol.cache.peek(vol.runBlock)) vol.cache.prefetch(vol.runBlock, vol.runCount);
  }
  const buf = dirBlock(vol, dir, lblk), before = index.names.size;
  if (buf) {
    const { view, data } = buf;
    for (let at = 0; at < blockSize; at += recLen(view, at, blockSize)) {
      if (view.getUint32(at, true) === 0) continue;
      const name = decodeUtf8(data, at + HEADER_BYTES, nameLength(vol, view, at));
      if (!index.names.has(name)) index.names.set(name, lblk * PLACE + at);
    }
  }
  index.setRoom(lblk, buf ? largestHole(vol, buf) : 0);
  index.scanned++;
  vol.indexNames += index.names.size - before;
}

/** Makes room for another index: throws the oldest ones away. */
function dropIndexes(vol: Volume): void {
  for (const dir of vol.indexed) {
    if (vol.indexNames <= vol.indexLimit) break;
    dropIndex(vol, dir);
  }
}

/** Throws a directory's index away. */
export function dropIndex(vol: Volume, dir: Inode): void {
  if (!dir.index) return;
  vol.indexNames -= dir.index.names.size;
  dir.index = null;
  vol.indexed.delete(dir);
}

function noteAdded(vol: Volume, dir: Inode, name: string, place: number, buf: Buf): void {
  const { index } = dir;
  if (!index) return;
  const block = blockOfPlace(place), room = index.rooms[block];
  index.names.set(name, place);
  vol.indexNames++;
  index.setRoom(block, largestHole(vol, buf));
  vol.tx.undo(() => {
    if (dir.index !== index) return;
    index.names.delete(name);
    vol.indexNames--;
    index.setRoom(block, room);
  });
}

function noteRemoved(vol: Volume, dir: Inode, name: string, place: number, buf: Buf): void {
  const { index } = dir;
  if (!index) return;
  const block = blockOfPlace(place), room = index.rooms[block];
  index.names.delete(name);
  vol.indexNames--;
  index.setRoom(block, largestHole(vol, buf));
  vol.tx.undo(() => {
    if (dir.index !== index) return;
    index.names.set(name, place);
    vol.indexNames++;
    index.setRoom(block, room);
  });
}

/** A block of the directory without any entry, or null. */
export function findEmptyBlock(vol: Volume, dir: Inode): Buf | null {
  const blocks = Math.min(dirBlocks(vol, dir), 64);
  for (let lblk = 1; lblk < blocks; lblk++) {
    const buf = dirBlock(vol, dir, lblk);
    if (
      buf && !buf.dirty && buf.view.getUint32(0, true) === 0 && recLen(buf.view, 0, vol.blockSize) === vol.blockSize
    ) {
      return buf;
    }
  }
  return null;
}
