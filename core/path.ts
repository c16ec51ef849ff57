/**
 * Paths as text: cleaning, joining, splitting; and words quoted as rc does.
 *
 * Layer: a leaf of the core, pure. A path begins with `/`, with `#name` (a Dev's own root), or is relative.
 * Names may hold anything but `/` and NUL, also spaces, newlines and lone surrogates (bytes that are not UTF-8).
 *
 * See cleanname(2), rc(1) and tokenize in getfields(2) of Plan 9.
 */

import { Err, excerpt, PATH_CHARS, toErr } from "./err.ts";

/** The names of a path, without empty ones and `.`; of `#name/a/b` those after the Dev's. */
export function splitPath(path: string): string[] {
  const names = path.split("/");
  if (path.startsWith("#")) names.shift();
  return names.filter((name) => name !== "" && name !== ".");
}

/** The `#name.spec` that a path begins with, or "". */
export function deviceOf(path: string): string {
  if (!path.startsWith("#")) return "";
  const slash = path.indexOf("/");
  return slash < 0 ? path : path.slice(0, slash);
}

/** The shortest path that means the same by its text alone: no `.`, no `//`, `..` taken with the name before it. */
export function cleanPath(path: string): string {
  const device = deviceOf(path);
  const rooted = device !== "" || path.startsWith("/");
  const out: string[] = [];
  for (const name of splitPath(path)) {
    if (name !== "..") out.push(name);
    else if (out.length > 0 && out[out.length - 1] !== "..") out.pop();
    else if (!rooted) out.push(name);
  }
  const rest = out.join("/");
  if (device !== "") return rest === "" ? device : `${device}/${rest}`;
  if (rooted) return "/" + rest;
  return rest === "" ? "." : rest;
}

/** `path` as seen from the directory `dir`, cleaned. */
export function joinPath(dir: string, path: string): string {
  return cleanPath(path.startsWith("/") || path.startsWith("#") ? path : `${dir}/${path}`);
}

/** The directory of a path and its last name (empty for a root). */
export function dirAndName(path: string): [dir: string, name: string] {
  const clean = cleanPath(path);
  const slash = clean.lastIndexOf("/");
  if (slash < 0) return clean.startsWith("#") ? [clean, ""] : [".", clean];
  return [slash === 0 ? "/" : clean.slice(0, slash), clean.slice(slash + 1)];
}

/** Whether a name is a dial string, and no path. */
export function isDial(what: string): boolean {
  return what.includes("!") && !/^[#/.]/.test(what);
}

/** A name that a file may be given; anything else is refused here. */
export function checkName(name: string): string {
  if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
    throw new Err("EINVAL", `illegal name: ${quote(excerpt(name))}`);
  }
  return name;
}

/** A word as rc reads it back: quoted when it has to be. */
export function quote(word: string): string {
  if (/^[A-Za-z0-9_.,:+@%!\/-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "''")}'`;
}

/** The words of a line that has any. */
export interface Line {
  /** The number of its first line, from 1. */
  line: number;
  words: string[];
}

/**
 * The lines of a text as words. Blanks separate words; `'...'` quotes, `''` in it is a quote, and a quoted newline
 * belongs to its word. A `#` where a line begins makes the line a comment. `expand` is given what is not quoted,
 * to put values in place of variables. An error's text begins with the number of the line and a colon.
 */
export function parseLines(text: string, expand: (part: string) => string = (part) => part): Line[] {
  const lines: Line[] = [];
  let at = 0, line = 1;
  while (at < text.length) {
    const first = line;
    const words: string[] = [];
    while (at < text.length && text[at] !== "\n") {
      if (" \t\r".includes(text[at])) at++;
      else if (text[at] === "#" && words.length === 0) at = lineEnd(text, at);
      else {
        const [word, end] = atLine(line, () => readWord(text, at, expand));
        for (const c of text.slice(at, end)) if (c === "\n") line++;
        words.push(word);
        at = end;
      }
    }
    at++;
    line++;
    if (words.length > 0) lines.push({ line: first, words });
  }
  return lines;
}

/** The same error, told of a path. */
export function errOn(path: string, thrown: unknown): Err {
  const err = toErr(thrown);
  return new Err(err.code, `${quote(excerpt(path, PATH_CHARS))}: ${err.message}`, { cause: thrown });
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end;
}

function atLine<T>(line: number, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    throw new Err("EINVAL", `${line}: ${thrown instanceof Error ? thrown.message : thrown}`);
  }
}

function readWord(text: string, at: number, expand: (part: string) => string): [string, number] {
  let word = "";
  while (at < text.length && !" \t\r\n".includes(text[at])) {
    if (text[at] !== "'") {
      const start = at;
      while (at < text.length && !" \t\r\n'".includes(text[at])) at++;
      word += expand(text.slice(start, at));
      continue;
    }
    const start = ++at;
    for (;; at += 2) {
      at = text.indexOf("'", at);
      if (at < 0) throw new Err("EINVAL", "quote without an end");
      if (text[at + 1] !== "'") break;
    }
    word += text.slice(start, at++).replaceAll("''", "'");
  }
  return [word, at];
}
