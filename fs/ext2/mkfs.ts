/**
 * mkfs: a new, empty ext2 volume. Given the same options it writes the same bytes, whatever the machine or the day.
 *
 * Layer: fs/ext2, beside fs.ts, above superblock and group. Every group holds, in this order: a copy of the superblock and
 * of the group descriptors where sparse_super wants one, two bitmaps, the inode table, data. The root and lost+found
 * (with empty blocks, as e2fsck and commit.ts want them) are at the start of the first group's data.
 *
 * What it does not do: room for the volume to grow (resize_inode), journals, ext4's features. See mke2fs(8).
 */

import { Err } from "../../core/err.ts";
import type { MaybePromise } from "../../core/p9/types.ts";
import { encodeUtf8, utf8Length } from "../../core/p9/utf8.ts";
import type { BlockPort } from "../block_port.ts";
import { descriptorBlocks, Groups } from "./group.ts";
import { ATIME, CRTIME, CTIME, Inode, MTIME } from "./inode.ts";
import {
  COMPAT,
  FIRST_INO,
  GD,
  IN,
  INCOMPAT,
  RO_COMPAT,
  ROOT_INO,
  S_IFDIR,
  SB,
  SUPER_BYTES,
  SUPER_MAGIC,
  SUPER_OFFSET,
  VALID_FS,
} from "./layout.ts";
import { groupHasSuper, parseSuperblock, setCount, type Superblock } from "./superblock.ts";

/** What the new volume is to be like. Everything but `uuid` and `now` has a default. */
export interface MkfsOptions {
  /** 16 bytes. */
  uuid: Uint8Array;
  /** Milliseconds since 1970: every time in the new volume. */
  now: number;
  /** Bytes of the volume; the size of the port. */
  size?: number;
  /** 1024 to 65536; 1024 up to 64 MiB, else 4096. */
  blockSize?: number;
  /** 128 (no nanoseconds, no times after 2038) to `blockSize`; 256. */
  inodeSize?: number;
  /** One inode for so many bytes; 8192. */
  bytesPerInode?: number;
  /** Percent of the blocks that only root may take; 5. */
  reservedPercent?: number;
  /** At most 16 bytes. */
  label?: string;
  /** 0 has no features and inodes of 128 bytes; 1. */
  revision?: 0 | 1;
  /** Copies of the superblock in few groups (else in all); true. */
  sparseSuper?: boolean;
  /** File types in directory entries; true. */
  filetype?: boolean;
  /** Owner of the root. */
  uid?: number;
  gid?: number;
  /** The disk reads as zeros already: leave the inode tables as they are. */
  zeroed?: boolean;
}

const LABEL_BYTES = 16, LOST_FOUND_BYTES = 16384, EXTRA_ISIZE = 32;
/** A last group with less room for data than this is left out. */
const MIN_DATA_BLOCKS = 16;
const ZERO_BYTES = 1 << 18;

/** Makes the volume. EINVAL for options that cannot be, ENOSPC for a disk too small. */
export function mkfs(port: BlockPort, options: MkfsOptions): MaybePromise<void> {
  return drive(port, writes(plan(port, options), options));
}

function drive(port: BlockPort, steps: Generator<[number, Uint8Array]>): MaybePromise<void> {
  for (let next = steps.next(); !next.done; next = steps.next()) {
    const pending = port.write(next.value[1], next.value[0]);
    if (pending) return pending.then(() => drive(port, steps));
  }
  return port.flush();
}

/** The superblock of the volume that the options ask for. */
function plan(port: BlockPort, options: MkfsOptions): Superblock {
  const size = options.size ?? port.size, revision = options.revision ?? 1;
  const blockSize = options.blockSize ?? (size <= 64 << 20 ? 1024 : 4096);
  const inodeSize = revision === 0 ? 128 : options.inodeSize ?? 256;
  const power = Math.log2(blockSize / 1024);
  if (!Number.isInteger(power) || power < 0 || power > 6) {
    throw new Err("EINVAL", `a block of ${blockSize} bytes: wanted 1024, 2048, 4096 and so on to 65536`);
  }
  if (!Number.isInteger(Math.log2(inodeSize)) || inodeSize < 128 || inodeSize > blockSize) {
    throw new Err("EINVAL", `an inode of ${inodeSize} bytes: wanted 128, 256 and so on to a block's ${blockSize}`);
  }
  if (utf8Length(options.label ?? "") > LABEL_BYTES) {
    throw new Err("EINVAL", `a label has at most ${LABEL_BYTES} bytes: "${options.label}"`);
  }
  if (options.uuid.length !== 16) throw new Err("EINVAL", "a uuid has 16 bytes");
  if (size > port.size) throw new Err("EINVAL", "the volume is larger than its disk");
  const firstDataBlock = blockSize === 1024 ? 1 : 0, perGroup = Math.min(blockSize * 8, 65528);
  let blocks = Math.min(Math.floor(size / blockSize), 0xffffffff);
  for (;;) {
    const groups = Math.ceil((blocks - firstDataBlock) / perGroup);
    if (groups < 1) throw new Err("ENOSPC", "the disk is too small for a file system");
    const inodes = inodesPerGroup({ blocks, groups, blockSize, inodeSize }, options.bytesPerInode ?? 8192);
    const sb = superblock(port.size, options, { blocks, blockSize, inodeSize, perGroup, inodes, groups });
    const room = blocks - firstDataBlock - (groups - 1) * perGroup - overhead(sb, groups - 1);
    if (room >= (groups === 1 ? rootBlocks(sb) + 1 : MIN_DATA_BLOCKS)) return sb;
    blocks = firstDataBlock + (groups - 1) * perGroup;
  }
}

function inodesPerGroup(
  v: { blocks: number; groups: number; blockSize: number; inodeSize: number },
  bytesPerInode: number,
): number {
  const perBlock = v.blockSize / v.inodeSize, step = Math.max(8, perBlock);
  const wanted = Math.max(FIRST_INO + 5, Math.ceil((v.blocks * v.blockSize) / bytesPerInode) / v.groups);
  return Math.min(Math.ceil(wanted / step) * step, v.blockSize * 8);
}

function superblock(
  diskBytes: number,
  options: MkfsOptions,
  v: { blocks: number; blockSize: number; inodeSize: number; perGroup: number; inodes: number; groups: number },
): Superblock {
  const raw = new Uint8Array(SUPER_BYTES), view = new DataView(raw.buffer);
  const u32 = (at: number, value: number) => view.setUint32(at, value, true);
  const u16 = (at: number, value: number) => view.setUint16(at, value, true);
  const now = Math.floor(options.now / 1000), log = Math.log2(v.blockSize / 1024);
  u32(SB.inodesCount, v.inodes * v.groups);
  u32(SB.blocksCountLo, v.blocks);
  u32(SB.reservedBlocksLo, Math.floor((v.blocks * (options.reservedPercent ?? 5)) / 100));
  u32(SB.firstDataBlock, v.blockSize === 1024 ? 1 : 0);
  u32(SB.logBlockSize, log);
  u32(SB.logClusterSize, log);
  u32(SB.blocksPerGroup, v.perGroup);
  u32(SB.clustersPerGroup, v.perGroup);
  u32(SB.inodesPerGroup, v.inodes);
  u32(SB.wtime, now);
  u16(SB.maxMountCount, 0xffff);
  u16(SB.magic, SUPER_MAGIC);
  u16(SB.state, VALID_FS);
  u16(SB.errors, 1);
  u32(SB.lastCheck, now);
  raw.set(options.uuid, SB.uuid);
  encodeUtf8(options.label ?? "", raw, SB.volumeName);
  u32(SB.mkfsTime, now);
  if ((options.revision ?? 1) === 1) {
    u32(SB.revLevel, 1);
    u32(SB.firstIno, FIRST_INO);
    u16(SB.inodeSize, v.inodeSize);
    u32(SB.compat, COMPAT.ext_attr);
    u32(SB.incompat, (options.filetype ?? true) ? INCOMPAT.filetype : 0);
    u32(SB.roCompat, ((options.sparseSuper ?? true) ? RO_COMPAT.sparse_super : 0) | RO_COMPAT.large_file);
    raw.set(options.uuid, SB.hashSeed);
    view.setUint8(SB.defHashVersion, 1);
    if (v.inodeSize > 128) {
      u16(SB.minExtraIsize, EXTRA_ISIZE);
      u16(SB.wantExtraIsize, EXTRA_ISIZE);
    }
  }
  return parseSuperblock(raw, diskBytes);
}

/** Blocks of a group that are the file system's own. */
function overhead(sb: Superblock, g: number): number {
  return (groupHasSuper(sb, g) ? 1 + descriptorBlocks(sb) : 0) + 2 + tableBlocks(sb);
}

function tableBlocks(sb: Superblock): number {
  return (sb.inodesPerGroup * sb.inodeSize) / sb.blockSize;
}

function lostFoundBlocks(sb: Superblock): number {
  return Math.min(12, Math.max(2, LOST_FOUND_BYTES / sb.blockSize));
}

function rootBlocks(sb: Superblock): number {
  return 1 + lostFoundBlocks(sb);
}

/** All that is written, with its offset: the superblock last, so that a volume half made is none. */
function* writes(sb: Superblock, options: MkfsOptions): Generator<[number, Uint8Array]> {
  const { blockSize } = sb;
  const groups = new Groups(sb, new Uint8Array(descriptorBlocks(sb) * blockSize));
  let free = 0;
  for (let g = 0; g < sb.groupsCount; g++) free += describe(sb, groups, g);
  setCount(sb, SB.freeBlocksLo, SB.freeBlocksHi, free);
  sb.view.setUint32(SB.freeInodes, sb.inodesCount - FIRST_INO, true);
  for (let g = 0; g < sb.groupsCount; g++) {
    yield [groups.blockBitmap(g) * blockSize, blockBitmap(sb, groups, g)];
    yield [groups.inodeBitmap(g) * blockSize, inodeBitmap(sb, g)];
    if (!options.zeroed) yield* zeros(groups.inodeTable(g) * blockSize, tableBlocks(sb) * blockSize);
  }
  yield* directories(sb, groups, options);
  for (let g = sb.groupsCount - 1; g >= 0; g--) {
    if (!groupHasSuper(sb, g)) continue;
    yield [(groups.firstBlock(g) + 1) * blockSize, groups.raw];
    const block = new Uint8Array(blockSize), at = g === 0 && blockSize > SUPER_BYTES ? SUPER_OFFSET : 0;
    block.set(sb.raw, at);
    if (sb.revision > 0) new DataView(block.buffer).setUint16(at + SB.blockGroupNr, g, true);
    yield [groups.firstBlock(g) * blockSize, block];
  }
}

/** Fills in a group's descriptor; answers its free blocks. */
function describe(sb: Superblock, groups: Groups, g: number): number {
  const own = overhead(sb, g), first = groups.firstBlock(g), at = g * sb.descSize, { view } = groups;
  const bitmaps = first + own - tableBlocks(sb) - 2;
  view.setUint32(at + GD.blockBitmapLo, bitmaps, true);
  view.setUint32(at + GD.inodeBitmapLo, bitmaps + 1, true);
  view.setUint32(at + GD.inodeTableLo, bitmaps + 2, true);
  const free = groups.blocksIn(g) - own - (g === 0 ? rootBlocks(sb) : 0);
  groups.addFreeBlocks(g, free);
  groups.addFreeInodes(g, sb.inodesPerGroup - (g === 0 ? FIRST_INO : 0));
  if (g === 0) groups.addUsedDirs(g, 2);
  return free;
}

function blockBitmap(sb: Superblock, groups: Groups, g: number): Uint8Array {
  const bits = new Uint8Array(sb.blockSize);
  setBits(bits, 0, overhead(sb, g) + (g === 0 ? rootBlocks(sb) : 0));
  setBits(bits, groups.blocksIn(g), sb.blockSize * 8);
  return bits;
}

function inodeBitmap(sb: Superblock, g: number): Uint8Array {
  const bits = new Uint8Array(sb.blockSize);
  if (g === 0) setBits(bits, 0, FIRST_INO);
  setBits(bits, sb.inodesPerGroup, sb.blockSize * 8);
  return bits;
}

function setBits(bits: Uint8Array, from: number, end: number): void {
  for (let bit = from; bit < end; bit++) bits[bit >> 3] |= 1 << (bit & 7);
}

function* zeros(offset: number, bytes: number): Generator<[number, Uint8Array]> {
  const piece = new Uint8Array(Math.min(ZERO_BYTES, bytes));
  for (let at = 0; at < bytes; at += piece.length) {
    yield [offset + at, bytes - at < piece.length ? piece.subarray(0, bytes - at) : piece];
  }
}

/** The root and lost+found: their blocks, then their inodes. */
function* directories(sb: Superblock, groups: Groups, options: MkfsOptions): Generator<[number, Uint8Array]> {
  const { blockSize, inodeSize } = sb, first = groups.firstBlock(0) + overhead(sb, 0), count = lostFoundBlocks(sb);
  yield [
    first * blockSize,
    dirBlock(sb, [[ROOT_INO, "."], [ROOT_INO, ".."], [FIRST_INO, "lost+found"]]),
  ];
  yield [(first + 1) * blockSize, dirBlock(sb, [[FIRST_INO, "."], [ROOT_INO, ".."]])];
  for (let i = 1; i < count; i++) yield [(first + 1 + i) * blockSize, dirBlock(sb, [])];
  const table = new Uint8Array(Math.ceil((FIRST_INO * inodeSize) / blockSize) * blockSize);
  const root = table.subarray((ROOT_INO - 1) * inodeSize, ROOT_INO * inodeSize);
  setDir(sb, new Inode(ROOT_INO, root), options, { mode: 0o755, links: 3, block: first, count: 1 });
  const lost = table.subarray((FIRST_INO - 1) * inodeSize, FIRST_INO * inodeSize);
  setDir(sb, new Inode(FIRST_INO, lost), options, { mode: 0o700, links: 2, block: first + 1, count });
  yield [groups.inodeTable(0) * blockSize, table];
}

function setDir(
  sb: Superblock,
  inode: Inode,
  options: MkfsOptions,
  what: { mode: number; links: number; block: number; count: number },
): void {
  if (sb.inodeSize > 128) inode.view.setUint16(IN.extraIsize, EXTRA_ISIZE, true);
  inode.mode = S_IFDIR | what.mode;
  inode.links = what.links;
  inode.size = what.count * sb.blockSize;
  inode.blocks = what.count * (sb.blockSize / 512);
  if (inode.ino === ROOT_INO) {
    inode.uid = options.uid ?? 0;
    inode.gid = options.gid ?? 0;
  }
  for (const time of [ATIME, MTIME, CTIME, CRTIME]) inode.setTime(time, Math.floor(options.now / 1000), 0);
  for (let i = 0; i < what.count; i++) inode.setPointer(i, what.block + i);
}

/** A directory block with these entries, the last of which takes the rest. */
function dirBlock(sb: Superblock, entries: [number, string][]): Uint8Array {
  const block = new Uint8Array(sb.blockSize), view = new DataView(block.buffer);
  let at = 0;
  const setLength = (length: number) => view.setUint16(at + 4, length === 65536 ? 65535 : length, true);
  if (entries.length === 0) setLength(sb.blockSize);
  entries.forEach(([ino, name], i) => {
    const bytes = (8 + name.length + 3) & ~3;
    view.setUint32(at, ino, true);
    setLength(i === entries.length - 1 ? sb.blockSize - at : bytes);
    block[at + 6] = name.length;
    block[at + 7] = sb.hasFiletype ? 2 : 0;
    encodeUtf8(name, block, at + 8);
    at += bytes;
  });
  return block;
}
