/**
 * srv: posted services. The manual page is srv.md.
 *
 * Layer: a plugin, inline, with the kernel; `dev.ts` is the tree.
 */

import { definePlugin } from "../../core/plugin/plugin.ts";
import type { Kernel } from "../../core/kernel.ts";
import { Err } from "../../core/err.ts";
import { SrvDev } from "./dev.ts";

export default definePlugin({
  start(ctx) {
    const kernel = ctx.kernel as Kernel | undefined;
    if (!kernel) throw new Err("EPERM", "srv needs the kernel: place it inline, with permissions.kernel");
    return new SrvDev(ctx.name, kernel);
  },
});
