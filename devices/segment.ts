/**
 * What an offloading device does, in software: super-frames cut into segments, checksums summed up.
 *
 * Layer: devices, pure; the impairment cuts what it treats, so that a loss loses one segment, and the pcap writer sums
 * up what it shows. Only frames with FrameInfo of a stack or of Linux come here; one whose headers do not fit its
 * FrameInfo is left as it is.
 *
 * See Documentation/networking/segmentation-offloads.rst of Linux.
 */

import { CHECKSUM, type FrameInfo, type FrameSink, GSO } from "../core/link.ts";
import { makeInfo } from "./vnet.ts";

const VLAN = 0x8100;
const FIN_PSH = 0x09, CWR = 0x80;
const IPV4_ID = 4, IPV4_CHECKSUM = 10;

/** Adds up what CHECKSUM.partial has left to do, in place. */
export function completeChecksum(bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
  const start = at + info.checksumStart, field = start + info.checksumOffset;
  if (info.checksum !== CHECKSUM.partial || field + 2 > end) return;
  const sum = ~fold(sumWords(bytes, start, end)) & 0xffff;
  put16(bytes, field, sum === 0 && info.checksumOffset === 6 ? 0xffff : sum); // UDP's 0 means "none"
}

/**
 * Calls `emit` with each segment of a super-frame, in order, its checksum left to do as that of the whole; with the
 * frame itself when it is none. Bytes and info given to `emit` are borrowed until it returns.
 */
export function segment(
  bytes: Uint8Array,
  at: number,
  end: number,
  info: FrameInfo,
  { medium, emit }: { medium: "ether" | "ip"; emit: FrameSink["frame"] },
): void {
  const transport = at + info.checksumStart;
  const headerEnd = info.gso === GSO.udp ? transport + 8 : transport + (bytes[transport + 12] >>> 4) * 4;
  const isSuper = info.gso !== GSO.none && info.checksum === CHECKSUM.partial && info.gsoBytes > 0;
  const network = medium === "ip" ? 0 : get16(bytes, at + 12) === VLAN ? 18 : 14;
  if (!isSuper || headerEnd > end || info.checksumStart < network + 20 || end - headerEnd <= info.gsoBytes) {
    return emit(bytes, at, end, info);
  }
  const cut: FrameInfo = { ...makeInfo(), checksum: CHECKSUM.partial };
  cut.checksumStart = info.checksumStart;
  cut.checksumOffset = info.checksumOffset;
  const headers = headerEnd - at, one = new Uint8Array(headers + info.gsoBytes);
  for (let from = headerEnd, index = 0; from < end; from += info.gsoBytes, index++) {
    const to = Math.min(end, from + info.gsoBytes);
    one.set(bytes.subarray(at, headerEnd));
    one.set(bytes.subarray(from, to), headers);
    const whole = { network, headers, payload: end - headerEnd, sent: from - headerEnd, index, isLast: to === end };
    fixHeaders(one, to - from, info, whole);
    emit(one, 0, headers + to - from, cut);
  }
}

/** Where a segment is in the whole. */
interface Place {
  /** Bytes before the IP header, and of all headers. */
  network: number;
  headers: number;
  payload: number;
  sent: number;
  index: number;
  isLast: boolean;
}

/** Makes the headers of the whole those of one segment of `payload` bytes. */
function fixHeaders(one: Uint8Array, payload: number, info: FrameInfo, whole: Place): void {
  const transport = info.checksumStart, before = whole.headers - transport + whole.payload;
  const bytes = whole.headers - transport + payload;
  fixIp(one, whole.network, transport, bytes, whole.index);
  if (info.gso === GSO.udp) put16(one, transport + 4, 8 + payload);
  else {
    put32(one, transport + 4, get32(one, transport + 4) + whole.sent);
    if (!whole.isLast) one[transport + 13] &= ~FIN_PSH;
    if (whole.index > 0) one[transport + 13] &= ~CWR;
  }
  const field = transport + info.checksumOffset;
  put16(one, field, fold(get16(one, field) + (~before & 0xffff) + bytes));
}

/** IP's length, `transport` and what follows being `bytes` long; IPv4's identification and checksum too. */
function fixIp(one: Uint8Array, at: number, transport: number, bytes: number, index: number): void {
  if (one[at] >>> 4 === 6) return put16(one, at + 4, transport + bytes - at - 40);
  put16(one, at + 2, transport + bytes - at);
  put16(one, at + IPV4_ID, get16(one, at + IPV4_ID) + index);
  put16(one, at + IPV4_CHECKSUM, 0);
  put16(one, at + IPV4_CHECKSUM, ~fold(sumWords(one, at, transport)) & 0xffff);
}

function sumWords(bytes: Uint8Array, at: number, end: number): number {
  let total = 0;
  for (; at + 1 < end; at += 2) total += bytes[at] << 8 | bytes[at + 1];
  return at < end ? total + (bytes[at] << 8) : total;
}

function fold(total: number): number {
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

function get16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}

function get32(bytes: Uint8Array, at: number): number {
  return (get16(bytes, at) << 16 | get16(bytes, at + 2)) >>> 0;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8 & 0xff;
  bytes[at + 1] = value & 0xff;
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}
