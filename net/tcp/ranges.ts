/**
 * What has arrived too early: ranges of sequence numbers behind a gap, and the SACK blocks that tell of them.
 *
 * Layer: net/tcp, a leaf. The bytes themselves are in the receive ring, at their place already. Ranges are sorted, and
 * neither touch nor overlap; how many there may be is bounded. Nothing is allocated before the first gap.
 *
 * See RFC 2018, section 4 (which blocks come first).
 */

import { type Seq, seqAdd, seqDiff, seqLe, seqLt, seqMax, seqMin } from "../wire/tcp_seq.ts";
import { MAX_SACK_BLOCKS, type TcpOptions } from "../wire/tcp_options.ts";

/** Gaps that a receiver remembers. One more, and the segment behind it is dropped. */
export const MAX_RANGES = 4096;
const FIRST_RANGES = 16;

const NONE = new Int32Array(0), NEVER = new Float64Array(0);

/** Ranges [left, right) of one connection. */
export class Ranges {
  count = 0;
  left: Int32Array = NONE;
  right: Int32Array = NONE;
  /** When the first of each came. */
  since: Float64Array = NEVER;
  /** How many of them have changed since blocks were told last. */
  news = 0;
  /** A number in each of those that changed last, the last first. */
  #recent = NONE;

  /** Adds [left, right), and answers since when its range is there; undefined when there are too many. */
  add(left: Seq, right: Seq, now: number): number | undefined {
    const i = this.#find(left);
    if (i === this.count || seqLt(right, this.left[i])) {
      if (!this.#insert(i)) return undefined;
      this.left[i] = left;
      this.right[i] = right;
      this.since[i] = now;
    } else {
      this.left[i] = seqMin(this.left[i], left);
      let j = i, since = this.since[i];
      while (j + 1 < this.count && seqLe(this.left[j + 1], right)) since = Math.min(since, this.since[++j]);
      this.right[i] = seqMax(this.right[j], right);
      this.since[i] = since;
      this.#remove(i + 1, j - i);
    }
    this.#note(i, left);
    return this.since[i];
  }

  /** The first that ends at `seq` or behind it. */
  #find(seq: Seq): number {
    let low = 0, high = this.count;
    while (low < high) {
      const middle = low + high >>> 1;
      if (seqLt(this.right[middle], seq)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #note(i: number, seq: Seq): void {
    const recent = this.#recent;
    if (seqLt(recent[0], this.left[i]) || seqLe(this.right[i], recent[0])) {
      this.news++;
      recent.copyWithin(1, 0, recent.length - 1);
    } else if (this.news === 0) this.news = 1;
    recent[0] = seq;
  }

  /** Whether all of [left, right) is here. */
  has(left: Seq, right: Seq): boolean {
    const i = this.#find(right);
    return i < this.count && seqLe(this.left[i], left);
  }

  /** Everything before `seq` has arrived; answers where the gap behind it begins, with the ranges that it reaches taken in. */
  advance(seq: Seq): Seq {
    let gone = 0;
    while (gone < this.count && seqLe(this.left[gone], seq)) seq = seqMax(seq, this.right[gone++]);
    this.#remove(0, gone);
    return seq;
  }

  /**
   * Adds blocks to a segment's options, the one that changed last first, as many as there is room for: of ranges that are
   * there since `toldTo`, or longer.
   */
  addSacks(options: TcpOptions, toldTo: number): void {
    this.news = 0;
    if (this.count === 0) return;
    let told = -1, toldBefore = -1;
    for (const seq of this.#recent) {
      const i = this.#find(seqAdd(seq, 1));
      if (i === this.count || seqLt(seq, this.left[i]) || i === told || i === toldBefore) continue;
      if (this.since[i] > toldTo) continue;
      if (!options.addSack(this.left[i], this.right[i])) return;
      [toldBefore, told] = [told, i];
    }
  }

  #insert(at: number): boolean {
    if (this.count === this.left.length && !this.#grow()) return false;
    for (const column of [this.left, this.right, this.since]) column.copyWithin(at + 1, at, this.count);
    this.count++;
    return true;
  }

  #remove(at: number, count: number): void {
    if (count === 0) return;
    for (const column of [this.left, this.right, this.since]) column.copyWithin(at, at + count, this.count);
    this.count -= count;
    if (this.count > 0) return;
    this.left = this.right = this.#recent = NONE;
    this.since = NEVER;
  }

  #grow(): boolean {
    const size = Math.max(this.left.length * 2, FIRST_RANGES);
    if (size > MAX_RANGES) return false;
    const larger = (column: Int32Array) => {
      const grown = new Int32Array(size);
      grown.set(column);
      return grown;
    };
    if (this.count === 0) this.#recent = new Int32Array(MAX_SACK_BLOCKS);
    this.left = larger(this.left);
    this.right = larger(this.right);
    const since = new Float64Array(size);
    since.set(this.since);
    this.since = since;
    return true;
  }

  clear(): void {
    this.#remove(0, this.count);
  }

  /** Bytes in all of them. */
  get bytes(): number {
    let bytes = 0;
    for (let i = 0; i < this.count; i++) bytes += seqDiff(this.right[i], this.left[i]);
    return bytes;
  }
}
