import assert from "node:assert/strict";
import { type Job, Runner } from "./runner.ts";

/** A clock that stands still, with the alarms that were set; and turns of an event loop that are taken by hand. */
function stage() {
  let now = 100;
  const alarms: { at: number; fn: () => void }[] = [], turns: (() => void)[] = [];
  const clock = {
    now: () => now,
    monotonic: () => now,
    after(delayMs: number, fn: () => void) {
      const alarm = { at: now + delayMs, fn };
      alarms.push(alarm);
      return () => void alarms.splice(alarms.indexOf(alarm) >>> 0, 1);
    },
  };
  return {
    alarms,
    runner: new Runner(clock, () => new Promise((done) => void turns.push(done))),
    pass: (ms: number) => void (now += ms),
    /** Ends the turn, and lets all run who waited for that. */
    async turn() {
      for (const done of turns.splice(0)) done();
      await rest();
    },
  };
}

/** Lets promises and microtasks have their turns. */
async function rest(): Promise<void> {
  for (let i = 0; i < 10; i++) await null;
}

/** A job that is due when `at` says so, and counts. */
function counted(): Job & { at: number; polls: number; then: () => void } {
  return {
    at: Infinity,
    polls: 0,
    then() {},
    pollAt() {
      return this.at;
    },
    poll() {
      this.polls++;
      this.then();
    },
  };
}

Deno.test("Runner: however much users do in one go, jobs are polled once behind it", async () => {
  const { runner } = stage(), job = counted();
  runner.add(job);
  for (let i = 0; i < 5; i++) runner.kick();
  assert.equal(job.polls, 0);
  await rest();
  assert.equal(job.polls, 1);
});

Deno.test("Runner: who is told in a poll and does something is polled again only if that left something to do", async () => {
  const { runner } = stage(), job = counted();
  runner.add(job);
  await rest();
  job.then = () => runner.kick();
  runner.begin();
  runner.end();
  await rest();
  assert.equal(job.polls, 2);
  job.then = () => {
    runner.kick();
    job.at = job.polls === 3 ? runner.now : Infinity;
  };
  runner.begin();
  runner.end();
  await rest();
  assert.equal(job.polls, 4);
});

Deno.test("Runner: what was due soon and is done when the turn of the event loop ends sets no alarm", async () => {
  const { runner, alarms, turn } = stage(), job = counted();
  runner.add(job);
  await rest();
  job.at = runner.now + 1;
  runner.poll();
  assert.equal(alarms.length, 0);
  job.at = Infinity;
  await turn();
  assert.equal(alarms.length, 0);
});

Deno.test("Runner: an alarm is set for what is still to come then, and goes off", async () => {
  const { runner, alarms, turn, pass } = stage(), job = counted();
  runner.add(job);
  await rest();
  job.at = runner.now + 5;
  runner.poll();
  await turn();
  assert.deepEqual(alarms.map(({ at }) => at), [105]);
  pass(5);
  job.at = Infinity;
  alarms[0].fn();
  assert.equal(job.polls, 3);
});

Deno.test("Runner: what is due by the end of the turn is done then, and one that comes sooner moves the alarm", async () => {
  const { runner, alarms, turn, pass } = stage(), job = counted();
  runner.add(job);
  await rest();
  job.at = runner.now + 1;
  runner.poll();
  pass(2);
  job.then = () => void (job.at = 150);
  await turn();
  assert.equal(job.polls, 3);
  await turn();
  assert.deepEqual(alarms.map(({ at }) => at), [150]);
  job.at = 120;
  job.then = () => {};
  runner.poll();
  await turn();
  assert.deepEqual(alarms.map(({ at }) => at), [120]);
  runner.stop();
  assert.equal(alarms.length, 0);
});
