import assert from "node:assert/strict";
import { Random } from "./ext2_fixture.ts";
import { Tx } from "./tx.ts";

Deno.test("a rollback puts everything back, the last change first", () => {
  const tx = new Tx(), bytes = Uint8Array.of(1, 2, 3, 4), order: string[] = [];
  tx.save(bytes, 1, 2);
  bytes[1] = 9;
  tx.undo(() => order.push("first"));
  tx.save(bytes, 1, 1);
  bytes[1] = 10;
  tx.undo(() => order.push("second"));
  tx.after(() => order.push("never"));
  tx.rollback();
  assert.deepEqual([...bytes], [1, 2, 3, 4]);
  assert.deepEqual(order, ["second", "first"]);
});

Deno.test("a commit forgets how to undo, does what was to be done after, and begins a new operation", () => {
  const tx = new Tx(), bytes = Uint8Array.of(1), done: number[] = [], id = tx.id;
  tx.save(bytes, 0, 1);
  bytes[0] = 2;
  tx.after(() => done.push(1));
  tx.commit();
  tx.rollback();
  assert.equal(bytes[0], 2);
  assert.deepEqual(done, [1]);
  assert.notEqual(tx.id, id);
});

Deno.test("random changes of any size come back byte for byte", () => {
  for (let seed = 0; seed < 50; seed++) {
    const tx = new Tx(), random = new Random(seed), bytes = random.bytes(20_000), before = bytes.slice();
    for (let i = 0; i < 40; i++) {
      const offset = random.below(19_000), length = random.below(random.pick([8, 100, 1000]));
      tx.save(bytes, offset, length);
      bytes.fill(random.below(256), offset, offset + length);
    }
    tx.rollback();
    assert.deepEqual(bytes, before, `seed ${seed}`);
  }
});
