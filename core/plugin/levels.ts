/**
 * Levels: in what order plugins start, so that each only waits on a lower one and none waits for ever.
 *
 * Layer: core/plugin, pure. As in Hubris, a call only goes uphill; a circle of needs is refused before anything starts.
 */

import { Err } from "../err.ts";

/** What of a manifest says who waits on whom. */
export interface Needy {
  readonly name: string;
  readonly serves: readonly string[];
  readonly needs: readonly string[];
  /** Its level at the least. */
  readonly level: number;
}

/**
 * The level of each plugin, by name: above those whose paths it needs, and at least what its manifest says.
 * A path is served by whoever serves it or the nearest path above it but `/`; `given` are paths that are there anyway.
 * Refused with EINVAL: needs that form a cycle (it is named), and a path that nobody serves.
 */
export function levels(plugins: readonly Needy[], given: readonly string[] = []): Map<string, number> {
  const level = new Map<string, number>();
  const trail: { plugin: Needy; need: string }[] = [];
  const visit = (plugin: Needy): number => {
    const known = level.get(plugin.name);
    if (known !== undefined) return known;
    const from = trail.findIndex((step) => step.plugin === plugin);
    if (from >= 0) throw new Err("EINVAL", `needs form a cycle: ${circle(trail.slice(from))}`);
    let own = plugin.level;
    for (const need of plugin.needs) {
      const server = serverOf(need, plugins, given);
      if (server === undefined) throw new Err("EINVAL", `${plugin.name} needs ${need}, which no plugin serves`);
      if (server === null) continue;
      trail.push({ plugin, need });
      own = Math.max(own, visit(server) + 1);
      trail.pop();
    }
    level.set(plugin.name, own);
    return own;
  };
  plugins.forEach(visit);
  return level;
}

/** The plugins in an order in which each starts after those that it waits on; equal levels stay as they were. */
export function startOrder<T extends Needy>(plugins: readonly T[], given: readonly string[] = []): T[] {
  const level = levels(plugins, given);
  return [...plugins].sort((a, b) => level.get(a.name)! - level.get(b.name)!);
}

/** Who serves a path: a plugin, null when it is given anyway, undefined when nobody does. */
function serverOf(need: string, plugins: readonly Needy[], given: readonly string[]): Needy | null | undefined {
  let best: { length: number; server: Needy | null } | undefined;
  const offer = (path: string, server: Needy | null) => {
    const base = path.replace(/\/$/, "");
    // What stands at `/` says nothing of what is below it.
    if (need !== path && need !== base && (base === "" || !need.startsWith(`${base}/`))) return;
    if (!best || base.length > best.length) best = { length: base.length, server };
  };
  for (const path of given) offer(path, null);
  for (const plugin of plugins) plugin.serves.forEach((path) => offer(path, plugin));
  return best?.server;
}

function circle(trail: { plugin: Needy; need: string }[]): string {
  const steps = trail.map(({ plugin, need }) => `${plugin.name} needs ${need}`);
  return `${steps.join(", of ")}, of ${trail[0].plugin.name}`;
}
