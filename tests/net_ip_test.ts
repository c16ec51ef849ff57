/**
 * IP against Linux's own stack, over a TAP: ping in both versions and in fragments, path MTU, neighbours, duplicate
 * addresses, a router in between, TCP.
 *
 * Layer: tests. Needs root and iproute2, ping; skipped with the reason where they are not there.
 */

import assert from "node:assert/strict";
import { parseIp } from "../net/addr.ts";
import { ifaceCtl } from "../net/ip/ctl.ts";
import { netTest, run } from "./netns.ts";
import { program } from "./skip.ts";
import { echo, now, until, withNode } from "./tap_node.ts";

const NEEDS = [program("ip"), program("ping")];

for (const offload of [true, false]) {
  netTest(
    `Linux pings us, small and in fragments, ${offload ? "with" : "without"} offload`,
    NEEDS,
    () =>
      withNode(async (node) => {
        await node.tap("tap0", ["10.99.0.1/24", "fd99::1/64"], ["10.99.0.2/24", "fd99::2/64"], { offload });
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
      const east = await node.tap("east", [], ["10.97.0.2/24", "fd97::2/64"]);
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
    node.serve(7, echo);
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
