/**
 * Networks in memory: a cable of two ends, a learning switch, a loopback. Several stacks in one process meet here.
 *
 * Layer: devices, pure but for the default schedule; plugins/ether opens them, tests and simulations build on them. A
 * frame is written into its sender's queue, and delivered from there: no copy, no allocation.
 *
 * What holds always: nothing is delivered inside of a call to a port, but when `schedule` calls back, sender by sender
 * in the order in which they joined, at most BATCH frames each: so a run is a function of what was sent and when. Each
 * queue is bounded: a sender that is refused is told when there is room. Checksums and segmentation are left undone on
 * the way: whoever receives believes the FrameInfo.
 */

import { setImmediate } from "node:timers";
import type { Clock } from "../core/clock.ts";
import type { FrameInfo, FrameSink, Port } from "../core/link.ts";
import { FrameQueue } from "./frame_queue.ts";
import { randomMac } from "./mac.ts";

/** Frames of one sender that are delivered in a row. */
const BATCH = 64;
const QUEUE_BYTES = 1 << 20;
const MAX_PACKET = 65535;
/** As 802.1D has it. */
const AGE_MS = 300_000;
const MAX_STATIONS = 1024;

/** Calls a function soon, not at once. */
export type Schedule = (fn: () => void) => void;

/** What a network in memory is made with. */
export interface FabricOptions {
  /** A turn of the host's event loop, when not given. */
  schedule?: Schedule;
  /** Bytes that wait at each sender, at the most; room for the largest frame is always there. */
  queueBytes?: number;
  mtu?: number;
  /** Whether frames with checksums to be added and super-frames go over it; true when not said. */
  offload?: boolean;
}

/** What a port is made with. */
export interface PortOptions {
  name: string;
  /** Six bytes; a random address when not given. */
  mac?: Uint8Array;
}

/** What ports have in common: who schedules, and where a frame goes. */
abstract class Fabric {
  readonly mtu: number;
  readonly offload: boolean;
  readonly queueBytes: number;
  readonly ports: MemPort[] = [];
  readonly #schedule: Schedule;
  #scheduled = false;

  constructor(options: FabricOptions) {
    this.#schedule = options.schedule ?? ((fn) => void setImmediate(fn));
    this.mtu = options.mtu ?? 1500;
    this.offload = options.offload ?? true;
    this.queueBytes = Math.max(options.queueBytes ?? QUEUE_BYTES, 2 * MAX_PACKET);
  }

  /** Gives the frame that `from.queue` looks at to those it is for. */
  abstract route(from: MemPort): void;

  /** Something was sent. */
  kick(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => this.run());
  }

  /**
   * Delivers at most a batch of each sender; comes again when that was not all. What a sink throws ends the batch, not
   * the network.
   */
  run(): void {
    this.#scheduled = false;
    try {
      for (const port of [...this.ports]) this.#deliver(port);
      for (const port of [...this.ports]) port.settle();
    } finally {
      if (this.ports.some((port) => port.queue.length > 0)) this.kick();
    }
  }

  #deliver(port: MemPort): void {
    for (let i = 0; i < BATCH && port.queue.peek(); i++) {
      try {
        this.route(port);
      } finally {
        port.queue.drop();
      }
    }
    port.drained();
  }

  protected join(port: MemPort): MemPort {
    this.ports.push(port);
    return port;
  }

  leave(port: MemPort): void {
    const at = this.ports.indexOf(port);
    if (at >= 0) this.ports.splice(at, 1);
  }
}

/** An end of a cable, a port of a switch, a loopback. */
class MemPort implements Port {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly checksumOffload: boolean;
  readonly gsoMaxBytes: number;
  readonly queue: FrameQueue;
  onRoom: () => void = () => {};
  #sink: FrameSink | null = null;
  /** Whether `begin` of the sink was called in this run. */
  #begun = false;
  #refused = false;
  #closed = false;
  #inPackets = 0;
  #inBytes = 0;
  #inDrops = 0;
  #outPackets = 0;
  #outBytes = 0;
  #outDrops = 0;

  constructor(
    readonly fabric: Fabric,
    readonly kind: string,
    readonly medium: "ether" | "ip",
    { name, mac }: PortOptions,
  ) {
    this.name = name;
    this.mac = mac ?? (medium === "ether" ? randomMac() : new Uint8Array(6));
    this.mtu = fabric.mtu;
    this.checksumOffload = fabric.offload;
    this.gsoMaxBytes = fabric.offload ? MAX_PACKET : 0;
    this.queue = new FrameQueue(fabric.queueBytes);
  }

  get frame(): Uint8Array {
    return this.queue.bytes;
  }

  get frameAt(): number {
    return this.queue.at;
  }

  attach(sink: FrameSink | null): void {
    this.#sink = sink;
    this.#begun = false;
  }

  begin(bytes: number): boolean {
    const room = this.queue.reserve(bytes);
    this.#refused ||= !room;
    return room;
  }

  end(bytes: number, info: FrameInfo): void {
    if (this.#closed) return void this.#outDrops++;
    this.queue.commit(bytes, info);
    this.#outPackets++;
    this.#outBytes += bytes;
    this.fabric.kick();
  }

  cancel(): void {}

  flush(): void {}

  counters(): Record<string, number> {
    return {
      inPackets: this.#inPackets,
      inBytes: this.#inBytes,
      inDrops: this.#inDrops,
      outPackets: this.#outPackets,
      outBytes: this.#outBytes,
      outDrops: this.#outDrops,
    };
  }

  close(): void {
    this.#closed = true;
    this.#sink = null;
    this.fabric.leave(this);
  }

  /** The frame that `from` looks at arrives here. */
  take(from: FrameQueue): void {
    const sink = this.#sink;
    if (!sink) return void this.#inDrops++;
    if (!this.#begun) {
      this.#begun = true;
      sink.begin();
    }
    this.#inPackets++;
    this.#inBytes += from.end - from.at;
    sink.frame(from.bytes, from.at, from.end, from.info);
  }

  /** The run is over. */
  settle(): void {
    if (!this.#begun) return;
    this.#begun = false;
    this.#sink?.end();
  }

  /** Frames have left the queue. */
  drained(): void {
    if (!this.#refused) return;
    this.#refused = false;
    this.onRoom();
  }
}

/** Two ports, each the other's only neighbour. */
export class Cable extends Fabric {
  readonly ends: readonly [Port, Port];

  constructor(a: PortOptions, b: PortOptions, options: FabricOptions = {}) {
    super(options);
    const end = (of: PortOptions) => this.join(new MemPort(this, "cable", "ether", of));
    this.ends = [end(a), end(b)];
  }

  route(from: MemPort): void {
    for (const port of this.ports) if (port !== from) port.take(from.queue);
  }
}

/** A port that hears itself, without Ethernet headers. */
export class Loopback extends Fabric {
  readonly port: Port;

  constructor(name = "loopback", options: FabricOptions = {}) {
    super({ mtu: MAX_PACKET, ...options });
    this.port = this.join(new MemPort(this, "loopback", "ip", { name }));
  }

  route(from: MemPort): void {
    from.take(from.queue);
  }
}

/** What a switch is made with. */
export interface SwitchOptions extends FabricOptions {
  /** Addresses that it remembers at the most. */
  maxStations?: number;
  /** How long it remembers an address that is silent. */
  ageMs?: number;
}

/** A switch that learns who is where from what is sent. */
export class Switch extends Fabric {
  readonly #clock: Clock;
  readonly #maxStations: number;
  readonly #ageMs: number;
  readonly #stations = new Map<number, { port: MemPort; seenMs: number }>();
  /** Frames sent to every port, because it was not known where to. */
  flooded = 0;

  constructor(clock: Clock, options: SwitchOptions = {}) {
    super(options);
    this.#clock = clock;
    this.#maxStations = options.maxStations ?? MAX_STATIONS;
    this.#ageMs = options.ageMs ?? AGE_MS;
  }

  /** One more port. */
  port(options: PortOptions): Port {
    return this.join(new MemPort(this, "switch", "ether", options));
  }

  /** Addresses that it knows. */
  get stations(): number {
    return this.#stations.size;
  }

  route(from: MemPort): void {
    const { bytes, at, end } = from.queue;
    if (end - at < 14) return;
    const nowMs = this.#clock.monotonic();
    if ((bytes[at + 6] & 1) === 0) this.#learn(macKey(bytes, at + 6), from, nowMs);
    const known = (bytes[at] & 1) === 0 ? this.#stations.get(macKey(bytes, at)) : undefined;
    if (known && nowMs - known.seenMs < this.#ageMs) {
      if (known.port !== from) known.port.take(from.queue);
      return;
    }
    this.flooded++;
    for (const port of this.ports) if (port !== from) port.take(from.queue);
  }

  override leave(port: MemPort): void {
    super.leave(port);
    for (const [key, station] of this.#stations) if (station.port === port) this.#stations.delete(key);
  }

  #learn(key: number, port: MemPort, seenMs: number): void {
    const known = this.#stations.get(key);
    if (known) {
      known.port = port;
      known.seenMs = seenMs;
      return;
    }
    if (this.#stations.size >= this.#maxStations) this.#forgetOne(seenMs);
    this.#stations.set(key, { port, seenMs });
  }

  /** Forgets all that are too old; the one that has been known longest when there are none. */
  #forgetOne(nowMs: number): void {
    const before = this.#stations.size;
    for (const [key, { seenMs }] of this.#stations) if (nowMs - seenMs >= this.#ageMs) this.#stations.delete(key);
    if (this.#stations.size < before) return;
    for (const key of this.#stations.keys()) return void this.#stations.delete(key);
  }
}

function macKey(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8 | bytes[at + 1]) * 0x100000000 +
    ((bytes[at + 2] << 24 | bytes[at + 3] << 16 | bytes[at + 4] << 8 | bytes[at + 5]) >>> 0);
}

const named = new WeakMap<object, Map<string, Switch>>();

/** The switch of that name in `scope` (a kernel), made when it is first asked for. */
export function namedSwitch(scope: object, name: string, clock: Clock, options: SwitchOptions = {}): Switch {
  let switches = named.get(scope);
  if (!switches) named.set(scope, switches = new Map());
  let found = switches.get(name);
  if (!found) switches.set(name, found = new Switch(clock, options));
  return found;
}
