/**
 * Noise: what a provisioned core is worth: quanta of fixed work (FWQ) and of fixed time (FTQ) of a provisioned isolate with
 * `priority lc` and with `rt`, of one that runs where all others do, and of a pinned C program.
 *
 * Run: deno task bench noise [--json] [--rounds=15], as root, on a machine of two CPUs at the least, in a session of its own
 * (setsid -w), since the shield is against the session's other processes; gcc for the C side. All is done through a mount
 * of a node that is booted for it, as a user does it.
 *
 * Each is measured without load, beside busy isolates of the same node (`node`), and beside busy processes of the host
 * (`host`). They take turns, a slice of each kind a round. A slice's measure is what a tenth of its quanta are
 * faster than; a quantum deviates when it takes twice as long, or does half as much: two hardware threads of one core
 * slow each other down by a half, which is no thread's doing. Shares are of all quanta, and the median of the rounds.
 */

import type { Client } from "../core/p9/client.ts";
import { bootNode } from "../tests/node.ts";
import { allowedCpus } from "../core/host/threads.ts";
import { formatCpus } from "../core/sched/cpulist.ts";
import { at, ctl, number, plugin, sleep } from "./cores_help.ts";

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
const WHO = ["isolate, where all run", "C, pinned", "isolate, provisioned", "the same, rt"] as const;
type Who = typeof WHO[number];

/** Iterations between two looks at the clock. */
const FTQ_STEP = 1000;
const DEVIATES = 2, MEASURE = 0.1, BOUNDS = [1.2, 2, 5, 10, 100];
/** From a write until the walls stand. */
const SETTLE_MS = 60;
const ROUNDS = number("rounds", 15), CPUS = navigator.hardwareConcurrency, LOAD = Deno.loadavg()[0];

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
let isolation = "";

for (const load of ["none", "node", "host"]) await underLoad(load);
await Deno.remove(fwq);
report();
Deno.exit(0);

async function underLoad(load: string): Promise<void> {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", `load ${plugin}`);
  await ctl(client, "/sys/plugins/quantum/ctl", "lend 0");
  const shield = await ctl(client, "/sys/cores/ctl", "shield session").then(() => "shield session", () => "no shield");
  for (const kind of KINDS) await slice("isolate, where all run", kind, client); // the engine has optimised it by then
  await using _stop = await startLoad(client, load);
  const mine = new Map(WHO.flatMap((who) => KINDS.map((kind) => [`${who} ${kind.name}`, rowOf(who, kind, load)])));
  rows.push(...mine.values());
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < WHO.length; i++) {
      const who = WHO[(round + i) % WHO.length];
      const alone = who === "isolate, provisioned" || who === "the same, rt";
      if (alone) {
        const priority = who === "the same, rt" ? "rt" : "lc";
        await ctl(client, "/sys/plugins/quantum/ctl", `priority ${priority}\ncores 1\nguaranteed 1`);
        await sleep(SETTLE_MS);
        isolation = `${(await client.readText("/sys/cores/status")).split("\n")[0]}, ${shield}`;
      }
      for (const kind of KINDS) mine.get(`${who} ${kind.name}`)!.slices.push(await slice(who, kind, client));
      if (alone) {
        await ctl(client, "/sys/plugins/quantum/ctl", "guaranteed 0");
        await sleep(SETTLE_MS);
        while (formatCpus(allowedCpus()) !== OURS) await sleep(SETTLE_MS); // the shield was against us, too
      }
    }
  }
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
      const own = share("isolate, provisioned"), rt = share("the same, rt");
      const all = share("isolate, where all run"), c = share("C, pinned");
      return { load, kind: name, allToOwn: all / own, allToRt: all / rt, cToRt: c / rt };
    })
  );
  if (Deno.args.includes("--json")) {
    return console.log(JSON.stringify({ cpus: CPUS, load: LOAD, isolation, rounds: ROUNDS, table, ratios: ratiosOf }));
  }
  console.log(`${CPUS} CPUs, load at the start ${LOAD.toFixed(1)}, ${isolation}, ${ROUNDS} rounds\n`);
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
  for (const { load, kind, allToOwn, allToRt, cToRt } of ratiosOf) {
    const [own, rt, c] = [allToOwn, allToRt, cToRt].map((ratio) => ratio.toFixed(1));
    console.log(
      `${kind}, load ${load}`.padEnd(24) + `where all run : provisioned ${own}, : rt ${rt}; C pinned : rt ${c}`,
    );
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)}%`;
}
