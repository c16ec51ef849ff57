/**
 * A connection: who it is between, its state, its timers, and what its user may do with it.
 *
 * Layer: net/tcp. The user's calls change state and mark the connection; segments leave in the stack's next `poll`. What
 * happens is told by `onEvents`, in `poll` too, never from inside of a call. input.ts, ack.ts and output.ts do the protocol.
 *
 * What holds always: a connection that has ended has its cause in `error`, or ended well; data that came before can
 * still be read. `peek` is good until the next `consume`, `read`, or `input`.
 *
 * See RFC 9293, 3.3.2 (states), 3.10 (calls).
 */

import { Err } from "../../core/err.ts";
import type { Ip } from "../addr.ts";
import type { CcName } from "./cc/cc.ts";
import { createCc } from "./cc/algorithms.ts";
import type { Layer } from "./layer.ts";
import type { Path } from "./lower.ts";
import { Receiver } from "./receiver.ts";
import { RTO, Sender } from "./sender.ts";
import { Entry } from "./table.ts";
import type { Timed } from "./timer_queue.ts";

/** States, in the order of a life. A listener is not one of a connection: see listener.ts. */
export const CLOSED = 0, SYN_SENT = 1, SYN_RECEIVED = 2, ESTABLISHED = 3, FIN_WAIT_1 = 4, FIN_WAIT_2 = 5;
export const CLOSE_WAIT = 6, CLOSING = 7, LAST_ACK = 8, TIME_WAIT = 9;

/** As Plan 9's status files have them. */
export const STATE_NAMES: readonly string[] = [
  "Closed",
  "Syn_sent",
  "Syn_received",
  "Established",
  "Finwait1",
  "Finwait2",
  "Close_wait",
  "Closing",
  "Last_ack",
  "Time_wait",
];

/** What `onEvents` tells, as bits. */
export const EVENT = {
  /** There is more to read; or the end of what the peer sends was reached. */
  readable: 1,
  /** A write that found no room would find some. */
  writable: 2,
  /** It is established. */
  connected: 4,
  /** The peer sends no more (its FIN has come, behind all data). */
  hangup: 8,
  /** It is over, for the cause in `error` if there is one: nothing will happen any more. */
  ended: 16,
} as const;

/** What of a conversation can be done, as Akaros' readiness has it: all false before it is connected. */
export interface Readiness {
  readable: boolean;
  writable: boolean;
  hangup: boolean;
  error: boolean;
}

/** Keepalive: after how long without a word, how often, and how many without an answer. */
export interface Keepalive {
  idleMs: number;
  intervalMs: number;
  probes: number;
}

/** One connection. */
export class Conn extends Entry implements Timed {
  readonly kind = "conn";
  readonly layer: Layer;
  path: Path;
  state = CLOSED;
  /** Why it ended. */
  error: Err | undefined = undefined;
  readonly snd: Sender;
  readonly rcv: Receiver;
  /** Negotiated. */
  timestamps = false;
  sack = false;
  ecn = false;
  /** Added to the clock for timestamps, another for each peer. */
  tsOffset = 0;
  /** Hop limit; 0: IP's. */
  ttl = 0;
  /** DSCP in the upper six bits, as in IP's header. */
  tos = 0;
  /** Whether it was ever established. */
  wasConnected = false;
  keepalive: Keepalive | undefined = undefined;
  /** Its user's own number, which is saved with it. */
  tag = -1;
  /** Nobody holds it any more. */
  orphan = false;
  /** To be sent in the next poll: a SYN; a RST. */
  synDue = false;
  /** Is to be looked at in the next poll; events that were not told yet. Of the layer. */
  touched = false;
  events = 0;
  /** Timers: retransmission and what `rtxKind` says; delayed ACK; pacing; keepalive or FIN_WAIT_2. Infinity: not set. */
  rtxAt = Infinity;
  rtxKind = RTO;
  ackAt = Infinity;
  paceAt = Infinity;
  slowAt = Infinity;
  queuedAt = 0.5;
  queueIndex = -1;
  /** When something came last; keepalive probes without an answer; when a segment out of order was answered last. */
  heardAt = 0.5;
  keepaliveProbes = 0;
  challengeAt = -1e9;
  /** Told of what happens, with bits of EVENT. */
  onEvents: (conn: Conn, events: number) => void = ignore;

  constructor(layer: Layer, path: Path, local: Ip, localPort: number, remote: Ip, remotePort: number, cc: CcName) {
    super(local, localPort, remote, remotePort);
    this.layer = layer;
    this.path = path;
    this.snd = new Sender(layer, cc);
    this.rcv = new Receiver(layer);
    this.heardAt = layer.now;
  }

  get dueAt(): number {
    return Math.min(this.rtxAt, this.ackAt, this.paceAt, this.slowAt, this.rcv.overtaking.tellAt);
  }

  /** Whether it has been established, and is not over. */
  get connected(): boolean {
    return this.state >= ESTABLISHED;
  }

  /** Bytes that wait to be read. */
  get available(): number {
    return this.rcv.ring.length;
  }

  /** Whether all has been read, and nothing more will come. */
  get eof(): boolean {
    return this.rcv.ring.length === 0 && (this.rcv.eof || this.rcv.deaf || this.state === CLOSED);
  }

  /** Bytes that a write would take now. */
  get room(): number {
    return this.writable ? Math.max(this.snd.limit - this.snd.ring.length, 0) : 0;
  }

  /** Whether it is in a state in which data can be queued. */
  get writable(): boolean {
    const { state } = this;
    return (state === ESTABLISHED || state === CLOSE_WAIT || state === SYN_SENT || state === SYN_RECEIVED) &&
      !this.snd.finQueued;
  }

  get readiness(): Readiness {
    const over = this.state === CLOSED, up = this.connected;
    return {
      readable: up && (this.available > 0 || this.eof) || over && (this.available > 0 || this.wasConnected),
      writable: up && this.room > 0 || over,
      hangup: this.rcv.eof || over,
      error: this.error !== undefined,
    };
  }

  /**
   * Queues bytes [at, end) to be sent, as many as there is room for, and answers how many. Before the connection is
   * established they wait. When less were taken, or no room is left, EVENT.writable tells when there is some.
   *
   * @throws Err EPIPE after `close` or `shutdown("wr")`, or why the connection ended.
   */
  write(bytes: Uint8Array, at = 0, end: number = bytes.length): number {
    if (!this.writable) throw this.error ?? new Err("EPIPE");
    const { snd } = this;
    const count = Math.min(end - at, Math.max(snd.limit - snd.ring.length, 0));
    if (count < end - at) snd.full = true;
    if (count === 0) return 0;
    if (!snd.ring.append(bytes, at, at + count)) {
      snd.full = true;
      this.layer.starved(this);
      return 0;
    }
    if (snd.ring.length >= snd.limit) snd.full = true;
    this.layer.touch(this);
    return count;
  }

  /** Copies what has come to `dst`, and answers how many bytes; 0 when nothing waits (see `eof` and `error`). */
  read(dst: Uint8Array): number {
    const count = Math.min(dst.length, this.rcv.ring.length);
    if (count === 0) return 0;
    this.rcv.ring.copyOut(0, count, dst, 0);
    this.consume(count);
    return count;
  }

  /** What waits to be read, as it lies in the queue; when the queue turns around there, only its first part. */
  peek(): Uint8Array {
    return this.rcv.ring.peek();
  }

  /** Takes `count` bytes that `peek` showed off the queue. */
  consume(count: number): void {
    const { rcv } = this;
    if (count > rcv.ring.length) throw new RangeError(`consume ${count} of ${rcv.ring.length} bytes`);
    rcv.took(count);
    if (this.connected && !rcv.eof && rcv.updateDue) {
      rcv.ackNow = true;
      this.layer.touch(this);
    }
  }

  /** Ends this direction, that one, or both: behind what was written goes a FIN; what comes is not kept. */
  shutdown(how: "rd" | "wr" | "rdwr"): void {
    if (how !== "wr") this.#deafen();
    if (how !== "rd") this.#finish();
  }

  #deafen(): void {
    const { rcv } = this;
    rcv.deaf = true;
    rcv.took(rcv.ring.length);
    if (this.connected) rcv.ackNow = true;
    this.layer.touch(this);
  }

  #finish(): void {
    if (this.snd.finQueued || this.state === CLOSED) return;
    this.snd.finQueued = true;
    if (this.state === ESTABLISHED) this.state = FIN_WAIT_1;
    else if (this.state === CLOSE_WAIT) this.state = LAST_ACK;
    this.layer.touch(this);
  }

  /**
   * Lets go: what was written is still sent, and the connection ends by itself. When data waits that nobody will
   * read, the peer is told by a reset (RFC 1122, 4.2.2.13).
   */
  close(): void {
    if (this.orphan) return;
    this.orphan = true;
    this.onEvents = ignore;
    if (this.rcv.ring.length > 0 && this.connected) {
      this.layer.counters.AbortOnData++;
      return this.abort();
    }
    this.rcv.deaf = true;
    if (this.state === SYN_SENT && this.snd.ring.length === 0) return this.end();
    this.#finish();
    if (this.state === FIN_WAIT_2) this.waitForFin();
    if (this.state === CLOSED || this.state === TIME_WAIT) this.rcv.ring.release();
  }

  /** Ends at once: the peer gets a reset. */
  abort(error?: Err): void {
    if (this.state === CLOSED) return;
    if (this.state !== SYN_SENT && this.state !== TIME_WAIT) this.layer.reset(this);
    this.end(error);
  }

  /** Nagle's algorithm, which holds back small segments while others are outstanding, is on by default. */
  setNodelay(on: boolean): void {
    this.snd.nodelay = on;
    if (on) this.layer.touch(this);
  }

  /** Probes a silent peer; undefined: no more. */
  setKeepalive(keepalive: Keepalive | undefined): void {
    this.keepalive = keepalive;
    this.keepaliveProbes = 0;
    if (this.state !== ESTABLISHED && this.state !== CLOSE_WAIT) return;
    this.slowAt = keepalive === undefined ? Infinity : this.layer.now + keepalive.idleMs;
    this.arm();
  }

  /** Fixes what the send queue (or the receive queue) holds, which else follows the connection. */
  setBuffer(which: "send" | "receive", bytes: number): void {
    const queue = which === "send" ? this.snd : this.rcv;
    queue.limit = bytes;
    queue.tunes = false;
    this.layer.touch(this);
  }

  /** Changes the algorithm of congestion control in mid-flight. */
  setCongestion(name: CcName): void {
    const { snd, layer } = this;
    snd.cc = createCc(name, { mss: snd.mss, now: layer.now, rttMs: snd.rtt.srttMs, seed: layer.random() });
  }

  /** A timer was set. */
  arm(): void {
    this.layer.timers.update(this);
  }

  /** Tells its user. */
  tell(events: number): void {
    this.events |= events;
    this.layer.touch(this);
  }

  /** The handshake is done. */
  establish(): void {
    this.state = this.snd.finQueued ? FIN_WAIT_1 : ESTABLISHED;
    this.wasConnected = true;
    this.layer.counters.CurrEstab++;
    this.rcv.tuneAt = this.layer.now;
    if (this.keepalive) this.setKeepalive(this.keepalive);
    this.tell(EVENT.connected | EVENT.writable);
  }

  /** Nobody holds it, and the peer has to send its FIN within some time. */
  waitForFin(): void {
    this.slowAt = this.layer.now + this.layer.limits.finWait2Ms;
    this.arm();
  }

  /** It is over. What waits to be read stays. */
  end(error?: Err): void {
    if (this.state === CLOSED) return;
    if (this.state >= ESTABLISHED && this.state !== TIME_WAIT) this.layer.counters.CurrEstab--;
    this.state = CLOSED;
    this.error = error;
    this.#retire(false);
  }

  /** Both directions are closed, and the ports stay taken for a while. */
  enterTimeWait(): void {
    this.layer.counters.CurrEstab--;
    this.state = TIME_WAIT;
    this.#retire(true);
  }

  #retire(timeWait: boolean): void {
    const { snd, rcv, layer } = this;
    snd.board.clear();
    snd.ring.release();
    rcv.early.clear();
    if (this.orphan || rcv.ring.length === 0) rcv.ring.release();
    this.rtxAt =
      this.ackAt =
      this.paceAt =
      this.slowAt =
      rcv.overtaking.tellAt =
        Infinity;
    this.synDue = false;
    layer.timers.remove(this);
    layer.detach(this, timeWait);
    this.tell(EVENT.ended | EVENT.readable | EVENT.writable);
  }
}

function ignore(): void {}
