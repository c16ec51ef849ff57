/**
 * BlkFault: a disk that fails as it is told, in front of one that does not.
 *
 * Layer: devices; for tests of whatever has to live with bad disks. Seeded plans make a failure come again.
 */

import { type Code, Err } from "../core/err.ts";
import type { MaybePromise } from "../core/p9/types.ts";
import type { Disk } from "./disk.ts";

/** One request, as the plan sees it. */
export interface DiskRequest {
  readonly op: "read" | "write" | "flush";
  readonly offset: number;
  readonly length: number;
  /** How many requests came before it. */
  readonly index: number;
}

/** What becomes of a request: `fail` after `bytes` of it were done (a short write), `wait` until then. */
export interface Fate {
  fail?: Code;
  bytes?: number;
  wait?: Promise<void>;
}

export class BlkFault implements Disk {
  readonly size: number;
  readonly sectorBytes: number;
  readonly readOnly: boolean;
  readonly cached: boolean;
  /** Decides on each request; undefined lets it pass. */
  plan: (request: DiskRequest) => Fate | undefined;
  readonly #disk: Disk;
  #count = 0;

  /** `delays`: the plan makes requests wait, so the disk does not answer at once. */
  constructor(disk: Disk, plan: BlkFault["plan"] = () => undefined, options: { delays?: boolean } = {}) {
    this.#disk = disk;
    this.plan = plan;
    this.size = disk.size;
    this.sectorBytes = disk.sectorBytes;
    this.readOnly = disk.readOnly;
    this.cached = disk.cached && !options.delays;
  }

  read(dst: Uint8Array, offset: number): MaybePromise<void> {
    return this.#meet("read", offset, dst.length, () => this.#disk.read(dst, offset));
  }

  write(src: Uint8Array, offset: number): MaybePromise<void> {
    return this.#meet("write", offset, src.length, (bytes) => this.#disk.write(src.subarray(0, bytes), offset));
  }

  flush(): MaybePromise<void> {
    return this.#meet("flush", 0, 0, () => this.#disk.flush());
  }

  #meet(
    op: DiskRequest["op"],
    offset: number,
    length: number,
    run: (bytes: number) => MaybePromise<void>,
  ): MaybePromise<void> {
    const fate = this.plan({ op, offset, length, index: this.#count++ });
    if (!fate) return run(length);
    const { fail, bytes = 0, wait } = fate;
    const meet = (): MaybePromise<void> => {
      if (!fail) return run(length);
      if (op === "write" && bytes > 0) {
        const part = run(bytes - (bytes % this.sectorBytes));
        if (part instanceof Promise) return part.then(() => Promise.reject(new Err(fail)));
      }
      throw new Err(fail);
    };
    return wait ? wait.then(meet) : meet();
  }
}
