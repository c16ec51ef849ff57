/**
 * Addresses: MAC, IPv4, IPv6 and prefixes, parsed, printed and sorted into kinds.
 *
 * Layer: net, a leaf. An IPv4 address alone is a 32-bit number (an int32, see wire/packet.ts). An IP address of either
 * kind is 16 bytes, an IPv4 one as ::ffff:a.b.c.d, as everywhere in Plan 9: one table of routes holds both, and it is
 * printed as a.b.c.d. Parsers answer undefined for what is no address; they take no host names and no zone (`%eth0`).
 *
 * See RFC 4291 (addresses), RFC 5952 (how IPv6 is printed), RFC 1112 and 2464 (multicast), ip(3) and ipconfig(8) of Plan 9.
 */

import { get32, matches, set32 } from "./wire/packet.ts";

/** An IP address of either kind: 16 bytes. */
export type Ip = Uint8Array;

/** A range of addresses: those whose first `bits` bits are those of `addr` (an IPv4 prefix has 96 more than it prints). */
export interface Prefix {
  addr: Ip;
  bits: number;
}

/** Bits of an address's head that all IPv4 ones have in common. */
export const V4_BITS = 96;

/** No address: `::` and `0.0.0.0`. */
export const UNSPECIFIED: Ip = new Uint8Array(16), UNSPECIFIED4 = 0;
/** The limited broadcast, 255.255.255.255. */
export const BROADCAST4 = -1;
/** ff:ff:ff:ff:ff:ff */
export const BROADCAST_MAC: Uint8Array = new Uint8Array(6).fill(0xff);

const V4_HEAD = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

/** Six bytes from `00:11:22:aa:bb:cc`, the same with `-`, or twelve digits as Plan 9 writes them. */
export function parseMac(text: string): Uint8Array | undefined {
  const plain = /^[0-9a-f]{12}$/i.test(text);
  if (!plain && !/^[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}$/i.test(text)) return undefined;
  const digits = plain ? text : text.replace(/[:-]/g, "");
  return Uint8Array.from({ length: 6 }, (_, i) => parseInt(digits.slice(i * 2, i * 2 + 2), 16));
}

/** `00:11:22:aa:bb:cc`; with the separator "", as Plan 9 writes it. */
export function formatMac(mac: Uint8Array, separator = ":"): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(separator);
}

/** The number of four decimal parts. None may begin with a zero that others would read as octal. */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let word = 0;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    word = word << 8 | Number(part);
  }
  return word;
}

/** `a.b.c.d` */
export function formatIpv4(word: number): string {
  return `${word >>> 24}.${word >>> 16 & 255}.${word >>> 8 & 255}.${word & 255}`;
}

/** Sixteen bytes from every form of RFC 4291, 2.2: full, with one `::`, with an IPv4 tail. */
export function parseIpv6(text: string): Ip | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = groupsOf(halves[0], halves.length === 1);
  const tail = halves.length === 2 ? groupsOf(halves[1], true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const gap = 8 - head.length - tail.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) return undefined;
  const ip = new Uint8Array(16);
  [...head, ...new Array<number>(gap).fill(0), ...tail].forEach((group, i) => {
    ip[i * 2] = group >> 8;
    ip[i * 2 + 1] = group;
  });
  return ip;
}

/** The 16-bit groups of a part without `::`; one that stands at the end may have an IPv4 tail. */
function groupsOf(text: string, last: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [], parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(parseInt(part, 16));
      continue;
    }
    const word = last && i === parts.length - 1 ? parseIpv4(part) : undefined;
    if (word === undefined) return undefined;
    groups.push(word >>> 16, word & 0xffff);
  }
  return groups;
}

/** As RFC 5952 says: lower case, no leading zeros, the longest run of two or more zero groups as `::`, mapped IPv4 with dots. */
export function formatIpv6(ip: Ip): string {
  if (isIpv4(ip)) return `::ffff:${formatIpv4(ipv4Of(ip))}`;
  const groups = Array.from({ length: 8 }, (_, i) => ip[i * 2] << 8 | ip[i * 2 + 1]);
  const [start, count] = longestZeros(groups);
  const text = (from: number, to: number) => groups.slice(from, to).map((group) => group.toString(16)).join(":");
  return count < 2 ? text(0, 8) : `${text(0, start)}::${text(start + count, 8)}`;
}

/** The first of the longest runs of zeros: where, and how many. */
function longestZeros(groups: number[]): [start: number, count: number] {
  let best = 0, bestCount = 0;
  for (let start = 0; start < groups.length; start++) {
    let count = 0;
    while (groups[start + count] === 0) count++;
    if (count > bestCount) [best, bestCount] = [start, count];
  }
  return [best, bestCount];
}

/** An address of either kind, an IPv4 one mapped. */
export function parseIp(text: string): Ip | undefined {
  const word = parseIpv4(text);
  return word === undefined ? parseIpv6(text) : ipFromV4(word);
}

/** An address of either kind; a mapped IPv4 one as `a.b.c.d`. */
export function formatIp(ip: Ip): string {
  return isIpv4(ip) ? formatIpv4(ipv4Of(ip)) : formatIpv6(ip);
}

/** The 16 bytes of an IPv4 address. */
export function ipFromV4(word: number): Ip {
  const ip = new Uint8Array(16);
  ip.set(V4_HEAD);
  set32(ip, 12, word);
  return ip;
}

/** Whether an address is an IPv4 one, mapped. */
export function isIpv4(ip: Ip): boolean {
  return matches(ip, 0, V4_HEAD);
}

/** The number of a mapped IPv4 address: its last four bytes. */
export function ipv4Of(ip: Ip): number {
  return get32(ip, 12);
}

export function sameIp(a: Ip, b: Ip): boolean {
  return matches(a, 0, b);
}

/** `10.1.0.0/16` or `2001:db8::/32`; an address alone is a prefix of all of its bits. Bits behind the prefix are cleared. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address, length, ...rest] = text.split("/");
  const addr = parseIp(address);
  if (addr === undefined || rest.length > 0) return undefined;
  const bits = length === undefined ? 128 : parseBits(length, addr);
  return bits === undefined ? undefined : { addr: maskIp(addr, bits), bits };
}

function parseBits(text: string, addr: Ip): number | undefined {
  if (!/^(0|[1-9]\d{0,2})$/.test(text)) return undefined;
  const bits = Number(text) + (isIpv4(addr) ? V4_BITS : 0);
  return bits <= 128 ? bits : undefined;
}

export function formatPrefix({ addr, bits }: Prefix): string {
  return `${formatIp(addr)}/${isIpv4(addr) && bits >= V4_BITS ? bits - V4_BITS : bits}`;
}

/**
 * The bits of a mask as Plan 9 takes them: `/24` counts IPv4's own bits where `addr` is IPv4 (96 are added; above 32 they are
 * all 128), a dotted mask always does. Undefined when ones stand behind a zero.
 */
export function parseMask(text: string, addr: Ip): number | undefined {
  if (/^\/\d{1,3}$/.test(text)) {
    const bits = Number(text.slice(1));
    if (isIpv4(addr) && bits <= 32) return bits + V4_BITS;
    return bits <= 128 ? bits : undefined;
  }
  const dotted = parseIpv4(text);
  const mask = dotted === undefined ? parseIpv6(text) : ipFromV4(dotted);
  if (mask === undefined) return undefined;
  if (dotted !== undefined) mask.fill(0xff, 0, V4_BITS / 8);
  const bits = leadingOnes(mask);
  return sameIp(mask, maskIp(new Uint8Array(16).fill(0xff), bits)) ? bits : undefined;
}

function leadingOnes(mask: Ip): number {
  const i = mask.findIndex((byte) => byte !== 0xff);
  return i < 0 ? 128 : i * 8 + Math.clz32(~mask[i] << 24);
}

/** A copy with all bits behind the first `bits` cleared. */
export function maskIp(ip: Ip, bits: number): Ip {
  return ip.map((byte, i) => byte & 0xff << 8 - Math.min(Math.max(bits - i * 8, 0), 8));
}

/** Whether a prefix contains an address. */
export function contains({ addr, bits }: Prefix, ip: Ip): boolean {
  const whole = bits >> 3, rest = bits & 7;
  for (let i = 0; i < whole; i++) if (ip[i] !== addr[i]) return false;
  return rest === 0 || (ip[whole] ^ addr[whole]) >> 8 - rest === 0;
}

/** Of the kind that goes to several hosts; IPv4's broadcast is not one. */
export function isMulticast(ip: Ip): boolean {
  return isIpv4(ip) ? isMulticast4(ipv4Of(ip)) : ip[0] === 0xff;
}

/** 224.0.0.0/4 */
export function isMulticast4(word: number): boolean {
  return word >>> 28 === 0xe;
}

/** fe80::/10 or 169.254.0.0/16 */
export function isLinkLocal(ip: Ip): boolean {
  return isIpv4(ip) ? ipv4Of(ip) >>> 16 === 0xa9fe : ip[0] === 0xfe && (ip[1] & 0xc0) === 0x80;
}

/** ::1 or 127.0.0.0/8 */
export function isLoopback(ip: Ip): boolean {
  return isIpv4(ip) ? ipv4Of(ip) >>> 24 === 127 : sameIp(ip, LOOPBACK6);
}

/** `::`, or `0.0.0.0` mapped. */
export function isUnspecified(ip: Ip): boolean {
  return sameIp(ip, UNSPECIFIED) || isIpv4(ip) && ipv4Of(ip) === 0;
}

const LOOPBACK6: Ip = new Uint8Array(16);
LOOPBACK6[15] = 1;

/** The group of all who may have an IPv6 address (RFC 4291, 2.7.1): ff02::1:ff and its last three bytes. */
export function solicitedNode(ip: Ip): Ip {
  const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0);
  group.set(ip.subarray(13), 13);
  return group;
}

/** The MAC address of a multicast group (RFC 1112, 6.4; RFC 2464, 7). */
export function multicastMac(ip: Ip): Uint8Array {
  return isIpv4(ip)
    ? Uint8Array.of(0x01, 0x00, 0x5e, ip[13] & 0x7f, ip[14], ip[15])
    : Uint8Array.of(0x33, 0x33, ip[12], ip[13], ip[14], ip[15]);
}

/** The address that a MAC address makes under a prefix of 64 bits (RFC 4291, appendix A: modified EUI-64). */
export function ipFromMac(prefix: Ip, mac: Uint8Array): Ip {
  const ip = prefix.slice(0, 16);
  ip.set([mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]], 8);
  return ip;
}
