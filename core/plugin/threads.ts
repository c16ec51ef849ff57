/**
 * The threads of a plugin: a scheduler that goes when the plugin does.
 *
 * Layer: core/plugin, over core/sched/threads.ts, for authors.
 */

import { Sched, type SchedOptions } from "../sched/threads.ts";
import type { Ctx } from "./plugin.ts";

/**
 * A scheduler for the threads of a plugin, on its clock and event loop. They are cancelled when the plugin goes.
 *
 * @example
 * ```ts
 * import { type Ctx, definePlugin, Rendez, threads, tree } from "ring9/plugin";
 *
 * export default definePlugin({
 *   start(ctx: Ctx) {
 *     const sched = threads(ctx), asked = new Rendez("asked"), words: string[] = [];
 *     let said = 0;
 *     sched.spawn(async (t) => {
 *       for (;;) {
 *         await t.sleep(asked, () => words.length > 0);
 *         ctx.log(words.shift()!);
 *         said++;
 *         await t.delay(100); // no more than ten a second
 *       }
 *     }, { name: "speaker" });
 *     return tree({ said: () => said, threads: () => sched.text() }, ctx);
 *   },
 * });
 * ```
 */
export function threads(
  ctx: Pick<Ctx, "clock" | "turn" | "defer">,
  options: Pick<SchedOptions, "policy" | "quantum" | "onFault"> = {},
): Sched {
  const { clock, turn = () => new Promise<void>((resolve) => void clock.after(0, resolve)) } = ctx;
  const sched = new Sched({ clock, turn, ...options });
  ctx.defer(() => sched.close("the plugin goes"));
  return sched;
}
