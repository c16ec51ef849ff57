/** Arenas: blocks lent, read in place and given back; every interleaving of a lender and a borrower; wrong references. */

import assert from "node:assert/strict";
import { explore, inOneStep, traced } from "../../tests/interleave.ts";
import { Arena, arenaBytes, type BlockSize, Borrower, createArena, readArena } from "./arena.ts";

const SIZES: BlockSize[] = [{ bytes: 128, count: 4 }, { bytes: 4096, count: 2 }];

function pair(sizes = SIZES) {
  const ref = createArena(sizes);
  return { ref, arena: new Arena(ref), borrower: new Borrower(ref) };
}

Deno.test("a block has the smallest size that fits and is free; blocks do not overlap; none left is undefined", () => {
  const { ref, arena } = pair();
  assert.equal(ref.buffer.byteLength, arenaBytes(SIZES));
  const taken = [100, 128, 1, 0, 50, 129].map((bytes) => arena.lend(bytes)!);
  assert.deepEqual(taken.map((b) => b.view.length), [128, 128, 128, 128, 4096, 4096]);
  const ranges = taken.map((b) => [b.at, b.at + b.view.length]).sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < ranges.length; i++) assert.ok(ranges[i][0] >= ranges[i - 1][1]);
  assert.equal(arena.lend(1), undefined);
  assert.equal(arena.lend(5000), undefined);
  assert.deepEqual(readArena(ref), { lent: 6, back: 0 });
  arena.takeBack(taken[2]);
  arena.takeBack(taken[2]);
  assert.equal(arena.lend(5), taken[2], "the same object, no garbage");
  assert.equal(arena.lend(5), undefined, "taken back twice is not two blocks");
  assert.deepEqual(readArena(ref), { lent: 7, back: 1 });
});

Deno.test("what was lent is read in place, any part of it, and comes back", () => {
  const { arena, borrower } = pair();
  for (let i = 0; i < 100; i++) {
    const block = arena.lend(4000)!;
    assert.ok(block, `round ${i}`);
    block.view[8] = i;
    block.view[4007] = i + 1;
    const bytes = borrower.borrow(block.at + 8, 4000);
    assert.deepEqual([bytes.length, bytes[0], bytes[3999]], [4000, i, i + 1]);
    assert.equal(borrower.giveBack(block.at + 8, block.ticket), true);
    assert.equal(borrower.giveBack(block.at + 8, block.ticket), false, "once");
  }
});

Deno.test("a block that has just come back is the next one lent: it is in the caches", () => {
  const { arena, borrower } = pair();
  const first = arena.lend(1)!, second = arena.lend(1)!;
  borrower.giveBack(second.at, second.ticket);
  assert.equal(arena.lend(1), second);
  borrower.giveBack(first.at, first.ticket);
  assert.equal(arena.lend(1), first);
});

Deno.test("an old ticket gives nothing back, and a reference to what is in no block is refused", () => {
  const { ref, arena, borrower } = pair([{ bytes: 128, count: 2 }, { bytes: 256, count: 1 }]);
  const block = arena.lend(200)!, old = block.ticket;
  arena.takeBack(block);
  assert.equal(arena.lend(200), block);
  assert.equal(borrower.giveBack(block.at, old), false);
  assert.equal(borrower.giveBack(block.at, 0), false);
  assert.equal(borrower.giveBack(0, block.ticket), false);
  assert.equal(arena.lend(200), undefined, "it is still lent");
  const end = ref.buffer.byteLength;
  for (
    const [at, length] of [[0, 1], [block.at, 257], [block.at + 200, 57], [end, 1], [0xffffffff, 1], [8, 0xffffffff]]
  ) {
    assert.throws(() => borrower.borrow(at, length), { code: "EPROTO" }, `${length} bytes at ${at}`);
  }
  assert.throws(() => new Borrower({ buffer: new SharedArrayBuffer(1024), offset: 0 }), { code: "EINVAL" });
  assert.throws(() => createArena([{ bytes: 100, count: 1 }]), { code: "EINVAL" });
  assert.throws(() => createArena([]), { code: "EINVAL" });
  assert.throws(() => createArena(SIZES, { buffer: ref.buffer, offset: 128 }), { code: "EINVAL" });
});

Deno.test("under every interleaving a block is not written before it was read", () => {
  const ref = createArena([{ bytes: 128, count: 1 }]), word = new Int32Array(new SharedArrayBuffer(4));
  const at = ref.buffer.byteLength - 128;
  const found = explore({
    lender() {
      const arena = inOneStep(() => new Arena(ref));
      for (let tries = 0; tries < 5; tries++) {
        const block = arena.lend(1);
        if (!block) continue;
        traced(block.view)[0] = block.ticket;
        Atomics.store(word, 0, block.ticket);
      }
    },
    borrower() {
      const borrower = inOneStep(() => new Borrower(ref));
      for (let tries = 0, seen = 0; tries < 3; tries++) {
        const ticket = Atomics.load(word, 0);
        if (ticket === seen) continue;
        assert.equal(traced(borrower.borrow(at, 1))[0], seen = ticket);
        assert.ok(borrower.giveBack(at, ticket));
      }
    },
  });
  assert.ok(found.ends > 0 && found.states > 100, `${found.states} states`);
});

Deno.test("the explorer finds a borrower that gives back before it has read", () => {
  const ref = createArena([{ bytes: 128, count: 1 }]);
  const word = new Int32Array(new SharedArrayBuffer(4));
  const world = () => ({
    lender() {
      const arena = inOneStep(() => new Arena(ref));
      const first = arena.lend(1)!;
      traced(first.view)[0] = 1;
      Atomics.store(word, 0, first.ticket);
      const second = arena.lend(1);
      if (second) traced(second.view)[0] = 2;
    },
    borrower() {
      const borrower = inOneStep(() => new Borrower(ref)), ticket = Atomics.load(word, 0);
      if (ticket === 0) return;
      const at = ref.buffer.byteLength - 128;
      borrower.giveBack(at, ticket);
      assert.equal(traced(new Uint8Array(ref.buffer, at, 128))[0], 1);
    },
  });
  assert.throws(() => explore(world()), /Expected values to be strictly equal/);
});
