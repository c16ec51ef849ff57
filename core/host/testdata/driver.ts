/** Starts a node for tests (node.ts) and talks to its kernel; and keeps a folder of plugins that a test writes. */

import { fileURLToPath, pathToFileURL } from "node:url";
import type { Exit } from "../hosted.ts";
import type { Thread } from "../threads.ts";
import type { Command, Spec } from "./kernel.ts";

/** The flags that a node runs with. */
export const FLAGS = ["--no-prompt", "--no-npm", "--no-remote", "--v8-flags=--no-turboshaft-loop-unrolling"];

/** What `info` answers. */
export interface Info {
  id: string;
  pid: number;
  confinement: string;
  placement: string;
  beats: number;
}

/** A refusal from the node. */
export class Refused extends Error {
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

/** A node under test. */
export class TestNode {
  /** What the main thread could do after it was locked. */
  readonly main: Promise<Record<string, boolean>>;
  readonly status: Promise<Deno.CommandStatus>;
  readonly pid: number;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #main = Promise.withResolvers<Record<string, boolean>>();
  readonly #calls = new Map<number, PromiseWithResolvers<unknown>>();
  #n = 0;

  /** `permissions` are Deno's flags, all when not given; `env` is added to our own. */
  constructor(permissions: string[] = ["-A"], env: Record<string, string> = {}) {
    const main = fileURLToPath(new URL("./node.ts", import.meta.url));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", ...FLAGS, ...permissions, main],
      env: { DENO_NO_UPDATE_CHECK: "1", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.status = child.status;
    this.pid = child.pid;
    this.main = this.#main.promise;
    this.#stdin = child.stdin.getWriter();
    this.#listen(child.stdout);
  }

  async locked(): Promise<
    { init: unknown; lock: { landlock: number; seccomp: boolean; permissions: boolean; missing: string[] } }
  > {
    return await this.#call({ op: "locked" });
  }
  async isolate(spec: Spec): Promise<number> {
    return await this.#call({ op: "isolate", spec });
  }
  async process(spec: Spec): Promise<number> {
    return await this.#call({ op: "process", spec });
  }
  async read(hosted: number, path: string): Promise<string> {
    return await this.#call({ op: "read", hosted, path });
  }
  /** Which of a plugin's attempts (`Plugins.attempting`) got through. */
  async reached(hosted: number, attempts: Record<string, string>): Promise<string[]> {
    const reached: string[] = [];
    for (const name of Object.keys(attempts)) {
      if ((await this.read(hosted, name)).startsWith("ok: ")) reached.push(name);
    }
    return reached;
  }
  async exited(hosted: number): Promise<Exit> {
    return await this.#call({ op: "exited", hosted });
  }
  async stop(hosted: number): Promise<void> {
    await this.#call({ op: "stop", hosted });
  }
  async kill(hosted: number): Promise<void> {
    await this.#call({ op: "kill", hosted });
  }
  async info(hosted: number): Promise<Info> {
    return await this.#call({ op: "info", hosted });
  }
  async threads(): Promise<Thread[]> {
    return await this.#call({ op: "threads" });
  }
  async logs(): Promise<string[]> {
    return await this.#call({ op: "logs" });
  }

  /** Has the node end, or its kernel die, or kills it; answers its status. */
  async end(how: "bye" | "die" | "kill" = "bye"): Promise<number> {
    if (how === "kill") Deno.kill(this.pid, "SIGKILL");
    else this.#call({ op: how }).catch(() => {}); // no answer comes
    const { code } = await this.status;
    await this.#stdin.close().catch(() => {}); // it has gone
    return code;
  }

  async #call<T>(command: Command): Promise<T> {
    const n = ++this.#n, answer = Promise.withResolvers<unknown>();
    this.#calls.set(n, answer);
    await this.#stdin.write(new TextEncoder().encode(JSON.stringify({ n, ...command }) + "\n"));
    return await answer.promise as T;
  }

  async #listen(stdout: ReadableStream<Uint8Array>): Promise<void> {
    let rest = "";
    for await (const text of stdout.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#line(JSON.parse(line));
    }
    for (const call of this.#calls.values()) call.reject(new Error("the node has ended"));
  }

  // deno-lint-ignore no-explicit-any -- JSON of a program of ours
  #line(answer: any): void {
    if (answer.main) return this.#main.resolve(answer.main);
    const call = this.#calls.get(answer.n)!;
    this.#calls.delete(answer.n);
    if ("error" in answer) call.reject(new Refused(answer.code, answer.error));
    else call.resolve(answer.ok);
  }
}

/** A folder of plugins. */
export class Plugins {
  readonly folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "ring9-test-" }));
  #count = 0;

  /** Writes a module; answers its URL. */
  write(text: string, name = `plugin${++this.#count}.ts`): string {
    Deno.writeTextFileSync(`${this.folder}/${name}`, text);
    return pathToFileURL(`${this.folder}/${name}`).href;
  }

  /** A plugin whose start() runs `body` and serves `tree`, an object literal's inside. */
  serving(tree: string, body = ""): string {
    return this.write(
      `import { definePlugin, tree } from "ring9/plugin";
       export default definePlugin({ start: async (ctx) => { ${body}; return tree({ ${tree} }, ctx); } });`,
    );
  }

  /** A plugin with a file for each attempt: what it answers is `ok: VALUE`, or the error's text. */
  attempting(attempts: Record<string, string>): string {
    const files = Object.entries(attempts).map(([name, code]) =>
      `${JSON.stringify(name)}: () => attempt(async () => ${code})`
    );
    return this.write(
      `import { definePlugin, tree } from "ring9/plugin";
       const attempt = async (fn: () => unknown) => {
         try { return "ok: " + await fn(); } catch (e) { return (e as Error).name + ": " + (e as Error).message; }
       };
       export default definePlugin({ start: (ctx) => tree({ ${files.join(",\n")} }, ctx) });`,
    );
  }

  remove(): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}
