/**
 * Files with a value, files that are read and written by functions, JSON values, and raw files.
 *
 * Layer: core, the helper layer for plugin authors. What holds always: a value is taken once, at open, so that reads
 * at any offset fit together whatever happens meanwhile.
 *
 * A file takes writes in one of three ways, which its author chooses by the name of the function:
 * - `write`: collected, and delivered whole when the file is clunked or synced. For values of any size. As close(2)
 *   reports no error on most systems, a failure then is also logged; who needs it calls fsync(2).
 * - `line`: each line as soon as its newline has come; a rest without one at clunk. For streams of records.
 * - `message`: each write request is one whole message. For short values: `echo 5 >rate` sees the error.
 */

import { Err, toErr } from "./err.ts";
import { Req } from "./dev.ts";
import { type MaybePromise, ORDWR, OTRUNC, OWRITE } from "./p9/types.ts";
import {
  type Attr,
  bytesOf,
  type Compute,
  copyAt,
  FileNode,
  type Handle,
  type Opening,
  textOf,
  then,
  type Value,
} from "./tree_node.ts";

/** Bytes that a file collects at the most before it refuses more with EFBIG, unless its author says otherwise. */
export const MAX_COLLECT_BYTES = 1 << 20;

/** What a file does. */
export interface FileSpec extends Attr {
  /** Its value when it is opened to be read. */
  read?: Compute;
  /** Takes all that was written, at clunk or fsync. */
  write?(text: string, req: Req): MaybePromise<void>;
  /** Takes a line, without its newline, as it comes. */
  line?(text: string, req: Req): MaybePromise<void>;
  /** Takes each write request as a whole. */
  message?(text: string, req: Req): MaybePromise<void>;
  /** The same as `write`, for bytes that are not text. */
  bytes?(data: Uint8Array, req: Req): MaybePromise<void>;
  /** The length that stat tells; 0 when not given, as of any file whose content is made at open. */
  length?(): number;
  /** Bytes that are collected at the most. */
  maxBytes?: number;
}

/** What a raw file does: offsets and bytes as they come, no state of its own per open unless `open` makes it. */
export interface RawSpec extends Attr, Handle {
  /** Makes the handle of one open file, in place of the functions beside it. */
  open?(how: Opening): MaybePromise<Handle>;
  /** Bytes that stat tells. */
  length?(): number;
}

/** A file with functions. It can be read when it has `read`, and written when it has one of the four others. */
export function file(spec: FileSpec): FileNode {
  return new FunctionFile(spec);
}

/** A file whose value is fixed: text, bytes, or a number. */
export function value(content: Value, attr: Attr = {}): FileNode {
  return new ValueFile(bytesOf(content), attr);
}

/**
 * A value as JSON text: read as indented JSON, written whole and delivered parsed.
 * Text that is not JSON is refused with EINVAL and what the parser says.
 */
export function json<T>(
  get: (req: Req) => MaybePromise<T>,
  set?: (value: T, req: Req) => MaybePromise<void>,
): FileNode {
  return file({
    read: (req) => then(get(req), (value) => JSON.stringify(value, null, 2) + "\n"),
    write: set && ((text, req) => set(parseJson(text) as T, req)),
  });
}

/** A file that sees offsets. */
export function raw(spec: RawSpec): FileNode {
  return new RawFile(spec);
}

/** True when a mode lets one read. */
export function reads(mode: number): boolean {
  return (mode & 3) !== OWRITE;
}

/** True when a mode lets one write. */
export function writes(mode: number): boolean {
  return (mode & 3) === OWRITE || (mode & 3) === ORDWR;
}

class ValueFile extends FileNode {
  readonly #bytes: Uint8Array;
  readonly #handle: Handle;

  constructor(bytes: Uint8Array, attr: Attr) {
    super(attr, 0o444);
    this.#bytes = bytes;
    this.#handle = { read: (dst, offset) => copyAt(bytes, dst, offset) };
    this.vers = 1;
  }

  open(how: Opening): Handle {
    if (writes(how.mode)) throw new Err("EACCES");
    return this.#handle;
  }

  override length(): number {
    return this.#bytes.length;
  }
}

class RawFile extends FileNode {
  readonly #spec: RawSpec;

  constructor(spec: RawSpec) {
    super(spec, defaultMode(spec.read || spec.open, spec.write || spec.open));
    this.#spec = spec;
  }

  open(how: Opening): MaybePromise<Handle> {
    return this.#spec.open ? this.#spec.open(how) : this.#spec;
  }

  override length(): number {
    return this.#spec.length?.() ?? 0;
  }
}

class FunctionFile extends FileNode {
  readonly #spec: FileSpec;

  constructor(spec: FileSpec) {
    super(spec, defaultMode(spec.read, spec.write || spec.line || spec.message || spec.bytes));
    this.#spec = spec;
  }

  open(how: Opening): MaybePromise<Handle> {
    const handle = writes(how.mode) ? this.#writer(how) : {};
    if (!reads(how.mode)) return handle;
    if (!this.#spec.read) throw new Err("EACCES");
    return then(this.#spec.read(how.req), (value) => {
      const bytes = bytesOf(value);
      handle.read = (dst, offset) => copyAt(bytes, dst, offset);
      return handle;
    });
  }

  override length(): number {
    return this.#spec.length?.() ?? 0;
  }

  #writer(how: Opening): Handle {
    const { message, line, write, bytes, read, maxBytes = MAX_COLLECT_BYTES } = this.#spec;
    const changed = () => this.touch(how.now());
    if (message) {
      return { write: (data, _offset, req) => then(message(textOf(data), req), () => (changed(), data.length)) };
    }
    if (line) return new LineWriter(how, maxBytes, (text, req) => then(line(text, req), changed));
    const deliver = bytes ?? (write && ((data: Uint8Array, req: Req) => write(textOf(data), req)));
    if (!deliver) throw new Err("EACCES");
    return new WholeWriter(how, maxBytes, read, (data, req) => then(deliver(data, req), changed));
  }
}

/** Collects what is written, and delivers it whole. */
class WholeWriter implements Handle {
  read?: Handle["read"];
  readonly #how: Opening;
  readonly #maxBytes: number;
  readonly #present: Compute | undefined;
  readonly #deliver: (data: Uint8Array, req: Req) => MaybePromise<void>;
  #buffer = new Uint8Array(0);
  #length = 0;
  #started = false;
  /** True when something is there that has not been delivered. */
  #dirty: boolean;

  constructor(
    how: Opening,
    maxBytes: number,
    present: Compute | undefined,
    deliver: (data: Uint8Array, req: Req) => MaybePromise<void>,
  ) {
    this.#how = how;
    this.#maxBytes = maxBytes;
    this.#present = present;
    this.#deliver = deliver;
    this.#dirty = (how.mode & OTRUNC) !== 0;
  }

  /** The new value begins empty; a first write that is not at the start begins from the present value. */
  write(data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    if (offset + data.length > this.#maxBytes) {
      throw new Err("EFBIG", `file too big: this one takes ${this.#maxBytes} bytes`);
    }
    if (this.#started || offset === 0 || !this.#present || (this.#how.mode & OTRUNC)) return this.#put(data, offset);
    const kept = data.slice();
    return then(this.#present(req), (value) => {
      if (!this.#started) this.#put(bytesOf(value), 0);
      return this.#put(kept, offset);
    });
  }

  fsync(req: Req): MaybePromise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    return this.#deliver(this.#buffer.slice(0, this.#length), req);
  }

  close(): MaybePromise<void> {
    return logged(this.#how, () => this.fsync(new Req(this.#how.req.user)));
  }

  #put(data: Uint8Array, offset: number): number {
    const end = offset + data.length;
    if (end > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(256, Math.min(2 * end, this.#maxBytes)));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(data, offset);
    this.#length = Math.max(this.#length, end);
    this.#started = this.#dirty = true;
    return data.length;
  }
}

/** Delivers line by line, one after the other. */
class LineWriter implements Handle {
  read?: Handle["read"];
  readonly #how: Opening;
  readonly #maxBytes: number;
  readonly #deliver: (text: string, req: Req) => MaybePromise<void>;
  /** What has come since the last newline. */
  #rest = new Uint8Array(0);
  /** The lines that are being delivered. */
  #busy: Promise<unknown> | undefined;

  constructor(how: Opening, maxBytes: number, deliver: (text: string, req: Req) => MaybePromise<void>) {
    this.#how = how;
    this.#maxBytes = maxBytes;
    this.#deliver = deliver;
  }

  write(data: Uint8Array, _offset: number, req: Req): MaybePromise<number> {
    const count = data.length;
    const end = data.lastIndexOf(10) + 1;
    const rest = end > 0 ? data.slice(end) : joined(this.#rest, data);
    if (rest.length > this.#maxBytes) throw new Err("EFBIG", `a line is longer than ${this.#maxBytes} bytes`);
    const lines = end > 0 ? textOf(joined(this.#rest, data.subarray(0, end - 1))).split("\n") : [];
    this.#rest = rest;
    return then(this.#run(lines, req), () => count);
  }

  close(): MaybePromise<void> {
    if (this.#rest.length === 0) return;
    const last = this.#rest;
    return logged(this.#how, () => this.#run([textOf(last)], new Req(this.#how.req.user)));
  }

  #run(lines: string[], req: Req): MaybePromise<void> {
    if (!this.#busy) return this.#each(lines, 0, req);
    return this.#busy.then(() => this.#each(lines, 0, req));
  }

  #each(lines: string[], from: number, req: Req): MaybePromise<void> {
    for (let i = from; i < lines.length; i++) {
      const done = this.#deliver(lines[i], req);
      if (done instanceof Promise) {
        const going = done.then(() => this.#each(lines, i + 1, req));
        const settled = going.catch(() => {}).then(() => {
          if (this.#busy === settled) this.#busy = undefined;
        });
        this.#busy = settled;
        return going;
      }
    }
  }
}

/** Runs what happens at clunk; a failure there goes to the log as well, as most clients never see it. */
function logged(how: Opening, run: () => MaybePromise<void>): MaybePromise<void> {
  const failed = (thrown: unknown): never => {
    how.log(`a write by ${how.req.user.name} failed at clunk: ${toErr(thrown).message}`);
    throw thrown;
  };
  try {
    const done = run();
    return done instanceof Promise ? done.catch(failed) : done;
  } catch (thrown) {
    return failed(thrown);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new Err("EINVAL", `not JSON: ${(thrown as Error).message}`);
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

function defaultMode(read: unknown, write: unknown): number {
  return (read ? 0o444 : 0) | (write ? 0o200 : 0);
}
