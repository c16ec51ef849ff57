import assert from "node:assert/strict";
import { createCc } from "./algorithms.ts";
import { AckSample, type CongestionControl, NO_LIMIT } from "./cc.ts";
import { Cubic } from "./cubic.ts";
import { NewReno } from "./newreno.ts";
import { alone, Flow, Link, mbit, MSS, Sim, throughput } from "./sim_fixture.ts";

function assertBetween(value: number, least: number, most: number, what: string): void {
  assert.ok(value >= least && value <= most, `${what}: ${value} is not in ${least} to ${most}`);
}

/** One ACK of `bytes` for a sender whose window is full. */
function acked(cc: CongestionControl, now: number, bytes: number, more: Partial<AckSample> = {}): void {
  const full = {
    priorInflight: cc.cwnd,
    inflight: cc.cwnd - bytes,
    cwndLimited: true,
    rttMs: 50,
    srttMs: 50,
    minRttMs: 50,
  };
  cc.onAck(Object.assign(new AckSample(), { now, ackedBytes: bytes, ...full, ...more }));
}

/** Round trips of 50 ms in which the whole window is acknowledged, segment by segment. */
function rounds(cc: CongestionControl, from: number, count: number, each?: (now: number) => void): number {
  let now = from;
  for (let i = 0; i < count; i++) {
    const segments = Math.round(cc.cwnd / MSS);
    for (let j = 0; j < segments; j++) acked(cc, now + 50 * (j + 1) / segments, MSS);
    each?.(now += 50);
  }
  return now;
}

const FRESH = { mss: MSS, now: 0, seed: 1 };

for (const name of ["reno", "cubic"] as const) {
  Deno.test(`${name}: slow start doubles the window each round trip, and ends at ssthresh`, () => {
    const cc = createCc(name, FRESH);
    assert.equal(cc.ssthresh, NO_LIMIT);
    rounds(cc, 0, 3);
    assert.equal(cc.cwnd, 80 * MSS);
    cc.onRto(200, 0, true);
    assert.equal(cc.cwnd, MSS);
    const half = name === "reno" ? 40 : 56;
    assert.equal(Math.round(cc.ssthresh / MSS), half);
    rounds(cc, 200, 6);
    assertBetween(cc.cwnd / MSS, half, half + 2, "segments");
  });

  Deno.test(`${name}: a window that is not used does not grow`, () => {
    const cc = createCc(name, FRESH);
    for (let i = 0; i < 100; i++) acked(cc, i, MSS, { cwndLimited: false, priorInflight: 2 * MSS });
    assert.equal(cc.cwnd, 10 * MSS);
    cc.onEcn(100, 10 * MSS);
    const after = cc.cwnd;
    for (let i = 0; i < 1000; i++) acked(cc, 100 + i * 10, MSS, { cwndLimited: false, priorInflight: 2 * MSS });
    assert.equal(cc.cwnd, after);
    rounds(cc, 10_100, 1);
    assertBetween(cc.cwnd - after, 0, 1.2 * MSS, "growth of the first round after ten seconds");
  });

  Deno.test(`${name}: proportional rate reduction brings what is in flight down to ssthresh without a burst or a pause`, () => {
    const cc = createCc(name, FRESH);
    rounds(cc, 0, 3);
    let inflight = 79 * MSS, sent = 0, delivered = 0;
    cc.enterRecovery(200, inflight, MSS);
    while (delivered < 78 * MSS) {
      const prior = inflight;
      inflight -= MSS;
      delivered += MSS;
      acked(cc, 200, MSS, { priorInflight: prior, inflight });
      while (inflight < cc.cwnd) {
        inflight += MSS;
        sent += MSS;
      }
      assert.ok(sent <= delivered + MSS, `${sent} sent of ${delivered} delivered`);
      assert.ok(inflight >= cc.ssthresh - MSS, `${inflight} in flight, below ${cc.ssthresh}`);
    }
    assertBetween(inflight / cc.ssthresh, 0.97, 1.03, "in flight of ssthresh");
    cc.exitRecovery(300);
    assert.equal(cc.cwnd, cc.ssthresh);
  });

  Deno.test(`${name}: undo gives window and threshold back, after a recovery and after a timeout`, () => {
    for (const hit of ["recovery", "timeout"]) {
      const cc = createCc(name, FRESH);
      rounds(cc, 0, 2);
      cc.onEcn(100, cc.cwnd);
      rounds(cc, 100, 2);
      const { cwnd, ssthresh } = cc;
      if (hit === "recovery") cc.enterRecovery(300, cwnd / 2, MSS);
      else cc.onRto(300, 0, true);
      acked(cc, 310, MSS, { priorInflight: MSS, inflight: 0 });
      cc.onUndo(320);
      assert.deepEqual([cc.cwnd, cc.ssthresh], [cwnd, ssthresh], hit);
    }
  });

  Deno.test(`${name}: a timeout again for the same segment does not lower ssthresh again`, () => {
    const cc = createCc(name, FRESH);
    rounds(cc, 0, 3);
    cc.onRto(200, 0, true);
    const { ssthresh } = cc;
    cc.onRto(600, 0, false);
    assert.equal(cc.ssthresh, ssthresh);
  });

  Deno.test(`${name}: idle time takes the window back towards the initial one`, () => {
    const cc = createCc(name, FRESH);
    rounds(cc, 0, 4);
    cc.onIdleRestart(1000, 100, 250);
    assert.equal(cc.cwnd, 160 * MSS);
    cc.onIdleRestart(1000, 600, 250);
    assert.equal(cc.cwnd, 40 * MSS);
    cc.onIdleRestart(100_000, 90_000, 250);
    assert.equal(cc.cwnd, 10 * MSS);
  });

  Deno.test(`${name}: two flows share a bottleneck`, () => {
    const sim = new Sim(1), link = new Link(sim, { rate: mbit(20), rttMs: 40, queueBytes: 50_000 });
    const first = new Flow(link, { cc: name });
    sim.run(3000);
    const second = new Flow(link, { cc: name });
    sim.run(15_000);
    const before = second.sampler.deliveredBytes, rate = throughput(sim, first, 15_000);
    const share = rate / (rate + (second.sampler.deliveredBytes - before) / 15_000);
    assertBetween(share, 0.35, 0.65, "share of the first");
  });

  Deno.test(`${name}: HyStart++ leaves slow start before a deep queue is full`, () => {
    const { sim, link } = alone(1, { rate: mbit(100), rttMs: 40, queueBytes: 10_000_000 }, { cc: name });
    sim.run(1500);
    assert.equal(link.drops, 0);
    assertBetween(link.maxQueue / link.is.rate, 4, 400, "greatest queue of 800, ms");
  });
}

Deno.test("reno: a segment more each round trip, half after a loss, four fifths after a mark", () => {
  const cc = new NewReno(FRESH);
  cc.onEcn(0, cc.cwnd);
  assert.equal(cc.cwnd, 8 * MSS);
  const now = rounds(cc, 0, 10);
  assertBetween(cc.cwnd / MSS, 17, 18, "segments after ten round trips");
  const before = cc.cwnd;
  cc.enterRecovery(now, before, MSS);
  cc.exitRecovery(now + 50);
  assert.equal(cc.cwnd, before / 2);
});

Deno.test("reno: the rate at random loss is that of the square root", () => {
  const loss = 0.005, rttMs = 20, rates = [];
  for (const seed of [1, 2, 3, 4]) {
    const { sim, flow } = alone(seed, { rate: mbit(1000), rttMs, queueBytes: 1e6, loss }, { cc: "reno" });
    sim.run(2000);
    rates.push(throughput(sim, flow, 20_000));
  }
  const mean = rates.reduce((sum, rate) => sum + rate) / rates.length;
  assertBetween(mean / (MSS / rttMs * Math.sqrt(1.5 / loss)), 0.75, 1.25, "of the formula's");
});

Deno.test("reno: the sawtooth stands between half of and all that path and queue hold", () => {
  const is = { rate: mbit(10), rttMs: 40, queueBytes: 50_000 }, { sim, flow } = alone(1, is, { cc: "reno" });
  sim.run(10_000);
  const room = is.rate * is.rttMs + is.queueBytes;
  let least = Infinity, most = 0;
  for (let i = 0; i < 3000; i++) {
    sim.run(sim.now + 10);
    least = Math.min(least, flow.cc.ssthresh);
    most = Math.max(most, flow.inflight);
  }
  assertBetween(least / room, 0.45, 0.55, "least");
  assertBetween(most / room, 0.95, 1.05, "most");
});

Deno.test("cubic: after a loss the window is RFC 9438's function of time", () => {
  const cc = new Cubic(FRESH), segments = 1000;
  cc.cwnd = segments * MSS;
  cc.enterRecovery(0, cc.cwnd, MSS);
  cc.exitRecovery(0);
  assertBetween(cc.cwnd / MSS, 699.9, 700.1, "segments");
  const k = Math.cbrt(segments * 0.3 / 0.4);
  rounds(cc, 0, 300, (now) => {
    const t = now / 1000, w = 0.4 * (t - k) ** 3 + segments;
    assertBetween(cc.cwnd / MSS / w, 0.98, 1.03, `of the function's after ${t} s`);
  });
});

Deno.test("cubic: where the curve is below Reno's line, it follows that", () => {
  const cc = new Cubic(FRESH);
  cc.cwnd = 20 * MSS;
  cc.enterRecovery(0, cc.cwnd, MSS);
  cc.exitRecovery(0);
  rounds(cc, 0, 20);
  assertBetween(cc.cwnd / MSS, 14 + 20 * 0.4, 14 + 20, "segments");
});

Deno.test("cubic: a window that did not come back to its height makes room", () => {
  const cc = new Cubic(FRESH);
  cc.cwnd = 100 * MSS;
  cc.onEcn(0, 0);
  cc.onEcn(100, 0);
  assertBetween((cc as unknown as { wMax: number }).wMax / MSS, 78, 79, "85 segments, and 7.5 % less");
});
