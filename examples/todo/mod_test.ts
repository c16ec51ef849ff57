import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { start } from "ring9/testing";
import todo from "./mod.ts";

const manifest = readFileSync(new URL("plugin.json", import.meta.url), "utf8");

Deno.test("todo: the resources of the API are directories that are made, changed and removed as files", async () => {
  await using running = await start(todo, { manifest });
  const { files } = running;
  await files.write("add", "buy milk\n");
  await files.write("add", "write a kernel\n");
  assert.deepEqual(await files.list("todos"), ["1", "2"]);
  assert.equal(await files.read("todos/1/title"), "buy milk\n");
  await files.write("todos/1/done", "true\n");
  await files.write("todos/2/json", '{"title": "write a microkernel"}');
  assert.deepEqual(JSON.parse(await files.read("todos.json")), [
    { id: 1, title: "buy milk", done: true, created: "2001-09-09T01:46:40.000Z" },
    { id: 2, title: "write a microkernel", done: false, created: "2001-09-09T01:46:40.000Z" },
  ]);
  await files.remove("todos/1");
  assert.deepEqual(await files.list("todos"), ["2"]);
  await assert.rejects(files.read("todos/1/title"), { code: "ENOENT" });
});

Deno.test("todo: what the API refuses is an error of the file", async () => {
  await using running = await start(todo, { manifest, options: { limit: 1 } });
  const { files } = running;
  await files.write("add", "only this");
  await assert.rejects(files.write("add", "more"), { code: "EINVAL", message: "there are 1 already" });
  await assert.rejects(files.write("todos/1/json", '{"title": 5, "done": true}'), {
    message: "a title is text, and not empty",
  });
  await assert.rejects(files.write("todos/1/json", "{"), { code: "EINVAL" });
  await assert.rejects(files.remove("todos/1/title"), { code: "EACCES" });
  await assert.rejects(files.read("todos/01/title"), { code: "ENOENT" });
  assert.equal(await files.read("todos/1/done"), "false\n");
});
