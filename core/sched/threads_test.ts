/** Threads of an isolate: order, sleeping and waking, notes, alarms, cancelling, and living beside the event loop. */

import assert from "node:assert/strict";
import { ManualClock } from "../../tests/manual_clock.ts";
import { hostClock } from "../host/clock.ts";
import { turn } from "../host/turn.ts";
import { byPriority } from "./policy.ts";
import { Rendez } from "./rendez.ts";
import { Sched, type SchedOptions, type Thread } from "./threads.ts";

function sched(options: Partial<SchedOptions> = {}): Sched {
  return new Sched({ clock: hostClock, turn, ...options });
}

/** Time by hand, and a way to let everything happen that can. */
function still() {
  const clock = new ManualClock(), s = sched({ clock });
  const settle = async () => {
    for (let i = 0; i < 5; i++) await turn();
  };
  return { clock, s, settle };
}

Deno.test("threads that yield take turns, and one that was spawned runs after those that were ready", async () => {
  const s = sched(), order: string[] = [];
  const main = (name: string) => async (t: Thread<void>) => {
    for (let i = 0; i < 3; i++) {
      order.push(name + i);
      await t.yield();
    }
  };
  const all = ["a", "b", "c"].map((name) => s.spawn(main(name), { name }));
  await Promise.all(all.map((t) => t.join()));
  assert.equal(order.join(" "), "a0 b0 c0 a1 b1 c1 a2 b2 c2");
  assert.deepEqual(s.list(), []);
});

Deno.test("by priority the most urgent that is ready runs", async () => {
  const s = sched({ policy: byPriority() }), order: string[] = [];
  const go = new Rendez();
  const main = (name: string) => async (t: Thread<void>) => {
    await t.sleep(go);
    for (let i = 0; i < 2; i++) {
      order.push(name);
      await t.yield();
    }
  };
  const all = [20, 3, 3, 31, 0].map((priority, i) => s.spawn(main(`${priority}${"abcde"[i]}`), { priority }));
  await turn();
  assert.equal(go.wakeupAll(), 5);
  await Promise.all(all.map((t) => t.join()));
  // the first to be woken has the turn before the others are ready
  assert.equal(order.join(" "), "20a 0e 0e 3b 3c 3b 3c 20a 31d 31d");
});

Deno.test("ten thousand threads pass a token round, each woken by the one before", async () => {
  const s = sched(), count = 10_000, places = Array.from({ length: count }, () => new Rendez());
  let at = -1;
  const ring = places.map((place, i) =>
    s.spawn(async (t) => {
      await t.sleep(place, () => at === i);
      at = i + 1;
      places[i + 1]?.wakeup();
    })
  );
  while (s.list().some((t) => t.state !== "Rendez")) await turn();
  at = 0;
  places[0].wakeup();
  await Promise.all(ring.map((t) => t.join()));
  assert.equal(at, count);
});

Deno.test("a bounded buffer between threads loses nothing and keeps the order", async () => {
  const s = sched(), buffer: number[] = [], full = new Rendez("room"), empty = new Rendez("data"), got: number[] = [];
  const producer = s.spawn(async (t) => {
    for (let i = 0; i < 1000; i++) {
      await t.sleep(full, () => buffer.length < 7);
      buffer.push(i);
      empty.wakeup();
    }
  });
  const consumer = s.spawn(async (t) => {
    while (got.length < 1000) {
      await t.sleep(empty, () => buffer.length > 0);
      got.push(buffer.shift()!);
      full.wakeup();
    }
  });
  await Promise.all([producer.join(), consumer.join()]);
  assert.deepEqual(got, Array.from({ length: 1000 }, (_, i) => i));
});

Deno.test("a thread that waits for a promise, or sleeps too long, lets others run; the list says who does what", async () => {
  const { clock, s, settle } = still(), { promise, resolve } = Promise.withResolvers<string>();
  const never = new Rendez("never");
  const waiting = s.spawn((t) => t.wait(promise), { name: "waiting" });
  const sleeping = s.spawn((t) => t.sleep(never, () => false, 500), { name: "sleeping" });
  const delayed = s.spawn((t) => t.delay(1000), { name: "delayed", priority: 3 });
  await settle();
  assert.equal(
    s.text(),
    "     1 Wait     10 waiting\n     2 Rendez   10 sleeping (never)\n     3 Delay     3 delayed\n",
  );
  resolve("value");
  assert.equal(await waiting.join(), "value");
  clock.advance(500);
  assert.equal(await sleeping.join(), false, "the time was up");
  assert.equal(never.sleepers, 0);
  clock.advance(499);
  await settle();
  assert.equal(delayed.state, "Delay");
  clock.advance(1);
  await delayed.join();
});

Deno.test("a thread that awaits something else than its Thread holds the others up for a turn of the loop, no longer", async () => {
  const s = sched(), { promise, resolve } = Promise.withResolvers<void>(), order: string[] = [];
  const rude = s.spawn(async (t) => {
    order.push("rude begins");
    await promise;
    order.push("rude goes on");
    await t.yield();
    order.push("rude ends");
  });
  const other = s.spawn(async (t) => {
    order.push("other begins");
    await t.yield();
    order.push("other ends");
  });
  await other.join();
  resolve();
  await rude.join();
  assert.deepEqual(order, ["rude begins", "other begins", "other ends", "rude goes on", "rude ends"]);
});

Deno.test("threads that never sleep leave the event loop its turns", async () => {
  const s = sched();
  let stop = false;
  const busy = [1, 2].map(() =>
    s.spawn(async (t) => {
      while (!stop) await t.yield();
    })
  );
  await new Promise<void>((resolve) => setTimeout(resolve, 5));
  stop = true;
  await Promise.all(busy.map((t) => t.join()));
  assert.ok(s.stats.turns > 0);
});

Deno.test("without an event loop (a simulation) threads run all the same", async () => {
  const clock = new ManualClock(), s = new Sched({ clock });
  const a = s.spawn(async (t) => {
    await Promise.resolve();
    await t.yield();
    return 1;
  });
  const b = s.spawn(async (t) => {
    for (let i = 0; i < 1000; i++) await t.yield();
    return 2;
  });
  assert.deepEqual(await Promise.all([a.join(), b.join()]), [1, 2]);
});

Deno.test("a note that is handled ends the call with EINTR, and the thread goes on; one that is not ends the thread", async () => {
  const { s, settle } = still(), place = new Rendez(), seen: string[] = [];
  const t = s.spawn(async (t) => {
    t.notify((note) => seen.push(note) > 0 && note !== "kill");
    try {
      await t.sleep(place);
    } catch (e) {
      seen.push((e as { code: string }).code);
    }
    await t.sleep(place);
  });
  await settle();
  t.note("hello");
  t.note("again");
  await settle();
  assert.deepEqual(seen, ["hello", "EINTR", "again"]);
  assert.equal(place.sleepers, 1);
  t.note("kill");
  await assert.rejects(t.join(), { code: "EINTR", message: /kill/ });
  assert.equal(place.sleepers, 0);
  assert.throws(() => t.note("late"), { code: "ESRCH" });
});

Deno.test("an alarm is a note; it can be taken back, and tells what was left", async () => {
  const { clock, s, settle } = still(), seen: string[] = [];
  const t = s.spawn(async (t) => {
    t.notify((note) => seen.push(note) > 0);
    t.alarm(100);
    clock.advance(40);
    seen.push(String(t.alarm(200)));
    await t.delay(1000).catch((e) => seen.push(e.code));
    t.alarm(10);
    t.alarm(0);
    await t.delay(1000);
  });
  await settle();
  clock.advance(200);
  await settle();
  assert.deepEqual(seen, ["60", "alarm", "EINTR"]);
  clock.advance(1000);
  await t.join();
  assert.equal(s.wheel.size, 0);
});

Deno.test("cancelling ends what blocks, runs finally, tells the signal, and comes from a signal", async () => {
  const { s, settle } = still(), seen: string[] = [], control = new AbortController();
  const t = s.spawn(async (t) => {
    t.signal.addEventListener("abort", () => seen.push("signal"));
    try {
      await t.delay(1000);
    } finally {
      seen.push("finally");
      await t.yield().catch((e: { code: string }) => seen.push(`blocks no more: ${e.code}`));
    }
  }, { signal: control.signal });
  const late = s.spawn(() => seen.push("ran"), { signal: AbortSignal.abort() });
  await settle();
  control.abort();
  await assert.rejects(t.join(), { code: "EINTR" });
  await assert.rejects(late.join(), { code: "EINTR" });
  assert.deepEqual(seen, ["signal", "finally", "blocks no more: EINTR"]);
  assert.equal(s.wheel.size, 0, "no alarm is left of a delay that was given up");
});

Deno.test("what a waker says too late ends no other sleep", async () => {
  const { s, settle } = still(), { promise, resolve } = Promise.withResolvers<void>();
  const t = s.spawn(async (t) => {
    t.notify(() => true);
    await t.wait(promise).catch(() => {});
    await t.wait(new Promise(() => {}));
  });
  await settle();
  t.note("x");
  await settle();
  resolve();
  await settle();
  assert.equal(t.state, "Wait");
  t.cancel();
  await assert.rejects(t.join());
});

Deno.test("the error of a thread goes to who joins it, else to onFault; close() ends all", async () => {
  const faults: string[] = [];
  const s = sched({ onFault: (t, e) => faults.push(`${t.name}: ${e.message}`) });
  const joined = s.spawn(() => {
    throw new Error("joined");
  });
  await assert.rejects(joined.join(), /joined/);
  s.spawn(() => {
    throw new Error("alone");
  }, { name: "lone" });
  const place = new Rendez();
  for (let i = 0; i < 3; i++) s.spawn((t) => t.sleep(place));
  await turn();
  await s.close();
  assert.deepEqual(faults, ["lone: alone"]);
  assert.deepEqual(s.list(), []);
});
