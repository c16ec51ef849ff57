/**
 * The scoreboard: what was sent and not yet acknowledged, segment by segment or super-segment by super-segment.
 *
 * Layer: net/tcp, a leaf. A record is in one of three states, and each byte of it counts once:
 * - in flight: in the list by the time it was sent, oldest first, as RACK walks it; `inFlight` is RFC 6675's pipe
 * - lost: in the list of what is to be sent again, by sequence number
 * - sacked: in neither
 * All are in one array, by sequence number, so that a SACK block is found by halving. Records are cut where a block cuts
 * them, but only between segments as they were sent: a peer that acknowledges odd bytes makes no more of them.
 *
 * Records come from a pool of the stack: nothing is allocated for a segment.
 */

import { type Seq, seqDiff, seqLe, seqLt, seqMax, seqMin } from "../wire/tcp_seq.ts";
import type { SendRecord } from "./cc/cc.ts";

/** States of a record. */
export const IN_FLIGHT = 0, LOST = 1, SACKED = 2;

/** Places for records that a connection keeps when few are in use. */
const KEPT_RECORDS = 64;

/** One transmission. */
export class SentRecord implements SendRecord {
  seq: Seq = 0;
  /** The first number behind it; a FIN takes one. */
  end: Seq = 0;
  /** Payload bytes a segment when it was sent, and where the first of these segments began: cuts are made between them. */
  mss = 0;
  base: Seq = 0;
  fin = false;
  state = IN_FLIGHT;
  /** How often it was sent again. */
  resends = 0;
  sentMs = 0.5;
  delivered = 0;
  deliveredMs = 0.5;
  firstSentMs = 0.5;
  appLimited = false;
  /** Neighbours in the list that its state puts it in. */
  before: SentRecord | undefined = undefined;
  after: SentRecord | undefined = undefined;

  get bytes(): number {
    return this.end - this.seq | 0;
  }
}

/** Records that nobody uses. */
export class RecordPool {
  readonly #free: SentRecord[] = [];

  get(): SentRecord {
    return this.#free.pop() ?? new SentRecord();
  }

  put(record: SentRecord): void {
    record.before = record.after = undefined;
    if (this.#free.length < 65_536) this.#free.push(record);
  }
}

/** Who is told what an acknowledgement delivered. */
export interface Deliveries {
  /** `bytes` of the record were acknowledged for the first time. Its state is still the old one. */
  delivered(record: SentRecord, bytes: number): void;
}

/** A list through records; a record is in one at the most. */
class List {
  first: SentRecord | undefined = undefined;
  last: SentRecord | undefined = undefined;

  /** Puts a record behind `at`; in front of all when that is undefined. */
  insert(record: SentRecord, at: SentRecord | undefined): void {
    const after = at === undefined ? this.first : at.after;
    record.before = at;
    record.after = after;
    if (at === undefined) this.first = record;
    else at.after = record;
    if (after === undefined) this.last = record;
    else after.before = record;
  }

  remove(record: SentRecord): void {
    const { before, after } = record;
    if (before === undefined) this.first = after;
    else before.after = after;
    if (after === undefined) this.last = before;
    else after.before = before;
    record.before = record.after = undefined;
  }
}

/** What one connection has outstanding. */
export class Scoreboard {
  /** Bytes in each state. */
  inFlight = 0;
  lostBytes = 0;
  sackedBytes = 0;
  readonly #pool: RecordPool;
  /** By sequence number, from `#head` to before `#end`: an array that is emptied would lose its memory each time. */
  readonly #records: SentRecord[] = [];
  #head = 0;
  #end = 0;
  readonly #byTime = new List();
  readonly #lost = new List();

  constructor(pool: RecordPool) {
    this.#pool = pool;
  }

  get count(): number {
    return this.#end - this.#head;
  }

  /** What has the lowest sequence number. */
  get first(): SentRecord | undefined {
    return this.count === 0 ? undefined : this.#records[this.#head];
  }

  /** What has the highest. */
  get last(): SentRecord | undefined {
    return this.count === 0 ? undefined : this.#records[this.#end - 1];
  }

  /** Of those in flight, what was sent first; the next are behind it by `after`. */
  get oldest(): SentRecord | undefined {
    return this.#byTime.first;
  }

  /** What is to be sent again first. */
  get firstLost(): SentRecord | undefined {
    return this.#lost.first;
  }

  /** The records by sequence number. */
  *[Symbol.iterator](): Generator<SentRecord> {
    for (let i = this.#head; i < this.#end; i++) yield this.#records[i];
  }

  /** Something new is sent, behind all that was before. */
  add(seq: Seq, end: Seq, mss: number, fin: boolean): SentRecord {
    const record = this.#pool.get();
    record.seq = record.base = seq;
    record.end = end;
    record.mss = mss;
    record.fin = fin;
    record.state = IN_FLIGHT;
    record.resends = 0;
    this.#records[this.#end++] = record;
    this.#byTime.insert(record, this.#byTime.last);
    this.inFlight += record.bytes;
    return record;
  }

  /** A record is sent again, whatever was thought of it. */
  resent(record: SentRecord): void {
    this.#leave(record);
    record.resends++;
    record.state = IN_FLIGHT;
    this.inFlight += record.bytes;
    this.#byTime.insert(record, this.#byTime.last);
  }

  /** Something in flight is thought lost. */
  markLost(record: SentRecord): void {
    this.#leave(record);
    record.state = LOST;
    this.lostBytes += record.bytes;
    let at = this.#lost.last;
    while (at !== undefined && seqLt(record.seq, at.seq)) at = at.before;
    this.#lost.insert(record, at);
  }

  /** Everything that was not selectively acknowledged is thought lost; with `sacked`, that too: the peer has thrown it away. */
  markAllLost(sacked: boolean): void {
    for (let i = this.#head; i < this.#end; i++) {
      const record = this.#records[i];
      if (record.state === IN_FLIGHT || sacked && record.state === SACKED) this.markLost(record);
    }
  }

  /** What was thought lost and was not sent again is thought to be in flight again. */
  unmarkLost(): void {
    for (let record = this.#lost.first; record !== undefined; record = this.#lost.first) {
      this.#leave(record);
      record.state = IN_FLIGHT;
      this.inFlight += record.bytes;
      this.#byTime.insert(record, this.#placeByTime(record));
    }
  }

  #placeByTime(record: SentRecord): SentRecord | undefined {
    let at = this.#byTime.last;
    while (at !== undefined && at.sentMs > record.sentMs) at = at.before;
    return at;
  }

  /** Everything before `ack` has arrived. */
  ackTo(ack: Seq, to: Deliveries): void {
    while (this.#head < this.#end) {
      const record = this.#records[this.#head];
      const acked = Math.min(seqDiff(ack, record.seq), record.bytes);
      if (acked <= 0) break;
      if (record.state !== SACKED) to.delivered(record, acked);
      this.#count(record.state, -acked);
      if (acked < record.bytes) {
        record.seq = ack;
        break;
      }
      this.#unlist(record);
      this.#pool.put(record);
      this.#head++;
    }
    if (this.#head === this.#end || this.#head > 64 && this.#head * 2 > this.#end) {
      this.#compact();
    }
  }

  #compact(): void {
    const records = this.#records, { count } = this;
    for (let i = 0; i < count; i++) records[i] = records[i + this.#head];
    this.#head = 0;
    this.#end = count;
    if (records.length > KEPT_RECORDS && count < KEPT_RECORDS / 2) records.length = KEPT_RECORDS;
  }

  /** The peer has [left, right). */
  sack(left: Seq, right: Seq, to: Deliveries): void {
    for (let i = this.#find(left); i < this.#end; i++) {
      const record = this.#records[i];
      if (seqLe(right, record.seq)) break;
      if (record.state === SACKED) continue;
      const from = up(record, seqMax(left, record.seq)), upTo = down(record, seqMin(right, record.end));
      if (seqLe(upTo, from)) continue;
      if (from !== record.seq) {
        this.#cut(i, from);
        continue;
      }
      if (upTo !== record.end) this.#cut(i, upTo);
      to.delivered(record, record.bytes);
      this.#leave(record);
      record.state = SACKED;
      this.sackedBytes += record.bytes;
    }
  }

  /** Cuts a record at `seq`, a place between its segments or any other; answers the part in front. */
  cut(record: SentRecord, seq: Seq): SentRecord {
    this.#cut(this.#find(record.seq), seq);
    return record;
  }

  /** The first that ends behind `seq`. */
  #find(seq: Seq): number {
    let low = this.#head, high = this.#end;
    while (low < high) {
      const middle = low + high >>> 1;
      if (seqLe(this.#records[middle].end, seq)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #cut(index: number, seq: Seq): void {
    const front = this.#records[index], back = this.#pool.get();
    back.seq = seq;
    back.end = front.end;
    back.mss = front.mss;
    back.base = front.base;
    back.fin = front.fin;
    back.state = front.state;
    back.resends = front.resends;
    back.sentMs = front.sentMs;
    back.delivered = front.delivered;
    back.deliveredMs = front.deliveredMs;
    back.firstSentMs = front.firstSentMs;
    back.appLimited = front.appLimited;
    front.end = seq;
    front.fin = false;
    this.#listOf(front)?.insert(back, front);
    const records = this.#records;
    for (let i = this.#end++; i > index + 1; i--) records[i] = records[i - 1];
    records[index + 1] = back;
  }

  #listOf(record: SentRecord): List | undefined {
    return record.state === IN_FLIGHT ? this.#byTime : record.state === LOST ? this.#lost : undefined;
  }

  /** Takes a record out of the list and the count of its state. */
  #leave(record: SentRecord): void {
    this.#count(record.state, -record.bytes);
    this.#unlist(record);
  }

  #unlist(record: SentRecord): void {
    this.#listOf(record)?.remove(record);
  }

  #count(state: number, bytes: number): void {
    if (state === IN_FLIGHT) this.inFlight += bytes;
    else if (state === LOST) this.lostBytes += bytes;
    else this.sackedBytes += bytes;
  }

  /** Forgets everything. */
  clear(): void {
    for (let i = this.#head; i < this.#end; i++) this.#pool.put(this.#records[i]);
    // The length of an array is set by a call of the runtime, dearer than all else here.
    if (this.#records.length > KEPT_RECORDS) this.#records.length = 0;
    this.#head = this.#end = 0;
    this.inFlight = this.lostBytes = this.sackedBytes = 0;
    this.#byTime.first =
      this.#byTime.last =
      this.#lost.first =
      this.#lost.last =
        undefined;
  }

  /** Records as they were saved, by sequence number. */
  restore(records: readonly SentRecord[]): void {
    for (const record of records) {
      this.#records[this.#end++] = record;
      this.#count(record.state, record.bytes);
      if (record.state === LOST) this.#lost.insert(record, this.#lost.last);
      if (record.state === IN_FLIGHT) this.#byTime.insert(record, this.#placeByTime(record));
    }
  }
}

/** The first place between segments at or behind `seq`. */
function up(record: SentRecord, seq: Seq): Seq {
  if (seq === record.seq) return seq;
  const rest = seqDiff(seq, record.base) % record.mss;
  return rest === 0 ? seq : seqMin(seq + record.mss - rest | 0, record.end);
}

/** The last place between segments at or before `seq`; the very end is one. */
function down(record: SentRecord, seq: Seq): Seq {
  if (seq === record.end) return seq;
  return seqMax(seq - seqDiff(seq, record.base) % record.mss | 0, record.seq);
}
