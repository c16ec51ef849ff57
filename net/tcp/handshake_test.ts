import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { UNSPECIFIED } from "../addr.ts";
import { CLOSED, ESTABLISHED, EVENT, SYN_RECEIVED, SYN_SENT } from "./conn.ts";
import { ok, Script } from "./script_fixture.ts";
import { headerOf } from "./sim_fixture.ts";

const SYN_ACK = "S. 0:0(0) ack 1 win 65535 mss 1460 ws 7 sackok ts 77 0";

Deno.test("a SYN has the options that Linux's has, in its order", () => {
  const script = new Script();
  script.connect();
  const { bytes } = script.sent[0];
  assert.deepEqual([...bytes.subarray(20, 24)], [2, 4, 5, 180]);
  assert.deepEqual([...bytes.subarray(24, 28)], [4, 2, 8, 10]);
  assert.deepEqual([...bytes.subarray(36)], [1, 3, 3, 7]);
  script.expect("S 0:0(0) win 65535 mss 1460 ws 7 sackok ts");
});

Deno.test("dialing: the SYN's answer is acknowledged, and the user is told once", () => {
  const script = new Script(), conn = script.connect(), told: number[] = [];
  conn.onEvents = (_, events) => told.push(events);
  assert.equal(conn.state, SYN_SENT);
  assert.deepEqual(conn.readiness, { readable: false, writable: false, hangup: false, error: false });
  script.expect("S 0:0(0)");
  script.send(SYN_ACK);
  script.expect(". 1:1(0) ack 1");
  assert.equal(conn.state, ESTABLISHED);
  assert.deepEqual(told, [EVENT.connected | EVENT.writable]);
  assert.equal(conn.readiness.writable, true);
});

Deno.test("data that was written before waits for the answer, and leaves with its ACK", () => {
  const script = new Script(), conn = script.connect();
  script.expect("S 0:0(0)");
  assert.equal(conn.write(new Uint8Array(100)), 100);
  conn.shutdown("wr");
  script.poll();
  script.expect();
  script.send(SYN_ACK);
  script.expect("FP. 1:101(100) ack 1");
});

Deno.test("a reset that acknowledges the SYN refuses; one that does not is nothing", () => {
  const script = new Script(), conn = script.connect();
  script.taken();
  script.send("R. 0:0(0) ack 7");
  script.send("R 0:0(0)");
  assert.equal(conn.state, SYN_SENT);
  script.send("R. 0:0(0) ack 1");
  assert.equal(conn.state, CLOSED);
  assert.equal(conn.error?.code, "ECONNREFUSED");
  assert.deepEqual(conn.readiness, { readable: false, writable: true, hangup: true, error: true });
  script.expect();
});

Deno.test("an answer that acknowledges another SYN gets a reset, and dialing goes on", () => {
  const script = new Script(), conn = script.connect();
  script.taken();
  script.send("S. 0:0(0) ack 9000 mss 1460");
  script.expect("R 9000:9000(0)");
  assert.equal(conn.state, SYN_SENT);
});

Deno.test("a SYN without an answer is sent again after 1, 2, 4 ... seconds, and given up", () => {
  const script = new Script({ env: { limits: { synRetries: 3 } } }), conn = script.connect();
  const times: number[] = [];
  for (let i = 0; i < 160; i++) {
    if (script.taken().length > 0) times.push(i * 100);
    script.wait(100);
  }
  assert.deepEqual(times, [0, 1000, 3000, 7000]);
  assert.equal(conn.error?.code, "ETIMEDOUT");
});

Deno.test("simultaneous open: both SYNs cross, and both sides are established", () => {
  const script = new Script(), conn = script.connect();
  script.taken();
  script.send("S 0:0(0) mss 1460 ws 7 sackok ts 5 0");
  script.expect("S. 0:0(0) ack 1 ts");
  assert.equal(conn.state, SYN_RECEIVED);
  script.send("S. 0:0(0) ack 1 win 65535 mss 1460 ws 7 sackok ts 5 0");
  script.expect(". 1:1(0) ack 1");
  script.send(". 1:1(0) ack 1 ts 6 0");
  assert.equal(conn.state, ESTABLISHED);
});

Deno.test("a call: SYN, answer, ACK; what stands in the ACK's segment is read", () => {
  const script = new Script(), listener = script.listen();
  script.send("S 0:0(0) win 65535 mss 1460 ws 7 sackok ts 9 0");
  script.expect("S. 0:0(0) ack 1 mss 1460 ws 7 sackok ts");
  assert.equal(listener.accept(), undefined);
  script.send("P. 1:101(100) ack 1 ts 10 0");
  const conn = listener.accept()!;
  assert.equal(script.read(conn, 1), 100);
});

Deno.test("what a SYN did not offer is not in the answer", () => {
  const script = new Script();
  script.listen();
  script.send("S 0:0(0) win 1000");
  const [line] = script.taken();
  assert.match(line, /^S\. 0:0\(0\) ack 1 win 65535 mss 1460$/);
});

Deno.test("the answer to a SYN is sent again for the same SYN, and by time; then it is forgotten", () => {
  const script = new Script({ env: { limits: { synAckRetries: 2 } } });
  script.listen();
  script.send("S 0:0(0) mss 1460");
  script.send("S 0:0(0) mss 1460");
  script.expect("S. 0:0(0) ack 1", "S. 0:0(0) ack 1");
  script.wait(20_000);
  script.expect("S. 0:0(0) ack 1", "S. 0:0(0) ack 1");
  assert.equal(script.host.tcp.table.count, 0);
  assert.equal(script.host.tcp.timers.count, 0);
});

Deno.test("a half-open connection ends by a reset with the right number only", () => {
  const script = new Script();
  script.listen();
  script.send("S 0:0(0) mss 1460", "R 5:5(0)");
  assert.equal(script.host.tcp.table.count, 1);
  script.send("R 1:1(0)");
  assert.equal(script.host.tcp.table.count, 0);
});

Deno.test("an ACK of what was never sent to a half-open connection gets a reset", () => {
  const script = new Script();
  script.listen();
  script.send("S 0:0(0) mss 1460");
  script.expect("S. 0:0(0) ack 1");
  script.send(". 1:1(0) ack 500");
  script.expect("R 500:500(0)");
});

Deno.test("nobody listens: a reset that acknowledges what came, and none for a reset", () => {
  const script = new Script();
  script.send("S 0:0(0)", "F 10:30(20)", "R 0:0(0)");
  script.iss = 0;
  script.expect("R. 0:0(0) ack 1", "R. 0:0(0) ack 31");
  script.send("P. 10:30(20) ack 4711", "R. 10:10(0) ack 3");
  script.expect("R 4711:4711(0)");
});

Deno.test("a listener with a full queue drops calls; with room again, the SYN that comes again is answered", () => {
  const script = new Script(), listener = ok(script.host.tcp.listen(UNSPECIFIED, 80, { backlog: 1 }));
  script.send("S 0:0(0) mss 1460");
  script.expect("S. 0:0(0) ack 1");
  script.send(". 1:1(0) ack 1");
  script.peerPort = 5001;
  script.send("S 0:0(0) mss 1460");
  script.expect();
  assert.equal(script.host.tcp.counters.ListenOverflows, 1);
  assert.ok(listener.accept());
  script.send("S 0:0(0) mss 1460");
  script.expect("S. 0:0(0) ack 1");
});

Deno.test("a flood of SYNs: beyond the bound there are cookies, and a call that knows its cookie gets through with its options", () => {
  const script = new Script({ env: { limits: { halfOpen: 3 } } }), listener = script.listen();
  for (let i = 0; i < 500; i++) {
    script.peerPort = 10_000 + i;
    script.send("S 0:0(0) mss 1460");
  }
  assert.equal(script.host.tcp.table.count, 3);
  assert.equal(script.host.tcp.counters.SyncookiesSent, 497);
  script.taken();
  script.peerPort = 4000;
  script.send("S 0:0(0) win 65535 mss 1400 ws 9 sackok ts 123 0");
  const [answer] = script.taken(), stamp = / ts (-?\d+) 123/.exec(answer)![1];
  const { iss } = script;
  script.wait(3000);
  script.taken();
  script.iss = iss;
  script.send(`P. 1:51(50) ack 1 ts 124 ${stamp}`);
  const conn = listener.accept()!;
  assert.equal(script.read(conn, 1), 50);
  assert.equal(conn.snd.scale, 9);
  assert.ok(conn.sack && conn.timestamps);
  assert.equal(conn.snd.mss, 1300 - 12);
});

Deno.test("a cookie that is wrong or old gets a reset", () => {
  const script = new Script({ env: { limits: { halfOpen: 0 } } }), listener = script.listen();
  script.send("S 0:0(0) mss 1460");
  script.expect("S. 0:0(0) ack 1");
  script.send(". 1:1(0) ack 2");
  script.expect("R 2:2(0)");
  script.wait(200_000);
  script.send(". 1:1(0) ack 1");
  script.expect("R 1:1(0)");
  assert.equal(listener.accept(), undefined);
});

Deno.test("buffers over 64 KiB: a SYN's window is 65,535, never wrapped, and the scaled one comes with the first ACK", () => {
  for (const recvBytes of [65_536, 65_537, 1 << 17, 1 << 20, 8 << 20]) {
    const script = new Script({ env: { limits: { recvBytes } } }), conn = script.connect();
    script.expect("S 0:0(0) win 65535");
    script.send(SYN_ACK);
    const [line] = script.taken(), win = Number(/win (\d+)/.exec(line)![1]);
    assert.equal(win, Math.min(recvBytes >> 7, 65_535));
    assert.equal(conn.rcv.window, win << 7);
  }
});

Deno.test("ECN: agreed when both ask, also by those that are called; not when the answer mirrors", () => {
  const asks = new Script({ env: { ecn: true } }), dialed = asks.connect();
  asks.expect("SEW 0:0(0)");
  asks.send("SE. 0:0(0) ack 1 mss 1460");
  assert.ok(dialed.ecn);
  const mirrored = new Script({ env: { ecn: true } }), other = mirrored.connect();
  mirrored.taken();
  mirrored.send("SEW. 0:0(0) ack 1 mss 1460");
  assert.equal(other.ecn, false);
  const called = new Script();
  called.listen();
  called.send("SEW 0:0(0) mss 1460");
  called.expect("S.E 0:0(0) ack 1");
});

Deno.test("first sequence numbers rise with time for the same ends, and differ between ends", () => {
  const script = new Script(), { secrets } = script.host.tcp;
  const ends = { local: script.host.addr, localPort: 1, remote: script.peer.addr, remotePort: 2 };
  const first = secrets.isn(ends, 5000), later = secrets.isn(ends, 5004);
  assert.equal(later - first | 0, 1000);
  assert.notEqual(secrets.isn({ ...ends, localPort: 3 }, 5000), first);
});

Deno.test("ephemeral ports are in their range, not one after the other, and run out with an error", () => {
  const script = new Script({ env: { limits: { firstPort: 40_000, lastPort: 40_049 } } }), ports = new Set<number>();
  for (let i = 0; i < 50; i++) ports.add(ok(script.host.tcp.connect(script.peer.addr, 9, {}, script.now)).localPort);
  assert.deepEqual([...ports].sort(), Array.from({ length: 50 }, (_, i) => 40_000 + i));
  assert.notDeepEqual([...ports], [...ports].sort());
  const none = script.host.tcp.connect(script.peer.addr, 9, {}, script.now);
  assert.ok(none instanceof Err && none.code === "EADDRNOTAVAIL");
});

Deno.test("ports that are taken, addresses that cannot be: an error each", () => {
  const script = new Script(), { tcp } = script.host;
  const code = (value: unknown) => value instanceof Err ? value.code : "none";
  script.connect({ localPort: 99 });
  assert.equal(code(tcp.connect(script.peer.addr, 5000, { localPort: 99 }, script.now)), "EADDRINUSE");
  assert.equal(code(tcp.connect(script.peer.addr, 0, {}, script.now)), "EINVAL");
  assert.equal(code(tcp.connect(UNSPECIFIED, 7, {}, script.now)), "ENETUNREACH");
  assert.equal(code(tcp.connect(script.peer.addr, 7, { local: script.peer.addr }, script.now)), "EADDRNOTAVAIL");
  script.listen();
  assert.equal(code(tcp.listen(UNSPECIFIED, 80)), "EADDRINUSE");
  assert.equal(code(tcp.listen(script.host.addr, 80)), "none");
});

Deno.test("ICMP ends a connection that dials, if it quotes its SYN", () => {
  const script = new Script(), conn = script.connect(), [syn] = script.sent.splice(0);
  const trouble = {
    mtu: 0,
    local: script.host.addr,
    remote: script.peer.addr,
    bytes: syn.bytes.slice(),
    at: 0,
    end: 8,
  };
  trouble.bytes[7] ^= 1;
  assert.equal(script.host.tcp.trouble({ ...trouble, kind: "host unreachable" }, script.now), false);
  trouble.bytes[7] ^= 1;
  assert.equal(script.host.tcp.trouble({ ...trouble, kind: "host unreachable" }, script.now), true);
  assert.equal(conn.error?.code, "EHOSTUNREACH");
  assert.equal(headerOf(syn).dstPort, 5000);
});
