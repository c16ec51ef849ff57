import assert from "node:assert/strict";
import { UNSPECIFIED } from "../addr.ts";
import type { Conn } from "./conn.ts";
import type { Limits } from "./counters.ts";
import { ok, Script } from "./script_fixture.ts";
import { type WireOptions, World } from "./sim_fixture.ts";

const GIGABIT: WireOptions = { rate: 125_000, delayMs: 5, queueBytes: 1_000_000 };

/** Both ends after `ms` of a stream; `reads`: whether somebody reads. */
function stream(wire: WireOptions, ms: number, options: { reads?: boolean; limits?: Partial<Limits> } = {}) {
  const { reads = true, limits = {} } = options, host = { gsoMaxBytes: 65_535, env: { limits } };
  const world = new World(1, wire, host, host), listener = ok(world.b.tcp.listen(UNSPECIFIED, 9));
  const sender = ok(world.a.tcp.connect(world.b.addr, 9, {}, world.now)), data = new Uint8Array(1 << 20);
  let receiver: Conn | undefined;
  world.onStep = () => {
    while (sender.room > 0) sender.write(data);
    receiver ??= listener.accept();
    while (reads && receiver !== undefined && receiver.available > 0) receiver.consume(receiver.peek().length);
  };
  world.run(ms);
  return { sender, receiver: receiver! };
}

Deno.test("queues grow with the path: both hold more than a bandwidth-delay product of 1.25 MB before long", () => {
  const { sender, receiver } = stream(GIGABIT, 500);
  assert.ok(receiver.rcv.limit > 2_500_000, `${receiver.rcv.limit}`);
  assert.ok(sender.snd.limit > 2_500_000, `${sender.snd.limit}`);
});

Deno.test("queues of a slow path, and of a reader that does not read, stay small", () => {
  const slow = stream({ ...GIGABIT, rate: 125 }, 3000);
  assert.equal(slow.receiver.rcv.limit, 128 << 10);
  assert.ok(slow.sender.snd.limit <= 512 << 10, `${slow.sender.snd.limit}`);
  const { receiver } = stream(GIGABIT, 1000, { reads: false });
  assert.equal(receiver.rcv.limit, 128 << 10);
  assert.ok(receiver.available >= (127 << 10) && receiver.available < (129 << 10), `${receiver.available}`);
});

Deno.test("queues grow in spite of gaps that are never all filled, and not beyond their bounds", () => {
  const { sender, receiver } = stream({ ...GIGABIT, loss: 100 }, 600);
  assert.ok(receiver.rcv.limit > 1_250_000, `${receiver.rcv.limit}`);
  assert.ok(sender.snd.limit > 1_250_000, `${sender.snd.limit}`);
  const bounded = stream(GIGABIT, 500, { limits: { recvMaxBytes: 300_000, sendMaxBytes: 400_000 } });
  assert.equal(bounded.receiver.rcv.limit, 300_000);
  assert.equal(bounded.sender.snd.limit, 400_000);
});

Deno.test("a queue whose size somebody has set keeps it", () => {
  const world = new World(1, GIGABIT), listener = ok(world.b.tcp.listen(UNSPECIFIED, 9));
  const sender = ok(world.a.tcp.connect(world.b.addr, 9, {}, world.now)), data = new Uint8Array(1 << 20);
  sender.setBuffer("send", 100_000);
  let receiver: Conn | undefined;
  world.onStep = () => {
    while (sender.room > 0) sender.write(data);
    if (receiver === undefined) (receiver = listener.accept())?.setBuffer("receive", 200_000);
    while (receiver !== undefined && receiver.available > 0) receiver.consume(receiver.peek().length);
  };
  world.run(500);
  assert.equal(sender.snd.limit, 100_000);
  assert.equal(receiver!.rcv.limit, 200_000);
});

Deno.test("gaps alone make no queue grow: what waits behind one counts for no more than came in order", () => {
  const script = new Script({ rttMs: 1 }), conn = script.establish();
  script.send("P. 1:11(10) ack 1");
  for (let left = 1000; left < 130_000; left += 2000) {
    script.now += 2;
    script.send(`P. ${left}:${left + 1000}(1000) ack 1`);
  }
  assert.equal(conn.rcv.limit, 128 << 10);
});
