/**
 * PipeDev: each attach makes a pipe, a directory of `ctl`, `data` and `data1`.
 *
 * Layer: plugins/pipe, over `queue.ts`. What is written to one end is read from the other. An end that was opened and
 * then let go by all hangs up both directions; when both ends are let go, the pipe is new again.
 *
 * See pipe(3) of Plan 9.
 */

import type { Clock } from "../../core/clock.ts";
import { Chan, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err, excerpt } from "../../core/err.ts";
import {
  type Dir,
  type Dirent,
  DMDIR,
  makeDir,
  type MaybePromise,
  OEXEC,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  type Qid,
  QTDIR,
  type U64,
  type Wstat,
} from "../../core/p9/types.ts";
import { isOwner } from "../../fs/perm.ts";
import { ByteQueue } from "./queue.ts";

const ROOT = 0, CTL = 1, DATA = 2, DATA1 = 3;
const NAMES = ["/", "ctl", "data", "data1"];
const MODES = [DMDIR | 0o500, 0o600, 0o600, 0o600];
/** Qid paths of a pipe: one for each of its files. */
const FILES = 4;

/** One pipe. */
class Pipe {
  /** What the end DATA reads, and what DATA1 reads. */
  readonly queues: [ByteQueue, ByteQueue];
  /** Opens of each end. */
  readonly opens = [0, 0];
  constructor(readonly number: number, readonly owner: User, readonly mtime: number, limit: number) {
    this.queues = [new ByteQueue(limit), new ByteQueue(limit)];
  }

  close(end: number): void {
    if (--this.opens[end] > 0) return;
    const free = this.opens[1 - end] === 0;
    for (const queue of this.queues) free ? queue.reset() : queue.hangup();
  }

  status(): string {
    const [a, b] = this.queues;
    return `oneblock ${Number(a.oneblock)}\nlimit ${a.limit}\n` +
      `data open ${this.opens[0]} queued ${a.length}\ndata1 open ${this.opens[1]} queued ${b.length}\n`;
  }
}

/** Which file of which pipe. */
export interface PipeFile {
  pipe: Pipe;
  file: number;
}

/** Pipes, one for each attach. */
export class PipeDev extends Dev<PipeFile> {
  #pipes = 0;

  constructor(override readonly name: string, readonly clock: Clock, readonly limit: number) {
    super();
  }

  attach(user: User, aname: string): Chan<PipeFile> {
    if (aname !== "" && aname !== "/") throw new Err("ENOENT", `no such tree: ${excerpt(aname)}`);
    const pipe = new Pipe(++this.#pipes, user, Math.floor(this.clock.now() / 1000), this.limit);
    return this.#chan(pipe, ROOT, user);
  }

  walk(c: Chan<PipeFile>, names: string[]): Walk<PipeFile> {
    const { pipe } = c.aux, qids: Qid[] = [];
    let { file } = c.aux;
    for (const name of names) {
      const next = name === ".." ? ROOT : NAMES.indexOf(name, 1);
      if (file !== ROOT || next < 0) {
        if (qids.length === 0) throw new Err(file === ROOT ? "ENOENT" : "ENOTDIR");
        return { qids, chan: null };
      }
      file = next;
      qids.push(qidOf(pipe, file));
    }
    return { qids, chan: this.#chan(pipe, file, c.user) };
  }

  open(c: Chan<PipeFile>, mode: number, req: Req): Chan<PipeFile> {
    const { pipe, file } = c.aux, { name, uid, gid } = pipe.owner;
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    const isMine = isOwner({ mode: 0, uid: name, gid: name, nuid: uid, ngid: gid }, req.user);
    if (!isMine || mode & ORCLOSE || (mode & 3) === OEXEC) throw new Err("EACCES");
    if (file === ROOT && (mode & ~OTRUNC) !== OREAD) throw new Err("EISDIR");
    if (file >= DATA) pipe.opens[file - DATA]++;
    c.mode = mode;
    return c;
  }

  read(c: Chan<PipeFile>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    const { pipe, file } = c.aux;
    if (c.mode === -1 || (c.mode & 3) === OWRITE) throw new Err("EBADF", "file not open for reading");
    if (file === ROOT) throw new Err("EISDIR");
    if (file >= DATA) return pipe.queues[file - DATA].read(dst, req);
    const text = new TextEncoder().encode(pipe.status()).subarray(offset);
    return text.subarray(0, dst.length);
  }

  override write(c: Chan<PipeFile>, data: Uint8Array, _offset: number, req: Req): MaybePromise<number> {
    const { pipe, file } = c.aux, how = c.mode & 3;
    if (c.mode === -1 || (how !== OWRITE && how !== ORDWR)) throw new Err("EBADF", "file not open for writing");
    if (file >= DATA) return pipe.queues[DATA1 - file].write(data, req);
    command(pipe, new TextDecoder().decode(data));
    return data.length;
  }

  override readdir(c: Chan<PipeFile>, cookie: U64): Dirent[] {
    if (c.aux.file !== ROOT) throw new Err("ENOTDIR");
    return [CTL, DATA, DATA1].filter((file) => file > cookie)
      .map((file) => ({ dir: dirOf(c.aux.pipe, file), next: file }));
  }

  stat(c: Chan<PipeFile>): Dir {
    return dirOf(c.aux.pipe, c.aux.file);
  }

  /** Truncation, which clients ask for when they open to write, means nothing here. */
  override wstat(_c: Chan<PipeFile>, w: Wstat): void {
    const { length, atime: _atime, mtime: _mtime, ...rest } = w;
    if (length || Object.keys(rest).length > 0) throw new Err("EPERM");
  }

  override clunk(c: Chan<PipeFile>): void {
    if (c.mode !== -1 && c.aux.file >= DATA) c.aux.pipe.close(c.aux.file - DATA);
  }

  #chan(pipe: Pipe, file: number, user: User): Chan<PipeFile> {
    return new Chan<PipeFile>(this, qidOf(pipe, file), { pipe, file }, user);
  }
}

function qidOf(pipe: Pipe, file: number): Qid {
  return { type: file === ROOT ? QTDIR : 0, vers: 0, path: pipe.number * FILES + file };
}

function dirOf(pipe: Pipe, file: number): Dir {
  const { name, uid, gid } = pipe.owner;
  return makeDir({
    name: NAMES[file],
    qid: qidOf(pipe, file),
    mode: MODES[file],
    length: file >= DATA ? pipe.queues[file - DATA].length : 0,
    mtime: pipe.mtime,
    uid: name,
    nuid: uid,
    ngid: gid,
  });
}

/** `oneblock`, or `oneblock 0`. */
function command(pipe: Pipe, text: string): void {
  const [verb, argument = "1", ...rest] = text.trim().split(/\s+/);
  if (verb !== "oneblock" || !/^[01]$/.test(argument) || rest.length > 0) {
    throw new Err("EINVAL", `unknown control request "${excerpt(text.trim())}" (known: oneblock [0|1])`);
  }
  for (const queue of pipe.queues) queue.oneblock = argument === "1";
}
