/**
 * Pcap: frames as a capture file that tcpdump, tshark and Wireshark read, while it grows.
 *
 * Layer: devices, pure; the snoop files of plugins/ether and plugins/ip are made of it. Little-endian, nanoseconds. A
 * checksum that is left to a device is summed up in the copy, so that nobody takes it for a wrong one; a super-frame is
 * shown whole.
 *
 * See draft-ietf-opsawg-pcap; link types 1 (Ethernet) and 101 (IP without a link's header).
 */

import { CHECKSUM, type FrameInfo } from "../core/link.ts";
import { completeChecksum } from "./segment.ts";

const MAGIC_NS = 0xa1b23c4d, VERSION_MAJOR = 2, VERSION_MINOR = 4, SNAP_BYTES = 262144;
const LINKTYPE_ETHERNET = 1, LINKTYPE_RAW = 101;
const FILE_HEAD = 24, FRAME_HEAD = 16;

/** What a capture file begins with. */
export function pcapHeader(medium: "ether" | "ip"): Uint8Array {
  const head = new Uint8Array(FILE_HEAD), view = new DataView(head.buffer);
  view.setUint32(0, MAGIC_NS, true);
  view.setUint16(4, VERSION_MAJOR, true);
  view.setUint16(6, VERSION_MINOR, true);
  view.setUint32(16, SNAP_BYTES, true);
  view.setUint32(20, medium === "ether" ? LINKTYPE_ETHERNET : LINKTYPE_RAW, true);
  return head;
}

/** The record of frame [at, end), seen at `nowMs` (milliseconds since 1970 with a fraction). */
export function pcapFrame(bytes: Uint8Array, at: number, end: number, info: FrameInfo, nowMs: number): Uint8Array {
  const record = new Uint8Array(FRAME_HEAD + end - at), view = new DataView(record.buffer);
  const sec = Math.floor(nowMs / 1000);
  view.setUint32(0, sec, true);
  view.setUint32(4, Math.floor((nowMs - sec * 1000) * 1e6), true);
  view.setUint32(8, end - at, true);
  view.setUint32(12, end - at, true);
  record.set(bytes.subarray(at, end), FRAME_HEAD);
  if (info.checksum === CHECKSUM.partial) completeChecksum(record, FRAME_HEAD, record.length, info);
  return record;
}
