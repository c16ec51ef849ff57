/**
 * What the whole stack does, TCP on IP on a cable between two stacks of one process: one stream in super-packets and in
 * frames of 1,500 bytes, and a question and an answer of 64 bytes. One core does the work of both sides.
 *
 * Run: deno task bench net_stack [--json]
 */

import { Err } from "../core/err.ts";
import { parseIp, UNSPECIFIED } from "../net/addr.ts";
import { type FrameInfo, type Link, PLAIN } from "../net/link.ts";
import { Stack } from "../net/stack.ts";
import type { Conn } from "../net/tcp/conn.ts";
import { Random } from "../net/wire/wire_fixture.ts";
import { onOff, readFlags } from "./flags.ts";

const { json } = readFlags("net_stack", { json: onOff() });

/** A link whose frames lie one behind the other until the other side takes them. */
class Cable implements Link {
  readonly medium = "ether";
  readonly mtu = 1500;
  frame = new Uint8Array(4 << 20);
  frameAt = 0;
  onRoom = () => {};
  #spare = new Uint8Array(4 << 20);
  #ends: number[] = [];
  #infos: FrameInfo[] = [];

  constructor(
    readonly name: string,
    readonly mac: Uint8Array,
    readonly checksumOffload: boolean,
    readonly gsoMaxBytes: number,
  ) {}

  begin(bytes: number): boolean {
    return this.frameAt + bytes <= this.frame.length;
  }
  end(bytes: number, info: FrameInfo): void {
    const i = this.#ends.length / 2;
    this.#ends.push(this.frameAt, this.frameAt + bytes);
    Object.assign(this.#infos[i] ??= { ...PLAIN }, info);
    this.frameAt += bytes + 7 & ~7;
  }
  cancel(): void {}
  flush(): void {}

  /** Gives what was sent to the other side; answers how many frames. */
  deliver(stack: Stack, link: Link, now: number): number {
    const { frame } = this, ends = this.#ends;
    this.frame = this.#spare;
    this.frameAt = 0;
    this.#ends = [];
    for (let i = 0; i < ends.length; i += 2) stack.input(link, frame, ends[i], ends[i + 1], this.#infos[i / 2], now);
    this.#spare = frame;
    if (ends.length > 0) this.onRoom();
    return ends.length / 2;
  }
}

class Pair {
  now = 0;
  readonly left: Stack;
  readonly right: Stack;
  readonly #cables: Cable[];

  constructor(checksumOffload: boolean, gsoMaxBytes: number) {
    const make = (n: number) => {
      const random = new Random(n), options = { random: (b: Uint8Array) => b.set(random.bytes(b.length)) };
      const cable = new Cable(`ether${n}`, Uint8Array.of(2, 0, 0, 0, 0, n), checksumOffload, gsoMaxBytes);
      const stack = new Stack(options, 0), iface = stack.bind(cable, 0);
      stack.ip.addresses.add(iface, { ip: parseIp(`10.0.0.${n}`)!, bits: 120 }, false);
      return { cable, stack };
    };
    const [a, b] = [make(1), make(2)];
    this.left = a.stack;
    this.right = b.stack;
    this.#cables = [a.cable, b.cable];
  }

  /** One turn of both sides. */
  turn(): void {
    const [a, b] = this.#cables;
    this.left.poll(this.now);
    a.deliver(this.right, b, this.now);
    this.right.poll(this.now);
    b.deliver(this.left, a, this.now);
    this.now = performance.now();
  }
}

const results: Record<string, number> = {};

function connected(pair: Pair): { client: Conn; server: Conn } {
  const listener = pair.right.tcp.listen(UNSPECIFIED, 7);
  const client = pair.left.tcp.connect(parseIp("10.0.0.2")!, 7, {}, pair.now);
  if (listener instanceof Err || client instanceof Err) throw listener;
  let server: Conn | undefined;
  while ((server = listener.accept()) === undefined || !client.connected) pair.turn();
  return { client, server };
}

function stream(name: string, checksumOffload: boolean, gsoMaxBytes: number, mebibytes: number): void {
  const pair = new Pair(checksumOffload, gsoMaxBytes), { client, server } = connected(pair);
  const block = new Uint8Array(1 << 18).fill(3), total = mebibytes * 2 ** 20;
  let got = 0;
  let begun = 0, start = 0;
  server.onEvents = () => {
    for (let piece = server.peek(); piece.length > 0; piece = server.peek()) {
      got += piece.length;
      server.consume(piece.length);
    }
  };
  while (got < total) {
    client.write(block);
    pair.turn();
    // The first quarter warms up.
    if (start === 0 && got > total / 4) [start, begun] = [performance.now(), got];
  }
  results[name] = Math.round((got - begun) * 8 / (performance.now() - start) / 1000);
}

stream("stream, super-packets, Mbit/s", true, 65_535, 8000);
stream("stream, 1,500 B, checksums by the link, Mbit/s", true, 0, 1000);
stream("stream, 1,500 B, no offload, Mbit/s", false, 0, 1000);

const pair = new Pair(false, 0),
  { client, server } = connected(pair),
  into = new Uint8Array(64),
  word = new Uint8Array(64);
server.onEvents = () => server.available >= 64 && server.read(into) && server.write(word);
client.setNodelay(true);
server.setNodelay(true);
let best = 0;
for (let run = 0; run < 5; run++) {
  const start = performance.now(), rounds = 20_000;
  for (let i = 0; i < rounds; i++) {
    client.write(word);
    while (client.available < 64) pair.turn();
    client.read(into);
  }
  best = Math.max(best, rounds / (performance.now() - start) * 1000);
}
results["request and response of 64 B, per second"] = Math.round(best);

if (json) console.log(JSON.stringify({ name: "net_stack", results }));
else {for (const [name, value] of Object.entries(results)) {
    console.log(`${name.padEnd(60)} ${String(value).padStart(10)}`);
  }}
