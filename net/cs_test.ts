import assert from "node:assert/strict";
import { Err } from "../core/err.ts";
import { formatIp, parseIp } from "./addr.ts";
import { Cs, type CsOptions } from "./cs.ts";
import { makeDialString, parseDialString, parseEndpoint } from "./dial_string.ts";
import { Ndb } from "./ndb.ts";

const ndb = new Ndb(`ipnet=lab ip=10.9.0.0 ipmask=/16 auth=bigauth fs=10.9.0.2 fs=helix
sys=me ip=10.9.0.1 cpu=me
sys=helix ip=10.9.0.7 ip=2001:db8::7
sys=bigauth dom=auth.example.com ip=10.9.0.53
tcp=weird port=4000
udp=echo port=4007
tcp=broken port=notaport
`);
const NAMES: Record<string, string[]> = {
  "www.example.com": ["2001:db8::80", "192.0.2.80"],
  "six.example.com": ["2001:db8::6"],
};

function cs(more: Partial<CsOptions> = {}): Cs {
  return new Cs({
    netdir: "/net",
    protocols: ["tcp", "udp", "icmp", "icmpv6"],
    ndb: () => ndb,
    resolver: {
      async addresses(name) {
        if (!Object.hasOwn(NAMES, name)) throw new Err("ENOENT", `dns: ${name}: name does not exist`);
        return NAMES[name].map((each) => parseIp(each)!);
      },
    },
    self: () => ({ ip: parseIp("10.9.0.1"), sys: "me" }),
    ...more,
  });
}

for (
  const [query, ...lines] of [
    ["tcp!10.0.0.1!564", "/net/tcp/clone 10.0.0.1!564"],
    ["tcp!10.0.0.1!9fs\n", "/net/tcp/clone 10.0.0.1!564"],
    ["tcp!2001:DB8::1!80", "/net/tcp/clone 2001:db8::1!80"],
    ["tcp!10.0.0.1!weird", "/net/tcp/clone 10.0.0.1!4000"],
    ["udp!10.0.0.1!echo", "/net/udp/clone 10.0.0.1!4007"],
    ["tcp!10.0.0.1!513!r", "/net/tcp/clone 10.0.0.1!513!r"],
    ["tcp!*!echo", "/net/tcp/clone 7"],
    ["tcp!*!*", "/net/tcp/clone *"],
    ["net!10.0.0.1!dns", "/net/tcp/clone 10.0.0.1!53", "/net/udp/clone 10.0.0.1!53"],
    ["net!10.0.0.1!9fs", "/net/tcp/clone 10.0.0.1!564"],
    ["net!10.0.0.1!7777", "/net/tcp/clone 10.0.0.1!7777", "/net/udp/clone 10.0.0.1!7777"],
    ["tcp!helix!http", "/net/tcp/clone 10.9.0.7!80", "/net/tcp/clone 2001:db8::7!80"],
    ["tcp!auth.example.com!ticket", "/net/tcp/clone 10.9.0.53!567"],
    ["tcp!www.example.com!443", "/net/tcp/clone 2001:db8::80!443", "/net/tcp/clone 192.0.2.80!443"],
    ["tcp!$auth!ticket", "/net/tcp/clone 10.9.0.53!567"],
    ["tcp!$fs!9fs", "/net/tcp/clone 10.9.0.2!564", "/net/tcp/clone 10.9.0.7!564", "/net/tcp/clone 2001:db8::7!564"],
    ["tcp!$cpu!ncpu", "/net/tcp/clone 10.9.0.1!17010"],
    ["icmp!10.0.0.1", "/net/icmp/clone 10.0.0.1!1"],
    ["icmpv6!www.example.com!1", "/net/icmpv6/clone 2001:db8::80!1"],
    ["!sys=helix", "sys=helix ip=10.9.0.7 ip=2001:db8::7"],
    ["!sys=bigauth dom", "sys=bigauth dom=auth.example.com ip=10.9.0.53"],
    ["!ip=10.9.0.1 cpu=me", "sys=me ip=10.9.0.1 cpu=me"],
  ]
) {
  Deno.test(`cs translates ${JSON.stringify(query)}`, async () => assert.deepEqual(await cs().translate(query), lines));
}

for (
  const [query, code, word] of [
    ["", "EINVAL", "not a dial string"],
    ["x".repeat(1000), "EINVAL", "not a dial string"],
    ["tcp!a!b!c", "EINVAL", "not a dial string"],
    ["tcp!!9fs", "EINVAL", "not a dial string"],
    ["tcp!helix", "EINVAL", "no service"],
    ["helix", "EINVAL", "no service"],
    ["il!helix!9fs", "ENOENT", "no protocol il"],
    ["tcp!helix!nothing", "ENOENT", "no service nothing"],
    ["tcp!helix!70000", "ENOENT", "no service 70000"],
    ["tcp!helix!broken", "ENOENT", "no service broken"],
    ["tcp!helix!toString", "ENOENT", "no service"],
    ["tcp!nowhere!9fs", "ENOENT", "name does not exist"],
    ["tcp!$none!9fs", "ENOENT", "no none"],
    ["icmp!six.example.com", "ENOENT", "no address of the right kind"],
    ["!sys=nobody", "ENOENT", "nothing in the network database"],
    ["!", "ENOENT", "nothing in the network database"],
  ]
) {
  Deno.test(`cs refuses ${JSON.stringify(query.slice(0, 40))}: ${word}`, async () => {
    await assert.rejects(
      cs().translate(query),
      (thrown) => thrown instanceof Err && thrown.code === code && thrown.message.includes(word),
    );
  });
}

Deno.test("without IPv6 only IPv4 addresses are answered", async () => {
  const server = cs();
  server.ipv6 = false;
  assert.deepEqual(await server.translate("tcp!www.example.com!80"), ["/net/tcp/clone 192.0.2.80!80"]);
  await assert.rejects(server.translate("tcp!six.example.com!80"), /no address of the right kind/);
});

Deno.test("an answer has a bounded count of lines", async () => {
  const addresses = Array.from({ length: 50 }, (_, i) => parseIp(`10.0.0.${i}`)!);
  const server = cs({ netdir: "/net.alt", resolver: { addresses: async () => addresses } });
  const lines = await server.translate("net!many.example.com!53");
  assert.deepEqual([lines.length, lines[0]], [20, "/net.alt/tcp/clone 10.0.0.0!53"]);
});

Deno.test("dial strings are taken apart and made whole", () => {
  assert.deepEqual(parseDialString("tcp!host!9fs"), { netdir: "/net", proto: "tcp", address: "host!9fs" });
  assert.deepEqual(parseDialString("/net.alt/udp!h!1"), { netdir: "/net.alt", proto: "udp", address: "h!1" });
  assert.deepEqual(parseDialString("host"), { netdir: "/net", proto: "net", address: "host" });
  assert.equal(makeDialString("host", "tcp", "9fs"), "tcp!host!9fs");
  assert.equal(makeDialString("udp!host", "tcp", "dns"), "udp!host!dns");
  assert.equal(makeDialString("udp!host!7", "tcp", "dns"), "udp!host!7");
  assert.equal(makeDialString("host"), "net!host");
});

Deno.test("endpoints as ctl files take them", () => {
  const show = (text: string) => {
    const end = parseEndpoint(text);
    return end && [end.addr && formatIp(end.addr), end.port, end.restricted];
  };
  assert.deepEqual(show("10.0.0.1!564"), ["10.0.0.1", 564, false]);
  assert.deepEqual(show("::1!564!r"), ["::1", 564, true]);
  assert.deepEqual(["*!7", "7", "*", "*!*"].map(show), [[undefined, 7, false], [undefined, 7, false], [
    undefined,
    0,
    false,
  ], [undefined, 0, false]]);
  for (const bad of ["", "!", "a!7", "10.0.0.1!65536", "10.0.0.1!x", "1!2!3!r", "10.0.0.1!7!x", "-1"]) {
    assert.equal(show(bad), undefined, bad);
  }
});
