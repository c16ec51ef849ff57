/**
 * ring9's stack alone on a TAP, without plugins and files: what bench/stack.ts would do if /net cost nothing. It serves
 * discard (9), source (19) and echo (7, TCP) where an event of a connection is a function call.
 *
 * Run as root: TAP=tap0 IP=10.0.0.2 MTU=1500 deno run -A bench/stack_alone.ts [--no-offload [--no-gro]]. The TAP has to be there,
 * its Linux side with an address of the same 24 bits.
 */

import { openTap } from "../devices/tap.ts";
import { parseIp, UNSPECIFIED, V4_BITS } from "../net/addr.ts";
import { Stack } from "../net/stack.ts";
import type { Conn } from "../net/tcp/conn.ts";
import { onOff, readFlags, refuse } from "./flags.ts";

const flags = readFlags("stack_alone", { "no-offload": onOff(), "no-gro": onOff() });

const PREFIX = 24, BLOCK = Uint8Array.from({ length: 64 << 10 }, (_, i) => i * 31 >> 3);
const name = Deno.env.get("TAP") ?? "tap0";
const ip = parseIp(Deno.env.get("IP") ?? "10.0.0.2") ?? refuse("stack_alone", "IP: not an address");
const mac = Uint8Array.of(2, 0, 0, 0, 0, 9), mtu = Number(Deno.env.get("MTU") ?? 1500);
const now = () => performance.now();

const port = openTap({ name, mac, mtu, up: true, offload: !flags["no-offload"], gro: !flags["no-gro"] });
const stack = new Stack({
  random: (bytes) => crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
  wake: () => queueMicrotask(poll),
}, now());
let time = now(), alarmAt = Infinity, alarm: ReturnType<typeof setTimeout> | undefined;
stack.ip.addresses.add(stack.bind(port, now()), { ip, bits: V4_BITS + PREFIX }, false);
serve(9, discard);
serve(19, source);
serve(7, echo);

port.attach({
  begin: () => void (time = now()),
  frame: (bytes, at, end, info) => stack.input(port, bytes, at, end, info, time),
  end: poll,
});
poll();
console.log("ready");

/** Does what is due, and sets an alarm for the rest; one that is set too early goes off in vain. */
function poll(): void {
  stack.poll(now());
  port.flush();
  const at = stack.pollAt();
  if (at >= alarmAt) return;
  clearTimeout(alarm);
  alarmAt = at;
  alarm = setTimeout(() => (alarmAt = Infinity, poll()), Math.max(at - now(), 0));
}

function serve(number: number, events: (conn: Conn) => void): void {
  const listener = stack.tcp.listen(UNSPECIFIED, number);
  if (!("accept" in listener)) throw listener;
  listener.onCall = () => {
    for (let conn = listener.accept(); conn !== undefined; conn = listener.accept()) {
      conn.onEvents = events;
      conn.setNodelay(true);
      events(conn);
    }
  };
}

function discard(conn: Conn): void {
  for (let piece = conn.peek(); piece.length > 0; piece = conn.peek()) conn.consume(piece.length);
  if (conn.eof) conn.close();
}

function source(conn: Conn): void {
  while (conn.room > 0 && conn.write(BLOCK) > 0);
}

function echo(conn: Conn): void {
  for (let piece = conn.peek(); piece.length > 0 && conn.room > 0; piece = conn.peek()) conn.consume(conn.write(piece));
  if (conn.eof) conn.close();
}
