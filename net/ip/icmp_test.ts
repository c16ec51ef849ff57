import assert from "node:assert/strict";
import { BROADCAST_MAC, type Ip, ipv4Of, multicastMac } from "../addr.ts";
import { pseudoSum6 } from "../checksum.ts";
import { CHECKSUM, type FrameInfo, GSO, PLAIN } from "../link.ts";
import { ipOf, Wire } from "../stack_fixture.ts";
import { emitEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { ICMP, Icmp } from "../wire/icmp.ts";
import { ICMPV6, Icmpv6, sealIcmpv6 } from "../wire/icmpv6.ts";
import { emitIpv4, Ipv4, type Ipv4Fields } from "../wire/ipv4.ts";
import { emitFragment, emitIpv6, Ipv6 } from "../wire/ipv6.ts";
import { put, set16 } from "../wire/packet.ts";
import { ACK, emitTcp, Tcp } from "../wire/tcp.ts";
import { ERROR_RATE } from "./limits.ts";

const PEER = Uint8Array.of(2, 9, 9, 9, 9, 9);

/** A host that knows a peer which is no stack, 10.0.0.9 and fd00::9. */
function host(addresses = ["10.0.0.1/24", "fd00::1/64"], options = {}) {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack, addresses, options);
  wire.run(5000);
  for (const ip of ["10.0.0.9", "fd00::9"]) stack.ip.neighbors.setPermanent(iface, ipOf(ip), PEER);
  wire.seen.length = 0;
  return { wire, stack, iface };
}

type Packet4 = Partial<Ipv4Fields> & {
  from?: string;
  to?: string;
  data?: number[];
  mac?: Uint8Array;
  options?: number[];
};

/** A frame with an IPv4 packet. */
function frame4(iface: { link: { mac: Uint8Array } }, packet: Packet4): Uint8Array {
  const { from = "10.0.0.9", to = "10.0.0.1", data = [], mac = iface.link.mac, options, ...rest } = packet;
  const bytes = new Uint8Array(1600), at = emitEthernet(bytes, 0, { dst: mac, src: PEER, type: ETHERTYPE.ipv4 });
  const dataAt = emitIpv4(bytes, at, {
    tos: 0,
    id: 1,
    dontFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    ttl: 64,
    proto: 17,
    src: ipv4Of(ipOf(from)),
    dst: ipv4Of(ipOf(to)),
    payloadBytes: data.length,
    ...rest,
  }, options && Uint8Array.from(options));
  bytes.set(data, dataAt);
  return bytes.slice(0, dataAt + data.length);
}

/** A frame with an IPv6 packet. */
function frame6(
  iface: { link: { mac: Uint8Array } },
  next: number,
  data: number[] | Uint8Array,
  more: { dst?: Ip; mac?: Uint8Array; hops?: number } = {},
): Uint8Array {
  const { dst = ipOf("fd00::1"), mac = iface.link.mac, hops = 64 } = more, bytes = new Uint8Array(1600);
  const at = emitEthernet(bytes, 0, { dst: mac, src: PEER, type: ETHERTYPE.ipv6 });
  const src = ipOf("fd00::9");
  emitIpv6(bytes, at, { trafficClass: 0, flowLabel: 0, next, hopLimit: hops, src, dst, payloadBytes: data.length });
  bytes.set(data, at + 40);
  return bytes.slice(0, at + 40 + data.length);
}

/** UDP's header to a port that nobody has. */
const UDP = [0, 9, 0, 10, 0, 8, 0, 0];

/** The ICMP errors that were sent, `type/code`. */
function errors(wire: Wire): string[] {
  const seen: string[] = [], ip4 = new Ipv4(), ip6 = new Ipv6(), icmp = new Icmp(), icmp6 = new Icmpv6();
  for (const bytes of wire.seen) {
    if (ip4.parse(bytes, 14, bytes.length) === undefined && ip4.proto === 1) {
      icmp.parse(bytes, ip4.payloadAt, ip4.end);
      assert.ok(ip4.checksumOk && icmp.checksumOk);
      assert.ok(ip4.end - ip4.at <= 576);
      seen.push(`${icmp.type}/${icmp.code}`);
    } else if (ip6.parse(bytes, 14, bytes.length) === undefined && ip6.next === 58) {
      icmp6.parse(bytes, ip6.payloadAt, ip6.end);
      assert.ok(icmp6.checksumOk(ip6.pseudoSum(58, ip6.payloadBytes)));
      assert.ok(ip6.end - ip6.at <= 1280);
      if (icmp6.isError) seen.push(`${icmp6.type}/${icmp6.code}`);
    }
  }
  wire.seen.length = 0;
  return seen;
}

Deno.test("IPv4: what gets an answer that says why not", () => {
  const { wire, stack, iface } = host();
  const answers = (packet: Packet4) => {
    wire.inject(frame4(iface, packet));
    wire.run(2000);
    return errors(wire);
  };
  assert.deepEqual(answers({ data: UDP }), ["3/3"]);
  assert.deepEqual(answers({ data: [...UDP, ...new Array(1400).fill(1)].fill(5, 4, 4) }), ["3/3"]);
  assert.deepEqual(answers({ proto: 99, data: [1, 2, 3] }), ["3/2"]);
  wire.inject(frame4(iface, { data: new Array(16).fill(1), moreFragments: true }));
  wire.run(31_000);
  assert.deepEqual(errors(wire), ["11/1"]);
  assert.equal(stack.ip.icmp4.OutMsgs, 4);
});

Deno.test("IPv4: what must not get one (RFC 1122, 3.2.2)", () => {
  const { wire, stack, iface } = host();
  const silent: [string, Packet4][] = [
    ["an error about an error", { proto: 1, data: [3, 3, 0xfc, 0xfc, 0, 0, 0, 0] }],
    ["a later fragment", { data: UDP, fragmentOffset: 8 }],
    ["to all", { to: "255.255.255.255", data: UDP, mac: BROADCAST_MAC }],
    ["to the network", { to: "10.0.0.255", data: UDP, mac: BROADCAST_MAC }],
    ["to a group", { to: "224.0.0.1", data: UDP, mac: multicastMac(ipOf("224.0.0.1")) }],
    ["to us, in a frame to all", { data: UDP, mac: BROADCAST_MAC }],
    ["from nobody", { from: "0.0.0.0", data: UDP }],
    ["from a group", { from: "224.0.0.5", data: UDP }],
    ["from all", { from: "255.255.255.255", data: UDP }],
    ["from the network", { from: "10.0.0.255", data: UDP }],
    ["from ourselves", { from: "10.0.0.1", data: UDP }],
    ["from the loopback", { from: "127.0.0.1", data: UDP }],
    ["from class E", { from: "240.0.0.1", data: UDP }],
    ["to the loopback", { to: "127.0.0.1", data: UDP }],
    ["to another host", { to: "10.0.0.7", data: UDP }],
    ["with a source route", { data: UDP, options: [131, 7, 4, 10, 0, 0, 1, 0] }],
    ["a first fragment alone without its time", { data: new Array(16).fill(1), moreFragments: true, id: 9 }],
    ["an echo to all", { to: "10.0.0.255", proto: 1, data: [8, 0, 0xf7, 0xff, 0, 0, 0, 0], mac: BROADCAST_MAC }],
  ];
  for (const [name, packet] of silent) {
    wire.inject(frame4(iface, packet));
    assert.deepEqual(errors(wire), [], name);
  }
  const broken = frame4(iface, { data: UDP });
  broken[24] ^= 1;
  wire.inject(broken);
  assert.deepEqual(errors(wire), []);
  assert.equal(stack.ip.counters.InCsumErrors, 1);
  assert.equal(stack.ip.icmp4.OutMsgs, 0);
});

Deno.test("IPv6: what gets an answer, and which", () => {
  const { wire, iface } = host();
  const answers = (next: number, data: number[] | Uint8Array, more = {}) => {
    wire.inject(frame6(iface, next, data, more));
    wire.run(2000);
    return errors(wire);
  };
  const udp = new Uint8Array(8);
  udp.set(UDP);
  const pseudo = pseudoSum6(new Uint8Array([...ipOf("fd00::9"), ...ipOf("fd00::1")]), 0, 17, 8);
  set16(udp, 6, ~(pseudo + 9 + 10 + 8) & 0xffff);
  assert.deepEqual(answers(17, udp), ["1/4"], "no port");
  assert.deepEqual(answers(17, UDP), [], "UDP without a checksum");
  assert.deepEqual(answers(99, [1, 2]), ["4/1"], "no protocol");
  assert.deepEqual(answers(60, [17, 0, 0x9e, 0, 1, 0, 0, 0, ...udp]), ["4/2"], "an option that asks to be reported");
  assert.deepEqual(answers(60, [17, 0, 0x5e, 0, 1, 0, 0, 0, ...udp]), [], "an option that asks to be dropped");
  assert.deepEqual(answers(60, [17, 0, 0x1e, 0, 1, 0, 0, 0, ...udp]), ["1/4"], "an option to be skipped");
  assert.deepEqual(answers(43, [17, 0, 0, 5, 0, 0, 0, 0, ...udp]), ["4/0"], "a routing header that is not at its end");
  assert.deepEqual(answers(43, [17, 0, 0, 0, 0, 0, 0, 0, ...udp]), ["1/4"], "one that is");
  const all = ipOf("ff02::1");
  assert.deepEqual(answers(99, [1, 2], { dst: all, mac: multicastMac(all) }), [], "to a group");
  assert.deepEqual(answers(60, [17, 0, 0x9e, 0, 1, 0, 0, 0, ...udp], { dst: all, mac: multicastMac(all) }), ["4/2"]);
  const fragment = new Uint8Array(16 + 4);
  emitFragment(fragment, 0, { next: 17, offset: 0, more: true, id: 5 });
  assert.deepEqual(answers(44, fragment), ["4/0"], "a fragment that is no multiple of 8");
  wire.inject(frame6(iface, 44, fragment.subarray(0, 16)));
  wire.run(61_000);
  assert.deepEqual(errors(wire), ["3/1"]);
});

Deno.test("errors are limited, to one destination and in all", () => {
  const { wire, stack, iface } = host(["10.0.0.1/8"]);
  for (let i = 0; i < 100; i++) wire.inject(frame4(iface, { data: UDP }));
  assert.equal(errors(wire).length, ERROR_RATE.peerBurst);
  assert.equal(stack.ip.icmp4.OutRateLimited, 100 - ERROR_RATE.peerBurst);
  wire.run(500);
  wire.seen.length = 0;
  for (let i = 0; i < 200; i++) {
    const from = `10.0.1.${i}`;
    stack.ip.neighbors.setPermanent(iface, ipOf(from), PEER);
    wire.inject(frame4(iface, { from, data: UDP }));
  }
  const sent = errors(wire).length;
  assert.ok(sent >= ERROR_RATE.burst / 2 && sent <= ERROR_RATE.burst, `${sent}`);
});

Deno.test("a host gives nothing away by its identifications: 0 with DF, else at random", () => {
  const { wire, iface } = host();
  const ids: number[] = [];
  for (let i = 0; i < 20; i++) {
    wire.inject(frame4(iface, { proto: 1, data: [8, 0, 0xf7, 0xff, 0, 0, 0, 0] }));
    ids.push(wire.seen.at(-1)![18] << 8 | wire.seen.at(-1)![19]);
  }
  assert.equal(new Set(ids).size > 15, true);
  assert.ok(!ids.every((id, i) => i === 0 || id - ids[i - 1] > 0 && id - ids[i - 1] < 10));
});

Deno.test("too big is believed only when a transport says that it sent what is quoted, and only in bounds", () => {
  const { wire, stack } = host();
  const conv = stack.udp.open();
  conv.connect(ipOf("fd00::9"), 77);
  conv.send(new Uint8Array(1400), 0, 1400, wire.now);
  wire.settle();
  const sent = wire.seen.at(-1)!.slice(14);
  const tooBig = (mtu: number, quoted: Uint8Array) => {
    const data = new Uint8Array(8 + quoted.length);
    data[0] = ICMPV6.packetTooBig;
    set16(data, 6, mtu);
    data.set(quoted, 8);
    const addresses = new Uint8Array([...ipOf("fd00::9"), ...ipOf("fd00::1")]);
    sealIcmpv6(data, 0, data.length, pseudoSum6(addresses, 0, 58, data.length));
    wire.inject(frame6({ link: wire.linksOf(stack)[0] }, 58, data));
    const path = stack.ip.output.path(ipOf("fd00::9"), ipOf("fd00::1"));
    return typeof path === "string" ? path : path.mtu;
  };
  const wrongPort = sent.slice();
  wrongPort[43] ^= 1;
  assert.equal(tooBig(1300, wrongPort), 1500);
  const wrongSource = sent.slice();
  put(wrongSource, 8, ipOf("fd00::5"));
  assert.equal(tooBig(1300, wrongSource), 1500);
  assert.equal(tooBig(1279, sent), 1500, "below what every link takes");
  assert.equal(tooBig(1448, sent), 1500, "it was not larger than that");
  assert.equal(tooBig(1300, sent), 1300);
  assert.equal(tooBig(1400, sent), 1300, "it does not rise by this");
  assert.deepEqual([stack.ip.counters.PathMtuLowered, stack.ip.counters.PathMtuRefused], [1, 4]);
});

Deno.test("a router takes super-packets apart, and finishes checksums, for a link that does neither", () => {
  for (const gsoMaxBytes of [0, 65535]) {
    const west = new Wire(), east = new Wire(), router = west.stack();
    const inside = west.connect(router, ["10.0.0.1/24"], { checksumOffload: true, gsoMaxBytes: 65535 });
    const outside = east.connect(router, ["10.1.0.1/24"], { checksumOffload: gsoMaxBytes > 0, gsoMaxBytes });
    router.ip.forwarding = true;
    router.ip.neighbors.setPermanent(outside, ipOf("10.1.0.9"), PEER);
    const payload = 4000, tcp = new Uint8Array(20 + payload).fill(3);
    emitTcp(tcp, 0, { srcPort: 1, dstPort: 2, seq: 1, ack: 1, flags: ACK, window: 1, urgent: 0 });
    const bytes = frame4(inside, { to: "10.1.0.9", proto: 6, dontFragment: true, payloadBytes: tcp.length }).slice(
      0,
      34,
    );
    const frame = new Uint8Array([...bytes, ...tcp]), ip = new Ipv4(), view = new Tcp();
    ip.parse(frame, 14, frame.length);
    set16(frame, 34 + 16, ip.pseudoSum);
    const info: FrameInfo = {
      checksum: CHECKSUM.partial,
      checksumStart: 34,
      checksumOffset: 16,
      gso: GSO.tcp4,
      gsoBytes: 1460,
      headerBytes: 54,
    };
    const infos: FrameInfo[] = [];
    const carry = east.carry.bind(east);
    east.carry = (from, out, its) => {
      if (out[12] === 8 && out[13] === 0) infos.push(its);
      carry(from, out, its);
    };
    west.inject(frame, info);
    router.poll(west.now);
    if (gsoMaxBytes > 0) {
      assert.deepEqual(infos.at(-1), info);
      assert.ok(east.seen.some((out) => out.length === frame.length));
      continue;
    }
    const segments = east.seen.filter((out) => out[12] === 8 && out[13] === 0);
    assert.equal(segments.length, 3);
    assert.deepEqual(infos.at(-1), PLAIN);
    for (const out of segments) {
      assert.equal(ip.parse(out, 14, out.length) ?? view.parse(out, ip.payloadAt, ip.end), undefined);
      assert.ok(ip.checksumOk && view.checksumOk(ip.pseudoSum) && ip.ttl === 63);
    }
  }
});

Deno.test("ICMP redirects of IPv4 are not followed", () => {
  const { wire, stack, iface } = host();
  const data = [5, 1, 0, 0, 10, 0, 0, 66, ...new Array(28).fill(0)];
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += data[i] << 8 | data[i + 1];
  sum = ~((sum & 0xffff) + (sum >>> 16)) & 0xffff;
  data[2] = sum >> 8;
  data[3] = sum & 255;
  const before = stack.ip.routes.list().length;
  wire.inject(frame4(iface, { proto: 1, data }));
  assert.equal(stack.ip.icmp4.InRedirects, 1);
  assert.equal(stack.ip.routes.list().length, before);
  assert.equal(ICMP.redirect, data[0]);
});
