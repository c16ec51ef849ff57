/**
 * Which of its addresses this host speaks from, when nobody said.
 *
 * Layer: net/ip, pure functions over interfaces. Rule 4 (home addresses) has no meaning here; 5.5 (the prefix of the next
 * hop's router) is left to rule 8.
 *
 * See RFC 6724, 2 (policy table), 3 (properties), 5 (rules).
 */

import { contains, type Ip, isIpv4, isLinkLocal, isLoopback, isMulticast, parsePrefix, sameIp } from "../addr.ts";
import type { Address, Iface } from "./iface.ts";

/** RFC 6724, 2.1, longest prefix first. */
const LABELS: readonly (readonly [string, number])[] = [
  ["::1/128", 0],
  ["::ffff:0:0/96", 4],
  ["::/96", 3],
  ["2001::/32", 5],
  ["2002::/16", 2],
  ["3ffe::/16", 12],
  ["fec0::/10", 11],
  ["fc00::/7", 13],
];
const POLICY = LABELS.map(([text, label]) => {
  const [address, bits] = text.split("/");
  const prefix = parsePrefix(address)!;
  return { prefix: { addr: prefix.addr, bits: Number(bits) }, label };
});
const DEFAULT_LABEL = 1;

const LINK_LOCAL = 2, SITE_LOCAL = 5, GLOBAL = 14;

/** The address to send from; undefined when there is none of the version. */
export function chooseSource(dst: Ip, out: Iface, all: Iterable<Iface>): Ip | undefined {
  const best = bestOf(dst, out.addresses.filter((a) => isCandidate(a, dst)), out);
  if (best !== undefined || isLinkLocal(dst)) return best?.ip;
  const others: Address[] = [];
  for (const iface of all) {
    if (iface === out || iface.isLoopback) continue;
    others.push(...iface.addresses.filter((a) => isCandidate(a, dst) && !isLinkLocal(a.ip)));
  }
  return bestOf(dst, others, out)?.ip;
}

function isCandidate(address: Address, dst: Ip): boolean {
  return address.state === "ok" && isIpv4(address.ip) === isIpv4(dst);
}

function bestOf(dst: Ip, candidates: Address[], out: Iface): Address | undefined {
  let best: Address | undefined;
  for (const candidate of candidates) if (best === undefined || isBetter(dst, candidate, best, out)) best = candidate;
  return best;
}

/** Whether `a` is to be chosen over `b`, which came first. */
function isBetter(dst: Ip, a: Address, b: Address, out: Iface): boolean {
  if (sameIp(a.ip, dst) || sameIp(b.ip, dst)) return sameIp(a.ip, dst);
  const scopeA = scopeOf(a.ip), scopeB = scopeOf(b.ip), scope = scopeOf(dst);
  if (scopeA !== scopeB) return scopeA < scopeB ? scopeA >= scope : scopeB < scope;
  const deprecatedA = isDeprecated(a), deprecatedB = isDeprecated(b);
  if (deprecatedA !== deprecatedB) return deprecatedB;
  const labelA = labelOf(a.ip) === labelOf(dst), labelB = labelOf(b.ip) === labelOf(dst);
  if (labelA !== labelB) return labelA;
  const temporaryA = a.origin === "temporary", temporaryB = b.origin === "temporary";
  if (temporaryA !== temporaryB && out.autoconf.privacy) return temporaryA;
  return commonBits(a, dst) > commonBits(b, dst);
}

/** A preferred lifetime of nothing: set by who watches the clock. */
function isDeprecated(address: Address): boolean {
  return address.preferredUntil === 0;
}

/** Scope as in multicast addresses (RFC 6724, 3.1). */
export function scopeOf(ip: Ip): number {
  if (isMulticast(ip) && !isIpv4(ip)) return ip[1] & 15;
  if (isLinkLocal(ip) || isLoopback(ip)) return LINK_LOCAL;
  return ip[0] === 0xfe && (ip[1] & 0xc0) === 0xc0 ? SITE_LOCAL : GLOBAL;
}

function labelOf(ip: Ip): number {
  return POLICY.find(({ prefix }) => contains(prefix, ip))?.label ?? DEFAULT_LABEL;
}

/** Bits at the front that both have, not counting what is behind the source's prefix (RFC 6724, 2.2). */
function commonBits(source: Address, dst: Ip): number {
  let bits = 0;
  while (bits < source.bits && ((source.ip[bits >> 3] ^ dst[bits >> 3]) >> (7 - (bits & 7)) & 1) === 0) bits++;
  return bits;
}
