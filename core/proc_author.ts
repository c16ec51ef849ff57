/**
 * `ring9/proc`: all that the author of a program imports. Re-exports only.
 *
 * Layer: core, a front door. A program is a module whose default export is called with its `Program`.
 *
 * @example
 * ```ts
 * import { defineProgram } from "ring9/proc";
 *
 * export default defineProgram(({ args, sys, print }) => {
 *   const fd = sys.open(args[1]), buffer = new Uint8Array(4096);
 *   for (let count; (count = sys.read(fd, buffer)) > 0;) sys.write(1, buffer.subarray(0, count));
 *   print("\n");
 * });
 * ```
 */

export {
  type AsyncSys,
  defineProgram,
  type Program,
  type ProgramMain,
  type SpawnProgram,
  type Sys,
} from "./proc_calls.ts";
export type { NoteHandler, Sharing, WaitRecord } from "./proc.ts";
export { Rendez, type Sleeper } from "./sched/rendez.ts";
export { byPriority, fifo, type Policy, type Ranked } from "./sched/policy.ts";
export { type Main, Sched, type SchedOptions, Thread, type ThreadOptions, type ThreadState } from "./sched/threads.ts";
export { TimerWheel, type WheelOptions } from "./sched/wheel.ts";
export type { Clock } from "./clock.ts";
export { type Code, Err, toErr } from "./err.ts";
export { DMAPPEND, DMDIR, DMEXCL, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE } from "./p9/types.ts";
export type { Dir, MaybePromise, Qid, SetTime, U64, Wstat } from "./p9/types.ts";
export { MAFTER, MBEFORE, MCREATE, MREPL } from "./mount.ts";
