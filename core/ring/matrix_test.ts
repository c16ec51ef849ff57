/** The matrix: who gets which rings, what happens when an isolate goes, what the table says. */

import assert from "node:assert/strict";
import { clearInterval, setImmediate, setInterval } from "node:timers";
import type { Err } from "../err.ts";
import { RingMatrix } from "./matrix.ts";
import { Doorbell } from "./doorbell.ts";
import { ringTransport } from "./transport.ts";

const BYTES = 1024;

function matrix(...names: string[]): RingMatrix {
  const m = new RingMatrix({ ringBytes: BYTES });
  for (const name of names) m.join(name);
  return m;
}

function refuses(code: string, run: () => unknown): void {
  assert.throws(run, (e: Err) => e.code === code);
}

Deno.test("a pair that talks has one ring each way, made once", () => {
  const m = matrix("ip", "ether", "ram");
  assert.equal(m.rows().length, 0);
  const [ip, ether] = m.connect("ip", "ether");
  assert.deepEqual(m.rows().map((r) => `${r.from}>${r.to}`), ["ip>ether", "ether>ip"]);
  const [etherAgain, ipAgain] = m.connect("ether", "ip");
  assert.equal(etherAgain.in.buffer, ether.in.buffer);
  assert.equal(ipAgain.out.buffer, ip.out.buffer);
  assert.equal(m.rows().length, 2);
});

Deno.test("bytes go both ways between two isolates of the matrix", () => {
  const m = matrix("a", "b");
  const [a, b] = m.connect("a", "b").map((port) => ringTransport(port));
  const into = new Uint8Array(8);
  a.write(Uint8Array.of(1, 2));
  assert.equal(b.read(into), 2);
  b.write(Uint8Array.of(3));
  assert.equal(a.read(into), 1);
  assert.equal(a.remote, "ring!b");
  const row = m.rows()[0];
  assert.deepEqual([row.producer.bytes, row.consumer.bytes, row.producer.owner, row.consumer.owner], [2, 2, 1, 2]);
});

Deno.test("an isolate sleeps on one bell for all of its rings", async () => {
  const hold = setInterval(() => {}, 1000);
  const m = matrix("hub", "left", "right");
  const [hubLeft, left] = m.connect("hub", "left"), [hubRight, right] = m.connect("hub", "right");
  const doorbell = new Doorbell(m.find("hub")!.bell, { budget: { spin: 0, turns: 0 } });
  const ends = [hubLeft, hubRight].map((port) => ringTransport(port, { doorbell }));
  const reads = ends.map((t) => t.read(new Uint8Array(8)));
  while (!doorbell.parked) await new Promise((resolve) => setImmediate(resolve));
  ringTransport(right).write(new Uint8Array(2));
  assert.equal(await reads[1], 2);
  ringTransport(left).write(new Uint8Array(5));
  assert.equal(await reads[0], 5);
  clearInterval(hold);
});

Deno.test("names are taken once, pairs are of two, and both must be there", () => {
  const m = matrix("a", "b");
  refuses("EEXIST", () => m.join("a"));
  refuses("EINVAL", () => m.connect("a", "a"));
  refuses("ENOENT", () => m.connect("a", "c"));
  refuses("ENOENT", () => m.leave("c"));
});

Deno.test("when an isolate leaves, its peers see the end and its rings are out of the table", async () => {
  const m = matrix("a", "b", "c");
  const b = ringTransport(m.connect("a", "b")[1]), c = ringTransport(m.connect("b", "c")[1]);
  m.leave("a", { gone: true });
  assert.equal(await b.read(new Uint8Array(4)), null);
  await assert.rejects(async () => b.write(new Uint8Array(1)), (e: Err) => e.code === "EPIPE");
  assert.ok(!c.out.gone);
  assert.deepEqual(m.rows().map((r) => `${r.from}>${r.to}`), ["b>c", "c>b"]);
});

Deno.test("a ring's memory is used again only when both sides have let go of it, and with a new generation", () => {
  let allocated = 0;
  const alloc = (bytes: number) => (allocated++, { buffer: new SharedArrayBuffer(bytes), offset: 0 });
  const m = new RingMatrix({ ringBytes: BYTES, alloc });
  const old = m.join("plugin");
  m.join("core");
  const [pluginPort, corePort] = m.connect("plugin", "core");
  const plugin = ringTransport(pluginPort), core = ringTransport(corePort);
  assert.equal(allocated, 2);

  m.leave("plugin");
  m.join("plugin");
  m.connect("plugin", "core");
  assert.equal(allocated, 4, "the old instance may still write");

  m.gone(old.id);
  m.join("other");
  m.connect("other", "core");
  assert.equal(allocated, 6, "the core has not closed its end");

  core.close();
  m.join("third");
  const [third] = m.connect("third", "core");
  assert.equal(allocated, 6);
  assert.equal(third.out.generation, 2);
  assert.ok(plugin.out.gone && core.out.gone);
  refuses("ESTALE", () => ringTransport(pluginPort));
  refuses("EPIPE", () => plugin.write(new Uint8Array(1)));
});

Deno.test("closing both ends is as good as being gone", () => {
  let allocated = 0;
  const alloc = (bytes: number) => (allocated++, { buffer: new SharedArrayBuffer(bytes), offset: 0 });
  const m = new RingMatrix({ ringBytes: BYTES, alloc });
  for (const name of ["a", "b"]) m.join(name);
  for (let i = 0; i < 10; i++) {
    for (const port of m.connect("a", "b")) ringTransport(port).close();
    m.disconnect("a", "b");
  }
  assert.equal(allocated, 2);
  assert.equal(m.connect("a", "b")[0].in.generation, 11);
});

Deno.test("an isolate with bytes to read that does not move is stalled; an idle one and a busy one are not", () => {
  const m = matrix("a", "b");
  const [a, b] = m.connect("a", "b").map((port) => ringTransport(port));
  assert.deepEqual(m.stalled(0, 100), []);
  assert.deepEqual(m.stalled(1000, 100), [], "idle");
  a.write(new Uint8Array(3));
  assert.deepEqual(m.stalled(1010, 100), []);
  b.in.beat();
  assert.deepEqual(m.stalled(1100, 100), [], "it moved");
  assert.deepEqual(m.stalled(1250, 100), [{ name: "b", ms: 150, unread: 3 }]);
  b.read(new Uint8Array(3));
  assert.deepEqual(m.stalled(1500, 100), []);
});

Deno.test("the table is text, a ring a line", () => {
  const m = matrix("a", "ether0");
  const [a] = m.connect("a", "ether0").map((port) => ringTransport(port));
  a.write(new Uint8Array(300));
  assert.equal(
    m.text(),
    [
      "from   to     gen state bytes messages total unread parks spins kicks full lent held",
      "a      ether0   1  open  1024        1   300    300     0     0     0    0    -    -",
      "ether0 a        1  open  1024        0     0      0     0     0     0    0    -    -",
      "",
    ].join("\n"),
  );
});
