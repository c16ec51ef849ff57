/**
 * Ctl files: text commands, parsed by a table.
 *
 * Layer: core, the helper layer for plugin authors. A command is a key of the table: its verb and the words it takes,
 * `"rate hz:1..1000 [unit:ms|s]"`. What holds always: every command of a write is parsed before the first one runs, so
 * that a write that is refused for its words has changed nothing; each write request holds whole commands, one a line.
 *
 * | word | takes | handed over as |
 * |---|---|---|
 * | `name` | a word | string |
 * | `name:int`, `name:1..10` | an integer, in a range | number |
 * | `name:number` | a decimal number | number |
 * | `name:a\|b\|c` | one of these words | that word |
 * | `name:bool` | on off, true false, yes no, 1 0 | boolean |
 * | `name:text` | the rest of the line as it stands | string |
 * | `name...` | the words that are left | string[] |
 * | `[...]` | any of these, and may be left out | undefined |
 *
 * Words are split as Plan 9's tokenize(2) does: blanks part them, single quotes keep blanks, '' is a quote.
 */

import { Err, excerpt } from "./err.ts";
import type { Req } from "./dev.ts";
import type { MaybePromise } from "./p9/types.ts";
import { reads, writes } from "./tree_file.ts";
import {
  type Attr,
  bytesOf,
  type Compute,
  copyAt,
  FileNode,
  type Handle,
  type Opening,
  textOf,
  then,
} from "./tree_node.ts";

/** One of the words of `a|b|c`. */
export type CtlChoice<T extends string> = T extends `${infer A}|${infer B}` ? A | CtlChoice<B> : T;

/** What a word of a pattern is handed over as. */
export type CtlWord<W extends string> = W extends `[${infer Inner}]` ? CtlWord<Inner> | undefined
  : W extends `${string}...` ? string[]
  : W extends `${string}:${infer Type}` ? (
      Type extends "int" | "number" ? number
        : Type extends `${string}..${string}` ? number
        : Type extends "bool" ? boolean
        : Type extends `${string}|${string}` ? CtlChoice<Type>
        : string
    )
  : string;

/** What the words of a pattern are handed over as. */
export type CtlWords<P extends string> = P extends `${infer Head} ${infer Rest}` ? [CtlWord<Head>, ...CtlWords<Rest>]
  : [CtlWord<P>];

/** The arguments of a command, by its pattern. */
export type CtlArgs<P extends string> = P extends `${string} ${infer Rest}` ? CtlWords<Rest> : [];

/** What a command does: a function of its arguments and the request, or that with a line of help. */
export type Command<P extends string> =
  | ((...args: [...CtlArgs<P>, req: Req]) => MaybePromise<void>)
  | { help: string; run(...args: [...CtlArgs<P>, req: Req]): MaybePromise<void> };

/** What a ctl file may have besides its commands. */
export interface CtlSpec extends Attr {
  /** What reading it gives; the commands and their help when not given. */
  read?: Compute;
}

/**
 * A ctl file from a table of commands.
 *
 * @example
 * ```ts
 * import { ctl } from "ring9/plugin";
 * let rate = 1;
 * export const node = ctl({
 *   reset: () => { rate = 1; },
 *   "rate hz:1..1000": { help: "ticks a second", run(hz) { rate = hz; } },
 * });
 * ```
 */
export function ctl<P extends string>(commands: { [K in P]: Command<K> }, spec: CtlSpec = {}): CtlFile {
  return new CtlFile(commands as unknown as Record<string, AnyCommand>, spec);
}

// deno-lint-ignore no-explicit-any -- the table mixes commands of all argument types; `Command` checks each
type AnyCommand = ((...args: any[]) => MaybePromise<void>) | { help: string; run(...args: any[]): MaybePromise<void> };

interface Param {
  name: string;
  /** What it takes, for a person: `an integer from 1 to 10`. */
  wants: string;
  optional: boolean;
  /** word: one; rest: the words that are left; text: the rest of the line. */
  span: "word" | "rest" | "text";
  /** The value of a word, or undefined when it is none. */
  parse(word: string): unknown;
}

interface Entry {
  verb: string;
  usage: string;
  help: string;
  params: Param[];
  run(...args: unknown[]): MaybePromise<void>;
}

/** A ctl file: what `ctl` makes. */
export class CtlFile extends FileNode {
  readonly #commands = new Map<string, Entry>();
  /** What reading it gives. */
  read: Compute | undefined;

  constructor(commands: Record<string, AnyCommand>, spec: CtlSpec) {
    super(spec, 0o644);
    this.read = spec.read;
    for (const [usage, command] of Object.entries(commands)) {
      const entry = compile(usage, command);
      if (this.#commands.has(entry.verb)) throw new Err("EINVAL", `two commands are called ${entry.verb}`);
      this.#commands.set(entry.verb, entry);
    }
  }

  /** The commands, one a line, each with its help after a tab. */
  get usage(): string {
    return [...this.#commands.values()].map((c) => c.help ? `${c.usage}\t${c.help}\n` : `${c.usage}\n`).join("");
  }

  open(how: Opening): MaybePromise<Handle> {
    const handle: Handle = {};
    if (writes(how.mode)) {
      handle.write = (data, _offset, req) => {
        const count = data.length;
        return then(this.exec(textOf(data), req), () => {
          this.touch(how.now());
          return count;
        });
      };
    }
    if (!reads(how.mode)) return handle;
    return then(this.read ? this.read(how.req) : this.usage, (value) => {
      const bytes = bytesOf(value);
      handle.read = (dst, offset) => copyAt(bytes, dst, offset);
      return handle;
    });
  }

  /** Parses all of `text`, then runs its commands in order; the first that fails ends it. */
  exec(text: string, req: Req): MaybePromise<void> {
    const calls: (() => MaybePromise<void>)[] = [];
    for (const line of text.split("\n")) {
      const trimmed = line.trim();
      if (trimmed !== "" && trimmed[0] !== "#") calls.push(this.#parse(trimmed, req));
    }
    return runAll(calls, 0);
  }

  #parse(line: string, req: Req): () => MaybePromise<void> {
    const words = split(line);
    const entry = this.#commands.get(words[0].text);
    if (!entry) {
      const known = [...this.#commands.values()].map((c) => c.usage).join("; ") || "none";
      throw new Err("EINVAL", `unknown command "${excerpt(words[0].text)}"; the commands are: ${known}`);
    }
    const args = parseArgs(entry, words, line);
    return () => entry.run(...args, req);
  }
}

/** Splits a line as tokenize(2) does. */
export function tokenize(line: string): string[] {
  return split(line).map((word) => word.text);
}

function runAll(calls: (() => MaybePromise<void>)[], from: number): MaybePromise<void> {
  for (let i = from; i < calls.length; i++) {
    const done = calls[i]();
    if (done instanceof Promise) return done.then(() => runAll(calls, i + 1));
  }
}

function split(line: string): { text: string; start: number }[] {
  const words: { text: string; start: number }[] = [];
  let i = 0;
  while (i < line.length) {
    if (isBlank(line[i])) {
      i++;
      continue;
    }
    const start = i;
    let text = "";
    let quoted = false;
    for (; i < line.length && (quoted || !isBlank(line[i])); i++) {
      if (line[i] !== "'") text += line[i];
      else if (quoted && line[i + 1] === "'") text += line[i++];
      else quoted = !quoted;
    }
    if (quoted) throw new Err("EINVAL", `a quote is not closed: ${excerpt(line.slice(start))}`);
    words.push({ text, start });
  }
  return words;
}

function isBlank(c: string): boolean {
  return c === " " || c === "\t" || c === "\r" || c === "\n";
}

function parseArgs(entry: Entry, words: { text: string; start: number }[], line: string): unknown[] {
  const refuse = (why: string) => new Err("EINVAL", `${entry.verb}: ${why} (usage: ${entry.usage})`);
  let next = 1;
  const args = entry.params.map((param) => {
    const word = words[next];
    if (!word) {
      if (param.optional) return undefined;
      if (param.span === "rest") return [];
      throw refuse(`${param.name} is missing, wanted ${param.wants}`);
    }
    if (param.span !== "word") {
      const rest = words.slice(next).map((w) => w.text);
      next = words.length;
      return param.span === "rest" ? rest : line.slice(word.start);
    }
    next++;
    const value = param.parse(word.text);
    if (value === undefined) throw refuse(`${param.name} is "${excerpt(word.text)}", wanted ${param.wants}`);
    return value;
  });
  if (next < words.length) throw refuse(`"${excerpt(words[next].text)}" is one word too many`);
  return args;
}

function compile(usage: string, command: AnyCommand): Entry {
  const [verb, ...patterns] = usage.split(" ");
  const params = patterns.map((pattern) => compileParam(pattern, usage));
  const early = params.slice(0, -1).find((p) => p.span !== "word");
  if (early) throw new Err("EINVAL", `${usage}: ${early.name} takes all that is left, so it has to be the last`);
  const run = typeof command === "function" ? command : command.run.bind(command);
  return { verb, usage, help: typeof command === "function" ? "" : command.help, params, run };
}

const BOOLS: Record<string, boolean> = {
  on: true,
  true: true,
  yes: true,
  1: true,
  off: false,
  false: false,
  no: false,
  0: false,
};

function compileParam(pattern: string, usage: string): Param {
  const inner = /^\[(.+)\]$/.exec(pattern);
  if (inner) return { ...compileParam(inner[1], usage), optional: true };
  const rest = /^([^:]+)\.\.\.$/.exec(pattern);
  if (rest) return { name: rest[1], wants: "words", optional: false, span: "rest", parse: (word) => word };
  const parts = /^([^:[\]]+)(?::(.+))?$/.exec(pattern);
  if (!parts) throw new Err("EINVAL", `${usage}: cannot make sense of "${pattern}"`);
  const [, name, type] = parts;
  const word = (wants: string, parse: Param["parse"]): Param => ({ name, wants, optional: false, span: "word", parse });
  if (!type) return word("a word", (text) => text);
  if (type === "text") return { ...word("text", (text) => text), span: "text" };
  if (type === "bool") return word("on or off", (text) => Object.hasOwn(BOOLS, text) ? BOOLS[text] : undefined);
  if (type === "number") return word("a number", (text) => number(text));
  if (type === "int") return word("an integer", (text) => integer(text, -Infinity, Infinity));
  const range = /^(-?\d+)\.\.(-?\d+)$/.exec(type);
  if (range) {
    const low = Number(range[1]), high = Number(range[2]);
    return word(`an integer from ${low} to ${high}`, (text) => integer(text, low, high));
  }
  const choices = type.split("|");
  if (choices.length < 2) throw new Err("EINVAL", `${usage}: there is no type "${type}"`);
  return word(`one of ${choices.join(", ")}`, (text) => choices.includes(text) ? text : undefined);
}

function integer(text: string, low: number, high: number): number | undefined {
  if (!/^[-+]?(\d+|0x[0-9a-fA-F]+)$/.test(text)) return undefined;
  const magnitude = Number(text.replace(/^[-+]/, ""));
  const value = text[0] === "-" ? -magnitude : magnitude;
  return Number.isSafeInteger(value) && value >= low && value <= high ? value : undefined;
}

function number(text: string): number | undefined {
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : undefined;
}
