/** Cores through a mount: given, pinned, refused, killed and watched by text in /sys; metrics; hardware queues. */

import assert from "node:assert/strict";
import type { Client } from "../../core/p9/client.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { treeThreads } from "../../core/host/procfs.ts";
import { allowedCpus } from "../../core/host/threads.ts";
import { libc } from "../../core/host/libc.ts";
import { formatCpus } from "../../core/sched/cpulist.ts";
import { bootNode, type TestNode } from "../node.ts";
import { parseOpenMetrics } from "../openmetrics.ts";
import { cpus, ffi, interop } from "../skip.ts";

libc(); // stays open, so it is no test's leak

/** Writes one command; throws the refusal. */
async function ctl(client: Client, path: string, command: string): Promise<void> {
  await using file = await client.open(path, 1);
  await file.write(new TextEncoder().encode(command), 0);
}

async function refused(client: Client, path: string, command: string, words: RegExp): Promise<void> {
  await assert.rejects(ctl(client, path, command), (e: Error) => {
    assert.match(e.message, words);
    return true;
  });
}

/** `key value` lines. */
async function values(client: Client, path: string): Promise<Record<string, string>> {
  const text = await client.readText(path);
  return Object.fromEntries(
    text.trim().split("\n").map((line) => [line.split(" ")[0], line.slice(line.indexOf(" ") + 1)]),
  );
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  for (let look = 0; look < 200; look++) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`it never came to this: ${what}`);
}

/** A plugin whose file `loop` never comes back, and whose file `pid` says what it is. */
async function writeLooper(node: TestNode): Promise<string> {
  const folder = `${node.dir}/looper`;
  await Deno.mkdir(folder);
  const manifest = { name: "looper", version: "1.0.0", api: 1, serves: "/n/looper", cores: { qdelay: 0 } };
  await Deno.writeTextFile(`${folder}/plugin.json`, JSON.stringify(manifest));
  await Deno.writeTextFile(
    `${folder}/mod.ts`,
    `import { definePlugin, tree } from "ring9/plugin";
export default definePlugin({ start: (ctx) => tree({ ok: "ok\\n", slow, loop: () => { for (;;); } }, ctx) });
const slow = () => {
  const end = performance.now() + 20;
  while (performance.now() < end);
  return "slow\\n";
};
`,
  );
  return folder;
}

/** Where Linux lets a thread of the node run. */
async function allowed(node: TestNode, tid: string): Promise<string> {
  const status = await Deno.readTextFile(`/proc/${node.pid}/task/${tid}/status`).catch(() => "");
  return /^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? "gone";
}

/** The process of the node itself: `deno task` starts it as its child. */
async function realNode(node: TestNode): Promise<TestNode> {
  const children = (await Deno.readTextFile(`/proc/${node.pid}/task/${node.pid}/children`)).trim().split(" ");
  return children[0] ? { ...node, pid: Number(children[0]) } : node;
}

interop(
  "a plugin is given a core, moved, pinned and refused by text; Linux agrees",
  { needs: [ffi, cpus(2)] },
  async () => {
    await using node = await bootNode();
    await using client = await node.connect();
    const real = await realNode(node), hello = "/sys/plugins/hello/ctl";
    await ctl(client, "/sys/plugins/ctl", "load hello cores 1");
    const { pid } = await values(client, "/sys/plugins/hello/stats");
    const { allocated } = await values(client, "/sys/plugins/hello/cores");
    assert.equal(await allowed(real, pid), allocated, "it is on its core");
    assert.notEqual(await allowed(real, String(real.pid)), allocated, "the main thread is not");
    assert.match(await client.readText(`/sys/cores/${allocated}/status`), /^state dedicated\nprovisioned hello\n/);
    assert.match(await client.readText("/sys/cores/status"), /^isolation (partition|cpuset|affinity)\n/);

    await refused(client, hello, "cores 4000", /cores: "4000" is no integer from 0 to 1024/);
    await refused(client, hello, "cores 1024", /cores to give, not 1024/);
    await refused(client, hello, "guaranteed 2", /guaranteed 2 is more than cores 1/);
    await refused(client, hello, "pin 1000", /there is no core 1000/);
    await refused(client, hello, "wired 0", /core 0 is the host's/);
    await refused(client, "/sys/cores/ctl", "set ram cores 1", /no isolate or process is called ram/);
    await refused(client, "/sys/cores/ctl", "host 1000", /there is no core 1000/);
    await refused(client, "/sys/cores/ctl", "allocator best", /none of: fcfs packed/);
    await assert.rejects(client.readText("/sys/cores/1000/status"));
    const rest = navigator.hardwareConcurrency - 1;
    await refused(
      client,
      "/sys/plugins/ctl",
      `load counter as late placement isolate cores ${rest}`,
      /can not guarantee/,
    );
    await assert.rejects(client.readText("/sys/plugins/late/status"), "what could not have its cores is not loaded");

    await ctl(client, hello, "want 0");
    await ctl(client, hello, "pin 0");
    assert.equal(await allowed(real, pid), "0");
    await ctl(client, hello, "pin none");
    await ctl(client, hello, "guaranteed 0");
    assert.match(await client.readText("/sys/cores/status"), /problems -\n/);
  },
);

interop("a process has a core with all of its threads, which an isolate had before, and is watched as one is", {
  needs: [ffi, cpus(2)],
}, async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const last = String(navigator.hardwareConcurrency - 1);
  await ctl(client, "/sys/plugins/ctl", `load hello cores cores:1,guaranteed:1,wired:${last}`);
  await ctl(client, "/sys/plugins/ctl", `load ${await writeLooper(node)} placement process`);
  const { pid } = await values(client, "/sys/plugins/looper/stats"), proc = "/sys/plugins/looper/ctl";
  await new Promise((resolve) => setTimeout(resolve, 50)); // there is a wall by now, and the process is behind it
  await refused(client, "/sys/cores/ctl", `set looper cores 1 guaranteed 1 wired ${last}`, /can not guarantee/);
  await ctl(client, "/sys/cores/ctl", "set hello guaranteed 0 cores 0 want auto wired none");
  await ctl(client, "/sys/cores/ctl", `set looper cores 1 guaranteed 1 wired ${last}`);
  const tids = treeThreads(Number(pid));
  assert.ok(tids.length > 3);
  for (const tid of tids) assert.equal(formatCpus(allowedCpus(tid)), last);
  assert.match(await client.readText("/sys/cores/status"), /problems -\n/);
  await ctl(client, proc, "watchdog 500");
  await client.readText("/n/looper/loop").catch((e) => e);
  await until(
    "killed by the watchdog",
    async () => /generation 2/.test(await client.readText("/sys/plugins/looper/status")),
  );
  assert.match(await client.readText("/sys/log"), /cores: looper: no heartbeat for 500 ms: it is killed/);
});

interop("an isolate in an endless loop is killed by ctl, and by the watchdog; or told of and left alone", {
  needs: [ffi],
}, async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", `load ${await writeLooper(node)}`);
  const looper = "/sys/plugins/looper";
  const generation = async () => (await values(client, `${looper}/status`)).generation;

  const cpuMs = async () => Number((await values(client, `${looper}/stats`)).cpu_ms);
  /** Its loop is entered: a request that had not come so far would be asked of the next generation. */
  const enter = async () => {
    const before = await cpuMs(), reading = client.readText("/n/looper/loop").catch((e) => e);
    await until("in its loop", async () => await cpuMs() > before + 100);
    return { reading };
  };
  const first = await enter();
  await ctl(client, `${looper}/ctl`, "kill");
  await first.reading;
  await until(
    "it serves again",
    async () => await generation() === "2" && await client.readText("/n/looper/ok") === "ok\n",
  );

  await ctl(client, `${looper}/ctl`, "watchdog 500");
  await client.readText("/n/looper/loop").catch((e) => e);
  await until("killed by the watchdog", async () => await generation() === "3");
  assert.match(await client.readText("/sys/log"), /looper: died: hung: no heartbeat for 500 ms/);

  await using events = await client.open("/sys/cores/event");
  const event = events.read(new Uint8Array(200), 0);
  await ctl(client, `${looper}/ctl`, "hang report");
  const left = await enter();
  await until("told of", async () => Number((await values(client, `${looper}/stats`)).hangs) > 0);
  assert.equal(await generation(), "3", "and left alone");
  assert.ok(Number(await event) > 0, "an event was there to be read");
  assert.match(await client.readText("/sys/log"), /cores: looper: no heartbeat for 500 ms: it is left alone/);
  await ctl(client, `${looper}/ctl`, "kill");
  await left.reading;
});

interop("requests that wait too long bring a plugin a core, and it goes back when they are few", {
  needs: [ffi, cpus(2)],
}, async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", `load ${await writeLooper(node)} cores cores:1,qdelay:4000`);
  const state = () => values(client, "/sys/plugins/looper/cores");
  assert.equal((await state()).allocated, "-");
  let asking = true;
  const askers = Array.from({ length: 4 }, async () => {
    while (asking) await client.readText("/n/looper/slow").catch(() => asking = false);
  });
  await until("it has a core", async () => (await state()).allocated !== "-");
  asking = false;
  await Promise.all(askers);
  assert.match(await client.readText("/sys/log"), /looper: a request has waited [\d.]+ ms: gets core \d+/);
  await until("it has given it back", async () => (await state()).allocated === "-");
  const delays = parseOpenMetrics(await client.readText("/sys/metrics"))
    .find((s) => s.name === "ring9_isolate_queue_delay_seconds_sum" && s.labels.isolate === "looper");
  assert.ok(delays!.value > 0);
});

interop("a promised core whose owner rests is lent to who wants one, and back at the owner's next request", {
  needs: [ffi, cpus(2)],
}, async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  const last = String(navigator.hardwareConcurrency - 1);
  await ctl(client, "/sys/plugins/ctl", `load hello cores cores:1,guaranteed:1,wired:${last},lend:100`);
  await ctl(client, "/sys/plugins/ctl", `load ${await writeLooper(node)} cores cores:1,want:1,wired:${last}`);
  const state = (name: string) => values(client, `/sys/plugins/${name}/cores`);
  assert.match((await state("looper")).unmet, /no core of \d+ is free/);
  await until("it is lent", async () => (await state("looper")).allocated === last);
  const hello = await state("hello");
  assert.deepEqual([hello.allocated, hello.provisioned, hello.lent], ["-", last, "1"]);
  assert.match(await client.readText(`/sys/cores/${last}/status`), /provisioned hello\nallocated looper\nlent 1\n/);
  await client.readText("/n/hello/hello");
  assert.equal((await state("hello")).allocated, last, "it has it when it answers");
  assert.equal((await state("looper")).allocated, "-");
});

Deno.test("/sys/metrics is OpenMetrics, and counts a known amount of work exactly", async () => {
  await using node = await bootNode();
  await using client = await node.connect();
  await ctl(client, "/sys/plugins/ctl", "load hello");
  await using file = await client.open("/n/hello/hello");
  const samples = async () => parseOpenMetrics(await client.readText("/sys/metrics"));
  const sum = async (name: string, labels: Record<string, string>) =>
    (await samples()).filter((s) =>
      s.name === `ring9_${name}` && Object.entries(labels).every(([key, value]) => s.labels[key]?.startsWith(value))
    ).reduce((total, { value }) => total + value, 0);
  const there = { from: "kernel", to: "hello." }, back = { from: "hello.", to: "kernel" }, mine = { isolate: "hello" };
  const counted = async () => ({
    messages: await sum("ring_messages_total", there),
    bytes: await sum("ring_bytes_total", there),
    answers: await sum("ring_messages_total", back),
    answered: await sum("ring_bytes_total", back),
  });
  const before = await counted(),
    waits = async () =>
      (await sum("isolate_spun_total", mine)) +
      (await sum("isolate_parked_total", mine));
  const waitsBefore = await waits(), scheduledBefore = await sum("isolate_scheduled_total", mine);
  const into = new Uint8Array(64), text = await file.read(into, 0), READS = 200, TREAD = 23, RREAD = 11;
  for (let i = 1; i < READS; i++) await file.read(into, 0);
  const after = await counted();
  assert.deepEqual(after, {
    messages: before.messages + READS,
    bytes: before.bytes + READS * TREAD,
    answers: before.answers + READS,
    answered: before.answered + READS * (RREAD + text),
  });
  assert.equal(await sum("ring_unread_bytes", there), 0);
  await until("a wait for most of them is told with a heartbeat", async () => await waits() > waitsBefore + READS / 4);
  assert.ok(await waits() <= waitsBefore + READS + 10);
  assert.ok(await sum("isolate_scheduled_total", mine) > scheduledBefore);
  assert.ok(await sum("isolate_heap_bytes", { ...mine, kind: "used" }) > 1e5);
  const names = new Set((await samples()).map((s) => s.name));
  for (const name of ["core_info", "isolate_cpu_seconds_total", "isolate_queue_delay_seconds_bucket"]) {
    assert.ok(names.has(`ring9_${name}`), name);
  }
});

Deno.test("only the hostowner changes cores and queues; others read", async () => {
  await using node = await bootNode();
  await using client = await node.connect({ uname: "glenda", uid: 4711 });
  assert.match(await client.readText("/sys/cores/topology"), /^cpu siblings/);
  for (const path of ["/sys/cores/ctl", "/sys/cores/0/ctl", "/sys/queues/ctl"]) {
    await assert.rejects(client.open(path, ORDWR), /permission denied/);
  }
  assert.match(await client.readText("/sys/queues/status"), /^(\S+ \w+ (free|owned \S+) \d+\n)*$/);
});
