/**
 * A ring9 with a stack of its own on a TAP, whose other side is Linux: for tests in a network namespace.
 *
 * Layer: tests/interop. It runs programs (../program_node.ts); Linux is OTHER, ring9 is OWN. Both end with `await using`.
 */

import { programPath } from "./host.ts";
import type { Order } from "../program_node.ts";
import { Orders } from "../program_orders.ts";

/** Linux's address on the TAP, and ring9's. */
export const OTHER = "10.99.0.1", OWN = "10.99.0.2", OTHER6 = "fd99::1", OWN6 = "fd99::2";

const TRIES = 200, TRY_MS = 25;

/** A ring9 that runs programs, without a network at first. */
export class NetNode implements AsyncDisposable {
  readonly #orders = new Orders();

  /** On the TAP `tap0`, which it makes; without `address` its interface has none yet. */
  static async onTap({ address = true } = {}): Promise<NetNode> {
    const node = new NetNode();
    await node.give({ op: "load", plugin: `ether as ether0 device='tap tap0' hostAddress=${OTHER}/24` });
    const options = address ? ` device=ether0 address='${OWN}/24 ${OWN6}/64'` : "";
    await node.give({ op: "load", plugin: `ip${options}` });
    await node.ns("bind '#ip' /net\nbind -a '#ether0' /net");
    return node;
  }

  give(order: Order): Promise<unknown> {
    return this.#orders.give(order);
  }

  /** Lines of a namespace file. */
  async ns(lines: string): Promise<void> {
    await this.give({ op: "ctl", path: "/proc/1/ns", text: lines });
  }

  /** Types lines at its prompt; answers what they print. */
  async sh(...lines: string[]): Promise<string> {
    return await this.give({ op: "sh", lines }) as string;
  }

  /** Runs a program with an input; answers what it prints and its status. */
  async run(path: string, args: string[], input = ""): Promise<{ output: string; status: string }> {
    return await this.give({ op: "run", path, args, input }) as { output: string; status: string };
  }

  /** Starts a program in the background. */
  async start(line: string): Promise<void> {
    await this.give({ op: "ctl", path: "/proc/1/ctl", text: `run ${line}` });
  }

  /** Starts one that takes calls, and waits until it does. */
  async serve(line: string, port: number): Promise<void> {
    await this.start(line);
    const isThere = new RegExp(`^tcp/\\d+ .*Listen .*!${port} `, "m");
    await until(async () => isThere.test(await this.sh("netstat -p tcp")), `nothing listens on ${port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const status = await this.#orders.end();
    if (status !== 0) throw new Error(`the node ended with status ${status}`);
  }
}

/** A program of the host that runs meanwhile; what it prints can be waited for. */
export class HostProgram implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #output = "";
  #stdin: WritableStreamDefaultWriter<Uint8Array> | undefined;

  constructor(command: string, ...args: string[]) {
    const options = { args, stdin: "piped", stdout: "piped", stderr: "null" } as const;
    this.#child = new Deno.Command(programPath(command)!, options).spawn();
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of this.#child.stdout) this.#output += decoder.decode(bytes, { stream: true });
  }

  /** What it has printed. */
  get output(): string {
    return this.#output;
  }

  async write(text: string): Promise<void> {
    this.#stdin ??= this.#child.stdin.getWriter();
    await this.#stdin.write(new TextEncoder().encode(text));
  }

  /** Ends its input. */
  async endInput(): Promise<void> {
    await (this.#stdin ?? this.#child.stdin).close();
    this.#stdin = undefined;
  }

  /** Waits for its own end: its status. */
  async ended(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (this.#stdin ?? this.#child.stdin).close().catch(() => {});
    try {
      this.#child.kill("SIGTERM");
    } catch {
      // It has ended.
    }
    await this.ended();
  }
}

/** Waits until something is so; throws what was wanted when it does not come about. */
export async function until(isSo: () => Promise<boolean> | boolean, wanted: string): Promise<void> {
  for (let tries = 0; !await isSo(); tries++) {
    if (tries === TRIES) throw new Error(wanted);
    await new Promise((resolve) => setTimeout(resolve, TRY_MS));
  }
}
