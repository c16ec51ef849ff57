/**
 * Names and strings of 9P as JavaScript strings, without loss.
 *
 * Layer: a leaf of core/p9, pure. UTF-8 decodes as usual. A byte that is not UTF-8 (Linux lets names hold any) becomes
 * the lone surrogate U+DC00 + byte, which no UTF-8 decodes to, and encodes back to that byte. 9P2000 and 9P2000.u
 * refuse such names (`isUtf8`); 9P2000.L carries them.
 */

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Short names seen lately, by a hash of their bytes: the same name is the same string, and decodes without allocation. */
const CACHE_SLOTS = 2048;
const CACHE_NAME_BYTES = 32;
const cacheNames: string[] = new Array(CACHE_SLOTS).fill("");
const cacheBytes = new Uint8Array(CACHE_SLOTS * CACHE_NAME_BYTES);
const cacheLengths = new Uint8Array(CACHE_SLOTS);

/** Decodes `length` bytes at `start`. */
export function decodeUtf8(bytes: Uint8Array, start: number, length: number): string {
  if (length === 0) return "";
  if (length > CACHE_NAME_BYTES) return decodeUncached(bytes, start, length);
  let hash = length;
  for (let i = start; i < start + length; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  const slot = (hash ^ (hash >>> 15)) & (CACHE_SLOTS - 1);
  const cached = slot * CACHE_NAME_BYTES;
  if (cacheLengths[slot] === length) {
    let i = 0;
    while (i < length && cacheBytes[cached + i] === bytes[start + i]) i++;
    if (i === length) return cacheNames[slot];
  }
  const name = decodeUncached(bytes, start, length);
  cacheNames[slot] = name;
  cacheLengths[slot] = length;
  for (let i = 0; i < length; i++) cacheBytes[cached + i] = bytes[start + i];
  return name;
}

function decodeUncached(bytes: Uint8Array, start: number, length: number): string {
  const view = bytes.subarray(start, start + length);
  try {
    return decoder.decode(view);
  } catch {
    return decodeLossless(view);
  }
}

/** Valid sequences as they are, every other byte as a lone surrogate. */
function decodeLossless(bytes: Uint8Array): string {
  let out = "";
  let at = 0;
  while (at < bytes.length) {
    const size = sequenceLength(bytes, at);
    if (size === 0) out += String.fromCharCode(0xdc00 + bytes[at++]);
    else {
      out += decoder.decode(bytes.subarray(at, at + size));
      at += size;
    }
  }
  return out;
}

/** Bytes of the valid UTF-8 sequence at `at`; 0 when there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first < 0x80) return 1;
  const size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || at + size > bytes.length) return 0;
  for (let i = 1; i < size; i++) if ((bytes[at + i] & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1];
  if (first === 0xe0 && second < 0xa0) return 0; // overlong
  if (first === 0xed && second > 0x9f) return 0; // a surrogate
  if (first === 0xf0 && second < 0x90) return 0; // overlong
  if (first === 0xf4 && second > 0x8f) return 0; // past U+10FFFF
  return size;
}

/** Bytes that `text` takes when encoded. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80 || isEscapedByte(text, i)) continue;
    if (unit < 0x800) bytes += 1;
    else {
      bytes += 2;
      if (isPair(text, i)) i++; // two units make four bytes
    }
  }
  return bytes;
}

/** Encodes `text` at `at`; answers the bytes written. The room must be there (`utf8Length`). */
export function encodeUtf8(text: string, into: Uint8Array, at: number): number {
  const { length } = text;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) return i + encodeRest(text, i, into, at + i);
    into[at + i] = unit;
  }
  return length;
}

function encodeRest(text: string, from: number, into: Uint8Array, at: number): number {
  let end = at;
  let run = from;
  for (let i = from; i <= text.length; i++) {
    const escaped = i < text.length && isEscapedByte(text, i);
    if (!escaped && i < text.length) {
      if (isPair(text, i)) i++;
      continue;
    }
    if (i > run) end += encoder.encodeInto(text.slice(run, i), into.subarray(end)).written;
    if (escaped) into[end++] = text.charCodeAt(i) - 0xdc00;
    run = i + 1;
  }
  return end - at;
}

/** Whether `text` holds no byte that was not UTF-8. */
export function isUtf8(text: string): boolean {
  return text.isWellFormed();
}

function isPair(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00;
}

/** A lone low surrogate U+DC80..U+DCFF stands for a byte. */
function isEscapedByte(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  if (unit < 0xdc80 || unit > 0xdcff) return false;
  return at === 0 || (text.charCodeAt(at - 1) & 0xfc00) !== 0xd800;
}
