import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Conversation, loadEther, loadIp, newKernel } from "../../plugins/ip/fixture.ts";
import type { Files, OpenFile } from "../../core/plugin/testing.ts";
import { type Need, program } from "../skip.ts";
import { netTest, run } from "../netns.ts";
import "../../devices/net_calls.ts"; // its calls are opened before the tests begin

const MIB = 1 << 20, TOTAL = 8 * MIB, LINUX = "10.98.0.1", OURS = "10.98.0.2";

/** Our stack on a TAP whose other side is Linux's. */
async function onTap(
  test: (files: Files) => Promise<void>,
  options: Record<string, unknown> = {},
  link: Record<string, unknown> = {},
): Promise<void> {
  const kernel = newKernel(), awake = setInterval(() => {}, 1000);
  const device = { device: "tap tap0", hostAddress: `${LINUX}/24`, ...link };
  const ether = await loadEther(kernel, "ether0", device);
  await run("ip", "addr", "add", "fd98::1/64", "dev", "tap0", "nodad");
  const address = { device: "ether0", address: `${OURS}/24 fd98::2/64` };
  const ip = await loadIp(kernel, "ip", { ...Object.keys(options).length > 0 ? {} : address, ...options });
  try {
    await test(ip.files);
  } finally {
    await ip.stop();
    await ether.stop();
    clearInterval(awake);
  }
}

function linuxTest(name: string, needs: readonly Need[], test: (files: Files) => Promise<void>): void {
  netTest(name, [program("ip"), ...needs], () => onTap(test));
}

/** Runs Python, which has sockets and checksums; answers what it prints. */
function python(script: string): Promise<string> {
  return run("python3", "-c", `import socket, hashlib, sys\n${script}`);
}

async function readAll(data: OpenFile): Promise<{ bytes: number; sum: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for (let part; (part = await data.readBytes(256 << 10)).length > 0; bytes += part.length) hash.update(part);
  return { bytes, sum: hash.digest("hex") };
}

linuxTest("net: Linux pings the stack, by both versions, and small and large", [program("ping")], async () => {
  for (const [address, size] of [[OURS, 56], ["fd98::2", 56], [OURS, 20_000], ["fd98::2", 20_000]] as const) {
    assert.match(await run("ping", "-c", "2", "-i", "0.05", "-W", "5", "-s", `${size}`, address), / 0% packet loss/);
  }
});

linuxTest(
  "net: 8 MiB to the stack and back have the same checksum, a half close between them",
  [program("python3")],
  async (files) => {
    const server = await Conversation.open(files, "tcp", "announce 5000"), accepted = server.accept();
    const client = python(`
s = socket.create_connection(("${OURS}", 5000), 10)
data = bytes((i * 31 + (i >> 8)) & 255 for i in range(65536)) * ${TOTAL >> 16}
s.sendall(data); s.shutdown(socket.SHUT_WR)
h = hashlib.sha256(); n = 0
while True:
    b = s.recv(1 << 20)
    if not b: break
    h.update(b); n += len(b)
print(hashlib.sha256(data).hexdigest(), n, h.hexdigest())`);
    const call = await accepted, data = await call.data(), { bytes, sum } = await readAll(data);
    assert.equal(bytes, TOTAL);
    const back = Uint8Array.from({ length: MIB }, (_, i) => i * 7 + (i >> 11)), hash = createHash("sha256");
    for (let i = 0; i < TOTAL / MIB; i++) {
      await data.writeBytes(back);
      hash.update(back);
    }
    await data.close();
    await call.close();
    assert.equal((await client).trim(), `${sum} ${TOTAL} ${hash.digest("hex")}`);
  },
);

linuxTest(
  "net: the stack dials Linux by both versions, is refused, and reads the end",
  [program("python3")],
  async (files) => {
    for (const address of [LINUX, "fd98::1"]) {
      const family = address.includes(":") ? "AF_INET6" : "AF_INET";
      const server = python(`
l = socket.socket(socket.${family}); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(("${address}", 5001)); l.listen(); l.settimeout(20)
c, _ = l.accept(); h = hashlib.sha256(); n = 0
while True:
    b = c.recv(1 << 20)
    if not b: break
    h.update(b); n += len(b)
c.sendall((str(n) + " " + h.hexdigest()).encode()); c.close()`);
      const client = await dialed(files, `${address}!5001`), data = await client.data(), hash = createHash("sha256");
      const block = Uint8Array.from({ length: MIB }, (_, i) => i * 5 + (i >> 9));
      for (let i = 0; i < 4; i++) {
        await data.writeBytes(block);
        hash.update(block);
      }
      await client.ctl.write("shutdown wr");
      assert.equal(await data.read(), `${4 * MIB} ${hash.digest("hex")}`);
      assert.equal(await data.read(), "");
      await data.close();
      await client.close();
      await server;
    }
    const refused = await Conversation.open(files, "tcp");
    await assert.rejects(refused.ctl.write(`connect ${LINUX}!5999`), { code: "ECONNREFUSED" });
  },
);

/** Dials until somebody listens. */
async function dialed(files: Files, address: string): Promise<Conversation> {
  for (let tries = 0;; tries++) {
    const conv = await Conversation.open(files, "tcp");
    try {
      await conv.ctl.write(`connect ${address}`);
      return conv;
    } catch (thrown) {
      await conv.close();
      if (tries > 400) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

linuxTest("net: Linux is refused where nobody listens, by TCP and UDP", [program("python3")], async () => {
  const said = await python(`
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    s = socket.socket(socket.AF_INET, kind); s.settimeout(10)
    try:
        s.connect(("${OURS}", 5998)); s.send(b"x"); s.recv(1)
        print("answered")
    except ConnectionRefusedError: print("refused")`);
  assert.equal(said, "refused\nrefused\n");
});

linuxTest("net: curl reads a page that is written to data", [program("curl")], async (files) => {
  const server = await Conversation.open(files, "tcp", "announce 80"), accepted = server.accept();
  const page = run("curl", "-s", "-m", "20", `http://${OURS}/index`);
  const call = await accepted, data = await call.data();
  assert.match(await data.read(), /^GET \/index HTTP\/1\.1\r\n/);
  await data.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nring9\n");
  await data.close();
  await call.close();
  assert.equal(await page, "ring9\n");
});

netTest("net: an address, routes and names come from dnsmasq", [program("ip"), program("dnsmasq")], async () => {
  await onTap(async (files) => {
    const dnsmasq = new Deno.Command("dnsmasq", {
      args: [
        "--no-daemon",
        "--no-ping",
        "--conf-file=/dev/null",
        "--interface=tap0",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        "--dhcp-range=10.98.0.50,10.98.0.59,1h",
        `--dhcp-option=option:dns-server,${LINUX}`,
        "--domain=lab.test",
        "--dhcp-leasefile=/dev/null",
        "--address=/printer.lab.test/10.98.0.77",
        "--dhcp-option=option:domain-search,lab.test",
      ],
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      await new Promise((resolve) => setTimeout(resolve, 300)); // who asks before it is there asks again after 4 s
      await files.write("ipifc/1/ctl", "dhcp");
      let status = "";
      for (let i = 0; i < 1500 && !/dhcp bound/.test(status); i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        status = await files.read("ipifc/1/status");
      }
      assert.match(status, /\n\t10\.98\.0\.5\d [^]*\n\tdhcp bound 10\.98\.0\.5\d server 10\.98\.0\.1 lease 3\d{3}\n/);
      assert.match(await files.read("iproute"), /^0\.0\.0\.0 +\/96 +10\.98\.0\.1 /m);
      assert.match(await files.read("ndb"), /^ip=10\.98\.0\.5\d ipmask=255\.255\.255\.0 ipgw=10\.98\.0\.1\n/);
      const dns = await files.open("dns", 2);
      await dns.write("printer ip");
      assert.equal(await dns.read(), "printer.lab.test ip\t10.98.0.77\n");
      await files.write("ipifc/1/ctl", "dhcp release");
      assert.doesNotMatch(await files.read("ipifc/1/status"), /10\.98/);
      assert.equal(await files.read("ndb"), "");
    } finally {
      dnsmasq.kill("SIGKILL");
      await dnsmasq.status;
    }
  }, { device: "ether0" });
});
