import assert from "node:assert/strict";
import { pseudoSum4, pseudoSum6 } from "../checksum.ts";
import { emitIpv4, Ipv4, PROTO } from "../wire/ipv4.ts";
import { emitIpv6, Ipv6, Ipv6Chain } from "../wire/ipv6.ts";
import { ACK, CWR, emitTcp, FIN, PSH, Tcp } from "../wire/tcp.ts";
import { fragment4, fragment6, segment } from "./fragment.ts";

const SRC = 0x0a000001, DST = 0x0a000002;
const IP6 = Uint8Array.from({ length: 16 }, (_, i) => i);

function packet4(payloadBytes: number, options?: Uint8Array, moreFragments = false, fragmentOffset = 0): Uint8Array {
  const bytes = new Uint8Array(70_000);
  const at = emitIpv4(bytes, 0, {
    tos: 0x5c,
    id: 77,
    dontFragment: false,
    moreFragments,
    fragmentOffset,
    ttl: 9,
    proto: 17,
    src: SRC,
    dst: DST,
    payloadBytes,
  }, options);
  for (let i = 0; i < payloadBytes; i++) bytes[at + i] = i * 5;
  return bytes.slice(0, at + payloadBytes);
}

Deno.test("IPv4 fragments are packets that fit, and their data is the packet's", () => {
  for (const [mtu, size] of [[576, 1500], [68, 300], [1500, 1473], [1280, 65_515]]) {
    const bytes = packet4(size), ip = new Ipv4(), data: number[] = [];
    const count = fragment4(bytes, 0, bytes.length, mtu, (piece, end) => {
      assert.ok(end <= mtu);
      assert.equal(ip.parse(piece, 0, end), undefined);
      assert.ok(ip.checksumOk && ip.id === 77 && ip.ttl === 9 && ip.tos === 0x5c && ip.end === end);
      assert.equal(ip.fragmentOffset, data.length);
      data.push(...piece.subarray(ip.payloadAt, end));
      assert.equal(ip.moreFragments, data.length < size);
    });
    assert.equal(count, Math.ceil(size / (mtu - 20 & ~7)));
    assert.deepEqual(Uint8Array.from(data), bytes.subarray(20));
  }
});

Deno.test("a fragment is cut again, and only options that belong into each are copied", () => {
  const options = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0);
  const bytes = packet4(800, options, true, 1600), ip = new Ipv4(), seen: number[][] = [];
  fragment4(bytes, 0, bytes.length, 576, (piece, end) => {
    assert.equal(ip.parse(piece, 0, end), undefined);
    assert.ok(ip.checksumOk && ip.moreFragments);
    seen.push([ip.fragmentOffset, ip.option(7) >= 0 ? 1 : 0, ip.option(148) >= 0 ? 1 : 0]);
  });
  assert.deepEqual(seen, [[1600, 1, 1], [1600 + 544, 0, 1]]);
});

Deno.test("IPv6 fragments are packets that fit, and their data is the packet's", () => {
  const bytes = new Uint8Array(3040), ip = new Ipv6(), chain = new Ipv6Chain(), data: number[] = [];
  const fields = { trafficClass: 3, flowLabel: 5, next: 17, hopLimit: 64, src: IP6, dst: IP6, payloadBytes: 3000 };
  emitIpv6(bytes, 0, fields);
  for (let i = 40; i < 3040; i++) bytes[i] = i * 5;
  fragment6(bytes, 0, bytes.length, 1280, -7, (piece, end) => {
    assert.ok(end <= 1280);
    assert.equal(ip.parse(piece, 0, end) ?? chain.walk(ip), undefined);
    assert.deepEqual([chain.fragmentId(ip), chain.proto, chain.fragmentOffset(ip)], [-7, 17, data.length]);
    data.push(...piece.subarray(chain.payloadAt, end));
    assert.equal(chain.moreFragments(ip), data.length < 3000);
  });
  assert.deepEqual(Uint8Array.from(data), bytes.subarray(40));
});

Deno.test("a super-packet is cut into segments whose numbers, flags and checksums are right, in both versions", () => {
  for (const v4 of [true, false]) {
    const bytes = new Uint8Array(70_000), payload = 10_000, tcpBytes = 20 + payload;
    const common = { src: IP6, dst: IP6, payloadBytes: tcpBytes };
    const at = v4
      ? emitIpv4(bytes, 0, {
        tos: 2,
        id: 0xffff,
        dontFragment: true,
        moreFragments: false,
        fragmentOffset: 0,
        ttl: 64,
        proto: PROTO.tcp,
        src: SRC,
        dst: DST,
        payloadBytes: tcpBytes,
      })
      : emitIpv6(bytes, 0, { ...common, trafficClass: 2, flowLabel: 1, next: PROTO.tcp, hopLimit: 64 });
    const dataAt = emitTcp(bytes, at, {
      srcPort: 1,
      dstPort: 2,
      seq: -100,
      ack: 5,
      flags: ACK | PSH | FIN | CWR,
      window: 9,
      urgent: 0,
    });
    for (let i = 0; i < payload; i++) bytes[dataAt + i] = i * 3;
    const data: number[] = [], tcp = new Tcp(), ip4 = new Ipv4(), ip6 = new Ipv6();
    let count = 0;
    const where = { transportAt: at, headersEnd: dataAt, payload: 1440 };
    segment(bytes, 0, dataAt + payload, where, (piece, end) => {
      const ip = v4 ? ip4 : ip6;
      assert.equal(ip.parse(piece, 0, end), undefined);
      assert.equal(ip.end, end);
      if (v4) assert.ok(ip4.checksumOk && ip4.id === (0xffff + count & 0xffff));
      assert.equal(tcp.parse(piece, at, end), undefined);
      const pseudo = v4 ? pseudoSum4(SRC, DST, 6, end - at) : pseudoSum6(piece, 8, 6, end - at);
      assert.ok(tcp.checksumOk(pseudo));
      assert.equal(tcp.seq, -100 + data.length | 0);
      data.push(...piece.subarray(tcp.payloadAt, end));
      const last = data.length === payload;
      assert.equal(tcp.flags, ACK | (last ? PSH | FIN : 0) | (count === 0 ? CWR : 0));
      count++;
    });
    assert.equal(count, 7);
    assert.deepEqual(Uint8Array.from(data), bytes.subarray(dataAt, dataAt + payload));
  }
});
