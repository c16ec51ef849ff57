import assert from "node:assert/strict";
import { formatIpv4 } from "../addr.ts";
import { checksumOk } from "../checksum.ts";
import { emitIpv4, IPOPT, Ipv4, PROTO } from "./ipv4.ts";
import { abuse, explore, hex, Random, refusesCuts } from "./wire_fixture.ts";

/** UDP from 192.168.0.1 to 192.168.0.199, do not fragment. */
const plain = hex("4500 001c 0000 4000 4011 b8b8 c0a8 0001 c0a8 00c7 0035 e97c 0008 0000");
/** The last fragment of an echo request, 1480 bytes in, ECN marked. */
const fragment = hex("4503 0018 1234 00b9 3f01 54f3 0a00 0001 0a00 0002 deadbeef");
/** IGMP with router alert. */
const alert = hex("46c0 0020 0000 4000 0102 4258 c0a8 0101 e000 0016 9404 0000 1100 0000 0000 0000");

Deno.test("a header, field by field", () => {
  const ip = new Ipv4();
  assert.equal(ip.parse(plain), undefined);
  assert.deepEqual(
    [ip.tos, ip.ecn, ip.id, ip.dontFragment, ip.moreFragments, ip.isFragment, ip.ttl, ip.proto],
    [0, 0, 0, true, false, false, 64, PROTO.udp],
  );
  assert.deepEqual([formatIpv4(ip.src), formatIpv4(ip.dst)], ["192.168.0.1", "192.168.0.199"]);
  assert.deepEqual([ip.payloadAt, ip.payloadBytes, ip.option(IPOPT.routerAlert)], [20, 8, -1]);
  assert.ok(ip.checksumOk);
});

Deno.test("a fragment, and a header with an option", () => {
  const ip = new Ipv4();
  assert.equal(ip.parse(fragment), undefined);
  assert.deepEqual([ip.isFragment, ip.moreFragments, ip.fragmentOffset, ip.id, ip.ecn], [true, false, 1480, 0x1234, 3]);
  assert.equal(ip.parse(alert), undefined);
  assert.deepEqual([ip.payloadAt, ip.payloadBytes, ip.option(IPOPT.routerAlert), ip.option(7)], [24, 8, 20, -1]);
  assert.ok(ip.checksumOk);
});

Deno.test("padding behind the total length is left out", () => {
  const padded = new Uint8Array(60), ip = new Ipv4();
  padded.set(plain, 6);
  assert.equal(ip.parse(padded, 6), undefined);
  assert.deepEqual([ip.at, ip.end, ip.payloadBytes], [6, 34, 8]);
});

Deno.test("emitIpv4() writes what was parsed, checksum and options included", () => {
  for (const data of [plain, fragment, alert]) {
    const ip = new Ipv4(), out = data.slice().fill(0xaa);
    ip.parse(data);
    const payloadAt = emitIpv4(out, 0, ip, data === alert ? hex("9404 00") : undefined);
    assert.equal(payloadAt, ip.payloadAt);
    assert.deepEqual(out.subarray(0, payloadAt), data.subarray(0, payloadAt));
  }
});

Deno.test("what was emitted from random fields is parsed back", () => {
  const seed = 791, random = new Random(seed), ip = new Ipv4(), out = new Uint8Array(100);
  for (let i = 0; i < 500; i++) {
    const fields = {
      tos: random.below(256),
      id: random.below(65536),
      dontFragment: random.below(2) === 1,
      moreFragments: random.below(2) === 1,
      fragmentOffset: random.below(8192) * 8,
      ttl: random.below(256),
      proto: random.below(256),
      src: random.below(2 ** 32) | 0,
      dst: random.below(2 ** 32) | 0,
      payloadBytes: random.below(80),
    };
    emitIpv4(out, 0, fields);
    assert.equal(ip.parse(out), undefined, `seed ${seed}, turn ${i}`);
    for (const name of Object.keys(fields) as (keyof typeof fields)[]) assert.equal(ip[name], fields[name], name);
    assert.ok(ip.checksumOk, `seed ${seed}, turn ${i}`);
  }
});

Deno.test("decrementTtl() keeps the checksum right down to zero", () => {
  const data = plain.slice(), ip = new Ipv4();
  ip.parse(data);
  for (let ttl = 63; ttl >= 0; ttl--) {
    ip.decrementTtl();
    assert.equal(ip.ttl, ttl);
    assert.ok(checksumOk(data, 0, 20), `ttl ${ttl}`);
  }
});

Deno.test("a header that lies is refused with the reason", () => {
  const refused = (at: number, text: string, from = plain) => {
    const data = from.slice();
    data.set(hex(text), at);
    return new Ipv4().parse(data);
  };
  assert.equal(refused(0, "65"), "version");
  assert.equal(refused(0, "44"), "header");
  assert.equal(refused(0, "4f"), "header");
  assert.equal(refused(2, "0013"), "length");
  assert.equal(refused(2, "001d"), "length");
  assert.equal(refused(20, "9400", alert), "option", "an option without length");
  assert.equal(refused(20, "9401", alert), "option", "a length that does not hold itself");
  assert.equal(refused(20, "9405", alert), "option", "a length behind the header");
  assert.equal(refused(20, "01010194", alert), "option", "a kind that ends the header");
  assert.equal(refused(20, "00ffffff", alert), undefined, "nothing counts behind the end of the list");
  assert.equal(refused(20, "01940301", alert), undefined);
});

Deno.test("an option that is cut by the end of a packet without data is refused without a look behind it", () => {
  const data = alert.slice(0, 24);
  data[3] = 24;
  data.set(hex("01010194"), 20);
  assert.equal(explore(new Ipv4(), data), "option");
});

Deno.test("no bytes make the view throw or read outside of the packet", () => {
  for (const data of [plain, fragment, alert]) refusesCuts(new Ipv4(), data);
  abuse(new Ipv4(), [plain, fragment, alert], (ip) => {
    for (let kind = 0; kind < 256; kind++) ip.option(kind);
  });
});
