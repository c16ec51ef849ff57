/**
 * Trees in and out of an ext2 volume: its files as an archive, and an archive's files into it.
 *
 * Layer: fs/ext2, above fs.ts; plain use of what Ext2 offers.
 *
 * What holds always: names are taken in the order of their code units, so that the same tree gives the same row, and the
 * same row, put into a new volume whose clock stands still, the same bytes. Blocks of zeros become holes.
 */

import { Err } from "../../core/err.ts";
import { type Archive, type ArchiveEntry, type EntryKind, newEntry } from "../archive.ts";
import type { Ext2, Stat } from "./fs.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "./layout.ts";

const MODES: Record<Exclude<EntryKind, "link">, number> = {
  file: S_IFREG,
  dir: S_IFDIR,
  symlink: S_IFLNK,
  char: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
};
const PIECE_BYTES = 1 << 18, LIST_ENTRIES = 500;

/** All files of a volume but `lost+found` and sockets. */
export async function* packExt2(fs: Ext2): AsyncGenerator<ArchiveEntry> {
  const names = new Map<number, string>();
  yield* packBelow(fs, fs.root, "", names);
}

async function* packBelow(
  fs: Ext2,
  ino: number,
  path: string,
  names: Map<number, string>,
): AsyncGenerator<ArchiveEntry> {
  const stat = await fs.stat(ino), format = stat.mode & S_IFMT;
  const kind = (Object.keys(MODES) as Exclude<EntryKind, "link">[]).find((k) => MODES[k] === format);
  if (!kind) return;
  const first = kind === "dir" || stat.links < 2 ? undefined : names.get(ino);
  const entry = newEntry(path, first === undefined ? kind : "link");
  fill(entry, stat);
  if (first !== undefined) entry.target = first;
  else await fillContent(fs, ino, entry, stat);
  names.set(ino, path);
  yield entry;
  if (kind !== "dir") return;
  for (const [name, child] of await entriesOf(fs, ino)) {
    if (path === "" && name === "lost+found") continue;
    yield* packBelow(fs, child, path === "" ? name : `${path}/${name}`, names);
  }
}

function fill(entry: ArchiveEntry, stat: Stat): void {
  entry.mode = stat.mode & 0o7777;
  entry.uid = stat.uid;
  entry.gid = stat.gid;
  entry.mtime = { sec: stat.mtime, nsec: stat.mtimeNsec };
}

async function fillContent(fs: Ext2, ino: number, entry: ArchiveEntry, stat: Stat): Promise<void> {
  for (const name of await fs.listxattr(ino)) entry.xattrs.set(name, await fs.getxattr(ino, name));
  if (entry.kind === "symlink") entry.target = await fs.readlink(ino);
  if (entry.kind === "char" || entry.kind === "block") [entry.major, entry.minor] = [stat.major, stat.minor];
  if (entry.kind !== "file") return;
  entry.size = stat.size;
  entry.data = dataOf(fs, ino, stat.size);
}

async function* dataOf(fs: Ext2, ino: number, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size;) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, size - at)), count = await fs.read(ino, piece, at);
    if (count === 0) throw new Err("EIO", "a file ended before its end");
    yield piece.subarray(0, count);
    at += count;
  }
}

async function entriesOf(fs: Ext2, ino: number): Promise<[string, number][]> {
  const entries: [string, number][] = [];
  for (let cookie = 0;;) {
    const part = await fs.readdir(ino, cookie, LIST_ENTRIES);
    if (part.length === 0) break;
    for (const { name, ino } of part) if (name !== "." && name !== "..") entries.push([name, ino]);
    cookie = part.at(-1)!.next;
  }
  return entries.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Makes all files of an archive. EEXIST where something other than a directory is in the way; missing directories are made. */
export async function unpackExt2(fs: Ext2, archive: Archive): Promise<void> {
  const dirs = new Map<string, number>([["", fs.root]]), late: (() => Promise<void>)[] = [];
  for await (const entry of archive) {
    const cut = entry.path.lastIndexOf("/"), name = entry.path.slice(cut + 1);
    const dir = await dirOf(fs, dirs, cut < 0 ? "" : entry.path.slice(0, cut));
    if (entry.kind === "link") await fs.link(await find(fs, entry.target), dir, name);
    else if (entry.kind === "dir") {
      const ino = await dirOf(fs, dirs, entry.path);
      late.push(() => setAttributes(fs, ino, entry));
    } else await setAttributes(fs, await makeFile(fs, dir, name, entry), entry);
  }
  // What is put into a directory changes its times: they are set last, from the leaves up.
  for (const set of late.reverse()) await set();
}

/** The directory of that path, made if it is not there. */
async function dirOf(fs: Ext2, dirs: Map<string, number>, path: string): Promise<number> {
  const known = dirs.get(path);
  if (known !== undefined) return known;
  const cut = path.lastIndexOf("/"), name = path.slice(cut + 1);
  const parent = await dirOf(fs, dirs, cut < 0 ? "" : path.slice(0, cut));
  let ino: number;
  try {
    ino = await fs.make(parent, name, { mode: S_IFDIR | 0o755, uid: 0, gid: 0 });
  } catch (thrown) {
    if (!(thrown instanceof Err) || thrown.code !== "EEXIST") throw thrown;
    ino = await fs.lookup(parent, name);
    if (((await fs.stat(ino)).mode & S_IFMT) !== S_IFDIR) throw thrown;
  }
  dirs.set(path, ino);
  return ino;
}

async function find(fs: Ext2, path: string): Promise<number> {
  let ino = fs.root;
  for (const name of path.split("/")) ino = await fs.lookup(ino, name);
  return ino;
}

async function makeFile(fs: Ext2, dir: number, name: string, entry: ArchiveEntry): Promise<number> {
  const { uid, gid, major, minor, target, kind } = entry, mode = MODES[kind as "file"] | entry.mode;
  const ino = await fs.make(dir, name, { mode, uid, gid, major, minor, target });
  if (kind !== "file" || !entry.data) return ino;
  let at = 0;
  for await (const piece of entry.data) {
    await writeSparse(fs, ino, piece, at);
    at += piece.length;
  }
  if (at !== entry.size) throw new Err("EIO", `${entry.path}: ${at} bytes, not ${entry.size}`);
  if ((await fs.stat(ino)).size < at) await fs.setattr(ino, { size: at });
  return ino;
}

/** Writes a piece, but for what are whole blocks of zeros. */
async function writeSparse(fs: Ext2, ino: number, piece: Uint8Array, offset: number): Promise<void> {
  const { blockSize } = fs.statfs();
  for (let from = 0; from < piece.length;) {
    let to = from, isZero = true;
    do {
      const end = Math.min(piece.length, to + blockSize - ((offset + to) % blockSize));
      const zero = end - to === blockSize && isAllZero(piece, to, end);
      if (to === from) isZero = zero;
      else if (zero !== isZero) break;
      to = end;
    } while (to < piece.length);
    if (!isZero) {
      const count = await fs.write(ino, piece.subarray(from, to), offset + from);
      if (count < to - from) throw new Err("ENOSPC");
    }
    from = to;
  }
}

function isAllZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false;
  return true;
}

async function setAttributes(fs: Ext2, ino: number, entry: ArchiveEntry): Promise<void> {
  for (const [name, value] of entry.xattrs) await fs.setxattr(ino, name, value);
  const { uid, gid, mtime } = entry, mode = entry.kind === "symlink" ? undefined : entry.mode;
  await fs.setattr(ino, { mode, uid, gid, mtime, atime: mtime });
}
