/** Ext2 as its callers see it: names, flags, full disks, files without names, failing disks, features. */

import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { MemoryPort } from "../block_port.ts";
import { assertClean, newVolume, Random, run, saveSparse, SlowPort, testClock, withImage } from "./ext2_fixture.ts";
import { interop, program } from "../../tests/skip.ts";
import { Ext2 } from "./fs.ts";
import { COMPAT, FL_APPEND, FL_IMMUTABLE, INCOMPAT, RO_COMPAT, S_IFDIR, S_IFREG, SB, SUPER_OFFSET } from "./layout.ts";
import { mkfs } from "./mkfs.ts";

const FILE = { mode: S_IFREG | 0o644, uid: 0, gid: 0 }, DIR = { mode: S_IFDIR | 0o755, uid: 0, gid: 0 };
const e2fsck = { needs: [program("e2fsck")] };

/** On a port that answers at once, so does everything else: the tests need not await. */
function open(port: MemoryPort): Ext2 {
  const fs = Ext2.open(port, { now: testClock() });
  assert.ok(fs instanceof Ext2, "a port that answers at once is not made to wait");
  return fs;
}

const code = (expected: string) => (thrown: unknown) => thrown instanceof Err && thrown.code === expected;

Deno.test("names of 255 bytes are kept, longer or impossible ones refused", () => {
  const fs = open(newVolume({ size: 1 << 20 }));
  const longest = "é".repeat(127) + "x";
  assert.equal(fs.lookup(fs.root, (fs.make(fs.root, longest, FILE), longest)) as number > 0, true);
  assert.throws(() => fs.make(fs.root, "é".repeat(128), FILE), code("ENAMETOOLONG"));
  for (const name of ["", "a/b", "a\0b"]) assert.throws(() => fs.make(fs.root, name, FILE), code("EINVAL"));
  for (const name of [".", "..", longest]) assert.throws(() => fs.make(fs.root, name, FILE), code("EEXIST"));
  assert.throws(() => fs.lookup(fs.root, "nothing"), code("ENOENT"));
});

Deno.test("immutable and append-only files refuse what chattr(1) says that they refuse", () => {
  const fs = open(newVolume({ size: 1 << 20 })), ino = fs.make(fs.root, "file", FILE) as number;
  fs.write(ino, Uint8Array.of(1, 2, 3), 0);
  fs.setattr(ino, { flags: FL_APPEND });
  assert.throws(() => fs.write(ino, Uint8Array.of(9), 0), code("EPERM"));
  assert.equal(fs.write(ino, Uint8Array.of(4), 3), 1);
  assert.throws(() => fs.setattr(ino, { size: 0 }), code("EPERM"));
  fs.setattr(ino, { flags: FL_IMMUTABLE });
  assert.throws(() => fs.write(ino, Uint8Array.of(5), 4), code("EPERM"));
  assert.throws(() => fs.setattr(ino, { mode: 0 }), code("EPERM"));
  assert.throws(() => fs.unlink(fs.root, "file"), code("EPERM"));
  assert.throws(() => fs.link(ino, fs.root, "other"), code("EPERM"));
  assert.throws(() => fs.rename({ dir: fs.root, name: "file", toDir: fs.root, toName: "b" }), code("EPERM"));
  fs.setattr(ino, { flags: 0 });
  fs.unlink(fs.root, "file");
});

interop("a file without a name lives until it is released, and leaves a clean volume", e2fsck, () => {
  const port = newVolume({ size: 1 << 20 }), fs = open(port), before = fs.statfs();
  const ino = fs.make(fs.root, "gone", FILE) as number, data = new Uint8Array(300_000).fill(7);
  fs.write(ino, data, 0);
  fs.hold(ino);
  fs.unlink(fs.root, "gone");
  fs.sync();
  const back = new Uint8Array(300_000);
  assert.equal(fs.read(ino, back, 0), 300_000);
  assert.deepEqual(back, data);
  assert.equal((fs.stat(ino) as { links: number }).links, 0);
  assert.throws(() => fs.link(ino, fs.root, "again"), code("ENOENT"));
  fs.release(ino);
  assert.deepEqual(fs.statfs(), before);
  fs.close();
  assertClean(port.bytes(), "after the release");
});

interop("an empty file without a name is given back, too, also when a commit came between", e2fsck, () => {
  const port = newVolume({ size: 1 << 20 }), fs = open(port), before = fs.statfs();
  for (const synced of [false, true]) {
    const ino = fs.make(fs.root, "gone", FILE) as number;
    if (synced) fs.sync();
    fs.hold(ino);
    fs.unlink(fs.root, "gone");
    if (synced) fs.sync();
    fs.release(ino);
    assert.deepEqual(fs.statfs(), before);
  }
  fs.close();
  assertClean(port.bytes(), "after both");
});

interop("operations that overlap on a slow disk are each whole, and the volume clean", e2fsck, async () => {
  const memory = newVolume({ size: 4 << 20 }), port = new SlowPort(memory), random = new Random(4);
  const fs = await Ext2.open(port, { now: testClock(), cacheBytes: 1 << 17 });
  const dirs = await Promise.all([0, 1, 2, 3].map((i) => fs.make(fs.root, `dir${i}`, DIR)));
  const one = async (i: number) => {
    const dir = dirs[random.below(4)], to = dirs[random.below(4)], bytes = new Uint8Array(5000).fill(i);
    const ino = await fs.make(dir, `f${i}`, FILE);
    for (let at = 0; at < 20_000; at += 5000) await fs.write(ino, bytes, at);
    if (i % 3 === 0) await fs.rename({ dir, name: `f${i}`, toDir: to, toName: `g${i}` });
    if (i % 5 === 0) await fs.sync();
    const got = new Uint8Array(20_000);
    assert.equal(await fs.read(ino, got, 0), 20_000);
    assert.ok(got.every((b) => b === (i & 255)));
    if (i % 2 === 0) await fs.unlink(i % 3 === 0 ? to : dir, i % 3 === 0 ? `g${i}` : `f${i}`);
  };
  await Promise.all(Array.from({ length: 120 }, (_, i) => one(i)));
  assert.deepEqual((await fs.check()).problems, []);
  await fs.close();
  assertClean(memory.bytes(), "after all");
});

interop("the orphans that another driver left are given back when a volume is opened", e2fsck, () => {
  const port = newVolume({ size: 1 << 20 }), fs = open(port), before = fs.statfs();
  const ino = fs.make(fs.root, "gone", FILE) as number;
  fs.write(ino, new Uint8Array(50_000), 0);
  fs.hold(ino);
  fs.unlink(fs.root, "gone");
  fs.sync();
  const bytes = port.bytes(), view = new DataView(bytes.buffer);
  view.setUint32(SUPER_OFFSET + SB.lastOrphan, ino, true);
  const table = view.getUint32(2048 + 8, true) * 1024 + (ino - 1) * 256;
  view.setUint32(table + 20, 0, true);
  view.setUint16(SUPER_OFFSET + SB.state, 1, true);
  const disk = MemoryPort.from(bytes), again = open(disk);
  assert.deepEqual(again.statfs(), before);
  again.close();
  assertClean(disk.bytes(), "after the orphans");
});

interop("a full disk refuses, keeps what was there, and is empty again after a removal", e2fsck, () => {
  const port = newVolume({ size: 1 << 20, reservedPercent: 10 }), fs = open(port), before = fs.statfs();
  const ino = fs.make(fs.root, "big", FILE) as number, piece = new Uint8Array(10_000).fill(1);
  let size = 0;
  const fillAs = (uid: number) => {
    for (;;) {
      try {
        size += fs.write(ino, piece, size, uid) as number;
      } catch (thrown) {
        return assert.ok(code("ENOSPC")(thrown));
      }
    }
  };
  fillAs(1000);
  assert.equal(fs.statfs().availableBlocks, 0);
  assert.ok(fs.statfs().freeBlocks > 80, "the reserve is left");
  fillAs(0);
  assert.equal(fs.statfs().freeBlocks, 0);
  assert.equal((fs.stat(ino) as { size: number }).size, size);
  fs.sync();
  fs.unlink(fs.root, "big");
  const other = fs.make(fs.root, "other", FILE) as number;
  assert.equal(fs.write(other, piece, 0), piece.length, "what was freed can be used after a commit of its own");
  fs.unlink(fs.root, "other");
  assert.deepEqual(fs.statfs(), before);
  fs.close();
  assertClean(port.bytes(), "after all");
});

interop("20,000 names in a directory: found, listed, removed; the index stays within its bound", e2fsck, () => {
  const port = new MemoryPort(64 << 20);
  mkfs(port, { uuid: new Uint8Array(16), now: 0, blockSize: 1024, bytesPerInode: 2048, zeroed: true });
  for (const indexNames of [1_000_000, 3000]) {
    const fs = Ext2.open(port, { now: testClock(), indexNames }) as Ext2, dir = fs.make(fs.root, "dir", DIR) as number;
    const count = indexNames > 3000 ? 20_000 : 1500;
    for (let i = 0; i < count; i++) fs.make(dir, `file number ${i}`, FILE);
    for (let i = 0; i < count; i += 997) assert.ok(fs.lookup(dir, `file number ${i}`));
    const names = new Set<string>();
    for (let cookie = 0;;) {
      const entries = fs.readdir(dir, cookie, 700) as { name: string; next: number }[];
      if (entries.length === 0) break;
      for (const { name } of entries) assert.ok(!names.has(name), "listed once"), names.add(name);
      cookie = entries.at(-1)!.next;
    }
    assert.equal(names.size, count + 2);
    for (let i = 0; i < count; i++) fs.unlink(dir, `file number ${i}`);
    fs.rmdir(fs.root, "dir");
    fs.close();
  }
  assertClean(port.bytes(), "after the removal");
});

interop("a volume of many groups: directories spread over them, files lie in one piece near theirs", e2fsck, () => {
  const size = 3 * 2 ** 30, port = new MemoryPort(size);
  mkfs(port, { uuid: new Uint8Array(16), now: 0, size, zeroed: true, bytesPerInode: 65536 });
  const fs = open(port),
    groups = new Set<number>(),
    perGroup = 32768 * 4096 / 65536,
    piece = new Uint8Array(1 << 20).fill(1);
  for (let d = 0; d < 20; d++) {
    const dir = fs.make(fs.root, `dir${d}`, DIR) as number, file = fs.make(dir, "file", FILE) as number;
    const group = Math.floor((dir - 1) / perGroup);
    groups.add(group);
    assert.equal(Math.floor((file - 1) / perGroup), group, "a file's inode is in the group of its directory");
    for (let at = 0; at < (d === 0 ? 40 << 20 : 1 << 20); at += piece.length) fs.write(file, piece, at);
  }
  assert.ok(groups.size > 10, `only ${groups.size} groups are used`);
  fs.close();
  withImage(null, (path) => {
    saveSparse(port, path);
    const { code, text } = run("e2fsck", "-fn", path);
    assert.equal(code, 0, text);
    assert.match(text, /\(0\.0% non-contiguous\)/);
  });
});

Deno.test("a listing goes on rightly when entries come and go between its parts", () => {
  const fs = open(newVolume({ size: 4 << 20 })), dir = fs.make(fs.root, "dir", DIR) as number, random = new Random(9);
  const stay = new Set<string>();
  for (let i = 0; i < 300; i++) {
    fs.make(dir, `name${i}`, FILE);
    if (i % 3 === 0) stay.add(`name${i}`);
  }
  const seen: string[] = [];
  for (let cookie = 0, i = 0;; i++) {
    const entries = fs.readdir(dir, cookie, 7) as { name: string; next: number }[];
    if (entries.length === 0) break;
    seen.push(...entries.map((entry) => entry.name));
    cookie = entries.at(-1)!.next;
    const victim = `name${random.below(300)}`;
    if (!stay.has(victim)) {
      try {
        fs.unlink(dir, victim);
      } catch (thrown) {
        assert.ok(code("ENOENT")(thrown));
      }
    }
    fs.make(dir, `new${i}`, FILE);
  }
  const kept = seen.filter((name) => stay.has(name));
  assert.deepEqual(kept.sort(), [...stay].sort(), "each entry that stayed was listed exactly once");
});

Deno.test("times to the nanosecond, before 1970 and after 2038, as far as the inode's size allows", () => {
  for (const [inodeSize, sec, nsec] of [[256, 15_000_000_000, 123_456_789], [128, 0x7fffffff, 0]]) {
    const fs = open(newVolume({ size: 1 << 20, inodeSize })), ino = fs.make(fs.root, "file", FILE) as number;
    fs.setattr(ino, {
      mtime: { sec: inodeSize === 256 ? sec : 15_000_000_000, nsec: 123_456_789 },
      atime: { sec: -5, nsec: 0 },
    });
    const stat = fs.stat(ino) as { mtime: number; mtimeNsec: number; atime: number };
    assert.deepEqual([stat.mtime, stat.mtimeNsec, stat.atime], [sec, nsec, -5]);
  }
});

/** A volume with bits set in a feature word. */
function withFeature(at: number, bits: number): MemoryPort {
  const bytes = newVolume({ size: 1 << 20 }).bytes(), view = new DataView(bytes.buffer);
  view.setUint32(SUPER_OFFSET + at, view.getUint32(SUPER_OFFSET + at, true) | bits, true);
  return MemoryPort.from(bytes);
}

Deno.test("an unknown incompatible feature is refused, an unknown read-only one makes read-only, with its name", () => {
  assert.throws(() => open(withFeature(SB.incompat, INCOMPAT.encrypt)), /encrypt/);
  assert.throws(() => open(withFeature(SB.incompat, 0x40000000)), /incompat_30/);
  for (const [bits, name] of [[RO_COMPAT.verity, /verity/], [0x20000000, /ro_compat_29/]] as const) {
    const fs = open(withFeature(SB.roCompat, bits));
    assert.match(fs.whyReadOnly!, name);
    assert.throws(() => fs.make(fs.root, "x", FILE), code("EROFS"));
  }
  assert.match(open(withFeature(SB.compat, COMPAT.has_journal)).whyReadOnly!, /has_journal/);
  assert.equal(open(withFeature(SB.compat, 0x8000)).whyReadOnly, null);
});

/** A port that fails at some calls. */
class FailingPort extends MemoryPort {
  failReads = false;
  failWrites = false;
  static over(port: MemoryPort): FailingPort {
    const failing = new FailingPort(port.size);
    failing.write(port.bytes(), 0);
    return failing;
  }
  override read(dst: Uint8Array, offset: number): void {
    if (this.failReads) throw new Err("EIO", "the disk does not answer");
    super.read(dst, offset);
  }
  override write(src: Uint8Array, offset: number): void {
    if (this.failWrites) throw new Err("EIO", "the disk does not answer");
    super.write(src, offset);
  }
}

Deno.test("a read that fails is an EIO that changes nothing; a commit that fails stops all writing", () => {
  const port = FailingPort.over(newVolume({ size: 1 << 20 })), fs = open(port);
  const ino = fs.make(fs.root, "file", FILE) as number;
  fs.write(ino, new Uint8Array(20_000).fill(1), 0);
  fs.sync();
  const later = open(port);
  port.failReads = true;
  assert.throws(() => later.make(later.root, "other", FILE), code("EIO"));
  assert.equal(later.whyReadOnly, null);
  port.failReads = false;
  later.make(later.root, "other", FILE);
  port.failWrites = true;
  assert.throws(() => later.sync(), code("EIO"));
  assert.match(later.whyReadOnly!, /does not answer/);
  assert.throws(() => later.make(later.root, "third", FILE), code("EROFS"));
  port.failWrites = false;
  assert.throws(() => later.sync(), code("EIO"), "half a commit is not gone on with");
  assert.ok(later.lookup(later.root, "other"), "reading goes on");
});

Deno.test("on a slow disk that fails, every waiting operation gets the EIO, and goes through once the disk is back", async () => {
  const disk = FailingPort.over(newVolume({ size: 1 << 20 })),
    fs = await Ext2.open(new SlowPort(disk), { now: testClock() });
  disk.failReads = true;
  const tries = [fs.make(fs.root, "a", FILE), fs.make(fs.root, "b", FILE), fs.lookup(fs.root, "c")];
  for (const result of await Promise.allSettled(tries)) {
    assert.ok(result.status === "rejected" && code("EIO")(result.reason));
  }
  disk.failReads = false;
  const ino = await fs.make(fs.root, "a", FILE);
  assert.equal(await fs.lookup(fs.root, "a"), ino);
  disk.failWrites = true;
  await assert.rejects(async () => await fs.sync(), code("EIO"));
  assert.match(fs.whyReadOnly!, /does not answer/);
  await assert.rejects(async () => await fs.make(fs.root, "b", FILE), code("EROFS"));
});

Deno.test("errors=remount-ro: damage that is met stops all writing, and the volume says so", () => {
  const bytes = newVolume({ size: 1 << 20 }).bytes(), view = new DataView(bytes.buffer);
  view.setUint16(SUPER_OFFSET + SB.errors, 2, true);
  const port = MemoryPort.from(bytes), fs = open(port);
  const ino = fs.make(fs.root, "file", FILE) as number;
  fs.write(ino, new Uint8Array(3000), 0);
  fs.close();
  const hurt = port.bytes(), table = view.getUint32(2048 + 8, true) * 1024;
  new DataView(hurt.buffer).setUint32(table + (ino - 1) * 256 + 40, 3, true);
  const again = open(MemoryPort.from(hurt));
  assert.throws(() => again.read(ino, new Uint8Array(10), 0), code("EIO"));
  assert.equal(again.damageCount, 1);
  assert.throws(() => again.make(again.root, "x", FILE), code("EROFS"));
});

Deno.test("what lies behind a file's end on the disk is zeros when the file grows over it", async () => {
  for (const slow of [false, true]) {
    for (const grow of ["write", "truncate", "shrink"]) {
      const memory = newVolume({ size: 1 << 20, blockSize: 4096 }), setup = open(memory);
      const ino = setup.make(setup.root, "file", FILE) as number;
      setup.write(ino, new Uint8Array(100).fill(0xa5), 0);
      setup.close();
      const bytes = memory.bytes(), at = bytes.findIndex((_, i) => bytes.subarray(i, i + 100).every((b) => b === 0xa5));
      assert.equal(at % 4096, 0);
      memory.write(new Uint8Array(1000).fill(9), at + 100); // an append whose inode did not reach the disk
      const fs = await Ext2.open(slow ? new SlowPort(memory) : memory, { now: testClock() });
      if (grow === "shrink") await fs.setattr(ino, { size: 50 });
      if (grow === "write") await fs.write(ino, Uint8Array.of(2), 2000);
      else await fs.setattr(ino, { size: 2001 });
      const found = new Uint8Array(3000), kept = grow === "shrink" ? 50 : 100;
      assert.equal(await fs.read(ino, found, 0), 2001);
      assert.deepEqual(found.subarray(0, kept), new Uint8Array(kept).fill(0xa5));
      assert.deepEqual(found.subarray(kept, 2000), new Uint8Array(2000 - kept), `${grow}, slow ${slow}`);
    }
  }
});

Deno.test("the same options make the same volume, byte for byte", () => {
  const options = { size: 3 << 20, blockSize: 2048, label: "same" };
  assert.deepEqual(newVolume(options).bytes(), newVolume(options).bytes());
  assert.equal(open(newVolume(options)).label, "same");
});

interop("new volumes of all kinds are clean", e2fsck, () => {
  const kinds = [{ size: 64 << 10 }, { size: 9 << 20, inodeSize: 128, sparseSuper: false }, {
    size: (8 << 20) + 12_345,
  }];
  for (const blockSize of [2048, 4096, 8192, 65536]) kinds.push({ size: 20 << 20, blockSize } as typeof kinds[0]);
  for (const options of kinds) assertClean(newVolume(options).bytes(), JSON.stringify(options));
  assert.throws(() => newVolume({ size: 20 << 10 }), code("ENOSPC"));
  assert.throws(() => newVolume({ size: 1 << 20, blockSize: 3000 }), code("EINVAL"));
});

Deno.test("files over 2 GiB, with holes, to the last block that pointers reach", () => {
  const fs = open(newVolume({ size: 1 << 20 })), ino = fs.make(fs.root, "far", FILE) as number;
  const last = (12 + 256 + 256 ** 2 + 256 ** 3) * 1024;
  assert.equal(fs.write(ino, Uint8Array.of(1, 2), last - 2), 2);
  assert.throws(() => fs.write(ino, Uint8Array.of(1), last), code("EFBIG"));
  const got = new Uint8Array(4);
  assert.equal(fs.read(ino, got, last - 4), 4);
  assert.deepEqual([...got], [0, 0, 1, 2]);
  assert.equal(fs.seek(ino, 5000, true), last - 1024);
  fs.setattr(ino, { size: 10 });
  assert.equal((fs.stat(ino) as { blocks: number }).blocks, 0);
});
