import assert from "node:assert/strict";
import { CHUNK, MAX_SIZE, RamData } from "./ram_data.ts";

/** Space of `bytes` bytes, and how many of them are taken. */
function space(bytes = Infinity) {
  return {
    taken: 0,
    available() {
      return bytes - this.taken;
    },
    take(count: number) {
      this.taken += count;
    },
  };
}

Deno.test("a small file takes little memory, a hole none, and all of it comes back", () => {
  const used = space(), data = new RamData(used);
  data.write(new Uint8Array(10), 0);
  assert.equal(used.taken, 64);
  data.write(new Uint8Array(1), MAX_SIZE - 1);
  assert.equal(used.taken, 64 + CHUNK);
  assert.equal(data.size, MAX_SIZE);
  data.truncate(0);
  assert.deepEqual([used.taken, data.allocated], [0, 0]);
});

Deno.test("a file of 1 GiB reads back what was written, at its ends and between", () => {
  const data = new RamData(space()), size = 2 ** 30, block = new Uint8Array(4 * CHUNK);
  for (let at = 0; at < size; at += size / 64) {
    block.fill(at / (size / 64) + 1);
    data.write(block, at);
  }
  data.write(Uint8Array.of(99), size - 1);
  assert.equal(data.size, size);
  const into = new Uint8Array(2);
  for (let i = 0; i < 64; i++) {
    data.read(into, i * size / 64 + 4 * CHUNK - 1);
    assert.deepEqual([...into], [i + 1, 0]);
  }
  assert.deepEqual([data.read(into, size - 1), into[0]], [1, 99]);
});

Deno.test("memory that comes from another file shows none of its bytes", () => {
  const secret = new RamData(space()), other = new RamData(space());
  secret.write(new Uint8Array(4 * CHUNK).fill(0xaa), 0);
  secret.truncate(0);
  for (let i = 1; i < 4; i++) other.write(Uint8Array.of(1), i * CHUNK + 1000);
  other.truncate(4 * CHUNK);
  const into = new Uint8Array(4 * CHUNK);
  other.read(into, 0);
  assert.equal(into.reduce((sum, byte) => sum + byte), 3);
});

Deno.test("a write takes what room there is, to the byte, and then nothing", () => {
  for (const room of [1, 63, 100, CHUNK, CHUNK + 1, 3 * CHUNK - 7]) {
    const used = space(room), data = new RamData(used);
    assert.equal(data.write(new Uint8Array(4 * CHUNK).fill(1), 0), room);
    assert.equal(data.write(Uint8Array.of(1), room), 0);
    assert.deepEqual([data.size, used.taken], [room, room]);
  }
});
