/**
 * bootKernel: a kernel with plugins, inline, for the tests of those that work on it.
 *
 * Layer: tests of core and of plugins. No supervisor, no host: a clock that the test moves, a root of the directories it
 * names, and each plugin registered under its name and bound where the test says.
 */

import type { Dev } from "./dev.ts";
import { Kernel } from "./kernel.ts";
import { MCREATE } from "./mount.ts";
import { MemDev } from "./ns_testdev.ts";
import type { Ctx, Plugin } from "./plugin/plugin.ts";
import { TestClock } from "./plugin/testing.ts";
import type { Proc } from "./proc.ts";

/** What is booted. */
export interface BootOptions {
  /** Plugins by name. */
  plugins?: Record<string, Plugin>;
  /** Paths of the root; those that end in `/` are directories. */
  root?: string[];
  /** Where each device is bound, with creation allowed. */
  binds?: Record<string, string>;
  hostowner?: string;
  dial?: (address: string) => Promise<Dev>;
}

/** A kernel and its first proc. */
export async function bootKernel(options: BootOptions): Promise<{ kernel: Kernel; init: Proc; clock: TestClock }> {
  const clock = new TestClock();
  const kernel = new Kernel({ clock, hostowner: options.hostowner ?? "glenda", dial: options.dial });
  await kernel.register("root", new MemDev("root", options.root));
  for (const [name, plugin] of Object.entries(options.plugins ?? {})) {
    const ctx: Ctx = {
      name,
      options: {},
      clock,
      sysname: "gnot",
      hostowner: kernel.hostowner.name,
      signal: new AbortController().signal,
      log: (text) => kernel.log.print(text),
      random: (bytes) => void bytes.fill(7),
      defer: () => {},
      kernel,
    };
    await kernel.register(name, await plugin.start(ctx, "fresh"));
  }
  const init = await kernel.init();
  for (const [old, device] of Object.entries(options.binds ?? {})) await init.bind(device, old, MCREATE);
  return { kernel, init, clock };
}
