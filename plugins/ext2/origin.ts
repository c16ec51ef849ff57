/**
 * Trees of the host as rows of entries: folders, disks and archives; what a new volume is filled from.
 *
 * Layer: plugins/ext2, over devices/hostfs and fs. The program disk (cmd/disk_trees.ts) reads trees by the same code.
 *
 * What holds always: names come in the order of their code units. No symlink below the path is followed. Extended
 * attributes of a host's folder are not read, sockets left out. Errors name the path.
 */

import { Err, toErr } from "../../core/err.ts";
import type { U64 } from "../../core/p9/types.ts";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from "../../core/p9/mode.ts";
import { dirAndName, errOn } from "../../core/path.ts";
import { BlkFile } from "../../devices/blkfile.ts";
import { HostFs, type HostStat, O_DIRECTORY, O_PATH, O_RDONLY } from "../../devices/hostfs.ts";
import { type ArchiveEntry, type EntryKind, newEntry } from "../../fs/archive.ts";
import { ARCHIVE_HEAD_BYTES, isArchive, readArchive } from "../../fs/archive_file.ts";
import { Ext2 } from "../../fs/ext2/fs.ts";
import { packExt2 } from "../../fs/ext2/pack.ts";

/** How a tree is read. */
export interface TreeOptions {
  /**
   * Seconds since 1970. A folder of an image is out of a checkout, where owners, times and permissions come of who made
   * it and when. With this all in a folder is root's, has this time, and the permissions 755 or 644. Disks and archives
   * say such things themselves.
   */
  settled?: number;
  /** Lets others run between two pieces of work. */
  turn?: () => Promise<void>;
}

const KINDS = new Map<number, EntryKind>([
  [S_IFREG, "file"],
  [S_IFDIR, "dir"],
  [S_IFLNK, "symlink"],
  [S_IFCHR, "char"],
  [S_IFBLK, "block"],
  [S_IFIFO, "fifo"],
]);
const EXT2_MAGIC_AT = 1024 + 56, EXT2_MAGIC = [0x53, 0xef];
const PIECE_BYTES = 1 << 18, LIST_BYTES = 1 << 15, TURN_ENTRIES = 32;

/** Throws why no tree can be read from `path`: it is not there, or may not be read. */
export function checkTree(path: string): void {
  const host = new HostFs();
  host.close(openPath(host, path).fd);
}

/** The tree that a path of the host names: a folder, a disk, or an archive. */
export async function* openTree(path: string, options: TreeOptions = {}): AsyncGenerator<ArchiveEntry> {
  const host = new HostFs(), { fd, isFolder } = openPath(host, path);
  try {
    if (isFolder) yield* new Folder(host, path, options).walk(fd);
    else if (isExt2(host, fd)) yield* packDisk(path);
    else if (!isArchive(headOf(host, fd))) throw new Err("EINVAL", `${path} is no folder, no archive and no disk`);
    else yield* readArchive(piecesOf(host, { fd, size: Infinity, path }, options), path);
  } finally {
    host.close(fd);
  }
}

/** Opens a folder, which a symlink may name, or a file. */
function openPath(host: HostFs, path: string): { fd: number; isFolder: boolean } {
  const [parent, name] = dirAndName(path);
  try {
    const fd = through(host, host.openRoot(path), (dir) => host.reopen(dir, O_RDONLY | O_DIRECTORY));
    return { fd, isFolder: true };
  } catch (thrown) {
    if (toErr(thrown).code !== "ENOTDIR") throw errOn(path, thrown);
  }
  const open = () => through(host, host.openRoot(parent), (dir) => host.openAt(dir, name, O_RDONLY));
  return { fd: telling(path, open), isFolder: false };
}

/** What `use` answers; `fd` is closed then. */
function through<T>(host: HostFs, fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    host.close(fd);
  }
}

/** A folder that is gone through. */
class Folder {
  readonly #host: HostFs;
  readonly #root: string;
  readonly #options: TreeOptions;
  /** The first name of each file with several, by device and inode. */
  readonly #names = new Map<string, string>();
  /** Where it is, and after how many entries. */
  #at = "";
  #count = 0;

  constructor(host: HostFs, root: string, options: TreeOptions) {
    this.#host = host;
    this.#root = root;
    this.#options = options;
  }

  /** All files of the folder that `fd` is of. */
  async *walk(fd: number): AsyncGenerator<ArchiveEntry> {
    try {
      yield this.#entry("", "dir", this.#host.stat(fd));
      yield* this.#below(fd, "");
    } catch (thrown) {
      throw errOn(this.#path(this.#at), thrown);
    }
  }

  async *#below(dir: number, path: string): AsyncGenerator<ArchiveEntry> {
    const host = this.#host;
    for (const name of namesIn(host, dir)) {
      const at = this.#at = path === "" ? name : `${path}/${name}`;
      if (++this.#count % TURN_ENTRIES === 0) await this.#options.turn?.();
      const stat = host.statAt(dir, name), kind = KINDS.get(stat.mode & S_IFMT);
      if (!kind) continue;
      const entry = this.#entry(at, kind, stat);
      if (kind !== "dir") {
        yield this.#filled(entry, stat, { dir, name });
        continue;
      }
      yield entry;
      const fd = host.openAt(dir, name, O_RDONLY | O_DIRECTORY);
      try {
        yield* this.#below(fd, at);
      } finally {
        host.close(fd);
      }
    }
  }

  #entry(path: string, kind: EntryKind, stat: HostStat): ArchiveEntry {
    const entry = newEntry(path, kind), { settled } = this.#options;
    entry.mode = stat.mode & 0o7777;
    entry.uid = stat.uid;
    entry.gid = stat.gid;
    entry.mtime = { sec: stat.mtime, nsec: stat.mtimeNsec };
    if (settled !== undefined) settle(entry, settled);
    return entry;
  }

  /** The entry, with what directories have not. */
  #filled(entry: ArchiveEntry, stat: HostStat, { dir, name }: { dir: number; name: string }): ArchiveEntry {
    const { kind, path } = entry, id = `${stat.dev}:${stat.ino}`, host = this.#host;
    const first = kind === "file" && stat.nlink > 1 ? this.#names.get(id) : undefined;
    if (first !== undefined) return Object.assign(entry, { kind: "link", target: first });
    this.#names.set(id, path);
    if (kind === "symlink") entry.target = through(host, host.openAt(dir, name, O_PATH), (fd) => host.readlink(fd));
    else if (kind === "char" || kind === "block") [entry.major, entry.minor] = [stat.rdevMajor, stat.rdevMinor];
    else if (kind === "file") {
      entry.size = stat.size;
      entry.data = this.#data({ dir, name }, entry);
    }
    return entry;
  }

  async *#data({ dir, name }: { dir: number; name: string }, entry: ArchiveEntry): AsyncGenerator<Uint8Array> {
    const host = this.#host, path = this.#path(entry.path);
    const fd = telling(path, () => host.openAt(dir, name, O_RDONLY));
    try {
      yield* piecesOf(host, { fd, size: entry.size, path }, this.#options);
    } finally {
      host.close(fd);
    }
  }

  #path(path: string): string {
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }
}

/** What `call` answers; its error is told of the path. */
function telling<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw errOn(path, thrown);
  }
}

function settle(entry: ArchiveEntry, seconds: number): void {
  const mayRun = entry.kind === "dir" || (entry.mode & 0o100) !== 0;
  entry.uid = entry.gid = 0;
  entry.mtime = { sec: seconds, nsec: 0 };
  entry.mode = entry.kind === "symlink" ? 0o777 : mayRun ? 0o755 : 0o644;
}

function namesIn(host: HostFs, dir: number): string[] {
  const names: string[] = [];
  for (let cookie: U64 = 0;;) {
    const part = host.list(dir, cookie, LIST_BYTES);
    if (part.length === 0) return names.sort();
    for (const { name } of part) names.push(name);
    cookie = part.at(-1)!.next;
  }
}

/** At most `size` bytes of an open file: one that grew meanwhile is cut, one that shrank is refused by who counts. */
async function* piecesOf(
  host: HostFs,
  { fd, size, path }: { fd: number; size: number; path: string },
  { turn }: TreeOptions,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size;) {
    const piece = new Uint8Array(Math.min(size - at, PIECE_BYTES)), from = at;
    const count = telling(path, () => host.read(fd, piece, from));
    if (count === 0) return;
    yield piece.subarray(0, count);
    at += count;
    if (at < size) await turn?.();
  }
}

function isExt2(host: HostFs, fd: number): boolean {
  const magic = new Uint8Array(EXT2_MAGIC.length);
  return host.read(fd, magic, EXT2_MAGIC_AT) === magic.length && EXT2_MAGIC.every((byte, i) => magic[i] === byte);
}

function headOf(host: HostFs, fd: number): Uint8Array {
  const head = new Uint8Array(ARCHIVE_HEAD_BYTES);
  return head.subarray(0, host.read(fd, head, 0));
}

async function* packDisk(path: string): AsyncGenerator<ArchiveEntry> {
  const disk = new BlkFile(path, { readOnly: true });
  try {
    yield* packExt2(await Ext2.open(disk, { now: () => 0, readOnly: true }));
  } finally {
    await disk.close();
  }
}
