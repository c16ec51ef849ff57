import assert from "node:assert/strict";
import { CLOSED, ESTABLISHED, SYN_RECEIVED, TIME_WAIT } from "./conn.ts";
import { Script } from "./script_fixture.ts";

/** A connection of which the stack has closed its side first, and then the peer: in TIME_WAIT. */
function closed(script: Script) {
  const ts = script.options.ts ? " ts 500 0" : "", conn = script.establish();
  conn.close();
  script.poll();
  script.send(`F. 1:1(0) ack 2${ts}`);
  script.taken();
  assert.equal(conn.state, TIME_WAIT);
}

Deno.test("Time_wait with timestamps: a later one opens anew whatever its number, an older one never (RFC 6191)", () => {
  for (const [stamp, opens] of [[501, true], [499, false]] as const) {
    const script = new Script({ ts: true });
    closed(script);
    script.send(`S -50000:-50000(0) mss 1460 ts ${stamp} 0`);
    const [line] = script.taken();
    assert.match(line, opens ? /^S\. / : /^\. 2:2\(0\) ack 2/, `timestamp ${stamp}`);
  }
});

Deno.test("Time_wait without timestamps: a SYN with a number that was there already is acknowledged as of old", () => {
  const script = new Script();
  closed(script);
  script.send("S -50000:-50000(0) mss 1460");
  script.expect(". 2:2(0) ack 2");
});

Deno.test("more in Time_wait than there may be: the oldest goes, and its ports are free", () => {
  const script = new Script({ env: { limits: { timeWaits: 2 } } });
  for (const port of [5001, 5002, 5003]) {
    script.peerPort = port;
    if (port === 5001) closed(script);
    else again(script);
  }
  const { tcp } = script.host;
  assert.equal(tcp.timeWaits.count, 2);
  assert.equal(tcp.counters.TimeWaitRecycled, 1);
  assert.deepEqual([...tcp.timeWaits].map((it) => it.remotePort), [5002, 5003]);
});

/** The same again from another port, to the listener that is there. */
function again(script: Script): void {
  const listener = [...script.host.tcp.listeners.values()][0][0];
  script.send("S 0:0(0) win 65535 mss 1460");
  script.taken();
  script.send(". 1:1(0) ack 1");
  listener.accept()!.close();
  script.poll();
  script.send("F. 1:1(0) ack 2");
  script.taken();
}

Deno.test("a listener that is closed: calls that wait are reset, half-open ones forgotten, new ones refused", () => {
  const script = new Script(), listener = script.listen();
  script.send("S 0:0(0) mss 1460");
  script.taken();
  script.send(". 1:1(0) ack 1");
  script.peerPort = 5001;
  script.send("S 0:0(0) mss 1460");
  script.taken();
  assert.equal(listener.halfOpen, 1);
  listener.close();
  script.poll();
  assert.match(script.taken()[0], /^R/);
  assert.equal(script.host.tcp.table.count, 0);
  script.wait(10_000);
  script.expect();
  script.send("S 0:0(0) mss 1460");
  assert.match(script.taken()[0], /^R\. 0:0\(0\) ack 1|^R\. -?\d+:-?\d+\(0\) ack 1/);
});

Deno.test("both have dialed at once, and the peer thinks better of it: its reset refuses", () => {
  const script = new Script(), conn = script.connect();
  script.taken();
  script.send("S 0:0(0) win 65535 mss 1460");
  script.taken();
  assert.equal(conn.state, SYN_RECEIVED);
  script.send("R 900:900(0)");
  assert.equal(conn.state, SYN_RECEIVED);
  script.send("R 1:1(0)");
  assert.equal(conn.error?.code, "ECONNREFUSED");
  assert.equal(script.host.tcp.table.count, 0);
});

Deno.test("data in a call's SYN is not acknowledged, and taken when it comes again", () => {
  const script = new Script(), listener = script.listen();
  script.send("S 0:5(5) mss 1460");
  script.taken();
  script.send("P. 1:6(5) ack 1");
  assert.equal(listener.accept()!.available, 5);
});

Deno.test("a closed window: a peer that answers is asked for hours, one that says nothing for five minutes is given up", () => {
  for (const answers of [true, false]) {
    const script = new Script(), conn = script.establish("S 0:0(0) win 1000 mss 1000");
    script.send(". 1:1(0) ack 1 win 1000");
    conn.write(new Uint8Array(3000));
    script.poll();
    script.send(". 1:1(0) ack 1001 win 0");
    for (let minutes = 0; minutes < (answers ? 180 : 8); minutes++) {
      script.wait(60_000);
      if (script.taken().length > 0 && answers) script.send(". 1:1(0) ack 1001 win 0");
    }
    assert.equal(conn.state, answers ? ESTABLISHED : CLOSED);
    assert.equal(conn.error?.code, answers ? undefined : "ETIMEDOUT");
  }
});

Deno.test("forged resets, SYNs and ACKs by the thousand: no more than two challenges a second", () => {
  const script = new Script(), conn = script.establish();
  for (let i = 0; i < 1000; i++) {
    script.now += 3;
    script.send(`R ${2 + i}:${2 + i}(0)`, `S ${i}:${i}(0)`, `. 1:1(0) ack ${5000 + i}`, `. -9000:-9000(0) ack 1`);
  }
  assert.equal(conn.state, ESTABLISHED);
  const sent = script.taken().length;
  assert.ok(sent >= 5 && sent <= 7, `${sent} in three seconds`);
  assert.equal(script.host.tcp.counters.ChallengeACK, sent);
});

Deno.test("two timeouts in a row on a path that has delivered are a link that loses; four are a path that has changed", () => {
  const script = new Script({ rttMs: 20 }), conn = script.establish();
  conn.write(new Uint8Array(1460));
  script.poll();
  script.send(". 1:1(0) ack 1461");
  conn.write(new Uint8Array(1460));
  script.poll();
  const { counters } = script.host.tcp;
  while (counters.RetransTimeouts < 3) script.wait(10);
  assert.equal(conn.snd.mss, 1460);
  while (counters.RetransTimeouts < 4) script.wait(10);
  assert.equal(conn.snd.mss, 1024);
});

Deno.test("a path that swallowed large segments is tried with them again after ten minutes", () => {
  const script = new Script(), conn = script.establish();
  conn.write(new Uint8Array(1460));
  script.poll();
  while (conn.snd.mss === 1460) script.wait(100);
  script.taken();
  assert.equal(conn.snd.mss, 1024);
  script.send(". 1:1(0) ack 1461");
  script.wait(590_000);
  conn.setNodelay(true);
  conn.write(new Uint8Array(1460));
  script.wait(50);
  assert.match(script.taken()[0], /1461:2485\(1024\)/);
  script.send(". 1:1(0) ack 2921");
  script.wait(10_000);
  conn.write(new Uint8Array(1460));
  script.poll();
  script.expect("P. 2921:4381(1460)");
});
