/**
 * The contents of files: read, write, change the size, and give the blocks of a dead file back.
 *
 * Layer: fs/ext2, above blockmap.
 *
 * What holds always: bytes of a file past its end, in its last block, are zero on a volume that only this code wrote.
 * New data is written before anything points to it (its blocks are `early`).
 */

import { Err } from "../../core/err.ts";
import { PLAIN_BLOCK } from "./cache.ts";
import { allocRun, mapRun, maxBlocks, shrinkStep } from "./blockmap.ts";
import { inlineData } from "./inline.ts";
import { CTIME, type Inode, MTIME, type Time } from "./inode.ts";
import { FAST_SYMLINK_BYTES, RO_COMPAT, SB } from "./layout.ts";
import type { Volume } from "./volume.ts";
import { dropAttrBlock } from "./xattr.ts";

/** Bytes that one operation writes at the most: longer writes are several operations. */
export const WRITE_STEP_BYTES = 1 << 20;
/** Read ahead in a file that is read in order, bytes. */
const READ_AHEAD_BYTES = 128 << 10;
/** Sectors of 512 bytes that `i_blocks` can count without huge_file. */
const MAX_SECTORS = 0xffffffff;

/** Bytes that a file can have at the most on this volume. */
export function maxFileBytes(vol: Volume, inode: Inode): number {
  const sectors = vol.sb.roCompat & RO_COMPAT.huge_file ? Infinity : MAX_SECTORS;
  const bytes = Math.min(maxBlocks(vol, inode) * vol.blockSize, sectors * 512, 2 ** 53 - 1);
  return vol.sb.revision === 0 ? Math.min(bytes, 0x7fffffff) : bytes;
}

/** Reads into `dst` from `offset`; answers how many bytes there were. */
export function readFile(vol: Volume, inode: Inode, dst: Uint8Array, offset: number): number {
  const end = Math.min(offset + dst.length, inode.size), { blockSize } = vol;
  if (end <= offset) return 0;
  if (inode.hasInlineData) {
    const data = inlineData(vol, inode);
    if (data.length < end) throw vol.damage(`inode ${inode.ino}: inline data is short`);
    dst.set(data.subarray(offset, end));
    return end - offset;
  }
  for (let at = offset; at < end;) {
    const within = at % blockSize, lblk = (at - within) / blockSize;
    mapRun(vol, inode, lblk, Math.ceil((end - at + within) / blockSize));
    const { runBlock, runCount } = vol;
    const count = Math.min(runCount * blockSize - within, end - at);
    const part = { start: at - offset, count, within };
    if (runBlock === 0) dst.fill(0, part.start, part.start + count);
    else if (vol.port.cached) readDirect(vol, runBlock, dst, part);
    else readCached(vol, inode, { block: runBlock, lblk }, dst, part);
    at += count;
  }
  inode.readEnd = end;
  return end - offset;
}

/** Part of a read: `count` bytes to `dst[start]`, from `within` the run's first block on. */
interface Part {
  start: number;
  count: number;
  within: number;
}

/** A run whose disk costs no more than a copy: straight into `dst`, but for blocks in the cache and odd ends. */
function readDirect(vol: Volume, block: number, dst: Uint8Array, part: Part): void {
  const { blockSize, cache, port } = vol;
  let { start, within } = part;
  const end = part.start + part.count;
  while (start < end) {
    const buf = cache.peek(block);
    if (buf || within > 0 || end - start < blockSize) {
      const count = Math.min(blockSize - within, end - start);
      const { data } = buf ?? cache.get(block);
      dst.set(count === blockSize ? data : data.subarray(within, within + count), start);
      start += count;
      within = 0;
      block++;
      continue;
    }
    let run = 1;
    while ((run + 1) * blockSize <= end - start && !cache.peek(block + run)) run++;
    const whole = start === 0 && run * blockSize === dst.length;
    port.read(whole ? dst : dst.subarray(start, start + run * blockSize), block * blockSize);
    start += run * blockSize;
    block += run;
  }
}

function readCached(vol: Volume, inode: Inode, at: { block: number; lblk: number }, dst: Uint8Array, part: Part): void {
  const { blockSize, cache } = vol;
  let { start, within } = part, { block } = at;
  const end = part.start + part.count, blocks = Math.ceil((within + part.count) / blockSize);
  const ahead = inode.readEnd === at.lblk * blockSize + within ? Math.floor(READ_AHEAD_BYTES / blockSize) : 0;
  if (blocks > 1 || (ahead > 1 && !cache.peek(block))) {
    mapRun(vol, inode, at.lblk, Math.max(blocks, ahead));
    cache.prefetch(block, Math.min(vol.runCount, Math.max(blocks, ahead)));
  }
  while (start < end) {
    const count = Math.min(blockSize - within, end - start);
    const { data } = cache.get(block);
    dst.set(data.subarray(within, within + count), start);
    start += count;
    within = 0;
    block++;
  }
}

/**
 * Writes `src` at `offset`; answers how many bytes went in (fewer when the volume filled up; ENOSPC when none did).
 * At most WRITE_STEP_BYTES.
 */
export function writeFile(vol: Volume, inode: Inode, src: Uint8Array, offset: number): number {
  const { blockSize } = vol;
  if (offset + src.length > maxFileBytes(vol, inode)) throw new Err("EFBIG");
  vol.touch(inode);
  let done = 0;
  while (done < src.length) {
    const at = offset + done, within = at % blockSize, lblk = (at - within) / blockSize;
    const want = Math.ceil((src.length - done + within) / blockSize);
    let isNew: boolean;
    try {
      isNew = allocRun(vol, inode, lblk, want);
    } catch (thrown) {
      if (thrown instanceof Err && thrown.code === "ENOSPC" && done > 0) break;
      throw thrown;
    }
    const count = Math.min(vol.runCount * blockSize - within, src.length - done);
    putRun(vol, { block: vol.runBlock, isNew }, src, { start: done, count, within });
    done += count;
  }
  if (offset + done > inode.size) setSize(vol, inode, offset + done);
  stamp(vol, inode, true);
  return done;
}

/** Writes into one run of blocks: whole blocks straight to a disk that costs a copy, all else into the cache. */
function putRun(vol: Volume, run: { block: number; isNew: boolean }, src: Uint8Array, part: Part): void {
  const { blockSize, cache, port } = vol;
  let { start, within } = part, { block } = run;
  const end = part.start + part.count;
  while (start < end) {
    const count = Math.min(blockSize - within, end - start);
    const whole = port.cached ? Math.floor((end - start) / blockSize) : 0;
    if (within === 0 && whole > 1) {
      for (let i = 0; i < whole; i++) cache.drop(block + i);
      const all = start === 0 && whole * blockSize === src.length;
      const pending = port.write(all ? src : src.subarray(start, start + whole * blockSize), block * blockSize);
      if (pending) throw new Err("EIO", "a port that is `cached` must answer at once");
      start += whole * blockSize;
      block += whole;
      continue;
    }
    if (run.isNew && port.cached && !cache.peek(block)) {
      writePadded(vol, block, src.subarray(start, start + count), within);
      start += count;
      within = 0;
      block++;
      continue;
    }
    const blank = run.isNew || count === blockSize;
    const buf = blank ? cache.blank(block) : cache.get(block);
    if (!blank) vol.tx.save(buf.data, within, count);
    cache.mark(buf, true);
    buf.checked = PLAIN_BLOCK;
    buf.kind = PLAIN_BLOCK;
    buf.data.set(count === src.length ? src : src.subarray(start, start + count), within);
    start += count;
    within = 0;
    block++;
  }
}

/** Writes a new block straight to a disk that costs a copy: the bytes, and zeros around them. */
function writePadded(vol: Volume, block: number, bytes: Uint8Array, within: number): void {
  const { padded } = vol;
  padded.fill(0, 0, within);
  padded.set(bytes, within);
  padded.fill(0, within + bytes.length);
  if (vol.port.write(padded, block * vol.blockSize)) {
    throw new Err("EIO", "a port that is `cached` must answer at once");
  }
}

/** Sets the size, and the feature that a size of 2 GiB and more needs. */
function setSize(vol: Volume, inode: Inode, size: number): void {
  if (size > 0x7fffffff && inode.isFile && !(vol.sb.view.getUint32(SB.roCompat, true) & RO_COMPAT.large_file)) {
    vol.sb.view.setUint32(SB.roCompat, vol.sb.view.getUint32(SB.roCompat, true) | RO_COMPAT.large_file, true);
    vol.superDirty = true;
  }
  inode.size = size;
}

/** Sets the times of a change: ctime, and where the content changed mtime and the version. */
export function stamp(vol: Volume, inode: Inode, content: boolean): void {
  const { sec, nsec } = timeNow(vol);
  inode.setTime(CTIME, sec, nsec);
  if (!content) return;
  inode.setTime(MTIME, sec, nsec);
  if (vol.countsVersions) inode.version++;
}

/** The volume's clock as seconds and nanoseconds. */
export function timeNow(vol: Volume): Time {
  const now = vol.now(), sec = Math.floor(now / 1000);
  return { sec, nsec: Math.min(999_999_999, Math.floor((now - sec * 1000) * 1e6)) };
}

/**
 * Sets a file's size. What is cut off is given back in further steps: `true` when all is done, else `shrink` has to be
 * called until it says so.
 */
export function truncate(vol: Volume, inode: Inode, size: number): boolean {
  if (size > maxFileBytes(vol, inode)) throw new Err("EFBIG");
  vol.touch(inode);
  const shorter = size < inode.size, within = size % vol.blockSize;
  if (shorter && within > 0) zeroTail(vol, inode, size, within);
  setSize(vol, inode, size);
  stamp(vol, inode, true);
  return shorter ? shrink(vol, inode) : true;
}

function zeroTail(vol: Volume, inode: Inode, size: number, within: number): void {
  mapRun(vol, inode, (size - within) / vol.blockSize, 1);
  if (vol.runBlock === 0) return;
  const buf = vol.cache.get(vol.runBlock), count = Math.min(vol.blockSize - within, inode.size - size);
  vol.tx.save(buf.data, within, count);
  vol.cache.mark(buf, true);
  buf.checked = PLAIN_BLOCK;
  buf.data.fill(0, within, within + count);
}

/** One step of giving back the blocks past a file's end; true when there are none. */
export function shrink(vol: Volume, inode: Inode): boolean {
  vol.touch(inode);
  return shrinkStep(vol, inode, Math.ceil(inode.size / vol.blockSize));
}

/** True when the inode's fifteen words are pointers to blocks. */
export function hasBlocks(vol: Volume, inode: Inode): boolean {
  if (inode.isFile || inode.isDir) return !inode.hasInlineData;
  return inode.isSymlink && !isFastSymlink(vol, inode);
}

/** True when a symlink's target lies in the inode. */
export function isFastSymlink(vol: Volume, inode: Inode): boolean {
  if (!inode.isSymlink || inode.hasExtents || inode.hasInlineData || inode.size >= FAST_SYMLINK_BYTES) return false;
  return inode.blocks === 0 || (inode.fileAcl !== 0 && inode.blocks <= vol.blockSize / 512);
}

/** One step of giving back all that a dead file has; true when it has nothing more. */
export function releaseStep(vol: Volume, inode: Inode): boolean {
  vol.touch(inode);
  if (hasBlocks(vol, inode)) {
    if (inode.isFile) inode.size = 0;
    if (!shrinkStep(vol, inode, 0)) return false;
  }
  const attrs = inode.fileAcl;
  if (attrs !== 0) {
    inode.fileAcl = 0;
    dropAttrBlock(vol, inode, attrs);
  }
  inode.size = 0;
  inode.blocks = 0;
  return true;
}
