/**
 * Inline data of ext4, read only: small files and directories that lie in their inode.
 *
 * Layer: fs/ext2, above xattr: the first 60 bytes are where the pointers would be, the rest is an attribute.
 */

import type { Inode } from "./inode.ts";
import { IN } from "./layout.ts";
import type { Volume } from "./volume.ts";
import { inlineValue } from "./xattr.ts";

/** The bytes of a file with inline data, as long as the file (for a directory: as long as its room). */
export function inlineData(vol: Volume, inode: Inode): Uint8Array {
  const rest = inlineValue(vol, inode);
  const all = new Uint8Array(60 + rest.length);
  all.set(inode.raw.subarray(IN.block, IN.block + 60));
  all.set(rest, 60);
  return inode.isDir ? all : all.subarray(0, Math.min(all.length, inode.size));
}
