/**
 * Load on 9P servers by `c/p9load.c`: the cases, how they are run over several servers in turn, and how they are told.
 *
 * Layer: bench, shared by p9_bench.ts and ext2_9p_bench.ts.
 */

import { must } from "../tests/interop/host.ts";
import type { TestServer } from "../tests/interop/servers.ts";

/** What p9load prints. */
export interface Sample {
  msize: number;
  operations: number;
  opsPerSecond: number;
  mbPerSecond: number;
  p50Us: number;
  p99Us: number;
  serverCpuUs: number;
}

/** One row of the table. */
export interface Case {
  name: string;
  args: string[];
  /** Which figure the row is about. */
  unit: "opsPerSecond" | "mbPerSecond";
}

export const CASES: Case[] = [
  { name: "walk+getattr+clunk, 16 in flight", args: ["-w", "walk", "-n", "16"], unit: "opsPerSecond" },
  { name: "walk+getattr+clunk, 1 in flight", args: ["-w", "walk", "-n", "1"], unit: "opsPerSecond" },
  { name: "4 KiB random read, 16 in flight", args: ["-w", "read", "-n", "16"], unit: "opsPerSecond" },
  { name: "4 KiB random read, 1 in flight", args: ["-w", "read", "-n", "1"], unit: "opsPerSecond" },
  { name: "sequential read, msize 64 KiB", args: ["-w", "seqread", "-n", "4"], unit: "mbPerSecond" },
  { name: "sequential write, msize 64 KiB", args: ["-w", "seqwrite", "-n", "4"], unit: "mbPerSecond" },
  { name: "sequential read, msize 1 MiB", args: ["-w", "seqread", "-n", "4", "-m", "1048576"], unit: "mbPerSecond" },
  { name: "sequential write, msize 1 MiB", args: ["-w", "seqwrite", "-n", "4", "-m", "1048576"], unit: "mbPerSecond" },
];

/** How each case is run. */
export interface LoadOptions {
  runs: number;
  seconds: number;
  /** What the client is pinned to. */
  clientCpu: string;
}

/** Load before the first sample, seconds. V8 compiles meanwhile, in threads that share the server's CPU; after 8 s it is done. */
const WARM_UP_SECONDS = 8;

/** For each server its samples; the servers take turns, so that a busy moment of the machine meets all of them. */
export async function runCase(
  p9load: string,
  bench: Case,
  servers: TestServer[],
  how: LoadOptions,
): Promise<Sample[][]> {
  const samples: Sample[][] = servers.map(() => []);
  for (let run = -1; run < how.runs; run++) {
    const seconds = run < 0 ? WARM_UP_SECONDS : how.seconds;
    for (const [i, server] of servers.entries()) {
      const pids = (await family(server.pid)).flatMap((pid) => ["-p", String(pid)]);
      const where = ["-a", server.aname, "-d", server.work, "-s", String(seconds), ...pids];
      const dial = `tcp!${server.host}!${server.port}`;
      const args = ["-c", how.clientCpu, p9load, ...bench.args, ...where, dial];
      const sample = await must("taskset", args, { timeoutMs: 60_000 });
      if (run >= 0) samples[i].push(JSON.parse(sample));
    }
  }
  return samples;
}

/** The sample whose figure is in the middle. */
export function median(samples: Sample[], unit: Case["unit"]): Sample {
  return samples.toSorted((a, b) => a[unit] - b[unit])[Math.floor(samples.length / 2)];
}

export function printRow(row: Case & { results: (Sample & { server: string })[] }): void {
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

/** A process and those it has started. */
export async function family(pid: number): Promise<number[]> {
  const children = (await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`)).trim();
  const below = children === "" ? [] : await Promise.all(children.split(" ").map((child) => family(Number(child))));
  return [pid, ...below.flat()];
}
