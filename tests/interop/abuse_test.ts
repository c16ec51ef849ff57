/**
 * Clients that die, babble, stall or flood, against a running server over TCP; a well-behaved client works beside them.
 *
 * After each the good client goes on, and the server's descriptors are as many as before. All of it is done three
 * times: two rounds grow the heap to what such a load takes, and the third must leave it there. Written by hand
 * (raw9p.ts), so it trusts nothing of ring9's.
 *
 * Needs: nothing but Linux's /proc. `SEED=n` replays the random part.
 */

import assert from "node:assert/strict";
import { until } from "./host.ts";
import { type Field, message, RawClient, T } from "./raw9p.ts";
import { startRing9, type TestServer } from "./servers.ts";
import { interop, kernelFile } from "../skip.ts";

const NOFID = 0xffffffff, NOTAG = 0xffff;
const RDWR = 2, EXISTING = 0o644;
/** Descriptors that the runtime makes for itself when something is used for the first time. */
const RUNTIME_DESCRIPTORS = 8;
/** How much more memory a third round of all the abuse may leave resident. */
const GROWTH_BYTES = 48 << 20;

/** A client that does as it should, on a file of its own. */
class GoodClient {
  #round = 0;
  private constructor(readonly raw: RawClient) {}

  static async start(server: TestServer): Promise<GoodClient> {
    const raw = await RawClient.attach(server);
    await createFile(raw, server, "good");
    return new GoodClient(raw);
  }

  /** Writes and reads back. */
  async works(): Promise<void> {
    const text = new TextEncoder().encode(`round ${this.#round++}`);
    await this.raw.rpc(message(T.write, 1, [4, 1], [8, 0], [4, text.length], text));
    const reply = await this.raw.rpc(message(T.read, 1, [4, 1], [8, 0], [4, text.length]));
    assert.deepEqual(reply.subarray(4), text);
  }
}

/** Makes a file in the server's writable directory and leaves it open as fid 1. */
async function createFile(raw: RawClient, server: TestServer, name: string): Promise<void> {
  const path = server.work.split("/").filter((part) => part !== "");
  await raw.rpc(message(T.walk, 1, [4, 0], [4, 1], [2, path.length], ...path));
  await raw.rpc(message(T.lcreate, 1, [4, 1], name, [4, RDWR], [4, EXISTING], [4, 0]));
}

/** Random numbers that a seed brings back. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ state >>> 15, 1 | state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) % below;
  };
}

function randomBytes(random: (below: number) => number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random(256));
}

/** A message whose size field says something else. */
function lyingMessage(size: number, type: number, ...fields: Field[]): Uint8Array {
  const bytes = message(type, 1, ...fields);
  new DataView(bytes.buffer).setUint32(0, size, true);
  return bytes;
}

const version = () => message(T.version, NOTAG, [4, 65536], "9P2000.L");
const attach = (server: TestServer) => message(T.attach, 1, [4, 0], [4, NOFID], "root", server.aname, [4, 0]);

async function dyingInMidWrite(server: TestServer): Promise<void> {
  for (let i = 0; i < 20; i++) {
    using raw = await RawClient.attach(server);
    await createFile(raw, server, `half-${i}`);
    const whole = message(T.write, 2, [4, 1], [8, 0], [4, 60_000], new Uint8Array(60_000).fill(1));
    await raw.send(whole.subarray(0, 1 + i * 3_000));
  }
  using raw = await RawClient.attach(server);
  const path = [...server.work.split("/").filter((part) => part !== ""), "half-19"];
  await raw.rpc(message(T.walk, 1, [4, 0], [4, 2], [2, path.length], ...path));
  const attributes = await raw.rpc(message(T.getattr, 1, [4, 2], [8, 0x7ff]));
  const size = new DataView(attributes.buffer, attributes.byteOffset).getUint32(49, true);
  assert.equal(size, 0, "half a write was carried out");
}

async function halfMessages(server: TestServer): Promise<void> {
  const whole = version();
  for (let length = 0; length < whole.length; length++) {
    using raw = await RawClient.connect(server);
    await raw.send(whole.subarray(0, length));
  }
}

async function oneByteATime(server: TestServer): Promise<void> {
  using raw = await RawClient.connect(server);
  for (const request of [version(), attach(server), message(T.walk, 1, [4, 0], [4, 1], [2, 0])]) {
    for (const byte of request) await raw.send(new Uint8Array([byte]));
    assert.equal((await raw.receive())?.type, request[4] + 1);
  }
}

async function randomNoise(server: TestServer, random: (below: number) => number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    using raw = i % 2 ? await RawClient.attach(server) : await RawClient.connect(server);
    await raw.send(randomBytes(random, 1 + random(3000))).catch(() => {});
  }
}

/** Well-formed frames with wrong bytes in them: these get past the size. */
async function mutations(server: TestServer, random: (below: number) => number): Promise<void> {
  const requests = [
    version(),
    attach(server),
    message(T.walk, 1, [4, 0], [4, 1], [2, 2], "a", "b"),
    message(T.lopen, 1, [4, 0], [4, 0]),
    message(T.readdir, 1, [4, 0], [8, 0], [4, 8000]),
    message(T.lcreate, 1, [4, 0], "name", [4, 2], [4, 0o644], [4, 0]),
    message(T.read, 1, [4, 0], [8, 0], [4, 8000]),
    message(T.write, 1, [4, 0], [8, 0], [4, 3], new Uint8Array(3)),
    message(T.clunk, 1, [4, 1]),
  ];
  for (let i = 0; i < 60; i++) {
    using raw = await RawClient.attach(server);
    for (let k = 0; k < 20; k++) {
      const request = requests[random(requests.length)].slice();
      // The size stays right, so that the rest is looked at; flushed and answered in any order or not at all.
      for (let n = 1 + random(3); n > 0; n--) request[4 + random(request.length - 4)] = random(256);
      await raw.send(request).catch(() => {});
    }
  }
}

async function wrongFrames(server: TestServer): Promise<void> {
  for (const size of [0, 4, 6, 65537, 1 << 30, 0xffffffff]) {
    using raw = await RawClient.attach(server);
    await raw.send(lyingMessage(size, T.clunk, [4, 0]));
    assert.equal(await raw.receive(), null, `a frame of ${size} bytes ends the connection`);
  }
  // An R-message, a type there is not, and strings or counts that overrun: an error or the end, never silence.
  const frames = [
    message(T.version + 1, 1, [4, 65536], "9P2000.L"),
    message(255, 1),
    message(T.clunk, 1),
    message(T.walk, 1, [4, 0], [4, 5], [2, 17], ...Array(17).fill("x")),
    message(T.walk, 1, [4, 0], [4, 5], [2, 3], "a"),
    message(T.walk, 1, [4, 0], [4, 5], [2, 1], [2, 500], new Uint8Array(4)),
    message(T.write, 1, [4, 0], [8, 0], [4, 0xffffffff], new Uint8Array(4)),
    message(T.clunk, 1, [4, 0], [4, 0]),
  ];
  for (const frame of frames) {
    using raw = await RawClient.attach(server);
    await raw.send(frame);
    const reply = await raw.receive();
    assert.ok(reply === null || reply.type === T.lerror, `type ${reply?.type} answers a wrong type ${frame[4]}`);
  }
}

async function wrongRequests(server: TestServer): Promise<void> {
  using raw = await RawClient.attach(server);
  await createFile(raw, server, "wrong");
  const refused: [string, Uint8Array][] = [
    ["a fid that is not there", message(T.clunk, 1, [4, 77])],
    ["NOFID as a new fid", message(T.walk, 1, [4, 0], [4, NOFID], [2, 0])],
    ["a new fid in use", message(T.walk, 1, [4, 0], [4, 1], [2, 0])],
    ["an attach to a fid in use", attach(server)],
    ["a read of a fid that is not open", message(T.read, 1, [4, 0], [8, 0], [4, 10])],
    ["a slash in a name", message(T.mkdir, 1, [4, 0], "a/b", [4, 0o755], [4, 0])],
    ["dot-dot as a name", message(T.mkdir, 1, [4, 0], "..", [4, 0o755], [4, 0])],
    ["an empty name", message(T.mkdir, 1, [4, 0], "", [4, 0o755], [4, 0])],
    ["a name with a zero byte", message(T.mkdir, 1, [4, 0], "a\0b", [4, 0o755], [4, 0])],
  ];
  for (const [what, request] of refused) {
    await raw.send(request);
    assert.equal((await raw.receive())?.type, T.lerror, what);
  }
  // What looks absurd and is lawful: the largest count and offset, a flush of nothing and of itself.
  await raw.rpc(message(T.read, 1, [4, 1], [8, 0], [4, 0xffffffff]));
  await raw.rpc(message(T.flush, 1, [2, 99]));
  await raw.rpc(message(T.flush, 1, [2, 1]));
}

async function beforeVersion(server: TestServer): Promise<void> {
  using raw = await RawClient.connect(server);
  await raw.send(attach(server));
  const reply = await raw.receive();
  assert.ok(reply === null || reply.type === T.lerror || reply.type === 107, "an attach before any version");
}

async function manyConnections(server: TestServer): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 200 }, () => RawClient.attach(server)));
  const use = async (raw: RawClient, i: number) => {
    await createFile(raw, server, `many-${i}`);
    const text = new TextEncoder().encode(`connection ${i}`);
    await raw.rpc(message(T.write, 1, [4, 1], [8, 0], [4, text.length], text));
    const reply = await raw.rpc(message(T.read, 1, [4, 1], [8, 0], [4, 100]));
    assert.deepEqual(reply.subarray(4), text);
  };
  await Promise.all(clients.map(use));
  for (const client of clients) client.close();
}

async function manyFids(server: TestServer): Promise<void> {
  using raw = await RawClient.attach(server);
  const count = 20_000;
  const requests = Array.from({ length: count }, (_, i) => message(T.walk, 1, [4, 0], [4, 100 + i], [2, 0]));
  for (const request of requests) {
    await raw.send(request);
    const reply = await raw.receive();
    assert.ok(reply, "the server closed the connection");
    // A limit is lawful; what came before it stays.
    if (reply.type === T.lerror) break;
  }
  await raw.rpc(message(T.clunk, 1, [4, 100]));
}

/** Asks for as much as it can and reads nothing: the server has to stop taking requests before memory runs out. */
async function neverReading(server: TestServer): Promise<void> {
  using raw = await RawClient.attach(server);
  await createFile(raw, server, "unread");
  const data = new Uint8Array(60_000).fill(7);
  await raw.rpc(message(T.write, 1, [4, 1], [8, 0], [4, data.length], data));
  const before = await residentBytes(server.pid);
  const requests = Array.from({ length: 1000 }, (_, tag) => message(T.read, tag, [4, 1], [8, 0], [4, data.length]));
  // 30,000 requests are 1.8 GB of answers; a server that stops reading keeps all but the first few from leaving here.
  const flood = async () => {
    for (let i = 0; i < 30; i++) for (const request of requests) await raw.send(request);
  };
  const flooding = flood().catch(() => {});
  let peak = before;
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    peak = Math.max(peak, await residentBytes(server.pid));
  }
  assert.ok(peak - before < 256 << 20, `a client that does not read costs ${(peak - before) >> 20} MiB`);
  raw.close();
  await flooding;
}

async function residentBytes(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await Deno.readTextFile(`/proc/${pid}/status`))![1]) * 1024;
}

async function descriptors(pid: number): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
}

interop("a server outlives its worst clients", { needs: [kernelFile("/proc/self/fd")] }, async (t) => {
  const seed = Number(Deno.env.get("SEED") ?? Math.floor(Math.random() * 2 ** 32));
  const random = generator(seed);
  await using server = await startRing9();
  const good = await GoodClient.start(server);
  await good.works();
  const open = await descriptors(server.pid);
  const abuses: [string, (server: TestServer) => Promise<void>][] = [
    ["clients that die in the middle of a write", dyingInMidWrite],
    ["clients that die in the middle of a message", halfMessages],
    ["one byte a time", oneByteATime],
    [`random bytes, seed ${seed}`, (server) => randomNoise(server, random)],
    [`wrong bytes in right frames, seed ${seed}`, (server) => mutations(server, random)],
    ["frames that are none", wrongFrames],
    ["requests that have to be refused", wrongRequests],
    ["a request before the version", beforeVersion],
    ["200 connections at once", manyConnections],
    ["20,000 fids", manyFids],
    ["a client that never reads", neverReading],
  ];
  const resident: number[] = [];
  for (const round of ["first", "second", "third"]) {
    for (const [name, abuse] of abuses) {
      await t.step(`${name}, ${round} round`, async () => {
        await removeFiles(server);
        await abuse(server);
        await good.works();
        await until(`descriptors back to ${open}`, 5_000, async () => {
          return await descriptors(server.pid) <= open + RUNTIME_DESCRIPTORS ? true : undefined;
        });
      });
    }
    resident.push(await residentBytes(server.pid));
  }
  await t.step("the third round leaves no more memory taken than the second", () => {
    const [, second, third] = resident;
    assert.ok(third - second < GROWTH_BYTES, `MiB after each round: ${resident.map((bytes) => bytes >> 20)}`);
  });
  good.raw.close();
});

/** Removes what an earlier abuse has made. */
async function removeFiles(server: TestServer): Promise<void> {
  using raw = await RawClient.attach(server);
  const path = server.work.split("/").filter((part) => part !== "");
  await raw.rpc(message(T.walk, 1, [4, 0], [4, 1], [2, path.length], ...path));
  const names = ["wrong", "unread"];
  for (let i = 0; i < 200; i++) names.push(`many-${i}`);
  for (let i = 0; i < 20; i++) names.push(`half-${i}`);
  for (const name of names) {
    await raw.send(message(T.unlinkat, 1, [4, 1], name, [4, 0]));
    await raw.receive();
  }
}
