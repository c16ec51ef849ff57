/**
 * Placer: moves threads to the cores that the core control gives them.
 *
 * Layer: core/host, in the kernel isolate; the CoreHost of core/sched/control.ts. Masks say where each thread runs; a
 * cpuset (cpuset.ts) holds them there where the host has one; owners of priority `lc` run before what still comes there
 * (sched_weight.ts); interrupts are kept off dedicated cores (irqs.ts). Threads
 * that V8 and Deno start later inherit the mask of the one that starts them: they are looked for once a second.
 */

import type { Clock } from "../clock.ts";
import { Err, toErr } from "../err.ts";
import type { CoreHost, Placement, Plan, Shield } from "../sched/core_host.ts";
import { formatCpus } from "../sched/cpulist.ts";
import { readTopology, type Topology } from "../sched/topology.ts";
import { Cpuset } from "./cpuset.ts";
import { Irqs } from "./irqs.ts";
import { whyNoLibc } from "./libc.ts";
import { Guard } from "./placer_guard.ts";
import { cpuTimes, type Schedule, setSchedule, threadCounters } from "./sched.ts";
import { Weight } from "./sched_weight.ts";
import { allowedCpus, pinThread, threadIds } from "./threads.ts";

/** How often threads are looked for that the runtime has started meanwhile. */
const SWEEP_MS = 1000;
/** How long a plan has to stand before walls are built for it. */
const WALL_MS = 20;

/** The topology of this host, of the CPUs that this process may run on. */
export function hostTopology(): Topology {
  return readTopology((path) => {
    try {
      return Deno.readTextFileSync(`/sys/devices/system/${path}`);
    } catch {
      return undefined; // not every host tells of caches and nodes
    }
  }, allowedCpus());
}

/** See the head of this file. */
export class Placer implements CoreHost {
  readonly #clock: Clock;
  readonly #wall: Cpuset;
  readonly #irqs: Irqs;
  readonly #weight: Weight;
  #plan: Plan | undefined;
  #guard: Guard | undefined;
  #cancelSweep: (() => void) | undefined;
  #cancelWall: (() => void) | undefined;
  /** Threads of the runtime that were moved, since the beginning. */
  #swept = 0;

  constructor(clock: Clock, { wall = new Cpuset(), irqs = new Irqs(), weight = new Weight() } = {}) {
    this.#clock = clock;
    this.#wall = wall;
    this.#irqs = irqs;
    this.#weight = weight;
  }

  place(plan: Plan): string[] {
    this.#plan = plan;
    const pinned = this.#pinAll(plan);
    if (pinned.every((problem) => problem === "")) {
      this.#cancelWall?.();
      this.#cancelWall = this.#clock.after(WALL_MS, () => this.#wallAndPin());
      return [];
    }
    return this.#wallAndPin(); // the walls of the plan before are in the way
  }

  schedule(tids: readonly number[], how: Schedule): void {
    if (how.priority !== "lc") this.#weight.drop(tids);
    for (const tid of tids) setSchedule(tid, how);
  }

  cpuMs(tids: readonly number[]): number {
    return tids.reduce((ms, tid) => ms + threadCounters(tid).cpu_ms, 0);
  }

  status(): string {
    const { kind, why } = this.#wall, noFfi = whyNoLibc();
    const lines = [`isolation ${noFfi ? "none" : kind}`];
    if (noFfi || why) lines.push(`why ${noFfi || why}`);
    return [
      ...lines,
      `shield ${this.#wall.shield}`,
      `weight ${this.#weight.times}`,
      `irqs moved ${this.#irqs.moved} stuck ${this.#irqs.stuck}`,
      `swept ${this.#swept}`,
      "",
    ].join(
      "\n",
    );
  }

  shield(against: Shield): void {
    const { kind, why } = this.#wall, before = this.#wall.shield;
    if (against !== "off" && !this.#wall.canShield) {
      throw new Err("EOPNOTSUPP", `nobody can be kept off here: isolation is ${kind}${why && `, ${why}`}`);
    }
    this.#wall.shield = against;
    if (against !== before && this.#plan) this.#wallAndPin();
  }

  cpuCounters(cpu: number): Record<string, number> {
    return cpuTimes().get(cpu) ?? {};
  }

  threadCounters(tids: readonly number[]): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const tid of tids) {
      for (const [name, value] of Object.entries(threadCounters(tid))) sum[name] = (sum[name] ?? 0) + value;
    }
    return sum;
  }

  close(): void {
    this.#cancelSweep?.();
    this.#cancelSweep = undefined;
    this.#cancelWall?.();
    this.#cancelWall = undefined;
    this.#irqs.restore();
    this.#weight.close();
    this.#wall.close();
    this.#unguard();
  }

  /** Builds walls and moves interrupts: that takes milliseconds, and new masks do not wait for it. */
  #wallAndPin(): string[] {
    this.#cancelWall?.();
    this.#cancelWall = undefined;
    const { placements, shared } = this.#plan!, dedicated = placements.filter((p) => p.dedicated);
    const owners = new Set(dedicated.flatMap((p) => p.tids)), ours = threadIds();
    const cpus = dedicated.flatMap((p) => p.cpus);
    this.#wall.apply({ dedicated, shared, sharedTids: ours.filter((tid) => !owners.has(tid)) });
    if (cpus.length > 0) this.#guard ??= this.#newGuard();
    this.#weight.apply(dedicated.filter((p) => p.priority === "lc").flatMap((p) => p.tids));
    this.#irqs.keepOff(cpus);
    if (cpus.length === 0) this.#unguard();
    this.#sweepLater(cpus.length > 0);
    return this.#pinAll(this.#plan!).filter((problem) => problem !== "");
  }

  #newGuard(): Guard {
    const { groups, files } = this.#wall;
    return new Guard({ irq: this.#irqs.guarded, groups: [...groups, ...this.#weight.groups], files });
  }

  #unguard(): void {
    void this.#guard?.release();
    this.#guard = undefined;
  }

  /** Pins all threads; a problem for each placement, "" for none. */
  #pinAll({ placements, shared }: Plan): string[] {
    const placed = new Set(placements.flatMap((p) => p.tids)), tids = threadIds().filter((tid) => !placed.has(tid));
    const rest: Placement = { name: "the runtime", tids, cpus: shared, dedicated: false, priority: "lc" };
    return [...placements, rest].map((placement) => this.#pin(placement));
  }

  /** Pins threads; what could not be done, or "". */
  #pin({ name, tids, cpus }: Placement): string {
    const wanted = formatCpus(cpus);
    for (const tid of tids) {
      try {
        if (formatCpus(allowedCpus(tid)) !== wanted) pinThread(tid, cpus);
      } catch (e) {
        if (toErr(e).code === "ESRCH" || toErr(e).code === "ENOENT") continue; // it has ended meanwhile
        return `${name} is not on core ${wanted}: ${toErr(e).message}`;
      }
    }
    return "";
  }

  #sweepLater(wanted: boolean): void {
    this.#cancelSweep?.();
    this.#cancelSweep = wanted ? this.#clock.after(SWEEP_MS, () => this.#sweep()) : undefined;
  }

  /** Threads that were born on a dedicated core since go where the rest is. */
  #sweep(): void {
    const { placements, shared } = this.#plan!, placed = new Set(placements.flatMap((p) => p.tids));
    const wanted = formatCpus(shared);
    const strays = threadIds().filter((tid) => !placed.has(tid) && this.#masked(tid) !== wanted);
    this.#swept += strays.length;
    if (strays.length > 0 || this.#wall.shield !== "off") this.#wallAndPin();
    else this.#sweepLater(true);
  }

  #masked(tid: number): string {
    try {
      return formatCpus(allowedCpus(tid));
    } catch {
      return ""; // it has ended
    }
  }
}
