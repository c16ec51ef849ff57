/**
 * Volumes that are made because a disk has none: empty, or with a tree of the host on them.
 *
 * Layer: plugins/ext2, below source.ts, which loads this when there is something to make; over origin.ts and fs/ext2/make.ts.
 */

import { Err, toErr } from "../../core/err.ts";
import type { Disk } from "../../devices/disk.ts";
import { makeVolume, needsOf } from "../../fs/ext2/make.ts";
import { checkTree, openTree } from "./origin.ts";
import { labelOf, type Made, type OpenContext, type Source, treePath } from "./source.ts";

/** Throws why a disk can not be filled with what its source says. */
export function checkOrigin(source: Source, context: OpenContext): void {
  try {
    if (source.from !== "") checkTree(treePath(source, context));
  } catch (thrown) {
    throw onOrigin(source, thrown);
  }
}

/**
 * Makes a volume on a disk; `isZeros`: all of which reads as zeros. No two disks have the same uuid; all else is as the
 * program disk makes it of the same tree at the same time.
 */
export async function makeOn(disk: Disk, source: Source, context: OpenContext, isZeros: boolean): Promise<Made> {
  const uuid = new Uint8Array(16), seconds = Math.floor(context.now() / 1000), label = labelOf(source);
  context.random(uuid);
  try {
    const from = source.from && treePath(source, context);
    const how = { settled: seconds, turn: context.turn };
    const tree = () => from === "" ? nothing() : openTree(from, how), needs = await needsOf(tree());
    if (!isZeros) await disk.discard?.(0, disk.size);
    await makeVolume(disk, { tree: tree(), needs }, { uuid, now: seconds * 1000, zeroed: isZeros, label });
    return { files: needs.files, from };
  } catch (thrown) {
    throw onOrigin(source, thrown);
  }
}

/** The error, told of what the disk was to be filled with. */
function onOrigin({ from }: Source, thrown: unknown): Err {
  const { code, message } = toErr(thrown);
  return new Err(code, from === "" ? message : `from=${from}: ${message}`, { cause: thrown });
}

async function* nothing(): AsyncGenerator<never> {}
