/**
 * Frames that nobody should send: random bytes, and good ones with bytes changed, cut, repeated. Whatever comes, the stack
 * throws nothing, keeps what it keeps within its limits, writes nothing into what it was lent, and answers a ping afterwards.
 */

import assert from "node:assert/strict";
import { CHECKSUM, type FrameInfo, GSO, PLAIN } from "../link.ts";
import { UNSPECIFIED } from "../addr.ts";
import { ipOf, Wire } from "../stack_fixture.ts";
import type { Stack } from "../stack.ts";
import { Random } from "../wire/wire_fixture.ts";
import { LIMITS } from "./limits.ts";

/** Two hosts and a router in conversation: what they send is what is mutated. */
function corpus(): Uint8Array[] {
  const wire = new Wire(), a = wire.stack(1), b = wire.stack(2), frames: Uint8Array[] = [];
  const ifaces = [wire.connect(a, ["10.0.0.1/24", "fd00::1/64"]), wire.connect(b, ["10.0.0.2/24", "fd00::2/64"])];
  a.ip.routers.start(ifaces[0]);
  for (const [to, v4] of [["10.0.0.2", true], ["fd00::2", false]] as const) {
    const server = b.udp.open(), client = a.udp.open(), echo = a.icmp.open(v4);
    server.announce(9, ipOf(to));
    server.join(ipOf(v4 ? "239.1.1.1" : "ff02::77"));
    client.connect(ipOf(to), 9);
    echo.connect(ipOf(to));
    for (const bytes of [0, 5, 1400, 5000]) {
      client.send(new Uint8Array(bytes), 0, bytes, wire.now);
      const message = new Uint8Array(8 + bytes);
      message[0] = v4 ? 8 : 128;
      echo.send(message, 0, message.length, wire.now);
      wire.settle();
    }
    b.tcp.listen(ipOf(to), 7);
    const conn = a.tcp.connect(ipOf(to), 7, {}, wire.now);
    if ("write" in conn) conn.write(new Uint8Array(3000));
    wire.settle();
    const refused = a.udp.open();
    refused.connect(ipOf(to), 10);
    refused.send(new Uint8Array(20), 0, 20, wire.now);
    wire.run(5000);
    frames.push(...wire.seen);
  }
  assert.ok(frames.length > 60);
  return frames;
}

function target(): { wire: Wire; stack: Stack } {
  const wire = new Wire(), stack = wire.stack(7);
  const iface = wire.connect(stack, ["10.0.0.2/24", "fd00::2/64"]);
  wire.connect(stack, ["10.5.0.2/24", "fd05::2/64"], { mtu: 1280 });
  stack.ip.forwarding = true;
  stack.ip.routers.start(iface);
  const server = stack.udp.open(), ping = stack.icmp.open(true);
  server.announce(9);
  ping.announce(0);
  stack.tcp.listen(UNSPECIFIED, 7);
  wire.run(5000);
  return { wire, stack };
}

function mutate(random: Random, frames: Uint8Array[]): Uint8Array {
  const frame = frames[random.below(frames.length)].slice();
  // Most go to the host that is tried, so that they get past its door.
  if (random.below(8) > 0 && (frame[0] & 1) === 0) frame.set([2, 0, 0, 0, 0, 1]);
  for (let i = random.below(5); i > 0; i--) {
    frame[12 + random.below(Math.min(frame.length - 12, 90))] = random.below(256);
  }
  if (random.below(4) !== 0) repairIpv4(frame);
  if (random.below(6) === 0) return frame.slice(0, random.below(frame.length + 1));
  return frame;
}

/** Makes IPv4's checksum right again, so that what is behind it is looked at. */
function repairIpv4(frame: Uint8Array): void {
  const end = 14 + (frame[14] & 15) * 4;
  if (frame[12] !== 8 || frame[13] !== 0 || end > frame.length) return;
  frame[24] = frame[25] = 0;
  let sum = 0;
  for (let i = 14; i < end; i += 2) sum += frame[i] << 8 | frame[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame[24] = ~sum >>> 8;
  frame[25] = ~sum;
}

function infoOf(random: Random): FrameInfo {
  if (random.below(5) > 0) return PLAIN;
  return {
    checksum: [CHECKSUM.good, CHECKSUM.partial][random.below(2)],
    checksumStart: random.below(80),
    checksumOffset: random.below(20),
    gso: [GSO.none, GSO.tcp4, GSO.tcp6, GSO.udp][random.below(4)],
    gsoBytes: random.below(2000),
    headerBytes: random.below(100),
  };
}

function checkLimits(stack: Stack, seed: number): void {
  const { ip } = stack;
  for (const iface of ip.ifaces()) {
    assert.ok(iface.neighbors.count <= LIMITS.neighbors + 1, `seed ${seed}: neighbours`);
    assert.ok(iface.addresses.length <= LIMITS.addresses, `seed ${seed}: addresses`);
    for (const neighbor of iface.neighbors.values()) {
      assert.ok(neighbor.held.length <= LIMITS.heldPackets, `seed ${seed}`);
    }
  }
  assert.ok(ip.reassembly.bytes <= LIMITS.reassemblyBytes, `seed ${seed}: reassembly`);
  assert.ok(ip.routes.count < 100, `seed ${seed}: routes`);
}

Deno.test("whatever is sent to it, the stack throws nothing, stays within its limits, and goes on", () => {
  const frames = corpus();
  for (let seed = 1; seed <= 6; seed++) {
    const random = new Random(seed), { wire, stack } = target();
    const [link] = wire.linksOf(stack);
    for (let i = 0; i < 4000; i++) {
      const frame = random.below(10) === 0 ? random.bytes(random.below(200)) : mutate(random, frames);
      const before = frame.slice();
      try {
        stack.input(link, frame, 0, frame.length, infoOf(random), wire.now);
        if (random.below(20) === 0) wire.run(random.below(300));
      } catch (error) {
        throw new Error(
          `seed ${seed}, frame ${i}: ${[...before].map((b) => b.toString(16).padStart(2, "0")).join("")}`,
          {
            cause: error,
          },
        );
      }
      assert.deepEqual(frame, before, `seed ${seed}, frame ${i}: what was lent was written to`);
    }
    checkLimits(stack, seed);
    const { InDelivers, InHdrErrors, ReasmReqds, NdIn } = stack.ip.counters;
    assert.ok(
      InDelivers > 200 && InHdrErrors > 300 && ReasmReqds > 50 && NdIn > 5,
      `the frames get past the door: ${[InDelivers, InHdrErrors, ReasmReqds, NdIn]}`,
    );
    wire.run(120_000);
    assert.equal(stack.ip.reassembly.count, 0, `seed ${seed}`);
    assert.ok(structuredClone(stack.save()), `seed ${seed}`);
    const peer = wire.stack(99), echo = peer.icmp.open(true);
    wire.connect(peer, ["10.0.0.77/24"]);
    echo.connect(ipOf("10.0.0.2"));
    echo.send(Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 1), 0, 8, wire.now);
    wire.run(3000);
    assert.equal(echo.queue.count, 1, `seed ${seed}: no answer to a ping afterwards`);
  }
});
