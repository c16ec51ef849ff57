/**
 * FrameQueue: a bounded queue of frames in one buffer, each with its FrameInfo. No allocation a frame.
 *
 * Layer: devices, pure; cables, switches and loopback keep frames in it between who sends and who takes. A frame is
 * written in place: `reserve`, write at `bytes[at...]`, `commit`. The oldest is looked at in place too, and then `drop`ped.
 *
 * What holds always: frames lie in one piece; what is not there is never read.
 */

import type { FrameInfo } from "../core/link.ts";
import { makeInfo } from "./vnet.ts";

/** Words before each frame: length, and the six fields of FrameInfo. */
const HEAD_WORDS = 7, WORD = 4, HEAD_BYTES = HEAD_WORDS * WORD;
/** In place of a length: the next frame is at the start of the buffer. */
const WRAP = -1;

/** See the head of this file. */
export class FrameQueue {
  readonly bytes: Uint8Array;
  /** Where a reserved frame, or the oldest one after `peek`, begins. */
  at = 0;
  /** Where the oldest one ends, after `peek`. */
  end = 0;
  /** What is known of it, after `peek`. */
  readonly info: FrameInfo = makeInfo();
  /** Frames in it. */
  length = 0;
  readonly #words: Int32Array;
  readonly #limit: number;
  #head = 0;
  #tail = 0;

  constructor(limitBytes: number) {
    this.#limit = Math.max(limitBytes & ~(WORD - 1), 4 * HEAD_BYTES);
    this.bytes = new Uint8Array(this.#limit);
    this.#words = new Int32Array(this.bytes.buffer);
  }

  /** Makes room for a frame of at most `bytes`: false when there is none. */
  reserve(bytes: number): boolean {
    const need = HEAD_BYTES + padded(bytes);
    if (this.length === 0) {
      this.#head = this.#tail = 0;
      if (need > this.#limit) return false;
    } else if (this.#head <= this.#tail) {
      if (need > this.#tail - this.#head) return false;
    } else if (need > this.#limit - this.#head) {
      if (need > this.#tail) return false;
      this.#words[this.#head / WORD] = WRAP;
      this.#head = 0;
    }
    this.at = this.#head + HEAD_BYTES;
    return true;
  }

  /** Takes the reserved frame in, `bytes` long: no more than was reserved. */
  commit(bytes: number, info: FrameInfo): void {
    const word = this.#head / WORD, words = this.#words;
    words[word] = bytes;
    words[word + 1] = info.checksum;
    words[word + 2] = info.checksumStart;
    words[word + 3] = info.checksumOffset;
    words[word + 4] = info.gso;
    words[word + 5] = info.gsoBytes;
    words[word + 6] = info.headerBytes;
    this.#head += HEAD_BYTES + padded(bytes);
    if (this.#head === this.#limit) this.#head = 0;
    this.length++;
  }

  /** Looks at the oldest frame: `at`, `end` and `info` are its. False when there is none. */
  peek(): boolean {
    if (this.length === 0) return false;
    if (this.#words[this.#tail / WORD] === WRAP) this.#tail = 0;
    const word = this.#tail / WORD, words = this.#words, info = this.info;
    this.at = this.#tail + HEAD_BYTES;
    this.end = this.at + words[word];
    info.checksum = words[word + 1];
    info.checksumStart = words[word + 2];
    info.checksumOffset = words[word + 3];
    info.gso = words[word + 4];
    info.gsoBytes = words[word + 5];
    info.headerBytes = words[word + 6];
    return true;
  }

  /** Takes the oldest frame, which `peek` has looked at, out. */
  drop(): void {
    this.#tail += HEAD_BYTES + padded(this.#words[this.#tail / WORD]);
    if (this.#tail === this.#limit) this.#tail = 0;
    this.length--;
  }

  /** Copies a frame in; false when there is no room. */
  put(from: Uint8Array, at: number, end: number, info: FrameInfo): boolean {
    if (!this.reserve(end - at)) return false;
    this.bytes.set(at === 0 && end === from.length ? from : from.subarray(at, end), this.at);
    this.commit(end - at, info);
    return true;
  }
}

function padded(bytes: number): number {
  return (bytes + WORD - 1) & ~(WORD - 1);
}
