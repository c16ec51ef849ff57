/**
 * What it takes to start and end a plugin in an isolate and in a process, in a real node: its warden locked, its
 * modules served, until it answers 9P.
 *
 * Run: deno run -A --no-prompt --no-npm --no-remote --v8-flags=--no-turboshaft-loop-unrolling \
 *   bench/isolate_start_bench.ts [--json] [--rounds=20]
 */

import { runWarden } from "../core/host/warden.ts";
import { count, onOff, readFlags } from "./flags.ts";

const { json, rounds } = readFlags("isolate_start", { json: onOff(), rounds: count(20) });
await runWarden(new URL("./isolate_start_kernel.ts", import.meta.url), {
  json,
  rounds,
  began: performance.timeOrigin,
});
