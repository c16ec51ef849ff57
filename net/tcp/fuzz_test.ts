import assert from "node:assert/strict";
import { UNSPECIFIED } from "../addr.ts";
import { set16, set32 } from "../wire/packet.ts";
import { Random } from "../wire/wire_fixture.ts";
import { CLOSED, type Conn } from "./conn.ts";
import { ok, Script } from "./script_fixture.ts";

/** What holds of every connection, whatever has come. */
function check(script: Script, conn: Conn): void {
  const { snd, rcv } = conn, { board } = snd, over = conn.state === CLOSED;
  const outstanding = over ? 0 : snd.nxt - snd.una | 0;
  assert.ok(outstanding >= 0 && outstanding < 1 << 24);
  const counted = board.inFlight + board.lostBytes + board.sackedBytes;
  const sum = [...board].reduce((bytes, record) => bytes + record.bytes, 0);
  assert.equal(counted, sum);
  if (conn.state >= 3) assert.equal(sum, over ? 0 : outstanding);
  assert.ok(rcv.ring.length + rcv.early.bytes <= rcv.limit + 200, `${rcv.ring.length} and ${rcv.early.bytes}`);
  assert.ok(rcv.early.count <= 4096 && rcv.window >= 0);
  for (let i = 0; i < rcv.early.count; i++) {
    assert.ok((rcv.early.right[i] - rcv.early.left[i] | 0) > 0 && (rcv.early.left[i] - rcv.nxt | 0) > 0);
  }
  assert.ok(script.host.tcp.table.count < 50);
}

/** A segment that is wrong in some ways, and near the right numbers in others. */
function segment(script: Script, conn: Conn | undefined, random: Random): Uint8Array {
  const options = random.below(3) === 0 ? random.below(11) * 4 : 0,
    count = random.below(3) === 0 ? random.below(3000) : 0;
  const bytes = random.bytes(20 + options + count);
  const near = (value: number) =>
    [value, value + random.below(100_000) - 50_000, value + 1, value - 1][random.below(4)] | 0;
  set16(bytes, 0, 5000);
  set16(bytes, 2, random.below(20) === 0 ? random.below(65_536) : script.hostPort);
  set32(bytes, 4, near(conn === undefined ? script.irs : conn.rcv.nxt));
  set32(bytes, 8, near(conn === undefined ? script.iss ?? 0 : random.below(2) === 0 ? conn.snd.una : conn.snd.nxt));
  bytes[12] = random.below(50) === 0 ? random.below(256) : 5 + options / 4 << 4;
  // Mostly ACKs, so that not every connection ends at once.
  bytes[13] = random.below(12) === 0 ? random.below(256) : 16;
  if (options >= 12 && random.below(2) === 0) {
    // SACK blocks that may be right.
    bytes.set([1, 1, 5, 10], 20);
    const left = near(conn?.snd.una ?? 0);
    set32(bytes, 24, left);
    set32(bytes, 28, left + random.below(4000));
  }
  return bytes;
}

Deno.test("segments of all kinds, right and wrong: nothing throws, and what holds always holds", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed),
      script = new Script({ irs: random.below(1 << 30) * 4 | 0, ts: random.below(2) === 0 });
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
    const conn = random.below(3) === 0 ? script.connect() : script.establish();
    const listener = script.host.tcp.listeners.size > 0 ? undefined : ok(script.host.tcp.listen(UNSPECIFIED, 81));
    try {
      for (let step = 0; step < 250 && conn.state !== CLOSED; step++) {
        if (conn.writable && random.below(4) === 0) conn.write(random.bytes(random.below(5000)));
        if (random.below(60) === 0) conn.shutdown("wr");
        if (random.below(5) === 0) conn.consume(random.below(conn.available + 1));
        for (let i = random.below(4); i >= 0; i--) {
          const bytes = segment(script, conn, random);
          arrival.ecn = random.below(4);
          arrival.gsoBytes = random.below(2) * 1000;
          script.host.tcp.input(bytes, 0, bytes.length, arrival, script.now);
        }
        script.poll();
        check(script, conn);
        if (random.below(3) === 0) script.wait(random.below(random.below(5) === 0 ? 3000 : 30));
        script.taken();
      }
      conn.abort();
      listener?.close();
      script.wait(400_000);
      conn.consume(conn.available);
      assert.equal(script.host.tcp.pool.usedBytes, 0);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error}`, { cause: error });
    }
  }
});
