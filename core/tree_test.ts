import assert from "node:assert/strict";
import { type Chan, type Create, Req, type User } from "./dev.ts";
import { type Code, Err } from "./err.ts";
import { DMDIR, DMEXCL, NONUNAME, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE } from "./p9/types.ts";
import { type Tree, tree, type TreeFile } from "./tree.ts";
import { clone, dir, dynamic } from "./tree_dir.ts";
import { ctl } from "./tree_ctl.ts";
import { event } from "./tree_event.ts";
import { file, json, raw, value } from "./tree_file.ts";
import { appendLog } from "./tree_log.ts";
import type { Described } from "./tree_node.ts";

const glenda: User = { name: "glenda", uid: 1000, gid: 1000 };
const rob: User = { name: "rob", uid: 1001, gid: 1001 };

/** A client of a tree: whole operations by path, awaiting nothing unless told to. */
class Client {
  readonly tree: Tree;
  readonly user: User;

  constructor(root: Described, user = glenda, nowMs = () => 1_700_000_000_250) {
    const clock = { now: nowMs, monotonic: () => 0, after: () => () => {} };
    this.tree = tree(root, { name: "t", hostowner: "glenda", clock, log: (text) => this.log.push(text) });
    this.user = user;
  }

  readonly log: string[] = [];

  walk(path: string): Chan<TreeFile> {
    const names = path.split("/").filter((name) => name !== "");
    const walked = this.tree.walk(this.tree.attach(this.user, ""), names, this.req());
    assert(!(walked instanceof Promise), "the walk was made to wait");
    if (!walked.chan) throw new Err("ENOENT");
    return walked.chan;
  }

  open(path: string, mode = OREAD): Chan<TreeFile> {
    const opened = this.tree.open(this.walk(path), mode, this.req());
    assert(!(opened instanceof Promise), "the open was made to wait");
    return opened;
  }

  async openLater(path: string, mode = OREAD): Promise<Chan<TreeFile>> {
    const walked = await this.tree.walk(this.tree.attach(this.user, ""), path.split("/"), this.req());
    return await this.tree.open(walked.chan!, mode, this.req());
  }

  read(path: string): string {
    const c = this.open(path);
    const text = this.readOpen(c);
    this.tree.clunk(c);
    return text;
  }

  readOpen(c: Chan<TreeFile>, offset = 0, count = 8192): string {
    const dst = new Uint8Array(count);
    const got = this.tree.read(c, dst, offset, this.req());
    assert(!(got instanceof Promise), "the read was made to wait");
    return new TextDecoder().decode(typeof got === "number" ? dst.subarray(0, got) : got);
  }

  write(path: string, text: string, mode = OWRITE | OTRUNC): void {
    const c = this.open(path, mode);
    try {
      this.put(c, text, 0);
    } finally {
      this.tree.clunk(c);
    }
  }

  put(c: Chan<TreeFile>, text: string, offset: number): void {
    assert.equal(this.tree.write(c, new TextEncoder().encode(text), offset, this.req()), Buffer.byteLength(text));
  }

  names(path: string, space = 1 << 16): string[] {
    const c = this.open(path);
    const names: string[] = [];
    for (let cookie = 0;;) {
      const rows = this.tree.readdir(c, cookie, space, false, this.req());
      assert(!(rows instanceof Promise), "the listing was made to wait");
      if (rows.length === 0) return names;
      names.push(...rows.map((row) => row.dir.name));
      cookie = Number(rows.at(-1)!.next);
    }
  }

  req(): Req {
    return new Req(this.user);
  }
}

const code = (wanted: Code) => (thrown: unknown) => thrown instanceof Err && thrown.code === wanted;
const file0: Omit<Create, "name"> = { mode: OWRITE, perm: 0o644, ngid: NONUNAME, mask: true };

Deno.test("tree() serves values, functions and nested directories, all without a promise", () => {
  const t = new Client({
    text: "hi\n",
    n: 42,
    bytes: new Uint8Array([65]),
    fn: () => "made\n",
    sub: { deep: { x: 1n } },
  });
  assert.equal(t.read("text"), "hi\n");
  assert.equal(t.read("n"), "42\n");
  assert.equal(t.read("bytes"), "A");
  assert.equal(t.read("fn"), "made\n");
  assert.equal(t.read("sub/deep/x"), "1\n");
  assert.deepEqual(t.names("/"), ["text", "n", "bytes", "fn", "sub"]);
});

Deno.test("walk() throws for the first name and ends short at a later one", () => {
  const t = new Client({ a: { b: "x" } });
  const root = t.tree.attach(glenda, "");
  assert.throws(() => t.tree.walk(root, ["nothing"], t.req()), code("ENOENT"));
  assert.throws(() => t.tree.walk(t.walk("a/b"), ["x"], t.req()), code("ENOTDIR"));
  const short = t.tree.walk(root, ["a", "b", "c"], t.req());
  assert(!(short instanceof Promise));
  assert.equal(short.chan, null);
  assert.equal(short.qids.length, 2);
  assert.equal(t.walk("a/../../a/b").aux.entry.name, "b");
});

Deno.test("a value is taken at open: reads at any offset fit together though it changes", () => {
  let n = 0;
  const t = new Client({ n: () => `${"ab"[n++ % 2].repeat(10)}` });
  const first = t.open("n"), second = t.open("n");
  assert.equal(t.readOpen(first, 0, 4) + t.readOpen(second, 0, 2) + t.readOpen(first, 4), "aaaa" + "bb" + "aaaaaa");
  assert.equal(t.readOpen(first, 10), "");
  assert.equal(t.readOpen(first, 1e9), "");
});

Deno.test("an asynchronous author is awaited, in walk, open and read", async () => {
  const users = dynamic({
    list: () => Promise.resolve(["a"]),
    get: async (name) => name === "a" ? { id: 7 } : undefined,
  });
  const t = new Client({ users, slow: async () => "later\n" });
  assert.equal(t.readOpen(await t.openLater("slow")), "later\n");
  assert.equal(t.readOpen(await t.openLater("users/a/id")), "7\n");
  await assert.rejects(async () => await t.tree.walk(t.walk("users"), ["b"], t.req()), code("ENOENT"));
  const short = await t.tree.walk(t.tree.attach(glenda, ""), ["users", "b", "c"], t.req());
  assert.deepEqual([short.qids.length, short.chan], [1, null]);
  const rows = await t.tree.readdir(t.open("users"), 0, 100, true, t.req());
  assert.deepEqual(rows.map((row) => row.dir.name), ["a"]);
});

Deno.test("a written value is delivered whole at clunk, at fsync, and not twice", () => {
  const got: string[] = [];
  const t = new Client({ f: file({ read: () => "old value", write: (text) => void got.push(text) }) });
  const c = t.open("f", OWRITE);
  t.put(c, "one ", 0);
  t.put(c, "two", 4);
  assert.deepEqual(got, []);
  t.tree.fsync(c, false, t.req());
  assert.deepEqual(got, ["one two"]);
  t.tree.clunk(c);
  assert.deepEqual(got, ["one two"]);
  t.tree.clunk(t.open("f", OWRITE | OTRUNC));
  t.tree.clunk(t.open("f", OWRITE));
  assert.deepEqual(got.splice(0), ["one two", ""], "a truncation is a write, an open is not");
  const append = t.open("f", OWRITE);
  t.put(append, "+", 9);
  t.tree.clunk(append);
  assert.deepEqual(got, ["old value+"], "a first write past the start edits the present value");
});

Deno.test("a value that grows too big is refused with EFBIG, and what fails at clunk is logged", () => {
  const refuse = () => {
    throw new Err("EINVAL", "no such colour");
  };
  const t = new Client({ f: file({ write: refuse, maxBytes: 10 }) });
  const c = t.open("f", OWRITE);
  assert.throws(() => t.put(c, "x".repeat(11), 0), code("EFBIG"));
  assert.throws(() => t.put(c, "x", 2 ** 40), code("EFBIG"));
  t.put(c, "green", 0);
  assert.throws(() => t.tree.clunk(c), code("EINVAL"));
  assert.deepEqual(t.log, ["a write by glenda failed at clunk: no such colour"]);
  assert.equal(c.mode, -1);
});

Deno.test("line files get lines as they come, across writes, in order even when each takes time", async () => {
  const got: string[] = [];
  const gate = Promise.withResolvers<void>();
  const t = new Client({
    now: file({ line: (text) => void got.push(text) }),
    later: file({ line: (text) => gate.promise.then(() => void got.push(text)) }),
  });
  const c = t.open("now", OWRITE);
  t.put(c, "one\ntw", 0);
  t.put(c, "o\n\nrest", 6);
  assert.deepEqual(got, ["one", "two", ""]);
  t.tree.clunk(c);
  assert.deepEqual(got.splice(0), ["one", "two", "", "rest"]);
  const d = t.open("later", OWRITE);
  const bytes = (text: string) => new TextEncoder().encode(text);
  const writes = [t.tree.write(d, bytes("a\nb\n"), 0, t.req()), t.tree.write(d, bytes("c\n"), 4, t.req())];
  gate.resolve();
  assert.deepEqual(await Promise.all(writes), [4, 2]);
  assert.deepEqual(got, ["a", "b", "c"]);
});

Deno.test("message files take each write as it is and answer its error to the writer", () => {
  let rate = 1;
  const set = (text: string) => {
    if (!/^\d+\n?$/.test(text)) throw new Err("EINVAL", "a rate is a number");
    rate = parseInt(text);
  };
  const t = new Client({ rate: file({ read: () => rate, message: set }) });
  t.write("rate", "5\n");
  assert.equal(t.read("rate"), "5\n");
  assert.throws(() => t.write("rate", "fast"), { message: "a rate is a number" });
  const binary = t.open("rate", OWRITE);
  assert.throws(() => t.tree.write(binary, new Uint8Array([0xff, 0xfe]), 0, t.req()), code("EILSEQ"));
});

Deno.test("json() reads as text, is delivered parsed, and refuses what is not JSON", () => {
  let state: unknown = { a: [1] };
  const t = new Client({ j: json(() => state, (value) => void (state = value)), ro: json(() => 1) });
  assert.equal(t.read("j"), '{\n  "a": [\n    1\n  ]\n}\n');
  t.write("j", '{"b":2}');
  assert.deepEqual(state, { b: 2 });
  assert.throws(() => t.write("j", "{"), code("EINVAL"));
  assert.throws(() => t.open("ro", OWRITE), code("EACCES"));
});

Deno.test("permissions are the owner's, the group's and the others' together, for files and directories", () => {
  const root = {
    private: file({ read: () => "x", mode: 0o600 }),
    shared: file({ read: () => "x", mode: 0o640, uid: "sys", gid: "rob" }),
    hidden: dir({ x: "x" }, { mode: 0o700 }),
    unlisted: dir({ x: "x" }, { mode: 0o711 }),
    plain: "x",
  };
  const owner = new Client(root), other = new Client(root, rob);
  assert.equal(owner.read("private"), "x");
  assert.throws(() => other.read("private"), code("EACCES"));
  assert.equal(other.read("shared"), "x");
  assert.throws(() => owner.read("shared"), code("EACCES"));
  assert.equal(owner.read("hidden/x"), "x");
  assert.throws(() => other.tree.walk(other.walk("hidden"), ["x"], other.req()), code("EACCES"));
  assert.equal(other.read("unlisted/x"), "x");
  assert.throws(() => other.open("unlisted"), code("EACCES"));
  assert.throws(() => other.open("plain", OWRITE), code("EACCES"));
  assert.throws(() => owner.open("plain", OREAD | ORCLOSE), code("EACCES"));
  assert.throws(() => owner.open("plain", OEXEC), code("EACCES"));
  assert.throws(() => owner.open("hidden", ORDWR), code("EISDIR"));
});

Deno.test("stat tells lengths, modes, owners, times and the asker's own numbers", () => {
  let now = 1_700_000_000_250;
  const f = file({ read: () => "made", message: () => {} });
  const root = { text: "four", made: f, sub: dir({}, { uid: "rob" }), log: appendLog() };
  const t = new Client(root, glenda, () => now);
  const text = t.tree.stat(t.walk("text"));
  assert.deepEqual(
    [text.name, text.length, text.mode, text.uid, text.gid, text.nuid, text.mtime, text.mtimeNsec, text.qid.vers],
    ["text", 4, 0o444, "glenda", "glenda", 1000, 1_700_000_000, 250_000_000, 1],
  );
  assert.deepEqual([t.tree.stat(t.walk("made")).length, t.tree.stat(t.walk("made")).qid.vers], [0, 0]);
  const sub = t.tree.stat(t.walk("sub"));
  assert.deepEqual([sub.mode, sub.uid, sub.nuid, sub.qid.type], [(DMDIR | 0o555) >>> 0, "rob", 0, 0x80]);
  assert.equal(t.tree.stat(t.walk("log")).qid.type, 0x40);
  now += 5000;
  t.write("made", "x");
  assert.equal(t.tree.stat(t.walk("made")).mtime, 1_700_000_005);
});

Deno.test("qid paths differ among files, and are the same in a tree made again", () => {
  const names = Array.from({ length: 5000 }, (_, i) => `f${i}`);
  const root = () => ({ many: dynamic({ list: () => names, get: () => "x" }), sub: { f1: "y" } });
  const paths = (t: Client) => names.map((name) => t.walk(`many/${name}`).qid.path);
  const first = paths(new Client(root()));
  assert.equal(new Set(first).size, names.length);
  assert.deepEqual(paths(new Client(root())), first);
  assert(first.every((path) => Number.isSafeInteger(path) && Number(path) > 1));
});

Deno.test("a listing continues from its cookies however small the pieces, while entries come and go", () => {
  const map = new Map<string, Described>(Array.from({ length: 100 }, (_, i) => [`f${i}`, "x"]));
  const t = new Client({ d: dynamic(map) });
  assert.deepEqual(t.names("d", 1), [...map.keys()]);
  const c = t.open("d");
  const first = t.tree.readdir(c, 0, 300, false, t.req());
  assert(!(first instanceof Promise) && first.length > 1 && first.length < 50);
  map.delete("f0");
  map.delete(`f${first.length}`);
  const next = t.tree.readdir(c, first.at(-1)!.next, 300, false, t.req());
  assert(!(next instanceof Promise));
  assert.equal(next[0].dir.name, `f${first.length + 1}`);
});

Deno.test("dynamic() lets a client create and remove where its author does, and a new file is another one", () => {
  const map = new Map<string, Described>();
  const made: string[] = [];
  const items = dynamic({
    list: () => map.keys(),
    get: (name) => map.get(name),
    create: ({ name, perm }) => {
      made.push(`${name} ${perm & DMDIR ? "dir" : "file"}`);
      const node: Described = perm & DMDIR ? { x: "x" } : file({ read: () => name, message: () => {} });
      map.set(name, node);
      return node;
    },
    remove: (name) => void map.delete(name),
  });
  const t = new Client({ items }), other = new Client({ items }, rob);
  const c = t.tree.create(t.walk("items"), { ...file0, name: "a" }, t.req()) as Chan<TreeFile>;
  assert.equal(c.mode, OWRITE);
  assert.throws(() => t.tree.create(t.walk("items"), { ...file0, name: "a" }, t.req()), code("EEXIST"));
  assert.throws(() => t.tree.create(t.walk("items"), { ...file0, name: "a/b" }, t.req()), code("EINVAL"));
  assert.throws(() => t.tree.create(t.walk("items"), { ...file0, name: ".." }, t.req()), code("EINVAL"));
  assert.throws(() => other.tree.create(other.walk("items"), { ...file0, name: "b" }, other.req()), code("EACCES"));
  t.tree.create(t.walk("items"), { mode: OREAD, perm: DMDIR | 0o755, ngid: NONUNAME, mask: true, name: "d" }, t.req());
  assert.equal(t.read("items/d/x"), "x");
  const before = c.qid.path;
  t.tree.remove(c, t.req());
  assert.deepEqual(t.names("items"), ["d"]);
  t.tree.create(t.walk("items"), { ...file0, name: "a" }, t.req());
  assert.notEqual(t.walk("items/a").qid.path, before);
  t.tree.clunk(t.open("items/a", OREAD | ORCLOSE));
  assert.deepEqual(t.names("items"), ["d"]);
  assert.deepEqual(made, ["a file", "d dir", "a file"]);
  assert.throws(() => t.tree.remove(t.walk("items"), t.req()), code("EACCES"));
  assert.throws(() => t.tree.remove(t.walk("/"), t.req()), code("EBUSY"));
});

Deno.test("opening clone makes a directory and is its ctl; it goes with the last open file in it", () => {
  const closed: number[] = [];
  const conns = clone({
    limit: 2,
    make: (id) => ({
      files: { ctl: ctl({ hangup() {} }), data: () => `conn ${id}` },
      close: () => void closed.push(id),
    }),
    files: { stats: "none\n" },
  });
  const t = new Client({ tcp: conns });
  assert.deepEqual(t.names("tcp"), ["stats", "clone"]);
  const c = t.open("tcp/clone", ORDWR);
  assert.equal(t.readOpen(c), "0\n");
  assert.equal(c.qid.path, t.walk("tcp/0/ctl").qid.path);
  t.put(c, "hangup", 0);
  const second = t.open("tcp/clone", ORDWR);
  assert.equal(t.readOpen(second), "1\n");
  assert.throws(() => t.open("tcp/clone", ORDWR), code("ENFILE"));
  const data = t.open("tcp/0/data");
  const stale = t.walk("tcp/0/data");
  t.tree.clunk(c);
  assert.equal(t.readOpen(data), "conn 0");
  t.tree.clunk(data);
  assert.deepEqual(closed, [0]);
  assert.throws(() => t.walk("tcp/0"), code("ENOENT"));
  assert.throws(() => t.tree.open(stale, OREAD, t.req()), code("EIDRM"));
  const again = t.open("tcp/clone", ORDWR);
  assert.equal(t.readOpen(again), "0\n");
  assert.notEqual(again.qid.path, c.qid.path);
});

Deno.test("a clone whose author fails leaves nothing behind", async () => {
  let failing: () => never | Promise<never> = () => {
    throw new Err("EBUSY");
  };
  const t = new Client({ x: clone({ make: () => failing(), limit: 1 }) });
  assert.throws(() => t.open("x/clone", ORDWR), code("EBUSY"));
  failing = () => Promise.reject(new Err("EBUSY"));
  await assert.rejects(t.openLater("x/clone", ORDWR), code("EBUSY"));
  assert.deepEqual(t.names("x"), ["clone"]);
});

Deno.test("event files block each reader until there is an event, and give each every event since it opened", async () => {
  const news = event();
  const t = new Client({ news });
  const early = t.open("news");
  const waiting = t.tree.read(early, new Uint8Array(100), 0, t.req());
  assert(waiting instanceof Promise);
  news.post("one\n");
  const late = t.open("news");
  news.post("two\n");
  assert.equal(new TextDecoder().decode(await waiting), "one\n");
  assert.equal(t.readOpen(early, 4), "two\n");
  assert.equal(t.readOpen(late), "two\n");
  news.post("a long event\n");
  assert.equal(t.readOpen(late, 0, 7) + "|" + t.readOpen(late), "a long |event\n");
  assert.equal(news.readers, 2);
  t.tree.clunk(early);
  assert.equal(news.readers, 1);
});

Deno.test("a flushed read ends with EINTR and takes no event with it", async () => {
  const news = event();
  const t = new Client({ news });
  const c = t.open("news");
  const req = t.req();
  const flushed = t.tree.read(c, new Uint8Array(100), 0, req) as Promise<Uint8Array>;
  const waiting = t.tree.read(c, new Uint8Array(2), 0, t.req()) as Promise<Uint8Array>;
  req.flush();
  await assert.rejects(flushed, code("EINTR"));
  news.post("abc");
  assert.equal(new TextDecoder().decode(await waiting), "ab");
  assert.equal(t.readOpen(c), "c");
  await assert.rejects(t.tree.read(c, new Uint8Array(1), 0, req) as Promise<Uint8Array>, code("EINTR"));
});

Deno.test("a reader that lags loses the oldest events, is told how many, and keeps the rest of a begun one", () => {
  const news = event({ maxQueued: 3, lost: (count) => `lost ${count}\n` });
  const t = new Client({ news });
  const c = t.open("news");
  news.post("begun");
  assert.equal(t.readOpen(c, 0, 2), "be");
  for (let i = 0; i < 10; i++) news.post(`${i}\n`);
  assert.equal(news.dropped, 7);
  const all = Array.from({ length: 5 }, () => t.readOpen(c));
  assert.deepEqual(all, ["gun", "lost 7\n", "7\n", "8\n", "9\n"]);
});

Deno.test("closing an event file ends its readers, after what is queued", async () => {
  const news = event({ message: (text) => news.post(text) });
  const t = new Client({ news });
  const idle = t.open("news"), lagging = t.open("news", ORDWR);
  const waiting = t.tree.read(idle, new Uint8Array(9), 0, t.req()) as Promise<Uint8Array>;
  t.put(lagging, "said", 0);
  assert.equal(new TextDecoder().decode(await waiting), "said");
  const second = t.tree.read(idle, new Uint8Array(9), 0, t.req()) as Promise<Uint8Array>;
  news.close();
  assert.equal((await second).length, 0);
  assert.equal(t.readOpen(lagging) + t.readOpen(lagging), "said");
});

Deno.test("a log keeps its last bytes, is followed as it grows, and takes appends where its author lets it", () => {
  const log = appendLog({ maxBytes: 8, writable: true });
  const t = new Client({ log });
  log.append("abc");
  const c = t.open("log", ORDWR);
  assert.equal(t.readOpen(c), "abc");
  t.put(c, "def", 999);
  assert.equal(t.readOpen(c, 3), "def");
  log.append("ghij");
  assert.equal(t.readOpen(c, 6), "ghij");
  assert.equal(t.readOpen(c, 0, 2), "cd", "what was overtaken is skipped");
  assert.equal(t.read("log"), "cdefghij");
  assert.equal(t.tree.stat(t.walk("log")).length, 8);
  log.append("0123456789");
  assert.equal(t.read("log"), "23456789");
  assert.throws(() => new Client({ log: appendLog() }).open("log", OWRITE), code("EACCES"));
});

Deno.test("raw files see offsets, and have state per open when they want it", () => {
  let closed = 0;
  const t = new Client({
    zero: raw({ read: (dst) => dst.fill(0).length, write: (data) => data.length, length: () => 99 }),
    count: raw({
      open: () => {
        let n = 0;
        return { read: () => new TextEncoder().encode(`${n++}`), close: () => void closed++ };
      },
    }),
  });
  assert.equal(t.readOpen(t.open("zero"), 5, 3), "\0\0\0");
  assert.equal(t.tree.stat(t.walk("zero")).length, 99);
  const c = t.open("count");
  assert.equal(t.readOpen(c) + t.readOpen(c), "01");
  t.tree.clunk(c);
  assert.equal(closed, 1);
  assert.throws(() => t.put(t.open("count", ORDWR), "x", 0), code("EBADF"));
});

Deno.test("an exclusive file is open once at a time", () => {
  const t = new Client({ lock: file({ read: () => "x", mode: DMEXCL | 0o444 }) });
  const c = t.open("lock");
  assert.throws(() => t.open("lock"), code("EAGAIN"));
  t.tree.clunk(c);
  t.tree.clunk(t.open("lock"));
});

Deno.test("wstat takes the truncation and the times that clients set on their own, and refuses the rest", () => {
  const t = new Client({ f: file({ read: () => "x", message: () => {} }), ro: "x", d: {} });
  t.tree.wstat(t.walk("f"), { length: 0, mtime: "now" }, t.req());
  t.tree.wstat(t.walk("f"), { mtime: { sec: 5, nsec: 500_000_000 } }, t.req());
  assert.deepEqual([t.tree.stat(t.walk("f")).mtime, t.tree.stat(t.walk("f")).mtimeNsec], [5, 500_000_000]);
  assert.throws(() => t.tree.wstat(t.walk("f"), { length: 1 }, t.req()), code("EPERM"));
  assert.throws(() => t.tree.wstat(t.walk("f"), { mode: 0o777 }, t.req()), code("EPERM"));
  assert.throws(() => t.tree.wstat(t.walk("f"), { name: "g", mtime: "now" }, t.req()), code("EPERM"));
  assert.throws(() => t.tree.wstat(t.walk("ro"), { length: 0 }, t.req()), code("EACCES"));
  assert.throws(() => t.tree.wstat(t.walk("d"), { length: 0 }, t.req()), code("EISDIR"));
});

Deno.test("names that cannot be walked to are refused when the tree is made", () => {
  for (const name of ["", ".", "..", "a/b", "x".repeat(256), "é".repeat(128)]) {
    assert.throws(() => tree({ [name]: "x" }), code("EINVAL"), JSON.stringify(name));
  }
  assert.throws(() => tree("x"), code("ENOTDIR"));
  assert.equal(new Client({ ["é".repeat(127)]: value("x") }).names("/").length, 1);
});
