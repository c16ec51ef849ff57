/**
 * What a request costs the client alone: the other end is a transport that answers from memory without a server.
 *
 * Layer: bench. Microseconds of CPU a request: encode, tag, write, read, check, decode, hand on. Run:
 * deno task bench p9_client [--json]; divide by REQUESTS.
 */

import { Client } from "../core/p9/client.ts";
import { encode } from "../core/p9/codec.ts";
import { Writer } from "../core/p9/cursor.ts";
import * as m from "../core/p9/msg.ts";
import type { Rmsg } from "../core/p9/msg.ts";
import type { Transport } from "../core/p9/transport.ts";
import { makeDir } from "../core/p9/types.ts";

const REQUESTS = 64;
const LINUX = m.dialectTraits("9P2000.L")!;

/** Answers every request with a prepared reply, its tag filled in. */
class Canned implements Transport {
  readonly remote = "canned";
  #replies = new Map<number, Uint8Array>();
  #out = new Uint8Array(1 << 20);
  #have = 0;
  #reader: { into: Uint8Array; done: (count: number | null) => void } | undefined;

  constructor() {
    const qid = { type: 0, vers: 0, path: 2 }, dir = makeDir({ name: "", mode: 0o644, qid, length: 4096 });
    const tag = 0;
    const replies: Rmsg[] = [
      { type: m.Rversion, tag: 0xffff, msize: 65536, version: "9P2000.L" },
      { type: m.Rattach, tag, qid },
      { type: m.Rwalk, tag, qids: [qid] },
      { type: m.Rgetattr, tag, valid: 0x7ff, dir },
      { type: m.Rlopen, tag, qid, iounit: 0 },
      { type: m.Rread, tag, data: new Uint8Array(4096) },
      { type: m.Rwrite, tag, count: 4096 },
      { type: m.Rclunk, tag },
    ];
    for (const reply of replies) {
      const w = new Writer(8192, 8192);
      encode(w, reply, LINUX);
      this.#replies.set(reply.type - 1, w.bytes.slice(0, w.at));
    }
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const size = bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16;
      const reply = this.#replies.get(bytes[at + 4])!;
      this.#out.set(reply, this.#have);
      this.#out[this.#have + 5] = bytes[at + 5];
      this.#out[this.#have + 6] = bytes[at + 6];
      this.#have += reply.length;
      at += size;
    }
    const reader = this.#reader;
    this.#reader = undefined;
    reader?.done(this.#take(reader.into));
  }

  read(into: Uint8Array): number | Promise<number | null> {
    if (this.#have > 0) return this.#take(into);
    return new Promise((done) => this.#reader = { into, done });
  }

  #take(into: Uint8Array): number {
    const count = Math.min(into.length, this.#have);
    into.set(this.#out.subarray(0, count));
    this.#out.copyWithin(0, count, this.#have);
    this.#have -= count;
    return count;
  }

  close(): void {}
}

const client = await Client.connect(new Canned(), { dialects: ["9P2000.L"] });
const file = await client.open("/f", 2);
const root = await client.root();
const into = Array.from({ length: REQUESTS }, () => new Uint8Array(4096));

function together(request: (i: number) => Promise<unknown>): Promise<unknown> {
  return Promise.all(into.map((_, i) => request(i)));
}

Deno.bench(`the transport alone, ${REQUESTS} reads of 4 KiB`, async () => {
  await together((i) => Promise.resolve(into[i].set(into[(i + 1) % REQUESTS])));
});

Deno.bench(`${REQUESTS} reads of 4 KiB by callback`, async () => {
  await new Promise<void>((resolve) => {
    let left = REQUESTS;
    const done = () => {
      if (--left === 0) resolve();
    };
    for (const part of into) {
      client.rpc.send({ type: m.Tread, tag: 0, fid: file.fid, offset: 0, count: 4096 }, done, part);
    }
  });
});

Deno.bench(`${REQUESTS} reads of 4 KiB by FidOps`, async () => {
  await together((i) => client.ops.read(file.fid, into[i], 0));
});

Deno.bench(`${REQUESTS} reads of 4 KiB by RemoteFile`, async () => {
  await together((i) => file.read(into[i], 0));
});

Deno.bench(`${REQUESTS} writes of 4 KiB by RemoteFile`, async () => {
  await together((i) => file.write(into[i], 0));
});

Deno.bench(`${REQUESTS} getattrs by FidOps`, async () => {
  await together(() => client.ops.stat(file.fid));
});

Deno.bench(`${REQUESTS} times walk, stat and clunk by RemoteFile`, async () => {
  await together(async () => {
    const found = await root.walk(["f"]);
    await found.stat();
    await found.close();
  });
});
