import assert from "node:assert/strict";
import { Err } from "../core/err.ts";
import { MemoryPort } from "./block_port.ts";

Deno.test("a disk in memory reads what was written, zeros elsewhere, over the borders of its pieces", () => {
  const port = new MemoryPort(1 << 20), border = 1 << 18, data = Uint8Array.from({ length: 3000 }, (_, i) => i & 255);
  port.write(data, border - 1000);
  const back = new Uint8Array(4000);
  port.read(back, border - 1500);
  assert.deepEqual(back.subarray(500, 3500), data);
  assert.ok(back.subarray(0, 500).every((b) => b === 0) && back.subarray(3500).every((b) => b === 0));
  assert.deepEqual(MemoryPort.from(port.bytes()).bytes(), port.bytes());
});

Deno.test("a disk in memory refuses what is outside of it, and writing when it is read only", () => {
  const port = new MemoryPort(4096, { readOnly: true });
  assert.throws(() => port.read(new Uint8Array(512), 4096), (e) => e instanceof Err && e.code === "EIO");
  assert.throws(() => port.read(new Uint8Array(512), -512), (e) => e instanceof Err && e.code === "EIO");
  assert.throws(() => port.write(new Uint8Array(512), 0), (e) => e instanceof Err && e.code === "EROFS");
});
