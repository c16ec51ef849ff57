/**
 * SrvDev: the kernel's services as a directory of files.
 *
 * Layer: part of the srv plugin, on the Dev contract. A Chan's aux is the Service, null for the directory: by it
 * the kernel knows a file of /srv when one is mounted. What it does not do: serve anything itself.
 *
 * See srv(3) of Plan 9.
 */

import { Chan, type Create, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err, excerpt, PATH_CHARS } from "../../core/err.ts";
import type { Kernel } from "../../core/kernel.ts";
import { type Dir, type Dirent, DMDIR, makeDir, type MaybePromise, type Qid, QTDIR } from "../../core/p9/types.ts";
import { OEXEC, OREAD, OTRUNC, type Wstat } from "../../core/p9/types.ts";
import { ProcReq } from "../../core/proc_files.ts";
import { isDial } from "../../core/path.ts";
import type { OpenFile } from "../../core/fgrp.ts";
import type { Service } from "../../core/services.ts";
import { isPrivileged } from "../../core/users.ts";

type File = Service | null;

const ROOT: Qid = { type: QTDIR, vers: 0, path: 0 };
/** The permission bits that each open mode asks for. */
const WANTS = [4, 2, 6, 1];

export class SrvDev extends Dev<File> {
  readonly name: string;
  readonly #kernel: Kernel;
  readonly #startMs: number;

  constructor(name: string, kernel: Kernel) {
    super();
    this.name = name;
    this.#kernel = kernel;
    this.#startMs = kernel.clock.now();
  }

  override attach(user: User, aname: string): Chan<File> {
    if (aname !== "" && aname !== "/") throw new Err("ENOENT", `${this.name} has no tree called "${excerpt(aname)}"`);
    return new Chan<File>(this, ROOT, null, user);
  }

  override walk(c: Chan<File>, names: string[]): Walk<File> {
    const qids: Qid[] = [];
    let at = c.aux;
    for (const name of names) {
      if (at !== null) throw new Err("ENOTDIR");
      if (name !== "..") {
        const found = this.#kernel.services.get(name);
        if (!found && qids.length > 0) return { qids, chan: null };
        if (!found) throw new Err("ENOENT");
        at = found;
      }
      qids.push(qidOf(at));
    }
    return { qids, chan: new Chan<File>(this, qidOf(at), at, c.user) };
  }

  override open(c: Chan<File>, mode: number, req: Req): Chan<File> {
    const access = mode & 3;
    if (c.aux === null) {
      if (access !== OREAD && access !== OEXEC) throw new Err("EISDIR");
    } else {
      if (mode & OTRUNC && access === OREAD) throw new Err("EACCES");
      this.#check(c.aux, req.user, WANTS[access]);
    }
    c.mode = mode;
    return c;
  }

  /** A new name, to which what is posted is then written. */
  override create(c: Chan<File>, what: Create, req: Req): Chan<File> {
    if (c.aux !== null) throw new Err("ENOTDIR");
    if (what.perm & DMDIR) throw new Err("EPERM", "services have no directories");
    const service = this.#kernel.services.post(what.name, req.user, what.perm & 0o777, this.#kernel.clock.now());
    c.aux = service;
    c.qid = qidOf(service);
    c.mode = what.mode;
    return c;
  }

  override read(c: Chan<File>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    const { chan, files } = posted(c);
    return files.read(chan, dst, offset, req);
  }

  override write(c: Chan<File>, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    const service = serviceOf(c);
    if ((c.mode & 3) === OREAD || (c.mode & 3) === OEXEC) throw new Err("EBADF");
    if (!service.posted) return this.#post(service, new TextDecoder().decode(data).trim(), data.length, req);
    const { chan, files } = posted(c);
    return files.write(chan, data, offset, req);
  }

  override stat(c: Chan<File>): Dir {
    return this.#dir(c.aux);
  }

  override readdir(c: Chan<File>, cookie: number, space: number): Dirent[] {
    if (c.aux !== null) throw new Err("ENOTDIR");
    // By path, which grows with time: so a listing stays right when services come and go.
    const after = this.#kernel.services.list().filter((service) => service.path > cookie).sort((a, b) =>
      a.path - b.path
    );
    const count = Math.max(1, Math.floor(space / 128));
    return after.slice(0, count).map((service) => ({ dir: this.#dir(service), next: service.path }));
  }

  override async remove(c: Chan<File>, req: Req): Promise<void> {
    const service = serviceOf(c);
    this.#mustOwn(service, req.user);
    await this.#kernel.services.remove(service);
  }

  /** Its owner may rename it, and change its permissions. */
  override wstat(c: Chan<File>, w: Wstat, req: Req): void {
    const { name, mode, atime: _a, mtime: _m, length, ...rest } = w;
    if (Object.keys(rest).length > 0 || length) throw new Err("EPERM");
    if (c.aux === null) {
      if (name !== undefined || mode !== undefined) throw new Err("EPERM");
      return;
    }
    if (name !== undefined || mode !== undefined) this.#mustOwn(c.aux, req.user);
    if (name !== undefined && name !== c.aux.name) this.#kernel.services.rename(c.aux, name);
    if (mode !== undefined) c.aux.perm = mode & 0o777;
  }

  /** Posts what a text names: the number of a file that the proc has open, or a dial string. */
  #post(service: Service, text: string, count: number, req: Req): MaybePromise<number> {
    if (/^\d+$/.test(text)) {
      if (!(req instanceof ProcReq)) throw new Err("EINVAL", "a file's number means nothing here: write a dial string");
      service.posted = { file: req.proc.fgrp.get(Number(text)).hold() };
      return count;
    }
    if (!isDial(text)) {
      throw new Err("EINVAL", `neither a file's number nor a dial string: ${excerpt(text, PATH_CHARS)}`);
    }
    if (!isPrivileged(req.user, this.#kernel.hostowner.name)) {
      throw new Err("EPERM", `dialing out is for ${this.#kernel.hostowner.name}`);
    }
    return this.#kernel.dial(text, req.signal).then((dev) => {
      if (service.posted) throw new Err("EEXIST", "something else was posted meanwhile");
      service.posted = { dev };
      return count;
    });
  }

  #dir(file: File): Dir {
    if (file === null) {
      const mtime = Math.floor(this.#startMs / 1000);
      return makeDir({ name: "/", qid: ROOT, mode: DMDIR | 0o777, uid: this.#kernel.hostowner.name, mtime });
    }
    const { name, perm, owner, mtimeMs } = file;
    const mtime = Math.floor(mtimeMs / 1000);
    return makeDir({ name, qid: qidOf(file), mode: perm, uid: owner.name, nuid: owner.uid, ngid: owner.gid, mtime });
  }

  #check(service: Service, user: User, wants: number): void {
    if (isPrivileged(user, this.#kernel.hostowner.name)) return;
    const bits = user.name === service.owner.name ? service.perm >> 6 : service.perm;
    if ((bits & wants) !== wants) throw new Err("EACCES");
  }

  #mustOwn(service: Service, user: User): void {
    if (user.name === service.owner.name || isPrivileged(user, this.#kernel.hostowner.name)) return;
    throw new Err("EACCES", `service ${service.name} is ${service.owner.name}'s`);
  }
}

function qidOf(file: File): Qid {
  return file === null ? ROOT : { type: 0, vers: 0, path: file.path };
}

function serviceOf(c: Chan<File>): Service {
  if (c.aux === null) throw new Err("EISDIR");
  return c.aux;
}

/** The open file that is posted. */
function posted(c: Chan<File>): OpenFile {
  const service = serviceOf(c);
  if (!service.posted) throw new Err("ESHUTDOWN", `nothing is posted as ${service.name}`);
  if ("dev" in service.posted) throw new Err("EINVAL", `${service.name} is a tree: mount it`);
  return service.posted.file;
}
