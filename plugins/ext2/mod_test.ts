import assert from "node:assert/strict";
import { join } from "node:path";
import { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { DMAPPEND, DMDIR, DMEXCL, DMTMP, ORDWR, OREAD, OWRITE } from "../../core/p9/types.ts";
import { start } from "../../core/plugin/testing.ts";
import { BlkFault } from "../../devices/blkfault.ts";
import { BlkRam } from "../../devices/blkram.ts";
import { type Disk, DiskPart } from "../../devices/disk.ts";
import { Ext2, type SetAttr } from "../../fs/ext2/fs.ts";
import { FL_APPEND, FL_IMMUTABLE } from "../../fs/ext2/layout.ts";
import { mkfs } from "../../fs/ext2/mkfs.ts";
import { makeDisk } from "../../tests/ext2_image.ts";
import { ffi, interop, type Need } from "../../tests/skip.ts";
import { Fixture, ken, root, testClock } from "./fixture.ts";
import ext2 from "./mod.ts";
import { parseBytes, parseVolume } from "./source.ts";
import { type AtimePolicy, VolumeDev } from "./volume_dev.ts";

/** To be held back by permissions. */
const mortal: Need = () => Deno.uid() === 0 ? "needs a user that is not root" : undefined;

/** A volume on a disk of the test's own making, by itself. */
async function volumeOn(disk: Disk, options: { atime?: AtimePolicy } = {}) {
  const clock = testClock(), fs = await Ext2.open(disk, { now: () => clock.now() });
  const dev = await VolumeDev.make("ext2", fs, {
    clock,
    hostowner: "glenda",
    number: 0,
    atime: options.atime ?? "relatime",
    users: "",
    changed() {},
  });
  return { fs, dev };
}

function formatted(bytes = 4 << 20): BlkRam {
  const disk = new BlkRam(bytes);
  mkfs(disk, { uuid: new Uint8Array(16), now: 1_600_000_000_000, zeroed: true });
  return disk;
}

/** The fixture with one volume in memory, whose root anybody may write in. */
async function inMemory(): Promise<Fixture> {
  const fixture = new Fixture(), { fs } = await fixture.open("m", "ram!4M");
  await fs.setattr(fs.root, { mode: 0o777 });
  return fixture;
}

const req = new Req(root);

Deno.test("ext2: ctl opens, tells, syncs, checks and closes volumes; the commit comes in time", async () => {
  await using running = await start(ext2, { options: { commitSeconds: 5 } });
  const { files, dev, clock } = running;
  await files.write("ctl", "open m ram!4M");
  assert.match(await files.read("status"), /^m rw clean disk ram!4M sector 512 block 1024 blocks 4096 free \d+ /);
  const at = await dev.attach(root, "m", req);
  const made = await dev.create(at, { name: "f", perm: 0o644, mode: OWRITE, mask: false, ngid: 0 }, req);
  assert.match(await files.read("status"), /^m rw dirty /);
  clock.advance(5000);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.match(await files.read("status"), /^m rw clean /);
  await dev.write(made, new Uint8Array(100), 0, req);
  await files.write("ctl", "sync m");
  assert.match(await files.read("status"), /^m rw clean /);
  await files.write("ctl", "check m");
  assert.equal(await files.read("report"), "m: clean\n");
  await assert.rejects(files.write("ctl", "open m ram!4M"), { code: "EEXIST" });
  await assert.rejects(files.write("ctl", "open x ram!10"), { code: "EINVAL" });
  await assert.rejects(files.write("ctl", "open x disk.img"), { code: "EINVAL" });
  await assert.rejects(files.write("ctl", "open x ram!4M wrong"), { code: "EINVAL" });
  await assert.rejects(files.write("ctl", "close m"), { code: "EBUSY" });
  await assert.rejects(files.write("ctl", "repair m"), { code: "EBUSY" });
  await files.write("ctl", "close m force");
  await assert.rejects(async () => await dev.write(made, new Uint8Array(1), 0, req), { code: "ESTALE" });
  await assert.rejects(async () => await dev.attach(root, "m", req), { code: "ENOENT" });
  assert.equal(await files.read("status"), "");
});

interop("ext2: format makes a volume that opens, and leaves alone what is there", { needs: [ffi] }, async () => {
  const dir = await Deno.makeTempDir({ prefix: "ring9-format-" }), path = join(dir, "a b.img");
  try {
    await using running = await start(ext2);
    const { files } = running;
    await files.write("ctl", `format '${path}' 2M label`);
    await files.write("ctl", `open usr '${path}' ro`);
    assert.match(await files.read("status"), /^usr ro clean disk .* label label because opened so\n$/);
    await files.write("ctl", "close usr");
    await assert.rejects(files.write("ctl", `format '${path}' 2M`), { code: "EEXIST" });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("parseVolume: names, disks, words; what is none of them is refused", () => {
  const { name, disk, part, cacheBytes } = parseVolume("usr='/a b/disk' part=2 cache=64k");
  assert.deepEqual([name, disk, part, cacheBytes], ["usr", "/a b/disk", "2", 65536]);
  for (const text of ["usr", "=x", "a/b=/x", "usr=/x part="]) {
    assert.throws(() => parseVolume(text), { code: "EINVAL" });
  }
  assert.deepEqual(["1", "2K", "3MiB", "1g"].map(parseBytes), [1, 2048, 3 << 20, 2 ** 30]);
});

Deno.test("append-only, temporary and exclusive files keep their bits; flags of chattr(1) are obeyed", async () => {
  const t = await inMemory(), { front } = t, volume = t.volumes.get("m");
  const log = await t.create("m", "log", (DMAPPEND | DMTMP | 0o666) >>> 0);
  await t.write(log, "one ", 0);
  await t.write(log, "two", 0);
  assert.equal(await t.text(log), "one two");
  assert.equal(((await front.stat(log, req)).mode & (DMAPPEND | DMTMP)) >>> 0, (DMAPPEND | DMTMP) >>> 0);
  await assert.rejects(async () => await front.wstat(log, { length: 0 }, req), { code: "EPERM" });
  const excl = await t.create("m", "excl", (DMEXCL | 0o666) >>> 0);
  await assert.rejects(t.fid("m", "excl"), { code: "EAGAIN" });
  await front.clunk(excl);
  await front.clunk(await t.fid("m", "excl"));
  await t.put("m", "fixed", "as it is");
  const fixed = await t.walk("m", "fixed"),
    set = async (attr: SetAttr) => await volume.fs.setattr(await volume.fs.lookup(volume.fs.root, "fixed"), attr);
  await set({ flags: FL_IMMUTABLE });
  await assert.rejects(t.fid("m", "fixed", ORDWR), { code: "EPERM" });
  await assert.rejects(async () => await front.remove(fixed, req), { code: "EPERM" });
  await assert.rejects(async () => await front.wstat(fixed, { mode: 0o600 }, req), { code: "EPERM" });
  await set({ flags: FL_APPEND });
  await assert.rejects(async () => await front.remove(fixed, req), { code: "EPERM" });
  await set({ flags: 0 });
  await front.remove(fixed, req);
});

Deno.test("qids: one path for a file's life, another for the next in its inode; the version counts its content", async () => {
  const t = await inMemory(),
    { front } = t,
    qid = async (path: string) => (await front.stat(await t.walk("m", path), req)).qid;
  await t.put("m", "a", "x");
  const first = await qid("a"), fid = await t.fid("m", "a", ORDWR);
  await t.write(fid, "more", 0);
  const second = await qid("a");
  assert.equal(second.path, first.path);
  assert.notEqual(second.vers, first.vers);
  await front.wstat(fid, { mode: 0o600 }, req);
  assert.equal((await qid("a")).vers, second.vers);
  await front.remove(fid, req);
  await front.clunk(fid);
  await t.volumes.sync(t.volumes.get("m"));
  const paths = new Set([first.path]);
  for (let i = 0; i < 20; i++) {
    await t.put("m", `b${i}`, "");
    const { path } = await qid(`b${i}`);
    assert.equal(paths.has(path), false);
    paths.add(path);
  }
});

Deno.test("fids follow renames, of directories above them too; an unlinked file lives until its last clunk", async () => {
  const t = await inMemory(), { front } = t;
  await front.clunk(await t.create("m", "d", (DMDIR | 0o755) >>> 0));
  await t.put("m", "d/f", "text");
  const d = await t.walk("m", "d"), f = await t.fid("m", "d/f"), top = await t.walk("m", "");
  await front.rename(d, top, "e", req);
  assert.equal((await front.stat(d, req)).name, "e");
  await front.rename(f, top, "g", req);
  assert.equal(await t.get("m", "g"), "text");
  await front.remove(f, req);
  assert.equal(await t.text(f), "text");
  await assert.rejects(t.walk("m", "g"), { code: "ENOENT" });
  const volume = t.volumes.get("m"), before = volume.fs.statfs().freeInodes;
  await front.clunk(f);
  await t.volumes.sync(volume);
  assert.equal(volume.fs.statfs().freeInodes, before + 1);
  assert.deepEqual((await volume.fs.check()).problems, []);
});

Deno.test("times of access: relatime once after a change, noatime never", async () => {
  for (const atime of ["relatime", "noatime", "strictatime"] as const) {
    const { fs, dev } = await volumeOn(formatted(), { atime }), into = new Uint8Array(10);
    const at = dev.attach(root, "");
    const c = await dev.create(at, { name: "f", perm: 0o644, mode: ORDWR, mask: false, ngid: 0 }, req);
    await dev.write(c, new Uint8Array(10), 0, req);
    await dev.clunk(c);
    const read = async () => {
      const { chan } = await dev.walk(dev.attach(root, ""), ["f"], req);
      const opened = await dev.open(chan!, OREAD, req);
      await dev.read(opened, into, 0);
      const { atime, atimeNsec } = await dev.stat(opened);
      await dev.clunk(opened);
      return atime * 1000 + atimeNsec / 1e6;
    };
    const made = (await fs.stat(await fs.lookup(fs.root, "f"))).atime * 1000 +
      (await fs.stat(await fs.lookup(fs.root, "f"))).atimeNsec / 1e6;
    const first = await read(), second = await read();
    assert.equal(first > made, atime !== "noatime", atime);
    assert.equal(second > first, atime === "strictatime", atime);
  }
});

Deno.test("a disk that answers later: buffers that were lent are not touched after the call", async () => {
  const gate = { open: Promise.resolve() }, ram = formatted();
  const disk = new BlkFault(ram, () => ({ wait: gate.open }), { delays: true });
  const { fs, dev } = await volumeOn(disk), data = new Uint8Array(3000).fill(5);
  const at = dev.attach(root, "");
  const c = await dev.create(at, { name: "f", perm: 0o644, mode: ORDWR, mask: false, ngid: 0 }, req);
  const writing = dev.write(c, data, 0, req);
  data.fill(9);
  assert.equal(await writing, 3000);
  await fs.sync();
  const again = await volumeOn(disk), { chan } = await again.dev.walk(again.dev.attach(root, ""), ["f"], req);
  const opened = await again.dev.open(chan!, OREAD, req), lent = new Uint8Array(3000).fill(1);
  const reading = again.dev.read(opened, lent, 0);
  assert.ok(reading instanceof Promise);
  assert.deepEqual(await reading, new Uint8Array(3000).fill(5));
  assert.deepEqual(lent, new Uint8Array(3000).fill(1));
});

Deno.test("a disk that may only be read is opened so, and the log says why; unless it has to be written", async () => {
  const opened: boolean[] = [], disk = formatted();
  const t = new Fixture({
    openFile(path, readOnly) {
      opened.push(readOnly);
      if (!readOnly) return Promise.reject(new Err("EACCES", `${path}: permission denied`));
      return Promise.resolve(new DiskPart(disk, { start: 0, size: disk.size, readOnly }));
    },
  });
  await assert.rejects(t.open("usr", "ns!/d", ["rw"]), { code: "EACCES" });
  const { fs } = await t.open("usr", "ns!/d", ["ro", "repair"]);
  assert.deepEqual([opened, fs.whyReadOnly], [[false, true], "opened so"]);
  await t.volumes.closeAll();
  t.log.length = opened.length = 0;
  await t.open("usr", "ns!/d");
  assert.deepEqual(t.log, ["usr: read only: it can not be opened for writing: /d: permission denied"]);
  assert.deepEqual(opened, [false, true]);
  await assert.rejects(t.create("usr", "new"), { code: "EROFS" });
  await t.volumes.closeAll();
  await disk.write(new Uint8Array(1 << 16), 0);
  await assert.rejects(t.open("usr", "ns!/d", ["create=4M"]), { code: "EACCES" }, "none can be made there");
});

interop("a disk file without the bit to write it is opened read only", { needs: [ffi, mortal] }, async () => {
  const dir = await Deno.makeTempDir(), path = `${dir}/usr.img`, t = new Fixture();
  try {
    await makeDisk(path, 4 << 20);
    await Deno.chmod(path, 0o400);
    await t.open("usr", path);
    assert.deepEqual(t.log, [`usr: read only: it can not be opened for writing: ${path}: permission denied`]);
  } finally {
    await t.volumes.closeAll();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a disk that fails: EIO to who reads; a failed commit makes the volume read only, and says why", async () => {
  const disk = new BlkFault(formatted()), { fs, dev } = await volumeOn(disk), at = dev.attach(root, "");
  const c = await dev.create(at, { name: "f", perm: 0o644, mode: ORDWR, mask: false, ngid: 0 }, req);
  await dev.write(c, new Uint8Array(5000), 0, req);
  await dev.fsync();
  disk.plan = ({ op, length }) => op === "read" && length >= 1024 ? { fail: "EIO" } : undefined;
  assert.throws(() => dev.read(c, new Uint8Array(5000), 0), { code: "EIO" });
  disk.plan = ({ op }) => op === "write" ? { fail: "ENOSPC", bytes: 512 } : undefined;
  assert.throws(() => {
    dev.wstat(c, { mode: 0o600 }, req);
    dev.fsync();
  }, { code: "ENOSPC" });
  disk.plan = () => undefined;
  assert.match(fs.whyReadOnly!, /writing to the disk failed/);
  assert.throws(() => dev.write(c, new Uint8Array(10), 0, req), { code: "EROFS" });
  assert.equal((await dev.stat(c)).length, 5000, "what was there can be read");
});

Deno.test("a disk that fails when its volume is closed is told of, and let go all the same", async () => {
  const disk = new BlkFault(formatted()), closed: string[] = [];
  const openFile = () => Promise.resolve(Object.assign(disk, { close: () => void closed.push("disk") }));
  const t = new Fixture({ openFile });
  await t.open("m", "ns!/disk");
  await t.put("m", "f", "lost");
  disk.plan = ({ op }) => op === "write" ? { fail: "ENOSPC" } : undefined;
  const why = { code: "ENOSPC", message: /m was closed with changes that are not on its disk/ };
  await assert.rejects(t.volumes.close("m"), why);
  assert.deepEqual(closed, ["disk"]);
  disk.plan = () => undefined;
  const { fs } = await t.open("m", "ns!/disk");
  assert.deepEqual((await fs.check()).problems, []);
});

Deno.test("a full volume: ENOSPC, root's reserve is root's, and removing makes room", async () => {
  const { fs, dev } = await volumeOn(formatted(1 << 20)), at = dev.attach(root, "");
  await fs.setattr(fs.root, { mode: 0o777 });
  const kens = new Req(ken), to = dev.attach(ken, "");
  const c = await dev.create(to, { name: "big", perm: 0o644, mode: ORDWR, mask: false, ngid: 1001 }, kens);
  let offset = 0;
  assert.throws(() => {
    for (;;) offset += dev.write(c, new Uint8Array(64 << 10), offset, kens) as number;
  }, { code: "ENOSPC" });
  const { freeBlocks, availableBlocks } = fs.statfs();
  assert.ok(freeBlocks > 0 && availableBlocks === 0);
  const roots = await dev.create(at, { name: "roots", perm: 0o644, mode: ORDWR, mask: false, ngid: 0 }, req);
  assert.equal(await dev.write(roots, new Uint8Array(1024), 0, req), 1024);
  await dev.remove(c, kens);
  await dev.clunk(c);
  await dev.fsync();
  assert.ok(fs.statfs().availableBlocks > 500);
  assert.deepEqual((await fs.check()).problems, []);
});

interop("damage: with errors=remount-ro the volume is read only from then on", { needs: [ffi] }, async () => {
  const dir = await Deno.makeTempDir({ prefix: "ring9-damage-" }), path = join(dir, "usr.img");
  try {
    await makeDisk(path, 1 << 20);
    const t = new Fixture();
    const { fs } = await t.open("usr", path);
    await t.put("usr", "file", "text");
    const { ino } = await fs.stat(await fs.lookup(fs.root, "file"));
    await t.volumes.closeAll();
    const image = await Deno.readFile(path), view = new DataView(image.buffer);
    view.setUint16(1024 + 60, 2, true); // s_errors: remount-ro
    const perGroup = view.getUint32(1024 + 40, true), size = view.getUint16(1024 + 88, true);
    assert.ok(ino <= perGroup);
    const table = view.getUint32(2048 + 8, true) * 1024;
    view.setUint32(table + (ino - 1) * size + 40, 0xfffffff0, true); // a pointer out of the volume
    await Deno.writeFile(path, image);
    await t.open("usr", path);
    await assert.rejects(t.get("usr", "file"), { code: "EIO" });
    await assert.rejects(t.put("usr", "new", ""), { code: "EROFS" });
    assert.match(t.volumes.get("usr").fs.whyReadOnly!, /damage was found/);
    await t.volumes.closeAll();
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

interop(
  "a disk with requests in flight and a small cache: the same files, a sound volume",
  { needs: [ffi] },
  async () => {
    const dir = await Deno.makeTempDir({ prefix: "ring9-direct-" }), path = join(dir, "usr.img");
    try {
      await makeDisk(path, 8 << 20);
      const t = new Fixture();
      const { fs, owned } = await t.open("usr", path, ["inflight=8", "cache=300k"]);
      const text = (i: number) => `file ${i} `.repeat(50 * i);
      await Promise.all(Array.from({ length: 60 }, (_, i) => t.put("usr", `f${i}`, text(i))));
      await Promise.all(Array.from({ length: 20 }, async (_, i) => {
        const fid = await t.walk("usr", `f${3 * i}`);
        await t.front.remove(fid, req);
        await t.front.clunk(fid);
      }));
      await fs.sync();
      assert.ok(owned.disk.counters!().flushes > 0);
      for (let i = 0; i < 60; i++) {
        if (i % 3 === 0) await assert.rejects(t.walk("usr", `f${i}`), { code: "ENOENT" });
        else assert.equal(await t.get("usr", `f${i}`), text(i));
      }
      assert.deepEqual((await fs.check()).problems, []);
      await t.volumes.closeAll();
      assert.deepEqual(t.log, []);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

Deno.test("volumes are trees of their own: rename and link between two are EXDEV, qids differ", async () => {
  const t = await inMemory(), { front } = t;
  await t.open("n", "ram!4M");
  await t.put("m", "f", "x");
  await t.put("n", "f", "y");
  const [a, b] = [await t.walk("m", "f"), await t.walk("n", "f")];
  assert.notEqual(a.qid.path, b.qid.path);
  const to = await t.walk("n", "");
  assert.throws(() => front.rename(a, to, "g", req), { code: "EXDEV" });
  assert.throws(() => front.link(a, to, "g", req), { code: "EXDEV" });
});
