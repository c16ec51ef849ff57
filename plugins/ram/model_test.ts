import assert from "node:assert/strict";
import { Req } from "../../core/dev.ts";
import { toErr } from "../../core/err.ts";
import { DMDIR, NONUNAME, ORDWR, OREAD } from "../../core/p9/types.ts";
import { type File, Fixture, root } from "./fixture.ts";

/** The simplest file system that could be right: a directory is a Map, a file an array of bytes. */
interface Thing {
  entries: Map<string, Thing> | null;
  bytes: number[];
  target: string;
}

const STEPS = 2500, NAMES = ["a", "b", "c", "d"], LONGEST = 300_000;

Deno.test("ram does what a simple model does, through thousands of random operations", () => {
  for (const seed of [1, 2, Date.now() >>> 0]) {
    try {
      new Run(seed).go();
    } catch (e) {
      throw new Error(`seed ${seed}`, { cause: e });
    }
  }
});

class Run {
  readonly f = new Fixture();
  readonly req = new Req(root);
  readonly top: Thing = { entries: new Map(), bytes: [], target: "" };
  readonly held: { fid: File; thing: Thing }[] = [];
  state: number;

  constructor(seed: number) {
    this.state = seed;
  }

  go(): void {
    for (let step = 0; step < STEPS; step++) {
      this.step();
      if (step % 200 === 0) this.compare(this.f.walk("/", root), this.top);
    }
    this.compare(this.f.walk("/", root), this.top);
    for (const { fid } of this.held) this.f.dev.clunk(fid);
  }

  step(): void {
    const actions = [this.make, this.make, this.remove, this.rename, this.link, this.hold, this.drop];
    const onHeld = [this.write, this.write, this.truncate, this.read];
    const all = this.held.length > 0 ? [...actions, ...onHeld] : actions;
    all[this.below(all.length)].call(this);
  }

  make(): void {
    const [dir, path, name] = this.place();
    const kind = this.below(4), created: Thing = { entries: null, bytes: [], target: "" };
    if (kind === 0) created.entries = new Map();
    if (kind === 1) created.target = "somewhere";
    const expected = !dir.entries ? "ENOTDIR" : dir.entries.has(name) ? "EEXIST" : "";
    const perm = kind === 0 ? DMDIR | 0o777 : 0o666, mode = kind === 0 ? OREAD : ORDWR;
    this.same(expected, () => {
      if (kind === 1) return this.f.on(path, (c) => this.f.dev.symlink(c, name, "somewhere", NONUNAME, this.req), root);
      this.f.on(path, (c) => this.f.dev.create(c, { name, perm, mode, mask: false, ngid: 0 }, this.req), root);
    });
    if (!expected) dir.entries!.set(name, created);
  }

  remove(): void {
    const [dir, path, name] = this.place();
    const thing = dir.entries?.get(name);
    if (!thing) return;
    const expected = thing.entries?.size ? "ENOTEMPTY" : "";
    this.same(expected, () => this.f.remove(`${path}/${name}`, root));
    if (!expected) dir.entries!.delete(name);
  }

  rename(): void {
    const [fromDir, fromPath, fromName] = this.place(), [toDir, toPath, toName] = this.place();
    const thing = fromDir.entries?.get(fromName), old = toDir.entries?.get(toName);
    if (!thing) return;
    const expected = this.renameError(thing, toDir, old);
    this.same(expected, () => this.f.rename(`${fromPath}/${fromName}`, `${toPath}/${toName}`, root));
    if (expected || thing === old) return;
    fromDir.entries!.delete(fromName);
    toDir.entries!.set(toName, thing);
  }

  renameError(thing: Thing, toDir: Thing, old: Thing | undefined): string {
    if (!toDir.entries) return "ENOTDIR";
    if (thing === old) return "";
    if (contains(thing, toDir)) return "EINVAL";
    if (!old) return "";
    if (thing.entries && !old.entries) return "ENOTDIR";
    if (!thing.entries && old.entries) return "EISDIR";
    return old.entries?.size ? "ENOTEMPTY" : "";
  }

  link(): void {
    const [fromDir, fromPath, fromName] = this.place(), [toDir, toPath, toName] = this.place();
    const thing = fromDir.entries?.get(fromName);
    if (!thing) return;
    const expected = thing.entries ? "EPERM" : !toDir.entries ? "ENOTDIR" : toDir.entries.has(toName) ? "EEXIST" : "";
    this.same(expected, () =>
      this.f.on(
        `${fromPath}/${fromName}`,
        (c) => this.f.on(toPath, (dir) => this.f.dev.link(c, dir, toName, this.req), root),
        root,
      ));
    if (!expected) toDir.entries!.set(toName, thing);
  }

  hold(): void {
    const [dir, path, name] = this.place();
    const thing = dir.entries?.get(name);
    if (!thing || thing.entries || thing.target || this.held.length > 8) return;
    this.held.push({ fid: this.f.open(`${path}/${name}`, ORDWR, root), thing });
  }

  drop(): void {
    const [gone] = this.held.splice(this.below(this.held.length + 1), 1);
    if (gone) this.f.dev.clunk(gone.fid);
  }

  write(): void {
    const { fid, thing } = this.pick(), at = this.offset();
    const bytes = Uint8Array.from(
      { length: this.below(3) ? this.below(200) : this.below(140_000) },
      () => this.below(256),
    );
    assert.equal(this.f.dev.write(fid, bytes, at, this.req), bytes.length);
    if (bytes.length === 0) return;
    while (thing.bytes.length < at) thing.bytes.push(0);
    for (let i = 0; i < bytes.length; i++) thing.bytes[at + i] = bytes[i];
  }

  truncate(): void {
    const { fid, thing } = this.pick(), length = this.offset();
    this.f.dev.wstat(fid, { length }, this.req);
    while (thing.bytes.length < length) thing.bytes.push(0);
    thing.bytes.length = length;
  }

  read(): void {
    const { fid, thing } = this.pick(), at = this.offset();
    const into = new Uint8Array(this.below(140_000)).fill(0xee);
    const count = this.f.dev.read(fid, into, at);
    const expected = thing.bytes.slice(at, at + into.length);
    assert.equal(count, expected.length);
    assert.deepEqual(into.subarray(0, count), Uint8Array.from(expected));
    assert.ok(into.subarray(count).every((byte) => byte === 0xee), "read wrote past its count");
  }

  /** A random directory (or, at times, a file) with its path, and a name in it. */
  place(): [Thing, string, string] {
    let at = this.top, path = "";
    for (let depth = this.below(4); depth > 0; depth--) {
      const names = [...at.entries?.keys() ?? []];
      if (names.length === 0) break;
      const name = names[this.below(names.length)], next = at.entries!.get(name)!;
      if (!next.entries && this.below(10) > 0) break;
      [at, path] = [next, `${path}/${name}`];
    }
    return [at, path, NAMES[this.below(NAMES.length)]];
  }

  pick() {
    return this.held[this.below(this.held.length)];
  }

  offset(): number {
    const near = [0, 1, 64, 65_535, 65_536, 65_537, 131_072];
    return this.below(2) ? near[this.below(near.length)] : this.below(LONGEST);
  }

  below(limit: number): number {
    this.state = Math.imul(this.state ^ (this.state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0;
    const mixed = Math.imul(this.state ^ (this.state >>> 12), 0x297a2d39);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % limit;
  }

  same(expected: string, what: () => unknown): void {
    let got = "";
    try {
      what();
    } catch (e) {
      got = toErr(e).code;
    }
    assert.equal(got, expected);
  }

  compare(c: File, thing: Thing): void {
    const stat = this.f.dev.stat(c);
    assert.equal(Boolean(stat.mode & DMDIR), thing.entries !== null);
    if (thing.entries) this.compareDir(c, thing.entries, stat.nlink);
    else if (thing.target) assert.equal(this.f.dev.readlink(c), thing.target);
    else {
      const open = this.f.dev.open(c, OREAD, this.req), into = new Uint8Array(thing.bytes.length + 1);
      assert.equal(this.f.dev.read(open, into, 0), thing.bytes.length);
      assert.deepEqual(into.subarray(0, -1), Uint8Array.from(thing.bytes));
    }
    this.f.dev.clunk(c);
  }

  compareDir(c: File, entries: Map<string, Thing>, nlink: number): void {
    const subdirs = [...entries.values()].filter((thing) => thing.entries).length;
    assert.equal(nlink, 2 + subdirs);
    const list = this.f.dev.open(this.f.dev.walk(c, [], this.req).chan!, OREAD, this.req);
    const names = this.f.dev.readdir(list, 0, 1e6, false).map((entry) => entry.dir.name);
    this.f.dev.clunk(list);
    assert.deepEqual(names.toSorted(), [...entries.keys()].toSorted());
    for (const [name, thing] of entries) this.compare(this.f.dev.walk(c, [name], this.req).chan!, thing);
  }
}

function contains(thing: Thing, inner: Thing): boolean {
  if (thing === inner) return true;
  return [...thing.entries?.values() ?? []].some((child) => contains(child, inner));
}
