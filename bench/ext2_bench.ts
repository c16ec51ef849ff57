/**
 * Our ext2 in process, over a file of the host and over memory, beside the kernel's ext2 on a loop mount, fuse2fs, and
 * libext2fs in WASM (the npm package ext2fs), called from the same runtime. Operations a second, and MiB a second; the
 * ratios of one run are what counts.
 *
 * Run: deno task bench ext2 [--json] [--files=50000] [--mib=256] [--npm=DIR]. The kernel's column and that of fuse2fs need
 * root, unshare and mke2fs; DIR is a folder with the package in its node_modules. A column that can not be had is left out,
 * and says why.
 */

import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { type BlockPort, MemoryPort } from "../fs/block_port.ts";
import { Ext2 } from "../fs/ext2/fs.ts";
import { S_IFDIR, S_IFREG } from "../fs/ext2/layout.ts";
import { mkfs } from "../fs/ext2/mkfs.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    json: { type: "boolean", default: false },
    files: { type: "string", default: "50000" },
    mib: { type: "string", default: "256" },
    kernel: { type: "string" },
    npm: { type: "string" },
  },
});
const FILES = Number(values.files), MIB = Number(values.mib), DISK_BYTES = (MIB + 300) << 20;
const KIB = new Uint8Array(1024).fill(7), PIECE = new Uint8Array(1 << 20).fill(3), BLOCK = new Uint8Array(4096);

/** At once where it can be, so that who answers at once does not pay for who does not. */
type Maybe = void | Promise<unknown>;

/** What is measured, by whatever serves it. `small` has 10,000 files at the most. */
interface Subject {
  mkdir(name: string): Maybe;
  create(dir: string, name: string, data: Uint8Array | null): Maybe;
  /** Reads a directory, and the attributes of all in it. */
  list(dir: string): Maybe;
  look(dir: string, name: string): Maybe;
  unlink(dir: string, name: string): Maybe;
  write(name: string, data: Uint8Array, offset: number): Maybe;
  read(name: string, data: Uint8Array, offset: number): Maybe;
  sync(): Maybe;
}

/** A file of the host as a port: the page cache is beneath. */
class FilePort implements BlockPort {
  readonly sectorBytes = 512;
  readonly readOnly = false;
  readonly cached = true;
  readonly size: number;
  readonly #fd: number;
  constructor(path: string, size: number) {
    this.#fd = fs.openSync(path, "w+");
    fs.ftruncateSync(this.#fd, size);
    this.size = size;
  }
  read(dst: Uint8Array, offset: number): void {
    fs.readSync(this.#fd, dst, 0, dst.length, offset);
  }
  write(src: Uint8Array, offset: number): void {
    fs.writeSync(this.#fd, src, 0, src.length, offset);
  }
  flush(): void {}
}

/** Our own: every answer is there at once, so nothing is awaited. */
class Ours implements Subject {
  readonly #fs: Ext2;
  readonly #inos = new Map<string, number>();
  constructor(port: BlockPort) {
    mkfs(port, { uuid: new Uint8Array(16).fill(1), now: 0, blockSize: 4096, bytesPerInode: 4096, zeroed: true });
    this.#fs = Ext2.open(port, { now: Date.now }) as Ext2;
  }
  mkdir(name: string): void {
    this.#inos.set(name, this.#fs.make(this.#fs.root, name, { mode: S_IFDIR | 0o755, uid: 0, gid: 0 }) as number);
  }
  create(dir: string, name: string, data: Uint8Array | null): void {
    const ino = this.#fs.make(this.#inos.get(dir)!, name, { mode: S_IFREG | 0o644, uid: 0, gid: 0 }) as number;
    if (data) this.#fs.write(ino, data, 0);
  }
  list(dir: string): void {
    for (let cookie = 0;;) {
      const entries = this.#fs.readdir(this.#inos.get(dir)!, cookie, 500) as { ino: number; next: number }[];
      if (entries.length === 0) return;
      for (const { ino } of entries) this.#fs.stat(ino);
      cookie = entries.at(-1)!.next;
    }
  }
  look(dir: string, name: string): void {
    const at = this.#fs.lookup(this.#fs.root, dir) as number;
    this.#fs.stat(this.#fs.lookup(at, name) as number);
  }
  unlink(dir: string, name: string): void {
    this.#fs.unlink(this.#inos.get(dir)!, name);
  }
  write(name: string, data: Uint8Array, offset: number): void {
    let ino = this.#inos.get(name);
    if (!ino) {
      ino = this.#fs.make(this.#fs.root, name, { mode: S_IFREG | 0o644, uid: 0, gid: 0 }) as number;
      this.#inos.set(name, ino);
    }
    this.#fs.write(ino, data, offset);
  }
  read(name: string, data: Uint8Array, offset: number): void {
    this.#fs.read(this.#inos.get(name)!, data, offset);
  }
  sync(): void {
    this.#fs.sync();
  }
}

/** The kernel's, mounted at `root`. */
class Kernel implements Subject {
  readonly #root: string;
  readonly #fds = new Map<string, number>();
  constructor(root: string) {
    this.#root = root;
  }
  mkdir(name: string): void {
    fs.mkdirSync(`${this.#root}/${name}`);
  }
  create(dir: string, name: string, data: Uint8Array | null): void {
    const fd = fs.openSync(`${this.#root}/${dir}/${name}`, "wx");
    if (data) fs.writeSync(fd, data);
    fs.closeSync(fd);
  }
  list(dir: string): void {
    const names = fs.readdirSync(`${this.#root}/${dir}`);
    for (const name of names) fs.lstatSync(`${this.#root}/${dir}/${name}`);
  }
  look(dir: string, name: string): void {
    fs.lstatSync(`${this.#root}/${dir}/${name}`);
  }
  unlink(dir: string, name: string): void {
    fs.unlinkSync(`${this.#root}/${dir}/${name}`);
  }
  write(name: string, data: Uint8Array, offset: number): void {
    fs.writeSync(this.#fd(name), data, 0, data.length, offset);
  }
  read(name: string, data: Uint8Array, offset: number): void {
    fs.readSync(this.#fd(name), data, 0, data.length, offset);
  }
  sync(): void {
    new Deno.Command("sync", { args: ["-f", this.#root] }).outputSync();
  }
  #fd(name: string): number {
    const path = `${this.#root}/${name}`;
    const fd = this.#fds.get(name) ?? fs.openSync(path, "w+");
    this.#fds.set(name, fd);
    return fd;
  }
}

/** libext2fs in WASM: what of node's promises of files it offers. */
interface NpmFs {
  mkdir(path: string): Promise<void>;
  readdir(path: string): Promise<string[]>;
  lstat(path: string): Promise<unknown>;
  unlink(path: string): Promise<void>;
  open(path: string, flags: string): Promise<NpmHandle>;
}
interface NpmHandle {
  read(data: Uint8Array, at: number, length: number, position: number): Promise<unknown>;
  write(data: Uint8Array, at: number, length: number, position: number): Promise<unknown>;
  close(): Promise<void>;
}

class Npm implements Subject {
  readonly #fs: NpmFs;
  readonly #open = new Map<string, NpmHandle>();
  constructor(fs: NpmFs) {
    this.#fs = fs;
  }
  mkdir(name: string): Promise<void> {
    return this.#fs.mkdir(`/${name}`);
  }
  async create(dir: string, name: string, data: Uint8Array | null): Promise<void> {
    const file = await this.#fs.open(`/${dir}/${name}`, "w");
    if (data) await file.write(bufferOf(data), 0, data.length, 0);
    await file.close();
  }
  async list(dir: string): Promise<void> {
    for (const name of await this.#fs.readdir(`/${dir}`)) await this.#fs.lstat(`/${dir}/${name}`);
  }
  look(dir: string, name: string): Promise<unknown> {
    return this.#fs.lstat(`/${dir}/${name}`);
  }
  unlink(dir: string, name: string): Promise<void> {
    return this.#fs.unlink(`/${dir}/${name}`);
  }
  async write(name: string, data: Uint8Array, offset: number): Promise<void> {
    await (await this.#handle(name)).write(bufferOf(data), 0, data.length, offset);
  }
  async read(name: string, data: Uint8Array, offset: number): Promise<void> {
    await (await this.#handle(name)).read(bufferOf(data), 0, data.length, offset);
  }
  sync(): void {}
  async close(): Promise<void> {
    for (const handle of this.#open.values()) await handle.close();
  }
  async #handle(name: string): Promise<NpmHandle> {
    const handle = this.#open.get(name) ?? await this.#fs.open(`/${name}`, "w+");
    this.#open.set(name, handle);
    return handle;
  }
}

/** The same bytes as a Buffer, which is all that the package takes. */
function bufferOf(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.length);
}

/** A file as that package wants its disks. */
class NpmDisk {
  readonly #fd: number;
  readonly #size: number;
  constructor(path: string, size: number) {
    this.#fd = fs.openSync(path, "r+");
    this.#size = size;
  }
  getCapacity(): Promise<number> {
    return Promise.resolve(this.#size);
  }
  read(buffer: Uint8Array, at: number, length: number, position: number): Promise<unknown> {
    return Promise.resolve({ bytesRead: fs.readSync(this.#fd, buffer, at, length, position), buffer });
  }
  write(buffer: Uint8Array, at: number, length: number, position: number): Promise<unknown> {
    return Promise.resolve({ bytesWritten: fs.writeSync(this.#fd, buffer, at, length, position), buffer });
  }
  flush(): Promise<void> {
    return Promise.resolve();
  }
  discard(): Promise<void> {
    return Promise.resolve();
  }
}

async function npmResults(path: string, folder: string): Promise<Record<string, number> | null> {
  const made = new Deno.Command("mke2fs", { args: MKE2FS(path) }).outputSync();
  if (!made.success) return null;
  const ext2fs = createRequire(`${folder}/`)("ext2fs");
  let results: Record<string, number> | null = null;
  await ext2fs.withMountedDisk(new NpmDisk(path, DISK_BYTES), 0, async ({ promises }: { promises: NpmFs }) => {
    const subject = new Npm(promises);
    results = await measure(subject);
    await subject.close();
  });
  return results;
}

/** Operations (or MiB) a second of `work`, which does `count` of them. */
async function rate(count: number, work: () => Maybe): Promise<number> {
  const start = performance.now();
  await work();
  return count / ((performance.now() - start) / 1000);
}

async function measure(subject: Subject): Promise<Record<string, number>> {
  const small = Math.min(10_000, FILES), results: Record<string, number> = {};
  const each = (count: number, work: (i: number) => Maybe) => async () => {
    for (let i = 0; i < count; i++) {
      const pending = work(i);
      if (pending) await pending;
    }
  };
  const row = async (name: string, count: number, work: () => Maybe) => {
    results[name] = await rate(count, work);
  };
  const dirs = Array.from({ length: 100 }, (_, d) => `d${d}`);
  for (const dir of ["small", "empty", ...dirs]) await subject.mkdir(dir);
  await row("create, 1 KiB, one directory", small, each(small, (i) => subject.create("small", `file${i}`, KIB)));
  await row("create, 1 KiB, 100 directories", small, each(small, (i) => subject.create(`d${i % 100}`, `f${i}`, KIB)));
  await row("stat by path, 100 directories", small, each(small, (i) => subject.look(`d${i % 100}`, `f${i}`)));
  await row("tree walk, 100 directories", small, each(100, (d) => subject.list(dirs[d])));
  await row("create, empty, one directory", FILES, each(FILES, (i) => subject.create("empty", `file${i}`, null)));
  await row("readdir and stat", FILES, () => subject.list("empty"));
  await row("unlink", FILES, each(FILES, (i) => subject.unlink("empty", `file${i}`)));
  await row("sequential write, MiB", MIB, each(MIB, (i) => subject.write("big", PIECE, i << 20)));
  await row("sync, a second", 1, () => subject.sync());
  await row("sequential read, MiB", MIB, each(MIB, (i) => subject.read("big", PIECE, i << 20)));
  let seed = 1;
  const place = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % (MIB * 256)) * 4096;
  await row("random read, 4 KiB", 100_000, each(100_000, () => subject.read("big", BLOCK, place())));
  await row("random write, 4 KiB", 50_000, each(50_000, () => subject.write("big", BLOCK, place())));
  return results;
}

const MKE2FS = (path: string) => ["-q", "-F", "-t", "ext2", "-b", "4096", "-N", "131072", path, `${DISK_BYTES >> 10}k`];

/** Runs this program again in a mount name space of its own, where `mount` has mounted a new ext2. */
function mountedResults(path: string, mount: string): Record<string, number> | null {
  const dir = Deno.makeTempDirSync(), { pathname } = new URL(import.meta.url);
  const again = `${Deno.execPath()} run -A ${pathname} --json --files=${FILES} --mib=${MIB} --kernel=${dir}`;
  const script = `rm -f ${path}; mke2fs ${MKE2FS(path).join(" ")} && ${mount} ${path} ${dir} && ` +
    `{ ${again}; r=$?; umount ${dir}; exit $r; }`;
  const args = ["-m", "--propagation", "private", "sh", "-c", script];
  const { success, stdout, stderr } = new Deno.Command("unshare", { args }).outputSync();
  Deno.removeSync(dir);
  if (success) return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
  console.error(`${mount}: left out: ${new TextDecoder().decode(stderr).trim()}`);
  return null;
}

if (values.kernel) console.log(JSON.stringify(await measure(new Kernel(values.kernel))));
else {
  const path = Deno.makeTempFileSync();
  try {
    const columns: Record<string, Record<string, number> | null> = {
      "ours, memory": await measure(new Ours(new MemoryPort(DISK_BYTES))),
      "ours, file": await measure(new Ours(new FilePort(path, DISK_BYTES))),
      "kernel, loop": mountedResults(path, "mount -t ext2 -o loop"),
      "fuse2fs": mountedResults(path, "fuse2fs -o fakeroot"),
      "npm ext2fs": values.npm ? await npmResults(path, values.npm) : null,
    };
    if (values.json) console.log(JSON.stringify(columns));
    else print(columns);
  } finally {
    Deno.removeSync(path);
  }
}

function print(columns: Record<string, Record<string, number> | null>): void {
  const there = Object.entries(columns).filter(([, column]) => column !== null) as [string, Record<string, number>][];
  console.log("".padEnd(34) + there.map(([name]) => name.padStart(14)).join(""));
  for (const row of Object.keys(there[0][1])) {
    console.log(
      row.padEnd(34) +
        there.map(([, column]) => column[row].toFixed(row.startsWith("sync") ? 1 : 0).padStart(14)).join(""),
    );
  }
}
