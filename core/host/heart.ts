/**
 * Heart: what an isolate tells of itself when the kernel asks: that its event loop turns, its heap, how its waits ended.
 *
 * Layer: core/host, on the confined side; isolate_run.ts and program_run.ts have one each. It is a few words of shared
 * memory, which the kernel reads when it likes. An isolate that rests is not asked (pulse.ts), so it costs nothing.
 */

import type { Doorbell } from "../ring/doorbell.ts";
import { BEATS, type FromPlugin, HEAP_BUFFERS, HEAP_USED } from "./hosted.ts";

/** At so many beats in a row the array buffers may be too large: what is garbage counts until it is collected. */
const LARGE_BEATS = 2;

/** What isolate_main.ts has taken from the engine for it. */
export interface HeapGauge {
  /** Whether the heap's limit was reached. */
  heapFull(): boolean;
  /** Bytes in use. */
  heap(): { used_heap_size: number; total_heap_size: number; external_memory: number };
}

/** What a heart is made with. */
export interface HeartOptions extends HeapGauge {
  /** The words. */
  words: Int32Array;
  /** What the array buffers may take, MiB. */
  memoryMb: number;
  doorbell: Doorbell;
  tell(message: FromPlugin): void;
}

/** Makes a heart; answers how it is made to beat. */
export function makeHeart({ words, memoryMb, doorbell, tell, heapFull, heap }: HeartOptions): () => void {
  let large = 0;
  const count = () => {
    const { used_heap_size, total_heap_size, external_memory } = heap(),
      { spins, turned, naps, parks } = doorbell.stats;
    words.set(
      [used_heap_size >> 10, total_heap_size >> 10, external_memory >> 10, spins, turned + naps, parks],
      HEAP_USED,
    );
  };
  count();
  return () => {
    count();
    Atomics.add(words, BEATS, 1);
    if (heapFull()) tell({ t: "heap" });
    large = words[HEAP_BUFFERS] > memoryMb * 1024 ? large + 1 : 0;
    if (large >= LARGE_BEATS) tell({ t: "buffers" });
  };
}
