/**
 * A kernel for tests: one JSON command a line on standard input, one JSON answer a line on standard output.
 *
 * Commands run side by side, as requests do; an answer carries its command's number.
 */

import { Client } from "../../p9/client.ts";
import { toErr } from "../../err.ts";
import type { Hosted } from "../hosted.ts";
import type { IsolateSpec } from "../isolate.ts";
import type { ProcessSpec } from "../process.ts";
import { Warden } from "../spawn.ts";
import { threads } from "../threads.ts";

/** What a test asks for. */
export type Command =
  | { op: "locked" }
  | { op: "isolate"; spec: Spec }
  | { op: "process"; spec: Spec }
  | { op: "read"; hosted: number; path: string }
  | { op: "exited" | "stop" | "kill" | "info"; hosted: number }
  | { op: "threads" }
  | { op: "logs" }
  | { op: "bye" | "die" };

/** What a test says of a plugin; the rest is filled in. */
export type Spec = Partial<Omit<IsolateSpec & ProcessSpec, "log">> & { module: string };

const warden = await Warden.connect();
const all: Hosted[] = [], clients = new Map<number, Promise<Client>>(), logs: string[] = [];

const handlers: { [K in Command["op"]]: (command: Command & { op: K }) => unknown } = {
  locked: async () => ({ init: warden.init, lock: await warden.locked }),
  isolate: async ({ spec }) => all.push(await warden.spawnIsolate(full(spec))) - 1,
  process: async ({ spec }) => all.push(await warden.spawnProcess(full(spec))) - 1,
  read: async ({ hosted, path }) => (await client(hosted)).readText(path),
  exited: ({ hosted }) => all[hosted].exited,
  stop: ({ hosted }) => all[hosted].stop(),
  kill: ({ hosted }) => all[hosted].kill(),
  info: ({ hosted }) => {
    const { id, pid, confinement, placement } = all[hosted];
    return { id, pid, confinement, placement, beats: all[hosted].beats() };
  },
  threads: () => threads(),
  logs: () => logs,
  bye: () => warden.exit(7),
  die: () =>
    void queueMicrotask(() => {
      throw new Error("a fault of the kernel's, made by a test");
    }),
};

function full(spec: Spec): IsolateSpec & ProcessSpec {
  const given = {
    name: "test",
    options: {},
    reason: "fresh",
    hostowner: "glenda",
    sysname: "gnot",
    generation: 1,
    permissions: {},
  } as const;
  return { ...given, ...spec, log: (text) => logs.push(text) };
}

function client(hosted: number): Promise<Client> {
  let made = clients.get(hosted);
  if (!made) clients.set(hosted, made = Client.connect(all[hosted].transport, { uname: "glenda" }));
  return made;
}

async function run(command: Command & { n: number }): Promise<void> {
  let answer: unknown;
  try {
    // deno-lint-ignore no-explicit-any -- the table's type says that this fits
    answer = { n: command.n, ok: await (handlers as any)[command.op](command) ?? null };
  } catch (e) {
    answer = { n: command.n, error: toErr(e).message, code: toErr(e).code };
  }
  console.log(JSON.stringify(answer));
}

let rest = "";
for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop()!;
  for (const line of lines) run(JSON.parse(line));
}
await warden.exit(0);
