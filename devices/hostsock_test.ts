import assert from "node:assert/strict";
import { dialTcp, listenTcp, lookup, openUdp } from "./hostsock.ts";

const HERE = { host: "127.0.0.1", port: 0 };

Deno.test("hostsock: bytes both ways by TCP, a half close, and the end", async () => {
  const listener = listenTcp(HERE);
  const [client, server] = await Promise.all([dialTcp(listener.local), listener.accept()]);
  assert(server);
  assert.deepEqual(client.remote, listener.local);
  assert.deepEqual(client.local, server.remote);
  const sent = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 31 >> 3);
  const all = (async () => {
    const got: number[] = [], into = new Uint8Array(65536);
    for (let n; (n = await server.read(into)) > 0;) got.push(...into.subarray(0, n));
    return Uint8Array.from(got);
  })();
  await client.write(sent);
  await client.shutdown();
  assert.deepEqual(await all, sent);
  await server.write(new TextEncoder().encode("done"));
  const into = new Uint8Array(10);
  assert.equal(await client.read(into), 4);
  const last = client.read(into);
  client.close();
  assert.equal(await last, 0, "closing ends a read that waits");
  await assert.rejects(client.write(into), { code: "EPIPE" });
  server.close();
  const waiting = listener.accept();
  listener.close();
  assert.equal(await waiting, null);
});

Deno.test("hostsock: what refuses, is taken, has no name, or is given up says so", async () => {
  const listener = listenTcp(HERE), { port } = listener.local;
  assert.throws(() => listenTcp(listener.local), { code: "EADDRINUSE" });
  listener.close();
  await assert.rejects(dialTcp({ host: "127.0.0.1", port }), {
    code: "ECONNREFUSED",
    message: `tcp!127.0.0.1!${port}: Connection refused`,
  });
  await assert.rejects(dialTcp({ host: "127.0.0.1", port, signal: AbortSignal.abort() }), { code: "ECANCELED" });
  await assert.rejects(dialTcp({ host: "no-such-host.invalid", port: 1 }), {
    code: "ENOENT",
    message: /no-such-host\.invalid.*: no such host$/,
  });
  assert((await lookup("localhost")).length > 0);
});

Deno.test("hostsock: datagrams by UDP keep their edges and say whose they are", async () => {
  const a = await openUdp(HERE), b = await openUdp(HERE);
  const first = b.receive();
  for (const text of ["one", "two", ""]) await a.send(new TextEncoder().encode(text), b.local);
  const text = (got: { bytes: Uint8Array } | null) => new TextDecoder().decode(got!.bytes);
  assert.deepEqual((await first)!.from, a.local);
  assert.equal(text(await first), "one");
  assert.equal(text(await b.receive()), "two");
  assert.equal(text(await b.receive()), "");
  await assert.rejects(openUdp(b.local), { code: "EADDRINUSE" });
  const waiting = b.receive();
  b.close();
  assert.equal(await waiting, null);
  await assert.rejects(b.send(new Uint8Array(1), a.local), { code: "EPIPE" });
  a.close();
});
