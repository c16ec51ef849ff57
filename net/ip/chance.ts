/**
 * Random numbers of one stack: seeded once from outside, so that a simulation replays, and saved with the stack.
 *
 * Layer: net/ip, a leaf. xoshiro128**: good for ids, delays and hash salts. It is no secret to who sees many of its numbers:
 * what must not be guessed is taken from the source itself.
 */

/** Fills bytes with random ones that nobody can guess. */
export type Random = (bytes: Uint8Array) => void;

export class Chance {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: Int32Array) {
    [this.#a, this.#b, this.#c, this.#d] = seed;
    if ((this.#a | this.#b | this.#c | this.#d) === 0) this.#a = 1;
  }

  /** One that is seeded from `random`. */
  static from(random: Random): Chance {
    const seed = new Uint8Array(16);
    random(seed);
    return new Chance(new Int32Array(seed.buffer));
  }

  /** An int32. */
  next(): number {
    const product = Math.imul(this.#b, 5);
    const answer = Math.imul(product << 7 | product >>> 25, 9);
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = this.#d << 11 | this.#d >>> 21;
    return answer;
  }

  /** A number in [from, to). */
  between(from: number, to: number): number {
    return from + (this.next() >>> 0) / 4294967296 * (to - from);
  }

  /** An integer in [0, count). */
  below(count: number): number {
    return Math.floor(this.between(0, count));
  }

  save(): Int32Array {
    return Int32Array.of(this.#a, this.#b, this.#c, this.#d);
  }
}
