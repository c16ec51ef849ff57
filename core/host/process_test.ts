/** Processes of plugins in a real node: served, with exactly their permissions, and every way of dying told. */

import assert from "node:assert/strict";
import { Plugins, type Refused, TestNode } from "./testdata/driver.ts";
import { permissionFlags } from "./jail.ts";

const node = new TestNode(), plugins = new Plugins();
/** What a plugin may be let read. */
const secret = `${plugins.folder}/data/secret`;
Deno.mkdirSync(`${plugins.folder}/data`);
Deno.writeTextFileSync(secret, "the secret");

Deno.test.afterAll(async () => {
  plugins.remove();
  await node.end();
});

/** Starts it, and expects to be refused. */
async function refused(start: Promise<number>): Promise<Refused> {
  try {
    await start;
  } catch (e) {
    return e as Refused;
  }
  throw new Error("it started");
}

function exists(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch {
    return false;
  }
}

Deno.test("a plugin in a process serves its tree, and its output does not disturb it", async () => {
  const module = plugins.serving(
    `who: ctx.name + " " + ctx.options.color + " " + ctx.hostowner, big: "x".repeat(3_000_000)`,
    `ctx.log("a line"); console.log("another", { x: 1 }); Deno.stderr.writeSync(new TextEncoder().encode("raw\\n"))`,
  );
  const p = await node.process({ module, name: "tint", options: { color: "red" } });
  assert.equal(await node.read(p, "who"), "tint red glenda");
  assert.equal((await node.read(p, "big")).length, 3_000_000);
  const { pid, confinement, placement } = await node.info(p);
  assert.equal(placement, "process");
  assert.match(confinement, /^deno permissions.*heap 128 MiB$/);
  assert.ok(exists(pid));
  await node.stop(p);
  assert.equal((await node.exited(p)).reason, "stopped");
  assert.ok(!exists(pid));
  for (const line of ["a line", "another { x: 1 }", "raw"]) assert.ok((await node.logs()).includes(line), line);
});

/** What a process without permissions must not be able to do. */
const ATTEMPTS: Record<string, string> = {
  "read": `Deno.readTextFileSync(${JSON.stringify(secret)})`,
  "read system": `Deno.readTextFileSync("/etc/hostname")`,
  "node:fs": `(await import("node:fs")).readFileSync("/etc/hostname", "utf8")`,
  "write": `Deno.writeTextFileSync("/tmp/ring9-probe", "x")`,
  "literal text import": `(await import("file:///etc/hostname", { with: { type: "text" } } as any)).default`,
  "computed text import": `(await import("file:///etc/" + "hostname", { with: { type: "text" } } as any)).default`,
  "Function text import":
    `(await new Function("return import('file:///etc/hostname', { with: { type: 'text' } })")()).default`,
  "data text import":
    `(await import("data:text/javascript,import x from 'file:///etc/hostname' with { type: 'text' }; export default x")).default`,
  "worker text import": `await new Promise((done, fail) => {
    const w = new Worker("data:text/javascript,import x from 'file:///etc/hostname' with { type: 'text' }; postMessage(x)", { type: "module" });
    w.onmessage = (e) => done(e.data); w.onerror = (e) => { e.preventDefault(); fail(new Error(e.message)); };
  })`,
  "hooks of its own": `{
    const { registerHooks } = await import("node:module");
    registerHooks({ resolve: (url) => ({ url, shortCircuit: true }), load: (url, context, next) => next(url, context) });
    return (await import("file:///etc/" + "hostname?", { with: { type: "text" } })).default;
  }`,
  "require": `(await import("node:module")).createRequire("file:///x.js")("/etc/hostname")`,
  "node worker": `await new Promise(async (done, fail) => {
    const { Worker } = await import("node:worker_threads");
    const text = "import { parentPort } from 'node:worker_threads'; parentPort.postMessage((await import('file:///etc/hostname', { with: { type: 'text' } })).default)";
    const w = new Worker(new URL("data:text/javascript," + encodeURIComponent(text)));
    w.on("message", done); w.on("error", fail); w.on("exit", () => fail(new Error("ended")));
  })`,
  "worker file": `await new Promise((done, fail) => {
    const w = new Worker("file:///etc/hostname", { type: "module" });
    w.onerror = (e) => { e.preventDefault(); fail(new Error(e.message)); };
  })`,
  "sqlite": `new (await import("node:sqlite")).DatabaseSync("/etc/ring9.db")`,
  "npm import": `Object.keys(await import("npm:" + "is-odd"))`,
  "run": `new Deno.Command("id").outputSync().code`,
  "child_process": `(await import("node:child_process")).execSync("id")`,
  "ffi": `Deno.dlopen("libc.so.6", {})`,
  "env": `Deno.env.get("PATH")`,
  "net": `Deno.listen({ port: 0 }).addr`,
  "connect": `await Deno.connect({ hostname: "127.0.0.1", port: 9 })`,
  "fetch": `(await fetch("http://127.0.0.1:5649/")).status`,
  "hostname": `Deno.hostname()`,
  "kill the parent": `Deno.kill(Deno.ppid, "SIGKILL")`,
  "ask":
    `(await Deno.permissions.request({ name: "read" })).state === "granted" ? 1 : Promise.reject(new Error("not granted"))`,
};

Deno.test("a process without permissions reaches nothing", async () => {
  const p = await node.process({ module: plugins.attempting(ATTEMPTS) });
  assert.deepEqual(await node.reached(p, ATTEMPTS), []);
  await node.kill(p);
});

/** What the system says of the filters on a process's threads. */
function filters(pid: number): Set<string> {
  const threads = [...Deno.readDirSync(`/proc/${pid}/task`)];
  return new Set(threads.map(({ name }) => {
    const status = Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`);
    return /^Seccomp:\t\d$/m.exec(status)![0] + /^NoNewPrivs:\t\d$/m.exec(status)![0];
  }));
}

Deno.test("a temporary directory that can not be written takes no wall away", async () => {
  const cramped = new TestNode(["-A"], { TMPDIR: "/nonexistent" });
  const p = await cramped.process({ module: plugins.serving(`x: "1"`) });
  assert.match((await cramped.info(p)).confinement, /, seccomp,/);
  await cramped.end();
});

Deno.test("without bubblewrap the permissions hold, the process puts on its filter, and status says so", async () => {
  const bare = new TestNode(["-A"], { PATH: "/nonexistent" });
  const filtered = new Set(["Seccomp:\t2NoNewPrivs:\t1"]);
  const p = await bare.process({ module: plugins.attempting(ATTEMPTS) });
  const { confinement, pid } = await bare.info(p);
  assert.match(confinement, /^deno permissions.*, seccomp, heap 128 MiB$/);
  assert.doesNotMatch(confinement, /bubblewrap/);
  assert.deepEqual(filters(pid), filtered);
  assert.deepEqual(await bare.reached(p, ATTEMPTS), []);

  const out = JSON.stringify(`${plugins.folder}/data/out`);
  const tries = {
    ...ATTEMPTS,
    "write there": `Deno.writeTextFileSync(${out}, "x") ?? "written"`,
    "chmod": `Deno.chmodSync(${out}, 0o755) ?? "changed"`,
    "run env": `new Deno.Command("/usr/bin/env", { clearEnv: true }).outputSync().code`,
    "a library": `Object.keys(Deno.dlopen("/usr/lib/x86_64-linux-gnu/libm.so.6", {})).length`,
  };
  const may = { write: [`${plugins.folder}/data`], run: ["/usr/bin/env"], net: ["127.0.0.1:0"] };
  const q = await bare.process({ module: plugins.attempting(tries), permissions: may });
  assert.deepEqual(await bare.reached(q, tries), ["write there", "run env"]);
  assert.deepEqual(filters((await bare.info(q)).pid), filtered);
  const ffi = ["/usr/lib/x86_64-linux-gnu/libm.so.6"];
  const r = await bare.process({ module: plugins.attempting(tries), permissions: { ffi } });
  assert.deepEqual(await bare.reached(r, tries), Deno.build.arch === "x86_64" ? ["a library"] : []);
  const s = await bare.process({ module: plugins.attempting(tries), permissions: { ffi: true } });
  assert.ok((await bare.reached(s, tries)).includes("ffi"));
  assert.deepEqual(filters((await bare.info(s)).pid), filtered);
  await bare.end();
});

Deno.test("when the node is killed its processes end", async () => {
  const doomed = new TestNode();
  const { pid } = await doomed.info(await doomed.process({ module: plugins.serving("") }));
  await doomed.end("kill");
  for (let look = 0; look < 500 && exists(pid); look++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(!exists(pid));
});

Deno.test("a process has exactly the permissions of its manifest", async () => {
  const tries = {
    ...ATTEMPTS,
    "write there": `Deno.writeTextFileSync(${JSON.stringify(`${plugins.folder}/data/out`)}, "x") ?? "written"`,
    "env HOME": `Deno.env.get("HOME")`,
  };
  const permissions = {
    read: [`${plugins.folder}/data`],
    write: [`${plugins.folder}/data`],
    env: ["HOME"],
    net: ["127.0.0.1:0"],
  };
  const p = await node.process({ module: plugins.attempting(tries), permissions });
  assert.equal(await node.read(p, "read"), "ok: the secret");
  assert.equal(await node.read(p, "write there"), "ok: written");
  assert.equal(await node.read(p, "env HOME"), `ok: ${Deno.env.get("HOME")}`);
  assert.deepEqual(await node.reached(p, tries), ["read", "write there", "env HOME"]);
  await node.kill(p);
});

Deno.test("permissions become flags, and nothing else does", () => {
  assert.deepEqual(permissionFlags({ read: true, net: ["a:1", "b"], write: false, run: [] }), [
    "--allow-read",
    "--allow-net=a:1,b",
  ]);
  assert.throws(() => permissionFlags({ read: ["/a,/etc"] }), /can not be in a list/);
  assert.throws(() => permissionFlags({ env: [""] }), /can not be in a list/);
  assert.throws(() => permissionFlags({ all: true } as never), /not a permission/);
});

Deno.test("a start that fails, hangs or can not be found is refused with its text", async () => {
  const cases: [string, RegExp, string][] = [
    [`throw new Error("at import");`, /at import/, "EIO"],
    [
      `import { Err } from "ring9/plugin"; export default { start() { throw new Err("EBUSY", "taken") } }`,
      /taken/,
      "EBUSY",
    ],
    [`import x from "/etc/hostname" with { type: "text" }; x;`, /type "text" are not served/, "EIO"],
    [`Deno.exit(3);`, /ended with status 3/, "EIO"],
  ];
  for (const [text, why, code] of cases) {
    const e = await refused(node.process({ module: plugins.write(text) }));
    assert.match(e.message, why);
    assert.equal(e.code, code);
  }
  const looping = plugins.serving("", "for (;;);");
  assert.equal((await refused(node.process({ module: looping, limits: { startMs: 500 } }))).code, "ETIMEDOUT");
  assert.equal((await refused(node.process({ module: "file:///no/such.ts" }))).code, "ENOENT");
  const permissions = { nonsense: true } as never;
  assert.equal((await refused(node.process({ module: looping, permissions }))).code, "EINVAL");
});

Deno.test("an import after the start is refused with what to do", async () => {
  plugins.write(`export const x = 1;`, "late.ts");
  const p = await node.process({ module: plugins.attempting({ late: `(await import("./late.ts" as string)).x` }) });
  assert.match(await node.read(p, "late"), /loaded before start\(\)/);
  await node.kill(p);
});

Deno.test("a process that hangs, dies or throws is told, and so is its last word", async () => {
  const later = (body: string) => plugins.serving(`x: "x"`, `ctx.clock.after(20, () => { ${body} })`);
  const hung = await node.process({ module: later("for (;;);"), limits: { hangMs: 2500 } });
  const thrown = await node.process({ module: later(`throw new Error("later")`) });
  const dead = await node.process({
    module: later(
      `console.error("not this"); Deno.stderr.writeSync(new TextEncoder().encode("last word\\n")); Deno.exit(3)`,
    ),
  });
  const { pid } = await node.info(hung);
  assert.equal((await node.exited(thrown)).reason, "crashed");
  assert.match((await node.exited(thrown)).text, /Error: later\n.*plugin\d+\.ts/s);
  assert.deepEqual(await node.exited(dead), { reason: "crashed", text: "ended with status 3: last word" });
  assert.deepEqual(await node.exited(hung), { reason: "hung", text: "no heartbeat for 2500 ms" });
  assert.ok(!exists(pid));
  await assert.rejects(node.read(thrown, "x"));
});

Deno.test("a full heap ends the process, and is told as that", async () => {
  const fill = "const a: unknown[] = []; for (;;) a.push(new Array(1000).fill(1.5));";
  const module = plugins.serving("", `ctx.clock.after(1, () => { ${fill} })`);
  const p = await node.process({ module, limits: { heapMb: 32 } });
  assert.deepEqual(await node.exited(p), { reason: "heap", text: "it reached its heap limit of 32 MiB" });
});

Deno.test("array buffers beyond the limit end the process where a memory cgroup can be had", async () => {
  const fill = "const a: unknown[] = []; for (;;) a.push(new Uint8Array(16 << 20).fill(1));";
  const module = plugins.serving("", `ctx.clock.after(1, () => { ${fill} })`);
  const p = await node.process({ module, limits: { heapMb: 64, memoryMb: 192, hangMs: 15_000 } });
  const { confinement } = await node.info(p);
  if (/memory cgroup/.test(confinement)) {
    assert.match(confinement, /memory cgroup 256 MiB/);
    assert.match((await node.exited(p)).text, /SIGKILL|status 137/);
  } else {
    console.log("skipped: no memory cgroup can be made here");
    await node.kill(p);
  }
});

Deno.test("one that speaks nonsense on the pipe is ended", async () => {
  const module = plugins.serving("", `ctx.clock.after(1, () => Deno.stdout.writeSync(new Uint8Array(64).fill(0xff)))`);
  const { reason, text } = await node.exited(await node.process({ module }));
  assert.equal(reason, "crashed");
  assert.match(text, /not a frame/);
});
