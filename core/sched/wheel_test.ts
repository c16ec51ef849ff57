/** The timer wheel against a sorted list, over a clock that goes by hand. */

import assert from "node:assert/strict";
import { ManualClock } from "../../tests/manual_clock.ts";
import { TimerWheel } from "./wheel.ts";

const SEED = Number(Deno.env.get("SEED") ?? Date.now() & 0xffffff);

function random(seed: number): () => number {
  let s = seed >>> 0 || 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

Deno.test("alarms ring in order, none early, none later than a tick, whatever the delay", () => {
  const clock = new ManualClock(), wheel = new TimerWheel(clock), next = random(SEED);
  clock.advance(next() % 100_000);
  const rang: { due: number; at: number }[] = [];
  let expected = 0;
  for (let i = 0; i < 3000; i++) {
    // each magnitude is as likely: from below a tick to weeks, beyond what the levels span
    const delay = (next() % 1000) / 1000 * 2 ** (next() % 34), due = clock.monotonic() + delay;
    const cancel = wheel.after(delay, () => rang.push({ due, at: clock.monotonic() }));
    if (next() % 3 === 0) cancel();
    else expected++;
    if (next() % 5 === 0) clock.advance((next() % 1000) / 10);
  }
  assert.equal(wheel.size + rang.length, expected, `SEED=${SEED}`);
  while (wheel.size > 0) clock.advance(2 ** 28);
  assert.equal(rang.length, expected, `SEED=${SEED}`);
  for (const { due, at } of rang) assert.ok(at >= due && at < due + 1, `SEED=${SEED}: due ${due}, rang ${at}`);
  assert.equal(clock.pending, 0, "an idle wheel holds no alarm of its clock");
});

Deno.test("alarms of one tick ring in the order in which they were set, also those that waited at different levels", () => {
  const clock = new ManualClock(), wheel = new TimerWheel(clock), rang: number[] = [];
  wheel.after(5000, () => rang.push(1));
  clock.advance(4900);
  wheel.after(100, () => rang.push(2));
  clock.advance(90);
  wheel.after(10, () => rang.push(3));
  clock.advance(10);
  assert.deepEqual(rang, [1, 2, 3]);
});

Deno.test("an alarm that is set or taken back from within another is", () => {
  const clock = new ManualClock(), wheel = new TimerWheel(clock), rang: string[] = [];
  let cancel = () => {};
  wheel.after(10, () => {
    rang.push("first");
    cancel();
    wheel.after(0, () => rang.push("soon"));
    wheel.after(70, () => rang.push("later"));
  });
  cancel = wheel.after(10, () => rang.push("never"));
  clock.advance(10);
  assert.deepEqual(rang, ["first"]);
  clock.advance(1);
  assert.deepEqual(rang, ["first", "soon"]);
  clock.advance(69);
  assert.deepEqual(rang, ["first", "soon", "later"]);
});

Deno.test("an alarm that throws keeps no other from ringing", () => {
  const clock = new ManualClock(), wheel = new TimerWheel(clock), rang: string[] = [];
  wheel.after(10, () => {
    throw new Error("a fault of an alarm");
  });
  wheel.after(10, () => rang.push("same tick"));
  wheel.after(500, () => rang.push("later"));
  assert.throws(() => clock.advance(10), /a fault of an alarm/);
  clock.advance(500);
  assert.deepEqual(rang, ["same tick", "later"]);
});

Deno.test("a hundred thousand alarms take one alarm of the clock", () => {
  const clock = new ManualClock(), wheel = new TimerWheel(clock), next = random(SEED);
  let rang = 0;
  const cancels = Array.from({ length: 100_000 }, () => wheel.after(next() % 600_000, () => rang++));
  assert.equal(clock.pending, 1);
  for (let i = 0; i < cancels.length; i += 2) cancels[i]();
  clock.advance(600_001);
  assert.equal(rang, 50_000, `SEED=${SEED}`);
});
