/**
 * Weight: has the owners of cores run before all that is not real-time and still comes to these cores, where cgroups are
 * of version 1: a group of the cpu controller with the largest share there is, 256 times that of an ordinary session.
 *
 * Layer: core/host, below placer.ts. A partition of version 2 needs none, since nobody else comes there.
 *
 * What holds always: threads are in the group while they are the owners of a core, and no longer. A real-time thread is
 * never in it: Linux would refuse that (RT_GROUP_SCHED).
 *
 * See sched-design-CFS.rst of Linux ("Group scheduler extensions to CFS").
 */

import { toErr } from "../err.ts";
import { type CgroupRoots, dissolve, exists, groupId, join, leftovers, ownGroup, write } from "./cpuset_groups.ts";
import type { GuardedGroup } from "./placer_guard.ts";
import { numbers } from "./procfs.ts";

const PREFIX = "ring9first-";
/** What Linux takes at the most; a session has 1024. */
const SHARES = 262144, ORDINARY_SHARES = 1024;

/** See the head of this file. */
export class Weight {
  /** Why there is none; empty when there is, or nobody needs it. */
  why = "";
  readonly #base: string;
  readonly #group: string;

  constructor(roots: CgroupRoots = {}) {
    const { base, v1, why } = ownGroup("cpu", roots);
    this.#base = v1 ? base : "";
    this.#group = `${base}/${PREFIX}${groupId(roots.proc)}`;
    this.why = v1 ? "" : why || "cgroup v2";
    if (v1) { for (const name of leftovers(base, [PREFIX], roots.proc)) dissolve(`${base}/${name}`, base, "tasks"); }
  }

  /** What has to be removed when this process can not do it itself. */
  get groups(): GuardedGroup[] {
    return this.#base === "" ? [] : [{ group: this.#group, base: this.#base, file: "tasks" }];
  }

  /** How many times an ordinary session's share the owners' is. */
  get times(): number {
    return this.why === "" ? SHARES / ORDINARY_SHARES : 1;
  }

  /** These threads come first from now on, and no others. */
  apply(tids: readonly number[]): void {
    if (this.why !== "") return;
    if (tids.length === 0) return this.close();
    try {
      if (!exists(this.#group)) this.#make();
      const there = numbers(`${this.#group}/tasks`);
      for (const tid of tids) if (!there.includes(tid)) join(`${this.#group}/tasks`, tid);
      this.drop(there.filter((tid) => !tids.includes(tid)));
    } catch (e) {
      this.close();
      this.why = toErr(e).message;
    }
  }

  /** These come first no more. */
  drop(tids: readonly number[]): void {
    if (!exists(this.#group)) return;
    const there = numbers(`${this.#group}/tasks`);
    for (const tid of tids) if (there.includes(tid)) join(`${this.#base}/tasks`, tid);
  }

  /** Nobody comes first. */
  close(): void {
    if (this.#base !== "") dissolve(this.#group, this.#base, "tasks");
  }

  #make(): void {
    Deno.mkdirSync(this.#group);
    write(`${this.#group}/cpu.shares`, String(SHARES));
  }
}
