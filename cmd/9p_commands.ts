/**
 * The commands of the 9p program: ls, cat, write, stat, rm, mkdir.
 *
 * Layer: cmd, over the client. A command does all that it can: what fails for one path is said, and the next goes on.
 * Symlinks are never followed on the way down: `rm -r` and `ls -R` stay in their tree.
 */

import {
  type Client,
  type Code,
  type Dir,
  DMDIR,
  DMSYMLINK,
  Err,
  ERRORS,
  OREAD,
  OTRUNC,
  OWRITE,
  toErr,
} from "../core/p9/mod.ts";
import type { RemoteFile } from "../core/p9/mod.ts";
import { UsageError } from "./args.ts";
import { runTop, topWords } from "./top.ts";
import { complain, type Found, jsonOf, longLines, print, statText, visible } from "./9p_print.ts";

/** What a command is given. */
export interface Job {
  client: Client;
  /** The dial string, for messages. */
  address: string;
  paths: string[];
  flags: {
    long?: boolean;
    recursive?: boolean;
    remove?: boolean;
    parents?: boolean;
    create?: boolean;
    append?: boolean;
    json?: boolean;
  };
  signal: AbortSignal | undefined;
}

/** A command. */
export interface Command {
  /** Does its work: the exit status. */
  run: (job: Job) => Promise<number>;
  /** Whether no path at all is an error. */
  needsPath: boolean;
}

/** Each command by its name. */
export const COMMANDS: ReadonlyMap<string, Command> = new Map([
  ["ls", { run: ls, needsPath: false }],
  ["cat", { run: cat, needsPath: true }],
  ["write", { run: write, needsPath: true }],
  ["stat", { run: stat, needsPath: false }],
  ["rm", { run: rm, needsPath: true }],
  ["mkdir", { run: mkdir, needsPath: true }],
  ["top", { run: top, needsPath: false }],
]);

/** Does `what` for each path; complains of each that fails. */
async function each(job: Job, verb: string, what: (path: string) => Promise<void | number>): Promise<number> {
  let status = 0;
  for (const path of job.paths) {
    if (job.client.rpc.failure) break; // said already
    try {
      status |= await what(path) ?? 0;
    } catch (e) {
      status = complainOf(job, verb, path, e);
    }
  }
  return status;
}

function complainOf(job: Job, verb: string, path: string, thrown: unknown): number {
  const { code, message } = toErr(thrown instanceof SuppressedError ? thrown.suppressed : thrown);
  const why = job.signal?.aborted ? "it took longer than --timeout" : message + hint(job, path, { code, message });
  return complain(new Err(code, `cannot ${verb} ${path} at ${job.address}: ${why}`), job.flags.json);
}

/** What to try; nothing where the server has said more than the error's own words. */
function hint({ address }: Job, path: string, { code, message }: { code: Code; message: string }): string {
  if (!message.endsWith(ERRORS[code][1])) return "";
  switch (code) {
    case "ENOENT":
      return ` (try: 9p ls ${address} ${parentOf(path)})`;
    case "EACCES":
    case "EPERM":
      return " (try another --uname or --uid)";
    case "ENOTEMPTY":
      return " (try: 9p rm -r)";
    case "EISDIR":
      return ` (try: 9p ls ${address} ${path})`;
    default:
      return "";
  }
}

function parentOf(path: string): string {
  return path.replace(/\/*[^/]*\/*$/, "") || "/";
}

function join(dir: string, name: string): string {
  return dir.endsWith("/") ? dir + name : `${dir}/${name}`;
}

// ls

async function ls(job: Job): Promise<number> {
  const { flags } = job;
  const all: Found[] = [];
  const titled = job.paths.length > 1 || flags.recursive;
  let first = true;
  const show: Show = (path, files, isDirectory) => {
    if (flags.json) return void all.push(...files);
    if (titled && isDirectory) print(`${first ? "" : "\n"}${visible(path)}:\n`);
    first = false;
    print(flags.long ? longLines(files) : files.map(({ dir }) => visible(dir.name) + "\n").join(""));
  };
  const status = await each(job, "list", (path) => listTree(job, path, show));
  if (flags.json) print(JSON.stringify(all.map(jsonOf), null, 2) + "\n");
  return status;
}

type Show = (path: string, files: Found[], isDirectory: boolean) => void;

/** Shows what `top` is, or what is in it; with -R what is below too. */
async function listTree(job: Job, top: string, show: Show): Promise<number> {
  const dir = await job.client.stat(top, job.signal);
  if (!isDirectory(dir)) {
    show(top, [await withTarget(job, { path: top, dir })], false);
    return 0;
  }
  let status = 0;
  const waiting = [top];
  for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
    try {
      const files = await listDirectory(job, path);
      show(path, files, true);
      if (job.flags.recursive) {
        waiting.unshift(...files.filter((file) => isDirectory(file.dir)).map((file) => file.path));
      }
    } catch (e) {
      if (path === top || job.client.rpc.failure) throw e;
      status = complainOf(job, "list", path, e);
    }
  }
  return status;
}

async function listDirectory(job: Job, path: string): Promise<Found[]> {
  const { client, signal, flags } = job;
  const dirs = await client.list(path, { stats: flags.long || flags.json, signal });
  dirs.sort((a, b) => a.name < b.name ? -1 : 1);
  const files: Found[] = [];
  for (const dir of dirs) files.push(await withTarget(job, { path: join(path, dir.name), dir }));
  return files;
}

/** Adds a symlink's target where it is shown. */
async function withTarget({ client, flags, signal }: Job, file: Found): Promise<Found> {
  if (!(file.dir.mode & DMSYMLINK) || !(flags.long || flags.json)) return file;
  await using link = await client.walk(file.path, signal);
  return { ...file, target: await link.readlink(signal) };
}

// stat

async function stat(job: Job): Promise<number> {
  const all: Found[] = [];
  const status = await each(job, "stat", async (path) => {
    const file = await withTarget({ ...job, flags: { json: true } }, {
      path,
      dir: await job.client.stat(path, job.signal),
    });
    if (!job.flags.json) print((all.length > 0 ? "\n" : "") + statText(file));
    all.push(file);
  });
  if (job.flags.json) print(JSON.stringify(all.map(jsonOf), null, 2) + "\n");
  return status;
}

// cat, write

async function cat(job: Job): Promise<number> {
  const { client, signal, flags } = job;
  const all: unknown[] = [];
  const status = await each(job, "read", async (path) => {
    await using file = await client.open(path, OREAD, signal);
    if (flags.json) return void all.push(contentOf(path, await file.readAll({ signal })));
    for await (const bytes of file.readable({ signal })) print(bytes);
  });
  if (flags.json) print(JSON.stringify(all, null, 2) + "\n");
  return status;
}

/** A file's content as JSON: text, or base64 where it is none. */
function contentOf(path: string, bytes: Uint8Array): unknown {
  try {
    return { path, size: bytes.length, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { path, size: bytes.length, base64: bytes.toBase64() };
  }
}

async function write(job: Job): Promise<number> {
  if (job.paths.length > 1) return complain("write: standard input goes into one file", job.flags.json);
  return await each(job, "write", async (path) => {
    await using file = await openForWriting(job, path);
    const offset = job.flags.append ? (await file.stat(job.signal)).length : 0;
    await Deno.stdin.readable.pipeTo(file.writable({ offset, signal: job.signal }));
    if (job.flags.json) print(JSON.stringify(jsonOf({ path, dir: await file.stat(job.signal) }), null, 2) + "\n");
  });
}

async function openForWriting({ client, flags, signal }: Job, path: string): Promise<RemoteFile> {
  const mode = flags.append ? OWRITE : OWRITE | OTRUNC;
  if (flags.create) return await client.openOrCreate(path, mode, 0o666 & ~Deno.umask(), signal);
  try {
    return await client.open(path, mode, signal);
  } catch (e) {
    if (toErr(e).code !== "ENOENT") throw e;
    throw new Err("ENOENT", "file does not exist; --create makes it", { cause: e });
  }
}

// rm, mkdir

async function rm(job: Job): Promise<number> {
  const removed: string[] = [];
  const status = await each(job, "remove", (path) => removeTree(job, path, removed));
  if (job.flags.json) print(JSON.stringify({ removed }) + "\n");
  return status;
}

/** Removes a file, or with -r a directory from its leaves up. */
async function removeTree(job: Job, path: string, removed: string[]): Promise<void> {
  const { client, signal } = job;
  const recursive = job.flags.remove || job.flags.recursive;
  if (recursive && isDirectory(await client.stat(path, signal))) {
    for (const { name } of await client.list(path, { signal })) await removeTree(job, join(path, name), removed);
  }
  await client.remove(path, signal);
  removed.push(path);
}

/** A node's cores, isolates and rings; the words behind the dial string are how often. */
async function top({ client, paths, signal }: Job): Promise<number> {
  const words = paths.filter((path) => path !== "/"), how = topWords(words);
  if (!how) throw new UsageError("top: wanted [once] [SECONDS], from 0.05 to 3600");
  const read = () => client.readText("/sys/metrics", { signal });
  await runTop({
    ...how,
    read,
    print: async (text) => void print(text),
    clear: how.frames > 1 && Deno.stdout.isTerminal(),
    signal,
  });
  return 0;
}

function isDirectory(dir: Dir): boolean {
  return (dir.mode & DMDIR) !== 0;
}

async function mkdir(job: Job): Promise<number> {
  const made: string[] = [];
  const perm = 0o777 & ~Deno.umask();
  const status = await each(job, "make", async (path) => {
    for (const prefix of job.flags.parents ? prefixes(path) : [path]) {
      try {
        await job.client.mkdir(prefix, perm, job.signal);
        made.push(prefix);
      } catch (e) {
        if (!job.flags.parents || !(await existsAsDirectory(job, prefix))) throw e;
      }
    }
  });
  if (job.flags.json) print(JSON.stringify({ made }) + "\n");
  return status;
}

/** `/a`, `/a/b` and `/a/b/c` of `/a/b/c`. */
function prefixes(path: string): string[] {
  const names = path.split("/").filter((name) => name !== "");
  return names.map((_, i) => "/" + names.slice(0, i + 1).join("/"));
}

async function existsAsDirectory({ client, signal }: Job, path: string): Promise<boolean> {
  try {
    return isDirectory(await client.stat(path, signal));
  } catch {
    return false; // the mkdir's own error tells more
  }
}
