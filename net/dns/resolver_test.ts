import assert from "node:assert/strict";
import { formatIp, type Ip, parseIp } from "../addr.ts";
import { Random } from "../wire/wire_fixture.ts";
import { decodeMessage } from "./decode.ts";
import { encodeMessage } from "./encode.ts";
import { canonicalName } from "./name.ts";
import { DNS_TYPE, type DnsMessage, type DnsRecord, makeMessage, RCODE } from "./record.ts";
import { type DnsAnswer, type DnsSend, Resolver, type ResolverOptions } from "./resolver.ts";

const { A, AAAA, CNAME, SOA, NS } = DNS_TYPE;
const S1 = parseIp("10.0.0.1")!, S2 = parseIp("10.0.0.2")!;

function resolver(more: Partial<ResolverOptions> = {}, seed = 1): Resolver {
  const random = new Random(seed);
  return new Resolver({ random: () => random.below(0x80000000) * 2 + random.below(2) | 0, servers: [S1, S2], ...more });
}

function ip(name: string, address: string, ttl = 60): DnsRecord {
  const bytes = parseIp(address)!;
  return { name, type: address.includes(":") ? AAAA : A, class: 1, ttl, data: { kind: "ip", ip: bytes } };
}

function alias(name: string, target: string): DnsRecord {
  return { name, type: CNAME, class: 1, ttl: 60, data: { kind: "name", name: target } };
}

const ZONE: DnsRecord = {
  name: "b",
  type: SOA,
  class: 1,
  ttl: 60,
  data: { kind: "soa", mname: "ns.b", rname: "x.b", serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 30 },
};

function sends(dns: Resolver, now: number): DnsSend[] {
  const list: DnsSend[] = [];
  for (let send = dns.poll(now); send !== undefined; send = dns.poll(now)) list.push(send);
  assert.ok(dns.pollAt() > now, `pollAt ${dns.pollAt()} at ${now}`);
  return list;
}

function reply(send: DnsSend, part: Partial<DnsMessage>): Uint8Array {
  const { id, questions } = decodeMessage(send.bytes)!;
  return encodeMessage(makeMessage({ id, isResponse: true, recursionAvailable: true, questions, ...part }));
}

/** What a lookup comes to while a server answers all questions by `zone`, at once; with the names that were asked for. */
function run(
  dns: Resolver,
  name: string,
  type: number,
  zone: (name: string, type: number) => Partial<DnsMessage>,
  now = 0,
) {
  const asked: string[] = [], answers: DnsAnswer[] = [];
  dns.lookup(name, type, now, (each) => answers.push(each));
  for (let turn = 0; answers.length === 0 && turn < 50; turn++) {
    for (const send of sends(dns, now)) {
      const [question] = decodeMessage(send.bytes)!.questions;
      asked.push(question.name);
      dns.input(reply(send, zone(canonicalName(question.name), question.type)), send, now);
    }
  }
  assert.equal(answers.length, 1);
  return {
    ...answers[0],
    asked,
    values: answers[0].records.map(({ data }) => data.kind === "ip" ? formatIp(data.ip) : data.kind),
  };
}

const NONE: Partial<DnsMessage> = { rcode: RCODE.nxDomain, authority: [ZONE] };

Deno.test("a question is asked once, answered, and remembered for its TTL", () => {
  const dns = resolver(), zone = () => ({ answers: [ip("a.b", "1.2.3.4")] });
  const first = run(dns, "A.b", A, zone);
  assert.deepEqual([first.status, first.values, first.asked], ["ok", ["1.2.3.4"], ["a.b"]]);
  const again = run(dns, "a.b", A, zone, 30_000);
  assert.deepEqual([again.values, again.asked, again.records[0].ttl], [["1.2.3.4"], [], 30]);
  assert.deepEqual(run(dns, "a.b", A, zone, 60_000).asked, ["a.b"]);
});

Deno.test("what is sent: recursion desired, EDNS0, unpredictable ids and ports", () => {
  const dns = resolver(), ports = new Set<number>(), ids = new Set<number>();
  for (let i = 0; i < 100; i++) dns.lookup(`h${i}.b`, A, 0, () => {});
  for (const send of sends(dns, 0)) {
    const message = decodeMessage(send.bytes)!;
    assert.deepEqual([message.recursionDesired, message.edns?.udpBytes, send.tcp], [true, 1232, false]);
    assert.ok(send.port >= 1024 && send.port < 65_536);
    ports.add(send.port);
    ids.add(message.id);
  }
  assert.equal(ports.size, 100);
  assert.ok(ids.size > 90);
});

Deno.test("what does not match in every respect is no answer", () => {
  const dns = resolver(), answers: DnsAnswer[] = [];
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const [send] = sends(dns, 0),
    good = reply(send, { answers: [ip("a.b", "6.6.6.6")] }),
    { id } = decodeMessage(send.bytes)!;
  const bad: [Uint8Array, DnsSend][] = [
    [good, { ...send, server: S2 }],
    [good, { ...send, port: send.port ^ 1 }],
    [good, { ...send, tcp: true }],
    [send.bytes, send],
    [reply(send, { id: id ^ 1 }), send],
    [reply(send, { questions: [{ name: "c.b", type: A, class: 1 }] }), send],
    [reply(send, { questions: [{ name: "a.b", type: AAAA, class: 1 }] }), send],
    [reply(send, { questions: [] }), send],
    [reply(send, { opcode: 5 }), send],
    [good.subarray(0, good.length - 1), send],
  ];
  for (const [bytes, from] of bad) assert.ok(!dns.input(bytes, from, 1));
  assert.deepEqual([answers.length, dns.ignored], [0, bad.length]);
  assert.ok(dns.input(good, send, 1));
  assert.ok(!dns.input(good, send, 2));
  assert.equal(answers.length, 1);
});

Deno.test("with mixed case an answer repeats the letters as they were sent", () => {
  const dns = resolver({ mixCase: true }), answers: DnsAnswer[] = [], name = "a-long-name-with-letters.example";
  dns.lookup(name, A, 0, (each) => answers.push(each));
  const [send] = sends(dns, 0), [question] = decodeMessage(send.bytes)!.questions;
  assert.notEqual(question.name, name);
  assert.equal(canonicalName(question.name), name);
  assert.ok(!dns.input(reply(send, { questions: [{ ...question, name }], answers: [ip(name, "6.6.6.6")] }), send, 1));
  assert.ok(dns.input(reply(send, { answers: [ip(name, "1.1.1.1")] }), send, 1));
  assert.equal(answers[0].status, "ok");
});

Deno.test("silent servers are asked in turn, twice, the second time for longer; then it is over", () => {
  const dns = resolver(), tries: [number, string][] = [], answers: DnsAnswer[] = [];
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  for (let now = 0; answers.length === 0; now = dns.pollAt()) {
    for (const send of sends(dns, now)) tries.push([now, formatIp(send.server)]);
    if (dns.pollAt() === Infinity) break;
  }
  assert.deepEqual(tries, [[0, "10.0.0.1"], [2000, "10.0.0.2"], [4000, "10.0.0.1"], [8000, "10.0.0.2"]]);
  assert.equal(answers[0].status, "timeout");
});

Deno.test("an answer that comes late still counts; whoever answers is asked first from then on", () => {
  const dns = resolver(), answers: DnsAnswer[] = [];
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const [first] = sends(dns, 0), [second] = sends(dns, 2000);
  assert.ok(dns.input(reply(first, { answers: [ip("a.b", "1.1.1.1")] }), first, 2500));
  assert.equal(answers[0].status, "ok");
  assert.ok(!dns.input(reply(second, { answers: [ip("a.b", "2.2.2.2")] }), second, 2600));
  dns.lookup("c.b", A, 3000, () => {});
  sends(dns, 3000);
  const [third] = sends(dns, 5000);
  assert.equal(formatIp(third.server), "10.0.0.2");
  dns.input(reply(third, { answers: [ip("c.b", "1.1.1.1")] }), third, 5001);
  dns.lookup("d.b", A, 6000, () => {});
  assert.equal(formatIp(sends(dns, 6000)[0].server), "10.0.0.2");
});

Deno.test("who is polled late, after a stall, reads what came meanwhile before the last try is given up; but once only", () => {
  for (const answered of [true, false]) {
    const dns = resolver({ servers: [S1], attempts: 1 }), answers: DnsAnswer[] = [];
    dns.lookup("a.b", A, 0, (each) => answers.push(each));
    const [send] = sends(dns, 0);
    assert.deepEqual([sends(dns, 9000).length, answers.length, dns.awaits(send.port)], [0, 0, true]);
    if (answered) dns.input(reply(send, { answers: [ip("a.b", "1.1.1.1")] }), send, 9001);
    sends(dns, 90_000);
    assert.deepEqual(answers.map((each) => each.status), [answered ? "ok" : "timeout"]);
  }
});

Deno.test("a server that is told of as unreachable is passed by; the others have their time, also at the end", () => {
  const dns = resolver(), answers: DnsAnswer[] = [], S3 = parseIp("10.0.0.3")!;
  dns.configure({ servers: [S1, S2, S3], attempts: 1 });
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const [first] = sends(dns, 0), [second] = sends(dns, 2000);
  dns.failed(first.port, 3000);
  assert.deepEqual([sends(dns, 3000), dns.pollAt()], [[], 4000], "the second is asked still");
  const [third] = sends(dns, 4000);
  dns.failed(second.port, 4001);
  assert.deepEqual([sends(dns, 4001), dns.pollAt()], [[], 6000]);
  assert.ok(dns.input(reply(third, { answers: [ip("a.b", "1.1.1.1")] }), third, 5900));
  assert.equal(answers[0].status, "ok");

  dns.configure({ servers: [S1, S2, S3] });
  dns.lookup("c.b", A, 10_000, () => {});
  sends(dns, 10_000);
  const [refused] = sends(dns, 12_000);
  dns.failed(refused.port, 12_001);
  assert.equal(formatIp(sends(dns, 12_001)[0].server), "10.0.0.3", "the next at once, though the first is silent");
});

Deno.test("when tries are spent, what was asked before has the rest of its time", () => {
  const dns = resolver({ attempts: 1 }), answers: DnsAnswer[] = [];
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const [first] = sends(dns, 0), [second] = sends(dns, 2000);
  dns.input(reply(first, { truncated: true }), first, 2100);
  const [tcp] = sends(dns, 2100);
  dns.failed(tcp.port, 2200);
  assert.deepEqual([sends(dns, 2200), answers, dns.pollAt()], [[], [], 4000]);
  assert.ok(dns.input(reply(second, { answers: [ip("a.b", "1.1.1.1")] }), second, 3900));
  assert.equal(answers[0].status, "ok");
});

Deno.test("a server that can not tell makes room for the next; if none can, that is the answer", () => {
  for (
    const part of [{ rcode: RCODE.servFail }, { rcode: RCODE.refused }, {
      recursionAvailable: false,
      authority: [{ ...ZONE, type: NS, data: alias("b", "ns.b").data }],
    }]
  ) {
    let count = 0;
    const one = run(resolver(), "a.b", A, () => ++count === 1 ? part : { answers: [ip("a.b", "1.1.1.1")] });
    assert.deepEqual([one.status, count], ["ok", 2]);
    assert.equal(run(resolver(), "a.b", A, () => part).status, "failed");
  }
});

Deno.test("a server that does not know EDNS0 is asked without", () => {
  const dns = resolver(), answers: DnsAnswer[] = [];
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const [first] = sends(dns, 0);
  dns.input(reply(first, { rcode: RCODE.formErr }), first, 1);
  const [second] = sends(dns, 1);
  assert.deepEqual([formatIp(second.server), decodeMessage(second.bytes)!.edns], ["10.0.0.1", undefined]);
  dns.input(reply(second, { answers: [ip("a.b", "1.1.1.1")] }), second, 2);
  assert.equal(answers[0].status, "ok");
});

Deno.test("a truncated answer is asked for by TCP; when that fails, the next server is", () => {
  const dns = resolver(), answers: DnsAnswer[] = [];
  dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const [udp] = sends(dns, 0);
  dns.input(reply(udp, { truncated: true, answers: [ip("a.b", "6.6.6.6")] }), udp, 1);
  const [tcp] = sends(dns, 1);
  assert.deepEqual([tcp.tcp, formatIp(tcp.server)], [true, "10.0.0.1"]);
  dns.failed(tcp.port, 2);
  const [next] = sends(dns, 2);
  assert.deepEqual([next.tcp, formatIp(next.server)], [false, "10.0.0.2"]);
  dns.input(reply(next, { truncated: true }), next, 3);
  const [last] = sends(dns, 3);
  dns.input(reply(last, { answers: [ip("a.b", "1.1.1.1"), ip("a.b", "1.1.1.2")] }), last, 4);
  assert.equal(answers[0].records.length, 2);
});

Deno.test("aliases are followed, in one answer and over several", () => {
  const zone: Record<string, Partial<DnsMessage>> = {
    "w.b": { answers: [alias("w.b", "x.b"), alias("x.b", "y.b"), ip("evil.b", "6.6.6.6")] },
    "y.b": { answers: [ip("z.b", "1.1.1.1"), alias("y.b", "z.b")] },
    "n.b": { answers: [alias("n.b", "gone.b")], ...NONE },
    "m.b": { answers: [alias("m.b", "a.b")], authority: [ZONE] },
  };
  const dns = resolver(), ask = (name: string, type: number = A) => run(dns, name, type, (each) => zone[each] ?? NONE);
  const found = ask("w.b");
  assert.deepEqual([found.status, found.values, found.asked], ["ok", ["name", "name", "name", "1.1.1.1"], [
    "w.b",
    "y.b",
  ]]);
  assert.deepEqual(ask("w.b").asked, []);
  assert.deepEqual([ask("x.b").values, ask("x.b").asked], [["name", "name", "1.1.1.1"], []]);
  assert.deepEqual([ask("n.b").status, ask("gone.b").asked], ["nxdomain", []]);
  assert.equal(ask("m.b").status, "nodata");
  assert.deepEqual(ask("w.b", CNAME).values, ["name"]);
  assert.deepEqual(ask("evil.b").asked, ["evil.b"]);
});

Deno.test("aliases that go round or have no end are a failure", () => {
  assert.equal(
    run(resolver(), "a.b", A, (name) => ({ answers: [alias(name, name === "a.b" ? "c.b" : "a.b")] })).status,
    "failed",
  );
  assert.equal(run(resolver(), "a.b", A, (name) => ({ answers: [alias(name, name)] })).status, "failed");
  const endless = run(resolver(), "a.b", A, (name) => ({ answers: [alias(name, "x" + name)] }));
  assert.equal(endless.status, "failed");
  assert.ok(endless.asked.length < 20);
});

Deno.test("what does not exist is remembered by the zone's minimum: the whole name, or only the type", () => {
  const dns = resolver();
  const zone = (name: string, type: number) =>
    name === "c.b" ? NONE : type === AAAA ? { authority: [ZONE] } : { answers: [ip(name, "1.1.1.1")] };
  assert.deepEqual([run(dns, "c.b", A, zone).status, run(dns, "c.b", AAAA, zone).asked], ["nxdomain", []]);
  assert.deepEqual([run(dns, "d.b", AAAA, zone).status, run(dns, "d.b", AAAA, zone).asked], ["nodata", []]);
  assert.deepEqual(run(dns, "d.b", A, zone).values, ["1.1.1.1"]);
  assert.deepEqual(run(dns, "c.b", A, zone, 30_000).asked, ["c.b"]);
});

Deno.test("short names are tried in the domains of the search list, long ones as they are first", () => {
  const dns = resolver({ search: ["x.org", "y.org"] });
  const zone = (name: string) =>
    name === "host.y.org" || name === "www.b" ? { answers: [ip(name, "1.1.1.1")] } : { rcode: RCODE.nxDomain };
  const short = run(dns, "host", A, zone);
  assert.deepEqual([short.status, short.name, short.asked], ["ok", "host.y.org", ["host.x.org", "host.y.org"]]);
  assert.deepEqual(run(dns, "www.b", A, zone).asked, ["www.b"]);
  assert.deepEqual(run(dns, "no.b", A, zone).asked, ["no.b", "no.b.x.org", "no.b.y.org"]);
  assert.deepEqual(run(dns, "host.", A, zone).asked, ["host"]);
  assert.deepEqual(run(dns, ".", NS, () => ({ answers: [{ ...alias("", "a.root"), type: NS }] })).values, ["name"]);
  assert.equal(
    run(dns, "host", AAAA, (name) => name === "host.x.org" ? {} : { rcode: RCODE.nxDomain }).status,
    "nodata",
  );
});

Deno.test("equal questions that are asked at the same time go out once", () => {
  const dns = resolver(), answers: DnsAnswer[] = [];
  for (let i = 0; i < 5; i++) dns.lookup("A.b", A, 0, (each) => answers.push(each));
  const cancel = dns.lookup("a.b", A, 0, (each) => answers.push(each));
  const list = sends(dns, 0);
  assert.equal(list.length, 1);
  assert.ok(dns.awaits(list[0].port));
  cancel();
  dns.input(reply(list[0], { answers: [ip("a.b", "1.1.1.1")] }), list[0], 1);
  assert.deepEqual(answers.map((each) => each.status), ["cancelled", "ok", "ok", "ok", "ok", "ok"]);
  assert.ok(!dns.awaits(list[0].port));
});

Deno.test("a host's addresses: IPv6 first, then in turns; one kind is enough; an address is its own", () => {
  const got: string[] = [];
  const note = (status: string, list: Ip[]) => got.push([status, ...list.map(formatIp)].join(" "));
  const ask = (zone: (type: number) => Partial<DnsMessage>) => {
    const dns = resolver();
    dns.addresses("a.b", 0, note);
    for (const send of sends(dns, 0)) {
      dns.input(reply(send, zone(decodeMessage(send.bytes)!.questions[0].type)), send, 0);
    }
  };
  ask((type) => ({
    answers: type === A
      ? [ip("a.b", "1.1.1.1"), ip("a.b", "1.1.1.2"), ip("a.b", "1.1.1.3")]
      : [ip("a.b", "::a"), ip("a.b", "::b")],
  }));
  ask((type) => type === A ? { answers: [ip("a.b", "1.1.1.1")] } : NONE);
  ask(() => NONE);
  ask((type) => type === A ? { authority: [ZONE] } : NONE);
  resolver().addresses("::1.2.3.4", 0, note);
  resolver().addresses("localhost", 0, note);
  assert.deepEqual(got, [
    "ok ::a 1.1.1.1 ::b 1.1.1.2 1.1.1.3",
    "ok 1.1.1.1",
    "nxdomain",
    "nodata",
    "ok ::102:304",
    "ok ::1 127.0.0.1",
  ]);
});

Deno.test("no name, no server, too many at once: each has its word", () => {
  const statuses: string[] = [], note = (each: DnsAnswer) => void statuses.push(each.status);
  for (const name of ["", "..", "a..b", "x".repeat(64)]) resolver().lookup(name, A, 0, note);
  resolver({ servers: [] }).lookup("a.b", A, 0, note);
  const dns = resolver();
  for (let i = 0; i < 257; i++) dns.lookup(`h${i}.b`, A, 0, note);
  assert.deepEqual(statuses, ["badname", "badname", "badname", "badname", "noserver", "busy"]);
});

Deno.test("whatever comes back and whenever, every lookup ends once", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed),
      dns = resolver({ search: ["x.org"], mixCase: seed % 2 === 0, cacheEntries: 20 }, seed);
    let asked = 0, ended = 0;
    try {
      for (let i = 0, now = 0; i < 200; i++, now += random.below(700)) {
        if (random.below(3) === 0) {
          asked++;
          dns.lookup(`n${random.below(6)}`, random.below(2) ? A : AAAA, now, () => ended++);
        }
        for (const send of sends(dns, now)) {
          const { questions: [{ name }] } = decodeMessage(send.bytes)!;
          const bytes = reply(send, {
            rcode: random.below(6),
            truncated: random.below(5) === 0,
            answers: [alias(name, `n${random.below(6)}`), ip(name, "1.1.1.1", random.below(3))].slice(random.below(3)),
            authority: random.below(2) ? [ZONE] : [],
          });
          for (let j = random.below(6); j > 3; j--) bytes[random.below(bytes.length)] = random.below(256);
          const fate = random.below(8);
          if (fate === 0) dns.failed(send.port, now);
          else if (fate > 2) dns.input(bytes, send, now);
        }
      }
      for (let now = dns.pollAt(), i = 0; now < Infinity; now = dns.pollAt(), i++) {
        sends(dns, Math.max(now, 1e6 + i));
        assert.ok(i < 2000);
      }
      assert.equal(ended, asked);
    } catch (cause) {
      throw new Error(`seed ${seed}`, { cause });
    }
  }
});
