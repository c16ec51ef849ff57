import assert from "node:assert/strict";
import { Err } from "./err.ts";
import { instanceOf } from "./instance.ts";
import { MemDev } from "./ns_testdev.ts";
import type { U64 } from "./p9/types.ts";

const U64_PATHS: U64[] = [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, 2 ** 53 - 1, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

Deno.test("folded paths differ over files and Devs, and stay the same", () => {
  const seen = new Map<U64, string>();
  for (let d = 0; d < 50; d++) {
    const inst = instanceOf(new MemDev(`d${d}`));
    assert.equal(instanceOf(inst.dev), inst);
    for (const path of U64_PATHS) {
      const folded = inst.foldPath(path);
      assert.equal(inst.foldPath(path), folded);
      assert.ok(folded >= 0 && folded < 2n ** 64n && (typeof folded === "number" || folded > Number.MAX_SAFE_INTEGER));
      assert.equal(seen.get(folded), undefined, `${d} ${path} is also ${seen.get(folded)}`);
      seen.set(folded, `${d} ${path}`);
    }
  }
  const inst = instanceOf(new MemDev("small"));
  assert.equal(typeof inst.foldPath(7), "number");
});

Deno.test("a Dev whose paths are all over 64 bits costs a bounded memory, and its paths still differ", () => {
  const inst = instanceOf(new MemDev("hashes")), seen = new Set<U64>();
  const count = 100_000;
  for (let i = 1; i <= count; i++) seen.add(inst.foldPath((BigInt(i) << 40n) | 5n));
  assert.equal(seen.size, count);
  // Over its share of numbers a path is hashed, into the upper half.
  assert.ok(inst.foldPath((BigInt(count) << 40n) | 5n) >= 2n ** 63n);
  assert.equal(inst.foldPath(BigInt(count) << 40n | 5n), inst.foldPath(BigInt(count) << 40n | 5n));
});

Deno.test("what is retired says why, the first time it was", () => {
  const inst = instanceOf(new MemDev("gone"));
  inst.retire("plugin gone was unloaded");
  inst.retire("again");
  assert.ok(inst.gone instanceof Err && inst.gone.code === "ESTALE");
  assert.equal(inst.gone.message, "plugin gone was unloaded");
});
