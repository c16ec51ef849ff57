import assert from "node:assert/strict";
import { parseIp } from "../addr.ts";
import { hex, Random } from "../wire/wire_fixture.ts";
import { DnsCache } from "./cache.ts";
import { decodeMessage } from "./decode.ts";
import { encodeMessage } from "./encode.ts";
import { dnsErr, formatAttributes, formatRecord, parseDnsQuery } from "./format.ts";
import { canonicalName, decodeName, normalName, parseName, reverseName } from "./name.ts";
import { DNS_TYPE, type DnsRecord, makeMessage, type RData } from "./record.ts";

const text = (value: string) => new TextEncoder().encode(value);
const record = (name: string, type: number, data: RData, ttl = 300): DnsRecord => ({ name, type, class: 1, ttl, data });

const RECORDS: [DnsRecord, line: string, attributes: string][] = [
  [record("a.b", DNS_TYPE.A, { kind: "ip", ip: parseIp("1.2.3.4")! }), "a.b ip\t1.2.3.4", "dom=a.b ip=1.2.3.4"],
  [
    record("a.b", DNS_TYPE.AAAA, { kind: "ip", ip: parseIp("2001:db8::1")! }),
    "a.b ipv6\t2001:db8::1",
    "dom=a.b ipv6=2001:db8::1",
  ],
  [record("b", DNS_TYPE.NS, { kind: "name", name: "ns.b" }), "b ns\tns.b", "dom=b ns=ns.b"],
  [record("w.b", DNS_TYPE.CNAME, { kind: "name", name: "a.b" }), "w.b cname\ta.b", "dom=w.b cname=a.b"],
  [record("", DNS_TYPE.PTR, { kind: "name", name: "" }), ". ptr\t.", "dom= ptr=."],
  [
    record("b", DNS_TYPE.MX, { kind: "mx", preference: 10, exchange: "mx.b" }),
    "b mx\t10 mx.b",
    "dom=b mx=mx.b pref=10",
  ],
  [
    record("b", DNS_TYPE.TXT, { kind: "txt", texts: [text("v=1 x"), text("y\n")] }),
    "b txt\tv=1 xy?",
    'dom=b txt="v=1 xy?"',
  ],
  [
    record("b", DNS_TYPE.SOA, {
      kind: "soa",
      mname: "ns.b",
      rname: "host.b",
      serial: 0xf0000000,
      refresh: 1,
      retry: 2,
      expire: 3,
      minimum: 4,
    }),
    "b soa\tns.b host.b 4026531840 1 2 3 4",
    "dom=b soa= ns=ns.b mb=host.b serial=4026531840",
  ],
  [
    record("_x._tcp.b", DNS_TYPE.SRV, { kind: "srv", priority: 1, weight: 2, port: 564, target: "a.b" }),
    "_x._tcp.b srv\t1 2 564 a.b",
    "dom=_x._tcp.b srv=a.b pri=1 weight=2 port=564",
  ],
  [
    record("b", DNS_TYPE.CAA, { kind: "caa", flags: 128, tag: "issue", value: text("ca.org") }),
    "b caa\t128 issue ca.org",
    'dom=b caa="128 issue ca.org"',
  ],
  [record("b", 64, { kind: "raw", bytes: hex("00ff") }), "b type64\t00ff", "dom=b type64=00ff"],
];

const GOLDEN = encodeMessage(makeMessage({
  id: 7,
  isResponse: true,
  recursionDesired: true,
  recursionAvailable: true,
  questions: [{ name: "a.b", type: DNS_TYPE.ANY, class: 1 }],
  answers: RECORDS.map(([each]) => each),
  edns: { udpBytes: 1232, version: 0, dnssecOk: true, options: hex("000a 0002 0102") },
}));

Deno.test("records of every type go through bytes, and are printed as Plan 9 does", () => {
  const message = decodeMessage(GOLDEN)!;
  assert.deepEqual(message.answers, RECORDS.map(([each]) => each));
  assert.deepEqual(message.edns, { udpBytes: 1232, version: 0, dnssecOk: true, options: hex("000a 0002 0102") });
  assert.deepEqual(message.answers.map(formatRecord), RECORDS.map(([, line]) => line));
  assert.deepEqual(message.answers.map(formatAttributes), RECORDS.map(([, , attributes]) => attributes));
  assert.deepEqual([message.id, message.isResponse, message.recursionAvailable, message.truncated], [
    7,
    true,
    true,
    false,
  ]);
});

Deno.test("a real answer is read: compressed names, an alias, an address", () => {
  const message = decodeMessage(hex(`
    1234 8180 0001 0002 0000 0000  03 777777 07 6578616d706c65 03 636f6d 00 0001 0001
    c00c 0005 0001 00000e10 0002 c010  c010 0001 0001 0000003c 0004 5db8d822`))!;
  assert.deepEqual(message.answers.map(formatRecord), [
    "www.example.com cname\texample.com",
    "example.com ip\t93.184.216.34",
  ]);
});

Deno.test("names are compressed: the same one costs two bytes the second time, in any case of letters", () => {
  const long = "host.example.com", size = (answers: DnsRecord[]) => encodeMessage(makeMessage({ answers })).length;
  const one = record(long, DNS_TYPE.CNAME, { kind: "name", name: "WWW.EXAMPLE.COM" });
  assert.equal(size([one]), 12 + 18 + 10 + 4 + 2);
  assert.equal(size([one, one]) - size([one]), 2 + 10 + 2);
});

Deno.test("what does not fit is left out by whole records, and said", () => {
  const answers = Array.from({ length: 40 }, () => RECORDS[0][0]);
  const edns = { udpBytes: 1232, version: 0, dnssecOk: false, options: new Uint8Array(0) };
  for (const room of [100, 333, 512]) {
    const bytes = encodeMessage(makeMessage({ answers, edns }), room), message = decodeMessage(bytes)!;
    assert.ok(bytes.length <= room && bytes.length > room - 17, `${bytes.length} of ${room}`);
    assert.ok(message.truncated && message.edns !== undefined && message.answers.length < 40);
    assert.deepEqual(message.answers.at(-1), RECORDS[0][0]);
  }
});

Deno.test("a truncated message may end anywhere; another one may not", () => {
  for (let length = 0; length < GOLDEN.length; length++) {
    assert.equal(decodeMessage(GOLDEN.subarray(0, length)), undefined, `${length} bytes`);
  }
  const cut = GOLDEN.slice(0, 80);
  cut[2] |= 2;
  const { answers } = decodeMessage(cut)!;
  assert.deepEqual(answers, RECORDS.slice(0, answers.length).map(([each]) => each));
  assert.ok(answers.length > 0);
});

Deno.test("data that is not as its type wants it is kept as it is", () => {
  for (
    const [type, data] of [[1, "010203"], [28, "01"], [15, "00"], [16, "05 61"], [257, "00 09 61"], [5, "01 61"], [
      6,
      "00 00 01",
    ]] as const
  ) {
    const bytes = hex(data), message = makeMessage({ answers: [record("x", type, { kind: "raw", bytes })] });
    assert.deepEqual(decodeMessage(encodeMessage(message))!.answers[0].data, { kind: "raw", bytes }, `type ${type}`);
  }
});

Deno.test("pointers lead backwards only, and a name ends", () => {
  const at = (bytes: string, from = 0) => decodeName(hex(bytes), from, hex(bytes).length);
  assert.deepEqual(at("01 61 00 01 62 c000", 3), { text: "b.a", end: 7 });
  for (
    const [bytes, from] of [["c000", 0], ["c002 c000", 2], ["01 61 c000", 0], ["01 61 c004 c000", 0], ["05 61", 0], [
      "41 61",
      0,
    ]] as const
  ) {
    assert.equal(at(bytes, from), undefined, bytes);
  }
  const labels = "3f" + "61".repeat(63);
  assert.equal(at(labels.repeat(4) + "00"), undefined);
  assert.equal(at(labels.repeat(3) + "3d" + "61".repeat(61) + "00")?.text.length, 253);
});

Deno.test("no bytes make the decoder throw, hang or answer what can not be written again", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = new Random(seed), data = random.below(5) ? GOLDEN.slice() : random.bytes(random.below(100));
    for (let i = random.below(8); i >= 0 && data.length > 0; i--) data[random.below(data.length)] = random.below(256);
    try {
      const message = decodeMessage(data);
      if (message === undefined) continue;
      const again = decodeMessage(encodeMessage(message))!;
      assert.deepEqual(again.questions, message.questions);
      if (!message.truncated) assert.deepEqual(again.answers, message.answers);
      message.answers.forEach((each) => assert.ok(!/[\n\0]/.test(formatRecord(each) + formatAttributes(each))));
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
  }
});

Deno.test("names as text: escapes, limits, comparison, reverse", () => {
  assert.deepEqual(parseName("a.b.")?.length, 2);
  assert.deepEqual(parseName("a\\.b\\032c")?.map((label) => String.fromCharCode(...label)), ["a.b c"]);
  for (const bad of ["a..b", ".a", "x".repeat(64), "ä", "a\\", "\\256", "y.".repeat(128)]) {
    assert.equal(parseName(bad), undefined, bad);
  }
  assert.equal(normalName("\\065b.\\.c."), "Ab.\\.c");
  assert.equal(canonicalName("Ab.C."), "ab.c");
  assert.equal(reverseName(parseIp("1.2.3.4")!), "4.3.2.1.in-addr.arpa");
  assert.equal(reverseName(parseIp("2001:db8::1")!), "1" + ".0".repeat(23) + ".8.b.d.0.1.0.0.2.ip6.arpa");
});

Deno.test("query lines of the dns file", () => {
  assert.deepEqual(parseDnsQuery("www.b mx\n"), { name: "www.b", type: 15, attributes: false });
  assert.deepEqual(parseDnsQuery("!www.b"), { name: "www.b", type: 1, attributes: true });
  assert.deepEqual(parseDnsQuery("b type64"), { name: "b", type: 64, attributes: false });
  assert.deepEqual(parseDnsQuery("1.2.3.4 ptr"), { name: "4.3.2.1.in-addr.arpa.", type: 12, attributes: false });
  for (const bad of ["", " ", "!", "a b c", "a toString", "a type99999", "a..b ip"]) {
    assert.equal(typeof parseDnsQuery(bad), "string", bad);
  }
});

Deno.test("a lookup that fails is an error with its code and the name", () => {
  const error = dnsErr("nxdomain", "a.b");
  assert.deepEqual([error.code, error.message], ["ENOENT", "dns: a.b: name does not exist"]);
  assert.equal(dnsErr("timeout", "a.b").code, "ETIMEDOUT");
});

Deno.test("the cache tells what is left of a TTL, and forgets in time", () => {
  const cache = new DnsCache(), [set] = RECORDS[0];
  cache.put([set, { ...set, ttl: 100 }], 0);
  assert.deepEqual((cache.get("A.B", 1, 30_500) as DnsRecord[]).map((each) => each.ttl), [70, 70]);
  assert.equal(cache.get("a.b", 28, 0), undefined);
  assert.equal(cache.get("a.b", 1, 100_000), undefined);
  cache.put([{ ...set, ttl: 0 }], 0);
  assert.equal(cache.size, 0);
});

Deno.test("the cache keeps what is not there, for the zone's time", () => {
  const cache = new DnsCache(), soa = { ...RECORDS[7][0], ttl: 60 };
  cache.putNegative("x.b", 1, "nodata", [soa], 0);
  cache.putNegative("y.b", 1, "nxdomain", [soa], 0);
  cache.putNegative("z.b", 1, "nxdomain", [], 0);
  assert.deepEqual(["x.b", "y.b", "z.b"].map((name) => cache.get(name, 1, 3999)), ["nodata", "nxdomain", undefined]);
  assert.deepEqual([cache.get("x.b", 28, 0), cache.get("y.b", 28, 0)], [undefined, "nxdomain"]);
  assert.equal(cache.get("x.b", 1, 4000), undefined);
});

Deno.test("the cache is bounded, and keeps what is used", () => {
  const cache = new DnsCache(10), [set] = RECORDS[0];
  cache.put([set], 0);
  for (let i = 0; i < 100; i++) {
    cache.put([{ ...set, name: `n${i}` }], 0);
    assert.ok(Array.isArray(cache.get("a.b", 1, 0)), `after ${i}`);
  }
  assert.equal(cache.size, 10);
  assert.equal([...cache.dump(0)].length, 10);
});
