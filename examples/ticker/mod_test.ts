import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { OREAD } from "ring9/plugin";
import { start } from "ring9/testing";
import ticker from "./mod.ts";

const manifest = readFileSync(new URL("plugin.json", import.meta.url), "utf8");

Deno.test("ticker: a read waits for the next tick, and its period can be set while it runs", async () => {
  await using running = await start(ticker, { manifest, options: { periodMs: 100 } });
  const { files, clock } = running;
  const ticks = await files.open("ticks", OREAD);
  const first = ticks.read();
  clock.advance(99);
  clock.advance(1);
  assert.equal(await first, "1\n");
  clock.advance(200);
  assert.equal(await ticks.read() + await ticks.read(), "2\n3\n");
  await files.write("ctl", "period 5000");
  assert.equal(await files.read("ctl"), "period 5000\n");
  const slow = ticks.read();
  clock.advance(4999);
  clock.advance(1);
  assert.equal(await slow, "4\n");
  await running.stop();
  assert.equal(clock.pending, 0);
});
