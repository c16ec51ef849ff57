/**
 * Memory that both system calls and WebAssembly may work on: buffers of devices.
 *
 * Layer: core, a leaf. A buffer made here is an ordinary ArrayBuffer that stays where it is and is never resized; whoever meets
 * it later may ask for the memory that it is, and run vector instructions on its bytes.
 */

const PAGE_BYTES = 65_536;

const memories = new WeakMap<ArrayBufferLike, WebAssembly.Memory>();

/** A buffer of at least `bytes`. */
export function wasmBuffer(bytes: number): ArrayBuffer {
  const pages = Math.ceil(bytes / PAGE_BYTES), memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  memories.set(memory.buffer, memory);
  return memory.buffer as ArrayBuffer;
}

/** The memory that a buffer is; undefined for others. */
export function wasmMemoryOf(buffer: ArrayBufferLike): WebAssembly.Memory | undefined {
  return memories.get(buffer);
}
