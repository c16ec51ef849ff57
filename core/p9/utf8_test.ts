import assert from "node:assert/strict";
import { decodeUtf8, encodeUtf8, isUtf8, utf8Length } from "./utf8.ts";

function roundTrip(bytes: number[]): void {
  const text = decodeUtf8(Uint8Array.from(bytes), 0, bytes.length);
  assert.equal(utf8Length(text), bytes.length, JSON.stringify(text));
  const back = new Uint8Array(bytes.length);
  assert.equal(encodeUtf8(text, back, 0), bytes.length);
  assert.deepEqual([...back], bytes);
}

Deno.test("utf8: text decodes as text", () => {
  for (const text of ["", "ascii", "é", "名前", "😀", "a😀é名z", "\ufeffbom", "x".repeat(500) + "é"]) {
    const bytes = new TextEncoder().encode(text);
    assert.equal(decodeUtf8(bytes, 0, bytes.length), text);
    assert.equal(utf8Length(text), bytes.length);
    assert.ok(isUtf8(text));
    roundTrip([...bytes]);
  }
});

Deno.test("utf8: bytes that are no UTF-8 come back as they were", () => {
  const cases = [[0xff], [0x80], [0xc3], [0xe2, 0x82], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 1, 2], [65, 0xff, 66]];
  for (const bytes of cases) {
    roundTrip(bytes);
    assert.ok(!isUtf8(decodeUtf8(Uint8Array.from(bytes), 0, bytes.length)));
  }
});

Deno.test("utf8: random bytes come back as they were, cached or not", () => {
  let seed = 99;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 20;
  for (let round = 0; round < 20_000; round++) {
    const bytes = Array.from(
      { length: random() % 50 },
      () => random() % 3 === 0 ? random() & 0xff : 0x61 + random() % 3,
    );
    roundTrip(bytes);
    roundTrip(bytes);
  }
});
