/**
 * The loopback interface: a Link whose frames come back to the stack that sent them.
 *
 * Layer: net/ip. Packets are kept in one ring of bytes, and delivered by `drain`, never from inside of a send, so that no
 * transport is called while it is sending. It sums and cuts nothing: what comes back is taken as checked, super-packets whole.
 */

import type { FrameInfo, Link } from "../link.ts";
import { LIMITS } from "./limits.ts";

/** Room in front of each packet, so that all begin at an even word. */
const ALIGN = 8;

/** Largest packet: what IP's length field can say. */
const MTU = 65535;

export class Loopback implements Link {
  readonly name = "loopback";
  readonly medium = "ip";
  readonly mac: Uint8Array = new Uint8Array(6);
  readonly mtu = MTU;
  readonly checksumOffload = true;
  readonly gsoMaxBytes = MTU;
  onRoom: () => void = () => {};
  frameAt = 0;
  #bytes = new Uint8Array(1 << 17);
  #frames: { at: number; end: number; info: FrameInfo }[] = [];
  #used = 0;
  /** How many of `#frames` are in use: the objects stay. */
  #count = 0;
  #refused = false;

  get frame(): Uint8Array {
    return this.#bytes;
  }

  /** Whether there is something to `drain`. */
  get isEmpty(): boolean {
    return this.#count === 0;
  }

  begin(bytes: number): boolean {
    const needed = this.#used + bytes;
    if (needed > LIMITS.loopbackBytes || this.#count >= LIMITS.loopbackFrames) {
      this.#refused = true;
      return false;
    }
    if (needed > this.#bytes.length) this.#grow(needed);
    this.frameAt = this.#used;
    return true;
  }

  end(bytes: number, info: FrameInfo): void {
    const at = this.frameAt, end = at + bytes;
    const frame = this.#frames[this.#count] ??= { at, end, info: { ...info } };
    frame.at = at;
    frame.end = end;
    Object.assign(frame.info, info);
    this.#count++;
    this.#used = end + ALIGN - 1 & -ALIGN;
  }

  cancel(): void {}

  flush(): void {}

  /** Hands over what was queued up to now; what is sent meanwhile waits for the next time. */
  drain(take: (bytes: Uint8Array, at: number, end: number, info: FrameInfo) => void): void {
    const frames = this.#frames, bytes = this.#bytes, count = this.#count;
    if (count === 0) return;
    this.#frames = this.#spare;
    this.#bytes = this.#spareBytes;
    this.#count = this.#used = 0;
    for (let i = 0; i < count; i++) take(bytes, frames[i].at, frames[i].end, frames[i].info);
    this.#spare = frames;
    this.#spareBytes = bytes;
    if (!this.#refused) return;
    this.#refused = false;
    this.onRoom();
  }

  /** The other half of two that take turns. */
  #spare: { at: number; end: number; info: FrameInfo }[] = [];
  #spareBytes = new Uint8Array(1 << 17);

  save(): { bytes: Uint8Array; info: FrameInfo }[] {
    return this.#frames.slice(0, this.#count).map(({ at, end, info }) => ({
      bytes: this.#bytes.slice(at, end),
      info: { ...info },
    }));
  }

  restore(frames: { bytes: Uint8Array; info: FrameInfo }[]): void {
    for (const { bytes, info } of frames) {
      if (!this.begin(bytes.length)) return;
      this.frame.set(bytes, this.frameAt);
      this.end(bytes.length, info);
    }
  }

  #grow(needed: number): void {
    let size = this.#bytes.length;
    while (size < needed) size *= 2;
    const grown = new Uint8Array(size);
    grown.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = grown;
  }
}
