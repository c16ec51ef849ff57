/**
 * Conn: a conversation of a `/net` that is connected, as bytes, and as web streams.
 *
 * Layer: net/dial, over files.ts; dial.ts makes them. What holds always: it has the conversation's ctl and data files open until
 * `close`, and the conversation ends with the last of them.
 *
 * See dial(2) and ip(3) of Plan 9.
 */

import { type NetFile, type NetFiles, readTextOf, TRANSFER_BYTES, transferBytes, writeText } from "./files.ts";

/** Who talks to whom: dial(2)'s NetConnInfo. */
export interface ConnInfo {
  /** The folder of the conversation: `/net/tcp/3`. */
  dir: string;
  /** `10.0.0.1!80`. */
  local: string;
  remote: string;
}

/** A conversation's folder and its open ctl file. */
export interface ConvFiles {
  files: NetFiles;
  dir: string;
  ctl: NetFile;
}

/** What a conversation's local and remote files say. */
export async function connInfo(files: NetFiles, dir: string): Promise<ConnInfo> {
  const [local, remote] = await Promise.all(["local", "remote"].map((name) => readTextOf(files, `${dir}/${name}`)));
  return { dir, local: local.trim(), remote: remote.trim() };
}

/** A connected conversation. */
export class Conn implements AsyncDisposable {
  readonly dir: string;
  readonly ctl: NetFile;
  readonly data: NetFile;
  readonly #files: NetFiles;
  readonly #stop = new AbortController();
  #closed: Promise<void> | undefined;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  /** Takes both files over. */
  constructor({ files, dir, ctl }: ConvFiles, data: NetFile) {
    this.#files = files;
    this.dir = dir;
    this.ctl = ctl;
    this.data = data;
  }

  info(): Promise<ConnInfo> {
    return connInfo(this.#files, this.dir);
  }

  /** Reads what has come, waiting for it: the count, 0 at the end. Of datagrams it reads one. */
  read(into: Uint8Array, signal?: AbortSignal): Promise<number> {
    return this.data.read(into.subarray(0, transferBytes(this.data)), 0, this.#until(signal));
  }

  /** Sends as much as is taken: the count. */
  write(data: Uint8Array, signal?: AbortSignal): Promise<number> {
    return this.data.write(data.subarray(0, transferBytes(this.data)), 0, this.#until(signal));
  }

  /** Sends all of it. */
  async writeAll(data: Uint8Array, signal?: AbortSignal): Promise<void> {
    for (let at = 0; at < data.length;) at += await this.write(data.subarray(at), signal);
  }

  /** Writes a command to ctl: `keepalive 30000`, `hangup`. */
  command(text: string): Promise<void> {
    return writeText(this.ctl, text);
  }

  /** Nothing more is sent; the other side reads an end. */
  closeWrite(): Promise<void> {
    return this.command("shutdown wr");
  }

  /** Ends it at once, unsent data and all. */
  async hangup(): Promise<void> {
    try {
      await this.command("hangup");
    } finally {
      await this.close();
    }
  }

  /** Lets go of it: what was written is still sent. Reads and writes that wait fail. Twice does nothing. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.data.close(), this.ctl.close()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What comes, as a stream of bytes. Cancelling it leaves the conversation open. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: TRANSFER_BYTES,
      pull: async (controller) => {
        const request = controller.byobRequest!, count = await this.#readOrEnd(request.view as Uint8Array);
        if (count === 0) controller.close();
        request.respond(count);
      },
    });
  }

  /** What is sent, as a stream. Closing it sends the end, and leaves the conversation open for reading. */
  get writable(): WritableStream<Uint8Array> {
    return this.#writable ??= new WritableStream({
      write: (data) => this.writeAll(data),
      close: () => this.closeWrite(),
      abort: () => this.hangup(),
    });
  }

  /** A read that is given up because it is closed here is an end. */
  async #readOrEnd(into: Uint8Array): Promise<number> {
    try {
      return await this.read(into);
    } catch (thrown) {
      if (this.#closed) return 0;
      throw thrown;
    }
  }

  #until(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
  }
}
