/**
 * Our ext2 in process, over a file of the host and over memory, beside the kernel's ext2 on a loop mount, fuse2fs, and
 * libext2fs in WASM (the npm package ext2fs), called from the same runtime. Operations a second, and MiB a second; the
 * ratios of one run are what counts. All disks are files in memory (/dev/shm) without holes, so that nobody waits for memory
 * that the host has to find first; ours and the package reach theirs by the same calls. Rows that can be done again are the
 * median of several rounds.
 *
 * Run: deno task bench ext2 [--json] [--files=50000] [--mib=256] [--npm=DIR] [--only=COLUMN,...]. The kernel's column and
 * that of fuse2fs need root, unshare and mke2fs; DIR is a folder with the package in its node_modules. A column that can
 * not be had, or that takes too long, is left out, and says why. fuse2fs slows down with the square of the names in a
 * directory: it gets 5,000 files at the most.
 */

import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { BlkFile } from "../devices/blkfile.ts";
import { type BlockPort, MemoryPort } from "../fs/block_port.ts";
import { Ext2 } from "../fs/ext2/fs.ts";
import { S_IFDIR, S_IFREG } from "../fs/ext2/layout.ts";
import { mkfs } from "../fs/ext2/mkfs.ts";
import { count, onOff, partsOf, readFlags, refuse, text } from "./flags.ts";

const values = readFlags("ext2", {
  json: onOff(),
  files: count(50_000),
  mib: count(256, 65_536),
  only: partsOf(() => ["ours, memory", "ours, file", "kernel, loop", "fuse2fs", "npm ext2fs"]),
  kernel: text("DIR", undefined),
  npm: text("DIR", undefined),
});
if (values.npm && !fs.existsSync(`${values.npm}/node_modules/ext2fs`)) {
  refuse("ext2", `--npm: ${values.npm} has no node_modules/ext2fs (try: npm i ext2fs, there)`);
}
const ROUNDS = 3, FUSE_FILES = 5000, LIMIT_S = 600;
const FILES = values.files, MIB = values.mib, DISK_BYTES = (ROUNDS * MIB + 300) << 20;
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

/** A file as the ext2 plugin has it, but for flushes, which the peers do not do either: so every answer is there at once. */
class FilePort implements BlockPort {
  readonly sectorBytes = 512;
  readonly readOnly = false;
  readonly cached = true;
  readonly size: number;
  readonly #disk: BlkFile;
  constructor(disk: BlkFile) {
    this.#disk = disk;
    this.size = disk.size;
  }
  read(dst: Uint8Array, offset: number): void {
    this.#disk.read(dst, offset);
  }
  write(src: Uint8Array, offset: number): void {
    this.#disk.write(src, offset);
  }
  flush(): void {}
}

/** Our own. */
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
  readonly #disk: BlkFile;
  constructor(disk: BlkFile) {
    this.#disk = disk;
  }
  getCapacity(): Promise<number> {
    return Promise.resolve(this.#disk.size);
  }
  read(buffer: Uint8Array, at: number, length: number, position: number): Promise<unknown> {
    this.#disk.read(buffer.subarray(at, at + length), position);
    return Promise.resolve({ bytesRead: length, buffer });
  }
  write(buffer: Uint8Array, at: number, length: number, position: number): Promise<unknown> {
    this.#disk.write(buffer.subarray(at, at + length), position);
    return Promise.resolve({ bytesWritten: length, buffer });
  }
  flush(): Promise<void> {
    return Promise.resolve();
  }
  discard(): Promise<void> {
    return Promise.resolve();
  }
}

/** What a column says, or null where it can not be had. */
type Results = Record<string, number> | null;

/** Writes all of a disk once. */
function fill(disk: { write(src: Uint8Array, offset: number): unknown }): void {
  const zeros = new Uint8Array(1 << 20);
  for (let at = 0; at < DISK_BYTES; at += zeros.length) disk.write(zeros, at);
}

/** A file for a disk. */
function makeFile(path: string): BlkFile {
  const disk = BlkFile.create(path, DISK_BYTES);
  fill(disk);
  return disk;
}

function memoryResults(): Promise<Results> {
  const disk = new MemoryPort(DISK_BYTES);
  fill(disk);
  return measure(new Ours(disk));
}

async function fileResults(path: string): Promise<Results> {
  const disk = makeFile(path);
  try {
    return await measure(new Ours(new FilePort(disk)));
  } finally {
    await disk.close();
  }
}

async function npmResults(path: string): Promise<Results> {
  if (!values.npm) return null;
  const disk = makeFile(path);
  if (!new Deno.Command("mke2fs", { args: mke2fsArgs(path) }).outputSync().success) return null;
  const ext2fs = createRequire(`${values.npm}/`)("ext2fs");
  let results: Results = null;
  await ext2fs.withMountedDisk(new NpmDisk(disk), 0, async ({ promises }: { promises: NpmFs }) => {
    const subject = new Npm(promises);
    results = await measure(subject);
    await subject.close();
  });
  await disk.close();
  return results;
}

/** Seconds that `work` takes. */
async function seconds(work: () => Maybe): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

async function measure(subject: Subject): Promise<Record<string, number>> {
  const small = Math.min(10_000, FILES), results: Record<string, number> = {};
  const each = (count: number, work: (i: number) => Maybe) => async () => {
    for (let i = 0; i < count; i++) {
      const pending = work(i);
      if (pending) await pending;
    }
  };
  /** A row of operations (or MiB) a second: the median of rounds that do `count` each. */
  const rows = async (name: string, count: number, round: (r: number) => () => Maybe, rounds = ROUNDS) => {
    const taken: number[] = [];
    for (let r = 0; r < rounds; r++) taken.push(await seconds(round(r)));
    results[name] = count / taken.sort((a, b) => a - b)[rounds >> 1];
  };
  const row = (name: string, count: number, work: () => Maybe) => rows(name, count, () => work, 1);
  const dirs = Array.from({ length: 100 }, (_, d) => `d${d}`);
  for (const dir of ["small", "empty", ...dirs]) await subject.mkdir(dir);
  await row("create, 1 KiB, one directory", small, each(small, (i) => subject.create("small", `file${i}`, KIB)));
  await row("create, 1 KiB, 100 directories", small, each(small, (i) => subject.create(`d${i % 100}`, `f${i}`, KIB)));
  const byPath = each(small, (i) => subject.look(`d${i % 100}`, `f${i}`));
  await rows("stat by path, 100 directories", small, () => byPath);
  await rows("tree walk, 100 directories", small, () => each(100, (d) => subject.list(dirs[d])));
  await row("create, empty, one directory", FILES, each(FILES, (i) => subject.create("empty", `file${i}`, null)));
  await rows("readdir and stat", FILES, () => () => subject.list("empty"));
  await row("unlink", FILES, each(FILES, (i) => subject.unlink("empty", `file${i}`)));
  await rows("sequential write, MiB", MIB, (r) => each(MIB, (i) => subject.write(`big${r}`, PIECE, i << 20)));
  await row("sync, a second", 1, () => subject.sync());
  await rows("sequential read, MiB", MIB, (r) => each(MIB, (i) => subject.read(`big${r}`, PIECE, i << 20)));
  let seed = 1;
  const place = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % (MIB * 256)) * 4096;
  await rows("random read, 4 KiB", 50_000, () => each(50_000, () => subject.read("big0", BLOCK, place())));
  await rows("random write, 4 KiB", 50_000, () => each(50_000, () => subject.write("big0", BLOCK, place())));
  return results;
}

function mke2fsArgs(path: string): string[] {
  return ["-q", "-F", "-t", "ext2", "-b", "4096", "-N", "131072", "-E", "nodiscard", path, `${DISK_BYTES >> 10}k`];
}

/** Runs this program again in a mount name space of its own, where `mount` has mounted a new ext2. */
function mountedResults(path: string, mount: string, files: number): Results {
  makeFile(path).close();
  const dir = Deno.makeTempDirSync(), { pathname } = new URL(import.meta.url);
  const again = `${Deno.execPath()} run -A ${pathname} --json --files=${files} --mib=${MIB} --kernel=${dir}`;
  const script = `mke2fs ${mke2fsArgs(path).join(" ")} && ${mount} ${path} ${dir} && ` +
    `{ timeout ${LIMIT_S} ${again}; r=$?; umount ${dir}; exit $r; }`;
  const args = ["-m", "--propagation", "private", "sh", "-c", script];
  const { code, stdout, stderr } = new Deno.Command("unshare", { args }).outputSync();
  Deno.removeSync(dir);
  if (code === 0) return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
  console.error(`${mount}: left out: ${code === 124 ? `over ${LIMIT_S} s` : new TextDecoder().decode(stderr).trim()}`);
  return null;
}

/** The columns by name; each gets a path for its disk. */
const fuseFiles = Math.min(FILES, FUSE_FILES);
const COLUMNS: Record<string, (path: string) => Results | Promise<Results>> = {
  "ours, memory": memoryResults,
  "ours, file": fileResults,
  "kernel, loop": (path) => mountedResults(path, "mount -t ext2 -o loop", FILES),
  [fuseFiles < FILES ? `fuse2fs, ${fuseFiles}` : "fuse2fs"]: (path) => {
    return mountedResults(path, "fuse2fs -o fakeroot", fuseFiles);
  },
  "npm ext2fs": npmResults,
};

if (values.kernel) console.log(JSON.stringify(await measure(new Kernel(values.kernel))));
else {
  const dir = Deno.makeTempDirSync({ dir: fs.existsSync("/dev/shm") ? "/dev/shm" : undefined });
  const columns: Record<string, Results> = {};
  try {
    for (const [name, results] of Object.entries(COLUMNS)) {
      if (values.only && !values.only.some((word) => name.includes(word))) continue;
      columns[name] = await results(`${dir}/disk`);
      if (fs.existsSync(`${dir}/disk`)) Deno.removeSync(`${dir}/disk`);
    }
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
  if (values.json) console.log(JSON.stringify(columns));
  else print(columns);
}

function print(columns: Record<string, Results>): void {
  const there = Object.entries(columns).filter(([, column]) => column !== null) as [string, Record<string, number>][];
  console.log("".padEnd(34) + there.map(([name]) => name.padStart(14)).join(""));
  for (const row of Object.keys(there[0][1])) {
    console.log(
      row.padEnd(34) +
        there.map(([, column]) => column[row].toFixed(row.startsWith("sync") ? 1 : 0).padStart(14)).join(""),
    );
  }
}
