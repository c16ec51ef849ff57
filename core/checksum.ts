/**
 * The Internet checksum of bytes.
 *
 * Layer: core, a leaf: what a device sums up for a stack, and a stack for itself (net/checksum.ts adds pseudo-headers and
 * updates). A partial sum is a number in [0, 0xffff], in network byte order, that the next piece is added to; a piece that
 * others follow has an even length. The checksum is its complement. A range is the caller's to have checked: nothing is
 * read outside of [at, end).
 *
 * Hosts are little-endian (all that Deno runs on are): that is seen in `sumWords` and `sumBlocks` alone.
 *
 * See RFC 1071 (the sum, and why byte order does not matter).
 */

import { wasmMemoryOf } from "./wasm_memory.ts";
import { BLOCK_BYTES, type SimdSum, simdSum } from "./checksum_simd.ts";

/** Below this many bytes a plain loop is faster than looking for the words of the buffer. */
const SMALL_BYTES = 48;

/** Bytes after which the sums are folded: halves of that many words still fit into 31 bits. */
const CHUNK_BYTES = 65536;

/** The partial sum of bytes [at, end), added to `initial` (another partial sum). */
export function sum(bytes: Uint8Array, at: number, end: number, initial = 0): number {
  if (end - at < SMALL_BYTES) return fold(initial + sumPairs(bytes, at, end));
  const view = viewOf(bytes.buffer);
  let total = initial;
  for (; end - at > CHUNK_BYTES; at += CHUNK_BYTES) total += sumChunk(bytes, view, at, at + CHUNK_BYTES);
  return fold(total + sumChunk(bytes, view, at, end));
}

function sumChunk(bytes: Uint8Array, view: View, at: number, end: number): number {
  return view.blocks === undefined ? sumWords(bytes, view.words, at, end) : sumBlocks(bytes, view.blocks, at, end);
}

/** The checksum of bytes [at, end) and a partial sum before them: what goes into the field. */
export function checksum(bytes: Uint8Array, at: number, end: number, initial = 0): number {
  return ~sum(bytes, at, end, initial) & 0xffff;
}

/** Whether bytes [at, end), their checksum field among them, sum up as they should. */
export function checksumOk(bytes: Uint8Array, at: number, end: number, initial = 0): boolean {
  return sum(bytes, at, end, initial) === 0xffff;
}

/** Brings a sum of many 16-bit words (below 2 ** 32) back to 16 bits, carries added at the low end. */
export function fold(total: number): number {
  total = (total & 0xffff) + (total >>> 16);
  return (total & 0xffff) + (total >>> 16);
}

function swap(word: number): number {
  return (word << 8 | word >>> 8) & 0xffff;
}

/** By bytes. An odd last byte counts as the high half of a word. */
function sumPairs(bytes: Uint8Array, at: number, end: number): number {
  let total = 0;
  for (; at < end - 1; at += 2) total += bytes[at] << 8 | bytes[at + 1];
  return at < end ? total + (bytes[at] << 8) : total;
}

/**
 * By aligned words: bytes up to the first one, words, bytes behind the last one. When the bytes before are odd in number,
 * all behind them stands the other way round.
 */
function sumWords(bytes: Uint8Array, words: Int32Array, at: number, end: number): number {
  const start = bytes.byteOffset + at;
  const before = -start & 3, count = end - at - before >>> 2;
  const first = start + before >>> 2;
  const rest = swap(fold(sumHalves(words, first, first + count))) + sumPairs(bytes, at + before + count * 4, end);
  return sumPairs(bytes, at, at + before) + (before & 1 ? swap(fold(rest)) : rest);
}

/** By vectors, and what is left by bytes. They need no alignment. */
function sumBlocks(bytes: Uint8Array, blocks: SimdSum, at: number, end: number): number {
  const rest = at + (end - at & -BLOCK_BYTES), { byteOffset } = bytes;
  return swap(fold(blocks(byteOffset + at, byteOffset + rest) >>> 0)) + sumPairs(bytes, rest, end);
}

/** The sum of both halves of words [i, end): what the wrapped sum of words has lost is in the sum of their high halves. */
function sumHalves(words: Int32Array, i: number, end: number): number {
  let wrapped = 0, high = 0;
  for (; i < end - 7; i += 8) {
    const a = words[i], b = words[i + 1], c = words[i + 2], d = words[i + 3];
    const e = words[i + 4], f = words[i + 5], g = words[i + 6], h = words[i + 7];
    wrapped = wrapped + a + b + c + d + e + f + g + h | 0;
    high = high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16) +
        (e >>> 16) + (f >>> 16) + (g >>> 16) + (h >>> 16) | 0;
  }
  for (; i < end; i++) {
    wrapped = wrapped + words[i] | 0;
    high = high + (words[i] >>> 16) | 0;
  }
  return (wrapped - (high << 16) >>> 0) + high;
}

/** What a buffer is summed by: its words, or vectors where it is a memory of WebAssembly. */
interface View {
  readonly words: Int32Array;
  readonly blocks: SimdSum | undefined;
}

/** Of the buffers that frames are in: there are few, and making a view costs more than a small checksum. */
const views = new WeakMap<ArrayBufferLike, View>();
let lastBuffer: ArrayBufferLike | undefined;
let lastView: View = { words: new Int32Array(0), blocks: undefined };

function viewOf(buffer: ArrayBufferLike): View {
  if (buffer === lastBuffer) return lastView;
  let view = views.get(buffer);
  if (view === undefined) {
    const memory = wasmMemoryOf(buffer), blocks = memory && simdSum(memory);
    views.set(buffer, view = { words: new Int32Array(buffer, 0, buffer.byteLength >>> 2), blocks });
  }
  lastBuffer = buffer;
  return lastView = view;
}
