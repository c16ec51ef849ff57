/**
 * A bounded queue of datagrams in one array of bytes: taking one in or out makes no object.
 *
 * Layer: net/udp, a leaf; UDP's and ICMP's conversations have one each. A record is the 52 bytes that Plan 9 puts in front of
 * a datagram in headers mode (remote, local and interface address, remote and local port), and the datagram. What does not
 * fit is refused, and counted by the caller.
 *
 * See ip(3) of Plan 9 (udp, headers).
 */

import { type Ip, ipFromV4 } from "../addr.ts";
import { get16, get32, put, set16, set32 } from "../wire/packet.ts";

/** Bytes of Plan 9's header in front of a datagram. */
export const UDP_HEADER_BYTES = 52;

/** Length, hop limit and DSCP with ECN; then Plan 9's header. */
const LENGTH = 0, TTL = 4, TOS = 5, HEADER = 8, DATA = HEADER + UDP_HEADER_BYTES;
const FIRST_BYTES = 4096;

/** Whom a datagram is from and for. */
export interface Ends {
  remote: Ip;
  local: Ip;
  /** An address of the interface that it came in by. */
  iface: Ip;
  remotePort: number;
  localPort: number;
}

/** Writes Plan 9's header at `at`; answers where the datagram begins. */
export function emitUdpHeader(bytes: Uint8Array, at: number, ends: Ends): number {
  put(bytes, at, ends.remote);
  put(bytes, at + 16, ends.local);
  put(bytes, at + 32, ends.iface);
  set16(bytes, at + 48, ends.remotePort);
  set16(bytes, at + 50, ends.localPort);
  return at + UDP_HEADER_BYTES;
}

/** Reads Plan 9's header at `at`, of which 52 bytes have to be there. Addresses that are all zero are IPv4's `0.0.0.0`. */
export function parseUdpHeader(bytes: Uint8Array, at: number): Ends {
  const ip = (from: number) => {
    const sliced = bytes.slice(from, from + 16);
    return sliced.every((byte) => byte === 0) ? ipFromV4(0) : sliced;
  };
  const [remotePort, localPort] = [get16(bytes, at + 48), get16(bytes, at + 50)];
  return { remote: ip(at), local: ip(at + 16), iface: ip(at + 32), remotePort, localPort };
}

export class DatagramQueue {
  #bytes = new Uint8Array(0);
  #head = 0;
  #tail = 0;
  /** Datagrams in it. */
  count = 0;
  /** Bytes of their data. */
  dataBytes = 0;

  /** `limit`: bytes that it may hold, those in front of each datagram too. */
  constructor(readonly limit: number) {}

  /** Adds a copy of bytes [at, end); false when there is no room. An empty queue takes any one. */
  push(ends: Ends, ttl: number, tos: number, bytes: Uint8Array, at: number, end: number): boolean {
    const needed = DATA + end - at + 7 & ~7;
    if (this.count > 0 && this.#tail - this.#head + needed > this.limit) return false;
    if (this.#tail + needed > this.#bytes.length) this.#makeRoom(needed);
    const record = this.#tail;
    set32(this.#bytes, record + LENGTH, end - at);
    this.#bytes[record + TTL] = ttl;
    this.#bytes[record + TOS] = tos;
    emitUdpHeader(this.#bytes, record + HEADER, ends);
    this.#bytes.set(bytes.subarray(at, end), record + DATA);
    this.#tail += needed;
    this.count++;
    this.dataBytes += end - at;
    return true;
  }

  /** Bytes of the first datagram's data; -1 when there is none. */
  get firstBytes(): number {
    return this.count === 0 ? -1 : get32(this.#bytes, this.#head + LENGTH);
  }

  /** Hop limit and DSCP with ECN of the first datagram. */
  get firstTtl(): number {
    return this.#bytes[this.#head + TTL];
  }
  get firstTos(): number {
    return this.#bytes[this.#head + TOS];
  }

  /** Whom the first datagram is from and for. */
  get firstEnds(): Ends {
    return parseUdpHeader(this.#bytes, this.#head + HEADER);
  }

  /**
   * Takes out the first datagram: as much of it as fits into [at, end), Plan 9's header in front when `headers`. Answers how
   * many bytes were written; -1 when there was none. What does not fit is lost.
   */
  pop(into: Uint8Array, at: number, end: number, headers: boolean): number {
    if (this.count === 0) return -1;
    const record = this.#head, length = get32(this.#bytes, record + LENGTH);
    const from = headers ? record + HEADER : record + DATA;
    const bytes = Math.min(record + DATA + length - from, end - at);
    into.set(this.#bytes.subarray(from, from + bytes), at);
    this.drop();
    return bytes;
  }

  /** Takes out the first datagram, and forgets it. */
  drop(): void {
    if (this.count === 0) return;
    const length = get32(this.#bytes, this.#head + LENGTH);
    this.#head += DATA + length + 7 & ~7;
    this.count--;
    this.dataBytes -= length;
    if (this.count === 0) this.#head = this.#tail = 0;
  }

  clear(): void {
    this.#bytes = new Uint8Array(0);
    this.#head =
      this.#tail =
      this.count =
      this.dataBytes =
        0;
  }

  save() {
    const { limit, count, dataBytes } = this;
    return { limit, count, dataBytes, bytes: this.#bytes.slice(this.#head, this.#tail) };
  }

  static restore(saved: ReturnType<DatagramQueue["save"]>): DatagramQueue {
    const queue = new DatagramQueue(saved.limit);
    queue.#bytes = saved.bytes.slice();
    queue.#tail = saved.bytes.length;
    queue.count = saved.count;
    queue.dataBytes = saved.dataBytes;
    return queue;
  }

  /** Moves what there is to the front; into a larger array when that alone leaves too little. */
  #makeRoom(needed: number): void {
    const used = this.#tail - this.#head;
    let size = Math.max(this.#bytes.length, FIRST_BYTES);
    while (size < (used + needed) * 2 && size < this.limit) size *= 2;
    size = Math.max(size, used + needed);
    if (size > this.#bytes.length) {
      const grown = new Uint8Array(size);
      grown.set(this.#bytes.subarray(this.#head, this.#tail));
      this.#bytes = grown;
    } else this.#bytes.copyWithin(0, this.#head, this.#tail);
    this.#head = 0;
    this.#tail = used;
  }
}
