/**
 * Trees for the program disk: what a path names as a row of entries, and rows into folders.
 *
 * Layer: cmd, over plugins/ext2/origin.ts, which reads trees. Extended attributes of the host's files are out of Deno's
 * reach: they are neither read nor written.
 *
 * What holds always: nothing is written outside of the folder that was named: a symlink on the way is refused.
 */

import { createHash } from "node:crypto";
import { lchown } from "node:fs/promises";
import { Err } from "../core/err.ts";
import { errnoErr, libcCalls } from "../core/host/libc.ts";
import { S_IFBLK, S_IFCHR, S_IFIFO } from "../core/p9/mode.ts";
import type { Archive, ArchiveEntry } from "../fs/archive.ts";
import { readArchive } from "../fs/archive_file.ts";
import { writeTar } from "../fs/tar.ts";
import { openTree } from "../plugins/ext2/origin.ts";

const calls = libcCalls({
  mknod: { parameters: ["buffer", "u32", "u64"], result: "i32" },
}, "make a device or fifo");

/** The tree that a path names: a folder, a disk, or an archive; "-" is an archive from standard input. */
export async function* openAnyTree(path: string): AsyncGenerator<ArchiveEntry> {
  if (path === "-") yield* readArchive(Deno.stdin.readable, "standard input");
  else yield* openTree(await Deno.realPath(path));
}

/** The SHA-256 of the tar file that a tree makes, and of a label. */
export async function digestOf(tree: Archive, label: string): Promise<Uint8Array> {
  const hash = createHash("sha256");
  for await (const piece of writeTar(tree)) hash.update(piece);
  hash.update(label);
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
