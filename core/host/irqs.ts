/**
 * Irqs: keeps the host's interrupts off dedicated cores, where that is permitted, and puts them back.
 *
 * Layer: core/host, below placer.ts. An interrupt that can not be moved (managed by its driver, or not ours to move)
 * stays, and is counted. See Documentation/core-api/irq/irq-affinity.rst of Linux.
 *
 * What holds always: where an interrupt was is written down before it is moved, in a file whose name
 * tells the process (cpuset_groups.ts), so that what a node that was killed has left is put back by the next.
 */

import { formatCpus, parseCpus } from "../sched/cpulist.ts";
import { groupId, isLeft, namesIn } from "./cpuset_groups.ts";
import { textOf } from "./procfs.ts";

/** Where the files are, for tests. */
export interface IrqFolders {
  irq?: string;
  /** Notes of where interrupts were. It is empty after a boot of the host, as interrupts are where they were then. */
  notes?: string;
  proc?: string;
}

/** See the head of this file. */
export class Irqs {
  readonly #folder: string;
  readonly #notes: string;
  readonly #proc: string;
  /** The CPUs of each interrupt before we touched it. */
  readonly #before: Map<string, number[]> = new Map();
  /** How many could not be moved. */
  stuck = 0;
  #keptOff = "";

  constructor({ irq = "/proc/irq", notes = "/run/ring9", proc = "/proc" }: IrqFolders = {}) {
    this.#folder = irq;
    this.#notes = notes;
    this.#proc = proc;
    this.#putBackLeft();
  }

  /** How many are elsewhere than they were. */
  get moved(): number {
    return this.#before.size;
  }

  /** Keeps interrupts off `cpus`; those that were kept off others before come back there. */
  keepOff(cpus: readonly number[]): void {
    const key = formatCpus(cpus);
    if (key === this.#keptOff) return;
    this.#keptOff = key;
    this.stuck = 0;
    const irqs = list(this.#folder);
    if (cpus.length > 0 && !this.#note(irqs)) return void (this.stuck = irqs.length);
    for (const irq of irqs) this.#route(irq, cpus);
    if (this.#before.size === 0) remove(this.#file);
  }

  /** Every interrupt where it was. */
  restore(): void {
    this.keepOff([]);
  }

  /** What has to be put back when this process can not do it itself. */
  get guarded(): { folder: string; note: string } {
    return { folder: this.#folder, note: this.#file };
  }

  get #file(): string {
    return `${this.#notes}/irqs-${groupId(this.#proc)}`;
  }

  /** Writes down where all are. False where that can not be: then none is moved. */
  #note(irqs: string[]): boolean {
    const lines = irqs.map((irq) =>
      `${irq} ${formatCpus(this.#before.get(irq) ?? cpusOf(`${this.#folder}/${irq}`))}\n`
    );
    try {
      Deno.mkdirSync(this.#notes, { recursive: true, mode: 0o755 });
      Deno.writeTextFileSync(this.#file, lines.join(""));
      return true;
    } catch {
      return false; // who may not write here may not move interrupts either
    }
  }

  #route(irq: string, cpus: readonly number[]): void {
    const now = cpusOf(`${this.#folder}/${irq}`), before = this.#before.get(irq) ?? now;
    const wanted = before.filter((cpu) => !cpus.includes(cpu));
    if (wanted.length === 0) return void this.stuck++;
    if (formatCpus(wanted) === formatCpus(now)) return;
    if (!write(`${this.#folder}/${irq}`, wanted)) return void this.stuck++;
    if (wanted.length === before.length) this.#before.delete(irq);
    else this.#before.set(irq, before);
  }

  /** What nodes that are no more have moved comes back. */
  #putBackLeft(): void {
    for (const name of namesIn(this.#notes)) {
      if (!name.startsWith("irqs-") || !isLeft(name, this.#proc)) continue;
      for (const line of textOf(`${this.#notes}/${name}`).split("\n")) {
        const [, irq, cpus] = /^(\d+) ([\d,-]+)$/.exec(line) ?? [];
        if (irq && formatCpus(cpusOf(`${this.#folder}/${irq}`)) !== cpus) {
          write(`${this.#folder}/${irq}`, parseCpus(cpus));
        }
      }
      remove(`${this.#notes}/${name}`);
    }
  }
}

/** The interrupts, by number. */
function list(folder: string): string[] {
  return namesIn(folder).filter((name) => /^\d+$/.test(name)).sort((a, b) => Number(a) - Number(b));
}

function cpusOf(irq: string): number[] {
  const text = textOf(`${irq}/smp_affinity_list`).trim();
  return /^[\d,-]+$/.test(text) ? parseCpus(text) : [];
}

/** Whether it is there now. */
function write(irq: string, cpus: readonly number[]): boolean {
  try {
    Deno.writeTextFileSync(`${irq}/smp_affinity_list`, formatCpus(cpus), { create: false });
    return true;
  } catch {
    return false; // `status` tells how many
  }
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // it was not there
  }
}
