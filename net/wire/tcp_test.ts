import assert from "node:assert/strict";
import { pseudoSum4 } from "../checksum.ts";
import { Ipv6 } from "./ipv6.ts";
import { PROTO } from "./ipv4.ts";
import { ACK, CWR, ECE, emitTcp, FIN, PSH, sealTcp, SYN, Tcp } from "./tcp.ts";
import { TcpOptions } from "./tcp_options.ts";
import { abuse, hex, Random, refusesCuts } from "./wire_fixture.ts";

/** From 10.0.0.1:43210 to 10.0.0.2:80: a SYN as Linux sends it, asking for ECN; and an acknowledgement with data. */
const syn = hex("a8ca 0050 89abcdef 00000000 a0c2 faf0 f330 0000 020405b4 0402 080a 11223344 00000000 01 030307");
const data = hex("a8ca 0050 89abcdf0 fffffffe 8018 01f6 7837 0000 0101 080a 11223399 00abcdef 474554202f0d0a");
const pseudo = (segment: Uint8Array) => pseudoSum4(0x0a000001, 0x0a000002, PROTO.tcp, segment.length);

Deno.test("a SYN, field by field", () => {
  const tcp = new Tcp(), options = new TcpOptions();
  assert.equal(tcp.parse(syn), undefined);
  assert.deepEqual([tcp.srcPort, tcp.dstPort, tcp.seq >>> 0, tcp.ack], [43210, 80, 0x89abcdef, 0]);
  assert.deepEqual([tcp.flags, tcp.window, tcp.urgent], [SYN | ECE | CWR, 64240, 0]);
  assert.deepEqual([tcp.optionsAt, tcp.payloadAt, tcp.payloadBytes, tcp.seqCount], [20, 40, 0, 1]);
  assert.equal(options.parse(tcp.bytes, tcp.optionsAt, tcp.payloadAt), undefined);
  assert.deepEqual([options.mss, options.windowScale], [1460, 7]);
  assert.ok(tcp.checksumOk(pseudo(syn)));
});

Deno.test("a segment with data, whose numbers are int32", () => {
  const tcp = new Tcp();
  assert.equal(tcp.parse(data), undefined);
  assert.deepEqual([tcp.seq, tcp.ack, tcp.flags], [0x89abcdf0 | 0, -2, PSH | ACK]);
  assert.deepEqual([tcp.payloadAt, tcp.payloadBytes, tcp.seqCount], [32, 7, 7]);
  assert.ok(tcp.checksumOk(pseudo(data)) && !tcp.checksumOk(pseudo(data) - 1));
  const fin = data.slice();
  fin[13] |= FIN;
  tcp.parse(fin);
  assert.equal(tcp.seqCount, 8);
});

Deno.test("emitTcp() and sealTcp() write what was parsed", () => {
  for (const segment of [syn, data]) {
    const tcp = new Tcp(), options = new TcpOptions(), out = segment.slice();
    tcp.parse(segment);
    options.parse(segment, tcp.optionsAt, tcp.payloadAt);
    out.fill(0xaa, 0, tcp.payloadAt);
    assert.equal(emitTcp(out, 0, tcp, options), tcp.payloadAt);
    sealTcp(out, 0, out.length, pseudo(out));
    assert.deepEqual(out, segment);
  }
});

Deno.test("random headers come back, sealed over IPv6's pseudo-header at an odd place", () => {
  const ip = new Ipv6(), head = hex(`60000000 0000 06 40 ${"20".repeat(16)} ${"fe".repeat(16)}`), tcp = new Tcp();
  ip.parse(head);
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed), out = random.bytes(200);
    const fields = {
      srcPort: random.below(65536),
      dstPort: random.below(65536),
      seq: random.below(2 ** 32) | 0,
      ack: random.below(2 ** 32) | 0,
      flags: random.below(256),
      window: random.below(65536),
      urgent: random.below(65536),
    };
    const end = emitTcp(out, 7, fields) + random.below(150), sum = ip.pseudoSum(PROTO.tcp, end - 7);
    sealTcp(out, 7, end, sum);
    assert.equal(tcp.parse(out, 7, end), undefined, `seed ${seed}`);
    for (const name of Object.keys(fields) as (keyof typeof fields)[]) assert.equal(tcp[name], fields[name], name);
    assert.ok(tcp.checksumOk(sum), `seed ${seed}`);
  }
});

Deno.test("setters write in place", () => {
  const out = syn.slice(), tcp = new Tcp();
  tcp.parse(out);
  tcp.srcPort = 1;
  tcp.dstPort = 2;
  tcp.seq = -3;
  tcp.ack = 4;
  tcp.flags = ACK;
  tcp.window = 5;
  tcp.check = 6;
  assert.deepEqual(out.subarray(0, 20), hex("0001 0002 fffffffd 00000004 a010 0005 0006 0000"));
});

Deno.test("a header length that is too small or runs out of the segment is refused", () => {
  for (
    const [nibble, fault] of [[0, "header"], [4, "header"], [5, undefined], [10, undefined], [11, "header"]] as const
  ) {
    const out = syn.slice();
    out[12] = nibble << 4;
    assert.equal(new Tcp().parse(out), fault, `${nibble * 4} bytes`);
  }
});

Deno.test("no bytes make the view throw or read outside of the segment", () => {
  const options = new TcpOptions();
  refusesCuts(new Tcp(), syn, 40);
  refusesCuts(new Tcp(), data, 32);
  abuse(new Tcp(), [syn, data], (tcp) => {
    tcp.checksumOk(0);
    options.parse(tcp.bytes, tcp.optionsAt, tcp.payloadAt);
  });
});
