import assert from "node:assert/strict";
import { Random } from "../wire/wire_fixture.ts";
import { BufferPool, ByteRing } from "./ring.ts";

Deno.test("a ring gives back what was put in, over turns and growth", () => {
  for (let seed = 1; seed <= 15; seed++) {
    const random = new Random(seed), ring = new ByteRing(new BufferPool(1 << 20, 1 << 16));
    let model: number[] = [];
    for (let step = 0; step < 200; step++) {
      const count = random.below(random.below(4) === 0 ? 3000 : 90);
      if (random.below(2) === 0) {
        const bytes = random.bytes(count + 7);
        assert.ok(ring.append(bytes, 3, 3 + count));
        model.push(...bytes.subarray(3, 3 + count));
      } else {
        const taken = Math.min(count, model.length), out = new Uint8Array(taken + 2);
        ring.copyOut(0, taken, out, 1);
        assert.deepEqual([...out.subarray(1, 1 + taken)], model.slice(0, taken), `seed ${seed}`);
        const seen = ring.peek();
        assert.deepEqual([...seen], model.slice(0, seen.length));
        ring.drop(taken);
        model = model.slice(taken);
        if (model.length === 0) ring.release();
      }
      assert.equal(ring.length, model.length);
    }
  }
});

Deno.test("a ring takes bytes behind a gap, and keeps them through growth", () => {
  const ring = new ByteRing(new BufferPool(1 << 20, 0)), bytes = new Random(1).bytes(3000);
  ring.append(bytes, 0, 1000);
  ring.drop(900);
  assert.ok(ring.reserve(2100));
  ring.put(600, bytes, 1500, 3000);
  assert.ok(ring.append(bytes, 1000, 1500));
  ring.length += 1500;
  const out = ring.copy(2100);
  assert.deepEqual(out, bytes.subarray(900));
});

Deno.test("the pool says no beyond its bound, and gives the same memory again", () => {
  const pool = new BufferPool(8192, 4096);
  const a = pool.get(4096)!, b = pool.get(3000)!;
  assert.equal(b.length, 4096);
  assert.equal(pool.get(1), undefined);
  pool.put(a);
  pool.put(b);
  assert.equal(pool.usedBytes, 0);
  assert.equal(pool.freeBytes, 4096);
  assert.equal(pool.get(2049), a);
});

Deno.test("an empty ring has no memory", () => {
  const pool = new BufferPool(8192, 8192), ring = new ByteRing(pool);
  assert.equal(ring.capacity, 0);
  ring.append(new Uint8Array(5000), 0, 5000);
  ring.drop(5000);
  ring.release();
  assert.equal(ring.capacity, 0);
  assert.equal(pool.usedBytes, 0);
});
