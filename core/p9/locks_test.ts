import assert from "node:assert/strict";
import { Chan, type Dev, Req } from "../dev.ts";
import { Err } from "../err.ts";
import {
  clientOf,
  LOCK_BLOCKED,
  LOCK_MAY_WAIT,
  LOCK_READ,
  LOCK_SUCCESS,
  LOCK_UNLOCK,
  LOCK_WRITE,
  LockTable,
  ownId,
} from "./locks.ts";
import type { Flock } from "./types.ts";

const user = { name: "ken", uid: 1, gid: 1 };

/** Chans of one file, and locks of its first hundred bytes. */
function fixture() {
  const table = new LockTable(), dev = {} as Dev;
  const chan = () => new Chan(dev, { type: 0, vers: 0, path: 7 }, null, user);
  const flock = (procId: number, part: Partial<Flock> = {}): Flock => (
    { type: LOCK_WRITE, flags: 0, start: 0, length: 100, procId, clientId: "1/guest", ...part }
  );
  const lock = (c: Chan, procId: number, part?: Partial<Flock>, req = new Req(user)) =>
    table.lock(c, flock(procId, part), req);
  return { table, chan, flock, lock };
}

const WAIT = { flags: LOCK_MAY_WAIT };

Deno.test("locks: those who wait are granted in their order, readers together", async () => {
  const { chan, lock } = fixture(), c = chan(), order: number[] = [];
  lock(c, 1);
  const wait = (procId: number, type: number) =>
    Promise.resolve(lock(c, procId, { ...WAIT, type })).then((status) => {
      assert.equal(status, LOCK_SUCCESS);
      order.push(procId);
    });
  const waits = [wait(2, LOCK_READ), wait(3, LOCK_WRITE), wait(4, LOCK_READ)];
  lock(c, 1, { type: LOCK_UNLOCK });
  await Promise.all([waits[0], waits[2]]);
  assert.deepEqual(order, [2, 4]);
  lock(c, 2, { type: LOCK_UNLOCK });
  lock(c, 4, { type: LOCK_UNLOCK });
  await waits[1];
  assert.deepEqual(order, [2, 4, 3]);
});

Deno.test("locks: a flush, and the clunk of the file, end a wait; neither takes a lock with it", async () => {
  const { table, chan, lock } = fixture(), mine = chan(), theirs = chan(), req = new Req(user);
  lock(mine, 1);
  const flushed = lock(theirs, 2, WAIT, req), clunked = lock(theirs, 3, WAIT);
  req.flush();
  await assert.rejects(async () => await flushed, { code: "EINTR" });
  table.release(theirs);
  await assert.rejects(async () => await clunked, { code: "EBADF" });
  lock(mine, 1, { type: LOCK_UNLOCK });
  assert.equal(lock(mine, 4), LOCK_SUCCESS);
});

Deno.test("locks: a file that is clunked gives its locks to who waits", async () => {
  const { table, chan, lock } = fixture(), mine = chan(), theirs = chan();
  lock(mine, 1);
  const wait = lock(theirs, 2, WAIT);
  table.release(mine);
  assert.equal(await wait, LOCK_SUCCESS);
  assert.equal(lock(chan(), 3), LOCK_BLOCKED);
});

Deno.test("locks: a lock made smaller lets others in, and the middle of one can be given up", async () => {
  const { table, chan, flock, lock } = fixture(), c = chan();
  lock(c, 1, { length: 0 });
  const wait = lock(c, 2, { ...WAIT, start: 10, length: 10 });
  lock(c, 1, { type: LOCK_UNLOCK, start: 10, length: 10 });
  assert.equal(await wait, LOCK_SUCCESS);
  const held = table.held().map(({ lock: { procId, start, length } }) => [procId, start, length]);
  assert.deepEqual(held, [[1, 0, 10], [1, 20, 0], [2, 10, 10]]);
  assert.deepEqual(table.getlock(c, flock(2)), flock(1, { length: 10 }));
});

Deno.test("locks: processes of one number of two connections are two owners, at any distance", () => {
  const { chan, lock } = fixture(), c = chan();
  assert.equal(lock(c, 1), LOCK_SUCCESS);
  assert.equal(lock(c, 1), LOCK_SUCCESS);
  assert.equal(lock(c, 1, { clientId: ownId(2, "guest") }), LOCK_BLOCKED);
  assert.equal(clientOf(ownId(12, ownId(3, "guest/1"))), "guest/1");
});

Deno.test("locks: what is cleared tells who waits why, and bytes past 2^53 are kept", async () => {
  const { table, chan, lock } = fixture(), c = chan(), start = 2n ** 63n;
  lock(c, 1, { start, length: 5 });
  assert.deepEqual(table.held()[0].lock.start, start);
  const wait = lock(c, 2, { ...WAIT, length: 0 });
  assert.deepEqual(table.waiting().map(({ lock: { procId, length } }) => [procId, length]), [[2, 0]]);
  table.clear(new Err("ESTALE"));
  await assert.rejects(async () => await wait, { code: "ESTALE" });
  assert.deepEqual([table.held(), table.waiting()], [[], []]);
});

Deno.test("locks: too many, and types that are none, are refused", () => {
  const { chan, lock } = fixture(), c = chan();
  assert.throws(() => lock(c, 1, { type: 3 }), { code: "EINVAL" });
  assert.throws(() => {
    for (let i = 0; i < 20_000; i++) lock(c, 1, { start: 2 * i, length: 1, type: LOCK_READ });
  }, { code: "ENOLCK" });
  lock(c, 1, { type: LOCK_UNLOCK, length: 0 });
  assert.equal(lock(c, 2), LOCK_SUCCESS);
});
