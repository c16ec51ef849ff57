/**
 * Kernel: what there is one of in a system: the Devs by name, the procs, the services, the log.
 *
 * Layer: core, on top of the name space and the process table; the plugin supervisor, the 9P listeners and the plugins
 * `proc`, `srv`, `env`, `sys` use it. It opens nothing of the host: dialing is handed in.
 *
 * What holds always: a Dev that is taken away is never called again; its open files answer ESTALE, those of other Devs
 * are untouched. When another Dev gets its name, what was bound from it or mounted on it is found again by name; a walk
 * never meets a moment in which neither is there.
 */

import type { Clock } from "./clock.ts";
import { type Chan, type Dev, Req, type User } from "./dev.ts";
import { Err, excerpt, PATH_CHARS } from "./err.ts";
import { Egrp } from "./egrp.ts";
import { Fgrp, type OpenFile } from "./fgrp.ts";
import { type Instance, instanceOf } from "./instance.ts";
import { Kmesg } from "./kmesg.ts";
import { FileTransport } from "./file_transport.ts";
import { Mnt } from "./mnt.ts";
import { Held } from "./mount.ts";
import { type Attach, type Devtab, Pgrp, seek } from "./ns.ts";
import { NONUNAME, ORDWR } from "./p9/types.ts";
import { isDial, quote } from "./path.ts";
import type { Supervisor } from "./plugin/supervisor.ts";
import { type Proc, type ProcHost, ProcTable } from "./proc.ts";
import type { ProgramStarter } from "./proc_service.ts";
import type { Family } from "./metrics.ts";
import { QueueTable } from "./queues.ts";
import type { CoreControl } from "./sched/control.ts";
import { Service, Services } from "./services.ts";
import { Successor } from "./successor.ts";

/** How long a new Dev may take to show what was mounted of the old one, milliseconds. */
const SEEK_MS = 10_000;

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
  /** Who runs on which core, once there is somebody who moves threads. */
  cores: CoreControl | null = null;
  /** Counters of parts of the system for /sys/metrics, by name. */
  readonly metrics = new Map<string, () => Family[]>();
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
  /** Who starts programs, once there is one. */
  programs: ProgramStarter | null = null;
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
    if (!/^[^\s/#']+$/.test(name)) throw new Err("EINVAL", `no name for a device: ${quote(excerpt(name))}`);
    if (this.#devs.has(name)) throw new Err("EEXIST", `device #${name} is there already`);
    return await this.#succeed(name, dev, "");
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
    const { why = `plugin ${name} was unloaded` } = options;
    inst.successor?.fail(why);
    inst.retire(why, null);
    this.#devs.delete(name);
    this.#gone.set(name, [...this.#gone.get(name) ?? [], inst]);
  }

  /**
   * Puts another Dev in a Dev's place: open files of the old one answer ESTALE. Answers the mounts that are lost. When
   * the new one can not be asked for them nothing changes.
   */
  async replace(name: string, dev: Dev, why = `plugin ${name} was replaced`): Promise<string[]> {
    this.#mustHave(name);
    return await this.#succeed(name, dev, why);
  }

  /** A Dev has ended, and another is to come in its place (`replace`), or not (`abandon`): walks into it wait for that. */
  suspend(name: string, why: string): void {
    const inst = instanceOf(this.#mustHave(name));
    if (!inst.successor?.awaited) inst.retire(why, new Successor(this.clock, why));
  }

  /** Nothing is going to come in the place of a Dev that was suspended: who waits, and who walks there later, gets ENXIO. */
  abandon(name: string, why: string): void {
    instanceOf(this.#mustHave(name)).successor?.fail(why);
  }

  /** How many files of a Dev are open through name spaces. */
  openChans(name: string): number {
    return instanceOf(this.#mustHave(name)).open;
  }

  /** A Chan on the root that `#name` or `#name.spec` names; a Dev of the whole name comes first. */
  async attach(device: string, req: Req): Promise<Chan> {
    const { name, spec } = this.#named(device);
    const dev = this.#devs.get(name)!, inst = instanceOf(dev);
    try {
      if (!inst.gone) return await dev.attach(req.user, spec, req);
    } catch (thrown) {
      if (!inst.gone || req.flushed) throw thrown;
    }
    await inst.successor?.wait(req);
    if (this.#devs.get(name) === dev) throw inst.gone;
    return await this.attach(device, req);
  }

  /** The Dev that a `#name.spec` means; `also` is a name that is about to be one. */
  #named(device: string, also?: string): { name: string; spec: string } {
    const whole = device.replace(/^#/, "");
    let name = whole;
    while (!this.#devs.has(name) && name !== also) {
      const dot = name.lastIndexOf(".");
      if (dot <= 0) throw new Err("ENODEV", `no such device: ${quote(excerpt(device))}`);
      name = name.slice(0, dot);
    }
    return { name, spec: whole.slice(name.length + 1) };
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
    if (!this.#dial) {
      throw new Err("EOPNOTSUPP", `cannot dial ${quote(excerpt(address, PATH_CHARS))}: this system dials nobody`);
    }
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
    if (!dev) throw new Err("ENODEV", `no such device: #${excerpt(name)}`);
    return dev;
  }

  /** Gives a name to `dev`, and puts it in the place of what had the name before. Answers the mounts that are lost. */
  async #succeed(name: string, dev: Dev, why: string): Promise<string[]> {
    const before = this.#devs.get(name);
    const old = [...this.#gone.get(name) ?? [], ...before ? [instanceOf(before)] : []];
    const found = await this.#limited(seek(this.pgrps, old, this.#attachAs(name, dev), new Req(this.hostowner)), name);
    if (this.#devs.get(name) !== before) throw new Err("EBUSY", `device #${name} was changed meanwhile`);
    // From here on nothing is waited for: each walk sees all of the old one or all of the new one.
    this.#devs.set(name, dev);
    this.#gone.delete(name);
    for (const inst of old) inst.retire(why);
    const lost = [...this.pgrps].flatMap((pgrp) => pgrp.succeed(found));
    for (const held of found.values()) held?.drop();
    for (const inst of old) inst.successor?.arrive();
    for (const mount of lost) this.log.print(`device #${name}: the new one has no ${mount}`);
    return lost;
  }

  /** Attaches as if `dev` had the name already. */
  #attachAs(name: string, dev: Dev): Attach {
    return (device, req) => {
      const named = this.#named(device, name);
      return named.name === name ? dev.attach(req.user, named.spec, req) : this.attach(device, req);
    };
  }

  #limited<T>(work: Promise<T>, name: string): Promise<T> {
    return new Promise((resolve, reject) => {
      const late = () => reject(new Err("ETIMEDOUT", `#${name}: its tree did not answer in ${SEEK_MS} ms`));
      const cancel = this.clock.after(SEEK_MS, late);
      work.then(resolve, reject).finally(cancel);
    });
  }
}

/** The tree whose 9P an open file, taken over, carries. */
function connectOver(file: OpenFile, what: string): Promise<Dev> {
  return Mnt.connect(new FileTransport(file, what), { name: what });
}
