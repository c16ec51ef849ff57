/**
 * The warden: what the process's main thread becomes. It starts isolates, ends them, and can do nothing else.
 *
 * Layer: core/host. At boot it starts the kernel isolate, which keeps the powers of the process, and then locks itself
 * (lockdown.ts). Plugin isolates are started here, because a thread inherits the lock of the one that starts it,
 * because starting one blocks its creator for 11 to 34 ms, and because a worker's worker comes half a second late. The
 * kernel asks by message (spawn.ts); the warden trusts it, and knows nothing of plugins.
 */

import { type Transferable as NodeTransferable, Worker as Thread } from "node:worker_threads";
import { type LockReport, lockThread, PERMISSIONS } from "./lockdown.ts";

/** How long the process waits for threads that are being ended, when it ends itself. */
const EXIT_WAIT_MS = 200;
/** Exit status when the kernel isolate died: EX_SOFTWARE of sysexits(3). */
const EX_SOFTWARE = 70;

/** What the kernel asks of the warden. */
export type ToWarden =
  | {
    readonly op: "start";
    readonly id: number;
    readonly source: string;
    readonly heapMb: number;
    readonly data: unknown;
  }
  | { readonly op: "kill"; readonly id: number }
  | { readonly op: "exit"; readonly code: number };

/** What the warden tells the kernel. */
export type FromWarden =
  | { readonly ev: "started"; readonly id: number; readonly threadId: number }
  | { readonly ev: "error"; readonly id: number; readonly code: string; readonly text: string }
  | { readonly ev: "exit"; readonly id: number };

/** The first message that the kernel isolate gets. */
export interface KernelInit {
  readonly t: "ring9 kernel";
  readonly port: MessagePort;
  /** What `runWarden` was given for it. */
  readonly init: unknown;
}

/** The second: sent once the main thread is locked. */
export interface KernelLocked {
  readonly t: "ring9 locked";
  readonly lock: LockReport;
}

/**
 * Starts the kernel isolate from `module` with `init` (anything that can be cloned), locks the calling thread, which
 * has to be the main one, and serves the kernel from then on. The process ends when the kernel says so, or dies.
 */
export async function runWarden(module: URL, init: unknown): Promise<void> {
  const kernel = new Worker(
    module,
    { type: "module", name: "kernel", deno: { permissions: ownPermissions() } } as WorkerOptions,
  );
  kernel.onerror = (e) => {
    e.preventDefault();
    console.error(`ring9: the kernel isolate died: ${e.message}`);
    Deno.exit(EX_SOFTWARE);
  };
  const { port1, port2 } = new MessageChannel();
  await listening(kernel); // before that it still loads its modules, by permissions of ours
  kernel.postMessage({ t: "ring9 kernel", port: port2, init } satisfies KernelInit, [port2]);
  const lock = lockThread();
  serve(port1);
  kernel.postMessage({ t: "ring9 locked", lock } satisfies KernelLocked);
}

/**
 * The permissions that this process has, written out: an inherited set would be revoked with the warden's. One that
 * was given for some paths or hosts only can not be handed on.
 */
function ownPermissions(): Record<string, boolean> {
  const granted = PERMISSIONS.map((name) => [name, Deno.permissions.querySync({ name }).state === "granted"]);
  return Object.fromEntries(granted);
}

/** Resolves when the kernel has loaded and says its first word. */
function listening(kernel: Worker): Promise<void> {
  return new Promise((resolve) => kernel.onmessage = () => resolve());
}

function serve(port: MessagePort): void {
  const threads = new Map<number, Thread>(), ending = new Set<Promise<number>>();
  const tell = (message: FromWarden) => port.postMessage(message);
  port.onmessage = ({ data }: MessageEvent<ToWarden>) => {
    if (data.op === "exit") void exit(data.code, ending);
    if (data.op === "kill") {
      const end = threads.get(data.id)?.terminate();
      if (end) ending.add(end), end.finally(() => ending.delete(end));
    }
    if (data.op === "start") start(data, threads, tell);
  };
}

/** Ends the process. A thread that is just being ended is waited for: the runtime would call its end an error. */
async function exit(code: number, ending: Iterable<Promise<number>>): Promise<void> {
  await Promise.race([Promise.allSettled(ending), new Promise((resolve) => setTimeout(resolve, EXIT_WAIT_MS))]);
  Deno.exit(code);
}

function start(
  { id, source, heapMb, data }: ToWarden & { op: "start" },
  threads: Map<number, Thread>,
  tell: (message: FromWarden) => void,
): void {
  const fail = (e: unknown) => {
    const { code, stack, message } = e as Error & { code?: string };
    tell({ ev: "error", id, code: code ?? "", text: stack ?? message ?? String(e) });
  };
  try {
    const thread = new Thread(new URL(source), {
      workerData: data,
      transferList: portsOf(data) as unknown as NodeTransferable[],
      resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: Math.max(1, heapMb >> 3) },
    });
    threads.set(id, thread);
    thread.on("error", fail);
    thread.on("exit", () => {
      if (threads.delete(id)) tell({ ev: "exit", id });
    });
    tell({ ev: "started", id, threadId: thread.threadId });
  } catch (e) {
    fail(e);
    tell({ ev: "exit", id });
  }
}

/** The ports among the values of an object: they go with it, they are not copied. */
function portsOf(data: unknown): MessagePort[] {
  return Object.values(data as Record<string, unknown>).filter((value) => value instanceof MessagePort);
}
