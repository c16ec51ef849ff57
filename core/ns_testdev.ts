/**
 * MemDev: a tree in memory for the tests of the name space. Not for use in a system: it has no permissions.
 *
 * Layer: tests of core. It counts the Chans it has given out, so that a test sees one that was never clunked, and can
 * be told to answer everything with promises.
 */

import { Chan, type Create, Dev, type Req, type User, type Walk } from "./dev.ts";
import { Err } from "./err.ts";
import { type Dir, type Dirent, DMDIR, makeDir, type MaybePromise, type Qid, type Wstat } from "./p9/types.ts";

class Node {
  children: Map<string, Node> | null;
  data = new Uint8Array();
  constructor(readonly qid: Qid, public parent: Node | null, public name: string) {
    this.children = qid.type ? new Map() : null;
  }
}

/** A tree of directories and files, each file holding its own text at first. */
export class MemDev extends Dev<Node> {
  readonly name: string;
  /** Chans given out and not clunked. */
  chans = 0;
  /** Calls of `walk` that have come. */
  walks = 0;
  readonly #async: boolean;
  readonly #root: Node;
  #nextPath = 0;

  /** `paths` that end in `/` are directories; what is above them is made too. */
  constructor(name: string, paths: string[] = [], async = false) {
    super();
    this.name = name;
    this.#async = async;
    this.#root = new Node(this.#newQid(true), null, "/");
    for (const path of paths) this.add(path);
  }

  /** A Chan on the root, at once. */
  rootChan(user: User): Chan<Node> {
    return this.#chan(this.#root, user);
  }

  override attach(user: User, aname: string, _req: Req): MaybePromise<Chan<Node>> {
    let node = this.#root;
    for (const name of aname.split("/").filter(Boolean)) node = child(node, name);
    return this.#answer(this.#chan(node, user));
  }

  override walk(c: Chan<Node>, names: string[], _req: Req): MaybePromise<Walk<Node>> {
    this.walks++;
    const qids: Qid[] = [];
    let node = c.aux;
    for (const name of names) {
      const next = name === ".." ? node.parent ?? node : node.children?.get(name);
      if (!next) {
        if (qids.length > 0) return this.#answer({ qids, chan: null });
        return this.#refuse(new Err(node.children ? "ENOENT" : "ENOTDIR"));
      }
      qids.push(next.qid);
      node = next;
    }
    return this.#answer({ qids, chan: this.#chan(node, c.user) });
  }

  override open(c: Chan<Node>, mode: number, _req: Req): MaybePromise<Chan<Node>> {
    c.mode = mode;
    return this.#answer(c);
  }

  override read(c: Chan<Node>, dst: Uint8Array, offset: number, _req: Req): number | Promise<Uint8Array> {
    const part = c.aux.data.subarray(offset, offset + dst.length);
    if (this.#async) return Promise.resolve(part.slice());
    if (c.aux.children) throw new Err("EISDIR");
    dst.set(part);
    return part.length;
  }

  override write(c: Chan<Node>, data: Uint8Array, offset: number, _req: Req): MaybePromise<number> {
    const grown = new Uint8Array(Math.max(c.aux.data.length, offset + data.length));
    grown.set(c.aux.data);
    grown.set(data, offset);
    c.aux.data = grown;
    return this.#answer(data.length);
  }

  override stat(c: Chan<Node>, _req: Req): MaybePromise<Dir> {
    return this.#answer(dirOf(c.aux));
  }

  override readdir(c: Chan<Node>, cookie: number, space: number, _stats: boolean): MaybePromise<Dirent[]> {
    const all = [...c.aux.children!.values()].map((node, i) => ({ dir: dirOf(node), next: i + 1 }));
    return this.#answer(all.slice(cookie, cookie + Math.max(1, Math.floor(space / 100))));
  }

  override clunk(_c: Chan<Node>): void {
    this.chans--;
    if (this.chans < 0) throw new Error(`${this.name}: a Chan was clunked twice`);
  }

  override create(c: Chan<Node>, what: Create, _req: Req): MaybePromise<Chan<Node>> {
    if (c.aux.children!.has(what.name)) return this.#refuse(new Err("EEXIST"));
    const node = new Node(this.#newQid((what.perm & DMDIR) !== 0), c.aux, what.name);
    c.aux.children!.set(what.name, node);
    c.aux = node;
    c.qid = node.qid;
    c.mode = what.mode;
    return this.#answer(c);
  }

  override remove(c: Chan<Node>, _req: Req): MaybePromise<void> {
    c.aux.parent!.children!.delete(c.aux.name);
    return this.#answer(undefined);
  }

  override wstat(c: Chan<Node>, w: Wstat, _req: Req): MaybePromise<void> {
    if (w.name !== undefined) move(c.aux, c.aux.parent!, w.name);
    return this.#answer(undefined);
  }

  override rename(c: Chan<Node>, dir: Chan<Node>, name: string, _req: Req): MaybePromise<void> {
    move(c.aux, dir.aux, name);
    return this.#answer(undefined);
  }

  /** Makes a file, or a directory when the path ends in `/`. */
  add(path: string): void {
    let node = this.#root;
    const names = path.split("/").filter(Boolean);
    for (const [i, name] of names.entries()) {
      const isDir = i < names.length - 1 || path.endsWith("/");
      let next = node.children!.get(name);
      if (!next) {
        next = new Node(this.#newQid(isDir), node, name);
        next.data = new TextEncoder().encode(`${this.name}:${names.join("/")}`);
        node.children!.set(name, next);
      }
      node = next;
    }
  }

  #newQid(isDir: boolean): Qid {
    return { type: isDir ? 0x80 : 0, vers: 0, path: this.#nextPath++ };
  }

  #chan(node: Node, user: User): Chan<Node> {
    this.chans++;
    return new Chan(this, node.qid, node, user);
  }

  #answer<T>(value: T): MaybePromise<T> {
    return this.#async ? Promise.resolve(value) : value;
  }

  #refuse(err: Err): Promise<never> {
    if (this.#async) return Promise.reject(err);
    throw err;
  }
}

function move(node: Node, dir: Node, name: string): void {
  node.parent!.children!.delete(node.name);
  node.name = name;
  node.parent = dir;
  dir.children!.set(name, node);
}

function child(node: Node, name: string): Node {
  const found = node.children?.get(name);
  if (!found) throw new Err("ENOENT");
  return found;
}

function dirOf(node: Node): Dir {
  return makeDir({
    name: node.name,
    qid: node.qid,
    mode: node.children ? DMDIR | 0o755 : 0o644,
    length: node.data.length,
  });
}
