import assert from "node:assert/strict";
import { formatIp, type Ip, isLinkLocal, multicastMac, UNSPECIFIED } from "../addr.ts";
import { pseudoSum6 } from "../checksum.ts";
import { addAddress, ipOf, Wire } from "../stack_fixture.ts";
import { emitEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { emitIcmpv6, ICMPV6, sealIcmpv6 } from "../wire/icmpv6.ts";
import { emitIpv6, IPV6_BYTES } from "../wire/ipv6.ts";
import { emitNeighborAdvert, emitNeighborSolicit, NA } from "../wire/ndp.ts";
import { put, set16, set32 } from "../wire/packet.ts";
import { LIMITS } from "./limits.ts";
import { ALL_NODES } from "./nd.ts";

const ROUTER_MAC = Uint8Array.of(2, 9, 9, 9, 9, 9), ROUTER = ipOf("fe80::99");

/** A frame with an ICMPv6 message that `write` writes at an offset; it answers where it ends. */
function frame(
  write: (bytes: Uint8Array, at: number) => number,
  more: { src?: Ip; dst?: Ip; hops?: number; mac?: Uint8Array } = {},
): Uint8Array {
  const { src = ROUTER, dst = ALL_NODES, hops = 255, mac } = more, bytes = new Uint8Array(1500);
  const ip = emitEthernet(bytes, 0, { dst: mac ?? multicastMac(dst), src: ROUTER_MAC, type: ETHERTYPE.ipv6 });
  const end = write(bytes, ip + IPV6_BYTES), payloadBytes = end - ip - IPV6_BYTES;
  emitIpv6(bytes, ip, { trafficClass: 0, flowLabel: 0, next: 58, hopLimit: hops, src, dst, payloadBytes });
  sealIcmpv6(bytes, ip + IPV6_BYTES, end, pseudoSum6(bytes, ip + 8, 58, payloadBytes));
  return bytes.slice(0, end);
}

interface Advert {
  lifetimeS?: number;
  preference?: number;
  hopLimit?: number;
  mtu?: number;
  prefixes?: { ip: string; bits?: number; flags?: number; validS?: number; preferredS?: number }[];
  servers?: string[];
  serversS?: number;
}

/** A router advertisement. */
function advert(what: Advert, src = ROUTER, hops = 255): Uint8Array {
  return frame((bytes, at) => {
    emitIcmpv6(bytes, at, { type: ICMPV6.routerAdvert, code: 0, rest: 0 });
    bytes[at + 4] = what.hopLimit ?? 0;
    bytes[at + 5] = (what.preference ?? 0) << 3;
    set16(bytes, at + 6, what.lifetimeS ?? 1800);
    let to = at + 16;
    bytes.set([1, 1, ...ROUTER_MAC], to);
    to += 8;
    if (what.mtu !== undefined) {
      bytes.set([5, 1], to);
      set32(bytes, to + 4, what.mtu);
      to += 8;
    }
    for (const { ip, bits = 64, flags = 0xc0, validS = 86_400, preferredS = 14_400 } of what.prefixes ?? []) {
      bytes.set([3, 4, bits, flags], to);
      set32(bytes, to + 4, validS);
      set32(bytes, to + 8, preferredS);
      put(bytes, to + 16, ipOf(ip));
      to += 32;
    }
    if (what.servers !== undefined) {
      bytes.set([25, 1 + what.servers.length * 2], to);
      set32(bytes, to + 4, what.serversS ?? 600);
      what.servers.forEach((server, i) => put(bytes, to + 8 + i * 16, ipOf(server)));
      to += 8 + what.servers.length * 16;
    }
    return to;
  }, { src, hops });
}

/** A host that listens to routers. */
function host(setup: (iface: ReturnType<Wire["connect"]>) => void = () => {}) {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack);
  setup(iface);
  stack.ip.routers.start(iface);
  wire.run(6000);
  return { wire, stack, iface };
}

const ofOrigin = (iface: { addresses: { origin: string; ip: Ip }[] }, origin: string) =>
  iface.addresses.filter((a) => a.origin === origin).map((a) => formatIp(a.ip));

Deno.test("a host gives itself a link-local address that does not tell its MAC address, and asks for routers three times", () => {
  const { wire, stack, iface } = host();
  const [address] = iface.addresses;
  assert.ok(isLinkLocal(address.ip) && address.state === "ok");
  assert.ok(!formatIp(address.ip).includes("ff:fe"));
  wire.run(10_000);
  assert.equal(wire.seen.filter((bytes) => bytes[54] === ICMPV6.routerSolicit).length, 3);
  const again = host();
  assert.equal(formatIp(again.iface.addresses[0].ip), formatIp(address.ip), "the same seed, the same address");
  assert.ok(stack.ip.routes.lookup(ipOf("fe80::5")));
  const old = host((it) => it.autoconf.iid = "eui64");
  assert.ok(formatIp(old.iface.addresses[0].ip).includes("ff:fe"));
});

Deno.test("an advertisement brings an address, a default route, parameters and name servers", () => {
  const { wire, stack, iface } = host();
  const prefixes = [{ ip: "2001:db8:1::" }];
  wire.inject(advert({ prefixes, hopLimit: 33, mtu: 1400, servers: ["2001:db8::53", "2001:db8::54"] }));
  wire.run(1500);
  const [made] = iface.addresses.filter((a) => a.origin === "slaac");
  assert.equal(made.state, "ok");
  assert.ok(formatIp(made.ip).startsWith("2001:db8:1:0:"));
  assert.equal(formatIp(stack.ip.routes.lookup(ipOf("2001:db8:ffff::1"))!.gateway!), "fe80::99");
  assert.equal(stack.ip.routes.lookup(ipOf("2001:db8:1::7"))!.gateway, undefined);
  assert.equal(iface.hopLimit, 33);
  const path = stack.ip.output.path(ipOf("2001:db8:9::1"), UNSPECIFIED);
  assert.ok(typeof path !== "string");
  assert.equal(path.mtu, 1400);
  assert.deepEqual(stack.ip.routers.nameServers.map((s) => formatIp(s.ip)), ["2001:db8::54", "2001:db8::53"]);
  wire.run(601_000);
  assert.deepEqual(stack.ip.routers.nameServers, []);
  wire.run(1_300_000);
  assert.equal(stack.ip.routes.lookup(ipOf("2001:db8:ffff::1")), undefined, "the router's time is over");
});

Deno.test("an address is deprecated, then gone, when its times are over; its life is not cut short below two hours", () => {
  const { wire, iface } = host();
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::", validS: 20_000, preferredS: 100 }] }));
  wire.run(2000);
  const made = () => iface.addresses.find((a) => a.origin === "slaac");
  assert.notEqual(made()!.preferredUntil, 0);
  wire.run(101_000);
  assert.equal(made()!.preferredUntil, 0);
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::", validS: 1, preferredS: 0 }] }));
  wire.run(7_000_000);
  assert.ok(made());
  wire.run(300_000);
  assert.equal(made(), undefined);
});

Deno.test("a temporary address is made beside the stable one when privacy is asked for", () => {
  const { wire, iface } = host((it) => it.autoconf.privacy = true);
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::" }] }));
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::" }] }));
  assert.equal(ofOrigin(iface, "slaac").length, 1);
  assert.equal(ofOrigin(iface, "temporary").length, 1);
});

Deno.test("what is wrong with an advertisement makes nothing of it", () => {
  const { wire, stack, iface } = host();
  const good = { prefixes: [{ ip: "2001:db8:1::" }] };
  wire.inject(advert(good, ROUTER, 254));
  wire.inject(advert(good, ipOf("2001:db8::1")));
  wire.inject(advert({ lifetimeS: 0, prefixes: [{ ip: "2001:db8:1::", preferredS: 9, validS: 8, flags: 0x40 }] }));
  wire.inject(
    advert({
      lifetimeS: 0,
      prefixes: [{ ip: "fe80::" }, { ip: "ff02::" }, { ip: "2001:db8:2::", bits: 60, flags: 0x40 }],
    }),
  );
  assert.equal(iface.addresses.length, 1);
  assert.equal(stack.ip.routes.lookup(ipOf("2001:db8::9")), undefined);
  stack.ip.routers.stop(iface);
  wire.inject(advert(good));
  assert.equal(iface.addresses.length, 1);
});

Deno.test("of two routers the preferred one is used, and the other when it does not answer; numbers are bounded", () => {
  const { wire, stack } = host();
  const via = () => formatIp(stack.ip.routes.lookup(ipOf("2001:db8::9"), stack.ip.isUsable)!.gateway!);
  wire.inject(advert({ preference: 0 }, ipOf("fe80::1")));
  wire.inject(advert({ preference: 1 }, ipOf("fe80::2")));
  wire.inject(advert({ preference: 3 }, ipOf("fe80::3")));
  assert.equal(via(), "fe80::2");
  const conv = stack.udp.open();
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::" }] }, ipOf("fe80::3")));
  wire.run(1500);
  conv.connect(ipOf("2001:db8::9"), 9);
  conv.send(new Uint8Array(1), 0, 1, wire.now);
  wire.run(20_000);
  assert.equal(via(), "fe80::1");
  wire.inject(advert({ lifetimeS: 0 }, ipOf("fe80::1")));
  assert.notEqual(via(), "fe80::1");
  for (let i = 0; i < 40; i++) {
    const prefixes = Array.from({ length: 30 }, (_, k) => ({ ip: `2001:db8:${i * 30 + k + 5}::` }));
    wire.inject(advert({ prefixes }, ipOf(`fe80::${i + 10}`)));
  }
  const routes = stack.ip.routes.list().filter((r) => r.tag === "ra");
  assert.ok(routes.length <= LIMITS.routers + LIMITS.prefixes, `${routes.length}`);
});

Deno.test("a host that asks for an address that another has takes another one", () => {
  const { wire, stack, iface } = host();
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::" }] }));
  const first = iface.addresses.find((a) => a.origin === "slaac")!;
  wire.inject(frame((bytes, at) => {
    return emitNeighborAdvert(bytes, at, { target: first.ip, flags: NA.override, linkAddress: ROUTER_MAC });
  }));
  wire.run(2000);
  const second = iface.addresses.find((a) => a.origin === "slaac")!;
  assert.notEqual(formatIp(second.ip), formatIp(first.ip));
  assert.equal(second.state, "ok");
  assert.equal(stack.ip.addresses.find(first.ip), undefined);
});

Deno.test("of two hosts that ask for one address at the same time neither gets it", () => {
  const wire = new Wire(), left = wire.stack(), right = wire.stack();
  const a = wire.connect(left), b = wire.connect(right);
  addAddress(left, a, "fd00::5/64", true);
  addAddress(right, b, "fd00::5/64", true);
  wire.run(3000);
  assert.deepEqual([a.addresses[0].state, b.addresses[0].state], ["duplicated", "duplicated"]);
});

Deno.test("a question is answered; one from off the link, or without an address but with a MAC address, is not", () => {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack, ["fd00::1/64"]);
  wire.run(3000);
  const target = ipOf("fd00::1");
  const ask = (src: string, hops: number, linkAddress?: Uint8Array) => {
    wire.seen.length = 0;
    const write = (bytes: Uint8Array, at: number) => emitNeighborSolicit(bytes, at, { target, linkAddress });
    const dst = ipOf("ff02::1:ff00:1");
    wire.inject(frame(write, { src: ipOf(src), dst, hops }));
    return wire.seen.filter((bytes) => bytes[54] === ICMPV6.neighborAdvert).length;
  };
  assert.equal(ask("fd00::9", 254, ROUTER_MAC), 0);
  assert.equal(ask("::", 255, ROUTER_MAC), 0);
  assert.equal(iface.neighbors.count, 0);
  assert.equal(ask("::", 255), 1);
  assert.equal(ask("fd00::9", 255, ROUTER_MAC), 1);
  assert.equal(iface.neighbors.get(ipOf("fd00::9"))?.state, "delay");
});

Deno.test("a redirect is believed only from the router that is used, and is forgotten with time", () => {
  const { wire, stack } = host();
  wire.inject(advert({ prefixes: [{ ip: "2001:db8:1::" }] }));
  wire.run(1500);
  const destination = ipOf("2001:db8:9::9"), better = ipOf("fe80::77");
  const redirect = (src: Ip) =>
    frame((bytes, at) => {
      emitIcmpv6(bytes, at, { type: ICMPV6.redirect, code: 0, rest: 0 });
      put(bytes, at + 8, better);
      put(bytes, at + 24, destination);
      return at + 40;
    }, { src });
  const via = () => formatIp(stack.ip.routes.lookup(destination)!.gateway!);
  wire.inject(redirect(ipOf("fe80::66")));
  assert.equal(via(), "fe80::99");
  assert.equal(stack.ip.counters.RedirectsIgnored, 1);
  wire.inject(redirect(ROUTER));
  assert.equal(via(), "fe80::77");
  wire.run(601_000);
  assert.equal(via(), "fe80::99");
});
