/**
 * Kernel: what there is one of in a system: the Devs by name, the procs, the services, the log.
 *
 * Layer: core, on top of the name space and the process table; the plugin supervisor, the 9P listeners and the plugins
 * `proc`, `srv`, `env`, `sys` use it. It opens nothing of the host: dialing is handed in.
 *
 * What holds always: a Dev that is taken away is never called again; its open files answer ESTALE, those of other Devs
 * are untouched. When another Dev gets its name, what was bound from it or mounted on it is found again by name.
 */

import type { Clock } from "./clock.ts";
import { type Chan, type Dev, Req, type User } from "./dev.ts";
import { Err } from "./err.ts";
import { Egrp } from "./egrp.ts";
import { Fgrp, type OpenFile } from "./fgrp.ts";
import { type Instance, instanceOf } from "./instance.ts";
import { Kmesg } from "./kmesg.ts";
import { FileTransport } from "./file_transport.ts";
import { Mnt } from "./mnt.ts";
import { Held } from "./mount.ts";
import { type Devtab, Pgrp } from "./ns.ts";
import { NONUNAME, ORDWR } from "./p9/types.ts";
import { isDial, quote } from "./path.ts";
import type { Supervisor } from "./plugin/supervisor.ts";
import { type Proc, type ProcHost, ProcTable } from "./proc.ts";
import { QueueTable } from "./queues.ts";
import { Service, Services } from "./services.ts";

/** What a kernel is made with. */
export interface KernelOptions {
  clock: Clock;
  /** Who runs the system: a name, or a user with numbers. */
  hostowner?: string | User;
  sysname?: string;
  /** Makes the tree at the other end of a dial string, `tcp!host!564`. */
  dial?: (address: string, signal?: AbortSignal) => Promise<Dev>;
}

/** Something that listens, or a connection. */
export interface Endpoint {
  /** `tcp!127.0.0.1!5640` */
  readonly address: string;
  /** One line of text. */
  status(): string;
  close(): void;
}

/** Numbers and words by name. */
export type Stats = Record<string, number | string>;

export class Kernel implements Devtab, ProcHost {
  readonly clock: Clock;
  readonly hostowner: User;
  sysname: string;
  readonly log: Kmesg;
  readonly procs = new ProcTable();
  readonly services = new Services();
  /** Hardware queues: who owns which. */
  readonly queues: QueueTable;
  /** Name spaces in use. */
  readonly pgrps = new Set<Pgrp>();
  readonly listeners = new Set<Endpoint>();
  readonly connections = new Set<Endpoint>();
  /** Counters of parts of the system, by name. */
  readonly stats = new Map<string, () => Stats>();
  /** Texts about parts of the system, by name: the files of /sys that others fill. */
  readonly reports = new Map<string, () => string>();
  /** Who loads plugins, once there is one. */
  supervisor: Supervisor | null = null;
  readonly #devs = new Map<string, Dev>();
  /** Devs that are gone from a name, until it has a Dev again. */
  readonly #gone = new Map<string, Instance[]>();
  readonly #dial: KernelOptions["dial"];

  constructor(options: KernelOptions) {
    const { hostowner = "ring9" } = options;
    this.clock = options.clock;
    this.hostowner = typeof hostowner === "string" ? { name: hostowner, uid: NONUNAME, gid: NONUNAME } : hostowner;
    this.sysname = options.sysname ?? "ring9";
    this.log = new Kmesg(options.clock);
    this.queues = new QueueTable(options.clock, (text) => this.log.print(text));
    this.#dial = options.dial;
  }

  /** The text of a report; empty when nobody fills it. */
  report(name: string): string {
    return this.reports.get(name)?.() ?? "";
  }

  // Devs.

  /** Names of Devs, as they were registered. */
  get devices(): string[] {
    return [...this.#devs.keys()].sort();
  }

  /** The Dev that is registered as `name`. */
  device(name: string): Dev | undefined {
    return this.#devs.get(name);
  }

  /**
   * Makes a Dev reachable as `#name`. Mounts of an earlier Dev of that name are found again in the new one; answers
   * those that could not be.
   */
  async register(name: string, dev: Dev): Promise<string[]> {
    if (!/^[^\s/#']+$/.test(name)) throw new Err("EINVAL", `no name for a device: ${quote(name)}`);
    if (this.#devs.has(name)) throw new Err("EEXIST", `device #${name} is there already`);
    this.#devs.set(name, dev);
    return await this.#renew(name);
  }

  /**
   * Takes a Dev away. With open files: EBUSY unless forced, and then these answer ESTALE. A Dev that is the `/` of a
   * name space is never taken away, only replaced: nobody could attach any more, to bring it back.
   */
  unregister(name: string, options: { force?: boolean; why?: string } = {}): void {
    const inst = instanceOf(this.#mustHave(name));
    if ([...this.pgrps].some((pgrp) => pgrp.standsOn(inst))) {
      throw new Err("EBUSY", `#${name} is the / of a name space (try: reload ${name})`);
    }
    const open = this.openChans(name);
    if (open > 0 && !options.force) throw new Err("EBUSY", `device #${name} has ${open} open files`);
    this.#retire(name, options.why ?? `plugin ${name} was unloaded`);
  }

  /** Puts another Dev in a Dev's place: open files of the old one answer ESTALE. Answers the mounts that are lost. */
  async replace(name: string, dev: Dev, why = `plugin ${name} was replaced`): Promise<string[]> {
    this.#retire(name, why);
    this.#devs.set(name, dev);
    return await this.#renew(name);
  }

  /** How many files of a Dev are open through name spaces. */
  openChans(name: string): number {
    return instanceOf(this.#mustHave(name)).open;
  }

  /** A Chan on the root that `#name` or `#name.spec` names; a Dev of the whole name comes first. */
  async attach(device: string, req: Req): Promise<Chan> {
    const whole = device.replace(/^#/, "");
    let name = whole;
    while (!this.#devs.has(name)) {
      const dot = name.lastIndexOf(".");
      if (dot <= 0) throw new Err("ENODEV", `no such device: ${quote(device)}`);
      name = name.slice(0, dot);
    }
    return await this.#devs.get(name)!.attach(req.user, whole.slice(name.length + 1), req);
  }

  // Procs.

  /** The first proc: the hostowner's, in an empty name space over `#root`. */
  async init(name = "init"): Promise<Proc> {
    const root = await this.attach("#root", new Req(this.hostowner));
    const held = new Held(root, { root: "#root", names: [] });
    return this.procs.add(this, null, {
      name,
      user: this.hostowner,
      cwd: "/",
      pgrp: new Pgrp(this, held),
      fgrp: new Fgrp(),
      env: new Egrp(),
    });
  }

  monotonic(): number {
    return this.clock.monotonic();
  }

  /** The tree at the other end of a dial string. */
  async dial(address: string, signal?: AbortSignal): Promise<Dev> {
    if (!this.#dial) throw new Err("EOPNOTSUPP", `cannot dial ${quote(address)}: this system dials nobody`);
    return await this.#dial(address, signal);
  }

  async connect(proc: Proc, what: string, signal?: AbortSignal): Promise<Dev> {
    if (isDial(what)) return await this.dial(what, signal);
    const fd = await proc.open(what, ORDWR, signal);
    const file = proc.fgrp.get(fd).hold();
    await proc.close(fd);
    const { aux } = file.chan.aux;
    if (!(aux instanceof Service)) return await connectOver(file, what);
    await file.drop();
    if (aux.posted && "dev" in aux.posted) return aux.posted.dev;
    return await (aux.tree ??= connectOver(aux.hold(), what));
  }

  /** Ends all procs, the first one last. */
  async close(): Promise<void> {
    for (const proc of this.procs.list().reverse()) await proc.exit("shutdown");
    for (const service of this.services.list()) await this.services.remove(service);
  }

  #mustHave(name: string): Dev {
    const dev = this.#devs.get(name);
    if (!dev) throw new Err("ENODEV", `no such device: #${name}`);
    return dev;
  }

  #retire(name: string, why: string): void {
    const inst = instanceOf(this.#mustHave(name));
    this.#devs.delete(name);
    inst.retire(why);
    this.#gone.set(name, [...this.#gone.get(name) ?? [], inst]);
  }

  async #renew(name: string): Promise<string[]> {
    const gone = this.#gone.get(name) ?? [];
    this.#gone.delete(name);
    const req = new Req(this.hostowner);
    const lost: string[] = [];
    for (const inst of gone) {
      for (const pgrp of [...this.pgrps]) lost.push(...await pgrp.renew(inst, req));
    }
    for (const mount of lost) this.log.print(`device #${name}: the new one has no ${mount}`);
    return lost;
  }
}

/** The tree whose 9P an open file, taken over, carries. */
function connectOver(file: OpenFile, what: string): Promise<Dev> {
  return Mnt.connect(new FileTransport(file, what), { name: what });
}
