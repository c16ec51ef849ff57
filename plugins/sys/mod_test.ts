/** /sys in a kernel of its own: hardware queues as files, and what /sys says where nobody moves threads. */

import assert from "node:assert/strict";
import { bootKernel } from "../../core/kernel_testing.ts";
import sys from "./mod.ts";

async function boot() {
  const { kernel, init } = await bootKernel({ plugins: { sys }, root: ["sys/"], binds: { "/sys": "#sys" } });
  kernel.queues.register({ name: "ether0/0", kind: "tap", handle: 41, counters: () => ({ frames: 7, drops: 2 }) });
  kernel.queues.register({ name: "sd0", kind: "block", handle: 42 });
  return { kernel, init };
}

Deno.test("a queue is a directory below the words of its name", async () => {
  const { init } = await boot();
  const names = async (path: string) => (await init.list(path)).map((d) => d.name).sort();
  assert.deepEqual(await names("/sys/queues"), ["ctl", "ether0", "sd0", "stats", "status"]);
  assert.deepEqual(await names("/sys/queues/ether0"), ["0"]);
  assert.deepEqual(await names("/sys/queues/ether0/0"), ["owner", "stats", "status"]);
  assert.equal(await init.readText("/sys/queues/ether0/0/owner"), "-\n");
  assert.match(await init.readText("/sys/queues/ether0/0/stats"), /frames 7\ndrops 2\n/);
  await assert.rejects(init.readText("/sys/queues/ether0/1/owner"), /does not exist/);
});

Deno.test("a queue is claimed, refused with its owner's name, handed over and revoked by text", async () => {
  const { kernel, init } = await boot(), ctl = "/sys/queues/ctl", owner = "/sys/queues/ether0/0/owner";
  await init.writeText(ctl, "claim ether0/0 capture");
  assert.equal(await init.readText(owner), "capture\n");
  await assert.rejects(init.writeText(ctl, "claim ether0/0 other"), /owned by capture/);
  await init.writeText(owner, "ip");
  assert.match(await init.readText("/sys/queues/ether0/0/status"), /state reserved\nowner ip\n/);
  await assert.rejects(init.writeText(ctl, "claim ether0/0 other"), /reserved for ip/);
  await assert.rejects(init.writeText(ctl, "release ether0/0"), /was not claimed here/);
  let told = "";
  const claim = kernel.queues.claim("ether0/0", { owner: "ip", onRevoke: (why) => void (told = why.reason) });
  await init.writeText(ctl, "revoke ether0/0 100");
  assert.ok(!claim.valid);
  assert.equal(told, "revoked by glenda");
  await assert.rejects(init.writeText(ctl, "revoke nothing"), /there is no queue nothing/);
  await assert.rejects(init.writeText(ctl, "revoke sd0 x"), /wanted an integer from 0 to 60000/);
  await assert.rejects(init.writeText(owner, "two words"), /wanted the name of the next owner/);
});

Deno.test("without anybody who moves threads /sys/cores says so, and the metrics go on", async () => {
  const { init } = await boot();
  await assert.rejects(init.readText("/sys/cores/status"), /nobody moves threads/);
  const text = await init.readText("/sys/metrics");
  assert.match(text, /^ring9_queue_events_total\{queue="ether0\/0",event="drops"\} 2$/m);
  assert.ok(text.endsWith("# EOF\n"));
});
