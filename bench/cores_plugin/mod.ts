/**
 * quantum: what noise_bench.ts and cores_bench.ts run in an isolate: quanta of fixed work or of fixed time, or work without
 * an end that lets its loop turn.
 *
 * Layer: bench, a plugin. The work is that of c/fwq.c.
 */

import { ctl, definePlugin, tree } from "ring9/plugin";

/** Iterations between two looks at the clock of a quantum of fixed time. */
const STEP = 1000;

let times = new Float64Array(0);
let busy = false;
let sink = 1;

export default definePlugin({
  start: (ctx) =>
    tree({
      ctl: ctl({
        "fwq iterations:1..100000000 samples:1..1000000": {
          help: "runs quanta of fixed work; then times has how long each took, nanoseconds",
          run: fixedWork,
        },
        "ftq us:1..1000000 samples:1..1000000": {
          help: "runs quanta of fixed time; then times has how many iterations each did",
          run: fixedTime,
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

function fixedWork(iterations: number, samples: number): void {
  times = new Float64Array(samples);
  for (let i = 0; i < 200; i++) sink = quantum(sink, STEP);
  for (let i = 0; i < samples; i++) {
    const start = performance.now();
    sink = quantum(sink, iterations);
    times[i] = (performance.now() - start) * 1e6;
  }
}

function fixedTime(us: number, samples: number): void {
  times = new Float64Array(samples);
  let end = performance.now();
  for (let i = 0; i < samples; i++) {
    end += us / 1000;
    let done = 0;
    for (; performance.now() < end; done += STEP) sink = quantum(sink, STEP);
    times[i] = done;
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
