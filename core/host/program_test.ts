/** Programs in isolates of their own, with blocking calls to a real kernel: what they see, how they end. */

import assert from "node:assert/strict";
import { Orders } from "../../tests/program_orders.ts";
import type { Order, Ran } from "../../tests/program_node.ts";

const node = new Orders();
let programs = 0;

Deno.test.afterAll(async () => assert.equal(await node.end(), 0));

/** Puts a program into /tmp and runs it. */
async function run(
  body: string,
  options: Omit<Order & { op: "run" }, "op" | "path"> & { head?: string } = {},
): Promise<Ran> {
  const { head = "", ...rest } = options, path = `/tmp/p${++programs}.ts`;
  const text = `import { defineProgram, DMDIR, Err, MAFTER, OREAD, ORDWR, OWRITE, Rendez, Sched } from "ring9/proc";
    void [DMDIR, Err, MAFTER, OREAD, ORDWR, OWRITE, Rendez, Sched];
    ${head}
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes.slice());
    void text;
    export default defineProgram((p) => { const { args, sys, print } = p; void [args, sys, print]; ${body} });`;
  await node.give({ op: "write", path, text });
  return await node.give({ op: "run", path, ...rest }) as Ran;
}

/** What an async program prints. */
function runAsync(body: string, options: Parameters<typeof run>[1] = {}): Promise<Ran> {
  return run(`return (async () => { ${body} })();`, options);
}

Deno.test("a program sees its arguments, prints, and its answer is its status", async () => {
  assert.deepEqual(await run(`print(args.slice(1).join("+") + "\\n");`, { args: ["a", "b c"] }), {
    status: "",
    output: "a+b c\n",
  });
  assert.equal((await run(`return "no luck";`)).status, "no luck");
  assert.deepEqual(await run(`print("x"); p.exit("early"); print("never");`), { status: "early", output: "x" });
});

Deno.test("a program that ends by exit() ends its thread itself: Deno says nothing of it on the terminal", async () => {
  const before = node.said.length, failing = `void Promise.reject(new Error("late")); return new Promise(() => {});`;
  for (const body of [`p.exit("early");`, failing, `p.exit("early");`, failing]) {
    assert.match((await run(body)).status, /^(early|late)$/);
  }
  assert.doesNotMatch(node.said.slice(before), /Uncaught/);
});

Deno.test("blocking calls: files made, written, read, sought, listed, renamed, removed", async () => {
  const { status, output } = await run(`
    const fd = sys.create("/tmp/file", ORDWR, 0o640), buffer = new Uint8Array(8);
    print(sys.write(fd, "hello, ") + " " + sys.write(fd, new TextEncoder().encode("world")) + "\\n");
    print(sys.pread(fd, buffer, 7) + text(buffer.subarray(0, 5)) + "\\n");
    sys.pwrite(fd, "W", 7);
    print(sys.seek(fd, -5, 2) + " " + sys.read(fd, buffer) + " " + sys.read(fd, buffer) + text(buffer.subarray(0, 5)) + "\\n");
    const twin = sys.dup(fd);
    sys.seek(fd, 1);
    print(sys.read(twin, buffer) + text(buffer) + "\\n");
    sys.close(twin);
    sys.close(sys.create("/tmp/dir", OREAD, (DMDIR | 0o755) >>> 0, true));
    sys.chdir("/tmp/dir");
    sys.close(sys.create("one"));
    sys.close(sys.create("two"));
    sys.wstat("two", { name: "three" });
    print(sys.getcwd() + " " + sys.readdir(".").map((d) => d.name).sort() + " " + sys.stat("three").length + "\\n");
    sys.remove("one"); sys.remove("three"); sys.chdir("/"); sys.remove("/tmp/dir");
    print((sys.fstat(fd).mode & 0o777).toString(8) + "\\n");
  `);
  assert.equal(status, "");
  assert.equal(output, "7 5\n5world\n7 5 0World\n8ello, Wo\n/tmp/dir one,three 0\n640\n");
});

Deno.test("blocking calls: name space, environment, pipes, sleep, and errors by their code", async () => {
  const { status, output } = await run(`
    const code = (f: () => unknown) => { try { return f(); } catch (e) { return (e as Err).code + (e instanceof Err); } };
    sys.bind("/dev", "/mnt", MAFTER);
    print(String(sys.readdir("/mnt").some((d) => d.name === "null")) + "\\n");
    sys.unmount(null, "/mnt");
    print(String(sys.readdir("/mnt").length) + "\\n");
    sys.setenv("color", "red");
    print(sys.getenv("color") + " " + sys.getenv("none") + "\\n");
    const [a, b] = sys.pipe(), buffer = new Uint8Array(10);
    sys.write(a, "through");
    print(text(buffer.subarray(0, sys.read(b, buffer))) + "\\n");
    const start = Date.now();
    sys.sleep(20);
    print(String(Date.now() - start >= 18) + "\\n");
    print([() => sys.open("/none"), () => sys.read(77, buffer), () => sys.open(5 as never), () => sys.pread(a, buffer, -1),
      () => sys.mount("/none", "/mnt"), () => sys.wait(), () => sys.dup(0, -4), () => sys.wstat("/tmp", { x: 1 } as never)].map(code).join(" "));
  `);
  assert.equal(status, "");
  assert.equal(
    output,
    "true\n0\nred null\nthrough\ntrue\n" +
      "ENOENTtrue EBADFtrue EINVALtrue EINVALtrue ENOENTtrue ECHILDtrue EBADFtrue EINVALtrue",
  );
});

Deno.test("large files go through in pieces, byte for byte", async () => {
  const { status, output } = await run(`
    const all = new Uint8Array(1_000_003).map((_, i) => i * 7 + (i >> 9)), back = new Uint8Array(all.length);
    const fd = sys.create("/tmp/large", ORDWR);
    for (let at = 0; at < all.length;) at += sys.write(fd, all.subarray(at));
    sys.seek(fd, 0);
    for (let at = 0, n; (n = sys.read(fd, back.subarray(at))) > 0;) at += n;
    print(String(back.every((x, i) => x === all[i])));
  `);
  assert.deepEqual({ status, output }, { status: "", output: "true" });
});

Deno.test("promises and blocking calls go side by side, and a read that waits holds nobody up", async () => {
  const { status, output } = await runAsync(`
    const buffer = new Uint8Array(10), late = p.async.read(0, buffer);
    const names = await Promise.all(["/dev", "/tmp", "/"].map((path) => p.async.stat(path)));
    print(names.map((d) => d.name) + " " + sys.stat("/dev").name + "\\n");
    const [a, b] = await p.async.pipe(), early = p.async.read(b, buffer);
    sys.write(a, "now");
    print(text(buffer.subarray(0, await early)) + "\\n");
    await p.async.sleep(1);
    void late.catch(() => {});
    await p.async.open("/none").catch((e) => print(e.code));
  `);
  assert.deepEqual({ status, output }, { status: "", output: "dev,tmp,/ dev\nnow\nENOENT" });
});

Deno.test("files of a plugin in an isolate are read and written past the kernel, with the same meaning", async () => {
  await node.give({ op: "load", plugin: "ram as disk placement isolate" });
  await node.give({ op: "ctl", path: "/proc/1/ns", text: "bind -c '#disk' /mnt" });
  const { status, output } = await run(`
    const fd = sys.create("/mnt/f", ORDWR), buffer = new Uint8Array(16), all: string[] = [];
    const read = (n: number, from = fd) => text(buffer.subarray(0, sys.read(from, buffer.subarray(0, n))));
    for (let i = 0; i < 200; i++) { sys.write(fd, String(i % 10)); if (i < 20) sys.sleep(1); } // a lane is made beside the calls
    sys.seek(fd, 0);
    for (let i = 0; i < 200; i++) all.push(read(1));
    print(String(all.join("") === "0123456789".repeat(20)) + read(1) + "\\n");
    const twin = sys.dup(fd);
    sys.seek(twin, 3);
    print(read(2) + read(2, twin) + read(1) + " " + sys.seek(fd, 0, 1) + "\\n");
    sys.pwrite(twin, "xyz", 198);
    print(sys.stat("/mnt/f").length + text(buffer.subarray(0, sys.pread(fd, buffer, 197))) + "\\n");
    const [a, b] = [sys.open("/mnt/f"), sys.open("/mnt/f", OWRITE)];
    for (let i = 0; i < 9; i++) { sys.read(a, buffer); sys.write(b, "w"); sys.sleep(1); }
    for (const f of [() => sys.write(a, "no"), () => sys.read(b, buffer)]) {
      try { f(); } catch (e) { print((e as Err).code + " "); }
    }
    sys.close(fd);
    const other = sys.create("/mnt/g", ORDWR); // the same number, another file
    print(String(other === fd) + sys.read(other, buffer) + read(1, twin) + "\\n");
    const rings = sys.open("/sys/rings"), table = new Uint8Array(65536);
    const rows = text(table.subarray(0, sys.read(rings, table))).split("\\n");
    const row = rows.find((line) => line.startsWith("p") && line.split(/ +/)[1].startsWith("disk"));
    print(String(Number(row?.split(/ +/)[5]) > 300) + "\\n");
  `);
  assert.equal(status, "", output);
  assert.equal(output, "true\n34567 8\n2017xyz\nEBADF EBADF true0w\ntrue\n");
});

Deno.test("a file past the kernel whose plugin is restarted answers as it would through the kernel", async () => {
  const { status, output } = await run(`
    const fd = sys.create("/mnt/h", ORDWR), buffer = new Uint8Array(4);
    for (let i = 0; i < 20; i++) { sys.pread(fd, buffer, 0); sys.sleep(1); }
    sys.write(sys.open("/sys/plugins/disk/ctl", OWRITE), "restart");
    try { sys.pread(fd, buffer, 0); } catch (e) { print((e as Err).code); }`);
  assert.deepEqual({ status, output }, { status: "", output: "ESTALE" });
});

Deno.test("threads make a server of sequential code in a program", async () => {
  const { output } = await runAsync(`
    const clock = { now: () => 0, monotonic: () => performance.now(), after: () => () => {} };
    const sched = new Sched({ clock }), [a, b] = sys.pipe(), done = new Rendez(), seen: string[] = [];
    sched.spawn(async (t) => {
      const buffer = new Uint8Array(10);
      while (seen.length < 3) { seen.push(text(buffer.subarray(0, await t.wait(p.async.read(b, buffer))))); done.wakeup(); }
    });
    const writer = sched.spawn(async (t) => {
      for (const word of ["a", "b", "c"]) { const n = seen.length; sys.write(a, word); await t.sleep(done, () => seen.length > n); }
    });
    await writer.join();
    print(seen.join(""));
  `);
  assert.equal(output, "abc");
});

Deno.test("a program imports its neighbours and the project, and nothing else", async () => {
  await node.give({ op: "write", path: "/tmp/lib.ts", text: `export const x: number = 6; export enum E { A = 7 }` });
  assert.equal(
    (await run(`print(String(x * E.A));`, { head: `import { E, x } from "./lib.ts";` })).output,
    "42",
  );
  const refused: [string, RegExp][] = [
    [`import "./none.ts";`, /none.ts: .*does not exist/],
    [`import "node:fs";`, /cannot import node:fs/],
    [`import "npm:is-odd";`, /cannot import npm:is-odd/],
    [`import "file:///etc/hostname";`, /outside/],
    [`throw new Error("at import");`, /at import/],
    [`const x: = 1;`, /SyntaxError|Unexpected/],
  ];
  for (const [head, why] of refused) await assert.rejects(run("", { head }), why);
  await assert.rejects(node.give({ op: "run", path: "/tmp/none" }), { code: "ENOENT" });
  await assert.rejects(node.give({ op: "run", path: "/dev/zero" }), /zero/);
});

Deno.test("what is thrown is told on file 2 with its lines, and is the status", async () => {
  for (
    const body of [
      `throw new Error("a fault");`,
      `setTimeout(() => { throw new Error("a fault"); }, 1); return new Promise(() => {});`,
    ]
  ) {
    const { status, output } = await run(body);
    assert.equal(status, "a fault");
    assert.match(output, /Error: a fault\n.*\/tmp\/p\d+\.ts:\d+/s);
  }
});

Deno.test("a program ends when it is killed: in a loop, in a call that blocks, asleep in a promise", async () => {
  const bodies = [
    `for (;;);`,
    `sys.read(0, new Uint8Array(1));`,
    `return new Promise(() => {});`,
    `for (;;) sys.sleep(1);`,
  ];
  for (const body of bodies) {
    const { status } = await run(`print("ready"); ${body}`, { until: "ready", then: "kill" });
    assert.equal(status, "killed", body);
  }
});

Deno.test("a note ends a program, in a loop too; one that is handled ends the call with EINTR", async () => {
  const loop = await run(`print("ready"); for (;;);`, { until: "ready", then: "note hang up" });
  assert.equal(loop.status, "hang up");
  const handled = await run(
    `p.notify((note) => { print("<" + note + ">"); return note === "usr"; });
     print("ready");
     try { sys.read(0, new Uint8Array(1)); } catch (e) { print((e as Err).code); }
     return "went on";`,
    { until: "ready", then: "note usr" },
  );
  assert.deepEqual(handled, { status: "went on", output: "ready<usr>EINTR" });
  const event = await run(
    `p.notify((note) => { p.exit("by " + note); }); print("ready"); return new Promise(() => {});`,
    {
      until: "ready",
      then: "note usr",
    },
  );
  assert.equal(event.status, "by usr");
});

Deno.test("a program starts others, hands them files, and waits for them", async () => {
  await node.give({
    op: "write",
    path: "/tmp/child.ts",
    text: `import { defineProgram } from "ring9/proc";
      export default defineProgram(({ args, print, sys }) => { print("child " + args[1] + " " + sys.getenv("who")); return "seven"; });`,
  });
  const { output } = await run(`
    const fd = sys.create("/tmp/childout", ORDWR), buffer = new Uint8Array(100);
    sys.setenv("who", "glenda");
    const pid = sys.spawn("/tmp/child.ts", { args: ["x"], redirect: [[fd, 1]] }), record = sys.wait();
    print([record.pid === pid, record.status, text(buffer.subarray(0, sys.pread(fd, buffer, 0)))].join());
  `);
  assert.equal(output, "true,seven,child x glenda");
});

Deno.test("the shell runs programs by path and by name, with arguments and their output in a file, and prints a bad status", async () => {
  const path = "/tmp/hello",
    text = `import { defineProgram } from "ring9/proc";
    export default defineProgram(({ args, print }) => { print(args.join() + "\\n"); return args[1]; });`;
  await node.give({ op: "write", path, text });
  const lines = [
    "run /tmp/hello",
    "/tmp/hello > /tmp/said",
    "/tmp/hello 'no luck'",
    "cat /tmp/said",
    "bind -b /tmp /bin",
    "hello",
    "run",
    "nobody",
    "run /tmp/nobody",
  ];
  const printed = await node.give({ op: "sh", lines }) as string;
  assert.deepEqual(printed.trimEnd().split("\n"), [
    "/tmp/hello",
    "/tmp/hello,no luck",
    "/tmp/hello: no luck",
    "/tmp/hello",
    "/bin/hello",
    "usage: run path [word...]",
    "nobody: no such command (try help)",
    "run: /tmp/nobody: file does not exist",
  ]);
});

Deno.test("a program is started by a line to the ctl of a proc, with files of nobody where that has none", async () => {
  const text = `import { defineProgram } from "ring9/proc";
    export default defineProgram(({ args, print, sys }) => {
      print("to nobody");
      sys.write(sys.create("/tmp/ran"), args.join() + " " + sys.read(0, new Uint8Array(1)));
    });`;
  await node.give({ op: "write", path: "/tmp/byctl.ts", text });
  const run1 = (line: string) => node.give({ op: "sh", lines: [`echo ${line} > /proc/1/ctl`] });
  assert.equal(await run1("run /tmp/byctl.ts a b"), "");
  assert.match(
    (await run(`
    for (let i = 0; i < 1000; i++) {
      try {
        const buffer = new Uint8Array(100), count = sys.read(sys.open("/tmp/ran"), buffer);
        if (count > 0) { print(text(buffer.subarray(0, count))); return; }
      } catch {}
      sys.sleep(5);
    }`)).output,
    /^\/tmp\/byctl.ts,a,b 0$/,
  );
  await assert.rejects(node.give({ op: "run", path: "/tmp/byctl.ts", cpu: 4000 }), /there is no core 4000/);
  assert.match(await run1("run /tmp/nothing") as string, /nothing: file does not exist/);
});

Deno.test("a heap that runs full ends that program alone", async () => {
  const { status } = await run(`const a: unknown[] = []; for (;;) a.push(new Array(1000).fill(1.5));`);
  assert.match(status, /heap/);
  assert.equal((await run(`print("fine");`)).output, "fine");
});
