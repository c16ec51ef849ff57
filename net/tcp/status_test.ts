import assert from "node:assert/strict";
import { Script } from "./script_fixture.ts";
import { statsOf, statusOf } from "./status.ts";

Deno.test("status begins as Plan 9's does, and goes on as pairs of name and value", () => {
  const script = new Script({ ts: true }), conn = script.establish();
  script.send("P. 1:11(10) ack 1", ". 21:31(10) ack 1");
  conn.write(new Uint8Array(7));
  script.poll();
  const line = statusOf(conn);
  assert.match(
    line,
    /^Established qin 10 qout 7 srtt [\d.]+ mdev [\d.]+ cwin \d+ swin \d+>>7 rwin \d+>>7 timer\.start \d+ timer\.count \d+ rerecv 10 katimer\.start 0 katimer\.count 0 cc bbr /,
  );
  assert.match(line, / sack 1 ts 1 ecn 0 ready rw--\n$/);
  const words = line.trim().split(" ").slice(1);
  assert.equal(words.length % 2, 0);
});

Deno.test("stats: a line a counter", () => {
  const script = new Script();
  script.establish();
  assert.match(
    statsOf(script.host.tcp.counters),
    /^MaxConn: -1\nActiveOpens: 0\nPassiveOpens: 1\nEstabResets: 0\nCurrEstab: 1\nInSegs: 2\n/,
  );
});

Deno.test("readiness of a conversation, state by state", () => {
  const ready = (script: Script, conn: ReturnType<Script["establish"]>) =>
    statusOf(conn).trim().split(" ").at(-1) ?? script;
  const dialing = new Script(), refused = dialing.connect();
  assert.equal(ready(dialing, refused), "----");
  dialing.taken();
  dialing.send("R. 0:0(0) ack 1");
  assert.equal(ready(dialing, refused), "-whe");
  const script = new Script({ env: { limits: { sendBytes: 1000 } } }), conn = script.establish();
  assert.equal(ready(script, conn), "-w--");
  conn.write(new Uint8Array(1000));
  assert.equal(ready(script, conn), "----");
  script.send("P. 1:11(10) ack 1");
  assert.equal(ready(script, conn), "r---");
  script.send("F. 11:11(0) ack 1001");
  assert.equal(ready(script, conn), "rwh-");
  conn.consume(10);
  assert.equal(ready(script, conn), "rwh-");
  script.send("R 12:12(0)");
  assert.equal(ready(script, conn), "rwhe");
});
