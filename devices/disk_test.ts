import assert from "node:assert/strict";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Clock } from "../core/clock.ts";
import { QueueTable } from "../core/queues.ts";
import { ffi, interop, program, root } from "../tests/skip.ts";
import { BlkFault } from "./blkfault.ts";
import { BlkFile } from "./blkfile.ts";
import { BlkRam } from "./blkram.ts";
import { type Disk, DiskPart } from "./disk.ts";
import { DiskBytes } from "./disk_bytes.ts";
import { ownDisk } from "./disk_queue.ts";
import { readPartitions } from "./partition.ts";

const clock: Clock = { now: () => 0, monotonic: () => 0, after: () => () => {} };

/** A file of zeros for one test. */
async function withFile(bytes: number, use: (path: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-disk-" }), path = join(dir, "disk");
  try {
    await Deno.writeFile(path, new Uint8Array(bytes));
    await use(path);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** 512 bytes that tell which sector they are. */
function mark(lba: number): Uint8Array {
  return new Uint8Array(512).fill(lba & 255);
}

/** A port that answers a turn later. */
function later(disk: Disk): Disk {
  return {
    size: disk.size,
    sectorBytes: disk.sectorBytes,
    readOnly: false,
    cached: false,
    read: (dst, offset) => Promise.resolve().then(() => disk.read(dst, offset)),
    write: (src, offset) => Promise.resolve().then(() => disk.write(src, offset)),
    flush: () => Promise.resolve().then(() => disk.flush()),
  };
}

for (const options of [{}, { direct: true }, { inFlight: 4 }, { direct: true, inFlight: 4 }]) {
  const name = JSON.stringify(options);
  interop(`BlkFile ${name}: what was written is read, in the file too`, { needs: [ffi] }, async () => {
    await withFile(1 << 20, async (path) => {
      const disk = new BlkFile(path, options), { sectorBytes } = disk, count = 32;
      const data = (i: number) => new Uint8Array(sectorBytes).fill(i + 1);
      await Promise.all(Array.from({ length: count }, (_, i) => disk.write(data(i), i * 2 * sectorBytes)));
      await disk.flush();
      const found = Array.from({ length: count }, () => new Uint8Array(sectorBytes));
      await Promise.all(found.map((bytes, i) => disk.read(bytes, i * 2 * sectorBytes)));
      found.forEach((bytes, i) => assert.deepEqual(bytes, data(i)));
      const large = new Uint8Array(600 * 1024).map((_, i) => i % 251);
      await disk.write(large, 0);
      const back = new Uint8Array(large.length);
      await disk.read(back, 0);
      assert.deepEqual(back, large);
      assert.equal(disk.counters().errors, 0);
      await disk.close();
      assert.deepEqual((await Deno.readFile(path)).subarray(0, large.length), large);
    });
  });
}

interop(
  "BlkFile: of two requests in flight that overlap, the later one has the last word",
  { needs: [ffi] },
  async () => {
    await withFile(1 << 16, async (path) => {
      const disk = new BlkFile(path, { inFlight: 8 });
      for (let round = 0; round < 20; round++) {
        const found = mark(0);
        await Promise.all([
          disk.write(new Uint8Array(4096).fill(round), 0),
          disk.write(mark(round + 100), 512),
          disk.read(found, 512),
        ]);
        assert.deepEqual(found, mark(round + 100));
      }
      await disk.close();
    });
  },
);

interop("BlkFile: in flight are never more than were allowed", { needs: [ffi] }, async () => {
  await withFile(1 << 16, async (path) => {
    const disk = new BlkFile(path, { inFlight: 3 });
    assert.throws(() => disk.read(mark(0), 100), { code: "EINVAL" }, "only a cached disk has no sectors");
    await Promise.all(Array.from({ length: 40 }, (_, i) => disk.read(mark(0), i * 512)));
    assert.ok(disk.counters().deepest <= 3 && disk.counters().deepest > 1);
    await disk.close();
  });
});

interop("BlkFile: one writer, or many readers; errors say what is wrong", { needs: [ffi] }, async () => {
  await withFile(1 << 16, async (path) => {
    const disk = new BlkFile(path);
    assert.throws(() => new BlkFile(path), { code: "EBUSY" });
    assert.throws(() => new BlkFile(path, { readOnly: true }), { code: "EBUSY" });
    assert.throws(() => disk.read(mark(0), disk.size), { code: "EIO" });
    disk.write(mark(1).subarray(0, 3), 510);
    const odd = new Uint8Array(5);
    disk.read(odd, 509);
    assert.deepEqual([...odd], [0, 1, 1, 1, 0]);
    await Deno.truncate(path, 1024);
    assert.throws(() => disk.read(mark(0), 2048), { code: "EIO" });
    await disk.close();
    assert.throws(() => disk.read(mark(0), 0), { code: "EIO" });
    const readers = [new BlkFile(path, { readOnly: true }), new BlkFile(path, { readOnly: true })];
    assert.throws(() => readers[0].write(mark(1), 0), { code: "EROFS" });
    for (const reader of readers) await reader.close();
    assert.throws(() => new BlkFile(`${path}.none`), { code: "ENOENT" });
    assert.throws(() => BlkFile.create(path, 4096), { code: "EEXIST" });
  });
});

interop("BlkFile: a full host says ENOSPC", { needs: [ffi] }, async () => {
  // /dev/full is no disk, but what a write to it says is what a write to a full one says.
  const disk = new BlkFile("/dev/full");
  assert.equal(disk.size, 0);
  await disk.close();
});

interop(
  "BlkFile: a block device of the host, one owner by O_EXCL; the file under a loop device is the device's",
  { needs: [ffi, root, program("losetup")] },
  async () => {
    await withFile(1 << 20, async (path) => {
      const run = (...args: string[]) => {
        const { code, stdout } = new Deno.Command("losetup", { args }).outputSync();
        assert.equal(code, 0);
        return new TextDecoder().decode(stdout).trim();
      };
      const device = run("--find", "--show", path);
      try {
        const disk = new BlkFile(device, { direct: true }), found = mark(0);
        assert.deepEqual([disk.size, disk.sectorBytes], [1 << 20, 512]);
        await disk.write(mark(3), 512);
        await disk.flush();
        await disk.read(found, 512);
        assert.deepEqual(found, mark(3));
        assert.throws(() => new BlkFile(device), { code: "EBUSY" });
        await disk.close();
        const why = { code: "EBUSY", message: new RegExp(`is in use by ${device}$`) };
        for (const readOnly of [false, true]) assert.throws(() => new BlkFile(path, { readOnly }), why);
      } finally {
        run("--detach", device);
      }
    });
  },
);

Deno.test("BlkRam: zeros until written; discarded pieces are zeros again", () => {
  const disk = new BlkRam(4 << 20), found = mark(9);
  disk.read(found, 1 << 20);
  assert.deepEqual(found, mark(0));
  disk.write(mark(7), 1 << 20);
  disk.read(found, 1 << 20);
  assert.deepEqual(found, mark(7));
  disk.discard(0, 4 << 20);
  disk.read(found, 1 << 20);
  assert.deepEqual(found, mark(0));
  assert.equal(disk.counters().bytes, 0);
  assert.throws(() => new BlkRam(1000), { code: "EINVAL" });
});

Deno.test("DiskPart: no request reaches past its ends", () => {
  const disk = new BlkRam(1 << 20), part = new DiskPart(disk, { start: 4096, size: 8192 });
  part.write(mark(5), 0);
  const found = mark(0);
  disk.read(found, 4096);
  assert.deepEqual(found, mark(5));
  assert.throws(() => part.write(mark(1), 8192), { code: "EIO" });
  assert.throws(() => part.read(mark(1), -512), { code: "EIO" });
  assert.throws(() => new DiskPart(disk, { start: 1 << 20, size: 512 }), { code: "EINVAL" });
});

for (const [name, wrap] of [["at once", (disk: Disk) => disk], ["later", later]] as const) {
  Deno.test(`DiskBytes: any bytes of a disk that answers ${name}, neighbours untouched`, async () => {
    const ram = new BlkRam(8192), bytes = new DiskBytes(wrap(ram)), want = new Uint8Array(8192);
    let seed = 1;
    const below = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
    for (let i = 0; i < 200; i++) {
      const offset = below(8192), data = new Uint8Array(1 + below(1500)).fill(i + 1);
      const count = await bytes.write(data, offset);
      assert.equal(count, Math.min(data.length, 8192 - offset));
      want.set(data.subarray(0, count), offset);
    }
    const [a, b] = [bytes.write(new Uint8Array([1, 2]), 600), bytes.write(new Uint8Array([3, 4]), 700)];
    await Promise.all([a, b]);
    want.set([1, 2], 600);
    want.set([3, 4], 700);
    const found = new Uint8Array(8192);
    assert.equal(await bytes.read(found, 0), 8192);
    assert.deepEqual(found, want);
    assert.equal(await bytes.read(found, 8192), 0);
    assert.equal(await bytes.write(found, 8192), 0);
  });
}

Deno.test("BlkFault: fails what the plan says, a short write in part, and passes the rest", async () => {
  const ram = new BlkRam(1 << 16), disk = new BlkFault(ram);
  disk.plan = ({ op }) => op === "write" ? { fail: "ENOSPC", bytes: 700 } : undefined;
  assert.throws(() => disk.write(new Uint8Array(2048).fill(1), 0), { code: "ENOSPC" });
  const found = new Uint8Array(1024);
  await disk.read(found, 0);
  assert.deepEqual([found[511], found[512]], [1, 0]);
  const gate = Promise.withResolvers<void>();
  disk.plan = () => ({ wait: gate.promise });
  let done = false;
  const flushed = Promise.resolve(disk.flush()).then(() => done = true);
  await Promise.resolve();
  assert.equal(done, false);
  gate.resolve();
  await flushed;
});

Deno.test("ownDisk: one owner by path; the next instance of the same owner takes it over, open as it is", async () => {
  const queues = new QueueTable(clock), ram = new BlkRam(4096), told: string[] = [];
  let closed = 0;
  const open = () => Object.assign(ram, { close: () => void closed++ });
  const claim = (owner: string, takeOver = false) => ({
    path: "/a b/disk",
    owner,
    open,
    takeOver,
    onRevoke: () => void told.push(owner),
  });
  const first = await ownDisk(queues, claim("ext2"));
  await assert.rejects(ownDisk(queues, claim("sd")), { code: "EBUSY", message: "/a b/disk is in use by ext2" });
  await assert.rejects(ownDisk(queues, claim("ext2")), { code: "EBUSY" });
  const second = await ownDisk(queues, claim("ext2", true));
  assert.equal(second.disk, first.disk);
  assert.deepEqual(told, ["ext2"]);
  first.release();
  assert.equal(closed, 0);
  second.release();
  assert.equal(closed, 1);
  assert.deepEqual(queues.rows(), []);
});

/** A row of an MBR. */
function mbrRow(view: DataView, index: number, row: { type: number; start: number; count: number }): void {
  const at = 446 + 16 * index;
  view.setUint8(at + 4, row.type);
  view.setUint32(at + 8, row.start, true);
  view.setUint32(at + 12, row.count, true);
  view.setUint16(510, 0xaa55, true);
}

Deno.test("readPartitions: MBR with logical ones, numbered as Linux does; a circle ends", async () => {
  const disk = new BlkRam(1 << 20), sector = () => new DataView(new ArrayBuffer(512));
  const main = sector();
  mbrRow(main, 0, { type: 0x83, start: 64, count: 100 });
  mbrRow(main, 1, { type: 0x05, start: 200, count: 1000 });
  mbrRow(main, 2, { type: 0x83, start: 2000, count: 1000 });
  disk.write(new Uint8Array(main.buffer), 0);
  for (const [at, next] of [[200, 300], [500, 600], [800, 0]]) {
    const link = sector();
    mbrRow(link, 0, { type: 0x83, start: 10, count: 50 });
    mbrRow(link, 1, next ? { type: 0x05, start: next, count: 100 } : { type: 0, start: 0, count: 0 });
    disk.write(new Uint8Array(link.buffer), at * 512);
  }
  const { scheme, parts, warnings } = await readPartitions(disk);
  assert.equal(scheme, "mbr");
  assert.deepEqual(parts.map(({ name, start, end }) => [name, start, end]), [
    ["part1", 64, 164],
    ["part5", 210, 260],
    ["part6", 510, 560],
    ["part7", 810, 860],
  ]);
  assert.deepEqual(warnings, ["part3 is not on the disk: sectors 2000 to 3000 of 2048"]);
  const back = sector();
  mbrRow(back, 0, { type: 0x83, start: 10, count: 50 });
  mbrRow(back, 1, { type: 0x05, start: 300, count: 1 });
  disk.write(new Uint8Array(back.buffer), 800 * 512);
  assert.match((await readPartitions(disk)).warnings.join(), /circle/);
});

/** A disk with a GPT that has one part, 40 to before 100. */
function gptDisk(): BlkRam {
  const disk = new BlkRam(1 << 20), last = (1 << 20) / 512 - 1, mbr = new DataView(new ArrayBuffer(512));
  mbrRow(mbr, 0, { type: 0xee, start: 1, count: last });
  disk.write(new Uint8Array(mbr.buffer), 0);
  const entries = new DataView(new ArrayBuffer(512));
  entries.setUint32(0, 0x0fc63daf, true);
  entries.setBigUint64(32, 40n, true);
  entries.setBigUint64(40, 99n, true);
  [..."usr"].forEach((letter, i) => entries.setUint16(56 + 2 * i, letter.charCodeAt(0), true));
  const bytes = new Uint8Array(entries.buffer);
  for (const [lba, at] of [[1, 2], [last, last - 1]]) {
    const header = new DataView(new ArrayBuffer(512));
    new Uint8Array(header.buffer).set(new TextEncoder().encode("EFI PART"));
    header.setUint32(12, 92, true);
    header.setBigUint64(24, BigInt(lba), true);
    header.setBigUint64(72, BigInt(at), true);
    header.setUint32(80, 4, true);
    header.setUint32(84, 128, true);
    header.setUint32(88, crc32(bytes), true);
    header.setUint32(16, crc32(new Uint8Array(header.buffer, 0, 92)), true);
    disk.write(new Uint8Array(header.buffer), lba * 512);
    disk.write(bytes, at * 512);
  }
  return disk;
}

Deno.test("readPartitions: GPT by its checksums, and by the backup when the first one is bad", async () => {
  const disk = gptDisk(), want = [["part1", 40, 100, "usr"]];
  const rows = async () => {
    const { parts, warnings } = await readPartitions(disk);
    return { rows: parts.map((p) => [p.name, p.start, p.end, p.label]), warnings };
  };
  assert.deepEqual(await rows(), { rows: want, warnings: [] });
  disk.write(mark(0), 2 * 512);
  assert.deepEqual(await rows(), { rows: want, warnings: ["first GPT header: bad checksum of the entries"] });
  disk.write(mark(1), disk.size - 512);
  assert.deepEqual((await rows()).rows, []);
  assert.equal((await readPartitions(new BlkRam(4096))).scheme, "none");
});

Deno.test("readPartitions: random bytes are no reason to fail", async () => {
  let seed = 7;
  const below = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
  for (let i = 0; i < 300; i++) {
    const disk = gptDisk();
    for (let k = 0; k < 8; k++) {
      const lba = [0, 1, 2, disk.size / 512 - 1, disk.size / 512 - 2][below(5)], bytes = mark(0);
      disk.read(bytes, lba * 512);
      bytes[below(510)] = below(256);
      if (i % 3 === 0) bytes[450] = 5;
      disk.write(bytes, lba * 512);
    }
    const { parts } = await readPartitions(disk);
    for (const part of parts) assert.ok(part.start < part.end && part.end <= 2048);
  }
});
