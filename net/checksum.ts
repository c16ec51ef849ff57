/**
 * The Internet checksum as protocols use it: over bytes (core/checksum.ts), over pseudo-headers, and its update when one field
 * changes.
 *
 * Layer: net, a leaf; wire formats and the stack above use it.
 *
 * See RFC 1624 (updates), RFC 768, 793 and 8200, 8.1 (pseudo-headers).
 */

import { fold, sum } from "../core/checksum.ts";

export { checksum, checksumOk, sum } from "../core/checksum.ts";

/** The checksum after a 16-bit field that it covers went from `was` to `is` (RFC 1624, equation 3). */
export function updateChecksum(check: number, was: number, is: number): number {
  return ~fold((~check & 0xffff) + (~was & 0xffff) + (is & 0xffff)) & 0xffff;
}

/** The partial sum of IPv4's pseudo-header: addresses as 32-bit numbers, `length` in bytes of transport header and data. */
export function pseudoSum4(src: number, dst: number, proto: number, length: number): number {
  return fold((src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff) + proto + length);
}

/** The same of IPv6's: `addressesAt` is where the source's 16 bytes are, with the destination's behind, as in the header. */
export function pseudoSum6(bytes: Uint8Array, addressesAt: number, proto: number, length: number): number {
  return fold(sum(bytes, addressesAt, addressesAt + 32) + (length >>> 16) + (length & 0xffff) + proto);
}
