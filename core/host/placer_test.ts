/**
 * Threads moved to cores on this host; cgroups made and removed on it, and on made-up ones; interrupts kept off.
 *
 * The runtime's threads are moved too, so the placements run in a process of their own (testdata/placing.ts).
 */

import assert from "node:assert/strict";
import { until } from "../../tests/interop/host.ts";
import { cpus, ffi, interop, noteSkipped, root } from "../../tests/skip.ts";
import { formatCpus } from "../sched/cpulist.ts";
import { Cpuset } from "./cpuset.ts";
import { exists } from "./cpuset_groups.ts";
import { Irqs } from "./irqs.ts";
import { libc } from "./libc.ts";
import { cpuTimes, setSchedule, sliceUs, threadCounters } from "./sched.ts";
import { allowedCpus, gettid } from "./threads.ts";

libc(); // stays open, so it is no test's leak

interop("a dedicated core has its one thread, and the runtime's others are elsewhere", {
  needs: [ffi, cpus(2)],
}, async () => {
  const main = new URL("./testdata/placing.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command("setsid", {
    args: ["-w", Deno.execPath(), "run", "-A", main],
  })
    .output(); // a session of its own, which the shield is against
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const told = JSON.parse(new TextDecoder().decode(stdout));
  assert.deepEqual(told.problems, []);
  assert.deepEqual(told.owner, [told.cpu], "the owner is on its core");
  assert.ok(told.others.length > 3, "the runtime has threads");
  for (const { name, cpus } of told.others) assert.ok(!cpus.includes(told.cpu), `${name} may run on core ${told.cpu}`);
  assert.match(told.status, /^isolation (partition|cpuset|affinity)\n/);
  if (told.status.startsWith("isolation cpuset")) assert.deepEqual(told.groups, 1, "the owner's cgroup was there");
  const all = told.shield[0], shields = told.status.startsWith("isolation cpuset") && Deno.uid() === 0;
  const expected = shields ? [all, all, told.shared, all, all] : [all, all, all, all, all];
  assert.deepEqual(
    told.shield,
    expected,
    "a process of the session: before, placed, shielded, not any more, at the end",
  );
  assert.equal(told.groupsAfter, 0, "no cgroup stays behind");
  assert.deepEqual(told.strays, [], "a thread that was born on the core later is moved away");
  assert.deepEqual(told.after, told.before, "given back, the core is everybody's again");
});

interop("who was kept off a core by a shield is put back when the node is killed", {
  needs: [ffi, root, cpus(2)],
}, async (t) => {
  const main = new URL("./testdata/shielding.ts", import.meta.url).pathname;
  const args = ["-w", Deno.execPath(), "run", "-A", main]; // a session of its own, which the shield is against
  const child = new Deno.Command("setsid", { args, stdout: "piped" }).spawn();
  const reader = child.stdout.getReader(), told = JSON.parse(new TextDecoder().decode((await reader.read()).value));
  const left = () => told.groups.filter((group: string) => exists(group));
  try {
    if (!told.shields) return noteSkipped(t.name, `needs cpusets of version 1: ${told.status}`);
    assert.equal(told.shielded, told.shared);
    assert.ok(left().length >= 2);
    const first = left().find((group: string) => group.includes("/ring9first-"));
    if (first) assert.equal(Deno.readTextFileSync(`${first}/tasks`), `${told.pid}\n`, "the owner alone comes first");
    Deno.kill(told.pid, "SIGKILL");
    await until("the guard has put it back", 20_000, async () => left().length === 0 ? true : undefined);
    assert.equal(formatCpus(allowedCpus(told.other)), told.before);
  } finally {
    for (const pid of [told.pid, told.other]) if (exists(`/proc/${pid}`)) Deno.kill(pid, "SIGKILL");
    await Promise.all([reader.cancel(), child.status]);
  }
});

interop("what a killed node has left of cgroups is removed by the next one", { needs: [root] }, () => {
  const dir = Deno.makeTempDirSync(), proc = `${dir}/proc`, cgroup = `${dir}/cgroup`;
  try {
    fakeV2(cgroup, proc);
    Deno.mkdirSync(`${cgroup}/app/ring9cores-99-5-4`);
    Deno.mkdirSync(`${cgroup}/app/ring9cores-98-5-40`);
    Deno.mkdirSync(`${cgroup}/app/ring9cores-77-123-4`);
    Deno.mkdirSync(`${cgroup}/app/other`);
    const names = () => [...Deno.readDirSync(`${cgroup}/app`)].filter((d) => d.isDirectory).map((d) => d.name).sort();
    new Cpuset({ cgroup, proc });
    const left = names();
    assert.deepEqual(left, ["other", "ring9cores-77-123-4", "ring9cores-98-5-40"], "77 lives, 99 does not, and 98 may");
    Deno.removeSync(`${proc}/self/ns/pid`);
    Deno.symlinkSync("pid:[4026531836]", `${proc}/self/ns/pid`);
    Deno.mkdirSync(`${proc}/77/ns`);
    Deno.symlinkSync("pid:[4]", `${proc}/77/ns/pid`);
    new Cpuset({ cgroup, proc });
    assert.deepEqual(names(), ["other", "ring9cores-77-123-4"], "who sees all knows that nobody is left where 98 was");
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("cgroup v2 without the cpuset controller, or none at all, is affinity alone, with the reason", () => {
  const dir = Deno.makeTempDirSync(), proc = `${dir}/proc`, cgroup = `${dir}/cgroup`;
  try {
    fakeV2(cgroup, proc);
    Deno.writeTextFileSync(`${cgroup}/app/cgroup.controllers`, "memory pids\n");
    const wall = new Cpuset({ cgroup, proc });
    wall.apply({ dedicated: [{ name: "a", cpus: [1], tids: [1] }], shared: [0], sharedTids: [2] });
    assert.equal(wall.kind, "affinity");
    assert.match(wall.why, /was not given the cpuset controller/);
    assert.match(new Cpuset({ cgroup, proc: `${dir}/nothing` }).why, /no cgroups/);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

/** Files as a cgroup v2 has them; nothing answers behind them. */
function fakeV2(cgroup: string, proc: string): void {
  Deno.mkdirSync(`${proc}/self/ns`, { recursive: true });
  Deno.symlinkSync("pid:[4]", `${proc}/self/ns/pid`);
  Deno.mkdirSync(`${proc}/77`);
  Deno.writeTextFileSync(`${proc}/77/stat`, `77 (a (b) c) S${" 0".repeat(18)} 123 0`);
  Deno.writeTextFileSync(`${proc}/self/cgroup`, "0::/app\n");
  Deno.mkdirSync(`${cgroup}/app`, { recursive: true });
  Deno.writeTextFileSync(`${cgroup}/app/cgroup.controllers`, "cpuset memory\n");
}

Deno.test("interrupts are kept off a dedicated core and put back; what has nowhere else to go stays", () => {
  const dir = Deno.makeTempDirSync();
  const list = (irq: number) => Deno.readTextFileSync(`${dir}/${irq}/smp_affinity_list`).trim();
  try {
    for (const [irq, cpus] of [[1, "0-3"], [2, "2"], [3, "0"]]) {
      Deno.mkdirSync(`${dir}/${irq}`);
      Deno.writeTextFileSync(`${dir}/${irq}/smp_affinity_list`, `${cpus}\n`);
    }
    const irqs = new Irqs({ irq: dir, notes: `${dir}/notes` });
    irqs.keepOff([2]);
    assert.deepEqual([list(1), list(2), list(3)], ["0-1,3", "2", "0"]);
    assert.deepEqual([irqs.moved, irqs.stuck], [1, 1]);
    irqs.keepOff([3]);
    assert.equal(list(1), "0-2");
    irqs.restore();
    assert.equal(list(1), "0-3");
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("interrupts that a killed node had moved are put back by the next one, those of a living one are not", () => {
  const dir = Deno.makeTempDirSync(), notes = `${dir}/notes`, proc = `${dir}/proc`;
  const list = (irq: number) => Deno.readTextFileSync(`${dir}/irq/${irq}/smp_affinity_list`).trim();
  try {
    fakeV2(`${dir}/cgroup`, proc);
    Deno.mkdirSync(`${proc}/${Deno.pid}`);
    Deno.writeTextFileSync(`${proc}/${Deno.pid}/stat`, `${Deno.pid} (deno) S${" 0".repeat(18)} 42 0`);
    for (const irq of [1, 2]) {
      Deno.mkdirSync(`${dir}/irq/${irq}`, { recursive: true });
      Deno.writeTextFileSync(`${dir}/irq/${irq}/smp_affinity_list`, "0-3\n");
    }
    new Irqs({ irq: `${dir}/irq`, notes, proc }).keepOff([2]); // and then it is killed
    const note = Deno.readTextFileSync(`${notes}/irqs-${Deno.pid}-42-4`);
    assert.equal(note, "1 0-3\n2 0-3\n");
    Deno.writeTextFileSync(`${notes}/irqs-77-123-4`, "1 3\n"); // of one that lives
    new Irqs({ irq: `${dir}/irq`, notes, proc });
    assert.deepEqual([list(1), list(2)], ["0-1,3", "0-1,3"], "it lives: nobody touches them");
    Deno.renameSync(`${notes}/irqs-${Deno.pid}-42-4`, `${notes}/irqs-99-5-4`);
    Deno.writeTextFileSync(`${notes}/irqs-98-5-4`, "1 x\n../../x 1\nnonsense");
    new Irqs({ irq: `${dir}/irq`, notes, proc });
    assert.deepEqual([list(1), list(2)], ["0-3", "0-3"]);
    assert.deepEqual([...Deno.readDirSync(notes)].map((e) => e.name), ["irqs-77-123-4"]);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

/** The fields of proc(5)'s stat from the third on. */
function statOf(tid: number): string[] {
  const stat = Deno.readTextFileSync(`/proc/${tid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

interop(
  "a thread is made real-time, best-effort with a quantum, and latency-critical again",
  { needs: [ffi, root] },
  () => {
    const tid = gettid();
    try {
      setSchedule(tid, { priority: "rt", quantumUs: 0 });
      assert.equal(statOf(tid)[38], "1", "SCHED_FIFO");
      setSchedule(tid, { priority: "lc", quantumUs: 0 });
      assert.equal(statOf(tid)[38], "0", "SCHED_OTHER");
      assert.deepEqual(statOf(tid)[16], statOf(Deno.pid)[16], "as nice as the process is");
      setSchedule(tid, { priority: "be", quantumUs: 500 });
      assert.equal(sliceUs(tid), 500);
    } catch (e) {
      assert.match((e as Error).message, /Linux 6.12/); // an older kernel says so
    } finally {
      setSchedule(tid, { priority: "lc", quantumUs: 0 });
    }
    assert.throws(() => setSchedule(0x3fffffff, { priority: "lc", quantumUs: 0 }), /thread/);
  },
);

Deno.test("what the kernel counts of a thread and of the CPUs is read; one that has gone has counted nothing", () => {
  const { cpu_ms, scheduled } = threadCounters(Deno.pid);
  assert.ok(cpu_ms > 0 && scheduled > 0);
  assert.equal(threadCounters(0x3fffffff).cpu_ms, 0);
  assert.ok([...cpuTimes().values()].every(({ user, idle }) => user >= 0 && idle >= 0));
});
