/**
 * What tests of the stack share: links in memory on one wire, stacks on them, and time that only goes where it is told to.
 *
 * Layer: net, tests and benchmarks only. A Wire is a hub: a frame goes to all other links, at the end of the sender's flush.
 */

import { type FrameInfo, GSO, type Link, PLAIN } from "./link.ts";
import { formatMac, type Ip, ipFromV4, parseIp, V4_BITS } from "./addr.ts";
import type { Iface } from "./ip/iface.ts";
import { Stack } from "./stack.ts";
import { Random } from "./wire/wire_fixture.ts";

/** What a link of a test is like. */
export interface LinkOptions {
  mtu?: number;
  medium?: "ether" | "ip";
  checksumOffload?: boolean;
  gsoMaxBytes?: number;
  /** Frames that its queue holds. */
  queue?: number;
}

/** One link of a wire. */
export class MemoryLink implements Link {
  readonly medium: "ether" | "ip";
  readonly mtu: number;
  readonly checksumOffload: boolean;
  readonly gsoMaxBytes: number;
  readonly frame = new Uint8Array(70_000);
  readonly frameAt = 16;
  onRoom: () => void = () => {};
  /** Frames that were sent and not yet flushed. */
  queued: { bytes: Uint8Array; info: FrameInfo }[] = [];
  readonly #limit: number;

  constructor(readonly wire: Wire, readonly name: string, readonly mac: Uint8Array, options: LinkOptions) {
    this.medium = options.medium ?? "ether";
    this.mtu = options.mtu ?? 1500;
    this.checksumOffload = options.checksumOffload ?? false;
    this.gsoMaxBytes = options.gsoMaxBytes ?? 0;
    this.#limit = options.queue ?? 10_000;
  }

  begin(bytes: number): boolean {
    if (this.queued.length >= this.#limit) return false;
    const most = Math.max(this.mtu, this.gsoMaxBytes) + 18;
    if (bytes > most) throw new RangeError(`a frame of ${bytes} bytes on a link that takes ${most}`);
    return true;
  }

  end(bytes: number, info: FrameInfo): void {
    const most = info.gso === GSO.none ? this.mtu + 18 : this.gsoMaxBytes + 18;
    if (bytes > most) throw new RangeError(`a frame of ${bytes} bytes on a link that takes ${most}`);
    this.queued.push({ bytes: this.frame.slice(this.frameAt, this.frameAt + bytes), info: { ...info } });
  }

  cancel(): void {}

  flush(): void {
    const frames = this.queued;
    this.queued = [];
    for (const { bytes, info } of frames) this.wire.carry(this, bytes, info);
    this.onRoom();
  }
}

/** A hub, its stacks, and their time. */
export class Wire {
  now = 1000;
  readonly #ends: { link: MemoryLink; stack: Stack }[] = [];
  readonly #stacks: Stack[] = [];
  #inFlight: { from: MemoryLink; bytes: Uint8Array; info: FrameInfo; at: number }[] = [];
  /** Time that a frame takes. */
  latencyMs = 0;
  /** Every frame that was carried, as a test may want to look at it. */
  readonly seen: Uint8Array[] = [];
  /** Whether a frame is carried. */
  filter: (bytes: Uint8Array, from: MemoryLink) => boolean = () => true;
  #macs = 0;

  /** A stack of its own, with seeded chance. */
  stack(seed = this.#stacks.length + 1): Stack {
    const random = new Random(seed);
    const stack = new Stack({ random: (bytes) => bytes.set(random.bytes(bytes.length)) }, this.now);
    this.#stacks.push(stack);
    return stack;
  }

  /** Binds a new link of this wire to a stack, `addresses` as `10.0.0.1/24` added at once. */
  connect(stack: Stack, addresses: string[] = [], options: LinkOptions = {}): Iface {
    const link = this.link(options);
    this.#ends.push({ link, stack });
    const iface = stack.bind(link, this.now);
    for (const text of addresses) addAddress(stack, iface, text);
    return iface;
  }

  /** A link with nobody on it: what it is sent is not looked at. */
  link(options: LinkOptions = {}): MemoryLink {
    const n = ++this.#macs;
    return new MemoryLink(this, `ether${n}`, Uint8Array.of(2, 0, 0, 0, 0, n), options);
  }

  /** Another stack takes the place of one that was there, with its links. */
  replace(old: Stack, fresh: Stack): void {
    for (const end of this.#ends) if (end.stack === old) end.stack = fresh;
    this.#stacks[this.#stacks.indexOf(old)] = fresh;
  }

  linksOf(stack: Stack): MemoryLink[] {
    return this.#ends.filter((end) => end.stack === stack).map((end) => end.link);
  }

  carry(from: MemoryLink, bytes: Uint8Array, info: FrameInfo): void {
    this.seen.push(bytes);
    if (this.seen.length > 2000) this.seen.splice(0, 1000);
    if (this.filter(bytes, from)) this.#inFlight.push({ from, bytes, info, at: this.now + this.latencyMs });
  }

  /** A frame from outside. */
  inject(bytes: Uint8Array, info: FrameInfo = PLAIN): void {
    for (const { link, stack } of this.#ends) stack.input(link, bytes, 0, bytes.length, info, this.now);
    this.settle();
  }

  /** Delivers all that arrives by now. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      for (const stack of this.#stacks) stack.poll(this.now);
      const frames = this.#inFlight.filter(({ at }) => at <= this.now);
      if (frames.length === 0) return;
      this.#inFlight = this.#inFlight.filter(({ at }) => at > this.now);
      for (const { from, bytes, info } of frames) {
        for (const { link, stack } of this.#ends) {
          if (link !== from) stack.input(link, bytes, 0, bytes.length, info, this.now);
        }
      }
    }
    throw new Error("the wire does not come to rest");
  }

  /** Lets `ms` pass, doing what is due on the way. */
  run(ms: number): void {
    const until = this.now + ms;
    this.settle();
    for (let steps = 0; steps < 100_000; steps++) {
      const arrival = this.#inFlight.reduce((least, { at }) => Math.min(least, at), Infinity);
      const next = Math.min(arrival, ...this.#stacks.map((stack) => stack.pollAt()));
      if (next > until) break;
      this.now = Math.max(this.now, next);
      this.settle();
    }
    this.now = until;
    this.settle();
  }
}

/** Adds `10.0.0.1/24` to an interface, without asking. */
export function addAddress(stack: Stack, iface: Iface, text: string, ask = false): void {
  const [address, length] = text.split("/"), ip = ipOf(address);
  stack.ip.addresses.add(iface, { ip, bits: Number(length) + (address.includes(":") ? 0 : V4_BITS) }, ask);
}

/** An address that is known to be one. */
export function ipOf(text: string): Ip {
  return parseIp(text) ?? ipFromV4(0);
}

/** For messages of tests. */
export function macOf(bytes: Uint8Array, at: number): string {
  return formatMac(bytes.subarray(at, at + 6));
}
