/**
 * Where a volume comes from: a file of the host, a file of the name space (`ns!PATH`), memory (`ram!SIZE`).
 *
 * Layer: plugins/ext2, over devices. What it opens is owned by queue (devices/disk_queue.ts), so that no disk has two
 * owners. A volume is made in memory, and where `create=` wants one (make.ts).
 *
 * What holds always: only a disk that begins with zeros gets a new volume, which is there when it is whole
 * (fs/ext2/make.ts). A file that was made for a volume which could not be made is removed.
 */

import { type Code, Err, excerpt, PATH_CHARS, toErr } from "../../core/err.ts";
import { tokenize } from "../../core/tree_ctl.ts";
import type { QueueTable } from "../../core/queues.ts";
import { BlkFile } from "../../devices/blkfile.ts";
import { BlkRam } from "../../devices/blkram.ts";
import { type Disk, DiskPart } from "../../devices/disk.ts";
import { ownDisk, type OwnedDisk } from "../../devices/disk_queue.ts";
import { readPartitions } from "../../devices/partition.ts";
import { HEAD_BYTES } from "../../fs/ext2/layout.ts";
import type { AtimePolicy } from "./volume_dev.ts";

/** A volume as a user asks for it. */
export interface Source {
  /** What it is called: `#ext2.NAME`. */
  name: string;
  /** A file or device of the host, `ns!PATH`, or `ram!SIZE`. */
  disk: string;
  readOnly: boolean;
  /** One that can not be written is not opened at all. */
  mustWrite: boolean;
  /** A partition of the disk, by number or name; empty for the whole. */
  part: string;
  direct: boolean;
  inFlight: number;
  atime: AtimePolicy | undefined;
  /** Bytes; 0 is the plugin's own. */
  cacheBytes: number;
  /** Size in bytes of the disk that is made if there is none; 0: none is made. */
  create: number;
  /** What a disk that is made is filled with: a folder, a disk or an archive of the host; empty: nothing. */
  from: string;
  /** A volume that was not closed is mended, as far as that is safe. */
  repair: boolean;
  /** That it can not be opened is told, and stops nothing. */
  optional: boolean;
}

/** Sizes of new disks are multiples of this; of those in memory of that. */
const DISK_UNIT = 65536, RAM_UNIT = 4096;
const MAX_LABEL = 16;
/** Errors that mean: not for writing, perhaps for reading (EPERM: an immutable file). */
const UNWRITABLE: readonly Code[] = ["EROFS", "EACCES", "EPERM"];
const WORDS = "ro rw direct noatime relatime strictatime repair optional create= from= part= cache= inflight=";
const UNITS: Record<string, number> = { "": 1, k: 1 << 10, m: 1 << 20, g: 2 ** 30, t: 2 ** 40 };

/** `NAME=DISK WORD...` of an option. */
export function parseVolume(text: string): Source {
  const [first = "", ...words] = tokenize(text);
  const [, name, disk] = /^([^=]+)=(.+)$/s.exec(first) ?? [];
  if (name === undefined) throw new Err("EINVAL", `"${excerpt(text)}" is no NAME=DISK`);
  return parseSource(name, disk, words);
}

/** The words of a ctl message. */
export function parseSource(name: string, disk: string, words: string[]): Source {
  if (!/^[\w-][\w.-]{0,63}$/.test(name)) throw new Err("EINVAL", `"${excerpt(name)}" is no name for a volume`);
  const source: Source = {
    name,
    disk,
    readOnly: false,
    mustWrite: false,
    part: "",
    direct: false,
    inFlight: 0,
    atime: undefined,
    cacheBytes: 0,
    create: 0,
    from: "",
    repair: false,
    optional: false,
  };
  for (const word of words) applyWord(source, word);
  if (source.from !== "" && source.create === 0 && !isRam(source)) {
    throw new Err("EINVAL", `from=${source.from} fills a disk that is made: it wants create=SIZE beside it`);
  }
  return source;
}

function applyWord(source: Source, word: string): void {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(word) ?? [];
  if (word === "ro" || word === "rw") [source.readOnly, source.mustWrite] = [word === "ro", word === "rw"];
  else if (word === "direct") source.direct = true;
  else if (word === "noatime" || word === "relatime" || word === "strictatime") source.atime = word;
  else if (word === "repair") source.repair = true;
  else if (word === "optional") source.optional = true;
  else if (key === "create" && value) source.create = parseBytes(value);
  else if (key === "from" && value) source.from = value;
  else if (key === "part" && value) source.part = value;
  else if (key === "cache" && value) source.cacheBytes = parseBytes(value);
  else if (key === "inflight" && /^\d{1,3}$/.test(value ?? "")) source.inFlight = Number(value);
  else throw new Err("EINVAL", `"${excerpt(word)}" is none of ${WORDS}`);
}

/** `64M`, `1g`, `4096`. */
export function parseBytes(text: string): number {
  const [, digits, unit] = /^(\d{1,12})([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new Err("EINVAL", `"${excerpt(text)}" is no size (try: 64M)`);
  return Number(digits) * UNITS[unit.toLowerCase()];
}

/** Who opens it, and for whom. */
export interface OpenContext {
  queues: QueueTable | undefined;
  owner: string;
  now(): number;
  random(bytes: Uint8Array): void;
  /** Take it from this plugin's instance before. */
  takeOver: boolean;
  /** Where the disks are whose path is relative; empty where there is no such place. */
  folder: string;
  /** The same for what a disk is filled with: the image's folder. */
  image: string;
  /** Lets others run between two pieces of work. */
  turn?(): Promise<void>;
  onRevoke(): Promise<void>;
  /** Opens a file of the name space; not there where the plugin has none. */
  openFile?(path: string, readOnly: boolean): Promise<Disk>;
}

/** A volume that was made just now: how many files, directories among them, it was filled with, and from where. */
export interface Made {
  files: number;
  from: string;
}

/** A disk that is ours. */
export interface OpenedDisk extends OwnedDisk {
  readonly made: Made | null;
  /** Why it can only be read, though it was to be written. */
  readonly refused?: Err;
}

/** A disk that is ours, why it can only be read, and the file that was made for it. */
interface Taken {
  owned: OwnedDisk;
  refused?: Err;
  created?: BlkFile;
}

/** Opens what a source names; owned until it is released. */
export async function openSource(source: Source, context: OpenContext): Promise<OpenedDisk> {
  if (isRam(source)) return await freshRam(source, context);
  const inTree = /^ns!(.+)$/s.exec(source.disk)?.[1];
  const { owned, refused, created } =
    await (inTree === undefined ? ownHostFile(source, context) : ownInTree(inTree, source, context));
  try {
    const made = await makeIfBlank({ owned, refused, created }, source, context);
    const disk = source.part === "" ? owned.disk : await partOf(owned.disk, source);
    return { disk, made, refused, release: () => owned.release() };
  } catch (thrown) {
    await created?.remove();
    await owned.release();
    throw thrown;
  }
}

/** Where the file of a disk is. */
export function diskPath(disk: string, context: { folder: string }): string {
  return disk.startsWith("/") || context.folder === "" ? disk : `${context.folder}/${disk}`;
}

/**
 * The same, which has to be a path from the root: the host's current directory is nobody's business. `option` is the one
 * that says the folder.
 */
export function hostPath(disk: string, { folder }: { folder: string }, option = "folder"): string {
  const path = diskPath(disk, { folder });
  if (path.startsWith("/")) return path;
  if (folder !== "") {
    throw new Err(
      "EINVAL",
      `the option ${option} is "${excerpt(folder, PATH_CHARS)}", no path that begins with a slash`,
    );
  }
  const where = `the option ${option}, which says where such are, is empty`;
  throw new Err(
    "EINVAL",
    `"${
      excerpt(path, PATH_CHARS)
    }" is no path that begins with a slash, and ${where} (try: a path from /, or the option)`,
  );
}

/** What a disk that is made is filled with: a path of the host. */
export function treePath(source: Source, context: { image: string }): string {
  return hostPath(source.from, { folder: context.image.replace(/\/$/, "") }, "image");
}

/** What a volume that is made is called on its disk. */
export function labelOf(source: Source): string {
  return source.name.slice(0, MAX_LABEL);
}

/** Takes a file or device of the host; makes a file that is not there, if that is wanted. */
async function ownHostFile(source: Source, context: OpenContext): Promise<Taken> {
  const path = hostPath(source.disk, context), { direct, inFlight, create } = source;
  try {
    return await writableIfCan(source, (readOnly) => {
      return own(path, context, () => new BlkFile(path, { readOnly, direct, inFlight }));
    });
  } catch (thrown) {
    if (create === 0 || toErr(thrown).code !== "ENOENT") throw thrown;
  }
  const { checkOrigin } = await import("./make.ts");
  checkOrigin(source, context);
  let created: BlkFile | undefined;
  const owned = await own(path, context, () => {
    BlkFile.create(path, create - (create % DISK_UNIT), { folders: true }).close();
    return created = new BlkFile(path, { direct, inFlight }); // for writing, also if the volume is not to be written
  });
  return { owned, created };
}

async function ownInTree(path: string, source: Source, context: OpenContext): Promise<Taken> {
  return await writableIfCan(source, async (readOnly) => {
    const file = await openInTree(path, readOnly, context);
    try {
      return await own(source.disk, context, () => file);
    } catch (thrown) {
      await file.close?.();
      throw thrown;
    }
  });
}

/** As mount(8) does: what can not be opened to be written is opened to be read, unless it has to be written. */
async function writableIfCan(
  { readOnly, mustWrite }: Source,
  open: (readOnly: boolean) => Promise<OwnedDisk>,
): Promise<Taken> {
  try {
    return { owned: await open(readOnly) };
  } catch (thrown) {
    const refused = toErr(thrown);
    if (readOnly || mustWrite || !UNWRITABLE.includes(refused.code)) throw thrown;
    return { owned: await open(true).catch(() => Promise.reject(refused)), refused };
  }
}

async function own(path: string, context: OpenContext, open: () => Disk): Promise<OwnedDisk> {
  const { owner, takeOver, onRevoke } = context;
  return await ownDisk(context.queues, { path, owner, open, takeOver, onRevoke });
}

/** Makes a volume on a disk that begins with zeros: one that is new, or whose making was cut off. */
async function makeIfBlank(
  { owned: { disk }, refused, created }: Taken,
  source: Source,
  context: OpenContext,
): Promise<Made | null> {
  const isNew = created !== undefined;
  if (source.create === 0 || !(isNew || await isBlank(disk))) return null;
  if (refused) throw refused;
  const { makeOn } = await import("./make.ts");
  return await makeOn(disk, source, context, isNew);
}

async function isBlank(disk: Disk): Promise<boolean> {
  const head = new Uint8Array(HEAD_BYTES);
  await disk.read(head, 0);
  return head.every((byte) => byte === 0);
}

async function openInTree(path: string, readOnly: boolean, context: OpenContext): Promise<Disk> {
  if (!path.startsWith("/")) {
    throw new Err("EINVAL", `ns!DISK: "${excerpt(path, PATH_CHARS)}" is no path that begins with a slash`);
  }
  if (!context.openFile) throw new Err("EOPNOTSUPP", "the name space is at hand for placement inline alone");
  return await context.openFile(path, readOnly);
}

async function partOf(disk: Disk, source: Source): Promise<Disk> {
  const { parts } = await readPartitions(disk), { part } = source;
  const found = parts.find((p) => p.name === part || p.name === `part${part}` || (p.label !== "" && p.label === part));
  if (!found) {
    const names = parts.map((p) => p.name).join(" ") || "none";
    throw new Err("ENOENT", `${source.disk} has no partition ${part} (there are: ${names})`);
  }
  const { sectorBytes } = disk;
  return new DiskPart(disk, { start: found.start * sectorBytes, size: (found.end - found.start) * sectorBytes });
}

function isRam(source: Source): boolean {
  return source.disk.startsWith("ram!");
}

async function freshRam(source: Source, context: OpenContext): Promise<OpenedDisk> {
  const bytes = parseBytes(source.disk.slice("ram!".length)), disk = new BlkRam(bytes - (bytes % RAM_UNIT));
  const { makeOn } = await import("./make.ts"), made = await makeOn(disk, source, context, true);
  return { disk, made: source.from === "" ? null : made, release() {} }; // that it is new goes without saying
}
