import assert from "node:assert/strict";
import { Err } from "../err.ts";
import { Client, type ClientOptions } from "./client.ts";
import type { RemoteFile } from "./client_file.ts";
import * as m from "./msg.ts";
import type { Dialect, Rmsg, Tmsg } from "./msg.ts";
import { type Answer, SAME_TAG, ScriptedServer } from "./scripted_server.ts";
import { DMAPPEND, makeDir, ORDWR, OREAD, OWRITE, QTAPPEND } from "./types.ts";

const IOUNIT = 1000;

function fails(code: string): (e: unknown) => boolean {
  return (e) => e instanceof Err && e.code === code;
}

function pattern(length: number): Uint8Array {
  return new Uint8Array(length).map((_, i) => (i * 7) ^ (i >> 8));
}

/** A server of one file, in 9P2000.L, that counts what goes on at once. */
class OneFile {
  readonly server: ScriptedServer;
  bytes: Uint8Array;
  /** What stat says; a device says 0. */
  length: number | undefined;
  qidType = 0;
  /** The most bytes that a read or write takes. */
  most = IOUNIT;
  /** The most requests that were there at once. */
  widest = 0;
  stats = 0;
  #held: Rmsg[] = [];

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.bytes = bytes;
    this.server = new ScriptedServer((msg) => this.#answer(msg));
  }

  get data(): (m.Tread | m.Twrite)[] {
    return this.server.requests.filter((msg) => msg.type === m.Tread || msg.type === m.Twrite);
  }

  #answer(msg: Tmsg): Answer | undefined {
    const qid = { type: this.qidType, vers: 0, path: 2 };
    switch (msg.type) {
      case m.Tlopen:
        return { type: m.Rlopen, tag: SAME_TAG, qid, iounit: IOUNIT };
      case m.Tgetattr: {
        this.stats++;
        const dir = makeDir({ name: "", mode: 0o644, qid, length: this.length ?? this.bytes.length });
        return { type: m.Rgetattr, tag: SAME_TAG, valid: 0x7ff, dir };
      }
      case m.Tread: {
        const at = Number(msg.offset);
        return this.#later({
          type: m.Rread,
          tag: msg.tag,
          data: this.bytes.slice(at, at + Math.min(msg.count, this.most)),
        });
      }
      case m.Twrite:
        return this.#write(msg);
      default:
        return undefined;
    }
  }

  #write(msg: m.Twrite): null {
    const data = msg.data.subarray(0, this.most), at = Number(msg.offset);
    const grown = new Uint8Array(Math.max(this.bytes.length, at + data.length));
    grown.set(this.bytes);
    grown.set(data, at);
    this.bytes = grown;
    return this.#later({ type: m.Rwrite, tag: msg.tag, count: data.length });
  }

  /** Answers all that came in a turn together, the last first. */
  #later(reply: Rmsg): null {
    if (this.#held.push(reply) === 1) {
      setTimeout(() => {
        this.widest = Math.max(this.widest, this.#held.length);
        this.server.send(this.#held.splice(0).reverse());
      }, 0);
    }
    return null;
  }

  async client(options: ClientOptions = {}): Promise<Client> {
    return await Client.connect(this.server.transport, { windowBytes: 8 * IOUNIT, ...options });
  }

  async open(mode = OREAD, options?: Parameters<RemoteFile["open"]>[1]): Promise<RemoteFile> {
    const file = await (await (await this.client()).walk("/f")).open(mode, options);
    this.server.requests.length = 0;
    return file;
  }
}

// Versions.

const OFFERS: [what: string, answers: Record<string, string>, agreed: Dialect, offered: number][] = [
  ["ring9", { "9P2000.L.r9": "9P2000.L.r9" }, "9P2000.L.r9", 1],
  ["one that knows .L, and answers unknown to more", { "9P2000.L": "9P2000.L" }, "9P2000.L", 2],
  ["one that answers 9P2000.L at once", { "9P2000.L.r9": "9P2000.L" }, "9P2000.L", 1],
  ["one that cuts the suffix off, but knows .L", { "9P2000.L.r9": "9P2000", "9P2000.L": "9P2000.L" }, "9P2000.L", 2],
  ["one of 9P2000.u", { "9P2000.L.r9": "9P2000", "9P2000.L": "9P2000.u", "9P2000.u": "9P2000.u" }, "9P2000.u", 2],
  [
    "one of 9P2000 alone",
    { "9P2000.L.r9": "9P2000", "9P2000.L": "9P2000", "9P2000.u": "9P2000", "9P2000": "9P2000" },
    "9P2000",
    3,
  ],
];

function versionServer(answers: Record<string, string>, msize = 8192): ScriptedServer {
  return new ScriptedServer((msg) => {
    return msg.type === m.Tversion
      ? { type: m.Rversion, tag: msg.tag, msize, version: answers[msg.version] ?? "unknown" }
      : undefined;
  });
}

for (const [what, answers, agreed, offered] of OFFERS) {
  Deno.test(`versions: ${what} gets ${agreed}`, async () => {
    const server = versionServer(answers);
    const client = await Client.connect(server.transport);
    assert.equal(client.dialect, agreed);
    assert.equal(client.msize, 8192);
    assert.equal(server.requests.length, offered);
  });
}

Deno.test("versions: no common dialect, an msize that is too large or too small, and an error are said", async () => {
  await assert.rejects(
    Client.connect(versionServer({}).transport),
    (e: Err) => /speaks none of 9P2000.L.r9, .*'unknown'/.test(e.message),
  );
  const all = { "9P2000.L.r9": "9P2000.L.r9" };
  for (const msize of [2 << 20, 0xffffffff, 0, 10]) {
    await assert.rejects(Client.connect(versionServer(all, msize).transport), fails("EPROTO"));
  }
  const refusing = new ScriptedServer(() => ({ type: m.Rerror, tag: SAME_TAG, ename: "go away", errno: 0 }), {
    dialect: "9P2000",
  });
  await assert.rejects(Client.connect(refusing.transport), /go away/);
  const closing = new ScriptedServer((_, server) => (server.close(), null));
  await assert.rejects(Client.connect(closing.transport), fails("ECONNRESET"));
  const silent = new ScriptedServer(() => null);
  await assert.rejects(Client.connect(silent.transport, { signal: AbortSignal.timeout(5) }), fails("EINTR"));
});

// Large reads and writes.

Deno.test("a read over iounit is split, in flight at once, and joined", async () => {
  const one = new OneFile(pattern(20_500)), file = await one.open();
  const into = new Uint8Array(20_500);
  assert.equal(await file.read(into, 0), 20_500);
  assert.deepEqual(into, one.bytes);
  assert.ok(one.widest >= 4 && one.widest <= 8, `${one.widest} at once`);
  assert.ok(one.data.every((msg) => msg.type === m.Tread && msg.count <= IOUNIT));
});

Deno.test("a read ends at the first short answer, and past the end is 0", async () => {
  const one = new OneFile(pattern(5000)), file = await one.open();
  const into = new Uint8Array(9000);
  assert.equal(await file.read(into, 2500), 2500);
  assert.deepEqual(into.subarray(0, 2500), one.bytes.subarray(2500));
  assert.equal(await file.read(into, 5000), 0);
  assert.equal(await file.read(into, 2 ** 50), 0);
  one.most = 300; // a server that gives less than its iounit
  assert.equal(await file.read(into, 0), 300);
  assert.deepEqual(await file.readAll(), one.bytes);
});

Deno.test("a read asks a device, which has no length, for one part at a time", async () => {
  const one = new OneFile(pattern(3500)), file = await one.open();
  one.length = 0;
  const into = new Uint8Array(3500);
  assert.equal(await file.read(into, 0), 3500);
  assert.equal(one.widest, 1);
  assert.deepEqual(await file.readAll(), one.bytes);
  assert.equal(one.widest, 1);
});

Deno.test("a write over iounit is split: at once into a plain file, in order into one that may be none", async () => {
  const data = pattern(9500);
  const plain = new OneFile(pattern(10));
  assert.equal(await (await plain.open(OWRITE)).write(data, 0), 9500);
  assert.deepEqual(plain.bytes, data);
  assert.ok(plain.widest > 1 && plain.widest <= 8);

  const append = new OneFile(pattern(10));
  append.qidType = QTAPPEND;
  assert.equal(await (await append.open(OWRITE)).write(data, 10), 9500);
  assert.equal(append.widest, 1);

  const device = new OneFile();
  device.length = 0;
  assert.equal(await (await device.open(OWRITE)).write(data, 0), 9500);
  assert.equal(device.widest, 1);
});

Deno.test("a short write ends the write; writeAll goes on, until nothing is taken", async () => {
  const one = new OneFile(), file = await one.open(OWRITE);
  one.most = 400;
  assert.equal(await file.write(pattern(5000), 0), 400);
  await file.writeAll(pattern(5000));
  assert.deepEqual(one.bytes, pattern(5000));
  one.most = 0;
  await assert.rejects(file.writeAll(pattern(10)), fails("ENOSPC"));
});

Deno.test("an error in the middle of a large read leaves the bytes before it, and comes with the next", async () => {
  const one = new OneFile(pattern(5000));
  let broken = true;
  const server = new ScriptedServer((msg) => {
    if (msg.type === m.Tlopen) {
      return { type: m.Rlopen, tag: SAME_TAG, qid: { type: 0, vers: 0, path: 2 }, iounit: IOUNIT };
    }
    if (msg.type === m.Tgetattr) {
      return { type: m.Rgetattr, tag: SAME_TAG, valid: 0x7ff, dir: makeDir({ name: "", mode: 0o644, length: 5000 }) };
    }
    if (msg.type !== m.Tread) return undefined;
    const at = Number(msg.offset);
    if (broken && at >= 2000) return { type: m.Rlerror, tag: SAME_TAG, errno: 5 };
    return { type: m.Rread, tag: SAME_TAG, data: one.bytes.slice(at, at + msg.count) };
  });
  const file = await (await Client.connect(server.transport)).open("/f");
  const into = new Uint8Array(5000);
  assert.equal(await file.read(into, 0), 2000);
  await assert.rejects(file.read(into, 2000), fails("EIO"));
  broken = false;
  assert.equal(await file.read(into, 2000), 3000);
});

Deno.test("read-ahead has the next bytes on their way, and follows a reader who jumps", async () => {
  const one = new OneFile(pattern(10_000)), file = await one.open(OREAD, { readAhead: 4 });
  const into = new Uint8Array(100);
  for (let at = 0; at < 3000; at += 100) {
    assert.equal(await file.read(into, at), 100);
    assert.deepEqual(into, one.bytes.slice(at, at + 100));
  }
  assert.ok(one.data.length <= 7, `${one.data.length} reads for 30`);
  assert.equal(await file.read(into, 9950), 50);
  assert.deepEqual(into.slice(0, 50), one.bytes.slice(9950));
  assert.equal(await file.read(into, 10_000), 0);
});

Deno.test("write-behind answers before the server has, and tells errors at the next call and at close", async () => {
  const one = new OneFile(pattern(1)), file = await one.open(OWRITE, { writeBehind: 8 });
  const data = pattern(5000);
  for (let at = 0; at < 5000; at += 500) {
    const part = data.slice(at, at + 500);
    assert.equal(await file.write(part, at), 500);
    part.fill(0);
  }
  assert.ok(one.bytes.length < 5000, "nothing was behind");
  assert.equal((await file.stat()).length, 5000);
  assert.deepEqual(one.bytes, data);
  one.most = 0;
  await file.write(data.subarray(0, 10), 0);
  await assert.rejects(file.close(), fails("ENOSPC"));
  assert.ok(one.server.requests.some((msg) => msg.type === m.Tclunk));
});

Deno.test("write-behind offers the rest to a server that took less", async () => {
  const one = new OneFile(), file = await one.open(OWRITE, { writeBehind: 8 }), data = pattern(5 * IOUNIT);
  one.most = 300;
  await file.write(data, 0);
  await file.close();
  assert.deepEqual(one.bytes, data);
});

Deno.test("streams carry a file in both directions, and a stream that is dropped leaves it open", async () => {
  const one = new OneFile(pattern(7700)), file = await one.open(ORDWR);
  assert.deepEqual(new Uint8Array(await new Response(file.readable()).arrayBuffer()), one.bytes);
  assert.ok(one.widest > 1);
  assert.deepEqual(
    new Uint8Array(await new Response(file.readable({ offset: 7000 })).arrayBuffer()),
    pattern(7700).slice(7000),
  );
  const data = pattern(9999).reverse();
  await new Blob([new Uint8Array(data)]).stream().pipeTo(file.writable());
  assert.deepEqual(one.bytes, data);
  const reader = file.readable().getReader();
  assert.equal((await reader.read()).value?.length, IOUNIT);
  await reader.cancel();
  assert.equal(await file.read(new Uint8Array(10), 0), 10);
});

Deno.test("a stream that is cancelled gives up the read that waits", async () => {
  const server = new ScriptedServer((msg) => {
    if (msg.type !== m.Tgetattr) return msg.type === m.Tread ? null : undefined;
    return { type: m.Rgetattr, tag: SAME_TAG, valid: 0x7ff, dir: makeDir({ name: "", mode: 0o644 }) };
  });
  const file = await (await Client.connect(server.transport)).open("/cons");
  const reader = file.readable().getReader();
  const reading = reader.read();
  await server.seen(m.Tread);
  await reader.cancel();
  assert.equal((await reading).done, true);
  await file.close();
  const types = server.requests.map((msg) => msg.type);
  assert.ok(types.indexOf(m.Tflush) > types.indexOf(m.Tread));
});

// Fids.

Deno.test("a long walk goes by sixteen names, and clunks what it passed", async () => {
  const server = new ScriptedServer(() => undefined);
  const client = await Client.connect(server.transport);
  const file = await client.walk("/" + Array.from({ length: 40 }, (_, i) => `n${i}`).join("/"));
  const walks = server.requests.filter((msg) => msg.type === m.Twalk);
  assert.deepEqual(walks.map((walk) => walk.names.length), [16, 16, 8]);
  await file.close();
  await client.close();
  const clunked = server.requests.filter((msg) => msg.type === m.Tclunk).map((msg) => msg.fid);
  assert.deepEqual(clunked.sort(), [...new Set(clunked)], "a fid was clunked twice");
  assert.equal(clunked.length, 4); // two on the way, the file, the root
});

Deno.test("fids are used again, but not before their clunk is answered", async () => {
  const held: Tmsg[] = [];
  let hold = true;
  const server = new ScriptedServer((msg) => {
    if (msg.type !== m.Tclunk || !hold) return undefined;
    held.push(msg);
    return null;
  });
  const client = await Client.connect(server.transport);
  const first = await client.walk("/a");
  first.discard();
  const second = await client.walk("/b");
  assert.notEqual(first.fid, second.fid);
  hold = false;
  await server.send({ type: m.Rclunk, tag: held[0].tag });
  const third = await client.walk("/c");
  assert.equal(third.fid, first.fid);
});

Deno.test("a walk that was flushed has its fid clunked before it is used again", async () => {
  const server = new ScriptedServer((msg) => msg.type === m.Twalk && msg.names[0] === "slow" ? null : undefined);
  const client = await Client.connect(server.transport);
  const root = await client.root();
  await assert.rejects(root.walk("slow", AbortSignal.timeout(5)), fails("EINTR"));
  const walk = server.requests.find((msg) => msg.type === m.Twalk) as m.Twalk;
  await root.walk("x");
  const clunk = server.requests.find((msg) => msg.type === m.Tclunk) as m.Tclunk;
  assert.equal(clunk.fid, walk.newfid);
});

Deno.test("a walk that stops on the way names what is missing, and leaves no fid", async () => {
  const server = new ScriptedServer((msg) => {
    return msg.type === m.Twalk
      ? { type: m.Rwalk, tag: SAME_TAG, qids: [{ type: 0x80, vers: 0, path: 3 }] }
      : undefined;
  });
  const client = await Client.connect(server.transport);
  await assert.rejects(client.walk("/there/gone"), (e: Err) => e.code === "ENOENT" && /'gone'/.test(e.message));
  const again = await client.walk("/there");
  assert.equal(again.fid, (server.requests.find((msg) => msg.type === m.Twalk) as m.Twalk).newfid);
});

Deno.test("names that no file can have never leave the client", async () => {
  const server = new ScriptedServer(() => undefined);
  const client = await Client.connect(server.transport);
  const root = await client.root();
  server.requests.length = 0;
  await assert.rejects(root.walk(["a/b"]), fails("EINVAL"));
  await assert.rejects(root.walk(["x".repeat(256)]), fails("ENAMETOOLONG"));
  for (const name of ["", ".", "..", "a/b", "a\0b"]) {
    await assert.rejects(root.mkdir(name), fails("EINVAL"));
    await assert.rejects(root.symlink(name, "t"), fails("EINVAL"));
  }
  assert.deepEqual(server.requests, []);
});

Deno.test("a closed file refuses everything, and closes once", async () => {
  const one = new OneFile(pattern(10)), file = await one.open();
  await file.close();
  await file.close();
  await assert.rejects(async () => await file.read(new Uint8Array(1), 0), fails("EBADF"));
  await assert.rejects(async () => await file.stat(), fails("EBADF"));
  assert.equal(one.server.requests.filter((msg) => msg.type === m.Tclunk).length, 1);
});

Deno.test("a file that was created takes many writes at once, an append-only one does not", async () => {
  for (const [perm, atOnce] of [[0o644, true], [(DMAPPEND | 0o644) >>> 0, false]] as const) {
    let widest = 0, now = 0;
    const server = new ScriptedServer((msg, server) => {
      const qid = { type: perm >>> 24, vers: 0, path: 9 };
      if (msg.type === m.Tlcreate) return { type: m.Rlcreate, tag: SAME_TAG, qid, iounit: IOUNIT };
      if (msg.type === m.Tgetattr) {
        return { type: m.Rgetattr, tag: SAME_TAG, valid: 0x7ff, dir: makeDir({ name: "", mode: 0o644, qid }) };
      }
      if (msg.type !== m.Twrite) return undefined;
      widest = Math.max(widest, ++now);
      const { tag, data } = msg;
      setTimeout(() => (now--, server.send({ type: m.Rwrite, tag, count: data.length })), 0);
      return null;
    });
    const client = await Client.connect(server.transport);
    const file = await client.create("/new", perm, OWRITE);
    assert.equal(await file.write(pattern(5000), 0), 5000);
    assert.equal(widest > 1, atOnce);
  }
});
