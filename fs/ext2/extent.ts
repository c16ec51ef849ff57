/**
 * Extent trees of ext4: which run of blocks holds a block of a file.
 *
 * Layer: fs/ext2, above volume; blockmap.ts calls it for inodes that have the flag. extent_write.ts changes them.
 *
 * What holds always: a tree is at most five levels deep, each level below must say a smaller depth, and each node must
 * lie inside of the volume: so a damaged tree ends in EIO, never in a loop.
 */

import { type Buf, EXTENT_BLOCK } from "./cache.ts";
import { crc32c } from "./crc.ts";
import type { Inode } from "./inode.ts";
import { IN } from "./layout.ts";
import type { Volume } from "./volume.ts";

export const EXTENT_MAGIC = 0xf30a, MAX_DEPTH = 5, HEADER_BYTES = 12, ENTRY_BYTES = 12;
/** A run longer than this is allocated, but not written: it reads as zeros. */
export const MAX_INIT_LENGTH = 32768;
const HIGH = 0x100000000;

/** Finds the run from `lblk` on; sets `vol.runBlock` (0: a hole) and `vol.runCount`. */
export function mapExtent(vol: Volume, inode: Inode, lblk: number): void {
  let view = inode.view, base: number = IN.block, bytes = 60, below = MAX_DEPTH + 1;
  /** First block of the file that the next subtree covers: where a hole ends. */
  let bound = HIGH;
  for (;;) {
    const entries = view.getUint16(base + 2, true), most = view.getUint16(base + 4, true);
    const depth = view.getUint16(base + 6, true);
    if (view.getUint16(base, true) !== EXTENT_MAGIC || depth >= below || entries > most || sizeOf(most) > bytes) {
      throw vol.damage(`inode ${inode.ino}: bad extent node`);
    }
    below = depth;
    const index = lastNotAfter(view, base, entries, lblk);
    if (index + 1 < entries) bound = Math.min(bound, view.getUint32(base + sizeOf(index + 1), true));
    if (index < 0) return setRun(vol, 0, bound - lblk);
    const at = base + sizeOf(index);
    if (depth === 0) return mapLeaf(vol, inode, view, { at, lblk, bound });
    const child = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * HIGH;
    const buf = childNode(vol, inode, child);
    view = buf.view;
    base = 0;
    bytes = vol.blockSize;
  }
}

/** Calls `add` with each run of blocks of the tree: its nodes, and what its leaves point to. */
export function walkExtents(vol: Volume, inode: Inode, add: (start: number, count: number) => void): void {
  const limit = { left: vol.sb.blocksCount };
  walkNode(vol, inode, { view: inode.view, base: IN.block, bytes: 60, below: MAX_DEPTH + 1 }, add, limit);
}

function walkNode(
  vol: Volume,
  inode: Inode,
  node: { view: DataView; base: number; bytes: number; below: number },
  add: (start: number, count: number) => void,
  limit: { left: number },
): void {
  const { view, base } = node;
  const entries = view.getUint16(base + 2, true), most = view.getUint16(base + 4, true);
  const depth = view.getUint16(base + 6, true);
  if (
    view.getUint16(base, true) !== EXTENT_MAGIC || depth >= node.below || entries > most || sizeOf(most) > node.bytes
  ) {
    throw vol.damage(`inode ${inode.ino}: bad extent node`);
  }
  for (let i = 0; i < entries; i++) {
    const at = base + sizeOf(i);
    if (--limit.left < 0) throw vol.damage(`inode ${inode.ino}: has more blocks than the volume`);
    if (depth === 0) {
      const raw = view.getUint16(at + 4, true), length = raw > MAX_INIT_LENGTH ? raw - MAX_INIT_LENGTH : raw;
      const start = view.getUint32(at + 8, true) + view.getUint16(at + 6, true) * HIGH;
      if (!vol.groups.isDataRun(start, length)) {
        throw vol.damage(`inode ${inode.ino}: extent at block ${start} is out of range`);
      }
      limit.left -= length;
      add(start, length);
    } else {
      const child = view.getUint32(at + 4, true) + view.getUint16(at + 8, true) * HIGH;
      const buf = childNode(vol, inode, child);
      add(child, 1);
      walkNode(vol, inode, { view: buf.view, base: 0, bytes: vol.blockSize, below: depth }, add, limit);
    }
  }
}

function mapLeaf(vol: Volume, inode: Inode, view: DataView, leaf: { at: number; lblk: number; bound: number }): void {
  const first = view.getUint32(leaf.at, true);
  let length = view.getUint16(leaf.at + 4, true);
  const unwritten = length > MAX_INIT_LENGTH;
  if (unwritten) length -= MAX_INIT_LENGTH;
  const start = view.getUint32(leaf.at + 8, true) + view.getUint16(leaf.at + 6, true) * HIGH;
  const skip = leaf.lblk - first;
  if (skip >= length) return setRun(vol, 0, leaf.bound - leaf.lblk);
  if (!vol.groups.isDataRun(start, length)) {
    throw vol.damage(`inode ${inode.ino}: extent at block ${start} is out of range`);
  }
  setRun(vol, unwritten ? 0 : start + skip, length - skip);
}

/** A node below the root, verified. */
export function childNode(vol: Volume, inode: Inode, block: number): Buf {
  if (!vol.groups.isDataRun(block, 1)) throw vol.damage(`inode ${inode.ino}: extent node at block ${block}`);
  const buf = vol.cache.get(block);
  if (vol.sb.hasChecksums && buf.checked !== EXTENT_BLOCK) {
    const tail = sizeOf(buf.view.getUint16(4, true));
    const right = tail + 4 <= vol.blockSize &&
      crc32c(vol.inodeSeed(inode), buf.data, 0, tail) === buf.view.getUint32(tail, true);
    if (!right) throw vol.damage(`inode ${inode.ino}: bad checksum of extent node ${block}`);
    buf.checked = EXTENT_BLOCK;
  }
  return buf;
}

/** Index of the last entry that begins at or before `lblk`; -1 when all begin after it. */
export function lastNotAfter(view: DataView, base: number, entries: number, lblk: number): number {
  let low = 0, high = entries;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (view.getUint32(base + sizeOf(mid), true) <= lblk) low = mid + 1;
    else high = mid;
  }
  return low - 1;
}

/** Bytes of a header and `entries` entries: also where entry `entries` begins. */
export function sizeOf(entries: number): number {
  return HEADER_BYTES + entries * ENTRY_BYTES;
}

function setRun(vol: Volume, block: number, count: number): void {
  vol.runBlock = block;
  vol.runCount = Math.max(1, count);
}
