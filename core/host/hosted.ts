/**
 * Hosted: what the kernel holds of a plugin that runs at a distance, in an isolate or a process, and the words that
 * the two sides say to each other.
 *
 * Layer: core/host; types and limits, and the text of an error. isolate.ts and process.ts make these, watchdog.ts
 * listens to their hearts.
 */

import type { Clock } from "../clock.ts";
import { type Code, Err, ERRORS, toErr } from "../err.ts";
import type { Transport } from "../p9/transport.ts";
import type { PortRef } from "../ring/transport.ts";
import type { StartReason } from "../plugin/plugin.ts";
import type { Watchdog } from "./watchdog.ts";

/** What a plugin's start needs to know; goes to it as it is. */
export interface PluginSpec {
  /** What it is called in this system. */
  readonly name: string;
  /** URL of its module. */
  readonly module: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly reason: StartReason;
  readonly hostowner: string;
  readonly sysname: string;
}

/** What a hosted plugin may take. */
export interface Limits {
  /** JavaScript heap, MiB. */
  heapMb: number;
  /** Memory beside the heap, MiB: array buffers; of a process, all that is no heap. */
  memoryMb: number;
  /** Milliseconds from the beginning until it serves. */
  startMs: number;
  /** Milliseconds without a heartbeat after which it is killed. */
  hangMs: number;
  /** Milliseconds that it has to stop when asked to. */
  stopMs: number;
}

/** The limits that hold when nothing else is said. */
export const DEFAULT_HOST_LIMITS: Limits = {
  heapMb: 128,
  memoryMb: 384,
  startMs: 10_000,
  hangMs: 5_000,
  stopMs: 2_000,
};

/** Words that an isolate's heart writes: beats, its heap (KiB: used, total, array buffers), and its bell's counters. */
export const BEATS = 0,
  HEAP_USED = 1,
  HEAP_TOTAL = 2,
  HEAP_BUFFERS = 3,
  SPINS = 4,
  TURNED = 5,
  PARKS = 6,
  HEART_WORDS = 8;

/** Milliseconds between two heartbeats of one that works, and between two looks at all. */
export const BEAT_MS = 500;

/**
 * Why a hosted plugin is there no more: `killed` (we did it), `stopped` (as asked), `crashed` (uncaught error),
 * `heap` (limit reached), `hung` (no heartbeat; it was killed), `ended` (a process, by itself, with status 0), `gone`
 * (it ended and said nothing).
 */
export type ExitReason = "killed" | "stopped" | "crashed" | "heap" | "hung" | "ended" | "gone";

/** How a hosted plugin ended. */
export interface Exit {
  readonly reason: ExitReason;
  /** For a person: the error and its stack, or what was seen. */
  readonly text: string;
}

/** A plugin that runs in an isolate or a process. */
export interface Hosted {
  readonly name: string;
  readonly placement: "isolate" | "process";
  /** `worker-3` and its thread id, or the process id. */
  readonly id: string;
  /** Linux's number of the thread (-1 when it can not be told) or process. */
  readonly pid: number;
  /** 9P to its tree. Ended when the plugin has gone. */
  readonly transport: Transport;
  /** Which walls stand around it, for status: `landlock 7, seccomp, heap 128 MiB`. */
  readonly confinement: string;
  /** Resolves once it is gone; never rejects. */
  readonly exited: Promise<Exit>;
  /** Heartbeats so far. */
  beats(): number;
  /** Kills it, or tells of it, when its heart stands still. */
  readonly dog: Watchdog;
  /** Called at the next work that is handed to it, once. */
  onWork: (() => void) | undefined;
  /** Asks it to stop, waits `stopMs`, then kills. Resolves once it is gone. */
  stop(): Promise<void>;
  /** Ends it now. Resolves once it is gone. */
  kill(): Promise<void>;
}

/** What the hosted side tells the kernel, apart from 9P. */
export type FromPlugin =
  | { readonly t: "up" }
  | { readonly t: "filtered"; readonly error?: string }
  | { readonly t: "fail"; readonly error: ErrorText }
  | { readonly t: "died"; readonly error: ErrorText }
  | { readonly t: "heap" }
  | { readonly t: "buffers" }
  | { readonly t: "log"; readonly text: string }
  | { readonly t: "beat" }
  | { readonly t: "ask"; readonly url: string; readonly type: string }
  | { readonly t: "granted"; readonly n: number; readonly ok: boolean }
  | { readonly t: "stopped" };

/** What the kernel tells a plugin's isolate, apart from 9P and `stop` and `exit`. */
export type ToPlugin =
  | { readonly t: "beat" }
  | { readonly t: "spin"; readonly looks: number }
  | { readonly t: "lane"; readonly lane: number; readonly port: PortRef }
  | { readonly t: "grant"; readonly lane: number; readonly fid: number; readonly n: number };

/** A lane, as a program's isolate is told of it. */
export interface LaneNews {
  readonly lane: number;
  readonly port: PortRef;
  /** Offsets of its open files. */
  readonly places: SharedArrayBuffer;
}

/** An error on its way between isolates. */
export interface ErrorText {
  readonly code: Code;
  readonly message: string;
  /** With the stack. */
  readonly text: string;
}

/** Any thrown value, ready to be sent. */
export function errorText(thrown: unknown): ErrorText {
  const { code, message } = toErr(thrown);
  const stack = thrown instanceof Error ? thrown.stack : undefined;
  return { code, message, text: stack?.includes(message) ? stack : message };
}

/** The error that was sent. Whatever came is taken for text: the sender is not trusted. */
export function textError(sent: unknown, what: string): Err {
  const { code, message } = (sent ?? {}) as Partial<ErrorText>;
  const known = typeof code === "string" && Object.hasOwn(ERRORS, code);
  return new Err(known ? code : "EIO", `${what}: ${clip(message)}`);
}

/** What came from a plugin as text, not longer than a page. */
export function clip(text: unknown, max = 4096): string {
  const whole = typeof text === "string" ? text : String(text ?? "no reason given");
  return whole.length > max ? `${whole.slice(0, max)}...` : whole;
}

/** Resolves with the promise, or with undefined after `ms`. */
export function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => resolve(undefined));
    promise.then(resolve, reject).finally(cancel);
  });
}
