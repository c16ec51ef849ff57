/**
 * Byte rings and the pool that their memory comes from: what a connection's send and receive queues are made of.
 *
 * Layer: net/tcp, a leaf. A ring has no memory while it is empty, so an idle connection costs none; it grows by doubling as
 * bytes come, and gives its memory back when the last byte has left. Its bytes are named by their offset from the head:
 * segments that come too early are written behind a gap, in place.
 *
 * The pool hands out powers of two and bounds what all connections of a stack have together: when nothing is left, `reserve`
 * says no, and its caller drops the segment or makes the writer wait.
 */

/** The smallest memory that a ring takes. */
const MIN_SHIFT = 10;
/** The largest: 64 MiB. */
const MAX_SHIFT = 26;
/** Below this many bytes a loop is faster than a view and `set`. */
const SMALL_BYTES = 64;

const NONE: Uint8Array = new Uint8Array(0);

/** Memory of rings, kept by size. */
export class BufferPool {
  /** Bytes that rings have now. */
  usedBytes = 0;
  /** Bytes that were given back and wait for the next who asks. */
  freeBytes = 0;
  readonly #free: Uint8Array[][] = Array.from({ length: MAX_SHIFT + 1 }, () => []);

  /** `maxBytes`: what rings may have together; `keepBytes`: what is kept for the next, instead of given to the collector. */
  constructor(readonly maxBytes: number, readonly keepBytes: number) {}

  /** Memory of at least `bytes`, its size a power of two; undefined when there is none. What is in it is undefined. */
  get(bytes: number): Uint8Array | undefined {
    const shift = Math.max(MIN_SHIFT, 32 - Math.clz32(bytes - 1)), size = 1 << shift;
    if (shift > MAX_SHIFT || this.usedBytes + size > this.maxBytes) return undefined;
    this.usedBytes += size;
    const kept = this.#free[shift].pop();
    if (kept === undefined) return new Uint8Array(size);
    this.freeBytes -= size;
    return kept;
  }

  /** Takes back what `get` gave. */
  put(buf: Uint8Array): void {
    this.usedBytes -= buf.length;
    if (this.freeBytes + buf.length > this.keepBytes) return;
    this.freeBytes += buf.length;
    this.#free[31 - Math.clz32(buf.length)].push(buf);
  }
}

/** A queue of bytes that can be read and written at any offset from its head. */
export class ByteRing {
  /** Bytes from the head on that are there, one after the other. */
  length = 0;
  #buf = NONE;
  #head = 0;
  /** What it had when it last was empty: it comes back with so much, and does not grow to it by copies. */
  #usual = 0;

  constructor(readonly pool: BufferPool) {}

  /** Bytes of memory it has. */
  get capacity(): number {
    return this.#buf.length;
  }

  /** Makes sure that offsets below `bytes` can be written; false when the pool has no more. */
  reserve(bytes: number): boolean {
    return bytes <= this.#buf.length || this.#grow(bytes);
  }

  #grow(bytes: number): boolean {
    const old = this.#buf;
    const grown = this.pool.get(Math.max(bytes, old.length === 0 ? this.#usual : 0)) ?? this.pool.get(bytes);
    if (grown === undefined) return false;
    if (old.length > 0) {
      const first = old.length - this.#head;
      grown.set(old.subarray(this.#head));
      grown.set(old.subarray(0, this.#head), first);
      this.pool.put(old);
    }
    this.#buf = grown;
    this.#head = 0;
    return true;
  }

  /** Writes bytes [at, end) of `src` at `offset`, which `reserve` was asked for; `length` stays. */
  put(offset: number, src: Uint8Array, at: number, end: number): void {
    if (at === end) return;
    const buf = this.#buf, size = buf.length;
    const start = this.#head + offset & size - 1;
    const first = Math.min(end - at, size - start);
    copy(buf, start, src, at, at + first);
    if (first < end - at) copy(buf, 0, src, at + first, end);
  }

  /** Adds bytes [at, end) of `src` at the tail; false when the pool has no memory. */
  append(src: Uint8Array, at: number, end: number): boolean {
    if (!this.reserve(this.length + end - at)) return false;
    this.put(this.length, src, at, end);
    this.length += end - at;
    return true;
  }

  /** Copies `count` bytes from `offset` on to `dst[at...]`. */
  copyOut(offset: number, count: number, dst: Uint8Array, at: number): void {
    const buf = this.#buf, size = buf.length;
    const start = this.#head + offset & size - 1;
    const first = Math.min(count, size - start);
    copy(dst, at, buf, start, start + first);
    if (first < count) copy(dst, at + first, buf, 0, count - first);
  }

  /** A copy of the first `count` bytes, those behind `length` too. */
  copy(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    if (count > 0) this.copyOut(0, count, bytes, 0);
    return bytes;
  }

  /** The bytes at the head as they lie in memory: all of them, or those up to where the ring turns. */
  peek(): Uint8Array {
    return this.#buf.subarray(this.#head, Math.min(this.#head + this.length, this.#buf.length));
  }

  /** Takes `count` bytes off the head. */
  drop(count: number): void {
    this.length -= count;
    this.#head = this.#head + count & this.#buf.length - 1;
  }

  /** Gives the memory back. What is left in it is lost. */
  release(): void {
    if (this.#buf.length === 0) return;
    this.#usual = this.#buf.length > this.#usual ? this.#buf.length : this.#usual >>> 1;
    this.pool.put(this.#buf);
    this.#buf = NONE;
    this.#head = this.length = 0;
  }
}

function copy(dst: Uint8Array, to: number, src: Uint8Array, at: number, end: number): void {
  if (end - at > SMALL_BYTES) dst.set(src.subarray(at, end), to);
  else for (; at < end; at++, to++) dst[to] = src[at];
}
