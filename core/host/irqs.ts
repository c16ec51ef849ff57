/**
 * Irqs: keeps the host's interrupts off dedicated cores, where that is permitted, and puts them back.
 *
 * Layer: core/host, below placer.ts. An interrupt that can not be moved (managed by its driver, or not ours to move)
 * stays, and is counted. See Documentation/core-api/irq/irq-affinity.rst of Linux.
 */

import { formatCpus, parseCpus } from "../sched/cpulist.ts";

/** See the head of this file. */
export class Irqs {
  readonly #folder: string;
  /** The CPUs of each interrupt before we touched it. */
  readonly #before: Map<string, number[]> = new Map();
  /** How many were moved, and how many could not be. */
  moved = 0;
  stuck = 0;
  #keptOff = "";

  constructor(folder = "/proc/irq") {
    this.#folder = folder;
  }

  /** Keeps interrupts off `cpus`; those that were kept off others before come back there. */
  keepOff(cpus: readonly number[]): void {
    const key = formatCpus(cpus);
    if (key === this.#keptOff) return;
    this.#keptOff = key;
    this.moved = this.stuck = 0;
    for (const irq of this.#list()) this.#route(irq, cpus);
  }

  /** Every interrupt where it was. */
  restore(): void {
    this.keepOff([]);
  }

  #list(): string[] {
    try {
      return [...Deno.readDirSync(this.#folder)].filter((entry) => entry.isDirectory).map((entry) => entry.name);
    } catch {
      return []; // no interrupts are shown here: there are none to move
    }
  }

  #route(irq: string, cpus: readonly number[]): void {
    const file = `${this.#folder}/${irq}/smp_affinity_list`;
    try {
      const now = Deno.readTextFileSync(file).trim(), before = this.#before.get(irq) ?? parseCpus(now);
      const wanted = before.filter((cpu) => !cpus.includes(cpu));
      if (wanted.length === 0) return void this.stuck++;
      if (formatCpus(wanted) === formatCpus(parseCpus(now))) return;
      Deno.writeTextFileSync(file, formatCpus(wanted), { create: false });
      this.moved++;
      if (wanted.length === before.length) this.#before.delete(irq);
      else this.#before.set(irq, before);
    } catch {
      this.stuck++; // `status` tells how many
    }
  }
}
