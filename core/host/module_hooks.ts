/**
 * What an isolate or process of a plugin may import: only what is served to it, by synchronous hooks on module loading.
 *
 * Layer: core/host. Runs inside the confined side, before any code of the plugin; the other end is modules.ts. It is
 * self-contained (`node:module` only), because an isolate gets it as a data: URL, at a moment when no file can be read.
 *
 * What holds always:
 * - `resolve` never throws. Deno lets a static import of a `node:` module through when the hook throws; so what is
 *   refused resolves to a `denied:` URL, and `load` is what throws.
 * - Nothing here calls a method that the plugin could have replaced: they are taken when this file is loaded.
 */

import { registerHooks } from "node:module";

/** A module as it is served: its text, or why there is none. */
export type Served = { readonly source: string; readonly format: "module" | "json" } | { readonly error: string };

/** What `hookModules` needs to know. */
export interface HookOptions {
  /** Names of the import map: `ring9/plugin` and its URL. */
  readonly names: Readonly<Record<string, string>>;
  /** Modules of Deno itself that may be imported, `node:` and all. Null: every one (permissions hold it back). */
  readonly builtins: readonly string[] | null;
  /** Fetches a module, blocking. `type` is the import attribute, or empty. */
  ask(url: string, type: string): Served;
}

const DENIED = "denied:";
/** Modules of a program's name space; the kernel serves them to programs alone. */
const NAME_SPACE = "ns:";

const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const startsWith = uncurry(String.prototype.startsWith) as unknown as (text: string, start: string) => boolean;
const slice = uncurry(String.prototype.slice) as unknown as (text: string, start: number) => string;
const hrefOf = uncurry(Object.getOwnPropertyDescriptor(URL.prototype, "href")!.get!) as unknown as (url: URL) => string;
const NativeURL = URL;
const NativeError = Error;

/** From now on every import of this isolate goes through `ask`. There is no way back. */
export function hookModules({ names, builtins, ask }: HookOptions): void {
  const known = table(names);
  const allowed = builtins && table(Object.fromEntries(builtins.map((name) => [name, name])));
  const isBuiltin = (spec: string) => startsWith(spec, "node:") && (!allowed || spec in allowed);

  registerHooks({
    resolve(spec, context) {
      if (isBuiltin(spec)) return { url: spec, shortCircuit: true };
      const url = spec in known ? known[spec] : absolute(spec, context.parentURL);
      const served = startsWith(url, "file:") || startsWith(url, NAME_SPACE);
      return { url: served ? url : DENIED + spec, format: "module", shortCircuit: true };
    },
    load(url, context, next) {
      if (isBuiltin(url)) return next(url, context);
      if (startsWith(url, DENIED)) throw new NativeError(whyDenied(slice(url, DENIED.length)));
      const served = ask(url, context.importAttributes?.type ?? "");
      if ("error" in served) throw new NativeError(served.error);
      return { source: served.source, format: served.format, shortCircuit: true };
    },
  });
}

/** An object with nothing inherited, so that `in` means what it says. */
function table(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.freeze(Object.assign(Object.create(null), entries));
}

function absolute(spec: string, parent: string | undefined): string {
  try {
    return hrefOf(parent === undefined ? new NativeURL(spec) : new NativeURL(spec, parent));
  } catch {
    return "";
  }
}

function whyDenied(spec: string): string {
  return `cannot import ${spec}: a plugin imports only its own files, the project's, and "ring9/plugin"` +
    (startsWith(spec, "node:") ? " (this built-in module is not open to it)" : "");
}
