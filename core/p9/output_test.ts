import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { BufferPool, Output } from "./output.ts";
import { MAX_MSIZE } from "./types.ts";

Deno.test("a buffer from the pool has the room that was asked for, whatever was given back before", () => {
  const pool = new BufferPool(MAX_MSIZE);
  const sizes = [100, 64 * 1024, 65_600, MAX_MSIZE, pool.largeBytes, pool.largeBytes + 1, 2 * pool.largeBytes];
  for (const first of sizes) {
    for (const second of sizes) {
      pool.give(pool.take(first));
      const w = pool.take(second);
      assert.ok(w.limit - w.at >= second, `${second} bytes after ${first}: room for ${w.limit - w.at}`);
      pool.give(w);
    }
  }
});

Deno.test("replies that outgrow a buffer, or wait for a slow reader, arrive whole and in order", async () => {
  const got: Uint8Array[] = [];
  let accept = () => {};
  const write = (bytes: Uint8Array) => {
    got.push(bytes.slice());
    return new Promise<void>((resolve) => accept = resolve);
  };
  const output = new Output({ remote: "test", read: () => null, write, close: () => {} }, new BufferPool(4096));
  const sent: Uint8Array[] = [];
  const put = (size: number, value: number) => {
    const reply = new Uint8Array(size).fill(value);
    output.writer(size).data(reply);
    sent.push(reply);
  };
  for (const [i, size] of [10, 60_000, 70_000, 300_000, 5].entries()) put(size, i);
  output.flush();
  assert.ok(output.fits(100));
  put(50_000, 6);
  assert.equal(output.pending, Buffer.concat(sent).length);
  while (output.pending > 0) {
    accept();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assert.ok(Buffer.concat(got).equals(Buffer.concat(sent)));
});
