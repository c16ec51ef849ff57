/**
 * Srv: serves a Dev to any number of 9P connections, in whatever dialect each of them speaks.
 *
 * Layer: core/p9, the top of the library's server side. Sessions share limits, counters, locks and large buffers, and
 * nothing else. It never waits for a Dev: what blocks, blocks its own request.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import type { Chan, Dev, Req, User } from "../dev.ts";
import { Err } from "../err.ts";
import { Appends } from "./appends.ts";
import { LockTable } from "./locks.ts";
import { BufferPool } from "./output.ts";
import { Session } from "./session.ts";
import type { Transport } from "./transport.ts";
import { MAX_MSIZE, type MaybePromise, NONUNAME } from "./types.ts";

/** What one connection may take. */
export interface SrvLimits {
  /** The largest message, bytes. */
  msize: number;
  /** Fids of one connection. Linux with cache=loose keeps one for each file that it has cached. */
  fids: number;
  /** Fids of all connections. */
  allFids: number;
  /** Requests of one connection that have not been answered. */
  inFlight: number;
  /** Connections at a time. */
  connections: number;
  /** Milliseconds to agree on a version and attach; 0 for ever. Needs a clock. */
  handshakeMs: number;
  /** Milliseconds for the rest of a message that has begun; 0 for ever. Needs a clock. */
  messageMs: number;
}

/** The limits that hold when nothing else is said. */
export const DEFAULT_LIMITS: SrvLimits = {
  msize: MAX_MSIZE,
  fids: 65_536,
  allFids: 262_144,
  inFlight: 1024,
  connections: 1024,
  handshakeMs: 10_000,
  messageMs: 30_000,
};

/** What a server has counted since it began. */
export interface SrvStats {
  connections: number;
  requests: number;
  errors: number;
  flushes: number;
  /** Connections ended for a frame that no message has, or an I/O error. */
  badFrames: number;
  timeouts: number;
  /** Connections turned away: the limit was reached. */
  refused: number;
}

/** How a server is set up. */
export interface SrvOptions {
  limits?: Partial<SrvLimits>;
  /** For time limits; without one there are none. */
  clock?: Clock;
  /** Who an attach is by; by default what it says. */
  user?: (uname: string, nuname: number) => User;
  /** Where lines about broken connections go. */
  log?: (text: string) => void;
}

/** A 9P server of one tree. Of one that is still being made it takes connections already; their attaches wait for it. */
export class Srv {
  #dev: MaybePromise<Dev>;
  readonly limits: SrvLimits;
  readonly clock: Clock | undefined;
  readonly user: (uname: string, nuname: number) => User;
  readonly log: (text: string) => void;
  /** @internal */
  readonly locks: LockTable = new LockTable();
  /** @internal */
  readonly appends: Appends = new Appends();
  readonly pool: BufferPool;
  /** @internal */
  readonly sessions: Set<Session> = new Set();
  /** Fids in use on all connections. */
  readonly fids: { count: number } = { count: 0 };
  readonly stats: SrvStats = {
    connections: 0,
    requests: 0,
    errors: 0,
    flushes: 0,
    badFrames: 0,
    timeouts: 0,
    refused: 0,
  };

  constructor(dev: MaybePromise<Dev>, options: SrvOptions = {}) {
    this.#dev = dev;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.clock = options.clock;
    this.user = options.user ?? claimedUser;
    this.log = options.log ?? (() => {});
    this.pool = new BufferPool(this.limits.msize);
  }

  /** A Chan on the root of the tree that `aname` selects. @internal */
  attach(user: User, aname: string, req: Req): MaybePromise<Chan> {
    const dev = this.#dev;
    if (!(dev instanceof Promise)) return dev.attach(user, aname, req);
    const flushed = new Promise<never>((_, reject) => req.onFlush(() => reject(new Err("EINTR"))));
    return Promise.race([dev, flushed]).then((dev) => {
      this.#dev = dev;
      return dev.attach(user, aname, req);
    });
  }

  /** Serves one connection until it ends. Never throws. */
  async serve(transport: Transport): Promise<void> {
    if (this.sessions.size >= this.limits.connections) {
      this.stats.refused++;
      this.log(`9p: ${transport.remote}: refused, ${this.limits.connections} connections are open`);
      return transport.close();
    }
    this.stats.connections++;
    const session = new Session(this, transport);
    this.sessions.add(session);
    try {
      await session.run();
    } finally {
      this.sessions.delete(session);
    }
  }

  /** Ends every connection. */
  close(): void {
    for (const session of this.sessions) session.close();
  }
}

/** The user that an attach claims to be: its number names it where it gives no name. */
export function claimedUser(uname: string, nuname: number): User {
  if (nuname === NONUNAME) return { name: uname || "none", uid: NONUNAME, gid: NONUNAME };
  // Linux's client says "nobody" for every user unless it is told otherwise.
  const name = nuname === 0 ? "root" : uname === "" || uname === "nobody" ? String(nuname) : uname;
  return { name, uid: nuname, gid: nuname };
}
