/**
 * What the tests of ext2 share: seeded random numbers, ports that log or delay, foreign programs, and a random workload
 * beside a model of what it must have done.
 *
 * Layer: fs/ext2, tests only.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { Err } from "../../core/err.ts";
import { type BlockPort, MemoryPort } from "../block_port.ts";
import type { Ext2 } from "./fs.ts";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "./layout.ts";
import { mkfs, type MkfsOptions } from "./mkfs.ts";

/** Seeded random numbers (xorshift32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  }
  /** An integer in `[0, n)`. */
  below(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % n;
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }
  bytes(n: number): Uint8Array {
    return Uint8Array.from({ length: n }, () => this.below(256));
  }
}

/** A clock that moves a millisecond at each look. */
export function testClock(start = 1_700_000_000_000): () => number {
  return () => start += 1;
}

/** A port that answers every call with a promise. */
export class SlowPort implements BlockPort {
  readonly cached = false;
  readonly #inner: BlockPort;
  constructor(inner: BlockPort) {
    this.#inner = inner;
  }
  get size(): number {
    return this.#inner.size;
  }
  get sectorBytes(): number {
    return this.#inner.sectorBytes;
  }
  get readOnly(): boolean {
    return this.#inner.readOnly;
  }
  async read(dst: Uint8Array, offset: number): Promise<void> {
    await Promise.resolve();
    await this.#inner.read(dst, offset);
  }
  async write(src: Uint8Array, offset: number): Promise<void> {
    await Promise.resolve();
    await this.#inner.write(src, offset);
  }
  async flush(): Promise<void> {
    await this.#inner.flush();
  }
}

/** One thing that a `LogPort` saw: a write, or (null) a flush. */
export type Logged = { offset: number; data: Uint8Array } | null;

/** A port that keeps every write, block by block, in order. */
export class LogPort extends MemoryPort {
  readonly log: Logged[] = [];
  #unit = 1024;

  /** A port over a copy of `inner`, whose writes are logged in units of `unit` bytes. */
  static over(inner: MemoryPort, unit: number): LogPort {
    const port = new LogPort(inner.size);
    MemoryPort.prototype.write.call(port, inner.bytes(), 0);
    port.#unit = unit;
    return port;
  }

  override write(src: Uint8Array, offset: number): void {
    for (let at = 0; at < src.length; at += this.#unit) {
      this.log.push({ offset: offset + at, data: src.slice(at, at + this.#unit) });
    }
    super.write(src, offset);
  }

  override flush(): void {
    if (this.log.at(-1) !== null) this.log.push(null);
  }
}

/** A new volume in memory. */
export function newVolume(options: Partial<MkfsOptions> & { size: number }): MemoryPort {
  const port = new MemoryPort(options.size);
  mkfs(port, { uuid: new Uint8Array(16).fill(0x5a), now: 1_600_000_000_000, zeroed: true, ...options });
  return port;
}

/** A volume of mke2fs's in memory. */
export function made(options: string, size: number): MemoryPort {
  return withImage(null, (path) => {
    Deno.truncateSync(path, size);
    const { code, text } = run("mke2fs", "-q", "-F", ...options.split(" "), path);
    assert.equal(code, 0, text);
    return MemoryPort.from(Deno.readFileSync(path));
  });
}

/** Runs a program: its exit code and all that it printed. */
export function run(program: string, ...args: string[]): { code: number; text: string } {
  const { code, stdout, stderr } = new Deno.Command(program, { args, env: { LC_ALL: "C" } }).outputSync();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

const IMAGE_DIR = "/dev/shm";

/** A path for an image of this process; removed by `withImage`. */
export function withImage<T>(bytes: Uint8Array | null, use: (path: string) => T): T {
  const path = Deno.makeTempFileSync({ dir: exists(IMAGE_DIR) ? IMAGE_DIR : undefined, suffix: ".img" });
  try {
    if (bytes) Deno.writeFileSync(path, bytes);
    return use(path);
  } finally {
    Deno.removeSync(path);
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** Writes a disk in memory to a file, holes for what is zero. */
export function saveSparse(port: MemoryPort, path: string): void {
  const file = Deno.openSync(path, { write: true }), piece = new Uint8Array(1 << 18);
  file.truncateSync(port.size);
  for (let at = 0; at < port.size; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, port.size - at));
    port.read(part, at);
    if (Buffer.compare(part, ZEROS.subarray(0, part.length)) === 0) continue;
    file.seekSync(at, Deno.SeekMode.Start);
    file.writeSync(part);
  }
  file.close();
}

const ZEROS = new Uint8Array(1 << 18);

/** Fails with e2fsck's report unless it finds the volume clean. */
export function assertClean(bytes: Uint8Array, what: string): void {
  withImage(bytes, (path) => {
    const { code, text } = run("e2fsck", "-fn", path);
    assert.equal(code, 0, `${what}: e2fsck -fn: ${text}`);
  });
}

/** A file of the model. */
export interface Node {
  mode: number;
  data: Uint8Array;
  target: string;
  children: Map<string, Node>;
  xattrs: Map<string, string>;
}

function newNode(mode: number): Node {
  return { mode, data: new Uint8Array(0), target: "", children: new Map(), xattrs: new Map() };
}

const isDir = (node: Node) => (node.mode & S_IFMT) === S_IFDIR;

/** What a workload may meet: a full disk, and attributes on a volume that has none. */
const EXPECTED = new Set(["ENOSPC", "EOPNOTSUPP"]);

/** A random workload on a volume, beside a model of it. */
export class Workload {
  readonly root: Node = newNode(S_IFDIR | 0o755);
  readonly #fs: Ext2;
  readonly #random: Random;
  readonly #dirs: { node: Node; ino: number; path: string }[];
  /** How much of what happens. */
  readonly #ops: readonly string[];
  #names = 0;

  constructor(fs: Ext2, random: Random, ops: readonly string[] = WHOLE_MIX) {
    this.#fs = fs;
    this.#random = random;
    this.#ops = ops;
    this.#dirs = [{ node: this.root, ino: fs.root, path: "" }];
  }

  /** One operation. Errors that the model foresees are checked, others fail. */
  async step(): Promise<void> {
    const op = this.#random.pick(this.#ops);
    try {
      await (this as unknown as Record<string, () => Promise<void>>)[op]();
    } catch (thrown) {
      if (!(thrown instanceof Err) || !EXPECTED.has(thrown.code)) throw thrown;
    }
  }

  async create(): Promise<void> {
    const dir = this.#dir(), name = this.#newName();
    const ino = await this.#fs.make(dir.ino, name, { mode: S_IFREG | 0o644, uid: 70000, gid: 5 });
    const node = newNode(S_IFREG | 0o644);
    dir.node.children.set(name, node);
    if (this.#random.below(3) > 0) await this.#write(ino, node, 0, this.#random.below(9000));
  }

  async mkdir(): Promise<void> {
    const dir = this.#dir(), name = this.#newName();
    if (this.#dirs.length > 40) return;
    const ino = await this.#fs.make(dir.ino, name, { mode: S_IFDIR | 0o755, uid: 0, gid: 0 });
    const node = newNode(S_IFDIR | 0o755);
    dir.node.children.set(name, node);
    this.#dirs.push({ node, ino, path: `${dir.path}/${name}` });
  }

  async symlink(): Promise<void> {
    const dir = this.#dir(), name = this.#newName(), target = "t".repeat(1 + this.#random.below(120));
    await this.#fs.make(dir.ino, name, { mode: S_IFLNK | 0o777, uid: 1, gid: 1, target });
    const node = newNode(S_IFLNK | 0o777);
    node.target = target;
    dir.node.children.set(name, node);
  }

  async write(): Promise<void> {
    const file = await this.#file();
    if (!file) return;
    const far = this.#random.below(8) === 0 ? this.#random.below(400_000) : this.#random.below(20_000);
    await this.#write(file.ino, file.node, far, 1 + this.#random.below(6000));
  }

  async truncate(): Promise<void> {
    const file = await this.#file();
    if (!file) return;
    const size = this.#random.below(2 * file.node.data.length + 100);
    await this.#fs.setattr(file.ino, { size });
    const data = new Uint8Array(size);
    data.set(file.node.data.subarray(0, size));
    file.node.data = data;
  }

  async chmod(): Promise<void> {
    const file = await this.#file();
    if (!file) return;
    const mode = this.#random.below(0o1000);
    await this.#fs.setattr(file.ino, { mode, mtime: { sec: 5_000_000_000, nsec: 123 } });
    file.node.mode = S_IFREG | mode;
  }

  async xattr(): Promise<void> {
    const file = await this.#file();
    if (!file) return;
    const name = `user.a${this.#random.below(5)}`;
    if (this.#random.below(3) === 0 && file.node.xattrs.has(name)) {
      await this.#fs.setxattr(file.ino, name, null);
      file.node.xattrs.delete(name);
    } else {
      const value = "v".repeat(this.#random.below(90));
      await this.#fs.setxattr(file.ino, name, new TextEncoder().encode(value));
      file.node.xattrs.set(name, value);
    }
  }

  async link(): Promise<void> {
    const file = await this.#file();
    if (!file) return;
    const dir = this.#dir(), name = this.#newName();
    await this.#fs.link(file.ino, dir.ino, name);
    dir.node.children.set(name, file.node);
  }

  async unlink(): Promise<void> {
    const dir = this.#dir(), name = this.#name(dir.node);
    if (name === undefined) return;
    const node = dir.node.children.get(name)!;
    if (isDir(node)) {
      await assert.rejects(async () => await this.#fs.unlink(dir.ino, name), { code: "EISDIR" });
      return;
    }
    await this.#fs.unlink(dir.ino, name);
    dir.node.children.delete(name);
  }

  async rmdir(): Promise<void> {
    const at = this.#random.below(this.#dirs.length), dir = this.#dirs[at];
    if (at === 0) return;
    const parent = this.#dirs.find((d) => [...d.node.children.values()].includes(dir.node))!;
    const name = [...parent.node.children].find(([, node]) => node === dir.node)![0];
    if (dir.node.children.size > 0) {
      await assert.rejects(async () => await this.#fs.rmdir(parent.ino, name), { code: "ENOTEMPTY" });
      return;
    }
    await this.#fs.rmdir(parent.ino, name);
    parent.node.children.delete(name);
    this.#dirs.splice(at, 1);
  }

  /** Renames of anything but directories. */
  async rename(): Promise<void> {
    await this.#rename(false);
  }

  async renameDir(): Promise<void> {
    await this.#rename(true);
  }

  async #rename(dirs: boolean): Promise<void> {
    const from = this.#dir(), to = this.#dir(), name = this.#name(from.node);
    if (name === undefined) return;
    const node = from.node.children.get(name)!;
    if (isDir(node) !== dirs) return;
    const over = this.#random.below(2) === 0 ? this.#name(to.node) : undefined, toName = over ?? this.#newName();
    const target = to.node.children.get(toName);
    const what = { dir: from.ino, name, toDir: to.ino, toName };
    const code = renameError(node, to.node, target);
    if (code) {
      await assert.rejects(async () => await this.#fs.rename(what), { code });
      return;
    }
    await this.#fs.rename(what);
    if (target === node) return;
    if (target && isDir(target)) this.#dirs.splice(this.#dirs.findIndex((d) => d.node === target), 1);
    from.node.children.delete(name);
    to.node.children.set(toName, node);
  }

  async sync(): Promise<void> {
    await this.#fs.sync();
  }

  async #write(ino: number, node: Node, offset: number, length: number): Promise<void> {
    const bytes = new Uint8Array(length).fill(1 + this.#random.below(255));
    const count = await this.#fs.write(ino, bytes, offset);
    const data = new Uint8Array(Math.max(node.data.length, offset + count));
    data.set(node.data);
    data.set(bytes.subarray(0, count), offset);
    node.data = data;
  }

  #dir() {
    return this.#random.pick(this.#dirs);
  }

  #name(node: Node): string | undefined {
    return this.#random.pick([...node.children.keys()]);
  }

  #newName(): string {
    return `${this.#names++}${"n".repeat(this.#random.below(40))}`;
  }

  async #file(): Promise<{ node: Node; ino: number } | null> {
    const dir = this.#dir(), name = this.#name(dir.node);
    const node = name === undefined ? undefined : dir.node.children.get(name);
    if (!node || (node.mode & S_IFMT) !== S_IFREG) return null;
    return { node, ino: await this.#fs.lookup(dir.ino, name!) };
  }
}

/** Everything but moves of directories, which take a log (see commit.ts). */
export const ORDERED_MIX = [
  ...["create", "create", "create", "create", "mkdir", "symlink", "write", "write", "truncate", "chmod"],
  ...["xattr", "link", "unlink", "unlink", "rmdir", "rename", "rename", "rename"],
];
export const WHOLE_MIX = [...ORDERED_MIX, "renameDir", "sync"];

function renameError(node: Node, to: Node, target: Node | undefined): string | undefined {
  if (target === node) return undefined;
  if (isDir(node) && below(node, to)) return "EINVAL";
  if (!target) return undefined;
  if (isDir(node) && !isDir(target)) return "ENOTDIR";
  if (!isDir(node) && isDir(target)) return "EISDIR";
  return isDir(target) && target.children.size > 0 ? "ENOTEMPTY" : undefined;
}

function below(node: Node, at: Node): boolean {
  return node === at || [...node.children.values()].some((child) => isDir(child) && below(child, at));
}

/** Fails unless the volume holds exactly what the model says. */
export async function assertSame(fs: Ext2, model: Node, ino = fs.root, path = ""): Promise<void> {
  const names: string[] = [];
  for (let cookie = 0;;) {
    const entries = await fs.readdir(ino, cookie, 50);
    if (entries.length === 0) break;
    for (const entry of entries) {
      cookie = entry.next;
      if (entry.name !== "." && entry.name !== ".." && `${path}/${entry.name}` !== "/lost+found") {
        names.push(entry.name);
      }
    }
  }
  assert.deepEqual(names.sort(), [...model.children.keys()].sort(), `names in ${path}/`);
  for (const [name, node] of model.children) {
    const at = await fs.lookup(ino, name), stat = await fs.stat(at), here = `${path}/${name}`;
    assert.equal(stat.mode, node.mode, `mode of ${here}`);
    if (isDir(node)) await assertSame(fs, node, at, here);
    else if ((node.mode & S_IFMT) === S_IFLNK) assert.equal(await fs.readlink(at), node.target, here);
    else await assertFile(fs, node, at, here);
  }
}

async function assertFile(fs: Ext2, node: Node, ino: number, path: string): Promise<void> {
  const data = new Uint8Array(node.data.length + 1);
  assert.equal(await fs.read(ino, data, 0), node.data.length, `length of ${path}`);
  assert.equal(Buffer.compare(data.subarray(0, node.data.length), node.data), 0, `content of ${path}`);
  assert.deepEqual((await fs.listxattr(ino)).sort(), [...node.xattrs.keys()].sort(), `attributes of ${path}`);
  for (const [name, value] of node.xattrs) {
    assert.equal(new TextDecoder().decode(await fs.getxattr(ino, name)), value, `${name} of ${path}`);
  }
}
