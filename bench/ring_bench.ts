/**
 * What a message between two pinned isolates costs, on the real ring code, beside two C threads that wake by futex.
 *
 * Run: deno task bench ring [--json] [--cpus=A,B]. Needs gcc for the C side, and CPUs that nobody
 * else uses: the load at the start is printed. Figures are medians of ROUNDS runs.
 */

import { allowedCpus, threadCpuMs, threadsNamed } from "../core/host/threads.ts";
import { createArena } from "../core/ring/arena.ts";
import { type Budget, DEFAULT_BUDGET } from "../core/ring/doorbell.ts";
import { DEFAULT_RING_BYTES, ringPair } from "../core/ring/transport.ts";
import type { Job, Outcome } from "./ring_worker.ts";
import { program } from "../tests/skip.ts";
import { cpuList, need, onOff, readFlags } from "./flags.ts";

const flags = readFlags("ring", { json: onOff(), cpus: cpuList([allowedCpus()[0], allowedCpus().at(-1)!], 2) });
need("ring", program("gcc"));

const ROUNDS = 5;
/** Hops of a run, spinning and parked. */
const SPUN = 100_000, PARKED = 4_000;
const SPIN: Budget = { spin: 1e6, turns: 0, napMs: 0 }, PARK: Budget = { spin: 0, turns: 0, napMs: 0 };
const LOAD = Deno.loadavg()[0];
const CPUS = flags.cpus;
/** KiB of a ring that carries references alone: no more of them than the arena has blocks. */
const REFERENCES_KIB = 0.125;

interface Row {
  what: string;
  value: number;
  unit: string;
  /** p99, where the value is a p50. */
  p99?: number;
  /** What it is held against, and whether more is better. */
  target?: { name: string; limit: number; atLeast?: boolean };
}

const rows: Row[] = [];

const peer = await buildPeer();
const cFutex = await medianOf(() => runPeer("futex", PARKED)), cSpin = await medianOf(() => runPeer("spin", SPUN));
rows.push({ what: "C threads, spinning, hop of 64 B", value: cSpin[0], unit: "us", p99: cSpin[1] });
rows.push({ what: "C threads, futex, hop of 64 B", value: cFutex[0], unit: "us", p99: cFutex[1] });

await latency("ring, spinning", "sync", SPIN, SPUN, { name: "1 us", limit: 1 });
await latency("ring, spinning, event loop", "async", SPIN, SPUN, { name: "1 us", limit: 1 });
await latency("9P transport, spinning", "transport", SPIN, SPUN, { name: "1 us", limit: 1 });
const parked = { name: "1.5 x C futex", limit: 1.5 * cFutex[0] };
await latency("ring, parked", "sync", PARK, PARKED, parked);
await latency("ring, parked, event loop", "async", PARK, PARKED, parked);
await latency("9P transport, parked", "transport", PARK, PARKED, parked);
const gigabytes = { name: "5 GB/s", limit: 5, atLeast: true };
await throughput("sync", { size: 64, ringKiB: 64, count: 3e6, target: { name: "4 M/s", limit: 4, atLeast: true } });
for (const ringKiB of [256, DEFAULT_RING_BYTES / 1024]) {
  await throughput("sync", { size: 65536, ringKiB, count: 16_000, target: gigabytes });
  await throughput("transport", { size: 65536, ringKiB, count: 16_000, target: gigabytes });
  await throughput("transport", { size: 1 << 20, ringKiB, count: 1_000 });
}
await throughput("arena", { size: 65536, ringKiB: REFERENCES_KIB, count: 16_000, target: gigabytes });
await throughput("arena", { size: 1 << 20, ringKiB: REFERENCES_KIB, count: 1_000 });
await idle();
report();
Deno.exit(0);

async function latency(what: string, wait: Job["wait"], budget: Budget, count: number, target: Row["target"]) {
  const [value, p99] = await medianOf(async () => {
    const { hopsUs } = (await pair(["ping", "pong"], { wait, budget, count, size: 64 }))[0];
    const warm = hopsUs!.subarray(count / 5).toSorted();
    return [warm[warm.length >> 1], warm[Math.floor(warm.length * 0.99)]];
  });
  rows.push({ what: `${what}, hop of 64 B`, value, unit: "us", p99, target });
}

async function throughput(
  wait: Job["wait"],
  { size, ringKiB, count, target }: { size: number; ringKiB: number; count: number; target?: Row["target"] },
) {
  const budget = { spin: 2000, turns: 16, napMs: 0 };
  const [perSecond] = await medianOf(async () => {
    const [, receiver] = await pair(["send", "receive"], { wait, budget, count, size }, ringKiB * 1024);
    return [count / receiver.elapsedMs * 1e3];
  });
  const small = size < 1024, unitSize = small ? `${size} B` : `${size / 1024} KiB`;
  const way = { sync: "ring, messages", transport: "9P transport, writes", arena: "arena, messages", async: "" }[wait];
  const what = `${way} of ${unitSize}, ring of ${ringKiB < 1 ? `${ringKiB * 1024} B` : `${ringKiB} KiB`}`;
  rows.push({ what, value: perSecond * (small ? 1e-6 : size * 1e-9), unit: small ? "M/s" : "GB/s", target });
}

/** The CPU time of two isolates that wait for each other, once they have settled. */
async function idle() {
  const seconds = 2, workers = isolates(), ports = wire();
  const job = { wait: "async", budget: DEFAULT_BUDGET, count: 0, size: 0, kind: "idle" } as const;
  await Promise.all(workers.map(answer));
  workers.forEach((w, i) => w.postMessage({ ...job, port: ports[i] } satisfies Job));
  await sleep(500);
  const tids = threadsNamed("bench/idle").map((t) => t.tid), start = tids.map(threadCpuMs);
  await sleep(seconds * 1000);
  const cpuMs = tids.reduce((sum, tid, i) => sum + threadCpuMs(tid) - start[i], 0);
  workers.forEach((w) => w.terminate());
  if (tids.length !== 2) throw new Error(`${tids.length} idle isolates`);
  rows.push({
    what: "two idle isolates",
    value: cpuMs / seconds / 10,
    unit: "% CPU",
    target: { name: "1 %", limit: 1 },
  });
}

/** Runs the same job on both sides; answers what each measured. */
async function pair(
  kinds: [Job["kind"], Job["kind"]],
  job: Omit<Job, "kind" | "port">,
  ringBytes = 1 << 16,
): Promise<Outcome[]> {
  const workers = isolates(), ports = wire(ringBytes);
  const arena = job.wait === "arena" ? createArena([{ bytes: job.size, count: 8 }]) : undefined;
  await Promise.all(workers.map(answer));
  const done = Promise.all(workers.map((w) => answer(w) as Promise<Outcome>));
  workers.forEach((w, i) => w.postMessage({ ...job, arena, kind: kinds[i], port: ports[i] } satisfies Job));
  const outcomes = await done;
  workers.forEach((w) => w.terminate());
  return outcomes;
}

function wire(bytes = 1 << 16) {
  return ringPair({
    a: { name: "a", owner: { id: 1, cpu: CPUS[0] } },
    b: { name: "b", owner: { id: 2, cpu: CPUS[1] } },
    bytes,
  });
}

function isolates(): [Worker, Worker] {
  const one = () => new Worker(new URL("./ring_worker.ts", import.meta.url), { type: "module" });
  return [one(), one()];
}

function answer(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = (e) => resolve(e.data);
    worker.onerror = (e) => reject(new Error(e.message));
  });
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function medianOf(run: () => Promise<number[]>): Promise<number[]> {
  const runs: number[][] = [];
  for (let i = 0; i < ROUNDS; i++) runs.push(await run());
  return runs[0].map((_, i) => runs.map((r) => r[i]).toSorted((a, b) => a - b)[ROUNDS >> 1]);
}

async function buildPeer(): Promise<string> {
  const out = await Deno.makeTempFile({ prefix: "ring_peer" });
  const source = new URL("./c/ring_peer.c", import.meta.url).pathname;
  const gcc = await new Deno.Command("gcc", { args: ["-O2", "-Wall", "-pthread", "-o", out, source] }).output();
  if (!gcc.success) throw new Error(`cannot build ${source}: ${new TextDecoder().decode(gcc.stderr)}`);
  return out;
}

async function runPeer(mode: string, count: number): Promise<number[]> {
  const { stdout } = await new Deno.Command(peer, { args: [mode, ...CPUS.map(String), String(count)] }).output();
  return new TextDecoder().decode(stdout).trim().split(" ").map(Number);
}

function report(): void {
  if (flags.json) {
    return console.log(JSON.stringify({ cpus: CPUS, rounds: ROUNDS, load: LOAD, rows }));
  }
  console.log(`CPUs ${CPUS.join(" and ")}, medians of ${ROUNDS} runs, load at the start ${LOAD.toFixed(1)}\n`);
  console.log(`${"".padEnd(52)}${"p50".padStart(9)}${"p99".padStart(9)}        target`);
  for (const { what, value, unit, p99, target } of rows) {
    const met = target && (target.atLeast ? value >= target.limit : value <= target.limit);
    const ratio = target ? ` ${(value / target.limit).toFixed(2)} of ${target.name}: ${met ? "met" : "MISSED"}` : "";
    const figure = value.toFixed(value < 100 ? 3 : 0).padStart(9) + (p99 ? p99.toFixed(2) : "").padStart(9);
    console.log(`${what.padEnd(52)}${figure} ${unit.padEnd(6)}${ratio}`);
  }
}
