/**
 * The on-disk format of ext2, ext3 and ext4 in numbers: feature bits, field offsets, inode flags, limits.
 *
 * Layer: fs/ext2, a leaf; every other file of the folder reads these tables. All fields are little-endian.
 *
 * See Documentation/filesystems/ext2.rst and ext4/ of Linux, and mke2fs(8) for the names of the features.
 */

export const SUPER_OFFSET = 1024;
export const SUPER_BYTES = 1024;
/** Where a disk has zeros until there is a volume on it. */
export const HEAD_BYTES = 4096;
export const SUPER_MAGIC = 0xef53;

/** States of a volume (`s_state`). */
export const VALID_FS = 1, ERROR_FS = 2, ORPHAN_FS = 4;
/** What to do when damage is found (`s_errors`). */
export const ERRORS_CONTINUE = 1, ERRORS_RO = 2, ERRORS_PANIC = 3;

/** Reserved inodes. */
export const ROOT_INO = 2, RESIZE_INO = 7, JOURNAL_INO = 8, FIRST_INO = 11;

/** Compatible features. */
export const COMPAT = {
  dir_prealloc: 0x1,
  imagic_inodes: 0x2,
  has_journal: 0x4,
  ext_attr: 0x8,
  resize_inode: 0x10,
  dir_index: 0x20,
  sparse_super2: 0x200,
  fast_commit: 0x400,
  stable_inodes: 0x800,
  orphan_file: 0x1000,
} as const;

/** Incompatible features: who does not know one must not open the volume. */
export const INCOMPAT = {
  compression: 0x1,
  filetype: 0x2,
  needs_recovery: 0x4,
  journal_dev: 0x8,
  meta_bg: 0x10,
  extent: 0x40,
  "64bit": 0x80,
  mmp: 0x100,
  flex_bg: 0x200,
  ea_inode: 0x400,
  dirdata: 0x1000,
  metadata_csum_seed: 0x2000,
  large_dir: 0x4000,
  inline_data: 0x8000,
  encrypt: 0x10000,
  casefold: 0x20000,
} as const;

/** Features that allow reading, but no writing, to who does not know them. */
export const RO_COMPAT = {
  sparse_super: 0x1,
  large_file: 0x2,
  btree_dir: 0x4,
  huge_file: 0x8,
  uninit_bg: 0x10,
  dir_nlink: 0x20,
  extra_isize: 0x40,
  quota: 0x100,
  bigalloc: 0x200,
  metadata_csum: 0x400,
  replica: 0x800,
  read_only: 0x1000,
  project: 0x2000,
  shared_blocks: 0x4000,
  verity: 0x8000,
  orphan_present: 0x10000,
} as const;

/** Incompatible features that this code reads. */
export const INCOMPAT_READ = INCOMPAT.filetype | INCOMPAT.needs_recovery | INCOMPAT.meta_bg | INCOMPAT.extent |
  INCOMPAT["64bit"] | INCOMPAT.mmp | INCOMPAT.flex_bg | INCOMPAT.metadata_csum_seed | INCOMPAT.large_dir |
  INCOMPAT.inline_data;
/** Features under which it also writes. */
export const INCOMPAT_WRITE = INCOMPAT.filetype | INCOMPAT.needs_recovery | INCOMPAT.meta_bg | INCOMPAT["64bit"] |
  INCOMPAT.flex_bg | INCOMPAT.extent | INCOMPAT.metadata_csum_seed;
export const RO_COMPAT_WRITE = RO_COMPAT.sparse_super | RO_COMPAT.large_file | RO_COMPAT.huge_file |
  RO_COMPAT.dir_nlink | RO_COMPAT.extra_isize | RO_COMPAT.uninit_bg | RO_COMPAT.metadata_csum;

/** The names of the bits that are set in `word`; one that the table does not have is `prefix_N`. */
export function featureNames(table: Record<string, number>, word: number, prefix: string): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = (1 << bit) >>> 0;
    if ((word & mask) === 0) continue;
    names.push(Object.keys(table).find((name) => table[name] === mask) ?? `${prefix}_${bit}`);
  }
  return names;
}

/** Offsets of superblock fields, from the superblock's start. */
export const SB = {
  inodesCount: 0,
  blocksCountLo: 4,
  reservedBlocksLo: 8,
  freeBlocksLo: 12,
  freeInodes: 16,
  firstDataBlock: 20,
  logBlockSize: 24,
  logClusterSize: 28,
  blocksPerGroup: 32,
  clustersPerGroup: 36,
  inodesPerGroup: 40,
  mtime: 44,
  wtime: 48,
  mountCount: 52,
  maxMountCount: 54,
  magic: 56,
  state: 58,
  errors: 60,
  lastCheck: 64,
  checkInterval: 68,
  creatorOs: 72,
  revLevel: 76,
  defResuid: 80,
  defResgid: 82,
  firstIno: 84,
  inodeSize: 88,
  blockGroupNr: 90,
  compat: 92,
  incompat: 96,
  roCompat: 100,
  uuid: 104,
  volumeName: 120,
  reservedGdtBlocks: 206,
  journalInum: 224,
  lastOrphan: 232,
  hashSeed: 236,
  defHashVersion: 252,
  journalBackupType: 253,
  descSize: 254,
  firstMetaBg: 260,
  mkfsTime: 264,
  journalBackup: 268,
  blocksCountHi: 336,
  reservedBlocksHi: 340,
  freeBlocksHi: 344,
  minExtraIsize: 348,
  wantExtraIsize: 350,
  flags: 352,
  logGroupsPerFlex: 372,
  checksumType: 373,
  backupBgs: 588,
  projectQuotaIno: 620,
  checksumSeed: 624,
  orphanFileIno: 640,
  checksum: 1020,
} as const;

/** Offsets of group descriptor fields; those from 32 on exist when descriptors are longer than 32 bytes. */
export const GD = {
  blockBitmapLo: 0,
  inodeBitmapLo: 4,
  inodeTableLo: 8,
  freeBlocksLo: 12,
  freeInodesLo: 14,
  usedDirsLo: 16,
  flags: 18,
  blockBitmapCsumLo: 24,
  inodeBitmapCsumLo: 26,
  unusedLo: 28,
  checksum: 30,
  blockBitmapHi: 32,
  inodeBitmapHi: 36,
  inodeTableHi: 40,
  freeBlocksHi: 44,
  freeInodesHi: 46,
  usedDirsHi: 48,
  unusedHi: 50,
  blockBitmapCsumHi: 56,
  inodeBitmapCsumHi: 58,
} as const;

/** Group flags: the bitmap was never written, all its bits follow from the layout. */
export const BG_INODE_UNINIT = 1, BG_BLOCK_UNINIT = 2;

/** Offsets of inode fields; those from 128 on exist as far as `extraIsize` says. */
export const IN = {
  mode: 0,
  uidLo: 2,
  sizeLo: 4,
  atime: 8,
  ctime: 12,
  mtime: 16,
  dtime: 20,
  gidLo: 24,
  links: 26,
  blocksLo: 28,
  flags: 32,
  version: 36,
  block: 40,
  generation: 100,
  fileAclLo: 104,
  sizeHi: 108,
  faddr: 112,
  blocksHi: 116,
  fileAclHi: 118,
  uidHi: 120,
  gidHi: 122,
  checksumLo: 124,
  extraIsize: 128,
  checksumHi: 130,
  ctimeExtra: 132,
  mtimeExtra: 136,
  atimeExtra: 140,
  crtime: 144,
  crtimeExtra: 148,
} as const;

/** Inode flags. */
export const FL_SYNC = 0x8, FL_IMMUTABLE = 0x10, FL_APPEND = 0x20, FL_NODUMP = 0x40, FL_NOATIME = 0x80;
export const FL_DIRSYNC = 0x10000,
  FL_INDEX = 0x1000,
  FL_HUGE_FILE = 0x40000,
  FL_EXTENTS = 0x80000,
  FL_INLINE_DATA = 0x10000000;
/** Flags that a user may set, and those that a new file takes from its directory. */
export const FL_USER_SETTABLE = 0x000380ff, FL_INHERITED = 0x000196ff & ~(FL_IMMUTABLE | FL_APPEND | FL_INDEX);

/** File types of `i_mode`. */
export const S_IFMT = 0xf000, S_IFSOCK = 0xc000, S_IFLNK = 0xa000, S_IFREG = 0x8000, S_IFBLK = 0x6000;
export const S_IFDIR = 0x4000, S_IFCHR = 0x2000, S_IFIFO = 0x1000;

/** File types of directory entries, by `i_mode >> 12`. */
const DIRENT_TYPES = [0, 5, 3, 0, 2, 0, 4, 0, 1, 0, 7, 0, 6, 0, 0, 0];
/** The type that a directory entry carries for a file of this mode. */
export function direntType(mode: number): number {
  return DIRENT_TYPES[(mode >>> 12) & 15];
}

/** Pointers in an inode: 12 to data, then one each of single, double and triple indirection. */
export const DIRECT_BLOCKS = 12, POINTERS = 15;
/** Bytes that an inode's own pointers take: a symlink shorter than that lives there. */
export const FAST_SYMLINK_BYTES = 60;
/** Hard links to one file at the most. */
export const LINK_MAX = 32000;
export const NAME_MAX = 255;
