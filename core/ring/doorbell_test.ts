/** The doorbell by itself: order of spin, turns and park, the adaptive budget, several waits on one bell. */

import assert from "node:assert/strict";
import { clearInterval, setImmediate, setInterval } from "node:timers";
import { createBell, Doorbell, type How, ringBell, type Waiter } from "./doorbell.ts";

/** Something that comes after it was looked at so many times, or when told. */
class Thing implements Waiter {
  eager = true;
  due = false;
  looks = 0;
  here = false;
  armed = 0;
  ends: How[] = [];
  readonly #after: number;

  constructor(after = Infinity) {
    this.#after = after;
  }

  ready(): boolean {
    return this.here ||= ++this.looks > this.#after;
  }

  arm(): void {
    this.armed++;
  }

  disarm(): void {
    this.armed = 0;
  }

  waited(how: How): void {
    this.ends.push(how);
  }
}

function test(name: string, run: () => Promise<void> | void): void {
  Deno.test(name, async () => {
    const hold = setInterval(() => {}, 1000); // waitAsync alone keeps nothing running
    try {
      await run();
    } finally {
      clearInterval(hold);
    }
  });
}

function counting(): { turn: () => Promise<void>; count: number } {
  const turns = { count: 0, turn: () => (turns.count++, new Promise<void>((resolve) => setImmediate(resolve))) };
  return turns;
}

test("what comes early costs a spin, what comes later turns, and only then it parks", async () => {
  const turns = counting(), budget = { spin: 128, turns: 4 };
  const bell = new Doorbell(createBell(), { budget, turn: turns.turn });
  assert.equal(await bell.wait(new Thing(100)), "spun");
  assert.equal(turns.count, 0);
  assert.equal(await bell.wait(new Thing(129)), "turned");
  assert.equal(turns.count, 2);
  const thing = new Thing();
  const waiting = bell.wait(thing);
  while (!bell.parked) await turns.turn();
  assert.equal(thing.armed, 1);
  thing.here = true;
  assert.ok(ringBell(bell.ref));
  assert.equal(await waiting, "parked");
  assert.equal(thing.armed, 0);
  assert.deepEqual([bell.stats.spins, bell.stats.turned, bell.stats.parks], [1, 1, 1]);
});

test("nobody is rung who is not parked", () => {
  const bell = new Doorbell(createBell());
  assert.equal(ringBell(bell.ref), false);
  assert.equal(bell.waitSync(new Thing(3)), "spun");
  assert.equal(ringBell(bell.ref), false);
});

test("there is no spin for a peer on the same CPU", async () => {
  const turns = counting();
  const bell = new Doorbell(createBell(), { budget: { spin: 1000, turns: 10 }, turn: turns.turn });
  const thing = new Thing();
  thing.eager = false;
  const waiting = bell.wait(thing);
  for (let i = 0; i < 4; i++) await null;
  assert.ok(bell.parked);
  assert.equal(thing.looks, 1);
  thing.here = true;
  bell.ring();
  assert.equal(await waiting, "parked");
  assert.equal(turns.count, 0);
});

test("a needless ring wakes nobody for good", async () => {
  const bell = new Doorbell(createBell(), { budget: { spin: 0, turns: 0 } }), thing = new Thing();
  let ended = false;
  const waiting = bell.wait(thing).then(() => ended = true);
  for (let i = 0; i < 5; i++) {
    while (!bell.parked) await counting().turn();
    bell.ring();
  }
  while (!bell.parked) await counting().turn();
  assert.ok(!ended);
  thing.here = true;
  bell.ring();
  await waiting;
});

test("a wait that comes while another sleeps is looked at, and both are woken by what they wait for", async () => {
  const turns = counting();
  const bell = new Doorbell(createBell(), { budget: { spin: 0, turns: 0 } });
  const first = new Thing(), second = new Thing(), ready = new Thing(0);
  const waits = [bell.wait(first)];
  while (!bell.parked) await turns.turn();
  assert.equal(await bell.wait(ready), "parked");
  waits.push(bell.wait(second));
  for (let i = 0; i < 200; i++) await bell.wait(new Thing(0));
  while (!bell.parked) await turns.turn();
  second.here = true;
  bell.ring();
  await waits[1];
  while (!bell.parked) await turns.turn();
  assert.equal(first.ends.length, 0);
  first.here = true;
  bell.ring();
  await waits[0];
});

test("a blocking wait ends when its time is over", () => {
  const bell = new Doorbell(createBell(), { budget: { spin: 10, turns: 0 } }), thing = new Thing();
  assert.equal(bell.waitSync(thing, 1), "timed out");
  assert.equal(thing.armed, 0);
  assert.ok(!bell.parked);
});

test("the budget shrinks to nothing while waits are long, and grows back when they are short", async () => {
  let now = 0;
  const bell = new Doorbell(createBell(), { budget: { spin: 64, turns: 0 }, monotonic: () => now, windowMs: 1 });
  const sleep = async (ms: number) => {
    const thing = new Thing();
    const waiting = bell.wait(thing);
    while (!bell.parked) await null;
    now += ms;
    thing.here = true;
    bell.ring();
    await waiting;
  };
  const shares: number[] = [];
  for (const ms of [5, 5, 5, 5, 5, 5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]) {
    await sleep(ms);
    shares.push(bell.share);
  }
  assert.deepEqual(shares, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 0, 0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]);
});

test("microtasks go on while it spins, other events in its turns", async () => {
  const turns = counting(), bell = new Doorbell(createBell(), { budget: { spin: 640, turns: 8 }, turn: turns.turn });
  let steps = 0, events = 0, seen = -1;
  const thing = new Thing();
  const port = new MessageChannel();
  port.port1.onmessage = () => events++;
  port.port2.postMessage(0);
  (async () => {
    for (; steps < 5; steps++) await null;
    seen = thing.looks;
  })();
  const waiting = bell.wait(thing);
  while (!bell.parked) await turns.turn();
  assert.ok(seen >= 0 && seen < 640, `microtasks had to wait for ${seen} looks`);
  thing.here = true;
  bell.ring();
  await waiting;
  for (let i = 0; i < 100 && events === 0; i++) await turns.turn();
  port.port1.close();
  port.port2.close();
  assert.equal(events, 1);
});

test("what is due on the same CPU is napped for: the isolate blocks, and is woken by the other side", async () => {
  const sab = new SharedArrayBuffer(8), flag = new Int32Array(sab);
  const bell = new Doorbell(createBell(), { budget: { spin: 0, turns: 0, napMs: 10_000 } });
  const ringer = new Worker(new URL("./doorbell_ringer.ts", import.meta.url).href, { type: "module" });
  try {
    await new Promise((resolve) => ringer.onmessage = resolve);
    const due = new Thing();
    due.eager = false;
    due.due = true;
    due.ready = () => Atomics.load(flag, 0) === 1;
    ringer.postMessage({ bell: bell.ref, flag: sab });
    assert.equal(await bell.wait(due), "napped");
    assert.deepEqual(bell.stats, { spins: 0, turned: 0, naps: 1, parks: 0, turns: 0 });
  } finally {
    ringer.terminate();
  }
});

test("who naps gives way first: the other side may be done before anybody sleeps", async () => {
  const thing = new Thing();
  let ways = 0;
  const giveWay = () => void (thing.here = ++ways === 3);
  const bell = new Doorbell(createBell(), { budget: { spin: 0, turns: 0, napMs: 60_000 }, giveWay });
  thing.eager = false;
  thing.due = true;
  assert.equal(await bell.wait(thing), "napped");
  assert.equal(ways, 3);
});

test("a nap is short: what is not there after it is parked for, and the next nap is half as long", async () => {
  let now = 0;
  const bell = new Doorbell(createBell(), { budget: { spin: 0, turns: 0, napMs: 5 }, monotonic: () => now += 5 });
  const thing = new Thing();
  thing.eager = false;
  thing.due = true;
  const waiting = bell.wait(thing);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(bell.parked);
  assert.equal(bell.share, 0.5);
  thing.here = true;
  bell.ring();
  assert.equal(await waiting, "parked");
});

test("a nap that ended with what it was for was worth it, however long it was", async () => {
  let now = 0;
  const bell = new Doorbell(createBell(), { budget: { spin: 0, turns: 0, napMs: 60_000 }, monotonic: () => now += 5 });
  const thing = new Thing();
  thing.eager = false;
  thing.due = true;
  thing.arm = () => void (thing.here = true); // it comes while the isolate falls asleep
  assert.equal(await bell.wait(thing), "napped");
  assert.equal(bell.share, 1);
});

test("naps that follow one another leave the event loop its turns", async () => {
  let now = 0;
  const turns = counting();
  const options = {
    budget: { spin: 0, turns: 0, napMs: 1 },
    turn: turns.turn,
    monotonic: () => now += 0.01,
    windowMs: 1,
  };
  const bell = new Doorbell(createBell(), options);
  for (let i = 0; i < 1000; i++) {
    const thing = new Thing(0);
    thing.eager = false;
    thing.due = true;
    await bell.wait(thing);
  }
  assert.ok(now > 10 && turns.count >= Math.floor(now / 2) - 2, `${turns.count} turns in ${now} ms`);
});

test("a nap may last longer than it is worth: then it ends with what it was for, and the next is half as long", async () => {
  let now = 0;
  const budget = { spin: 0, turns: 0, napMs: 2, napLimitMs: 60_000 };
  const bell = new Doorbell(createBell(), { budget, monotonic: () => now += 5 });
  const thing = new Thing();
  thing.eager = false;
  thing.due = true;
  thing.arm = () => void (thing.here = true);
  assert.equal(await bell.wait(thing), "napped");
  assert.equal(bell.share, 0.5);
});
