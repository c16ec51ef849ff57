import assert from "node:assert/strict";
import { formatIp } from "../addr.ts";
import { ipOf } from "../stack_fixture.ts";
import { Random } from "../wire/wire_fixture.ts";
import { DatagramQueue, emitUdpHeader, type Ends, parseUdpHeader, UDP_HEADER_BYTES } from "./queue.ts";

function ends(n: number): Ends {
  return {
    remote: ipOf(`10.0.0.${n & 255}`),
    local: ipOf("fd00::1"),
    iface: ipOf("fd00::2"),
    remotePort: n,
    localPort: 9,
  };
}

Deno.test("what is pushed comes out in order and whole, however often the array is moved and grown", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = new Random(seed),
      queue = new DatagramQueue(60_000),
      model: { data: Uint8Array; port: number }[] = [];
    const into = new Uint8Array(5000);
    let refused = 0;
    for (let i = 0; i < 3000; i++) {
      if (random.below(5) < 3) {
        const data = random.bytes(random.below(2000)), port = random.below(65536);
        if (queue.push(ends(port), port & 255, 3, data, 0, data.length)) model.push({ data, port });
        else refused++;
      } else {
        const expected = model.shift();
        assert.equal(queue.firstBytes, expected?.data.length ?? -1, `seed ${seed}`);
        if (expected !== undefined) assert.equal(queue.firstTtl, expected.port & 255, `seed ${seed}`);
        const count = queue.pop(into, 7, into.length, true);
        if (expected === undefined) {
          assert.equal(count, -1, `seed ${seed}`);
          continue;
        }
        assert.equal(count, UDP_HEADER_BYTES + expected.data.length, `seed ${seed}`);
        assert.equal(parseUdpHeader(into, 7).remotePort, expected.port, `seed ${seed}`);
        assert.deepEqual(into.subarray(7 + UDP_HEADER_BYTES, 7 + count), expected.data, `seed ${seed}`);
      }
      assert.equal(queue.count, model.length);
      assert.equal(queue.dataBytes, model.reduce((sum, { data }) => sum + data.length, 0));
    }
    assert.ok(refused > 0, "the limit was met");
    const again = DatagramQueue.restore(structuredClone(queue.save()));
    for (const { data } of model) assert.equal(again.pop(into, 0, into.length, false), data.length, `seed ${seed}`);
    assert.equal(again.count, 0);
  }
});

Deno.test("a datagram that is larger than the room is cut, and its rest is lost", () => {
  const queue = new DatagramQueue(1000),
    into = new Uint8Array(100),
    data = Uint8Array.from({ length: 50 }, (_, i) => i);
  queue.push(ends(1), 1, 0, data, 10, 50);
  queue.push(ends(2), 1, 0, data, 0, 3);
  assert.equal(queue.pop(into, 0, 5, false), 5);
  assert.deepEqual(into.subarray(0, 5), data.subarray(10, 15));
  assert.equal(queue.pop(into, 0, 100, true), UDP_HEADER_BYTES + 3);
});

Deno.test("one datagram is always taken, however large; an empty one is one too", () => {
  const queue = new DatagramQueue(100);
  assert.ok(queue.push(ends(1), 1, 0, new Uint8Array(60_000), 0, 60_000));
  assert.ok(!queue.push(ends(1), 1, 0, new Uint8Array(1), 0, 1));
  queue.drop();
  assert.ok(queue.push(ends(1), 1, 0, new Uint8Array(0), 0, 0));
  assert.equal(queue.pop(new Uint8Array(9), 0, 9, false), 0);
  assert.equal(queue.pop(new Uint8Array(9), 0, 9, false), -1);
});

Deno.test("Plan 9's header is read as it was written, and zeros are 0.0.0.0", () => {
  const bytes = new Uint8Array(60), made = ends(4242);
  assert.equal(emitUdpHeader(bytes, 3, made), 3 + UDP_HEADER_BYTES);
  assert.deepEqual(parseUdpHeader(bytes, 3), made);
  assert.equal(formatIp(parseUdpHeader(new Uint8Array(52), 0).local), "0.0.0.0");
});
