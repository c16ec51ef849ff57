import assert from "node:assert/strict";
import { HostFs } from "../../devices/hostfs.ts";
import { type Chan, Req, type User } from "../../core/dev.ts";
import { type Code, Err } from "../../core/err.ts";
import {
  DMAPPEND,
  DMDIR,
  DMSETUID,
  NONUNAME,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  QTSYMLINK,
} from "../../core/p9/types.ts";
import { start } from "../../core/plugin/testing.ts";
import { HostDev, type HostFile, type HostOptions } from "./dev.ts";
import plugin from "./mod.ts";

new HostFs(); // loads the C library, which stays, before the sanitizers look

type File = Chan<HostFile>;

const glenda: User = { name: "glenda", uid: 4242, gid: 4242 }, rob: User = { name: "rob", uid: 4243, gid: 4243 };
const encode = (text: string) => new TextEncoder().encode(text);

/** A directory with a secret beside it, and the tree that serves it. */
class Fixture implements Disposable {
  readonly base = Deno.makeTempDirSync();
  readonly root = `${this.base}/root`;
  readonly dev: HostDev;

  constructor(options: Partial<HostOptions> = {}) {
    Deno.mkdirSync(`${this.root}/dir`, { recursive: true });
    Deno.writeTextFileSync(`${this.base}/secret`, "SECRET");
    Deno.writeTextFileSync(`${this.root}/file`, "content");
    Deno.writeTextFileSync(`${this.root}/dir/inner`, "inner");
    Deno.chmodSync(this.root, 0o777);
    this.dev = new HostDev("host", "glenda", {
      root: this.root,
      writable: true,
      follow: "open",
      maxOpen: 16,
      ...options,
    });
  }

  [Symbol.dispose](): void {
    this.dev.close();
    Deno.removeSync(this.base, { recursive: true });
  }

  walk(path: string, user = glenda): File {
    const at = this.dev.attach(user, "");
    const { chan } = this.dev.walk(at, path.split("/").filter((name) => name !== ""), new Req(user));
    this.dev.clunk(at);
    if (!chan) throw new Err("ENOENT", "partial walk");
    return chan;
  }

  on<R>(path: string, what: (c: File) => R, user = glenda): R {
    const c = this.walk(path, user);
    try {
      return what(c);
    } finally {
      this.dev.clunk(c);
    }
  }

  read(path: string, user = glenda): string {
    return this.on(path, (c) => this.text(this.dev.open(c, OREAD, new Req(user))), user);
  }

  text(c: File): string {
    const into = new Uint8Array(4096);
    return new TextDecoder().decode(into.subarray(0, this.dev.read(c, into, 0)));
  }

  create(path: string, perm = 0o666, mode = ORDWR, user = glenda): File {
    const slash = path.lastIndexOf("/"), c = this.walk(path.slice(0, slash), user);
    try {
      const what = { name: path.slice(slash + 1), perm, mode, mask: false, ngid: NONUNAME };
      return this.dev.create(c, what, new Req(user));
    } catch (e) {
      this.dev.clunk(c);
      throw e;
    }
  }

  rename(from: string, to: string, user = glenda): void {
    const slash = to.lastIndexOf("/");
    this.on(
      from,
      (c) => this.on(to.slice(0, slash), (dir) => this.dev.rename(c, dir, to.slice(slash + 1), new Req(user)), user),
      user,
    );
  }

  list(path: string): string[] {
    return this.on(path, (c) => {
      this.dev.open(c, OREAD, new Req(glenda));
      return this.dev.readdir(c, 0, 8192, true).map((entry) => entry.dir.name).toSorted();
    });
  }
}

function refuses(code: Code, what: () => unknown): void {
  assert.throws(what, (e: unknown) => {
    assert.ok(e instanceof Err, String(e));
    assert.equal(e.code, code);
    assert.ok(!e.message.includes("/tmp"), `tells a path of the host: ${e.message}`);
    return true;
  });
}

function openDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

Deno.test("files are walked, told, read and listed as the host has them", () => {
  using f = new Fixture();
  assert.deepEqual([f.read("/file"), f.read("/dir/inner")], ["content", "inner"]);
  assert.deepEqual([f.list("/"), f.list("/dir")], [["dir", "file"], ["inner"]]);
  const host = Deno.statSync(`${f.root}/file`);
  const stat = f.on("/file", (c) => f.dev.stat(c, new Req(glenda)));
  assert.deepEqual([stat.name, stat.length, stat.mode & 0o777], ["file", 7, host.mode! & 0o777]);
  assert.deepEqual([stat.mtime, stat.nuid, stat.nlink], [Math.floor(host.mtime!.getTime() / 1000), host.uid, 1]);
  const root = f.on("/", (c) => f.dev.stat(c, new Req(glenda)));
  assert.deepEqual([root.name, root.mode], ["/", (DMDIR | 0o777) >>> 0]);
  refuses("ENOENT", () => f.walk("/missing"));
  refuses("ENOTDIR", () => f.on("/file", (c) => f.dev.walk(c, ["x"], new Req(glenda))));
  assert.equal(f.on("/", (c) => f.dev.walk(c, ["dir", "missing"], new Req(glenda)).chan), null);
});

Deno.test("`..` stays in the tree, and names that are paths are no names", () => {
  using f = new Fixture();
  const req = new Req(glenda);
  f.on("/dir", (c) => {
    const up = f.dev.walk(c, ["..", "..", "..", ".."], req).chan!;
    assert.equal(f.dev.stat(up, req).name, "/");
    assert.throws(() => f.dev.walk(up, ["secret"], req), { code: "ENOENT" });
    for (const name of ["../secret", "/etc/passwd", "dir/inner", ".", "", "a\0b", "./file", "..\0"]) {
      refuses("ENOENT", () => f.dev.walk(up, [name], req));
    }
    f.dev.clunk(up);
  });
});

Deno.test("names that create refuses: none of them makes a file anywhere", () => {
  using f = new Fixture();
  const req = new Req(glenda);
  for (const name of ["../x", "..", ".", "", "a/b", "a\0b", "x".repeat(256), "\ud800"]) {
    const what = { name, perm: 0o666, mode: ORDWR, mask: false, ngid: NONUNAME };
    const tries = [
      () => f.on("/dir", (c) => f.dev.create(c, what, req)),
      () => f.on("/dir", (c) => f.dev.symlink(c, name, "t", NONUNAME, req)),
      () => f.on("/file", (c) => f.on("/dir", (dir) => f.dev.link(c, dir, name, req))),
      () => f.on("/file", (c) => f.on("/dir", (dir) => f.dev.rename(c, dir, name, req))),
      () => f.on("/file", (c) => f.dev.wstat(c, { name }, req)),
    ];
    for (const tried of tries) assert.throws(tried, (e: Err) => /EINVAL|ENAMETOOLONG|EILSEQ/.test(e.code));
  }
  assert.deepEqual([f.list("/"), f.list("/dir")], [["dir", "file"], ["inner"]]);
  assert.deepEqual([...Deno.readDirSync(f.base)].map((entry) => entry.name).toSorted(), ["root", "secret"]);
});

Deno.test("a symlink is walked to as itself; open goes to its target, and only inside", () => {
  using f = new Fixture();
  const links: Record<string, string> = {
    good: "dir/inner",
    goodAbsolute: `${f.root}/file`,
    viaUp: "dir/../dir/./inner",
    toDir: "dir",
    chain: "good",
    up: "../secret",
    absolute: `${f.base}/secret`,
    prefix: `${f.root}-evil`,
    deepUp: "dir/../../secret",
    loop: "loop",
    nowhere: "missing",
  };
  for (const [name, target] of Object.entries(links)) Deno.symlinkSync(target, `${f.root}/${name}`);
  const link = f.walk("/good");
  assert.ok(link.qid.type & QTSYMLINK);
  assert.deepEqual([f.dev.readlink(link), f.dev.stat(link, new Req(glenda)).ext], ["dir/inner", "dir/inner"]);
  assert.deepEqual(["good", "goodAbsolute", "viaUp", "chain"].map((name) => f.read("/" + name)), [
    "inner",
    "content",
    "inner",
    "inner",
  ]);
  assert.equal(f.read("/toDir/inner"), "inner");
  assert.equal(
    f.on("/toDir", (c) => f.dev.stat(f.dev.walk(c, [".."], new Req(glenda)).chan!, new Req(glenda)).name),
    "/",
  );
  for (const name of ["up", "absolute", "prefix", "deepUp"]) refuses("EACCES", () => f.read("/" + name));
  refuses("ELOOP", () => f.read("/loop"));
  refuses("ENOENT", () => f.read("/nowhere"));
  for (const name of ["up", "absolute"]) {
    refuses("EACCES", () => f.on("/" + name, (c) => f.dev.walk(c, ["x"], new Req(glenda))));
  }
});

Deno.test("follow: never opens no link, all tells its target too", () => {
  using never = new Fixture({ follow: "never" });
  Deno.symlinkSync("file", `${never.root}/link`);
  refuses("ELOOP", () => never.read("/link"));
  using all = new Fixture({ follow: "all" });
  Deno.symlinkSync("file", `${all.root}/link`);
  Deno.symlinkSync("../secret", `${all.root}/out`);
  assert.equal(all.on("/link", (c) => all.dev.stat(c, new Req(glenda))).length, 7);
  refuses("EACCES", () => all.on("/out", (c) => all.dev.stat(c, new Req(glenda))));
});

Deno.test("read-only, nothing is changed", () => {
  using f = new Fixture({ writable: false });
  const req = new Req(glenda);
  for (const mode of [OWRITE, ORDWR, OREAD | OTRUNC, OREAD | ORCLOSE]) {
    refuses("EROFS", () => f.on("/file", (c) => f.dev.open(c, mode, req)));
  }
  refuses("EROFS", () => f.create("/new"));
  refuses("EROFS", () => f.on("/file", (c) => f.dev.remove(c, req)));
  refuses("EROFS", () => f.rename("/file", "/dir/file"));
  refuses("EROFS", () => f.on("/file", (c) => f.dev.wstat(c, { mode: 0 }, req)));
  refuses("EROFS", () => f.on("/", (c) => f.dev.symlink(c, "l", "t", 0, req)));
  refuses("EROFS", () => f.on("/file", (c) => f.on("/", (dir) => f.dev.link(c, dir, "l", req))));
  assert.equal(f.read("/file"), "content");
});

Deno.test("a fifo or a socket is not opened, and nobody waits", () => {
  using f = new Fixture();
  const { success } = new Deno.Command("mkfifo", { args: [`${f.root}/fifo`] }).outputSync();
  assert.ok(success);
  using _socket = Deno.listen({ transport: "unix", path: `${f.root}/socket` });
  for (const name of ["fifo", "socket"]) {
    for (const mode of [OREAD, OWRITE, ORDWR]) {
      refuses("ENXIO", () => f.on("/" + name, (c) => f.dev.open(c, mode, new Req(glenda))));
    }
    refuses("EINVAL", () => f.on("/" + name, (c) => f.dev.wstat(c, { length: 0 }, new Req(glenda))));
  }
});

Deno.test("create, write, truncate, remove, and remove on close", () => {
  using f = new Fixture();
  const req = new Req(glenda), c = f.create("/new", 0o640);
  assert.equal(f.dev.write(c, encode("hello world"), 0), 11);
  assert.equal(Deno.statSync(`${f.root}/new`).mode! & 0o777, 0o640);
  f.dev.wstat(c, { length: 5 }, req);
  assert.equal(f.text(c), "hello");
  f.dev.clunk(c);
  refuses("EEXIST", () => f.create("/new"));
  f.dev.clunk(f.on("/new", (at) => f.dev.open(f.dev.walk(at, [], req).chan!, OWRITE | OTRUNC, req)));
  assert.equal(f.read("/new"), "");
  f.dev.clunk(f.create("/sub", DMDIR | 0o750, OREAD));
  assert.equal(Deno.statSync(`${f.root}/sub`).mode! & 0o777, 0o750);
  f.dev.clunk(f.create("/sub/temporary", 0o600, ORDWR | ORCLOSE));
  assert.deepEqual(f.list("/sub"), []);
  refuses("ENOTEMPTY", () => f.on("/dir", (at) => f.dev.remove(at, req)));
  for (const path of ["/sub", "/new"]) f.on(path, (at) => f.dev.remove(at, req));
  assert.deepEqual(f.list("/"), ["dir", "file"]);
  refuses("EOPNOTSUPP", () => f.create("/log", DMAPPEND | 0o666));
  refuses("EBUSY", () => f.on("/", (at) => f.dev.remove(at, req)));
});

Deno.test("an open file goes on when it was removed; a fid follows a rename, also of a directory above", () => {
  using f = new Fixture();
  const req = new Req(glenda), open = f.dev.open(f.walk("/dir/inner"), ORDWR, req), other = f.walk("/dir/inner");
  f.rename("/dir", "/moved");
  assert.equal(f.dev.stat(other, req).name, "inner");
  f.rename("/moved/inner", "/out");
  assert.equal(f.dev.stat(other, req).name, "out");
  f.on("/out", (c) => f.dev.remove(c, req));
  assert.deepEqual([f.text(open), f.dev.stat(open, req).nlink], ["inner", 0]);
  assert.equal(f.dev.write(open, encode("x"), 0), 1);
  f.dev.wstat(open, { length: 0 }, req);
  refuses("ENOENT", () => f.dev.stat(other, req));
  refuses("ENOENT", () => f.dev.open(other, OREAD, req));
});

Deno.test("rename replaces what may be replaced; wstat's does not", () => {
  using f = new Fixture();
  const req = new Req(glenda), replaced = f.walk("/dir/inner");
  refuses("EEXIST", () => f.on("/file", (c) => f.dev.wstat(c, { name: "dir" }, req)));
  refuses("EISDIR", () => f.rename("/file", "/dir"));
  refuses("EINVAL", () => f.rename("/dir", "/dir/below"));
  refuses("EBUSY", () => f.rename("/", "/dir/root"));
  f.rename("/file", "/dir/inner");
  assert.equal(f.read("/dir/inner"), "content");
  refuses("ENOENT", () => f.dev.stat(replaced, req));
});

Deno.test("a hard link is the same file, and renaming one name to the other does nothing", () => {
  using f = new Fixture();
  const req = new Req(glenda);
  f.on("/file", (c) => f.on("/dir", (dir) => f.dev.link(c, dir, "hard", req)));
  const qid = (path: string) => f.on(path, (c) => c.qid.path);
  assert.equal(qid("/file"), qid("/dir/hard"));
  f.rename("/file", "/dir/hard");
  assert.deepEqual([f.read("/file"), f.read("/dir/hard")], ["content", "content"]);
});

Deno.test("wstat changes mode and times, and undoes what it did when a later part fails", () => {
  using f = new Fixture();
  const req = new Req(glenda);
  f.on("/file", (c) => f.dev.wstat(c, { mode: 0o604, atime: { sec: 1, nsec: 5 }, mtime: { sec: 2, nsec: 7 } }, req));
  const stat = f.on("/file", (c) => f.dev.stat(c, req));
  assert.deepEqual([stat.mode, stat.atime, stat.atimeNsec, stat.mtime, stat.mtimeNsec], [0o604, 1, 5, 2, 7]);
  refuses("EFBIG", () => f.on("/file", (c) => f.dev.wstat(c, { name: "g", mode: 0o777, length: 2 ** 62 }, req)));
  assert.deepEqual([f.list("/"), f.on("/file", (c) => f.dev.stat(c, req).mode)], [["dir", "file"], 0o604]);
  refuses("EPERM", () => f.on("/file", (c) => f.dev.wstat(c, { mode: DMDIR | 0o777 }, req)));
});

Deno.test("another user has what the host's permissions give, and no setuid", () => {
  using f = new Fixture();
  const req = new Req(rob);
  Deno.chmodSync(`${f.root}/file`, 0o600);
  Deno.chmodSync(`${f.root}/dir`, 0o755);
  refuses("EACCES", () => f.read("/file", rob));
  refuses("EACCES", () => f.create("/dir/x", 0o666, ORDWR, rob));
  refuses("EPERM", () => f.on("/file", (c) => f.dev.wstat(c, { mode: 0o777 }, req), rob));
  refuses("EACCES", () => f.on("/dir/inner", (c) => f.dev.remove(c, req), rob));
  Deno.chmodSync(`${f.root}/dir`, 0o700);
  refuses("EACCES", () => f.on("/dir", (c) => f.dev.walk(c, ["inner"], req), rob));
  f.dev.clunk(f.create("/robs", DMSETUID | 0o755, ORDWR, rob));
  const made = Deno.statSync(`${f.root}/robs`);
  assert.equal(made.mode! & 0o7777, 0o755);
  if (f.dev.fs.uid === 0) assert.equal(made.uid, rob.uid);
});

Deno.test("a file that the host replaced is not mistaken for the old one", () => {
  using f = new Fixture();
  const c = f.walk("/file"), keep = `${f.base}/kept`;
  Deno.renameSync(`${f.root}/file`, keep);
  Deno.writeTextFileSync(`${f.root}/file`, "another");
  refuses("ESTALE", () => f.dev.open(c, OREAD, new Req(glenda)));
  assert.equal(f.read("/file"), "another");
});

Deno.test("names of any bytes, and paths longer than PATH_MAX, are walked and listed", () => {
  using f = new Fixture();
  const bytes = "\udcff\udc80x";
  f.dev.clunk(f.create("/" + bytes));
  assert.ok(f.list("/").includes(bytes));
  const name = "d".repeat(250);
  let path = "";
  for (let depth = 0; depth < 20; depth++) {
    path += "/" + name;
    f.dev.clunk(f.create(path, DMDIR | 0o755, OREAD));
  }
  f.dev.clunk(f.create(path + "/bottom"));
  const walked = Array.from({ length: 20 }, () => name);
  f.on("/", (c) => assert.ok(f.dev.walk(c, [...walked, "bottom"], new Req(glenda)).chan));
  new Deno.Command("rm", { args: ["-rf", f.root] }).outputSync();
  Deno.mkdirSync(f.root);
});

Deno.test("a listing goes on from any cookie while entries come and go", () => {
  using f = new Fixture();
  for (let i = 0; i < 500; i++) Deno.writeTextFileSync(`${f.root}/f${i}`, "");
  const c = f.dev.open(f.walk("/"), OREAD, new Req(glenda)), seen: string[] = [];
  let cookie: number | bigint = 0;
  for (let round = 0;; round++) {
    const page = f.dev.readdir(c, cookie, 1024, false);
    if (page.length === 0) break;
    assert.deepEqual(f.dev.readdir(c, cookie, 1024, false)[0].dir.name, page[0].dir.name);
    seen.push(...page.map((entry) => entry.dir.name));
    cookie = page[page.length - 1].next;
    Deno.removeSync(`${f.root}/${seen[round]}`, { recursive: true });
    Deno.writeTextFileSync(`${f.root}/new${round}`, "");
  }
  assert.equal(new Set(seen).size, seen.length);
  for (let i = 0; i < 500; i++) assert.ok(seen.includes(`f${i}`), `f${i} is missing`);
});

Deno.test("open files are limited, and every descriptor comes back", () => {
  using f = new Fixture({ maxOpen: 3 });
  const before = openDescriptors(), req = new Req(glenda);
  const files = [0, 1, 2].map(() => f.dev.open(f.walk("/file"), OREAD, req));
  refuses("EMFILE", () => f.dev.open(f.walk("/file"), OREAD, req));
  refuses("EMFILE", () => f.create("/new"));
  for (const c of files) f.dev.clunk(c);
  Deno.symlinkSync("../secret", `${f.root}/out`);
  for (let i = 0; i < 50; i++) {
    assert.throws(() => f.read("/out"));
    assert.throws(() => f.walk("/dir/inner/x/y"));
    assert.throws(() => f.on("/dir", (c) => f.dev.open(c, ORDWR, req)));
    f.read("/dir/inner");
  }
  assert.equal(openDescriptors(), before);
});

Deno.test("an adversary who swaps directories and links meanwhile leads nobody out", async () => {
  using f = new Fixture();
  Deno.mkdirSync(`${f.base}/outside`);
  Deno.writeTextFileSync(`${f.base}/outside/inner`, "SECRET");
  Deno.symlinkSync(`${f.base}/outside`, `${f.base}/evil`);
  const script = `cd "$0"; while [ ! -e ../stop ]; do mv dir ../held; mv ../evil dir; mv dir ../evil; mv ../held dir;
    mv dir/inner ../heldfile; ln -s "$0/../secret" dir/inner; rm dir/inner; mv ../heldfile dir/inner; done`;
  const outcomes = new Map<string, number>(), inner = f.walk("/dir/inner"), dir = f.walk("/dir");
  const adversary = new Deno.Command("sh", { args: ["-c", script, f.root], stderr: "null" }).spawn();
  const attempts = [
    () => f.read("/dir/inner"),
    () => f.on("/dir", (c) => f.dev.readdir(f.dev.open(c, OREAD, new Req(glenda)), 0, 4096, true).length + " entries"),
    () => {
      const c = f.dev.open(f.dev.walk(inner, [], new Req(glenda)).chan!, OREAD, new Req(glenda));
      const text = f.text(c);
      f.dev.clunk(c);
      return text;
    },
    () => f.on("/dir", (c) => f.dev.stat(c, new Req(glenda)).name),
    () => {
      const name = `made${outcomes.size}`, what = { name, perm: 0o666, mode: ORDWR, mask: false, ngid: NONUNAME };
      const c = f.dev.walk(dir, [], new Req(glenda)).chan!;
      try {
        f.dev.create(c, what, new Req(glenda));
        f.dev.remove(c, new Req(glenda));
      } finally {
        f.dev.clunk(c);
      }
      return "made";
    },
  ];
  const swapsSeen = () => outcomes.has("inner") && outcomes.size > 3;
  for (let i = 0; i < 8000 || (!swapsSeen() && i < 400_000); i++) {
    let outcome: string;
    try {
      outcome = attempts[i % attempts.length]();
    } catch (e) {
      assert.ok(e instanceof Err, String(e));
      outcome = e.code;
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  Deno.writeTextFileSync(`${f.base}/stop`, "");
  await adversary.status;
  assert.ok(!outcomes.has("SECRET"), "the secret was read");
  assert.ok(swapsSeen(), `the adversary was too slow: ${[...outcomes]}`);
  assert.deepEqual([...Deno.readDirSync(`${f.base}/outside`)].map((entry) => entry.name), ["inner"]);
});

Deno.test("a root that begins with $ring9/ is in the system's own folder, wherever the node was started", async () => {
  const manifest = await Deno.readTextFile(new URL("plugin.json", import.meta.url));
  await using running = await start(plugin, { manifest, options: { root: "$ring9/plugins/host" } });
  assert.equal(await running.files.read("plugin.json"), manifest);
});
