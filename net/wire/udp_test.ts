import assert from "node:assert/strict";
import { pseudoSum4 } from "../checksum.ts";
import { Ipv4, PROTO } from "./ipv4.ts";
import { emitUdp, sealUdp, Udp } from "./udp.ts";
import { abuse, hex, Random, refusesCuts } from "./wire_fixture.ts";

/** A DNS question for example.com from 10.0.0.1 to 10.0.0.2. */
const datagram = hex(
  "d431 0035 0025 3599 1234 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 0001 0001",
);
const pseudo = pseudoSum4(0x0a000001, 0x0a000002, PROTO.udp, datagram.length);

Deno.test("a datagram, field by field", () => {
  const udp = new Udp();
  assert.equal(udp.parse(datagram), undefined);
  assert.deepEqual([udp.srcPort, udp.dstPort, udp.payloadAt, udp.payloadBytes], [54321, 53, 8, 29]);
  assert.ok(udp.checksumOk(pseudo));
  assert.ok(!udp.checksumOk(pseudo + 1));
});

Deno.test("emitUdp() and sealUdp() write what was parsed", () => {
  const udp = new Udp(), out = datagram.slice();
  udp.parse(datagram);
  out.fill(0xaa, 0, 8);
  assert.equal(emitUdp(out, 0, udp), 8);
  sealUdp(out, 0, out.length, pseudo);
  assert.deepEqual(out, datagram);
});

Deno.test("a checksum that comes out as 0 is sent as 0xffff, and is right", () => {
  const out = new Uint8Array(10), udp = new Udp();
  emitUdp(out, 0, { srcPort: 0, dstPort: 0, payloadBytes: 2 });
  out.set(hex("fff5"), 8);
  sealUdp(out, 0, 10, 0);
  assert.equal(udp.parse(out), undefined);
  assert.equal(udp.check, 0xffff);
  assert.ok(udp.checksumOk(0));
});

Deno.test("a changed byte is seen inside of IPv4", () => {
  const seed = 768, random = new Random(seed), ip = new Ipv4(), udp = new Udp();
  const data = hex("4500 001c 0000 4000 4011 b8b8 c0a8 0001 c0a8 00c7 0035 e97c 0008 0000");
  assert.equal(ip.parse(data), undefined);
  sealUdp(data, ip.payloadAt, ip.end, ip.pseudoSum);
  assert.equal(udp.parse(data, ip.payloadAt, ip.end), undefined);
  assert.ok(udp.checksumOk(ip.pseudoSum));
  for (let i = 0; i < 50; i++) {
    const at = 12 + random.below(12), bit = 1 << random.below(8);
    data[at] ^= bit;
    assert.ok(!udp.checksumOk(ip.pseudoSum), `seed ${seed}, turn ${i}`);
    data[at] ^= bit;
  }
});

Deno.test("a length that contradicts the bytes is refused; bytes behind it are left out", () => {
  const udp = new Udp(), longer = new Uint8Array(60);
  longer.set(datagram);
  assert.equal(udp.parse(longer), undefined);
  assert.equal(udp.end, 37);
  for (const length of [0, 7, 61]) {
    longer[5] = length;
    assert.equal(udp.parse(longer), "length", `length ${length}`);
  }
});

Deno.test("no bytes make the view throw or read outside of the datagram", () => {
  refusesCuts(new Udp(), datagram);
  abuse(new Udp(), [datagram], (udp) => udp.checksumOk(0));
});
