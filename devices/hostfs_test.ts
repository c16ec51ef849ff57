import assert from "node:assert/strict";
import { HostFs, O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR } from "./hostfs.ts";

new HostFs(); // loads the C library, which stays, before the sanitizers look

/** Calls `use` with the system calls and a handle on a new directory with a file `f` in it. */
function withDir(use: (fs: HostFs, dir: number, path: string) => void): void {
  const path = Deno.makeTempDirSync(), fs = new HostFs();
  Deno.writeTextFileSync(`${path}/f`, "hello");
  const dir = fs.openRoot(path);
  try {
    use(fs, dir, path);
  } finally {
    fs.close(dir);
    Deno.removeSync(path, { recursive: true });
  }
}

Deno.test("statAt tells what the host tells, of a link itself", () =>
  withDir((fs, dir, path) => {
    Deno.symlinkSync("f", `${path}/link`);
    const stat = fs.statAt(dir, "f"), host = Deno.statSync(`${path}/f`);
    assert.deepEqual([stat.ino, stat.size, stat.mode, stat.nlink], [host.ino, 5, host.mode, host.nlink]);
    assert.equal(stat.mtime * 1000 + Math.floor(stat.mtimeNsec / 1e6), host.mtime!.getTime());
    assert.equal(fs.statAt(dir, "link").mode & 0o170000, 0o120000);
    assert.throws(() => fs.statAt(dir, "missing"), { code: "ENOENT", message: "file does not exist" });
  }));

Deno.test("openAt follows no link, last or not, and reopen opens the very file of a handle", () =>
  withDir((fs, dir, path) => {
    Deno.symlinkSync("f", `${path}/link`);
    assert.throws(() => fs.openAt(dir, "link", O_RDONLY), { code: "ELOOP" });
    assert.throws(() => fs.openAt(dir, "link", O_PATH | O_DIRECTORY), { code: "ENOTDIR" });
    const handle = fs.openAt(dir, "f", O_PATH);
    Deno.renameSync(`${path}/f`, `${path}/g`);
    Deno.writeTextFileSync(`${path}/f`, "other");
    const fd = fs.reopen(handle, O_RDWR), into = new Uint8Array(new SharedArrayBuffer(16));
    assert.deepEqual([fs.read(fd, into.subarray(3), 1), new TextDecoder().decode(into.slice(3, 7))], [4, "ello"]);
    assert.equal(fs.read(fd, into, 100), 0);
    for (const open of [fd, handle]) fs.close(open);
  }));

Deno.test("rename without `over` refuses a name that is taken", () =>
  withDir((fs, dir, path) => {
    Deno.writeTextFileSync(`${path}/g`, "g");
    assert.throws(() => fs.rename({ dir, name: "f" }, { dir, name: "g" }, false), { code: "EEXIST" });
    fs.rename({ dir, name: "f" }, { dir, name: "g" }, true);
    assert.equal(Deno.readTextFileSync(`${path}/g`), "hello");
  }));

Deno.test("pathOf tells where a directory is, statfs what its file system has", () =>
  withDir((fs, dir, path) => {
    assert.equal(fs.pathOf(dir), Deno.realPathSync(path));
    const { bsize, blocks, bfree, namelen } = fs.statfs(dir);
    assert.ok(bsize >= 512 && BigInt(blocks) >= BigInt(bfree) && namelen >= 255);
  }));

Deno.test("a name with a NUL, or longer than a path may be, never reaches the host", () =>
  withDir((fs, dir) => {
    assert.throws(() => fs.statAt(dir, "f\0x"), { code: "EINVAL" });
    assert.throws(() => fs.statAt(dir, "x".repeat(4096)), { code: "ENAMETOOLONG" });
  }));
