/**
 * What all programs of this folder have in common: flags, the usage line, and how what fails is told.
 *
 * Layer: programs, read from the name space as `/lib/tool.ts`. A program that fails answers why as its status, which the
 * console prints; a misuse answers the usage.
 */

import { type FileCalls, filesOf, type NetFiles } from "ring9/net";
import { defineProgram, DMDIR, Err, type Program, type ProgramMain } from "ring9/proc";

/** A program. */
export interface Tool {
  /** `ping [-6] [-n count] host`. */
  usage: string;
  /** Letters of its flags; one with a colon behind it takes a word: `6n:`. */
  flags?: string;
  /** Words besides flags: how few, how many. */
  words: [least: number, most: number];
  /** What it does; what it answers is its status. */
  run(tool: Running): Promise<string | void> | string | void;
}

/** A program that runs. */
export interface Running extends Program {
  readonly flags: Flags;
  /** Its words without flags. */
  readonly words: readonly string[];
  /** The name space's files, for dialing. */
  readonly files: NetFiles;
  /** Ends the program with its usage. */
  misused(): never;
}

/** A misuse. */
class Misuse extends Error {}

/** The flags that a program was called with. */
export class Flags {
  constructor(private readonly given: ReadonlyMap<string, string>) {}

  has(flag: string): boolean {
    return this.given.has(flag);
  }

  text(flag: string): string | undefined;
  text(flag: string, otherwise: string): string;
  text(flag: string, otherwise?: string): string | undefined {
    return this.given.get(flag) ?? otherwise;
  }

  /** A number within limits. */
  number(flag: string, { otherwise, least, most }: { otherwise: number; least: number; most: number }): number {
    const text = this.given.get(flag);
    if (text === undefined) return otherwise;
    const value = sizeOf(text);
    if (value !== undefined && value >= least && value <= most) return value;
    throw new Err("EINVAL", `-${flag} ${text}: wanted a number from ${least} to ${most}`);
  }
}

/** Makes a program of a tool. */
export function defineTool(tool: Tool): ProgramMain {
  return defineProgram(async (program) => {
    try {
      const { flags, words } = parseFlags(program.args.slice(1), tool.flags ?? "");
      const [least, most] = tool.words;
      if (words.length < least || words.length > most) throw new Misuse();
      const misused = () => {
        throw new Misuse();
      };
      const files = filesOf(program.async as FileCalls);
      return await tool.run({ ...program, flags: new Flags(flags), words, files, misused });
    } catch (thrown) {
      if (thrown instanceof Misuse) return `usage: ${tool.usage}`;
      if (thrown instanceof Err) return thrown.message;
      throw thrown;
    }
  });
}

/** Flags as getopt(3) takes them; `--` and the first word that is none end them. */
export function parseFlags(args: readonly string[], known: string): { flags: Map<string, string>; words: string[] } {
  const flags = new Map<string, string>();
  let i = 0;
  for (; i < args.length && /^-./.test(args[i]); i++) {
    if (args[i] === "--") {
      i++;
      break;
    }
    for (let at = 1; at < args[i].length; at++) {
      const flag = args[i][at], place = flag === ":" ? -1 : known.indexOf(flag);
      if (place < 0) throw new Misuse();
      if (known[place + 1] !== ":") flags.set(flag, "");
      else {
        const word = args[i].slice(at + 1) || args[++i];
        if (word === undefined) throw new Misuse();
        flags.set(flag, word);
        break;
      }
    }
  }
  return { flags, words: args.slice(i) };
}

/** `64`, `64k`, `1.5M`, `2g`: binary multiples. */
export function sizeOf(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?)([kmgKMG]?)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return Number(digits) * 1024 ** ["", "k", "m", "g"].indexOf(unit.toLowerCase());
}

/** Ends when `interrupt` comes, after `last`. Other notes end the program as ever. */
export function onInterrupt({ notify, exit }: Program, last: () => string | void): void {
  notify((note) => {
    if (note === "interrupt" || note === "hangup") exit(last() ?? "");
    return false;
  });
}

/** Writes all of it, blocking. */
export function writeAll({ sys }: Pick<Program, "sys">, fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += sys.write(fd, bytes.subarray(at));
}

/** A text to the standard error. */
export function complain(program: Program, text: string): void {
  writeAll(program, 2, new TextEncoder().encode(text));
}

/** Whether it is no directory. */
export function isFile({ mode }: { mode: number }): boolean {
  return (mode & DMDIR) === 0;
}

/** The path of a program that was named as at the console. */
export async function findProgram({ async }: Pick<Program, "async">, name: string): Promise<string> {
  const path = name.includes("/") ? name : `/bin/${name}`;
  for (const each of [path, `${path}.ts`]) {
    if (await async.stat(each).then(isFile, () => false)) return each;
  }
  throw new Err("ENOENT", `${name}: no such program`);
}
