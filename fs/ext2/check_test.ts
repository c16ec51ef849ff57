/** Our own check beside e2fsck: where e2fsck finds nothing, it finds nothing; where e2fsck finds something, it does. */

import assert from "node:assert/strict";
import { interop, program } from "../../tests/skip.ts";
import { MemoryPort } from "../block_port.ts";
import {
  assertClean,
  LogPort,
  newVolume,
  ORDERED_MIX,
  Random,
  run,
  SlowPort,
  testClock,
  withImage,
  Workload,
} from "./ext2_fixture.ts";
import { Ext2, type Report } from "./fs.ts";
import { S_IFREG } from "./layout.ts";

const OPTIONS = { now: testClock(), readOnly: true };

async function problemsOf(bytes: Uint8Array): Promise<string[]> {
  const fs = await Ext2.open(MemoryPort.from(bytes), OPTIONS);
  return (await fs.check()).problems;
}

async function worked(seed: number): Promise<{ port: MemoryPort; fs: Ext2 }> {
  const port = newVolume({ size: 2 << 20 }), fs = await Ext2.open(port, { now: testClock() });
  const load = new Workload(fs, new Random(seed));
  for (let i = 0; i < 200; i++) await load.step();
  return { port, fs };
}

Deno.test("a volume in use and after its closing has no problems", async () => {
  const { port, fs } = await worked(1);
  assert.deepEqual((await fs.check()).problems, []);
  await fs.sync();
  assert.deepEqual((await fs.check()).problems, []);
  await fs.close();
  const report = await (await Ext2.open(new SlowPort(port), { ...OPTIONS, cacheBytes: 1 << 16 })).check();
  assert.deepEqual(report.problems, []);
  assert.ok(report.files > 10 && report.directories > 2 && report.blocks > 100, JSON.stringify(report));
});

const KINDS = [
  "-t ext2 -b 1024",
  "-t ext2 -b 4096 -O ^resize_inode,^sparse_super",
  "-t ext3",
  "-t ext4",
  "-t ext4 -O inline_data",
];
interop("new volumes of mke2fs have no problems", { needs: [program("mke2fs")] }, async () => {
  for (const kind of KINDS) {
    const bytes = withImage(null, (path) => {
      Deno.truncateSync(path, 20 << 20);
      assert.equal(run("mke2fs", "-q", "-F", "-d", "fs", ...kind.split(" "), path).code, 0);
      return Deno.readFileSync(path);
    });
    assert.deepEqual(await problemsOf(bytes), [], kind);
  }
});

interop(
  "after power cuts it sees problems where e2fsck does, and only there",
  { needs: [program("e2fsck")] },
  async () => {
    const before = newVolume({ size: 1 << 20 }), port = LogPort.over(before, 1024), random = new Random(77);
    const fs = await Ext2.open(port, { now: testClock() }),
      load = new Workload(fs, random, [...ORDERED_MIX, "renameDir"]);
    for (let i = 0; i < 150; i++) {
      await load.step();
      if (random.below(30) === 0) await fs.sync();
    }
    await fs.close();
    let clean = 0;
    for (let k = 0; k < 40; k++) {
      const at = k < 8 ? port.log.length : random.below(port.log.length), bytes = before.bytes();
      for (const entry of port.log.slice(0, at)) if (entry) bytes.set(entry.data, entry.offset);
      const theirs = withImage(bytes, (path) => run("e2fsck", "-fn", path)), ours = await problemsOf(bytes);
      const isClean = theirs.code === 0 && !/wrong/.test(theirs.text);
      if (isClean) clean++;
      assert.equal(ours.length === 0, isClean, `cut at ${at}: ${ours}\n${theirs.text}`);
    }
    assert.ok(clean >= 8 && clean < 40, `${clean} of 40 were clean`);
  },
);

interop(
  "what a power cut leaves is repaired here as well, and clean for e2fsck",
  { needs: [program("e2fsck")] },
  async () => {
    const before = newVolume({ size: 1 << 20 }), port = LogPort.over(before, 1024), random = new Random(31);
    const fs = await Ext2.open(port, { now: testClock() }), load = new Workload(fs, random, ORDERED_MIX);
    for (let i = 0; i < 250; i++) {
      await load.step();
      if (random.below(30) === 0) await fs.sync();
    }
    await fs.close();
    for (let k = 0; k < 30; k++) {
      const at = random.below(port.log.length), disk = before.bytes();
      for (const entry of port.log.slice(0, at)) if (entry) disk.set(entry.data, entry.offset);
      const memory = MemoryPort.from(disk), broken = await Ext2.open(memory, { now: testClock() });
      const { found, left } = await broken.repair();
      assert.deepEqual(left.problems, [], `cut at ${at}, found ${found.problems}`);
      await broken.close();
      assertClean(memory.bytes(), `cut at ${at}, repaired`);
      assert.equal((await Ext2.open(memory, { now: testClock() })).wasUnclean, false);
    }
  },
);

Deno.test("damage that a repair could lose something by is left alone", async () => {
  const { port, fs } = await worked(4);
  const ino = await fs.make(fs.root, "file", { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
  await fs.write(ino, new Uint8Array(4000), 0);
  await fs.close();
  const bytes = port.bytes(),
    view = new DataView(bytes.buffer),
    at = view.getUint32(2048 + 8, true) * 1024 + (ino - 1) * 256;
  view.setUint32(at + 40, view.getUint32(at + 44, true), true);
  const memory = MemoryPort.from(bytes), { left } = await (await Ext2.open(memory, { now: testClock() })).repair();
  assert.ok(left.unsafe > 0);
  assert.deepEqual(memory.bytes(), bytes);
});

/** Damage of one kind, and what the check has to say about it. */
const DAMAGES: [string, (view: DataView, file: number) => void, RegExp][] = [
  ["a block with two owners", (v, file) => v.setUint32(file + 40, v.getUint32(file + 44, true), true), /two owners/],
  ["a wrong count of links", (v, file) => v.setUint16(file + 26, 5, true), /counts 5 links, has 1/],
  ["a wrong count of sectors", (v, file) => v.setUint32(file + 28, 2, true), /counts 2 sectors/],
  ["a mode of no kind", (v, file) => v.setUint16(file, 0x3000, true), /of no kind/],
  ["a dead file with a name", (v, file) => v.setUint16(file + 26, 0, true), /names the unused inode/],
  ["a file outside of the volume", (v, file) => v.setUint32(file + 40, 0xfffffff, true), /out of range/],
  ["a time of death", (v, file) => v.setUint32(file + 20, 77, true), /time of death/],
  ["a wrong count of free blocks", (v) => v.setUint16(2048 + 12, 3, true), /3 free blocks counted/],
  ["a bitmap of zeros", (v) => v.setUint32(v.getUint32(2048, true) * 1024, 0, true), /block bitmap is wrong/],
];

for (const [name, damage, expected] of DAMAGES) {
  Deno.test(`it finds ${name}`, async () => {
    const port = newVolume({ size: 1 << 20 }), fs = await Ext2.open(port, { now: testClock() });
    const ino = await fs.make(fs.root, "file", { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
    await fs.write(ino, new Uint8Array(4000), 0);
    await fs.close();
    const bytes = port.bytes(), view = new DataView(bytes.buffer);
    damage(view, view.getUint32(2048 + 8, true) * 1024 + (ino - 1) * 256);
    const problems: Report["problems"] = await problemsOf(bytes);
    assert.ok(problems.some((problem) => expected.test(problem)), problems.join("\n"));
  });
}
