import assert from "node:assert/strict";
import type { Err } from "../../core/err.ts";
import { formatIp } from "../addr.ts";
import { CHECKSUM } from "../link.ts";
import { ipOf, Wire } from "../stack_fixture.ts";
import { MAX_UDP_CONVS } from "./udp.ts";

const into = new Uint8Array(70_000);

function host() {
  const wire = new Wire(), stack = wire.stack(), peer = wire.stack();
  wire.connect(stack, ["10.0.0.1/24", "10.0.0.3/24", "fd00::1/64"]);
  wire.connect(peer, ["10.0.0.2/24", "fd00::2/64"]);
  wire.settle();
  return { wire, stack, peer };
}

const code = (wanted: string) => (e: unknown) => (e as Err).code === wanted;

Deno.test("who is connected comes before who is announced on the address, and he before who is on any", () => {
  const { wire, stack, peer } = host(), { udp } = stack;
  const any = udp.open(), exact = udp.open(), pair = udp.open(), client = peer.udp.open();
  any.announce(53);
  client.bind(1000);
  const to = (ip: string) => {
    client.send(new Uint8Array(1), 0, 1, wire.now, { remote: ipOf(ip), remotePort: 53 });
    wire.settle();
    return [any, exact, pair].map((conv) => conv.recv(into, 0, 9)).map((count) => count > 0 ? 1 : 0).join("");
  };
  assert.equal(to("10.0.0.1"), "100");
  assert.throws(() => exact.announce(53), code("EADDRINUSE"));
  any.close();
  const wide = udp.open();
  exact.announce(53, ipOf("10.0.0.1"));
  assert.throws(() => wide.announce(53), code("EADDRINUSE"));
  assert.equal(to("10.0.0.1"), "010");
  assert.equal(to("10.0.0.3"), "000");
  pair.connect(ipOf("10.0.0.2"), 1000, ipOf("10.0.0.1"), 53);
  assert.equal(to("10.0.0.1"), "001");
  pair.close();
  assert.equal(to("10.0.0.1"), "010");
});

Deno.test("what can not be is refused", () => {
  const { wire, stack } = host(), { udp } = stack, conv = udp.open();
  assert.throws(() => conv.send(into, 0, 1, wire.now), code("ENOTCONN"));
  assert.throws(() => conv.announce(9, ipOf("10.0.0.9")), code("EADDRNOTAVAIL"));
  assert.throws(() => conv.connect(ipOf("172.16.0.1"), 9), code("ENETUNREACH"));
  assert.throws(() => conv.connect(ipOf("10.0.0.2"), 0), code("EINVAL"));
  assert.throws(() => conv.connect(ipOf("10.0.0.2"), 9, ipOf("fd00::1")), code("EADDRNOTAVAIL"));
  assert.throws(() => conv.join(ipOf("10.0.0.2")), code("EINVAL"));
  assert.equal(conv.localPort, 0);
  conv.connect(ipOf("10.0.0.2"), 9, ipOf("10.0.0.1"), 1234);
  assert.throws(() => conv.connect(ipOf("10.0.0.2"), 9), code("EBUSY"));
  assert.throws(() => udp.open().connect(ipOf("10.0.0.2"), 9, ipOf("10.0.0.1"), 1234), code("EADDRINUSE"));
  assert.throws(() => conv.send(into, 0, 65_508, wire.now), code("EMSGSIZE"));
});

Deno.test("ports of one's own are chosen at random, and none is given twice", () => {
  const { stack } = host(), { udp } = stack, ports = new Set<number>(), convs = [];
  for (let i = 0; i < 500; i++) {
    const conv = udp.open();
    conv.announce(0);
    ports.add(conv.localPort);
    convs.push(conv);
  }
  assert.equal(ports.size, 500);
  const [a, b, c] = convs.map((conv) => conv.localPort);
  assert.ok(Math.abs(a - b) > 1 || Math.abs(b - c) > 1);
  for (const conv of convs) conv.close();
  assert.equal([...udp.convs].length, 0);
});

Deno.test("those in groups share a port: each gets what is for its groups, the first what is for this host alone", () => {
  const { wire, stack, peer } = host(), { udp } = stack, [first, second, third] = [udp.open(), udp.open(), udp.open()];
  const [mdns, other] = [ipOf("224.0.0.251"), ipOf("239.1.2.3")], client = peer.udp.open();
  client.bind(1000);
  first.announce(5353);
  second.join(mdns);
  assert.throws(() => second.announce(5353), code("EADDRINUSE"));
  first.join(mdns);
  second.announce(5353);
  third.announce(5353, other);
  third.join(other);
  assert.throws(() => udp.open().announce(5353), code("EADDRINUSE"));
  const takers = (ip: string) => {
    client.send(new Uint8Array(1), 0, 1, wire.now, { remote: ipOf(ip), remotePort: 5353 });
    wire.settle();
    return [first, second, third].map((conv) => conv.recv(into, 0, 9) > 0 ? 1 : 0).join("");
  };
  assert.equal(takers("224.0.0.251"), "110");
  assert.equal(takers("239.1.2.3"), "001");
  assert.equal(takers("10.0.0.1"), "100");
  first.close();
  assert.equal(takers("10.0.0.1"), "010");
});

Deno.test("conversations are bounded in number", () => {
  const { stack } = host();
  for (let i = 0; i < MAX_UDP_CONVS; i++) stack.udp.open();
  assert.throws(() => stack.udp.open(), code("ENFILE"));
});

Deno.test("an unspecified peer is this host, and a conversation that has no port gets one with what it sends", () => {
  const { wire, stack } = host(), server = stack.udp.open(), client = stack.udp.open(), loose = stack.udp.open();
  server.announce(9);
  client.connect(ipOf("0.0.0.0"), 9);
  assert.equal(formatIp(client.remote), "127.0.0.1");
  client.send(into, 0, 5, wire.now);
  loose.send(into, 0, 6, wire.now, { remote: ipOf("::1"), remotePort: 9 });
  wire.settle();
  assert.deepEqual([server.recv(into, 0, 99), server.recv(into, 0, 99)], [5, 6]);
  assert.ok(loose.localPort > 0);
});

Deno.test("a damaged datagram is dropped and counted; IPv4's without a checksum is not, nor one that the link has checked", () => {
  const { wire, stack, peer } = host(), server = stack.udp.open(), client = peer.udp.open();
  server.announce(9);
  client.connect(ipOf("10.0.0.1"), 9);
  client.send(new Uint8Array(20), 0, 20, wire.now);
  wire.settle();
  assert.equal(server.recv(into, 0, 99), 20);
  const frame = wire.seen.at(-1)!.slice();
  frame[50] ^= 0x10;
  wire.inject(frame);
  assert.equal(server.recv(into, 0, 99), -1);
  assert.equal(stack.udp.counters.InCsumErrors, 1);
  const checked = { checksum: CHECKSUM.good, checksumStart: 0, checksumOffset: 0, gso: 0, gsoBytes: 0, headerBytes: 0 };
  wire.inject(frame, checked);
  assert.equal(server.recv(into, 0, 99), 20);
  frame[40] = frame[41] = 0;
  wire.inject(frame);
  assert.equal(server.recv(into, 0, 99), 20);
  wire.inject(frame, { ...checked, gso: 5, gsoBytes: 8 });
  assert.deepEqual(
    [0, 0, 0, 0].map(() => server.recv(into, 0, 99)),
    [8, 8, 4, -1],
    "several that were merged into one",
  );
});

Deno.test("a question to all is answered from an address of one's own", () => {
  const { wire, stack, peer } = host(), server = stack.udp.open(), client = peer.udp.open();
  server.announce(67);
  client.announce(68);
  client.broadcast = true;
  client.send(into, 0, 3, wire.now, { remote: ipOf("255.255.255.255"), remotePort: 67 });
  wire.settle();
  const ends = server.queue.firstEnds;
  assert.equal(formatIp(ends.local), "255.255.255.255");
  server.send(into, 0, 4, wire.now, ends);
  wire.settle();
  assert.equal(formatIp(client.queue.firstEnds.remote), "10.0.0.1");
});
