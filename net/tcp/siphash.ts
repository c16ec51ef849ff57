/**
 * SipHash-2-4, 64 bits of which 32 or all are used: what nobody who has not the key can foretell.
 *
 * Layer: net/tcp, a leaf; initial sequence numbers, ports, cookies and timestamp offsets are made with it. A 64-bit word is
 * two int32, the low one first.
 *
 * See Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
 */

import { get32 } from "../wire/packet.ts";

/** A key of 16 bytes, ready to hash with. */
export class SipHash {
  readonly #key = new Int32Array(4);
  readonly #v = new Int32Array(8);
  #pairs = 0;
  /** The hash that was made last: its low and high half. */
  low = 0;
  high = 0;

  constructor(key: Uint8Array) {
    for (let i = 0; i < 4; i++) this.#key[i] = littleEndian(get32(key, i * 4));
  }

  /** Hashes words, in pairs of a low and a high half; answers the low half of the hash. */
  words(...words: number[]): number {
    this.begin();
    for (let i = 0; i < words.length; i += 2) this.pair(words[i], i + 1 < words.length ? words[i + 1] : 0);
    return this.finish();
  }

  /** Begins a hash of pairs, for those who have no array of words. */
  begin(): void {
    const v = this.#v, key = this.#key;
    const k0 = key[0], k1 = key[1], k2 = key[2], k3 = key[3];
    v[0] = k0 ^ 0x70736575, v[1] = k1 ^ 0x736f6d65;
    v[2] = k2 ^ 0x6e646f6d, v[3] = k3 ^ 0x646f7261;
    v[4] = k0 ^ 0x6e657261, v[5] = k1 ^ 0x6c796765;
    v[6] = k2 ^ 0x79746573, v[7] = k3 ^ 0x74656462;
    this.#pairs = 0;
  }

  /** Adds a word's low and high half. */
  pair(low: number, high: number): void {
    this.#pairs++;
    this.#block(low, high);
  }

  /** Ends a hash; answers its low half. */
  finish(): number {
    const v = this.#v;
    this.#block(0, this.#pairs << 27);
    v[4] ^= 0xff;
    rounds(v, 4);
    this.high = v[1] ^ v[3] ^ v[5] ^ v[7];
    return this.low = v[0] ^ v[2] ^ v[4] ^ v[6];
  }

  #block(low: number, high: number): void {
    const v = this.#v;
    v[6] ^= low;
    v[7] ^= high;
    rounds(v, 2);
    v[0] ^= low;
    v[1] ^= high;
  }
}

function littleEndian(word: number): number {
  return word << 24 | (word & 0xff00) << 8 | word >>> 8 & 0xff00 | word >>> 24;
}

/** Rounds over the four words a, b, c, d, each in two halves: in locals, which stay in registers. */
function rounds(v: Int32Array, count: number): void {
  let aLow = v[0], aHigh = v[1], bLow = v[2], bHigh = v[3], cLow = v[4], cHigh = v[5], dLow = v[6], dHigh = v[7];
  for (let low = 0; count > 0; count--) {
    low = aLow + bLow | 0, aHigh = aHigh + bHigh + carry(low, bLow) | 0, aLow = low;
    low = (bLow << 13 | bHigh >>> 19) ^ aLow, bHigh = (bHigh << 13 | bLow >>> 19) ^ aHigh, bLow = low;
    low = aHigh, aHigh = aLow, aLow = low;
    low = cLow + dLow | 0, cHigh = cHigh + dHigh + carry(low, dLow) | 0, cLow = low;
    low = (dLow << 16 | dHigh >>> 16) ^ cLow, dHigh = (dHigh << 16 | dLow >>> 16) ^ cHigh, dLow = low;
    low = aLow + dLow | 0, aHigh = aHigh + dHigh + carry(low, dLow) | 0, aLow = low;
    low = (dLow << 21 | dHigh >>> 11) ^ aLow, dHigh = (dHigh << 21 | dLow >>> 11) ^ aHigh, dLow = low;
    low = cLow + bLow | 0, cHigh = cHigh + bHigh + carry(low, bLow) | 0, cLow = low;
    low = (bLow << 17 | bHigh >>> 15) ^ cLow, bHigh = (bHigh << 17 | bLow >>> 15) ^ cHigh, bLow = low;
    low = cHigh, cHigh = cLow, cLow = low;
  }
  v[0] = aLow, v[1] = aHigh, v[2] = bLow, v[3] = bHigh, v[4] = cLow, v[5] = cHigh, v[6] = dLow, v[7] = dHigh;
}

/** What the sum of two low halves adds to the high one: the sum is less than either. */
function carry(sum: number, part: number): number {
  return sum >>> 0 < part >>> 0 ? 1 : 0;
}
