import assert from "node:assert/strict";
import { formatEntry, formatTuples, Ndb, parseNdb, valuesOf } from "./ndb.ts";
import { Random } from "./wire/wire_fixture.ts";

const LOCAL = `# the local network
database=
	file=/lib/ndb/local	# itself

ipnet=campus ip=10.0.0.0 ipmask=255.0.0.0
	dns=10.0.0.53 dns=10.1.0.53
	auth=bigauth fs=bigfs
ipnet=lab ip=10.9.0.0 ipmask=/16 ipgw=10.9.0.1
	fs=labfs
ipnet=v6 ip=2001:db8:: ipmask=/32 fs=sixfs
sys=helix dom=helix.example.com ip=10.9.0.7 ether=00c0b30c0d0e
	ip=2001:db8::7
	note="two words # no comment" flag quote='a "b"'
sys=two ip=10.9.0.8 dom=one.example.com
	ip=10.9.0.9 dom=TWO.example.com
tcp=9fs port=564
tcp=weird port=4000
`;
const ndb = new Ndb(LOCAL);

Deno.test("entries are lines and what is indented behind them; quotes, comments and lone attributes are understood", () => {
  const [helix] = ndb.search("sys", "helix");
  assert.deepEqual(helix.map(({ attr, value }) => [attr, value]), [
    ["sys", "helix"],
    ["dom", "helix.example.com"],
    ["ip", "10.9.0.7"],
    ["ether", "00c0b30c0d0e"],
    ["ip", "2001:db8::7"],
    ["note", "two words # no comment"],
    ["flag", ""],
    ["quote", 'a "b"'],
  ]);
  assert.equal(ndb.entries.length, 8);
});

Deno.test("a search compares addresses as addresses and domains without case", () => {
  assert.equal(ndb.search("ip", "2001:0db8:0::7")[0], ndb.search("sys", "helix")[0]);
  assert.equal(valuesOf(ndb.search("dom", "two.EXAMPLE.com")[0], "sys")[0], "two");
  assert.equal(ndb.search("tcp", "*").length, 2);
  assert.deepEqual(ndb.search("sys", "nobody"), []);
});

Deno.test("of several values those on the line of what was looked for are meant", () => {
  assert.deepEqual(ndb.values("dom", "two.example.com", "ip"), ["10.9.0.9"]);
  assert.deepEqual(ndb.values("dom", "one.example.com", "ip"), ["10.9.0.8"]);
  assert.deepEqual(ndb.values("dom", "one.example.com", "dom"), ["one.example.com"]);
  assert.deepEqual(ndb.values("ether", "00c0b30c0d0e", "note"), ["two words # no comment"]);
});

Deno.test("a host inherits from the smallest network that knows", () => {
  const info = (attr: string, value: string, ...wanted: string[]) =>
    Object.fromEntries(ndb.ipInfo(attr, value, wanted));
  assert.deepEqual(info("sys", "helix", "fs", "auth", "dns", "ipgw", "ipmask", "none"), {
    fs: ["labfs"],
    auth: ["bigauth"],
    dns: ["10.0.0.53", "10.1.0.53"],
    ipgw: ["10.9.0.1"],
    ipmask: ["/16"],
  });
  assert.deepEqual(info("ip", "10.200.0.1", "fs", "ip", "ipmask"), { fs: ["bigfs"], ipmask: ["255.0.0.0"] });
  assert.deepEqual(info("ip", "2001:db8:5::1", "fs", "auth"), { fs: ["sixfs"] });
  assert.deepEqual(info("ip", "192.168.0.1", "fs"), {});
});

Deno.test("what comes first in several texts is found first", () => {
  const both = new Ndb("sys=helix ip=1.1.1.1\n", LOCAL);
  assert.deepEqual(both.values("sys", "helix", "ip"), ["1.1.1.1"]);
  assert.deepEqual(both.values("sys", "helix", "ether"), ["00c0b30c0d0e"]);
});

Deno.test("what is printed reads back", () => {
  const text = formatEntry([[["ip", "1.2.3.4"], ["ipmask", "/24"]], [["sys", "a b"], ["x", "#"], ["y", 'q"q']], [[
    "dns",
    "",
  ]]]);
  assert.equal(text, `ip=1.2.3.4 ipmask=/24\n\tsys="a b" x="#" y='q"q'\n\tdns=\n`);
  assert.equal(formatTuples(parseNdb(text)[0]), `ip=1.2.3.4 ipmask=/24 sys="a b" x="#" y='q"q' dns=`);
  assert.equal(formatTuples([{ attr: "a", value: "b\nc=d" }]), 'a="b c=d"');
});

Deno.test("no text makes it fail", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed);
    let text = LOCAL;
    for (let i = random.below(10); i >= 0; i--) {
      const at = random.below(text.length), char = "=\"'# \n\tip0.:\\\0"[random.below(13)];
      text = text.slice(0, at) + char + text.slice(at + random.below(3));
    }
    const parsed = new Ndb(text);
    parsed.ipInfo("sys", "helix", ["fs", "ip"]);
    assert.ok(parsed.entries.every((entry) => entry.length > 0), `seed ${seed}`);
  }
  assert.equal(parseNdb("  \n\t a=b\n=\n")[0][0].value, "b");
});
