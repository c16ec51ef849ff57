import assert from "node:assert/strict";
import { start } from "../../core/plugin/testing.ts";
import plugin from "./mod.ts";

const manifest = await Deno.readTextFile(new URL("plugin.json", import.meta.url));

Deno.test("root has the directories that mounts go on, all empty", async () => {
  await using running = await start(plugin, { manifest });
  const names = await running.files.list("/");
  for (const name of ["dev", "net", "proc", "sys", "srv", "env", "fd", "n", "mnt", "bin", "lib", "tmp", "usr"]) {
    assert.ok(names.includes(name), name);
  }
  assert.deepEqual(await running.files.list("dev"), []);
  await assert.rejects(running.files.create("dev/x"), /permission denied/);
});

Deno.test("root takes directories and files from its options, and refuses those that clash", async () => {
  const options = { dirs: ["n/ram/", "/a b/über", "__proto__/x"], files: { "/lib/motd": "hello\n", "n/f": "" } };
  await using running = await start(plugin, { manifest, options });
  assert.deepEqual(await running.files.list("n"), ["host", "ram", "f"]);
  assert.deepEqual(await running.files.list("a b"), ["über"]);
  assert.deepEqual(await running.files.list("__proto__"), ["x"]);
  assert.equal(await running.files.read("lib/motd"), "hello\n");
  const wrong = [{ files: { "/": "" } }, { files: { "dev": "" } }, { files: { "f": "" }, dirs: ["g"] }, {
    files: { "f": "", "f/g": "" },
  }];
  await start(plugin, { manifest, options: wrong[2] });
  for (const options of [wrong[0], wrong[1], wrong[3]]) await assert.rejects(start(plugin, { manifest, options }));
});
