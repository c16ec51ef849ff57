/**
 * Archives in cpio's "newc" format, which is what Linux unpacks as its initramfs.
 *
 * Layer: tests/interop, pure. Archives may be put one behind the other: the kernel unpacks them in turn, so what
 * stays the same is built once, and what a run adds is appended.
 *
 * See Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
 */

/** One file of an archive: a directory where `data` is absent. Its parents have to be there before it. */
export interface CpioEntry {
  /** Path without a leading slash. */
  path: string;
  data?: Uint8Array | string;
  /** Permission bits; 0755 where not given. */
  perm?: number;
}

const S_IFREG = 0o100000, S_IFDIR = 0o040000;
const text = new TextEncoder();

/** An archive of `entries` in their order, padded to 512 bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => parts.push(...member(entry, index + 1)));
  parts.push(...member({ path: "TRAILER!!!", data: "", perm: 0 }, 0));
  return concat(parts, 512);
}

function member(entry: CpioEntry, ino: number): Uint8Array[] {
  const name = text.encode(entry.path + "\0");
  const data = typeof entry.data === "string" ? text.encode(entry.data) : entry.data ?? new Uint8Array();
  const mode = (entry.data === undefined ? S_IFDIR : S_IFREG) | (entry.perm ?? 0o755);
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [ino, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
  const header = text.encode("070701" + fields.map((f) => f.toString(16).padStart(8, "0")).join(""));
  return [concat([header, name], 4), concat([data], 4)];
}

function concat(parts: readonly Uint8Array[], align: number): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const all = new Uint8Array(Math.ceil(length / align) * align);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
