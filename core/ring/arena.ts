/**
 * Arena: buffers that one isolate lends to another: large data goes by reference, and stays where it was put.
 *
 * Layer: core/ring, beside spsc.ts; transport.ts joins two of them, one each way, to what 9P knows as `Blocks`. The owner
 * takes a block, fills it, and sends where it lies; the borrower reads it in place and gives it back to its owner.
 * An arena lies between two isolates, so that no third one sees what they say. Blocks are of a few sizes, fixed when it is
 * made; to lend one and to give it back makes no garbage.
 *
 * What holds always:
 * - A block is the owner's or the borrower's, never both's. It is taken by the owner alone, and given back once: each
 *   lending has a ticket, and what comes back with an old one is ignored.
 * - Nobody waits for a block: an owner that has none free sends its data some other way.
 * - What a borrower was told by the owner is checked: a place in no block, a length beyond it.
 *
 * What it does not do: keep a borrower from reading a block that it has given back.
 */

import { Err } from "../err.ts";
import type { Block } from "../p9/transport.ts";

const MAGIC_VALUE = 0x41676e72; // "rngA"
/** Words of the head: what it is, how many sizes and blocks, how many were lent and how many came back. */
const MAGIC = 0, SIZES = 1, BLOCKS = 2, LENT = 32, BACK = 64;
/** Then a row a size: bytes of its blocks, their count; then a word a block. */
const ROWS = 96;
/** Blocks begin on lines of this many bytes. */
const LINE = 128;
/** State of a block that is not lent; any other is its ticket. */
const FREE = 0;
const LAST_TICKET = 0x7fffffff;

/** Blocks of one size. */
export interface BlockSize {
  /** A multiple of 128. */
  readonly bytes: number;
  readonly count: number;
}

/** Where an arena lies. Can be sent to another isolate. */
export interface ArenaRef {
  readonly buffer: SharedArrayBuffer;
  /** A multiple of 128. */
  readonly offset: number;
}

/** How often blocks were lent, and came back; both wrap at 2^32. */
export interface ArenaStatus {
  readonly lent: number;
  readonly back: number;
}

/** Bytes of shared memory that an arena with these blocks takes: a multiple of 128. */
export function arenaBytes(sizes: readonly BlockSize[]): number {
  return layout(sizes).end;
}

/** Lays an arena out in memory of its own, or where it is told. EINVAL for sizes that can not be, or do not fit there. */
export function createArena(sizes: readonly BlockSize[], where?: ArenaRef): ArenaRef {
  const { end, count } = layout(sizes);
  const { buffer, offset } = where ?? { buffer: new SharedArrayBuffer(end), offset: 0 };
  if (offset % LINE !== 0 || offset + end > buffer.byteLength) {
    throw new Err("EINVAL", `arena: ${end} bytes at ${offset} do not fit the memory`);
  }
  const words = new Int32Array(buffer, offset, ROWS + 2 * sizes.length + count);
  words.fill(0);
  words[SIZES] = sizes.length;
  words[BLOCKS] = count;
  sizes.forEach(({ bytes, count }, i) => words.set([bytes, count], ROWS + 2 * i));
  Atomics.store(words, MAGIC, MAGIC_VALUE);
  return { buffer, offset };
}

/** What an arena has to tell to those who only look. */
export function readArena({ buffer, offset }: ArenaRef): ArenaStatus {
  const words = new Int32Array(buffer, offset, ROWS);
  return { lent: Atomics.load(words, LENT) >>> 0, back: Atomics.load(words, BACK) >>> 0 };
}

/** What both ends know. */
abstract class End {
  protected readonly words: Int32Array;
  protected readonly sizes: readonly BlockSize[];
  /** Index of the word of the first block. */
  protected readonly states: number;
  /** Offsets of the blocks, ascending. */
  protected readonly offsets: Int32Array;
  /** Of each block all its bytes. */
  protected readonly views: readonly Uint8Array[];

  constructor({ buffer, offset }: ArenaRef) {
    const head = new Int32Array(buffer, offset, ROWS);
    if (head[MAGIC] !== MAGIC_VALUE) throw new Err("EINVAL", `arena: there is none at ${offset}`);
    const rows = new Int32Array(buffer, offset + ROWS * 4, 2 * head[SIZES]);
    this.sizes = Array.from({ length: head[SIZES] }, (_, i) => ({ bytes: rows[2 * i], count: rows[2 * i + 1] }));
    const { count, first, end } = layout(this.sizes);
    if (count !== head[BLOCKS] || offset + end > buffer.byteLength) throw new Err("EINVAL", "arena: bad layout");
    this.states = ROWS + 2 * this.sizes.length;
    this.words = new Int32Array(buffer, offset, this.states + count);
    this.offsets = new Int32Array(count);
    const views: Uint8Array[] = [];
    let at = first;
    for (const { bytes, count } of this.sizes) {
      for (let i = 0; i < count; i++, at += bytes) {
        this.offsets[views.length] = at;
        views.push(new Uint8Array(buffer, offset + at, bytes));
      }
    }
    this.views = views;
  }

  /** The block in which an offset lies; -1 before the first. One beyond the last block is taken for the last one's. */
  protected indexAt(at: number): number {
    const { offsets } = this;
    let low = 0, high = offsets.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (offsets[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Makes a block free if the ticket is the one it was lent with; answers whether. */
  protected release(index: number, ticket: number): boolean {
    if (ticket === FREE) return false;
    if (Atomics.compareExchange(this.words, this.states + index, ticket, FREE) !== ticket) return false;
    Atomics.add(this.words, BACK, 1);
    return true;
  }
}

/** A block as its owner keeps it. */
interface Kept extends Block {
  ticket: number;
  readonly index: number;
  readonly size: number;
  /** Whether it is in the owner's list of free ones. */
  listed: boolean;
}

/** The owner's end: lends blocks. One an arena. */
export class Arena extends End {
  readonly #blocks: readonly Kept[];
  /** Free blocks that are known of, by size; those that came back last are lent first, for they are in the caches. */
  readonly #free: Kept[][];
  /** BACK when the states were last looked at. */
  #looked = 0;

  constructor(ref: ArenaRef) {
    super(ref);
    let index = 0;
    this.#free = this.sizes.map(({ count }, size) =>
      Array.from({ length: count }, () => {
        const at = this.offsets[index], view = this.views[index];
        return { at, view, index: index++, size, ticket: FREE, listed: true };
      }).reverse()
    );
    this.#blocks = this.#free.flat().sort((a, b) => a.index - b.index);
  }

  /** A block of at least `bytes`, of the smallest size that fits and has one free; undefined when there is none. */
  lend(bytes: number): Block | undefined {
    const back = Atomics.load(this.words, BACK);
    if (back !== this.#looked) this.#collect(back);
    const block = this.#find(bytes);
    if (!block) return undefined;
    block.listed = false;
    block.ticket = block.ticket === LAST_TICKET ? 1 : block.ticket + 1;
    Atomics.store(this.words, this.states + block.index, block.ticket);
    Atomics.add(this.words, LENT, 1);
    return block;
  }

  /** Takes back a block that was not sent. Doing so twice does nothing. */
  takeBack(block: Block): void {
    const kept = this.#blocks[this.indexAt(block.at)];
    if (this.release(kept.index, block.ticket)) this.#list(kept);
  }

  #find(bytes: number): Kept | undefined {
    for (let size = 0; size < this.sizes.length; size++) {
      if (this.sizes[size].bytes >= bytes && this.#free[size].length > 0) return this.#free[size].pop();
    }
    return undefined;
  }

  /** Lists the blocks that have come back since it was last done. */
  #collect(back: number): void {
    this.#looked = back;
    for (const block of this.#blocks) {
      if (!block.listed && Atomics.load(this.words, this.states + block.index) === FREE) this.#list(block);
    }
  }

  #list(block: Kept): void {
    block.listed = true;
    this.#free[block.size].push(block);
  }
}

/** The borrower's end: reads blocks in place, and gives them back. */
export class Borrower extends End {
  /** The bytes that a reference names. EPROTO when they are not all in one block. */
  borrow(at: number, length: number): Uint8Array {
    const index = this.indexAt(at), view = this.views[index], from = at - this.offsets[index];
    if (!view || from + length > view.length) throw new Err("EPROTO", "arena: a reference to what is in no block");
    return view.subarray(from, from + length);
  }

  /** Gives the block back in which `at` lies. False when it was not the borrower's any more. */
  giveBack(at: number, ticket: number): boolean {
    const index = this.indexAt(at);
    return index >= 0 && this.release(index, ticket);
  }
}

/** Where blocks begin and end, and how many there are. Throws EINVAL for sizes that can not be. */
function layout(sizes: readonly BlockSize[]): { first: number; end: number; count: number } {
  let bytes = 0, count = 0, last = 0;
  for (const size of sizes) {
    const good = size.bytes > last && size.bytes % LINE === 0 && Number.isInteger(size.count) && size.count > 0;
    if (!good) throw new Err("EINVAL", `arena: blocks of ${size.bytes} bytes, ${size.count} of them`);
    bytes += size.bytes * size.count;
    count += size.count;
    last = size.bytes;
  }
  const words = ROWS + 2 * sizes.length + count, first = Math.ceil(4 * words / LINE) * LINE;
  if (sizes.length === 0 || first + bytes >= 2 ** 31) throw new Err("EINVAL", `arena: ${bytes} bytes in blocks`);
  return { first, end: first + bytes, count };
}
