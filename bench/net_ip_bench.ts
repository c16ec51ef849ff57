/**
 * What IP costs: UDP datagrams through two stacks in one process, and one frame in or out by itself.
 *
 * Two stacks are joined by links in one array of bytes each; nothing is copied between them but what a device would copy.
 * "sent and received" is the whole way: send, headers, checksum, link, Ethernet, IP, UDP, queue, recv.
 *
 * Run: deno task bench net_ip [--json]
 */

import { type FrameInfo, type Link, PLAIN } from "../net/link.ts";
import { ipFromV4, parseIp } from "../net/addr.ts";
import { Stack } from "../net/stack.ts";
import { CONTROL } from "../net/ip/output.ts";
import type { Transport } from "../net/tcp/lower.ts";
import { Random } from "../net/wire/wire_fixture.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("net_ip", { json: onOff() });

/** A link whose frames lie one behind the other until they are flushed to the other side. */
class Cable implements Link {
  readonly medium = "ether";
  readonly mtu = 1500;
  readonly frame = new Uint8Array(1 << 20);
  frameAt = 0;
  onRoom = () => {};
  peer: ((bytes: Uint8Array, at: number, end: number, info: FrameInfo) => void) | undefined;
  readonly #ends: number[] = [];

  constructor(
    readonly name: string,
    readonly mac: Uint8Array,
    readonly checksumOffload: boolean,
    readonly gsoMaxBytes: number,
  ) {}

  begin(bytes: number): boolean {
    return this.frameAt + bytes <= this.frame.length;
  }
  end(bytes: number): void {
    this.#ends.push(this.frameAt, this.frameAt + bytes);
    this.frameAt += bytes + 7 & ~7;
  }
  cancel(): void {}
  flush(): void {
    const ends = this.#ends;
    for (let i = 0; i < ends.length; i += 2) this.peer?.(this.frame, ends[i], ends[i + 1], PLAIN);
    ends.length = 0;
    this.frameAt = 0;
  }
}

let now = 0;

function stackOn(name: string, n: number, offload: boolean): { stack: Stack; link: Cable } {
  const random = new Random(n), stack = new Stack({ random: (bytes) => bytes.set(random.bytes(bytes.length)) }, now);
  const link = new Cable(name, Uint8Array.of(2, 0, 0, 0, 0, n), offload, offload ? 65535 : 0);
  const iface = stack.bind(link, now);
  stack.ip.addresses.add(iface, { ip: ipFromV4(0x0a000000 | n), bits: 120 }, false);
  stack.ip.addresses.add(iface, { ip: parseIp(`fd00::${n}`)!, bits: 64 }, false);
  return { stack, link };
}

const results: Record<string, number> = {};

/** Best of five runs: nanoseconds for one of `calls`. */
function measure(name: string, calls: number, fn: (calls: number) => void): void {
  let best = Infinity;
  for (let run = 0; run < 5; run++) {
    const start = performance.now();
    fn(calls);
    best = Math.min(best, (performance.now() - start) * 1e6 / calls);
  }
  results[name] = Math.round(best);
}

const left = stackOn("left", 1, false), right = stackOn("right", 2, false);
left.link.peer = (bytes, at, end, info) => right.stack.input(right.link, bytes, at, end, info, now);
right.link.peer = (bytes, at, end, info) => left.stack.input(left.link, bytes, at, end, info, now);

function settle(): void {
  for (let i = 0; i < 4; i++) {
    left.stack.poll(now);
    right.stack.poll(now);
  }
}

settle();
const into = new Uint8Array(2048);
for (const [version, to] of [["IPv4", "10.0.0.2"], ["IPv6", "fd00::2"]]) {
  const server = right.stack.udp.open(), client = left.stack.udp.open();
  server.announce(9, parseIp(to)!);
  client.connect(parseIp(to)!, 9);
  client.send(into, 0, 1, now);
  settle();
  server.queue.clear();
  for (const bytes of [64, 1400]) {
    const data = new Uint8Array(bytes).fill(5);
    measure(`UDP of ${bytes} B over ${version}, sent and received`, 200_000, (calls) => {
      for (let i = 0; i < calls; i += 32) {
        for (let k = 0; k < 32; k++) client.send(data, 0, bytes, now);
        left.stack.poll(now);
        for (let k = 0; k < 32; k++) {
          if (server.recv(into, 0, into.length) !== bytes) throw new Error("a datagram did not arrive");
        }
      }
    });
  }
  server.close();
  client.close();
}

/** A transport that counts: what IP alone costs. */
const sink: Transport & { count: number } = {
  count: 0,
  input(): boolean {
    this.count++;
    return true;
  },
  trouble: () => false,
};

const PROTO_TEST = 253;
right.stack.ip.setTransport(PROTO_TEST, sink);
for (const [version, to] of [["IPv4", "10.0.0.2"], ["IPv6", "fd00::2"]]) {
  const { output } = left.stack.ip, path = output.path(parseIp(to)!, parseIp("::")!);
  if (typeof path === "string") throw new Error(path);
  const frames: Uint8Array[] = [];
  const carry: typeof left.link.peer = left.link.peer;
  left.link.peer = (bytes, at, end) => frames.push(bytes.slice(at, end));
  output.begin(path, PROTO_TEST, 1460);
  output.end(1460, -1, CONTROL);
  output.flush();
  const [frame] = frames;
  measure(`input of a frame of 1,494 B, ${version}, without its transport`, 2_000_000, (calls) => {
    for (let i = 0; i < calls; i++) right.stack.input(right.link, frame, 0, frame.length, PLAIN, now);
  });
  left.link.peer = undefined;
  measure(`output of a packet of 1,460 B, ${version}, headers alone`, 2_000_000, (calls) => {
    for (let i = 0; i < calls; i++) {
      output.begin(path, PROTO_TEST, 1460);
      output.end(1460, -1, CONTROL);
      if ((i & 127) === 0) output.flush();
    }
  });
  left.link.peer = carry;
}
if (sink.count < 2_000_000) throw new Error("frames did not arrive");

const echo = left.stack.icmp.open(true);
echo.connect(ipFromV4(0x0a000002));
const request = new Uint8Array(64);
request[0] = 8;
measure("ping of 64 B and its reply", 100_000, (calls) => {
  for (let i = 0; i < calls; i++) {
    echo.send(request, 0, 64, now);
    left.stack.poll(now);
    right.stack.poll(now);
    if (echo.recv(into, 0, into.length) !== 84) throw new Error("no reply");
  }
});
now++;

if (json) console.log(JSON.stringify({ name: "net_ip", unit: "ns", results }));
else {
  for (const [name, ns] of Object.entries(results)) {
    console.log(
      `${name.padEnd(66)} ${String(ns).padStart(8)} ns ${Math.round(1e9 / ns).toLocaleString("en").padStart(12)}/s`,
    );
  }
}
