/**
 * The stack before judges that were written elsewhere: nmap's scans and its probe of the system, hping3's floods, frames
 * that attack reassembly and options, and whole transfers over links that lose, reorder and duplicate.
 *
 * Layer: tests. Needs root, nmap, hping3, python3. RING9_JUDGES=1 sends 1 GiB each way over all MTUs and at up to 10 %
 * loss, and floods as fast as hping3 can: some ten minutes.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ipFromV4, parseIp, V4_BITS } from "../../net/addr.ts";
import { LIMITS } from "../../net/ip/limits.ts";
import { netTest, run } from "../netns.ts";
import { type Need, program } from "../skip.ts";
import { echo, type TapNode, type TapWish, until, withNode } from "../tap_node.ts";

const OURS = "10.99.0.2", LINUX = "10.99.0.1", HEAVY = Deno.env.has("RING9_JUDGES");

function judge(name: string, needs: readonly Need[], test: (node: TapNode) => Promise<void>, wish: TapWish = {}): void {
  netTest(name, [program("ip"), ...needs], () =>
    withNode(async (node) => {
      const v6 = wish.mtu === undefined || wish.mtu >= 1280 ? ["fd99::1/64", "fd99::2/64"] : [];
      await node.tap("tap0", [`${LINUX}/24`, ...v6.slice(0, 1)], [`${OURS}/24`, ...v6.slice(1)], wish);
      node.serve(7, echo);
      await test(node);
    }));
}

/** What nmap prints. */
function nmap(...args: string[]): Promise<string> {
  return run("nmap", "-n", "-Pn", "--max-retries", "5", ...args, OURS);
}

/**
 * How fast a flood is in which calls have to go through: one that fills the backlog and leaves room in Linux's queue of
 * the TAP. `--flood` fills that queue too, so that Linux itself drops most calls before we see them.
 */
const FLOOD_RATE = HEAVY ? ["--flood"] : ["-i", "u200"];

/** Runs `fn` while hping3 sends. */
async function flooded(args: string[], fn: () => Promise<void>): Promise<void> {
  const flood = new Deno.Command("hping3", { args: ["-q", ...args, OURS], stdout: "null", stderr: "null" }).spawn();
  try {
    await fn();
  } finally {
    flood.kill("SIGINT");
    await flood.status;
  }
}

/** The stack still answers pings and calls. */
async function assertAlive(what: string): Promise<void> {
  assert.match(await run("ping", "-c", "1", "-W", "5", OURS), / 0% packet loss/, what);
  assert.equal(await exchange(`after ${what}`), `after ${what}`);
}

/** Tries again what was reset, five times at the most. */
async function persistently<T>(call: () => Promise<T>): Promise<T> {
  for (let tries = 1;; tries++) {
    try {
      return await call();
    } catch (e) {
      if (!(e instanceof Deno.errors.ConnectionReset) || tries === 5) throw e;
    }
  }
}

async function exchange(text: string): Promise<string> {
  const socket = await Deno.connect({ hostname: OURS, port: 7 });
  try {
    await socket.write(new TextEncoder().encode(text));
    const into = new Uint8Array(256), got = await socket.read(into);
    return new TextDecoder().decode(into.subarray(0, got ?? 0));
  } finally {
    socket.close();
  }
}

judge(
  "nmap: open and closed ports look as RFC 9293 has them, to each of its scans",
  [program("nmap")],
  async (node) => {
    node.stack.udp.open().announce(53);
    const syn = await nmap("-sS", "-p", "1-60");
    assert.match(syn, /59 closed tcp ports \(reset\)/);
    assert.match(syn, /7\/tcp open/);
    for (const scan of ["-sF", "-sN", "-sX"]) {
      const text = await nmap(scan, "-p", "7,8");
      assert.match(text, /7\/tcp open\|filtered/, scan);
      assert.match(text, /8\/tcp closed/, scan);
    }
    assert.match(await nmap("-sA", "-p", "7,8"), /unfiltered/);
    assert.match(await nmap("-sU", "-p", "54"), /54\/udp closed/);
    const protocols = await nmap("-sO", "-p", "1,6,17,47");
    assert.match(protocols, /6 +open/);
    assert.match(protocols, /47 +closed/);
  },
);

judge(
  "nmap's probe of the system: sequence numbers cannot be foretold, identification tells nothing",
  [program("nmap")],
  async () => {
    const text = await nmap("-O", "-v", "-p", "7,8", "--max-os-tries", "1");
    assert.ok(Number(/Sequence Prediction: Difficulty=(\d+)/.exec(text)?.[1]) > 200, text);
    assert.match(text, /IP ID Sequence Generation: (All zeros|Randomized)/);
  },
);

for (const everywhere of [true, false]) {
  judge(
    `hping3: calls go through in a flood of SYNs from ${everywhere ? "everywhere" : "one address"}`,
    [program("hping3")],
    async (node) => {
      const rest = { iface: 1, tag: "", metric: 0, expiresAt: Infinity };
      node.stack.ip.addRoute({ prefix: { addr: ipFromV4(0), bits: V4_BITS }, gateway: parseIp(LINUX), ...rest });
      const { counters } = node.stack.tcp;
      await flooded([...FLOOD_RATE, "-S", "-p", "7", ...everywhere ? ["--rand-source"] : []], async () => {
        // Linux resets what it did not ask for, so a flood from its own address does not fill the backlog for long.
        await until("the flood is on", () => (everywhere ? counters.SyncookiesSent : counters.InSegs) > 1000);
        // Such a flood takes our caller's ports too, one after another: a call that it hits is reset, and made again.
        for (let i = 0; i < 2; i++) assert.equal(await persistently(() => exchange(`call ${i}`)), `call ${i}`);
      });
      await assertAlive("the flood");
    },
  );
}

const FLOODS = [["-1"], ["-2", "-p", "9"], ["-A", "-p", "7"], ["-F", "-P", "-U", "-p", "7"], [
  "-1",
  "-d",
  "2000",
  "-f",
]];

judge("hping3: floods of echoes, datagrams, ACKs, nonsense and fragments pass", [program("hping3")], async (node) => {
  for (const flood of FLOODS) {
    const before = node.stack.ip.counters.InReceives;
    await flooded(
      ["--flood", ...flood],
      () => until("frames come", () => node.stack.ip.counters.InReceives > before + 2000),
    );
    await assertAlive(flood.join(" "));
  }
  assert.ok(node.stack.ip.reassembly.bytes <= LIMITS.reassemblyBytes);
});

/** Raw frames from Linux's side: fragments that overlap, run over 64 KiB or never end, and options that lie. */
const ATTACKS = `
import socket, struct, random
random.seed(9)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("tap0", 0))
eth = bytes.fromhex("020000000101") + s.getsockname()[4]
def total(b):
    t = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while t >> 16: t = (t & 0xffff) + (t >> 16)
    return ~t & 0xffff
def ip4(data, offset=0, more=0, ident=1, proto=17, options=b"", src="${LINUX}", dst="${OURS}"):
    ihl = 5 + len(options) // 4
    h = struct.pack("!BBHHHBBH4s4s", 0x40 | ihl, 0, ihl * 4 + len(data), ident, more << 13 | offset, 64, proto, 0,
                    socket.inet_aton(src), socket.inet_aton(dst)) + options
    return h[:10] + struct.pack("!H", total(h)) + h[12:] + data
def send(packet, kind=0x800): s.send(eth + struct.pack("!H", kind) + packet)
def ip6(data, next=44, src="fd99::1", dst="fd99::2"):
    return struct.pack("!IHBB", 6 << 28, len(data), next, 64) + socket.inet_pton(10, src) + socket.inet_pton(10, dst) + data
for i in range(300):
    send(ip4(b"A" * 64, 0, 1, i)); send(ip4(b"B" * 64, 4, 0, i))                  # teardrop: the second lies in the first
    send(ip4(b"A" * 8, 0, 1, 1000 + i, 6)); send(ip4(b"B" * 32, 1, 0, 1000 + i, 6)) # TCP's header in two
    send(ip4(b"C" * 1000, 8189, 0, 2000 + i, 1))                                  # beyond 64 KiB
    send(ip4(b"D" * 1400, random.randrange(1, 8000), 1, 3000 + i))                # never whole
    send(ip4(b"", 0, 1, 4000 + i)); send(ip4(b"E" * 7, 3, 1, 4000 + i))           # empty, and of no multiple of 8
    send(ip6(struct.pack("!BBHI", 17, 0, 1, i) + b"A" * 64), 0x86dd)
    send(ip6(struct.pack("!BBHI", 17, 0, 4 << 3, i) + b"B" * 64), 0x86dd)
    send(ip6(struct.pack("!BBHI", 44, 0, 0, i) * 20), 0x86dd)
    send(ip6((b"\\0\\0\\1\\4\\0\\0\\0\\0") * 100, 0), 0x86dd)                            # a hundred hop-by-hop headers
    send(ip4(b"F" * 8, options=bytes([random.randrange(256) for _ in range(40)])))
    send(ip4(b"G" * 8, options=b"\\x83\\x07\\x04\\x0a\\x63\\0\\1\\0"))                      # a source route
    send(ip4(b"H" * 20, proto=6, src="${OURS}"))                                  # land: from ourselves
    send(ip4(b"I" * 20, proto=6, src="255.255.255.255")); send(ip4(b"J" * 20, proto=6, dst="127.0.0.1"))
    tcp = struct.pack("!HHIIBBHHH", 1024 + i, 7, i, i, random.randrange(16) << 4, random.randrange(256), 0, 0, 0)
    send(ip4(tcp + bytes([random.randrange(256) for _ in range(40)]), proto=6))
    packet = bytearray(ip4(bytes([random.randrange(256) for _ in range(200)]), proto=random.choice([1, 2, 6, 17, 58])))
    packet[random.randrange(len(packet))] ^= 1 << random.randrange(8); send(bytes(packet)); send(bytes(packet[:random.randrange(40)]))
`;

judge("fragments that overlap, run over or never end, options that lie: all are dropped and counted", [
  program("python3"),
], async (node) => {
  await run("python3", "-c", ATTACKS);
  const { counters, reassembly } = node.stack.ip;
  await until("they have come", () => counters.ReasmReqds > 1000);
  await assertAlive("the attack");
  assert.ok(counters.ReasmOverlaps > 0 && counters.InMartians > 0 && counters.InHdrErrors > 0);
  assert.ok(reassembly.bytes <= LIMITS.reassemblyBytes);
  await until("no connection is left", () => [...node.stack.tcp.conns()].length === 0);
});

/** On a link of no length a transfer is fast whatever Linux's sender makes of losses; on a long one that sets the time. */
const LOSSY = "reorder 2% duplicate 1% seed 9", LONG = "delay 2ms";
const TRANSFERS: [MiB: number, wish: TapWish][] = HEAVY
  ? [
    ...[576, 1500, 9000].flatMap((mtu): [number, TapWish][] => [[1024, { mtu }], [1024, { mtu, offload: false }]]),
    ...[1, 5, 10].flatMap((loss): [number, TapWish][] => [
      [1024, { impair: `loss ${loss}% ${LOSSY}` }],
      [1024, { impair: `loss ${loss}% ${LOSSY} ${LONG}` }],
    ]),
  ]
  : [
    [32, { mtu: 1500 }],
    [8, { mtu: 576, offload: false }],
    [32, { mtu: 9000 }],
    [4, { impair: `loss 1% ${LOSSY} ${LONG}` }],
    [2, { impair: `loss 5% ${LOSSY} ${LONG}` }],
  ];

for (const [mebibytes, wish] of TRANSFERS) {
  judge(`${mebibytes} MiB there and back again, ${JSON.stringify(wish)}: the checksum is equal`, [], async (node) => {
    const total = mebibytes << 20, block = crypto.getRandomValues(new Uint8Array(65_536)), sums = [0, 1, 2].map(sha);
    node.serve(10, (conn) => {
      for (let piece = conn.peek(); piece.length > 0 && conn.room > 0; piece = conn.peek()) {
        const count = conn.write(piece);
        sums[1].update(piece.subarray(0, count));
        conn.consume(count);
      }
      if (conn.eof) conn.close();
    });
    const socket = await Deno.connect({ hostname: OURS, port: 10 });
    const writing = (async () => {
      for (let sent = 0; sent < total; sent += block.length) {
        block[sent >>> 16 & 0xffff]++;
        sums[0].update(block);
        for (let at = 0; at < block.length;) at += await socket.write(block.subarray(at));
      }
      await socket.closeWrite();
    })();
    const into = new Uint8Array(65_536);
    let got = 0;
    for (let count; (count = await socket.read(into)) !== null; got += count) sums[2].update(into.subarray(0, count));
    await writing;
    socket.close();
    const [sent, there, back] = sums.map((sum) => sum.digest("hex"));
    assert.equal(got, total);
    assert.deepEqual([there, back], [sent, sent]);
  }, wish);
}

function sha() {
  return createHash("sha256");
}
