import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { netTest } from "../../tests/netns.ts";
import { interop, program } from "../../tests/skip.ts";
import { Kernel } from "../../core/kernel.ts";
import { CHECKSUM, type Port } from "../../core/link.ts";
import { definePlugin, ORDWR, OREAD } from "../../core/plugin/author.ts";
import { type OpenFile, type Running, start, TestClock } from "../../core/plugin/testing.ts";
import { checksumsOk, frameOf, Keeper, send } from "../../devices/frames_fixture.ts";
import ether from "./mod.ts";

const MANIFEST = readFileSync(new URL("plugin.json", import.meta.url), "utf8");
const A = "020000000001", B = "020000000002";

const macOf = (text: string) => Uint8Array.from(text.match(/../g)!, (pair) => parseInt(pair, 16));
const BROADCAST = "ffffffffffff";

/** A frame of `type` whose payload is text. */
function frame(to: string, from: string, type: number, text: string): Uint8Array {
  return Uint8Array.of(...macOf(to), ...macOf(from), type >> 8, type & 255, ...new TextEncoder().encode(text));
}

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes.subarray(14)).replace(/\0+$/, "");

function newKernel(): Kernel {
  return new Kernel({ clock: new TestClock(), hostowner: "glenda" });
}

/** An instance of ether in a kernel. */
function load(kernel: Kernel, name: string, options: Record<string, unknown>): Promise<Running> {
  const plugin = definePlugin({ start: (ctx, reason) => ether.start({ ...ctx, kernel }, reason) });
  return start(plugin, { manifest: MANIFEST, name, options });
}

/** Two interfaces on one switch. */
async function pair(): Promise<{ kernel: Kernel; a: Running; b: Running } & AsyncDisposable> {
  const kernel = newKernel();
  const a = await load(kernel, "ether0", { device: "switch lan", mac: A });
  const b = await load(kernel, "ether1", { device: "switch lan", mac: B });
  const stop = async () => {
    await a.stop();
    await b.stop();
  };
  return { kernel, a, b, [Symbol.asyncDispose]: stop };
}

/** A conversation after its ctl commands: its open ctl and data files. */
async function converse(
  { files, dev }: Running,
  ...commands: string[]
): Promise<{ ctl: OpenFile; data: OpenFile; dir: string }> {
  const ctl = await files.open(`${dev.name}/clone`, ORDWR), dir = (await ctl.read()).trim();
  for (const command of commands) await ctl.write(command);
  return { ctl, data: await files.open(`${dev.name}/${dir}/data`, ORDWR), dir };
}

Deno.test("ether: a frame written at one interface is read at the other, by each conversation of its type", async () => {
  await using net = await pair();
  assert.equal(await net.a.files.read("ether0/addr"), A);
  const ip = await converse(net.b, "connect 0x800"), ip2 = await converse(net.b, "connect 2048");
  const all = await converse(net.b, "connect -1"), arp = await converse(net.b, "connect 0x806", "nonblocking");
  const out = await converse(net.a);
  await out.data.writeBytes(frame(B, "999999999999", 0x0800, "hello"));
  const got = await ip.data.readBytes();
  assert.equal(got.length, 60, "padded to the least that Ethernet has");
  assert.deepEqual([...got.subarray(0, 14)], [...frame(B, A, 0x0800, "")], "the source is the interface");
  assert.equal(textOf(got), "hello");
  assert.equal(textOf(await ip2.data.readBytes()), "hello");
  assert.equal(textOf(await all.data.readBytes(19)), "hello", "a short read takes what fits of one frame");
  await assert.rejects(arp.data.readBytes(), { code: "EAGAIN" });
  assert.equal(await net.b.files.read(`ether1/${ip.dir}/type`), "2048\n");
  assert.match(await net.b.files.read("ether1/stats"), /^driver: switch\nin: 1\n[^]*addr: 020000000002\n$/);
});

Deno.test("ether: a read waits, takes one frame, and is flushed without losing any", async () => {
  await using net = await pair();
  const inn = await converse(net.b, "connect -1"), out = await converse(net.a);
  const flush = new AbortController(), given = inn.data.readBytes(8192, flush.signal);
  flush.abort();
  await assert.rejects(given, { code: "EINTR" });
  const first = inn.data.readBytes(), second = inn.data.readBytes();
  for (const text of ["one", "two", "three"]) await out.data.writeBytes(frame(B, A, 0x88b5, text));
  assert.deepEqual([textOf(await first), textOf(await second)], ["one", "two"]);
  assert.equal(textOf(await inn.data.readBytes()), "three");
});

Deno.test("ether: frames for others are for the promiscuous, those for groups for who added them", async () => {
  await using net = await pair();
  const plain = await converse(net.b, "connect -1"), prom = await converse(net.b, "connect -1", "promiscuous");
  const group = await converse(net.b, "connect -1", "addmulti 01005e000001");
  const out = await converse(net.a);
  for (const [to, text] of [["020000000077", "other"], ["01005e000001", "group"], [BROADCAST, "all"], [B, "you"]]) {
    await out.data.writeBytes(frame(to, A, 0x88b5, text));
  }
  const take = async (data: OpenFile, count: number) => {
    const texts: string[] = [];
    for (let i = 0; i < count; i++) texts.push(textOf(await data.readBytes()));
    return texts;
  };
  assert.deepEqual(await take(prom.data, 4), ["other", "group", "all", "you"]);
  assert.deepEqual(await take(plain.data, 2), ["all", "you"]);
  assert.deepEqual(await take(group.data, 3), ["group", "all", "you"]);
  assert.match(await net.b.files.read("ether1/stats"), /prom: 1\n/);
  await assert.rejects(group.ctl.write("addmulti 020000000001"), { code: "EINVAL" });
  await group.ctl.write("remmulti 01005e000001");
});

Deno.test("ether: -2 gives 58 bytes, the length and the time of each frame", async () => {
  await using net = await pair();
  const heads = await converse(net.b, "connect -2"), out = await converse(net.a);
  await out.data.writeBytes(frame(B, A, 0x88b5, "x".repeat(500)));
  const runt = await heads.data.readBytes(), view = new DataView(runt.buffer, runt.byteOffset);
  assert.equal(runt.length, 64);
  assert.equal(view.getUint16(58), 514);
  assert.equal(view.getUint32(60), net.b.clock.monotonic() % 2 ** 32);
});

Deno.test("ether: an inline owner claims the queue, conversations look on", async () => {
  await using net = await pair();
  const claim = net.kernel.queues.claim("ether1/0", { owner: "ip" }), port = claim.handle as Port;
  const owner = new Keeper();
  port.attach(owner);
  assert.throws(() => net.kernel.queues.claim("ether1/0", { owner: "other" }), { code: "EBUSY" });
  const look = await converse(net.b, "connect -1", "promiscuous");
  const [bytes, info] = frameOf({ to: macOf(B), from: macOf(A), proto: "tcp", payload: 3000, gsoBytes: 1400 });
  send(net.kernel.queues.claim("ether0/0", { owner: "ip.1" }).handle as Port, bytes, info);
  const got = await owner.find(() => true);
  assert.equal(got.bytes.length, 3054, "the owner gets the super-frame as it is");
  assert.equal(got.info.checksum, CHECKSUM.partial);
  const parts = [await look.data.readBytes(), await look.data.readBytes(), await look.data.readBytes()];
  assert.deepEqual(parts.map((part) => part.length), [1454, 1454, 254], "a file gets it cut");
  assert(parts.every(checksumsOk), "and summed up");
});

Deno.test("ether: a new generation takes the interface over; the last one takes it down", async () => {
  const kernel = newKernel(), options = { device: "switch lan", mac: A };
  const first = await load(kernel, "ether0", options);
  const owner = new Keeper(), revoked: string[] = [];
  const claim = kernel.queues.claim("ether0/0", { owner: "ip", onRevoke: ({ reason }) => void revoked.push(reason) });
  (claim.handle as Port).attach(owner);
  const second = await load(kernel, "ether0", options);
  await first.stop();
  assert(claim.valid);
  const peer = await load(kernel, "ether1", { device: "switch lan", mac: B }), out = await converse(peer);
  await out.data.writeBytes(frame(A, B, 0x88b5, "still here"));
  assert.equal(textOf((await owner.find(() => true)).bytes), "still here");
  await assert.rejects(
    load(kernel, "ether0", { ...options, mtu: 9000 }),
    { code: "EBUSY" },
    "it is another one, and this is owned",
  );
  await second.stop();
  assert.deepEqual(revoked, ["ether0 goes"]);
  assert(!claim.valid);
  assert.deepEqual(kernel.queues.rows().map((row) => row.name), ["ether1/0"]);
  await peer.stop();
});

Deno.test("ether: in batch mode a read and a write carry many frames, with what is known of them", async () => {
  await using net = await pair();
  const inn = await converse(net.b, "connect -1", "batch"), out = await converse(net.a, "batch on");
  const [bytes, info] = frameOf({ to: macOf(B), from: macOf(A), proto: "tcp", payload: 3000, gsoBytes: 1400 });
  const record = (
    frame: Uint8Array,
    head: number[],
  ) => [frame.length & 255, frame.length >> 8, 0, 0, ...head, 0, 0, ...frame];
  const plain = frame(B, A, 0x88b5, "plain");
  const heads = [1, 1, 54, 0, 1400 & 255, 1400 >> 8, 34, 0, 16, 0];
  assert.equal(info.headerBytes, 54);
  const sent = Uint8Array.from([...record(bytes, heads), ...record(plain, Array(10).fill(0))]);
  await out.data.writeBytes(sent);
  while ((await net.b.files.stat(`ether1/${inn.dir}/data`)).length < sent.length) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.deepEqual(await inn.data.readBytes(16384), sent);
  await assert.rejects(out.data.writeBytes(sent.subarray(0, 100)), { code: "EINVAL" });
  const short = inn.data.readBytes(100);
  await out.data.writeBytes(sent);
  await assert.rejects(short, { code: "EMSGSIZE" });
});

Deno.test("ether: a reader that lags loses frames, and they are counted", async () => {
  await using net = await pair();
  const slow = await converse(net.b, "connect -1"), out = await converse(net.a);
  const big = frame(B, A, 0x88b5, "x".repeat(1480));
  for (let i = 0; i < 3000; i++) await out.data.writeBytes(big);
  while (!/in: 3000\n/.test(await net.b.files.read("ether1/stats"))) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const lost = Number(/soft overflows: (\d+)/.exec(await net.b.files.read("ether1/stats"))![1]);
  const queued = (await net.b.files.stat(`ether1/${slow.dir}/data`)).length / big.length;
  assert(lost > 0);
  assert.equal(lost + queued, 3000);
});

interop(
  "ether: snoop is a capture that tcpdump reads, trace a line a frame",
  { needs: [program("tcpdump")] },
  async () => {
    await using net = await pair();
    const snoop = await net.a.files.open("ether0/snoop", OREAD), trace = await net.a.files.open("ether0/trace", OREAD);
    const head = await snoop.readBytes();
    assert.equal(head.length, 24);
    const out = await converse(net.a);
    await out.data.writeBytes(frameOf({ to: macOf(B), from: macOf(A), proto: "udp", payload: 100 })[0]);
    const record = await snoop.readBytes();
    assert.match(
      await trace.read(),
      /^out 142 020000000001 > 020000000002 ip 10\.99\.0\.2:7777 > 10\.99\.0\.1:9 udp len 100\n$/,
    );
    const dump = new Deno.Command("tcpdump", {
      args: ["-r", "-", "-nn"],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const writer = dump.stdin.getWriter();
    await writer.write(Uint8Array.of(...head, ...record));
    await writer.close();
    assert.match(
      new TextDecoder().decode((await dump.output()).stdout),
      /10\.99\.0\.2\.7777 > 10\.99\.0\.1\.9: UDP, length 100/,
    );
  },
);

Deno.test("ether: ctl impairs, by seed, and reads back; wrong words change nothing", async () => {
  await using net = await pair();
  const { files } = net.a;
  await files.write("ether0/ctl", "impair loss 50% seed 9");
  assert.equal(await files.read("ether0/ctl"), "impair loss 50% seed 9 both\n");
  await assert.rejects(files.write("ether0/ctl", "impair loss lots"), { code: "EINVAL" });
  const out = await converse(net.a), inn = await converse(net.b, "connect -1", "nonblocking");
  for (let i = 0; i < 200; i++) await out.data.writeBytes(frame(B, A, 0x88b5, String(i)));
  const lost = Number(/lost: (\d+)/.exec(await files.read("ether0/ifstats"))![1]);
  assert(lost > 60 && lost < 140, `${lost} of 200`);
  await files.write("ether0/ctl", "impair off");
  assert.equal(await files.read("ether0/ctl"), "impair off\n");
  await inn.ctl.close();
});

Deno.test("ether: frames are the hostowner's, and nonsense is refused", async () => {
  await using net = await pair();
  await assert.rejects(net.a.files.as("rob").open("ether0/clone", ORDWR), { code: "EACCES" });
  await assert.rejects(net.a.files.as("rob").open("ether0/snoop", OREAD), { code: "EACCES" });
  await assert.rejects(net.a.files.as("rob").write("ether0/ctl", "impair off"), { code: "EACCES" });
  assert.equal(await net.a.files.as("rob").read("ether0/addr"), A);
  const out = await converse(net.a);
  await assert.rejects(out.data.writeBytes(new Uint8Array(13)), { code: "EINVAL" });
  await assert.rejects(out.data.writeBytes(new Uint8Array(1515)), { code: "EMSGSIZE" });
  await assert.rejects(out.ctl.write("connect 70000"), { code: "EINVAL" });
  await assert.rejects(net.a.files.write("ether0/ctl", "spin 10"), { code: "EOPNOTSUPP" });
  for (const device of ["", "tap", "loopback x", "constructor y", "switch a b"]) {
    await assert.rejects(load(newKernel(), "ether9", { device }), { code: "EINVAL" }, device);
  }
});

Deno.test("ether: a loopback carries IP without Ethernet headers", async () => {
  await using lo = await load(newKernel(), "lo", { device: "loopback" });
  const inn = await converse(lo, "connect 0x800"), out = await converse(lo);
  await out.data.writeBytes(Uint8Array.of(0x45, 1, 2, 3));
  assert.deepEqual([...await inn.data.readBytes()], [0x45, 1, 2, 3]);
});

netTest("ether: Linux's ping is answered through files", [program("ping"), program("ip")], async () => {
  const options = { device: "tap tap0", mac: A, hostAddress: "10.99.0.1/24" };
  await using running = await load(newKernel(), "ether0", options);
  const arp = await converse(running, "connect 0x806"), ip = await converse(running, "connect 0x800");
  // With -w it waits for three answers; without, for little longer than the first one took.
  const args = ["-q", "-c", "3", "-w", "10", "-i", "0.01", "10.99.0.2"];
  const ping = new Deno.Command("ping", { args, stdout: "piped" }).output();
  const asked = await arp.data.readBytes(), linux = asked.slice(6, 12);
  assert.deepEqual([...asked.subarray(38, 42)], [10, 99, 0, 2], "Linux asks who has it");
  const ours = [...macOf(A), 10, 99, 0, 2], theirs = [...linux, 10, 99, 0, 1];
  await arp.data.writeBytes(Uint8Array.of(...linux, ...macOf(A), 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, ...ours, ...theirs));
  for (let i = 0; i < 3; i++) await ip.data.writeBytes(echoReply(await ip.data.readBytes()));
  assert.match(new TextDecoder().decode((await ping).stdout), / 3 received,/);
  await running.files.write("ether0/ctl", "spin 0");
  assert.match(await running.files.read("ether0/stats"), /^driver: tap\n[^]*feat: csum gso\n/);
});

/** What answers an ICMP echo: ends swapped, the type 0 in place of 8, and the checksum so much more. */
function echoReply(request: Uint8Array): Uint8Array {
  const reply = request.slice(), view = new DataView(reply.buffer);
  assert.deepEqual([reply[23], reply[34]], [1, 8], "an echo request");
  reply.set(request.subarray(6, 12), 0);
  reply.set(request.subarray(26, 30), 30);
  reply.set(request.subarray(30, 34), 26);
  reply[34] = 0;
  const sum = view.getUint16(36) + 0x0800;
  view.setUint16(36, sum > 0xffff ? sum - 0xffff : sum);
  return reply;
}

netTest("ether: a TAP says whether it is left to Linux to cut frames, or to merge those that are cut", [], async () => {
  const cases = [[{}, "offload on\ngro off\n"], [{ offload: false }, "offload off\ngro on\n"], [
    { offload: false, gro: false },
    "offload off\ngro off\n",
  ]] as const;
  for (const [options, said] of cases) {
    await using running = await load(newKernel(), "ether0", { device: "tap tap0", queues: 2, ...options });
    const ctl = await running.files.read("ether0/ctl");
    assert(ctl.endsWith(said), ctl);
  }
});

netTest("ether: a TAP of two queues stands in the table as two, and frames leave by either", [], async () => {
  const kernel = newKernel();
  await using running = await load(kernel, "ether0", { device: "tap tap0", queues: 2, mac: A });
  assert.deepEqual(kernel.queues.rows().map(({ name, kind }) => `${name} ${kind}`), ["ether0/0 tap", "ether0/1 tap"]);
  for (const name of ["ether0/0", "ether0/1"]) {
    send(kernel.queues.claim(name, { owner: "ip" }).handle as Port, frame(BROADCAST, A, 0x88b5, "x".repeat(50)));
  }
  assert.match(await running.files.read("ether0/stats"), /^out: 2\n[^]*^output errs: 0\n/m);
  await assert.rejects(load(newKernel(), "ether1", { device: "switch lan", queues: 2 }), { code: "EINVAL" });
});
