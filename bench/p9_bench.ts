/**
 * Figures of 9P over loopback TCP: ring9's `ram` beside Debian's diod on tmpfs, in one run.
 *
 * Layer: bench. One connection of `c/p9load.c`, which pipelines and checks all data. Server and client are pinned to a
 * CPU each; the servers take turns, and medians are told with the processor time an operation. Only ratios within one
 * run mean anything; processor time is steadier than rates.
 *
 * usage: deno task bench:9p [--runs 5] [--seconds 1] [--one-cpu] [--json] [--idle] [--only CASE]
 *                           [--placement inline|isolate|process]... [--peer NAME=COMMAND]...
 *   --placement where ring9's `ram` runs (inline and isolate): the default image, and those of `images/` beside this
 *   --peer      another server, `{port}` standing for its port, with `--peer-aname` and `--peer-work`: where to write
 *   --idle      also boot time, memory and processor time of an idle ring9 (20 s more)
 *   --one-cpu   server and client share a CPU
 */

import { parseArgs } from "node:util";
import { compileC, must, ROOT } from "../tests/interop/host.ts";
import { startDiod, startRing9, startServer, type TestServer } from "../tests/interop/servers.ts";

/** What p9load prints. */
interface Sample {
  msize: number;
  operations: number;
  opsPerSecond: number;
  mbPerSecond: number;
  p50Us: number;
  p99Us: number;
  serverCpuUs: number;
}

/** One row of the table. */
interface Case {
  name: string;
  args: string[];
  /** Which figure the row is about. */
  unit: "opsPerSecond" | "mbPerSecond";
}

const CASES: Case[] = [
  { name: "walk+getattr+clunk, 16 in flight", args: ["-w", "walk", "-n", "16"], unit: "opsPerSecond" },
  { name: "walk+getattr+clunk, 1 in flight", args: ["-w", "walk", "-n", "1"], unit: "opsPerSecond" },
  { name: "4 KiB random read, 16 in flight", args: ["-w", "read", "-n", "16"], unit: "opsPerSecond" },
  { name: "4 KiB random read, 1 in flight", args: ["-w", "read", "-n", "1"], unit: "opsPerSecond" },
  { name: "sequential read, msize 64 KiB", args: ["-w", "seqread", "-n", "4"], unit: "mbPerSecond" },
  { name: "sequential write, msize 64 KiB", args: ["-w", "seqwrite", "-n", "4"], unit: "mbPerSecond" },
  { name: "sequential read, msize 1 MiB", args: ["-w", "seqread", "-n", "4", "-m", "1048576"], unit: "mbPerSecond" },
  { name: "sequential write, msize 1 MiB", args: ["-w", "seqwrite", "-n", "4", "-m", "1048576"], unit: "mbPerSecond" },
];

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    "one-cpu": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    idle: { type: "boolean", default: false },
    placement: { type: "string", multiple: true, default: ["inline", "isolate"] },
    peer: { type: "string", multiple: true, default: [] },
    "peer-aname": { type: "string", default: "/" },
    "peer-work": { type: "string", default: "/" },
    only: { type: "string" },
  },
});

const SERVER_CPU = "0", CLIENT_CPU = values["one-cpu"] ? "0" : "1";
const PINNED = ["taskset", "-c", SERVER_CPU];

await main();

async function main(): Promise<void> {
  const p9load = await compileC(`${ROOT}/bench/c/p9load.c`);
  await using stack = new AsyncDisposableStack();
  const servers: TestServer[] = [];
  for (const start of starters()) servers.push(stack.use(await start()));
  const rows = [];
  for (const bench of CASES.filter(({ name }) => !values.only || name.includes(values.only))) {
    const samples = await runCase(p9load, bench, servers);
    rows.push({
      ...bench,
      results: servers.map(({ name }, i) => ({ server: name, ...median(samples[i], bench.unit) })),
    });
    if (!values.json) printRow(rows[rows.length - 1]);
  }
  const idle = values.idle ? await idleFigures() : undefined;
  if (values.json) console.log(JSON.stringify({ cases: rows, idle }, null, 1));
  else if (idle) printIdle(idle);
}

function starters(): (() => Promise<TestServer>)[] {
  const all = [() => startDiod({ prefix: PINNED })];
  for (const placement of values.placement) {
    const args = placement === "inline" ? [] : ["--image", `${ROOT}/bench/images/${placement}`];
    all.push(async () => rename(await startRing9({ prefix: PINNED, args }), `ring9 ${placement}`));
  }
  for (const [name, command] of values.peer.map(splitPair)) {
    const what = { name, command: command.split(" "), aname: values["peer-aname"], work: values["peer-work"] };
    all.push(() => startServer(what, { prefix: PINNED }));
  }
  return all;
}

/** For each server its samples; the servers take turns, so that a busy moment of the machine meets all of them. */
async function runCase(p9load: string, bench: Case, servers: TestServer[]): Promise<Sample[][]> {
  const samples: Sample[][] = servers.map(() => []);
  for (let run = 0; run < Number(values.runs); run++) {
    for (const [i, server] of servers.entries()) {
      const pids = (await family(server.pid)).flatMap((pid) => ["-p", String(pid)]);
      const where = ["-a", server.aname, "-d", server.work, "-s", values.seconds, ...pids];
      const dial = `tcp!${server.host}!${server.port}`;
      const args = ["-c", CLIENT_CPU, p9load, ...bench.args, ...where, dial];
      samples[i].push(JSON.parse(await must("taskset", args, { timeoutMs: 60_000 })));
    }
  }
  return samples;
}

/** The sample whose figure is in the middle. */
function median(samples: Sample[], unit: Case["unit"]): Sample {
  return samples.toSorted((a, b) => a[unit] - b[unit])[Math.floor(samples.length / 2)];
}

function printRow(row: Case & { results: (Sample & { server: string })[] }): void {
  const [base] = row.results;
  console.log(`\n${row.name}`);
  for (const r of row.results) {
    const figure = row.unit === "opsPerSecond"
      ? `${(r.opsPerSecond / 1000).toFixed(1).padStart(8)} thousand/s`
      : `${r.mbPerSecond.toFixed(0).padStart(8)} MB/s (msize ${r.msize})`;
    const ratio = `${(r[row.unit] / base[row.unit]).toFixed(2)}x`;
    const latency = `p50 ${r.p50Us.toFixed(1)} us, p99 ${r.p99Us.toFixed(1)} us`;
    console.log(
      `  ${r.server.padEnd(16)}${figure}  ${ratio.padStart(6)}  ${latency}, CPU ${r.serverCpuUs.toFixed(2)} us`,
    );
  }
}

interface Idle {
  /** From the command to the first answered Tversion, median of five. */
  bootMs: number;
  /** Resident memory of all its processes after 5 s. */
  residentMb: number;
  /** Processor time over 10 s, percent of a CPU. */
  cpuPercent: number;
}

async function idleFigures(): Promise<Idle> {
  const boots: number[] = [];
  for (let i = 0; i < 5; i++) {
    await using server = await startRing9();
    boots.push(server.startMs);
  }
  await using server = await startRing9();
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const residentMb = await residentBytes(server.pid) / 1e6, before = await cpuSeconds(server.pid);
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const cpuPercent = (await cpuSeconds(server.pid) - before) / 10 * 100;
  return { bootMs: boots.toSorted((a, b) => a - b)[2], residentMb, cpuPercent };
}

function printIdle(idle: Idle): void {
  console.log(`\nring9, default image\n  command to first answered Tversion  ${idle.bootMs.toFixed(0)} ms`);
  console.log(`  resident after 5 s                  ${idle.residentMb.toFixed(0)} MB`);
  console.log(`  idle processor time                 ${idle.cpuPercent.toFixed(2)} % of a CPU`);
}

/** A process and those it has started. */
async function family(pid: number): Promise<number[]> {
  const children = (await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`)).trim();
  const below = children === "" ? [] : await Promise.all(children.split(" ").map((child) => family(Number(child))));
  return [pid, ...below.flat()];
}

async function residentBytes(pid: number): Promise<number> {
  const statuses = (await family(pid)).map((member) => Deno.readTextFile(`/proc/${member}/status`));
  const kib = (await Promise.all(statuses)).map((status) => Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]));
  return kib.reduce((sum, one) => sum + one, 0) * 1024;
}

/** utime and stime of a process and its children, in seconds: see proc(5). */
async function cpuSeconds(pid: number): Promise<number> {
  const ticksPerSecond = Number(await must("getconf", ["CLK_TCK"]));
  const stats = (await family(pid)).map((member) => Deno.readTextFile(`/proc/${member}/stat`));
  const ticks = (await Promise.all(stats)).map((stat) => {
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, one) => sum + one, 0) / ticksPerSecond;
}

function splitPair(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new Error(`${text}: expected NAME=VALUE`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function rename(server: TestServer, name: string): TestServer {
  return { ...server, name, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
