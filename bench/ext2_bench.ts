/**
 * Our ext2 in process, over a file of the host and over memory, beside the kernel's ext2 on a loop mount, called from the
 * same runtime. Operations a second, and MiB a second; the ratios of one run are what counts.
 *
 * Run: deno task bench ext2 [--json] [--files=50000] [--mib=256]. The kernel's column needs root, unshare and mke2fs.
 */

import * as fs from "node:fs";
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
  },
});
const FILES = Number(values.files), MIB = Number(values.mib), DISK_BYTES = (MIB + 300) << 20;
const KIB = new Uint8Array(1024).fill(7), PIECE = new Uint8Array(1 << 20).fill(3), BLOCK = new Uint8Array(4096);

/** What is measured, by whatever serves it. `small` has 10,000 files at the most. */
interface Subject {
  mkdir(name: string): void;
  create(dir: string, name: string, data: Uint8Array | null): void;
  list(dir: string): number;
  look(dir: string, name: string): void;
  unlink(dir: string, name: string): void;
  write(name: string, data: Uint8Array, offset: number): void;
  read(name: string, data: Uint8Array, offset: number): void;
  sync(): void;
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
  list(dir: string): number {
    let count = 0;
    for (let cookie = 0;;) {
      const entries = this.#fs.readdir(this.#inos.get(dir)!, cookie, 500) as { ino: number; next: number }[];
      if (entries.length === 0) return count;
      for (const { ino } of entries) this.#fs.stat(ino);
      count += entries.length;
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
  list(dir: string): number {
    const names = fs.readdirSync(`${this.#root}/${dir}`);
    for (const name of names) fs.lstatSync(`${this.#root}/${dir}/${name}`);
    return names.length;
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

/** Operations (or MiB) a second of `work`, which does `count` of them. */
function rate(count: number, work: () => void): number {
  const start = performance.now();
  work();
  return count / ((performance.now() - start) / 1000);
}

function measure(subject: Subject): Record<string, number> {
  const small = Math.min(10_000, FILES), results: Record<string, number> = {};
  const each = (count: number, work: (i: number) => void) => () => {
    for (let i = 0; i < count; i++) work(i);
  };
  for (const dir of ["small", "empty"]) subject.mkdir(dir);
  for (let d = 0; d < 100; d++) subject.mkdir(`d${d}`);
  results["create, 1 KiB, one directory"] = rate(small, each(small, (i) => subject.create("small", `file${i}`, KIB)));
  results["create, 1 KiB, 100 directories"] = rate(
    small,
    each(small, (i) => subject.create(`d${i % 100}`, `f${i}`, KIB)),
  );
  results["stat by path, 100 directories"] = rate(small, each(small, (i) => subject.look(`d${i % 100}`, `f${i}`)));
  results["create, empty, one directory"] = rate(FILES, each(FILES, (i) => subject.create("empty", `file${i}`, null)));
  results["readdir and stat"] = rate(FILES, () => subject.list("empty"));
  results["unlink"] = rate(FILES, each(FILES, (i) => subject.unlink("empty", `file${i}`)));
  results["sequential write, MiB"] = rate(MIB, each(MIB, (i) => subject.write("big", PIECE, i << 20)));
  results["sync, a second"] = rate(1, () => subject.sync());
  results["sequential read, MiB"] = rate(MIB, each(MIB, (i) => subject.read("big", PIECE, i << 20)));
  let seed = 1;
  results["random read, 4 KiB"] = rate(
    100_000,
    each(100_000, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      subject.read("big", BLOCK, (seed % (MIB * 256)) * 4096);
    }),
  );
  return results;
}

/** Runs this program again in a mount name space of its own, where the kernel's ext2 is mounted. */
function kernelResults(path: string): Record<string, number> | null {
  const dir = Deno.makeTempDirSync(), { pathname } = new URL(import.meta.url);
  const again = `${Deno.execPath()} run -A ${pathname} --json --files=${FILES} --mib=${MIB} --kernel=${dir}`;
  const script = `truncate -s ${DISK_BYTES} ${path} && mke2fs -q -F -t ext2 -b 4096 -N 131072 ${path} && ` +
    `mount -t ext2 -o loop ${path} ${dir} && ${again}; r=$?; umount ${dir}; exit $r`;
  const args = ["-m", "--propagation", "private", "sh", "-c", script];
  const { success, stdout, stderr } = new Deno.Command("unshare", { args }).outputSync();
  Deno.removeSync(dir);
  if (success) return JSON.parse(new TextDecoder().decode(stdout));
  console.error(`no kernel column: ${new TextDecoder().decode(stderr)}`);
  return null;
}

if (values.kernel) console.log(JSON.stringify(measure(new Kernel(values.kernel))));
else {
  const path = Deno.makeTempFileSync();
  try {
    const columns: Record<string, Record<string, number> | null> = {
      "ours, memory": measure(new Ours(new MemoryPort(DISK_BYTES))),
      "ours, file": measure(new Ours(new FilePort(path, DISK_BYTES))),
      "kernel, loop": kernelResults(path),
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
