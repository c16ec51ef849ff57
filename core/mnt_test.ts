import assert from "node:assert/strict";
import { type Chan, Req, type User } from "./dev.ts";
import { type Code, Err } from "./err.ts";
import { Kernel } from "./kernel.ts";
import { Mnt, type MntOptions } from "./mnt.ts";
import { MREPL } from "./mount.ts";
import { MemDev } from "./ns_testdev.ts";
import type { Dialect } from "./p9/msg.ts";
import { Srv } from "./p9/srv.ts";
import { transportPair } from "./p9/transport_pair.ts";
import { type Dirent, DMDIR, ORDWR, OREAD, type U64 } from "./p9/types.ts";
import { TestClock } from "./plugin/testing.ts";

const glenda: User = { name: "glenda", uid: 1000, gid: 1000 };
const DIALECTS: Dialect[] = ["9P2000", "9P2000.u", "9P2000.L", "9P2000.L.r9"];
const code = (code: Code) => (thrown: unknown) => thrown instanceof Err && thrown.code === code;
const req = () => new Req(glenda);

/** A tree that notes who attaches, and whose file `slow` blocks until it is flushed. */
class Tree extends MemDev {
  readonly users: string[] = [];
  flushes = 0;

  override attach(user: User, aname: string, req: Req) {
    this.users.push(user.name);
    return super.attach(user, aname, req);
  }

  // deno-lint-ignore no-explicit-any -- MemDev's node is its own
  override read(c: Chan<any>, dst: Uint8Array, offset: number, req: Req): number | Promise<Uint8Array> {
    if (c.aux.name !== "slow") return super.read(c, dst, offset, req);
    return new Promise((_, reject) => {
      req.onFlush(() => {
        this.flushes++;
        reject(new Err("EINTR"));
      });
    });
  }
}

interface World {
  tree: Tree;
  mnt: Mnt;
  root: Chan;
  srv: Srv;
  dialect: Dialect;
}

async function connect(tree: Tree, options: MntOptions): Promise<{ mnt: Mnt; srv: Srv }> {
  const srv = new Srv(tree);
  const [here, there] = transportPair();
  void srv.serve(there);
  return { srv, mnt: await Mnt.connect(here, { clock: new TestClock(), ...options }) };
}

/** A test in every dialect; at its end nothing of the tree is held. */
function each(name: string, fn: (w: World) => Promise<void>, options: MntOptions = {}, dialects = DIALECTS): void {
  for (const dialect of dialects) {
    Deno.test(`mnt: ${name} (${dialect})`, async () => {
      const tree = new Tree("tree", ["a/b/c/d/e", "a/f", "g", "slow", "dir/"]);
      const { mnt, srv } = await connect(tree, { dialects: [dialect], ...options });
      const root = await mnt.attach(glenda, "", req());
      await fn({ tree, mnt, root, srv, dialect });
      mnt.clunk(root as never);
      await mnt.close();
      await new Promise((resolve) => setTimeout(resolve, 0));
      assert.equal(tree.chans, 0, "Chans left at the server");
    });
  }
}

async function at(mnt: Mnt, from: Chan, path: string, by = req()): Promise<Chan> {
  const { chan } = await mnt.walk(from as never, path.split("/").filter(Boolean), by);
  if (!chan) throw new Err("ENOENT");
  return chan;
}

async function text(mnt: Mnt, c: Chan, by = req()): Promise<string> {
  await mnt.open(c as never, OREAD, by);
  const bytes = await mnt.read(c as never, new Uint8Array(100), 0, by);
  mnt.clunk(c as never);
  return new TextDecoder().decode(bytes);
}

each(
  "walks many names in one request, stops where one is missing, refuses where the first is",
  async ({ mnt, root, tree }) => {
    tree.walks = 0;
    const found = await mnt.walk(root as never, ["a", "b", "c", "d", "e"], req());
    assert.equal(tree.walks, 1);
    assert.equal(found.qids.length, 5);
    assert.equal(await text(mnt, found.chan!), "tree:a/b/c/d/e");
    const part = await mnt.walk(root as never, ["a", "b", "x", "y"], req());
    assert.equal(part.chan, null);
    assert.equal(part.qids.length, 2);
    await assert.rejects(mnt.walk(root as never, ["x"], req()), code("ENOENT"));
    assert.throws(() => mnt.walk(root as never, ["a/b"], req()), code("EINVAL"));
    const c = await at(mnt, root, "a/b/c");
    assert.equal(await text(mnt, await at(mnt, c, "../../f")), "tree:a/f");
    const up = await at(mnt, c, "..");
    assert.equal((await mnt.stat(up as never, req())).name, "b");
    for (const chan of [c, up]) mnt.clunk(chan as never);
  },
);

each("creates, writes, reads, renames and removes", async ({ mnt, root, dialect }) => {
  const dir = await at(mnt, root, "dir");
  await mnt.create(dir as never, { name: "new", mode: ORDWR, perm: 0o644, mask: true, ngid: 0 }, req());
  assert.equal(await mnt.write(dir as never, new TextEncoder().encode("hello"), 3, req()), 5);
  const back = await mnt.read(dir as never, new Uint8Array(4), 3, req());
  assert.equal(new TextDecoder().decode(back), "hell");
  const { name, length } = await mnt.stat(dir as never, req());
  assert.deepEqual([name, length], ["new", 8]);
  mnt.clunk(dir as never);
  const made = await at(mnt, root, "dir");
  await mnt.create(made as never, { name: "sub", mode: OREAD, perm: DMDIR | 0o755, mask: true, ngid: 0 }, req());
  assert.deepEqual(await mnt.readdir(made as never, 0, 1000, false, req()), []);
  mnt.clunk(made as never);
  const file = await at(mnt, root, "dir/new");
  await mnt.wstat(file as never, { name: "newer" }, req());
  assert.equal((await mnt.stat(file as never, req())).name, "newer");
  const a = await at(mnt, root, "a"), parent = await at(mnt, root, "dir");
  await mnt.rename(file as never, parent as never, "newest", req());
  const moved = mnt.rename(file as never, a as never, "moved", req());
  if (dialect.startsWith("9P2000.L")) await moved;
  else await assert.rejects(moved, code("EXDEV"));
  await mnt.remove(file as never, req());
  await assert.rejects(at(mnt, root, "dir/newest"), code("ENOENT"));
  assert.throws(() => mnt.stat(file as never, req()), code("EIDRM"));
  for (const chan of [file, a, parent]) mnt.clunk(chan as never);
});

each("a file whose removal is refused is still there", async ({ mnt, root, tree }) => {
  const g = await at(mnt, root, "g");
  tree.remove = () => {
    throw new Err("EACCES");
  };
  await assert.rejects(mnt.remove(g as never, req()), code("EACCES"));
  assert.equal(await text(mnt, g), "tree:g");
});

each("reads and writes over msize are split", async ({ mnt, root }) => {
  const c = await at(mnt, root, "dir");
  await mnt.create(c as never, { name: "big", mode: ORDWR, perm: 0o644, mask: true, ngid: 0 }, req());
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i * 7 + (i >> 8));
  assert.equal(await mnt.write(c as never, bytes, 0, req()), bytes.length);
  assert.deepEqual(await mnt.read(c as never, new Uint8Array(200_000), 0, req()), bytes);
  assert.deepEqual(await mnt.read(c as never, new Uint8Array(50_000), 60_000, req()), bytes.subarray(60_000));
  mnt.clunk(c as never);
}, { msize: 8192 });

each("directories list whole, in pieces, again from any entry, and with stats", async ({ mnt, root, tree }) => {
  const many = Array.from({ length: 300 }, (_, i) => `many/file-${i}`);
  for (const path of many) tree.add(path);
  const dir = await at(mnt, root, "many");
  await mnt.open(dir as never, OREAD, req());
  const list = async (space: number, stats: boolean): Promise<Dirent[]> => {
    const all: Dirent[] = [];
    for (let cookie: U64 = 0;;) {
      const some = await mnt.readdir(dir as never, cookie, space, stats, req());
      if (some.length === 0) return all;
      // A reader may take only a part.
      const part = some.slice(0, Math.ceil(some.length / 2));
      all.push(...part);
      cookie = part[part.length - 1].next;
    }
  };
  for (const [space, stats] of [[500, false], [8000, true], [1 << 20, false]] as const) {
    const all = await list(space, stats);
    assert.deepEqual(all.map(({ dir }) => `many/${dir.name}`), many);
    if (stats) assert.equal(all[7].dir.length, "tree:many/file-7".length);
    const [next] = await mnt.readdir(dir as never, all[41].next, space, stats, req());
    assert.equal(next.dir.name, "file-42");
  }
  mnt.clunk(dir as never);
});

each("a flushed request is flushed at the server", async ({ mnt, root, tree }) => {
  const slow = await at(mnt, root, "slow");
  await mnt.open(slow as never, OREAD, req());
  const first = req(), second = req();
  const reads = [first, second].map((by) => mnt.read(slow as never, new Uint8Array(10), 0, by));
  await mnt.stat(slow as never, req());
  first.flush();
  await assert.rejects(reads[0], code("EINTR"));
  assert.equal(tree.flushes, 1);
  second.flush();
  await assert.rejects(reads[1], code("EINTR"));
  mnt.clunk(slow as never);
});

each("a broken connection fails what is under way and what comes", async ({ mnt, root, srv }) => {
  const slow = await at(mnt, root, "slow");
  await mnt.open(slow as never, OREAD, req());
  const read = mnt.read(slow as never, new Uint8Array(10), 0, req());
  await mnt.stat(slow as never, req());
  srv.close();
  await assert.rejects(read, code("ECONNRESET"));
  await assert.rejects(mnt.stat(root as never, req()), code("ECONNRESET"));
  mnt.clunk(slow as never);
});

each(
  "per user: each who walks attaches, from wherever the mount stands",
  async ({ mnt, root, tree }) => {
    const bootes = { name: "bootes", uid: 1, gid: 1 }, by = new Req(bootes);
    const b = await at(mnt, root, "a/b");
    assert.deepEqual(tree.users, ["glenda"]);
    const e = await at(mnt, b, "c/d/e", by);
    assert.deepEqual(tree.users, ["glenda", "bootes"]);
    const clone = await at(mnt, b, "", by);
    assert.equal((await mnt.stat(clone as never, by)).name, "b");
    mnt.clunk(clone as never);
    assert.equal(await text(mnt, e, by), "tree:a/b/c/d/e");
    const f = await at(mnt, b, "../f", by);
    assert.equal(await text(mnt, f, by), "tree:a/f");
    assert.deepEqual(tree.users, ["glenda", "bootes"]);
    mnt.clunk(b as never);
  },
  { perUser: true },
  ["9P2000.L"],
);

Deno.test("mnt: errors keep their text where the dialect carries it", async () => {
  for (const dialect of DIALECTS) {
    const tree = new Tree("tree", ["g"]);
    tree.stat = () => {
      throw new Err("EBUSY", "g is being rebuilt");
    };
    const { mnt } = await connect(tree, { dialects: [dialect] });
    const root = await mnt.attach(glenda, "", req());
    const wanted = dialect === "9P2000.L" ? /Device or resource busy/ : /g is being rebuilt/;
    await assert.rejects(mnt.stat(root, req()), wanted, dialect);
    if (dialect !== "9P2000") await assert.rejects(mnt.stat(root, req()), code("EBUSY"), dialect);
    await mnt.close();
  }
});

Deno.test("mnt: a mounted tree in a name space, and its line", async () => {
  const kernel = new Kernel({
    clock: new TestClock(),
    dial: async (address) => {
      if (address !== "tcp!host!564") throw new Err("ECONNREFUSED", `${address}: connection refused`);
      return (await connect(new Tree("tree", ["a/b", "sub/x"]), {})).mnt;
    },
  });
  await kernel.register("root", new MemDev("root", ["n/it's/", "tmp/"]));
  await kernel.register("ram", new MemDev("ram", ["r"]));
  const init = await kernel.init();
  await init.mount("tcp!host!564", "/n/it's");
  await init.mount("tcp!host!564", "/tmp", MREPL, "sub");
  await init.bind("#ram", "/n/it's/a");
  assert.equal(await init.readText("/n/it's/a/r"), "ram:r");
  assert.equal(await init.readText("/n/it's/a/../sub/x"), "tree:sub/x");
  assert.equal(await init.readText("/tmp/x"), "tree:sub/x");
  const lines = "mount tcp!host!564 '/n/it''s'\nmount tcp!host!564 /tmp sub\nbind '#ram' '/n/it''s/a'\ncd /\n";
  assert.equal(init.nsText(), lines);
  await assert.rejects(init.mount("tcp!other!564", "/tmp"), /connection refused/);
  await init.unmount("tcp!host!564", "/tmp");
  await assert.rejects(init.readText("/tmp/x"), code("ENOENT"));
  await init.exit();
});
