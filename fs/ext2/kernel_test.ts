/** The kernel's own driver as the judge, by a loop mount in a mount name space of its own: what it wrote we read, and back. */

import assert from "node:assert/strict";
import { device, interop, program, root } from "../../tests/skip.ts";
import { MemoryPort } from "../block_port.ts";
import { decodeUtf8 } from "../../core/p9/utf8.ts";
import {
  assertClean,
  LogPort,
  made,
  newVolume,
  Random,
  run,
  SlowPort,
  testClock,
  withImage,
  Workload,
} from "./ext2_fixture.ts";
import { Ext2 } from "./fs.ts";
import { FL_INDEX, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from "./layout.ts";

const needs = [root, device("/dev/loop-control"), program("unshare"), program("mke2fs"), program("python3")];

/** Runs shell commands in the root of the mounted volume; answers what they print. */
function mounted(path: string, script: string, type = "ext2"): Uint8Array {
  const dir = Deno.makeTempDirSync();
  const whole =
    `mount -t ${type} -o loop,user_xattr ${path} ${dir} && cd ${dir} && { ${script}\n}; r=$?; cd /; umount ${dir}; exit $r`;
  try {
    const args = ["-m", "--propagation", "private", "sh", "-c", whole];
    const { code, stdout, stderr } = new Deno.Command("unshare", { args, env: { LC_ALL: "C" } }).outputSync();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return stdout;
  } finally {
    Deno.removeSync(dir);
  }
}

/** Prints each file: path, mode, owners, links, size, times, target or device, checksum, attributes. */
const DUMP = `python3 - <<'END'
import os, stat, zlib, sys
out = []
def visit(p):
    s = os.lstat(p)
    m, extra = s.st_mode, b''
    if stat.S_ISLNK(m): extra = os.readlink(p)
    elif stat.S_ISREG(m): extra = b'%08x' % zlib.crc32(open(p, 'rb').read())
    elif stat.S_ISCHR(m) or stat.S_ISBLK(m): extra = b'%d,%d' % (os.major(s.st_rdev), os.minor(s.st_rdev))
    size = 0 if stat.S_ISDIR(m) else s.st_size
    attrs = b';'.join(sorted(a.encode('utf8', 'surrogateescape') + b'=' + os.getxattr(p, a, follow_symlinks=False).hex().encode() for a in os.listxattr(p, follow_symlinks=False))) if not stat.S_ISLNK(m) else b''
    out.append(b'%s|%o|%d|%d|%d|%d|%d|%d|%d|%s|%s' % (p, m, s.st_uid, s.st_gid, s.st_nlink, size, s.st_mtime_ns // 10**9, s.st_mtime_ns % 10**9, s.st_blocks, extra, attrs))
    if stat.S_ISDIR(m):
        for n in os.listdir(p): visit(p + b'/' + n)
visit(b'.')
sys.stdout.buffer.write(b'\\n'.join(sorted(out)))
END`;

const FILL = `set -e
mkdir -p a/b/c empty many
for i in $(seq 150); do echo "$i" > many/f$i; done
rm many/f1*; echo later > many/later_with_a_longer_name_than_before
head -c 400000 /dev/urandom > big; head -c 60000000 /dev/zero | tail -c 5 > small
dd if=/dev/urandom of=holes bs=1000 count=3 seek=20000 2>/dev/null; truncate -s 30000000 holes
ln -s short l1; ln -s $(printf 'long%.0s' $(seq 100)) l2; ln big a/b/again
mknod chr c 1 3; mknod blk b 259 70000; mkfifo fifo
chown 100000:70001 a/b; chmod 6755 a; touch -d 2001-01-01T00:00:00.123456789Z big
touch -d 1950-01-01 old; touch -d 2100-01-01 future 2>/dev/null || true
printf x > "$(printf 'not\\377utf8')"
python3 -c "
import os
os.setxattr('big', 'user.k', b'v' * 40); os.setxattr('a', 'user.long', b'w' * 500); os.setxattr('a', 'trusted.t', b'q')
os.setxattr('a/b', 'security.s', b'12345')
os.setxattr('empty', 'system.posix_acl_access', bytes.fromhex('0200000001000700ffffffff02000600e803000004000500ffffffff10000700ffffffff20000400ffffffff'))
"`;

const OPTIONS = ["-b 1024 -I 128", "-b 4096 -I 256"];

for (const options of OPTIONS) {
  interop(`what the kernel wrote reads the same here: ${options}`, { needs }, async () => {
    await withImageAsync(24 << 20, async (path) => {
      assert.equal(run("mke2fs", "-q", "-F", "-t", "ext2", ...options.split(" "), path).code, 0);
      const dump = mounted(path, `${FILL}; sync; ${DUMP}`);
      const fs = await Ext2.open(MemoryPort.from(Deno.readFileSync(path)), { now: testClock() });
      assertDumps(await dumpOf(fs), dump);
      assert.equal(fs.damageCount, 0);
    });
  });
}

for (const type of ["ext3", "ext4"]) {
  interop(
    `what the kernel wrote to ${type} reads the same here, and is changed so that it reads it`,
    { needs },
    async () => {
      await withImageAsync(32 << 20, async (path) => {
        assert.equal(run("mke2fs", "-q", "-F", "-t", type, path).code, 0);
        const dump = mounted(path, `${FILL}; sync; ${DUMP}`, type);
        const port = MemoryPort.from(Deno.readFileSync(path)), fs = await Ext2.open(port, { now: testClock() });
        assertDumps(await dumpOf(fs), dump);
        assert.equal(fs.whyReadOnly, null);
        await fs.unlink(fs.root, "big");
        const dir = await fs.lookup(fs.root, "many");
        for (let i = 0; i < 60; i++) await fs.make(dir, `ours${i}`, { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
        const holes = await fs.lookup(fs.root, "holes");
        for (let i = 0; i < 40; i++) await fs.write(holes, new Uint8Array(2000).fill(i), i * 700_000);
        await special(fs, "ours");
        const ours = await dumpOf(fs);
        await fs.close();
        assertClean(port.bytes(), "after our changes");
        Deno.writeFileSync(path, port.bytes());
        assertDumps(ours, mounted(path, DUMP, type));
      });
    },
  );
}

for (
  const [type, options] of [["ext3", "-b 1024"], ["ext4", "-b 1024"]]
) {
  interop(`a journal that was not replayed is laid over the disk: ${type} ${options}`, { needs }, async () => {
    await withImageAsync(32 << 20, async (path) => {
      assert.equal(run("mke2fs", "-q", "-F", "-t", type, ...options.split(" "), path).code, 0);
      const script = `${FILL}; sync; rm -r many; mkdir many; mv small many; sync; cp ${path} ${path}.cut; ${DUMP}`;
      const dump = mounted(path, script, type), bytes = Deno.readFileSync(`${path}.cut`);
      Deno.removeSync(`${path}.cut`);
      const incompat = new DataView(bytes.buffer).getUint32(1024 + 96, true);
      assert.ok(incompat & 4, "the copy was taken with the journal in use");
      for (const port of [MemoryPort.from(bytes), new SlowPort(MemoryPort.from(bytes))]) {
        const fs = await Ext2.open(port, { now: testClock(), readOnly: true });
        assertDumps(await dumpOf(fs), dump);
      }
      const memory = MemoryPort.from(bytes), fs = await Ext2.open(new SlowPort(memory), { now: testClock() });
      assert.equal(fs.whyReadOnly, null);
      assertDumps(await dumpOf(fs), dump);
      await fs.make(fs.root, "ours", { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
      await fs.close();
      assertClean(memory.bytes(), "recovered here");
    });
  });
}

interop("a hash tree of the kernel's loses its flag when we add to it, safely at every write", { needs }, async () => {
  await withImageAsync(8 << 20, async (path) => {
    assert.equal(run("mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-O", "dir_index", path).code, 0);
    mounted(path, "mkdir tree; for i in $(seq 400); do : > tree/name_of_file_$i; done", "ext4");
    const before = MemoryPort.from(Deno.readFileSync(path)), port = LogPort.over(before, 1024);
    const fs = await Ext2.open(port, { now: testClock() }), tree = await fs.lookup(fs.root, "tree");
    assert.ok((await fs.stat(tree)).flags & FL_INDEX, "the kernel made a hash tree");
    await fs.unlink(tree, "name_of_file_7");
    assert.ok((await fs.stat(tree)).flags & FL_INDEX, "a removal leaves it right");
    for (let i = 0; i < 60; i++) await fs.make(tree, `new${i}`, { mode: S_IFREG | 0o644, uid: 0, gid: 0 });
    await fs.rename({ dir: tree, name: "name_of_file_9", toDir: tree, toName: "renamed" });
    assert.equal((await fs.stat(tree)).flags & FL_INDEX, 0);
    await fs.close();
    assertClean(port.bytes(), "after all");
    const bytes = before.bytes(), step = Math.ceil(port.log.length / 12);
    port.log.forEach((entry, i) => {
      if (entry) bytes.set(entry.data, entry.offset);
      if (i % step !== 0) return;
      withImage(bytes, (cut) => {
        const { code, text } = run("e2fsck", "-p", "-f", cut);
        assert.ok(code < 4, `cut at ${i} of ${port.log.length}: ${text}`);
      });
    });
  });
});

const FILLED: [string, string, () => MemoryPort][] = [
  ["1024, 128", "ext2", () => newVolume({ size: 16 << 20, blockSize: 1024, inodeSize: 128 })],
  ["4096, 256", "ext2", () => newVolume({ size: 16 << 20, blockSize: 4096, inodeSize: 256 })],
  ["ext3", "ext3", () => made("-t ext3 -b 1024 -J size=4", 24 << 20)],
  ["ext4", "ext4", () => made("-t ext4 -b 1024 -J size=4", 24 << 20)],
  ["ext4 without a journal", "ext4", () => made("-t ext4 -b 4096 -O ^has_journal", 24 << 20)],
];
for (const [name, type, makePort] of FILLED) {
  interop(
    `what we wrote the kernel reads the same, and goes on from: ${name}`,
    { needs },
    async () => {
      const port = makePort();
      const fs = await Ext2.open(port, { now: testClock() }), load = new Workload(fs, new Random(name.length));
      for (let i = 0; i < 300; i++) await load.step();
      await special(fs);
      const ours = await dumpOf(fs);
      await fs.close();
      await withImageAsync(0, async (path) => {
        Deno.writeFileSync(path, port.bytes());
        assertDumps(ours, mounted(path, DUMP, type));
        const script = `rm -rf holes lost; mkdir -p x/y; cp -a blk x/y; mv acl x/; echo more >> small; sync; ${DUMP}`;
        const theirs = mounted(path, script, type);
        const bytes = Deno.readFileSync(path);
        assertClean(bytes, "after the kernel");
        assertDumps(await dumpOf(await Ext2.open(MemoryPort.from(bytes), { now: testClock() })), theirs);
      });
    },
  );
}

/** What the random workload does not make. */
async function special(fs: Ext2, prefix = ""): Promise<void> {
  const owner = { uid: 4_000_000_000, gid: 3_000_000_000 };
  await fs.make(fs.root, prefix + "blk", { mode: S_IFBLK | 0o660, ...owner, major: 259, minor: 70_000 });
  await fs.make(fs.root, prefix + "chr", { mode: S_IFCHR | 0o666, ...owner, major: 1, minor: 3 });
  await fs.make(fs.root, prefix + "fifo", { mode: S_IFIFO | 0o600, ...owner });
  await fs.make(fs.root, prefix + "sock", { mode: S_IFSOCK | 0o600, ...owner });
  const small = await fs.make(fs.root, prefix + "small", { mode: S_IFREG | 0o600, ...owner });
  await fs.write(small, new TextEncoder().encode("text"), 0);
  await fs.setattr(small, { mtime: { sec: 1_000_000_000, nsec: 987_654_321 } });
  await fs.setxattr(small, "trusted.x", new Uint8Array(300).fill(7));
  await fs.setxattr(small, "user.y", new Uint8Array(0));
  const holes = await fs.make(fs.root, prefix + "holes", { mode: S_IFREG | 0o600, ...owner });
  await fs.write(holes, new Uint8Array(5000).fill(9), 100_000_000);
  const acl = await fs.make(fs.root, prefix + "acl", { mode: S_IFREG | 0o664, ...owner });
  const text = "0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff";
  await fs.setxattr(acl, "system.posix_acl_access", Uint8Array.from(text.match(/../g)!, (b) => parseInt(b, 16)));
  const raw = decodeUtf8(Uint8Array.of(0x6e, 0xff, 0xfe), 0, 3);
  await fs.make(fs.root, prefix + raw, { mode: S_IFREG | 0o600, ...owner });
}

async function withImageAsync(size: number, use: (path: string) => Promise<void>): Promise<void> {
  const path = withImage(null, (p) => p);
  try {
    Deno.writeFileSync(path, new Uint8Array(0));
    Deno.truncateSync(path, size);
    await use(path);
  } finally {
    Deno.removeSync(path);
  }
}

function assertDumps(ours: string[], theirs: Uint8Array): void {
  const lines: string[] = [];
  for (let at = 0; at <= theirs.length;) {
    const next = theirs.indexOf(10, at), end = next < 0 ? theirs.length : next;
    lines.push(decodeUtf8(theirs, at, end - at));
    at = end + 1;
  }
  assert.deepEqual(ours.sort(), lines.sort());
}

async function dumpOf(fs: Ext2, ino = fs.root, path = "."): Promise<string[]> {
  const stat = await fs.stat(ino), type = stat.mode & S_IFMT;
  let extra = "";
  if (type === S_IFLNK) extra = await fs.readlink(ino);
  else if (type === S_IFREG) extra = await checksum(fs, ino, stat.size);
  else if (type === S_IFCHR || type === S_IFBLK) extra = `${stat.major},${stat.minor}`;
  const attrs = type === S_IFLNK ? [] : await Promise.all((await fs.listxattr(ino)).map(async (name) => {
    const value = await fs.getxattr(ino, name);
    return `${name}=${[...value].map((b) => b.toString(16).padStart(2, "0")).join("")}`;
  }));
  const size = type === S_IFDIR ? 0 : stat.size, { uid, gid, links, mtime, mtimeNsec, blocks } = stat;
  const own = [
    path,
    stat.mode.toString(8),
    uid,
    gid,
    links,
    size,
    mtime,
    mtimeNsec,
    blocks,
    extra,
    attrs.sort().join(";"),
  ];
  const lines = [own.join("|")];
  if (type !== S_IFDIR) return lines;
  for (const entry of await fs.readdir(ino, 0, 100_000)) {
    if (entry.name !== "." && entry.name !== "..") lines.push(...await dumpOf(fs, entry.ino, `${path}/${entry.name}`));
  }
  return lines;
}

const CRC = Uint32Array.from({ length: 256 }, (_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ 0xedb88320 : i >>> 1;
  return i;
});

async function checksum(fs: Ext2, ino: number, size: number): Promise<string> {
  const part = new Uint8Array(1 << 16);
  let crc = 0xffffffff;
  for (let at = 0; at < size;) {
    const count = await fs.read(ino, part, at);
    for (let i = 0; i < count; i++) crc = (crc >>> 8) ^ CRC[(crc ^ part[i]) & 255];
    at += count;
  }
  return ((crc ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}
