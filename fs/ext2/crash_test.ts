/**
 * Power cuts: every prefix of the log of writes, and every subset of what was not flushed, is a state that `e2fsck -p`
 * mends without asking. RING9_EXT2_CRASHES says how many states are tried.
 */

import assert from "node:assert/strict";
import { interop, program } from "../../tests/skip.ts";
import { MemoryPort } from "../block_port.ts";
import {
  type Logged,
  LogPort,
  newVolume,
  ORDERED_MIX,
  Random,
  run,
  testClock,
  withImage,
  Workload,
} from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { S_IFREG } from "./layout.ts";
import type { MkfsOptions } from "./mkfs.ts";

const STATES = Number(Deno.env.get("RING9_EXT2_CRASHES") ?? 60);
const needs = [program("e2fsck")];

/** Runs a workload, and answers the volume before it and the log of what it wrote. */
async function record(seed: number, options: Partial<MkfsOptions> & { size: number }, mix: readonly string[]) {
  const before = newVolume(options), port = LogPort.over(before, options.blockSize ?? 1024);
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

const VOLUMES = [{ size: 2 << 20 }, { size: 4 << 20, blockSize: 4096 }, {
  size: 2 << 20,
  inodeSize: 128,
  filetype: false,
}];

VOLUMES.forEach((options, i) => {
  const mix = i === 1 ? [...ORDERED_MIX, "unlink", "rmdir", "rmdir", "rename"] : ORDERED_MIX;
  interop(`e2fsck -p mends every power cut: volume ${i}`, { needs }, async () => {
    const seed = 100 + i, random = new Random(seed), { before, log } = await record(seed, options, mix);
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
