/**
 * quantum: what cores_bench.ts runs in an isolate: fixed work quanta, or work without an end that lets its loop turn.
 *
 * Layer: bench, a plugin. The work is that of c/fwq.c.
 */

import { ctl, definePlugin, Err, tree } from "ring9/plugin";

let times = new Float64Array(0);
let busy = false;
let sink = 1;

export default definePlugin({
  start: (ctx) =>
    tree({
      ctl: ctl({
        "run iterations:int samples:1..1000000": {
          help: "runs that many quanta; then times has how long each took",
          run: (iterations, samples) => run(iterations, samples),
        },
        "busy on:bool": {
          help: "works, a tenth of a millisecond between two turns of its loop",
          run(on) {
            if (on && !busy) work(5000);
            busy = on;
          },
        },
      }),
      times: () => new Uint8Array(times.buffer),
    }, ctx),
});

function run(iterations: number, samples: number): void {
  if (iterations < 1) throw new Err("EINVAL", "one iteration at least");
  times = new Float64Array(samples);
  for (let i = 0; i < 500; i++) sink = quantum(sink, iterations);
  for (let i = 0; i < samples; i++) {
    const start = performance.now();
    sink = quantum(sink, iterations);
    times[i] = (performance.now() - start) * 1e6;
  }
}

function quantum(x: number, iterations: number): number {
  for (let i = 0; i < iterations; i++) x = (Math.imul(x, 1664525) + 1013904223) | 0;
  return x;
}

/** Garbage too, so that the collector's helpers have something to do. */
function work(iterations: number): void {
  setImmediate(() => {
    const junk = Array.from({ length: 200 }, (_, i) => ({ i, sink }));
    sink = quantum(sink ^ junk.length, iterations * 10);
    if (busy) work(iterations);
  });
}
