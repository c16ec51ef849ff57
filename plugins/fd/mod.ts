/**
 * fd: a proc's own open files, by number.
 *
 * Layer: a plugin; inline, for a proc's files are in the kernel's isolate. The manual page is fd.md. See dup(3) of Plan 9.
 */

import { definePlugin } from "../../core/plugin/plugin.ts";
import { FdDev } from "./dev.ts";

export default definePlugin({ start: (ctx) => new FdDev(ctx.name, ctx.clock.now()) });
