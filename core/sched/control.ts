/**
 * CoreControl: the isolates and processes of a system on its cores: who runs where, with what priority, and when one is
 * given a core because its requests wait too long.
 *
 * Layer: core/sched, over the core table, pure: threads are moved by a `CoreHost` (core/host/placer.ts). The plugin `sys`
 * is its face, /sys/cores. A client is a plugin's name; while a plugin is reloaded two generations of it run, and
 * share what it has. What was set by ctl stays when a plugin is restarted.
 *
 * What holds always: while nobody has a core to itself, is pinned or has a priority, no thread is touched.
 */

import type { Clock } from "../clock.ts";
import { Err, excerpt, toErr } from "../err.ts";
import { ALLOCATORS } from "./allocator.ts";
import type { Ask } from "./client.ts";
import type { CoreHost, Member, Placement } from "./core_host.ts";
import { CoreTable } from "./cores.ts";
import { formatCpus } from "./cpulist.ts";
import { Histogram, QueueProbe, type QueueView } from "./qdelay.ts";
import { IDLE_SHARE, Rest } from "./rest.ts";
import { type CoreSettings, DEFAULT_SETTINGS } from "./settings.ts";
import type { Topology } from "./topology.ts";
import type { ClientRow } from "./units.ts";

/** The shortest and longest time between two looks at the queues. */
const MIN_TICK_MS = 1, MAX_TICK_MS = 50;
/** When nothing was asked of those who are looked at for so long, looks come as seldom as this. */
const QUIET_MS = 500, QUIET_TICK_MS = 200;
/** Who has not asked for it for so long, and has hardly used it, gives a core back. */
const IDLE_MS = 1000;
/** Looks come so often while somebody is short of cores that others might lend, and while one who lent may wake by itself. */
const SHORT_TICK_MS = 100, LENT_TICK_MS = 10;
/** Events that are kept for who comes late. */
const MAX_EVENTS = 64;

/** What a proc that is a program is called as a client; no plugin has a name with a dot. */
export function procClient(pid: number): string {
  return `proc.${pid}`;
}

/** Everything that is known of a client. */
export interface ClientState {
  readonly name: string;
  readonly settings: CoreSettings;
  readonly row: ClientRow;
  readonly members: readonly Member[];
  /** Where it runs, as text, and whether alone. */
  readonly cpus: string;
  readonly moves: number;
  readonly delays: Histogram;
  /** The oldest request's wait at the last look, milliseconds. */
  readonly delayMs: number;
  /** How often its queue delay was above `qdelay`. */
  readonly congested: number;
  /** What came of that when it was last so: it got a core, or why it could not; empty when nothing waits too long. */
  readonly relief: string;
  /** It rests, and its promised cores are lent until it wakes. */
  readonly lent: boolean;
  /** How often that was so. */
  readonly lends: number;
}

interface Client {
  readonly name: string;
  /** From manifest and image. */
  base: Partial<CoreSettings>;
  /** From ctl files. */
  set: Partial<CoreSettings>;
  readonly members: Map<Member, QueueProbe>;
  readonly delays: Histogram;
  cpus: string;
  moves: number;
  delayMs: number;
  congested: number;
  /** Cores above its guarantee, that congestion has brought it. */
  extra: number;
  /** When it was last congested, and what CPU time it had then. */
  sinceMs: number;
  usedMs: number;
  /** How long it has rested, and whether its cores are lent for that. */
  readonly rest: Rest;
  lent: boolean;
  lends: number;
  /** The last thing that was said of its congestion. */
  said: string;
  scheduled: string;
}

/** What a control is made with. */
export interface CoreControlOptions {
  clock: Clock;
  topology: Topology;
  host: CoreHost;
  hostCores?: readonly number[];
  log(text: string): void;
  /** Whether a client that nothing runs for is still there: its plugin is loaded. */
  keep(name: string): boolean;
  /** Told where all others run: the one CPU, or -1 when it is more than one. */
  shared?(cpu: number): void;
}

/** See the head of this file. */
export class CoreControl {
  readonly table: CoreTable;
  /** The last events, oldest first. */
  readonly events: string[] = [];
  /** Called with each event. */
  readonly listeners: Set<(text: string) => void> = new Set();
  readonly host: CoreHost;
  readonly #clock: Clock;
  readonly #log: (text: string) => void;
  readonly #keep: (name: string) => boolean;
  readonly #shared: (cpu: number) => void;
  readonly #clients: Map<string, Client> = new Map();
  #touched = false;
  #problems = "";
  #cancelTick: (() => void) | undefined;
  /** When a request was last seen, and how many bytes of them there had been. */
  #livelyMs = -Infinity;
  #asked = 0;

  constructor({ clock, topology, host, hostCores, log, keep, shared = () => {} }: CoreControlOptions) {
    this.host = host;
    this.#clock = clock;
    this.#log = log;
    this.#keep = keep;
    this.#shared = shared;
    this.table = new CoreTable({ topology, clock, host: hostCores, changed: () => this.#place() });
  }

  /** Something runs for a client from now on. Throws why it can not have what its settings ask. */
  join(name: string, member: Member, base: Partial<CoreSettings>): void {
    for (const cpu of base.pin ?? []) this.table.topology.get(cpu);
    const client = this.#clients.get(name) ?? newClient(name, base);
    const before = client.base;
    client.base = base;
    client.members.set(member, new QueueProbe());
    client.scheduled = "";
    try {
      this.#schedule(client);
      if (this.table.has(name)) this.table.set(name, this.#ask(client));
      else this.table.add(name, this.#ask(client));
    } catch (e) {
      client.base = before;
      client.members.delete(member);
      throw e;
    }
    this.#clients.set(name, client);
    const { spinning } = this.#settings(client);
    this.#guard(client, member);
    client.lent = false;
    if (spinning !== undefined) member.spin(spinning);
    this.#livelyMs = this.#clock.monotonic();
    this.#place();
  }

  /** Something of a client has ended. */
  leave(name: string, member: Member): void {
    const client = this.#clients.get(name);
    if (!client?.members.delete(member)) return;
    if (client.members.size > 0 || this.#keep(name)) return this.table.set(name, this.#ask(client));
    this.#clients.delete(name);
    this.table.remove(name);
  }

  /** Changes settings of a client; what can not be is refused, and nothing has changed. */
  set(name: string, patch: Partial<CoreSettings>): void {
    const client = this.#need(name), before = client.set;
    for (const cpu of patch.pin ?? []) this.table.topology.get(cpu);
    if (patch.pin && client.members.size === 0) {
      throw new Err("ESRCH", `${name} does not run: nothing is there to move`);
    }
    const lent = client.lent;
    client.set = { ...before, ...patch };
    client.lent = false;
    try {
      this.#mayPin(client, patch);
      this.#schedule(client);
      this.table.set(name, this.#ask(client));
    } catch (e) {
      client.set = before;
      client.lent = lent;
      throw e;
    }
    const { spinning, qdelay } = this.#settings(client);
    if (qdelay === 0) Object.assign(client, { extra: 0, delayMs: 0, said: "" });
    for (const member of client.members.keys()) {
      if ("spinning" in patch) member.spin(spinning);
      if ("watchdog" in patch || "warn" in patch || "hang" in patch) this.#guard(client, member);
    }
  }

  /** Gives a core back: the client's last, or a given one. It is wanted again when `want` says so. */
  yield(name: string, cpu?: number): void {
    const client = this.#need(name);
    this.table.yield(name, cpu);
    client.extra = 0;
    client.set = { ...client.set, want: this.table.client(name).want };
  }

  /** Kills what runs for a client. ESRCH when nothing does. */
  async kill(name: string): Promise<void> {
    const members = [...this.#need(name).members.keys()];
    if (members.length === 0) throw new Err("ESRCH", `${name} does not run: nothing is there to kill`);
    this.event(`${name}: killed by ctl`);
    await Promise.all(members.map((member) => member.kill()));
  }

  /** Promises a given core to a client, or (null) to nobody. */
  provision(cpu: number, name: string | null): void {
    if (name !== null) this.#need(name);
    const owner = name ?? this.table.core(cpu).provisioned;
    this.table.provision(cpu, name);
    if (owner === undefined) return;
    const { guaranteed, cores } = this.table.client(owner), client = this.#need(owner);
    client.set = { ...client.set, guaranteed, cores };
    this.table.set(owner, this.#ask(client));
  }

  /** EINVAL when there is no such policy. */
  useAllocator(name: string): void {
    const allocator = ALLOCATORS.get(name);
    if (!allocator) throw new Err("EINVAL", `"${excerpt(name)}" is none of: ${[...ALLOCATORS.keys()].join(" ")}`);
    this.table.allocator = allocator;
  }

  has(name: string): boolean {
    return this.#clients.has(name);
  }

  /** Every client, in the order in which they came. */
  clients(): ClientState[] {
    return [...this.#clients.values()].map((client) => this.#state(client));
  }

  /** One client. ENOENT when there is none of that name. */
  client(name: string): ClientState {
    return this.#state(this.#need(name));
  }

  /** What could not be done when threads were last placed; empty when all could. */
  get problems(): string {
    return this.#problems;
  }

  /** Tells who listens, and the log. */
  event(text: string): void {
    this.events.push(text);
    if (this.events.length > MAX_EVENTS) this.events.shift();
    this.#log(`cores: ${text}`);
    for (const listener of this.listeners) listener(text);
  }

  close(): void {
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    this.host.close();
  }

  #state(client: Client): ClientState {
    const { name, members, cpus, moves, delays, delayMs, congested, said, lent, lends } = client;
    const row = this.table.client(name), settings = this.#settings(client);
    const blind = settings.qdelay > 0 && members.size > 0 && [...members.keys()].every((m) => !m.queue());
    const relief = blind ? "none: what waits for a process is not seen" : said;
    const state = { name, settings, row, cpus, moves, delays, delayMs, congested, relief, lent, lends };
    return { ...state, members: [...members.keys()] };
  }

  #settings(client: Client): CoreSettings {
    return { ...DEFAULT_SETTINGS, ...client.base, ...client.set };
  }

  /** What a client asks of the table now. One that nothing runs for, or that rests, wants no core, and keeps its promise. */
  #ask(client: Client): Ask {
    const { cores, guaranteed, want, wired, siblings, priority, qdelay } = this.#settings(client);
    const auto = Math.min(cores, guaranteed + (qdelay > 0 ? client.extra : 0));
    const now = client.members.size === 0 || client.lent ? 0 : want === "auto" ? auto : want;
    return { cores, guaranteed, want: now, wired, siblings, priority };
  }

  #mayPin(client: Client, patch: Partial<CoreSettings>): void {
    const others = (patch.pin ?? []).map((cpu) => this.table.core(cpu)).filter((core) => core.allocated);
    const taken = others.filter((core) => core.allocated !== client.name);
    if (taken.length === 0 || taken.length < patch.pin!.length) return;
    throw new Err("EBUSY", `core ${formatCpus(taken.map((c) => c.cpu))} is ${taken[0].allocated}'s alone`);
  }

  /** Real-time is who has cores to itself: elsewhere it would keep the host from its work. */
  #schedule(client: Client): void {
    const { priority: asked, quantum } = this.#settings(client);
    const priority = asked === "rt" && !this.#isAlone(client) ? "lc" : asked, key = `${priority} ${quantum}`;
    if (client.scheduled === key || (client.scheduled === "" && key === "lc 0")) return;
    this.host.schedule(tidsOf(client), { priority, quantumUs: quantum });
    client.scheduled = key;
  }

  #isAlone({ name }: Client): boolean {
    return this.table.has(name) && this.table.client(name).allocated.length > 0;
  }

  /** Brings those in line whose priority depends on where they are. */
  #scheduleRealTime(alone: boolean): void {
    for (const client of this.#clients.values()) {
      if (this.#settings(client).priority !== "rt" || this.#isAlone(client) !== alone) continue;
      try {
        this.#schedule(client);
      } catch (e) {
        client.scheduled = "refused"; // is tried again when it is placed anew
        this.event(`${client.name}: ${toErr(e).message}`);
      }
    }
  }

  /** Brings every thread where it belongs. */
  #place(): void {
    const { shared } = this.table, placements: Placement[] = [];
    for (const client of this.#clients.values()) {
      const { allocated } = this.table.client(client.name), { pin, priority } = this.#settings(client);
      const pinned = pin?.filter((cpu) => shared.includes(cpu)) ?? [];
      const dedicated = allocated.length > 0, cpus = dedicated ? allocated : pinned.length > 0 ? pinned : shared;
      if (dedicated || pin) this.#touched = true;
      this.#moved(client, cpus, dedicated || pinned.length > 0);
      placements.push({ name: client.name, tids: tidsOf(client), cpus, dedicated, priority });
    }
    this.#shared(only(shared));
    this.#arm();
    if (!this.#touched) return;
    this.#scheduleRealTime(false);
    const problems = this.host.place({ shared, placements }).join("; ");
    this.#scheduleRealTime(true);
    if (problems !== "" && problems !== this.#problems) this.event(problems);
    this.#problems = problems;
  }

  #moved(client: Client, cpus: readonly number[], pinned: boolean): void {
    const text = formatCpus(cpus);
    for (const member of client.members.keys()) member.moved(only(cpus));
    if (text === client.cpus) return;
    if (client.cpus !== "" && (pinned || this.#touched)) {
      client.moves++;
      this.event(`${client.name}: core ${client.cpus} -> ${text}`);
    }
    client.cpus = text;
  }

  #guard(client: Client, member: Member): void {
    member.watchdog(this.#settings(client), (what) => this.event(`${client.name}: ${what}`));
  }

  /** Looks at the queues, and at who rests, from time to time: as long as somebody wants that. */
  #arm(): void {
    const watched = [...this.#clients.values()].filter((c) => c.members.size > 0 && this.#settings(c).qdelay > 0);
    const tickMs = Math.min(this.#queueTickMs(watched), this.#lendTickMs());
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    if (tickMs === Infinity) return;
    this.#cancelTick = this.#clock.after(tickMs, () => {
      for (const client of watched) this.#look(client);
      this.#lookAtRest();
      this.#arm();
    });
  }

  #queueTickMs(watched: Client[]): number {
    if (watched.length === 0) return Infinity;
    const now = this.#clock.monotonic();
    const asked = watched.flatMap(({ members }) => [...members.keys()]).reduce(
      (n, m) => n + (m.queue()?.written ?? 0),
      0,
    );
    if (asked !== this.#asked) this.#livelyMs = now;
    this.#asked = asked;
    if (now - this.#livelyMs > QUIET_MS) return QUIET_TICK_MS;
    const least = Math.min(...watched.map((c) => this.#settings(c).qdelay)) / 2000;
    return Math.min(MAX_TICK_MS, Math.max(MIN_TICK_MS, least));
  }

  #look(client: Client): void {
    const now = this.#clock.monotonic();
    client.delayMs = 0;
    for (const [member, probe] of client.members) {
      const queue = member.queue();
      if (queue) client.delayMs = Math.max(client.delayMs, probe.look(queue, now));
    }
    client.delays.observe(client.delayMs / 1000);
    const { qdelay, want } = this.#settings(client);
    if (client.delayMs * 1000 > qdelay) this.#congestion(client, want, now);
    else if (now - client.sinceMs > IDLE_MS) this.#calm(client, now);
  }

  /** Its oldest request waits too long: it gets a core, or it is said why not. */
  #congestion(client: Client, want: number | "auto", now: number): void {
    client.congested++;
    client.sinceMs = now;
    client.usedMs = this.host.cpuMs(tidsOf(client));
    const { name } = client, before = this.table.client(name);
    if (want === "auto" && before.want < before.cores) {
      client.extra++;
      this.table.set(name, this.#ask(client));
    }
    const { allocated, cores, unmet } = this.table.client(name);
    const got = allocated.length > before.allocated.length;
    const why = got
      ? `gets core ${formatCpus(allocated)}`
      : allocated.length >= cores
      ? `has all ${cores} cores that it may have`
      : unmet || `wants ${before.want} (want is set)`;
    if (client.said === why) return;
    client.said = why;
    this.event(`${name}: a request has waited ${client.delayMs.toFixed(1)} ms: ${why}`);
  }

  /** Nothing has waited too long for a while: an extra core that has hardly been used goes back. */
  #calm(client: Client, now: number): void {
    client.said = "";
    if (client.extra === 0) return;
    const used = this.host.cpuMs(tidsOf(client));
    const share = (used - client.usedMs) / (now - client.sinceMs);
    client.sinceMs = now;
    client.usedMs = used;
    if (share > IDLE_SHARE) return;
    client.extra--;
    this.table.set(client.name, this.#ask(client));
  }

  // Who rests lends its promised cores to who is short of them, and has them back when it wakes.

  #lendTickMs(): number {
    const clients = [...this.#clients.values()];
    if (clients.some((c) => c.lent)) return LENT_TICK_MS;
    return clients.some((c) => this.#lends(c).length > 0) ? SHORT_TICK_MS : Infinity;
  }

  #lookAtRest(): void {
    const now = this.#clock.monotonic();
    for (const client of this.#clients.values()) {
      if (!client.lent && this.#lends(client).length === 0) {
        client.rest.restart();
        continue;
      }
      const waiting = [...client.members.keys()].some((m) => isWaiting(m.queue()));
      const restedMs = client.rest.look(now, this.host.cpuMs(tidsOf(client)), waiting);
      if (client.lent && (restedMs === 0 || !this.#isLent(client))) this.#wake(client);
      else if (!client.lent && restedMs >= this.#settings(client).lend) this.#lend(client);
    }
  }

  /** The promised cores that a client has and might lend: there is one who is short of them. */
  #lends({ name, lent, members }: Client): readonly number[] {
    if (lent || members.size === 0 || this.#settings(this.#need(name)).lend === 0) return [];
    const { allocated, provisioned } = this.table.client(name), own = provisioned.filter((c) => allocated.includes(c));
    const short = this.table.clients().filter((row) => row.name !== name && row.unmet !== "");
    return own.filter((cpu) => short.some(({ wired }) => wired?.includes(cpu) ?? true));
  }

  #lend(client: Client): void {
    const cpus = this.#lends(client);
    client.lent = true;
    client.lends++;
    this.event(`${client.name}: rests, and core ${formatCpus(cpus)} may be lent`);
    this.table.set(client.name, this.#ask(client));
    for (const member of client.members.keys()) member.onWork(() => this.#wake(client));
  }

  #isLent({ name }: Client): boolean {
    return this.table.client(name).provisioned.some((cpu) => this.table.core(cpu).lent);
  }

  #wake(client: Client): void {
    if (!client.lent || this.#clients.get(client.name) !== client) return;
    client.lent = false;
    client.rest.restart();
    for (const member of client.members.keys()) member.onWork(undefined);
    this.table.set(client.name, this.#ask(client));
  }

  #need(name: string): Client {
    const client = this.#clients.get(name);
    if (!client) {
      throw new Err(
        "ENOENT",
        `no isolate or process is called ${excerpt(name)} (an inline plugin runs on the kernel's cores)`,
      );
    }
    return client;
  }
}

function newClient(name: string, base: Partial<CoreSettings>): Client {
  const counts = { moves: 0, delayMs: 0, congested: 0, extra: 0, sinceMs: 0, usedMs: 0 };
  return {
    name,
    base,
    set: {},
    members: new Map(),
    delays: new Histogram(),
    cpus: "",
    rest: new Rest(),
    lent: false,
    lends: 0,
    said: "",
    scheduled: "",
    ...counts,
  };
}

function isWaiting(queue: QueueView | undefined): boolean {
  return queue !== undefined && queue.written > queue.taken;
}

/** The one CPU, or -1 when there are more. */
function only(cpus: readonly number[]): number {
  return cpus.length === 1 ? cpus[0] : -1;
}

function tidsOf(client: Client): number[] {
  return [...client.members.keys()].flatMap((member) => member.tids());
}
