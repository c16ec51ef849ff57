import assert from "node:assert/strict";
import { ManualClock } from "../tests/manual_clock.ts";
import { interop, program } from "../tests/skip.ts";
import { PLAIN, type Port } from "../core/link.ts";
import { Cable } from "./fabric.ts";
import { frameOf, Keeper, send } from "./frames_fixture.ts";
import { formatImpairment, Impair, parseImpairment } from "./impair.ts";
import { Nic } from "./nic.ts";
import { pcapFrame, pcapHeader } from "./pcap.ts";
import { traceLine } from "./trace.ts";

const A = Uint8Array.of(2, 0, 0, 0, 0, 1), B = Uint8Array.of(2, 0, 0, 0, 0, 2);

/** A cable with an impairment at its first end; `step` delivers. */
function impaired(words: string) {
  const clock = new ManualClock(), due: (() => void)[] = [];
  const { ends: [a, b] } = new Cable({ name: "a", mac: A }, { name: "b", mac: B }, {
    schedule: (fn) => void due.push(fn),
  });
  const impair = new Impair(a, clock), keeper = new Keeper();
  impair.impairment = parseImpairment(words.split(" "));
  b.attach(keeper);
  const step = (ms = 0) => {
    clock.advance(ms);
    while (due.length > 0) due.shift()!();
  };
  return { impair, keeper, step, b };
}

/** Sends `count` numbered frames; answers the numbers that arrived. */
function sendMany(port: Port, count: number, { step, keeper }: { step: () => void; keeper: Keeper }): number[] {
  for (let i = 0; i < count; i++) {
    send(port, Uint8Array.of(...B, ...A, 0x88, 0xb5, i & 255, i >> 8));
    step();
  }
  return keeper.got.map(({ bytes }) => bytes[14] | bytes[15] << 8);
}

Deno.test("impair: loss, duplicates and corruption come as often as asked, and the same for one seed", () => {
  const count = 20_000;
  const run = (seed: number) => {
    const net = impaired(`loss 5% duplicate 2% corrupt 1% seed ${seed} out`);
    sendMany(net.impair, count, net);
    const { lost, duplicated, corrupted } = net.impair.counters();
    return { lost, duplicated, corrupted, arrived: net.keeper.got.length };
  };
  const first = run(42);
  assert.deepEqual(run(42), first, "seed 42 replays");
  assert.notDeepEqual(run(43), first, "another seed is another fate");
  // Five standard deviations of a binomial.
  const near = (got: number, chance: number, what: string) =>
    assert(Math.abs(got - count * chance) < 5 * Math.sqrt(count * chance), `${what}: ${got}`);
  near(first.lost, 0.05, "lost");
  near(first.duplicated, 0.02 * 0.95, "duplicated");
  near(first.corrupted, 0.01 * 0.95, "corrupted");
  assert.equal(first.arrived, count - first.lost + first.duplicated);
});

Deno.test("impair: delay keeps the order, jitter and reorder do not, and nothing comes early", () => {
  const plain = impaired("delay 10ms");
  send(plain.impair, frameOf({ to: B, from: A, proto: "udp", payload: 1 })[0]);
  plain.step(9);
  assert.equal(plain.keeper.got.length, 0);
  plain.step(1.5);
  assert.equal(plain.keeper.got.length, 1);

  const net = impaired("delay 10ms reorder 5% seed 3");
  for (let i = 0; i < 500; i++) {
    send(net.impair, Uint8Array.of(...B, ...A, 0x88, 0xb5, i & 255, i >> 8));
    net.step(1);
  }
  net.step(20);
  const order = net.keeper.got.map(({ bytes }) => bytes[14] | bytes[15] << 8);
  assert.deepEqual(order.toSorted((x, y) => x - y), Array.from({ length: 500 }, (_, i) => i), "all came, once");
  const { reordered } = net.impair.counters();
  assert(reordered > 10 && reordered < 50, `${reordered} reordered`);
  assert(order.some((n, i) => i > 0 && n < order[i - 1]));
});

Deno.test("impair: a rate spaces frames out and loses what its queue cannot hold", () => {
  const net = impaired("rate 8mbit limit 4k"); // 1,000 bytes a millisecond
  for (let i = 0; i < 10; i++) send(net.impair, new Uint8Array(1000));
  net.step(1);
  assert.equal(net.keeper.got.length, 1);
  net.step(10);
  assert.equal(net.keeper.got.length, 4);
  assert.equal(net.impair.counters().lost, 6);
});

Deno.test("impair: frames that come in are treated as well, unless told otherwise", () => {
  const net = impaired("loss 100% in"), keeper = new Keeper();
  net.impair.attach(keeper);
  send(net.b, new Uint8Array(60));
  net.step();
  assert.equal(keeper.got.length, 0);
  send(net.impair, new Uint8Array(60));
  net.step();
  assert.equal(net.keeper.got.length, 1);
});

Deno.test("impair: its words are read back, and what is none of them is refused", () => {
  const text =
    "loss 1% delay 10ms jitter 2ms reorder 2% duplicate 0.1% corrupt 0.01% rate 1000000000bit limit 262144 seed 7 in";
  assert.equal(formatImpairment(parseImpairment(text.split(" "))), text);
  assert.equal(formatImpairment(parseImpairment([])), "");
  assert.equal(parseImpairment(["rate", "1.5gbit"]).rate, 1.5e9);
  for (const bad of ["loss 101%", "loss -1", "delay 10", "rate fast", "los 1%", "loss", "__proto__ 1"]) {
    assert.throws(() => parseImpairment(bad.split(" ")), { code: "EINVAL" }, bad);
  }
});

Deno.test("nic: owner and observers see the same, impairment is switched on and off under them", () => {
  const clock = new ManualClock(), due: (() => void)[] = [];
  const { ends: [a, b] } = new Cable({ name: "a" }, { name: "b" }, { schedule: (fn) => void due.push(fn) });
  const nic = new Nic("ether0", a, clock), owner = new Keeper(), far = new Keeper(), seen: string[] = [];
  b.attach(far);
  nic.attach(owner);
  const stop = nic.observe((way, _bytes, at, end) => seen.push(`${way} ${end - at}`));
  const step = () => {
    while (due.length > 0) due.shift()!();
  };
  send(nic, new Uint8Array(60));
  send(b, new Uint8Array(70));
  step();
  nic.impairment = parseImpairment(["loss", "100%"]);
  send(nic, new Uint8Array(80));
  send(b, new Uint8Array(90));
  step();
  nic.impairment = parseImpairment([]);
  send(nic, new Uint8Array(100));
  step();
  assert.deepEqual(seen, ["out 60", "in 70", "out 80", "out 100"]);
  assert.deepEqual(owner.got.map(({ bytes }) => bytes.length), [70]);
  assert.deepEqual(far.got.map(({ bytes }) => bytes.length), [60, 100]);
  stop();
  nic.attach(null);
  send(b, new Uint8Array(60));
  step();
  assert.equal(seen.length, 4);
  assert.equal(nic.counters().unwanted, 1);
});

Deno.test("trace: a line says who, whom, and what", () => {
  const line = (frame: Uint8Array, info = PLAIN, medium: "ether" | "ip" = "ether") =>
    traceLine("in", frame, 0, frame.length, { medium, info });
  const [tcp, tcpInfo] = frameOf({ to: B, from: A, proto: "tcp", payload: 3000, gsoBytes: 1000, port: 80 });
  assert.equal(
    line(tcp, tcpInfo),
    "in 3054 020000000001 > 020000000002 ip 10.99.0.2:7777 > 10.99.0.1:80 tcp PA seq 1000000 ack 77 win 65535 len 3000 csum gso 1000",
  );
  const [udp] = frameOf({ to: B, from: A, proto: "udp", payload: 5 });
  assert.equal(line(udp.subarray(14), PLAIN, "ip"), "in 33 ip 10.99.0.2:7777 > 10.99.0.1:9 udp len 5");
  const arp = Uint8Array.of(...B, ...A, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, ...A, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2);
  assert.match(line(arp), /arp who-has 10\.0\.0\.2 tell 10\.0\.0\.1$/);
  for (let cut = 0; cut < tcp.length && cut < 60; cut++) line(tcp.subarray(0, cut));
});

interop("pcap: tcpdump reads what was captured, with right checksums", { needs: [program("tcpdump")] }, async () => {
  const [frame, info] = frameOf({ to: B, from: A, proto: "udp", payload: 100 });
  const file = await Deno.makeTempFile({ suffix: ".pcap" });
  try {
    const record = pcapFrame(frame, 0, frame.length, info, 1_700_000_000_123.5);
    await Deno.writeFile(file, Uint8Array.of(...pcapHeader("ether"), ...record));
    const { stdout } = await new Deno.Command("tcpdump", { args: ["-r", file, "-nn", "-vv", "-tt"], stderr: "null" })
      .output();
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /^1700000000\.123500/);
    assert.match(text, /10\.99\.0\.2\.7777 > 10\.99\.0\.1\.9: \[udp sum ok\] UDP, length 100/);
  } finally {
    await Deno.remove(file);
  }
});
