import assert from "node:assert/strict";
import { SipHash } from "./siphash.ts";

const KEY = Uint8Array.from({ length: 16 }, (_, i) => i);

Deno.test("SipHash-2-4 gives the values of its authors", () => {
  const hash = new SipHash(KEY);
  // Vectors of the reference code: inputs 00 01 02 ... of 0, 8 and 16 bytes.
  const bytes = (n: number) => Array.from({ length: n / 4 }, (_, i) => 0x03020100 + i * 0x04040404 | 0);
  const seen = [0, 8, 16].map((n) => {
    hash.words(...bytes(n));
    return [hash.high >>> 0, hash.low >>> 0];
  });
  assert.deepEqual(seen, [[0x726fdb47, 0xdd0e0e31], [0x93f5f579, 0x9a932462], [0x3f2acc7f, 0x57c29bdb]]);
});

Deno.test("SipHash of the same words with another key is another", () => {
  assert.notEqual(new SipHash(KEY).words(1, 2), new SipHash(KEY.map((byte) => byte + 1)).words(1, 2));
});
