/**
 * Core allocators: which of the free cores a client gets. One interface, two policies.
 *
 * Layer: core/sched, pure. They choose and keep nothing; cores.ts says what may be chosen. Akaros's corealloc_fcfs.c
 * and corealloc_packed.c are the models.
 */

import type { Topology } from "./topology.ts";

/** What an allocator chooses by. */
export interface Choice {
  /** Cores that would do, one at least; the one that has been free longest comes first. */
  readonly candidates: readonly number[];
  /** What the client has already. */
  readonly own: readonly number[];
  /** What all others have. */
  readonly others: readonly number[];
  readonly topology: Topology;
}

/** A policy. */
export interface CoreAllocator {
  readonly name: string;
  /** One of the candidates. */
  pick(choice: Choice): number;
}

/** First come, first served: the core that has been free longest. */
export const fcfs: CoreAllocator = { name: "fcfs", pick: ({ candidates }) => candidates[0] };

/** A client's cores close together: near its own, its first one far from everybody else's. */
export const packed: CoreAllocator = {
  name: "packed",
  pick({ candidates, own, others, topology }) {
    const sum = (cpu: number, from: readonly number[]) =>
      from.reduce((n, other) => n + topology.distance(cpu, other), 0);
    const cost = (cpu: number) => own.length > 0 ? sum(cpu, own) : -sum(cpu, others);
    let best = -1, least = Infinity;
    for (const cpu of candidates) {
      const now = cost(cpu);
      if (now < least || (now === least && cpu < best)) {
        best = cpu;
        least = now;
      }
    }
    return best;
  },
};

/** All of them, by name. */
export const ALLOCATORS: ReadonlyMap<string, CoreAllocator> = new Map([fcfs, packed].map((a) => [a.name, a]));
