/**
 * Heart: what an isolate tells of itself twice a second: that its event loop turns, its heap, how its waits ended.
 *
 * Layer: core/host, on the confined side; isolate_run.ts and program_run.ts start one each. It is a few words of shared
 * memory, which the kernel reads when it likes. While a program is in a call that blocks, it stands still.
 */

import type { Doorbell } from "../ring/doorbell.ts";
import { BEAT_MS, BEATS, type FromPlugin, HEAP_BUFFERS, HEAP_USED } from "./hosted.ts";

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
  beat: Int32Array;
  /** What the array buffers may take, MiB. */
  memoryMb: number;
  doorbell: Doorbell;
  tell(message: FromPlugin): void;
}

/** Starts to beat; answers how to end it. */
export function startHeart({ beat, memoryMb, doorbell, tell, heapFull, heap }: HeartOptions): () => void {
  let large = 0;
  const count = () => {
    const { used_heap_size, total_heap_size, external_memory } = heap(),
      { spins, turned, naps, parks } = doorbell.stats;
    beat.set(
      [used_heap_size >> 10, total_heap_size >> 10, external_memory >> 10, spins, turned + naps, parks],
      HEAP_USED,
    );
  };
  count();
  const timer = setInterval(() => {
    Atomics.add(beat, BEATS, 1);
    if (heapFull()) tell({ t: "heap" });
    count();
    large = beat[HEAP_BUFFERS] > memoryMb * 1024 ? large + 1 : 0;
    if (large >= LARGE_BEATS) tell({ t: "buffers" });
  }, BEAT_MS);
  return () => clearInterval(timer);
}
