/**
 * Saving a stack's TCP into one object, and going on from it: in the same isolate, another, or a newer version of this code.
 *
 * Layer: net/tcp, above tcp.ts. The object is plain: numbers, strings, booleans, arrays, and Uint8Arrays of their own that
 * can be transferred. It has what the peers can see (secret, sequence numbers, queues, what is outstanding) and what was
 * learned (RTT, congestion control). Time goes on where it was. Functions are not in it: users find their connections and
 * listeners again by `tag`, and set `onEvents` and `onCall` anew.
 *
 * What holds always: saving changes nothing. Between saving and restoring the old stack is not polled, or it sends what the
 * new one sends again. Fields that one version has and the other has not keep their first values.
 */

import { type Code, Err, ERRORS } from "../../core/err.ts";
import type { Ip } from "../addr.ts";
import { createCc, isCcName } from "./cc/algorithms.ts";
import type { CcName } from "./cc/cc.ts";
import { CLOSED, Conn, type Keepalive, TIME_WAIT } from "./conn.ts";
import { HalfOpen, type Listener, type SynSaid } from "./listener.ts";
import type { Path } from "./lower.ts";
import { SentRecord } from "./scoreboard.ts";
import { Packer, type Shapes } from "./shapes.ts";
import { Tcp, type TcpEnv } from "./tcp.ts";
import { TimeWait } from "./time_wait.ts";

/** Version of what is saved. Another one is refused. */
export const SAVED_VERSION = 1;

/** Both ends, as saved. */
interface SavedEnds {
  local: Ip;
  localPort: number;
  remote: Ip;
  remotePort: number;
}

/** A connection. */
export interface SavedConn extends SavedEnds {
  tag: number;
  fields: Float64Array;
  error: { code: Code; text: string } | undefined;
  keepalive: Keepalive | undefined;
  snd: Float64Array;
  /** Recovery, RTT, delivery rate and pacer. */
  learned: Float64Array[];
  /** Name of the algorithm, and its state. */
  congestion: CcName;
  cc: Float64Array;
  /** Twelve numbers for each record that is outstanding. */
  records: Float64Array;
  /** The send queue, from `una` on. */
  sendQueue: Uint8Array;
  rcv: Float64Array;
  /** The receive queue, with gaps: the first `recvCount` bytes are the reader's. */
  recvQueue: Uint8Array;
  recvCount: number;
  early: { left: Int32Array; right: Int32Array };
}

/** A listener. */
export interface SavedListener {
  tag: number;
  local: Ip;
  port: number;
  backlog: number;
  congestion: CcName | undefined;
  /** Calls that wait: where they are among the connections. */
  queue: number[];
}

interface SavedHalfOpen extends SavedEnds {
  listener: number;
  iss: number;
  irs: number;
  said: SynSaid;
  fields: Float64Array;
}

interface SavedTimeWait extends SavedEnds {
  /** Whose it is, among the connections; below 0: nobody's. */
  conn: number;
  fields: Float64Array;
}

/** A stack's TCP. */
export interface SavedTcp {
  version: number;
  now: number;
  secret: Uint8Array;
  cookieAt: number;
  congestion: CcName;
  /** What the numbers of each kind are. */
  shapes: Shapes;
  counters: Float64Array;
  conns: SavedConn[];
  listeners: SavedListener[];
  halfOpen: SavedHalfOpen[];
  timeWaits: SavedTimeWait[];
}

/** Parts of a sender that are numbers through and through. */
const LEARNED = ["recovery", "rtt", "sampler", "pacer"] as const;

/** What a stack keeps of its own about an entry: made anew. */
const OWN = new Set(["hash", "linked", "queuedAt", "queueIndex", "touched"]);

/**
 * Saves a stack. `held`: connections that have ended or wait in TIME_WAIT, and whose users still hold them: the stack does not
 * know them any more.
 */
export function saveTcp(tcp: Tcp, held: Iterable<Conn> = []): SavedTcp {
  const conns = new Map<Conn, number>(), halfOpen: HalfOpen[] = [];
  for (const entry of tcp.table) {
    if (entry instanceof Conn) conns.set(entry, conns.size);
    else if (entry instanceof HalfOpen) halfOpen.push(entry);
  }
  const listeners = [...tcp.listeners.values()].flat(), packer = new Packer({}, OWN);
  for (const conn of [...held, ...listeners.flatMap(({ queue }) => queue)]) {
    if (!conns.has(conn)) conns.set(conn, conns.size);
  }
  return {
    version: SAVED_VERSION,
    now: tcp.now,
    secret: tcp.secrets.secret.slice(),
    cookieAt: tcp.handshakes.cookieAt,
    congestion: tcp.congestion,
    shapes: packer.shapes,
    counters: packer.pack("counters", tcp.counters),
    conns: Array.from(conns.keys(), (conn) => saveConn(conn, packer)),
    listeners: listeners.map((listener) => saveListener(listener, conns)),
    halfOpen: halfOpen.map((half) => ({
      ...endsOf(half),
      listener: listeners.indexOf(half.listener),
      iss: half.iss,
      irs: half.irs,
      said: half.said,
      fields: packer.pack("half-open", half),
    })),
    timeWaits: Array.from(tcp.timeWaits, (it) => ({
      ...endsOf(it),
      conn: it.conn === undefined ? -1 : conns.get(it.conn) ?? -1,
      fields: packer.pack("time-wait", it),
    })),
  };
}

function endsOf({ local, localPort, remote, remotePort }: SavedEnds): SavedEnds {
  return { local, localPort, remote, remotePort };
}

function saveListener(
  { tag, local, port, backlog, congestion, queue }: Listener,
  conns: Map<Conn, number>,
): SavedListener {
  return { tag, local: local.slice(), port, backlog, congestion, queue: queue.map((conn) => conns.get(conn)!) };
}

function saveConn(conn: Conn, packer: Packer): SavedConn {
  const { snd, rcv } = conn, { early } = rcv;
  return {
    ...endsOf(conn),
    tag: conn.tag,
    fields: packer.pack("conn", conn),
    error: conn.error && { code: conn.error.code, text: conn.error.message },
    keepalive: conn.keepalive && { ...conn.keepalive },
    snd: packer.pack("sender", snd),
    learned: LEARNED.map((name) => packer.pack(name, snd[name], true)),
    congestion: snd.cc.name,
    cc: packer.pack(snd.cc.name, snd.cc, true),
    records: saveRecords(snd.board),
    sendQueue: snd.ring.copy(snd.ring.length),
    rcv: packer.pack("receiver", rcv),
    recvQueue: rcv.ring.copy(rcv.ring.length + (early.count === 0 ? 0 : early.right[early.count - 1] - rcv.nxt | 0)),
    recvCount: rcv.ring.length,
    early: { left: early.left.slice(0, early.count), right: early.right.slice(0, early.count) },
  };
}

const RECORD_NUMBERS = 12;

function saveRecords(records: Iterable<SentRecord> & { count: number }): Float64Array {
  const packed = new Float64Array(records.count * RECORD_NUMBERS);
  let at = 0;
  for (const it of records) {
    packed.set([it.seq, it.end, it.mss, it.base, it.fin ? 1 : 0, it.state, it.resends, it.sentMs], at);
    packed.set([it.delivered, it.deliveredMs, it.firstSentMs, it.appLimited ? 1 : 0], at + 8);
    at += RECORD_NUMBERS;
  }
  return packed;
}

function restoreRecords(packed: Float64Array): SentRecord[] {
  return Array.from({ length: packed.length / RECORD_NUMBERS }, (_, i) => {
    const it = new SentRecord(), at = i * RECORD_NUMBERS;
    [it.seq, it.end, it.mss, it.base] = packed.subarray(at, at + 4);
    [it.state, it.resends, it.sentMs, it.delivered, it.deliveredMs, it.firstSentMs] = packed.subarray(at + 5, at + 11);
    it.fin = packed[at + 4] === 1;
    it.appLimited = packed[at + 11] === 1;
    return it;
  });
}

/** What was restored: connections and listeners in the order in which they were saved. */
export interface Restored {
  tcp: Tcp;
  conns: Conn[];
  listeners: Listener[];
}

/**
 * A stack that goes on from a saved one, at `now` on whatever clock it has. Poll it afterwards.
 *
 * @throws Err EINVAL for another version.
 */
export function restoreTcp(saved: SavedTcp, env: TcpEnv, now: number): Restored {
  if (saved.version !== SAVED_VERSION) {
    throw new Err("EINVAL", `tcp: state of version ${saved.version}, this is version ${SAVED_VERSION}`);
  }
  const tcp = new Tcp({ ...env, congestion: saved.congestion }, now, { secret: saved.secret.slice(), now: saved.now });
  const packer = new Packer(saved.shapes, OWN);
  packer.unpack("counters", tcp.counters, saved.counters);
  tcp.handshakes.cookieAt = saved.cookieAt;
  const conns = saved.conns.map((it) => restoreConn(tcp, it, packer));
  const listeners = saved.listeners.map((it) => restoreListener(tcp, it, conns));
  for (const it of saved.halfOpen) restoreHalfOpen(tcp, it, listeners, packer);
  for (const it of saved.timeWaits) restoreTimeWait(tcp, it, conns, packer);
  return { tcp, conns, listeners };
}

function restoreConn(tcp: Tcp, saved: SavedConn, packer: Packer): Conn {
  const found = tcp.lower.path(saved.remote, saved.local);
  const path = typeof found === "string" ? nowhere(saved) : found;
  const conn = new Conn(
    tcp,
    path,
    saved.local,
    saved.localPort,
    saved.remote,
    saved.remotePort,
    isCcName(saved.congestion) ? saved.congestion : tcp.congestion,
  );
  packer.unpack("conn", conn, saved.fields);
  conn.tag = saved.tag;
  conn.keepalive = saved.keepalive;
  if (saved.error) {
    conn.error = new Err(Object.hasOwn(ERRORS, saved.error.code) ? saved.error.code : "EIO", saved.error.text);
  }
  restoreSender(conn, saved, packer);
  restoreReceiver(conn, saved, packer);
  // Those that ended or are in TIME_WAIT are their users' only.
  const { events } = conn;
  if (conn.state !== CLOSED && conn.state !== TIME_WAIT) {
    tcp.table.add(conn);
    if (conn.snd.full) tcp.starved(conn);
    tcp.touch(conn);
    conn.arm();
    if (typeof found === "string") conn.end(new Err("ENETUNREACH"));
  } else if (events !== 0) tcp.touch(conn);
  return conn;
}

/** What a connection has that has lost its route. */
function nowhere({ local, remote }: SavedConn): Path {
  return {
    local,
    remote,
    v6: false,
    mtu: 1280,
    headerBytes: 40,
    gsoMaxBytes: 0,
    checksumOffload: false,
    loopback: false,
    pseudoSum: () => 0,
  };
}

function restoreSender(conn: Conn, saved: SavedConn, packer: Packer): void {
  const { snd, layer } = conn;
  packer.unpack("sender", snd, saved.snd);
  LEARNED.forEach((name, i) => packer.unpack(name, snd[name], saved.learned[i]));
  snd.cc = createCc(snd.cc.name, { mss: snd.mss, now: layer.now, seed: layer.random() });
  // Of an algorithm that is unknown here the connection begins with a fresh one.
  if (snd.cc.name === saved.congestion) packer.unpack(saved.congestion, snd.cc, saved.cc);
  snd.board.restore(restoreRecords(saved.records));
  if (!snd.ring.append(saved.sendQueue, 0, saved.sendQueue.length)) throw new Err("ENOMEM", "tcp: send queue");
}

function restoreReceiver(conn: Conn, saved: SavedConn, packer: Packer): void {
  const { rcv } = conn, { recvQueue, recvCount, early } = saved;
  packer.unpack("receiver", rcv, saved.rcv);
  if (!rcv.ring.reserve(recvQueue.length)) throw new Err("ENOMEM", "tcp: receive queue");
  rcv.ring.put(0, recvQueue, 0, recvQueue.length);
  rcv.ring.length = recvCount;
  for (let i = 0; i < early.left.length; i++) rcv.early.add(early.left[i], early.right[i], conn.layer.now);
}

function restoreListener(tcp: Tcp, saved: SavedListener, conns: Conn[]): Listener {
  const { local, port, backlog, congestion, queue, tag } = saved;
  const listener = tcp.listen(local, port, { backlog, congestion });
  if (listener instanceof Err) throw listener;
  listener.tag = tag;
  for (const i of queue) listener.queue.push(conns[i]);
  if (queue.length > 0) tcp.called(listener);
  return listener;
}

function restoreHalfOpen(tcp: Tcp, saved: SavedHalfOpen, listeners: Listener[], packer: Packer): void {
  const path = tcp.lower.path(saved.remote, saved.local), listener = listeners[saved.listener];
  if (typeof path === "string" || listener === undefined) return;
  const half = new HalfOpen(listener, path, saved.iss, saved.irs, saved.said, saved);
  packer.unpack("half-open", half, saved.fields);
  listener.halfOpen++;
  tcp.table.add(half);
  tcp.timers.update(half);
}

function restoreTimeWait(tcp: Tcp, saved: SavedTimeWait, conns: Conn[], packer: Packer): void {
  const path = tcp.lower.path(saved.remote, saved.local);
  if (typeof path === "string") return;
  const it = new TimeWait(path, saved.local, saved.localPort, saved.remote, saved.remotePort);
  packer.unpack("time-wait", it, saved.fields);
  it.conn = conns[saved.conn];
  tcp.timeWaits.adopt(it);
}
