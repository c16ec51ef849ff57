/**
 * Damaged volumes: every field of the metadata, with values that hurt, and seeded random damage. Nothing may crash, hang,
 * or reach outside of the volume; whatever fails, fails with an Err. RING9_EXT2_DAMAGES says how many are tried.
 */

import assert from "node:assert/strict";
import { device, interop, program, root } from "../../tests/skip.ts";
import { Err } from "../../core/err.ts";
import { MemoryPort } from "../block_port.ts";
import { newVolume, Random, run, testClock, withImage, Workload } from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, SUPER_OFFSET } from "./layout.ts";

const DAMAGES = Number(Deno.env.get("RING9_EXT2_DAMAGES") ?? 200);
/** More calls of the disk than any of the walks below can need. */
const MAX_CALLS = 100_000;

/** A port that fails the test when it is used out of range, or without end. */
class GuardPort extends MemoryPort {
  fault = "";
  #calls = 0;

  static over(bytes: Uint8Array): GuardPort {
    const port = new GuardPort(bytes.length);
    MemoryPort.prototype.write.call(port, bytes, 0);
    return port;
  }

  override read(dst: Uint8Array, offset: number): void {
    this.#look(dst.length, offset);
    super.read(dst, offset);
  }

  override write(src: Uint8Array, offset: number): void {
    this.#look(src.length, offset);
    super.write(src, offset);
  }

  #look(length: number, offset: number): void {
    if (offset < 0 || !Number.isInteger(offset) || offset + length > this.size) {
      this.fault ||= `${length} bytes at ${offset}`;
    }
    if (++this.#calls > MAX_CALLS) {
      this.fault ||= "no end";
      throw new Error("no end");
    }
  }
}

/** Does all that can be done on a volume, whatever it holds. Answers how many operations failed. */
async function exercise(port: GuardPort, random: Random): Promise<number> {
  let failed = 0;
  const attempt = async <T>(op: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await op();
    } catch (thrown) {
      if (!(thrown instanceof Err) || (thrown.cause && !(thrown.cause instanceof Err))) throw thrown;
      failed++;
      return undefined;
    }
  };
  const fs = await attempt(() => Ext2.open(port, { now: testClock() }));
  if (!fs) return failed;
  const files: { dir: number; name: string; ino: number; isDir: boolean }[] = [], seen = new Set<number>();
  const visit = async (dir: number): Promise<void> => {
    if (seen.has(dir) || seen.size > 200) return;
    seen.add(dir);
    for (const entry of await attempt(() => fs.readdir(dir, 0, 400)) ?? []) {
      const { name, ino } = entry;
      if (name === "." || name === "..") continue;
      const stat = await attempt(() => fs.stat(ino)), type = (stat?.mode ?? 0) & S_IFMT;
      files.push({ dir, name, ino, isDir: type === S_IFDIR });
      await attempt(() => fs.lookup(dir, name));
      for (const attr of await attempt(() => fs.listxattr(ino)) ?? []) await attempt(() => fs.getxattr(ino, attr));
      const dst = new Uint8Array(5000);
      if (type === S_IFREG) {
        for (const at of [0, 100_000, Math.max(0, stat!.size - 10)]) await attempt(() => fs.read(ino, dst, at));
        await attempt(() => fs.seek(ino, 0, false));
      }
      if (type === S_IFLNK) await attempt(() => fs.readlink(ino));
      if (type === S_IFDIR) await visit(ino);
    }
  };
  await visit(fs.root);
  await attempt<unknown>(() => (random.below(2) === 0 ? fs.check() : fs.repair()));
  for (const file of files) {
    const { dir, name, ino } = file;
    switch (random.below(6)) {
      case 0:
        await attempt(() => fs.write(ino, new Uint8Array(3000), random.below(400_000)));
        break;
      case 1:
        await attempt(() => fs.setattr(ino, { size: random.below(100_000) }));
        break;
      case 2:
        await attempt(() => fs.setxattr(ino, "user.new", new Uint8Array(400)));
        break;
      case 3:
        await attempt(() => fs.rename({ dir, name, toDir: fs.root, toName: `moved${name.slice(0, 100)}` }));
        break;
      default:
        await attempt(() => (file.isDir ? fs.rmdir(dir, name) : fs.unlink(dir, name)));
    }
    await attempt(() => fs.make(dir, `new${random.below(1000)}`, { mode: S_IFDIR | 0o755, uid: 0, gid: 0 }));
  }
  await attempt(() => fs.sync());
  await attempt(() => fs.close());
  return failed;
}

/** A small volume with everything in it that ours can make. */
async function ours(): Promise<Uint8Array> {
  const port = newVolume({ size: 512 << 10 }), fs = await Ext2.open(port, { now: testClock() });
  const load = new Workload(fs, new Random(3));
  for (let i = 0; i < 60; i++) await load.step();
  const big = await fs.make(fs.root, "big", { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
  for (const at of [0, 20_000, 290_000, 70_000_000]) await fs.write(big, new Uint8Array(3000).fill(1), at);
  await fs.setxattr(big, "user.block", new Uint8Array(300));
  await fs.close();
  return port.bytes();
}

/** A small ext4 volume with extents and inline data, without checksums, or no damage would be seen by anything else. */
function ext4(inline: boolean): Uint8Array {
  const dir = Deno.makeTempDirSync();
  try {
    for (let i = 0; i < 40; i++) Deno.writeTextFileSync(`${dir}/f${i}`, "x".repeat(i * 97));
    Deno.mkdirSync(`${dir}/d`);
    Deno.writeTextFileSync(`${dir}/d/inside`, "i");
    const holes = Deno.openSync(`${dir}/holes`, { write: true, create: true });
    for (let i = 0; i < 12; i++) {
      holes.seekSync(i * 50_000, Deno.SeekMode.Start);
      holes.writeSync(new Uint8Array(1500).fill(2));
    }
    holes.close();
    return withImage(null, (path) => {
      Deno.truncateSync(path, inline ? 2 << 20 : 8 << 20);
      const features = `^metadata_csum,^has_journal,^resize_inode${inline ? ",inline_data" : ",^64bit"}`;
      const { code, text } = run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", features, "-d", dir, path);
      assert.equal(code, 0, text);
      return Deno.readFileSync(path);
    });
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
}

const BAD_WORDS = [0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 12, 65535, 500];

/** Sets one field of 1, 2 or 4 bytes at an aligned place to something that hurts. */
function hurt(bytes: Uint8Array, at: number, random: Random): string {
  const view = new DataView(bytes.buffer), old = view.getUint32(at, true);
  const word = random.pick([...BAD_WORDS, old + 1, old - 1, old ^ (1 << random.below(32)), random.below(0xffffffff)]);
  const width = random.pick([1, 2, 4]);
  if (width === 4) view.setUint32(at, word, true);
  else if (width === 2) view.setUint16(at + 2 * random.below(2), word, true);
  else view.setUint8(at + random.below(4), word);
  return `${width} bytes at ${at} := ${word}`;
}

/** Offsets of words that are not zero: where the metadata is, and some data. */
function wordsOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer), words: number[] = [];
  for (let at = SUPER_OFFSET; at < bytes.length; at += 4) if (view.getUint32(at, true) !== 0) words.push(at);
  return words;
}

async function tryOne(image: Uint8Array, what: string, random: Random): Promise<boolean> {
  const port = GuardPort.over(image);
  try {
    const failed = await exercise(port, random);
    assert.equal(port.fault, "", what);
    return failed > 0;
  } catch (cause) {
    throw new Error(what, { cause });
  }
}

Deno.test("every word of the superblock and the first descriptor, damaged: an error or a working volume", async () => {
  const image = await ours(), random = new Random(11);
  for (let at = SUPER_OFFSET; at < SUPER_OFFSET + 1024 + 32; at += 4) {
    if (at >= SUPER_OFFSET + 400 && at < SUPER_OFFSET + 1024) continue;
    const copy = image.slice(), how = hurt(copy, at, random);
    await tryOne(copy, `superblock: ${how}`, random);
  }
});

Deno.test("random damage to our own volume: nothing crashes, hangs, or writes outside", async () => {
  const image = await ours(), words = wordsOf(image);
  let noticed = 0;
  for (let seed = 0; seed < DAMAGES; seed++) {
    const random = new Random(seed), copy = image.slice(), how: string[] = [];
    for (let n = random.below(4); n >= 0; n--) how.push(hurt(copy, random.pick(words), random));
    if (await tryOne(copy, `seed ${seed}: ${how}`, random)) noticed++;
  }
  assert.ok(noticed > DAMAGES / 20, `only ${noticed} were noticed: the damage misses the metadata`);
});

for (const inline of [true, false]) {
  const name = `random damage to an ext4 volume${
    inline ? " with inline data" : ""
  }: nothing crashes, hangs, or writes outside`;
  interop(name, { needs: [program("mke2fs")] }, async () => {
    const image = ext4(inline), words = wordsOf(image);
    for (let seed = 0; seed < DAMAGES / 2; seed++) {
      const random = new Random(seed), copy = image.slice(), how: string[] = [];
      for (let n = random.below(4); n >= 0; n--) how.push(hurt(copy, random.pick(words), random));
      await tryOne(copy, `seed ${seed}: ${how}`, random);
    }
  });
}

/** A small ext3 volume whose journal was not replayed: a copy of what lies under a mount. */
function withJournal(): Uint8Array {
  return withImage(null, (path) => {
    Deno.truncateSync(path, 4 << 20);
    assert.equal(run("mke2fs", "-q", "-F", "-t", "ext3", "-b", "1024", "-J", "size=1", path).code, 0);
    const dir = Deno.makeTempDirSync();
    const work = "mkdir a; echo one > a/one; sync; rm a/one; echo two > a/two; ln a/two b; sync";
    const script =
      `mount -t ext3 -o loop ${path} ${dir} && cd ${dir} && { ${work}; cp ${path} ${path}.cut; }; cd /; umount ${dir}`;
    assert.equal(run("unshare", "-m", "--propagation", "private", "sh", "-c", script).code, 0);
    Deno.removeSync(dir);
    const bytes = Deno.readFileSync(`${path}.cut`);
    Deno.removeSync(`${path}.cut`);
    return bytes;
  });
}

const mounting = [root, device("/dev/loop-control"), program("mke2fs"), program("unshare")];
interop("random damage to a journal: nothing crashes, hangs, or reaches outside", { needs: mounting }, async () => {
  const image = withJournal(), view = new DataView(image.buffer);
  const blocks = wordsOf(image).filter((at) => at % 1024 === 0 && view.getUint32(at) === 0xc03b3998);
  assert.ok(blocks.length > 4, "the journal is in use");
  const port = GuardPort.over(image), fs = await Ext2.open(port, { now: testClock() });
  assert.ok(await fs.lookup(await fs.lookup(fs.root, "a"), "two"));
  for (let seed = 0; seed < Math.ceil(DAMAGES / 4); seed++) {
    const random = new Random(seed), copy = image.slice();
    const how = hurt(copy, random.pick(blocks) + 4 * random.below(random.pick([12, 40])), random);
    await tryOne(copy, `seed ${seed}: ${how}`, random);
  }
});

Deno.test("a directory that is its own child, and a pointer block that points to itself, are no trap", async () => {
  const image = await ours(), random = new Random(5);
  const fs = await Ext2.open(MemoryPort.from(image), { now: testClock() });
  const inodeTable = new DataView(image.buffer).getUint32(2048 + 8, true) * 1024, size = 256;
  const big = inodeTable + (Number(await fs.lookup(fs.root, "big")) - 1) * size, view = new DataView(image.buffer);
  for (const index of [12, 13, 14]) {
    const copy = image.slice(), block = view.getUint32(big + 40 + index * 4, true);
    assert.ok(block > 0);
    new DataView(copy.buffer).setUint32(block * 1024, block, true);
    for (let i = 0; i < 256; i += 3) new DataView(copy.buffer).setUint32(block * 1024 + i * 4, block, true);
    await tryOne(copy, `pointer ${index} to itself`, random);
  }
  const first = view.getUint32(inodeTable + size + 40, true) * 1024, copy = image.slice();
  const entries = new DataView(copy.buffer, first, 1024);
  for (let at = 24; at < 1024; at += entries.getUint16(at + 4, true)) entries.setUint32(at, 2, true);
  await tryOne(copy, "the root is its own child", random);
});
