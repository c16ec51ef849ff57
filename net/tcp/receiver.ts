/**
 * The receiving half of a connection: taking data in, in order or not, and the window that is offered.
 *
 * Layer: net/tcp. input.ts has checked that a segment is acceptable before it is given to `accept`. Data goes into the ring
 * at its place, also behind a gap; the ring's bytes up to `nxt` are the reader's. The window's right edge never goes back.
 *
 * See RFC 9293, 3.8.6 (windows, silly window avoidance) and 3.10.7.4; RFC 2018 and 2883 (SACK, D-SACK); RFC 7323.
 */

import { type Seq, seqAdd, seqDiff, seqGt, seqLe, seqLt, seqMax, seqMin } from "../wire/tcp_seq.ts";
import type { Layer } from "./layer.ts";
import { Overtaking } from "./overtaking.ts";
import { Ranges } from "./ranges.ts";
import { ByteRing } from "./ring.ts";
import type { Segment } from "./segment.ts";

/** ACKs that a connection sends without delay at its beginning, so that the peer's slow start is not held up. */
const QUICK_ACKS = 16;

/** State of the receiving half. */
export class Receiver {
  irs: Seq = 0;
  nxt: Seq = 0;
  /** Right edge of the window that was offered; the last acknowledgement that was sent. */
  adv: Seq = 0;
  acked: Seq = 0;
  /** By how much windows that we send are shifted. */
  scale = 0;
  /** What the queue holds. */
  limit: number;
  /** Whether `limit` follows the reader. */
  tunes = true;
  /** Largest payload that a segment had: what the peer's full segment is. */
  mss = 536;
  /** Where the peer's data ends, once its FIN was seen; whether all before it has come. */
  finSeq: Seq = 0;
  finSeen = false;
  eof = false;
  /** Nobody reads any more: data is acknowledged and thrown away. */
  deaf = false;
  /** An ACK is to be sent: at once, or within the delay. */
  ackNow = false;
  ackDue = false;
  quickAcks = QUICK_ACKS;
  /** The other direction answers quickly: its data carries ACKs. */
  interactive = false;
  /** Duplicate ACKs to be sent for a peer without SACK, one a segment. */
  dupAcks = 0;
  /** A duplicate to be reported: [left, right). */
  dsackLeft: Seq = 0;
  dsackRight: Seq = 0;
  dsack = false;
  /** The peer's last timestamp, and when it came. */
  tsRecent = 0;
  tsRecentAt = 0.5;
  /** The oldest timestamp that is taken; what it will be once `nxt` is at `tsPoint`. */
  tsFloor = 0;
  tsNext = 0;
  tsPoint: Seq = 0;
  /** Congestion was seen and is echoed until the peer says that it has heard. */
  echo = false;
  /** Auto-tuning: bytes that the reader took since `tuneAt`; round trip as the receiver sees it. */
  copied = 0;
  tuneAt = 0.5;
  rttMs = 0.5;
  readonly ring: ByteRing;
  readonly early = new Ranges();
  readonly overtaking = new Overtaking();

  constructor(layer: Layer) {
    this.limit = layer.limits.recvBytes;
    this.ring = new ByteRing(layer.pool);
  }

  /** Bytes from `nxt` on that the peer may send, by what we told it. */
  get window(): number {
    return Math.max(seqDiff(this.adv, this.nxt), 0);
  }

  /** The field to be sent: the right edge moves as far as there is room, if that is worth telling. */
  offer(): number {
    const room = this.limit - this.ring.length, old = this.window, unit = 1 << this.scale;
    let bytes = Math.max(room, 0);
    // What is offered already is not taken back by rounding, unless that would go on for ever.
    if (room - old < Math.min(this.mss, this.limit >>> 1)) bytes = old + unit - 1 < room + unit ? old + unit - 1 : old;
    const field = Math.min(bytes >>> this.scale, 0xffff);
    this.adv = seqMax(this.adv, seqAdd(this.nxt, field << this.scale));
    return field;
  }

  /** Whether the window has opened by so much that the peer is to know at once. */
  get updateDue(): boolean {
    const old = this.window, gain = this.limit - this.ring.length - old;
    return gain >=
      (old < 2 * this.mss ? Math.min(this.mss, this.limit >>> 1) : Math.max(this.limit >>> 2, 2 * this.mss));
  }

  /**
   * Keeps the timestamp of a segment that is next (RFC 7323, 4.3). What is sent again to fill a gap may overtake the
   * originals behind it, which are older and no less wanted: in presence of gaps they are taken until all has come that was
   * in the window then. Nothing from before the sequence numbers wrapped is in there.
   */
  keepTimestamp(tsVal: number, now: number): void {
    this.tsRecent = tsVal;
    this.tsRecentAt = now;
    if (seqLt(this.nxt, this.tsPoint)) return;
    this.tsFloor = this.early.count === 0 ? tsVal : this.tsNext;
    this.tsNext = tsVal;
    this.tsPoint = this.early.count === 0 ? this.nxt : this.adv;
  }

  /** Notes a duplicate, to be told with the next ACK; the first of several is kept. */
  duplicate(left: Seq, right: Seq): void {
    this.ackNow = true;
    if (this.dsack) return;
    this.dsack = true;
    this.dsackLeft = left;
    this.dsackRight = right;
  }

  /**
   * Takes an acceptable segment's data and FIN. Answers whether something new can be read, or the end was reached; false
   * also when there is no memory for it: it will come again. `echoMs`: how old our timestamp is that it echoes; below 0 when
   * that is not known.
   */
  accept(seg: Segment, layer: Layer, echoMs: number): boolean {
    const bytes = seg.end - seg.payloadAt;
    let { seq, payloadAt: at } = seg;
    let end = seqAdd(seq, bytes);
    const segMss = seg.gsoBytes === 0 ? bytes : seg.gsoBytes;
    if (segMss > this.mss) this.mss = Math.min(segMss, 65_535);
    if (seg.fin && !this.finSeen && !seqLt(end, this.nxt) && seqLe(end, this.adv)) {
      this.finSeen = true;
      this.finSeq = end;
    }
    if (this.finSeen && seqGt(end, this.finSeq)) end = this.finSeq;
    if (bytes > 0 && seqLt(seq, this.nxt)) {
      this.duplicate(seq, seqMin(end, this.nxt));
      at += seqDiff(this.nxt, seq);
      seq = this.nxt;
    }
    // A FIN, and what there is no room for (a probe of a closed window), are answered at once.
    if (seg.fin || bytes > 0 && seqGt(end, this.adv)) this.ackNow = true;
    end = seqMin(end, this.adv);
    const count = seqDiff(end, seq);
    if (bytes > 0 && count <= 0) this.ackNow = true;
    if (count > 0) {
      if (seq !== this.nxt) return this.#early(seg, seq, at, count, layer);
      if (!this.#inOrder(seg.bytes, at, count, layer, echoMs)) return false;
    }
    return this.#reachEnd() || count > 0;
  }

  #inOrder(bytes: Uint8Array, at: number, count: number, layer: Layer, echoMs: number): boolean {
    if (this.deaf) {
      this.nxt = seqAdd(this.nxt, count);
      this.early.advance(this.nxt);
      return true;
    }
    if (!this.ring.append(bytes, at, at + count)) {
      layer.counters.RcvPruned++;
      return false;
    }
    this.nxt = seqAdd(this.nxt, count);
    if (this.early.count > 0) this.#fill(layer.now, echoMs);
    this.ackDue = true;
    return true;
  }

  /** Some of a gap is filled, or all of it: then what is behind it is the reader's. */
  #fill(now: number, echoMs: number): void {
    const { early, overtaking, nxt } = this, since = early.since[0];
    // What fills a gap is acknowledged at once (RFC 5681, 4.2), if the peer knows of it.
    if (since <= overtaking.toldTo) this.ackNow = true;
    this.nxt = early.advance(nxt);
    if (this.nxt === nxt) return;
    this.ring.length += seqDiff(this.nxt, nxt);
    // What was sent before we knew of the gap is the original.
    if (echoMs >= 0) overtaking.filled(now, now - since, echoMs > now - since + 1, this.rttMs);
  }

  #early(seg: Segment, seq: Seq, at: number, count: number, layer: Layer): boolean {
    layer.counters.OutOfOrder++;
    const end = seqAdd(seq, count);
    if (!this.deaf) {
      if (this.early.has(seq, end)) this.duplicate(seq, end);
      else if (this.#keep(seg, seq, at, count, layer)) return false;
    }
    this.ackNow = true;
    this.dupAcks++;
    return false;
  }

  /** Puts data behind a gap to its place; whether the peer may be told later. */
  #keep(seg: Segment, seq: Seq, at: number, count: number, layer: Layer): boolean {
    const offset = this.ring.length + seqDiff(seq, this.nxt);
    const since = this.ring.reserve(offset + count) ? this.early.add(seq, seqAdd(seq, count), layer.now) : undefined;
    if (since === undefined) {
      layer.counters.RcvPruned++;
      return false;
    }
    this.ring.put(offset, seg.bytes, at, at + count);
    return this.overtaking.waits(since);
  }

  /** Whether the FIN's turn has come just now. */
  #reachEnd(): boolean {
    if (!this.finSeen || this.eof || this.nxt !== this.finSeq) return false;
    this.eof = true;
    // A peer that sends data behind its own FIN is not to be believed.
    this.early.clear();
    this.nxt = seqAdd(this.nxt, 1);
    this.adv = seqMax(this.adv, this.nxt);
    this.ackNow = true;
    return true;
  }

  /** The reader has taken `bytes`. The memory goes back when nothing is left, in front of a gap or behind. */
  took(bytes: number): void {
    this.ring.drop(bytes);
    this.copied += bytes;
    if (this.ring.length === 0 && this.early.count === 0) this.ring.release();
  }

  /**
   * Once a round trip: a reader that took more than half of what the queue holds could have taken more (dynamic
   * right-sizing): the queue grows ahead of the sender's window, which doubles at the most. What waits behind a gap it
   * would have taken too; that counts for no more than has come in order, so that gaps alone make no queue grow.
   */
  tune(now: number, rttMs: number, layer: Layer): void {
    if (now - this.tuneAt < rttMs) return;
    const inOrder = seqDiff(this.nxt, this.irs) >>> 0;
    const wanted = this.copied + (this.early.count > 0 ? Math.min(this.early.bytes, inOrder) : 0);
    if (this.tunes && wanted * 2 > this.limit) {
      this.limit = Math.min(Math.max(this.limit, wanted * 4), layer.limits.recvMaxBytes);
    }
    this.copied = 0;
    this.tuneAt = now;
  }
}
