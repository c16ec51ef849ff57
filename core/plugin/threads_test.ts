/** Threads of a plugin: written as sequential code behind files, on the plugin's clock, gone with it. */

import assert from "node:assert/strict";
import { definePlugin, file, Rendez, type Sched, threads, tree } from "./author.ts";
import { start } from "./testing.ts";

Deno.test("a plugin's thread works what its files are given, in its own time, and ends with the plugin", async () => {
  let sched: Sched | undefined;
  const said: string[] = [], ended: string[] = [];
  const plugin = definePlugin({
    start(ctx) {
      const asked = new Rendez("asked"), words: string[] = [];
      sched = threads(ctx);
      sched.spawn(async (t) => {
        try {
          for (;;) {
            await t.sleep(asked, () => words.length > 0);
            said.push(words.shift()!);
            await t.delay(100);
          }
        } finally {
          ended.push(t.name);
        }
      }, { name: "speaker" });
      const ask = (text: string) => void (words.push(text), asked.wakeup());
      return tree({ ask: file({ message: ask }), threads: () => sched!.text() }, ctx);
    },
  });
  const { files, clock, stop } = await start(plugin);
  assert.equal(await files.read("threads"), "     1 Rendez   10 speaker (asked)\n");
  for (const word of ["one", "two"]) await files.write("ask", word);
  assert.deepEqual(said, ["one"]);
  clock.advance(100);
  await files.read("threads");
  assert.deepEqual(said, ["one", "two"]);
  await stop();
  assert.deepEqual(ended, ["speaker"]);
  assert.deepEqual(sched!.list(), []);
});
