/**
 * Archives as files: tar, compressed with gzip or not.
 *
 * Layer: fs, above tar; bytes in, bytes out. gzip is the platform's own.
 *
 * What holds always: whether a file is compressed is seen by how it begins, whatever it is called. One that is damaged is
 * EINVAL.
 */

import { Err } from "../core/err.ts";
import type { Archive, ArchiveEntry } from "./archive.ts";
import { isTarHeader, readTar, writeTar } from "./tar.ts";

const GZIP_MAGIC = [0x1f, 0x8b];
/** So much of a file tells whether it is an archive. */
export const ARCHIVE_HEAD_BYTES = 512;

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether a file that begins so may be an archive. */
export function isArchive(head: Uint8Array): boolean {
  return isGzip(head) || isTarHeader(head);
}

function isGzip(head: Uint8Array): boolean {
  return GZIP_MAGIC.every((byte, i) => head[i] === byte);
}

/** The entries of a tar file, compressed or not; `name` is what errors call it. */
export async function* readArchive(bytes: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<ArchiveEntry> {
  const pieces = bytes[Symbol.asyncIterator](),
    head = await pieces.next(),
    first: Bytes = head.value ?? new Uint8Array(0);
  const whole = ReadableStream.from(joined(first, pieces));
  try {
    yield* readTar(isGzip(first) ? whole.pipeThrough(new DecompressionStream("gzip")) : whole);
  } catch (thrown) {
    if (thrown instanceof Err && thrown.code === "EINVAL") {
      throw new Err("EINVAL", `${name}: ${thrown.message}`, { cause: thrown });
    }
    if (!(thrown instanceof TypeError)) throw thrown;
    throw new Err("EINVAL", `${name}: damaged: ${thrown.message}`, { cause: thrown });
  }
}

async function* joined(first: Bytes, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Bytes> {
  try {
    yield first;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value as Bytes;
  } finally {
    await rest.return?.();
  }
}

/** Writes a tree as a tar file. */
export async function writeArchive(tree: Archive, to: WritableStream<Uint8Array>, gzip: boolean): Promise<void> {
  const bytes = ReadableStream.from(writeTar(tree) as AsyncGenerator<Bytes>);
  await (gzip ? bytes.pipeThrough(new CompressionStream("gzip")) : bytes).pipeTo(to);
}
