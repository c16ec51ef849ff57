/** Rings between two isolates that really run at once: seeded sizes and paces, every byte checked, every way of waiting. */

import assert from "node:assert/strict";
import type { SoakJob } from "../../tests/ring_soak_worker.ts";
import { readRing } from "./spsc.ts";
import { ringPair } from "./transport.ts";

const SEED = Number(Deno.env.get("SEED") ?? Date.now() & 0xffffff);
/** Far beyond what it takes: only a lost wake-up takes this long. */
const HANG_MS = 60_000;

type Case = Pick<SoakJob, "kind" | "budget" | "adaptive" | "count" | "maxSize"> & { name: string; ringBytes: number };

const CASES: Case[] = [
  {
    name: "messages, always parking",
    kind: "messages",
    budget: { spin: 0, turns: 0 },
    adaptive: false,
    count: 30_000,
    maxSize: 200,
    ringBytes: 1024,
  },
  {
    name: "messages, spinning a little, with an adaptive budget",
    kind: "messages",
    budget: { spin: 200, turns: 0 },
    adaptive: true,
    count: 60_000,
    maxSize: 100,
    ringBytes: 4096,
  },
  {
    name: "streams both ways, always parking",
    kind: "stream",
    budget: { spin: 0, turns: 0 },
    adaptive: false,
    count: 2_000,
    maxSize: 3000,
    ringBytes: 2048,
  },
  {
    name: "streams both ways, spin, turns and park, with an adaptive budget",
    kind: "stream",
    budget: { spin: 300, turns: 4 },
    adaptive: true,
    count: 3_000,
    maxSize: 3000,
    ringBytes: 2048,
  },
];

for (const { name, ringBytes, ...job } of CASES) {
  Deno.test(`soak: ${name}: all arrives, in order, unharmed`, async () => {
    const ports = ringPair({
      a: { name: "a", owner: { id: 1 } },
      b: { name: "b", owner: { id: 2 } },
      bytes: ringBytes,
    });
    const workers = ports.map(() =>
      new Worker(new URL("../../tests/ring_soak_worker.ts", import.meta.url), { type: "module" })
    );
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hung = new Promise<string>((resolve) => timer = setTimeout(() => resolve("hangs"), HANG_MS));
    const ended = Promise.all(workers.map((w, i) =>
      new Promise<string>((resolve) => {
        w.onmessage = (e) => resolve(e.data);
        w.postMessage({ ...job, role: i === 0 ? "a" : "b", port: ports[i], seed: SEED } satisfies SoakJob);
      })
    ));
    const outcome = await Promise.race([ended, hung]);
    clearTimeout(timer);
    workers.forEach((w) => w.terminate());
    const rings = [ports[0].out, ports[1].out].map(readRing);
    const detail = `SEED=${SEED} ${JSON.stringify(rings)}`;
    assert.deepEqual(outcome, ["done", "done"], detail);
    const parks = rings.reduce((sum, r) => sum + r.producer.parks + r.consumer.parks, 0);
    if (job.budget.spin === 0) assert.ok(parks > 0, `nobody ever parked: ${detail}`);
  });
}
