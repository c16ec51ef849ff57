import assert from "node:assert/strict";
import { type Chan, type Dev, Req, type User } from "./dev.ts";
import { Err } from "./err.ts";
import { Export } from "./export.ts";
import { instanceOf } from "./instance.ts";
import { Held, MAFTER, MBEFORE, MCREATE, MREPL } from "./mount.ts";
import { type Devtab, Pgrp, seek } from "./ns.ts";
import { MemDev } from "./ns_testdev.ts";
import { splitPath } from "./path.ts";
import { DMDIR, ORDWR, OREAD } from "./p9/types.ts";
import type { NsChan } from "./walk.ts";

const glenda: User = { name: "glenda", uid: 1000, gid: 1000 };
const req = new Req(glenda);

/** Devs by name. */
class Tab implements Devtab {
  readonly devs = new Map<string, Dev>();
  readonly pgrps = new Set<Pgrp>();
  async attach(device: string): Promise<Chan> {
    const dev = this.devs.get(device.slice(1));
    if (!dev) throw new Err("ENODEV", `no such device: ${device}`);
    return dev.attach(glenda, "", req);
  }
}

/** What hung on `old` hangs on what has its name now; answers what was lost. */
async function replace(w: World, old: MemDev): Promise<string[]> {
  const inst = instanceOf(old);
  const found = await seek(w.tab.pgrps, [inst], (device) => w.tab.attach(device), req);
  inst.retire("plugin a was replaced");
  const lost = w.ns.succeed(found);
  for (const held of found.values()) held?.drop();
  return lost;
}

/** A name space over `root`, `a`, `b`, `c`; `async` ones answer with promises. */
class World {
  readonly tab = new Tab();
  readonly devs: MemDev[];
  readonly ns: Pgrp;
  readonly files: Export;

  constructor(async: boolean) {
    const trees: Record<string, string[]> = {
      root: ["n/", "dev/", "tmp/", "x/y/z/", "file"],
      a: ["f", "only-a", "sub/deep/f", "n/q"],
      b: ["f", "only-b", "sub/other"],
      c: ["f", "only-c", "sub/deep/g"],
    };
    this.devs = Object.entries(trees).map(([name, paths]) => new MemDev(name, paths, async));
    for (const dev of this.devs) this.tab.devs.set(dev.name, dev);
    const root = new Held(this.devs[0].rootChan(glenda), { root: "#root", names: [] });
    this.ns = new Pgrp(this.tab, root);
    this.files = new Export(this.ns);
  }

  bind(path: string, old: string, flags = MREPL, ns = this.ns): Promise<void> {
    return ns.bind(this.files, path, old, flags, req);
  }

  unmount(path: string | null, old: string): Promise<void> {
    return this.ns.unmount(this.files, path, old, req);
  }

  /** Ends everything, and shows that each Chan was clunked. */
  end(): void {
    this.ns.close();
    for (const dev of this.devs) assert.equal(dev.chans, 0, `${dev.name}: Chans left`);
  }
}

async function walk(files: Export, path: string, from?: NsChan): Promise<NsChan> {
  const start = from ?? await files.attach(glenda, "", req) as NsChan;
  try {
    const { chan, qids } = await files.walk(start, splitPath(path), req);
    if (!chan) throw new Err("ENOENT", `stopped after ${qids.length}`);
    return chan as NsChan;
  } finally {
    if (!from) await files.clunk(start);
  }
}

async function cat(files: Export, path: string): Promise<string> {
  const c = await walk(files, path);
  try {
    await files.open(c, OREAD, req);
    const dst = new Uint8Array(100);
    const got = await files.read(c, dst, 0, req);
    return new TextDecoder().decode(typeof got === "number" ? dst.subarray(0, got) : got);
  } finally {
    await files.clunk(c);
  }
}

async function ls(files: Export, path: string, space = 250): Promise<string[]> {
  const c = await walk(files, path);
  try {
    await files.open(c, OREAD, req);
    const names: string[] = [];
    for (let cookie: number | bigint = 0;;) {
      const entries = await files.readdir(c, cookie, space, true, req);
      if (entries.length === 0) return names;
      names.push(...entries.map((entry) => entry.dir.name));
      cookie = entries[entries.length - 1].next;
    }
  } finally {
    await files.clunk(c);
  }
}

async function touch(files: Export, path: string): Promise<void> {
  const at = path.lastIndexOf("/");
  const c = await walk(files, path.slice(0, at));
  try {
    await files.create(c, { name: path.slice(at + 1), mode: ORDWR, perm: 0o644, ngid: 0, mask: true }, req);
  } finally {
    await files.clunk(c);
  }
}

const code = (code: string) => (thrown: unknown) => thrown instanceof Err && thrown.code === code;

/** Runs a test on Devs that answer at once, and on Devs that answer later. */
function both(name: string, fn: (w: World) => Promise<void>): void {
  for (const async of [false, true]) {
    Deno.test(`${name} (${async ? "async" : "sync"} Devs)`, async () => {
      const w = new World(async);
      await fn(w);
      w.end();
    });
  }
}

// What is bound, in order, and what is then found: a file's text is its Dev's name and path.
const UNIONS: {
  title: string;
  binds: [string, string, number][];
  cat?: Record<string, string>;
  ls?: Record<string, string[]>;
}[] = [
  {
    title: "MREPL hides what was there",
    binds: [["#a", "/n", MREPL], ["#b", "/n", MREPL]],
    cat: { "/n/f": "b:f", "/n/sub/other": "b:sub/other" },
    ls: { "/n": ["f", "only-b", "sub"] },
  },
  {
    title: "MBEFORE is searched first, and the mount point stays a member",
    binds: [["#b", "/x/y", MBEFORE], ["#a", "/x/y", MBEFORE]],
    cat: { "/x/y/f": "a:f", "/x/y/only-b": "b:only-b", "/x/y/sub/deep/f": "a:sub/deep/f" },
    ls: { "/x/y": ["f", "only-a", "sub", "n", "only-b", "z"] },
  },
  {
    title: "MAFTER is searched last",
    binds: [["#a", "/n", MREPL], ["#b", "/n", MAFTER], ["#c", "/n", MAFTER]],
    cat: { "/n/f": "a:f", "/n/only-b": "b:only-b", "/n/only-c": "c:only-c" },
    ls: { "/n": ["f", "only-a", "sub", "n", "only-b", "only-c"], "/n/sub": ["deep"] },
  },
  {
    title: "a member that has the first name is the one that is walked",
    binds: [["#b", "/n", MREPL], ["#a", "/n", MAFTER]],
    cat: { "/n/sub/other": "b:sub/other" },
    ls: { "/n/sub": ["other"] },
  },
  {
    title: "a mount point inside what is mounted",
    binds: [["#a", "/n", MREPL], ["#b", "/n/sub/deep", MREPL], ["#c", "/n/sub/deep/sub", MREPL]],
    cat: { "/n/sub/deep/f": "b:f", "/n/sub/deep/sub/only-c": "c:only-c" },
    ls: { "/n/sub": ["deep"], "/n/sub/deep": ["f", "only-b", "sub"] },
  },
  {
    title: "a subtree, and a file on a file",
    binds: [["#a/sub", "/n", MREPL], ["#b/f", "/file", MREPL]],
    cat: { "/n/deep/f": "a:sub/deep/f", "/file": "b:f" },
    ls: { "/n": ["deep"] },
  },
  {
    title: "new is evaluated when it is bound",
    binds: [["#a", "/n", MREPL], ["/n", "/tmp", MREPL], ["#b", "/n", MREPL]],
    cat: { "/n/f": "b:f", "/tmp/f": "a:f" },
  },
  {
    title: "a union is bound with all its members",
    binds: [["#a", "/n", MREPL], ["#b", "/n", MAFTER], ["/n", "/tmp", MREPL], ["#c", "/n", MREPL]],
    cat: { "/tmp/only-a": "a:only-a", "/tmp/only-b": "b:only-b", "/n/only-c": "c:only-c" },
    ls: { "/tmp": ["f", "only-a", "sub", "n", "only-b"] },
  },
  {
    title: "something mounted on the root",
    binds: [["#a", "/", MBEFORE], ["#b", "/", MAFTER]],
    cat: { "/only-a": "a:only-a", "/only-b": "b:only-b", "/file": "root:file", "/n/q": "a:n/q" },
    ls: { "/": ["f", "only-a", "sub", "n", "dev", "tmp", "x", "file", "only-b"] },
  },
  {
    title: "a directory bound into itself",
    binds: [["/x", "/x/y", MREPL]],
    ls: { "/x/y": ["y"], "/x/y/y": ["y"], "/x/y/y/y": ["y"] },
  },
];

for (const { title, binds, cat: files = {}, ls: dirs = {} } of UNIONS) {
  both(`bind: ${title}`, async (w) => {
    for (const [path, old, flags] of binds) await w.bind(path, old, flags);
    for (const [path, text] of Object.entries(files)) assert.equal(await cat(w.files, path), text, path);
    for (const [path, names] of Object.entries(dirs)) {
      for (const space of [1, 250, 1 << 16]) assert.deepEqual(await ls(w.files, path, space), names, path);
    }
  });
}

both("`..` climbs back through mount points", async (w) => {
  await w.bind("#a", "/x/y");
  await w.bind("#b", "/x/y/sub/deep");
  await w.bind("#c", "/x", MAFTER);
  const cases: Record<string, string> = {
    "x/y/sub/deep/../deep/f": "b:f",
    "x/y/sub/deep/sub/../../../sub/deep/f": "b:f",
    "x/y/sub/deep/../../only-a": "a:only-a",
    "x/y/sub/deep/../../../only-c": "c:only-c",
    "x/y/sub/deep/../../../../file": "root:file",
    "x/sub/deep/../../../file": "root:file",
    "x/sub/../y/f": "a:f",
    "../../x/y/../../../../file": "root:file",
    "x/../x/y/z/../f": "",
  };
  for (const [path, text] of Object.entries(cases)) {
    if (text) assert.equal(await cat(w.files, path), text, path);
    else await assert.rejects(cat(w.files, path), code("ENOENT"), path);
  }
  const deep = await walk(w.files, "x/y/sub/deep/sub");
  for (const [path, name] of [["..", "deep"], ["../../..", "y"], ["../../../..", "x"], ["../../../../..", "/"]]) {
    const up = await walk(w.files, path, deep);
    assert.equal((await w.files.stat(up, req)).name, name, path);
    await w.files.clunk(up);
  }
  await w.files.clunk(deep);
});

both("`..` from a file found in a later member of a union leads to the whole union", async (w) => {
  await w.bind("#a", "/n", MREPL);
  await w.bind("#b", "/n", MAFTER);
  assert.equal(await cat(w.files, "/n/only-b/../only-a").catch((e: Err) => e.code), "a:only-a");
  assert.equal(await cat(w.files, "/n/sub/../only-b"), "b:only-b");
});

both("`..` goes to where a mount point was, also after it is unmounted", async (w) => {
  await w.bind("#a", "/x/y");
  const sub = await walk(w.files, "/x/y/sub");
  await w.unmount(null, "/x/y");
  const up = await walk(w.files, "../../y/z", sub);
  assert.equal((await w.files.stat(up, req)).name, "z");
  await w.files.clunk(up);
  await w.files.clunk(sub);
});

both("unmount takes one member, or all of them", async (w) => {
  await w.bind("#a", "/n", MBEFORE);
  await w.bind("#b", "/n", MAFTER);
  await w.bind("#c/sub", "/n", MAFTER);
  await w.unmount("#b", "/n");
  assert.deepEqual(await ls(w.files, "/n"), ["f", "only-a", "sub", "n", "deep"]);
  await assert.rejects(w.unmount("#b", "/n"), code("EINVAL"));
  await w.unmount("#c/sub", "/n");
  await w.unmount("#a", "/n");
  assert.deepEqual(await ls(w.files, "/n"), []);
  await assert.rejects(w.unmount(null, "/n"), /not mounted/);
  await w.bind("#a", "/n");
  await w.bind("#b", "/n", MAFTER);
  await w.unmount(null, "/n");
  assert.deepEqual(w.ns.lines(), []);
  assert.deepEqual(await ls(w.files, "/n"), []);
});

both("a file that was walked before a mount is the mount point afterwards", async (w) => {
  const n = await walk(w.files, "/n");
  await w.bind("#a", "/n");
  const f = await walk(w.files, "f", n);
  await w.files.clunk(f);
  const again = await walk(w.files, "", n);
  assert.equal((await w.files.stat(again, req)).name, "n");
  await w.files.open(again, OREAD, req);
  assert.equal((await w.files.readdir(again, 0, 1 << 16, false, req)).length, 4);
  await w.files.clunk(again);
  await w.files.clunk(n);
});

both("create goes to the first member that permits it", async (w) => {
  await w.bind("#a", "/n", MREPL);
  await assert.rejects(touch(w.files, "/n/new"), /forbids creation/);
  await w.bind("#b", "/n", MAFTER | MCREATE);
  await w.bind("#c", "/n", MAFTER | MCREATE);
  await touch(w.files, "/n/new");
  assert.deepEqual(await ls(w.files, "/n"), ["f", "only-a", "sub", "n", "only-b", "new", "only-c"]);
  await assert.rejects(touch(w.files, "/n/only-a"), code("EEXIST"));
  await touch(w.files, "/n/sub/fresh"); // a directory of #a, and no mount point
  const b = await w.ns.resolve(w.files, "#b/new", req);
  b.chan.drop();
});

both("what was created in a mount point is a file of its own", async (w) => {
  await w.bind("#a", "/n", MREPL);
  await w.bind("#b", "/n", MAFTER | MCREATE);
  const c = await walk(w.files, "/n");
  await w.files.create(c, { name: "new", mode: OREAD, perm: DMDIR | 0o755, ngid: 0, mask: true }, req);
  assert.equal((await w.files.stat(c, req)).name, "new");
  assert.equal((await w.files.stat(c, req)).qid.path, c.qid.path);
  const again = await walk(w.files, "/n/new");
  assert.equal(again.qid.path, c.qid.path);
  const up = await walk(w.files, "../only-a", c);
  await w.files.remove(c, req);
  await assert.rejects(walk(w.files, "/n/new"), code("ENOENT"));
  for (const chan of [c, again, up]) await w.files.clunk(chan);
});

both("what does not go together is refused and changes nothing", async (w) => {
  await w.bind("#a", "/n");
  const before = w.ns.lines();
  await assert.rejects(w.bind("#b", "/n", MBEFORE | MAFTER), code("EINVAL"));
  await assert.rejects(w.bind("#b/f", "/n"), code("ENOTDIR"));
  await assert.rejects(w.bind("#b", "/file"), code("ENOTDIR"));
  await assert.rejects(w.bind("#b/f", "/file", MAFTER), code("ENOTDIR"));
  await assert.rejects(w.bind("#b", "/nowhere"), /'?\/nowhere'?: file does not exist/);
  await assert.rejects(w.bind("#nothing", "/n"), code("ENODEV"));
  await assert.rejects(w.bind("#b/nothing", "/n"), code("ENOENT"));
  await assert.rejects(w.bind("#b", "/n", 64), code("EINVAL"));
  assert.deepEqual(w.ns.lines(), before);
});

both("a copy does not see later changes, a share does", async (w) => {
  await w.bind("#a", "/n");
  const copy = w.ns.copy(), shared = w.ns.share(), empty = w.ns.empty();
  await w.bind("#b", "/n");
  await w.bind("#c", "/tmp", MREPL, copy);
  assert.equal(await cat(new Export(copy), "/n/f"), "a:f");
  assert.equal(await cat(new Export(copy), "/tmp/f"), "c:f");
  assert.equal(await cat(new Export(shared), "/n/f"), "b:f");
  await assert.rejects(cat(new Export(shared), "/tmp/f"), code("ENOENT"));
  assert.deepEqual(await ls(new Export(empty), "/n"), []);
  for (const ns of [copy, shared, empty]) ns.close();
});

both("a mount point keeps its name, is not removed or renamed, and its listing shows what is mounted", async (w) => {
  await w.bind("#b", "/x/y");
  const y = await walk(w.files, "/x/y");
  assert.equal((await w.files.stat(y, req)).name, "y");
  assert.throws(() => w.files.remove(y, req), code("EBUSY"));
  assert.throws(() => w.files.wstat(y, { name: "other" }, req), code("EBUSY"));
  const x = await walk(w.files, "/x");
  await w.files.open(x, OREAD, req);
  const [entry] = await w.files.readdir(x, 0, 1000, true, req);
  assert.equal(entry.dir.name, "y");
  assert.equal(entry.dir.qid.path, y.qid.path);
  for (const c of [x, y]) await w.files.clunk(c);
});

both("rename and link across Devs are EXDEV", async (w) => {
  await w.bind("#a", "/n", MREPL | MCREATE);
  await w.bind("#b", "/tmp", MREPL | MCREATE);
  const f = await walk(w.files, "/n/f"), n = await walk(w.files, "/n"), tmp = await walk(w.files, "/tmp");
  assert.throws(() => w.files.rename(f, tmp, "g", req), code("EXDEV"));
  assert.throws(() => w.files.link(f, tmp, "g", req), code("EXDEV"));
  await w.files.rename(f, n, "g", req);
  assert.equal(await cat(w.files, "/n/g"), "a:f");
  for (const c of [f, n, tmp]) await w.files.clunk(c);
});

both("the files of a Dev that was taken away answer ESTALE, those of others go on", async (w) => {
  await w.bind("#a", "/n");
  await w.bind("#b", "/n", MAFTER);
  const a = await walk(w.files, "/n/f"), b = await walk(w.files, "/n/only-b");
  await w.files.open(a, OREAD, req);
  await w.files.open(b, OREAD, req);
  const inst = instanceOf(w.tab.devs.get("a")!);
  assert.equal(inst.open, 1);
  inst.retire("plugin a was unloaded");
  assert.throws(() => w.files.read(a, new Uint8Array(1), 0, req), /plugin a was unloaded/);
  assert.throws(() => w.files.stat(a, req), code("ESTALE"));
  await w.files.read(b, new Uint8Array(1), 0, req);
  assert.equal(await cat(w.files, "/n/f"), "b:f");
  for (const c of [a, b]) await w.files.clunk(c);
  assert.equal(inst.open, 0);
  w.devs[1].chans = 0; // Nothing calls a Dev that has gone, to clunk neither.
});

both("a Dev that is replaced is found again where it was mounted and mounted on", async (w) => {
  await w.bind("#a/sub", "/x/y");
  await w.bind("#b", "/x/y/deep", MAFTER | MCREATE);
  const lines = w.ns.lines();
  const old = w.tab.devs.get("a") as MemDev;
  w.tab.devs.set("a", new MemDev("new", ["sub/deep/f", "sub/h"], false));
  assert.deepEqual(await replace(w, old), []);
  assert.equal(await cat(w.files, "/x/y/h"), "new:sub/h");
  assert.equal(await cat(w.files, "/x/y/deep/f"), "new:sub/deep/f");
  assert.equal(await cat(w.files, "/x/y/deep/only-b"), "b:only-b");
  assert.deepEqual(w.ns.lines(), lines);
  const second = w.tab.devs.get("a") as MemDev;
  w.tab.devs.set("a", new MemDev("empty"));
  assert.equal((await replace(w, second)).length, 2);
  assert.deepEqual(w.ns.lines(), []);
  old.chans = 0;
});

Deno.test("a walk over Devs that answer at once makes no promise, one in a Dev without mount points is one call", async () => {
  const w = new World(false);
  await w.bind("#a", "/n");
  await w.bind("#b", "/n", MAFTER);
  const root = w.files.attach(glenda, "", req) as NsChan;
  const found = w.files.walk(root, ["n", "only-b"], req);
  assert.ok(!(found instanceof Promise));
  const sub = w.files.walk(root, ["n", "sub"], req) as unknown as { chan: NsChan };
  const a = w.devs[1];
  a.walks = 0;
  const deep = w.files.walk(sub.chan, ["deep", "f"], req) as unknown as { chan: NsChan };
  assert.equal(a.walks, 1);
  for (const c of [root, found.chan as NsChan, sub.chan, deep.chan]) w.files.clunk(c);
  w.end();
});

Deno.test("an export of a subtree is a root: its `..` stays, its name is /", async () => {
  const w = new World(false);
  await w.bind("#a", "/n");
  await w.bind("#b", "/n", MAFTER);
  for (const [files, aname] of [[w.files, "/n"], [new Export(w.ns, { root: "/n" }), ""]] as const) {
    const root = await files.attach(glenda, aname, req) as NsChan;
    assert.equal((await files.stat(root, req)).name, "/");
    for (const path of ["..", "sub/../..", "../only-b"]) {
      const c = await walk(files, path, root);
      assert.equal((await files.stat(c, req)).name, path.endsWith("b") ? "only-b" : "/");
      await files.clunk(c);
    }
    await assert.rejects(walk(files, "../dev", root), code("ENOENT"));
    await files.clunk(root);
  }
  await assert.rejects(async () => await w.files.attach(glenda, "/n/nothing", req), code("ENOENT"));
  await assert.rejects(async () => await w.files.attach(glenda, "../n", req), code("EINVAL"));
  w.end();
});

Deno.test("a readonly export refuses every change", async () => {
  const w = new World(false);
  await w.bind("#a", "/n", MREPL | MCREATE);
  const files = new Export(w.ns, { readonly: true });
  const f = await walk(files, "/n/f");
  assert.throws(() => files.open(f, ORDWR, req), code("EROFS"));
  assert.throws(() => files.remove(f, req), code("EROFS"));
  assert.throws(() => files.wstat(f, { mode: 0 }, req), code("EROFS"));
  await assert.rejects(touch(files, "/n/new"), code("EROFS"));
  await files.open(f, OREAD, req);
  files.clunk(f);
  w.end();
});

Deno.test("thousands of mounts", async () => {
  const w = new World(false);
  w.tab.devs.set("many", new MemDev("many", Array.from({ length: 3000 }, (_, i) => `d${i}/`)));
  await w.bind("#many", "/n");
  for (let i = 0; i < 3000; i++) await w.bind(i % 2 ? "#a" : "#b", `/n/d${i}`);
  for (const i of [0, 1, 1500, 2999]) assert.equal(await cat(w.files, `/n/d${i}/f`), i % 2 ? "a:f" : "b:f");
  assert.equal(w.ns.lines().length, 3001);
  const copy = w.ns.copy();
  await w.unmount(null, "/n/d7");
  assert.equal(await cat(new Export(copy), "/n/d7/f"), "a:f");
  copy.close();
  w.end();
});
