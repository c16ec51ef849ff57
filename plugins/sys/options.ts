/**
 * The words behind `load PLUGIN` in /sys/plugins/ctl.
 *
 * Layer: plugins/sys, pure. A word with `=` is an option of the plugin: a JSON value, or else text.
 */

import { Err } from "../../core/err.ts";
import type { Placement } from "../../core/plugin/manifest.ts";

/** What the words say. */
export interface LoadWords {
  as?: string;
  placement?: Placement;
  cpu?: number;
  options: Record<string, unknown>;
}

/** Reads `as NAME placement P cpu N option=value ...`, in any order. */
export function tokenizeOptions(words: readonly string[]): LoadWords {
  const load: LoadWords = { options: {} };
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const equals = word.indexOf("=");
    if (equals > 0) load.options[word.slice(0, equals)] = optionValue(word.slice(equals + 1));
    else if (i + 1 === words.length) throw new Err("EINVAL", `nothing follows "${word}"`);
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
        throw new Err("EINVAL", `placement is inline, isolate or process, not "${value}"`);
      }
      load.placement = value;
      return;
    case "cpu":
      if (!/^\d{1,4}$/.test(value)) throw new Err("EINVAL", `cpu is the number of a CPU, not "${value}"`);
      load.cpu = Number(value);
      return;
  }
  throw new Err("EINVAL", `"${word}" is none of: as NAME, placement P, cpu N, option=value`);
}

function optionValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // a bare word is itself
  }
}
