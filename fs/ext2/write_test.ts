/** Writing: random workloads beside a model, judged by e2fsck and by a second reading. */

import assert from "node:assert/strict";
import { interop, program } from "../../tests/skip.ts";
import type { MemoryPort } from "../block_port.ts";
import { assertClean, assertSame, made, newVolume, Random, SlowPort, testClock, Workload } from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";

const STEPS = Number(Deno.env.get("RING9_EXT2_STEPS") ?? 400);
const needs = [program("e2fsck")];

interface Case {
  name: string;
  port: () => MemoryPort;
  slow?: boolean;
  cacheBytes?: number;
}

const CASES: Case[] = [
  { name: "1 KiB blocks", port: () => newVolume({ size: 8 << 20 }) },
  { name: "1 KiB blocks, revision 0", port: () => newVolume({ size: 8 << 20, revision: 0 }) },
  {
    name: "1 KiB blocks, 128-byte inodes, no file types",
    port: () => newVolume({ size: 8 << 20, inodeSize: 128, filetype: false }),
  },
  { name: "4 KiB blocks, many small groups", port: () => made("-b1024 -g 512 -N 600 -I 256", 6 << 20) },
  { name: "4 KiB blocks, full disk", port: () => newVolume({ size: 1 << 20, blockSize: 4096 }) },
  { name: "64 KiB blocks", port: () => newVolume({ size: 32 << 20, blockSize: 65536 }) },
  { name: "mke2fs -t ext2", port: () => made("-t ext2", 8 << 20) },
  {
    name: "mke2fs with flex_bg, meta_bg, dir_index, huge_file",
    port: () =>
      made("-b 1024 -g 1024 -O flex_bg,meta_bg,^resize_inode,dir_index,huge_file,dir_nlink,extra_isize", 8 << 20),
  },
  { name: "mke2fs -t ext3", port: () => made("-t ext3 -b 1024 -J size=1", 8 << 20) },
  { name: "mke2fs -t ext3, a disk that answers later", port: () => made("-t ext3 -b 2048", 16 << 20), slow: true },
  { name: "ext4: extents", port: () => made("-t ext4 -b 1024 -O ^has_journal,^metadata_csum,^64bit", 16 << 20) },
  {
    name: "ext4: group checksums",
    port: () => made("-t ext4 -b 1024 -g 1024 -O ^metadata_csum,uninit_bg,^64bit", 24 << 20),
  },
  { name: "ext4: checksums, no journal", port: () => made("-t ext4 -b 1024 -g 2048 -O ^has_journal", 16 << 20) },
  { name: "ext4: checksums, small", port: () => made("-t ext4 -b 2048 -I 128 -O ^has_journal", 3 << 20) },
  { name: "ext4 as mke2fs makes it", port: () => made("-t ext4", 64 << 20) },
  { name: "ext4, a disk that answers later", port: () => made("-t ext4 -b 1024 -J size=4", 24 << 20), slow: true },
  { name: "a disk that answers later", port: () => newVolume({ size: 8 << 20 }), slow: true },
  {
    name: "a disk that answers later, a tiny cache",
    port: () => newVolume({ size: 8 << 20 }),
    slow: true,
    cacheBytes: 1 << 16,
  },
];

CASES.forEach(({ name, port: makePort, slow, cacheBytes }, seed) => {
  interop(`random changes leave a clean volume that holds what the model says: ${name}`, { needs }, async () => {
    const memory = makePort(), port = slow ? new SlowPort(memory) : memory;
    const options = { now: testClock(), cacheBytes };
    const fs = await Ext2.open(port, options);
    const load = new Workload(fs, new Random(seed));
    for (let i = 0; i < STEPS; i++) {
      try {
        await load.step();
      } catch (cause) {
        throw new Error(`seed ${seed}, step ${i}`, { cause });
      }
    }
    await assertSame(fs, load.root);
    await fs.close();
    assertClean(memory.bytes(), `seed ${seed}`);
    const again = await Ext2.open(port, options);
    await assertSame(again, load.root);
    assert.equal(again.wasUnclean, false);
  });
});
