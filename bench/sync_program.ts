/**
 * The program of sync_bench.ts: reads a file again and again by blocking calls, and prints how long each took.
 *
 * usage: sync_program FILE BYTES COUNT; prints p50 p90 p99 of one pread, microseconds
 */

import { defineProgram, ORDWR } from "ring9/proc";

export default defineProgram(({ args, sys, print }) => {
  const [, file, bytes, count] = args, into = new Uint8Array(Number(bytes)), times = new Float64Array(Number(count));
  const fd = sys.create(file, ORDWR);
  sys.write(fd, new Uint8Array(into.length).fill(7));
  for (let i = 0; i < 50; i++) { // until the way past the kernel is there, if there is one
    sys.pread(fd, into, 0);
    sys.sleep(1);
  }
  for (let i = 0; i < times.length; i++) {
    const start = performance.now();
    const got = sys.pread(fd, into, 0);
    times[i] = (performance.now() - start) * 1000;
    if (got !== into.length) return `read ${got} bytes`;
  }
  if (into.some((x) => x !== 7)) return "the bytes are not those that were written";
  const warm = times.subarray(times.length / 5).toSorted();
  print([0.5, 0.9, 0.99].map((p) => warm[Math.floor(warm.length * p)]).join(" "));
});
