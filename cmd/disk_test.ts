/** The program disk as its user runs it: trees in and out, the same bytes again, damage found and mended. */

import assert from "node:assert/strict";
import { Fixture } from "../plugins/ext2/fixture.ts";
import "../plugins/ext2/make.ts"; // its calls are opened before the tests begin
import { parseVolume } from "../plugins/ext2/source.ts";
import { device, ffi, interop, type Need, program, root } from "../tests/skip.ts";

const PROGRAM = new URL("./disk.ts", import.meta.url).pathname;
const ALLOW = ["--allow-read", "--allow-write", "--allow-ffi", "--allow-sys=uid"];

interface Result {
  code: number;
  out: string;
  err: string;
}

async function disk(dir: string, ...args: string[]): Promise<Result> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...ALLOW, "--allow-env=INIT_CWD,SOURCE_DATE_EPOCH", PROGRAM, ...args],
    env: { INIT_CWD: dir, NO_COLOR: "1" },
  });
  const { code, stdout, stderr } = await command.output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

function run(program: string, ...args: string[]): { code: number; text: string } {
  const { code, stdout, stderr } = new Deno.Command(program, { args, env: { LC_ALL: "C" } }).outputSync();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

/** A folder with a tree in it, below a folder for the test, which is removed. */
async function withTree(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dir}/tree/sub/deep`, { recursive: true });
    await Deno.writeTextFile(`${dir}/tree/one`, "1".repeat(5000));
    await Deno.writeTextFile(`${dir}/tree/sub/${"long".repeat(40)}`, "a long name");
    await Deno.writeTextFile(`${dir}/tree/sub/é`, "");
    await Deno.link(`${dir}/tree/one`, `${dir}/tree/sub/deep/other`);
    await Deno.symlink("../one", `${dir}/tree/sub/link`);
    const holes = await Deno.open(`${dir}/tree/holes`, { write: true, create: true });
    await holes.truncate(3_000_000);
    await holes.seek(1_000_000, Deno.SeekMode.Start);
    await holes.write(new Uint8Array(10).fill(7));
    holes.close();
    for (const path of ["one", "holes", "sub/deep", "sub"]) await Deno.utime(`${dir}/tree/${path}`, 1e9, 1_500_000_000);
    await Deno.chmod(`${dir}/tree/one`, 0o4750);
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const needs = [program("e2fsck"), program("tar"), program("diff")];

interop(
  "build makes the same disk of the same tree, and what is packed of it is that tree again",
  { needs },
  async () => {
    await withTree(async (dir) => {
      for (const name of ["a.img", "b.img"]) {
        const { code, err } = await disk(dir, "build", "tree", name, "--label", "root");
        assert.equal(code, 0, err);
      }
      const [a, b] = [Deno.readFileSync(`${dir}/a.img`), Deno.readFileSync(`${dir}/b.img`)];
      assert.ok(a.length > 1 << 20 && a.every((byte, i) => byte === b[i]) && a.length === b.length, "same bytes");
      assert.equal(run("e2fsck", "-fn", `${dir}/a.img`).code, 0);
      assert.equal((await disk(dir, "pack", "a.img", "a.tgz")).code, 0);
      assert.equal((await disk(dir, "unpack", "a.tgz", "out")).code, 0);
      assert.deepEqual(run("diff", "-r", `${dir}/tree`, `${dir}/out`), { code: 0, text: "" });
      const info = Deno.statSync(`${dir}/out/one`), deep = Deno.statSync(`${dir}/out/sub/deep`);
      assert.deepEqual([info.mode! & 0o7777, info.nlink, deep.mtime?.getTime()], [0o4750, 2, 1_500_000_000_000]);
      const again = await disk(dir, "build", "a.tgz", "c.img", "--label", "root", "--size", `${a.length}`);
      assert.equal(again.code, 0, again.err);
      assert.deepEqual(Deno.readFileSync(`${dir}/c.img`), a, "an archive of the disk makes the disk");
    });
  },
);

interop("fifos and devices are unpacked as such", { needs: [root, ffi, program("mknod")] }, async () => {
  await withTree(async (dir) => {
    const nodes: [name: string, ...kind: string[]][] = [["fifo", "p"], ["null", "c", "1", "3"], [
      "wide",
      "b",
      "259",
      "70000",
    ]];
    for (const [name, ...kind] of nodes) assert.equal(run("mknod", `${dir}/tree/${name}`, ...kind).code, 0);
    assert.equal((await disk(dir, "build", "tree", "a.img")).code, 0);
    const { code, err } = await disk(dir, "unpack", "a.img", "out");
    assert.equal(code, 0, err);
    for (const [name] of nodes) {
      const [was, is] = ["tree", "out"].map((folder) => Deno.lstatSync(`${dir}/${folder}/${name}`));
      assert.deepEqual([is.mode, is.rdev, is.isFifo], [was.mode, was.rdev, was.isFifo], name);
    }
  });
});

interop("archives are tar's: it reads ours, and we read its, compressed or not", { needs }, async () => {
  await withTree(async (dir) => {
    assert.equal((await disk(dir, "pack", "tree", "ours.tar.gz")).code, 0);
    Deno.mkdirSync(`${dir}/theirs`);
    assert.deepEqual(run("tar", "xpzf", `${dir}/ours.tar.gz`, "-C", `${dir}/theirs`), { code: 0, text: "" });
    assert.deepEqual(run("diff", "-r", `${dir}/tree`, `${dir}/theirs`), { code: 0, text: "" });
    for (const format of ["posix", "gnu"]) {
      assert.equal(run("tar", `--format=${format}`, "-C", `${dir}/tree`, "-cf", `${dir}/${format}.tar`, ".").code, 0);
      assert.equal((await disk(dir, "unpack", `${format}.tar`, format)).code, 0);
      assert.deepEqual(run("diff", "-r", `${dir}/tree`, `${dir}/${format}`), { code: 0, text: "" });
    }
  });
});

interop("fsck finds damage, --repair mends it; what is there is not overwritten", { needs }, async () => {
  await withTree(async (dir) => {
    assert.equal((await disk(dir, "mkfs", "usr.img", "4M", "--uuid", "0123456789abcdef0123456789abcdef")).code, 0);
    const taken = await disk(dir, "mkfs", "usr.img", "4M");
    assert.match(taken.err, /is there already \(try: --force\)/);
    assert.equal((await disk(dir, "unpack", "-", "usr.img")).code, 0, "an empty archive");
    const clean = await disk(dir, "fsck", "usr.img");
    assert.match(clean.out, /usr.img: clean/);
    const bytes = Deno.readFileSync(`${dir}/usr.img`), view = new DataView(bytes.buffer);
    view.setUint32(1024 + 12, 7, true);
    Deno.writeFileSync(`${dir}/usr.img`, bytes);
    const [found, mended] = [await disk(dir, "fsck", "usr.img"), await disk(dir, "fsck", "--repair", "usr.img")];
    assert.deepEqual([found.code, mended.code], [4, 1], found.out + mended.err);
    assert.equal((await disk(dir, "fsck", "usr.img")).code, 0);
    assert.equal(run("e2fsck", "-fn", `${dir}/usr.img`).code, 0);
  });
});

interop(
  "what is wrong with a command line ends with 2, what fails with 1; fsck as fsck(8)",
  { needs: [ffi] },
  async () => {
    const dir = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${dir}/notes.txt`, "this is no archive\n".repeat(100));
      const gzip = new Blob(["nor is this\n".repeat(100)]).stream().pipeThrough(new CompressionStream("gzip"));
      await Deno.writeFile(`${dir}/notes.gz`, gzip);
      const cases: [line: string, code: number, says: RegExp][] = [
        ["", 2, /a command is missing \(try: deno task disk --help\)/],
        ["mkfs", 2, /mkfs wants FILE SIZE/],
        ["mkfs a.img 4M --colour red", 2, /'--colour'/],
        ["mkfs a.img much", 2, /"much" is no size/],
        ["mkfs a.img 4M --label a-label-of-17-byte", 2, /--label: "a-label-of-17-byte" has more than 16 bytes/],
        ["mkfs a.img 4M --label ééééééééé", 2, /more than 16 bytes/],
        ["mkfs a.img 4M --block 1000", 1, /a block of 1000 bytes: wanted 1024, 2048/],
        ["build notes.txt a.img", 1, /notes\.txt is no folder, no archive and no disk/],
        ["build notes.gz a.img", 1, /notes\.gz: no tar file, or a damaged one/],
        ["fsck none.img", 8, /none\.img: file does not exist/],
        ["fsck", 16, /fsck wants FILE/],
      ];
      for (const [line, code, says] of cases) {
        const result = await disk(dir, ...line.split(" ").filter((word) => word !== ""));
        assert.equal(result.code, code, `${line}: ${result.err}`);
        assert.match(result.err, says, line);
      }
      assert.deepEqual(Array.from(Deno.readDirSync(dir), ({ name }) => name).sort(), ["notes.gz", "notes.txt"]);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

/** A folder with an image whose disk `usr` is filled from its folder, as a checkout by somebody else would have it. */
function makeImage(folder: string, fileMode: number, mtime: number): void {
  Deno.mkdirSync(`${folder}/usr/bin`, { recursive: true, mode: 0o777 });
  const volumes = ["usr=disks/usr.img create=4M from=usr repair", "tmp=tmp.img create=1M", "ram=ram!1M", "sd=/dev/sdb"];
  const image = { name: "some", plugins: [{ plugin: "root" }, { plugin: "ext2", options: { volumes } }] };
  Deno.writeTextFileSync(`${folder}/image.json`, JSON.stringify(image));
  Deno.writeTextFileSync(`${folder}/usr/README`, "read me\n".repeat(1000));
  Deno.writeTextFileSync(`${folder}/usr/bin/run`, "run\n");
  for (
    const [name, mode] of [["README", fileMode], ["bin/run", fileMode | 0o100], ["bin", 0o700 | fileMode]] as const
  ) {
    Deno.chmodSync(`${folder}/usr/${name}`, mode);
    Deno.utimeSync(`${folder}/usr/${name}`, mtime, mtime);
  }
}

const imageNeeds = [ffi, program("e2fsck")];

interop("image makes an image's disks, the same bytes of every checkout", { needs: imageNeeds }, async () => {
  const dir = await Deno.makeTempDir();
  try {
    makeImage(`${dir}/mine`, 0o644, 1_500_000_000);
    makeImage(`${dir}/yours`, 0o664, 1_600_000_000);
    for (const name of ["mine", "yours"]) {
      const { code, out, err } = await disk(dir, "image", `${dir}/${name}`, `${name}.disks`);
      assert.equal(code, 0, err);
      assert.match(out, /^(yours|mine)\.disks\/disks\/usr\.img: 3 files, uuid [0-9a-f-]{36}\n/);
    }
    const read = (path: string) => Deno.readFileSync(`${dir}/${path}`);
    for (const name of ["disks/usr.img", "tmp.img"]) {
      assert.deepEqual(read(`yours.disks/${name}`), read(`mine.disks/${name}`), name);
      assert.equal(run("e2fsck", "-fn", `${dir}/mine.disks/${name}`).code, 0, name);
    }
    const uuid = (path: string) => read(path).slice(1024 + 104, 1024 + 120).toHex();
    assert.notEqual(uuid("mine.disks/tmp.img"), uuid("mine.disks/disks/usr.img"));
    const again = await disk(dir, "image", `${dir}/mine`, "mine.disks");
    assert.match(again.err, /usr\.img is there already \(try: --force\)/);
    assert.equal((await disk(dir, "image", `${dir}/mine`, "mine.disks", "--force", "--time", "1000000000")).code, 0);
    assert.equal((await disk(dir, "unpack", "mine.disks/disks/usr.img", "out")).code, 0);
    assert.equal(Deno.statSync(`${dir}/out/bin/run`).mtime?.getTime(), 1e12);
    Deno.removeSync(`${dir}/mine/usr`, { recursive: true });
    const none = await disk(dir, "image", `${dir}/mine`, "none");
    assert.deepEqual([none.code, /mine\/usr: file does not exist/.test(none.err)], [1, true], none.err);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

interop(
  "image makes the disk that the plugin makes at the first boot, but for uuid and time",
  { needs: [ffi] },
  async () => {
    const dir = await Deno.makeTempDir();
    try {
      makeImage(`${dir}/mine`, 0o644, 1_500_000_000);
      const t = new Fixture({ folder: dir, image: `${dir}/mine` });
      await t.volumes.open(parseVolume("usr=boot.img create=4M from=usr"));
      const booted = Deno.readFileSync(`${dir}/boot.img`);
      await t.volumes.closeAll();
      const same = ["--uuid", "07".repeat(16), "--time", "1700000000"]; // as the fixture has it
      assert.equal((await disk(dir, "image", `${dir}/mine`, ".", ...same)).code, 0);
      assert.deepEqual(Deno.readFileSync(`${dir}/disks/usr.img`), booted);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

/** How others mount a disk. */
const MOUNTS: [name: string, needs: Need[], mount: string][] = [
  ["the kernel", [device("/dev/loop-control")], "mount -o loop,ro"],
  ["fuse2fs", [program("fuse2fs"), device("/dev/fuse")], "fuse2fs -o ro"],
];

for (const [name, needs, mount] of MOUNTS) {
  interop(
    `the disk of the default image: ${name} reads what is in its folder`,
    { needs: [...imageNeeds, root, program("unshare"), ...needs] },
    async () => {
      const dir = await Deno.makeTempDir();
      try {
        assert.equal((await disk(dir, "image", "default", ".")).code, 0);
        await Deno.mkdir(`${dir}/mnt`);
        const diff = `diff -r -x lost+found mnt '${new URL("../images/default/usr", import.meta.url).pathname}'`;
        const script = `cd ${dir} && ${mount} usr.img mnt && { ${diff}; r=$?; umount mnt; exit $r; }`;
        assert.deepEqual(run("unshare", "-m", "--propagation", "private", "sh", "-c", script), { code: 0, text: "" });
      } finally {
        await Deno.remove(dir, { recursive: true });
      }
    },
  );
}
