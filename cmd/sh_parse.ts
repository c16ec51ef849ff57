/**
 * One line of the shell into words and a redirection.
 *
 * Layer: cmd, pure. Blanks part words; single quotes keep them as in rc, '' in quotes is a quote; `#` where a word may
 * begin is a comment only when a blank follows or at the start of the line, so that `#ram` names a device. There is one
 * command to a line: what would join several, or read from a file, is refused unless it is quoted.
 */

import { Err } from "../core/err.ts";

/** `> file` or `>> file`. */
export interface Redirect {
  path: string;
  append: boolean;
}

/** A line that was read. */
export interface ParsedLine {
  words: string[];
  redirect: Redirect | null;
}

const TOKEN = /\s+|>>|>|[;|&<]|(?:'(?:[^']|'')*'|[^\s'>;|&<])+|'/y;

/** Reads a line; `value` gives the variables. */
export function parseLine(text: string, value: (name: string) => string | undefined): ParsedLine {
  const words: string[] = [];
  let redirect: Redirect | null = null;
  let pending: boolean | null = null;
  for (const token of tokens(text)) {
    if (token === ">" || token === ">>") {
      if (pending !== null || redirect) throw new Err("EINVAL", "only one > on a line");
      pending = token === ">>";
      continue;
    }
    const word = unquote(token, value);
    if (pending === null) words.push(word);
    else redirect = { path: word, append: pending };
    pending = null;
  }
  if (pending !== null) throw new Err("EINVAL", "nothing follows >");
  return { words, redirect };
}

function tokens(text: string): string[] {
  const found: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const [token] = TOKEN.exec(text)!;
    if (token === "'") throw new Err("EINVAL", "a quote is not closed");
    if (/^[;|&<]$/.test(token)) throw new Err("EINVAL", `${token} is not known here: one command a line, or quote it`);
    if (token === "#" || (token.startsWith("#") && found.length === 0)) break;
    if (token.trim() !== "") found.push(token);
  }
  return found;
}

function unquote(token: string, value: (name: string) => string | undefined): string {
  return token.replace(/'((?:[^']|'')*)'|\$([A-Za-z_][A-Za-z0-9_]*)/g, (_, quoted?: string, name?: string) => {
    if (quoted !== undefined) return quoted.replaceAll("''", "'");
    const found = value(name!);
    if (found === undefined) throw new Err("EINVAL", `$${name} is not set`);
    return found;
  });
}
