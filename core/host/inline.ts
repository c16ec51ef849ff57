/**
 * Inline placement: a plugin in the kernel's own isolate, reached by calls.
 *
 * Layer: core/host, in the kernel isolate. It is trusted: it has all that the kernel has. So that it can be reloaded,
 * every module of its folder is imported under a URL of its generation (`mod.ts?generation=3`), which the engine has
 * never seen; modules outside the folder are shared with the kernel. The engine keeps the old modules, so a reload
 * costs their memory: an isolate does not.
 */

import { registerHooks } from "node:module";
import type { PluginSpec } from "./hosted.ts";
import { type Started, startPlugin } from "./plugin_run.ts";

const GENERATION = "generation";

/** Folders of inline plugins, as URLs that end with a slash. */
const folders = new Set<string>();
let hooked = false;

/** What an inline plugin is started with. */
export interface InlineSpec extends PluginSpec {
  readonly generation: number;
  /** The kernel, for a manifest that asks for it. */
  readonly kernel?: unknown;
  log(text: string): void;
}

/** Imports the plugin's modules afresh and starts it. Throws what is wrong with it. */
export async function startInline(spec: InlineSpec): Promise<Started> {
  hook();
  folders.add(new URL("./", spec.module).href);
  const module = `${spec.module}?${GENERATION}=${spec.generation}`;
  return await startPlugin({ ...spec, module }, spec);
}

/** Lets the modules of a plugin's folder inherit the generation of the one that imports them. */
function hook(): void {
  if (hooked) return;
  hooked = true;
  registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context);
      const generation = context.parentURL && generationOf(context.parentURL);
      if (!generation || generationOf(found.url) || !inFolder(found.url)) return found;
      return { ...found, url: `${found.url}?${GENERATION}=${generation}` };
    },
  });
}

function generationOf(url: string): string | null {
  return url.includes(`?${GENERATION}=`) ? new URL(url).searchParams.get(GENERATION) : null;
}

function inFolder(url: string): boolean {
  for (const folder of folders) if (url.startsWith(folder)) return true;
  return false;
}
