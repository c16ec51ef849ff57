import assert from "node:assert/strict";
import { CLOSE_WAIT, CLOSED, ESTABLISHED, EVENT, FIN_WAIT_2, TIME_WAIT } from "./conn.ts";
import { Script } from "./script_fixture.ts";

/** Sequence numbers at which arithmetic goes wrong: around 0x80000000 and 2^32. */
const EDGES = [0x7fffff00, 0xffffff00 | 0, 0x7fffffff, -1, 0];

Deno.test("a reset with the next number ends; one that is only in the window is challenged; others are nothing", () => {
  const script = new Script(), conn = script.establish();
  script.send("R 5000:5000(0)");
  script.expect(". 1:1(0) ack 1");
  script.send("R 200000:200000(0)", "R 0:0(0)");
  script.expect();
  assert.equal(conn.state, ESTABLISHED);
  script.send("R 1:1(0)");
  assert.equal(conn.state, CLOSED);
  assert.equal(conn.error?.code, "ECONNRESET");
  script.expect();
});

Deno.test("what was received before a reset can still be read", () => {
  const script = new Script(), conn = script.establish();
  script.send("P. 1:11(10) ack 1", "R 11:11(0)");
  assert.equal(conn.eof, false);
  assert.equal(script.read(conn, 1), 10);
  assert.equal(conn.eof, true);
  assert.equal(script.host.tcp.pool.usedBytes, 0);
});

Deno.test("a SYN in an established connection is challenged, and challenges are not sent too often", () => {
  const script = new Script(), conn = script.establish();
  for (let i = 0; i < 10; i++) script.send("S 100:100(0)");
  script.expect(". 1:1(0) ack 1");
  script.wait(600);
  script.send("S 0:0(0)");
  script.expect(". 1:1(0) ack 1");
  assert.equal(conn.state, ESTABLISHED);
});

Deno.test("an ACK of what was never sent is challenged and its data dropped; so is one that is too old", () => {
  const script = new Script(), conn = script.establish();
  script.send("P. 1:11(10) ack 1000");
  script.expect(". 1:1(0) ack 1");
  script.wait(600);
  script.send("P. 1:11(10) ack -70000");
  script.expect(". 1:1(0) ack 1");
  assert.equal(conn.available, 0);
});

Deno.test("a segment without ACK is dropped", () => {
  const script = new Script(), conn = script.establish();
  script.send("P 1:11(10)");
  assert.equal(conn.available, 0);
  script.expect();
});

Deno.test("data in order is acknowledged at once at first, later with every second full segment, or after 40 ms", () => {
  const script = new Script(), conn = script.establish();
  script.send(". 1:1461(1460) ack 1");
  script.expect(". 1:1(0) ack 1461");
  conn.rcv.quickAcks = 0;
  script.send(". 1461:2921(1460) ack 1");
  script.expect();
  script.send(". 2921:4381(1460) ack 1");
  script.expect(". 1:1(0) ack 4381");
  script.send(". 4381:5841(1460) ack 1");
  script.wait(39);
  script.expect();
  script.wait(1);
  script.expect(". 1:1(0) ack 5841");
  assert.equal(script.read(conn, 1), 5840);
});

Deno.test("the ACK of a first question waits a moment for its answer, which carries it", () => {
  const script = new Script(), conn = script.establish();
  script.send("P. 1:65(64) ack 1");
  script.expect();
  assert.equal(script.read(conn, 1), 64);
  conn.write(new Uint8Array(10));
  script.poll();
  script.expect("P. 1:11(10) ack 65");
  const other = new Script();
  other.establish();
  other.send("P. 1:65(64) ack 1");
  other.wait(1);
  other.expect(". 1:1(0) ack 65");
});

Deno.test("a batch of segments is one ACK", () => {
  const script = new Script();
  script.establish();
  script.send(". 1:1461(1460) ack 1", ". 1461:2921(1460) ack 1", ". 2921:4381(1460) ack 1", ". 4381:5841(1460) ack 1");
  script.expect(". 1:1(0) ack 5841");
});

Deno.test("an answer that is written when data is told carries its ACK", () => {
  const script = new Script(), conn = script.establish();
  conn.onEvents = (conn, events) => {
    if (events & EVENT.readable) conn.write(new Uint8Array(conn.available));
  };
  script.send("P. 1:65(64) ack 1");
  script.expect("P. 1:65(64) ack 65");
});

for (const irs of EDGES) {
  Deno.test(`segments out of order, sequence numbers from ${irs >>> 0}: SACK tells of them, the newest first`, () => {
    const script = new Script({ irs }), conn = script.establish();
    script.send(". 1001:2001(1000) ack 1");
    script.expect(". 1:1(0) ack 1 sack 1001-2001");
    script.send(". 3001:4001(1000) ack 1");
    script.expect(". 1:1(0) ack 1 sack 3001-4001,1001-2001");
    script.send(". 2001:2501(500) ack 1");
    script.expect(". 1:1(0) ack 1 sack 1001-2501,3001-4001");
    script.send(". 1:1001(1000) ack 1");
    script.expect(". 1:1(0) ack 2501 sack 3001-4001");
    script.send(". 2501:3001(500) ack 1");
    const [line] = script.taken();
    assert.match(line, /ack 4001 win \d+$/);
    assert.equal(script.read(conn, 1), 4000);
  });
}

Deno.test("overlapping segments are read once, byte by byte right", () => {
  const script = new Script({ irs: -1500 }), conn = script.establish();
  script.send(". 501:1501(1000) ack 1", ". 1001:2501(1500) ack 1", ". 401:601(200) ack 1", ". 1:701(700) ack 1");
  assert.equal(script.read(conn, 1), 2500);
  script.send(". 2001:3001(1000) ack 1");
  assert.equal(script.read(conn, 2501), 500);
});

Deno.test("more gaps in one batch than an ACK has room for: there are several ACKs, and every range is told of", () => {
  const script = new Script(), conn = script.establish();
  const lines = Array.from({ length: 8 }, (_, i) => `. ${i * 200 + 101}:${i * 200 + 201}(100) ack 1`);
  script.send(...lines);
  const told = script.taken(), ranges = new Set(told.flatMap((line) => line.split(" sack ")[1].split(",")));
  assert.equal(told.length, 3);
  assert.equal(ranges.size, 8);
  assert.equal(conn.available, 0);
});

Deno.test("a duplicate is told of by D-SACK, in front of the gaps", () => {
  const script = new Script();
  script.establish();
  script.send(". 1:1001(1000) ack 1");
  script.taken();
  script.send(". 1:1001(1000) ack 1");
  script.expect(". 1:1(0) ack 1001 sack 1-1001");
  script.send(". 2001:3001(1000) ack 1");
  script.taken();
  script.send(". 2001:3001(1000) ack 1");
  script.expect(". 1:1(0) ack 1001 sack 2001-3001,2001-3001");
});

Deno.test("a peer without SACK gets a duplicate ACK for each segment behind a gap", () => {
  const script = new Script();
  script.establish("S 0:0(0) win 65535 mss 1460");
  script.send(". 1001:2001(1000) ack 1", ". 2001:3001(1000) ack 1", ". 3001:4001(1000) ack 1");
  script.expect(". 1:1(0) ack 1", ". 1:1(0) ack 1", ". 1:1(0) ack 1");
});

Deno.test("data beyond the window is cut off, and answered at once", () => {
  const script = new Script({ env: { limits: { recvBytes: 4096 } } }), conn = script.establish();
  script.send(". 1:2945(2944) ack 1");
  script.taken();
  script.send("P. 2945:5001(2056) ack 1");
  script.expect(". 1:1(0) ack 4097 win 0");
  assert.equal(conn.available, 4096);
  script.send(". 4097:4098(1) ack 1");
  script.expect(". 1:1(0) ack 4097 win 0");
  assert.equal(script.read(conn, 1), 4096);
  script.expect(". 1:1(0) ack 4097 win 32");
});

Deno.test("a peer that sends byte by byte gets no more window than there is room", () => {
  const script = new Script({ env: { limits: { recvBytes: 2048 } } }), conn = script.establish();
  for (let i = 1; i < 5000; i++) script.send(`. ${i}:${i + 1}(1) ack 1`);
  assert.ok(conn.available <= 2048 + 128, `${conn.available} bytes`);
});

Deno.test("a window that opens by little is not told: no silly windows", () => {
  const script = new Script({ env: { limits: { recvBytes: 8192 } } }), conn = script.establish();
  script.send(". 1:8193(8192) ack 1");
  script.taken();
  conn.consume(700);
  script.poll();
  script.expect();
  conn.consume(3500);
  script.poll();
  script.expect(". 1:1(0) ack 8193");
});

Deno.test("PAWS: an old timestamp with data is answered and dropped; ACKs that overtook each other are not", () => {
  const script = new Script({ ts: true }), conn = script.establish();
  script.send(". 1:101(100) ack 1 ts 500 0");
  script.taken();
  script.send(". 101:201(100) ack 1 ts 400 0");
  script.expect(". 1:1(0) ack 101");
  assert.equal(conn.available, 100);
  script.send(". 101:101(0) ack 1 ts 400 0");
  script.expect();
  script.wait(25 * 24 * 3600 * 1000);
  script.taken();
  script.send(". 101:201(100) ack 1 ts 400 0");
  assert.equal(conn.available, 200);
});

Deno.test("PAWS: what is sent again and overtakes the originals behind it makes none of them too old; a window later they would be", () => {
  const script = new Script({ ts: true }), conn = script.establish();
  script.send(". 1:101(100) ack 1 ts 500 0", ". 201:301(100) ack 1 ts 501 0", ". 101:201(100) ack 1 ts 520 0");
  assert.equal(conn.available, 300);
  script.send(". 301:401(100) ack 1 ts 501 0", ". 401:501(100) ack 1 ts 502 0");
  assert.equal(conn.available, 500);
  script.send(". 501:601(100) ack 1 ts 480 0");
  assert.equal(conn.available, 500);
  const edge = conn.rcv.tsPoint - conn.rcv.irs | 0;
  for (let at = 501; at < edge; at += 1000) script.send(`. ${at}:${at + 1000}(1000) ack 1 ts 530 0`);
  const next = conn.rcv.nxt - conn.rcv.irs | 0, had = conn.available;
  script.send(`. ${next}:${next + 100}(100) ack 1 ts 530 0`, `. ${next + 100}:${next + 200}(100) ack 1 ts 529 0`);
  assert.equal(conn.available, had + 100);
});

Deno.test("timestamps cross 2^31 and 2^32", () => {
  for (const ts of [0x7fffffff, -1]) {
    const script = new Script({ ts: true }),
      conn = script.establish(`S 0:0(0) win 65535 mss 1460 sackok ts ${ts} 0`);
    script.send(`. 1:101(100) ack 1 ts ${ts + 1 | 0} 0`, `. 101:201(100) ack 1 ts ${ts + 2 | 0} 0`);
    assert.equal(conn.available, 200);
  }
});

Deno.test("urgent data is data", () => {
  const script = new Script(), conn = script.establish();
  script.send("PU. 1:101(100) ack 1");
  assert.equal(script.read(conn, 1), 100);
});

Deno.test("a FIN behind a gap waits for it", () => {
  const script = new Script(), conn = script.establish(), told: number[] = [];
  conn.onEvents = (_, events) => told.push(events);
  script.send("F. 101:201(100) ack 1");
  script.expect(". 1:1(0) ack 1 sack 101-201");
  assert.equal(conn.state, ESTABLISHED);
  script.send(". 1:101(100) ack 1");
  script.expect(". 1:1(0) ack 202");
  assert.equal(conn.state, CLOSE_WAIT);
  assert.ok(told.at(-1)! & EVENT.hangup);
  assert.equal(conn.eof, false);
  assert.equal(script.read(conn, 1), 200);
  assert.equal(conn.eof, true);
});

Deno.test("half close: after the peer's FIN data is still sent, and both ends close", () => {
  const script = new Script(), conn = script.establish();
  script.send("F. 1:1(0) ack 1");
  script.expect(". 1:1(0) ack 2");
  conn.write(new Uint8Array(500));
  conn.shutdown("wr");
  script.poll();
  script.expect("FP. 1:501(500) ack 2");
  script.send(". 2:2(0) ack 502");
  assert.equal(conn.state, CLOSED);
  assert.equal(conn.error, undefined);
  assert.equal(script.host.tcp.table.count, 0);
});

Deno.test("closing first: Finwait1, Finwait2, Time_wait, which acknowledges a FIN again, ignores resets, and ends", () => {
  const script = new Script({ env: { limits: { timeWaitMs: 5000 } } }), conn = script.establish();
  conn.shutdown("wr");
  script.poll();
  script.expect("F. 1:1(0) ack 1");
  script.send(". 1:1(0) ack 2");
  assert.equal(conn.state, FIN_WAIT_2);
  script.send("P. 1:11(10) ack 2");
  script.taken();
  script.send("F. 11:11(0) ack 2");
  script.expect(". 2:2(0) ack 12");
  assert.equal(conn.state, TIME_WAIT);
  assert.equal(script.read(conn, 1), 10);
  script.send("F. 11:11(0) ack 2", "R 12:12(0)");
  script.expect(". 2:2(0) ack 12");
  script.wait(5001);
  assert.equal(conn.state, CLOSED);
  assert.equal(script.host.tcp.table.count, 0);
  script.expect();
});

Deno.test("both close at once: Closing, then Time_wait", () => {
  const script = new Script(), conn = script.establish();
  conn.shutdown("wr");
  script.poll();
  script.expect("F. 1:1(0) ack 1");
  script.send("F. 1:1(0) ack 1");
  script.expect(". 2:2(0) ack 2");
  script.send(". 2:2(0) ack 2");
  assert.equal(conn.state, TIME_WAIT);
});

Deno.test("a SYN with a higher number takes the place of Time_wait; the new numbers begin behind the old", () => {
  const script = new Script(), conn = script.establish();
  conn.close();
  script.poll();
  script.send("F. 1:1(0) ack 2");
  script.taken();
  assert.equal(conn.state, TIME_WAIT);
  const before = script.iss!;
  script.send("S 5000:5000(0) mss 1460");
  const [line] = script.taken();
  assert.match(line, /^S\. 0:0\(0\) ack 5001/);
  assert.ok((script.iss! - before | 0) > 65_536);
});

Deno.test("closed with data that nobody has read, or data that comes then: a reset", () => {
  const unread = new Script(), conn = unread.establish();
  unread.send("P. 1:11(10) ack 1");
  unread.taken();
  conn.close();
  unread.poll();
  unread.expect("R. 1:1(0) ack 11");
  const late = new Script(), other = late.establish();
  other.close();
  late.poll();
  late.expect("F. 1:1(0) ack 1");
  late.send("P. 1:11(10) ack 2");
  late.expect("R. 2:2(0) ack 1");
  for (const script of [unread, late]) {
    assert.equal(script.host.tcp.table.count, 0);
    assert.equal(script.host.tcp.pool.usedBytes, 0);
  }
});

Deno.test("closed, and the peer never closes: Finwait2 ends after its time", () => {
  const script = new Script({ env: { limits: { finWait2Ms: 3000 } } }), conn = script.establish();
  conn.close();
  script.poll();
  script.send(". 1:1(0) ack 2");
  script.wait(3001);
  assert.equal(conn.state, CLOSED);
  assert.equal(script.host.tcp.timers.count, 0);
});

Deno.test("CE is echoed until CWR comes", () => {
  const script = new Script();
  script.establish("SEW 0:0(0) win 65535 mss 1460 sackok");
  script.send("P. 1:101(100) ack 1 ce");
  script.expect(".E 1:1(0) ack 101");
  script.send("P. 101:201(100) ack 1");
  script.wait(1);
  script.expect(".E 1:1(0) ack 201");
  script.send("PW. 201:301(100) ack 1");
  script.wait(1);
  script.expect(". 1:1(0) ack 301");
});

Deno.test("bytes that are no segment, or have a wrong checksum, are counted and nothing else", () => {
  const script = new Script(), conn = script.establish(), { tcp } = script.host, before = tcp.counters.InErrs;
  const arrival = {
    src: script.peer.addr,
    dst: script.host.addr,
    link: "test",
    ecn: 0,
    ttl: 64,
    checksumGood: true,
    gsoBytes: 0,
    pseudoSum: 0,
  };
  const bytes = new Uint8Array(64);
  for (let end = 0; end < 20; end++) tcp.input(bytes, 0, end, arrival, script.now);
  bytes[12] = 0xf0;
  tcp.input(bytes, 0, 40, arrival, script.now);
  bytes[12] = 0x50;
  tcp.input(bytes, 0, 40, { ...arrival, checksumGood: false, pseudoSum: 1 }, script.now);
  assert.equal(tcp.counters.InErrs - before, 22);
  assert.equal(tcp.counters.CsumErrs, 1);
  assert.equal(conn.state, ESTABLISHED);
});

Deno.test("a peer that leaves gaps everywhere is bounded", () => {
  const script = new Script({ env: { limits: { recvBytes: 1 << 20 } } }), conn = script.establish();
  for (let i = 0; i < 10_000; i++) script.send(`. ${2 * i + 2}:${2 * i + 3}(1) ack 1`);
  assert.ok(conn.rcv.early.count <= 4096);
  assert.ok(script.host.tcp.counters.RcvPruned > 5000);
  conn.abort();
  script.poll();
  assert.equal(script.host.tcp.pool.usedBytes, 0);
});
