import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { formatIp, UNSPECIFIED } from "../addr.ts";
import { ipOf, Wire } from "../stack_fixture.ts";
import { arpCtl, ifaceCtl, routeCtl } from "./ctl.ts";
import { formatArp, formatIfaceStatus, formatIpStats, formatRoutes, formatSelftab } from "./text.ts";

function host() {
  const wire = new Wire(), stack = wire.stack(), iface = wire.connect(stack);
  return { wire, stack, iface, layer: stack.ip };
}

Deno.test("ipconfig's way: bind, add, mtu, a default route; and the files say so", () => {
  const { stack, layer, iface } = host();
  assert.deepEqual(ifaceCtl(layer, undefined, "bind ether /net/ether0"), {
    verb: "bind",
    medium: "ether",
    path: "/net/ether0",
  });
  assert.deepEqual(ifaceCtl(layer, iface, "unbind"), { verb: "unbind" });
  ifaceCtl(layer, iface, "add 10.0.0.1 255.255.255.0 10.0.0.0 1400");
  ifaceCtl(layer, iface, "add fd00::1 /64");
  routeCtl(layer, "add 0 0 10.0.0.254");
  routeCtl(layer, "add :: /0 fd00::fe", "dhcp");
  assert.match(formatRoutes(layer), /^0\.0\.0\.0 +\/96 +10\.0\.0\.254 +4 +none 1$/m);
  assert.match(formatRoutes(layer), /^:: +\/0 +fd00::fe +6 +dhcp 1$/m);
  assert.match(formatRoutes(layer), /^10\.0\.0\.0 +\/120 10\.0\.0\.0 +4i +ifc +1$/m);
  const status = formatIfaceStatus(iface, 0);
  assert.match(
    status,
    /^device ether1 maxtu 1400 sendra 0 recvra 0 .* pktin 0 .*\n\t10\.0\.0\.1 +\/120 +10\.0\.0\.0 +4294967295 +4294967295\n\tfd00::1 +\/64 +fd00:: +4294967295 +4294967295\n$/,
  );
  assert.match(formatSelftab(layer), /^127\.0\.0\.1 +01 4u$/m);
  assert.match(formatSelftab(layer), /^10\.0\.0\.255 +01 4b$/m);
  assert.match(formatSelftab(layer), /^ff02::1:ff00:1 +01 6m$/m);
  assert.match(formatIpStats(layer), /^Forwarding: 2\nDefaultTTL: 64\nInReceives: 0\n/);
  ifaceCtl(layer, iface, "iprouting 1");
  assert.match(formatIpStats(layer), /^Forwarding: 1\n/);
  const path = stack.ip.output.path(ipOf("192.168.1.1"), UNSPECIFIED);
  assert.ok(typeof path !== "string" && formatIp(path.local) === "10.0.0.1" && path.mtu === 1400);
  routeCtl(layer, "flush dhcp");
  assert.doesNotMatch(formatRoutes(layer), /dhcp/);
  routeCtl(layer, "remove 0.0.0.0 /96");
  assert.equal(stack.ip.output.path(ipOf("192.168.1.1"), UNSPECIFIED), "no route");
  ifaceCtl(layer, iface, "remove 10.0.0.1 /120");
  assert.doesNotMatch(formatRoutes(layer), /^10\./m);
});

Deno.test("routes are tagged as the open file was", () => {
  const { layer, iface } = host();
  ifaceCtl(layer, iface, "add 10.0.0.1 /24");
  const tag = routeCtl(layer, "tag static");
  assert.equal(tag, "stat");
  assert.equal(routeCtl(layer, "add 10.9.0.0 255.255.0.0 10.0.0.2", tag), "stat");
  assert.match(formatRoutes(layer), /^10\.9\.0\.0 +\/112 10\.0\.0\.2 +4 +stat 1$/m);
});

Deno.test("arp: add, delete, flush", () => {
  const { layer, iface } = host();
  ifaceCtl(layer, iface, "add 10.0.0.1 /24");
  arpCtl(layer, "add 10.0.0.2 00:11:22:33:44:55");
  arpCtl(layer, "add ether 10.0.0.3 001122334466");
  assert.equal(formatArp(layer).split("\n").length, 3);
  assert.match(formatArp(layer), /^ether {2}OK {7}10\.0\.0\.2 +001122334455$/m);
  arpCtl(layer, "del 10.0.0.2");
  assert.doesNotMatch(formatArp(layer), /10\.0\.0\.2/);
  arpCtl(layer, "flush");
  assert.equal(formatArp(layer), "");
});

Deno.test("add6 and ra6 set what a router would tell", () => {
  const { wire, layer, iface } = host();
  ifaceCtl(layer, iface, "add6 2001:db8:5:: 64 1 1 3600 1800");
  ifaceCtl(layer, iface, "ra6 recvra 1 ttl 31");
  wire.run(4000);
  assert.ok(iface.addresses.some((a) => formatIp(a.ip).startsWith("2001:db8:5:") && a.state === "ok"));
  assert.deepEqual([iface.params.recvra, iface.hopLimit], [1, 31]);
  assert.match(formatIfaceStatus(iface, wire.now), /recvra 1/);
  ifaceCtl(layer, iface, "privacy on");
  ifaceCtl(layer, iface, "autoconf eui64");
  assert.deepEqual(iface.autoconf, { iid: "eui64", privacy: true });
});

Deno.test("what is no command is refused with what would be one, and changes nothing", () => {
  const { layer, iface } = host();
  ifaceCtl(layer, iface, "add 10.0.0.1 /24");
  const before = [formatRoutes(layer), formatIfaceStatus(iface, 0), formatArp(layer)];
  const bad = [
    "",
    " ",
    "bind ether x",
    "fly",
    "add",
    "add 10.0.0.1 /24",
    "add 300.0.0.1",
    "add 10.0.0.2 255.0.255.0",
    "add 10.0.0.2 /129",
    "add 224.0.0.1 /24",
    "add 0.0.0.0 /24",
    "add ff02::5 /64",
    "add 127.0.0.1 /8",
    "remove 10.0.0.7 /24",
    "remove 10.0.0.1 /16",
    "mtu",
    "mtu x",
    "mtu 12",
    "mtu 99999",
    "mtu 1e3",
    "iprouting 2",
    "joinmulti 10.0.0.1",
    "ra6",
    "ra6 recvra",
    "ra6 nonsense 1",
    "ra6 __proto__ 1",
    "ra6 constructor 1",
    "ra6 ttl x",
    "add6 10.0.0.0",
    "add6 fd00:: 200",
    "privacy maybe",
    "constructor",
    "toString",
    "%s%n%d",
    "add " + "x".repeat(10_000),
  ];
  const refused = (fn: () => void, line: string) =>
    assert.throws(fn, (e: unknown) => e instanceof Err && e.message.length < 300, line.slice(0, 50));
  for (const line of bad) refused(() => ifaceCtl(layer, iface, line), line);
  refused(() => ifaceCtl(layer, undefined, "add 10.0.0.2 /24"), "nothing is bound");
  refused(() => ifaceCtl(layer, undefined, "bind"), "bind");
  for (
    const line of [
      "",
      "flush x",
      "add 10.0.0.2",
      "add 10.0.0.2 xx",
      "del",
      "del 10.0.0.9",
      "add ip 10.0.0.2 001122334455",
    ]
  ) {
    refused(() => arpCtl(layer, line), line);
  }
  const routes = [
    "",
    "add",
    "add 10.0.0.0",
    "add 10.0.0.0 /8",
    "add 10.0.0.0 /8 99.0.0.1",
    "add 10.0.0.0 /8 10.0.0.2 77",
  ];
  for (const line of [...routes, "remove 9.0.0.0 /8", "tag", "jump", "remove"]) {
    refused(() => routeCtl(layer, line), line);
  }
  assert.deepEqual([formatRoutes(layer), formatIfaceStatus(iface, 0), formatArp(layer)], before);
});
