/**
 * Every limit and time of IP in one place, and what they are taken from.
 *
 * Layer: net/ip, a leaf. Times are milliseconds, sizes bytes, unless the name says otherwise. Whatever a stranger can make
 * grow has a limit here.
 */

/** What another host can make this one keep. */
export const LIMITS = {
  /** Neighbours, of all interfaces and both versions. */
  neighbors: 1024,
  /** Packets that wait for a neighbour's address; the oldest goes first (RFC 1122, 2.3.2.2 asks for one at least). */
  heldPackets: 8,
  heldBytes: 256 * 1024,
  /** Destinations whose way is remembered, and ways with a source on top of them. */
  hops: 4096,
  paths: 4096,
  /** Destinations whose path MTU is below that of the link. */
  pathMtus: 1024,
  /** Routes in all. */
  routes: 16384,
  /** Routes that redirects made. */
  redirects: 64,
  /** Default routers, prefixes and name servers that router advertisements may bring, each. */
  routers: 8,
  prefixes: 16,
  nameServers: 8,
  /** Addresses of one interface. */
  addresses: 64,
  /** Groups of one interface. */
  groups: 256,
  /** Packets being reassembled: their bytes in all and of one sender, and how many; each piece counts for more than its data. */
  reassemblyBytes: 4 << 20,
  reassemblyPeerBytes: 1 << 20,
  reassemblies: 256,
  fragments: 160,
  fragmentOverhead: 128,
  /** Bytes that wait in the loopback interface. */
  loopbackBytes: 8 << 20,
  loopbackFrames: 4096,
  /** Destinations whose share of ICMP errors is counted apart. */
  errorPeers: 256,
} as const;

export const TIMES = {
  /** A neighbour that does not answer is asked so often, this far apart (RFC 4861, 10). */
  retransMs: 1000,
  solicits: 3,
  reachableMs: 30_000,
  /** From the first packet to a neighbour that was not heard of for long to the first question (RFC 4861, DELAY_FIRST_PROBE_TIME). */
  delayProbeMs: 5000,
  /** After it failed, a neighbour is not asked again for this long. */
  failedMs: 3000,
  /** Reassembly (RFC 1122, 3.3.2 gives 60 to 120 s; hosts use less; RFC 8200, 4.5 says 60). */
  reassembly4Ms: 30_000,
  reassembly6Ms: 60_000,
  /** For how long a path MTU is believed (RFC 1191, 6.3; RFC 8201, 5.3). */
  pathMtuMs: 600_000,
  redirectMs: 600_000,
  /** RFC 5227, 1.1. */
  arpProbeWaitMs: 1000,
  arpProbes: 3,
  arpProbeMinMs: 1000,
  arpProbeMaxMs: 2000,
  arpAnnounceWaitMs: 2000,
  arpAnnounceMs: 2000,
  arpAnnouncements: 2,
  arpDefendMs: 10_000,
  /** RFC 4861, 10: router solicitations. */
  routerSolicitMs: 4000,
  routerSolicits: 3,
  /** RFC 8981: a temporary address. */
  temporaryValidMs: 2 * 86_400_000,
  temporaryPreferredMs: 86_400_000,
  /** Unsolicited reports of a group that was joined (RFC 3376, 8.11). */
  reportMs: 1000,
  reports: 2,
  /** For how long an older querier is remembered (RFC 3376, 8.12). */
  olderQuerierMs: 400_000,
} as const;

/** ICMP errors a second and at once: of this host, and to one destination (RFC 4443, 2.4 f). */
export const ERROR_RATE = { perSecond: 1000, burst: 50, peerPerSecond: 10, peerBurst: 10 } as const;

/** The hop limit of packets that say none (RFC 1700; what Linux sends). */
export const DEFAULT_TTL = 64;

/** The smallest path MTU of IPv4 that is believed: below it, somebody wants many small packets. */
export const MIN_PATH_MTU4 = 552;

/** Every IPv4 host takes a datagram of this size (RFC 1812, 4.3.2.3): an ICMP error is no larger. */
export const ICMP4_ERROR_BYTES = 576;
