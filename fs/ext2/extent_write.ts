/**
 * Extent trees of ext4, changed: allocate, convert what was only reserved, cut off.
 *
 * Layer: fs/ext2, above alloc and extent.ts, which reads them; blockmap.ts calls it for inodes that have the flag. The
 * inode must have been touched.
 *
 * What holds always: a run that follows its neighbour in the file and on the disk is put to it, so a file written in order
 * has as few entries as its blocks have pieces. A full node is split in the middle, or at its end when the file
 * grows there. Freeing goes from the end, by one leaf a step.
 *
 * See Documentation/filesystems/ext4/ifork.rst of Linux.
 */

import { allocBlocks, freeBlocks } from "./alloc.ts";
import { type Buf, EXTENT_BLOCK } from "./cache.ts";
import {
  childNode,
  ENTRY_BYTES,
  EXTENT_MAGIC,
  HEADER_BYTES,
  lastNotAfter,
  MAX_DEPTH,
  MAX_INIT_LENGTH,
  sizeOf,
} from "./extent.ts";
import type { Inode } from "./inode.ts";
import { IN } from "./layout.ts";
import type { Volume } from "./volume.ts";

const HIGH = 0x100000000, ROOT_ENTRIES = 4, ROOT_BYTES = 60;
/** Header fields: entries, room for so many, depth. */
const ENTRIES = 2, MOST = 4, DEPTH = 6;

/** A node on the way from the root to a leaf: an inode's own (`buf` null) or a block, and which entry was taken. */
interface Level {
  buf: Buf | null;
  view: DataView;
  base: number;
  /** -1 in a leaf whose entries all begin later. */
  index: number;
}

/** A run of a file. */
interface Run {
  lblk: number;
  start: number;
  count: number;
  /** Allocated, but never written: reads as zeros. */
  unwritten: boolean;
}

/** Makes an inode's pointers an empty tree. */
export function initExtents(inode: Inode): void {
  inode.raw.fill(0, IN.block, IN.block + ROOT_BYTES);
  inode.view.setUint16(IN.block, EXTENT_MAGIC, true);
  inode.view.setUint16(IN.block + MOST, ROOT_ENTRIES, true);
}

/** As `allocRun` of blockmap.ts. `goal`: where a new block should be. */
export function allocExtent(vol: Volume, inode: Inode, at: { lblk: number; max: number; goal: () => number }): boolean {
  const { lblk } = at, path = pathTo(vol, inode, lblk), leaf = path[path.length - 1];
  const there = leaf.index < 0 ? null : runAt(leaf, leaf.index);
  if (there && lblk < there.lblk + there.count) {
    const skip = lblk - there.lblk, count = Math.min(at.max, there.count - skip);
    if (!vol.groups.isDataRun(there.start, there.count)) {
      throw vol.damage(`inode ${inode.ino}: extent at block ${there.start} is out of range`);
    }
    if (there.unwritten) convert(vol, inode, leaf, { there, skip, count });
    setRun(vol, inode, there.start + skip, count);
    return there.unwritten;
  }
  const want = Math.min(at.max, boundOf(path) - lblk, MAX_INIT_LENGTH);
  if (want <= 0) throw vol.damage(`inode ${inode.ino}: extents are out of order`);
  const goal = there && inode.lastBlock === 0
    ? there.start + there.count + (lblk - there.lblk - there.count)
    : at.goal();
  const start = allocBlocks(vol, goal, want), count = vol.runCount;
  insert(vol, inode, { lblk, start, count, unwritten: false });
  addBlocks(vol, inode, count);
  setRun(vol, inode, start, count);
  return true;
}

function setRun(vol: Volume, inode: Inode, start: number, count: number): void {
  vol.runBlock = start;
  vol.runCount = count;
  inode.lastBlock = start + count - 1;
}

function addBlocks(vol: Volume, inode: Inode, n: number): void {
  inode.blocks = Math.max(0, inode.blocks + (inode.hasHugeBlocks ? n : n * (vol.blockSize / 512)));
}

/** The nodes from the root to the leaf that has `lblk`, or would have it. */
function pathTo(vol: Volume, inode: Inode, lblk: number): Level[] {
  const path: Level[] = [];
  let level: Level = { buf: null, view: inode.view, base: IN.block, index: 0 }, below = MAX_DEPTH + 1;
  for (let bytes = ROOT_BYTES;; bytes = vol.blockSize) {
    const { view, base } = level, entries = word(level, ENTRIES), depth = word(level, DEPTH);
    const isBad = view.getUint16(base, true) !== EXTENT_MAGIC || depth >= below || entries > word(level, MOST) ||
      sizeOf(word(level, MOST)) > bytes || (depth > 0 && entries === 0) || word(level, MOST) === 0;
    if (isBad) throw vol.damage(`inode ${inode.ino}: bad extent node`);
    below = depth;
    level.index = lastNotAfter(view, base, entries, lblk);
    path.push(level);
    if (depth === 0) return path;
    level.index = Math.max(0, level.index);
    const buf = childNode(vol, inode, childAt(level, level.index));
    level = { buf, view: buf.view, base: 0, index: 0 };
  }
}

function word(level: Level, field: number): number {
  return level.view.getUint16(level.base + field, true);
}

function keyAt(level: Level, index: number): number {
  return level.view.getUint32(level.base + sizeOf(index), true);
}

function childAt(level: Level, index: number): number {
  const at = level.base + sizeOf(index);
  return level.view.getUint32(at + 4, true) + level.view.getUint16(at + 8, true) * HIGH;
}

function runAt({ view, base }: Level, index: number): Run {
  const at = base + sizeOf(index), raw = view.getUint16(at + 4, true), unwritten = raw > MAX_INIT_LENGTH;
  return {
    lblk: view.getUint32(at, true),
    start: view.getUint32(at + 8, true) + view.getUint16(at + 6, true) * HIGH,
    count: unwritten ? raw - MAX_INIT_LENGTH : raw,
    unwritten,
  };
}

/** The first block of the file that belongs to an entry after the path's. */
function boundOf(path: Level[]): number {
  let bound = HIGH - 1;
  for (const level of path) if (level.index + 1 < word(level, ENTRIES)) bound = keyAt(level, level.index + 1);
  return bound;
}

/** Notes that a node is about to change. */
function edit(vol: Volume, inode: Inode, { buf }: Level): void {
  if (!buf) return;
  vol.edit(buf, 0, vol.blockSize, EXTENT_BLOCK);
  buf.owner = inode;
}

function putRun({ view, base }: Level, index: number, run: Run): void {
  const at = base + sizeOf(index);
  view.setUint32(at, run.lblk, true);
  view.setUint16(at + 4, run.count + (run.unwritten ? MAX_INIT_LENGTH : 0), true);
  view.setUint16(at + 6, Math.floor(run.start / HIGH), true);
  view.setUint32(at + 8, run.start % HIGH, true);
}

function putChild({ view, base }: Level, index: number, key: number, block: number): void {
  const at = base + sizeOf(index);
  view.setUint32(at, key, true);
  view.setUint32(at + 4, block % HIGH, true);
  view.setUint16(at + 8, Math.floor(block / HIGH), true);
  view.setUint16(at + 10, 0, true);
}

/** Makes room for an entry before the one at `index`. */
function openGap({ view, base }: Level, index: number): void {
  const entries = view.getUint16(base + ENTRIES, true), bytes = new Uint8Array(view.buffer, view.byteOffset + base);
  bytes.copyWithin(sizeOf(index + 1), sizeOf(index), sizeOf(entries));
  view.setUint16(base + ENTRIES, entries + 1, true);
}

/** Makes a part of an unwritten run a written one. */
function convert(vol: Volume, inode: Inode, leaf: Level, part: { there: Run; skip: number; count: number }): void {
  const { there, skip, count } = part, written = { ...there, unwritten: false };
  const middle = { ...written, lblk: there.lblk + skip, start: there.start + skip, count };
  const done = skip + count, rest = { ...there, lblk: there.lblk + done, start: there.start + done };
  edit(vol, inode, leaf);
  if (skip === 0) putRun(leaf, leaf.index, middle);
  else {
    putRun(leaf, leaf.index, { ...there, count: skip });
    insert(vol, inode, middle);
  }
  if (done < there.count) insert(vol, inode, { ...rest, count: there.count - done });
}

/** Puts a run into the tree, where nothing is yet. */
function insert(vol: Volume, inode: Inode, run: Run): void {
  for (;;) {
    const path = pathTo(vol, inode, run.lblk), leaf = path[path.length - 1];
    if (merge(vol, inode, leaf, run)) return;
    if (word(leaf, ENTRIES) < word(leaf, MOST)) {
      edit(vol, inode, leaf);
      openGap(leaf, leaf.index + 1);
      putRun(leaf, leaf.index + 1, run);
      return lowerKeys(vol, inode, path, run.lblk);
    }
    makeRoom(vol, inode, path, path.length - 1);
  }
}

/** Adds a run to the one before it, if they are one piece. */
function merge(vol: Volume, inode: Inode, leaf: Level, run: Run): boolean {
  if (leaf.index < 0) return false;
  const before = runAt(leaf, leaf.index), count = before.count + run.count;
  const isOne = before.lblk + before.count === run.lblk && before.start + before.count === run.start &&
    before.unwritten === run.unwritten && count < MAX_INIT_LENGTH;
  if (!isOne) return false;
  edit(vol, inode, leaf);
  putRun(leaf, leaf.index, { ...before, count });
  return true;
}

/** The keys above a leaf are not after its first. */
function lowerKeys(vol: Volume, inode: Inode, path: Level[], lblk: number): void {
  for (const level of path.slice(0, -1)) {
    if (keyAt(level, level.index) <= lblk) continue;
    edit(vol, inode, level);
    level.view.setUint32(level.base + sizeOf(level.index), lblk, true);
  }
}

/** Sees that the node at `depth` of the path has room, or comes nearer to it: the path has to be walked anew. */
function makeRoom(vol: Volume, inode: Inode, path: Level[], depth: number): void {
  if (depth === 0) return grow(vol, inode, path[0]);
  const parent = path[depth - 1], node = path[depth], entries = word(node, ENTRIES);
  if (word(parent, ENTRIES) >= word(parent, MOST)) return makeRoom(vol, inode, path, depth - 1);
  const moved = node.index >= entries - 1 ? 1 : entries >> 1, keep = entries - moved;
  const block = newNode(vol, inode, { node, from: keep, count: moved });
  const key = keyAt(node, keep);
  edit(vol, inode, node);
  node.view.setUint16(node.base + ENTRIES, keep, true);
  edit(vol, inode, parent);
  openGap(parent, parent.index + 1);
  putChild(parent, parent.index + 1, key, block);
}

/** The root's entries move to a block of their own. */
function grow(vol: Volume, inode: Inode, root: Level): void {
  const entries = word(root, ENTRIES), depth = word(root, DEPTH);
  if (depth >= MAX_DEPTH) throw vol.damage(`inode ${inode.ino}: extent tree is too deep`);
  const block = newNode(vol, inode, { node: root, from: 0, count: entries });
  root.view.setUint16(root.base + ENTRIES, 1, true);
  root.view.setUint16(root.base + DEPTH, depth + 1, true);
  putChild(root, 0, keyAt(root, 0), block);
}

/** A new node with some entries of another. */
function newNode(vol: Volume, inode: Inode, part: { node: Level; from: number; count: number }): number {
  const { node: { view, base }, from, count } = part;
  const block = allocBlocks(vol, inode.lastBlock > 0 ? inode.lastBlock + 1 : 0, 1), buf = vol.fresh(block);
  buf.view.setUint16(0, EXTENT_MAGIC, true);
  buf.view.setUint16(ENTRIES, count, true);
  buf.view.setUint16(MOST, Math.floor((vol.blockSize - HEADER_BYTES) / ENTRY_BYTES), true);
  buf.view.setUint16(DEPTH, view.getUint16(base + DEPTH, true), true);
  const bytes = new Uint8Array(view.buffer, view.byteOffset + base);
  buf.data.set(bytes.subarray(sizeOf(from), sizeOf(from + count)), HEADER_BYTES);
  buf.kind = EXTENT_BLOCK;
  buf.owner = inode;
  buf.checked = EXTENT_BLOCK;
  addBlocks(vol, inode, 1);
  return block;
}

/** As `shrinkStep` of blockmap.ts: frees the blocks from `from` on, those of one leaf and no more. */
export function shrinkExtents(vol: Volume, inode: Inode, from: number): boolean {
  const path = pathTo(vol, inode, HIGH - 1), leaf = path[path.length - 1];
  let entries = word(leaf, ENTRIES);
  if (entries > 0) edit(vol, inode, leaf);
  inode.lastBlock = 0;
  for (; entries > 0; entries--) {
    const run = runAt(leaf, entries - 1), keep = Math.max(0, Math.min(run.count, from - run.lblk));
    if (keep < run.count) {
      freeBlocks(vol, run.start + keep, run.count - keep);
      addBlocks(vol, inode, keep - run.count);
    }
    if (keep === 0) continue;
    putRun(leaf, entries - 1, { ...run, count: keep });
    leaf.view.setUint16(leaf.base + ENTRIES, entries, true);
    return true;
  }
  leaf.view.setUint16(leaf.base + ENTRIES, 0, true);
  return path.length === 1 || !dropNodes(vol, inode, path);
}

/** Frees the empty nodes at the path's end. True when there are others, with more to look at. */
function dropNodes(vol: Volume, inode: Inode, path: Level[]): boolean {
  for (let depth = path.length - 1; depth > 0; depth--) {
    const parent = path[depth - 1], left = word(parent, ENTRIES) - 1;
    freeBlocks(vol, path[depth].buf!.no, 1);
    addBlocks(vol, inode, -1);
    edit(vol, inode, parent);
    parent.view.setUint16(parent.base + ENTRIES, left, true);
    if (left > 0) return true;
  }
  initExtents(inode);
  return false;
}
