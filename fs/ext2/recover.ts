/**
 * Recovery: brings what a journal holds to its places on the disk, and empties the journal, so that the volume can be
 * written.
 *
 * Layer: fs/ext2, above journal and log; fs.ts runs it for a volume that was not unmounted.
 *
 * What holds always: everything is in place, and flushed, before the journal says that it is empty, and that before the
 * superblock says that nothing needs recovery. A power cut on the way leaves what can be recovered again.
 */

import type { MaybePromise } from "../../core/p9/types.ts";
import type { BlockPort } from "../block_port.ts";
import { Buf } from "./cache.ts";
import { superBlock } from "./commit.ts";
import type { Journal } from "./journal.ts";
import { INCOMPAT, SB } from "./layout.ts";
import { emptyHead } from "./log.ts";
import type { Volume } from "./volume.ts";

/** Writes what `journal` found, flushed. */
export function replay(port: BlockPort, vol: Volume, journal: Journal): MaybePromise<void> {
  const bufs = [...journal.blocks].map(([no, data]) => new Buf(no, data));
  return written(port, vol, bufs);
}

/** Then, on the volume opened anew: the journal is empty from transaction `next` on, and the superblock says so. */
export function finish(port: BlockPort, vol: Volume, next: number): MaybePromise<void> {
  const emptied = vol.read(() => emptyHead(vol, next));
  return chain(emptied, (head) =>
    chain(written(port, vol, [head]), () => {
      const { view } = vol.sb;
      view.setUint32(SB.incompat, view.getUint32(SB.incompat, true) & ~INCOMPAT.needs_recovery, true);
      return chain(vol.read(() => superBlock(vol)), (buf) => written(port, vol, [buf]));
    }));
}

function written(port: BlockPort, vol: Volume, bufs: Buf[]): MaybePromise<void> {
  const pending = vol.cache.write(bufs);
  return pending ? pending.then(() => port.flush()) : port.flush();
}

function chain<T, U>(value: MaybePromise<T>, next: (value: T) => MaybePromise<U>): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}
