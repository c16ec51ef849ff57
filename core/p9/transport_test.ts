import assert from "node:assert/strict";
import { Err } from "../err.ts";
import type { Transport } from "./transport.ts";
import { transportPair } from "./transport_pair.ts";
import { portTransport } from "./transport_port.ts";
import { webSocketTransport } from "./transport_ws.ts";

function pattern(length: number): Uint8Array {
  return new Uint8Array(length).map((_, i) => (i * 7) ^ (i >> 8));
}

/** Reads `length` bytes, in pieces of at most `piece`. */
async function readBytes(transport: Transport, length: number, piece = 5000): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await transport.read(bytes.subarray(at, at + piece));
    if (count === null) throw new Error(`the end came after ${at} of ${length} bytes`);
    assert.ok(count > 0);
    at += count;
  }
  return bytes;
}

const isPipeErr = (e: unknown) => e instanceof Err && e.code === "EPIPE";
const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 5));

/** A WebSocket's two ends in memory, which deliver in a later turn and buffer without end. */
class FakeSocket extends EventTarget {
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readyState = 1;
  url = "ws://fake/";
  binaryType = "blob";
  bufferedAmount = 0;
  peer!: FakeSocket;
  paused = false;
  held: ArrayBuffer[] = [];

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.bufferedAmount += bytes.length;
    this.held.push(bytes.buffer);
    queueMicrotask(() => this.deliver());
  }

  deliver(): void {
    if (this.paused) return;
    for (const data of this.held.splice(0)) {
      this.bufferedAmount -= data.byteLength;
      this.peer.dispatchEvent(new MessageEvent("message", { data }));
    }
  }

  close(): void {
    for (const end of [this, this.peer]) {
      if (end.readyState === 3) continue;
      end.readyState = 3;
      queueMicrotask(() => end.dispatchEvent(new Event("close")));
    }
  }
}

function fakeSockets(): [FakeSocket, FakeSocket] {
  const a = new FakeSocket(), b = new FakeSocket();
  a.peer = b;
  b.peer = a;
  return [a, b];
}

const later = (fn: () => void) => void setTimeout(fn, 1);

const PAIRS: [name: string, make: () => [Transport, Transport]][] = [
  ["pair", () => transportPair()],
  ["small pair", () => transportPair({ capacity: 7 })],
  ["port", () => {
    const { port1, port2 } = new MessageChannel();
    return [portTransport(port1), portTransport(port2)];
  }],
  ["WebSocket", () => {
    const [a, b] = fakeSockets();
    return [
      webSocketTransport(a as unknown as WebSocket, { later }),
      webSocketTransport(b as unknown as WebSocket, { later }),
    ];
  }],
];

for (const [name, make] of PAIRS) {
  Deno.test(`${name}: bytes arrive in order in both directions, however they are cut`, async () => {
    const [a, b] = make();
    const there = pattern(300_000), back = pattern(100_000).reverse();
    const writing = (async () => {
      for (let at = 0, size = 1; at < there.length; at += size++) await a.write(there.subarray(at, at + size));
    })();
    const answering = (async () => await b.write(back))();
    assert.deepEqual(await readBytes(b, there.length), there);
    assert.deepEqual(await readBytes(a, back.length, 333), back);
    await Promise.all([writing, answering]);
    a.close();
    b.close();
  });

  Deno.test(`${name}: what was written before a close is read, then comes the end; writes fail`, async () => {
    const [a, b] = make();
    await Promise.race([a.write(Uint8Array.of(1, 2, 3)), tick()]);
    await tick();
    const under = a.read(new Uint8Array(1));
    a.close();
    a.close();
    assert.equal(await under, null);
    assert.equal(await a.read(new Uint8Array(1)), null);
    await assert.rejects(async () => await a.write(Uint8Array.of(1)), isPipeErr);
    assert.deepEqual([...await readBytes(b, 3)], [1, 2, 3]);
    assert.equal(await b.read(new Uint8Array(1)), null);
    await tick();
    await assert.rejects(async () => await b.write(Uint8Array.of(1)), isPipeErr);
    b.close();
  });
}

Deno.test("pair: who writes more than fits waits until it is read", async () => {
  const [a, b] = transportPair({ capacity: 10 });
  assert.equal(a.write(pattern(10)), undefined);
  let written = false;
  const writing = Promise.resolve(a.write(pattern(25))).then(() => written = true);
  await tick();
  assert.ok(!written);
  await readBytes(b, 24);
  assert.ok(!written);
  await readBytes(b, 11);
  await writing;
});

Deno.test("pair: a writer that waits is told when the other side goes", async () => {
  const [a, b] = transportPair({ capacity: 1 });
  const writing = a.write(pattern(9));
  b.close();
  await assert.rejects(async () => await writing, isPipeErr);
});

Deno.test("port: a sender holds at most one window in the other's memory", async () => {
  const { port1, port2 } = new MessageChannel();
  const a = portTransport(port1), b = portTransport(port2);
  let written = false;
  const writing = Promise.resolve(a.write(new Uint8Array(5 << 20))).then(() => written = true);
  await tick();
  assert.ok(!written);
  await readBytes(b, 5 << 20, 1 << 20);
  await writing;
  a.close();
});

Deno.test("port: what is no byte, no credit and no end closes it", async () => {
  for (const wrong of ["text", -1, 1e9, { bytes: 1 }, new Uint8Array(5 << 20)]) {
    const { port1, port2 } = new MessageChannel();
    const a = portTransport(port1);
    port2.start();
    port2.postMessage(wrong);
    assert.equal(await a.read(new Uint8Array(10)), null);
    port2.close();
  }
});

Deno.test("WebSocket: a write waits while too much is on its way out", async () => {
  const [a, b] = fakeSockets();
  a.paused = true;
  const sender = webSocketTransport(a as unknown as WebSocket, { later, highWaterBytes: 1000 });
  const receiver = webSocketTransport(b as unknown as WebSocket, { later });
  let written = false;
  const writing = Promise.resolve(sender.write(pattern(5000))).then(() => written = true);
  await tick();
  assert.ok(!written);
  a.paused = false;
  a.deliver();
  await writing;
  assert.deepEqual(await readBytes(receiver, 5000), pattern(5000));
});

Deno.test("WebSocket: text, and more than anybody reads, end the connection", async () => {
  for (const data of ["text", new ArrayBuffer(2000)]) {
    const [a, b] = fakeSockets();
    const receiver = webSocketTransport(b as unknown as WebSocket, { later, maxQueuedBytes: 1000 });
    b.dispatchEvent(new MessageEvent("message", { data }));
    assert.equal(a.readyState, 3);
    await tick();
    const into = new Uint8Array(4000);
    let count = await receiver.read(into);
    if (count === 2000) count = await receiver.read(into);
    assert.equal(count, null);
  }
});
