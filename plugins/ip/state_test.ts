import assert from "node:assert/strict";
import { ORDWR } from "../../core/p9/types.ts";
import type { Files } from "../../core/plugin/testing.ts";
import { Conversation } from "./fixture.ts";
import type { ServedStack } from "./served.ts";
import { makeStack, type Progress, pump, Traffic } from "./state_fixture.ts";
import type { Begin, Said } from "./state_worker_fixture.ts";

const CONNECTIONS = 30, TOTAL = 150_000, PORT = 7;

/** What is left of a stack here is its alarm, which keeps nothing alive. */
const STACKS_RUN_ON = { sanitizeOps: false, sanitizeResources: false };

const soon = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Two stacks whose frames are copied from one to the other, and connections between them. */
async function joined(count: number): Promise<
  {
    left: { served: ServedStack; files: Files };
    right: { served: ServedStack; files: Files };
    cut(): void;
    here: Progress[];
    there: Progress[];
  }
> {
  const left = makeStack(1), right = makeStack(2), stop = new AbortController();
  await join(left.files, right.files, stop.signal);
  const server = await Conversation.open(right.files, "tcp", `announce ${PORT}`);
  const here: Progress[] = [], there: Progress[] = [];
  for (let n = 0; n < count; n++) {
    const accepted = server.accept(), client = await Conversation.open(left.files, "tcp", `connect 10.0.0.2!${PORT}`);
    const call = await accepted;
    for (const conv of [client, call]) await conv.ctl.write("nonblocking\nsndbuf 20000\nrcvbuf 20000");
    here.push({ dir: client.dir, sends: 2 * n, expects: 2 * n + 1, written: 0, read: 0 });
    there.push({ dir: call.dir, sends: 2 * n + 1, expects: 2 * n, written: 0, read: 0 });
  }
  return { left, right, cut: () => stop.abort(), here, there };
}

async function join(left: Files, right: Files, signal: AbortSignal): Promise<void> {
  const [a, b] = [await left.open("ipifc/1/data", ORDWR), await right.open("ipifc/1/data", ORDWR)];
  void pump(left, (frames) => b.writeBytes(frames), signal);
  void pump(right, (frames) => a.writeBytes(frames), signal);
}

/** Runs until something is under way on all connections. */
async function midway(traffics: Traffic[], progress: Progress[]): Promise<void> {
  while (progress.some(({ read, written }) => read < 20_000 || written < 20_000)) {
    for (const traffic of traffics) await traffic.step();
    await soon();
  }
  for (const traffic of traffics) await traffic.step(); // queues are full again
}

Deno.test({
  name: "ip: a stack is saved in mid-transfer and goes on in its place, with every byte right",
  ...STACKS_RUN_ON,
}, async () => {
  const { left, right, cut, here, there } = await joined(CONNECTIONS);
  const far = new Traffic(right.files, there, TOTAL);
  await midway([new Traffic(left.files, here, TOTAL), far], here);
  const udp = await Conversation.open(left.files, "udp", "headers", "announce 5353");
  const listener = await Conversation.open(left.files.as("rob"), "tcp", "announce 8080");
  await left.files.write("ndb", "dns=10.0.0.2\n");
  const before = (await left.files.read(`${here[3].dir}/local`)) + await left.files.read("ipifc/1/status");
  cut();
  const saved = structuredClone(left.served.save());
  const { files } = makeStack(1, saved), stop = new AbortController();
  assert.equal((await files.read(`${here[3].dir}/local`)) + await files.read("ipifc/1/status"), before);
  assert.equal(await files.read("ndb"), "dns=10.0.0.2\n");
  assert.equal((await files.stat(`${listener.dir}/ctl`)).uid, "rob");
  assert.equal(await files.read(`${udp.dir}/local`), "::!5353\n");
  await join(files, right.files, stop.signal);
  const near = new Traffic(files, here, TOTAL);
  for (let isDone = false; !isDone; await soon()) {
    const [one, other] = [await near.step(), await far.step()];
    isDone = one && other;
  }
  const caller = await Conversation.open(right.files, "tcp", "connect 10.0.0.1!8080");
  assert.match(await files.read(`${listener.dir}/status`), /^Listen .* calls 1 /, "listeners listen on");
  await caller.close();
  stop.abort();
});

Deno.test(
  { name: "ip: another isolate goes on with a stack that was saved in mid-transfer", ...STACKS_RUN_ON },
  async () => {
    const { left, right, cut, here, there } = await joined(CONNECTIONS);
    const far = new Traffic(right.files, there, TOTAL), stop = new AbortController();
    await midway([new Traffic(left.files, here, TOTAL), far], here);
    const worker = new Worker(new URL("state_worker_fixture.ts", import.meta.url), { type: "module" });
    // A peer that hears nothing for long asks ever more seldom: the isolate is there before the stack stands still.
    await new Promise((resolve) => worker.onmessage = resolve);
    cut();
    const link = await right.files.open("ipifc/1/data", ORDWR);
    let isOver = false;
    const over = new Promise<void>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Said>) => {
        if ("frames" in data) void link.writeBytes(data.frames);
        else if ("failed" in data) reject(new Error(data.failed));
        else resolve();
      };
    }).finally(() => isOver = true);
    worker.postMessage({ saved: left.served.save(), progress: here, total: TOTAL } satisfies Begin);
    void pump(right.files, (frames) => worker.postMessage({ frames }), stop.signal);
    for (let isDone = false; !isDone || !isOver; await soon()) isDone = await far.step();
    await over;
    stop.abort();
    worker.terminate();
  },
);

Deno.test("ip: a state of another version is refused", () => {
  const { served } = makeStack(1);
  assert.throws(() => makeStack(1, { ...served.save(), version: 2 }), { code: "EINVAL", message: /version 2/ });
});
