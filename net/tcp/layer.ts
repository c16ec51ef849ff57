/**
 * What the parts of TCP have in common: the stack that they are of, as its connections see it.
 *
 * Layer: net/tcp, types only. tcp.ts is the one who implements it.
 */

import type { AckSample, CcName, CongestionControl } from "./cc/cc.ts";
import type { Conn } from "./conn.ts";
import type { Counters, Limits } from "./counters.ts";
import type { Listener } from "./listener.ts";
import type { IpLower } from "./lower.ts";
import type { BufferPool } from "./ring.ts";
import type { RecordPool } from "./scoreboard.ts";
import type { TimerQueue } from "./timer_queue.ts";

/** A stack's TCP, to its parts. */
export interface Layer {
  readonly lower: IpLower;
  readonly limits: Readonly<Limits>;
  readonly counters: Counters;
  readonly pool: BufferPool;
  readonly records: RecordPool;
  readonly timers: TimerQueue;
  /** The sample of the ACK in hand. */
  readonly sample: AckSample;
  /** Algorithm of new connections. */
  readonly congestion: CcName;
  /** Time of the batch in hand: milliseconds, the stack's own (it goes on through save and restore). */
  readonly now: number;

  /** The connection has something to send or to tell: it is looked at in the next poll. */
  touch(conn: Conn): void;
  /** A writer found no memory: it is told when there is some. */
  starved(conn: Conn): void;
  /** It is out of the table. `timeWait`: its addresses and ports stay taken for a while. */
  detach(conn: Conn, timeWait: boolean): void;
  /** Sends the peer of a synchronized connection a reset. */
  reset(conn: Conn): void;
  /** A listener has a call: it is told in the next poll. */
  called(listener: Listener): void;
  /** The algorithm of connections whose handshake is not done: it does nothing. */
  dormantCc(name: CcName): CongestionControl;
  /** A random int32. */
  random(): number;
}
