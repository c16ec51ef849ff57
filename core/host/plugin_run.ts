/**
 * Runs one plugin on the confined side: imports its module, starts it, serves its tree over a transport, stops it.
 *
 * Layer: core/host; the same code in an isolate (isolate_run.ts) and in a process (process_main.ts).
 */

import { Err } from "../err.ts";
import type { Dev } from "../dev.ts";
import type { Client } from "../p9/client.ts";
import type { FidTable } from "../p9/fid.ts";
import { Srv, type SrvLimits } from "../p9/srv.ts";
import type { Transport } from "../p9/transport.ts";
import { guard } from "../plugin/guard.ts";
import type { Ctx, Plugin } from "../plugin/plugin.ts";
import type { MaybePromise } from "../p9/types.ts";
import { hostClock } from "./clock.ts";
import type { PluginSpec } from "./hosted.ts";
import { turn } from "./turn.ts";

/** One connection carries all users of the plugin, and the kernel, which is trusted, is at its other end. */
const LIMITS: Partial<SrvLimits> = { connections: 1, fids: 1 << 20, inFlight: 1 << 15, handshakeMs: 0, messageMs: 0 };

/** `crypto.getRandomValues` fills no more at a time. */
const MAX_RANDOM_BYTES = 65_536;

/** A plugin that serves. */
export interface Running {
  /** The fids of the kernel, when it serves. */
  readonly fids?: FidTable;
  /** Lets the plugin stop, and disposes what it registered, last first. Goes on after an error; throws the first. */
  stop(): Promise<void>;
}

/** A plugin's tree, started. */
export interface Started extends Running {
  readonly dev: Dev;
}

/** Imports the plugin and starts it. Throws what is wrong with it. */
export async function startPlugin(
  spec: PluginSpec,
  { log, kernel, files }: { log(text: string): void; kernel?: unknown; files?: Client },
): Promise<Started> {
  const plugin = pluginOf(await load(spec.module), spec.module);
  const unload = new AbortController(), disposers: (() => MaybePromise<void>)[] = [];
  const ctx: Ctx = {
    name: spec.name,
    options: Object.freeze(spec.options),
    clock: hostClock,
    turn,
    hostowner: spec.hostowner,
    sysname: spec.sysname,
    signal: unload.signal,
    log,
    random: fillRandom,
    defer: (dispose) => void disposers.push(dispose),
    kernel,
    files,
  };
  const dev = guard(devOf(await plugin.start(ctx, spec.reason)), { name: spec.name, log });
  return { dev, stop: () => stopPlugin(plugin, unload, disposers) };
}

/** Starts the plugin and serves it over `transport`. Throws what is wrong with it. */
export async function runPlugin(
  spec: PluginSpec,
  { transport, log, files }: { transport: Transport; log(text: string): void; files?: Client },
): Promise<Running> {
  const started = await startPlugin(spec, { log, files });
  const srv = new Srv(started.dev, { limits: LIMITS, clock: hostClock, log });
  srv.serve(transport);
  const [{ fids }] = srv.sessions;
  return { stop: started.stop, fids };
}

async function load(url: string): Promise<Record<string, unknown>> {
  try {
    return await import(url);
  } catch (e) {
    if (!/does not provide an export named/.test((e as Error)?.message)) throw e;
    (e as Error).message += " (if it is a type, import it with `import type`)";
    throw e;
  }
}

function pluginOf(module: Record<string, unknown>, url: string): Plugin {
  const plugin = module.default as Partial<Plugin> | undefined;
  if (typeof plugin?.start === "function") return plugin as Plugin;
  throw new Err("EINVAL", `${url} has no default export with start() (try: export default definePlugin({ start }))`);
}

function devOf(made: unknown): Dev {
  if (typeof (made as Dev | undefined)?.attach === "function") return made as Dev;
  throw new Err("EINVAL", "start() did not answer a Dev (try: return tree({ ... }, ctx))");
}

function fillRandom(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += MAX_RANDOM_BYTES) {
    crypto.getRandomValues(bytes.subarray(at, at + MAX_RANDOM_BYTES) as Uint8Array<ArrayBuffer>);
  }
}

async function stopPlugin(
  plugin: Plugin,
  unload: AbortController,
  disposers: (() => MaybePromise<void>)[],
): Promise<void> {
  const failed: unknown[] = [];
  const attempt = async (fn: () => MaybePromise<void>) => {
    try {
      await fn();
    } catch (e) {
      failed.push(e);
    }
  };
  await attempt(() => plugin.stop?.());
  unload.abort(new Err("EINTR", "the plugin is unloaded"));
  while (disposers.length > 0) await attempt(disposers.pop()!);
  if (failed.length > 0) throw failed[0];
}
