/**
 * A Transport on a pair of rings: 9P between two isolates.
 *
 * Layer: core/ring, above spsc.ts and doorbell.ts; what it implements is core/p9/transport.ts. Each side holds the
 * consumer of one ring and the producer of the other, and sleeps on one bell. A read with bytes at hand and a write
 * that fits answer at once, without a promise; a write larger than the ring streams through it.
 *
 * A port with two arenas has `blocks`: large data goes by reference, and its bytes not through the rings.
 *
 * The end of the other side is seen when it closes, when the supervisor takes the rings back (`revokeRing`), and, with
 * a clock and a limit, when it leaves bytes unread and its heartbeat stands still.
 */

import type { Clock } from "../clock.ts";
import { Err } from "../err.ts";
import type { DataRef } from "../p9/msg.ts";
import type { Block, Blocks, Transport } from "../p9/transport.ts";
import { Arena, type ArenaRef, type BlockSize, Borrower, createArena } from "./arena.ts";
import { type BellRef, createBell, Doorbell, type DoorbellOptions } from "./doorbell.ts";
import { allocRing, Consumer, type Owner, Producer, revokeRing, type RingRef } from "./spsc.ts";

/** Data bytes of each ring of a pair unless told otherwise: one message of the largest msize. Larger ones leave the CPU's caches, and are no faster. */
export const DEFAULT_RING_BYTES = 1 << 20;

/** Blocks that a side lends the other, where 9P is spoken: for reads and writes of 64 KiB and of the largest msize, wherever they begin in a word. */
export const DATA_BLOCKS: readonly BlockSize[] = [{ bytes: (64 << 10) + 128, count: 16 }, {
  bytes: (1 << 20) + 128,
  count: 4,
}];

/** One side of a pair of rings. Can be sent to another isolate. */
export interface PortRef {
  /** Read from here ... */
  readonly in: RingRef;
  /** ... and written here. */
  readonly out: RingRef;
  /** What this side lends from ... */
  readonly lends?: ArenaRef;
  /** ... and where it borrows. */
  readonly borrows?: ArenaRef;
  /** What this side sleeps on. */
  readonly bell: BellRef;
  /** Who this side is. */
  readonly owner: Owner;
  /** What the other side is called. */
  readonly remote: string;
}

/** What a transport is made with, beside its port. */
export interface RingTransportOptions extends DoorbellOptions {
  /** The isolate's own doorbell, when it has one for all its rings; it must wrap the port's bell. */
  doorbell?: Doorbell;
  /** Ends the transport when the other side leaves bytes unread and has not moved for this long. */
  watch?: { clock: Clock; deadAfterMs: number };
}

/** A transport, with its rings for who wants to look. */
export interface RingTransport extends Transport {
  readonly in: Consumer;
  readonly out: Producer;
  readonly doorbell: Doorbell;
  /** Called at the next write, once. */
  onWrite: (() => void) | undefined;
}

/** Makes the two rings and the two bells between `a` and `b`, and two arenas if there are to be `blocks`, in memory of their own. */
export function ringPair(
  { a, b, bytes = DEFAULT_RING_BYTES, blocks }: {
    a: { name: string; owner: Owner; bell?: BellRef };
    b: { name: string; owner: Owner; bell?: BellRef };
    bytes?: number;
    blocks?: readonly BlockSize[];
  },
): [PortRef, PortRef] {
  const bellA = a.bell ?? createBell(), bellB = b.bell ?? createBell();
  const there = { ...allocRing(bytes), producerBell: bellA, consumerBell: bellB };
  const back = { ...allocRing(bytes), producerBell: bellB, consumerBell: bellA };
  const [lends, borrows] = blocks ? [createArena(blocks), createArena(blocks)] : [];
  return [
    { in: back, out: there, lends, borrows, bell: bellA, owner: a.owner, remote: `ring!${b.name}` },
    { in: there, out: back, lends: borrows, borrows: lends, bell: bellB, owner: b.owner, remote: `ring!${a.name}` },
  ];
}

/**
 * Opens one side of a pair. Throws EINVAL when there is no ring, EBUSY when somebody has this side already.
 *
 * @example
 * ```ts
 * import { ringPair, ringTransport } from "./transport.ts";
 * const [a, b] = ringPair({ a: { name: "a", owner: { id: 1 } }, b: { name: "b", owner: { id: 2 } } });
 * const left = ringTransport(a), right = ringTransport(b);
 * left.write(new Uint8Array([1, 2, 3]));
 * console.assert(right.read(new Uint8Array(8)) === 3);
 * left.close();
 * ```
 */
export function ringTransport(port: PortRef, options: RingTransportOptions = {}): RingTransport {
  const doorbell = options.doorbell ?? new Doorbell(port.bell, options);
  const transport = new Pair(port, doorbell);
  if (options.watch) watch(transport, port, options.watch);
  return transport;
}

/** Blocks in two arenas, one each way. */
class ArenaBlocks implements Blocks {
  readonly #lent: Arena;
  readonly #borrowed: Borrower;

  constructor(lends: ArenaRef, borrows: ArenaRef) {
    this.#lent = new Arena(lends);
    this.#borrowed = new Borrower(borrows);
  }

  lend(bytes: number): Block | undefined {
    return this.#lent.lend(bytes);
  }

  takeBack(block: Block): void {
    this.#lent.takeBack(block);
  }

  borrow({ at, length }: DataRef): Uint8Array {
    return this.#borrowed.borrow(at, length);
  }

  giveBack({ at, ticket }: DataRef): void {
    this.#borrowed.giveBack(at, ticket);
  }
}

class Pair implements RingTransport {
  readonly remote: string;
  readonly blocks: Blocks | undefined;
  readonly in: Consumer;
  readonly out: Producer;
  readonly doorbell: Doorbell;
  onWrite: (() => void) | undefined;
  busy: (() => boolean) | undefined;
  #closed = false;

  constructor(port: PortRef, doorbell: Doorbell) {
    const { lends, borrows } = port;
    this.remote = port.remote;
    this.blocks = lends && borrows && new ArenaBlocks(lends, borrows);
    this.in = new Consumer(port.in, port.owner);
    this.out = new Producer(port.out, port.owner);
    this.doorbell = doorbell;
  }

  get closed(): boolean {
    return this.#closed;
  }

  read(into: Uint8Array): number | null | Promise<number | null> {
    const count = this.#take(into);
    return count === 0 ? this.#readLater(into) : count;
  }

  write(bytes: Uint8Array): void | Promise<void> {
    if (this.out.gone) throw this.#hangup();
    if (this.onWrite) this.#tellWrite(this.onWrite);
    const count = this.out.put(bytes);
    this.in.due = !this.busy?.();
    if (this.in.due) this.doorbell.expect();
    if (!this.out.publish()) throw this.#hangup();
    if (count < bytes.length) return this.#writeRest(bytes, count);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.out.close();
    this.in.close();
    this.doorbell.ring(); // a wait of our own ends too
  }

  #tellWrite(told: () => void): void {
    this.onWrite = undefined;
    told();
  }

  /** What is there now; null at the end, 0 when there is nothing yet. */
  #take(into: Uint8Array): number | null {
    if (this.#closed) return null;
    const count = this.in.take(into);
    if (count > 0) {
      this.in.due = false;
      this.in.release();
      return count;
    }
    return this.in.ended ? null : 0;
  }

  async #readLater(into: Uint8Array): Promise<number | null> {
    for (;;) {
      await this.doorbell.wait(this.in);
      const count = this.#take(into);
      if (count !== 0) return count;
    }
  }

  async #writeRest(bytes: Uint8Array, done: number): Promise<void> {
    while (done < bytes.length) {
      await this.doorbell.wait(this.out);
      if (this.out.gone) throw this.#hangup();
      done += this.out.put(bytes, done);
      if (!this.out.publish()) throw this.#hangup();
    }
  }

  #hangup(): Err {
    return new Err(
      "EPIPE",
      `${this.remote}: ${this.out.dead ? "the other side has died" : "the other side has closed"}`,
    );
  }
}

/** Looks now and then whether the other side still moves while it has bytes to read. */
function watch(transport: Pair, port: PortRef, { clock, deadAfterMs }: { clock: Clock; deadAfterMs: number }): void {
  let beat = -1, since = 0;
  const look = () => {
    if (transport.closed || transport.out.gone) return;
    const now = clock.monotonic(), seen = transport.out.otherBeat;
    if (seen !== beat || transport.out.unread === 0) {
      beat = seen;
      since = now;
    } else if (now - since >= deadAfterMs) {
      revokeRing(port.in);
      revokeRing(port.out);
      return;
    }
    clock.after(deadAfterMs / 4, look);
  };
  look();
}
