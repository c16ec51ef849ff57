/** top: frames of two readings of /sys/metrics. */

import assert from "node:assert/strict";
import { parseMetrics, runTop, topFrame, topWords } from "./top.ts";

const reading = (n: number) =>
  `ring9_core_info{core="0",state="host",provisioned="",allocated=""} 1
ring9_core_time_seconds_total{core="0",mode="user"} ${n}
ring9_isolate_info{isolate="ra\\"m",runs="worker-2",cpus="1",cores="1",priority="lc"} 1
ring9_isolate_cpu_seconds_total{isolate="ra\\"m"} ${n / 2}
ring9_isolate_heap_bytes{isolate="ra\\"m",kind="used"} 3145728
ring9_ring_messages_total{from="kernel",to="ram.2"} ${n * 5000}
# EOF
`;

Deno.test("a frame shows what has happened between two readings, a second", () => {
  const text = topFrame(parseMetrics(reading(10)), parseMetrics(reading(11)), 2);
  const words = text.split("\n").map((line) => line.split(/\s+/));
  assert.deepEqual(words[1].slice(0, 4), ["0", "host", "-", "50%"]);
  assert.deepEqual(words.find((w) => w[0] === 'ra"m')?.slice(1, 5), ["worker-2", "1", "lc", "25%"]);
  assert.equal(words.find((w) => w[0] === 'ra"m')?.at(-1), "3.0M");
  assert.deepEqual(words.find((w) => w[0] === "kernel")?.slice(0, 3), ["kernel", "ram.2", "2.5k"]);
});

Deno.test("it prints as many frames as are asked, and stops when it is interrupted", async () => {
  const frames: string[] = [], stop = new AbortController();
  let n = 0;
  const read = async () => reading(n++);
  const print = async (text: string) => void frames.push(text);
  await runTop({ read, print, seconds: 0.01, frames: 2, clear: true });
  assert.equal(frames.length, 2);
  assert.ok(frames[1].startsWith("\x1b[H"));
  setTimeout(() => stop.abort(), 30);
  await runTop({ read, print, seconds: 100, frames: Infinity, clear: false, signal: stop.signal });
  assert.equal(frames.length, 2);
});

Deno.test("its words are a number of seconds, and once", () => {
  assert.deepEqual(topWords([]), { seconds: 1, frames: Infinity });
  assert.deepEqual(topWords(["once", "0.5"]), { seconds: 0.5, frames: 1 });
  for (const wrong of [["x"], ["-5"], ["1", "2"]]) assert.equal(topWords(wrong), undefined);
});
