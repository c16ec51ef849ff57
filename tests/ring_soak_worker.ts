/**
 * One side of core/ring/soak_test.ts: sends and receives seeded content over real rings, in an isolate of its own.
 */

import { hostClock } from "../core/host/clock.ts";
import { turn } from "../core/host/turn.ts";
import { Arena, type ArenaRef, Borrower } from "../core/ring/arena.ts";
import { type Budget, Doorbell } from "../core/ring/doorbell.ts";
import { Consumer, Producer } from "../core/ring/spsc.ts";
import { type PortRef, ringTransport } from "../core/ring/transport.ts";

/** What a side is told. Both sides have the same seed. */
export interface SoakJob {
  readonly kind: "messages" | "blocks" | "stream";
  readonly role: "a" | "b";
  readonly port: PortRef;
  readonly budget: Partial<Budget>;
  readonly adaptive: boolean;
  readonly seed: number;
  /** Messages, or writes each way. */
  readonly count: number;
  readonly maxSize: number;
  /** What `a` lends from, for `blocks`. */
  readonly arena?: ArenaRef;
}

const scope = self as unknown as {
  onmessage: (event: MessageEvent<SoakJob>) => Promise<void>;
  postMessage(message: unknown): void;
};

scope.onmessage = async ({ data: job }) => {
  const hold = setInterval(() => {}, 1000);
  try {
    if (job.kind === "stream") await stream(job);
    else if (job.kind === "blocks") job.role === "a" ? sendBlocks(job) : receiveBlocks(job);
    else if (job.role === "a") sendMessages(job);
    else receiveMessages(job);
    scope.postMessage("done");
  } catch (e) {
    scope.postMessage(`${job.role}: ${(e as Error).stack}`);
  }
  clearInterval(hold);
};

/** Numbers from 0 to 2^32 - 1; equal seeds give equal ones. */
function random(seed: number): () => number {
  let s = seed >>> 0 || 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
}

function bell({ port, budget, adaptive }: SoakJob): Doorbell {
  return new Doorbell(port.bell, { budget, turn, monotonic: adaptive ? hostClock.monotonic : undefined });
}

/** Works a little, as seeded: so that now one side waits, now the other. */
function dawdle(next: () => number): void {
  if (next() % 8 !== 0) return;
  let x = 0;
  for (let i = next() % 20_000; i > 0; i--) x = (x * 31 + i) | 0;
  if (x === 0.5) throw new Error("never");
}

/** The byte at a place of a direction's stream. */
function byteAt(seed: number, at: number): number {
  return (Math.imul(at + seed, 0x9e3779b1) >>> 24) & 0xff;
}

function sendMessages(job: SoakJob): void {
  const out = new Producer(job.port.out, job.port.owner), wait = bell(job);
  const sizes = random(job.seed), pace = random(job.seed + 1);
  for (let i = 0; i < job.count; i++) {
    const size = sizes() % (job.maxSize + 1);
    let at;
    while ((at = out.reserve(size, i)) < 0) {
      out.publish();
      wait.waitSync(out);
    }
    for (let k = 0; k < size; k++) out.bytes[at + k] = byteAt(job.seed, i + k);
    if (pace() % 4 === 0) out.publish();
    dawdle(pace);
  }
  out.close();
}

function receiveMessages(job: SoakJob): void {
  const input = new Consumer(job.port.in, job.port.owner), wait = bell(job);
  const sizes = random(job.seed), pace = random(job.seed + 2);
  let seen = 0;
  while (!input.ended) {
    for (let at; (at = input.next()) >= 0; seen++) {
      const size = sizes() % (job.maxSize + 1);
      if (input.kind !== seen || input.length !== size) throw new Error(`message ${seen} is ${input.kind}`);
      for (let k = 0; k < size; k++) {
        if (input.bytes[at + k] !== byteAt(job.seed, seen + k)) throw new Error(`message ${seen}, byte ${k}`);
      }
      dawdle(pace);
    }
    input.release();
    if (!input.ended) wait.waitSync(input);
  }
  if (seen !== job.count) throw new Error(`${seen} messages of ${job.count}`);
}

/** Sends messages by reference while there are blocks, else as they are: content that is written over too soon is seen. */
function sendBlocks(job: SoakJob): void {
  const out = new Producer(job.port.out, job.port.owner), wait = bell(job), arena = new Arena(job.arena!);
  const sizes = random(job.seed), pace = random(job.seed + 1);
  const reserve = (bytes: number, kind: number) => {
    let at;
    while ((at = out.reserve(bytes, kind)) < 0) {
      out.publish();
      wait.waitSync(out);
    }
    return at;
  };
  for (let i = 0; i < job.count; i++) {
    const size = sizes() % (job.maxSize + 1), block = arena.lend(size);
    const at = block ? reserve(8, i << 1 | 1) : reserve(size, i << 1);
    const bytes = block ? block.view : out.bytes.subarray(at, at + size);
    for (let k = 0; k < size; k++) bytes[k] = byteAt(job.seed, i + k);
    if (block) out.words.set([block.at, block.ticket], at >> 2);
    if (pace() % 4 === 0) out.publish();
    dawdle(pace);
  }
  out.close();
}

/** Receives them, keeps some blocks for a while, and gives them back in another order. */
function receiveBlocks(job: SoakJob): void {
  const input = new Consumer(job.port.in, job.port.owner), wait = bell(job), borrower = new Borrower(job.arena!);
  const sizes = random(job.seed), pace = random(job.seed + 2), kept: [number, number][] = [];
  const giveOneBack = () => {
    const [at, ticket] = kept.splice(pace() % kept.length, 1)[0];
    if (!borrower.giveBack(at, ticket)) throw new Error(`the block at ${at} was not ours`);
  };
  let seen = 0, lent = 0;
  while (!input.ended) {
    for (let at; (at = input.next()) >= 0; seen++) {
      const size = sizes() % (job.maxSize + 1), isLent = (input.kind & 1) !== 0;
      if (input.kind >> 1 !== seen) throw new Error(`message ${seen} is ${input.kind >> 1}`);
      const [place, ticket] = isLent ? input.words.subarray(at >> 2, (at >> 2) + 2) : [];
      const bytes = isLent ? borrower.borrow(place, size) : input.bytes.subarray(at, at + input.length);
      if (bytes.length !== size) throw new Error(`message ${seen} has ${bytes.length} bytes`);
      for (let k = 0; k < size; k++) {
        if (bytes[k] !== byteAt(job.seed, seen + k)) throw new Error(`message ${seen}, byte ${k}`);
      }
      if (isLent) {
        lent++;
        kept.push([place, ticket]);
        if (pace() % 3 > 0) giveOneBack();
      }
      dawdle(pace);
    }
    input.release();
    while (kept.length > 0) giveOneBack();
    if (!input.ended) wait.waitSync(input);
  }
  if (seen !== job.count) throw new Error(`${seen} messages of ${job.count}`);
  if (lent === 0 || lent === seen) throw new Error(`${lent} of ${seen} were lent: both ways were to be seen`);
}

/** Writes and reads at once, each write of a seeded size, each read too. */
async function stream(job: SoakJob): Promise<void> {
  const t = ringTransport(job.port, { doorbell: bell(job) });
  const mine = job.seed + (job.role === "a" ? 0 : 1), theirs = job.seed + (job.role === "a" ? 1 : 0);
  const total = (seed: number) => {
    const sizes = random(seed);
    let sum = 0;
    for (let i = 0; i < job.count; i++) sum += 1 + sizes() % job.maxSize;
    return sum;
  };
  const writing = async () => {
    const sizes = random(mine), pace = random(mine + 10), buffer = new Uint8Array(job.maxSize);
    for (let i = 0, at = 0; i < job.count; i++) {
      const size = 1 + sizes() % job.maxSize;
      for (let k = 0; k < size; k++) buffer[k] = byteAt(mine, at + k);
      const done = t.write(buffer.subarray(0, size));
      if (done) await done;
      at += size;
      dawdle(pace);
      if (pace() % 16 === 0) await turn();
    }
  };
  const reading = async () => {
    const pace = random(mine + 20), buffer = new Uint8Array(job.maxSize), end = total(theirs);
    for (let at = 0; at < end;) {
      const count = await t.read(buffer.subarray(0, 1 + pace() % job.maxSize));
      if (count === null) throw new Error(`the end came at ${at} of ${end}`);
      for (let k = 0; k < count; k++) if (buffer[k] !== byteAt(theirs, at + k)) throw new Error(`byte ${at + k}`);
      at += count;
      dawdle(pace);
    }
  };
  await Promise.all([writing(), reading()]);
  if (job.role === "a") t.close();
  else if (await t.read(new Uint8Array(1)) !== null) throw new Error("there is more than was sent");
}
