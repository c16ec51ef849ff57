/**
 * A node for tests: `deno task boot` as a user starts it, in a process of its own, with a client to it.
 *
 * Layer: tests. It listens on a unix socket in a folder of its own, which goes when the node does.
 */

import assert from "node:assert/strict";
import { dial } from "../core/host/transports.ts";
import { Client, type ClientOptions } from "../core/p9/client.ts";

const ROOT = new URL("../", import.meta.url);

/** A node that runs. */
export interface TestNode extends AsyncDisposable {
  /** `unix!...` */
  readonly address: string;
  readonly pid: number;
  /** A folder for the test's files. */
  readonly dir: string;
  /** A new connection. */
  connect(options?: ClientOptions): Promise<Client>;
  /** Ends it as Ctrl-C does; answers the exit status. */
  stop(): Promise<number>;
}

/** Boots with these arguments besides those that keep it to itself. */
export async function bootNode(...args: string[]): Promise<TestNode> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-node-" });
  const socket = `${dir}/9p`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "boot", "--no-console", "--quiet", "--socket", socket, ...args],
    cwd: ROOT,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said: string[] = [];
  const drained = collect(child.stderr, said);
  const first = await firstLine(child.stdout);
  if (!first.startsWith("listening ")) {
    child.kill("SIGKILL");
    await drained;
    assert.fail(`the node did not boot: ${first}${said.join("")}`);
  }
  const address = `unix!${socket}`;
  let status: Promise<number> | undefined;
  const stop = () => status ??= end(child, dir, drained);
  return {
    address,
    pid: child.pid,
    dir,
    connect: async (options) => await Client.connect(await dial(address), { uname: "root", uid: 0, ...options }),
    stop,
    [Symbol.asyncDispose]: async () => void await stop(),
  };
}

async function end(child: Deno.ChildProcess, dir: string, drained: Promise<void>): Promise<number> {
  child.kill("SIGINT");
  const { code } = await child.status;
  await drained;
  await Deno.remove(dir, { recursive: true });
  return code;
}

/** The first line; the rest is read and forgotten. */
function firstLine(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  (async () => {
    let text = "";
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      if (text.includes("\n")) continue;
      text += chunk;
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    }
    resolve(text);
  })();
  return promise;
}

async function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>, into: string[]): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) into.push(text);
}
