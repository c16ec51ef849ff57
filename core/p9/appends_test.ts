import assert from "node:assert/strict";
import { type Chan, Req, type User } from "../dev.ts";
import { MemDev } from "../ns_testdev.ts";
import { Appends } from "./appends.ts";
import { Client } from "./client.ts";
import * as m from "./msg.ts";
import { Srv } from "./srv.ts";
import { transportPair } from "./transport_pair.ts";
import { OAPPEND, OWRITE } from "./types.ts";

const rob: User = { name: "rob", uid: 1, gid: 1 };

for (const [dialect, dev] of [["9P2000.L", "later"], ["9P2000.u", "later"], ["9P2000.L", "at once"]] as const) {
  Deno.test(`appends by several clients to a Dev that answers ${dev} do not collide (${dialect})`, async () => {
    const srv = new Srv(new MemDev("m", ["log"], dev === "later"));
    const clients: Client[] = [];
    for (let i = 0; i < 4; i++) {
      const [ours, theirs] = transportPair();
      srv.serve(theirs);
      clients.push(await Client.connect(ours, { dialects: [dialect] }));
    }
    const before = await clients[0].readText("/log");
    const lines: string[] = [];
    await Promise.all(clients.map(async (client, i) => {
      const { fid } = await client.walk("/log");
      if (dialect === "9P2000.L") await client.rpc.rpc({ type: m.Tlopen, tag: 0, fid, flags: OWRITE | m.L_APPEND });
      else await client.rpc.rpc({ type: m.Topen, tag: 0, fid, mode: OWRITE | OAPPEND });
      const writes: Promise<unknown>[] = [];
      for (let n = 0; n < 50; n++) {
        const line = `client ${i} line ${n}\n`;
        lines.push(line);
        const data = new TextEncoder().encode(line);
        writes.push(client.rpc.rpc({ type: m.Twrite, tag: 0, fid, offset: 0, data }));
      }
      await Promise.all(writes);
    }));
    const text = (await clients[0].readText("/log")).slice(before.length);
    assert.deepEqual(text.split("\n").sort(), lines.join("").split("\n").sort());
    const own = text.split("\n").filter((line) => line.startsWith("client 2 "));
    assert.deepEqual(own, lines.filter((line) => line.startsWith("client 2 ")).map((line) => line.trim()), "in order");
    for (const client of clients) await client.close();
  });
}

/** A stat that is answered when the test says so. */
class Gated extends MemDev {
  readonly gates: (() => void)[] = [];
  override async stat(c: Chan<never>, req: Req) {
    await new Promise<void>((open) => this.gates.push(open));
    return await super.stat(c, req);
  }
}

Deno.test("an append that waits its turn can be flushed, and those behind it still come in order", async () => {
  const dev = new Gated("m", ["log"]), appends = new Appends();
  const { chan } = await dev.walk(dev.rootChan(rob), ["log"], new Req(rob));
  const write = (text: string, req = new Req(rob)) =>
    Promise.resolve(appends.write(chan as Chan, new TextEncoder().encode(text), req));
  const first = write("1"), req = new Req(rob), flushed = write("2", req), third = write("3");
  req.flush();
  await assert.rejects(flushed, { code: "EINTR" });
  assert.equal(dev.gates.length, 1, "the third waits for the first still");
  dev.gates[0]();
  assert.equal(await first, 1);
  for (let i = 0; i < 20; i++) await null;
  dev.gates[1]();
  assert.equal(await third, 1);
  const data = await dev.read(chan as Chan<never>, new Uint8Array(99), 0, req);
  assert.equal(data, "m:log13".length);
});
