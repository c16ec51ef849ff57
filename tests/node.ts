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
  /** Ends it as Ctrl-C does, or by another signal to all its processes; answers the exit status. */
  stop(signal?: Deno.Signal): Promise<number>;
  /** Ends it as a power cut does. */
  crash(): Promise<void>;
}

/** Boots with these arguments besides those that keep it to itself. */
export async function bootNode(...args: string[]): Promise<TestNode> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-node-" });
  const socket = `${dir}/9p`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "boot", "--no-console", "--quiet", "--socket", socket, "--data", dir, ...args],
    cwd: ROOT,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const first = await firstLine(child.stdout);
  if (!first.startsWith("listening ")) {
    child.kill("SIGKILL");
    await child.stdout.cancel();
    assert.fail(`the node did not boot: ${first}${await new Response(child.stderr).text()}`);
  }
  const address = `unix!${socket}`;
  let status: Promise<number> | undefined;
  const stop = (signal?: Deno.Signal) => status ??= end(child, dir, signal);
  return {
    address,
    pid: child.pid,
    dir,
    connect: async (options) => await Client.connect(await dial(address), { uname: "root", uid: 0, ...options }),
    stop,
    async crash() {
      for (const pid of childrenOf(child.pid)) Deno.kill(pid, "SIGKILL");
      await child.status;
      status = Promise.resolve(0);
      await Promise.all([child.stdout.cancel(), child.stderr.cancel(), Deno.remove(dir, { recursive: true })]);
    },
    [Symbol.asyncDispose]: async () => void await stop(),
  };
}

/** The processes that a process started: `deno task` runs the node as one. */
function childrenOf(pid: number): number[] {
  return Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).split(" ").filter((word) => word !== "").map(
    Number,
  );
}

async function end(child: Deno.ChildProcess, dir: string, signal?: Deno.Signal): Promise<number> {
  // A service manager, or a terminal that goes, tells them all; `deno task` hands it on besides.
  const others = signal ? childrenOf(child.pid) : [];
  child.kill(signal ?? "SIGINT");
  for (const pid of others) {
    try {
      Deno.kill(pid, signal!);
    } catch (e) {
      if (!(e instanceof Deno.errors.NotFound)) throw e; // what was handed on has ended it
    }
  }
  const { code } = await child.status;
  const [, said] = await Promise.all([child.stdout.cancel(), new Response(child.stderr).text()]);
  if (code !== 0) console.error(`the node ended with status ${code}: ${said}`);
  await Deno.remove(dir, { recursive: true });
  return code;
}

/** The first line. A quiet node says no more, so no read stays behind that a later test would be blamed for. */
async function firstLine(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let done = false; !done && !text.includes("\n");) {
    const chunk = await reader.read();
    done = chunk.done;
    text += decoder.decode(chunk.value, { stream: true });
  }
  reader.releaseLock();
  return text.split("\n")[0];
}
