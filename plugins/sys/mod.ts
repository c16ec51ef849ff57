/**
 * sys: `/sys`, the system as files: its plugins, rings, queues, connections and log.
 *
 * Layer: a plugin, inline, with the kernel. It keeps nothing: each file is made of what the kernel says when it is
 * opened. Plugins are loaded, unloaded, reloaded and restarted by text written to `plugins/ctl` and `plugins/NAME/ctl`;
 * a write answers when it is done, with the error when it could not be.
 */

import {
  ctl,
  type Ctx,
  definePlugin,
  type Described,
  type Dev,
  dir,
  dynamic,
  Err,
  excerpt,
  type Handle,
  raw,
  type Req,
  tree,
} from "../../core/plugin/author.ts";
import type { Kernel } from "../../core/kernel.ts";
import { isPrivileged } from "../../core/users.ts";
import { coreCommands, coresDir, pluginCores, pluginCounters } from "./cores.ts";
import { metricsText } from "./metrics.ts";
import { parseLoadWords } from "./options.ts";
import { queuesDir } from "./queues.ts";
import type { Placement } from "../../core/plugin/manifest.ts";
import type { PluginInstance, Supervisor } from "../../core/plugin/supervisor.ts";

/** Who may write ctl files: the hostowner, and root. */
const OWNER_WRITES = 0o644;

export default definePlugin({
  start(ctx: Ctx): Dev {
    const kernel = ctx.kernel as Kernel | undefined;
    if (!kernel) throw new Err("EPERM", "sys needs the kernel: place it inline, with permissions.kernel");
    return tree({
      plugins: pluginsDir(kernel),
      rings: () => kernel.report("rings"),
      cores: coresDir(kernel, (req) => mayControl(kernel, req)),
      queues: queuesDir(kernel, (req) => mayControl(kernel, req)),
      metrics: () => metricsText(kernel),
      listen: () => [...kernel.listeners].map((l) => `${l.address} ${l.status()}\n`).join(""),
      connections: () => [...kernel.connections].map((c) => `${c.address} ${c.status()}\n`).join(""),
      health: () => kernel.report("health"),
      stats: () => statsText(kernel),
      log: logFile(kernel),
    }, { ...ctx, clock: ctx.clock });
  },
});

function pluginsDir(kernel: Kernel): Described {
  const supervisor = () => supervisorOf(kernel);
  const fixed: Record<string, Described> = {
    ctl: pluginsCtl(kernel),
    status: () => supervisor().list().map(line).join(""),
  };
  return dynamic({
    list: () => [...Object.keys(fixed), ...supervisor().list().map((inst) => inst.name)],
    get: (name) => Object.hasOwn(fixed, name) ? fixed[name] : pluginDir(kernel, name),
  });
}

function pluginsCtl(kernel: Kernel): Described {
  const supervisor = () => supervisorOf(kernel);
  return ctl({
    "load plugin words...": {
      help: "[as NAME] [placement inline|isolate|process] [cpu N] [cores N|key:value,...] [option=value ...]",
      async run(plugin: string, words: string[], req: Req) {
        mayControl(kernel, req);
        const { options } = await supervisor().manifestOf(plugin);
        await supervisor().add({ plugin, ...parseLoadWords(words, options) });
      },
    },
    "unload name [force]": {
      help: "takes a plugin away; with force also when files of it are open",
      run: (name, force, req) => control(kernel, req, (s) => s.unload(name, { force: isForce(force) })),
    },
    "reload name": {
      help: "starts its code anew from disk and puts it in the old one's place",
      run: (name, req) => control(kernel, req, (s) => s.reload(name)),
    },
    "restart name": {
      help: "stops it and starts it again",
      run: (name, req) => control(kernel, req, (s) => s.restart(name)),
    },
  }, { mode: OWNER_WRITES });
}

function pluginDir(kernel: Kernel, name: string): Described | undefined {
  const inst = supervisorOf(kernel).get(name);
  if (!inst) return undefined;
  return dir({
    ctl: ctl({
      "reload [placement:inline|isolate|process]": {
        help: "starts its code anew from disk, here or at another placement",
        run: (placement, req) =>
          control(kernel, req, (s) => s.reload(name, placement ? { placement: placement as Placement } : {})),
      },
      "restart": {
        help: "stops it and starts it again",
        run: (req) => control(kernel, req, (s) => s.restart(name)),
      },
      "unload [force]": {
        help: "takes it away; with force also when files of it are open",
        run: (force, req) => control(kernel, req, (s) => s.unload(name, { force: isForce(force) })),
      },
      ...coreCommands(kernel, name, (req) => mayControl(kernel, req)),
    }, { mode: OWNER_WRITES }),
    cores: () => pluginCores(kernel, name),
    status: () => statusText(kernel, inst),
    manifest: () => inst.files.manifestText,
    stats: () => statLines({ ...inst.started?.stats(), ...pluginCounters(kernel, name) }),
    man: () => inst.files.man || `${name} has no manual page\n`,
  });
}

async function control(kernel: Kernel, req: Req, what: (s: Supervisor) => Promise<void>): Promise<void> {
  mayControl(kernel, req);
  await what(supervisorOf(kernel));
}

function isForce(word: string | undefined): boolean {
  if (word !== undefined && word !== "force") throw new Err("EINVAL", `"${excerpt(word)}" is not "force"`);
  return word === "force";
}

function mayControl(kernel: Kernel, req: Req): void {
  if (!isPrivileged(req.user, kernel.hostowner.name)) {
    throw new Err("EPERM", `plugins are controlled by ${kernel.hostowner.name}, not by ${req.user.name}`);
  }
}

function supervisorOf(kernel: Kernel): Supervisor {
  if (!kernel.supervisor) throw new Err("ENODEV", "this system has no plugin supervisor");
  return kernel.supervisor;
}

/** `ram up isolate worker-3 12.3ms`: a line a plugin, as the boot checklist has it. */
function line(inst: PluginInstance): string {
  const where = inst.started ? inst.started.id : "-";
  return `${inst.name} ${inst.state} ${inst.placement} ${where} ${inst.startMs.toFixed(1)}ms\n`;
}

function statusText(kernel: Kernel, inst: PluginInstance): string {
  const { manifest } = inst.files;
  const upMs = inst.state === "up" ? kernel.clock.monotonic() - inst.upSinceMs : 0;
  const lines: [string, string | number][] = [
    ["name", inst.name],
    ["plugin", `${manifest.name} ${manifest.version}`],
    ["state", inst.state],
    ["placement", inst.placement],
    ["runs", inst.started?.id ?? "-"],
    ["confinement", inst.started?.confinement ?? "-"],
    ["generation", inst.generation],
    ["startms", inst.startMs.toFixed(1)],
    ["upms", upMs.toFixed(0)],
    ["restarts", inst.restarts],
    ["open", kernel.device(inst.name) ? kernel.openChans(inst.name) : 0],
    ["error", inst.error || "-"],
  ];
  return lines.map(([key, value]) => `${key} ${value}\n`).join("");
}

function statsText(kernel: Kernel): string {
  return [...kernel.stats].map(([name, stats]) =>
    Object.entries(stats()).map(([key, value]) => `${name}.${key} ${value}\n`).join("")
  ).join("");
}

function statLines(stats: Record<string, number | string>): string {
  return Object.entries(stats).map(([key, value]) => `${key} ${value}\n`).join("");
}

/** The log from its oldest line to its end; to wait for more is /dev/kprint's. A line written is added. */
function logFile(kernel: Kernel): Described {
  return raw({
    mode: 0o664,
    open(): Handle {
      // Offsets of this open file count from the oldest line there was.
      const base = kernel.log.start;
      return {
        read: (dst, offset) => kernel.log.read(base + offset, dst.length).bytes,
        write(data) {
          kernel.log.print(new TextDecoder().decode(data));
          return data.length;
        },
      };
    },
  });
}
