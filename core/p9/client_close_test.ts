/** Closing a client while something of it is still on its way to a file that never opens. */

import assert from "node:assert/strict";
import { Chan, Dev, type User, type Walk } from "../dev.ts";
import { Client } from "./client.ts";
import { Srv } from "./srv.ts";
import { transportPair } from "./transport_pair.ts";
import { type Dir, makeDir, QTDIR } from "./types.ts";

/** A tree in which a walk and a stat take until the test says so, and an open for ever. */
class NeverOpens extends Dev<null> {
  readonly name = "never";
  walks = Promise.withResolvers<void>();
  stats = Promise.withResolvers<void>();

  attach(user: User): Chan<null> {
    return new Chan(this, { type: QTDIR, vers: 0, path: 0 }, null, user);
  }

  async walk(c: Chan<null>, names: string[]): Promise<Walk<null>> {
    await this.walks.promise;
    const qid = { type: 0, vers: 0, path: 1 };
    return { qids: names.map(() => qid), chan: new Chan<null>(this, qid, null, c.user) };
  }

  open(): Promise<Chan<null>> {
    return new Promise(() => {});
  }

  read(): number {
    return 0;
  }

  async stat(c: Chan<null>): Promise<Dir> {
    await this.stats.promise;
    return makeDir({ name: "never", mode: 0o644, qid: c.qid });
  }
}

Deno.test("closing begins no open for what is still walking, and so ends", async () => {
  const dev = new NeverOpens();
  const [ours, theirs] = transportPair();
  const served = new Srv(dev).serve(theirs);
  const client = await Client.connect(ours);
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5));
  const stat = (await client.root()).stat();
  const read = client.readFile("/never");
  await turn(); // its Twalk is on the way
  const closed = client.close();
  dev.walks.resolve();
  const refused = assert.rejects(read, /closed/);
  await turn();
  dev.stats.resolve();
  await stat;
  await refused;
  await closed;
  await served;
});
