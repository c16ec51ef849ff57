/**
 * Figures of 9P over loopback TCP: ring9's `ram` beside Debian's diod on tmpfs, in one run.
 *
 * Layer: bench. One connection of `c/p9load.c`, which pipelines and checks all data. Server and client are pinned to a
 * CPU each; the servers take turns, and medians are told with the processor time an operation. Only ratios within one
 * run mean anything; processor time is steadier than rates.
 *
 * usage: deno task bench:9p [--runs 5] [--seconds 1] [--server-cpus 0] [--one-cpu] [--json] [--idle] [--only CASE]
 *                           [--placement inline|isolate|process]... [--peer NAME=COMMAND]...
 *   --placement where ring9's `ram` runs (inline and isolate): the default image, and those of `images/` beside this
 *   --peer      another server, `{port}` standing for its port, with `--peer-aname` and `--peer-work`: where to write
 *   --idle      also boot time, memory and processor time of an idle ring9 (20 s more)
 *   --server-cpus  where all threads of a server may run; with 0,1 an isolate can have the client's CPU
 *   --one-cpu   server and client share a CPU
 */

import { allowedCpus } from "../core/host/threads.ts";
import { formatCpus } from "../core/sched/cpulist.ts";
import { compileC, must, ROOT } from "../tests/interop/host.ts";
import { startDiod, startRing9, startServer, type TestServer } from "../tests/interop/servers.ts";
import { cpus, program } from "../tests/skip.ts";
import { commands, count, cpuList, need, onOff, partOf, readFlags, run, seconds, someOf, text } from "./flags.ts";
import { CASES, family, median, printRow, runCase } from "./p9_load.ts";

const values = readFlags("bench:9p", {
  runs: count(5),
  seconds: seconds(1),
  "server-cpus": cpuList(allowedCpus().slice(0, 1)),
  "one-cpu": onOff(),
  json: onOff(),
  idle: onOff(),
  placement: someOf(["inline", "isolate", "process"], ["inline", "isolate"]),
  peer: commands(),
  "peer-aname": text("TREE", "/"),
  "peer-work": text("DIR", "/"),
  only: partOf(() => CASES.map(({ name }) => name)),
});
need("bench:9p", program("diod"), program("gcc"), program("taskset"), ...values["one-cpu"] ? [] : [cpus(2)]);

const CLIENT_CPU = `${allowedCpus()[values["one-cpu"] ? 0 : 1]}`;
const PINNED = ["taskset", "-c", formatCpus(values["server-cpus"])];

await run("bench:9p", main);

async function main(): Promise<void> {
  const p9load = await compileC(`${ROOT}/bench/c/p9load.c`);
  await using stack = new AsyncDisposableStack();
  const servers: TestServer[] = [];
  for (const start of starters()) servers.push(stack.use(await start()));
  const rows = [];
  for (const bench of CASES.filter(({ name }) => !values.only || name.includes(values.only))) {
    const how = { runs: values.runs, seconds: values.seconds, clientCpu: CLIENT_CPU };
    const samples = await runCase(p9load, bench, servers, how);
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
  for (const { name, command } of values.peer) {
    const what = { name, command: command.split(" "), aname: values["peer-aname"], work: values["peer-work"] };
    all.push(() => startServer(what, { prefix: PINNED }));
  }
  return all;
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

function rename(server: TestServer, name: string): TestServer {
  return { ...server, name, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
