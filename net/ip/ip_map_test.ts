import assert from "node:assert/strict";
import { Random } from "../wire/wire_fixture.ts";
import { IpMap } from "./ip_map.ts";

Deno.test("IpMap finds what a Map with text keys finds, after any sets and deletes", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(seed), map = new IpMap<number>(seed), model = new Map<string, number>();
    for (let i = 0; i < 2000; i++) {
      const ip = new Uint8Array(16);
      ip[random.below(16)] = random.below(40);
      const key = ip.join();
      if (random.below(3) === 0) assert.equal(map.delete(ip), model.delete(key), `seed ${seed}`);
      else {
        map.set(ip, i);
        model.set(key, i);
      }
      assert.equal(map.get(ip), model.get(key), `seed ${seed}`);
      assert.equal(map.count, model.size, `seed ${seed}`);
    }
    assert.deepEqual([...map.values()].sort(), [...model.values()].sort());
  }
});

Deno.test("IpMap evicts what was not touched for longest, and reads keys from inside of a packet", () => {
  const map = new IpMap<number>(1), ip = (n: number) => new Uint8Array(16).fill(n);
  for (let n = 1; n <= 3; n++) map.set(ip(n), n);
  map.touch(ip(1));
  assert.equal(map.oldest, 2);
  assert.equal(map.evict(), 2);
  const packet = new Uint8Array(40);
  packet.set(ip(3), 7);
  assert.equal(map.get(packet, 7), 3);
  assert.equal(map.get(packet, 6), undefined);
  assert.equal(map.evict(), 3);
  assert.equal(map.evict(), 1);
  assert.equal(map.evict(), undefined);
});
