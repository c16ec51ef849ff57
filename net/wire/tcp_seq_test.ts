import assert from "node:assert/strict";
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax, seqMin } from "./tcp_seq.ts";
import { Random } from "./wire_fixture.ts";

const CORNERS = [0, 1, 0x7fffffff, -0x80000000, -1, -2].map((n) => n | 0);

Deno.test("numbers keep their order over 0, 0x80000000 and 0xffffffff", () => {
  for (const start of CORNERS) {
    for (const count of [1, 2, 1460, 65535, 1 << 30, 0x7fffffff]) {
      const next = seqAdd(start, count), where = `${start >>> 0} and ${count} on`;
      assert.equal(next, next | 0, "an int32");
      assert.equal(seqDiff(next, start), count, where);
      assert.equal(seqDiff(start, next), -count, where);
      assert.deepEqual([seqLt(start, next), seqLe(start, next), seqGt(start, next), seqGe(start, next)], [
        true,
        true,
        false,
        false,
      ], where);
      assert.deepEqual([seqMax(start, next), seqMin(next, start)], [next, start], where);
      assert.equal(seqAdd(next, -count), start, where);
    }
    assert.deepEqual([seqLt(start, start), seqLe(start, start), seqGt(start, start), seqGe(start, start)], [
      false,
      true,
      false,
      true,
    ]);
  }
});

Deno.test("random numbers agree with arithmetic in 64 bits", () => {
  const seed = 9293, random = new Random(seed);
  for (let i = 0; i < 2000; i++) {
    const a = random.below(2 ** 32) | 0, b = random.below(2 ** 32) | 0;
    const diff = Number(BigInt.asIntN(32, BigInt(a) - BigInt(b)));
    assert.equal(seqDiff(a, b), diff, `seed ${seed}, turn ${i}`);
    assert.equal(seqLt(a, b), diff < 0, `seed ${seed}, turn ${i}`);
  }
});
