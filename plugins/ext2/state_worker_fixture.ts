/** The next instance of the test of handing a volume over (state_test.ts): goes on from a state in an isolate of its own. */

import { Req } from "../../core/dev.ts";
import { Fixture, root } from "./fixture.ts";
import type { PluginState } from "./front.ts";

/** What the test sends. */
export interface Order {
  state: PluginState;
  ids: { open: number; unlinked: number; listing: number; moved: number };
  cookie: number;
}

/** What it hears. */
export interface Report {
  open: string;
  unlinked: string;
  rest: string[];
  movedName: string;
  log: string[];
}

declare const self: Worker & { onmessage: (event: MessageEvent<Order>) => void };

self.onmessage = async ({ data: { state, ids, cookie } }) => {
  const next = new Fixture(), { front } = next, fids = await front.adopt(state), req = new Req(root);
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
    movedName: (await front.stat(fid(ids.moved), req)).name,
    log: next.log,
  };
  await front.rename(fid(ids.moved), await next.walk("usr", "dir"), "moved again", req);
  for (const chan of fids.values()) await front.clunk(chan);
  await next.volumes.close("usr", { force: true });
  self.postMessage(report);
};
