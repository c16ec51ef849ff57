/**
 * Noise: what a provisioned core is worth: quanta of fixed work (FWQ) and of fixed time (FTQ) of a provisioned isolate with
 * `priority lc` (the default) and with `rt`, of one that runs where all others do, and of a pinned C program.
 *
 * Run: deno task bench noise [--json] [--rounds=15] [--shield=session], as root, on a machine of two CPUs at the least, in a
 * session of its own (setsid -w), since the shield is against the session's other processes; gcc for the C side.
 * `--shield=user` is against all processes of root's: `unshare --pid --fork --kill-child --mount-proc` before it leaves those
 * in peace that are not the benchmark's, since they are not to be seen then. All is done through a mount of a node that is
 * booted for it, as a user does it.
 *
 * Each is measured without load, beside a busy isolate of the same node for each CPU (`node`), and beside as many busy
 * processes of the host (`host`): both would use all CPUs, and do while nothing is provisioned. They take turns, a slice of each kind a
 * round. A slice's measure is what a tenth of its quanta are faster than; a quantum deviates when it takes twice as long,
 * or does half as much: two hardware threads of one core slow each other down by a half, which is no thread's doing. Shares
 * are of all quanta, and the median of the rounds; where none deviated, ratios take it for one.
 */

import type { Client } from "../core/p9/client.ts";
import { bootNode } from "../tests/node.ts";
import { allowedCpus } from "../core/host/threads.ts";
import { formatCpus } from "../core/sched/cpulist.ts";
import { cpus, program, root } from "../tests/skip.ts";
import { at, ctl, plugin, sleep } from "./cores_help.ts";
import { count, need, oneOf, onOff, readFlags } from "./flags.ts";

/** A kind of quantum: iterations of work, or microseconds; and how many a slice has. */
interface Kind {
  readonly name: string;
  readonly test: "fwq" | "ftq";
  readonly size: number;
  readonly samples: number;
}

const KINDS: Kind[] = [
  { name: "FWQ, 1 ms", test: "fwq", size: 800_000, samples: 60 },
  { name: "FWQ, 50 us", test: "fwq", size: 40_000, samples: 1000 },
  { name: "FTQ, 1 ms", test: "ftq", size: 1000, samples: 60 },
];
const WHO = ["isolate, where all run", "C, pinned", "provisioned, lc", "provisioned, rt"] as const;
type Who = typeof WHO[number];

/** Iterations between two looks at the clock. */
const FTQ_STEP = 1000;
const DEVIATES = 2, MEASURE = 0.1, BOUNDS = [1.2, 2, 5, 10, 100];
/** From a write until the walls stand. */
const SETTLE_MS = 60;
const flags = readFlags("noise", {
  json: onOff(),
  rounds: count(15),
  shield: oneOf(["off", "session", "user", "host"], "session"),
});
need("noise", root, program("gcc"), cpus(2));
const ROUNDS = flags.rounds, CPUS = navigator.hardwareConcurrency, LOAD = Deno.loadavg()[0];

/** Where this process may run. */
const OURS = formatCpus(allowedCpus());

interface Row {
  readonly who: Who;
  readonly kind: string;
  readonly load: string;
  /** Slices, a round each: how long each quantum took, or would have taken for the work of the others. */
  readonly slices: number[][];
}

const rows: Row[] = [];
const fwq = await buildC();
/** How the core was kept: lines of /sys/cores/status. */
let mode = "";
const stolen = stolenS();

for (const load of ["none", "node", "host"]) await underLoad(load);
await Deno.remove(fwq);
report();
Deno.exit(0);

async function underLoad(load: string): Promise<void> {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", `load ${plugin}`);
  await ctl(client, "/sys/plugins/quantum/ctl", "lend 0");
  await ctl(client, "/sys/cores/ctl", `shield ${flags.shield}`).catch((e) => console.error(`no shield: ${e.message}`));
  for (const kind of KINDS) await slice("isolate, where all run", kind, client); // the engine has optimised it by then
  await using _stop = await startLoad(client, load);
  const mine = new Map(WHO.flatMap((who) => KINDS.map((kind) => [`${who} ${kind.name}`, rowOf(who, kind, load)])));
  rows.push(...mine.values());
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < WHO.length; i++) {
      const who = WHO[(round + i) % WHO.length];
      const priority = who === "provisioned, lc" ? "lc" : who === "provisioned, rt" ? "rt" : "";
      if (priority) {
        await ctl(client, "/sys/plugins/quantum/ctl", `priority ${priority}\ncores 1\nguaranteed 1`);
        await sleep(SETTLE_MS);
        if (priority === "lc") mode = modeOf(await client.readText("/sys/cores/status"));
      }
      for (const kind of KINDS) mine.get(`${who} ${kind.name}`)!.slices.push(await slice(who, kind, client));
      if (priority) {
        await ctl(client, "/sys/plugins/quantum/ctl", "guaranteed 0");
        await sleep(SETTLE_MS);
        while (formatCpus(allowedCpus()) !== OURS) await sleep(SETTLE_MS); // the shield was against us, too
      }
    }
  }
}

/** The lines that say how a core is kept. */
function modeOf(status: string): string {
  return status.split("\n").filter((line) => /^(isolation|why|shield|weight|irqs) /.test(line)).join("; ");
}

/** Seconds that the hypervisor has kept from the last CPU. */
function stolenS(): number {
  const line = new RegExp(`^cpu${CPUS - 1} .*$`, "m").exec(Deno.readTextFileSync("/proc/stat"))!;
  return Number(line[0].split(" ")[8]) / 100;
}

function rowOf(who: Who, { name }: Kind, load: string): Row {
  return { who, kind: name, load, slices: [] };
}

async function slice(who: Who, { test, size, samples }: Kind, client: Client): Promise<number[]> {
  const values = who === "C, pinned" ? await inC(test, size, samples) : await inIsolate(client, test, size, samples);
  return test === "fwq" ? values : values.map((done) => 1 / Math.max(done, FTQ_STEP));
}

async function inIsolate(client: Client, test: string, size: number, samples: number): Promise<number[]> {
  await ctl(client, "/n/quantum/ctl", `${test} ${size} ${samples}`);
  return [...new Float64Array((await client.readFile("/n/quantum/times")).slice().buffer)];
}

async function inC(test: string, size: number, samples: number): Promise<number[]> {
  const args = [test, String(CPUS - 1), String(size), String(samples)];
  const { success, stdout } = await new Deno.Command(fwq, { args }).output();
  if (!success) throw new Error(`fwq ${args.join(" ")} failed`);
  return new TextDecoder().decode(stdout).trim().split("\n").map(Number);
}

/** A busy isolate or process for each CPU. */
async function startLoad(client: Client, load: string): Promise<AsyncDisposable> {
  const children: Deno.ChildProcess[] = [];
  for (let i = 0; i < CPUS && load === "node"; i++) {
    await ctl(client, "/sys/plugins/ctl", `load ${plugin} as busy${i}`);
    await ctl(client, `/proc/1/ns`, `bind '#busy${i}' /n/busy${i}`);
    await ctl(client, `/n/busy${i}/ctl`, "busy on");
  }
  for (let i = 0; i < CPUS && load === "host"; i++) {
    children.push(new Deno.Command("/bin/sh", { args: ["-c", "while :; do :; done"] }).spawn());
  }
  await sleep(300);
  return {
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(children.map((child) => child.status));
    },
  };
}

async function buildC(): Promise<string> {
  const out = await Deno.makeTempFile({ prefix: "fwq" });
  const source = new URL("./c/fwq.c", import.meta.url).pathname;
  const gcc = await new Deno.Command("gcc", { args: ["-O2", "-Wall", "-o", out, source] }).output();
  if (!gcc.success) throw new Error(`cannot build ${source}: ${new TextDecoder().decode(gcc.stderr)}`);
  return out;
}

// What came of it.

/** How long the quanta of a slice took, in units of its measure. */
function ratios(slice: readonly number[]): number[] {
  const measure = at(slice.toSorted((a, b) => a - b), MEASURE);
  return slice.map((value) => value / measure);
}

function deviating(values: readonly number[]): number {
  return values.filter((value) => value > DEVIATES).length / values.length;
}

function figuresOf(row: Row) {
  const slices = row.slices.map(ratios), all = slices.flat().sort((a, b) => a - b);
  const histogram = [...BOUNDS, Infinity].map((bound, i) =>
    all.filter((v) => v > (i === 0 ? 0 : BOUNDS[i - 1]) && v <= bound).length / all.length
  );
  const median = at(slices.map(deviating).sort((a, b) => a - b), 0.5);
  return { p50: at(all, 0.5), p99: at(all, 0.99), max: all.at(-1)!, deviating: deviating(all), median, histogram };
}

function report(): void {
  const table = rows.map((row) => ({ who: row.who, kind: row.kind, load: row.load, ...figuresOf(row) }));
  const ratiosOf = ["node", "host"].flatMap((load) =>
    KINDS.map(({ name, samples }) => {
      const share = (who: Who) =>
        Math.max(
          table.find((r) => r.who === who && r.kind === name && r.load === load)!.deviating,
          1 / samples / ROUNDS,
        );
      const own = share("provisioned, lc"), rt = share("provisioned, rt");
      const all = share("isolate, where all run"), c = share("C, pinned");
      return { load, kind: name, allToLc: all / own, allToRt: all / rt, cToLc: c / own };
    })
  );
  if (flags.json) {
    return console.log(JSON.stringify({ cpus: CPUS, load: LOAD, mode, rounds: ROUNDS, table, ratios: ratiosOf }));
  }
  const kinds = KINDS.map(({ name, samples }) => `${samples} of ${name}`).join(", ");
  console.log(`${CPUS} CPUs, load at the start ${LOAD.toFixed(1)}, ${ROUNDS} rounds; a slice: ${kinds}`);
  console.log(`a quantum deviates above ${DEVIATES}x of what a tenth of its slice is faster than`);
  console.log(`provisioned: ${mode}`);
  console.log(`stolen from CPU ${CPUS - 1} by the hypervisor: ${(stolenS() - stolen).toFixed(2)} s\n`);
  const bounds = [...BOUNDS.map((bound) => `<=${bound}x`), `>${BOUNDS.at(-1)}x`];
  const columns = ["p50", "p99", "max", "deviate", "median", ...bounds];
  console.log("quanta".padEnd(36) + "load ".padEnd(6) + columns.map((c) => c.padStart(9)).join(""));
  for (const { who, kind, load, p50, p99, max, deviating, median, histogram } of table) {
    const times = [p50, p99, max].map((v) => `${v.toFixed(2)}x`),
      shares = [deviating, median, ...histogram].map(percent);
    console.log(
      `${kind}, ${who}`.padEnd(36) + load.padEnd(6) + [...times, ...shares].map((c) => c.padStart(9)).join(""),
    );
  }
  console.log("\ndeviating quanta, ratios (target 10):");
  for (const { load, kind, allToLc, allToRt, cToLc } of ratiosOf) {
    const [lc, rt, c] = [allToLc, allToRt, cToLc].map((ratio) => ratio.toFixed(1));
    console.log(`${kind}, load ${load}`.padEnd(24) + `where all run : lc ${lc}, : rt ${rt}; C pinned : lc ${c}`);
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)}%`;
}
