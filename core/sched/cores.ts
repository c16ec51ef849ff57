/**
 * The table of cores: who was promised which (provisioned), who has which (allocated), and who runs where the rest do.
 *
 * Layer: core/sched, pure: it decides, and whoever holds it moves threads (control.ts, core/host/cores.ts). Akaros's
 * corealloc and coreprov are the model; unlike there, a client may ask for given cores, and for siblings or none.
 *
 * What holds always:
 * - A core has one owner, or none: then it is shared by all who have no core of their own. A host core is never given.
 * - No more is promised than there is, and a core is promised to one client.
 * - A client that wants no more than it was promised has it, at once; who must give way has until a deadline.
 * - A promised core that its owner does not want is lent; nobody waits for a core that is free and would do.
 */

import type { Clock } from "../clock.ts";
import { Err, excerpt } from "../err.ts";
import { type CoreAllocator, packed } from "./allocator.ts";
import { type Ask, checkAsk, NO_CORES } from "./client.ts";
import { formatCpus } from "./cpulist.ts";
import type { Topology } from "./topology.ts";
import {
  type Client,
  type ClientRow,
  clientRow,
  type Core,
  type CorePort,
  type CoreRow,
  coreRow,
  cpusOf,
  suits,
  type Unit,
  unitOf,
} from "./units.ts";

/** Passes after which everybody has what is due: each client may set off one of each other. */
const MAX_PASSES = 1000;

/** What a table is made with. */
export interface CoreTableOptions {
  topology: Topology;
  /** Cores that are never given: the kernel and the runtime's helper threads run there. The first one when not said. */
  host?: readonly number[];
  allocator?: CoreAllocator;
  clock: Clock;
  /** How long a client has to give a core back. */
  revokeMs?: number;
  /** Called after each change of who has what. */
  changed?(): void;
}

/** See the head of this file. */
export class CoreTable {
  readonly topology: Topology;
  allocator: CoreAllocator;
  revokeMs: number;
  readonly #clock: Clock;
  readonly #changed: () => void;
  readonly #cores: Map<number, Core>;
  readonly #clients: Map<string, Client> = new Map();
  #host: ReadonlySet<number>;
  /** Units that are being taken back from others, each for its owner: nobody else gets a part of one meanwhile. */
  readonly #coming: Set<Unit> = new Set();
  #frees = 0;
  #balancing = false;
  #again = false;

  constructor({ topology, host, allocator = packed, clock, revokeMs = 100, changed = () => {} }: CoreTableOptions) {
    this.topology = topology;
    this.allocator = allocator;
    this.revokeMs = revokeMs;
    this.#clock = clock;
    this.#changed = changed;
    this.#cores = new Map(topology.cpus.map((cpu) => [cpu, { cpu, freed: 0, grants: 0, revocations: 0, forced: 0 }]));
    this.#host = this.#hostSet(host ?? [topology.cpus[0]]);
  }

  /** The host's cores, ascending. */
  get host(): number[] {
    return [...this.#host].sort((a, b) => a - b);
  }

  /** Cores that nobody has to itself: the host's, and all that are not given. */
  get shared(): number[] {
    return this.topology.cpus.filter((cpu) => !this.#core(cpu).given);
  }

  has(name: string): boolean {
    return this.#clients.has(name);
  }

  /** Adds a client. EEXIST, or why what it asks can not be: then nothing has changed. */
  add(name: string, ask: Partial<Ask> = {}, port: CorePort = {}): void {
    if (this.#clients.has(name)) throw new Err("EEXIST", `there is a client of the cores called ${name} already`);
    const client: Client = { name, port, ask: NO_CORES, promised: [], units: [], unmet: "", told: "" };
    this.#change(client, { ...NO_CORES, ...ask });
    this.#clients.set(name, client);
    this.#balance();
  }

  /** Takes a client away; its cores are free. */
  remove(name: string): void {
    const client = this.#need(name);
    this.#clients.delete(name);
    for (const unit of [...client.units]) this.#free(unit);
    this.#promise(client, []);
    this.#balance();
  }

  /** Changes what a client asks; what can not be is refused, and nothing has changed. */
  set(name: string, patch: Partial<Ask>): void {
    const client = this.#need(name);
    this.#change(client, { ...client.ask, ...patch });
    this.#balance();
  }

  /** Gives cores back: those that are being taken, or else the client's last one, which it does not want any more. */
  yield(name: string, cpu?: number): void {
    const client = this.#need(name);
    const units = cpu === undefined ? client.units.filter((u) => u.revoking) : this.#unitsOn(client, cpu);
    if (units.length === 0 && client.units.length === 0) throw new Err("EINVAL", `${name} has no core to give back`);
    for (const unit of units.length > 0 ? units : client.units.slice(-1)) {
      if (!unit.revoking) client.ask = { ...client.ask, want: Math.max(0, client.ask.want - unit.used.length) };
      this.#free(unit);
    }
    this.#balance();
  }

  /** Promises one given core to a client, on top of what it was promised; or, for null, to nobody any more. */
  provision(cpu: number, name: string | null): void {
    const core = this.#mustGive(cpu), { promised } = core;
    if (name === null) {
      if (!promised) throw new Err("EINVAL", `core ${cpu} is not provisioned`);
      const { owner } = promised, count = owner.ask.guaranteed - promised.used.length;
      this.#promise(owner, owner.promised.filter((u) => u !== promised));
      owner.ask = { ...owner.ask, guaranteed: count };
    } else {
      const client = this.#need(name);
      if (promised?.owner === client) return;
      const unit = this.#unitOf(client, cpu);
      if (unit.held.some((c) => this.#core(c).promised)) throw this.#promisedTo(unit);
      if (!this.#suits(unit, client)) {
        throw new Err("EINVAL", `core ${cpu} is none that ${name} asks for (wired, siblings)`);
      }
      const { ask } = client, guaranteed = ask.guaranteed + unit.used.length;
      const least = { guaranteed, cores: Math.max(ask.cores, guaranteed), want: Math.max(ask.want, guaranteed) };
      checkAsk(name, { ...ask, ...least }, this.topology, this.#host);
      this.#promise(client, [...client.promised, unit]);
      client.ask = { ...ask, ...least };
    }
    this.#balance();
  }

  /** Makes these the host's cores. EBUSY when one of them is promised. */
  setHost(cpus: readonly number[]): void {
    const host = this.#hostSet(cpus);
    for (const cpu of host) {
      const { promised } = this.#core(cpu);
      if (promised) throw new Err("EBUSY", `core ${cpu} is provisioned to ${promised.owner.name}`);
    }
    this.#host = host;
    this.#balance();
  }

  /** Every client, in the order in which they came. */
  clients(): ClientRow[] {
    return [...this.#clients.values()].map(clientRow);
  }

  /** One client. ENOENT when there is none of that name. */
  client(name: string): ClientRow {
    return clientRow(this.#need(name));
  }

  /** Every core, ascending. */
  cores(): CoreRow[] {
    return [...this.#cores.values()].map((core) => coreRow(core, this.#host));
  }

  /** One core. EINVAL when there is none of that number. */
  core(cpu: number): CoreRow {
    this.topology.get(cpu);
    return coreRow(this.#core(cpu), this.#host);
  }

  // What is asked.

  #change(client: Client, ask: Ask): void {
    checkAsk(client.name, ask, this.topology, this.#host);
    const before = client.ask;
    client.ask = ask;
    try {
      this.#promise(client, this.#promises(client));
    } catch (e) {
      client.ask = before;
      throw e;
    }
  }

  /** What a client of this ask is promised: what it was, as far as that still fits, and more. */
  #promises(client: Client): Unit[] {
    const { guaranteed } = client.ask, name = client.name;
    const units = client.promised.filter((u) => this.#suits(u, client)).map(({ used }) =>
      this.#unitOf(client, used[0])
    );
    const count = () => cpusOf(units).length;
    while (count() > guaranteed) units.pop();
    while (count() < guaranteed) {
      const taken = new Set(units.flatMap((u) => u.held));
      const free = (u: Unit) =>
        u.held.every((c) => !taken.has(c) && [undefined, client].includes(this.#core(c).promised?.owner));
      const unit = this.#pick(client, cpusOf(units), free);
      if (!unit) {
        const to = [...this.#clients.values()].filter((c) => c !== client && c.promised.length > 0);
        const others = to.map((c) => `${formatCpus(cpusOf(c.promised))} to ${c.name}`).join(", ") || "none";
        throw new Err(
          "EBUSY",
          `${name}: can not guarantee ${guaranteed} cores, only ${count()} (provisioned: ${others})`,
        );
      }
      units.push(unit);
    }
    return units;
  }

  #promise(client: Client, units: Unit[]): void {
    for (const unit of client.promised) for (const cpu of unit.held) this.#core(cpu).promised = undefined;
    for (const unit of units) for (const cpu of unit.held) this.#core(cpu).promised = unit;
    client.promised = units;
  }

  // Who gets what.

  /** Brings what is given in line with what is asked; a client that is told may ask for more meanwhile. */
  #balance(): void {
    this.#again = true;
    if (this.#balancing) return;
    this.#balancing = true;
    try {
      for (let passes = 0; this.#again; passes++) {
        if (passes > MAX_PASSES) throw new Error("the core table does not settle");
        this.#pass();
      }
    } finally {
      this.#balancing = false;
    }
    this.#tell();
    this.#changed();
  }

  #pass(): void {
    this.#again = false;
    const clients = [...this.#clients.values()];
    for (const client of clients) this.#trim(client);
    for (const unit of this.#coming) this.#arrive(unit);
    for (const client of clients) this.#honour(client);
    for (const priority of ["rt", "lc", "be"]) {
      for (const client of clients) if (client.ask.priority === priority) this.#serve(client);
    }
    if (clients.some((client) => cpusOf(client.units).length > client.ask.want)) this.#again = true;
  }

  #tell(): void {
    for (const client of [...this.#clients.values()]) {
      const cpus = cpusOf(client.units), text = formatCpus(cpus);
      if (client.told === text) continue;
      client.told = text;
      client.port.granted?.(cpus);
    }
  }

  /** Gives back what a client does not want, or what does not suit it any more; what it is to lose first, then the borrowed. */
  #trim(client: Client): void {
    for (const unit of client.units.filter((u) => !this.#suits(u, client))) this.#free(unit);
    const rank = (u: Unit) => u.revoking ? 0 : this.#core(u.used[0]).promised?.owner !== client ? 1 : 2;
    const last = [...client.units].reverse().sort((a, b) => rank(a) - rank(b));
    for (const unit of last) {
      if (cpusOf(client.units).length > client.ask.want) this.#free(unit);
    }
  }

  /** Gives a client what it was promised, taking it from whoever has it. */
  #honour(client: Client): void {
    const due = Math.min(client.ask.want, client.ask.guaranteed);
    let coming = this.#keeps(client);
    for (const unit of client.promised) {
      if (coming >= due) return;
      const given = this.#givenOn(unit);
      if (given.some((u) => u.owner === client && !u.revoking)) continue;
      coming += unit.used.length;
      this.#take(unit);
    }
  }

  /** Gives a client more than it was promised, as long as there is something. */
  #serve(client: Client): void {
    for (;;) {
      const have = this.#keeps(client), { want, priority } = client.ask;
      client.unmet = "";
      if (have >= want) return;
      if (have + this.#comingTo(client) >= want) return void (client.unmet = "a core is being taken back for it");
      const unit = this.#pick(client, cpusOf(client.units), (u) => this.#isFree(u), true);
      if (unit) {
        this.#give(unit);
        continue;
      }
      if (priority !== "be" && this.#preempt(client)) continue;
      client.unmet = this.#whyNone(client);
      return;
    }
  }

  /** Takes back a best-effort client's cores that would do, and that it was not promised; false when there are none. */
  #preempt(client: Client): boolean {
    const mayTake = (u: Unit) => {
      const given = this.#givenOn(u);
      return given.length > 0 && this.#isStill(u) &&
        given.every(({ owner, used, revoking }) =>
          !revoking && owner.ask.priority === "be" && this.#core(used[0]).promised?.owner !== owner &&
          this.#keeps(owner) - used.length >= Math.min(owner.ask.want, owner.ask.guaranteed)
        );
    };
    const unit = this.#pick(client, cpusOf(client.units), mayTake);
    if (!unit) return false;
    this.#take(unit);
    return true;
  }

  /** How many a client has and is not about to lose. */
  #keeps(client: Client): number {
    return cpusOf(client.units.filter((u) => !u.revoking)).length;
  }

  /** How many are being taken back for a client. */
  #comingTo(client: Client): number {
    return cpusOf([...this.#coming].filter((u) => u.owner === client)).length;
  }

  /** Takes a unit from whoever has parts of it, for its owner. */
  #take(unit: Unit): void {
    for (const other of this.#coming) if (other.held.some((cpu) => unit.held.includes(cpu))) this.#coming.delete(other);
    this.#coming.add(unit);
    for (const given of this.#givenOn(unit)) this.#revoke(given);
    this.#arrive(unit);
  }

  /** Gives a unit that was taken for its owner, once all of it is free; drops it when it is not wanted any more. */
  #arrive(unit: Unit): void {
    const { owner } = unit, wanted = this.#clients.get(owner.name) === owner && this.#keeps(owner) < owner.ask.want;
    if (wanted && this.#suits(unit, owner) && this.#givenOn(unit).length > 0) return;
    this.#coming.delete(unit);
    if (wanted && this.#suits(unit, owner)) this.#give(unit);
  }

  #whyNone(client: Client): string {
    const { wired, siblings } = client.ask;
    const of = wired ? ` of ${formatCpus(wired)}` : "", whole = siblings === "any" ? "" : ` with siblings ${siblings}`;
    const owners = this.topology.cpus.filter((cpu) => this.#core(cpu).given)
      .map((cpu) => `${cpu} ${this.#core(cpu).given!.owner.name}`);
    return `no core${of}${whole} is free (${owners.join(", ") || "none is had by others"})`;
  }

  /** The allocator's choice among units that suit a client and are `free`; lent ones only when there are no others. */
  #pick(client: Client, own: readonly number[], free: (u: Unit) => boolean, lend = false): Unit | undefined {
    const units = new Map<number, Unit>();
    for (const core of [...this.#cores.values()].sort((a, b) => a.freed - b.freed)) {
      if (this.#host.has(core.cpu) || (client.ask.wired && !client.ask.wired.includes(core.cpu))) continue;
      const unit = this.#unitOf(client, core.cpu);
      if (this.#suits(unit, client) && free(unit)) units.set(core.cpu, unit);
    }
    const unpromised = [...units.keys()].filter((cpu) => units.get(cpu)!.held.every((c) => !this.#core(c).promised));
    const candidates = lend && unpromised.length > 0 ? unpromised : [...units.keys()];
    if (candidates.length === 0) return undefined;
    const others = this.topology.cpus.filter((cpu) => {
      const { given, promised } = this.#core(cpu), owner = (given ?? promised)?.owner;
      return owner && owner !== client;
    });
    return units.get(this.allocator.pick({ candidates, own, others, topology: this.topology }));
  }

  #unitOf(owner: Client, cpu: number): Unit {
    return unitOf(owner, cpu, this.topology);
  }

  /** Whether a unit is what a client asks for now. */
  #suits(unit: Unit, client: Client): boolean {
    return suits(unit, client.ask, { topology: this.topology, host: this.#host });
  }

  #isFree(unit: Unit): boolean {
    return this.#givenOn(unit).length === 0 && this.#isStill(unit);
  }

  /** Whether no part of a unit is on its way to somebody. */
  #isStill({ held }: Unit): boolean {
    return [...this.#coming].every((u) => !u.held.some((cpu) => held.includes(cpu)));
  }

  #givenOn(unit: Unit): Unit[] {
    return [...new Set(unit.held.map((cpu) => this.#core(cpu).given).filter((u) => u !== undefined))];
  }

  #unitsOn(client: Client, cpu: number): Unit[] {
    const unit = this.#core(this.topology.get(cpu).cpu).given;
    if (unit?.owner !== client) throw new Err("EINVAL", `${client.name} does not have core ${cpu}`);
    return [unit];
  }

  #give(unit: Unit): void {
    const given = { ...unit, revoking: undefined };
    unit.owner.units.push(given);
    for (const cpu of unit.held) {
      this.#core(cpu).given = given;
      this.#core(cpu).grants++;
    }
  }

  #free(unit: Unit): void {
    unit.revoking?.cancel();
    unit.owner.units = unit.owner.units.filter((u) => u !== unit);
    for (const cpu of unit.held) {
      this.#core(cpu).given = undefined;
      this.#core(cpu).freed = ++this.#frees;
    }
  }

  /** Takes cores back: at once, or by a deadline where their owner wants to hear of it. */
  #revoke(unit: Unit): void {
    if (unit.revoking) return;
    for (const cpu of unit.held) this.#core(cpu).revocations++;
    const { port } = unit.owner;
    this.#again = true; // who loses it may have been promised another
    if (!port.revoke) return this.#free(unit);
    const cancel = this.#clock.after(this.revokeMs, () => {
      for (const cpu of unit.held) this.#core(cpu).forced++;
      this.#free(unit);
      this.#balance();
    });
    unit.revoking = { cancel };
    port.revoke(unit.used, this.revokeMs);
  }

  #promisedTo(unit: Unit): Err {
    const to = unit.held.map((cpu) => this.#core(cpu).promised).find((u) => u)!.owner.name;
    return new Err("EBUSY", `core ${formatCpus(unit.held)} is provisioned to ${to}`);
  }

  #mustGive(cpu: number): Core {
    this.topology.get(cpu);
    if (this.#host.has(cpu)) throw new Err("EBUSY", `core ${cpu} is the host's, and is never given`);
    return this.#core(cpu);
  }

  #hostSet(cpus: readonly number[]): ReadonlySet<number> {
    for (const cpu of cpus) this.topology.get(cpu);
    if (cpus.length === 0) throw new Err("EINVAL", "the host has to have one core at least");
    return new Set(cpus);
  }

  #need(name: string): Client {
    const client = this.#clients.get(name);
    if (!client) throw new Err("ENOENT", `there is no client of the cores called ${excerpt(name)}`);
    return client;
  }

  #core(cpu: number): Core {
    return this.#cores.get(cpu)!;
  }
}
