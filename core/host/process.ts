/**
 * One plugin in a Deno process of its own, as the kernel holds it.
 *
 * Layer: core/host, in the kernel isolate; spawn.ts makes these, jail.ts builds the walls, process_main.ts runs in it.
 * The two speak over the process's standard input and output (frames.ts): inherited, so nobody else can reach them,
 * and no permission is needed for them. Modules are served over them too, since a Deno process without permissions can
 * still read any file by `import(path, { with: { type: "text" } })`; what it writes to standard error goes to the log.
 */

import type { Clock } from "../clock.ts";
import { Err, toErr } from "../err.ts";
import type { Transport } from "../p9/transport.ts";
import { transportPair } from "../p9/transport_pair.ts";
import { controlFrame, DATA, Deframer, FRAME_HEADER, putHeader } from "./frames.ts";
import {
  clip,
  type Exit,
  type ExitReason,
  type FromPlugin,
  type Hosted,
  type Limits,
  type PluginSpec,
  textError,
  within,
} from "./hosted.ts";
import { type Jail, makeJail, type OwnFilter, type Permissions } from "./jail.ts";
import type { ModuleServer } from "./modules.ts";
import { pinThread } from "./threads.ts";
import { type Watch, Watchdog } from "./watchdog.ts";

/** Bytes of one DATA frame at the most: as much as a pipe holds. */
const PIECE_BYTES = 65_536 - FRAME_HEADER;
/** What is kept of the last words on standard error. */
const LAST_WORDS = 4096;
/** V8's words for a full heap. */
const HEAP_WORDS = /heap out of memory|JavaScript (heap )?out of memory|Reached heap limit/;

/** What is asked of a process. */
export interface ProcessSpec extends PluginSpec {
  /** Its manifest's; it has no other. */
  readonly permissions: Permissions;
  readonly limits?: Partial<Limits>;
  /** The CPU to pin it on. */
  readonly cpu?: number;
  readonly generation: number;
  /** Where its lines for the log go, and what it writes to standard error. */
  log(text: string): void;
  /** Called when it is going, before its transport ends. */
  down?(): void;
}

/** What a process needs of the kernel side. */
export interface ProcessHost {
  readonly limits: Limits;
  readonly clock: Clock;
  readonly watch: Watch;
  readonly modules: ModuleServer;
}

/** What the process is told first. */
export interface ProcessBoot {
  readonly spec: PluginSpec;
  readonly names: Readonly<Record<string, string>>;
  /** What it puts on by itself, and whether it may keep FFI for that file. */
  readonly filter: OwnFilter & { keep: boolean } | null;
}

/** A plugin in a process. Made by `Warden.spawnProcess`. */
export class PluginProcess implements Hosted {
  readonly placement = "process";
  readonly name: string;
  readonly transport: Transport;
  readonly exited: Promise<Exit>;
  /** Resolves when the plugin serves; rejects with why it does not. */
  readonly up: Promise<void>;
  readonly dog: Watchdog;
  onWork: (() => void) | undefined;
  pid = -1;
  /** Walls around it, as far as it is told that they stand. */
  #walls = "";

  readonly #spec: ProcessSpec;
  readonly #host: ProcessHost;
  /** Our end of the 9P stream: what the process sent is written, what goes to it is read. */
  readonly #inner: Transport;
  readonly #up = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<void>();
  #stopping: Promise<void> | undefined;
  readonly #exited = Promise.withResolvers<Exit>();
  #stdin: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #why: Exit | undefined;
  #beats = 0;
  /** While we have not taken what it sent, it can not be blamed for silence. */
  #stalled = false;
  #ended = false;
  #lastWords = "";

  constructor(spec: ProcessSpec, host: ProcessHost) {
    this.name = spec.name;
    this.#spec = spec;
    this.#host = host;
    [this.transport, this.#inner] = transportPair({ remote: `process!${spec.name}` });
    this.exited = this.#exited.promise;
    this.up = this.#up.promise;
    this.up.catch(() => {}); // whoever spawned it looks; a later failure is told by `exited`
    const watched = { beats: () => this.beats(), gone: () => false, hung: (why: string) => this.#end("hung", why) };
    this.dog = new Watchdog(host.watch, watched, host.limits.hangMs);
    this.#run().catch((e) => this.#finish({ reason: "crashed", text: toErr(e).message }, e));
  }

  get id(): string {
    return String(this.pid);
  }

  get confinement(): string {
    return `${this.#walls}, heap ${this.#host.limits.heapMb} MiB`;
  }

  beats(): number {
    return this.#stalled ? ++this.#beats : this.#beats;
  }

  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  async #stop(): Promise<void> {
    if (!this.#ended) {
      this.#send("stop").catch(() => {}); // a broken pipe: it is on its way out, which `exited` tells
      await within(this.#host.clock, this.#host.limits.stopMs, Promise.race([this.#stopped.promise, this.exited]));
    }
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#end("killed", "killed by the kernel");
    await this.exited;
  }

  async #run(): Promise<void> {
    const { limits, clock, modules } = this.#host, spec = this.#spec;
    const folder = modules.folderOf(spec.module);
    const jail = await makeJail({
      name: spec.name,
      permissions: spec.permissions,
      heapMb: limits.heapMb,
      memoryMb: limits.memoryMb,
      readable: [`${modules.project}/core`],
      script: `${modules.project}/core/host/process_main.ts`,
    });
    this.#walls = jail.walls;
    try {
      const child = this.#spawn(jail);
      within(clock, limits.startMs, this.up).then(() => {
        this.#up.reject(new Err("ETIMEDOUT", `${spec.name}: it did not start in ${limits.startMs} ms`));
      }, () => {});
      this.up.catch(() => this.#end("crashed", "it did not start"));
      this.#send(this.#boot(jail)).catch(() => {}); // a broken pipe: it has died, which its status tells
      const [status] = await Promise.all([child.status, this.#receive(child, folder), this.#listen(child)]);
      this.#finish(this.#why ?? this.#verdict(status));
    } finally {
      jail.dispose();
    }
  }

  /** What it is told first. */
  #boot({ filter }: Jail): ProcessBoot {
    const { name, module, options, reason, hostowner, sysname, permissions: { ffi } } = this.#spec;
    const keep = filter !== null && (ffi === true || (Array.isArray(ffi) && ffi.includes(filter.library)));
    return {
      spec: { name, module, options, reason, hostowner, sysname },
      names: this.#host.modules.names,
      filter: filter && { ...filter, keep },
    };
  }

  #spawn(jail: Jail): Deno.ChildProcess {
    const child = new Deno.Command(jail.command, {
      args: jail.args,
      env: jail.env,
      clearEnv: true,
      detached: true, // a process group of its own, which is killed as one
      cwd: "/",
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.pid = child.pid;
    this.#stdin = child.stdin.getWriter();
    if (this.#spec.cpu !== undefined) this.#pin(this.#spec.cpu);
    this.up.then(() => this.#feed()).catch(() => {}); // it never served
    if (this.#why) this.#signal(); // killed before it was there
    return child;
  }

  #pin(cpu: number): void {
    try {
      pinThread(this.pid, [cpu]);
    } catch (e) {
      this.#spec.log(`${this.name}: not pinned: ${toErr(e).message}`);
    }
  }

  async #send(message: unknown): Promise<void> {
    await this.#stdin?.write(controlFrame(message));
  }

  /** Carries 9P to the process. */
  async #feed(): Promise<void> {
    const frame = new Uint8Array(FRAME_HEADER + PIECE_BYTES), room = frame.subarray(FRAME_HEADER);
    try {
      for (;;) {
        const count = await this.#inner.read(room);
        if (count === null) return void this.stop(); // whoever used it lets it go: it may still put its things in order
        this.#tellWork();
        putHeader(frame, DATA, count);
        await this.#stdin!.write(frame.subarray(0, FRAME_HEADER + count));
      }
    } catch {
      // the pipe broke: its status tells why
    }
  }

  #tellWork(): void {
    const told = this.onWork;
    this.onWork = undefined;
    told?.();
  }

  /** Takes what the process sends until it closes its standard output. */
  async #receive(child: Deno.ChildProcess, folder: string): Promise<void> {
    const deframer = new Deframer();
    try {
      for await (const bytes of child.stdout) {
        this.#beats++;
        for (const piece of deframer.push(bytes)) {
          if ("control" in piece) this.#fromPlugin(piece.control as FromPlugin, folder);
          else await this.#take(piece.data);
        }
      }
    } catch (e) {
      this.#end("crashed", `it broke the pipe's protocol: ${toErr(e).message}`);
    }
  }

  async #take(data: Uint8Array): Promise<void> {
    this.#stalled = true;
    try {
      await this.#inner.write(data);
    } finally {
      this.#stalled = false;
    }
  }

  #fromPlugin(message: FromPlugin, folder: string): void {
    if (message?.t === "ask") {
      const url = String(message.url), type = String(message.type), { module } = this.#spec;
      const answer = this.#host.modules.serve({ url, type, module, folder });
      this.#send(answer).catch(() => {}); // as above
    } else if (message?.t === "filtered") this.#filtered(message.error);
    else if (message?.t === "up") this.#begun();
    else if (message?.t === "log") this.#spec.log(clip(message.text));
    else if (message?.t === "died") this.#why ??= { reason: "crashed", text: clip(message.error?.text) };
    else if (message?.t === "fail") {
      this.#why ??= { reason: "crashed", text: clip(message.error?.text) };
      this.#up.reject(textError(message.error, this.name));
    } else if (message?.t === "stopped") {
      this.#why ??= { reason: "stopped", text: "stopped as asked" };
      this.#stopped.resolve();
    }
  }

  #begun(): void {
    this.dog.up();
    this.#up.resolve();
  }

  /** It has put on its filter, before any code of the plugin's was there; or could not. */
  #filtered(error: string | undefined): void {
    if (error === undefined) this.#walls += ", seccomp";
    else this.#spec.log(`no seccomp filter: ${clip(error)}`);
  }

  /** Standard error: lines for the log, and the last words. */
  async #listen(child: Deno.ChildProcess): Promise<void> {
    let line = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#lastWords = (this.#lastWords + text).slice(-LAST_WORDS);
      const lines = (line + text).split("\n");
      line = lines.pop()!.slice(-LAST_WORDS);
      for (const whole of lines) if (whole.trim()) this.#spec.log(clip(whole));
    }
    if (line.trim()) this.#spec.log(clip(line));
  }

  #verdict({ code, signal }: Deno.CommandStatus): Exit {
    if (HEAP_WORDS.test(this.#lastWords)) {
      return { reason: "heap", text: `it reached its heap limit of ${this.#host.limits.heapMb} MiB` };
    }
    const how = signal ? `ended by ${signal}` : `ended with status ${code}`, words = this.#lastWords.trim();
    return { reason: code === 0 ? "ended" : "crashed", text: words ? `${how}: ${words}` : how };
  }

  #end(reason: ExitReason, text: string): void {
    this.#why ??= { reason, text };
    if (this.#ended) return;
    this.#spec.down?.();
    this.#signal();
  }

  /** Kills the whole group. */
  #signal(): void {
    if (this.pid < 0) return;
    try {
      Deno.kill(-this.pid, "SIGKILL");
    } catch {
      // it has gone already
    }
  }

  #finish(why: Exit, cause?: unknown): void {
    if (this.#ended) return;
    this.dog.end();
    this.#signal(); // what it started and left behind
    this.#ended = true;
    this.#spec.down?.();
    this.#up.reject(cause instanceof Err ? cause : new Err("EIO", `${this.name}: ${why.text}`, { cause }));
    this.#inner.close();
    this.transport.close();
    this.#stdin?.abort().catch(() => {}); // closed already
    this.#exited.resolve(why);
  }
}
