/**
 * NodePlugins: reads plugins from disk and starts them at the three placements, for the supervisor.
 *
 * Layer: core/host, in the kernel isolate. Inline is a call; an isolate and a process are reached by 9P through the
 * mount driver. What a placement can not give is refused with what would.
 */

import { fileURLToPath, pathToFileURL } from "node:url";
import { Err, excerpt, PATH_CHARS } from "../err.ts";
import type { Kernel } from "../kernel.ts";
import { Mnt } from "../mnt.ts";
import { quote } from "../path.ts";
import { Client } from "../p9/client.ts";
import { type Manifest, parseManifest, type Permissions } from "../plugin/manifest.ts";
import type { PluginFiles, PluginHost, StartedPlugin, StartSpec } from "../plugin/supervisor.ts";
import { DEFAULT_HOST_LIMITS, errorText, type Hosted, textError, within } from "./hosted.ts";
import { startInline } from "./inline.ts";
import { serveGranted } from "./granted.ts";
import { memberOf } from "./members.ts";
import { entrySettings } from "../sched/settings.ts";
import type { Warden } from "./spawn.ts";

/** How long what is under way may take before a plugin is stopped, milliseconds. */
const DRAIN_MS = 100;

/** Where the kernel looks for plugins that are named and not given by a path. */
const PLUGIN_FOLDERS = ["plugins", "examples"];

type DenoPermissions = Omit<Permissions, "kernel" | "files" | "optional">;

/** What is known of a plugin at a distance: its tree, and why it goes when it was asked to. */
interface Life {
  dev?: Mnt;
  why?: Err;
}

/** The plugins of a node. */
export class NodePlugins implements PluginHost {
  readonly #kernel: Kernel;
  readonly #warden: Warden;
  /** The project's folder, a URL that ends with a slash. */
  readonly #project: URL;

  constructor(kernel: Kernel, warden: Warden, project: URL) {
    this.#kernel = kernel;
    this.#warden = warden;
    this.#project = project;
  }

  read(plugin: string): PluginFiles {
    const folder = this.#folderOf(plugin);
    const path = fileURLToPath(new URL("plugin.json", folder));
    if (!isFile(new URL("plugin.json", folder))) {
      throw new Err("ENOENT", `there is no plugin.json in ${excerpt(plugin, PATH_CHARS)}`);
    }
    const manifestText = Deno.readTextFileSync(path);
    const manifest = parseManifest(manifestText, path);
    return { manifest, manifestText, module: new URL("mod.ts", folder).href, man: textOrEmpty(folder, manifest.name) };
  }

  async start(spec: StartSpec): Promise<StartedPlugin> {
    refuseImpossible(spec);
    if (spec.placement === "inline") return await this.#startInline(spec);
    const { name, manifest: { permissions, limits, shutdownMs }, down, ...rest } = spec;
    const { hostowner, sysname } = this.#kernel;
    const life: Life = {};
    const gone = () => {
      down();
      // What is under way fails with this, before its transport ends with less to say.
      life.dev?.client.rpc.close(life.why ?? new Err("EIO", `plugin ${name} died`));
    };
    const common = { name, ...rest, down: gone, hostowner: hostowner.name, sysname };
    const all = { ...common, limits: { heapMb: limits.heapMb, memoryMb: limits.memoryMb, stopMs: shutdownMs } };
    const files = permissions.files && serveGranted(this.#kernel, name, permissions.files);
    const hosted = spec.placement === "isolate"
      ? await this.#warden.spawnIsolate({ ...all, files, budget: { spin: limits.spin } })
      : await this.#warden.spawnProcess({ ...all, permissions: denoPermissions(permissions) });
    await this.#place(hosted, spec);
    // Who asks there is who asks here.
    const { clock } = this.#kernel;
    const client = await Client.connect(hosted.transport, { clock, maxInFlight: limits.inFlight });
    life.dev = new Mnt(client, { name, perUser: true });
    const granted = files && spec.placement === "isolate" ? `, files ${permissions.files!.join(" ")}` : "";
    return this.#started(hosted, life.dev, life, granted);
  }

  /** Puts it on its cores. What can not be had stops it again. */
  async #place(hosted: Hosted, { name, manifest, cores: over, cpu }: StartSpec): Promise<void> {
    const { cores } = this.#kernel, pin = cpu === undefined ? {} : { pin: [cpu] };
    if (!cores) return;
    const member = memberOf(hosted);
    try {
      cores.join(name, member, { ...entrySettings(manifest.cores), ...entrySettings(over), ...pin });
    } catch (e) {
      await hosted.stop();
      throw e;
    }
    hosted.exited.then(() => cores.leave(name, member));
  }

  async #startInline(spec: StartSpec): Promise<StartedPlugin> {
    const kernel = spec.manifest.permissions.kernel ? this.#kernel : undefined;
    const { clock, hostowner, sysname } = this.#kernel, { shutdownMs } = spec.manifest;
    const starting = startInline({ ...spec, hostowner: hostowner.name, sysname, kernel }).catch((e) => {
      // As the other placements tell it: with the plugin's name and the text, which is for who starts it.
      throw textError(errorText(e), spec.name);
    });
    const started = await within(clock, DEFAULT_HOST_LIMITS.startMs, starting);
    if (!started) throw new Err("ETIMEDOUT", `${spec.name}: it did not start in ${DEFAULT_HOST_LIMITS.startMs} ms`);
    const stop = async () => void await within(clock, shutdownMs, started.stop());
    return { dev: started.dev, id: "kernel", confinement: "none: trusted", stop, stats: () => ({}) };
  }

  /** A plugin at a distance that serves; `granted` is what it may use, as its status tells it. */
  #started(hosted: Hosted, dev: Mnt, life: Life, granted: string): StartedPlugin {
    const { id, name } = hosted, confinement = hosted.confinement + granted, { rpc } = dev.client;
    const stop = async () => {
      await within(this.#kernel.clock, DRAIN_MS, rpc.drain());
      life.why = new Err("ESTALE", `plugin ${name} was stopped`);
      await hosted.stop();
    };
    return {
      dev,
      id: hosted.placement === "process" ? `pid ${id}` : id,
      confinement,
      died: hosted.exited.then(({ reason, text }) => ({ why: `${reason}: ${text}`, normal: reason === "ended" })),
      stop,
      stats: () => ({ beats: hosted.beats(), pid: hosted.pid, inflight: rpc.inFlight }),
    };
  }

  #folderOf(plugin: string): URL {
    if (/^\.{0,2}\//.test(plugin)) return realFolder(plugin);
    for (const folder of PLUGIN_FOLDERS) {
      const url = new URL(`${folder}/${plugin}/`, this.#project);
      if (/^[a-z][a-z0-9_-]*$/.test(plugin) && isFile(new URL("plugin.json", url))) return url;
    }
    throw new Err(
      "ENOENT",
      `no plugin is called ${quote(excerpt(plugin, PATH_CHARS))} (looked in ${
        PLUGIN_FOLDERS.join(", ")
      }; or give a path to it)`,
    );
  }
}

function realFolder(path: string): URL {
  try {
    return pathToFileURL(`${Deno.realPathSync(path)}/`);
  } catch (e) {
    throw new Err("ENOENT", `there is no plugin's folder ${excerpt(path, PATH_CHARS)}`, { cause: e });
  }
}

function refuseImpossible({ name, placement, cpu, cores, manifest: { permissions } }: StartSpec): void {
  if (placement === "inline") {
    const asked = cpu !== undefined ? `cpu ${cpu}` : cores !== undefined ? "cores" : undefined;
    if (asked === undefined) return;
    const why = `${name} runs inline, on the kernel's own cores: ${asked} is for the placements isolate and process`;
    throw new Err("EINVAL", why);
  }
  if (permissions.kernel === true) throw new Err("EPERM", `${name} needs the kernel, which only placement inline has`);
  const needed = Object.keys(denoPermissions(permissions)).filter((kind) => !permissions.optional?.includes(kind));
  if (placement === "isolate" && needed.length > 0) {
    const asked = needed.join(", ");
    throw new Err("EPERM", `${name} asks for ${asked}, and an isolate has no permissions: use placement process`);
  }
}

/** What is Deno's to permit. */
function denoPermissions({ kernel: _k, files: _f, optional: _o, ...permissions }: Permissions): DenoPermissions {
  return permissions;
}

function textOrEmpty(folder: URL, name: Manifest["name"]): string {
  const page = new URL(`${name}.md`, folder);
  return isFile(page) ? Deno.readTextFileSync(page) : "";
}

function isFile(url: URL): boolean {
  try {
    return Deno.statSync(url).isFile;
  } catch {
    return false; // whatever the reason, there is nothing to read
  }
}
