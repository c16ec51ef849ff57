/**
 * image.json: what a system boots with: which plugins, where they run, with what options, and what it is called.
 *
 * Layer: core/plugin, pure, beside the manifest and as strict. It reads no file: whoever boots resolves the plugins'
 * names to folders. `image.schema.json` is IMAGE_SCHEMA written out.
 */

import { parseJson } from "./json.ts";
import { checked, CORES, type Placement, refusal } from "./manifest.ts";
import type { CoresEntry } from "../sched/settings.ts";
import type { Schema } from "./schema.ts";

/** One plugin of an image. */
export interface ImagePlugin {
  /** A folder of `plugins/`, or a path (`./x`, `/x`) to one. */
  plugin: string;
  /** What this instance is called; the plugin's own name when not said. */
  as: string;
  /** Where it runs, when not where its manifest says. */
  placement?: Placement;
  options: Record<string, unknown>;
  /** The CPU that its isolate is pinned to. */
  cpu?: number;
  /** How it runs on cores, key by key over its manifest. */
  cores?: CoresEntry;
}

/** What to boot, with all defaults filled in. */
export interface Image {
  name: string;
  description: string;
  plugins: ImagePlugin[];
  /** The file of bind and mount lines, beside image.json. */
  namespace: string;
  /** Dial strings to listen on besides what the command line says: `tcp!127.0.0.1!5640`. */
  listen: string[];
  /** What the system calls itself; the host's name when not said. */
  sysname?: string;
  /** Who runs it; the user who boots when not said. */
  hostowner?: string;
  /** Cores that are never given to a plugin, `0-1`; the first one when not said. */
  hostCores?: string;
}

const NAME = "^[a-z][a-z0-9_-]{0,31}$";

/** What an image.json looks like. */
export const IMAGE_SCHEMA: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "ring9 image",
  type: "object",
  required: ["name", "plugins"],
  properties: {
    $schema: { type: "string", description: "where editors find this schema" },
    name: { type: "string", pattern: NAME, description: "lower-case letters, digits, - and _, a letter first" },
    description: { type: "string", default: "", description: "one line" },
    plugins: {
      type: "array",
      items: {
        type: "object",
        required: ["plugin"],
        properties: {
          plugin: {
            type: "string",
            pattern: "^([a-z][a-z0-9_-]{0,31}|\\.{0,2}/.+)$",
            description: "a folder of plugins/, or a path to one that begins with ./ ../ or /",
          },
          as: { type: "string", pattern: NAME, description: "what this instance is called" },
          placement: { enum: ["inline", "isolate", "process"], description: "where it runs" },
          options: { type: "object", default: {}, description: "as its manifest says" },
          cpu: { type: "integer", minimum: 0, maximum: 4095, description: "the CPU its isolate is pinned to" },
          cores: CORES,
        },
      },
    },
    namespace: { type: "string", default: "namespace", description: "the file of bind and mount lines" },
    listen: {
      type: "array",
      default: [],
      items: { type: "string", pattern: "^[a-z]+!.+", description: "a dial string, tcp!127.0.0.1!5640" },
      description: "where it listens",
    },
    sysname: { type: "string", pattern: "^\\S+$", description: "what the system calls itself, one word" },
    hostowner: { type: "string", pattern: "^\\S+$", description: "who runs it, one word" },
    hostCores: { type: "string", pattern: "^[0-9,-]+$", description: "cores that no plugin is given, 0-1" },
  },
};

/** Reads an image. Refused with EINVAL and the place, as a manifest is; so are two instances of one name. */
export function parseImage(text: string, file: string): Image {
  const parsed = parseJson(text, file);
  const { $schema: _, ...value } = checked(IMAGE_SCHEMA, parsed, file);
  const image = value as unknown as Image;
  const seen = new Set<string>();
  image.plugins.forEach((entry, i) => {
    entry.as ??= entry.plugin.replace(/\/+$/, "").split("/").at(-1)!;
    if (seen.has(entry.as)) {
      const message = `two plugins are called ${entry.as}: give one of them another name with "as"`;
      throw refusal(parsed, file, { path: ["plugins", i], on: "value", message });
    }
    seen.add(entry.as);
  });
  return image;
}
