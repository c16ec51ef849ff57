/**
 * Net: one stack with all that stands around it in a plugin: its time, its links, who looks at its packets, its log.
 *
 * Layer: plugins/ip, over net/stack.ts; the protocols' conversations (tcp.ts, udp.ts, ...) work on it.
 */

import type { Clock } from "../../core/clock.ts";
import type { Client } from "../../core/p9/client.ts";
import { type Ip, ipv4Of, isIpv4, isLoopback, isUnspecified } from "../../net/addr.ts";
import type { Iface } from "../../net/ip/iface.ts";
import { type Restored, type SavedStack, Stack, type StackOptions } from "../../net/stack.ts";
import type { CcName } from "../../net/tcp/cc/cc.ts";
import type { Link } from "../../net/link.ts";
import { NetLog } from "./log.ts";
import { Runner } from "./runner.ts";

/** What a plugin gives its stacks. */
export interface Surroundings {
  clock: Clock;
  turn?: () => Promise<void>;
  random(bytes: Uint8Array): void;
  /** A line in the system's log. */
  log(text: string): void;
  hostowner: string;
  /** Files that it was granted, where it is not in the kernel's isolate. */
  files?: Client;
}

/** What a stack is told from the first. */
export interface NetOptions {
  congestion?: CcName;
  ecn?: boolean;
}

/** A stack to go on with. */
export interface Resumed {
  saved: SavedStack;
  /** Opens the links that it had, under the names that they had. Nothing may come by them before the stack is there. */
  open(net: Net): Iterable<Link>;
}

/** Sees a packet from IP's header on. The bytes are lent. */
export type Observer = (iface: Iface, isOut: boolean, bytes: Uint8Array, at: number, end: number) => void;

/** See the head of this file. */
export class Net {
  readonly runner: Runner;
  readonly stack: Stack;
  readonly log: NetLog;
  /** What the users of a stack that goes on had. */
  readonly restored: Restored | undefined;
  readonly #observers = new Set<Observer>();
  readonly #random: (bytes: Uint8Array) => void;
  readonly #word = new Uint32Array(1);

  constructor(readonly around: Surroundings, { congestion, ecn }: NetOptions = {}, resumed?: Resumed) {
    this.runner = new Runner(around.clock, around.turn);
    this.log = new NetLog(around.clock);
    this.#random = (bytes) => around.random(bytes);
    const options: StackOptions = {
      random: this.#random,
      note: (item, text) => this.log.note(item, text),
      wake: () => this.runner.kick(),
      tcp: { congestion, ecn },
    };
    const now = this.runner.tick();
    if (resumed === undefined) this.stack = new Stack(options, now);
    else {
      this.restored = Stack.restore(resumed.saved, resumed.open(this), options, now);
      this.stack = this.restored.stack;
    }
    this.runner.add(this.stack);
  }

  /** 32 random bits. */
  readonly random32 = (): number => {
    this.#random(new Uint8Array(this.#word.buffer));
    return this.#word[0];
  };

  /** Whether an address is one of this host's, or stands for all of them. */
  isLocal(ip: Ip): boolean {
    return isUnspecified(ip) || isLoopback(ip) || this.stack.ip.addresses.find(ip) !== undefined;
  }

  /** Shows packets to `observer` until the function that is answered is called. Costs nothing while nobody looks. */
  observe(observer: Observer): () => void {
    this.#observers.add(observer);
    this.stack.ip.snoop = (...seen) => this.#observers.forEach((each) => each(...seen));
    return () => {
      this.#observers.delete(observer);
      if (this.#observers.size === 0) this.stack.ip.snoop = undefined;
    };
  }

  /** Ends it: nothing is sent any more. */
  stop(): void {
    this.runner.stop();
  }
}

/** The address of this host in place of none: what a dial to `0.0.0.0` or `::` means. */
export function orLoopback(ip: Ip): Ip {
  if (!isUnspecified(ip)) return ip;
  const loopback = ip.slice();
  if (isIpv4(ip) && ipv4Of(ip) === 0) loopback[12] = 127;
  loopback[15] = 1;
  return loopback;
}
