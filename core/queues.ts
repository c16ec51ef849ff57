/**
 * The table of hardware queues: a TAP queue, a packet ring, a block device's queue. Each has one owner at a time.
 *
 * Layer: core. Devices register their queues; a plugin claims one by name before it touches it. A second claim is refused with the
 * owner's name (EBUSY). The core can revoke a queue, to take it back or to hand it over: the owner is told, has until
 * a deadline to quiesce, and what it hands over goes to the next owner; after the deadline the queue is taken by force.
 * A claim knows its generation: one that was revoked can neither release nor answer for the queue any more.
 *
 * What the table looks like is `status()` and `stats()`, for /sys/queues.
 */

import type { Clock } from "./clock.ts";
import { Err, excerpt, toErr } from "./err.ts";
import type { MaybePromise } from "./p9/types.ts";

/** How long an owner may take to quiesce, unless told otherwise. */
const REVOKE_MS = 2000;

/** What a device says of a queue of its own. */
export interface QueueSpec {
  /** One path word or more: `ether0/0`, `sd0`. */
  readonly name: string;
  /** What it is: `tap`, `packet`, `block`. */
  readonly kind: string;
  /** What its driver made of the hardware: a descriptor, a ring. Given to whoever holds the claim. */
  readonly handle: unknown;
  /** Counters, read when somebody reads `stats`. */
  counters?(): Record<string, number>;
}

/** Why a queue is taken away. */
export interface Revocation {
  readonly reason: string;
  /** Who will have it; undefined when nobody yet. */
  readonly next: string | undefined;
  /** The owner has to have answered within this. */
  readonly deadlineMs: number;
}

/** Who claims a queue. */
export interface Claimant {
  /** The owner's name, as others read it. */
  readonly owner: string;
  /**
   * Told that the queue is taken away: stop using it, and answer what the next owner needs (frames not yet sent,
   * positions), or nothing. After it has answered the queue must not be touched.
   */
  onRevoke?(why: Revocation): MaybePromise<unknown>;
}

/** The right to use a queue. */
export interface Claim {
  readonly queue: string;
  readonly owner: string;
  readonly generation: number;
  /** The driver's part. Throws ESTALE when the queue was revoked. */
  readonly handle: unknown;
  /** What the owner before handed over. */
  readonly handedOver: unknown;
  /** False once released or revoked. */
  readonly valid: boolean;
  /** Gives the queue back. Does nothing when it was revoked. */
  release(): void;
}

/** A queue, as others see it. */
export interface QueueRow {
  readonly name: string;
  readonly kind: string;
  /** Undefined when it is free. */
  readonly owner: string | undefined;
  readonly state: "free" | "owned" | "revoking" | "reserved";
  /** How many owners it has had. */
  readonly generation: number;
  /** How often it was asked for in vain, taken back, and taken by force. */
  readonly refused: number;
  readonly revoked: number;
  readonly forced: number;
}

interface Queue {
  readonly spec: QueueSpec;
  holder: { claimant: Claimant; claim: Claim } | undefined;
  /** Whom it waits for while it is free, and what that one is handed over. */
  reserved: { owner: string; handedOver: unknown } | undefined;
  revoking: boolean;
  /** Ends the wait for an owner that is to quiesce. */
  giveUp: () => void;
  generation: number;
  refused: number;
  revoked: number;
  forced: number;
}

/** What a revocation is asked with. */
export interface RevokeOptions {
  reason?: string;
  /** Who is to have the queue next. */
  next?: Claimant;
  deadlineMs?: number;
}

/** See the head of this file. */
export class QueueTable {
  readonly #queues: Map<string, Queue> = new Map();
  /** Who waits for queues that are not there, by their names. */
  readonly #awaited: Map<string, Set<() => void>> = new Map();
  readonly #clock: Clock;
  readonly #log: (text: string) => void;

  constructor(clock: Clock, log: (text: string) => void = () => {}) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Puts a queue into the table. EEXIST when there is one of that name, EINVAL when the name is not one. */
  register(spec: QueueSpec): void {
    if (!/^[^\s/]+(\/[^\s/]+)*$/.test(spec.name)) throw new Err("EINVAL", `not a name of a queue: '${spec.name}'`);
    if (this.#queues.has(spec.name)) throw new Err("EEXIST", `there is a queue ${spec.name} already`);
    this.#queues.set(spec.name, {
      spec,
      holder: undefined,
      reserved: undefined,
      revoking: false,
      giveUp: () => {},
      generation: 0,
      refused: 0,
      revoked: 0,
      forced: 0,
    });
    const awaited = this.#awaited.get(spec.name);
    this.#awaited.delete(spec.name);
    for (const told of awaited ?? []) told();
  }

  /** Calls `told` once, when a queue of that name is put into the table the next time. Answers how to stop waiting. */
  whenRegistered(name: string, told: () => void): () => void {
    const awaited = this.#awaited.getOrInsertComputed(name, () => new Set());
    awaited.add(told);
    return () => void awaited.delete(told);
  }

  /** Takes a queue out of the table, for its device goes. EBUSY while somebody owns it: revoke it first. */
  unregister(name: string): void {
    const queue = this.#need(name);
    if (queue.holder || queue.revoking) throw busy(queue);
    this.#queues.delete(name);
  }

  /** Makes `claimant` the one owner. EBUSY with the owner's name when there is one, ENOENT when there is no such queue. */
  claim(name: string, claimant: Claimant): Claim {
    const queue = this.#need(name);
    const { reserved } = queue, others = reserved !== undefined && reserved.owner !== claimant.owner;
    if (queue.holder || queue.revoking || others) {
      queue.refused++;
      throw busy(queue);
    }
    return this.#grant(queue, claimant, reserved?.handedOver);
  }

  /**
   * Takes a queue from its owner and keeps it, with what was handed over, for the next claim of `owner`; others are
   * refused until then. For null it is free for all.
   */
  async handOver(name: string, owner: string | null, options: Omit<RevokeOptions, "next"> = {}): Promise<void> {
    const queue = this.#need(name);
    let handedOver = queue.reserved?.handedOver;
    if (queue.holder) {
      const keeper = await this.revoke(name, { ...options, next: { owner: owner ?? "" } });
      handedOver = keeper?.handedOver;
      keeper?.release();
    }
    queue.reserved = owner === null ? undefined : { owner, handedOver };
  }

  /**
   * Takes a queue from its owner, and gives it to `next` if there is one, whose claim it answers. The owner's `onRevoke` has
   * `deadlineMs`; then, or when it throws, the queue is taken without its hand-over. EALREADY while that is going on.
   */
  async revoke(name: string, options: RevokeOptions = {}): Promise<Claim | undefined> {
    const queue = this.#need(name), { next, reason = "revoked", deadlineMs = REVOKE_MS } = options;
    if (queue.revoking) throw new Err("EALREADY", `queue ${name} is being revoked`);
    let handedOver: unknown;
    if (queue.holder) {
      queue.revoking = true;
      try {
        handedOver = await this.#quiesce(queue, { reason, next: next?.owner, deadlineMs });
      } finally {
        queue.revoking = false;
        queue.holder = undefined;
        queue.revoked++;
      }
    }
    return next && this.#grant(queue, next, handedOver);
  }

  /** Releases all that an owner has, for it has gone: nothing is asked of it. Answers how many there were. */
  drop(owner: string): number {
    let dropped = 0;
    for (const queue of this.#queues.values()) {
      if (queue.holder?.claimant.owner !== owner) continue;
      if (queue.revoking) queue.giveUp();
      else queue.holder = undefined;
      dropped++;
    }
    return dropped;
  }

  /** Every queue, by name. */
  rows(): QueueRow[] {
    return [...this.#queues.values()].map(row).sort((a, b) => a.name < b.name ? -1 : 1);
  }

  /** A line a queue: name, kind, state, owner (or -), generation. */
  status(): string {
    return this.rows().map((q) => `${q.name} ${q.kind} ${q.state} ${q.owner ?? "-"} ${q.generation}\n`).join("");
  }

  /** A line a queue: name, then counters as `key value` pairs, the table's first, then the driver's. */
  stats(): string {
    return this.rows().map((q) => {
      const pairs = Object.entries(this.counters(q.name));
      return `${q.name} ${pairs.map(([key, value]) => `${key} ${value}`).join(" ")}\n`;
    }).join("");
  }

  /** Counters of a queue: the table's first, then the driver's. */
  counters(name: string): Record<string, number> {
    const { spec, generation: claims, refused, revoked, forced } = this.#need(name);
    return { claims, refused, revoked, forced, ...spec.counters?.() };
  }

  #need(name: string): Queue {
    const queue = this.#queues.get(name);
    if (!queue) throw new Err("ENOENT", `there is no queue ${excerpt(name)}`);
    return queue;
  }

  #grant(queue: Queue, claimant: Claimant, handedOver: unknown): Claim {
    const generation = ++queue.generation, { name, handle } = queue.spec;
    const held = () => queue.holder?.claim === claim;
    const claim: Claim = {
      queue: name,
      owner: claimant.owner,
      generation,
      handedOver,
      get valid() {
        return held();
      },
      get handle() {
        if (!held()) throw new Err("ESTALE", `${claimant.owner} no longer owns the queue ${name}`);
        return handle;
      },
      release() {
        if (held() && !queue.revoking) queue.holder = undefined;
      },
    };
    queue.holder = { claimant, claim };
    queue.reserved = undefined;
    return claim;
  }

  /** Asks the owner to stop; what it hands over, or undefined when it failed or took too long. */
  async #quiesce(queue: Queue, why: Revocation): Promise<unknown> {
    const { claimant } = queue.holder!, what = `queue ${queue.spec.name} taken from ${claimant.owner} by force`;
    let cancel = () => {};
    const late = new Promise<typeof LATE>((resolve) => {
      queue.giveUp = () => resolve(LATE);
      cancel = this.#clock.after(why.deadlineMs, queue.giveUp);
    });
    try {
      const answer = await Promise.race([Promise.resolve(claimant.onRevoke?.(why)), late]);
      if (answer !== LATE) return answer;
      this.#log(`${what}: it gave no answer (deadline ${why.deadlineMs} ms)`);
    } catch (e) {
      this.#log(`${what}: ${toErr(e).message}`);
    } finally {
      cancel();
    }
    queue.forced++;
  }
}

const LATE = Symbol("late");

function busy(queue: Queue): Err {
  const { spec, holder, revoking, reserved } = queue;
  if (!holder && reserved) return new Err("EBUSY", `queue ${spec.name} is reserved for ${reserved.owner}`);
  return new Err(
    "EBUSY",
    `queue ${spec.name} is owned by ${holder?.claimant.owner}${revoking ? " and being revoked" : ""}`,
  );
}

function row({ spec, holder, reserved, revoking, generation, refused, revoked, forced }: Queue): QueueRow {
  return {
    name: spec.name,
    kind: spec.kind,
    owner: holder?.claimant.owner ?? reserved?.owner,
    state: revoking ? "revoking" : holder ? "owned" : reserved ? "reserved" : "free",
    generation,
    refused,
    revoked,
    forced,
  };
}
