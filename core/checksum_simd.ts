/**
 * The Internet checksum by vector instructions, for buffers that are WebAssembly memories (wasm_memory.ts).
 *
 * Layer: core, a leaf under checksum.ts. The program is assembled here, from the table of instructions below; as text it is
 *
 *     (func (export "sum") (param $at i32) (param $end i32) (result i32) (local $low v128) (local $high v128)
 *       (block $done (loop $next
 *         (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
 *         (local.set $low (i32x4.add (local.get $low)
 *           (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $at)))))
 *         (local.set $high (i32x4.add (local.get $high)
 *           (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 (local.get $at)))))
 *         (local.set $at (i32.add (local.get $at) (i32.const 32)))
 *         (br $next)))
 *       (local.set $low (i32x4.add (local.get $low) (local.get $high)))
 *       (i32.add (i32.add (i32.add lane 0, lane 1), lane 2), lane 3))
 *
 * It adds up the 16-bit halves of [at, end), a multiple of BLOCK_BYTES, as the host reads them; no more than 64 KiB at once, so
 * that nothing overflows.
 *
 * See the WebAssembly specification, 5 (binary format).
 */

/** What one turn of the loop takes. */
export const BLOCK_BYTES = 32;

/** The halves of bytes [at, end) of one memory added up, as an int32 whose bits are to be taken unsigned. */
export type SimdSum = (at: number, end: number) => number;

/** Types, and instructions with their operands. */
const I32 = 0x7f, V128 = 0x7b, EMPTY = 0x40, FUNC = 0x60;
const BLOCK = [0x02, EMPTY], LOOP = [0x03, EMPTY], END = [0x0b];
const BR = (depth: number) => [0x0c, depth], BR_IF = (depth: number) => [0x0d, depth];
const GET = (local: number) => [0x20, local], SET = (local: number) => [0x21, local];
const I32_CONST = (value: number) => [0x41, value], I32_ADD = [0x6a], I32_GE_U = [0x4f];
const V128_LOAD = (offset: number) => [0xfd, 0x00, 0, offset];
const LANE = (lane: number) => [0xfd, 0x1b, lane];
const EXTADD_PAIRWISE = [0xfd, 0x7f], I32X4_ADD = [0xfd, 0xae, 0x01];
/** Locals. */
const AT = 0, STOP = 1, LOW = 2, HIGH = 3;

const addHalves = (into: number, offset: number) =>
  [GET(into), GET(AT), V128_LOAD(offset), EXTADD_PAIRWISE, I32X4_ADD, SET(into)].flat();

const BODY = [
  [1, 2, V128], // two locals beside the parameters
  BLOCK,
  LOOP,
  [GET(AT), GET(STOP), I32_GE_U, BR_IF(1)].flat(),
  addHalves(LOW, 0),
  addHalves(HIGH, 16),
  [GET(AT), I32_CONST(BLOCK_BYTES), I32_ADD, SET(AT), BR(0)].flat(),
  END,
  END,
  [GET(LOW), GET(HIGH), I32X4_ADD, SET(LOW)].flat(),
  [GET(LOW), LANE(0), GET(LOW), LANE(1), I32_ADD, GET(LOW), LANE(2), I32_ADD, GET(LOW), LANE(3), I32_ADD].flat(),
  END,
].flat();

/** A section, or a body, with its length in front: all here are shorter than 128 bytes. */
const sized = (bytes: number[]) => [bytes.length, ...bytes];
const name = (text: string) => sized([...new TextEncoder().encode(text)]);

const PROGRAM = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
  ...[1, ...sized([1, FUNC, 2, I32, I32, 1, I32])], // types: (i32, i32) -> i32
  ...[2, ...sized([1, ...name("m"), ...name("memory"), 2, 0, 1])], // imports: a memory of a page or more
  ...[3, ...sized([1, 0])], // functions: one of the first type
  ...[7, ...sized([1, ...name("sum"), 0, 0])], // exports
  ...[10, ...sized([1, ...sized(BODY)])], // code
]);

let compiled: WebAssembly.Module | undefined;

/** The program on a memory. */
export function simdSum(memory: WebAssembly.Memory): SimdSum {
  compiled ??= new WebAssembly.Module(PROGRAM);
  return new WebAssembly.Instance(compiled, { m: { memory } }).exports.sum as SimdSum;
}
