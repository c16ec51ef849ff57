/**
 * Cutting packets that are larger than a link takes: IPv4 and IPv6 fragments, and TCP super-packets into segments.
 *
 * Layer: net/ip, pure functions. What is made is written to a scratch and handed to `emit`, piece by piece, which copies it.
 * Checksums of what is cut are right before (fragments) or made here (segments).
 *
 * See RFC 791, 3.2; RFC 8200, 4.5; virtio 1.2, 5.1.6.2 (what a device would do with a super-packet).
 */

import { checksum, pseudoSum4, pseudoSum6, sum } from "../checksum.ts";
import { IPV4_BYTES, PROTO } from "../wire/ipv4.ts";
import { emitFragment, FRAGMENT_BYTES, IPV6_BYTES } from "../wire/ipv6.ts";
import { get16, get32, set16, set32 } from "../wire/packet.ts";
import { FIN, PSH } from "../wire/tcp.ts";

/** Takes one piece: bytes [0, end) of `scratch`. */
export type Emit = (scratch: Uint8Array, end: number) => void;

const scratch = new Uint8Array(65536 + 128);

/** Cuts the IPv4 packet [at, end), whose header is right, into fragments of at most `mtu` bytes; answers how many. */
export function fragment4(bytes: Uint8Array, at: number, end: number, mtu: number, emit: Emit): number {
  const header = (bytes[at] & 15) * 4, field = get16(bytes, at + 6);
  const base = (field & 0x1fff) * 8, more = field & 0x2000;
  let headBytes = header, count = 0;
  for (let i = 0; i < header; i++) scratch[i] = bytes[at + i];
  for (let from = at + header; from < end; count++) {
    if (count === 1) headBytes = keepCopied(header);
    const room = mtu - headBytes & ~7;
    if (room < 8) return 0;
    const to = Math.min(end, from + room);
    scratch.set(bytes.subarray(from, to), headBytes);
    set16(scratch, 2, headBytes + to - from);
    set16(scratch, 6, (to < end ? 0x2000 : more) | (base + from - at - header) >>> 3);
    sealHeader4(0, headBytes);
    emit(scratch, headBytes + to - from);
    from = to;
  }
  return count;
}

function sealHeader4(at: number, header: number): void {
  set16(scratch, at + 10, 0);
  set16(scratch, at + 10, checksum(scratch, at, at + header));
}

/** Leaves only the options that belong into every fragment (RFC 791, 3.1: the copied flag); answers the header's length. */
function keepCopied(header: number): number {
  let to = IPV4_BYTES;
  for (let at = IPV4_BYTES; at < header && scratch[at] !== 0;) {
    const length = scratch[at] === 1 ? 1 : scratch[at + 1];
    if ((scratch[at] & 0x80) !== 0) { for (let i = 0; i < length; i++) scratch[to++] = scratch[at + i]; }
    at += length;
  }
  while ((to & 3) !== 0) scratch[to++] = 0;
  scratch[0] = 0x40 | to >>> 2;
  return to;
}

/** Cuts the IPv6 packet [at, end), which has no extension headers, into fragments of at most `mtu` bytes; answers how many. */
export function fragment6(bytes: Uint8Array, at: number, end: number, mtu: number, id: number, emit: Emit): number {
  const room = mtu - IPV6_BYTES - FRAGMENT_BYTES & ~7;
  let count = 0;
  for (let i = 0; i < IPV6_BYTES; i++) scratch[i] = bytes[at + i];
  const next = scratch[6];
  scratch[6] = 44;
  for (let from = at + IPV6_BYTES; from < end; count++) {
    const to = Math.min(end, from + room), offset = from - at - IPV6_BYTES;
    const dataAt = emitFragment(scratch, IPV6_BYTES, { next, offset, more: to < end, id });
    scratch.set(bytes.subarray(from, to), dataAt);
    set16(scratch, 4, FRAGMENT_BYTES + to - from);
    emit(scratch, dataAt + to - from);
    from = to;
  }
  return count;
}

/**
 * Cuts the TCP super-packet [at, end) into segments of at most `payload` bytes. `transportAt` is where TCP's header begins
 * and `headersEnd` where it ends; answers how many there are. IPv4's identification grows by one with each.
 */
export function segment(
  bytes: Uint8Array,
  at: number,
  end: number,
  where: { transportAt: number; headersEnd: number; payload: number },
  emit: Emit,
): number {
  const { transportAt, headersEnd, payload } = where;
  const heads = headersEnd - at, tcp = transportAt - at, v4 = bytes[at] >>> 4 === 4;
  const seq = get32(bytes, transportAt + 4), flags = bytes[transportAt + 13], id = get16(bytes, at + 4);
  let count = 0;
  for (let i = 0; i < heads; i++) scratch[i] = bytes[at + i];
  for (let from = headersEnd; from < end || count === 0; count++) {
    const to = Math.min(end, from + payload), total = heads + to - from;
    scratch.set(bytes.subarray(from, to), heads);
    set32(scratch, tcp + 4, seq + from - headersEnd | 0);
    scratch[tcp + 13] = to < end ? flags & ~(FIN | PSH) : flags;
    if (count > 0) scratch[tcp + 13] &= 0x7f;
    if (v4) {
      set16(scratch, 2, total);
      set16(scratch, 4, id + count);
      sealHeader4(0, (scratch[0] & 15) * 4);
    } else set16(scratch, 4, total - IPV6_BYTES);
    sealTransport(scratch, tcp, total, tcp + 16);
    emit(scratch, total);
    from = to;
  }
  return count;
}

/** Finishes a checksum of the packet that begins at 0, transport header at `transportAt`, over all of it. */
export function sealTransport(packet: Uint8Array, transportAt: number, end: number, fieldAt: number): void {
  const length = end - transportAt, proto = PROTO.tcp;
  const pseudo = packet[0] >>> 4 === 4
    ? pseudoSum4(get32(packet, 12), get32(packet, 16), proto, length)
    : pseudoSum6(packet, 8, proto, length);
  set16(packet, fieldAt, 0);
  set16(packet, fieldAt, checksum(packet, transportAt, end, pseudo));
}

/** Finishes a partial checksum: what the field holds is the pseudo-header's sum already. 0 is sent as 0xffff where `isUdp`. */
export function finishPartial(bytes: Uint8Array, startAt: number, end: number, fieldAt: number, isUdp: boolean): void {
  const check = ~sum(bytes, startAt, end) & 0xffff;
  set16(bytes, fieldAt, check === 0 && isUdp ? 0xffff : check);
}
