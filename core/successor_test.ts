import assert from "node:assert/strict";
import { type Chan, Req, type User, type Walk } from "./dev.ts";
import { Err } from "./err.ts";
import { Export } from "./export.ts";
import type { Kernel } from "./kernel.ts";
import { bootKernel } from "./kernel_testing.ts";
import { MAFTER } from "./mount.ts";
import { MemDev } from "./ns_testdev.ts";
import type { MaybePromise } from "./p9/types.ts";
import type { Proc } from "./proc.ts";

const FILES = ["f", "sub/deep/f"];

/** `#a` alone on /n/a, and behind `#b` on /u. */
async function boot() {
  const booted = await bootKernel({ root: ["n/a/", "u/"] });
  await booted.kernel.register("a", new MemDev("old", FILES));
  await booted.kernel.register("b", new MemDev("b", ["only-b"]));
  await booted.init.bind("#a", "/n/a");
  await booted.init.bind("#b", "/u");
  await booted.init.bind("#a", "/u", MAFTER);
  return booted;
}

/** Every way to the file. */
function ask(init: Proc): Promise<string[]> {
  return Promise.all(["/n/a/f", "/u/f", "#a/f"].map((path) => init.readText(path)));
}

async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(() => done = true, () => done = true);
  for (let i = 0; i < 50; i++) await null;
  return done;
}

Deno.test("walks into a Dev that is suspended wait, and are answered by the one that comes in its place", async () => {
  const { kernel, init } = await boot();
  const fd = await init.open("/n/a/f");
  kernel.suspend("a", "plugin a died");
  const asked = ask(init), listed = init.list("/u");
  assert.ok(!await settled(asked) && !await settled(listed));
  assert.equal(
    await init.stat("/u/only-b").then((dir) => dir.name),
    "only-b",
    "another member's file waits for nobody",
  );
  await kernel.replace("a", new MemDev("new", FILES));
  assert.deepEqual(await asked, ["new:f", "new:f", "new:f"]);
  assert.deepEqual((await listed).map((dir) => dir.name).sort(), ["f", "only-b", "sub"]);
  await assert.rejects(init.read(fd, new Uint8Array(9)), { code: "ESTALE", message: "plugin a died" });
});

Deno.test("a wait ends after its limit, with a flush, when nobody comes, and when the Dev is unloaded", async () => {
  const { kernel, init, clock } = await boot();
  kernel.suspend("a", "plugin a died");
  const abort = new AbortController();
  const flushed = init.readText("/n/a/f", abort.signal), late = init.readText("/u/f");
  assert.ok(!await settled(flushed));
  abort.abort();
  await assert.rejects(flushed, { code: "EINTR" });
  clock.advance(5_000);
  await assert.rejects(late, { code: "ENXIO", message: /plugin a died, and is not back after 5000 ms/ });
  const waiting = init.readText("/u/f");
  assert.ok(!await settled(waiting));
  kernel.abandon("a", "plugin a is down");
  for (const asked of [waiting, init.readText("/n/a/f"), init.readText("/u/f"), init.readText("#a/f")]) {
    await assert.rejects(asked, { code: "ENXIO", message: /plugin a is down/ });
  }
  assert.deepEqual((await init.list("/u")).map((dir) => dir.name), ["only-b"], "a listing does without");
  kernel.suspend("a", "plugin a is being restarted");
  const again = init.readText("/n/a/f");
  assert.ok(!await settled(again));
  kernel.unregister("a", { force: true });
  await assert.rejects(again, /plugin a was unloaded/);
});

/** Answers nothing until it is let. */
class SlowDev extends MemDev {
  readonly gate = Promise.withResolvers<void>();
  asked = 0;
  override async attach(user: User, aname: string, req: Req) {
    this.asked++;
    await this.gate.promise;
    return await super.attach(user, aname, req);
  }
}

Deno.test("the old Dev answers until the new one has shown all that was mounted: no walk meets a hole", async () => {
  const { kernel, init } = await boot();
  const slow = new SlowDev("new", FILES);
  const replaced = kernel.replace("a", slow);
  for (let i = 0; slow.asked === 0; i++) assert.ok(await settled(Promise.resolve()) && i < 100);
  assert.deepEqual(await ask(init), ["old:f", "old:f", "old:f"]);
  await init.bind("#a/sub", "/n"); // hides the mount points there, and is found again too
  slow.gate.resolve();
  assert.deepEqual(await replaced, []);
  assert.equal(await init.readText("/n/deep/f"), "new:sub/deep/f");
  assert.equal(await init.readText("/u/f"), "new:f");
});

/** Fails, or dies under, what is asked of it. */
class DyingDev extends MemDev {
  dying: (() => void) | null = null;
  override walk(c: Chan<never>, names: string[], req: Req): MaybePromise<Walk<never>> {
    if (!this.dying) return super.walk(c, names, req) as MaybePromise<Walk<never>>;
    this.dying();
    return Promise.reject(new Err("ECONNRESET", "it closed the connection"));
  }
}

async function withDying(): Promise<{ kernel: Kernel; init: Proc; dev: DyingDev }> {
  const { kernel, init } = await boot();
  const dev = new DyingDev("dying", FILES);
  await kernel.replace("a", dev);
  return { kernel, init, dev };
}

Deno.test("a walk that was under way when its Dev died is walked in the one that comes", async () => {
  const { kernel, init, dev } = await withDying();
  dev.dying = () => kernel.suspend("a", "plugin a died");
  const asked = Promise.all([init.readText("/n/a/f"), init.readText("/u/sub/deep/f")]), listed = init.list("/u");
  assert.ok(!await settled(asked));
  await kernel.replace("a", new MemDev("new", FILES));
  assert.deepEqual(await asked, ["new:f", "new:sub/deep/f"]);
  assert.deepEqual((await listed).map((dir) => dir.name).sort(), ["f", "only-b", "sub"]);
});

Deno.test("a Dev that can not be asked for what was mounted takes nobody's place", async () => {
  const { kernel, init } = await boot();
  const broken = new SlowDev("broken", FILES);
  broken.gate.reject(new Err("EIO", "it is gone already"));
  await assert.rejects(kernel.replace("a", broken), /gone already/);
  assert.deepEqual(await ask(init), ["old:f", "old:f", "old:f"]);
  assert.deepEqual(await kernel.replace("a", new MemDev("new", FILES)), []);
  assert.deepEqual(await ask(init), ["new:f", "new:f", "new:f"]);
});

Deno.test("fids on mount points and on / go on with what has come there", async () => {
  const { kernel, init } = await boot();
  const files = new Export(init.pgrp), req = new Req(kernel.hostowner);
  const top = await files.attach(kernel.hostowner, "", req);
  const point = (await files.walk(top as never, ["n", "a"], req)).chan!;
  const inside = (await files.walk(top as never, ["n", "a", "f"], req)).chan!;
  await kernel.replace("a", new MemDev("new", [...FILES, "more"]));
  await kernel.replace("root", new MemDev("root2", ["n/a/", "u/", "fresh"]));
  const { chan } = await files.walk(point as never, ["more"], req);
  assert.ok(chan, "walked from the mount point");
  assert.equal((await files.stat(point as never, req)).qid.path, point.qid.path);
  assert.equal((await files.stat(top as never, req)).name, "/");
  assert.ok((await files.walk(top as never, ["fresh"], req)).chan, "walked from /");
  await assert.rejects(async () => await files.stat(inside as never, req), { code: "ESTALE" });
});
