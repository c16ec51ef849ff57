/**
 * Stack: a whole TCP/IP stack. Frames go in by `input`, leave by Links; `poll` does what is due, `pollAt` says when.
 *
 * Layer: net, its front door; above it plugins/ip. No clock, no I/O, no chance of its own: time is an argument (milliseconds
 * with a fraction, monotonic), random bytes and links are injected. Several stacks are independent of each other.
 *
 * What holds always: after a batch of `input`s, and after anything that a user did, `poll` is called once: only then are
 * users told, ACKs sent and links flushed. The whole state is what `save` answers; `Stack.restore` goes on from there, in
 * another isolate too.
 */

import { IcmpConvs } from "./icmp/icmp.ts";
import type { Random } from "./ip/chance.ts";
import type { Iface } from "./ip/iface.ts";
import { IpLayer, type Note, type SavedIp } from "./ip/layer.ts";
import type { FrameInfo, Link } from "./link.ts";
import type { Transport } from "./tcp/lower.ts";
import { type SavedUdp, Udp } from "./udp/udp.ts";
import { PROTO } from "./wire/ipv4.ts";

/** What a stack is given. */
export interface StackOptions {
  /** Fills bytes with random ones that nobody can foretell. */
  random: Random;
  /** Told of what a log would have. */
  note?: Note;
  /** Called when there is something to do before `pollAt`: a link has room again. `poll` is then to be called soon. */
  wake?: () => void;
}

/** A transport that has things to do at times: TCP. */
export interface Timed {
  poll(now: number): void;
  pollAt(): number;
}

/** Rounds of the loopback in one poll: what talks to itself without end lets others go on. */
const LOOPBACK_ROUNDS = 16;

export class Stack {
  readonly ip: IpLayer;
  readonly udp: Udp;
  readonly icmp: IcmpConvs;
  #tcp: (Transport & Timed) | undefined;
  /** A link has room again. */
  #room = false;

  constructor(options: StackOptions, now: number) {
    this.ip = new IpLayer(options.random);
    this.ip.at(now);
    this.ip.note = options.note ?? this.ip.note;
    this.ip.onRoom = () => {
      this.#room = true;
      options.wake?.();
    };
    this.udp = new Udp(this.ip);
    this.icmp = new IcmpConvs(this.ip);
  }

  /** Adds TCP, or another transport that is polled. It sends by `stack.ip.output`. */
  useTcp(tcp: Transport & Timed): void {
    this.#tcp = tcp;
    this.ip.setTransport(PROTO.tcp, tcp);
  }

  /** Makes an interface of a link, with no address yet. */
  bind(link: Link, now: number, index?: number): Iface {
    this.ip.at(now);
    return this.ip.bind(link, index);
  }

  unbind(iface: Iface, now: number): void {
    this.ip.at(now);
    this.ip.unbind(iface);
  }

  /** Takes a frame, bytes [at, end), that came by a link. The bytes are lent until this returns. */
  input(link: Link, bytes: Uint8Array, at: number, end: number, info: FrameInfo, now: number): void {
    const iface = this.ip.ifaceOf(link);
    if (iface === undefined) return;
    this.ip.at(now);
    this.ip.frame(iface, bytes, at, end, info);
  }

  /** Does what is due, delivers what was sent to this host itself, tells users, and hands frames to the links. */
  poll(now: number): void {
    const { ip } = this;
    ip.at(now);
    this.#room = false;
    ip.poll();
    ip.loop.drain(this.#fromLoopback);
    this.#tcp?.poll(now);
    for (let round = 1; round < LOOPBACK_ROUNDS && !ip.loop.isEmpty; round++) {
      ip.loop.drain(this.#fromLoopback);
      this.#tcp?.poll(now);
    }
    ip.output.flush();
  }

  readonly #fromLoopback = (bytes: Uint8Array, at: number, end: number, info: FrameInfo): void => {
    this.ip.frame(this.ip.loopback, bytes, at, end, info);
  };

  /** When `poll` is to be called at the latest; Infinity: when something comes. */
  pollAt(): number {
    const { ip } = this;
    if (this.#room || !ip.loop.isEmpty) return ip.outer;
    return Math.min(ip.pollAt(), this.#tcp?.pollAt() ?? Infinity);
  }

  /** The whole state but TCP's, which has its own `save`. Plain data: it can be cloned, and sent to another isolate. */
  save(): SavedStack {
    return { version: 1, ip: this.ip.save(), udp: this.udp.save(), icmp: this.icmp.save() };
  }

  /** Goes on from a saved state. `links` are those of the interfaces that were bound, found by their names. */
  static restore(saved: SavedStack, links: Iterable<Link>, options: StackOptions, now: number): Stack {
    const stack = new Stack(options, now);
    stack.ip.restore(saved.ip, links, now);
    stack.udp.restore(saved.udp);
    stack.icmp.restore(saved.icmp);
    return stack;
  }
}

/** A saved stack. `version` grows when what is in it changes its meaning. */
export interface SavedStack {
  version: 1;
  ip: SavedIp;
  udp: SavedUdp;
  icmp: ReturnType<IcmpConvs["save"]>;
}
