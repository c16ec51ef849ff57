/**
 * Stacks on a TAP against Linux's own: ring9's real plugins (bench/stack.ts, through the files of /net), its stack
 * without them (bench/stack_alone.ts), two stacks of Linux that a C program joins, and any other that is named. By turns,
 * medians of the rounds; what counts on a busy machine is the ratio within one run.
 *
 * Run as root: deno task bench net_peers [--peer=NAME=COMMAND]... [--offload-peer=NAME=COMMAND]... [--only=GROUP,...]
 * [--skip=NAME,...] [--rounds=3] [--seconds=1.5] [--json]. Needs gcc, ip, nsenter, taskset.
 *
 * A peer is a program that serves discard (9), source (19, sends for ever) and echo (7) on the TAP that the environment
 * names: TAP, IP, PEERIP, MASK, MTU; OFFLOAD is 1 where frames may be larger than the MTU (only an --offload-peer is
 * asked). The TAP is there, and has PEERIP. The peer prints `ready` when it serves, and ends at SIGTERM.
 *
 * Always there, unless `--skip` leaves them out: `ring9`, the real plugins; `without gro`, the same when Linux does not merge
 * the frames that it is sent (peers do not ask Linux for that), asked for `frames` only; `stack alone`, without plugins; `Linux`,
 * two stacks of Linux with a C cable between. Groups (`--only`): `offload`, super-frames, and `frames` of 1,500 bytes:
 * requests and responses of 64 bytes, connections, streams; `loss` and `reorder`: streams through a bad link of
 * 1 Gbit/s and 10 ms (bench/c/badlink.c), the same for all. Streams have the client on CPU A and the stack on B;
 * requests and connections have both on B. Each is warmed up first.
 */

import { allowedCpus } from "../core/host/threads.ts";
import { inNetns, NET_NEEDS, run } from "../tests/netns.ts";
import { program } from "../tests/skip.ts";
import { commands, count, need, onOff, partsOf, readFlags, seconds } from "./flags.ts";

const LINUX = "10.99.0.1", OURS = "10.99.0.2", READY_MS = 20_000, END_MS = 3000;
const [A, B] = [allowedCpus()[0], allowedCpus().at(-1)!], LOAD = Deno.loadavg()[0];
const V8 = "--v8-flags=--no-turboshaft-loop-unrolling,--min-semi-space-size=16";

/** What is measured: the load's mode, the CPU that it is on, the port. */
interface Measure {
  name: string;
  mode: string;
  cpu: number;
  port: number;
  /** Seconds of it before what counts. */
  warm: number;
}

interface Group {
  name: string;
  offload: boolean;
  /** What the bad link is told: Mbit/s, ms each way, per cent lost, per cent reordered, seed. */
  link?: string;
  measures: Measure[];
}

/** A stack under test. `start` runs inside of a network namespace that has tap0. */
interface Peer {
  name: string;
  canOffload: boolean;
  /** It is asked for this group alone. */
  only?: string;
  start(group: Group): Promise<Children>;
}

type Children = Deno.ChildProcess[];

const REQUESTS: Measure[] = [
  { name: "requests/s", mode: "rr", cpu: B, port: 7, warm: 2 },
  { name: "connections/s", mode: "crr", cpu: B, port: 7, warm: 4 },
];
const STREAMS: Measure[] = [
  { name: "receive, Mbit/s", mode: "send", cpu: A, port: 9, warm: 0.5 },
  { name: "send, Mbit/s", mode: "recv", cpu: A, port: 19, warm: 0.5 },
];
const GROUPS: Group[] = [
  { name: "offload", offload: true, measures: [...REQUESTS, ...STREAMS] },
  { name: "frames", offload: false, measures: [...REQUESTS, ...STREAMS] },
  { name: "loss", offload: false, link: "1000 5 1 0", measures: STREAMS },
  { name: "reorder", offload: false, link: "1000 5 0 2", measures: STREAMS },
];

const flags = readFlags("net_peers", {
  peer: commands(),
  "offload-peer": commands(),
  only: partsOf(() => GROUPS.map(({ name }) => name)),
  skip: partsOf(() => ["ring9", "without gro", "stack alone", "Linux"]),
  rounds: count(3),
  seconds: seconds(1.5),
  json: onOff(),
});
const { rounds, only, skip = [] } = flags;
need("net_peers", ...NET_NEEDS, ...["gcc", "ip", "nsenter", "taskset"].map(program));
const dir = await Deno.makeTempDir({ prefix: "net_peers" }), load = `${dir}/tcpload`, link = `${dir}/badlink`;
for (const at of [load, link]) {
  await run("gcc", "-O2", "-o", at, new URL(`./c/${at.slice(dir.length + 1)}.c`, import.meta.url).pathname);
}
const peers: Peer[] = [
  { name: "ring9", canOffload: true, start: (group) => startRing9("stack.ts", group) },
  {
    name: "without gro",
    canOffload: false,
    only: "frames",
    start: (group) => startRing9("stack.ts", group, "--no-gro"),
  },
  { name: "stack alone", canOffload: true, start: (group) => startRing9("stack_alone.ts", group) },
  { name: "Linux", canOffload: true, start: startCable },
  ...flags["offload-peer"].map((peer) => named(peer, true)),
  ...flags.peer.map((peer) => named(peer, false)),
];

/** By group and measure, then by peer: a figure a round. */
const figures = new Map<string, Map<string, number[]>>();
for (const group of GROUPS.filter(({ name }) => only?.some((part) => name.includes(part)) ?? true)) {
  const able = peers.filter(({ name, canOffload, only = group.name }) =>
    !skip.some((part) => name.includes(part)) && (canOffload || !group.offload) && only === group.name
  );
  for (let round = 0; round < rounds; round++) {
    for (const peer of able) await inNetns(() => measure(group, peer, round));
  }
}
await Deno.remove(dir, { recursive: true });
report();

/** A peer of the command line. */
function named({ name, command }: { name: string; command: string }, canOffload: boolean): Peer {
  const start = async ({ offload }: Group) => [await spawnReady(offload, "sh", "-c", `exec ${command}`)];
  return { name, canOffload, start };
}

/** One round of one peer: what could not be measured is said, and is no figure. */
async function measure(group: Group, peer: Peer, round: number): Promise<void> {
  const outer = group.link === undefined ? "tap0" : "far0", children: Children = [];
  try {
    await run("ip", "tuntap", "add", "tap0", "mode", "tap");
    if (group.link !== undefined) children.push(await startLink(group.link, round));
    await run("ip", "addr", "add", `${LINUX}/24`, "dev", outer);
    for (const name of new Set(["tap0", outer])) await run("ip", "link", "set", name, "up");
    children.push(...await peer.start(group));
    for (const { name, mode, cpu, port, warm } of group.measures) {
      const load = (seconds: number) => callLoad(mode, cpu, port, seconds);
      await load(warm);
      note(`${group.name}: ${name}`, peer.name, await load(flags.seconds * (group.link ? 2 : 1)));
    }
  } catch (why) {
    console.error(`net_peers: ${peer.name}, ${group.name}: ${why instanceof Error ? why.message.trim() : why}`);
  } finally {
    for (const child of children.toReversed()) await end(child);
  }
}

async function callLoad(mode: string, cpu: number, port: number, seconds: number): Promise<number> {
  return parseFloat(await run(load, mode, `${cpu}`, OURS, `${port}`, `${seconds}`));
}

function note(what: string, peer: string, figure: number): void {
  const row = figures.getOrInsertComputed(what, () => new Map());
  row.getOrInsertComputed(peer, () => []).push(figure);
}

/** The bad link: far0, which Linux has, joined to tap0, which then is nobody else's. */
async function startLink(words: string, round: number): Promise<Deno.ChildProcess> {
  await run("ip", "link", "set", "tap0", "arp", "off");
  const child = new Deno.Command(link, {
    args: ["far0", "tap0", ...words.split(" "), `${round + 1}`],
    stdout: "piped",
  });
  return await untilReady(child.spawn());
}

/** On a bad link each frame has its own fate, and none is merged before it. */
async function startRing9(script: string, { offload, link }: Group, ...words: string[]): Promise<Children> {
  const path = new URL(script, import.meta.url).pathname;
  if (!offload) words.push("--no-offload");
  if (link !== undefined) words.push("--no-gro");
  return [await spawnReady(offload, Deno.execPath(), "run", "-A", V8, path, ...words)];
}

/** Linux as the stack under test: another namespace, reached by a TAP of its own. */
async function startCable({ offload }: Group): Promise<Children> {
  const cable = new Deno.Command(load, { args: ["cable", `${B}`, "tap0", "tap1", offload ? "1" : "0"] }).spawn();
  const other = new Deno.Command("unshare", { args: ["-n", "sleep", "600"] }).spawn();
  const there = ["-t", `${other.pid}`, "-n"], inside = (...words: string[]) => run("nsenter", ...there, "ip", ...words);
  await new Promise((done) => setTimeout(done, 300));
  await run("ip", "link", "set", "tap1", "netns", `${other.pid}`);
  await inside("addr", "add", `${OURS}/24`, "dev", "tap1");
  await inside("link", "set", "tap1", "up");
  const server = new Deno.Command("nsenter", { args: [...there, load, "serve", `${B}`] }).spawn();
  await new Promise((done) => setTimeout(done, 300));
  return [other, cable, server];
}

/** Starts a stack on CPU B, as the head of this file says. */
function spawnReady(offload: boolean, command: string, ...args: string[]): Promise<Deno.ChildProcess> {
  const env = {
    TAP: "tap0",
    IP: OURS,
    PEERIP: LINUX,
    MASK: "255.255.255.0",
    MTU: "1500",
    OFFLOAD: offload ? "1" : "0",
  };
  return untilReady(
    new Deno.Command("taskset", { args: ["-c", `${B}`, command, ...args], env, stdout: "piped", stderr: "null" })
      .spawn(),
  );
}

async function untilReady(child: Deno.ChildProcess): Promise<Deno.ChildProcess> {
  const late = setTimeout(() => child.kill("SIGKILL"), READY_MS);
  try {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (text.includes("ready")) return child;
    }
    throw new Error("it ended before it was ready");
  } finally {
    clearTimeout(late);
  }
}

async function end(child: Deno.ChildProcess): Promise<void> {
  const late = setTimeout(() => child.kill("SIGKILL"), END_MS);
  try {
    child.kill();
  } catch {
    // It has ended already.
  }
  await child.status;
  clearTimeout(late);
}

function median(runs: number[] | undefined): number {
  return (runs ?? []).toSorted((a, b) => a - b)[(runs?.length ?? 0) >> 1] ?? NaN;
}

/** A line a peer, and behind each figure what ring9 through /net is to it. */
function report(): void {
  const table = Object.fromEntries([...figures].map(([what, row]) => [what, Object.fromEntries(row)]));
  if (flags.json) return console.log(JSON.stringify({ name: "net_peers", cpus: [A, B], load: LOAD, rounds, table }));
  console.log(`client on CPU ${A}, stack on CPU ${B}, medians of ${rounds}, load at the start ${LOAD.toFixed(1)}`);
  for (const [what, row] of figures) {
    const ours = median(row.get(peers[0].name));
    console.log(`\n${what.padEnd(34)}${"".padStart(10)}  ring9 is`);
    for (const { name } of peers) {
      const figure = median(row.get(name));
      if (!Number.isNaN(figure)) {
        console.log(`  ${name.padEnd(32)}${figure.toFixed(0).padStart(10)}  ${(ours / figure).toFixed(2)}x`);
      }
    }
  }
}
