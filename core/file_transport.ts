/**
 * FileTransport: the bytes of an open file as a 9P connection: a pipe, a posted service, `/net/tcp/4/data`.
 *
 * Layer: core, between the file calls and the mount driver. It owns one hold on the file.
 */

import { Req } from "./dev.ts";
import type { OpenFile } from "./fgrp.ts";
import type { Transport } from "./p9/transport.ts";

export class FileTransport implements Transport {
  readonly remote: string;
  readonly #file: OpenFile;
  readonly #req: Req;
  #readAt = 0;
  #writtenAt = 0;
  #closed = false;

  /** Takes over a hold on `file`. */
  constructor(file: OpenFile, remote: string) {
    this.#file = file;
    this.remote = remote;
    this.#req = new Req(file.chan.user);
  }

  async read(into: Uint8Array): Promise<number | null> {
    const { files, chan } = this.#file;
    try {
      const got = await files.read(chan, into, this.#readAt, this.#req);
      if (typeof got !== "number") into.set(got);
      const count = typeof got === "number" ? got : got.length;
      this.#readAt += count;
      return count === 0 ? null : count;
    } catch (thrown) {
      if (this.#closed) return null;
      throw thrown;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { files, chan } = this.#file;
    for (let at = 0; at < bytes.length;) {
      const count = await files.write(chan, bytes.subarray(at), this.#writtenAt, this.#req);
      at += count;
      this.#writtenAt += count;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#req.flush();
    // Nobody waits for the file's own end.
    this.#file.drop().catch(() => {});
  }
}
