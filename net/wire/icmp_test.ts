import assert from "node:assert/strict";
import { formatIpv4 } from "../addr.ts";
import { emitIcmp, ICMP, Icmp, sealIcmp, UNREACHABLE } from "./icmp.ts";
import { Ipv4, PROTO } from "./ipv4.ts";
import { get16 } from "./packet.ts";
import { abuse, hex, Random, refusesCuts } from "./wire_fixture.ts";

const echo = hex("0800 d0ba 1234 0007 6162636465666768696a6b6c6d6e6f707172737475767761");
/** Fragmentation needed at MTU 1400, quoting the head of a TCP segment. */
const tooBig = hex("0304 17e8 0000 0578 4500 05dc 0000 4000 4006 0000 0a000001 0a000002 a8ca 0050 89abcdef");
const redirect = hex("0501 a0b2 c0a80001 4500 001c 0000 0000 4011 0000 0a000001 0a000002 0035 0035 0008 0000");
const problem = hex("0c00 b154 14000000 4600 0020 0000 0000 4011 0000 0a000001 0a000002 94040000 00350035 00080000");
const golden = [echo, tooBig, redirect, problem];

function parse(data: Uint8Array): Icmp {
  const icmp = new Icmp();
  assert.equal(icmp.parse(data), undefined);
  return icmp;
}

Deno.test("an echo, field by field", () => {
  const icmp = parse(echo);
  assert.deepEqual([icmp.type, icmp.code, icmp.id, icmp.seq, icmp.payloadBytes], [ICMP.echo, 0, 0x1234, 7, 24]);
  assert.ok(icmp.checksumOk && !icmp.isError);
});

Deno.test("errors: their own word, and the packet that they quote", () => {
  const ip = new Ipv4(), big = parse(tooBig);
  assert.deepEqual([big.type, big.code, big.mtu, big.isError], [
    ICMP.unreachable,
    UNREACHABLE.fragmentationNeeded,
    1400,
    true,
  ]);
  assert.equal(ip.parse(tooBig, big.payloadAt), "length", "it is cut short");
  assert.equal(ip.parseQuote(tooBig, big.payloadAt, big.end), undefined);
  assert.deepEqual([formatIpv4(ip.src), ip.proto, ip.payloadAt, ip.payloadBytes], ["10.0.0.1", PROTO.tcp, 28, 8]);
  assert.deepEqual([get16(tooBig, ip.payloadAt), get16(tooBig, ip.payloadAt + 2)], [43210, 80]);
  assert.equal(formatIpv4(parse(redirect).gateway), "192.168.0.1");
  assert.equal(parse(problem).pointer, 20);
  assert.equal(ip.parseQuote(problem, 8, problem.length), undefined);
  assert.equal(ip.payloadAt, 32, "behind the quoted packet's options");
  for (const data of golden) assert.ok(parse(data).checksumOk);
});

Deno.test("a quote without a whole IPv4 header is refused with the reason", () => {
  const quote = (change: (data: Uint8Array) => void, length = tooBig.length) => {
    const data = tooBig.slice(0, length);
    change(data);
    return new Ipv4().parseQuote(data, 8, length);
  };
  assert.equal(quote(() => {}, 28), undefined);
  assert.equal(quote(() => {}, 27), "short");
  assert.equal(quote((data) => data[8] = 0x65), "version");
  assert.equal(quote((data) => data[8] = 0x44), "header");
  assert.equal(quote((data) => data[8] = 0x4f), "header");
  assert.equal(quote((data) => data.fill(0, 10, 12)), "length");
  assert.equal(quote((data) => (data[8] = 0x46, data.fill(1, 28, 32))), undefined);
  assert.equal(quote((data) => [data[8], data[28], data[29]] = [0x46, 7, 40]), "option");
});

Deno.test("emitIcmp() and sealIcmp() write what was parsed", () => {
  for (const data of golden) {
    const out = data.slice();
    out.fill(0xaa, 0, 8);
    assert.equal(emitIcmp(out, 0, parse(data)), 8);
    sealIcmp(out, 0, out.length);
    assert.deepEqual(out, data);
  }
});

Deno.test("a reply made in place of random echoes sums up", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new Random(seed), data = random.bytes(8 + random.below(100)), icmp = parse(data);
    icmp.type = ICMP.echoReply;
    sealIcmp(data, 0, data.length);
    assert.ok(icmp.checksumOk, `seed ${seed}`);
    icmp.check ^= 0x0100;
    assert.ok(!icmp.checksumOk, `seed ${seed}`);
  }
});

Deno.test("no bytes make the view throw or read outside of the message", () => {
  for (const data of golden) refusesCuts(new Icmp(), data, 8);
  const ip = new Ipv4();
  abuse(new Icmp(), golden, (icmp) => {
    if (ip.parseQuote(icmp.bytes, icmp.payloadAt, icmp.end) === undefined) assert.ok(ip.payloadAt <= ip.end);
  });
});
