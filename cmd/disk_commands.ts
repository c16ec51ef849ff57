/**
 * The commands of the program disk.
 *
 * Layer: cmd, over disk_trees.ts; of an image's disks the plugin ext2 (source.ts) says what they are to be. What holds always: a new disk is made beside its place, under a name of its own, and
 * moved there when it is whole, so that what fails leaves nothing behind.
 */

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { Err } from "../core/err.ts";
import { imageFolder, readImage } from "../core/host/images.ts";
import { BlkFile } from "../devices/blkfile.ts";
import type { Archive } from "../fs/archive.ts";
import { writeArchive } from "../fs/archive_file.ts";
import { Ext2 } from "../fs/ext2/fs.ts";
import { counted, makeVolume, roomFor } from "../fs/ext2/make.ts";
import { mkfs, type MkfsOptions } from "../fs/ext2/mkfs.ts";
import { unpackExt2 } from "../fs/ext2/pack.ts";
import { openTree } from "../plugins/ext2/origin.ts";
import { labelOf, parseVolume, type Source, treePath } from "../plugins/ext2/source.ts";
import { UsageError } from "./args.ts";
import { changed, digestOf, openAnyTree, unpackFolder } from "./disk_trees.ts";

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
  ["image", { words: 2, usage: "IMAGE FOLDER", run: buildImage }],
  ["pack", { words: 2, usage: "FROM ARCHIVE", run: pack }],
  ["unpack", { words: 2, usage: "FROM TO", run: unpack }],
  ["fsck", { words: 1, usage: "FILE", run: fsck }],
]);

const UNITS: Record<string, number> = { "": 1, k: 1 << 10, m: 1 << 20, g: 2 ** 30, t: 2 ** 40 };
/** The folder of the system: where images/ is. */
const PROJECT = new URL("../", import.meta.url);
/** Bytes of a volume's name. */
const MAX_LABEL = 16;
/** Exit statuses of fsck(8). */
const FSCK_MENDED = 1, FSCK_LEFT = 4;

async function makeDisk([file, size]: string[], flags: DiskFlags): Promise<number> {
  const uuid = flags.uuid === undefined ? crypto.getRandomValues(new Uint8Array(16)) : parseUuid(flags.uuid);
  const options = { ...mkfsOptions(flags), uuid, now: Date.now(), zeroed: true };
  await whole(file, flags, (path) => onNewDisk(path, parseSize(size), async (disk) => void await mkfs(disk, options)));
  return 0;
}

async function build([from, file]: string[], flags: DiskFlags): Promise<number> {
  if (from === "-") throw new UsageError("build reads its tree twice: it takes no standard input");
  const owner = parseOwner(flags.owner ?? "0:0"), latest = latestOf(flags);
  await buildDisk(file, () => changed(openAnyTree(from), { owner, latest }), flags);
  return 0;
}

/** The disks that the first boot of an image makes. */
async function buildImage([name, folder]: string[], flags: DiskFlags): Promise<number> {
  const image = fileURLToPath(imageFolder(PROJECT, name)), latest = latestOf(flags);
  const owner = flags.owner === undefined ? undefined : parseOwner(flags.owner);
  const sources = volumesOf(name).filter(({ create, disk }) => create > 0 && !disk.startsWith("/"));
  if (sources.length === 0) throw new Err("ENOENT", `the image ${name} makes no disks in its data folder`);
  for (const source of sources) {
    const settled = latest === Infinity ? 0 : latest, file = `${folder}/${source.disk}`;
    const tree = () => source.from === "" ? nothing() : openTree(treePath(source, { image }), { settled });
    await Deno.mkdir(dirname(file), { recursive: true });
    await buildDisk(file, () => changed(tree(), { owner, latest }), {
      size: `${source.create}`,
      label: labelOf(source),
      ...flags,
    });
  }
  return 0;
}

/** The volumes that an image opens, of all its ext2 plugins. */
function volumesOf(image: string): Source[] {
  const plugins = readImage(PROJECT, image).plugins.filter(({ plugin }) => /(^|\/)ext2\/*$/.test(plugin));
  return plugins.flatMap(({ options }) => ((options.volumes ?? []) as string[]).map(parseVolume));
}

async function* nothing(): AsyncGenerator<never> {}

/** Makes a disk with a tree on it, and says what it is. */
async function buildDisk(file: string, tree: () => Archive, flags: DiskFlags): Promise<void> {
  const needs = { bytes: 0, files: 0, newest: 0 }, label = flags.label ?? "";
  const digest = await digestOf(counted(tree(), needs), label);
  const size = flags.size === undefined ? roomFor(needs) : parseSize(flags.size);
  const uuid = flags.uuid === undefined ? uuidOf(digest) : parseUuid(flags.uuid), now = needs.newest * 1000;
  const options = { ...mkfsOptions(flags), uuid, now, zeroed: true };
  await whole(file, flags, (path) => {
    return onNewDisk(path, size, (disk) => makeVolume(disk, { tree: tree(), needs }, options));
  });
  console.log(`${file}: ${needs.files} files, uuid ${uuidText(uuid)}`);
}

/** Runs `use` on a new disk in a new file. */
async function onNewDisk(path: string, size: number, use: (disk: BlkFile) => Promise<void>): Promise<void> {
  const disk = BlkFile.create(path, size - (size % 65536));
  try {
    await use(disk);
  } finally {
    await disk.close();
  }
}

async function pack([from, archive]: string[], flags: DiskFlags): Promise<number> {
  const owner = flags.owner === undefined ? undefined : parseOwner(flags.owner);
  const tree = changed(openAnyTree(from), { owner, latest: latestOf(flags) });
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
  const tree = changed(openAnyTree(from), { owner, latest: latestOf(flags) });
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
  if (new TextEncoder().encode(flags.label).length > MAX_LABEL) {
    throw new UsageError(`--label: "${flags.label}" has more than ${MAX_LABEL} bytes`);
  }
  return { label: flags.label, blockSize: number(flags.block), inodeSize: number(flags.inode) };
}

function latestOf(flags: DiskFlags): number {
  const text = flags.time ?? Deno.env.get("SOURCE_DATE_EPOCH");
  if (text === undefined || text === "") return Infinity;
  if (!/^\d{1,12}$/.test(text)) throw new UsageError(`"${text}" is no time in seconds`);
  return Number(text);
}

function parseSize(text: string): number {
  const [, digits, unit] = /^(\d{1,12})([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new UsageError(`"${text}" is no size (try: 64M)`);
  return Number(digits) * UNITS[unit.toLowerCase()];
}

function parseOwner(text: string): { uid: number; gid: number } {
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  if (uid === undefined) throw new UsageError(`"${text}" is no UID:GID`);
  return { uid: Number(uid), gid: Number(gid) };
}

function parseUuid(text: string): Uint8Array {
  const hex = text.replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new UsageError(`"${text}" is no uuid`);
  return Uint8Array.from({ length: 16 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** A uuid (version 8 of RFC 9562) made of a digest. */
function uuidOf(digest: Uint8Array): Uint8Array {
  const uuid = digest.slice(0, 16);
  uuid[6] = (uuid[6] & 0x0f) | 0x80;
  uuid[8] = (uuid[8] & 0x3f) | 0x80;
  return uuid;
}

function uuidText(uuid: Uint8Array): string {
  return uuid.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
