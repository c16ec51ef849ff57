import assert from "node:assert/strict";
import * as a from "./addr.ts";
import { hex, Random } from "./wire/wire_fixture.ts";

const ip = (text: string) => a.parseIp(text) ?? assert.fail(`${text} is no address`);
const prefix = (text: string) => a.parsePrefix(text) ?? assert.fail(`${text} is no prefix`);

Deno.test("a MAC address is read in three forms and printed in two", () => {
  const mac = hex("001122aabbcc");
  for (const text of ["00:11:22:aa:bb:cc", "00-11-22-AA-BB-CC", "001122aabbcc"]) {
    assert.deepEqual(a.parseMac(text), mac);
  }
  assert.equal(a.formatMac(mac), "00:11:22:aa:bb:cc");
  assert.equal(a.formatMac(mac, ""), "001122aabbcc");
  for (
    const bad of ["", "00:11:22:aa:bb", "00:11-22:aa:bb:cc", "0:11:22:aa:bb:cc", "00:11:22:aa:bb:cg", "001122aabbccd"]
  ) {
    assert.equal(a.parseMac(bad), undefined, bad);
  }
});

Deno.test("an IPv4 address is four decimal parts and nothing else", () => {
  for (const text of ["0.0.0.0", "255.255.255.255", "192.0.2.1", "127.0.0.1", "128.0.0.0"]) {
    assert.equal(a.formatIpv4(a.parseIpv4(text)!), text);
  }
  assert.equal(a.parseIpv4("192.0.2.1"), 0xc0000201 | 0, "an int32");
  for (
    const bad of [
      "",
      "1.2.3",
      "1.2.3.4.5",
      "1.2.3.256",
      "01.2.3.4",
      "1.2.3.-4",
      "1.2.3.4 ",
      "0x1.2.3.4",
      "1..3.4",
      "1e1.0.0.0",
    ]
  ) {
    assert.equal(a.parseIpv4(bad), undefined, bad);
  }
});

Deno.test("IPv6 is printed as RFC 5952 says, from every form that RFC 4291 has", () => {
  const forms: Record<string, string> = {
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "2001:0db8::0001": "2001:db8::1",
    "2001:db8::0:1": "2001:db8::1",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1",
    "2001:DB8:AAAA:BBBB:CCCC:DDDD:EEEE:FFFF": "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    "FF01:0:0:0:0:0:0:101": "ff01::101",
    "0:0:0:0:0:0:0:0": "::",
    "0:0:0:0:0:0:0:1": "::1",
    "1::": "1::",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0",
    "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8",
    "::ffff:c000:0201": "::ffff:192.0.2.1",
    "64:ff9b::192.0.2.33": "64:ff9b::c000:221",
    "::13.1.68.3": "::d01:4403",
  };
  for (const [text, canonical] of Object.entries(forms)) {
    assert.equal(a.formatIpv6(a.parseIpv6(text) ?? assert.fail(text)), canonical, text);
    assert.equal(a.formatIpv6(a.parseIpv6(canonical)!), canonical);
  }
});

Deno.test("what is no IPv6 address is refused", () => {
  const bad = [
    "",
    ":",
    ":::",
    "1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
  ];
  bad.push(
    "12345::",
    "g::",
    ":1::",
    "1::2:",
    "::1.2.3",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "fe80::1%eth0",
    " ::1",
    "1:2:3:4:5:6:7:1.2.3.4",
  );
  for (const text of bad) assert.equal(a.parseIpv6(text), undefined, text);
});

Deno.test("random addresses come back from their text", () => {
  const seed = 5952, random = new Random(seed);
  for (let i = 0; i < 1000; i++) {
    const bytes = random.bytes(16);
    for (let k = random.below(14); k > 0; k--) bytes[random.below(16)] = 0;
    assert.deepEqual(a.parseIpv6(a.formatIpv6(bytes)), Uint8Array.from(bytes), `seed ${seed}, turn ${i}`);
    assert.deepEqual(a.parseIp(a.formatIp(bytes)), Uint8Array.from(bytes), `seed ${seed}, turn ${i}`);
  }
});

Deno.test("an address of either kind is 16 bytes; a mapped one prints with dots", () => {
  assert.deepEqual(ip("192.0.2.1"), hex("00000000000000000000ffffc0000201"));
  assert.equal(a.formatIp(ip("::ffff:192.0.2.1")), "192.0.2.1");
  assert.ok(a.isIpv4(ip("0.0.0.0")) && !a.isIpv4(ip("::")) && !a.isIpv4(ip("::1.2.3.4")));
  assert.equal(a.ipv4Of(a.ipFromV4(-2)), -2);
});

Deno.test("a prefix is masked, printed in its own family's bits, and contains what it says", () => {
  assert.equal(a.formatPrefix(prefix("10.1.2.3/12")), "10.0.0.0/12");
  assert.equal(a.formatPrefix(prefix("2001:db8:ffff::1/33")), "2001:db8:8000::/33");
  assert.equal(a.formatPrefix(prefix("192.0.2.1")), "192.0.2.1/32");
  assert.equal(a.formatPrefix(prefix("::/0")), "::/0");
  assert.equal(prefix("0.0.0.0/0").bits, 96);
  const cases: [string, string, boolean][] = [
    ["10.0.0.0/12", "10.15.255.255", true],
    ["10.0.0.0/12", "10.16.0.0", false],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["0.0.0.0/0", "::1", false],
    ["::/0", "10.0.0.1", true],
    ["192.0.2.1/32", "192.0.2.1", true],
    ["192.0.2.1/32", "192.0.2.0", false],
    ["2001:db8::/33", "2001:db8:7fff::", true],
    ["2001:db8::/33", "2001:db8:8000::", false],
  ];
  for (const [p, address, inside] of cases) assert.equal(a.contains(prefix(p), ip(address)), inside, `${p} ${address}`);
  for (const bad of ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8/8", "/8", "10.0.0.0/-1", "10.0.0.0/08"]) {
    assert.equal(a.parsePrefix(bad), undefined, bad);
  }
});

Deno.test("a mask is bits or dots, with no ones behind a zero", () => {
  const four = ip("10.0.0.1"), six = ip("2001:db8::1");
  assert.equal(a.parseMask("255.255.255.0", four), 120);
  assert.equal(a.parseMask("/24", four), 120);
  assert.equal(a.parseMask("/120", four), 120);
  assert.equal(a.parseMask("/24", six), 24);
  assert.equal(a.parseMask("0.0.0.0", four), 96);
  assert.equal(a.parseMask("255.255.255.255", four), 128);
  assert.equal(a.parseMask("ffff:ffff:ff80::", six), 41);
  for (const bad of ["255.0.255.0", "/129", "/", "24", "255.255.255.1", "::1"]) {
    assert.equal(a.parseMask(bad, four), undefined, bad);
  }
});

Deno.test("kinds of addresses, and the multicast addresses made of them", () => {
  const kinds = (text: string) => {
    const x = ip(text);
    return [a.isMulticast(x) && "m", a.isLinkLocal(x) && "l", a.isLoopback(x) && "o", a.isUnspecified(x) && "u"]
      .filter((kind) => kind).join("");
  };
  const expected: Record<string, string> = {
    "224.0.0.1": "m",
    "239.255.255.255": "m",
    "223.255.255.255": "",
    "255.255.255.255": "",
    "ff02::1": "m",
    "169.254.3.4": "l",
    "fe80::1": "l",
    "febf::1": "l",
    "fec0::1": "",
    "127.3.4.5": "o",
    "::1": "o",
    "::": "u",
    "0.0.0.0": "u",
    "2001:db8::1": "",
  };
  for (const [text, want] of Object.entries(expected)) assert.equal(kinds(text), want, text);
  assert.equal(a.formatIp(a.solicitedNode(ip("fe80::1234:5678:9abc"))), "ff02::1:ff78:9abc");
  assert.equal(a.formatMac(a.multicastMac(ip("224.128.64.32"))), "01:00:5e:00:40:20");
  assert.equal(a.formatMac(a.multicastMac(ip("ff02::1:ff78:9abc"))), "33:33:ff:78:9a:bc");
  assert.equal(a.formatIp(a.ipFromMac(ip("fe80::"), hex("00005e0053af"))), "fe80::200:5eff:fe00:53af");
});
