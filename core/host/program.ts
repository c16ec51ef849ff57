/**
 * Programs: starts programs, each in an isolate of its own with a Proc of its own.
 *
 * Layer: core/host, in the kernel isolate; program_run.ts is the other end, core/proc_service.ts does the calls. A
 * program is a module in the name space of its proc: it is read there, and so is what it imports by relative paths; besides it
 * may import what a plugin may.
 *
 * What holds always: a program and its proc end together. A proc is killed whatever its program does, a loop included.
 */

import { type Code, Err, toErr } from "../err.ts";
import type { OpenFile } from "../fgrp.ts";
import type { Kernel } from "../kernel.ts";
import { joinPath } from "../path.ts";
import type { Proc } from "../proc.ts";
import type { SpawnProgram } from "../proc_calls.ts";
import { ORDWR, OREAD } from "../p9/types.ts";
import { ProcService, type ProgramStarter } from "../proc_service.ts";
import { CALL_BYTES, CALL_RING_BYTES } from "../proc_wire.ts";
import { procClient } from "../sched/control.ts";
import { DEFAULT_HOST_LIMITS } from "./hosted.ts";
import { type Isolate, NS_URL } from "./isolate.ts";
import { Lanes } from "./lanes.ts";
import { memberOf } from "./members.ts";
import type { Served } from "./module_hooks.ts";
import { translate } from "./modules.ts";
import type { Warden } from "./spawn.ts";

/** A program may compute for as long as it likes. */
const PROGRAM_VIGIL = { warn: 0, watchdog: 0 };
/** The largest module, bytes. */
const MAX_MODULE_BYTES = 8 << 20;

/** Starts programs for the procs of a kernel. */
export class Programs implements ProgramStarter {
  readonly #kernel: Kernel;
  readonly #warden: Warden;

  constructor(kernel: Kernel, warden: Warden) {
    this.#kernel = kernel;
    this.#warden = warden;
  }

  /**
   * Starts the program at `path` as a child of `parent`; resolves with the child once it runs. Its end is told to the
   * parent's `wait`. Throws why it can not be started; then there is no child. `signal` gives up reading it: its file may
   * be one that waits.
   */
  async spawn(parent: Proc, path: string, options: SpawnProgram = {}, signal?: AbortSignal): Promise<Proc> {
    const absolute = joinPath(parent.cwd, path), name = absolute.slice(absolute.lastIndexOf("/") + 1);
    const { args = [], ns, env, fds, redirect = [], cpu } = options;
    await readModule(parent, absolute, "", signal); // what is no program is refused before there is a child
    const files = redirect.map(([from, to]) => ({ to, file: parent.fgrp.get(from) }));
    const child = parent.spawn({ name, ns, env, fds });
    for (const { to, file } of files) child.fgrp.add(file.hold(), to);
    try {
      await fillStandardFiles(child);
      await this.#run(child, absolute, [path, ...args], cpu);
      return child;
    } catch (e) {
      await child.exit(toErr(e).message);
      throw e;
    }
  }

  async #run(child: Proc, path: string, args: string[], cpu?: number): Promise<void> {
    const { hostowner, sysname } = this.#kernel;
    const isolate = await this.#warden.spawnIsolate({
      name: child.name,
      module: urlOf(path),
      options: { args, pid: child.pid },
      reason: "fresh",
      hostowner: hostowner.name,
      sysname,
      generation: child.pid,
      ringBytes: CALL_RING_BYTES,
      cpu,
      limits: { heapMb: DEFAULT_HOST_LIMITS.heapMb },
      log: (text) => this.#kernel.log.print(text),
      program: { serve: (url, type) => serveModule(child, url, type) },
    });
    try {
      this.#place(child, isolate, cpu);
    } catch (e) {
      await isolate.kill();
      throw e;
    }
    this.#bind(child, isolate);
  }

  /** Its isolate is a client of the cores as long as it runs. */
  #place(child: Proc, isolate: Isolate, cpu?: number): void {
    const { cores } = this.#kernel, name = procClient(child.pid), member = memberOf(isolate);
    if (!cores) return;
    cores.join(name, member, { ...PROGRAM_VIGIL, ...cpu === undefined ? {} : { pin: [cpu] } });
    isolate.exited.then(() => cores.leave(name, member));
  }

  /** From now on the two end together. */
  #bind(child: Proc, isolate: Isolate): void {
    const end = () => void isolate.kill();
    if (child.exitStatus !== null) return end();
    child.signal.addEventListener("abort", end, { once: true });
    isolate.exited.then(({ reason, text }) => child.exit(`${reason}: ${text}`));
    const spawn = (proc: Proc, path: string, options: SpawnProgram) => this.spawn(proc, path, options);
    const lanes = new Lanes(this.#warden, isolate), direct = (file: OpenFile) => lanes.direct(file);
    const service = new ProcService(child, isolate.transport, { clock: this.#kernel.clock, spawn, direct });
    service.run().catch((e) => child.exit(`protocol: ${toErr(e).message}`));
  }
}

/** A parent without files 0, 1 and 2, as the first proc, gives its child those of nobody. */
async function fillStandardFiles(child: Proc): Promise<void> {
  for (const fd of [0, 1, 2]) {
    if (!child.fgrp.find(fd)) await child.open("/dev/null", ORDWR).catch(() => {});
  }
}

/** A module for a program, or why there is none. Never throws. */
async function serveModule(proc: Proc, url: string, type: string): Promise<Served> {
  try {
    return await readModule(proc, decodeURIComponent(new URL(url).pathname), type);
  } catch (e) {
    return { error: `cannot import ${url.slice(NS_URL.length)}: ${toErr(e).message}` };
  }
}

async function readModule(proc: Proc, path: string, type: string, signal?: AbortSignal): Promise<Served> {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await readAll(proc, path, signal));
    return translate(text, { path: /\.\w+$/.test(path) ? path : `${path}.ts`, url: path, type });
  } catch (e) {
    const { code, message } = e instanceof TypeError ? { code: "EINVAL" as Code, message: "not a text" } : toErr(e);
    throw new Err(code, message.startsWith(path) ? message : `${path}: ${message}`, { cause: e });
  }
}

/** All bytes of a file that is no larger than a module may be: some files have no end. */
async function readAll(proc: Proc, path: string, signal?: AbortSignal): Promise<Uint8Array> {
  const fd = await proc.open(path, OREAD, signal), parts: Uint8Array[] = [];
  try {
    for (let bytes = 0;;) {
      const part = new Uint8Array(CALL_BYTES), count = await proc.read(fd, part, signal);
      if (count === 0) return joined(parts, bytes);
      parts.push(part.subarray(0, count));
      if ((bytes += count) > MAX_MODULE_BYTES) throw new Err("EFBIG", `larger than ${MAX_MODULE_BYTES} bytes`);
    }
  } finally {
    await proc.close(fd);
  }
}

function joined(parts: Uint8Array[], bytes: number): Uint8Array {
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function urlOf(path: string): string {
  return NS_URL + path.split("/").map(encodeURIComponent).join("/");
}
