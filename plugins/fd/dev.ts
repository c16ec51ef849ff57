/**
 * FdDev: `N` is the proc's open file N, `Nctl` tells of it.
 *
 * Layer: part of the fd plugin, on the Dev contract. What is there depends on which proc asks; who is none finds
 * the directory empty. Opening `N` adds a user to the open file: it lasts while either is open. Offsets are the new opener's.
 */

import { Chan, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err, excerpt } from "../../core/err.ts";
import type { OpenFile } from "../../core/fgrp.ts";
import { type Dir, type Dirent, DMDIR, makeDir, type MaybePromise, OEXEC, OREAD } from "../../core/p9/types.ts";
import { ORDWR, OWRITE, type Qid, QTDIR, type Wstat } from "../../core/p9/types.ts";
import { ProcReq } from "../../core/proc_files.ts";

/** Which file: a number, and whether its ctl; the opened one. */
interface File {
  fd: number;
  ctl: boolean;
  open: OpenFile | null;
}

const ROOT: Qid = { type: QTDIR, vers: 0, path: 0 };
const NAME = /^(0|[1-9]\d{0,5})(ctl)?$/;

export class FdDev extends Dev<File | null> {
  readonly name: string;
  readonly #startSec: number;

  constructor(name: string, startMs: number) {
    super();
    this.name = name;
    this.#startSec = Math.floor(startMs / 1000);
  }

  override attach(user: User, aname: string): Chan<File | null> {
    if (aname !== "" && aname !== "/") throw new Err("ENOENT", `${this.name} has no tree called "${excerpt(aname)}"`);
    return new Chan<File | null>(this, ROOT, null, user);
  }

  override walk(c: Chan<File | null>, names: string[], req: Req): Walk<File | null> {
    const qids: Qid[] = [];
    let at: File | null = c.aux && { ...c.aux, open: null };
    for (const name of names) {
      if (at) throw new Err("ENOTDIR");
      if (name !== "..") at = find(name, req);
      if (name !== ".." && !at && qids.length > 0) return { qids, chan: null };
      if (name !== ".." && !at) throw new Err("ENOENT");
      qids.push(qidOf(at));
    }
    return { qids, chan: new Chan<File | null>(this, qidOf(at), at, c.user) };
  }

  override open(c: Chan<File | null>, mode: number, req: Req): Chan<File | null> {
    const access = mode & 3;
    if (!c.aux || c.aux.ctl) {
      if (access !== OREAD && access !== OEXEC) throw new Err(c.aux ? "EACCES" : "EISDIR");
    }
    if (c.aux) {
      const file = procOf(req).fgrp.get(c.aux.fd);
      if (!c.aux.ctl && !permits(file.mode & 3, access)) throw new Err("EACCES");
      c.aux.open = file.hold();
    }
    c.mode = mode;
    return c;
  }

  override read(c: Chan<File | null>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    const { ctl, fd, open } = opened(c);
    if (!ctl) return open.files.read(open.chan, dst, offset, req);
    const part = new TextEncoder().encode(open.line(fd)).subarray(offset, offset + dst.length);
    dst.set(part);
    return part.length;
  }

  override write(c: Chan<File | null>, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    const { ctl, open } = opened(c);
    if (ctl || (c.mode & 3) === OREAD || (c.mode & 3) === OEXEC) throw new Err("EBADF");
    return open.files.write(open.chan, data, offset, req);
  }

  override clunk(c: Chan<File | null>): MaybePromise<void> {
    const open = c.aux?.open;
    if (!open) return;
    c.aux!.open = null;
    return open.drop();
  }

  override stat(c: Chan<File | null>, req: Req): Dir {
    return dirOf(c.aux, req, this.#startSec);
  }

  override readdir(c: Chan<File | null>, cookie: number, space: number, _stats: boolean, req: Req): Dirent[] {
    if (c.aux) throw new Err("ENOTDIR");
    if (!(req instanceof ProcReq)) return [];
    // A cookie is the qid.path: 2n + 1 for n, 2n + 2 for its ctl.
    const files = req.proc.fgrp.entries().flatMap(([fd]) => [false, true].map((ctl) => ({ fd, ctl, open: null })));
    const rest = files.filter((file) => pathOf(file) > cookie).slice(0, Math.max(1, Math.floor(space / 128)));
    return rest.map((file) => ({ dir: dirOf(file, req, this.#startSec), next: pathOf(file) }));
  }

  /** A shell's `>/fd/1` truncates: that is let pass, as in Plan 9. */
  override wstat(_c: Chan<File | null>, w: Wstat): void {
    if (Object.keys(w).some((key) => key !== "length" && key !== "mtime" && key !== "atime")) throw new Err("EPERM");
  }
}

function procOf(req: Req): ProcReq["proc"] {
  if (!(req instanceof ProcReq)) throw new Err("ENOENT", "who is no process has no files here");
  return req.proc;
}

function find(name: string, req: Req): File | null {
  const match = NAME.exec(name);
  if (!match || !(req instanceof ProcReq)) return null;
  const fd = Number(match[1]);
  if (!req.proc.fgrp.entries().some(([open]) => open === fd)) return null;
  return { fd, ctl: match[2] !== undefined, open: null };
}

/** Whether a file open for `has` may be opened for `wants`. */
function permits(has: number, wants: number): boolean {
  if (has === ORDWR) return true;
  if (wants === OREAD || wants === OEXEC) return has === OREAD || has === OEXEC;
  return wants === OWRITE && has === OWRITE;
}

function opened(c: Chan<File | null>): { ctl: boolean; fd: number; open: OpenFile } {
  if (!c.aux) throw new Err("EISDIR");
  const { ctl, fd, open } = c.aux;
  if (!open) throw new Err("EBADF");
  return { ctl, fd, open };
}

function pathOf(file: File): number {
  return 2 * file.fd + (file.ctl ? 2 : 1);
}

function qidOf(file: File | null): Qid {
  return file ? { type: 0, vers: 0, path: pathOf(file) } : ROOT;
}

function dirOf(file: File | null, req: Req, mtime: number): Dir {
  const { name: uid, uid: nuid, gid: ngid } = req.user;
  if (!file) return makeDir({ name: "/", qid: ROOT, mode: DMDIR | 0o555, uid, nuid, ngid, mtime });
  const name = file.ctl ? `${file.fd}ctl` : String(file.fd);
  const open = file.ctl || !(req instanceof ProcReq) ? null : req.proc.fgrp.get(file.fd);
  const mode = open ? [0o400, 0o200, 0o600, 0o400][open.mode & 3] : 0o400;
  return makeDir({ name, qid: qidOf(file), mode, uid, nuid, ngid, mtime });
}
