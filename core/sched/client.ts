/**
 * What a client asks of the core table, and the check of it.
 *
 * Layer: core/sched, pure; cores.ts keeps the clients. Words are Junction's (cores, guaranteed, priority), Akaros's
 * (want, provisioned, allocated) and Plan 9's (wired).
 */

import { Err } from "../err.ts";
import { formatCpus } from "./cpulist.ts";
import type { Topology } from "./topology.ts";

/** Whether a client's cores come with their sibling threads: it does not care, it uses them all, they stay idle. */
export type Siblings = "any" | "both" | "none";
/**
 * Latency-critical or best-effort: who is short of cores takes lent ones of the latter. Real-time is the former, and on
 * cores that it has to itself nothing of the host's that is not real-time takes its turn.
 */
export type Priority = "rt" | "lc" | "be";

/** What a client asks. Counts are of CPUs that it runs on. */
export interface Ask {
  /** The most it may have. */
  readonly cores: number;
  /** How many are promised: had at once, whoever has them. */
  readonly guaranteed: number;
  /** How many it wants now. */
  readonly want: number;
  /** The only ones that will do; undefined when any does. */
  readonly wired: readonly number[] | undefined;
  readonly siblings: Siblings;
  readonly priority: Priority;
}

/** What holds when nothing is said: it runs where all others do. */
export const NO_CORES: Ask = {
  cores: 0,
  guaranteed: 0,
  want: 0,
  wired: undefined,
  siblings: "any",
  priority: "lc",
};

/** Refuses what can never be, with EINVAL that says what could. */
export function checkAsk(name: string, ask: Ask, topology: Topology, host: ReadonlySet<number>): void {
  const refuse = (why: string): never => {
    throw new Err("EINVAL", `${name}: ${why}`);
  };
  const { cores, guaranteed, want, wired, siblings } = ask;
  for (const [key, count] of Object.entries({ cores, guaranteed, want })) {
    if (!Number.isInteger(count) || count < 0) refuse(`${key} is ${count}, wanted a number of cores`);
  }
  if (guaranteed > cores) refuse(`guaranteed ${guaranteed} is more than cores ${cores}`);
  if (want > cores) refuse(`want ${want} is more than cores ${cores}`);
  const there = topology.cpus.filter((cpu) => !host.has(cpu));
  if (cores > there.length) {
    refuse(`there are ${there.length} cores to give, not ${cores} (${formatCpus([...host])} is the host's)`);
  }
  for (const cpu of wired ?? []) {
    topology.get(cpu);
    if (host.has(cpu)) refuse(`core ${cpu} is the host's (try: echo host LIST >/sys/cores/ctl)`);
  }
  if (wired && wired.length < cores) refuse(`wired to ${wired.length} of the ${cores} cores that it may have`);
  if (siblings !== "both") return;
  const threads = Math.max(...topology.cpus.map((cpu) => topology.siblings(cpu).length));
  for (const [key, count] of Object.entries({ cores, guaranteed, want })) {
    if (count % threads !== 0) refuse(`${key} is ${count}, and with siblings both it is a multiple of ${threads}`);
  }
}
