/**
 * The words behind `load PLUGIN` in /sys/plugins/ctl.
 *
 * Layer: plugins/sys, pure. A word with `=` is an option of the plugin: text where its manifest wants text, else JSON.
 */

import { Err, excerpt } from "../../core/err.ts";
import type { Placement } from "../../core/plugin/manifest.ts";
import { type CoresEntry, entrySettings } from "../../core/sched/settings.ts";
import type { Schema } from "../../core/plugin/schema.ts";

/** What the words say. */
export interface LoadWords {
  as?: string;
  placement?: Placement;
  cpu?: number;
  cores?: CoresEntry;
  options: Record<string, unknown>;
}

/** Reads `as NAME placement P cpu N cores C option=value ...`, in any order; `schema` is that of the plugin's options. */
export function parseLoadWords(words: readonly string[], schema: Schema): LoadWords {
  const load: LoadWords = { options: {} };
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const equals = word.indexOf("=");
    if (equals > 0) {
      const name = word.slice(0, equals);
      load.options[name] = optionValue(word.slice(equals + 1), schema.properties?.[name]?.type === "string");
    } else if (i + 1 === words.length) throw new Err("EINVAL", `nothing follows "${excerpt(word)}"`);
    else setWord(load, word, words[++i]);
  }
  return load;
}

function setWord(load: LoadWords, word: string, value: string): void {
  switch (word) {
    case "as":
      load.as = value;
      return;
    case "placement":
      if (value !== "inline" && value !== "isolate" && value !== "process") {
        throw new Err("EINVAL", `placement is inline, isolate or process, not "${excerpt(value)}"`);
      }
      load.placement = value;
      return;
    case "cpu":
      if (!/^\d{1,4}$/.test(value)) throw new Err("EINVAL", `cpu is the number of a CPU, not "${excerpt(value)}"`);
      load.cpu = Number(value);
      return;
    case "cores":
      load.cores = coresOf(value);
      return;
  }
  throw new Err("EINVAL", `"${excerpt(word)}" is none of: as NAME, placement P, cpu N, cores N, option=value`);
}

/** `2`, or `cores:2,guaranteed:1,priority:be`. */
function coresOf(text: string): CoresEntry {
  if (/^\d{1,4}$/.test(text)) return Number(text);
  const entry = Object.fromEntries(text.split(",").map((pair) => pair.split(":", 2)));
  entrySettings(entry); // says what is wrong with it
  return entry;
}

function optionValue(text: string, isText: boolean): unknown {
  if (isText) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text; // the check of the options says what is wrong with it
  }
}
