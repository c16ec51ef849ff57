/**
 * Nodes for tests of ip: the real plugins ether and ip in one kernel, on switches in memory, with the host's clock.
 *
 * Layer: plugins/ip, tests only.
 */

import { readFileSync } from "node:fs";
import { hostClock } from "../../core/host/clock.ts";
import { turn } from "../../core/host/turn.ts";
import { Kernel } from "../../core/kernel.ts";
import { definePlugin, ORDWR, OREAD, type Plugin } from "../../core/plugin/author.ts";
import { type Files, type OpenFile, type Running, start } from "../../core/plugin/testing.ts";
import type { Clock } from "../../core/clock.ts";
import ip from "./mod.ts";

const manifest = (name: string) => readFileSync(new URL(`../${name}/plugin.json`, import.meta.url), "utf8");

/** A kernel of a test's own. */
export function newKernel(): Kernel {
  return new Kernel({ clock: hostClock, hostowner: "glenda" });
}

/** Starts a plugin in a kernel, by the host's clock. */
export function load(
  kernel: Kernel | undefined,
  plugin: { name: string; plugin: Plugin },
  as: string,
  options: Record<string, unknown>,
  clock: Clock = hostClock,
): Promise<Running> {
  const wrapped = definePlugin({
    start: (ctx, reason) => plugin.plugin.start({ ...ctx, kernel, clock, turn, random: fill }, reason),
  });
  return start(wrapped, { manifest: manifest(plugin.name), name: as, options });
}

function fill(bytes: Uint8Array): void {
  crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
}

/** Starts ether; the plugin is looked up by its path, for plugins know nothing of each other. */
export async function loadEther(kernel: Kernel, as: string, options: Record<string, unknown>): Promise<Running> {
  const { default: plugin } = await import("../ether/mod.ts");
  return load(kernel, { name: "ether", plugin }, as, options);
}

/** Starts ip. */
export function loadIp(kernel: Kernel | undefined, as: string, options: Record<string, unknown>): Promise<Running> {
  return load(kernel, { name: "ip", plugin: ip }, as, options);
}

/** Two nodes on one switch: 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2. */
export interface Pair extends AsyncDisposable {
  kernel: Kernel;
  /** Their /net. */
  left: Files;
  right: Files;
  nodes: Running[];
}

/** See Pair. `options` go to both ips; `link` to both ethers. */
export async function pair(options: Record<string, unknown> = {}, link: Record<string, unknown> = {}): Promise<Pair> {
  const kernel = newKernel(), nodes: Running[] = [];
  for (const n of [1, 2]) {
    nodes.push(await loadEther(kernel, `ether${n}`, { device: "switch lan", mac: `02000000000${n}`, ...link }));
  }
  for (const n of [1, 2]) {
    const address = `10.0.0.${n}/24 fd00::${n}/64`;
    nodes.push(await loadIp(kernel, `ip${n}`, { device: `ether${n}`, address, hostname: `node${n}`, ...options }));
  }
  // The host's alarms keep no program alive: a test that waits for one would end.
  const awake = setInterval(() => {}, 1000);
  const stop = async () => {
    clearInterval(awake);
    for (const node of nodes.toReversed()) await node.stop();
  };
  return { kernel, left: nodes[2].files, right: nodes[3].files, nodes, [Symbol.asyncDispose]: stop };
}

/** A conversation that a test holds. */
export class Conversation {
  constructor(readonly files: Files, readonly dir: string, readonly ctl: OpenFile) {}

  /** Opens clone, and writes commands to the ctl that it is. */
  static async open(files: Files, proto: string, ...commands: string[]): Promise<Conversation> {
    const ctl = await files.open(`${proto}/clone`, ORDWR);
    const conv = new Conversation(files, `${proto}/${await ctl.read()}`, ctl);
    for (const command of commands) await ctl.write(command);
    return conv;
  }

  /** Waits for a call. */
  async accept(): Promise<Conversation> {
    const ctl = await this.files.open(`${this.dir}/listen`, ORDWR);
    return new Conversation(this.files, `${this.dir.split("/")[0]}/${await ctl.read()}`, ctl);
  }

  data(): Promise<OpenFile> {
    return this.files.open(`${this.dir}/data`, ORDWR);
  }

  read(name: string): Promise<string> {
    return this.files.read(`${this.dir}/${name}`);
  }

  event(): Promise<OpenFile> {
    return this.files.open(`${this.dir}/event`, OREAD);
  }

  close(): Promise<void> {
    return this.ctl.close();
  }
}
