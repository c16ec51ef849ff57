/**
 * What the 9p program prints: files as lines and as JSON, bytes as they are, errors as sentences.
 *
 * Layer: cmd. A server's names are not trusted: control characters never reach a terminal. Names that are not UTF-8
 * come out as the bytes that they are.
 */

import { type Dir, DMAPPEND, DMEXCL, encodeUtf8, Err, unixMode, utf8Length } from "../core/p9/mod.ts";

/** A file of a listing. */
export interface Found {
  path: string;
  dir: Dir;
  /** A symlink's target, when it was asked for. */
  target?: string;
}

const KINDS: Record<number, [letter: string, word: string]> = {
  0o140000: ["s", "socket"],
  0o120000: ["l", "symlink"],
  0o100000: ["-", "file"],
  0o060000: ["b", "block device"],
  0o040000: ["d", "directory"],
  0o020000: ["c", "character device"],
  0o010000: ["p", "fifo"],
};

/** Prints bytes or text on standard output, all of it. Answers 0. */
export function print(what: string | Uint8Array): number {
  const bytes = typeof what === "string" ? toBytes(what) : what;
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  } catch (e) {
    if (e instanceof Deno.errors.BrokenPipe) Deno.exit(SIGPIPE_STATUS); // as `9p cat ... | head` has it
    throw e;
  }
  return 0;
}

/** What a shell shows of a program that SIGPIPE ended. */
const SIGPIPE_STATUS = 141;

/** Says what went wrong, on standard error. Answers 1. */
export function complain(what: string | Err, json = false): number {
  const err = typeof what === "string" ? new Err("EINVAL", what) : what;
  const line = json ? JSON.stringify({ error: err.code, message: err.message }) : `9p: ${visible(err.message)}`;
  Deno.stderr.writeSync(toBytes(line + "\n"));
  return 1;
}

function toBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Length(text));
  encodeUtf8(text, bytes, 0);
  return bytes;
}

/** Text without control characters. */
export function visible(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** The mode as ls(1) shows it: `drwxr-xr-x`; an append-only file is `a`, an exclusive one ends in `l`. */
export function modeText(dir: Dir): string {
  const mode = unixMode(dir.mode, dir.ext);
  const letter = dir.mode & DMAPPEND ? "a" : KINDS[mode & 0o170000][0];
  const bits = [...`${"rwx".repeat(3)}`].map((c, i) => mode & (0o400 >> i) ? c : "-");
  if (mode & 0o4000) bits[2] = mode & 0o100 ? "s" : "S";
  if (mode & 0o2000) bits[5] = mode & 0o010 ? "s" : "S";
  if (mode & 0o1000) bits[8] = mode & 0o001 ? "t" : "T";
  return letter + bits.join("") + (dir.mode & DMEXCL ? "l" : "");
}

/** Lines of `ls -l`, in columns. */
export function longLines(files: Found[]): string {
  const rows = files.map(({ dir, target }) => [
    modeText(dir),
    String(dir.nlink),
    visible(dir.uid),
    visible(dir.gid),
    String(dir.length),
    timeText(dir.mtime).slice(0, 16).replace("T", " "),
    visible(dir.name) + (target === undefined ? "" : ` -> ${visible(target)}`),
  ]);
  const widths = rows.reduce((most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)), [] as number[]);
  const isNumber = (i: number) => i === 1 || i === 4;
  return rows.map((row) =>
    row.map((cell, i) => isNumber(i) ? cell.padStart(widths[i]) : i === 6 ? cell : cell.padEnd(widths[i])).join(" ") +
    "\n"
  ).join("");
}

/** All that is known of a file, a line each. */
export function statText({ path, dir, target }: Found): string {
  const lines = Object.entries(jsonOf({ path, dir, target })).map(([key, value]) =>
    `${key.padEnd(7)} ${visible(typeof value === "object" ? JSON.stringify(value) : String(value))}\n`
  );
  return lines.join("");
}

/** A file as JSON. */
export function jsonOf({ path, dir, target }: Found): Record<string, unknown> {
  const mode = unixMode(dir.mode, dir.ext);
  return {
    path,
    name: dir.name,
    kind: KINDS[mode & 0o170000][1],
    mode: modeText(dir),
    octal: (mode & 0o7777).toString(8).padStart(4, "0"),
    size: dir.length,
    links: dir.nlink,
    uid: dir.uid,
    gid: dir.gid,
    mtime: timeText(dir.mtime, dir.mtimeNsec),
    atime: timeText(dir.atime, dir.atimeNsec),
    qid: { path: String(dir.qid.path), vers: dir.qid.vers, type: dir.qid.type },
    ...(dir.ext === "" ? {} : { ext: dir.ext }),
    ...(target === undefined ? {} : { target }),
  };
}

/** A time in ISO 8601, UTC; a server may send any number. */
function timeText(sec: number, nsec = 0): string {
  const ms = sec * 1000 + Math.floor(nsec / 1e6);
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `@${sec}`;
}
