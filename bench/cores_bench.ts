/**
 * Cores: how fast one is given, how many isolates there is room for. What a provisioned one is worth is noise_bench.ts.
 *
 * Run: deno task bench cores [--json] [--instances=50] [--settle=40], as root, on a machine of two CPUs at the least. All is done
 * through a mount of a node that is booted for it, as a user does it.
 * - Moves: from the write to a ctl file until the isolate runs on its new core.
 * - Density and idleness: instances of `hello`, one of which is asked.
 */

import type { Client } from "../core/p9/client.ts";
import { bootNode, type TestNode } from "../tests/node.ts";
import { cpus, root } from "../tests/skip.ts";
import { at, ctl, encode, plugin, sleep } from "./cores_help.ts";
import { count, need, onOff, readFlags } from "./flags.ts";

const flags = readFlags("cores", { json: onOff(), instances: count(50, 10_000), settle: count(40, 3600) });
need("cores", root, cpus(2));
const MOVES = 200, REQUESTS = 2000, IDLE_S = 5, INLINE = 50;
/** V8 collects what is left of a burst of work within half a minute, in each isolate. */
const SETTLE_S = flags.settle;
/** Numbers of instances at which one is asked. */
const STEPS = [10, 50, 100, 250, 500];
const INSTANCES = flags.instances;
const CPUS = navigator.hardwareConcurrency;
const LOAD = Deno.loadavg()[0];

const figures: Record<string, number> = {};

await moveTests();
await densityTests();
report();
Deno.exit(0);

// Moves.

async function moveTests(): Promise<void> {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", `load ${plugin} cores cores:1,watchdog:0,pin:0`);
  await ctl(client, "/n/quantum/ctl", "busy on");
  const tid = /^pid (\d+)/m.exec(await client.readText("/sys/plugins/quantum/stats"))![1];
  const answered: number[] = [], running: number[] = [];
  await using file = await client.open("/sys/plugins/quantum/ctl", 1);
  for (let i = 0; i < MOVES; i++) {
    await file.write(encode("want 0"), 0);
    while (cpuOf(tid) !== 0) await sleep(0);
    const start = performance.now();
    const written = file.write(encode("want 1"), 0).then(() => answered.push((performance.now() - start) * 1000));
    while (cpuOf(tid) === 0) await turn(); // it is pinned on 0 while it has no core of its own
    running.push((performance.now() - start) * 1000);
    await written;
  }
  put("core given: ctl write answered", answered);
  put("core given: isolate runs there", running);
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The CPU that a thread ran on last. */
function cpuOf(tid: string): number {
  const stat = Deno.readTextFileSync(`/proc/${tid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[36]);
}

// Density.

async function densityTests(): Promise<void> {
  await using node = await bootNode();
  await using client = await node.connect();
  const pid = await kernelPid(node);
  await ctl(client, "/sys/plugins/ctl", "load hello");
  await requests(client, "1 instance");
  await inlineTests(client, pid);
  const before = residentMb(pid);
  let started: number[] = [];
  for (let i = 2; i <= INSTANCES; i++) {
    const begun = performance.now();
    await ctl(client, "/sys/plugins/ctl", `load hello as h${i}`);
    started.push((performance.now() - begun) * 1000);
    if (!STEPS.includes(i) && i !== INSTANCES) continue;
    put(`start, the last of ${i} instances`, started);
    started = [];
    await requests(client, `${i} instances`);
  }
  const each = (residentMb(pid) - before) / Math.max(1, INSTANCES - 1);
  figures["isolate, resident MiB"] = each;
  figures["isolates a GiB"] = 1024 / each;
  await sleep(SETTLE_S * 1000);
  const cpu = cpuMs(pid);
  await sleep(IDLE_S * 1000);
  figures[`idle with ${INSTANCES} instances, % of a core (target 1)`] = (cpuMs(pid) - cpu) / IDLE_S / 10;
}

/** Plugins that share the kernel's isolate. */
async function inlineTests(client: Client, pid: number): Promise<void> {
  const before = residentMb(pid);
  for (let i = 0; i < INLINE; i++) await ctl(client, "/sys/plugins/ctl", `load hello as i${i} placement inline`);
  figures["plugin in a shared isolate, resident MiB (target 1)"] = (residentMb(pid) - before) / INLINE;
}

async function requests(client: Client, what: string): Promise<void> {
  const us: number[] = [], into = new Uint8Array(64);
  await using file = await client.open("/n/hello/hello");
  for (let i = 0; i < REQUESTS; i++) {
    const start = performance.now();
    await file.read(into, 0);
    us.push((performance.now() - start) * 1000);
  }
  put(`read of one, ${what}`, us.slice(REQUESTS / 10));
}

/** `deno task` is the parent of the node. */
async function kernelPid({ pid }: TestNode): Promise<number> {
  const [child] = (await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`)).trim().split(" ");
  return Number(child) || pid;
}

function residentMb(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))![1]) / 1024;
}

/** CPU time of all threads of a process. */
function cpuMs(pid: number): number {
  let ns = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    ns += Number(Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ")[0]);
  }
  return ns / 1e6;
}

// Help.

function put(what: string, us: number[]): void {
  const sorted = us.toSorted((a, b) => a - b);
  figures[`${what}, us p50`] = at(sorted, 0.5);
  figures[`${what}, us p99`] = at(sorted, 0.99);
}

function report(): void {
  if (flags.json) return console.log(JSON.stringify({ cpus: CPUS, load: LOAD, figures }));
  console.log(`${CPUS} CPUs, load at the start ${LOAD.toFixed(1)}\n`);
  for (const [what, value] of Object.entries(figures)) {
    console.log(`${what.padEnd(76)}${value.toFixed(2).padStart(12)}`);
  }
}
