/**
 * The real plugins on a TAP against Linux's stack (bench/stack.ts, through the files of /net), beside two stacks of Linux
 * that a C program joins over TAPs: one stream each way, with offload and in frames of 1,500 bytes, requests and responses
 * of 64 bytes, and connections. By turns, medians of ROUNDS; what counts on a busy machine is the ratio.
 *
 * Run as root: deno task bench net_linux [--json]. Needs gcc, ip, nsenter, taskset. The client is on CPU A, the stack on
 * B; requests and connections have both on B.
 */

import { allowedCpus } from "../core/host/threads.ts";
import { inNetns, NET_NEEDS, run } from "../tests/netns.ts";
import { missing, program } from "../tests/skip.ts";

const ROUNDS = 3, SECONDS = 1.5, LINUX = "10.99.0.1", OURS = "10.99.0.2";
const [A, B] = [allowedCpus()[0], allowedCpus().at(-1)!], LOAD = Deno.loadavg()[0];
const V8 = "--v8-flags=--no-turboshaft-loop-unrolling,--min-semi-space-size=16";

/** What is measured: the load's mode, the CPU that it is on, the port. */
const MEASURES = [
  { name: "receive, Mbit/s", mode: "send", cpu: A, port: 9 },
  { name: "send, Mbit/s", mode: "recv", cpu: A, port: 19 },
  { name: "requests and responses, per second", mode: "rr", cpu: B, port: 7 },
  { name: "connections, per second", mode: "crr", cpu: B, port: 7 },
];

interface Row {
  what: string;
  cable: number;
  ring9: number;
}

const lacking = missing([...NET_NEEDS, program("gcc"), program("ip"), program("nsenter"), program("taskset")]);
if (lacking !== undefined) {
  console.log(`not measured: ${lacking}`);
  Deno.exit(0);
}
const load = await Deno.makeTempFile({ prefix: "tcpload" });
await run("gcc", "-O2", "-o", load, new URL("./c/tcpload.c", import.meta.url).pathname);
const rows: Row[] = [];
for (const offload of [true, false]) {
  const cable: number[][] = [], ring9: number[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    cable.push(await inNetns(() => measureCable(offload)));
    ring9.push(await inNetns(() => measureRing9(offload)));
  }
  const suffix = offload ? "offload" : "1,500 B";
  for (const [i, { name }] of MEASURES.entries()) {
    rows.push({ what: `${name}, ${suffix}`, cable: median(cable, i), ring9: median(ring9, i) });
  }
}
await Deno.remove(load);
report();

async function measureRing9(offload: boolean): Promise<number[]> {
  const script = new URL("./stack.ts", import.meta.url).pathname;
  const stack = new Deno.Command("taskset", {
    args: ["-c", `${B}`, Deno.execPath(), "run", "-A", V8, script, ...offload ? [] : ["--no-offload"]],
    env: { TAP: "tap0", IP: OURS, PEERIP: LINUX },
    stdout: "piped",
  }).spawn();
  try {
    for await (const text of stack.stdout.pipeThrough(new TextDecoderStream())) if (text.includes("ready")) break;
    return await measure();
  } finally {
    stack.kill();
    await stack.status;
  }
}

async function measureCable(offload: boolean): Promise<number[]> {
  const children = [
    spawn("cable", "tap0", "tap1", offload ? "1" : "0"),
    new Deno.Command("unshare", { args: ["-n", "sleep", "600"] }).spawn(),
  ];
  const there = ["-t", `${children[1].pid}`, "-n"];
  try {
    await new Promise((done) => setTimeout(done, 300));
    await run("ip", "link", "set", "tap1", "netns", `${children[1].pid}`);
    await run("ip", "addr", "add", `${LINUX}/24`, "dev", "tap0");
    await run("ip", "link", "set", "tap0", "up");
    await run("nsenter", ...there, "ip", "addr", "add", `${OURS}/24`, "dev", "tap1");
    await run("nsenter", ...there, "ip", "link", "set", "tap1", "up");
    children.push(new Deno.Command("nsenter", { args: [...there, load, "serve", `${B}`] }).spawn());
    await new Promise((done) => setTimeout(done, 300));
    return await measure();
  } finally {
    await run("nsenter", ...there, "ip", "link", "del", "tap1").catch(() => {});
    for (const child of children) {
      child.kill("SIGKILL");
      await child.status;
    }
  }
}

async function measure(): Promise<number[]> {
  const figures: number[] = [];
  for (const { mode, cpu, port } of MEASURES) {
    figures.push(parseFloat(await run(load, mode, `${cpu}`, OURS, `${port}`, `${SECONDS}`)));
  }
  return figures;
}

function spawn(mode: string, ...args: string[]): Deno.ChildProcess {
  return new Deno.Command(load, { args: [mode, `${B}`, ...args] }).spawn();
}

function median(runs: number[][], i: number): number {
  return runs.map((run) => run[i]).toSorted((a, b) => a - b)[runs.length >> 1];
}

function report(): void {
  if (Deno.args.includes("--json")) return console.log(JSON.stringify({ cpus: [A, B], load: LOAD, rows }));
  console.log(`client on CPU ${A}, stack on CPU ${B}, medians of ${ROUNDS}, load at the start ${LOAD.toFixed(1)}\n`);
  console.log(`${"".padEnd(46)}${"Linux, C cable".padStart(16)}${"ring9".padStart(10)}`);
  for (const { what, cable, ring9 } of rows) {
    const ratio = (ring9 / cable).toFixed(2);
    console.log(`${what.padEnd(46)}${cable.toFixed(0).padStart(16)}${ring9.toFixed(0).padStart(10)}  ${ratio}`);
  }
}
