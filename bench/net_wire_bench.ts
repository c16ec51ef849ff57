/**
 * What the wire formats cost: the Internet checksum at the sizes of a header, a frame and a super-frame, in one arena of
 * shared memory, at even and odd offsets; and reading and writing the headers of a TCP segment.
 *
 * Run: deno task bench net_wire [--json]
 */

import { checksum, updateChecksum } from "../net/checksum.ts";
import { Random } from "../net/wire/wire_fixture.ts";

const results: Record<string, number> = {};
const arena = new Uint8Array(new SharedArrayBuffer(1 << 20));
arena.set(new Random(1).bytes(1 << 17));
let sink = 0;

/** Best of seven runs: nanoseconds for one call of `fn`. */
function measure(name: string, calls: number, fn: (i: number) => number): void {
  let best = Infinity;
  for (let run = 0; run < 7; run++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) sink ^= fn(i);
    best = Math.min(best, (performance.now() - start) * 1e6 / calls);
  }
  results[name] = Math.round(best * 10) / 10;
}

for (const [bytes, calls] of [[20, 2_000_000], [64, 2_000_000], [1460, 500_000], [65_536, 10_000]]) {
  measure(`checksum of ${bytes} B`, calls, (i) => checksum(arena, (i & 7) * 4, (i & 7) * 4 + bytes));
  measure(
    `checksum of ${bytes} B, odd offset`,
    calls,
    (i) => checksum(arena, (i & 7) * 4 + 1, (i & 7) * 4 + 1 + bytes),
  );
}
measure("update of a checksum", 5_000_000, (i) => updateChecksum(i & 0xffff, 0x4006, 0x3f06));

if (Deno.args.includes("--json")) console.log(JSON.stringify({ name: "net_wire", unit: "ns", results }));
else for (const [name, ns] of Object.entries(results)) console.log(`${String(ns).padStart(8)} ns  ${name}`);
if (sink === 0.5) console.log(sink);
