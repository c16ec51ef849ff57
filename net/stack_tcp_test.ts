import assert from "node:assert/strict";
import { Err } from "../core/err.ts";
import { UNSPECIFIED } from "./addr.ts";
import { ipOf, type LinkOptions, Wire } from "./stack_fixture.ts";
import { Stack } from "./stack.ts";
import type { Conn } from "./tcp/conn.ts";
import { Random } from "./wire/wire_fixture.ts";

const PORT = 564;

/** Sends `total` bytes whose value is their position times 7, as far as there is room. */
class Sender {
  sent = 0;
  constructor(readonly total: number) {}

  attach(conn: Conn): void {
    conn.onEvents = () => this.push(conn);
    this.push(conn);
  }

  push(conn: Conn): void {
    while (conn.connected && this.sent < this.total) {
      const chunk = Math.min(16_384, this.total - this.sent);
      const count = conn.write(Uint8Array.from({ length: chunk }, (_, i) => (this.sent + i) * 7));
      this.sent += count;
      if (this.sent === this.total) conn.shutdown("wr");
      if (count < chunk) return;
    }
  }
}

/** Reads all that comes, and checks it. */
class Receiver {
  got = 0;
  ended = false;
  readonly #room = new Uint8Array(65_536);

  attach(conn: Conn): void {
    conn.onEvents = () => this.pull(conn);
    this.pull(conn);
  }

  pull(conn: Conn): void {
    while (conn.available > 0) {
      const count = conn.read(this.#room);
      for (let i = 0; i < count; i++) {
        if (this.#room[i] !== (this.got + i) * 7 % 256) assert.fail(`byte ${this.got + i} is wrong`);
      }
      this.got += count;
    }
    this.ended ||= conn.eof;
  }
}

function listen(stack: Stack, receivers: Receiver[]): void {
  const listener = stack.tcp.listen(UNSPECIFIED, PORT);
  assert.ok(!(listener instanceof Err));
  listener.onCall = () => {
    for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) {
      const receiver = new Receiver();
      receivers.push(receiver);
      receiver.attach(conn);
    }
  };
}

function dial(stack: Stack, to: string, now: number): Conn {
  const conn = stack.tcp.connect(ipOf(to), PORT, {}, now);
  assert.ok(!(conn instanceof Err), String(conn));
  return conn;
}

function pair(options: LinkOptions) {
  const wire = new Wire(), left = wire.stack(), right = wire.stack();
  wire.connect(left, ["10.0.0.1/24", "fd00::1/64"], options);
  wire.connect(right, ["10.0.0.2/24", "fd00::2/64"], options);
  wire.run(3000);
  return { wire, left, right };
}

const LINKS: [string, LinkOptions][] = [
  ["plain", {}],
  ["checksums by the link", { checksumOffload: true }],
  ["super-packets", { checksumOffload: true, gsoMaxBytes: 65_535 }],
  ["MTU 576", { mtu: 576 }],
  ["MTU 9000, no Ethernet", { mtu: 9000, medium: "ip" }],
  ["a short queue", { queue: 20 }],
];

Deno.test("TCP carries every byte over every kind of link, in both versions and to this host itself", () => {
  for (const [name, options] of LINKS) {
    for (const to of ["10.0.0.2", "fd00::2", "127.0.0.1", "::1"]) {
      if (to === "fd00::2" && options.mtu === 576) continue;
      const { wire, left, right } = pair(options), receivers: Receiver[] = [];
      const isSelf = to === "127.0.0.1" || to === "::1";
      listen(isSelf ? left : right, receivers);
      const sender = new Sender(400_001);
      sender.attach(dial(left, to, wire.now));
      wire.run(30_000);
      assert.equal(receivers.length, 1, `${name}, ${to}`);
      assert.deepEqual([receivers[0].got, receivers[0].ended], [400_001, true], `${name}, ${to}`);
    }
  }
});

Deno.test("TCP carries every byte through loss, and what is lost is ARP's and ND's too", () => {
  for (let seed = 1; seed <= 3; seed++) {
    const { wire, left, right } = pair({}), receivers: Receiver[] = [], random = new Random(seed);
    wire.filter = () => random.below(100) >= 5;
    listen(right, receivers);
    const sender = new Sender(200_000);
    sender.attach(dial(left, seed === 2 ? "fd00::2" : "10.0.0.2", wire.now));
    wire.run(120_000);
    assert.deepEqual([receivers[0]?.got, receivers[0]?.ended], [200_000, true], `seed ${seed}`);
  }
});

Deno.test("a port that nobody listens on answers with a reset", () => {
  const { wire, left } = pair({});
  const conn = dial(left, "10.0.0.2", wire.now);
  wire.run(1000);
  assert.equal(conn.error?.code, "ECONNREFUSED");
});

Deno.test("TCP learns what fits through a router, by ICMP, and sends that", () => {
  for (const to of ["10.2.0.1", "fd02::1"]) {
    const west = new Wire(), east = new Wire(), receivers: Receiver[] = [];
    const a = west.stack(1), b = east.stack(2), router = west.stack(3);
    west.connect(a, ["10.1.0.1/24", "fd01::1/64"], { checksumOffload: true, gsoMaxBytes: 65_535 });
    west.connect(router, ["10.1.0.254/24", "fd01::fe/64"], { checksumOffload: true, gsoMaxBytes: 65_535 });
    east.connect(router, ["10.2.0.254/24", "fd02::fe/64"], { mtu: 1300 });
    east.connect(b, ["10.2.0.1/24", "fd02::1/64"]);
    router.ip.forwarding = true;
    for (const [stack, net] of [[a, 1], [b, 2]] as const) {
      for (const [zero, bits, gateway] of [["0.0.0.0", 96, `10.${net}.0.254`], ["::", 0, `fd0${net}::fe`]] as const) {
        const prefix = { addr: ipOf(zero), bits };
        stack.ip.addRoute({ prefix, gateway: ipOf(gateway), iface: 1, tag: "", metric: 0, expiresAt: Infinity });
      }
    }
    listen(b, receivers);
    const sender = new Sender(100_000), conn = dial(a, to, west.now);
    sender.attach(conn);
    for (let i = 0; i < 400 && !receivers[0]?.ended; i++) {
      west.run(10);
      east.run(10);
    }
    assert.deepEqual([receivers[0]?.got, receivers[0]?.ended], [100_000, true], to);
    assert.equal(a.ip.counters.PathMtuLowered, 1, to);
    assert.equal(conn.path.mtu, 1300, to);
  }
});

Deno.test("a stack is saved in mid-transfer and goes on in another, with every byte right", () => {
  const { wire, left, right } = pair({}), senders: Sender[] = [], receivers: Receiver[] = [];
  listen(right, receivers);
  for (let i = 0; i < 12; i++) {
    const sender = new Sender(300_000 + i);
    const conn = dial(left, i % 2 === 0 ? "10.0.0.2" : "fd00::2", wire.now);
    conn.tag = i;
    sender.attach(conn);
    senders.push(sender);
  }
  wire.latencyMs = 5;
  wire.run(40);
  // What is on its way is lost with the old stack's links.
  const random = new Random(5);
  wire.filter = () => random.below(20) > 0;
  let left2 = left;
  for (let round = 0; round < 5; round++) {
    wire.run(9);
    assert.ok(receivers.some(({ got }) => got < 300_000), `round ${round}: the transfers are not over yet`);
    const links = wire.linksOf(left2),
      options = { random: (bytes: Uint8Array) => bytes.set(random.bytes(bytes.length)) };
    const saved = structuredClone(left2.save()), { stack, conns } = Stack.restore(saved, links, options, wire.now);
    wire.replace(left2, stack);
    left2 = stack;
    for (const conn of conns) senders[conn.tag].attach(conn);
  }
  wire.run(120_000);
  assert.deepEqual(receivers.map(({ got }) => got).sort(), senders.map(({ total }) => total));
  assert.ok(receivers.every(({ ended }) => ended));
});
