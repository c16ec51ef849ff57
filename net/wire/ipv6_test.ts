import assert from "node:assert/strict";
import { formatIp, parseIp } from "../addr.ts";
import { sum } from "../checksum.ts";
import { PROTO } from "./ipv4.ts";
import { emitFragment, emitIpv6, EXTENSION, Ipv6, Ipv6Chain, PARAM } from "./ipv6.ts";
import { abuse, explore, hex, Random, refusesCuts } from "./wire_fixture.ts";

const ADDRESSES = "20010db8000000000000000000000001 20010db8000000000000000000000002";

/** A packet whose payload is `text` in hex. */
function packet(next: number, text: string): Uint8Array {
  const payload = hex(text);
  const head = `60000000 ${payload.length.toString(16).padStart(4, "0")} ${next.toString(16).padStart(2, "0")} 40`;
  return hex(`${head} ${ADDRESSES} ${text}`);
}

const ping = hex(`6abcd123 0010 3a ff ${ADDRESSES} 8000 1234 0001 0002 0011223344556677`);
/** A multicast listener report: hop-by-hop with router alert and PadN. */
const listener = packet(0, "3a 00 0502 0000 0100 8f00 0000 0000 0000");
const fragment = packet(44, "11 00 05a9 deadbeef 0001020304050607");
const deep = packet(
  0,
  "3c 00 0104 00000000  2b 00 0104 00000000  2c 02 0400 00000000 00000000000000000000000000000000 " +
    "33 00 0000 00000001  06 04 0000 00000001 00000002 000102030405060708090a0b  0050 0051",
);

function walk(data: Uint8Array): { fault: string | undefined; chain: Ipv6Chain; ip: Ipv6 } {
  const ip = new Ipv6(), chain = new Ipv6Chain();
  let fault: string | undefined;
  assert.equal(explore(ip, data, () => fault = chain.walk(ip)), undefined);
  return { fault, chain, ip };
}

Deno.test("a fixed header, field by field", () => {
  const ip = new Ipv6();
  assert.equal(ip.parse(ping), undefined);
  assert.deepEqual([ip.trafficClass, ip.ecn, ip.flowLabel, ip.next, ip.hopLimit], [
    0xab,
    3,
    0xcd123,
    PROTO.icmpv6,
    255,
  ]);
  assert.deepEqual([formatIp(ip.src), formatIp(ip.dst)], ["2001:db8::1", "2001:db8::2"]);
  assert.deepEqual([ip.payloadAt, ip.payloadBytes, ip.srcAt, ip.dstAt], [40, 16, 8, 24]);
  assert.ok(ip.isFor(parseIp("2001:db8::2")!) && !ip.isFor(parseIp("2001:db8::1")!));
  assert.equal(ip.pseudoSum(58, 16), sum(hex(`${ADDRESSES} 00000010 0000003a`), 0, 40));
});

Deno.test("emitIpv6() writes what was parsed", () => {
  for (const data of [ping, listener, fragment, deep]) {
    const ip = new Ipv6(), out = new Uint8Array(40).fill(0xaa);
    ip.parse(data);
    assert.equal(emitIpv6(out, 0, ip), 40);
    assert.deepEqual(out, data.slice(0, 40));
  }
});

Deno.test("setters keep the fields beside them", () => {
  const data = ping.slice(), ip = new Ipv6();
  ip.parse(data);
  ip.trafficClass = 0x12;
  ip.hopLimit = 63;
  ip.dst = parseIp("::1")!;
  assert.deepEqual([data[0] >>> 4, ip.trafficClass, ip.flowLabel, ip.hopLimit, formatIp(ip.dst)], [
    6,
    0x12,
    0xcd123,
    63,
    "::1",
  ]);
});

Deno.test("walk() of a packet without extension headers ends where it begins", () => {
  const { fault, chain } = walk(ping);
  assert.equal(fault, undefined);
  assert.deepEqual([chain.proto, chain.payloadAt - 5, chain.fragmentAt, chain.routerAlert], [58, 40, -1, false]);
});

Deno.test("walk() steps over each kind of header to what is carried", () => {
  const alert = walk(listener);
  assert.equal(alert.fault, undefined);
  assert.deepEqual([alert.chain.proto, alert.chain.payloadAt - 5, alert.chain.routerAlert], [58, 48, true]);
  const all = walk(deep);
  assert.equal(all.fault, undefined);
  assert.deepEqual([all.chain.proto, all.chain.payloadAt - 5, all.chain.fragmentAt], [PROTO.tcp, 40 + 72, -1]);
});

Deno.test("walk() stops at a fragment, and not at an atomic one", () => {
  const { fault, chain, ip } = walk(fragment);
  assert.equal(fault, undefined);
  assert.deepEqual([chain.proto, chain.payloadAt - 5, chain.fragmentAt - 5], [PROTO.udp, 48, 40]);
  assert.deepEqual(
    [chain.fragmentOffset(ip), chain.moreFragments(ip), chain.fragmentId(ip) >>> 0],
    [1448, true, 0xdeadbeef],
  );
  assert.equal(walk(packet(44, "11 00 0000 00000001 0035003500080000")).chain.fragmentAt, -1);
  assert.equal(walk(packet(44, "3c 00 0008 00000001 ffff")).fault, undefined, "data of a later fragment is not walked");
});

Deno.test("an unknown option is skipped, dropped or reported as its kind asks", () => {
  const option = (kind: string) => walk(packet(60, `3b 00 ${kind} 02 0000 0000`));
  assert.equal(option("1e").fault, undefined);
  assert.deepEqual([option("5e").fault, option("5e").chain.problem], ["option", PARAM.none]);
  const reported = option("9e").chain, quiet = option("de").chain;
  assert.deepEqual([reported.problem, reported.problemAt - 5, reported.problemToGroup], [PARAM.option, 42, true]);
  assert.deepEqual([quiet.problem, quiet.problemToGroup], [PARAM.option, false]);
});

Deno.test("a source route that is not at its end, and hop-by-hop in the wrong place, are reported", () => {
  const route = walk(packet(43, "3b 02 0001 00000000 00000000000000000000000000000001"));
  assert.deepEqual([route.fault, route.chain.problem, route.chain.problemAt - 5], ["field", PARAM.field, 42]);
  const late = walk(packet(60, "00 00 010400000000 3b 00 010400000000"));
  assert.deepEqual([late.fault, late.chain.problem, late.chain.problemAt - 5], ["field", PARAM.next, 40]);
});

Deno.test("headers and options without end are refused", () => {
  const header = "3c 00 010400000000 ";
  assert.equal(walk(packet(60, header.repeat(7) + "3b 00 010400000000")).fault, undefined);
  assert.equal(walk(packet(60, header.repeat(9))).fault, "option");
  const options = (count: number) =>
    walk(packet(60, `3b ${(count / 4).toString(16).padStart(2, "0")} ${"1e00".repeat(3)} ${"1e00".repeat(count)}`));
  assert.equal(options(12).fault, undefined, "15 options");
  assert.equal(options(16).fault, "option", "19 options");
  assert.equal(walk(packet(60, "3b 00 0103 00000000")).fault, undefined);
  assert.equal(walk(packet(60, "3b 00 0105 00000000")).fault, "option");
  assert.equal(walk(packet(60, "3b 00 0102 0000 001e")).fault, "option", "a kind that ends the header");
  assert.equal(walk(packet(60, "3b 01 0104 00000000")).fault, "header");
  assert.equal(walk(packet(60, "3b 00 0104")).fault, "short");
});

Deno.test("emitFragment() is what walk() reads", () => {
  const seed = 8200, random = new Random(seed);
  for (let i = 0; i < 200; i++) {
    const data = packet(EXTENSION.fragment, "00".repeat(8));
    const want = {
      next: PROTO.udp,
      offset: random.below(8191) * 8 + 8,
      more: random.below(2) === 1,
      id: random.below(2 ** 32) | 0,
    };
    assert.equal(emitFragment(data, 40, want), 48);
    const { chain, ip } = walk(data);
    const got = {
      next: chain.proto,
      offset: chain.fragmentOffset(ip),
      more: chain.moreFragments(ip),
      id: chain.fragmentId(ip),
    };
    assert.deepEqual(got, want, `seed ${seed}, turn ${i}`);
  }
});

Deno.test("no bytes make the view or the walk throw or read outside of the packet", () => {
  for (const data of [ping, listener, fragment, deep]) refusesCuts(new Ipv6(), data);
  const chain = new Ipv6Chain();
  abuse(new Ipv6(), [ping, listener, fragment, deep], (ip) => {
    if (chain.walk(ip) !== undefined) return;
    assert.ok(chain.payloadAt >= ip.payloadAt && chain.payloadAt <= ip.end);
    if (chain.fragmentAt < 0) return;
    chain.fragmentOffset(ip);
    chain.moreFragments(ip);
    chain.fragmentId(ip);
  });
});
