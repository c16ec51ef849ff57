/**
 * Arena: buffers of one isolate, lent to others: a large message goes by reference, and its bytes stay where they are.
 *
 * Layer: core/ring, beside spsc.ts. The owner takes a block, fills it, and sends where it lies (`sendBlock`); the receiver
 * reads it in place (`ArenaView`) and frees it, which gives it back to its owner. Blocks are of a few sizes, fixed when the
 * arena is made; to take and to free one makes no garbage.
 *
 * What holds always:
 * - A block is the owner's, or its holder's, never both's. It is taken by the owner alone, and freed once: each taking has a
 *   ticket, and what is freed with an old one is ignored.
 * - No wake-up is lost: who frees changes the count and then looks whether the owner waits; the owner says that it waits and then looks.
 * - What a receiver was told by its peer is checked: an offset that is no block's, a length beyond it.
 * - Blocks of a holder that has died come back with `reclaim`, once its thread has ended.
 */

import { Err } from "../err.ts";
import { type BellRef, bellWords, type How, ringWords, type Waiter } from "./doorbell.ts";
import type { Consumer, Producer } from "./spsc.ts";

const MAGIC_VALUE = 0x41676e72; // "rngA"
/** Words of the head: what it is, how many sizes and blocks, how many blocks were freed, whether the owner waits. */
const MAGIC = 0, SIZES = 1, BLOCKS = 2, FREED = 32, WANT = 64;
/** Then a row a size: bytes of its blocks, their count; then a word a block. */
const ROWS = 96;
/** Blocks begin on lines of this many bytes. */
const LINE = 128;
/** State of a block that nobody has; any other is the ticket of the one who does. */
const FREE = 0;
const LAST_TICKET = 0x7fffffff;

/** Words of a reference in a ring: where, how many bytes, the ticket. */
const REF_AT = 0, REF_LENGTH = 1, REF_TICKET = 2;
/** Bytes of a reference as a message. */
export const BLOCK_REF_BYTES = 12;

/** Blocks of one size. */
export interface BlockSize {
  /** A multiple of 128. */
  readonly bytes: number;
  readonly count: number;
}

/** Where an arena lies, and whom a free block wakes. Can be sent to another isolate. */
export interface ArenaRef {
  readonly buffer: SharedArrayBuffer;
  /** A multiple of 128. */
  readonly offset: number;
  readonly bell: BellRef;
}

/** A block that was taken. The same object each time that the block is. */
export interface Block {
  /** Its offset in the arena. */
  readonly at: number;
  /** Its bytes, all of them: at least as many as were asked for. */
  readonly view: Uint8Array;
  /** Says which taking this is. */
  readonly ticket: number;
}

/** Bytes of shared memory that an arena with these blocks takes. */
export function arenaBytes(sizes: readonly BlockSize[]): number {
  return layout(sizes).end;
}

/** Lays an arena out in memory of its own, or where it is told; the bell is its owner's. */
export function createArena(sizes: readonly BlockSize[], bell: BellRef, where?: Omit<ArenaRef, "bell">): ArenaRef {
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
  return { buffer, offset, bell };
}

/** What both ends know. */
abstract class End {
  readonly ref: ArenaRef;
  protected readonly words: Int32Array;
  protected readonly sizes: BlockSize[];
  /** Index of the word of the first block. */
  protected readonly states: number;
  /** Offsets of the blocks, ascending. */
  protected readonly offsets: Int32Array;
  readonly #views: (Uint8Array | undefined)[];
  readonly #sizeOf: Uint8Array;

  constructor(ref: ArenaRef) {
    const head = new Int32Array(ref.buffer, ref.offset, ROWS);
    if (head[MAGIC] !== MAGIC_VALUE) throw new Err("EINVAL", `arena: there is none at ${ref.offset}`);
    const rows = new Int32Array(ref.buffer, ref.offset + ROWS * 4, 2 * head[SIZES]);
    this.ref = ref;
    this.sizes = Array.from({ length: head[SIZES] }, (_, i) => ({ bytes: rows[2 * i], count: rows[2 * i + 1] }));
    const { count, first, end } = layout(this.sizes);
    if (count !== head[BLOCKS] || ref.offset + end > ref.buffer.byteLength) {
      throw new Err("EINVAL", "arena: bad layout");
    }
    this.states = ROWS + 2 * this.sizes.length;
    this.words = new Int32Array(ref.buffer, ref.offset, this.states + count);
    this.offsets = new Int32Array(count);
    this.#sizeOf = new Uint8Array(count);
    this.#views = new Array(count).fill(undefined);
    let at = first, block = 0;
    this.sizes.forEach(({ bytes, count }, size) => {
      for (let i = 0; i < count; i++, at += bytes) {
        this.#sizeOf[block] = size;
        this.offsets[block++] = at;
      }
    });
  }

  /** The block at an offset, or -1. */
  protected indexAt(at: number): number {
    const { offsets } = this;
    let low = 0, high = offsets.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (offsets[middle] === at) return middle;
      if (offsets[middle] < at) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  protected viewOf(index: number): Uint8Array {
    const { buffer, offset } = this.ref;
    return this.#views[index] ??= new Uint8Array(buffer, offset + this.offsets[index], this.#bytesOf(index));
  }

  #bytesOf(index: number): number {
    return this.sizes[this.#sizeOf[index]].bytes;
  }

  /** Gives a block back if the ticket is the one it was taken with; answers whether. */
  protected giveBack(index: number, ticket: number): boolean {
    if (ticket === FREE) return false;
    return Atomics.compareExchange(this.words, this.states + index, ticket, FREE) === ticket;
  }
}

/** A block as its owner keeps it. */
interface Kept extends Block {
  ticket: number;
  readonly index: number;
  /** Whose it is, while it is taken. */
  holder: number;
  /** Whether it lies in the owner's list of free ones. */
  listed: boolean;
}

/** The owner's end: takes blocks. One an arena. */
export class Arena extends End implements Waiter {
  readonly due = false;
  readonly eager = true;
  /** Blocks taken, takings that found none, blocks that came back from holders that had died. */
  readonly stats = { taken: 0, refused: 0, reclaimed: 0 };
  readonly #owner: number;
  readonly #blocks: Kept[];
  /** Free blocks that are known of, by size. */
  readonly #free: Kept[][];
  /** FREED when the states were last looked at. */
  #looked = 0;
  /** Bytes that the taking which was refused last wanted. */
  #wanted = 0;

  /** `owner` is the isolate's number. */
  constructor(ref: ArenaRef, owner: number) {
    super(ref);
    this.#owner = owner;
    this.#blocks = Array.from(this.offsets, (at, index) => ({
      at,
      index,
      view: this.viewOf(index),
      ticket: FREE,
      holder: owner,
      listed: true,
    }));
    let from = 0;
    this.#free = this.sizes.map(({ count }) => this.#blocks.slice(from, from += count).reverse());
  }

  /** A block of at least `bytes`, for `holder` to free (the owner itself when not given); undefined when none is free. */
  alloc(bytes: number, holder = this.#owner): Block | undefined {
    const block = this.#find(bytes) ?? (this.#collect() ? this.#find(bytes) : undefined);
    if (!block) {
      this.#wanted = bytes;
      this.stats.refused++;
      return undefined;
    }
    block.listed = false;
    block.holder = holder;
    block.ticket = block.ticket === LAST_TICKET ? 1 : block.ticket + 1;
    Atomics.store(this.words, this.states + block.index, block.ticket);
    this.stats.taken++;
    return block;
  }

  /** Gives back a block that was not sent, or came back. Freeing twice does nothing. */
  free(block: Block): void {
    const kept = this.#blocks[this.indexAt(block.at)];
    if (kept && this.giveBack(kept.index, block.ticket)) this.#list(kept);
  }

  /** Takes back all blocks of a holder whose thread has ended; answers how many. */
  reclaim(holder: number): number {
    let count = 0;
    for (const block of this.#blocks) {
      if (block.listed || block.holder !== holder) continue;
      if (this.giveBack(block.index, block.ticket)) count++;
      this.#list(block);
    }
    this.stats.reclaimed += count;
    return count;
  }

  /** Blocks that are taken, as far as is known without looking. */
  get inUse(): number {
    return this.#blocks.length - this.#free.reduce((sum, { length }) => sum + length, 0);
  }

  // To wait for a block: a taking was refused, and one of that size may be free now.

  ready(): boolean {
    this.#collect();
    return this.#free.some((free, size) => free.length > 0 && this.sizes[size].bytes >= this.#wanted);
  }

  arm(): void {
    Atomics.store(this.words, WANT, 1);
  }

  disarm(): void {
    Atomics.store(this.words, WANT, 0);
  }

  waited(_how: How): void {}

  /** A known free block of the smallest size that fits. */
  #find(bytes: number): Kept | undefined {
    for (let size = 0; size < this.sizes.length; size++) {
      if (this.sizes[size].bytes >= bytes && this.#free[size].length > 0) return this.#free[size].pop();
    }
    return undefined;
  }

  /** Lists the blocks that others have freed since it was last done; answers whether there may be any. */
  #collect(): boolean {
    const freed = Atomics.load(this.words, FREED);
    if (freed === this.#looked) return false;
    this.#looked = freed;
    for (const block of this.#blocks) {
      if (!block.listed && Atomics.load(this.words, this.states + block.index) === FREE) this.#list(block);
    }
    return true;
  }

  #list(block: Kept): void {
    block.listed = true;
    let size = 0;
    for (let last = this.sizes[0].count; block.index >= last; last += this.sizes[size].count) size++;
    this.#free[size].push(block);
  }
}

/** Another isolate's end: reads blocks that were sent to it, and frees them. */
export class ArenaView extends End {
  /** What `receive` found: where the block lies, how many of its bytes count, and its ticket. */
  at = 0;
  length = 0;
  ticket = 0;
  readonly #bell: Int32Array;
  #index = -1;

  constructor(ref: ArenaRef) {
    super(ref);
    this.#bell = bellWords(ref.bell);
  }

  /** The bytes of the block that the message at `at` of a ring refers to (the first `length` count). EPROTO when it is none. */
  receive(input: Consumer, at: number): Uint8Array {
    const { words } = input, w = at >> 2;
    const index = this.indexAt(this.at = words[w + REF_AT]), view = index < 0 ? undefined : this.viewOf(index);
    this.length = words[w + REF_LENGTH];
    this.ticket = words[w + REF_TICKET];
    const good = view && input.length === BLOCK_REF_BYTES && this.length >= 0 && this.length <= view.length;
    if (!good) throw new Err("EPROTO", "arena: a reference to what is no block");
    this.#index = index;
    return view;
  }

  /** Frees the block that was received last, or the one that is given. False when it was not its holder's any more. */
  free(at = this.at, ticket = this.ticket): boolean {
    const index = at === this.at ? this.#index : this.indexAt(at);
    if (index < 0 || !this.giveBack(index, ticket)) return false;
    Atomics.add(this.words, FREED, 1);
    if (Atomics.load(this.words, WANT) !== 0) ringWords(this.#bell);
    return true;
  }
}

/** Puts a reference to a block into a ring, seen at `publish`; false when the ring is full. */
export function sendBlock(out: Producer, block: Block, length: number, kind = 0): boolean {
  const at = out.reserve(BLOCK_REF_BYTES, kind);
  if (at < 0) return false;
  const { words } = out, w = at >> 2;
  words[w + REF_AT] = block.at;
  words[w + REF_LENGTH] = length;
  words[w + REF_TICKET] = block.ticket;
  return true;
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
