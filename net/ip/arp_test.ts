import assert from "node:assert/strict";
import { BROADCAST_MAC, parseIpv4 } from "../addr.ts";
import { addAddress, ipOf, Wire } from "../stack_fixture.ts";
import { Arp, ARP_REPLY, ARP_REQUEST, emitArp } from "../wire/arp.ts";
import { emitEthernet, Ethernet, ETHERTYPE } from "../wire/ethernet.ts";
import { LIMITS } from "./limits.ts";
import { formatArp } from "./text.ts";

const OTHER = Uint8Array.of(2, 9, 9, 9, 9, 9), NO_MAC = new Uint8Array(6);

/** An ARP message of a host that is not a stack, in its frame. */
function arpFrame(op: number, sender: string, target: string, more: { dst?: Uint8Array; mac?: Uint8Array } = {}) {
  const bytes = new Uint8Array(60), { dst = BROADCAST_MAC, mac = OTHER } = more;
  const at = emitEthernet(bytes, 0, { dst, src: mac, type: ETHERTYPE.arp });
  const fields = { op, senderMac: mac, sender: parseIpv4(sender)!, targetMac: NO_MAC, target: parseIpv4(target)! };
  emitArp(bytes, at, fields);
  return bytes;
}

/** The ARP messages that the wire saw from a position on, as `op sender target`. */
function messages(wire: Wire, from = 0): string[] {
  const frame = new Ethernet(), arp = new Arp();
  return wire.seen.slice(from).filter((bytes) => {
    return frame.parse(bytes) === undefined && frame.type === ETHERTYPE.arp;
  }).map((bytes) => {
    arp.parse(bytes, 14, bytes.length);
    return `${arp.op} ${arp.sender & 255} ${arp.target & 255}`;
  });
}

function host(addresses = ["10.0.0.1/24"]) {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack, addresses);
  wire.run(5000);
  wire.seen.length = 0;
  return { wire, stack, iface };
}

Deno.test("a question for our address is answered to who asked, and the asker is known from then on", () => {
  const { wire, stack } = host();
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.1"));
  assert.deepEqual(messages(wire), ["2 1 9"]);
  assert.equal(formatArp(stack.ip), `ether  OK       ${"10.0.0.9".padEnd(40)} 020909090909\n`);
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.7"));
  assert.equal(messages(wire).length, 1, "what is not ours is not answered");
});

Deno.test("nothing is learned from strangers: off the network, unasked, or with another MAC address in the frame", () => {
  const { wire, stack, iface } = host();
  wire.inject(arpFrame(ARP_REQUEST, "192.168.5.5", "10.0.0.1"));
  wire.inject(arpFrame(ARP_REPLY, "10.0.0.9", "10.0.0.1", { dst: iface.link.mac }));
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.9"));
  const forged = arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.1");
  forged[6] = 4;
  wire.inject(forged);
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.1", { mac: Uint8Array.of(3, 0, 0, 0, 0, 1) }));
  assert.equal(formatArp(stack.ip), "");
  assert.deepEqual(messages(wire), []);
  assert.equal(stack.ip.counters.ArpInErrors, 2);
});

Deno.test("an announcement changes the MAC address of a neighbour that is known", () => {
  const { wire, stack } = host();
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.1"));
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.9", { mac: Uint8Array.of(2, 0, 0, 0, 7, 7) }));
  assert.match(formatArp(stack.ip), /020000000707/);
});

Deno.test("strangers' questions are kept up to the limit, and push out nobody that is talked to", () => {
  const { wire, stack, iface } = host(["10.0.0.1/8"]);
  const other = wire.stack();
  wire.connect(other, ["10.0.0.2/8"]);
  const conv = stack.udp.open();
  conv.connect(ipOf("10.0.0.2"), 9);
  conv.send(new Uint8Array(1), 0, 1, wire.now);
  wire.settle();
  for (let i = 0; i < 3 * LIMITS.neighbors; i++) {
    wire.inject(arpFrame(ARP_REQUEST, `10.1.${i >> 8}.${i & 255}`, "10.0.0.1"));
  }
  assert.ok(iface.neighbors.count <= LIMITS.neighbors);
  assert.equal(iface.neighbors.get(ipOf("10.0.0.2"))?.state, "reachable");
});

Deno.test("an address is asked for three times, then announced twice, and only then is it ours", () => {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack);
  addAddress(stack, iface, "10.0.0.1/24", true);
  assert.equal(stack.ip.addresses.find(ipOf("10.0.0.1")), undefined);
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.1"));
  wire.run(12_000);
  assert.deepEqual(messages(wire), ["1 0 1", "1 0 1", "1 0 1", "1 1 1", "1 1 1"]);
  assert.equal(iface.addresses[0].state, "ok");
  assert.ok(stack.ip.routes.lookup(ipOf("10.0.0.5")));
});

Deno.test("of two hosts that ask for one address at most one gets it", () => {
  const wire = new Wire(), left = wire.stack(), right = wire.stack();
  const a = wire.connect(left), b = wire.connect(right);
  addAddress(left, a, "10.0.0.1/24", true);
  addAddress(right, b, "10.0.0.1/24", true);
  wire.run(12_000);
  const states = [a.addresses[0].state, b.addresses[0].state].sort();
  assert.ok(states[0] === "duplicated", `${states}`);
  addAddress(right, b, "10.0.0.2/24");
  wire.settle();
  addAddress(left, a, "10.0.0.2/24", true);
  wire.run(12_000);
  assert.equal(a.address(ipOf("10.0.0.2"))?.state, "duplicated");
  assert.equal(b.address(ipOf("10.0.0.2"))?.state, "ok");
});

Deno.test("an address that is ours is defended, but not more often than every ten seconds", () => {
  const { wire, stack } = host();
  for (let i = 0; i < 5; i++) wire.inject(arpFrame(ARP_REQUEST, "10.0.0.1", "10.0.0.9"));
  assert.deepEqual(messages(wire), ["1 1 1"]);
  wire.run(10_000);
  wire.inject(arpFrame(ARP_REPLY, "10.0.0.1", "10.0.0.9"));
  assert.deepEqual(messages(wire), ["1 1 1", "1 1 1"]);
  assert.equal(stack.ip.counters.ArpConflicts, 6);
});

Deno.test("a neighbour that was not heard of for long is sent to, and asked by itself whether it is still there", () => {
  const { wire, stack, iface } = host();
  const other = wire.stack();
  wire.connect(other, ["10.0.0.2/24"]);
  const conv = stack.udp.open(), neighbor = () => iface.neighbors.get(ipOf("10.0.0.2"))?.state;
  conv.connect(ipOf("10.0.0.2"), 9);
  conv.ignoreAdvice = true;
  const send = () => {
    conv.send(new Uint8Array(1), 0, 1, wire.now);
    wire.settle();
  };
  send();
  assert.equal(neighbor(), "reachable");
  wire.run(40_000);
  wire.seen.length = 0;
  send();
  assert.equal(neighbor(), "delay");
  assert.deepEqual(messages(wire), [], "nobody is asked yet");
  wire.run(5001);
  assert.equal(neighbor(), "reachable");
  assert.equal(wire.seen.find((bytes) => bytes[13] === 6)?.[5], 2, "asked by itself");
  wire.filter = (_bytes, from) => from !== wire.linksOf(other)[0];
  wire.run(40_000);
  send();
  wire.run(9000);
  assert.equal(neighbor(), "failed");
});

Deno.test("a neighbour that could not be asked for want of an address is asked when there is one", () => {
  const { wire, stack, iface } = host();
  const other = wire.stack(), conv = stack.icmp.open(true);
  wire.connect(other, ["10.0.0.2/24"]);
  wire.inject(arpFrame(ARP_REQUEST, "10.0.0.2", "10.0.0.1", { mac: wire.linksOf(other)[0].mac }));
  conv.connect(ipOf("10.0.0.2"));
  conv.send(Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0), 0, 8, wire.now);
  wire.settle();
  stack.ip.addresses.remove(iface, iface.address(ipOf("10.0.0.1"))!);
  wire.run(8100);
  assert.equal(iface.neighbors.get(ipOf("10.0.0.2"))?.state, "failed");
  addAddress(stack, iface, "10.0.0.3/24");
  const again = stack.icmp.open(true);
  again.connect(ipOf("10.0.0.2"));
  again.send(Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0), 0, 8, wire.now);
  wire.run(100);
  assert.equal(again.queue.count, 1);
});

Deno.test("what is no ARP message is counted, and nothing else", () => {
  const { wire, stack } = host();
  for (let length = 14; length < 42; length++) {
    wire.inject(arpFrame(ARP_REQUEST, "10.0.0.9", "10.0.0.1").slice(0, length));
  }
  assert.equal(stack.ip.counters.ArpInErrors, 28);
});
