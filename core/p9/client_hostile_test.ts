import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Err, toErr } from "../err.ts";
import { Client } from "./client.ts";
import { encode } from "./codec.ts";
import { Writer } from "./cursor.ts";
import * as m from "./msg.ts";
import type { Rmsg, Tmsg } from "./msg.ts";
import { type Answer, SAME_TAG, ScriptedServer } from "./scripted_server.ts";
import { makeDir, NOTAG } from "./types.ts";

const LINUX = m.dialectTraits("9P2000.L")!;
const qid = { type: 0, vers: 1, path: 5 };

async function connect(answer: (msg: Tmsg) => Answer | undefined): Promise<{ client: Client; server: ScriptedServer }> {
  const server = new ScriptedServer(answer);
  return { client: await Client.connect(server.transport, { dialects: ["9P2000.L"] }), server };
}

/** A whole reply as bytes, to be spoiled. */
function bytesOf(reply: Rmsg, tag: number): Uint8Array {
  const w = new Writer(256, 1 << 20);
  encode(w, { ...reply, tag }, LINUX);
  return w.bytes.slice(0, w.at);
}

function withSize(bytes: Uint8Array, size = bytes.length): Uint8Array {
  new DataView(bytes.buffer).setUint32(0, size, true);
  return bytes;
}

function frame(size: number, type: number, tag: number, ...rest: number[]): Uint8Array {
  return withSize(Uint8Array.of(0, 0, 0, 0, type, tag & 0xff, tag >> 8, ...rest), size);
}

/** Requests, each with a wrong answer. */
const WRONG: [what: string, ask: (client: Client) => Promise<unknown>, answer: (tag: number) => Answer][] = [
  ["another type", (c) => c.ops.stat(1), () => ({ type: m.Rclunk, tag: SAME_TAG })],
  ["a request's type", (c) => c.ops.stat(1), (tag) => frame(11, m.Tclunk, tag, 1, 0, 0, 0)],
  ["a type that is none", (c) => c.ops.stat(1), (tag) => frame(7, 255, tag)],
  ["Rerror in 9P2000.L", (c) => c.ops.stat(1), (tag) => frame(9, m.Rerror, tag, 0, 0)],
  ["a classic reply", (c) => c.ops.stat(1), (tag) => frame(9, m.Rstat, tag, 0, 0)],
  ["more bytes than asked", (c) => c.ops.read(1, new Uint8Array(4), 0), () => rread(5)],
  ["far more bytes than asked", (c) => c.ops.read(1, new Uint8Array(4), 0), () => rread(60_000)],
  ["a larger count than written", (c) => c.ops.write(1, new Uint8Array(4), 0), () => rwrite(5)],
  ["a count of 2^32-1", (c) => c.ops.write(1, new Uint8Array(4), 0), () => rwrite(0xffffffff)],
  ["more entries than asked", (c) => c.ops.readdir(1, 0, 10), () => rreaddir(11)],
  ["half an entry", (c) => c.ops.readdir(1, 0, 100), () => rreaddir(15)],
  ["more qids than names", (c) => c.ops.walk(1, ["a"]), () => rwalk(2)],
  ["no qid for a name", (c) => c.ops.walk(1, ["a"]), () => rwalk(0)],
  [
    "17 qids",
    (c) => c.ops.walk(1, ["a"]),
    (tag) => withSize(Uint8Array.of(...frame(0, m.Rwalk, tag, 17, 0), ...new Uint8Array(17 * 13))),
  ],
  [
    "a count past the message",
    (c) => c.ops.read(1, new Uint8Array(9), 0),
    (tag) => frame(12, m.Rread, tag, 9, 0, 0, 0, 1),
  ],
  ["bytes after the message", (c) => c.ops.clunk(99), (tag) => frame(8, m.Rclunk, tag, 0)],
  ["a string past the message", (c) => c.ops.readlink(1), (tag) => frame(10, m.Rreadlink, tag, 9, 0, 65)],
  ["no fields at all", (c) => c.ops.stat(1), (tag) => frame(7, m.Rgetattr, tag)],
];

const rread = (count: number): Rmsg => ({ type: m.Rread, tag: SAME_TAG, data: new Uint8Array(count) });
const rwrite = (count: number): Rmsg => ({ type: m.Rwrite, tag: SAME_TAG, count });
const rreaddir = (count: number): Rmsg => ({ type: m.Rreaddir, tag: SAME_TAG, data: new Uint8Array(count) });
const rwalk = (count: number): Rmsg => ({ type: m.Rwalk, tag: SAME_TAG, qids: new Array(count).fill(qid) });

for (const [what, ask, answer] of WRONG) {
  Deno.test(`a reply with ${what} fails its request, and no other`, async () => {
    let wrong = true;
    const { client, server } = await connect((msg) => {
      if (msg.type === m.Tversion) return undefined;
      if (msg.type === m.Tstatfs) return { type: m.Rlerror, tag: msg.tag, errno: 38 };
      if (!wrong) return undefined;
      wrong = false;
      return answer(msg.tag);
    });
    const [bad, good] = await Promise.allSettled([ask(client), client.ops.statfs(1)]);
    assert.equal(bad.status === "rejected" && toErr(bad.reason).code, "EPROTO");
    assert.equal(good.status === "rejected" && toErr(good.reason).code, "ENOSYS");
    await client.attach();
    assert.equal(client.rpc.failure, undefined);
    assert.ok(server.requests.length > 2);
    await client.close();
  });
}

/** What ends a connection. */
const FATAL: [what: string, answer: (tag: number) => Answer][] = [
  ["a size of 0", () => withSize(new Uint8Array(4), 0)],
  ["a size of 4", () => withSize(new Uint8Array(4), 4)],
  ["a size of 6", (tag) => frame(6, m.Rclunk, tag)],
  ["a size of 1 GiB", () => withSize(new Uint8Array(4), 1 << 30)],
  ["a size of 2^32-1", () => withSize(new Uint8Array(4), 0xffffffff)],
  ["a size over msize", (tag) => frame(65537, m.Rread, tag)],
  ["a tag that has no request", (tag) => ({ type: m.Rclunk, tag: tag + 1 })],
  ["a tag that is out of range", () => ({ type: m.Rclunk, tag: 40_000 })],
  ["NOTAG", () => ({ type: m.Rversion, tag: NOTAG, msize: 8192, version: "9P2000.L" })],
  ["its reply twice", () => [{ type: m.Rclunk, tag: SAME_TAG }, { type: m.Rclunk, tag: SAME_TAG }]],
];

for (const [what, answer] of FATAL) {
  Deno.test(`a server that sends ${what} loses the connection, and nothing hangs`, async () => {
    const { client } = await connect((msg) => {
      if (msg.type === m.Tclunk) return answer(msg.tag);
      return msg.type === m.Tread ? null : undefined;
    });
    const waiting = client.ops.read(1, new Uint8Array(10), 0);
    const [first, second] = await Promise.allSettled([waiting, client.ops.clunk(2)]);
    assert.equal(first.status === "rejected" && toErr(first.reason).code, "EPROTO");
    if (second.status === "rejected") assert.equal(toErr(second.reason).code, "EPROTO");
    assert.equal((await client.closed)?.code, "EPROTO");
    await assert.rejects(client.attach(), (e) => e instanceof Err && e.code === "EPROTO");
    await client.close();
  });
}

Deno.test("a reply to a tag that was flushed, after its Rflush, loses the connection", async () => {
  const { client, server } = await connect((msg) => {
    if (msg.type !== m.Tflush) return msg.type === m.Tread ? null : undefined;
    return [{ type: m.Rflush, tag: SAME_TAG }, { ...rread(1), tag: msg.oldtag }];
  });
  const giveUp = new AbortController();
  const reading = client.ops.read(1, new Uint8Array(10), 0, giveUp.signal);
  await server.seen(m.Tread);
  giveUp.abort();
  await assert.rejects(reading, (e) => e instanceof Err && e.code === "EINTR");
  assert.equal((await client.closed)?.code, "EPROTO");
});

Deno.test("a connection that ends in the middle of a reply fails what was under way", async () => {
  const { client, server } = await connect((msg) => {
    if (msg.type !== m.Tread) return undefined;
    return frame(50_000, m.Rread, msg.tag, ...withSize(new Uint8Array(4), 50_000 - 11), 1, 2, 3);
  });
  const reading = client.ops.read(1, new Uint8Array(60_000), 0);
  await server.seen(m.Tread);
  server.close();
  await assert.rejects(reading, (e) => e instanceof Err && e.code === "ECONNRESET");
});

Deno.test("names that lead out of a directory are refused in listings", async () => {
  for (const name of ["../etc", "a/b", "", "a\0b"]) {
    const w = new Writer(64, 1024);
    w.qid(qid);
    w.u64(1);
    w.u8(8);
    w.str(name);
    const data = w.bytes.slice(0, w.at);
    const { client } = await connect((msg) =>
      msg.type === m.Treaddir ? { type: m.Rreaddir, tag: msg.tag, data } : undefined
    );
    await assert.rejects(client.list("/"), (e) => e instanceof Err && e.code === "EPROTO");
    await client.close();
  }
});

Deno.test("a listing whose cookies stand still, and an attribute of 2^60 bytes, end in an error", async () => {
  const w = new Writer(64, 1024);
  w.qid(qid);
  w.u64(7);
  w.u8(8);
  w.str("again");
  const data = w.bytes.slice(0, w.at);
  const { client } = await connect((msg) => {
    if (msg.type === m.Treaddir) return { type: m.Rreaddir, tag: msg.tag, data };
    return msg.type === m.Txattrwalk ? { type: m.Rxattrwalk, tag: msg.tag, size: 2n ** 60n } : undefined;
  });
  await assert.rejects(client.list("/"), (e) => e instanceof Err && e.code === "EPROTO");
  await assert.rejects(client.ops.getxattr(1, "user.x"), (e) => e instanceof Err && e.code === "E2BIG");
  await client.close();
});

/** A small generator of numbers below `n`, the same for the same seed. */
function random(seed: number): (n: number) => number {
  let state = seed >>> 0 || 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** A right answer to anything. */
function right(msg: Tmsg): Rmsg {
  const { tag } = msg, dir = makeDir({ name: "", mode: 0o644, qid, length: 10 });
  switch (msg.type) {
    case m.Tread:
      return { type: m.Rread, tag, data: new Uint8Array(Math.min(msg.count, 100)) };
    case m.Twrite:
      return { type: m.Rwrite, tag, count: msg.data.length };
    case m.Twalk:
      return { type: m.Rwalk, tag, qids: msg.names.map(() => qid) };
    case m.Tgetattr:
      return { type: m.Rgetattr, tag, valid: 0x7ff, dir };
    case m.Treadlink:
      return { type: m.Rreadlink, tag, target: "somewhere" };
    case m.Tclunk:
      return { type: m.Rclunk, tag };
    default:
      return { type: m.Rlerror, tag, errno: 95 };
  }
}

/** Some bytes of `bytes` changed, cut off, or added. */
function corrupt(bytes: Uint8Array, rand: (n: number) => number): Uint8Array {
  switch (rand(6)) {
    case 0:
      return withSize(bytes.slice(0, Math.max(7, rand(bytes.length + 1))));
    case 1:
      return withSize(Uint8Array.of(...bytes, ...new Uint8Array(rand(20))));
    case 2:
      bytes[rand(bytes.length)] = rand(256);
      return bytes;
    case 3:
      bytes[4] = rand(128);
      return bytes;
    case 4:
      for (let i = 7; i < bytes.length; i++) if (rand(4) === 0) bytes[i] = rand(256);
      return bytes;
    default:
      return bytes;
  }
}

Deno.test("thousands of corrupt replies give answers or errors, never a hang, and take no memory", async () => {
  const seed = (Math.random() * 2 ** 32) >>> 0, rand = random(seed);
  let requests = 0;
  const before = await memory();
  try {
    while (requests < 6000) requests += await abuse(rand);
  } catch (e) {
    throw new Error(`seed ${seed}, after ${requests} requests`, { cause: e });
  }
  const grown = await memory() - before;
  assert.ok(grown < 8 << 20, `seed ${seed}: ${grown} bytes more in use`);
});

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes in use, garbage aside: a second collection counts the array buffers that the first has found dead. */
async function memory(): Promise<number> {
  for (let round = 0; round < 2; round++) {
    await new Promise((resolve) => setTimeout(resolve, 10)); // timers of `abuse` run out
    collect();
  }
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** Uses one connection to a corrupting server until it breaks, or 200 requests have been made. */
async function abuse(rand: (n: number) => number): Promise<number> {
  const { client } = await connect((msg) =>
    msg.type === m.Tversion ? undefined : corrupt(bytesOf(right(msg), msg.tag), rand)
  );
  const { ops } = client, into = new Uint8Array(64);
  const asks: (() => Promise<unknown>)[] = [
    () => ops.read(1, into, 0),
    () => ops.readBytes(1, 200, 0),
    () => ops.write(1, into, 0),
    () => ops.walkAll(1, ["a", "b"]).then(({ fid }) => ops.clunk(fid)),
    () => ops.stat(1),
    () => ops.readlink(1),
  ];
  let made = 0;
  while (!client.rpc.failure && made < 200) {
    const batch = Array.from({ length: 1 + rand(8) }, () => asks[rand(asks.length)]());
    made += batch.length;
    // A corrupt tag may leave a request without an answer: the end of the connection ends it.
    const settled = Promise.allSettled(batch);
    const quiet = new Promise<"quiet">((resolve) => setTimeout(resolve, 5, "quiet"));
    if (await Promise.race([settled, quiet]) === "quiet") client.rpc.close();
    for (const one of await settled) {
      if (one.status === "rejected") assert.ok(one.reason instanceof Err, String(one.reason));
    }
  }
  await client.close(AbortSignal.abort());
  return made;
}
