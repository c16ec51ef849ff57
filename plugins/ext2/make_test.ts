/** `create=` with `from=`: what a new disk is filled with, that it is done once, and what stands in its way. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { ORDWR } from "../../core/p9/types.ts";
import { BlkFile } from "../../devices/blkfile.ts";
import { writeArchive } from "../../fs/archive_file.ts";
import { ffi, interop, program } from "../../tests/skip.ts";
import { Fixture } from "./fixture.ts";
import { openTree } from "./origin.ts";
import { parseVolume } from "./source.ts";

/** A folder that holds an image's folder `usr`, removed after the test. */
async function withImage(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-make-" });
  try {
    await Deno.mkdir(`${dir}/usr/bin`, { recursive: true });
    await Deno.writeTextFile(`${dir}/usr/README`, "read me\n", { mode: 0o600 });
    await Deno.writeTextFile(`${dir}/usr/bin/run`, "run\n", { mode: 0o700 });
    await Deno.writeFile(`${dir}/usr/big`, new Uint8Array(700_000).map((_, i) => i >> 8));
    await Deno.symlink("bin/run", `${dir}/usr/link`);
    await Deno.link(`${dir}/usr/README`, `${dir}/usr/bin/again`);
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function fixture(dir: string): Fixture {
  return new Fixture({ folder: `${dir}/data`, image: `${dir}/` });
}

const names = (dir: string) => Array.from(Deno.readDirSync(dir), ({ name }) => name).sort();

interop(
  "a disk that is made has the folder's files, all root's, with the time and the bits of no checkout",
  { needs: [ffi, program("e2fsck")] },
  async () => {
    await withImage(async (dir) => {
      const t = fixture(dir), { fs, made } = await t.open("usr", "usr.img", ["create=4M", "from=usr"]);
      assert.deepEqual(made, { files: 6, from: `${dir}/usr` });
      assert.match(t.log.join("\n"), /^usr: a new volume, with 6 files from .*\/usr$/);
      assert.equal(await t.get("usr", "bin/again"), "read me\n");
      const stat = async (path: string) => {
        let ino = fs.root;
        for (const name of path.split("/")) ino = await fs.lookup(ino, name);
        return await fs.stat(ino);
      };
      const [file, run, link] = [await stat("README"), await stat("bin/run"), await stat("link")];
      assert.deepEqual([file.mode & 0o7777, run.mode & 0o7777, file.links], [0o644, 0o755, 2]);
      assert.deepEqual([file.uid, file.gid, file.mtime], [0, 0, run.mtime]);
      assert.equal((await stat("big")).size, 700_000);
      assert.equal(await fs.readlink(link.ino), "bin/run");
      await t.write(await t.fid("usr", "README", ORDWR), "MY", 0);
      await t.volumes.closeAll();
      assert.equal(new Deno.Command("e2fsck", { args: ["-fn", `${dir}/data/usr.img`] }).outputSync().code, 0);

      await Deno.writeTextFile(`${dir}/usr/new`, "new");
      const again = fixture(dir), second = await again.open("usr", "usr.img", ["create=4M", "from=usr"]);
      assert.equal(second.made, null);
      assert.equal(await again.get("usr", "README"), "MYad me\n");
      await assert.rejects(again.get("usr", "new"), { code: "ENOENT" });
      await Deno.remove(`${dir}/usr`, { recursive: true });
      await again.volumes.closeAll();
      assert.equal((await again.open("usr", "usr.img", ["create=4M", "from=usr"])).made, null, "nobody looks for it");
      await again.volumes.closeAll();
    });
  },
);

interop("the same folder makes the same disk, but for the uuid", { needs: [ffi] }, async () => {
  await withImage(async (dir) => {
    const disks = await Promise.all([7, 7, 8].map(async (byte, i) => {
      const t = new Fixture({ folder: dir, image: dir, random: (bytes) => void bytes.fill(byte) });
      await t.open("usr", `${i}.img`, ["create=4M", "from=usr"]);
      const bytes = await Deno.readFile(`${dir}/${i}.img`);
      await t.volumes.closeAll();
      return bytes;
    }));
    const differ = (a: Uint8Array, b: Uint8Array) => a.reduce((sum, byte, i) => sum + (byte === b[i] ? 0 : 1), 0);
    assert.equal(differ(disks[0], disks[1]), 0);
    assert.equal(differ(disks[0], disks[2]), 2 * 16, "uuid and hash seed");
  });
});

interop("archives and disks are taken as they are, in memory too", { needs: [ffi] }, async () => {
  await withImage(async (dir) => {
    for (const name of ["usr.tar", "usr.tar.gz"]) {
      const file = await Deno.open(`${dir}/${name}`, { write: true, create: true });
      await writeArchive(openTree(`${dir}/usr`), file.writable, name.endsWith("gz"));
    }
    const t = fixture(dir);
    await t.open("first", "first.img", ["create=4M", "from=usr.tar.gz"]);
    await t.volumes.closeAll();
    for (const from of ["usr.tar", "usr.tar.gz", "data/first.img"]) {
      const { fs } = await t.open("m", "ram!4M", [`from=${from}`]);
      assert.equal(await t.get("m", "bin/again"), "read me\n", from);
      const { mode, uid } = await fs.stat(await fs.lookup(fs.root, "README"));
      assert.deepEqual([mode & 0o7777, uid], [0o600, Deno.uid()], from);
      await t.volumes.closeAll();
    }
    await Deno.truncate(`${dir}/usr.tar.gz`, 300);
    await assert.rejects(t.open("cut", "cut.img", ["create=4M", "from=usr.tar.gz"]), { code: "EINVAL" });
    assert.deepEqual(names(`${dir}/data`), ["first.img"]);
  });
});

interop("what cannot be filled is not there, and the error says what was to be", { needs: [ffi] }, async () => {
  await withImage(async (dir) => {
    const t = fixture(dir), make = (size: string, from: string) => t.open("x", "x.img", [`create=${size}`, from]);
    await assert.rejects(make("4M", "from=none"), {
      code: "ENOENT",
      message: `cannot open x.img as x: from=none: ${dir}/none: file does not exist`,
    });
    assert.throws(() => Deno.statSync(`${dir}/data`), Deno.errors.NotFound);
    await assert.rejects(make("256k", "from=usr"), { code: "ENOSPC", message: /from=usr: / });
    await assert.rejects(make("4M", "from=usr/README"), { code: "EINVAL", message: /README|tar/ });
    assert.deepEqual(names(`${dir}/data`), []);
    await t.volumes.openIfCan(parseVolume("x=x.img create=4M from=none optional"));
    assert.match(t.volumes.absent.get("x")!.why, /from=none: .*does not exist/);
    for (const words of ["usr=usr.img from=usr", "usr=usr.img create=4M from="]) {
      assert.throws(() => parseVolume(words), { code: "EINVAL" }, words);
    }
    assert.equal(parseVolume("usr=usr.img create=4M 'from=a b=c'").from, "a b=c");
    await assert.rejects(new Fixture({ folder: dir }).open("x", "x.img", ["create=4M", "from=usr"]), {
      message: /no path that begins with a slash, and the option image.* is empty \(try: /,
    });
    await assert.rejects(new Fixture({ image: dir }).open("x", "x.img"), {
      message: /"x\.img" is no path that begins with a slash, and the option folder.* is empty \(try: /,
    });
    await assert.rejects(new Fixture({ folder: "data" }).open("x", "x.img"), { message: /folder is "data", no path/ });
  });
});

interop("a blank disk is filled, whatever is behind its head; any other is let be", { needs: [ffi] }, async () => {
  await withImage(async (dir) => {
    const blank = join(dir, "blank.img"), other = join(dir, "other.img");
    await Deno.writeFile(blank, new Uint8Array(4 << 20).fill(0xff, 4096));
    await Deno.writeFile(other, new Uint8Array(4 << 20).fill(1));
    const t = fixture(dir);
    const { made, fs } = await t.open("blank", blank, ["create=1M", "from=usr"]);
    assert.equal(made?.files, 6);
    assert.deepEqual((await fs.check()).problems, []);
    await assert.rejects(t.open("other", other, ["create=1M", "from=usr"]), { message: /no ext2 file system here/ });
    assert.ok(Deno.readFileSync(other).every((byte) => byte === 1));
    await t.volumes.closeAll();
    const disk = new BlkFile(blank, { readOnly: true });
    assert.equal(disk.size, 4 << 20, "the disk's own size counts");
    await disk.close();
  });
});

interop("a volume that is to be read only is filled all the same", { needs: [ffi] }, async () => {
  await withImage(async (dir) => {
    const t = fixture(dir);
    await t.open("usr", "usr.img", ["ro", "create=4M", "from=usr"]);
    assert.equal(await t.get("usr", "README"), "read me\n");
    await assert.rejects(t.put("usr", "new", ""), { code: "EROFS" });
    await t.volumes.closeAll();
  });
});
