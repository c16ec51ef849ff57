import assert from "node:assert/strict";
import { Err } from "../err.ts";
import { Client } from "../p9/client.ts";
import { formatDial } from "../p9/dial.ts";
import * as m from "../p9/msg.ts";
import { ScriptedServer } from "../p9/scripted_server.ts";
import type { Transport } from "../p9/transport.ts";
import { webSocketTransport } from "../p9/transport_ws.ts";
import { childTransport, dial, listen, type Listener } from "./transports.ts";

function failsWith(code: string, text: RegExp): (e: unknown) => boolean {
  return (e) => e instanceof Err && e.code === code && text.test(e.message);
}

/** Sends back whatever comes. */
async function echo(transport: Transport): Promise<void> {
  const bytes = new Uint8Array(70_000);
  for (let count = await transport.read(bytes); count !== null; count = await transport.read(bytes)) {
    await transport.write(bytes.subarray(0, count));
  }
  transport.close();
}

async function echoAll(listener: Listener): Promise<void> {
  const serving: Promise<void>[] = [];
  for await (const transport of listener) serving.push(echo(transport));
  await Promise.all(serving);
}

/** Writes much and reads it back at the same time. */
async function roundTrip(transport: Transport, length = 1_000_000): Promise<void> {
  const sent = new Uint8Array(length).map((_, i) => (i * 7) ^ (i >> 8)), got = new Uint8Array(length);
  const writing = transport.write(sent);
  for (let at = 0; at < length;) {
    const count = await transport.read(got.subarray(at));
    if (count === null) throw new Error(`the end came after ${at} bytes`);
    at += count;
  }
  await writing;
  assert.ok(got.every((byte, i) => byte === sent[i]));
}

async function inTempDir(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "ring9-" });
  try {
    await body(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("TCP: dial and listen carry bytes, and close ends a read under way", async () => {
  const listener = await listen("tcp!127.0.0.1!0");
  const serving = echoAll(listener);
  const transport = await dial(listener.address);
  assert.equal(transport.remote, formatDial(listener.address));
  await roundTrip(transport);
  const reading = transport.read(new Uint8Array(1));
  transport.close();
  transport.close();
  assert.equal(await reading, null);
  await assert.rejects(async () => await transport.write(Uint8Array.of(1)), failsWith("EPIPE", /./));
  listener.close();
  listener.close();
  await serving;
  assert.equal(await listener.accept(), null);
});

Deno.test("unix: the socket is its owner's alone, and is gone after close", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/9p`, mask = Deno.umask();
    const listener = await listen(`unix!${path}`);
    assert.equal(Deno.umask(), mask);
    assert.equal(Deno.lstatSync(path).mode! & 0o777, 0o600);
    const serving = echoAll(listener);
    const transport = await dial(`unix!${path}`);
    await roundTrip(transport);
    transport.close();
    listener.close();
    await serving;
    assert.throws(() => Deno.lstatSync(path), Deno.errors.NotFound);
  }));

Deno.test("unix: a socket left behind is replaced; a living one, and another file, are not", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/9p`;
    const dead = Deno.listen({ transport: "unix", path: `${path}.dead` });
    Deno.renameSync(`${path}.dead`, path);
    dead.close();
    assert.ok(Deno.lstatSync(path).isSocket);
    const listener = await listen(`unix!${path}`);
    await assert.rejects(listen(`unix!${path}`), failsWith("EADDRINUSE", /answers there already/));
    Deno.writeTextFileSync(`${dir}/file`, "precious");
    await assert.rejects(listen(`unix!${dir}/file`), failsWith("EEXIST", /no socket/));
    assert.equal(Deno.readTextFileSync(`${dir}/file`), "precious");
    // A successor's socket stays when the old listener closes.
    Deno.removeSync(path);
    const successor = Deno.listen({ transport: "unix", path });
    listener.close();
    assert.ok(Deno.lstatSync(path).isSocket);
    successor.close();
  }));

Deno.test("dial says what it tried and what may help", () =>
  inTempDir(async (dir) => {
    await assert.rejects(
      dial(`unix!${dir}/none`),
      failsWith("ENOENT", /^cannot connect to unix!.*is the server running/),
    );
    const listener = await listen("tcp!127.0.0.1!0");
    listener.close();
    await assert.rejects(dial(listener.address), failsWith("ECONNREFUSED", /^cannot connect to tcp!127.*running/));
    await assert.rejects(dial("nonsense"), failsWith("EINVAL", /a dial string is/));
    await assert.rejects(listen("ws!ws://127.0.0.1/"), failsWith("EOPNOTSUPP", /over HTTP/));
    await assert.rejects(dial("tcp!127.0.0.1!9", { signal: AbortSignal.abort() }), failsWith("EINTR", /./));
  }));

Deno.test("WebSocket: dial reaches a server that adapts an upgraded request", async () => {
  const serving: Promise<void>[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    serving.push(echo(webSocketTransport(socket, { later: (fn) => void setTimeout(fn, 1) })));
    return response;
  });
  const transport = await dial(`ws!ws://127.0.0.1:${server.addr.port}/9p`);
  await roundTrip(transport);
  transport.close();
  await Promise.all(serving);
  await server.shutdown();
  await assert.rejects(
    dial(`ws!ws://127.0.0.1:${server.addr.port}/9p`),
    failsWith("ECONNREFUSED", /^cannot connect to ws!/),
  );
});

Deno.test("a child process's stdin and stdout carry bytes, as ssh would", async () => {
  const child = new Deno.Command("cat", { stdin: "piped", stdout: "piped" }).spawn();
  const transport = childTransport(child, "exec!cat");
  await roundTrip(transport);
  transport.close();
  assert.equal(await transport.read(new Uint8Array(1)), null);
  await child.status;
});

Deno.test("stdio: a program that serves its stdin and stdout", async () => {
  const source = `
    import { stdioTransport } from ${JSON.stringify(new URL("./transports.ts", import.meta.url).href)};
    const t = stdioTransport(), bytes = new Uint8Array(1000);
    for (let n = await t.read(bytes); n !== null; n = await t.read(bytes)) await t.write(bytes.subarray(0, n));
    t.close();`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", `data:application/typescript,${encodeURIComponent(source)}`],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const transport = childTransport(child, "exec!deno");
  await roundTrip(transport, 100_000);
  transport.close();
  await child.status;
});

Deno.test("a client and a server meet over TCP", async () => {
  const listener = await listen("tcp!127.0.0.1!0");
  const server = new ScriptedServer((msg) =>
    msg.type === m.Tstatfs ? { type: m.Rlerror, tag: msg.tag, errno: 2 } : undefined
  );
  const bridging = (async () => {
    const inner = (await listener.accept())!;
    const pump = async (from: Transport, to: Transport) => {
      const bytes = new Uint8Array(9);
      for (let n = await from.read(bytes); n !== null; n = await from.read(bytes)) await to.write(bytes.subarray(0, n));
      to.close();
    };
    await Promise.all([pump(inner, server.transport), pump(server.transport, inner)]);
  })();
  const client = await Client.connect(await dial(listener.address));
  assert.equal(client.dialect, "9P2000.L");
  const root = await client.root();
  await assert.rejects(root.statfs(), failsWith("ENOENT", /./));
  await client.close();
  await bridging;
  listener.close();
});
