/**
 * A disk as a queue of the core's table: one owner at a time, told when it is taken away.
 *
 * Layer: devices, over core/queues.ts. The queue is called `disk/` and the path, so that two plugins which want one file
 * meet there, whatever they call it. Where there is no table (a process of its own) the file's lock alone keeps others out.
 */

import { Err } from "../core/err.ts";
import type { MaybePromise } from "../core/p9/types.ts";
import type { QueueTable } from "../core/queues.ts";
import type { Disk } from "./disk.ts";

/** What to own, and who wants it. */
export interface DiskClaim {
  /** The file or device. */
  path: string;
  owner: string;
  /** Opens it, when nobody of this system has. */
  open(): Disk;
  /** Take it from an earlier owner of the same name, which is about to go. */
  takeOver?: boolean;
  /** Told that the disk is taken away: bring what is not on it there, then leave it alone. */
  onRevoke(): MaybePromise<void>;
}

/** A disk that is ours. */
export interface OwnedDisk {
  readonly disk: Disk;
  /** Gives it back, and closes it; does nothing when it was taken away. */
  release(): MaybePromise<void>;
}

/** Makes the claimant the disk's one owner. EBUSY with the owner's name when there is another. */
export async function ownDisk(queues: QueueTable | undefined, claim: DiskClaim): Promise<OwnedDisk> {
  if (!queues) {
    const disk = claim.open();
    return { disk, release: () => disk.close?.() };
  }
  const name = queueName(claim.path), claimant = { owner: claim.owner, onRevoke: claim.onRevoke };
  const held = queues.rows().find((row) => row.name === name);
  if (held && !(claim.takeOver && held.owner === claim.owner)) {
    throw new Err("EBUSY", `${claim.path} is in use by ${held.owner ?? "nobody"}`);
  }
  const taken = held && await queues.revoke(name, { next: claimant, reason: "its plugin is started anew" });
  if (!held) {
    const disk = claim.open();
    queues.register({ name, kind: "block", handle: disk, counters: () => disk.counters?.() ?? {} });
  }
  const right = taken ?? queues.claim(name, claimant), disk = right.handle as Disk;
  return {
    disk,
    release() {
      if (!right.valid) return;
      right.release();
      queues.unregister(name);
      return disk.close?.();
    },
  };
}

/** The queue's name: the path, in words that the table takes. */
function queueName(path: string): string {
  const words = path.split("/").filter((word) => word !== "").map((word) => encodeURIComponent(word));
  return ["disk", ...words].join("/");
}
