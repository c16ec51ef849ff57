/**
 * One plugin in an isolate of its own, or one program (program.ts), as the kernel holds it.
 *
 * Layer: core/host, in the kernel isolate; spawn.ts makes these, warden.ts starts the thread, isolate_main.ts and
 * isolate_run.ts (or program_run.ts) run in it. There are four ways between the two: rings that carry 9P, a port for words of control, a
 * port on which modules are asked for, and a word in shared memory that is the heartbeat.
 *
 * Some deaths give no event (an endless loop, a thread that ends without a word), so a heart that stands still counts
 * as one.
 */

import { type Budget, DEFAULT_BUDGET, type Doorbell, isParked } from "../ring/doorbell.ts";
import { readRing } from "../ring/layout.ts";
import type { RingMatrix } from "../ring/matrix.ts";
import { DATA_BLOCKS, type PortRef, type RingTransport, ringTransport } from "../ring/transport.ts";
import type { Clock } from "../clock.ts";
import { Err } from "../err.ts";
import {
  BEATS,
  clip,
  type Exit,
  type ExitReason,
  type FromPlugin,
  HEAP_BUFFERS,
  HEAP_TOTAL,
  HEAP_USED,
  HEART_WORDS,
  type Hosted,
  type LaneNews,
  type Limits,
  PARKS,
  type PluginSpec,
  SPINS,
  textError,
  type ToPlugin,
  TURNED,
  within,
} from "./hosted.ts";
import type { Served } from "./module_hooks.ts";
import { libc } from "./libc.ts";
import { ISOLATE_BUILTINS, type ModuleServer, stripTypes } from "./modules.ts";
import { Pulse } from "./pulse.ts";
import { allowedCpus, pinThread, threadIds, threadNamed } from "./threads.ts";
import type { FromWarden, ToWarden } from "./warden.ts";
import { type Watch, Watchdog } from "./watchdog.ts";

/** How long an isolate has to end itself before its thread is ended. */
const EXIT_MS = 25;
/** How long until it is given up. */
const KILL_MS = 2_000;
/** How often to look whether a killed thread has gone, and for how long. */
const GONE_LOOK_MS = 2, GONE_LOOKS = 250;
/** The error that Deno reports for a full heap. */
const OUT_OF_MEMORY = "ERR_WORKER_OUT_OF_MEMORY";

/**
 * How an isolate waits. On the kernel's own CPU it may nap for longer than the kernel, which has sockets to look after:
 * between two requests of one client it is then woken for a quarter of what it costs to wake an event loop. The limit is
 * longer than a tick of Linux.
 */
const ISOLATE_BUDGET: Readonly<Budget> = { ...DEFAULT_BUDGET, napMs: 2, napLimitMs: 20 };

/** URLs of modules that a program reads in its name space begin so. */
export const NS_URL = "ns://";
/** Under this name the module server remembers what programs ask for. */
const PROGRAM_GRAPH = "programs";

/** The kernel's row in the matrix of rings. */
export const KERNEL = "kernel";

/** What is asked of an isolate. */
export interface IsolateSpec extends PluginSpec {
  readonly limits?: Partial<Limits>;
  /** The CPU to pin it on. */
  readonly cpu?: number;
  /** Which instance of its name this is; grows with each start. */
  readonly generation: number;
  /** Bytes of each of its two rings, a power of two. */
  readonly ringBytes?: number;
  /** How long it stays awake for what has not come yet. */
  readonly budget?: Partial<Budget>;
  /** Where its lines for the log go. */
  log(text: string): void;
  /** Given for a plugin that uses files: serves them on a transport until that ends. */
  readonly files?: (transport: RingTransport) => void;
  /** Given for a program: how it is served the modules of its name space. It may block for as long as it likes. */
  readonly program?: { serve(url: string, type: string): Promise<Served> };
  /** Called when it is going, before its transport ends. */
  down?(): void;
}

/** What the thread is given (worker data). */
export interface IsolateData {
  readonly id: number;
  readonly spec: PluginSpec;
  /** URL of isolate_run.ts, or of program_run.ts. */
  readonly run: string;
  readonly names: Readonly<Record<string, string>>;
  readonly builtins: readonly string[];
  /** Modules that it will ask for, by URL. */
  readonly ahead: Map<string, Served>;
  readonly modules: MessagePort;
  /** One word that counts the answers on `modules`. */
  readonly answers: Int32Array;
  readonly control: MessagePort;
  /** Where a program learns of lanes. */
  readonly lanes: MessagePort;
  readonly beat: Int32Array;
  /** What its array buffers may take, MiB. */
  readonly memoryMb: number;
  readonly port: PortRef;
  /** Where it asks for files, if it may. */
  readonly files: PortRef | undefined;
  readonly budget: Budget;
}

/** The answer to the isolate's nth question for a module. */
export interface ModuleAnswer {
  readonly n: number;
  readonly served: Served;
}

/** What an isolate needs of the kernel side. */
export interface IsolateHost {
  readonly id: number;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly watch: Watch;
  readonly modules: ModuleServer;
  /** The rings of all isolates; the kernel's row is KERNEL. */
  readonly rings: RingMatrix;
  /** The kernel's, for all of its rings. */
  readonly doorbell: Doorbell;
  /** Which walls the warden's thread has. */
  readonly confinement: string;
  toWarden(message: ToWarden, transfer?: MessagePort[]): void;
}

/** A plugin in an isolate. Made by `Warden.spawnIsolate`. */
export class Isolate implements Hosted {
  readonly placement = "isolate";
  readonly name: string;
  readonly transport: RingTransport;
  readonly confinement: string;
  readonly exited: Promise<Exit>;
  /** Resolves when the plugin serves; rejects with why it does not. */
  readonly up: Promise<void>;
  readonly dog: Watchdog;
  pid = -1;

  readonly #host: IsolateHost;
  readonly #spec: IsolateSpec;
  /** Its row in the matrix of rings. */
  readonly row: string;
  readonly #beat = new Int32Array(new SharedArrayBuffer(4 * HEART_WORDS));
  readonly #answers = new Int32Array(new SharedArrayBuffer(4));
  readonly #control = new MessageChannel();
  readonly #modules = new MessageChannel();
  readonly #lanes = new MessageChannel();
  readonly #grants = new Map<number, (ok: boolean) => void>();
  #lastGrant = 0;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #up = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<Exit>();
  #files: RingTransport | undefined;
  #threadId = -1;
  /** Why it is about to end, as far as known. */
  #why: Exit | undefined;
  #ending = false;
  #ended = false;

  constructor(spec: IsolateSpec, host: IsolateHost) {
    this.name = spec.name;
    this.confinement = `${host.confinement}, heap ${host.limits.heapMb} MiB, buffers ${host.limits.memoryMb} MiB`;
    this.#spec = spec;
    this.#host = host;
    // Two generations of a plugin run side by side while it is reloaded.
    this.row = `${spec.name}.${host.id}`;
    host.rings.join(this.row, spec.cpu ?? onlyCpu());
    // A program's rings carry its calls, which are no 9P.
    const blocks = spec.program ? undefined : DATA_BLOCKS;
    const [mine, theirs] = host.rings.connect(KERNEL, this.row, { bytes: spec.ringBytes, blocks });
    this.transport = ringTransport(mine, { doorbell: host.doorbell });
    this.exited = this.#exited.promise;
    this.up = this.#up.promise;
    this.up.catch(() => {}); // whoever spawned it looks; a later failure is told by `exited`
    this.dog = this.#watchdog();
    this.#begin(theirs, this.#serveFiles());
  }

  get id(): string {
    return `worker-${this.#threadId}`;
  }

  beats(): number {
    return Atomics.load(this.#beat, BEATS);
  }

  /** What it last told of itself: its heap, bytes, and how its waits ended. */
  counters(): Record<string, number> {
    const kib = (word: number) => this.#beat[word] * 1024;
    const heap = { heap_used: kib(HEAP_USED), heap_total: kib(HEAP_TOTAL), heap_buffers: kib(HEAP_BUFFERS) };
    return { ...heap, spun: this.#beat[SPINS] + this.#beat[TURNED], parked: this.#beat[PARKS] };
  }

  /** True while it sleeps, waiting for its rings. */
  get parked(): boolean {
    const bell = this.#host.rings.find(this.row)?.bell;
    return bell !== undefined && isParked(bell);
  }

  /** Sets how long it looks at its rings before it sleeps. */
  spin(looks: number | undefined): void {
    this.#tell({ t: "spin", looks: looks ?? this.#spec.budget?.spin ?? DEFAULT_BUDGET.spin });
  }

  /** It is on this CPU alone; -1: on no particular one. */
  moved(cpu: number): void {
    if (!this.#ended) this.#host.rings.moved(this.row, cpu);
  }

  get onWork(): (() => void) | undefined {
    return this.transport.onWrite;
  }

  set onWork(told: (() => void) | undefined) {
    this.transport.onWrite = told;
  }

  async stop(): Promise<void> {
    if (!this.#ended) {
      this.#control.port1.postMessage("stop");
      await within(this.#host.clock, this.#host.limits.stopMs, Promise.race([this.#stopped.promise, this.exited]));
    }
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#end("killed", "killed by the kernel");
    await this.exited;
  }

  /** Has a plugin's isolate serve a lane. */
  serveLane(lane: number, port: PortRef): void {
    this.#tell({ t: "lane", lane, port });
  }

  /** Has a plugin's isolate serve reads and writes of a fid on a lane; whether it does. */
  grant(lane: number, fid: number): Promise<boolean> {
    if (this.#ended) return Promise.resolve(false);
    const n = ++this.#lastGrant;
    this.#tell({ t: "grant", lane, fid, n });
    return new Promise((resolve) => this.#grants.set(n, resolve));
  }

  /** Tells a program's isolate of a lane. */
  tellLane(news: LaneNews): void {
    this.#lanes.port1.postMessage(news);
  }

  /** What the warden says of this isolate. */
  fromWarden(message: FromWarden): void {
    if (message.ev === "started") this.#started(message.threadId);
    else if (message.ev === "exit") this.#gone();
    else if (message.code === OUT_OF_MEMORY) this.#heapFull();
    else this.#fault("crashed", clip(message.text));
  }

  /** Serves the files that it may use; what it is to be given for it. */
  #serveFiles(): PortRef | undefined {
    const { files, ringBytes } = this.#spec, { rings, doorbell } = this.#host;
    if (!files) return undefined;
    const [mine, theirs] = rings.connect(KERNEL, this.row, { bytes: ringBytes, channel: "files", blocks: DATA_BLOCKS });
    files(this.#files = ringTransport(mine, { doorbell }));
    return theirs;
  }

  #begin(port: PortRef, files: PortRef | undefined): void {
    const { id, modules, limits, clock } = this.#host, spec = this.#spec;
    const graph = spec.program ? PROGRAM_GRAPH : spec.module;
    const folder = spec.program ? `${modules.project}/core` : modules.folderOf(spec.module);
    this.#serveModules(graph, folder);
    this.#control.port1.onmessage = ({ data }) => this.#fromPlugin(data);
    const { name, module, options, reason, hostowner, sysname } = spec;
    const data: IsolateData = {
      id,
      spec: { name, module, options, reason, hostowner, sysname },
      run: new URL(spec.program ? "./program_run.ts" : "./isolate_run.ts", import.meta.url).href,
      names: modules.names,
      builtins: ISOLATE_BUILTINS,
      ahead: modules.ahead(graph, folder),
      modules: this.#modules.port2,
      answers: this.#answers,
      control: this.#control.port2,
      lanes: this.#lanes.port2,
      beat: this.#beat,
      memoryMb: limits.memoryMb,
      port,
      files,
      budget: { ...ISOLATE_BUDGET, ...spec.budget },
    };
    within(clock, limits.startMs, this.up).then(
      () => this.#up.reject(new Err("ETIMEDOUT", `${name}: it did not start in ${limits.startMs} ms`)),
      () => {},
    );
    this.up.catch(() => this.#end("crashed", "it did not start"));
    this.#host.toWarden({ op: "start", id, source: prologue(), heapMb: limits.heapMb, data }, [
      data.modules,
      data.control,
      data.lanes,
    ]);
  }

  /** A program may compute for as long as it likes, unless it is set otherwise. */
  #watchdog(): Watchdog {
    const pulse = new Pulse({
      tid: () => this.pid,
      bell: () => this.#host.rings.find(this.row)?.bell,
      beats: () => this.beats(),
      handed: () => readRing(this.transport.out.ref).producer.bytes,
      suspect: () => this.#beat[HEAP_BUFFERS] > this.#host.limits.memoryMb * 1024,
      ask: () => this.#tell({ t: "beat" }),
    });
    const gone = () => this.#goneSilently(), hung = (why: string) => this.#fault("hung", why);
    const hangMs = this.#spec.program ? 0 : this.#host.limits.hangMs;
    return new Watchdog(this.#host.watch, { beats: () => pulse.feel(), gone, hung }, hangMs);
  }

  #serveModules(graph: string, folder: string): void {
    const port = this.#modules.port1, { program } = this.#spec;
    port.onmessage = async ({ data }) => {
      const n = Number(data?.n), url = String(data?.url), type = String(data?.type ?? "");
      const served = program && url.startsWith(NS_URL)
        ? await program.serve(url, type)
        : this.#host.modules.serve({ url, type, module: graph, folder });
      port.postMessage({ n, served } satisfies ModuleAnswer);
      Atomics.add(this.#answers, 0, 1);
      Atomics.notify(this.#answers, 0);
    };
  }

  #started(threadId: number): void {
    this.#threadId = threadId;
    try {
      this.pid = threadNamed(this.id);
      if (this.#spec.cpu !== undefined && this.pid > 0) pinThread(this.pid, [this.#spec.cpu]);
    } catch (e) {
      this.#spec.log(`${this.name}: not pinned: ${(e as Error).message}`);
    }
  }

  #fromPlugin(message: FromPlugin): void {
    if (message?.t === "up") this.#begun();
    else if (message?.t === "fail") this.#failed(message);
    else if (message?.t === "log") this.#spec.log(clip(message.text));
    else if (message?.t === "granted") this.#granted(message);
    else if (message?.t === "heap") this.#heapFull();
    else if (message?.t === "buffers") this.#buffersFull();
    else if (message?.t === "died") this.#fault("crashed", clip(message.error?.text));
    else if (message?.t === "stopped") {
      this.#why ??= { reason: "stopped", text: "stopped as asked" };
      this.#stopped.resolve();
    }
  }

  #begun(): void {
    this.dog.up();
    this.#up.resolve();
  }

  #tell(message: ToPlugin): void {
    this.#control.port1.postMessage(message);
  }

  #granted({ n, ok }: FromPlugin & { t: "granted" }): void {
    this.#grants.get(n)?.(ok === true);
    this.#grants.delete(n);
  }

  #failed({ error }: FromPlugin & { t: "fail" }): void {
    this.#why ??= { reason: "crashed", text: clip(error?.text) };
    this.#up.reject(textError(error, this.name));
  }

  /** Whether the thread has ended without a word, and not just its heart stands still. */
  #goneSilently(): boolean {
    if (this.pid <= 0 || threadIds().includes(this.pid)) return false;
    const { heapMb } = this.#host.limits;
    this.#fault("gone", `its thread ended without a word (a heap of ${heapMb} MiB that ran full?)`);
    this.#gone();
    return true;
  }

  #heapFull(): void {
    this.#fault("heap", `it reached its heap limit of ${this.#host.limits.heapMb} MiB`);
  }

  #buffersFull(): void {
    this.#fault("heap", `its array buffers take more than its ${this.#host.limits.memoryMb} MiB`);
  }

  #fault(reason: ExitReason, text: string): void {
    this.#why ??= { reason, text };
    this.#up.reject(new Err("EIO", `${this.name}: ${text}`));
    this.#end(reason, text);
  }

  /**
   * Has the thread ended. It is asked first: Deno loses a termination that reaches an isolate between two callbacks,
   * and then never ends it. One that does not answer is inside a call, and there termination takes hold.
   */
  #end(reason: ExitReason, text: string): void {
    this.#why ??= { reason, text };
    if (this.#ended || this.#ending) return;
    this.#ending = true;
    this.#spec.down?.();
    this.#control.port1.postMessage("exit");
    this.#host.clock.after(EXIT_MS, () => {
      if (!this.#ended) this.#host.toWarden({ op: "kill", id: this.#host.id });
    });
    this.#host.clock.after(KILL_MS, () => this.#gone()); // inside a native call: it counts as gone, and is reported
  }

  /** The thread has ended, or is about to. */
  async #gone(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#spec.down?.();
    this.dog.end();
    this.#why ??= { reason: "gone", text: "it ended without a word" };
    this.#up.reject(new Err("EIO", `${this.name}: ${this.#why.text}`));
    this.transport.close();
    this.#files?.close();
    this.#host.rings.leave(this.row, { gone: true });
    this.#control.port1.close();
    this.#modules.port1.close();
    this.#lanes.port1.close();
    for (const refuse of this.#grants.values()) refuse(false);
    if (!await this.#threadGone()) this.#spec.log(`${this.name}: its thread ${this.pid} does not end`);
    this.#exited.resolve(this.#why);
  }

  async #threadGone(): Promise<boolean> {
    for (let look = 0; look < GONE_LOOKS; look++) {
      if (this.pid < 0 || !threadIds().includes(this.pid)) return true;
      await new Promise<void>((resolve) => this.#host.clock.after(GONE_LOOK_MS, resolve));
    }
    return false;
  }
}

/** The CPU, when the process has but one: then waiting awake keeps the other side from running. Else, or without FFI, -1. */
export function onlyCpu(): number {
  if (!libc()) return -1;
  const cpus = allowedCpus();
  return cpus.length === 1 ? cpus[0] : -1;
}

let prologueUrl: string | undefined;

/** isolate_main.ts as a data: URL, with its one import inside. */
function prologue(): string {
  const text = (name: string) => stripTypes(Deno.readTextFileSync(new URL(name, import.meta.url)), name);
  prologueUrl ??= dataUrl(text("./isolate_main.ts").replace("./module_hooks.ts", dataUrl(text("./module_hooks.ts"))));
  return prologueUrl;
}

function dataUrl(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}
