import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { Err } from "../../core/err.ts";
import { UNSPECIFIED } from "../addr.ts";
import { Random } from "../wire/wire_fixture.ts";
import { CC_NAMES } from "./cc/algorithms.ts";
import { CLOSED, type Conn, STATE_NAMES, TIME_WAIT } from "./conn.ts";
import type { Listener } from "./listener.ts";
import { restoreTcp, saveTcp } from "./save.ts";
import { type Host, type HostOptions, pattern, type WireOptions, World } from "./sim_fixture.ts";

/** One way of a conversation: what is written on one side, and checked on the other. */
class Flow {
  sent = 0;
  got = 0;
  readonly #data: Uint8Array<ArrayBuffer>;
  readonly #buf = new Uint8Array(65_536);

  constructor(readonly total: number, seed: number, readonly random: Random) {
    this.#data = pattern(total, seed);
  }

  /** Writes some, and ends when all is written. */
  write(conn: Conn): void {
    if (conn.writable && this.sent < this.total) {
      const end = Math.min(this.sent + 1 + this.random.below(50_000), this.total);
      this.sent += conn.write(this.#data, this.sent, end);
    }
    if (this.sent === this.total && conn.writable) conn.shutdown("wr");
  }

  /** Reads some by copy or in place, sometimes nothing, and compares each byte. */
  read(conn: Conn): void {
    if (conn.available === 0 || this.random.below(8) === 0) return;
    let bytes: Uint8Array;
    if (this.random.below(2) === 0) {
      bytes = conn.peek().slice(0, 1 + this.random.below(40_000));
      conn.consume(bytes.length);
    } else bytes = this.#buf.subarray(0, conn.read(this.#buf.subarray(0, 1 + this.random.below(65_535))));
    const expected = this.#data.subarray(this.got, this.got + bytes.length);
    assert.ok(Buffer.compare(bytes, expected) === 0, `bytes ${this.got} to ${this.got + bytes.length}`);
    this.got += bytes.length;
  }

  get done(): boolean {
    return this.got === this.total;
  }
}

function hostOptions(random: Random): HostOptions {
  return {
    mtu: [576, 1500, 9000][random.below(3)],
    gsoMaxBytes: random.below(2) * 65_535,
    merged: random.below(4) === 0,
    env: {
      congestion: CC_NAMES[random.below(CC_NAMES.length)],
      ecn: random.below(2) === 0,
      limits: {
        timeWaitMs: 2000,
        finWait2Ms: 5000,
        recvBytes: 4096 << random.below(7),
        sendBytes: 4096 << random.below(7),
      },
    },
  };
}

function wireOptions(random: Random): WireOptions {
  const chance = (most: number) => random.below(2) * random.below(most);
  return {
    rate: 100 * 10 ** random.below(4),
    delayMs: random.below(2000) / 50,
    queueBytes: 20_000 + random.below(200_000),
    loss: chance(80),
    reorder: chance(100),
    reorderMs: random.below(200) / 10,
    duplicate: chance(50),
    corrupt: chance(30),
    markBytes: random.below(2) === 0 ? 30_000 : undefined,
  };
}

/** Runs one seed: conversations both ways over a bad link, a hand-over of both stacks in the middle of every third. */
function simulate(seed: number): void {
  const random = new Random(seed), wire = [wireOptions(random), wireOptions(random)] as [WireOptions, WireOptions];
  const [a, b] = [hostOptions(random), hostOptions(random)];
  b.mtu = a.mtu;
  if (seed % 4 === 0) [a.addr, b.addr, a.mtu, b.mtu] = ["fd00::1", "fd00::2", 1500, 1500];
  const world = new World(seed, wire, a, b);
  let listener = ok(world.b.tcp.listen(UNSPECIFIED, 80));
  const size = () => [2000, 60_000, 60_000, 400_000][random.below(4)] * random.below(1000) / 1000 | 0;
  let calls = Array.from({ length: 1 + random.below(3) }, (_, i) => {
    const conn = ok(world.a.tcp.connect(world.b.addr, 80, {}, world.now));
    if (random.below(2) === 0) conn.setNodelay(true);
    conn.tag = i;
    return conn;
  });
  const up = calls.map((_, i) => new Flow(size(), i, random)),
    down = calls.map((_, i) => new Flow(size(), i + 100, random));
  let answers: Conn[] = [];
  const byPort = new Map(calls.map((conn, i) => [conn.localPort, i]));
  world.onStep = () => {
    for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) answers.push(conn);
    for (const [i, conn] of calls.entries()) {
      up[i].write(conn);
      down[i].read(conn);
    }
    for (const conn of answers) {
      const i = byPort.get(conn.remotePort)!;
      down[i].write(conn);
      up[i].read(conn);
    }
  };
  // Readers that did not want to read look again later.
  const tick = () => world.at(world.now + 25, tick);
  tick();
  const done = () => up.every((flow) => flow.done) && down.every((flow) => flow.done);
  if (seed % 3 === 0) {
    world.run(random.below(400), done);
    calls = handOver(world, world.a, calls).conns;
    const restored = handOver(world, world.b, answers);
    answers = restored.conns;
    listener = restored.listener!;
  }
  const told = () =>
    [...calls, ...answers].map((conn) => `${STATE_NAMES[conn.state]} ${conn.error?.message}`).join(", ");
  const ended = world.run(3_600_000, done);
  assert.ok(
    ended,
    `not done after ${world.now}: ${told()} up ${up.map((f) => [f.sent, f.got, f.total])} down ${
      down.map((f) => [f.sent, f.got, f.total])
    } answers ${answers.length} ${answers.map((c) => c.available)} ${JSON.stringify(world.b.tcp.counters)}`,
  );
  for (const conn of [...calls, ...answers]) conn.close();
  listener.close();
  assert.ok(
    world.run(1_000_000, () => world.a.tcp.table.count + world.b.tcp.table.count === 0),
    `not closed: ${told()}`,
  );
  world.run(100);
  for (const conn of calls) assert.ok([CLOSED, TIME_WAIT].includes(conn.state) && conn.error === undefined, told());
  for (const { tcp } of [world.a, world.b]) {
    assert.equal(tcp.pool.usedBytes, 0, "queues are left");
    assert.equal(tcp.timers.count, 0, "timers are left");
    assert.equal(tcp.counters.CurrEstab, 0);
    assert.equal(tcp.counters.AbortOnTimeout, 0);
  }
}

function handOver(world: World, host: Host, held: Conn[]): { conns: Conn[]; listener: Listener | undefined } {
  const saved = structuredClone(saveTcp(host.tcp, held)), tags = held.map((conn) => conn.tag);
  const restored = restoreTcp(saved, host.env, world.now);
  host.tcp = restored.tcp;
  // Those that were accepted have no tag: they are found by their ends.
  const conns = held.map((was, i) =>
    restored.conns.find((conn) =>
      conn.localPort === was.localPort && conn.remotePort === was.remotePort && conn.tag === tags[i]
    )!
  );
  return { conns, listener: restored.listeners[0] };
}

function ok<T>(value: T | Err): T {
  if (value instanceof Err) throw value;
  return value;
}

Deno.test("two stacks and a bad link: every byte arrives, every connection ends, nothing is left", () => {
  const only = Deno.env.get("RING9_SEED"), count = Number(Deno.env.get("RING9_SEEDS") ?? 500);
  const seeds = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
  for (const seed of seeds) {
    try {
      simulate(seed);
    } catch (error) {
      throw new Error(`seed ${seed} failed, RING9_SEED=${seed} replays it: ${error}`, { cause: error });
    }
  }
});

/** Mbit/s of one stream of `total` bytes from a to b. */
function throughput(wire: WireOptions, total: number, congestion: "bbr" | "cubic" | "reno", seed = 1): number {
  const options: HostOptions = { gsoMaxBytes: 65_535, env: { congestion } };
  const world = new World(seed, wire, options, options), listener = ok(world.b.tcp.listen(UNSPECIFIED, 9));
  const conn = ok(world.a.tcp.connect(world.b.addr, 9, {}, world.now));
  const data = new Uint8Array(1 << 20), start = world.now;
  let sent = 0, got = 0, server: Conn | undefined;
  world.onStep = () => {
    while (sent < total && conn.room > 0) sent += conn.write(data, 0, Math.min(data.length, total - sent));
    server ??= listener.accept();
    if (server === undefined) return;
    got += server.available;
    while (server.available > 0) server.consume(server.peek().length);
  };
  assert.ok(world.run(600_000, () => got === total));
  return got * 8 / (world.now - start) / 1000;
}

const GIGABIT = { rate: 125_000, delayMs: 5, queueBytes: 1_000_000 };

Deno.test("1 Gbit/s, 10 ms: BBR takes at least 500 Mbit/s with 1 % loss, 450 with 2 % reorder, 700 with neither, from the first SYN on", () => {
  assert.ok(throughput({ ...GIGABIT, loss: 10 }, 50e6, "bbr") >= 500);
  assert.ok(throughput({ ...GIGABIT, reorder: 20, reorderMs: 2 }, 25e6, "bbr") >= 450);
  assert.ok(throughput(GIGABIT, 40e6, "bbr") >= 700);
});

/** What overtakes arrives at once: the shortest way round is no property of the path. */
const OVERTAKING = { rate: 1_000_000, delayMs: 2, queueBytes: 8_000_000, reorder: 20, reorderMs: -2, duplicate: 10 };

Deno.test("1 Gbit/s, 10 ms: BBR takes at least 600 Mbit/s when 2 % of segments and ACKs overtake the others", () => {
  assert.ok(throughput({ ...GIGABIT, reorder: 20, reorderMs: -5 }, 25e6, "bbr") >= 600);
});

Deno.test("a fast link that loses 5 % or 10 %, reorders and duplicates is used: BBR is not talked down by what is no congestion", () => {
  assert.ok(throughput({ ...OVERTAKING, loss: 50 }, 40e6, "bbr") >= 1000);
  assert.ok(throughput({ ...OVERTAKING, loss: 100 }, 40e6, "bbr") >= 300);
});

/** A TAP beside us: what comes together is acknowledged once, and that ACK may be lost like any other. */
const BATCHED = { rate: 1_000_000, delayMs: 0.03, queueBytes: 8_000_000, reorder: 20, reorderMs: 1, batchMs: 0.2 };

Deno.test("10 % loss where one ACK stands for a whole window: losing it costs a probe, not a timeout after another", () => {
  for (const seed of [2, 3]) {
    const rate = throughput({ ...BATCHED, loss: 100, duplicate: 10 }, 20e6, "bbr", seed);
    assert.ok(rate >= 200, `seed ${seed}: ${rate}`);
  }
});
