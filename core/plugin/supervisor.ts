/**
 * Supervisor: the plugins of a running system: loads, unloads, reloads and restarts them.
 *
 * Layer: core/plugin, above the kernel and below the plugin `sys`, which is its face. It opens nothing of the host:
 * reading manifests and starting code are handed in (`PluginHost`), so that the placements are none of its business.
 *
 * What holds always:
 * - An instance has one name, under which its Dev is `#name`, and one generation at a time. A new generation is up
 *   before the old one is taken away; when it does not come up the old one stays.
 * - It never waits for a plugin without a limit, and one plugin's failure changes nothing for another.
 * - While a plugin is down and is to come back, walks into its tree wait (`Kernel.suspend`); what its mount points hide
 *   never shows.
 * - What is asked of one instance is done in the order it was asked.
 *
 * See `docs/plugins.md` for the life of a plugin; jefe of Hubris and the RS of MINIX 3 are its models.
 */

import { type Dev, Req } from "../dev.ts";
import { Err, excerpt, toErr } from "../err.ts";
import { Export } from "../export.ts";
import { instanceOf } from "../instance.ts";
import type { Kernel } from "../kernel.ts";
import { MAFTER, MCREATE, MREPL, type Withdrawn } from "../mount.ts";
import type { Pgrp } from "../ns.ts";
import type { MaybePromise } from "../p9/types.ts";
import type { CoresEntry } from "../sched/settings.ts";
import type { ImagePlugin } from "./image.ts";
import { checkInstanceName, checkOptions, type Manifest, type Placement } from "./manifest.ts";
import type { StartReason } from "./plugin.ts";

/** The first pause before a plugin that died is started again, milliseconds; it doubles each time. */
const FIRST_BACKOFF_MS = 100;
/** The longest such pause. */
const MAX_BACKOFF_MS = 30_000;

/** What the log says of a start. */
const DONE: Record<StartReason, string> = { fresh: "loaded", restart: "restarted", upgrade: "reloaded" };

/** A plugin's folder, read. */
export interface PluginFiles {
  manifest: Manifest;
  /** URL of its module. */
  module: string;
  /** The text of its plugin.json. */
  manifestText: string;
  /** Its manual page, empty when it has none. */
  man: string;
}

/** What is to be started. */
export interface StartSpec {
  name: string;
  module: string;
  manifest: Manifest;
  placement: Placement;
  options: Record<string, unknown>;
  cpu?: number;
  /** Over its manifest's. */
  cores?: CoresEntry;
  generation: number;
  reason: StartReason;
  log(text: string): void;
  /** Called the moment that it is known to be going, before any request to it fails for that. */
  down(): void;
}

/** How a plugin ended by itself. */
export interface Death {
  why: string;
  /** It had come to its end: nothing is wrong with it. */
  normal: boolean;
}

/** A plugin that has been started, wherever it runs. */
export interface StartedPlugin {
  readonly dev: Dev;
  /** What runs it: `worker-3`, `pid 4711`, `kernel`. */
  readonly id: string;
  /** Which walls stand around it. */
  readonly confinement: string;
  /** Resolves when it is gone without having been asked to go. */
  readonly died?: Promise<Death>;
  /** Asks it to stop; within its time, then by force. */
  stop(): Promise<void>;
  /** Numbers for its stats file. */
  stats(): Record<string, number | string>;
}

/** What the supervisor needs of the host. */
export interface PluginHost {
  /** Reads the plugin of a folder: a name in `plugins/`, or a path. */
  read(plugin: string): MaybePromise<PluginFiles>;
  /** Starts it. */
  start(spec: StartSpec): Promise<StartedPlugin>;
}

/** Where an instance stands. */
export type PluginState = "starting" | "up" | "stopping" | "restarting" | "failed" | "ended";

/** One plugin under its name. */
export class PluginInstance {
  readonly name: string;
  entry: ImagePlugin;
  files: PluginFiles;
  placement: Placement;
  state: PluginState = "starting";
  generation = 0;
  /** Milliseconds that its last start took. */
  startMs = 0;
  /** Monotonic milliseconds when it came up. */
  upSinceMs = 0;
  restarts = 0;
  /** Why it is not up, or why it was last restarted. */
  error = "";
  started: StartedPlugin | null = null;
  /** Monotonic times of its last deaths. */
  deaths: number[] = [];
  /** The end of what has been asked of it. */
  queue: Promise<unknown> = Promise.resolve();

  constructor(entry: ImagePlugin, files: PluginFiles) {
    this.name = entry.as;
    this.entry = entry;
    this.files = files;
    this.placement = entry.placement ?? files.manifest.placement;
  }
}

/** All plugins of a system. */
export class Supervisor {
  readonly #kernel: Kernel;
  readonly #host: PluginHost;
  readonly #instances = new Map<string, PluginInstance>();
  /** What the image had bound of plugins that were unloaded, by their names: it comes back with them. */
  readonly #withdrawn = new Map<string, Map<Pgrp, Withdrawn[]>>();
  #closed = false;

  constructor(kernel: Kernel, host: PluginHost) {
    this.#kernel = kernel;
    this.#host = host;
  }

  /** The instances by name, in the order in which they were loaded. */
  list(): PluginInstance[] {
    return [...this.#instances.values()];
  }

  get(name: string): PluginInstance | undefined {
    return this.#instances.get(name);
  }

  /** What the plugin of a folder says of itself. */
  async manifestOf(plugin: string): Promise<Manifest> {
    return (await this.#host.read(plugin)).manifest;
  }

  /** Loads a plugin and registers its Dev as `#name`. Throws why it can not be; then nothing has changed. */
  async load(entry: Omit<ImagePlugin, "as"> & { as?: string }): Promise<PluginInstance> {
    const files = await this.#host.read(entry.plugin);
    const inst = new PluginInstance({ ...entry, as: entry.as ?? files.manifest.name }, files);
    checkInstanceName(inst.name);
    if (this.#instances.has(inst.name)) {
      throw new Err("EEXIST", `plugin ${inst.name} is loaded already (try: load ${entry.plugin} as OTHER)`);
    }
    this.#instances.set(inst.name, inst);
    try {
      return await this.#inTurn(inst, async () => {
        await this.#start(inst, files, "fresh");
        return inst;
      });
    } catch (e) {
      this.#instances.delete(inst.name);
      throw e;
    }
  }

  /**
   * Loads a plugin into the running system: refused when what it needs is not there, or when there is no place where
   * it serves. Its tree is bound at its places in the first proc's name space; an instance under another name than its
   * plugin's is a second one, and is bound by whoever asked for it.
   */
  async add(entry: Omit<ImagePlugin, "as"> & { as?: string }): Promise<PluginInstance> {
    const manifest = await this.manifestOf(entry.plugin);
    await this.#checkNeeds(manifest);
    const inst = await this.load(entry);
    await this.#restore(inst.name);
    if (inst.name !== manifest.name) return inst;
    try {
      for (const path of manifest.serves.filter((path) => path.startsWith("/"))) await this.#show(inst, path);
      return inst;
    } catch (e) {
      await this.unload(inst.name, { force: true });
      throw e;
    }
  }

  /** Refuses a plugin that needs a device nobody has, or a path that is not there or on which nothing is mounted. */
  async #checkNeeds({ name, needs }: Manifest): Promise<void> {
    const init = this.#kernel.procs.get(1);
    const points = init?.pgrp.mountPoints().filter((point) => point !== "/") ?? [];
    const missing: string[] = [];
    for (const need of needs) {
      const mounted = need.startsWith("#") || points.some((point) => `${need}/`.startsWith(`${point}/`));
      const isThere = mounted && await init?.stat(need).then(() => true, () => false);
      if (!isThere) missing.push(need);
    }
    if (missing.length === 0) return;
    throw new Err("ENOENT", `${name} needs ${missing.join(" and ")}, which nobody serves (load what serves it first)`);
  }

  async #show(inst: PluginInstance, path: string): Promise<void> {
    const pgrp = this.#kernel.procs.get(1)?.pgrp, device = `#${inst.name}`;
    if (!pgrp || pgrp.shows(device, path)) return;
    const flags = MCREATE | (pgrp.mountPoints().includes(path) ? MAFTER : MREPL);
    try {
      await pgrp.bind(new Export(pgrp), device, path, flags, new Req(this.#kernel.hostowner), "load");
    } catch (e) {
      const { code, message } = toErr(e);
      const advice = `load it as another name, and bind that where you want it`;
      throw new Err(code, `${inst.name} can not serve ${path}: ${message} (try: mkdir, or ${advice})`, { cause: e });
    }
  }

  /** Takes a plugin's Dev away, and in every name space what image or load had bound of it. */
  #withdraw(name: string): void {
    const dev = this.#kernel.device(name);
    if (!dev) return;
    this.#kernel.unregister(name, { force: true });
    for (const pgrp of this.#kernel.pgrps) {
      const mounts = pgrp.withdraw(instanceOf(dev)).filter(({ made }) => made === "image");
      if (mounts.length > 0) this.#withdrawn.getOrInsertComputed(name, () => new Map()).set(pgrp, mounts);
    }
  }

  /** Binds again what the image had bound of it. */
  async #restore(name: string): Promise<void> {
    const all = this.#withdrawn.get(name) ?? [];
    this.#withdrawn.delete(name);
    for (const [pgrp, mounts] of all) {
      if (!this.#kernel.pgrps.has(pgrp)) continue;
      for (const mount of mounts) {
        await pgrp.restore(new Export(pgrp), mount, new Req(this.#kernel.hostowner))
          .catch((e) => this.#kernel.log.print(`${name}: not bound again on ${mount.old}: ${toErr(e).message}`));
      }
    }
  }

  /** Takes a plugin away. With open files EBUSY, unless forced: then they answer an error. */
  unload(name: string, options: { force?: boolean } = {}): Promise<void> {
    const inst = this.#mustHave(name);
    return this.#inTurn(inst, async () => {
      this.#mayUnload(inst, options.force ?? false);
      this.#withdraw(name);
      inst.state = "stopping";
      this.#instances.delete(name);
      const { started } = inst;
      inst.started = null;
      await started?.stop();
      this.#kernel.log.print(`${name}: unloaded`);
    });
  }

  /** Starts new code, read afresh from disk, and puts it in the old one's place. When it does not start the old one stays. */
  reload(name: string, change: Partial<Pick<ImagePlugin, "placement" | "options" | "cpu">> = {}): Promise<void> {
    const inst = this.#mustHave(name);
    return this.#inTurn(inst, async () => {
      const files = await this.#host.read(inst.entry.plugin);
      const { entry, placement } = inst;
      inst.entry = { ...entry, ...change };
      inst.placement = inst.entry.placement ?? files.manifest.placement;
      try {
        await this.#start(inst, files, "upgrade");
      } catch (e) {
        Object.assign(inst, { entry, placement });
        throw whyNotBeside(name, e);
      }
    });
  }

  /** Stops a plugin and starts it again: for one that holds what only one can have. Until then its files fail. */
  restart(name: string): Promise<void> {
    const inst = this.#mustHave(name);
    return this.#inTurn(inst, async () => {
      const { started } = inst;
      this.#kernel.suspend(name, `plugin ${name} is being restarted`);
      inst.started = null;
      await started?.stop();
      try {
        await this.#start(inst, inst.files, "restart");
      } catch (e) {
        this.#giveUp(inst, toErr(e).message);
        throw e;
      }
    });
  }

  /** Stops all, the last loaded first. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const inst of this.list().reverse()) {
      await inst.started?.stop().catch((e) => this.#kernel.log.print(`${inst.name}: stop: ${toErr(e).message}`));
    }
  }

  #mayUnload({ name }: PluginInstance, force: boolean): void {
    const open = this.#kernel.device(name) ? this.#kernel.openChans(name) : 0;
    if (open > 0 && !force) throw new Err("EBUSY", `${name} has ${open} open files (try: unload ${name} force)`);
  }

  #mustHave(name: string): PluginInstance {
    const inst = this.#instances.get(name);
    if (inst) return inst;
    throw new Err("ENOENT", `no plugin is called ${excerpt(name)} (loaded: ${[...this.#instances.keys()].join(" ")})`);
  }

  /** Does `work` after what was asked of the instance before. */
  #inTurn<T>(inst: PluginInstance, work: () => Promise<T>): Promise<T> {
    const done = inst.queue.then(work, work);
    inst.queue = done.catch(() => {});
    return done;
  }

  /** Brings up a new generation, switches to it, and lets the old one go. */
  async #start(inst: PluginInstance, files: PluginFiles, reason: StartReason): Promise<void> {
    const { clock, log } = this.#kernel;
    const { name, entry, placement, state } = inst;
    const old = inst.started;
    const begun = clock.monotonic();
    inst.state = old ? state : "starting";
    const options = checkOptions(files.manifest, entry.options);
    const generation = inst.generation + 1;
    const print = (text: string) => log.print(`${name}: ${text}`);
    let started: StartedPlugin | undefined;
    const down = () => started && this.#suspend(inst, started);
    try {
      const { cpu, cores } = entry, { manifest, module } = files;
      const spec = { name, module, manifest, placement, options, cpu, cores, generation, reason, log: print, down };
      started = await this.#host.start(spec);
      await this.#switchTo(inst, started);
      Object.assign(inst, { files, generation, started, state: "up", upSinceMs: clock.monotonic() });
      inst.startMs = inst.upSinceMs - begun;
      this.#watch(inst, started);
    } catch (e) {
      if (!old) inst.error = firstLine(toErr(e).message);
      throw e;
    }
    print(`${DONE[reason]}, ${placement}, generation ${generation}`);
    await old?.stop().catch((e) => print(`the old generation did not stop: ${toErr(e).message}`));
  }

  async #switchTo(inst: PluginInstance, started: StartedPlugin): Promise<void> {
    try {
      if (!this.#kernel.device(inst.name)) await this.#kernel.register(inst.name, started.dev);
      else await this.#kernel.replace(inst.name, started.dev, `plugin ${inst.name} was replaced`);
    } catch (e) {
      await started.stop();
      throw e;
    }
  }

  #watch(inst: PluginInstance, started: StartedPlugin): void {
    started.died?.then((death) => this.#died(inst, started, death));
  }

  /** It is going, and not because it was asked to. */
  #suspend(inst: PluginInstance, started: StartedPlugin): void {
    if (inst.started === started && !this.#closed) this.#kernel.suspend(inst.name, `plugin ${inst.name} died`);
  }

  /** A plugin that went by itself is started again, each time after a longer pause, until it has died too often. */
  async #died(inst: PluginInstance, started: StartedPlugin, { why, normal }: Death): Promise<void> {
    if (inst.started !== started) return;
    this.#suspend(inst, started);
    inst.started = null;
    if (normal && inst.files.manifest.restart.mode !== "permanent") return this.#ended(inst, why);
    while (!this.#closed && this.#instances.get(inst.name) === inst && !inst.started) {
      inst.error = firstLine(why);
      this.#kernel.log.print(`${inst.name}: died: ${why}`);
      if (this.#diedTooOften(inst)) return this.#giveUp(inst, inst.error);
      inst.state = "restarting";
      inst.restarts++;
      await this.#pause(FIRST_BACKOFF_MS * 2 ** (inst.deaths.length - 1));
      if (this.#instances.get(inst.name) !== inst || inst.started) return;
      try {
        return await this.#inTurn(inst, () => this.#start(inst, inst.files, "restart"));
      } catch (e) {
        why = `it did not start again: ${toErr(e).message}`;
      }
    }
  }

  #diedTooOften(inst: PluginInstance): boolean {
    const { mode, intensity: [most, seconds] } = inst.files.manifest.restart;
    const now = this.#kernel.clock.monotonic();
    inst.deaths = [...inst.deaths.filter((at) => now - at < seconds * 1000), now];
    return mode === "temporary" || inst.deaths.length > most;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#kernel.clock.after(Math.min(MAX_BACKOFF_MS, ms), resolve));
  }

  /** One that came to its end, and is not to be started again for that. */
  #ended(inst: PluginInstance, why: string): void {
    inst.state = "ended";
    inst.error = "";
    this.#kernel.abandon(inst.name, `plugin ${inst.name} has ended`);
    this.#kernel.log.print(`${inst.name}: ${why}`);
  }

  #giveUp(inst: PluginInstance, why: string): void {
    inst.state = "failed";
    inst.error = why;
    this.#kernel.abandon(
      inst.name,
      `plugin ${inst.name} is down (its status says why: /sys/plugins/${inst.name}/status)`,
    );
    this.#kernel.log.print(`${inst.name}: given up: ${why} (try: echo restart >/sys/plugins/${inst.name}/ctl)`);
  }
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0];
}

/** The error of a new generation that could not start beside the old one: what that holds alone is free once it is stopped. */
function whyNotBeside(name: string, thrown: unknown): Err {
  const err = toErr(thrown);
  if (err.code !== "EBUSY" && err.code !== "EADDRINUSE") return err;
  return new Err(err.code, `${err.message} (is it the old one's? then try: restart ${name})`, { cause: thrown });
}
