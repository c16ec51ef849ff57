import assert from "node:assert/strict";
import type { Err } from "../../core/err.ts";
import { ipOf, Wire } from "../stack_fixture.ts";

const into = new Uint8Array(2000);
const ECHO = Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 1, 5, 5);
const code = (wanted: string) => (e: unknown) => (e as Err).code === wanted;

function pair() {
  const wire = new Wire(), left = wire.stack(), right = wire.stack();
  wire.connect(left, ["10.0.0.1/24", "fd00::1/64"]);
  wire.connect(right, ["10.0.0.2/24", "fd00::2/64"]);
  wire.settle();
  return { wire, left, right };
}

Deno.test("each conversation gets the replies to its own echoes, and who listens to all gets a copy", () => {
  const { wire, left } = pair(), a = left.icmp.open(true), b = left.icmp.open(true), all = left.icmp.open(true);
  a.connect(ipOf("10.0.0.2"));
  b.connect(ipOf("10.0.0.2"));
  all.announce(0);
  assert.notEqual(a.id, b.id);
  a.send(ECHO, 0, ECHO.length, wire.now);
  wire.settle();
  assert.equal(a.recv(into, 0, 2000), 30);
  assert.deepEqual([into[20], into[24] << 8 | into[25], into[28]], [0, a.id, 5]);
  assert.equal(b.recv(into, 0, 2000), -1);
  assert.equal(all.recv(into, 0, 2000), 30);
});

Deno.test("Plan 9's programs leave room for IP's header in what they write", () => {
  const { wire, left } = pair();
  for (const [v4, room, to] of [[true, 20, "10.0.0.2"], [false, 40, "fd00::2"]] as const) {
    const conv = left.icmp.open(v4), packet = new Uint8Array(room + 8);
    packet[room] = v4 ? 8 : 128;
    conv.connect(ipOf(to));
    conv.sendPacket(packet, 0, packet.length, wire.now);
    wire.settle();
    assert.equal(conv.recv(into, 0, 2000), packet.length);
    assert.equal(into[room], v4 ? 0 : 129);
  }
});

Deno.test("an error that quotes an echo comes to who sent it: traceroute sees each hop", () => {
  for (const [v4, near, far, type] of [[true, "10.0.0.2", "10.9.0.1", 11], [false, "fd00::2", "fd09::1", 3]] as const) {
    const { wire, left, right } = pair(), conv = left.icmp.open(v4), other = left.icmp.open(v4);
    right.ip.forwarding = true;
    const prefix = { addr: ipOf(v4 ? "0.0.0.0" : "::"), bits: v4 ? 96 : 0 };
    left.ip.addRoute({ prefix, gateway: ipOf(near), iface: 1, tag: "", metric: 0, expiresAt: Infinity });
    conv.connect(ipOf(far));
    other.connect(ipOf(far));
    conv.options.ttl = 1;
    const message = ECHO.slice();
    message[0] = v4 ? 8 : 128;
    conv.send(message, 0, message.length, wire.now);
    wire.settle();
    assert.ok(conv.recv(into, 0, 2000) > 0);
    assert.equal(into[v4 ? 20 : 40], type);
    assert.equal(other.recv(into, 0, 2000), -1);
  }
});

Deno.test("what can not be is refused", () => {
  const { wire, left } = pair(), conv = left.icmp.open(true), other = left.icmp.open(true);
  assert.throws(() => conv.send(ECHO, 0, ECHO.length, wire.now), code("ENOTCONN"));
  assert.throws(() => conv.connect(ipOf("fd00::2")), code("EINVAL"));
  assert.throws(() => conv.connect(ipOf("172.16.0.1")), code("ENETUNREACH"));
  conv.connect(ipOf("10.0.0.2"), 77);
  assert.throws(() => conv.connect(ipOf("10.0.0.2")), code("EBUSY"));
  assert.throws(() => other.connect(ipOf("10.0.0.2"), 77), code("EADDRINUSE"));
  assert.throws(() => conv.send(ECHO, 0, 7, wire.now), code("EINVAL"));
  conv.close();
  other.connect(ipOf("10.0.0.2"), 77);
});

Deno.test("a conversation is saved with what waits in it", () => {
  const { wire, left, right } = pair(), conv = left.icmp.open(true);
  conv.connect(ipOf("10.0.0.2"));
  conv.send(ECHO, 0, ECHO.length, wire.now);
  wire.settle();
  const [again] = right.icmp.restore(structuredClone(left.icmp.save()));
  assert.equal(again.recv(into, 0, 2000), 30);
  assert.deepEqual([again.id, again.state], [conv.id, "Connected"]);
});
