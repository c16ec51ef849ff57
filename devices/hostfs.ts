/**
 * HostFs: the host's files by system calls that cannot be led astray.
 *
 * Layer: devices; plugins/host makes a tree of it. Every call takes an open directory and one name in it, never a
 * path, and follows no symlink, so that whoever moves directories and swaps links meanwhile leads nobody out. Deno
 * has no such calls, hence FFI. Calls are synchronous: an asynchronous one costs more than the file.
 *
 * What holds always: a descriptor that a call answered is the caller's to close. Errors are Errs without any path.
 *
 * See openat(2), statx(2), getdents64(2), proc(5) of Linux.
 */

import { Err, errFromErrno } from "../core/err.ts";
import { libcCalls } from "../core/host/libc.ts";
import type { U64 } from "../core/p9/types.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "../core/p9/utf8.ts";

/** Flags of openat(2), the same on x86-64 and arm64 but for the four that `ARCH` has. */
export const O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0o100, O_EXCL = 0o200, O_TRUNC = 0o1000;
const O_NOCTTY = 0o400, O_NONBLOCK = 0o4000, O_CLOEXEC = 0o2000000;
const ARM = Deno.build.arch === "aarch64";
/** Directory or nothing; no symlink; only a handle on the file. */
export const O_DIRECTORY = ARM ? 0o40000 : 0o200000, O_PATH = 0o10000000;
const O_NOFOLLOW = ARM ? 0o100000 : 0o400000;

const AT_FDCWD = -100, AT_SYMLINK_NOFOLLOW = 0x100, AT_REMOVEDIR = 0x200, AT_EMPTY_PATH = 0x1000;
const STATX_ALL = 0xfff, RENAME_NOREPLACE = 1, UTIME_NOW = 0x3fffffff, UTIME_OMIT = 0x3ffffffe;
const ENAMETOOLONG = 36, EINTR = 4;
const PATH_BYTES = 4096, NAME_BYTES = 256, DIRENT_BYTES = 19;

const library = libcCalls({
  openat: { parameters: ["i32", "buffer", "i32", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  pwrite: { parameters: ["i32", "buffer", "usize", "i64"], result: "isize" },
  ftruncate: { parameters: ["i32", "i64"], result: "i32" },
  fsync: { parameters: ["i32"], result: "i32" },
  fdatasync: { parameters: ["i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  getdents64: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  readlinkat: { parameters: ["i32", "buffer", "buffer", "usize"], result: "isize" },
  mkdirat: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  unlinkat: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  renameat2: { parameters: ["i32", "buffer", "i32", "buffer", "u32"], result: "i32" },
  linkat: { parameters: ["i32", "buffer", "i32", "buffer", "i32"], result: "i32" },
  symlinkat: { parameters: ["buffer", "i32", "buffer"], result: "i32" },
  fchmodat: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  fchownat: { parameters: ["i32", "buffer", "u32", "u32", "i32"], result: "i32" },
  utimensat: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  fstatfs: { parameters: ["i32", "buffer"], result: "i32" },
  geteuid: { parameters: [], result: "u32" },
  __errno_location: { parameters: [], result: "pointer" },
}, "serve host files");

/** What statx tells. `mode` is st_mode; times are seconds and nanoseconds. */
export interface HostStat {
  dev: number;
  ino: U64;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  size: number;
  blksize: number;
  blocks: number;
  rdevMajor: number;
  rdevMinor: number;
  atime: number;
  atimeNsec: number;
  mtime: number;
  mtimeNsec: number;
  ctime: number;
  ctimeNsec: number;
  /** Birth, 0 where the file system does not know it. */
  btime: number;
  btimeNsec: number;
}

/** A name in a directory, and where a listing goes on after it. */
export interface HostDirent {
  name: string;
  next: U64;
}

/** A time to set: now, a given one, or leave it. */
export type HostTime = "now" | { sec: number; nsec: number } | undefined;

/** The system calls. One for each isolate that uses them. */
export class HostFs {
  readonly #c = library();
  readonly #name = new Uint8Array(PATH_BYTES);
  readonly #name2 = new Uint8Array(PATH_BYTES);
  readonly #statBytes = new Uint8Array(256);
  readonly #stat = new DataView(this.#statBytes.buffer);
  readonly #page = new Uint8Array(32 * 1024);
  readonly #pageView = new DataView(this.#page.buffer);

  /** Throws EOPNOTSUPP where there is no Linux, or no permission for FFI. */
  constructor() {
  }

  /** The user number that the calls are made with. */
  get uid(): number {
    return this.#c.geteuid();
  }

  /** A handle on the directory at `path` of the host, links followed: where a tree begins. */
  openRoot(path: string): number {
    return this.#check(this.#c.openat(AT_FDCWD, this.#put(path), O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  }

  /** Opens `name` in `dir`: no link is followed, nothing is waited for. */
  openAt(dir: number, name: string, flags: number, mode = 0): number {
    const all = flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    return this.#check(this.#c.openat(dir, this.#put(name), all, mode));
  }

  /** Opens the very file that an O_PATH handle is of. The caller knows that it is a file or a directory. */
  reopen(fd: number, flags: number): number {
    return this.#check(this.#c.openat(AT_FDCWD, this.#put(`/proc/self/fd/${fd}`), flags | O_CLOEXEC | O_NOCTTY, 0));
  }

  close(fd: number): void {
    this.#c.close(fd);
  }

  /** What an open file or handle is. */
  stat(fd: number): HostStat {
    this.#check(this.#c.statx(fd, this.#put(""), AT_EMPTY_PATH, STATX_ALL, this.#statBytes));
    return this.#parseStat();
  }

  /** What `name` in `dir` is, a link itself. */
  statAt(dir: number, name: string): HostStat {
    this.#check(this.#c.statx(dir, this.#put(name), AT_SYMLINK_NOFOLLOW, STATX_ALL, this.#statBytes));
    return this.#parseStat();
  }

  /** How many bytes came; 0 is the end. */
  read(fd: number, dst: Uint8Array, offset: number): number {
    if (dst.length === 0) return 0;
    return this.#count(() => this.#c.pread(fd, dst as Uint8Array<ArrayBuffer>, BigInt(dst.length), BigInt(offset)));
  }

  write(fd: number, data: Uint8Array, offset: number): number {
    if (data.length === 0) return 0;
    return this.#count(() => this.#c.pwrite(fd, data as Uint8Array<ArrayBuffer>, BigInt(data.length), BigInt(offset)));
  }

  truncate(fd: number, length: number): void {
    this.#check(this.#c.ftruncate(fd, BigInt(length)));
  }

  sync(fd: number, dataOnly: boolean): void {
    this.#check(dataOnly ? this.#c.fdatasync(fd) : this.#c.fsync(fd));
  }

  /** Names after `cookie` of an open directory, in about `bytes` bytes; none at the end. */
  list(fd: number, cookie: U64, bytes: number): HostDirent[] {
    if (this.#c.lseek(fd, BigInt.asIntN(64, BigInt(cookie)), 0) < 0n) throw this.#error();
    const room = Math.max(1024, Math.min(this.#page.length, bytes));
    for (;;) {
      const count = this.#count(() => this.#c.getdents64(fd, this.#page, BigInt(room)));
      const found = this.#parseDirents(count);
      if (found.length > 0 || count === 0) return found;
    }
  }

  /** The target of a link, given by an O_PATH handle. */
  readlink(fd: number): string {
    const into = new Uint8Array(PATH_BYTES);
    const count = this.#count(() => this.#c.readlinkat(fd, this.#put(""), into, BigInt(into.length)));
    return decodeUtf8(into, 0, count);
  }

  /** Where on the host an open file is. */
  pathOf(fd: number): string {
    const into = new Uint8Array(PATH_BYTES), link = this.#put(`/proc/self/fd/${fd}`);
    return decodeUtf8(into, 0, this.#count(() => this.#c.readlinkat(AT_FDCWD, link, into, BigInt(into.length))));
  }

  mkdir(dir: number, name: string, mode: number): void {
    this.#check(this.#c.mkdirat(dir, this.#put(name), mode));
  }

  unlink(dir: number, name: string, isDir: boolean): void {
    this.#check(this.#c.unlinkat(dir, this.#put(name), isDir ? AT_REMOVEDIR : 0));
  }

  /** Moves a name; without `over` only to one that is free. */
  rename(from: { dir: number; name: string }, to: { dir: number; name: string }, over: boolean): void {
    const [old, made] = [this.#put(from.name), this.#put(to.name, this.#name2)];
    this.#check(this.#c.renameat2(from.dir, old, to.dir, made, over ? 0 : RENAME_NOREPLACE));
  }

  /** Another name for a file, a link itself. */
  link(from: { dir: number; name: string }, to: { dir: number; name: string }): void {
    this.#check(this.#c.linkat(from.dir, this.#put(from.name), to.dir, this.#put(to.name, this.#name2), 0));
  }

  symlink(target: string, dir: number, name: string): void {
    this.#check(this.#c.symlinkat(this.#put(target), dir, this.#put(name, this.#name2)));
  }

  /** Sets the permissions of the file that a handle is of; EOPNOTSUPP for a link. */
  chmod(fd: number, mode: number): void {
    this.#check(this.#c.fchmodat(AT_FDCWD, this.#put(`/proc/self/fd/${fd}`), mode, 0));
  }

  /** Sets owner and group of the file that a handle is of. */
  chown(fd: number, uid: number, gid: number): void {
    this.#check(this.#c.fchownat(fd, this.#put(""), uid, gid, AT_EMPTY_PATH));
  }

  setTimes(fd: number, atime: HostTime, mtime: HostTime): void {
    const view = new DataView(new ArrayBuffer(32));
    [atime, mtime].forEach((time, i) => {
      const nsec = time === "now" ? UTIME_NOW : time ? time.nsec : UTIME_OMIT;
      view.setBigInt64(16 * i, BigInt(typeof time === "object" ? time.sec : 0), true);
      view.setBigInt64(16 * i + 8, BigInt(nsec), true);
    });
    const times = new Uint8Array(view.buffer);
    this.#check(this.#c.utimensat(AT_FDCWD, this.#put(`/proc/self/fd/${fd}`), times, 0));
  }

  /** Blocks and files of the file system, as fstatfs(2) of a 64-bit Linux lays them out. */
  statfs(fd: number) {
    const bytes = new Uint8Array(128), view = new DataView(bytes.buffer);
    this.#check(this.#c.fstatfs(fd, bytes));
    const word = (index: number) => u64(view, 8 * index);
    const [type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen] = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(word);
    return {
      type: Number(type),
      bsize: Number(bsize),
      blocks,
      bfree,
      bavail,
      files,
      ffree,
      fsid,
      namelen: Number(namelen),
    };
  }

  #put(text: string, into = this.#name): Uint8Array<ArrayBuffer> {
    if (text.length >= PATH_BYTES || utf8Length(text) >= PATH_BYTES) throw errFromErrno(ENAMETOOLONG);
    if (text.includes("\0")) throw new Err("EINVAL");
    into[encodeUtf8(text, into, 0)] = 0;
    return into;
  }

  #check(result: number): number {
    if (result < 0) throw this.#error();
    return result;
  }

  /** The result of a call that a signal may cut short. */
  #count(call: () => bigint): number {
    for (;;) {
      const result = Number(call());
      if (result >= 0) return result;
      const error = this.#error();
      if (error.errno !== EINTR) throw error;
    }
  }

  #error(): Err {
    return errFromErrno(new Deno.UnsafePointerView(this.#c.__errno_location()!).getInt32());
  }

  #parseStat(): HostStat {
    const view = this.#stat;
    const u32 = (at: number) => view.getUint32(at, true);
    return {
      dev: u32(136) * 2 ** 20 + u32(140),
      ino: u64(view, 32),
      mode: view.getUint16(28, true),
      nlink: u32(16),
      uid: u32(20),
      gid: u32(24),
      size: Number(u64(view, 40)),
      blksize: u32(4),
      blocks: Number(u64(view, 48)),
      rdevMajor: u32(128),
      rdevMinor: u32(132),
      atime: seconds(view, 64),
      atimeNsec: u32(72),
      mtime: seconds(view, 112),
      mtimeNsec: u32(120),
      ctime: seconds(view, 96),
      ctimeNsec: u32(104),
      btime: seconds(view, 80),
      btimeNsec: u32(88),
    };
  }

  #parseDirents(count: number): HostDirent[] {
    const out: HostDirent[] = [];
    for (let at = 0; at < count;) {
      const length = this.#pageView.getUint16(at + 16, true), start = at + DIRENT_BYTES;
      const end = this.#page.indexOf(0, start);
      const name = decodeUtf8(this.#page, start, Math.min(end - start, NAME_BYTES));
      if (name !== "." && name !== "..") out.push({ name, next: u64(this.#pageView, at + 8) });
      at += length;
    }
    return out;
  }
}

function u64(view: DataView, at: number): U64 {
  const low = view.getUint32(at, true), high = view.getUint32(at + 4, true);
  return high < 2 ** 21 ? high * 2 ** 32 + low : view.getBigUint64(at, true);
}

function seconds(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}
