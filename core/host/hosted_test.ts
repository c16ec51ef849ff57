import assert from "node:assert/strict";
import type { Clock } from "../clock.ts";
import { BEAT_MS, errorText, textError, within } from "./hosted.ts";
import { bellWords, createBell } from "../ring/doorbell.ts";
import { libc } from "./libc.ts";
import { Pulse } from "./pulse.ts";
import { gettid, threadCpuMs } from "./threads.ts";
import { Watch, Watchdog } from "./watchdog.ts";

libc(); // stays open, so it is no test's leak
import { Err } from "../err.ts";

/** A clock that stands until it is moved. */
class HandClock implements Clock {
  time = 0;
  #alarms = new Map<number, { at: number; fn: () => void }>();
  #n = 0;
  now(): number {
    return this.time;
  }
  monotonic(): number {
    return this.time;
  }
  after(delayMs: number, fn: () => void): () => void {
    const n = ++this.#n;
    this.#alarms.set(n, { at: this.time + delayMs, fn });
    return () => this.#alarms.delete(n);
  }
  get alarms(): number {
    return this.#alarms.size;
  }
  move(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const [n, next] = [...this.#alarms].filter(([, a]) => a.at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!next) break;
      this.#alarms.delete(n!);
      this.time = next.at;
      next.fn();
    }
    this.time = end;
  }
}

Deno.test("a watch calls once when the heart has stood still long enough, and not before", () => {
  const clock = new HandClock(), watch = new Watch(clock);
  let beats = 0, hung = 0;
  watch.add(() => beats, [{ ms: 4 * BEAT_MS, passed: () => hung++ }]);
  for (let i = 0; i < 20; i++) {
    beats++;
    clock.move(BEAT_MS);
  }
  assert.equal(hung, 0);
  clock.move(4 * BEAT_MS);
  assert.equal(hung, 0, "one look more than the limit, since beats and looks drift");
  clock.move(2 * BEAT_MS);
  assert.equal(hung, 1);
  clock.move(20 * BEAT_MS);
  assert.equal(hung, 1);
});

Deno.test("a watch that is ended calls nobody, and keeps no alarm", () => {
  const clock = new HandClock(), watch = new Watch(clock);
  const end = watch.add(() => 0, [{ ms: BEAT_MS, passed: () => assert.fail("it was ended") }]);
  end();
  clock.move(10 * BEAT_MS);
  assert.equal(clock.alarms, 0);
});

Deno.test("within() gives up after its time, passes errors on, and leaves no alarm", async () => {
  const clock = new HandClock();
  const never = within(clock, 100, new Promise(() => {}));
  clock.move(100);
  assert.equal(await never, undefined);
  await assert.rejects(within(clock, 100, Promise.reject(new Err("EBUSY"))), { code: "EBUSY" });
  assert.equal(await within(clock, 100, Promise.resolve(7)), 7);
  await null;
  assert.equal(clock.alarms, 0);
});

Deno.test("an error keeps its code on the way, and garbage becomes EIO", () => {
  const sent = errorText(new Err("EBUSY", "taken"));
  assert.deepEqual(textError(sent, "x").code, "EBUSY");
  assert.equal(textError(sent, "x").message, "x: taken");
  assert.match(sent.text, /Err: taken\n\s+at /);
  for (const garbage of [null, 7, "x", {}, { code: "toString", message: { a: 1 } }]) {
    assert.equal(textError(garbage, "x").code, "EIO");
  }
  assert.ok(textError({ message: "y".repeat(1e6) }, "x").message.length < 5000);
});

Deno.test("a watchdog tells first and kills later; a heart that beats again is told of, and left alone counts", () => {
  const clock = new HandClock(), watch = new Watch(clock), told: string[] = [];
  let beats = 0;
  const watched = { beats: () => beats, gone: () => false, hung: (why: string) => void told.push(`kill: ${why}`) };
  const dog = new Watchdog(watch, watched, 0);
  dog.set({ warn: 1000, watchdog: 3000, hang: "kill" }, (text) => told.push(text));
  clock.move(20_000);
  assert.equal(told.length, 0, "a start has a limit of its own");
  dog.up();
  clock.move(2000);
  assert.deepEqual(told.splice(0), ["no heartbeat for 1000 ms, it is killed at 3000"]);
  beats++;
  clock.move(500);
  assert.deepEqual(told.splice(0), ["its heart beats again"]);
  clock.move(10_000);
  assert.deepEqual(told.splice(0).slice(1), [
    "no heartbeat for 3000 ms: it is killed",
    "kill: no heartbeat for 3000 ms",
  ]);
  dog.set({ warn: 0, watchdog: 1000, hang: "report" }, (text) => told.push(text));
  clock.move(10_000);
  assert.deepEqual([told.splice(0), dog.hangs], [["no heartbeat for 1000 ms: it is left alone"], 1]);
  dog.set({ warn: 0, watchdog: 0, hang: "kill" }, (text) => told.push(text));
  clock.move(100_000);
  dog.end();
  clock.move(BEAT_MS);
  assert.deepEqual([told, clock.alarms], [[], 0]);
});

Deno.test("an isolate that rests is not asked for heartbeats; one that works, was handed something or is suspect is", () => {
  const bell = createBell(), words = bellWords(bell);
  let asked = 0, handed = 0, suspect = false;
  const burn = (ms: number) => {
    for (const end = threadCpuMs() + ms; threadCpuMs() < end;);
  };
  const pulse = new Pulse({
    tid: gettid,
    bell: () => bell,
    beats: () => 0,
    handed: () => handed,
    suspect: () => suspect,
    ask: () => asked++,
  });
  const asks = () => {
    const before = asked, felt = pulse.feel();
    return { asked: asked > before, beat: pulse.feel() > felt };
  };
  assert.deepEqual(asks(), { asked: true, beat: false }, "it is awake: whether its loop turns has to be asked");
  words[0] = 1; // parked
  pulse.feel();
  assert.deepEqual(asks(), { asked: false, beat: true });
  handed++;
  assert.equal(asks().asked, true);
  suspect = true;
  assert.equal(asks().asked, true);
  suspect = false;
  burn(10);
  assert.equal(asks().asked, true, "parked, and in a callback of its loop");
  words[0] = 2; // blocked
  burn(10);
  assert.equal(asks().asked, false, "a program, in a call that blocks");
});
