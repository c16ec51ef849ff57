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

import { Err } from "../core/err.ts";
import { type IcmpConv, IcmpConvs, type SavedIcmp } from "./icmp/icmp.ts";
import type { Random } from "./ip/chance.ts";
import { Gro } from "./ip/gro.ts";
import type { Iface } from "./ip/iface.ts";
import { IpLayer, type Note, type SavedIp } from "./ip/layer.ts";
import type { FrameInfo, Link } from "./link.ts";
import type { Conn } from "./tcp/conn.ts";
import type { Limits } from "./tcp/counters.ts";
import type { Listener } from "./tcp/listener.ts";
import type { CcName } from "./tcp/cc/cc.ts";
import { restoreTcp, type SavedTcp, saveTcp } from "./tcp/save.ts";
import { Tcp, type TcpEnv } from "./tcp/tcp.ts";
import type { UdpConv } from "./udp/conv.ts";
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
  /** TCP's limits and habits; see TcpEnv. */
  tcp?: { limits?: Partial<Limits>; congestion?: CcName; ecn?: boolean };
}

/** Rounds of the loopback in one poll: what talks to itself without end lets others go on. */
const LOOPBACK_ROUNDS = 16;

export class Stack {
  readonly ip: IpLayer;
  readonly udp: Udp;
  readonly icmp: IcmpConvs;
  readonly #tcp: Tcp;
  readonly #gro: Gro;
  /** A link has room again. */
  #room = false;
  /** The interface that the last frame came by. */
  #last: Iface | undefined;

  constructor(options: StackOptions, now: number, ip?: IpLayer, tcp?: Tcp) {
    this.ip = ip ?? new IpLayer(options.random);
    this.ip.at(now);
    this.ip.note = options.note ?? this.ip.note;
    this.#gro = new Gro((iface, bytes, at, end, info) => this.ip.frame(iface, bytes, at, end, info));
    this.ip.onRoom = () => {
      this.#room = true;
      options.wake?.();
    };
    this.udp = new Udp(this.ip);
    this.icmp = new IcmpConvs(this.ip);
    this.#tcp = tcp ?? new Tcp(tcpEnv(options, this.ip), now);
    this.ip.setTransport(PROTO.tcp, this.#tcp);
  }

  get tcp(): Tcp {
    return this.#tcp;
  }

  /** Makes an interface of a link, with no address yet. */
  bind(link: Link, now: number, index?: number): Iface {
    this.ip.at(now);
    return this.ip.bind(link, index);
  }

  unbind(iface: Iface, now: number): void {
    this.ip.at(now);
    this.#last = undefined;
    this.ip.unbind(iface);
  }

  /** Takes a frame, bytes [at, end), that came by a link. The bytes are lent until this returns. */
  input(link: Link, bytes: Uint8Array, at: number, end: number, info: FrameInfo, now: number): void {
    if (this.#last?.link !== link) this.#last = this.ip.ifaceOf(link);
    const iface = this.#last;
    if (iface === undefined) return;
    this.ip.at(now);
    // Who snoops sees what came, not what was made of it, and so do those to whom it is passed on.
    if (this.ip.snoop === undefined && !this.ip.forwarding && this.#gro.take(iface, bytes, at, end, info)) return;
    this.ip.frame(iface, bytes, at, end, info);
  }

  /** Does what is due, delivers what was sent to this host itself, tells users, and hands frames to the links. */
  poll(now: number): void {
    const { ip } = this;
    ip.at(now);
    this.#gro.flush();
    this.#room = false;
    ip.poll();
    ip.loop.drain(this.#fromLoopback);
    this.#tcp.poll(now);
    for (let round = 1; round < LOOPBACK_ROUNDS && !ip.loop.isEmpty; round++) {
      ip.loop.drain(this.#fromLoopback);
      this.#tcp.poll(now);
    }
    this.udp.poll();
    this.icmp.poll();
    ip.output.flush();
  }

  readonly #fromLoopback = (bytes: Uint8Array, at: number, end: number, info: FrameInfo): void => {
    this.ip.frame(this.ip.loopback, bytes, at, end, info);
  };

  /** When `poll` is to be called at the latest; Infinity: when something comes. */
  pollAt(): number {
    const { ip } = this;
    if (this.#room || !ip.loop.isEmpty || this.udp.isPending || this.icmp.isPending) return ip.outer;
    return Math.min(ip.pollAt(), this.#tcp.pollAt());
  }

  /**
   * The whole state. Plain data: it can be cloned, and sent to another isolate. `held`: TCP connections that have ended, and
   * whose users still have them. Nothing is to be polled between this and `restore`.
   */
  save(held?: Iterable<Conn>): SavedStack {
    const { ip, udp, icmp, tcp } = this;
    return { version: 1, ip: ip.save(), udp: udp.save(), icmp: icmp.save(), tcp: saveTcp(tcp, held) };
  }

  /**
   * Goes on from a saved state, at `now` on whatever clock there is. `links` are those of the interfaces that were bound,
   * found by their names. Poll it afterwards.
   *
   * @throws Err EINVAL for another version.
   */
  static restore(saved: SavedStack, links: Iterable<Link>, options: StackOptions, now: number): Restored {
    if (saved.version !== 1) throw new Err("EINVAL", `a stack's state of version ${saved.version}; this is version 1`);
    const ip = new IpLayer(options.random);
    ip.restore(saved.ip, links, now);
    const { tcp, conns, listeners } = restoreTcp(saved.tcp, tcpEnv(options, ip), now);
    const stack = new Stack(options, now, ip, tcp);
    const udp = stack.udp.restore(saved.udp), icmp = stack.icmp.restore(saved.icmp);
    return { stack, conns, listeners, udp, icmp };
  }
}

function tcpEnv({ random, tcp }: StackOptions, ip: IpLayer): TcpEnv {
  return { lower: ip.output, random, ...tcp };
}

/** A saved stack. `version` grows when what is in it changes its meaning. */
export interface SavedStack {
  version: 1;
  ip: SavedIp;
  udp: SavedUdp;
  icmp: SavedIcmp;
  tcp: SavedTcp;
}

/** A stack that goes on, and what its users had: TCP's in the order in which it was saved, the others by `id` and in order. */
export interface Restored {
  stack: Stack;
  conns: Conn[];
  listeners: Listener[];
  udp: Map<number, UdpConv>;
  icmp: IcmpConv[];
}
