/**
 * DirReader: Tread of a directory, the way 9P2000 and .u list one: whole stat entries, at offset 0 or where the last
 * read ended.
 *
 * Layer: core/p9, below the session. The Dev's listing goes by cookies; byte offsets live here only.
 */

import type { Chan, Req } from "../dev.ts";
import { Err } from "../err.ts";
import { Writer } from "./cursor.ts";
import { putStat, statSize } from "./stat.ts";
import type { Dirent, MaybePromise, U64 } from "./types.ts";

/** Where the listing of one open directory stands. */
export class DirReader {
  readonly #chan: Chan;
  readonly #unix: boolean;
  /** The only offset but 0 that may be read next. */
  #offset = 0;
  #cookie: U64 = 0;

  constructor(chan: Chan, unix: boolean) {
    this.#chan = chan;
    this.#unix = unix;
  }

  /** At most `count` bytes of entries at `offset`; none is the end. */
  read(offset: U64, count: number, req: Req): MaybePromise<Uint8Array> {
    if (offset === 0) {
      this.#offset = 0;
      this.#cookie = 0;
    } else if (offset !== this.#offset) throw new Err("ESPIPE");
    const entries = this.#chan.dev.readdir(this.#chan, this.#cookie, count, true, req);
    return entries instanceof Promise ? entries.then((list) => this.#pack(list, count)) : this.#pack(entries, count);
  }

  #pack(entries: Dirent[], count: number): Uint8Array {
    const w = new Writer(Math.min(count, 64 * 1024), count);
    for (const entry of entries) {
      if (statSize(entry.dir, this.#unix) > w.room) break;
      putStat(w, entry.dir, this.#unix);
      this.#cookie = entry.next;
    }
    if (w.at === 0 && entries.length > 0) throw new Err("EINVAL", "count is too small for one directory entry");
    this.#offset += w.at;
    return w.bytes.subarray(0, w.at);
  }
}
