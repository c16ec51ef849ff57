/**
 * Archive: a tree of files as a row of entries, the form in which trees go from one place to another: a tar file, a
 * folder, an ext2 volume.
 *
 * Layer: fs, a leaf. tar.ts and ext2/pack.ts read and write such rows; what does it for folders of the host is a
 * program's.
 *
 * What holds always: a directory comes before what is in it, and a file before its further names. Paths are relative,
 * with slashes, without "." and ".."; that of the root is empty. An entry's data is read before the next entry is asked for.
 */

import { Err } from "../core/err.ts";

/** What an entry is. `link` is one more name of the file `target`, which came before. */
export type EntryKind = "file" | "dir" | "symlink" | "link" | "char" | "block" | "fifo";

/** One file of a tree. */
export interface ArchiveEntry {
  path: string;
  kind: EntryKind;
  /** Permissions: twelve bits. */
  mode: number;
  uid: number;
  gid: number;
  mtime: { sec: number; nsec: number };
  /** Bytes of a file; else 0. */
  size: number;
  /** Of a symlink as it is, of a link the other's path; else empty. */
  target: string;
  /** Of a device. */
  major: number;
  minor: number;
  /** Extended attributes. */
  xattrs: Map<string, Uint8Array>;
  /** A file's bytes, `size` in all; null for what is none. */
  data: AsyncIterable<Uint8Array> | null;
}

/** A row of entries. */
export type Archive = AsyncIterable<ArchiveEntry>;

/** An entry without anything in it. */
export function newEntry(path: string, kind: EntryKind): ArchiveEntry {
  const mtime = { sec: 0, nsec: 0 };
  return {
    path,
    kind,
    mode: 0,
    uid: 0,
    gid: 0,
    mtime,
    size: 0,
    target: "",
    major: 0,
    minor: 0,
    xattrs: new Map(),
    data: null,
  };
}

/** A path as entries have it. EINVAL for one that leads out of the tree. */
export function cleanPath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..") || path.includes("\0")) throw new Err("EINVAL", `"${path}" leads out of the tree`);
  return parts.join("/");
}
