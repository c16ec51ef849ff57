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
  /** The hash that was made last: its low and high half. */
  low = 0;
  high = 0;

  constructor(key: Uint8Array) {
    for (let i = 0; i < 4; i++) this.#key[i] = littleEndian(get32(key, i * 4));
  }

  /** Hashes words, in pairs of a low and a high half; answers the low half of the hash. */
  words(...words: number[]): number {
    const v = this.#v, [k0, k1, k2, k3] = this.#key;
    v[0] = k0 ^ 0x70736575, v[1] = k1 ^ 0x736f6d65;
    v[2] = k2 ^ 0x6e646f6d, v[3] = k3 ^ 0x646f7261;
    v[4] = k0 ^ 0x6e657261, v[5] = k1 ^ 0x6c796765;
    v[6] = k2 ^ 0x79746573, v[7] = k3 ^ 0x74656462;
    if (words.length % 2 === 1) words.push(0);
    for (let i = 0; i < words.length; i += 2) this.#block(words[i], words[i + 1]);
    this.#block(0, words.length << 26);
    v[4] ^= 0xff;
    for (let i = 0; i < 4; i++) round(v);
    this.high = v[1] ^ v[3] ^ v[5] ^ v[7];
    return this.low = v[0] ^ v[2] ^ v[4] ^ v[6];
  }

  #block(low: number, high: number): void {
    const v = this.#v;
    v[6] ^= low;
    v[7] ^= high;
    round(v);
    round(v);
    v[0] ^= low;
    v[1] ^= high;
  }
}

function littleEndian(word: number): number {
  return word << 24 | (word & 0xff00) << 8 | word >>> 8 & 0xff00 | word >>> 24;
}

function round(v: Int32Array): void {
  add(v, 0, 2);
  rotate(v, 2, 13);
  xor(v, 2, 0);
  rotate(v, 0, 32);
  add(v, 4, 6);
  rotate(v, 6, 16);
  xor(v, 6, 4);
  add(v, 0, 6);
  rotate(v, 6, 21);
  xor(v, 6, 0);
  add(v, 4, 2);
  rotate(v, 2, 17);
  xor(v, 2, 4);
  rotate(v, 4, 32);
}

function add(v: Int32Array, to: number, from: number): void {
  const low = (v[to] >>> 0) + (v[from] >>> 0);
  v[to] = low;
  v[to + 1] += v[from + 1] + (low > 0xffffffff ? 1 : 0);
}

function xor(v: Int32Array, to: number, from: number): void {
  v[to] ^= v[from];
  v[to + 1] ^= v[from + 1];
}

function rotate(v: Int32Array, at: number, bits: number): void {
  const low = v[at], high = v[at + 1];
  if (bits === 32) {
    v[at] = high;
    v[at + 1] = low;
    return;
  }
  v[at] = low << bits | high >>> 32 - bits;
  v[at + 1] = high << bits | low >>> 32 - bits;
}
