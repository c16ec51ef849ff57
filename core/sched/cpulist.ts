/**
 * Lists of CPUs as Linux writes them: `0-3,8`.
 *
 * Layer: core/sched, a leaf, pure. See "List format" in cpuset(7).
 */

import { Err } from "../err.ts";

/** CPUs that a mask of ours can name. */
export const MAX_CPUS = 1024;

/** `0-3,8` as numbers, in the order in which they stand. EINVAL for anything else; an empty text is no CPU. */
export function parseCpus(list: string): number[] {
  const cpus: number[] = [];
  for (const part of list.trim().split(",")) {
    if (part === "") continue;
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    const from = Number(match?.[1]), to = Number(match?.[2] ?? from);
    if (!match || to < from || to >= MAX_CPUS) throw new Err("EINVAL", `not a list of CPUs: ${list}`);
    for (let cpu = from; cpu <= to; cpu++) cpus.push(cpu);
  }
  return cpus;
}

/** Numbers as `0-3,8`. */
export function formatCpus(cpus: readonly number[]): string {
  const sorted = [...new Set(cpus)].sort((a, b) => a - b), parts: string[] = [];
  for (let i = 0; i < sorted.length; i++) {
    const from = sorted[i];
    while (sorted[i + 1] === sorted[i] + 1) i++;
    parts.push(sorted[i] === from ? `${from}` : `${from}-${sorted[i]}`);
  }
  return parts.join(",");
}
