/**
 * Congestion control in simulation: what each algorithm gets out of a bottleneck, and how long the queue is that it keeps there.
 *
 * Run: deno task bench net_cc [--json]. Time is simulated, so the figures are the same on every machine; what an ACK
 * costs is measured, by the host's clock.
 */

import { CC_NAMES, createCc } from "../net/tcp/cc/algorithms.ts";
import { AckSample, type SendRecord } from "../net/tcp/cc/cc.ts";
import { RateSampler } from "../net/tcp/cc/rate.ts";
import { alone, type Bottleneck, type FlowOptions, mbit, throughput } from "../net/tcp/cc/sim_fixture.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("net_cc", { json: onOff() });

const GIGABIT: Bottleneck = { rate: mbit(1000), rttMs: 10, queueBytes: 1_500_000 };
const LOCAL: Bottleneck = { rate: mbit(30_000), rttMs: 0.06, queueBytes: 65_536 * 1000 };

const PATHS: readonly [name: string, is: Bottleneck, options?: Partial<FlowOptions>][] = [
  ["1 Gbit/s, 10 ms", GIGABIT],
  ["0.1 % lost", { ...GIGABIT, loss: 0.001 }],
  ["1 % lost", { ...GIGABIT, loss: 0.01 }],
  ["5 % lost", { ...GIGABIT, loss: 0.05 }],
  ["10 % lost", { ...GIGABIT, loss: 0.1 }],
  ["2 % reordered by 2 ms", { ...GIGABIT, reorder: 0.02, reorderMs: 2 }],
  ["ACKs every 8 ms", { ...GIGABIT, ackEveryMs: 8 }],
  ["10 Mbit/s, 40 ms, 1 MB of queue", { rate: mbit(10), rttMs: 40, queueBytes: 1_000_000 }],
  ["30 Gbit/s, 60 us, super-segments", LOCAL, { unitBytes: 65_000 }],
  ["the same, sender pauses 3 ms in 15", LOCAL, { unitBytes: 65_000, stallMs: 3, stallEveryMs: 15 }],
];

/** Mbit/s in the second second (of slow paths, the second ten), and the mean queue in milliseconds. */
function figures(is: Bottleneck, options: FlowOptions): string {
  const { sim, link, flow } = alone(1, is, options),
    ms = is.rate < mbit(100) ? 10_000 : is.rate > mbit(10_000) ? 300 : 1000;
  sim.run(ms);
  link.measure();
  const rate = throughput(sim, flow, ms);
  return `${(rate / 125).toFixed(0)} (${(link.meanQueue / is.rate).toFixed(1)})`;
}

/** Nanoseconds of what the engine calls for one ACK of two segments and the two that it lets go. */
function ackNs(name: typeof CC_NAMES[number], count: number): number {
  const cc = createCc(name, { mss: 1448, now: 0, rttMs: 10, seed: 1 }),
    sampler = new RateSampler(),
    ack = new AckSample();
  const blank = { sentMs: 0, delivered: 0, deliveredMs: 0, firstSentMs: 0, appLimited: false };
  const ring = Array.from({ length: 430 }, (): SendRecord => ({ ...blank })),
    bytes = 2896,
    inflight = bytes * ring.length;
  ring.forEach((record, i) => sampler.sent(record, i / 43, i * bytes));
  Object.assign(ack, {
    priorInflight: inflight,
    inflight: inflight - bytes,
    srttMs: 10,
    minRttMs: 10,
    rttMs: 10,
    cwndLimited: true,
  });
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    const now = 10 + i / 43, record = ring[i % ring.length];
    sampler.begin();
    sampler.delivered(record, bytes, now);
    sampler.finish(ack, now, 10);
    cc.onAck(ack);
    sampler.sent(record, now, inflight - bytes);
  }
  return (performance.now() - start) * 1e6 / count;
}

const results: Record<string, Record<string, string>> = {};

/** Says a row as soon as it is there: the whole table takes a while. */
function note(name: string, row: Record<string, string>): void {
  results[name] = row;
  if (!json) console.log(name.padEnd(36), ...CC_NAMES.map((cc) => row[cc].padStart(14)));
}

if (!json) {
  console.log("Mbit/s, and in brackets the mean queue in ms");
  console.log("".padEnd(36), ...CC_NAMES.map((name) => name.padStart(14)));
}
for (const [name, is, options] of PATHS) {
  note(name, Object.fromEntries(CC_NAMES.map((cc) => [cc, figures({ ...is }, { cc, ...options })])));
}
for (const name of CC_NAMES) ackNs(name, 200_000);
note("an ACK and a send, ns", Object.fromEntries(CC_NAMES.map((name) => [name, ackNs(name, 500_000).toFixed(0)])));
if (json) console.log(JSON.stringify(results));
