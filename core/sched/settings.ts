/**
 * How a plugin's isolate or process runs on cores: the keys of plugin.json's and an image's `cores`, and of ctl files.
 *
 * Layer: core/sched, pure; control.ts acts on it. The words are Junction's; `wired` is Plan 9's.
 */

import { Err, excerpt } from "../err.ts";
import { type Ask, NO_CORES } from "./client.ts";
import { formatCpus, parseCpus } from "./cpulist.ts";

/** How its heart is watched. */
export interface Vigil {
  /** Milliseconds without a heartbeat after which it is told of; 0: it is not. */
  readonly warn: number;
  /** Milliseconds without a heartbeat that are too many; 0: none are. */
  readonly watchdog: number;
  /** What happens then: it is killed (and started again, as its restart policy says), or left alone and told of. */
  readonly hang: "kill" | "report";
}

/** What is set for one. */
export interface CoreSettings extends Omit<Ask, "want">, Vigil {
  /** How many cores it wants now; `auto`: what it was guaranteed, and more while requests wait too long. */
  readonly want: number | "auto";
  /** Looks at its rings before it goes to sleep; undefined: as its limits say. */
  readonly spinning: number | undefined;
  /** When its oldest request has waited longer, microseconds, it is to have a core; 0: never. */
  readonly qdelay: number;
  /** How long it runs before others have their turn, microseconds; 0: the host's own measure. */
  readonly quantum: number;
  /** Cores that it is kept on while it has none to itself. */
  readonly pin: readonly number[] | undefined;
  /** When it has rested so long, milliseconds, its promised cores are lent to who is short of them; 0: never. */
  readonly lend: number;
}

/** What holds when nothing is said. */
export const DEFAULT_SETTINGS: CoreSettings = {
  ...NO_CORES,
  want: "auto",
  spinning: undefined,
  qdelay: 0,
  quantum: 0,
  pin: undefined,
  lend: 1000,
  warn: 2000,
  watchdog: 5000,
  hang: "kill",
};

/** The `cores` of a manifest or an image: shared, how many it has to itself, or keys. */
export type CoresEntry = "shared" | number | Record<string, string | number>;

/** Each key: its JSON type in a manifest, and what it means. */
export const SETTING_HELP: { [K in keyof CoreSettings]: ["integer" | "string" | ("integer" | "string")[], string] } = {
  cores: ["integer", "the most cores that it may have to itself"],
  guaranteed: ["integer", "how many of them are promised"],
  want: [["integer", "string"], "how many it wants now, or auto"],
  spinning: [["integer", "string"], "looks at its rings before it sleeps, or auto"],
  qdelay: ["integer", "a request that waits longer, microseconds, brings it a core; 0: none does"],
  quantum: ["integer", "how long it runs before others have their turn, microseconds; 0: the host's measure"],
  wired: ["string", "the only cores that will do, 2-3,8; or none"],
  pin: ["string", "where it is kept while it has no core to itself, 0-1; or none"],
  siblings: ["string", "any, both (it uses all threads of its cores), none (the others stay idle)"],
  priority: [
    "string",
    "lc (latency-critical), be (best-effort), or rt (real-time on cores that it has to itself, else lc)",
  ],
  lend: ["integer", "milliseconds that it rests until its promised cores are lent to who is short of them; 0: never"],
  warn: ["integer", "milliseconds without a heartbeat after which it is told of; 0: it is not"],
  watchdog: ["integer", "milliseconds without a heartbeat that are too many; 0: nobody looks"],
  hang: ["string", "what happens then: kill or report"],
};

/** How one key reads: EINVAL for what it does not take. */
const KEYS: { [K in keyof CoreSettings]: (text: string) => CoreSettings[K] } = {
  cores: (text) => count(text, 1024),
  guaranteed: (text) => count(text, 1024),
  want: (text) => text === "auto" ? "auto" : count(text, 1024),
  spinning: (text) => text === "auto" ? undefined : count(text, 1e7),
  qdelay: (text) => count(text, 1e8),
  quantum: (text) => quantum(text),
  wired: cpus,
  pin: cpus,
  siblings: (text) => oneOf(text, ["any", "both", "none"]),
  priority: (text) => oneOf(text, ["rt", "lc", "be"]),
  lend: (text) => count(text, 1e8),
  warn: (text) => count(text, 1e8),
  watchdog: (text) => count(text, 1e8),
  hang: (text) => oneOf(text, ["kill", "report"]),
};

/** The keys, for messages and completion. */
export const SETTING_KEYS = Object.keys(KEYS) as (keyof CoreSettings)[];

/** Reads one key. EINVAL names the key and what it takes. */
export function parseSetting(key: string, text: string): Partial<CoreSettings> {
  if (!Object.hasOwn(KEYS, key)) throw new Err("EINVAL", `"${excerpt(key)}" is none of: ${SETTING_KEYS.join(" ")}`);
  try {
    return { [key]: KEYS[key as keyof CoreSettings](text) };
  } catch (e) {
    throw new Err("EINVAL", `${key}: ${(e as Error).message}`);
  }
}

/** Reads `key value key value ...`. */
export function parseSettings(words: readonly string[]): Partial<CoreSettings> {
  if (words.length === 0 || words.length % 2 !== 0) throw new Err("EINVAL", "wanted: key value [key value ...]");
  let all: Partial<CoreSettings> = {};
  for (let i = 0; i < words.length; i += 2) all = { ...all, ...parseSetting(words[i], words[i + 1]) };
  return all;
}

/** The settings of a manifest or an image. A number n is n cores, all guaranteed. */
export function entrySettings(entry: CoresEntry | undefined): Partial<CoreSettings> {
  if (entry === undefined || entry === "shared") return {};
  if (typeof entry === "number") return { cores: entry, guaranteed: entry };
  return parseSettings(Object.entries(entry).flatMap(([key, value]) => [key, String(value)]));
}

/** A setting as text that reads back. */
export function settingText(settings: CoreSettings, key: keyof CoreSettings): string {
  const value = settings[key];
  if (value === undefined) return key === "spinning" ? "auto" : "-";
  return typeof value === "object" ? formatCpus(value) : String(value);
}

function count(text: string, most: number): number {
  const n = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (!(n <= most)) throw new Err("EINVAL", `"${excerpt(text)}" is no integer from 0 to ${most}`);
  return n;
}

/** Linux takes slices from 0.1 to 100 ms. */
function quantum(text: string): number {
  const us = count(text, 100_000);
  if (us !== 0 && us < 100) {
    throw new Err("EINVAL", `"${excerpt(text)}" is too short: 100 to 100000 microseconds, or 0`);
  }
  return us;
}

function cpus(text: string): number[] | undefined {
  if (text === "-" || text === "none") return undefined;
  const list = parseCpus(text);
  if (list.length === 0) throw new Err("EINVAL", "wanted a list of cores (0-3,5), or none");
  return list;
}

function oneOf<T extends string>(text: string, words: readonly T[]): T {
  const found = words.find((word) => word === text);
  if (!found) throw new Err("EINVAL", `"${excerpt(text)}" is none of: ${words.join(" ")}`);
  return found;
}
