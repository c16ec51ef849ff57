/** The next instance of the test of handing a volume over (state_test.ts): goes on from a state in an isolate of its own. */

import { Req } from "../../core/dev.ts";
import { LOCK_UNLOCK, LOCK_WRITE } from "../../core/p9/locks.ts";
import type { Flock } from "../../core/p9/types.ts";
import { type Fid, Fixture, flock, root } from "./fixture.ts";
import type { Front, PluginState } from "./front.ts";
import type { Wait } from "./state.ts";

/** What the test sends. */
export interface Order {
  state: PluginState;
  ids: { open: number; unlinked: number; listing: number; moved: number; locked: number; waiting: number };
  /** What the request that waits for a lock is called. */
  wait: number;
  cookie: number;
}

/** What it hears. */
export interface Report {
  open: string;
  unlinked: string;
  rest: string[];
  movedName: string;
  locks: LockReport;
  log: string[];
}

/** What became of the locks, in order. */
export interface LockReport {
  /** Who holds what stands in a stranger's way. */
  holder: Pick<Flock, "type" | "start" | "length" | "procId" | "clientId">;
  /** Status for a stranger, and for the process that has the lock. */
  stranger: number;
  owner: number;
  waitsStill: boolean;
  /** Of the one that waited, once the lock was given up. */
  granted: number;
  strangerAfter: number;
}

declare const self: Worker & { onmessage: (event: MessageEvent<Order>) => void };

self.onmessage = async ({ data: { state, ids, wait, cookie } }) => {
  const next = new Fixture(), { front } = next, req = new Req(root);
  const { chans: fids, waits } = await front.adopt(state);
  const fid = (id: number) => fids.get(id)!;
  const rest: string[] = [];
  for (let at: number | bigint = cookie;;) {
    const page = await next.page(fid(ids.listing), at, 500);
    if (page.length === 0) break;
    rest.push(...page.map((entry) => entry.dir.name));
    at = page[page.length - 1].next;
  }
  await next.write(fid(ids.open), "and on", 6);
  const report: Report = {
    open: await next.text(fid(ids.open)),
    unlinked: await next.text(fid(ids.unlinked)),
    rest,
    locks: await useLocks(front, { held: fid(ids.locked), waits: fid(ids.waiting), wait: waits.get(wait)! }),
    movedName: (await front.stat(fid(ids.moved), req)).name,
    log: next.log,
  };
  await front.rename(fid(ids.moved), await next.walk("usr", "dir"), "moved again", req);
  for (const chan of fids.values()) await front.clunk(chan);
  await next.volumes.close("usr", { force: true });
  self.postMessage(report);
};

/** The lock of `held` is kept from a stranger, not from its owner, and goes to who waits when it is given up. */
async function useLocks(
  front: Front,
  { held, waits, wait }: { held: Fid; waits: Fid; wait: Wait },
): Promise<LockReport> {
  const ask = async (fid: Fid, lock: Flock) => await front.lock(fid, lock, new Req(root))!;
  const { type, start, length, procId, clientId } = (await front.getlock(waits, flock("9/guest", 7), new Req(root)))!;
  let waitsStill = true;
  const status = wait.status.then((granted) => {
    waitsStill = false;
    return granted;
  });
  const stranger = await ask(waits, flock("9/guest", 7)),
    owner = await ask(held, flock("1/guest", 7, { type: LOCK_WRITE }));
  const waited = waitsStill;
  await ask(held, flock("1/guest", 7, { type: LOCK_UNLOCK, start: 0, length: 0 }));
  return {
    holder: { type, start, length, procId, clientId },
    stranger,
    owner,
    waitsStill: waited,
    granted: await status,
    strangerAfter: await ask(held, flock("9/guest", 7)),
  };
}
