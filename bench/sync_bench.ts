/**
 * What a blocking read of a program in an isolate of its own costs: from a plugin in another isolate (past the kernel),
 * and from an inline plugin (the kernel answers); beside a read(2) of a file in memory, and a C process that asks another by
 * futex and shared memory for as many bytes.
 *
 * Run: deno task bench sync [--json]. The program is pinned on the first CPU, the plugin on the last; both spin. Needs gcc for the
 * C side. Medians of ROUNDS runs.
 */

import { fileURLToPath } from "node:url";
import { Orders } from "../tests/program_orders.ts";
import { allowedCpus } from "../core/host/threads.ts";
import { program } from "../tests/skip.ts";
import { need, onOff, readFlags } from "./flags.ts";

const { json } = readFlags("sync", { json: onOff() });
need("sync", program("gcc"));

const ROUNDS = 5, TARGET_US = 3;
const LOAD = Deno.loadavg()[0];
const CPUS = [allowedCpus()[0], allowedCpus().at(-1)!];

interface Row {
  what: string;
  p50: number;
  p90: number;
  p99: number;
  /** Limit of the p50, microseconds. */
  target?: number;
}

const rows: Row[] = [];
const peer = await buildPeer();
for (const bytes of [4096, 65536]) rows.push(await c("spin", bytes), await c("futex", bytes), await c("read", bytes));

const node = new Orders();
await node.give({
  op: "write",
  path: "/tmp/reads.ts",
  text: Deno.readTextFileSync(new URL("./sync_program.ts", import.meta.url)),
});
await node.give({ op: "load", plugin: `ram as disk placement isolate cpu ${CPUS[1]}` });
await node.give({ op: "ctl", path: "/proc/1/ns", text: "bind -c '#disk' /mnt" });
rows.push(await reads("plugin in an isolate, 4 KiB", "/mnt/f", 4096, { count: 100_000, target: TARGET_US }));
rows.push(await reads("plugin in an isolate, 64 KiB", "/mnt/f", 65536, { count: 20_000 }));
rows.push(await reads("inline plugin, by the kernel, 4 KiB", "/tmp/f", 4096, { count: 50_000 }));
rows.push(await reads("inline plugin, by the kernel, 64 KiB", "/tmp/f", 65536, { count: 20_000 }));
await node.end();
report();
Deno.exit(0);

async function reads(
  what: string,
  file: string,
  bytes: number,
  { count, target }: { count: number; target?: number },
): Promise<Row> {
  return await medians(`program, ${what}`, target, async () => {
    const args = [file, String(bytes), String(count)];
    const { status, output } = await node.give({ op: "run", path: "/tmp/reads.ts", args, cpu: CPUS[0] }) as {
      status: string;
      output: string;
    };
    if (status !== "") throw new Error(`${what}: ${status} ${output}`);
    return output;
  });
}

async function c(mode: string, bytes: number): Promise<Row> {
  const what =
    { spin: "C, asks a thread, both spin", futex: "C, asks a thread by futex", read: "C, pread(2), tmpfs" }[mode];
  return await medians(`${what}, ${bytes / 1024} KiB`, undefined, async () => {
    const { stdout } = await new Deno.Command(peer, { args: [mode, ...CPUS.map(String), String(bytes), "20000"] })
      .output();
    return new TextDecoder().decode(stdout);
  });
}

async function medians(what: string, target: number | undefined, run: () => Promise<string>): Promise<Row> {
  const runs: number[][] = [];
  for (let i = 0; i < ROUNDS; i++) runs.push((await run()).trim().split(" ").map(Number));
  const [p50, p90, p99] = [0, 1, 2].map((k) => runs.map((r) => r[k]).toSorted((a, b) => a - b)[ROUNDS >> 1]);
  return { what, p50, p90, p99, target };
}

async function buildPeer(): Promise<string> {
  const out = await Deno.makeTempFile({ prefix: "sync_peer" });
  const source = fileURLToPath(new URL("./c/sync_peer.c", import.meta.url));
  const gcc = await new Deno.Command("gcc", { args: ["-O2", "-Wall", "-pthread", "-o", out, source] }).output();
  if (!gcc.success) throw new Error(`cannot build ${source}: ${new TextDecoder().decode(gcc.stderr)}`);
  return out;
}

function report(): void {
  if (json) {
    return console.log(JSON.stringify({ cpus: CPUS, rounds: ROUNDS, load: LOAD, rows }));
  }
  console.log(
    `CPUs ${CPUS.join(" and ")}, medians of ${ROUNDS} runs, load at the start ${LOAD.toFixed(1)}; microseconds\n`,
  );
  console.log(`${"".padEnd(46)}${["p50", "p90", "p99"].map((p) => p.padStart(9)).join("")}`);
  for (const { what, p50, p90, p99, target } of rows) {
    const ratio = target ? `  ${(p50 / target).toFixed(2)} of ${target} us: ${p50 < target ? "met" : "MISSED"}` : "";
    console.log(`${what.padEnd(46)}${[p50, p90, p99].map((x) => x.toFixed(2).padStart(9)).join("")}${ratio}`);
  }
}
