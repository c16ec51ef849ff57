/**
 * plugin.json: what a plugin says of itself, and what it asks for.
 *
 * Layer: core/plugin, pure; the loader reads the file, and whoever boots the image grants what is asked. What holds
 * always: an unknown or wrong key is refused with its file, line and column, and a `Manifest` has every default filled
 * in. `plugin.schema.json` is MANIFEST_SCHEMA written out, so that editors know it; a test keeps the two equal.
 */

import { Err, excerpt } from "../err.ts";
import { quote } from "../path.ts";
import { type Json, type Parsed, parseJson } from "./json.ts";
import { check, type Fault, type Schema } from "./schema.ts";
import { type CoresEntry, SETTING_HELP } from "../sched/settings.ts";

/** The version of the plugin contract that this code speaks. */
const PLUGIN_API = 1;

/** Where a plugin runs. */
export type Placement = "inline" | "isolate" | "process";

/** What a plugin may do besides serving files: all of a kind, or a list as Deno's flags take it. */
export interface Permissions {
  net?: true | string[];
  read?: true | string[];
  write?: true | string[];
  env?: true | string[];
  run?: true | string[];
  ffi?: true | string[];
  sys?: true | string[];
  /** The kernel itself as `ctx.kernel`, for inline plugins alone: `true` needs it, `inline` does without it elsewhere. */
  kernel?: true | "inline";
  /** Trees of the name space, by path, as `ctx.files`: for a plugin in an isolate. */
  files?: string[];
  /** Kinds among these that it does without in an isolate, which can not have them. */
  optional?: string[];
}

/** What a plugin says of itself, with all defaults filled in. */
export interface Manifest {
  name: string;
  /** The plugin's own version, `1.2.3`. */
  version: string;
  api: number;
  description: string;
  /** Paths that its tree is meant to be seen at. */
  serves: string[];
  /** Paths that it waits on: it is started after those who serve them. */
  needs: string[];
  /** Its level at the least: a plugin only waits on a lower one. */
  level: number;
  placement: Placement;
  permissions: Permissions;
  /** `shared`, how many cores it has to itself, or keys of core/sched/settings.ts. */
  cores: CoresEntry;
  restart: {
    mode: "permanent" | "transient" | "temporary";
    /** More than so many restarts in so many seconds, and it is given up. */
    intensity: [count: number, seconds: number];
  };
  /** How long it may take to stop, milliseconds. */
  shutdownMs: number;
  limits: {
    /** JavaScript heap, MiB. */
    heapMb: number;
    /** Memory beside the heap, MiB: array buffers; of a process, all that is no heap. */
    memoryMb: number;
    /** Requests under way at the most; more wait their turn. */
    inFlight: number;
    /** Loads of a ring's doorbell before it parks. */
    spin: number;
  };
  /** What its options are: a schema with `properties`. */
  options: Schema;
}

const GRANT: Schema = { anyOf: [{ enum: [true] }, { type: "array", items: { type: "string" } }] };
const NAME: Schema = {
  type: "string",
  pattern: "^[a-z][a-z0-9_-]{0,31}$",
  description: "a name is lower-case letters, digits, - and _, at most 32, a letter first",
};
/** Names that a plugin's directory in /sys/plugins can not have: files stand there. */
const TAKEN_NAMES = ["ctl", "status"];

/** Refuses what no instance of a plugin can be called: it is a name in /sys/plugins, and `#name.word` has a dot in it. */
export function checkInstanceName(name: string): void {
  if (TAKEN_NAMES.includes(name)) {
    throw new Err("EINVAL", `no plugin can be called ${name}: /sys/plugins has that file`);
  }
  if (!new RegExp(NAME.pattern!).test(name)) throw new Err("EINVAL", `${quote(excerpt(name))}: ${NAME.description}`);
}

const PATH: Schema = { type: "string", pattern: "^(/|#)", description: "a path begins with / or #" };
const PATHS: Schema = { anyOf: [PATH, { type: "array", items: PATH }], default: [] };
const RESTART = { mode: "permanent", intensity: [5, 30] as [number, number] } as const;
/** How it runs on cores. */
export const CORES: Schema = {
  description: "shared, how many cores it has to itself, or how it runs on them",
  anyOf: [{ enum: ["shared"] }, { type: "integer", minimum: 1, maximum: 1024 }, {
    type: "object",
    properties: Object.fromEntries(
      Object.entries(SETTING_HELP).map(([key, [type, description]]) => [key, { type, description }]),
    ),
  }],
};
const MODE: Schema = {
  enum: ["permanent", "transient", "temporary"],
  description: "restarted always, after an abnormal end, never",
};
/** One option, or all of them: the subset of JSON schema that an option can use. */
const OPTION: Schema = {
  type: "object",
  properties: {
    type: { enum: ["null", "boolean", "integer", "number", "string", "array", "object"] },
    description: { type: "string" },
    default: {},
    enum: { type: "array" },
    minimum: { type: "number" },
    maximum: { type: "number" },
    minItems: { type: "integer", minimum: 0 },
    maxItems: { type: "integer", minimum: 0 },
    pattern: { type: "string" },
    additionalProperties: { anyOf: [{ enum: [false] }, { $ref: "#/$defs/option" }] },
    required: { type: "array", items: { type: "string" } },
    properties: { type: "object", additionalProperties: { $ref: "#/$defs/option" } },
    items: { $ref: "#/$defs/option" },
  },
};

/** What a plugin.json looks like. */
export const MANIFEST_SCHEMA: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "ring9 plugin manifest",
  type: "object",
  required: ["name", "version", "api"],
  properties: {
    $schema: { type: "string", description: "where editors find this schema" },
    name: { ...NAME },
    version: { type: "string", pattern: "^\\d+\\.\\d+\\.\\d+", description: "a version is three numbers, 1.2.3" },
    api: { enum: [PLUGIN_API], description: "the version of the plugin contract" },
    description: { type: "string", default: "", description: "one line" },
    serves: { ...PATHS, description: "paths that its tree is meant to be seen at" },
    needs: { ...PATHS, description: "paths that it waits on" },
    level: { type: "integer", minimum: 0, maximum: 99, default: 0, description: "it only waits on lower ones" },
    placement: { enum: ["inline", "isolate", "process"], default: "isolate", description: "where it runs" },
    permissions: {
      type: "object",
      default: {},
      description: "what it may do: true, or a list as Deno's permission flags take it",
      properties: {
        net: GRANT,
        read: GRANT,
        write: GRANT,
        env: GRANT,
        run: GRANT,
        ffi: GRANT,
        sys: GRANT,
        kernel: { enum: [true, "inline"], description: "the kernel itself; inline: only where it is placed so" },
        files: { type: "array", items: PATH, description: "trees of the name space that an isolate may use" },
        optional: {
          type: "array",
          items: { enum: ["net", "read", "write", "env", "run", "ffi", "sys"] },
          description: "those of them that it does without in an isolate",
        },
      },
    },
    cores: { ...CORES, default: "shared" },
    restart: {
      default: {},
      description: "what happens when it ends: a mode, or a mode and an intensity",
      anyOf: [MODE, {
        type: "object",
        properties: {
          mode: { ...MODE, default: RESTART.mode },
          intensity: {
            type: "array",
            items: { type: "integer", minimum: 1, maximum: 86400 },
            minItems: 2,
            maxItems: 2,
            default: RESTART.intensity,
            description: "how many restarts in how many seconds are too many",
          },
        },
      }],
    },
    shutdownMs: {
      type: "integer",
      minimum: 0,
      maximum: 60000,
      default: 2000,
      description: "how long it may take to stop",
    },
    limits: {
      type: "object",
      default: {},
      properties: {
        heapMb: { type: "integer", minimum: 8, maximum: 65536, default: 128, description: "JavaScript heap, MiB" },
        memoryMb: { type: "integer", minimum: 64, maximum: 65536, default: 384, description: "array buffers, MiB" },
        inFlight: { type: "integer", minimum: 1, maximum: 65535, default: 1024, description: "requests under way" },
        spin: { type: "integer", minimum: 0, maximum: 1000000, default: 1000, description: "looks before it parks" },
      },
    },
    options: { $ref: "#/$defs/option" },
  },
  $defs: { option: OPTION },
};

/** Reads a manifest. Refused with EINVAL and the place: `plugins/x/plugin.json:4:3: unknown key "leval" (did you mean "level"?)`. */
export function parseManifest(text: string, file: string): Manifest {
  const parsed = parseJson(text, file);
  const { $schema: _, ...manifest } = checked(MANIFEST_SCHEMA, parsed, file);
  const made = { options: {}, ...manifest, ...normal(manifest) } as unknown as Manifest;
  if (made.permissions.kernel === true && made.placement !== "inline") {
    throw refusal(parsed, file, {
      path: ["permissions", "kernel"],
      on: "key",
      message: `the kernel is for inline plugins, and this one's placement is ${made.placement}`,
    });
  }
  checkOption(made.options, ["options"], parsed, file);
  return made;
}

/** The options of a plugin with defaults filled in; an unknown or wrong one is refused with EINVAL and its path. */
export function checkOptions(manifest: Manifest, given: Record<string, unknown>): Record<string, unknown> {
  const result = check(optionsSchema(manifest), given as Json);
  if (result.fault) throw new Err("EINVAL", `${manifest.name}: options: ${result.fault.message}`);
  return result.value as Record<string, unknown>;
}

/** The schema that a plugin's options are checked against: none at all unless it names some. */
function optionsSchema(manifest: Manifest): Schema {
  return { ...manifest.options, type: "object", properties: manifest.options.properties ?? {} };
}

/** Checks a parsed text, and refuses it with the place of the first fault. */
export function checked(schema: Schema, parsed: Parsed, file: string): { [key: string]: Json } {
  const result = check(schema, parsed.value);
  if (result.fault) throw refusal(parsed, file, result.fault);
  return result.value as { [key: string]: Json };
}

/** What is thrown for a fault: `file:line:column: what`. */
export function refusal(parsed: Parsed, file: string, fault: Fault): Err {
  const { line, column } = parsed.at(fault.path, fault.on);
  return new Err("EINVAL", `${file}:${line}:${column}: ${fault.message}`);
}

/** The short forms of a manifest written out: one path for a list of one, a restart mode for the whole policy. */
function normal({ serves, needs, restart }: { [key: string]: Json }): Partial<Manifest> {
  const intensity: [number, number] = [...RESTART.intensity];
  const policy = typeof restart === "string" ? { mode: restart, intensity } : restart;
  return {
    serves: [serves].flat() as string[],
    needs: [needs].flat() as string[],
    restart: policy as Manifest["restart"],
  };
}

/** A pattern has to be a regular expression, and a default something that its own schema takes. */
function checkOption(schema: Schema, path: (string | number)[], parsed: Parsed, file: string): void {
  if (schema.pattern !== undefined && !isRegExp(schema.pattern)) {
    const message = `not a regular expression: ${schema.pattern}`;
    throw refusal(parsed, file, { path: [...path, "pattern"], on: "value", message });
  }
  if (schema.default !== undefined) {
    const { fault } = check(schema, schema.default);
    if (fault) {
      const message = `the default is not what the option takes: ${JSON.stringify(schema.default)}`;
      throw refusal(parsed, file, { path: [...path, "default"], on: "value", message });
    }
  }
  for (const [name, option] of Object.entries(schema.properties ?? {})) {
    checkOption(option, [...path, "properties", name], parsed, file);
  }
  if (schema.items) checkOption(schema.items, [...path, "items"], parsed, file);
}

function isRegExp(pattern: string): boolean {
  try {
    new RegExp(pattern, "u");
    return true;
  } catch {
    return false;
  }
}
