/**
 * The commands of the program disk.
 *
 * Layer: cmd, over disk_trees.ts. What holds always: a new disk is made beside its place, under a name of its own, and
 * moved there when it is whole, so that what fails leaves nothing behind.
 */

import { Err } from "../core/err.ts";
import { BlkFile } from "../devices/blkfile.ts";
import type { ArchiveEntry } from "../fs/archive.ts";
import { Ext2 } from "../fs/ext2/fs.ts";
import { mkfs, type MkfsOptions } from "../fs/ext2/mkfs.ts";
import { unpackExt2 } from "../fs/ext2/pack.ts";
import { changed, digestOf, openTree, unpackFolder, writeArchive } from "./disk_trees.ts";

/** Options of the command line, as text. */
export interface DiskFlags {
  size?: string;
  owner?: string;
  time?: string;
  label?: string;
  uuid?: string;
  block?: string;
  inode?: string;
  force?: boolean;
  repair?: boolean;
}

/** A command: how many words it takes, and what it does with them; answers the exit status. */
interface Command {
  words: number;
  usage: string;
  run(words: string[], flags: DiskFlags): Promise<number>;
}

export const COMMANDS = new Map<string, Command>([
  ["mkfs", { words: 2, usage: "FILE SIZE", run: makeDisk }],
  ["build", { words: 2, usage: "FROM FILE", run: build }],
  ["pack", { words: 2, usage: "FROM ARCHIVE", run: pack }],
  ["unpack", { words: 2, usage: "FROM TO", run: unpack }],
  ["fsck", { words: 1, usage: "FILE", run: fsck }],
]);

const UNITS: Record<string, number> = { "": 1, k: 1 << 10, m: 1 << 20, g: 2 ** 30, t: 2 ** 40 };
const MIB = 1 << 20, MIN_DISK_BYTES = 1 << 20, BYTES_PER_INODE = 8192;
/** Exit statuses of fsck(8). */
const FSCK_MENDED = 1, FSCK_LEFT = 4;

async function makeDisk([file, size]: string[], flags: DiskFlags): Promise<number> {
  const uuid = flags.uuid === undefined ? crypto.getRandomValues(new Uint8Array(16)) : parseUuid(flags.uuid);
  await whole(file, flags, (path) => newDisk(path, parseSize(size), { ...mkfsOptions(flags), uuid, now: Date.now() }));
  return 0;
}

/** A new disk in a new file. */
async function newDisk(path: string, size: number, options: MkfsOptions): Promise<void> {
  const disk = BlkFile.create(path, size - (size % 65536));
  try {
    await mkfs(disk, { zeroed: true, ...options });
  } finally {
    await disk.close();
  }
}

async function build([from, file]: string[], flags: DiskFlags): Promise<number> {
  if (from === "-") throw new Err("EINVAL", "build reads its tree twice: it takes no standard input");
  const needs = { bytes: 0, files: 0, newest: 0 };
  const tree = () => changed(openTree(from), { owner: parseOwner(flags.owner ?? "0:0"), latest: latestOf(flags) });
  const digest = await digestOf(counted(tree(), needs));
  const size = flags.size === undefined ? roomFor(needs) : parseSize(flags.size);
  const uuid = flags.uuid === undefined ? uuidOf(digest) : parseUuid(flags.uuid), now = needs.newest * 1000;
  await whole(file, flags, async (path) => {
    const bytesPerInode = Math.max(1024, Math.min(BYTES_PER_INODE, Math.floor(size / (needs.files * 1.2 + 32))));
    await newDisk(path, size, { ...mkfsOptions(flags), uuid, now, bytesPerInode });
    await onDisk(path, { now: () => now }, (fs) => unpackExt2(fs, tree()));
  });
  return 0;
}

/** Counts what passes. */
async function* counted(
  tree: AsyncIterable<ArchiveEntry>,
  needs: { bytes: number; files: number; newest: number },
): AsyncGenerator<ArchiveEntry> {
  for await (const entry of tree) {
    needs.files++;
    needs.bytes += Math.ceil(entry.size / 4096) * 4096 + (entry.kind === "dir" ? 4096 : 0);
    needs.newest = Math.max(needs.newest, entry.mtime.sec);
    yield entry;
  }
}

function roomFor(needs: { bytes: number; files: number }): number {
  return Math.ceil(Math.max(MIN_DISK_BYTES, (needs.bytes + needs.files * 512) * 1.25 + MIN_DISK_BYTES) / MIB) * MIB;
}

async function pack([from, archive]: string[], flags: DiskFlags): Promise<number> {
  const owner = flags.owner === undefined ? undefined : parseOwner(flags.owner);
  const tree = changed(openTree(from), { owner, latest: latestOf(flags) });
  if (archive === "-") await writeArchive(tree, Deno.stdout.writable, false);
  else {
    await whole(archive, flags, async (path) => {
      const { writable } = await Deno.open(path, { write: true, createNew: true });
      await writeArchive(tree, writable, /gz$/.test(archive));
    });
  }
  return 0;
}

async function unpack([from, to]: string[], flags: DiskFlags): Promise<number> {
  const owner = flags.owner === undefined ? undefined : parseOwner(flags.owner);
  const tree = changed(openTree(from), { owner, latest: latestOf(flags) });
  const there = await Deno.stat(to).catch(() => null);
  if (there?.isFile) await onDisk(to, { now: Date.now }, (fs) => unpackExt2(fs, tree));
  else await unpackFolder(to, tree);
  return 0;
}

async function fsck([file]: string[], flags: DiskFlags): Promise<number> {
  const disk = new BlkFile(file, { readOnly: !flags.repair });
  try {
    const fs = await Ext2.open(disk, { now: Date.now, readOnly: !flags.repair });
    if (flags.repair && fs.whyReadOnly !== null) throw new Err("EROFS", `cannot repair ${file}: ${fs.whyReadOnly}`);
    const found = await fs.check(), { problems, files, directories, blocks } = found;
    const left = flags.repair && problems.length > 0 ? (await fs.repair()).left : found;
    for (const problem of problems) console.log(`${file}: ${problem}`);
    const usage = fs.statfs(),
      state = problems.length === 0 ? "clean" : left.problems.length === 0 ? "mended" : "damaged";
    console.log(`${file}: ${state}, ${files} files, ${directories} directories, ${blocks}/${usage.blocks} blocks`);
    if (left.unsafe > 0) console.log(`${file}: ${left.unsafe} problems are for e2fsck(8)`);
    await fs.close();
    return problems.length === 0 ? 0 : left.problems.length === 0 ? FSCK_MENDED : FSCK_LEFT;
  } finally {
    await disk.close();
  }
}

/** Runs `use` on the volume of a disk, which is whole on the disk afterwards. */
async function onDisk(file: string, options: { now: () => number }, use: (fs: Ext2) => Promise<void>): Promise<void> {
  const disk = new BlkFile(file);
  try {
    const fs = await Ext2.open(disk, options);
    if (fs.whyReadOnly !== null) throw new Err("EROFS", `cannot write ${file}: ${fs.whyReadOnly}`);
    try {
      await use(fs);
    } finally {
      await fs.close();
    }
  } finally {
    await disk.close();
  }
}

/** Makes a file that is not there, or (with --force) in place of one, by `make` under another name first. */
async function whole(file: string, flags: DiskFlags, make: (path: string) => Promise<void>): Promise<void> {
  const there = await Deno.lstat(file).catch(() => null);
  if (there && !flags.force) throw new Err("EEXIST", `${file} is there already (try: --force)`);
  const path = `${file}.${Deno.pid}.new`;
  try {
    await make(path);
    await Deno.rename(path, file);
  } catch (thrown) {
    await Deno.remove(path).catch(() => {});
    throw thrown;
  }
}

function mkfsOptions(flags: DiskFlags): Partial<MkfsOptions> {
  const number = (text: string | undefined) => (text === undefined ? undefined : parseSize(text));
  return { label: flags.label, blockSize: number(flags.block), inodeSize: number(flags.inode) };
}

function latestOf(flags: DiskFlags): number {
  const text = flags.time ?? Deno.env.get("SOURCE_DATE_EPOCH");
  if (text === undefined || text === "") return Infinity;
  if (!/^\d{1,12}$/.test(text)) throw new Err("EINVAL", `"${text}" is no time in seconds`);
  return Number(text);
}

function parseSize(text: string): number {
  const [, digits, unit] = /^(\d{1,12})([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new Err("EINVAL", `"${text}" is no size (try: 64M)`);
  return Number(digits) * UNITS[unit.toLowerCase()];
}

function parseOwner(text: string): { uid: number; gid: number } {
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  if (uid === undefined) throw new Err("EINVAL", `"${text}" is no UID:GID`);
  return { uid: Number(uid), gid: Number(gid) };
}

function parseUuid(text: string): Uint8Array {
  const hex = text.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new Err("EINVAL", `"${text}" is no uuid`);
  return Uint8Array.from({ length: 16 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** A uuid (version 8 of RFC 9562) made of a digest. */
function uuidOf(digest: Uint8Array): Uint8Array {
  const uuid = digest.slice(0, 16);
  uuid[6] = (uuid[6] & 0x0f) | 0x80;
  uuid[8] = (uuid[8] & 0x3f) | 0x80;
  return uuid;
}
