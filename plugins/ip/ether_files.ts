/**
 * EtherFiles: an Ethernet interface by its files, `/net/ether0`, for a stack that is not where the device is.
 *
 * Layer: plugins/ip, over file_link.ts and the files that the plugin was granted (`ctx.files`). It opens a conversation in
 * batch mode and copies: a few reads and a few writes are always under way, each with as many frames as there are, so that what
 * one costs is shared by many.
 *
 * What holds always: frames are carried or lost, as on a wire; when the interface goes and comes again (a reload, a plugin
 * that was started later) it is opened anew. One that comes back with another address is another interface: then this
 * one is gone.
 *
 * See ether(3) of Plan 9.
 */

import type { Clock } from "../../core/clock.ts";
import { Req, type User } from "../../core/dev.ts";
import { Err, toErr } from "../../core/err.ts";
import type { Client } from "../../core/p9/client.ts";
import type { RemoteFile } from "../../core/p9/client_file.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { formatMac } from "../../net/addr.ts";
import type { FileLink } from "./file_link.ts";

/** Requests under way at a time, each way. */
const READS = 4, WRITES = 4;
/** Bytes of one request; any record fits. */
const BATCH_BYTES = 128 << 10;
const FIRST_RETRY_MS = 50, MAX_RETRY_MS = 2000;

/** What an interface says of itself. */
export interface EtherSaid {
  /** Twelve hex digits. */
  mac: string;
  mtu: number;
}

/** Where files, time and lines of the log come from. */
export interface EtherAround {
  files: Client;
  clock: Clock;
  log(text: string): void;
}

/** Asks an interface for its address and MTU. ENODEV when there is none. */
export async function askEther(path: string, { files }: EtherAround): Promise<EtherSaid> {
  try {
    return await said(path, files);
  } catch (thrown) {
    if (toErr(thrown).code !== "ENOENT") throw thrown;
    throw new Err("ENODEV", `there is no Ethernet interface at ${path} (try: load ether, and bind it there)`);
  }
}

/** The same, but it waits until there is one. Throws EINTR when it is given up. */
export async function awaitEther(path: string, around: EtherAround, signal: AbortSignal): Promise<EtherSaid> {
  const retry = new Retry(path, around);
  for (;;) {
    try {
      return await said(path, around.files);
    } catch (thrown) {
      await retry.after(thrown, signal);
    }
  }
}

/** See the head of this file. */
export class EtherFiles {
  readonly #closed = new AbortController();
  /** Of the conversation that is open. */
  #req: Req | undefined;

  /** Copies until it is closed; `gone` is called when the interface comes back as another. */
  constructor(readonly path: string, readonly link: FileLink, readonly around: EtherAround, gone: () => void) {
    this.#run(gone);
  }

  close(): void {
    this.#closed.abort();
    this.#req?.flush();
  }

  async #run(gone: () => void): Promise<void> {
    const { path, around, link } = this, { signal } = this.#closed, mac = formatMac(link.mac, "");
    const retry = new Retry(path, around);
    while (!signal.aborted) {
      try {
        const there = await said(path, around.files);
        if (there.mac !== mac) {
          around.log(`${path} is another now: ${there.mac}, not ${mac}`);
          return gone();
        }
        await this.#converse(() => retry.done());
      } catch (thrown) {
        if (signal.aborted) return;
        await retry.after(thrown, signal).catch(() => {});
      }
    }
  }

  /** One conversation, from its opening to its end; always throws, why it ended. */
  async #converse(begun: () => void): Promise<never> {
    const root = await this.around.files.attach({ aname: this.path }), open: RemoteFile[] = [root];
    const req = this.#req = new Req(NOBODY), { signal } = req;
    try {
      const ctl = await opened(root, "clone");
      open.push(ctl);
      const text = new Uint8Array(16), n = Number(decode(text.subarray(0, await ctl.read(text, 0))));
      for (const line of ["batch", "allmulti", "connect -1"]) await ctl.writeAll(new TextEncoder().encode(line));
      const data = await opened(root, `${n}/data`);
      open.push(data);
      begun();
      const reads = Array.from({ length: READS }, () => this.#read(data, signal));
      const writes = Array.from({ length: WRITES }, () => this.#write(data, req));
      return await Promise.race([...reads, ...writes, flushed(req)]);
    } finally {
      req.flush();
      for (const file of open.reverse()) await file.close().catch(() => {});
    }
  }

  async #read(data: RemoteFile, signal: AbortSignal): Promise<never> {
    for (const into = new Uint8Array(BATCH_BYTES);;) {
      const count = await data.read(into, 0, signal);
      if (count === 0) throw new Err("ESTALE", "the conversation has ended");
      if (signal.aborted) throw new Err("EINTR");
      this.link.write(into.subarray(0, count));
    }
  }

  async #write(data: RemoteFile, req: Req): Promise<never> {
    for (;;) {
      const records = await this.link.take(BATCH_BYTES, req);
      if (records.length === 0) throw new Err("EINTR");
      await data.write(records, 0);
    }
  }
}

/** The pause between two tries; says to the log what is wrong, once for each reason. */
class Retry {
  #pauseMs = FIRST_RETRY_MS;
  #told = "";

  constructor(readonly path: string, readonly around: EtherAround) {}

  /** It works: the next failure is a new one. */
  done(): void {
    this.#pauseMs = FIRST_RETRY_MS;
    this.#told = "";
  }

  async after(thrown: unknown, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.around, { code, message } = toErr(thrown), isAbsent = code === "ENOENT";
    if (!isAbsent && message !== this.#told) log(`${this.path}: ${this.#told = message}`);
    await new Promise<void>((resolve, reject) => {
      const stop = () => (cancel(), reject(new Err("EINTR")));
      const cancel = clock.after(this.#pauseMs, () => {
        signal.removeEventListener("abort", stop);
        resolve();
      });
      signal.addEventListener("abort", stop, { once: true });
      if (signal.aborted) stop();
    });
    this.#pauseMs = Math.min(2 * this.#pauseMs, MAX_RETRY_MS);
  }
}

/** Nobody asks: this is the stack's own reading of its link. */
const NOBODY: User = { name: "none", uid: 65534, gid: 65534 };

async function said(path: string, files: Client): Promise<EtherSaid> {
  const root = await files.attach({ aname: path });
  try {
    const mac = (await textOf(root, "addr")).trim(), [, mtu] = /^mtu: (\d+)$/m.exec(await textOf(root, "stats")) ?? [];
    if (!/^[\da-f]{12}$/.test(mac) || mtu === undefined) throw new Err("EINVAL", "that is no Ethernet interface");
    return { mac, mtu: Number(mtu) };
  } finally {
    root.discard();
  }
}

async function textOf(root: RemoteFile, name: string): Promise<string> {
  const file = await root.walk(name);
  try {
    await file.open();
    return decode(await file.readAll());
  } finally {
    file.discard();
  }
}

async function opened(root: RemoteFile, path: string): Promise<RemoteFile> {
  const file = await root.walk(path);
  try {
    return await file.open(ORDWR);
  } catch (thrown) {
    file.discard();
    throw thrown;
  }
}

function flushed(req: Req): Promise<never> {
  return new Promise((_, reject) => req.onFlush(() => reject(new Err("EINTR"))));
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
