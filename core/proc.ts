/**
 * Proc: a process: who it is, its name space, files and environment, its parent and its end.
 *
 * Layer: core, over ProcFiles; made by the kernel's process table. A proc is not a thread: it is what a piece of
 * running code holds, so that this can be shared, copied, looked at in /proc and taken away. Its code may be
 * `main`, or anything that calls its methods.
 *
 * What holds always: a proc that has ended holds nothing, all of its calls fail with ESRCH, and its parent, if that
 * is still there, has a wait record of it. Children of a proc that ends go to the first proc.
 *
 * See rfork(2), exits(2), wait(2), notify(2) and proc(3) of Plan 9.
 */

import type { User } from "./dev.ts";
import { Err, toErr } from "./err.ts";
import { Egrp } from "./egrp.ts";
import { Fgrp } from "./fgrp.ts";
import { MREPL, type Remote } from "./mount.ts";
import type { Pgrp } from "./ns.ts";
import { isDial, quote } from "./path.ts";
import type { Dev } from "./dev.ts";
import type { MaybePromise } from "./p9/types.ts";
import { ProcFiles, type ProcParts } from "./proc_files.ts";

/** Notes that wait to be read, and wait records that wait for the parent, at the most. */
const MAX_NOTES = 32, MAX_WAITS = 1024;

/** What a child has of its parent. */
export type Sharing = "share" | "copy" | "empty";

/** How a child is made; what is not said is shared, the files copied. */
export interface SpawnOptions {
  name?: string;
  user?: User;
  ns?: Sharing;
  env?: Sharing;
  /** `copy` takes the same numbers; a list takes those alone. */
  fds?: Sharing | readonly number[];
  /** Forbids mounts and `#name` paths to it and its children. */
  noMount?: boolean;
  /** What it runs: the proc ends with the status that this answers, or its error. */
  main?: (proc: Proc) => MaybePromise<string | void>;
}

/** What a proc leaves to its parent. */
export interface WaitRecord {
  pid: number;
  /** Milliseconds that it was there. */
  realMs: number;
  /** Empty for success. */
  status: string;
}

/** Handles a note; true when it did. */
export type NoteHandler = (note: string) => boolean;

/** What a proc asks of the kernel. */
export interface ProcHost {
  readonly procs: ProcTable;
  /** Monotonic milliseconds. */
  monotonic(): number;
  /** The tree behind a file of /srv, a dial string, or any file whose bytes are 9P. */
  connect(proc: Proc, what: string, signal?: AbortSignal): Promise<Dev>;
}

export class Proc extends ProcFiles {
  readonly host: ProcHost;
  readonly pid: number;
  name: string;
  parent: Proc | null;
  readonly startMs: number;
  /** Set when it has ended. */
  exitStatus: string | null = null;
  readonly #gone = new AbortController();
  #catcher: NoteQueue | null = null;
  #onNote: NoteHandler | null = null;
  #waits: WaitRecord[] = [];
  #waiting: (() => void)[] = [];
  #stopped: PromiseWithResolvers<void> | null = null;

  /** Made by ProcTable. The groups are taken over. */
  constructor(host: ProcHost, pid: number, parent: Proc | null, options: ProcParts) {
    super(options);
    this.host = host;
    this.pid = pid;
    this.parent = parent;
    this.name = options.name;
    this.startMs = host.monotonic();
  }

  /** Aborts when the proc ends. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Its state, one word: Running, Waiting (a call is under way), Stopped, Broken (it has ended). */
  get state(): string {
    if (this.exitStatus !== null) return "Broken";
    if (this.#stopped) return "Stopped";
    return this.inFlight > 0 ? "Waiting" : "Running";
  }

  /** Makes a child. */
  spawn(options: SpawnOptions = {}): Proc {
    this.#mustLive();
    const child = this.host.procs.add(this.host, this, {
      name: options.name ?? this.name,
      user: options.user ?? this.user,
      cwd: this.cwd,
      pgrp: this.#childNs(options),
      env: options.env === "copy" ? this.env.copy() : options.env === "empty" ? new Egrp() : this.env,
      fgrp: this.#childFds(options.fds ?? "copy"),
    });
    if (options.main) child.#run(options.main);
    return child;
  }

  /** Changes its own groups, as rfork(2) without RFPROC. */
  async rfork(options: Pick<SpawnOptions, "ns" | "env" | "fds" | "noMount">): Promise<void> {
    this.#mustLive();
    if (options.ns || options.noMount) this.useNs(this.#childNs(options));
    if (options.env && options.env !== "share") this.env = options.env === "copy" ? this.env.copy() : new Egrp();
    if (options.fds && options.fds !== "share") {
      const old = this.fgrp;
      this.fgrp = this.#childFds(options.fds);
      await old.close();
    }
  }

  /** Begins its name space anew: the first proc in its place, for that is the one that is served; another in its own. */
  async clearNs(): Promise<void> {
    this.#mustLive();
    if (this.parent) await this.rfork({ ns: "empty" });
    else this.pgrp.clear();
  }

  /** Mounts the tree behind `what`: a file of /srv, a dial string, or a file whose bytes are 9P. */
  async mount(what: string, old: string, flags = MREPL, aname = "", signal?: AbortSignal): Promise<void> {
    const dev = await this.host.connect(this, what, signal);
    await this.mountDev(dev, old, flags, { what: isDial(what) ? what : this.absolute(what), aname }, signal);
  }

  /** Mounts the tree of a Dev at hand; `remote` is what the name space's line says of it. */
  mountDev(dev: Dev, old: string, flags: number, remote: Remote, signal?: AbortSignal): Promise<void> {
    return this.call(signal, async (req) => {
      const root = await dev.attach(this.user, remote.aname, req);
      await this.pgrp.mount(this.files, root, this.absolute(old), flags, remote, req);
    });
  }

  /** The lines that rebuild its name space, with the `cd` at their end (namespace(6)). */
  nsText(): string {
    return [...this.pgrp.lines(), `cd ${quote(this.cwd)}`].join("\n") + "\n";
  }

  /** Waits for a child to end. ECHILD when there is none. */
  async wait(signal?: AbortSignal): Promise<WaitRecord> {
    return await this.call(signal, async (req) => {
      while (this.#waits.length === 0) {
        if (!this.host.procs.hasChildren(this)) throw new Err("ECHILD");
        await new Promise<void>((resolve, reject) => {
          this.#waiting.push(resolve);
          req.signal.addEventListener("abort", () => reject(new Err("EINTR")), { once: true });
        });
      }
      return this.#waits.shift()!;
    });
  }

  /** Handles notes; null leaves them to end the proc. */
  notify(handler: NoteHandler | null): void {
    this.#onNote = handler;
  }

  /**
   * Posts a note: to whoever catches them, else to the handler, and then it gives up the calls under way. One that nobody
   * takes ends the proc with it as status.
   */
  note(text: string): void {
    this.#mustLive();
    if (this.#catcher) return this.#catcher.post(text);
    if (this.#onNote?.(text)) return this.flushAll();
    void this.kill(text);
  }

  /** Ends it for somebody else. EPERM: it is the first, without which nothing is served. */
  kill(status: string): Promise<void> {
    this.#mustLive();
    if (this.parent) return this.exit(status);
    throw new Err("EPERM", `proc ${this.pid} is the first, whose name space is served: it ends with the node`);
  }

  /** Catches the notes that come from now on, until it is closed. One at a time may. */
  catchNotes(): NoteQueue {
    this.#mustLive();
    if (this.#catcher) throw new Err("EBUSY", `the notes of proc ${this.pid} are caught already`);
    return this.#catcher = new NoteQueue(() => this.#catcher = null);
  }

  /** Holds back all later calls until `start`. */
  stop(): void {
    this.#mustLive();
    this.#stopped ??= Promise.withResolvers();
  }

  start(): void {
    this.#mustLive();
    this.#stopped?.resolve();
    this.#stopped = null;
  }

  /** Ends it: its calls are given up, its files closed, its parent told. Ending twice does nothing. */
  async exit(status = ""): Promise<void> {
    if (this.exitStatus !== null) return;
    this.exitStatus = status;
    this.#gone.abort(new Err("EINTR", `proc ${this.pid} has ended`));
    this.#stopped?.resolve();
    this.flushAll();
    this.host.procs.remove(this);
    this.parent?.childEnded({ pid: this.pid, realMs: this.host.monotonic() - this.startMs, status });
    await this.leave();
  }

  /** Keeps the record of a child for `wait`; the oldest is dropped when nobody ever waits. */
  protected childEnded(record: WaitRecord): void {
    if (this.exitStatus !== null) return;
    this.#waits.push(record);
    if (this.#waits.length > MAX_WAITS) this.#waits.shift();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  protected override ready(): MaybePromise<void> {
    this.#mustLive();
    if (this.#stopped) return this.#stopped.promise.then(() => this.ready());
  }

  #mustLive(): void {
    if (this.exitStatus !== null) throw new Err("ESRCH", `proc ${this.pid} has ended`);
  }

  async #run(main: NonNullable<SpawnOptions["main"]>): Promise<void> {
    let status: string;
    try {
      status = await main(this) ?? "";
    } catch (thrown) {
      status = toErr(thrown).message;
    }
    await this.exit(status);
  }

  #childNs(options: Pick<SpawnOptions, "ns" | "noMount">): Pgrp {
    const ns = options.ns ?? "share";
    // A name space in which mounting is forbidden cannot be one in which it is allowed.
    if (ns === "share" && !(options.noMount && !this.pgrp.noAttach)) return this.pgrp.share();
    const pgrp = ns === "empty" ? this.pgrp.empty() : this.pgrp.copy();
    pgrp.noAttach ||= options.noMount ?? false;
    return pgrp;
  }

  #childFds(fds: NonNullable<SpawnOptions["fds"]>): Fgrp {
    if (fds === "share") return this.fgrp.share();
    return fds === "empty" ? new Fgrp() : this.fgrp.copy(fds === "copy" ? undefined : fds);
  }
}

/** Notes that were caught, for one reader at a time. */
export class NoteQueue {
  readonly #notes: string[] = [];
  readonly #onClose: () => void;
  #wake: (() => void) | null = null;

  constructor(onClose: () => void) {
    this.#onClose = onClose;
  }

  post(text: string): void {
    if (this.#notes.length >= MAX_NOTES) throw new Err("EBUSY", "too many notes wait to be read");
    this.#notes.push(text);
    this.#wake?.();
  }

  /** The next note; waits for one. EINTR when `signal` aborts. */
  async next(signal: AbortSignal): Promise<string> {
    while (this.#notes.length === 0) {
      if (signal.aborted) throw new Err("EINTR");
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      signal.addEventListener("abort", () => resolve(), { once: true });
      await promise;
    }
    return this.#notes.shift()!;
  }

  close(): void {
    this.#onClose();
  }
}

/** The procs of a system, by number. */
export class ProcTable {
  readonly #byPid = new Map<number, Proc>();
  #nextPid = 1;

  /** A new proc. */
  add(host: ProcHost, parent: Proc | null, parts: ProcParts): Proc {
    const proc = new Proc(host, this.#nextPid++, parent, parts);
    this.#byPid.set(proc.pid, proc);
    return proc;
  }

  get(pid: number): Proc | undefined {
    return this.#byPid.get(pid);
  }

  list(): Proc[] {
    return [...this.#byPid.values()];
  }

  hasChildren(parent: Proc): boolean {
    for (const proc of this.#byPid.values()) if (proc.parent === parent) return true;
    return false;
  }

  /** Forgets a proc that has ended; the first proc takes its children. */
  remove(proc: Proc): void {
    this.#byPid.delete(proc.pid);
    const first = this.#byPid.get(1) ?? null;
    for (const child of this.#byPid.values()) if (child.parent === proc) child.parent = first;
  }
}
