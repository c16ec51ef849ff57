import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { MemoryPort } from "../block_port.ts";
import { BlockCache, Miss } from "./cache.ts";
import { LogPort, SlowPort } from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { S_IFREG } from "./layout.ts";
import { mkfs } from "./mkfs.ts";

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

/** A port that answers later, and counts its requests. */
class CountingPort extends SlowPort {
  reads = 0;
  flying = 0;
  deepest = 0;
  override async read(dst: Uint8Array, offset: number): Promise<void> {
    this.reads++;
    await super.read(dst, offset);
  }
  override async write(src: Uint8Array, offset: number): Promise<void> {
    this.deepest = Math.max(this.deepest, ++this.flying);
    await super.write(src, offset);
    this.flying--;
  }
}

Deno.test("a disk that answers later gets several writes at a time, and all are done when the answer is there", async () => {
  const memory = filled(), port = new CountingPort(memory), cache = new BlockCache(port, GEOMETRY);
  for (let no = 0; no < 100; no += 2) {
    const buf = cache.blank(no);
    buf.data.fill(77);
    cache.mark(buf, true);
  }
  await cache.write(cache.dirty);
  assert.equal(port.flying, 0);
  assert.ok(port.deepest > 1 && port.deepest <= 8, `${port.deepest} in flight`);
  const bytes = memory.bytes();
  for (let no = 0; no < 100; no++) assert.equal(bytes[no * 1024 + 9], no % 2 === 0 ? 77 : no);
});

Deno.test("a file read in order is read ahead, in few requests, also by several readers at once", async () => {
  const memory = new MemoryPort(8 << 20), data = new Uint8Array(3 << 20).map((_, i) => i >>> 12);
  mkfs(memory, { uuid: new Uint8Array(16).fill(1), now: 0, zeroed: true, blockSize: 4096 });
  const setup = await Ext2.open(memory, { now: () => 0 });
  const ino = await setup.make(setup.root, "file", { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
  await setup.write(ino, data, 0);
  await setup.close();
  for (const together of [1, 4]) {
    const port = new CountingPort(memory), fs = await Ext2.open(port, { now: () => 0 }), before = port.reads;
    let waits = 0;
    for (let at = 0; at < data.length; at += together * 4096) {
      const found = Array.from({ length: together }, () => new Uint8Array(4096));
      const counts = found.map((dst, i) => fs.read(ino, dst, at + i * 4096));
      if (counts.some((count) => count instanceof Promise)) waits++;
      assert.deepEqual(await Promise.all(counts), found.map(() => 4096));
      found.forEach((dst, i) => assert.ok(dst.every((byte) => byte === ((at >>> 12) + i & 255))));
    }
    assert.ok(port.reads - before < 40, `${port.reads - before} requests for 768 blocks`);
    assert.ok(waits < 40, `waited ${waits} times`);
  }
});
