/**
 * One isolate of ring_bench.ts: pins itself, then does what it is told with the real ring code.
 */

import { hostClock } from "../core/host/clock.ts";
import { nameSelf, pinSelf, threadCpuMs } from "../core/host/threads.ts";
import { turn } from "../core/host/turn.ts";
import { Arena, type ArenaRef, Borrower } from "../core/ring/arena.ts";
import { type Budget, Doorbell } from "../core/ring/doorbell.ts";
import { Consumer, Producer } from "../core/ring/spsc.ts";
import { type PortRef, ringTransport } from "../core/ring/transport.ts";

/** What a worker is told. */
export interface Job {
  readonly kind: "ping" | "pong" | "send" | "receive" | "idle";
  readonly port: PortRef;
  /** `sync` blocks (Atomics.wait), `async` serves an event loop, `transport` is the whole 9P transport, `arena` goes by reference. */
  readonly wait: "sync" | "async" | "transport" | "arena";
  /** For `arena`: the sender's, with room for a few messages. */
  readonly arena?: ArenaRef;
  readonly budget: Budget;
  readonly count: number;
  readonly size: number;
}

/** What it answers: hops in microseconds, or the time of the whole. */
export interface Outcome {
  readonly hopsUs?: Float64Array;
  readonly elapsedMs: number;
  readonly cpuMs: number;
}

/** Messages between two publishes, when there are many of them. */
const BATCH = 64;

/** This isolate's side of its Worker; the types of a window do not have it. */
const scope = self as unknown as {
  onmessage: (event: MessageEvent<Job>) => Promise<void>;
  postMessage(message: unknown): void;
};

scope.onmessage = async ({ data }) => {
  nameSelf(`bench/${data.kind}`);
  pinSelf(data.port.owner.cpu!);
  const cpu = threadCpuMs(), start = performance.now();
  const hopsUs = await run(data);
  scope.postMessage({ hopsUs, elapsedMs: performance.now() - start, cpuMs: threadCpuMs() - cpu } satisfies Outcome);
};
scope.postMessage("ready");

async function run(job: Job): Promise<Float64Array | undefined> {
  const latency = job.kind === "ping" || job.kind === "pong";
  if (job.wait === "transport") return latency ? await pingTransport(job) : await streamTransport(job);
  const bell = new Doorbell(job.port.bell, { budget: job.budget, turn });
  const out = new Producer(job.port.out, job.port.owner), input = new Consumer(job.port.in, job.port.owner);
  if (job.kind === "idle") {
    const hold = setInterval(() => {}, 1e6);
    await bell.wait(input);
    clearInterval(hold);
  } else if (job.wait === "arena") job.kind === "send" ? lend(job, out, bell) : borrow(job, input, bell);
  else if (!latency) job.kind === "send" ? send(job, out, bell) : receive(job, input, bell);
  else return job.wait === "sync" ? pingSync(job, input, out, bell) : await pingAsync(job, input, out, bell);
}

function post(out: Producer, message: Uint8Array): void {
  const at = out.reserve(message.length);
  out.bytes.set(message, at);
  out.publish();
}

function accept(input: Consumer, message: Uint8Array): boolean {
  const at = input.next();
  if (at < 0) return false;
  for (let i = 0; i < input.length; i++) message[i] = input.bytes[at + i];
  input.release();
  return true;
}

function pingSync({ kind, count, size }: Job, input: Consumer, out: Producer, bell: Doorbell): Float64Array {
  const hops = new Float64Array(count), message = new Uint8Array(size);
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    if (kind === "ping") post(out, message);
    while (!accept(input, message)) bell.waitSync(input);
    if (kind === "pong") post(out, message);
    hops[i] = (performance.now() - start) * 500;
  }
  return hops;
}

async function pingAsync({ kind, count, size }: Job, input: Consumer, out: Producer, bell: Doorbell) {
  const hops = new Float64Array(count), message = new Uint8Array(size);
  const hold = setInterval(() => {}, 1e6);
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    if (kind === "ping") post(out, message);
    while (!accept(input, message)) await bell.wait(input);
    if (kind === "pong") post(out, message);
    hops[i] = (performance.now() - start) * 500;
  }
  clearInterval(hold);
  return hops;
}

async function pingTransport({ kind, port, budget, count, size }: Job): Promise<Float64Array> {
  const t = ringTransport(port, { budget, turn, monotonic: hostClock.monotonic });
  const hops = new Float64Array(count), message = new Uint8Array(size);
  const hold = setInterval(() => {}, 1e6);
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    if (kind === "ping") t.write(message);
    const read = t.read(message);
    if (read instanceof Promise) await read;
    if (kind === "pong") t.write(message);
    hops[i] = (performance.now() - start) * 500;
  }
  clearInterval(hold);
  return hops;
}

function send({ count, size }: Job, out: Producer, bell: Doorbell): void {
  const message = new Uint8Array(size).fill(9);
  for (let i = 0; i < count; i++) {
    let at;
    while ((at = out.reserve(size)) < 0) {
      out.publish();
      bell.waitSync(out);
    }
    out.bytes.set(message, at);
    if (i % BATCH === BATCH - 1 || size > 4096) out.publish();
  }
  out.publish();
}

function receive({ count, size }: Job, input: Consumer, bell: Doorbell): void {
  const message = new Uint8Array(size);
  let sum = 0;
  for (let seen = 0; seen < count;) {
    const at = input.next();
    if (at < 0) {
      input.release();
      bell.waitSync(input);
      continue;
    }
    if (size > 256) message.set(input.bytes.subarray(at, at + size));
    else for (let i = 0, w = at >> 2; i < size >> 2; i++) sum = (sum + input.words[w + i]) | 0;
    seen++;
  }
  input.release();
  if (size <= 256 && sum !== (Math.imul(0x09090909, count * (size >> 2)) | 0)) throw new Error("content is wrong");
}

/** Fills blocks and sends where they lie. The ring has no room for more references than there are blocks. */
function lend({ count, size, arena: ref }: Job, out: Producer, bell: Doorbell): void {
  const arena = new Arena(ref!), message = new Uint8Array(size).fill(9);
  for (let i = 0, at; i < count; i++) {
    while ((at = out.reserve(8)) < 0) bell.waitSync(out);
    const block = arena.lend(size)!;
    block.view.set(message);
    out.words[at >> 2] = block.at;
    out.words[(at >> 2) + 1] = block.ticket;
    out.publish();
  }
}

/** Copies them out, as a reader that keeps the bytes has to, and gives them back. */
function borrow({ count, size, arena }: Job, input: Consumer, bell: Doorbell): void {
  const borrower = new Borrower(arena!), message = new Uint8Array(size);
  for (let seen = 0; seen < count;) {
    const at = input.next();
    if (at < 0) {
      input.release();
      bell.waitSync(input);
      continue;
    }
    const place = input.words[at >> 2];
    message.set(borrower.borrow(place, size));
    borrower.giveBack(place, input.words[(at >> 2) + 1]);
    seen++;
  }
  input.release();
  if (message[size - 1] !== 9) throw new Error("content is wrong");
}

async function streamTransport({ kind, port, budget, count, size }: Job): Promise<undefined> {
  const t = ringTransport(port, { budget, turn, monotonic: hostClock.monotonic });
  const message = new Uint8Array(size);
  const hold = setInterval(() => {}, 1e6);
  if (kind === "send") { for (let i = 0; i < count; i++) await t.write(message); }
  else for (let seen = 0; seen < count * size;) seen += await t.read(message) ?? 0;
  clearInterval(hold);
}
