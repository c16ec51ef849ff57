/** Arenas: blocks taken, sent, read in place and freed; every interleaving of a lender and a borrower; what dies half-way. */

import assert from "node:assert/strict";
import { explore, forget, inOneStep, traced } from "../../tests/interleave.ts";
import { Arena, arenaBytes, ArenaView, type BlockSize, createArena, sendBlock } from "./arena.ts";
import { createBell, Doorbell } from "./doorbell.ts";
import { allocRing, Consumer, createRing, Producer, RING_HEADER_BYTES } from "./spsc.ts";

const SIZES: BlockSize[] = [{ bytes: 128, count: 4 }, { bytes: 4096, count: 2 }];

function pair(sizes = SIZES) {
  const ref = createArena(sizes, createBell());
  return { ref, arena: new Arena(ref, 1), view: new ArenaView(ref) };
}

Deno.test("a block has the smallest size that fits and is free; blocks do not overlap; none left is undefined", () => {
  const { ref, arena } = pair();
  assert.equal(ref.buffer.byteLength, arenaBytes(SIZES));
  const taken = [100, 128, 1, 0, 50, 129].map((bytes) => arena.alloc(bytes)!);
  assert.deepEqual(taken.map((b) => b.view.length), [128, 128, 128, 128, 4096, 4096]);
  const ranges = taken.map((b) => [b.at, b.at + b.view.length]).sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < ranges.length; i++) assert.ok(ranges[i][0] >= ranges[i - 1][1]);
  assert.equal(arena.alloc(1), undefined);
  assert.equal(arena.alloc(5000), undefined);
  assert.equal(arena.inUse, 6);
  arena.free(taken[2]);
  arena.free(taken[2]);
  assert.equal(arena.alloc(5), taken[2], "the same object, no garbage");
  assert.equal(arena.alloc(5), undefined, "freed twice is not two blocks");
});

Deno.test("a block that was sent is read in place, and comes back once it is freed", () => {
  const { arena, view } = pair(), ring = allocRing(256);
  const out = new Producer(ring, { id: 1 }), input = new Consumer(ring, { id: 2 });
  for (let i = 0; i < 100; i++) {
    const block = arena.alloc(4000, 2)!;
    assert.ok(block, `round ${i}`);
    block.view[0] = i;
    block.view[3999] = i + 1;
    assert.ok(sendBlock(out, block, 4000, 7));
    out.publish();
    const bytes = view.receive(input, input.next());
    assert.deepEqual([bytes[0], bytes[3999], view.length, input.kind], [i, i + 1, 4000, 7]);
    assert.equal(view.free(), true);
    assert.equal(view.free(), false, "once");
    input.release();
  }
});

Deno.test("an old ticket frees nothing, and a reference to what is no block is refused", () => {
  const { arena, view } = pair([{ bytes: 128, count: 1 }]), ring = allocRing(256);
  const out = new Producer(ring, { id: 1 }), input = new Consumer(ring, { id: 2 });
  const block = arena.alloc(1, 2)!, old = block.ticket;
  arena.free(block);
  assert.equal(arena.alloc(1, 2), block);
  assert.equal(view.free(block.at, old), false);
  assert.equal(view.free(block.at, 0), false);
  assert.equal(arena.alloc(1), undefined, "it is still taken");
  for (const bad of [{ at: block.at + 4 }, { at: -128 }, { length: 129 }, { length: -1 }]) {
    const { at = block.at, length = 1 } = bad as { at?: number; length?: number };
    sendBlock(out, { at, view: block.view, ticket: block.ticket }, length);
    out.publish();
    assert.throws(() => view.receive(input, input.next()), { code: "EPROTO" });
  }
  assert.throws(() => new ArenaView({ buffer: new SharedArrayBuffer(1024), offset: 0, bell: createBell() }), {
    code: "EINVAL",
  });
  assert.throws(() => createArena([{ bytes: 100, count: 1 }], createBell()), { code: "EINVAL" });
  assert.throws(() => createArena([], createBell()), { code: "EINVAL" });
});

Deno.test("blocks of a holder that has died come back, those of others stay; what it frees later is ignored", () => {
  const { arena, view } = pair();
  const dead = [arena.alloc(10, 2)!, arena.alloc(10, 2)!], other = arena.alloc(10, 3)!, old = dead[0].ticket;
  assert.equal(arena.reclaim(2), 2);
  assert.equal(arena.inUse, 1);
  const again = [arena.alloc(10, 3), arena.alloc(10, 3)];
  assert.ok(again.every((b) => b && b !== other));
  assert.equal(view.free(dead[0].at, old), false);
  assert.equal(arena.inUse, 3);
});

Deno.test("under every interleaving a block is not written before it was read, and who waits for one is woken", () => {
  const owner = createBell(), reader = createBell();
  const ref = createArena([{ bytes: 128, count: 1 }], owner);
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + 128);
  const ring = createRing({ buffer, offset: 0, producerBell: owner, consumerBell: reader }, { bytes: 128 });
  const count = 2;
  const found = explore({
    lender() {
      const arena = inOneStep(() => new Arena(ref, 1)), bell = new Doorbell(owner, { budget: { spin: 0, turns: 0 } });
      const out = inOneStep(() => new Producer(ring, { id: 1 }));
      Object.assign(out, { words: traced(out.words), counters: new Float64Array(8) });
      for (let i = 1; i <= count; i++) {
        let block;
        while (!(block = arena.alloc(1, 2))) bell.waitSync(arena);
        traced(block.view)[0] = i;
        while (!sendBlock(out, block, 1)) bell.waitSync(out);
        out.publish();
      }
    },
    borrower() {
      const view = inOneStep(() => new ArenaView(ref)), bell = new Doorbell(reader, { budget: { spin: 0, turns: 0 } });
      const input = inOneStep(() => new Consumer(ring, { id: 2 }));
      Object.assign(input, { words: traced(input.words), counters: new Float64Array(8) });
      for (let seen = 0; seen < count;) {
        forget(seen, input);
        const at = input.next();
        if (at < 0) {
          input.release();
          bell.waitSync(input);
          continue;
        }
        const bytes = traced(view.receive(input, at));
        assert.equal(bytes[0], ++seen);
        assert.ok(view.free());
      }
      input.release();
    },
  });
  assert.ok(found.ends > 0 && found.states > 200, `${found.states} states`);
});

Deno.test("the explorer finds a borrower that frees before it has read", () => {
  const ref = createArena([{ bytes: 128, count: 1 }], createBell());
  const word = new Int32Array(new SharedArrayBuffer(4));
  const world = () => ({
    lender() {
      const arena = inOneStep(() => new Arena(ref, 1));
      const first = arena.alloc(1, 2)!;
      traced(first.view)[0] = 1;
      Atomics.store(word, 0, first.ticket);
      const second = arena.alloc(1, 2);
      if (second) traced(second.view)[0] = 2;
    },
    borrower() {
      const view = inOneStep(() => new ArenaView(ref)), ticket = Atomics.load(word, 0);
      if (ticket === 0) return;
      const at = ref.buffer.byteLength - 128;
      view.free(at, ticket);
      assert.equal(traced(new Uint8Array(ref.buffer, at, 128))[0], 1);
    },
  });
  assert.throws(() => explore(world()), /Expected values to be strictly equal/);
});
