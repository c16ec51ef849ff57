/** ip in an isolate of its own: it reaches its Ethernet interface by that one's files, wherever that is placed. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Client } from "../../core/p9/client.ts";
import type { RemoteFile } from "../../core/p9/client_file.ts";
import { ORDWR } from "../../core/p9/types.ts";
import { netTest, run } from "../netns.ts";
import { bootNode, type TestNode } from "../node.ts";
import { program } from "../skip.ts";

/** Before a frame: its length and virtio header. */
const RECORD_HEAD = 16, ARP_REPLY = 2;
const MIB = 1 << 20, TOTAL = 16 * MIB, LINUX = "10.97.0.1", OURS = "10.97.0.2";

/** A node with ip in an isolate, over an interface that is placed so. */
async function bootIsolated(dir: string, placement: string, options: Record<string, string>): Promise<TestNode> {
  const basic = ["root", "dev", "proc", "sys"].map((plugin) => ({ plugin }));
  const ip = { device: "ether0", address: `${OURS}/24 fd97::2/64` };
  const plugins = [
    ...basic,
    { plugin: "ether", as: "ether0", placement, options },
    { plugin: "ip", placement: "isolate", options: ip },
  ];
  const binds = ["'#dev' /dev", "'#proc' /proc", "'#sys' /sys", "-a '#ether0' /net", "-a '#ip' /net"];
  await Deno.writeTextFile(`${dir}/image.json`, JSON.stringify({ name: "isolated", plugins }));
  await Deno.writeTextFile(`${dir}/namespace`, binds.map((bind) => `bind ${bind}\n`).join(""));
  return await bootNode("--image", dir);
}

/** The file, once it is there. */
async function whenThere(client: Client, path: string, mode?: number): Promise<RemoteFile> {
  for (const end = performance.now() + 20_000;;) {
    try {
      return await client.open(path, mode);
    } catch (thrown) {
      if (performance.now() > end) throw thrown;
      await new Promise((done) => setTimeout(done, 20));
    }
  }
}

async function textOf(file: RemoteFile): Promise<string> {
  const into = new Uint8Array(64);
  return new TextDecoder().decode(into.subarray(0, await file.read(into, 0))).trim();
}

/** The data of the next call to a port. */
async function answered(client: Client, announced: RemoteFile): Promise<{ data: RemoteFile; close(): Promise<void> }> {
  const listen = await client.open(`/net/tcp/${await textOf(announced)}/listen`, ORDWR);
  const data = await client.open(`/net/tcp/${await textOf(listen)}/data`, ORDWR);
  const close = async () => {
    await data.close();
    await listen.close();
  };
  return { data, close };
}

/** Runs Python, which has sockets and checksums; answers what it prints. */
function python(script: string): Promise<string> {
  return run("python3", "-c", `import socket, hashlib\n${script}`);
}

netTest(
  "ip in an isolate over a TAP: Linux pings it, is echoed, 16 MiB each way are whole, and a reload of ether is no end",
  [program("ip"), program("ping"), program("python3")],
  async () => {
    const dir = await Deno.makeTempDir({ prefix: "ring9-image-" });
    try {
      await using node = await bootIsolated(dir, "inline", { device: "tap tap0", hostAddress: `${LINUX}/24` });
      await run("ip", "addr", "add", "fd97::1/64", "dev", "tap0", "nodad");
      await using client = await node.connect();
      (await whenThere(client, "/net/ipifc/1/status")).discard();
      for (const address of [OURS, "fd97::2"]) {
        assert.match(await run("ping", "-c", "3", "-i", "0.05", "-W", "10", "-s", "3000", address), / 0% packet loss/);
      }
      await echoes(client);
      await carries(client);
      await client.writeFile("/sys/plugins/ctl", "reload ether0\n");
      await pinged(OURS);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

/** Until an echo comes back: frames are lost while the conversation with ether is opened anew. */
async function pinged(address: string): Promise<void> {
  for (let tries = 0; tries < 30; tries++) {
    const { success } = await new Deno.Command("ping", { args: ["-c", "1", "-W", "1", address] }).output();
    if (success) return;
  }
  assert.fail(`${address} does not answer any more`);
}

/** A call whose lines come back. */
async function echoes(client: Client): Promise<void> {
  const ctl = await client.open("/net/tcp/clone", ORDWR);
  await ctl.writeAll(new TextEncoder().encode("announce 7"));
  const peer = python(`
s = socket.create_connection(("${OURS}", 7), 20); f = s.makefile("rwb")
for i in range(50):
    line = b"line %d\\n" % i
    f.write(line); f.flush()
    assert f.readline() == line
print("echoed")`);
  const { data, close } = await answered(client, ctl), into = new Uint8Array(4096);
  for (let count; (count = await data.read(into, 0)) > 0;) await data.writeAll(into.subarray(0, count));
  assert.equal(await peer, "echoed\n");
  await close();
  await ctl.close();
}

/** A call that brings so many bytes, and takes as many. */
async function carries(client: Client): Promise<void> {
  const ctl = await client.open("/net/tcp/clone", ORDWR);
  await ctl.writeAll(new TextEncoder().encode("announce 5000"));
  const peer = python(`
s = socket.create_connection(("${OURS}", 5000), 20)
block = bytes((i * 31 + (i >> 8)) & 255 for i in range(65536)); sent = hashlib.sha256(); h = hashlib.sha256(); n = 0
for i in range(${TOTAL >> 16}):
    s.sendall(block); sent.update(block)
s.shutdown(socket.SHUT_WR)
while True:
    b = s.recv(1 << 20)
    if not b: break
    h.update(b); n += len(b)
print(sent.hexdigest(), n, h.hexdigest())`);
  const { data, close } = await answered(client, ctl), came = createHash("sha256"), went = createHash("sha256");
  const into = new Uint8Array(256 << 10), block = Uint8Array.from({ length: MIB }, (_, i) => i * 7 + (i >> 11));
  let bytes = 0;
  for (let count; (count = await data.read(into, 0)) > 0; bytes += count) came.update(into.subarray(0, count));
  for (let i = 0; i < TOTAL / MIB; i++) {
    await data.writeAll(block);
    went.update(block);
  }
  await close();
  assert.equal((await peer).trim(), `${came.digest("hex")} ${TOTAL} ${went.digest("hex")}`);
  assert.equal(bytes, TOTAL);
  await ctl.close();
}

Deno.test("ip and ether, each in an isolate of its own: who asks for the address on the wire is answered", async () => {
  const dir = await Deno.makeTempDir({ prefix: "ring9-image-" });
  try {
    await using node = await bootIsolated(dir, "isolate", { device: "switch lan" });
    await using client = await node.connect();
    (await whenThere(client, "/net/ipifc/1/status")).discard();
    const ctl = await client.open("/net/ether0/clone", ORDWR), n = await textOf(ctl);
    for (const line of ["batch", "promiscuous", "connect 0x806"]) await ctl.writeAll(new TextEncoder().encode(line));
    const data = await client.open(`/net/ether0/${n}/data`, ORDWR), mac = await client.readText("/net/ether0/addr");
    const into = new Uint8Array(2000),
      end = new AbortController(),
      replies = (async () => {
        for (;;) {
          const count = await data.read(into, 0, end.signal), frame = into.subarray(RECORD_HEAD, count);
          if (frame[21] === ARP_REPLY) return frame;
        }
      })();
    const late = setTimeout(() => end.abort(new Error("no reply in 30 s")), 30_000);
    // Whose conversation is not open yet misses it: a wire does not keep what it carries.
    const asking = setInterval(() => data.write(arpRequest(), 0).catch(() => {}), 50);
    const reply = await replies.finally(() => {
      clearInterval(asking);
      clearTimeout(late);
    });
    assert.deepEqual([reply.subarray(22, 28).toHex(), [...reply.subarray(28, 32)].join(".")], [mac, OURS]);
    const another = await client.open("/net/ipifc/clone", ORDWR);
    const absent = another.writeAll(new TextEncoder().encode("bind ether /net/ether9"));
    await assert.rejects(absent, { code: "ENODEV", message: /no Ethernet interface at \/net\/ether9/ });
    await another.close();
    await data.close();
    await ctl.close();
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

/** Who has OURS? Tell LINUX, which is at 02:00:00:00:00:01. A record, for in batch mode the source stays as it is. */
function arpRequest(): Uint8Array {
  const record = new Uint8Array(RECORD_HEAD + 60), frame = record.subarray(RECORD_HEAD), sender = [2, 0, 0, 0, 0, 1];
  record[0] = frame.length;
  frame.fill(0xff, 0, 6);
  frame.set([...sender, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1, ...sender, ...LINUX.split(".").map(Number)], 6);
  frame.set(OURS.split(".").map(Number), 38);
  return record;
}
