/**
 * One stack, and a peer that is a script: what the tests of single rules are written in.
 *
 * Layer: net/tcp, tests only. A segment is a line, in the manner of packetdrill and tcpdump:
 *
 *   FLAGS SEQ:END(BYTES) [ack N] [win N] [mss N] [ws N] [sackok] [ts VAL ECR] [sack L-R,L-R] [ce]
 *
 * Flags are S, F, R, P, E, W, U and `.` for ACK. Sequence numbers count from each side's first one. `send` is the peer's,
 * `expect` lists all that the stack has sent since; a line that is expected names what matters: flags, numbers, and
 * whichever of the rest it has.
 */

import assert from "node:assert/strict";
import { Err } from "../../core/err.ts";
import { UNSPECIFIED } from "../addr.ts";
import { set16 } from "../wire/packet.ts";
import { emitTcp, sealTcp } from "../wire/tcp.ts";
import { TcpOptions } from "../wire/tcp_options.ts";
import { seqAdd, seqDiff } from "../wire/tcp_seq.ts";
import type { Conn } from "./conn.ts";
import type { Listener } from "./listener.ts";
import { headerOf, Host, type HostOptions, type Packet, TestPath } from "./sim_fixture.ts";
import type { ConnectOptions } from "./tcp.ts";

const FLAGS = "FSRP.UEW";
export const PEER = "10.0.0.2";
const PEER_PORT = 5000, HOST_PORT = 80;

/** How a script begins. */
export interface ScriptOptions extends HostOptions {
  /** The peer's first sequence number, and the stack's (as near as its clock lets it be). */
  irs?: number;
  iss?: number;
  ts?: boolean;
  /** Round trip of the handshake of `establish`. */
  rttMs?: number;
}

/** A stack at 10.0.0.1, and its peer. */
export class Script {
  now = 1000;
  readonly host: Host;
  readonly peer: Host;
  /** Sent, and not yet expected. */
  readonly sent: Packet[] = [];
  iss: number | undefined;
  irs: number;
  hostPort = HOST_PORT;
  peerPort = PEER_PORT;

  constructor(readonly options: ScriptOptions = {}) {
    this.irs = options.irs ?? 0x12345678;
    const start = (now: number) => new Host("10.0.0.1", 1, options, (packet) => this.sent.push(packet), now);
    this.peer = new Host(PEER, 2, {}, () => {});
    if (options.iss !== undefined) {
      const probe = start(this.now).tcp.secrets.isn(this.#ends(), this.now);
      this.now += Math.ceil((seqDiff(options.iss, probe) >>> 0) / 250);
    }
    this.host = start(this.now);
  }

  #ends() {
    return {
      local: new Host("10.0.0.1", 1, {}, () => {}).addr,
      localPort: HOST_PORT,
      remote: this.peer.addr,
      remotePort: PEER_PORT,
    };
  }

  listen(): Listener {
    return ok(this.host.tcp.listen(UNSPECIFIED, HOST_PORT));
  }

  connect(options: ConnectOptions = { localPort: HOST_PORT }): Conn {
    const conn = ok(this.host.tcp.connect(this.peer.addr, this.peerPort, options, this.now));
    this.hostPort = conn.localPort;
    this.poll();
    return conn;
  }

  /** A connection that is established by a call of the peer; it has no timestamps unless asked for. */
  establish(syn = `S 0:0(0) win 65535 mss 1460 ws 7 sackok${this.options.ts ? " ts 1 0" : ""}`): Conn {
    const listener = this.listen();
    this.send(syn);
    this.iss = headerOf(this.sent[0]).seq;
    this.sent.length = 0;
    this.now += this.options.rttMs ?? 0;
    this.send(`. 1:1(0) ack 1 win 512${/ ts -?\d+ 0/.exec(syn)?.[0] ?? ""}`);
    listener.close = () => {};
    const conn = listener.accept();
    assert.ok(conn, "no call");
    this.expect();
    return conn;
  }

  poll(): void {
    this.host.tcp.poll(this.now);
  }

  /** Lets time go by, with every poll when it is due. */
  wait(ms: number): void {
    const end = this.now + ms;
    while (this.host.tcp.pollAt() <= end) {
      this.now = Math.max(this.now, this.host.tcp.pollAt());
      this.poll();
    }
    this.now = end;
    this.poll();
  }

  /** Segments of the peer, in one batch. */
  send(...lines: string[]): void {
    for (const line of lines) this.host.receive(this.#packet(line), this.now);
    this.poll();
  }

  #packet(line: string): Packet {
    const [flags, range, ...words] = line.split(" ");
    const [, seq, , count] = /^(-?\d+):(-?\d+)\((\d+)\)$/.exec(range) ?? assert.fail(`no range: ${line}`);
    const value = (name: string) => words.includes(name) ? words[words.indexOf(name) + 1] : undefined;
    const options = new TcpOptions();
    options.mss = Number(value("mss") ?? 0);
    options.windowScale = Number(value("ws") ?? -1);
    options.sackPermitted = words.includes("sackok");
    if (value("ts") !== undefined) {
      options.timestamps = true;
      options.tsVal = Number(value("ts"));
      options.tsEcr = Number(words[words.indexOf("ts") + 2]);
    }
    for (const block of value("sack")?.split(",") ?? []) {
      const [left, right] = block.split("-").map(Number);
      options.addSack(seqAdd(this.iss!, left), seqAdd(this.iss!, right));
    }
    const bytes = new Uint8Array(20 + options.bytes + Number(count));
    const at = emitTcp(bytes, 0, {
      srcPort: this.peerPort,
      dstPort: this.hostPort,
      seq: seqAdd(this.irs, Number(seq)),
      ack: value("ack") === undefined ? 0 : seqAdd(this.iss ?? 0, Number(value("ack"))),
      flags: [...flags].reduce((bits, flag) => bits | 1 << FLAGS.indexOf(flag), 0),
      window: Number(value("win") ?? 512),
      urgent: 1,
    }, options);
    for (let i = 0; i < Number(count); i++) bytes[at + i] = byteAt(Number(seq) + i);
    const path = new TestPath(this.peer.addr, this.host.addr, { mtu: 1500, gsoMaxBytes: 0 });
    set16(bytes, 16, 0);
    sealTcp(bytes, 0, bytes.length, path.pseudoSum(6, bytes.length));
    return { bytes, src: this.peer.addr, dst: this.host.addr, ecn: words.includes("ce") ? 3 : 0, gsoBytes: 0 };
  }

  /** A packet as a line, with all that a line may have. */
  format(packet: Packet): string {
    const view = headerOf(packet), options = new TcpOptions();
    options.parse(packet.bytes, view.optionsAt, view.payloadAt);
    if (view.flags & 2) this.iss = view.seq;
    const flags = [..."SFRP.UEW"].filter((flag) => view.flags & 1 << FLAGS.indexOf(flag)).join("");
    // A reset that answers nothing has the number that the peer has named.
    const seq = seqDiff(view.seq, this.iss ?? 0), count = view.payloadBytes;
    const parts = [`${flags} ${seq}:${seq + count}(${count})`];
    if (view.flags & 16) parts.push(`ack ${seqDiff(view.ack, this.irs)}`);
    parts.push(`win ${view.window}`);
    if (options.mss) parts.push(`mss ${options.mss}`);
    if (options.windowScale >= 0) parts.push(`ws ${options.windowScale}`);
    if (options.sackPermitted) parts.push("sackok");
    if (options.timestamps) parts.push(`ts ${options.tsVal} ${options.tsEcr}`);
    const blocks = Array.from(
      { length: options.sackCount },
      (_, i) => `${seqDiff(options.sackLeft[i], this.irs)}-${seqDiff(options.sackRight[i], this.irs)}`,
    );
    if (blocks.length > 0) parts.push(`sack ${blocks.join()}`);
    if (packet.ecn > 0) parts.push(`ecn ${packet.ecn}`);
    return parts.join(" ");
  }

  /** What was sent since is exactly this: each line's words in a segment's. */
  expect(...lines: string[]): void {
    const seen = this.sent.splice(0).map((packet) => this.format(packet));
    const matched = seen.map((line, i) => lines[i] !== undefined && isPart(lines[i], line) ? lines[i] : line);
    assert.deepEqual(matched, lines);
  }

  /** Lines of what was sent since. */
  taken(): string[] {
    return this.sent.splice(0).map((packet) => this.format(packet));
  }

  /** What a connection has to read, checked byte by byte against what the script sent from `from` on. */
  read(conn: Conn, from: number): number {
    const bytes = new Uint8Array(conn.available);
    conn.read(bytes);
    bytes.forEach((byte, i) => assert.equal(byte, byteAt(from + i), `byte ${from + i}`));
    this.poll();
    return bytes.length;
  }
}

function isPart(expected: string, seen: string): boolean {
  const words = seen.split(" "), [flags, range, ...rest] = expected.split(" ");
  if (words[0] !== flags || words[1] !== range) return false;
  for (let i = 0; i < rest.length; i++) {
    if (/^-?\d/.test(rest[i])) continue;
    const at = words.indexOf(rest[i]);
    if (at < 0) return false;
    for (let n = 1; i + n < rest.length && /^-?\d/.test(rest[i + n]); n++) {
      if (words[at + n] !== rest[i + n]) return false;
    }
  }
  return true;
}

/** The byte at a place of the peer's stream. */
function byteAt(place: number): number {
  return Math.imul(place, 0x9e3779b1) >>> 24;
}

export function ok<T>(value: T | Err): T {
  if (value instanceof Err) throw value;
  return value;
}
