import assert from "node:assert/strict";
import { ipOf } from "../stack_fixture.ts";
import { ipv4Of } from "../addr.ts";
import { pseudoSum4, pseudoSum6 } from "../checksum.ts";
import { CHECKSUM, type FrameInfo, GSO, PLAIN } from "../link.ts";
import { emitEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { emitIpv4, Ipv4, PROTO } from "../wire/ipv4.ts";
import { emitIpv6 } from "../wire/ipv6.ts";
import { ACK, CWR, ECE, emitTcp, FIN, PSH, sealTcp, Tcp, URG } from "../wire/tcp.ts";
import { TcpOptions } from "../wire/tcp_options.ts";
import { Random } from "../wire/wire_fixture.ts";
import { Gro } from "./gro.ts";
import type { Iface } from "./iface.ts";

const MACS = { dst: Uint8Array.of(2, 0, 0, 0, 0, 1), src: Uint8Array.of(2, 0, 0, 0, 0, 2) };
const PAYLOAD = 1000;

/** What a segment is; what is not said is as in all others. */
interface Wish {
  seq: number;
  payload?: number;
  flags?: number;
  ack?: number;
  window?: number;
  ttl?: number;
  tos?: number;
  fragmentOffset?: number;
  src?: string;
  port?: number;
  stamp?: number;
  v6?: boolean;
}

/** A frame; the byte of number n of the stream is n * 31 >> 3. */
function frameOf(wish: Wish): Uint8Array {
  const { seq, payload = PAYLOAD, flags = ACK, ack = 7, window = 500, ttl = 64, tos = 0, v6 = false } = wish;
  const src = ipOf(wish.src ?? (v6 ? "fd00::2" : "10.0.0.2")), dst = ipOf(v6 ? "fd00::1" : "10.0.0.1");
  const bytes = new Uint8Array(14 + (v6 ? 40 : 20) + 32 + payload), options = new TcpOptions();
  options.timestamps = true;
  options.tsVal = wish.stamp ?? 1;
  const ipAt = emitEthernet(bytes, 0, { ...MACS, type: v6 ? ETHERTYPE.ipv6 : ETHERTYPE.ipv4 });
  const payloadBytes = 32 + payload, { fragmentOffset = 0 } = wish;
  const more = { dontFragment: fragmentOffset === 0, moreFragments: false, fragmentOffset, payloadBytes };
  const tcpAt = v6
    ? emitIpv6(bytes, ipAt, { trafficClass: tos, flowLabel: 1, next: PROTO.tcp, hopLimit: ttl, src, dst, payloadBytes })
    : emitIpv4(bytes, ipAt, {
      ...more,
      tos,
      id: seq & 0xffff,
      ttl,
      proto: PROTO.tcp,
      src: ipv4Of(src),
      dst: ipv4Of(dst),
    });
  const fields = { srcPort: wish.port ?? 5000, dstPort: 9, seq, ack, flags, window, urgent: 0 };
  const at = emitTcp(bytes, tcpAt, fields, options);
  for (let i = 0; i < payload; i++) bytes[at + i] = (seq + i) * 31 >> 3;
  const pseudo = v6
    ? pseudoSum6(bytes, ipAt + 8, PROTO.tcp, payloadBytes)
    : pseudoSum4(ipv4Of(src), ipv4Of(dst), PROTO.tcp, payloadBytes);
  sealTcp(bytes, tcpAt, bytes.length, pseudo);
  return bytes;
}

/** A segment that was delivered, and of how many bytes it says that it was made. */
interface Seen {
  seq: number;
  payload: number;
  flags: number;
  gsoBytes: number;
}

/** A Gro, and what has gone up, in order. */
class Bench {
  readonly seen: Seen[] = [];
  readonly iface = { isEther: true, counters: { in: 0 } } as Iface;
  readonly gro = new Gro((_, bytes, at, end, info) => this.#note(bytes, at, end, info));

  send(frame: Uint8Array, info: FrameInfo = PLAIN, iface = this.iface): void {
    // As a device does it: one buffer for all frames.
    const lent = frame.slice();
    if (!this.gro.take(iface, lent, 0, lent.length, info)) this.#note(lent, 0, lent.length, info);
    lent.fill(0);
  }

  #note(bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
    const isV4 = bytes[at + 14] >>> 4 === 4, tcp = new Tcp(), ip = new Ipv4();
    if (isV4) {
      assert.equal(ip.parse(bytes, at + 14, end), undefined);
      assert.equal(ip.end, end);
    }
    assert.equal(tcp.parse(bytes, at + (isV4 ? 34 : 54), end), undefined);
    if (info.gso !== GSO.none) {
      assert.ok(!isV4 || ip.checksumOk);
      assert.equal(info.checksum, CHECKSUM.good);
      assert.equal(info.gso, isV4 ? GSO.tcp4 : GSO.tcp6);
    }
    const { seq, flags, payloadAt } = tcp;
    for (let i = payloadAt; i < end; i++) assert.equal(bytes[i], (seq + i - payloadAt) * 31 >> 3 & 255);
    this.seen.push({ seq, flags, payload: end - payloadAt, gsoBytes: info.gsoBytes });
  }

  /** The payloads that went up since the last time, in order. */
  taken(): number[] {
    this.gro.flush();
    return this.seen.splice(0).map(({ payload }) => payload);
  }
}

Deno.test("segments of a stream go up as one, behind the first, in both versions; a batch's end is the end", () => {
  for (const v6 of [false, true]) {
    const bench = new Bench();
    for (let i = 0; i < 10; i++) bench.send(frameOf({ seq: -3000 + i * PAYLOAD, v6 }));
    bench.gro.flush();
    assert.deepEqual(bench.seen, [
      { seq: -3000, flags: ACK, payload: PAYLOAD, gsoBytes: 0 },
      { seq: -2000, flags: ACK, payload: 9 * PAYLOAD, gsoBytes: PAYLOAD },
    ]);
    assert.equal(bench.iface.counters.in, 8);
    bench.send(frameOf({ seq: 7000, v6 }));
    assert.deepEqual(bench.taken(), [PAYLOAD, 9 * PAYLOAD, PAYLOAD]);
  }
});

Deno.test("PSH and a shorter segment end what is merged, with them; it never grows beyond an IP packet", () => {
  const bench = new Bench();
  for (let i = 0; i < 4; i++) bench.send(frameOf({ seq: i * PAYLOAD, flags: i === 2 ? ACK | PSH : ACK }));
  assert.equal(bench.seen[1].flags, ACK | PSH);
  assert.deepEqual(bench.taken(), [PAYLOAD, 2 * PAYLOAD, PAYLOAD]);
  bench.send(frameOf({ seq: 4 * PAYLOAD }));
  bench.send(frameOf({ seq: 5 * PAYLOAD, payload: 10 }));
  bench.send(frameOf({ seq: 5 * PAYLOAD + 10 }));
  assert.deepEqual(bench.taken(), [PAYLOAD + 10, PAYLOAD]);
  for (let i = 0; i < 80; i++) bench.send(frameOf({ seq: 9000 + i * 1460, payload: 1460 }));
  assert.deepEqual(bench.taken(), [1460, 44 * 1460, 1460, 34 * 1460]);
});

Deno.test("what differs in anything else is not merged, and order is kept", () => {
  const other: Omit<Wish, "seq">[] = [
    { flags: ACK | FIN },
    { flags: ACK | URG },
    { flags: ACK | CWR },
    { flags: ACK | ECE },
    { ack: 8 },
    { window: 501 },
    { ttl: 63 },
    { tos: 3 },
    { src: "10.0.0.3" },
    { port: 5001 },
    { stamp: 2 },
    { payload: PAYLOAD + 1 },
    { payload: 0 },
    { fragmentOffset: 8 },
  ];
  for (const change of other) {
    const bench = new Bench(), payload = change.payload ?? PAYLOAD;
    for (let i = 0; i < 3; i++) bench.send(frameOf({ seq: i * PAYLOAD }));
    bench.send(frameOf({ seq: 3 * PAYLOAD, ...change }));
    bench.send(frameOf({ seq: 3 * PAYLOAD + payload }));
    assert.deepEqual(bench.seen.map(({ seq }) => seq).slice(0, 3), [0, PAYLOAD, 3 * PAYLOAD], JSON.stringify(change));
    assert.deepEqual(bench.taken().slice(1, 3), [2 * PAYLOAD, payload], JSON.stringify(change));
  }
});

Deno.test("a gap, a duplicate, a wrong checksum or length, another interface, and what a device has merged are not merged", () => {
  const good = frameOf({ seq: 2 * PAYLOAD });
  const damaged = (at: number) => good.map((byte, i) => i === at ? byte ^ 1 : byte);
  const cases: [string, Uint8Array, FrameInfo?][] = [
    ["gap", frameOf({ seq: 3 * PAYLOAD })],
    ["duplicate", frameOf({ seq: PAYLOAD })],
    ["TCP's checksum", damaged(14 + 20 + 16)],
    ["IP's checksum", damaged(14 + 10)],
    ["merged", good, { ...PLAIN, gso: GSO.tcp4, checksum: CHECKSUM.good, gsoBytes: 500 }],
    ["checksum to be added", good, { ...PLAIN, checksum: CHECKSUM.partial }],
  ];
  for (const [name, frame, info] of cases) {
    const bench = new Bench();
    for (let i = 0; i < 2; i++) bench.send(frameOf({ seq: i * PAYLOAD }));
    bench.gro.flush();
    const lent = frame.slice();
    assert.equal(bench.gro.take(bench.iface, lent, 0, lent.length, info ?? PLAIN), false, name);
  }
  const bench = new Bench();
  for (let i = 0; i < 2; i++) bench.send(frameOf({ seq: i * PAYLOAD }));
  bench.send(good, PLAIN, { ...bench.iface } as Iface);
  assert.deepEqual(bench.taken(), [PAYLOAD, PAYLOAD, PAYLOAD]);
  const longer = new Uint8Array(good.length + 2);
  longer.set(good);
  assert.equal(bench.gro.take(bench.iface, longer, 0, longer.length, PLAIN), false, "padding");
});

Deno.test("two streams that alternate, and small segments, pass as they are: nothing is copied for them", () => {
  const bench = new Bench();
  for (let i = 0; i < 20; i++) {
    for (const port of [5000, 5001]) bench.send(frameOf({ seq: i * PAYLOAD, port }));
  }
  assert.equal(bench.taken().length, 40);
  for (let i = 0; i < 20; i++) bench.send(frameOf({ seq: i * 64, payload: 64 }));
  assert.equal(bench.taken().length, 20);
});

Deno.test("whatever comes: every byte goes up once, in the order in which it came", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const bench = new Bench(), random = new Random(seed), came: number[] = [], next = [0, 0];
    for (let i = 0; i < 300; i++) {
      const flow = random.below(8) === 0 ? 1 : 0, payload = random.below(10) === 0 ? 600 + random.below(400) : PAYLOAD;
      if (random.below(30) === 0) next[flow] += 1000 - random.below(3) * 1000;
      const flags = random.below(12) === 0 ? ACK | PSH : ACK, stamp = i >> 5;
      bench.send(frameOf({ seq: next[flow], payload, flags, stamp, port: 5000 + flow }));
      came.push(next[flow], payload);
      next[flow] += payload;
      if (random.below(40) === 0) bench.gro.flush();
    }
    bench.gro.flush();
    const went = bench.seen.flatMap(({ seq, payload, gsoBytes }) => {
      const step = gsoBytes || payload, count = Math.ceil(payload / step);
      return Array.from({ length: count }, (_, i) => [seq + i * step, Math.min(step, payload - i * step)]).flat();
    });
    assert.deepEqual(went, came, `seed ${seed}`);
    assert.ok(bench.seen.length < 250, `seed ${seed}: ${bench.seen.length} of 300 went up`);
  }
});
