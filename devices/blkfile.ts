/**
 * BlkFile: a file or a block device of the host as a disk.
 *
 * Layer: devices; plugins/sd and plugins/ext2 own one. Two ways, by option:
 * - at once (the default): each request is one system call, made in place. Through the host's page cache a read or write
 *   of 4 KiB takes about a microsecond, which no queue can beat. A flush alone is left to another thread, for it waits.
 * - in flight: requests are made by the runtime's threads, at most `inFlight` at a time, the others wait in line. For disks
 *   whose answers take their time (`direct`), so that the isolate serves others meanwhile.
 *
 * What holds always: nobody else has the file open for writing through this class or whoever else takes flock(2)s (a block
 * device: through anybody, by O_EXCL), and no loop device of the host has it, which would ask nobody. Of two requests in flight that overlap, the later one begins when the earlier
 * has ended. A flush begins when all writes before it have ended. An error of the host comes out as its errno says; a write
 * that came back short goes on, and says ENOSPC or EIO if it can not.
 *
 * See open(2) on O_DIRECT and O_EXCL, flock(2), fdatasync(2), fallocate(2), ioctl_list(2).
 */

import { Err, errFromErrno, toErr } from "../core/err.ts";
import { libcCalls } from "../core/host/libc.ts";
import type { MaybePromise } from "../core/p9/types.ts";
import { checkRange, type Disk } from "./disk.ts";

/** How a file is opened. */
export interface BlkFileOptions {
  readOnly?: boolean;
  /** Past the host's page cache (O_DIRECT). */
  direct?: boolean;
  /** Requests in flight at the most; 0 makes every request at once, in place. */
  inFlight?: number;
}

const library = libcCalls({
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  flock: { parameters: ["i32", "i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  fallocate: { parameters: ["i32", "i32", "i64", "i64"], result: "i32" },
  fdatasync: { parameters: ["i32"], result: "i32" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  __errno_location: { parameters: [], result: "pointer" },
  readLater: { name: "pread", parameters: ["i32", "buffer", "usize", "i64"], result: "isize", nonblocking: true },
  writeLater: { name: "pwrite", parameters: ["i32", "buffer", "usize", "i64"], result: "isize", nonblocking: true },
  syncLater: { name: "fdatasync", parameters: ["i32"], result: "i32", nonblocking: true },
}, "open a disk");

const ARM = Deno.build.arch === "aarch64";
const O_RDONLY = 0,
  O_RDWR = 2,
  O_CREAT = 0o100,
  O_EXCL = 0o200,
  O_CLOEXEC = 0o2000000,
  O_DIRECT = ARM ? 0o200000 : 0o40000;
const SEEK_END = 2, LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, EINTR = 4, EINVAL = 22, EAGAIN = 11;
const BLOCK_DEVICES = "/sys/block";
const FALLOC_PUNCH = 0x01 | 0x02, BLKSSZGET = 0x1268n;
/** Memory of an O_DIRECT request begins at, and is a multiple of, so much. */
const PAGE = 4096, STAGING_BYTES = 1 << 18;

/** A request in flight. */
interface Flight {
  readonly isWrite: boolean;
  readonly from: number;
  readonly to: number;
  readonly done: Promise<void>;
}

/** A file of the host as a disk. */
export class BlkFile implements Disk {
  readonly path: string;
  readonly size: number;
  readonly sectorBytes: number;
  readonly readOnly: boolean;
  readonly cached: boolean;
  readonly #c = library();
  readonly #fd: number;
  readonly #limit: number;
  readonly #flying = new Set<Flight>();
  readonly #flushing = new Set<Promise<void>>();
  /** Aligned memory, for O_DIRECT: what is free. */
  readonly #staging: Uint8Array<ArrayBuffer>[] | null;
  #tail: Promise<void> = Promise.resolve();
  #closed = false;
  readonly #counts = { reads: 0, writes: 0, flushes: 0, bytesRead: 0, bytesWritten: 0, errors: 0, deepest: 0 };

  /** ENOENT and the like; EBUSY when somebody else has it. */
  constructor(path: string, options: BlkFileOptions = {}) {
    const { readOnly = false, direct = false, inFlight = 0 } = options;
    this.path = path;
    this.readOnly = readOnly;
    this.#limit = inFlight;
    this.cached = !direct && inFlight === 0;
    this.#staging = direct ? [] : null;
    this.#fd = openExclusive(path, { readOnly, direct });
    try {
      const end = Number(this.#c.lseek(this.#fd, 0n, SEEK_END));
      if (end < 0) throw lastError(path);
      this.sectorBytes = this.#findSector(direct, end);
      this.size = end - (end % this.sectorBytes);
    } catch (thrown) {
      this.#c.close(this.#fd);
      throw thrown;
    }
  }

  /**
   * Makes a file of `size` bytes, all zeros (a hole), and opens it; the folders on the way, if wanted, for its user alone.
   * EEXIST when it is there.
   */
  static create(path: string, size: number, options: { folders?: boolean } = {}): BlkFile {
    if (options.folders) makeFolders(path.slice(0, path.lastIndexOf("/")));
    const c = library(), name = new TextEncoder().encode(`${path}\0`);
    const fd = c.open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600);
    if (fd < 0) throw lastError(path);
    const error = c.ftruncate(fd, BigInt(size)) < 0 ? lastError(path) : null;
    c.close(fd);
    if (error) {
      Deno.removeSync(path);
      throw error;
    }
    return new BlkFile(path);
  }

  /** Removes the file, and closes it: nobody opens it between the two. */
  async remove(): Promise<void> {
    try {
      Deno.removeSync(this.path);
    } finally {
      await this.close();
    }
  }

  read(dst: Uint8Array, offset: number): MaybePromise<void> {
    this.#check(dst, offset);
    this.#counts.reads++;
    this.#counts.bytesRead += dst.length;
    if (this.#limit > 0) return this.#launch(false, dst, offset);
    for (let done = 0; done < dst.length;) {
      const count = this.#staging ? this.#readStaged(dst, done, offset) : this.#readPlain(dst, done, offset);
      if (count <= 0) throw this.#failed(count === 0 ? new Err("EIO", `${this.path} ended before its end`) : null);
      done += count;
    }
  }

  write(src: Uint8Array, offset: number): MaybePromise<void> {
    this.#check(src, offset);
    if (this.readOnly) throw new Err("EROFS");
    this.#counts.writes++;
    this.#counts.bytesWritten += src.length;
    if (this.#limit > 0) return this.#launch(true, src, offset);
    for (let done = 0; done < src.length;) {
      const count = this.#staging ? this.#writeStaged(src, done, offset) : this.#writePlain(src, done, offset);
      if (count <= 0) throw this.#failed(count === 0 ? new Err("EIO", `${this.path} takes no more`) : null);
      done += count;
    }
  }

  flush(): MaybePromise<void> {
    if (this.#closed) throw new Err("EIO", `${this.path} was closed`);
    this.#counts.flushes++;
    if (this.readOnly) return;
    const done = this.#flushLater(), over = () => void this.#flushing.delete(done);
    this.#flushing.add(done);
    done.then(over, over);
    return done;
  }

  /** Gives the room back to the host's file system, which reads as zeros then; does nothing where it can not. */
  discard(offset: number, length: number): void {
    checkRange(this, length, offset);
    if (!this.readOnly) this.#c.fallocate(this.#fd, FALLOC_PUNCH, BigInt(offset), BigInt(length));
  }

  counters(): Record<string, number> {
    return { ...this.#counts, inFlight: this.#flying.size };
  }

  async #landed(): Promise<void> {
    while (this.#flying.size + this.#flushing.size > 0) {
      await Promise.allSettled([...this.#flushing, ...[...this.#flying].map((flight) => flight.done)]);
    }
    this.#c.close(this.#fd);
  }

  /** Ends when nothing is in flight any more. */
  close(): MaybePromise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#flying.size + this.#flushing.size > 0) return this.#landed();
    this.#c.close(this.#fd);
  }

  #check(bytes: Uint8Array, offset: number): void {
    if (this.#closed) throw new Err("EIO", `${this.path} was closed`);
    checkRange(this, bytes.length, offset);
  }

  #readPlain(dst: Uint8Array, done: number, offset: number): number {
    const rest = (done === 0 ? dst : dst.subarray(done)) as Uint8Array<ArrayBuffer>;
    return this.#again(() => this.#c.pread(this.#fd, rest, BigInt(rest.length), BigInt(offset + done)));
  }

  #writePlain(src: Uint8Array, done: number, offset: number): number {
    const rest = (done === 0 ? src : src.subarray(done)) as Uint8Array<ArrayBuffer>;
    return this.#again(() => this.#c.pwrite(this.#fd, rest, BigInt(rest.length), BigInt(offset + done)));
  }

  #readStaged(dst: Uint8Array, done: number, offset: number): number {
    return this.#staged((page) => {
      const want = Math.min(page.length, dst.length - done);
      const count = this.#again(() => this.#c.pread(this.#fd, page, BigInt(want), BigInt(offset + done)));
      if (count > 0) dst.set(page.subarray(0, count), done);
      return count;
    });
  }

  #writeStaged(src: Uint8Array, done: number, offset: number): number {
    return this.#staged((page) => {
      const part = src.subarray(done, done + page.length);
      page.set(part);
      return this.#again(() => this.#c.pwrite(this.#fd, page, BigInt(part.length), BigInt(offset + done)));
    });
  }

  #staged(use: (page: Uint8Array<ArrayBuffer>) => number): number {
    const page = this.#staging!.pop() ?? alignedBytes(STAGING_BYTES);
    try {
      return use(page);
    } finally {
      this.#staging!.push(page);
    }
  }

  /** The result of a call that a signal may cut short. */
  #again(call: () => bigint): number {
    for (;;) {
      const result = Number(call());
      if (result >= 0 || errno() !== EINTR) return result;
    }
  }

  /** Puts a request in line: it begins when there is room, and nothing before it overlaps it. */
  #launch(isWrite: boolean, bytes: Uint8Array, offset: number): Promise<void> {
    const to = offset + bytes.length;
    const turn = this.#tail.then(() => this.#room(isWrite, offset, to));
    const done = turn.then(() => (isWrite ? this.#writeLater(bytes, offset) : this.#readLater(bytes, offset)));
    const flight: Flight = { isWrite, from: offset, to, done };
    this.#tail = turn.then(() => {
      this.#flying.add(flight);
      this.#counts.deepest = Math.max(this.#counts.deepest, this.#flying.size);
    });
    const land = () => void this.#flying.delete(flight);
    void this.#tail.then(() => done.then(land, land));
    return done;
  }

  async #room(isWrite: boolean, from: number, to: number): Promise<void> {
    for (;;) {
      const flying = [...this.#flying];
      const blocking = flying.filter((f) => (f.isWrite || isWrite) && f.from < to && from < f.to);
      if (blocking.length > 0) await Promise.allSettled(blocking.map((f) => f.done));
      else if (flying.length >= this.#limit) await Promise.race(flying.map((f) => f.done.catch(() => {})));
      else return;
    }
  }

  async #flushLater(): Promise<void> {
    if (this.#limit > 0) {
      await this.#tail;
      await Promise.allSettled([...this.#flying].filter((f) => f.isWrite).map((f) => f.done));
    }
    if (await this.#c.syncLater(this.#fd) < 0) throw this.#failed(new Err("EIO", `${this.path}: cannot flush`));
  }

  async #readLater(dst: Uint8Array, offset: number): Promise<void> {
    const page = this.#staging ? this.#staging.pop() ?? alignedBytes(STAGING_BYTES) : null;
    for (let done = 0; done < dst.length;) {
      const rest = page ?? dst.subarray(done) as Uint8Array<ArrayBuffer>,
        want = Math.min(rest.length, dst.length - done);
      let count = Number(await this.#c.readLater(this.#fd, rest, BigInt(want), BigInt(offset + done)));
      // errno is the thread's that made the call: the same call in place tells what it was.
      if (count < 0) count = Number(this.#c.pread(this.#fd, rest, BigInt(want), BigInt(offset + done)));
      if (count <= 0) throw this.#failed(count === 0 ? new Err("EIO", `${this.path} ended before its end`) : null);
      if (page) dst.set(page.subarray(0, count), done);
      done += count;
    }
    if (page) this.#staging!.push(page);
  }

  async #writeLater(src: Uint8Array, offset: number): Promise<void> {
    const page = this.#staging ? this.#staging.pop() ?? alignedBytes(STAGING_BYTES) : null;
    for (let done = 0; done < src.length;) {
      const rest = src.subarray(done, done + (page?.length ?? src.length)) as Uint8Array<ArrayBuffer>;
      page?.set(rest);
      const from = page ?? rest, at = BigInt(offset + done), want = BigInt(rest.length);
      let count = Number(await this.#c.writeLater(this.#fd, from, want, at));
      if (count < 0) count = Number(this.#c.pwrite(this.#fd, from, want, at));
      if (count <= 0) throw this.#failed(count === 0 ? new Err("EIO", `${this.path} takes no more`) : null);
      done += count;
    }
    if (page) this.#staging!.push(page);
  }

  /** Counts an error; that of the last call when none is given. */
  #failed(error: Err | null): Err {
    this.#counts.errors++;
    return error ?? lastError(this.path);
  }

  /** Bytes of a sector: what the device says, else 512, or the page where O_DIRECT wants no less. */
  #findSector(direct: boolean, end: number): number {
    const answer = new Uint8Array(4);
    if (this.#c.ioctl(this.#fd, BLKSSZGET, answer) === 0) return new DataView(answer.buffer).getUint32(0, true);
    if (!direct || end < 1024) return 512;
    const page = alignedBytes(PAGE);
    return this.#c.pread(this.#fd, page, 512n, 512n) < 0n && errno() === EINVAL ? PAGE : 512;
  }
}

/** Opens the file so that nobody else writes to it meanwhile. */
function openExclusive(path: string, how: { readOnly: boolean; direct: boolean }): number {
  const c = library(), name = new TextEncoder().encode(`${path}\0`);
  const isDevice = statOf(path)?.isBlockDevice ?? false;
  const flags = (how.readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | (how.direct ? O_DIRECT : 0);
  const loop = isDevice ? undefined : loopOf(path, how.readOnly);
  if (loop) throw new Err("EBUSY", `${path} is in use by ${loop}`);
  const fd = c.open(name, flags | (isDevice && !how.readOnly ? O_EXCL : 0), 0);
  if (fd < 0) throw lastError(path);
  if (c.flock(fd, (how.readOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) === 0) return fd;
  const error = errno() === EAGAIN ? new Err("EBUSY", `${path} is in use by another program`) : lastError(path);
  c.close(fd);
  throw error;
}

/** The loop device of the host that a file is under; of one that is only read by both no matter. */
function loopOf(path: string, readOnly: boolean): string | undefined {
  try {
    const real = Deno.realPathSync(path), loops = [...Deno.readDirSync(BLOCK_DEVICES)].filter(isLoop);
    const found = loops.find(({ name }) => {
      const about = (what: string) => textOf(`${BLOCK_DEVICES}/${name}/${what}`);
      return about("loop/backing_file") === real && !(readOnly && about("ro") === "1");
    });
    return found && `/dev/${found.name}`;
  } catch {
    return undefined; // no such file, or nobody who would tell
  }
}

function isLoop({ name }: { name: string }): boolean {
  return name.startsWith("loop");
}

/** What a file of the host says; empty where there is none. */
function textOf(path: string): string {
  try {
    return Deno.readTextFileSync(path).trimEnd();
  } catch {
    return "";
  }
}

function makeFolders(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    throw toErr(thrown);
  }
}

function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch {
    return undefined;
  }
}

/** Memory that begins at a page. */
function alignedBytes(length: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(length + PAGE);
  const address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(whole)));
  return whole.subarray((PAGE - (address % PAGE)) % PAGE).subarray(0, length) as Uint8Array<ArrayBuffer>;
}

function errno(): number {
  return new Deno.UnsafePointerView(library().__errno_location()!).getInt32();
}

function lastError(path: string): Err {
  const number = errno();
  return errFromErrno(number, `${path}: ${errFromErrno(number).message}`);
}
