/**
 * RamData: the bytes of one file in memory, with holes.
 *
 * Layer: fs, below ram.ts. The first 64 KiB grow by doubling, so that a small file is small; the rest are whole
 * chunks in a table by number, so that a large file never moves and a hole is no entry.
 *
 * What holds always: in a chunk, bytes at or after `size` are zero; a chunk may be shorter than 64 KiB, what it lacks
 * is zero. `allocated` is the sum of the chunks' lengths, all of it taken from `space`.
 */

/** Bytes of a chunk. */
export const CHUNK = 1 << 16;
/** The largest file, bytes. */
export const MAX_SIZE = 2 ** 40;
const SMALLEST = 64;
/** Chunks kept for the next file: memory that is already mapped is filled four times as fast as fresh memory. */
const POOL_CHUNKS = 512;

/** Where memory is accounted. */
export interface Space {
  /** Bytes that may still be taken. */
  available(): number;
  /** Takes (or, below zero, gives back) bytes. */
  take(bytes: number): void;
}

/** A file's bytes. */
export class RamData {
  /** Length of the file, bytes. */
  size = 0;
  /** Memory in use, bytes. */
  allocated = 0;
  #head: Uint8Array | null = null;
  #rest: Map<number, Uint8Array> | null = null;
  readonly #space: Space;

  constructor(space: Space) {
    this.#space = space;
  }

  /** Copies bytes at `offset` to the start of `dst`: how many, 0 at the end. */
  read(dst: Uint8Array, offset: number): number {
    const count = Math.min(dst.length, this.size - offset);
    if (count <= 0) return 0;
    let done = 0;
    while (done < count) {
      const at = offset + done, index = Math.floor(at / CHUNK), from = at - index * CHUNK;
      const want = Math.min(CHUNK - from, count - done);
      const chunk = this.#chunk(index);
      const have = chunk ? Math.min(want, chunk.length - from) : 0;
      if (have > 0) dst.set(have === chunk!.length ? chunk! : chunk!.subarray(from, from + have), done);
      if (have < want) dst.fill(0, done + Math.max(have, 0), done + want);
      done += want;
    }
    return count;
  }

  /** Writes `src` at `offset`: how many bytes found room. */
  write(src: Uint8Array, offset: number): number {
    const count = src.length;
    let done = 0;
    while (done < count) {
      const at = offset + done, index = Math.floor(at / CHUNK), from = at - index * CHUNK;
      const want = Math.min(CHUNK - from, count - done);
      const chunk = this.#grow(index, from, from + want);
      const room = chunk ? Math.min(want, chunk.length - from) : 0;
      if (room <= 0) break;
      chunk!.set(room === count ? src : src.subarray(done, done + room), from);
      done += room;
      if (room < want) break;
    }
    if (done > 0 && offset + done > this.size) this.size = offset + done;
    return done;
  }

  /** Cuts the file to `size` bytes, or lengthens it by a hole. */
  truncate(size: number): void {
    if (size < this.size) {
      const last = Math.floor(size / CHUNK), kept = size - last * CHUNK;
      this.#dropAfter(last);
      this.#shrink(last, kept);
    }
    this.size = size;
  }

  #chunk(index: number): Uint8Array | null {
    return index === 0 ? this.#head : this.#rest?.get(index) ?? null;
  }

  #put(index: number, chunk: Uint8Array | null): void {
    if (index === 0) this.#head = chunk;
    else if (chunk) (this.#rest ??= new Map()).set(index, chunk);
    else this.#rest?.delete(index);
  }

  /** The chunk, at least `to` long unless space ran out; the caller then writes from `from` to its end or to `to`. */
  #grow(index: number, from: number, to: number): Uint8Array | null {
    const old = this.#chunk(index), length = old ? old.length : 0;
    if (length >= to) return old;
    const ideal = index === 0 ? sizeClass(to) : CHUNK;
    const more = Math.min(ideal - length, this.#space.available());
    if (more <= 0 || length + more <= from) return old;
    const chunk = allocate(length + more, from, to);
    if (old) chunk.set(old);
    this.#account(more);
    this.#put(index, chunk);
    return chunk;
  }

  #shrink(index: number, kept: number): void {
    const chunk = this.#chunk(index);
    if (!chunk || kept >= chunk.length) return;
    const length = sizeClass(kept);
    if (kept > 0 && length >= chunk.length) {
      chunk.fill(0, kept);
      return;
    }
    this.#account((kept ? length : 0) - chunk.length);
    if (kept) {
      const less = new Uint8Array(length);
      less.set(chunk.subarray(0, kept));
      this.#put(index, less);
    } else this.#put(index, null);
    release(chunk);
  }

  #dropAfter(last: number): void {
    if (!this.#rest) return;
    for (const [index, chunk] of this.#rest) {
      if (index <= last) continue;
      this.#rest.delete(index);
      this.#account(-chunk.length);
      release(chunk);
    }
  }

  #account(bytes: number): void {
    this.allocated += bytes;
    this.#space.take(bytes);
  }
}

/** The memory that `bytes` bytes of a chunk get: a power of two. */
function sizeClass(bytes: number): number {
  if (bytes <= SMALLEST) return SMALLEST;
  return Math.min(CHUNK, 1 << (32 - Math.clz32(bytes - 1)));
}

const pool: Uint8Array[] = [];

/** Memory that is zero but, perhaps, from `from` to `to`, which is about to be written. */
function allocate(bytes: number, from: number, to: number): Uint8Array {
  const chunk = bytes === CHUNK ? pool.pop() : undefined;
  if (!chunk) return new Uint8Array(bytes);
  if (from > 0) chunk.fill(0, 0, from);
  if (to < CHUNK) chunk.fill(0, to);
  return chunk;
}

function release(chunk: Uint8Array): void {
  if (chunk.length === CHUNK && pool.length < POOL_CHUNKS) pool.push(chunk);
}
