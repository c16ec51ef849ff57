/** Booted nodes with an ext2 disk: what was written is on it after the node's end, wherever the plugin was placed. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { BlkFile } from "../../devices/blkfile.ts";
import { Ext2 } from "../../fs/ext2/fs.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { makeDisk } from "../ext2_image.ts";
import { bootNode } from "../node.ts";
import { ffi, interop } from "../skip.ts";

/** The text of a file in the root of a disk that nobody uses, which was closed cleanly and is sound. */
async function onDisk(path: string, name: string): Promise<string> {
  const disk = new BlkFile(path, { readOnly: true }), fs = await Ext2.open(disk, { now: () => 0 });
  assert.equal(fs.wasUnclean, false);
  assert.deepEqual((await fs.check()).problems, []);
  const into = new Uint8Array(100), count = await fs.read(await fs.lookup(fs.root, name), into, 0);
  await disk.close();
  return new TextDecoder().decode(into.subarray(0, count));
}

for (const placement of ["inline", "process"]) {
  interop(`ext2, ${placement}: what was written is on the disk when the node has ended`, { needs: [ffi] }, async () => {
    const dir = await Deno.makeTempDir({ prefix: "ring9-ext2-" }), path = join(dir, "usr.img");
    try {
      await makeDisk(path, 8 << 20);
      await using node = await bootNode();
      await using client = await node.connect();
      await client.writeFile("/sys/plugins/ctl", `load ext2 as disk placement ${placement}`);
      await client.writeFile("/proc/1/ns", "bind '#disk' /n/ext2\n");
      await client.writeFile("/n/ext2/ctl", `open usr ${path}`);
      await client.writeFile("/proc/1/ns", "bind -c '#disk.usr' /n/usr\n");
      const file = await client.create("/n/usr/hello");
      await file.writeAll(new TextEncoder().encode("hello, disk\n"));
      await file.close();
      assert.match(await client.readText("/n/ext2/status"), /^usr rw dirty /);
      await assert.rejects(client.writeFile("/n/ext2/ctl", `open two ${path}`), /in use/);
      assert.equal(await node.stop(), 0);
      assert.equal(await onDisk(path, "hello"), "hello, disk\n");
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

interop("ext2: a reload takes the disk over, and its files are found again", { needs: [ffi] }, async () => {
  const dir = await Deno.makeTempDir({ prefix: "ring9-ext2-" }), path = join(dir, "usr.img");
  try {
    await makeDisk(path, 8 << 20);
    await using node = await bootNode();
    await using client = await node.connect();
    await client.writeFile("/sys/plugins/ctl", `load ext2 as disk volumes='["usr=${path}"]'`);
    await client.writeFile("/proc/1/ns", "bind -c '#disk.usr' /n/usr\n");
    const file = await client.create("/n/usr/kept");
    await file.writeAll(new TextEncoder().encode("kept"));
    assert.match(await client.readText("/sys/queues/status"), /usr\.img block owned disk 1\n/);
    await client.writeFile("/sys/plugins/ctl", "reload disk");
    assert.equal(await client.readText("/n/usr/kept"), "kept");
    assert.match(await client.readText("/sys/queues/status"), /usr\.img block owned disk 2\n/);
    await assert.rejects(file.write(new Uint8Array(1), 0), { code: "ESTALE" });
    assert.equal(await node.stop(), 0);
    assert.equal(await onDisk(path, "kept"), "kept");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

interop("ext2: several disks at a time, and what stands in the way of each is said", { needs: [ffi] }, async () => {
  const dir = await Deno.makeTempDir({ prefix: "ring9-ext2-" }), one = join(dir, "one.img"), two = join(dir, "two.img");
  try {
    await makeDisk(one, 8 << 20);
    await using node = await bootNode();
    await using client = await node.connect();
    const plugins = (text: string) => client.writeFile("/sys/plugins/ctl", text);
    const bind = (text: string) => client.writeFile("/proc/1/ns", `bind ${text}`);
    const ctl = (text: string, plugin = "first") => client.writeFile(`/n/${plugin}/ctl`, text);
    for (const name of ["first", "second"]) {
      await plugins(`load ext2 as ${name}`);
      await bind(`'#${name}' /n/${name}`);
    }
    await ctl(`open one ${one}`);
    await ctl(`format ${two} 4M second`);
    await ctl(`open two ${two}`, "second");
    await ctl("open small ram!1M");
    await bind("-c '#first.one' /n/one");
    await bind("-c '#second.two' /n/two");
    await bind("-c '#first.small' /n/small");

    const refused: [text: string, plugin: string, why: RegExp][] = [
      [`open again ${one}`, "first", /one\.img is in use by first/],
      [`open again ${one}`, "second", /one\.img is in use by first/],
      [`open one ${two}`, "first", /there is a volume one already/],
      [`open x ${dir}/none`, "first", /cannot open .*none as x: .*does not exist/],
      ["open x here.img", "first", /no path that begins with a slash/],
      ["open x /dev/null", "first", /no ext2 file system here/],
      [`open x ${one} fast`, "first", /"fast" is none of ro rw direct/],
      [`open x/y ${one}`, "first", /no name for a volume/],
      [`format ${two} 4M`, "first", /cannot format .*two\.img: file already exists|cannot format .*exist/],
      [`format ${dir}/tiny 1k`, "first", /cannot format .*tiny: the disk is too small/],
      [`format ${dir}/huge 99999999T`, "first", /cannot format .*huge: /],
      ["format here.img 4M", "first", /no path that begins with a slash/],
      ["close three", "first", /no volume is called "three"/],
    ];
    for (const [text, plugin, why] of refused) await assert.rejects(ctl(text, plugin), { message: why }, text);
    const left = Array.from(Deno.readDirSync(dir), ({ name }) => name);
    assert.deepEqual(left.sort(), ["one.img", "two.img"], "what failed left nothing behind");

    await assert.rejects(client.writeFile("/n/small/big", new Uint8Array(2 << 20)), { code: "ENOSPC" });
    await client.remove("/n/small/big");
    await client.writeFile("/n/small/less", "room again");

    const file = await client.create("/n/one/kept", 0o644, ORDWR);
    await file.writeAll(new TextEncoder().encode("kept"));
    await assert.rejects(ctl("close one"), { code: "EBUSY" });
    await assert.rejects(plugins("unload first"), { code: "EBUSY", message: /open files/ });
    await ctl("close one force");
    await assert.rejects(file.read(new Uint8Array(4), 0), { code: "ESTALE", message: /the volume one was closed/ });
    await assert.rejects(client.list("/n/one"), { code: "ESTALE", message: /the volume one was closed/ });
    await ctl(`open one ${one} ro`, "second");
    await bind("'#second.one' /n/again");
    assert.equal(await client.readText("/n/again/kept"), "kept");
    await assert.rejects(client.writeFile("/n/again/kept", "no"), { code: "EROFS" });
    await plugins("unload second force");
    await ctl(`open one ${one}`);
    assert.equal(await node.stop(), 0);
    assert.equal(await onDisk(one, "kept"), "kept");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

/** An MBR with one partition. */
function mbr(start: number, count: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(512));
  view.setUint8(450, 0x83);
  view.setUint32(454, start, true);
  view.setUint32(458, count, true);
  view.setUint16(510, 0xaa55, true);
  return new Uint8Array(view.buffer);
}

interop(
  "ext2 on a partition that another node's sd serves: the disk is far, the files are here",
  { needs: [ffi] },
  async () => {
    const dir = await Deno.makeTempDir({ prefix: "ring9-ext2-" }), path = join(dir, "disk"), bare = join(dir, "bare");
    try {
      const disk = BlkFile.create(path, 8 << 20);
      await makeDisk(bare, 4 << 20);
      await disk.write(mbr(2048, 8192), 0);
      await disk.write(await Deno.readFile(bare), 2048 * 512);
      await disk.close();
      await using far = await bootNode();
      await using here = await bootNode();
      await using there = await far.connect();
      await there.writeFile("/sys/plugins/ctl", `load sd disks='["sdF0=${path}"]'`);
      await there.writeFile("/proc/1/ns", "bind -a '#sd' /dev\n");
      await using client = await here.connect();
      await client.writeFile("/proc/1/ns", `mount '${far.address}' /n/far\n`);
      await client.writeFile("/sys/plugins/ctl", "load ext2 as disk");
      await client.writeFile("/proc/1/ns", "bind '#disk' /n/ext2\n");
      await client.writeFile("/n/ext2/ctl", "open usr ns!/n/far/dev/sdF0/part1");
      await client.writeFile("/proc/1/ns", "bind -c '#disk.usr' /n/usr\n");
      const text = "far away ".repeat(10_000), file = await client.create("/n/usr/file");
      await file.writeAll(new TextEncoder().encode(text));
      await file.fsync();
      await file.close();
      await client.writeFile("/proc/1/ns", "unmount /n/usr\n");
      await client.writeFile("/n/ext2/ctl", "close usr");
      await client.writeFile("/n/ext2/ctl", "open usr ns!/n/far/dev/sdF0/part1 ro");
      await client.writeFile("/proc/1/ns", "bind '#disk.usr' /n/usr\n");
      assert.equal(await client.readText("/n/usr/file"), text);
      await client.writeFile("/n/ext2/ctl", "close usr force");
      assert.deepEqual([await here.stop(), await far.stop()], [0, 0]);
      await Deno.writeFile(bare, (await Deno.readFile(path)).subarray(2048 * 512, 2048 * 512 + (4 << 20)));
      assert.equal(await onDisk(bare, "file"), text.slice(0, 100));
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);
