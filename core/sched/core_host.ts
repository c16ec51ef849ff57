/**
 * What the core control works with: members, which run for a client, and the host, which moves their threads.
 *
 * Layer: core/sched, types alone; control.ts uses them, core/host/members.ts and placer.ts are them.
 */

import type { Priority } from "./client.ts";
import type { QueueView } from "./qdelay.ts";
import type { Vigil } from "./settings.ts";

/** What runs for a client. */
export interface Member {
  /** `worker-3`, `pid 4711`. */
  readonly id: string;
  /** Linux's numbers of its threads; none when it has ended. */
  tids(): number[];
  /** Tells it where it is now; `cpu` is -1 when it is not one core. */
  moved(cpu: number): void;
  /** Sets its spin budget; undefined: as its limits say. */
  spin(looks: number | undefined): void;
  /** Its requests; undefined when it has no queue to look at. */
  queue(): QueueView | undefined;
  /** Watches its heart by these limits; `told` hears what is seen. */
  watchdog(vigil: Vigil, told: (what: string) => void): void;
  /** `told` is called at the next request that is handed to it, once; undefined: nobody is. */
  onWork(told: (() => void) | undefined): void;
  /** Its counters, by name. */
  counters(): Record<string, number>;
  /** Ends it now; it is started again as its restart policy says. */
  kill(): Promise<void>;
}

/** Where the threads of a client are to run. */
export interface Placement {
  readonly name: string;
  readonly tids: readonly number[];
  readonly cpus: readonly number[];
  /** Nobody else runs there. */
  readonly dedicated: boolean;
  readonly priority: Priority;
}

/** Where all threads are to run. */
export interface Plan {
  /** For all threads of the system that are in no placement. */
  readonly shared: readonly number[];
  readonly placements: readonly Placement[];
}

/** Whose other processes are kept off dedicated cores too: nobody's, those of this session (setsid(2)), this user, all. */
export type Shield = "off" | "session" | "user" | "host";

/** What moves threads. */
export interface CoreHost {
  /** Brings the threads where the plan says. Answers what could not be done. */
  place(plan: Plan): string[];
  /** Sets how threads are scheduled. Throws why it can not be. */
  schedule(tids: readonly number[], how: { priority: Priority; quantumUs: number }): void;
  /** CPU time that threads have taken, milliseconds. */
  cpuMs(tids: readonly number[]): number;
  /** Keeps others' processes off. EOPNOTSUPP where that can not be. */
  shield(against: Shield): void;
  /** How cores are kept for their owners here, and why not better: lines of `key value`. */
  status(): string;
  /** Counters of a CPU, by name. */
  cpuCounters(cpu: number): Record<string, number>;
  /** Counters of threads, by name. */
  threadCounters(tids: readonly number[]): Record<string, number>;
  /** Undoes all. */
  close(): void;
}
