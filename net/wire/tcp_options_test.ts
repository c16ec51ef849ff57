import assert from "node:assert/strict";
import { MAX_SACK_BLOCKS, TCP_OPTIONS_MAX_BYTES, TcpOptions } from "./tcp_options.ts";
import { guarded, hex, Random } from "./wire_fixture.ts";

function parse(data: Uint8Array): { options: TcpOptions; fault: string | undefined } {
  const options = new TcpOptions(), { bytes, at, end } = guarded(data);
  return { fault: options.parse(bytes, at, end), options };
}

function emit(options: TcpOptions): Uint8Array {
  const out = new Uint8Array(TCP_OPTIONS_MAX_BYTES);
  const end = options.emit(out, 0);
  assert.equal(end, options.bytes);
  return out.slice(0, end);
}

/** What Linux sends with a SYN; without timestamps; in mid-connection; with holes. */
const SYN = hex("020405b4 0402 080a 11223344 00000000 01 030307");
const PLAIN_SYN = hex("020405b4 01010402 01030300");
const USUAL = hex("0101 080a fffffffe 80000001");
const HOLES = hex("0101080a 00000001 00000002 0101 051a 00000064 000000c8 fffffff0 00000010 80000000 80000001");

Deno.test("the options of a SYN as Linux writes it", () => {
  const { options, fault } = parse(SYN);
  assert.equal(fault, undefined);
  assert.deepEqual([options.mss, options.sackPermitted, options.windowScale, options.timestamps], [
    1460,
    true,
    7,
    true,
  ]);
  assert.deepEqual([options.tsVal, options.tsEcr, options.sackCount], [0x11223344, 0, 0]);
});

Deno.test("timestamps alone, and with three SACK blocks, as int32", () => {
  assert.deepEqual([parse(USUAL).options.tsVal, parse(USUAL).options.tsEcr >>> 0], [-2, 0x80000001]);
  const { options } = parse(HOLES);
  assert.equal(options.sackCount, 3);
  assert.deepEqual([...options.sackLeft.subarray(0, 3)], [100, -16, -0x80000000]);
  assert.deepEqual([...options.sackRight.subarray(0, 3)], [200, 16, -0x7fffffff]);
  assert.equal(options.mss + options.windowScale, -1);
});

Deno.test("emit() writes what was parsed, byte by byte", () => {
  for (const data of [SYN, PLAIN_SYN, USUAL, HOLES, hex("")]) assert.deepEqual(emit(parse(data).options), data);
});

Deno.test("what was set is parsed back, and never takes more than 40 bytes", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const random = new Random(seed), options = new TcpOptions();
    if (random.below(2)) options.mss = 1 + random.below(65535);
    if (random.below(2)) options.windowScale = random.below(15);
    options.sackPermitted = random.below(2) === 1;
    options.timestamps = random.below(2) === 1;
    if (options.timestamps) options.tsVal = random.below(2 ** 32) | 0;
    for (let i = random.below(6); i > 0; i--) options.addSack(random.below(2 ** 32) | 0, random.below(2 ** 32) | 0);
    const data = emit(options), { options: again, fault } = parse(data);
    assert.ok(data.length <= TCP_OPTIONS_MAX_BYTES && data.length % 4 === 0, `seed ${seed}`);
    assert.equal(fault, undefined);
    assert.deepEqual(again, options, `seed ${seed}`);
  }
});

Deno.test("addSack() has room for four blocks, for three beside timestamps", () => {
  const options = new TcpOptions();
  for (let i = 0; i < MAX_SACK_BLOCKS; i++) assert.ok(options.addSack(i, i + 1));
  assert.ok(!options.addSack(9, 10));
  options.clear();
  options.timestamps = true;
  assert.deepEqual([1, 2, 3, 4].map((i) => options.addSack(i, i + 1)), [true, true, true, false]);
  assert.equal(options.bytes, 40);
});

Deno.test("an option that runs out of the header ends the parse, what was before it is kept", () => {
  const cases: [string, string | undefined, number][] = [
    ["020405b4 03", "option", 1460],
    ["020405b4 0300", "option", 1460],
    ["020405b4 0301", "option", 1460],
    ["020405b4 0304 07", "option", 1460],
    ["020405b4 00 0304", undefined, 1460],
    ["fe04 0000 020405b4", undefined, 1460],
    ["0203 05 020405b4", undefined, 1460],
    ["0205 05b400", undefined, 0],
    ["", undefined, 0],
  ];
  for (const [text, fault, mss] of cases) {
    const got = parse(hex(text));
    assert.deepEqual([got.fault, got.options.mss], [fault, mss], text);
  }
});

Deno.test("values and lengths out of range: a shift above 14 is 14, odd SACK lengths say nothing", () => {
  assert.equal(parse(hex("0303ff00")).options.windowScale, 14);
  for (const text of ["0502", "0503 00", "0509 00000000000000", "050b 000000000000000000"]) {
    assert.equal(parse(hex(text)).options.sackCount, 0, text);
  }
  assert.equal(
    parse(hex("052a" + "00".repeat(40))).options.sackCount,
    4,
    "five blocks, where no header has room for them",
  );
});

Deno.test("no bytes make the parse throw or read outside of the options", () => {
  for (const data of [SYN, PLAIN_SYN, USUAL, HOLES]) {
    for (let length = 0; length <= data.length; length++) parse(data.subarray(0, length));
  }
  for (let seed = 1; seed <= 1000; seed++) {
    const random = new Random(seed), data = random.bytes(random.below(41));
    for (let i = 0; i < data.length; i++) if (random.below(3)) data[i] = random.below(12);
    assert.doesNotThrow(() => parse(data), `seed ${seed}`);
  }
});
