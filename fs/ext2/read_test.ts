/** Reading: volumes that mke2fs made and filled from a directory, over its options, equal that directory. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { interop, program } from "../../tests/skip.ts";
import { MemoryPort } from "../block_port.ts";
import { Random, run, SlowPort, testClock, withImage } from "./ext2_fixture.ts";
import { Ext2, type Stat } from "./fs.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "./layout.ts";

const needs = [program("mke2fs")];

/** A tree of all that a directory can hold without root: sizes over each level of indirection, holes, links, odd names. */
function fill(root: string): void {
  const random = new Random(42),
    put = (name: string, bytes: Uint8Array) => Deno.writeFileSync(`${root}/${name}`, bytes);
  for (const size of [0, 1, 59, 60, 150, 1023, 1024, 12288, 12289, 70_000, 300_000]) {
    put(`size${size}`, random.bytes(size));
  }
  Deno.mkdirSync(`${root}/dir/deep/er`, { recursive: true });
  Deno.mkdirSync(`${root}/many`);
  for (let i = 0; i < 120; i++) put(`many/${i}-${"n".repeat(i % 200)}`, Uint8Array.of(i & 255));
  put("dir/deep/er/été ☃", new TextEncoder().encode("snow"));
  put("x".repeat(255), Uint8Array.of(1));
  const holes = Deno.openSync(`${root}/holes`, { write: true, create: true });
  for (const at of [0, 40_000, 5_000_000, 80_000_000]) {
    holes.seekSync(at, Deno.SeekMode.Start);
    holes.writeSync(random.bytes(3000));
  }
  holes.close();
  Deno.symlinkSync("size1", `${root}/short`);
  Deno.symlinkSync("y".repeat(59), `${root}/sym59`);
  Deno.symlinkSync("y".repeat(60), `${root}/sym60`);
  Deno.symlinkSync("z".repeat(900), `${root}/sym900`);
  Deno.linkSync(`${root}/size70000`, `${root}/dir/again`);
  Deno.chmodSync(`${root}/size59`, 0o4751);
  Deno.utimeSync(`${root}/size60`, 1_000_000, 2_000_000_000);
}

const MATRIX: [string, number][] = [
  ["-t ext2 -b 1024 -I 128", 16],
  ["-r 0 -b 1024", 16],
  ["-t ext2 -b 2048 -I 256 -O ^resize_inode,^dir_index", 16],
  ["-t ext2 -b 4096 -I 512 -O ^filetype,^sparse_super,^large_file,^resize_inode", 16],
  ["-t ext2 -b 1024 -I 1024 -g 1024 -N 2000", 16],
  ["-t ext2 -b 1024 -O meta_bg,^resize_inode -g 512 -N 2000", 16],
  ["-t ext2 -b 4096 -O sparse_super2 -E num_backup_sb=2", 16],
  ["-t ext2 -b 8192", 32],
  ["-t ext2 -b 65536", 40],
  ["-t ext3 -b 1024", 24],
  ["-t ext4 -b 1024", 24],
  ["-t ext4 -b 4096 -O 64bit,metadata_csum,flex_bg -E lazy_itable_init=1", 32],
  ["-t ext4 -b 4096 -O ^metadata_csum,uninit_bg,huge_file,^extent,^64bit", 32],
  ["-t ext4 -b 4096 -O inline_data,metadata_csum", 32],
  ["-t ext4 -b 4096 -O bigalloc -C 16384", 32],
];

interop("volumes over mke2fs's options read as the directory that they were filled from", { needs }, async (t) => {
  const root = Deno.makeTempDirSync();
  try {
    fill(root);
    for (const [options, mib] of MATRIX) {
      await t.step(options, async () => {
        const bytes = withImage(null, (path) => {
          Deno.truncateSync(path, mib << 20);
          const { code, text } = run("mke2fs", "-q", "-F", "-d", root, ...options.split(" "), path);
          assert.equal(code, 0, text);
          return Deno.readFileSync(path);
        });
        const fs = await Ext2.open(MemoryPort.from(bytes), { now: testClock() });
        await assertEqual(fs, fs.root, root);
        assert.equal(fs.damageCount, 0);
      });
    }
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

interop("a disk that answers later reads the same, also with a cache of a few blocks", { needs }, async () => {
  const root = Deno.makeTempDirSync();
  try {
    fill(root);
    const bytes = withImage(null, (path) => {
      Deno.truncateSync(path, 24 << 20);
      assert.equal(run("mke2fs", "-q", "-F", "-d", root, "-t", "ext4", "-b", "1024", path).code, 0);
      return Deno.readFileSync(path);
    });
    const fs = await Ext2.open(new SlowPort(MemoryPort.from(bytes)), { now: testClock(), cacheBytes: 1 << 16 });
    await assertEqual(fs, fs.root, root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

async function assertEqual(fs: Ext2, ino: number, path: string): Promise<void> {
  const names: string[] = [];
  for (let cookie = 0;;) {
    const entries = await fs.readdir(ino, cookie, 64);
    if (entries.length === 0) break;
    cookie = entries.at(-1)!.next;
    names.push(...entries.map((entry) => entry.name));
  }
  const own = names.filter((name) => name !== "." && name !== ".." && name !== "lost+found").sort();
  assert.deepEqual(own, [...Deno.readDirSync(path)].map((entry) => entry.name).sort(), path);
  for (const name of own) {
    const at = await fs.lookup(ino, name), stat = await fs.stat(at), here = `${path}/${name}`;
    assertStat(stat, Deno.lstatSync(here), here);
    const type = stat.mode & S_IFMT;
    if (type === S_IFDIR) await assertEqual(fs, at, here);
    else if (type === S_IFLNK) assert.equal(await fs.readlink(at), Deno.readLinkSync(here), here);
    else if (type === S_IFREG) await assertContent(fs, at, here);
  }
}

function assertStat(stat: Stat, host: Deno.FileInfo, path: string): void {
  assert.equal(stat.mode, host.mode, `mode of ${path}`);
  assert.equal(stat.uid, host.uid, `owner of ${path}`);
  if (!host.isDirectory) assert.equal(stat.size, host.size, `size of ${path}`);
  if (host.isFile) assert.equal(stat.links, host.nlink, `links of ${path}`);
  if (host.isFile) {
    assert.equal(stat.mtime, Math.floor(host.mtime!.getTime() / 1000), `mtime of ${path}`);
  }
}

async function assertContent(fs: Ext2, ino: number, path: string): Promise<void> {
  const file = Deno.openSync(path), size = file.statSync().size;
  const ours = new Uint8Array(1 << 20), theirs = new Uint8Array(1 << 20);
  for (let at = 0; at < size;) {
    const data = await fs.seek(ino, at, true);
    const from = data < 0 ? size : Math.max(at, data - 5000);
    if (from >= size) break;
    const count = await fs.read(ino, ours, from);
    file.seekSync(from, Deno.SeekMode.Start);
    let got = 0;
    while (got < count) got += file.readSync(theirs.subarray(got, count))!;
    const same = Buffer.compare(ours.subarray(0, count), theirs.subarray(0, count)) === 0;
    assert.ok(count > 0 && same, `content of ${path} at ${from}`);
    at = from + count;
  }
  file.close();
}
