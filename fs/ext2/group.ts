/**
 * Group descriptors: where each group's bitmaps and inode table lie and what is free in it, and the map of all blocks
 * that belong to the file system itself.
 *
 * Layer: fs/ext2, above superblock. The descriptors stay in memory whole (32 or 64 bytes a group) as they are on disk.
 *
 * What holds always after `loadGroups`: every bitmap and inode table lies inside the volume, so that an inode's
 * address can be computed without a check. Damaged descriptors are an EIO at the opening.
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import type { BlockPort } from "../block_port.ts";
import { crc16, crc32c, crc32cWord } from "./crc.ts";
import { BG_BLOCK_UNINIT, BG_INODE_UNINIT, GD, INCOMPAT, RO_COMPAT, SB } from "./layout.ts";
import { groupHasSuper, type Superblock } from "./superblock.ts";

const HIGH = 0x100000000;
/** More descriptor bytes than this are damage, not a disk: 64 MiB are the groups of 128 TiB at 4 KiB blocks. */
const MAX_DESCRIPTOR_BYTES = 64 << 20;

/** All group descriptors of a volume. */
export class Groups {
  readonly raw: Uint8Array;
  readonly view: DataView;
  readonly #sb: Superblock;
  /** Start and end of each run of the file system's own blocks, ascending. */
  #system: Float64Array = new Float64Array(0);
  /** Descriptor blocks that differ from the disk's. */
  readonly dirty = new Set<number>();
  readonly #bitmaps = new Map<number, number>();

  constructor(sb: Superblock, raw: Uint8Array) {
    this.#sb = sb;
    this.raw = raw;
    this.view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  }

  get count(): number {
    return this.#sb.groupsCount;
  }

  blockBitmap(g: number): number {
    return this.#block(g, GD.blockBitmapLo, GD.blockBitmapHi);
  }

  inodeBitmap(g: number): number {
    return this.#block(g, GD.inodeBitmapLo, GD.inodeBitmapHi);
  }

  inodeTable(g: number): number {
    return this.#block(g, GD.inodeTableLo, GD.inodeTableHi);
  }

  flags(g: number): number {
    const sb = this.#sb;
    const checked = (sb.roCompat & (RO_COMPAT.uninit_bg | RO_COMPAT.metadata_csum)) !== 0;
    return checked ? this.view.getUint16(g * sb.descSize + GD.flags, true) : 0;
  }

  freeBlocks(g: number): number {
    return this.#count(g, GD.freeBlocksLo, GD.freeBlocksHi);
  }

  freeInodes(g: number): number {
    return this.#count(g, GD.freeInodesLo, GD.freeInodesHi);
  }

  usedDirs(g: number): number {
    return this.#count(g, GD.usedDirsLo, GD.usedDirsHi);
  }

  addFreeBlocks(g: number, by: number): void {
    this.#add(g, GD.freeBlocksLo, GD.freeBlocksHi, by);
  }

  addFreeInodes(g: number, by: number): void {
    this.#add(g, GD.freeInodesLo, GD.freeInodesHi, by);
  }

  addUsedDirs(g: number, by: number): void {
    this.#add(g, GD.usedDirsLo, GD.usedDirsHi, by);
  }

  /** First block of a group. */
  firstBlock(g: number): number {
    return this.#sb.firstDataBlock + g * this.#sb.blocksPerGroup;
  }

  /** Blocks in a group; the last may be short. */
  blocksIn(g: number): number {
    return Math.min(this.#sb.blocksPerGroup, this.#sb.blocksCount - this.firstBlock(g));
  }

  groupOfBlock(block: number): number {
    return Math.floor((block - this.#sb.firstDataBlock) / this.#sb.blocksPerGroup);
  }

  groupOfInode(ino: number): number {
    return Math.floor((ino - 1) / this.#sb.inodesPerGroup);
  }

  /** True when a file may own the blocks `[start, start + count)`: inside the volume, none of the file system's own. */
  isDataRun(start: number, count: number): boolean {
    if (start < this.#sb.firstDataBlock || start + count > this.#sb.blocksCount) return false;
    const runs = this.#system;
    let low = 0, high = runs.length >> 1;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (runs[mid * 2 + 1] <= start) low = mid + 1;
      else high = mid;
    }
    return low * 2 >= runs.length || runs[low * 2] >= start + count;
  }

  /** Checks every descriptor, and maps the file system's own blocks. */
  verify(): void {
    const sb = this.#sb, tableBlocks = (sb.inodesPerGroup * sb.inodeSize) / sb.blockSize;
    const runs: [number, number][] = [];
    const own = (g: number, what: string, start: number, count: number) => {
      if (start < sb.firstDataBlock || start + count > sb.blocksCount) {
        throw new Err("EIO", `ext2: group ${g}: ${what} at block ${start} is outside of the volume`);
      }
      runs.push([start, start + count]);
    };
    for (let g = 0; g < this.count; g++) {
      this.#verifyChecksum(g);
      own(g, "block bitmap", this.blockBitmap(g), 1);
      own(g, "inode bitmap", this.inodeBitmap(g), 1);
      own(g, "inode table", this.inodeTable(g), tableBlocks);
      const descriptors = descriptorBlocksIn(sb, g);
      const head = (groupHasSuper(sb, g) ? 1 : 0) + descriptors;
      if (head > 0) runs.push([this.firstBlock(g), Math.min(this.firstBlock(g) + head, sb.blocksCount)]);
    }
    this.#system = mergeRuns(runs);
  }

  /** The group whose bitmap of blocks (or inodes) is this block. */
  groupOfBitmap(block: number, inodes: boolean): number {
    if (this.#bitmaps.size === 0) {
      for (let g = 0; g < this.count; g++) {
        this.#bitmaps.set(this.blockBitmap(g), g);
        this.#bitmaps.set(this.inodeBitmap(g), g);
      }
    }
    const g = this.#bitmaps.get(block) ?? -1;
    if (g < 0 || block !== (inodes ? this.inodeBitmap(g) : this.blockBitmap(g))) {
      throw new Err("EIO", `ext2: block ${block} is no group's bitmap`);
    }
    return g;
  }

  /** Notes the checksum of a group's bitmap. */
  setBitmapSum(g: number, inodes: boolean, sum: number): void {
    const at = g * this.#sb.descSize;
    this.view.setUint16(at + (inodes ? GD.inodeBitmapCsumLo : GD.blockBitmapCsumLo), sum & 0xffff, true);
    if (this.#sb.descSize > 32) {
      this.view.setUint16(at + (inodes ? GD.inodeBitmapCsumHi : GD.blockBitmapCsumHi), sum >>> 16, true);
    }
    this.#touch(g);
  }

  /** Inodes at the end of a group's table that were never in use. */
  unusedInodes(g: number): number {
    return this.flags(g) & BG_INODE_UNINIT ? this.#sb.inodesPerGroup : this.#count(g, GD.unusedLo, GD.unusedHi);
  }

  setUnusedInodes(g: number, value: number): void {
    const at = g * this.#sb.descSize;
    this.view.setUint16(at + GD.unusedLo, value % 65536, true);
    if (this.#sb.descSize > 32) this.view.setUint16(at + GD.unusedHi, Math.floor(value / 65536), true);
    this.#touch(g);
  }

  setFlags(g: number, flags: number): void {
    this.view.setUint16(g * this.#sb.descSize + GD.flags, flags, true);
    this.#touch(g);
  }

  #touch(g: number): void {
    this.dirty.add(Math.floor((g * this.#sb.descSize) / this.#sb.blockSize));
  }

  /** Sets the checksums of the descriptors in one block of them. */
  seal(index: number): void {
    const per = this.#sb.blockSize / this.#sb.descSize;
    for (let g = index * per; g < Math.min(this.count, (index + 1) * per); g++) {
      this.view.setUint16(g * this.#sb.descSize + GD.checksum, this.#sum(g), true);
    }
  }

  #verifyChecksum(g: number): void {
    const stored = this.view.getUint16(g * this.#sb.descSize + GD.checksum, true);
    if (this.#sum(g) !== stored) throw new Err("EIO", `ext2: group ${g}: bad descriptor checksum`);
  }

  /** The checksum that a descriptor should have; what it has where there are none. */
  #sum(g: number): number {
    const sb = this.#sb, size = sb.descSize, at = g * size;
    let sum = this.view.getUint16(at + GD.checksum, true);
    if (sb.hasChecksums) {
      let crc = crc32cWord(sb.checksumSeed, g);
      crc = crc32c(crc, this.raw, at, at + GD.checksum);
      crc = crc32c(crc32c(crc, ZERO2), this.raw, at + GD.checksum + 2, at + size);
      sum = crc & 0xffff;
    } else if (sb.roCompat & RO_COMPAT.uninit_bg) {
      let crc = crc16(0xffff, sb.raw, SB.uuid, SB.uuid + 16);
      crc = crc16(crc, Uint8Array.of(g & 255, (g >>> 8) & 255, (g >>> 16) & 255, g >>> 24));
      crc = crc16(crc, this.raw, at, at + GD.checksum);
      sum = size > 32 ? crc16(crc, this.raw, at + GD.checksum + 2, at + size) : crc;
    }
    return sum;
  }

  #block(g: number, lo: number, hi: number): number {
    const at = g * this.#sb.descSize, low = this.view.getUint32(at + lo, true);
    return this.#sb.descSize > 32 ? low + this.view.getUint32(at + hi, true) * HIGH : low;
  }

  #count(g: number, lo: number, hi: number): number {
    const at = g * this.#sb.descSize, low = this.view.getUint16(at + lo, true);
    return this.#sb.descSize > 32 ? low + this.view.getUint16(at + hi, true) * 65536 : low;
  }

  #add(g: number, lo: number, hi: number, by: number): void {
    const at = g * this.#sb.descSize, value = Math.max(0, this.#count(g, lo, hi) + by);
    this.view.setUint16(at + lo, value % 65536, true);
    if (this.#sb.descSize > 32) this.view.setUint16(at + hi, Math.floor(value / 65536), true);
    this.#touch(g);
  }
}

const ZERO2 = new Uint8Array(2);

function mergeRuns(runs: [number, number][]): Float64Array {
  runs.sort((a, b) => a[0] - b[0]);
  const merged: number[] = [];
  for (const [start, end] of runs) {
    const last = merged.length - 1;
    if (last > 0 && start <= merged[last]) merged[last] = Math.max(merged[last], end);
    else merged.push(start, end);
  }
  return Float64Array.from(merged);
}

/** True when flags say that a group's block bitmap (or inode bitmap) was never written. */
export function isUninit(groups: Groups, g: number, inodes: boolean): boolean {
  return (groups.flags(g) & (inodes ? BG_INODE_UNINIT : BG_BLOCK_UNINIT)) !== 0;
}

/** Blocks of all descriptors together. */
export function descriptorBlocks(sb: Superblock): number {
  return Math.ceil((sb.groupsCount * sb.descSize) / sb.blockSize);
}

/** Blocks of descriptors, and of room kept for more of them, at the head of group `g`. */
export function descriptorBlocksIn(sb: Superblock, g: number): number {
  const perBlock = sb.blockSize / sb.descSize, all = descriptorBlocks(sb);
  const firstMeta = (sb.incompat & INCOMPAT.meta_bg) ? Math.min(sb.view.getUint32(SB.firstMetaBg, true), all) : all;
  const metaGroup = Math.floor(g / perBlock);
  if (metaGroup < firstMeta) {
    if (!groupHasSuper(sb, g)) return 0;
    return firstMeta + sb.view.getUint16(SB.reservedGdtBlocks, true);
  }
  const within = g % perBlock;
  return within === 0 || within === 1 || within === perBlock - 1 ? 1 : 0;
}

/** The block that holds descriptor block `index`. */
export function descriptorBlock(sb: Superblock, index: number): number {
  const firstMeta = sb.view.getUint32(SB.firstMetaBg, true);
  if (!(sb.incompat & INCOMPAT.meta_bg) || index < firstMeta) {
    return (sb.blockSize === 1024 && sb.firstDataBlock === 0 ? 1 : sb.firstDataBlock) + 1 + index;
  }
  const g = index * (sb.blockSize / sb.descSize);
  return sb.firstDataBlock + g * sb.blocksPerGroup + (groupHasSuper(sb, g) ? 1 : 0);
}

/** Reads and verifies all group descriptors. */
export function loadGroups(sb: Superblock, port: BlockPort): MaybePromise<Groups> {
  const blocks = descriptorBlocks(sb);
  if (blocks * sb.blockSize > MAX_DESCRIPTOR_BYTES) throw new Err("EIO", "ext2: too many groups");
  const raw = new Uint8Array(blocks * sb.blockSize);
  const pending: Promise<void>[] = [];
  for (let i = 0; i < blocks; i++) {
    const offset = descriptorBlock(sb, i) * sb.blockSize;
    if (offset + sb.blockSize > sb.blocksCount * sb.blockSize) {
      throw new Err("EIO", `ext2: descriptor block ${i} is outside of the volume`);
    }
    const read = port.read(raw.subarray(i * sb.blockSize, (i + 1) * sb.blockSize), offset);
    if (read) pending.push(read);
  }
  const finish = () => {
    const groups = new Groups(sb, raw);
    groups.verify();
    return groups;
  };
  return pending.length > 0 ? Promise.all(pending).then(finish) : finish();
}
