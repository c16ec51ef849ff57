/**
 * IpDev: the files of /net. Protocols, their conversations, and what stands beside them.
 *
 * Layer: plugins/ip, a Dev of its own rather than a described tree, for there are thousands of conversations and each read
 * and write is one: a Chan holds the conversation and which of its files it is. What holds always: a file of a
 * conversation is its owner's and the hostowner's; the conversation goes with the last that was open in it.
 *
 * See ip(3) of Plan 9, devip.c for its forebear.
 */

import type { Clock } from "../../core/clock.ts";
import { Chan, Dev, type Req, type User, type Walk } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
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
import { copyAt, type FileNode, type Handle, then } from "../../core/tree_node.ts";
import { isPrivileged } from "../../core/users.ts";
import type { Conv, Proto } from "./conv.ts";
import { openSnoop } from "./snoop.ts";

/** Files by kind: of the tree, of a protocol, of a conversation. */
const ROOT = 0, TOP = 1, PROTO = 2, CLONE = 3, STATS = 4, CONV = 5;
const CTL = 6, DATA = 7, ERR = 8, LISTEN = 9, LOCAL = 10, REMOTE = 11, SNOOP = 13, EVENT = 14;
const FIRST = CTL, KINDS = 16;

/** A conversation's files, in the order in which they are listed. */
const NAMES = ["ctl", "data", "err", "listen", "local", "remote", "status", "snoop", "event"];
/** Those whose permissions are the conversation's, and that keep it while they are open. */
const ITS_OWN = new Set([CTL, DATA, ERR, LISTEN, SNOOP, EVENT]);
const READ = 4, WRITE = 2;
/** Digits of a conversation's number at the most. */
const MAX_DIGITS = 6;
/** Stacks of one plugin. */
export const MAX_STACKS = 16;

/** Where a stack's files come from. */
export interface IpTree {
  /** The stack's: 0 to 15. */
  readonly number: number;
  readonly protos: readonly Proto[];
  /** `arp`, `cs` and so on. */
  readonly tops: ReadonlyMap<string, FileNode>;
}

/** What a Chan of this Dev holds. */
export interface IpFile {
  tree: IpTree;
  kind: number;
  proto: Proto | undefined;
  conv: Conv | undefined;
  /** The name of a file of the root. */
  top: string;
  /** Of an open file that has a state of its own. */
  handle: Handle | undefined;
  /** What a read at the start made, for those that follow. */
  text: Uint8Array | undefined;
}

/** What the Dev is made with. */
export interface IpDevOptions {
  name: string;
  hostowner: string;
  clock: Clock;
  log(text: string): void;
  /** The files of stack N: `#ip.N`, or what `aname` says. Throws when there is none, and none for that user. */
  tree(number: number, user: User): IpTree;
}

/** See the head of this file. */
export class IpDev extends Dev<IpFile> {
  readonly name: string;
  readonly #options: IpDevOptions;
  readonly #startMs: number;

  constructor(options: IpDevOptions) {
    super();
    this.name = options.name;
    this.#options = options;
    this.#startMs = options.clock.now();
  }

  attach(user: User, aname: string): Chan<IpFile> {
    const spec = aname.replace(/^\/$/, "");
    if (!/^\d{0,2}$/.test(spec)) throw new Err("ENOENT", `${this.name} has no stack "${aname.slice(0, 40)}"`);
    const aux = fileOf({ tree: this.#options.tree(Number(spec), user), kind: ROOT });
    return new Chan<IpFile>(this, this.#qid(aux), aux, user);
  }

  walk(c: Chan<IpFile>, names: string[]): Walk<IpFile> {
    const qids: Qid[] = [];
    const at = fileOf(c.aux);
    for (const name of names) {
      if (!this.#step(at, name)) {
        if (qids.length === 0) throw new Err(isDir(at.kind) ? "ENOENT" : "ENOTDIR");
        return { qids, chan: null };
      }
      qids.push(this.#qid(at));
    }
    return { qids, chan: new Chan<IpFile>(this, qids.at(-1) ?? this.#qid(at), at, c.user) };
  }

  /** Makes `at` what `name` leads to from there; false, and nothing is changed, when there is no such file. */

  #step(at: IpFile, name: string): boolean {
    switch (at.kind) {
      case ROOT:
        return name === ".." || this.#stepFromRoot(at, name);
      case PROTO:
        return this.#stepFromProto(at, name);
      case CONV:
        return this.#stepFromConv(at, name);
    }
    return false;
  }

  #stepFromRoot(at: IpFile, name: string): boolean {
    at.proto = at.tree.protos.find((each) => each.name === name);
    if (at.proto !== undefined) at.kind = PROTO;
    else if (at.tree.tops.has(name)) {
      at.kind = TOP;
      at.top = name;
    }
    return at.kind !== ROOT;
  }

  #stepFromProto(at: IpFile, name: string): boolean {
    const conv = at.proto!.get(idOf(name));
    if (conv !== undefined) {
      at.conv = conv;
      at.kind = CONV;
    } else if (name === "clone") at.kind = CLONE;
    else if (name === "stats") at.kind = STATS;
    else if (name === "..") {
      at.proto = undefined;
      at.kind = ROOT;
    }
    return at.kind !== PROTO;
  }

  #stepFromConv(at: IpFile, name: string): boolean {
    const file = NAMES.indexOf(name);
    if (file >= 0) at.kind = FIRST + file;
    else if (name === "..") {
      at.conv = undefined;
      at.kind = PROTO;
    }
    return at.kind !== CONV;
  }

  open(c: Chan<IpFile>, mode: number, req: Req): MaybePromise<Chan<IpFile>> {
    const { kind, conv, proto } = c.aux;
    if (c.mode !== -1) throw new Err("EBADF", "file already open");
    if (mode & ORCLOSE || (mode & 3) === OEXEC) throw new Err("EACCES");
    if (isDir(kind)) {
      if ((mode & ~OTRUNC) !== OREAD || mode & OTRUNC) throw new Err("EISDIR");
      c.mode = mode;
      return c;
    }
    if (conv?.closed) throw new Err("EIDRM");
    this.#check(c.aux, req.user, mode);
    if (kind === TOP) return this.#openTop(c, mode, req);
    if (kind === CLONE) return this.#become(c, proto!.clone(req.user), mode);
    if (kind === LISTEN) return this.#openListen(c, conv!, mode, req);
    if (kind === SNOOP) c.aux.handle = this.#snoop(conv!);
    else if (kind === EVENT) c.aux.handle = eventHandle(conv!);
    return this.#opened(c, mode);
  }

  #openTop(c: Chan<IpFile>, mode: number, req: Req): MaybePromise<Chan<IpFile>> {
    const node = c.aux.tree.tops.get(c.aux.top)!, { log, clock } = this.#options;
    return then(node.open({ mode, req, log, now: () => clock.now() }), (handle) => {
      c.aux.handle = handle;
      c.mode = mode;
      return c;
    });
  }

  /** Whoever is called has the new conversation's ctl open, in place of listen. */
  #openListen(c: Chan<IpFile>, conv: Conv, mode: number, req: Req): MaybePromise<Chan<IpFile>> {
    return then(conv.listen(req), (call) => this.#become(c, call, mode));
  }

  /** Turns a Chan into the open ctl of a conversation. */
  #become(c: Chan<IpFile>, conv: Conv, mode: number): Chan<IpFile> {
    c.aux = fileOf({ tree: c.aux.tree, kind: CTL, proto: conv.proto, conv });
    c.qid = this.#qid(c.aux);
    return this.#opened(c, mode);
  }

  #opened(c: Chan<IpFile>, mode: number): Chan<IpFile> {
    if (ITS_OWN.has(c.aux.kind)) c.aux.conv!.opens++;
    c.mode = mode;
    return c;
  }

  #snoop(conv: Conv): Handle {
    if (conv.watch === undefined) throw new Err("EOPNOTSUPP", "its packets are not seen here");
    return openSnoop(conv.watch, this.#options.clock);
  }

  read(c: Chan<IpFile>, dst: Uint8Array, offset: number, req: Req): number | MaybePromise<Uint8Array> {
    const { kind, conv, handle } = c.aux;
    if (c.mode === -1 || (c.mode & 3) === OWRITE) throw new Err("EBADF", "file not open for reading");
    if (kind === DATA) return this.#alive(conv).read(dst, req);
    if (handle !== undefined) {
      if (handle.read === undefined) throw new Err("EACCES");
      return handle.read(dst, offset, req);
    }
    if (isDir(kind)) throw new Err("EISDIR");
    if (kind === CTL) return putDigits(conv!.id, dst, offset);
    if (offset === 0 || c.aux.text === undefined) c.aux.text = encoder.encode(textOf(c.aux));
    return copyAt(c.aux.text, dst, offset);
  }

  override write(c: Chan<IpFile>, data: Uint8Array, offset: number, req: Req): MaybePromise<number> {
    const { kind, conv, handle } = c.aux, how = c.mode & 3;
    if (c.mode === -1 || how !== OWRITE && how !== ORDWR) throw new Err("EBADF", "file not open for writing");
    if (kind === DATA) return this.#alive(conv).write(data, req);
    if (kind === CTL) {
      const { length } = data;
      return then(this.#alive(conv).ctl(data, req), () => length);
    }
    if (handle?.write === undefined) throw new Err("EACCES");
    return handle.write(data, offset, req);
  }

  #alive(conv: Conv | undefined): Conv {
    if (conv === undefined || conv.closed) throw new Err("ESHUTDOWN", "the conversation is hung up");
    return conv;
  }

  override readdir(c: Chan<IpFile>, cookie: U64, space: number): Dirent[] {
    const { kind } = c.aux, rows: Dirent[] = [];
    if (!isDir(kind)) throw new Err("ENOTDIR");
    for (const { file, next } of this.#entries(c.aux)) {
      if (next <= Number(cookie)) continue;
      rows.push({ dir: this.#dir(file, c.user), next });
      if ((space -= 96) < 0) break;
    }
    return rows;
  }

  /** What stands in a directory, each with the cookie that comes after it. */
  *#entries({ tree, kind, proto, conv }: IpFile): Generator<{ file: IpFile; next: number }> {
    let next = 0;
    if (kind === CONV) {
      for (const i of NAMES.keys()) yield { file: fileOf({ tree, kind: FIRST + i, proto, conv }), next: ++next };
      return;
    }
    if (kind === ROOT) {
      for (const each of tree.protos) yield { file: fileOf({ tree, kind: PROTO, proto: each }), next: ++next };
      for (const top of tree.tops.keys()) yield { file: fileOf({ tree, kind: TOP, top }), next: ++next };
      return;
    }
    for (const file of [CLONE, STATS]) yield { file: fileOf({ tree, kind: file, proto }), next: ++next };
    for (const each of proto!.convs()) {
      yield { file: fileOf({ tree, kind: CONV, proto, conv: each }), next: next + 1 + each.id };
    }
  }

  stat(c: Chan<IpFile>): Dir {
    return this.#dir(c.aux, c.user);
  }

  /** The owner of a conversation may give its permissions, or all of it, to others. Truncation means nothing here. */
  override wstat(c: Chan<IpFile>, w: Wstat, req: Req): void {
    const { length, atime: _atime, mtime: _mtime, mode, uid, ...rest } = w, { conv, kind } = c.aux;
    if (length || Object.keys(rest).length > 0) throw new Err("EPERM");
    if (mode === undefined && uid === undefined) return;
    const isMine = conv !== undefined && (conv.owner === req.user.name || this.#isPrivileged(req.user));
    if (!isMine || !ITS_OWN.has(kind)) throw new Err("EPERM");
    if (uid !== undefined && uid !== conv.owner && !this.#isPrivileged(req.user)) throw new Err("EPERM");
    if (mode !== undefined) conv.perm = mode & 0o666;
    if (uid !== undefined) conv.owner = uid;
  }

  override clunk(c: Chan<IpFile>): MaybePromise<void> {
    const { kind, conv, handle } = c.aux;
    if (c.mode === -1) return;
    c.mode = -1;
    const done = handle?.close?.();
    if (conv !== undefined && ITS_OWN.has(kind) && --conv.opens === 0) conv.unused();
    return done;
  }

  #isPrivileged(user: User): boolean {
    return isPrivileged(user, this.#options.hostowner);
  }

  #check(file: IpFile, user: User, mode: number): void {
    const want = ((mode & 3) !== OWRITE ? READ : 0) | ((mode & 3) !== OREAD || mode & OTRUNC ? WRITE : 0);
    const { perm, owner } = this.#attr(file), isOwner = user.name === owner || this.#isPrivileged(user);
    const bits = isOwner ? perm >>> 6 | perm : perm;
    if ((bits & want) !== want) throw new Err("EACCES");
  }

  #attr({ kind, conv, proto, tree, top }: IpFile): { perm: number; owner: string } {
    const { hostowner } = this.#options;
    if (kind === TOP) return { perm: tree.tops.get(top)!.mode & 0o777, owner: hostowner };
    if (kind === CLONE) return { perm: proto!.clonePerm, owner: hostowner };
    if (kind === LISTEN || kind === CTL || kind === DATA) return { perm: conv!.perm, owner: conv!.owner };
    if (ITS_OWN.has(kind)) return { perm: conv!.perm & 0o444, owner: conv!.owner };
    return { perm: 0o444, owner: conv?.owner ?? hostowner };
  }

  #dir(file: IpFile, asker: User): Dir {
    const { kind, conv, proto, top } = file, { perm, owner } = this.#attr(file);
    const ms = this.#startMs, sec = Math.floor(ms / 1000), mine = owner === asker.name;
    const name = kind === ROOT
      ? "/"
      : kind === TOP
      ? top
      : kind === PROTO
      ? proto!.name
      : kind === CLONE
      ? "clone"
      : kind === STATS
      ? "stats"
      : kind === CONV
      ? String(conv!.id)
      : NAMES[kind - FIRST];
    return makeDir({
      name,
      qid: this.#qid(file),
      mode: isDir(kind) ? (DMDIR | 0o555) >>> 0 : perm,
      length: kind === DATA ? conv!.length : 0,
      mtime: sec,
      mtimeNsec: Math.floor((ms - sec * 1000) * 1e6),
      uid: owner,
      nuid: mine ? asker.uid : 0,
      ngid: mine ? asker.gid : 0,
    });
  }

  /** Of a conversation by its serial number: one that has an old one's number has other files. */
  #qid({ tree, kind, proto, conv, top }: IpFile): Qid {
    const index = kind === TOP
      ? [...tree.tops.keys()].indexOf(top)
      : proto === undefined
      ? 0
      : tree.protos.indexOf(proto);
    const path = (((conv?.serial ?? 0) * 32 + index) * KINDS + kind) * MAX_STACKS + tree.number;
    return { type: isDir(kind) ? QTDIR : 0, vers: 0, path };
  }
}

const encoder = new TextEncoder();

function isDir(kind: number): boolean {
  return kind === ROOT || kind === PROTO || kind === CONV;
}

function fileOf({ tree, kind, proto, conv, top = "" }: Partial<IpFile> & Pick<IpFile, "tree" | "kind">): IpFile {
  return { tree, kind, proto, conv, top, handle: undefined, text: undefined };
}

/** The conversation that a name is the number of, written as `listen` and `ctl` write it; -1 for any other name. */
function idOf(name: string): number {
  let id = 0;
  if (name.length === 0 || name.length > MAX_DIGITS || name.length > 1 && name[0] === "0") return -1;
  for (let i = 0; i < name.length; i++) {
    const digit = name.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    id = id * 10 + digit;
  }
  return id;
}

function textOf({ kind, conv, proto }: IpFile): string {
  switch (kind) {
    case STATS:
      return proto!.stats;
    case ERR:
      return conv!.errText;
    case LOCAL:
      return `${conv!.local}\n`;
    case REMOTE:
      return `${conv!.remote}\n`;
    default:
      return conv!.status;
  }
}

/** Puts a number's digits from `offset` on into `dst`, without memory of their own; answers how many there was room for. */
function putDigits(n: number, dst: Uint8Array, offset: number): number {
  const text = String(n), count = Math.min(Math.max(text.length - offset, 0), dst.length);
  for (let i = 0; i < count; i++) dst[i] = text.charCodeAt(offset + i);
  return count;
}

/** What a conversation can do, and each time that is another: a level, not a history. */
function eventHandle(conv: Conv): Handle {
  let last = "";
  const next = (length: number): Uint8Array | undefined => {
    const line = conv.closed ? "" : conv.eventLine;
    if (line === last) return conv.closed ? new Uint8Array(0) : undefined;
    last = line;
    return encoder.encode(line).subarray(0, length);
  };
  return {
    read: (dst, _offset, req) => next(dst.length) ?? conv.watchers.wait(req, () => next(dst.length)),
  };
}
