/**
 * The sending half of a connection: what its variables are, and how they begin.
 *
 * Layer: net/tcp. output.ts decides what is sent, ack.ts takes acknowledgements, recovery.ts finds losses; this is the
 * state that they share. Sequence numbers are as in RFC 9293, 3.3.1; `nxt` never goes back: what is sent again is in the
 * scoreboard. The ring's head is the byte of `una`.
 */

import type { Seq } from "../wire/tcp_seq.ts";
import type { CcName, CongestionControl } from "./cc/cc.ts";
import { Pacer } from "./cc/pacing.ts";
import { RateSampler } from "./cc/rate.ts";
import { RttEstimator } from "./cc/rtt.ts";
import type { Layer } from "./layer.ts";
import { ByteRing } from "./ring.ts";
import { Scoreboard } from "./scoreboard.ts";

/** What a connection thinks of losses (Linux's "CA states"). */
export const OPEN = 0, RECOVERY = 1, LOSS = 2;

/** What `rtxAt` is for: retransmission timeout, tail loss probe, RACK's reordering timer, zero-window probe. */
export const RTO = 0, PROBE = 1, REORDER = 2, PERSIST = 3;

/** State of loss detection and recovery: numbers and flags only. */
export class Recovery {
  phase = OPEN;
  /** What was sent when the phase began: it ends when all before has arrived. */
  point: Seq = 0;
  /** RACK (RFC 8985, 5.2): of the newest delivered segment, and of reordering. */
  rackSentMs = -0.5;
  rackEnd: Seq = 0;
  rackRttMs = 0.5;
  fack: Seq = 0;
  reordering = false;
  reoWndMult = 1;
  reoWndPersist = 16;
  dsackRound: Seq = 0;
  dsackSeen = false;
  /** Of this ACK: a D-SACK came with it. */
  dsack = false;
  /** Duplicate ACKs of a peer without SACK, each taken for a delivered segment. */
  dupAcks = 0;
  /** Tail loss probe: what ends when `probeEnd` is acknowledged; whether it was a retransmission. */
  probing = false;
  probeEnd: Seq = 0;
  probeResent = false;
  /** Probes that nothing has answered, on a path that loses what is sent again. */
  probes = 0;
  /** This path has lost what was sent again: the end of a recovery is probed too. */
  resendsLost = false;
  /** To undo: when the phase's first retransmission was sent, and how many D-SACKs are missing to be sure. */
  undo = false;
  undoMs = 0.5;
  undoResends = 0;
  /** Timeouts in a row, and from when on the next is counted. */
  timeouts = 0;
  rtoBase = 0.5;
  /** The next retransmission is sent whatever cwnd says: the first of a recovery. */
  force = false;
  /** Congestion was echoed: answered until `ecnPoint`. */
  ecnPoint: Seq = 0;
  sendCwr = false;
}

/** State of the sending half. */
export class Sender {
  iss: Seq = 0;
  una: Seq = 0;
  nxt: Seq = 0;
  /** The peer's window, scaled; the largest it ever offered; from which segment. */
  wnd = 0;
  maxWnd = 0;
  wl1: Seq = 0;
  wl2: Seq = 0;
  /** By how much windows that the peer sends are shifted. */
  scale = 0;
  /** Payload bytes of a full segment now; by the peer's MSS option (without options); by our own distrust of the path. */
  mss = 536;
  peerMss = 536;
  blackHoleMss = 65_535;
  distrustUntil = 0.5;
  /** For which `path.mtu` `mss` was reckoned. */
  mtu = 0;
  /** What the queue takes. */
  limit: number;
  /** Whether `limit` follows the congestion window. */
  tunes = true;
  /** No Nagle. */
  nodelay = false;
  /** Where the last segment that was not a full one ended (Minshall's variant of Nagle's rule). */
  smallEnd: Seq = 0;
  finQueued = false;
  finSent = false;
  /** Whether cwnd kept something from being sent since the last ACK. */
  cwndLimited = false;
  /** When something was sent last. */
  lastSentMs = 0.5;
  /** Zero-window probes in a row. */
  probes = 0;
  /** Whether a write was cut short: the writer is told when there is room. */
  full = false;
  resentSegs = 0;
  readonly recovery = new Recovery();
  readonly rtt = new RttEstimator();
  readonly sampler = new RateSampler();
  readonly pacer = new Pacer();
  readonly ring: ByteRing;
  readonly board: Scoreboard;
  /** Until the handshake is done it is one that all have together, and that nobody asks for more than its name. */
  cc: CongestionControl;

  constructor(layer: Layer, congestion: CcName) {
    this.limit = layer.limits.sendBytes;
    this.ring = new ByteRing(layer.pool);
    this.board = new Scoreboard(layer.records);
    this.cc = layer.dormantCc(congestion);
  }

  /** Bytes of the queue that were not sent yet. */
  get unsent(): number {
    return this.finSent ? 0 : this.ring.length - (this.nxt - this.una | 0);
  }

  /** RFC 6675's pipe; what a peer without SACK has acknowledged twice is thought delivered. */
  get inFlight(): number {
    return Math.max(this.board.inFlight - this.recovery.dupAcks * this.mss, 0);
  }
}
