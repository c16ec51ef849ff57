/**
 * A plugin's process: the program that jail.ts starts. Confines what can be imported, runs the plugin, and serves its
 * tree over standard input and output.
 *
 * Layer: core/host, on the confined side; process.ts is the other end. Its permissions are those of the plugin's
 * manifest, given by flags. Where bubblewrap has put no filter on it, it does that itself first, by FFI, which it then
 * gives up. Until the plugin serves, standard input is read synchronously: that is how modules are
 * asked for. After that no module can be asked for, so a plugin imports what it needs before start() has answered.
 */

import { format } from "node:util";
import { transportPair } from "../p9/transport_pair.ts";
import type { Transport } from "../p9/transport.ts";
import { controlFrame, DATA, Deframer, FRAME_HEADER, type Piece, putHeader } from "./frames.ts";
import { BEAT_MS, errorText, type FromPlugin } from "./hosted.ts";
import { filterProcess } from "./lockdown.ts";
import { hookModules, type Served } from "./module_hooks.ts";
import { type Running, runPlugin } from "./plugin_run.ts";
import type { ProcessBoot } from "./process.ts";

const PIPE_BYTES = 65_536;

const stdin = Deno.stdin, stdout = Deno.stdout;
const deframer = new Deframer(), chunk = new Uint8Array(PIPE_BYTES);
let serving = false;

function send(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += stdout.writeSync(bytes.subarray(at));
}

function tell(message: FromPlugin): void {
  send(controlFrame(message));
}

/** The next word of control, blocking. The kernel sends no 9P before the plugin serves. */
function nextControl(): unknown {
  for (;;) {
    const count = stdin.readSync(chunk);
    if (count === null) Deno.exit(0);
    for (const piece of deframer.push(chunk.subarray(0, count))) if ("control" in piece) return piece.control;
  }
}

function ask(url: string, type: string): Served {
  if (serving) {
    return { error: `cannot import ${url}: in a process all modules are loaded before start() has answered` };
  }
  tell({ t: "ask", url, type });
  return nextControl() as Served;
}

/** Carries 9P from the pipe to the plugin; answers when the kernel has closed it. */
async function receive(inner: Transport, running: Running): Promise<void> {
  for (;;) {
    const count = await stdin.read(chunk);
    if (count === null) return;
    for (const piece of deframer.push(chunk.subarray(0, count))) await take(piece, inner, running);
  }
}

async function take(piece: Piece, inner: Transport, running: Running): Promise<void> {
  if ("data" in piece) return await inner.write(piece.data);
  if (piece.control !== "stop") return;
  try {
    await running.stop();
  } catch (e) {
    console.error(`while stopping: ${errorText(e).text}`);
  }
  tell({ t: "stopped" });
}

/** Carries 9P from the plugin to the pipe. */
async function answer(inner: Transport): Promise<void> {
  const frame = new Uint8Array(PIPE_BYTES), room = frame.subarray(FRAME_HEADER);
  for (;;) {
    const count = await inner.read(room);
    if (count === null) return;
    putHeader(frame, DATA, count);
    send(frame.subarray(0, FRAME_HEADER + count));
  }
}

/** Nothing but frames may reach standard output. */
function redirectConsole(): void {
  const line = (...parts: unknown[]) => tell({ t: "log", text: format(...parts) });
  globalThis.console = { log: line, info: line, warn: line, error: line, debug: line } as Console;
}

function die(thrown: unknown, word: "fail" | "died"): never {
  tell({ t: word, error: errorText(thrown) });
  Deno.exit(1);
}

/** Puts the filter on, and gives up what that took. No code of the plugin's is here yet. */
function putOn(filter: NonNullable<ProcessBoot["filter"]>): void {
  try {
    filterProcess(filter.library, filter);
    tell({ t: "filtered" });
  } catch (e) {
    tell({ t: "filtered", error: (e as Error).message });
  }
  if (!filter.keep) Deno.permissions.revokeSync({ name: "ffi", path: filter.library });
}

const { spec, names, filter } = nextControl() as ProcessBoot;
if (filter) putOn(filter);
hookModules({ names, builtins: null, ask });
redirectConsole();
globalThis.addEventListener("unhandledrejection", (e) => die(e.reason, "died"));
globalThis.addEventListener("error", (e) => die(e.error, "died"));
setInterval(() => tell({ t: "beat" }), BEAT_MS);

const [outer, inner] = transportPair({ remote: "kernel" });
const running = await runPlugin(spec, { transport: outer, log: (text) => tell({ t: "log", text }) })
  .catch((e) => die(e, "fail"));
serving = true;
tell({ t: "up" });
answer(inner);
await receive(inner, running);
Deno.exit(0);
