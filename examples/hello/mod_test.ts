import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { start } from "ring9/testing";
import hello from "./mod.ts";

const text = (name: string) => readFileSync(new URL(name, import.meta.url), "utf8");

Deno.test("hello: its files can be listed and read", async () => {
  await using running = await start(hello, { manifest: text("plugin.json") });
  const { files } = running;
  assert.deepEqual(await files.list("/"), ["hello", "whoami", "sub"]);
  assert.equal(await files.read("hello"), "hello, world\n");
  assert.equal(await files.as("rob").read("whoami"), "rob\n");
  assert.equal(await files.read("sub/time"), "2001-09-09T01:46:40.000Z\n");
  await assert.rejects(files.write("hello", "x"), { code: "EACCES" });
});

Deno.test("a useful plugin is ten lines of code at most", () => {
  const code = text("mod.ts").split("\n").filter((line) => line.trim() !== "" && !line.startsWith("/**"));
  assert(code.length <= 10, `${code.length} lines`);
});
