/**
 * Threads of this process: which there are, on which CPUs they may run, how much CPU they took, and pinning them.
 *
 * Layer: core/host, above libc.ts. An isolate is a thread (`worker-N`, cut to 15 characters by Linux); V8 and Deno have
 * helper threads beside. Whoever has FFI can pin any of them, so an isolate that is pinned needs no permission. A thread that is
 * started inherits the CPU mask of the one that starts it: pin first, load later.
 *
 * Looking needs permission to read /proc/self, pinning needs FFI; without them EACCES or EOPNOTSUPP says so.
 *
 * See proc(5) (task, status, schedstat), sched_setaffinity(2), clock_getcpuclockid(3).
 */

import { Err, toErr } from "../err.ts";
import { formatCpus, MAX_CPUS, parseCpus } from "../sched/cpulist.ts";
import { errnoErr, libc, needLibc } from "./libc.ts";

const MASK_BYTES = BigInt(MAX_CPUS / 8);
const CLOCK_THREAD_CPUTIME_ID = 3;
const PR_SET_NAME = 15;
const TASKS = "/proc/self/task";

/** A thread of this process. */
export interface Thread {
  readonly tid: number;
  readonly name: string;
  /** CPUs that it may run on. */
  readonly cpus: number[];
  /** One letter, as in proc(5): R running, S sleeping, ... */
  readonly state: string;
}

/** The thread id of the calling isolate. */
export function gettid(): number {
  const c = libc();
  if (c) return c.gettid();
  try {
    return Number(Deno.readLinkSync("/proc/thread-self").split("/").at(-1));
  } catch (e) {
    throw new Err("EACCES", "cannot tell the thread id: neither FFI nor reading /proc is permitted", { cause: e });
  }
}

/** Lets whatever else may run on the calling isolate's CPU run first. Does nothing where FFI is not permitted. */
export function giveWay(): void {
  libc()?.sched_yield();
}

/** The CPU that the calling isolate runs on at this moment, or -1 when nobody can tell. */
export function currentCpu(): number {
  return libc()?.sched_getcpu() ?? -1;
}

/** The CPUs that a thread may run on, ascending. 0 is the calling one. */
export function allowedCpus(tid = 0): number[] {
  const c = libc();
  if (!c) return thread(tid || gettid()).cpus;
  const mask = new Uint8Array(MAX_CPUS / 8);
  if (c.sched_getaffinity(tid, MASK_BYTES, mask) < 0) throw errnoErr(`cannot read the CPUs of thread ${tid}`);
  const cpus: number[] = [];
  for (let cpu = 0; cpu < MAX_CPUS; cpu++) if (mask[cpu >> 3] & (1 << (cpu & 7))) cpus.push(cpu);
  return cpus;
}

/** Lets a thread run on `cpus` only. 0 is the calling one. EINVAL when none of them exists, ESRCH when the thread has gone. */
export function pinThread(tid: number, cpus: readonly number[]): void {
  const what = `pin thread ${tid || "self"} on CPU ${formatCpus(cpus)}`;
  const c = needLibc(what);
  const mask = new Uint8Array(MAX_CPUS / 8);
  for (const cpu of cpus) {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= MAX_CPUS) throw new Err("EINVAL", `cannot ${what}: no such CPU`);
    mask[cpu >> 3] |= 1 << (cpu & 7);
  }
  if (c.sched_setaffinity(tid, MASK_BYTES, mask) < 0) throw errnoErr(`cannot ${what}`);
}

/** Lets the calling isolate run on `cpus` only. */
export function pinSelf(...cpus: number[]): void {
  pinThread(0, cpus);
}

/** Names the calling thread (15 bytes), as `ps -T` and `threads()` show it. */
export function nameSelf(name: string): void {
  needLibc("name a thread").prctl(PR_SET_NAME, new TextEncoder().encode(name.slice(0, 15) + "\0"), 0n, 0n, 0n);
}

/** Every thread of this process, by thread id. */
export function threads(): Thread[] {
  const found: Thread[] = [];
  for (const tid of threadIds()) {
    try {
      found.push(thread(tid));
    } catch {
      // it has ended since we looked
    }
  }
  return found;
}

/** Thread ids of this process, ascending: before and after starting an isolate they tell which thread it is. */
export function threadIds(): number[] {
  try {
    return [...Deno.readDirSync(TASKS)].map((entry) => Number(entry.name)).sort((a, b) => a - b);
  } catch (e) {
    throw new Err("EACCES", `cannot list threads: ${toErr(e).message}`, { cause: e });
  }
}

/** Threads whose name is `name`, as Linux cut it. */
export function threadsNamed(name: string): Thread[] {
  const cut = name.slice(0, 15);
  return threads().filter((t) => t.name === cut);
}

/** The youngest thread of that name, or -1: one that was just started is found at once, however many there are. */
export function threadNamed(name: string): number {
  const cut = `${name.slice(0, 15)}\n`;
  return threadIds().reverse().find((tid) => commOf(tid) === cut) ?? -1;
}

function commOf(tid: number): string {
  try {
    return Deno.readTextFileSync(`${TASKS}/${tid}/comm`);
  } catch {
    return ""; // it has ended
  }
}

/** CPU time that a thread has taken, milliseconds with a fraction. 0 is the calling one. */
export function threadCpuMs(tid = 0): number {
  const c = libc();
  if (c) {
    const time = new BigInt64Array(2);
    const clock = tid === 0 ? CLOCK_THREAD_CPUTIME_ID : (~tid << 3) | 6; // Linux's own coding of a thread's clock
    if (c.clock_gettime(clock, time) < 0) throw errnoErr(`cannot read the CPU time of thread ${tid}`);
    return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
  }
  return Number(taskFile(tid || gettid(), "schedstat").split(" ")[0]) / 1e6;
}

function thread(tid: number): Thread {
  const status = taskFile(tid, "status");
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, "m").exec(status)?.[1] ?? "";
  return {
    tid,
    name: field("Name"),
    cpus: parseCpus(field("Cpus_allowed_list")),
    state: field("State").slice(0, 1),
  };
}

function taskFile(tid: number, name: string): string {
  try {
    return Deno.readTextFileSync(`${TASKS}/${tid}/${name}`);
  } catch (e) {
    if (e instanceof Deno.errors.NotFound) throw new Err("ENOENT", `there is no thread ${tid}`);
    throw new Err("EACCES", `cannot read ${TASKS}/${tid}/${name}: ${toErr(e).message}`, { cause: e });
  }
}
