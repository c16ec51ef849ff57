/**
 * Command lines: read by `parseArgs` of node:util, and what is wrong with them said in one line.
 *
 * Layer: cmd; the programs there, tools and benchmarks share it. It prints nothing and ends nothing: who catches a
 * UsageError says it and ends with status EX_USAGE, before anything is begun.
 */

import { parseArgs, type ParseArgsConfig } from "node:util";
import { Err } from "../core/err.ts";

/** Exit status for a command line that is wrong, as of most programs. */
export const EX_USAGE = 2;

/** A command line that is wrong, in one line. */
export class UsageError extends Err {
  constructor(message: string) {
    super("EINVAL", message);
  }
}

/** `parseArgs`, whose errors are UsageErrors. */
export function readArgs<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config);
  } catch (thrown) {
    if (!(thrown as { code?: string }).code?.startsWith("ERR_PARSE_ARGS")) throw thrown;
    throw new UsageError(inOneLine((thrown as Error).message));
  }
}

/** The number that an option's text says. `most` is the largest, Infinity if not given. */
export function readNumber(
  option: string,
  text: string,
  { least = 0, most = Infinity, integer = false }: { least?: number; most?: number; integer?: boolean } = {},
): number {
  const value = Number(text), kind = integer ? "an integer" : "a number";
  const ok = text.trim() !== "" && Number.isFinite(value) && (!integer || Number.isInteger(value));
  if (ok && value >= least && value <= most) return value;
  const range = most === Infinity ? `, ${least} or more` : ` from ${least} to ${most}`;
  throw new UsageError(`${option}: "${text}" is not ${kind}${range}`);
}

/** parseArgs goes on about arguments that begin with a dash: there are none that would be meant here. */
function inOneLine(message: string): string {
  const lacking = /^Option '(.+?)(?: <value>)?' argument (?:missing|is ambiguous)/.exec(message);
  return lacking ? `option '${lacking[1]}' wants a value` : message.split(/\n|\. To specify/)[0];
}
