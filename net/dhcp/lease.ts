/**
 * What a DHCP server has given: read from its message, and checked.
 *
 * Layer: net/dhcp. A message comes from anybody on the wire: what makes no sense is left out, and a message without what
 * a lease can not be without is none.
 *
 * See RFC 2132; RFC 3442 (classless routes); RFC 3397 (domain search).
 */

import { formatIpv4, isMulticast4 } from "../addr.ts";
import { decodeName } from "../dns/name.ts";
import { formatEntry } from "../ndb.ts";
import { get32 } from "../wire/packet.ts";
import { DHCP_OPTION, type DhcpMessage } from "./message.ts";

/** A route that the server gave. Addresses are numbers; a gateway of 0 is on the link itself. */
export interface DhcpRoute {
  addr: number;
  bits: number;
  gateway: number;
}

/** A lease, plain data. Times are of the client's clock, milliseconds; Infinity: for ever. */
export interface Lease {
  /** 0 when the server told settings alone (DHCPINFORM). */
  address: number;
  /** Bits of the network's prefix. */
  bits: number;
  server: number;
  /** The routes to set: classless ones if there are any, else the default route by the first router. */
  routes: DhcpRoute[];
  dns: number[];
  ntp: number[];
  domain?: string;
  search: string[];
  hostname?: string;
  /** Bytes; undefined: the link's own. */
  mtu?: number;
  broadcast?: number;
  /** When it was asked for; when to renew, to rebind, and when it ends. */
  startMs: number;
  t1Ms: number;
  t2Ms: number;
  endMs: number;
}

/** No lease is thought shorter: a server that gives nothing is not to be asked all the time. */
const MIN_LEASE_MS = 10_000;
const MIN_MTU = 576, FOREVER = 0xffffffff;
const MAX_ADDRESSES = 8, MAX_ROUTES = 64, MAX_SEARCH = 16;

/** The lease of an offer or acknowledgement that was asked for at `startMs`; `inform`: one without an address or an end. */
export function leaseOf(message: DhcpMessage, startMs: number, inform = false): Lease | undefined {
  const address = inform ? 0 : message.yiaddr, server = message.long(DHCP_OPTION.serverId) ?? 0;
  const seconds = message.long(DHCP_OPTION.leaseTime);
  if (!inform && (!isHost(address) || seconds === undefined || server === 0)) return undefined;
  const mtu = message.word(DHCP_OPTION.mtu);
  return {
    address,
    bits: maskBits(message.long(DHCP_OPTION.mask)) ?? classBits(address),
    server,
    routes: routesOf(message),
    dns: hosts(message.addresses(DHCP_OPTION.dns)),
    ntp: hosts(message.addresses(DHCP_OPTION.ntp)),
    domain: message.text(DHCP_OPTION.domain)?.replace(/\.$/, "").toLowerCase(),
    search: searchOf(message.option(DHCP_OPTION.domainSearch)),
    hostname: message.text(DHCP_OPTION.hostname),
    mtu: mtu !== undefined && mtu >= MIN_MTU ? mtu : undefined,
    broadcast: message.long(DHCP_OPTION.broadcast),
    startMs,
    ...times(message, startMs, inform ? FOREVER : seconds! >>> 0),
  };
}

/** A lease as the entry of `/net/ndb` that Plan 9's ipconfig makes of it. `sys`: the host's name, if it has one of its own. */
export function ndbOfLease(lease: Lease, sys = lease.hostname): string {
  const all = (attr: string, list: number[]) => list.map((each) => [attr, formatIpv4(each)] as const);
  const gateway = lease.routes.find((route) => route.bits === 0)?.gateway;
  const mask = formatIpv4(lease.bits === 0 ? 0 : -1 << 32 - lease.bits);
  return formatEntry([
    [["ip", formatIpv4(lease.address)], ["ipmask", mask], ...all("ipgw", gateway ? [gateway] : [])],
    sys ? [["sys", sys], ...(lease.domain ? [["dom", `${sys}.${lease.domain}`] as const] : [])] : [],
    [...(lease.domain ? [lease.domain] : []), ...lease.search.filter((each) => each !== lease.domain)]
      .map((domain) => ["dnsdomain", domain] as const),
    all("dns", lease.dns),
    all("ntp", lease.ntp),
  ]);
}

function times(message: DhcpMessage, startMs: number, seconds: number): Pick<Lease, "t1Ms" | "t2Ms" | "endMs"> {
  if (seconds === FOREVER) return { t1Ms: Infinity, t2Ms: Infinity, endMs: Infinity };
  const lease = Math.max(seconds * 1000, MIN_LEASE_MS);
  let t1 = (message.long(DHCP_OPTION.t1) ?? 0) * 1000, t2 = (message.long(DHCP_OPTION.t2) ?? 0) * 1000;
  if (!(t1 > 0 && t1 < t2 && t2 < lease)) [t1, t2] = [lease / 2, lease * 7 / 8];
  return { t1Ms: startMs + t1, t2Ms: startMs + t2, endMs: startMs + lease };
}

/** RFC 3442: who understands classless routes ignores the routers. */
function routesOf(message: DhcpMessage): DhcpRoute[] {
  const classless = classlessRoutes(message.option(DHCP_OPTION.classlessRoutes));
  if (classless !== undefined) return classless;
  return hosts(message.addresses(DHCP_OPTION.router)).slice(0, 1).map((gateway) => ({ addr: 0, bits: 0, gateway }));
}

/** The routes of option 121; undefined when it is not there, or not whole. */
export function classlessRoutes(value: Uint8Array | undefined): DhcpRoute[] | undefined {
  if (value === undefined || value.length === 0) return undefined;
  const routes: DhcpRoute[] = [];
  for (let at = 0; at < value.length;) {
    const bits = value[at++], bytes = bits + 7 >> 3;
    if (bits > 32 || at + bytes + 4 > value.length || routes.length === MAX_ROUTES) return undefined;
    const addr = new Uint8Array(4);
    addr.set(value.subarray(at, at + bytes));
    const mask = bits === 0 ? 0 : -1 << 32 - bits;
    routes.push({ addr: get32(addr, 0) & mask, bits, gateway: get32(value, at + bytes) });
    at += bytes + 4;
  }
  return routes;
}

function searchOf(value: Uint8Array | undefined): string[] {
  const names: string[] = [];
  for (let at = 0; value !== undefined && at < value.length && names.length < MAX_SEARCH;) {
    const name = decodeName(value, at, value.length);
    if (name === undefined) break;
    if (name.text !== "") names.push(name.text.toLowerCase());
    at = name.end;
  }
  return names;
}

/** Whether an address can be a host's own. */
function isHost(addr: number): boolean {
  return addr >>> 24 !== 0 && addr >>> 24 !== 127 && addr !== -1 && !isMulticast4(addr);
}

function hosts(addresses: number[]): number[] {
  return addresses.filter(isHost).slice(0, MAX_ADDRESSES);
}

function maskBits(mask: number | undefined): number | undefined {
  if (mask === undefined) return undefined;
  const bits = Math.clz32(~mask);
  return bits > 0 && mask === (-1 << 32 - bits | 0) ? bits : undefined;
}

/** What an address without a mask is thought to have: RFC 950's classes. */
function classBits(addr: number): number {
  return addr >= 0 ? 8 : addr >>> 30 === 2 ? 16 : 24;
}
