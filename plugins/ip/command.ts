/**
 * Commands of ctl files that there are thousands of: one table a kind of conversation, none an open file.
 *
 * Layer: plugins/ip, a leaf. A verb's usage says how many words it takes: `ttl n`, `bind [addr!]port`, `keepalive [ms]`.
 * What holds always: all commands of a write are known and have their words before the first one runs.
 */

import { Err, excerpt } from "../../core/err.ts";
import type { Req } from "../../core/dev.ts";
import type { MaybePromise } from "../../core/p9/types.ts";

/** What a verb does to a `C`. */
export interface Verb<C> {
  /** The words that it takes, `[word]` what may be left out, `word...` any number. */
  usage: string;
  run(of: C, words: string[], req: Req): MaybePromise<void>;
}

/** A table of verbs. */
export type Verbs<C> = Readonly<Record<string, Verb<C>>>;

/** Commands in one write at the most, and bytes of it that are looked at. */
const MAX_COMMANDS = 64, MAX_BYTES = 8192;

/** Runs the commands of a write, a line each; the first that fails ends it. */
export function execute<C>(verbs: Verbs<C>, of: C, data: Uint8Array, req: Req): MaybePromise<void> {
  const calls: (() => MaybePromise<void>)[] = [];
  for (const line of linesOf(data)) {
    const [name, ...words] = line.split(/\s+/);
    const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (verb === undefined) {
      throw new Err("EINVAL", `unknown command ${quote(name)} (known: ${Object.keys(verbs).join(" ")})`);
    }
    if (!fits(verb.usage, words.length)) throw badUsage(name, verb);
    calls.push(() => verb.run(of, words, req));
  }
  return runAll(calls, 0);
}

/** The lines of a write to a ctl file, without empty ones. */
export function linesOf(data: Uint8Array): string[] {
  if (data.length > MAX_BYTES) throw new Err("EMSGSIZE", `a command has at most ${MAX_BYTES} bytes`);
  const lines = new TextDecoder().decode(data).split("\n").map((line) => line.trim()).filter((line) => line !== "");
  if (lines.length > MAX_COMMANDS) throw new Err("EINVAL", `at most ${MAX_COMMANDS} commands in one write`);
  return lines;
}

/** The error of words that make no sense. */
export function badUsage(name: string, { usage }: { usage: string }): Err {
  return new Err("EINVAL", `usage: ${`${name} ${usage}`.trim()}`);
}

/** An integer of a command. */
export function intOf(word: string, least: number, most: number): number {
  const value = /^-?\d{1,10}$/.test(word) ? Number(word) : NaN;
  if (value >= least && value <= most) return value;
  throw new Err("EINVAL", `${quote(word)} is no number from ${least} to ${most}`);
}

/** on, off, 1, 0; nothing is on. */
export function boolOf(word: string | undefined): boolean {
  if (word === undefined || word === "on" || word === "1") return true;
  if (word === "off" || word === "0") return false;
  throw new Err("EINVAL", `${quote(word)} is neither on nor off`);
}

/** What somebody wrote, short enough for a message. */
export function quote(word: string): string {
  return JSON.stringify(excerpt(word, 40));
}

function fits(usage: string, count: number): boolean {
  const words = usage === "" ? [] : usage.split(" ");
  const least = words.filter((word) => !/^\[.*\]$/.test(word) && !word.endsWith("...")).length;
  return count >= least && (count <= words.length || usage.endsWith("..."));
}

function runAll(calls: (() => MaybePromise<void>)[], from: number): MaybePromise<void> {
  for (let i = from; i < calls.length; i++) {
    const done = calls[i]();
    if (done instanceof Promise) return done.then(() => runAll(calls, i + 1));
  }
}
