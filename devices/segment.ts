/**
 * What an offloading device does, in software: super-frames cut into segments, checksums summed up.
 *
 * Layer: devices, pure; a port does it where its host does not, the impairment cuts what it treats, so that a loss loses one
 * segment, and the pcap writer sums up what it shows. Only frames with FrameInfo of a stack or of Linux come here; one whose
 * headers do not fit its FrameInfo is left as it is.
 *
 * See Documentation/networking/segmentation-offloads.rst of Linux.
 */

import { checksum, fold } from "../core/checksum.ts";
import { CHECKSUM, type FrameInfo, type FrameSink, GSO } from "../core/link.ts";
import { makeInfo } from "./vnet.ts";

const VLAN = 0x8100;
const FIN_PSH = 0x09, CWR = 0x80, DF = 0x40;
const IPV4_ID = 4, IPV4_FLAGS = 6, IPV4_CHECKSUM = 10, TCP_SEQ = 4, TCP_FLAGS = 13;

/** How frames begin, and who takes the segments. */
export interface Cutting {
  medium: "ether" | "ip";
  /** Bytes and info are borrowed until it returns. */
  emit: FrameSink["frame"];
}

/** Adds up what CHECKSUM.partial has left to do, in place. */
export function completeChecksum(bytes: Uint8Array, at: number, end: number, info: FrameInfo): void {
  const start = at + info.checksumStart, field = start + info.checksumOffset;
  if (info.checksum !== CHECKSUM.partial || field + 2 > end) return;
  const sum = checksum(bytes, start, end);
  put16(bytes, field, sum === 0 && info.checksumOffset === 6 ? 0xffff : sum); // UDP's 0 means "none"
}

/**
 * Calls `emit` with each segment of a super-frame, in order, its checksum left to do as that of the whole; with the
 * frame itself when it is none. The frame stays as it is.
 */
export function segment(bytes: Uint8Array, at: number, end: number, info: FrameInfo, cutting: Cutting): void {
  if (info.gso === GSO.none) cutting.emit(bytes, at, end, info);
  else segmentInPlace(bytes.slice(at, end), 0, end - at, info, cutting);
}

/**
 * The same without a copy of the payload: each segment's headers are written in front of its payload, over that of the segment
 * before, which `emit` has done with.
 */
export function segmentInPlace(bytes: Uint8Array, at: number, end: number, info: FrameInfo, cutting: Cutting): void {
  const whole = wholeOf(bytes, at, end, info, cutting.medium);
  if (whole === undefined) return cutting.emit(bytes, at, end, info);
  const { head, payload } = whole, { gsoBytes } = info;
  const about: FrameInfo = { ...makeInfo(), checksum: CHECKSUM.partial };
  about.checksumStart = info.checksumStart;
  about.checksumOffset = info.checksumOffset;
  for (let sent = 0; sent < payload; sent += gsoBytes) {
    const from = at + sent, count = Math.min(gsoBytes, payload - sent);
    fixHeaders(whole, sent, count);
    for (let i = 0; i < head.length; i++) bytes[from + i] = head[i];
    cutting.emit(bytes, from, from + head.length + count, about);
  }
}

/** A super-frame, and the headers of the segment in hand. */
interface Whole {
  info: FrameInfo;
  head: Uint8Array;
  /** Where IP's header begins. */
  network: number;
  payload: number;
  /** For how much payload the headers' lengths are. */
  count: number;
  /** As the whole has them. */
  seq: number;
  flags: number;
}

/** What is to be cut; undefined: nothing. */
function wholeOf(
  bytes: Uint8Array,
  at: number,
  end: number,
  info: FrameInfo,
  medium: "ether" | "ip",
): Whole | undefined {
  const transport = at + info.checksumStart;
  const headerEnd = info.gso === GSO.udp ? transport + 8 : transport + (bytes[transport + 12] >>> 4) * 4;
  const isSuper = info.gso !== GSO.none && info.checksum === CHECKSUM.partial && info.gsoBytes > 0;
  const network = medium === "ip" ? 0 : get16(bytes, at + 12) === VLAN ? 18 : 14;
  if (!isSuper || headerEnd > end || info.checksumStart < network + 20 || end - headerEnd <= info.gsoBytes) {
    return undefined;
  }
  const head = bytes.slice(at, headerEnd), payload = end - headerEnd;
  const seq = get32(bytes, transport + TCP_SEQ), flags = bytes[transport + TCP_FLAGS];
  return { info, head, network, payload, count: payload, seq, flags };
}

/** Makes the headers those of the segment with `count` bytes behind the first `sent`; most differ in little from the one before. */
function fixHeaders(whole: Whole, sent: number, count: number): void {
  const { info, head, network, payload, seq, flags } = whole, transport = info.checksumStart;
  if (count !== whole.count) fixLengths(whole, count);
  // Where it is not to be cut in fragments, IPv4's identification means nothing (RFC 6864).
  if (sent > 0 && head[network] >>> 4 === 4 && (head[network + IPV4_FLAGS] & DF) === 0) {
    put16(head, network + IPV4_ID, get16(head, network + IPV4_ID) + 1);
    sealIpv4(head, network, transport);
  }
  if (info.gso === GSO.udp) return;
  put32(head, transport + TCP_SEQ, seq + sent);
  head[transport + TCP_FLAGS] = flags & ~(sent + count < payload ? FIN_PSH : 0) & ~(sent > 0 ? CWR : 0);
}

/** Sets the lengths for so much payload, and the checksums that they are in. */
function fixLengths(whole: Whole, count: number): void {
  const { info, head, network } = whole, transport = info.checksumStart, header = head.length - transport;
  const field = transport + info.checksumOffset;
  if (head[network] >>> 4 === 6) put16(head, network + 4, head.length - network - 40 + count);
  else {
    put16(head, network + 2, head.length - network + count);
    sealIpv4(head, network, transport);
  }
  if (info.gso === GSO.udp) put16(head, transport + 4, header + count);
  put16(head, field, fold(get16(head, field) + (~(header + whole.count) & 0xffff) + header + count));
  whole.count = count;
}

function sealIpv4(head: Uint8Array, network: number, transport: number): void {
  put16(head, network + IPV4_CHECKSUM, 0);
  put16(head, network + IPV4_CHECKSUM, checksum(head, network, transport));
}

function get16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}

function get32(bytes: Uint8Array, at: number): number {
  return get16(bytes, at) << 16 | get16(bytes, at + 2);
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}
