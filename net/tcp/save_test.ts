import assert from "node:assert/strict";
import { ESTABLISHED, TIME_WAIT } from "./conn.ts";
import { restoreTcp, SAVED_VERSION, saveTcp } from "./save.ts";
import { Transfers } from "./save_fixture.ts";
import { Script } from "./script_fixture.ts";

/** A thousand connections, each somewhere in its transfer. */
function midTransfer(): Transfers {
  const transfers = new Transfers(20_000);
  transfers.open(1000);
  transfers.halfWay();
  assert.ok(transfers.between > 900, `${transfers.between} are between`);
  return transfers;
}

Deno.test("1,000 connections are saved and restored in mid-transfer, and every byte is right", () => {
  const before = midTransfer(), saved = before.save();
  assert.ok(saved.a.conns.some(({ records }) => records.length > 0));
  assert.ok(saved.b.conns.some(({ early }) => early.left.length > 0));
  const after = Transfers.restore(structuredClone(saved));
  assert.notEqual(after.world.now, before.world.now);
  after.finish();
});

Deno.test("1,000 connections go on in a new isolate", async () => {
  const saved = midTransfer().save();
  const worker = new Worker(import.meta.resolve("./save_fixture.ts"), { type: "module" });
  try {
    const answer = new Promise((resolve) => worker.onmessage = (event) => resolve(event.data));
    worker.postMessage(saved);
    assert.equal(await answer, "done");
  } finally {
    worker.terminate();
  }
});

Deno.test("saving changes nothing: the stack goes on, and saves the same again", () => {
  const transfers = midTransfer();
  assert.deepEqual(transfers.save(), transfers.save());
  transfers.finish();
});

Deno.test("half-open connections, calls that wait, gaps, TIME_WAIT and cookies are there again", () => {
  const script = new Script({ env: { limits: { timeWaitMs: 10_000, halfOpen: 1 } } }), listener = script.listen();
  listener.tag = 7;
  const call = (port: number) => {
    script.peerPort = port;
    script.send("S 0:0(0) win 65535 mss 1460 ws 7 sackok");
    script.format(script.sent.pop()!);
    return script.iss!;
  };
  call(1001);
  script.send(". 1:1(0) ack 1", ". 101:201(100) ack 1");
  call(1002);
  script.send(". 1:1(0) ack 1");
  const done = listener.queue[1];
  done.shutdown("wr");
  script.poll();
  script.send("F. 1:1(0) ack 2");
  assert.equal(done.state, TIME_WAIT);
  const isn = new Map([[1001, script.iss!]]);
  isn.set(1003, call(1003)).set(1004, call(1004));
  script.taken();
  const saved = structuredClone(saveTcp(script.host.tcp, [done]));
  const { tcp, listeners, conns } = restoreTcp(saved, script.host.env, script.now += 500_000);
  script.host.tcp = tcp;
  script.poll();
  script.taken();
  assert.equal(listeners[0].tag, 7);
  assert.deepEqual(listeners[0].queue.map(({ remotePort }) => remotePort), [1001, 1002]);
  assert.deepEqual(conns.map(({ state }) => state).sort(), [ESTABLISHED, TIME_WAIT]);
  for (const port of [1003, 1004]) {
    script.peerPort = port;
    script.iss = isn.get(port);
    script.send("P. 1:11(10) ack 1");
  }
  assert.deepEqual(listeners[0].queue.map(({ available }) => available), [0, 0, 10, 10]);
  script.wait(10_001);
  assert.equal(tcp.table.count, 3);
});

Deno.test("fields that another version has not, or has more, are no obstacle; another format is", () => {
  const script = new Script(), conn = script.establish();
  conn.write(new Uint8Array(100));
  script.poll();
  script.taken();
  const saved = saveTcp(script.host.tcp), { shapes } = saved;
  shapes.sender[shapes.sender.indexOf("resentSegs")] = "unknown";
  shapes.receiver[shapes.receiver.indexOf("rttMs")] = "deaf.unknown";
  const restored = restoreTcp(saved, script.host.env, script.now);
  assert.equal(restored.conns[0].snd.resentSegs, 0);
  assert.equal(restored.conns[0].snd.nxt, conn.snd.nxt);
  assert.throws(() => restoreTcp({ ...saved, version: SAVED_VERSION + 1 }, script.host.env, 0), { code: "EINVAL" });
});
