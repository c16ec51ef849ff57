/**
 * Allocation of blocks and inodes: bitmaps, the choice of a group, and runs of neighbours.
 *
 * Layer: fs/ext2, above volume.
 *
 * What holds always: what was freed since the last commit is not given out before it is committed, because the disk may
 * still point to it; its bit stays set until then (`settleFrees`). So on the disk, too, everything in use has its bit
 * set at every moment. The counts that statfs shows are those after the commit.
 */

import { Err } from "../../core/err.ts";
import { BLOCK_BITMAP, type Buf, INODE_BITMAP, PLAIN_BLOCK } from "./cache.ts";
import { isUninit } from "./group.ts";
import { BG_BLOCK_UNINIT, BG_INODE_UNINIT, RO_COMPAT } from "./layout.ts";
import type { Volume } from "./volume.ts";

/** A run is looked for at a whole free byte of the bitmap first: eight blocks. */
const CHUNK_BITS = 8;

/**
 * Allocates up to `want` neighbouring blocks, near `goal` if it can be had. Answers the first; `vol.runCount` has how
 * many. ENOSPC when there is none for this user.
 */
export function allocBlocks(vol: Volume, goal: number, want: number): number {
  const { groups, sb } = vol;
  const spare = vol.freeBlocks - (vol.privileged ? 0 : vol.reservedBlocks);
  if (spare <= 0) throw new Err("ENOSPC");
  want = Math.min(want, spare);
  if (goal < sb.firstDataBlock || goal >= sb.blocksCount) goal = sb.firstDataBlock;
  const home = groups.groupOfBlock(goal);
  for (let i = 0; i < groups.count; i++) {
    const g = (home + i) % groups.count;
    if (groups.freeBlocks(g) === 0) continue;
    const bit = findRun(vol, g, i === 0 ? goal - groups.firstBlock(g) : -1, want);
    if (bit >= 0) return takeRun(vol, g, bit, want);
  }
  throw new Err("ENOSPC");
}

/** A free bit: `goal`, else (for more than one block) the start of a free byte after it, else any; -1 for none. */
function findRun(vol: Volume, g: number, goal: number, want: number): number {
  const bits = blockBitmap(vol, g).data, end = vol.groups.blocksIn(g);
  const hint = vol.blockHints[g];
  if (goal >= 0 && isFree(bits, goal)) return goal;
  const from = Math.max(goal, hint);
  for (let byte = (from >> 3) + 1; want > 1 && byte < end >> 3; byte++) {
    if (bits[byte] === 0) return byte * CHUNK_BITS;
  }
  let bit = nextFree(bits, hint, end);
  vol.blockHints[g] = bit < 0 ? end : bit;
  if (goal > bit && bit >= 0) {
    const after = nextFree(bits, goal, end);
    if (after >= 0) bit = after;
  }
  return bit;
}

function takeRun(vol: Volume, g: number, bit: number, want: number): number {
  const buf = blockBitmap(vol, g), bits = buf.data, end = vol.groups.blocksIn(g);
  let count = 1;
  while (count < want && bit + count < end && isFree(bits, bit + count)) count++;
  const start = vol.groups.firstBlock(g) + bit;
  if (!vol.groups.isDataRun(start, count)) throw vol.damage(`group ${g}: metadata is free in the block bitmap`);
  const first = bit >> 3;
  vol.tx.save(bits, first, ((bit + count - 1) >> 3) - first + 1);
  vol.cache.mark(buf, true);
  buf.checked = PLAIN_BLOCK;
  for (let i = bit; i < bit + count; i++) bits[i >> 3] |= 1 << (i & 7);
  vol.blockEnds[g] = bit + count < end ? bit + count : 0;
  countBlocks(vol, g, -count);
  vol.runCount = count;
  return start;
}

/** Frees a run of blocks that belonged to a file. EIO when that cannot be right. */
export function freeBlocks(vol: Volume, start: number, count: number): void {
  const { groups } = vol;
  if (!groups.isDataRun(start, count)) throw vol.damage(`blocks ${start}+${count} are not a file's to free`);
  for (let at = start; at < start + count;) {
    const g = groups.groupOfBlock(at), bit = at - groups.firstBlock(g);
    const run = Math.min(start + count - at, groups.blocksIn(g) - bit);
    freeBits(vol, g, bit, run);
    at += run;
  }
  vol.tx.after(() => {
    for (let i = 0; i < count; i++) vol.cache.drop(start + i);
  });
}

function freeBits(vol: Volume, g: number, bit: number, count: number): void {
  const buf = blockBitmap(vol, g), bits = buf.data, { batch } = vol;
  let freed = batch.freedBlocks.get(g);
  if (!freed) batch.freedBlocks.set(g, freed = new Uint8Array(vol.blockSize));
  for (let i = bit; i < bit + count; i++) {
    if (isFree(bits, i) || !isFree(freed, i)) {
      throw vol.damage(`block ${vol.groups.firstBlock(g) + i} is freed, but was free already`);
    }
  }
  const first = bit >> 3;
  vol.tx.save(freed, first, ((bit + count - 1) >> 3) - first + 1);
  for (let i = bit; i < bit + count; i++) freed[i >> 3] |= 1 << (i & 7);
  hold(vol, buf);
  batch.freedCount += count;
  countBlocks(vol, g, count);
  vol.tx.undo(() => batch.freedCount -= count);
}

/** Allocates an inode near `parent`: its number, the inode itself still as the last user left it. */
export function allocInode(vol: Volume, parent: number, isDir: boolean): number {
  const { groups, sb } = vol;
  const home = groups.groupOfInode(parent);
  const first = isDir ? groupForDir(vol, parent, home) : home;
  for (let i = 0; i < groups.count; i++) {
    const g = (first + i) % groups.count;
    if (groups.freeInodes(g) === 0) continue;
    const buf = inodeBitmap(vol, g);
    const from = Math.max(vol.inodeHints[g], g === 0 ? sb.firstIno - 1 : 0);
    const bit = nextFree(buf.data, from, sb.inodesPerGroup);
    if (bit < 0) {
      vol.inodeHints[g] = sb.inodesPerGroup;
      continue;
    }
    vol.tx.save(buf.data, bit >> 3, 1);
    vol.cache.mark(buf, true);
    buf.checked = PLAIN_BLOCK;
    buf.data[bit >> 3] |= 1 << (bit & 7);
    vol.inodeHints[g] = bit + 1;
    vol.tx.undo(() => vol.inodeHints[g] = Math.min(vol.inodeHints[g], bit));
    useInode(vol, g, bit);
    countInodes(vol, g, -1, isDir);
    return g * sb.inodesPerGroup + bit + 1;
  }
  throw new Err("ENOSPC", "no free inode");
}

/** A group for a new directory: the emptiest for those in the root, which spreads the trees; else the parent's. */
function groupForDir(vol: Volume, parent: number, home: number): number {
  const { groups } = vol;
  if (parent !== 2) return home;
  const average = vol.freeInodes / groups.count;
  let best = home, bestFree = -1;
  for (let g = 0; g < groups.count; g++) {
    if (groups.freeInodes(g) >= average && groups.freeBlocks(g) > bestFree) {
      best = g;
      bestFree = groups.freeBlocks(g);
    }
  }
  return best;
}

/** Frees an inode's number, from the next commit on. */
export function freeInode(vol: Volume, ino: number, isDir: boolean): void {
  const { batch } = vol, g = vol.groups.groupOfInode(ino), bit = (ino - 1) % vol.sb.inodesPerGroup;
  const buf = inodeBitmap(vol, g);
  if (isFree(buf.data, bit) || batch.freedInodes.has(ino)) {
    throw vol.damage(`inode ${ino} is freed, but was free already`);
  }
  vol.note(batch.freedInodes, ino);
  hold(vol, buf);
  countInodes(vol, g, 1, isDir);
}

/** True when the inode's number is in use. */
export function inodeInUse(vol: Volume, ino: number): boolean {
  const g = vol.groups.groupOfInode(ino);
  return !isFree(inodeBitmap(vol, g).data, (ino - 1) % vol.sb.inodesPerGroup);
}

/** After a commit: clears the bits of what was freed before it, which the next commit takes to the disk. */
export function settleFrees(vol: Volume): void {
  const { batch, groups } = vol;
  for (const [g, freed] of batch.freedBlocks) {
    const buf = blockBitmap(vol, g);
    for (let i = 0; i < freed.length; i++) buf.data[i] &= ~freed[i];
    vol.cache.mark(buf, true);
    buf.checked = PLAIN_BLOCK;
    vol.blockHints[g] = 0;
  }
  for (const ino of batch.freedInodes) {
    const g = groups.groupOfInode(ino), bit = (ino - 1) % vol.sb.inodesPerGroup;
    const buf = inodeBitmap(vol, g);
    buf.data[bit >> 3] &= ~(1 << (bit & 7));
    vol.cache.mark(buf, true);
    vol.inodeHints[g] = Math.min(vol.inodeHints[g], bit);
  }
  for (const buf of batch.bitmaps) buf.pins--;
}

/** Keeps a bitmap in memory until its freed bits are settled. */
function hold(vol: Volume, buf: Buf): void {
  const { batch } = vol;
  if (batch.bitmaps.has(buf)) return;
  batch.bitmaps.add(buf);
  buf.pins++;
}

/** A group's bitmap of blocks; one that was never written is made of what the group holds. */
export function blockBitmap(vol: Volume, g: number): Buf {
  const { groups } = vol;
  if (!isUninit(groups, g, false)) return bitmap(vol, groups.blockBitmap(g), BLOCK_BITMAP);
  const first = groups.firstBlock(g), end = groups.blocksIn(g);
  const buf = newBitmap(vol, groups.blockBitmap(g), BLOCK_BITMAP);
  for (let bit = 0; bit < end; bit++) if (!groups.isDataRun(first + bit, 1)) buf.data[bit >> 3] |= 1 << (bit & 7);
  fillBits(buf.data, end);
  clearFlag(vol, g, BG_BLOCK_UNINIT);
  return buf;
}

/** A group's bitmap of inodes, likewise. */
export function inodeBitmap(vol: Volume, g: number): Buf {
  const { groups } = vol;
  if (!isUninit(groups, g, true)) return bitmap(vol, groups.inodeBitmap(g), INODE_BITMAP);
  const buf = newBitmap(vol, groups.inodeBitmap(g), INODE_BITMAP);
  fillBits(buf.data, vol.sb.inodesPerGroup);
  setUnused(vol, g, vol.sb.inodesPerGroup);
  clearFlag(vol, g, BG_INODE_UNINIT);
  return buf;
}

function bitmap(vol: Volume, block: number, kind: number): Buf {
  const buf = vol.cache.get(block);
  buf.kind = kind;
  return buf;
}

function newBitmap(vol: Volume, block: number, kind: number): Buf {
  const buf = vol.fresh(block);
  buf.kind = kind;
  return buf;
}

/** Sets the bits that stand for nothing. */
function fillBits(bits: Uint8Array, from: number): void {
  for (let bit = from; bit < bits.length * 8; bit++) bits[bit >> 3] |= 1 << (bit & 7);
}

function clearFlag(vol: Volume, g: number, flag: number): void {
  const { groups } = vol, old = groups.flags(g);
  groups.setFlags(g, old & ~flag);
  vol.tx.undo(() => groups.setFlags(g, old));
}

function setUnused(vol: Volume, g: number, value: number): void {
  const { groups } = vol, old = groups.unusedInodes(g);
  groups.setUnusedInodes(g, value);
  vol.tx.undo(() => groups.setUnusedInodes(g, old));
}

/** The inode at `bit` of a group is in use from now on: what is in its row of the table counts only if it was before. */
function useInode(vol: Volume, g: number, bit: number): void {
  const { sb, groups } = vol;
  if (!(sb.roCompat & (RO_COMPAT.uninit_bg | RO_COMPAT.metadata_csum))) return;
  const used = sb.inodesPerGroup - groups.unusedInodes(g);
  if (bit < used) return;
  setUnused(vol, g, sb.inodesPerGroup - bit - 1);
  vol.newInode(g * sb.inodesPerGroup + bit + 1);
}

function countBlocks(vol: Volume, g: number, by: number): void {
  vol.freeBlocks += by;
  vol.groups.addFreeBlocks(g, by);
  vol.tx.undo(() => {
    vol.freeBlocks -= by;
    vol.groups.addFreeBlocks(g, -by);
  });
}

function countInodes(vol: Volume, g: number, by: number, isDir: boolean): void {
  vol.freeInodes += by;
  vol.groups.addFreeInodes(g, by);
  if (isDir) vol.groups.addUsedDirs(g, -by);
  vol.tx.undo(() => {
    vol.freeInodes -= by;
    vol.groups.addFreeInodes(g, -by);
    if (isDir) vol.groups.addUsedDirs(g, by);
  });
}

function isFree(bits: Uint8Array, bit: number): boolean {
  return (bits[bit >> 3] & (1 << (bit & 7))) === 0;
}

/** The first clear bit in `[from, end)`, or -1. */
function nextFree(bits: Uint8Array, from: number, end: number): number {
  let byte = from >> 3;
  if (from & 7) {
    for (let bit = from; bit < Math.min(end, (byte + 1) * 8); bit++) if (isFree(bits, bit)) return bit;
    byte++;
  }
  const bytes = (end + 7) >> 3;
  while (byte < bytes && bits[byte] === 0xff) byte++;
  for (let bit = byte * 8; bit < Math.min(end, byte * 8 + 8); bit++) if (isFree(bits, bit)) return bit;
  return -1;
}
