/**
 * The virtio net header before each frame of a TAP or packet socket: FrameInfo as bytes.
 *
 * Layer: devices; tap.ts and packet.ts use it. 10 bytes: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset,
 * and for a TAP two more (num_buffers, unused), all little-endian, as every host that Deno runs on is.
 *
 * See virtio 1.2, 5.1.6.
 */

import { CHECKSUM, type FrameInfo, GSO, PLAIN } from "../core/link.ts";

/** Bytes of the header, of a TAP and of a packet socket; no more than the shorter one is read and written. */
export const VNET_BYTES = 12, VNET_SHORT_BYTES = 10;

const NEEDS_CSUM = 1, DATA_VALID = 2;
/** In gso_type, beside the kind: segments after the first keep CWR clear. */
const GSO_ECN = 0x80;

/** A FrameInfo that can be filled in. */
export function makeInfo(): FrameInfo {
  return { ...PLAIN };
}

/** Fills `info` from the header at `at`. */
export function readVnet(bytes: Uint8Array, at: number, info: FrameInfo): void {
  const flags = bytes[at], gso = bytes[at + 1] & ~GSO_ECN;
  info.checksum = flags & NEEDS_CSUM ? CHECKSUM.partial : flags & DATA_VALID ? CHECKSUM.good : CHECKSUM.present;
  info.checksumStart = bytes[at + 6] | bytes[at + 7] << 8;
  info.checksumOffset = bytes[at + 8] | bytes[at + 9] << 8;
  info.gso = gso;
  info.gsoBytes = gso === GSO.none ? 0 : bytes[at + 4] | bytes[at + 5] << 8;
  info.headerBytes = gso === GSO.none ? 0 : bytes[at + 2] | bytes[at + 3] << 8;
}

/** Writes the header of `info` at `at`. */
export function writeVnet(bytes: Uint8Array, at: number, info: FrameInfo): void {
  const partial = info.checksum === CHECKSUM.partial, cut = info.gso !== GSO.none;
  bytes[at] = partial ? NEEDS_CSUM : info.checksum === CHECKSUM.good ? DATA_VALID : 0;
  bytes[at + 1] = info.gso;
  put16(bytes, at + 2, cut ? info.headerBytes : 0);
  put16(bytes, at + 4, cut ? info.gsoBytes : 0);
  put16(bytes, at + 6, partial ? info.checksumStart : 0);
  put16(bytes, at + 8, partial ? info.checksumOffset : 0);
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = value >>> 8;
}
