import assert from "node:assert/strict";
import { filterProgram } from "./seccomp.ts";

const X86_64 = 0xc000003e, AARCH64 = 0xc00000b7, I386 = 0x40000003;
const ALLOW = 0x7fff0000, EPERM = 0x00050001, ENOSYS = 0x00050026;

/** Runs a program as the kernel does, for the four instructions that it has. */
function verdict(program: Uint8Array, { arch, nr }: { arch: number; nr: number }): number {
  const code = new DataView(program.buffer);
  let acc = 0;
  for (let pc = 0; pc < program.length / 8; pc++) {
    const op = code.getUint16(pc * 8, true), k = code.getUint32(pc * 8 + 4, true);
    const jump = (taken: boolean) => pc += code.getUint8(pc * 8 + (taken ? 2 : 3));
    if (op === 0x20) acc = k === 0 ? nr : arch;
    else if (op === 0x15) jump(acc === k);
    else if (op === 0x35) jump(acc >= k);
    else if (op === 0x06) return k;
    else throw new Error(`no such instruction: ${op}`);
  }
  throw new Error("the program runs off its end");
}

Deno.test("the filter refuses what reaches out, and lets the engine's calls through", () => {
  const cases = { x86_64: [X86_64, [59, 41, 62, 101, 165, 321, 425], [0, 1, 9, 56, 202, 231, 234, 281]] } as const;
  const arm = { aarch64: [AARCH64, [221, 198, 129, 117, 40, 280, 425], [63, 64, 222, 220, 98, 94, 131, 22]] } as const;
  for (const [arch, [audit, refused, allowed]] of Object.entries({ ...cases, ...arm })) {
    const program = filterProgram({ arch, exec: false, network: false });
    for (const nr of refused) assert.equal(verdict(program, { arch: audit, nr }), EPERM, `${arch} ${nr}`);
    for (const nr of allowed) assert.equal(verdict(program, { arch: audit, nr }), ALLOW, `${arch} ${nr}`);
    assert.equal(verdict(program, { arch: audit, nr: 435 }), ENOSYS, "clone3 falls back on clone");
    assert.equal(verdict(program, { arch: I386, nr: 1 }), EPERM, "another architecture");
    assert.equal(verdict(program, { arch: audit, nr: 0x40000001 }), EPERM, "x32");
  }
});

Deno.test("exec and sockets are let through where they are asked for", () => {
  const program = filterProgram({ arch: "x86_64", exec: true, network: true });
  for (const nr of [59, 322, 41, 49]) assert.equal(verdict(program, { arch: X86_64, nr }), ALLOW);
  assert.equal(verdict(program, { arch: X86_64, nr: 62 }), EPERM);
});

Deno.test("an architecture without a table has no filter", () => {
  assert.throws(() => filterProgram({ arch: "riscv64", exec: false, network: false }), /riscv64/);
});
