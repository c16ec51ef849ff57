import assert from "node:assert/strict";
import { Req } from "../../core/dev.ts";
import { Err } from "../../core/err.ts";
import { Export } from "../../core/export.ts";
import { bootKernel } from "../../core/kernel_testing.ts";
import { ORDWR, OREAD, OWRITE } from "../../core/p9/types.ts";
import plugin from "./mod.ts";

const boot = () => bootKernel({ plugins: { env: plugin }, root: ["env/"], binds: { "/env": "#env" } });

Deno.test("variables are created, written at offsets, truncated, listed and removed", async () => {
  const { init } = await boot();
  const fd = await init.create("/env/path", ORDWR);
  await init.write(fd, "/bin");
  await init.write(fd, ":/usr");
  await init.pwrite(fd, "/BIN", 0);
  await init.close(fd);
  assert.equal(await init.readText("/env/path"), "/BIN:/usr");
  assert.equal((await init.stat("/env/path")).length, 9);
  assert.equal(init.env.get("path"), "/BIN:/usr");
  init.env.set("home", "/usr/glenda");
  assert.deepEqual((await init.list("/env")).map((dir) => dir.name), ["path", "home"]);
  await init.close(await init.create("/env/path", OWRITE));
  assert.equal(await init.readText("/env/path"), "");
  await init.remove("/env/path");
  await assert.rejects(init.stat("/env/path"), /file does not exist/);
  const big = await init.create("/env/big");
  await assert.rejects(init.writeAll(big, new Uint8Array(65537)), (e) => e instanceof Err && e.code === "EFBIG");
});

Deno.test("each proc sees its own group through the same mount", async () => {
  const { init } = await boot();
  init.env.set("x", "1");
  const shares = init.spawn(), copies = init.spawn({ env: "copy" }), empty = init.spawn({ env: "empty" });
  init.env.set("x", "2");
  assert.equal(await shares.readText("/env/x"), "2");
  assert.equal(await copies.readText("/env/x"), "1");
  assert.deepEqual(await empty.list("/env"), []);
  await copies.writeText("/env/x", "3");
  assert.equal(await init.readText("/env/x"), "2");
});

Deno.test("a mounted client sees the first proc's variables when it is the hostowner", async () => {
  const { init } = await boot();
  init.env.set("x", "1");
  const files = new Export(init.pgrp);
  const look = async (name: string) => {
    const user = { name, uid: 5, gid: 5 }, req = new Req(user);
    const root = await files.attach(user, "/env", req);
    try {
      const found = await files.walk(root as never, ["x"], req);
      const c = await files.open(found.chan as never, OREAD, req);
      const dst = new Uint8Array(5);
      await files.read(c as never, dst, 0, req);
      await files.clunk(c as never);
      return dst[0];
    } finally {
      await files.clunk(root as never);
    }
  };
  assert.equal(await look("glenda"), 49);
  await assert.rejects(look("ken"), /the environment is glenda's, not ken's/);
});
