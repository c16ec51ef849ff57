/** The kernel isolate of isolate_start_bench.ts: starts and ends plugins, and prints medians. */

import type { Hosted } from "../core/host/hosted.ts";
import { Warden } from "../core/host/spawn.ts";
import { Client } from "../core/p9/client.ts";

const SPEC = {
  options: {},
  reason: "fresh",
  hostowner: "glenda",
  sysname: "gnot",
  generation: 1,
  log: console.error,
} as const;

const folder = Deno.makeTempDirSync({ prefix: "ring9-bench-" });
const hello = plugin("hello", "");
const loop = plugin("loop", "ctx.clock.after(1, () => { for (;;); });");
const ram = new URL("../plugins/ram/mod.ts", import.meta.url).href;

const warden = await Warden.connect();
const { json, rounds, began } = warden.init as { json: boolean; rounds: number; began: number };
const results: Record<string, number> = {
  "kernel is there, ms after the process began": performance.timeOrigin + performance.now() - began,
};
await warden.locked;
results["warden is locked"] = performance.timeOrigin + performance.now() - began;

const isolate = (module: string) => warden.spawnIsolate({ ...SPEC, name: "bench", module });
const process = (module: string) => warden.spawnProcess({ ...SPEC, name: "bench", module, permissions: {} });
results["isolate, the first"] = await once(() => isolate(hello));
await measure("isolate, hello", () => isolate(hello));
await measure("isolate, ram", () => isolate(ram));
await measure("isolate in a loop", () => isolate(loop));
results["isolate, resident MiB"] = await residentMb();
results["process, the first"] = await once(() => process(hello));
await measure("process, hello", () => process(hello));
await measure("process, ram", () => process(ram));

Deno.removeSync(folder, { recursive: true });
if (json) console.log(JSON.stringify(results));
else for (const [name, ms] of Object.entries(results)) console.log(`${name.padEnd(44)} ${ms.toFixed(1).padStart(8)}`);
await warden.exit(0);

function plugin(name: string, body: string): string {
  const path = `${folder}/${name}.ts`;
  Deno.writeTextFileSync(
    path,
    `import { definePlugin, tree } from "ring9/plugin";
     export default definePlugin({ start: (ctx) => { ${body} return tree({ hello: "hello\\n" }, ctx); } });`,
  );
  return `file://${path}`;
}

/** Milliseconds until it serves; then it is ended. */
async function once(start: () => Promise<Hosted>): Promise<number> {
  const before = performance.now(), hosted = await start();
  const ms = performance.now() - before;
  await hosted.kill();
  return ms;
}

/** Medians: until it serves, until its root is attached, and until it is gone. */
async function measure(name: string, start: () => Promise<Hosted>): Promise<void> {
  const up: number[] = [], attached: number[] = [], killed: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = performance.now(), hosted = await start();
    up.push(performance.now() - before);
    if (!name.includes("loop")) {
      const client = await Client.connect(hosted.transport, { uname: "glenda" });
      await client.attach();
      attached.push(performance.now() - before);
    }
    const kill = performance.now();
    await hosted.kill();
    killed.push(performance.now() - kill);
  }
  results[`${name}: serves, ms`] = median(up);
  if (attached.length > 0) results[`${name}: attached, ms`] = median(attached);
  results[`${name}: killed, ms`] = median(killed);
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

/** What an idle isolate adds to the process. */
async function residentMb(): Promise<number> {
  const count = 8, before = Deno.memoryUsage().rss;
  const all = await Promise.all(Array.from({ length: count }, () => isolate(hello)));
  const after = Deno.memoryUsage().rss;
  await Promise.all(all.map((one) => one.kill()));
  return (after - before) / 2 ** 20 / count;
}
