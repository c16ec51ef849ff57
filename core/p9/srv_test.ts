/** The server with a tree that blocks: concurrency, flush, the end of connections, limits. Semantics are in tests/conformance. */

import assert from "node:assert/strict";
import { Chan, Dev, type Req, type User, type Walk } from "../dev.ts";
import { Err } from "../err.ts";
import { decodeR, encode } from "./codec.ts";
import { Writer } from "./cursor.ts";
import { Input } from "./input.ts";
import * as m from "./msg.ts";
import type { Rmsg, Tmsg } from "./msg.ts";
import { Srv, type SrvOptions } from "./srv.ts";
import type { Transport } from "./transport.ts";
import { transportPair } from "./transport_pair.ts";
import { type Dir, makeDir, type MaybePromise, NOFID, NOTAG, type Qid, QTDIR } from "./types.ts";

const ROOT: Qid = { type: QTDIR, vers: 0, path: 0 };
const DIALECT = m.dialectTraits("9P2000.L.r9")!;

/** A tree whose file `slow` answers when the test says so, `stuck` never by itself, `fast` at once. */
class SlowDev extends Dev<string> {
  readonly name = "slow";
  readonly reads: PromiseWithResolvers<Uint8Array>[] = [];
  walks: PromiseWithResolvers<void> | null = null;
  clunked: string[] = [];
  removed: string[] = [];
  open = (c: Chan<string>, mode: number) => {
    c.mode = mode;
    return c;
  };

  attach(user: User): Chan<string> {
    return new Chan(this, ROOT, "/", user);
  }

  walk(c: Chan<string>, names: string[]): MaybePromise<Walk<string>> {
    const name = names.at(-1) ?? c.aux;
    const qid = name === "/" ? ROOT : { type: 0, vers: 0, path: name.length };
    const walked = { qids: names.map(() => qid), chan: new Chan<string>(this, qid, name, c.user) };
    return this.walks ? this.walks.promise.then(() => walked) : walked;
  }

  read(c: Chan<string>, dst: Uint8Array, _offset: number, req: Req): number | Promise<Uint8Array> {
    if (c.aux === "fast") {
      dst.fill(7);
      return dst.length;
    }
    const read = Promise.withResolvers<Uint8Array>();
    this.reads.push(read);
    if (c.aux === "stuck") req.signal.addEventListener("abort", () => read.reject(new Err("EINTR")));
    return read.promise;
  }

  stat(c: Chan<string>): Dir {
    return makeDir({ name: c.aux, mode: 0o644, qid: c.qid });
  }

  override clunk(c: Chan<string>): void {
    this.clunked.push(c.aux);
  }

  override remove(c: Chan<string>): void {
    this.removed.push(c.aux);
  }
}

/** A client that says what it is told. */
class Peer {
  readonly transport: Transport;
  /** The server's end. */
  readonly served: Transport;
  readonly ended: Promise<void>;
  #input: Input;

  constructor(srv: Srv, capacity?: number) {
    const [ours, theirs] = transportPair({ capacity });
    this.transport = ours;
    this.served = theirs;
    this.ended = srv.serve(theirs);
    this.#input = new Input(ours, 1 << 24);
  }

  async send(...msgs: Tmsg[]): Promise<void> {
    const w = new Writer(4096, 1 << 24);
    for (const msg of msgs) encode(w, msg, DIALECT);
    await this.transport.write(w.bytes.subarray(0, w.at));
  }

  async receive(): Promise<Rmsg> {
    while (!this.#input.next()) assert.ok(await this.#input.fill(), "the connection ended");
    const reply = decodeR(this.#input.reader, DIALECT);
    return "data" in reply ? { ...reply, data: reply.data.slice() } : reply;
  }

  async rpc(msg: Tmsg): Promise<Rmsg> {
    await this.send(msg);
    return await this.receive();
  }

  /** Fids 1 slow, 2 fast, 3 stuck, all open. */
  async ready(): Promise<this> {
    await this.rpc({ type: m.Tversion, tag: NOTAG, msize: 1 << 16, version: DIALECT.name });
    await this.rpc({ type: m.Tattach, tag: 1, fid: 0, afid: NOFID, uname: "u", aname: "", nuname: 1 });
    for (const [i, name] of ["slow", "fast", "stuck"].entries()) {
      await this.rpc({ type: m.Twalk, tag: 1, fid: 0, newfid: i + 1, names: [name] });
      await this.rpc({ type: m.Tlopen, tag: 1, fid: i + 1, flags: 0 });
    }
    return this;
  }
}

const read = (tag: number, fid: number, count = 4): Tmsg => ({ type: m.Tread, tag, fid, offset: 0, count });
const clunk = (tag: number, fid: number): Tmsg => ({ type: m.Tclunk, tag, fid });
const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

async function setUp(options: SrvOptions = {}, capacity?: number) {
  const dev = new SlowDev();
  const srv = new Srv(dev, options);
  const peer = await new Peer(srv, capacity).ready();
  return { dev, srv, peer };
}

Deno.test("of a tree that is still being made the version is agreed on; an attach waits for it, or is flushed", async () => {
  const dev = new SlowDev(), made = Promise.withResolvers<Dev>(), peer = new Peer(new Srv(made.promise));
  const attach = (tag: number, fid: number): Tmsg => {
    return { type: m.Tattach, tag, fid, afid: NOFID, uname: "u", aname: "", nuname: 1 };
  };
  await peer.rpc({ type: m.Tversion, tag: NOTAG, msize: 1 << 16, version: DIALECT.name });
  await peer.send(attach(1, 0), attach(2, 1));
  assert.deepEqual(await peer.rpc({ type: m.Tflush, tag: 3, oldtag: 2 }), { type: m.Rflush, tag: 3 });
  made.resolve(dev);
  assert.deepEqual(await peer.receive(), { type: m.Rattach, tag: 1, qid: ROOT });
  assert.equal((await peer.rpc(attach(4, 1))).type, m.Rattach, "the flushed one's fid is free");
  peer.transport.close();
  await peer.ended;
  assert.deepEqual(dev.clunked, ["/", "/"]);
});

Deno.test("a blocked read blocks nobody, and its answer comes when it comes", async () => {
  const { dev, peer } = await setUp();
  await peer.send(read(10, 1), read(11, 2), read(12, 1));
  assert.deepEqual(await peer.receive(), { type: m.Rread, tag: 11, data: Uint8Array.of(7, 7, 7, 7) });
  dev.reads[1].resolve(Uint8Array.of(2));
  assert.deepEqual(await peer.receive(), { type: m.Rread, tag: 12, data: Uint8Array.of(2) });
  dev.reads[0].resolve(Uint8Array.of(1));
  assert.deepEqual(await peer.receive(), { type: m.Rread, tag: 10, data: Uint8Array.of(1) });
  peer.transport.close();
  await peer.ended;
});

Deno.test("a transport is told whether requests are under way", async () => {
  const { dev, peer } = await setUp();
  assert.equal(peer.served.busy!(), false);
  await peer.rpc(read(9, 2));
  assert.equal(peer.served.busy!(), false);
  await peer.send(read(10, 1), read(11, 2));
  await peer.receive();
  assert.equal(peer.served.busy!(), true);
  dev.reads[0].resolve(Uint8Array.of(1));
  await peer.receive();
  assert.equal(peer.served.busy!(), false);
  peer.transport.close();
  await peer.ended;
});

Deno.test("Tflush cancels a blocked read, which is then not answered", async () => {
  const { peer } = await setUp();
  await peer.send(read(10, 3), { type: m.Tflush, tag: 11, oldtag: 10 });
  assert.deepEqual(await peer.receive(), { type: m.Rflush, tag: 11 });
  assert.equal((await peer.rpc(read(10, 2))).tag, 10, "the tag is free again");
  peer.transport.close();
  await peer.ended;
});

Deno.test("an answer that was on its way comes before its Rflush", async () => {
  const { dev, peer } = await setUp();
  await peer.send(read(10, 1), { type: m.Tflush, tag: 11, oldtag: 10 }, { type: m.Tflush, tag: 12, oldtag: 10 });
  await turn();
  dev.reads[0].resolve(Uint8Array.of(5));
  assert.deepEqual([await peer.receive(), await peer.receive(), await peer.receive()].map((r) => r.tag), [10, 11, 12]);
  peer.transport.close();
  await peer.ended;
});

Deno.test("a flush of a flush waits for it, and both are answered", async () => {
  const { dev, peer } = await setUp();
  await peer.send(read(10, 1), { type: m.Tflush, tag: 11, oldtag: 10 }, { type: m.Tflush, tag: 12, oldtag: 11 });
  await turn();
  dev.reads[0].resolve(Uint8Array.of(5));
  assert.deepEqual([await peer.receive(), await peer.receive(), await peer.receive()].map((r) => r.tag), [10, 11, 12]);
  peer.transport.close();
  await peer.ended;
});

Deno.test("a tag in flight can not be used again", async () => {
  const { peer } = await setUp();
  await peer.send(read(10, 1), read(10, 2));
  assert.equal((await peer.receive()).type, m.Rerror);
  peer.transport.close();
});

Deno.test("clunk frees the fid at once, the file when what runs on it is done", async () => {
  const { dev, peer } = await setUp();
  await peer.send(read(10, 1), clunk(11, 1));
  assert.deepEqual(await peer.receive(), { type: m.Rclunk, tag: 11 });
  assert.deepEqual(dev.clunked, []);
  assert.equal((await peer.rpc(clunk(12, 1))).type, m.Rerror);
  dev.reads[0].resolve(Uint8Array.of(1));
  assert.equal((await peer.receive()).tag, 10);
  assert.deepEqual(dev.clunked, ["slow"]);
  peer.transport.close();
  await peer.ended;
});

Deno.test("requests on a fid that is still being walked to wait for it", async () => {
  const { dev, peer } = await setUp();
  dev.walks = Promise.withResolvers();
  await peer.send(
    { type: m.Twalk, tag: 10, fid: 0, newfid: 9, names: ["fast"] },
    { type: m.Tlopen, tag: 11, fid: 9, flags: 0 },
    read(12, 9),
    clunk(13, 9),
  );
  await turn();
  dev.walks.resolve();
  const replies = [await peer.receive(), await peer.receive(), await peer.receive(), await peer.receive()];
  const byTag = replies.sort((a, b) => a.tag - b.tag).map((r) => r.type);
  assert.deepEqual(byTag, [m.Rwalk, m.Rlopen, m.Rread, m.Rclunk]);
  peer.transport.close();
  await peer.ended;
});

Deno.test("when the client dies its requests are given up and its fids clunked", async () => {
  const { dev, srv, peer } = await setUp();
  await peer.send(read(10, 3), read(11, 3));
  await turn();
  peer.transport.close();
  await peer.ended;
  assert.deepEqual(dev.clunked.sort(), ["/", "fast", "slow", "stuck"]);
  assert.equal(srv.sessions.size, 0);
});

Deno.test("a new Tversion drops answers of the old session", async () => {
  const { dev, peer } = await setUp();
  await peer.send(read(10, 1));
  await turn();
  const version: Tmsg = { type: m.Tversion, tag: NOTAG, msize: 1 << 16, version: DIALECT.name };
  assert.equal((await peer.rpc(version)).type, m.Rversion);
  dev.reads[0].resolve(Uint8Array.of(1));
  await turn();
  assert.equal((await peer.rpc({ type: m.Tflush, tag: 10, oldtag: 9 })).type, m.Rflush);
  peer.transport.close();
  await peer.ended;
});

Deno.test("requests in flight have a limit, and Tflush gets through at it", async () => {
  const { peer } = await setUp({ limits: { inFlight: 8 } });
  await peer.send(...Array.from({ length: 9 }, (_, i) => read(20 + i, 3)));
  assert.deepEqual((await peer.receive()).tag, 28);
  await peer.send({ type: m.Tflush, tag: 50, oldtag: 20 });
  assert.equal((await peer.receive()).type, m.Rflush);
  peer.transport.close();
  await peer.ended;
});

Deno.test("a client that never reads is stopped from sending, and the server holds little for it", async () => {
  const { srv, peer } = await setUp({}, 64 * 1024);
  let sent = 0;
  const flood = (async () => {
    for (; sent < 20_000; sent++) await peer.send(read(sent & 0x7fff, 2, 60_000));
  })().catch(() => {});
  for (let i = 0; i < 50; i++) await turn();
  assert.ok(sent > 0 && sent < 20_000, `${sent} requests were taken`);
  const [session] = srv.sessions;
  assert.ok(session.output.pending < 1 << 20, `${session.output.pending} bytes wait`);
  peer.transport.close();
  await peer.ended;
  await flood;
});

Deno.test("answers that come while the output is full are kept, and all sent", async () => {
  const { dev, peer } = await setUp({}, 16 * 1024);
  await peer.send(...Array.from({ length: 40 }, (_, i) => read(100 + i, 1, 60_000)));
  await turn();
  for (const waiting of dev.reads) waiting.resolve(new Uint8Array(60_000));
  const tags = new Set<number>();
  for (let i = 0; i < 40; i++) {
    const reply = await peer.receive() as m.Rread;
    assert.equal(reply.data.length, 60_000);
    tags.add(reply.tag);
  }
  assert.equal(tags.size, 40);
  peer.transport.close();
  await peer.ended;
});

Deno.test("a Dev that answers more than it was asked for is an error, not an overrun", async () => {
  const { dev, peer } = await setUp();
  await peer.send(read(10, 1, 4));
  await turn();
  dev.reads[0].resolve(new Uint8Array(100));
  assert.equal((await peer.receive()).type, m.Rerror);
  peer.transport.close();
  await peer.ended;
});

Deno.test("fids have a limit, on a connection and on all, and a refused one leaves the others alone", async () => {
  const { srv, peer } = await setUp({ limits: { fids: 20, allFids: 30 } });
  const clone = (tag: number, newfid: number): Tmsg => ({ type: m.Twalk, tag, fid: 0, newfid, names: [] });
  for (let fid = 4; fid < 20; fid++) assert.equal((await peer.rpc(clone(1, fid))).type, m.Rwalk);
  assert.equal((await peer.rpc(clone(1, 20)) as m.Rerror).errno, new Err("EMFILE").errno);
  assert.equal((await peer.rpc(clunk(1, 7))).type, m.Rclunk);
  assert.equal((await peer.rpc(clone(1, 20))).type, m.Rwalk);
  const other = await new Peer(srv).ready();
  for (let fid = 4; fid < 10; fid++) assert.equal((await other.rpc(clone(1, fid))).type, m.Rwalk);
  assert.equal((await other.rpc(clone(1, 10)) as m.Rerror).errno, new Err("ENFILE").errno);
  peer.transport.close();
  await peer.ended;
  assert.equal((await other.rpc(clone(1, 10))).type, m.Rwalk);
  other.transport.close();
  await other.ended;
  assert.equal(srv.fids.count, 0);
});

Deno.test("connections have a limit", async () => {
  const { srv, peer } = await setUp({ limits: { connections: 1 } });
  const second = new Peer(srv);
  assert.equal(await second.transport.read(new Uint8Array(8)), null);
  assert.equal(srv.stats.refused, 1);
  peer.transport.close();
  await peer.ended;
});

/** A clock whose alarms go off when the test says so. */
function alarmClock() {
  const alarms: { ms: number; fn: () => void; off: boolean }[] = [];
  const after = (ms: number, fn: () => void) => {
    const alarm = { ms, fn, off: false };
    alarms.push(alarm);
    return () => void (alarm.off = true);
  };
  return { clock: { now: () => 0, monotonic: () => 0, after }, alarms };
}

Deno.test("who waits for a tree that is still being made does not stall the handshake", async () => {
  const { clock, alarms } = alarmClock(), made = Promise.withResolvers<Dev>();
  const srv = new Srv(made.promise, { clock }), peer = new Peer(srv);
  const attach: Tmsg = { type: m.Tattach, tag: 1, fid: 0, afid: NOFID, uname: "u", aname: "", nuname: 1 };
  await peer.rpc({ type: m.Tversion, tag: NOTAG, msize: 1 << 16, version: DIALECT.name });
  assert.deepEqual(alarms.map(({ off }) => off), [false], "it is our turn only when it has asked");
  await peer.send(attach);
  await turn();
  assert.deepEqual(alarms.map(({ off }) => off), [true]);
  assert.deepEqual(await peer.rpc({ type: m.Tflush, tag: 2, oldtag: 1 }), { type: m.Rflush, tag: 2 });
  assert.deepEqual(alarms.map(({ off }) => off), [true, false], "it gave up, and is waited for again");
  await peer.send(attach);
  await turn();
  made.resolve(new SlowDev());
  assert.equal((await peer.receive()).type, m.Rattach);
  await turn();
  assert.deepEqual(alarms.map(({ off }) => off), [true, true], "nothing is to come once it is attached");
  await peer.transport.write(Uint8Array.of(19, 0, 0));
  await turn();
  assert.equal(alarms.at(-1)!.ms, srv.limits.messageMs);
  alarms.at(-1)!.fn();
  await peer.ended;
  assert.equal(srv.stats.timeouts, 1);
});

Deno.test("the time for the rest of a message is each message's own", async () => {
  const { clock, alarms } = alarmClock(), { srv, peer } = await setUp({ clock });
  const frame = Uint8Array.of(9, 0, 0, 0, m.Tflush, 20, 0, 21, 0), cut = 5;
  await peer.transport.write(frame.subarray(0, cut));
  await turn();
  const first = alarms.at(-1)!;
  assert.ok(!first.off && first.ms === srv.limits.messageMs);
  await peer.transport.write(Uint8Array.of(...frame.subarray(cut), ...frame.subarray(0, cut)));
  assert.equal((await peer.receive()).type, m.Rflush);
  first.fn();
  assert.equal(srv.stats.timeouts, 0, "that message has come");
  const second = alarms.at(-1)!;
  assert.ok(second !== first && !second.off);
  second.fn();
  await peer.ended;
  assert.equal(srv.stats.timeouts, 1);
});

Deno.test("who does not say a version in time is cut off, and who does is not", async () => {
  const { clock, alarms } = alarmClock();
  const { srv, peer } = await setUp({ clock });
  assert.ok(alarms[0].off, "the deadline is off once attached");
  const mute = new Peer(srv);
  await turn();
  const last = alarms.at(-1)!;
  assert.ok(!last.off);
  last.fn();
  await mute.ended;
  assert.equal(srv.stats.timeouts, 1);
  await peer.send({ type: m.Tflush, tag: 10, oldtag: 9 });
  assert.equal((await peer.receive()).type, m.Rflush);
  peer.transport.close();
  await peer.ended;
});
