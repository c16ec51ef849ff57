import assert from "node:assert/strict";
import { type Code, Err } from "./err.ts";
import { instanceOf } from "./instance.ts";
import { Kernel } from "./kernel.ts";
import { MAFTER, MBEFORE, MCREATE, MREPL } from "./mount.ts";
import { MemDev } from "./ns_testdev.ts";
import { runNamespace } from "./nsfile.ts";
import { ORCLOSE, ORDWR } from "./p9/types.ts";
import { TestClock } from "./plugin/testing.ts";
import type { Proc } from "./proc.ts";

const code = (code: Code) => (thrown: unknown) => thrown instanceof Err && thrown.code === code;

/** A kernel with a root and some trees. */
async function boot(): Promise<{ kernel: Kernel; init: Proc; devs: Map<string, MemDev> }> {
  const kernel = new Kernel({ clock: new TestClock(), hostowner: "glenda" });
  const trees: Record<string, string[]> = {
    root: ["n/a/", "n/b/", "dev/", "tmp/", "spaced name/it's/", "über/\udc80\udcff/", "new\nline/", "lib/namespace"],
    a: ["f", "sub/f", "sub/g", "x/"],
    b: ["f", "sub/h", "y/z/"],
    "c d": [],
    c: ["f", "only-c", "sub/i", "x/deep/"],
  };
  const devs = new Map<string, MemDev>();
  for (const [name, paths] of Object.entries(trees)) {
    const dev = new MemDev(name, paths);
    devs.set(name, dev);
    if (!name.includes(" ")) await kernel.register(name, dev);
  }
  return { kernel, init: await kernel.init(), devs };
}

/** The text of every file that a name space has, by path, and every directory's names. */
async function snapshot(proc: Proc, path = "/", depth = 0, out: string[] = []): Promise<string[]> {
  for (const dir of await proc.list(path)) {
    const name = path === "/" ? `/${dir.name}` : `${path}/${dir.name}`;
    if (dir.qid.type === 0) out.push(`${name} = ${await proc.readText(name)}`);
    else {
      out.push(name);
      if (depth < 4) await snapshot(proc, name, depth + 1, out);
    }
  }
  return out;
}

/** Numbers from a seed (mulberry32). */
function random(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

Deno.test("a proc opens, reads, seeks, writes, lists and removes files by name", async () => {
  const { init } = await boot();
  await init.bind("#a", "/n/a", MREPL | MCREATE);
  const fd = await init.create("/n/a/new", ORDWR, 0o644);
  await init.writeAll(fd, new TextEncoder().encode("0123456789"));
  assert.equal(await init.seek(fd, 4), 4);
  const into = new Uint8Array(3);
  assert.equal(await init.read(fd, into), 3);
  assert.equal(new TextDecoder().decode(into), "456");
  const twin = await init.dup(fd);
  assert.equal(await init.seek(twin, -2, 1), 5);
  assert.equal(await init.seek(fd, -1, 2), 9);
  assert.equal((await init.fstat(twin)).length, 10);
  await init.close(fd);
  assert.equal(await init.pread(twin, into, 8), 2);
  await init.close(twin);
  await assert.rejects(init.read(twin, into), code("EBADF"));
  await init.chdir("/n/a/sub");
  assert.equal(await init.readText("f"), "a:sub/f");
  assert.equal(await init.readText("../new"), "0123456789");
  assert.deepEqual((await init.list("..")).map((dir) => dir.name), ["f", "sub", "x", "new"]);
  await init.remove("../new");
  await assert.rejects(init.stat("/n/a/new"), code("ENOENT"));
  await assert.rejects(init.create("../f", ORDWR, 0o644, { exclusive: true }), code("EEXIST"));
  await assert.rejects(init.chdir("f"), code("ENOTDIR"));
  const passing = await init.create("/n/a/passing", ORDWR | ORCLOSE);
  await init.stat("/n/a/passing");
  await init.close(passing);
  await assert.rejects(init.stat("/n/a/passing"), code("ENOENT"));
  await init.exit();
});

Deno.test("procs share, copy or lose their name space, files and environment as they are told", async () => {
  const { init } = await boot();
  await init.bind("#a", "/n/a");
  init.env.set("home", "/n/a");
  const fd = await init.open("/n/a/f");
  const shared = init.spawn();
  const copied = init.spawn({ ns: "copy", env: "copy", fds: [fd] });
  const empty = init.spawn({ ns: "empty", env: "empty", fds: "empty" });
  await init.bind("#b", "/n/b");
  init.env.set("home", "/");
  assert.equal(await shared.readText("/n/b/f"), "b:f");
  assert.equal(shared.env.get("home"), "/");
  await assert.rejects(copied.readText("/n/b/f"), code("ENOENT"));
  assert.equal(await copied.readText("/n/a/f"), "a:f");
  assert.equal(copied.env.get("home"), "/n/a");
  await assert.rejects(empty.readText("/n/a/f"), code("ENOENT"));
  assert.equal(empty.env.get("home"), undefined);
  await init.close(fd);
  assert.equal(await copied.pread(fd, new Uint8Array(10), 0), 3);
  await assert.rejects(empty.pread(fd, new Uint8Array(10), 0), code("EBADF"));
  await copied.rfork({ ns: "empty" });
  assert.equal(copied.nsText(), "cd /\n");
  assert.equal(init.nsText(), "bind '#a' /n/a\nbind '#b' /n/b\ncd /\n");
  const jailed = init.spawn({ noMount: true });
  await assert.rejects(jailed.readText("#a/f"), code("EPERM"));
  assert.equal(await jailed.readText("/n/a/f"), "a:f");
  assert.equal(await init.readText("#a/f"), "a:f");
});

Deno.test("a proc ends: its calls fail, its files are closed, its parent is told, its children get another", async () => {
  const { kernel, init, devs } = await boot();
  const a = devs.get("a")!;
  const child = init.spawn({ name: "child", ns: "copy" });
  const grandchild = child.spawn();
  await child.open("#a/f");
  assert.equal(kernel.openChans("a"), 1);
  const waiting = init.wait();
  await child.exit("bad luck");
  await child.exit("again");
  assert.deepEqual(await waiting, { pid: child.pid, realMs: 0, status: "bad luck" });
  assert.equal(a.chans, 0);
  assert.equal(kernel.openChans("a"), 0);
  assert.equal(grandchild.parent, init);
  assert.equal(kernel.procs.get(child.pid), undefined);
  assert.ok(child.signal.aborted);
  await assert.rejects(child.open("#a/f"), code("ESRCH"));
  assert.throws(() => child.spawn(), code("ESRCH"));
  await grandchild.exit();
  await init.wait();
  await assert.rejects(init.wait(), code("ECHILD"));
  await init.exit();
  for (const dev of devs.values()) assert.equal(dev.chans, 0, dev.name);
  assert.equal(kernel.pgrps.size, 0);
});

Deno.test("a child that runs something ends with its status or its error", async () => {
  const { init } = await boot();
  init.spawn({ main: () => "done" });
  assert.equal((await init.wait()).status, "done");
  init.spawn({ main: async (proc) => void await proc.open("/nowhere") });
  assert.match((await init.wait()).status, /\/nowhere: file does not exist/);
});

Deno.test("a note goes to who catches it, to the handler, or ends the proc", async () => {
  const { init } = await boot();
  const seen: string[] = [];
  const child = init.spawn();
  child.notify((note) => note === "hangup" && seen.push(note) > 0);
  child.note("hangup");
  assert.deepEqual(seen, ["hangup"]);
  const notes = child.catchNotes();
  assert.throws(() => child.catchNotes(), code("EBUSY"));
  const next = notes.next(new AbortController().signal);
  child.note("kill");
  assert.equal(await next, "kill");
  notes.close();
  child.note("kill");
  assert.equal((await init.wait()).status, "kill");
});

Deno.test("a stopped proc goes on where it was; an aborted call ends with EINTR", async () => {
  const { init } = await boot();
  const child = init.spawn();
  child.stop();
  assert.equal(child.state, "Stopped");
  let done = false;
  const reading = child.readText("#a/f").then((text) => (done = true, text));
  await Promise.resolve();
  assert.equal(done, false);
  child.start();
  assert.equal(await reading, "a:f");
  const giveUp = new AbortController();
  const waiting = init.wait(giveUp.signal);
  giveUp.abort();
  await assert.rejects(waiting, code("EINTR"));
  await assert.rejects(init.stat("/", AbortSignal.abort()), code("EINTR"));
});

Deno.test("name space files: operations, quoting, variables, comments, errors with their line", async () => {
  const { kernel, init } = await boot();
  init.env.set("dev", "a");
  const text = `# a comment
bind #$dev /n/a
bind -bc '#b' /n/a

mount -a nowhere! /dev`;
  await assert.rejects(runNamespace(init, text, "ns"), /^Err: ns:5: mount: cannot dial nowhere!/);
  assert.equal(init.nsText(), "bind '#a' /n/a\nbind -bc '#b' /n/a\ncd /\n");
  const wrong: Record<string, RegExp> = {
    "bind '#a": /^Err: f:1: quote without an end/,
    "bind #a": /f:1: bind: usage: bind \[-abcC\] new old/,
    "\n\nbind -x #a /": /f:3: bind: unknown flag -x/,
    "bind #a '/$dev'": /f:1: bind: '\/\$dev': file does not exist/,
    "frob": /f:1: frob: unknown operation \(known: bind mount/,
    "toString": /unknown operation/,
    "cd $nothing": /f:1: \$nothing is not set/,
    "cd '/spaced name'\n. namespace": /f:2: \.: namespace: file does not exist/,
    "unmount /dev": /f:1: unmount: not mounted: \/dev/,
  };
  for (const [line, error] of Object.entries(wrong)) await assert.rejects(runNamespace(init, line, "f"), error, line);
  await runNamespace(init, "unmount #a /n/a\ncd '/spaced name/it''s'", "f");
  assert.equal(init.nsText(), "bind -bc '#b' /n/a\ncd '/spaced name/it''s'\n".replace("-bc", "-c"));
  const served = init.pgrp, child = init.spawn();
  await runNamespace(child, "clear\nbind #b /n/b", "f");
  assert.notEqual(child.pgrp, served);
  await runNamespace(init, "clear\ncd /", "f");
  assert.equal(init.pgrp, served, "what is served is the first proc's name space, also when it begins anew");
  assert.equal(init.nsText(), "cd /\n");
  assert.equal(child.nsText(), "bind '#b' /n/b\ncd '/spaced name/it''s'\n");
  await kernel.register("inc", new MemDev("bind #a /n/a\n#", ["inc"]));
  await kernel.register("endless", new EndlessDev());
  await assert.rejects(
    runNamespace(init, ". #endless/zeros", "f"),
    /f:1: \.: '#endless\/zeros': larger than 1048576 bytes/,
  );
  await assert.rejects(init.readFile("#endless/zeros"), { code: "EFBIG" });
  await runNamespace(init, ". #inc/inc", "f");
  assert.equal(init.nsText(), "bind '#a' /n/a\ncd /\n");
});

/** Its file has no end. */
class EndlessDev extends MemDev {
  constructor() {
    super("endless", ["zeros"]);
  }

  override read(_c: unknown, dst: Uint8Array): number {
    return dst.fill(0).length;
  }
}

Deno.test("ns text rebuilds the name space: random binds and unmounts", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const { init } = await boot();
    const pick = random(seed);
    const places = ["/n/a", "/n/b", "/dev", "/tmp", "/spaced name/it's", "/über/\udc80\udcff", "/new\nline"];
    const sources = ["#a", "#b", "#c", "#a/sub", "#c/x", "/n/a", "/dev", "/tmp", "/n", "/spaced name"];
    for (let i = 0; i < 12; i++) {
      const old = places[pick(places.length)];
      const done = pick(4) === 0
        ? init.unmount(pick(2) ? null : sources[pick(sources.length)], old)
        : init.bind(sources[pick(sources.length)], old, [MREPL, MBEFORE, MAFTER][pick(3)] | (pick(2) ? MCREATE : 0));
      await done.catch((thrown) =>
        assert.ok(thrown instanceof Err && thrown.code !== "EIO", `seed ${seed}: ${thrown}`)
      );
    }
    await init.chdir(places[pick(places.length)]);
    const text = init.nsText();
    const other = init.spawn({ ns: "empty" });
    await runNamespace(other, text, "ns");
    assert.equal(other.nsText(), text, `seed ${seed}`);
    assert.deepEqual(await snapshot(other), await snapshot(init), `seed ${seed}:\n${text}`);
  }
});

Deno.test("devices: by name and spec, refused when in use, gone, and found again", async () => {
  const { kernel, init } = await boot();
  await assert.rejects(kernel.register("a", new MemDev("a")), code("EEXIST"));
  await assert.rejects(kernel.register("a b", new MemDev("a b")), code("EINVAL"));
  await kernel.register("a.1", new MemDev("a.1", ["one"]));
  assert.deepEqual((await init.list("#a.1")).map((dir) => dir.name), ["one"]);
  assert.equal(await init.readText("#a.sub/g"), "a:sub/g");
  await assert.rejects(init.stat("#zz"), code("ENODEV"));
  await init.bind("#a", "/n/a");
  const fd = await init.open("/n/a/f"), other = await init.open("#b/f");
  assert.throws(() => kernel.unregister("a"), /device #a has 1 open files/);
  assert.throws(() => kernel.unregister("root", { force: true }), /#root is the \/ of a name space/);
  kernel.unregister("a", { force: true });
  const into = new Uint8Array(10);
  await assert.rejects(init.read(fd, into), /plugin a was unloaded/);
  await assert.rejects(init.readText("/n/a/f"), code("ESTALE"));
  assert.equal(await init.read(other, into), 3);
  assert.deepEqual(await kernel.register("a", new MemDev("again", ["f", "sub/f"])), []);
  assert.equal(await init.readText("/n/a/f"), "again:f");
  await assert.rejects(init.read(fd, into), code("ESTALE"));
  await kernel.replace("a", new MemDev("third", ["f"]));
  assert.equal(await init.readText("/n/a/f"), "third:f");
  assert.equal(await init.read(other, into), 0);
  await init.close(fd);
  assert.equal(instanceOf(kernel.device("a")!).open, 0);
});

Deno.test("the root can be replaced: what was mounted on it is mounted on the new one", async () => {
  const { kernel, init } = await boot();
  await init.bind("#a", "/n/a");
  await init.bind("#b", "/", MAFTER);
  assert.deepEqual(await kernel.replace("root", new MemDev("root2", ["n/a/", "file"])), []);
  assert.equal(await init.readText("/n/a/f"), "a:f");
  assert.equal(await init.readText("/file"), "root2:file");
  assert.equal(await init.readText("/sub/h"), "b:sub/h");
  const lost = await kernel.replace("root", new MemDev("root3"));
  assert.deepEqual(lost, ["/n/a"]);
  assert.equal(init.nsText(), "bind -a '#b' /\ncd /\n");
});

Deno.test("kmesg keeps the last bytes, whole lines, and lets readers wait", async () => {
  const { kernel } = await boot();
  const { log } = kernel;
  log.print("first\nsecond");
  assert.match(new TextDecoder().decode(log.read(0, 1000).bytes), /^\[ +0\.000000\] first\n\[ +0\.000000\] second\n$/);
  const waiting = log.wait(log.end, new AbortController().signal);
  log.print("more");
  await waiting;
  const giveUp = new AbortController();
  const never = log.wait(log.end, giveUp.signal) as Promise<void>;
  giveUp.abort();
  await assert.rejects(never, code("EINTR"));
  for (let i = 0; i < 20_000; i++) log.print(`line ${i}`);
  const { bytes, next } = log.read(0, 1 << 20);
  assert.equal(next, log.end);
  assert.ok(bytes.length > 255 * 1024 && bytes.length <= 256 * 1024);
  const lines = new TextDecoder().decode(bytes).trimEnd().split("\n");
  assert.ok(lines.every((line) => /^\[ *0\.000000\] line \d+$/.test(line)));
  assert.match(lines.at(-1)!, /line 19999$/);
});
