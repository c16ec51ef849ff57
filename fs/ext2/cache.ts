/**
 * The block cache: blocks in memory by number, bounded, and `Miss`, by which code that runs synchronously meets a disk
 * that does not.
 *
 * Layer: fs/ext2, above the port. An operation is plain synchronous code over cached blocks. When it needs a block that
 * is not there, a port that answers at once just fills it; one that answers later makes `get` throw a `Miss`, and
 * whoever runs the operation waits for it and runs the operation again from its start (volume.ts).
 *
 * What holds always: a dirty or pinned block is never evicted, and nothing is evicted while an operation runs, so that
 * references to a Buf are good until the operation ends. Block numbers given to `get` lie inside the volume.
 */

import { Err, toErr } from "../../core/err.ts";
import type { BlockPort } from "../block_port.ts";
import type { Inode } from "./inode.ts";

/** Thrown where an operation has to wait for the disk; it is run again when `ready` resolves. */
export class Miss {
  readonly ready: Promise<unknown>;
  constructor(ready: Promise<unknown>) {
    this.ready = ready;
  }
}

/** What a block is, as far as its checksum needs to know it. */
export const PLAIN_BLOCK = 0, DIR_BLOCK = 1, EXTENT_BLOCK = 2, ATTR_BLOCK = 3, BLOCK_BITMAP = 4, INODE_BITMAP = 5;

/** A block in memory. */
export class Buf {
  readonly no: number;
  readonly data: Uint8Array;
  readonly view: DataView;
  /** Differs from the disk. */
  dirty = false;
  /** May be written before all else: file data, or a block that nothing on the disk points to yet. */
  early = false;
  /** Read or changed since the last sweep. */
  used = true;
  /** The kind of block as which whoever parses it has found it sound. */
  checked = PLAIN_BLOCK as number;
  pins = 0;
  /** One of the kinds above. */
  kind = PLAIN_BLOCK as number;
  /** Whose it is, of a directory's block and an extent node. */
  owner: Inode | null = null;

  constructor(no: number, data: Uint8Array) {
    this.no = no;
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.length);
  }
}

/** One request for neighbouring blocks has so many bytes at the most; of writes, so many are under way at once. */
const RUN_BYTES = 256 << 10, WRITES_IN_FLIGHT = 8;
/** A cache has at least so many blocks, or no operation could be sure of the ones that it needs. */
const MIN_BLOCKS = 64;
const SPARE_BLOCKS = 256;

export class BlockCache {
  readonly blockSize: number;
  readonly dirty = new Set<Buf>();
  readonly #port: BlockPort;
  readonly #blocksCount: number;
  readonly #limit: number;
  readonly #runBlocks: number;
  readonly #bufs = new Map<number, Buf>();
  readonly #loading = new Map<number, Promise<void>>();
  readonly #spare: Uint8Array[] = [];

  constructor(port: BlockPort, geometry: { blockSize: number; blocksCount: number; cacheBytes: number }) {
    this.#port = port;
    this.blockSize = geometry.blockSize;
    this.#blocksCount = geometry.blocksCount;
    this.#limit = Math.max(MIN_BLOCKS, Math.floor(geometry.cacheBytes / geometry.blockSize));
    this.#runBlocks = Math.max(1, RUN_BYTES / geometry.blockSize);
  }

  /** Blocks held. */
  get size(): number {
    return this.#bufs.size;
  }

  /** True when so much is dirty that it should be written before more is made dirty. */
  get crowded(): boolean {
    return this.dirty.size * 2 > this.#limit;
  }

  /** The block, if it is here. */
  peek(no: number): Buf | undefined {
    return this.#bufs.get(no);
  }

  /** The block; read if it is not here. Throws Miss, or EIO. */
  get(no: number): Buf {
    const buf = this.#bufs.get(no);
    if (buf !== undefined) {
      buf.used = true;
      return buf;
    }
    return this.#load(no);
  }

  /** The block as it will be once the caller has filled all of it: zeros, without a read. */
  blank(no: number): Buf {
    const old = this.#bufs.get(no);
    this.#loading.delete(no);
    if (old) {
      old.data.fill(0);
      old.checked = PLAIN_BLOCK;
      old.kind = PLAIN_BLOCK;
      old.owner = null;
      old.used = true;
      return old;
    }
    return this.#insert(no, this.#array(true));
  }

  /** Marks a block as changed. */
  mark(buf: Buf, early: boolean): void {
    if (!buf.dirty) {
      buf.dirty = true;
      buf.early = early;
      this.dirty.add(buf);
    }
  }

  /** Marks a block as written. */
  clean(buf: Buf): void {
    buf.dirty = false;
    buf.early = false;
    this.dirty.delete(buf);
  }

  /** Forgets a block, changed or not: it was freed, or its making was undone. */
  drop(no: number): void {
    this.#loading.delete(no);
    const buf = this.#bufs.get(no);
    if (!buf) return;
    if (buf.dirty) this.clean(buf);
    this.#bufs.delete(no);
  }

  /** Blocks that may be read ahead of a reader, so that what it has not read yet stays. */
  get window(): number {
    return Math.min(2 * this.#runBlocks, this.#limit >> 2);
  }

  /** Sees that `count` blocks from `no` are here, in as few reads as may be; throws Miss when that takes time. */
  prefetch(no: number, count: number): void {
    this.#loadRuns(no, count);
    if (this.#loading.size === 0) return;
    const pending = new Set<Promise<void>>();
    for (let at = no; at < no + count; at++) {
      const loading = this.#loading.get(at);
      if (loading) pending.add(loading);
    }
    if (pending.size > 0) throw new Miss(Promise.all(pending));
  }

  /** Begins to read blocks that will be wanted; an error will be met by who wants them. */
  readAhead(no: number, count: number): void {
    for (const pending of this.#loadRuns(no, count)) pending.catch(() => {});
  }

  /** Brings the cache back under its limit. Only between operations. */
  trim(): void {
    if (this.#bufs.size <= this.#limit) return;
    const target = this.#limit - (this.#limit >> 3);
    for (let round = 0; round < 2 && this.#bufs.size > target; round++) {
      for (const [no, buf] of this.#bufs) {
        if (this.#bufs.size <= target) break;
        if (buf.dirty || buf.pins > 0) continue;
        if (buf.used && round === 0) buf.used = false;
        else {
          this.#bufs.delete(no);
          if (this.#spare.length < SPARE_BLOCKS) this.#spare.push(buf.data);
        }
      }
    }
  }

  /** Writes blocks, neighbours together, in any order; a promise where the port gives one. The blocks stay dirty. */
  write(bufs: Iterable<Buf>): Promise<void> | undefined {
    const runs = this.#runs(bufs).values(), staging: Uint8Array[] = [];
    for (let next = runs.next(); !next.done; next = runs.next()) {
      const pending = this.#writeRun(next.value, staging);
      if (pending) return this.#writeRest(runs, staging, pending);
    }
  }

  /** The rest, with several requests under way. */
  async #writeRest(runs: ArrayIterator<Buf[]>, staging: Uint8Array[], first: Promise<void>): Promise<void> {
    const lane = async (before?: Promise<void>) => {
      await before;
      for (const run of runs) await this.#writeRun(run, staging);
    };
    await Promise.all(Array.from({ length: WRITES_IN_FLIGHT }, (_, i) => lane(i === 0 ? first : undefined)));
  }

  /** One request. `staging`: memory for what is not in one piece, while it is not in use. */
  #writeRun(run: Buf[], staging: Uint8Array[]): Promise<void> | undefined {
    const size = this.blockSize, offset = run[0].no * size;
    if (run.length === 1) return this.#port.write(run[0].data, offset) ?? undefined;
    const whole = staging.pop() ?? new Uint8Array(this.#runBlocks * size);
    run.forEach((buf, i) => whole.set(buf.data, i * size));
    const pending = this.#port.write(whole.subarray(0, run.length * size), offset);
    if (pending) return pending.then(() => void staging.push(whole));
    staging.push(whole);
  }

  /** The blocks in order, those that are neighbours together. */
  #runs(bufs: Iterable<Buf>): Buf[][] {
    const runs: Buf[][] = [];
    for (const buf of [...bufs].sort((a, b) => a.no - b.no)) {
      const run = runs.at(-1);
      if (run && run.length < this.#runBlocks && run[0].no + run.length === buf.no) run.push(buf);
      else runs.push([buf]);
    }
    return runs;
  }

  /** Begins to read those that are neither here nor on their way; answers what takes its time. */
  #loadRuns(no: number, count: number): Promise<void>[] {
    const pending: Promise<void>[] = [], isHere = (at: number) => this.#bufs.has(at) || this.#loading.has(at);
    for (let at = no; at < no + count;) {
      let run = 0;
      while (run < this.#runBlocks && at + run < no + count && !isHere(at + run)) run++;
      const load = run > 0 ? this.#loadRun(at, run) : undefined;
      if (load) pending.push(load);
      at += run || 1;
    }
    return pending;
  }

  #load(no: number): Buf {
    if (!(no >= 0 && no < this.#blocksCount)) throw new Err("EIO", `ext2: block ${no} is outside of the volume`);
    const loading = this.#loading.get(no);
    if (loading) throw new Miss(loading);
    const data = this.#array(false);
    const pending = this.#port.read(data, no * this.blockSize);
    if (!pending) return this.#insert(no, data);
    throw new Miss(this.#await(no, 1, data, pending));
  }

  #loadRun(no: number, count: number): Promise<void> | undefined {
    const end = Math.min(no + count, this.#blocksCount), size = this.blockSize;
    if (end <= no) throw new Err("EIO", `ext2: block ${no} is outside of the volume`);
    const data = new Uint8Array((end - no) * size);
    const pending = this.#port.read(data, no * size);
    if (pending) return this.#await(no, end - no, data, pending);
    for (let i = 0; i < end - no; i++) this.#insertPart(no + i, data, i);
  }

  #await(no: number, count: number, data: Uint8Array, pending: Promise<void>): Promise<void> {
    const done = pending.then(
      () => {
        for (let i = 0; i < count; i++) {
          if (this.#loading.get(no + i) !== done) continue;
          this.#loading.delete(no + i);
          if (this.#bufs.has(no + i)) continue;
          if (count === 1) this.#insert(no, data);
          else this.#insertPart(no + i, data, i);
        }
      },
      (error) => {
        for (let i = 0; i < count; i++) if (this.#loading.get(no + i) === done) this.#loading.delete(no + i);
        throw toErr(error);
      },
    );
    for (let i = 0; i < count; i++) this.#loading.set(no + i, done);
    return done;
  }

  #insert(no: number, data: Uint8Array): Buf {
    const buf = new Buf(no, data);
    this.#bufs.set(no, buf);
    return buf;
  }

  /** Block `i` of many that were read at once. */
  #insertPart(no: number, data: Uint8Array, i: number): void {
    const own = this.#array(false);
    own.set(data.subarray(i * this.blockSize, (i + 1) * this.blockSize));
    this.#insert(no, own);
  }

  #array(zero: boolean): Uint8Array {
    const spare = this.#spare.pop();
    if (!spare) return new Uint8Array(this.blockSize);
    return zero ? spare.fill(0) : spare;
  }
}
