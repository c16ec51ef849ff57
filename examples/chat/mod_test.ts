import assert from "node:assert/strict";
import { ORDWR, OREAD } from "ring9/plugin";
import { start } from "ring9/testing";
import chat from "./mod.ts";

Deno.test("chat: a read waits until someone speaks, and all hear it", async () => {
  await using running = await start(chat);
  const { files } = running;
  const rob = await files.as("rob").open("room", ORDWR), ken = await files.as("ken").open("room", OREAD);
  const heard = [rob.read(), ken.read()];
  await files.write("room", "anyone here?\n");
  assert.deepEqual(await Promise.all(heard), ["glenda: anyone here?\n", "glenda: anyone here?\n"]);
  await rob.write("yes");
  assert.equal(await ken.read(), "rob: yes\n");
  assert.equal(await files.read("history"), "glenda: anyone here?\nrob: yes\n");
  assert.equal(await files.read("readers"), "2\n");
});

Deno.test("chat: a read that is given up takes nothing with it, and unloading ends those that wait", async () => {
  const running = await start(chat);
  const rob = await running.files.open("room", OREAD);
  const impatient = new AbortController();
  const first = rob.read(100, impatient.signal);
  impatient.abort();
  await assert.rejects(first, { code: "EINTR" });
  await running.files.write("room", "hello");
  assert.equal(await rob.read(), "glenda: hello\n");
  const last = rob.read();
  await running.stop();
  assert.equal(await last, "");
});
