/**
 * A program's isolate once its imports are confined: imports the program, gives it its calls, runs it, tells how it ended.
 *
 * Layer: core/host, on the confined side, in the place of isolate_run.ts; program.ts is the other end. It has the globals that a
 * plugin has, and nothing but its calls reaches outside.
 */

import { format } from "node:util";
import { Err, toErr } from "../err.ts";
import type { Program, ProgramMain } from "../proc_calls.ts";
import { type Lane, type LaneFinder, type LinkEnds, ProcLink } from "../proc_link.ts";
import type { NoteHandler } from "../proc.ts";
import type { Doorbell } from "../ring/doorbell.ts";
import { ringTransport } from "../ring/transport.ts";
import { hostClock } from "./clock.ts";
import { makeHeart } from "./heart.ts";
import { errorText, type FromPlugin } from "./hosted.ts";
import type { IsolateData } from "./isolate.ts";
import { confineGlobals, type Engine } from "./isolate_run.ts";
import { turn } from "./turn.ts";

/** How often who waits for the end looks for it: several times before the kernel loses patience (isolate.ts). */
const LOOK_MS = 5;

/** Runs the program. Resolves when it runs, or its failure has been told. */
export async function runIsolate(
  { spec, port, control, beat, memoryMb, budget }: IsolateData,
  engine: Engine,
): Promise<void> {
  const { exit, heapFull, heap, receiveLane } = engine, post = control.postMessage.bind(control);
  const tell = (message: FromPlugin) => post(message);
  const ends = ringTransport(port, { budget, turn, monotonic: hostClock.monotonic });
  const heart = makeHeart({ words: beat, memoryMb, doorbell: ends.doorbell, tell, heapFull, heap });
  control.onmessage = ({ data }) => data.t === "beat" ? heart() : exit();
  const running = new Running(ends, spec.options, laneFinder(receiveLane, ends.doorbell), () => sleep(engine));
  const fault = (thrown: unknown) => running.fail(thrown);
  addEventListener("unhandledrejection", (e) => (e.preventDefault(), fault(e.reason)));
  addEventListener("error", (e) => (e.preventDefault(), fault(e.error)));
  confineGlobals((text) => running.say(`${text}\n`));
  console.log = console.info = (...parts) => running.program.print(`${format(...parts)}\n`);
  try {
    const main = mainOf(await import(spec.module), spec.name);
    tell({ t: "up" });
    running.start(main);
  } catch (e) {
    tell({ t: "fail", error: errorText(e) });
  }
}

/** The program and its link to the kernel. */
class Running {
  readonly program: Program;
  readonly #link: ProcLink;
  /** Waits for the end. */
  readonly #sleep: () => never;
  #onNote: NoteHandler | null = null;

  constructor(ends: LinkEnds, options: Readonly<Record<string, unknown>>, laneOf: LaneFinder, sleep: () => never) {
    this.#sleep = sleep;
    this.#link = new ProcLink(ends, (note) => this.#note(note), laneOf);
    const { sys, async } = this.#link;
    this.program = {
      args: options.args as string[],
      pid: options.pid as number,
      sys,
      async,
      print: (text) => this.#writeAll(1, text),
      notify: (handler) => this.#notify(handler),
      exit: (status = "") => this.#exit(status),
    };
  }

  async start(main: ProgramMain): Promise<void> {
    try {
      this.#leave(await main(this.program) ?? "");
    } catch (e) {
      this.fail(e);
    }
  }

  /** It ends with an error that nobody caught. */
  fail(thrown: unknown): never {
    this.say(`${errorText(thrown).text}\n`);
    return this.#exit(toErr(thrown).message || "error");
  }

  /** A text to file 2, or to nobody. */
  say(text: string): void {
    try {
      this.#writeAll(2, text);
    } catch {
      // It has no file 2.
    }
  }

  #writeAll(fd: number, text: string): void {
    let bytes = new TextEncoder().encode(text);
    while (bytes.length > 0) bytes = bytes.subarray(this.program.sys.write(fd, bytes));
  }

  #notify(handler: NoteHandler | null): void {
    this.#onNote = handler;
    this.#link.call("notify", [handler !== null]);
    if (handler) this.#link.listen();
  }

  #note(note: string): void {
    if (!this.#onNote?.(note)) this.#exit(note);
  }

  /** Tells the kernel, and sleeps until it is ended: nothing of the program runs any more. */
  #exit(status: string): never {
    this.#leave(status);
    return this.#sleep();
  }

  /** Tells the kernel that it is over. What fails is that the kernel has ended it already, and takes the rings back. */
  #leave(status: string): void {
    this.#link.callLater("exit", [status]).catch(() => {});
  }
}

/**
 * Sleeps until the kernel has the thread end, which it does by itself then: of one that is ended from outside, in
 * Atomics.wait, Deno says on the host's terminal that it failed.
 */
function sleep({ exit, receiveControl }: Engine): never {
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (;; Atomics.wait(never, 0, 0, LOOK_MS)) {
    for (let said; (said = receiveControl());) if ((said as { t?: unknown }).t !== "beat") exit();
  }
}

/** Lanes by their number, as the kernel has told of them. */
function laneFinder(receive: Engine["receiveLane"], doorbell: Doorbell): LaneFinder {
  const known = new Map<number, Lane>();
  return (number) => {
    for (let news; !known.has(number) && (news = receive());) {
      known.set(news.lane, { ends: ringTransport(news.port, { doorbell }), places: new Float64Array(news.places) });
    }
    return known.get(number);
  };
}

function mainOf(module: Record<string, unknown>, name: string): ProgramMain {
  if (typeof module.default === "function") return module.default as ProgramMain;
  throw new Err("EINVAL", `${name} has no default export that is a function (try: export default defineProgram(...))`);
}
