/**
 * A thousand connections in mid-transfer, saved and restored: what the tests of save.ts run, here and in another isolate.
 *
 * Layer: net/tcp, tests only. As a worker it takes both stacks and how far each transfer is, goes on, and answers how it
 * ended.
 */

import assert from "node:assert/strict";
import { UNSPECIFIED } from "../addr.ts";
import type { Conn } from "./conn.ts";
import type { Listener } from "./listener.ts";
import { restoreTcp, type SavedTcp, saveTcp } from "./save.ts";
import { ok } from "./script_fixture.ts";
import { type Host, pattern, type WireOptions, World } from "./sim_fixture.ts";

const WIRE: WireOptions = { rate: 125_000, delayMs: 1, queueBytes: 4_000_000, loss: 5, reorder: 5, duplicate: 5 };

/** Both stacks and the transfers, as they are handed over. */
export interface HandedOver {
  a: SavedTcp;
  b: SavedTcp;
  progress: number[][];
  total: number;
}

/** Connections from a to b that carry `total` bytes each way. */
export class Transfers {
  world = new World(11, WIRE);
  /** Of each connection: sent and got by a, sent and got by b. */
  progress: number[][] = [];
  /** How far writers go for now. */
  limit = Infinity;
  /** Bytes that have arrived, of all. */
  got = 0;
  #a: Conn[] = [];
  #b: Conn[] = [];
  #listener: Listener | undefined;
  readonly #data: Uint8Array<ArrayBuffer>;
  readonly #buf = new Uint8Array(65_536);
  readonly #byPort = new Map<number, number>();

  constructor(readonly total: number) {
    this.#data = pattern(total + 1000, 3);
  }

  open(count: number): void {
    const { world } = this, listener = ok(world.b.tcp.listen(UNSPECIFIED, 80));
    this.#listen(listener);
    for (let i = 0; i < count; i++) {
      const conn = ok(world.a.tcp.connect(world.b.addr, 80, {}, world.now));
      conn.tag = i;
      this.#byPort.set(conn.localPort, i);
      this.#a.push(conn);
      conn.onEvents = () => this.#move(conn, 0);
      this.progress.push([0, 0, 0, 0]);
    }
  }

  #listen(listener: Listener): void {
    this.#listener = listener;
    listener.onCall = () => {
      for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) this.#accepted(conn);
    };
  }

  #accepted(conn: Conn): void {
    conn.tag = this.#byPort.get(conn.remotePort)!;
    conn.onEvents = () => this.#move(conn, 2);
    this.#b.push(conn);
    this.#move(conn, 2);
  }

  /** Each connection's bytes begin at another place of the pattern, so that none is another's. */
  #move(conn: Conn, side: 0 | 2): void {
    const progress = this.progress[conn.tag], start = (conn.tag * 7 + side * 111) % 1000;
    const end = Math.min(this.limit, this.total);
    if (conn.connected && progress[side] < end) {
      progress[side] += conn.write(this.#data, start + progress[side], start + end);
    }
    const from = (conn.tag * 7 + (2 - side) * 111) % 1000 + progress[side + 1], count = conn.read(this.#buf);
    if (count === 0) return;
    const bytes = this.#buf.subarray(0, count), expected = this.#data.subarray(from, from + count);
    assert.ok(
      equal(bytes, expected),
      `connection ${conn.tag}: bytes ${progress[side + 1]} to ${progress[side + 1] + count}`,
    );
    progress[side + 1] += count;
    this.got += count;
  }

  get done(): boolean {
    return this.got === this.total * this.progress.length * 2;
  }

  /** Connections that are neither at the beginning nor at the end. */
  get between(): number {
    return this.progress.filter(([sent, got, , gotToo]) =>
      sent > 0 && got + gotToo > 0 && got + gotToo < 2 * this.total
    ).length;
  }

  /** Brings all to the middle, with data under way in many. */
  halfWay(): void {
    this.limit = this.total / 2;
    const half = this.total * this.progress.length;
    assert.ok(this.world.run(60_000, () => this.got === half), "not half way");
    this.limit = Infinity;
    for (const conn of this.#a) this.#move(conn, 0);
    for (const conn of this.#b) this.#move(conn, 2);
    assert.ok(this.world.run(60_000, () => this.got > half * 1.2));
  }

  save(): HandedOver {
    const { a, b } = this.world;
    return { a: saveTcp(a.tcp), b: saveTcp(b.tcp), progress: this.progress, total: this.total };
  }

  /** Goes on from what was handed over, on a clock that has another time; what was under way is lost. */
  static restore(from: HandedOver): Transfers {
    const it = new Transfers(from.total), { world } = it;
    it.progress = from.progress;
    it.got = from.progress.reduce((sum, [, got, , gotToo]) => sum + got + gotToo, 0);
    const restore = (host: Host, saved: SavedTcp, side: 0 | 2) => {
      const { tcp, conns, listeners } = restoreTcp(saved, host.env, world.now);
      host.tcp = tcp;
      if (listeners.length > 0) it.#listen(listeners[0]);
      for (const conn of conns.filter(({ tag }) => tag >= 0)) {
        conn.onEvents = () => it.#move(conn, side);
        it.#move(conn, side);
      }
      return conns;
    };
    it.#a = restore(world.a, from.a, 0);
    for (const { localPort, tag } of it.#a) it.#byPort.set(localPort, tag);
    it.#b = restore(world.b, from.b, 2).filter(({ tag }) => tag >= 0);
    return it;
  }

  /** Runs to the end, and closes; both stacks are empty then. */
  finish(): void {
    const { world } = this;
    assert.ok(world.run(600_000, () => this.done), "not done");
    for (const conn of [...this.#a, ...this.#b]) conn.close();
    this.#a = [];
    this.#b = [];
    this.#listener?.close();
    assert.ok(world.run(600_000, () => world.a.tcp.table.count + world.b.tcp.table.count === 0), "not closed");
    assert.equal(world.a.tcp.pool.usedBytes + world.b.tcp.pool.usedBytes, 0);
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** What a worker's global has, and a page's has not. */
const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<HandedOver>) => void;
  postMessage(text: string): void;
  DedicatedWorkerGlobalScope?: unknown;
};

if (worker.DedicatedWorkerGlobalScope !== undefined) {
  worker.onmessage = ({ data }) => {
    try {
      const transfers = Transfers.restore(data);
      transfers.finish();
      worker.postMessage("done");
    } catch (error) {
      worker.postMessage(String(error));
    }
  };
}
