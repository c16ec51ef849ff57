/**
 * Kmesg: the system's log: the last bytes of what was printed, for any number of readers, who may wait for more.
 *
 * Layer: core, used by the kernel; `/dev/kmesg` and `/sys/log` read it. Positions count all bytes ever printed, so a
 * reader that was too slow goes on at the oldest line that is left. A line is `[seconds.microseconds] text`.
 *
 * See cons(3) of Plan 9, and dmesg(1).
 */

import type { Clock } from "./clock.ts";
import { Err } from "./err.ts";
import type { MaybePromise } from "./p9/types.ts";

/** Bytes that are kept. */
const KMESG_BYTES = 256 * 1024;

const encoder = new TextEncoder();

export class Kmesg {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #ring: Uint8Array;
  #end = 0;
  #waiting = new Set<() => void>();

  constructor(clock: Clock, bytes = KMESG_BYTES) {
    this.#clock = clock;
    this.#startMs = clock.monotonic();
    this.#ring = new Uint8Array(bytes);
  }

  /** The position of the oldest whole line that is kept. */
  get start(): number {
    const oldest = Math.max(0, this.#end - this.#ring.length);
    if (oldest === 0) return 0;
    for (let at = oldest; at < this.#end; at++) {
      if (this.#ring[at % this.#ring.length] === 10) return at + 1;
    }
    return oldest;
  }

  /** The position after the newest byte. */
  get end(): number {
    return this.#end;
  }

  /** Adds a text, each of its lines with the time. */
  print(text: string): void {
    const ms = this.#clock.monotonic() - this.#startMs;
    const stamp = `[${(ms / 1000).toFixed(6).padStart(12)}] `;
    for (const line of text.replace(/\n$/, "").split("\n")) this.#add(encoder.encode(`${stamp}${line}\n`));
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** At most `count` bytes from `position`, or from the oldest line that is left, and where to go on. Empty at the end. */
  read(position: number, count: number): { bytes: Uint8Array; next: number } {
    const from = Math.min(Math.max(position, this.start), this.#end);
    const bytes = new Uint8Array(Math.min(count, this.#end - from));
    const at = from % this.#ring.length;
    const first = this.#ring.subarray(at, at + bytes.length);
    bytes.set(first);
    bytes.set(this.#ring.subarray(0, bytes.length - first.length), first.length);
    return { bytes, next: from + bytes.length };
  }

  /** Waits until there is something after `position`; EINTR when `signal` aborts. */
  wait(position: number, signal: AbortSignal): MaybePromise<void> {
    if (position < this.#end) return;
    if (signal.aborted) throw new Err("EINTR");
    return new Promise((resolve, reject) => {
      const wake = () => {
        signal.removeEventListener("abort", abort);
        resolve();
      };
      const abort = () => {
        this.#waiting.delete(wake);
        reject(new Err("EINTR"));
      };
      this.#waiting.add(wake);
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  #add(line: Uint8Array): void {
    const kept = line.subarray(-this.#ring.length);
    this.#end += line.length - kept.length;
    const at = this.#end % this.#ring.length;
    const first = kept.subarray(0, this.#ring.length - at);
    this.#ring.set(first, at);
    this.#ring.set(kept.subarray(first.length), 0);
    this.#end += kept.length;
  }
}
