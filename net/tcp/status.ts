/**
 * Connections as text: what `/net/tcp/N/status` says.
 *
 * Layer: net/tcp, above conn.ts. One line: Plan 9's fields first, by their names and in their order, then those of this
 * stack as pairs of name and value. Times are milliseconds.
 *
 * See ip(3) of Plan 9.
 */

import { type Conn, STATE_NAMES } from "./conn.ts";
import type { Counters } from "./counters.ts";
import { LOSS, OPEN } from "./sender.ts";

/** The line of one connection, with its newline. */
export function statusOf(conn: Conn): string {
  const { snd, rcv, layer } = conn, ms = (value: number) => Math.round(value * 1000) / 1000;
  const left = (at: number) => at === Infinity ? 0 : Math.max(Math.round(at - layer.now), 0);
  const ready = conn.readiness;
  const plan9 = [
    `qin ${rcv.ring.length} qout ${snd.ring.length} srtt ${ms(snd.rtt.srttMs)} mdev ${ms(snd.rtt.varMs)}`,
    `cwin ${Math.round(snd.cc.cwnd)} swin ${snd.wnd}>>${snd.scale} rwin ${rcv.window}>>${rcv.scale}`,
    `timer.start ${Math.round(snd.rtt.rtoMs)} timer.count ${left(conn.rtxAt)} rerecv ${rcv.early.bytes}`,
    `katimer.start ${conn.keepalive?.idleMs ?? 0} katimer.count ${conn.keepalive ? left(conn.slowAt) : 0}`,
  ];
  const phase = snd.recovery.phase === OPEN ? "open" : snd.recovery.phase === LOSS ? "loss" : "recovery";
  const own = [
    `cc ${snd.cc.name} ssthresh ${Math.round(snd.cc.ssthresh)} pacing ${Math.round(snd.cc.pacingRate)}`,
    `rto ${Math.round(snd.rtt.rtoMs)} minrtt ${ms(snd.rtt.minMs)} mss ${snd.mss} phase ${phase}`,
    `inflight ${snd.inFlight} lost ${snd.board.lostBytes} sacked ${snd.board.sackedBytes}`,
    `delivered ${snd.sampler.deliveredBytes} retrans ${snd.resentSegs} timeouts ${snd.recovery.timeouts}`,
    `sndbuf ${snd.limit} rcvbuf ${rcv.limit} sack ${+conn.sack} ts ${+conn.timestamps} ecn ${+conn.ecn}`,
    `ready ${ready.readable ? "r" : "-"}${ready.writable ? "w" : "-"}${ready.hangup ? "h" : "-"}${
      ready.error ? "e" : "-"
    }`,
  ];
  return `${STATE_NAMES[conn.state]} ${[...plan9, ...own].join(" ")}\n`;
}

/** What `/net/tcp/stats` says: a line a counter. */
export function statsOf(counters: Counters): string {
  return Object.entries(counters).map(([name, value]) => `${name}: ${value}\n`).join("");
}
