/**
 * The first code that runs in a plugin's isolate: makes it killable, confines what it can import, and goes on with
 * isolate_run.ts.
 *
 * Layer: core/host, on the confined side. It comes as a data: URL (isolate.ts makes it), since the thread it runs in
 * can read no file; its one import is put in the same way. From `hookModules` on, each module is asked of the kernel
 * over a port, and waited for in shared memory, with a limit.
 *
 * The Web Lock that is held for ever is what lets `terminate` end a thread that is in an endless loop: without it Deno
 * waits for the loop to end. That is how Deno is made, not a promise of it: a test watches it.
 *
 * A heap that runs full inside a promise job ends that job without an event, and the isolate lives on with its limit
 * doubled: the limit having grown is how that is seen.
 */

import process from "node:process";
import { getHeapStatistics } from "node:v8";
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { hookModules, type Served } from "./module_hooks.ts";
import type { IsolateData, ModuleAnswer } from "./isolate.ts";

/** How long the kernel may take to answer for one module. */
const ASK_TIMEOUT_MS = 5_000;

/** Methods of `process` that harm more than the isolate, for whoever finds a way to the object. */
const PROCESS_HARM = ["abort", "binding", "dlopen", "exit", "getBuiltinModule", "kill", "_kill", "reallyExit", "stdin"];

const data = workerData as IsolateData;
const { modules, answers } = data;

/** Deno has the Web Locks, its types do not. */
interface Locks {
  request(name: string, held: () => Promise<never>): void;
}

await new Promise<void>((held) => {
  (navigator as unknown as { locks: Locks }).locks.request(`ring9 isolate ${data.id}`, () => {
    held();
    return new Promise<never>(() => {});
  });
});

/** What asking takes, kept from whoever replaces the globals later. */
const { load, wait } = Atomics;
const post = modules.postMessage.bind(modules);
const takeAhead = Map.prototype.get.bind(data.ahead);
// deno-lint-ignore no-explicit-any -- node's and the web's MessagePort are one class with two types
const receive = () => receiveMessageOnPort(modules as any)?.message as ModuleAnswer | undefined;
let asks = 0;

hookModules({
  names: data.names,
  builtins: data.builtins,
  ask(url, type): Served {
    const known = type === "" && takeAhead(url);
    if (known) return known;
    const n = ++asks;
    post({ n, url, type });
    for (;;) {
      // A wake may be that of an answer before, which had been seen already; so the port decides.
      const seen = load(answers, 0);
      for (let answer = receive(); answer; answer = receive()) if (answer.n === n) return answer.served;
      if (wait(answers, 0, seen, ASK_TIMEOUT_MS) === "timed-out") {
        return { error: `cannot import ${url}: the kernel did not answer in ${ASK_TIMEOUT_MS} ms` };
      }
    }
  },
});

const exit = Deno.exit.bind(Deno, 0);
for (const name of PROCESS_HARM) {
  Object.defineProperty(process, name, { value: undefined, configurable: false, writable: false });
}

const { runIsolate } = await import(data.run) as typeof import("./isolate_run.ts");
const heapLimit = getHeapStatistics().heap_size_limit;
// deno-lint-ignore no-explicit-any -- as above
const receiveLane = () => receiveMessageOnPort(data.lanes as any)?.message;
// deno-lint-ignore no-explicit-any -- the same
const receiveControl = () => receiveMessageOnPort(data.control as any)?.message;
await runIsolate(data, {
  exit,
  heapFull: () => getHeapStatistics().heap_size_limit > heapLimit,
  heap: getHeapStatistics,
  receiveLane,
  receiveControl,
});
