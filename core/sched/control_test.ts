/** The core control over a host that only writes down what it is told: placements, settings, queue delay, ends. */

import assert from "node:assert/strict";
import { ManualClock } from "../../tests/manual_clock.ts";
import type { Err } from "../err.ts";
import { CoreControl } from "./control.ts";
import type { CoreHost, Member, Plan } from "./core_host.ts";
import { formatCpus } from "./cpulist.ts";
import { Histogram, QueueProbe } from "./qdelay.ts";
import { entrySettings, parseSettings, type Vigil } from "./settings.ts";
import { madeTopology } from "./topology.ts";

/** A control of four cores, and what its host was told. */
class Rig {
  readonly clock = new ManualClock();
  readonly plans: Plan[] = [];
  readonly scheduled: string[] = [];
  readonly loaded: Set<string> = new Set();
  cpuMs = 0;
  refuses: Error | undefined;
  sharedCpu: number | undefined;
  readonly host: CoreHost = {
    place: (plan) => (this.plans.push(plan), []),
    schedule: (tids, { priority, quantumUs }) => {
      if (this.refuses) throw this.refuses;
      this.scheduled.push(`${tids} ${priority} ${quantumUs}`);
    },
    shield: () => {},
    cpuMs: () => this.cpuMs,
    status: () => "",
    cpuCounters: () => ({}),
    threadCounters: () => ({}),
    close: () => {},
  };
  readonly control: CoreControl;

  constructor(cores = 4) {
    this.control = new CoreControl({
      clock: this.clock,
      topology: madeTopology({ packages: 1, cores, threads: 1 }),
      host: this.host,
      log: () => {},
      keep: (name) => this.loaded.has(name),
      shared: (cpu) => this.sharedCpu = cpu,
    });
  }

  /** Where a client's threads are, as last told. */
  where(name: string): string {
    const at = this.plans.at(-1)?.placements.find((p) => p.name === name);
    return at ? `${formatCpus(at.cpus)}${at.dedicated ? " alone" : ""}` : "-";
  }
}

/** Something that runs, with a queue that a test fills. */
class Runner implements Member {
  written = 0;
  taken = 0;
  cpu = -2;
  looks: number | undefined = -1;
  dog = "";
  work: (() => void) | undefined;
  killed = false;
  constructor(readonly id: string, readonly tid: number) {}
  tids = () => [this.tid];
  moved = (cpu: number) => void (this.cpu = cpu);
  spin = (looks: number | undefined) => void (this.looks = looks);
  queue = () => ({ written: this.written, taken: this.taken, answered: 0, awake: false });
  watchdog = ({ warn, watchdog, hang }: Vigil) => void (this.dog = `${hang} ${watchdog} ${warn}`);
  onWork = (told: (() => void) | undefined) => void (this.work = told);
  counters = () => ({});
  kill = async () => void (this.killed = true);
}

function refused(code: string, words: RegExp, run: () => void): void {
  assert.throws(run, (e: Err) => {
    assert.equal(e.code, code, e.message);
    assert.match(e.message, words);
    return true;
  });
}

Deno.test("while nobody asks for anything, no thread is touched", () => {
  const { control, plans } = new Rig();
  control.join("a", new Runner("worker-1", 11), {});
  assert.deepEqual(plans, []);
  assert.equal(control.client("a").cpus, "0-3");
});

Deno.test("a guaranteed core is the plugin's alone, others are kept off, and two generations share it", () => {
  const rig = new Rig(2), { control } = rig, old = new Runner("worker-1", 11), next = new Runner("worker-2", 12);
  control.join("a", old, entrySettings(1));
  control.join("b", new Runner("worker-9", 19), {});
  assert.deepEqual([rig.where("a"), rig.where("b")], ["1 alone", "0"]);
  assert.equal(rig.sharedCpu, 0);
  assert.deepEqual(rig.plans.at(-1)!.shared, [0]);
  control.join("a", next, entrySettings(1));
  assert.deepEqual(rig.plans.at(-1)!.placements[0].tids, [11, 12]);
  assert.equal(next.cpu, 1);
  control.leave("a", old);
  assert.deepEqual(rig.plans.at(-1)!.placements[0].tids, [12]);
  control.leave("a", next); // its plugin is not loaded any more
  assert.deepEqual([control.has("a"), rig.where("b")], [false, "0-1"]);
});

Deno.test("what was set by ctl outlives a restart; meanwhile the promise stays and the core is lent", () => {
  const rig = new Rig(2), { control, loaded } = rig, first = new Runner("worker-1", 11);
  loaded.add("a");
  control.join("a", first, {});
  control.set(
    "a",
    parseSettings(["cores", "1", "guaranteed", "1", "spinning", "7", "watchdog", "900", "hang", "report"]),
  );
  assert.deepEqual([rig.where("a"), first.looks, first.dog], ["1 alone", 7, "report 900 2000"]);
  control.leave("a", first);
  assert.deepEqual([control.client("a").row.provisioned, control.client("a").row.allocated], [[1], []]);
  refused("ESRCH", /a does not run: nothing is there to move/, () => control.set("a", { pin: [0] }));
  const second = new Runner("worker-2", 12);
  control.join("a", second, {});
  assert.deepEqual([rig.where("a"), second.looks, second.dog], ["1 alone", 7, "report 900 2000"]);
});

Deno.test("a guarantee that can not be met is refused at the start, and nothing has changed", () => {
  const rig = new Rig(2), { control } = rig;
  control.join("a", new Runner("worker-1", 11), entrySettings(1));
  refused(
    "EBUSY",
    /b: can not guarantee 1 cores, only 0 \(provisioned: 1 to a\)/,
    () => control.join("b", new Runner("worker-2", 12), entrySettings(1)),
  );
  refused("EINVAL", /1 cores to give, not 2/, () => control.join("b", new Runner("worker-2", 12), entrySettings(2)));
  assert.equal(control.has("b"), false);
});

Deno.test("pinned is not alone; a core that is another's can not be pinned to", () => {
  const rig = new Rig(4), { control } = rig;
  control.join("a", new Runner("worker-1", 11), entrySettings({ cores: 1, guaranteed: 1, wired: "3" }));
  control.join("b", new Runner("worker-2", 12), { pin: [1, 3] });
  assert.equal(rig.where("b"), "1", "3 is a's");
  refused("EBUSY", /core 3 is a's alone/, () => control.set("b", { pin: [3] }));
  refused("EINVAL", /no core 8/, () => control.set("b", { pin: [8] }));
  control.set("b", { pin: undefined });
  assert.equal(rig.where("b"), "0-2");
  refused("ENOENT", /no isolate or process is called ram/, () => control.set("ram", { cores: 1 }));
});

Deno.test("priority and quantum reach the threads; where the host refuses, the setting is not taken", () => {
  const rig = new Rig(), { control } = rig;
  control.join("a", new Runner("worker-1", 11), {});
  control.set("a", parseSettings(["priority", "be", "quantum", "500"]));
  assert.deepEqual(rig.scheduled, ["11 be 500"]);
  rig.refuses = new Error("no quanta here");
  assert.throws(() => control.set("a", { quantum: 1000 }), /no quanta here/);
  assert.equal(control.client("a").settings.quantum, 500);
});

Deno.test("a request that waits longer than qdelay brings a core; unused, it is given back", () => {
  const rig = new Rig(2), { control, clock } = rig, a = new Runner("worker-1", 11);
  control.join("a", a, entrySettings({ cores: 1, qdelay: 4000 }));
  assert.equal(control.client("a").row.allocated.length, 0);
  a.written = 100;
  clock.advance(20);
  assert.deepEqual([rig.where("a"), control.client("a").congested > 0], ["1 alone", true]);
  assert.ok(control.events.some((e) => /a request has waited .* ms: gets core 1/.test(e)), control.events.join("\n"));
  a.taken = 100;
  rig.cpuMs = 900;
  clock.advance(1500);
  assert.equal(rig.where("a"), "1 alone", "it was used");
  clock.advance(1500);
  assert.equal(rig.where("a"), "0-1", "it was not");
  assert.ok(control.client("a").delays.count > 10);
});

Deno.test("when there is no core to give it is said why, once", () => {
  const rig = new Rig(2), { control, clock } = rig, b = new Runner("worker-2", 12);
  control.join("a", new Runner("worker-1", 11), entrySettings({ cores: 1, guaranteed: 1, lend: 0 }));
  control.join("b", b, entrySettings({ cores: 1, qdelay: 2000 }));
  b.written = 10;
  clock.advance(200);
  const said = control.events.filter((e) => e.startsWith("b: a request has waited"));
  assert.equal(said.length, 1);
  assert.match(said[0], /no core is free \(1 a\)/);
  assert.match(control.client("b").row.unmet, /no core is free/);
  assert.match(control.client("b").relief, /no core is free/);
  b.taken = 10;
  clock.advance(2500);
  assert.equal(control.client("b").relief, "", "nothing waits any more");
  b.written = 20;
  clock.advance(500);
  assert.equal(control.events.filter((e) => e.startsWith("b: a request has waited")).length, 2, "it is said anew");
  control.set("b", { qdelay: 0 });
  assert.equal(control.client("b").row.want, 0);
  assert.equal(clock.pending, 0, "nobody looks any more");
});

Deno.test("kill ends what runs, and is refused when nothing does", async () => {
  const { control, loaded } = new Rig(), a = new Runner("worker-1", 11);
  loaded.add("a");
  control.join("a", a, {});
  await control.kill("a");
  assert.ok(a.killed);
  control.leave("a", a);
  await assert.rejects(control.kill("a"), (e: Err) => e.code === "ESRCH");
});

Deno.test("settings are read as text, and refused with what would do", () => {
  const wrong: [string[], RegExp][] = [
    [["cores"], /wanted: key value/],
    [["colour", "1"], /"colour" is none of: cores/],
    [["cores", "-1"], /cores: "-1" is no integer from 0 to 1024/],
    [["quantum", "5"], /quantum: "5" is too short/],
    [["wired", "a"], /wired: not a list of CPUs/],
    [["wired", ""], /wired: wanted a list of cores/],
    [["siblings", "some"], /siblings: "some" is none of: any both none/],
    [["hang", "up"], /hang: "up" is none of: kill report/],
  ];
  for (const [words, message] of wrong) refused("EINVAL", message, () => parseSettings(words));
  assert.deepEqual(parseSettings(["wired", "2-3", "want", "auto"]), { wired: [2, 3], want: "auto" });
  assert.deepEqual(entrySettings("shared"), {});
});

Deno.test("a queue's delay is the time since what was there has not been taken", () => {
  const probe = new QueueProbe();
  const look = (written: number, taken: number, nowMs: number) =>
    probe.look({ written, taken, answered: 0, awake: false }, nowMs);
  assert.equal(look(0, 0, 0), 0);
  assert.equal(look(10, 0, 5), 0, "came since the last look");
  assert.equal(look(30, 5, 8), 3, "the first ten are not all taken");
  assert.equal(look(40, 12, 9), 0, "they are now");
  assert.equal(look(40, 40, 20), 0);
  const histogram = new Histogram([1, 2]);
  for (const value of [0.5, 1, 1.5, 3]) histogram.observe(value);
  assert.deepEqual([histogram.counts, histogram.sum], [[2, 1, 1], 6]);
});

Deno.test("what was taken in a batch waits too, until something is answered or its server rests", () => {
  const probe = new QueueProbe();
  const look = (taken: number, answered: number, awake: boolean, nowMs: number) =>
    probe.look({ written: taken, taken, answered, awake }, nowMs);
  assert.equal(look(0, 0, false, 0), 0);
  assert.equal(look(40, 0, true, 5), 0);
  assert.equal(look(40, 0, true, 12), 7);
  assert.equal(look(40, 0, false, 13), 0, "it rests: a read that blocks is no wait for a core");
  assert.equal(look(40, 9, true, 14), 0, "answered");
  assert.equal(look(40, 9, true, 30), 0);
});

Deno.test("a guaranteed core whose owner rests is lent to who is short, and taken back at its next request", () => {
  const rig = new Rig(2), { control, clock } = rig, a = new Runner("worker-1", 11), b = new Runner("worker-2", 12);
  control.join("a", a, entrySettings(1));
  clock.advance(5000);
  assert.equal(rig.where("a"), "1 alone", "nobody is short of a core: it keeps it");
  control.join("b", b, entrySettings({ cores: 1, want: 1 }));
  assert.match(control.client("b").row.unmet, /no core is free/);
  clock.advance(900);
  assert.equal(rig.where("a"), "1 alone", "it has not rested for long enough");
  clock.advance(500);
  assert.deepEqual([rig.where("a"), rig.where("b"), control.client("a").lent], ["0", "1 alone", true]);
  assert.deepEqual(control.client("a").row.provisioned, [1]);
  a.work!();
  assert.deepEqual([rig.where("a"), rig.where("b"), a.work], ["1 alone", "0", undefined]);
  clock.advance(1500);
  assert.equal(rig.where("b"), "1 alone", "it rests again");
  rig.cpuMs += 8;
  clock.advance(10);
  assert.equal(rig.where("a"), "1 alone", "it woke by itself");
  control.set("a", { lend: 0 });
  clock.advance(5000);
  assert.equal(rig.where("a"), "1 alone", "it lends nothing");
});

Deno.test("who works, has requests waiting, or is asked for another core than its own, lends none", () => {
  const rig = new Rig(3), { control, clock } = rig, a = new Runner("worker-1", 11), b = new Runner("worker-2", 12);
  control.join("a", a, entrySettings({ cores: 1, guaranteed: 1, wired: "1" }));
  control.join("c", new Runner("worker-3", 13), entrySettings({ cores: 1, guaranteed: 1, wired: "2", lend: 0 }));
  control.join("b", b, entrySettings({ cores: 1, want: 1, wired: "2" }));
  clock.advance(3000);
  assert.equal(rig.where("a"), "1 alone", "b would not take core 1");
  control.set("b", { wired: undefined });
  a.written = 10;
  clock.advance(3000);
  assert.equal(rig.where("a"), "1 alone", "a request waits for it");
  a.taken = 10;
  for (let i = 0; i < 30; i++) {
    rig.cpuMs += 50;
    clock.advance(100);
  }
  assert.equal(rig.where("a"), "1 alone", "it works");
  clock.advance(1500);
  assert.equal(rig.where("a"), "0");
  control.leave("b", b);
  clock.advance(20);
  assert.deepEqual([rig.where("a"), control.client("a").lent], ["1 alone", false], "nobody has it any more");
});

Deno.test("real-time is who has cores to itself, from when it is there until before it goes", () => {
  const rig = new Rig(2), { control } = rig, steps: string[] = [];
  rig.host.schedule = (tids, { priority }) => void steps.push(`${tids} ${priority}`);
  rig.host.place = ({ placements }) => (steps.push(`to ${formatCpus(placements[0].cpus)}`), []);
  control.join("a", new Runner("worker-1", 11), entrySettings({ cores: 1, priority: "rt" }));
  assert.deepEqual(steps, []);
  control.set("a", { guaranteed: 1 });
  assert.deepEqual(steps.splice(0), ["to 1", "11 rt"]);
  control.set("a", { want: 0 });
  assert.deepEqual(steps.splice(0), ["11 lc", "to 0-1"]);
  rig.host.schedule = () => {
    throw new Error("not permitted");
  };
  control.set("a", { want: 1 });
  assert.match(control.events.at(-1)!, /a: not permitted/);
});
