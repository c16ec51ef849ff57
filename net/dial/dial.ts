/**
 * dial, announce, listen, accept, reject: calls through the files of a `/net`, wherever it is.
 *
 * Layer: net/dial, over conn.ts. Names are translated by the `/net` that is dialed through (its `cs` file), so a program, and
 * somebody who has mounted another machine's `/net`, reach what that machine reaches. Without `cs` a dial string has to be an
 * address and a port.
 *
 * What holds always: a call that fails leaves no conversation behind.
 *
 * See dial(2) of Plan 9.
 */

import { Err } from "../../core/err.ts";
import { makeDialString, parseDialString } from "../dial_string.ts";
import { Conn, type ConnInfo, connInfo, type ConvFiles } from "./conn.ts";
import { type NetFile, type NetFiles, ORDWR, readText, TRANSFER_BYTES, writeText } from "./files.ts";

/** How to dial. */
export interface DialOptions {
  /** Where the network's files are; a dial string that begins with a path says it, too. `/net` when not given. */
  netdir?: string;
  /** The local end: `ADDRESS!PORT`, or a port. */
  local?: string;
  /** Gives it up. */
  signal?: AbortSignal;
}

/** A line of an answer of cs: which protocol's clone file, and what to write to the conversation. */
export interface Way {
  clone: string;
  address: string;
}

/**
 * Calls `address`: `tcp!host!service`, `net!host!service`, `/n/gate/net/tcp!host!service`. All addresses of the host are called at
 * once, one protocol after the other; the first that answers is it. Throws why the first could not be reached.
 */
export async function dial(files: NetFiles, address: string, options: DialOptions = {}): Promise<Conn> {
  const { local, signal } = options, ways = await translate(files, address, options);
  let failure: unknown;
  for (const group of Map.groupBy(ways, ({ clone }) => clone).values()) {
    try {
      return await race(group.map((way) => (stop: AbortSignal) => call(files, way, local, stop)), signal);
    } catch (thrown) {
      failure ??= thrown;
    }
  }
  throw told(failure, `cannot dial ${address}`);
}

/** Waits for calls at `address`: `tcp!*!echo`. Throws why that can not be. */
export async function announce(files: NetFiles, address: string, options: DialOptions = {}): Promise<Announcement> {
  const [{ clone, address: name }] = await translate(files, address, options);
  try {
    return new Announcement(await converse(files, clone, `announce ${name}`, options.signal));
  } catch (thrown) {
    throw told(thrown, `cannot announce ${address}`);
  }
}

/** An announced address. */
export class Announcement implements AsyncDisposable {
  readonly dir: string;
  readonly ctl: NetFile;
  readonly #conv: ConvFiles;
  readonly #stop = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(conv: ConvFiles) {
    this.#conv = conv;
    this.dir = conv.dir;
    this.ctl = conv.ctl;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  info(): Promise<ConnInfo> {
    return connInfo(this.#conv.files, this.dir);
  }

  /** Waits for the next call. Several may wait. */
  async listen(signal?: AbortSignal): Promise<Call> {
    const { files } = this.#conv, until = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    const ctl = await files.open(`${this.dir}/listen`, ORDWR, until);
    return new Call(await convOf(files, ctl, `${this.dir.slice(0, this.dir.lastIndexOf("/"))}/clone`, until));
  }

  /** Takes no more calls; those that have come and were not listened for are refused. Twice does nothing. */
  close(): Promise<void> {
    if (this.#closed) return this.#closed;
    this.#closed = this.ctl.close();
    this.#stop.abort();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Somebody calls. */
export class Call {
  readonly dir: string;
  readonly #conv: ConvFiles;

  constructor(conv: ConvFiles) {
    this.#conv = conv;
    this.dir = conv.dir;
  }

  /** Who calls whom. */
  info(): Promise<ConnInfo> {
    return connInfo(this.#conv.files, this.dir);
  }

  /** Takes the call. */
  accept(): Promise<Conn> {
    return opened(this.#conv);
  }

  /** Does not take it: the caller is hung up on, and told why where the protocol has words for it. */
  async reject(why = "rejected"): Promise<void> {
    try {
      await writeText(this.#conv.ctl, `reject ${why}`);
    } finally {
      await this.#conv.ctl.close();
    }
  }
}

/** What a dial string means here, best first. */
export async function translate(files: NetFiles, text: string, { netdir: dir, signal }: DialOptions): Promise<Way[]> {
  const { netdir, proto, address } = parseDialString(text, dir), query = makeDialString(`${proto}!${address}`);
  let cs;
  try {
    cs = await files.open(`${netdir}/cs`, ORDWR, signal);
  } catch (thrown) {
    if (proto === "net" || !(thrown instanceof Err) || thrown.code !== "ENOENT") throw thrown;
    return [{ clone: `${netdir}/${proto}/clone`, address }];
  }
  try {
    await writeText(cs, query, signal);
    const ways = (await answerOf(cs, signal)).flatMap((line) => wayOf(line, netdir));
    if (ways.length === 0) throw new Err("ENOENT", `nothing is known of ${text}`);
    return ways;
  } finally {
    await cs.close();
  }
}

/** The lines of an answer; a server may give each in a read of its own. */
async function answerOf(cs: NetFile, signal?: AbortSignal): Promise<string[]> {
  const room = new Uint8Array(TRANSFER_BYTES), lines: string[] = [];
  for (let at = 0, count; (count = await cs.read(room, at, signal)) > 0; at += count) {
    lines.push(...new TextDecoder().decode(room.subarray(0, count)).split("\n"));
  }
  return lines.filter((line) => line !== "");
}

/** cs names the clone file as its own users see it, which is `/net/PROTO/clone`; here it is in `netdir`. */
function wayOf(line: string, netdir: string): Way[] {
  const [path, address] = line.split(" "), [, proto] = /([^/]+)\/clone$/.exec(path) ?? [];
  return proto && address ? [{ clone: `${netdir}/${proto}/clone`, address }] : [];
}

async function call(files: NetFiles, { clone, address }: Way, local = "", signal?: AbortSignal): Promise<Conn> {
  return await opened(await converse(files, clone, `connect ${address} ${local}`.trimEnd(), signal), signal);
}

/** A new conversation to which a command was given. */
async function converse(files: NetFiles, clone: string, command: string, signal?: AbortSignal): Promise<ConvFiles> {
  const conv = await convOf(files, await files.open(clone, ORDWR, signal), clone, signal);
  try {
    await writeText(conv.ctl, command, signal);
    return conv;
  } catch (thrown) {
    await conv.ctl.close();
    throw thrown;
  }
}

/** The conversation of a ctl file that was just opened: it tells its number. */
async function convOf(files: NetFiles, ctl: NetFile, clone: string, signal?: AbortSignal): Promise<ConvFiles> {
  try {
    const number = (await readText(ctl, signal)).trim();
    if (!/^\d+$/.test(number)) throw new Err("EPROTO", `${clone} gave no conversation`);
    return { files, ctl, dir: clone.replace(/clone$/, number) };
  } catch (thrown) {
    await ctl.close();
    throw thrown;
  }
}

async function opened(conv: ConvFiles, signal?: AbortSignal): Promise<Conn> {
  try {
    return new Conn(conv, await conv.files.open(`${conv.dir}/data`, ORDWR, signal));
  } catch (thrown) {
    await conv.ctl.close();
    throw thrown;
  }
}

/** The first that succeeds; the others are given up. */
async function race(tries: ((stop: AbortSignal) => Promise<Conn>)[], signal?: AbortSignal): Promise<Conn> {
  const stop = new AbortController(), until = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const calls = tries.map((attempt) => attempt(until));
  try {
    const first = await Promise.any(calls);
    for (const each of calls) each.then((conn) => conn === first ? undefined : conn.close(), () => {});
    return first;
  } catch (thrown) {
    throw thrown instanceof AggregateError ? thrown.errors[0] : thrown;
  } finally {
    stop.abort();
  }
}

/** The error with what was tried in front. */
function told(thrown: unknown, what: string): unknown {
  return thrown instanceof Err ? new Err(thrown.code, `${what}: ${thrown.message}`, { cause: thrown }) : thrown;
}
