/** Isolates of plugins in a real node: served, confined, killed, and every way of dying told. */

import assert from "node:assert/strict";
import { Plugins, type Refused, TestNode } from "./testdata/driver.ts";

const node = new TestNode(), plugins = new Plugins();

Deno.test.afterAll(async () => {
  plugins.remove();
  assert.equal(await node.end(), 7, "the kernel's exit status is the process's");
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

Deno.test("the main thread is locked, and the kernel gets what the front door gave", async () => {
  const { init, lock } = await node.locked();
  assert.deepEqual(init, { greeting: "from the front door" });
  assert.equal(lock.permissions, true);
  for (const [what, can] of Object.entries(await node.main)) {
    const needsLock = what.endsWith("(2)") && !(lock.landlock && lock.seccomp);
    if (!needsLock) assert.equal(can, false, `main can still ${what}`);
  }
});

Deno.test("a plugin in an isolate serves its tree over the ring", async () => {
  const module = plugins.serving(
    `who: ctx.name + " " + ctx.options.color + " " + ctx.hostowner, big: "x".repeat(3_000_000),
     random: () => { const b = new Uint8Array(70_000); ctx.random(b); return String(b.some((x) => x !== 0)); }`,
    `ctx.log("a line"); console.log("another", { x: 1 })`,
  );
  const p = await node.isolate({ module, name: "tint", options: { color: "red" } });
  assert.equal(await node.read(p, "who"), "tint red glenda");
  assert.equal((await node.read(p, "big")).length, 3_000_000);
  assert.equal(await node.read(p, "random"), "true");
  const logs = await node.logs();
  assert.ok(logs.includes("a line") && logs.includes("another { x: 1 }"), logs.join("|"));
  const { pid, id, confinement } = await node.info(p);
  assert.ok((await node.threads()).some((t) => t.tid === pid && t.name === id));
  assert.match(confinement, /no permissions.*heap 128 MiB/);
  await node.stop(p);
  assert.equal((await node.exited(p)).reason, "stopped");
  assert.ok(!(await node.threads()).some((t) => t.tid === pid));
});

Deno.test("an isolate is pinned on the CPU that it is given", async () => {
  const cpu = navigator.hardwareConcurrency - 1;
  const p = await node.isolate({ module: plugins.serving(""), cpu });
  const { pid } = await node.info(p);
  assert.deepEqual((await node.threads()).find((t) => t.tid === pid)?.cpus, [cpu]);
  await node.kill(p);
  assert.deepEqual(await node.exited(p), { reason: "killed", text: "killed by the kernel" });
});

/** Everything here must be refused, whatever the words. */
const ATTEMPTS: Record<string, string> = {
  "Deno": `(globalThis as any).Deno.readTextFileSync("/etc/hostname")`,
  "literal text import": `(await import("file:///etc/hostname", { with: { type: "text" } } as any)).default`,
  "computed text import": `(await import("file:///etc/" + "hostname", { with: { type: "text" } } as any)).default`,
  "bytes import": `(await import("file:///etc/hostname", { with: { type: "bytes" } } as any)).default`,
  "json import": `(await import("file:///etc/machine.json", { with: { type: "json" } } as any)).default`,
  "file import": `(await import("file:///etc/hostname")).default`,
  "npm import": `Object.keys(await import("npm:" + "is-odd"))`,
  "jsr import": `Object.keys(await import("jsr:" + "@std/path"))`,
  "http import": `Object.keys(await import("http://127.0.0.1:9/x.js"))`,
  "data import": `(await import("data:text/javascript,export default 1")).default`,
  "blob import":
    `(await import((URL as any).createObjectURL(new Blob(["export default 1"], { type: "text/javascript" })))).default`,
  "Function import": `Object.keys(await new Function("return import('node:fs')")())`,
  "node:fs": `(await import("node:" + "fs")).readFileSync("/etc/hostname")`,
  "fs": `(await import("fs" as any)).readFileSync("/etc/hostname")`,
  "node:child_process": `(await import("node:child_process")).execSync("id")`,
  "node:worker_threads": `Object.keys(await import("node:worker_threads"))`,
  "node:process": `(await import("node:process")).default.pid`,
  "node:v8": `(await import("node:v8")).setFlagsFromString("--expose-gc")`,
  "node:module": `(await import("node:module")).createRequire("/x.js")("fs")`,
  "node:crypto": `Object.keys(await import("node:crypto"))`,
  "fetch": `(await (globalThis as any).fetch("file:///etc/hostname")).text()`,
  "process": `(globalThis as any).process.pid`,
  "process.binding": `(globalThis as any).process.binding("fs")`,
  "require": `(globalThis as any).require("fs")`,
  "Buffer": `(globalThis as any).Buffer.from("x")`,
  "kill": `(globalThis as any).process.kill((globalThis as any).process.pid, 0)`,
  "Worker": `new (globalThis as any).Worker("data:text/javascript,0", { type: "module" })`,
  "WebSocket": `new (globalThis as any).WebSocket("ws://127.0.0.1:9")`,
  "BroadcastChannel": `new (globalThis as any).BroadcastChannel("x").name`,
  "caches": `(globalThis as any).caches.open("x")`,
  "localStorage": `(globalThis as any).localStorage.length`,
  "gpu": `(globalThis as any).navigator.gpu`,
  "close": `(globalThis as any).close()`,
  "prompt": `(globalThis as any).prompt("x")`,
};

Deno.test("a plugin in an isolate reaches nothing outside", async () => {
  const p = await node.isolate({ module: plugins.attempting(ATTEMPTS) });
  assert.deepEqual(await node.reached(p, ATTEMPTS), []);
  await node.kill(p);
});

Deno.test("a plugin that tampers with what the hooks stand on gets no further", async () => {
  const module = plugins.attempting({
    fs: `{
      const { startsWith, slice } = String.prototype;
      const href = Object.getOwnPropertyDescriptor(URL.prototype, "href")!;
      try {
        String.prototype.startsWith = () => true; String.prototype.slice = () => "node:fs";
        Object.defineProperty(URL.prototype, "href", { ...href, get: () => "node:fs" });
        (Object.prototype as any)["node:fs"] = "node:fs";
        return Object.keys(await import("node:" + "fs"));
      } finally {
        Object.assign(String.prototype, { startsWith, slice });
        Object.defineProperty(URL.prototype, "href", href);
        delete (Object.prototype as any)["node:fs"];
      }
    }`,
  });
  const p = await node.isolate({ module });
  assert.match(await node.read(p, "fs"), /cannot import node:fs/);
  await node.kill(p);
});

Deno.test("static imports that are not served are refused, with the reason", async () => {
  const cases: [string, RegExp][] = [
    [`import "node:fs";`, /cannot import node:fs.*not open/],
    [`import * as v8 from "node:v8"; v8.setFlagsFromString("--x");`, /cannot import node:v8/],
    [`export * from "node:worker_threads";`, /cannot import node:worker_threads/],
    [`import "npm:is-odd";`, /cannot import npm:is-odd/],
    [`import "jsr:@std/path";`, /cannot import jsr:@std\/path/],
    [`import "https://127.0.0.1:9/x.js";`, /cannot import https:/],
    [`import x from "/etc/hostname" with { type: "text" }; x;`, /type "text" are not served/],
    [`import "/etc/hostname";`, /outside/],
    [`import "../../etc/passwd";`, /cannot import/],
    [`import "./missing.ts";`, /missing.ts.*does not exist/],
    [`import "./link.ts";`, /outside/],
    [`const x: = 1;`, /SyntaxError: Unexpected token.*at 1:10$/s],
    [`import { Nothing } from "ring9/plugin"; Nothing;`, /import type/],
  ];
  Deno.symlinkSync("/etc/hostname", `${plugins.folder}/link.ts`);
  for (const [text, why] of cases) {
    assert.match((await refused(node.isolate({ module: plugins.write(text) }))).message, why);
  }
});

Deno.test("TypeScript, JSON, the plugin's own files and harmless built-ins are served", async () => {
  plugins.write(`{ "answer": 42 }`, "data.json");
  plugins.write(`export enum Color { Red, Green } export class Box { constructor(public n: number) {} }`, "types.ts");
  plugins.write(`export const late: string = "late";`, "late.ts");
  const module = plugins.write(`
    import assert from "node:assert/strict";
    import { inspect } from "node:util";
    import { definePlugin, type Ctx, tree } from "ring9/plugin";
    import data from "./data.json" with { type: "json" };
    import { Box, Color } from "./types.ts";
    assert.equal(inspect({ a: 1 }), "{ a: 1 }");
    export default definePlugin({
      start: (ctx: Ctx) => tree({
        all: [data.answer, Color[1], new Box(7).n].join(" "),
        late: async () => (await import("./late.ts")).late,
        where: () => { try { null!.x; } catch (e) { return (e as Error).stack; } },
      } as any, ctx),
    });`);
  const p = await node.isolate({ module });
  assert.equal(await node.read(p, "all"), "42 Green 7");
  assert.equal(await node.read(p, "late"), "late");
  assert.match(await node.read(p, "where"), /plugin\d+\.ts:12:/, "lines are the source's");
  await node.kill(p);
});

Deno.test("a start that fails is refused with its text", async () => {
  const start = (body: string) => `export default { start() { ${body} } }`;
  const cases: [string, RegExp, string][] = [
    [`throw new Error("at import");`, /tick: at import/, "EIO"],
    [`await Promise.reject(new Error("at top level"));`, /at top level/, "EIO"],
    [start(`throw new Error("at start")`), /at start/, "EIO"],
    [start(`return Promise.reject("no error at all")`), /no error at all/, "EIO"],
    [`import { Err } from "ring9/plugin"; ${start(`throw new Err("EBUSY", "taken")`)}`, /taken/, "EBUSY"],
    [`export const x = 1;`, /no default export with start/, "EINVAL"],
    [start(`return {}`), /did not answer a Dev/, "EINVAL"],
  ];
  for (const [text, why, code] of cases) {
    const e = await refused(node.isolate({ module: plugins.write(text), name: "tick" }));
    assert.match(e.message, why);
    assert.equal(e.code, code, text);
  }
  assert.equal((await refused(node.isolate({ module: "file:///no/such/module.ts" }))).code, "ENOENT");
  assert.equal((await refused(node.isolate({ module: plugins.serving(""), limits: { heapMb: 0 } }))).code, "EINVAL");
});

Deno.test("a start that takes too long, or loops, is given up", async () => {
  for (const body of ["await new Promise(() => {})", "for (;;);"]) {
    const e = await refused(node.isolate({ module: plugins.serving("", body), limits: { startMs: 300 } }));
    assert.equal(e.code, "ETIMEDOUT");
  }
});

Deno.test("an error later ends the isolate, and is told with its text", async () => {
  const later = (body: string) => plugins.serving(`x: "x"`, `ctx.clock.after(20, () => { ${body} })`);
  for (const body of [`Promise.reject(new Error("later"))`, `throw new Error("later")`]) {
    const p = await node.isolate({ module: later(body) });
    const { reason, text } = await node.exited(p);
    assert.equal(reason, "crashed");
    assert.match(text, /Error: later\n.*plugin\d+\.ts/s);
    await assert.rejects(node.read(p, "x"));
  }
});

/** An instance of a WebAssembly module whose one function never ends. */
const WASM_LOOP =
  "new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0," +
  "7,5,1,1,102,0,0,10,9,1,7,0,3,64,12,0,11,11]))).exports.f()";

const ENDLESS: Record<string, string> = {
  "a loop": `for (;;);`,
  "a loop that makes garbage": `for (;;) [1, 2, 3].map((x) => ({ x }));`,
  "a loop that catches": `for (;;) { try { for (;;); } catch { continue; } finally { continue; } }`,
  "a microtask each time": `(async () => { for (;;) await 0; })();`,
  "a turn each time": `const again = () => setImmediate(again); again();`,
  "a regular expression": `/^(a+)+$/.test("a".repeat(40) + "b");`,
  "a wait": `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`,
  "WebAssembly": WASM_LOOP,
};

Deno.test("whatever never ends is killed, and its thread is gone", async () => {
  for (const [name, code] of Object.entries(ENDLESS)) {
    const p = await node.isolate({ module: plugins.serving("", `ctx.clock.after(1, () => { ${code} })`) });
    const { pid } = await node.info(p);
    await node.kill(p);
    assert.equal((await node.exited(p)).reason, "killed");
    const left = (await node.threads()).find((t) => t.tid === pid);
    assert.equal(left, undefined, `${name}: ${JSON.stringify(left)}`);
  }
});

Deno.test("an isolate without a heartbeat is killed as hung; one beside it goes on", async () => {
  const beside = await node.isolate({ module: plugins.serving(`x: "still here"`) });
  const module = plugins.serving("", `ctx.clock.after(1, () => { for (;;); })`);
  const p = await node.isolate({ module, limits: { hangMs: 500 } });
  assert.deepEqual(await node.exited(p), { reason: "hung", text: "no heartbeat for 500 ms" });
  assert.equal(await node.read(beside, "x"), "still here");
  assert.ok((await node.info(beside)).beats > 0);
  await node.kill(beside);
});

Deno.test("a heap that runs full ends that isolate alone, and is told", async () => {
  const fill = "const a: unknown[] = []; for (;;) a.push(new Array(1000).fill(1.5));";
  const beside = await node.isolate({ module: plugins.serving(`x: "still here"`) });
  const atStart = await refused(node.isolate({ module: plugins.serving("", fill), limits: { heapMb: 32 } }));
  assert.match(atStart.message, /heap/);
  const inTimer = plugins.serving("", `ctx.clock.after(1, () => { ${fill} })`);
  const p = await node.isolate({ module: inTimer, limits: { heapMb: 32 } });
  const { reason, text } = await node.exited(p);
  assert.ok(reason === "heap" || reason === "gone", `${reason}: ${text}`);
  assert.match(text, /heap/);
  assert.equal(await node.read(beside, "x"), "still here");
  await node.kill(beside);
});

Deno.test("array buffers beyond their limit end that isolate alone, and are told; those that come and go do not", async () => {
  const take =
    "const a: unknown[] = []; for (let i = 0; i < 6; i++) a.push(new Uint8Array(16 << 20).fill(1)); ctx.defer(() => void a);";
  const churn = `const more = () => {
    for (let i = 0; i < 8; i++) new Uint8Array(1 << 20).fill(1);
    ctx.clock.after(1, more);
  };
  more();`;
  const beside = await node.isolate({ module: plugins.serving(`x: "still here"`, churn), limits: { memoryMb: 256 } });
  const p = await node.isolate({
    module: plugins.serving("", `ctx.clock.after(1, () => { ${take} })`),
    limits: { memoryMb: 64 },
  });
  assert.match((await node.info(p)).confinement, /buffers 64 MiB/);
  assert.deepEqual(await node.exited(p), { reason: "heap", text: "its array buffers take more than its 64 MiB" });
  assert.equal(await node.read(beside, "x"), "still here");
  await node.kill(beside);
});

Deno.test("stop() lets the plugin dispose, the last registered first; one that does not is killed", async () => {
  const order = plugins.write(`
    import { definePlugin, tree } from "ring9/plugin";
    export default definePlugin({
      start: (ctx) => {
        ctx.signal.addEventListener("abort", () => ctx.log("order: abort"));
        ctx.defer(() => ctx.log("order: first"));
        ctx.defer(() => { throw new Error("order: second fails"); });
        return tree({}, ctx);
      },
      stop: () => console.log("order: stop"),
    });`);
  await node.stop(await node.isolate({ module: order }));
  const said = (await node.logs()).filter((line) => line.includes("order:")).map((line) => line.split("\n")[0]);
  assert.deepEqual(said.map((line) => line.replace(/.*order: /, "")), ["stop", "abort", "first", "second fails"]);
  const p = await node.isolate({
    module: plugins.serving("", `ctx.defer(() => new Promise(() => {}))`),
    limits: { stopMs: 100 },
  });
  await node.stop(p);
  assert.equal((await node.exited(p)).reason, "killed");
});

Deno.test("without FFI a node goes on and says what it has not", async () => {
  const bare = new TestNode([
    "--allow-read",
    "--allow-write",
    "--allow-net",
    "--allow-env",
    "--allow-sys",
    "--allow-run",
  ]);
  const { lock } = await bare.locked();
  assert.equal(lock.permissions, true);
  assert.match(lock.missing.join(), /FFI is not permitted/);
  const p = await bare.isolate({ module: plugins.attempting({ text: ATTEMPTS["literal text import"] }) });
  assert.match(await bare.read(p, "text"), /not served/);
  await bare.end();
});

Deno.test("when the kernel isolate dies, the process does, with a status that says so", async () => {
  const doomed = new TestNode();
  await doomed.locked();
  assert.equal(await doomed.end("die"), 70);
});
