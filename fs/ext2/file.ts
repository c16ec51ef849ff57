/**
 * The contents of files: read, write, change the size, and give the blocks of a dead file back.
 *
 * Layer: fs/ext2, above blockmap.
 *
 * What holds always: bytes of a file past its end, in its last block, are made zero before the file grows over them. New data
 * is written before anything points to it (its blocks are `early`). Of a port that is `cached` no file's data is in the
 * cache: it is read and written where it lies, byte by byte where need be.
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { Miss, PLAIN_BLOCK } from "./cache.ts";
import { allocRun, mapRun, maxBlocks, shrinkStep } from "./blockmap.ts";
import { inlineData } from "./inline.ts";
import { CTIME, type Inode, MTIME, type Time } from "./inode.ts";
import { FAST_SYMLINK_BYTES, RO_COMPAT, SB } from "./layout.ts";
import type { Volume } from "./volume.ts";
import { dropAttrBlock } from "./xattr.ts";

/** Bytes that one operation writes at the most: longer writes are several operations. */
export const WRITE_STEP_BYTES = 1 << 20;
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
  const end = Math.min(offset + dst.length, inode.size), { blockSize, port } = vol;
  if (end <= offset) return 0;
  if (inode.hasInlineData) {
    const data = inlineData(vol, inode);
    if (data.length < end) throw vol.damage(`inode ${inode.ino}: inline data is short`);
    dst.set(data.subarray(offset, end));
    return end - offset;
  }
  if (!port.cached) followReader(vol, inode, offset, end);
  for (let at = offset; at < end;) {
    const within = at % blockSize;
    mapRun(vol, inode, (at - within) / blockSize, Math.ceil((end - at + within) / blockSize));
    const { runBlock, runCount } = vol;
    const part = { start: at - offset, count: Math.min(runCount * blockSize - within, end - at), within };
    if (runBlock === 0) dst.fill(0, part.start, part.start + part.count);
    else if (port.cached) atOnce(port.read(bytesOf(dst, part), runBlock * blockSize + within));
    else readCached(vol, runBlock, dst, part);
    at += part.count;
  }
  return end - offset;
}

/** Part of a read or write: `count` bytes at `start` of the caller's, from `within` the run's first block on. */
interface Part {
  start: number;
  count: number;
  within: number;
}

/** Those bytes. */
function bytesOf(all: Uint8Array, { start, count }: Part): Uint8Array {
  return count === all.length ? all : all.subarray(start, start + count);
}

/** For what a port that is `cached` answers: it is done. */
function atOnce(pending: MaybePromise<void>): void {
  if (pending) throw new Err("EIO", "a port that is `cached` must answer at once");
}

/** Reads from a run of blocks in the cache. */
function readCached(vol: Volume, block: number, dst: Uint8Array, { start, count: left, within }: Part): void {
  const { blockSize, cache } = vol;
  if (within + left > blockSize) cache.prefetch(block, Math.ceil((within + left) / blockSize));
  for (; left > 0; block++) {
    const count = Math.min(blockSize - within, left), { data } = cache.get(block);
    dst.set(count === blockSize ? data : data.subarray(within, within + count), start);
    start += count;
    left -= count;
    within = 0;
  }
}

/**
 * Notes what of a file is being read; of one that is read in order, more is on its way before it is wanted. A read that goes on
 * where the last one ended is in order, and one a little before that: it waited for the disk, and runs again.
 */
function followReader(vol: Volume, inode: Inode, offset: number, end: number): void {
  const { window } = vol.cache, behind = inode.readEnd - offset;
  const again = behind > 0 && behind <= window * vol.blockSize && inode.aheadEnd > 0;
  inode.readEnd = again ? Math.max(inode.readEnd, end) : end;
  if (behind !== 0 && !again) inode.aheadEnd = 0;
  else readAhead(vol, inode, { first: Math.floor(offset / vol.blockSize), next: Math.ceil(end / vol.blockSize) });
}

/** Sees that what is read, blocks `[first, next)`, is on its way, and what comes after it, as far as the window reaches. */
function readAhead(vol: Volume, inode: Inode, { first, next }: { first: number; next: number }): void {
  const { window } = vol.cache, to = Math.min(next + window, Math.ceil(inode.size / vol.blockSize));
  let from = Math.max(first, inode.aheadEnd);
  if (from >= to || (from - next) * 2 > window) return;
  inode.aheadEnd = to;
  try {
    for (; from < to; from += vol.runCount) {
      mapRun(vol, inode, from, to - from);
      if (vol.runBlock !== 0) vol.cache.readAhead(vol.runBlock, vol.runCount);
    }
  } catch (thrown) {
    if (thrown instanceof Miss) {
      inode.aheadEnd = from; // the pointers come first
      thrown.ready.catch(() => {});
    } else if (!(thrown instanceof Err)) throw thrown; // damage is for who reads there
  }
}

/** A run of blocks that is written to: new ones hold whatever was there before. */
interface Run {
  block: number;
  isNew: boolean;
}

/**
 * Writes `src` at `offset`; answers how many bytes went in (fewer when the volume filled up; ENOSPC when none did).
 * At most WRITE_STEP_BYTES.
 */
export function writeFile(vol: Volume, inode: Inode, src: Uint8Array, offset: number): number {
  const { blockSize } = vol;
  if (offset + src.length > maxFileBytes(vol, inode)) throw new Err("EFBIG");
  vol.touch(inode);
  if (offset > inode.size) zero(vol, inode, inode.size, offset);
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
    const run = { block: vol.runBlock, isNew }, part = { start: done, count, within };
    if (vol.port.cached) putDirect(vol, run, src, part);
    else putCached(vol, run, src, part);
    done += count;
  }
  if (offset + done > inode.size) setSize(vol, inode, offset + done);
  stamp(vol, inode, true);
  return done;
}

/** Writes into a run of blocks of a disk that costs a copy; of new blocks all, with zeros around the bytes. */
function putDirect(vol: Volume, run: Run, src: Uint8Array, { start, count: left, within }: Part): void {
  const { blockSize, port } = vol;
  for (let { block } = run; left > 0;) {
    const whole = !run.isNew ? left : within === 0 ? left - (left % blockSize) : 0;
    const count = whole || Math.min(blockSize - within, left), bytes = bytesOf(src, { start, count, within });
    if (whole > 0) atOnce(port.write(bytes, block * blockSize + within));
    else atOnce(port.write(padded(vol, bytes, within), block * blockSize));
    block += Math.ceil((within + count) / blockSize);
    start += count;
    left -= count;
    within = 0;
  }
}

/** A block of zeros but for `bytes` at `within`; good until the next call. */
function padded(vol: Volume, bytes: Uint8Array, within: number): Uint8Array {
  const block = vol.scratch.fill(0);
  block.set(bytes, within);
  return block;
}

/** Writes into a run of blocks in the cache. */
function putCached(vol: Volume, run: Run, src: Uint8Array, { start, count: left, within }: Part): void {
  const { blockSize, cache } = vol;
  for (let { block } = run; left > 0; block++) {
    const count = Math.min(blockSize - within, left);
    const blank = run.isNew || count === blockSize;
    const buf = blank ? cache.blank(block) : cache.get(block);
    if (!blank) vol.tx.save(buf.data, within, count);
    cache.mark(buf, true);
    buf.checked = PLAIN_BLOCK;
    buf.kind = PLAIN_BLOCK;
    buf.data.set(bytesOf(src, { start, count, within }), within);
    start += count;
    left -= count;
    within = 0;
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
  const before = inode.size, shorter = size < before;
  if (!shorter) zero(vol, inode, before, size);
  setSize(vol, inode, size);
  stamp(vol, inode, true);
  const done = shorter ? shrink(vol, inode) : true;
  if (shorter) zero(vol, inode, size, before);
  return done;
}

/**
 * Makes the bytes from `from` on zero, up to `to` or the end of the block. On a disk that costs a copy it can not be undone:
 * for bytes past the file's end.
 */
function zero(vol: Volume, inode: Inode, from: number, to: number): void {
  const { blockSize, port, cache } = vol, within = from % blockSize, count = Math.min(blockSize - within, to - from);
  if (within === 0 || count === 0) return;
  mapRun(vol, inode, (from - within) / blockSize, 1);
  if (vol.runBlock === 0) return;
  if (port.cached) {
    atOnce(port.write(vol.scratch.fill(0).subarray(0, count), vol.runBlock * blockSize + within));
    return;
  }
  const buf = cache.get(vol.runBlock);
  vol.tx.save(buf.data, within, count);
  cache.mark(buf, true);
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
