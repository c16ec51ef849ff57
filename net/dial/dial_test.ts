/** Dialing over 9P through the real `/net` of plugins/ip, on its loopback. */

import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { Client } from "../../core/p9/client.ts";
import { Srv } from "../../core/p9/srv.ts";
import { transportPair } from "../../core/p9/transport_pair.ts";
import { start } from "../../core/plugin/testing.ts";
import plugin from "../../plugins/ip/mod.ts";
import { announce, connect, dial, listen, type NetFiles, translate } from "./mod.ts";

const manifest = await Deno.readTextFile(new URL("../../plugins/ip/plugin.json", import.meta.url));
const encoder = new TextEncoder(), decoder = new TextDecoder();
/** The tree is served as it is, not below /net. */
const here = { netdir: "" };

/** Runs `fn` with a client of a stack whose time goes by. */
async function withNet(fn: (client: Client) => Promise<void>, options: Record<string, unknown> = {}): Promise<void> {
  await using running = await start(plugin, { manifest, options });
  const [ours, theirs] = transportPair(), srv = new Srv(running.dev), served = srv.serve(theirs);
  const timer = setInterval(() => running.clock.advance(5), 1);
  const client = await Client.connect(ours, { uname: "glenda" });
  try {
    await fn(client);
    await eventually(async () => assert.deepEqual(await conversations(client), [], "conversations are left"));
  } finally {
    clearInterval(timer);
    await client.close();
    await served;
  }
}

/** The conversations that somebody has open. */
async function conversations(client: Client): Promise<string[]> {
  const found: string[] = [];
  for (const proto of ["tcp", "udp"]) {
    const names = (await client.list(`/${proto}`)).map(({ name }) => name).filter((name) => /^\d+$/.test(name));
    found.push(...names.map((name) => `${proto}/${name}`));
  }
  return found;
}

async function eventually(check: () => Promise<void>): Promise<void> {
  for (let tries = 0;; tries++) {
    try {
      return await check();
    } catch (thrown) {
      if (tries === 200) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

Deno.test("a call is dialed, listened for and accepted; streams carry bytes both ways, and each end is seen", () =>
  withNet(async (client) => {
    await using announced = await announce(client, "tcp!*!echo", here);
    const called = announced.listen();
    await using caller = await dial(client, "tcp!127.0.0.1!7", here);
    const call = await called;
    await using answerer = await call.accept();
    assert.equal((await caller.info()).remote, "127.0.0.1!7");
    assert.equal((await call.info()).remote, (await caller.info()).local);
    const sent = crypto.getRandomValues(new Uint8Array(50_000)), large = new Uint8Array(400_000);
    for (let at = 0; at < large.length; at += sent.length) large.set(sent, at);
    const echoed = answerer.readable.pipeTo(answerer.writable);
    const [got] = await Promise.all([
      new Response(caller.readable).bytes(),
      new Blob([large]).stream().pipeTo(caller.writable),
      echoed,
    ]);
    assert.equal(got.length, large.length);
    assert.ok(got.every((byte, i) => byte === large[i]));
  }));

Deno.test("who is not there refuses: the error says what was dialed, and no conversation is left", () =>
  withNet(async (client) => {
    const refused = dial(client, "tcp!127.0.0.1!9", here);
    await assert.rejects(refused, { code: "ECONNREFUSED", message: /^cannot dial tcp!127\.0\.0\.1!9: / });
    await assert.rejects(dial(client, "tcp!127.0.0.1!nosuch", here), { code: "ENOENT" });
    await assert.rejects(dial(client, "carrier!pigeon!1", here), Err);
    await assert.rejects(announce(client, "tcp!10.1.2.3!9", here), { code: "EADDRNOTAVAIL" });
  }));

Deno.test("a call that is rejected ends for its caller", () =>
  withNet(async (client) => {
    await using announced = await announce(client, "tcp!*!99", here);
    await using caller = await dial(client, "tcp!127.0.0.1!99", here);
    await (await announced.listen()).reject();
    await assert.rejects(caller.read(new Uint8Array(1)), { code: "ECONNRESET" });
  }));

Deno.test("of a host's addresses the one that answers is taken", () =>
  withNet(async (client) => {
    const ways = await translate(client, "tcp!two!99", here);
    assert.deepEqual(ways.map(({ address }) => address).sort(), ["127.0.0.1!99", "127.0.0.2!99"]);
    await using _announced = await announce(client, "tcp!127.0.0.2!99", here);
    await using caller = await dial(client, "tcp!two!99", here);
    assert.equal((await caller.info()).remote, "127.0.0.2!99");
  }, { ndb: "sys=two ip=127.0.0.1 ip=127.0.0.2\n" }));

Deno.test("without cs a dial string has an address and a port", () =>
  withNet(async (client) => {
    const files: NetFiles = {
      open: (path, mode, signal) =>
        path.endsWith("/cs") ? Promise.reject(new Err("ENOENT")) : client.open(path, mode, signal),
    };
    await using announced = await announce(files, "tcp!*!99", here);
    await using _caller = await dial(files, "tcp!127.0.0.1!99", here);
    await (await (await announced.listen()).accept()).close();
    await assert.rejects(dial(files, "net!127.0.0.1!99", here), { code: "ENOENT" });
  }));

Deno.test("what waits ends when its conversation is closed: a read, a listen, a stream", () =>
  withNet(async (client) => {
    const announced = await announce(client, "tcp!*!99", here);
    const caller = await dial(client, "tcp!127.0.0.1!99", here), answerer = await (await announced.listen()).accept();
    const read = answerer.read(new Uint8Array(1)), listened = announced.listen();
    const streamed = new Response(caller.readable).text();
    await Promise.all([
      assert.rejects(read, Err),
      assert.rejects(listened, Err),
      streamed.then((text) => assert.equal(text, "")),
      answerer.close(),
      announced.close(),
      caller.close(),
    ]);
  }));

Deno.test("a dial that is given up leaves no conversation", () =>
  withNet(async (client) => {
    await assert.rejects(dial(client, "tcp!127.0.0.1!9", { ...here, signal: AbortSignal.abort() }), Err);
  }));

Deno.test("datagrams keep their bounds", () =>
  withNet(async (client) => {
    await using one = await dial(client, "udp!127.0.0.1!2000", { ...here, local: "2001" });
    await using other = await dial(client, "udp!127.0.0.1!2001", { ...here, local: "2000" });
    await one.write(encoder.encode("first"));
    await one.write(encoder.encode("second"));
    const room = new Uint8Array(100);
    assert.equal(decoder.decode(room.subarray(0, await other.read(room))), "first");
    assert.equal(decoder.decode(room.subarray(0, await other.read(room))), "second");
  }));

Deno.test("connect and listen as Deno has them: addresses, an iterator of calls, null at the end", () =>
  withNet(async (client) => {
    const listener = await listen(client, { port: 0, ...here });
    assert.ok(listener.addr.port > 0);
    const served = (async () => {
      for await (const conn of listener) {
        await conn.setNoDelay();
        await conn.readable.pipeTo(conn.writable);
        await conn.close();
      }
    })();
    for (const word of ["one", "two"]) {
      await using conn = await connect(client, { port: listener.addr.port, ...here });
      assert.deepEqual(conn.remoteAddr, { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port });
      await conn.setKeepAlive();
      await conn.write(encoder.encode(word));
      await conn.closeWrite();
      const room = new Uint8Array(10);
      assert.equal(decoder.decode(room.subarray(0, await conn.read(room) ?? 0)), word);
      assert.equal(await conn.read(room), null);
    }
    await listener.close();
    await served;
  }));
