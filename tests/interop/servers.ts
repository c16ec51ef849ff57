/**
 * The servers that foreign clients are tried on: ring9 as a user boots it, Debian's diod, and any other by its command.
 *
 * Layer: tests/interop and bench. Each is a process of its own that listens on loopback, and ends with `await using`.
 */

import { join } from "node:path";
import { message, RawClient, T } from "./raw9p.ts";
import { freePort, programPath, ROOT, until } from "./host.ts";

/** A server under test. */
export interface TestServer extends AsyncDisposable {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** The process that serves. */
  readonly pid: number;
  /** What a client attaches to. */
  readonly aname: string;
  /** A writable directory of that tree, without slashes at its ends. */
  readonly work: string;
  /** Milliseconds from its start until it answered a Tversion. */
  readonly startMs: number;
  /** What it has printed so far. */
  log(): string;
}

/** How to start a server. */
export interface ServerOptions {
  /** Put in front of the command, as `["taskset", "-c", "0"]`. */
  prefix?: readonly string[];
  /** More arguments of the server. */
  args?: readonly string[];
}

/** A server that is started by a command. */
export interface ServerCommand {
  name: string;
  /** `{port}` stands for the port on which it has to listen. */
  command: readonly string[];
  aname: string;
  work: string;
  /** Called after its end. */
  cleanup?: () => Promise<void>;
}

/** Debian's diod on a directory of its own in memory, every user squashed to the one who runs it. */
export async function startDiod(options: ServerOptions = {}): Promise<TestServer> {
  const dir = await Deno.makeTempDir({ dir: "/dev/shm", prefix: "ring9-diod-" });
  await Deno.mkdir(join(dir, "work"));
  const who = Deno.uid() === 0 ? ["-S", "-U", "root"] : ["-u", String(Deno.uid())];
  const command = ["diod", "-f", "-n", ...who, "-L", "stderr", "-l", "127.0.0.1:{port}", "-e", dir, "-e", "ctl"];
  const cleanup = () => Deno.remove(dir, { recursive: true });
  return await startServer({ name: "diod", command, aname: dir, work: "work", cleanup }, options);
}

/** ring9 by `deno task boot`, with its own name space and the writable `ram` at `/tmp`. */
export async function startRing9(options: ServerOptions = {}): Promise<TestServer> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-boot-" });
  const boot = [Deno.execPath(), "task", "--quiet", "boot", "--no-console"];
  const command = [...boot, "--data", dir, "--socket", join(dir, "9p"), "--listen", "tcp!127.0.0.1!{port}"];
  const cleanup = () => Deno.remove(dir, { recursive: true });
  return await startServer({ name: "ring9", command, aname: "/", work: "tmp", cleanup }, options);
}

/** Starts a server and waits until it answers a Tversion. */
export async function startServer(what: ServerCommand, options: ServerOptions = {}): Promise<TestServer> {
  const port = freePort(), started = performance.now();
  const words = [...options.prefix ?? [], ...what.command, ...options.args ?? []];
  const child = spawn(words.map((word) => word.replaceAll("{port}", String(port))));
  const stop = async () => {
    await child.stop();
    await what.cleanup?.();
  };
  try {
    await untilListening(what.name, port, child);
    const startMs = performance.now() - started;
    const pid = await listenerPid(child.pid, port);
    const { name, aname, work } = what;
    return { name, host: "127.0.0.1", port, pid, aname, work, startMs, log: child.log, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Spawned {
  pid: number;
  log(): string;
  ended(): boolean;
  stop(): Promise<void>;
}

function spawn(command: readonly string[]): Spawned {
  const child = new Deno.Command(programPath(command[0]) ?? command[0], {
    args: command.slice(1),
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said: string[] = [];
  const drained = Promise.all([collect(child.stdout, said), collect(child.stderr, said)]);
  let ended = false;
  const status = child.status.then(() => ended = true);
  const stop = async () => {
    if (!ended) child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 5_000);
    await status;
    clearTimeout(late);
    await drained;
  };
  return { pid: child.pid, log: () => said.join(""), ended: () => ended, stop };
}

async function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>, into: string[]): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) into.push(text);
}

async function untilListening(name: string, port: number, child: Spawned): Promise<void> {
  const took = until(`${name} listens on port ${port}`, 60_000, async () => {
    if (child.ended()) throw new Error(`${name} ended at once`);
    try {
      using client = await RawClient.connect({ host: "127.0.0.1", port });
      await client.rpc(message(T.version, 0xffff, [4, 8192], "9P2000.L"));
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return undefined;
      throw error;
    }
  });
  await took.catch((error) => {
    throw new Error(`${error.message}\n${child.log()}`);
  });
}

/** Which of `pid` and the processes it started, as `deno task` does, has the listening socket. */
async function listenerPid(pid: number, port: number): Promise<number> {
  const inode = await listeningInode(port);
  for (const candidate of await descendants(pid)) {
    for await (const { name } of Deno.readDir(`/proc/${candidate}/fd`)) {
      const target = await Deno.readLink(`/proc/${candidate}/fd/${name}`).catch(() => "");
      if (target === `socket:[${inode}]`) return candidate;
    }
  }
  return pid;
}

/** The inode of the socket that listens on a port of loopback: see proc(5), /proc/net/tcp. */
async function listeningInode(port: number): Promise<string | undefined> {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = (await Deno.readTextFile("/proc/net/tcp")).split("\n").map((line) => line.trim().split(/\s+/));
  return rows.find((row) => row[1] === local && row[3] === "0A")?.[9];
}

async function descendants(pid: number): Promise<number[]> {
  const children = (await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "")).trim();
  const below = children === ""
    ? []
    : await Promise.all(children.split(" ").map((child) => descendants(Number(child))));
  return [pid, ...below.flat()];
}
