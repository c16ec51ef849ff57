/**
 * What IP counts, under the names of the SNMP MIBs, and how it is printed.
 *
 * Layer: net/ip, a leaf. Plain objects of numbers: saved as they are. What is dropped is always counted somewhere here.
 *
 * See RFC 4293 (IP-MIB), RFC 4113 (UDP-MIB), ip(3) of Plan 9 (stats).
 */

/** Of IP, both versions together. */
export function ipCounters() {
  return {
    Forwarding: 2,
    DefaultTTL: 64,
    InReceives: 0,
    InHdrErrors: 0,
    InAddrErrors: 0,
    ForwDatagrams: 0,
    InUnknownProtos: 0,
    InDiscards: 0,
    InDelivers: 0,
    OutRequests: 0,
    OutDiscards: 0,
    OutNoRoutes: 0,
    ReasmTimeout: 30,
    ReasmReqds: 0,
    ReasmOKs: 0,
    ReasmFails: 0,
    FragOKs: 0,
    FragFails: 0,
    FragCreates: 0,
    // Beyond the MIB:
    InCsumErrors: 0,
    InMartians: 0,
    InForeignFrames: 0,
    InVlanFrames: 0,
    InUnknownTypes: 0,
    ReasmOverlaps: 0,
    ReasmEvicted: 0,
    NeighborOverflows: 0,
    HeldDrops: 0,
    ArpIn: 0,
    ArpInErrors: 0,
    ArpConflicts: 0,
    NdIn: 0,
    NdInErrors: 0,
    RedirectsIgnored: 0,
    PathMtuLowered: 0,
    PathMtuRefused: 0,
    InMulticast: 0,
    Segmented: 0,
  };
}

/** Of ICMP and ICMPv6, each. */
export function icmpCounters() {
  return {
    InMsgs: 0,
    InErrors: 0,
    InCsumErrors: 0,
    OutMsgs: 0,
    OutErrors: 0,
    OutRateLimited: 0,
    InEchos: 0,
    InEchoReps: 0,
    OutEchoReps: 0,
    InDestUnreachs: 0,
    OutDestUnreachs: 0,
    InTimeExcds: 0,
    OutTimeExcds: 0,
    InParmProbs: 0,
    OutParmProbs: 0,
    InTooBigs: 0,
    OutTooBigs: 0,
    InRedirects: 0,
    InGroupMembs: 0,
    OutGroupMembs: 0,
    InOthers: 0,
  };
}

/** Of UDP. */
export function udpCounters() {
  return {
    InDatagrams: 0,
    NoPorts: 0,
    InErrors: 0,
    OutDatagrams: 0,
    RcvbufErrors: 0,
    InCsumErrors: 0,
    OutErrors: 0,
  };
}

export type IpCounters = ReturnType<typeof ipCounters>;
export type IcmpCounters = ReturnType<typeof icmpCounters>;
export type UdpCounters = ReturnType<typeof udpCounters>;

/** `Name: value` a line, as Plan 9's stats files. */
export function formatCounters(counters: Record<string, number>): string {
  return Object.entries(counters).map(([name, value]) => `${name}: ${value}\n`).join("");
}
