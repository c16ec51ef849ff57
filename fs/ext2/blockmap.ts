/**
 * The block map: from a block of a file to a block of the disk, over direct and one to three levels of indirect pointers.
 *
 * Layer: fs/ext2, above alloc. Inodes with extents go to extent.ts and extent_write.ts.
 *
 * What holds always: a pointer is believed only if the block can be a file's (`isDataRun`). A new pointer block is filled
 * before anything points to it. Freeing goes from the end in steps of bounded size, so that a file of any length can be
 * given up in pieces between which other operations run.
 */

import { Err } from "../../core/err.ts";
import { allocBlocks, freeBlocks } from "./alloc.ts";
import type { Buf } from "./cache.ts";
import { mapExtent } from "./extent.ts";
import { allocExtent, shrinkExtents } from "./extent_write.ts";
import type { Inode } from "./inode.ts";
import { DIRECT_BLOCKS, IN, POINTERS } from "./layout.ts";
import type { Volume } from "./volume.ts";

/** A place that holds a pointer: an indirect block, or (null) the inode itself; then the index in it. */
interface Slot {
  buf: Buf | null;
  index: number;
  /** Pointers that follow in the same place, this one included. */
  room: number;
}

/** Where the last walk ended. One object, to make none on the hot path. */
const slot: Slot = { buf: null, index: 0, room: 0 };

/** Blocks that a file can have on this volume, by its pointers. */
export function maxBlocks(vol: Volume, inode: Inode): number {
  if (inode.hasExtents) return 0xffffffff;
  const p = vol.blockSize / 4;
  return Math.min(DIRECT_BLOCKS + p + p * p + p * p * p, 0xffffffff);
}

/** Finds the run of at most `max` blocks from `lblk` on; sets `vol.runBlock` (0: a hole) and `vol.runCount`. */
export function mapRun(vol: Volume, inode: Inode, lblk: number, max: number): void {
  if (inode.hasExtents) {
    mapExtent(vol, inode, lblk);
    vol.runCount = Math.min(vol.runCount, max);
    return;
  }
  if (!walk(vol, inode, lblk, false)) {
    vol.runBlock = 0;
    vol.runCount = Math.min(slot.room, max);
    return;
  }
  const first = pointerAt(inode, slot.buf, slot.index), most = Math.min(max, slot.room);
  let count = 1;
  if (first === 0) { while (count < most && pointerAt(inode, slot.buf, slot.index + count) === 0) count++; }
  else {
    while (count < most && pointerAt(inode, slot.buf, slot.index + count) === first + count) count++;
    if (!vol.groups.isDataRun(first, count)) throw badPointer(vol, inode, first);
  }
  vol.runBlock = first;
  vol.runCount = count;
}

/**
 * As `mapRun`, but a hole is filled with new blocks (their content is the caller's to write): `true` when it was. The
 * inode must have been touched.
 */
export function allocRun(vol: Volume, inode: Inode, lblk: number, max: number): boolean {
  if (lblk >= maxBlocks(vol, inode)) throw new Err("EFBIG");
  if (inode.hasExtents) return allocExtent(vol, inode, { lblk, max, goal: () => goalFor(vol, inode, null, 0) });
  walk(vol, inode, lblk, true);
  const { buf, index } = slot, most = Math.min(max, slot.room);
  const first = pointerAt(inode, buf, index);
  let count = 1;
  if (first !== 0) {
    while (count < most && pointerAt(inode, buf, index + count) === first + count) count++;
    if (!vol.groups.isDataRun(first, count)) throw badPointer(vol, inode, first);
    vol.runBlock = first;
    vol.runCount = count;
    inode.lastBlock = first + count - 1;
    return false;
  }
  while (count < most && pointerAt(inode, buf, index + count) === 0) count++;
  const start = allocBlocks(vol, goalFor(vol, inode, buf, index), count);
  count = vol.runCount;
  if (buf) vol.edit(buf, index * 4, count * 4);
  for (let i = 0; i < count; i++) setPointerAt(inode, buf, index + i, start + i);
  addBlocks(vol, inode, count);
  inode.lastBlock = start + count - 1;
  vol.runBlock = start;
  return true;
}

/** Walks to the pointer of `lblk`: fills `slot`. Without `create`, false where a pointer on the way is missing. */
function walk(vol: Volume, inode: Inode, lblk: number, create: boolean): boolean {
  if (lblk < DIRECT_BLOCKS) return setSlot(null, lblk, DIRECT_BLOCKS - lblk);
  const p = vol.blockSize / 4;
  let rest = lblk - DIRECT_BLOCKS, level = 1, span = p;
  while (rest >= span) {
    rest -= span;
    span *= p;
    if (++level > 3) return beyond(span);
  }
  let buf: Buf | null = null, index = DIRECT_BLOCKS + level - 1;
  for (; level > 0; level--) {
    span /= p;
    let block = pointerAt(inode, buf, index);
    if (block === 0) {
      if (!create) {
        slot.room = span * p - (rest % (span * p));
        return false;
      }
      block = newPointerBlock(vol, inode, buf, index);
    } else if (!vol.groups.isDataRun(block, 1)) throw badPointer(vol, inode, block);
    buf = vol.cache.get(block);
    index = Math.floor(rest / span);
    rest %= span;
  }
  return setSlot(buf, index, p - index);
}

function beyond(span: number): boolean {
  slot.room = span;
  return false;
}

function setSlot(buf: Buf | null, index: number, room: number): boolean {
  slot.buf = buf;
  slot.index = index;
  slot.room = room;
  return true;
}

function newPointerBlock(vol: Volume, inode: Inode, buf: Buf | null, index: number): number {
  const block = allocBlocks(vol, goalFor(vol, inode, buf, index), 1);
  vol.fresh(block);
  if (buf) vol.edit(buf, index * 4, 4);
  setPointerAt(inode, buf, index, block);
  addBlocks(vol, inode, 1);
  inode.lastBlock = block;
  return block;
}

/** Where a new block of this file should lie: after its last one, else after the block before it, else in its group. */
function goalFor(vol: Volume, inode: Inode, buf: Buf | null, index: number): number {
  if (inode.lastBlock > 0) return inode.lastBlock + 1;
  for (let i = index - 1; i >= 0; i--) {
    const before = pointerAt(inode, buf, i);
    if (before > 0) return before + 1;
  }
  if (buf) return buf.no + 1;
  const g = vol.groups.groupOfInode(inode.ino);
  return vol.groups.firstBlock(g) + vol.blockEnds[g];
}

function pointerAt(inode: Inode, buf: Buf | null, index: number): number {
  return buf ? buf.view.getUint32(index * 4, true) : inode.view.getUint32(IN.block + index * 4, true);
}

function setPointerAt(inode: Inode, buf: Buf | null, index: number, block: number): void {
  if (buf) buf.view.setUint32(index * 4, block, true);
  else inode.setPointer(index, block);
}

/** Counts `n` blocks more (or fewer) in the inode. */
export function addBlocks(vol: Volume, inode: Inode, n: number): void {
  inode.blocks = Math.max(0, inode.blocks + (inode.hasHugeBlocks ? n : n * (vol.blockSize / 512)));
}

function badPointer(vol: Volume, inode: Inode, block: number): Err {
  return vol.damage(`inode ${inode.ino}: block number ${block} is out of range`);
}

/**
 * Frees blocks of the file from `from` on, those of one pointer block and no more, the last first. True when none is
 * left. The inode must have been touched.
 */
export function shrinkStep(vol: Volume, inode: Inode, from: number): boolean {
  if (inode.hasExtents) return shrinkExtents(vol, inode, from);
  const p = vol.blockSize / 4;
  for (let i = POINTERS - 1; i >= DIRECT_BLOCKS; i--) {
    const level = i - DIRECT_BLOCKS + 1;
    let base = DIRECT_BLOCKS;
    for (let l = 1, span = p; l < level; l++, span *= p) base += span;
    const block = inode.pointer(i);
    if (block === 0 || from >= base + p ** level) continue;
    const left = freeTree(vol, inode, block, { level, from: Math.max(0, from - base) });
    if (left === "kept") break;
    if (left === "nothing") {
      inode.setPointer(i, 0);
      freePointerBlock(vol, inode, block);
    }
    return false;
  }
  freePointers(vol, inode, null, { from: Math.min(from, DIRECT_BLOCKS), to: DIRECT_BLOCKS });
  inode.lastBlock = 0;
  return true;
}

/** What a step leaves under a pointer block: nothing; only what is before `from`; or more to free. */
type Left = "nothing" | "kept" | "more";

/** One step in the tree under pointer block `block`. */
function freeTree(vol: Volume, inode: Inode, block: number, part: { level: number; from: number }): Left {
  if (!vol.groups.isDataRun(block, 1)) throw badPointer(vol, inode, block);
  const buf = vol.cache.get(block), p = vol.blockSize / 4;
  if (part.level === 1) {
    freePointers(vol, inode, buf, { from: part.from, to: p });
    return part.from === 0 ? "nothing" : "kept";
  }
  const span = p ** (part.level - 1);
  for (let i = p - 1; i * span + span > part.from; i--) {
    const child = buf.view.getUint32(i * 4, true);
    if (child === 0) continue;
    const left = freeTree(vol, inode, child, { level: part.level - 1, from: Math.max(0, part.from - i * span) });
    if (left !== "nothing") return left;
    vol.edit(buf, i * 4, 4);
    buf.view.setUint32(i * 4, 0, true);
    freePointerBlock(vol, inode, child);
    return "more";
  }
  return part.from === 0 ? "nothing" : "kept";
}

function freePointerBlock(vol: Volume, inode: Inode, block: number): void {
  freeBlocks(vol, block, 1);
  addBlocks(vol, inode, -1);
}

/** Frees what the pointers `[from, to)` of one place point to, in runs. */
function freePointers(vol: Volume, inode: Inode, buf: Buf | null, range: { from: number; to: number }): void {
  for (let i = range.from; i < range.to;) {
    const first = pointerAt(inode, buf, i);
    if (first === 0) {
      i++;
      continue;
    }
    let count = 1;
    while (i + count < range.to && pointerAt(inode, buf, i + count) === first + count) count++;
    freeBlocks(vol, first, count);
    if (buf) vol.edit(buf, i * 4, count * 4);
    for (let k = 0; k < count; k++) setPointerAt(inode, buf, i + k, 0);
    addBlocks(vol, inode, -count);
    i += count;
  }
}
