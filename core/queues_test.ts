/** The table of hardware queues: one owner, refusals, revocation with hand-over and by force. */

import assert from "node:assert/strict";
import { ManualClock } from "../tests/manual_clock.ts";
import type { Err } from "./err.ts";
import { QueueTable, type Revocation } from "./queues.ts";

function table(): { queues: QueueTable; clock: ManualClock; log: string[] } {
  const clock = new ManualClock(), log: string[] = [];
  const queues = new QueueTable(clock, (line) => log.push(line));
  queues.register({ name: "ether0/1", kind: "tap", handle: 42, counters: () => ({ frames: 7 }) });
  queues.register({ name: "ether0/0", kind: "tap", handle: 41 });
  return { queues, clock, log };
}

function refuses(code: string, run: () => unknown, text = /./): void {
  assert.throws(run, (e: Err) => e.code === code && text.test(e.message));
}

Deno.test("a queue has one owner; a second claim is refused with the owner's name", () => {
  const { queues } = table();
  const claim = queues.claim("ether0/0", { owner: "ip" });
  assert.equal(claim.handle, 41);
  refuses("EBUSY", () => queues.claim("ether0/0", { owner: "sniffer" }), /owned by ip/);
  queues.claim("ether0/1", { owner: "sniffer" });
  assert.equal(queues.status(), "ether0/0 tap owned ip 1\nether0/1 tap owned sniffer 1\n");
});

Deno.test("a released queue can be claimed again, and the old claim is worth nothing", () => {
  const { queues } = table();
  const first = queues.claim("ether0/0", { owner: "ip" });
  first.release();
  const second = queues.claim("ether0/0", { owner: "dhcp" });
  first.release();
  assert.ok(second.valid && !first.valid);
  assert.equal(second.generation, 2);
  refuses("ESTALE", () => first.handle, /ip no longer owns/);
});

Deno.test("names are checked, taken once, and must be there", () => {
  const { queues } = table();
  refuses("EEXIST", () => queues.register({ name: "ether0/0", kind: "tap", handle: 0 }));
  for (const name of ["", "a b", "/a", "a//b", "a\n"]) {
    refuses("EINVAL", () => queues.register({ name, kind: "tap", handle: 0 }));
  }
  refuses("ENOENT", () => queues.claim("sd0", { owner: "ext2" }));
});

Deno.test("a queue goes out of the table only when nobody owns it", async () => {
  const { queues } = table();
  queues.claim("ether0/0", { owner: "ip" });
  refuses("EBUSY", () => queues.unregister("ether0/0"), /owned by ip/);
  await queues.revoke("ether0/0");
  queues.unregister("ether0/0");
  assert.equal(queues.rows().length, 1);
});

Deno.test("a revoked queue is handed over: the owner is told who is next, and what it answers reaches the next", async () => {
  const { queues, clock } = table();
  const told: Revocation[] = [];
  const old = queues.claim("ether0/0", {
    owner: "ip",
    onRevoke: async (why) => {
      told.push(why);
      await Promise.resolve();
      assert.ok(old.valid, "until it has answered the queue is its own");
      return { unsent: 3 };
    },
  });
  const revoking = queues.revoke("ether0/0", { reason: "upgrade", next: { owner: "ip.new" }, deadlineMs: 50 });
  assert.equal(queues.rows()[0].state, "revoking");
  refuses("EBUSY", () => queues.claim("ether0/0", { owner: "thief" }), /being revoked/);
  await assert.rejects(queues.revoke("ether0/0"), (e: Err) => e.code === "EALREADY");
  const claim = await revoking;
  assert.deepEqual(told, [{ reason: "upgrade", next: "ip.new", deadlineMs: 50 }]);
  assert.deepEqual(claim?.handedOver, { unsent: 3 });
  assert.ok(claim.valid && !old.valid);
  assert.equal(clock.pending, 0);
  assert.equal(queues.status().split("\n")[0], "ether0/0 tap owned ip.new 2");
});

Deno.test("an owner that does not answer, or throws, loses the queue by force", async () => {
  const { queues, clock, log } = table();
  queues.claim("ether0/0", { owner: "hung", onRevoke: () => new Promise(() => {}) });
  const revoking = queues.revoke("ether0/0", { next: { owner: "ip" }, deadlineMs: 100 });
  clock.advance(99);
  assert.equal(queues.rows()[0].state, "revoking");
  clock.advance(1);
  const claim = await revoking;
  assert.equal(claim?.handedOver, undefined);
  assert.match(log[0], /ether0\/0 taken from hung by force: it gave no answer \(deadline 100 ms\)/);

  queues.claim("ether0/1", {
    owner: "faulty",
    onRevoke: () => {
      throw new Error("oops");
    },
  });
  assert.equal(await queues.revoke("ether0/1"), undefined);
  assert.match(log[1], /faulty by force: oops/);
  assert.equal(queues.rows()[1].state, "free");
  assert.deepEqual(queues.rows().map((q) => q.forced), [1, 1]);
});

Deno.test("a free queue can be given away by revoke too", async () => {
  const { queues } = table();
  const claim = await queues.revoke("ether0/0", { next: { owner: "ip" } });
  assert.equal(claim?.owner, "ip");
  assert.equal(queues.rows()[0].revoked, 0);
});

Deno.test("all that an owner had is free when it has gone", () => {
  const { queues } = table();
  for (const name of ["ether0/0", "ether0/1"]) queues.claim(name, { owner: "ip" });
  assert.equal(queues.drop("ip"), 2);
  assert.equal(queues.drop("ip"), 0);
  queues.claim("ether0/0", { owner: "other" });
});

Deno.test("an owner that dies while its queue is revoked is not waited for", async () => {
  const { queues, clock } = table();
  queues.claim("ether0/0", { owner: "ip", onRevoke: () => new Promise(() => {}) });
  const revoking = queues.revoke("ether0/0", { next: { owner: "ip.new" } });
  assert.equal(queues.drop("ip"), 1);
  assert.equal((await revoking)?.owner, "ip.new");
  assert.equal(clock.pending, 0);
});

Deno.test("stats has the table's counters and the driver's", () => {
  const { queues } = table();
  queues.claim("ether0/1", { owner: "ip" });
  refuses("EBUSY", () => queues.claim("ether0/1", { owner: "x" }));
  assert.equal(queues.stats().split("\n")[1], "ether0/1 claims 1 refused 1 revoked 0 forced 0 frames 7");
});

Deno.test("a queue that is handed over waits for its next owner, with what the one before had under way", async () => {
  const { queues } = table();
  const first = queues.claim("ether0/0", { owner: "ip", onRevoke: () => ["frame 1", "frame 2"] });
  await queues.handOver("ether0/0", "ip2");
  assert.ok(!first.valid);
  assert.match(queues.status(), /^ether0\/0 tap reserved ip2 /);
  refuses("EBUSY", () => queues.claim("ether0/0", { owner: "sniffer" }), /reserved for ip2/);
  const next = queues.claim("ether0/0", { owner: "ip2" });
  assert.deepEqual(next.handedOver, ["frame 1", "frame 2"]);
  await queues.handOver("ether0/0", null);
  queues.claim("ether0/0", { owner: "sniffer" });
});

Deno.test("who waits for a queue is told once, when it is put into the table, unless it has stopped waiting", () => {
  const { queues } = table(), told: string[] = [];
  const wait = (who: string, name: string) => queues.whenRegistered(name, () => told.push(who));
  wait("a", "ether1/0");
  wait("b", "ether1/0")();
  wait("there already", "ether0/0");
  queues.register({ name: "ether1/1", kind: "tap", handle: 1 });
  assert.deepEqual(told, []);
  queues.register({ name: "ether1/0", kind: "tap", handle: 2 });
  queues.unregister("ether1/0");
  queues.register({ name: "ether1/0", kind: "tap", handle: 3 });
  assert.deepEqual(told, ["a"]);
});
