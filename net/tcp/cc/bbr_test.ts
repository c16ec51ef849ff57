import assert from "node:assert/strict";
import { Bbr } from "./bbr.ts";
import { AckSample } from "./cc.ts";
import { alone, type Bottleneck, Flow, Link, mbit, MSS, Sim, throughput } from "./sim_fixture.ts";

const GIGABIT: Bottleneck = { rate: mbit(1000), rttMs: 10, queueBytes: 1_500_000 };
const ACCESS: Bottleneck = { rate: mbit(10), rttMs: 40, queueBytes: 1_000_000 };

function assertBetween(value: number, least: number, most: number, what: string): void {
  assert.ok(value >= least && value <= most, `${what}: ${value} is not in ${least} to ${most}`);
}

for (
  const [what, more, least] of [
    ["on a clean path", {}, 980],
    ["at 1 % loss", { loss: 0.01 }, 900],
    ["at 5 % loss", { loss: 0.05 }, 800],
    ["at 10 % loss", { loss: 0.1 }, 650],
    ["with 2 % reordered", { reorder: 0.02, reorderMs: 2 }, 900],
    ["when ACKs come in clumps of 8 ms", { ackEveryMs: 8 }, 900],
  ] as const
) {
  Deno.test(`BBR fills 1 Gbit/s at 10 ms ${what}`, () => {
    const { sim, flow } = alone(1, { ...GIGABIT, ...more }, { cc: "bbr" });
    sim.run(400);
    assertBetween(throughput(sim, flow, 200) / 125, least, 1001, "Mbit/s");
  });
}

Deno.test("BBR keeps the queue below a bandwidth-delay product in a buffer of twenty", () => {
  const { sim, link, flow } = alone(3, ACCESS, { cc: "bbr" });
  sim.run(3000);
  link.measure();
  assertBetween(throughput(sim, flow, 20_000), 0.95 * ACCESS.rate, ACCESS.rate, "bytes a millisecond");
  assertBetween(link.meanQueue / ACCESS.rate, 0, 15, "mean queue, ms");
  assertBetween(link.maxQueue / ACCESS.rate, 0, 40, "greatest queue, ms");
  assert.equal(link.drops, 0);
});

Deno.test("BBR gives way to marks: the queue stays nearer to where they begin", () => {
  const queues = [undefined, 10_000].map((ecnBytes) => {
    const sim = new Sim(4), link = new Link(sim, { ...ACCESS, rate: mbit(50), ecnBytes });
    const flows = [1, 2, 3].map((seed) => new Flow(link, { cc: "bbr" }, seed));
    sim.run(3000);
    link.measure();
    sim.run(8000);
    assertBetween(flows.reduce((sum, flow) => sum + flow.sampler.deliveredBytes, 0) / 8000, mbit(45), mbit(55), "rate");
    return link.meanQueue;
  });
  assert.ok(queues[1] < 0.7 * queues[0], `without marks ${queues[0]}, with ${queues[1]} bytes`);
});

Deno.test("two BBR flows share a bottleneck, the late one too", () => {
  for (const [seed, queueBytes] of [[1, 50_000], [2, 50_000], [3, 200_000], [4, 200_000]]) {
    const sim = new Sim(seed), link = new Link(sim, { rate: mbit(20), rttMs: 40, queueBytes });
    const first = new Flow(link, { cc: "bbr" }, seed);
    sim.run(3000);
    const second = new Flow(link, { cc: "bbr" }, seed + 100);
    sim.run(22_000);
    const before = second.sampler.deliveredBytes, rate = throughput(sim, first, 10_000);
    const share = rate / (rate + (second.sampler.deliveredBytes - before) / 10_000);
    assertBetween(share, 0.35, 0.65, `seed ${seed}, share of the first`);
  }
});

for (
  const [count, is, ms, fair, lost] of [
    [16, { rate: mbit(100), rttMs: 20, queueBytes: 250_000 }, 3000, 0.95, 0.03],
    [16, { rate: mbit(1000), rttMs: 0.1, queueBytes: 750_000 }, 300, 0.8, 0.1],
  ] as const
) {
  Deno.test(`${count} BBR flows in a queue of one window share it, and lose little: RTT ${is.rttMs} ms`, () => {
    const sim = new Sim(1), link = new Link(sim, is);
    const flows = Array.from({ length: count }, (_, i) => new Flow(link, { cc: "bbr" }, 7 * i + 1));
    sim.run(ms);
    link.measure();
    const before = flows.map((flow) => flow.sampler.deliveredBytes);
    sim.run(2 * ms);
    const rates = flows.map((flow, i) => (flow.sampler.deliveredBytes - before[i]) / ms);
    const sum = rates.reduce((a, b) => a + b), squares = rates.reduce((a, b) => a + b * b, 0);
    assertBetween(sum / is.rate, 0.97, 1.01, "of the rate");
    assertBetween(sum * sum / count / squares, fair, 1, "Jain's index");
    assertBetween(link.drops * MSS / (sum * ms), 0, lost, "dropped");
  });
}

Deno.test("BBR follows a rate that falls and rises", () => {
  const is: Bottleneck = { rate: mbit(100), rttMs: 20, queueBytes: 500_000 };
  const { sim, link, flow } = alone(5, is, { cc: "bbr" });
  sim.run(1000);
  is.rate = mbit(20);
  sim.run(6000);
  assertBetween(link.queued / is.rate, 0, 45, "queue after the fall, ms");
  assertBetween((flow.cc as Bbr).bw / is.rate, 0.9, 1.1, "estimate");
  is.rate = mbit(100);
  sim.run(7000);
  assertBetween(throughput(sim, flow, 500) / is.rate, 0.95, 1.001, "after the rise");
});

Deno.test("a time in which the application has little to send does not lower BBR's estimate", () => {
  const rate = mbit(100), quiet = 4000;
  const written = (now: number) => now < 500 ? 1e9 : now < quiet ? 1e6 + now * rate / 100 : 1e9;
  const { sim, flow } = alone(6, { rate, rttMs: 20, queueBytes: 500_000 }, { cc: "bbr", written });
  sim.run(quiet - 10);
  assertBetween((flow.cc as Bbr).bw / rate, 0.9, 1.1, "estimate");
});

for (
  const [what, options] of [
    ["without a pause", {}],
    ["while it pauses for 3 ms in every 15", { stallMs: 3, stallEveryMs: 15 }],
  ] as const
) {
  Deno.test(`BBR fills 30 Gbit/s at 60 us in super-segments, unpaced, ${what}`, () => {
    const is = { rate: mbit(30_000), rttMs: 0.06, queueBytes: 65_536 * 1000 };
    const { sim, flow } = alone(7, is, { cc: "bbr", unitBytes: 65_000, ...options });
    sim.run(200);
    assert.equal(flow.cc.pacingRate, 0);
    assertBetween(throughput(sim, flow, 300) / is.rate, 0.95, 1.03, "of the rate");
  });
}

Deno.test("BBR lives with a small queue and with loss on a local path", () => {
  for (const [loss, least] of [[0, 0.95], [0.05, 0.85]]) {
    const is = { rate: mbit(1000), rttMs: 0.1, queueBytes: 100_000, loss };
    const { sim, flow } = alone(8, is, { cc: "bbr" });
    sim.run(200);
    assertBetween(throughput(sim, flow, 300) / is.rate, least, 1.001, `loss ${loss}, of the rate`);
  }
});

Deno.test("PROBE_RTT finds the path's own RTT again, and costs little", () => {
  const is = { rate: mbit(20), rttMs: 20, queueBytes: 500_000 };
  const { sim, flow } = alone(9, is, { cc: "bbr" });
  sim.run(2000);
  is.rttMs = 35;
  sim.run(22_000);
  const saved = (flow.cc as unknown as { minRttMs: number }).minRttMs;
  assertBetween(saved, 35, 38, "least RTT after it grew");
  assertBetween(throughput(sim, flow, 20_000) / is.rate, 0.95, 1.001, "of the rate, with a probe in it");
});

Deno.test("after a timeout BBR sends one segment, after a burst of losses what arrives; then it has its window back", () => {
  const { sim, flow } = alone(10, { rate: mbit(100), rttMs: 20, queueBytes: 500_000 }, { cc: "bbr" });
  sim.run(1000);
  const cc = flow.cc, before = cc.cwnd;
  cc.onRto(sim.now, 0, true);
  assert.equal(cc.cwnd, MSS);
  cc.exitRecovery(sim.now);
  assert.equal(cc.cwnd, before);
  cc.enterRecovery(sim.now, 40 * MSS, MSS);
  assert.equal(cc.cwnd, before);
  cc.exitRecovery(sim.now);
  cc.enterRecovery(sim.now, 40 * MSS, 10 * MSS);
  assert.equal(cc.cwnd, 50 * MSS);
  cc.onUndo(sim.now);
  assert.equal(cc.cwnd, before);
});

Deno.test("after idle time BBR restarts at the estimated bandwidth, not in a burst above it", () => {
  const { sim, flow } = alone(11, { rate: mbit(100), rttMs: 20, queueBytes: 500_000 }, { cc: "bbr" });
  sim.run(1000);
  flow.cc.onIdleRestart(sim.now + 5000, 5000, 220);
  assertBetween(flow.cc.pacingRate / mbit(100), 0.9, 1.05, "of the rate");
});

Deno.test("the first window and rate come from the handshake; a local path is not paced", () => {
  const at = (rttMs: number) => new Bbr({ mss: 1000, now: 0, rttMs, seed: 1 });
  assert.equal(at(10).cwnd, 10_000);
  assertBetween(at(10).pacingRate, 2884, 2886, "rate");
  assert.equal(at(0.2).pacingRate, 0);
  const ack = new AckSample();
  const cc = at(0);
  cc.onAck(ack);
  assert.equal(cc.cwnd, 10_000);
});
