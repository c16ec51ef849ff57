/**
 * `ring9/testing`: starts a plugin in a test, with a clock that the test moves, and works on its files.
 *
 * Layer: core/plugin, a front door for tests beside `ring9/plugin`. It calls the plugin's Dev as a placement `inline`
 * does: no codec, no kernel. Names, permissions and errors are those that a mounted client meets.
 */

import type { Clock } from "../clock.ts";
import { type Chan, type Dev, Req, type User } from "../dev.ts";
import { Err } from "../err.ts";
import { type Dir, DMDIR, MAXWELEM, NONUNAME, OREAD, OTRUNC, OWRITE } from "../p9/types.ts";
import { guard } from "./guard.ts";
import { checkOptions, type Manifest, parseManifest } from "./manifest.ts";
import type { Ctx, Plugin, StartReason } from "./plugin.ts";

/** A clock that stands still until it is moved. */
export class TestClock implements Clock {
  #nowMs: number;
  #alarms: { atMs: number; fn: () => void }[] = [];

  constructor(nowMs = 1_000_000_000_000) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fn: () => void): () => void {
    const alarm = { atMs: this.#nowMs + delayMs, fn };
    this.#alarms.push(alarm);
    return () => {
      this.#alarms = this.#alarms.filter((one) => one !== alarm);
    };
  }

  /** Moves on by `ms`; alarms go off in their order, each at its own time. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#alarms.filter((one) => one.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (!next) break;
      this.#alarms = this.#alarms.filter((one) => one !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fn();
    }
    this.#nowMs = endMs;
  }

  /** Alarms that are set. */
  get pending(): number {
    return this.#alarms.length;
  }
}

/** How a plugin is started in a test. */
export interface StartOptions {
  /** Its options; checked against the manifest when there is one. */
  options?: Record<string, unknown>;
  /** The text of its plugin.json. */
  manifest?: string;
  name?: string;
  clock?: TestClock;
  reason?: StartReason;
  /** Who works on the files, and owns the system: glenda when not said. */
  user?: User;
}

/** A plugin that runs in a test; `await using` stops it. */
export interface Running extends AsyncDisposable {
  /** Its files, as the hostowner sees them. */
  readonly files: Files;
  readonly dev: Dev;
  readonly clock: TestClock;
  /** The manifest, when its text was given. */
  readonly manifest: Manifest | undefined;
  /** What it has logged. */
  readonly log: string[];
  /** Stops it, as unloading does. */
  stop(): Promise<void>;
}

const GLENDA: User = { name: "glenda", uid: 1000, gid: 1000 };

/**
 * Starts a plugin.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { definePlugin, tree } from "ring9/plugin";
 * import { start } from "ring9/testing";
 *
 * const plugin = definePlugin({ start: (ctx) => tree({ hello: "hello, world\n" }, ctx) });
 * await using running = await start(plugin);
 * assert.equal(await running.files.read("hello"), "hello, world\n");
 * ```
 */
export async function start(plugin: Plugin, how: StartOptions = {}): Promise<Running> {
  const manifest = how.manifest === undefined ? undefined : parseManifest(how.manifest, "plugin.json");
  const given = how.options ?? {};
  const user = how.user ?? GLENDA, clock = how.clock ?? new TestClock();
  const life = new AbortController();
  const log: string[] = [];
  const disposers: (() => void | Promise<void>)[] = [];
  let seed = 1;
  const ctx: Ctx = {
    name: how.name ?? manifest?.name ?? "test",
    options: manifest ? checkOptions(manifest, given) : given,
    clock,
    hostowner: user.name,
    sysname: "gnot",
    signal: life.signal,
    log: (text) => void log.push(text),
    random: (bytes) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = (seed = Math.imul(seed, 1664525) + 1013904223 | 0) >>> 24;
    },
    defer: (dispose) => void disposers.push(dispose),
  };
  const { name, log: tell } = ctx;
  const dev = guard(await plugin.start(ctx, how.reason ?? "fresh") as Dev, { name, log: tell });
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await plugin.stop?.();
    life.abort();
    for (const dispose of disposers.reverse()) await dispose();
  };
  return { files: new Files(dev, user), dev, clock, manifest, log, stop, [Symbol.asyncDispose]: stop };
}

/** Whole operations on the files of a Dev, by path. */
export class Files {
  readonly #dev: Dev;
  readonly #user: User;

  constructor(dev: Dev, user: User) {
    this.#dev = dev;
    this.#user = user;
  }

  /** The same files, as someone else sees them. */
  as(user: User | string): Files {
    return new Files(this.#dev, typeof user === "string" ? { name: user, uid: NONUNAME, gid: NONUNAME } : user);
  }

  /** All that is in a file, as text. */
  async read(path: string): Promise<string> {
    const opened = await this.open(path, OREAD);
    try {
      let text = "";
      for (;;) {
        const part = await opened.read();
        if (part === "") return text;
        text += part;
      }
    } finally {
      await opened.close();
    }
  }

  /** Writes a file, as `echo >path` does: truncates it, writes, closes. */
  async write(path: string, text: string): Promise<void> {
    const opened = await this.open(path, OWRITE | OTRUNC);
    try {
      await opened.write(text);
    } catch (thrown) {
      await opened.close().catch(() => {});
      throw thrown;
    }
    await opened.close();
  }

  /** The names in a directory. */
  async list(path: string): Promise<string[]> {
    const c = await this.#dev.open(await this.#walk(path), OREAD, this.#req());
    const names: string[] = [];
    try {
      for (let cookie: number | bigint = 0;;) {
        const rows = await this.#dev.readdir(c, cookie, 8192, false, this.#req());
        if (rows.length === 0) return names;
        names.push(...rows.map((row) => row.dir.name));
        cookie = rows.at(-1)!.next;
      }
    } finally {
      await this.#dev.clunk(c);
    }
  }

  /** What stat tells of a file. */
  async stat(path: string): Promise<Dir> {
    const c = await this.#walk(path);
    try {
      return await this.#dev.stat(c, this.#req());
    } finally {
      await this.#dev.clunk(c);
    }
  }

  /** Makes a file, and writes `text` to it. */
  async create(path: string, text = ""): Promise<void> {
    const opened = await this.#create(path, 0o666, OWRITE);
    try {
      if (text !== "") await opened.write(text);
    } finally {
      await opened.close();
    }
  }

  /** Makes a directory. */
  async mkdir(path: string): Promise<void> {
    await (await this.#create(path, DMDIR | 0o777, OREAD)).close();
  }

  /** Removes a file or directory. */
  async remove(path: string): Promise<void> {
    const c = await this.#walk(path);
    try {
      await this.#dev.remove(c, this.#req());
    } finally {
      await this.#dev.clunk(c);
    }
  }

  /** Opens a file. */
  async open(path: string, mode: number): Promise<OpenFile> {
    const c = await this.#walk(path);
    try {
      return new OpenFile(await this.#dev.open(c, mode, this.#req()), this.#user);
    } catch (thrown) {
      await this.#dev.clunk(c);
      throw thrown;
    }
  }

  async #create(path: string, perm: number, mode: number): Promise<OpenFile> {
    const names = split(path);
    const name = names.pop() ?? "";
    const home = await this.#walk(names.join("/"));
    const what = { name, mode, perm, mask: true, ngid: NONUNAME };
    try {
      return new OpenFile(await this.#dev.create(home, what, this.#req()), this.#user);
    } catch (thrown) {
      await this.#dev.clunk(home);
      throw thrown;
    }
  }

  async #walk(path: string): Promise<Chan> {
    let c = await this.#dev.attach(this.#user, "", this.#req());
    const names = split(path);
    while (names.length > 0) {
      const some = names.splice(0, MAXWELEM);
      try {
        const { chan, qids } = await this.#dev.walk(c, some, this.#req());
        if (!chan) throw new Err("ENOENT", `${some[qids.length]}: file does not exist`);
        await this.#dev.clunk(c);
        c = chan;
      } catch (thrown) {
        await this.#dev.clunk(c);
        throw thrown;
      }
    }
    return c;
  }

  #req(): Req {
    return new Req(this.#user);
  }
}

/** An open file; reads and writes go on where the last one ended. */
export class OpenFile {
  readonly #chan: Chan;
  readonly #user: User;
  #offset = 0;

  constructor(chan: Chan, user: User) {
    this.#chan = chan;
    this.#user = user;
  }

  /** What the next read request answers; "" at the end. Aborting `signal` flushes the request. */
  async read(count = 8192, signal?: AbortSignal): Promise<string> {
    return new TextDecoder().decode(await this.readBytes(count, signal));
  }

  /** The same as bytes. */
  async readBytes(count = 8192, signal?: AbortSignal): Promise<Uint8Array> {
    const req = new Req(this.#user);
    const flush = () => req.flush();
    signal?.addEventListener("abort", flush, { once: true });
    try {
      const dst = new Uint8Array(count);
      const got = await this.#chan.dev.read(this.#chan, dst, this.#offset, req);
      const bytes = typeof got === "number" ? dst.subarray(0, got) : got;
      this.#offset += bytes.length;
      return bytes;
    } finally {
      signal?.removeEventListener("abort", flush);
    }
  }

  /** Writes text in one request. */
  async write(text: string): Promise<void> {
    await this.writeBytes(new TextEncoder().encode(text));
  }

  /** Writes bytes in one request; refuses to have some of them taken only. */
  async writeBytes(bytes: Uint8Array): Promise<void> {
    const count = await this.writeSome(bytes);
    if (count !== bytes.length) throw new Err("EIO", `${count} of ${bytes.length} bytes were written`);
  }

  /** Writes bytes in one request; answers how many were taken. */
  async writeSome(bytes: Uint8Array): Promise<number> {
    const count = await this.#chan.dev.write(this.#chan, bytes, this.#offset, new Req(this.#user));
    this.#offset += count;
    return count;
  }

  /** Clunks it. */
  async close(): Promise<void> {
    await this.#chan.dev.clunk(this.#chan);
  }
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}
