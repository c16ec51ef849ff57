/**
 * `ring9/plugin`: all that the author of a plugin imports. Re-exports only.
 *
 * Layer: core/plugin, a front door. A plugin is `definePlugin({ start: (ctx) => tree({ ... }, ctx) })`; those that
 * need more than a described tree extend `Dev`.
 */

export { type Ctx, definePlugin, type Plugin, type StartReason } from "./plugin.ts";
export { checkOptions, type Manifest, parseManifest, type Permissions, type Placement } from "./manifest.ts";
export type { CoresEntry } from "../sched/settings.ts";
export type { Json } from "./json.ts";
export type { Schema, TypeName } from "./schema.ts";
export { Tree, tree, TreeEntry, type TreeFile, type TreeOptions } from "../tree.ts";
export { clone, type Cloned, type CloneSpec, dir, dynamic, type DynamicSpec } from "../tree_dir.ts";
export { file, type FileSpec, json, MAX_COLLECT_BYTES, raw, type RawSpec, value } from "../tree_file.ts";
export {
  type Command,
  ctl,
  type CtlArgs,
  type CtlChoice,
  CtlFile,
  type CtlSpec,
  type CtlWord,
  type CtlWords,
  tokenize,
} from "../tree_ctl.ts";
export { event, EventFile, type EventSpec, MAX_QUEUED_EVENTS } from "../tree_event.ts";
export { appendLog, LogFile, type LogSpec } from "../tree_log.ts";
export {
  type Attr,
  type Compute,
  type Described,
  type DirLiteral,
  DirNode,
  FileNode,
  type Handle,
  Node,
  type Opening,
  type Value,
} from "../tree_node.ts";
export { Chan, type Create, Dev, Req, type User, type Walk } from "../dev.ts";
export { type Code, Err, excerpt, toErr } from "../err.ts";
export type { Clock } from "../clock.ts";
export { threads } from "./threads.ts";
export { Rendez, type Sleeper } from "../sched/rendez.ts";
export {
  type Main,
  type NoteHandler,
  Sched,
  type SchedOptions,
  Thread,
  type ThreadOptions,
  type ThreadState,
} from "../sched/threads.ts";
export { byPriority, fifo, type Policy, type Ranked } from "../sched/policy.ts";
export { TimerWheel, type WheelOptions } from "../sched/wheel.ts";
export { DMAPPEND, DMDIR, DMEXCL, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE } from "../p9/types.ts";
export {
  type Dir,
  type Dirent,
  type Flock,
  makeDir,
  type MaybePromise,
  type Qid,
  type SetTime,
  type Statfs,
  type U64,
  type Wstat,
} from "../p9/types.ts";
