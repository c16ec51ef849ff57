/**
 * host: a directory of the host as a tree.
 *
 * Layer: a plugin. `dev.ts` is the tree; this reads its options. The manual page is host.md.
 */

import { Err, excerpt, PATH_CHARS, toErr } from "../../core/err.ts";
import { quote } from "../../core/path.ts";
import { definePlugin } from "../../core/plugin/plugin.ts";
import { HostDev, type HostOptions } from "./dev.ts";

export { HostDev, type HostOptions } from "./dev.ts";

/** What a root begins with that is in the system's own folder, wherever that is. */
const SYSTEM = "$ring9/";

export default definePlugin({
  start(ctx) {
    const { root, writable = false, follow = "open", maxOpen = 256 } = ctx.options;
    const options = { root: pathOf(String(root)), writable: writable === true, follow, maxOpen: Number(maxOpen) };
    const dev = open(ctx.name, ctx.hostowner, options as HostOptions);
    ctx.defer(() => dev.close());
    return dev;
  },
});

function open(name: string, hostowner: string, options: HostOptions): HostDev {
  try {
    return new HostDev(name, hostowner, options);
  } catch (thrown) {
    const { code, message } = toErr(thrown);
    throw new Err(code, `root ${quote(excerpt(options.root, PATH_CHARS))}: ${message}`, { cause: thrown });
  }
}

function pathOf(root: string): string {
  if (!root.startsWith(SYSTEM)) return root;
  return decodeURIComponent(new URL(`../../${root.slice(SYSTEM.length)}`, import.meta.url).pathname);
}
