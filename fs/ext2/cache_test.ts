import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { MemoryPort } from "../block_port.ts";
import { BlockCache, Miss } from "./cache.ts";
import { LogPort, SlowPort } from "./ext2_fixture.ts";

const GEOMETRY = { blockSize: 1024, blocksCount: 1024, cacheBytes: 128 << 10 };

function filled(): MemoryPort {
  const port = new MemoryPort(1 << 20);
  for (let no = 0; no < 1024; no++) port.write(new Uint8Array(1024).fill(no & 255), no * 1024);
  return port;
}

Deno.test("between operations a cache is no larger than its limit, but keeps what is dirty or pinned", () => {
  const cache = new BlockCache(filled(), GEOMETRY);
  cache.mark(cache.get(0), false);
  cache.get(1).pins++;
  for (let no = 2; no < 1000; no++) {
    assert.equal(cache.get(no).data[5], no & 255);
    cache.trim();
    assert.ok(cache.size <= 128);
  }
  assert.ok(cache.peek(0) && cache.peek(1));
  assert.equal(cache.peek(2), undefined);
});

Deno.test("on a disk that answers later a block is a Miss once, and there when it is ready", async () => {
  const cache = new BlockCache(new SlowPort(filled()), GEOMETRY);
  let ready: Promise<unknown> | undefined;
  for (let i = 0; i < 2; i++) {
    try {
      cache.get(7);
    } catch (thrown) {
      assert.ok(thrown instanceof Miss);
      ready ??= thrown.ready;
      assert.equal(thrown.ready, ready, "a second asker waits for the same read");
    }
  }
  await ready;
  assert.equal(cache.get(7).data[0], 7);
});

Deno.test("a block that was made anew while its old content was being read stays as it was made", async () => {
  const cache = new BlockCache(new SlowPort(filled()), GEOMETRY);
  let miss: unknown;
  try {
    cache.get(9);
  } catch (thrown) {
    miss = thrown;
  }
  cache.blank(9).data.fill(200);
  await (miss as Miss).ready;
  assert.equal(cache.get(9).data[0], 200);
});

Deno.test("neighbours are written together, everything where it belongs", () => {
  const log = LogPort.over(filled(), 1 << 20), cache = new BlockCache(log, GEOMETRY);
  for (const no of [5, 900, 6, 7, 901]) {
    const buf = cache.get(no);
    buf.data.fill(no - 100 & 255);
    cache.mark(buf, true);
  }
  assert.equal(cache.write(cache.dirty), undefined);
  assert.deepEqual(log.log.map((entry) => [entry!.offset / 1024, entry!.data.length / 1024]), [[5, 3], [900, 2]]);
  const back = new Uint8Array(1024);
  log.read(back, 6 * 1024);
  assert.equal(back[0], 6 - 100 & 255);
});

Deno.test("a block outside of the volume is an EIO", () => {
  const cache = new BlockCache(filled(), GEOMETRY);
  for (const no of [-1, 1024, NaN]) assert.throws(() => cache.get(no), (e) => e instanceof Err && e.code === "EIO");
});
