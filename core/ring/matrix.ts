/**
 * The matrix of rings: one ring for each ordered pair of isolates that talk, made when they first do.
 *
 * Layer: core/ring, above transport.ts. The core holds it: isolates join as rows, with a number that is never used twice and one bell
 * for all their rings, and are given their sides as `PortRef`s. An isolate that leaves, or is found dead, takes its
 * rings with it: the others see the end of the stream. A ring's memory is used again only when each of its two isolates
 * has closed its end or is gone for certain, for until then it might still write.
 *
 * It reads counters where they lie and never a ring's data. What the table looks like is `text()`, for /sys/rings.
 */

import { Err } from "../err.ts";
import { arenaBytes, type ArenaRef, type ArenaStatus, type BlockSize, createArena, readArena } from "./arena.ts";
import { type BellRef, createBell, ringBell } from "./doorbell.ts";
import {
  createRing,
  readRing,
  revokeRing,
  RING_HEADER_BYTES,
  type RingRef,
  type RingStatus,
  setCpu,
} from "./layout.ts";
import { DEFAULT_RING_BYTES, type PortRef } from "./transport.ts";

/** Memory for a ring: fresh, or a part of the system's one shared memory. `offset` is a multiple of 128. */
export type Alloc = (bytes: number) => { buffer: SharedArrayBuffer; offset: number };

/** An isolate that can be talked to. */
export interface Isolate {
  /** Its number: the owner word of its ring ends. */
  readonly id: number;
  readonly name: string;
  /** The CPU that it is pinned on, or -1. */
  readonly cpu: number;
  /** What it sleeps on. */
  readonly bell: BellRef;
}

/** A ring of the matrix, with what its header says. */
export interface RingRow extends RingStatus {
  readonly from: string;
  readonly to: string;
  /** Blocks that were lent, and that came back, where there is an arena. */
  readonly arena: ArenaStatus | undefined;
}

/** An isolate that has work waiting and does not move. */
export interface Stalled {
  readonly name: string;
  /** How long it has not moved. */
  readonly ms: number;
  /** Bytes that wait for it. */
  readonly unread: number;
}

interface Link {
  readonly from: Isolate;
  readonly to: Isolate;
  readonly channel: string;
  readonly ref: RingRef;
  /** What `from` lends to `to`. */
  readonly arena: ArenaRef | undefined;
  readonly region: Region;
}

/** Memory of a ring, and of an arena behind it. */
interface Region {
  readonly bytes: number;
  readonly buffer: SharedArrayBuffer;
  readonly offset: number;
  generation: number;
}

/** A ring that was taken back. */
interface Retired {
  readonly region: Region;
  readonly ref: RingRef;
  /** Numbers of the isolates that may still touch it. */
  holders: number[];
}

interface Watched {
  beat: number;
  since: number;
}

/** What is wanted between two isolates. */
export interface ConnectOptions {
  /** Data bytes of each ring. */
  bytes?: number;
  /** Rings of another channel are others. */
  channel?: string;
  /** Blocks that each lends the other, for a channel that carries 9P; none when not given. */
  blocks?: readonly BlockSize[];
}

/** Options of a matrix. */
export interface MatrixOptions {
  alloc?: Alloc;
  /** Data bytes of a ring that is asked for without a size. */
  ringBytes?: number;
}

/** See the head of this file. */
export class RingMatrix {
  readonly #alloc: Alloc;
  readonly #ringBytes: number;
  readonly #isolates: Map<string, Isolate> = new Map();
  /** Keyed by the two numbers and the channel. */
  readonly #links: Map<string, Link> = new Map();
  #retired: Retired[] = [];
  readonly #watched: Map<number, Watched> = new Map();
  #lastId = 0;

  constructor(options: MatrixOptions = {}) {
    this.#alloc = options.alloc ?? ((bytes) => ({ buffer: new SharedArrayBuffer(bytes), offset: 0 }));
    this.#ringBytes = options.ringBytes ?? DEFAULT_RING_BYTES;
  }

  /** A row for an isolate. EEXIST when the name is taken: a new instance joins after the old one has left. */
  join(name: string, cpu = -1): Isolate {
    if (this.#isolates.has(name)) throw new Err("EEXIST", `ring matrix: there is an isolate ${name} already`);
    const isolate = { id: ++this.#lastId, name, cpu, bell: createBell() };
    this.#isolates.set(name, isolate);
    return isolate;
  }

  /** The isolate of that name, or undefined. */
  find(name: string): Isolate | undefined {
    return this.#isolates.get(name);
  }

  /**
   * The two rings between `a` and `b`, made if they are not there; what each of the two is to be given. An end can be
   * opened once: EBUSY from `ringTransport` says that somebody has.
   */
  connect(a: string, b: string, options: ConnectOptions = {}): [PortRef, PortRef] {
    const left = this.#need(a), right = this.#need(b);
    if (left === right) throw new Err("EINVAL", `ring matrix: ${a} needs no ring to itself`);
    const there = this.#link(left, right, options), back = this.#link(right, left, options);
    return [port(left, right, there, back), port(right, left, back, there)];
  }

  /** Ends the talk of two isolates: both see the end. */
  disconnect(a: string, b: string): void {
    const left = this.#need(a), right = this.#need(b);
    for (const link of [...this.#links.values()]) {
      if (link.from === left && link.to === right || link.from === right && link.to === left) this.#retire(link);
    }
  }

  /**
   * Takes back every ring of an isolate; its peers see the end of the stream. `gone` says that its thread has ended for
   * certain; else call `gone()` when it has.
   */
  leave(name: string, { gone = false } = {}): void {
    const isolate = this.#need(name);
    for (const link of [...this.#links.values()]) {
      if (link.from.id === isolate.id || link.to.id === isolate.id) this.#retire(link);
    }
    this.#isolates.delete(name);
    this.#watched.delete(isolate.id);
    ringBell(isolate.bell);
    if (gone) this.gone(isolate.id);
  }

  /** The thread of an isolate that has left has ended: it touches no ring any more. */
  gone(id: number): void {
    for (const r of this.#retired) r.holders = r.holders.filter((holder) => holder !== id);
  }

  /** An isolate is pinned on another CPU now, -1 for none: who is on the same one as its peer does not spin for it. */
  moved(name: string, cpu: number): void {
    const isolate = this.#need(name);
    this.#isolates.set(name, { ...isolate, cpu });
    for (const { from, to, ref } of this.#links.values()) {
      if (from.id === isolate.id) setCpu(ref, "producer", cpu);
      if (to.id === isolate.id) setCpu(ref, "consumer", cpu);
    }
  }

  /** Every ring with its counters, in the order of making. */
  rows(): RingRow[] {
    return [...this.#links.values()].map(({ from, to, ref, arena }) => {
      return { from: from.name, to: to.name, arena: arena && readArena(arena), ...readRing(ref) };
    });
  }

  /** The table as text: a heading, then a ring a line. */
  text(): string {
    const table = [HEADINGS, ...this.rows().map(cells)];
    const widths = HEADINGS.map((_, i) => Math.max(...table.map((row) => row[i].length)));
    return table.map((row) =>
      row.map((cell, i) => i < LEFT ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join(" ").trimEnd() + "\n"
    ).join("");
  }

  /**
   * Isolates that have bytes to read and have done nothing with any of their rings for `limitMs`. To be called now and
   * then, with monotonic time: it compares with what it saw before. One that is idle is never stalled.
   */
  stalled(nowMs: number, limitMs: number): Stalled[] {
    const found: Stalled[] = [];
    for (const isolate of this.#isolates.values()) {
      const { beat, unread } = this.#vitals(isolate);
      const last = this.#watched.get(isolate.id);
      if (!last || last.beat !== beat || unread === 0) this.#watched.set(isolate.id, { beat, since: nowMs });
      else if (nowMs - last.since >= limitMs) found.push({ name: isolate.name, ms: nowMs - last.since, unread });
    }
    return found;
  }

  /** All heartbeats of an isolate's ends together, and the bytes that wait for it. */
  #vitals(isolate: Isolate): { beat: number; unread: number } {
    let beat = 0, unread = 0;
    for (const { from, to, ref } of this.#links.values()) {
      if (from !== isolate && to !== isolate) continue;
      const { producer, consumer, state } = readRing(ref);
      beat += from.id === isolate.id ? producer.beat : consumer.beat;
      if (to.id === isolate.id && state === "open") unread += producer.bytes - consumer.bytes;
    }
    return { beat, unread };
  }

  #need(name: string): Isolate {
    const isolate = this.#isolates.get(name);
    if (!isolate) throw new Err("ENOENT", `ring matrix: there is no isolate ${name}`);
    return isolate;
  }

  #link(from: Isolate, to: Isolate, { bytes = this.#ringBytes, channel = "", blocks }: ConnectOptions): Link {
    const found = this.#links.get(key(from, to, channel));
    if (found) return found;
    const ring = RING_HEADER_BYTES + bytes, region = this.#region(ring + (blocks ? arenaBytes(blocks) : 0));
    const { buffer, offset } = region, generation = ++region.generation;
    const ref = createRing({ buffer, offset, producerBell: from.bell, consumerBell: to.bell }, { bytes, generation });
    const arena = blocks && createArena(blocks, { buffer, offset: offset + ring });
    const link = { from, to, channel, ref, arena, region };
    this.#links.set(key(from, to, channel), link);
    return link;
  }

  /** Memory of a retired ring of that size that nobody touches any more, or fresh. */
  #region(bytes: number): Region {
    const at = this.#retired.findIndex((r) => r.region.bytes === bytes && released(r));
    if (at >= 0) return this.#retired.splice(at, 1)[0].region;
    return { bytes, generation: 0, ...this.#alloc(bytes) };
  }

  #retire({ from, to, channel, ref, region }: Link): void {
    revokeRing(ref);
    this.#links.delete(key(from, to, channel));
    this.#retired.push({ region, ref, holders: [from.id, to.id] });
  }
}

/** Whether each isolate that had an end is gone or has closed it. */
function released({ ref, holders }: Retired): boolean {
  const { producer, consumer } = readRing(ref);
  return holders.every((id) => producer.owner === -id || consumer.owner === -id);
}

/** Columns of the table. */
const HEADINGS = [
  "from",
  "to",
  "gen",
  "state",
  "bytes",
  "messages",
  "total",
  "unread",
  "parks",
  "spins",
  "kicks",
  "full",
  "lent",
  "held",
];
/** Columns that are words. */
const LEFT = 2;

/** A ring's line: messages, bytes and full are the producer's, parks, spins and kicks those of both sides; lent and held count blocks. */
function cells(row: RingRow): string[] {
  const { producer: p, consumer: c, arena } = row;
  const numbers = [
    p.messages,
    p.bytes,
    p.bytes - c.bytes,
    p.parks + c.parks,
    p.spins + c.spins,
    p.kicks + c.kicks,
    p.full,
    arena ? arena.lent : "-",
    arena ? (arena.lent - arena.back) | 0 : "-",
  ];
  return [row.from, row.to, String(row.generation), row.state, String(row.capacity), ...numbers.map(String)];
}

function key(from: Isolate, to: Isolate, channel: string): string {
  return `${from.id} ${to.id} ${channel}`;
}

function port(self: Isolate, other: Isolate, out: Link, back: Link): PortRef {
  return {
    in: back.ref,
    out: out.ref,
    lends: out.arena,
    borrows: back.arena,
    bell: self.bell,
    owner: { id: self.id, cpu: self.cpu },
    remote: `ring!${other.name}`,
  };
}
