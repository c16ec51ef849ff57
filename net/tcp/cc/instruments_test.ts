import assert from "node:assert/strict";
import { CC_NAMES, createCc, isCcName } from "./algorithms.ts";
import { AckSample, NO_LIMIT, type SendRecord } from "./cc.ts";
import { WindowedMax, WindowedMin } from "./filter.ts";
import { MAX_QUANTUM, Pacer, quantumOf } from "./pacing.ts";
import { RateSampler } from "./rate.ts";
import { MAX_RTO_MS, RttEstimator } from "./rtt.ts";
import { alone, mbit, MSS } from "./sim_fixture.ts";
import { Packer } from "../shapes.ts";
import { Random } from "../../wire/wire_fixture.ts";

function record(): SendRecord {
  return { sentMs: 0, delivered: 0, deliveredMs: 0, firstSentMs: 0, appLimited: false };
}

Deno.test("the timeout before, at and after the first sample is RFC 6298's, with Linux's floor", () => {
  const rtt = new RttEstimator();
  assert.equal(rtt.rtoMs, 1000);
  rtt.sample(100, 0);
  assert.deepEqual([rtt.srttMs, rtt.varMs, rtt.rtoMs], [100, 50, 300]);
  rtt.sample(180, 100);
  assert.deepEqual([rtt.srttMs, rtt.varMs], [110, 57.5]);
  for (let i = 0; i < 200; i++) rtt.sample(20, 200 + i);
  assert.ok(Math.abs(rtt.rtoMs - 220) < 1, `${rtt.rtoMs}`);
  assert.equal(rtt.minMs, 20);
});

Deno.test("the timeout doubles up to its bound, and a sample ends that", () => {
  const rtt = new RttEstimator();
  rtt.sample(100, 0);
  rtt.backOff();
  assert.equal(rtt.rtoMs, 600);
  for (let i = 0; i < 100; i++) rtt.backOff();
  assert.equal(rtt.rtoMs, MAX_RTO_MS);
  rtt.sample(100, 1);
  assert.equal(rtt.rtoMs, 300);
});

Deno.test("many samples a round trip weigh as much as one", () => {
  const one = new RttEstimator(), many = new RttEstimator();
  one.sample(100, 0);
  many.sample(100, 0);
  one.sample(200, 1);
  for (let i = 0; i < 50; i++) many.sample(200, 1, 50);
  assert.ok(Math.abs(one.srttMs - many.srttMs) < 2, `${one.srttMs} and ${many.srttMs}`);
});

Deno.test("the filters never miss the best of the window, and keep nothing older", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed), max = new WindowedMax(10), min = new WindowedMin(10), all: [number, number][] = [];
    for (let at = 0, i = 0; i < 200; i++, at += random.below(4)) {
      const value = 1 + random.below(1000);
      all.push([at, value]);
      const window = all.filter(([when]) => at - when <= 10).map(([, seen]) => seen);
      const greatest = max.update(value, at), least = min.update(value, at);
      assert.ok(greatest <= Math.max(...window) && greatest >= value, `seed ${seed}: ${greatest} of ${window}`);
      assert.ok(least >= Math.min(...window) && least <= value, `seed ${seed}: ${least} of ${window}`);
      if (window.length === 1) assert.equal(greatest, value, `seed ${seed}`);
    }
  }
});

Deno.test("the filter keeps its best for exactly the window", () => {
  const max = new WindowedMax(10);
  max.update(100, 0);
  for (let at = 1; at <= 10; at++) assert.equal(max.update(50, at), 100, `at ${at}`);
  assert.equal(max.update(50, 11), 50);
});

Deno.test("the delivery rate is what was delivered over the longer of sending and acknowledging", () => {
  const sampler = new RateSampler(), sample = new AckSample(), records = [record(), record(), record()];
  records.forEach((each, i) => sampler.sent(each, i, i * 1000));
  const ack = (i: number, now: number) => {
    sampler.begin();
    sampler.delivered(records[i], 1000, now);
    sampler.finish(sample, now, 10);
    return sample.rate;
  };
  assert.equal(ack(0, 10), 100);
  assert.equal(ack(1, 11), 2000 / 11);
  assert.equal(ack(2, 20), 3000 / 20);
  assert.deepEqual([sample.delivered, sample.ackedBytes, sample.priorDelivered], [3000, 1000, 0]);
});

Deno.test("ACKs in a clump do not make the rate higher than what was sent", () => {
  const sampler = new RateSampler(), sample = new AckSample();
  const records = Array.from({ length: 20 }, record);
  records.forEach((each, i) => sampler.sent(each, i, i * 1000));
  for (const [from, to, now] of [[0, 10, 30], [10, 20, 30.1]]) {
    sampler.begin();
    for (const each of records.slice(from, to)) sampler.delivered(each, 1000, now);
    sampler.finish(sample, now, 5);
    assert.ok(sample.rate <= 1000, `${sample.rate}`);
  }
});

Deno.test("data that is sent while there is too little of it is marked, until it has arrived", () => {
  const sampler = new RateSampler(), sample = new AckSample(), a = record(), b = record(), c = record();
  sampler.sent(a, 0, 0);
  sampler.markAppLimited(1000);
  sampler.sent(b, 1, 1000);
  sampler.begin();
  sampler.delivered(a, 1000, 10);
  sampler.delivered(b, 1000, 10);
  sampler.finish(sample, 10, 10);
  assert.equal(sample.appLimited, true);
  sampler.sent(c, 11, 0);
  assert.equal(c.appLimited, false);
});

Deno.test("an interval shorter than any round trip measures nothing", () => {
  const sampler = new RateSampler(), sample = new AckSample(), a = record();
  sampler.sent(a, 0, 0);
  sampler.begin();
  sampler.delivered(a, 1000, 3);
  sampler.finish(sample, 3, 10);
  assert.deepEqual([sample.rate, sample.ackedBytes], [0, 1000]);
  sampler.begin();
  sampler.lost(500);
  sampler.finish(sample, 4, 10);
  assert.deepEqual([sample.rate, sample.ackedBytes, sample.lostBytes], [0, 0, 500]);
});

Deno.test("the pacer keeps its rate though its timer comes late, and lends no more than two milliseconds", () => {
  const pacer = new Pacer();
  let now = 0, sent = 0;
  while (now < 1000) {
    while (pacer.ready(now)) {
      pacer.sent(1000, now, 1000);
      sent += 1000;
    }
    now = pacer.readyAt + 0.7;
  }
  assert.ok(Math.abs(sent / now - 1000) < 10, `${sent / now} bytes a millisecond`);
  let burst = 0;
  for (now += 100; pacer.ready(now); burst += 1000) pacer.sent(1000, now, 1000);
  assert.ok(burst <= 3000, `${burst} bytes`);
});

Deno.test("a pacer whose timers are 6 ms late keeps its rate; when they are in time again its bursts are short", () => {
  const pacer = new Pacer(), rate = 1000;
  let now = 0, sent = 0;
  const run = (ms: number, lateMs: number) => {
    const from = now, before = sent;
    while (now < from + ms) {
      for (; pacer.ready(now); sent += 1000) pacer.sent(1000, now, rate);
      now = pacer.readyAt + lateMs;
      pacer.came(lateMs);
    }
    return (sent - before) / (now - from);
  };
  run(200, 6);
  const kept = run(1000, 6);
  assert.ok(Math.abs(kept - rate) < 20, `${kept} bytes a millisecond`);
  run(200, 0);
  let burst = 0;
  for (now += 100; pacer.ready(now); burst += 1000) pacer.sent(1000, now, rate);
  assert.ok(burst <= 3000, `${burst} bytes`);
});

Deno.test("a super-segment lasts a millisecond, within its bounds", () => {
  assert.equal(quantumOf(1000, 1448), 2 * 1448);
  assert.equal(quantumOf(14_480, 1448), 14_480);
  for (const rate of [0, 1e9]) assert.equal(quantumOf(rate, 1448), Math.floor(MAX_QUANTUM / 1448) * 1448);
  assert.equal(quantumOf(0, MAX_QUANTUM + 1), MAX_QUANTUM + 1);
});

for (const name of CC_NAMES) {
  Deno.test(`${name}: goes on from a saved state as if nothing had been`, () => {
    const is = { rate: mbit(50), rttMs: 20, queueBytes: 60_000, loss: 0.001 };
    const traces = [false, true].map((restored) => {
      const { sim, flow } = alone(5, is, { cc: name }), trace = [];
      for (let i = 0; i < 60; i++) {
        sim.run(sim.now + 50);
        trace.push(flow.cc.cwnd, flow.cc.pacingRate, flow.cc.ssthresh);
        const packer = new Packer({}, new Set()), saved = packer.pack(name, flow.cc, true);
        if (!restored) continue;
        flow.cc = createCc(name, { mss: MSS, now: sim.now, seed: 9 });
        new Packer(packer.shapes, new Set()).unpack(name, flow.cc, saved);
      }
      return trace;
    });
    assert.deepEqual(traces[1], traces[0]);
  });

  Deno.test(`${name}: no order of events brings the window out of its bounds`, () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new Random(seed), ack = new AckSample();
      const cc = createCc(name, { mss: MSS, now: 0, seed, rttMs: random.below(3) });
      for (let now = 0, i = 0; i < 400; i++, now += random.below(100) * random.below(50) / 100) {
        const inflight = random.below(1 << random.below(24));
        const bytes = random.below(3) === 0 ? 0 : random.below(200_000);
        Object.assign(ack, { now, ackedBytes: bytes, lostBytes: random.below(4) ? 0 : random.below(100_000) });
        Object.assign(ack, {
          priorInflight: inflight,
          inflight: random.below(inflight + 1),
          cwndLimited: random.below(2) === 0,
        });
        ack.priorDelivered = Math.max(ack.delivered - random.below(1_000_000), 0);
        ack.delivered += bytes;
        ack.rate = random.below(3) ? random.below(1 << random.below(25)) : 0;
        ack.rttMs = random.below(4) ? random.below(100_000) / (1 + random.below(10_000)) : -1;
        ack.srttMs = ack.rttMs < 0 ? 0 : ack.rttMs;
        ack.minRttMs = Math.min(ack.srttMs, 1 + random.below(3));
        [
          () => cc.onAck(ack),
          () => cc.onAck(ack),
          () => cc.onAck(ack),
          () => cc.enterRecovery(now, inflight, random.below(50_000)),
          () => cc.exitRecovery(now),
          () => cc.onRto(now, inflight, random.below(2) === 0),
          () => cc.onUndo(now),
          () => cc.onEcn(now, inflight),
          () => cc.onIdleRestart(now, random.below(10_000), 200),
          () => cc.setMss(536 + random.below(8_000)),
        ][random.below(10)]();
        const what = `seed ${seed}, event ${i}: cwnd ${cc.cwnd}, rate ${cc.pacingRate}, quantum ${cc.quantum}`;
        assert.ok(cc.cwnd >= 536 && cc.cwnd <= 2 * NO_LIMIT && cc.ssthresh >= 536, what);
        assert.ok(
          cc.pacingRate >= 0 && cc.pacingRate < Infinity && cc.quantum >= 536 && cc.quantum <= MAX_QUANTUM,
          what,
        );
      }
    }
  });
}

Deno.test("algorithms are known by name", () => {
  assert.deepEqual(CC_NAMES, ["bbr", "cubic", "reno"]);
  assert.ok(isCcName("cubic") && !isCcName("vegas") && !isCcName("toString"));
});
