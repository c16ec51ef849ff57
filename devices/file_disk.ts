/**
 * FileDisk: a file of a name space as a disk: a partition that sd serves, another machine's disk.
 *
 * Layer: devices, over core/fgrp.ts. Each request is reads or writes of the file, as many as the server wants it in. It
 * answers later, whatever the file does. A flush is the file's fsync, so it is worth what the server makes of that.
 */

import { Req } from "../core/dev.ts";
import { Err } from "../core/err.ts";
import type { OpenFile } from "../core/fgrp.ts";
import { OREAD } from "../core/p9/types.ts";
import { checkRange, type Disk } from "./disk.ts";

const SECTOR_BYTES = 512;

export class FileDisk implements Disk {
  readonly size: number;
  readonly sectorBytes = SECTOR_BYTES;
  readonly readOnly: boolean;
  readonly cached = false;
  readonly #file: OpenFile;
  readonly #close: () => Promise<void>;

  private constructor(file: OpenFile, length: number, close: () => Promise<void>) {
    this.#file = file;
    this.#close = close;
    this.size = length - (length % SECTOR_BYTES);
    this.readOnly = (file.mode & 3) === OREAD;
  }

  /** A disk over an open file, whose length is the disk's. `close` is called at the end. EINVAL for a file without one. */
  static async make(file: OpenFile, close: () => Promise<void>): Promise<FileDisk> {
    const { length } = await file.files.stat(file.chan, new Req(file.chan.user));
    if (length < SECTOR_BYTES) throw new Err("EINVAL", `${file.path} is no disk: it has ${length} bytes`);
    return new FileDisk(file, length, close);
  }

  async read(dst: Uint8Array, offset: number): Promise<void> {
    checkRange(this, dst.length, offset);
    const { files, chan, path } = this.#file, req = new Req(chan.user);
    for (let done = 0; done < dst.length;) {
      const rest = dst.subarray(done), got = await files.read(chan, rest, offset + done, req);
      if (typeof got !== "number") rest.set(got);
      const count = typeof got === "number" ? got : got.length;
      if (count === 0) throw new Err("EIO", `${path} ended before its end`);
      done += count;
    }
  }

  async write(src: Uint8Array, offset: number): Promise<void> {
    checkRange(this, src.length, offset);
    if (this.readOnly) throw new Err("EROFS");
    const { files, chan, path } = this.#file, req = new Req(chan.user);
    for (let done = 0; done < src.length;) {
      const count = await files.write(chan, src.subarray(done), offset + done, req);
      if (count === 0) throw new Err("EIO", `${path} takes no more`);
      done += count;
    }
  }

  async flush(): Promise<void> {
    const { files, chan } = this.#file;
    if (!this.readOnly) await files.fsync(chan, false, new Req(chan.user));
  }

  close(): Promise<void> {
    return this.#close();
  }
}
