/**
 * The command line of a benchmark: a table of its flags, read and checked before anything is started.
 *
 * Layer: bench. `readFlags` ends the program: with status 0 after `--help`, with 2 and one line when the command line is wrong.
 * `parseFlags` is the same without that, for tests.
 */

import type { ParseArgsConfig } from "node:util";
import { EX_USAGE, readArgs, readNumber, UsageError } from "../cmd/args.ts";
import { toErr } from "../core/err.ts";
import { allowedCpus } from "../core/host/threads.ts";
import { formatCpus, parseCpus } from "../core/sched/cpulist.ts";
import { missing, type Need } from "../tests/skip.ts";

/** One flag: what it is when it is not given, and what its text means. */
export interface Flag<T> {
  readonly otherwise: T;
  /** What stands behind `--name=` in the usage; a switch has none. */
  readonly shown?: string;
  /** Given any number of times: `read` gets all of them. */
  readonly multiple?: true;
  /** Throws a UsageError. */
  read(option: string, texts: string[]): T;
}

type Flags = Record<string, Flag<unknown>>;
type Values<F extends Flags> = { [K in keyof F]: F[K] extends Flag<infer T> ? T : never };

/** A flag without a value. */
export function onOff(): Flag<boolean> {
  return { otherwise: false, read: () => true };
}

/** Numbers of things, 1 or more. */
export function count(otherwise: number, most = 1_000_000): Flag<number> {
  return {
    otherwise,
    shown: `${otherwise}`,
    read: (option, [text]) => readNumber(option, text, { integer: true, least: 1, most }),
  };
}

/** Microseconds, a second at most. */
export function micros(otherwise: number): Flag<number> {
  return {
    otherwise,
    shown: `${otherwise}`,
    read: (option, [text]) => readNumber(option, text, { integer: true, most: 1_000_000 }),
  };
}

/** Seconds, above 0 and an hour at most. */
export function seconds(otherwise: number): Flag<number> {
  return {
    otherwise,
    shown: `${otherwise}`,
    read: (option, [text]) => readNumber(option, text, { least: 0.001, most: 3600 }),
  };
}

/** Any text; `otherwise` when it is not given. */
export function text<T extends string | undefined>(shown: string, otherwise: T): Flag<string | T> {
  return { otherwise, shown, read: (_, [text]) => text };
}

/** One of some words. */
export function oneOf<T extends string>(words: readonly T[], otherwise: T): Flag<T> {
  return { otherwise, shown: words.join("|"), read: (option, [text]) => oneWord(option, text, words) };
}

/** Any number of some words, a flag each. */
export function someOf<T extends string>(words: readonly T[], otherwise: T[]): Flag<T[]> {
  const read = (option: string, texts: string[]) => texts.map((text) => oneWord(option, text, words));
  return { otherwise, shown: words.join("|"), multiple: true, read };
}

/** Part of one of these names. */
export function partOf(names: () => readonly string[]): Flag<string | undefined> {
  const read = (option: string, [text]: string[]) => checkParts(option, [text], names())[0];
  return { otherwise: undefined, shown: "NAME", read };
}

/** The same with commas between several. */
export function partsOf(names: () => readonly string[]): Flag<string[] | undefined> {
  const read = (option: string, [text]: string[]) => checkParts(option, text.split(","), names());
  return { otherwise: undefined, shown: "NAME,...", read };
}

function checkParts(option: string, parts: string[], names: readonly string[]): string[] {
  const unknown = parts.filter((part) => part === "" || !names.some((name) => name.includes(part)));
  if (unknown.length === 0) return parts;
  throw new UsageError(`${option}: none is called "${unknown.join()}" (there are: ${names.join("; ")})`);
}

/** `NAME=COMMAND`, a flag each. */
export function commands(): Flag<{ name: string; command: string }[]> {
  const one = (option: string, text: string) => {
    const at = text.indexOf("="), [name, command] = [text.slice(0, at), text.slice(at + 1)];
    if (at > 0 && command.trim() !== "") return { name, command };
    throw new UsageError(`${option}: "${text}" is not NAME=COMMAND`);
  };
  const read = (option: string, texts: string[]) => texts.map((text) => one(option, text));
  return { otherwise: [], shown: "NAME=COMMAND", multiple: true, read };
}

function oneWord<T extends string>(option: string, text: string, words: readonly T[]): T {
  if ((words as readonly string[]).includes(text)) return text as T;
  throw new UsageError(`${option}: "${text}" is none of: ${words.join(" ")}`);
}

/** CPUs that this process may use, as `0-1,3`; `exactly` so many. */
export function cpuList(otherwise: number[], exactly?: number): Flag<number[]> {
  const read = (option: string, [text]: string[]) => {
    const allowed = allowedCpus(), given = cpusOf(option, text);
    const strange = given.filter((cpu) => !allowed.includes(cpu));
    if (strange.length > 0) {
      throw new UsageError(`${option}: no CPU ${formatCpus(strange)} is to be had (there are: ${formatCpus(allowed)})`);
    }
    if (given.length > 0 && given.length === (exactly ?? given.length)) return given;
    throw new UsageError(
      `${option}: "${text}" is not ${exactly ?? "a list of"} CPUs (there are: ${formatCpus(allowed)})`,
    );
  };
  return { otherwise, shown: otherwise.join(), read };
}

function cpusOf(option: string, text: string): number[] {
  try {
    return parseCpus(text);
  } catch (thrown) {
    throw new UsageError(`${option}: ${toErr(thrown).message}`);
  }
}

/** What `args` say. Throws a UsageError. */
export function parseFlags<F extends Flags>(flags: F, args: string[]): Values<F> {
  const entries = Object.entries(flags);
  const options: NonNullable<ParseArgsConfig["options"]> = Object.fromEntries(
    entries.map(([name, { shown, multiple = false }]) => [name, { type: shown ? "string" : "boolean", multiple }]),
  );
  const given = readArgs({ args, options }).values as Record<string, string | string[] | boolean | undefined>;
  const valueOf = ([name, flag]: [string, Flag<unknown>]) => {
    const texts = given[name];
    return [name, texts === undefined ? flag.otherwise : flag.read(`--${name}`, [texts].flat() as string[])];
  };
  return Object.fromEntries(entries.map(valueOf)) as Values<F>;
}

/** What the command line of the benchmark `bench` says; one that is wrong ends the program. */
export function readFlags<F extends Flags>(bench: string, flags: F, args: string[] = Deno.args): Values<F> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(usage(bench, flags));
    Deno.exit(0);
  }
  try {
    return parseFlags(flags, args);
  } catch (thrown) {
    if (!(thrown instanceof UsageError)) throw thrown;
    refuse(bench, `${thrown.message} (try: --help)`);
  }
}

/** Ends the program, in one line, for what it was told and can not be. */
export function refuse(bench: string, why: string): never {
  console.error(`${bench}: ${why}`);
  Deno.exit(EX_USAGE);
}

/** Does the work; when it fails, ends the program with what failed: servers and peers are programs of others. */
export async function run(bench: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    console.error(`${bench}: ${toErr(thrown).message}`);
    Deno.exit(1);
  }
}

/** Ends the program, in one line, where something is missing that the benchmark needs. */
export function need(bench: string, ...needs: Need[]): void {
  const lacking = missing(needs);
  if (lacking === undefined) return;
  console.error(`${bench}: not measured: ${lacking}`);
  Deno.exit(1);
}

function usage(bench: string, flags: Flags): string {
  const one = ([name, { shown, multiple }]: [string, Flag<unknown>]) =>
    `[--${name}${shown ? `=${shown}` : ""}]${multiple ? "..." : ""}`;
  return [`usage: ${bench}`, ...Object.entries(flags).map(one)].join(" ");
}
