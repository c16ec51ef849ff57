/**
 * Output: from a transport packet to frames. What TCP and UDP know as IpLower.
 *
 * Layer: net/ip. A packet that fits and whose neighbour is known is built in the link's own buffer (the usual way, no
 * allocation, no copy). One that has to be cut or held is built in a scratch first. The checksum is left to the link where
 * it can; so is cutting. What is queued leaves with `flush`.
 *
 * See RFC 791, RFC 8200, RFC 6864 (identification: 0 where DF is set, since it means nothing then).
 */

import type { Ip } from "../addr.ts";
import { checksum } from "../checksum.ts";
import { CHECKSUM, type FrameInfo, GSO, PLAIN } from "../link.ts";
import type { IpLower, NoPath, Path, SendOptions } from "../tcp/lower.ts";
import { emitEthernet, ETHERTYPE } from "../wire/ethernet.ts";
import { PROTO } from "../wire/ipv4.ts";
import { get16, get32, set16 } from "../wire/packet.ts";
import { finishPartial, fragment4, fragment6, segment } from "./fragment.ts";
import type { Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import type { Held, Neighbor } from "./neighbors.ts";
import type { Hop, PathEntry } from "./path.ts";

const DF = 0x4000;

/** In front of a packet in the scratch: room for the link's header and IP's. */
const SCRATCH_AT = 64;

/** How control messages are sent. */
export const CONTROL: Readonly<SendOptions> = Object.freeze({
  gsoBytes: 0,
  headerBytes: 0,
  ecn: 0,
  ttl: 0,
  dontFragment: false,
});

export class Output implements IpLower {
  buf: Uint8Array;
  at = 0;
  readonly #layer: IpLayer;
  readonly #scratch = new Uint8Array(SCRATCH_AT + 65536);
  readonly #info: FrameInfo = { ...PLAIN };
  readonly #dirty: Iface[] = [];
  #path!: PathEntry;
  #proto = 0;
  /** Whether the packet that was begun is built in the link's buffer. */
  #isDirect = false;

  constructor(layer: IpLayer) {
    this.#layer = layer;
    this.buf = this.#scratch;
  }

  path(remote: Ip, local: Ip): Path | NoPath {
    return this.#layer.paths.find(remote, local);
  }

  pathOnce(remote: Ip, local: Ip): Path | NoPath {
    return this.#layer.paths.once(remote, local);
  }

  begin(path: Path, proto: number, bytes: number): boolean {
    const entry = path as PathEntry;
    this.#path = entry;
    this.#proto = proto;
    if (!entry.refresh() || !this.#fits(entry, bytes, proto) || !entry.ready(this.#layer.now)) {
      this.#isDirect = false;
      this.buf = this.#scratch;
      this.at = SCRATCH_AT;
      return true;
    }
    const { iface } = entry.hop, { link } = iface;
    if (!link.begin(entry.overhead + bytes)) {
      iface.isFull = true;
      return false;
    }
    this.#isDirect = true;
    this.buf = link.frame;
    this.at = link.frameAt + entry.overhead;
    return true;
  }

  end(bytes: number, checksumOffset: number, options: SendOptions): void {
    const path = this.#path;
    this.#layer.counters.OutRequests++;
    if (!path.isUsable) {
      if (this.#isDirect) path.hop.iface.link.cancel();
      this.#layer.counters.OutNoRoutes++;
      return;
    }
    const isTooBig = path.headerBytes + bytes > path.hop.mtu;
    if (isTooBig && options.gsoBytes === 0) return this.#endTooBig(path, bytes, checksumOffset, options);
    this.#header(path, bytes, checksumOffset, options, options.gsoBytes !== 0 || path.checksumOffload);
    const size = path.overhead + bytes;
    const ipAt = this.at - path.headerBytes;
    if (this.#isDirect) {
      const { iface } = path.hop, { snoop } = this.#layer;
      if (snoop !== undefined) snoop(iface, true, this.buf, ipAt, this.at + bytes);
      iface.link.end(size, this.#info);
      return this.sent(iface);
    }
    this.transmit(path.hop, this.buf, ipAt, this.at + bytes, this.#info, path.overhead - path.headerBytes, false);
  }

  /**
   * Sends the whole packet [at, end) by a hop: cut if it has to be, held if its neighbour is not known. `info` is the
   * packet's, with offsets counted from `infoLinkBytes` in front of it.
   */
  transmit(
    hop: Hop,
    bytes: Uint8Array,
    at: number,
    end: number,
    info: Readonly<FrameInfo>,
    infoLinkBytes: number,
    forwarded: boolean,
  ): void {
    const { iface } = hop, { link } = iface;
    if (info.gso !== GSO.none && link.gsoMaxBytes < end - at) {
      return this.#segment(hop, bytes, at, end, info, infoLinkBytes, forwarded);
    }
    if (info.checksum === CHECKSUM.partial && info.gso === GSO.none && !link.checksumOffload) {
      const from = at - infoLinkBytes + info.checksumStart;
      finishPartial(bytes, from, end, from + info.checksumOffset, protoOf(bytes, at) === PROTO.udp);
      info = PLAIN;
    }
    if (hop.ready(this.#layer.now)) return this.#send(iface, hop.to, bytes, at, end, info, infoLinkBytes);
    const moved = move(info, -infoLinkBytes);
    this.#layer.neighbors.hold(
      iface,
      hop.neighbor!,
      { bytes: bytes.slice(at, end), info: moved, forwarded },
      this.#layer.now,
    );
  }

  /** Sends a packet that was held for a neighbour that is known now. */
  release(iface: Iface, neighbor: Neighbor, held: Held): void {
    this.#send(iface, neighbor.mac, held.bytes, 0, held.bytes.length, held.info, 0);
  }

  /** Sends the packet [at, end) to a MAC address of the link, as it is. */
  control(iface: Iface, mac: Uint8Array, bytes: Uint8Array, at: number, end: number): void {
    this.#layer.counters.OutRequests++;
    this.#send(iface, mac, bytes, at, end, PLAIN, 0);
  }

  /** Sends what is no IP packet. */
  frame(iface: Iface, mac: Uint8Array, type: number, bytes: Uint8Array, end: number): void {
    const { link } = iface;
    if (!iface.isEther) return;
    if (!link.begin(iface.linkBytes + end)) return this.#full(iface);
    const to = emitEthernet(link.frame, link.frameAt, { dst: mac, src: link.mac, type });
    for (let i = 0; i < end; i++) link.frame[to + i] = bytes[i];
    link.end(iface.linkBytes + end, PLAIN);
    this.sent(iface);
  }

  /** Notes that a frame was queued. */
  sent(iface: Iface): void {
    iface.counters.out++;
    if (iface.isDirty) return;
    iface.isDirty = true;
    this.#dirty.push(iface);
  }

  /** Hands all that is queued to the devices. */
  flush(): void {
    while (this.#dirty.length > 0) {
      const iface = this.#dirty.pop()!;
      iface.isDirty = false;
      iface.link.flush();
    }
  }

  #fits(path: PathEntry, bytes: number, proto: number): boolean {
    if (path.headerBytes + bytes <= path.hop.mtu) return true;
    return proto === PROTO.tcp && path.headerBytes + bytes <= path.hop.iface.link.gsoMaxBytes;
  }

  /** Writes the headers and the transport checksum, and fills in `#info`. */
  #header(path: PathEntry, bytes: number, checksumOffset: number, options: SendOptions, offload: boolean): void {
    const { buf, at } = this, info = this.#info;
    const flags = options.dontFragment ? DF : 0;
    const id = path.v6 || options.dontFragment ? 0 : this.#layer.chance.next() & 0xffff;
    path.emit(buf, at, this.#proto, bytes, options.ecn, options.ttl, id, flags);
    info.checksum = CHECKSUM.present;
    info.gso = GSO.none;
    info.gsoBytes =
      info.headerBytes =
      info.checksumStart =
      info.checksumOffset =
        0;
    if (checksumOffset < 0) return;
    if (this.#proto === PROTO.icmp) return seal(buf, at, bytes, checksumOffset, 0);
    const pseudo = path.pseudoSum(this.#proto, bytes);
    if (!offload || this.#proto === PROTO.icmpv6) {
      seal(buf, at, bytes, checksumOffset, pseudo);
      if (this.#proto === PROTO.udp && get16(buf, at + checksumOffset) === 0) set16(buf, at + checksumOffset, 0xffff);
      return;
    }
    set16(buf, at + checksumOffset, pseudo);
    info.checksum = CHECKSUM.partial;
    info.checksumStart = path.overhead;
    info.checksumOffset = checksumOffset;
    if (options.gsoBytes === 0) return;
    info.gso = path.v6 ? GSO.tcp6 : GSO.tcp4;
    info.gsoBytes = options.gsoBytes;
    info.headerBytes = path.overhead + options.headerBytes;
  }

  /** A packet that is larger than the path takes, and that no device cuts. */
  #endTooBig(path: PathEntry, bytes: number, checksumOffset: number, options: SendOptions): void {
    if (this.#isDirect) this.#takeBack(path, bytes);
    const { counters } = this.#layer;
    if (options.dontFragment) {
      counters.FragFails++;
      return;
    }
    this.#header(path, bytes, checksumOffset, options, false);
    const ipAt = this.at - path.headerBytes;
    if (!path.v6) set16(this.buf, ipAt + 4, path.nextId = path.nextId + 1 & 0xffff);
    this.fragment(path.hop, this.buf, ipAt, this.at + bytes, path.v6 ? ++path.nextId | 0 : 0, false);
  }

  /** Moves a packet from the link's buffer to the scratch. */
  #takeBack(path: PathEntry, bytes: number): void {
    this.#scratch.set(this.buf.subarray(this.at, this.at + bytes), SCRATCH_AT);
    path.hop.iface.link.cancel();
    this.buf = this.#scratch;
    this.at = SCRATCH_AT;
    this.#isDirect = false;
  }

  /** Sends the packet [at, end), whose checksums are right, in fragments. `id` is IPv6's. */
  fragment(hop: Hop, bytes: Uint8Array, at: number, end: number, id: number, forwarded: boolean): void {
    const { counters } = this.#layer;
    const emit = (piece: Uint8Array, pieceEnd: number) => this.transmit(hop, piece, 0, pieceEnd, PLAIN, 0, forwarded);
    const count = bytes[at] >>> 4 === 4
      ? fragment4(bytes, at, end, hop.mtu, emit)
      : fragment6(bytes, at, end, hop.mtu, id, emit);
    if (count === 0) {
      counters.FragFails++;
      return;
    }
    counters.FragOKs++;
    counters.FragCreates += count;
  }

  #segment(
    hop: Hop,
    bytes: Uint8Array,
    at: number,
    end: number,
    info: Readonly<FrameInfo>,
    infoLinkBytes: number,
    forwarded: boolean,
  ): void {
    const headersEnd = at + info.headerBytes - infoLinkBytes;
    const transportAt = transportOf(bytes, at);
    if (transportAt < 0 || headersEnd <= transportAt + 19 || headersEnd > end || info.gsoBytes <= 0) {
      this.#layer.counters.OutDiscards++;
      return;
    }
    const where = { transportAt, headersEnd, payload: info.gsoBytes };
    this.#layer.counters.Segmented++;
    segment(bytes, at, end, where, (piece, pieceEnd) => this.transmit(hop, piece, 0, pieceEnd, PLAIN, 0, forwarded));
  }

  /** Copies a packet behind a link's header. `infoLinkBytes`: where the offsets of `info` count from, in front of it. */
  #send(
    iface: Iface,
    mac: Uint8Array,
    bytes: Uint8Array,
    at: number,
    end: number,
    info: Readonly<FrameInfo>,
    infoLinkBytes: number,
  ): void {
    const { link, linkBytes } = iface, size = linkBytes + end - at;
    if (!link.begin(size)) return this.#full(iface);
    const { frame } = link;
    let to = link.frameAt;
    if (iface.isEther) {
      const type = bytes[at] >>> 4 === 6 ? ETHERTYPE.ipv6 : ETHERTYPE.ipv4;
      to = emitEthernet(frame, to, { dst: mac, src: link.mac, type });
    }
    frame.set(bytes.subarray(at, end), to);
    this.#layer.snoop?.(iface, true, frame, to, to + end - at);
    link.end(size, linkBytes === infoLinkBytes ? info as FrameInfo : move(info, linkBytes - infoLinkBytes));
    this.sent(iface);
  }

  #full(iface: Iface): void {
    iface.isFull = true;
    iface.counters.outErrors++;
    this.#layer.counters.OutDiscards++;
  }
}

function seal(buf: Uint8Array, at: number, bytes: number, offset: number, initial: number): void {
  set16(buf, at + offset, 0);
  set16(buf, at + offset, checksum(buf, at, at + bytes, initial));
}

/** A copy with its offsets counted from `by` bytes further in front. */
function move(info: Readonly<FrameInfo>, by: number): FrameInfo {
  const moved = { ...info };
  if (moved.checksum === CHECKSUM.partial) moved.checksumStart += by;
  if (moved.gso !== GSO.none) moved.headerBytes += by;
  return moved;
}

function protoOf(bytes: Uint8Array, at: number): number {
  return bytes[at] >>> 4 === 4 ? bytes[at + 9] : bytes[at + 6];
}

/** Where TCP begins in a packet without extension headers; -1 where it does not. */
function transportOf(bytes: Uint8Array, at: number): number {
  if (protoOf(bytes, at) !== PROTO.tcp || get32(bytes, at) === 0) return -1;
  return bytes[at] >>> 4 === 4 ? at + (bytes[at] & 15) * 4 : at + 40;
}
