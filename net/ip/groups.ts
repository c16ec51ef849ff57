/**
 * Groups: which multicast addresses are listened to, and telling routers so, by IGMP and MLD.
 *
 * Layer: net/ip. Any source is wanted, always (no source filters). Version 3 of IGMP and 2 of MLD are spoken until an older
 * querier is heard; then its version for a while. Queries are answered after a random time, one report for each group.
 *
 * See RFC 3376 (IGMPv3), RFC 2236 (IGMPv2), RFC 3810 (MLDv2), RFC 2710 (MLD), RFC 2711 (router alert).
 */

import {
  type Ip,
  ipFromV4,
  ipv4Of,
  isIpv4,
  isMulticast,
  isUnspecified,
  multicastMac,
  parseIp,
  UNSPECIFIED,
} from "../addr.ts";
import { checksumOk } from "../checksum.ts";
import { sealIcmp } from "../wire/icmp.ts";
import { sealIcmpv6 } from "../wire/icmpv6.ts";
import { emitIpv4, type Ipv4, PROTO } from "../wire/ipv4.ts";
import { emitIpv6, type Ipv6 } from "../wire/ipv6.ts";
import { pseudoSum6 } from "../checksum.ts";
import { get16, get32, put, set16, set32 } from "../wire/packet.ts";
import type { Group, Iface } from "./iface.ts";
import type { IpLayer } from "./layer.ts";
import { LIMITS, TIMES } from "./limits.ts";

export const MLD = { query: 130, report: 131, done: 132, report2: 143 } as const;
const IGMP = { query: 0x11, report2: 0x16, leave: 0x17, report3: 0x22 } as const;

/** Kinds of group records, the same in both protocols. */
const RECORD = { isExclude: 2, toInclude: 3, toExclude: 4 } as const;

const ALL_ROUTERS4 = parseIp("224.0.0.2")!, ALL_HOSTS4 = parseIp("224.0.0.1")!, IGMP3_ROUTERS = parseIp("224.0.0.22")!;
const ALL_ROUTERS6 = parseIp("ff02::2")!, ALL_NODES6 = parseIp("ff02::1")!, MLD2_ROUTERS = parseIp("ff02::16")!;

const ROUTER_ALERT4 = Uint8Array.of(148, 4, 0, 0);
/** A hop-by-hop header with a router alert: [next, length, router alert, padding]. */
const ROUTER_ALERT6 = Uint8Array.of(PROTO.icmpv6, 0, 5, 2, 0, 0, 1, 0);

export class Groups {
  nextAt = Infinity;
  readonly #scratch = new Uint8Array(128);

  constructor(readonly layer: IpLayer) {}

  /** Whether the address at `at` of an IPv6 packet is a group of the interface. */
  has(iface: Iface, bytes: Uint8Array, at: number): boolean {
    return iface.groups.get(bytes, at) !== undefined;
  }

  /** Listens to a group; false when there are too many, or it is none. */
  join(iface: Iface, ip: Ip): boolean {
    const known = iface.groups.get(ip);
    if (known !== undefined) {
      known.users++;
      return true;
    }
    if (iface.groups.count >= LIMITS.groups || !isMulticast(ip)) return false;
    const group: Group = {
      ip: ip.slice(0, 16),
      users: 1,
      reportsLeft: isReported(ip) && iface.isEther ? TIMES.reports : 0,
      reportAt: Infinity,
      isReporter: false,
    };
    iface.groups.set(group.ip, group);
    if (group.reportsLeft > 0) this.#schedule(group, this.layer.now);
    return true;
  }

  /** Takes back a `join`. */
  leave(iface: Iface, ip: Ip): void {
    const group = iface.groups.get(ip);
    if (group === undefined || --group.users > 0) return;
    iface.groups.delete(ip);
    if (isReported(ip) && iface.isEther) this.#sendLeave(iface, group);
  }

  poll(now: number): void {
    if (now < this.nextAt) return;
    this.nextAt = Infinity;
    for (const iface of this.layer.ifaces()) {
      for (const group of iface.groups.values()) {
        if (now >= group.reportAt) this.#report(iface, group, now);
        this.nextAt = Math.min(this.nextAt, group.reportAt);
      }
    }
  }

  /** An IGMP message for this host. */
  igmp(iface: Iface, ip: Ipv4): void {
    const { bytes, payloadAt: at, end } = ip;
    if (end - at < 8 || !checksumOk(bytes, at, end)) {
      this.layer.icmp4.InErrors++;
      return;
    }
    this.layer.icmp4.InGroupMembs++;
    const group = get32(bytes, at + 4), type = bytes[at];
    if (type === IGMP.report2) return this.#heard(iface, ipFromV4(group));
    if (type !== IGMP.query) return;
    const isOld = end - at < 12, code = bytes[at + 1];
    if (isOld) iface.olderQuerier4Until = this.layer.now + TIMES.olderQuerierMs;
    const maxMs = (isOld ? code || 100 : floating8(code)) * 100;
    this.#query(iface, group === 0 ? undefined : ipFromV4(group), true, maxMs);
  }

  /** An MLD message, whose checksum is right, that came with hop limit 1 from a link-local address. */
  mld(iface: Iface, ip: Ipv6, at: number): void {
    const { bytes, end } = ip;
    if (end - at < 24) {
      this.layer.icmp6.InErrors++;
      return;
    }
    this.layer.icmp6.InGroupMembs++;
    const group = bytes.slice(at + 8, at + 24), type = bytes[at];
    if (type === MLD.report) return this.#heard(iface, group);
    if (type !== MLD.query) return;
    const isOld = end - at < 28, code = get16(bytes, at + 4);
    if (isOld) iface.olderQuerier6Until = this.layer.now + TIMES.olderQuerierMs;
    this.#query(iface, isUnspecified(group) ? undefined : group, false, isOld ? code : floating16(code));
  }

  /** A router wants to know: of one group, or of all of a version. */
  #query(iface: Iface, only: Ip | undefined, v4: boolean, maxMs: number): void {
    const { now, chance } = this.layer;
    for (const group of iface.groups.values()) {
      if (isIpv4(group.ip) !== v4 || !isReported(group.ip)) continue;
      if (only !== undefined && iface.groups.get(only) !== group) continue;
      const at = now + chance.between(0, Math.max(maxMs, 1));
      if (at >= group.reportAt) continue;
      group.reportsLeft = Math.max(group.reportsLeft, 1);
      this.#schedule(group, at);
    }
  }

  /** Another host reported the group, in a version where one report is enough. */
  #heard(iface: Iface, ip: Ip): void {
    const group = iface.groups.get(ip);
    if (group === undefined) return;
    group.reportAt = Infinity;
    group.reportsLeft = 0;
    group.isReporter = false;
  }

  #schedule(group: Group, at: number): void {
    group.reportAt = at;
    this.nextAt = Math.min(this.nextAt, at);
  }

  #report(iface: Iface, group: Group, now: number): void {
    const isFirst = !group.isReporter;
    group.isReporter = true;
    group.reportsLeft--;
    this.#schedule(group, group.reportsLeft > 0 ? now + this.layer.chance.between(0, TIMES.reportMs) : Infinity);
    const record = isFirst ? RECORD.toExclude : RECORD.isExclude;
    if (isIpv4(group.ip)) this.#report4(iface, group.ip, record, IGMP.report2);
    else this.#report6(iface, group.ip, record, MLD.report);
  }

  #sendLeave(iface: Iface, group: Group): void {
    const v4 = isIpv4(group.ip);
    const isOld = (v4 ? iface.olderQuerier4Until : iface.olderQuerier6Until) > this.layer.now;
    if (isOld && !group.isReporter) return;
    if (v4) this.#report4(iface, group.ip, RECORD.toInclude, IGMP.leave);
    else this.#report6(iface, group.ip, RECORD.toInclude, MLD.done);
  }

  /** Tells of one IPv4 group: by a record of version 3, or by an older version's message of type `old`. */
  #report4(iface: Iface, group: Ip, record: number, old: number): void {
    const bytes = this.#scratch.fill(0), isOld = iface.olderQuerier4Until > this.layer.now;
    const dst = !isOld ? IGMP3_ROUTERS : old === IGMP.leave ? ALL_ROUTERS4 : group;
    const source = iface.anyAddress(true)?.ip;
    const length = isOld ? 8 : 16;
    const at = emitIpv4(bytes, 0, {
      tos: 0xc0,
      id: 0,
      dontFragment: true,
      moreFragments: false,
      fragmentOffset: 0,
      ttl: 1,
      proto: PROTO.igmp,
      src: source === undefined ? 0 : ipv4Of(source),
      dst: ipv4Of(dst),
      payloadBytes: length,
    }, ROUTER_ALERT4);
    bytes[at] = isOld ? old : IGMP.report3;
    if (isOld) set32(bytes, at + 4, ipv4Of(group));
    else {
      set16(bytes, at + 6, 1);
      bytes[at + 8] = record;
      set32(bytes, at + 12, ipv4Of(group));
    }
    sealIcmp(bytes, at, at + length);
    this.layer.icmp4.OutGroupMembs++;
    this.layer.output.control(iface, multicastMac(dst), bytes, 0, at + length);
  }

  #report6(iface: Iface, group: Ip, record: number, old: number): void {
    const bytes = this.#scratch.fill(0), isOld = iface.olderQuerier6Until > this.layer.now;
    const dst = !isOld ? MLD2_ROUTERS : old === MLD.done ? ALL_ROUTERS6 : group;
    const length = isOld ? 24 : 28;
    const extensionAt = emitIpv6(bytes, 0, {
      trafficClass: 0,
      flowLabel: 0,
      next: 0,
      hopLimit: 1,
      src: iface.anyAddress(false)?.ip ?? UNSPECIFIED,
      dst,
      payloadBytes: ROUTER_ALERT6.length + length,
    });
    put(bytes, extensionAt, ROUTER_ALERT6);
    const at = extensionAt + ROUTER_ALERT6.length;
    bytes[at] = isOld ? old : MLD.report2;
    if (isOld) put(bytes, at + 8, group);
    else {
      set16(bytes, at + 6, 1);
      bytes[at + 8] = record;
      put(bytes, at + 12, group);
    }
    sealIcmpv6(bytes, at, at + length, pseudoSum6(bytes, 8, PROTO.icmpv6, length));
    this.layer.icmp6.OutGroupMembs++;
    this.layer.output.control(iface, multicastMac(dst), bytes, 0, at + length);
  }
}

/** Whether routers are told: not of the groups that all are in, nor of those that never leave the host (RFC 3810, 6). */
function isReported(ip: Ip): boolean {
  if (isIpv4(ip)) return ipv4Of(ip) !== ipv4Of(ALL_HOSTS4);
  return (ip[1] & 15) > 1 && !ip.every((byte, i) => byte === ALL_NODES6[i]);
}

/** RFC 3376, 4.1.1: large times with an exponent. */
function floating8(code: number): number {
  return code < 128 ? code : (code & 15 | 16) << ((code >>> 4 & 7) + 3);
}

/** RFC 3810, 5.1.3. */
function floating16(code: number): number {
  return code < 32768 ? code : (code & 0xfff | 0x1000) << ((code >>> 12 & 7) + 3);
}
