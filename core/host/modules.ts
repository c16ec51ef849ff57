/**
 * ModuleServer: hands modules to plugins that can not read them themselves, and refuses all but the open ones.
 *
 * Layer: core/host, in the kernel isolate, which may read files; module_hooks.ts is the other end. A module is open
 * when its real path (symlinks followed) lies under a root: the plugin's own folder, or one of the project's layers.
 *
 * TypeScript is stripped, not compiled: types become blanks, so that lines and columns of an error are those of the
 * source. A file with syntax that can not be blanked out (enum, parameter properties) is transformed. Nothing is
 * type-checked. A type has to be imported as one (`import type`), as with `verbatimModuleSyntax`.
 */

import { stripTypeScriptTypes } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Err, toErr } from "../err.ts";
import type { Served } from "./module_hooks.ts";

/** The largest module, bytes. */
const MAX_MODULE_BYTES = 8 << 20;

/** Modules that are remembered of one plugin. */
const MAX_GRAPH = 1000;

/** Built-in modules of Deno that an isolate may import: pure, and none that blocks or reaches the process. */
export const ISOLATE_BUILTINS: readonly string[] = [
  "node:assert",
  "node:assert/strict",
  "node:buffer",
  "node:events",
  "node:path",
  "node:path/posix",
  "node:querystring",
  "node:string_decoder",
  "node:timers",
  "node:url",
  "node:util",
];

/** The project's folders that every plugin may import from. */
const OPEN = ["core", "devices", "net", "fs"];

interface Cached {
  readonly mtimeMs: number;
  readonly size: number;
  readonly served: Served;
}

/** Serves modules of one project. */
export class ModuleServer {
  /** The import map's names and their URLs. */
  readonly names: Readonly<Record<string, string>>;
  /** The project's folder, real path, no slash at the end. */
  readonly project: string;
  readonly #open: string[];
  readonly #cache = new Map<string, Cached>();
  /** What each plugin's module has asked for, by its URL: the modules of its last starts. */
  readonly #graphs = new Map<string, Set<string>>();

  /** `project` is the URL of the folder that holds core/. */
  constructor(project: URL = new URL("../../", import.meta.url)) {
    this.project = Deno.realPathSync(fileURLToPath(project)).replace(/\/$/, "");
    this.#open = OPEN.map((name) => `${this.project}/${name}`);
    const url = (path: string) => pathToFileURL(`${this.project}/${path}`).href;
    this.names = {
      "ring9/plugin": url("core/plugin/author.ts"),
      "ring9/proc": url("core/proc_author.ts"),
      "ring9/net": url("net/dial/mod.ts"),
      "deno-9p": url("core/p9/mod.ts"),
    };
  }

  /** The folder that the plugin of this module may import from besides: real path. Throws ENOENT, EACCES. */
  folderOf(module: string): string {
    const path = this.#realPath(module);
    return path.slice(0, path.lastIndexOf("/"));
  }

  /**
   * What the plugin of this module is about to ask for, as far as its earlier starts, or another plugin's, tell: it
   * then need not ask, which takes a tenth of a millisecond a module, and more on a busy machine.
   */
  ahead(module: string, folder: string): Map<string, Served> {
    const graph = this.#graphs.get(module) ?? this.#graphs.values().next().value ?? [];
    const found = new Map<string, Served>();
    for (const url of graph) {
      const served = this.#serve(url, "", folder);
      if ("source" in served) found.set(url, served);
    }
    return found;
  }

  /**
   * A module's text for the plugin of `module`, whose own folder is `folder`. Never throws: an error is served, too.
   */
  serve({ url, type, module, folder }: { url: string; type: string; module: string; folder: string }): Served {
    const served = this.#serve(url, type, folder);
    if (type !== "" || "error" in served) return served;
    const graph = this.#graphs.get(module);
    if (!graph) this.#graphs.set(module, new Set([url]));
    else if (graph.size < MAX_GRAPH) graph.add(url);
    return served;
  }

  #serve(url: string, type: string, folder: string): Served {
    try {
      if (type !== "" && type !== "json") {
        throw new Err("EACCES", `imports of type "${type}" are not served to plugins`);
      }
      const path = this.#realPath(url);
      if (!this.#isOpen(path, folder)) {
        throw new Err("EACCES", `it is outside ${folder} and the project's ${OPEN.join(", ")}`);
      }
      return this.#load(path, url, type);
    } catch (e) {
      return { error: `cannot import ${url}: ${toErr(e).message}` };
    }
  }

  #realPath(url: string): string {
    const at = new URL(url);
    if (at.protocol !== "file:") throw new Err("EACCES", "only files are served to plugins");
    try {
      return Deno.realPathSync(fileURLToPath(at));
    } catch (e) {
      if (e instanceof Deno.errors.NotFound) throw new Err("ENOENT");
      throw toErr(e);
    }
  }

  #isOpen(path: string, folder: string): boolean {
    return [...this.#open, folder].some((root) => path === root || path.startsWith(`${root}/`));
  }

  #load(path: string, url: string, type: string): Served {
    const { mtime, size, isFile } = Deno.statSync(path);
    if (!isFile) throw new Err("EACCES", "it is not a file");
    if (size > MAX_MODULE_BYTES) throw new Err("EFBIG", `it is larger than ${MAX_MODULE_BYTES} bytes`);
    const mtimeMs = mtime?.getTime() ?? NaN, known = this.#cache.get(path);
    if (known && known.mtimeMs === mtimeMs && known.size === size) return known.served;
    const served = translate(Deno.readTextFileSync(path), { path, url, type });
    this.#cache.set(path, { mtimeMs, size, served });
    return served;
  }
}

/** TypeScript as JavaScript. Throws EINVAL with the place of the fault. */
export function stripTypes(text: string, url: string): string {
  try {
    return stripTypeScriptTypes(text);
  } catch (e) {
    if ((e as { code?: string }).code !== "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX") throw e;
    try {
      return stripTypeScriptTypes(text, { mode: "transform", sourceUrl: url });
    } catch (e) {
      throw new Err("EINVAL", (e as Error).message.replace(/at file:\S+:(\d+:\d+)$/, "at $1"));
    }
  }
}

/** A module's text as it is served, by the ending of its path. */
export function translate(text: string, { path, url, type }: { path: string; url: string; type: string }): Served {
  const ext = path.slice(path.lastIndexOf(".") + 1);
  if (type === "json" || ext === "json") {
    if (type !== "json" || ext !== "json") throw new Err("EINVAL", `a .json file is imported with { type: "json" }`);
    return { source: text, format: "json" };
  }
  if (ext === "ts" || ext === "mts") return { source: stripTypes(text, url), format: "module" };
  if (ext === "js" || ext === "mjs") return { source: text, format: "module" };
  throw new Err("EACCES", "only .ts, .mts, .js, .mjs and .json files are served to plugins");
}
