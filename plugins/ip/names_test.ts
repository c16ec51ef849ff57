import assert from "node:assert/strict";
import { ORDWR } from "../../core/plugin/author.ts";
import type { Files } from "../../core/plugin/testing.ts";
import { parseIp } from "../../net/addr.ts";
import { decodeMessage } from "../../net/dns/decode.ts";
import { encodeMessage } from "../../net/dns/encode.ts";
import { CLASS_IN, DNS_TYPE, type DnsRecord, makeMessage, RCODE } from "../../net/dns/record.ts";
import { Conversation, pair } from "./fixture.ts";

/** What the name server of these tests knows. */
const RECORDS: Record<string, string[]> = {
  "www.example.org": ["10.0.0.2", "fd00::2"],
  "big.example.org": Array.from({ length: 200 }, (_, i) => `10.9.${i}.1`),
};

/** Asks a query file, and reads its lines. */
async function ask(files: Files, path: string, query: string): Promise<string[]> {
  const file = await files.open(path, ORDWR);
  try {
    await file.write(query);
    const lines: string[] = [];
    for (let line; (line = await file.read()) !== "";) lines.push(line.trimEnd());
    return lines;
  } finally {
    await file.close();
  }
}

/** A name server on a node, by UDP and TCP; `asked` tells what it was asked. */
async function nameServer(files: Files): Promise<{ asked: string[] }> {
  const asked: string[] = [];
  const answer = (bytes: Uint8Array, limit: number): Uint8Array => {
    const query = decodeMessage(bytes, 0, bytes.length)!, [{ name, type }] = query.questions;
    asked.push(`${name} ${type}`);
    const known = Object.hasOwn(RECORDS, name);
    const answers: DnsRecord[] = (RECORDS[name] ?? []).flatMap((text) => {
      const ip = parseIp(text)!, of = text.includes(":") ? DNS_TYPE.AAAA : DNS_TYPE.A;
      return of === type ? [{ name, type, class: CLASS_IN, ttl: 60, data: { kind: "ip" as const, ip } }] : [];
    });
    const head = { id: query.id, isResponse: true, recursionAvailable: true, questions: query.questions };
    const whole = encodeMessage(makeMessage({ ...head, answers, rcode: known ? RCODE.noError : RCODE.nxDomain }));
    return whole.length <= limit ? whole : encodeMessage(makeMessage({ ...head, truncated: true }));
  };
  const udp = await Conversation.open(files, "udp", "headers", "announce 53"), data = await udp.data();
  void (async () => {
    for (;;) {
      const got = await data.readBytes(), reply = answer(got.subarray(52), 1232);
      await data.writeBytes(Uint8Array.of(...got.subarray(0, 52), ...reply));
    }
  })().catch(() => {});
  const tcp = await Conversation.open(files, "tcp", "announce 53");
  void (async () => {
    for (;;) {
      const call = await tcp.accept(), stream = await call.data(), got = await stream.readBytes();
      const reply = answer(got.subarray(2), 65_535);
      await stream.writeBytes(Uint8Array.of(reply.length >> 8, reply.length & 255, ...reply));
    }
  })().catch(() => {});
  return { asked };
}

Deno.test("ip: cs says what to write to which clone file", async () => {
  await using net = await pair({ ndb: "sys=tiger ip=10.0.0.2\nipnet=lan ip=10.0.0.0 ipmask=/24\n\tauth=tiger\n" });
  const cases: [string, string[] | RegExp][] = [
    ["tcp!10.0.0.2!9fs", ["/net/tcp/clone 10.0.0.2!564"]],
    ["tcp!tiger!80", ["/net/tcp/clone 10.0.0.2!80"]],
    ["net!tiger!80", ["/net/tcp/clone 10.0.0.2!80", "/net/udp/clone 10.0.0.2!80"]],
    ["udp!fd00::2!53", ["/net/udp/clone fd00::2!53"]],
    ["tcp!*!http", ["/net/tcp/clone 80"]],
    ["icmp!tiger!1", ["/net/icmp/clone 10.0.0.2!1"]],
    ["tcp!$auth!567", ["/net/tcp/clone 10.0.0.2!567"]],
    ["!sys=tiger", ["sys=tiger ip=10.0.0.2"]],
    ["il!tiger!9fs", /no protocol il/],
    ["tcp!tiger!nosuch", /no service nosuch/],
    ["tcp!nowhere!80", /no server is known/],
    ["", /not a dial string/],
  ];
  for (const [query, wanted] of cases) {
    if (wanted instanceof RegExp) await assert.rejects(ask(net.left, "cs", query), { message: wanted }, query);
    else assert.deepEqual(await ask(net.left, "cs", query), wanted, query);
  }
});

Deno.test("ip: each who has cs open has answers of his own, and reads them again from the start", async () => {
  await using net = await pair();
  const [one, two] = [await net.left.open("cs", ORDWR), await net.left.open("cs", ORDWR)];
  await one.write("tcp!10.0.0.2!80");
  await two.write("tcp!10.0.0.2!81");
  assert.equal(await one.read(), "/net/tcp/clone 10.0.0.2!80\n");
  assert.equal(await two.read(), "/net/tcp/clone 10.0.0.2!81\n");
  assert.equal(await one.read(), "");
});

Deno.test("ip: names are asked of DNS over the stack's own UDP, and TCP when they are many", async () => {
  await using net = await pair({ dns: "10.0.0.2", domain: "example.org" });
  const { asked } = await nameServer(net.right);
  assert.deepEqual(await ask(net.left, "dns", "www.example.org"), ["www.example.org ip\t10.0.0.2"]);
  assert.deepEqual(await ask(net.left, "dns", "www.example.org. ipv6"), ["www.example.org ipv6\tfd00::2"]);
  assert.deepEqual(await ask(net.left, "dns", "!www ip"), ["dom=www.example.org ip=10.0.0.2"], "by the search list");
  assert.deepEqual(await ask(net.left, "cs", "tcp!www!80"), [
    "/net/tcp/clone fd00::2!80",
    "/net/tcp/clone 10.0.0.2!80",
  ]);
  assert.deepEqual(asked, ["www.example.org 1", "www.example.org 28"], "once each: then it is known");
  assert.equal((await ask(net.left, "dns", "big.example.org ip")).length, 200);
  await assert.rejects(ask(net.left, "dns", "nobody.example.org ip"), { code: "ENOENT" });
  await assert.rejects(ask(net.left, "dns", "a name too many"), { code: "EINVAL" });
  for (const proto of ["udp", "tcp"]) {
    assert.deepEqual(await net.left.list(proto), ["clone", "stats"], "its sockets are not conversations");
  }
  assert.equal([...(await net.left.read("udp/stats")).matchAll(/InErrors: 0/g)].length, 1);
});

Deno.test("ip: what is written to ndb counts at once", async () => {
  await using net = await pair();
  const { asked } = await nameServer(net.right);
  await assert.rejects(ask(net.left, "dns", "www.example.org ip"), { code: "EHOSTUNREACH" });
  await net.left.write("ndb", "dns=10.0.0.2\nsys=lion ip=10.0.0.9\n");
  assert.equal(await net.left.read("ndb"), "dns=10.0.0.2\nsys=lion ip=10.0.0.9\n");
  assert.deepEqual(await ask(net.left, "dns", "www.example.org ip"), ["www.example.org ip\t10.0.0.2"]);
  assert.deepEqual(await ask(net.left, "cs", "tcp!lion!80"), ["/net/tcp/clone 10.0.0.9!80"]);
  await ask(net.left, "dns", "refresh");
  await ask(net.left, "dns", "www.example.org ip");
  assert.equal(asked.length, 2);
});
