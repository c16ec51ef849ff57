import assert from "node:assert/strict";
import { IdTable } from "./id_table.ts";

Deno.test("a table answers as a Map does, for small numbers and large ones, whatever is set and deleted", () => {
  const table = new IdTable<number>(), map = new Map<number, number>();
  let seed = 7;
  const random = (below: number) => (seed = Math.imul(seed, 1103515245) + 12345 >>> 0) % below;
  const ids = [0, 1, 31, 32, 63, 255, 65_535, 65_536, 2 ** 31, 2 ** 32 - 2];
  for (let i = 0; i < 20_000; i++) {
    const id = random(3) === 0 ? ids[random(ids.length)] : random(100);
    if (random(2) === 0) {
      table.set(id, i);
      map.set(id, i);
    } else {
      table.delete(id);
      map.delete(id);
    }
    assert.equal(table.get(id), map.get(id), `step ${i}`);
    assert.equal(table.size, map.size, `step ${i}`);
  }
  for (const id of [...ids, ...Array(100).keys()]) assert.equal(table.has(id), map.has(id));
  const numeric = (a: number, b: number) => a - b;
  assert.deepEqual(table.drain().sort(numeric), [...map.values()].sort(numeric));
  assert.equal(table.size, 0);
  assert.deepEqual(table.drain(), []);
});

Deno.test("a page is made for the numbers that are used, not for those below", () => {
  const table = new IdTable<string>();
  table.set(65_535, "last");
  assert.equal(table.get(65_535), "last");
  assert.equal(table.get(5), undefined);
  assert.deepEqual(table.drain(), ["last"]);
});
