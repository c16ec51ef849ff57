import assert from "node:assert/strict";
import { Err } from "../err.ts";
import { Client, type ClientOptions } from "./client.ts";
import * as m from "./msg.ts";
import type { Rmsg, Tmsg } from "./msg.ts";
import { SAME_TAG, type Script, ScriptedServer } from "./scripted_server.ts";

/** A client on a scripted server. */
async function connect(
  script: Script,
  options: ClientOptions = {},
): Promise<{ client: Client; server: ScriptedServer }> {
  const server = new ScriptedServer((msg, server) => msg.type === m.Tversion ? undefined : script(msg, server));
  const client = await Client.connect(server.transport, { dialects: ["9P2000.L"], ...options });
  server.requests.length = server.batches.length = 0;
  return { client, server };
}

function read(fid: number, count = 4): m.Tread {
  return { type: m.Tread, tag: 0, fid, offset: 0, count };
}

function bytesOf(reply: m.Rread): number[] {
  return [...reply.data];
}

function fails(code: string): (e: unknown) => boolean {
  return (e) => e instanceof Err && e.code === code;
}

/** Lets everything that is ready happen. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

const oneByte = (msg: Tmsg): Rmsg => ({ type: m.Rread, tag: msg.tag, data: Uint8Array.of((msg as m.Tread).fid) });

Deno.test("requests of one turn leave in one write, and their replies come in one read", async () => {
  const { client, server } = await connect(oneByte);
  const replies = await Promise.all(Array.from({ length: 50 }, (_, i) => client.rpc.rpc(read(i))));
  assert.deepEqual(replies.map(bytesOf), Array.from({ length: 50 }, (_, i) => [i]));
  assert.deepEqual(server.batches, [50]);
});

Deno.test("replies in any order find their requests", async () => {
  const held: Rmsg[] = [];
  const { client } = await connect((msg) => {
    held.push(oneByte(msg));
    return held.length === 20 ? held.reverse() : null;
  });
  const replies = await Promise.all(Array.from({ length: 20 }, (_, i) => client.rpc.rpc(read(i))));
  assert.deepEqual(replies.map(bytesOf), Array.from({ length: 20 }, (_, i) => [i]));
});

Deno.test("more requests than maxInFlight wait for a tag, in order", async () => {
  const held: Tmsg[] = [];
  const { client, server } = await connect((msg) => {
    held.push(msg);
    return null;
  }, { maxInFlight: 4 });
  const done: number[] = [];
  const all = Array.from(
    { length: 10 },
    (_, i) => client.rpc.rpc(read(i)).then((reply) => done.push(bytesOf(reply)[0])),
  );
  for (let i = 0; i < 10; i++) {
    await settle();
    assert.equal(held.length, Math.min(4 + i, 10) - i);
    assert.equal(client.rpc.inFlight, 10 - i);
    await server.send(oneByte(held.shift()!));
  }
  await Promise.all(all);
  assert.deepEqual(done, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

Deno.test("data of a write is free again when send returns, also of one that waits", async () => {
  const { client, server } = await connect(
    (msg) => msg.type === m.Twrite ? { type: m.Rwrite, tag: msg.tag, count: msg.data.length } : undefined,
    { maxInFlight: 1 },
  );
  const data = Uint8Array.of(1, 2, 3);
  const replies = [1, 2, 3].map((fid) => {
    const reply = client.rpc.rpc({ type: m.Twrite, tag: 0, fid, offset: 0, data });
    data.fill(fid * 10);
    return reply;
  });
  await Promise.all(replies);
  assert.deepEqual(server.requests.map((msg) => [...(msg as m.Twrite).data]), [[1, 2, 3], [10, 10, 10], [20, 20, 20]]);
});

Deno.test("an aborted request is flushed: EINTR when Rflush comes first", async () => {
  const { client, server } = await connect((msg) => msg.type === m.Tread ? null : undefined);
  const giveUp = new AbortController();
  const reading = client.rpc.rpc(read(1), giveUp.signal);
  await settle();
  giveUp.abort();
  await assert.rejects(reading, fails("EINTR"));
  assert.deepEqual(server.requests.map((msg) => msg.type), [m.Tread, m.Tflush]);
  assert.equal((server.requests[1] as m.Tflush).oldtag, server.requests[0].tag);
  assert.equal(client.rpc.inFlight, 0);
});

Deno.test("an aborted request whose reply comes first is answered with it, and its tag rests until Rflush", async () => {
  const { client, server } = await connect((msg) => msg.type === m.Tread || msg.type === m.Tflush ? null : undefined);
  const giveUp = new AbortController();
  const reading = client.rpc.rpc(read(7), giveUp.signal);
  await settle();
  giveUp.abort();
  await settle();
  const [asked, flush] = server.requests;
  await server.send(oneByte(asked));
  assert.deepEqual(bytesOf(await reading), [7]);
  assert.equal(client.rpc.inFlight, 2);
  await server.send({ type: m.Rflush, tag: flush.tag });
  await settle();
  assert.equal(client.rpc.inFlight, 0);
});

Deno.test("a request that waits for a tag is aborted without a word to the server", async () => {
  const { client, server } = await connect((msg) => msg.type === m.Tread ? null : undefined, { maxInFlight: 1 });
  const giveUp = new AbortController();
  const first = client.rpc.rpc(read(1)), second = client.rpc.rpc(read(2), giveUp.signal);
  giveUp.abort();
  await assert.rejects(second, fails("EINTR"));
  await assert.rejects(client.rpc.rpc(read(3), giveUp.signal), fails("EINTR"));
  await settle();
  assert.equal(server.requests.length, 1);
  await server.send(oneByte(server.requests[0]));
  await first;
});

Deno.test("blocked requests can be flushed though they have all the tags", async () => {
  const { client, server } = await connect((msg) => msg.type === m.Tread ? null : undefined, { maxInFlight: 3 });
  const giveUp = new AbortController();
  const blocked = Array.from({ length: 40 }, (_, i) => client.rpc.rpc(read(i), giveUp.signal));
  await settle();
  giveUp.abort();
  for (const one of await Promise.allSettled(blocked)) assert.equal(one.status, "rejected");
  await settle();
  assert.equal(client.rpc.inFlight, 0);
  assert.equal(server.requests.filter((msg) => msg.type === m.Tflush).length, 3);
});

Deno.test("a server that refuses a flush gets no tag back before it has answered", async () => {
  const { client, server } = await connect((msg) => {
    if (msg.type === m.Tread) return null;
    return msg.type === m.Tflush ? { type: m.Rlerror, tag: SAME_TAG, errno: 38 } : undefined;
  });
  const giveUp = new AbortController();
  const into = new Uint8Array(4);
  const reading = client.ops.read(1, into, 0, giveUp.signal);
  await settle();
  giveUp.abort();
  await assert.rejects(reading, fails("EINTR"));
  assert.equal(client.rpc.inFlight, 1);
  await server.send(oneByte(server.requests[0]));
  await settle();
  assert.equal(client.rpc.inFlight, 0);
  assert.deepEqual([...into], [0, 0, 0, 0]);
});

Deno.test("a request over msize, or with a name over 64 KiB, fails alone", async () => {
  const { client } = await connect(oneByte, { msize: 4096 });
  const data = new Uint8Array(5000);
  await assert.rejects(client.rpc.rpc({ type: m.Twrite, tag: 0, fid: 1, offset: 0, data }), fails("EMSGSIZE"));
  const names = ["x".repeat(70_000)];
  await assert.rejects(client.rpc.rpc({ type: m.Twalk, tag: 0, fid: 1, newfid: 2, names }), fails("ENAMETOOLONG"));
  assert.deepEqual(bytesOf(await client.rpc.rpc(read(1))), [1]);
});

Deno.test("a large read goes straight to where it is wanted, cut in any pieces", async () => {
  const server = new ScriptedServer((msg) => {
    if (msg.type !== m.Tread) return undefined;
    return { type: m.Rread, tag: msg.tag, data: new Uint8Array(msg.count).fill(msg.fid) };
  }, { msize: 1 << 20, capacity: 10_007 });
  const client = await Client.connect(server.transport, { dialects: ["9P2000.L"] });
  const into = Array.from({ length: 6 }, () => new Uint8Array(300_000));
  const counts = await Promise.all(into.map((part, i) => client.ops.read(i + 1, part, 0)));
  assert.deepEqual(counts, into.map(() => 300_000));
  for (const [i, part] of into.entries()) assert.ok(part.every((byte) => byte === i + 1), `read ${i}`);
  await client.close();
});

Deno.test("close flushes reads and opens that wait, and lets the rest be answered", async () => {
  const held: Tmsg[] = [];
  const { client, server } = await connect((msg) => {
    if (msg.type !== m.Twrite) return msg.type === m.Tread || msg.type === m.Tlopen ? null : undefined;
    held.push(msg);
    return null;
  });
  const reading = client.rpc.rpc(read(1)), opening = client.ops.open(3, 0);
  const writing = client.rpc.rpc({ type: m.Twrite, tag: 0, fid: 2, offset: 0, data: Uint8Array.of(1) });
  await settle();
  const closing = client.close();
  await Promise.all([assert.rejects(reading, fails("EINTR")), assert.rejects(opening, fails("EINTR"))]);
  await server.send({ type: m.Rwrite, tag: held[0].tag, count: 1 });
  assert.equal((await writing).count, 1);
  await closing;
  assert.equal(await client.closed, null);
  await assert.rejects(client.rpc.rpc(read(1)), fails("ESHUTDOWN"));
});

Deno.test("close with an aborted signal does not wait", async () => {
  const { client } = await connect((msg) => msg.type === m.Twrite ? null : undefined);
  const writing = client.rpc.rpc({ type: m.Twrite, tag: 0, fid: 2, offset: 0, data: Uint8Array.of(1) });
  const refused = assert.rejects(writing, fails("ESHUTDOWN"));
  await client.close(AbortSignal.abort());
  await refused;
});
