/**
 * Power cuts: every prefix of the log of writes, and every subset of what was not flushed, is a state that `e2fsck -p`
 * mends without asking. RING9_EXT2_CRASHES says how many states are tried.
 */

import assert from "node:assert/strict";
import { interop, program } from "../../tests/skip.ts";
import { MemoryPort } from "../block_port.ts";
import {
  assertClean,
  type Logged,
  LogPort,
  made,
  newVolume,
  ORDERED_MIX,
  Random,
  run,
  testClock,
  withImage,
  Workload,
} from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { COMPAT, S_IFREG, SB, SUPER_OFFSET } from "./layout.ts";

const STATES = Number(Deno.env.get("RING9_EXT2_CRASHES") ?? 60);
const needs = [program("e2fsck")];

/** Runs a workload, and answers the volume before it and the log of what it wrote. */
async function record(seed: number, before: MemoryPort, mix: readonly string[]) {
  const port = LogPort.over(before, 1024 << new DataView(before.bytes().buffer).getUint32(SUPER_OFFSET + 24, true));
  const fs = await Ext2.open(port, { now: testClock() }), random = new Random(seed);
  const load = new Workload(fs, random, mix);
  for (let i = 0; i < 300; i++) {
    await load.step();
    if (random.below(25) === 0) await fs.sync();
  }
  await fs.close();
  return { before, log: port.log };
}

/** The disk after a cut at `at`: all that was flushed, and what `keeps` says of the writes since then. */
function stateAt(before: MemoryPort, log: Logged[], at: number, keeps: () => boolean): Uint8Array {
  const bytes = before.bytes(), flushed = log.lastIndexOf(null, at - 1);
  log.slice(0, at).forEach((entry, i) => {
    if (entry && (i < flushed || keeps())) bytes.set(entry.data, entry.offset);
  });
  return bytes;
}

/** Fails unless `e2fsck -p` mends the state. */
function assertMends(bytes: Uint8Array, what: string): void {
  withImage(bytes, (path) => {
    const preen = run("e2fsck", "-p", "-f", path);
    assert.ok(preen.code < 4, `${what}: e2fsck -p: ${preen.text}`);
    const clean = run("e2fsck", "-fn", path);
    assert.equal(clean.code, 0, `${what}: e2fsck -fn after -p: ${clean.text}`);
  });
}

const MOVES = [...new Array(20).fill("renameDir"), "mkdir", "mkdir"];
const VOLUMES: { before: () => MemoryPort; more?: string[] }[] = [
  { before: () => newVolume({ size: 6 << 20 }), more: MOVES },
  { before: () => newVolume({ size: 2 << 20 }) },
  { before: () => newVolume({ size: 4 << 20, blockSize: 4096 }), more: ["unlink", "rmdir", "rmdir", "rename"] },
  { before: () => newVolume({ size: 2 << 20, inodeSize: 128, filetype: false }) },
  {
    before: () => newVolume({ size: 12 << 20, blockSize: 4096, inodeSize: 128 }),
    more: [...MOVES, "unlink", "rmdir", "rmdir"],
  },
  { before: () => made("-t ext3 -b 1024 -J size=1", 6 << 20), more: MOVES },
  { before: () => made("-t ext4 -b 1024 -J size=4", 12 << 20), more: MOVES },
  { before: () => made("-t ext4 -b 1024 -O ^has_journal", 12 << 20), more: MOVES },
];

VOLUMES.forEach(({ before: makeVolume, more = [] }, i) => {
  const mix = [...ORDERED_MIX, ...more];
  interop(`e2fsck -p mends every power cut: volume ${i}`, { needs }, async () => {
    const seed = 100 + i, random = new Random(seed), { before, log } = await record(seed, makeVolume(), mix);
    const states = Math.ceil(STATES / VOLUMES.length), whole = states >= log.length;
    for (let k = 0; k < (whole ? log.length : states); k++) {
      const at = whole ? k : random.below(log.length), prefix = k % 2 === 0 || whole;
      const bytes = stateAt(before, log, at, prefix ? () => true : () => random.below(2) === 0);
      assertMends(bytes, `seed ${seed}, cut at ${at} of ${log.length}, ${prefix ? "prefix" : "subset"}`);
    }
    for (let k = STATES; whole && k > 0; k--) {
      const at = random.below(log.length);
      assertMends(stateAt(before, log, at, () => random.below(2) === 0), `seed ${seed}, subset at ${at}, draw ${k}`);
    }
  });
});

interop(
  "moves of directories, cut anywhere, are whole; the log for them is gone after the next opening",
  { needs },
  async () => {
    const random = new Random(8),
      { before, log } = await record(8, newVolume({ size: 6 << 20 }), [...ORDERED_MIX, ...MOVES]);
    const compatOf = (bytes: Uint8Array) => new DataView(bytes.buffer).getUint32(SUPER_OFFSET + SB.compat, true);
    const logged = [...log.keys()].filter((at) => {
      const super_ = log[at]?.offset === SUPER_OFFSET ? log[at] : null;
      return super_ && new DataView(super_.data.buffer).getUint32(SB.compat, true) & COMPAT.has_journal;
    });
    assert.ok(logged.length > 5, "directories were moved");
    for (let k = 0; k < 12; k++) {
      const at = random.pick(logged) + 1 + random.below(12);
      const memory = MemoryPort.from(stateAt(before, log, Math.min(at, log.length), () => random.below(2) === 0));
      const fs = await Ext2.open(memory, { now: testClock() }), { left } = await fs.repair();
      assert.deepEqual(left.problems, [], `cut at ${at}`);
      await fs.close();
      assert.equal(compatOf(memory.bytes()) & COMPAT.has_journal, 0);
      assertClean(memory.bytes(), `cut at ${at}, opened again`);
    }
  },
);

Deno.test("a rename over a file leaves the old or the new content under the name, wherever the power is cut", async () => {
  const before = newVolume({ size: 1 << 20 }), options = { now: testClock() };
  const setup = await Ext2.open(before, options);
  const put = async (fs: Ext2, name: string, text: string) => {
    const ino = await fs.make(fs.root, name, { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
    await fs.write(ino, new TextEncoder().encode(text), 0);
  };
  await put(setup, "index", "old");
  await setup.close();
  const port = LogPort.over(before, 1024), fs = await Ext2.open(port, options);
  await put(fs, "index.lock", "new");
  await fs.sync();
  const synced = port.log.length;
  await fs.rename({ dir: fs.root, name: "index.lock", toDir: fs.root, toName: "index" });
  await fs.close();
  for (let at = synced; at <= port.log.length; at++) {
    const disk = MemoryPort.from(stateAt(before, port.log, at, () => true));
    const after = await Ext2.open(disk, options), found = new Uint8Array(4);
    const count = await after.read(await after.lookup(after.root, "index"), found, 0);
    const text = new TextDecoder().decode(found.subarray(0, count));
    assert.ok(text === "old" || text === "new", `cut at ${at}: ${text}`);
  }
});

interop("a file that gains a name and gives way under its old one is never without a name", { needs }, async () => {
  const before = newVolume({ size: 1 << 20 }), options = { now: testClock() }, setup = await Ext2.open(before, options);
  const make = async (fs: Ext2, dir: number, name: string, mode: number) =>
    await fs.make(dir, name, { mode, uid: 0, gid: 0 });
  const [old, other] = [await make(setup, 2, "old", 0o40755), await make(setup, 2, "other", 0o40755)];
  const file = await make(setup, old, "name", S_IFREG | 0o644);
  await setup.write(file, new Uint8Array(3000), 0);
  await setup.close();
  const port = LogPort.over(before, 1024), fs = await Ext2.open(port, options);
  await make(fs, old, "new", S_IFREG | 0o644);
  await fs.link(file, other, "second");
  await fs.rename({ dir: old, name: "new", toDir: old, toName: "name" });
  await fs.close();
  for (let at = 1; at <= port.log.length; at++) {
    assertMends(stateAt(before, port.log, at, () => true), `cut at ${at} of ${port.log.length}`);
  }
});

Deno.test("what was synced is there after a power cut, whatever came later", async () => {
  const before = newVolume({ size: 2 << 20 }), port = LogPort.over(before, 1024), random = new Random(7);
  const fs = await Ext2.open(port, { now: testClock() }), kept = new TextEncoder().encode("kept");
  const synced: { at: number; name: string }[] = [];
  for (let i = 0; i < 30; i++) {
    const name = `file${i}`, ino = await fs.make(fs.root, name, { mode: S_IFREG | 0o600, uid: 0, gid: 0 });
    await fs.write(ino, kept, 0);
    await fs.sync();
    synced.push({ at: port.log.length, name });
  }
  for (let k = 0; k < 60; k++) {
    const at = random.below(port.log.length);
    const disk = MemoryPort.from(stateAt(before, port.log, at, () => random.below(2) === 0));
    const after = await Ext2.open(disk, { now: testClock() });
    for (const { name } of synced.filter((s) => s.at <= at)) {
      const found = new Uint8Array(8), count = await after.read(await after.lookup(after.root, name), found, 0);
      assert.deepEqual(found.subarray(0, count), kept, `${name}, cut at ${at}`);
    }
  }
});
