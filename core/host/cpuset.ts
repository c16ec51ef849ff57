/**
 * Cpuset: a wall around dedicated cores, where the host lets us build one: a cgroup that their threads alone are in.
 *
 * Layer: core/host, below placer.ts. Three kinds:
 * - `partition`: cgroup v2 with an isolated partition. The host's scheduler puts nothing else on these cores.
 * - `cpuset`: cgroup v1, or v2 where a partition is refused. Our own threads can not stray; the host's others may come.
 * - `affinity`: no cgroup can be made, and masks alone hold.
 *
 * With version 1 a *shield* can be asked for: other processes of this session, of this user, or all, are kept off
 * dedicated cores too, in the group that our own other threads are in. Of version 2 a partition does that.
 *
 * What holds always: a group is made when the first core is dedicated and removed with the last; what a node that was
 * killed has left is removed by its guard (placer_guard.ts), or by the next one.
 *
 * See cpuset(7), and "Cpuset" in Documentation/admin-guide/cgroup-v2.rst of Linux.
 */

import { formatCpus, parseCpus } from "../sched/cpulist.ts";
import { toErr } from "../err.ts";
import type { Shield } from "../sched/core_host.ts";
import {
  below,
  type CgroupRoots,
  dissolve,
  exists,
  groupId,
  join,
  leftovers,
  ownGroup,
  write,
} from "./cpuset_groups.ts";
import type { GuardedFile, GuardedGroup } from "./placer_guard.ts";
import { numbers, processRow, textOf } from "./procfs.ts";

/** How cores are kept. */
export type WallKind = "partition" | "cpuset" | "affinity";

const PREFIX = "ring9cores-", SHARED_PREFIX = "ring9shared-";

/** The file of a cgroup v2 that says which cores partitions below may have. */
const EXCLUSIVE = "cpuset.cpus.exclusive";

/** Who is to be where. */
export interface WallPlan {
  /** Cores with their owners' threads, which are of this process or of another. */
  readonly dedicated: readonly { name: string; cpus: readonly number[]; tids: readonly number[] }[];
  readonly shared: readonly number[];
  readonly sharedTids: readonly number[];
}

/** What `why` says while there is no wall to speak of. */
const NOT_YET = "no core is anybody's alone";

/** Who may still come to a core behind a wall of version 1. */
const OTHERS: Record<Shield, string> = {
  off: "threads of other processes of the host",
  session: "threads of other processes of the host but those of this session",
  user: "threads of other processes of the host but those of this user",
  host: "threads of the host's kernel",
};

/** See the head of this file. */
export class Cpuset {
  kind: WallKind = "affinity";
  /** Whose other processes are kept off. Takes effect with the next `apply`. */
  shield: Shield = "off";
  /** Why it is not a better kind. */
  why = "";
  /** The cgroup that we were started in; empty when there is none with cpusets. */
  readonly #base: string;
  /** Where cgroups are mounted. */
  readonly #root: string;
  readonly #v1: boolean;
  readonly #id: string;
  #made = false;
  #failed = false;
  /** Version 2: those of the groups down to ours that pass cores on, and what they passed before. */
  readonly #passed: Map<string, string> = new Map();
  /** Whose processes are kept off by now. */
  #shields: Shield = "off";

  constructor(roots: CgroupRoots = {}) {
    this.#id = groupId(roots.proc);
    const { base, v1, why, root } = ownGroup("cpuset", roots);
    this.#root = root;
    this.#base = base;
    this.#v1 = v1;
    this.why = why || NOT_YET;
    if (base === "") return;
    for (const name of leftovers(base, [PREFIX, SHARED_PREFIX], roots.proc)) {
      dissolve(`${base}/${name}`, base, this.#threadsFile);
    }
  }

  /** Brings threads where the plan says. Falls back to `affinity` for good when the host refuses. */
  apply({ dedicated, shared, sharedTids }: WallPlan): void {
    if (this.#base === "" || this.#failed) return;
    const walled = dedicated.filter(({ tids }) => tids.every((tid) => this.#mayHold(tid)));
    const outside = dedicated.filter((owner) => !walled.includes(owner)).map(({ name }) => name);
    const cpus = walled.flatMap((owner) => owner.cpus), tids = walled.flatMap((owner) => owner.tids);
    try {
      if (walled.length === 0) this.close();
      else {
        if (!this.#made) this.#make(shared);
        this.#resize(cpus, shared);
        this.#fill(tids, sharedTids);
      }
    } catch (e) {
      const { message } = toErr(e);
      this.close();
      this.#failed = true;
      this.kind = "affinity";
      this.why = message;
    }
    if (outside.length > 0) this.why += `${this.why && "; "}${outside.join(", ")}: a process in a cgroup of its own`;
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
    for (const { path, text } of this.files) write(path, text);
    this.#passed.clear();
    this.#shields = "off";
  }

  /** What has to be removed when this process can not do it itself. */
  get groups(): GuardedGroup[] {
    const base = this.#base, file = this.#threadsFile;
    if (base === "") return [];
    return [this.#own, ...this.#v1 ? [this.#rest] : []].map((group) => ({ group, base, file }));
  }

  /** What files have to read then, in this order. */
  get files(): GuardedFile[] {
    return [...this.#passed].reverse().map(([path, text]) => ({ path, text: `${text}\n` }));
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

  /** Version 2 moves a thread only within what its process is in. */
  #mayHold(tid: number): boolean {
    if (this.#v1 || exists(`/proc/self/task/${tid}`)) return true;
    const path = /^0::(.*)$/m.exec(textOf(`/proc/${tid}/cgroup`))?.[1];
    return path === undefined || [this.#base, this.#own].includes(below(this.#root, path));
  }

  #make(shared: readonly number[]): void {
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

  #resize(dedicated: readonly number[], shared: readonly number[]): void {
    write(`${this.#own}/cpuset.cpus`, formatCpus(dedicated));
    if (this.#v1) {
      write(`${this.#rest}/cpuset.cpus`, formatCpus(shared));
      this.kind = "cpuset";
      const others = OTHERS[this.shield];
      this.why = `cgroup v1: ${others} may still run there`;
    } else this.#isolate(dedicated);
  }

  #isolate(dedicated: readonly number[]): void {
    const partition = `${this.#own}/cpuset.cpus.partition`;
    try {
      if (exists(`${this.#own}/${EXCLUSIVE}`)) {
        this.#passDown(dedicated);
        write(`${this.#own}/${EXCLUSIVE}`, formatCpus(dedicated));
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

  /** A partition may lie below groups that are none when they all pass its cores on (Linux 6.7). */
  #passDown(cpus: readonly number[]): void {
    const names = this.#base.slice(this.#root.length).split("/").slice(1);
    const files = names.map((_, i) => `${this.#root}/${names.slice(0, i + 1).join("/")}/${EXCLUSIVE}`);
    for (const file of files) {
      const now = textOf(file).trim();
      if (!this.#passed.has(file)) this.#passed.set(file, now);
      write(file, formatCpus([...parseCpus(now), ...cpus]));
    }
  }

  #fill(tids: readonly number[], sharedTids: readonly number[]): void {
    const rest = this.#v1 ? this.#rest : this.#base;
    const own = new Set(numbers(`${this.#own}/${this.#threadsFile}`));
    for (const tid of tids) if (!own.has(tid)) join(`${this.#own}/${this.#threadsFile}`, tid);
    const there = new Set(this.#v1 ? numbers(`${rest}/${this.#threadsFile}`) : []);
    for (const tid of sharedTids) {
      if (this.#v1 ? !there.has(tid) : own.has(tid)) join(`${rest}/${this.#threadsFile}`, tid);
    }
    if (this.#v1) this.#keepOthersOff(new Set(tids));
  }

  /** Moves other processes off, as the shield says; back where it says so no more. */
  #keepOthersOff(dedicated: ReadonlySet<number>): void {
    const shielded = this.#shielded(), before = this.#shields;
    const procs = (group: string) => numbers(`${group}/cgroup.procs`).filter((pid) => pid !== Deno.pid);
    this.#shields = this.shield;
    for (const pid of procs(this.#base)) {
      if (shielded(pid) && !dedicated.has(pid)) join(`${this.#rest}/cgroup.procs`, pid);
    }
    if (this.shield === before) return;
    for (const pid of procs(this.#rest)) if (!shielded(pid)) join(`${this.#base}/cgroup.procs`, pid);
  }

  /** Which processes the shield is against. */
  #shielded(): (pid: number) => boolean {
    const us = processRow(Deno.pid), { shield } = this;
    return (pid) => {
      const row = shield === "off" ? undefined : processRow(pid);
      if (!us || !row || row.kernel) return false;
      if (shield === "session") return row.session === us.session && row.session !== 0;
      return shield === "host" || row.uid === us.uid;
    };
  }
}
