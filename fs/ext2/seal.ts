/**
 * Checksums of metadata_csum, set: every block of metadata is sealed just before it goes to the disk.
 *
 * Layer: fs/ext2, above volume; commit.ts calls it. Whoever changes a block has said what kind it is of, and whose
 * (cache.ts). Verifying is done where a block is read.
 *
 * See Documentation/filesystems/ext4/checksums.rst of Linux.
 */

import { ATTR_BLOCK, BLOCK_BITMAP, type Buf, DIR_BLOCK, EXTENT_BLOCK, INODE_BITMAP } from "./cache.ts";
import { crc32c, crc32cWord } from "./crc.ts";
import { sizeOf } from "./extent.ts";
import { IN, SB } from "./layout.ts";
import type { Superblock } from "./superblock.ts";
import type { Volume } from "./volume.ts";

/** Bytes that end a block of a directory: an entry without a name, of type TAIL_TYPE, then the checksum. */
export const TAIL_BYTES = 12, TAIL_TYPE = 0xde;

/** Seals blocks that are about to be written; sums of bitmaps go to the group descriptors. */
export function sealBlocks(vol: Volume, bufs: Iterable<Buf>): void {
  if (!vol.sb.hasChecksums) return;
  for (const buf of bufs) sealBlock(vol, buf);
}

function sealBlock(vol: Volume, buf: Buf): void {
  const { view, data, owner } = buf, { sb, groups } = vol;
  switch (buf.kind) {
    case DIR_BLOCK: {
      const at = vol.blockSize - TAIL_BYTES;
      if (owner && hasTail(buf)) view.setUint32(at + 8, crc32c(vol.inodeSeed(owner), data, 0, at), true);
      break;
    }
    case EXTENT_BLOCK: {
      const at = sizeOf(view.getUint16(4, true));
      if (owner) view.setUint32(at, crc32c(vol.inodeSeed(owner), data, 0, at), true);
      break;
    }
    case ATTR_BLOCK:
      view.setUint32(16, attrBlockSum(sb, buf), true);
      break;
    case BLOCK_BITMAP:
      groups.setBitmapSum(
        groups.groupOfBitmap(buf.no, false),
        false,
        crc32c(sb.checksumSeed, data, 0, sb.blocksPerGroup / 8),
      );
      break;
    case INODE_BITMAP:
      groups.setBitmapSum(
        groups.groupOfBitmap(buf.no, true),
        true,
        crc32c(sb.checksumSeed, data, 0, sb.inodesPerGroup / 8),
      );
  }
}

/** True when a block of a directory ends with room for its checksum. */
export function hasTail(buf: Buf): boolean {
  const at = buf.data.length - TAIL_BYTES, { view } = buf;
  return view.getUint32(at, true) === 0 && view.getUint16(at + 4, true) === TAIL_BYTES && view.getUint8(at + 6) === 0 &&
    view.getUint8(at + 7) === TAIL_TYPE;
}

/** The checksum that a block of attributes should have. */
export function attrBlockSum(sb: Superblock, { no, data }: Buf): number {
  const seed = crc32cWord(crc32cWord(sb.checksumSeed, no % 2 ** 32), Math.floor(no / 2 ** 32));
  return crc32c(crc32cWord(crc32c(seed, data, 0, 16), 0), data, 20);
}

/** Seals the inode at `offset` of its block of the table. */
export function sealInode(vol: Volume, ino: number, table: Buf, offset: number): void {
  const { sb } = vol, { view, data } = table;
  if (!sb.hasChecksums) return;
  const isWide = sb.inodeSize > 128 && view.getUint16(offset + IN.extraIsize, true) >= 4;
  view.setUint16(offset + IN.checksumLo, 0, true);
  if (isWide) view.setUint16(offset + IN.checksumHi, 0, true);
  const seed = crc32cWord(crc32cWord(sb.checksumSeed, ino), view.getUint32(offset + IN.generation, true));
  const sum = crc32c(seed, data, offset, offset + sb.inodeSize);
  view.setUint16(offset + IN.checksumLo, sum & 0xffff, true);
  if (isWide) view.setUint16(offset + IN.checksumHi, sum >>> 16, true);
}

/** Seals the superblock. */
export function sealSuper(sb: Superblock): void {
  if (sb.hasChecksums) sb.view.setUint32(SB.checksum, crc32c(0xffffffff, sb.raw, 0, SB.checksum), true);
}
