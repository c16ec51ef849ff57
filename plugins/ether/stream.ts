/**
 * FrameStream: what waits for one who reads frames by file: a conversation's data, a snoop file.
 *
 * Layer: plugins/ether, pure. It is bounded, and what does not fit is dropped and counted, for a wire does not wait. A
 * read takes what is there at once, else waits; a flush ends it, and takes no frame with it.
 */

import { Err, toErr } from "../../core/err.ts";
import type { Req } from "../../core/dev.ts";

/** What a read gets: one frame, cut to its size; as many whole frames as fit; or the bytes of all as one stream. */
export type ReadMode = "frame" | "records" | "bytes";

interface Reader {
  count: number;
  resolve(bytes: Uint8Array): void;
  reject(why: Err): void;
}

/** See the head of this file. */
export class FrameStream {
  mode: ReadMode;
  /** Reads do not wait, but fail with EAGAIN. */
  nonblocking = false;
  /** Frames that found no room. */
  dropped = 0;
  readonly #limit: number;
  #frames: Uint8Array[] = [];
  #bytes = 0;
  /** Bytes of the first frame that are read already (mode `bytes`). */
  #skip = 0;
  #readers: Reader[] = [];
  #ended = false;

  constructor(mode: ReadMode, limitBytes: number) {
    this.mode = mode;
    this.#limit = limitBytes;
  }

  /** Bytes that wait. */
  get length(): number {
    return this.#bytes - this.#skip;
  }

  /** Takes a frame, which is this queue's from now on, or drops it. */
  push(frame: Uint8Array): void {
    if (this.#ended || this.#bytes + frame.length > this.#limit) {
      this.dropped++;
      return;
    }
    this.#frames.push(frame);
    this.#bytes += frame.length;
    while (this.#readers.length > 0 && this.#frames.length > 0) {
      const { count, resolve, reject } = this.#readers.shift()!, dst = new Uint8Array(count);
      try {
        resolve(dst.subarray(0, this.#fill(dst)));
      } catch (thrown) {
        reject(toErr(thrown));
      }
    }
  }

  read(dst: Uint8Array, req: Req): number | Promise<Uint8Array> {
    if (dst.length === 0 || this.#frames.length > 0 || this.#ended) return this.#fill(dst);
    if (this.nonblocking) throw new Err("EAGAIN", "no frame has come");
    return new Promise((resolve, reject) => {
      const reader = { count: dst.length, resolve, reject };
      this.#readers.push(reader);
      req.onFlush(() => {
        const at = this.#readers.indexOf(reader);
        if (at < 0) return;
        this.#readers.splice(at, 1);
        reject(new Err("EINTR"));
      });
    });
  }

  /** Forgets what waits. */
  clear(): void {
    this.#frames = [];
    this.#bytes = this.#skip = 0;
  }

  /** The end: nothing more comes, and those who wait read that. */
  end(): void {
    this.#ended = true;
    this.clear();
    for (const { resolve } of this.#readers.splice(0)) resolve(new Uint8Array(0));
  }

  #fill(dst: Uint8Array): number {
    if (this.mode === "frame") return this.#fillOne(dst);
    const whole = this.mode === "records";
    let done = 0;
    while (this.#frames.length > 0 && done < dst.length) {
      const frame = this.#frames[0], count = Math.min(frame.length - this.#skip, dst.length - done);
      if (whole && count < frame.length) break;
      dst.set(frame.subarray(this.#skip, this.#skip + count), done);
      done += count;
      this.#skip += count;
      if (this.#skip === frame.length) this.#shift();
    }
    if (done === 0 && whole && this.#frames.length > 0) {
      throw new Err("EMSGSIZE", `the next record has ${this.#frames[0].length} bytes, the read ${dst.length}`);
    }
    return done;
  }

  #fillOne(dst: Uint8Array): number {
    if (this.#frames.length === 0) return 0;
    const frame = this.#shift(), count = Math.min(frame.length, dst.length);
    dst.set(frame.subarray(0, count));
    return count;
  }

  #shift(): Uint8Array {
    const frame = this.#frames.shift()!;
    this.#bytes -= frame.length;
    this.#skip = 0;
    return frame;
  }
}
