/** What core/host says of this host, checked against what the host says elsewhere. */

import assert from "node:assert/strict";
import { ffi, interop } from "../../tests/skip.ts";
import type { Err } from "../err.ts";
import { hostClock } from "./clock.ts";
import { errno, libc } from "./libc.ts";
import * as host from "./threads.ts";
import { turn } from "./turn.ts";

errno(); // loads the C library, which stays, before the sanitizers look

libc(); // stays open, so it is no test's leak

interop("a thread that is pinned may run on that CPU only, and runs there", { needs: [ffi] }, () => {
  const before = host.allowedCpus(), cpu = before.at(-1)!;
  try {
    host.pinSelf(cpu);
    assert.deepEqual(host.allowedCpus(), [cpu]);
    assert.equal(host.currentCpu(), cpu);
    assert.deepEqual(host.threads().find((t) => t.tid === host.gettid())?.cpus, [cpu]);
  } finally {
    host.pinThread(0, before);
  }
  assert.deepEqual(host.allowedCpus(host.gettid()), before);
});

interop("a CPU or a thread that is not there is an error with a reason", { needs: [ffi] }, () => {
  assert.throws(() => host.pinSelf(1023), (e: Err) => e.code === "EINVAL" && /CPU 1023/.test(e.message));
  assert.throws(() => host.pinSelf(-1), (e: Err) => e.code === "EINVAL");
  assert.throws(() => host.pinThread(2 ** 30, [0]), (e: Err) => e.code === "ESRCH");
  assert.equal(errno(), 3); // ESRCH
});

Deno.test("a worker is found as a new thread, with the name that Linux shows", async () => {
  const before = host.threadIds();
  const worker = new Worker("data:text/javascript,postMessage(0)", { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  const fresh = host.threads().filter((t) => !before.includes(t.tid) && t.name.startsWith("worker-"));
  assert.equal(fresh.length, 1);
  assert.ok(host.threadsNamed(fresh[0].name).some((t) => t.tid === fresh[0].tid));
  assert.ok(host.threadCpuMs(fresh[0].tid) > 0);
  worker.terminate();
});

Deno.test("a thread's CPU time grows while it works", () => {
  const start = host.threadCpuMs();
  let x = 1;
  while (host.threadCpuMs() - start < 2) for (let i = 0; i < 1e5; i++) x = Math.imul(x, 31) + 1;
  assert.notEqual(x, 0);
});

Deno.test("the host's clock has a fraction, goes with the wall clock, and does not go back", () => {
  let last = hostClock.monotonic();
  for (let i = 0; i < 1000; i++) {
    assert.ok(Math.abs(hostClock.now() - Date.now()) < 50);
    const t = hostClock.monotonic();
    assert.ok(t >= last);
    last = t;
  }
});

Deno.test("an alarm rings once, a cancelled one never", async () => {
  const rung: string[] = [];
  const hold = setInterval(() => {}, 1000);
  const cancel = hostClock.after(1, () => rung.push("cancelled"));
  const cancelFar = hostClock.after(2 ** 33, () => rung.push("in a hundred days"));
  cancel();
  await new Promise<void>((resolve) => hostClock.after(2, () => (rung.push("rung"), resolve())));
  await turn();
  cancelFar();
  clearInterval(hold);
  assert.deepEqual(rung, ["rung"]);
});

Deno.test("a turn lets what waits for the event loop go on", async () => {
  const seen: string[] = [];
  const port = new MessageChannel();
  port.port1.onmessage = () => seen.push("message");
  port.port2.postMessage(0);
  for (let i = 0; i < 1000 && seen.length === 0; i++) await turn();
  port.port1.close();
  port.port2.close();
  port.port2.close();
  assert.deepEqual(seen, ["message"]);
});
