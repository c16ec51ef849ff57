import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { start } from "ring9/testing";
import counter from "./mod.ts";

const manifest = readFileSync(new URL("plugin.json", import.meta.url), "utf8");

Deno.test("counter: ctl commands change the count", async () => {
  await using running = await start(counter, { manifest, options: { start: 5 } });
  const { files } = running;
  await files.write("ctl", "add\nadd 10\nstep 3\nadd\n");
  assert.equal(await files.read("count"), "19\n");
  assert.deepEqual(JSON.parse(await files.read("stats")), { count: 19, step: 3, changes: 3 });
  await files.write("ctl", "reset");
  assert.equal(await files.read("count"), "5\n");
});

Deno.test("counter: a bad command is refused, and says what is wanted", async () => {
  await using running = await start(counter, { manifest });
  const { files } = running;
  await assert.rejects(files.write("ctl", "add\nstep 0"), /n is "0", wanted an integer from 1 to 1000/);
  await assert.rejects(
    files.write("ctl", "jump"),
    /unknown command "jump"; the commands are: reset; add \[n:int\]; step/,
  );
  assert.equal(await files.read("count"), "0\n");
  assert.match(await files.read("ctl"), /^reset\tback to where it started\n/);
  await assert.rejects(files.as("rob").write("ctl", "reset"), { code: "EACCES" });
});
