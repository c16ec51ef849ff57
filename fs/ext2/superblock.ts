/**
 * The superblock: read, verified against the disk's size, and what its feature flags allow.
 *
 * Layer: fs/ext2, above layout. A `Superblock` holds the raw 1024 bytes, so that fields unknown to this code survive a
 * write; the geometry is copied out once and never changes while a volume is open.
 *
 * What holds always after `parseSuperblock`: every number below is in range, so that sums and products of them can be
 * trusted: the groups cover the blocks, the blocks lie on the disk.
 */

import { Err } from "../../core/err.ts";
import { crc32c } from "./crc.ts";
import {
  COMPAT,
  featureNames,
  FIRST_INO,
  INCOMPAT,
  INCOMPAT_READ,
  INCOMPAT_WRITE,
  RO_COMPAT,
  RO_COMPAT_WRITE,
  SB,
  SUPER_BYTES,
  SUPER_MAGIC,
} from "./layout.ts";

const HIGH = 0x100000000;

/** A volume's superblock. */
export interface Superblock {
  /** The 1024 bytes themselves. */
  readonly raw: Uint8Array;
  readonly view: DataView;
  readonly blockSize: number;
  readonly blocksCount: number;
  readonly inodesCount: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  /** Blocks a bit of a block bitmap stands for: 1 but with bigalloc. */
  readonly clusterRatio: number;
  readonly inodesPerGroup: number;
  readonly groupsCount: number;
  readonly inodeSize: number;
  readonly descSize: number;
  readonly revision: number;
  readonly firstIno: number;
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  /** First value of every metadata checksum. */
  readonly checksumSeed: number;
  readonly hasChecksums: boolean;
  readonly hasFiletype: boolean;
  readonly has64bit: boolean;
}

function corrupt(what: string): Err {
  return new Err("EIO", `ext2: bad superblock: ${what}`);
}

/** Reads and verifies a superblock of a disk of `diskBytes`. EINVAL when it is none, EIO when it cannot be right. */
export function parseSuperblock(raw: Uint8Array, diskBytes: number): Superblock {
  const view = new DataView(raw.buffer, raw.byteOffset, SUPER_BYTES);
  const u32 = (at: number) => view.getUint32(at, true), u16 = (at: number) => view.getUint16(at, true);
  if (u16(SB.magic) !== SUPER_MAGIC) throw new Err("EINVAL", "no ext2 file system here (bad magic number)");
  const revision = u32(SB.revLevel);
  if (revision > 1) throw new Err("EOPNOTSUPP", `ext2: revision ${revision} is not known`);
  const dynamic = revision === 1;
  const compat = dynamic ? u32(SB.compat) : 0, incompat = dynamic ? u32(SB.incompat) : 0;
  const roCompat = dynamic ? u32(SB.roCompat) : 0;
  refuseUnknown(incompat);

  if (u32(SB.logBlockSize) > 6) throw corrupt(`block size 2^${10 + u32(SB.logBlockSize)}`);
  const blockSize = 1024 << u32(SB.logBlockSize);
  const has64bit = (incompat & INCOMPAT["64bit"]) !== 0;
  const blocksCount = u32(SB.blocksCountLo) + (has64bit ? u32(SB.blocksCountHi) * HIGH : 0);
  const firstDataBlock = u32(SB.firstDataBlock);
  const bigalloc = (roCompat & RO_COMPAT.bigalloc) !== 0;
  if (firstDataBlock !== (blockSize === 1024 && !bigalloc ? 1 : 0)) throw corrupt(`first block ${firstDataBlock}`);
  if (blocksCount <= firstDataBlock || blocksCount * blockSize > diskBytes) {
    throw corrupt(`${blocksCount} blocks of ${blockSize} on a disk of ${diskBytes} bytes`);
  }
  const clusterRatio = bigalloc ? 2 ** (u32(SB.logClusterSize) - u32(SB.logBlockSize)) : 1;
  if (!(clusterRatio >= 1 && clusterRatio <= 65536)) throw corrupt("cluster size");
  const blocksPerGroup = u32(SB.blocksPerGroup), inodesPerGroup = u32(SB.inodesPerGroup);
  if (blocksPerGroup === 0 || blocksPerGroup > blockSize * 8 * clusterRatio || blocksPerGroup % 8 !== 0) {
    throw corrupt(`${blocksPerGroup} blocks per group`);
  }
  const inodeSize = dynamic ? u16(SB.inodeSize) : 128;
  if (inodeSize < 128 || inodeSize > blockSize || (inodeSize & (inodeSize - 1)) !== 0) {
    throw corrupt(`inode size ${inodeSize}`);
  }
  if (inodesPerGroup === 0 || inodesPerGroup > blockSize * 8 || inodesPerGroup % (blockSize / inodeSize) !== 0) {
    throw corrupt(`${inodesPerGroup} inodes per group`);
  }
  const groupsCount = Math.ceil((blocksCount - firstDataBlock) / blocksPerGroup);
  const inodesCount = u32(SB.inodesCount);
  if (inodesCount !== groupsCount * inodesPerGroup) throw corrupt(`${inodesCount} inodes in ${groupsCount} groups`);
  const firstIno = dynamic ? u32(SB.firstIno) : FIRST_INO;
  if (firstIno < FIRST_INO || firstIno > inodesCount) throw corrupt(`first inode ${firstIno}`);
  const descSize = has64bit ? u16(SB.descSize) : 32;
  if (descSize < (has64bit ? 64 : 32) || descSize > 1024 || (descSize & (descSize - 1)) !== 0) {
    throw corrupt(`descriptor size ${descSize}`);
  }
  const hasChecksums = (roCompat & RO_COMPAT.metadata_csum) !== 0;
  if (hasChecksums && crc32c(0xffffffff, raw, 0, SB.checksum) !== u32(SB.checksum)) throw corrupt("checksum");
  return {
    raw,
    view,
    blockSize,
    blocksCount,
    inodesCount,
    firstDataBlock,
    blocksPerGroup,
    clusterRatio,
    inodesPerGroup,
    groupsCount,
    inodeSize,
    descSize,
    revision,
    firstIno,
    compat,
    incompat,
    roCompat,
    checksumSeed: (incompat & INCOMPAT.metadata_csum_seed)
      ? u32(SB.checksumSeed)
      : crc32c(0xffffffff, raw, SB.uuid, SB.uuid + 16),
    hasChecksums,
    hasFiletype: (incompat & INCOMPAT.filetype) !== 0,
    has64bit,
  };
}

function refuseUnknown(incompat: number): void {
  const unknown = (incompat & ~INCOMPAT_READ) >>> 0;
  if (unknown === 0) return;
  const names = featureNames(INCOMPAT, unknown, "incompat").join(", ");
  throw new Err("EOPNOTSUPP", `ext2: this file system uses what is not supported: ${names}`);
}

/** Why a volume may not be written, naming the features; null when all of them are written rightly. */
export function whyReadOnly(sb: Superblock): string | null {
  const names = [
    ...featureNames(INCOMPAT, (sb.incompat & ~INCOMPAT_WRITE) >>> 0, "incompat"),
    ...featureNames(RO_COMPAT, (sb.roCompat & ~RO_COMPAT_WRITE) >>> 0, "ro_compat"),
    ...featureNames(COMPAT, sb.compat & COMPAT.fast_commit, "compat"),
  ];
  return names.length > 0 ? `written with features that are only read here: ${names.join(", ")}` : null;
}

/** A 64-bit count whose halves lie at `lo` and (with the 64bit feature) `hi`. */
export function getCount(sb: Superblock, lo: number, hi: number): number {
  return sb.view.getUint32(lo, true) + (sb.has64bit ? sb.view.getUint32(hi, true) * HIGH : 0);
}

/** Sets such a count. */
export function setCount(sb: Superblock, lo: number, hi: number, value: number): void {
  sb.view.setUint32(lo, value % HIGH, true);
  if (sb.has64bit) sb.view.setUint32(hi, Math.floor(value / HIGH), true);
}

/** True when group `g` holds a copy of the superblock (sparse_super, sparse_super2, or every group). */
export function groupHasSuper(sb: Superblock, g: number): boolean {
  if (g === 0) return true;
  if (sb.compat & COMPAT.sparse_super2) {
    return g === sb.view.getUint32(SB.backupBgs, true) || g === sb.view.getUint32(SB.backupBgs + 4, true);
  }
  if (!(sb.roCompat & RO_COMPAT.sparse_super) || g === 1) return true;
  return isPower(g, 3) || isPower(g, 5) || isPower(g, 7);
}

function isPower(n: number, base: number): boolean {
  while (n > 1 && n % base === 0) n /= base;
  return n === 1;
}
