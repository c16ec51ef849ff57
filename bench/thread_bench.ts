/**
 * What a switch between two threads of an isolate costs, beside two pthreads that hand one core to each other.
 *
 * Run: deno task bench thread [--json]. Needs gcc for the C side. All sides are pinned on the last CPU; figures are medians of ROUNDS
 * runs, and percentiles of batches of BATCH switches within them. The ratio is against the fastest of the three
 * ways of pthreads: sched_yield, futex, and mutex with condition variable.
 */

import { hostClock } from "../core/host/clock.ts";
import { allowedCpus, pinSelf } from "../core/host/threads.ts";
import { turn } from "../core/host/turn.ts";
import { byPriority } from "../core/sched/policy.ts";
import { Rendez } from "../core/sched/rendez.ts";
import { Sched, type Thread } from "../core/sched/threads.ts";
import { TimerWheel } from "../core/sched/wheel.ts";
import { program } from "../tests/skip.ts";
import { need, onOff, readFlags } from "./flags.ts";

const { json } = readFlags("thread", { json: onOff() });
need("thread", program("gcc"));

const ROUNDS = 5, SWITCHES = 1_000_000, BATCH = 1000, TARGET = 5;
const LOAD = Deno.loadavg()[0];
const CPU = allowedCpus().at(-1)!;

interface Row {
  what: string;
  p50: number;
  p99?: number;
  unit: string;
}

const rows: Row[] = [];
pinSelf(CPU);
const peer = await buildPeer();
for (const mode of ["yield", "futex", "cond"]) {
  rows.push({ what: `C, two pthreads, ${mode}`, p50: await medianOf(() => runPeer(mode)), unit: "ns" });
}
const pthreadNs = Math.min(...rows.map((row) => row.p50));
const threadRows = [
  await switches("threads, yield, two", 2, {}),
  await switches("threads, yield, two, by priority", 2, { policy: byPriority() }),
  await switches("threads, yield, ten thousand", 10_000, {}),
  await rendezSwitches(),
];
rows.push(...threadRows, await spawning(), alarms());
report();
Deno.exit(0);

/** `count` threads that do nothing but yield. */
async function switches(
  what: string,
  count: number,
  options: { policy?: ReturnType<typeof byPriority<Thread>> },
): Promise<Row> {
  return await measured(what, (total, tick) => {
    const s = new Sched({ clock: hostClock, turn, ...options });
    let done = 0;
    const all = Array.from({ length: count }, () =>
      s.spawn(async (t) => {
        while (done < total) {
          if (++done % BATCH === 0) tick();
          await t.yield();
        }
      }));
    return Promise.all(all.map((t) => t.join()));
  });
}

/** Two threads that wake each other and sleep, each on a Rendez of its own. */
async function rendezSwitches(): Promise<Row> {
  return await measured("threads, wakeup and sleep, two", (total, tick) => {
    const s = new Sched({ clock: hostClock, turn }), places = [new Rendez(), new Rendez()];
    let done = 0;
    const all = [0, 1].map((me) =>
      s.spawn(async (t) => {
        while (done < total) {
          if (++done % BATCH === 0) tick();
          places[1 - me].wakeup();
          if (done < total) await t.sleep(places[me]);
        }
        places[1 - me].wakeup();
      })
    );
    return Promise.all(all.map((t) => t.join()));
  });
}

/** p50 and p99 of the nanoseconds a switch, over batches. */
async function measured(what: string, run: (total: number, tick: () => void) => Promise<unknown>): Promise<Row> {
  await run(SWITCHES / 10, () => {});
  const p50s: number[] = [], p99s: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const batches: number[] = [];
    let last = performance.now();
    await run(SWITCHES, () => {
      const now = performance.now();
      batches.push((now - last) * 1e6 / BATCH);
      last = now;
    });
    batches.sort((a, b) => a - b);
    p50s.push(batches[batches.length >> 1]);
    p99s.push(batches[Math.floor(batches.length * 0.99)]);
  }
  return { what, p50: median(p50s), p99: median(p99s), unit: "ns" };
}

async function spawning(): Promise<Row> {
  const count = 100_000;
  const p50 = await medianOf(async () => {
    const s = new Sched({ clock: hostClock, turn }), start = performance.now();
    await Promise.all(Array.from({ length: count }, () => s.spawn(() => {}).join()));
    return (performance.now() - start) * 1e6 / count;
  });
  return { what: "spawn, run and join a thread", p50, unit: "ns" };
}

/** An alarm that is set and taken back, beside 100,000 others. */
function alarms(): Row {
  const wheel = new TimerWheel(hostClock), count = 1_000_000;
  const others = Array.from({ length: 100_000 }, (_, i) => wheel.after(60_000 + i, () => {}));
  const start = performance.now();
  for (let i = 0; i < count; i++) wheel.after(1000 + i % 50_000, () => {})();
  const p50 = (performance.now() - start) * 1e6 / count;
  others.forEach((cancel) => cancel());
  return { what: "set and cancel an alarm, 100,000 others set", p50, unit: "ns" };
}

async function buildPeer(): Promise<string> {
  const out = await Deno.makeTempFile({ prefix: "thread_peer" });
  const source = new URL("./c/thread_peer.c", import.meta.url).pathname;
  const gcc = await new Deno.Command("gcc", { args: ["-O2", "-Wall", "-pthread", "-o", out, source] }).output();
  if (!gcc.success) throw new Error(`cannot build ${source}: ${new TextDecoder().decode(gcc.stderr)}`);
  return out;
}

async function runPeer(mode: string): Promise<number> {
  const { stdout } = await new Deno.Command(peer, { args: [mode, String(CPU), "300000"] }).output();
  return Number(new TextDecoder().decode(stdout));
}

async function medianOf(run: () => Promise<number>): Promise<number> {
  const all: number[] = [];
  for (let i = 0; i < ROUNDS; i++) all.push(await run());
  return median(all);
}

function median(all: number[]): number {
  return all.toSorted((a, b) => a - b)[all.length >> 1];
}

function report(): void {
  const ratios = threadRows.map(({ what, p50 }) => ({ what, timesFaster: pthreadNs / p50, target: TARGET }));
  if (json) {
    return console.log(JSON.stringify({ cpu: CPU, rounds: ROUNDS, load: LOAD, rows, ratios }));
  }
  console.log(`CPU ${CPU}, medians of ${ROUNDS} runs, load at the start ${LOAD.toFixed(1)}\n`);
  console.log(`${"".padEnd(46)}${"p50".padStart(9)}${"p99".padStart(9)}`);
  for (const { what, p50, p99, unit } of rows) {
    const ratio = ratios.find((r) => r.what === what);
    const met = ratio &&
      `${ratio.timesFaster.toFixed(1)}x faster than a pthread switch, target ${TARGET}x: ${
        ratio.timesFaster >= TARGET ? "met" : "MISSED"
      }`;
    console.log(
      `${what.padEnd(46)}${p50.toFixed(1).padStart(9)}${(p99?.toFixed(1) ?? "").padStart(9)} ${unit}  ${met ?? ""}`,
    );
  }
}
