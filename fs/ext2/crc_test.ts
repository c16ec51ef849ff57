import assert from "node:assert/strict";
import { crc16, crc32c, crc32cWord } from "./crc.ts";

const DIGITS = new TextEncoder().encode("123456789");

Deno.test("CRC-32C and CRC-16 have their published check values", () => {
  assert.equal((crc32c(0xffffffff, DIGITS) ^ 0xffffffff) >>> 0, 0xe3069283);
  assert.equal(crc16(0, DIGITS), 0xbb3d);
});

Deno.test("a checksum goes on from a running value, over parts and words", () => {
  assert.equal(crc32c(crc32c(7, DIGITS, 0, 4), DIGITS, 4), crc32c(7, DIGITS));
  assert.equal(crc32cWord(7, 0x34333231), crc32c(7, DIGITS, 0, 4));
});
