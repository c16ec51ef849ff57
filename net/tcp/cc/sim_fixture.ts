/**
 * A small seeded network for tests of congestion control: flows, one bottleneck, packets, and nothing of TCP's formats.
 *
 * Layer: net/tcp/cc, tests only. Acknowledgements are perfect SACKs: each tells which packets have come. Loss is found by
 * time as RACK does it. It stands in for the engine: it calls an algorithm just as the contract in cc.ts says.
 */

import { createCc } from "./algorithms.ts";
import { AckSample, type CcName, type CongestionControl, type SendRecord } from "./cc.ts";
import { Pacer } from "./pacing.ts";
import { RateSampler } from "./rate.ts";
import { RttEstimator } from "./rtt.ts";
import { Random } from "../../wire/wire_fixture.ts";

export const MSS = 1448;

/** Mbit/s as bytes a millisecond. */
export function mbit(rate: number): number {
  return rate * 125;
}

interface Event {
  at: number;
  order: number;
  run: () => void;
}

/** Virtual time. */
export class Sim {
  now = 0;
  readonly random: Random;
  private readonly heap: Event[] = [];
  private order = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.random.below(1_000_000) < probability * 1_000_000;
  }

  at(time: number, run: () => void): void {
    const event = { at: Math.max(time, this.now), order: this.order++, run };
    const heap = this.heap;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = i - 1 >> 1;
      if (!before(event, heap[parent])) break;
      heap[i] = heap[parent];
      i = parent;
    }
    heap[i] = event;
  }

  run(until: number): void {
    while (this.heap.length > 0 && this.heap[0].at <= until) {
      const event = this.pop();
      this.now = event.at;
      event.run();
    }
    this.now = until;
  }

  private pop(): Event {
    const heap = this.heap, top = heap[0], last = heap.pop()!;
    if (heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], last)) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || a.at === b.at && a.order < b.order;
}

/** What a bottleneck is like; may be changed while it works. */
export interface Bottleneck {
  /** Bytes a millisecond. */
  rate: number;
  /** Of the whole round trip. */
  rttMs: number;
  queueBytes: number;
  /** Probabilities of a packet. */
  loss?: number;
  reorder?: number;
  /** Extra delay of a packet that is reordered. */
  reorderMs?: number;
  /** Marks what finds more than this queued. */
  ecnBytes?: number;
  /** The receiver saves up its ACKs and lets them go together, so often. */
  ackEveryMs?: number;
}

/** The bottleneck's queue, first in, first out. */
export class Link {
  private freeAt = 0;
  drops = 0;
  /** Greatest queue, and its mean over packets, since `measure`. */
  maxQueue = 0;
  private sumQueue = 0;
  private packets = 0;

  constructor(readonly sim: Sim, readonly is: Bottleneck) {}

  get queued(): number {
    return Math.max(this.freeAt - this.sim.now, 0) * this.is.rate;
  }

  get meanQueue(): number {
    return this.sumQueue / Math.max(this.packets, 1);
  }

  measure(): void {
    this.maxQueue =
      this.sumQueue =
      this.packets =
      this.drops =
        0;
  }

  /** Sends a packet; `arrived` is called when its ACK is back at the sender. */
  send(bytes: number, arrived: (marked: boolean) => void): void {
    const { sim, is } = this, queued = this.queued;
    this.maxQueue = Math.max(this.maxQueue, queued);
    this.sumQueue += queued;
    this.packets++;
    if (queued + bytes > is.queueBytes) {
      this.drops++;
      return;
    }
    this.freeAt = Math.max(this.freeAt, sim.now) + bytes / is.rate;
    if (sim.chance(is.loss ?? 0)) return;
    const late = sim.chance(is.reorder ?? 0) ? is.reorderMs ?? 1 : 0;
    const marked = queued > (is.ecnBytes ?? Infinity);
    const back = this.freeAt + is.rttMs + late, every = is.ackEveryMs ?? 0;
    sim.at(every > 0 ? Math.ceil(back / every) * every : back, () => arrived(marked));
  }
}

interface Packet extends SendRecord {
  seq: number;
  bytes: number;
  /** Count of transmissions of the flow when it was sent. */
  turn: number;
  state: "flying" | "lost" | "delivered";
  resent: boolean;
}

/** How a flow behaves. */
export interface FlowOptions {
  cc: CcName;
  /** Largest packet; above MSS it stands for a super-segment. */
  unitBytes?: number;
  /** What the application has written in all so far; without end by default. */
  written?: (now: number) => number;
  /** The sender's own pauses: how long one is, and how often on the average one begins. */
  stallMs?: number;
  stallEveryMs?: number;
}

/** A sender with its algorithm. */
export class Flow {
  cc: CongestionControl;
  readonly sampler = new RateSampler();
  readonly rtt = new RttEstimator();
  readonly pacer = new Pacer();
  readonly sample = new AckSample();
  inflight = 0;
  recoveries = 0;
  timeouts = 0;

  private sentBytes = 0;
  private nextSeq = 0;
  private una = 0;
  private turn = 0;
  private readonly packets = new Map<number, Packet>();
  /** Transmissions in the order they were made; the head is looked at for loss. */
  private order: { packet: Packet; turn: number }[] = [];
  private resend: Packet[] = [];
  private arrived: { packet: Packet; turn: number; marked: boolean }[] = [];
  private recoveryEnd = -1;
  private ecnEnd = -1;
  private newest = 0;
  private timer = 0;
  private timerBase = 0;
  private pumpAt = -1;
  private stalledUntil = 0;
  private flushing = false;
  private limited = false;
  private stopped = false;

  constructor(readonly link: Link, readonly options: FlowOptions, seed = 1) {
    this.cc = createCc(options.cc, { mss: MSS, now: link.sim.now, seed });
    this.scheduleStall();
    link.sim.at(link.sim.now, () => this.pump());
  }

  stop(): void {
    this.stopped = true;
  }

  private get sim(): Sim {
    return this.link.sim;
  }

  private scheduleStall(): void {
    const { stallMs = 0, stallEveryMs = 0 } = this.options;
    if (stallMs === 0) return;
    this.sim.at(this.sim.now + this.sim.random.below(2000) / 1000 * stallEveryMs, () => {
      this.stalledUntil = this.sim.now + stallMs;
      this.scheduleStall();
    });
  }

  private pump(): void {
    const now = this.sim.now;
    if (this.stopped || now < this.stalledUntil) return this.pumpLater(this.stalledUntil);
    for (;;) {
      const packet = this.resend[0] ?? this.fresh(now);
      if (packet === undefined) {
        this.limited = false;
        this.sampler.markAppLimited(this.inflight);
        return;
      }
      if (this.inflight >= this.cc.cwnd) {
        this.limited = true;
        return;
      }
      if (this.cc.pacingRate > 0 && !this.pacer.ready(now)) return this.pumpLater(this.pacer.readyAt);
      this.transmit(packet, now);
    }
  }

  private pumpLater(at: number): void {
    if (this.stopped || this.pumpAt > this.sim.now && this.pumpAt <= at) return;
    this.pumpAt = at;
    this.sim.at(at, () => {
      if (this.pumpAt === at) this.pumpAt = -1;
      this.pump();
    });
  }

  private fresh(now: number): Packet | undefined {
    const unit = Math.max(Math.min(this.options.unitBytes ?? MSS, this.cc.quantum), MSS);
    const bytes = Math.min(unit, (this.options.written?.(now) ?? Infinity) - this.sentBytes);
    if (bytes <= 0) return undefined;
    const blank = { sentMs: 0, delivered: 0, deliveredMs: 0, firstSentMs: 0, appLimited: false };
    return { ...blank, seq: this.nextSeq, bytes, turn: 0, state: "flying", resent: false };
  }

  private transmit(packet: Packet, now: number): void {
    if (packet === this.resend[0]) {
      this.resend.shift();
      packet.state = "flying";
      packet.resent = true;
    } else {
      this.nextSeq++;
      this.sentBytes += packet.bytes;
      this.packets.set(packet.seq, packet);
    }
    if (this.inflight === 0) this.timerBase = now;
    this.sampler.sent(packet, now, this.inflight);
    this.inflight += packet.bytes;
    const turn = packet.turn = ++this.turn;
    this.order.push({ packet, turn });
    this.pacer.sent(packet.bytes, now, this.cc.pacingRate);
    this.link.send(packet.bytes, (marked) => this.arrive(packet, turn, marked));
    this.armTimer();
  }

  /** ACKs that come at the same time, or during a stall, are gone through together. */
  private arrive(packet: Packet, turn: number, marked: boolean): void {
    this.arrived.push({ packet, turn, marked });
    if (this.flushing) return;
    this.flushing = true;
    this.sim.at(Math.max(this.sim.now, this.stalledUntil), () => this.flush());
  }

  private flush(): void {
    if (this.sim.now < this.stalledUntil) return this.sim.at(this.stalledUntil, () => this.flush());
    this.flushing = false;
    if (!this.stopped) this.input();
  }

  private input(): void {
    const now = this.sim.now, priorInflight = this.inflight;
    let rttMs = -1, marked = false;
    this.sampler.begin();
    for (const { packet, turn, marked: ce } of this.arrived.splice(0)) {
      marked ||= ce;
      if (packet.state === "delivered") continue;
      if (packet.state === "flying") this.inflight -= packet.bytes;
      else this.resend = this.resend.filter((other) => other !== packet);
      packet.state = "delivered";
      this.sampler.delivered(packet, packet.bytes, now);
      this.newest = Math.max(this.newest, turn);
      if (!packet.resent) rttMs = now - packet.sentMs;
    }
    while (this.packets.get(this.una)?.state === "delivered") this.packets.delete(this.una++);
    if (rttMs >= 0) this.rtt.sample(rttMs, now, Math.max(priorInflight / (2 * MSS), 1));
    this.timerBase = now;
    const lost = this.detect(now);
    this.phase(now, lost, marked);
    this.tell(now, priorInflight, rttMs);
    this.pump();
  }

  /** RACK: what was sent a round trip and a quarter before something that has come is lost. */
  private detect(now: number): number {
    let lost = 0, i = 0;
    for (; i < this.order.length; i++) {
      const { packet, turn } = this.order[i];
      if (turn >= this.newest) break;
      if (packet.turn !== turn || packet.state !== "flying") continue;
      if (packet.sentMs + this.rtt.latestMs + this.rtt.minMs / 4 > now) break;
      lost += this.lose(packet);
    }
    this.order.splice(0, i);
    return lost;
  }

  private lose(packet: Packet): number {
    packet.state = "lost";
    this.inflight -= packet.bytes;
    this.sampler.lost(packet.bytes);
    this.resend.push(packet);
    return packet.bytes;
  }

  private phase(now: number, lost: number, marked: boolean): void {
    if (this.recoveryEnd >= 0 && this.una >= this.recoveryEnd) {
      this.recoveryEnd = -1;
      this.cc.exitRecovery(now);
    }
    if (lost > 0 && this.recoveryEnd < 0) {
      this.recoveryEnd = this.nextSeq;
      this.recoveries++;
      this.cc.enterRecovery(now, this.inflight, lost);
    }
    if (marked && this.una >= this.ecnEnd) {
      this.ecnEnd = this.nextSeq;
      this.cc.onEcn(now, this.inflight);
    }
  }

  private tell(now: number, priorInflight: number, rttMs: number): void {
    const sample = this.sample;
    this.sampler.finish(sample, now, this.rtt.minMs);
    sample.priorInflight = priorInflight;
    sample.inflight = this.inflight;
    sample.rttMs = rttMs;
    sample.srttMs = this.rtt.srttMs;
    sample.minRttMs = this.rtt.minMs;
    sample.cwndLimited = this.limited;
    this.cc.onAck(sample);
  }

  private armTimer(): void {
    const id = ++this.timer;
    const check = () => {
      if (id !== this.timer || this.stopped || this.inflight === 0) return;
      const due = this.timerBase + this.rtt.rtoMs;
      if (due > this.sim.now + 1e-6) return this.sim.at(due, check);
      this.timeout();
    };
    this.sim.at(this.timerBase + this.rtt.rtoMs, check);
  }

  private timeout(): void {
    const now = this.sim.now;
    this.timeouts++;
    for (const { packet, turn } of this.order) {
      if (packet.turn === turn && packet.state === "flying") this.lose(packet);
    }
    this.order = [];
    this.cc.onRto(now, this.inflight, this.rtt.backoffs === 0);
    this.rtt.backOff();
    this.recoveryEnd = this.nextSeq;
    this.timerBase = now;
    this.pump();
  }
}

/** A flow alone on a bottleneck. */
export function alone(seed: number, is: Bottleneck, options: FlowOptions): { sim: Sim; link: Link; flow: Flow } {
  const sim = new Sim(seed), link = new Link(sim, is), flow = new Flow(link, options, seed);
  return { sim, link, flow };
}

/** Bytes a millisecond that a flow delivers from now on, for so long. */
export function throughput(sim: Sim, flow: Flow, ms: number): number {
  const start = flow.sampler.deliveredBytes;
  sim.run(sim.now + ms);
  return (flow.sampler.deliveredBytes - start) / ms;
}
