/**
 * What the wire formats cost: the Internet checksum at the sizes of a header, a frame and a super-frame, in one arena of
 * shared memory, at even and odd offsets; and reading and writing the headers of a TCP segment.
 *
 * Run: deno task bench net_wire [--json]
 */

import { checksum, updateChecksum } from "../net/checksum.ts";
import { Ethernet } from "../net/wire/ethernet.ts";
import { emitIpv4, Ipv4, PROTO } from "../net/wire/ipv4.ts";
import { ACK, emitTcp, sealTcp, Tcp } from "../net/wire/tcp.ts";
import { TcpOptions } from "../net/wire/tcp_options.ts";
import { Random } from "../net/wire/wire_fixture.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("net_wire", { json: onOff() });

const results: Record<string, number> = {};
const arena = new Uint8Array(new SharedArrayBuffer(1 << 20));
arena.set(new Random(1).bytes(1 << 17));
let sink = 0;

/** Best of seven runs: nanoseconds for one call of `fn`. */
function measure(name: string, calls: number, fn: (i: number) => number): void {
  let best = Infinity;
  for (let run = 0; run < 7; run++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) sink ^= fn(i);
    best = Math.min(best, (performance.now() - start) * 1e6 / calls);
  }
  results[name] = Math.round(best * 10) / 10;
}

for (const [bytes, calls] of [[20, 2_000_000], [64, 2_000_000], [1460, 500_000], [65_536, 10_000]]) {
  measure(`checksum of ${bytes} B`, calls, (i) => checksum(arena, (i & 7) * 4, (i & 7) * 4 + bytes));
  measure(
    `checksum of ${bytes} B, odd offset`,
    calls,
    (i) => checksum(arena, (i & 7) * 4 + 1, (i & 7) * 4 + 1 + bytes),
  );
}
measure("update of a checksum", 5_000_000, (i) => updateChecksum(i & 0xffff, 0x4006, 0x3f06));

const frame = new Ethernet(), ip = new Ipv4(), tcp = new Tcp(), options = new TcpOptions(), seen = new TcpOptions();
const header = {
  tos: 0,
  id: 0,
  dontFragment: true,
  moreFragments: false,
  fragmentOffset: 0,
  ttl: 64,
  proto: PROTO.tcp,
  src: 0x0a000001,
  dst: 0x0a000002,
  payloadBytes: 1480,
};
const fields = { srcPort: 43210, dstPort: 80, seq: -5, ack: 7, flags: ACK, window: 501, urgent: 0 };
options.timestamps = true;

/** Writes the headers of a segment of 1,448 bytes at `at`, but for TCP's checksum. */
function emit(at: number, seq: number): number {
  fields.seq = seq;
  return emitTcp(arena, emitIpv4(arena, at + 14, header), fields, options);
}

/** Reads the same down to its options. */
function parse(at: number): number {
  if (frame.parse(arena, at, at + 1514) !== undefined) return -1;
  if (ip.parse(arena, frame.payloadAt, frame.end) !== undefined || !ip.checksumOk) return -2;
  if (tcp.parse(arena, ip.payloadAt, ip.end) !== undefined) return -3;
  if (seen.parse(arena, tcp.optionsAt, tcp.payloadAt) !== undefined) return -4;
  return tcp.seq + tcp.ack + tcp.window + seen.tsVal | 0;
}

measure("emit of IPv4 and TCP headers", 1_000_000, (i) => emit(i & 0xffc, i | 0));
emit(0, -1);
if (parse(0) !== 507) throw new Error("the segment was not read as it was written");
measure("parse of Ethernet, IPv4 with checksum, TCP and options", 1_000_000, () => parse(0));
measure("seal of a segment of 1,480 B", 500_000, () => {
  sealTcp(arena, 34, 1514, ip.pseudoSum);
  return tcp.check;
});

if (json) console.log(JSON.stringify({ name: "net_wire", unit: "ns", results }));
else for (const [name, ns] of Object.entries(results)) console.log(`${String(ns).padStart(8)} ns  ${name}`);
if (sink === 0.5) console.log(sink);
