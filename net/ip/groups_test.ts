import assert from "node:assert/strict";
import { type Ip, ipv4Of, isUnspecified, multicastMac } from "../addr.ts";
import { checksumOk, pseudoSum6 } from "../checksum.ts";
import { ipOf, Wire } from "../stack_fixture.ts";
import { emitEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { sealIcmp } from "../wire/icmp.ts";
import { sealIcmpv6 } from "../wire/icmpv6.ts";
import { emitIpv4, Ipv4 } from "../wire/ipv4.ts";
import { emitIpv6, Ipv6, Ipv6Chain } from "../wire/ipv6.ts";
import { put, set32 } from "../wire/packet.ts";
import { LIMITS } from "./limits.ts";

const SRC_MAC = Uint8Array.of(2, 9, 9, 9, 9, 9);
const GROUP4 = ipOf("239.1.2.3"), GROUP6 = ipOf("ff05::77");

/** An IGMP message to a group, 8 bytes or 12. */
function igmp(type: number, code: number, group: string, length: number, dst = "224.0.0.1"): Uint8Array {
  const bytes = new Uint8Array(60),
    at = emitEthernet(bytes, 0, {
      dst: multicastMac(ipOf(dst)),
      src: SRC_MAC,
      type: ETHERTYPE.ipv4,
    });
  const fields = { tos: 0, id: 0, dontFragment: true, moreFragments: false, fragmentOffset: 0, ttl: 1, proto: 2 };
  const src = ipv4Of(ipOf("10.0.0.9")), to = ipv4Of(ipOf(dst));
  const message = emitIpv4(bytes, at, { ...fields, src, dst: to, payloadBytes: length });
  bytes[message] = type;
  bytes[message + 1] = code;
  set32(bytes, message + 4, ipv4Of(ipOf(group)));
  sealIcmp(bytes, message, message + length);
  return bytes.slice(0, message + length);
}

/** An MLD message, 24 bytes or 28. */
function mld(type: number, maxMs: number, group: Ip, length: number, dst = ipOf("ff02::1")): Uint8Array {
  const bytes = new Uint8Array(100);
  const at = emitEthernet(bytes, 0, { dst: multicastMac(dst), src: SRC_MAC, type: ETHERTYPE.ipv6 });
  const fields = {
    trafficClass: 0,
    flowLabel: 0,
    next: 58,
    hopLimit: 1,
    src: ipOf("fe80::9"),
    dst,
    payloadBytes: length,
  };
  const message = emitIpv6(bytes, at, fields);
  bytes[message] = type;
  bytes[message + 4] = maxMs >> 8;
  bytes[message + 5] = maxMs;
  if (!isUnspecified(group)) put(bytes, message + 8, group);
  sealIcmpv6(bytes, message, message + length, pseudoSum6(bytes, at + 8, 58, length));
  return bytes.slice(0, message + length);
}

/** The group messages that were sent since the last call: `type` or `type/record`. */
function reports(wire: Wire, from: Uint8Array): string[] {
  const ip4 = new Ipv4(), ip6 = new Ipv6(), chain = new Ipv6Chain(), seen: string[] = [];
  for (const bytes of wire.seen.splice(0)) {
    if (bytes[6 + 5] !== from[5]) continue;
    if (ip4.parse(bytes, 14, bytes.length) === undefined && ip4.proto === 2) {
      assert.ok(ip4.checksumOk && ip4.ttl === 1 && ip4.option(148) > 0);
      assert.ok(checksumOk(bytes, ip4.payloadAt, ip4.end));
      const type = bytes[ip4.payloadAt];
      seen.push(type === 0x22 ? `22/${bytes[ip4.payloadAt + 8]}` : type.toString(16));
    } else if (ip6.parse(bytes, 14, bytes.length) === undefined && chain.walk(ip6) === undefined && chain.routerAlert) {
      const { payloadAt: at } = chain;
      assert.ok(ip6.hopLimit === 1 && checksumOk(bytes, at, ip6.end, ip6.pseudoSum(58, ip6.end - at)));
      seen.push(bytes[at] === 143 ? `143/${bytes[at + 8]}` : `${bytes[at]}`);
    }
  }
  return seen;
}

function host() {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack, ["10.0.0.1/24", "fe80::1/64"]);
  wire.run(5000);
  wire.seen.length = 0;
  const { groups } = stack.ip;
  const join = (ip: Ip) => {
    stack.ip.at(wire.now);
    assert.ok(groups.join(iface, ip));
  };
  const leave = (ip: Ip) => {
    stack.ip.at(wire.now);
    groups.leave(iface, ip);
    wire.settle();
  };
  return { wire, stack, iface, join, leave, said: () => reports(wire, iface.link.mac) };
}

Deno.test("who joins says so twice, who leaves once, by IGMPv3 and MLDv2; the second user of a group changes nothing", () => {
  const { wire, join, leave, said } = host();
  for (const [group, type] of [[GROUP4, "22"], [GROUP6, "143"]] as const) {
    join(group);
    join(group);
    wire.run(3000);
    assert.deepEqual(said(), [`${type}/4`, `${type}/2`]);
    leave(group);
    assert.deepEqual(said(), []);
    leave(group);
    assert.deepEqual(said(), [`${type}/3`]);
  }
});

Deno.test("a query is answered within its time, once for each group; one for another group is not", () => {
  const { wire, join, said } = host();
  join(GROUP4);
  join(GROUP6);
  wire.run(3000);
  said();
  wire.inject(igmp(0x11, 20, "0.0.0.0", 12));
  wire.run(2000);
  assert.deepEqual(said(), ["22/2"]);
  wire.inject(igmp(0x11, 20, "239.9.9.9", 12, "239.9.9.9"));
  wire.inject(igmp(0x11, 20, "239.1.2.3", 12, "239.1.2.3"));
  wire.run(2000);
  assert.deepEqual(said(), ["22/2"]);
  wire.inject(mld(130, 1000, ipOf("::"), 28));
  wire.run(1000);
  assert.deepEqual(said(), ["143/2", "143/2"], "of the group, and of our address's own");
});

Deno.test("an older querier is spoken to in its own version, until it was silent for long", () => {
  const { wire, join, leave, said } = host();
  wire.inject(igmp(0x11, 20, "0.0.0.0", 8));
  wire.inject(mld(130, 1000, ipOf("::"), 24));
  wire.run(3000);
  said();
  join(GROUP4);
  join(GROUP6);
  wire.run(3000);
  assert.deepEqual(said().sort(), ["131", "131", "16", "16"]);
  leave(GROUP4);
  leave(GROUP6);
  assert.deepEqual(said(), ["17", "132"]);
  join(GROUP4);
  wire.inject(igmp(0x16, 0, "239.1.2.3", 8, "239.1.2.3"));
  wire.run(3000);
  assert.deepEqual(said().filter((it) => it === "16").length <= 1, true, "another host has said it");
  leave(GROUP4);
  wire.run(400_001);
  said();
  join(GROUP4);
  wire.run(3000);
  assert.deepEqual(said(), ["22/4", "22/2"]);
});

Deno.test("groups are bounded, and what is none can not be joined", () => {
  const { stack, iface } = host();
  assert.equal(stack.ip.groups.join(iface, ipOf("10.0.0.1")), false);
  for (let i = 0; i < 2 * LIMITS.groups; i++) stack.ip.groups.join(iface, ipOf(`239.5.${i >> 8}.${i & 255}`));
  assert.equal(iface.groups.count, LIMITS.groups);
});
