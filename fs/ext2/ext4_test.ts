/** Writing ext4: extent trees of every shape, reserved runs, hash trees, journals, beside a model and judged by e2fsck. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { interop, program } from "../../tests/skip.ts";
import { MemoryPort } from "../block_port.ts";
import { assertClean, made, Random, run, testClock, withImage } from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { S_IFDIR, S_IFREG, SB, SUPER_OFFSET } from "./layout.ts";

const FILE = { mode: S_IFREG | 0o644, uid: 0, gid: 0 }, DIR = { mode: S_IFDIR | 0o755, uid: 0, gid: 0 };
const needs = [program("e2fsck"), program("mke2fs"), program("debugfs")];

function open(port: MemoryPort): Ext2 {
  const fs = Ext2.open(port, { now: testClock() });
  assert.ok(fs instanceof Ext2);
  assert.equal(fs.whyReadOnly, null);
  return fs;
}

/** The volume after a program has changed it. */
function changedBy(port: MemoryPort, ...command: string[]): MemoryPort {
  return withImage(port.bytes(), (path) => {
    const [name, ...args] = command, { code, text } = run(name, ...args, path);
    assert.ok(code < 2, text);
    return MemoryPort.from(Deno.readFileSync(path));
  });
}

function assertHolds(fs: Ext2, ino: number, model: Uint8Array, what: string): void {
  const found = new Uint8Array(model.length + 1), count = fs.read(ino, found, 0) as number;
  assert.equal(count, model.length, `${what}: length`);
  assert.equal(Buffer.compare(found.subarray(0, count), model), 0, `${what}: content`);
}

for (const [seed, options] of ["-O ^has_journal", "-O ^has_journal,^metadata_csum", "-J size=4"].entries()) {
  interop(`extent trees grow, split, are cut and filled as a model says: ${options}`, { needs }, () => {
    const port = made(`-t ext4 -b 1024 ${options}`, 24 << 20), random = new Random(seed);
    let fs = open(port);
    const ino = fs.make(fs.root, "file", FILE) as number;
    let model = new Uint8Array(6000 * 1024);
    const write = (at: number, bytes: Uint8Array) => {
      fs.write(ino, bytes, at);
      model.set(bytes, at);
    };
    fs.setattr(ino, { size: model.length });
    for (let i = 0; i < 2500; i++) write(random.below(2990) * 2048, new Uint8Array(1024).fill(1 + (i % 255)));
    assertHolds(fs, ino, model, "scattered");
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 60; i++) {
        const length = 1 + random.below(9000), at = random.below(Math.max(1, model.length - length));
        if (at + length <= model.length) write(at, new Uint8Array(length).fill(round + 1));
      }
      const size = random.below(6000 * 1024), next = new Uint8Array(size);
      next.set(model.subarray(0, size));
      fs.setattr(ino, { size });
      model = next;
      if (round % 4 === 3) {
        fs.close();
        assertClean(port.bytes(), `seed ${seed}, round ${round}`);
        fs = open(port);
      }
      assertHolds(fs, ino, model, `seed ${seed}, round ${round}`);
    }
    fs.unlink(fs.root, "file");
    fs.close();
    assertClean(port.bytes(), `seed ${seed}, removed`);
  });
}

interop("runs that were reserved are zeros until they are written, wherever that begins", { needs }, () => {
  const port = made("-t ext4 -b 1024 -O ^has_journal", 16 << 20), first = open(port), random = new Random(5);
  first.setattr(first.make(first.root, "file", FILE) as number, { size: 2000 * 1024 });
  first.close();
  const reserved = changedBy(port, "debugfs", "-w", "-R", "fallocate /file 10 1500");
  const fs = open(reserved), ino = fs.lookup(fs.root, "file") as number, model = new Uint8Array(2000 * 1024);
  assert.ok((fs.stat(ino) as { blocks: number }).blocks > 2900, "debugfs has reserved");
  for (let i = 0; i < 150; i++) {
    const bytes = new Uint8Array(1 + random.below(5000)).fill(1 + i), at = random.below(1_900_000);
    fs.write(ino, bytes, at);
    model.set(bytes, at);
  }
  assertHolds(fs, ino, model, "written");
  fs.close();
  assertClean(reserved.bytes(), "written");
});

for (const options of ["-O ^has_journal", "-O ^has_journal,^metadata_csum,^extent,^64bit"]) {
  interop(`directories with a hash tree take names, lose them and move: ${options}`, { needs }, () => {
    const port = made(`-t ext4 -b 1024 -N 6000 ${options}`, 24 << 20), first = open(port);
    const dir = first.make(first.root, "dir", DIR) as number, to = first.make(first.root, "to", DIR) as number;
    for (let i = 0; i < 4000; i++) first.make(dir, `a rather long name for file ${i}`, FILE);
    first.close();
    const indexed = changedBy(port, "e2fsck", "-fyD");
    assert.match(
      withImage(indexed.bytes(), (path) => run("debugfs", "-R", "htree_dump /dir", path)).text,
      /Indirect levels: 1/,
    );
    const removing = open(indexed);
    for (let i = 0; i < 4000; i += 3) removing.unlink(dir, `a rather long name for file ${i}`);
    removing.close();
    assertClean(indexed.bytes(), "names removed");
    const fs = open(indexed);
    fs.rename({ dir: fs.root, name: "dir", toDir: to, toName: "moved" });
    assert.equal(fs.lookup(dir, ".."), to);
    for (let i = 0; i < 4000; i += 3) fs.make(dir, `another file ${i}`, FILE);
    fs.close();
    assertClean(indexed.bytes(), "moved, names added");
    const again = open(indexed);
    assert.ok(again.lookup(dir, "another file 3999") && again.lookup(dir, "a rather long name for file 1"));
  });
}

interop("files over 2 GiB, and at the end of what extents reach", { needs }, () => {
  const port = made("-t ext4 -b 4096 -O ^has_journal", 64 << 20), fs = open(port);
  const ino = fs.make(fs.root, "far", FILE) as number, at = (2 ** 32 - 2) * 4096;
  fs.write(ino, new Uint8Array(4096).fill(3), at);
  fs.write(ino, new Uint8Array(4096).fill(4), 3 * 2 ** 30);
  assert.throws(() => fs.write(ino, new Uint8Array(1), at + 4096), { code: "EFBIG" });
  const found = new Uint8Array(2);
  assert.equal(fs.read(ino, found, at + 4094), 2);
  assert.deepEqual([...found], [3, 3]);
  assert.equal(fs.seek(ino, 0, true), 3 * 2 ** 30);
  fs.close();
  assertClean(port.bytes(), "far");
});

interop("a journal that is in use is recovered on the disk before anything is written", { needs }, () => {
  const port = made("-t ext4 -b 1024 -J size=4", 24 << 20), first = open(port);
  first.make(first.root, "before", FILE);
  first.sync();
  const bytes = port.bytes(), view = new DataView(bytes.buffer);
  assert.ok(view.getUint32(SUPER_OFFSET + SB.incompat, true) & 4, "the volume says that it is in use");
  const disk = MemoryPort.from(bytes), fs = open(disk);
  assert.ok(fs.wasUnclean);
  assert.ok(fs.lookup(fs.root, "before"));
  fs.make(fs.root, "after", FILE);
  fs.close();
  const mended = changedBy(disk, "e2fsck", "-fp");
  assertClean(mended.bytes(), "after recovery");
});
