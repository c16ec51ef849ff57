import assert from "node:assert/strict";
import { CLOSED, ESTABLISHED, EVENT, FIN_WAIT_2 } from "./conn.ts";
import { Script } from "./script_fixture.ts";

const bytes = (count: number) => new Uint8Array(count);

/** Sequence numbers of the stack at which arithmetic goes wrong; the test's data crosses them. */
const EDGES = [0x7ffff000, 0xfffff000 | 0];

for (const iss of EDGES) {
  Deno.test(`sending across ${iss >>> 0}: segments, super-segments, and their ACKs`, () => {
    for (const gsoMaxBytes of [0, 65_535]) {
      const script = new Script({ iss, gsoMaxBytes }), conn = script.establish();
      assert.ok((conn.snd.iss - iss | 0) >= 0 && (conn.snd.iss - iss | 0) < 1000);
      conn.write(bytes(14_600));
      script.poll();
      script.expect(
        ...Array.from(
          { length: 10 },
          (_, i) => `${i === 9 ? "P" : ""}. ${1 + i * 1460}:${1461 + i * 1460}(1460) ack 1`,
        ),
      );
      script.send(". 1:1(0) ack 7301", ". 1:1(0) ack 14601");
      assert.equal(conn.snd.ring.length, 0);
      assert.equal(conn.rtxAt, Infinity);
      assert.equal(script.host.tcp.pool.usedBytes, 0);
    }
  });
}

Deno.test("Nagle: a small segment waits while another small one is outstanding; not without Nagle, not with a FIN", () => {
  const script = new Script(), conn = script.establish();
  const write = (count: number) => {
    conn.write(bytes(count));
    script.poll();
  };
  write(10);
  script.expect("P. 1:11(10)");
  write(20);
  write(30);
  script.expect();
  script.send(". 1:1(0) ack 11");
  script.expect("P. 11:61(50)");
  conn.setNodelay(true);
  write(5);
  script.expect("P. 61:66(5)");
  conn.setNodelay(false);
  write(7);
  script.expect();
  conn.shutdown("wr");
  script.poll();
  script.expect("FP. 66:73(7)");
});

Deno.test("the last small segment of a write does not wait for full ones (Minshall)", () => {
  const script = new Script(), conn = script.establish();
  conn.write(bytes(3000));
  script.poll();
  script.expect(". 1:1461(1460)", ". 1461:2921(1460)", "P. 2921:3001(80)");
});

Deno.test("the initial window is ten segments; each ACK lets more go", () => {
  const script = new Script(), conn = script.establish();
  conn.write(bytes(100_000));
  script.poll();
  assert.equal(script.taken().length, 10);
  script.now += 10;
  script.send(". 1:1(0) ack 2921");
  script.wait(5);
  assert.ok(script.taken().length >= 2);
});

Deno.test("PSH ends each burst, for whom a peer's device merges, though more waits for the window or cwnd", () => {
  for (const gsoMaxBytes of [0, 65_535]) {
    const script = new Script({ gsoMaxBytes }), conn = script.establish("S 0:0(0) win 60000 mss 1000");
    script.send(". 1:1(0) ack 1 win 4000");
    conn.write(bytes(100_000));
    script.poll();
    script.expect(". 1:1001(1000)", ". 1001:2001(1000)", ". 2001:3001(1000)", "P. 3001:4001(1000)");
    script.send(". 1:1(0) ack 4001 win 60000");
    const flight = script.taken(), last = flight.length - 1;
    assert.ok(flight.length > 4, "as many as the window of congestion lets go");
    assert.deepEqual(flight.map((line) => line.startsWith("P")), flight.map((_, i) => i === last));
  }
});

Deno.test("the peer's window is kept to, and its right edge may go back", () => {
  const script = new Script(), conn = script.establish("S 0:0(0) win 4000 mss 1000");
  script.send(". 1:1(0) ack 1 win 4000");
  conn.write(bytes(10_000));
  script.poll();
  script.expect(". 1:1001(1000)", ". 1001:2001(1000)", ". 2001:3001(1000)", "P. 3001:4001(1000)");
  script.send(". 1:1(0) ack 2001 win 1000");
  script.expect();
  script.send(". 1:1(0) ack 4001 win 1500");
  script.expect("P. 4001:5001(1000)");
});

Deno.test("a closed window is asked about again and again, further apart; when it opens, data goes at once", () => {
  const script = new Script(), conn = script.establish("S 0:0(0) win 1000 mss 1000 sackok");
  script.send(". 1:1(0) ack 1 win 1000");
  conn.write(bytes(3000));
  script.poll();
  script.expect("P. 1:1001(1000)");
  script.send(". 1:1(0) ack 1001 win 0");
  const times: number[] = [];
  for (let ms = 0; ms < 8000; ms += 50) {
    script.wait(50);
    for (const line of script.taken()) {
      assert.match(line, /^\. 1000:1000\(0\) ack 1/);
      times.push(ms);
      script.send(". 1:1(0) ack 1001 win 0");
    }
  }
  assert.ok(times.length >= 4 && times.length <= 8, times.join());
  assert.ok(times[3] - times[2] > 1.8 * (times[2] - times[1]), times.join());
  script.send(". 1:1(0) ack 1001 win 5000");
  script.expect(". 1001:2001(1000)", "P. 2001:3001(1000)");
});

Deno.test("a window smaller than a segment is filled only after a while", () => {
  const script = new Script({ rttMs: 20 }), conn = script.establish("S 0:0(0) win 5000 mss 1000");
  script.send(". 1:1(0) ack 1 win 5000");
  script.send(". 1:1(0) ack 1 win 300");
  conn.snd.wnd = 300;
  conn.write(bytes(2000));
  script.poll();
  script.expect();
  script.wait(250);
  script.expect("P. 1:301(300)");
});

Deno.test("a writer is cut short when the queue is full, and told when there is room", () => {
  const script = new Script({ env: { limits: { sendBytes: 10_000 } } }), conn = script.establish(), told: number[] = [];
  conn.onEvents = (_, events) => told.push(events);
  assert.equal(conn.write(bytes(15_000)), 10_000);
  assert.equal(conn.write(bytes(1)), 0);
  assert.equal(conn.readiness.writable, false);
  script.poll();
  script.send(". 1:1(0) ack 9001");
  assert.ok(told.some((events) => events & EVENT.writable));
  assert.ok(conn.room > 0);
});

Deno.test("a writer that has filled the queue to the last byte is told when there is room", () => {
  const script = new Script({ env: { limits: { sendBytes: 8760 } } }), conn = script.establish(), told: number[] = [];
  conn.onEvents = (_, events) => told.push(events);
  conn.write(bytes(conn.room));
  script.poll();
  told.length = 0;
  script.send(". 1:1(0) ack 8761");
  assert.deepEqual(told, [EVENT.writable]);
});

Deno.test("a writer that found no memory is told when others have given theirs back", () => {
  const script = new Script({ env: { limits: { poolBytes: 16_384 } } }), conn = script.establish(), told: number[] = [];
  conn.onEvents = (_, events) => told.push(events);
  script.poll();
  const hog = script.host.tcp.pool.get(16_384)!;
  assert.equal(conn.write(bytes(100)), 0);
  script.poll();
  assert.ok(!told.some((events) => events & EVENT.writable && events !== 6), told.join());
  told.length = 0;
  script.host.tcp.pool.put(hog);
  script.poll();
  assert.deepEqual(told, [EVENT.writable]);
  assert.equal(conn.write(bytes(100)), 100);
});

Deno.test("keepalive: a silent peer is probed, and given up with ETIMEDOUT; one that answers is not", () => {
  const script = new Script(), conn = script.establish();
  conn.setKeepalive({ idleMs: 1000, intervalMs: 200, probes: 3 });
  script.wait(999);
  script.expect();
  script.wait(2);
  script.expect(". 0:0(0) ack 1");
  script.send(". 1:1(0) ack 1");
  script.wait(990);
  script.expect();
  script.wait(700);
  script.expect(". 0:0(0) ack 1", ". 0:0(0) ack 1", ". 0:0(0) ack 1", "R. 1:1(0)");
  assert.equal(conn.state, CLOSED);
  assert.equal(conn.error?.code, "ETIMEDOUT");
});

Deno.test("an idle connection has no timers and no memory", () => {
  const script = new Script(), conn = script.establish();
  conn.write(bytes(5000));
  script.poll();
  script.send(". 1:1(0) ack 5001", "P. 1:101(100) ack 5001");
  script.read(conn, 1);
  script.wait(100);
  assert.equal(script.host.tcp.pollAt(), Infinity);
  assert.equal(script.host.tcp.pool.usedBytes, 0);
  assert.equal(conn.state, ESTABLISHED);
});

Deno.test("a link that is full stops sending, and nothing is lost or repeated when it has room", () => {
  const script = new Script(), conn = script.establish();
  script.host.ip.room = 2;
  conn.write(bytes(5 * 1460));
  script.poll();
  script.expect(". 1:1461(1460)", ". 1461:2921(1460)");
  script.poll();
  script.expect();
  script.host.ip.room = Infinity;
  script.poll();
  script.expect(". 2921:4381(1460)", ". 4381:5841(1460)", "P. 5841:7301(1460)");
});

Deno.test("too big: what is in flight is cut smaller and sent again; a forged quote is not believed", () => {
  const script = new Script(), conn = script.establish();
  conn.write(bytes(2920));
  script.poll();
  const quote = script.sent[0].bytes.slice(0, 8), [path] = script.host.ip.paths.values();
  script.expect(". 1:1461(1460)", "P. 1461:2921(1460)");
  const trouble = {
    kind: "too big" as const,
    mtu: 1000,
    local: script.host.addr,
    remote: script.peer.addr,
    at: 0,
    end: 8,
  };
  const forged = quote.slice();
  forged[4] ^= 0x40;
  assert.equal(script.host.tcp.trouble({ ...trouble, bytes: forged }, script.now), false);
  assert.equal(script.host.tcp.trouble({ ...trouble, bytes: quote }, script.now), true);
  path.mtu = 1000;
  script.poll();
  script.expect(". 1:961(960)", ". 961:1921(960)", ". 1921:2881(960)", "P. 2881:2921(40)");
  assert.equal(conn.snd.mss, 960);
});

Deno.test("a path that swallows large segments without a word: after two timeouts smaller ones are tried", () => {
  const script = new Script(), conn = script.establish();
  conn.write(bytes(1460));
  script.poll();
  script.wait(20_000);
  const sizes = script.taken().map((line) => Number(/\((\d+)\)/.exec(line)![1]));
  assert.equal(sizes[0], 1460);
  assert.ok(sizes.some((size) => size > 800 && size <= 1024) && sizes.some((size) => size <= 512), sizes.join());
  assert.ok(script.host.tcp.counters.MTUPFail >= 2);
});

Deno.test("data may be marked when ECN was agreed, retransmissions and ACKs not; an echo is answered once", () => {
  const script = new Script(), conn = script.establish("SEW 0:0(0) win 65535 mss 1460 ws 7 sackok");
  conn.write(bytes(1460 * 3));
  script.poll();
  script.expect(". 1:1461(1460) ecn 2", ". 1461:2921(1460) ecn 2", "P. 2921:4381(1460) ecn 2");
  script.now += 10;
  script.send(".E 1:1(0) ack 1461");
  script.send(".E 1:1(0) ack 2921");
  assert.equal(script.host.tcp.counters.ECNMarks, 1);
  conn.write(bytes(1460 * 2));
  script.wait(5);
  script.expect(".W 4381:5841(1460) ecn 2", "P. 5841:7301(1460) ecn 2");
});

Deno.test("reset by the user: the peer is told, and everything is given back", () => {
  const script = new Script(), conn = script.establish();
  conn.write(bytes(3000));
  script.poll();
  script.taken();
  conn.abort();
  script.poll();
  script.expect("R. 3001:3001(0) ack 1");
  assert.equal(script.host.tcp.pool.usedBytes + script.host.tcp.table.count + script.host.tcp.timers.count, 0);
  assert.throws(() => conn.write(bytes(1)), { code: "EPIPE" });
});

Deno.test("a link that fills up in the midst of what leaves at once: what has left is noted, the rest follows when there is room", () => {
  const script = new Script(), conn = script.establish(), { lower } = script.host.tcp, begin = lower.begin.bind(lower);
  let room = 2;
  lower.begin = (...args) => room-- > 0 && begin(...args);
  conn.write(bytes(4 * 1460));
  conn.shutdown("wr");
  script.poll();
  script.expect(". 1:1461(1460)", ". 1461:2921(1460)");
  room = 9;
  script.poll();
  script.expect(". 2921:4381(1460)", "FP. 4381:5841(1460)");
  script.send(". 1:1(0) ack 5842");
  assert.equal(conn.state, FIN_WAIT_2);
});
