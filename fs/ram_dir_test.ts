import assert from "node:assert/strict";
import { RamDir } from "./ram_dir.ts";

class Item {
  seq = 0;
  constructor(public name: string) {}
}

function names(dir: RamDir<Item>, cookie = 0): string[] {
  const out: string[] = [];
  dir.list(cookie, (item) => out.push(item.name) > 0);
  return out;
}

Deno.test("entries are listed in the order they came, from any number on, whatever went meanwhile", () => {
  const dir = new RamDir<Item>(), items = Array.from({ length: 200 }, (_, i) => new Item(`n${i}`));
  for (const item of items) dir.add(item);
  const cookie = items[99].seq;
  for (const item of items.slice(0, 150)) dir.remove(item);
  assert.deepEqual(names(dir, cookie), items.slice(150).map((item) => item.name));
  assert.deepEqual([dir.size, dir.get("n1"), dir.get("n199")], [50, undefined, items[199]]);
});

Deno.test("a renamed entry keeps its place, and one that replaces another takes that one's", () => {
  const dir = new RamDir<Item>(), [a, b, c] = ["a", "b", "c"].map((name) => new Item(name));
  for (const item of [a, b, c]) dir.add(item);
  dir.rename(a, "z");
  assert.deepEqual(names(dir), ["z", "b", "c"]);
  dir.remove(c);
  dir.replace(b, c);
  assert.deepEqual([names(dir), c.name, dir.get("b")], [["z", "b"], "b", c]);
});
