/**
 * tar: archives as tar(1) reads and writes them: ustar headers, with pax records where those are too narrow.
 *
 * Layer: fs, above archive; pure: bytes in, bytes out.
 *
 * What holds always: the same entries make the same bytes. Times are kept to the nanosecond, owners of 32 bits, names of any
 * length and of any bytes, extended attributes (as `SCHILY.xattr.` records, which GNU tar and bsdtar know). What is read
 * may be ustar, pax or GNU; what is wrong with it is EINVAL, and a path that leads out of the tree, too.
 *
 * What it does not do: sparse files of GNU tar (EOPNOTSUPP). See pax(1) of POSIX, and tar(5).
 */

import { Err } from "../core/err.ts";
import { decodeUtf8, encodeUtf8, utf8Length } from "../core/p9/utf8.ts";
import { type Archive, type ArchiveEntry, cleanPath, type EntryKind, newEntry } from "./archive.ts";

const BLOCK = 512;
/** tar ends with two blocks of zeros, and fills a record of twenty blocks. */
const RECORD = 20 * BLOCK;
/** Header fields: offset and length. */
const NAME = [0, 100], MODE = [100, 8], UID = [108, 8], GID = [116, 8], SIZE = [124, 12], MTIME = [136, 12];
const SUM = [148, 8], TYPE = [156, 1], LINK = [157, 100], MAGIC = [257, 8], MAJOR = [329, 8], MINOR = [337, 8];
const PREFIX = [345, 155];
const KINDS: Record<EntryKind, string> = {
  file: "0",
  link: "1",
  symlink: "2",
  char: "3",
  block: "4",
  dir: "5",
  fifo: "6",
};
const XATTR = "SCHILY.xattr.";
/** Records of one entry, and long names, are no longer than this. */
const MAX_EXTRA_BYTES = 1 << 20;

/** The archive as the bytes of a tar file. */
export async function* writeTar(archive: Archive): AsyncGenerator<Uint8Array> {
  let total = 0;
  const out = (bytes: Uint8Array) => {
    total += bytes.length;
    return bytes;
  };
  for await (const entry of archive) {
    const records = paxRecords(entry);
    if (records.length > 0) {
      const extra = newEntry("pax", "file");
      yield out(header({ ...extra, mode: 0o644, size: records.length, mtime: entry.mtime }, "x"));
      yield out(padded(records));
    }
    yield out(header(entry, KINDS[entry.kind]));
    if (entry.size === 0 || !entry.data) continue;
    let done = 0;
    for await (const piece of entry.data) {
      done += piece.length;
      yield out(piece);
    }
    if (done !== entry.size) throw new Err("EIO", `${entry.path}: ${done} bytes, not ${entry.size}`);
    if (done % BLOCK !== 0) yield out(new Uint8Array(BLOCK - (done % BLOCK)));
  }
  yield new Uint8Array(2 * BLOCK + (RECORD - ((total + 2 * BLOCK) % RECORD)) % RECORD);
}

function padded(bytes: Uint8Array): Uint8Array {
  const all = new Uint8Array(Math.ceil(bytes.length / BLOCK) * BLOCK);
  all.set(bytes);
  return all;
}

function toBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Length(text));
  encodeUtf8(text, bytes, 0);
  return bytes;
}

/** The path as tar has it: a directory's ends with a slash, the root's is "./". */
function tarPath(entry: ArchiveEntry): string {
  if (entry.kind !== "dir") return entry.path;
  return entry.path === "" ? "./" : `${entry.path}/`;
}

function header(entry: ArchiveEntry, type: string): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const text = ([at, length]: number[], bytes: Uint8Array) => block.set(bytes.subarray(0, length), at);
  const octal = (field: number[], value: number) => {
    const digits = field[1] - 1, most = 8 ** digits - 1;
    text(field, toBytes(Math.max(0, Math.min(value, most)).toString(8).padStart(digits, "0")));
  };
  text(NAME, toBytes(tarPath(entry)));
  octal(MODE, entry.mode);
  octal(UID, entry.uid);
  octal(GID, entry.gid);
  octal(SIZE, entry.size);
  octal(MTIME, entry.mtime.sec);
  text(TYPE, toBytes(type));
  text(LINK, toBytes(entry.target));
  text(MAGIC, toBytes("ustar\x0000"));
  octal(MAJOR, entry.major);
  octal(MINOR, entry.minor);
  text(SUM, toBytes(checksum(block).toString(8).padStart(6, "0") + "\0 "));
  return block;
}

/** The sum of a header's bytes, its own field counted as blanks. */
function checksum(block: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= SUM[0] && i < SUM[0] + SUM[1] ? 32 : block[i];
  return sum;
}

/** What the header has no room for, as pax records. */
function paxRecords(entry: ArchiveEntry): Uint8Array {
  const records: Uint8Array[] = [], path = tarPath(entry), { sec, nsec } = entry.mtime;
  const add = (key: string, value: string | Uint8Array) => records.push(record(key, value));
  const isPlain = (text: string) => utf8Length(text) === text.length && text.length <= NAME[1];
  if (!isPlain(path)) add("path", path);
  if (!isPlain(entry.target)) add("linkpath", entry.target);
  if (entry.size >= 8 ** 11) add("size", `${entry.size}`);
  if (entry.uid >= 8 ** 7) add("uid", `${entry.uid}`);
  if (entry.gid >= 8 ** 7) add("gid", `${entry.gid}`);
  if (nsec !== 0 || sec < 0 || sec >= 8 ** 11) add("mtime", timeText(sec, nsec));
  for (const [name, value] of [...entry.xattrs].sort(([a], [b]) => (a < b ? -1 : 1))) add(XATTR + name, value);
  const all = new Uint8Array(records.reduce((sum, bytes) => sum + bytes.length, 0));
  records.reduce((at, bytes) => (all.set(bytes, at), at + bytes.length), 0);
  return all;
}

/** Seconds with a fraction; before 1970 the fraction counts downwards. */
function timeText(sec: number, nsec: number): string {
  if (sec < 0 && nsec > 0) return `-${-(sec + 1)}.${String(1e9 - nsec).padStart(9, "0")}`;
  return nsec === 0 ? `${sec}` : `${sec}.${String(nsec).padStart(9, "0")}`;
}

function record(key: string, value: string | Uint8Array): Uint8Array {
  const head = toBytes(` ${key}=`), body = typeof value === "string" ? toBytes(value) : value;
  const rest = head.length + body.length + 1;
  let length = rest + String(rest).length;
  if (String(length).length !== String(rest).length) length = rest + String(length).length;
  const bytes = new Uint8Array(length), digits = toBytes(String(length));
  bytes.set(digits);
  bytes.set(head, digits.length);
  bytes.set(body, digits.length + head.length);
  bytes[length - 1] = 10;
  return bytes;
}

/** Whether a tar file may begin so: a header with the right checksum, or zeros, which end one. */
export function isTarHeader(block: Uint8Array): boolean {
  if (block.length < BLOCK) return false;
  return parseInt(textAt(block, SUM), 8) === checksum(block) || block.subarray(0, BLOCK).every((byte) => byte === 0);
}

/** The entries of a tar file. */
export async function* readTar(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  const input = new Input(bytes), global = new Map<string, Uint8Array>();
  let extra = new Map<string, Uint8Array>();
  for (let block = await input.block(); block && block.some((b) => b !== 0); block = await input.block()) {
    if (!isTarHeader(block)) throw new Err("EINVAL", "no tar file, or a damaged one");
    const type = String.fromCharCode(block[TYPE[0]] || 48), size = numberAt(block, SIZE);
    if (type === "x" || type === "g") {
      parseRecords(await input.whole(size), type === "x" ? extra : global);
    } else if (type === "L" || type === "K") {
      extra.set(type === "L" ? "path" : "linkpath", untilZero(await input.whole(size)));
    } else {
      const entry = entryOf(block, type, new Map([...global, ...extra]));
      extra = new Map();
      if (entry.kind === "file") entry.data = input.data(entry.size);
      yield entry;
      await input.skip();
    }
  }
}

function numberAt(block: Uint8Array, [at, length]: number[]): number {
  if (block[at] & 0x80) {
    let value = 0;
    for (let i = at + 1; i < at + length; i++) value = value * 256 + block[i];
    return value;
  }
  const text = textAt(block, [at, length]).trim(), value = text === "" ? 0 : parseInt(text, 8);
  if (!/^[0-7]*$/.test(text)) throw new Err("EINVAL", `tar: "${text}" is no number`);
  return value;
}

function textAt(block: Uint8Array, [at, length]: number[]): string {
  const end = block.subarray(at, at + length).indexOf(0);
  return decodeUtf8(block, at, end < 0 ? length : end);
}

function untilZero(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

function parseRecords(bytes: Uint8Array, into: Map<string, Uint8Array>): void {
  for (let at = 0; at < bytes.length;) {
    const blank = bytes.indexOf(32, at), length = parseInt(decodeUtf8(bytes, at, Math.max(0, blank - at)), 10);
    const equals = bytes.indexOf(61, blank);
    if (blank < 0 || equals < 0 || !(length > equals - at) || at + length > bytes.length) {
      throw new Err("EINVAL", "tar: a bad pax record");
    }
    into.set(decodeUtf8(bytes, blank + 1, equals - blank - 1), bytes.slice(equals + 1, at + length - 1));
    at += length;
  }
}

function entryOf(block: Uint8Array, type: string, extra: Map<string, Uint8Array>): ArchiveEntry {
  const text = (key: string) => {
    const value = extra.get(key);
    return value && decodeUtf8(value, 0, value.length);
  };
  const count = (key: string, field: number[]) => {
    const value = extra.has(key) ? Number(text(key)) : numberAt(block, field);
    if (!Number.isSafeInteger(value) || value < 0) throw new Err("EINVAL", `tar: a bad ${key}`);
    return value;
  };
  if (type === "S" || extra.has("GNU.sparse.major")) throw new Err("EOPNOTSUPP", "tar: sparse files of GNU tar");
  const prefix = textAt(block, MAGIC).startsWith("ustar") && block[262] === 0 ? textAt(block, PREFIX) : "";
  const name = text("path") ?? (prefix === "" ? textAt(block, NAME) : `${prefix}/${textAt(block, NAME)}`);
  const kinds = Object.keys(KINDS) as EntryKind[];
  let kind = kinds.find((k) => KINDS[k] === type) ?? (type === "7" ? "file" : undefined);
  if (!kind) throw new Err("EOPNOTSUPP", `tar: ${name}: a file of type "${type}"`);
  if (kind === "file" && name.endsWith("/")) kind = "dir";
  const entry = newEntry(cleanPath(name), kind), target = text("linkpath") ?? textAt(block, LINK);
  entry.mode = numberAt(block, MODE) & 0o7777;
  entry.uid = count("uid", UID);
  entry.gid = count("gid", GID);
  entry.mtime = timeOf(text("mtime") ?? `${numberAt(block, MTIME)}`);
  entry.size = kind === "file" ? count("size", SIZE) : 0;
  if (kind === "symlink") entry.target = target;
  if (kind === "link") entry.target = cleanPath(target);
  if (kind === "char" || kind === "block") {
    entry.major = numberAt(block, MAJOR);
    entry.minor = numberAt(block, MINOR);
  }
  for (const [key, value] of extra) if (key.startsWith(XATTR)) entry.xattrs.set(key.slice(XATTR.length), value);
  return entry;
}

function timeOf(text: string): { sec: number; nsec: number } {
  const [, minus, whole, fraction = ""] = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text) ?? [];
  if (whole === undefined) throw new Err("EINVAL", `tar: "${text}" is no time`);
  const nsec = Number(fraction.padEnd(9, "0").slice(0, 9)), sec = Number(whole);
  if (minus === "") return { sec, nsec };
  return nsec === 0 ? { sec: -sec, nsec } : { sec: -sec - 1, nsec: 1e9 - nsec };
}

/** The bytes of a tar file, by blocks, and by the data of its files. */
class Input {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array(0);
  /** Bytes of the current file's data, and of what fills its last block, that nobody took yet. */
  #left = 0;
  #filler = 0;

  constructor(bytes: AsyncIterable<Uint8Array>) {
    this.#pieces = bytes[Symbol.asyncIterator]();
  }

  /** The next header; null at the end. */
  async block(): Promise<Uint8Array | null> {
    if (this.#piece.length === 0 && !await this.#more()) return null;
    return await this.#take(BLOCK);
  }

  /** All of the data that follows a header. */
  async whole(size: number): Promise<Uint8Array> {
    if (size > MAX_EXTRA_BYTES) throw new Err("EINVAL", "tar: a header is too long");
    const all = await this.#take(Math.ceil(size / BLOCK) * BLOCK);
    return all.subarray(0, size);
  }

  /** A file's data, as it comes: the next `size` bytes. */
  data(size: number): AsyncGenerator<Uint8Array> {
    this.#left = size;
    this.#filler = (BLOCK - (size % BLOCK)) % BLOCK;
    return this.#data();
  }

  async *#data(): AsyncGenerator<Uint8Array> {
    while (this.#left > 0) {
      if (this.#piece.length === 0 && !await this.#more()) throw new Err("EINVAL", "the tar file ends too early");
      const part = this.#piece.subarray(0, this.#left);
      this.#piece = this.#piece.subarray(part.length);
      this.#left -= part.length;
      yield part;
    }
  }

  /** Goes past what is left of a file's data. */
  async skip(): Promise<void> {
    while (this.#left + this.#filler > 0) {
      if (this.#piece.length === 0 && !await this.#more()) throw new Err("EINVAL", "the tar file ends too early");
      const count = Math.min(this.#piece.length, this.#left + this.#filler), ofData = Math.min(count, this.#left);
      this.#left -= ofData;
      this.#filler -= count - ofData;
      this.#piece = this.#piece.subarray(count);
    }
  }

  async #more(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.#pieces.next();
      if (done) return false;
      if (value.length === 0) continue;
      this.#piece = value;
      return true;
    }
  }

  async #take(count: number): Promise<Uint8Array> {
    const all = new Uint8Array(count);
    for (let done = 0; done < count;) {
      if (this.#piece.length === 0 && !await this.#more()) throw new Err("EINVAL", "the tar file ends too early");
      const part = this.#piece.subarray(0, count - done);
      all.set(part, done);
      this.#piece = this.#piece.subarray(part.length);
      done += part.length;
    }
    return all;
  }
}
