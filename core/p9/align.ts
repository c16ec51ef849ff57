/**
 * Alignment of a byte stream in its buffers.
 *
 * Layer: a leaf of core/p9. The engine copies to and from shared memory by words when both sides have the same
 * alignment, and else byte by byte, eight times slower. A ring keeps a stream's bytes at their position modulo its
 * size; so a buffer that keeps them at the same position modulo a word is copied fast, whatever the messages' lengths.
 */

/** Bytes of a word. */
const WORD_BYTES = 8;

/** Where in a buffer the byte at this position of its stream stands best: 0 to 7. */
export function alignment(position: number): number {
  return position % WORD_BYTES;
}
