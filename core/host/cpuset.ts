/**
 * Cpuset: a wall around dedicated cores, where the host lets us build one: a cgroup that their threads alone are in.
 *
 * Layer: core/host, below placer.ts. Three kinds:
 * - `partition`: cgroup v2 with an isolated partition. The host's scheduler puts nothing else on these cores.
 * - `cpuset`: cgroup v1, or v2 where a partition is refused. Our own threads can not stray; the host's others may come.
 * - `affinity`: no cgroup can be made, and masks alone hold.
 *
 * With version 1 a *shield* can be asked for: other processes of this session, or of this user, are kept off dedicated
 * cores too, in the group that our own other threads are in. Of version 2 a partition does that.
 *
 * What holds always: a group is made when the first core is dedicated and removed with the last; what a node that was
 * killed has left is removed by the next. A cgroup's name has the process's number and start time, so that none of a
 * living one is taken for a leftover.
 *
 * See cpuset(7), and "Cpuset" in Documentation/admin-guide/cgroup-v2.rst of Linux.
 */

import { formatCpus } from "../sched/cpulist.ts";
import { toErr } from "../err.ts";
import type { Shield } from "../sched/core_host.ts";
import { numbers, processRow, startTime } from "./procfs.ts";

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
  /** Threads of this process, or of another: those of others go behind a wall of version 1 only. */
  readonly dedicatedTids: readonly number[];
  readonly shared: readonly number[];
  readonly sharedTids: readonly number[];
}

/** How often the threads in a group are moved out of it before it is removed. */
const DISSOLVE_PASSES = 3;
/** What `why` says while there is no wall to speak of. */
const NOT_YET = "no core is anybody's alone";

/** See the head of this file. */
export class Cpuset {
  kind: WallKind = "affinity";
  /** Whose other processes are kept off. Takes effect with the next `apply`. */
  shield: Shield = "off";
  /** Why it is not a better kind. */
  why = "";
  readonly #proc: string;
  /** The cgroup that we were started in; empty when there is none with cpusets. */
  readonly #base: string;
  readonly #v1: boolean;
  readonly #id: string;
  #made = false;
  #failed = false;
  /** Others are kept off by now. */
  #shields = false;

  constructor({ cgroup = "/sys/fs/cgroup", proc = "/proc" }: CpusetRoots = {}) {
    this.#proc = proc;
    this.#id = `${Deno.pid}-${startTime(Deno.pid, proc)}`;
    const { base, v1, why } = ownGroup(cgroup, proc);
    this.#base = base;
    this.#v1 = v1;
    this.why = why || NOT_YET;
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

  /** Whether a shield can be had: others are ours to move. */
  get canShield(): boolean {
    return this.#v1 && !this.#failed && Deno.uid() === 0;
  }

  /** Puts all threads back and removes the groups. */
  close(): void {
    if (!this.#made) return;
    this.#made = false;
    this.kind = "affinity";
    this.why = NOT_YET;
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
      const others = { off: "", session: " but those of this session", user: " but those of this user" }[this.shield];
      this.why = `cgroup v1: threads of other processes of the host${others} may still run there`;
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
    const own = new Set(numbers(`${this.#own}/${this.#threadsFile}`));
    const rest = this.#v1 ? this.#rest : this.#base;
    for (const tid of dedicatedTids) {
      if (!own.has(tid) && (this.#v1 || isOurs(tid))) join(`${this.#own}/${this.#threadsFile}`, tid);
    }
    const there = new Set(this.#v1 ? numbers(`${rest}/${this.#threadsFile}`) : []);
    for (const tid of sharedTids) {
      if (this.#v1 ? !there.has(tid) : own.has(tid)) join(`${rest}/${this.#threadsFile}`, tid);
    }
    if (this.#v1) this.#keepOthersOff(new Set(dedicatedTids));
  }

  /** Moves other processes off, as the shield says; back where it says so no more. */
  #keepOthersOff(dedicated: ReadonlySet<number>): void {
    const shielded = this.#shielded();
    const procs = (group: string) => numbers(`${group}/cgroup.procs`).filter((pid) => pid !== Deno.pid);
    for (const pid of procs(this.#base)) {
      if (shielded(pid) && !dedicated.has(pid)) join(`${this.#rest}/cgroup.procs`, pid);
    }
    if (this.shield !== "off" || !this.#shields) return void (this.#shields = this.shield !== "off");
    this.#shields = false;
    for (const pid of procs(this.#rest)) join(`${this.#base}/cgroup.procs`, pid);
  }

  /** Which processes the shield is against. */
  #shielded(): (pid: number) => boolean {
    const us = processRow(Deno.pid), { shield } = this;
    return (pid) => {
      const row = shield === "off" ? undefined : processRow(pid);
      if (!us || !row || row.kernel || row.session === 0) return false;
      return shield === "user" ? row.uid === us.uid : row.session === us.session;
    };
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
      if (pid === undefined || startTime(Number(pid), this.#proc) === start) continue;
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

/** Moves the threads of a group to another and removes it. */
function dissolve(group: string, to: string, file: string): void {
  if (!exists(group)) return;
  for (let pass = 0; pass < DISSOLVE_PASSES; pass++) {
    for (const tid of numbers(`${group}/${file}`)) join(`${to}/${file}`, tid); // one may start others meanwhile
  }
  try {
    Deno.removeSync(group);
  } catch {
    // a thread that ends is still in it: the next boot removes it
  }
}

/** Whether a thread is one of this process. */
function isOurs(tid: number): boolean {
  return exists(`/proc/self/task/${tid}`);
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
