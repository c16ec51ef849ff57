/**
 * Client: a connection to a 9P server, in the best dialect that both speak.
 *
 * Layer: core/p9, over a Transport (core/host/transports.ts dials one). `RemoteFile` is a file of it, `FidOps` and
 * `Rpc` are the lower floors, for those who count microseconds.
 *
 * A Client owns its transport. Closing it gives up what may wait for ever (reads, opens, locks), lets everything else be
 * answered, and then ends the connection. When the connection breaks, everything under way fails with that error, and so does every
 * later request: whoever wants to go on dials again.
 *
 * @example
 * ```ts
 * import { Client, type Transport } from "deno-9p";
 * async function motd(transport: Transport): Promise<string> {
 *   await using client = await Client.connect(transport, { uname: "glenda" });
 *   return await client.readText("/lib/motd");
 * }
 * console.assert(typeof motd === "function");
 * ```
 *
 * See section 5 of the Plan 9 manual, version(5) first.
 */

import type { Clock } from "../clock.ts";
import { Err, toErr } from "../err.ts";
import { RemoteFile, splitPath, type StreamOptions } from "./client_file.ts";
import type { Attach, FidOps, Signal } from "./client_ops.ts";
import { ClassicOps } from "./client_ops_classic.ts";
import { LinuxOps } from "./client_ops_linux.ts";
import { Rpc } from "./client_rpc.ts";
import {
  type Dialect,
  DIALECTS,
  type DialectTraits,
  dialectTraits,
  Tlock,
  Tlopen,
  Topen,
  Tread,
  Treaddir,
  Tversion,
} from "./msg.ts";
import type { Transport } from "./transport.ts";
import { type Dir, type Dirent, MAX_MSIZE, MIN_MSIZE, NONUNAME, OREAD, OTRUNC, OWRITE } from "./types.ts";

/** How to connect. Who attaches where is what the path functions use; `attach` may be given others. */
export interface ClientOptions extends Attach {
  /** Bytes of a message at the most; the server may choose less. 1 MiB when not given. */
  msize?: number;
  /** The dialects to offer, best first; all when not given. */
  dialects?: readonly Dialect[];
  /** Requests in flight at the most; more wait. 256 when not given. */
  maxInFlight?: number;
  /** Bytes in flight for one large read or write. 4 MiB when not given. */
  windowBytes?: number;
  /** For a wstat that sets a time to now, which 9P2000 and .u cannot say. */
  clock?: Clock;
  /** Aborting it gives the connection up while it is being made. */
  signal?: AbortSignal;
}

const DEFAULT_IN_FLIGHT = 256;
const DEFAULT_WINDOW_BYTES = 4 << 20;

/** A connection to a server. */
export class Client {
  /** Requests and replies. */
  readonly rpc: Rpc;
  /** Operations on fids, the same in every dialect. */
  readonly ops: FidOps;
  #options: ClientOptions;
  #root: Promise<RemoteFile> | undefined;
  #closing: Promise<void> | undefined;

  /** Agrees with the server on a dialect and msize. Throws, and closes the transport, when there is none. */
  static async connect(transport: Transport, options: ClientOptions = {}): Promise<Client> {
    const rpc = new Rpc(transport, {
      msize: Math.max(MIN_MSIZE, Math.min(options.msize ?? MAX_MSIZE, 0x7fffffff)),
      maxInFlight: options.maxInFlight ?? DEFAULT_IN_FLIGHT,
    });
    const giveUp = () => rpc.close(new Err("EINTR", undefined, { cause: options.signal!.reason }));
    if (options.signal?.aborted) giveUp();
    options.signal?.addEventListener("abort", giveUp, { once: true });
    try {
      await negotiate(rpc, options.dialects);
    } catch (e) {
      rpc.close();
      throw e;
    } finally {
      options.signal?.removeEventListener("abort", giveUp);
    }
    return new Client(rpc, options);
  }

  private constructor(rpc: Rpc, options: ClientOptions) {
    this.rpc = rpc;
    this.#options = options;
    this.ops = rpc.dialect.linux ? new LinuxOps(rpc) : new ClassicOps(rpc, options.clock);
    this.ops.gid = options.gid ?? options.uid ?? NONUNAME;
  }

  /** The dialect that was agreed on. */
  get dialect(): Dialect {
    return this.rpc.dialect.name;
  }

  /** Bytes of a message at the most, as agreed on. */
  get msize(): number {
    return this.rpc.msize;
  }

  /** Who is at the other end. */
  get remote(): string {
    return this.rpc.transport.remote;
  }

  /** Settles when the connection is over: with why it broke, or null when it was closed here. */
  get closed(): Promise<Err | null> {
    return this.rpc.closed;
  }

  /** A new fid on the root of a tree; what `who` leaves out is as in the client's options. */
  async attach(who: Attach = {}, signal?: Signal): Promise<RemoteFile> {
    const { fid, qid } = await this.ops.attach({ ...this.#options, ...who }, signal);
    return new RemoteFile(this.ops, fid, qid, { root: fid, names: [], window: this.#window });
  }

  /** Starts authentication: an open file to talk the protocol over; its fid is the attach's `afid`. */
  async auth(who: Attach = {}, signal?: Signal): Promise<RemoteFile> {
    const { fid, qid } = await this.ops.auth({ ...this.#options, ...who }, signal);
    const file = new RemoteFile(this.ops, fid, qid, { root: fid, names: [], window: this.#window });
    file.iounit = this.msize - 24;
    file.mode = 2;
    return file;
  }

  get #window(): number {
    return this.#options.windowBytes ?? DEFAULT_WINDOW_BYTES;
  }

  /** The root of the tree that the client's options name: attached on first use, and shared. Not the caller's to close. */
  root(): Promise<RemoteFile> {
    this.#root ??= this.attach().catch((e) => {
      this.#root = undefined;
      throw e;
    });
    return this.#root;
  }

  // By path.

  /** The file at `path`, not open. */
  async walk(path: string, signal?: Signal): Promise<RemoteFile> {
    return await (await this.root()).walk(path, signal);
  }

  /** The file at `path`, open. */
  async open(path: string, mode = OREAD, signal?: Signal): Promise<RemoteFile> {
    const file = await this.walk(path, signal);
    return await orDiscard(file, file.open(mode, { signal: signal ?? undefined }));
  }

  /** A new file at `path`, open. It must not be there yet. */
  async create(path: string, perm = 0o666, mode = OWRITE, signal?: Signal): Promise<RemoteFile> {
    return await this.#inParent(
      path,
      (dir, name) => dir.create(name, perm, mode, { signal: signal ?? undefined }),
      signal,
    );
  }

  /** A new directory at `path`. */
  async mkdir(path: string, perm = 0o777, signal?: Signal): Promise<void> {
    await this.#inParent(path, (dir, name) => dir.mkdir(name, perm, signal), signal);
  }

  /** All bytes of a file. */
  async readFile(path: string, options: StreamOptions = {}): Promise<Uint8Array> {
    const file = await this.open(path, OREAD, options.signal);
    try {
      return await file.readAll(options);
    } finally {
      file.discard();
    }
  }

  /** A file's text. */
  async readText(path: string, options: StreamOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.readFile(path, options));
  }

  /** Makes `data` the whole content of a file, which is created if it is not there. */
  async writeFile(path: string, data: Uint8Array | string, signal?: Signal): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const file = await this.openOrCreate(path, OWRITE | OTRUNC, 0o666, signal);
    await orDiscard(file, file.writeAll(bytes, 0, signal));
    await file.close();
  }

  /** Opens the file at `path`, or creates it. */
  async openOrCreate(path: string, mode: number, perm = 0o666, signal?: Signal): Promise<RemoteFile> {
    try {
      return await this.open(path, mode, signal);
    } catch (e) {
      if (toErr(e).code !== "ENOENT") throw e;
      return await this.create(path, perm, mode & ~OTRUNC, signal);
    }
  }

  /** What is known of a file. */
  async stat(path: string, signal?: Signal): Promise<Dir> {
    const file = await this.walk(path, signal);
    try {
      return await file.stat(signal);
    } finally {
      file.discard();
    }
  }

  /** Changes what `w` names. */
  async wstat(path: string, w: Parameters<RemoteFile["wstat"]>[0], signal?: Signal): Promise<void> {
    const file = await this.walk(path, signal);
    try {
      await file.wstat(w, signal);
    } finally {
      file.discard();
    }
  }

  /** The entries of a directory. With `stats` all is known of each (in 9P2000.L each is asked for, many at once). */
  async list(path: string, options: { stats?: boolean; signal?: AbortSignal } = {}): Promise<Dir[]> {
    const dir = await this.walk(path, options.signal);
    try {
      const entries: Dirent[] = [];
      for await (const entry of dir.readdir(options.signal)) entries.push(entry);
      if (!options.stats || !this.rpc.dialect.linux) return entries.map((entry) => entry.dir);
      return await statAll(dir, entries, options.signal);
    } finally {
      dir.discard();
    }
  }

  /** Removes a file, or an empty directory. */
  async remove(path: string, signal?: Signal): Promise<void> {
    await (await this.walk(path, signal)).remove();
  }

  /** Moves a file. 9P2000 and .u do it only within a directory. */
  async rename(from: string, to: string, signal?: Signal): Promise<void> {
    const file = await this.walk(from, signal);
    try {
      await this.#inParent(to, (dir, name) => file.rename(name, dir, signal), signal);
    } finally {
      file.discard();
    }
  }

  async #inParent<V>(path: string, use: (dir: RemoteFile, name: string) => Promise<V>, signal: Signal): Promise<V> {
    const names = splitPath(path);
    const name = names.pop();
    if (name === undefined) throw new Err("EEXIST", `'${path}' is the root`);
    const dir = await (await this.root()).walk(names, signal);
    try {
      return await use(dir, name);
    } finally {
      dir.discard();
    }
  }

  /**
   * Ends the connection. Reads, opens and locks that still wait are flushed, everything else is answered first.
   * Aborting `signal` cuts that short.
   */
  close(signal?: Signal): Promise<void> {
    this.#closing ??= this.#close(signal);
    return this.#closing;
  }

  async #close(signal: Signal): Promise<void> {
    const cut = () => this.rpc.close();
    signal?.addEventListener("abort", cut, { once: true });
    if (signal?.aborted) cut();
    this.rpc.flushAll(MAY_BLOCK);
    (await this.#root?.catch(() => null))?.discard();
    await this.rpc.drain();
    signal?.removeEventListener("abort", cut);
    this.rpc.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Requests that a server may leave unanswered for as long as it likes. */
const MAY_BLOCK: readonly number[] = [Tread, Treaddir, Topen, Tlopen, Tlock];

/** Stats of a listing in flight at once. */
const STATS_AT_ONCE = 32;

/** Stats entries some at a time; one that has gone, or whose server has, is left out. */
async function statAll(dir: RemoteFile, entries: Dirent[], signal: Signal): Promise<Dir[]> {
  const dirs: (Dir | undefined)[] = new Array(entries.length);
  let next = 0;
  const worker = async () => {
    while (next < entries.length) {
      const i = next++;
      dirs[i] = await statEntry(dir, entries[i].dir.name, signal);
    }
  };
  await Promise.all(Array.from({ length: STATS_AT_ONCE }, worker));
  return dirs.filter((found) => found !== undefined);
}

async function statEntry(dir: RemoteFile, name: string, signal: Signal): Promise<Dir | undefined> {
  try {
    const file = await dir.walk([name], signal);
    try {
      return await file.stat(signal);
    } finally {
      file.discard();
    }
  } catch (e) {
    const { code } = toErr(e);
    if (code === "ENOENT" || code === "ESTALE") return undefined;
    throw e;
  }
}

async function orDiscard<V>(file: RemoteFile, use: Promise<V>): Promise<V> {
  try {
    return await use;
  } catch (e) {
    file.discard();
    throw e;
  }
}

/** Offers dialect after dialect until the server takes one, and sets what was agreed on. */
async function negotiate(rpc: Rpc, names?: readonly Dialect[]): Promise<void> {
  const offers = DIALECTS.filter((dialect) => !names || names.includes(dialect.name));
  const answers: string[] = [];
  for (const offer of offers) {
    const agreed = await propose(rpc, offer, offers, answers);
    if (!agreed) continue;
    if (agreed.msize < MIN_SERVER_MSIZE) {
      throw new Err("EPROTO", `${rpc.transport.remote} offers an msize of ${agreed.msize}`);
    }
    rpc.msize = agreed.msize;
    rpc.dialect = agreed.dialect;
    return;
  }
  const offered = offers.map((offer) => offer.name).join(", ");
  throw new Err("EPROTO", `${rpc.transport.remote} speaks none of ${offered}: it answered ${answers.join(", ")}`);
}

/** Bytes of msize below which no file can be used. */
const MIN_SERVER_MSIZE = 256;

/** One Tversion. What the server answers instead is taken if it is the next best; a worse one may be had later. */
async function propose(
  rpc: Rpc,
  offer: DialectTraits,
  offers: readonly DialectTraits[],
  answers: string[],
): Promise<{ dialect: DialectTraits; msize: number } | undefined> {
  try {
    const reply = await rpc.rpc({ type: Tversion, tag: 0, msize: rpc.msize, version: offer.name });
    answers.push(`'${reply.version}'`);
    const dialect = dialectTraits(reply.version);
    if (!dialect || !offers.includes(dialect)) return undefined;
    const rank = offers.indexOf(dialect) - offers.indexOf(offer);
    return rank === 0 || rank === 1 ? { dialect, msize: reply.msize } : undefined;
  } catch (e) {
    if (rpc.failure) throw rpc.failure;
    answers.push(toErr(e).message);
    return undefined;
  }
}
