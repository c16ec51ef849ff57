/**
 * How Linux schedules a thread of ours, and what it has counted: priority, slice, context switches, waits.
 *
 * Layer: core/host, above libc.ts. Slices (quanta) of ordinary threads exist from Linux 6.12 on: whether one was taken is
 * read back. Numbers may be those of threads of other processes, as far as the host permits.
 *
 * See sched(7), sched_setattr(2), proc(5) (status, schedstat, stat).
 */

import { Err, toErr } from "../err.ts";
import type { Priority } from "../sched/client.ts";
import { errnoErr, needLibc } from "./libc.ts";

/** Numbers of sched_setattr and sched_getattr. */
const CALLS: Record<string, [set: bigint, get: bigint]> = { x86_64: [314n, 315n], aarch64: [274n, 275n] };
const POLICIES: Record<Priority, number> = { rt: 1, lc: 0, be: 3 }; // SCHED_FIFO, SCHED_OTHER, SCHED_BATCH
/** Below all that the host runs as real-time. */
const RT_PRIORITY = 1;
/** What a best-effort thread yields to others. */
const BE_NICE = 15;
/** Bytes of struct sched_attr, without the utilization hints. */
const ATTR_BYTES = 48;
const ATTR_SIZE = BigInt(ATTR_BYTES);
/** Offsets in struct sched_attr. */
const SIZE = 0, POLICY = 4, NICE = 16, PRIORITY = 20, RUNTIME = 24;
const TICK_S = 0.01;

/** How a thread is scheduled. */
export interface Schedule {
  readonly priority: Priority;
  /** How long it runs before others have their turn, microseconds; 0: as the host does. */
  readonly quantumUs: number;
}

/** Sets how a thread is scheduled. EOPNOTSUPP where the kernel has no slices, ESRCH when the thread has gone. */
export function setSchedule(tid: number, { priority, quantumUs }: Schedule): void {
  const [set, get] = numbers(), c = needLibc("schedule a thread"), attr = new Uint8Array(ATTR_BYTES);
  const view = new DataView(attr.buffer);
  view.setUint32(SIZE, ATTR_BYTES, true);
  view.setUint32(POLICY, POLICIES[priority], true);
  view.setInt32(NICE, priority === "rt" ? 0 : priority === "be" ? BE_NICE : ownNice(), true);
  view.setUint32(PRIORITY, priority === "rt" ? RT_PRIORITY : 0, true);
  view.setBigUint64(RUNTIME, priority === "rt" ? 0n : BigInt(quantumUs) * 1000n, true);
  if (c.syscall(set, BigInt(tid), attr, 0n, 0n) < 0n) throw errnoErr(`cannot make thread ${tid} ${priority}`);
  if (quantumUs === 0 || priority === "rt") return; // it has no slices: it runs until it sleeps
  if (c.syscall(get, BigInt(tid), attr, ATTR_SIZE, 0n) < 0n) throw errnoErr(`cannot read the slice of thread ${tid}`);
  if (Number(view.getBigUint64(RUNTIME, true)) === quantumUs * 1000) return;
  throw new Err("EOPNOTSUPP", `this kernel sets no quantum of ordinary threads (Linux 6.12 and later do)`);
}

/** The slice of a thread, microseconds; 0 where the kernel tells none. */
export function sliceUs(tid: number): number {
  const attr = new Uint8Array(ATTR_BYTES);
  if (needLibc("read a slice").syscall(numbers()[1], BigInt(tid), attr, ATTR_SIZE, 0n) < 0n) {
    throw errnoErr(`cannot read the slice of thread ${tid}`);
  }
  return Number(new DataView(attr.buffer).getBigUint64(RUNTIME, true)) / 1000;
}

/** What the kernel has counted of a thread; all 0 when it has gone. */
export function threadCounters(tid: number): Record<string, number> {
  const status = textOf(`/proc/${tid}/status`), [ran, waited, slices] = textOf(`/proc/${tid}/schedstat`).split(" ");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? 0);
  return {
    cpu_ms: Number(ran || 0) / 1e6,
    rundelay_ms: Number(waited || 0) / 1e6,
    scheduled: Number(slices || 0),
    switches: field("voluntary_ctxt_switches"),
    preemptions: field("nonvoluntary_ctxt_switches"),
  };
}

/** Seconds that each CPU has spent, by kind: the lines of /proc/stat. */
export function cpuTimes(): Map<number, Record<string, number>> {
  const times = new Map<number, Record<string, number>>();
  for (const line of textOf("/proc/stat").split("\n")) {
    const [, cpu, rest] = /^cpu(\d+) (.*)$/.exec(line) ?? [];
    if (cpu === undefined) continue;
    const [user, nice, system, idle, iowait, irq, softirq, steal] = rest.split(" ").map((n) => Number(n) * TICK_S);
    times.set(Number(cpu), { user: user + nice, system, idle: idle + iowait, irq: irq + softirq, steal });
  }
  return times;
}

/** That of the node, whatever it was started with: who is neither real-time nor best-effort runs as it does. */
function ownNice(): number {
  const stat = textOf("/proc/self/stat");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]) || 0;
}

function numbers(): [bigint, bigint] {
  const found = CALLS[Deno.build.arch];
  if (!found) throw new Err("EOPNOTSUPP", `sched_setattr: no number is known for ${Deno.build.arch}`);
  return found;
}

function textOf(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (e) {
    if (e instanceof Deno.errors.NotFound || toErr(e).code === "ESRCH" || /os error 3/.test(String(e))) return "";
    throw new Err("EACCES", `cannot read ${path}: ${toErr(e).message}`, { cause: e });
  }
}
