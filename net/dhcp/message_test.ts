import assert from "node:assert/strict";
import { parseIpv4 } from "../addr.ts";
import { Ndb } from "../ndb.ts";
import { abuse, hex, Random, refusesCuts } from "../wire/wire_fixture.ts";
import { classlessRoutes, leaseOf, ndbOfLease } from "./lease.ts";
import { DHCP_OPTION, DHCP_TYPE, type DhcpFields, DhcpMessage, encodeDhcp, long } from "./message.ts";

const MAC = hex("02 00 00 00 00 01");
const ip = (text: string) => parseIpv4(text)!;

/** An acknowledgement with these options. */
function ack(options: DhcpFields["options"], yiaddr = ip("10.0.0.7")): DhcpMessage {
  const message = new DhcpMessage();
  const fields = { reply: true, xid: 7, secs: 0, broadcast: false, yiaddr, mac: MAC, type: DHCP_TYPE.ack, options };
  assert.equal(message.parse(encodeDhcp(fields)), undefined);
  return message;
}

const NEEDED: DhcpFields["options"] = [[DHCP_OPTION.serverId, long(ip("10.0.0.1"))], [
  DHCP_OPTION.leaseTime,
  long(3600),
]];

Deno.test("a message, field by field", () => {
  const bytes = encodeDhcp({
    xid: 0x80000001 | 0,
    secs: 3,
    broadcast: true,
    ciaddr: ip("1.2.3.4"),
    mac: MAC,
    type: DHCP_TYPE.discover,
    options: [[DHCP_OPTION.hostname, hex("6e6f6465 00")], [DHCP_OPTION.dns, hex("08080808 01010101")], [
      DHCP_OPTION.mtu,
      hex("05dc"),
    ]],
  });
  assert.equal(bytes.length, 300);
  const message = new DhcpMessage();
  assert.equal(message.parse(bytes), undefined);
  assert.deepEqual(
    [message.isReply, message.type, message.xid, message.secs, message.broadcast, message.ciaddr, message.yiaddr],
    [false, 1, 0x80000001 | 0, 3, true, 0x01020304, 0],
  );
  assert.deepEqual([...message.chaddr], [...MAC]);
  assert.deepEqual(message.addresses(DHCP_OPTION.dns), [0x08080808, 0x01010101]);
  assert.deepEqual([message.text(DHCP_OPTION.hostname), message.word(DHCP_OPTION.mtu)], ["node", 1500]);
  assert.equal(message.option(DHCP_OPTION.router), undefined);
});

Deno.test("an option in parts is one value, also from the file and sname fields", () => {
  const bytes = new Uint8Array(400), message = new DhcpMessage();
  bytes.set(
    encodeDhcp({ reply: true, xid: 1, secs: 0, broadcast: false, mac: MAC, type: DHCP_TYPE.offer, options: [] }),
  );
  bytes.set(hex("35 01 02  34 01 03  06 04 01010101  06 04 02020202  ff"), 240);
  bytes.set(hex("06 04 03030303 ff"), 108);
  bytes.set(hex("00 0f 02 6462 ff"), 44);
  assert.equal(message.parse(bytes), undefined);
  assert.deepEqual(message.addresses(DHCP_OPTION.dns), [0x01010101, 0x02020202, 0x03030303]);
  assert.equal(message.text(DHCP_OPTION.domain), "db");
});

Deno.test("no bytes make the view throw or read outside of the message", () => {
  const golden = ack([...NEEDED, [DHCP_OPTION.classlessRoutes, hex("00 0a000001")]]);
  const bytes = golden.bytes.slice(0, 274), options = bytes.subarray(240);
  refusesCuts(new DhcpMessage(), bytes.subarray(0, 240 + 3), 243);
  abuse(new DhcpMessage(), [bytes], (message) => void leaseOf(message, 0));
  for (let seed = 1; seed <= 500; seed++) {
    const random = new Random(seed), data = bytes.slice(), message = new DhcpMessage();
    for (let i = random.below(6); i >= 0; i--) data[240 + random.below(options.length)] = random.below(256);
    try {
      if (message.parse(data) === undefined) leaseOf(message, 0);
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
  }
});

Deno.test("a lease is what the options say", () => {
  const lease = leaseOf(
    ack([
      ...NEEDED,
      [DHCP_OPTION.mask, long(ip("255.255.254.0"))],
      [DHCP_OPTION.router, hex("0a000001 0a000002")],
      [DHCP_OPTION.dns, hex("08080808")],
      [DHCP_OPTION.ntp, hex("0a000003")],
      [DHCP_OPTION.domain, hex("4c616e2e")],
      [DHCP_OPTION.domainSearch, hex("01 61 03 6c616e 00  01 62 c002")],
      [DHCP_OPTION.mtu, hex("0578")],
      [DHCP_OPTION.t1, long(100)],
      [DHCP_OPTION.t2, long(200)],
    ]),
    1000,
  );
  assert.deepEqual(lease, {
    address: ip("10.0.0.7"),
    bits: 23,
    server: ip("10.0.0.1"),
    routes: [{ addr: 0, bits: 0, gateway: ip("10.0.0.1") }],
    dns: [0x08080808],
    ntp: [ip("10.0.0.3")],
    domain: "lan",
    search: ["a.lan", "b.lan"],
    hostname: undefined,
    mtu: 1400,
    broadcast: undefined,
    startMs: 1000,
    t1Ms: 101_000,
    t2Ms: 201_000,
    endMs: 3_601_000,
  });
});

Deno.test("a lease goes into the network database as ipconfig writes it", () => {
  const options: DhcpFields["options"] = [
    [DHCP_OPTION.mask, long(ip("255.255.255.0"))],
    [DHCP_OPTION.router, hex("0a000001")],
    [DHCP_OPTION.dns, hex("0a000001 08080808")],
    [DHCP_OPTION.domain, hex("6c616e")],
    [DHCP_OPTION.domainSearch, hex("03 6c616e 00 01 62 00")],
  ];
  const text = ndbOfLease(leaseOf(ack([...NEEDED, ...options]), 0)!, "node");
  assert.equal(
    text,
    "ip=10.0.0.7 ipmask=255.255.255.0 ipgw=10.0.0.1\n\tsys=node dom=node.lan\n\tdnsdomain=lan dnsdomain=b\n" +
      "\tdns=10.0.0.1 dns=8.8.8.8\n",
  );
  assert.deepEqual(new Ndb(text).values("sys", "node", "dns"), ["10.0.0.1", "8.8.8.8"]);
  assert.equal(ndbOfLease(leaseOf(ack([...NEEDED]), 0)!), "ip=10.0.0.7 ipmask=255.0.0.0\n");
});

Deno.test("classless routes take the routers' place; bits behind a prefix are cleared", () => {
  const routes = hex("00 0a000001  18 c0a801 0a000002  0d 0aff 00000000");
  const lease = leaseOf(
    ack([...NEEDED, [DHCP_OPTION.classlessRoutes, routes], [DHCP_OPTION.router, hex("01010101")]]),
    0,
  )!;
  assert.deepEqual(lease.routes, [
    { addr: 0, bits: 0, gateway: ip("10.0.0.1") },
    { addr: ip("192.168.1.0"), bits: 24, gateway: ip("10.0.0.2") },
    { addr: ip("10.248.0.0"), bits: 13, gateway: 0 },
  ]);
  for (const bad of ["", "21 0a000001 0a000001", "18 c0a801 0a0000", "18 c0"]) {
    assert.equal(classlessRoutes(hex(bad)), undefined, bad);
  }
});

Deno.test("what makes no sense is left out; what a lease can not be without makes it none", () => {
  for (const address of ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"]) {
    assert.equal(leaseOf(ack(NEEDED, ip(address)), 0), undefined, address);
  }
  assert.equal(leaseOf(ack(NEEDED.slice(0, 1)), 0), undefined);
  assert.equal(leaseOf(ack(NEEDED.slice(1)), 0), undefined);
  const lease = leaseOf(
    ack([...NEEDED, [DHCP_OPTION.mask, long(ip("255.0.255.0"))], [DHCP_OPTION.mtu, hex("0010")], [
      DHCP_OPTION.t1,
      long(9999),
    ], [
      DHCP_OPTION.domain,
      hex("61 0a 62"),
    ], [DHCP_OPTION.dns, hex("010101")]]),
    0,
  )!;
  assert.deepEqual([lease.bits, lease.mtu, lease.domain, lease.dns], [8, undefined, undefined, []]);
  assert.deepEqual([lease.t1Ms, lease.t2Ms], [1_800_000, 3_150_000]);
  const forever = leaseOf(ack([NEEDED[0], [DHCP_OPTION.leaseTime, long(-1)]]), 0)!;
  assert.deepEqual([forever.t1Ms, forever.endMs], [Infinity, Infinity]);
});
