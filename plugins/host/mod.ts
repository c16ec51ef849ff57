/**
 * host: a directory of the host as a tree.
 *
 * Layer: a plugin. `dev.ts` is the tree; this reads its options. The manual page is host.md.
 */

import { definePlugin } from "../../core/plugin/plugin.ts";
import { HostDev, type HostOptions } from "./dev.ts";

export { HostDev, type HostOptions } from "./dev.ts";

export default definePlugin({
  start(ctx) {
    const { root, writable = false, follow = "open", maxOpen = 256 } = ctx.options;
    const options = { root: String(root), writable: writable === true, follow, maxOpen: Number(maxOpen) };
    const dev = new HostDev(ctx.name, ctx.hostowner, options as HostOptions);
    ctx.defer(() => dev.close());
    return dev;
  },
});
