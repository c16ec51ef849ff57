/** Clients that go on walking into a plugin's tree while it is reloaded, restarted, killed, and given up. */

import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import type { Client } from "../../core/p9/client.ts";
import { bootNode } from "../node.ts";

/** How often it is reloaded at each placement; a process takes its time to start. */
const RELOADS = { inline: 50, isolate: 50, process: 15 };

/** A plugin of one file that can be told to die; with `broken` it starts only once. */
async function writePlugin(dir: string, { restart = "permanent" as unknown } = {}): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  const manifest = { name: "swapped", version: "1.0.0", api: 1, serves: ["/n/swapped"], restart };
  await Deno.writeTextFile(`${dir}/plugin.json`, JSON.stringify(manifest));
  const code = `import { ctl, definePlugin, event, tree } from "ring9/plugin";
export default definePlugin({
  start: (ctx) => tree({
    text: "here",
    sub: { deep: "deep" },
    never: event(),
    ctl: ctl({ crash() { queueMicrotask(() => { throw new Error("oops"); }); } }),
  }, ctx),
});
`;
  await Deno.writeTextFile(`${dir}/mod.ts`, code);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function write(client: Client, path: string, text: string): Promise<void> {
  const file = await client.open(path, 1);
  try {
    await file.write(new TextEncoder().encode(text), 0);
  } finally {
    await file.close();
  }
}

/** Runs until `stop()`: every way to look at the tree, over and over; what failed, and how often, by code. */
function lookers(clients: Client[]): { stop(): Promise<Record<string, number>>; looks: () => number } {
  let going = true, looks = 0;
  const failed: Record<string, number> = {};
  const ways: ((client: Client) => Promise<unknown>)[] = [
    async (client) => assert.ok((await client.stat("/n/swapped/text")).length > 0),
    async (client) => assert.equal(await client.readText("/n/swapped/text"), "here"),
    async (client) => assert.equal(await client.readText("/n/swapped/sub/deep"), "deep"),
    async (client) =>
      assert.deepEqual((await client.list("/n/swapped")).map((dir) => dir.name).sort(), [
        "ctl",
        "never",
        "sub",
        "text",
      ]),
    // In a union the members before and after it do not have the name.
    async (client) => assert.equal(await client.readText("/dev/text"), "here"),
    async (client) => assert.ok((await client.list("/dev")).some((dir) => dir.name === "text"), "not listed in /dev"),
  ];
  const loops = clients.flatMap((client) =>
    ways.map(async (look) => {
      while (going) {
        try {
          await look(client);
          looks++;
        } catch (e) {
          // 9P2000 carries the text alone.
          const text = (e as Error).message, stale = /was replaced|is being restarted|was stopped|died/.test(text);
          const kind = stale ? "ESTALE" : e instanceof Err ? `${e.code}: ${text}` : text;
          failed[kind] = (failed[kind] ?? 0) + 1;
        }
        await pause(20);
      }
    })
  );
  return {
    looks: () => looks,
    async stop() {
      going = false;
      await Promise.all(loops);
      return failed;
    },
  };
}

for (const [placement, reloads] of Object.entries(RELOADS)) {
  Deno.test(`${placement}: no client ever misses a tree that is reloaded ${reloads} times, restarted and killed`, async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    await writePlugin(`${node.dir}/swapped`, { restart: { intensity: [100, 1] } });
    await write(client, "/sys/plugins/ctl", `load ${node.dir}/swapped placement ${placement}`);
    await write(client, "/proc/1/ns", "bind -a '#swapped' /dev\n");
    const clients = [await node.connect(), await node.connect({ dialects: ["9P2000"] })];
    const looking = lookers(clients);
    for (let i = 0; i < reloads; i++) {
      const before = looking.looks();
      await write(client, "/sys/plugins/swapped/ctl", "reload");
      while (looking.looks() === before) await pause(1);
    }
    for (let i = 0; i < 3; i++) await write(client, "/sys/plugins/swapped/ctl", "restart");
    // An inline plugin can not be killed: it is the kernel.
    for (let i = 0; i < 3 && placement !== "inline"; i++) {
      await write(client, "/n/swapped/ctl", "crash").catch(() => {}); // it may be gone before it answers
      const restarts = new RegExp(`^restarts ${i + 1}$`, "m");
      while (!restarts.test(await client.readText("/sys/plugins/swapped/status"))) {
        await pause(5);
      }
      assert.equal(await client.readText("/n/swapped/text"), "here", "asked while it is down");
    }
    const failed = await looking.stop();
    for (const one of clients) await one.close();
    delete failed.ESTALE; // A file that was found in the old one, and opened or read when the new one was there.
    assert.deepEqual(failed, {});
  });
}

Deno.test("a plugin that is given up is told as down, by its name, and is found again when it comes back", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  await writePlugin(`${node.dir}/swapped`, { restart: "temporary" });
  await write(client, "/sys/plugins/ctl", `load ${node.dir}/swapped`);
  await write(client, "/proc/1/ns", "bind -a '#swapped' /dev\n");
  await write(client, "/n/swapped/ctl", "crash").catch(() => {}); // it may be gone before it answers
  while (!/^state failed$/m.test(await client.readText("/sys/plugins/swapped/status"))) await pause(5);
  for (const path of ["/n/swapped/text", "/n/swapped", "/dev/text", "/dev/sub/deep"]) {
    await assert.rejects(client.stat(path), { code: "ENXIO", message: /plugin swapped is down/ }, path);
  }
  assert.ok((await client.list("/dev")).some((dir) => dir.name === "null"), "the rest of a union is there");
  await write(client, "/sys/plugins/swapped/ctl", "restart");
  assert.equal(await client.readText("/n/swapped/text"), "here");
  assert.equal(await client.readText("/dev/text"), "here");
});

Deno.test("every plugin of the default image is reloaded and restarted under a client that stays", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const names = (await client.readText("/sys/plugins/status")).trim().split("\n").map((line) => line.split(" ")[0]);
  assert.ok(names.includes("root") && names.includes("sys"), names.join(" "));
  const mounts = await client.readText("/proc/1/ns");
  for (const command of ["reload", "restart"]) {
    for (const name of names) {
      await write(client, "/sys/plugins/ctl", `${command} ${name}`);
      const what = `after ${command} ${name}`;
      assert.equal((await client.stat("/")).name, "/", what);
      await client.writeFile("/tmp/file", what);
      assert.equal(await client.readText("/tmp/file"), what);
      assert.ok((await client.list("/dev")).some((dir) => dir.name === "cons"), what);
      assert.equal(await client.readText("/proc/1/ns"), mounts, what);
    }
  }
});
