/**
 * What the interop tests need of the host: programs, a cache of what was built, compiled C, free ports.
 *
 * Layer: tests/interop and bench. Nothing is installed and nothing is written outside the cache directory
 * (`$XDG_CACHE_HOME/ring9/interop`, else the temporary directory) and temporary files.
 */

import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root, without a slash at its end. */
export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Where things that are built once are kept. */
export function cacheDir(): string {
  const xdg = Deno.env.get("XDG_CACHE_HOME");
  const dir = xdg ? join(xdg, "ring9", "interop") : join(tmpdir(), `ring9-interop-${Deno.uid()}`);
  Deno.mkdirSync(dir, { recursive: true, mode: 0o700 });
  return dir;
}

/** The programs among `names` that are not on the search path (`/usr/sbin` is looked at too). */
export function missingPrograms(...names: string[]): string[] {
  return names.filter((name) => programPath(name) === undefined);
}

/** Where a program is, or undefined. */
export function programPath(name: string): string | undefined {
  const dirs = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return dirs.map((dir) => join(dir, name)).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

/** What a finished program left. */
export interface RunResult {
  status: number;
  stdout: string;
  stderr: string;
}

/** Options of `run`. */
export interface RunOptions {
  cwd?: string;
  /** The program is killed after this. */
  timeoutMs?: number;
  stdin?: Uint8Array<ArrayBuffer>;
  env?: Record<string, string>;
}

/** Runs a program to its end. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const bytes = await runBytes(program, args, options);
  return { ...bytes, stdout: new TextDecoder().decode(bytes.stdout) };
}

/** `run`, with the output as it came. */
export async function runBytes(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ status: number; stdout: Uint8Array<ArrayBuffer>; stderr: string }> {
  const child = new Deno.Command(programPath(program) ?? program, {
    args: [...args],
    cwd: options.cwd,
    env: options.env,
    stdin: options.stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
    signal: options.timeoutMs ? AbortSignal.timeout(options.timeoutMs) : undefined,
  }).spawn();
  // Fed while its output is read, for it may fill a pipe; one that ends early is judged by its status.
  if (options.stdin) void feed(child.stdin, options.stdin).catch(() => {});
  const { code, stdout, stderr } = await child.output();
  return { status: code, stdout, stderr: new TextDecoder().decode(stderr) };
}

async function feed(stdin: WritableStream<Uint8Array<ArrayBuffer>>, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const writer = stdin.getWriter();
  await writer.write(bytes);
  await writer.close();
}

/** Runs a program and throws, with what it said, unless it succeeds. */
export async function must(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await run(program, args, options);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: status ${status}\n${stderr}${stdout}`);
  return stdout;
}

/** A short name for content. */
export function contentHash(...parts: (Uint8Array | string)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 16);
}

/** The file `name` of the cache; `make` writes it to the path it is given when it is not there yet. */
export async function cached(name: string, make: (path: string) => Promise<void>): Promise<string> {
  const path = join(cacheDir(), name);
  if (await exists(path)) return path;
  await Deno.mkdir(dirname(path), { recursive: true });
  const scratch = `${path}.${Deno.pid}`;
  await make(scratch);
  await Deno.rename(scratch, path);
  return path;
}

/** A C program of this repository, compiled; one compile for each content of it and of the headers beside it. */
export async function compileC(source: string, flags: readonly string[] = []): Promise<string> {
  const dir = dirname(source), content = await Deno.readTextFile(source);
  const headers = [...content.matchAll(/^#include "(.+)"$/gm)].map(([, name]) => Deno.readTextFile(join(dir, name)));
  const stem = basename(source, ".c");
  return await cached(`${stem}-${contentHash(content, ...await Promise.all(headers), ...flags)}`, async (path) => {
    await must("gcc", ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", ...flags, "-o", path, source]);
  });
}

/** A TCP port of loopback on which nobody listens. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

/** Whether a path is there. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Waits, by trying again, until `ready` answers something; throws `what` after `timeoutMs`. */
export async function until<T>(what: string, timeoutMs: number, ready: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await ready();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
