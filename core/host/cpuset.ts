/**
 * Cpuset: a wall around dedicated cores, where the host lets us build one: a cgroup that their threads alone are in.
 *
 * Layer: core/host, below placer.ts. Three kinds:
 * - `partition`: cgroup v2 with an isolated partition. The host's scheduler puts nothing else on these cores.
 * - `cpuset`: cgroup v1, or v2 where a partition is refused. Our own threads can not stray; the host's others may come.
 * - `affinity`: no cgroup can be made, and masks alone hold.
 *
 * What holds always: a group is made when the first core is dedicated and removed with the last; what a node that was
 * killed has left is removed by the next. A cgroup's name has the process's number and start time, so that none of a
 * living one is taken for a leftover.
 *
 * See cpuset(7), and "Cpuset" in Documentation/admin-guide/cgroup-v2.rst of Linux.
 */

import { formatCpus } from "../sched/cpulist.ts";
import { toErr } from "../err.ts";

/** How cores are kept. */
export type WallKind = "partition" | "cpuset" | "affinity";

const PREFIX = "ring9cores-", SHARED_PREFIX = "ring9shared-";

/** Where the host's file systems are, for tests. */
export interface CpusetRoots {
  cgroup?: string;
  proc?: string;
}

/** Who is to be where. */
export interface WallPlan {
  readonly dedicated: readonly number[];
  readonly dedicatedTids: readonly number[];
  readonly shared: readonly number[];
  readonly sharedTids: readonly number[];
}

/** See the head of this file. */
export class Cpuset {
  kind: WallKind = "affinity";
  /** Why it is not a better kind. */
  why = "";
  readonly #proc: string;
  /** The cgroup that we were started in; empty when there is none with cpusets. */
  readonly #base: string;
  readonly #v1: boolean;
  readonly #id: string;
  #made = false;
  #failed = false;

  constructor({ cgroup = "/sys/fs/cgroup", proc = "/proc" }: CpusetRoots = {}) {
    this.#proc = proc;
    this.#id = `${Deno.pid}-${startTime(proc, Deno.pid)}`;
    const { base, v1, why } = ownGroup(cgroup, proc);
    this.#base = base;
    this.#v1 = v1;
    this.why = why;
    if (base !== "") this.#removeLeftovers();
  }

  /** Brings threads where the plan says. Falls back to `affinity` for good when the host refuses. */
  apply(plan: WallPlan): void {
    if (this.#base === "" || this.#failed) return;
    if (plan.dedicated.length === 0) return this.close();
    try {
      if (!this.#made) this.#make(plan);
      this.#resize(plan);
      this.#fill(plan);
    } catch (e) {
      const { message } = toErr(e);
      this.close();
      this.#failed = true;
      this.kind = "affinity";
      this.why = message;
    }
  }

  /** Puts all threads back and removes the groups. */
  close(): void {
    if (!this.#made) return;
    this.#made = false;
    this.kind = "affinity";
    for (const group of [this.#own, this.#rest]) dissolve(group, this.#base, this.#threadsFile);
  }

  get #own(): string {
    return `${this.#base}/${PREFIX}${this.#id}`;
  }

  /** Version 1 alone: there our other threads need a group without the dedicated cores. */
  get #rest(): string {
    return `${this.#base}/${SHARED_PREFIX}${this.#id}`;
  }

  get #threadsFile(): string {
    return this.#v1 ? "tasks" : "cgroup.threads";
  }

  #make({ shared }: WallPlan): void {
    this.#made = true;
    Deno.mkdirSync(this.#own);
    if (!this.#v1) {
      write(`${this.#own}/cgroup.type`, "threaded");
      write(`${this.#base}/cgroup.subtree_control`, "+cpuset");
      return;
    }
    Deno.mkdirSync(this.#rest);
    const mems = Deno.readTextFileSync(`${this.#base}/cpuset.mems`).trim();
    for (const group of [this.#own, this.#rest]) write(`${group}/cpuset.mems`, mems);
    write(`${this.#rest}/cpuset.cpus`, formatCpus(shared));
  }

  #resize({ dedicated, shared }: WallPlan): void {
    write(`${this.#own}/cpuset.cpus`, formatCpus(dedicated));
    if (this.#v1) {
      write(`${this.#rest}/cpuset.cpus`, formatCpus(shared));
      this.kind = "cpuset";
      this.why = "cgroup v1: threads of other processes of the host may still run there";
    } else this.#isolate(dedicated);
  }

  #isolate(dedicated: readonly number[]): void {
    const partition = `${this.#own}/cpuset.cpus.partition`;
    try {
      if (exists(`${this.#own}/cpuset.cpus.exclusive`)) {
        write(`${this.#own}/cpuset.cpus.exclusive`, formatCpus(dedicated));
      }
      write(partition, "isolated");
      const now = Deno.readTextFileSync(partition).trim();
      this.kind = now === "isolated" ? "partition" : "cpuset";
      this.why = now === "isolated" ? "" : `cgroup v2: the partition is ${now}`;
    } catch (e) {
      this.kind = "cpuset";
      this.why = `cgroup v2: no isolated partition: ${toErr(e).message}`;
    }
  }

  #fill({ dedicatedTids, sharedTids }: WallPlan): void {
    const own = new Set(threadsIn(`${this.#own}/${this.#threadsFile}`));
    const rest = this.#v1 ? this.#rest : this.#base;
    for (const tid of dedicatedTids) if (!own.has(tid)) join(`${this.#own}/${this.#threadsFile}`, tid);
    const there = new Set(this.#v1 ? threadsIn(`${rest}/${this.#threadsFile}`) : []);
    for (const tid of sharedTids) {
      if (this.#v1 ? !there.has(tid) : own.has(tid)) join(`${rest}/${this.#threadsFile}`, tid);
    }
  }

  #removeLeftovers(): void {
    let names: string[];
    try {
      names = [...Deno.readDirSync(this.#base)].filter((d) => d.isDirectory).map((d) => d.name);
    } catch {
      return; // what can not be listed can not be cleaned; `apply` says why if it matters
    }
    for (const name of names) {
      const [, pid, start] = new RegExp(`^(?:${PREFIX}|${SHARED_PREFIX})(\\d+)-(\\d+)$`).exec(name) ?? [];
      if (pid === undefined || startTime(this.#proc, Number(pid)) === start) continue;
      dissolve(`${this.#base}/${name}`, this.#base, this.#threadsFile);
    }
  }
}

/** The cgroup with cpusets that this process is in. */
function ownGroup(cgroup: string, proc: string): { base: string; v1: boolean; why: string } {
  const none = (why: string) => ({ base: "", v1: false, why });
  let lines: string[];
  try {
    lines = Deno.readTextFileSync(`${proc}/self/cgroup`).split("\n");
  } catch (e) {
    return none(`no cgroups: ${toErr(e).message}`);
  }
  const paths = new Map(
    lines.map((line) => /^\d+:([^:]*):(.*)$/.exec(line)).filter((m) => m).map((m) => [m![1], m![2]]),
  );
  const below = (folder: string, path: string) => path === "/" ? folder : `${folder}${path}`;
  const v1 = [...paths].find(([controllers]) => controllers.split(",").includes("cpuset"));
  if (v1) {
    const base = below(`${cgroup}/cpuset`, v1[1]);
    return exists(`${base}/tasks`) ? { base, v1: true, why: "" } : none(`${base} is not mounted here`);
  }
  const base = below(cgroup, paths.get("") ?? "/");
  if (!exists(`${base}/cgroup.controllers`)) return none(`${base} is no cgroup`);
  const controllers = Deno.readTextFileSync(`${base}/cgroup.controllers`).split(/\s+/);
  return controllers.includes("cpuset")
    ? { base, v1: false, why: "" }
    : none(`${base} was not given the cpuset controller`);
}

/** When a process was started, in ticks since the host's boot; "" when there is none of that number. */
function startTime(proc: string, pid: number): string {
  try {
    const stat = Deno.readTextFileSync(`${proc}/${pid}/stat`);
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

/** Moves the threads of a group to another and removes it. */
function dissolve(group: string, to: string, file: string): void {
  if (!exists(group)) return;
  for (const tid of threadsIn(`${group}/${file}`)) join(`${to}/${file}`, tid);
  try {
    Deno.removeSync(group);
  } catch {
    // a thread that ends is still in it: the next boot removes it
  }
}

function threadsIn(file: string): number[] {
  try {
    return Deno.readTextFileSync(file).split("\n").filter((line) => line !== "").map(Number);
  } catch {
    return []; // the group has gone
  }
}

function join(file: string, tid: number): void {
  try {
    write(file, String(tid));
  } catch (e) {
    if (exists(`/proc/${tid}`)) throw e; // else it has ended meanwhile
  }
}

function write(path: string, text: string): void {
  Deno.writeTextFileSync(path, text, { create: false });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
