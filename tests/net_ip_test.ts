/**
 * IP against Linux's own stack, over a TAP: ping in both versions and in fragments, path MTU, neighbours, duplicate
 * addresses, a router in between, TCP.
 *
 * Layer: tests. Needs root and iproute2, ping; skipped with the reason where they are not there.
 */

import assert from "node:assert/strict";
import type { Port } from "../core/link.ts";
import { openTap } from "../devices/tap.ts";
import { parseIp, UNSPECIFIED } from "../net/addr.ts";
import { ifaceCtl } from "../net/ip/ctl.ts";
import type { Iface } from "../net/ip/iface.ts";
import { Stack } from "../net/stack.ts";
import { netTest, run } from "./netns.ts";
import { program } from "./skip.ts";

const NEEDS = [program("ip"), program("ping")];

/** A stack on one TAP or more, polled as time goes by. */
class Node {
  readonly stack: Stack;
  readonly #ports: Port[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.stack = new Stack({ random: (bytes) => crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>) }, now());
  }

  /** A TAP whose Linux side has addresses, and an interface on ours. */
  async tap(name: string, linux: string[], ours: string[], offload = true, mtu = 1500): Promise<Iface> {
    const mac = Uint8Array.of(2, 0, 0, 0, 1, this.#ports.length + 1);
    const tap = openTap({ name, mac, up: true, mtu, txqueuelen: 1000, offload });
    for (const address of linux) {
      await run("ip", "addr", "add", address, "dev", name, ...(address.includes(":") ? ["nodad"] : []));
    }
    this.#ports.push(tap);
    const iface = this.stack.bind(tap, now());
    for (const address of ours) {
      const [ip, bits] = address.split("/");
      ifaceCtl(this.stack.ip, iface, `add ${ip} /${bits}`);
    }
    tap.attach({
      begin: () => {},
      frame: (bytes, at, end, info) => this.stack.input(tap, bytes, at, end, info, now()),
      end: () => this.poll(),
    });
    this.poll();
    return iface;
  }

  poll(): void {
    this.stack.poll(now());
    clearTimeout(this.#timer);
    const wait = this.stack.pollAt() - now();
    if (wait !== Infinity) this.#timer = setTimeout(() => this.poll(), Math.max(0, wait));
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    for (const port of this.#ports) await port.close();
    clearTimeout(this.#timer);
  }
}

const now = () => performance.now();

async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (const end = now() + 10_000; !isTrue();) {
    if (now() > end) throw new Error(`after ten seconds still not: ${what}`);
    await new Promise((done) => setTimeout(done, 2));
  }
}

async function withNode(fn: (node: Node) => Promise<void>): Promise<void> {
  const node = new Node();
  try {
    await fn(node);
  } finally {
    await node.close();
  }
}

for (const offload of [true, false]) {
  netTest(
    `Linux pings us, small and in fragments, ${offload ? "with" : "without"} offload`,
    NEEDS,
    () =>
      withNode(async (node) => {
        await node.tap("tap0", ["10.99.0.1/24", "fd99::1/64"], ["10.99.0.2/24", "fd99::2/64"], offload);
        const { ip } = node.stack;
        let asked = 0;
        for (const to of ["10.99.0.2", "fd99::2"]) {
          for (const bytes of ["8", "1472", "9000", "60000"]) {
            // It waits for a reply only twice as long as the others took: on a busy machine the last one may come too late.
            assert.match(await run("ping", "-c", "3", "-i", "0.01", "-W", "2", "-s", bytes, to), / [123] received/);
            asked += 3;
            await until("every ping is answered", () => ip.icmp4.OutEchoReps + ip.icmp6.OutEchoReps === asked);
          }
        }
        assert.match(await run("ip", "neigh", "show", "10.99.0.2"), /02:00:00:00:01:01 (REACHABLE|DELAY|STALE|PROBE)/);
        assert.equal(ip.counters.InHdrErrors + ip.icmp4.InCsumErrors + ip.icmp6.InCsumErrors, 0);
      }),
  );
}

netTest("we ping Linux, and see that a port and a host are not there", NEEDS, () =>
  withNode(async (node) => {
    await node.tap("tap0", ["10.99.0.1/24", "fd99::1/64"], ["10.99.0.2/24", "fd99::2/64"]);
    for (const [to, v4] of [["10.99.0.1", true], ["fd99::1", false]] as const) {
      const conv = node.stack.icmp.open(v4), udp = node.stack.udp.open(), message = new Uint8Array(5008);
      message[0] = v4 ? 8 : 128;
      conv.connect(parseIp(to)!);
      conv.send(message, 0, message.length, now());
      node.poll();
      await until(`a reply from ${to}`, () => conv.queue.count > 0);
      udp.connect(parseIp(to)!, 9);
      udp.send(message, 0, 100, now());
      node.poll();
      await until(`port unreachable from ${to}`, () => udp.isReadable);
      assert.throws(() => udp.recv(message, 0, 10), (e: { code?: string }) => e.code === "ECONNREFUSED");
    }
  }));

netTest("an address that Linux has is found to be taken", NEEDS, () =>
  withNode(async (node) => {
    const iface = await node.tap("tap0", ["10.99.0.1/24", "fd99::1/64"], []);
    for (const address of ["10.99.0.1 /24", "fd99::1 /64"]) ifaceCtl(node.stack.ip, iface, `try ${address}`);
    node.poll();
    await until("both are duplicates", () => iface.addresses.every(({ state }) => state === "duplicated"));
  }));

netTest(
  "we route between two of Linux's interfaces, and Linux learns the smaller MTU from us",
  NEEDS,
  () =>
    withNode(async (node) => {
      await node.tap("west", ["10.98.0.1/24", "fd98::1/64"], ["10.98.0.2/24", "fd98::2/64"]);
      const east = await node.tap("east", [], ["10.97.0.2/24", "fd97::2/64"], true, 1500);
      ifaceCtl(node.stack.ip, east, "mtu 1300");
      ifaceCtl(node.stack.ip, east, "iprouting 1");
      node.stack.ip.neighbors.setPermanent(east, parseIp("10.97.0.9")!, Uint8Array.of(2, 0, 0, 0, 9, 9));
      node.stack.ip.neighbors.setPermanent(east, parseIp("fd97::9")!, Uint8Array.of(2, 0, 0, 0, 9, 9));
      await run("ip", "route", "add", "10.97.0.0/24", "via", "10.98.0.2");
      await run("ip", "-6", "route", "add", "fd97::/64", "via", "fd98::2");
      assert.match(await run("ping", "-c", "1", "-W", "2", "10.97.0.2"), / 0% packet loss/);
      for (const to of ["10.97.0.9", "fd97::9"]) {
        const { stdout } = await new Deno.Command("ping", {
          args: ["-c", "2", "-W", "1", "-M", "do", "-s", "1400", to],
        }).output();
        assert.match(new TextDecoder().decode(stdout), /mtu[ =:]+1300/i);
        assert.match(await run("ip", to.includes(":") ? "-6" : "-4", "route", "get", to), /mtu 1300/);
        const hop = await new Deno.Command("ping", { args: ["-c", "1", "-W", "1", "-t", "1", to] }).output();
        assert.match(new TextDecoder().decode(hop.stdout), /Time (to live )?exceeded/i);
      }
    }),
);

netTest("Linux connects to us by TCP, and gets every byte back", NEEDS, () =>
  withNode(async (node) => {
    await node.tap("tap0", ["10.99.0.1/24", "fd99::1/64"], ["10.99.0.2/24", "fd99::2/64"]);
    const listener = node.stack.tcp.listen(UNSPECIFIED, 7);
    assert.ok("accept" in listener);
    listener.onCall = () => {
      const conn = listener.accept()!,
        echo = () => {
          for (let piece = conn.peek(); piece.length > 0 && conn.room > 0; piece = conn.peek()) {
            conn.consume(conn.write(piece));
          }
          if (conn.eof) conn.close();
        };
      conn.onEvents = echo;
      echo();
    };
    for (const hostname of ["10.99.0.2", "fd99::2"]) {
      const socket = await Deno.connect({ hostname, port: 7 }), sent = new Uint8Array(300_000).map((_, i) => i * 7);
      const writing = (async () => {
        for (let at = 0; at < sent.length;) at += await socket.write(sent.subarray(at));
      })();
      const got = new Uint8Array(sent.length);
      for (let at = 0; at < got.length;) at += await socket.read(got.subarray(at)) ?? assert.fail("ended early");
      await writing;
      assert.deepEqual(got, sent);
      socket.close();
    }
    assert.equal(node.stack.tcp.counters.InErrs, 0);
  }));
