/**
 * Topology: which CPUs are threads of one core, share a cache, a memory node, a package.
 *
 * Layer: core/sched, pure: the text of /sys/devices/system comes in through a function, so that machines that are not
 * here can be made up. What is not told (a virtual machine without caches) counts as not shared.
 *
 * See Documentation/admin-guide/cputopology.rst of Linux.
 */

import { Err } from "../err.ts";
import { formatCpus, parseCpus } from "./cpulist.ts";

/** One CPU, as Linux counts them: a hardware thread. */
export interface Cpu {
  readonly cpu: number;
  /** All threads of its core, itself among them, ascending. */
  readonly siblings: readonly number[];
  /** The lowest CPU that it shares each of these with. */
  readonly core: number;
  readonly cache: number;
  readonly node: number;
  readonly package: number;
}

/** From near to far: CPUs that share a level, and none before it, are as far apart as its place in this list, plus one. */
const LEVELS = ["core", "cache", "node", "package"] as const;

/** The CPUs of a machine. */
export class Topology {
  /** Ascending. */
  readonly cpus: readonly number[];
  readonly #byCpu: Map<number, Cpu>;

  constructor(cpus: readonly Cpu[]) {
    if (cpus.length === 0) throw new Err("EINVAL", "a topology has one CPU at least");
    this.#byCpu = new Map([...cpus].sort((a, b) => a.cpu - b.cpu).map((cpu) => [cpu.cpu, cpu]));
    this.cpus = [...this.#byCpu.keys()];
  }

  has(cpu: number): boolean {
    return this.#byCpu.has(cpu);
  }

  /** What is known of a CPU. EINVAL when there is none of that number. */
  get(cpu: number): Cpu {
    const found = this.#byCpu.get(cpu);
    if (!found) throw new Err("EINVAL", `there is no core ${cpu} (there are ${formatCpus(this.cpus)})`);
    return found;
  }

  /** Threads of the same core, itself among them. */
  siblings(cpu: number): readonly number[] {
    return this.get(cpu).siblings;
  }

  /** 0 for itself, 1 for a thread of the same core, then cache, node, package, and 5 for what shares nothing. */
  distance(a: number, b: number): number {
    if (a === b) return 0;
    const left = this.get(a), right = this.get(b);
    const level = LEVELS.findIndex((name) => left[name] === right[name]);
    return (level < 0 ? LEVELS.length : level) + 1;
  }

  /** A heading, then a CPU a line. */
  text(): string {
    const row = ({ cpu, siblings, cache, node, package: pkg }: Cpu) =>
      `${cpu} ${formatCpus(siblings)} ${cache} ${node} ${pkg}\n`;
    return "cpu siblings cache node package\n" + [...this.#byCpu.values()].map(row).join("");
  }
}

/**
 * The machine's topology, of the CPUs in `allowed`. `read` answers the text of a file below /sys/devices/system, or
 * undefined when there is none.
 */
export function readTopology(read: (path: string) => string | undefined, allowed: readonly number[]): Topology {
  const list = (path: string) =>
    parseCpus(read(path) ?? "").filter((cpu) => allowed.includes(cpu)).sort((a, b) => a - b);
  const nodes = parseCpus(read("node/online") ?? "").map((node) => list(`node/node${node}/cpulist`));
  return new Topology(allowed.map((cpu) => {
    const own = `cpu/cpu${cpu}`;
    const lowest = (...paths: string[]) =>
      paths.map((path) => list(`${own}/${path}`)).find((l) => l.includes(cpu))?.[0];
    const siblings = list(`${own}/topology/thread_siblings_list`);
    return {
      cpu,
      siblings: siblings.includes(cpu) ? siblings : [cpu],
      core: siblings[0] ?? cpu,
      cache: lowest("cache/index3/shared_cpu_list", "topology/cluster_cpus_list") ?? cpu,
      node: nodes.find((cpus) => cpus.includes(cpu))?.[0] ?? allowed[0],
      package: lowest("topology/package_cpus_list", "topology/core_siblings_list") ?? cpu,
    };
  }));
}

/** A made-up machine, numbered as Linux numbers x86: the first threads of all cores, then the second ones. */
export function madeTopology(
  shape: { packages: number; cores: number; threads: number; cacheCores?: number },
): Topology {
  const { packages, cores, threads, cacheCores = cores } = shape, all = packages * cores;
  const cpus: Cpu[] = [];
  for (let cpu = 0; cpu < all * threads; cpu++) {
    const core = cpu % all, pkg = Math.floor(core / cores) * cores;
    const siblings = Array.from({ length: threads }, (_, t) => core + t * all);
    const cache = pkg + Math.floor((core - pkg) / cacheCores) * cacheCores;
    cpus.push({ cpu, siblings, core, cache, node: pkg, package: pkg });
  }
  return new Topology(cpus);
}
