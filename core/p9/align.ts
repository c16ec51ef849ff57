/**
 * Alignment of a byte stream in its buffers: where a buffer begins decides how fast it is copied.
 *
 * Layer: a leaf of core/p9, beside bytes.ts.
 *
 * - The engine copies to and from shared memory by words when both sides have the same alignment, and else byte by byte,
 *   eight times slower. A ring keeps a stream's bytes at their position modulo its size; so a buffer that keeps them at
 *   the same position modulo a word is copied fast, whatever the messages' lengths.
 * - AMD's processors copy 4 KiB and more fifteen times slower when the destination is 1 to 15 bytes beyond the source,
 *   modulo a page; and large buffers begin at a page. So buffers between which data is copied begin at different places,
 *   and none of them just where a file's pages do, once the header of a message is added.
 */

import { WORD_BYTES } from "./bytes.ts";

/** Where each kind of buffer begins. */
export const BEGIN = { input: 0, output: 32, requests: 64, replies: 96 } as const;

/** Where in a buffer that begins at `begin` the byte at this position of its stream stands best. */
export function alignment(position: number, begin: number): number {
  return begin + position % WORD_BYTES;
}
