/**
 * TIME_WAIT: what stays of a connection for a minute, so that late segments meet somebody who knows.
 *
 * Layer: net/tcp. All wait equally long, so they end in the order in which they came: a queue, no heap. Their number is
 * bounded; the oldest goes first. A reset does not end it (RFC 1337).
 *
 * See RFC 9293, 3.10.7.4 and 3.6.1; RFC 6191.
 */

import type { Ip } from "../addr.ts";
import { ACK } from "../wire/tcp.ts";
import { type Seq, seqAdd, seqLt } from "../wire/tcp_seq.ts";
import { CLOSED, type Conn } from "./conn.ts";
import { emitBare } from "./emit.ts";
import type { Layer } from "./layer.ts";
import type { Path } from "./lower.ts";
import type { Segment } from "./segment.ts";
import { Entry, type Table } from "./table.ts";

/** What is kept of a connection. */
export class TimeWait extends Entry {
  readonly kind = "time-wait";
  sndNxt: Seq = 0;
  rcvNxt: Seq = 0;
  /** The window field as it was sent last. */
  window = 0;
  timestamps = false;
  tsRecent = 0;
  tsOffset = 0;
  expiresAt = 0.5;
  answeredAt = -1e9;
  /** Whose state shows it, when somebody still holds it. */
  conn: Conn | undefined = undefined;

  constructor(readonly path: Path, local: Ip, localPort: number, remote: Ip, remotePort: number) {
    super(local, localPort, remote, remotePort);
  }

  static of(conn: Conn): TimeWait {
    const { snd, rcv } = conn;
    const it = new TimeWait(conn.path, conn.local, conn.localPort, conn.remote, conn.remotePort);
    it.sndNxt = snd.nxt;
    it.rcvNxt = rcv.nxt;
    it.window = Math.min(rcv.window >>> rcv.scale, 0xffff);
    it.timestamps = conn.timestamps;
    it.tsRecent = rcv.tsRecent;
    it.tsOffset = conn.tsOffset;
    it.conn = conn.orphan ? undefined : conn;
    return it;
  }
}

/** Those of a stack. */
export class TimeWaits {
  readonly #layer: Layer;
  readonly #table: Table;
  /** The oldest is at `#head`; one that was put off, or left the table, is found out when its turn comes. */
  #queue: (TimeWait | undefined)[] = [];
  #head = 0;
  count = 0;

  constructor(layer: Layer, table: Table) {
    this.#layer = layer;
    this.#table = table;
  }

  /** When the next may end; Infinity when there is none. */
  get nextAt(): number {
    return this.#queue[this.#head]?.expiresAt ?? Infinity;
  }

  add(it: TimeWait): void {
    const { limits, counters, now } = this.#layer;
    if (this.count >= limits.timeWaits) {
      counters.TimeWaitRecycled++;
      this.#shift();
    }
    counters.TimeWaits++;
    it.expiresAt = now + limits.timeWaitMs;
    this.adopt(it);
  }

  /** Adds one that is to end at its `expiresAt`, not before those that are there. */
  adopt(it: TimeWait): void {
    this.count++;
    this.#table.add(it);
    this.#queue.push(it);
  }

  /** Ends those whose time has come. */
  expire(now: number): void {
    while (this.#head < this.#queue.length && this.#queue[this.#head]!.expiresAt <= now) this.#shift();
  }

  #shift(): void {
    const it = this.#queue[this.#head]!;
    this.#queue[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    if (it.linked) this.remove(it);
  }

  /** Ends one before its time. */
  remove(it: TimeWait): void {
    this.#table.remove(it);
    this.count--;
    if (it.conn) it.conn.state = CLOSED;
  }

  /** A segment that is no SYN of a new connection: late data and FINs are acknowledged (again). */
  arrives(it: TimeWait, seg: Segment): void {
    const layer = this.#layer, { now } = layer;
    if (seg.rst) return;
    const old = it.timestamps && seg.options.timestamps && seqLt(seg.options.tsVal, it.tsRecent);
    if (!old && it.timestamps && seg.options.timestamps) it.tsRecent = seg.options.tsVal;
    // What has neither data nor FIN and is in order asks for nothing.
    if (seg.seqCount === 0 && seg.seq === it.rcvNxt && !old) return;
    if (seg.seqCount === 0 && now - it.answeredAt < 500) return;
    it.answeredAt = now;
    emitBare(layer, it.path, {
      localPort: it.localPort,
      remotePort: it.remotePort,
      seq: it.sndNxt,
      ack: it.rcvNxt,
      flags: ACK,
      window: it.window,
      offer: {
        mss: 0,
        windowScale: -1,
        sack: false,
        timestamps: it.timestamps,
        tsVal: now + it.tsOffset | 0,
        tsEcr: it.tsRecent,
      },
    });
  }

  /** Where the next connection's sequence numbers begin at the earliest. */
  static leastIss(it: TimeWait): Seq {
    return seqAdd(it.sndNxt, 65_537);
  }

  /** Those that wait, the oldest first. */
  *[Symbol.iterator](): Generator<TimeWait> {
    for (let i = this.#head; i < this.#queue.length; i++) {
      const it = this.#queue[i];
      if (it?.linked) yield it;
    }
  }
}
