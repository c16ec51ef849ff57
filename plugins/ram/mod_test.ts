import assert from "node:assert/strict";
import { Req } from "../../core/dev.ts";
import {
  DMAPPEND,
  DMDEVICE,
  DMDIR,
  DMEXCL,
  DMNAMEDPIPE,
  DMSETGID,
  DMSETUID,
  DMSETVTX,
  DMSYMLINK,
  NONUNAME,
  OEXEC,
  ORCLOSE,
  ORDWR,
  OREAD,
  OTRUNC,
  OWRITE,
  type Wstat,
} from "../../core/p9/types.ts";
import { bytes, type File, Fixture, ken, pages, refuses, rob, root } from "./fixture.ts";

Deno.test("walk() clones, stops at the root, ends early at a later missing name, and throws for the first", () => {
  const f = new Fixture(), { dev } = f;
  f.make("/d", DMDIR | 0o777);
  const at = f.walk("/d");
  assert.equal(dev.walk(at, [], new Req(ken)).chan!.qid.path, at.qid.path);
  assert.equal(dev.stat(dev.walk(at, ["..", "..", ".."], new Req(ken)).chan!).name, "/");
  const partial = dev.walk(at, ["..", "d", "missing", "x"], new Req(ken));
  assert.deepEqual([partial.qids.length, partial.chan], [2, null]);
  refuses("ENOENT", () => dev.walk(at, ["missing"], new Req(ken)));
  f.put("/d/file", "");
  refuses("ENOTDIR", () => dev.walk(f.walk("/d/file"), ["x"], new Req(ken)));
  refuses("ENOTDIR", () => dev.walk(f.walk("/d/file"), [".."], new Req(ken)));
});

Deno.test("a name that is empty, a dot, has a slash or a NUL, or over 255 bytes is refused wherever names are made", () => {
  const f = new Fixture();
  f.make("/f");
  const names = ["", ".", "..", "a/b", "/", "a\0", "x".repeat(256), "é".repeat(128), "\ud800", "a\udc7fb"];
  for (const name of names) {
    const what = { name, perm: 0o666, mode: OREAD, mask: true, ngid: NONUNAME }, req = new Req(ken);
    const tries = [
      () => f.on("/", (c) => f.dev.create(c, what, req)),
      () => f.on("/", (c) => f.dev.symlink(c, name, "t", NONUNAME, req)),
      () => f.on("/", (c) => f.dev.mknod(c, name, DMNAMEDPIPE | 0o666, "", NONUNAME, req)),
      () => f.on("/f", (c) => f.on("/", (dir) => f.dev.link(c, dir, name, req))),
      () => f.on("/f", (c) => f.on("/", (dir) => f.dev.rename(c, dir, name, req))),
      () => f.on("/f", (c) => f.dev.wstat(c, { name }, req)),
    ];
    for (const tried of tries) {
      assert.throws(tried, (e: Error) => /EINVAL|ENAMETOOLONG|EILSEQ/.test((e as never)["code"]));
    }
  }
  assert.deepEqual(f.list("/"), ["f"]);
});

Deno.test("a name of 255 bytes, of any script or of bytes that are not UTF-8, is kept as it came", () => {
  const f = new Fixture();
  const names = ["x".repeat(255), "é".repeat(127), "日本語", "😀".repeat(63), "\udc80\udcff".repeat(127), "a b\nc"];
  for (const name of names) f.make("/" + name);
  assert.deepEqual(f.list("/"), names);
  for (const name of names) assert.equal(f.stat("/" + name).name, name);
});

Deno.test("create masks permissions with the directory's when asked, and keeps them otherwise", () => {
  const f = new Fixture();
  const cases: [number, number, number | undefined, number][] = [
    [0o755, 0o666, undefined, 0o644],
    [0o755, 0o777, undefined, 0o755],
    [0o700, 0o777, undefined, 0o711],
    [0o750, DMDIR | 0o777, undefined, 0o750],
    [0o777, DMDIR | 0o123, undefined, 0o123],
    [0o755, 0o666, 1001, 0o666],
    [0o700, DMDIR | 0o777, 1001, 0o777],
  ];
  cases.forEach(([dirMode, perm, ngid, expected], i) => {
    f.make(`/d${i}`, DMDIR | 0o777);
    f.on(`/d${i}`, (c) => f.dev.wstat(c, { mode: dirMode }, new Req(ken)));
    f.dev.clunk(f.create(`/d${i}/f`, perm, { ngid }));
    assert.equal(f.stat(`/d${i}/f`).mode & 0o777, expected, `case ${i}`);
  });
});

Deno.test("open checks the permission of owner, group and others, once", () => {
  const f = new Fixture();
  f.put("/f", "text");
  const may = (mode: number, open: number, user = rob) => {
    f.on("/f", (c) => f.dev.wstat(c, { mode }, new Req(ken)));
    const c = f.open("/f", open, user);
    f.dev.clunk(c);
  };
  may(0o604, OREAD);
  may(0o602, OWRITE);
  may(0o606, ORDWR | OTRUNC);
  may(0o601, OEXEC);
  for (
    const [mode, open] of [[0o660, OREAD], [0o604, OWRITE], [0o604, ORDWR], [0o666, OEXEC], [0o604, OREAD | OTRUNC]]
  ) {
    refuses("EACCES", () => may(mode, open));
  }
  refuses("EACCES", () => may(0o077, OREAD, ken)); // the owner's bits come first
  may(0o000, ORDWR, root);
  refuses("EACCES", () => may(0o000, OEXEC, root));
  may(0o010, OEXEC, root);
  may(0o000, ORDWR, { name: "hostowner", uid: 1007, gid: 1007 });
  const held = f.open("/f", ORDWR, root);
  f.on("/f", (c) => f.dev.wstat(c, { mode: 0 }, new Req(ken)));
  assert.equal(f.dev.write(held, bytes("still"), 0, new Req(ken)), 5);
});

Deno.test("a directory without search permission is not walked, without write permission not changed", () => {
  const f = new Fixture();
  f.make("/d", DMDIR | 0o777);
  f.put("/d/f", "x");
  f.on("/d", (c) => f.dev.wstat(c, { mode: 0o766 }, new Req(ken)));
  refuses("EACCES", () => f.on("/d", (c) => f.dev.walk(c, ["f"], new Req(rob))));
  f.on("/d", (c) => f.dev.wstat(c, { mode: 0o755 }, new Req(ken)));
  f.dev.clunk(f.walk("/d/f", rob));
  refuses("EACCES", () => f.make("/d/new", 0o666, rob));
  refuses("EACCES", () => f.remove("/d/f", rob));
  refuses("EACCES", () => f.rename("/d/f", "/stolen", rob));
  refuses("EACCES", () => f.open("/d/f", OREAD | ORCLOSE, rob));
  refuses("EACCES", () => f.on("/d/f", (c) => f.dev.wstat(c, { name: "g" }, new Req(rob)), rob));
});

Deno.test("in a sticky directory only the owners remove and rename", () => {
  const f = new Fixture();
  f.make("/tmp", DMDIR | 0o777, root);
  f.on("/tmp", (c) => f.dev.wstat(c, { mode: DMSETVTX | 0o777 }, new Req(root)), root);
  f.make("/tmp/kens");
  f.make("/tmp/robs", 0o666, rob);
  refuses("EPERM", () => f.remove("/tmp/kens", rob));
  refuses("EPERM", () => f.rename("/tmp/kens", "/tmp/x", rob));
  refuses("EPERM", () => f.rename("/tmp/robs", "/tmp/kens", rob));
  f.rename("/tmp/kens", "/tmp/mine");
  f.remove("/tmp/mine");
  f.remove("/tmp/robs", root);
});

Deno.test("fids are checked: a second open, a read that was not opened for it, a write neither", () => {
  const f = new Fixture(), req = new Req(ken), into = new Uint8Array(9);
  f.put("/f", "x");
  f.make("/d", DMDIR | 0o777);
  refuses("EBADF", () => f.dev.read(f.walk("/f"), into, 0));
  refuses("EBADF", () => f.dev.read(f.open("/f", OWRITE), into, 0));
  for (const mode of [OREAD, OEXEC]) {
    f.on("/f", (c) => f.dev.wstat(c, { mode: 0o777 }, req));
    refuses("EBADF", () => f.dev.write(f.open("/f", mode), into, 0, req));
  }
  refuses("EBADF", () => f.dev.open(f.open("/f"), OREAD, req));
  refuses("EISDIR", () => f.dev.read(f.open("/d"), into, 0));
  refuses("ENOTDIR", () => f.dev.readdir(f.open("/f"), 0, 99, false));
  for (const mode of [OWRITE, ORDWR, OEXEC, OREAD | OTRUNC]) refuses("EISDIR", () => f.open("/d", mode));
  refuses("ENOTDIR", () => f.create("/f/x"));
  refuses("EEXIST", () => f.create("/f"));
});

Deno.test("an append-only file ignores offsets and is never cut", () => {
  const f = new Fixture(), req = new Req(ken);
  const c = f.create("/log", DMAPPEND | 0o666);
  for (const line of ["one\n", "two\n"]) f.dev.write(c, bytes(line), 0, req);
  assert.equal(f.get("/log"), "one\ntwo\n");
  f.dev.clunk(f.open("/log", OWRITE | OTRUNC));
  assert.equal(f.get("/log"), "one\ntwo\n");
  refuses("EPERM", () => f.dev.wstat(c, { length: 0 }, req));
});

Deno.test("an exclusive file has one opener, and is free after its clunk", () => {
  const f = new Fixture();
  const first = f.create("/lock", DMEXCL | 0o666);
  refuses("EAGAIN", () => f.open("/lock"));
  f.dev.clunk(first);
  const second = f.open("/lock");
  refuses("EAGAIN", () => f.open("/lock", OREAD, root));
  f.on("/lock", (c) => f.dev.wstat(c, { mode: 0o666 }, new Req(ken)));
  f.dev.clunk(second);
  f.on("/lock", (c) => f.dev.wstat(c, { mode: DMEXCL | 0o666 }, new Req(ken)));
  f.dev.clunk(f.open("/lock"));
});

Deno.test("a removed file lives until its last fid is clunked, then its space comes back", () => {
  const f = new Fixture({ bytes: 65536 }), req = new Req(ken);
  f.put("/f", "text");
  const c = f.open("/f", ORDWR), other = f.walk("/f");
  f.remove("/f");
  refuses("ENOENT", () => f.walk("/f"));
  assert.deepEqual([f.text(c), f.dev.stat(c).nlink, f.dev.stat(c).name], ["text", 0, "f"]);
  f.dev.write(c, new Uint8Array(65536), 0, req);
  refuses("ENOENT", () => f.dev.remove(other, req));
  refuses("ENOENT", () => f.dev.wstat(c, { name: "back" }, req));
  refuses("ENOENT", () => f.on("/", (dir) => f.dev.link(c, dir, "back", req)));
  refuses("ENOSPC", () => f.put("/g", "y"));
  f.remove("/g");
  f.dev.clunk(c);
  f.dev.clunk(other);
  f.put("/g", "y");
});

Deno.test("ORCLOSE removes at clunk, by the name it was opened by", () => {
  const f = new Fixture();
  f.put("/f", "x");
  const c = f.open("/f", OREAD | ORCLOSE);
  f.rename("/f", "/g");
  f.dev.clunk(c);
  assert.deepEqual(f.list("/"), []);
  f.make("/d", DMDIR | 0o777);
  const dir = f.open("/d", OREAD | ORCLOSE);
  f.make("/d/kept");
  f.dev.clunk(dir);
  assert.deepEqual(f.list("/d"), ["kept"]);
});

Deno.test("hard links share one file; nlink counts names, and of a directory its subdirectories", () => {
  const f = new Fixture(), req = new Req(ken);
  f.put("/a", "shared");
  f.make("/d", DMDIR | 0o777);
  f.on("/a", (c) => f.on("/d", (dir) => f.dev.link(c, dir, "b", req)));
  assert.deepEqual([f.stat("/a").nlink, f.stat("/d/b").qid.path, f.get("/d/b")], [2, f.stat("/a").qid.path, "shared"]);
  f.rename("/a", "/d/b"); // two names of one file: nothing happens
  assert.deepEqual([f.list("/"), f.list("/d")], [["a", "d"], ["b"]]);
  f.remove("/a");
  assert.deepEqual([f.stat("/d/b").nlink, f.get("/d/b")], [1, "shared"]);
  refuses("EPERM", () => f.on("/d", (c) => f.on("/", (dir) => f.dev.link(c, dir, "d2", req))));
  f.make("/d/e", DMDIR | 0o777);
  assert.deepEqual([f.stat("/").nlink, f.stat("/d").nlink, f.stat("/d/e").nlink], [3, 3, 2]);
  f.rename("/d/e", "/e");
  assert.deepEqual([f.stat("/").nlink, f.stat("/d").nlink], [4, 2]);
  f.remove("/e");
  assert.equal(f.stat("/").nlink, 3);
});

Deno.test("symlinks, devices, fifos and sockets are kept as nodes and never opened", () => {
  const f = new Fixture(), req = new Req(root);
  f.on("/", (c) => f.dev.symlink(c, "link", "ziel/é", NONUNAME, req), root);
  f.on("/", (c) => f.dev.mknod(c, "null", DMDEVICE | 0o666, "c 1 3", 0, req), root);
  f.on("/", (c) => f.dev.mknod(c, "big", DMDEVICE | 0o660, "b 259 70000", 0, req), root);
  f.on("/", (c) => f.dev.mknod(c, "fifo", DMNAMEDPIPE | 0o644, "", 0, req), root);
  f.on("/", (c) => f.dev.mknod(c, "plain", 0o640, "", 0, req), root);
  assert.equal(f.on("/link", (c) => f.dev.readlink(c)), "ziel/é");
  assert.deepEqual([f.stat("/link").length, f.stat("/link").mode], [7, DMSYMLINK | 0o777]);
  assert.deepEqual([f.stat("/null").rdev, f.stat("/null").ext], [0x103, "c 1 3"]);
  assert.equal(f.stat("/big").rdev, (259 << 8) | (70000 & 0xff) | ((70000 & 0xfff00) << 12));
  refuses("ELOOP", () => f.open("/link", OREAD, root));
  for (const name of ["null", "fifo"]) refuses("ENXIO", () => f.open("/" + name, OREAD, root));
  f.dev.clunk(f.open("/plain", OREAD, root));
  refuses("EINVAL", () => f.on("/plain", (c) => f.dev.readlink(c)));
  refuses("EPERM", () => f.on("/", (c) => f.dev.mknod(c, "x", DMDEVICE | 0o666, "c 1 3", 0, new Req(ken))));
  for (const ext of ["", "c", "c 1", "q 1 2", "c -1 3", "c 4096 0", "c 1 1048576"]) {
    refuses("EINVAL", () => f.on("/", (c) => f.dev.mknod(c, "x", DMDEVICE | 0o666, ext, 0, req), root));
  }
  refuses("EINVAL", () => f.on("/", (c) => f.dev.mknod(c, "x", (DMDEVICE | DMNAMEDPIPE) >>> 0, "c 1 3", 0, req), root));
  refuses("ENAMETOOLONG", () => f.on("/", (c) => f.dev.symlink(c, "x", "t".repeat(4096), NONUNAME, req)));
});

Deno.test("rename goes within and across directories, over a file or an empty directory, and nowhere illegal", () => {
  const f = new Fixture();
  for (const dir of ["/a", "/a/b", "/a/b/c", "/empty", "/full"]) f.make(dir, DMDIR | 0o777);
  for (const file of ["/x", "/full/y"]) f.put(file, file);
  const fid = f.walk("/a/b/c");
  for (const to of ["/a/b/c/d", "/a/b/d", "/a/d"]) refuses("EINVAL", () => f.rename("/a", to));
  refuses("ENOTEMPTY", () => f.rename("/a", "/full"));
  refuses("ENOTEMPTY", () => f.rename("/a/b", "/a"));
  refuses("ENOTDIR", () => f.rename("/a", "/x"));
  refuses("EISDIR", () => f.rename("/x", "/empty"));
  refuses("EBUSY", () => f.rename("/", "/a/root"));
  f.rename("/a/b", "/empty");
  assert.deepEqual([f.list("/").toSorted(), f.list("/empty")], [["a", "empty", "full", "x"], ["c"]]);
  const up = f.dev.walk(fid, [".."], new Req(ken)).chan!;
  assert.equal(f.dev.stat(up).name, "empty");
  assert.equal(f.dev.stat(f.dev.walk(up, [".."], new Req(ken)).chan!).name, "/");
  f.rename("/x", "/full/y");
  assert.deepEqual([f.get("/full/y"), f.list("/full")], ["/x", ["y"]]);
  f.rename("/full/y", "/full/y");
  refuses("EEXIST", () => {
    f.put("/full/z", "");
    f.on("/full/z", (c) => f.dev.wstat(c, { name: "y" }, new Req(ken)));
  });
  const gone = f.walk("/a");
  f.remove("/a");
  refuses("ENOENT", () => f.on("/full/z", (c) => f.dev.rename(c, gone, "z", new Req(ken))));
  refuses("ENOTEMPTY", () => f.remove("/full"));
  refuses("EBUSY", () => f.remove("/"));
});

Deno.test("truncate cuts, lengthens by zeros, and shows nothing of what was cut", () => {
  const f = new Fixture(), req = new Req(ken);
  const c = f.create("/f");
  f.dev.write(c, bytes("abcdef"), 0, req);
  for (const length of [3, 6]) f.dev.wstat(c, { length }, req);
  assert.equal(f.text(c), "abc\0\0\0");
  f.dev.write(c, bytes("z"), 200_000, req);
  const into = new Uint8Array(300_000).fill(9);
  assert.equal(f.dev.read(c, into, 0), 200_001);
  assert.deepEqual([into[5], into[6], into[199_999], into[200_000], into[200_001]], [0, 0, 0, 122, 9]);
  assert.ok(f.dev.stat(c).blocks * 512 < 150_000, "the hole takes memory");
  refuses("EFBIG", () => f.dev.wstat(c, { length: 2 ** 41 }, req));
  refuses("EFBIG", () => f.dev.write(c, bytes("z"), 2 ** 52, req));
  assert.equal(f.dev.read(c, into, 2 ** 52), 0);
  refuses("EISDIR", () => f.on("/", (dir) => f.dev.wstat(dir, { length: 0 }, new Req(root)), root));
});

Deno.test("times: reading, writing, changing each set their own; wstat sets nanoseconds or now", () => {
  const f = new Fixture(), req = new Req(ken);
  const c = f.create("/f", 0o644), made = f.dev.stat(c);
  f.dev.write(c, bytes("x"), 0, req);
  const written = f.dev.stat(c);
  f.text(c);
  const read = f.dev.stat(c);
  assert.ok(written.mtimeNsec > made.mtimeNsec && written.ctimeNsec === written.mtimeNsec);
  assert.ok(read.atimeNsec > written.mtimeNsec && read.mtimeNsec === written.mtimeNsec);
  assert.ok(written.qid.vers !== made.qid.vers && read.qid.vers === written.qid.vers);
  f.dev.wstat(c, { atime: { sec: 1, nsec: 999_999_999 }, mtime: { sec: 2 ** 33, nsec: 7 } }, req);
  const set = f.dev.stat(c);
  assert.deepEqual([set.atime, set.atimeNsec, set.mtime, set.mtimeNsec], [1, 999_999_999, 2 ** 33, 7]);
  assert.ok(set.ctimeNsec > read.ctimeNsec);
  f.dev.wstat(c, { mtime: "now" }, req);
  assert.deepEqual([f.dev.stat(c).mtime, f.dev.stat(c).atime], [1_700_000_000, 1]);
  f.on("/f", (c) => {
    refuses("EPERM", () => f.dev.wstat(c, { mtime: { sec: 1, nsec: 0 } }, new Req(rob)));
    refuses("EACCES", () => f.dev.wstat(c, { mtime: "now" }, new Req(rob)));
  });
  const before = f.stat("/");
  f.make("/g");
  assert.ok(f.stat("/").mtimeNsec > before.mtimeNsec && f.stat("/").qid.vers !== before.qid.vers);
});

Deno.test("setuid and setgid go when another writes or the owner changes", () => {
  const f = new Fixture();
  const mode = DMSETUID | DMSETGID | 0o777;
  const set = () => {
    f.on("/f", (c) => f.dev.wstat(c, { mode }, new Req(root)), root);
    assert.equal(f.stat("/f").mode, mode);
  };
  f.put("/f", "x");
  set();
  f.dev.write(f.open("/f", OWRITE), bytes("y"), 0, new Req(rob));
  assert.equal(f.stat("/f").mode, 0o777);
  set();
  f.on("/f", (c) => f.dev.wstat(c, { nuid: 1002 }, new Req(root)), root);
  assert.deepEqual([f.stat("/f").mode, f.stat("/f").nuid], [0o777, 1002]);
  for (const [ngid, expected] of [[0, 0o755], [1002, DMSETGID | 0o755]]) { // setgid only for one's own group
    f.on("/f", (c) => f.dev.wstat(c, { ngid }, new Req(root)));
    f.on("/f", (c) => f.dev.wstat(c, { mode: DMSETGID | 0o755 }, new Req(rob)));
    assert.equal(f.stat("/f").mode, expected);
  }
});

Deno.test("wstat is the owner's, and does all that it is asked or nothing", () => {
  const f = new Fixture();
  f.put("/f", "text");
  f.make("/taken");
  const before = f.stat("/f");
  const refused: [Wstat, typeof ken][] = [
    [{ length: 1, name: "taken" }, ken],
    [{ mode: 0o600, name: "a/b" }, ken],
    [{ mode: DMDIR | 0o777, length: 0 }, ken],
    [{ mode: 0o600, nuid: 1002 }, ken],
    [{ name: "g", gid: "rob" }, ken],
    [{ mode: 0o777 }, rob],
    [{ name: "g", uid: "nobody-here" }, root],
    [{ mode: 0o700, length: 2 ** 45 }, root],
  ];
  for (const [w, user] of refused) {
    assert.throws(() => f.on("/f", (c) => f.dev.wstat(c, w, new Req(user)), user), { name: "Err" });
    assert.deepEqual(f.stat("/f"), before, JSON.stringify(w));
  }
  f.on("/f", (c) => f.dev.wstat(c, {}, new Req(rob)), rob);
  assert.deepEqual(f.stat("/f"), before);
  f.on("/f", (c) => f.dev.wstat(c, { name: "g", mode: 0o600, length: 2, ngid: 1001 }, new Req(ken)));
  assert.deepEqual([f.stat("/g").mode, f.get("/g"), f.stat("/g").ngid], [0o600, "te", 1001]);
  f.walk("/", rob);
  f.on("/g", (c) => f.dev.wstat(c, { uid: "rob" }, new Req(root)), root);
  assert.deepEqual([f.stat("/g").nuid, f.stat("/g").uid], [1002, "rob"]);
});

Deno.test("extended attributes: created, replaced, listed, removed, each as asked", () => {
  const f = new Fixture(), req = new Req(ken);
  const c = f.create("/f", 0o644);
  f.dev.setxattr(c, "user.a", bytes("1"), 1, req);
  refuses("EEXIST", () => f.dev.setxattr(c, "user.a", bytes("2"), 1, req));
  refuses("ENODATA", () => f.dev.setxattr(c, "user.b", bytes("2"), 2, req));
  f.dev.setxattr(c, "user.b", new Uint8Array(0), 0, req);
  assert.deepEqual([f.dev.listxattr(c, req), f.dev.getxattr(c, "user.b", req).length], [["user.a", "user.b"], 0]);
  f.dev.setxattr(c, "user.a", null, 0, req);
  refuses("ENODATA", () => f.dev.getxattr(c, "user.a", req));
  refuses("ENODATA", () => f.dev.setxattr(c, "user.a", null, 0, req));
  refuses("E2BIG", () => f.dev.setxattr(c, "user.big", new Uint8Array(65537), 0, req));
  refuses("EOPNOTSUPP", () => f.dev.setxattr(c, "system.posix_acl_access", bytes("x"), 0, req));
  refuses("EPERM", () => f.dev.setxattr(c, "trusted.x", bytes("x"), 0, req));
  refuses("EACCES", () => f.dev.setxattr(c, "user.a", bytes("x"), 0, new Req(rob)));
});

Deno.test("quotas: bytes and names of a tree give ENOSPC, of an owner EDQUOT, and come back", () => {
  const f = new Fixture({ bytes: 300_000, files: 4, userBytes: 100_000, userFiles: 2 }), req = new Req(ken);
  const c = f.create("/f");
  assert.equal(f.dev.write(c, new Uint8Array(150_000), 0, req), 100_000);
  refuses("EDQUOT", () => f.dev.write(c, bytes("x"), 100_000, req));
  refuses("EDQUOT", () => f.dev.setxattr(c, "user.a", bytes("x"), 0, req));
  f.make("/g");
  refuses("EDQUOT", () => f.make("/h"));
  const other = f.create("/r", 0o666, { user: rob });
  assert.equal(f.dev.write(other, new Uint8Array(10), 0, new Req(rob)), 10);
  refuses("ENOSPC", () => f.make("/r2", 0o666, rob));
  refuses("EDQUOT", () => f.dev.wstat(other, { nuid: 1001 }, new Req(root)));
  f.dev.wstat(c, { length: 0 }, req);
  assert.equal(f.dev.write(c, new Uint8Array(100_000), 0, req), 100_000);
  f.remove("/g");
  f.make("/g");
  const s = f.dev.statfs(c);
  assert.deepEqual([s.files, s.ffree, s.namelen], [4, 0, 255]);
});

Deno.test("with the option `trees`, each attach name is a tree of its own", () => {
  const f = new Fixture({ trees: 2 }), req = new Req(ken);
  f.put("/f", "x");
  const other = f.dev.attach(ken, "other");
  refuses("ENOENT", () => f.dev.walk(other, ["f"], req));
  refuses("EXDEV", () => f.on("/f", (c) => f.dev.rename(c, other, "f", req)));
  refuses("EXDEV", () => f.on("/f", (c) => f.dev.link(c, other, "f", req)));
  refuses("ENOSPC", () => f.dev.attach(ken, "third"));
  refuses("ENOENT", () => new Fixture().dev.attach(ken, "other"));
});

Deno.test("a listing of 10,000 entries shows each once while others come and go, also interleaved and begun again", () => {
  const f = new Fixture(), kept: string[] = [];
  for (let i = 0; i < 10_000; i++) {
    f.make(`/f${i}`);
    if (i % 2 === 0) kept.push(`f${i}`);
  }
  const list = f.open("/"), first = pages(f.dev, list, 4096), second = pages(f.dev, list, 700);
  const seen: [string, number | bigint][] = [], seenBySecond: string[] = [];
  for (let step = 0;; step++) {
    const next = first.next();
    if (next.done) break;
    seen.push([next.value.dir.name, next.value.next]);
    const other = second.next();
    if (!other.done) seenBySecond.push(other.value.dir.name);
    if (step < 5000) f.remove(`/f${step * 2 + 1}`);
    if (step % 10 === 0) f.make(`/new${step}`);
  }
  const stable = (names: string[]) => names.filter((name) => Number(name.slice(1)) % 2 === 0);
  assert.deepEqual(stable(seen.map(([name]) => name)), kept);
  assert.deepEqual(stable(seenBySecond), kept);
  assert.equal(new Set(seen.map(([name]) => name)).size, seen.length);
  for (const at of [0, 1, 777, seen.length - 1]) {
    const page = f.dev.readdir(list, seen[at][1], 100, false);
    const there = seen.slice(at + 1).find(([name]) => kept.includes(name))?.[0];
    if (there) assert.ok(f.dev.readdir(list, seen[at][1], 1e6, false).some((entry) => entry.dir.name === there));
    assert.ok(page.every((entry) => entry.next > seen[at][1]));
  }
  assert.deepEqual(f.dev.readdir(list, 2n ** 60n, 100, false), []);
});

Deno.test("a file that is replaced again and again is in every listing once", () => {
  const f = new Fixture();
  for (let i = 0; i < 100; i++) f.make(`/f${i}`);
  const names: string[] = [];
  let round = 0;
  for (const entry of pages(f.dev, f.open("/"), 100)) {
    names.push(entry.dir.name);
    f.put(`/tmp${++round}`, "new");
    f.rename(`/tmp${round}`, "/f50");
  }
  assert.equal(names.filter((name) => name === "f50").length, 1);
});

Deno.test("users without a number own by name; the host owner without one has the root's number", () => {
  const f = new Fixture({ uid: 7 });
  const host = { name: "hostowner", uid: NONUNAME, gid: NONUNAME }, bob = { ...host, name: "bob" };
  for (const user of [host, bob]) f.make(`/${user.name}`, 0o600, user);
  assert.deepEqual([f.stat("/hostowner").nuid, f.stat("/bob").nuid, f.stat("/bob").uid], [7, NONUNAME, "bob"]);
  f.dev.clunk(f.open("/bob", ORDWR, bob));
  refuses("EACCES", () => f.open("/bob", OREAD, { ...host, name: "eve" }));
});

Deno.test("qid paths are never used twice, and a rename keeps them", () => {
  const f = new Fixture(), paths = new Set<number | bigint>();
  for (let i = 0; i < 50; i++) {
    f.make("/f");
    const { path } = f.stat("/f").qid;
    f.rename("/f", "/g");
    assert.equal(f.stat("/g").qid.path, path);
    f.remove("/g");
    assert.ok(!paths.has(path));
    paths.add(path);
  }
});

Deno.test("every fid that was let go leaves no reference behind", () => {
  const f = new Fixture();
  f.put("/f", "x");
  f.list("/");
  const probe: File = f.walk("/f");
  assert.equal(probe.aux.node.refs, 1);
  assert.throws(() => f.dev.walk(probe, ["x"], new Req(ken)));
  assert.equal(probe.aux.node.refs, 1);
  f.dev.clunk(probe);
  assert.equal(probe.aux.node.refs, 0);
});
