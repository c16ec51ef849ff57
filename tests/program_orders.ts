/** Starts a node that runs programs (program_node.ts), and gives it orders: for tests and benchmarks. */

import { fileURLToPath } from "node:url";
import { FLAGS } from "../core/host/testdata/driver.ts";
import type { Order } from "./program_node.ts";

/** A node that takes orders. */
export class Orders {
  readonly #child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", ...FLAGS, fileURLToPath(new URL("./program_node.ts", import.meta.url))],
    env: { DENO_NO_UPDATE_CHECK: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  readonly #stdin = this.#child.stdin.getWriter();
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #n = 0;
  /** What the node has said on its standard error. */
  said = "";

  constructor() {
    void this.#listen();
    void this.#hear();
  }

  give(order: Order): Promise<unknown> {
    const n = ++this.#n, answer = Promise.withResolvers<unknown>();
    this.#waiting.set(n, answer);
    void this.#stdin.write(new TextEncoder().encode(`${JSON.stringify({ ...order, n })}\n`));
    return answer.promise;
  }

  async end(): Promise<number> {
    void this.give({ op: "bye" });
    const { code } = await this.#child.status;
    await this.#stdin.close().catch(() => {});
    return code;
  }

  async #hear(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.said += text;
      console.error(text.trimEnd());
    }
  }

  async #listen(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const { n, ok, error, code } = JSON.parse(line);
        const { resolve, reject } = this.#waiting.get(n)!;
        if (error === undefined) resolve(ok);
        else reject(Object.assign(new Error(error), { code }));
      }
    }
  }
}
