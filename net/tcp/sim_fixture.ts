/**
 * Two stacks and a link between them, in simulated time: what the tests of net/tcp run on.
 *
 * Layer: net/tcp, tests only. `TestIp` is IP without IP: it hands over transport packets, cut into segments and summed up as
 * a link does. `Wire` is one direction of a link: rate, delay, queue, and what it does to packets, all by a seed. `World` runs
 * both until nothing is due any more.
 */

import assert from "node:assert/strict";
import { type Ip, isIpv4, parseIp, sameIp } from "../addr.ts";
import { pseudoSum4, pseudoSum6 } from "../checksum.ts";
import { get32, set16, set32 } from "../wire/packet.ts";
import { CWR, FIN, PSH, sealTcp, Tcp as TcpView } from "../wire/tcp.ts";
import { seqAdd } from "../wire/tcp_seq.ts";
import { Random } from "../wire/wire_fixture.ts";
import type { Arrival, IpLower, NoPath, Path, SendOptions } from "./lower.ts";
import { Tcp, type TcpEnv } from "./tcp.ts";

/** A packet under way: transport header and payload. */
export interface Packet {
  bytes: Uint8Array;
  src: Ip;
  dst: Ip;
  ecn: number;
  gsoBytes: number;
}

/** A path with an MTU that tests may change. */
export class TestPath implements Path {
  mtu: number;
  readonly v6: boolean;
  readonly headerBytes: number;
  gsoMaxBytes: number;
  readonly checksumOffload = false;
  readonly loopback = false;

  constructor(readonly local: Ip, readonly remote: Ip, options: { mtu: number; gsoMaxBytes: number }) {
    this.v6 = !isIpv4(remote);
    this.headerBytes = this.v6 ? 40 : 20;
    this.mtu = options.mtu;
    this.gsoMaxBytes = options.gsoMaxBytes;
  }

  pseudoSum(proto: number, bytes: number): number {
    if (!this.v6) return pseudoSum4(get32(this.local, 12), get32(this.remote, 12), proto, bytes);
    const both = new Uint8Array(32);
    both.set(this.local);
    both.set(this.remote, 16);
    return pseudoSum6(both, 0, proto, bytes);
  }
}

/** What a host is like. */
export interface HostOptions {
  mtu?: number;
  gsoMaxBytes?: number;
  /** Whether super-segments arrive as they were sent, as between two guests of one machine. */
  merged?: boolean;
  env?: Partial<TcpEnv>;
  /** Its address, if not 10.0.0.1 or 10.0.0.2. */
  addr?: string;
}

/** IP for one host. */
export class TestIp implements IpLower {
  readonly buf = new Uint8Array(70_000);
  readonly at = 100;
  /** Packets that `begin` still takes; Infinity: the link is never full. */
  room = Infinity;
  readonly paths = new Map<string, TestPath>();
  readonly #options: { mtu: number; gsoMaxBytes: number };
  #path!: TestPath;

  constructor(
    readonly addr: Ip,
    readonly options: HostOptions,
    readonly send: (packet: Packet) => void,
  ) {
    this.#options = { mtu: options.mtu ?? 1500, gsoMaxBytes: options.gsoMaxBytes ?? 0 };
  }

  path(remote: Ip, local: Ip): TestPath | NoPath {
    if (local.some((byte) => byte !== 0) && !sameIp(local, this.addr)) return "no source address";
    const key = remote.join();
    let path = this.paths.get(key);
    if (path === undefined) this.paths.set(key, path = new TestPath(this.addr, remote.slice(), this.#options));
    return path;
  }

  pathOnce(remote: Ip, local: Ip): TestPath | NoPath {
    return this.path(remote, local);
  }

  begin(path: TestPath, _proto: number, bytes: number): boolean {
    assert.ok(bytes + this.at <= this.buf.length);
    if (this.room <= 0) return false;
    this.#path = path;
    return true;
  }

  end(bytes: number, checksumOffset: number, options: SendOptions): void {
    this.room--;
    assert.equal(checksumOffset, 16);
    const { gsoBytes, headerBytes, ecn } = options, path = this.#path;
    const packet = this.buf.slice(this.at, this.at + bytes);
    if (gsoBytes === 0 || this.options.merged) {
      if (gsoBytes === 0) assert.ok(bytes + path.headerBytes <= path.mtu, `${bytes} bytes on an MTU of ${path.mtu}`);
      this.#put(packet, ecn, gsoBytes);
      return;
    }
    assert.ok(gsoBytes + headerBytes + path.headerBytes <= path.mtu && bytes <= path.gsoMaxBytes);
    for (let at = headerBytes; at < bytes; at += gsoBytes) {
      const end = Math.min(at + gsoBytes, bytes), segment = new Uint8Array(headerBytes + end - at);
      segment.set(packet.subarray(0, headerBytes));
      segment.set(packet.subarray(at, end), headerBytes);
      set32(segment, 4, seqAdd(get32(packet, 4), at - headerBytes));
      if (end < bytes) segment[13] &= ~(FIN | PSH);
      if (at > headerBytes) segment[13] &= ~CWR;
      this.#put(segment, ecn, 0);
    }
  }

  #put(bytes: Uint8Array, ecn: number, gsoBytes: number): void {
    const { local, remote } = this.#path;
    set16(bytes, 16, 0);
    sealTcp(bytes, 0, bytes.length, this.#path.pseudoSum(6, bytes.length));
    this.send({ bytes, src: local, dst: remote, ecn, gsoBytes });
  }
}

/** A host: its TCP, and the addresses that its segments are read with. */
export class Host {
  readonly addr: Ip;
  readonly ip: TestIp;
  tcp: Tcp;
  readonly env: TcpEnv;
  readonly #arrival: Arrival;
  readonly #random: Random;

  constructor(addr: string, seed: number, options: HostOptions, send: (packet: Packet) => void, now = 0) {
    this.addr = parseIp(addr)!;
    this.ip = new TestIp(this.addr, options, send);
    this.#random = new Random(seed);
    const random = (bytes: Uint8Array) => bytes.forEach((_, i) => bytes[i] = this.#random.below(256));
    this.env = { lower: this.ip, random, ...options.env };
    this.tcp = new Tcp(this.env, now);
    this.#arrival = {
      src: this.addr,
      dst: this.addr,
      link: "test",
      ecn: 0,
      ttl: 64,
      checksumGood: false,
      gsoBytes: 0,
      pseudoSum: 0,
    };
  }

  receive({ bytes, src, dst, ecn, gsoBytes }: Packet, now: number): void {
    const arrival = this.#arrival;
    arrival.src = src;
    arrival.dst = dst;
    arrival.ecn = ecn;
    arrival.gsoBytes = gsoBytes;
    arrival.pseudoSum = new TestPath(src, dst, { mtu: 1500, gsoMaxBytes: 0 }).pseudoSum(6, bytes.length);
    this.tcp.input(bytes, 0, bytes.length, arrival, now);
    // The bytes were borrowed: whoever has kept them sees something else.
    bytes.fill(0xdd);
  }
}

/** What a direction of a link does to packets; probabilities are in a thousand. */
export interface WireOptions {
  /** Bytes a millisecond; 125,000 are 1 Gbit/s. */
  rate: number;
  delayMs: number;
  queueBytes: number;
  loss?: number;
  reorder?: number;
  /** How much later a reordered packet comes. */
  reorderMs?: number;
  duplicate?: number;
  corrupt?: number;
  /** Packets are handed over so often, all together, as a driver does that lets interrupts wait. */
  batchMs?: number;
  /** Packets that find more than this in the queue are marked (ECN), if they may be. */
  markBytes?: number;
}

/** One direction. */
export class Wire {
  busyUntil = 0;
  sent = 0;
  dropped = 0;
  readonly #random: Random;

  constructor(
    readonly options: WireOptions,
    seed: number,
    readonly world: World,
    readonly deliver: (packet: Packet) => void,
  ) {
    this.#random = new Random(seed);
  }

  put(packet: Packet): void {
    const { options, world } = this, chance = (thousandths = 0) => this.#random.below(1000) < thousandths;
    const now = world.now, queued = Math.max(this.busyUntil - now, 0) * options.rate;
    this.sent++;
    if (queued > options.queueBytes || chance(options.loss)) {
      this.dropped++;
      return;
    }
    if (options.markBytes !== undefined && queued > options.markBytes && packet.ecn > 0) packet.ecn = 3;
    this.busyUntil = Math.max(this.busyUntil, now) + (packet.bytes.length + 38) / options.rate;
    let at = this.busyUntil + options.delayMs;
    if (chance(options.reorder)) at += options.reorderMs ?? options.delayMs / 2;
    if (options.batchMs !== undefined) at = Math.ceil(at / options.batchMs) * options.batchMs;
    if (chance(options.duplicate)) {
      const copy = { ...packet, bytes: packet.bytes.slice() };
      world.at(at + this.#random.below(100) / 50, () => this.deliver(copy));
    }
    if (chance(options.corrupt)) packet.bytes[this.#random.below(packet.bytes.length)] ^= 1 << this.#random.below(8);
    world.at(at, () => this.deliver(packet));
  }
}

/** Two hosts, 10.0.0.1 and 10.0.0.2, and time. */
export class World {
  now = 0;
  readonly a: Host;
  readonly b: Host;
  readonly ab: Wire;
  readonly ba: Wire;
  /** Called after each step: programs that run on the hosts. */
  onStep: () => void = () => {};
  readonly #events: { at: number; order: number; fn: () => void }[] = [];
  #order = 0;

  constructor(seed: number, wire: WireOptions | [WireOptions, WireOptions], a: HostOptions = {}, b: HostOptions = {}) {
    const [ab, ba] = Array.isArray(wire) ? wire : [wire, wire];
    // Time begins anywhere, and not at whole milliseconds.
    this.now = new Random(seed + 7).below(1 << 30) + 0.25;
    this.a = new Host(a.addr ?? "10.0.0.1", seed + 1, a, (packet) => this.ab.put(packet), this.now);
    this.b = new Host(b.addr ?? "10.0.0.2", seed + 2, b, (packet) => this.ba.put(packet), this.now);
    this.ab = new Wire(ab, seed + 3, this, (packet) => this.b.receive(packet, this.now));
    this.ba = new Wire(ba, seed + 4, this, (packet) => this.a.receive(packet, this.now));
  }

  at(at: number, fn: () => void): void {
    const heap = this.#events, event = { at, order: this.#order++, fn };
    let i = heap.length;
    heap.push(event);
    for (let up = i - 1 >> 1; i > 0 && before(event, heap[up]); i = up, up = i - 1 >> 1) heap[i] = heap[up];
    heap[i] = event;
  }

  #next(): () => void {
    const heap = this.#events, { fn } = heap[0], last = heap.pop()!;
    if (heap.length > 0) {
      let i = 0;
      for (let child = 1; child < heap.length; child = i * 2 + 1) {
        if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], last)) break;
        heap[i] = heap[child];
        i = child;
      }
      heap[i] = last;
    }
    return fn;
  }

  /** Runs until `done`, for at most `ms`; answers whether it was done. */
  run(ms: number, done: () => boolean = () => false): boolean {
    const end = this.now + ms;
    for (let idle = 0; !done();) {
      this.a.tcp.poll(this.now);
      this.b.tcp.poll(this.now);
      this.onStep();
      const next = Math.min(this.#events[0]?.at ?? Infinity, this.a.tcp.pollAt(), this.b.tcp.pollAt());
      if (next > end) {
        if (end !== Infinity) this.now = end;
        return done();
      }
      idle = next > this.now ? 0 : idle + 1;
      assert.ok(idle < 10_000, "time stands still");
      this.now = Math.max(this.now, next);
      // A batch is what has come within a few microseconds.
      while (this.#events.length > 0 && this.#events[0].at <= this.now) this.#next()();
    }
    return true;
  }
}

function before(a: { at: number; order: number }, b: { at: number; order: number }): boolean {
  return a.at < b.at || a.at === b.at && a.order < b.order;
}

/** Reads a packet's header. */
export function headerOf(packet: Packet): TcpView {
  const view = new TcpView();
  assert.equal(view.parse(packet.bytes), undefined);
  return view;
}

/** Bytes that are told apart at each place. */
export function pattern(count: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = Math.imul(i + seed, 0x9e3779b1) >>> 24;
  return bytes;
}
