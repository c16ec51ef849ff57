/**
 * TCP of one stack: who is talking, who listens, and what is sent next.
 *
 * Layer: net/tcp, its front door; below it is IP (lower.ts), above it plugins/ip. It has no clock and no I/O: segments come
 * by `input`, leave in `poll` (answers to what is nobody's, in `input`), and `pollAt` says when the next poll has to be. Users
 * are told of events in `poll`, before anything is sent, so that what they answer leaves with the ACK.
 *
 * What holds always: whoever calls `input`, `connect`, or anything of a Conn, calls `poll` once behind it, once a batch.
 * Time may begin anywhere; inside it goes on over save and restore.
 *
 * See RFC 9293. What is not here: RFC 7413 (Fast Open), MD5 and AO options, path MTU probing upwards (the path's own MTU rises).
 */

import { Err } from "../../core/err.ts";
import { type Ip, isMulticast, isUnspecified, sameIp, UNSPECIFIED } from "../addr.ts";
import { get16, get32 } from "../wire/packet.ts";
import { ACK, RST } from "../wire/tcp.ts";
import { seqGe, seqLt } from "../wire/tcp_seq.ts";
import { createCc, DEFAULT_CC } from "./cc/algorithms.ts";
import { AckSample, type CcName, type CongestionControl } from "./cc/cc.ts";
import { CLOSED, Conn, ESTABLISHED, EVENT, SYN_RECEIVED, SYN_SENT, TIME_WAIT } from "./conn.ts";
import { Counters, LIMITS, type Limits } from "./counters.ts";
import { emitBare, tsNow } from "./emit.ts";
import { REFUSED } from "./errors.ts";
import { dial, Handshakes, mayReplace, refuse, sendSyn } from "./handshake.ts";
import { segmentArrives } from "./input.ts";
import type { Layer } from "./layer.ts";
import { HalfOpen, Listener, type ListenOptions } from "./listener.ts";
import type { Arrival, IpLower, NoPath, Transport, Trouble } from "./lower.ts";
import { FULL, MORE, output } from "./output.ts";
import { BufferPool } from "./ring.ts";
import { RecordPool } from "./scoreboard.ts";
import { type Ends, Secrets } from "./secrets.ts";
import { Segment } from "./segment.ts";
import { Table } from "./table.ts";
import { TimerQueue } from "./timer_queue.ts";
import { timersDue } from "./timers.ts";
import { TimeWait, TimeWaits } from "./time_wait.ts";

const NOBODY: readonly Listener[] = [];

/** What a stack's TCP is given. */
export interface TcpEnv {
  lower: IpLower;
  /** Fills an array with random bytes. */
  random(bytes: Uint8Array): void;
  limits?: Partial<Limits>;
  /** Algorithm of connections that ask for none. */
  congestion?: CcName;
  /** Whether connections that are dialed ask for ECN; those that are called always agree. False by default. */
  ecn?: boolean;
}

/** How a connection is dialed. */
export interface ConnectOptions {
  /** From this address of the host; by default the one that the route has. */
  local?: Ip;
  /** From this port; by default a free one. */
  localPort?: number;
  congestion?: CcName;
}

/** TCP. */
export class Tcp implements Layer, Transport {
  readonly lower: IpLower;
  readonly limits: Readonly<Limits>;
  readonly counters: Counters = new Counters();
  readonly pool: BufferPool;
  readonly records: RecordPool = new RecordPool();
  readonly timers: TimerQueue<Conn | HalfOpen> = new TimerQueue();
  readonly sample: AckSample = new AckSample();
  congestion: CcName;
  now: number;
  /** Of all connections, half-open ones, and those in TIME_WAIT. */
  readonly table: Table;
  readonly timeWaits: TimeWaits;
  readonly handshakes: Handshakes;
  readonly secrets: Secrets;
  readonly listeners = new Map<number, Listener[]>();
  readonly #env: TcpEnv;
  /** Added to the caller's time. */
  readonly #clock: number;
  readonly #segment = new Segment();
  readonly #word = new Uint8Array(4);
  readonly #dormant: Partial<Record<CcName, CongestionControl>> = {};
  /** Connections that are touched: the first `#touchedCount`. */
  readonly #touched: Conn[] = [];
  #touchedCount = 0;
  #called: Listener[] = [];
  readonly #starved = new Set<Conn>();
  /** The link was full: who is touched waits for it. */
  #full = false;

  /** `saved`: secret and time of a stack that this one goes on from (save.ts). */
  constructor(env: TcpEnv, now: number, saved?: { secret: Uint8Array; now: number }) {
    this.#env = env;
    this.lower = env.lower;
    this.limits = { ...LIMITS, ...env.limits };
    this.pool = new BufferPool(this.limits.poolBytes, this.limits.poolKeepBytes);
    this.congestion = env.congestion ?? DEFAULT_CC;
    this.#clock = saved === undefined ? 0 : saved.now - now;
    this.now = now + this.#clock;
    const secret = saved?.secret ?? new Uint8Array(32);
    if (saved === undefined) env.random(secret);
    this.secrets = new Secrets(secret);
    this.table = new Table(this.random());
    this.timeWaits = new TimeWaits(this, this.table);
    this.handshakes = new Handshakes(this, this.table, this.secrets);
  }

  dormantCc(name: CcName): CongestionControl {
    return this.#dormant[name] ??= createCc(name, { mss: 536, now: this.now, seed: 0 });
  }

  random(): number {
    this.#env.random(this.#word);
    return get32(this.#word, 0);
  }

  /** Dials. The answer is a connection in Syn_sent that tells when it is connected or has failed; or why there can be none. */
  connect(remote: Ip, remotePort: number, options: ConnectOptions, now: number): Conn | Err {
    this.now = now + this.#clock;
    if (remotePort < 1 || remotePort > 65_535) return new Err("EINVAL", `${remotePort} is no port`);
    if (isMulticast(remote) || isUnspecified(remote)) return new Err("ENETUNREACH");
    const path = this.lower.path(remote, options.local ?? UNSPECIFIED);
    if (typeof path === "string") return noPath(path);
    const ends = { local: path.local, localPort: 0, remote, remotePort };
    const localPort = options.localPort || this.#freePort(ends);
    if (localPort === undefined) return new Err("EADDRNOTAVAIL", "no free port");
    if (!this.#free(path.local, localPort, remote, remotePort)) return new Err("EADDRINUSE");
    const cc = options.congestion ?? this.congestion;
    const conn = new Conn(this, path, path.local, localPort, remote, remotePort, cc);
    conn.tsOffset = this.secrets.tsOffset(path.local, remote);
    conn.ecn = this.#env.ecn ?? false;
    this.table.add(conn);
    dial(conn, this.secrets.isn({ ...ends, localPort }, this.now));
    return conn;
  }

  #freePort(ends: Ends): number | undefined {
    const { firstPort, lastPort } = this.limits;
    for (const port of this.secrets.ports(ends, firstPort, lastPort, this.random())) {
      if (this.listeners.has(port)) continue;
      if (this.#free(ends.local, port, ends.remote, ends.remotePort)) return port;
    }
    return undefined;
  }

  #free(local: Ip, localPort: number, remote: Ip, remotePort: number): boolean {
    return this.table.find(local, localPort, remote, remotePort) === undefined;
  }

  /** Takes calls to a port: of one local address, or of all (UNSPECIFIED). */
  listen(local: Ip, port: number, options: ListenOptions = {}): Listener | Err {
    if (port < 1 || port > 65_535) return new Err("EINVAL", `${port} is no port`);
    const others = this.listeners.get(port) ?? [];
    const taken = others.some((other) =>
      other.any === isUnspecified(local) && (other.any || sameIp(other.local, local))
    );
    if (taken) return new Err("EADDRINUSE");
    const listener = new Listener(local.slice(), port, options, (it) => this.#unlisten(it));
    this.listeners.set(port, [...others, listener]);
    return listener;
  }

  #unlisten(listener: Listener): void {
    const others = (this.listeners.get(listener.port) ?? []).filter((other) => other !== listener);
    if (others.length > 0) this.listeners.set(listener.port, others);
    else this.listeners.delete(listener.port);
    if (listener.halfOpen === 0) return;
    for (const entry of this.table) {
      if (entry instanceof HalfOpen && entry.listener === listener) this.handshakes.drop(entry);
    }
  }

  #listenerOf(local: Ip, port: number): Listener | undefined {
    const all = this.listeners.get(port);
    let found: Listener | undefined;
    for (const it of all ?? NOBODY) {
      if (it.any) found ??= it;
      else if (sameIp(it.local, local)) return it;
    }
    return found;
  }

  input(bytes: Uint8Array, at: number, end: number, arrival: Arrival, now: number): boolean {
    this.now = now + this.#clock;
    const seg = this.#segment, { counters } = this;
    counters.InSegs++;
    const fault = seg.parse(bytes, at, end, arrival);
    if (fault !== undefined) {
      counters.InErrs++;
      if (fault === "field") counters.CsumErrs++;
      else if (fault === "short") counters.LenErrs++;
      else counters.HlenErrs++;
      return true;
    }
    const entry = this.table.find(arrival.dst, seg.dstPort, arrival.src, seg.srcPort);
    if (entry instanceof Conn) segmentArrives(entry, seg);
    else if (entry instanceof HalfOpen) this.#halfOpenArrives(entry, seg);
    else if (entry instanceof TimeWait) this.#timeWaitArrives(entry, seg, arrival);
    else this.#strangerArrives(seg, arrival);
    return true;
  }

  #halfOpenArrives(half: HalfOpen, seg: Segment): void {
    const conn = this.handshakes.halfOpenArrives(half, seg);
    if (conn !== undefined) segmentArrives(conn, seg);
  }

  #timeWaitArrives(it: TimeWait, seg: Segment, arrival: Arrival): void {
    const listener = this.#listenerOf(arrival.dst, seg.dstPort);
    const opens = seg.syn && !seg.hasAck && !seg.rst;
    if (!opens || listener === undefined || !mayReplace(seg, it.rcvNxt, it.timestamps, it.tsRecent)) {
      return this.timeWaits.arrives(it, seg);
    }
    this.timeWaits.remove(it);
    this.handshakes.arrives(listener, seg, arrival.dst, arrival.src, TimeWaits.leastIss(it));
  }

  #strangerArrives(seg: Segment, arrival: Arrival): void {
    if (isMulticast(arrival.dst) || isMulticast(arrival.src)) return;
    const listener = this.#listenerOf(arrival.dst, seg.dstPort);
    if (listener !== undefined) {
      const before = listener.queue.length;
      this.handshakes.arrives(listener, seg, arrival.dst, arrival.src);
      // From a cookie: the segment may have data.
      if (listener.queue.length > before) segmentArrives(listener.queue[before], seg);
    } else if (!seg.rst) {
      refuse(this, { local: arrival.dst, localPort: seg.dstPort, remote: arrival.src, remotePort: seg.srcPort }, seg);
    }
  }

  trouble(trouble: Trouble, now: number): boolean {
    this.now = now + this.#clock;
    const { bytes, at, end } = trouble;
    if (end - at < 8) return false;
    const entry = this.table.find(trouble.local, get16(bytes, at), trouble.remote, get16(bytes, at + 2));
    const seq = get32(bytes, at + 4);
    if (entry instanceof HalfOpen) return seq === entry.iss;
    if (!(entry instanceof Conn)) return false;
    const { snd } = entry;
    // Only what is in flight can be in trouble (RFC 5927, 4.1).
    if (!seqGe(seq, snd.una) || !seqLt(seq, snd.nxt)) return false;
    if (trouble.kind === "too big") this.touch(entry);
    else if (entry.state === SYN_SENT || entry.state === SYN_RECEIVED) this.#fail(entry, trouble.kind);
    // Of a connection that is there, errors are soft (RFC 5461): it may go on by another way.
    return true;
  }

  #fail(conn: Conn, kind: Trouble["kind"]): void {
    this.counters.AttemptFails++;
    if (kind === "port unreachable" || kind === "protocol unreachable") conn.end(REFUSED);
    else if (kind === "net unreachable") conn.end(new Err("ENETUNREACH"));
    else if (kind === "prohibited") conn.end(new Err("EACCES", "administratively prohibited"));
    else if (kind === "host unreachable") conn.end(new Err("EHOSTUNREACH"));
  }

  /** Does what is due, tells users what has happened, and sends what may be sent. */
  poll(now: number): void {
    this.now = now + this.#clock;
    this.#full = false;
    for (let it = this.timers.due(this.now); it !== undefined; it = this.timers.due(this.now)) {
      if (it instanceof Conn) timersDue(it);
      else this.handshakes.timeOut(it);
    }
    this.timeWaits.expire(this.now);
    if (this.#starved.size > 0 && this.pool.usedBytes < this.pool.maxBytes / 2) this.#feed();
    this.#tell();
    this.#send();
    this.timers.settle();
  }

  #feed(): void {
    for (const conn of this.#starved) conn.tell(EVENT.writable);
    this.#starved.clear();
  }

  #tell(): void {
    if (this.#called.length > 0) this.#tellCalled();
    // Users' calls may touch more connections.
    for (let i = 0; i < this.#touchedCount; i++) {
      const conn = this.#touched[i], { events } = conn;
      if (events === 0) continue;
      conn.events = 0;
      conn.onEvents(conn, events);
    }
  }

  #tellCalled(): void {
    const called = this.#called;
    this.#called = [];
    for (const listener of called) listener.onCall(listener);
  }

  #send(): void {
    const touched = this.#touched;
    let kept = 0;
    for (let i = 0; i < this.#touchedCount; i++) {
      const conn = touched[i];
      const result = this.#full ? FULL : this.#output(conn);
      if (result === FULL) this.#full = true;
      if (result === MORE || result === FULL || conn.events !== 0) touched[kept++] = conn;
      else conn.touched = false;
    }
    this.#touchedCount = kept;
    if (touched.length > 1024 && kept < 64) touched.length = 64;
  }

  #output(conn: Conn): number {
    if (conn.synDue) return sendSyn(conn) ? 0 : FULL;
    return conn.state >= ESTABLISHED && conn.state !== TIME_WAIT ? output(conn) : 0;
  }

  /** When `poll` is to be called next, at the latest; Infinity: when something comes. Call it after `poll`. */
  pollAt(): number {
    if (this.#called.length > 0) return this.now - this.#clock;
    if (this.#touchedCount > 0 && (!this.#full || this.#eventsWait())) return this.now - this.#clock;
    return Math.min(this.timers.nextAt, this.timeWaits.nextAt) - this.#clock;
  }

  #eventsWait(): boolean {
    for (let i = 0; i < this.#touchedCount; i++) if (this.#touched[i].events !== 0) return true;
    return false;
  }

  touch(conn: Conn): void {
    if (conn.touched) return;
    conn.touched = true;
    this.#touched[this.#touchedCount++] = conn;
  }

  starved(conn: Conn): void {
    this.#starved.add(conn);
  }

  called(listener: Listener): void {
    if (!this.#called.includes(listener)) this.#called.push(listener);
  }

  detach(conn: Conn, timeWait: boolean): void {
    if (this.#starved.size > 0) this.#starved.delete(conn);
    this.table.remove(conn);
    if (timeWait) this.timeWaits.add(TimeWait.of(conn));
  }

  reset(conn: Conn): void {
    this.counters.OutRsts++;
    emitBare(this, conn.path, {
      localPort: conn.localPort,
      remotePort: conn.remotePort,
      seq: conn.snd.nxt,
      ack: conn.rcv.nxt,
      flags: RST | ACK,
      window: 0,
      offer: {
        mss: 0,
        windowScale: -1,
        sack: false,
        timestamps: conn.timestamps,
        tsVal: tsNow(conn),
        tsEcr: conn.rcv.tsRecent,
      },
    });
  }

  /** All connections that are not closed, but those in TIME_WAIT. */
  *conns(): Generator<Conn> {
    for (const entry of this.table) if (entry instanceof Conn && entry.state !== CLOSED) yield entry;
  }
}

function noPath(why: NoPath): Err {
  if (why === "no source address") return new Err("EADDRNOTAVAIL");
  return why === "prohibited" ? new Err("EACCES") : new Err("ENETUNREACH");
}
