/** The core table on made-up machines: promises kept, cores lent and taken back, wrong asks refused; and at random. */

import assert from "node:assert/strict";
import { ManualClock } from "../../tests/manual_clock.ts";
import type { Err } from "../err.ts";
import { ALLOCATORS, fcfs, packed } from "./allocator.ts";
import type { Ask, Siblings } from "./client.ts";
import { CoreTable } from "./cores.ts";
import { madeTopology, type Topology } from "./topology.ts";

const flat = (cores: number) => madeTopology({ packages: 1, cores, threads: 1 });
const smt = (cores: number) => madeTopology({ packages: 1, cores, threads: 2 });

function table(topology: Topology, options: Partial<ConstructorParameters<typeof CoreTable>[0]> = {}) {
  return new CoreTable({ topology, clock: new ManualClock(), ...options });
}

function refused(code: string, words: RegExp, run: () => void): void {
  assert.throws(run, (e: Err) => {
    assert.equal(e.code, code, e.message);
    assert.match(e.message, words);
    return true;
  });
}

const has = (t: CoreTable, name: string) => t.client(name).allocated;

Deno.test("a guaranteed core is the client's own, and nobody shares it", () => {
  const t = table(flat(4));
  t.add("ether", { cores: 1, guaranteed: 1, want: 1 });
  assert.deepEqual([has(t, "ether").length, t.shared.length], [1, 3]);
  const [cpu] = has(t, "ether");
  assert.equal(t.core(cpu).state, "dedicated");
  assert.equal(t.core(cpu).provisioned, "ether");
  assert.equal(t.core(0).state, "host");
  t.remove("ether");
  assert.deepEqual(t.shared, [0, 1, 2, 3]);
});

Deno.test("want, provisioned and allocated are three things: an idle promised core is lent, and taken back at once", () => {
  const t = table(flat(3));
  t.add("lazy", { cores: 2, guaranteed: 2, want: 0 });
  t.add("greedy", { cores: 2, want: 2, priority: "be" });
  assert.deepEqual(has(t, "greedy"), [1, 2]);
  assert.ok(t.core(1).lent && t.core(2).lent);
  t.set("lazy", { want: 1 });
  assert.equal(has(t, "lazy").length, 1);
  assert.equal(has(t, "greedy").length, 1);
  assert.match(t.client("greedy").unmet, /no core is free/);
  t.set("lazy", { want: 0 });
  assert.equal(has(t, "greedy").length, 2);
});

Deno.test("who wants to hear of a revocation has until its deadline, then the core is taken by force", () => {
  const clock = new ManualClock(), told: string[] = [];
  const t = new CoreTable({ topology: flat(3), clock, revokeMs: 50 });
  t.add("owner", { cores: 1, guaranteed: 1, want: 0, wired: [2] });
  const revoke = (cpus: readonly number[], ms: number) => void told.push(`revoke ${cpus} ${ms}`);
  t.add("guest", { cores: 2, want: 2, priority: "be" }, {
    revoke,
    granted: (cpus) => void told.push(`granted ${cpus}`),
  });
  t.set("owner", { want: 1 });
  assert.deepEqual(told, ["granted 1,2", "revoke 2 50"]);
  assert.equal(t.core(2).state, "revoking");
  assert.deepEqual(has(t, "owner"), []);
  clock.advance(50);
  assert.deepEqual(has(t, "owner"), [2]);
  assert.equal(t.core(2).forced, 1);
  assert.equal(told.at(-1), "granted 1");
});

Deno.test("who yields in time is not forced, even from inside the call that asks for it", () => {
  const clock = new ManualClock();
  const t = new CoreTable({ topology: flat(2), clock });
  t.add("owner", { cores: 1, guaranteed: 1, want: 0 });
  t.add("guest", { cores: 1, want: 1, priority: "be" }, { revoke: () => t.yield("guest") });
  assert.deepEqual(has(t, "guest"), [1]);
  t.set("owner", { want: 1 });
  assert.deepEqual(has(t, "owner"), [1]);
  clock.advance(1000);
  assert.deepEqual([t.core(1).forced, t.core(1).revocations], [0, 1]);
});

Deno.test("a latency-critical client takes what a best-effort one was not promised, and no more than it wants", () => {
  const clock = new ManualClock();
  const t = new CoreTable({ topology: flat(6), clock });
  t.add("batch", { cores: 5, guaranteed: 2, want: 5, priority: "be" }, { revoke: () => {} });
  t.add("web", { cores: 2, want: 2 });
  assert.equal(t.cores().filter((c) => c.state === "revoking").length, 2);
  t.set("batch", { want: 5 }); // asking again takes nothing more
  assert.equal(t.cores().filter((c) => c.state === "revoking").length, 2);
  clock.advance(100);
  assert.deepEqual([has(t, "web").length, has(t, "batch").length], [2, 3]);
  t.add("more", { cores: 5, want: 5 });
  clock.advance(100);
  assert.equal(has(t, "batch").length, 2, "what was promised stays");
});

Deno.test("wired cores are the ones asked for; a client moves to them", () => {
  const t = table(flat(8));
  t.add("a", { cores: 2, guaranteed: 1, want: 2, wired: [5, 7] });
  assert.deepEqual(has(t, "a"), [5, 7]);
  t.set("a", { wired: [2, 3] });
  assert.deepEqual(has(t, "a"), [2, 3]);
  assert.equal(t.core(5).allocated, undefined);
});

Deno.test("siblings: both come together, or stay idle", () => {
  const t = table(smt(4)); // 0-3 and their second threads 4-7
  t.add("pair", { cores: 2, guaranteed: 2, want: 2, siblings: "both" });
  const [a, b] = has(t, "pair");
  assert.equal(b, a + 4);
  t.add("alone", { cores: 1, guaranteed: 1, want: 1, siblings: "none" });
  const [c] = has(t, "alone");
  assert.equal(t.core((c + 4) % 8).state, "sibling");
  assert.equal(t.core((c + 4) % 8).allocated, "alone");
  refused("EINVAL", /multiple of 2/, () => t.set("pair", { cores: 3 }));
  refused("EBUSY", /can not guarantee 3 cores, only 2/, () => t.set("alone", { cores: 3, guaranteed: 3, want: 3 }));
  assert.deepEqual(t.client("alone").guaranteed, 1, "a refusal changes nothing");
});

Deno.test("what can not be is refused, with what could", () => {
  const t = table(flat(4));
  t.add("a", { cores: 2, guaranteed: 2, want: 2 });
  t.add("b");
  refused(
    "EBUSY",
    /b: can not guarantee 2 cores, only 1 \(provisioned: .* to a\)/,
    () => t.set("b", { cores: 2, guaranteed: 2 }),
  );
  refused("EINVAL", /there are 3 cores to give, not 4 \(0 is the host's\)/, () => t.set("b", { cores: 4 }));
  refused("EINVAL", /guaranteed 2 is more than cores 1/, () => t.set("b", { cores: 1, guaranteed: 2 }));
  refused("EINVAL", /want 2 is more than cores 1/, () => t.set("b", { cores: 1, want: 2 }));
  refused("EINVAL", /there is no core 9 \(there are 0-3\)/, () => t.set("b", { cores: 1, wired: [9] }));
  refused("EINVAL", /core 0 is the host's/, () => t.set("b", { cores: 1, wired: [0] }));
  refused("EINVAL", /wired to 1 of the 2 cores/, () => t.set("b", { cores: 2, wired: [1] }));
  refused("EINVAL", /wanted a number of cores/, () => t.set("b", { cores: 1.5 }));
  refused("ENOENT", /called c/, () => t.set("c", {}));
  refused("EEXIST", /called a already/, () => t.add("a"));
  refused("EBUSY", /provisioned to a/, () => t.setHost(has(t, "a")));
  refused("EINVAL", /one core at least/, () => t.setHost([]));
  refused("EINVAL", /does not have core 3/, () => t.yield("b", 3));
  refused("EBUSY", /core 0 is the host's/, () => t.provision(0, "b"));
  refused("EBUSY", /is provisioned to a/, () => t.provision(has(t, "a")[0], "b"));
  refused("EINVAL", /there is no core 64/, () => t.core(64));
  refused("EINVAL", /give back/, () => t.yield("b"));
});

Deno.test("a core is provisioned by its number, and given up", () => {
  const t = table(flat(4));
  t.add("a");
  t.provision(3, "a");
  assert.deepEqual([t.client("a").provisioned, has(t, "a"), t.client("a").cores], [[3], [3], 1]);
  t.provision(3, null);
  assert.deepEqual([t.client("a").provisioned, t.client("a").guaranteed], [[], 0]);
  refused("EINVAL", /not provisioned/, () => t.provision(3, null));
});

Deno.test("packed keeps a client's cores close, and clients apart; fcfs takes what was free longest", () => {
  const topology = madeTopology({ packages: 2, cores: 8, threads: 2, cacheCores: 4 });
  const t = table(topology, { allocator: packed });
  t.add("a", { cores: 4, want: 2 });
  t.add("b", { cores: 2, want: 2 });
  const [a0, a1] = has(t, "a");
  assert.equal(topology.distance(a0, a1), 1, "the second is the sibling of the first");
  assert.notEqual(topology.get(a0).package, topology.get(has(t, "b")[0]).package);
  t.set("a", { want: 4 });
  assert.ok(has(t, "a").every((cpu) => topology.distance(cpu, a0) <= 2), "all in one cache");
  const first = table(flat(4), { allocator: fcfs });
  first.add("x", { cores: 1, want: 1 });
  first.set("x", { want: 0 });
  first.add("y", { cores: 1, want: 1 });
  assert.deepEqual(has(first, "y"), [2], "1 was freed just now");
});

/** mulberry32: chance that a seed replays. */
function chance(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) * below / 4294967296) | 0;
  };
}

/** What holds after every operation; and, once all deadlines have passed, that nothing is left undone. */
function invariants(t: CoreTable, settled: boolean): void {
  const clients = t.clients(), host = t.host;
  const owners = new Map<number, string>(), promised = new Map<number, string>();
  for (const c of clients) {
    for (const cpu of c.allocated) {
      assert.ok(!owners.has(cpu), `core ${cpu} has two owners`);
      owners.set(cpu, c.name);
      assert.ok(!host.includes(cpu), `host core ${cpu} was given`);
      assert.ok(c.wired?.includes(cpu) ?? true, `${c.name} has ${cpu}, and is wired to ${c.wired}`);
    }
    for (const cpu of c.provisioned) {
      assert.ok(!promised.has(cpu), `core ${cpu} is promised twice`);
      promised.set(cpu, c.name);
      assert.ok(!host.includes(cpu));
    }
    assert.equal(c.provisioned.length, c.guaranteed, `${c.name}'s promise`);
    assert.ok(c.guaranteed <= c.cores && c.want <= c.cores);
    for (const cpu of c.allocated) {
      const others = t.topology.siblings(cpu).filter((s) => s !== cpu);
      if (c.siblings === "none") {
        assert.ok(
          others.every((s) => ["sibling", "revoking"].includes(t.core(s).state) && t.core(s).allocated === c.name),
        );
      }
      if (c.siblings === "both") assert.ok(others.every((s) => c.allocated.includes(s)));
    }
    if (!settled) continue;
    assert.ok(c.allocated.length <= c.want, `${c.name} has more than it wants`);
    assert.ok(c.allocated.length >= Math.min(c.want, c.guaranteed), `${c.name}'s guarantee is broken`);
    if (c.allocated.length === c.want) assert.equal(c.unmet, "", `${c.name} has what it wants, and is short`);
    else {
      assert.notEqual(c.unmet, "", `${c.name} is not told why`);
      const free = t.shared.filter((cpu) =>
        !host.includes(cpu) && (c.wired?.includes(cpu) ?? true) &&
        (c.siblings === "any" || t.topology.siblings(cpu).every((s) => t.shared.includes(s) && !host.includes(s))) &&
        (c.siblings !== "both" || t.topology.siblings(cpu).every((s) => c.wired?.includes(s) ?? true))
      );
      assert.deepEqual(free, [], `${c.name} waits while a core is free`);
    }
  }
  for (const core of t.cores()) {
    assert.equal(
      core.state === "dedicated" || (core.state === "revoking" && owners.has(core.cpu)),
      owners.has(core.cpu),
      `core ${core.cpu}`,
    );
    if (settled) assert.notEqual(core.state, "revoking");
  }
}

const SHAPES = [
  { packages: 1, cores: 2, threads: 1 },
  { packages: 1, cores: 4, threads: 2 },
  { packages: 2, cores: 12, threads: 2, cacheCores: 4 },
  { packages: 4, cores: 16, threads: 4 }, // 256
];

for (const shape of SHAPES) {
  for (const allocator of ALLOCATORS.values()) {
    const cpus = shape.packages * shape.cores * shape.threads;
    Deno.test(`${cpus} cores, ${allocator.name}: at random, promises hold and no core is wasted`, () => {
      for (let round = 0; round < 4; round++) {
        const seed = Number(Deno.env.get("SEED") ?? Date.now() % 1e6 + round);
        try {
          randomly(madeTopology(shape), allocator.name, seed, cpus > 64 ? 60 : 250);
        } catch (e) {
          console.error(`SEED=${seed}`);
          throw e;
        }
      }
    });
  }
}

function randomly(topology: Topology, allocator: string, seed: number, steps: number): void {
  const rnd = chance(seed), clock = new ManualClock(), n = topology.cpus.length;
  const t = new CoreTable({ topology, allocator: ALLOCATORS.get(allocator)!, clock, revokeMs: 10 });
  const names = ["a", "b", "c", "d", "e"].slice(0, 2 + rnd(4));
  const some = (most: number) => topology.cpus.filter(() => rnd(n) < most);
  const ask = (): Partial<Ask> => {
    const cores = rnd(Math.min(n, 1 + rnd(n))), any = (["any", "any", "both", "none"] as Siblings[])[rnd(4)];
    const wired = rnd(4) === 0 ? some(n >> 1) : undefined;
    return {
      cores,
      guaranteed: rnd(cores + 1),
      want: rnd(cores + 1),
      wired,
      siblings: any,
      priority: rnd(2) ? "lc" : "be",
    };
  };
  const port = (name: string) => {
    const kind = rnd(3);
    if (kind === 0) return {};
    return { revoke: (cpus: readonly number[]) => void (kind === 1 && t.yield(name, cpus[0])) };
  };
  const steppers: (() => void)[] = [
    () => t.has(names[0]) ? t.set(names[rnd(names.length)], ask()) : t.add(names[0], ask(), port(names[0])),
    () => {
      const name = names[rnd(names.length)];
      t.add(name, ask(), port(name));
    },
    () => t.set(names[rnd(names.length)], { want: rnd(n) }),
    () => t.set(names[rnd(names.length)], { want: rnd(3) }),
    () => t.remove(names[rnd(names.length)]),
    () => t.yield(names[rnd(names.length)]),
    () => t.provision(rnd(n), rnd(2) ? null : names[rnd(names.length)]),
    () => t.setHost(some(1 + rnd(3))),
    () => clock.advance(rnd(15)),
  ];
  let done = 0;
  for (let step = 0; step < steps; step++) {
    const before = JSON.stringify(t.clients());
    try {
      steppers[rnd(steppers.length)]();
      done++;
    } catch (e) {
      if ((e as Error).name !== "Err") throw e;
      assert.equal(JSON.stringify(t.clients()), before, `a refusal changed something: ${(e as Error).message}`);
    }
    invariants(t, false);
    if (rnd(4) === 0) {
      clock.advance(200);
      invariants(t, true);
    }
  }
  assert.ok(done > steps / 10, "too few operations were possible");
}
