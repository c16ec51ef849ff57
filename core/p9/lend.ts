/**
 * Lend: large data by reference, where a transport's two ends see the same memory.
 *
 * Layer: core/p9, between the sessions and clients of `9P2000.L.r9` and their transport's blocks. Who sends data copies it
 * into a block and sends where it lies; who receives it reads it there and gives the block back. When no block is
 * free the data goes through the stream as always: nobody waits for one.
 */

import { Err } from "../err.ts";
import { copyBytes, WORD_BYTES } from "./bytes.ts";
import * as m from "./msg.ts";
import type { DataRef } from "./msg.ts";
import type { Blocks } from "./transport.ts";

/** Data of fewer bytes goes through the stream: it is copied twice more in less time than a block is lent and given back. */
export const LEND_FROM = 16 * 1024;

/** `data` in a block, aligned as what stands at `position`; undefined when it is small or no block is free. */
export function lendCopy(blocks: Blocks, data: Uint8Array, position: number): DataRef | undefined {
  if (data.length < LEND_FROM) return undefined;
  const block = blocks.lend(WORD_BYTES + data.length), skew = position % WORD_BYTES;
  if (!block) return undefined;
  copyBytes(data, block.view, skew);
  return { at: block.at + skew, length: data.length, ticket: block.ticket };
}

/** The reply, by reference when that is worth it. */
export function lentReply(blocks: Blocks, reply: m.Rread): m.Rread | m.Rreadref {
  const ref = lendCopy(blocks, reply.data, reply.data.byteOffset);
  return ref ? { type: m.Rreadref, tag: reply.tag, ref } : reply;
}

/** What a reference stands for. EPROTO where there is no memory that both sides see. */
export function borrowed(blocks: Blocks | undefined, ref: DataRef): Uint8Array {
  if (!blocks) throw new Err("EPROTO", "a reference to memory that is not shared");
  return blocks.borrow(ref);
}
