/**
 * Where a volume comes from: a file of the host, a file of the name space (`ns!PATH`), memory (`ram!SIZE`).
 *
 * Layer: plugins/ext2, over devices. What it opens is owned by queue (devices/disk_queue.ts), so that no disk has two
 * owners. A disk in memory is made with an empty volume on it.
 */

import { Err, toErr } from "../../core/err.ts";
import { tokenize } from "../../core/tree_ctl.ts";
import type { QueueTable } from "../../core/queues.ts";
import { BlkFile } from "../../devices/blkfile.ts";
import { BlkRam } from "../../devices/blkram.ts";
import { type Disk, DiskPart } from "../../devices/disk.ts";
import { ownDisk, type OwnedDisk } from "../../devices/disk_queue.ts";
import { readPartitions } from "../../devices/partition.ts";
import { mkfs } from "../../fs/ext2/mkfs.ts";
import type { AtimePolicy } from "./volume_dev.ts";

/** A volume as a user asks for it. */
export interface Source {
  /** What it is called: `#ext2.NAME`. */
  name: string;
  /** A file or device of the host, `ns!PATH`, or `ram!SIZE`. */
  disk: string;
  readOnly: boolean;
  /** A partition of the disk, by number or name; empty for the whole. */
  part: string;
  direct: boolean;
  inFlight: number;
  atime: AtimePolicy | undefined;
  /** Bytes; 0 is the plugin's own. */
  cacheBytes: number;
  /** Size in bytes of the disk that is made if there is none; 0: none is made. */
  create: number;
  /** A volume that was not closed is mended, as far as that is safe. */
  repair: boolean;
  /** That it can not be opened is told, and stops nothing. */
  optional: boolean;
}

/** Sizes of new disks are multiples of this; what of a disk is looked at to see whether it is blank. */
const DISK_UNIT = 65536, HEAD_BYTES = 4096;
const WORDS = "ro direct noatime relatime strictatime repair optional create= part= cache= inflight=";
const UNITS: Record<string, number> = { "": 1, k: 1 << 10, m: 1 << 20, g: 2 ** 30, t: 2 ** 40 };

/** `NAME=DISK WORD...` of an option. */
export function parseVolume(text: string): Source {
  const [first = "", ...words] = tokenize(text);
  const [, name, disk] = /^([^=]+)=(.+)$/s.exec(first) ?? [];
  if (name === undefined) throw new Err("EINVAL", `"${text}" is no NAME=DISK`);
  return parseSource(name, disk, words);
}

/** The words of a ctl message. */
export function parseSource(name: string, disk: string, words: string[]): Source {
  if (!/^[\w-][\w.-]{0,63}$/.test(name)) throw new Err("EINVAL", `"${name}" is no name for a volume`);
  const source: Source = {
    name,
    disk,
    readOnly: false,
    part: "",
    direct: false,
    inFlight: 0,
    atime: undefined,
    cacheBytes: 0,
    create: 0,
    repair: false,
    optional: false,
  };
  for (const word of words) applyWord(source, word);
  return source;
}

function applyWord(source: Source, word: string): void {
  const [key, value] = word.split("=", 2);
  if (word === "ro") source.readOnly = true;
  else if (word === "direct") source.direct = true;
  else if (word === "noatime" || word === "relatime" || word === "strictatime") source.atime = word;
  else if (word === "repair") source.repair = true;
  else if (word === "optional") source.optional = true;
  else if (key === "create" && value) source.create = parseBytes(value);
  else if (key === "part" && value) source.part = value;
  else if (key === "cache" && value) source.cacheBytes = parseBytes(value);
  else if (key === "inflight" && /^\d{1,3}$/.test(value ?? "")) source.inFlight = Number(value);
  else throw new Err("EINVAL", `"${word}" is none of ${WORDS}`);
}

/** `64M`, `1g`, `4096`. */
export function parseBytes(text: string): number {
  const [, digits, unit] = /^(\d{1,12})([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  if (digits === undefined) throw new Err("EINVAL", `"${text}" is no size (try: 64M)`);
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
  onRevoke(): Promise<void>;
  /** Opens a file of the name space; not there where the plugin has none. */
  openFile?(path: string, readOnly: boolean): Promise<Disk>;
}

/** Opens what a source names; owned until it is released. */
export async function openSource(source: Source, context: OpenContext): Promise<OwnedDisk> {
  const ram = /^ram!(.+)$/.exec(source.disk);
  if (ram) return freshRam(parseBytes(ram[1]), context);
  const inTree = /^ns!(.+)$/s.exec(source.disk)?.[1];
  const path = inTree === undefined ? hostPath(source.disk, context) : source.disk;
  const { readOnly } = source;
  const file = inTree === undefined ? undefined : await openInTree(inTree, readOnly, context);
  const owned = await ownDisk(context.queues, {
    path,
    owner: context.owner,
    open: () => file ?? openHostFile(path, source),
    takeOver: context.takeOver,
    onRevoke: context.onRevoke,
  }).catch(async (thrown) => {
    await file?.close?.();
    throw thrown;
  });
  try {
    if (source.create > 0) await formatBlank(owned.disk, source, context);
    if (source.part === "") return owned;
    return { disk: await partOf(owned.disk, source), release: owned.release };
  } catch (thrown) {
    await owned.release();
    throw thrown;
  }
}

/** Where the file of a disk is. */
export function diskPath(disk: string, context: { folder: string }): string {
  return disk.startsWith("/") || context.folder === "" ? disk : `${context.folder}/${disk}`;
}

/** The same, which has to be a path from the root: the host's current directory is nobody's business. */
export function hostPath(disk: string, context: { folder: string }): string {
  const path = diskPath(disk, context);
  if (!path.startsWith("/")) throw new Err("EINVAL", `"${path}" is no path that begins with a slash`);
  return path;
}

/** Opens a file or device of the host; makes a file that is not there, if that is wanted. */
function openHostFile(path: string, source: Source): Disk {
  const { readOnly, direct, inFlight, create } = source;
  const open = () => new BlkFile(path, { readOnly, direct, inFlight });
  try {
    return open();
  } catch (thrown) {
    if (create === 0 || toErr(thrown).code !== "ENOENT") throw thrown;
    BlkFile.create(path, create - (create % DISK_UNIT), { folders: true }).close();
    return open();
  }
}

/** Makes a volume on a disk whose beginning is all zeros: one that is new, or whose making was cut off. */
async function formatBlank(disk: Disk, source: Source, context: OpenContext): Promise<void> {
  const head = new Uint8Array(HEAD_BYTES), uuid = new Uint8Array(16);
  await disk.read(head, 0);
  if (head.some((byte) => byte !== 0)) return;
  context.random(uuid);
  await mkfs(disk, { uuid, now: context.now(), zeroed: true, label: source.name.slice(0, 16) });
}

async function openInTree(path: string, readOnly: boolean, context: OpenContext): Promise<Disk> {
  if (!path.startsWith("/")) throw new Err("EINVAL", `"${path}" is no path that begins with a slash`);
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

async function freshRam(bytes: number, context: OpenContext): Promise<OwnedDisk> {
  const disk = new BlkRam(bytes - (bytes % 4096)), uuid = new Uint8Array(16);
  context.random(uuid);
  await mkfs(disk, { uuid, now: context.now(), zeroed: true });
  return { disk, release() {} };
}
