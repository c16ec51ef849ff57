/**
 * Appends: writes to the end of a file (O_APPEND of 9P2000.L and .u), one after another.
 *
 * Layer: core/p9, below the session; one table a server, so that it holds between connections. The contract of a Dev has
 * no append, so it is a stat and a write at what that told; for a Dev that answers later another's may come between.
 * Those of one file wait their turn here. Where a Dev answers at once nothing is kept and nothing waits.
 *
 * What it does not do: keep apart the appends of two servers to the files of a third.
 */

import type { Chan, Dev, Req } from "../dev.ts";
import { Err } from "../err.ts";
import type { MaybePromise, U64 } from "./types.ts";

/** The appends of a server's files that are under way. */
export class Appends {
  /** For each file the last of them: resolves when it and all before it are over. */
  readonly #last = new Map<Dev, Map<U64, Promise<unknown>>>();

  /** Writes `data` to the end of the file when its turn comes. A flush ends the wait with EINTR. */
  write(chan: Chan, data: Uint8Array, req: Req): MaybePromise<number> {
    const before = this.#last.get(chan.dev)?.get(chan.qid.path);
    const bytes = before ? data.slice() : data;
    const done = before ? turn(before, req).then(() => append(chan, bytes, req)) : append(chan, data, req);
    if (done instanceof Promise) this.#keep(chan, Promise.allSettled([before, done]));
    return done;
  }

  #keep({ dev, qid: { path } }: Chan, last: Promise<unknown>): void {
    const files = this.#last.get(dev) ?? new Map<U64, Promise<unknown>>();
    this.#last.set(dev, files);
    files.set(path, last);
    last.then(() => {
      if (files.get(path) === last) files.delete(path);
      if (files.size === 0 && this.#last.get(dev) === files) this.#last.delete(dev);
    });
  }
}

function append(chan: Chan, data: Uint8Array, req: Req): MaybePromise<number> {
  const dir = chan.dev.stat(chan, req);
  if (!(dir instanceof Promise)) return chan.dev.write(chan, data, dir.length, req);
  const bytes = data.slice(); // what was given is borrowed until this returns
  return dir.then(({ length }) => chan.dev.write(chan, bytes, length, req));
}

function turn(before: Promise<unknown>, req: Req): Promise<unknown> {
  return new Promise((resolve, reject) => {
    before.then(resolve);
    req.onFlush(() => reject(new Err("EINTR")));
  });
}
