import assert from "node:assert/strict";
import { type Chan, Req } from "../../core/dev.ts";
import { ORDWR, OREAD, OWRITE } from "../../core/p9/types.ts";
import type { PipeFile } from "./dev.ts";
import { PipeDev } from "./mod.ts";

const ken = { name: "ken", uid: 1, gid: 1 }, rob = { name: "rob", uid: 2, gid: 2 };
const clock = { now: () => 1_700_000_000_000, monotonic: () => 0, after: () => () => {} };

class Fixture {
  readonly dev = new PipeDev("pipe", clock, 1024);
  readonly root = this.dev.attach(ken, "");

  open(name: string, mode = ORDWR): Chan<PipeFile> {
    return this.dev.open(this.dev.walk(this.root, [name]).chan!, mode, new Req(ken));
  }

  write(c: Chan<PipeFile>, what: string | Uint8Array, req = new Req(ken)) {
    return this.dev.write(c, typeof what === "string" ? new TextEncoder().encode(what) : what, 0, req);
  }

  async read(c: Chan<PipeFile>, count = 4096, req = new Req(ken)): Promise<string> {
    const dst = new Uint8Array(count), got = await this.dev.read(c, dst, 0, req);
    return new TextDecoder().decode(typeof got === "number" ? dst.subarray(0, got) : got);
  }

  ctl(text: string): void {
    this.write(this.open("ctl"), text);
  }
}

Deno.test("what one end writes the other reads, both ways, and at once when it is there", async () => {
  const f = new Fixture(), data = f.open("data"), data1 = f.open("data1");
  assert.equal(f.write(data, "one "), 4);
  f.write(data, "two");
  f.write(data1, "back");
  assert.equal(f.dev.stat(data1).length, 7);
  assert.equal(typeof f.dev.read(data1, new Uint8Array(1), 0, new Req(ken)), "number");
  assert.deepEqual([await f.read(data1), await f.read(data)], ["ne two", "back"]);
});

Deno.test("a read waits for a write, readers are served in their order, and a flushed one not at all", async () => {
  const f = new Fixture(), data = f.open("data"), data1 = f.open("data1");
  const gone = new Req(ken);
  const [first, second, third] = [f.read(data), f.read(data, 3, gone), f.read(data)];
  gone.flush();
  await assert.rejects(second, { code: "EINTR" });
  f.write(data1, "a");
  f.write(data1, "b");
  assert.deepEqual([await first, await third], ["a", "b"]);
  const late = new Req(ken);
  late.flush();
  await assert.rejects(f.read(data, 1, late), { code: "EINTR" });
});

Deno.test("oneblock: a read ends where a write did, and a short one leaves the rest", async () => {
  const f = new Fixture(), data = f.open("data"), data1 = f.open("data1");
  f.ctl("oneblock\n");
  for (const text of ["first", "second"]) f.write(data, text);
  assert.deepEqual([await f.read(data1, 2), await f.read(data1), await f.read(data1)], ["fi", "rst", "second"]);
  f.ctl("oneblock 0");
  for (const text of ["first", "second"]) f.write(data, text);
  assert.equal(await f.read(data1), "firstsecond");
  for (const bad of ["", "oneblock 2", "oneblock 1 1", "fly"]) assert.throws(() => f.ctl(bad), { code: "EINVAL" });
});

Deno.test("a write that has no room waits whole, in order, and goes when bytes are read", async () => {
  const f = new Fixture(), data = f.open("data"), data1 = f.open("data1");
  f.write(data, "x".repeat(1000));
  let order = "";
  const big = Promise.resolve(f.write(data, "y".repeat(1024))).then((count) => (order += "y", count));
  const small = Promise.resolve(f.write(data, "z")).then((count) => (order += "z", count));
  assert.equal(await f.read(data1), "x".repeat(1000));
  assert.equal(await big, 1024);
  assert.equal(await f.read(data1), "y".repeat(1024));
  assert.deepEqual([await small, order, await f.read(data1)], [1, "yz", "z"]);
});

Deno.test("a write over the limit goes piece by piece; flushed, it tells how much went", async () => {
  const f = new Fixture(), data = f.open("data"), data1 = f.open("data1"), req = new Req(ken);
  const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i), whole = f.write(data, bytes);
  let read = "";
  while (read.length < 5000) read += (await f.read(data1, 700)).replaceAll("\ufffd", "?");
  assert.equal(await whole, 5000);
  const cut = f.write(data, bytes, req);
  req.flush();
  assert.equal(await cut, 1024);
  const waiting = new Req(ken), none = f.write(data, "x", waiting);
  waiting.flush();
  await assert.rejects(Promise.resolve(none), { code: "EINTR" });
});

Deno.test("when an end is let go, the other reads what is left, then the end, and cannot write", async () => {
  const f = new Fixture(), data = f.open("data"), again = f.open("data"), data1 = f.open("data1");
  f.write(data, "last words");
  f.dev.clunk(data);
  const waiting = f.write(data1, "x".repeat(1024)), blocked = f.write(data1, "y");
  assert.equal(waiting, 1024);
  f.dev.clunk(again);
  await assert.rejects(Promise.resolve(blocked), { code: "EPIPE" });
  assert.throws(() => f.write(data1, "z"), { code: "EPIPE" });
  assert.deepEqual([await f.read(data1), await f.read(data1)], ["last words", ""]);
  f.dev.clunk(data1);
  const [fresh, other] = [f.open("data"), f.open("data1")];
  f.write(fresh, "new");
  assert.equal(await f.read(other), "new");
});

Deno.test("a reader that waits when the other end goes reads the end", async () => {
  const f = new Fixture(), data = f.open("data"), data1 = f.open("data1");
  const end = f.read(data);
  f.dev.clunk(data1);
  assert.equal(await end, "");
});

Deno.test("each attach is another pipe, its owner's alone, and its files are told apart by their qids", () => {
  const f = new Fixture(), other = f.dev.attach(ken, "");
  const names = (c: Chan<PipeFile>, from = 0) => f.dev.readdir(c, from).map((entry) => entry.dir.name);
  assert.deepEqual([names(f.root), names(f.root, 2)], [["ctl", "data", "data1"], ["data1"]]);
  const paths = [f.root, other].flatMap((c) => [c, ...["ctl", "data", "data1"].map((n) => f.dev.walk(c, [n]).chan!)]);
  assert.equal(new Set(paths.map((c) => c.qid.path)).size, 8);
  const data = f.dev.walk(f.root, ["..", "data"]).chan!;
  assert.throws(() => f.dev.open(data, OREAD, new Req(rob)), { code: "EACCES" });
  assert.throws(() => f.dev.walk(data, ["x"]), { code: "ENOTDIR" });
  assert.throws(() => f.dev.walk(f.root, ["x"]), { code: "ENOENT" });
  assert.equal(f.dev.walk(f.root, ["ctl", "x"]).chan, null);
  assert.throws(() => f.dev.open(f.root, OWRITE, new Req(ken)), { code: "EISDIR" });
  assert.throws(() => f.dev.read(data, new Uint8Array(1), 0, new Req(ken)), { code: "EBADF" });
  assert.throws(() => f.write(f.open("data", OREAD), "x"), { code: "EBADF" });
  f.dev.wstat(data, { length: 0, mtime: "now" });
  assert.throws(() => f.dev.wstat(data, { name: "x" }), { code: "EPERM" });
});

Deno.test("ctl tells the settings and what waits in each end", async () => {
  const f = new Fixture(), data1 = f.open("data1");
  f.write(data1, "abc");
  assert.equal(await f.read(f.open("ctl")), "oneblock 0\nlimit 1024\ndata open 0 queued 3\ndata1 open 1 queued 0\n");
});
