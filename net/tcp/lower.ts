/**
 * What TCP (and UDP) need from IP: a path to a peer, and room to build a packet in. Contract inside of net/.
 *
 * Layer: net, types only. net/ip implements it, net/tcp and net/udp use it; their tests use a small one of their own.
 *
 * What holds always: a packet is built in place. `begin` leaves room in front for IP's and the link's headers, so that the
 * transport header is written once, where it is sent from; payload is copied there from the send buffer, and nowhere else.
 */

import type { Ip } from "../addr.ts";

/** The way to one peer: route, source address, neighbour and MTU, kept up to date by IP. Shared by those who talk to that peer. */
export interface Path {
  /** As 16 bytes; IPv4 is mapped. */
  readonly local: Ip;
  readonly remote: Ip;
  readonly v6: boolean;
  /** Largest IP packet that is thought to arrive whole, bytes. Falls by path MTU discovery, and rises again with time. */
  readonly mtu: number;
  /** Bytes of IP's own header: 20 or 40. A segment's room is `mtu - headerBytes`. */
  readonly headerBytes: number;
  /** Largest transport packet that the link below cuts itself, bytes; 0 when segments are to be sent one by one. */
  readonly gsoMaxBytes: number;
  /** Whether the transport checksum may be left to the link. */
  readonly checksumOffload: boolean;
  /** Whether the peer is this host. */
  readonly loopback: boolean;
  /** Sum of the pseudo-header of a packet sent, with `bytes` of protocol `proto` behind IP; see checksum.ts. */
  pseudoSum(proto: number, bytes: number): number;
}

/** Why there is no path. */
export type NoPath = "no route" | "no source address" | "prohibited";

/** How a packet is sent. */
export interface SendOptions {
  /** Payload bytes a segment, when the packet stands for several; 0 otherwise. */
  gsoBytes: number;
  /** With GSO: bytes of the transport header. */
  headerBytes: number;
  /** ECN field of IP (0 not capable, 2 ECT(0), 1 ECT(1), 3 CE), and DSCP in the six bits above it. */
  ecn: number;
  /** Hop limit; 0: IP's default. */
  ttl: number;
  /** False: may be cut into fragments (UDP); true: DF is set (TCP). */
  dontFragment: boolean;
}

/** IP, as transports see it. */
export interface IpLower {
  /** A path to `remote`, from `local` if that is not unspecified. */
  path(remote: Ip, local: Ip): Path | NoPath;
  /**
   * The same for what is answered at once and forgotten: good until this is called again. Nothing is made or kept, so that
   * a flood from everywhere throws nobody else's path out.
   */
  pathOnce(remote: Ip, local: Ip): Path | NoPath;
  /**
   * Makes room for a transport packet of at most `bytes`, checksum field included, at `buf[at...]`. False when the link is
   * full: poll again once it has told that it has room.
   */
  begin(path: Path, proto: number, bytes: number): boolean;
  readonly buf: Uint8Array;
  readonly at: number;
  /**
   * Sends what was written, `bytes` long. The checksum field is IP's to fill: `checksumOffset` is where it is in the
   * transport header. A packet whose neighbour is not resolved yet is kept (a few of them) or dropped, as RFC 1122 wants.
   */
  end(bytes: number, checksumOffset: number, options: SendOptions): void;
}

/** What IP tells a transport of a packet that came. One object is used again and again: copy what is kept. */
export interface Arrival {
  src: Ip;
  dst: Ip;
  /** The link it came in by. */
  link: string;
  /** ECN field of IP. */
  ecn: number;
  ttl: number;
  /** Whether checksums need not be verified. */
  checksumGood: boolean;
  /** Payload bytes of each segment that was merged into this packet (GRO, large receive); 0 when it is one segment. */
  gsoBytes: number;
  /** Sum of the pseudo-header, length included. */
  pseudoSum: number;
}

/** What ICMP says about a packet that was sent. */
export interface Trouble {
  kind:
    | "too big"
    | "host unreachable"
    | "net unreachable"
    | "port unreachable"
    | "protocol unreachable"
    | "prohibited"
    | "time exceeded";
  /** With "too big": the MTU that the router names, or 0. */
  mtu: number;
  local: Ip;
  remote: Ip;
  /** The first 8 bytes or more of the transport header that was sent, in `bytes` at `at`, to `end`. */
  bytes: Uint8Array;
  at: number;
  end: number;
}

/**
 * A transport, as IP sees it: what it calls for the packets of one protocol.
 *
 * IP hands over what came for an address of this host: whole (reassembled), with a header that was checked, never what was
 * sent to a broadcast address. A transport may send in `input` (a reset, a cookie); most it sends in its `poll`, once a
 * batch.
 */
export interface Transport {
  /**
   * A packet: bytes [at, end) are transport header and payload, borrowed until this returns. False when nobody is there
   * and IP is to say so (ICMP port unreachable): TCP answers for itself, and always says true.
   */
  input(bytes: Uint8Array, at: number, end: number, arrival: Arrival, now: number): boolean;
  /**
   * An ICMP error. True when it quotes something that was really sent a moment ago (RFC 5927): IP believes "too big", and
   * lowers the path's MTU, before anything else is sent, only then. The transport sees the new `path.mtu` in its next poll.
   */
  trouble(trouble: Trouble, now: number): boolean;
}
