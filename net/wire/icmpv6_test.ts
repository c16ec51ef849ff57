import assert from "node:assert/strict";
import { parseIp } from "../addr.ts";
import { emitIcmpv6, ICMPV6, Icmpv6, sealIcmpv6, UNREACHABLE6 } from "./icmpv6.ts";
import { PROTO } from "./ipv4.ts";
import { Ipv6, Ipv6Chain } from "./ipv6.ts";
import { abuse, hex, refusesCuts } from "./wire_fixture.ts";

const ENDS = "fe800000000000000000000000000001 fe800000000000000000000000000002";
const QUOTED = `60000000 05b4 00 40 ${ENDS} 06 00 010400000000 a8ca 0050 89abcdef`;
const echo = hex("8000 dedf 1234 0007 6162636465666768");
const tooBig = hex(`0200 90cd 00000500 ${QUOTED}`);
const port = hex(`0104 92c4 00000000 60000000 0008 11 40 ${ENDS} 0035 0036 0008 0000`);
const golden = [echo, tooBig, port];

function pseudo(data: Uint8Array): number {
  const ip = new Ipv6();
  ip.parse(hex(`60000000 0000 3a ff ${ENDS}`));
  return ip.pseudoSum(PROTO.icmpv6, data.length);
}

function parse(data: Uint8Array): Icmpv6 {
  const icmp = new Icmpv6();
  assert.equal(icmp.parse(data), undefined);
  return icmp;
}

Deno.test("an echo, field by field", () => {
  const icmp = parse(echo);
  assert.deepEqual([icmp.type, icmp.code, icmp.id, icmp.seq, icmp.payloadBytes], [ICMPV6.echo, 0, 0x1234, 7, 8]);
  assert.ok(!icmp.isError && icmp.checksumOk(pseudo(echo)));
});

Deno.test("errors, and the packet that they quote, extension headers and all", () => {
  const ip = new Ipv6(), chain = new Ipv6Chain(), big = parse(tooBig);
  assert.deepEqual([big.type, big.isError, big.mtu], [ICMPV6.packetTooBig, true, 1280]);
  assert.equal(ip.parse(tooBig, big.payloadAt), "length", "it is cut short");
  assert.equal(ip.parseQuote(tooBig, big.payloadAt, big.end), undefined);
  assert.ok(ip.isFor(parseIp("fe80::2")!));
  assert.equal(chain.walk(ip), undefined);
  assert.deepEqual([chain.proto, chain.payloadAt, ip.end], [PROTO.tcp, 56, 64]);
  assert.deepEqual([parse(port).type, parse(port).code], [ICMPV6.unreachable, UNREACHABLE6.port]);
  assert.equal(ip.parseQuote(tooBig, 8, 47), "short");
  assert.equal(ip.parseQuote(tooBig, 9, 64), "version");
});

Deno.test("emitIcmpv6() and sealIcmpv6() write what was parsed", () => {
  for (const data of golden) {
    assert.ok(parse(data).checksumOk(pseudo(data)));
    const out = data.slice();
    out.fill(0xaa, 0, 8);
    assert.equal(emitIcmpv6(out, 0, parse(data)), 8);
    sealIcmpv6(out, 0, out.length, pseudo(out));
    assert.deepEqual(out, data);
  }
});

Deno.test("no bytes make the view throw or read outside of the message", () => {
  const ip = new Ipv6(), chain = new Ipv6Chain();
  for (const data of golden) refusesCuts(new Icmpv6(), data, 8);
  abuse(new Icmpv6(), golden, (icmp) => {
    icmp.checksumOk(0);
    if (ip.parseQuote(icmp.bytes, icmp.payloadAt, icmp.end) === undefined) chain.walk(ip);
  });
});
