/**
 * The other side of doorbell_test.ts: rings a bell as soon as its isolate is asleep on it.
 *
 * Layer: a test's worker.
 */

import { type BellRef, bellWords, ringBell } from "./doorbell.ts";

const scope = globalThis as unknown as Worker;
scope.onmessage = ({ data }: MessageEvent<{ bell: BellRef; flag: SharedArrayBuffer }>) => {
  const words = bellWords(data.bell);
  while (Atomics.load(words, 0) === 0);
  Atomics.store(new Int32Array(data.flag), 0, 1);
  ringBell(data.bell);
};
scope.postMessage("ready");
