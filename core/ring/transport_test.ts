/** 9P's byte stream over a pair of rings, both sides in one isolate. */

import assert from "node:assert/strict";
import { clearInterval, setImmediate, setInterval } from "node:timers";
import { ManualClock } from "../../tests/manual_clock.ts";
import type { Err } from "../err.ts";
import { readRing, revokeRing } from "./spsc.ts";
import { ringPair, type RingTransport, ringTransport, type RingTransportOptions } from "./transport.ts";

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function pair(bytes: number, options: RingTransportOptions = { turn }): [RingTransport, RingTransport] {
  const [a, b] = ringPair({ a: { name: "a", owner: { id: 1 } }, b: { name: "b", owner: { id: 2 } }, bytes });
  return [ringTransport(a, options), ringTransport(b, options)];
}

/** A test that parks: `waitAsync` alone does not keep an isolate running. */
function parkingTest(name: string, run: () => Promise<void>): void {
  Deno.test(name, async () => {
    const hold = setInterval(() => {}, 1000);
    try {
      await run();
    } finally {
      clearInterval(hold);
    }
  });
}

async function readAll(t: RingTransport, size = 4096): Promise<Uint8Array> {
  const parts: number[] = [], into = new Uint8Array(size);
  for (let n; (n = await t.read(into)) !== null;) for (let i = 0; i < n; i++) parts.push(into[i]);
  return Uint8Array.from(parts);
}

Deno.test("a read with bytes at hand and a write that fits answer without a promise", () => {
  const [a, b] = pair(1024);
  assert.equal(a.write(Uint8Array.of(1, 2, 3)), undefined);
  assert.equal(b.read(new Uint8Array(2)), 2);
  assert.equal(b.read(new Uint8Array(2)), 1);
  assert.equal(b.remote, "ring!a");
});

parkingTest("a read before there is anything is woken by the write", async () => {
  for (const budget of [{ spin: 0, turns: 0 }, { spin: 100, turns: 4 }]) {
    const [a, b] = pair(1024, { turn, budget });
    const into = new Uint8Array(8);
    const read = b.read(into);
    assert.ok(read instanceof Promise);
    await turn();
    a.write(Uint8Array.of(42));
    assert.equal(await read, 1);
    assert.equal(into[0], 42);
  }
});

parkingTest("a message of 1 MiB goes through a ring of 4 KiB", async () => {
  for (const budget of [{ spin: 0, turns: 0 }, { spin: 64, turns: 2 }]) {
    const [a, b] = pair(4096, { turn, budget });
    const sent = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
    const received = readAll(b, 3000);
    await a.write(sent);
    a.close();
    assert.ok(sameBytes(await received, sent));
  }
});

parkingTest("a parked reader and a parked writer of one isolate share its bell", async () => {
  const [a, b] = pair(256, { turn, budget: { spin: 0, turns: 0 } });
  const into = new Uint8Array(64);
  const reading = a.read(into);
  const writing = a.write(new Uint8Array(1000).fill(7));
  await turn();
  assert.ok(a.doorbell.parked);
  b.write(Uint8Array.of(9));
  assert.equal(await reading, 1);
  let seen = 0;
  const drain = new Uint8Array(300);
  while (seen < 1000) seen += await b.read(drain) ?? assert.fail("the end came early");
  await writing;
  assert.equal(seen, 1000);
});

parkingTest("the other side reads to the end after close; its writes are refused with EPIPE", async () => {
  const [a, b] = pair(1024);
  a.write(Uint8Array.of(1, 2));
  const waiting = a.read(new Uint8Array(4));
  a.close();
  a.close();
  assert.equal(await waiting, null);
  assert.equal(b.read(new Uint8Array(4)), 2);
  assert.equal(await b.read(new Uint8Array(4)), null);
  await assert.rejects(async () => b.write(Uint8Array.of(1)), (e: Err) => e.code === "EPIPE");
});

parkingTest("a write that waits for room ends with EPIPE when the other side closes", async () => {
  const [a, b] = pair(256);
  const writing = a.write(new Uint8Array(1000)) as Promise<void>;
  await turn();
  b.close();
  await assert.rejects(writing, (e: Err) => e.code === "EPIPE");
  assert.equal(await a.read(new Uint8Array(4)), null);
});

parkingTest("rings taken back by the supervisor end both sides, also the waits under way", async () => {
  const [a, b] = pair(256);
  const reading = b.read(new Uint8Array(4));
  const writing = a.write(new Uint8Array(1000)) as Promise<void>;
  writing.catch(() => {});
  await turn();
  revokeRing(a.in.ref);
  revokeRing(a.out.ref);
  assert.equal(typeof await reading, "number"); // what was published is still whole
  await assert.rejects(writing, (e: Err) => e.code === "EPIPE" && /died/.test(e.message));
  assert.equal(await a.read(new Uint8Array(4)), null);
});

parkingTest("a side that leaves bytes unread and does not move is found dead; one that is idle is not", async () => {
  const clock = new ManualClock();
  const [a, b] = ringPair({ a: { name: "a", owner: { id: 1 } }, b: { name: "b", owner: { id: 2 } }, bytes: 256 });
  const left = ringTransport(a, { turn, watch: { clock, deadAfterMs: 100 } }), right = ringTransport(b, { turn });
  clock.advance(1000);
  assert.ok(!left.out.gone, "idle for a second");
  left.write(Uint8Array.of(1));
  clock.advance(90);
  assert.equal(right.read(new Uint8Array(1)), 1);
  left.write(Uint8Array.of(2));
  clock.advance(60);
  assert.ok(!left.out.gone, "it moved");
  const reading = left.read(new Uint8Array(1));
  clock.advance(250);
  assert.ok(left.out.dead);
  assert.equal(await reading, null);
});

parkingTest("a damaged ring ends the transport with EPROTO, not with a hang", async () => {
  const [a, b] = pair(256);
  new Int32Array(a.out.ref.buffer)[32] = 12345; // the head that the other side will see
  await assert.rejects(async () => await b.read(new Uint8Array(4)), (e: Err) => e.code === "EPROTO");
  assert.ok(a.out.gone);
  assert.equal(readRing(a.out.ref).state, "dead");
});

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Two sides that share a CPU; the left one waits, parked, for what the right one writes. */
async function waitingPair(): Promise<{ left: RingTransport; right: RingTransport; read: Promise<unknown> }> {
  const owner = (id: number) => ({ id, cpu: 0 });
  const [a, b] = ringPair({ a: { name: "a", owner: owner(1) }, b: { name: "b", owner: owner(2) }, bytes: 1024 });
  const left = ringTransport(a, { turn }), right = ringTransport(b, { turn });
  const read = left.read(new Uint8Array(8)) as Promise<unknown>;
  await turn();
  assert.ok(left.doorbell.parked);
  return { left, right, read };
}

parkingTest("who hands work over is awake: an answer that comes before it goes on rings nobody", async () => {
  const { left, right, read } = await waitingPair();
  left.write(Uint8Array.of(1));
  right.write(Uint8Array.of(2)); // as if it had run between two steps of the left one
  assert.equal(readRing(right.out.ref).producer.kicks, 0);
  assert.equal(await read, 1);
  assert.equal(left.doorbell.stats.naps + left.doorbell.stats.parks, 1);
});

parkingTest("who has work under way does not block for more of it", async () => {
  for (const busy of [false, true]) {
    const { left, right, read } = await waitingPair();
    left.busy = () => busy;
    left.write(Uint8Array.of(1));
    assert.equal(left.in.due, !busy);
    assert.equal(left.doorbell.parked, busy);
    right.write(Uint8Array.of(2));
    assert.equal(await read, 1);
  }
});
