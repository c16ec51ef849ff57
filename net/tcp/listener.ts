/**
 * Listeners, and connections that are half open.
 *
 * Layer: net/tcp, types and queues; handshake.ts does the protocol. A listener holds at most `backlog` connections that
 * nobody has accepted yet, and a bounded number of half-open ones, which are small; beyond that there are cookies.
 */

import { type Ip, isUnspecified } from "../addr.ts";
import type { Seq } from "../wire/tcp_seq.ts";
import type { CcName } from "./cc/cc.ts";
import type { Conn } from "./conn.ts";
import type { Path } from "./lower.ts";
import { Entry } from "./table.ts";
import type { Timed } from "./timer_queue.ts";

/** Calls that wait to be accepted, by default (Plan 9 and Akaros have 500). */
export const BACKLOG = 500;

/** What a listener may be told. */
export interface ListenOptions {
  /** Calls that wait to be accepted at the most. */
  backlog?: number;
  /** Algorithm of its connections. */
  congestion?: CcName;
}

/** One who takes calls to a port. */
export class Listener {
  /** Calls that wait, the oldest first. */
  readonly queue: Conn[] = [];
  readonly backlog: number;
  /** Whether calls to all addresses are its. */
  readonly any: boolean;
  readonly congestion: CcName | undefined;
  /** Half-open connections that are its. */
  halfOpen = 0;
  closed = false;
  /** Its user's own number, which is saved with it. */
  tag = -1;
  /** Told in `poll` when a call has come. */
  onCall: (listener: Listener) => void = () => {};

  /** `local`: the address that calls are taken for, UNSPECIFIED for all. */
  constructor(
    readonly local: Ip,
    readonly port: number,
    options: ListenOptions,
    readonly remove: (it: Listener) => void,
  ) {
    this.any = isUnspecified(local);
    this.backlog = Math.max(options.backlog ?? BACKLOG, 1);
    this.congestion = options.congestion;
  }

  /** The oldest call; undefined when none waits. */
  accept(): Conn | undefined {
    return this.queue.shift();
  }

  /** Takes no calls any more; those that wait are reset. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.remove(this);
    for (const conn of this.queue.splice(0)) conn.abort();
  }
}

/** What a SYN said. */
export interface SynSaid {
  mss: number;
  /** -1: no window scale. */
  windowScale: number;
  sack: boolean;
  timestamps: boolean;
  ecn: boolean;
}

/** A SYN that was answered, and whose ACK has not come. */
export class HalfOpen extends Entry implements Timed {
  readonly kind = "half-open";
  tsRecent = 0;
  tsOffset = 0;
  retries = 0;
  sentMs = 0.5;
  dueAt = 0.5;
  queuedAt = 0.5;
  queueIndex = -1;

  constructor(
    readonly listener: Listener,
    readonly path: Path,
    readonly iss: Seq,
    readonly irs: Seq,
    readonly said: SynSaid,
    addresses: { local: Ip; localPort: number; remote: Ip; remotePort: number },
  ) {
    super(addresses.local, addresses.localPort, addresses.remote, addresses.remotePort);
  }
}
