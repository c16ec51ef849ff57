/**
 * What happens when a connection's time has come.
 *
 * Layer: net/tcp, above recovery.ts and output.ts. A connection has four timers: retransmission (with what `rtxKind` says),
 * delayed ACK, pacing, and keepalive or FIN_WAIT_2; `dueAt` is the first of them.
 */

import { reorderTimeOut } from "./ack.ts";
import { CLOSE_WAIT, type Conn, ESTABLISHED, FIN_WAIT_2 } from "./conn.ts";
import { TIMED_OUT } from "./errors.ts";
import { synTimeOut } from "./handshake.ts";
import { probePeer, probeWindow } from "./output.ts";
import { probeTail, timeOut } from "./recovery.ts";
import { PERSIST, PROBE, REORDER } from "./sender.ts";

/** For how long a peer with a closed window may say nothing at all. */
const SILENT_MS = 300_000;

/** Does what is due. */
export function timersDue(conn: Conn): void {
  const { layer } = conn, { now } = layer;
  if (conn.ackAt <= now) {
    conn.ackAt = Infinity;
    if (conn.rcv.ackDue) {
      layer.counters.DelayedACKs++;
      conn.rcv.ackNow = true;
    }
    layer.touch(conn);
  }
  if (conn.rcv.overtaking.tellAt <= now && conn.rcv.overtaking.isDue(now, conn.rcv.early)) {
    conn.rcv.ackNow = true;
    layer.touch(conn);
  }
  if (conn.paceAt <= now) {
    conn.snd.pacer.came(now - conn.paceAt);
    conn.paceAt = Infinity;
    layer.touch(conn);
  }
  if (conn.rtxAt <= now) {
    conn.rtxAt = Infinity;
    retransmissionDue(conn);
  }
  if (conn.slowAt <= now) {
    conn.slowAt = Infinity;
    slowDue(conn);
  }
  conn.arm();
}

function retransmissionDue(conn: Conn): void {
  if (conn.state < ESTABLISHED) return synTimeOut(conn);
  switch (conn.rtxKind) {
    case PROBE:
      return probeTail(conn);
    case REORDER:
      return reorderTimeOut(conn);
    case PERSIST:
      if (conn.layer.now - conn.heardAt > SILENT_MS) {
        conn.layer.counters.AbortOnTimeout++;
        return conn.end(TIMED_OUT);
      }
      return probeWindow(conn);
    default:
      return timeOut(conn);
  }
}

/** Keepalive (RFC 9293, 3.8.4), or the end of waiting for a FIN. */
function slowDue(conn: Conn): void {
  const { layer, keepalive } = conn;
  if (conn.orphan && conn.state === FIN_WAIT_2) return conn.end();
  if (keepalive === undefined || conn.state !== ESTABLISHED && conn.state !== CLOSE_WAIT) return;
  const silent = layer.now - conn.heardAt;
  if (silent < keepalive.idleMs) {
    conn.keepaliveProbes = 0;
    conn.slowAt = conn.heardAt + keepalive.idleMs;
  } else if (conn.keepaliveProbes >= keepalive.probes) {
    layer.counters.AbortOnTimeout++;
    conn.abort(TIMED_OUT);
  } else {
    // Data that is outstanding asks the same question.
    if (conn.snd.board.count === 0) probePeer(conn);
    conn.keepaliveProbes++;
    conn.slowAt = layer.now + keepalive.intervalMs;
  }
}
