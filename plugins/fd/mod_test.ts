import assert from "node:assert/strict";
import { Req } from "../../core/dev.ts";
import { type Code, Err } from "../../core/err.ts";
import { Export } from "../../core/export.ts";
import { bootKernel } from "../../core/kernel_testing.ts";
import { ORDWR, OREAD, OWRITE } from "../../core/p9/types.ts";
import plugin from "./mod.ts";

const boot = () => bootKernel({ plugins: { fd: plugin }, root: ["fd/", "f", "g"], binds: { "/fd": "#fd" } });
const code = (code: Code) => (thrown: unknown) => thrown instanceof Err && thrown.code === code;

Deno.test("a proc finds its own files by number, and may open them as they are open", async () => {
  const { kernel, init } = await boot();
  const r = await init.open("/f", OREAD), w = await init.open("/g", ORDWR);
  assert.deepEqual((await init.list("/fd")).slice(0, 4).map(({ name, mode }) => [name, mode]), [
    ["0", 0o400],
    ["0ctl", 0o400],
    ["1", 0o600],
    ["1ctl", 0o400],
  ]);
  assert.equal(await init.readText(`/fd/${r}`), "root:f");
  await init.writeText(`/fd/${w}`, "GG");
  assert.equal(await init.readText("/g"), "GGot:g");
  await assert.rejects(init.open(`/fd/${r}`, OWRITE), code("EACCES"));
  await assert.rejects(init.open("/fd/7"), code("ENOENT"));
  assert.match(await init.readText("/fd/1ctl"), /^ {2}1 rw #root \([0-9a-f]{16} 0 00\) {8}0 \/g\n$/);
  const twin = await init.open(`/fd/${r}`);
  await init.close(r);
  assert.equal(await init.pread(twin, new Uint8Array(9), 0), 6);
  assert.equal(kernel.openChans("root"), 2);
  await init.exit();
  assert.equal(kernel.openChans("root"), 0);
});

Deno.test("who is no proc finds nothing there", async () => {
  const { init } = await boot();
  await init.open("/f");
  const req = new Req(init.user), files = new Export(init.pgrp);
  const dir = await files.attach(init.user, "/fd", req);
  await assert.rejects(async () => await files.walk(dir as never, ["0"], req), code("ENOENT"));
  await files.open(dir as never, OREAD, req);
  assert.deepEqual(await files.readdir(dir as never, 0, 1000, true, req), []);
  await files.clunk(dir as never);
});
