/**
 * Reassembly of fragments, of IPv4 and IPv6, with limits that hold whatever is sent.
 *
 * Layer: net/ip. What holds always: no byte of a packet is taken from two fragments that disagree or overlap: a packet with
 * overlapping fragments is dropped whole, in both versions, and its pieces that come later too (RFC 5722); one that comes
 * twice is left out. Bytes, packets and pieces are limited in all and for each sender; the oldest goes first.
 *
 * See RFC 791, 3.2; RFC 815; RFC 8200, 4.5; RFC 3168, 5.3 (ECN), RFC 1858 (tiny fragments).
 */

import { LIMITS } from "./limits.ts";

/** What is known of one fragment. `head` is what goes in front of the payload when it is whole; of the first fragment only. */
export interface Fragment {
  /** Names the packet: source, destination, protocol, identification. */
  key: string;
  /** The sender: for its share of the limits. */
  peer: string;
  offset: number;
  more: boolean;
  ecn: number;
  bytes: Uint8Array;
  at: number;
  end: number;
  /** Where the headers in front of the data are; they are kept from the first fragment. */
  headAt: number;
  headEnd: number;
}

interface Piece {
  offset: number;
  data: Uint8Array;
}

/** A packet that is not whole. Plain data. */
interface Partial {
  key: string;
  peer: string;
  iface: number;
  until: number;
  pieces: Piece[];
  /** Bytes of data, and what counts against the limits. */
  have: number;
  cost: number;
  /** Length of the data; -1 until the last fragment came. */
  total: number;
  head: Uint8Array | undefined;
  /** Bits of the ECN values seen. */
  ecns: number;
  /** It is dropped already, and only kept so that its other pieces are too. */
  isPoisoned: boolean;
}

/** A whole packet. */
export interface Whole {
  /** Headers and data, in an array of its own. */
  bytes: Uint8Array;
  /** Bytes of the headers that were in front of the first fragment's data. */
  headBytes: number;
  ecn: number;
}

/** A packet that was given up: what there is of it for an ICMP error; undefined head when the first fragment never came. */
export interface Expired {
  iface: number;
  head: Uint8Array | undefined;
  data: Uint8Array | undefined;
}

/** Why a fragment led to nothing. */
export type NotWhole = "waiting" | "overlap" | "bad" | "full";

const ECN_NONE = 1 << 0, ECN_CE = 1 << 3;

export class Reassembly {
  #partials = new Map<string, Partial>();
  #peers = new Map<string, number>();
  #bytes = 0;
  /** When `poll` is to be called. */
  nextAt = Infinity;
  /** Packets that limits threw out. */
  evicted = 0;

  /** Bytes that are counted against the limit. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#partials.size;
  }

  /** Takes a fragment; answers the packet when it is whole with it. */
  add(fragment: Fragment, iface: number, until: number): Whole | NotWhole {
    const length = fragment.end - fragment.at;
    const isBad = fragment.more && (length & 7) !== 0 || length === 0 && fragment.more ||
      fragment.offset + length > 65535;
    if (isBad) return "bad";
    const partial = this.#partials.get(fragment.key) ?? this.#begin(fragment, iface, until);
    if (partial.isPoisoned) return "overlap";
    const fault = this.#place(partial, fragment, length);
    if (fault !== undefined) {
      if (fault !== "waiting") this.#poison(partial);
      return fault;
    }
    if (partial.total < 0 || partial.have !== partial.total || partial.head === undefined) {
      this.#limit(partial);
      return this.#partials.has(partial.key) ? "waiting" : "full";
    }
    this.#drop(partial);
    return finish(partial);
  }

  /** Gives up what took too long; answers those, and when to come again is in `nextAt`. */
  poll(now: number): Expired[] {
    const expired: Expired[] = [];
    if (now < this.nextAt) return expired;
    this.nextAt = Infinity;
    for (const partial of this.#partials.values()) {
      if (now < partial.until) {
        this.nextAt = Math.min(this.nextAt, partial.until);
        continue;
      }
      this.#drop(partial);
      if (partial.isPoisoned) continue;
      const first = partial.pieces.find((piece) => piece.offset === 0);
      expired.push({ iface: partial.iface, head: partial.head, data: first?.data });
    }
    return expired;
  }

  save(): Partial[] {
    return structuredClone([...this.#partials.values()]);
  }

  restore(partials: Partial[]): void {
    for (const partial of structuredClone(partials)) {
      this.#partials.set(partial.key, partial);
      this.#charge(partial.peer, partial.cost);
      this.nextAt = Math.min(this.nextAt, partial.until);
    }
  }

  #begin({ key, peer }: Fragment, iface: number, until: number): Partial {
    const cost = LIMITS.fragmentOverhead;
    const partial: Partial = {
      key,
      peer,
      iface,
      until,
      pieces: [],
      have: 0,
      cost,
      total: -1,
      head: undefined,
      ecns: 0,
      isPoisoned: false,
    };
    this.#partials.set(key, partial);
    this.#charge(peer, cost);
    this.nextAt = Math.min(this.nextAt, until);
    return partial;
  }

  /** Puts the piece in its place; answers why it does not belong there. */
  #place(partial: Partial, fragment: Fragment, length: number): NotWhole | undefined {
    const { offset, bytes, at } = fragment, end = offset + length;
    if (!fragment.more && partial.total >= 0 && partial.total !== end) return "overlap";
    if (partial.total >= 0 && end > partial.total) return "overlap";
    const { pieces } = partial;
    let i = pieces.length;
    while (i > 0 && pieces[i - 1].offset >= offset) i--;
    const before = pieces[i - 1], after = pieces[i];
    if (after !== undefined && after.offset === offset && after.data.length === length && length > 0) {
      return sameBytes(after.data, bytes, at) ? "waiting" : "overlap";
    }
    if (before !== undefined && before.offset + before.data.length > offset) return "overlap";
    if (after !== undefined && end > after.offset) return "overlap";
    if (!fragment.more && pieces.length > i) return "overlap";
    if (pieces.length >= LIMITS.fragments) return "full";
    pieces.splice(i, 0, { offset, data: bytes.slice(at, at + length) });
    if (!fragment.more) partial.total = end;
    if (offset === 0) partial.head = bytes.slice(fragment.headAt, fragment.headEnd);
    partial.have += length;
    partial.ecns |= 1 << fragment.ecn;
    const cost = length + LIMITS.fragmentOverhead;
    partial.cost += cost;
    this.#charge(partial.peer, cost);
    return undefined;
  }

  /** Throws out the oldest of the sender, and then of all, until the limits hold. */
  #limit(latest: Partial): void {
    while ((this.#peers.get(latest.peer) ?? 0) > LIMITS.reassemblyPeerBytes) {
      for (const partial of this.#partials.values()) {
        if (partial.peer !== latest.peer) continue;
        this.#evict(partial);
        break;
      }
    }
    while (this.#bytes > LIMITS.reassemblyBytes || this.#partials.size > LIMITS.reassemblies) {
      this.#evict(this.#partials.values().next().value!);
    }
  }

  #evict(partial: Partial): void {
    this.evicted++;
    this.#drop(partial);
  }

  #poison(partial: Partial): void {
    partial.isPoisoned = true;
    this.#charge(partial.peer, LIMITS.fragmentOverhead - partial.cost);
    partial.cost = LIMITS.fragmentOverhead;
    partial.pieces = [];
    partial.head = undefined;
    this.#limit(partial);
  }

  #drop(partial: Partial): void {
    this.#partials.delete(partial.key);
    this.#charge(partial.peer, -partial.cost);
  }

  #charge(peer: string, bytes: number): void {
    this.#bytes += bytes;
    const left = (this.#peers.get(peer) ?? 0) + bytes;
    if (left > 0) this.#peers.set(peer, left);
    else this.#peers.delete(peer);
  }
}

function sameBytes(data: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < data.length; i++) if (data[i] !== bytes[at + i]) return false;
  return true;
}

/** Puts the pieces behind the header. Congestion that one fragment met is the packet's; ECN and no ECN mixed is nobody's. */
function finish(partial: Partial): Whole | NotWhole {
  const head = partial.head!, bytes = new Uint8Array(head.length + partial.total);
  const { ecns } = partial;
  if ((ecns & ECN_CE) !== 0 && (ecns & ECN_NONE) !== 0) return "bad";
  bytes.set(head);
  for (const { offset, data } of partial.pieces) bytes.set(data, head.length + offset);
  const ecn = (ecns & ECN_CE) !== 0 ? 3 : 31 - Math.clz32(ecns);
  return { bytes, headBytes: head.length, ecn };
}

export type SavedReassembly = ReturnType<Reassembly["save"]>;
