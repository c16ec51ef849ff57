/**
 * The plugin contract: what a plugin module exports, and what it is given.
 *
 * Layer: core/plugin, types and one function. A plugin serves one `Dev`. Its code is the same at each placement:
 * inline it is called, in an isolate or a process it is reached by 9P.
 */

import type { Clock } from "../clock.ts";
import type { Dev } from "../dev.ts";
import type { Client } from "../p9/client.ts";
import type { MaybePromise } from "../p9/types.ts";

/** Why a plugin is started. */
export type StartReason = "fresh" | "restart" | "upgrade";

/** What a plugin is given when it starts. All that is registered here is disposed when it goes. */
export interface Ctx {
  /** Its name in this system: `ram`, or what the image calls this instance. */
  readonly name: string;
  /** Its options, checked against the manifest, defaults filled in. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Where time comes from. */
  readonly clock: Clock;
  /** One turn of the event loop. Given by the host; a ctx that a test makes may leave it out. */
  readonly turn?: () => Promise<void>;
  /** Who runs the system. */
  readonly hostowner: string;
  /** What the system calls itself. */
  readonly sysname: string;
  /** Aborts when the plugin is unloaded. */
  readonly signal: AbortSignal;
  /** A line in /sys/log. */
  log(text: string): void;
  /** Fills `bytes` with random bytes. */
  random(bytes: Uint8Array): void;
  /** Calls `dispose` when the plugin goes; the last registered first. */
  defer(dispose: () => MaybePromise<void>): void;
  /** The kernel, for an inline plugin whose manifest asks for `"kernel": true`; typed as `Kernel` in core/kernel.ts. */
  readonly kernel?: unknown;
  /**
   * For a plugin in an isolate: the trees of the name space that its manifest names, each attached by its path, as the
   * hostowner. ENOENT until the tree is there.
   */
  readonly files?: Client;
}

/** A plugin's module exports one of these by default. */
export interface Plugin {
  /** Makes the tree that the plugin serves. */
  start(ctx: Ctx, reason: StartReason): MaybePromise<Dev>;
  /** Called before unloading, while the tree is still served. */
  stop?(): MaybePromise<void>;
}

/** Types a plugin's definition; the value is handed back as it is. */
export function definePlugin(plugin: Plugin): Plugin {
  return plugin;
}
