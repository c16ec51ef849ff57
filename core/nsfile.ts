/**
 * The interpreter of name space files: lines of bind, mount, unmount, clear, cd and `.`, run in a proc's name space.
 *
 * Layer: core, over Proc. It reads what `/proc/N/ns` writes, and the `namespace` file of an image. Words are quoted
 * as rc does; `$name` in an unquoted word is a variable of the proc's environment; a `#` where a line begins makes it a
 * comment, so a device is written `'#ram'`, or anywhere but first on the line `#ram`.
 *
 * See namespace(6) of Plan 9.
 */

import { Err, excerpt, toErr } from "./err.ts";
import { MAFTER, MBEFORE, MCACHE, MCREATE } from "./mount.ts";
import { type Line, parseLines, quote } from "./path.ts";
import type { Proc } from "./proc.ts";

/** Files that include one another, at the most. */
const MAX_DEPTH = 16;
/** Bytes of one that is included. */
const MAX_BYTES = 1 << 20;

const FLAGS: Record<string, number> = { a: MAFTER, b: MBEFORE, c: MCREATE, C: MCACHE };

/** What a line is run with. */
interface Run {
  proc: Proc;
  file: string;
  depth: number;
  signal?: AbortSignal;
}

/** An operation: how many words it takes after its flags, how it is used, and what it does. */
interface Operation {
  min: number;
  max: number;
  usage: string;
  flags?: true;
  run(run: Run, args: string[], flags: number): Promise<void>;
}

const OPERATIONS: Record<string, Operation> = {
  bind: {
    min: 2,
    max: 2,
    usage: "bind [-abcC] new old",
    flags: true,
    run: ({ proc, signal }, [path, old], flags) => proc.bind(path, old, flags, signal),
  },
  mount: {
    min: 2,
    max: 3,
    usage: "mount [-abcC] service old [tree]",
    flags: true,
    run: ({ proc, signal }, [what, old, aname], flags) => proc.mount(what, old, flags, aname, signal),
  },
  unmount: {
    min: 1,
    max: 2,
    usage: "unmount [new] old",
    run: ({ proc, signal }, args) => proc.unmount(args.length === 2 ? args[0] : null, args[args.length - 1], signal),
  },
  clear: { min: 0, max: 0, usage: "clear", run: ({ proc }) => proc.clearNs() },
  cd: { min: 1, max: 1, usage: "cd directory", run: ({ proc, signal }, [path]) => proc.chdir(path, signal) },
  ".": { min: 1, max: 1, usage: ". file", run: include },
};

/** Runs the lines of `text`; `file` is what errors call it. The first that fails ends it. */
export async function runNamespace(proc: Proc, text: string, file: string, signal?: AbortSignal): Promise<void> {
  await runText({ proc, file, depth: 0, signal }, text);
}

async function runText(run: Run, text: string): Promise<void> {
  let lines: Line[];
  try {
    lines = parseLines(text, (part) => expand(part, run.proc));
  } catch (thrown) {
    throw new Err("EINVAL", `${run.file}:${toErr(thrown).message}`, { cause: thrown });
  }
  for (const line of lines) {
    try {
      await runLine(run, line.words);
    } catch (thrown) {
      const err = toErr(thrown);
      throw new Err(err.code, `${run.file}:${line.line}: ${line.words[0]}: ${err.message}`, { cause: thrown });
    }
  }
}

async function runLine(run: Run, [name, ...words]: string[]): Promise<void> {
  const operation = Object.hasOwn(OPERATIONS, name) ? OPERATIONS[name] : undefined;
  if (!operation) throw new Err("EINVAL", `unknown operation (known: ${Object.keys(OPERATIONS).join(" ")})`);
  let flags = 0;
  while (operation.flags && words[0]?.startsWith("-")) flags |= parseFlags(words.shift()!, operation);
  if (words.length < operation.min || words.length > operation.max) {
    throw new Err("EINVAL", `usage: ${operation.usage}`);
  }
  await operation.run(run, words, flags);
}

/** The mount flags that a word like `-ac` says. */
export function mountFlags(word: string): number | undefined {
  let flags = 0;
  for (const letter of word.slice(1)) {
    if (!Object.hasOwn(FLAGS, letter)) return undefined;
    flags |= FLAGS[letter];
  }
  return word.length > 1 ? flags : undefined;
}

function parseFlags(word: string, operation: Operation): number {
  const flags = mountFlags(word);
  if (flags === undefined) throw new Err("EINVAL", `unknown flag ${quote(excerpt(word))}; usage: ${operation.usage}`);
  return flags;
}

async function include(run: Run, [path]: string[]): Promise<void> {
  if (run.depth >= MAX_DEPTH) throw new Err("ELOOP", `files include one another more than ${MAX_DEPTH} deep`);
  const text = await run.proc.readText(path, run.signal, MAX_BYTES);
  await runText({ ...run, file: path, depth: run.depth + 1 }, text);
}

/** Puts values in place of `$name`. */
function expand(part: string, proc: Proc): string {
  return part.replace(/\$([A-Za-z_][A-Za-z0-9_]*)/g, (_, name: string) => {
    const value = proc.env.get(name) ?? (name === "user" ? proc.user.name : undefined);
    if (value === undefined) throw new Err("EINVAL", `$${excerpt(name)} is not set`);
    return value;
  });
}
