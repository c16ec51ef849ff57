/**
 * Bytes: copies that may have one side in memory shared with another isolate.
 *
 * Layer: a leaf of core/p9. The engine copies to and from shared memory by words where both sides have the same alignment,
 * and else byte by byte, eight times slower. So a copy between different alignments takes two steps.
 */

/** The engine's word. */
export const WORD_BYTES = 8;
/** Copies shorter than this are not worth a second step. */
const SHORT_BYTES = 256;
/** Bytes a step: they stay in the fastest cache. */
const STEP_BYTES = 16 * 1024;

const between = new Uint8Array(STEP_BYTES + WORD_BYTES);

/** Whether other isolates see these bytes, too. */
export function isShared(bytes: Uint8Array): boolean {
  return bytes.buffer instanceof SharedArrayBuffer;
}

/** As `dst.set(src, at)`, and as quick when one of them is shared and they are aligned differently. */
export function copyBytes(src: Uint8Array, dst: Uint8Array, at = 0): void {
  const skew = src.byteOffset % WORD_BYTES;
  const aligned = skew === (dst.byteOffset + at) % WORD_BYTES;
  if (aligned || src.length < SHORT_BYTES || isShared(src) === isShared(dst)) return dst.set(src, at);
  const fromShared = isShared(src), middle = fromShared ? skew : (dst.byteOffset + at) % WORD_BYTES;
  for (let from = 0; from < src.length; from += STEP_BYTES) {
    const part = src.subarray(from, from + STEP_BYTES), step = between.subarray(middle, middle + part.length);
    step.set(part);
    dst.set(step, at + from);
  }
}

/** The bytes in an array of their own, that nobody else sees. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const own = new Uint8Array(bytes.length);
  copyBytes(bytes, own);
  return own;
}
