import assert from "node:assert/strict";
import { type Ip, ipFromV4, parseIp } from "../addr.ts";
import { Random } from "../wire/wire_fixture.ts";
import { Entry, Table } from "./table.ts";
import { type Timed, TimerQueue } from "./timer_queue.ts";

class Named extends Entry {
  readonly kind = "conn";
}

const LOCAL = parseIp("10.0.0.1")!;

Deno.test("entries are found by both ends, among thousands, and not by any other", () => {
  const table = new Table(12345), entries: Named[] = [];
  for (let i = 0; i < 5000; i++) {
    const entry = new Named(LOCAL, 80 + i % 3, ipFromV4(0x0a000000 + i % 50), 1024 + (i / 150 | 0) * 3 + i % 3);
    if (table.find(entry.local, entry.localPort, entry.remote, entry.remotePort) !== undefined) continue;
    table.add(entry);
    entries.push(entry);
  }
  assert.ok(entries.length > 3000);
  const find = (it: Entry, local: Ip = it.local) => table.find(local, it.localPort, it.remote, it.remotePort);
  for (const entry of entries) assert.equal(find(entry), entry);
  assert.equal(find(entries[0], parseIp("10.0.0.9")!), undefined);
  assert.equal(find(entries[0], parseIp("::10.0.0.1")!), undefined);
  for (const entry of entries.filter((_, i) => i % 2 === 0)) {
    table.remove(entry);
    table.remove(entry);
  }
  entries.forEach((entry, i) => assert.equal(find(entry), i % 2 === 0 ? undefined : entry));
  assert.equal([...table].length, table.count);
});

Deno.test("timers come in the order in which they are due, though they are put off, hastened and removed", () => {
  class Timer implements Timed {
    queuedAt = 0;
    queueIndex = -1;
    constructor(public dueAt: number) {}
  }
  for (let seed = 1; seed <= 30; seed++) {
    const random = new Random(seed), queue = new TimerQueue<Timer>(), live = new Set<Timer>();
    let now = 0;
    for (let step = 0; step < 400; step++) {
      const timer = random.below(2) === 0 || live.size === 0
        ? new Timer(now + random.below(100))
        : [...live][random.below(live.size)];
      const what = random.below(5);
      if (what === 0) {
        queue.remove(timer);
        live.delete(timer);
      } else {
        timer.dueAt = what === 1 ? Infinity : now + random.below(100);
        queue.update(timer);
        live.add(timer);
      }
      now += random.below(8);
      for (let due = queue.due(now); due !== undefined; due = queue.due(now)) {
        assert.ok(due.dueAt <= now && live.delete(due), `seed ${seed}`);
      }
      for (const it of live) assert.ok(it.dueAt > now, `seed ${seed}: one was forgotten`);
      queue.settle();
      assert.equal(queue.nextAt, Math.min(...Array.from(live, (it) => it.dueAt)), `seed ${seed}`);
    }
  }
});
