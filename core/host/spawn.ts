/**
 * Warden (the client): how the kernel isolate has plugins started at a distance, and learns how they end.
 *
 * Layer: core/host, in the kernel isolate; warden.ts is the other end, on the main thread. Isolates are started by it,
 * processes from here, since the warden may not start any.
 */

import { Doorbell } from "../ring/doorbell.ts";
import { RingMatrix } from "../ring/matrix.ts";
import type { Clock } from "../clock.ts";
import { Err } from "../err.ts";
import { hostClock } from "./clock.ts";
import { DEFAULT_HOST_LIMITS, type Limits } from "./hosted.ts";
import { Isolate, type IsolateSpec, KERNEL, onlyCpu } from "./isolate.ts";
import type { LockReport } from "./lockdown.ts";
import { ModuleServer } from "./modules.ts";
import { PluginProcess, type ProcessSpec } from "./process.ts";
import { giveWay } from "./threads.ts";
import { turn } from "./turn.ts";
import type { FromWarden, KernelInit, KernelLocked, ToWarden } from "./warden.ts";
import { Watch } from "./watchdog.ts";

/** What a Warden is made with. */
export interface WardenOptions {
  clock?: Clock;
  /** The folder that holds core/. */
  project?: URL;
}

/** The warden, seen from the kernel isolate. One a node. */
export class Warden {
  /**
   * What the main thread was locked with. Resolves soon after `connect`; isolates that are asked for before wait for
   * it.
   */
  readonly locked: Promise<LockReport>;
  /** What the front door was given for the kernel. */
  readonly init: unknown;
  readonly modules: ModuleServer;
  readonly #port: MessagePort;
  readonly #clock: Clock;
  readonly #watch: Watch;
  /** The rings between isolates. */
  readonly rings = new RingMatrix();
  readonly #doorbell: Doorbell;
  readonly #isolates = new Map<number, Isolate>();
  readonly #processes = new Set<PluginProcess>();
  #lastId = 1; // the kernel's own

  private constructor({ port, init }: KernelInit, locked: Promise<LockReport>, options: WardenOptions) {
    this.init = init;
    this.locked = locked;
    this.modules = new ModuleServer(options.project);
    this.#clock = options.clock ?? hostClock;
    const { bell } = this.rings.join(KERNEL, onlyCpu());
    this.#doorbell = new Doorbell(bell, { turn, giveWay, monotonic: () => this.#clock.monotonic() });
    this.#watch = new Watch(this.#clock);
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<FromWarden>) => this.#fromWarden(data);
  }

  /** Meets the warden that started this isolate. Called once, by the kernel's module, when it has loaded. */
  static async connect(options: WardenOptions = {}): Promise<Warden> {
    const scope = globalThis as unknown as Worker;
    const first = Promise.withResolvers<KernelInit>(), second = Promise.withResolvers<LockReport>();
    scope.addEventListener("message", ({ data }: MessageEvent<KernelInit | KernelLocked>) => {
      if (data.t === "ring9 kernel") first.resolve(data);
      else if (data.t === "ring9 locked") second.resolve(data.lock);
    });
    scope.postMessage("ring9 kernel is here");
    return new Warden(await first.promise, second.promise, options);
  }

  /**
   * Starts a plugin in an isolate of its own. Resolves when it serves; rejects with what its start threw, ETIMEDOUT
   * after `startMs`, ENOENT when there is no such module.
   */
  async spawnIsolate(spec: IsolateSpec): Promise<Isolate> {
    const { landlock, seccomp, permissions } = await this.locked;
    const walls = [landlock && `landlock ${landlock}`, seccomp && "seccomp", permissions && "no permissions"];
    const id = ++this.#lastId;
    const isolate = new Isolate(spec, {
      id,
      limits: limitsOf(spec.limits),
      clock: this.#clock,
      watch: this.#watch,
      modules: this.modules,
      rings: this.rings,
      doorbell: this.#doorbell,
      confinement: walls.filter(Boolean).join(", ") || "unconfined",
      toWarden: (message, transfer) => this.#tell(message, transfer),
    });
    this.#isolates.set(id, isolate);
    isolate.exited.then(() => this.#isolates.delete(id));
    return await serving(isolate);
  }

  /** The isolate of that row in the matrix of rings, while it is there. */
  isolate(row: string): Isolate | undefined {
    for (const isolate of this.#isolates.values()) if (isolate.row === row) return isolate;
  }

  /** Starts a plugin in a process of its own. Resolves when it serves; rejects as `spawnIsolate` does. */
  async spawnProcess(spec: ProcessSpec): Promise<PluginProcess> {
    const process = new PluginProcess(spec, {
      limits: limitsOf(spec.limits),
      clock: this.#clock,
      watch: this.#watch,
      modules: this.modules,
    });
    this.#processes.add(process);
    process.exited.then(() => this.#processes.delete(process));
    return await serving(process);
  }

  /** Kills what was spawned, and ends the whole process with this status. */
  async exit(code: number): Promise<never> {
    await Promise.all([...this.#isolates.values(), ...this.#processes].map((hosted) => hosted.kill()));
    this.#tell({ op: "exit", code });
    return new Promise<never>(() => {});
  }

  #tell(message: ToWarden, transfer: MessagePort[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #fromWarden(message: FromWarden): void {
    this.#isolates.get(message.id)?.fromWarden(message);
  }
}

function limitsOf(limits: Partial<Limits> = {}): Limits {
  const all = { ...DEFAULT_HOST_LIMITS, ...limits };
  for (const [name, value] of Object.entries(all)) {
    if (!(value > 0)) throw new Err("EINVAL", `limit ${name} is ${value}, not a number above 0`);
  }
  return all;
}

/** Waits until it serves; one that does not is gone when this throws. */
async function serving<T extends Isolate | PluginProcess>(hosted: T): Promise<T> {
  try {
    await hosted.up;
  } catch (e) {
    await hosted.exited;
    throw e;
  }
  return hosted;
}
