/**
 * A node for measurements by others: the real plugins ether and ip on a TAP, serving discard (9), source (19) and echo
 * (7, TCP and UDP) through the files of /net.
 *
 * Run as root: TAP=tap0 IP=10.0.0.2 PEERIP=10.0.0.1 MASK=255.255.255.0 MTU=1500 deno task bench:stack [--no-offload]
 *
 * `PEERIP` is Linux's address, set on the TAP if it is not there yet. `--no-offload` turns the vnet header off: each frame
 * has its checksum and no more than the MTU. `--cc NAME` chooses the congestion control, `--spin US` how long an idle device is looked
 * at before it sleeps. It prints `ready` when it serves, and runs until it is stopped.
 */

import { DELIVERED, Req, type User } from "../core/dev.ts";
import { Err, toErr } from "../core/err.ts";
import { Export } from "../core/export.ts";
import { hostClock } from "../core/host/clock.ts";
import { turn } from "../core/host/turn.ts";
import { Kernel } from "../core/kernel.ts";
import { MAFTER, MREPL } from "../core/mount.ts";
import { checkOptions, parseManifest } from "../core/plugin/manifest.ts";
import type { Ctx, Plugin } from "../core/plugin/plugin.ts";
import { ORDWR } from "../core/p9/types.ts";
import type { NsChan } from "../core/walk.ts";
import { ipFromV4, parseIp, parseMask, V4_BITS } from "../net/addr.ts";
import { CC_NAMES } from "../net/tcp/cc/algorithms.ts";
import { micros, oneOf, onOff, readFlags, refuse } from "./flags.ts";

/** What one read or write carries. */
const IO_BYTES = 64 << 10, ECHO_BYTES = 4096, MAX_DATAGRAM = 65_535 + 52;

const flags = readFlags("bench:stack", { "no-offload": onOff(), cc: oneOf(CC_NAMES, "bbr"), spin: micros(50) });

/** A variable of the environment. */
function env(name: string, otherwise?: string): string {
  const value = Deno.env.get(name) ?? otherwise;
  if (value !== undefined) return value;
  return refuse(
    "bench:stack",
    `${name} is not set (try: TAP=tap0 IP=10.0.0.2 PEERIP=10.0.0.1 MASK=255.255.255.0 MTU=1500)`,
  );
}

const tap = env("TAP"), ip = env("IP"), peer = env("PEERIP"), mtu = Number(env("MTU", "1500"));
const bits = prefixBits(env("MASK", "255.255.255.0"));
const kernel = new Kernel({ clock: hostClock, hostowner: "bench" });

try {
  await load("root", "root", {});
  await load("ether", "ether0", {
    device: `tap ${tap}`,
    mtu,
    offload: !flags["no-offload"],
    spinUs: flags.spin,
    ...isThere(tap) ? {} : { hostAddress: `${peer}/${bits}` },
  });
  await load("ip", "ip", { device: "ether0", address: `${ip}/${bits}`, cc: flags.cc });
} catch (thrown) {
  refuse("bench:stack", toErr(thrown).message);
}
const init = await kernel.init();
await init.bind("#ip", "/net", MREPL);
await init.bind("#ether0", "/net", MAFTER);
const files = new Export(init.pgrp), user: User = kernel.hostowner;
const decoder = new TextDecoder(), encoder = new TextEncoder();
/** Buffers of echoes that are over. */
const spare: Uint8Array[] = [];
/** As a server's working directory: what is opened there is found from there. */
const dot = await walk(await files.attach(user, "", new Req(user)) as NsChan, ["net", "tcp"]);

for (const [port, serve] of [[9, discard], [19, source], [7, echo]] as const) void listen(port, serve);
void echoDatagrams();
console.log("ready");
await new Promise(() => setInterval(() => {}, 1 << 30));

/** Answers every call to a port. */
async function listen(port: number, serve: (data: NsChan) => Promise<void>): Promise<void> {
  const ctl = await open(["clone"]), names = [await read(ctl), "listen"];
  await write(ctl, `announce ${port}`);
  for (;;) void answer(await open(names), serve);
}

async function answer(ctl: NsChan, serve: (data: NsChan) => Promise<void>): Promise<void> {
  try {
    const data = await open([await read(ctl), "data"]);
    try {
      await serve(data);
    } finally {
      await files.clunk(data);
    }
  } catch (thrown) {
    // A peer may reset its connection.
    if (!(thrown instanceof Err)) console.error(toErr(thrown));
  } finally {
    await files.clunk(ctl);
  }
}

async function discard(data: NsChan): Promise<void> {
  const into = new Uint8Array(4 * IO_BYTES);
  while (await readInto(data, into) > 0);
}

async function source(data: NsChan): Promise<void> {
  const bytes = Uint8Array.from({ length: IO_BYTES }, (_, i) => i * 31 >> 3);
  for (;;) await files.write(data, bytes, 0, new Req(user));
}

async function echo(data: NsChan): Promise<void> {
  const into = spare.pop() ?? new Uint8Array(ECHO_BYTES);
  try {
    for (let count = await readInto(data, into); count > 0; count = await readInto(data, into)) {
      await files.write(data, into.subarray(0, count), 0, new Req(user));
    }
  } finally {
    spare.push(into);
  }
}

/** Reads what is there, or waits for it: then it is copied from where it lies, and nothing is made for it. */
async function readInto(data: NsChan, into: Uint8Array): Promise<number> {
  const req = new Req(user);
  let count = 0;
  req.deliver = (bytes) => {
    into.set(bytes);
    count = bytes.length;
    return true;
  };
  const got = files.read(data, into, 0, req);
  if (typeof got === "number") return got;
  const bytes = await got;
  if (bytes === DELIVERED) return count;
  into.set(bytes);
  return bytes.length;
}

/** With headers, one conversation answers everybody: each datagram says where it came from, and goes back there. */
async function echoDatagrams(): Promise<void> {
  const ctl = await open(["..", "udp", "clone"]), into = new Uint8Array(MAX_DATAGRAM);
  await write(ctl, "headers\nannounce 7");
  const data = await open(["..", "udp", await read(ctl), "data"]);
  for (;;) {
    const got = files.read(data, into, 0, new Req(user));
    const bytes = typeof got === "number" ? into.subarray(0, got) : await got;
    await files.write(data, bytes, 0, new Req(user));
  }
}

/** Opens what `names` lead to from the working directory. */
async function open(names: string[]): Promise<NsChan> {
  return await files.open(await walk(dot, names), ORDWR, new Req(user)) as NsChan;
}

async function walk(from: NsChan, names: string[]): Promise<NsChan> {
  const { chan } = await files.walk(from, names, new Req(user));
  if (chan === null) throw new Err("ENOENT", `${names.join("/")}: file does not exist`);
  return chan as NsChan;
}

/** The number of a conversation. */
async function read(ctl: NsChan): Promise<string> {
  const into = new Uint8Array(16), got = await files.read(ctl, into, 0, new Req(user));
  return decoder.decode(typeof got === "number" ? into.subarray(0, got) : got);
}

async function write(chan: NsChan, text: string): Promise<void> {
  await files.write(chan, encoder.encode(text), 0, new Req(user));
}

/** Starts a plugin in this isolate, as `inline` does. */
async function load(name: string, as: string, options: Record<string, unknown>): Promise<void> {
  const folder = new URL(`../plugins/${name}/`, import.meta.url);
  const manifest = parseManifest(Deno.readTextFileSync(new URL("plugin.json", folder)), `${name}/plugin.json`);
  const { default: plugin } = await import(new URL("mod.ts", folder).href) as { default: Plugin };
  const ctx: Ctx = {
    name: as,
    options: checkOptions(manifest, options as never),
    clock: hostClock,
    turn,
    hostowner: "bench",
    sysname: "bench",
    signal: new AbortController().signal,
    log: (text) => console.error(text),
    random: (bytes) => void crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
    defer: () => {},
    kernel,
  };
  await kernel.register(as, await plugin.start(ctx, "fresh"));
}

function isThere(name: string): boolean {
  try {
    Deno.statSync(`/sys/class/net/${name}`);
    return true;
  } catch {
    return false;
  }
}

/** Bits of `255.255.255.0`, `24` or `/24`. */
function prefixBits(mask: string): number {
  const text = /^\d+$/.test(mask) ? `/${mask}` : mask, found = parseMask(text, parseIp(ip) ?? ipFromV4(0));
  if (found === undefined) refuse("bench:stack", `MASK: ${mask} is no mask (of ${ip})`);
  return found - V4_BITS;
}
