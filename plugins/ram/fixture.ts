/**
 * A ram tree with its operations by path, for the tests beside this file.
 *
 * Layer: plugins/ram, tests only.
 */

import assert from "node:assert/strict";
import { type Chan, Req, type User } from "../../core/dev.ts";
import type { Code } from "../../core/err.ts";
import { type Dirent, DMDIR, NONUNAME, ORDWR, OREAD, type U64 } from "../../core/p9/types.ts";
import type { Entry } from "../../fs/ram.ts";
import { RamDev, ramOptions } from "./mod.ts";

/** A fid of the tree. */
export type File = Chan<Entry>;

export const root: User = { name: "root", uid: 0, gid: 0 };
export const ken: User = { name: "ken", uid: 1001, gid: 1001 };
export const rob: User = { name: "rob", uid: 1002, gid: 1002 };

/** A tree with time that goes on by a millisecond a look, and its operations by path. */
export class Fixture {
  time = 1_700_000_000_000;
  readonly dev: RamDev;

  constructor(options: Record<string, unknown> = {}) {
    const clock = { now: () => ++this.time, monotonic: () => this.time, after: () => () => {} };
    this.dev = new RamDev("ram", clock, "hostowner", ramOptions(options));
  }

  walk(path: string, user = ken): File {
    const names = path.split("/").filter((name) => name !== "");
    const at = this.dev.attach(user, "");
    const { chan } = this.dev.walk(at, names, new Req(user));
    this.dev.clunk(at);
    assert.ok(chan, `walk stopped in ${path}`);
    return chan;
  }

  create(path: string, perm = 0o666, options: { user?: User; mode?: number; ngid?: number } = {}): File {
    const user = options.user ?? ken, ngid = options.ngid ?? NONUNAME;
    const slash = path.lastIndexOf("/");
    const mode = options.mode ?? (perm & DMDIR ? OREAD : ORDWR);
    const what = { name: path.slice(slash + 1), perm, mode, mask: ngid === NONUNAME, ngid };
    const dir = this.walk(path.slice(0, slash), user);
    try {
      return this.dev.create(dir, what, new Req(user));
    } catch (e) {
      this.dev.clunk(dir);
      throw e;
    }
  }

  make(path: string, perm = 0o666, user = ken): void {
    this.dev.clunk(this.create(path, perm, { user }));
  }

  put(path: string, text: string, user = ken): void {
    const c = this.create(path, 0o666, { user });
    this.dev.write(c, bytes(text), 0, new Req(user));
    this.dev.clunk(c);
  }

  open(path: string, mode = OREAD, user = ken): File {
    const c = this.walk(path, user);
    try {
      return this.dev.open(c, mode, new Req(user));
    } catch (e) {
      this.dev.clunk(c);
      throw e;
    }
  }

  get(path: string): string {
    const c = this.open(path, OREAD, root);
    const text = this.text(c);
    this.dev.clunk(c);
    return text;
  }

  text(c: File): string {
    const into = new Uint8Array(4096);
    return new TextDecoder().decode(into.subarray(0, this.dev.read(c, into, 0)));
  }

  stat(path: string) {
    const c = this.walk(path, root);
    const dir = this.dev.stat(c);
    this.dev.clunk(c);
    return dir;
  }

  on<R>(path: string, what: (c: File) => R, user = ken): R {
    const c = this.walk(path, user);
    try {
      return what(c);
    } finally {
      this.dev.clunk(c);
    }
  }

  remove(path: string, user = ken): void {
    this.on(path, (c) => this.dev.remove(c, new Req(user)), user);
  }

  rename(from: string, to: string, user = ken): void {
    const slash = to.lastIndexOf("/");
    this.on(
      from,
      (c) => this.on(to.slice(0, slash), (dir) => this.dev.rename(c, dir, to.slice(slash + 1), new Req(user)), user),
      user,
    );
  }

  list(path: string): string[] {
    const c = this.open(path, OREAD, root);
    const names = [...pages(this.dev, c)].map((entry) => entry.dir.name);
    this.dev.clunk(c);
    return names;
  }
}

/** A whole listing, page by page. */
export function* pages(dev: RamDev, c: File, space = 300): Generator<Dirent> {
  let cookie: U64 = 0;
  for (;;) {
    const page: Dirent[] = dev.readdir(c, cookie, space, false);
    if (page.length === 0) return;
    yield* page;
    cookie = page[page.length - 1].next;
  }
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Asserts that `what` throws an Err of this code. */
export function refuses(code: Code, what: () => unknown): void {
  assert.throws(what, { code });
}
