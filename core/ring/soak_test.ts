/** Rings between two isolates that really run at once: seeded sizes and paces, every byte checked, every way of waiting. */

import assert from "node:assert/strict";
import { threadIds, threads } from "../host/threads.ts";
import { turn } from "../host/turn.ts";
import type { SoakJob } from "../../tests/ring_soak_worker.ts";
import { createArena } from "./arena.ts";
import { RingMatrix } from "./matrix.ts";
import { readRing } from "./spsc.ts";
import { ringPair, ringTransport } from "./transport.ts";

/** Messages of each case, times this: `SOAK=1000` runs for a quarter of an hour or so. */
const SOAK = Number(Deno.env.get("SOAK") ?? 1);
const SEED = Number(Deno.env.get("SEED") ?? Date.now() & 0xffffff);
/** Far beyond what it takes: only a lost wake-up takes this long. */
const HANG_MS = 60_000 * SOAK;

/** Few, so that the sender often finds none. */
const BLOCKS = [{ bytes: 128, count: 3 }, { bytes: 512, count: 2 }, { bytes: 1024, count: 3 }];

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
    name: "blocks of an arena, always parking",
    kind: "blocks",
    budget: { spin: 0, turns: 0 },
    adaptive: false,
    count: 10_000,
    maxSize: 1000,
    ringBytes: 4096,
  },
  {
    name: "blocks of an arena, spinning a little",
    kind: "blocks",
    budget: { spin: 300, turns: 0 },
    adaptive: true,
    count: 20_000,
    maxSize: 1000,
    ringBytes: 8192,
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
    const arena = createArena(BLOCKS), count = job.count * SOAK;
    const workers = ports.map(() =>
      new Worker(new URL("../../tests/ring_soak_worker.ts", import.meta.url), { type: "module" })
    );
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hung = new Promise<string>((resolve) => timer = setTimeout(() => resolve("hangs"), HANG_MS));
    const ended = Promise.all(workers.map((w, i) =>
      new Promise<string>((resolve) => {
        w.onmessage = (e) => resolve(e.data);
        w.postMessage(
          { ...job, count, arena, role: i === 0 ? "a" : "b", port: ports[i], seed: SEED } satisfies SoakJob,
        );
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

Deno.test("an isolate that is killed in the middle of a write ends the stream of its peer, and its rings serve the next one", async () => {
  let allocated = 0;
  const alloc = (bytes: number) => (allocated++, { buffer: new SharedArrayBuffer(bytes), offset: 0 });
  const matrix = new RingMatrix({ ringBytes: 4096, alloc }), into = new Uint8Array(1024);
  matrix.join("core");
  for (let life = 1; life <= 3; life++) {
    const plugin = matrix.join("plugin");
    const [mine, theirs] = matrix.connect("core", "plugin"), before = threadIds();
    const worker = new Worker(new URL("../../tests/ring_soak_worker.ts", import.meta.url), { type: "module" });
    const job = { kind: "stream", role: "a", budget: { spin: 0, turns: 0 }, adaptive: false } as const;
    worker.postMessage({ ...job, port: theirs, seed: SEED, count: 100_000, maxSize: 3000 } satisfies SoakJob);
    const core = ringTransport(mine, { turn });
    for (let seen = 0; seen < 50_000;) seen += await core.read(into) ?? assert.fail("the end came early");
    const thread = threads().find((t) => t.name.startsWith("worker-") && !before.includes(t.tid))!;
    worker.terminate();
    matrix.leave("plugin");
    while (await core.read(into) !== null);
    core.close();
    assert.equal(mine.in.generation, life);
    while (threadIds().includes(thread.tid)) await turn();
    matrix.gone(plugin.id);
  }
  assert.equal(allocated, 2);
});
