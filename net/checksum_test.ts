import assert from "node:assert/strict";
import { wasmBuffer } from "../core/wasm_memory.ts";
import { checksum, checksumOk, pseudoSum4, pseudoSum6, sum, updateChecksum } from "./checksum.ts";
import { hex, Random } from "./wire/wire_fixture.ts";

/** RFC 1071 word by word. */
function simple(bytes: Uint8Array, at: number, end: number): number {
  let total = 0;
  for (let i = at; i < end; i += 2) {
    total += bytes[i] * 256 + (i + 1 < end ? bytes[i + 1] : 0);
    if (total > 0xffff) total -= 0xffff;
  }
  return total;
}

Deno.test("sum() is the simple sum over every range of 100 random bytes, at each alignment", () => {
  const seed = 1071, random = new Random(seed);
  const data = random.bytes(100);
  for (let shift = 0; shift < 4; shift++) {
    const room = random.bytes(110), bytes = room.subarray(shift, shift + 100);
    bytes.set(data);
    for (let at = 0; at <= 100; at++) {
      for (let end = at; end <= 100; end++) {
        assert.equal(sum(bytes, at, end), simple(data, at, end), `seed ${seed}, [${at}, ${end}), shift ${shift}`);
      }
    }
  }
});

Deno.test("sum() does not lose carries in 200,000 bytes of ones, and is right in shared memory", () => {
  const bytes = new Uint8Array(new SharedArrayBuffer(200_003)).fill(0xff);
  for (const [at, end] of [[0, 200_000], [1, 200_000], [3, 65_539], [2, 65_538], [1, 131_073], [0, 200_003]]) {
    assert.equal(sum(bytes, at, end), simple(bytes, at, end), `[${at}, ${end})`);
    bytes[at + 70] = 0x12;
    assert.equal(sum(bytes, at, end, 0xffff), simple(bytes, at, end), `[${at}, ${end}) with one byte changed`);
    bytes[at + 70] = 0xff;
  }
});

Deno.test("sum() by vectors, in memory of WebAssembly, is the simple sum: every short range, and a long one of ones", () => {
  const seed = 1072, random = new Random(seed), room = new Uint8Array(wasmBuffer(200_003));
  const data = random.bytes(200);
  for (let shift = 0; shift < 3; shift++) {
    const bytes = room.subarray(shift, shift + 200);
    bytes.set(data);
    for (let at = 0; at < 20; at++) {
      for (let end = at; end <= 200; end++) {
        assert.equal(sum(bytes, at, end), simple(data, at, end), `seed ${seed}, [${at}, ${end}), shift ${shift}`);
      }
    }
  }
  room.fill(0xff);
  for (const [at, end] of [[0, 200_000], [1, 200_000], [3, 65_539], [1, 131_073], [0, 200_003]]) {
    room[at + 70] = 0x12;
    assert.equal(sum(room, at, end, 0xffff), simple(room, at, end), `[${at}, ${end})`);
    room[at + 70] = 0xff;
  }
});

Deno.test("sum() in even pieces is the sum of the whole", () => {
  const bytes = new Random(7).bytes(1500);
  for (let cut = 0; cut <= 1500; cut += 2) {
    assert.equal(sum(bytes, cut, 1500, sum(bytes, 0, cut)), sum(bytes, 0, 1500), `cut at ${cut}`);
  }
});

Deno.test("sum() changes between buffers without mixing them up", () => {
  const a = new Random(1).bytes(200), b = new Random(2).bytes(200);
  for (const bytes of [a, b, a, b]) assert.equal(sum(bytes, 1, 199), simple(bytes, 1, 199));
});

Deno.test("checksum() of RFC 1071's example and of a known IPv4 header", () => {
  assert.equal(sum(hex("0001 f203 f4f5 f6f7"), 0, 8), 0xddf2);
  const header = hex("4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7");
  assert.equal(checksum(header, 0, 20), 0xb861);
  header.set([0xb8, 0x61], 10);
  assert.ok(checksumOk(header, 0, 20));
  header[19] ^= 1;
  assert.ok(!checksumOk(header, 0, 20));
});

Deno.test("updateChecksum() gives what a new checksum would, RFC 1624's corner among it", () => {
  assert.equal(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000, "RFC 1624, section 4");
  const seed = 1624, random = new Random(seed), bytes = random.bytes(64);
  for (let i = 0; i < 2000; i++) {
    const check = checksum(bytes, 0, 64), at = random.below(31) * 2;
    const view = new DataView(bytes.buffer);
    const was = view.getUint16(at);
    view.setUint16(at, random.below(65536));
    assert.equal(updateChecksum(check, was, view.getUint16(at)), checksum(bytes, 0, 64), `seed ${seed}, turn ${i}`);
  }
});

Deno.test("pseudoSum4() and pseudoSum6() are the sums of the pseudo-headers written out", () => {
  const four = hex("c0a80001 ffffff02 00 11 05dc");
  assert.equal(pseudoSum4(0xc0a80001 | 0, 0xffffff02 | 0, 17, 1500), simple(four, 0, 12));
  const six = hex("20010db8 00000000 00000000 000000ff fe800000 00000000 fffeffff ffffff02 0001002c 000000 06");
  assert.equal(pseudoSum6(six, 0, 6, 0x1002c), simple(six, 0, 40));
});
