/**
 * Trees for the program disk: folders of the host, disks and archives, each as a row of entries; and rows into folders
 * and archives.
 *
 * Layer: cmd. Extended attributes of the host's files are out of Deno's reach: they are neither read nor written.
 *
 * What holds always: nothing is written outside of the folder that was named: a symlink on the way is refused.
 */

import { createHash } from "node:crypto";
import { lchown } from "node:fs/promises";
import { Err } from "../core/err.ts";
import { errnoErr, libcCalls } from "../core/host/libc.ts";
import { S_IFBLK, S_IFCHR, S_IFIFO } from "../core/p9/mode.ts";
import { BlkFile } from "../devices/blkfile.ts";
import { type Archive, type ArchiveEntry, type EntryKind, newEntry } from "../fs/archive.ts";
import { Ext2 } from "../fs/ext2/fs.ts";
import { packExt2 } from "../fs/ext2/pack.ts";
import { readTar, writeTar } from "../fs/tar.ts";

const calls = libcCalls({
  mknod: { parameters: ["buffer", "u32", "u64"], result: "i32" },
}, "make a device or fifo");

const EXT2_MAGIC_AT = 1024 + 56, PIECE_BYTES = 1 << 18;

/** The tree that a path names: a folder, a disk, or an archive. */
export async function* openTree(path: string): AsyncGenerator<ArchiveEntry> {
  if (path !== "-" && (await Deno.stat(path)).isDirectory) yield* packFolder(path, "", new Map());
  else if (path !== "-" && await isExt2(path)) yield* packDisk(path);
  else yield* readArchive(path);
}

async function isExt2(path: string): Promise<boolean> {
  using file = await Deno.open(path);
  const magic = new Uint8Array(2);
  await file.seek(EXT2_MAGIC_AT, Deno.SeekMode.Start);
  return await file.read(magic) === 2 && magic[0] === 0x53 && magic[1] === 0xef;
}

async function* packDisk(path: string): AsyncGenerator<ArchiveEntry> {
  const disk = new BlkFile(path, { readOnly: true });
  try {
    yield* packExt2(await Ext2.open(disk, { now: Date.now, readOnly: true }));
  } finally {
    await disk.close();
  }
}

/** All files below a folder but sockets; `names` has the first name of each file with several. */
async function* packFolder(root: string, path: string, names: Map<string, string>): AsyncGenerator<ArchiveEntry> {
  const at = path === "" ? root : `${root}/${path}`, info = await (path === "" ? Deno.stat(at) : Deno.lstat(at));
  const kind = kindOf(info);
  if (!kind) return;
  const id = `${info.dev}:${info.ino}`, first = kind === "file" && (info.nlink ?? 1) > 1 ? names.get(id) : undefined;
  const entry = newEntry(path, first === undefined ? kind : "link");
  const ms = info.mtime?.getTime() ?? 0, sec = Math.floor(ms / 1000);
  entry.mode = (info.mode ?? 0o644) & 0o7777;
  [entry.uid, entry.gid] = [info.uid ?? 0, info.gid ?? 0];
  entry.mtime = { sec, nsec: Math.floor((ms - sec * 1000) * 1e6) };
  if (first !== undefined) entry.target = first;
  else if (kind === "symlink") entry.target = await Deno.readLink(at);
  else if (kind === "char" || kind === "block") [entry.major, entry.minor] = deviceOf(info.rdev ?? 0);
  else if (kind === "file") {
    entry.size = info.size;
    entry.data = fileData(at, info.size);
  }
  names.set(id, path);
  yield entry;
  if (kind !== "dir") return;
  const children: string[] = [];
  for await (const child of Deno.readDir(at)) children.push(child.name);
  for (const name of children.sort()) yield* packFolder(root, path === "" ? name : `${path}/${name}`, names);
}

function kindOf(info: Deno.FileInfo): EntryKind | undefined {
  if (info.isFile) return "file";
  if (info.isDirectory) return "dir";
  if (info.isSymlink) return "symlink";
  if (info.isCharDevice) return "char";
  if (info.isBlockDevice) return "block";
  return info.isFifo ? "fifo" : undefined;
}

/** Major and minor number of a device, as Linux packs them. */
function deviceOf(rdev: number): [number, number] {
  return [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)];
}

/** `size` bytes of a file: one that grew meanwhile is cut, one that shrank is filled up by nobody and refused later. */
async function* fileData(path: string, size: number): AsyncGenerator<Uint8Array> {
  using file = await Deno.open(path);
  for (let left = size; left > 0;) {
    const piece = new Uint8Array(Math.min(left, PIECE_BYTES)), count = await file.read(piece);
    if (count === null) return;
    yield piece.subarray(0, count);
    left -= count;
  }
}

/** The entries of a tar file, compressed or not; "-" is standard input. */
async function* readArchive(path: string): AsyncGenerator<ArchiveEntry> {
  const bytes = path === "-" ? Deno.stdin.readable : (await Deno.open(path)).readable;
  const reader = bytes.getReader(), head = await reader.read();
  reader.releaseLock();
  const rest = ReadableStream.from(joined(head.value ?? new Uint8Array(0), bytes));
  const isGzip = head.value?.[0] === 0x1f && head.value?.[1] === 0x8b;
  try {
    yield* readTar(isGzip ? rest.pipeThrough(new DecompressionStream("gzip")) : rest);
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown;
    throw new Err("EINVAL", `${path}: damaged: ${thrown.message}`, { cause: thrown });
  }
}

async function* joined(head: Uint8Array, rest: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield head as Uint8Array<ArrayBuffer>;
  for await (const piece of rest) yield piece as Uint8Array<ArrayBuffer>;
}

/** Writes a tree as a tar file. */
export async function writeArchive(tree: Archive, to: WritableStream<Uint8Array>, gzip: boolean): Promise<void> {
  const bytes = ReadableStream.from(writeTar(tree) as AsyncGenerator<Uint8Array<ArrayBuffer>>);
  await (gzip ? bytes.pipeThrough(new CompressionStream("gzip")) : bytes).pipeTo(to);
}

/** The SHA-256 of the tar file that a tree makes. */
export async function digestOf(tree: Archive): Promise<Uint8Array> {
  const hash = createHash("sha256");
  for await (const piece of writeTar(tree)) hash.update(piece);
  return new Uint8Array(hash.digest());
}

/** The tree with an owner, and nothing in it later than `latest` seconds since 1970. */
export async function* changed(
  tree: Archive,
  how: { owner?: { uid: number; gid: number }; latest: number },
): AsyncGenerator<ArchiveEntry> {
  for await (const entry of tree) {
    if (how.owner) Object.assign(entry, how.owner);
    if (entry.mtime.sec >= how.latest) entry.mtime = { sec: how.latest, nsec: 0 };
    yield entry;
  }
}

/** Makes a tree's files in a folder. Owners and devices are made by root alone. */
export async function unpackFolder(root: string, tree: Archive): Promise<void> {
  await Deno.mkdir(root, { recursive: true });
  const dirs: ArchiveEntry[] = [];
  for await (const entry of tree) {
    const path = await placeIn(root, entry.path);
    if (entry.kind === "dir") {
      await makeFolder(path);
      dirs.push(entry);
      continue;
    }
    await makeFile(root, path, entry);
    if (entry.kind !== "link") await setAttributes(path, entry);
  }
  for (const entry of dirs.reverse()) await setAttributes(`${root}/${entry.path}`, entry);
}

/** The path of an entry in a folder; the directories on the way are made, and are no symlinks. */
async function placeIn(root: string, path: string): Promise<string> {
  const parts = path.split("/");
  for (let i = 1; i < parts.length; i++) await makeFolder(`${root}/${parts.slice(0, i).join("/")}`);
  return path === "" ? root : `${root}/${path}`;
}

async function makeFolder(path: string): Promise<void> {
  const there = await Deno.lstat(path).catch(() => null);
  if (!there) await Deno.mkdir(path);
  else if (!there.isDirectory) throw new Err("ENOTDIR", `${path} is in the way`);
}

async function makeFile(root: string, path: string, entry: ArchiveEntry): Promise<void> {
  if (await Deno.lstat(path).catch(() => null)) throw new Err("EEXIST", `${path} is there already`);
  if (entry.kind === "symlink") await Deno.symlink(entry.target, path);
  else if (entry.kind === "link") await Deno.link(await placeIn(root, entry.target), path);
  else if (entry.kind === "file") {
    const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await ReadableStream.from((entry.data ?? []) as AsyncIterable<Uint8Array<ArrayBuffer>>).pipeTo(file.writable);
  } else makeNode(path, entry);
}

/** A device or fifo. */
function makeNode(path: string, { kind, major, minor }: ArchiveEntry): void {
  const type = kind === "char" ? S_IFCHR : kind === "block" ? S_IFBLK : S_IFIFO;
  const name = new TextEncoder().encode(`${path}\0`),
    device = BigInt((minor >> 8) * 2 ** 20 + (major << 8) + (minor & 0xff));
  if (calls().mknod(name, type | 0o600, device) < 0) throw errnoErr(`cannot make ${path}, a ${kind} file`);
}

async function setAttributes(path: string, entry: ArchiveEntry): Promise<void> {
  const { uid, gid, mode, mtime: { sec, nsec } } = entry;
  if (Deno.uid() === 0) await lchown(path, uid, gid);
  if (entry.kind === "symlink") return;
  await Deno.chmod(path, mode);
  await Deno.utime(path, sec + nsec / 1e9, sec + nsec / 1e9);
}
