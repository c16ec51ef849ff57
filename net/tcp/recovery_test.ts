import assert from "node:assert/strict";
import { CLOSED } from "./conn.ts";
import { Script } from "./script_fixture.ts";
import { LOSS, OPEN, RECOVERY } from "./sender.ts";

/** An established connection with `count` full segments in flight, and a round trip of 20 ms. */
function inFlight(count: number, options: { ts?: boolean; sack?: boolean; congestion?: "bbr" | "reno" } = {}) {
  const { ts = false, sack = true, congestion = "reno" } = options;
  const script = new Script({ ts, rttMs: 20, env: { congestion } });
  const conn = script.establish(`S 0:0(0) win 65535 mss 1000 ws 7${sack ? " sackok" : ""}${ts ? " ts 1 0" : ""}`);
  const mss = conn.snd.mss;
  conn.write(new Uint8Array(mss * count));
  script.poll();
  assert.equal(script.taken().length, Math.min(count, 10));
  return { script, conn, mss };
}

Deno.test("three segments behind a gap were delivered: the one before is sent again, and recovery ends with its ACK", () => {
  const { script, conn } = inFlight(6);
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-2001");
  script.expect();
  script.send(". 1:1(0) ack 1 sack 1001-3001");
  script.expect();
  script.send(". 1:1(0) ack 1 sack 1001-4001");
  script.expect("P. 1:1001(1000)");
  assert.equal(conn.snd.recovery.phase, RECOVERY);
  script.now += 20;
  script.send(". 1:1(0) ack 4001");
  assert.equal(conn.snd.recovery.phase, RECOVERY);
  script.send(". 1:1(0) ack 6001");
  assert.equal(conn.snd.recovery.phase, OPEN);
  assert.equal(conn.snd.board.count, 0);
});

Deno.test("RACK: one delivered segment is enough, after a quarter of the round trip", () => {
  const { script, conn } = inFlight(3);
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-2001");
  script.expect();
  script.wait(7);
  script.expect("P. 1:1001(1000)");
  assert.equal(conn.snd.recovery.phase, RECOVERY);
});

Deno.test("a retransmission that is lost is found lost by what was sent later", () => {
  const { script, conn } = inFlight(10);
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-5001");
  const [first] = script.taken();
  assert.match(first, /1:1001\(1000\)/);
  conn.write(new Uint8Array(4000));
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-10001");
  script.wait(10);
  const end = Math.max(...script.taken().map((line) => Number(/:(\d+)/.exec(line)![1])));
  assert.ok(end > 10_001);
  script.now += 20;
  script.send(`. 1:1(0) ack 1 sack 1001-${end}`);
  script.wait(10);
  assert.match(script.taken()[0], /1:1001\(1000\)/);
  assert.equal(script.host.tcp.counters.LostRetransmit, 1);
});

Deno.test("on a path that loses what is sent again, the end of a recovery is probed, and does not wait for the timeout", () => {
  const { script, conn } = inFlight(10);
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-5001");
  script.taken();
  conn.write(new Uint8Array(4000));
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-10001");
  script.wait(10);
  script.taken();
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-14001");
  script.wait(10);
  assert.match(script.taken().at(-1)!, /1:1001\(1000\)/);
  const { counters } = script.host.tcp;
  script.wait(60);
  script.expect("P. 1:1001(1000)");
  assert.equal(counters.TLPs, 1);
  script.wait(60);
  script.expect();
  script.wait(60);
  script.expect("P. 1:1001(1000)");
  assert.deepEqual([counters.TLPs, counters.RetransTimeouts], [2, 0]);
  script.wait(600);
  assert.deepEqual([counters.TLPs, counters.RetransTimeouts], [3, 1]);
  assert.equal(script.taken().length, 2);
});

Deno.test("what is known to be lost waits for room that one lost ACK would have made: a probe brings that ACK, not a timeout", () => {
  const { script, conn } = inFlight(10);
  const { recovery, board, cc } = conn.snd, { counters } = script.host.tcp;
  recovery.resendsLost = true;
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 2001-3001,5001-6001,9001-10001");
  script.wait(10);
  script.taken();
  assert.ok(board.lostBytes > 0 && conn.snd.inFlight >= cc.cwnd, "no loss waits for room");
  script.wait(60);
  script.expect("P. 1:1001(1000)");
  assert.deepEqual([counters.TLPs, counters.RetransTimeouts], [1, 0]);
});

Deno.test("new data that fits in the window is not held back for an ACK while little is under way and segments are missing", () => {
  const { script, conn } = inFlight(10);
  script.host.ip.paths.values().next().value!.gsoMaxBytes = 65_535;
  conn.write(new Uint8Array(80_000));
  script.now += 20;
  // The window has room for less than a third of cwnd; what is sent again is lost.
  script.send("P. 1:2(1) ack 1 win 86", ". 2:2(0) ack 1 win 86 sack 1001-10001");
  script.wait(30);
  assert.ok(script.taken().some((line) => line.includes("10001:")), "nothing new was sent");
});

Deno.test("limited transmit: while ACKs repeat, new segments go", () => {
  const { script, conn } = inFlight(10);
  conn.write(new Uint8Array(3000));
  script.poll();
  script.expect();
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-2001");
  assert.match(script.taken()[0], /^\. 10001:11001\(1000\)/);
});

Deno.test("without SACK: three repeated ACKs, and then each ACK of a part (NewReno)", () => {
  const { script, conn } = inFlight(6, { sack: false });
  script.now += 20;
  script.send(". 1:1(0) ack 1", ". 1:1(0) ack 1");
  script.expect();
  script.send(". 1:1(0) ack 1");
  script.expect("P. 1:1001(1000)");
  script.now += 20;
  script.send(". 1:1(0) ack 2001");
  script.expect("P. 2001:3001(1000)");
  script.send(". 1:1(0) ack 6001");
  assert.equal(conn.snd.recovery.phase, OPEN);
});

Deno.test("tail loss probe: the last segment again after two round trips, and the loss is found by its SACK", () => {
  const { script } = inFlight(4);
  script.wait(43);
  script.expect("P. 3001:4001(1000)");
  assert.equal(script.host.tcp.counters.TLPs, 1);
  script.now += 20;
  script.send(". 1:1(0) ack 2001 sack 3001-4001");
  script.wait(10);
  script.expect("P. 2001:3001(1000)");
});

Deno.test("tail loss probe: new data if there is some", () => {
  const { script, conn } = inFlight(10);
  conn.write(new Uint8Array(1000));
  script.poll();
  script.expect();
  script.wait(43);
  script.expect("P. 10001:11001(1000)");
});

Deno.test("timeouts: the first segment again, at times that double; given up after so many", () => {
  const script = new Script({ rttMs: 20, env: { congestion: "reno", limits: { retries: 4 } } });
  const conn = script.establish("S 0:0(0) win 65535 mss 1000");
  conn.write(new Uint8Array(300));
  script.poll();
  script.taken();
  const start = script.now, times: number[] = [];
  while (conn.state !== CLOSED) {
    script.wait(10);
    for (const line of script.taken()) {
      assert.match(line, /^P\. 1:301\(300\)/);
      times.push(script.now - start);
    }
  }
  assert.equal(times.length, 4);
  assert.ok(times[0] >= 200 && times[0] <= 260, times.join());
  for (let i = 2; i < 4; i++) {
    assert.ok(Math.abs((times[i] - times[i - 1]) / (times[i - 1] - times[i - 2]) - 2) < 0.2, times.join());
  }
  assert.equal(conn.error?.code, "ETIMEDOUT");
  assert.equal(script.host.tcp.counters.AbortOnTimeout, 1);
});

Deno.test("after a timeout everything is sent again in order, by the window", () => {
  const { script, conn } = inFlight(4, { sack: false });
  script.wait(300);
  script.expect("P. 1:1001(1000)");
  assert.equal(conn.snd.recovery.phase, LOSS);
  script.now += 20;
  script.send(". 1:1(0) ack 1001");
  script.wait(20);
  script.expect(". 1001:2001(1000)", "P. 2001:3001(1000)");
  script.send(". 1:1(0) ack 4001");
  assert.equal(conn.snd.recovery.phase, OPEN);
});

Deno.test("Eifel: a timestamp from before the retransmission shows that the timeout was wrong; the window is as before", () => {
  const { script, conn, mss } = inFlight(4, { ts: true });
  const cwnd = conn.snd.cc.cwnd, stamp = script.now + conn.tsOffset | 0;
  script.wait(600);
  script.taken();
  assert.equal(conn.snd.recovery.phase, LOSS);
  assert.ok(conn.snd.cc.cwnd < cwnd);
  script.send(`. 1:1(0) ack ${1 + mss} ts 2 ${stamp}`);
  assert.equal(conn.snd.recovery.phase, OPEN);
  assert.ok(conn.snd.cc.cwnd >= cwnd, `${conn.snd.cc.cwnd} of ${cwnd}`);
  assert.equal(script.host.tcp.counters.SpuriousRtxUndo, 1);
});

Deno.test("F-RTO: SACK of what was never sent again shows the same without timestamps", () => {
  const { script, conn } = inFlight(6);
  script.wait(600);
  script.taken();
  assert.equal(conn.snd.recovery.phase, LOSS);
  script.send(". 1:1(0) ack 1 sack 2001-3001");
  assert.equal(conn.snd.recovery.phase, OPEN);
});

Deno.test("D-SACK: a retransmission that was not needed is undone, and reordering is borne from then on", () => {
  const { script, conn } = inFlight(6);
  const cwnd = conn.snd.cc.cwnd;
  script.now += 20;
  script.send(". 1:1(0) ack 1 sack 1001-4001");
  script.expect("P. 1:1001(1000)");
  script.now += 5;
  script.send(". 1:1(0) ack 4001");
  script.now += 5;
  script.send(". 1:1(0) ack 4001 sack 1-1001");
  assert.equal(conn.snd.recovery.phase, OPEN);
  assert.ok(conn.snd.cc.cwnd >= cwnd);
  assert.ok(conn.snd.recovery.reordering && conn.snd.recovery.reoWndMult > 1);
});

Deno.test("SACK blocks that are nonsense change nothing", () => {
  const { script, conn } = inFlight(4), before = conn.snd.inFlight;
  for (const block of ["9001-9501", "2001-1001", "3001-90001", "-5000-2001"]) {
    script.send(`. 1:1(0) ack 1 sack ${block.startsWith("-") ? "1-0" : block}`);
  }
  assert.equal(conn.snd.inFlight, before);
  for (let i = 0; i < 500; i++) script.send(`. 1:1(0) ack 1 sack ${1000 + i * 2}-${1001 + i * 2}`);
  assert.ok(conn.snd.board.count <= 4, "no records are made of odd bytes");
});

Deno.test("a peer that takes SACKed data back: after a timeout that is sent again too", () => {
  const { script } = inFlight(3);
  script.send(". 1:1(0) ack 1 sack 1001-3001");
  script.wait(400);
  script.taken();
  script.send(". 1:1(0) ack 1001");
  script.wait(500);
  assert.match(script.taken()[0], /1001:2001/);
  assert.equal(script.host.tcp.counters.SACKReneging, 1);
  script.send(". 1:1(0) ack 2001");
  script.wait(30);
  assert.match(script.taken()[0], /2001:3001/);
});
