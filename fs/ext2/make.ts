/**
 * A new volume with a tree on it, which is there whole or not at all.
 *
 * Layer: fs/ext2, above mkfs, fs and pack.
 *
 * What holds always: the same tree and the same options make the same bytes on a disk of zeros. The head of the disk,
 * where the superblock is, is written when all the rest is on stable storage: a volume whose making was cut off leaves
 * the head that was there, so that one on a blank disk is blank still, and is made again.
 */

import type { MaybePromise } from "../../core/p9/types.ts";
import type { Archive, ArchiveEntry } from "../archive.ts";
import type { BlockPort } from "../block_port.ts";
import { Ext2 } from "./fs.ts";
import { HEAD_BYTES } from "./layout.ts";
import { mkfs, type MkfsOptions } from "./mkfs.ts";
import { unpackExt2 } from "./pack.ts";

const BLOCK_BYTES = 4096, MIN_INODE_BYTES = 1024, MAX_INODE_BYTES = 8192, MIN_DISK_BYTES = 1 << 20;

/** What a tree takes. */
export interface Needs {
  /** Without the root. */
  files: number;
  /** Of data and directories, in whole blocks. */
  bytes: number;
  /** The latest time in it, seconds since 1970. */
  newest: number;
}

/** Makes a volume with a tree on it, which takes what `needs` says (`needsOf`). ENOSPC. */
export async function makeVolume(
  port: BlockPort,
  { tree, needs }: { tree: Archive; needs: Needs },
  options: MkfsOptions,
): Promise<void> {
  const held = new HeldHead(port), { now, size = port.size } = options;
  const share = Math.floor(size / (needs.files * 1.2 + 32));
  const bytesPerInode = Math.max(MIN_INODE_BYTES, Math.min(MAX_INODE_BYTES, share));
  await mkfs(held, { bytesPerInode, ...options });
  const fs = await Ext2.open(held, { now: () => now });
  await unpackExt2(fs, tree);
  await fs.close();
  await held.release();
}

/** What a tree takes. */
export async function needsOf(tree: Archive): Promise<Needs> {
  const needs = { files: 0, bytes: 0, newest: 0 };
  for await (const _ of counted(tree, needs));
  return needs;
}

/** The tree as it is; what passes is added to `needs`. */
export async function* counted(tree: Archive, needs: Needs): AsyncGenerator<ArchiveEntry> {
  for await (const entry of tree) {
    if (entry.path !== "") needs.files++;
    needs.bytes += Math.ceil(entry.size / BLOCK_BYTES) * BLOCK_BYTES + (entry.kind === "dir" ? BLOCK_BYTES : 0);
    needs.newest = Math.max(needs.newest, entry.mtime.sec);
    yield entry;
  }
}

/** Bytes of a disk that has room for a tree, and for a quarter more. */
export function roomFor({ files, bytes }: Needs): number {
  const unit = MIN_DISK_BYTES;
  return Math.ceil(Math.max(unit, (bytes + files * 512) * 1.25 + unit) / unit) * unit;
}

/** A disk whose head stays in memory until it is released. */
class HeldHead implements BlockPort {
  readonly #port: BlockPort;
  readonly #head = new Uint8Array(HEAD_BYTES);
  readonly size: number;
  readonly sectorBytes: number;
  readonly readOnly: boolean;
  readonly cached: boolean;

  constructor(port: BlockPort) {
    this.#port = port;
    this.size = port.size;
    this.sectorBytes = port.sectorBytes;
    this.readOnly = port.readOnly;
    this.cached = port.cached;
  }

  read(dst: Uint8Array, offset: number): MaybePromise<void> {
    const pending = this.#port.read(dst, offset);
    return pending ? pending.then(() => this.#lay(dst, offset)) : this.#lay(dst, offset);
  }

  write(src: Uint8Array, offset: number): MaybePromise<void> {
    const inHead = Math.min(src.length, Math.max(0, HEAD_BYTES - offset));
    if (inHead > 0) this.#head.set(src.subarray(0, inHead), offset);
    if (inHead < src.length) return this.#port.write(src.subarray(inHead), offset + inHead);
  }

  /** Nothing is there before the head is: until then no order of writes matters. */
  flush(): void {}

  /** Writes the head, once all else is on stable storage. */
  async release(): Promise<void> {
    await this.#port.flush();
    await this.#port.write(this.#head, 0);
    await this.#port.flush();
  }

  /** Puts what is in memory over what was read. */
  #lay(dst: Uint8Array, offset: number): void {
    if (offset < HEAD_BYTES) dst.set(this.#head.subarray(offset, offset + dst.length));
  }
}
