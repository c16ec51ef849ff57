import assert from "node:assert/strict";
import { type Code, Err } from "../../core/err.ts";
import { bootKernel } from "../../core/kernel_testing.ts";
import { OREAD, OWRITE } from "../../core/p9/types.ts";
import { CoreControl } from "../../core/sched/control.ts";
import type { CoreHost } from "../../core/sched/core_host.ts";
import { madeTopology } from "../../core/sched/topology.ts";
import plugin from "./mod.ts";

const boot = () =>
  bootKernel({ plugins: { proc: plugin }, root: ["proc/", "n/it's/", "f"], binds: { "/proc": "#proc" } });
const code = (code: Code) => (thrown: unknown) => thrown instanceof Err && thrown.code === code;
const ken = { name: "ken", uid: 2, gid: 2 };

Deno.test("each proc is a directory, which goes with it", async () => {
  const { init } = await boot();
  const child = init.spawn({ name: "sh", user: ken });
  assert.deepEqual((await init.list("/proc")).map((dir) => [dir.name, dir.uid]), [["1", "glenda"], ["2", "ken"]]);
  assert.deepEqual((await init.list("/proc/2")).map((dir) => dir.name), [
    "ctl",
    "status",
    "ns",
    "fd",
    "note",
    "wait",
    "stats",
  ]);
  await child.exit();
  assert.deepEqual((await init.list("/proc")).map((dir) => dir.name), ["1"]);
  for (const name of ["2", "01", "x", "1e0"]) await assert.rejects(init.stat(`/proc/${name}`), code("ENOENT"), name);
});

Deno.test("status has the twelve fields of proc(3), fd a line an open file, stats its counters", async () => {
  const { init, clock } = await boot();
  clock.advance(1234);
  const status = await init.readText("/proc/1/status");
  assert.deepEqual(status.trim().split(/ +/), ["init", "glenda", "Waiting", ..."0 0 1234 0 0 0 0 10 10".split(" ")]);
  assert.equal(status.indexOf("Waiting"), 56);
  const fd = await init.open("/f");
  await init.read(fd, new Uint8Array(3));
  assert.match(await init.readText("/proc/1/fd"), /^\/\n {2}0 r {2}#root \([0-9a-f]{16} 0 00\) {8}3 \/f\n/);
  const stats = await init.readText("/proc/1/stats");
  assert.match(stats, /^calls \d+\nerrors 0\nopens 4\n/);
});

Deno.test("ns reads as what rebuilds the name space, and takes lines that change it", async () => {
  const { init } = await boot();
  await init.writeText("/proc/1/ns", "bind -a '#proc' '/n/it''s'\n");
  const text = "bind -c '#proc' /proc\nbind -a '#proc' '/n/it''s'\ncd /\n";
  assert.equal(await init.readText("/proc/1/ns"), text);
  const child = init.spawn({ ns: "empty" });
  await init.writeText(`/proc/${child.pid}/ns`, text);
  assert.equal(child.nsText(), text);
  await assert.rejects(init.writeText("/proc/1/ns", "bind /x /y"), /\/proc\/1\/ns:1: bind: \/x: file does not exist/);
  const other = init.spawn({ user: ken });
  await assert.rejects(
    other.writeText("/proc/1/ns", "unmount /proc"),
    /the name space of proc 1 is for glenda, not for ken/,
  );
});

Deno.test("ctl ends, stops, and closes; for its owner and the hostowner alone", async () => {
  const { init } = await boot();
  const child = init.spawn({ user: ken }), other = init.spawn({ user: { name: "rob", uid: 3, gid: 3 } });
  const ctl = (text: string, by = init, pid = child.pid) => by.writeText(`/proc/${pid}/ctl`, text);
  await assert.rejects(ctl("kill", other), /the ctl of proc 2 is for ken, not for rob/);
  await assert.rejects(ctl("dance"), /unknown command "dance"/);
  await ctl("stop\n");
  assert.equal(child.state, "Stopped");
  await ctl("start");
  const fd = await child.open("/f");
  await ctl(`close ${fd}`);
  await assert.rejects(ctl(`close ${fd}`), code("EBADF"));
  await child.open("/f");
  await ctl("closefiles");
  assert.deepEqual(child.fgrp.entries(), []);
  await assert.rejects(ctl("name ''", child), code("EINVAL"));
  await ctl("name editor", child);
  assert.equal(child.name, "editor");
  await ctl("kill out of ideas");
  assert.equal((await init.wait()).status, "out of ideas");
  assert.equal(
    await init.readText("/proc/1/ctl").then((text) => text.split("\n")[0].split("\t")[0]),
    "kill [note:text]",
  );
});

Deno.test("the first proc is not ended: what is served is its name space", async () => {
  const { init } = await boot();
  const first = { code: "EPERM", message: /ends with the node/ };
  for (const [file, text] of [["ctl", "kill"], ["ctl", "kill now"], ["ctl", "note hangup"], ["note", "hangup"]]) {
    await assert.rejects(init.writeText(`/proc/1/${file}`, text), first);
  }
  await assert.rejects(init.write(await init.open("/proc/1/note", OWRITE), new Uint8Array()), first);
  assert.equal(init.exitStatus, null);
  assert.match(await init.readText("/proc/1/status"), /^init /);
});

Deno.test("note posts; one who reads it catches the notes", async () => {
  const { init } = await boot();
  const child = init.spawn();
  const notes = await init.open(`/proc/${child.pid}/note`, OREAD);
  const into = new Uint8Array(100);
  const reading = init.read(notes, into);
  await init.writeText(`/proc/${child.pid}/note`, "interrupt\n");
  assert.equal(new TextDecoder().decode(into.subarray(0, await reading)), "interrupt");
  await assert.rejects(init.open(`/proc/${child.pid}/note`, OREAD), code("EBUSY"));
  const giveUp = new AbortController();
  const never = init.read(notes, into, giveUp.signal);
  giveUp.abort();
  await assert.rejects(never, code("EINTR"));
  await init.close(notes);
  await init.writeText(`/proc/${child.pid}/note`, "hangup");
  assert.equal((await init.wait()).status, "hangup");
});

Deno.test("wait blocks until a child ends", async () => {
  const { init, clock } = await boot();
  const fd = await init.open("/proc/1/wait");
  const into = new Uint8Array(100);
  await assert.rejects(init.read(fd, into), code("ECHILD"));
  const child = init.spawn();
  const reading = init.read(fd, into);
  clock.advance(20);
  await child.exit("it's done");
  assert.equal(new TextDecoder().decode(into.subarray(0, await reading)), "2 0 0 20 'it''s done'\n");
  await assert.rejects(init.open("/proc/1/wait", OWRITE), code("EACCES"));
});

Deno.test("a program asks for cores at its ctl; only the hostowner guarantees them", async () => {
  const { kernel, init, clock } = await boot();
  const child = init.spawn({ name: "solver", user: ken });
  await assert.rejects(init.writeText("/proc/2/ctl", "want 1"), /nobody moves threads/);
  const told: string[] = [];
  const host: CoreHost = {
    place: ({ placements }) => (told.push(placements.map((p) => `${p.name} ${p.cpus}`).join()), []),
    schedule() {},
    shield() {},
    cpuMs: () => 0,
    status: () => "",
    cpuCounters: () => ({}),
    threadCounters: () => ({}),
    close() {},
  };
  const topology = madeTopology({ packages: 1, cores: 4, threads: 1 });
  kernel.cores = new CoreControl({ clock, topology, host, log: () => {}, keep: () => false });
  await assert.rejects(init.writeText("/proc/2/ctl", "want 1"), /no isolate or process is called proc.2/);
  const none = {
    moved() {},
    spin() {},
    queue: () => undefined,
    watchdog() {},
    onWork() {},
    counters: () => ({}),
    kill: async () => {},
  };
  kernel.cores.join("proc.2", { id: "worker-1", tids: () => [11], ...none }, {});
  await child.writeText("/proc/2/ctl", "wired 2-3\nwant 2");
  assert.equal(told.at(-1), "proc.2 2,3");
  await assert.rejects(child.writeText("/proc/2/ctl", "min 1"), /cores are guaranteed by glenda, not by ken/);
  await init.writeText("/proc/2/ctl", "min 1");
  assert.equal(kernel.cores.client("proc.2").row.guaranteed, 1);
  await child.writeText("/proc/2/ctl", "yield 3");
  assert.equal(told.at(-1), "proc.2 2");
  await assert.rejects(child.writeText("/proc/2/ctl", "want 4"), /there are 3 cores to give, not 4/);
});
