/**
 * Units: cores that come and go together; clients, cores, and how others see them.
 *
 * Layer: core/sched, pure; cores.ts, the table, says who has which. A client that asks for whole cores (siblings `both`
 * or `none`) has units of all hardware threads of one.
 */

import type { Ask } from "./client.ts";
import type { Topology } from "./topology.ts";

/** How a client hears of its cores. */
export interface CorePort {
  /** It has these now, ascending. */
  granted?(cpus: readonly number[]): void;
  /** It is to give these back (`yield`) within `deadlineMs`; then they are taken. Without this they are taken at once. */
  revoke?(cpus: readonly number[], deadlineMs: number): void;
}

/** A client, as others see it. */
export interface ClientRow extends Ask {
  readonly name: string;
  readonly provisioned: readonly number[];
  readonly allocated: readonly number[];
  /** Why it has less than it wants; empty when it does not. */
  readonly unmet: string;
}

/** What a core is used for. */
export type CoreState = "host" | "shared" | "dedicated" | "sibling" | "revoking";

/** A core, as others see it. */
export interface CoreRow {
  readonly cpu: number;
  readonly state: CoreState;
  readonly provisioned: string | undefined;
  readonly allocated: string | undefined;
  /** Had by another than the one it was promised to. */
  readonly lent: boolean;
  /** How often it was given, taken back, and taken by force. */
  readonly grants: number;
  readonly revocations: number;
  readonly forced: number;
}

/** Cores that come and go together: one, or with its siblings. */
export interface Unit {
  readonly owner: Client;
  /** What the owner runs on. */
  readonly used: readonly number[];
  /** That, and what stays idle for it. */
  readonly held: readonly number[];
  /** Set while it is being taken back. */
  revoking?: { cancel: () => void };
}

/** Who asks for cores. */
export interface Client {
  readonly name: string;
  readonly port: CorePort;
  ask: Ask;
  promised: Unit[];
  units: Unit[];
  unmet: string;
  /** What it was last told. */
  told: string;
}

/** A core, and whose it is. */
export interface Core {
  readonly cpu: number;
  promised?: Unit;
  given?: Unit;
  /** Grows with time: when it was last given back. */
  freed: number;
  grants: number;
  revocations: number;
  forced: number;
}

/** The unit that a client would have with a CPU. */
export function unitOf(owner: Client, cpu: number, topology: Topology): Unit {
  const { siblings } = owner.ask, all = topology.siblings(cpu);
  return { owner, used: siblings === "both" ? all : [cpu], held: siblings === "any" ? [cpu] : all };
}

/** Whether a unit is what its owner asks for now: as many threads, none of the host's, where it may be. */
export function suits(
  { owner, used, held }: Unit,
  { wired }: Ask,
  { topology, host }: { topology: Topology; host: ReadonlySet<number> },
): boolean {
  const now = unitOf(owner, used[0], topology);
  return held.length === now.held.length && used.length === now.used.length &&
    held.every((cpu) => !host.has(cpu)) && used.every((cpu) => wired?.includes(cpu) ?? true);
}

/** The CPUs that units run on, ascending. */
export function cpusOf(units: readonly Unit[]): number[] {
  return units.flatMap((u) => u.used).sort((a, b) => a - b);
}

export function clientRow({ name, ask, promised, units, unmet }: Client): ClientRow {
  return { name, ...ask, provisioned: cpusOf(promised), allocated: cpusOf(units), unmet };
}

/** A core, as others see it; `host` are those that are never given. */
export function coreRow(
  { cpu, promised, given, grants, revocations, forced }: Core,
  host: ReadonlySet<number>,
): CoreRow {
  const lent = given !== undefined && promised !== undefined && given.owner !== promised.owner;
  const names = { provisioned: promised?.owner.name, allocated: given?.owner.name };
  const state = host.has(cpu) ? "host" : given ? givenState(given, cpu) : "shared";
  return { cpu, state, ...names, lent, grants, revocations, forced };
}

function givenState({ revoking, used }: Unit, cpu: number): CoreState {
  if (revoking) return "revoking";
  return used.includes(cpu) ? "dedicated" : "sibling";
}
