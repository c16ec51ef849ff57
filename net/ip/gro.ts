/**
 * Receive merging (GRO) in software: segments that follow each other in one batch go up as one.
 *
 * Layer: net/ip, between a link and input.ts, for links that do not merge themselves. What a segment costs is mostly finding out
 * whose it is and what it says: here it is compared with the one before, word by word. Pure; whoever gives it frames calls
 * `flush` behind a batch.
 *
 * What holds always: only segments with data and nothing but ACK (and PSH) are merged, whose headers are the same in all but
 * length, id, sequence number and checksums, each next to the one before, each with right checksums (IP's and TCP's); all but the
 * last are of one size. A shorter one, one with PSH, and what does not belong end it. So nothing is lost by it that a receiver
 * could tell, and order is kept. Nothing is held for a segment that follows none: questions and answers pass at once.
 *
 * See Documentation/networking/segmentation-offloads.rst of Linux (GRO), whose rules these are.
 */

import { pseudoSum4, pseudoSum6, sum } from "../checksum.ts";
import { CHECKSUM, type FrameInfo, GSO, PLAIN } from "../link.ts";
import { ETHERNET_BYTES, ETHERTYPE } from "../wire/ethernet.ts";
import { IPV4_BYTES, PROTO } from "../wire/ipv4.ts";
import { IPV6_BYTES } from "../wire/ipv6.ts";
import { get16, get32, set16 } from "../wire/packet.ts";
import { ACK, PSH, TCP_BYTES, TCP_MAX_BYTES } from "../wire/tcp.ts";
import type { Iface } from "./iface.ts";

/** Smaller payloads are no stream's. */
const LEAST_PAYLOAD = 512;
/** The largest IP packet. */
const MOST_BYTES = 65_535;
const MAX_HEADER = ETHERNET_BYTES + IPV6_BYTES + TCP_MAX_BYTES;
/** Offsets of fields in TCP's header. */
const SEQ = 4, FLAGS = 13, CHECK = 16;
/** IPv4: not to be cut. */
const DF = 0x4000;

type Deliver = (iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo) => void;

/** Merges what comes by the links of one stack. */
export class Gro {
  readonly #deliver: Deliver;
  /** The header of the segment before, and which of its words are to be the same. */
  readonly #header = new Uint16Array(MAX_HEADER >> 1);
  readonly #same = new Uint16Array(MAX_HEADER >> 1);
  /** Bytes of that header; where IP's and TCP's begin in it. 0: no segment was before. */
  #headerBytes = 0;
  #ipAt = 0;
  #tcpAt = 0;
  /** Sum of the pseudo-header without its length; the number behind the segment before; where that came by. */
  #addressSum = 0;
  #nextSeq = 0;
  #iface: Iface | undefined;
  /** What is held: a frame of `#count` segments, `#end` bytes. */
  readonly #held = new Uint8Array(MAX_HEADER + MOST_BYTES);
  #end = 0;
  #count = 0;
  #segmentBytes = 0;
  readonly #info: FrameInfo = { ...PLAIN };
  #buffer: ArrayBufferLike | undefined;
  #words: Uint16Array = new Uint16Array(0);

  /** `deliver` is given what is merged, and borrows it. */
  constructor(deliver: Deliver) {
    this.#deliver = deliver;
  }

  /**
   * Takes the frame [at, end) if it follows the one before: then it is held, or was delivered. If not, what is held is delivered,
   * and the frame is the caller's to deliver now.
   */
  take(iface: Iface, bytes: Uint8Array, at: number, end: number, info: FrameInfo): boolean {
    if (this.#count === 0 && end - at < LEAST_PAYLOAD) return false;
    if (this.#follows(iface, bytes, at, end, info)) {
      this.#append(bytes, at, end);
      return true;
    }
    if (this.#count > 0) this.flush();
    this.#remember(iface, bytes, at, end, info);
    return false;
  }

  /** The batch is over: delivers what is held. */
  flush(): void {
    if (this.#count === 0) return;
    const bytes = this.#held, info = this.#info, end = this.#end, isMany = this.#count > 1, isV6 = this.#isV6;
    if (isV6) set16(bytes, this.#ipAt + 4, end - this.#tcpAt);
    else {
      set16(bytes, this.#ipAt + 2, end - this.#ipAt);
      set16(bytes, this.#ipAt + 10, 0);
      set16(bytes, this.#ipAt + 10, ~sum(bytes, this.#ipAt, this.#tcpAt));
    }
    info.checksum = CHECKSUM.good;
    info.gso = !isMany ? GSO.none : isV6 ? GSO.tcp6 : GSO.tcp4;
    info.gsoBytes = isMany ? this.#segmentBytes : 0;
    info.headerBytes = isMany ? this.#headerBytes : 0;
    this.#iface!.counters.in += this.#count - 1;
    this.#count = 0;
    this.#deliver(this.#iface!, bytes, 0, end, info);
  }

  get #isV6(): boolean {
    return this.#tcpAt - this.#ipAt === IPV6_BYTES;
  }

  /** The words of the buffer, and where in them the frame begins; below 0 where it is not aligned to them. */
  #wordAt(bytes: Uint8Array, at: number): number {
    const byteAt = bytes.byteOffset + at;
    if (byteAt & 1) return -1;
    if (bytes.buffer !== this.#buffer) {
      this.#buffer = bytes.buffer;
      this.#words = new Uint16Array(bytes.buffer, 0, bytes.buffer.byteLength >> 1);
    }
    return byteAt >> 1;
  }

  #follows(iface: Iface, bytes: Uint8Array, at: number, end: number, { checksum, gso }: FrameInfo): boolean {
    const payloadAt = at + this.#headerBytes, tcpAt = at + this.#tcpAt, payload = end - payloadAt;
    if (this.#headerBytes === 0 || iface !== this.#iface || payload < (this.#count > 0 ? 1 : LEAST_PAYLOAD)) {
      return false;
    }
    if (gso !== GSO.none || checksum === CHECKSUM.partial || get32(bytes, tcpAt + SEQ) !== this.#nextSeq) return false;
    if (this.#count > 0 && (payload > this.#segmentBytes || this.#end - this.#ipAt + payload > MOST_BYTES)) {
      return false;
    }
    return this.#isAlike(bytes, at) && this.#isWhole(bytes, at, end, checksum);
  }

  #isAlike(bytes: Uint8Array, at: number): boolean {
    const start = this.#wordAt(bytes, at), words = this.#words, header = this.#header, same = this.#same;
    if (start < 0) return false;
    let differ = 0;
    for (let i = this.#headerBytes >> 1; --i >= 0;) differ |= (words[start + i] ^ header[i]) & same[i];
    return differ === 0;
  }

  /** Whether length fields and checksums are right. */
  #isWhole(bytes: Uint8Array, at: number, end: number, checksum: number): boolean {
    const ipAt = at + this.#ipAt, tcpAt = at + this.#tcpAt, length = end - tcpAt;
    if (this.#isV6 ? get16(bytes, ipAt + 4) !== length : get16(bytes, ipAt + 2) !== end - ipAt) return false;
    if (!this.#isV6 && sum(bytes, ipAt, tcpAt) !== 0xffff) return false;
    return checksum === CHECKSUM.good || sum(bytes, tcpAt, end, this.#addressSum + length) === 0xffff;
  }

  #append(bytes: Uint8Array, at: number, end: number): void {
    const payloadAt = at + this.#headerBytes, payload = end - payloadAt, flags = bytes[at + this.#tcpAt + FLAGS];
    if (this.#count === 0) {
      this.#held.set(bytes.subarray(at, end));
      this.#end = end - at;
      this.#segmentBytes = payload;
    } else {
      this.#held.set(bytes.subarray(payloadAt, end), this.#end);
      this.#end += payload;
      this.#held[this.#tcpAt + FLAGS] = flags;
    }
    this.#count++;
    this.#nextSeq = this.#nextSeq + payload | 0;
    if (payload < this.#segmentBytes || (flags & PSH) !== 0) this.flush();
  }

  /** Notes the header of a segment that others may follow. */
  #remember(iface: Iface, bytes: Uint8Array, at: number, end: number, { gso, checksum }: FrameInfo): void {
    this.#headerBytes = 0;
    if (end - at < LEAST_PAYLOAD || gso !== GSO.none || checksum === CHECKSUM.partial) return;
    const ipAt = iface.isEther ? ETHERNET_BYTES : 0, head = get16(bytes, at + ipAt);
    const isV4 = head >>> 8 === 0x45 && bytes[at + ipAt + 9] === PROTO.tcp && (get16(bytes, at + ipAt + 6) & ~DF) === 0;
    if (!isV4 && (head >>> 12 !== 6 || bytes[at + ipAt + 6] !== PROTO.tcp)) return;
    if (iface.isEther && get16(bytes, at + 12) !== (isV4 ? ETHERTYPE.ipv4 : ETHERTYPE.ipv6)) return;
    const tcpAt = ipAt + (isV4 ? IPV4_BYTES : IPV6_BYTES), headerBytes = tcpAt + (bytes[at + tcpAt + 12] >>> 4) * 4;
    const payload = end - at - headerBytes, start = this.#wordAt(bytes, at);
    if ((bytes[at + tcpAt + FLAGS] & ~PSH) !== ACK || headerBytes < tcpAt + TCP_BYTES || payload <= 0 || start < 0) {
      return;
    }
    if (tcpAt !== this.#tcpAt || ipAt !== this.#ipAt) this.#layOut(ipAt, tcpAt, isV4);
    for (let i = headerBytes >> 1; --i >= 0;) this.#header[i] = this.#words[start + i];
    this.#headerBytes = headerBytes;
    this.#iface = iface;
    this.#nextSeq = get32(bytes, at + tcpAt + SEQ) + payload | 0;
    this.#addressSum = isV4
      ? pseudoSum4(get32(bytes, at + ipAt + 12), get32(bytes, at + ipAt + 16), PROTO.tcp, 0)
      : pseudoSum6(bytes, at + ipAt + 8, PROTO.tcp, 0);
  }

  /** Which words of headers are to be the same. In memory the flags are a word's high byte. */
  #layOut(ipAt: number, tcpAt: number, isV4: boolean): void {
    this.#ipAt = ipAt;
    this.#tcpAt = tcpAt;
    this.#same.fill(0xffff);
    for (const at of isV4 ? [ipAt + 2, ipAt + 4, ipAt + 10] : [ipAt + 4]) this.#same[at >> 1] = 0;
    for (const at of [SEQ, SEQ + 2, CHECK]) this.#same[tcpAt + at >> 1] = 0;
    this.#same[tcpAt + FLAGS >> 1] = 0xffff & ~(PSH << 8);
  }
}
