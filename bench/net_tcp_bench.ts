/**
 * What TCP costs by itself: two stacks back to back in one process, no device, no IP, no checksums (as with offload).
 *
 * Layer: bench. Each figure is of both stacks together, on one core: a stream in segments of 1,460 bytes and in
 * super-segments of 64 KiB, requests and responses of 64 bytes on one connection, connections that carry one request, and
 * saving and restoring a stack of 1,000 connections. Time is the real clock's, read once a batch.
 *
 * Run: deno task bench net_tcp [--json] [--seconds 1] [--only NAME]
 */

import { Err } from "../core/err.ts";
import { type Ip, parseIp, UNSPECIFIED } from "../net/addr.ts";
import { type Conn, EVENT } from "../net/tcp/conn.ts";
import type { Listener } from "../net/tcp/listener.ts";
import type { Arrival, IpLower, Path, SendOptions } from "../net/tcp/lower.ts";
import { restoreTcp, saveTcp } from "../net/tcp/save.ts";
import { Tcp, type TcpEnv } from "../net/tcp/tcp.ts";
import { onOff, partOf, readFlags, seconds } from "./flags.ts";

/** Slots that segments are written to, where the other stack reads them: a cable. */
class Cable implements IpLower {
  readonly buf: Uint8Array;
  at = 0;
  peer!: Tcp;
  readonly #slotBytes: number;
  readonly #slots: number;
  readonly #lengths: Int32Array;
  readonly #gso: Int32Array;
  #head = 0;
  #tail = 0;
  readonly #path: Path;
  readonly #arrival: Arrival;

  constructor(local: Ip, remote: Ip, gsoMaxBytes: number) {
    this.#slotBytes = gsoMaxBytes === 0 ? 2048 : 65_536;
    this.#slots = gsoMaxBytes === 0 ? 512 : 64;
    this.buf = new Uint8Array(this.#slotBytes * this.#slots);
    this.#lengths = new Int32Array(this.#slots);
    this.#gso = new Int32Array(this.#slots);
    this.#path = {
      local,
      remote,
      v6: false,
      mtu: 1500,
      headerBytes: 20,
      gsoMaxBytes,
      checksumOffload: true,
      loopback: false,
      pseudoSum: () => 0,
    };
    this.#arrival = {
      src: local,
      dst: remote,
      link: "cable",
      ecn: 0,
      ttl: 64,
      checksumGood: true,
      gsoBytes: 0,
      pseudoSum: 0,
    };
  }

  path(): Path {
    return this.#path;
  }

  pathOnce(): Path {
    return this.#path;
  }

  begin(_path: Path, _proto: number, _bytes: number): boolean {
    if (this.#tail - this.#head === this.#slots) return false;
    this.at = this.#tail % this.#slots * this.#slotBytes;
    return true;
  }

  end(bytes: number, _checksumOffset: number, options: SendOptions): void {
    const slot = this.#tail++ % this.#slots;
    this.#lengths[slot] = bytes;
    this.#gso[slot] = options.gsoBytes;
  }

  /** Hands over all that is queued; answers whether there was anything. */
  deliver(now: number): boolean {
    const any = this.#head < this.#tail;
    for (; this.#head < this.#tail; this.#head++) {
      const slot = this.#head % this.#slots, at = slot * this.#slotBytes;
      this.#arrival.gsoBytes = this.#gso[slot];
      this.peer.input(this.buf, at, at + this.#lengths[slot], this.#arrival, now);
    }
    return any;
  }
}

/** Two stacks and the cables between them. */
class Pair {
  readonly a: Tcp;
  readonly b: Tcp;
  readonly ab: Cable;
  readonly ba: Cable;
  readonly envB: TcpEnv;
  readonly server = parseIp("10.0.0.2")!;

  constructor(gsoMaxBytes: number) {
    const client = parseIp("10.0.0.1")!;
    this.ab = new Cable(client, this.server, gsoMaxBytes);
    this.ba = new Cable(this.server, client, gsoMaxBytes);
    const random = (bytes: Uint8Array) => void crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
    const now = performance.now();
    this.a = new Tcp({ lower: this.ab, random, limits: { timeWaits: 1024 } }, now);
    this.envB = { lower: this.ba, random, limits: { timeWaits: 1024 } };
    this.b = new Tcp(this.envB, now);
    this.ab.peer = this.b;
    this.ba.peer = this.a;
  }

  /** One batch each way. */
  step(): void {
    const now = performance.now();
    this.a.poll(now);
    this.ab.deliver(now);
    this.b.poll(now);
    this.ba.deliver(now);
  }

  connect(): Conn {
    return must(this.a.connect(this.server, 7, {}, performance.now()));
  }

  listen(onConn: (conn: Conn) => void): Listener {
    const listener = must(this.b.listen(UNSPECIFIED, 7));
    listener.onCall = () => {
      for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) onConn(conn);
    };
    return listener;
  }
}

function must<T>(value: T | Err): T {
  if (value instanceof Err) throw value;
  return value;
}

/** Gbit/s of one stream. */
function stream(gsoMaxBytes: number): number {
  const pair = new Pair(gsoMaxBytes), data = new Uint8Array(256 << 10), sink = new Uint8Array(256 << 10);
  let got = 0;
  pair.listen((conn) => {
    conn.onEvents = () => {
      for (let n = conn.read(sink); n > 0; n = conn.read(sink)) got += n;
    };
  });
  const conn = pair.connect();
  const fill = () => {
    while (conn.room > 0 && conn.write(data) > 0);
  };
  const run = (ms: number) => {
    const start = performance.now(), before = got;
    while (performance.now() - start < ms) {
      fill();
      for (let i = 0; i < 8; i++) pair.step();
    }
    return (got - before) * 8 / (performance.now() - start) / 1e6;
  };
  run(ms / 2);
  return run(ms);
}

/** Requests of 64 bytes, answered with 64, one after the other: a second. */
function requests(): number {
  const pair = new Pair(0), buf = new Uint8Array(64), reply = new Uint8Array(64);
  let count = 0;
  pair.listen((conn) => {
    conn.onEvents = () => {
      if (conn.available === 64) {
        conn.read(reply);
        conn.write(reply);
      }
    };
  });
  const conn = pair.connect();
  conn.onEvents = (_, events) => {
    if (conn.available === 64) {
      conn.read(buf);
      count++;
      conn.write(buf);
    } else if (events & EVENT.connected) conn.write(buf);
  };
  const run = (ms: number) => {
    const start = performance.now(), before = count;
    while (performance.now() - start < ms) for (let i = 0; i < 64; i++) pair.step();
    return (count - before) / (performance.now() - start) * 1000;
  };
  run(ms / 2);
  return run(ms);
}

/** Connections that carry a request and a response and are closed: a second. */
function connections(): number {
  const pair = new Pair(0), buf = new Uint8Array(64), reply = new Uint8Array(64);
  let count = 0;
  pair.listen((conn) => {
    conn.onEvents = () => {
      if (conn.available > 0) {
        conn.read(reply);
        conn.write(reply);
        conn.close();
      }
    };
  });
  const open = () => {
    const conn = pair.connect();
    conn.onEvents = (_, events) => {
      if (events & EVENT.connected) conn.write(buf);
      if (conn.available === 0) return;
      conn.read(buf);
      conn.close();
      count++;
      open();
    };
  };
  open();
  const run = (ms: number) => {
    const start = performance.now(), before = count;
    while (performance.now() - start < ms) for (let i = 0; i < 64; i++) pair.step();
    return (count - before) / (performance.now() - start) * 1000;
  };
  run(ms / 2);
  return run(ms);
}

/** Milliseconds to save, clone and restore a stack of 1,000 connections that have 4 KiB each waiting both ways; best of five. */
function handOver(): { save: number; restore: number } {
  const pair = new Pair(0), conns: Conn[] = [];
  pair.listen((conn) => conns.push(conn));
  const clients = Array.from({ length: 100 }, () => pair.connect());
  const all = [...clients];
  while (conns.length < 1000) {
    pair.step();
    if (all.length < 1000 && conns.length >= all.length - 50) {
      for (let i = 0; i < 100; i++) all.push(pair.connect());
    }
  }
  for (const conn of [...all, ...conns]) conn.write(new Uint8Array(4096));
  for (let i = 0; i < 100; i++) pair.step();
  let save = Infinity, restore = Infinity;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    const saved = saveTcp(pair.b);
    const middle = performance.now();
    restoreTcp(saved, pair.envB, middle);
    save = Math.min(save, middle - start);
    restore = Math.min(restore, performance.now() - middle);
  }
  return { save, restore };
}

/** Bytes of heap that an idle connection takes, both ends together halved. */
function idle(): number {
  const pair = new Pair(0), conns: Conn[] = [];
  const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
  pair.listen((conn) => conns.push(conn));
  for (let i = 0; i < 100; i++) pair.step();
  collect();
  const before = Deno.memoryUsage();
  const count = 5000;
  while (conns.length < count) {
    for (let i = 0; i < 50; i++) conns.push(pair.connect());
    for (let i = 0; i < 8; i++) pair.step();
  }
  collect();
  const after = Deno.memoryUsage();
  return (after.heapUsed + after.external - before.heapUsed - before.external) / conns.length;
}

const cases: [string, () => number][] = [
  ["an idle connection, bytes (needs --v8-flags=--expose-gc)", () => "gc" in globalThis ? idle() : NaN],
  ["stream, segments of 1,460 B, Gbit/s", () => stream(0)],
  ["stream, super-segments of 64 KiB, Gbit/s", () => stream(65_535)],
  ["request and response of 64 B, a second", requests],
  ["connect, request, response, close, a second", connections],
  ["save 1,000 connections, ms", () => handOver().save],
  ["restore 1,000 connections, ms", () => handOver().restore],
];
const values = readFlags("net_tcp", {
  json: onOff(),
  seconds: seconds(1),
  only: partOf(() => cases.map(([name]) => name)),
});
const ms = values.seconds * 1000;
const results: Record<string, number> = {};
for (const [name, fn] of cases) {
  if (!name.includes(values.only ?? "")) continue;
  const value = Math.round(fn() * 100) / 100;
  if (Number.isNaN(value)) continue;
  results[name] = value;
  if (!values.json) console.log(`${name.padEnd(64)} ${results[name].toLocaleString("en")}`);
}
if (values.json) console.log(JSON.stringify(results));
