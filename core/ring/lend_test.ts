/** Large data of 9P by reference, over two rings with arenas: what goes by reference, what does not, and that all comes back. */

import assert from "node:assert/strict";
import { clearInterval, setImmediate, setInterval } from "node:timers";
import { Chan, Dev, type User, type Walk } from "../dev.ts";
import { Err } from "../err.ts";
import { isShared } from "../p9/bytes.ts";
import { Client } from "../p9/client.ts";
import { LEND_FROM } from "../p9/lend.ts";
import * as m from "../p9/msg.ts";
import { SAME_TAG, ScriptedServer } from "../p9/scripted_server.ts";
import { Srv } from "../p9/srv.ts";
import { type Dir, makeDir, type MaybePromise, ORDWR, type Qid, QTDIR } from "../p9/types.ts";
import { TestClock } from "../plugin/testing.ts";
import { type BlockSize, readArena } from "./arena.ts";
import { ringPair, ringTransport } from "./transport.ts";

const ROOT: Qid = { type: QTDIR, vers: 0, path: 0 }, FILE: Qid = { type: 0, vers: 0, path: 1 };
const LARGE = 60_000, MIB = 1 << 20;
const BLOCKS: BlockSize[] = [{ bytes: 65536 + 128, count: 2 }];

/** A file of bytes that notes what it was given; `later` answers by a promise. */
class FileDev extends Dev<string> {
  readonly name = "file";
  override readonly shared: boolean;
  readonly later: boolean;
  bytes = new Uint8Array(0);
  /** Whether what it was given was shared, of each read and write of large data. */
  given: boolean[] = [];

  constructor({ shared, later }: { shared: boolean; later: boolean }) {
    super();
    this.shared = shared;
    this.later = later;
  }

  attach(user: User): Chan<string> {
    return new Chan(this, ROOT, "/", user);
  }

  walk(c: Chan<string>, names: string[]): Walk<string> {
    return { qids: names.map(() => FILE), chan: new Chan<string>(this, names.length ? FILE : ROOT, "file", c.user) };
  }

  open(c: Chan<string>, mode: number): Chan<string> {
    c.mode = mode;
    return c;
  }

  stat(c: Chan<string>): Dir {
    return makeDir({ name: c.aux, mode: 0o644, qid: c.qid, length: this.bytes.length });
  }

  read(_c: Chan<string>, dst: Uint8Array, offset: number): number | Promise<Uint8Array> {
    const part = this.bytes.subarray(offset, offset + dst.length);
    if (this.later) return Promise.resolve().then(() => part);
    if (dst.length >= LEND_FROM) this.given.push(isShared(dst));
    dst.set(part);
    return part.length;
  }

  override write(_c: Chan<string>, data: Uint8Array, offset: number): MaybePromise<number> {
    if (data.length >= LEND_FROM) this.given.push(isShared(data));
    if (data[0] === 0xee) throw new Err("ENOSPC");
    const grown = new Uint8Array(Math.max(this.bytes.length, offset + data.length));
    grown.set(this.bytes);
    grown.set(data, offset);
    this.bytes = grown;
    return this.later ? Promise.resolve(data.length) : data.length;
  }
}

async function world(dev: FileDev, blocks: readonly BlockSize[] | undefined = BLOCKS) {
  const hold = setInterval(() => {}, 1000); // `waitAsync` alone does not keep an isolate running
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const [a, b] = ringPair({ a: { name: "a", owner: { id: 1 } }, b: { name: "b", owner: { id: 2 } }, blocks });
  const srv = new Srv(dev), served = srv.serve(ringTransport(b, { turn }));
  const client = await Client.connect(ringTransport(a, { turn }), { clock: new TestClock() });
  const { fid } = await client.ops.attach({ uname: "glenda", uid: 1, aname: "" });
  const walked = await client.ops.walk(fid, ["file"]);
  await client.ops.open(walked.fid, ORDWR);
  return {
    client,
    fid: walked.fid,
    rpc: client.rpc,
    /** Blocks that were lent each way, and that nothing is held at the end. */
    lent: () =>
      [a.lends!, b.lends!].map((ref) => {
        const { lent, back } = readArena(ref);
        assert.equal(lent, back, "all blocks have come back");
        return lent;
      }),
    async [Symbol.asyncDispose]() {
      await client.close();
      await served;
      clearInterval(hold);
    },
  };
}

function pattern(length: number, seed = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + seed) & 0x7f);
}

for (const shared of [true, false]) {
  for (const later of [false, true]) {
    Deno.test(`large data goes by reference, every byte right at every alignment (shared ${shared}, later ${later})`, async () => {
      const dev = new FileDev({ shared, later });
      await using w = await world(dev);
      let rounds = 0;
      for (const offset of [0, 1, 7, 8, 4099]) {
        for (const from of [0, 3]) {
          const data = pattern(LARGE + from, offset).subarray(from);
          assert.equal(await w.client.ops.write(w.fid, data, offset), LARGE);
          assert.deepEqual(await w.client.ops.readBytes(w.fid, LARGE, offset), data.slice());
          rounds++;
        }
      }
      // One that is lent for a read which is then answered later comes back unused.
      assert.deepEqual(w.lent(), [rounds, shared && later ? 2 * rounds : rounds]);
      assert.deepEqual(new Set(dev.given), new Set([shared]), "only a Dev that takes shared memory is given any");
    });
  }
}

Deno.test("small data, a small file read with a large count, and an error go through the stream; blocks come back", async () => {
  const dev = new FileDev({ shared: true, later: false });
  await using w = await world(dev);
  await w.client.ops.write(w.fid, pattern(LEND_FROM - 1), 0);
  assert.equal((await w.client.ops.readBytes(w.fid, LARGE, 0)).length, LEND_FROM - 1);
  assert.deepEqual(w.lent(), [0, 1], "the block for the large count came back unused");
  const refused = pattern(LARGE);
  refused[0] = 0xee;
  await assert.rejects(w.client.ops.write(w.fid, refused, 0), { code: "ENOSPC" });
  await assert.rejects(w.client.ops.write(w.fid + 1, refused, 0), { code: "EBADF" });
  assert.deepEqual(w.lent(), [2, 1]);
});

Deno.test("without a free block, and without arenas, the data goes through the stream", async () => {
  for (const blocks of [[{ bytes: 65536 + 128, count: 2 }], [{ bytes: 1024, count: 2 }], undefined]) {
    const dev = new FileDev({ shared: true, later: false });
    await using w = await world(dev, blocks);
    const writes = Array.from({ length: 6 }, (_, i) => w.client.ops.write(w.fid, pattern(LARGE, i), i * LARGE));
    assert.deepEqual(await Promise.all(writes), new Array(6).fill(LARGE));
    const reads = Array.from({ length: 6 }, (_, i) => w.client.ops.readBytes(w.fid, LARGE, i * LARGE));
    (await Promise.all(reads)).forEach((bytes, i) => assert.deepEqual(bytes, pattern(LARGE, i)));
    const most = Array.from({ length: 2 }, () => w.client.ops.readBytes(w.fid, MIB - 24, 0));
    for (const bytes of await Promise.all(most)) assert.equal(bytes.length, 6 * LARGE);
    if (blocks?.[0].bytes === 65664) assert.deepEqual(w.lent(), [2, 2]);
  }
});

Deno.test("a reference to what is in no block is an error to who sent it, and the connection goes on", async () => {
  const dev = new FileDev({ shared: true, later: false });
  await using w = await world(dev);
  const bad = [{ at: 0, length: 1, ticket: 1 }, { at: 4096, length: 1 << 30, ticket: 0 }, {
    at: 2 ** 32 - 1,
    length: 1,
    ticket: 1,
  }];
  for (const ref of bad) {
    await assert.rejects(w.rpc.rpc({ type: m.Twriteref, tag: 0, fid: w.fid, offset: 0, ref }), { code: "EPROTO" });
  }
  assert.equal(await w.client.ops.write(w.fid, pattern(LARGE), 0), LARGE);
  assert.deepEqual(w.lent(), [1, 0]);
});

Deno.test("a reference where no memory is shared is an error", async () => {
  const dev = new FileDev({ shared: true, later: false });
  await using w = await world(dev, undefined);
  const ref = { at: 4096, length: 10, ticket: 1 };
  await assert.rejects(w.rpc.rpc({ type: m.Twriteref, tag: 0, fid: w.fid, offset: 0, ref }), { code: "EPROTO" });
  assert.equal(await w.client.ops.write(w.fid, pattern(10), 0), 10);
});

Deno.test("a flushed read gives its block back", async () => {
  const dev = new FileDev({ shared: true, later: true });
  await using w = await world(dev);
  dev.bytes = pattern(LARGE);
  const abort = new AbortController();
  const read = w.client.ops.readBytes(w.fid, LARGE, 0, abort.signal);
  abort.abort();
  await read.catch((e: Err) => assert.equal(e.code, "EINTR"));
  assert.equal((await w.client.ops.readBytes(w.fid, LARGE, 0)).length, LARGE);
  w.lent();
});

Deno.test("a server's reference to what is in no block, or to more than was asked for, fails that read alone", async () => {
  const hold = setInterval(() => {}, 1000);
  const [a, b] = ringPair({ a: { name: "a", owner: { id: 1 } }, b: { name: "b", owner: { id: 2 } }, blocks: BLOCKS });
  const ours = ringTransport(a), theirs = ringTransport(b);
  const refs: m.DataRef[] = [{ at: 0, length: 20_000, ticket: 1 }, { at: 2 ** 32 - 1, length: 20_000, ticket: 1 }];
  for (const length of [LARGE + 1, LARGE]) {
    const { at, view, ticket } = theirs.blocks!.lend(65_000)!;
    view.set(pattern(length));
    refs.push({ at, length, ticket });
  }
  const server = new ScriptedServer(
    (msg) => msg.type === m.Tread ? { type: m.Rreadref, tag: SAME_TAG, ref: refs.shift()! } : undefined,
    { dialect: "9P2000.L.r9", msize: MIB },
  );
  const transport = Object.assign(server.transport, { blocks: ours.blocks });
  const client = await Client.connect(transport, { clock: new TestClock() });
  const { fid } = await client.ops.attach({ uname: "glenda", uid: 1, aname: "" });
  for (let i = 0; i < 3; i++) await assert.rejects(client.ops.readBytes(fid, LARGE, 0), { code: "EPROTO" });
  assert.deepEqual(await client.ops.readBytes(fid, LARGE, 0), pattern(LARGE));
  assert.deepEqual(readArena(b.lends!), { lent: 2, back: 2 });
  client.rpc.close();
  ours.close();
  theirs.close();
  clearInterval(hold);
});
