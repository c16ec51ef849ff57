/** The ring by itself, both ends in one isolate. Interleavings are in interleave_test.ts, real parallelism in soak_test.ts. */

import assert from "node:assert/strict";
import { Err } from "../err.ts";
import { allocRing, Consumer, createRing, Producer, readRing, revokeRing, RING_HEADER_BYTES } from "./spsc.ts";

const P = { id: 1 }, C = { id: 2 };

function ends(bytes: number, start = 0): [Producer, Consumer] {
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + bytes);
  const ref = createRing({ buffer, offset: 0 }, { bytes, start });
  return [new Producer(ref, P), new Consumer(ref, C)];
}

function code(run: () => unknown): string {
  try {
    run();
  } catch (e) {
    if (e instanceof Err) return e.code;
    throw e;
  }
  return "no error";
}

function counted(length: number, from = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (from + i * 7) & 0xff);
}

Deno.test("nothing is seen before publish, everything after it", () => {
  const [p, c] = ends(64);
  p.put(counted(10));
  p.put(counted(5, 99));
  assert.equal(c.available(), 0);
  assert.ok(p.publish());
  assert.equal(c.available(), 15);
  const got = new Uint8Array(20);
  assert.equal(c.take(got), 15);
  assert.deepEqual(got.subarray(0, 10), counted(10));
  assert.deepEqual(got.subarray(10, 15), counted(5, 99));
});

Deno.test("a full ring takes what fits, and has room again only after release", () => {
  const [p, c] = ends(64);
  assert.equal(p.put(counted(100)), 64);
  p.publish();
  assert.equal(p.put(counted(1)), 0);
  c.take(new Uint8Array(40));
  assert.equal(p.put(counted(1)), 0);
  c.release();
  assert.equal(p.put(counted(100)), 40);
});

Deno.test("bytes come out in order over many turns of the ring, also where 32-bit indices wrap", () => {
  for (const start of [0, -32, 0x7fffffe0]) {
    const [p, c] = ends(64, start);
    const got = new Uint8Array(64);
    let sent = 0, seen = 0;
    for (let round = 0; round < 300; round++) {
      const size = 1 + (round * 13) % 61;
      const count = p.put(Uint8Array.from({ length: size }, (_, i) => (sent + i) & 0xff));
      sent += count;
      p.publish();
      const taken = c.take(got, 0, 1 + (round * 29) % 64);
      for (let i = 0; i < taken; i++) assert.equal(got[i], (seen + i) & 0xff);
      seen += taken;
      c.release();
    }
    seen += c.available();
    assert.equal(seen, sent);
  }
});

Deno.test("messages keep length, kind and content; they are never split over the end", () => {
  for (const start of [0, -128, 0x7fffff80]) {
    const [p, c] = ends(256, start);
    let sent = 0, seen = 0;
    for (let round = 0; round < 200; round++) {
      for (;;) {
        const length = (sent * 11) % 97;
        const at = p.reserve(length, sent);
        if (at < 0) break;
        assert.equal(at % 8, 0);
        p.bytes.set(counted(length, sent), at);
        sent++;
      }
      p.publish();
      for (let at; (at = c.next()) >= 0; seen++) {
        assert.equal(c.kind, seen);
        assert.equal(c.length, (seen * 11) % 97);
        assert.deepEqual(c.bytes.slice(at, at + c.length), counted(c.length, seen));
      }
      c.release();
    }
    assert.equal(seen, sent);
    assert.ok(sent > 600, `${sent} messages`);
  }
});

Deno.test("a message above half of the ring is refused with EMSGSIZE; one of half always fits an empty ring", () => {
  const [p, c] = ends(64);
  assert.equal(code(() => p.reserve(25)), "EMSGSIZE");
  for (let i = 0; i < 20; i++) {
    assert.ok(p.reserve(i % 2 ? 24 : 1) >= 0, `round ${i}`);
    p.publish();
    assert.ok(c.next() >= 0);
    c.release();
  }
});

Deno.test("an end has one owner: a second one is refused with EBUSY", () => {
  const ref = allocRing(64);
  const p = new Producer(ref, P);
  assert.equal(code(() => new Producer(ref, C)), "EBUSY");
  assert.ok(!p.gone);
});

Deno.test("a place without a ring, or with a false size, is refused with EINVAL", () => {
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + 64);
  assert.equal(code(() => new Producer({ buffer, offset: 0 }, P)), "EINVAL");
  assert.equal(code(() => createRing({ buffer, offset: 0 }, { bytes: 48 })), "EINVAL");
  assert.equal(code(() => createRing({ buffer, offset: 0 }, { bytes: 128 })), "EINVAL");
  assert.equal(code(() => createRing({ buffer, offset: 4 }, { bytes: 64 })), "EINVAL");
  createRing({ buffer, offset: 0 }, { bytes: 64 });
  new Int32Array(buffer)[1] = 1 << 20;
  assert.equal(code(() => new Consumer({ buffer, offset: 0 }, C)), "EINVAL");
});

Deno.test("what was published before close is read, then the stream has ended", () => {
  const [p, c] = ends(64);
  p.put(counted(3));
  p.close();
  assert.ok(!c.ended);
  assert.equal(c.take(new Uint8Array(8)), 3);
  assert.ok(c.ended);
});

Deno.test("a producer sees that its consumer has closed", () => {
  const [p, c] = ends(64);
  c.close();
  assert.ok(p.gone);
  p.put(counted(3));
  assert.equal(p.publish(), false);
  assert.ok(!p.dead);
});

Deno.test("ends of an older generation can neither write into a ring that was taken back nor read from it", () => {
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + 64);
  const ref = createRing({ buffer, offset: 0 }, { bytes: 64 });
  const oldP = new Producer(ref, P), oldC = new Consumer(ref, C);
  oldP.put(counted(5));
  oldP.publish();
  oldP.put(counted(5));
  revokeRing(ref);
  assert.ok(oldP.dead && oldC.dead);
  const again = createRing(ref, { bytes: 64, generation: 2 });
  assert.equal(code(() => new Producer(ref, { id: 3 })), "ESTALE");
  const p = new Producer(again, { id: 3 }), c = new Consumer(again, { id: 4 });
  assert.equal(oldP.publish(), false);
  assert.ok(oldC.ended);
  oldC.close();
  oldP.close();
  assert.equal(c.available(), 0);
  assert.ok(!p.gone && !c.ended);
  assert.equal(readRing(ref).generation, 2);
  assert.deepEqual([readRing(ref).producer.owner, readRing(ref).consumer.owner], [3, 4]);
});

Deno.test("indices and lengths that can not be are an EPROTO, and the ring is dead for both sides", () => {
  const HEAD = 32, TAIL = 64, DATA = RING_HEADER_BYTES / 4;
  for (const [word, value] of [[HEAD, 65], [HEAD, -1], [TAIL, 17], [TAIL, -65], [DATA, 1000], [DATA, -2]]) {
    const [p, c] = ends(64);
    p.reserve(8);
    p.publish();
    new Int32Array(p.ref.buffer)[word] = value;
    const run = word === TAIL ? () => p.put(counted(64)) : () => c.next();
    assert.equal(code(run), "EPROTO", `word ${word} = ${value}`);
    assert.ok(p.dead && c.dead);
  }
});

Deno.test("counters can be read from outside", () => {
  const [p, c] = ends(64);
  for (let i = 0; i < 3; i++) p.reserve(0);
  p.publish();
  while (p.reserve(16) >= 0);
  p.publish();
  while (c.next() >= 0);
  c.release();
  const s = readRing(p.ref);
  assert.equal(s.state, "open");
  assert.deepEqual([s.producer.messages, s.producer.bytes, s.producer.batches, s.producer.full], [4, 48, 2, 1]);
  assert.deepEqual([s.consumer.messages, s.consumer.bytes], [4, 48]);
  assert.deepEqual([s.producer.owner, s.consumer.owner], [1, 2]);
  c.close();
  assert.equal(readRing(p.ref).state, "closed");
});

Deno.test("two ends pinned on one CPU do not spin for each other", () => {
  const ref = allocRing(64);
  const p = new Producer(ref, { id: 1, cpu: 0 }), c = new Consumer(ref, { id: 2, cpu: 1 });
  assert.ok(p.eager && c.eager);
  c.cpu = 0;
  assert.ok(!p.eager && !c.eager);
  c.cpu = -1;
  assert.ok(p.eager && c.eager);
});
