/** A new volume with a tree on it: the same bytes each time, whole or not there, wherever its making is cut off. */

import assert from "node:assert/strict";
import { interop, program } from "../../tests/skip.ts";
import { type ArchiveEntry, newEntry } from "../archive.ts";
import { MemoryPort } from "../block_port.ts";
import { assertClean, LogPort, Random } from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { HEAD_BYTES } from "./layout.ts";
import { makeVolume, needsOf } from "./make.ts";
import { packExt2 } from "./pack.ts";

const SIZE = 2 << 20, OPTIONS = { uuid: new Uint8Array(16).fill(3), now: 1_600_000_000_000 };

/** A tree with files of some blocks, in directories. */
async function* someTree(files = 40): AsyncGenerator<ArchiveEntry> {
  yield { ...newEntry("", "dir"), mode: 0o755 };
  for (let i = 0; i < files; i++) {
    if (i % 10 === 0) yield { ...newEntry(`d${i}`, "dir"), mode: 0o750, mtime: { sec: 1e9 + i, nsec: 5 } };
    const data = new TextEncoder().encode(`file ${i} `.repeat(i * 20)), name = `d${i - (i % 10)}/f${i}`;
    yield {
      ...newEntry(name, "file"),
      mode: 0o644,
      size: data.length,
      data: row([data]),
      mtime: { sec: 1e9, nsec: i },
    };
  }
  yield { ...newEntry("d0/link", "link"), target: "d0/f3" };
  yield { ...newEntry("symlink", "symlink"), mode: 0o777, target: "d0/f4" };
}

async function* row<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}

async function make(port: MemoryPort, { zeroed = true, files = 40 } = {}): Promise<void> {
  await makeVolume(port, { tree: someTree(files), needs: await needsOf(someTree(files)) }, { ...OPTIONS, zeroed });
}

/** All that a volume has, as text. */
async function contentOf(port: MemoryPort): Promise<string[]> {
  const lines: string[] = [];
  for await (const { path, kind, mode, mtime, target, data } of packExt2(await Ext2.open(port, { now: () => 0 }))) {
    let text = "";
    if (data) { for await (const piece of data) text += new TextDecoder().decode(piece); }
    lines.push([path, kind, mode, mtime.sec, mtime.nsec, target, text].join(" "));
  }
  return lines;
}

function isBlank(port: MemoryPort): boolean {
  const head = new Uint8Array(HEAD_BYTES);
  port.read(head, 0);
  return head.every((byte) => byte === 0);
}

interop("the same tree makes the same bytes, and e2fsck finds nothing", { needs: [program("e2fsck")] }, async () => {
  const [one, two] = [new MemoryPort(SIZE), new MemoryPort(SIZE)];
  await make(one);
  await make(two);
  assert.deepEqual(one.bytes(), two.bytes());
  assertClean(one.bytes(), "a volume with a tree");
  const content = await contentOf(one);
  assert.equal(content.length, 1 + 4 + 40 + 2);
  assert.ok(content.includes(`d0/f2 file ${0o644} 1000000000 2  ${"file 2 ".repeat(40)}`), content[3]);
  assert.ok(content.includes(`d10 dir ${0o750} 1000000010 5  `));
});

interop(
  "cut off after any write the disk is blank, and a volume made there again is whole",
  { needs: [program("e2fsck")] },
  async () => {
    const whole = new LogPort(SIZE), random = new Random(5);
    await make(whole);
    const content = await contentOf(whole), { log } = whole;
    const flush = log.findLastIndex((write, i) => write === null && i < log.lastIndexOf(null));
    assert.ok(flush > 100, `${log.length} writes`);
    const again = new Set([flush, ...Array.from({ length: 6 }, () => random.below(flush))]);
    const port = new MemoryPort(SIZE);
    for (const [i, write] of log.entries()) {
      if (write) port.write(write.data, write.offset);
      if (i <= flush) assert.ok(isBlank(port), `after write ${i} of ${log.length}`);
      if (!again.has(i)) continue;
      const left = MemoryPort.from(port.bytes());
      await make(left, { zeroed: false });
      assertClean(left.bytes(), `made again after write ${i}`);
      assert.deepEqual(await contentOf(left), content, `made again after write ${i}`);
    }
    assert.deepEqual(port.bytes(), whole.bytes());
  },
);

Deno.test("a tree that does not fit is ENOSPC, one with many small files gets an inode for each", async () => {
  const small = new MemoryPort(64 << 10);
  await assert.rejects(make(small), { code: "ENOSPC" });
  assert.ok(isBlank(small));
  const many = new MemoryPort(4 << 20), files = 1500;
  async function* tree(): AsyncGenerator<ArchiveEntry> {
    yield { ...newEntry("", "dir"), mode: 0o755 };
    for (let i = 0; i < files; i++) yield newEntry(`${i}`, "file");
  }
  await makeVolume(many, { tree: tree(), needs: await needsOf(tree()) }, { ...OPTIONS, zeroed: true });
  assert.equal((await contentOf(many)).length, 1 + files);
});
