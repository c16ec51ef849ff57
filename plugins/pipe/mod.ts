/**
 * pipe: two-way pipes; each attach makes one.
 *
 * Layer: a plugin. `dev.ts` is the tree. The manual page is pipe.md.
 */

import { definePlugin } from "../../core/plugin/plugin.ts";
import { PipeDev } from "./dev.ts";

export { PipeDev } from "./dev.ts";

export default definePlugin({
  start: (ctx) => new PipeDev(ctx.name, ctx.clock, Number(ctx.options.limit ?? 65536)),
});
