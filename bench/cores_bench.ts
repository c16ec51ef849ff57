/**
 * Cores: what a provisioned core is worth, how fast one is given, how many isolates there is room for.
 *
 * Run: deno task bench cores [--json] [--instances=50] [--samples=5000], as root, on a quiet machine of two CPUs at the
 * least; gcc for the C side. All is done through a mount of a node that is booted for it, as a user does it.
 * - Noise: quanta of fixed work (FWQ) of a provisioned isolate, of one that runs where all others do, and of a pinned C program,
 *   each without and with the same load: busy isolates of the same node (`node`), busy processes of the host (`host`).
 *   A quantum deviates when it takes more than 1.2 times the fastest of its run.
 * - Moves: from the write to a ctl file until the isolate runs on its new core.
 * - Density and idleness: instances of `hello`, one of which is asked.
 */

import type { Client } from "../core/p9/client.ts";
import { bootNode, type TestNode } from "../tests/node.ts";

/** Work of a quantum, some 50 us; how much slower than the fastest one is a deviation, and the histogram's bounds. */
const ITERATIONS = 40_000, DEVIATES = 1.2, BOUNDS = [1.05, 1.2, 2, 10, 100];
const MOVES = 200, REQUESTS = 2000, IDLE_S = 5;
const INSTANCES = number("instances", 50), SAMPLES = number("samples", 5000);
const CPUS = navigator.hardwareConcurrency;
const LOAD = Deno.loadavg()[0];

interface Noise {
  what: string;
  load: string;
  /** Microseconds. */
  fastest: number;
  p50: number;
  p99: number;
  max: number;
  /** Share of quanta that deviate. */
  deviating: number;
  /** Shares up to each bound times the fastest, and above. */
  histogram: number[];
}

const figures: Record<string, number> = {}, noise: Noise[] = [];
const plugin = new URL("./cores_plugin", import.meta.url).pathname;
const fwq = await buildC();
let isolation = "";

await noiseTests();
await moveTests();
await densityTests();
await Deno.remove(fwq);
report();
Deno.exit(0);

// Noise.

async function noiseTests(): Promise<void> {
  for (const load of ["none", "node", "host"]) {
    await using node = await bootNode();
    await using client = await node.connect();
    await ctl(client, "/sys/plugins/ctl", `load ${plugin}`);
    await ctl(client, "/n/quantum/ctl", `run ${ITERATIONS} ${SAMPLES}`); // the engine has optimised it by then
    await using _stop = await startLoad(client, load);
    await isolateNoise(client, "isolate, where all run", load);
    await cNoise(load);
    await ctl(client, "/sys/plugins/quantum/ctl", "cores 1\nguaranteed 1");
    isolation = (await client.readText("/sys/cores/status")).split("\n")[0];
    await isolateNoise(client, "isolate, provisioned", load);
  }
  const share = (what: string, load: string) => noise.find((n) => n.what === what && n.load === load)!.deviating;
  for (const load of ["node", "host"]) {
    const own = Math.max(share("isolate, provisioned", load), 1 / SAMPLES);
    figures[`deviating quanta, where all run : provisioned, load ${load} (target 10)`] =
      share("isolate, where all run", load) / own;
  }
}

async function isolateNoise(client: Client, what: string, load: string): Promise<void> {
  await ctl(client, "/n/quantum/ctl", `run ${ITERATIONS} ${SAMPLES}`);
  const bytes = await client.readFile("/n/quantum/times");
  noise.push(noiseOf(what, load, [...new Float64Array(bytes.slice().buffer)]));
}

async function cNoise(load: string): Promise<void> {
  const args = [String(CPUS - 1), String(ITERATIONS), String(SAMPLES)];
  const { stdout } = await new Deno.Command(fwq, { args }).output();
  noise.push(noiseOf("C, pinned", load, new TextDecoder().decode(stdout).trim().split("\n").map(Number)));
}

function noiseOf(what: string, load: string, ns: number[]): Noise {
  const us = ns.map((n) => n / 1000).sort((a, b) => a - b), [fastest] = us, { length } = us;
  const shares = [...BOUNDS, Infinity].map((bound, i) => {
    const over = i === 0 ? 0 : BOUNDS[i - 1];
    return us.filter((t) => t > over * fastest && t <= bound * fastest).length / length;
  });
  const deviating = us.filter((t) => t > DEVIATES * fastest).length / length;
  return {
    what,
    load,
    fastest,
    p50: at(us, 0.5),
    p99: at(us, 0.99),
    max: us[length - 1],
    deviating,
    histogram: shares,
  };
}

/** Two busy isolates or processes for each CPU but one. */
async function startLoad(client: Client, load: string): Promise<AsyncDisposable> {
  const count = Math.max(2, CPUS - 1), children: Deno.ChildProcess[] = [];
  for (let i = 0; i < count && load === "node"; i++) {
    await ctl(client, "/sys/plugins/ctl", `load ${plugin} as busy${i}`);
    await ctl(client, `/proc/1/ns`, `bind '#busy${i}' /n/busy${i}`);
    await ctl(client, `/n/busy${i}/ctl`, "busy on");
  }
  for (let i = 0; i < count && load === "host"; i++) {
    children.push(new Deno.Command("/bin/sh", { args: ["-c", "while :; do :; done"] }).spawn());
  }
  await sleep(500);
  return {
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(children.map((child) => child.status));
    },
  };
}

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
  const pid = await kernelPid(node), started: number[] = [];
  await ctl(client, "/sys/plugins/ctl", "load hello");
  await requests(client, "1 instance");
  const before = residentMb(pid);
  for (let i = 1; i < INSTANCES; i++) {
    const begun = performance.now();
    await ctl(client, "/sys/plugins/ctl", `load hello as h${i}`);
    started.push((performance.now() - begun) * 1000);
  }
  const each = (residentMb(pid) - before) / Math.max(1, INSTANCES - 1);
  figures["isolate, resident MiB"] = each;
  figures["isolates a GiB"] = 1024 / each;
  const tenth = Math.max(1, started.length / 10 | 0);
  put("start, the first tenth of instances", started.slice(0, tenth));
  put("start, the last tenth of instances", started.slice(-tenth));
  await requests(client, `${INSTANCES} instances`);
  await sleep(1000);
  const cpu = cpuMs(pid);
  await sleep(IDLE_S * 1000);
  figures[`idle with ${INSTANCES} instances, % of a core (target 1)`] = (cpuMs(pid) - cpu) / IDLE_S / 10;
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

async function ctl(client: Client, path: string, command: string): Promise<void> {
  await using file = await client.open(path, 1);
  await file.write(encode(command), 0);
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function at(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

function put(what: string, us: number[]): void {
  const sorted = us.toSorted((a, b) => a - b);
  figures[`${what}, us p50`] = at(sorted, 0.5);
  figures[`${what}, us p99`] = at(sorted, 0.99);
}

function number(name: string, otherwise: number): number {
  const given = Deno.args.find((arg) => arg.startsWith(`--${name}=`));
  const value = given === undefined ? otherwise : Number(given.slice(name.length + 3));
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} wants a number above 0`);
  return value;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function buildC(): Promise<string> {
  const out = await Deno.makeTempFile({ prefix: "fwq" });
  const source = new URL("./c/fwq.c", import.meta.url).pathname;
  const gcc = await new Deno.Command("gcc", { args: ["-O2", "-Wall", "-o", out, source] }).output();
  if (!gcc.success) throw new Error(`cannot build ${source}: ${new TextDecoder().decode(gcc.stderr)}`);
  return out;
}

function report(): void {
  if (Deno.args.includes("--json")) {
    return console.log(JSON.stringify({ cpus: CPUS, load: LOAD, isolation, samples: SAMPLES, figures, noise }));
  }
  console.log(`${CPUS} CPUs, load at the start ${LOAD.toFixed(1)}, ${isolation}, ${SAMPLES} quanta each\n`);
  const bounds = [...BOUNDS.map((bound) => `<=${bound}x`), `>${BOUNDS.at(-1)}x`];
  const columns = ["fastest us", "p50", "p99", "max", "deviate", ...bounds];
  console.log("quanta".padEnd(26) + "load ".padEnd(6) + columns.map((c) => c.padStart(11)).join(""));
  for (const { what, load, fastest, p50, p99, max, deviating, histogram } of noise) {
    const cells = [...[fastest, p50, p99, max].map((us) => us.toFixed(1)), ...[deviating, ...histogram].map(percent)];
    console.log(what.padEnd(26) + load.padEnd(6) + cells.map((c) => c.padStart(11)).join(""));
  }
  console.log();
  for (const [what, value] of Object.entries(figures)) {
    console.log(`${what.padEnd(76)}${value.toFixed(2).padStart(12)}`);
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)}%`;
}
