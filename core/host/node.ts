/**
 * Node: a running system in the kernel isolate: an image's plugins, its name space, and the 9P listeners.
 *
 * Layer: core/host, the top of the core: it puts kernel, supervisor, placements and server together, and knows no
 * plugin. Who booted it talks to it through events (a line a step), and ends it with `close`.
 *
 * What holds always: nothing but loopback and unix sockets is listened on; nobody sees a name space that is still being
 * made (who connects meanwhile waits at attach); when a step fails everything that was started is stopped again.
 */

import type { Dev, User } from "../dev.ts";
import { Err, toErr } from "../err.ts";
import { Export } from "../export.ts";
import { Kernel } from "../kernel.ts";
import { Mnt } from "../mnt.ts";
import { runNamespace } from "../nsfile.ts";
import { parseLines, quote } from "../path.ts";
import { type Address, formatDial, isLoopback, parseDial } from "../p9/dial.ts";
import { claimedUser, Srv } from "../p9/srv.ts";
import type { Transport } from "../p9/transport.ts";
import type { Image, ImagePlugin } from "../plugin/image.ts";
import { startOrder } from "../plugin/levels.ts";
import { type PluginInstance, Supervisor } from "../plugin/supervisor.ts";
import type { Proc } from "../proc.ts";
import { hostClock } from "./clock.ts";
import { hostError } from "./errors.ts";
import { imageFolder, readImage } from "./images.ts";
import { openCores } from "./members.ts";
import { NodePlugins } from "./plugin_host.ts";
import { Programs } from "./program.ts";
import { ringMetrics } from "../sched/metrics.ts";
import type { Warden } from "./spawn.ts";
import { dial, listen, type Listener } from "./transports.ts";
import { poll } from "./turn.ts";

/** The path of plugins that are there before any is loaded. */
const GIVEN_PATHS = ["/"];
/** Bytes of a socket's path, one of which `listen` puts behind it: sun_path of unix(7). */
const MAX_SOCKET_PATH = 106;
/** How long a clean end may take before the rest is killed, milliseconds. */
const CLOSE_MS = 3_000;

/** What to boot. */
export interface NodeOptions {
  /** The folder that holds core/ and plugins/: a file: URL that ends with a slash. */
  project: string;
  /** A folder of images/, or a path to one. */
  image: string;
  /** Dial strings, besides the image's. */
  listen: string[];
  /** Options that go over those of the image, by the plugin's name. */
  options: Record<string, Record<string, unknown>>;
}

/** What a node tells while it boots. */
export interface NodeEvents {
  image(image: Image): void;
  plugin(inst: PluginInstance): void;
  namespace(lines: number, ms: number): void;
  listening(address: string): void;
}

/** A running system. */
export class Node {
  readonly kernel: Kernel;
  readonly supervisor: Supervisor;
  readonly srv: Srv;
  readonly programs: Programs;
  /** The first proc; its name space is the one that is served. There once the node has booted. */
  init!: Proc;
  /** What is served: connections are taken from the beginning, and wait at attach until the name space is whole. */
  readonly #tree: PromiseWithResolvers<Dev> = Promise.withResolvers<Dev>();
  readonly #warden: Warden;
  readonly #listeners: Listener[] = [];

  private constructor(kernel: Kernel, supervisor: Supervisor, warden: Warden) {
    this.kernel = kernel;
    this.supervisor = supervisor;
    this.#warden = warden;
    kernel.programs = this.programs = new Programs(kernel, this.#warden);
    this.srv = new Srv(this.#tree.promise, {
      clock: kernel.clock,
      user: (uname, nuname) => userOf(kernel.hostowner, uname, nuname),
      log: (text) => kernel.log.print(text),
    });
    kernel.stats.set("9p", () => ({ ...this.srv.stats, sessions: this.srv.sessions.size }));
    watchFaults(kernel);
    kernel.reports.set("rings", () => this.#warden.rings.text());
  }

  /** Boots. Throws what stands in the way, with everything stopped again. */
  static async boot(options: NodeOptions, warden: Warden, events: NodeEvents): Promise<Node> {
    const project = new URL(options.project);
    const image = readImage(project, options.image), folder = imageFolder(project, options.image);
    const addresses = [...options.listen, ...image.listen];
    for (const address of addresses) checkListen(address); // before anything runs
    events.image(image);
    const kernel = new Kernel({
      clock: hostClock,
      hostowner: hostowner(image),
      sysname: image.sysname ?? Deno.hostname(),
      dial: dialTree,
    });
    const supervisor = new Supervisor(kernel, new NodePlugins(kernel, warden, project));
    kernel.supervisor = supervisor;
    kernel.cores = openCores(kernel, warden, image.hostCores);
    kernel.metrics.set("rings", () => ringMetrics(warden.rings.rows()));
    const node = new Node(kernel, supervisor, warden);
    try {
      const listening: string[] = [];
      for (const address of addresses) listening.push(await node.listen(address));
      const text = readNamespace(image, folder), file = `${image.name}/${image.namespace}`;
      await loadAll(supervisor, withOptions(image.plugins, options.options), bindsOf(text, file), events)
        .catch((e) => {
          throw new Err(toErr(e).code, `${image.name}/image.json: ${toErr(e).message}`, { cause: e });
        });
      await node.#build(text, file, events);
      node.#report();
      listening.forEach(events.listening);
      return node;
    } catch (e) {
      await node.close();
      throw e;
    }
  }

  /** Makes the first proc and its name space, and lets in who waits for it. */
  async #build(namespace: string, file: string, events: NodeEvents): Promise<void> {
    const init = await this.kernel.init(), begun = hostClock.monotonic();
    await runNamespace(init, namespace, file);
    init.pgrp.claim();
    events.namespace(init.pgrp.lines().length, hostClock.monotonic() - begun);
    this.init = init;
    this.#tree.resolve(new Export(init.pgrp, { name: "ns" }));
  }

  /** Serves the name space at a dial string; answers the address, with the real port. */
  async listen(text: string): Promise<string> {
    const address = checkListen(text);
    const listener = await listen(address);
    this.#listeners.push(listener);
    const where = formatDial(listener.address);
    const endpoint = { address: where, status: () => "9P2000 9P2000.u 9P2000.L", close: () => listener.close() };
    this.kernel.listeners.add(endpoint);
    this.#accept(listener).catch((e) => this.kernel.log.print(`9p: ${where}: ${toErr(e).message}`))
      .finally(() => this.kernel.listeners.delete(endpoint));
    return where;
  }

  async #accept(listener: Listener): Promise<void> {
    for await (const transport of listener) this.#serve(transport);
  }

  async #serve(transport: Transport): Promise<void> {
    const served = this.srv.serve(transport);
    const session = [...this.srv.sessions].at(-1);
    const status = () =>
      session
        ? `${session.dialect?.name ?? "-"} ${
          session.user?.name ?? "-"
        } ${session.fids.size} fids ${session.inFlight} in flight`
        : "-";
    const endpoint = { address: transport.remote, status, close: () => transport.close() };
    this.kernel.connections.add(endpoint);
    await served;
    this.kernel.connections.delete(endpoint);
  }

  /** Stops listening, ends all connections, procs and plugins. */
  async close(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    this.srv.close();
    const clean = this.kernel.close().then(() => this.supervisor.close());
    const late = new Promise<void>((resolve) => this.kernel.clock.after(CLOSE_MS, resolve));
    await Promise.race([clean, late]);
    this.kernel.cores?.close();
  }

  /** Fills /sys/health when the main thread has told how it is locked. */
  async #report(): Promise<void> {
    const { kernel } = this;
    kernel.reports.set("health", () => "warden not locked yet\n");
    const lock = await this.#warden.locked;
    const text = Object.entries(lock).map(([key, value]) => `warden.${key} ${healthWord(value)}\n`).join("");
    kernel.reports.set("health", () => text);
  }
}

/** Refuses what can not or must not be listened at; a socket's folder has to be there. */
export function checkListen(text: string): Address {
  const address = parseDial(text);
  if (!isLoopback(address)) {
    throw new Err(
      "EACCES",
      `will not listen at ${text}: it is not loopback, and there is no authentication yet ` +
        `(listen at tcp!127.0.0.1!PORT, and let ssh -L carry it to other hosts)`,
    );
  }
  if (address.net === "ws") {
    throw new Err("EOPNOTSUPP", `cannot listen at ${text}: WebSockets are not served (listen at tcp!127.0.0.1!PORT)`);
  }
  if (address.net === "unix" && new TextEncoder().encode(address.path).length > MAX_SOCKET_PATH) {
    throw new Err("ENAMETOOLONG", `cannot listen at ${text}: a socket's path has at most ${MAX_SOCKET_PATH} bytes`);
  }
  if (address.net === "unix" && !address.path.startsWith("/")) {
    throw new Err("EINVAL", `cannot listen at ${text}: the path of a socket begins with /`);
  }
  if (address.net === "unix") checkFolder(text, folderOf(address.path));
  return address;
}

function checkFolder(text: string, folder: string): void {
  try {
    if (Deno.statSync(folder).isDirectory) return;
  } catch (e) {
    if (e instanceof Deno.errors.NotFound) {
      throw new Err("ENOENT", `cannot listen at ${text}: there is no folder ${folder} (make it, or name another)`);
    }
    throw new Err(toErr(e).code, `cannot listen at ${text}: ${toErr(e).message}`, { cause: e });
  }
  throw new Err("ENOTDIR", `cannot listen at ${text}: ${folder} is no folder`);
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** A stray error of an inline plugin is told and counted; it does not take the system with it. */
function watchFaults(kernel: Kernel): void {
  let faults = 0;
  const fault = (e: Event, reason: unknown) => {
    e.preventDefault();
    faults++;
    kernel.log.print(`kernel: uncaught: ${reason instanceof Error ? reason.stack : String(reason)}`);
  };
  addEventListener("unhandledrejection", (e) => fault(e, e.reason));
  addEventListener("error", (e) => fault(e, e.error));
  kernel.stats.set("kernel", () => ({ faults }));
}

function healthWord(value: unknown): string {
  if (Array.isArray(value)) return value.length > 0 ? value.join("; ") : "-";
  return String(value);
}

/** The user that a connection claims to be; the hostowner by name or number. Its socket is for the hostowner alone. */
function userOf(hostowner: User, uname: string, nuname: number): User {
  const claimed = claimedUser(uname, nuname);
  return claimed.uid === hostowner.uid || claimed.name === hostowner.name ? hostowner : claimed;
}

function hostowner(image: Image): User {
  const uid = Deno.uid() ?? 0;
  const name = image.hostowner ?? Deno.env.get("USER") ?? Deno.env.get("LOGNAME") ?? (uid === 0 ? "root" : String(uid));
  return { name, uid, gid: Deno.gid() ?? uid };
}

function withOptions(plugins: ImagePlugin[], options: NodeOptions["options"]): ImagePlugin[] {
  return plugins.map((entry) => ({ ...entry, options: { ...entry.options, ...options[entry.as] } }));
}

function readNamespace({ name, namespace }: Image, folder: URL): string {
  try {
    return Deno.readTextFileSync(new URL(namespace, folder));
  } catch (e) {
    const { code, message } = hostError(e);
    throw new Err(code, `${name}/image.json: its namespace file ${quote(namespace)}: ${message}`, { cause: e });
  }
}

/** Where a name space file binds: paths by what is bound there. */
function bindsOf(namespace: string, file: string): Map<string, string[]> {
  const paths = new Map<string, string[]>();
  try {
    for (const { words: [operation, ...words] } of parseLines(namespace, (word) => word)) {
      const [bound, path] = words.filter((word) => !word.startsWith("-"));
      if (operation === "bind" && path) paths.set(bound, [...paths.get(bound) ?? [], path]);
    }
  } catch (e) {
    throw new Err("EINVAL", `${file}:${toErr(e).message}`, { cause: e });
  }
  return paths;
}

/** Loads an image's plugins, each after those that it needs; `bound` says where their trees are going to be. */
async function loadAll(
  supervisor: Supervisor,
  plugins: ImagePlugin[],
  bound: Map<string, string[]>,
  events: NodeEvents,
): Promise<void> {
  const needy = await Promise.all(plugins.map(async (entry) => {
    const { serves, needs, level } = await supervisor.manifestOf(entry.plugin);
    const device = `#${entry.as}`;
    return { name: entry.as, serves: [...serves, device, ...bound.get(device) ?? []], needs, level, entry };
  }));
  for (const { entry } of startOrder(needy, GIVEN_PATHS)) {
    events.plugin(await supervisor.load(entry));
    await poll(); // who connects meanwhile is answered
  }
}

/** The tree at the other end of a dial string. */
async function dialTree(address: string, signal?: AbortSignal): Promise<Mnt> {
  return await Mnt.connect(await dial(address, { signal }), { name: address, clock: hostClock });
}

/** Makes the folder of the user's own socket, for its owner alone, if it is not there. */
export function makePrivateFolder(socket: string): void {
  const folder = folderOf(socket);
  try {
    Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (e) {
    const why = e instanceof Deno.errors.PermissionDenied ? "permission denied" : toErr(e).message;
    throw new Err(toErr(e).code, `cannot make ${folder} for the socket: ${why} (try: --socket PATH)`, { cause: e });
  }
}
