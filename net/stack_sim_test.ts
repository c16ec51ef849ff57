/**
 * Whole stacks in seeded simulation: TCP on IP on Ethernet, over a wire that loses, delays, reorders and duplicates. A seed
 * that fails is printed, and `SEED=n deno test -A net/stack_sim_test.ts` runs it alone.
 */

import assert from "node:assert/strict";
import { parseIp, UNSPECIFIED } from "./addr.ts";
import { PLAIN } from "./link.ts";
import { Wire } from "./stack_fixture.ts";
import type { Conn } from "./tcp/conn.ts";
import { Random } from "./wire/wire_fixture.ts";

const SEEDS = 500, MAX_BYTES = 60_000, LIFE_MS = 600_000;

/** One direction of a conversation: what is sent, and what has come of it. */
class Flow {
  readonly sent: Uint8Array;
  readonly #got: Uint8Array;
  #at = 0;
  #count = 0;

  constructor(random: Random) {
    this.sent = random.bytes(random.below(MAX_BYTES));
    this.#got = new Uint8Array(this.sent.length);
  }

  write(conn: Conn): void {
    while (this.#at < this.sent.length && conn.writable) {
      const count = conn.write(this.sent, this.#at);
      if (count === 0) return;
      this.#at += count;
    }
    if (conn.writable) conn.shutdown("wr");
  }

  read(conn: Conn): void {
    for (let piece = conn.peek(); piece.length > 0; piece = conn.peek()) {
      assert.ok(this.#count + piece.length <= this.sent.length, "more came than was sent");
      this.#got.set(piece, this.#count);
      this.#count += piece.length;
      conn.consume(piece.length);
    }
  }

  check(): void {
    assert.equal(this.#count, this.sent.length);
    assert.deepEqual(this.#got, this.sent);
  }
}

function simulate(seed: number): void {
  const random = new Random(seed), wire = new Wire(), left = wire.stack(seed + 1), right = wire.stack(seed + 2);
  const gso = random.below(2) === 1;
  const link = { mtu: [576, 1280, 1500, 9000][random.below(4)], gsoMaxBytes: gso ? 65_535 : 0, checksumOffload: gso };
  const v6 = link.mtu >= 1280 && random.below(2) === 1, [a, b] = v6 ? ["fd00::1", "fd00::2"] : ["10.0.0.1", "10.0.0.2"];
  wire.connect(left, [`${a}/${v6 ? 64 : 24}`], link);
  wire.connect(right, [`${b}/${v6 ? 64 : 24}`], link);
  const delay = 1 + random.below(30), loss = random.below(80), late = random.below(80), twice = random.below(40);
  const chance = (thousandths: number) => random.below(1000) < thousandths;
  let again = false;
  wire.filter = (bytes, from) => {
    if (chance(loss)) return false;
    wire.latencyMs = delay + (chance(late) ? random.below(delay + 1) : 0);
    if (again || !chance(twice) || gso) return true;
    again = true;
    wire.carry(from, bytes, PLAIN);
    again = false;
    return true;
  };
  const [there, back] = [new Flow(random), new Flow(random)];
  const listener = right.tcp.listen(UNSPECIFIED, 80);
  assert.ok("accept" in listener);
  listener.onCall = () => {
    const conn = listener.accept()!;
    conn.onEvents = () => (there.read(conn), back.write(conn));
    conn.onEvents(conn, 0);
  };
  const conn = left.tcp.connect(parseIp(b)!, 80, {}, wire.now);
  assert.ok("onEvents" in conn);
  conn.onEvents = () => (back.read(conn), there.write(conn));
  const isDone = () => [...left.tcp.conns(), ...right.tcp.conns()].length === 0;
  for (const end = wire.now + LIFE_MS; !isDone() && wire.now < end;) wire.run(100);
  assert.ok(isDone(), "a connection has not ended");
  assert.equal(conn.error, undefined);
  there.check();
  back.check();
  assert.equal(left.tcp.pool.usedBytes + right.tcp.pool.usedBytes, 0, "memory is left");
}

Deno.test("two whole stacks and a bad wire: every byte arrives, every connection ends, nothing is left", () => {
  const only = Deno.env.get("SEED");
  for (
    let seed = only === undefined ? 0 : Number(only);
    seed < (only === undefined ? SEEDS : Number(only) + 1);
    seed++
  ) {
    try {
      simulate(seed);
    } catch (thrown) {
      throw new Error(`seed ${seed}`, { cause: thrown });
    }
  }
});
