/**
 * A stack on TAPs, with Linux's own stack at their other ends: what tests against foreign programs run on.
 *
 * Layer: tests; net, devices and a timer, without plugins. Needs root, inside of a network namespace (netns.ts).
 */

import assert from "node:assert/strict";
import { hostClock } from "../core/host/clock.ts";
import type { Port } from "../core/link.ts";
import { Impair, parseImpairment } from "../devices/impair.ts";
import { openTap } from "../devices/tap.ts";
import { UNSPECIFIED } from "../net/addr.ts";
import { ifaceCtl } from "../net/ip/ctl.ts";
import type { Iface } from "../net/ip/iface.ts";
import { Stack } from "../net/stack.ts";
import type { Conn } from "../net/tcp/conn.ts";
import { run } from "./netns.ts";

/** How a TAP is made. */
export interface TapWish {
  offload?: boolean;
  mtu?: number;
  /** What befalls frames, as `loss 1% delay 5ms`. */
  impair?: string;
}

/** A stack on one TAP or more, polled as time goes by. */
export class TapNode {
  readonly stack: Stack;
  readonly #ports: Port[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor() {
    this.stack = new Stack({ random: (bytes) => crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>) }, now());
  }

  /** A TAP whose Linux side has addresses, and an interface on ours. */
  async tap(name: string, linux: string[], ours: string[], wish: TapWish = {}): Promise<Iface> {
    const { offload = true, mtu = 1500, impair = "" } = wish;
    const mac = Uint8Array.of(2, 0, 0, 0, 1, this.#ports.length + 1);
    let port: Port = openTap({ name, mac, up: true, mtu, txqueuelen: 1000, offload });
    if (impair !== "") {
      const bad = new Impair(port, hostClock);
      bad.impairment = parseImpairment(impair.split(" "));
      port = bad; // closed before what is below it, or frames that it holds back would outlive the test
    }
    this.#ports.push(port);
    for (const address of linux) {
      await run("ip", "addr", "add", address, "dev", name, ...(address.includes(":") ? ["nodad"] : []));
    }
    const iface = this.stack.bind(port, now());
    for (const address of ours) {
      const [ip, bits] = address.split("/");
      ifaceCtl(this.stack.ip, iface, `add ${ip} /${bits}`);
    }
    port.attach({
      begin: () => {},
      frame: (bytes, at, end, info) => this.stack.input(port, bytes, at, end, info, now()),
      end: () => this.poll(),
    });
    this.poll();
    return iface;
  }

  /** Answers every call to a port: `serve` is called whenever something happens to a connection. */
  serve(port: number, serve: (conn: Conn) => void): void {
    const listener = this.stack.tcp.listen(UNSPECIFIED, port);
    assert.ok("accept" in listener);
    listener.onCall = () => {
      for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) {
        conn.onEvents = serve;
        serve(conn);
      }
    };
  }

  poll(): void {
    this.stack.poll(now());
    clearTimeout(this.#timer);
    const wait = this.stack.pollAt() - now();
    if (wait !== Infinity && !this.#closed) this.#timer = setTimeout(() => this.poll(), Math.max(0, wait));
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const port of this.#ports) await port.close();
  }
}

/** Sends back what comes. */
export function echo(conn: Conn): void {
  for (let piece = conn.peek(); piece.length > 0 && conn.room > 0; piece = conn.peek()) {
    conn.consume(conn.write(piece));
  }
  if (conn.eof) conn.close();
}

/** Monotonic milliseconds. */
export const now = () => performance.now();

/** Waits for something, ten seconds at the most. */
export async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (const end = now() + 10_000; !isTrue();) {
    if (now() > end) throw new Error(`after ten seconds still not: ${what}`);
    await new Promise((done) => setTimeout(done, 2));
  }
}

/** Runs `fn` with a node that goes afterwards. */
export async function withNode(fn: (node: TapNode) => Promise<void>): Promise<void> {
  const node = new TapNode();
  try {
    await fn(node);
  } finally {
    await node.close();
  }
}
