import assert from "node:assert/strict";
import type { Err } from "../core/err.ts";
import { formatIp, ipFromV4 } from "./addr.ts";
import type { UdpConv } from "./udp/conv.ts";
import { addAddress, ipOf, Wire } from "./stack_fixture.ts";
import { Stack } from "./stack.ts";
import { ICMP } from "./wire/icmp.ts";

const text = (s: string) => new TextEncoder().encode(s);
const into = new Uint8Array(70_000);

/** What a conversation received, as text; undefined when nothing. */
function read(conv: UdpConv): string | undefined {
  const count = conv.recv(into, 0, into.length);
  return count < 0 ? undefined : new TextDecoder().decode(into.subarray(0, count));
}

function send(conv: UdpConv, data: Uint8Array, now: number): void {
  conv.send(data, 0, data.length, now);
}

/** Two stacks on one wire. */
function pair(a = ["10.0.0.1/24", "fd00::1/64"], b = ["10.0.0.2/24", "fd00::2/64"], options = {}) {
  const wire = new Wire(), left = wire.stack(), right = wire.stack();
  const leftIface = wire.connect(left, a, options), rightIface = wire.connect(right, b, options);
  wire.settle();
  return { wire, left, right, leftIface, rightIface };
}

/** Sends an echo request, and answers how many replies came. */
function ping(wire: Wire, stack: Stack, to: string, bytes = 56): number {
  const remote = ipOf(to), v4 = !to.includes(":"), conv = stack.icmp.open(v4);
  conv.connect(remote);
  const message = new Uint8Array(8 + bytes).fill(7);
  message.set([v4 ? ICMP.echo : 128, 0, 0, 0, 0, 0, 0, 1]);
  conv.send(message, 0, message.length, wire.now);
  wire.settle();
  let replies = 0;
  for (let count = conv.recv(into, 0, into.length); count >= 0; count = conv.recv(into, 0, into.length)) {
    const at = v4 ? 20 : 40;
    assert.equal(count, at + message.length);
    assert.deepEqual(into.subarray(at + 8, count), message.subarray(8));
    replies++;
  }
  conv.close();
  return replies;
}

Deno.test("ping goes both ways in both versions, small and in fragments, with and without offload", () => {
  for (const options of [{}, { checksumOffload: true, gsoMaxBytes: 65535 }, { medium: "ip" as const }]) {
    const { wire, left, right } = pair(undefined, undefined, options);
    for (const bytes of [0, 1, 56, 1472, 1473, 9000, 40_001]) {
      assert.equal(ping(wire, left, "10.0.0.2", bytes), 1, `IPv4, ${bytes} bytes`);
      assert.equal(ping(wire, right, "fd00::1", bytes), 1, `IPv6, ${bytes} bytes`);
    }
    assert.equal(left.ip.icmp4.InEchoReps, 7);
    assert.equal(left.ip.counters.InMartians + right.ip.counters.InMartians, 0);
  }
});

Deno.test("a host reaches itself by every address that it has", () => {
  const { wire, left } = pair();
  for (const to of ["127.0.0.1", "127.1.2.3", "::1", "10.0.0.1", "fd00::1"]) assert.equal(ping(wire, left, to), 1, to);
  assert.equal(wire.seen.some((frame) => frame[23] === 1), false, "nothing of it on the wire");
});

Deno.test("UDP: a question, its answer, and what comes from others", () => {
  const { wire, left, right } = pair();
  const server = right.udp.open(), client = left.udp.open(), other = left.udp.open();
  server.announce(53);
  client.connect(ipOf("10.0.0.2"), 53);
  assert.equal(formatIp(client.local), "10.0.0.1");
  send(client, text("who?"), wire.now);
  wire.settle();
  const ends = server.queue.firstEnds;
  assert.equal(read(server), "who?");
  assert.equal(formatIp(ends.remote), "10.0.0.1");
  assert.equal(formatIp(ends.iface), "10.0.0.2");
  assert.equal(ends.remotePort, client.localPort);
  server.send(text("you"), 0, 3, wire.now, ends);
  other.send(text("spoof"), 0, 5, wire.now, { remote: ipOf("10.0.0.1"), remotePort: client.localPort });
  wire.settle();
  assert.equal(read(client), "you");
  assert.equal(read(client), undefined);
});

Deno.test("UDP over IPv6, 65,527 bytes in one datagram, odd lengths, and the checksum is never 0", () => {
  const { wire, left, right } = pair();
  const server = right.udp.open(), client = left.udp.open();
  server.announce(9, ipOf("fd00::2"));
  client.connect(ipOf("fd00::2"), 9);
  for (const bytes of [0, 1, 1231, 1233, 65_527]) {
    const data = Uint8Array.from({ length: bytes }, (_, i) => i * 7);
    send(client, data, wire.now);
    wire.settle();
    assert.equal(server.recv(into, 0, into.length), bytes);
    assert.deepEqual(into.subarray(0, bytes), data);
  }
  assert.throws(() => send(client, new Uint8Array(65_528), wire.now), (e: Err) => e.code === "EMSGSIZE");
  assert.equal(right.udp.counters.InCsumErrors, 0);
});

Deno.test("headers mode: one conversation talks to many, by the 52 bytes in front", () => {
  const { wire, left, right } = pair();
  const server = right.udp.open(), client = left.udp.open();
  server.announce(7);
  server.headers = true;
  client.connect(ipOf("10.0.0.2"), 7);
  send(client, text("abc"), wire.now);
  wire.settle();
  assert.equal(server.recv(into, 0, into.length), 55);
  assert.equal(formatIp(into.slice(0, 16)), "10.0.0.1");
  assert.equal(into[50] << 8 | into[51], 7);
});

Deno.test("a port that nobody has is refused, and the sender's conversation is told", () => {
  for (const to of ["10.0.0.2", "fd00::2"]) {
    const { wire, left, right } = pair();
    const client = left.udp.open();
    client.connect(ipOf(to), 9);
    send(client, text("x"), wire.now);
    wire.settle();
    assert.equal(right.udp.counters.NoPorts, 1);
    assert.ok(client.isReadable);
    assert.throws(() => client.recv(into, 0, 10), (e: Err) => e.code === "ECONNREFUSED");
    assert.equal(client.recv(into, 0, 10), -1);
    client.ignoreAdvice = true;
    send(client, text("x"), wire.now);
    wire.settle();
    assert.equal(client.isReadable, false);
  }
});

Deno.test("a queue that is full drops what comes, and counts it", () => {
  const { wire, left, right } = pair();
  const server = right.udp.open(), client = left.udp.open();
  server.announce(9);
  client.connect(ipOf("10.0.0.2"), 9);
  for (let i = 0; i < 400; i++) {
    send(client, new Uint8Array(1400).fill(i), wire.now);
    wire.settle();
  }
  assert.ok(server.drops > 200 && server.drops === right.udp.counters.RcvbufErrors);
  for (let i = 0; server.queue.count > 0; i++) {
    assert.equal(server.recv(into, 0, into.length), 1400);
    assert.equal(into[0], i & 255);
  }
  send(client, text("again"), wire.now);
  wire.settle();
  assert.equal(read(server), "again");
});

Deno.test("all hosts hear a broadcast, once the sender may send one", () => {
  for (const to of ["255.255.255.255", "10.0.0.255"]) {
    const { wire, left, right } = pair();
    const server = right.udp.open(), local = left.udp.open(), client = left.udp.open();
    server.announce(67);
    local.announce(67);
    client.connect(ipOf(to), 67);
    assert.throws(() => send(client, text("x"), wire.now), (e: Err) => e.code === "EACCES");
    client.broadcast = true;
    send(client, text("hello"), wire.now);
    wire.settle();
    assert.equal(read(server), "hello");
    assert.equal(read(local), "hello");
  }
});

Deno.test("who has no address asks for one from 0.0.0.0, and is answered by broadcast", () => {
  const { wire, left, right } = pair([], ["10.0.0.2/24"]);
  const server = right.udp.open(), client = left.udp.open();
  server.announce(67);
  client.announce(68);
  client.broadcast = server.broadcast = true;
  client.send(text("discover"), 0, 8, wire.now, { remote: ipFromV4(-1), remotePort: 67 });
  wire.settle();
  const { remote } = server.queue.firstEnds;
  assert.equal(formatIp(remote), "0.0.0.0");
  assert.equal(read(server), "discover");
  server.send(text("offer"), 0, 5, wire.now, { remote: ipFromV4(-1), remotePort: 68 });
  wire.settle();
  assert.equal(read(client), "offer");
});

Deno.test("who asks for an address on a second interface does so there, and from 0.0.0.0", () => {
  const { wire, left, right } = pair(), other = new Wire(), server = wire.stack(), second = other.connect(left);
  other.connect(server, ["10.7.0.1/24"]);
  const listener = server.udp.open(), wrong = right.udp.open(), client = left.udp.open();
  listener.announce(67);
  wrong.announce(67);
  client.announce(68);
  client.broadcast = true;
  client.iface = second.index;
  client.send(text("discover"), 0, 8, wire.now, { remote: ipFromV4(-1), remotePort: 67 });
  wire.settle();
  other.settle();
  assert.equal(formatIp(listener.queue.firstEnds.remote), "0.0.0.0");
  assert.equal(read(listener), "discover");
  assert.equal(read(wrong), undefined);
});

Deno.test("users are told in poll, and may send from there, to groups that they are in too", () => {
  const { wire, left, right } = pair(), group = ipOf("239.1.2.3"), heard: string[] = [];
  const talkers = [left, right].map((stack, i) => {
    const conv = stack.udp.open();
    conv.announce(5000);
    conv.join(group);
    conv.onChange = () => {
      for (let word = read(conv); word !== undefined; word = read(conv)) {
        heard.push(`${i}${word}`);
        if (word.length < 3) {
          conv.send(text(word + i), 0, word.length + 1, wire.now, { remote: group, remotePort: 5000 });
        }
      }
    };
    return conv;
  });
  talkers[0].send(text("a"), 0, 1, wire.now, { remote: group, remotePort: 5000 });
  assert.equal(heard.length, 0, "nobody is told before");
  wire.settle();
  assert.deepEqual(heard.filter((it) => it.length === 2).sort(), ["0a", "1a"]);
  assert.equal(heard.length, 2 + 4 + 8);
});

Deno.test("a group is heard by who joined it, and reported to routers", () => {
  for (const [group, protocol] of [["239.1.2.3", 2], ["ff05::99", 58]] as const) {
    const { wire, left, right } = pair();
    const member = right.udp.open(), stranger = right.udp.open(), sender = left.udp.open();
    member.announce(5000);
    stranger.announce(5001);
    member.join(ipOf(group));
    wire.run(3000);
    const reports = right.ip.icmp4.OutGroupMembs + right.ip.icmp6.OutGroupMembs;
    assert.ok(reports >= 2, `reports of protocol ${protocol}`);
    sender.connect(ipOf(group), 5000);
    send(sender, text("all"), wire.now);
    wire.settle();
    assert.equal(read(member), "all");
    member.leave(ipOf(group));
    send(sender, text("none"), wire.now);
    wire.settle();
    assert.equal(read(member), undefined);
    assert.throws(() => member.leave(ipOf(group)), (e: Err) => e.code === "EADDRNOTAVAIL");
  }
});

/** Two hosts and a router between them. */
function routed(mtu = 1500) {
  const west = new Wire(), east = new Wire();
  const a = west.stack(1), b = east.stack(2), router = west.stack(3);
  west.connect(a, ["10.1.0.1/24", "fd01::1/64"]);
  west.connect(router, ["10.1.0.254/24", "fd01::fe/64"]);
  const eastSide = east.connect(router, ["10.2.0.254/24", "fd02::fe/64"], { mtu });
  east.connect(b, ["10.2.0.1/24", "fd02::1/64"], { mtu });
  router.ip.forwarding = true;
  for (const [stack, net] of [[a, 1], [b, 2]] as const) {
    for (const [zero, gateway] of [["0.0.0.0", `10.${net}.0.254`], ["::", `fd0${net}::fe`]]) {
      const prefix = { addr: ipOf(zero), bits: zero === "::" ? 0 : 96 };
      stack.ip.addRoute({ prefix, gateway: ipOf(gateway), iface: 1, tag: "", metric: 0, expiresAt: Infinity });
    }
  }
  const settle = () => {
    for (let i = 0; i < 12; i++) {
      west.settle();
      east.settle();
    }
  };
  const run = (ms: number) => {
    for (let i = 0; i < ms; i += 100) {
      west.run(100);
      east.run(100);
      settle();
    }
  };
  settle();
  return { west, east, a, b, router, settle, run, eastSide };
}

Deno.test("a router passes packets on, takes one from their lives, and says when that was the last", () => {
  const { west, a, b, settle, router } = routed();
  for (const to of ["10.2.0.1", "fd02::1"]) {
    const server = b.udp.open(), client = a.udp.open();
    server.announce(9, ipOf(to));
    client.connect(ipOf(to), 9);
    send(client, text("far"), west.now);
    settle();
    assert.equal(server.queue.firstTtl, 63);
    assert.equal(read(server), "far");
    client.ttl = 1;
    send(client, text("short"), west.now);
    settle();
    assert.equal(read(server), undefined);
  }
  assert.equal(router.ip.icmp4.OutTimeExcds, 1);
  assert.equal(router.ip.icmp6.OutTimeExcds, 1);
  assert.equal(a.ip.icmp4.InTimeExcds, 1);
  assert.equal(router.ip.counters.ForwDatagrams, 2);
});

Deno.test("a router cuts IPv4 datagrams that may be cut, and says of others how large they may be", () => {
  const { west, a, b, settle, router } = routed(1280);
  const server = b.udp.open(), client = a.udp.open();
  server.announce(9);
  client.connect(ipOf("10.2.0.1"), 9);
  send(client, new Uint8Array(1400), west.now);
  settle();
  assert.equal(server.recv(into, 0, into.length), 1400);
  assert.equal(router.ip.counters.FragOKs, 1);
  for (const to of ["10.2.0.1", "fd02::1"]) {
    const careful = a.udp.open();
    careful.connect(ipOf(to), 9);
    careful.dontFragment = true;
    send(careful, new Uint8Array(1400), west.now);
    settle();
    assert.equal(server.recv(into, 0, into.length), -1);
    assert.throws(() => send(careful, new Uint8Array(1400), west.now), (e: Err) => e.code === "EMSGSIZE");
    send(careful, new Uint8Array(1232), west.now);
    settle();
    assert.equal(server.recv(into, 0, into.length), 1232);
  }
  assert.equal(a.ip.counters.PathMtuLowered, 2);
});

Deno.test("a path MTU is forgotten after ten minutes", () => {
  const { west, a, settle, run } = routed(1280);
  const client = a.udp.open();
  client.connect(ipOf("fd02::1"), 9);
  send(client, new Uint8Array(1400), west.now);
  settle();
  const path = a.ip.output.path(ipOf("fd02::1"), ipOf("::"));
  assert.ok(typeof path !== "string");
  assert.equal(path.mtu, 1280);
  run(601_000);
  assert.equal(path.mtu, 1500);
});

Deno.test("what comes from where it can not come from is not passed on", () => {
  const { west, a, b, settle, router } = routed();
  const spoofer = west.stack(9);
  const iface = west.connect(spoofer, ["10.1.0.9/24"]);
  addAddress(spoofer, iface, "10.9.0.1/32");
  spoofer.ip.addRoute({
    prefix: { addr: ipOf("10.2.0.0"), bits: 120 },
    gateway: ipOf("10.1.0.254"),
    iface: 1,
    tag: "",
    metric: 0,
    expiresAt: Infinity,
  });
  const server = b.udp.open(), client = spoofer.udp.open();
  server.announce(9);
  client.connect(ipOf("10.2.0.1"), 9, ipOf("10.9.0.1"));
  send(client, text("x"), west.now);
  settle();
  assert.equal(read(server), undefined);
  assert.ok(router.ip.counters.InAddrErrors >= 1);
  assert.equal(a.ip.counters.InMartians, 0);
});

Deno.test("a router passes nothing on that is for all hosts of another network", () => {
  const { west, east, a, b, settle, router } = routed();
  const server = b.udp.open(), client = a.udp.open();
  server.announce(9);
  client.connect(ipOf("10.2.0.255"), 9);
  send(client, text("smurf"), west.now);
  settle();
  assert.equal(read(server), undefined);
  assert.ok(router.ip.counters.InAddrErrors >= 1);
  assert.ok(!east.seen.some((frame) => frame[23] === 17));
});

Deno.test("a neighbour that does not answer is asked three times, and its callers are told", () => {
  for (const to of ["10.0.0.77", "fd00::77"]) {
    const { wire, left } = pair();
    const client = left.udp.open();
    client.connect(ipOf(to), 9);
    wire.settle();
    const before = wire.seen.length;
    send(client, text("x"), wire.now);
    wire.settle();
    send(client, text("y"), wire.now);
    wire.run(5000);
    const asked = wire.seen.slice(before).filter((f) => f[13] === 6 ? f[41] === 77 : f[54] === 135 && f[77] === 0x77);
    assert.equal(asked.length, 3);
    assert.throws(() => client.recv(into, 0, 10), (e: Err) => e.code === "EHOSTUNREACH");
  }
});

Deno.test("packets wait for their neighbour, and arrive in order", () => {
  const { wire, left, right } = pair();
  const server = right.udp.open(), client = left.udp.open();
  server.announce(9);
  client.connect(ipOf("10.0.0.2"), 9);
  for (const word of ["a", "b", "c"]) send(client, text(word), wire.now);
  wire.settle();
  assert.deepEqual([read(server), read(server), read(server)], ["a", "b", "c"]);
});

Deno.test("a link that is full drops datagrams, says when there is room, and goes on", () => {
  const { wire, left, right } = pair(undefined, undefined, { queue: 3 });
  const server = right.udp.open(), client = left.udp.open();
  server.announce(9);
  client.connect(ipOf("10.0.0.2"), 9);
  send(client, text("first"), wire.now);
  wire.settle();
  assert.equal(read(server), "first");
  for (let i = 0; i < 10; i++) send(client, text(String(i)), wire.now);
  assert.equal(left.udp.counters.OutErrors, 7);
  wire.settle();
  assert.deepEqual([read(server), read(server), read(server), read(server)], ["0", "1", "2", undefined]);
});

Deno.test("a stack is saved with what it holds, and goes on in another, whose clock is another", () => {
  const { wire, left, right } = pair();
  const server = right.udp.open(), client = left.udp.open();
  server.announce(9);
  client.connect(ipOf("10.0.0.2"), 9);
  send(client, text("before"), wire.now);
  wire.settle();
  const saved = structuredClone(right.save());
  const links = wire.linksOf(right), options = { random: (bytes: Uint8Array) => void bytes.fill(3) };
  const { stack: fresh } = Stack.restore(saved, links, options, wire.now);
  wire.replace(right, fresh);
  const [again] = fresh.udp.convs;
  let told = 0;
  again.onChange = () => told++;
  wire.settle();
  assert.equal(told, 1, "what waited is told of");
  assert.equal(read(again), "before");
  send(client, text("after"), wire.now);
  wire.settle();
  assert.equal(read(again), "after");
  assert.deepEqual(fresh.save().ip.routes, saved.ip.routes);
  assert.equal(ping(wire, left, "fd00::2"), 1);
  const { stack: later } = Stack.restore(structuredClone(fresh.save()), links, options, 5);
  later.poll(6);
  assert.ok(later.pollAt() < 60_000 || later.pollAt() === Infinity, "times are of the new clock");
});

Deno.test("who snoops sees every packet that comes and goes, IP's header first", () => {
  const { wire, left } = pair(), seen: string[] = [];
  ping(wire, left, "10.0.0.2");
  left.ip.snoop = (iface, isOut, bytes, at, end) => seen.push(`${iface.name} ${isOut} ${bytes[at]} ${end - at}`);
  ping(wire, left, "10.0.0.2");
  ping(wire, left, "::1", 10);
  assert.deepEqual(seen, [
    "ether1 true 69 84",
    "ether1 false 69 84",
    "loopback true 96 58",
    "loopback false 96 58",
    "loopback true 96 58",
    "loopback false 96 58",
  ]);
});
