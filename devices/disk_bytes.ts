/**
 * Bytes of a disk: reads and writes at any offset, of any length, on a disk that knows whole sectors only.
 *
 * Layer: devices, over disk.ts. What begins or ends within a sector is read, changed and written back; such writes to one
 * disk go one after the other, so that neighbours in a sector do not undo each other.
 */

import type { MaybePromise } from "../core/p9/types.ts";
import { then } from "../core/tree_node.ts";
import type { Disk } from "./disk.ts";

export class DiskBytes {
  readonly disk: Disk;
  /** The write under way that reads first. */
  #busy: Promise<void> | undefined;

  constructor(disk: Disk) {
    this.disk = disk;
  }

  /** Reads into `dst`, which is filled when the answer is there: how many bytes, 0 at the end. */
  read(dst: Uint8Array, offset: number): MaybePromise<number> {
    const count = Math.max(0, Math.min(dst.length, this.disk.size - offset));
    if (count === 0) return 0;
    const { start, length } = this.#around(offset, count);
    if (start === offset && length === count) {
      return then(this.disk.read(count === dst.length ? dst : dst.subarray(0, count), offset), () => count);
    }
    const sectors = new Uint8Array(length);
    return then(this.disk.read(sectors, start), () => {
      dst.set(sectors.subarray(offset - start, offset - start + count));
      return count;
    });
  }

  /** Writes what there is room for: how many bytes, 0 past the end. `src` is borrowed until the answer. */
  write(src: Uint8Array, offset: number): MaybePromise<number> {
    const count = Math.max(0, Math.min(src.length, this.disk.size - offset));
    if (count === 0) return 0;
    const data = count === src.length ? src : src.subarray(0, count), { start, length } = this.#around(offset, count);
    if (start === offset && length === count) return then(this.disk.write(data, offset), () => count);
    const patch = () => this.#patch(data, offset, { start, length });
    return this.#busy ? this.#track(this.#busy.then(patch)) : this.#track(patch());
  }

  #patch(data: Uint8Array, offset: number, around: { start: number; length: number }): MaybePromise<number> {
    const sectors = new Uint8Array(around.length);
    return then(this.disk.read(sectors, around.start), () => {
      sectors.set(data, offset - around.start);
      return then(this.disk.write(sectors, around.start), () => data.length);
    });
  }

  /** Has the next one wait for a write that is under way. */
  #track(done: MaybePromise<number>): MaybePromise<number> {
    if (!(done instanceof Promise)) return done;
    const busy: Promise<void> = this.#busy = done.then(() => {}, () => {}).then(() => {
      if (this.#busy === busy) this.#busy = undefined;
    });
    return done;
  }

  /** The whole sectors around some bytes. */
  #around(offset: number, count: number): { start: number; length: number } {
    const { sectorBytes } = this.disk, start = offset - (offset % sectorBytes);
    return { start, length: Math.ceil((offset + count - start) / sectorBytes) * sectorBytes };
  }
}
