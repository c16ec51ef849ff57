/**
 * Ethernet addresses as devices need them: random ones, and as text.
 *
 * Layer: devices, a leaf. net/ has its own, for what is on the wire; devices import only core.
 */

import { Err, excerpt } from "../core/err.ts";

/** An address that nobody has been given: random, with the bit for "locally administered" set. */
export function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(6));
  mac[0] = mac[0] & 0xfc | 2;
  return mac;
}

/** `02a1b2c3d4e5`, as ether(3) writes addresses. */
export function formatMac(mac: Uint8Array): string {
  return [...mac].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The address of twelve hex digits, with or without `:` or `-` between pairs. EINVAL when it is none. */
export function parseMac(text: string): Uint8Array {
  const digits = text.replace(/[:-]/g, "");
  if (!/^[0-9a-fA-F]{12}$/.test(digits)) throw new Err("EINVAL", `"${excerpt(text)}" is no Ethernet address`);
  return Uint8Array.from(digits.match(/../g)!, (pair) => parseInt(pair, 16));
}
