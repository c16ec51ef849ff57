/**
 * ram: a file system in memory.
 *
 * Layer: a plugin. `dev.ts` is the tree; this reads its options. The manual page is ram.md.
 */

import { definePlugin } from "../../core/plugin/plugin.ts";
import { RamDev, type RamOptions } from "./dev.ts";

export { RamDev, type RamOptions } from "./dev.ts";

/** The options, with the manifest's defaults for those that are missing. */
export function ramOptions(options: Readonly<Record<string, unknown>>): RamOptions {
  const number = (name: string, otherwise: number) => Number(options[name] ?? otherwise);
  return {
    limits: {
      bytes: number("bytes", 2 ** 31),
      files: number("files", 262_144),
      userBytes: number("userBytes", 0),
      userFiles: number("userFiles", 0),
    },
    mode: parseInt(String(options.mode ?? "0777"), 8),
    uid: number("uid", 0),
    gid: number("gid", 0),
    trees: number("trees", 1),
  };
}

export default definePlugin({
  start: (ctx) => new RamDev(ctx.name, ctx.clock, ctx.hostowner, ramOptions(ctx.options)),
});
