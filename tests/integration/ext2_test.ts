/** Booted nodes with an ext2 disk: what was written is on it after the node's end, wherever the plugin was placed. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { BlkFile } from "../../devices/blkfile.ts";
import { Ext2 } from "../../fs/ext2/fs.ts";
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
      await client.writeFile("/sys/plugins/ctl", `load ext2 placement ${placement}`);
      await client.writeFile("/proc/1/ns", "bind '#ext2' /n/ext2\n");
      await client.writeFile("/n/ext2/ctl", `open usr ${path}`);
      await client.writeFile("/proc/1/ns", "bind -c '#ext2.usr' /n/usr\n");
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
    await client.writeFile("/sys/plugins/ctl", `load ext2 volumes='["usr=${path}"]'`);
    await client.writeFile("/proc/1/ns", "bind -c '#ext2.usr' /n/usr\n");
    const file = await client.create("/n/usr/kept");
    await file.writeAll(new TextEncoder().encode("kept"));
    assert.match(await client.readText("/sys/queues/status"), /usr\.img block owned ext2 1\n/);
    await client.writeFile("/sys/plugins/ctl", "reload ext2");
    assert.equal(await client.readText("/n/usr/kept"), "kept");
    assert.match(await client.readText("/sys/queues/status"), /usr\.img block owned ext2 2\n/);
    await assert.rejects(file.write(new Uint8Array(1), 0), { code: "ESTALE" });
    assert.equal(await node.stop(), 0);
    assert.equal(await onDisk(path, "kept"), "kept");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
