import assert from "node:assert/strict";
import { type Err, ORDWR, OREAD, OWRITE } from "../../core/plugin/author.ts";
import type { Files, OpenFile } from "../../core/plugin/testing.ts";
import { Conversation, loadEther, loadIp, newKernel, type Pair, pair } from "./fixture.ts";

const LEFT = "10.0.0.1", RIGHT = "10.0.0.2";

/** A connection between the two: who dialed, who was called, and their data files. */
async function connected(
  { left, right }: Pair,
  port = 7,
  address = RIGHT,
): Promise<{ server: Conversation; client: Conversation; call: Conversation; a: OpenFile; b: OpenFile }> {
  const server = await Conversation.open(right, "tcp", `announce ${port}`), accepted = server.accept();
  const client = await Conversation.open(left, "tcp", `connect ${address}!${port}`), call = await accepted;
  return { server, client, call, a: await client.data(), b: await call.data() };
}

const soon = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Waits until a file says what is wanted. */
async function until(files: Files, path: string, wanted: RegExp): Promise<string> {
  for (let i = 0; i < 2000; i++) {
    const text = await files.read(path);
    if (wanted.test(text)) return text;
    await soon();
  }
  assert.fail(`${path} never was ${wanted}, but ${await files.read(path)}`);
}

Deno.test("ip: a conversation is cloned, dials, and is called: local, remote and status tell of it", async () => {
  await using net = await pair();
  const { client, call, server, a, b } = await connected(net);
  const [, port] = (await client.read("local")).trim().split("!");
  assert.equal(await client.read("local"), `${LEFT}!${port}\n`);
  assert.equal(await client.read("remote"), `${RIGHT}!7\n`);
  assert.equal(await call.read("local"), `${RIGHT}!7\n`);
  assert.equal(await call.read("remote"), `${LEFT}!${port}\n`);
  assert.match(await call.read("status"), /^Established qin 0 qout 0 srtt .* ready -w--\n$/);
  assert.match(await server.read("status"), /^Listen qin 0 qout 0 calls 0 backlog 500 ready ----\n$/);
  assert.equal(await server.read("local"), "::!7\n");
  await a.write("hello");
  assert.equal(await b.read(), "hello");
  const reply = a.read();
  await b.write("world");
  assert.equal(await reply, "world", "a read waits for what comes");
  await client.ctl.write("shutdown wr");
  assert.equal(await b.read(), "", "a half close is the end of file");
  await b.write("still");
  assert.equal(await a.read(), "still", "of one direction only");
  assert.deepEqual(await net.left.list("tcp"), ["clone", "stats", client.dir.split("/")[1]]);
});

Deno.test("ip: the last close hangs up, and the number is free for the next", async () => {
  await using net = await pair();
  const { client, call, a, b } = await connected(net);
  await client.close();
  assert.match(await client.read("status"), /^Established/, "data is still open");
  await a.close();
  assert.equal(await b.read(), "", "the other side reads the end");
  assert.deepEqual(await net.left.list("tcp"), ["clone", "stats"]);
  await assert.rejects(net.left.read(`${client.dir}/status`), { code: "ENOENT" });
  await b.write("late").catch(() => {});
  await assert.rejects(async () => {
    for (;;) await b.write("later"), await soon();
  }, (thrown: Err) => thrown.code === "EPIPE" || thrown.code === "ECONNRESET");
  assert.notEqual(await call.read("err"), "");
  const next = await Conversation.open(net.left, "tcp");
  assert.equal(next.dir, client.dir);
});

Deno.test("ip: a conversation has one name, its number as it is written; from there .. leads up, step by step", async () => {
  await using net = await pair();
  const { left } = net, conv = await Conversation.open(left, "tcp"), number = conv.dir.split("/")[1];
  for (const name of [`0${number}`, `+${number}`, `${number}.0`, "-1", "1e0", "99999", "1234567", "x"]) {
    await assert.rejects(left.read(`tcp/${name}/status`), { code: "ENOENT" }, name);
  }
  assert.match(await left.read(`tcp/${number}/../${number}/../../tcp/../tcp/${number}/status`), /^Closed/);
  await assert.rejects(left.read(`tcp/${number}/status/..`), { code: /ENOTDIR|ENOENT/ });
  await assert.rejects(left.read(`tcp/${number}/nothing`), { code: "ENOENT" });
});

Deno.test("ip: a call begins with what its listener's settings were, and its own change nothing of others'", async () => {
  await using net = await pair();
  const server = await Conversation.open(net.right, "tcp", "announce 7\ncc cubic");
  const calls = [];
  for (let i = 0; i < 2; i++) {
    const accepted = server.accept();
    await Conversation.open(net.left, "tcp", `connect ${RIGHT}!7`);
    calls.push(await accepted);
  }
  const algorithm = async (conv: Conversation) => / cc (\S+)/.exec(await conv.read("status"))?.[1];
  assert.deepEqual([await algorithm(calls[0]), await algorithm(calls[1])], ["cubic", "cubic"]);
  await calls[0].ctl.write("cc reno");
  assert.deepEqual([await algorithm(calls[0]), await algorithm(calls[1])], ["reno", "cubic"]);
});

Deno.test("ip: refused, unreachable, busy and senseless commands say so", async () => {
  await using net = await pair();
  const conv = await Conversation.open(net.left, "tcp");
  await assert.rejects(conv.ctl.write(`connect ${RIGHT}!81`), { code: "ECONNREFUSED", message: /^tcp!10.0.0.2!81: / });
  assert.match(await conv.read("err"), /refused/i);
  await assert.rejects(conv.ctl.write("connect 192.0.2.1!81"), { code: "ENETUNREACH" });
  await assert.rejects(conv.ctl.write("connect 10.0.0.2"), { code: "EINVAL" });
  await assert.rejects(conv.ctl.write("fly me"), { code: "EINVAL", message: /unknown command "fly"/ });
  await assert.rejects(conv.ctl.write("ttl 300"), { code: "EINVAL" });
  await assert.rejects(conv.ctl.write("ttl"), { code: "EINVAL", message: "usage: ttl n" });
  await assert.rejects(conv.ctl.write("announce 192.0.2.7!80"), { code: "EADDRNOTAVAIL" });
  await assert.rejects((await conv.data()).read(), { code: "ENOTCONN" });
  await assert.rejects(net.left.open(`${conv.dir}/listen`, ORDWR), { code: "EINVAL", message: "not announced" });
  await conv.ctl.write("announce 80");
  await assert.rejects(conv.ctl.write("announce 81"), { code: "EBUSY" });
  const other = await Conversation.open(net.left, "tcp");
  await assert.rejects(other.ctl.write("announce 80"), { code: "EADDRINUSE" });
  await other.ctl.write("announce 0");
  assert.match(await other.read("local"), /^::!\d{5}\n$/, "0 is a port that is free");
});

Deno.test("ip: reads, listens and dials that wait are flushed, and take nothing with them", async () => {
  await using net = await pair({}, {});
  const { client, server, a, b } = await connected(net);
  const flush = new AbortController(), given = a.readBytes(100, flush.signal), kept = a.read();
  flush.abort();
  await assert.rejects(given, { code: "EINTR" });
  await b.write("for the second");
  assert.equal(await kept, "for the second");
  const waiting = server.accept();
  await soon();
  await server.ctl.write("hangup");
  await assert.rejects(waiting, { message: "listen hungup" });
  await client.close();
});

Deno.test("ip: what has no room waits, and every byte arrives in its order", async () => {
  await using net = await pair();
  const { client, a, b } = await connected(net);
  const sent = new Uint8Array(6 << 20);
  crypto.getRandomValues(sent.subarray(0, 65536));
  for (let at = 65536; at < sent.length; at += 65536) sent.copyWithin(at, at - 65535, at);
  let written = 0;
  const writer = (async () => {
    for (let at = 0; at < sent.length; at += 65536) {
      await a.writeBytes(sent.subarray(at, at + 65536));
      written = at + 65536;
    }
    await client.ctl.write("shutdown wr");
  })();
  for (let i = 0; i < 50; i++) await soon();
  assert(written < sent.length, "the writer waits for a reader");
  const got = new Uint8Array(sent.length);
  let length = 0;
  for (let bytes; (bytes = await b.readBytes(50_000)).length > 0; length += bytes.length) got.set(bytes, length);
  await writer;
  assert.equal(length, sent.length);
  assert.deepEqual(got, sent);
});

Deno.test("ip: a conversation is its owner's", async () => {
  await using net = await pair();
  const rob = net.left.as("rob"), ken = net.left.as("ken");
  const conv = await Conversation.open(rob, "tcp");
  const { mode, uid } = await net.left.stat(`${conv.dir}/data`);
  assert.deepEqual([mode & 0o777, uid], [0o660, "rob"]);
  for (const name of ["ctl", "data", "listen"]) {
    await assert.rejects(ken.open(`${conv.dir}/${name}`, ORDWR), { code: "EACCES" });
  }
  for (const name of ["err", "snoop", "event"]) {
    await assert.rejects(ken.open(`${conv.dir}/${name}`, OREAD), { code: "EACCES" });
  }
  assert.match(await ken.read(`${conv.dir}/status`), /^Closed/, "what it does may be seen");
  await (await net.left.open(`${conv.dir}/ctl`, ORDWR)).close();
  for (const path of ["arp", "iproute", "ndb"]) {
    await assert.rejects(rob.write(path, "flush"), { code: "EACCES" });
    await rob.read(path);
  }
  await assert.rejects(rob.open("ipifc/clone", ORDWR), { code: "EACCES" });
  await assert.rejects(rob.open("ipifc/1/ctl", OWRITE), { code: "EACCES" });
  await conv.ctl.write("announce 70");
  const accepted = conv.accept(), caller = await Conversation.open(net.right, "tcp", `connect ${LEFT}!70`);
  assert.equal((await net.left.stat(`${(await accepted).dir}/ctl`)).uid, "rob", "so are its calls");
  await caller.close();
});

Deno.test("ip: readiness of a conversation as a whole, as event and status tell it", async (t) => {
  await using net = await pair();
  const ready = async (conv: Conversation) => /ready (\S+)/.exec(await conv.read("status"))![1];
  await t.step("idle: nothing", async () => {
    const conv = await Conversation.open(net.left, "tcp");
    assert.equal(await ready(conv), "----");
    assert.equal(await (await conv.event()).read(), "ready ---- Closed\n");
    await conv.close();
  });
  await t.step("a dial that does not wait: nothing, then writable when it is there", async () => {
    const server = await Conversation.open(net.right, "tcp", "announce 7");
    const conv = await Conversation.open(net.left, "tcp", "nonblocking"), event = await conv.event();
    await event.read();
    await assert.rejects(conv.ctl.write(`connect ${RIGHT}!7`), { code: "EINPROGRESS" });
    assert.equal(await ready(conv), "----");
    const data = await conv.data();
    await assert.rejects(data.read(), { code: "EAGAIN" });
    await assert.rejects(data.write("x"), { code: "EAGAIN" });
    let line = "";
    while (!/Established/.test(line)) line = await event.read();
    assert.equal(line, "ready -w-- Established\n");
    const calls = await server.event();
    while (line !== "ready r--- Listen\n") line = await calls.read(); // a call that waits is readable
    const call = await server.accept(), callData = await call.data();
    assert.equal(await calls.read(), "ready ---- Listen\n");
    await callData.write("data");
    assert.equal(await event.read(), "ready rw-- Established\n");
    await data.read();
    assert.equal(await event.read(), "ready -w-- Established\n");
    await callData.close();
    await call.close();
    assert.equal(await event.read(), "ready rwh- Close_wait\n", "the end can be read");
    await conv.ctl.write("hangup");
    await server.close();
  });
  await t.step("a dial that fails shows as writable, and status tells", async () => {
    const conv = await Conversation.open(net.left, "tcp", "nonblocking"), event = await conv.event();
    await event.read();
    await assert.rejects(conv.ctl.write(`connect ${RIGHT}!82`), { code: "EINPROGRESS" });
    let line = "";
    while (!/w/.test(line.slice(0, 10))) line = await event.read();
    assert.equal(line, "ready -whe Closed\n");
    await assert.rejects((await conv.data()).read(), { code: "ECONNREFUSED" });
    await conv.close();
  });
  await t.step("a full send queue: not writable", async () => {
    const { client, call, a, server } = await connected(net, 8);
    await client.ctl.write("nonblocking\nsndbuf 4096");
    await call.ctl.write("rcvbuf 4096");
    await assert.rejects(async () => {
      for (;;) await a.write("x".repeat(1000)), await soon();
    }, (thrown: Err) => thrown.code === "EAGAIN" || thrown.code === "EIO");
    assert.equal((await ready(client))[1], "-");
    for (const conv of [client, call, server]) await conv.close();
  });
  await t.step("reset after it was connected: all", async () => {
    const { client, call } = await connected(net, 9);
    await call.ctl.write("hangup");
    await until(net.left, `${client.dir}/status`, /^Closed/);
    assert.equal(await ready(client), "rwhe");
  });
});

Deno.test("ip: datagrams keep their boundaries; with headers one conversation talks to many", async () => {
  await using net = await pair();
  const server = await Conversation.open(net.right, "udp", "headers", "announce 7"), data = await server.data();
  const client = await Conversation.open(net.left, "udp", `connect ${RIGHT}!7`), a = await client.data();
  await a.write("one");
  await a.write("two and more");
  const first = await data.readBytes();
  assert.equal(first.length, 52 + 3);
  const view = new DataView(first.buffer, first.byteOffset), port = Number((await client.read("local")).split("!")[1]);
  assert.deepEqual([...first.subarray(10, 16)], [255, 255, 10, 0, 0, 1], "the sender's address, as IPv6");
  assert.deepEqual([...first.subarray(26, 32)], [255, 255, 10, 0, 0, 2]);
  assert.deepEqual([view.getUint16(48), view.getUint16(50)], [port, 7]);
  assert.equal(new TextDecoder().decode((await data.readBytes(52 + 7)).subarray(52)), "two and", "cut to the read");
  first.set(new TextEncoder().encode("ONE"), 52);
  await data.writeBytes(first);
  assert.equal(await a.read(), "ONE", "what came with a header goes back with it");
  const six = await Conversation.open(net.left, "udp", "connect fd00::2!7"), b = await six.data();
  await b.write("v6");
  await data.writeBytes(await data.readBytes());
  assert.equal(await b.read(), "v6");
  const lost = await Conversation.open(net.left, "udp", `connect ${RIGHT}!99`), c = await lost.data(), gone = c.read();
  await c.write("anybody?");
  await assert.rejects(gone, { code: "ECONNREFUSED" }, "ICMP says that nobody is there");
});

Deno.test("ip: a sender that is new is a call of an announced udp conversation", async () => {
  await using net = await pair();
  const server = await Conversation.open(net.right, "udp", "announce 53"), accepted = server.accept();
  const one = await Conversation.open(net.left, "udp", `connect ${RIGHT}!53`), a = await one.data();
  await a.write("first");
  await a.write("second");
  const call = await accepted, b = await call.data();
  assert.equal(await call.read("remote"), await one.read("local"));
  assert.equal(await b.read(), "first");
  assert.equal(await b.read(), "second");
  await b.write("answer");
  assert.equal(await a.read(), "answer");
});

Deno.test("ip: ping through files, of both versions, and of oneself", async () => {
  await using net = await pair();
  for (
    const [proto, address, head, type, reply] of [
      ["icmp", RIGHT, 20, 8, 0],
      ["icmpv6", "fd00::2", 40, 128, 129],
      ["icmp", LEFT, 20, 8, 0],
      ["icmp", "127.0.0.1", 20, 8, 0],
    ] as const
  ) {
    const conv = await Conversation.open(net.left, proto, `connect ${address}!1`), data = await conv.data();
    const echo = new Uint8Array(head + 8 + 32).fill(0x5a, head + 8);
    echo.set([type, 0, 0, 0, 0, 0, 0, 9], head);
    await data.writeBytes(echo);
    const got = await data.readBytes();
    assert.equal(got.length, echo.length, address);
    assert.equal(got[head], reply);
    assert.deepEqual(got.subarray(head + 6), echo.subarray(head + 6));
    assert.match(await conv.read("local"), /!(?!0\n)\d+\n$/, "its identifier is its port");
    await conv.close();
  }
});

Deno.test("ip: interfaces are made, given addresses and taken away by ctl", async () => {
  await using net = await pair();
  const ifc = "ipifc/1";
  assert.match(await net.left.read(`${ifc}/status`), /^device ether1\/0 maxtu 1500 [^]*\n\t10\.0\.0\.1 .*\n\tfd00::1 /);
  await net.left.write(`${ifc}/ctl`, "add 10.1.0.1 /16\nmtu 1400");
  assert.match(await net.left.read("iproute"), /^10\.1\.0\.0 +\/112/m);
  assert.match(await net.left.read("ipselftab"), /^10\.1\.0\.1 +01 4u$/m);
  await net.left.write("iproute", "add 10.2.0.0 255.255.0.0 10.1.0.9");
  assert.match(await net.left.read("iproute"), /^10\.2\.0\.0 +\/112 +10\.1\.0\.9/m);
  await net.left.write(`${ifc}/ctl`, "remove 10.1.0.1 /16");
  await net.left.write("arp", "add 10.0.0.77 020000000077");
  assert.match(await net.left.read("arp"), /^ether +OK +10\.0\.0\.77 +020000000077$/m);
  await assert.rejects(net.left.write(`${ifc}/ctl`, "bind ether /net/ether9"), { code: "EBUSY" });
  await assert.rejects(net.left.write(`${ifc}/ctl`, "add 10.1"), { code: "EINVAL" });
  assert.deepEqual(net.kernel.queues.rows().map(({ name, owner }) => [name, owner]), [["ether1/0", "ip1"], [
    "ether2/0",
    "ip2",
  ]]);
  await net.left.write(`${ifc}/ctl`, "unbind");
  assert.equal(net.kernel.queues.rows()[0].state, "free");
  assert.deepEqual(await net.left.list("ipifc"), ["clone", "stats", "0"]);
  const again = await Conversation.open(net.left, "ipifc", "bind ether /net/ether1", "add 10.0.0.1 /24");
  await again.close();
  const { a, b } = await connected(net);
  await a.write("again");
  assert.equal(await b.read(), "again");
  await assert.rejects(Conversation.open(net.left, "ipifc", "bind ether ether2"), { code: "EBUSY", message: /ip2/ });
  await assert.rejects(Conversation.open(net.left, "ipifc", "bind ether ether7"), { code: "ENODEV" });
});

Deno.test("ip: a device that is unloaded takes its interface along, and the stack goes on", async () => {
  await using net = await pair();
  await net.nodes[0].stop();
  assert.deepEqual(await net.left.list("ipifc"), ["clone", "stats", "0"]);
  assert.match(net.nodes[2].log.join("\n"), /^ether1.* was taken away, and its addresses with it, until it is there/m);
  assert.equal(net.nodes[3].log.join("\n"), "");
  const conv = await Conversation.open(net.left, "tcp");
  await assert.rejects(conv.ctl.write(`connect ${RIGHT}!7`), { code: "ENETUNREACH" });
  await conv.ctl.write("announce 7");
  const accepted = conv.accept();
  const own = await Conversation.open(net.left, "tcp", "connect 127.0.0.1!7"), call = await accepted;
  await (await own.data()).write("oneself");
  assert.equal(await (await call.data()).read(), "oneself");
});

Deno.test("ip: an interface of the options is made again when its device comes back, and connections go on", async () => {
  await using net = await pair();
  const { a, b } = await connected(net);
  await a.write("before");
  assert.equal(await b.read(), "before");
  await net.nodes[0].stop();
  assert.deepEqual(await net.left.list("ipifc"), ["clone", "stats", "0"]);
  await b.write("meanwhile");
  net.nodes[0] = await loadEther(net.kernel, "ether1", { device: "switch lan", mac: "020000000001" });
  assert.equal(await a.read(), "meanwhile");
  assert.match(await net.left.read("ipifc/1/status"), /^device ether1\/0 [^]*\n\t10\.0\.0\.1 .*\n\tfd00::1 /);
  await net.left.write("ipifc/1/ctl", "unbind");
  await net.nodes[0].stop();
  net.nodes[0] = await loadEther(net.kernel, "ether1", { device: "switch lan" });
  assert.deepEqual(await net.left.list("ipifc"), ["clone", "stats", "0"], "what was unbound stays so");
  const owner = (queue: string) => net.kernel.queues.rows().find(({ name }) => name === queue)!.owner;
  assert.equal(owner("ether1/0"), undefined);
  await net.nodes[1].stop();
  await net.nodes[3].stop();
  net.nodes[1] = await loadEther(net.kernel, "ether2", { device: "switch lan" });
  assert.equal(owner("ether2/0"), undefined, "ip2 has stopped");
});

Deno.test("ip: other stacks are other networks, made by the hostowner", async () => {
  await using net = await pair();
  const { dev } = net.nodes[2], req = { user: { name: "rob", uid: 7, gid: 7 } } as never;
  assert.throws(() => dev.attach({ name: "rob", uid: 7, gid: 7 }, "1", req), { code: "ENODEV" });
  const second = await dev.attach({ name: "glenda", uid: 1, gid: 1 }, "1", req);
  const first = await dev.attach({ name: "glenda", uid: 1, gid: 1 }, "", req);
  assert.notEqual(second.qid.path, first.qid.path);
  const { chan } = await dev.walk(second, ["ipselftab"], req), into = new Uint8Array(4096);
  await dev.open(chan!, OREAD, req);
  const text = new TextDecoder().decode(into.subarray(0, dev.read(chan!, into, 0, req) as number));
  assert(!text.includes("10.0.0.1") && text.includes("127.0.0.1"));
  assert.throws(() => dev.attach({ name: "glenda", uid: 1, gid: 1 }, "16", req), { code: "ENODEV" });
});

Deno.test("ip: snoop is a capture of one conversation", async () => {
  await using net = await pair();
  const { client, a, b } = await connected(net), other = await connected(net, 8);
  const snoop = await net.left.open(`${client.dir}/snoop`, OREAD);
  assert.equal(new DataView((await snoop.readBytes(24)).buffer).getUint32(20, true), 101);
  await other.a.write("not this");
  await other.b.read();
  await a.write("captured!");
  await b.read();
  const record = new TextDecoder("latin1").decode(await snoop.readBytes());
  assert(record.includes("captured!") && !record.includes("not this"));
  await snoop.close();
});

Deno.test("ip: log tells of what is set", async () => {
  await using net = await pair();
  const log = await net.left.open("log", ORDWR), line = log.read();
  await assert.rejects(log.write("set everything"), { code: "EINVAL" });
  await log.write("set arp ip");
  // Who says that it has our address.
  const frame = "ffffffffffff02000000000208060001080006040002020000000002" + "0a000001" + "ffffffffffff" + "0a000001";
  const raw = await net.nodes[1].files.open("ether2/clone", ORDWR), n = (await raw.read()).trim();
  const data = await net.nodes[1].files.open(`ether2/${n}/data`, OWRITE);
  await data.writeBytes(Uint8Array.from(frame.match(/../g)!, (pair) => parseInt(pair, 16)));
  assert.match(await line, /^\[\d+\.\d{3}\] arp: ether1\/0: 02:00:00:00:00:02 has our address 10\.0\.0\.1\n$/);
});

Deno.test("ip: options that make no sense are refused before anything is done", async () => {
  const kernel = newKernel();
  for (
    const [options, wanted] of [
      [{ address: "10.0.0.1/24" }, /needs a device/],
      [{ device: "ether0", address: "10.0.0.1" }, /no address with a prefix/],
      [{ device: "ether0", gateway: "nowhere" }, /no address/],
      [{ device: "ether0", dns: "x" }, /no address/],
      [{ devcie: "ether0" }, /unknown key/],
      [{ device: "ether0" }, /no Ethernet interface ether0/],
    ] as const
  ) {
    await assert.rejects(
      loadIp(kernel, "ip", options),
      (thrown: Err) => wanted.test(thrown.message),
      JSON.stringify(options),
    );
  }
});
